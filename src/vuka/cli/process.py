"""A hub in a process of its own, as in life: what the demo and the bench run against."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import msgspec

from vuka.cli.options import at_home
from vuka.cli.output import fail

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 15.0

PORTS = range(20_000, 32_768)
"""Ports below those that Linux gives to connections, by its defaults (``net.ipv4.ip_local_port_range``)."""

# From anywhere on, in turn: none twice, and hardly ever one that another process looks at in the same moment.
_turns = itertools.count(secrets.randbelow(len(PORTS)))


class HubProcess(msgspec.Struct):
    """A running hub: where it listens, where it logs."""

    process: subprocess.Popen[bytes]
    participants_url: str
    operators_url: str
    log_path: Path


@contextlib.contextmanager
def hub_process(
    data: Path,
    *,
    participants_port: int = 0,
    operators_port: int = 0,
    environment: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[HubProcess]:
    """Starts the hub of a data directory and stops it at the end. Ends the command where it does not start.

    With ``tls``, which knows whom to believe, both of its APIs are asked by https.
    """
    ports = (participants_port or free_port(), operators_port or free_port())
    variables = {
        **at_home(os.environ),
        **(environment or {}),
        "VUKA_PARTICIPANTS_API_PORT": str(ports[0]),
        "VUKA_OPERATORS_API_PORT": str(ports[1]),
    }
    log_path = data / "hub.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "vuka", "serve", "--data", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=variables,
            start_new_session=True,
        )
    scheme = "http" if tls is None else "https"
    hub = HubProcess(process, f"{scheme}://127.0.0.1:{ports[0]}", f"{scheme}://127.0.0.1:{ports[1]}", log_path)
    try:
        _wait_until_healthy(hub, tls)
        yield hub
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS_MAX)
        if process.poll() is None:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on now: of those that the system gives to nobody who does not ask for them by number.

    Before whoever wants it listens on it, or while that one is started again, no connection of another takes it.
    """
    while True:
        port = PORTS.start + next(_turns) % len(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _wait_until_healthy(hub: HubProcess, tls: ssl.SSLContext | None) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    # Without https nobody needs to be believed.
    with httpx.Client(trust_env=False, timeout=2, verify=tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
        while time.monotonic() < deadline:
            if hub.process.poll() is not None:
                lines = hub.log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                fail(f"The hub did not start. It said: {lines[-1] if lines else 'nothing'}")
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{hub.operators_url}/health").is_success:
                    return
            time.sleep(0.02)
    fail(f"The hub did not answer within {START_SECONDS_MAX:.0f} s; see {hub.log_path}.")
