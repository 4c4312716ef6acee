"""``vuka funds``: money that a participant places at the settlement bank, and takes back."""

from __future__ import annotations

import uuid
from typing import Annotated, Any
from urllib.parse import quote

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json
from vuka.money import Amount, AmountError

app = typer.Typer(no_args_is_help=True, help="Record funds in and out of participants' settlement accounts.")

Reference = Annotated[str, typer.Option("--reference", help="The settlement bank's reference.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the records.")]


def settlement_account(url: str, name: str, currency: str) -> int:
    """The number of a participant's settlement account. Ends the command where it has none."""
    accounts: list[dict[str, Any]] = call(url, "GET", f"/participants/{quote(name, safe='')}/accounts")
    for account in accounts:
        if account["ledgerAccountType"] == "SETTLEMENT" and account["currency"] == currency:
            return int(account["id"])
    held = ", ".join(sorted({account["currency"] for account in accounts})) or "none"
    return fail(f"{name} has no settlement account in {currency}; it has: {held}.")


def _amount(text: str) -> Amount:
    try:
        amount = Amount.from_string(text)
    except AmountError as error:
        fail(f'{error}. Write it as "1000.50 USD".')
    if amount.minor <= 0:
        fail("The amount should be more than 0.")
    return amount


def _record(url: str, name: str, amount: Amount, action: str, reference: str, reason: str, *, as_json: bool) -> None:
    account = settlement_account(url, name, amount.currency)
    transfer_id = str(uuid.uuid4())
    call(
        url,
        "POST",
        f"/participants/{quote(name, safe='')}/accounts/{account}",
        {
            "transferId": transfer_id,
            "externalReference": reference or transfer_id,
            "action": action,
            "reason": reason,
            "amount": {"amount": amount.wire, "currency": amount.currency},
        },
    )
    outcome = call(url, "GET", f"/transfers/{transfer_id}")
    if as_json:
        print_json(outcome)
        return
    console.print(f"{name}: {amount} — {outcome['internalState']} (transfer {transfer_id})", highlight=False)
    if action == "recordFundsOutPrepareReserve" and outcome["internalState"] == "RESERVED":
        console.print(f"When the bank has paid: vuka funds commit {name} {transfer_id} {amount.currency}")


@app.command("in")
def funds_in(
    name: Annotated[str, typer.Argument(help="The participant.")],
    amount: Annotated[str, typer.Argument(help='How much, e.g. "1000.50 USD".')],
    reference: Reference = "",
    reason: Reason = "funds in",
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Record money that a participant has placed at the settlement bank.

    Example: [bold]vuka funds in greenbank "1000 USD" --reference BANK-17[/bold]
    """
    _record(url, name, _amount(amount), "recordFundsIn", reference, reason, as_json=as_json)


@app.command("out")
def funds_out(
    name: Annotated[str, typer.Argument(help="The participant.")],
    amount: Annotated[str, typer.Argument(help='How much, e.g. "250 USD".')],
    reference: Reference = "",
    reason: Reason = "funds out",
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Reserve money that a participant takes back; commit it when the bank has paid.

    Example: [bold]vuka funds out greenbank "250 USD"[/bold]
    """
    _record(url, name, _amount(amount), "recordFundsOutPrepareReserve", reference, reason, as_json=as_json)


@app.command("commit")
def commit(
    name: Annotated[str, typer.Argument(help="The participant.")],
    transfer_id: Annotated[str, typer.Argument(help="The reserved withdrawal.")],
    currency: Annotated[str, typer.Argument(help="Its currency.")],
    reason: Reason = "paid out",
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Say that the settlement bank has paid a reserved withdrawal.

    Example: [bold]vuka funds commit greenbank 6a1b… USD[/bold]
    """
    _end(url, name, transfer_id, currency, "recordFundsOutCommit", reason)


@app.command("abort")
def abort(
    name: Annotated[str, typer.Argument(help="The participant.")],
    transfer_id: Annotated[str, typer.Argument(help="The reserved withdrawal.")],
    currency: Annotated[str, typer.Argument(help="Its currency.")],
    reason: Reason = "withdrawn",
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Give a reserved withdrawal back to the participant's liquidity.

    Example: [bold]vuka funds abort greenbank 6a1b… USD[/bold]
    """
    _end(url, name, transfer_id, currency, "recordFundsOutAbort", reason)


def _end(url: str, name: str, transfer_id: str, currency: str, action: str, reason: str) -> None:
    account = settlement_account(url, name, currency)
    path = f"/participants/{quote(name, safe='')}/accounts/{account}/transfers/{quote(transfer_id, safe='')}"
    call(url, "PUT", path, {"action": action, "reason": reason})
    outcome = call(url, "GET", f"/transfers/{transfer_id}")
    console.print(f"{name}: withdrawal {transfer_id} is {outcome['internalState']}", highlight=False)
