"""A hub with fewer open files than connections that come to it: `vuka serve` in a process of its own, under a limit."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.certificates import Authority

from vuka.cli.hub import found
from vuka.cli.process import free_port
from vuka.config import load

FILES = 256
FLOOD = 400
SECONDS_MAX = 20.0


class Served:
    """A running `vuka serve`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ports: tuple[int, int]) -> None:
        self.process = process
        self._log = log
        self.participants = ("127.0.0.1", ports[0])
        self.operators_url = f"http://127.0.0.1:{ports[1]}"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(encoding="utf-8")

    def health(self) -> int:
        """What the operators' API says of it now."""
        with httpx.Client(trust_env=False, timeout=5, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
            return client.get(f"{self.operators_url}/health").status_code

    def logs(self, words: str) -> None:
        """Waits until the log has these words."""
        until(lambda: words in self.log, lambda: self.log)


def until(is_so: Callable[[], bool], told: Callable[[], str] = str) -> None:
    """Waits for something in another process; ``told`` says what there is instead."""
    deadline = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


@contextlib.contextmanager
def served(directory: Path, limit: str, *arguments: str, **settings: str) -> Iterator[Served]:
    """A hub that a shell starts under a limit."""
    data, log = directory / "data", directory / "hub.log"
    found(load(None, {}, data_dir=str(data)), "Few files", ["USD"])
    ports = free_port(), free_port()
    variables = {f"VUKA_{name}": value for name, value in settings.items()}
    variables |= {"VUKA_PARTICIPANTS_API_PORT": str(ports[0]), "VUKA_OPERATORS_API_PORT": str(ports[1])}
    command = [sys.executable, "-m", "vuka", "serve", "--data", str(data), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'{limit} && exec "$0" "$@"', *command],
            stdout=output,
            stderr=output,
            env={**os.environ, **variables},
        )
    hub = Served(process, log, ports)
    try:
        hub.logs("the hub is ready")
        yield hub
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_MAX)


@contextlib.contextmanager
def idle(address: tuple[str, int]) -> Iterator[list[socket.socket]]:
    """More connections than there are files, on which nothing is asked."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(FLOOD)]


def ask(connection: socket.socket) -> bytes:
    """The first line of the answer to a request; empty where the connection ends without one."""
    try:
        connection.sendall(b"GET /participants/MSISDN/1 HTTP/1.1\r\nHost: hub\r\n\r\n")
        return connection.recv(65_536).partition(b"\r\n")[0]
    except (ConnectionResetError, BrokenPipeError):
        return b""


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it already."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_flood_of_connections_leaves_files_for_operators_and_for_those_who_came_before(tmp_path: Path) -> None:
    with served(tmp_path, f"ulimit -n {FILES}") as hub, socket.create_connection(hub.participants, timeout=5) as before:
        (line,) = [each for each in hub.log.splitlines() if "fewer connections are taken" in each]
        assert f"files_max={FILES}" in line
        assert "LimitNOFILE" in line
        told = re.search(r" connections_max=(\d+)", line)
        assert told is not None
        assert 1 < int(told[1]) < FILES
        assert ask(before).startswith(b"HTTP/1.1 4")
        with idle(hub.participants):
            hub.logs("connections are refused: there are too many")
            assert [hub.health() for _ in range(3)] == [200] * 3
            assert ask(before).startswith(b"HTTP/1.1 4")
            with socket.create_connection(hub.participants, timeout=5) as late:
                assert late.recv(65_536).startswith(b"HTTP/1.1 503")
        assert "can be accepted" not in hub.log


def test_a_flood_of_connections_on_which_nobody_begins_tls_leaves_files_for_operators(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("hub")
    context = ssl.create_default_context(cafile=authority.file)
    tls = {
        "PARTICIPANTS_API_TLS_CERTIFICATE_FILE": str(certificate),
        "PARTICIPANTS_API_TLS_KEY_FILE": str(key),
        "PARTICIPANTS_API_REQUEST_SECONDS_MAX": "3",
    }
    with (
        served(tmp_path, f"ulimit -n {FILES}", **tls) as hub,
        context.wrap_socket(
            socket.create_connection(hub.participants, timeout=5), server_hostname="127.0.0.1"
        ) as before,
    ):
        assert ask(before).startswith(b"HTTP/1.1 4")
        with idle(hub.participants) as many:
            hub.logs("connections are closed at once: there are too many")
            assert [hub.health() for _ in range(3)] == [200] * 3
            assert ask(before).startswith(b"HTTP/1.1 4")
            # When the time for it is over there is room again, though nobody has gone.
            until(lambda: all(is_closed(each) for each in many))
            with context.wrap_socket(
                socket.create_connection(hub.participants, timeout=5), server_hostname="127.0.0.1"
            ) as late:
                assert ask(late).startswith(b"HTTP/1.1 4")
        assert "can be accepted" not in hub.log


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hub_and_its_workers_take_as_many_files_as_they_may(tmp_path: Path, workers: int) -> None:
    with served(tmp_path, "ulimit -S -n 256", "--workers", str(workers)) as hub:
        if workers > 1:
            # Each of them says too that it is ready.
            hub.logs(f"workers={workers}")
        pid = hub.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(children) == (workers if workers > 1 else 0)
        for each in (str(pid), *children):
            limits = re.search(r"^Max open files +(\S+) +(\S+)", Path(f"/proc/{each}/limits").read_text(), re.M)
            assert limits is not None
            assert limits[1] == limits[2] != "256"
