"""``vuka transfer``: one transfer as the hub has it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer
from rich.markup import escape

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.fees import money
from vuka.cli.output import AsJson, console, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Transfers: how one stands, and how it came there.")


@app.command("show")
def show(
    transfer_id: Annotated[str, typer.Argument(help="The transfer's id, a UUID or a ULID.")],
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show a transfer and the history of its states.

    Example: [bold]vuka transfer show 7f2c…[/bold]
    """
    found = call(url, "GET", f"/transfers/{quote(transfer_id, safe='')}")
    if as_json:
        print_json(found)
        return
    amount = found["amount"]
    lines = {
        "transfer": found["transferId"],
        "kind": found["kind"],
        "from": found["payerFsp"],
        "to": found["payeeFsp"],
        "amount": f"{amount['amount']} {amount['currency']}",
        "state": f"{found['transferState']} ({found['internalState']})",
        "expires": found["expiration"],
        "completed": found["completedTimestamp"],
        "settlement window": found["settlementWindowId"],
        "error": found.get("errorInformation", {}).get("errorDescription"),
    }
    for label, value in lines.items():
        if value is not None:
            console.print(f"[bold]{label}[/]: {escape(str(value))}", highlight=False)
    fees = [
        (each["rule"], each["from"], each["to"], money(each["amount"]), each["ledgerAccountType"])
        for each in found.get("fees", ())
    ]
    if fees:
        print_table("Fees", ("rule", "from", "to", "amount>", "accounts"), fees)
    rows = [(each["createdDate"], each["state"], each["reason"]) for each in found["history"]]
    print_table("History", ("at (UTC)", "state", "reason"), rows)
