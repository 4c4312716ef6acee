"""Reading a hub's database beside a running hub: one snapshot, nothing written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from vuka.cli.output import fail
from vuka.clock import clock_ms
from vuka.config import Config
from vuka.errors import OperatorError
from vuka.ledger.choice import check_choice, open_ledger
from vuka.ledger.model import Ledger, LedgerUnavailableError
from vuka.store import Tx
from vuka.store.migrate import HEAD, current_revision, open_place


@contextmanager
def reading(config: Config) -> Iterator[tuple[Tx, Ledger]]:
    """A snapshot of the hub's records and its ledger. Ends the command where there is no hub to read."""
    with records(config) as tx:
        try:
            check_choice(tx, config.ledger)
            ledger = open_ledger(config.ledger)
        except OperatorError as error:
            fail(str(error))
        try:
            yield tx, ledger.open(tx, clock_ms() * 1_000_000)
        except LedgerUnavailableError:
            fail(f"The ledger at {config.ledger.addresses} does not answer (ledger.addresses). Is it running?")
        finally:
            ledger.close()


@contextmanager
def records(config: Config) -> Iterator[Tx]:
    """A snapshot of the hub's records, whatever its ledger. Ends the command where there is no hub to read."""
    try:
        revision = current_revision(config.place)
    except OperatorError as error:
        fail(str(error))
    if revision is None:
        fail(f"There is no hub in {config.place_shown}. Name its data directory with --data.")
    if revision != HEAD:
        fail(
            f"The hub in {config.place_shown} has schema {revision}, this program {HEAD}. "
            "Run `vuka serve` to migrate it."
        )
    database = open_place(config.place, read_only=True)
    try:
        with database.read() as tx:
            yield tx
    except sqlite3.DatabaseError as error:
        fail(f"{config.place_shown} can't be read: {error}. Is the file damaged? See docs/backup.md.")
    finally:
        database.close()
