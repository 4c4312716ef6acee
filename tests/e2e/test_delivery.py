"""Delivery over real sockets: a participant that hangs, a hub that was away, a message that was parked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests import journalled
from tests.e2e.rig import Recorder, Rig, answer, encode, running, transfer

from vuka.config import Courier, Engine, Scheme
from vuka.fspiop.versions import Version
from vuka.sim.onboard import Terms
from vuka.sim.server import Answer

TYPE = "application/vnd.interoperability.transfers+json"
SIGNATURE = '{"signature":"c2ln","protectedHeader":"e30"}'


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    scheme = Scheme(routed_deadline_seconds=1)
    courier = Courier(retry_first_ms=20, timeout_ms=2_000)
    async with running(tmp_path, scheme=scheme, courier=courier, engine=Engine(timer_ms=50)) as made:
        await made.join("payerfsp")
        await made.join("payeefsp")
        yield made


@pytest.fixture
def payer(rig: Rig) -> Recorder:
    return rig.participants["payerfsp"]


@pytest.fixture
def payee(rig: Rig) -> Recorder:
    return rig.participants["payeefsp"]


async def prepared(rig: Rig, version: Version = Version.V1_1, **wanted: object) -> str:
    body = transfer("payerfsp", "payeefsp", **wanted)  # type: ignore[arg-type]
    sent = await rig.send(
        "POST",
        "/transfers",
        "payerfsp",
        destination="payeefsp",
        body=encode(body),
        version=version,
        headers={"Accept": f"{TYPE};version={version}"},
    )
    assert (sent.status, sent.body) == (202, b"")
    await rig.participants["payeefsp"].one("POST", "/transfers")
    return str(body["transferId"])


async def test_what_lets_one_speak_for_a_participant_is_not_written_down(rig: Rig, payee: Recorder) -> None:
    body = encode(transfer("payerfsp", "payeefsp"))
    await rig.send("POST", "/transfers", "payerfsp", body=body, headers={"Authorization": "Bearer secret"})
    await payee.one("POST", "/transfers")
    kept = rig.hub.read(lambda tx, _ledger, _directory: journalled.messages(tx))
    assert kept
    assert not any("secret" in str(each.headers) for each in kept)


async def test_two_participants_behind_one_address_do_not_delay_each_other(rig: Rig, payee: Recorder) -> None:
    """One hangs; the other, behind the same host and port, is served at once."""
    await rig.operator.add_participant("hanging", payee.server.url + "/hanging", {"USD": Terms(10_000, 0)})
    payee.answer = lambda inquiry: None if inquiry.path.startswith("/hanging") else Answer(202)
    for _ in range(60):
        body = encode(transfer("payerfsp", "hanging", amount="1"))
        assert (await rig.send("POST", "/transfers", "payerfsp", destination="hanging", body=body)).status == 202
    await payee.one("POST", "/hanging/transfers")
    async with asyncio.timeout(1.0):
        await prepared(rig)


async def test_a_restart_delivers_what_was_owed_and_expires_what_is_past(tmp_path: Path) -> None:
    courier = Courier(retry_first_ms=20)
    async with running(tmp_path, courier=courier, engine=Engine(timer_ms=50, drain_seconds=1)) as rig:
        await rig.join("payerfsp")
        payee = await rig.join("payeefsp")
        payee.answer = lambda _inquiry: Answer(503)
        kept = transfer("payerfsp", "payeefsp")
        short = transfer("payerfsp", "payeefsp", seconds=0.3)
        for body in (kept, short):
            await rig.send("POST", "/transfers", "payerfsp", destination="payeefsp", body=encode(body))
        await payee.one("POST", "/transfers")
    await asyncio.sleep(0.3)  # the shorter one passes its expiration while no hub runs
    async with running(tmp_path, courier=courier, engine=Engine(timer_ms=50)) as rig:
        recorders = {name: Recorder(name) for name in ("payerfsp", "payeefsp")}
        for name, recorder in recorders.items():
            await recorder.server.start()
            rig.participants[name] = recorder
            await rig.operator.add_participant(name, recorder.server.url, {})
        delivered = await recorders["payeefsp"].one("POST", "/transfers")
        assert delivered.body == encode(kept)
        expired = await recorders["payerfsp"].one("PUT", f"/transfers/{short['transferId']}/error")
        assert json.loads(expired.body)["errorInformation"]["errorCode"] == "3303"
        assert await rig.position("payerfsp") == 10


async def test_a_parked_message_can_be_sent_again(rig: Rig, payer: Recorder, payee: Recorder) -> None:
    payer.answer = lambda inquiry: Answer(400, b"no") if inquiry.method == "PUT" else Answer(202)
    transfer_id = await prepared(rig)
    path = f"/transfers/{transfer_id}"
    await rig.send("PUT", path, "payeefsp", destination="payerfsp", body=encode(answer("RESERVED")))
    await payer.one("PUT", path)
    await payee.one("PATCH", path)
    parked: list[dict[str, object]] = []
    async with asyncio.timeout(5):
        while not parked:
            parked = await rig.operator.do("GET", "/messages/parked?participant=payerfsp")
    assert (parked[0]["path"], parked[0]["error"]) == (path, "HTTP 400 no")
    payer.answer = lambda _inquiry: Answer(200)
    payer.got.clear()
    status, _ = await rig.operator.call("POST", f"/messages/{parked[0]['messageId']}/resend")
    assert status == 202
    assert json.loads((await payer.one("PUT", path)).body)["transferState"] == "COMMITTED"
