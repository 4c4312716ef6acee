"""``python -m vuka.sim``: participants in a process of their own.

As it is, clearing load: many participants, the transfer leg alone, and a `LoadReport` as JSON at the end. With
``--cast`` the participants of the demo, with customers and their control API, until the process is told to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from vuka.sim.load import Load, LoadReport
from vuka.sim.outcomes import Outcomes
from vuka.sim.scenario import Cast


async def _load(arguments: argparse.Namespace) -> LoadReport:
    outcomes = Outcomes(arguments.outcomes) if arguments.outcomes is not None else None
    load = Load(
        hub_url=arguments.hub,
        operators_url=arguments.operators,
        participants=arguments.participants,
        prefix=arguments.prefix,
        reserve=not arguments.committed,
        outcomes=outcomes,
    )
    try:
        await load.start()
        if arguments.count is not None:
            return await load.run_count(
                concurrency=arguments.concurrency, count=arguments.count, warmup=arguments.warmup_count
            )
        return await load.run(
            concurrency=arguments.concurrency, warmup_seconds=arguments.warmup, seconds=arguments.seconds
        )
    finally:
        await load.stop()
        if outcomes is not None:
            outcomes.close()


async def _cast(arguments: argparse.Namespace) -> None:
    """Runs the cast; the first line that it prints says where each participant listens."""
    with contextlib.ExitStack() as stack:
        outcomes = stack.enter_context(Outcomes(arguments.outcomes)) if arguments.outcomes is not None else None
        cast = Cast(arguments.hub, arguments.operators, outcomes=outcomes)
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        try:
            await cast.start()
            _print({name: participant.url for name, participant in cast.participants.items()})
            await stopping.wait()
        finally:
            await cast.stop()


def _print(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vuka.sim", description="Clear transfers through a hub.")
    parser.add_argument("--hub", required=True, help="URL of the participants' API")
    parser.add_argument("--operators", required=True, help="URL of the operators' API")
    parser.add_argument("--cast", action="store_true", help="run the demo's participants until stopped, and no load")
    parser.add_argument("--participants", type=int, default=8)
    parser.add_argument("--prefix", default="loadfsp", help="what the participants' names begin with")
    parser.add_argument("--concurrency", type=int, default=64, help="transfers under way at once")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds measured")
    parser.add_argument("--count", type=int, default=None, help="measure so many transfers, however long they take")
    parser.add_argument("--warmup-count", type=int, default=0, help="transfers before those")
    parser.add_argument("--committed", action="store_true", help="payees answer COMMITTED, as in FSPIOP 1.0")
    parser.add_argument("--outcomes", type=Path, default=None, help="file to which every end is appended as JSON")
    return parser


def main() -> None:
    """Reads the arguments and runs."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.participants < 2:
        parser.error("--participants must be 2 or more")
    if arguments.concurrency < 1 or (arguments.count is not None and arguments.count < 1):
        parser.error("--concurrency and --count must be 1 or more")
    if arguments.cast:
        uvloop.run(_cast(arguments))
        return
    _print(uvloop.run(_load(arguments)))


if __name__ == "__main__":
    main()
