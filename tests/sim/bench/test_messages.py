"""The benchmark's messages are what the hub itself takes for right, and so are their signatures."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httptools
import msgspec
import pytest

from vuka.fspiop.headers import Headers, check_request
from vuka.fspiop.jws import ES256, PrivateKey, verify
from vuka.fspiop.messages import (
    Message,
    PartiesTypeIDPutResponse,
    QuotesIDPutResponse,
    QuotesPostRequest,
    TransfersIDPutResponse,
    TransfersPostRequest,
    decode,
)
from vuka.fspiop.times import format_datetime_ms, format_http_date
from vuka.fspiop.versions import Version
from vuka.sim.bench.messages import PARTIES_EACH, SIGNED, Fields, Kind, make_pairs, pair_of, party_of
from vuka.sim.bench.scenarios import SCENARIOS
from vuka.sim.bench.signing import make_pool

NAMES = ["onefsp", "twofsp", "threefsp"]
BODIES: dict[Kind, type[Message]] = {
    Kind.FOUND: PartiesTypeIDPutResponse,
    Kind.ASK: QuotesPostRequest,
    Kind.TERMS: QuotesIDPutResponse,
    Kind.PREPARE: TransfersPostRequest,
    Kind.FULFIL: TransfersIDPutResponse,
}


class Read:
    """A request as a server reads it."""

    def __init__(self, raw: bytes) -> None:
        self.url = self.body = b""
        self.pairs: list[tuple[str, str]] = []
        self.is_complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(raw)
        self.method = parser.get_method().decode()
        assert self.is_complete, "Content-Length is that of the body"

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode(), value.decode()))

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.is_complete = True


def _fields() -> Fields:
    now_ms = time.time_ns() // 1_000_000
    return {
        b"transfer": str(uuid.uuid4()).encode(),
        b"quote": str(uuid.uuid4()).encode(),
        b"party": party_of(1, 7),
        b"date": format_http_date(now_ms).encode(),
        b"expires": format_datetime_ms(now_ms + 60_000).encode(),
        b"completed": format_datetime_ms(now_ms).encode(),
        b"signature": b"",
    }


@pytest.mark.parametrize("kind", list(Kind))
def test_every_message_is_in_order_for_the_hub(kind: Kind) -> None:
    pair = make_pairs(NAMES, reserves=True, host="hub.example:4000")[1]
    fields = _fields()
    read = Read(pair.forms[kind].fill(fields))
    assert f"{read.method} {read.url.decode()}".startswith(kind.value)
    headers = Headers(read.pairs)
    resource = read.url.decode().split("/")[1]
    checked = check_request(read.method, resource, headers, trusted_client_id=None)
    payer_sends = kind in (Kind.LOOKUP, Kind.ASK, Kind.PREPARE, Kind.QUESTION)
    assert checked.source == (NAMES[pair.payer] if payer_sends else NAMES[pair.payee])
    assert headers.get("host") == "hub.example:4000"
    if kind in BODIES:
        decode(BODIES[kind], Version.V1_1, read.body)
    else:
        assert read.body == b""


@pytest.mark.parametrize("kind", sorted(SIGNED))
def test_a_signature_made_beforehand_is_right_for_the_message_and_for_no_other(kind: Kind) -> None:
    pair = make_pairs(NAMES, reserves=True, host="hub.example:4000")[1]
    key, fields = PrivateKey.generate(ES256), _fields()
    fields[b"signature"] = pair.forms[kind].sign(key, fields)
    read = Read(pair.forms[kind].fill(fields))
    get = Headers(read.pairs).get
    verify([key.public], method=read.method, path=read.url.decode(), get=get, body=read.body)
    with pytest.raises(Exception, match="signature"):
        verify([key.public], method=read.method, path=read.url.decode(), get=get, body=read.body + b" ")


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_pool_has_every_signature_of_every_payment_and_no_id_twice(name: str) -> None:
    scenario, keys = SCENARIOS[name], [PrivateKey.generate(ES256) for _ in NAMES]
    pool = make_pool(scenario, NAMES, [key.to_pem() for key in keys], count=14, reserves=True, workers=1)
    pairs = make_pairs(NAMES, reserves=True, host="elsewhere.example")
    assert len({each.transfer for each in pool.payments} | {each.quote for each in pool.payments}) == 28
    for signed in pool.payments:
        assert set(signed.signatures) == {kind.value for kind in scenario.signed}
        pair = pairs[signed.pair]
        for kind in scenario.signed:
            fields: Any = {b"transfer": signed.transfer, b"quote": signed.quote, b"party": signed.party}
            fields |= {b"date": pool.date, b"expires": pool.expires, b"completed": pool.completed}
            read = Read(pair.forms[kind].fill(fields | {b"signature": signed.signatures[kind.value]}))
            sender = pair.payee if kind in (Kind.TERMS, Kind.FULFIL) else pair.payer
            get = Headers(read.pairs).get
            verify([keys[sender].public], method=read.method, path=read.url.decode(), get=get, body=read.body)


def test_a_telephone_number_says_which_pair_it_is_for() -> None:
    numbers = {party_of(pair, turn): pair for pair in range(50) for turn in range(PARTIES_EACH)}
    assert len(numbers) == 50 * PARTIES_EACH
    assert all(pair_of(number) == pair for number, pair in numbers.items())
    assert party_of(3, 0) == party_of(3, PARTIES_EACH), "they are used again and again"


def test_everybody_pays_everybody_else() -> None:
    pairs = make_pairs(NAMES, reserves=False, host="")
    assert {(each.payer, each.payee) for each in pairs} == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    body = Read(pairs[0].forms[Kind.FULFIL].fill(_fields())).body
    assert msgspec.json.decode(body)["transferState"] == "COMMITTED"
