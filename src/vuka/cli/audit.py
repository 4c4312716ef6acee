"""``vuka audit``: recompute every balance and figure from transfers, and say where anything differs."""

from __future__ import annotations

import typer

from vuka.cli.options import DataDir, read_config
from vuka.cli.output import AsJson, console, print_json, print_table
from vuka.cli.reading import reading
from vuka.switch.audit import audit as run_audit


def audit(data: DataDir = None, as_json: AsJson = False) -> None:
    """Recompute every balance, position and headroom from transfers; exit 1 where anything differs.

    Example: [bold]vuka audit --data ./hub[/bold]
    """
    with reading(read_config(data)) as (tx, ledger):
        report = run_audit(tx, ledger)
    if as_json:
        print_json(report)
    else:
        console.print(
            f"Checked {report.accounts} accounts, {report.ledger_transfers} ledger transfers, "
            f"{report.transfers} transfers, {report.positions} positions.",
            highlight=False,
        )
        if report.differences:
            rows = [(each.rule, each.subject, each.expected, each.found) for each in report.differences]
            print_table("Differences", ("rule", "where", "expected>", "found>"), rows)
        else:
            console.print("[bold green]The books balance.[/]")
    if report.differences:
        raise typer.Exit(1)
