"""The ``vuka`` command. Each module holds one group of commands; ``vuka --help`` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from vuka import __version__
from vuka.cli import audit, bench, config, demo, funds, hub, messages, oracle, participant, trace, transfer

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
) -> None:
    pass


app.command("init")(hub.init)
app.command("serve")(hub.serve)
app.command("demo")(demo.demo)
app.add_typer(participant.app, name="participant")
app.add_typer(oracle.app, name="oracle")
app.add_typer(funds.app, name="funds")
app.add_typer(transfer.app, name="transfer")
app.add_typer(messages.app, name="message")
app.command("trace")(trace.trace)
app.command("audit")(audit.audit)
app.command("config")(config.config)
app.command("bench")(bench.bench)


def main() -> None:
    """Runs the command line."""
    app()
