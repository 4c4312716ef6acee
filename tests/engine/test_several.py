"""Two engines on one PostgreSQL database: as two hub processes on two machines."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
from tests import stores
from tests.engine.test_node import PAYEE, PAYER, Rig
from tests.postgres_server import Server

from vuka.api.hub import open_database
from vuka.config import Config, Courier, Engine, load
from vuka.engine import nodes
from vuka.engine.nodes import TakeOver
from vuka.errors import FspiopError
from vuka.sim.server import Answer, Inquiry
from vuka.store import Tx
from vuka.store import postgresql as on_postgresql
from vuka.store.migrate import HEAD
from vuka.store.postgresql import PostgresTx
from vuka.switch.access import CredentialKind, IssueCredential, RevokeCredential
from vuka.switch.participants import Endpoint, SetEndpoints

pytestmark = pytest.mark.store("postgresql")

TIMER_MS = 20
TICKS_SECONDS = 2.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = stores.configured(load(None, {}, data_dir=str(tmp_path / "hub")))
    stores.found(config, "Several", ["USD"])
    return msgspec.structs.replace(
        config,
        engine=Engine(timer_ms=TIMER_MS, drain_seconds=1),
        courier=Courier(retry_first_ms=10, retry_max_ms=20),
    )


@asynccontextmanager
async def engine_on(config: Config, got: list[Inquiry]) -> AsyncIterator[Rig]:
    database = open_database(config)
    rig = Rig(config, database, got)
    await rig.server.start()
    await rig.engine.start()
    try:
        yield rig
    finally:
        if rig.engine.running:
            await rig.engine.stop()
        database.close()
        await rig.server.stop()


@pytest.fixture
async def pair(config: Config) -> AsyncIterator[tuple[Rig, Rig]]:
    """Two engines; the participants' server is the first one's."""
    got: list[Inquiry] = []
    async with engine_on(config, got) as one, engine_on(config, got) as other:
        await one.onboard()
        await until(lambda: PAYEE in other.engine.directory.participants)
        await until(lambda: bool(other.engine.directory.participants[PAYEE].endpoints))
        yield one, other


async def until(condition: Callable[[], bool], seconds: float = TICKS_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process does not announce what it does
            await asyncio.sleep(0.005)


async def test_what_one_changes_holds_in_the_others_batches_at_once_and_beside_them_a_tick_later(
    pair: tuple[Rig, Rig],
) -> None:
    one, other = pair
    url = f"{other.server.url}/elsewhere"
    await one.engine.submit(SetEndpoints(name=PAYEE, endpoints=(Endpoint("FSPIOP_CALLBACK_URL_TRANSFER_POST", url),)))
    batch = await other.engine.submit(other.prepare())
    assert batch is None
    assert other.engine.directory.participants[PAYEE].endpoints["FSPIOP_CALLBACK_URL_TRANSFER_POST"] == url


async def test_a_credential_revoked_at_one_is_refused_at_the_other_a_tick_later(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    digest = uuid.uuid4().bytes * 2
    issued = await one.engine.submit(
        IssueCredential(kind=CredentialKind.TOKEN, digest=digest, participant=PAYER, name="key", by="operator")
    )
    await until(lambda: digest in other.engine.directory.credentials)
    credential_id = one.engine.directory.credentials[digest].credential_id
    assert issued is not None
    await one.engine.submit(RevokeCredential(credential_id=credential_id))
    await until(lambda: digest not in other.engine.directory.credentials)


async def test_payments_through_both_never_exceed_the_headroom_together(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    commands = [(rig, rig.prepare("300 USD")) for rig in (one, other, one, other, one)]
    await asyncio.gather(*(rig.engine.submit(command) for rig, command in commands))
    assert sorted(one.states().values()) == ["ABORTED_REJECTED"] * 2 + ["RESERVED"] * 3
    assert one.differences() == []


async def test_a_payment_expires_once_and_its_payer_is_told_once(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    commands = [rig.prepare("1 USD", expires_in_ms=150) for rig in (one, other) for _ in range(5)]
    await asyncio.gather(*(one.engine.submit(command) for command in commands))
    await until(lambda: set(one.states().values()) == {"EXPIRED_RESERVED"}, 5)

    def told() -> list[str]:
        return sorted(each.path for each in one.got if each.method == "PUT" and each.path.startswith("/payerfsp/"))

    once = sorted(f"/payerfsp/transfers/{command.message.resource_id}/error" for command in commands)
    await until(lambda: set(told()) == set(once), 5)
    # Whoever would tell it once more has looked by now.
    await asyncio.sleep(10 * TIMER_MS / 1000)
    assert told() == once
    assert one.differences() == []


async def test_keys_of_both_are_never_the_same(pair: tuple[Rig, Rig]) -> None:
    keys = [rig.engine.new_message_id() for rig in pair for _ in range(1_000)]
    assert len(set(keys)) == len(keys)


async def test_what_one_owes_when_it_stops_in_order_the_other_delivers_without_waiting(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    one.answer = Answer(503)
    await one.engine.submit(one.prepare())
    await one.until_got(1)
    await one.engine.stop()
    one.got.clear()
    one.answer = Answer(202)
    await one.until_got(1)
    await until(lambda: [state for _, state in other.deliveries()] == ["DELIVERED"])
    assert len(one.got) == 1


async def test_one_that_is_given_up_delivers_nothing_more_and_says_that_it_must_end(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    one.answer = Answer(503)
    await one.engine.submit(one.prepare())
    await one.until_got(1)
    with other.database.read() as tx:
        (dead,) = [each for each in nodes.nodes(tx) if each.number == 0]
    assert other.engine._membership is not None
    taken = await other.engine._enqueue(TakeOver(dead=dead, by=other.engine._membership.seat), internal=True)
    while not taken.value:
        # It signed in between: as the other sees it now.
        with other.database.read() as tx:
            (dead,) = [each for each in nodes.nodes(tx) if each.number == 0]
        taken = await other.engine._enqueue(TakeOver(dead=dead, by=other.engine._membership.seat), internal=True)
    with pytest.raises(FspiopError) as raised:
        await one.engine.submit(one.prepare())
    assert (raised.value.code, raised.value.status) == ("2003", 503)
    async with asyncio.timeout(5):
        await one.engine.fenced.wait()
    one.answer = Answer(202)
    await until(lambda: "DELIVERED" in [state for _, state in other.deliveries()], 5)
    assert not one.engine.running


async def test_a_database_that_hangs_is_refused_at_once_and_found_again(
    config: Config, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_postgresql, "READ_SECONDS_MAX", 0.3)
    async with engine_on(config, []) as rig:
        await rig.onboard()
        postgresql.signal(signal.SIGSTOP)
        try:
            await until(lambda: not rig.engine.writes, 10)
            with pytest.raises(FspiopError) as raised:
                rig.engine.read(lambda _tx, _ledger, _directory: None)
            assert (raised.value.code, raised.value.status) == ("2003", 503)
            with pytest.raises(FspiopError) as raised:
                await rig.engine.submit(rig.prepare())
            assert raised.value.status == 503
        finally:
            postgresql.signal(signal.SIGCONT)
        await until(lambda: rig.engine.writes, 10)
        await rig.engine.submit(rig.prepare())
        assert list(rig.states().values()) == ["RESERVED"]


async def test_one_of_an_older_version_writes_nothing_more_once_a_newer_one_has_migrated_the_database(
    pair: tuple[Rig, Rig],
) -> None:
    one, other = pair
    _migrated_to(one, "9999")
    try:
        with pytest.raises(FspiopError) as raised:
            await one.engine.submit(one.prepare())
        assert (raised.value.code, raised.value.status) == ("2003", 503)
        async with asyncio.timeout(5):
            # The other notices, though nobody asks it for anything.
            for each in pair:
                await each.engine.fenced.wait()
                assert "newer version" in each.engine.fenced_because
        assert one.states() == {}
    finally:
        _migrated_to(other, HEAD)


def _migrated_to(rig: Rig, revision: str) -> None:
    with rig.database.begin() as tx:
        tx.run("UPDATE alembic_version SET version_num = ?", (revision,))


async def test_one_that_can_not_sign_for_a_while_delivers_nothing_until_it_has(
    pair: tuple[Rig, Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    membership = one.engine._membership
    assert membership is not None
    monkeypatch.setattr(membership, "_lease_ends_ms", 0)
    delivery_waits = one.engine.courier.statistics
    message, notices = one.lookup("MSISDN", "1")
    one.engine.route(message, notices)
    assert delivery_waits()[PAYEE].queued + delivery_waits()[PAYEE].in_flight >= 1
    await one.until_got(1)
    assert membership.may_deliver()


async def test_a_parked_message_is_sent_again_by_whoever_holds_it_and_once(pair: tuple[Rig, Rig]) -> None:
    one, other = pair
    one.answer = Answer(404)
    await one.engine.submit(one.prepare())
    await until(lambda: bool(one.parked()))
    (parked, *_) = one.parked()
    one.got.clear()
    one.answer = Answer(202)
    await other.engine.resend(parked.message_id)
    await until(lambda: bool(one.got), 5)
    await until(lambda: parked.message_id not in [each.message_id for each in one.parked()], 5)
    assert [each.path for each in one.got].count("/payeefsp/transfers") == 1


# --- a commit whose answer is lost ------------------------------------------------------------------------------


def losing_answers(monkeypatch: pytest.MonkeyPatch, *, commits: bool) -> list[int]:
    """Has the next commit lose its connection: after the server has committed, or before."""
    commit = PostgresTx.commit
    lost: list[int] = []

    def commit_once(tx: PostgresTx) -> None:
        if lost or not _is_payment(tx):
            commit(tx)
            return
        connection = tx._connection
        lost.append(connection.info.backend_pid)
        if commits:
            connection.execute("COMMIT")
        with psycopg.connect(connection.info.dsn, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        commit(tx)

    monkeypatch.setattr(PostgresTx, "commit", commit_once)
    return lost


def _is_payment(tx: Tx) -> bool:
    return bool(tx.query("SELECT 1 FROM transfer WHERE kind = 'PAYMENT' LIMIT 1"))


async def test_a_commit_that_was_made_and_not_answered_is_found_out_answered_and_sent_once(
    pair: tuple[Rig, Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    lost = losing_answers(monkeypatch, commits=True)
    command = one.prepare()
    assert await one.engine.submit(command) is None
    assert lost
    await one.until_got(1)
    assert one.states() == {command.message.resource_id: "RESERVED"}
    await one.engine.submit(one.prepare())
    await one.until_got(2)
    assert [each.path for each in one.got].count("/payeefsp/transfers") == 2
    assert one.differences() == []


async def test_a_commit_that_was_not_made_is_refused_and_leaves_nothing(
    pair: tuple[Rig, Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    lost = losing_answers(monkeypatch, commits=False)
    with pytest.raises(FspiopError) as raised:
        await one.engine.submit(one.prepare())
    assert (raised.value.code, raised.value.status) == ("2003", 503)
    assert lost
    assert (one.states(), one.got) == ({}, [])
    await until(lambda: one.engine.writes)
    command = one.prepare()
    await one.engine.submit(command)
    await one.until_got(1)
    assert other.states() == {command.message.resource_id: "RESERVED"}
    assert one.differences() == []
