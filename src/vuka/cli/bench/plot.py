"""Figures as pictures (SVG): peaks side by side, and how latency spreads under each load.

Drawn by pygal, which comes with ``vuka[bench]``: a hub that clears payments draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from vuka.cli.bench.report import Bench, CellReport

PERCENTILES: Final = ("p50 ms", "p95 ms", "p99 ms", "p99.9 ms")


class NoPlotError(Exception):
    """There is nothing to draw with; the message says how to get it."""


def draw(bench: Bench, name: Callable[[str], Path]) -> list[Path]:
    """Writes the pictures to files that ``name`` gives for what they show; the files.

    Raises `NoPlotError` without pygal, `OSError` where a file can't be written.
    """
    try:
        import pygal
        from pygal.style import CleanStyle
    except ImportError:
        raise NoPlotError("no pictures: pip install 'vuka[bench]' draws them too") from None

    # Nothing is loaded from elsewhere when a picture is looked at.
    usual = {"js": [], "style": CleanStyle, "width": 900, "explicit_size": True, "truncate_legend": -1}
    peaks = pygal.HorizontalBar(
        title="Peak, payments a second",
        show_legend=False,
        print_values=True,
        height=120 + 40 * len(bench.cells),
        **usual,
    )
    peaks.x_labels = [f"{cell.scenario}, {cell.security}" for cell in reversed(bench.cells)]
    peaks.value_formatter = lambda value: f"{value:,.0f}"
    peaks.add("payments/s", [cell.peak.median["transfers/s"] for cell in reversed(bench.cells)])
    pictures = {"throughput": peaks}
    for scenario in dict.fromkeys(cell.scenario for cell in bench.cells):
        cell = max((each for each in bench.cells if each.scenario == scenario), key=_loads)
        chart = pygal.Line(
            title=f"Latency of {scenario}, {cell.security} (ms)",
            logarithmic=True,
            height=480,
            legend_at_bottom=True,
            **usual,
        )
        chart.x_labels = [each.removesuffix(" ms") for each in PERCENTILES]
        chart.value_formatter = lambda value: f"{value:,.1f}"
        for load in cell.loads:
            chart.add(load.name, [max(load.median[each], 0.01) for each in PERCENTILES])
        pictures[f"latency-{scenario}"] = chart
    files = []
    for shown, chart in pictures.items():
        file = name(shown)
        chart.render_to_file(str(file))
        files.append(file)
    return files


def _loads(cell: CellReport) -> int:
    return len(cell.loads)
