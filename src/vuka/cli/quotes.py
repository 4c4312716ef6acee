"""``vuka quotes``: the scheme's rules about quotes, and what others would have made of past ones."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vuka.api.hub import clock_ms
from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.fspiop.times import format_datetime_ms
from vuka.rules import CONTENT_BYTES_MAX, RulesError, decode_json
from vuka.switch.quote_rules import compile_quote_rules

app = typer.Typer(no_args_is_help=True, help="Quotes: the scheme's rules about them.")
rules_app = typer.Typer(
    no_args_is_help=True,
    help="The rules in force.\n\nExample: [bold]vuka quotes rules show[/bold]",
)
app.add_typer(rules_app, name="rules")

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN: Final = re.compile(r"(\d{1,5})([mhdw])")

RulesFile = Annotated[str, typer.Argument(metavar="FILE", help="A JSON array of rules; - reads standard input.")]


@rules_app.command("show")
def show(
    history: Annotated[bool, typer.Option("--history", help="The versions so far, instead.")] = False,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the rules in force. With --json the rules alone, as `vuka quotes rules set` takes them.

    Example: [bold]vuka quotes rules show --json > rules.json[/bold]
    """
    if history:
        _show_history(url, as_json=as_json)
        return
    found: dict[str, Any] = call(url, "GET", "/rules/quotes")
    if as_json:
        print_json(found["rules"])
        return
    if not found["rules"]:
        console.print("No rules are in force: every quote goes its own way.")
        return
    rows = [
        (number, each.get("name"), each.get("priority", 1), each["event"]["type"], _effect(each["event"]))
        for number, each in enumerate(found["rules"], 1)
    ]
    title = f"Rules about quotes, version {found['version']} of {found['createdDate']} by {found['createdBy']}"
    print_table(title, ("rule>", "name", "priority>", "event", "effect"), rows)


def _show_history(url: str, *, as_json: bool) -> None:
    found: list[dict[str, Any]] = call(url, "GET", "/rules/quotes/history")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["version"],
            len(each["rules"]),
            each["createdDate"],
            each["createdBy"],
            "in force" if each["isActive"] else "",
        )
        for each in found
    ]
    print_table("Versions of the rules about quotes", ("version>", "rules>", "since", "by", ""), rows)


def _effect(event: Mapping[str, Any]) -> str:
    params = event.get("params", {})
    if "rerouteToFsp" in params:
        return f"asks {params['rerouteToFsp']} instead"
    return f"{params.get('FSPIOPError')}: {params.get('message', '')}".rstrip(": ")


@rules_app.command("set")
def set_rules(file: RulesFile, url: HubUrl = DEFAULT_URL) -> None:
    """Put other rules in force, at once. They are checked whole: either all of them hold from now on, or none.

    Example: [bold]vuka quotes rules set rules.json[/bold]
    """
    stored = call(url, "PUT", "/rules/quotes", _read(file))
    count = len(stored["rules"])
    console.print(f"{count} rule{'' if count == 1 else 's'} in force, version {stored['version']}.", highlight=False)


@rules_app.command("clear")
def clear(url: HubUrl = DEFAULT_URL) -> None:
    """Put no rules in force: every quote goes its own way again. The versions so far stay for the record.

    Example: [bold]vuka quotes rules clear[/bold]
    """
    stored = call(url, "PUT", "/rules/quotes", [])
    console.print(f"No rules are in force, version {stored['version']}.", highlight=False)


@app.command("try-rules")
def try_rules(
    file: RulesFile,
    since: Annotated[
        str | None,
        typer.Option(help="Only quotes since then: a span such as 7d, or a date (UTC).", show_default="any"),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many quotes, the newest first.", min=1, max=1000)] = 100,
    quote: Annotated[list[str] | None, typer.Option("--quote", help="Only this quote; may be repeated.")] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what rules would have made of past quotes, and change nothing.

    Example: [bold]vuka quotes try-rules rules.json --since 7d[/bold]
    """
    body: dict[str, object] = {"rules": _read(file), "limit": limit}
    if since is not None:
        body["since"] = _moment(since)
    if quote:
        body["ids"] = quote
    found: dict[str, Any] = call(url, "POST", "/rules/quotes/try", body)
    if as_json:
        print_json(found)
        return
    print_table(
        "Rules",
        ("rule>", "name", "event", "held>"),
        [(each["rule"], each["name"], each["type"], each["held"]) for each in found["rules"]],
    )
    decided = [each for each in found["quotes"] if each["decision"]["action"] != "forward"]
    if decided:
        print_table(
            "Quotes that they would have changed",
            ("quote", "received", "from", "to", "then", "rules", "would have"),
            [_row(each) for each in decided],
        )
    tried, changed = found["tried"], found["decided"]
    console.print(f"Tried on {tried} past quotes; {changed} would have been changed.", highlight=False)


def _row(trial: Mapping[str, Any]) -> Sequence[object]:
    return (
        trial["id"],
        trial["receivedDate"],
        trial["source"],
        trial["destination"],
        trial["outcome"],
        ", ".join(each["name"] or str(each["rule"]) for each in trial["held"]),
        _decision(trial["decision"]),
    )


def _decision(decision: Mapping[str, Any]) -> str:
    if decision["action"] == "reroute":
        return f"gone to {decision['to']}"
    return f"been refused: {decision['errorCode']} {decision['errorDescription']}"


def _read(file: str) -> object:
    """The rules of a file, checked here, so that every fault is told. Ends the command where they are faulty."""
    try:
        content = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}.")
    try:
        compile_quote_rules(content)
    except RulesError as error:
        listed = "".join(f"\n  {each}" for each in error.faults)
        fail(f"The rules in {file} are not in order:{listed}")
    return _plain(decode_json(content))


def _plain(value: object) -> object:
    """JSON as the client's library writes it, which has no decimals. Ends the command where digits would be lost."""
    if isinstance(value, Decimal):
        written = float(value)
        if Decimal(repr(written)) != value:
            fail(f'{value} has too many digits for a JSON number: write it as a text, "{value}", as amounts are.')
        return written
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _moment(text: str) -> str:
    """When ``7d`` ago or a date and time was, as the API takes it."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return format_datetime_ms(clock_ms() - int(span[1]) * _UNITS_MS[span[2]])
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text} is no time: write e.g. 7d, 12h, 2030-01-31, or 2030-01-31T12:00:00Z.")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return format_datetime_ms(int(moment.timestamp() * 1000))
