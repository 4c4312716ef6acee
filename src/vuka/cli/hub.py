"""``vuka init`` and ``vuka serve``: make a hub, run a hub."""

from __future__ import annotations

import fcntl
import getpass
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from rich.markup import escape
from rich.text import Text

from vuka.api.audit_key import make_key
from vuka.cli.given import TOKEN_FILE
from vuka.cli.options import ConfigFile, DataDir, read_config
from vuka.cli.output import console, errors, fail
from vuka.clock import clock_ms
from vuka.config import CONFIG_FILE, Config, Ledger, to_toml
from vuka.errors import FspiopError, OperatorError
from vuka.money import CURRENCIES
from vuka.store import CommitUnknownError, UnavailableError
from vuka.store.migrate import HEAD, current_revision, migrate, open_place
from vuka.store.sqlite import may_lose_pages

if TYPE_CHECKING:
    from vuka.store import Tx
    from vuka.switch.auditlog import Act
    from vuka.switch.work import Actor, Work

SQLITE_READABLE_BY_OWNER = 0o700
READABLE_BY_OWNER = 0o600

LedgerEngine = Literal["embedded", "tigerbeetle"]

ADMIN = "admin"
"""What the operator is called whose token `make_admin_token` makes."""


def found(config: Config, name: str, currencies: list[str]) -> None:
    """Makes a new hub: its database, its scheme, the hub's accounts in the given currencies.

    Raises `OperatorError` where there is one already, or the directory can't be made.
    """
    from vuka.ledger.choice import write_choice
    from vuka.switch import scheme

    if has_hub(config):
        raise OperatorError(f"There is a hub in {config.place_shown} already. Run it with: vuka serve")
    try:
        Path(config.data_dir).mkdir(parents=True, exist_ok=True, mode=SQLITE_READABLE_BY_OWNER)
    except OSError as error:
        raise OperatorError(f"The data directory {config.data_dir} can't be made: {error.strerror}.") from None
    migrate(config.place)
    try:
        with writing(config) as work:
            write_choice(work.tx, config.ledger, work.ledger)
            scheme.found(work, name, currencies)
        make_key(config)
    except BaseException:
        # Nothing was founded: a file would only be in the way. Tables without a hub in them wait for the next attempt.
        if isinstance(config.place, Path):
            for suffix in ("", "-wal", "-shm"):
                config.place.with_name(config.place.name + suffix).unlink(missing_ok=True)
        raise


def has_hub(config: Config) -> bool:
    """Whether there is a hub in the database; not where one could not be founded after its tables were made.

    Raises `OperatorError` where the database is another's, or can't be reached.
    """
    revision = current_revision(config.place)
    if revision != HEAD:
        # It has been served by another version.
        return revision is not None
    database = open_place(config.place, read_only=True)
    try:
        with database.read() as tx:
            return bool(tx.query("SELECT 1 FROM scheme"))
    finally:
        database.close()


@contextmanager
def writing(config: Config) -> Iterator[Work]:
    """A transaction on a hub that does not run: committed at the end, undone where something is raised."""
    from vuka.engine.keys import NODE_MAX, KeySource
    from vuka.ledger.choice import open_ledger
    from vuka.switch.directory import DirectoryCache
    from vuka.switch.work import Work

    keys = KeySource(node=NODE_MAX)
    now_ms = clock_ms()
    chosen = open_ledger(config.ledger)
    try:
        database = open_place(config.place)
    except BaseException:
        chosen.close()
        raise
    try:
        with database.begin() as tx:
            yield Work(
                tx=tx,
                ledger=chosen.open(tx, now_ms * 1_000_000),
                now_ms=now_ms,
                scheme=config.scheme,
                next_id=lambda: keys.next(now_ms),
                load_directory=DirectoryCache().load,
            )
    except (UnavailableError, CommitUnknownError) as error:
        raise OperatorError(f"{config.place_shown}: {error}.") from None
    finally:
        database.close()
        chosen.close()


