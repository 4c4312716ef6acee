"""Options that several commands share: the data directory, and the configuration read from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

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


def read_config(data_dir: Path | None, file: Path | None = None) -> Config:
    """The effective configuration of the hub in a data directory. Ends the command where it is not valid."""
    directory = data_dir or Path(os.environ.get("VUKA_DATA_DIR", "vuka-data"))
    if file is None and (directory / CONFIG_FILE).is_file():
        file = directory / CONFIG_FILE
    try:
        return load(file, os.environ, data_dir=str(directory))
    except OperatorError as error:
        fail(str(error))
