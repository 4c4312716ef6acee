"""Signatures: what is signed by the rules is accepted, whatever was changed on the way is not, and nothing else is."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as independent
from joserfc.jwk import ECKey, RSAKey

from vuka.errors import FspiopError
from vuka.fspiop.jws import (
    ES256,
    LONE_SURROGATE_BODY_BYTES_MAX,
    RS256,
    PrivateKey,
    canonical,
    load_public_key,
    sign,
    verify,
)

KEYS = {algorithm: PrivateKey.generate(algorithm) for algorithm in (RS256, ES256)}
OTHERS = {algorithm: PrivateKey.generate(algorithm) for algorithm in (RS256, ES256)}

URI = "/transfers/e5b1a2c0-9f4b-4f5e-8a51-6f0d3f5a7c11"
HEADERS = {
    "fspiop-uri": URI,
    "fspiop-http-method": "PUT",
    "fspiop-source": "payeefsp",
    "fspiop-destination": "payerfsp",
    "date": "Tue, 24 Nov 2026 10:00:00 GMT",
}
BODY = b'{"transferState": "COMMITTED", "fulfilment": "mhPUT9ZAwd-BXLfeSd7-YPh46rBWRNBiTCSWjpku90s"}'


def signed(key: PrivateKey, body: bytes = BODY, **changed: str | None) -> dict[str, str]:
    """The headers of a message with its signature; ``changed`` headers, with _ for -, before it is signed."""
    headers = dict(HEADERS)
    for name, value in changed.items():
        headers.pop(name.replace("_", "-"), None)
        if value is not None:
            headers[name.replace("_", "-")] = value
    return headers | {"fspiop-signature": sign(key, get=headers.get, body=body)}


def check(headers: dict[str, str], *keys: PrivateKey, method: str = "PUT", path: str = URI, body: bytes = BODY) -> None:
    verify([key.public for key in keys], method=method, path=path, get=headers.get, body=body)


def refused(
    headers: dict[str, str], *keys: PrivateKey, method: str = "PUT", path: str = URI, body: bytes = BODY
) -> str:
    """Why a message is refused: always with 3105."""
    with pytest.raises(FspiopError) as error:
        check(headers, *keys, method=method, path=path, body=body)
    assert (error.value.code, error.value.status) == ("3105", 400)
    return error.value.description


def protected_of(headers: dict[str, str]) -> dict[str, Any]:
    text = json.loads(headers["fspiop-signature"])["protectedHeader"]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def forged(key: PrivateKey, protected: object, body: bytes = BODY) -> dict[str, str]:
    """A message whose protected header is whatever one likes, signed all the same."""
    raw = protected if isinstance(protected, bytes) else json.dumps(protected).encode()
    encoded = base64.urlsafe_b64encode(raw).rstrip(b"=")
    signature = key.signature(encoded + b"." + base64.urlsafe_b64encode(body).rstrip(b"="))
    text = {
        "signature": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
        "protectedHeader": encoded.decode(),
    }
    return HEADERS | {"fspiop-signature": json.dumps(text)}


PROTECTED = {
    "FSPIOP-URI": URI,
    "FSPIOP-HTTP-Method": "PUT",
    "FSPIOP-Source": "payeefsp",
    "FSPIOP-Destination": "payerfsp",
    "Date": HEADERS["date"],
}


# --- what is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [RS256, ES256])
def test_a_signature_of_a_registered_key_is_accepted(algorithm: str) -> None:
    check(signed(KEYS[algorithm]), KEYS[algorithm])


def test_the_protected_header_names_where_the_message_goes_and_whom_it_is_from() -> None:
    assert protected_of(signed(KEYS[RS256])) == {"alg": "RS256", **PROTECTED}


def test_any_of_several_keys_will_do_while_a_sender_changes_them() -> None:
    check(signed(KEYS[ES256]), OTHERS[ES256], OTHERS[RS256], KEYS[ES256])


def test_a_body_signed_in_its_canonical_form_is_accepted_as_it_was_written() -> None:
    headers = signed(KEYS[RS256], canonical(BODY))
    check(headers, KEYS[RS256], body=BODY)


def test_a_date_that_is_not_protected_may_be_any() -> None:
    headers = signed(KEYS[RS256], date=None)
    check(headers | {"date": "Tue, 24 Nov 2026 11:11:11 GMT"}, KEYS[RS256])


def test_a_message_without_destination_is_signed_without_one() -> None:
    check(signed(KEYS[RS256], fspiop_destination=None), KEYS[RS256])


def test_the_uri_may_stand_behind_the_base_path_of_a_gateway() -> None:
    check(signed(KEYS[RS256], fspiop_uri="/fspiop/v1" + URI), KEYS[RS256])


@pytest.mark.parametrize("algorithm", [RS256, ES256])
def test_another_implementation_accepts_what_is_signed_here(algorithm: str) -> None:
    headers = signed(KEYS[algorithm])
    header = json.loads(headers["fspiop-signature"])
    payload = base64.urlsafe_b64encode(BODY).rstrip(b"=").decode()
    token = f"{header['protectedHeader']}.{payload}.{header['signature']}"
    pem = KEYS[algorithm].public.pem
    key = RSAKey.import_key(pem) if algorithm == RS256 else ECKey.import_key(pem)
    registry = independent.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    assert independent.deserialize_compact(token, key, registry=registry).payload == BODY


@pytest.mark.parametrize("algorithm", [RS256, ES256])
def test_what_another_implementation_signs_is_accepted_here(algorithm: str) -> None:
    pem = KEYS[algorithm].to_pem().decode()
    key = RSAKey.import_key(pem) if algorithm == RS256 else ECKey.import_key(pem)
    registry = independent.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    token = independent.serialize_compact({"alg": algorithm, **PROTECTED}, BODY, key, registry=registry)
    protected, _, signature = token.split(".")
    text = json.dumps({"signature": signature, "protectedHeader": protected})
    check(HEADERS | {"fspiop-signature": text}, KEYS[algorithm])


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_a_sender_without_a_key_is_told_so() -> None:
    assert "no key of the sender is registered" in refused(signed(KEYS[RS256]))


def test_the_key_of_somebody_else_does_not_fit() -> None:
    assert "not of a key of the sender" in refused(signed(KEYS[RS256]), OTHERS[RS256])


def test_another_body_is_not_what_was_signed() -> None:
    body = BODY.replace(b"COMMITTED", b"RESERVED")
    assert "it is not of this message" in refused(signed(KEYS[RS256]), KEYS[RS256], body=body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fspiop-uri", "/transfers/another"),
        ("fspiop-http-method", "POST"),
        ("fspiop-source", "otherfsp"),
        ("fspiop-destination", "otherfsp"),
        ("date", "Tue, 24 Nov 2026 10:00:01 GMT"),
    ],
)
def test_a_header_that_is_protected_can_not_be_another(name: str, value: str) -> None:
    assert "is not that of the header" in refused(signed(KEYS[RS256]) | {name: value}, KEYS[RS256])


def test_a_signature_is_of_one_request_line_only() -> None:
    headers = signed(KEYS[RS256])
    assert "FSPIOP-URI is not that of the request" in refused(headers, KEYS[RS256], path="/transfers/another")
    assert "FSPIOP-HTTP-Method is not that of the request" in refused(headers, KEYS[RS256], method="POST")


@pytest.mark.parametrize("name", ["fspiop-uri", "fspiop-http-method", "fspiop-source"])
def test_the_headers_that_are_signed_must_be_there(name: str) -> None:
    headers = signed(KEYS[RS256])
    del headers[name]
    assert "is missing" in refused(headers, KEYS[RS256])


@pytest.mark.parametrize("name", ["FSPIOP-URI", "FSPIOP-HTTP-Method", "FSPIOP-Source"])
def test_the_headers_that_matter_must_be_protected(name: str) -> None:
    protected = {"alg": "RS256", **{key: value for key, value in PROTECTED.items() if key != name}}
    assert f"{name} is not protected" in refused(forged(KEYS[RS256], protected), KEYS[RS256])


def test_a_destination_is_in_both_headers_or_in_neither() -> None:
    headers = signed(KEYS[RS256])
    del headers["fspiop-destination"]
    assert "FSPIOP-Destination" in refused(headers, KEYS[RS256])
    bare = signed(KEYS[RS256], fspiop_destination=None)
    assert "FSPIOP-Destination" in refused(bare | {"fspiop-destination": "payerfsp"}, KEYS[RS256])


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", "PS256", "rs256", "", None])
def test_no_other_algorithm_is_taken(algorithm: str | None) -> None:
    protected = {**PROTECTED} if algorithm is None else {"alg": algorithm, **PROTECTED}
    assert "alg must be RS256 or ES256" in refused(forged(KEYS[RS256], protected), KEYS[RS256])


def test_the_key_decides_the_algorithm_and_not_the_message() -> None:
    headers = forged(KEYS[ES256], {"alg": "RS256", **PROTECTED})
    assert "the sender has no key for RS256" in refused(headers, KEYS[ES256])


def test_what_is_not_understood_is_not_passed_over() -> None:
    headers = forged(KEYS[RS256], {"alg": "RS256", "crit": "exp", **PROTECTED})
    assert "which is not known" in refused(headers, KEYS[RS256])


def test_a_protected_header_says_each_thing_once() -> None:
    raw = json.dumps({"alg": "RS256", **PROTECTED}).encode()
    twice = raw[:-1] + b', "FSPIOP-Source": "payeefsp"}'
    assert "with each name once" in refused(forged(KEYS[RS256], twice), KEYS[RS256])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{}",
        "[]",
        '{"signature": 1, "protectedHeader": "e30"}',
        '{"signature": "", "protectedHeader": ""}',
        '{"signature": "a", "protectedHeader": "e30"}',
        '{"signature": "AA", "protectedHeader": "%%"}',
        "[" * 5_000,
    ],
)
def test_a_signature_header_that_is_none_is_refused(text: str) -> None:
    refused(HEADERS | {"fspiop-signature": text}, KEYS[RS256])


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), part=st.sampled_from(("body", "fspiop-signature")))
def test_a_message_with_any_bit_turned_is_refused_or_the_same(place: int, bit: int, part: str) -> None:
    headers, body = signed(KEYS[ES256]), BODY
    raw = bytearray(body if part == "body" else headers[part].encode())
    raw[place % len(raw)] ^= 1 << bit
    if part == "body":
        try:
            same = canonical(bytes(raw)) == canonical(BODY)
        except ValueError:
            same = False
        if not same:
            refused(headers, KEYS[ES256], body=bytes(raw))
        return
    before = json.loads(headers[part])
    headers[part] = bytes(raw).decode("latin-1")
    try:
        check(headers, KEYS[ES256])
    except FspiopError as error:
        assert error.code == "3105"  # noqa: PT017 - either end is right, but no other
        return
    after = json.loads(headers[part])
    decoded = [base64.urlsafe_b64decode(each["signature"] + "==") for each in (before, after)]
    assert decoded[0] == decoded[1], "only what base64url reads as the same bytes may differ"


@given(text=st.text(), body=st.binary())
def test_nothing_but_3105_comes_of_whatever_is_sent(text: str, body: bytes) -> None:
    refused(HEADERS | {"fspiop-signature": text}, KEYS[ES256], body=body)


# --- the canonical form ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ('{"b": 1, "a": [ {"d": null, "c": true} ]}', '{"a":[{"c":true,"d":null}],"b":1}'),
        ('{"é": "ü", "z": "\\u00e9\\/", "Z": ""}', '{"Z":"","z":"é/","é":"ü"}'),
        ('{"\\ud83d\\ude00": 1, "\\uffee": 2}', '{"😀":1,"\uffee":2}'),
        ('"\\b\\f\\n\\r\\t\\u0001\\u007f\\"\\\\"', '"\\b\\f\\n\\r\\t\\u0001\x7f\\"\\\\"'),
        ('"\\ud800"', '"\\ud800"'),
        ("[0, -0, 0.0, -0.0, 1.0, 10.50, -1.5e3]", "[0,0,0,0,1,10.5,-1500]"),
        ("[1e21, 1e20, 123456789012345680000, 1e-6, 1e-7, 1.5e-10]", None),
        ("[9007199254740993, 5e-324, 1.7976931348623157e308, 1e400]", None),
        ('{"b": [1e-7, "\\ud800"], "\\udc00": 12}', '{"b":[1e-7,"\\ud800"],"\\udc00":12}'),
    ],
)
def test_the_canonical_form_is_what_javascript_writes(written: str, form: str | None) -> None:
    known = {
        "[1e21, 1e20, 123456789012345680000, 1e-6, 1e-7, 1.5e-10]": (
            "[1e+21,100000000000000000000,123456789012345680000,0.000001,1e-7,1.5e-10]"
        ),
        "[9007199254740993, 5e-324, 1.7976931348623157e308, 1e400]": (
            "[9007199254740992,5e-324,1.7976931348623157e+308,null]"
        ),
    }
    assert canonical(written.encode()).decode() == (form or known[written])


def test_a_name_that_is_put_in_a_second_time_is_not_what_was_signed() -> None:
    # The hub would pass it on as it came, and the next reader might believe the first.
    headers = signed(KEYS[RS256], canonical(BODY))
    check(headers, KEYS[RS256])
    assert BODY.startswith(b"{")
    name = next(iter(json.loads(BODY)))
    refused(headers, KEYS[RS256], body=b'{"%b":"another",' % name.encode() + BODY[1:])


def test_the_canonical_form_of_what_nests_deep_takes_no_longer_than_of_what_does_not() -> None:
    numbers = b",".join([b"0"] * 100_000)

    def seconds(depth: int) -> float:
        body = b"[" * depth + numbers + b"]" * depth
        began = time.process_time()
        assert canonical(body) == body
        return time.process_time() - began

    assert min(seconds(900) for _ in range(3)) < 8 * min(seconds(1) for _ in range(3))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b'["\\ud800"' + b" " * LONE_SURROGATE_BODY_BYTES_MAX + b"]",
    ],
)
def test_what_is_no_json_has_no_canonical_form(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
        canonical(body)


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [RS256, ES256])
def test_a_key_is_the_same_after_it_was_written_and_read(algorithm: str) -> None:
    key = PrivateKey.load(KEYS[algorithm].to_pem())
    assert key.public == KEYS[algorithm].public == load_public_key(key.public.pem)
    assert key.public.algorithm == algorithm


def _pem(key: Any) -> str:
    public: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public.decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a public key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "not a public key"),
        (_pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)), "needs 2048 bits"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "on the curve P-256"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "on the curve P-256"),
        (KEYS[ES256].to_pem().decode(), "This is a private key"),
        ("x" * 20_000, "at most"),
    ],
    ids=["nothing", "no key", "no certificate", "RSA 1024", "P-384", "Ed25519", "private", "too long"],
)
def test_a_key_that_will_not_do_is_refused_with_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_public_key(text)
