"""A real TigerBeetle for the suites that judge the cluster's ledger.

``VUKA_TIGERBEETLE`` names the address of one that runs (cluster 0, and nobody else's while the tests run); otherwise a
``tigerbeetle`` binary on PATH is started as a cluster of one replica on a free port, once for each test process. Where
there is neither, the tests are skipped and say so. The project neither builds nor ships a server.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from vuka.ledger.tigerbeetle import Cluster

SKIPPED: Final = "no TigerBeetle server: set VUKA_TIGERBEETLE to its address, or put a `tigerbeetle` binary on PATH"

GROUP: Final = pytest.mark.xdist_group("tigerbeetle")
"""Tests that share the server run one after another."""

START_SECONDS_MAX: Final = 60


class Server:
    """A cluster of one replica, with a data file of its own, on a port that stays the same when it is started again."""

    def __init__(self, binary: str, directory: Path, *, port: int = 0) -> None:
        self._binary = binary
        self._file = directory / "0_0.tigerbeetle"
        self._log = directory / "tigerbeetle.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        command = [binary, "format", "--cluster=0", "--replica=0", "--replica-count=1", str(self._file)]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it listens."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._binary, "start", f"--addresses={self.address}", "--cache-grid=64MiB", str(self._file)],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            found = re.search(r"listening on.*port = (\d+)", self._log.read_text(errors="replace"))
            if found is not None:
                self.port = int(found[1])
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"TigerBeetle did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def pause(self) -> None:
        """It answers nothing until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """As if its machine had lost power: it writes everything with direct I/O."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None


def binary() -> str:
    """The server's program; skips the test where there is none."""
    found = shutil.which("tigerbeetle")
    if found is None:
        pytest.skip(SKIPPED)
    return found


@cache
def _own_server() -> str | None:
    found = shutil.which("tigerbeetle")
    if found is None:
        return None
    directory = tempfile.TemporaryDirectory(prefix="vuka-tigerbeetle-")
    server = Server(found, Path(directory.name))
    server.start()
    atexit.register(directory.cleanup)
    atexit.register(server.stop)
    return server.address


def address() -> str:
    """Where the server that the tests share listens; skips the test where there is none."""
    found = os.environ.get("VUKA_TIGERBEETLE") or _own_server()
    if found is None:
        pytest.skip(SKIPPED)
    return found


@cache
def _cluster(server: str) -> Cluster:
    cluster = Cluster(server)
    atexit.register(cluster.close)
    return cluster


def cluster() -> Cluster:
    """A session with the server that the tests share; skips the test where there is none."""
    return _cluster(address())
