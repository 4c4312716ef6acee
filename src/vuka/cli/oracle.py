"""``vuka oracle``: which participant serves which identifier, in the hub's own oracle, and the oracles outside it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json, print_table

app = typer.Typer(
    no_args_is_help=True, help="Which participant serves which identifier: the hub's own oracle, and those outside it."
)

PartyType = Annotated[str, typer.Argument(metavar="TYPE", help="The identifier's type, e.g. MSISDN.")]
PartyIdentifier = Annotated[str, typer.Argument(metavar="ID", help="The identifier.")]
SubId = Annotated[str | None, typer.Option("--sub-id", help="A sub-identifier, e.g. SAVINGS.")]
CurrencyOption = Annotated[str | None, typer.Option("--currency", "-c", help="Only for this currency.")]
OracleId = Annotated[int, typer.Argument(metavar="NUMBER", help="Its number, as `vuka oracle list` shows it.")]


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


# --- oracles outside the hub ------------------------------------------------------------------------------------


@app.command("list")
def list_oracles(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the oracles outside the hub. A type that has none is served by the hub's own.

    Example: [bold]vuka oracle list[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/oracles")
    if as_json:
        print_json(found)
        return
    rows = [(*_row(each), "yes" if each["isDefault"] else "no") for each in found]
    print_table("", ("number>", "type", "currency", "URL", "default"), rows)


@app.command("add-remote")
def add_remote(
    party_type: PartyType,
    value: Annotated[str, typer.Argument(metavar="URL", help="The base URL of its API.")],
    currency: CurrencyOption = None,
    default: Annotated[bool, typer.Option("--default", help="The one to ask where several match.")] = False,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Ask an oracle outside the hub about the identifiers of a type, from now on.

    Example: [bold]vuka oracle add-remote MSISDN http://oracle.example/als -c USD[/bold]
    """
    call(url, "POST", "/oracles", _info(party_type, value, currency, default))
    what = f"{party_type} in {currency}" if currency else party_type
    console.print(f"{what} is asked of {value}.", highlight=False, markup=False)


@app.command("change-remote")
def change_remote(
    number: OracleId,
    value: Annotated[str | None, typer.Argument(metavar="URL", help="Another base URL.")] = None,
    party_type: Annotated[str | None, typer.Option("--type", help="Another type, e.g. ALIAS.")] = None,
    currency: Annotated[str | None, typer.Option("--currency", "-c", help="Another currency.")] = None,
    default: Annotated[bool | None, typer.Option("--default/--no-default", help="Whether it is the default.")] = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Change an oracle outside the hub; what is not named stays.

    Example: [bold]vuka oracle change-remote 1 https://oracle.example/als[/bold]
    """
    known: list[dict[str, Any]] = call(url, "GET", "/oracles")
    before = next((each for each in known if each["oracleId"] == number), None)
    if before is None:
        fail(f"There is no oracle {number}. See `vuka oracle list`.")
    value = value or before["endpoint"]["value"]
    call(url, "PUT", f"/oracles/{number}", _info(party_type or before["oracleIdType"], value, currency, default))
    console.print(f"Oracle {number} is changed.", highlight=False)


@app.command("remove-remote")
def remove_remote(number: OracleId, url: HubUrl = DEFAULT_URL) -> None:
    """Ask an oracle outside the hub no more. Its type is then served by another, or by the hub's own.

    Example: [bold]vuka oracle remove-remote 1[/bold]
    """
    known: list[dict[str, Any]] = call(url, "GET", "/oracles")
    if all(each["oracleId"] != number for each in known):
        fail(f"There is no oracle {number}. See `vuka oracle list`.")
    call(url, "DELETE", f"/oracles/{number}")
    console.print(f"Oracle {number} is asked no more.", highlight=False)


@app.command("test")
def ask_all(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Ask every oracle outside the hub whether it is there. Ends with 1 where one is not.

    Example: [bold]vuka oracle test[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/oracles/health")
    if as_json:
        print_json(found)
    else:
        rows = [(*_row(each), each["status"], each["tookMs"], each.get("error", "")) for each in found]
        print_table("", ("number>", "type", "currency", "URL", "status", "ms>", ""), rows)
    if any(each["status"] != "OK" for each in found):
        raise typer.Exit(1)


def _row(oracle: dict[str, Any]) -> tuple[object, ...]:
    return (
        oracle["oracleId"],
        oracle["oracleIdType"],
        oracle.get("currency", "any"),
        oracle["endpoint"]["value"],
    )


def _info(party_type: str, value: str, currency: str | None, default: bool | None) -> dict[str, object]:
    info: dict[str, object] = {"oracleIdType": party_type, "endpoint": {"value": value, "endpointType": "URL"}}
    if currency is not None:
        info["currency"] = currency
    if default is not None:
        info["isDefault"] = default
    return info


def _query(party_type: str, identifier: str, sub_id: str | None, currency: str | None) -> dict[str, str]:
    query = {"partyIdType": party_type, "partyIdentifier": identifier}
    if sub_id is not None:
        query["partySubIdOrType"] = sub_id
    if currency is not None:
        query["currency"] = currency
    return query
