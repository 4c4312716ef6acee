"""What closing a settlement window does to clearing, when the window holds a million transfers.

    python benchmarks/window_close.py [--transfers 1000000] [--runs 3] [--seconds 5] [--concurrency 64]

The window is filled first, while no hub runs: the switch and the ledger clear real transfers, thousands in a commit,
with all their rows but those of messages, for nobody sends any. Then, for each run, a hub is started on a copy of those
data and clears under load, three times so many seconds: before the close, around it (it comes in the first of them, so
that what it holds up is measured), and after. Latency is measured by the payer, from its POST to the hub's final
callback. In the end the window of the last run is settled and its books are audited: the million, and what was cleared
beside.

Figures are medians of the runs. With the defaults it takes about five minutes on two quiet cores, and 4 GB of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from itertools import cycle, islice
from pathlib import Path

import msgspec
import uvloop

from vuka.api.hub import FEES, clock_ms
from vuka.cli.hub import found
from vuka.cli.options import read_config
from vuka.cli.process import HubProcess, hub_process
from vuka.cli.reading import reading
from vuka.config import Config, load
from vuka.engine.keys import KeySource
from vuka.ids import FspId, TransferId
from vuka.ledger.sql import SqlLedger
from vuka.money import Amount, Currency
from vuka.sim.load import AMOUNT, CURRENCY, EXPIRES_MS, Load, LoadReport
from vuka.sim.unquoted import CONDITION, FULFILMENT, ILP_PACKET
from vuka.store.sqlite import Database
from vuka.switch import transfers
from vuka.switch.audit import audit
from vuka.switch.directory import DirectoryCache
from vuka.switch.scheme import DEFAULT_MODEL
from vuka.switch.work import Inbound, Work

PARTICIPANTS = 8
BATCH = 4_000
"""Transfers that the filling clears in one commit."""

WINDOW = 1
"""The one that a new scheme has open."""

CLOSING = {"state": "CLOSED", "reason": "measured"}

WARMUP_SECONDS = 3.0
CLOSE_AFTER_SECONDS = 0.5
"""How long after a measurement begins the window is closed."""

FILL_CACHE_KIB = 1_000_000


class Run(msgspec.Struct):
    """One close of the full window under load."""

    before: LoadReport
    around: LoadReport
    after: LoadReport
    close_ms: float
    """From the operator's request to its answer, the queue of payments included."""