def whoever_is_here() -> Actor:
    """Whoever calls this program on this machine, for the audit log."""
    from vuka.switch.work import Actor, ActorKind

    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        # An account without a name, as in a container.
        name = f"uid {os.getuid()}"
    return Actor(ActorKind.COMMAND_LINE, name)


def note_act(tx: Tx, act: Act, now_ms: int) -> None:
    """Writes an act beside a hub that does not run into the audit log, in the transaction in which it is done."""
    from vuka.switch import auditlog

    auditlog.append(tx, auditlog.head(tx), auditlog.Kind.ACT, act, now_ms)


@contextmanager
def recording(config: Config) -> Iterator[tuple[Tx, int]]:
    """A transaction on the records of a hub that does not run, whatever its ledger, and the time of it."""
    database = open_place(config.place)
    try:
        with database.begin() as tx:
            yield tx, clock_ms()
    except (UnavailableError, CommitUnknownError) as error:
        raise OperatorError(f"{config.place_shown}: {error}.") from None
    finally:
        database.close()


def make_admin_token(config: Config, *, by: str) -> Path:
    """Lets an operator in who may do everything; its token is in the file returned, readable by its owner alone.

    The hub must not run. Raises `OperatorError` where the file can't be written; then nobody is let in.
    """
    from vuka.api.credentials import new_secret
    from vuka.api.identity import secret_digest
    from vuka.switch import access
    from vuka.switch.witness import witnessed

    file = Path(config.data_dir) / TOKEN_FILE
    secret = new_secret()
    command = access.IssueCredential(
        kind=access.CredentialKind.TOKEN,
        digest=secret_digest(secret),
        name=ADMIN,
        roles=(access.Role.ADMIN.value,),
        by=by,
    )
    with writing(config) as work:
        outcome, act = witnessed(work, access.issue, command, whoever_is_here())
        if outcome.error is not None:
            raise outcome.error
        note_act(work.tx, act, work.now_ms)
        try:
            file.unlink(missing_ok=True)
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READABLE_BY_OWNER), "w") as handle:
                handle.write(secret + "\n")
        except OSError as error:
            raise OperatorError(
                f"The token can't be written to {file}: {error.strerror}. "
                f"Make room for it, then: vuka access recover --data {config.data_dir}"
            ) from None
    return file


def init(
    data: DataDir = None,
    name: Annotated[str, typer.Option(help="The scheme's name.")] = "Vuka",
    currency: Annotated[
        list[str] | None, typer.Option("--currency", "-c", help="A currency of the scheme; may be repeated.")
    ] = None,
    ledger: Annotated[
        LedgerEngine | None, typer.Option(help="Where the money is to be; it stays there. See docs/tigerbeetle.md.")
    ] = None,
    ledger_addresses: Annotated[
        str | None, typer.Option(help="The TigerBeetle cluster's replicas, e.g. 127.0.0.1:3000.")
    ] = None,
    ledger_cluster_id: Annotated[str | None, typer.Option(help="The TigerBeetle cluster's number.")] = None,
) -> None:
    """Make a new hub in a data directory: its database, its configuration, the participant Hub.

    Example: [bold]vuka init --data ./hub --name "My scheme" -c USD -c KES[/bold]
    """
    config = read_config(data)
    chosen = {"engine": ledger, "addresses": ledger_addresses, "cluster_id": ledger_cluster_id}
    settings = msgspec.to_builtins(config.ledger) | {key: value for key, value in chosen.items() if value is not None}
    try:
        config = msgspec.structs.replace(config, ledger=msgspec.convert(settings, Ledger))
    except msgspec.ValidationError as error:
        fail(f"The ledger can not be that: {error}. See `vuka config --describe`.")
    currencies = [each.upper() for each in currency or []]
    for each in currencies:
        if each not in CURRENCIES:
            fail(f"{each} is not a currency of the FSPIOP list, e.g. USD or KES.")
    file = Path(config.data_dir) / CONFIG_FILE
    try:
        found(config, name, currencies)
        if not file.exists():
            file.write_text(to_toml(config), encoding="utf-8")
        token_file = make_admin_token(config, by="vuka init")
    except (OperatorError, FspiopError) as error:
        fail(str(error))
    console.print(f"Made the hub [bold]{escape(name)}[/] in {escape(config.data_dir)}. Run it with:")
    console.print(f"  vuka serve --data {config.data_dir}", highlight=False, markup=False)
    console.print(f"An admin's token is in {escape(str(token_file))}; whoever has it may do everything.")


