"""``python -m vuka.sim.bench``: participants in a process of their own, told by lines of JSON what to do."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from vuka.sim.bench.participants import Participants, settle
from vuka.sim.bench.plan import READY, Phase, Setting, write_ends

YOUNG_OBJECTS: Final = 50_000
"""Objects made between two runs of the garbage collector, so that it seldom stands between two messages."""


async def _play() -> None:
    loop = asyncio.get_running_loop()
    setting = msgspec.json.decode(await loop.run_in_executor(None, sys.stdin.readline), type=Setting)
    participants = Participants(setting)
    try:
        await participants.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, 20, 50)
        _say(READY)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            _say(await participants.run(msgspec.json.decode(line, type=Phase), _say))
        if participants.scenario.closes_every_seconds is not None:
            await settle(participants.operator)
        if setting.ends_file:
            write_ends(Path(setting.ends_file), participants.ends())
    finally:
        await participants.stop()


def _say(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Runs until the input ends."""
    uvloop.run(_play())


if __name__ == "__main__":
    main()
