"""Settlement models, ledger account types and transactions on the operators' API (hub reference §5.1)."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import prepare

from vuka.fspiop.ilp import IlpVersion, agree
from vuka.switch.account_types import LEDGER_ACCOUNT_TYPES
from vuka.switch.transfers import PrepareTransfer

MODEL: dict[str, Any] = {
    "name": "CGS",
    "settlementGranularity": "GROSS",
    "settlementInterchange": "BILATERAL",
    "settlementDelay": "IMMEDIATE",
    "currency": "USD",
    "requireLiquidityCheck": True,
    "ledgerAccountType": "POSITION",
    "autoPositionReset": False,
    "settlementAccountType": "SETTLEMENT",
}
FEES = {**MODEL, "name": "FEES", "settlementGranularity": "NET", "settlementInterchange": "MULTILATERAL"} | {
    "settlementDelay": "DEFERRED",
    "ledgerAccountType": "INTERCHANGE_FEE",
    "settlementAccountType": "INTERCHANGE_FEE_SETTLEMENT",
}
TYPE = {"name": "MERCHANT_FEE", "description": "Fees of merchants", "isActive": True, "isSettleable": True}


def refused(answer: Any) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


def accounts_of(client: TestClient, name: str, currency: str = "USD") -> list[tuple[str, int]]:
    """The accounts that a new participant gets, and whether each is active."""
    made = client.post("/participants", json={"name": name, "currency": currency})
    assert made.status_code == 201, made.text
    return [(each["ledgerAccountType"], each["isActive"]) for each in made.json()["accounts"]]


# --- models ----------------------------------------------------------------------------------------------------------


def test_a_model_is_stored_and_listed_in_the_reference_s_shape(client: TestClient) -> None:
    answer = client.post("/settlementModels", json=MODEL)
    assert (answer.status_code, answer.content) == (201, b"")
    found = client.get("/settlementModels/CGS").json()
    assert found == {
        "settlementModelId": 2,
        "name": "CGS",
        "isActive": True,
        "settlementGranularity": "GROSS",
        "settlementInterchange": "BILATERAL",
        "settlementDelay": "IMMEDIATE",
        "currency": "USD",
        "requireLiquidityCheck": True,
        "ledgerAccountTypeId": "POSITION",
        "autoPositionReset": False,
    }
    assert found in client.get("/settlementModels").json()


@pytest.mark.parametrize("delay", ["IMMEDIATE", "DEFERRED"])
@pytest.mark.parametrize("granularity", ["GROSS", "NET"])
@pytest.mark.parametrize("interchange", ["BILATERAL", "MULTILATERAL"])
def test_four_combinations_make_a_model(client: TestClient, delay: str, granularity: str, interchange: str) -> None:
    model = {**MODEL, "settlementDelay": delay, "settlementGranularity": granularity}
    answer = client.post("/settlementModels", json={**model, "settlementInterchange": interchange})
    if f"{delay} {granularity} {interchange}" in (
        "IMMEDIATE GROSS BILATERAL",
        "DEFERRED GROSS BILATERAL",
        "DEFERRED NET BILATERAL",
        "DEFERRED NET MULTILATERAL",
    ):
        assert answer.status_code == 201
    else:
        text = "Invalid settlement model definition - delay-granularity-interchange combination is not supported"
        assert refused(answer) == (400, "3000", f"Generic client error - {text}")
        assert [each["name"] for each in client.get("/settlementModels").json()] == ["DEFAULTDEFERREDNET"]


@pytest.mark.parametrize("name", list(MODEL))
def test_what_a_model_must_say(client: TestClient, name: str) -> None:
    answer = client.post("/settlementModels", json={key: value for key, value in MODEL.items() if key != name})
    if name == "currency":
        assert answer.status_code == 201, "without a currency it is the default for all"
        assert client.get("/settlementModels/CGS").json()["currency"] is None
    else:
        assert refused(answer)[:2] == (400, "3102")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("name", "C", "3101"),
        ("name", "C" * 31, "3101"),
        ("name", "C G", "3101"),
        ("settlementGranularity", "FINE", "3101"),
        ("settlementInterchange", "ALL", "3101"),
        ("settlementDelay", "LATER", "3101"),
        ("currency", "XYZ", "3101"),
        ("requireLiquidityCheck", "maybe", "3100"),
        ("ledgerAccountType", "NONE", "3003"),
        ("settlementAccountType", "POSITION", "3101"),
        ("autoPositionReset", 3, "3100"),
        ("more", 1, "3103"),
    ],
)
def test_what_a_model_can_not_say(client: TestClient, name: str, value: object, code: str) -> None:
    assert refused(client.post("/settlementModels", json={**MODEL, name: value}))[:2] == (400, code)


def test_a_provisioning_script_may_make_the_usual_model_on_a_new_hub(client: TestClient) -> None:
    usual = {**MODEL, "name": "DEFERREDNET", "settlementGranularity": "NET", "settlementDelay": "DEFERRED"}
    answer = client.post("/settlementModels", json={**usual, "settlementInterchange": "MULTILATERAL"})
    assert answer.status_code == 201
    assert accounts_of(client, "first") == [("POSITION", 0), ("SETTLEMENT", 0)]


def test_a_name_stands_for_one_model(client: TestClient) -> None:
    client.post("/settlementModels", json=MODEL)
    again = client.post("/settlementModels", json={**MODEL, "currency": "EUR"})
    assert refused(again) == (400, "3000", "Generic client error - Settlement Model already exists")


def test_a_currency_has_one_model_for_an_account(client: TestClient) -> None:
    client.post("/settlementModels", json=MODEL)
    assert refused(client.post("/settlementModels", json={**MODEL, "name": "OTHER"}))[:2] == (400, "3000")


def test_a_model_is_taken_out_of_use_and_into_it_again(client: TestClient) -> None:
    client.post("/settlementModels", json=MODEL)
    for is_active in (False, True):
        answer = client.put("/settlementModels/CGS", json={"isActive": is_active})
        assert (answer.status_code, answer.json()["isActive"]) == (200, is_active)


def test_a_model_that_is_not_there(client: TestClient) -> None:
    assert refused(client.get("/settlementModels/NONE"))[:2] == (400, "3200")
    assert refused(client.put("/settlementModels/NONE", json={"isActive": True}))[:2] == (500, "2001")
    assert refused(client.put("/settlementModels/DEFAULTDEFERREDNET", json={}))[:2] == (400, "3102")


def test_a_participant_gets_the_accounts_that_its_models_name_none_of_them_active(client: TestClient) -> None:
    assert accounts_of(client, "first") == [("POSITION", 0), ("SETTLEMENT", 0)]
    client.post("/settlementModels", json=FEES)
    expected = [("POSITION", 0), ("SETTLEMENT", 0), ("INTERCHANGE_FEE", 0), ("INTERCHANGE_FEE_SETTLEMENT", 0)]
    assert accounts_of(client, "second") == expected
    assert accounts_of(client, "third", "EUR") == [("POSITION", 0), ("SETTLEMENT", 0)], "the fees are in dollars"


def test_a_model_of_the_currency_goes_before_the_default_for_the_same_account(client: TestClient) -> None:
    client.post("/settlementModels", json=MODEL)
    client.put("/settlementModels/DEFAULTDEFERREDNET", json={"isActive": False})
    assert accounts_of(client, "first") == [("POSITION", 0), ("SETTLEMENT", 0)]
    answer = client.post("/participants", json={"name": "second", "currency": "EUR"})
    assert refused(answer)[:2] == (400, "6000")


@pytest.mark.parametrize("currency", ["USD", None])
def test_a_model_that_comes_later_opens_its_accounts_for_participants_that_are_there(
    client: TestClient, bench: SchemeBench, currency: str | None
) -> None:
    bench.onboard("first", "USD", cap="100")
    bench.onboard("first", "EUR", cap="100")
    accounts_of(client, "second")
    client.post("/settlementModels", json={**FEES, "currency": "USD"} if currency else without(FEES, "currency"))

    def fees(name: str) -> list[tuple[str, str, int]]:
        found = client.get(f"/participants/{name}/accounts").json()
        kinds = ("INTERCHANGE_FEE", "INTERCHANGE_FEE_SETTLEMENT")
        return sorted(
            (each["currency"], each["ledgerAccountType"], each["isActive"])
            for each in found
            if each["ledgerAccountType"] in kinds
        )

    def both(code: str, is_active: int) -> list[tuple[str, str, int]]:
        return [(code, "INTERCHANGE_FEE", is_active), (code, "INTERCHANGE_FEE_SETTLEMENT", is_active)]

    # Where limits are set already the accounts are active at once; where they are not, with the limits.
    assert fees("first") == ([] if currency else both("EUR", 1)) + both("USD", 1)
    assert fees("second") == both("USD", 0)
    limits = {"currency": "USD", "limit": {"type": "NET_DEBIT_CAP", "value": 10}, "initialPosition": 0}
    client.post("/participants/second/initialPositionAndLimits", json=limits)
    assert fees("second") == both("USD", 1)
    assert accounts_of(client, "third")[2:] == [("INTERCHANGE_FEE", 0), ("INTERCHANGE_FEE_SETTLEMENT", 0)]


def test_a_model_taken_into_use_again_opens_what_was_missed(client: TestClient) -> None:
    client.post("/settlementModels", json=FEES)
    client.put("/settlementModels/FEES", json={"isActive": False})
    assert accounts_of(client, "first") == [("POSITION", 0), ("SETTLEMENT", 0)]
    client.put("/settlementModels/FEES", json={"isActive": True})
    found = [each["ledgerAccountType"] for each in client.get("/participants/first/accounts").json()]
    assert found == ["POSITION", "SETTLEMENT", "INTERCHANGE_FEE", "INTERCHANGE_FEE_SETTLEMENT"]


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


# --- ledger account types --------------------------------------------------------------------------------------------


def test_every_scheme_has_the_reference_s_types(client: TestClient) -> None:
    found = client.get("/ledgerAccountTypes").json()
    assert [(each["name"], each["isSettleable"]) for each in found] == [
        (name, is_settleable) for name, _, is_settleable in LEDGER_ACCOUNT_TYPES
    ]
    assert [each["ledgerAccountTypeId"] for each in found] == list(range(1, len(found) + 1))


def test_a_type_is_added_and_may_have_a_model(client: TestClient) -> None:
    answer = client.post("/ledgerAccountTypes", json=TYPE)
    assert (answer.status_code, answer.content) == (201, b"")
    assert client.get("/ledgerAccountTypes").json()[-1] == {"ledgerAccountTypeId": 8, **TYPE}
    assert client.get("/enums").json()["ledgerAccountType"]["MERCHANT_FEE"] == 8
    client.post("/settlementModels", json={**FEES, "ledgerAccountType": "MERCHANT_FEE"})
    assert ("MERCHANT_FEE", 0) in accounts_of(client, "first")


@pytest.mark.parametrize("name", ["POSITION", "MERCHANT_FEE", "HEADROOM"])
def test_a_type_is_added_once(client: TestClient, name: str) -> None:
    client.post("/ledgerAccountTypes", json=TYPE)
    again = client.post("/ledgerAccountTypes", json={**TYPE, "name": name})
    assert refused(again) == (400, "3000", "Generic client error - This Ledger Account Type already exists")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("name", "M", "3101"),
        ("name", "M F", "3101"),
        ("description", 1, "3101"),
        ("isActive", "x", "3100"),
        ("isSettleable", None, "3100"),
        ("more", 1, "3103"),
    ],
)
def test_what_a_type_can_not_say(client: TestClient, name: str, value: object, code: str) -> None:
    assert refused(client.post("/ledgerAccountTypes", json={**TYPE, name: value}))[:2] == (400, code)


@pytest.mark.parametrize("name", list(TYPE))
def test_what_a_type_must_say(client: TestClient, name: str) -> None:
    body = {key: value for key, value in TYPE.items() if key != name}
    assert refused(client.post("/ledgerAccountTypes", json=body))[:2] == (400, "3102")


# --- transactions ----------------------------------------------------------------------------------------------------

TRANSACTION = {
    "transactionId": "b51ec534-ee48-4575-b6a9-ead2955b8069",
    "quoteId": "0e0c4c4e-9a0a-4a5c-8f0e-2f4f6c1f0a11",
    "payee": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "254711000001", "fspId": "payeefsp"}},
    "payer": {"partyIdInfo": {"partyIdType": "MSISDN", "partyIdentifier": "254700000001", "fspId": "payerfsp"}},
    "amount": {"amount": "10", "currency": "USD"},
    "transactionType": {"scenario": "TRANSFER", "initiator": "PAYER", "initiatorType": "CONSUMER"},
    "expiration": "2030-01-01T00:00:00.000Z",
}


def prepared(bench: SchemeBench, packet: str) -> PrepareTransfer:
    for name in ("payerfsp", "payeefsp"):
        bench.onboard(name, "USD", cap="100", funds="100")
    command = msgspec.structs.replace(prepare(bench, "10 USD"), ilp_packet=packet)
    bench.accept(command)
    return command


@pytest.mark.parametrize("version", list(IlpVersion))
def test_a_transaction_is_what_is_in_the_transfers_packet(
    client: TestClient, bench: SchemeBench, version: IlpVersion
) -> None:
    command = prepared(bench, agree(TRANSACTION, b"secret", version).packet)
    answer = client.get(f"/transactions/{command.message.resource_id}")
    assert (answer.status_code, answer.json()) == (200, TRANSACTION)


def test_a_transaction_that_is_not_there(client: TestClient) -> None:
    assert refused(client.get(f"/transactions/{uuid.uuid4()}"))[:2] == (400, "3200")
    assert refused(client.get("/transactions/x"))[:2] == (400, "3101")


def test_a_packet_that_can_not_be_read_is_said_to_be_so(client: TestClient, bench: SchemeBench) -> None:
    command = prepared(bench, "AYIBgQ")
    answer = client.get(f"/transactions/{command.message.resource_id}")
    assert refused(answer)[:2] == (500, "2001")
