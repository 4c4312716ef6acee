"""``vuka audit``: recompute every balance and figure from transfers, and say where anything differs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from vuka.cli.options import DataDir, read_config
from vuka.cli.output import AsJson, console, print_json, print_table
from vuka.cli.reading import reading
from vuka.clock import clock_ms
from vuka.switch import auditlog
from vuka.switch.audit import Difference
from vuka.switch.audit import audit as run_audit
from vuka.switch.reconciliation import Reconciliation, reconcile


def audit(
    data: DataDir = None,
    as_json: AsJson = False,
    against_ledger: Annotated[
        bool,
        typer.Option("--against-ledger", help="Compare item by item too: records without a transfer, and the reverse."),
    ] = False,
) -> None:
    """Recompute every balance, position and headroom from transfers; exit 1 where anything differs.

    Every end of a transfer must be in the audit log too, and the other way round.

    Example: [bold]vuka audit --data ./hub --against-ledger[/bold]
    """
    items: Reconciliation | None = None
    with reading(read_config(data)) as (tx, ledger):
        report = run_audit(tx, ledger, now_ms=clock_ms())
        for mismatch in auditlog.compare(tx):
            report.differs(mismatch.rule, mismatch.subject, mismatch.expected, mismatch.found)
        if against_ledger:
            items = reconcile(tx, ledger, now_ms=clock_ms())
    differences = [*report.differences, *(items.differences if items is not None else ())]
    if as_json:
        told = msgspec.to_builtins(report)
        print_json(told if items is None else {**told, "against_ledger": msgspec.to_builtins(items)})
    else:
        console.print(
            f"Checked {report.accounts} accounts, {report.ledger_transfers} ledger transfers, "
            f"{report.transfers} transfers, {report.positions} positions.",
            highlight=False,
        )
        if items is not None:
            _print_items(items)
        _print_differences(differences)
    if differences:
        raise typer.Exit(1)


def _print_items(items: Reconciliation) -> None:
    console.print(
        f"Compared {items.records} records and {items.ledger_transfers} ledger transfers, one by one and both ways.",
        highlight=False,
    )
    if items.orphans:
        rows = [(each.transfer_id, each.amount, each.currency, str(each.free_ms)) for each in items.orphans]
        columns = ("transfer", "amount>", "currency", "free at (ms)>")
        print_table("Reservations without a record, which free themselves", columns, rows)


def _print_differences(differences: list[Difference]) -> None:
    if not differences:
        console.print("[bold green]The books balance.[/]")
        return
    rows = [(each.rule, each.subject, each.expected, each.found) for each in differences]
    print_table("Differences", ("rule", "where", "expected>", "found>"), rows)
