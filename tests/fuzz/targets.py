"""Everything that reads what others have written, and what must hold of it whatever that is.

A check raises where a decoder does anything but give a value or its documented error; where there is an encoder too,
what was read and is written again must be read as the same.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from tests.authorization_server import ISSUER, OPERATORS, PARTICIPANTS, AuthorizationServer, new_key
from tests.fuzz.inputs import DEEP, JSON, JSON_BYTES, TEXTS, Check, changed, encoded, message_types, nearly, split

from vuka import rules
from vuka.api import oracle_client
from vuka.api.admin_body import _DECODER as ADMIN_DECODER
from vuka.api.admin_body import Fields
from vuka.api.audit_key import AuditKey
from vuka.api.identity import bearer_token, certificate_identities
from vuka.api.tokens import ALGORITHMS, AccessTokens, TokenError
from vuka.config import OAuth, load, to_toml
from vuka.cron import CronError, next_ms
from vuka.engine import courier
from vuka.errors import DESCRIPTION_MAX, FspiopError, OperatorError
from vuka.fspiop import endpoints, ilp, jws
from vuka.fspiop.headers import Headers, check_request, forward_headers
from vuka.fspiop.messages import body_hash, decode, encode
from vuka.fspiop.parties import PARTY_ID_TYPES, check_party_id
from vuka.fspiop.times import format_datetime_ms, format_http_date, parse_datetime_ms, parse_http_date
from vuka.fspiop.versions import RESOURCES, Version, parse_accept, parse_content_type
from vuka.httpclient import HttpClient, Response, TransportError, _Exchange, _Origin
from vuka.httpclient import _Connection as ClientConnection
from vuka.httpserver import HEAD_BYTES_MAX, Answer, Fault, Head
from vuka.httpserver import _Connection as ServerConnection
from vuka.ids import IdError, format_uuid, parse_id
from vuka.logs import trace_id
from vuka.money import AmountError, format_amount, parse_amount, parse_decimal
from vuka.store.backup import FORMAT, Facts, Manifest, decode_manifest
from vuka.switch import auditlog
from vuka.switch.access import Role
from vuka.switch.auditlog import Act, Checkpoint, Entry, Genesis, Kind, Pruned
from vuka.switch.directory import Oracle
from vuka.switch.fees import compile_fee_rules
from vuka.switch.lookup import Party
from vuka.switch.quote_rules import compile_quote_rules, payload_fact
from vuka.switch.work import Actor, ActorKind

VERSIONS: Final = tuple(Version)


class Target(NamedTuple):
    """One decoder."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Check


def is_error(error: FspiopError, code: str = "") -> None:
    """What a participant is told: a code of four digits, a status, and a description that fits the wire."""
    assert len(error.code) == 4
    assert error.code.isdigit()
    assert 400 <= error.status < 600
    assert error.code != "2001", error
    assert code in ("", error.code)
    assert 1 <= len(error.description) <= DESCRIPTION_MAX
    msgspec.json.encode(error.body())


def is_sentence(error: OperatorError) -> None:
    """What an operator is told: something to read."""
    has_reason(error)
    str(error).encode()


def has_reason(error: Exception) -> None:
    """Whoever reads it learns something."""
    assert str(error).strip()


# --- headers ----------------------------------------------------------------------------------------------------

HEADER_NAMES: Final = (
    "Content-Type",
    "Accept",
    "Date",
    "FSPIOP-Source",
    "FSPIOP-Destination",
    "FSPIOP-Signature",
    "FSPIOP-URI",
    "FSPIOP-HTTP-Method",
    "FSPIOP-Proxy",
    "Content-Length",
    "Content-Encoding",
    "Connection",
    "traceparent",
    "tracestate",
    "X-Client-Id",
)
MEDIA: Final = "application/vnd.interoperability.transfers+json;version=1.1"
RIGHT: Final = (("Content-Type", MEDIA), ("Accept", MEDIA), ("Date", "Tue, 24 May 2016 12:38:08 GMT"))
HEADER_TEXT: Final = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=",;=./+ \t01.29version", max_size=30),
    st.sampled_from(
        (MEDIA, "", "payerfsp", "*/*", "Tue, 24 May 2016 12:38:08 GMT", "identity", "close, date", "9" * 25)
    ),
)
MEDIA_TEXT: Final = st.one_of(
    HEADER_TEXT, changed(st.just(MEDIA.encode())).map(lambda each: each.decode("latin-1")), st.just(f"{MEDIA},{MEDIA}")
)


def check_headers(given: tuple[list[tuple[str, str]], str, str, str | None]) -> None:
    """Headers are in order, or the first that is not is named; what is passed on is clean."""
    pairs, method, resource, client_id = given
    try:
        headers = Headers.from_raw([(name.encode("utf-8"), value.encode("utf-8")) for name, value in pairs])
        checked = check_request(method, resource, headers, trusted_client_id=client_id)
    except FspiopError as error:
        is_error(error)
        return
    assert 1 <= len(checked.source) <= 32
    for name, value in forward_headers(headers, method=method, destination="payeefsp"):
        assert f"{name}{value}".isascii()
        assert not {"\r", "\n", "\0"} & set(f"{name}{value}")
    assert trace_id(checked.traceparent) is None or len(trace_id(checked.traceparent) or "") == 32


