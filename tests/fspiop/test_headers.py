"""Headers: the order of the checks, their codes and texts, and what is passed on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.errors import FspiopError
from vuka.fspiop.headers import (
    BODY_MAX,
    HEADER_BYTES_MAX,
    Headers,
    RequestHeaders,
    check_request,
    forward_headers,
    hub_headers,
)
from vuka.fspiop.versions import Dialect, Supported, Version
from vuka.ids import FspId

MEDIA_TYPE = "application/vnd.interoperability.transfers+json"
DATE = "Tue, 24 May 2016 12:38:08 GMT"
GOOD = {
    "Accept": f"{MEDIA_TYPE};version=1.1",
    "Content-Type": f"{MEDIA_TYPE};version=1.1",
    "Date": DATE,
    "FSPIOP-Source": "payerfsp",
    "FSPIOP-Destination": "payeefsp",
}


def headers(**changes: str | None) -> Headers:
    """Good headers with changes: ``content_type=None`` leaves Content-Type out."""
    values: dict[str, str | None] = {name.lower(): value for name, value in GOOD.items()}
    values |= {name.replace("_", "-"): value for name, value in changes.items()}
    return Headers((name, value) for name, value in values.items() if value is not None)


def check(method: str = "POST", *, client: str | None = None, **changes: str | None) -> RequestHeaders:
    return check_request(method, "transfers", headers(**changes), trusted_client_id=client)


def refusal(method: str = "POST", *, client: str | None = None, **changes: str | None) -> FspiopError:
    with pytest.raises(FspiopError) as caught:
        check(method, client=client, **changes)
    return caught.value


def test_good_headers_say_who_sends_to_whom_and_in_which_version() -> None:
    checked = check(traceparent="00-1-2-01", tracestate="v=1")
    assert checked == RequestHeaders(
        FspId("payerfsp"),
        FspId("payeefsp"),
        Version.V1_1,
        (Version.V1_1,),
        Dialect.FSPIOP,
        DATE,
        None,
        "00-1-2-01",
        "v=1",
    )


@pytest.mark.parametrize("destination", [None, ""])
def test_a_destination_that_is_absent_or_empty_is_none(destination: str | None) -> None:
    assert check(fspiop_destination=destination).destination is None


def test_a_destination_may_be_required() -> None:
    with pytest.raises(FspiopError, match=r"3102 .*fspiop-destination"):
        check_request(
            "POST",
            "transfers",
            headers(fspiop_destination=None),
            trusted_client_id=None,
            destination_required=True,
        )


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_request_without_accept_is_refused(method: str) -> None:
    error = refusal(method, accept=None)
    assert (error.code, error.status) == ("3102", 400)
    assert error.description == (
        "Missing mandatory element - Accept is required: /header must have required property 'accept'"
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_callback_needs_no_accept(method: str) -> None:
    assert check(method, accept=None).versions == ()


def test_the_accept_of_a_callback_is_checked_all_the_same() -> None:
    assert refusal("PUT", accept="application/json").code == "3101"


def test_an_empty_accept_counts_as_absent_on_a_callback_and_as_malformed_on_a_request() -> None:
    assert check("PUT", accept="").versions == ()
    assert refusal("POST", accept="").description == "Malformed syntax - Invalid accept header"


def test_an_accept_of_an_unsupported_version_is_406_with_the_supported_ones() -> None:
    error = refusal(accept=f"{MEDIA_TYPE};version=3")
    assert (error.code, error.status) == ("3001", 406)
    assert error.description == (
        "Unacceptable version requested - "
        "The Client requested an unsupported version, see extension list for supported version(s)."
    )
    assert error.extensions == (("1", "0"), ("1", "1"), ("2", "0"))


@pytest.mark.parametrize(
    ("date", "code", "text"),
    [
        (None, "3102", "Missing mandatory element - Missing required date header"),
        ("", "3101", "Malformed syntax - Invalid date header"),
        ("2016-05-24", "3101", "Malformed syntax - Invalid date header"),
    ],
)
def test_a_date_is_required_and_has_one_form(date: str | None, code: str, text: str) -> None:
    error = refusal(date=date)
    assert (error.code, error.description) == (code, text)


def test_a_body_of_the_limit_passes() -> None:
    assert check(content_length=str(BODY_MAX)).source == "payerfsp"


def test_a_body_over_the_limit_is_refused() -> None:
    """The reference compares with a constant that is not there, so that its limit never fires."""
    error = refusal(content_length=str(BODY_MAX + 1))
    assert (error.code, error.status) == ("3104", 400)


def test_the_limit_is_the_hubs_own() -> None:
    longer = headers(content_length=str(BODY_MAX + 1))
    limits = {"trusted_client_id": None, "body_bytes_max": BODY_MAX + 1}
    assert check_request("POST", "transfers", longer, **limits).source == "payerfsp"  # type: ignore[arg-type]


def test_headers_of_the_limit_pass_and_longer_ones_are_refused() -> None:
    size = sum(len(name) + len(value) for name, value in headers().pairs) + len("x-padding")
    padding = "x" * (HEADER_BYTES_MAX - size)
    assert check(**{"x-padding": padding}).source == "payerfsp"
    error = refusal(**{"x-padding": padding + "x"})
    assert (error.code, error.status) == ("3104", 400)
    assert error.description == "Too large payload - Headers have more than 65536 bytes"


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 5000])
def test_a_length_that_is_no_number_is_malformed(length: str) -> None:
    assert refusal(content_length=length).code == "3101"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_a_content_type_is_required_even_on_get(method: str) -> None:
    error = refusal(method, content_type=None)
    assert (error.code, error.description) == ("3102", "Missing mandatory element - Content-type is required")


def test_a_content_type_of_plain_json_is_malformed() -> None:
    error = refusal(content_type="application/json")
    assert (error.code, error.status, error.description) == (
        "3101",
        400,
        "Malformed syntax - Invalid content-type header",
    )


@pytest.mark.parametrize("text", ["application/xml", "application/vnd.interoperability.transfers+xml;version=1.1", ""])
def test_a_content_type_of_no_json_is_an_unsupported_media_type(text: str) -> None:
    """415 to the reference's framework, which it answers as 3101 with 400."""
    error = refusal(content_type=text)
    assert (error.code, error.status) == ("3101", 400)
    assert error.description == "Malformed syntax - Unsupported Media Type: Invalid content-type header"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_a_body_in_an_encoding_is_refused(encoding: str) -> None:
    """It is passed on as it came, and a signature covers it as JSON."""
    error = refusal(content_encoding=encoding)
    assert (error.code, error.status) == ("3101", 400)
    assert error.description == "Malformed syntax - Unsupported Media Type: Invalid content-encoding header"


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity"])
def test_a_body_in_no_encoding_passes(encoding: str | None) -> None:
    assert check(content_encoding=encoding).source == "payerfsp"


