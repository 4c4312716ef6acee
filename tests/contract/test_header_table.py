"""The header rules of the participants' API, in their order (hub reference §1.3), one row each.

A request breaks one rule, in every version and with every method: it is refused with the code, the status and the
words of that rule. A request breaks two: it is refused for the one that stands first.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Final, NamedTuple

import pytest
from tests.contract.application import Api, Header, media_type, right_headers
from tests.e2e.conftest import Wire
from tests.e2e.recorder import refusal

from vuka.fspiop.versions import Version

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID: Final = "b51ec534-ee48-4575-b6a9-ead2955b8069"
PATHS: Final = {
    "POST": "/transfers",
    "GET": f"/transfers/{ID}",
    "PUT": f"/transfers/{ID}",
    "PATCH": f"/transfers/{ID}",
    "DELETE": "/participants/MSISDN/254700000001",
}
ALL: Final = tuple(PATHS)
REQUESTS: Final = ("GET", "POST", "DELETE")
CALLBACKS: Final = ("PUT", "PATCH")

SUPPORTED: Final = [("1", "0"), ("1", "1"), ("2", "0")]


class Rule(NamedTuple):
    """One rule: headers that break it, and how that is refused. In a header's value ``*`` is the resource."""

    name: str
    breach: dict[str, str | None]
    refusal: tuple[int, str, str]
    methods: tuple[str, ...] = ALL
    more: tuple[Header, ...] = ()

    def changed(self, method: str) -> dict[str, str | None]:
        resource = PATHS[method].split("/")[1]
        return {name: value and value.replace("*", resource) for name, value in self.breach.items()}


MEDIA: Final = "application/vnd.interoperability.*+json"

LARGE_HEADERS: Final = (400, "3104", "Too large payload - Headers have more than 65536 bytes")
NO_HTTP: Final = (400, "3101", "Malformed syntax - Invalid characters in header 'x-note'")
TWICE: Final = (400, "3101", "Malformed syntax - Header fspiop-source stands more than once")
BAD_PROXY: Final = (400, "3100", "Generic validation error - Invalid fspiop-proxy header")
BAD_CALLER: Final = (400, "3100", "Generic validation error - Invalid fspiop-source header")
NO_ACCEPT: Final = (
    400,
    "3102",
    "Missing mandatory element - Accept is required: /header must have required property 'accept'",
)
BAD_ACCEPT: Final = (400, "3101", "Malformed syntax - Invalid accept header")
OTHER_ACCEPT: Final = (
    406,
    "3001",
    "Unacceptable version requested - "
    "The Client requested an unsupported version, see extension list for supported version(s).",
)
NO_DATE: Final = (400, "3102", "Missing mandatory element - Missing required date header")
BAD_DATE: Final = (400, "3101", "Malformed syntax - Invalid date header")
BAD_LENGTH: Final = (400, "3101", "Malformed syntax - Invalid content-length header")
LARGE_BODY: Final = (400, "3104", "Too large payload - Payload size is too large")
NO_TYPE: Final = (400, "3102", "Missing mandatory element - Content-type is required")
BAD_TYPE: Final = (400, "3101", "Malformed syntax - Invalid content-type header")
NO_JSON: Final = (400, "3101", "Malformed syntax - Unsupported Media Type: Invalid content-type header")
OTHER_TYPE: Final = (
    406,
    "3001",
    "Unacceptable version requested - Client supplied a protocol version which is not supported by the server",
)
ENCODED: Final = (400, "3101", "Malformed syntax - Unsupported Media Type: Invalid content-encoding header")
NO_SOURCE: Final = (400, "3102", "Missing mandatory element - /header must have required property 'fspiop-source'")
BAD_SOURCE: Final = (400, "3100", "Generic validation error - /header/fspiop-source must have 1 to 32 characters")
BAD_DESTINATION: Final = (
    400,
    "3100",
    "Generic validation error - /header/fspiop-destination must have 1 to 32 characters",
)
NOBODY: Final = (400, "3101", "Malformed syntax - invalid fspiop-source header: no such participant")

