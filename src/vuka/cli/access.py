"""``vuka access``: who may talk to the hub, participants and operators."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.hub import locked, make_admin_token, upgrade
from vuka.cli.options import DataDir, read_config
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.clock import clock_ms
from vuka.errors import FspiopError, OperatorError
from vuka.fspiop.times import format_datetime_ms
from vuka.switch.access import Role

app = typer.Typer(no_args_is_help=True, help="Who may talk to the hub: tokens, API keys, certificates.")

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN: Final = re.compile(r"(\d{1,5})([mhdw])")


def _expires_at(text: str) -> str:
    """When ``90d`` or a date and time will be, as the API takes it."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return format_datetime_ms(clock_ms() + int(span[1]) * _UNITS_MS[span[2]])
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text} is no time: write e.g. 90d, 12h, 2030-01-31, or 2030-01-31T12:00:00Z.")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return format_datetime_ms(int(moment.timestamp() * 1000))


@app.command("grant")
def grant(
    operator: Annotated[str | None, typer.Option("--operator", help="An operator, who gets a token.")] = None,
    role: Annotated[list[Role] | None, typer.Option("--role", help="What an operator may do; may be repeated.")] = None,
    participant: Annotated[
        str | None, typer.Option("--participant", help="A participant, which gets a token unless you say otherwise.")
    ] = None,
    api_key: Annotated[bool, typer.Option("--api-key", help="An API key, for X-Api-Key, instead of a token.")] = False,
    certificate: Annotated[
        str | None,
        typer.Option(
            help="A client certificate instead: its PEM file, SHA-256 fingerprint, subject, or a name such as cn:bank."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A label for a participant's, to tell several apart.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends, e.g. 90d, or a date (UTC).", show_default="when it is revoked")
    ] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Let an operator or a participant in. What it shows is printed this once and kept nowhere.

    Example: [bold]vuka access grant --operator alice --role finance --expires 90d[/bold]
    """
    if (operator is None) == (participant is None):
        fail("Say who: --operator NAME with --role, or --participant NAME.")
    if operator is not None and not role:
        fail(f"Say what {operator} may do: --role {', --role '.join(Role)}.")
    if operator is not None and (api_key or label is not None):
        fail("An operator has a token or a certificate: --api-key and --label are for participants.")
    if participant is not None and role:
        fail("A participant has no roles: --role is for operators.")
    if api_key and certificate is not None:
        fail("Choose one: --api-key or --certificate.")
    body: dict[str, object] = {"kind": "API_KEY" if api_key else "TOKEN"}
    if operator is not None:
        body |= {"operator": operator, "roles": [each.value for each in role or ()]}
    else:
        body["participant"] = participant
    if certificate is not None:
        body |= {"kind": "CERTIFICATE", "certificate": _certificate(certificate)}
    if label is not None:
        body["name"] = label
    if expires is not None:
        body["expiresAt"] = _expires_at(expires)
    made: dict[str, Any] = call(url, "POST", "/credentials", body)
    if as_json:
        print_json(made)
        return
    until = f", until {made['expiresAt']}" if made["expiresAt"] else ""
    holder = f"{made['operator']} may {', '.join(made['roles'])}" if operator is not None else f"for {participant}"
    console.print(f"Credential {made['credentialId']}: {holder}{until}.", highlight=False, markup=False)
    if "secret" in made:
        what = "API key" if api_key else "token"
        console.print(f"The {what}, shown this once:", highlight=False)
        typer.echo(made["secret"])
    elif operator is None:
        console.print(f"The certificate is {made['name']}.", highlight=False, markup=False)


def _certificate(text: str) -> str:
    """What it is known by: as it was given, or the content of a file."""
    try:
        file = Path(text)
        return file.read_text(encoding="ascii") if file.is_file() else text
    except (OSError, UnicodeDecodeError):
        fail(f"{text} can't be read as a PEM file.")


@app.command("list")
def list_credentials(
    ended: Annotated[bool, typer.Option("--ended", help="Also those expired or revoked.")] = False,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List who may talk to the hub.

    Example: [bold]vuka access list[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", f"/credentials{'?ended=true' if ended else ''}")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["credentialId"],
            each["kind"],
            each.get("participant") or each["operator"],
            ", ".join(each["roles"]) if "roles" in each else f"participant ({each['name']})",
            each["createdBy"],
            f"revoked {each['revokedAt']}" if "revokedAt" in each else each["expiresAt"] or "further notice",
        )
        for each in found
    ]
    print_table("Credentials", ("id>", "kind", "whose", "may", "granted by", "until"), rows)


@app.command("revoke")
def revoke(
    credential_id: Annotated[int, typer.Argument(metavar="ID", help="Which, as `vuka access list` shows it.")],
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Let a credential in no longer, at once.

    Example: [bold]vuka access revoke 3[/bold]
    """
    call(url, "DELETE", f"/credentials/{credential_id}")
    console.print(f"Credential {credential_id} is revoked.", highlight=False)


@app.command("recover")
def recover(data: DataDir = None) -> None:
    """Make a new admin's token in the data directory of a stopped hub that lets no admin in any more.

    Example: [bold]vuka access recover --data ./hub[/bold]
    """
    config = read_config(data)
    try:
        with locked(config):
            upgrade(config)
            file = make_admin_token(config, by="vuka access recover")
    except (OperatorError, FspiopError) as error:
        fail(str(error))
    console.print(f"An admin's token is in {file}. See who else may: vuka access list", highlight=False, markup=False)