def main() -> None:
    """Runs and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=1_000_000, help="in the window when it closes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="seconds of each measurement")
    parser.add_argument("--concurrency", type=int, default=64, help="transfers under way at once")
    parser.add_argument("--directory", type=Path, default=None, help="where to work; the system's own by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vuka-window-", dir=options.directory) as folder:
        full, copy = Path(folder) / "full", Path(folder) / "run"
        uvloop.run(_found(full))
        started = time.monotonic()
        _fill(read_config(full, is_at_home=True), options.transfers)
        size = (full / "vuka.db").stat().st_size / 2**30
        took = time.monotonic() - started
        print(f"filled the window with {options.transfers:,} transfers in {took:.0f} s, {size:.1f} GiB", flush=True)
        runs: list[Run] = []
        for number in range(options.runs):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(full, copy)
            with hub_process(copy) as hub:
                run = uvloop.run(_run(hub, options.seconds, options.concurrency))
                if number == options.runs - 1:
                    uvloop.run(_settle(hub))
            runs.append(run)
            print(f"run {number + 1}: {_words([run])}", flush=True)
        print(f"median of {len(runs)}: {_words(runs)}", flush=True)
        with reading(read_config(copy, is_at_home=True)) as (tx, ledger):
            report = audit(tx, ledger)
        if report.differences:
            sys.exit(f"the books do not balance: {report.differences[:3]}")
        print(f"the window is settled; the books balance, {report.transfers:,} transfers recomputed")


def _words(runs: list[Run]) -> str:
    parts = {
        "before": [run.before for run in runs],
        "around the close": [run.around for run in runs],
        "after": [run.after for run in runs],
    }
    figures: list[str] = []
    for words, part in parts.items():
        p99, p999, rate = (
            statistics.median(getattr(each, figure) for each in part) for figure in ("p99_ms", "p999_ms", "per_second")
        )
        figures.append(f"{words} p99 {p99:.1f} ms, p99.9 {p999:.1f} ms, {rate:,.0f} transfers/s")
    close_ms = statistics.median(run.close_ms for run in runs)
    return f"{'; '.join(figures)}; the close took {close_ms:.1f} ms"


# --- the full window ------------------------------------------------------------------------------------------------


async def _found(data: Path) -> None:
    """Makes a hub that knows the participants of the load."""
    found(load(None, {}, data_dir=str(data)), "Windows", [CURRENCY])
    with hub_process(data) as hub:
        participants = _load(hub)
        await participants.start()
        await participants.stop()


def _load(hub: HubProcess) -> Load:
    return Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=PARTICIPANTS)


def _fill(config: Config, count: int) -> None:
    """Clears ``count`` transfers among the participants of the load, from prepare to commit."""
    database = Database.open(config.database_path)
    with database.begin() as tx:
        # Ids are random: with a small cache every batch would read half of the file again.
        tx.run(f"PRAGMA cache_size = -{FILL_CACHE_KIB}")
    keys, directories = KeySource(), DirectoryCache()
    names = [FspId(f"loadfsp{number:02d}") for number in range(PARTICIPANTS)]
    pairs = cycle([(payer, payee) for payer in names for payee in names if payer is not payee])
    gc.disable()
    for done in range(0, count, BATCH):
        now_ms = clock_ms()
        prepares = [_prepare(payer, payee, now_ms) for payer, payee in islice(pairs, min(BATCH, count - done))]
        with database.begin() as tx:
            work = Work(
                tx=tx,
                ledger=SqlLedger(tx, now_ms * 1_000_000),
                now_ms=now_ms,
                scheme=config.scheme,
                next_id=lambda: keys.next(now_ms),  # noqa: B023 - used within this round
                load_directory=directories.load,
            )
            transfers.prepare(work, prepares)
            transfers.fulfil(work, [_fulfil(each, now_ms) for each in prepares], fees=FEES)
        gc.collect(0)
    gc.enable()
    with database.read() as tx:
        ((held,),) = tx.query("SELECT SUM(transfers) FROM window_flow")
    database.close()
    if held != count:
        sys.exit(f"the window holds {held} transfers instead of {count}")


def _prepare(payer: FspId, payee: FspId, now_ms: int) -> transfers.PrepareTransfer:
    transfer_id = uuid.uuid4()
    return transfers.PrepareTransfer(
        message=_message("POST", str(transfer_id), payer, payee, now_ms),
        transfer_id=TransferId(transfer_id.bytes),
        payer_fsp=payer,
        payee_fsp=payee,
        amount=Amount(Currency(CURRENCY), AMOUNT),
        condition=CONDITION,
        ilp_packet=ILP_PACKET,
        expires_ms=now_ms + EXPIRES_MS,
        body_hash=bytes(32),
    )


def _fulfil(prepared: transfers.PrepareTransfer, now_ms: int) -> transfers.FulfilTransfer:
    wire_id, payer, payee = prepared.message.resource_id, prepared.payer_fsp, prepared.payee_fsp
    return transfers.FulfilTransfer(
        message=_message("PUT", wire_id, payee, payer, now_ms),
        transfer_id=prepared.transfer_id,
        transfer_state="COMMITTED",
        fulfilment=FULFILMENT,
        body_hash=bytes(32),
    )


def _message(method: str, wire_id: str, source: FspId, destination: FspId, now_ms: int) -> Inbound:
    return Inbound(
        message_id=0,
        method=method,
        path="/transfers",
        headers=(),
        body=b"",
        source=source,
        destination=destination,
        resource="transfers",
        ids=(wire_id,),
        version="1.1",
        answer_version="1.1",
        received_ms=now_ms,
    )


# --- the close ------------------------------------------------------------------------------------------------------


async def _run(hub: HubProcess, seconds: float, concurrency: int) -> Run:
    before, _ = await _clear(hub, seconds, concurrency)
    around, close_ms = await _clear(hub, seconds, concurrency, closes=True)
    after, _ = await _clear(hub, seconds, concurrency)
    return Run(before, around, after, close_ms)


async def _clear(
    hub: HubProcess, seconds: float, concurrency: int, *, closes: bool = False
) -> tuple[LoadReport, float]:
    """Clears under load; the full window is closed meanwhile or not. How long that took, in milliseconds."""
    participants = _load(hub)
    await participants.start()
    clearing = asyncio.create_task(
        participants.run(concurrency=concurrency, warmup_seconds=WARMUP_SECONDS, seconds=seconds)
    )
    close_ms = 0.0
    if closes:
        await asyncio.sleep(WARMUP_SECONDS + CLOSE_AFTER_SECONDS)
        started = time.perf_counter()
        await participants.operator.do("POST", f"/v2/settlementWindows/{WINDOW}", CLOSING)
        close_ms = (time.perf_counter() - started) * 1000
    report = await clearing
    await participants.stop()
    if report.disagreements or report.unfinished or not report.transfers:
        sys.exit(f"payer and payee disagree or wait: {report.disagreements[:3]}, {report.unfinished} unfinished")
    return report, close_ms


async def _settle(hub: HubProcess) -> None:
    """Settles the window that was closed."""
    participants = _load(hub)
    asked = {"settlementModel": DEFAULT_MODEL, "reason": "measured", "settlementWindows": [{"id": WINDOW}]}
    made = await participants.operator.do("POST", "/v2/settlements", asked)
    path = f"/v2/settlements/{made['id']}/finalise"
    settled = await participants.operator.do("POST", path, {"reason": "measured"})
    await participants.client.close()
    if settled["state"] != "SETTLED":
        sys.exit(f"the settlement is {settled['state']}")


if __name__ == "__main__":
    main()