def test_a_content_type_of_an_unsupported_version_is_406_with_the_supported_ones() -> None:
    error = refusal(content_type=f"{MEDIA_TYPE};version=3.0")
    assert (error.code, error.status) == ("3001", 406)
    assert error.description == (
        "Unacceptable version requested - Client supplied a protocol version which is not supported by the server"
    )
    assert error.extensions == (("1", "0"), ("1", "1"), ("2", "0"))


def test_a_source_is_required() -> None:
    error = refusal(fspiop_source=None)
    assert error.code == "3102"
    assert "fspiop-source" in error.description


@pytest.mark.parametrize("source", ["", "x" * 33])
def test_a_source_has_1_to_32_characters(source: str) -> None:
    assert refusal(fspiop_source=source).code == "3100"


def test_a_destination_has_at_most_32_characters() -> None:
    assert refusal(fspiop_destination="x" * 33).code == "3100"


def test_the_source_must_be_who_the_caller_is() -> None:
    error = refusal(client="otherfsp")
    assert (error.code, error.description) == ("3100", "Generic validation error - Invalid fspiop-source header")
    assert check(client="payerfsp").source == "payerfsp"


def test_a_proxy_speaks_for_others_in_its_own_name() -> None:
    assert check(client="proxy", fspiop_proxy="proxy").proxy == "proxy"


@pytest.mark.parametrize(("client", "proxy"), [("payerfsp", "proxy"), ("payerfsp", "payerfsp")])
def test_a_proxy_that_is_not_the_caller_or_is_the_source_is_refused(client: str, proxy: str) -> None:
    error = refusal(client=client, fspiop_proxy=proxy)
    assert (error.code, error.description) == ("3100", "Generic validation error - Invalid fspiop-proxy header")


