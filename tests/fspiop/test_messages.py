"""Bodies: one decode that checks all, errors that name the property, and a hash of what a body says."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.errors import FspiopError
from vuka.fspiop.messages import (
    NESTING_MAX,
    Message,
    PartiesTypeIDPutResponse,
    QuotesPostRequest,
    TransfersIDPutResponse,
    TransfersPostRequest,
    body_hash,
    decode,
    encode,
)
from vuka.fspiop.versions import Version
from vuka.money import Amount

TRANSFER: dict[str, Any] = {
    "transferId": "b51ec534-ee48-4575-b6a9-ead2955b8069",
    "payeeFsp": "payeefsp",
    "payerFsp": "payerfsp",
    "amount": {"currency": "USD", "amount": "123.45"},
    "ilpPacket": "AYIBgQAAAAAAAASwNGxldmVsb25lLmRmc3AxLm1lci45T2RTOF81MDdqUUZERmZlakgyOVc4bXFmNEpLMHlGTFGCAUBQ",
    "condition": "WLctttbu2HvTsa1XWvUoGRcQozHsqeu9Ahl2JW9Bsu8",
    "expiration": "2016-05-24T08:38:08.699-04:00",
}
BODY = json.dumps(TRANSFER, separators=(",", ":")).encode()
VERSIONS = list(Version)


def refusal(body: bytes, message: type[Message] = TransfersPostRequest, version: Version = Version.V2_0) -> str:
    with pytest.raises(FspiopError) as caught:
        decode(message, version, body)
    return f"{caught.value.code} {caught.value.description}"


def changed(**changes: object) -> bytes:
    return json.dumps({**TRANSFER, **changes}).encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_transfer_is_decoded_to_its_values(version: Version) -> None:
    transfer = decode(TransfersPostRequest, version, BODY)
    assert isinstance(transfer, TransfersPostRequest)
    assert transfer.transfer_id == "b51ec534-ee48-4575-b6a9-ead2955b8069"
    assert (transfer.payer_fsp, transfer.payee_fsp) == ("payerfsp", "payeefsp")
    assert transfer.amount.to_amount() == Amount.from_string("123.45 USD")
    assert transfer.expires_at_ms() == 1_464_093_488_699
    assert transfer.extension_list is None


@pytest.mark.parametrize("version", VERSIONS)
def test_an_amount_beyond_what_the_hub_can_hold_is_decoded_but_is_no_amount(version: Version) -> None:
    transfer = decode(TransfersPostRequest, version, changed(amount={"currency": "USD", "amount": "9" * 18}))
    with pytest.raises(FspiopError, match="3100"):
        transfer.amount.to_amount()


def test_a_ulid_is_an_id_from_2_0_on() -> None:
    body = changed(transferId="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert decode(TransfersPostRequest, Version.V2_0, body).transfer_id == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert refusal(body, version=Version.V1_1).startswith("3100 ")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            json.dumps({key: value for key, value in TRANSFER.items() if key != "condition"}).encode(),
            "3102 Missing mandatory element - /requestBody must have required property 'condition'",
        ),
        (
            changed(amount={"currency": "USD"}),
            "3102 Missing mandatory element - /requestBody/amount must have required property 'amount'",
        ),
        (
            changed(amount={"currency": "USD", "amount": "1", "scale": 2}),
            "3103 Too many elements - /requestBody/amount must NOT have additional property 'scale'",
        ),
        (
            changed(amount={"currency": "USD", "amount": 1}),
            "3101 Malformed syntax - /requestBody/amount/amount must be string",
        ),
        (changed(condition=None), "3100 Generic validation error - /requestBody/condition must not be null"),
        (changed(amount="1 USD"), "3101 Malformed syntax - /requestBody/amount must be object"),
        (changed(extensionList=None), "3101 Malformed syntax - /requestBody/extensionList must be object"),
        (
            changed(amount={"currency": "ABC", "amount": "1"}),
            "3100 Generic validation error - /requestBody/amount/currency must be equal to one of the allowed values",
        ),
        (
            changed(payerFsp="x" * 33),
            "3100 Generic validation error - /requestBody/payerFsp must have length <= 32",
        ),
        (
            changed(expiration="2016-05-24"),
            "3100 Generic validation error - /requestBody/expiration must be a date and time as "
            "2016-05-24T08:38:08.699-04:00",
        ),
        (
            changed(extensionList={"extension": [{"key": "a", "value": "b"}, {"key": "a"}]}),
            "3102 Missing mandatory element - /requestBody/extensionList/extension[1] "
            "must have required property 'value'",
        ),
        (
            changed(extensionList={"extension": {}}),
            "3101 Malformed syntax - /requestBody/extensionList/extension must be array",
        ),
    ],
)
def test_an_error_names_the_property_and_what_is_wrong_with_it(body: bytes, told: str) -> None:
    assert refusal(body) == told


def test_an_unknown_state_is_refused_by_name() -> None:
    assert refusal(b'{"transferState":"DONE"}', TransfersIDPutResponse) == (
        "3100 Generic validation error - /requestBody/transferState must be equal to one of the allowed values"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        BODY[:-1],
        BODY + b"x",
        BODY.replace(b'"123.45"', b"NaN"),
        BODY.replace(b"payeefsp", b"\xff\xfe"),
        BODY.replace(b"payeefsp", b"\\ud800"),
        BODY.replace(b"payeefsp", b"a\x00b"),
        b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"),
    ],
)
def test_what_is_not_json_in_utf_8_is_malformed(body: bytes) -> None:
    assert refusal(body).startswith("3101 Malformed syntax")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
def test_a_body_that_is_no_object_is_malformed(body: bytes, version: Version) -> None:
    assert refusal(body, version=version) == "3101 Malformed syntax - /requestBody must be object"


def test_an_absent_body_is_missing() -> None:
    assert refusal(b"") == "3102 Missing mandatory element - The request has no body"


@pytest.mark.parametrize("unknown", [b"1e999", b"-1e999", b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"\xff"])
def test_what_an_older_version_ignores_must_be_json_all_the_same(unknown: bytes) -> None:
    body = BODY[:-1] + b',"unknown":' + unknown + b"}"
    assert refusal(body, version=Version.V1_1).startswith("3101 Malformed syntax")


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_an_older_version_ignores_is_nested_only_so_deep(opened: bytes, closed: bytes) -> None:
    def nested(depth: int) -> bytes:
        return BODY[:-1] + b',"unknown":' + opened * depth + b"1" + closed * depth + b"}"

    assert decode(TransfersPostRequest, Version.V1_1, nested(NESTING_MAX - 1)).payer_fsp == "payerfsp"
    assert refusal(nested(NESTING_MAX), version=Version.V1_1) == (
        "3101 Malformed syntax - The body is nested more than 32 deep"
    )


def test_brackets_in_a_text_are_no_nesting() -> None:
    extensions = [{"key": "a", "value": "[{" * 60}] * 16
    assert decode(TransfersPostRequest, Version.V2_0, changed(extensionList={"extension": extensions})).extension_list


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "body",
    [
        BODY[:-1] + b',"payerFsp":"otherfsp"}',
        BODY[:-1] + b' , "payerFsp" : "payerfsp" }',
        BODY[:-1] + b',"payer\\u0046sp":"otherfsp"}',
        BODY.replace(b'"amount":"123.45"', b'"amount":"1","amount":"1000"'),
        BODY.replace(b'"amount":"123.45"', b'"amount": "1", "amount": "1\\u0030"'),
    ],
)
def test_a_property_that_stands_twice_is_refused(body: bytes, version: Version) -> None:
    """The body travels on as it is, and the next reader might take the other one."""
    assert refusal(body, version=version).startswith("3101 Malformed syntax - The body has property ")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(TRANSFER, indent=2).encode(),
        json.dumps(TRANSFER).replace("payeefsp", "\\u0070ayeefsp").encode(),
        BODY.replace(b"payeefsp", b"a\\/b"),
        b"\n\t " + BODY + b"\r\n",
    ],
)
def test_spaces_and_escapes_do_not_matter(body: bytes) -> None:
    assert decode(TransfersPostRequest, Version.V2_0, body).payer_fsp == "payerfsp"


def test_the_same_property_in_two_objects_does_not_stand_twice() -> None:
    extensions = [{"key": "a", "value": "b"}, {"key": "a", "value": "b"}]
    assert decode(TransfersPostRequest, Version.V2_0, changed(extensionList={"extension": extensions})).extension_list


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["ထွန်း", "Zoë", "नरेन्द्र", "O'Brien", "محمد"])
def test_people_keep_their_names_in_every_script(name: str, version: Version) -> None:
    party = {
        "partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "1"},
        "personalInfo": {"complexName": {"firstName": name, "lastName": name}},
    }
    for ascii_only in (True, False):
        body = json.dumps({"party": party}, ensure_ascii=ascii_only).encode()
        info = decode(PartiesTypeIDPutResponse, version, body).party.personal_info
        assert info is not None
        assert info.complex_name is not None
        assert info.complex_name.first_name == name


def test_a_message_made_by_hand_is_written_sorted_and_decoded_the_same() -> None:
    made = TransfersIDPutResponse(transfer_state="COMMITTED", completed_timestamp="2016-05-24T08:38:08.699Z")
    body = encode(made)
    assert body == b'{"completedTimestamp":"2016-05-24T08:38:08.699Z","transferState":"COMMITTED"}'
    decoded = decode(TransfersIDPutResponse, Version.V2_0, body)
    assert (decoded.transfer_state, decoded.completed_timestamp) == (made.transfer_state, made.completed_timestamp)


@pytest.mark.parametrize("version", VERSIONS)
@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_bytes_arrive_only_an_fspiop_error_comes_out(version: Version, body: bytes) -> None:
    with pytest.raises(FspiopError):
        decode(QuotesPostRequest, version, body)


@given(
    at=st.integers(0, len(BODY)),
    cut=st.integers(0, 40),
    inserted=st.binary(max_size=12) | st.sampled_from([b'"', b"{", b"}", b"null", b"1e9999", b"\\u0000", b"\\ud800"]),
    version=st.sampled_from(VERSIONS),
)
def test_whatever_is_done_to_a_good_body_only_an_fspiop_error_comes_out(
    at: int, cut: int, inserted: bytes, version: Version
) -> None:
    body = BODY[:at] + inserted + BODY[at + cut :]
    with contextlib.suppress(FspiopError):
        decode(TransfersPostRequest, version, body)
    with contextlib.suppress(FspiopError):
        body_hash(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_resend_with_other_order_spaces_and_escapes_has_the_same_hash(value: object) -> None:
    def reversed_keys(part: object) -> object:
        if isinstance(part, dict):
            return {key: reversed_keys(content) for key, content in reversed(part.items())}
        return [reversed_keys(content) for content in part] if isinstance(part, list) else part

    sent = json.dumps(value, ensure_ascii=True, indent=1).encode("utf-8", "surrogatepass")
    resent = json.dumps(reversed_keys(value), ensure_ascii=False, separators=(",", ":"))
    with contextlib.suppress(UnicodeEncodeError):
        assert body_hash(sent) == body_hash(resent.encode())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":"1"}', b'{"a":1}'),
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":10000000000000000000000000000001}', b'{"a":10000000000000000000000000000002}'),
        (b'{"a":0.10000000000000000000000000001}', b'{"a":0.10000000000000000000000000002}'),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":null}', b"{}"),
    ],
)
def test_bodies_that_say_something_else_have_another_hash(one: bytes, other: bytes) -> None:
    assert body_hash(one) != body_hash(other)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_has_no_hash(body: bytes) -> None:
    with pytest.raises(FspiopError, match="3101"):
        body_hash(body)
