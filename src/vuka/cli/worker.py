"""One worker of ``vuka serve --workers N``: ``python -m vuka.cli.worker TASK``, started by its parent alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import typer
import uvloop

from vuka.api.hub import Hub
from vuka.api.server import Addresses, keep_what_is_there, serve
from vuka.api.siblings import Siblings
from vuka.cli.hub import upgrade
from vuka.cli.options import read_config
from vuka.cli.output import fail
from vuka.cli.workers import SIGNALS, WorkerTask
from vuka.engine.membership import Identity
from vuka.errors import OperatorError
from vuka.logs import configure_logging
from vuka.store import UnavailableError


async def _run(task: WorkerTask) -> None:
    stop = asyncio.Event()
    # When the parent has gone, however it went, the pipe ends.
    asyncio.get_running_loop().add_reader(task.parent_fd, stop.set)

    def ready(_addresses: Addresses, _hub: Hub) -> None:
        keep_what_is_there()
        os.write(task.ready_fd, b"1")
        os.close(task.ready_fd)

    config = read_config(Path(task.data_dir), Path(task.config_file) if task.config_file else None)
    configure_logging(config)
    # It may be of a newer version than its parent: then the others, which are not, end.
    upgrade(config)
    await serve(
        config,
        ready=ready,
        stop=stop,
        identity=Identity(task.place, task.run),
        sockets=(socket.socket(fileno=task.participants_fd), socket.socket(fileno=task.operators_fd)),
        siblings=Siblings(task.index, socket.socket(fileno=task.figures_fd), task.figures),
    )


def main() -> None:
    """Runs one worker until its parent says that it is enough."""
    task = msgspec.json.decode(sys.argv[1], type=WorkerTask)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        uvloop.run(_run(task))
    except OperatorError as error:
        _end(str(error))
    except UnavailableError as error:
        _end(f"The worker can't start: {error}.")


def _end(why: str) -> NoReturn:
    """Ends as a command does: no command runs here that would."""
    try:
        fail(why)
    except typer.Exit as end:
        sys.exit(end.exit_code)


if __name__ == "__main__":
    main()