def test_the_first_fault_in_the_order_of_the_checks_is_the_one_reported() -> None:
    faults: dict[str, str | None] = {
        "fspiop_source": None,
        "content_type": None,
        "content_length": str(BODY_MAX + 1),
        "date": None,
        "accept": None,
    }
    reported = [refusal("POST", client="payerfsp", **faults).description]
    for mended in ("accept", "date", "content_length", "content_type"):
        reported.append(refusal("POST", **faults).description)
        del faults[mended]
    reported.append(refusal("POST", **faults).description)
    assert [text.split(" - ")[1] for text in reported] == [
        "Invalid fspiop-source header",
        "Accept is required: /header must have required property 'accept'",
        "Missing required date header",
        "Payload size is too large",
        "Content-type is required",
        "/header must have required property 'fspiop-source'",
    ]


@pytest.mark.parametrize("name", ["fspiop-source", "FSPIOP-Destination", "date", "content-type", "fspiop-signature"])
def test_a_header_that_may_stand_once_and_stands_twice_is_refused(name: str) -> None:
    """The next hop might believe the other one."""
    twice = Headers([*headers(fspiop_signature="x").pairs, (name, "other")])
    with pytest.raises(FspiopError, match=r"3101 .*stands more than once"):
        check_request("POST", "transfers", twice, trusted_client_id=None)


def test_other_headers_may_stand_twice() -> None:
    twice = Headers([*headers().pairs, ("X-Forwarded-For", "a"), ("X-Forwarded-For", "b")])
    assert check_request("POST", "transfers", twice, trusted_client_id=None).source == "payerfsp"


def test_a_scheme_may_allow_fewer_versions() -> None:
    with pytest.raises(FspiopError, match="3001") as caught:
        check_request(
            "POST", "transfers", headers(), trusted_client_id=None, supported=Supported(versions=(Version.V2_0,))
        )
    assert caught.value.extensions == (("2", "0"),)


def test_names_are_found_in_any_case_and_kept_as_they_came() -> None:
    found = Headers.from_raw([(b"FSPIOP-Source", b"payerfsp")])
    assert found.get("fspiop-source") == found.get("FSPIOP-SOURCE") == "payerfsp"
    assert found.pairs == (("FSPIOP-Source", "payerfsp"),)
    assert found.get("absent") is None