def check_media(text: str) -> None:
    """A media type says a version, or nothing."""
    for resource in ("transfers", "quotes", "fxQuotes"):
        content, accepted = parse_content_type(resource, text), parse_accept(resource, text)
        assert content is None or content.version in (None, *VERSIONS)
        assert accepted is None or list(accepted.versions) == sorted(set(accepted.versions), reverse=True)


def check_times(text: str) -> None:
    """A moment that is read is written, and read again, as the same."""
    http = parse_http_date(text)
    if http is not None:
        assert format_http_date(http * 1000) == text
    try:
        moment = parse_datetime_ms(text)
    except ValueError:
        return
    with contextlib.suppress(ValueError):  # the year 999 of one zone is 1000 in another
        assert parse_datetime_ms(format_datetime_ms(moment)) == moment


def check_identity(text: str) -> None:
    """Who a caller is, by a header: names, or nobody."""
    assert isinstance(bearer_token(text), str | None)
    assert all(isinstance(each, str) for each in certificate_identities(text))
    trace_id(text)


# --- bodies -----------------------------------------------------------------------------------------------------


def check_message(given: tuple[Any, Version, bytes]) -> None:
    """A body is a message, which is the same when it is written and read again, or it has an error."""
    kind, version, body = given
    try:
        message = decode(kind, version, body)
    except FspiopError as error:
        is_error(error)
        return
    body_hash(body)
    with contextlib.suppress(UnicodeEncodeError):
        written = encode(message)
        assert decode(kind, version, written) == message
        assert jws.canonical(written)


def check_hash(given: tuple[object, bytes]) -> None:
    """Spaces and the order of keys don't change what a body says; what is no JSON is refused."""
    value, raw = given
    try:
        assert len(body_hash(raw)) == 32
    except FspiopError as error:
        is_error(error)
    try:
        plain = body_hash(encoded(value))
    except FspiopError as error:
        is_error(error)
        return
    loose = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True).encode()
    assert body_hash(loose) == plain


def check_payload(body: bytes) -> None:
    """What rules look at is an object, or refused."""
    try:
        assert isinstance(payload_fact(body), dict)
    except FspiopError as error:
        is_error(error)


# --- signatures and packets -------------------------------------------------------------------------------------

KEY: Final = jws.PrivateKey.generate(jws.ES256)
SIGNED: Final = {
    "fspiop-uri": "/transfers",
    "fspiop-http-method": "POST",
    "fspiop-source": "payerfsp",
    "fspiop-destination": "payeefsp",
    "date": "Tue, 24 May 2016 12:38:08 GMT",
}


def check_signature(given: tuple[str | None, str, bytes]) -> None:
    """A signature is right or refused with 3105, whatever it is."""
    header, uri, body = given
    headers = {**SIGNED, "fspiop-uri": uri}
    if header is not None:
        headers["fspiop-signature"] = header
    try:
        jws.verify([KEY.public], method="POST", path="/transfers", get=headers.get, body=body)
    except FspiopError as error:
        is_error(error, "3105")


def check_signing(body: bytes) -> None:
    """What is signed is right, as it is and in its canonical form, and not when a byte is another one."""
    headers = dict(SIGNED)
    headers["fspiop-signature"] = jws.sign(KEY, get=headers.get, body=body)
    jws.verify([KEY.public], method="POST", path="/transfers", get=headers.get, body=body)
    try:
        form = jws.canonical(body)
    except ValueError:
        return
    assert jws.canonical(form) == form
    headers["fspiop-signature"] = jws.sign(KEY, get=headers.get, body=form)
    jws.verify([KEY.public], method="POST", path="/transfers", get=headers.get, body=body)
    with contextlib.suppress(FspiopError):
        jws.verify([KEY.public], method="POST", path="/transfers", get=headers.get, body=body + b"x")
        raise AssertionError("a signature holds for another body")


def check_key(text: str) -> None:
    """A key or a reason."""
    try:
        jws.load_public_key(text)
    except ValueError as error:
        has_reason(error)


def check_packet(text: str) -> None:
    """A packet is read, or refused; and its transaction is an object or none."""
    transaction = ilp.transaction_of(text)
    assert transaction is None or isinstance(transaction, dict)
    ilp.fulfilment_matches(text, text)
    try:
        packet = ilp.decode_packet(text)
    except ilp.IlpError as error:
        has_reason(error)
        return
    again = ilp.encode_packet(packet)
    assert ilp.decode_packet(again) == packet


PAYMENTS: Final = st.builds(
    ilp.IlpPayment, st.integers(0, 2**64 - 1), st.text(alphabet="g.abc01~_-", max_size=200), st.binary(max_size=400)
)
PREPARES: Final = st.builds(
    ilp.IlpPrepare,
    st.integers(0, 2**64 - 1),
    st.integers(0, 4_102_444_800_000),
    st.binary(min_size=32, max_size=32),
    st.text(alphabet="g.abc01~_-", max_size=200),
    st.binary(max_size=400),
)


def check_written_packet(packet: ilp.IlpPayment | ilp.IlpPrepare) -> None:
    """What is written is read as the same."""
    assert ilp.decode_packet(ilp.encode_packet(packet)) == packet


# --- access tokens and key sets -----------------------------------------------------------------------------------

