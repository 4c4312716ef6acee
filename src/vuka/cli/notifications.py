"""``vuka notification``: what people were told, what could not be delivered, and trying a channel."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.engine.outbox import DeliveryState
from vuka.plugins import NOTIFICATION_KINDS, THRESHOLD_BREACH

app = typer.Typer(
    no_args_is_help=True,
    help="Notifications: what people were told, by which channel, and what could not be delivered.",
)

Kind = Annotated[
    str | None, typer.Option("--kind", help=f"{', '.join(NOTIFICATION_KINDS[:-1])} or {NOTIFICATION_KINDS[-1]}.")
]
Number = Annotated[int, typer.Argument(metavar="NOTIFICATION", help="As `vuka notification list` lists it.", min=0)]
Channel = Annotated[str | None, typer.Option("--channel", help="Only by this channel.")]


@app.command("list")
def list_notifications(
    state: Annotated[
        str | None, typer.Option(help="Only those with a delivery that is PENDING, DELIVERED or PARKED.")
    ] = None,
    kind: Kind = None,
    participant: Annotated[str | None, typer.Option(help="Only those about this participant.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1000)] = 100,
    before: Annotated[str | None, typer.Option(help="Only those older than this notification.")] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List notifications, the newest first, with what became of their deliveries.

    Example: [bold]vuka notification list --state PARKED[/bold]
    """
    asked = {
        "state": state.upper() if state is not None else None,
        "kind": kind.upper() if kind is not None else None,
        "participant": participant,
        "before": before,
        "limit": limit,
    }
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    found: list[dict[str, Any]] = call(url, "GET", f"/notifications?{query}")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["notificationId"],
            each["createdDate"],
            each["kind"],
            each["participant"],
            _what(each),
            ", ".join(_outcome(delivery) for delivery in each["deliveries"]) or "nobody has an address",
        )
        for each in found
    ]
    print_table("Notifications", ("notification", "at", "kind", "participant", "what", "deliveries"), rows)


def _what(notification: dict[str, Any]) -> str:
    """A notification in a few words."""
    data, currency = notification["data"], notification["currency"]
    said = data.get("event") or data.get("cause") or f"settlement {data.get('settlementId')}"
    words = [said.lower(), f"position {data.get('position', '?')}", f"cap {data.get('limit', '?')} {currency}"]
    if "percentageUsed" in data:
        words.append(f"{data['percentageUsed']} %")
    return ", ".join(words)


def _outcome(delivery: dict[str, Any]) -> str:
    return f"{delivery['channel']} to {delivery['recipient']} {delivery['state'].lower()}"


@app.command("show")
def show(notification: Number, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one notification: its figures, and each delivery with why it failed.

    Example: [bold]vuka notification show 3751…[/bold]
    """
    found: dict[str, Any] = call(url, "GET", f"/notifications/{notification}")
    if as_json:
        print_json(found)
        return
    about = f"{found['kind']} of {found['participant']} in {found['currency']}, {found['createdDate']}"
    console.print(about, highlight=False, markup=False, soft_wrap=True)
    print_table("", ("figure", "value"), list(found["data"].items()))
    columns = ("delivery", "channel", "recipient", "address", "state", "attempts>", "last error", "changed")
    rows = [
        (
            each["id"],
            each["channel"],
            each["recipient"],
            each["address"],
            each["state"],
            each["attempts"],
            each["error"],
            each["changedDate"],
        )
        for each in found["deliveries"]
    ]
    print_table("Deliveries", columns, rows)


@app.command("resend")
def resend(
    notification: Annotated[
        int | None, typer.Argument(metavar="NOTIFICATION", help="As `vuka notification list` lists it.", min=0)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every delivery that is parked, instead of one's.")] = False,
    channel: Channel = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Have what is parked of a notification delivered again, or all that is parked.

    Example: [bold]vuka notification resend --all --channel smtp[/bold]
    """
    if (notification is None) == (not every):
        fail("Name one notification, or say --all.")
    path = "/notifications/resend" if notification is None else f"/notifications/{notification}/resend"
    answer = call(url, "POST", path, {"channel": channel} if channel is not None else {})
    count = answer["resent"]
    console.print(f"{count} {'delivery is' if count == 1 else 'deliveries are'} on the way again.", highlight=False)


@app.command("test")
def try_channel(
    channel: Annotated[str, typer.Argument(help="As `vuka notification channels` lists it, e.g. smtp.")],
    participant: Annotated[str | None, typer.Option(help="To this participant.", show_default="the hub")] = None,
    kind: Annotated[str, typer.Option(help="As which kind: each has an e-mail address of its own.")] = THRESHOLD_BREACH,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send a test by one channel and say what became of it. It says that it is a test, and nothing is noted.

    Example: [bold]vuka notification test smtp --participant greenbank[/bold]
    """
    body = {"channel": channel, "kind": kind.upper(), **({"participant": participant} if participant else {})}
    answer: dict[str, Any] = call(url, "POST", "/notifications/test", body)
    if as_json:
        print_json(answer)
    where = f"{answer['recipient']} ({answer['address']})" if answer["address"] else answer["recipient"]
    if answer["state"] != DeliveryState.DELIVERED:
        fail(f"{channel} could not deliver to {where}: {answer['error']}.")
    if not as_json:
        console.print(f"{channel} has delivered to {where}.", highlight=False, markup=False)


@app.command("channels")
def channels(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the channels that the hub has, and which endpoints hold the addresses of each.

    Example: [bold]vuka notification channels[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/notifications/channels")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            "participants and the hub" if each["tellsParticipants"] else "the hub",
            "\n".join(dict.fromkeys(each["endpoints"].values())) if each["endpoints"] is not None else "needs none",
        )
        for each in found
    ]
    print_table("Channels", ("channel", "tells", "endpoints"), rows)
