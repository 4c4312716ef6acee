"""Whether a payment costs the same however many came before it, and how soon a hub with many of them is up.

    python benchmarks/growth.py --transfers 10000 1000000 5000000
    python benchmarks/growth.py --transfers 0 --through 1000000      # memory after so many in one process

A hub's store is filled to each size with transfers that are committed in process, a thousand in a batch: the same
rules, ledger, journal and outbox as if they had come by HTTP, with each message marked delivered. Then ``vuka serve``
is started on it: the time until it is healthy, its memory, and what a transfer costs under load at that size. What was
measured is checked as by ``vuka bench``; the books are audited up to ``--audit-max`` transfers, above which an audit
takes longer than everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vuka.api.hub import clock_ms, use_cases
from vuka.api.wire import FspiopWire
from vuka.cli.bench.machine import Machine, describe
from vuka.cli.bench.observed import database_bytes, memory_of
from vuka.cli.bench.security import Security, make_secrets
from vuka.cli.bench.session import BenchError, Figures, Terms, drive, in_turn, running_hub, stop
from vuka.cli.bench.verify import DisagreementError, check
from vuka.cli.hub import found
from vuka.cli.options import read_config
from vuka.cli.output import print_table
from vuka.config import Config, load
from vuka.engine.batch import Rules, run_batch
from vuka.engine.keys import KeySource, key_floor
from vuka.engine.outbox import DeliveryState, Mark, Outbox, Outgoing
from vuka.fspiop.messages import body_hash
from vuka.fspiop.times import format_datetime_ms, format_http_date
from vuka.ids import FspId, TransferId, parse_id
from vuka.ledger.sql import SqlLedger
from vuka.money import Amount, Currency
from vuka.sim.bench.messages import AMOUNT, CURRENCY, Fields, Kind, Pair, make_pairs
from vuka.sim.bench.participants import NAMES
from vuka.sim.bench.plan import read_ends
from vuka.sim.bench.scenarios import SCENARIOS
from vuka.sim.bench.shapes import Shape
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET
from vuka.store.sqlite import Database
from vuka.switch.directory import DirectoryCache
from vuka.switch.quote_rules import QuoteRules
from vuka.switch.transfers import FulfilTransfer, PrepareTransfer
from vuka.switch.work import Command, Inbound

BATCH = 1_000
PLAIN = Security()
CLEARING = SCENARIOS["clearing"]


class AtSize(msgspec.Struct):
    """What a hub with so many transfers does."""

    transfers: int
    database_mib: float
    fill_per_second: float
    start_seconds: float
    """From the start of the process until it answers that it is healthy."""
    memory_mib_started: float
    figures: Figures
    audited: bool


class Growth(msgspec.Struct):
    """Everything."""

    machine: Machine
    seconds: float
    journal: bool
    sizes: list[AtSize]
    through: int = 0
    """Transfers that went through one process, at the last size."""
    memory_mib_through: float = 0.0


class Filler:
    """Commits transfers in process, as the engine does, among participants that the hub knows."""

    def __init__(self, config: Config, *, batch: int = BATCH) -> None:
        self._config = config
        self._batch = batch
        self.decide_seconds = 0.0
        """CPU that this thread has used to decide and write, without the commits."""
        self.commit_seconds = 0.0
        """CPU of the commits; what waited for the disk is not in it."""
        self._database = Database.open(config.database_path)
        self._pairs = make_pairs(NAMES[:8], reserves=True, host="127.0.0.1")
        self._rules = Rules(
            use_cases(QuoteRules()),
            config.scheme,
            FspiopWire(None),
            SqlLedger,
            DirectoryCache().load,
            config.journal.enabled,
        )
        self._keys = KeySource(above=key_floor(clock_ms()))
        self._outbox = Outbox(keeps_journal=config.journal.enabled)
        self._number = 0

    def fill(self, transfers: int) -> None:
        """So many transfers, from prepare to commit."""
        reserved: list[tuple[Pair, Fields]] = []
        delivered: Sequence[Outgoing] = ()
        left = transfers
        while left or reserved or delivered:
            size = min(self._batch, left)
            left -= size
            now_ms = clock_ms()
            following = [self._payment(now_ms) for _ in range(size)]
            commands: list[Command] = [self._fulfil(pair, fields, now_ms) for pair, fields in reserved]
            commands += [self._prepare(pair, fields, now_ms) for pair, fields in following]
            delivered = self._commit(commands, delivered, now_ms)
            reserved = following

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def _commit(self, commands: list[Command], delivered: Sequence[Outgoing], now_ms: int) -> Sequence[Outgoing]:
        marks = [Mark(each.delivery, DeliveryState.DELIVERED, 1, 200, None, now_ms) for each in delivered]
        began = time.thread_time()
        tx = self._database.start()
        batch = run_batch(
            tx,
            self._rules,
            commands,
            now_ms=now_ms,
            next_id=lambda: self._keys.next(now_ms),
            outbox=self._outbox,
            marks=marks,
        )
        decided = time.thread_time()
        tx.commit()
        self.decide_seconds += decided - began
        self.commit_seconds += time.thread_time() - decided
        if batch.written is not None:
            self._outbox.committed(batch.written)
        wrong = [each for each in batch.outcomes if each.error is not None or each.note.startswith("refused")]
        if wrong:
            raise AssertionError(f"no transfer should be refused: {wrong[0]}")
        return batch.outgoing

    def _payment(self, now_ms: int) -> tuple[Pair, Fields]:
        pair = self._pairs[self._number % len(self._pairs)]
        self._number += 1
        fields = {
            b"transfer": str(uuid.uuid4()).encode(),
            b"quote": b"",
            b"party": b"",
            b"date": format_http_date(now_ms).encode(),
            b"expires": format_datetime_ms(now_ms + 60_000).encode(),
            b"completed": format_datetime_ms(now_ms).encode(),
            b"signature": b"",
        }
        return pair, fields

    def _prepare(self, pair: Pair, fields: Fields, now_ms: int) -> PrepareTransfer:
        message = self._inbound(pair, Kind.PREPARE, fields, now_ms)
        return PrepareTransfer(
            message=message,
            transfer_id=TransferId(parse_id(message.ids[0])),
            payer_fsp=FspId(NAMES[pair.payer]),
            payee_fsp=FspId(NAMES[pair.payee]),
            amount=Amount(Currency(CURRENCY), AMOUNT),
            condition=CONDITION,
            ilp_packet=ILP_PACKET,
            expires_ms=now_ms + 60_000,
            body_hash=body_hash(message.body),
        )

    def _fulfil(self, pair: Pair, fields: Fields, now_ms: int) -> FulfilTransfer:
        message = self._inbound(pair, Kind.FULFIL, fields, now_ms)
        return FulfilTransfer(
            message=message,
            transfer_id=TransferId(parse_id(message.ids[0])),
            transfer_state="RESERVED",
            fulfilment=FULFILMENT,
            body_hash=body_hash(message.body),
        )

    def _inbound(self, pair: Pair, kind: Kind, fields: Fields, now_ms: int) -> Inbound:
        head, _, body = pair.forms[kind].fill(fields).partition(b"\r\n\r\n")
        request, *lines = head.decode().split("\r\n")
        method, path, _ = request.split(" ")
        source, destination = NAMES[pair.payer], NAMES[pair.payee]
        if kind is Kind.FULFIL:
            source, destination = destination, source
        return Inbound(
            message_id=self._keys.next(now_ms),
            method=method,
            path=path,
            headers=tuple((name, value) for name, _, value in (line.partition(": ") for line in lines)),
            body=body,
            source=FspId(source),
            destination=FspId(destination),
            resource="transfers",
            ids=(fields[b"transfer"].decode(),),
            version="1.1",
            answer_version="1.1",
            received_ms=now_ms,
        )


def measure(terms: Terms, data: Path, size: int, fill_per_second: float, audit_max: int) -> AtSize:
    """Starts a hub on the data and puts it under load. Raises `BenchError` and `DisagreementError`."""
    last = last_transfer(data)
    began = time.perf_counter()
    with running_hub(terms, PLAIN, data) as hub:
        started = time.perf_counter() - began
        memory = memory_of(hub.process.pid)
        driven = drive(terms, CLEARING, PLAIN, in_turn([Shape(concurrency=64)]), hub, data / "ends")
        stop(hub)
    audited = size <= audit_max
    check(data, read_ends(data / "ends"), after=last, audits=audited)
    return AtSize(
        transfers=size,
        database_mib=round(database_bytes(data / "vuka.db") / 2**20, 1),
        fill_per_second=round(fill_per_second, 1),
        start_seconds=round(started, 2),
        memory_mib_started=round(memory.now / 2**20, 1),
        figures=driven.figures[0],
        audited=audited,
    )


def put_through(terms: Terms, data: Path, transfers: int) -> tuple[int, float]:
    """Clears so many transfers in one process: how many it was, and the process's memory after them in MiB."""
    last = last_transfer(data)

    def following(figures: Sequence[Figures]) -> Shape | None:
        done = sum(each.report.ended for each in figures)
        return None if done >= transfers else Shape(concurrency=64)

    with running_hub(terms, PLAIN, data) as hub:
        driven = drive(terms, CLEARING, PLAIN, following, hub, data / "ends")
        stop(hub)
    agreed = check(data, read_ends(data / "ends"), after=last, audits=False)
    return agreed, driven.figures[-1].hub_memory_mib


