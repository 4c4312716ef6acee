"""``vuka trace``: the whole story of one payment."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vuka.cli.options import DataDir, read_config
from vuka.cli.output import AsJson, console, fail, print_json
from vuka.cli.reading import reading
from vuka.engine.story import Event, EventKind, tell, to_mermaid

_ARROWS = {
    EventKind.MESSAGE_IN: "→",
    EventKind.MESSAGE_OUT: "→",
    EventKind.DELIVERY: "⇢",
}


def trace(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Any id of the payment: transfer, quote, transaction.")],
    data: DataDir = None,
    diagram: Annotated[bool, typer.Option("--diagram", help="Print a Mermaid sequence diagram.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell the whole story of one payment: lookup, quote, transfer, deliveries, ledger entries, states.

    Example: [bold]vuka trace 7f2c… --diagram[/bold]
    """
    with reading(read_config(data)) as (tx, ledger):
        story = tell(tx, ledger, wanted)
    if story is None:
        fail(f"No message and no record has the id {wanted}.")
    if as_json:
        print_json(story)
        return
    if diagram:
        typer.echo(to_mermaid(story), nl=False)
        return
    first_ms = story.events[0].at_ms
    if story.state:
        parties = escape(f"from {story.payer_fsp} to {story.payee_fsp}")
        console.print(f"[bold]{story.amount}[/] {parties}: [bold]{story.state}[/]")
    else:
        console.print(f"No payment has the id {wanted}, only messages:", highlight=False, markup=False)
    for label, value in (
        ("transfer", story.transfer_id),
        ("quote", story.quote_id),
        ("transaction", story.transaction_id),
        ("party", story.party),
    ):
        if value is not None:
            console.print(f"  {label}: {value}", highlight=False, markup=False)
    rows = [(_time(event.at_ms), f"+{event.at_ms - first_ms} ms", event.kind, _who(event), event.text)
            for event in story.events]  # fmt: skip
    table = Table(box=box.SIMPLE, header_style="bold", pad_edge=False)
    for column in ("time (UTC)", "since start", "what", "who"):
        table.add_column(column, justify="right" if column == "since start" else "left", no_wrap=True)
    table.add_column("event", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(each)) for each in row))
    console.print(table)


def _time(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%H:%M:%S.%f")[:-3]


def _who(event: Event) -> str:
    arrow = _ARROWS.get(event.kind)
    return f"{event.source} {arrow} {event.destination}" if arrow is not None else event.source
