"""The ``vuka`` command. Each module holds one group of commands; ``vuka --help`` lists them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from vuka import __version__
from vuka.cli import given

_COMMANDS: Final = {
    "init": "hub:init",
    "serve": "hub:serve",
    "demo": "demo:demo",
    "participant": "participant:app",
    "oracle": "oracle:app",
    "key": "key:app",
    "funds": "funds:app",
    "transfer": "transfer:app",
    "quotes": "quotes:app",
    "message": "messages:app",
    "notification": "notifications:app",
    "access": "access:app",
    "model": "model:app",
    "account-type": "model:types",
    "window": "settlement:windows",
    "settlement": "settlement:app",
    "bank-account": "bank_files:app",
    "schedule": "schedule:app",
    "fees": "fees:app",
    "books": "books:app",
    "trace": "trace:trace",
    "audit": "audit:audit",
    "auditlog": "auditlog:app",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "config": "config:config",
    "bench": "bench:app",
    "simulate": "simulate:simulate",
}
"""Where each command is, in the order in which help lists them: a module here, and the command or group in it.

One is imported when it is called: most need nothing of the hub, and start in half the time without it.
"""

_OPTIONS_WITH_VALUE: Final = ("--token", "--ca-file")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vuka {__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    token: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="VUKA_TOKEN",
            help="Your token, where the hub wants to know who you are.",
            show_default="operator.token in the data directory",
        ),
    ] = "",
    ca_file: Annotated[
        str,
        typer.Option(
            "--ca-file",
            envvar="VUKA_CA_FILE",
            help="The authorities (PEM) to believe of a hub with https.",
            show_default="those that are usually believed",
        ),
    ] = "",
    certificate: Annotated[
        str,
        typer.Option(
            "--certificate",
            envvar="VUKA_CERTIFICATE_FILE",
            help="Your certificate and its private key (PEM, one file), for a hub that asks for one.",
            show_default="none",
        ),
    ] = "",
) -> None:
    given.TOKEN.set(token)
    given.CA_FILE.set(ca_file)
    given.CERTIFICATE.set(certificate)


def application(names: Iterable[str] = tuple(_COMMANDS)) -> typer.Typer:
    """The command line with these commands: all of them, where none are named."""
    app = typer.Typer(
        name="vuka",
        help="An open instant-payments hub: Mojaloop's APIs, one process, one data directory.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module, _, attribute = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"vuka.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def named(arguments: Sequence[str]) -> str | None:
    """The command that a command line names; None where it asks for help, or names none that there is."""
    rest = iter(arguments)
    for argument in rest:
        if argument in _OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not argument.startswith(tuple(f"{option}=" for option in _OPTIONS_WITH_VALUE)):
            return argument if argument in _COMMANDS else None
    return None


def main() -> None:
    """Runs the command line."""
    name = named(sys.argv[1:])
    app = application() if name is None else application((name,))
    app()
