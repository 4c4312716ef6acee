"""``vuka window`` and ``vuka settlement``: windows closed, settlements made and led to their end."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from vuka.cli import bank_files
from vuka.cli.bank_files import Number
from vuka.cli.client import DEFAULT_URL, HubUrl, call, find
from vuka.cli.output import AsJson, console, fail, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Settlements: what closed windows hold is discharged.")
windows = typer.Typer(no_args_is_help=True, help="Settlement windows: which transfers are settled together.")

Reason = Annotated[str, typer.Option("--reason", help="Why, for the records.")]
Reference = Annotated[str | None, typer.Option("--reference", help="The settlement bank's reference.")]

_STATES: Final = ("PS_TRANSFERS_RECORDED", "PS_TRANSFERS_RESERVED", "PS_TRANSFERS_COMMITTED", "SETTLED")


# --- windows ----------------------------------------------------------------------------------------------------


@windows.command("list")
def list_windows(
    state: Annotated[str | None, typer.Option(help="OPEN, CLOSED, PENDING_SETTLEMENT, SETTLED or ABORTED.")] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the settlement windows, the one changed last first.

    Example: [bold]vuka window list --state CLOSED[/bold]
    """
    asked = "fromDateTime=1970-01-01" if state is None else f"state={state.upper()}"
    found: list[dict[str, Any]] = find(url, f"/v2/settlementWindows?{asked}")
    if as_json:
        print_json(found)
        return
    rows = [(str(each["id"]), each["state"], each["createdDate"], each["changedDate"], _holds(each)) for each in found]
    print_table("Settlement windows", ("window", "state", "opened", "changed", "holds"), rows)


def _holds(window: dict[str, Any]) -> str:
    return ", ".join(f"{each['currencyId']} {each['ledgerAccountType']}" for each in window["content"])


@windows.command("show")
def show_window(number: Number, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what a settlement window holds, and how far each part of it is.

    Example: [bold]vuka window show 1[/bold]
    """
    window: dict[str, Any] = call(url, "GET", f"/v2/settlementWindows/{number}")
    if as_json:
        print_json(window)
        return
    console.print(f"Window {number} is {window['state']}: {window['reason']}", highlight=False, markup=False)
    rows = [
        (each["currencyId"], each["ledgerAccountType"], each["state"], str(each.get("settlementId", "")))
        for each in window["content"]
    ]
    print_table("Content", ("currency", "account", "state", "settlement"), rows)


@windows.command("close")
def close_window(
    number: Annotated[int | None, typer.Argument(help="Its number.", show_default="the open one", min=1)] = None,
    reason: Reason = "Closed by an operator",
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Close a settlement window; the next one opens in the same moment.

    Example: [bold]vuka window close --reason "end of day"[/bold]
    """
    if number is None:
        number = int(find(url, "/v2/settlementWindows?state=OPEN")[0]["id"])
    opened = call(url, "POST", f"/v2/settlementWindows/{number}", {"state": "CLOSED", "reason": reason})
    console.print(f"Window {number} is closed; {opened['id']} is open.", highlight=False)


# --- settlements ------------------------------------------------------------------------------------------------


@app.command("create")
def create(
    model: Annotated[str, typer.Option(help="The settlement model to settle by.")],
    window: Annotated[list[int], typer.Option(help="A closed window to settle; several times for several.", min=1)],
    reason: Reason = "Settled by an operator",
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Make a settlement of closed windows: who owes how much is netted.

    Example: [bold]vuka settlement create --model DEFAULTDEFERREDNET --window 1[/bold]
    """
    body = {"settlementModel": model, "reason": reason, "settlementWindows": [{"id": each} for each in window]}
    _print(url, call(url, "POST", "/v2/settlements", body, exact=True))


@app.command("list")
def list_settlements(
    state: Annotated[str | None, typer.Option(help="E.g. PENDING_SETTLEMENT.")] = None,
    currency: Annotated[str | None, typer.Option("--currency", "-c", help="Those that settle a currency.")] = None,
    window: Annotated[int | None, typer.Option(help="Those that settle a window.", min=1)] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List settlements.

    Example: [bold]vuka settlement list --state PENDING_SETTLEMENT[/bold]
    """
    filters = {
        "state": state and state.upper(),
        "currency": currency and currency.upper(),
        "settlementWindowId": window,
    }
    asked = "&".join(f"{name}={value}" for name, value in filters.items() if value is not None)
    found = find(url, f"/v2/settlements?{asked or 'fromDateTime=1970-01-01'}")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(each["id"]),
            each["state"],
            ", ".join(str(window["id"]) for window in each["settlementWindows"]),
            str(sum(len(participant["accounts"]) for participant in each["participants"])),
            each["changedDate"],
        )
        for each in found
    ]
    print_table("Settlements", ("settlement", "state", "windows", "accounts", "changed"), rows)


