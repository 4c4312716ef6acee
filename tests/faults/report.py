"""What the long runs came to: ``python -m tests.faults.report DIRECTORY FILE`` gathers what each test has kept.

A test keeps a verdict, or a count of inputs, as one file in the directory that ``VUKA_SOAK_REPORT`` names; without it,
nothing is kept. The report is JSON, and a table on the terminal, a line for each scenario.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.faults.scheme import Verdict

REPORT_VARIABLE: Final = "VUKA_SOAK_REPORT"


class Inputs(msgspec.Struct, frozen=True):
    """How many inputs a decoder was tried with."""

    target: str
    inputs: int


class Report(msgspec.Struct):
    """All of it."""

    scenarios: list[Verdict] = []
    fuzzed: list[Inputs] = []

    @property
    def totals(self) -> dict[str, int]:
        """Summed up over the scenarios."""
        crashes = sum(count for each in self.scenarios for fault, count in each.faults.items() if "killed" in fault)
        return {
            "crashes_survived": crashes,
            "faults": sum(sum(each.faults.values()) for each in self.scenarios),
            "payments_checked": sum(each.payments for each in self.scenarios),
            "lost": sum(each.lost for each in self.scenarios),
            "doubled": sum(each.doubled for each in self.scenarios),
            "misled": sum(each.misled for each in self.scenarios),
            "problems": sum(len(each.problems) for each in self.scenarios),
            "inputs_fuzzed": sum(each.inputs for each in self.fuzzed),
        }


KINDS: Final[dict[str, tuple[type[Any], str]]] = {
    "verdict": (Verdict, "scenarios"),
    "inputs": (Inputs, "fuzzed"),
}


def keep(found: Verdict | Inputs) -> None:
    """Keeps a result for the report, where one is wanted."""
    directory = os.environ.get(REPORT_VARIABLE)
    if directory:
        kind = type(found).__name__.lower()
        Path(directory, f"{kind}-{uuid.uuid4()}.json").write_bytes(msgspec.json.encode(found))


def gather(directory: Path) -> Report:
    """Everything that was kept."""
    report = Report()
    for file in sorted(directory.glob("*.json")):
        kind, where = KINDS[file.name.partition("-")[0]]
        getattr(report, where).append(msgspec.json.decode(file.read_bytes(), type=kind))
    report.scenarios.sort(key=lambda each: each.scenario)
    report.fuzzed.sort(key=lambda each: each.target)
    return report


def lines(report: Report) -> Iterator[str]:
    """The report for people, a line for each scenario."""
    yield f"{'scenario':<28}{'payments':>9}{'lost':>6}{'doubled':>9}{'misled':>8}{'wrong':>7}{'s':>6}  faults"
    for each in report.scenarios:
        faults = ", ".join(f"{count:,} {fault}" for fault, count in each.faults.items()) or f"skipped: {each.skipped}"
        yield (
            f"{each.scenario:<28}{each.payments:>9,}{each.lost:>6}{each.doubled:>9}{each.misled:>8}"
            f"{len(each.problems):>7}{each.seconds:>6}  {faults}"
        )
    yield "in all: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.totals.items())


def main() -> None:
    """Gathers, writes and shows."""
    directory, target = map(Path, sys.argv[1:])
    report = gather(directory)
    told = {"totals": report.totals, **msgspec.to_builtins(report)}
    target.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    sys.stdout.write("\n".join(lines(report)) + "\n")


if __name__ == "__main__":
    main()
