"""How long commits take: where a thread folds the write-ahead log beside them, and where they do it themselves.

    python benchmarks/commits.py
    python benchmarks/commits.py --batch 200 --transfers 100000 --runs 5

Transfers are prepared and committed in process, a few commands in a batch as a hub has them at half of what it can
clear: the same rules, ledger, journal and outbox, and the disk waited for at each commit. Both ways in turn, on a new
hub each time; what is printed are medians of the runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from growth import Filler, make_hub
from vuka.cli.bench.security import make_secrets
from vuka.cli.bench.session import BenchError, Terms
from vuka.cli.options import read_config
from vuka.cli.output import print_table

SHARES = (50, 90, 99, 99.9, 100)


def commits_ms(folder: Path, transfers: int, batch: int, *, folds_beside: bool) -> list[float]:
    """How long each commit took, in milliseconds, the shortest first. ``batch`` is in commands, two for a transfer."""
    data = folder / "hub"
    make_hub(Terms(folder, make_secrets(folder, 8)), data)
    filler = Filler(read_config(data), batch=max(batch // 2, 1), folds_beside=folds_beside)
    filler.fill(transfers)
    filler.close()
    return sorted(filler.commits_ms)


def at(ordered: list[float], share: float) -> float:
    """The value that so many per cent do not exceed."""
    return ordered[min(int(len(ordered) * share / 100), len(ordered) - 1)]


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=20_000, help="transfers a run")
    parser.add_argument("--batch", type=int, default=8, help="commands in a batch")
    parser.add_argument("--runs", type=int, default=3, help="runs of each way")
    parser.add_argument("--directory", type=Path, default=None, help="where the data goes while it runs")
    options = parser.parse_args()
    runs: dict[bool, list[list[float]]] = {True: [], False: []}
    for number in range(options.runs):
        for folds_beside, done in runs.items():
            print(f"run {number + 1} of {options.runs}", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="vuka-commits-", dir=options.directory) as folder:
                try:
                    done.append(commits_ms(Path(folder), options.transfers, options.batch, folds_beside=folds_beside))
                except BenchError as error:
                    sys.exit(str(error))
    print_table(
        f"Commits of {options.batch} commands",
        ["ms", "folded beside", "folded by commits"],
        [
            (
                "longest" if share == SHARES[-1] else f"p{share:g}",
                *(f"{statistics.median(at(each, share) for each in done):.2f}" for done in runs.values()),
            )
            for share in SHARES
        ],
    )


if __name__ == "__main__":
    main()
