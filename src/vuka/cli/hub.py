"""``vuka init`` and ``vuka serve``: make a hub, run a hub."""

from __future__ import annotations

import fcntl
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO, cast

import structlog
import typer
from rich.markup import escape

from vuka.api.hub import clock_ms
from vuka.cli.options import ConfigFile, DataDir, read_config
from vuka.cli.output import console, fail
from vuka.config import CONFIG_FILE, Config, to_toml
from vuka.errors import FspiopError, OperatorError
from vuka.money import CURRENCIES
from vuka.store.migrate import current_revision, migrate

SQLITE_READABLE_BY_OWNER = 0o700


def found(config: Config, name: str, currencies: list[str]) -> None:
    """Makes a new hub: its database, its scheme, the hub's accounts in the given currencies.

    Raises `OperatorError` where there is one already, or the directory can't be made.
    """
    from vuka.engine.keys import KeySource
    from vuka.ledger.sql import SqlLedger
    from vuka.store.sqlite import Database
    from vuka.switch import scheme
    from vuka.switch.directory import DirectoryCache
    from vuka.switch.work import Work

    path = config.database_path
    if current_revision(path) is not None:
        raise OperatorError(f"There is a hub in {config.data_dir} already. Run it with: vuka serve")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=SQLITE_READABLE_BY_OWNER)
    except OSError as error:
        raise OperatorError(f"The data directory {config.data_dir} can't be made: {error.strerror}.") from None
    migrate(path)
    keys = KeySource()
    now_ms = clock_ms()
    database = Database.open(path)
    try:
        with database.begin() as tx:
            work = Work(
                tx=tx,
                ledger=SqlLedger(tx, now_ms * 1_000_000),
                now_ms=now_ms,
                scheme=config.scheme,
                next_id=lambda: keys.next(now_ms),
                load_directory=DirectoryCache().load,
            )
            scheme.found(work, name, currencies)
    finally:
        database.close()


def init(
    data: DataDir = None,
    name: Annotated[str, typer.Option(help="The scheme's name.")] = "Vuka",
    currency: Annotated[
        list[str] | None, typer.Option("--currency", "-c", help="A currency of the scheme; may be repeated.")
    ] = None,
) -> None:
    """Make a new hub in a data directory: its database, its configuration, the participant Hub.

    Example: [bold]vuka init --data ./hub --name "My scheme" -c USD -c KES[/bold]
    """
    config = read_config(data)
    currencies = [each.upper() for each in currency or []]
    for each in currencies:
        if each not in CURRENCIES:
            fail(f"{each} is not a currency of the FSPIOP list, e.g. USD or KES.")
    try:
        found(config, name, currencies)
    except (OperatorError, FspiopError) as error:
        fail(str(error))
    file = Path(config.data_dir) / CONFIG_FILE
    if not file.exists():
        file.write_text(to_toml(config), encoding="utf-8")
    console.print(f"Made the hub [bold]{escape(name)}[/] in {escape(config.data_dir)}. Run it with:")
    console.print(f"  vuka serve --data {config.data_dir}", highlight=False, markup=False)


def serve(data: DataDir = None, config: ConfigFile = None) -> None:
    """Run the hub: the participants' API and the operators' API, until Ctrl-C.

    Example: [bold]vuka serve --data ./hub[/bold]
    """
    effective = read_config(data, config)
    configure_logging(effective)
    try:
        with locked(effective):
            upgrade(effective)
            run(effective)
    except OperatorError as error:
        fail(str(error))


def upgrade(config: Config) -> None:
    """Brings an older database to this program's schema. Raises `OperatorError` for a newer or a missing one."""
    if current_revision(config.database_path) is None:
        raise OperatorError(
            f"There is no hub in {config.data_dir}. Make one with: vuka init --data {config.data_dir} -c USD"
        )
    migrate(config.database_path)


def run(config: Config) -> None:
    """Runs a hub's event loop until it is told to stop."""
    import uvloop

    from vuka.api.server import serve as serve_hub

    uvloop.run(serve_hub(config))


@contextmanager
def locked(config: Config) -> Iterator[None]:
    """Holds the data directory: one hub at a time. Raises `OperatorError` where another has it."""
    directory = Path(config.data_dir)
    if not directory.is_dir():
        raise OperatorError(f"There is no hub in {directory}. Make one with: vuka init --data {directory} -c USD")
    with (directory / "vuka.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OperatorError(f"Another hub runs in {directory}. Stop it, or use another data directory.") from None
        yield


class _StandardError:
    """Standard error as it is when a line is written: whoever replaces it meanwhile gets the line."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(config: Config) -> None:
    """Log lines on standard error: JSON for machines, text for people."""
    level = logging.getLevelNamesMapping()[config.log.level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.types.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if config.log.json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
    )
