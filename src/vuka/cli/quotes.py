"""``vuka quotes``: the scheme's rules about quotes, and what others would have made of past ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, print_json, print_table
from vuka.cli.rule_files import RulesFile, moment, read_rules, show_history
from vuka.switch.quote_rules import compile_quote_rules

app = typer.Typer(no_args_is_help=True, help="Quotes: the scheme's rules about them.")
rules_app = typer.Typer(
    no_args_is_help=True,
    help="The rules in force.\n\nExample: [bold]vuka quotes rules show[/bold]",
)
app.add_typer(rules_app, name="rules")


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
        show_history(url, "quotes", as_json=as_json)
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
    stored = call(url, "PUT", "/rules/quotes", read_rules(file, compile_quote_rules))
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
    body: dict[str, object] = {"rules": read_rules(file, compile_quote_rules), "limit": limit}
    if since is not None:
        body["since"] = moment(since)
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