SERVER: Final = AuthorizationServer()
PUBLIC: Final = [key.as_dict(private=False) for key in (SERVER.keys[0], new_key("rsa", "RSA"))]
NOW_MS: Final = 1_800_000_000_000


def _access_tokens(key_set: bytes) -> AccessTokens:
    """What checks tokens of one issuer, whose keys have come. Raises `ValueError` where they will not do."""
    settings = OAuth(
        issuers=ISSUER, keys=f"{ISSUER}/keys", participants_audience=PARTICIPANTS, operators_audience=OPERATORS
    )
    tokens = AccessTokens(settings, lambda: NOW_MS)
    tokens._take(tokens._issuers[ISSUER], key_set)
    return tokens


GOOD: Final = SERVER.token(aud=[PARTICIPANTS, OPERATORS], client_id="payerfsp", roles=["read"], iat=1, exp=NOW_MS)
CLAIMS: Final = st.fixed_dictionaries(
    {
        "iss": st.just(ISSUER) | JSON,
        "aud": st.sampled_from((PARTICIPANTS, OPERATORS, [PARTICIPANTS, OPERATORS])) | JSON,
        "exp": st.integers(0, 2**42) | st.floats() | JSON,
    },
    optional={
        "client_id": TEXTS | JSON,
        "sub": TEXTS | JSON,
        "roles": st.sampled_from(("read", ["operate", "read"])) | JSON,
        "cnf": JSON | st.fixed_dictionaries({"x5t#S256": TEXTS | JSON}),
        "nbf": JSON,
        "iat": JSON,
    },
)
JOSE: Final = st.fixed_dictionaries(
    {"alg": st.sampled_from((*ALGORITHMS, "none", "HS256")) | JSON},
    optional={"kid": st.sampled_from(("first", "other")) | JSON, "typ": st.just("at+jwt") | JSON, "crit": JSON},
)


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _signed(claims: dict[str, Any] | bytes) -> str:
    """A token that the server has signed, whatever it says."""
    content = claims if isinstance(claims, bytes) else encoded(claims)
    return joserfc_jws.serialize_compact({"alg": "ES256", "kid": "first"}, content, SERVER.keys[0])


def check_token(token: str) -> None:
    """A token lets somebody in who has a name, or nobody and says why; the same when it comes again."""
    tokens = _access_tokens(SERVER.key_set())
    for fingerprint in ("", "ab" * 32):
        for read in (tokens.participant, tokens.operator):
            found: list[object] = []
            for _ in range(2):
                try:
                    found.append(read(token, fingerprint))
                except TokenError as error:
                    has_reason(error)
                    found.append(str(error))
            assert found[0] == found[1]
    with contextlib.suppress(TokenError):
        assert tokens.participant(token)
    with contextlib.suppress(TokenError):
        operator = tokens.operator(token)
        assert operator.name
        assert operator.roles <= set(Role)


KEY_SETS: Final = st.fixed_dictionaries(
    {
        "keys": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"kty": st.sampled_from(("RSA", "EC")) | JSON},
                optional={
                    "crv": st.just("P-256") | JSON,
                    "kid": st.just("first") | JSON,
                    "alg": st.sampled_from(ALGORITHMS) | JSON,
                    "use": st.just("sig") | JSON,
                    **{
                        name: st.one_of(
                            st.sampled_from([value for each in PUBLIC for value in each.values()]),
                            st.binary(max_size=300).map(_part),
                            JSON,
                        )
                        for name in ("n", "e", "x", "y")
                    },
                },
            ),
            max_size=3,
        )
    }
)


def check_key_set(raw: bytes) -> None:
    """A key set holds keys to check tokens with, or a reason is told; no key of it makes a token a defect."""
    try:
        tokens = _access_tokens(raw)
    except ValueError as error:
        has_reason(error)
        return
    for algorithm in ALGORITHMS:
        head = _part(encoded({"alg": algorithm, "kid": "first"}))
        for token in (GOOD, f"{head}.{GOOD.split('.')[1]}.{GOOD.split('.')[2]}"):
            try:
                assert tokens.participant(token)
            except TokenError as error:
                has_reason(error)


# --- files that are brought back -----------------------------------------------------------------------------------

AUDIT_KEY: Final = AuditKey(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1"))
ALICE: Final = Actor(ActorKind.OPERATOR, "alice", 7)


def _signed_checkpoint(seq: int, at_ms: int) -> Checkpoint:
    unsigned = Checkpoint("00" * 32, seq, "11" * 32, at_ms, "", "")
    key, signature = AUDIT_KEY.sign(unsigned.signed())
    return msgspec.structs.replace(unsigned, key=key, signature=signature)


NUMBERS: Final = st.one_of(st.integers(0, 10), st.sampled_from((1 << 62, (1 << 63) - 2, (1 << 63) - 1, -1, -(1 << 63))))
CONTENTS: Final = st.one_of(
    st.just(Genesis("Bench", 1, 0, "00" * 32)),
    st.builds(Act, st.just(ALICE), TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3)),
    st.just([[bytes(16), "COMMITTED", 1, 1, "USD", "a", "b", "PAYMENT", None]]),
    st.builds(_signed_checkpoint, NUMBERS, st.integers(0, 10)),
    st.just(Pruned("00" * 32, ALICE, 1, 1, "a.jsonl", "00" * 32, 0, "00" * 32)),
).map(msgspec.msgpack.encode)
ODD_VALUES: Final = st.sampled_from(
    (
        msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"x")),
        b"\xd6\xff\x00\x00\x00\x01",
        b"\xc4\x01x",
        b"\x81\xc4\x01x\x01",
        b"\x81\x91\x01\x01",
        b"\x81\xc0\x01",
        b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\x91" * 2_000 + b"\x01",
        b"\x81\xa1a" * 600 + b"\x01",
        b"\xa1\xff",
    )
)
"""MessagePack that is no JSON, or nests further than anybody reads."""


