"""``vuka config``: what the hub runs by."""

from __future__ import annotations

from typing import Annotated

import typer

from vuka.cli.options import ConfigFile, DataDir, read_config
from vuka.cli.output import AsJson, print_json, print_table
from vuka.config import settings, shown, to_toml


def config(
    data: DataDir = None,
    config: ConfigFile = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="List every key with its variable, default and meaning.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the effective configuration: the defaults, the file, and VUKA_… variables over it. Secrets are left out.

    Example: [bold]vuka config --describe[/bold]
    """
    if describe:
        if as_json:
            print_json(list(settings()))
            return
        rows = [(each.name, each.variable, each.default, each.meaning) for each in settings()]
        print_table("Configuration", ("key", "variable", "default", "meaning"), rows)
        return
    effective = read_config(data, config)
    if as_json:
        print_json(shown(effective))
    else:
        typer.echo(to_toml(effective), nl=False)
