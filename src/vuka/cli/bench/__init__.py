"""``vuka bench``: figures of this machine that can be repeated with one command."""

from __future__ import annotations

import typer

from vuka.cli.bench.command import bench
from vuka.cli.bench.ledger import ledger

app = typer.Typer(rich_markup_mode="rich")
app.callback(invoke_without_command=True)(bench)
app.command("ledger")(ledger)
