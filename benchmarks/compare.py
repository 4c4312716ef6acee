"""Two commits, measured in turn: what a change costs or brings, by paired runs.

    python benchmarks/compare.py main HEAD --runs 5
    python benchmarks/compare.py v0.1.0 . --runs 5 --bench "--scenario payment --security jws --concurrency 64"

Each commit is checked out into a directory of its own (``.`` is this checkout as it stands, with what is not
committed). Where its dependencies are those of this checkout, this one's environment runs it; else it gets one of its
own. Then ``vuka bench`` runs on the two in turn, A B A B, so that what the machine does besides falls on both; a pair's
ratio is that of neighbours in time. Printed are the medians, and the median and range of the pairs' ratios: where five
pairs or more all point the same way, a word says so; else no difference was found. Both commits need this
``vuka bench``; nothing is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vuka.cli.output import print_table

ROOT = Path(__file__).parent.parent
DEPENDENCIES = ("pyproject.toml", "constraints.txt")
USUAL = "--scenario clearing --security plain --concurrency 64 --seconds 5"
PAIRS_MIN = 5
"""Of so many pairs without a difference, all point the same way once in sixteen times."""

HIGHER_IS_BETTER = frozenset(("transfers/s",))
FIGURES = (
    "transfers/s",
    "p50 ms",
    "p99 ms",
    "hub's part p99 ms",
    "hub CPU ms/transfer",
    "hub memory MiB",
    "written bytes/transfer",
    "commits (fsyncs)/transfer",
)


class Load(msgspec.Struct):
    """What is read of a load."""

    name: str
    median: dict[str, float]


class Cell(msgspec.Struct):
    """What is read of a scenario."""

    scenario: str
    security: str
    loads: list[Load]


class Bench(msgspec.Struct):
    """What is read of the figures of ``vuka bench --json``: another version may have more."""

    cells: list[Cell]


Measured = dict[tuple[str, str], float]
"""By cell and load, and figure."""


class Side(msgspec.Struct):
    """One of the two commits."""

    name: str
    commit: str
    directory: Path
    python: Path


def git(*arguments: str) -> str:
    """What git says. Ends the program with its words where it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False, text=True)
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def checked_out(name: str, directory: Path) -> Iterator[Side]:
    """A commit in a directory, with what it needs to run; taken away again at the end."""
    if name == ".":
        commit = git("describe", "--always", "--dirty=+", "--exclude=*")
        yield Side(name, commit, ROOT, Path(sys.executable))
        return
    commit = git("rev-parse", "--verify", "--short", f"{name}^{{commit}}")
    git("worktree", "add", "--detach", "--quiet", str(directory), commit)
    try:
        yield Side(name, commit, directory, environment_of(directory))
    finally:
        git("worktree", "remove", "--force", str(directory))


def environment_of(directory: Path) -> Path:
    """The interpreter that runs a checkout: this one where the dependencies are the same, else one made for it."""
    if all((directory / each).read_bytes() == (ROOT / each).read_bytes() for each in DEPENDENCIES):
        return Path(sys.executable)
    print(f"{directory.name}: other dependencies, so it gets an environment of its own", file=sys.stderr)
    done = subprocess.run(
        ["scripts/setup", "runtime"],
        cwd=directory,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{directory.name}: its environment can't be made")
    return directory / ".venv" / "bin" / "python"


def measure(side: Side, arguments: list[str]) -> Measured:
    """One run of ``vuka bench`` on a commit. Ends the program where it fails."""
    with tempfile.TemporaryDirectory() as output:
        command = [str(side.python), "-m", "vuka", "bench", *arguments, "--runs", "1", "--json", "--output", output]
        # The checkout's own source comes before the one that the interpreter was set up with.
        environment = {**os.environ, "PYTHONPATH": str(side.directory / "src")}
        done = subprocess.run(command, cwd=side.directory, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{side.name}: {shlex.join(['vuka', *command[3:]])} failed: see above")
    try:
        bench = msgspec.json.decode(done.stdout, type=Bench)
    except msgspec.DecodeError:
        sys.exit(f"{side.name} ({side.commit}) has another `vuka bench`: it can't be compared")
    return {
        (f"{cell.scenario}, {cell.security}, {load.name}", figure): load.median[figure]
        for cell in bench.cells
        for load in cell.loads
        for figure in FIGURES
        if figure in load.median
    }


def show(one: Side, other: Side, pairs: list[tuple[Measured, Measured]]) -> None:
    """Prints medians and ratios."""
    first, second = pairs[0]
    for cell in dict.fromkeys(cell for cell, _ in first):
        rows = []
        for figure in FIGURES:
            key = (cell, figure)
            if key not in first or key not in second:
                continue
            before, after = ([each[key] for each in side] for side in zip(*pairs, strict=True))
            ratios = [b / a for a, b in zip(before, after, strict=True) if a]
            ratio, spread, word = "", "", ""
            if ratios:
                ratio, spread = f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"
                word = judgement(figure, ratios)
            medians = (f"{statistics.median(each):,.3f}" for each in (before, after))
            rows.append((figure, *medians, ratio, spread, word))
        columns = ("figure", f"A {one.commit}>", f"B {other.commit}>", "B/A>", "of pairs", "")
        print_table(f"{cell}: medians of {len(pairs)} pairs", columns, rows)


def judgement(figure: str, ratios: list[float]) -> str:
    """A word where every pair says the same, and there are enough for that to be no accident."""
    if len(ratios) < PAIRS_MIN or min(ratios) <= 1 <= max(ratios):
        return ""
    return "better" if (min(ratios) > 1) == (figure in HIGHER_IS_BETTER) else "worse"


def main() -> None:
    """Reads the arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="A", help="a commit, or . for this checkout as it stands")
    parser.add_argument("after", metavar="B", help="another")
    parser.add_argument("--runs", type=int, default=5, help="pairs (default 5)")
    parser.add_argument("--bench", default=USUAL, help=f"what `vuka bench` is told (default: {USUAL})")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    arguments = shlex.split(options.bench)
    with (
        tempfile.TemporaryDirectory(prefix="vuka-compare-") as folder,
        checked_out(options.before, Path(folder) / "a") as one,
        checked_out(options.after, Path(folder) / "b") as other,
    ):
        pairs = []
        for number in range(options.runs):
            print(f"pair {number + 1} of {options.runs}", file=sys.stderr)
            pairs.append((measure(one, arguments), measure(other, arguments)))
        show(one, other, pairs)


if __name__ == "__main__":
    main()