def _odd_act(value: bytes) -> bytes:
    """An act that was asked with that."""
    whole = msgspec.msgpack.encode(Act(ALICE, "SetLimit", "accepted", {"name": 7}))
    return whole.replace(b"\xa4name\x07", b"\xa4name" + value)


def _entry(seq: int, at_ms: int, kind: str, content: bytes, shown: object) -> bytes:
    """A line of an export, whose hash is right."""
    try:
        digest = auditlog.chained(auditlog.NO_HASH, seq, at_ms, kind, content)
    except OverflowError:
        digest = auditlog.NO_HASH
    line = auditlog.export_line(Entry(seq, at_ms, kind, content, digest))
    return line if shown is None else line.replace(b'"means":', b'"means":' + encoded(shown) + b',"other":')


LINES: Final = st.builds(
    _entry,
    st.one_of(NUMBERS, st.just(1 << 63)),
    st.one_of(NUMBERS, st.sampled_from((auditlog.AT_MS_MAX + 1, (1 << 64) - 1))),
    st.sampled_from(list(Kind)) | st.text(max_size=5),
    st.one_of(CONTENTS, changed(CONTENTS), ODD_VALUES.map(_odd_act), st.binary(max_size=20)),
    st.none() | JSON,
)
DEEP_LINES: Final = st.sampled_from(DEEP).map(
    lambda deep: b'{"seq":1,"at_ms":1,"kind":"ACT","hash":"","content":"","means":%b}' % deep
)


def check_export_line(line: bytes) -> None:
    """A line of an export is an entry that is written as the same line, or a reason; to check it is a verdict."""
    try:
        entry = auditlog.read_line(line)
    except ValueError as error:
        has_reason(error)
        return
    assert auditlog.export_line(entry).rstrip() == line.rstrip()
    for is_part in (False, True):
        verdict = auditlog.verify([entry], is_part=is_part)
        assert verdict.fault is None or verdict.fault.reason


MANIFESTS: Final = st.builds(
    Manifest,
    st.sampled_from((FORMAT, FORMAT + 1)),
    TEXTS,
    st.sampled_from(("sqlite", "postgresql")),
    st.integers(0, 10),
    st.integers(0, 10),
    st.sampled_from(("vuka.db", "../vuka.db", "", ".", "..", "a/b", "\0")) | st.text(max_size=10),
    NUMBERS,
    TEXTS,
    NUMBERS,
    TEXTS,
    st.booleans(),
    st.dictionaries(st.sampled_from(("vuka.toml", "/etc/passwd", "..")) | st.text(max_size=10), TEXTS, max_size=2),
    st.just(Facts("0001", "Bench", "embedded", 1, 1, 1, 1, "")),
).map(msgspec.json.encode)


def check_manifest(content: bytes) -> None:
    """A manifest names files of its own directory, or a sentence says what is wrong with it."""
    directory = Path("/backups/hub")
    try:
        manifest = decode_manifest(content, directory)
    except OperatorError as error:
        is_sentence(error)
        return
    for name in (manifest.file, *manifest.with_files):
        assert (directory / name).parent == directory
        assert (directory / name).name == name


# --- what others answer -------------------------------------------------------------------------------------------

ORACLE: Final = Oracle(1, "MSISDN", None, "http://oracle.example", is_default=True)
PARTY: Final = Party("MSISDN", "254711000001")
ENTRY: Final = st.fixed_dictionaries(
    {},
    optional={
        "fspId": st.one_of(TEXTS, JSON),
        "currency": st.one_of(TEXTS, JSON),
        "partySubIdOrType": st.one_of(TEXTS, JSON),
        "partyId": st.one_of(
            JSON,
            st.fixed_dictionaries(
                {"partyIdType": TEXTS, "partyIdentifier": TEXTS}, optional={"partySubIdOrType": JSON}
            ),
        ),
        "errorInformation": st.one_of(
            JSON, st.fixed_dictionaries({"errorCode": st.one_of(TEXTS, JSON), "errorDescription": JSON})
        ),
    },
)
LISTED: Final = st.fixed_dictionaries({"partyList": st.one_of(JSON, st.lists(st.one_of(ENTRY, JSON), max_size=5))})


def check_oracle(body: bytes) -> None:
    """What an oracle lists is entries that make sense; what it says of a batch is errors that fit the wire."""
    for entry in oracle_client._entries(ORACLE, PARTY, body):
        assert 1 <= len(entry.fsp_id) <= oracle_client.FSP_ID_LENGTH_MAX
        msgspec.json.encode(entry)
    for error in oracle_client._batch_answer(ORACLE, body).values():
        if error is not None:
            is_error(error)