def last_transfer(data: Path) -> int:
    """The number of the last transfer in a hub's records; 0 where there is none."""
    database = Database.open(data / "vuka.db", read_only=True)
    with contextlib.closing(database), database.read() as tx:
        ((last,),) = tx.query("SELECT COALESCE(MAX(transfer_seq), 0) FROM transfer")
    return int(last)


def run(options: argparse.Namespace, folder: Path) -> Growth:
    """Everything that was asked for."""
    terms = Terms(folder, make_secrets(folder, 8), journal=options.journal, seconds=options.seconds, warmup_seconds=1.0)
    data = folder / "hub"
    found(load(None, {}, data_dir=str(data)), "Growth", [CURRENCY])
    with running_hub(terms, PLAIN, data) as hub:
        # Nothing but taking everybody in.
        drive(terms, CLEARING, PLAIN, in_turn([]), hub, data / "ends")
        stop(hub)
    growth = Growth(describe(folder), options.seconds, options.journal, [])
    have = 0
    for size in sorted(options.transfers):
        config = read_config(data, is_at_home=True)
        config = msgspec.structs.replace(
            config, journal=msgspec.structs.replace(config.journal, enabled=options.journal)
        )
        filler = Filler(config)
        began = time.perf_counter()
        filler.fill(max(size - have, 0))
        filler.close()
        taken = time.perf_counter() - began
        print(f"{size:,} transfers filled in {taken:,.0f} s", file=sys.stderr)
        growth.sizes.append(measure(terms, data, size, max(size - have, 0) / taken, options.audit_max))
        have = max(size, have) + growth.sizes[-1].figures.report.ended
    if options.through:
        growth.through, growth.memory_mib_through = put_through(terms, data, options.through)
    return growth


