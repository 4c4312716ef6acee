"""``python -m vuka.sim``: clearing load in a process of its own; prints a `LoadReport` as JSON."""

from __future__ import annotations

import argparse
import sys

import msgspec
import uvloop

from vuka.sim.load import Load, LoadReport


async def _run(arguments: argparse.Namespace) -> LoadReport:
    load = Load(
        hub_url=arguments.hub,
        operators_url=arguments.operators,
        participants=arguments.participants,
        reserve=not arguments.committed,
    )
    await load.start()
    try:
        return await load.run(
            concurrency=arguments.concurrency, warmup_seconds=arguments.warmup, seconds=arguments.seconds
        )
    finally:
        await load.stop()


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m vuka.sim", description="Clear transfers through a hub.")
    parser.add_argument("--hub", required=True, help="URL of the participants' API")
    parser.add_argument("--operators", required=True, help="URL of the operators' API")
    parser.add_argument("--participants", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=64, help="transfers under way at once")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds measured")
    parser.add_argument("--committed", action="store_true", help="payees answer COMMITTED, as in FSPIOP 1.0")
    report = uvloop.run(_run(parser.parse_args()))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


if __name__ == "__main__":
    main()