def check_retry_after(given: tuple[int, bytes, bytes]) -> None:
    """A participant's answer says how long to wait, or nothing; what is kept of it can be written down."""
    status, raw, body = given
    answer = Response(status, raw, body, 0)
    wait_ms = courier._retry_after_ms(answer)
    assert wait_ms is None or 0 <= wait_ms < 10**10
    courier._refusal(answer).encode()


# --- bytes on connections -----------------------------------------------------------------------------------------


class Transport:
    """What a protocol sees of a connection; it keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, content: bytes) -> None:
        self.written += content

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _name: str) -> None:
        """Nobody is known to be at the other end."""

    def set_write_buffer_limits(self, high: int) -> None:
        assert high

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Echo:
    """Answers each request with its method, path and body."""

    body_bytes_max = 2_000

    def __init__(self) -> None:
        self.heads: list[Head] = []

    def accept(self, head: Head) -> Answer | Any:
        self.heads.append(head)
        return Answer(403, (("x-why", "head"),), b"no") if head.path == b"/refused" else _EchoExchange(head)

    def refuse(self, fault: Fault) -> Answer:
        return Answer({Fault.TOO_MANY_CONNECTIONS: 503}.get(fault, 400), (), fault.name.encode())


class _EchoExchange:
    def __init__(self, head: Head) -> None:
        self._head = head

    async def answer(self, body: bytes) -> Answer:
        return Answer(200, (), self._head.method.encode() + b" " + self._head.path + b" " + body)


class AtOnce:
    """A server whose answers are made as soon as they are asked for: without a loop, and always the same way."""

    is_stopping = is_secure = False

    def __init__(self) -> None:
        self.application = Echo()

    def now(self) -> float:
        return 0.0

    def is_outdated(self, _transport: Transport) -> bool:
        return False

    def admit(self, _connection: ServerConnection) -> bool:
        return True

    def forget(self, _connection: ServerConnection) -> None:
        pass

    def spawn(self, work: Any) -> None:
        with contextlib.suppress(StopIteration):
            work.send(None)
            raise AssertionError("an answer waits for something")


def served(pieces: Sequence[bytes]) -> tuple[bytes, list[tuple[object, ...]], bool]:
    """What a server answers to bytes that come in these pieces, what it took for requests, whether it closed."""
    server, transport = AtOnce(), Transport()
    connection = ServerConnection(server)  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        if piece:
            connection.data_received(piece)
        assert connection._untold <= HEAD_BYTES_MAX + len(piece)
        assert sum(map(len, connection._body)) <= Echo.body_bytes_max
    connection.eof_received()
    connection.connection_lost(None)
    heads = [(each.method, each.path, each.query, tuple(each.headers)) for each in server.application.heads]
    return bytes(transport.written), heads, transport.closed


REQUEST: Final = st.builds(
    lambda method, path, headers, body, chunked: b"".join(
        (
            method + b" " + path + b" HTTP/1.1\r\nHost: hub\r\n",
            *(name + b": " + value + b"\r\n" for name, value in headers),
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            if chunked and body
            else b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        )
    ),
    st.sampled_from((b"GET", b"POST", b"PUT", b"HEAD", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT")),
    st.sampled_from((b"/", b"/transfers", b"/refused", b"/a%20b?c=d", b"http://hub/x?y", b"*", b"hub:80")),
    st.lists(
        st.sampled_from(
            (
                (b"Accept", b"*/*"),
                (b"Upgrade", b"h2c"),
                (b"Connection", b"upgrade, HTTP2-Settings"),
                (b"Connection", b"close"),
                (b"Expect", b"100-continue"),
                (b"Content-Length", b"3"),
                (b"Transfer-Encoding", b"chunked"),
                (b"X-Long", b"y" * 300),
            )
        ),
        max_size=3,
    ),
    st.one_of(st.binary(max_size=30), st.just(b"z" * 2_500)),
    st.booleans(),
)
STREAM: Final = st.lists(REQUEST, min_size=1, max_size=4).map(b"".join)
PLACES: Final = st.lists(st.integers(0, 800), max_size=12)


def check_server(given: tuple[bytes, list[int]]) -> None:
    """Whatever comes in whatever pieces is answered in HTTP: the same as when it comes at once."""
    content, places = given
    written, heads, closed = served(split(content, places))
    _is_http(written)
    whole, whole_heads, _ = served([content])
    if b"LARGE" not in whole and b"MALFORMED" not in whole:
        assert (written, heads, True) == (whole, whole_heads, closed)


def _is_http(written: bytes) -> None:
    """Answers one after another, with nothing between them."""
    rest = written
    while rest:
        head, found, rest = rest.partition(b"\r\n\r\n")
        assert found, written
        assert head.startswith(b"HTTP/1.1 "), written
        if head.startswith(b"HTTP/1.1 100"):
            continue
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        # The answer to a HEAD says how long it would have been.
        rest = rest[length:] if not rest.startswith(b"HTTP/1.1 ") else rest


ANSWER: Final = st.builds(
    lambda status, headers, body: (
        b"HTTP/1.1 %d X\r\n" % status
        + b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        + b"\r\n"
        + body
    ),
    st.sampled_from((100, 101, 103, 200, 202, 204, 304, 400, 500, 503, 999)),
    st.lists(
        st.sampled_from(
            (
                (b"Content-Length", b"0"),
                (b"Content-Length", b"5"),
                (b"Content-Length", b"99999999999"),
                (b"Transfer-Encoding", b"chunked"),
                (b"Connection", b"close"),
                (b"Upgrade", b"h2c"),
                (b"Retry-After", b"7"),
            )
        ),
        max_size=3,
    ),
    st.sampled_from((b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"hellohello")),
)
ANSWERS: Final = st.lists(ANSWER, min_size=1, max_size=3).map(b"".join)


def heard(pieces: Sequence[bytes]) -> Response | TransportError:
    """What a client makes of an answer that comes in these pieces, after which the connection ends."""
    client = HttpClient()
    client.now = lambda: 0.0  # type: ignore[method-assign]
    outcomes: list[Response | TransportError] = []
    origin = _Origin("http://payee.example")
    connection = ClientConnection(client, origin)
    connection.connection_made(Transport())  # type: ignore[arg-type]
    connection.send(_Exchange(origin, b"GET / HTTP/1.1\r\n\r\n", outcomes.append, 0.0))
    for piece in pieces:
        if piece and connection.transport is not None and not connection.transport.is_closing():
            connection.data_received(piece)
        assert len(connection._raw) + len(connection._body) < 2_000_000
    connection.connection_lost(None)
    (outcome,) = outcomes
    return outcome


def check_client(given: tuple[bytes, list[int]]) -> None:
    """Whatever comes in whatever pieces is one answer or one reason, and the same as when it comes at once."""
    content, places = given
    outcome = heard(split(content, places))
    if isinstance(outcome, Response):
        assert 200 <= outcome.status < 1000
        assert all(isinstance(name, str) for name in outcome.headers)
        courier._retry_after_ms(outcome)
    else:
        assert str(outcome)
    whole = heard([content])
    assert type(whole) is type(outcome), (str(whole), str(outcome))
    if isinstance(whole, Response) and isinstance(outcome, Response):
        assert (whole.status, whole.body) == (outcome.status, outcome.body)


# --- what operators write -----------------------------------------------------------------------------------------

FACTS: Final = ("headers", "payload", "payer", "payee", "transfer", "transaction")
PATHS: Final = st.one_of(
    st.sampled_from(
        ("$.amount.currency", "$.a[0]", "$..b", "$.a[?(@.b=='c')]", "$[*]", "$.a[?(@.b===1)].c", "$.length")
    ),
    st.text(alphabet="$.[]?@()=!&|'\"*:0a,\\", max_size=30),
)
CONDITION: Final = st.fixed_dictionaries(
    {
        "fact": st.one_of(st.sampled_from((*FACTS, "nothing")), JSON),
        "operator": st.one_of(
            st.sampled_from(("equal", "notEqual", "in", "greaterThan", "isArray", "some:equal", "notDeepEqual", "x")),
            JSON,
        ),
        "value": st.one_of(JSON, st.fixed_dictionaries({"fact": st.sampled_from(FACTS), "path": PATHS})),
    },
    optional={"path": st.one_of(PATHS, JSON), "params": JSON},
)
CONDITIONS: Final = st.recursive(
    st.one_of(CONDITION, JSON),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)
EVENT: Final = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(("INVALID_QUOTE_REQUEST", "INTERCEPT_QUOTE", "CHARGE_FEE", "x")),
            "params": st.one_of(
                JSON,
                st.fixed_dictionaries({"FSPIOPError": TEXTS, "message": st.one_of(TEXTS, JSON)}),
                st.fixed_dictionaries({"rerouteToFsp": TEXTS}, optional={"rerouteToFspCurrency": TEXTS}),
                st.fixed_dictionaries(
                    {},
                    optional={
                        name: st.one_of(TEXTS, JSON)
                        for name in "name currency amount percent from to min max tiers rounding".split()
                    },
                ),
            ),
        }
    ),
)  # fmt: skip
RULES: Final = st.one_of(
    st.lists(
        st.one_of(
            st.fixed_dictionaries(
                {"conditions": CONDITIONS, "event": EVENT}, optional={"name": JSON, "priority": JSON}
            ),
            JSON,
        ),
        max_size=3,
    ).map(encoded),
    JSON_BYTES,
)


def _any_event(_event: rules.Event) -> list[tuple[str, str]]:
    return []


def check_rules(given: tuple[bytes, object]) -> None:
    """A set of rules compiles, or all that is wrong with it is told; what compiles can be run on anything."""
    content, fact = given
    for compiled in (compile_quote_rules, compile_fee_rules):
        try:
            compiled(content)
        except OperatorError as error:
            is_sentence(error)
    try:
        made = rules.compile_rules(content, facts=FACTS, check_event=_any_event)
    except rules.RulesError as error:
        is_sentence(error)
        return
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        known = rules.decode_json(encoded(fact))
        assert all(isinstance(each, rules.Rule) for each in made.run(dict.fromkeys(FACTS, known)))


TOML: Final = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="[]{}=.\"'#\n\t 0123abtrue_-", max_size=60),
    st.builds(
        lambda section, key, value: f"[{section}]\n{key} = {value}\n",
        st.sampled_from(("engine", "scheme", "participants_api", "store", "nothing", "engine.queue_max", "data_dir")),
        st.sampled_from(("queue_max", "host", "port", "url", "hub_version", "nothing", '"a b"')),
        st.sampled_from(
            ("0", "-1", "9" * 30, "1.5", "nan", '"x"', "true", "[]", "{}", "1979-05-27", "07:32:00", '"\\u0000"')
        ),
    ),
    st.sampled_from(
        ("engine = 5\n", "store = []\n", 'data_dir = ["a"]\n', "a = " + "[" * 5_000, "a = " + "{a=" * 3_000)
    ),
)
VARIABLES: Final = st.dictionaries(
    st.sampled_from(
        ("VUKA_ENGINE_QUEUE_MAX", "VUKA_STORE_URL", "VUKA_DATA_DIR", "VUKA_LOG_JSON", "VUKA_LEDGER_CLUSTER_ID")
    ),
    st.one_of(st.text(max_size=20), st.sampled_from(("true", "0", "1e3", "9" * 40, "postgresql://a:b@c/d", "\udc80"))),
    max_size=2,
)


def check_configuration(given: tuple[str, dict[str, str]], directory: Path) -> None:
    """A configuration is valid, and the same when it is written down; or a sentence names what is not."""
    text, variables = given
    file = directory / "vuka.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config = load(file, variables)
    except OperatorError as error:
        has_reason(error)
        return
    try:
        file.write_text(to_toml(config), encoding="utf-8")
    except UnicodeEncodeError:
        assume(False)
    again = load(file, {})
    assert again.shown() == config.shown()


def check_operators_body(body: bytes) -> None:
    """A field of an operator's body is read, or refused with its name."""
    try:
        value = ADMIN_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    for read in (
        "text",
        "boolean",
        "flag",
        "minor",
        "positive_minor",
        "whole",
        "object",
        "objects",
        "transfer_id",
        "currency",
    ):
        for name in (*value, "missing"):
            try:
                found = getattr(Fields(value), read)(name)
            except FspiopError as error:
                is_error(error)
                continue
            if read in ("minor", "positive_minor"):
                assert isinstance(found, int)
                assert abs(found) < 2**63
    for extra in ("extensionList", next(iter(value), "")):
        try:
            Fields(value).extensions(extra)
        except FspiopError as error:
            is_error(error)