def serve(
    data: DataDir = None,
    config: ConfigFile = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Hub processes on this machine, behind the same ports.")
    ] = 1,
) -> None:
    """Run the hub: the participants' API and the operators' API, until Ctrl-C.

    With several workers, a SIGHUP replaces them one after another, and nobody is refused meanwhile.

    Example: [bold]vuka serve --data ./hub[/bold]
    """
    from vuka import descriptors
    from vuka.ledger.choice import TIGERBEETLE
    from vuka.logs import configure_logging

    effective = read_config(data, config)
    configure_logging(effective)
    # For workers too, who are started from here.
    descriptors.take_all()
    if workers > 1 and effective.ledger.engine == TIGERBEETLE and isinstance(effective.place, Path):
        fail(
            "Several processes on a TigerBeetle cluster need their records in PostgreSQL (store.url): "
            "on SQLite serve without --workers."
        )
    if workers > 1 and isinstance(effective.place, Path) and may_lose_pages():
        _say_what_workers_risk()
    try:
        with locked(effective) as lock_fd:
            upgrade(effective)
            _say_what_is_open(effective)
            if workers == 1:
                run(effective)
            else:
                from vuka.cli.workers import Workers

                Workers(effective, config, workers, lock_fd).run()
    except OperatorError as error:
        fail(str(error))
    except UnavailableError as error:
        fail(f"The hub can't start: {error}.")


def _say_what_workers_risk() -> None:
    said = (
        f"SQLite {sqlite3.sqlite_version} may, once in a great while, lose what several processes write "
        "(https://www.sqlite.org/wal.html#walresetbug). Serve without --workers, from PostgreSQL (store.url), "
        "or with SQLite 3.51.3 or later."
    )
    errors.print(Text(said, style="bold yellow"), highlight=False, soft_wrap=True)


def _say_what_is_open(config: Config) -> None:
    """On the terminal, whatever is logged: an API that asks nobody who they are is no accident."""
    apis = (("participants", config.participants_api), ("operators", config.operators_api))
    for name, api in apis:
        if not api.requires_authentication:
            said = f"The {name}' API on {api.host} asks nobody who they are ({name}_api.authentication)."
            errors.print(Text(said, style="bold yellow"), highlight=False, soft_wrap=True)


def upgrade(config: Config) -> None:
    """Brings an older database to this program's schema. Raises `OperatorError` for a newer or a missing one."""
    if not has_hub(config):
        raise OperatorError(
            f"There is no hub in {config.place_shown}. Make one with: vuka init --data {config.data_dir} -c USD"
        )
    migrate(config.place)
    make_key(config)


def run(config: Config) -> None:
    """Runs a hub's event loop until it is told to stop."""
    import uvloop

    from vuka.api.server import keep_what_is_there
    from vuka.api.server import serve as serve_hub

    uvloop.run(serve_hub(config, ready=lambda _addresses, _hub: keep_what_is_there()))


@contextmanager
def locked(config: Config) -> Iterator[int]:
    """Holds the data directory: one hub at a time. Raises `OperatorError` where another has it.

    Gives the lock's file descriptor: a process that inherits it holds the directory too.
    """
    directory = Path(config.data_dir)
    if config.store.url:
        # The records are elsewhere: a further machine has nothing in its directory yet.
        directory.mkdir(parents=True, exist_ok=True, mode=SQLITE_READABLE_BY_OWNER)
    if not directory.is_dir():
        raise OperatorError(f"There is no hub in {directory}. Make one with: vuka init --data {directory} -c USD")
    with (directory / "vuka.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OperatorError(f"Another hub runs in {directory}. Stop it, or use another data directory.") from None
        yield handle.fileno()
