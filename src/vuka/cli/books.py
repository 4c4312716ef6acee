"""``vuka books``: the trial balance, the journal, and statements, read from the hub's own file."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from vuka.cli.options import DataDir, moment, read_config
from vuka.cli.output import errors, fail, print_table
from vuka.cli.reading import reading
from vuka.money import CURRENCIES, format_amount
from vuka.switch import books
from vuka.switch.directory import SETTLEMENT, read_directory

app = typer.Typer(no_args_is_help=True, help="The books: trial balance, journal and statements.")


class Format(StrEnum):
    """How figures are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


AsFormat = Annotated[Format, typer.Option("--format", help="How to print it.")]
Currency = Annotated[str | None, typer.Option("--currency", "-c", help="Only this currency.", show_default="all")]
From = Annotated[str | None, typer.Option("--from", help="From when, UTC: 2026-11-24 or 2026-11-24T08:00.")]
To = Annotated[str | None, typer.Option("--to", help="Until when, UTC; a date is the whole day.")]

_TABLE_ROWS_MAX = 1_000
"""A table is held in memory to be drawn: the rest of a long journal is for --format csv."""


@app.command("trial-balance")
def trial_balance(
    currency: Currency = None,
    at: Annotated[
        str | None, typer.Option("--at", help="As of when, UTC; a date is its end.", show_default="now")
    ] = None,
    data: DataDir = None,
    form: AsFormat = Format.TABLE,
) -> None:
    """Show what every account was debited and credited; exit 1 where debits do not equal credits.

    Example: [bold]vuka books trial-balance --currency USD[/bold]
    """
    wanted, until_ms = _currency(currency), _until(at)
    with reading(read_config(data)) as (tx, ledger):
        balances = books.trial_balance(ledger, read_directory(tx), until_ms=until_ms)
    balances = [each for each in balances if wanted in (None, each.currency)]
    columns = (
        "currency",
        "participant",
        "account",
        "debits>",
        "credits>",
        "balance>",
        "pending debits>",
        "pending credits>",
    )
    rows: list[Sequence[str]] = []
    sums: dict[str, tuple[int, int]] = {}
    for each in balances:
        debits, credits = sums.get(each.currency, (0, 0))
        sums[each.currency] = (debits + each.debits, credits + each.credits)
        figures = (each.debits, each.credits, each.debits - each.credits, each.debits_pending, each.credits_pending)
        rows.append((each.currency, each.participant, each.type, *map(format_amount, figures)))
    for code, (debits, credits) in sums.items():
        rows.append((code, "", "all accounts", *map(format_amount, (debits, credits, debits - credits)), "", ""))
    _print(form, "Trial balance: debits less credits", columns, rows)
    wrong = [code for code, (debits, credits) in sums.items() if debits != credits]
    if wrong:
        fail(f"Debits do not equal credits in {', '.join(wrong)}. Run `vuka audit` to see where.")


@app.command("ledger")
def ledger_(
    participant: Annotated[str | None, typer.Option(help="Only what touches its accounts.", show_default="all")] = None,
    account_type: Annotated[
        str | None, typer.Option(help="Only what touches such accounts.", show_default="all")
    ] = None,
    currency: Currency = None,
    from_: From = None,
    to: To = None,
    data: DataDir = None,
    form: AsFormat = Format.TABLE,
) -> None:
    """Show the journal: every entry of the ledger, in order.

    Example: [bold]vuka books ledger --participant greenbank --from 2026-11-24[/bold]
    """
    wanted, from_ms, until_ms = _currency(currency), moment(from_, "--from"), _until(to, "--to")
    _check_order(from_ms, until_ms)
    with reading(read_config(data)) as (tx, ledger):
        directory = read_directory(tx)
        if participant is not None and participant not in directory.participants:
            fail(f"There is no participant {participant}. See: vuka participant list")
        names = books.Names(directory)
        types = sorted({account.type for _, account in names})
        kind = _kind(account_type, types) if account_type is not None else None
        if kind is not None and kind not in types:
            fail(f"There are no {kind} accounts. There are: {', '.join(types)}.")

        def rows() -> Iterator[Sequence[str]]:
            for transfer in books.transfers(ledger, from_ms=from_ms, until_ms=until_ms):
                entry = books.entry(names, transfer)
                sides = (entry.debit, entry.credit)
                if wanted not in (None, entry.currency):
                    continue
                if any(participant in (None, name) and kind in (None, each) for name, each in sides):
                    yield (
                        _time(entry.at_ms),
                        entry.what,
                        " ".join(entry.debit),
                        " ".join(entry.credit),
                        entry.currency,
                        format_amount(entry.amount),
                        entry.reference,
                    )

        _print(form, "Journal", ("time", "entry", "debit", "credit", "currency", "amount>", "belongs to"), rows())


