"""What stands before a command's name: it is read before the command knows it, and before most is imported."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

TOKEN_FILE: Final = "operator.token"  # noqa: S105 - the name of a file
"""Where ``vuka init`` leaves the first operator's token, in the data directory."""

TOKEN: Final = ContextVar("given token", default="")
"""For what this command asks; empty: the one in the data directory, if any."""

CA_FILE: Final = ContextVar("given file of authorities", default="")
"""The authorities (PEM) to believe of a hub with https; empty: the usual ones."""

CERTIFICATE: Final = ContextVar("given certificate of the operator", default="")
"""The file (PEM, with its private key) to show a hub with https; empty: none."""
