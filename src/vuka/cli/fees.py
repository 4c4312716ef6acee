"""``vuka fees``: what payments are charged, by which rules, and what others would have charged past ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, print_json, print_table
from vuka.cli.rule_files import RulesFile, moment, read_rules, show_history
from vuka.money import Amount
from vuka.switch.fees import compile_fee_rules

app = typer.Typer(no_args_is_help=True, help="Fees: what payments are charged, and by which rules.")


@app.command("show")
def show(
    history: Annotated[bool, typer.Option("--history", help="The versions so far, instead.")] = False,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the rules in force. With --json the rules alone, as `vuka fees set` takes them.

    Example: [bold]vuka fees show --json > fees.json[/bold]
    """
    if history:
        show_history(url, "fees", as_json=as_json)
        return
    found: dict[str, Any] = call(url, "GET", "/rules/fees")
    if as_json:
        print_json(found["rules"])
        return
    if not found["rules"]:
        console.print("No rules are in force: payments cost nothing.")
        return
    rows = [_rule(number, each) for number, each in enumerate(found["rules"], 1)]
    title = f"Rules about fees, version {found['version']} of {found['createdDate']} by {found['createdBy']}"
    print_table(title, ("rule>", "name", "from", "to", "how much", "valid", "accounts"), rows)


def _rule(number: int, rule: Mapping[str, Any]) -> Sequence[object]:
    params: Mapping[str, Any] = rule["event"]["params"]
    valid = " to ".join(params.get(each, "…") for each in ("validFrom", "validTo"))
    return (
        number,
        rule.get("name"),
        params["from"],
        params["to"],
        _tariff(params),
        "" if valid == "… to …" else valid,
        params["ledgerAccountType"],
    )


def _tariff(params: Mapping[str, Any]) -> str:
    """How much a rule charges, in a few words."""
    currency = f" {params['currency']}" if "currency" in params else ""
    if "tiers" in params:
        kind = params.get("tiering", "SLAB").lower()
        words = f"{kind}: " + "; ".join(
            f"{_price(tier, currency)} {'up to ' + str(tier['upTo']) if 'upTo' in tier else 'beyond'}"
            for tier in params["tiers"]
        )
    else:
        words = _price(params, currency)
    bounds = [f"{word} {params[name]}{currency}" for name, word in _BOUNDS if name in params]
    return ", ".join([words, *bounds])


_BOUNDS = (("minimum", "at least"), ("maximum", "at most"))


def _price(of: Mapping[str, Any], currency: str) -> str:
    parts = [f"{of['percentage']} %"] if "percentage" in of else []
    if "fixed" in of:
        parts.append(f"{of['fixed']}{currency}")
    return " + ".join(parts)


@app.command("set")
def set_rules(file: RulesFile, url: HubUrl = DEFAULT_URL) -> None:
    """Put other rules in force, for payments from now on. They are checked whole: all of them hold, or none.

    Example: [bold]vuka fees set fees.json[/bold]
    """
    stored = call(url, "PUT", "/rules/fees", read_rules(file, compile_fee_rules))
    count = len(stored["rules"])
    console.print(f"{count} rule{'' if count == 1 else 's'} in force, version {stored['version']}.", highlight=False)


@app.command("clear")
def clear(url: HubUrl = DEFAULT_URL) -> None:
    """Charge nothing any more. What was charged stays, and so do the versions of the rules.

    Example: [bold]vuka fees clear[/bold]
    """
    stored = call(url, "PUT", "/rules/fees", [])
    console.print(f"No rules are in force, version {stored['version']}.", highlight=False)


@app.command("try")
def try_rules(
    file: RulesFile,
    since: Annotated[
        str | None,
        typer.Option(help="Only payments since then: a span such as 7d, or a date (UTC).", show_default="any"),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many payments, the newest first.", min=1, max=1000)] = 100,
    transfer: Annotated[
        list[str] | None, typer.Option("--transfer", help="Only this transfer; may be repeated.")
    ] = None,
    url: HubUrl = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what rules would have charged past payments, and change nothing.

    Example: [bold]vuka fees try fees.json --since 7d[/bold]
    """
    body: dict[str, object] = {"rules": read_rules(file, compile_fee_rules), "limit": limit}
    if since is not None:
        body["since"] = moment(since)
    if transfer:
        body["ids"] = transfer
    found: dict[str, Any] = call(url, "POST", "/rules/fees/try", body)
    if as_json:
        print_json(found)
        return
    rules = [
        (each["rule"], each["name"], each["held"], each["charged"], _sums(each["total"])) for each in found["rules"]
    ]
    print_table("Rules", ("rule>", "name", "held>", "charged>", "total>"), rows=rules)
    charged = [row for each in found["transfers"] for row in _rows(each)]
    if charged:
        columns = ("transfer", "completed", "amount>", "rule", "from", "to", "fee>")
        print_table("Fees that they would have charged", columns, charged)
    tried, charged_now = found["tried"], found["charged"] or "none"
    how_much = f" {_sums(found['total'])}" if found["charged"] else ""
    console.print(
        f"Tried on {tried} past payment{'' if tried == 1 else 's'}; "
        f"{charged_now} would have been charged{how_much}. "
        f"Then they were charged {_sums(found['totalThen'])}.",
        highlight=False,
    )


def _rows(trial: Mapping[str, Any]) -> list[Sequence[object]]:
    return [
        (
            trial["transferId"],
            trial["completedTimestamp"],
            money(trial["amount"]),
            fee["rule"],
            fee["from"],
            fee["to"],
            money(fee["amount"]),
        )
        for fee in trial["fees"]
    ]


def money(amount: Mapping[str, str]) -> str:
    """An amount of an answer, as people write it."""
    return str(Amount.from_wire(amount["amount"], amount["currency"]))


def _sums(totals: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(map(money, totals)) or "nothing"
