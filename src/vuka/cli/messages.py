"""``vuka message``: what could not be delivered, and sending it again."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Messages the hub owes participants: waiting, parked, sent again.")


@app.command("parked")
def parked(
    participant: Annotated[str | None, typer.Option(help="Only those for this participant.")] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the messages that could not be delivered while they mattered.

    Example: [bold]vuka message parked --participant greenbank[/bold]
    """
    query = f"?{urlencode({'participant': participant})}" if participant is not None else ""
    found: list[dict[str, Any]] = call(url, "GET", f"/messages/parked{query}")
    if as_json:
        print_json(found)
        return
    columns = ("message", "participant", "method", "path", "attempts>", "last error", "at")
    rows = [
        (
            each["messageId"],
            each["participant"],
            each["method"],
            each["path"],
            each["attempts"],
            each["error"],
            each["parkedAt"],
        )
        for each in found
    ]
    print_table("Parked messages", columns, rows)


@app.command("resend")
def resend(
    message_id: Annotated[int, typer.Argument(help="The message, as `vuka message parked` lists it.")],
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Send a parked message again.

    Example: [bold]vuka message resend 3751…[/bold]
    """
    call(url, "POST", f"/messages/{message_id}/resend")
    console.print(f"Message {message_id} is on its way again.", highlight=False)


@app.command("queues")
def queues(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show how deliveries to each participant stand.

    Example: [bold]vuka message queues[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/messages/queues")
    if as_json:
        print_json(found)
        return
    columns = ("participant", "state", "queued>", "in flight>", "waiting to retry>", "delivered>", "parked>")
    rows = [
        (
            each["participant"],
            each["state"],
            each["queued"],
            each["inFlight"],
            each["waitingRetry"],
            each["delivered"],
            each["parked"],
        )
        for each in found
    ]
    print_table("Deliveries", columns, rows)
