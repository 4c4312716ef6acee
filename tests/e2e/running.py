"""A hub of life inside a test: both APIs on free ports, on a data directory of its own, stopped and started at will."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests import journalled

from vuka.api.audit_key import trusted_keys
from vuka.api.hub import Hub
from vuka.api.server import Addresses, serve
from vuka.cli.hub import found
from vuka.config import Config, load
from vuka.ledger.sql import SqlLedger
from vuka.sim.scenario import CURRENCIES
from vuka.store.sqlite import Database
from vuka.switch import auditlog
from vuka.switch.audit import Report, audit
from vuka.switch.transfers import ExpireTransfers

START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 20

QUICK: Mapping[str, str] = {
    "VUKA_PARTICIPANTS_API_PORT": "0",
    "VUKA_OPERATORS_API_PORT": "0",
    "VUKA_ENGINE_TIMER_MS": "20",
    "VUKA_COURIER_RETRY_FIRST_MS": "20",
    "VUKA_SCHEME_ROUTED_DEADLINE_SECONDS": "1",
}
"""What keeps tests short: free ports, and timers that look often."""


class RunningHub:
    """A hub in this event loop: `vuka.api.server.serve`, as the command runs it."""

    def __init__(self, directory: Path, **settings: str) -> None:
        """``settings`` are variables of the configuration without their prefix."""
        self._directory = directory
        self._variables = {**QUICK, **{f"VUKA_{name}": value for name, value in settings.items()}}
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._addresses: Addresses | None = None
        self._hub: Hub | None = None

    @property
    def config(self) -> Config:
        """What it runs by."""
        return load(None, self._variables, data_dir=str(self._directory))

    async def start(self) -> None:
        """Starts it, on the ports that it had before."""
        is_ready = asyncio.Event()

        def ready(addresses: Addresses, hub: Hub) -> None:
            self._addresses, self._hub = addresses, hub
            is_ready.set()

        self._stop.clear()
        self._task = asyncio.create_task(serve(self.config, ready=ready, stop=self._stop))
        waiting = asyncio.create_task(is_ready.wait())
        done, _ = await asyncio.wait(
            (self._task, waiting), timeout=START_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if self._task in done:
            self._task.result()
        assert is_ready.is_set(), "the hub did not start"
        for name, url in (("PARTICIPANTS", self.participants_url), ("OPERATORS", self.operators_url)):
            self._variables[f"VUKA_{name}_API_PORT"] = url.rpartition(":")[2]

    async def stop(self) -> None:
        """Has it end what it accepted, and waits."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait_for(self._task, STOP_SECONDS_MAX)
            self._task = None

    @property
    def participants_url(self) -> str:
        """Where participants send."""
        assert self._addresses is not None
        return self._addresses.participants_url

    @property
    def operators_url(self) -> str:
        """Where operators ask."""
        assert self._addresses is not None
        return self._addresses.operators_url

    @property
    def hub(self) -> Hub:
        """The hub itself, for what only its records can tell."""
        assert self._hub is not None
        return self._hub

    async def journal(self, resource_id: str) -> list[tuple[str, str, str, str, str]]:
        """What went in and out about a resource so far: direction, method, path, source, destination."""
        # What was only routed is journalled with the next batch: this one.
        await self.hub.submit(ExpireTransfers())
        return self.hub.read(
            lambda tx, _ledger, _directory: [
                (each.direction, each.method, each.path, each.source, each.destination)
                for each in journalled.messages(tx)
                if each.resource_id == resource_id
            ]
        )

    def states(self) -> dict[str, str]:
        """The state of every payment, by the transfer's id as it was written."""
        return self.hub.read(
            lambda tx, _ledger, _directory: dict(tx.query("SELECT wire_id, state FROM transfer WHERE kind = 'PAYMENT'"))
        )

    def audit(self) -> Report:
        """The books recomputed, from the file, whether it runs or not."""
        database = Database.open(self.config.database_path, read_only=True)
        try:
            with database.read() as tx:
                assert auditlog.verify(auditlog.entries(tx), keys=trusted_keys(self.config)).fault is None
                assert list(auditlog.compare(tx)) == [], "every end is in the audit log"
                return audit(tx, SqlLedger(tx, 0))
        finally:
            database.close()


@asynccontextmanager
async def running(directory: Path, **settings: str) -> AsyncIterator[RunningHub]:
    """A started hub, that is stopped at the end and leaves nothing of the process changed."""
    interval = sys.getswitchinterval()
    hub = RunningHub(directory, **settings)
    found(hub.config, "End to end", list(CURRENCIES))
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()
        sys.setswitchinterval(interval)
