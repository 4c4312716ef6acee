"""What the commands about rules have in common: reading files of them, the versions so far, moments of the past."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vuka.cli.client import call
from vuka.cli.output import fail, print_json, print_table
from vuka.clock import clock_ms
from vuka.fspiop.times import format_datetime_ms
from vuka.rules import CONTENT_BYTES_MAX, RulesError, decode_json

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SPAN: Final = re.compile(r"(\d{1,5})([mhdw])")

RulesFile = Annotated[str, typer.Argument(metavar="FILE", help="A JSON array of rules; - reads standard input.")]


def show_history(url: str, kind: str, *, as_json: bool) -> None:
    """Prints the versions of the rules of a kind."""
    found: list[dict[str, Any]] = call(url, "GET", f"/rules/{kind}/history")
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
    print_table(f"Versions of the rules about {kind}", ("version>", "rules>", "since", "by", ""), rows)


def read_rules(file: str, compile_rules: Callable[[bytes], object]) -> object:
    """The rules of a file, checked here, so that every fault is told. Ends the command where they are faulty."""
    try:
        content = sys.stdin.buffer.read(CONTENT_BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        fail(f"{file} can't be read: {error.strerror}.")
    try:
        compile_rules(content)
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


def moment(text: str) -> str:
    """When ``7d`` ago or a date and time was, as the API takes it."""
    try:
        return format_datetime_ms(_moment_ms(text))
    except ValueError:
        fail(f"{text} is no time: write e.g. 7d, 12h, 2030-01-31, or 2030-01-31T12:00:00Z.")


def _moment_ms(text: str) -> int:
    """Milliseconds since 1970 UTC. Raises `ValueError`."""
    span = _SPAN.fullmatch(text)
    if span is not None:
        return clock_ms() - int(span[1]) * _UNITS_MS[span[2]]
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    return (found - _EPOCH) // datetime.timedelta(milliseconds=1)
