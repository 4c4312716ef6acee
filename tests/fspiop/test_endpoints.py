"""Where a participant is called back."""

from __future__ import annotations

import pytest

from vuka.fspiop.endpoints import (
    EndpointKind,
    EndpointType,
    callback_url,
    fill,
    id_parameters,
    party_parameters,
    path_of,
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("FSPIOP_CALLBACK_URL_TRANSFER_PUT", EndpointKind.TEMPLATE),
        ("FSPIOP_CALLBACK_URL_BULK_TRANSFER_ERROR", EndpointKind.TEMPLATE),
        ("FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT_ERROR", EndpointKind.TEMPLATE),
        ("FSPIOP_CALLBACK_URL_QUOTES", EndpointKind.BASE),
        ("FSPIOP_CALLBACK_URL_FX_QUOTES", EndpointKind.BASE),
        ("FSPIOP_CALLBACK_URL_BULK_QUOTES", EndpointKind.BASE),
        ("FSPIOP_CALLBACK_URL_TRX_REQ_SERVICE", EndpointKind.BASE),
        ("FSPIOP_CALLBACK_URL_AUTHORIZATIONS", EndpointKind.BASE),
        ("TP_CB_URL_CONSENT_PUT", EndpointKind.BASE),
        ("NET_DEBIT_CAP_ADJUSTMENT_EMAIL", EndpointKind.OTHER),
        ("ALARM_NOTIFICATION_TOPIC", EndpointKind.OTHER),
    ],
)
def test_a_type_holds_a_template_or_a_base_as_in_the_reference(name: str, kind: EndpointKind) -> None:
    assert EndpointType(name).kind is kind


def test_every_type_has_its_own_name() -> None:
    assert len({endpoint.value for endpoint in EndpointType}) == len(EndpointType) == 62


def test_placeholders_are_filled() -> None:
    template = "http://fsp:4000/parties/{{partyIdType}}/{{ partyIdentifier }}/{{{partySubIdOrType}}}/error"
    assert fill(template, party_parameters("MSISDN", "123", "home")) == "http://fsp:4000/parties/MSISDN/123/home/error"


def test_what_is_filled_in_is_percent_encoded() -> None:
    assert fill("http://fsp/{{ID}}", {"ID": "a/b?c#d e+é{}"}) == "http://fsp/a%2Fb%3Fc%23d%20e%2B%C3%A9%7B%7D"


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("{{ID}}/{{id}}", {"ID": "{{id}}", "id": "1"}) == "%7B%7Bid%7D%7D/1"


def test_a_template_without_placeholders_is_the_url() -> None:
    assert fill("http://fsp/transfers", {}) == "http://fsp/transfers"


def test_an_unknown_placeholder_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"asks for \{\{transferID\}\}.*known: ID, id, transferId"):
        fill("http://fsp/transfers/{{transferID}}", id_parameters("transfers", "1"))


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("transfers", "transferId"),
        ("fxTransfers", "commitRequestId"),
        ("participants", "requestId"),
        ("bulkTransfers", "id"),
        ("transfers", "ID"),
    ],
)
def test_the_id_of_a_message_goes_by_the_names_that_templates_use(resource: str, name: str) -> None:
    assert id_parameters(resource, "1")[name] == "1"


def test_a_template_is_the_whole_url_of_a_callback() -> None:
    url = callback_url(
        EndpointType.TRANSFER_PUT, "http://fsp/transfers/{{transferId}}", "/ignored", id_parameters("transfers", "1")
    )
    assert url == "http://fsp/transfers/1"


@pytest.mark.parametrize("base", ["http://fsp/api", "http://fsp/api/"])
def test_a_base_has_the_path_of_the_resource_appended(base: str) -> None:
    url = callback_url(EndpointType.QUOTES, base, "/quotes/{{ID}}/error", id_parameters("quotes", "1"))
    assert url == "http://fsp/api/quotes/1/error"


def test_what_takes_no_callbacks_has_no_url() -> None:
    with pytest.raises(ValueError, match="takes no callbacks"):
        callback_url(EndpointType.NET_DEBIT_CAP_ADJUSTMENT_EMAIL, "a@b.c", "/", {})


@pytest.mark.parametrize(
    ("url", "resource", "path"),
    [
        ("http://fsp:4000/transfers/1", "transfers", "/transfers/1"),
        ("https://fsp/fspiop/v1/transfers/1/error", "transfers", "/transfers/1/error"),
        ("http://transfers/transfers", "transfers", "/transfers"),
        ("http://fsp/transfers-api/transfers/1", "transfers", "/transfers/1"),
        ("http://fsp/parties/ALIAS/parties", "parties", "/parties/ALIAS/parties"),
        (
            "http://fsp/authorizations/1?amount=1&currency=USD#x",
            "authorizations",
            "/authorizations/1?amount=1&currency=USD",
        ),
        ("/transfers/1", "transfers", "/transfers/1"),
    ],
)
def test_the_uri_begins_at_the_name_of_the_resource(url: str, resource: str, path: str) -> None:
    assert path_of(url, resource) == path


@pytest.mark.parametrize("url", ["http://transfers", "http://fsp/quotes/1", "", "http://fsp/?x=/transfers"])
def test_a_url_of_another_resource_has_no_such_uri(url: str) -> None:
    with pytest.raises(ValueError, match="/transfers"):
        path_of(url, "transfers")