@app.command("show")
def show(number: Number, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a settlement: who owes, who is owed, and how far each account is.

    Example: [bold]vuka settlement show 1[/bold]
    """
    if as_json:
        print_json(call(url, "GET", f"/v2/settlements/{number}"))
        return
    _print(url, call(url, "GET", f"/v2/settlements/{number}", exact=True))


@app.command("advance")
def advance(
    number: Number,
    to: Annotated[str, typer.Option("--to", help=f"{', '.join(_STATES[:-1])} or {_STATES[-1]}.")],
    participant: Annotated[
        list[str] | None, typer.Option(help="Whose accounts; several times for several.", show_default="all")
    ] = None,
    reason: Reason = "Led on by an operator",
    reference: Reference = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Lead accounts of a settlement to a state, as far as the settlement bank is.

    Example: [bold]vuka settlement advance 1 --to PS_TRANSFERS_RECORDED[/bold]
    """
    state = to.upper()
    if state not in _STATES:
        fail(f"--to must be one of {', '.join(_STATES)}.")
    names = _owners(url)
    wanted = {"state": state, "reason": reason} | ({} if reference is None else {"externalReference": reference})
    updates: list[dict[str, Any]] = []
    seen: set[str] = set()
    for each in call(url, "GET", f"/v2/settlements/{number}")["participants"]:
        name = names[each["accounts"][0]["id"]]
        if participant and name not in participant:
            continue
        seen.add(name)
        accounts = [{"id": account["id"], **wanted} for account in each["accounts"] if account["state"] != state]
        if accounts:
            updates.append({"id": each["id"], "accounts": accounts})
    unknown = sorted(set(participant or ()) - seen)
    if unknown:
        fail(f"{', '.join(unknown)} has no account in settlement {number}. See: vuka settlement show {number}")
    answer = call(url, "PUT", f"/v2/settlements/{number}", {"participants": updates})
    refused = [
        f"{names[account['id']]}: {account['errorInformation']['errorDescription']}"
        for each in answer["participants"]
        for account in each["accounts"]
        if "errorInformation" in account
    ]
    if refused:
        fail(f"The hub refused some accounts, and settlement {number} is {answer['state']}: {'; '.join(refused)}")
    console.print(f"Settlement {number} is {answer['state']}.", highlight=False)


@app.command("finalise")
def finalise(
    number: Number, reason: Reason = "The bank has settled", reference: Reference = None, url: HubUrl = DEFAULT_URL
) -> None:
    """Lead a settlement through all the states that are left, to SETTLED.

    Example: [bold]vuka settlement finalise 1 --reference BANK-2026-11-24[/bold]
    """
    body = {"reason": reason} | ({} if reference is None else {"externalReference": reference})
    answer = call(url, "POST", f"/v2/settlements/{number}/finalise", body)
    console.print(f"Settlement {number} is {answer['state']}.", highlight=False)


@app.command("abort")
def abort(number: Number, reason: Reason = "Aborted by an operator", url: HubUrl = DEFAULT_URL) -> None:
    """Abort a settlement none of whose accounts is committed; its windows can be settled anew.

    Example: [bold]vuka settlement abort 1 --reason "the bank is closed"[/bold]
    """
    call(url, "PUT", f"/v2/settlements/{number}", {"state": "ABORTED", "reason": reason})
    console.print(f"Settlement {number} is ABORTED.", highlight=False)


def _owners(url: str) -> dict[int, str]:
    """Whose account each number is."""
    return {
        account["id"]: participant["name"]
        for participant in call(url, "GET", "/participants")
        for account in participant["accounts"]
    }


def _print(url: str, settlement: dict[str, Any]) -> None:
    names = _owners(url)
    console.print(f"Settlement {settlement['id']} is {settlement['state']}.", highlight=False)
    rows: list[tuple[str, ...]] = []
    for participant in settlement["participants"]:
        for account in participant["accounts"]:
            money = account["netSettlementAmount"]
            amount = Decimal(money["amount"])
            owes, is_owed = (f"{amount:,f}", "") if amount > 0 else ("", f"{-amount:,f}") if amount else ("0", "")
            rows.append((names[account["id"]], money["currency"], owes, is_owed, account["state"]))
    print_table(
        "Accounts",
        ("participant", "currency", "owes", "is owed", "state"),
        rows,
    )


app.command("export")(bank_files.export)
app.command("check-statement")(bank_files.check_statement)
app.command("import-statement")(bank_files.import_statement)
app.command("statements")(bank_files.statements)
