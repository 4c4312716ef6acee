"""``vuka participant``: who takes part, with which limits, and where their callbacks go."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.fspiop.endpoints import EndpointKind, EndpointType
from vuka.money import AmountError, parse_decimal

app = typer.Typer(no_args_is_help=True, help="Participants (DFSPs): add, show, limit, connect, switch on and off.")

Name = Annotated[str, typer.Argument(help="The participant's name, as FSPIOP-Source carries it.")]
CurrencyOption = Annotated[str, typer.Option("--currency", "-c", help="The currency, e.g. USD.")]

# The paths under a participant's base URL, as Mojaloop's own provisioning scripts register them.
_PATHS = {
    EndpointType.TRANSFER_POST: "/transfers",
    EndpointType.TRANSFER_PUT: "/transfers/{{transferId}}",
    EndpointType.TRANSFER_ERROR: "/transfers/{{transferId}}/error",
    EndpointType.PARTICIPANT_PUT: "/participants/{{partyIdType}}/{{partyIdentifier}}",
    EndpointType.PARTICIPANT_PUT_ERROR: "/participants/{{partyIdType}}/{{partyIdentifier}}/error",
    EndpointType.PARTICIPANT_SUB_ID_PUT: "/participants/{{partyIdType}}/{{partyIdentifier}}/{{partySubIdOrType}}",
    EndpointType.PARTICIPANT_SUB_ID_PUT_ERROR: (
        "/participants/{{partyIdType}}/{{partyIdentifier}}/{{partySubIdOrType}}/error"
    ),
    EndpointType.PARTICIPANT_BATCH_PUT: "/participants/{{requestId}}",
    EndpointType.PARTICIPANT_BATCH_PUT_ERROR: "/participants/{{requestId}}/error",
    EndpointType.PARTIES_GET: "/parties/{{partyIdType}}/{{partyIdentifier}}",
    EndpointType.PARTIES_PUT: "/parties/{{partyIdType}}/{{partyIdentifier}}",
    EndpointType.PARTIES_PUT_ERROR: "/parties/{{partyIdType}}/{{partyIdentifier}}/error",
    EndpointType.PARTIES_SUB_ID_GET: "/parties/{{partyIdType}}/{{partyIdentifier}}/{{partySubIdOrType}}",
    EndpointType.PARTIES_SUB_ID_PUT: "/parties/{{partyIdType}}/{{partyIdentifier}}/{{partySubIdOrType}}",
    EndpointType.PARTIES_SUB_ID_PUT_ERROR: "/parties/{{partyIdType}}/{{partyIdentifier}}/{{partySubIdOrType}}/error",
    EndpointType.QUOTES: "",
    EndpointType.BULK_QUOTES: "",
    EndpointType.FX_QUOTES: "",
}


def _amount(text: str) -> str:
    """An amount of the command line, checked, as the API takes it."""
    try:
        minor = parse_decimal(text)
    except AmountError as error:
        fail(f"{error}.")
    if minor < 0:
        fail("A net debit cap is 0 or more.")
    return str(Decimal(minor) / 10_000)


@app.command("list")
def list_participants(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the participants and the currencies they hold.

    Example: [bold]vuka participant list[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/participants")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            "yes" if each["isActive"] else "no",
            ", ".join(sorted({account["currency"] for account in each["accounts"]})),
        )
        for each in found
    ]
    print_table("Participants", ("name", "active", "currencies"), rows)


@app.command("add")
def add(
    name: Name,
    currency: CurrencyOption,
    cap: Annotated[
        str | None, typer.Option("--cap", help="Its net debit cap; sets its limits and activates its accounts.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--callback", help="The base URL of its FSPIOP API; sets its endpoints.")
    ] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add a participant, or a currency to one.

    Example: [bold]vuka participant add greenbank -c USD --cap 1000 --callback http://127.0.0.1:5001[/bold]
    """
    limit = _amount(cap) if cap is not None else None
    made = call(url, "POST", "/participants", {"name": name, "currency": currency})
    if limit is not None:
        body = {"currency": currency, "limit": {"type": "NET_DEBIT_CAP", "value": limit}, "initialPosition": 0}
        call(url, "POST", f"/participants/{quote(name, safe='')}/initialPositionAndLimits", body)
    if base_url is not None:
        _connect(url, name, base_url)
    if as_json:
        print_json(made)
        return
    console.print(f"Added [bold]{name}[/] in {currency}.")


