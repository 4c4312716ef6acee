"""Hub processes of life on one PostgreSQL: payments through all of them, killed and replaced under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from tests.e2e.test_crash import told_alike
from tests.postgres_server import Server

from vuka.cli.hub import found
from vuka.cli.process import free_port
from vuka.config import Config
from vuka.config import load as load_config
from vuka.engine.outbox import still_owed
from vuka.httpclient import HttpClient, Request, Response, TransportError
from vuka.ids import FspId
from vuka.ledger.sql import SqlLedger
from vuka.money import Currency, format_amount
from vuka.sim.load import RESEND_SECONDS, TERMS, Load
from vuka.store import Tx
from vuka.store.migrate import open_place
from vuka.switch import auditlog
from vuka.switch.audit import audit
from vuka.switch.directory import SETTLEMENT, read_directory

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("several-hubs")]

CONCURRENCY = 48
ENDED_BETWEEN = 150
START_SECONDS_MAX = 30

STARTED: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """However a test ends, its hubs do; a worker ends with its parent."""
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


class HubProcess:
    """A hub process, or several behind one port, with a data directory of its own on a common database."""

    def __init__(self, data: Path, url: str, *, workers: int = 1) -> None:
        self.data = data
        self.url = url
        self.workers = workers
        self.ports = (free_port(), free_port())
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def participants_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def operators_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def log(self) -> str:
        return (self.data / "hub.log").read_text()

    async def start(self) -> None:
        """Starts it and waits until it is healthy."""
        self.data.mkdir(exist_ok=True)
        with (self.data / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - started in no time
                [sys.executable, "-m", "vuka", "serve", "--data", str(self.data), "--workers", str(self.workers)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "VUKA_STORE_URL": self.url,
                    "VUKA_PARTICIPANTS_API_PORT": str(self.ports[0]),
                    "VUKA_OPERATORS_API_PORT": str(self.ports[1]),
                    "VUKA_LOG_JSON": "true",
                },
            )
        STARTED.append(self.process)
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(START_SECONDS_MAX):
            while True:
                assert self.process.poll() is None, self.log
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{self.operators_url}/health")).is_success:
                        return
                await asyncio.sleep(0.02)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """``kill -9``."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self) -> None:
        """Asks it to stop, and waits."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)


class LoadOnAll(Load):
    """A load that sends each message to any of the hubs, and again to another where one does not take it."""

    def __init__(self, hubs: list[HubProcess], *, participants: int = 4, reserve: bool = True) -> None:
        self.hubs = hubs
        self.bases = [each.participants_url for each in hubs]
        super().__init__(
            hub_url=self.bases[0], operators_url=hubs[0].operators_url, participants=participants, reserve=reserve
        )
        self._turn = 0

    def _base(self) -> str:
        self._turn += 1
        return self.bases[self._turn % len(self.bases)]

    def _send(self, method: str, path: str, source: str, destination: str, body: bytes | None) -> None:
        headers = self._headers_for(method, path, source, destination)
        request = Request(method, self._base() + path, headers, body)
        self.client.start(request, self._resending(request))

    def _resending(self, request: Request) -> Callable[[Response | TransportError], None]:
        usual = super()._resending(request)

        def answered(answer: Response | TransportError) -> None:
            if isinstance(answer, Response) and answer.status != 503:
                usual(answer)
                return
            self.resent += 1
            path = "/" + request.url.split("/", 3)[3]
            again = Request(request.method, self._base() + path, request.headers, request.body)
            asyncio.get_running_loop().call_later(RESEND_SECONDS, self.client.start, again, self._resending(again))

        return answered


@pytest.fixture
def config(postgresql: Server, tmp_path: Path) -> Config:
    """A founded hub in a schema of its own."""
    schema = f"hubs_{secrets.token_hex(4)}"
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    url = f"{postgresql.url}?options={quote(f'-csearch_path={schema}')}"
    config = load_config(None, {"VUKA_STORE_URL": url}, data_dir=str(tmp_path / "a"))
    found(config, "Several", ["USD"])
    return config


@pytest.fixture
async def hubs(config: Config, tmp_path: Path) -> AsyncIterator[list[HubProcess]]:
    """Two hubs, each as on a machine of its own."""
    made = [HubProcess(tmp_path / name, config.store.url) for name in ("a", "b")]
    for each in made:
        await each.start()
    yield made
    for each in made:
        each.stop()


def ended_and_told(tx: Tx, load: Load) -> None:
    """Payers, payees and records: one end for each transfer, none lost, and nothing still owed or parked."""
    told_alike(dict(tx.query("SELECT wire_id, state FROM transfer WHERE kind = 'PAYMENT'")), load)
    assert [(each.to, each.method, each.path) for each in still_owed(tx)] == []
    assert tx.query("SELECT COUNT(*) FROM delivery WHERE state = 'PARKED'") == [(0,)]


def agree(config: Config, load: Load) -> None:
    """Payer, payee and hub: one end for each transfer, and none lost, doubled or still owed."""
    database = open_place(config.place, read_only=True)
    try:
        with database.read() as tx:
            ended_and_told(tx, load)
            assert audit(tx, SqlLedger(tx, 0)).differences == []
            assert auditlog.verify(auditlog.entries(tx)).fault is None
            assert list(auditlog.compare(tx)) == [], "every end is in the audit log"
    finally:
        database.close()
    assert load.refused == 0


async def under_load(load: Load) -> None:
    await load.start()
    # What one hub was told the others know a moment later: at once after they have looked.
    for hub in load.hubs if isinstance(load, LoadOnAll) else []:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{hub.operators_url}/participants")).is_success
    for _ in range(CONCURRENCY):
        load.prepare()


async def ended_further(load: Load, count: int = ENDED_BETWEEN) -> None:
    async with asyncio.timeout(60):
        await load.until_ended(len(load.payer_told) + count)


async def nothing_owed(config: Config, seconds: float = 20) -> None:
    """Until every message has been delivered, by whoever is there."""
    database = open_place(config.place, read_only=True)
    try:
        async with asyncio.timeout(seconds):
            while True:
                with database.read() as tx:
                    if not still_owed(tx) and not tx.query("SELECT 1 FROM delivery LIMIT 1"):
                        return
                await asyncio.sleep(0.05)
    finally:
        database.close()


async def one_is_killed(config: Config, hubs: list[HubProcess]) -> LoadOnAll:
    """Under load; the other takes over and ends its work."""
    load = LoadOnAll(hubs)
    await under_load(load)
    await ended_further(load)
    hubs[0].kill()
    await _carried_on(config, hubs, load)
    assert '"took over from another hub process"' in hubs[1].log
    return load


async def one_is_frozen(config: Config, hubs: list[HubProcess], *, seconds: float = 90) -> LoadOnAll:
    """Under load, until the other has taken over, within so many seconds; when it finds that out it ends."""
    load = LoadOnAll(hubs)
    await under_load(load)
    await ended_further(load)
    hubs[0].signal(signal.SIGSTOP)
    load.bases = [hubs[1].participants_url]
    try:
        async with asyncio.timeout(seconds):
            while '"took over from another hub process"' not in hubs[1].log:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"nobody took over; the other hub says:\n{hubs[1].log[-4_000:]}") from None
    finally:
        hubs[0].signal(signal.SIGCONT)
    assert hubs[0].process is not None
    assert await asyncio.to_thread(hubs[0].process.wait, 60) == 1
    await _carried_on(config, hubs, load)
    return load


async def _carried_on(config: Config, hubs: list[HubProcess], load: LoadOnAll) -> None:
    await ended_further(load)
    await load.finish()
    await nothing_owed(config)
    await load.stop()
    hubs[1].stop()


async def test_one_of_two_hubs_is_killed_under_load_and_the_other_delivers_what_it_owed(
    config: Config, hubs: list[HubProcess]
) -> None:
    agree(config, await one_is_killed(config, hubs))


async def _restarts_under_load(config: Config, hubs: list[HubProcess], kills: int) -> None:
    load = LoadOnAll(hubs, reserve=False)
    await under_load(load)
    for number in range(kills):
        await ended_further(load)
        hubs[number % 2].kill()
        await hubs[number % 2].start()
    await load.finish()
    await nothing_owed(config)
    await load.stop()
    for each in hubs:
        each.stop()
    agree(config, load)


async def test_two_hubs_are_killed_in_turn_under_load_and_started_again(config: Config, hubs: list[HubProcess]) -> None:
    await _restarts_under_load(config, hubs, 4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_forty_kills_of_two_hubs_lose_nothing(config: Config, hubs: list[HubProcess]) -> None:
    await _restarts_under_load(config, hubs, 40)


async def test_a_hub_that_was_frozen_is_taken_over_and_ends_when_it_finds_out(
    config: Config, hubs: list[HubProcess]
) -> None:
    load = await one_is_frozen(config, hubs)
    assert "Another hub process has taken over from this one" in hubs[0].log
    agree(config, load)


async def test_a_settlement_is_finalised_once_by_however_many_hubs_are_given_the_banks_statement_at_once(
    config: Config, hubs: list[HubProcess]
) -> None:
    load = LoadOnAll(hubs)
    await load.start()
    # Of four payments the first participant sends three and gets one; the second is even.
    await load.run_count(concurrency=1, count=4)
    await load.stop()
    names = [each.name for each in load.participants]
    funds = format_amount(TERMS.funds)
    moved = {name: amount for name, amount in zip(names, ("-2", "0", "1", "1"), strict=True) if amount != "0"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        operators = hubs[0].operators_url
        closed = await client.post(f"{operators}/v2/settlementWindows/1", json={"state": "CLOSED", "reason": "day"})
        assert closed.is_success, closed.text
        made = await client.post(
            f"{operators}/v2/settlements",
            json={"settlementModel": "DEFAULTDEFERREDNET", "reason": "day", "settlementWindows": [{"id": 1}]},
        )
        assert made.is_success, made.text
        rows = [
            f"1,{name},USD,{amount},{format_amount(TERMS.funds + 10_000 * int(amount))}"
            for name, amount in moved.items()
        ]
        # The second participant was even: the bank has nothing to tell of it but what it had.
        rows.append(f"1,{names[1]},USD,0,{funds}")
        csv = "\n".join(["settlement_id,participant,currency,amount,balance", *rows])
        bodies = [
            {"files": [{"name": f"{number}.csv", "content": b64encode(f"{csv}\n".encode() + b"\n" * number).decode()}]}
            for number in range(6)
        ]
        # The same file and others that say the same, at both hubs.
        answers = await asyncio.gather(
            *(
                client.post(f"{hub.operators_url}/v2/settlements/1/statements", json=body)
                for body in (*bodies, bodies[0], bodies[0])
                for hub in hubs
            )
        )
        assert sorted(each.status_code for each in answers) == [201] + [400] * (len(answers) - 1)
        for answer in answers:
            if answer.status_code == 400:
                codes = {each["code"] for each in answer.json()["findings"]}
                assert codes <= {"SETTLEMENT_SETTLED", "STATEMENT_KNOWN"}, answer.text
        for hub in hubs:
            (kept,) = (await client.get(f"{hub.operators_url}/v2/settlements/1/statements")).json()
            assert {each["participant"] for each in kept["movements"]} == set(moved)
    for each in hubs:
        each.stop()
    with contextlib.closing(open_place(config.place, read_only=True)) as database, database.read() as tx:
        assert tx.query("SELECT COUNT(*) FROM bank_statement") == [(1,)]
        directory, ledger = read_directory(tx), SqlLedger(tx, 0)
        for name in names:
            account = directory.participants[FspId(name)].accounts[Currency("USD"), SETTLEMENT]
            (liquidity,) = ledger.lookup_accounts([account.ledger_account_id])
            left = TERMS.funds + 10_000 * int(moved.get(name, "0"))
            assert liquidity.credits_posted - liquidity.debits_posted == left
        assert audit(tx, SqlLedger(tx, 0)).differences == []
        assert auditlog.verify(auditlog.entries(tx)).fault is None
        assert list(auditlog.compare(tx)) == [], "every end is in the audit log"


@pytest.mark.parametrize("store", ["postgresql", "sqlite"])
async def test_workers_behind_one_port_are_replaced_under_load_and_nobody_is_refused(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    if store == "postgresql":
        config = request.getfixturevalue("config")
    else:
        config = load_config(None, {}, data_dir=str(tmp_path / "a"))
        found(config, "Several", ["USD"])
    hub = HubProcess(tmp_path / "a", config.store.url, workers=2)
    await hub.start()
    load = Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=4)
    await under_load(load)
    await ended_further(load)
    asking = [
        asyncio.create_task(_unanswered(port, lambda: '"the workers have been replaced"' in hub.log))
        for port in hub.ports
        for _ in range(8)
    ]
    hub.signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*asking) == [[]] * len(asking)
    await ended_further(load)
    await load.finish()
    await nothing_owed(config)
    await load.stop()
    hub.stop()
    agree(config, load)


async def _unanswered(port: int, is_over: Callable[[], bool]) -> list[str]:
    """What became of requests that were not answered until it was over. Each has a connection of its own."""
    unanswered: list[str] = []
    while not is_over():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
            if not (await reader.read()).startswith(b"HTTP/1.1 "):
                unanswered.append("closed without an answer")
            writer.close()
        except OSError as error:
            unanswered.append(type(error).__name__)
        await asyncio.sleep(0.005)
    return unanswered


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_worker_that_is_killed_is_replaced_and_what_it_owed_is_delivered(
    config: Config, tmp_path: Path
) -> None:
    hub = HubProcess(tmp_path / "a", config.store.url, workers=2)
    await hub.start()
    load = Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=4)
    await under_load(load)
    await ended_further(load)
    assert hub.process is not None
    children = _children(hub.process.pid)
    assert len(children) == 2
    os.kill(children[0], signal.SIGKILL)
    await ended_further(load)
    await load.finish()
    await nothing_owed(config)
    await load.stop()
    hub.stop()
    assert '"a worker has ended"' in hub.log
    agree(config, load)


async def test_workers_end_once_a_newer_version_has_migrated_the_database_and_start_on_none_but_their_own(
    config: Config, tmp_path: Path
) -> None:
    hub = HubProcess(tmp_path / "a", config.store.url, workers=2)
    await hub.start()
    with psycopg.connect(config.store.url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        async with asyncio.timeout(30):
            while "has schema 9999, which is newer" not in hub.log:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    assert "A newer version of vuka has migrated the database" in hub.log
    hub.stop()


async def test_whichever_worker_is_asked_shows_the_figures_of_all(tmp_path: Path) -> None:
    config = load_config(None, {}, data_dir=str(tmp_path / "a"))
    found(config, "Several", ["USD"])
    hub = HubProcess(tmp_path / "a", config.store.url, workers=2)
    await hub.start()
    load = Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=4)
    await under_load(load)
    await ended_further(load)
    await load.finish()
    await nothing_owed(config)
    await load.stop()
    async with asyncio.timeout(30):
        # One listens before the other has started.
        while '"workers": 2' not in hub.log:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    committed = 0
    # Each is a new connection: the kernel has them meet both.
    for _ in range(8):
        figures = await _figures(hub)
        assert [figures.get(f'vuka_worker_up{{worker="{number}"}}') for number in range(2)] == [1, 1]
        found_there = {
            name: value
            for name, value in figures.items()
            if name.startswith('vuka_transfers_total{kind="PAYMENT",state="COMMITTED"')
        }
        assert {name.partition("worker=")[2] for name in found_there} <= {'"0"}', '"1"}'}
        assert committed in (0, sum(found_there.values()))
        committed = int(sum(found_there.values()))
    assert committed == sum(end == "COMMITTED" for end in load.payer_told.values())
    assert hub.process is not None
    still = _children(hub.process.pid)[1]
    os.kill(still, signal.SIGSTOP)
    try:
        figures = {}
        while not figures:
            # The one that stands still may be the one that is asked.
            with contextlib.suppress(TimeoutError):
                figures = await asyncio.wait_for(_figures(hub), 4)
        assert sorted(value for name, value in figures.items() if name.startswith("vuka_worker_up")) == [0, 1]
    finally:
        os.kill(still, signal.SIGCONT)
    hub.stop()
    agree(config, load)


async def _figures(hub: HubProcess) -> dict[str, float]:
    """What ``/metrics`` says, by name and labels."""
    client = HttpClient()
    try:
        answer = await client.send(Request("GET", f"{hub.operators_url}/metrics", (), None))
    finally:
        await client.close()
    assert answer.status == 200, answer.body
    lines = [each for each in answer.body.decode().splitlines() if not each.startswith("#")]
    return {name: float(value) for name, _, value in (each.rpartition(" ") for each in lines)}


async def test_when_the_parent_is_killed_its_workers_end_and_another_start_finds_the_directory_free(
    config: Config, tmp_path: Path
) -> None:
    hub = HubProcess(tmp_path / "a", config.store.url, workers=2)
    await hub.start()
    hub.kill()
    async with asyncio.timeout(40):
        while True:
            with contextlib.suppress(AssertionError):
                await hub.start()
                break
            await asyncio.sleep(0.2)
    hub.stop()


async def test_a_database_that_goes_away_is_said_by_health_and_found_again(tmp_path: Path) -> None:
    from tests.postgres_server import running_server

    try:
        running = running_server()
        server = running.__enter__()
    except LookupError as error:
        pytest.skip(str(error))
    try:
        config = load_config(None, {"VUKA_STORE_URL": server.url}, data_dir=str(tmp_path / "a"))
        found(config, "Away", ["USD"])
        hub = HubProcess(tmp_path / "a", server.url)
        await hub.start()
        load = Load(hub_url=hub.participants_url, operators_url=hub.operators_url, participants=4)
        await under_load(load)
        await ended_further(load)
        server.stop(at_once=True)
        async with httpx.AsyncClient(trust_env=False) as client:
            async with asyncio.timeout(20):
                while (await client.get(f"{hub.operators_url}/health")).is_success:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            server.start()
            async with asyncio.timeout(30):
                while not (await client.get(f"{hub.operators_url}/health")).is_success:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        await ended_further(load)
        await load.finish()
        await nothing_owed(config)
        await load.stop()
        hub.stop()
        agree(config, load)
    finally:
        running.__exit__(None, None, None)
