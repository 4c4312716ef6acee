"""``vuka oracle``: which participant serves which identifier, in the hub's own oracle."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="The hub's own oracle: which participant serves which identifier.")

PartyType = Annotated[str, typer.Argument(metavar="TYPE", help="The identifier's type, e.g. MSISDN.")]
PartyIdentifier = Annotated[str, typer.Argument(metavar="ID", help="The identifier.")]
SubId = Annotated[str | None, typer.Option("--sub-id", help="A sub-identifier, e.g. SAVINGS.")]
CurrencyOption = Annotated[str | None, typer.Option("--currency", "-c", help="Only for this currency.")]


@app.command("find")
def find(
    party_type: PartyType,
    identifier: PartyIdentifier,
    sub_id: SubId = None,
    currency: CurrencyOption = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show who serves an identifier.

    Example: [bold]vuka oracle find MSISDN 254700000001[/bold]
    """
    query = _query(party_type, identifier, sub_id, currency)
    found: list[dict[str, Any]] = call(url, "GET", f"/oracle/parties?{urlencode(query)}")
    if as_json:
        print_json(found)
        return
    rows = [(each["fspId"], each.get("currency", "any")) for each in found]
    print_table(f"{party_type} {identifier}", ("participant", "currency"), rows)


@app.command("add")
def add(
    party_type: PartyType,
    identifier: PartyIdentifier,
    fsp: Annotated[str, typer.Argument(help="The participant that serves it.")],
    sub_id: SubId = None,
    currency: CurrencyOption = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Say that a participant serves an identifier.

    Example: [bold]vuka oracle add MSISDN 254700000001 greenbank[/bold]
    """
    call(url, "POST", "/oracle/parties", {**_query(party_type, identifier, sub_id, currency), "fspId": fsp})
    console.print(f"{fsp} serves {party_type} {identifier}.", highlight=False, markup=False)


@app.command("remove")
def remove(
    party_type: PartyType,
    identifier: PartyIdentifier,
    fsp: Annotated[str, typer.Argument(help="The participant that no longer serves it.")],
    sub_id: SubId = None,
    currency: CurrencyOption = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Say that a participant no longer serves an identifier.

    Example: [bold]vuka oracle remove MSISDN 254700000001 greenbank[/bold]
    """
    query = {**_query(party_type, identifier, sub_id, currency), "fspId": fsp}
    call(url, "DELETE", f"/oracle/parties?{urlencode(query)}")
    console.print(f"{fsp} no longer serves {party_type} {identifier}.", highlight=False, markup=False)


def _query(party_type: str, identifier: str, sub_id: str | None, currency: str | None) -> dict[str, str]:
    query = {"partyIdType": party_type, "partyIdentifier": identifier}
    if sub_id is not None:
        query["partySubIdOrType"] = sub_id
    if currency is not None:
        query["currency"] = currency
    return query