@app.command("statement")
def statement(
    participant: Annotated[str, typer.Option(help="Whose account.")],
    account_type: Annotated[str, typer.Option(help="Which account.")] = SETTLEMENT,
    currency: Currency = None,
    from_: From = None,
    to: To = None,
    data: DataDir = None,
    form: AsFormat = Format.TABLE,
) -> None:
    """Show an account's statement, as the API counts: a position is what its participant owes, liquidity is negative.

    Example: [bold]vuka books statement --participant greenbank --account-type POSITION[/bold]
    """
    wanted, from_ms, until_ms = _currency(currency), moment(from_, "--from"), _until(to, "--to")
    _check_order(from_ms, until_ms)
    rows: list[Sequence[str]] = []
    with reading(read_config(data)) as (tx, ledger):
        directory = read_directory(tx)
        owner = directory.get(participant)
        if owner is None:
            fail(f"There is no participant {participant}. See: vuka participant list")
        kind = _kind(account_type, {each for _, each in owner.accounts})
        accounts = [
            each
            for (code, each_kind), each in sorted(owner.accounts.items())
            if each_kind == kind and wanted in (None, code)
        ]
        if not accounts:
            has = ", ".join(sorted({f"{code} {each_kind}" for code, each_kind in owner.accounts}))
            fail(f"{participant} has no such account. It has: {has}.")
        for account in accounts:
            found = books.statement(ledger, directory, participant, account, from_ms=from_ms, until_ms=until_ms)
            rows.append((account.currency, "", "opening balance", "", "", "", format_amount(found.opening), ""))
            rows += [
                (
                    account.currency,
                    _time(each.at_ms),
                    each.what,
                    each.counterparty,
                    format_amount(each.debit) if each.debit else "",
                    format_amount(each.credit) if each.credit else "",
                    format_amount(each.balance),
                    each.reference,
                )
                for each in found.movements
            ]
            rows.append((account.currency, "", "closing balance", "", "", "", format_amount(found.closing), ""))
    columns = ("currency", "time", "entry", "counterparty", "debit>", "credit>", "balance>", "belongs to")
    _print(form, f"{participant} {kind}: debits less credits", columns, rows)


def _print(form: Format, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    plain = [column.rstrip(">").replace(" ", "_") for column in columns]
    if form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\r\n")
        writer.writerow(plain)
        writer.writerows(rows)
        return
    if form is Format.JSON:
        # One by one: a journal may be long.
        sys.stdout.write("[")
        for place, row in enumerate(rows):
            document = msgspec.json.encode(dict(zip(plain, row, strict=True))).decode()
            sys.stdout.write(("," if place else "") + "\n  " + document)
        sys.stdout.write("\n]\n")
        return
    shown = iter(rows)
    print_table(title, columns, itertools.islice(shown, _TABLE_ROWS_MAX))
    if next(shown, None) is not None:
        errors.print(f"Only the first {_TABLE_ROWS_MAX} rows: --format csv prints all.", highlight=False)


def _kind(text: str, types: Collection[str]) -> str:
    """A ledger account type: as it is written, for the scheme's own may have small letters, else in capitals."""
    return text if text in types else text.upper()


def _currency(text: str | None) -> str | None:
    if text is None:
        return None
    if text.upper() not in CURRENCIES:
        fail(f"{text} is not a currency of ISO 4217 that FSPIOP knows, e.g. USD.")
    return text.upper()


def _until(text: str | None, option: str = "--at") -> int | None:
    """A moment; a date means the end of that day."""
    start = moment(text, option)
    if start is None or text is None or len(text) > len("2026-11-24"):
        return start
    return start + timedelta(days=1) // timedelta(milliseconds=1) - 1


def _check_order(from_ms: int | None, until_ms: int | None) -> None:
    if from_ms is not None and until_ms is not None and from_ms > until_ms:
        fail("--from is after --to. Exchange them.")


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
