"""What was signed once and is sent again, by anybody: within the time that a message has, and after it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.e2e.conftest import Wire, fulfilled
from tests.e2e.recorder import Recorder, description, refusal
from tests.e2e.running import running

from vuka.fspiop.jws import ES256, PrivateKey, canonical, sign
from vuka.fspiop.times import format_http_date
from vuka.httpclient import HttpClient, Response
from vuka.money import Amount
from vuka.sim.participant import now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGE_SECONDS_MAX, FUTURE_SECONDS_MAX = 300, 10
Message = tuple[str, str, bytes, list[tuple[str, str]]]


class Signing(Wire):
    """Participants that sign what they send."""

    keys: dict[str, PrivateKey]

    def message(
        self, sender: Recorder, method: str, path: str, body: Any, to: str | None, *, date: str = "", signs: bool = True
    ) -> Message:
        """A signed message, as whoever listens on the way may keep it. ``signs`` the Date too."""
        encoded = canonical(msgspec.json.encode(body))
        changed = {"date": date} if date else {}
        resource = path.split("/")[1]
        headers = sender.headers(resource, method, to, fspiop_uri=path, fspiop_http_method=method, **changed)
        signed = dict(headers) if signs else {name: value for name, value in headers if name != "date"}
        headers.append(("fspiop-signature", sign(self.keys[sender.name], get=signed.get, body=encoded)))
        return method, path, encoded, headers

    async def send_as_it_is(self, message: Message) -> Response:
        """Sends every byte of it, whoever does."""
        method, path, body, headers = message
        return await self.payer.send(method, path, body, headers=headers)

    async def position(self, name: str) -> int:
        """In minor units."""
        accounts = await self.operator.do("GET", f"/participants/{name}/accounts")
        (value,) = [each["value"] for each in accounts if each["ledgerAccountType"] == "POSITION"]
        return Amount.from_string(f"{value} USD").minor

    def count(self, sql: str) -> int:
        ((found,),) = self.hub.hub.read(lambda tx, _ledger, _directory: tx.query(sql))
        return int(found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Signing]:
    client = HttpClient(timeout_ms=5_000)
    settings = {
        "SIGNATURES_VERIFY": "true",
        "SIGNATURES_DATE_AGE_SECONDS_MAX": str(AGE_SECONDS_MAX),
        "SIGNATURES_DATE_FUTURE_SECONDS_MAX": str(FUTURE_SECONDS_MAX),
    }
    async with running(tmp_path_factory.mktemp("replays") / "data", **settings) as hub:
        wire = Signing(hub, client)
        wire.keys = {each.name: PrivateKey.generate(ES256) for each in wire.all}
        await wire.operator.add_hub_accounts("USD")
        for each in wire.all:
            await wire.take_in(each)
            key = {"publicKey": wire.keys[each.name].public.pem}
            await wire.operator.do("POST", f"/participants/{each.name}/keys", key)
        yield wire
        for each in wire.all:
            await each.server.stop()
    await client.close()


async def test_a_transfer_that_is_sent_again_moves_money_once(signing: Signing) -> None:
    before = await signing.position("payerfsp"), await signing.position("payeefsp")
    transfer = signing.transfer()
    prepare = signing.message(signing.payer, "POST", "/transfers", transfer, "payeefsp")
    for _ in range(3):
        assert (await signing.send_as_it_is(prepare)).status == 202
    await signing.payee.heard("POST", "/transfers", having=transfer["transferId"].encode())
    path = f"/transfers/{transfer['transferId']}"
    fulfil = signing.message(signing.payee, "PUT", path, fulfilled("COMMITTED"), "payerfsp")
    for _ in range(3):
        assert (await signing.send_as_it_is(fulfil)).status == 200
    await signing.payer.heard("PUT", path, having=b"COMMITTED")
    assert (await signing.send_as_it_is(prepare)).status == 202
    ten = Amount.from_string("10 USD").minor
    assert (await signing.position("payerfsp"), await signing.position("payeefsp")) == (
        before[0] + ten,
        before[1] - ten,
    )
    assert signing.hub.states()[transfer["transferId"]] == "COMMITTED"
    prepared = [each for each in signing.payee.received if each.method == "POST" and each.path == "/transfers"]
    assert len(prepared) == 1
    assert signing.hub.audit().differences == []


async def test_a_quote_that_is_sent_again_is_the_same_quote(signing: Signing) -> None:
    quote_id = str(uuid.uuid4())
    party = {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "254700000001"}}
    body = {
        "quoteId": quote_id,
        "transactionId": str(uuid.uuid4()),
        "payer": party,
        "payee": party,
        "amountType": "SEND",
        "amount": {"amount": "10", "currency": "USD"},
        "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    }
    message = signing.message(signing.payer, "POST", "/quotes", body, "payeefsp")
    for number in (1, 2):
        assert (await signing.send_as_it_is(message)).status == 202
        heard = await signing.payee.heard("POST", "/quotes", count=number, having=quote_id.encode())
        assert heard.body == message[2]
    assert signing.count(f"SELECT COUNT(*) FROM quote WHERE wire_id = '{quote_id}'") == 1
    changed = signing.message(
        signing.payer, "POST", "/quotes", body | {"amount": {"amount": "11", "currency": "USD"}}, "payeefsp"
    )
    assert (await signing.send_as_it_is(changed)).status == 202
    told = await signing.payer.heard("PUT", f"/quotes/{quote_id}/error")
    assert b'"3106"' in told.body


async def test_a_registration_and_an_answer_about_a_party_that_are_sent_again_change_nothing(signing: Signing) -> None:
    path = "/participants/MSISDN/254700000017"
    message = signing.message(signing.payee, "POST", path, {"fspId": "payeefsp", "currency": "USD"}, None)
    for number in (1, 2):
        assert (await signing.send_as_it_is(message)).status == 202
        await signing.payee.heard("PUT", path, count=number)
    found = await signing.operator.do("GET", "/oracle/parties?partyIdType=MSISDN&partyIdentifier=254700000017")
    assert found == [{"fspId": "payeefsp", "currency": "USD"}]
    path = "/parties/MSISDN/254700000017"
    body = {"party": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "254700000017"}}}
    message = signing.message(signing.payee, "PUT", path, body, "payerfsp")
    for number in (1, 2):
        assert (await signing.send_as_it_is(message)).status == 200
        assert (await signing.payer.heard("PUT", path, count=number)).body == message[2]
    found = await signing.operator.do("GET", "/oracle/parties?partyIdType=MSISDN&partyIdentifier=254700000017")
    assert found == [{"fspId": "payeefsp", "currency": "USD"}]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-AGE_SECONDS_MAX + 30, ""),
        (-AGE_SECONDS_MAX - 5, f"s old, more than {AGE_SECONDS_MAX} s"),
        (-86_400, f"s old, more than {AGE_SECONDS_MAX} s"),
        (5, ""),
        (FUTURE_SECONDS_MAX + 30, f"s ahead, more than {FUTURE_SECONDS_MAX} s"),
    ],
)
async def test_a_signed_message_must_be_of_now(signing: Signing, seconds: int, told: str) -> None:
    date = format_http_date(now_ms() + seconds * 1000)
    transfer = signing.transfer()
    answer = await signing.send_as_it_is(
        signing.message(signing.payer, "POST", "/transfers", transfer, "payeefsp", date=date)
    )
    if not told:
        assert answer.status == 202
        return
    assert refusal(answer) == (400, "3105")
    assert told in description(answer.body)
    assert transfer["transferId"] not in signing.hub.states()


async def test_a_date_that_is_not_signed_or_was_replaced_is_no_date(signing: Signing) -> None:
    transfer = signing.transfer()
    unsigned = signing.message(signing.payer, "POST", "/transfers", transfer, "payeefsp", signs=False)
    answer = await signing.send_as_it_is(unsigned)
    assert refusal(answer) == (400, "3105")
    assert "Date is not protected" in description(answer.body)
    old = format_http_date(now_ms() - 86_400_000)
    method, path, body, headers = signing.message(signing.payer, "POST", "/transfers", transfer, "payeefsp", date=old)
    renewed = [(name, format_http_date(now_ms()) if name == "date" else value) for name, value in headers]
    answer = await signing.send_as_it_is((method, path, body, renewed))
    assert refusal(answer) == (400, "3105")
    assert "the protected Date is not that of the header" in description(answer.body)
    assert transfer["transferId"] not in signing.hub.states()


async def test_a_signed_message_of_somebody_else_is_nobodys(signing: Signing) -> None:
    """Who replays another's message as its own has to sign it, and can't."""
    transfer = signing.transfer()
    method, path, body, headers = signing.message(signing.payer, "POST", "/transfers", transfer, "payeefsp")
    theirs = [(name, "otherfsp" if name == "fspiop-source" else value) for name, value in headers]
    assert refusal(await signing.send_as_it_is((method, path, body, theirs))) == (400, "3105")
    elsewhere = [(name, "otherfsp" if name == "fspiop-destination" else value) for name, value in headers]
    assert refusal(await signing.send_as_it_is((method, path, body, elsewhere))) == (400, "3105")
    assert transfer["transferId"] not in signing.hub.states()
