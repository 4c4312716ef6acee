"""How many transfers a second the embedded ledger takes, by the size of the batch.

    python benchmarks/ledger.py [--seconds 1] [--fill 0] [--profile 1000]

The work is a hub's: two-phase payments between participants whose positions may not be overdrawn, ids random. Half of
each batch reserves, the other half posts what the batch before reserved; a reservation and its post count as two. Every
batch is a transaction of its own, committed: in memory, and on disk with a write-ahead log and ``synchronous=FULL``,
so that each commit waits for the disk. Making the events is not measured. Figures are medians of three runs.
"""

from __future__ import annotations

import argparse
import cProfile
import platform
import pstats
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from vuka.ledger.model import (
    AMOUNT_MAX,
    BATCH_MAX,
    Account,
    AccountFlags,
    CreateTransferStatus,
    Transfer,
    TransferFlags,
)
from vuka.ledger.sql import SqlLedger
from vuka.store.sqlite import Database

BATCH_SIZES = (1, 10, 100, 1_000, BATCH_MAX)
RUNS = 3
PARTICIPANTS = 100
HUB_ACCOUNT = PARTICIPANTS + 1
LEDGER = 840
PENDING = int(TransferFlags.pending)
POST = int(TransferFlags.post_pending_transfer)


class Work:
    """A ledger, and payments for it without end."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self.database = Database.open(path)
        self.database.create_all()
        self._random = Random(seed)
        self._to_post: list[int] = []
        limited = int(AccountFlags.debits_must_not_exceed_credits)
        accounts = [Account(id=HUB_ACCOUNT, ledger=LEDGER, code=3)]
        accounts += [Account(id=id_, ledger=LEDGER, code=2, flags=limited) for id_ in range(1, PARTICIPANTS + 1)]
        headroom = [
            Transfer(
                id=self._new_id(),
                debit_account_id=HUB_ACCOUNT,
                credit_account_id=id_,
                amount=10**15,
                ledger=LEDGER,
                code=10,
            )
            for id_ in range(1, PARTICIPANTS + 1)
        ]
        with self.database.begin() as tx:
            ledger = SqlLedger(tx, time.time_ns())
            ledger.create_accounts(accounts)
            ledger.create_transfers(headroom)

    def _new_id(self) -> int:
        return self._random.getrandbits(127) + 1

    def _reservation(self) -> Transfer:
        debit, credit = self._random.sample(range(1, PARTICIPANTS + 1), 2)
        return Transfer(
            id=self._new_id(),
            debit_account_id=debit,
            credit_account_id=credit,
            amount=self._random.randrange(1, 10_000_000),
            ledger=LEDGER,
            code=1,
            flags=PENDING,
        )

    def batches(self, size: int) -> Iterator[list[Transfer]]:
        """Batches of one size, without end."""
        while True:
            reserved = [self._reservation() for _ in range(size - min(size // 2 or 1, len(self._to_post)))]
            posts = [
                Transfer(id=self._new_id(), pending_id=pending_id, amount=AMOUNT_MAX, flags=POST)
                for pending_id in self._to_post[: size - len(reserved)]
            ]
            self._to_post = self._to_post[len(posts) :] + [each.id for each in reserved]
            yield reserved + posts

    def run(self, batch: list[Transfer]) -> float:
        """Applies one batch and commits; the seconds it took."""
        begun = time.perf_counter()
        with self.database.begin() as tx:
            results = SqlLedger(tx, time.time_ns()).create_transfers(batch)
        taken = time.perf_counter() - begun
        refused = {each.status for each in results} - {CreateTransferStatus.created}
        if refused:
            raise AssertionError(f"no transfer should be refused: {refused}")
        return taken

    def fill(self, transfers: int) -> None:
        """So many transfers beforehand."""
        batches = self.batches(BATCH_MAX)
        for _ in range(-(-transfers // BATCH_MAX)):
            self.run(next(batches))


def transfers_per_second(path: Path | None, size: int, seconds: float, fill: int, seed: int) -> float:
    """One run: as many batches as fit the time, on a ledger of its own."""
    work = Work(path, seed)
    work.fill(fill)
    batches = work.batches(size)
    work.run(next(batches))
    taken, count = 0.0, 0
    while taken < seconds:
        batch = next(batches)
        taken += work.run(batch)
        count += len(batch)
    work.database.close()
    return count / taken


def measure(size: int, *, on_disk: bool, seconds: float, fill: int) -> float:
    """The median of `RUNS` runs."""
    figures = []
    for seed in range(RUNS):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "ledger.db" if on_disk else None
            figures.append(transfers_per_second(path, size, seconds, fill, seed))
    return statistics.median(figures)


def profile(size: int, seconds: float) -> None:
    """Where the time of one run in memory goes."""
    profiler = cProfile.Profile()
    work = Work(None, 0)
    batches = work.batches(size)
    taken = 0.0
    while taken < seconds:
        batch = next(batches)
        profiler.enable()
        taken += work.run(batch)
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(20)
    work.database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of measured time for each run (default 1)")
    parser.add_argument("--fill", type=int, default=0, help="transfers in the ledger beforehand (default 0)")
    parser.add_argument("--profile", type=int, metavar="SIZE", help="profile batches of this size instead")
    arguments = parser.parse_args()
    if arguments.profile:
        profile(arguments.profile, arguments.seconds)
        return
    print(f"Python {platform.python_version()}, {platform.machine()}; transfers per second")
    print(f"{'batch':>8} {'in memory':>12} {'on disk':>12}")
    for size in BATCH_SIZES:
        in_memory, on_disk = (
            measure(size, on_disk=on_disk, seconds=arguments.seconds, fill=arguments.fill) for on_disk in (False, True)
        )
        print(f"{size:>8,} {in_memory:>12,.0f} {on_disk:>12,.0f}", flush=True)


if __name__ == "__main__":
    main()
