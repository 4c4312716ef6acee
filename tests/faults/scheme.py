"""A scheme of processes: one hub and some participants, that a scenario breaks while money moves through them.

Afterwards everybody's papers are compared: the hub's records, ``vuka audit``, what each participant has booked, and
every message that any of them got. What comes out is a `Verdict`: payments, and how many were lost, doubled, or told
two ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from tests.faults.launch import set_offset
from tests.faults.participant import Conduct, Figures, figures_of

from vuka.cli.hub import found
from vuka.cli.process import free_port
from vuka.config import load as load_config
from vuka.httpclient import HttpClient
from vuka.money import ASSET_SCALE
from vuka.sim.onboard import Operator, Terms
from vuka.switch.records import FINAL_STATES, State

ROOT: Final = Path(__file__).parents[2]
TERMS: Final = Terms(net_debit_cap=10**13, funds=10**13)
NAMES: Final = ("kestrelfsp", "merlinfsp", "harrierfsp")
UNDER: Final = 5
"""Payments under way from each participant to each other one."""
START_SECONDS_MAX: Final = 30
MOVE_SECONDS_MAX: Final = 30
FINISH_SECONDS_MAX: Final = 60
ENDED_BETWEEN: Final = 25
"""Payments that commit between two faults, at least: what is broken must have been at work."""

QUICK: Final[Mapping[str, str]] = {
    "VUKA_STORE_URL": "",
    "VUKA_ENGINE_TIMER_MS": "50",
    "VUKA_ENGINE_DRAIN_SECONDS": "1",
    "VUKA_COURIER_TIMEOUT_MS": "700",
    "VUKA_COURIER_RETRY_FIRST_MS": "20",
    "VUKA_COURIER_RETRY_MAX_MS": "500",
    "VUKA_COURIER_PROBE_MAX_MS": "300",
}
"""Waits that fit into a test."""


class Hub:
    """A hub process on fixed ports: killed, started again, and set in time."""

    def __init__(self, data: Path, papers: Path, environment: Mapping[str, str]) -> None:
        self.data = data
        self.papers = papers
        self.ports = (free_port(), free_port())
        self.process: subprocess.Popen[bytes] | None = None
        self._clock = papers / "clock"
        self._environment = environment
        set_offset(self._clock, 0)

    @property
    def participants_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def operators_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def log(self) -> str:
        return (self.papers / "hub.log").read_text(errors="replace")

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def launch(self) -> None:
        """Starts the process, and waits for nothing."""
        variables = {
            **os.environ,
            **QUICK,
            **self._environment,
            "VUKA_PARTICIPANTS_API_PORT": str(self.ports[0]),
            "VUKA_OPERATORS_API_PORT": str(self.ports[1]),
        }
        with (self.papers / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.launch", str(self._clock), "serve", "--data", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables,
                cwd=ROOT,
            )

    async def start(self) -> None:
        """Starts it and waits until it is healthy."""
        self.launch()
        await self.healthy(START_SECONDS_MAX)

    async def health(self) -> str:
        """What it says of itself: ``OK``, ``DOWN``, or that it says nothing."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            with contextlib.suppress(httpx.HTTPError):
                return str((await client.get(f"{self.operators_url}/health")).json()["status"])
        return "away"

    async def healthy(self, seconds: float) -> None:
        """Waits until it says that it is well."""
        async with asyncio.timeout(seconds):
            while await self.health() != "OK":
                assert self.running.poll() is None, self.log[-4_000:]
                await asyncio.sleep(0.02)

    async def unwell(self, seconds: float) -> None:
        """Waits until it says that it is not."""
        async with asyncio.timeout(seconds):
            while await self.health() == "OK":  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``."""
        self.running.kill()
        self.running.wait()

    def stop(self) -> None:
        """Asks it to stop, and waits."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def set_clock(self, ahead_ms: int) -> None:
        """From now on its clock is so far ahead of the machine's."""
        set_offset(self._clock, ahead_ms)

    def limit_files(self, size_max: int) -> None:
        """No file of it may grow beyond so many bytes: to it a disk that is full, or that fails. -1 takes it back."""
        resource.prlimit(self.running.pid, resource.RLIMIT_FSIZE, (size_max, resource.RLIM_INFINITY))

    def memory_bytes(self) -> int:
        """What it has of the machine's memory now."""
        pages = int(Path(f"/proc/{self.running.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


class Member:
    """A participant's process."""

    def __init__(self, name: str, papers: Path, hub: Hub, chance: random.Random, expires_ms: int) -> None:
        self.name = name
        self.papers = papers / name
        self.papers.mkdir()
        self.port = free_port()
        self.process: asyncio.subprocess.Process | None = None
        self._hub = hub
        self._chance = chance
        self._expires_ms = expires_ms

    async def start(self) -> None:
        """Starts it; what the process before it has written down it knows."""
        arguments = {
            "--name": self.name,
            "--hub": self._hub.participants_url,
            "--directory": str(self.papers),
            "--peers": ",".join(name for name in NAMES if name != self.name),
            "--port": str(self.port),
            "--seed": str(self._chance.getrandbits(60)),
            "--expires-ms": str(self._expires_ms),
        }
        with (self.papers / "errors").open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.faults.participant",
                *(part for pair in arguments.items() for part in pair),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
            )
        await self.said(START_SECONDS_MAX)

    def tell(self, line: str) -> None:
        """One line of what it is to do."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def said(self, seconds: float) -> Any:
        """The next line that it says."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        assert line, (self.papers / "errors").read_text()
        return json.loads(line)

    async def conduct(self, conduct: Conduct) -> int:
        """How it behaves from now on; how many messages have found it behaving badly so far."""
        self.tell(f"conduct {conduct}")
        return int((await self.said(START_SECONDS_MAX))["bitten"])

    async def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> None:
        """Asks it to stop, and waits."""
        if self.process is None or self.process.returncode is not None:
            return
        self.tell("stop")
        try:
            await asyncio.wait_for(self.process.wait(), 5)
        except TimeoutError:
            await self.kill()

    def committed(self) -> int:
        """Payments of which it was told that they are committed."""
        books = self.papers / "books.jsonl"
        return books.read_bytes().count(b'"COMMITTED"') if books.exists() else 0


class Verdict(msgspec.Struct):
    """What a scenario came to."""

    scenario: str
    seed: int
    seconds: int = 0
    faults: dict[str, int] = {}
    payments: int = 0
    """Transfers of which at least one party or the hub knows."""
    committed: int = 0
    not_committed: int = 0
    lost: int = 0
    """Accepted and not on record, not brought to an end, or committed and not known to a party."""
    doubled: int = 0
    """Money that the hub or a participant counts more or less than once."""
    misled: int = 0
    """Transfers of which anybody was told another end than that on record, or two."""
    told_again: int = 0
    """Ends told once more than needed, as *at least once* allows."""
    answered_again: int = 0
    problems: list[str] = []
    skipped: str = ""

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not (self.lost or self.doubled or self.misled)


class Scheme:
    """The hub and its participants, at work."""

    def __init__(self, hub: Hub, members: Sequence[Member], verdict: Verdict, chance: random.Random) -> None:
        self.hub = hub
        self.members = list(members)
        self.verdict = verdict
        self.random = chance
        self.faults: Counter[str] = Counter()

    def committed(self, members: Sequence[Member] | None = None) -> int:
        """How often payers and payees were told COMMITTED, by their own books."""
        return sum(each.committed() for each in members or self.members)

    async def moves_on(self, members: Sequence[Member] | None = None, *, further: int = ENDED_BETWEEN) -> None:
        """Waits until payments are committed again: so many further ones, by the books of these participants."""
        wanted = self.committed(members) + further
        try:
            async with asyncio.timeout(MOVE_SECONDS_MAX):
                while self.committed(members) < wanted:  # noqa: ASYNC110 - files of other processes
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"no payments in {MOVE_SECONDS_MAX} s after {dict(self.faults)}") from None

    async def a_moment(self, seconds_max: float = 0.25) -> None:
        """A wait of random length: faults come when they come."""
        await asyncio.sleep(self.random.uniform(0, seconds_max))

    def pay(self, member: Member) -> None:
        """Has a participant pay the others."""
        member.tell(f"pay {UNDER}")

    async def finish(self) -> None:
        """Nobody begins anything more; everybody waits for what is open, and asks."""
        for each in self.members:
            each.tell("finish")
        for each in self.members:
            try:
                await each.said(FINISH_SECONDS_MAX)
            except TimeoutError:
                self.verdict.problems.append(f"{each.name} still has open transfers")


