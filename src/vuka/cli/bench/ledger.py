"""``vuka bench ledger``: how many transfers a second each ledger engine takes, by the size of the batch.

The work is a hub's: payments between participants whose positions may not be overdrawn, with random ids. *Two-phase*,
half of each batch reserves and the other half posts what the batch before has reserved; a reservation and its post
count as two. *Single-phase*, each payment is one transfer. Every batch is committed for itself; on disk that is with a
write-ahead log and ``synchronous=FULL``, so that each commit waits for the disk. Making the events is not measured.

A server is measured where the caller names one: it is filled with what is measured, and a cluster keeps that.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Final, Protocol
from urllib.parse import quote

import msgspec
import typer
from rich.text import Text

from vuka.cli.bench.machine import Machine, describe
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.errors import OperatorError
from vuka.ledger.model import (
    AMOUNT_MAX,
    BATCH_MAX,
    Account,
    AccountFlags,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    LedgerUnavailableError,
    Transfer,
    TransferFlags,
)
from vuka.ledger.sql import SqlLedger
from vuka.ledger.tigerbeetle import Cluster, TigerBeetleLedger
from vuka.store import Database, UnavailableError
from vuka.store.sqlite import Database as SqliteDatabase

SIZES: Final = (1, 10, 100, 1_000, BATCH_MAX)
PARTICIPANTS: Final = 100
LEDGER: Final = 840
HEADROOM: Final = 10**15
AMOUNT_DRAWN_MAX: Final = 10_000_000
CLUSTER_TIMEOUT_MS: Final = 60_000
"""How long a cluster may take for one request: what is measured is not given up."""


class Engine(Protocol):
    """A ledger whose every call is a request of its own, durable when it returns. It may hold what others put there."""

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        """Makes accounts."""

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        """Makes transfers."""

    def close(self) -> None:
        """Gives back what it holds."""


class EmbeddedEngine:
    """The ledger in the hub's own database: each request is a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._database.create_all()

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        """Makes accounts."""
        with self._database.begin() as tx:
            return SqlLedger(tx, time.time_ns()).create_accounts(accounts)

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        """Makes transfers."""
        with self._database.begin() as tx:
            return SqlLedger(tx, time.time_ns()).create_transfers(transfers)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


class PostgresEngine(EmbeddedEngine):
    """The same in a schema of its own of a PostgreSQL database, which goes with it."""

    def __init__(self, url: str) -> None:
        from vuka.store.postgresql import Database as PostgresDatabase

        self._schema = f"vuka_bench_{os.urandom(6).hex()}"
        self._server = PostgresDatabase.open(url)
        with self._server.begin() as tx:
            tx.run(f"CREATE SCHEMA {self._schema}")
        joined = "&" if "?" in url else "?"
        super().__init__(PostgresDatabase.open(f"{url}{joined}options={quote(f'-csearch_path={self._schema}')}"))

    def close(self) -> None:
        """Closes the database, and takes the schema away."""
        super().close()
        with self._server.begin() as tx:
            tx.run(f"DROP SCHEMA {self._schema} CASCADE")
        self._server.close()


class ClusterEngine(TigerBeetleLedger):
    """A session with a TigerBeetle cluster."""

    def __init__(self, addresses: str, cluster_id: int) -> None:
        self._session = Cluster(addresses, cluster_id, timeout_ms=CLUSTER_TIMEOUT_MS)
        super().__init__(self._session)

    def close(self) -> None:
        """Ends the session."""
        self._session.close()


Factory = Callable[[Path], Engine]
"""Opens an engine; the directory is its own."""


def engines(postgresql: str | None, tigerbeetle: str | None, cluster_id: int) -> dict[str, Factory]:
    """Every engine that can be measured, by name: those that need a server where one is named."""
    found: dict[str, Factory] = {
        "embedded, in memory": lambda _directory: EmbeddedEngine(SqliteDatabase.open(None)),
        "embedded, on disk": lambda directory: EmbeddedEngine(SqliteDatabase.open(directory / "ledger.db")),
    }
    if postgresql is not None:
        found["embedded, PostgreSQL"] = lambda _directory: PostgresEngine(postgresql)
    if tigerbeetle is not None:
        found["TigerBeetle"] = lambda _directory: ClusterEngine(tigerbeetle, cluster_id)
    return found


