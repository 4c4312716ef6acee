"""What several commands are given: the data directory, the configuration read from it, and moments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from vuka.cli.output import fail
from vuka.config import CONFIG_FILE, Config, load
from vuka.errors import OperatorError

DataDir = Annotated[
    Path | None,
    typer.Option("--data", help="The hub's data directory.", show_default="vuka-data", envvar="VUKA_DATA_DIR"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="A configuration file.", show_default=f"{CONFIG_FILE} in the data directory"),
]


ELSEWHERE: Final = frozenset(
    ("VUKA_STORE_URL", "VUKA_LEDGER_ENGINE", "VUKA_LEDGER_ADDRESSES", "VUKA_LEDGER_CLUSTER_ID")
)
"""Variables that say where a hub's records and money are, outside its data directory."""


def at_home(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables for a hub that is demonstrated or measured: its records and its money are in its own directory.

    The caller's may name those of a hub of life.
    """
    return {name: value for name, value in variables.items() if name not in ELSEWHERE}


def read_config(data_dir: Path | None, file: Path | None = None, *, is_at_home: bool = False) -> Config:
    """The effective configuration of the hub in a data directory. Ends the command where it is not valid.

    ``is_at_home``: that of a hub that is demonstrated or measured (`at_home`).
    """
    directory = data_dir or Path(os.environ.get("VUKA_DATA_DIR", "vuka-data"))
    if file is None and (directory / CONFIG_FILE).is_file():
        file = directory / CONFIG_FILE
    try:
        return load(file, at_home(os.environ) if is_at_home else os.environ, data_dir=str(directory))
    except OperatorError as error:
        fail(str(error))


def moment(text: str | None, option: str) -> int | None:
    """A time as UTC milliseconds, a date being its first instant; None where none is given.

    Ends the command where it is none, naming the option.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return fail(f"{option} {text} is not a time. Write it as 2026-11-24 or 2026-11-24T08:00 (UTC).")
