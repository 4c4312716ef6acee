"""Interledger: packets byte for byte, and fulfilments that fulfil their conditions."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.fspiop.ilp import (
    ILP_ADDRESS,
    IlpError,
    IlpPayment,
    IlpPrepare,
    IlpVersion,
    agree,
    condition_of,
    decode_packet,
    encode_packet,
    fulfil,
    fulfilment_matches,
    packet_amount,
    transaction_of,
)
from vuka.fspiop.times import TIME_MS_MAX, TIME_MS_MIN
from vuka.money import Amount

SECRET = b"known to the payee's participant alone"
TRANSACTION: dict[str, Any] = {
    "transactionId": "85feac2f-39b2-491b-817e-4a03203d4f14",
    "quoteId": "7c23e80c-d078-4077-8263-2c047876fcf6",
    "payee": {
        "partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "123456789", "fspId": "MobileMoney"},
        "name": "ထွန်း",
    },
    "payer": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "9876543", "fspId": "BankNrOne"}},
    "amount": {"amount": "500.25", "currency": "USD"},
    "expiration": "2020-05-13T10:27:40.126Z",
}
CONVERSION: dict[str, Any] = {
    "conversionRequestId": "85feac2f-39b2-491b-817e-4a03203d4f14",
    "conversionTerms": {
        "counterPartyFsp": "FXP",
        "sourceAmount": {"currency": "USD"},
        "targetAmount": {"currency": "TZS"},
        "expiration": "2020-05-13T10:27:40.126Z",
    },
}

addresses = st.text(st.characters(codec="ascii"), max_size=300)
amounts = st.integers(0, 2**64 - 1)
octets = st.binary(max_size=70_000) | st.binary(min_size=127, max_size=129)


def text_of(hexadecimal: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(hexadecimal)).rstrip(b"=").decode()


def test_a_version_1_packet_is_the_one_that_the_ilp_packet_library_documents() -> None:
    packet = IlpPayment(amount=123_000_000, account="g.us.nexus.bob", data=b"\x04\x10\x41")
    text = text_of("011c000000000754d4c00e672e75732e6e657875732e626f620304104100")
    assert encode_packet(packet) == text
    assert decode_packet(text) == packet


def test_a_version_4_packet_is_the_one_that_the_ilp_packet_library_tests_with() -> None:
    packet = IlpPrepare(
        amount=107,
        expires_at_ms=1_513_992_100_549,
        condition=bytes.fromhex("74e1136dc71c9e5f283bec83461cbf1261c4014f72d48f8dd65453a0b84e7de1"),
        destination="example.alice",
        data=bytes.fromhex("5db343fdc41898f6df4202329139dc242dd0f558a811b46b28918fdab37c6cb0"),
    )
    text = text_of(
        "0c68000000000000006b323031373132323330313231343035343974e1136dc71c9e5f283bec83461cbf1261c4014f72d48f8dd65453"
        "a0b84e7de10d6578616d706c652e616c696365205db343fdc41898f6df4202329139dc242dd0f558a811b46b28918fdab37c6cb0"
    )
    assert encode_packet(packet) == text
    assert decode_packet(text) == packet


def test_a_length_over_127_has_the_count_of_its_bytes_before_it() -> None:
    packet = base64.urlsafe_b64decode(encode_packet(IlpPayment(0, "", b"\xaa" * 300)) + "==")
    # type, length of contents 8+1+3+300+1 = 313 = 0x0139, amount, empty account, length of data 300 = 0x012c
    assert packet[:16].hex() == "01820139" + "00" * 8 + "00" + "82012c"


@given(amounts, addresses, octets)
def test_a_version_1_packet_survives_the_way_there_and_back(amount: int, account: str, data: bytes) -> None:
    packet = IlpPayment(amount, account, data)
    assert decode_packet(encode_packet(packet)) == packet


@given(amounts, st.integers(TIME_MS_MIN, TIME_MS_MAX), st.binary(min_size=32, max_size=32), addresses, octets)
def test_a_version_4_packet_survives_the_way_there_and_back(
    amount: int, expires_at_ms: int, condition: bytes, destination: str, data: bytes
) -> None:
    packet = IlpPrepare(amount, expires_at_ms, condition, destination, data)
    assert decode_packet(encode_packet(packet)) == packet


@given(
    st.binary(max_size=200) | st.builds(lambda kind, rest: bytes([kind]) + rest, st.sampled_from([1, 12]), st.binary())
)
def test_whatever_octets_arrive_only_an_ilp_error_comes_out(packet: bytes) -> None:
    text = base64.urlsafe_b64encode(packet).decode()
    with contextlib.suppress(IlpError):
        decode_packet(text)
    transaction_of(text)


@pytest.mark.parametrize("text", ["", "A", "é", "AB=C", "AYIB", "!!!!", "AgA"])
def test_a_text_that_is_no_packet_is_refused(text: str) -> None:
    with pytest.raises(IlpError):
        decode_packet(text)


@pytest.mark.parametrize(
    "packet",
    [
        IlpPayment(-1, "g", b""),
        IlpPayment(2**64, "g", b""),
        IlpPayment(1, "g.é", b""),
        IlpPrepare(1, 0, b"short", "g", b""),
        IlpPrepare(1, TIME_MS_MAX + 1, bytes(32), "g", b""),
    ],
)
def test_what_has_no_place_in_a_packet_is_refused(packet: IlpPayment | IlpPrepare) -> None:
    with pytest.raises(IlpError):
        encode_packet(packet)


@pytest.mark.parametrize("version", list(IlpVersion))
@pytest.mark.parametrize("transaction", [TRANSACTION, CONVERSION])
def test_what_is_agreed_can_be_fulfilled_from_the_packet_alone(
    version: IlpVersion, transaction: dict[str, Any]
) -> None:
    agreement = agree(transaction, SECRET, version)
    assert fulfil(agreement.packet, SECRET) == agreement.fulfilment
    assert fulfilment_matches(agreement.fulfilment, agreement.condition)
    assert transaction_of(agreement.packet) == transaction


@pytest.mark.parametrize("version", list(IlpVersion))
def test_another_secret_fulfils_nothing(version: IlpVersion) -> None:
    agreement = agree(TRANSACTION, SECRET, version)
    assert not fulfilment_matches(fulfil(agreement.packet, b"another"), agreement.condition)


def test_a_version_1_packet_holds_cents_and_the_payees_address() -> None:
    packet = decode_packet(agree(TRANSACTION, SECRET).packet)
    assert isinstance(packet, IlpPayment)
    assert packet.amount == 50_025
    assert packet.account == "g.MobileMoney.msisdn.123456789"


def test_a_version_1_fulfilment_is_an_hmac_over_the_text_of_the_packet() -> None:
    agreement = agree(TRANSACTION, SECRET)
    digest = hmac.new(base64.b64encode(SECRET), agreement.packet.encode(), hashlib.sha256).digest()
    assert agreement.fulfilment == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_a_version_4_packet_holds_the_condition_and_the_expiry() -> None:
    agreement = agree(TRANSACTION, SECRET, IlpVersion.V4)
    packet = decode_packet(agreement.packet)
    assert isinstance(packet, IlpPrepare)
    assert (packet.amount, packet.expires_at_ms, packet.destination) == (50_025, 1_589_365_660_126, ILP_ADDRESS)
    assert base64.urlsafe_b64encode(packet.condition).decode().rstrip("=") == agreement.condition


def test_a_version_4_fulfilment_is_an_hmac_over_the_sorted_transaction() -> None:
    text = base64.b64encode(json.dumps(TRANSACTION, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    digest = hmac.new(base64.b64encode(SECRET), text, hashlib.sha256).digest()
    agreement = agree(dict(reversed(TRANSACTION.items())), SECRET, IlpVersion.V4)
    assert agreement.fulfilment == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_a_conversion_has_no_amount_in_its_packet() -> None:
    packet = decode_packet(agree(CONVERSION, SECRET).packet)
    assert isinstance(packet, IlpPayment)
    assert (packet.amount, packet.account) == (0, "g.fxp.usd.tzs")


@pytest.mark.parametrize("version", list(IlpVersion))
@pytest.mark.parametrize("missing", ["amount", "payee", "expiration"])
def test_a_transaction_that_lacks_what_its_packet_holds_is_refused(version: IlpVersion, missing: str) -> None:
    needed = {IlpVersion.V1: ("amount", "payee"), IlpVersion.V4: ("amount", "expiration")}
    transaction = {name: value for name, value in TRANSACTION.items() if name != missing}
    if missing in needed[version]:
        with pytest.raises(IlpError):
            agree(transaction, SECRET, version)
    else:
        assert agree(transaction, SECRET, version).packet


@pytest.mark.parametrize(
    ("amount", "units"), [("1.23 USD", 123), ("100 UGX", 100), ("1.234 BHD", 1234), ("1.2345 XXX", 12345)]
)
def test_a_packet_counts_the_currencys_own_minor_units(amount: str, units: int) -> None:
    assert packet_amount(Amount.from_string(amount)) == units


@pytest.mark.parametrize("amount", ["1.234 USD", "1.5 UGX", "-1 USD"])
def test_a_part_of_a_minor_unit_has_no_place_in_a_packet(amount: str) -> None:
    with pytest.raises(IlpError):
        packet_amount(Amount.from_string(amount))


def test_a_fulfilment_matches_its_condition_and_no_other() -> None:
    fulfilment = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
    condition = base64.urlsafe_b64encode(hashlib.sha256(bytes(range(32))).digest()).decode().rstrip("=")
    assert condition_of(fulfilment) == condition
    assert fulfilment_matches(fulfilment, condition)
    assert not fulfilment_matches(fulfilment, fulfilment)


@pytest.mark.parametrize(
    "fulfilment", ["", "x", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 42 + "+", "é" * 43, "x" * 43 + "\n"]
)
def test_what_is_no_fulfilment_matches_nothing(fulfilment: str) -> None:
    assert not fulfilment_matches(fulfilment, "x" * 43)
    with pytest.raises(IlpError):
        condition_of(fulfilment)


@pytest.mark.parametrize("data", [b"", b"PSK/1.0", b"MTIz", b'"text"', b"\xff", b"{", b"[1]"])
def test_a_packet_that_holds_no_transaction_object_yields_none(data: bytes) -> None:
    assert transaction_of(encode_packet(IlpPayment(1, "g", data))) is None


def test_a_transaction_object_may_stand_in_a_packet_as_it_is() -> None:
    assert transaction_of(encode_packet(IlpPayment(1, "g", b'{"quoteId":"1"}'))) == {"quoteId": "1"}
