"""Which ledger a hub has: the embedded one, or a TigerBeetle cluster.

It is chosen when the hub is made and is then written in its database, for the money stays where it is: a hub that was
configured to look for it elsewhere would find accounts without balances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from vuka.config import Ledger as LedgerSettings
from vuka.errors import OperatorError
from vuka.ledger.model import Ledger, QueryFilter
from vuka.ledger.sql import SqlLedger
from vuka.ledger.tigerbeetle import Cluster
from vuka.store import Tx

EMBEDDED: Final = "embedded"
TIGERBEETLE: Final = "tigerbeetle"


class ChosenLedger(msgspec.Struct, frozen=True):
    """A ledger to work with."""

    open: Callable[[Tx, int], Ledger]
    """Makes the ledger of a transaction; the second argument is the time in nanoseconds since 1970."""
    cluster: Cluster | None = None
    """The session behind it; None where it is embedded."""

    def close(self) -> None:
        """Ends the session, if there is one."""
        if self.cluster is not None:
            self.cluster.close()


def open_ledger(settings: LedgerSettings) -> ChosenLedger:
    """The ledger that the configuration names. Raises `OperatorError` where the cluster's client can't be used.

    It does not wait for the cluster: whether it is there shows when it is asked.
    """
    if settings.engine == EMBEDDED:
        return ChosenLedger(SqlLedger)
    cluster = Cluster(settings.addresses, int(settings.cluster_id), timeout_ms=settings.timeout_ms)
    return ChosenLedger(cluster.ledger, cluster)


def write_choice(tx: Tx, settings: LedgerSettings, ledger: Ledger) -> None:
    """Writes down which ledger a new hub has. Raises `OperatorError` where somebody's money is in it already."""
    if ledger.query_transfers(QueryFilter(limit=1)):
        raise OperatorError(
            f"The ledger at {settings.addresses} has transfers already: a cluster belongs to one hub. "
            "Format one for this hub, and give its addresses (ledger.addresses)."
        )
    tx.run(
        'INSERT INTO ledger_choice ("only", engine, cluster_id) VALUES (1, ?, ?)',
        (settings.engine, _cluster_id(settings)),
    )


def check_choice(tx: Tx, settings: LedgerSettings) -> None:
    """Raises `OperatorError` where the configuration names another ledger than the one that the hub has."""
    # A hub of before the choice has none written down.
    engine, cluster_id = next(iter(tx.query("SELECT engine, cluster_id FROM ledger_choice")), (EMBEDDED, "0"))
    if engine != settings.engine:
        raise OperatorError(
            f"This hub's money is in its {engine} ledger, and the configuration says {settings.engine}. A hub keeps "
            f"the ledger it was made with: set ledger.engine back to {engine}, or make a new hub with vuka init."
        )
    if cluster_id != _cluster_id(settings):
        raise OperatorError(
            f"This hub's money is in cluster {cluster_id}, and the configuration says {settings.cluster_id}. "
            f"Set ledger.cluster_id back to {cluster_id}."
        )


def _cluster_id(settings: LedgerSettings) -> str:
    return "0" if settings.engine == EMBEDDED else str(int(settings.cluster_id))
