"""``vuka bench``: figures of this machine that can be repeated with one command."""

from __future__ import annotations

from vuka.cli.bench.command import bench

__all__ = ["bench"]