RULES: Final = [
    # What is no HTTP, or more than the hub reads of it.
    Rule("headers together over 64 KB", {"x-note": "x" * 65_536}, LARGE_HEADERS),
    Rule("a byte that HTTP does not allow", {"x-note": "\xff"}, NO_HTTP),
    Rule("a header twice", {}, TWICE, more=((b"FSPIOP-Source", b"other"),)),
    # 1. Who the caller is.
    Rule("a proxy that is not the caller", {"x-client-id": "payerfsp", "fspiop-proxy": "proxy"}, BAD_PROXY),
    Rule("a proxy that is the source", {"x-client-id": "payerfsp", "fspiop-proxy": "payerfsp"}, BAD_PROXY),
    Rule("a source that is not the caller", {"x-client-id": "payeefsp"}, BAD_CALLER),
    # 2. Accept.
    Rule("no Accept", {"accept": None}, NO_ACCEPT, REQUESTS),
    Rule("Accept: an empty one", {"accept": ""}, BAD_ACCEPT, REQUESTS),
    Rule("Accept: plain JSON", {"accept": "application/json"}, BAD_ACCEPT),
    Rule("Accept: anything", {"accept": "*/*"}, BAD_ACCEPT),
    Rule("Accept: another resource", {"accept": media_type("bulkQuotes", "1.0")}, BAD_ACCEPT),
    Rule("Accept: a space after the comma", {"accept": f"{MEDIA};version=1, {MEDIA};version=2"}, BAD_ACCEPT),
    Rule("Accept: two spaces after the semicolon", {"accept": f"{MEDIA};  version=1"}, BAD_ACCEPT),
    Rule("Accept: a version of three numbers", {"accept": f"{MEDIA};version=1.0.0"}, BAD_ACCEPT),
    Rule("Accept: ISO 20022", {"accept": MEDIA.replace("*", "iso20022.*") + ";version=2.0"}, BAD_ACCEPT),
    Rule("Accept: an unsupported major version", {"accept": f"{MEDIA};version=3"}, OTHER_ACCEPT),
    Rule("Accept: an unsupported minor version", {"accept": f"{MEDIA};version=1.9"}, OTHER_ACCEPT),
    # 3. Date.
    Rule("no Date", {"date": None}, NO_DATE),
    Rule("Date: ISO 8601", {"date": "2016-05-24T12:38:08Z"}, BAD_DATE),
    Rule("Date: another zone", {"date": "Tue, 24 May 2016 12:38:08 CET"}, BAD_DATE),
    Rule("Date: a day that was another weekday", {"date": "Mon, 24 May 2016 12:38:08 GMT"}, BAD_DATE),
    # 4. Content-Length, whose limit never fires in the reference.
    Rule("Content-Length: no number", {"content-length": "many"}, BAD_LENGTH),
    Rule("Content-Length: over the limit", {"content-length": "5242881"}, LARGE_BODY),
    # 5. Content-Type, required even on GET.
    Rule("no Content-Type", {"content-type": None}, NO_TYPE),
    Rule("Content-Type: plain JSON", {"content-type": "application/json"}, BAD_TYPE),
    Rule("Content-Type: XML", {"content-type": MEDIA.replace("json", "xml") + ";version=1.1"}, NO_JSON),
    Rule("Content-Type: no version", {"content-type": MEDIA}, BAD_TYPE),
    Rule("Content-Type: the major version alone", {"content-type": f"{MEDIA};version=1"}, BAD_TYPE),
    Rule("Content-Type: a charset", {"content-type": f"{MEDIA};version=1.1;charset=utf-8"}, BAD_TYPE),
    Rule("Content-Type: another resource", {"content-type": media_type("bulkQuotes", "1.0")}, BAD_TYPE),
    Rule("Content-Type: an unsupported version", {"content-type": f"{MEDIA};version=1.2"}, OTHER_TYPE),
    Rule("a body in gzip", {"content-encoding": "gzip"}, ENCODED),
    # 6. FSPIOP-Source and FSPIOP-Destination, which the reference's schemas check.
    Rule("no FSPIOP-Source", {"fspiop-source": None}, NO_SOURCE),
    Rule("FSPIOP-Source: an empty one", {"fspiop-source": ""}, BAD_SOURCE),
    Rule("FSPIOP-Source: 33 characters", {"fspiop-source": "x" * 33}, BAD_SOURCE),
    Rule("FSPIOP-Destination: 33 characters", {"fspiop-destination": "x" * 33}, BAD_DESTINATION),
    # 7. The source is a participant. /participants has words of its own for that: see below.
    Rule("FSPIOP-Source: no participant", {"fspiop-source": "{fspId}"}, NOBODY, ("GET", "POST", "PUT", "PATCH")),
]
"""In the order in which they are checked."""


def each_version_and_method() -> list[Any]:
    return [
        pytest.param(rule, version, method, id=f"{rule.name}-{version}-{method}")
        for rule in RULES
        for version in Version
        for method in rule.methods
    ]