@asynccontextmanager
async def scheme(
    name: str, data: Path, papers: Path, *, seed: int, environment: Mapping[str, str] | None = None, expires_ms: int
) -> AsyncIterator[Scheme]:
    """A scheme under load in a data directory; when the block ends it is brought to rest, and judged."""
    began = time.monotonic()
    chance = random.Random(seed)
    papers.mkdir(exist_ok=True)  # noqa: ASYNC240 - nothing runs yet
    found(load_config(None, {}, data_dir=str(data)), "Faults", ["USD"])
    hub = Hub(data, papers, environment or {})
    members = [Member(each, papers, hub, chance, expires_ms) for each in NAMES]
    made = Scheme(hub, members, Verdict(name, seed), chance)
    client = HttpClient(timeout_ms=10_000)
    try:
        await hub.start()
        await asyncio.gather(*(each.start() for each in members))
        operator = Operator(client, hub.operators_url)
        await operator.add_hub_accounts("USD")
        for each in members:
            await operator.add_participant(each.name, f"http://127.0.0.1:{each.port}", {"USD": TERMS})
        for each in members:
            made.pay(each)
        await made.moves_on()
        yield made
        await made.finish()
        positions = await _positions(hub)
        for each in members:
            await each.stop()
        hub.stop()
        _judge(made, positions)
    finally:
        await client.close()
        for each in members:
            await each.kill()
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()
    made.verdict.faults = dict(made.faults)
    made.verdict.seconds = round(time.monotonic() - began)