def show(growth: Growth) -> None:
    """Prints it for people."""
    print(growth.machine.line())
    sizes = growth.sizes
    print_table(
        f"A hub with many transfers; 64 under way, {growth.seconds:g} s; journal {'on' if growth.journal else 'off'}",
        ("figure", *(f"after {each.transfers:,}>" for each in sizes)),
        [
            ("database MiB", *(f"{each.database_mib:,.0f}" for each in sizes)),
            ("start until healthy s", *(f"{each.start_seconds:.2f}" for each in sizes)),
            ("memory MiB when started", *(f"{each.memory_mib_started:.0f}" for each in sizes)),
            ("memory MiB under load", *(f"{each.figures.hub_memory_mib:.0f}" for each in sizes)),
            ("transfers/s", *(f"{each.figures.report.per_second:,.0f}" for each in sizes)),
            ("p99 ms", *(f"{each.figures.report.latency.p99_ms:,.1f}" for each in sizes)),
            ("hub CPU ms/transfer", *(f"{each.figures.hub_cpu_ms_per_transfer:.3f}" for each in sizes)),
            ("books audited", *("yes" if each.audited else "no" for each in sizes)),
            ("filled/s", *(f"{each.fill_per_second:,.0f}" for each in sizes)),
        ],
    )
    first, last = sizes[0], sizes[-1]
    if last is not first:
        ratio = last.figures.hub_cpu_ms_per_transfer / first.figures.hub_cpu_ms_per_transfer
        print(f"A transfer after {last.transfers:,} costs {ratio:.2f} times what one costs after {first.transfers:,}.")
    if growth.through:
        print(f"After {growth.through:,} transfers in one process the hub has {growth.memory_mib_through:.0f} MiB.")


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, nargs="+", default=[10_000, 1_000_000, 5_000_000], help="the sizes")
    parser.add_argument("--through", type=int, default=0, help="then clear so many in one process, and see its memory")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of load at each size")
    parser.add_argument(
        "--no-journal", dest="journal", action="store_false", help="keep no messages: a tenth of the disk"
    )
    parser.add_argument("--audit-max", type=int, default=200_000, help="the largest hub whose books are audited")
    parser.add_argument("--directory", type=Path, default=None, help="where the data goes while it runs")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vuka-growth-", dir=options.directory) as folder:
        try:
            growth = run(options, Path(folder))
        except (BenchError, DisagreementError) as error:
            sys.exit(str(error))
    show(growth)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(growth)) + b"\n")


if __name__ == "__main__":
    main()