@pytest.mark.parametrize(("rule", "version", "method"), each_version_and_method())
async def test_a_broken_rule_is_refused_with_its_code_status_and_words(
    api: Api, rule: Rule, version: Version, method: str
) -> None:
    answer = await api.send(method, PATHS[method], version=version, changed=rule.changed(method), more=rule.more)
    assert answer.refusal == rule.refusal
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    if answer.status == 406:
        assert answer.extensions == SUPPORTED


def each_two() -> list[Any]:
    return [
        pytest.param(first, second, id=f"{first.name} before {second.name}")
        for first, second in combinations(RULES, 2)
        if not first.breach.keys() & second.breach.keys() and "POST" in first.methods and "POST" in second.methods
        # Without a source, or with another one, the caller of rule 1 is another one too.
        if not ("x-client-id" in first.breach and "fspiop-source" in second.breach)
        # A header twice is seen by its name alone.
        if not (first.more and "fspiop-source" in second.breach)
    ]


@pytest.mark.parametrize(("first", "second"), each_two())
async def test_of_two_broken_rules_the_first_is_told(api: Api, first: Rule, second: Rule) -> None:
    changed = {**first.changed("POST"), **second.changed("POST")}
    answer = await api.send("POST", PATHS["POST"], changed=changed, more=(*first.more, *second.more))
    assert answer.refusal == first.refusal


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
async def test_headers_are_checked_before_the_body(api: Api, rule: Rule) -> None:
    answer = await api.send("POST", PATHS["POST"], b"{", changed=rule.changed("POST"), more=rule.more)
    assert answer.refusal == rule.refusal


async def test_a_source_that_is_no_participant_is_not_found_by_participants(api: Api) -> None:
    answer = await api.send("DELETE", PATHS["DELETE"], changed={"fspiop-source": "nobody"})
    assert answer.refusal == (400, "3200", "Generic ID not found - Requester FSP not found")


NO_BODY: Final = "Missing mandatory element - The request has no body"

ACCEPTED: Final = {
    "the version of the request": f"{MEDIA};version=$",
    "no version: the highest that is supported": MEDIA,
    "a major version": f"{MEDIA};version=1",
    "a space before the semicolon": f"{MEDIA} ;version=1.0",
    "a space after the semicolon": f"{MEDIA}; version=1.0",
    "alternatives, one of them supported": f"{MEDIA};version=9.9,{MEDIA};version=2",
    "alternatives without a version": f"{MEDIA},{MEDIA};version=3",
}


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("accept", list(ACCEPTED.values()), ids=list(ACCEPTED))
async def test_an_accept_that_names_a_supported_version_passes(
    api: Api, accept: str, method: str, version: Version
) -> None:
    resource = PATHS[method].split("/")[1]
    changed: dict[str, str | None] = {"accept": accept.replace("*", resource).replace("$", version)}
    answer = await api.send(method, PATHS[method], version=version, changed=changed)
    # What is wrong with a POST without a body is that it has none.
    assert answer.status == 202 or answer.information["errorDescription"] == NO_BODY


@pytest.mark.parametrize("method", CALLBACKS)
@pytest.mark.parametrize("accept", [None, ""])
async def test_a_callback_needs_no_accept(api: Api, method: str, accept: str | None) -> None:
    answer = await api.send(method, PATHS[method], changed={"accept": accept})
    assert answer.information["errorCode"] == {"PUT": "3102", "PATCH": "2002"}[method]
    assert "Accept" not in answer.information["errorDescription"]


SINCE_2_0: Final = ("fxTransfers",)


@pytest.mark.parametrize("resource", SINCE_2_0)
@pytest.mark.parametrize("version", [Version.V1_0, Version.V1_1])
async def test_a_resource_of_2_0_has_no_older_version(api: Api, resource: str, version: Version) -> None:
    changed: dict[str, str | None] = {"accept": media_type(resource, "2.0")}
    answer = await api.send("GET", f"/{resource}/{ID}", version=version, changed=changed)
    assert answer.refusal == OTHER_TYPE
    assert answer.extensions == [("2", "0")]


async def test_names_of_headers_are_of_any_case(api: Api) -> None:
    headers = right_headers("GET", PATHS["GET"])
    raw = [(name.title().encode(), value.encode()) for name, value in headers.items()]
    assert (await api.call("GET", PATHS["GET"], raw, [b""])).status == 202


async def test_headers_over_the_limit_are_answered_by_the_server_too(wire: Wire) -> None:
    """And not by a connection that is dropped."""
    path = "/parties/MSISDN/254700000001"
    headers = [*wire.payer.headers("parties", "GET"), ("X-Note", "x" * 65_536)]
    answer = await wire.payer.send("GET", path, headers=headers)
    assert refusal(answer) == (400, "3104")
    assert (await wire.payer.send("GET", path)).status == 202
