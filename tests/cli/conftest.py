"""The command line against a hub process of life that has cleared a few payments."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
import typer.main
from click.testing import CliRunner, Result

from vuka.cli import application, output
from vuka.cli.hub import found
from vuka.cli.process import HubProcess, hub_process
from vuka.config import load
from vuka.fspiop.headers import hub_headers
from vuka.fspiop.times import format_datetime_ms
from vuka.httpclient import Request
from vuka.sim.participant import Conduct, Payment, now_ms
from vuka.sim.scenario import CURRENCIES, SCRIPT, Cast, play
from vuka.sim.unquoted import CONDITION, ILP_PACKET

TITLES = ("bank to wallet", "a Burmese name", "the payee declines the transfer")
UNKNOWN_TRANSFER = "b51ec534-ee48-4575-b6a9-ead2955b8069"
ODD_TRANSFER = "0e0c4c4e-9a0a-4a5c-8f0e-2f4f6c1f0a11"
ODD_WORDS = "[/no] [bold]such thing"
"""What a participant may write, and a terminal library would take for markup."""


# Made once: Typer would put all commands together anew for each that is run.
APP = typer.main.get_command(application())


def vuka(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Runs a command in this process. One that ends with an exception of its own fails the test."""
    result = CliRunner().invoke(APP, list(arguments), env=dict(environment or {}), catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


def refused(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The sentence with which a command refuses, on standard error; it exits with 1."""
    result = vuka(*arguments, environment=environment)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").strip()


def vuka_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "vuka", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(autouse=True)
def _quiet(configured: None) -> None:
    """A command that serves configures how this process logs: not for the tests after it."""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines long enough that no table is folded, and none of the caller's configuration."""
    monkeypatch.setattr(output.console, "width", 200)
    monkeypatch.setattr(output.errors, "width", 200)
    for name in [each for each in os.environ if each.startswith("VUKA_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "hub"


class Played(msgspec.Struct):
    """A running hub and the payments that it has cleared."""

    hub: HubProcess
    data: Path
    payments: dict[str, Payment]

    def ask(self, *arguments: str) -> Result:
        """A command to the running hub."""
        return vuka(*arguments, "--url", self.hub.operators_url)


async def _say(cast: Cast, source: str, method: str, path: str, body: object | None = None) -> None:
    participant = cast.participants[source]
    headers = hub_headers(
        "transfers", participant.version, method=method, source=source, destination=None, uri=path, now_ms=now_ms()
    )
    encoded = None if body is None else msgspec.json.encode(body)
    answer = await cast.client.send(Request(method, participant.hub_url + path, headers, encoded))
    assert answer.status in (200, 202), answer.body


async def _play(hub: HubProcess) -> dict[str, Payment]:
    cast = Cast(hub.participants_url, hub.operators_url)
    await cast.start()
    steps = [step for step in SCRIPT if step.title in TITLES]
    payments = {result.name: result.payment async for result in play(cast, steps)}
    # A refusal in words of its own.
    cast.participants["pesapay"].conduct = Conduct.SILENT
    prepare = {
        "transferId": ODD_TRANSFER,
        "payerFsp": "greenbank",
        "payeeFsp": "pesapay",
        "amount": {"amount": "1", "currency": "USD"},
        "ilpPacket": ILP_PACKET,
        "condition": CONDITION,
        "expiration": format_datetime_ms(now_ms() + 60_000),
    }
    error = {"errorInformation": {"errorCode": "5104", "errorDescription": ODD_WORDS}}
    await _say(cast, "greenbank", "POST", "/transfers", prepare)
    await _say(cast, "pesapay", "PUT", f"/transfers/{ODD_TRANSFER}/error", error)
    # A message that cannot be delivered: greenbank says of this path that it has nothing there.
    bank = cast.participants["greenbank"]
    endpoint = {"type": "FSPIOP_CALLBACK_URL_TRANSFER_ERROR", "value": f"{bank.url}/nowhere"}
    await cast.operator.do("POST", "/participants/greenbank/endpoints", endpoint)
    await _say(cast, "greenbank", "GET", f"/transfers/{UNKNOWN_TRANSFER}")
    async with asyncio.timeout(10):
        while not await cast.operator.do("GET", "/messages/parked"):  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)
    await cast.stop()
    return payments


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """One hub process for all tests of the command line."""
    data = tmp_path_factory.mktemp("played") / "hub"
    found(load(None, {}, data_dir=str(data)), "Command line", list(CURRENCIES))
    with hub_process(data) as hub:
        yield Played(hub, data, asyncio.run(_play(hub)))
