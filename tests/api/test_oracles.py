"""The operators' API about oracles: ``/oracles`` as the reference has it, ``/oracle`` as an oracle service has it."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench

DUPLICATE = (
    "Internal server error - Duplicate: Active oracle with matching partyIdTypeId, endpointTypeId, currencyId "
    "already exists"
)
PARTY = "/oracle/participants/MSISDN/27713803912"


def info(kind: str = "MSISDN", value: str = "http://oracle", **fields: Any) -> dict[str, Any]:
    """A body of ``POST /oracles``."""
    return {"oracleIdType": kind, "endpoint": {"value": value, "endpointType": "URL"}, **fields}


def error(answer: Response) -> tuple[int, str, str]:
    """Status, code and description of a refusal."""
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


def add(client: TestClient, *arguments: str, **fields: Any) -> int:
    """Registers an oracle; its number."""
    assert client.post("/oracles", json=info(*arguments, **fields)).status_code == 201
    numbers: list[int] = [each["oracleId"] for each in client.get("/oracles").json()]
    return numbers[-1]


# --- /oracles ---------------------------------------------------------------------------------------------------


def test_a_hub_begins_without_oracles(client: TestClient) -> None:
    assert client.get("/oracles").json() == []


def test_an_oracle_is_added_and_shown(client: TestClient) -> None:
    answer = client.post("/oracles", json=info(currency="USD", isDefault=True))
    assert (answer.status_code, answer.content) == (201, b"")
    assert client.get("/oracles").json() == [
        {
            "oracleId": 1,
            "oracleIdType": "MSISDN",
            "endpoint": {"value": "http://oracle", "endpointType": "URL"},
            "currency": "USD",
            "isDefault": 1,
        }
    ]


def test_an_oracle_for_any_currency_shows_none(client: TestClient) -> None:
    add(client)
    (shown,) = client.get("/oracles").json()
    assert ("currency" in shown, shown["isDefault"]) == (False, 0)


def test_a_slash_at_the_end_of_a_url_is_as_good_as_none(client: TestClient) -> None:
    add(client, "MSISDN", "http://oracle/als/")
    assert client.get("/oracles").json()[0]["endpoint"]["value"] == "http://oracle/als"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3]),
        ("?type=MSISDN", [1, 2]),
        ("?currency=USD", [1, 3]),
        ("?type=MSISDN&currency=USD", [1]),
        ("?type=PIGEON", []),
        ("?type=ALIAS&currency=KES", []),
    ],
)
def test_oracles_are_found_by_type_and_currency(client: TestClient, query: str, expected: list[int]) -> None:
    add(client, currency="USD")
    add(client)
    add(client, "ALIAS", currency="USD")
    assert [each["oracleId"] for each in client.get(f"/oracles{query}").json()] == expected


def test_a_second_oracle_for_a_type_and_currency_is_500_with_2001(client: TestClient) -> None:
    add(client, currency="USD")
    assert error(client.post("/oracles", json=info(currency="USD"))) == (500, "2001", DUPLICATE)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"oracleIdType": "MSISDN"}, "3102", "must have required property 'endpoint'"),
        ({"endpoint": {"value": "http://oracle", "endpointType": "URL"}}, "3102", "'oracleIdType'"),
        (info() | {"endpoint": {"value": "http://oracle"}}, "3102", "'endpointType'"),
        (info() | {"endpoint": {"value": "http://oracle", "endpointType": "URN"}}, "3100", "/endpoint/endpointType"),
        (info("PIGEON"), "3100", "/oracleIdType"),
        (info(currency="ZZZ"), "3100", "/currency"),
        (info(isDefault="yes"), "3101", "/isDefault"),
        (info(value="oracle"), "3100", "/endpoint/value must be an http or https URL"),
    ],
)
def test_a_body_that_is_not_in_order_is_400_and_names_the_field(
    client: TestClient, body: dict[str, Any], code: str, said: str
) -> None:
    for answer in (client.post("/oracles", json=body), client.put("/oracles/1", json=body)):
        status, found, description = error(answer)
        assert (status, found, said in description) == (400, code, True), description


@pytest.mark.parametrize(
    "value",
    [
        "",
        "http://",
        "ftp://oracle",
        "http://user:secret@oracle",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:4001/oracle",
        "http://2130706433/",
        "http://oracle/?x=1",
        "http://oracle/#x",
        "http://oracle:0",
        "http://oracle:x",
        "http://ora cle",
        "http://oracle/{Type}",
        "http://[oracle",
        "http://oracle/\r\nHost: x",
        "http://" + "x" * 506,
    ],
)
def test_a_url_that_nobody_can_be_asked_at_is_3100(client: TestClient, value: str) -> None:
    assert error(client.post("/oracles", json=info(value=value)))[:2] == (400, "3100")


def test_a_body_that_is_no_json_is_3101(client: TestClient) -> None:
    assert error(client.post("/oracles", content=b"{"))[:2] == (400, "3101")


@pytest.mark.parametrize(("method", "path"), [("GET", "/oracles"), ("POST", "/oracles"), ("DELETE", "/oracles/1")])
def test_accept_is_required_where_the_file_says_so(client: TestClient, method: str, path: str) -> None:
    del client.headers["accept"]
    said = "Missing mandatory element - /header must have required property 'accept'"
    assert error(client.request(method, path)) == (400, "3102", said)


def test_an_oracle_is_changed(client: TestClient) -> None:
    number = add(client, currency="USD")
    answer = client.put(f"/oracles/{number}", json=info("BUSINESS", "https://moved", currency="KES", isDefault=True))
    assert (answer.status_code, answer.content) == (204, b"")
    (shown,) = client.get("/oracles").json()
    assert (shown["oracleIdType"], shown["endpoint"]["value"]) == ("BUSINESS", "https://moved")
    assert (shown["currency"], shown["isDefault"]) == ("KES", 1)


@pytest.mark.parametrize("number", ["999", "INVALID", "9" * 400, "-1", "²"])
def test_an_oracle_that_is_not_there_can_not_be_changed_and_is_removed_already(client: TestClient, number: str) -> None:
    said = (400, "3003", "Add Party information error - Oracle not found")
    assert error(client.put(f"/oracles/{number}", json=info())) == said
    assert client.delete(f"/oracles/{number}").status_code == 204


def test_an_oracle_is_removed(client: TestClient) -> None:
    number = add(client)
    answer = client.delete(f"/oracles/{number}")
    assert (answer.status_code, answer.content, client.get("/oracles").json()) == (204, b"", [])


def test_another_method_is_405_with_those_there_are(client: TestClient) -> None:
    answer = client.request("PATCH", "/oracles/1")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"DELETE", "PUT"})


# --- /oracle: the hub's own as a service ------------------------------------------------------------------------


def listed(client: TestClient, path: str = PARTY) -> list[dict[str, str]]:
    answer = client.get(path)
    assert answer.status_code == 200
    found: list[dict[str, str]] = answer.json()["partyList"]
    return found


def test_an_identifier_that_nobody_serves_has_an_empty_list(client: TestClient) -> None:
    assert listed(client) == []


def test_a_registered_party_is_listed(client: TestClient) -> None:
    answer = client.post(PARTY, json={"fspId": "anybank", "currency": "USD"})
    assert (answer.status_code, answer.content) == (201, b"")
    assert listed(client) == [{"fspId": "anybank", "currency": "USD"}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{PARTY}/HOME", {}),
        (PARTY, {"partySubIdOrType": "HOME"}),
        (f"{PARTY}?partySubIdOrType=HOME", {}),
    ],
)
def test_a_sub_identifier_is_registered_by_path_body_or_query(
    client: TestClient, path: str, body: dict[str, str]
) -> None:
    assert client.post(path, json={"fspId": "anybank", **body}).status_code == 201
    expected = [{"fspId": "anybank", "partySubIdOrType": "HOME"}]
    for asked in (PARTY, f"{PARTY}/HOME", f"{PARTY}?partySubIdOrType=HOME"):
        assert listed(client, asked) == expected
    assert listed(client, f"{PARTY}/OFFICE") == []


def test_a_list_is_of_a_currency_where_one_is_asked_for(client: TestClient) -> None:
    for fsp, currency in (("usdbank", "USD"), ("kesbank", "KES")):
        client.post(PARTY, json={"fspId": fsp, "currency": currency})
    assert listed(client, f"{PARTY}?currency=KES") == [{"fspId": "kesbank", "currency": "KES"}]


def test_an_update_replaces_what_the_participant_served_before(client: TestClient) -> None:
    client.post(PARTY, json={"fspId": "anybank", "currency": "USD"})
    answer = client.put(PARTY, json={"fspId": "anybank", "currency": "KES"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert listed(client) == [{"fspId": "anybank", "currency": "KES"}]


def test_a_removal_takes_what_the_source_serves(client: TestClient) -> None:
    for fsp in ("anybank", "otherbank"):
        client.post(PARTY, json={"fspId": fsp})
    assert client.delete(PARTY, headers={"FSPIOP-Source": "anybank"}).status_code == 204
    assert listed(client) == [{"fspId": "otherbank"}]


def test_a_removal_by_nobody_in_particular_takes_all_but_leaves_sub_identifiers(client: TestClient) -> None:
    for path, fsp in ((PARTY, "anybank"), (PARTY, "otherbank"), (f"{PARTY}/HOME", "anybank")):
        client.post(path, json={"fspId": fsp})
    assert client.delete(PARTY).status_code == 204
    assert listed(client) == [{"fspId": "anybank", "partySubIdOrType": "HOME"}]


def test_a_removal_of_nothing_is_3040(client: TestClient) -> None:
    assert error(client.delete(PARTY))[:2] == (400, "3040")


def test_a_batch_says_of_each_party_what_became_of_it(client: TestClient) -> None:
    good = {"partyIdType": "MSISDN", "partyIdentifier": "27713803912", "fspId": "anybank"}
    malformed = {"partyIdType": "MSISDN", "partyIdentifier": "not a number", "fspId": "anybank"}
    nobodys = {"partyIdType": "ALIAS", "partyIdentifier": "amina", "partySubIdOrType": "HOME"}
    batch = {
        "requestId": "b51ec534-ee48-4575-b6a9-ead2955b8069",
        "partyList": [good, malformed, nobodys],
        "currency": "USD",
    }
    answer = client.post("/oracle/participants", json=batch)
    said = answer.json()
    assert (answer.status_code, said["currency"]) == (201, "USD")
    assert [each["partyId"] for each in said["partyList"]] == [good, malformed, nobodys]
    codes = [each.get("errorInformation", {}).get("errorCode") for each in said["partyList"]]
    assert codes == [None, "3101", "3003"]
    assert listed(client) == [{"fspId": "anybank", "currency": "USD"}]


def test_the_currency_of_a_batch_may_stand_in_each_party_as_the_reference_writes_it(client: TestClient) -> None:
    party = {"partyIdType": "MSISDN", "partyIdentifier": "27713803912", "fspId": "anybank", "currency": "USD"}
    batch = {"requestId": "b51ec534-ee48-4575-b6a9-ead2955b8069", "partyList": [party]}
    assert client.post("/oracle/participants", json=batch).status_code == 201
    assert listed(client, f"{PARTY}?currency=KES") == []


def test_an_identifier_with_a_slash_in_it_is_one_segment(client: TestClient) -> None:
    client.post("/oracle/participants/ALIAS/shop%2F4", json={"fspId": "anybank"})
    assert listed(client, "/oracle/participants/ALIAS/shop%2F4") == [{"fspId": "anybank"}]
    assert listed(client, "/oracle/participants/ALIAS/shop/4") == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/oracle/participants/MSISDN", (404, "3002")),
        ("/oracle/participants/MSISDN/", (404, "3002")),
        ("/oracle/participants/MSISDN/1/2/3", (404, "3002")),
        ("/oracle/participants/PIGEON/1", (400, "3101")),
        ("/oracle/participants/MSISDN/x", (400, "3101")),
        ("/oracle/participants/MSISDN/%ff", (400, "3101")),
        (f"{PARTY}?currency=ZZZ", (400, "3100")),
        (f"{PARTY}?partySubIdOrType=a%20b", (400, "3101")),
    ],
)
def test_a_path_that_is_not_in_order_is_refused(client: TestClient, path: str, expected: tuple[int, str]) -> None:
    assert error(client.get(path))[:2] == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "3102"),
        ({"fspId": ""}, "3100"),
        ({"fspId": "x" * 33}, "3100"),
        ({"fspId": "x", "currency": "ZZZ"}, "3100"),
        ({"fspId": 1}, "3101"),
    ],
)
def test_a_registration_that_is_not_in_order_is_refused(client: TestClient, body: dict[str, Any], code: str) -> None:
    assert error(client.post(PARTY, json=body))[:2] == (400, code)


def test_a_third_partys_identifiers_have_types_of_their_own(client: TestClient) -> None:
    path = "/oracle/participants/THIRD_PARTY_LINK/1"
    assert client.post(path, json={"fspId": "anybank"}).status_code == 201
    assert listed(client, path) == [{"fspId": "anybank"}]


def test_the_service_has_a_health_page(client: TestClient) -> None:
    assert client.get("/oracle/health").json()["status"] == "OK"


def test_what_the_service_knows_the_hub_knows(client: TestClient, bench: SchemeBench) -> None:
    client.post(PARTY, json={"fspId": "anybank"})
    query = "?partyIdType=MSISDN&partyIdentifier=27713803912"
    assert client.get(f"/oracle/parties{query}").json() == [{"fspId": "anybank"}]
