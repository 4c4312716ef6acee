"""``vuka bank-account``, and what goes between a settlement and its bank: orders out, statements in."""

from __future__ import annotations

import base64
import io
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from vuka.bankfiles.identifiers import ACCOUNT_SCHEMES, IBAN
from vuka.bankfiles.orders import FORMATS
from vuka.cli.client import DEFAULT_URL, HubUrl, call, download, try_call
from vuka.cli.output import AsJson, console, fail, print_json, print_table

Number = Annotated[int, typer.Argument(help="Its number.", min=1)]

app = typer.Typer(
    no_args_is_help=True, help="Bank accounts: where participants, and the scheme, keep what they settle with."
)

Name = Annotated[str, typer.Argument(help="The participant; Hub for the scheme's own account.")]
CurrencyOption = Annotated[str, typer.Option("--currency", "-c", help="The currency, e.g. USD.")]
StatementFiles = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="The bank's statement: CSV or camt.053, one file or several.")
]

_FORMATS: Final = ", ".join(FORMATS)


# --- accounts ---------------------------------------------------------------------------------------------------


@app.command("list")
def list_accounts(
    name: Annotated[str | None, typer.Argument(help="The participant.", show_default="all of them")] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List bank accounts, of one participant or of all.

    Example: [bold]vuka bank-account list[/bold]
    """
    names = [name] if name is not None else [each["name"] for each in call(url, "GET", "/participants")]
    found = [
        {"participant": each, **account}
        for each in names
        for account in call(url, "GET", f"/participants/{quote(each, safe='')}/bankAccounts")
    ]
    if as_json:
        print_json(found)
        return
    rows = [
        (each["participant"], each["currency"], each["account"], each["name"], each.get("bic"), each.get("agentBic"))
        for each in found
    ]
    print_table("Bank accounts", ("participant", "currency", "account", "name", "BIC", "bank's BIC"), rows)


@app.command("set")
def set_account(
    name: Name,
    account: Annotated[str, typer.Argument(help="Its number: an IBAN, unless --scheme says otherwise.")],
    currency: CurrencyOption,
    holder: Annotated[str, typer.Option("--name", help="The holder's name, as the bank knows it.")],
    scheme: Annotated[str, typer.Option(help=f"{' or '.join(ACCOUNT_SCHEMES)}.")] = IBAN,
    bic: Annotated[str | None, typer.Option(help="The holder's BIC, where it has one.")] = None,
    agent_bic: Annotated[str | None, typer.Option(help="The BIC of the bank that keeps the account.")] = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Say where a participant, or the scheme, keeps what it settles with in a currency.

    Example: [bold]vuka bank-account set greenbank GB29NWBK60161331926819 -c USD --name "Green Bank"[/bold]
    """
    body = {"account": account, "scheme": scheme.upper(), "name": holder, "bic": bic, "agentBic": agent_bic}
    wanted = {key: value for key, value in body.items() if value is not None}
    made = call(url, "PUT", _account_path(name, currency), wanted)
    console.print(f"{name}: {made['account']} in {made['currency']}.", highlight=False, markup=False)


@app.command("remove")
def remove_account(name: Name, currency: CurrencyOption, url: HubUrl = DEFAULT_URL) -> None:
    """Forget the bank account of a participant in a currency.

    Example: [bold]vuka bank-account remove greenbank -c USD[/bold]
    """
    call(url, "DELETE", _account_path(name, currency))
    console.print(f"{name} has no bank account in {currency.upper()} any more.", highlight=False, markup=False)


def _account_path(name: str, currency: str) -> str:
    return f"/participants/{quote(name, safe='')}/bankAccounts/{quote(currency.upper(), safe='')}"


# --- orders -----------------------------------------------------------------------------------------------------


def export(
    number: Number,
    format_name: Annotated[str, typer.Option("--format", "-f", help=f"{_FORMATS}.")] = "csv",
    currency: Annotated[str | None, typer.Option("--currency", "-c", help="Only what is of a currency.")] = None,
    value_date: Annotated[
        str | None,
        typer.Option(help="When the bank is to settle, e.g. 2030-01-31.", show_default="the day of the settlement"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The directory to write the files to.")] = Path(),
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Write the files that ask the settlement bank to settle. Asking again writes the same files.

    Example: [bold]vuka settlement export 1 --format pacs.009[/bold]
    """
    if format_name not in FORMATS:
        fail(f"--format must be one of {_FORMATS}.")
    asked = f"/v2/settlements/{number}/instructions?"
    asked += f"currency={quote(currency.upper(), safe='')}&" if currency is not None else ""
    query = f"format={format_name}" + (f"&valueDate={quote(value_date, safe='')}" if value_date is not None else "")
    name, content = download(url, asked + query)
    found = call(url, "GET", asked.rstrip("?&"), exact=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
        written = _write(output, name, content)
    except OSError as error:
        fail(f"{output} can't be written to: {error.strerror}.")
    rows = [
        (
            each["reference"],
            each["debtor"]["name"],
            each["creditor"]["name"],
            f"{Decimal(each['amount']['amount']):,f}",
            each["amount"]["currency"],
        )
        for each in found["instructions"]
    ]
    print_table("Transfers", ("reference", "from", "to", "amount>", "currency"), rows)
    for path in written:
        console.print(f"Wrote {path}", highlight=False, markup=False, soft_wrap=True)


def _write(directory: Path, name: str, content: bytes) -> list[Path]:
    """Writes a file, or the files that an archive holds; their paths."""
    if not name.endswith(".zip"):
        path = directory / Path(name).name
        path.write_bytes(content)
        return [path]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [path for each in archive.namelist() for path in _write(directory, each, archive.read(each))]


# --- statements -------------------------------------------------------------------------------------------------


def check_statement(number: Number, files: StatementFiles, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Check the settlement bank's statement against a settlement. Nothing is changed.

    Example: [bold]vuka settlement check-statement 1 statement.xml[/bold]
    """
    check = call(url, "POST", f"/v2/settlements/{number}/statements/check", _body(files), exact=not as_json)
    if as_json:
        print_json(check)
    else:
        _print_check(check)
        _say_how_to_go_on(number, files, check)
    if check["hasErrors"]:
        raise typer.Exit(1)


def import_statement(
    number: Number,
    files: StatementFiles,
    accept: Annotated[
        list[str] | None, typer.Option(help="A warning that you accept, by its code; several times for several.")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="Of the check that showed you the warnings.")] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Finalise a settlement by the bank's statement, and record what it says is left, in one step.

    Example: [bold]vuka settlement import-statement 1 statement.xml[/bold]
    """
    body = _body(files) | {"accept": [each.upper() for each in accept or ()]}
    body |= {} if digest is None else {"digest": digest}
    path = f"/v2/settlements/{number}/statements"
    is_done, answer = try_call(url, "POST", path, body, refused_with="findings", exact=not as_json)
    if as_json:
        print_json(answer)
        if not is_done:
            fail(answer["details"][0])
        return
    if not is_done:
        _print_findings(answer)
        _say_how_to_go_on(number, files, answer)
        fail(answer["details"][0])
    _print_check(answer)
    console.print(f"Settlement {number} is SETTLED by statement {answer['statementId']}.", highlight=False)


def statements(
    number: Number,
    save: Annotated[
        Path | None, typer.Option(help="A directory to write the bank's files to, as it gave them.")
    ] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the statement by which a settlement was finalised, with what was recorded of it.

    Example: [bold]vuka settlement statements 1[/bold]
    """
    path = f"/v2/settlements/{number}/statements"
    found: list[dict[str, Any]] = call(url, "GET", path, exact=not as_json)
    for each in found if save is not None else ():
        for file in each["files"]:
            name, content = download(url, f"{path}/{each['id']}/files/{file['id']}")
            _save(save, f"statement-{each['id']}-{file['id']}-{name}", content)
    if as_json:
        print_json(found)
        return
    for each in found:
        files = ", ".join(file["name"] for file in each["files"])
        said = f"Statement {each['id']} of {each['createdDate']} by {each['createdBy']}: {files}"
        console.print(said, highlight=False, markup=False)
        _print_findings(each)
        _print_movements(each["movements"])
    if not found:
        console.print(f"Settlement {number} was not finalised by a statement.", highlight=False)


def _save(directory: Path | None, name: str, content: bytes) -> None:
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    except OSError as error:
        fail(f"{directory} can't be written to: {error.strerror}.")


def _body(files: list[Path]) -> dict[str, Any]:
    """The files as the API takes them. Ends the command where one can't be read."""
    body: list[dict[str, str]] = []
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            fail(f"{path} can't be read: {error.strerror}.")
        # A name that is no text, as file systems allow, can't be sent.
        name = path.name.encode(errors="replace").decode()
        body.append({"name": name, "content": base64.b64encode(content).decode()})
    return {"files": body}


def _print_check(check: dict[str, Any]) -> None:
    _print_findings(check)
    if check["movements"]:
        _print_movements(check["movements"])
    if check["balances"]:
        rows = [
            (
                each["participant"],
                each["currency"],
                _amount(each["before"]),
                _amount(each["after"]),
                "sends no more" if each["isSuspended"] else "",
            )
            for each in check["balances"]
        ]
        print_table("Liquidity", ("participant", "currency", "before>", "after>", ""), rows)


def _print_findings(of: dict[str, Any]) -> None:
    for each in of["findings"]:
        _print_finding(each)


def _print_finding(finding: dict[str, Any]) -> None:
    whose = " ".join(finding[each] for each in ("participant", "currency") if each in finding)
    head = "  ".join(filter(None, [finding["severity"], finding["code"], whose, finding.get("place", "")]))
    told = ", ".join(f"{each} {finding[each]}" for each in ("expected", "found") if each in finding)
    style = "red" if finding["severity"] == "ERROR" else "yellow"
    console.print(head, style=style, highlight=False, markup=False, soft_wrap=True)
    said = f"  {finding['message']}{f' ({told})' if told else ''}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def _print_movements(movements: list[dict[str, Any]]) -> None:
    rows = [
        (
            each["participant"],
            each["amount"]["currency"],
            _amount(each["amount"]["amount"]),
            each["kind"].lower(),
            each["reference"],
            each["transferId"],
        )
        for each in movements
    ]
    columns = ("participant", "currency", "funds>", "for", "bank's reference", "transfer")
    print_table("Movements", columns, rows)


def _amount(amount: Decimal | int) -> str:
    return f"{Decimal(amount):,f}"


def _say_how_to_go_on(number: int, files: list[Path], check: dict[str, Any]) -> None:
    """The command that processes what was shown."""
    if check["hasErrors"]:
        return
    command = f"vuka settlement import-statement {number} {' '.join(str(each) for each in files)}"
    if not check["warnings"]:
        console.print(f"Nothing stands in the way: {command}", highlight=False, markup=False, soft_wrap=True)
        return
    accepted = " ".join(f"--accept {each}" for each in check["warnings"])
    console.print("To accept the warnings as they are shown:", highlight=False)
    console.print(f"  {command} --digest {check['digest']} {accepted}", highlight=False, markup=False, soft_wrap=True)
