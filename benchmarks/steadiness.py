"""How steady a machine is: what the same half millisecond of Python takes, again and again, on one core and on two.

    python benchmarks/steadiness.py

On a virtual machine that shares its cores some of them take ten times as long, though nothing else runs in it. A p99 of
a hub that is measured there has that in it.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor

from vuka.cli.output import print_table

ROUNDS = 4_000
FIRST = 200


def work() -> dict[int, str]:
    """Always the same: objects made, kept and thrown away."""
    return {number: str(number) for number in range(ROUNDS)}


def took_ms(seconds: float) -> list[float]:
    """What each turn took in so many seconds, in milliseconds of the clock, the shortest first."""
    for _ in range(FIRST):
        work()
    turns: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work()
        turns.append((time.perf_counter() - began) * 1_000)
    return sorted(turns)


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="seconds for each line")
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    for processes in (1, 2):
        with ProcessPoolExecutor(processes) as pool:
            each = list(pool.map(took_ms, [options.seconds] * processes))
        turns = sorted(turn for one in each for turn in one)
        usual = turns[len(turns) // 2]
        shown = (turns[len(turns) * 99 // 100], turns[len(turns) * 999 // 1_000], turns[-1])
        rows.append((f"{processes}", f"{usual:.2f}", *(f"{turn / usual:.1f}" for turn in shown)))
    print_table(
        "The same work again and again",
        ["processes", "usual ms", "p99 times that", "p99.9 times", "longest times"],
        rows,
    )


if __name__ == "__main__":
    main()