@pytest.mark.parametrize(
    "pair",
    [(b"x", b"\xff"), (b"x", b"a\r\nb: c"), (b"x", b"\x00"), (b"x y", b"1"), (b"x:", b"1"), (b"\xc3\xa9", b"1")],
)
def test_bytes_that_http_does_not_allow_are_malformed(pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(FspiopError, match=r"3101 .*Invalid characters in header"):
        Headers.from_raw([(b"date", DATE.encode()), pair])


NAMES = st.sampled_from([b"Date", b"date", b"X-Extra", b"x-extra", b"FSPIOP-Source", b"x y", b"\xc3\xa9"])
VALUES = st.one_of(st.sampled_from([b"", b"a\tb", b"a\nb", b"\xff"]), st.binary(max_size=8), st.just(b"v" * 30_000))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_headers_over_the_wire_are_those_that_are_made_one_by_one(raw: list[tuple[bytes, bytes]]) -> None:
    def outcome(make: Callable[[], Headers]) -> object:
        try:
            made = make()
        except FspiopError as error:
            return str(error)
        return made.pairs, made.first, made.repeated

    alone = outcome(lambda: Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]))
    # The second time each name has come before.
    assert [outcome(lambda: Headers.from_raw(raw)) for _ in range(2)] == [alone, alone]


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60)), max_size=8))
def test_whatever_bytes_arrive_only_an_fspiop_error_comes_out(raw: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(FspiopError):
        check_request("POST", "transfers", Headers.from_raw(raw), trusted_client_id=None)


def forwarded(method: str = "POST", destination: str | None = None, **changes: str | None) -> dict[str, str]:
    return dict(forward_headers(headers(**changes), method=method, destination=destination))


def test_what_a_signature_may_cover_is_passed_on_untouched() -> None:
    passed = forwarded(fspiop_signature='{"signature":"x"}', fspiop_uri="/transfers", date="not, a date")
    assert passed["fspiop-signature"] == '{"signature":"x"}'
    assert passed["date"] == "not, a date"
    assert passed["content-type"] == f"{MEDIA_TYPE};version=1.1"
    assert passed["fspiop-source"] == "payerfsp"
    assert passed["fspiop-uri"] == "/transfers"


def test_names_are_passed_on_in_their_order_and_spelling() -> None:
    names = [name for name, _ in forward_headers(Headers(GOOD.items()), method="POST")]
    assert names == [*GOOD, "FSPIOP-HTTP-Method"]


@pytest.mark.parametrize(
    "name", ["host", "content-length", "connection", "transfer-encoding", "x-client-id", "authorization", "cookie"]
)
def test_what_concerns_one_connection_or_the_caller_alone_is_not_passed_on(name: str) -> None:
    passed = forward_headers(Headers([*GOOD.items(), (name.title(), "1")]), method="POST")
    assert name not in [key.lower() for key, _ in passed]


def test_headers_that_connection_names_are_not_passed_on() -> None:
    assert "x-hop" not in forwarded(connection="close, X-Hop", **{"x-hop": "1"})


@pytest.mark.parametrize(("method", "kept"), [("POST", True), ("GET", True), ("PUT", False), ("PATCH", False)])
def test_accept_is_passed_on_with_requests_only(method: str, kept: bool) -> None:
    assert ("accept" in forwarded(method)) is kept


def test_the_method_header_tells_the_method_of_the_message() -> None:
    assert forwarded("PUT")["FSPIOP-HTTP-Method"] == "PUT"
    assert forwarded("PUT", fspiop_http_method="POST")["fspiop-http-method"] == "PUT"
    assert forwarded("PUT", fspiop_http_method="put")["fspiop-http-method"] == "put"


def test_headers_that_need_no_change_are_passed_on_as_they_came() -> None:
    pairs = [*GOOD.items(), ("fspiop-http-method", "POST"), ("Host", "hub"), ("X-Extra", "1")]
    assert forward_headers(pairs, method="POST") == [pair for pair in pairs if pair[0] != "Host"]
    assert forward_headers([*pairs, ("x-extra", "2")], method="POST")[-2:] == [("X-Extra", "1"), ("x-extra", "2")]


def test_a_destination_that_the_hub_found_is_named() -> None:
    assert forwarded(destination="found")["fspiop-destination"] == "found"
    assert forwarded(destination="found", fspiop_destination=None)["FSPIOP-Destination"] == "found"


def test_an_empty_destination_is_not_passed_on() -> None:
    assert "fspiop-destination" not in forwarded(fspiop_destination="")


def test_the_hubs_request_carries_an_accept_and_its_callback_does_not() -> None:
    made = {
        method: hub_headers(
            "transfers",
            Version.V1_1,
            method=method,
            source="Hub",
            destination="payerfsp",
            uri="/transfers/1",
            now_ms=1_464_093_488_699,
            traceparent="00-1-2-01",
        )
        for method in ("GET", "PUT")
    }
    assert made["PUT"] == [
        ("Content-Type", f"{MEDIA_TYPE};version=1.1"),
        ("Date", DATE),
        ("FSPIOP-Source", "Hub"),
        ("FSPIOP-Destination", "payerfsp"),
        ("FSPIOP-URI", "/transfers/1"),
        ("FSPIOP-HTTP-Method", "PUT"),
        ("traceparent", "00-1-2-01"),
    ]
    assert ("Accept", f"{MEDIA_TYPE};version=1") in made["GET"]


def test_the_hubs_own_headers_pass_its_own_check() -> None:
    made = hub_headers(
        "transfers", Version.V2_0, method="POST", source="Hub", destination=None, uri="/transfers", now_ms=0
    )
    assert check_request("POST", "transfers", Headers(made), trusted_client_id=None).source == "Hub"


@pytest.mark.parametrize("name", ["fspiop-source", "FSPIOP-Signature", "Date", "Content-Type", "traceparent"])
def test_a_sender_can_not_have_what_the_receiver_needs_struck_out(name: str) -> None:
    pairs = [("Connection", f"close, {name}"), (name, "value")]
    assert name in [each for each, _ in forward_headers(Headers(pairs), method="PUT")]