# --- small things -------------------------------------------------------------------------------------------------


def check_words(text: str) -> None:
    """Ids, amounts and party identifiers: read and written again as the same, or refused in their own way."""
    try:
        raw = parse_id(text)
        assert parse_id(format_uuid(raw)) == raw
    except IdError as error:
        has_reason(error)
    for parse in (parse_amount, parse_decimal):
        try:
            minor = parse(text)
            assert parse_decimal(format_amount(minor)) == minor
        except AmountError as error:
            has_reason(error)
    for kind in PARTY_ID_TYPES:
        try:
            check_party_id(kind, text, text)
        except FspiopError as error:
            is_error(error)


def check_schedule(given: tuple[str, str]) -> None:
    """A schedule has a next moment, or is refused."""
    expression, zone = given
    try:
        assert next_ms(expression, zone, 1_764_000_000_000) > 1_764_000_000_000
    except CronError as error:
        has_reason(error)


def check_endpoint(parameters: dict[str, str]) -> None:
    """What is filled into a template stays one segment, and says there what it said."""
    template = "http://payee.example/parties/{{partyIdType}}/{{partyIdentifier}}"
    try:
        filled = endpoints.fill(template, parameters)
    except ValueError as error:
        has_reason(error)
        return
    segments = filled.split("/")
    assert len(segments) == 6
    assert [unquote(each) for each in segments[4:]] == [parameters["partyIdType"], parameters["partyIdentifier"]]
    assert endpoints.path_of(filled, "parties") == "/".join(["", *segments[3:]])


