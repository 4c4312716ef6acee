"""The ``vuka`` command. Each module holds one group of commands; ``vuka --help`` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from vuka import __version__
from vuka.cli import (
    access,
    audit,
    bank_files,
    bench,
    books,
    config,
    demo,
    fees,
    funds,
    hub,
    key,
    messages,
    model,
    notifications,
    oracle,
    participant,
    quotes,
    schedule,
    settlement,
    trace,
    transfer,
)
from vuka.cli.client import use_ca_file, use_token

app = typer.Typer(
    name="vuka",
    help="An open instant-payments hub: Mojaloop's APIs, one process, one data directory.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vuka {__version__}")
        raise typer.Exit


@app.callback()
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
) -> None:
    use_token(token)
    use_ca_file(ca_file)


app.command("init")(hub.init)
app.command("serve")(hub.serve)
app.command("demo")(demo.demo)
app.add_typer(participant.app, name="participant")
app.add_typer(oracle.app, name="oracle")
app.add_typer(key.app, name="key")
app.add_typer(funds.app, name="funds")
app.add_typer(transfer.app, name="transfer")
app.add_typer(quotes.app, name="quotes")
app.add_typer(messages.app, name="message")
app.add_typer(notifications.app, name="notification")
app.add_typer(access.app, name="access")
app.add_typer(model.app, name="model")
app.add_typer(model.types, name="account-type")
app.add_typer(settlement.windows, name="window")
app.add_typer(settlement.app, name="settlement")
settlement.app.command("export")(bank_files.export)
settlement.app.command("check-statement")(bank_files.check_statement)
settlement.app.command("import-statement")(bank_files.import_statement)
settlement.app.command("statements")(bank_files.statements)
app.add_typer(bank_files.app, name="bank-account")
app.add_typer(schedule.app, name="schedule")
app.add_typer(fees.app, name="fees")
app.add_typer(books.app, name="books")
app.command("trace")(trace.trace)
app.command("audit")(audit.audit)
app.command("config")(config.config)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Runs the command line."""
    app()
