"""``vuka serve --workers N``: several hub processes on one machine behind the same two ports.

A parent binds the ports, once for each worker, and keeps the sockets for as long as it lives; the kernel spreads
connections over them. A worker is a whole hub on the common database. When one ends, the next takes over its socket
with the connections that wait in it, so that nobody is refused: neither when a worker crashes, nor when all are
replaced one after another (SIGHUP), which is how a new version or configuration is taken up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vuka.api.server import bind
from vuka.config import Config
from vuka.engine.membership import Identity, place_of
from vuka.errors import OperatorError

log: Final = structlog.get_logger("vuka.workers")

START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_SPARE: Final = 20.0
"""How much longer than its drain a worker may take to stop before it is killed."""

RESTART_SECONDS_FIRST: Final = 0.2
RESTART_SECONDS_MAX: Final = 10.0
STEADY_SECONDS: Final = 60.0
"""How long a worker must have lived for its end to count as the first."""

LOOK_SECONDS: Final = 0.5
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class WorkerTask(msgspec.Struct, frozen=True):
    """What a worker is told: as JSON, the one argument of ``python -m vuka.cli.worker``."""

    data_dir: str
    config_file: str | None
    place: str
    run: int
    index: int
    participants_fd: int
    operators_fd: int
    figures_fd: int
    """On which it tells the other workers what it measures."""
    ready_fd: int
    """Written to when it listens."""
    parent_fd: int
    """Ends when the parent has ended."""
    figures: list[str]
    """The paths of all workers' sockets for that, in their order."""


class _Worker:
    """One slot: its sockets, and the process that serves them now."""

    def __init__(self, index: int, sockets: tuple[socket.socket, socket.socket, socket.socket]) -> None:
        self.index = index
        self.sockets = sockets
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.restart_at = 0.0
        self.failures = 0


class Workers:
    """The parent: starts the workers, keeps them running, replaces them, and stops them."""

    def __init__(self, config: Config, config_file: Path | None, count: int, lock_fd: int) -> None:
        self._config = config
        self._config_file = config_file
        self._identity = Identity.draw(place_of(Path(config.data_dir)))
        self._lock_fd = lock_fd
        self._sockets = contextlib.ExitStack()
        self._workers = [_Worker(index, sockets) for index, sockets in enumerate(self._bind(count))]
        self._parent_read, self._parent_write = os.pipe()

    def _bind(self, count: int) -> list[tuple[socket.socket, socket.socket, socket.socket]]:
        participants, operators = self._config.participants_api, self._config.operators_api
        # Nobody else may enter it. A path of its own: that of the data directory may be too long for a socket.
        folder = Path(self._sockets.enter_context(tempfile.TemporaryDirectory(prefix="vuka-")))
        self._figures = [str(folder / str(index)) for index in range(count)]
        made: list[tuple[socket.socket, socket.socket, socket.socket]] = []
        ports = [participants.port, operators.port]
        for path in self._figures:
            pair = (
                bind(participants.host, ports[0], "participants", shared=True),
                bind(operators.host, ports[1], "operators", shared=True),
            )
            for each in pair:
                self._sockets.callback(each.close)
            # A free port was chosen for the first: the others share it.
            ports = [each.getsockname()[1] for each in pair]
            figures = self._sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            figures.bind(path)
            figures.setblocking(False)
            made.append((*pair, figures))
        return made

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises `OperatorError` where a worker does not start."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            with self._sockets:
                try:
                    self._serve()
                finally:
                    self._stop([each.process for each in self._workers if each.process is not None])
        finally:
            os.close(self._parent_read)
            os.close(self._parent_write)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self) -> None:
        for worker in self._workers:
            worker.process = self._start(worker)
            worker.started = time.monotonic()
        log.info("the hub is ready", workers=len(self._workers), data_dir=self._config.data_dir)
        while True:
            told = signal.sigtimedwait(SIGNALS, LOOK_SECONDS)
            if told is not None and told.si_signo in (signal.SIGTERM, signal.SIGINT):
                return
            if told is not None and told.si_signo == signal.SIGHUP:
                self._replace_all()
            for worker in self._workers:
                self._keep_alive(worker)

    def _keep_alive(self, worker: _Worker) -> None:
        now = time.monotonic()
        if worker.process is not None and worker.process.poll() is not None:
            worker.failures = 1 if now - worker.started > STEADY_SECONDS else worker.failures + 1
            pause = min(RESTART_SECONDS_FIRST * 2 ** (worker.failures - 1), RESTART_SECONDS_MAX)
            log.error("a worker has ended", worker=worker.index, status=worker.process.returncode, pause=pause)
            worker.process, worker.restart_at = None, now + pause
        if worker.process is None and now >= worker.restart_at:
            try:
                worker.process = self._start(worker)
            except OperatorError as error:
                worker.failures += 1
                worker.restart_at = now + RESTART_SECONDS_MAX
                log.warning("a worker could not be started again", worker=worker.index, reason=str(error))
            worker.started = time.monotonic()

    def _replace_all(self) -> None:
        """One worker after another: the new one serves before the old one ends."""
        log.info("the workers are replaced")
        for worker in self._workers:
            old = worker.process
            try:
                worker.process = self._start(worker)
            except OperatorError as error:
                log.warning("the workers are not replaced further", worker=worker.index, reason=str(error))
                return
            worker.started, worker.failures = time.monotonic(), 0
            if old is not None:
                self._stop([old])
        log.info("the workers have been replaced")

    def _start(self, worker: _Worker) -> subprocess.Popen[bytes]:
        """A new process on a worker's sockets, once it listens. Raises `OperatorError` where it does not."""
        ready_read, ready_write = os.pipe()
        participants_fd, operators_fd, figures_fd = (each.fileno() for each in worker.sockets)
        task = WorkerTask(
            data_dir=self._config.data_dir,
            config_file=None if self._config_file is None else str(self._config_file),
            place=self._identity.place,
            run=self._identity.run,
            index=worker.index,
            participants_fd=participants_fd,
            operators_fd=operators_fd,
            figures_fd=figures_fd,
            figures=self._figures,
            ready_fd=ready_write,
            parent_fd=self._parent_read,
        )
        descriptors = (participants_fd, operators_fd, figures_fd, ready_write, self._parent_read)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "vuka.cli.worker", msgspec.json.encode(task).decode()],
                stdin=subprocess.DEVNULL,
                # The lock goes with it: while a worker lives, nobody else starts a hub in this directory.
                pass_fds=(*descriptors, self._lock_fd),
            )
        finally:
            os.close(ready_write)
        try:
            listens = select.select([ready_read], [], [], START_SECONDS_MAX)[0] and os.read(ready_read, 1)
        finally:
            os.close(ready_read)
        if not listens:
            self._stop([process])
            raise OperatorError("A worker did not start. What it said is above.")
        return process

    def _stop(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Has them end what they accepted, and waits; one that does not end is killed."""
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._config.engine.drain_seconds + STOP_SECONDS_SPARE
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                log.warning("a worker did not end and is killed", pid=process.pid)
                process.kill()
                process.wait()