WORDS: Final = st.one_of(TEXTS, st.text(max_size=40), st.text(alphabet="0123456789.-+e ", max_size=30))
CRON: Final = st.one_of(
    st.text(alphabet="*/,-0123456789 LW#?MONJAN@daily", max_size=24),
    st.sampled_from(("0 0 30 2 *", "* * * * *", "0 0 31 2,4 1", "59 23 31 12 *", "0 2 29 2 *")),
)

TARGETS: Final = (
    Target(
        "headers",
        st.tuples(
            st.lists(
                st.tuples(st.one_of(st.sampled_from(HEADER_NAMES), st.text(max_size=12)), HEADER_TEXT), max_size=6
            ).map(lambda more: [*RIGHT, ("FSPIOP-Source", "payerfsp"), *more])
            | st.lists(st.tuples(st.sampled_from(HEADER_NAMES), HEADER_TEXT), max_size=8),
            st.sampled_from(("GET", "POST", "PUT", "PATCH", "DELETE")),
            st.sampled_from(sorted(RESOURCES)),
            st.sampled_from((None, "payerfsp", "")),
        ),
        check_headers,
    ),
    Target("media types", MEDIA_TEXT, check_media),
    Target(
        "dates",
        st.one_of(
            changed(st.sampled_from((b"2016-05-24T08:38:08.699-04:00", b"Tue, 24 May 2016 12:38:08 GMT"))).map(
                lambda each: each.decode("latin-1")
            ),
            WORDS,
        ),
        check_times,
    ),
    Target("credentials", HEADER_TEXT | st.text(max_size=200).map(lambda each: f"Bearer {each}"), check_identity),
    Target(
        "messages",
        st.sampled_from(message_types()).flatmap(
            lambda kind: st.tuples(st.just(kind), st.sampled_from(VERSIONS), nearly(kind))
        ),
        check_message,
    ),
    Target("body hashes", st.tuples(JSON, JSON_BYTES), check_hash),
    Target("facts of rules", JSON_BYTES, check_payload),
    Target(
        "signatures",
        st.tuples(
            st.one_of(
                st.none(),
                st.text(max_size=40),
                JSON.map(lambda each: encoded(each).decode("utf-8", "replace")),
                st.builds(
                    lambda protected, signature: json.dumps({"signature": signature, "protectedHeader": protected}),
                    st.one_of(JSON_BYTES, st.just(encoded({"alg": "ES256"}))).map(
                        lambda each: jws._base64url(each).decode()
                    )
                    | st.text(max_size=20),
                    st.one_of(st.binary(max_size=70), st.binary(min_size=64, max_size=64)).map(
                        lambda each: jws._base64url(each).decode()
                    ),
                ),
            ),
            st.sampled_from(("/transfers", "/%74ransfers", "http://x/transfers", "")) | st.text(max_size=20),
            JSON_BYTES,
        ),
        check_signature,
    ),
    Target("signing", JSON_BYTES, check_signing),
    Target(
        "public keys",
        st.one_of(
            st.text(max_size=80),
            changed(st.just(KEY.public.pem.encode())).map(lambda each: each.decode("latin-1")),
            st.text(max_size=60).map(lambda each: f"-----BEGIN CERTIFICATE-----\n{each}\n-----END CERTIFICATE-----"),
        ),
        check_key,
    ),
    Target(
        "ILP packets",
        st.one_of(
            st.text(max_size=60),
            st.binary(max_size=80).map(ilp._to_text),
            changed(st.one_of(PAYMENTS, PREPARES).map(lambda each: ilp._from_text(ilp.encode_packet(each)))).map(
                ilp._to_text
            ),
            st.binary(max_size=60).map(lambda each: ilp._to_text(b"\x0c" + each)),
        ),
        check_packet,
    ),
    Target("ILP packets written", st.one_of(PAYMENTS, PREPARES), check_written_packet),
    Target(
        "access tokens",
        st.one_of(
            changed(st.just(GOOD.encode())).map(lambda each: each.decode("latin-1")),
            st.text(max_size=60),
            CLAIMS.map(_signed),
            JSON_BYTES.map(_signed),
            st.builds(
                lambda *parts: ".".join(_part(each) for each in parts),
                JOSE.map(encoded) | JSON_BYTES,
                CLAIMS.map(encoded) | JSON_BYTES,
                st.binary(max_size=70),
            ),
        ),
        check_token,
    ),
    Target(
        "key sets",
        st.one_of(
            KEY_SETS.map(encoded), changed(st.just(SERVER.key_set())), changed(KEY_SETS.map(encoded)), JSON_BYTES
        ),
        check_key_set,
    ),
    Target(
        "lines of an audit log's export",
        st.one_of(LINES, changed(LINES), DEEP_LINES, changed(DEEP_LINES), JSON_BYTES),
        check_export_line,
    ),
    Target(
        "manifests of backups",
        st.one_of(
            MANIFESTS,
            changed(MANIFESTS),
            st.sampled_from(DEEP).map(lambda deep: b'{"other":%b}' % deep),
            JSON_BYTES,
        ),
        check_manifest,
    ),
    Target("oracles' answers", st.one_of(LISTED.map(encoded), changed(LISTED.map(encoded)), JSON_BYTES), check_oracle),
    Target(
        "participants' answers",
        st.tuples(
            st.sampled_from((200, 429, 503)),
            st.one_of(
                st.binary(max_size=60),
                st.text(max_size=20).map(lambda each: f"HTTP/1.1 503 X\r\nRetry-After: {each}\r\n\r\n".encode()),
                st.integers().map(lambda each: b"HTTP/1.1 503 X\r\nretry-after:%d\r\n\r\n" % each),
            ),
            st.binary(max_size=200),
        ),
        check_retry_after,
    ),
    Target(
        "HTTP requests", st.tuples(st.one_of(STREAM, changed(STREAM), st.binary(max_size=60)), PLACES), check_server
    ),
    Target(
        "HTTP answers", st.tuples(st.one_of(ANSWERS, changed(ANSWERS), st.binary(max_size=60)), PLACES), check_client
    ),
    Target("rules", st.tuples(RULES, JSON), check_rules),
    Target(
        "operators' bodies",
        st.one_of(
            st.dictionaries(st.sampled_from(("a", "extensionList", "extension", "key", "value")), JSON, max_size=4).map(
                encoded
            ),
            JSON_BYTES,
        ),
        check_operators_body,
    ),
    Target("ids, amounts and parties", WORDS, check_words),
    Target(
        "endpoints",
        st.dictionaries(
            st.sampled_from(("partyIdType", "partyIdentifier", "other")),
            WORDS | st.text(alphabet="/?#%.{}\\ é", max_size=10),
            min_size=2,
        ),
        check_endpoint,
    ),
    Target(
        "schedules",
        st.tuples(CRON, st.sampled_from(("UTC", "Africa/Nairobi", "", "../etc", "Nowhere/X"))),
        check_schedule,
    ),
)
"""All of them but the configuration, which needs a directory."""