class Work:
    """Payments for an engine, without end. All ids are drawn, so that a ledger that is kept may be measured again."""

    def __init__(self, engine: Engine, *, two_phase: bool, random: Random) -> None:
        self._engine = engine
        self._two_phase = two_phase
        self._random = random
        self._to_post: list[int] = []
        hub, *participants = (self._new_id() for _ in range(PARTICIPANTS + 1))
        self._participants = participants
        limited = int(AccountFlags.debits_must_not_exceed_credits)
        accounts = [Account(id=hub, ledger=LEDGER, code=3)]
        accounts += [Account(id=each, ledger=LEDGER, code=2, flags=limited) for each in participants]
        made = engine.create_accounts(accounts)
        if {each.status for each in made} != {CreateAccountStatus.created}:
            raise AssertionError(f"accounts were refused: {made[:3]}")
        self.run([self._transfer(hub, each, HEADROOM, 0) for each in participants])

    def _new_id(self) -> int:
        return self._random.getrandbits(127) + 1

    def _transfer(self, debit: int, credit: int, amount: int, flags: int) -> Transfer:
        return Transfer(
            id=self._new_id(),
            debit_account_id=debit,
            credit_account_id=credit,
            amount=amount,
            ledger=LEDGER,
            code=1,
            flags=flags,
        )

    def _payment(self, flags: int) -> Transfer:
        debit, credit = self._random.sample(self._participants, 2)
        return self._transfer(debit, credit, self._random.randrange(1, AMOUNT_DRAWN_MAX), flags)

    def batches(self, size: int) -> Iterator[list[Transfer]]:
        """Batches of one size."""
        while True:
            if not self._two_phase:
                yield [self._payment(0) for _ in range(size)]
                continue
            posts = [
                Transfer(
                    id=self._new_id(),
                    pending_id=each,
                    amount=AMOUNT_MAX,
                    flags=int(TransferFlags.post_pending_transfer),
                )
                for each in self._to_post[: max(size // 2, 1)]
            ]
            reserved = [self._payment(int(TransferFlags.pending)) for _ in range(size - len(posts))]
            self._to_post = self._to_post[len(posts) :] + [each.id for each in reserved]
            yield reserved + posts

    def run(self, batch: list[Transfer]) -> float:
        """One batch; the seconds it took."""
        began = time.perf_counter()
        results = self._engine.create_transfers(batch)
        taken = time.perf_counter() - began
        refused = {each.status for each in results} - {CreateTransferStatus.created}
        if refused:
            raise AssertionError(f"no transfer should be refused: {refused}")
        return taken


class Rate(msgspec.Struct):
    """What an engine takes with batches of a size."""

    engine: str
    two_phase: bool
    batch: int
    per_second: float
    """Transfers a second: the median of the runs."""
    runs: list[float]


class LedgerBench(msgspec.Struct):
    """Everything."""

    machine: Machine
    seconds: float
    fill: int
    rates: list[Rate]


def measure(factory: Factory, directory: Path, size: int, *, two_phase: bool, seconds: float, fill: int) -> float:
    """Transfers a second of one run on a ledger that has ``fill`` transfers: as many batches as fit the time."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        engine = factory(Path(folder))
        try:
            # No secret is drawn: ids need only be new.
            work = Work(engine, two_phase=two_phase, random=Random(os.urandom(16)))  # noqa: S311
            filling = work.batches(BATCH_MAX)
            for _ in range(-(-fill // BATCH_MAX)):
                work.run(next(filling))
            batches = work.batches(size)
            work.run(next(batches))
            taken, count = 0.0, 0
            while taken < seconds:
                batch = next(batches)
                taken += work.run(batch)
                count += len(batch)
        finally:
            engine.close()
    return count / taken


def ledger(
    seconds: Annotated[float, typer.Option(min=0.001, help="Seconds measured in each run.")] = 1.0,
    runs: Annotated[int, typer.Option(min=1, help="Runs; the median is quoted.")] = 3,
    size: Annotated[
        list[int] | None,
        typer.Option("--size", min=1, max=BATCH_MAX, help="Transfers in a batch; may be repeated."),
    ] = None,
    fill: Annotated[int, typer.Option(min=0, help="Transfers in the ledger beforehand.")] = 0,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where ledgers on disk are while they run.", show_default="the temporary directory"),
    ] = None,
    postgresql: Annotated[
        str | None,
        typer.Option(help="The URL of a PostgreSQL database to measure too, in a schema that is taken away again."),
    ] = None,
    tigerbeetle: Annotated[
        str | None,
        typer.Option(
            envvar="VUKA_TIGERBEETLE",
            help="The addresses of a TigerBeetle cluster to measure too. It keeps what is measured: never a hub's.",
        ),
    ] = None,
    cluster_id: Annotated[int, typer.Option(min=0, help="That cluster's number.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure the ledger engines alone: transfers a second by size of batch, single-phase and two-phase.

    Example: [bold]vuka bench ledger --seconds 1 --size 100[/bold]
    """
    sizes = tuple(size or SIZES)
    available = engines(postgresql, tigerbeetle, cluster_id)
    with tempfile.TemporaryDirectory(prefix="vuka-ledger-", dir=directory) as folder:
        result = LedgerBench(describe(Path(folder)), seconds, fill, [])
        for name, factory in available.items():
            for two_phase in (False, True):
                for each in sizes:
                    try:
                        done = [
                            measure(factory, Path(folder), each, two_phase=two_phase, seconds=seconds, fill=fill)
                            for _ in range(runs)
                        ]
                    except (OSError, OperatorError, UnavailableError) as error:
                        fail(f"{name}: {error}")
                    except LedgerUnavailableError:
                        fail(f"{name}: the cluster does not answer.")
                    done = [round(rate, 1) for rate in done]
                    result.rates.append(Rate(name, two_phase, each, statistics.median(done), done))
    if as_json:
        print_json(result)
        return
    console.print(Text(result.machine.line()), highlight=False)
    for two_phase in (False, True):
        print_table(
            f"Transfers a second, {'two-phase' if two_phase else 'single-phase'}: median of {runs}",
            ("batch>", *(f"{name}>" for name in available)),
            [(f"{each:,}", *(_rates(result, two_phase, each))) for each in sizes],
        )


def _rates(result: LedgerBench, two_phase: bool, size: int) -> list[str]:
    return [f"{each.per_second:,.0f}" for each in result.rates if (each.two_phase, each.batch) == (two_phase, size)]