@app.command("show")
def show(name: Name, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a participant's accounts, limits, alarms that stand, and endpoints.

    Example: [bold]vuka participant show greenbank[/bold]
    """
    path = f"/participants/{quote(name, safe='')}"
    participant = call(url, "GET", path)
    accounts = call(url, "GET", f"{path}/accounts")
    limits = call(url, "GET", f"{path}/limits")
    endpoints = call(url, "GET", f"{path}/endpoints")
    alarms: list[dict[str, Any]] = call(url, "GET", f"/alarms?participant={quote(name, safe='')}")
    if as_json:
        print_json({**participant, "accounts": accounts, "limits": limits, "endpoints": endpoints, "alarms": alarms})
        return
    caps = {each["currency"]: each["limit"]["value"] for each in limits}
    rows = [
        (
            each["id"],
            each["ledgerAccountType"],
            each["currency"],
            each["value"],
            caps.get(each["currency"]) if each["ledgerAccountType"] == "POSITION" else None,
            "yes" if each["isActive"] else "no",
        )
        for each in accounts
    ]
    state = "active" if participant["isActive"] else "not active"
    print_table(f"{name} ({state})", ("id>", "account", "currency", "value>", "net debit cap>", "active"), rows)
    if alarms:
        columns = ("currency", "alarm at>", "position>", "used>", "can still send>", "since", "reminders>")
        print_table("Alarms about the use of its net debit caps", columns, [_alarm(each) for each in alarms])
    print_table("Endpoints", ("type", "value"), [(each["type"], each["value"]) for each in endpoints])


def _alarm(alarm: dict[str, Any]) -> tuple[object, ...]:
    used = f"{alarm['percentageUsed']} %" if "percentageUsed" in alarm else "beyond a cap of 0"
    return (
        alarm["currency"],
        f"{alarm['threshold']} %",
        alarm["position"],
        used,
        alarm["available"],
        alarm["raisedDate"],
        alarm["repeats"],
    )


@app.command("limit")
def limit(
    name: Name,
    cap: Annotated[str, typer.Argument(help="The new net debit cap: an amount, or a share of its liquidity as 25%.")],
    currency: CurrencyOption,
    alarm: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="At how much use of it, in percent, an alarm is raised; 0: none.",
            show_default="as it is",
        ),
    ] = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Set a participant's net debit cap.

    Example: [bold]vuka participant limit greenbank 5000 -c USD[/bold]
    """
    path = f"/participants/{quote(name, safe='')}"
    is_share = cap.endswith("%")
    value = _amount(cap.removesuffix("%"))
    limits = call(url, "GET", f"{path}/limits?currency={quote(currency)}")
    if not limits:
        # The first limits are an amount, whatever they become.
        first: dict[str, Any] = {"type": "NET_DEBIT_CAP", "value": "0" if is_share else value}
        body = {"currency": currency, "limit": first, "initialPosition": 0}
        call(url, "POST", f"{path}/initialPositionAndLimits", body)
    if limits or is_share or alarm is not None:
        percentage = alarm
        if percentage is None:
            from vuka.switch.participants import ALARM_PERCENTAGE_DEFAULT

            percentage = limits[0]["limit"]["alarmPercentage"] if limits else ALARM_PERCENTAGE_DEFAULT
        wanted = {"liquidityPercentage" if is_share else "value": value, "alarmPercentage": percentage}
        body = {"currency": currency, "limit": {"type": "NET_DEBIT_CAP", **wanted}}
        call(url, "PUT", f"{path}/limits", body)
    said = f"{value} % of its {currency} liquidity" if is_share else f"{value} {currency}"
    console.print(f"{name}: net debit cap {said}.", highlight=False)
    if alarm is not None:
        console.print(f"{name}: alarm percentage {alarm} %." if alarm else f"{name}: no alarm.", highlight=False)


@app.command("endpoint")
def endpoint(
    name: Name,
    endpoint_type: Annotated[str, typer.Argument(metavar="TYPE", help="The endpoint type, or `all` for a base URL.")],
    value: Annotated[str, typer.Argument(help="The URL or URL template.")],
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Set where a participant is called back: one endpoint type, or all of them under one base URL.

    Example: [bold]vuka participant endpoint greenbank all http://127.0.0.1:5001[/bold]
    """
    if endpoint_type == "all":
        _connect(url, name, value)
    else:
        known = {each.value for each in EndpointType}
        if endpoint_type not in known:
            shown = "\n  ".join(each.value for each in EndpointType if each.kind is not EndpointKind.OTHER)
            fail(f"{endpoint_type} is not an endpoint type. Those for callbacks are:\n  {shown}")
        call(url, "POST", f"/participants/{quote(name, safe='')}/endpoints", {"type": endpoint_type, "value": value})
    console.print(f"{name}: endpoints set.")


def _connect(url: str, name: str, base_url: str) -> None:
    for endpoint_type, path in _PATHS.items():
        body = {"type": endpoint_type.value, "value": base_url.rstrip("/") + path}
        call(url, "POST", f"/participants/{quote(name, safe='')}/endpoints", body)


@app.command("activate")
def activate(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Let a participant take part again.

    Example: [bold]vuka participant activate greenbank[/bold]
    """
    call(url, "PUT", f"/participants/{quote(name, safe='')}", {"isActive": True})
    console.print(f"{name} is active.")


@app.command("deactivate")
def deactivate(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Stop a participant's new payments; what is reserved goes on.

    Example: [bold]vuka participant deactivate greenbank[/bold]
    """
    call(url, "PUT", f"/participants/{quote(name, safe='')}", {"isActive": False})
    console.print(f"{name} is not active.")
