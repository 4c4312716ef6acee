"""Whom the hub may call: what an endpoint may be, and which addresses a name may have."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from vuka.config import Config, Outbound, ParticipantsApi
from vuka.destinations import URL_LENGTH_MAX, Destinations
from vuka.errors import OperatorError

OUTSIDE = ParticipantsApi(host="192.0.2.1")
"""Of a hub that others reach: what listens on its own machine is not for them."""


def destinations(listener: ParticipantsApi = OUTSIDE, **settings: Any) -> Destinations:
    return Destinations(Config(participants_api=listener, outbound=Outbound(**settings)))


# --- as an endpoint is written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://dfsp.example/transfers/{{transferId}}",
        "https://dfsp.example:8443/parties/{{ partyIdType }}/{{{partyIdentifier}}}?x={{ID}}",
        "HTTPS://DFSP.example.",
        "http://dfsp",
        "http://dfsp_sim.namespace.svc.cluster.local:4000/",
        "http://10.1.2.3:3000",
        "http://192.168.7.1/",
        "http://[fd12:3456::1]:3000/",
        "http://[2a00:1450:4001::1]/",
        "http://xn--bcher-kva.example/",
    ],
)
def test_an_endpoint_may_be_any_url_of_a_host_outside(url: str) -> None:
    assert destinations().fault(url) is None


MALFORMED = "is malformed"
OWN_MACHINE = "is of the hub's own machine: see outbound.loopback"
NOBODYS = "is none that participants have"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        # What is no URL of http.
        ("ftp://dfsp.example", "must be a URL of http or https"),
        ("file:///etc/passwd", "must be a URL of http or https"),
        ("gopher://dfsp.example/_x", "must be a URL of http or https"),
        ("//dfsp.example/", "must be a URL of http or https"),
        ("dfsp.example", "must be a URL of http or https"),
        ("javascript:alert(1)", "must be a URL of http or https"),
        ("http:/dfsp.example", "must be a URL of http or https"),
        ("http://", MALFORMED),
        ("http:///transfers", MALFORMED),
        ("http://:4000/", MALFORMED),
        ("http://dfsp.example:/", MALFORMED),
        ("http://dfsp.example:0/", MALFORMED),
        ("http://dfsp.example:65536/", MALFORMED),
        ("http://dfsp.example:80:81/", MALFORMED),
        ("http://[::1/", MALFORMED),
        ("http://[::1]x/", MALFORMED),
        ("http://-dfsp.example/", MALFORMED),
        ("http://dfsp..example/", MALFORMED),
        ("http://%6c%6f%63alhost/", MALFORMED),
        ("http://" + "x" * URL_LENGTH_MAX, f"has more than {URL_LENGTH_MAX} characters"),
        # Who reads it as another host than we do.
        ("http://dfsp.example@127.0.0.1/", "must not carry a user name or a password"),
        ("http://user:secret@dfsp.example/", "must not carry a user name or a password"),
        ("http://dfsp.example#@127.0.0.1/", "without spaces, quotes, backslashes or #"),
        ("http://dfsp.example\\@127.0.0.1/", "without spaces, quotes, backslashes or #"),
        ("http://dfsp.example\t.evil/", "without spaces, quotes, backslashes or #"),
        ("http://dfsp.example\r\nHost: evil/", "without spaces, quotes, backslashes or #"),
        ("http://dfsp.example?@127.0.0.1/", "must have a path before its query"),
        ("http://１２７.0.0.1/", "in ASCII"),
        ("http://ⓛocalhost/", "in ASCII"),
        # A placeholder is filled with what a participant says.
        ("http://{{partyIdentifier}}/", "a placeholder may stand in the path only"),
        ("http://dfsp.example:{{ID}}/", "a placeholder may stand in the path only"),
        ("http://{{ID}}.dfsp.example/", "a placeholder may stand in the path only"),
        # The hub's own machine, by its many names.
        ("http://127.0.0.1:9200/", OWN_MACHINE),
        ("http://127.8.9.1/", OWN_MACHINE),
        ("http://127.0.0.1./", OWN_MACHINE),
        ("http://localhost/", OWN_MACHINE),
        ("http://LOCALHOST./", OWN_MACHINE),
        ("http://db.localhost/", OWN_MACHINE),
        ("http://[::1]/", OWN_MACHINE),
        ("http://[::ffff:127.0.0.1]/", OWN_MACHINE),
        ("http://[::ffff:7f00:1]/", OWN_MACHINE),
        ("http://[64:ff9b::7f00:1]/", OWN_MACHINE),
        ("http://[2002:7f00:1::]/", OWN_MACHINE),
        ("http://2130706433/", MALFORMED),
        ("http://0x7f000001/", MALFORMED),
        ("http://0x7f.1/", MALFORMED),
        ("http://0177.0.0.1/", MALFORMED),
        ("http://127.1/", MALFORMED),
        ("http://127.0.0.1.1/", MALFORMED),
        ("http://0/", MALFORMED),
        # What only the hub reaches.
        ("http://0.0.0.0/", NOBODYS),
        ("http://0.1.2.3/", NOBODYS),
        ("http://[::]/", NOBODYS),
        ("http://169.254.169.254/latest/meta-data/", NOBODYS),
        ("http://[::ffff:169.254.169.254]/", NOBODYS),
        ("http://[64:ff9b::a9fe:a9fe]/", NOBODYS),
        ("http://[fe80::1]/", NOBODYS),
        ("http://[fe80::1%25eth0]/", MALFORMED),
        ("http://[fd00:ec2::254]/", NOBODYS),
        ("http://100.100.100.200/", NOBODYS),
        ("http://168.63.129.16/", NOBODYS),
        ("http://224.0.0.1/", NOBODYS),
        ("http://[ff02::1]/", NOBODYS),
        ("http://255.255.255.255/", NOBODYS),
        # The hub itself.
        ("http://192.0.2.1:4000/", "is the hub's own"),
        ("http://[::ffff:192.0.2.1]:4000/", "is the hub's own"),
    ],
)
def test_an_endpoint_that_the_hub_will_not_call_is_named_with_what_is_wrong(url: str, fault: str) -> None:
    assert fault in (destinations().fault(url) or "it may be called")


def test_an_endpoint_of_http_is_refused_where_only_https_is_called() -> None:
    assert (
        destinations(https_only=True).fault("http://dfsp.example/") == "must be a URL of https: see outbound.https_only"
    )
    assert destinations(https_only=True).fault("https://dfsp.example/") is None


@pytest.mark.parametrize(
    ("listener", "setting", "may"),
    [
        (ParticipantsApi(), "auto", True),
        (ParticipantsApi(), "refuse", False),
        (OUTSIDE, "auto", False),
        (OUTSIDE, "allow", True),
        (ParticipantsApi(host="0.0.0.0"), "auto", False),
        (ParticipantsApi(host="hub.example"), "auto", False),
        (ParticipantsApi(trust_client_id=True), "auto", False),
        (ParticipantsApi(client_certificate_header="x-client-cert"), "auto", False),
        (ParticipantsApi(client_certificate_header="x-client-cert"), "allow", True),
    ],
)
def test_this_machine_may_be_called_exactly_while_the_hub_listens_on_it_alone(
    listener: ParticipantsApi, setting: str, may: bool
) -> None:
    found = destinations(listener, loopback=setting)
    assert (found.fault("http://127.0.0.1:5001/") is None) is may
    assert (found.refusal("dfsp.example", "127.0.0.1", 5001, is_secure=False) is None) is may


def test_nothing_is_connected_to_but_by_tls_where_only_https_is_called() -> None:
    found = destinations(https_only=True)
    assert found.refusal("dfsp.example", "203.0.113.9", 80, is_secure=False) is not None
    assert found.refusal("dfsp.example", "203.0.113.9", 443, is_secure=True) is None


# --- the hub itself ---------------------------------------------------------------------------------------------------


def test_the_hub_never_calls_itself_however_it_is_named() -> None:
    found = destinations(ParticipantsApi(), loopback="allow", allowed="0.0.0.0/0,::/0")
    found.listens("127.0.0.1", 45_321)
    for url in ("http://127.0.0.1:4000/", "http://127.0.0.1:4001/x", "http://localhost:45321/", "http://0.0.0.0:4001/"):
        assert found.fault(url) == "is the hub's own"
    assert found.fault("http://127.0.0.1:45322/") is None
    assert (
        found.refusal("dfsp.example", "127.0.0.1", 45_321, is_secure=False) == "the address 127.0.0.1 is the hub's own"
    )


def test_a_hub_that_listens_everywhere_is_at_every_address_of_its_machine() -> None:
    found = destinations(ParticipantsApi(host="0.0.0.0"), loopback="allow")
    assert found.fault("http://127.0.0.1:4000/") == "is the hub's own"
    assert found.fault("http://192.0.2.7:4000/") is None, "of no machine here"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.7", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    assert found.fault(f"http://{own}:4000/") == "is the hub's own"
    # Nor is anything else there what others are meant to reach by the hub, unless it may call its machine.
    assert found.fault(f"http://{own}:5001/") is None
    for setting in ("auto", "refuse"):
        other = destinations(ParticipantsApi(host="0.0.0.0"), loopback=setting)
        assert other.fault(f"http://{own}:5001/") == "is of the hub's own machine: see outbound.loopback"
        assert other.refusal("dfsp.example", own, 5001, is_secure=False) is not None
        assert other.fault("http://192.0.2.7:5001/") is None


# --- those that may be called -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "url", "may"),
    [
        ("dfsp.example", "http://dfsp.example/", True),
        ("DFSP.example", "http://dfsp.EXAMPLE./", True),
        ("dfsp.example", "http://evil-dfsp.example/", False),
        ("dfsp.example", "http://dfsp.example.evil/", False),
        (".example", "http://dfsp.example/", True),
        (".example", "http://dfsp.evil/", False),
        (".dfsp.example", "http://evildfsp.example/", False),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/", True),
        ("10.0.0.0/8, dfsp.example", "http://dfsp.example/", True),
        ("dfsp.example", "http://10.1.2.3/", False),
        ("169.254.7.0/24", "http://169.254.7.9/", True),
        ("127.0.0.1", "http://127.0.0.1:5001/", True),
        (".localhost", "http://db.localhost/", False),
    ],
)
def test_where_some_are_allowed_no_others_may_be_called(allowed: str, url: str, may: bool) -> None:
    assert (destinations(allowed=allowed).fault(url) is None) is may


def test_a_name_that_is_not_listed_may_be_called_at_a_listed_address_only() -> None:
    found = destinations(allowed="10.0.0.0/8,dfsp.example")
    assert found.fault("http://wallet.example/") is None, "which address it has is seen when it is called"
    assert found.refusal("wallet.example", "10.1.2.3", 80, is_secure=False) is None
    assert found.refusal("wallet.example", "203.0.113.9", 80, is_secure=False) == (
        "the address 203.0.113.9 is none of those that the hub may call: see outbound.allowed"
    )
    assert found.refusal("dfsp.example", "203.0.113.9", 80, is_secure=False) is None


def test_a_listed_name_gains_nothing_by_an_address_of_the_inside() -> None:
    found = destinations(allowed="dfsp.example")
    for address in ("127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"):
        assert found.refusal("dfsp.example", address, 80, is_secure=True) is not None


@pytest.mark.parametrize(
    "wrong", ["http://dfsp.example", "10.0.0.0/33", "10.0.0.1/8", "*.example", "a b", "127.1", "."]
)
def test_what_is_no_host_domain_or_network_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(OperatorError, match=r"outbound\.allowed has .* which is no host"):
        destinations(allowed=wrong)
