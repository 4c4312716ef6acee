"""``vuka model`` and ``vuka account-type``: how transfers settle, and what accounts may be for."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Settlement models: how the transfers of a currency settle.")
types = typer.Typer(no_args_is_help=True, help="Ledger account types: what accounts may be for.")

Name = Annotated[str, typer.Argument(help="The model's name.")]


@app.command("list")
def list_models(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the settlement models in use.

    Example: [bold]vuka model list[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/settlementModels")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            f"{each['settlementDelay']} {each['settlementGranularity']} {each['settlementInterchange']}",
            each["currency"] or "any",
            each["ledgerAccountTypeId"],
        )
        for each in found
    ]
    print_table("Settlement models", ("name", "settles", "currency", "account"), rows)


@app.command("add")
def add(
    name: Name,
    delay: Annotated[str, typer.Option(help="IMMEDIATE or DEFERRED.")] = "DEFERRED",
    granularity: Annotated[str, typer.Option(help="GROSS or NET.")] = "NET",
    interchange: Annotated[str, typer.Option(help="BILATERAL or MULTILATERAL.")] = "MULTILATERAL",
    currency: Annotated[
        str | None, typer.Option("--currency", "-c", help="Its currency.", show_default="any without one of its own")
    ] = None,
    account: Annotated[str, typer.Option(help="The ledger account type that obligations build up on.")] = "POSITION",
    settlement_account: Annotated[str, typer.Option(help="The one that they are discharged on.")] = "SETTLEMENT",
    liquidity_check: Annotated[bool, typer.Option(help="Whether liquidity covers what is owed.")] = True,
    position_reset: Annotated[bool, typer.Option(help="Whether settling resets positions.")] = True,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Add a settlement model. Participants that lack its accounts get them.

    Example: [bold]vuka model add CGS -c USD --delay immediate --granularity gross --interchange bilateral[/bold]
    """
    body: dict[str, object] = {
        "name": name,
        "settlementDelay": delay.upper(),
        "settlementGranularity": granularity.upper(),
        "settlementInterchange": interchange.upper(),
        "ledgerAccountType": account,
        "settlementAccountType": settlement_account,
        "requireLiquidityCheck": liquidity_check,
        "autoPositionReset": position_reset,
    }
    if currency is not None:
        body["currency"] = currency.upper()
    call(url, "POST", "/settlementModels", body)
    console.print(f"Added the settlement model {name}.", highlight=False)


def _set(name: str, url: str, *, is_active: bool) -> None:
    call(url, "PUT", f"/settlementModels/{quote(name, safe='')}", {"isActive": is_active})
    console.print(f"{name} is {'' if is_active else 'not '}in use.", highlight=False)


@app.command("activate")
def activate(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Take a settlement model into use.

    Example: [bold]vuka model activate FEES[/bold]
    """
    _set(name, url, is_active=True)


@app.command("deactivate")
def deactivate(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Take a settlement model out of use: what is committed from now on settles by another.

    Example: [bold]vuka model deactivate FEES[/bold]
    """
    _set(name, url, is_active=False)


@types.command("list")
def list_types(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the ledger account types.

    Example: [bold]vuka account-type list[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/ledgerAccountTypes")
    if as_json:
        print_json(found)
        return
    rows = [(each["name"], "yes" if each["isSettleable"] else "no", each["description"]) for each in found]
    print_table("Ledger account types", ("name", "settleable", "description"), rows)


@types.command("add")
def add_type(
    name: Annotated[str, typer.Argument(help="Its name: letters, digits, underscores.")],
    description: Annotated[str, typer.Argument(help="What its accounts are for.")],
    settleable: Annotated[bool, typer.Option(help="Whether what is on them can be settled.")] = True,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Add a ledger account type. It opens no account: a settlement model that names it does.

    Example: [bold]vuka account-type add MERCHANT_FEE "Fees of merchants"[/bold]
    """
    body = {"name": name, "description": description, "isActive": True, "isSettleable": settleable}
    call(url, "POST", "/ledgerAccountTypes", body)
    console.print(f"Added the ledger account type {name}.", highlight=False)