async def _positions(hub: Hub) -> dict[str, int]:
    """What the hub says that each participant owes the others, in minor units."""
    found: dict[str, int] = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for name in NAMES:
            answer = await client.get(f"{hub.operators_url}/participants/{name}/positions?currency=USD")
            value = json.loads(answer.content, parse_float=Decimal)["value"]
            found[name] = int(Decimal(value).scaleb(ASSET_SCALE))
    return found


def _judge(made: Scheme, positions: Mapping[str, int]) -> None:
    """Compares the hub's records, its audit, and the papers of every participant."""
    verdict = made.verdict
    figures = {each.name: figures_of(each.papers) for each in made.members}
    records = _records(made.hub.data)
    _judge_records(verdict, records, figures)
    for name, mine in figures.items():
        booked = mine.sent - mine.received
        if positions[name] != booked:
            verdict.doubled += 1
            verdict.problems.append(f"{name} has booked {booked}, and the hub says {positions[name]}")
        verdict.told_again += mine.again
        verdict.answered_again += sum(mine.received_posts.values()) - len(mine.received_posts)
    audit = subprocess.run(
        [sys.executable, "-m", "vuka", "audit", "--json", "--against-ledger", "--data", str(made.hub.data)],
        capture_output=True,
        check=False,
        env={**os.environ, **QUICK},
        cwd=ROOT,
    )
    if audit.returncode != 0:
        verdict.doubled += 1
        verdict.problems.append(f"vuka audit: {audit.stdout[:2_000]!r} {audit.stderr[-500:]!r}")
    for defect in ("the engine has failed", "a batch failed", "a command failed", "a request failed"):
        if defect in made.hub.log:
            verdict.problems.append(f"the hub's log says: {defect}")


def _records(data: Path) -> dict[str, tuple[State, str, str]]:
    connection = sqlite3.connect(f"file:{data / 'vuka.db'}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT wire_id, state, payer_fsp, payee_fsp FROM transfer WHERE kind = 'PAYMENT'")
        return {wire_id: (State(state), payer, payee) for wire_id, state, payer, payee in rows}
    finally:
        connection.close()


def _judge_records(
    verdict: Verdict, records: Mapping[str, tuple[State, str, str]], figures: Mapping[str, Figures]
) -> None:
    lost: set[str] = set()
    misled: set[str] = set()
    known = records.keys() | {each for mine in figures.values() for each in mine.posted}
    verdict.payments = len(known)
    for name, mine in figures.items():
        lost |= mine.accepted - records.keys()
        for transfer_id, ends in mine.on_the_wire.items():
            state = records[transfer_id][0] if transfer_id in records else None
            if ends != {"COMMITTED" if state is State.COMMITTED else "ABORTED"}:
                misled.add(transfer_id)
                verdict.problems.append(f"{name} was told {sorted(ends)} of {transfer_id}, which is {state}")
        for transfer_id, end in mine.ends.items():
            state = records[transfer_id][0] if transfer_id in records else None
            if (end == "COMMITTED") != (state is State.COMMITTED):
                misled.add(transfer_id)
                verdict.problems.append(f"{name} has booked {end} of {transfer_id}, which is {state}")
    for transfer_id, (state, payer, payee) in records.items():
        if state not in FINAL_STATES:
            lost.add(transfer_id)
            verdict.problems.append(f"{transfer_id} has not ended: {state}")
        if state is State.COMMITTED:
            verdict.committed += 1
            for party in (payer, payee):
                if figures[party].ends.get(transfer_id) != "COMMITTED":
                    lost.add(transfer_id)
                    verdict.problems.append(f"{party} does not know that {transfer_id} is committed")
    verdict.not_committed = verdict.payments - verdict.committed
    verdict.lost, verdict.misled = len(lost), len(misled)
    verdict.problems += [f"{each} was accepted and is not on record" for each in lost - records.keys()]
    if verdict.committed < ENDED_BETWEEN:
        verdict.problems.append(f"only {verdict.committed} payments were committed: that proves nothing")
