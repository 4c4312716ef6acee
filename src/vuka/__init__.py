"""Vuka: an open instant-payments hub that speaks Mojaloop's APIs in one process.

The rooms are described in ``docs/architecture.md``. The short of it: ``api`` turns a request into a command,
``engine`` runs commands in batches, ``switch`` decides them, ``ledger`` moves the money, ``store`` keeps it.
"""

__version__ = "0.1.0"
