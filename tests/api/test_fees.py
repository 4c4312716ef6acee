"""``/rules/fees``: the rules in force and before, every fault told, trying on the past, and what was charged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient
from tests.api.conftest import BenchHub
from tests.switch.charging import FEE_TYPE, SIX_PER_MILLE, WALLET_TO_WALLET, fee_rule, packet, transaction, where
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import FEES, Settling
from tests.switch.wire import abort, prepare

from vuka.api import fees
from vuka.api.access import needed_role
from vuka.ids import format_ulid
from vuka.rules import Fault, RulesError
from vuka.switch.access import Role
from vuka.switch.transfers import PrepareTransfer

A, B, C = "alpha", "bravo", "charlie"
TOLL = fee_rule(name="toll", creditor="hub", fixed="0.25", currency="USD")


def error(answer: Response) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


@pytest.fixture(autouse=True)
def scheme(bench: SchemeBench) -> Settling:
    for name in (A, B, C):
        bench.onboard(name, "USD", cap="1000", funds="2000")
    settling = Settling(bench)
    settling.add_fee_model()
    bench.take_notices()
    return settling


# --- the rules in force -----------------------------------------------------------------------------------------


def test_a_new_hub_charges_nothing(client: TestClient) -> None:
    answer = client.get("/rules/fees")
    assert answer.status_code == 200
    assert answer.json() == {"version": None, "createdDate": None, "createdBy": None, "rules": []}


def test_rules_are_stored_and_shown_as_they_were_written(client: TestClient) -> None:
    written = json.dumps([fee_rule(name="café", percentage=0.6, currency="USD")], indent=2)
    answer = client.put("/rules/fees", content=written)
    assert answer.status_code == 200
    assert answer.json()["rules"] == json.loads(written)
    assert (answer.json()["version"], answer.json()["createdBy"]) == (1, "operator")
    assert written.encode() in client.get("/rules/fees").content


def test_rules_about_fees_and_about_quotes_are_apart(client: TestClient) -> None:
    client.put("/rules/fees", json=[SIX_PER_MILLE])
    assert client.get("/rules/quotes").json()["rules"] == []
    assert client.put("/rules/quotes", json=[]).json()["version"] == 2
    assert client.get("/rules/fees").json()["rules"] == [SIX_PER_MILLE]


def test_rules_hold_from_then_on(client: TestClient, scheme: Settling) -> None:
    before = scheme.pay(A, B, "100 USD")
    client.put("/rules/fees", json=[SIX_PER_MILLE])
    after = scheme.pay(A, B, "100 USD")
    assert fees_of(client, before) is None
    assert fees_of(client, after) == [
        {"rule": "six per mille", "ledgerAccountType": FEE_TYPE, "from": A, "to": B, "amount": usd("0.6")}
    ]


def test_the_history_has_every_version_the_newest_first(client: TestClient, bench: SchemeBench) -> None:
    client.put("/rules/fees", json=[SIX_PER_MILLE])
    bench.advance(60_000)
    client.put("/rules/fees", json=[])
    shown = client.get("/rules/fees/history").json()
    assert [(each["version"], each["isActive"], len(each["rules"])) for each in shown] == [(2, True, 0), (1, False, 1)]
    assert [each["createdDate"] for each in shown] == ["2023-11-14T22:14:20.000Z", "2023-11-14T22:13:20.000Z"]


# --- what is refused --------------------------------------------------------------------------------------------


def test_every_fault_is_told_at_once_with_its_rule_and_place(client: TestClient) -> None:
    client.put("/rules/fees", json=[SIX_PER_MILLE])
    odd = fee_rule(name="odd", percentage="99", validFrom="tomorrow", ledgerAccountType="NO_SUCH")
    of_nobody = {"conditions": {"all": [where("payload", "$.a", "equal", 1)]}, "event": {"type": "FEE"}}
    answer = client.put("/rules/fees", json=[SIX_PER_MILLE, odd, of_nobody])
    status, code, description = error(answer)
    assert (status, code) == (400, "3100")
    assert description.startswith(
        "Generic validation error - rule 2 (odd), event.params.percentage: must be from 0 to 50"
    )
    assert [(each["rule"], each["name"], each["path"]) for each in answer.json()["faults"]] == [
        (2, "odd", "event.params.percentage"),
        (2, "odd", "event.params.validFrom"),
        (2, "odd", "event.params.ledgerAccountType"),
        (3, None, "conditions.all[0].fact"),
        (3, None, "event.params.ledgerAccountType"),
        (3, None, "event.params.from"),
        (3, None, "event.params.to"),
        (3, None, "event.params.percentage"),
    ]
    assert client.get("/rules/fees").json()["version"] == 1


def test_a_fee_that_nothing_settles_is_refused_with_what_to_do(client: TestClient) -> None:
    answer = client.put(
        "/rules/fees", json=[fee_rule(percentage="1"), SIX_PER_MILLE, fee_rule(fixed="1", currency="KES")]
    )
    assert answer.status_code == 200, "the model of fees is the default of every currency"
    client.put("/rules/fees", json=[])
    assert client.put(f"/settlementModels/{FEES}", json={"isActive": False}).status_code == 200
    answer = client.put("/rules/fees", json=[fee_rule(name="all", percentage="1"), SIX_PER_MILLE])
    assert answer.json()["faults"] == [
        {
            "rule": rule,
            "name": name,
            "path": "event.params.ledgerAccountType",
            "message": f"is settled by no deferred model in {currencies}: add one first (vuka model add)",
        }
        for rule, name, currencies in ((1, "all", "EUR, USD"), (2, "six per mille", "USD"))
    ]


def test_what_changed_while_rules_were_checked_is_told_as_a_fault_too(client: TestClient, hub: BenchHub) -> None:
    hub.refuses = RulesError([Fault("is settled by nothing any more", 1, "toll", "event.params.ledgerAccountType")])
    answer = client.put("/rules/fees", json=[TOLL])
    assert error(answer)[:2] == (400, "3100")
    assert [each["message"] for each in answer.json()["faults"]] == ["is settled by nothing any more"]


def test_the_last_model_that_settles_what_is_charged_is_not_switched_off(client: TestClient) -> None:
    client.put("/rules/fees", json=[SIX_PER_MILLE])
    status, code, description = error(client.put(f"/settlementModels/{FEES}", json={"isActive": False}))
    assert (status, code) == (400, "3000")
    assert description.partition(" - ")[2] == (
        "rules about fees charge INTERCHANGE_FEE in USD: add another deferred model for it, or change them"
    )


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"\xff\xfe", b'"rules"', b"[" * 50_000, b"[1e99999999999999999999]"]
)
def test_what_is_no_list_of_rules_is_refused(client: TestClient, content: bytes) -> None:
    assert error(client.put("/rules/fees", content=content))[:2] == (400, "3100")


def test_too_large_a_set_is_refused(client: TestClient) -> None:
    assert error(client.put("/rules/fees", content=b"[" + b" " * 300_000 + b"]"))[:2] == (413, "3104")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_rules_are_only_put(client: TestClient, method: str) -> None:
    assert error(client.request(method, "/rules/fees"))[:2] == (405, "3000")


def test_the_history_takes_no_filter(client: TestClient) -> None:
    assert error(client.get("/rules/fees/history?limit=1"))[0] == 400


@pytest.mark.parametrize(
    ("path", "method", "role"),
    [
        ("/rules/fees", "GET", Role.READ),
        ("/rules/fees", "PUT", Role.FINANCE),
        ("/rules/fees/history", "GET", Role.READ),
        ("/rules/fees/try", "POST", Role.READ),
    ],
)
def test_a_role_is_needed(path: str, method: str, role: Role) -> None:
    assert needed_role(path, method) is role


# --- trying -----------------------------------------------------------------------------------------------------


@pytest.fixture
def past(bench: SchemeBench, scheme: Settling) -> list[PrepareTransfer]:
    """Payments of 100, 20 and 0.5 USD, a minute apart; the second was charged a toll. And one that was declined."""
    payments = [scheme.pay(A, B, "100 USD", ilp_packet=packet(transaction()))]
    bench.advance(60_000)
    scheme.charge(TOLL)
    payments.append(scheme.pay(B, C, "20 USD"))
    scheme.charge()
    bench.advance(60_000)
    payments.append(scheme.pay(A, C, "0.5 USD"))
    declined = prepare(bench, "700 USD", payer=A, payee=B)
    bench.accept(declined)
    bench.accept(abort(bench, declined))
    return payments


def attempt(client: TestClient, *rules: object, **asked: object) -> dict[str, Any]:
    answer = client.post("/rules/fees/try", json={"rules": rules, **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_rules_are_tried_on_past_payments(client: TestClient, past: list[PrepareTransfer]) -> None:
    tried = attempt(client, SIX_PER_MILLE, fee_rule(conditions=WALLET_TO_WALLET, fixed="1", currency="USD"))
    assert (tried["tried"], tried["charged"]) == (3, 2)
    assert tried["rules"] == [
        {"rule": 1, "name": "six per mille", "type": "FEE", "held": 3, "charged": 2, "total": [usd("0.72")]},
        {"rule": 2, "name": None, "type": "FEE", "held": 1, "charged": 1, "total": [usd("1")]},
    ]
    assert (tried["total"], tried["totalThen"]) == ([usd("1.72")], [usd("0.25")])
    assert [(each["amount"]["amount"], len(each["fees"]), len(each["feesThen"])) for each in tried["transfers"]] == [
        ("0.5", 0, 0),
        ("20", 1, 1),
        ("100", 2, 0),
    ]


def test_a_trial_tells_the_payment_what_it_was_charged_and_what_it_would_have(
    client: TestClient, past: list[PrepareTransfer]
) -> None:
    wire_id = past[1].message.resource_id
    tried = attempt(client, SIX_PER_MILLE, ids=[wire_id])
    assert tried["transfers"] == [
        {
            "transferId": wire_id,
            "payerFsp": B,
            "payeeFsp": C,
            "amount": usd("20"),
            "completedTimestamp": "2023-11-14T22:14:20.000Z",
            "held": [{"rule": 1, "name": "six per mille", "type": "FEE"}],
            "fees": [
                {"rule": "six per mille", "ledgerAccountType": FEE_TYPE, "from": B, "to": C, "amount": usd("0.12")}
            ],
            "feesThen": [
                {"rule": "toll", "ledgerAccountType": FEE_TYPE, "from": B, "to": "Hub", "amount": usd("0.25")}
            ],
        }
    ]


def test_a_trial_changes_nothing(client: TestClient, bench: SchemeBench, past: list[PrepareTransfer]) -> None:
    def everything() -> list[object]:
        tables = ("fee", "rule_set", "ledger_transfer", "account", "window_flow")
        return [
            bench.read(lambda tx, _ledger, _directory: tx.query(f"SELECT * FROM {table}"))  # noqa: B023 - at once
            for table in tables
        ]

    before = everything()
    attempt(client, SIX_PER_MILLE, fee_rule(creditor="hub", fixed="9", currency="USD", ledgerAccountType="OTHER_FEE"))
    assert everything() == before


def test_rules_may_be_tried_before_there_is_a_model_or_a_type_of_account(
    client: TestClient, past: list[PrepareTransfer]
) -> None:
    assert attempt(client, fee_rule(fixed="1", currency="USD", ledgerAccountType="OTHER_FEE"))["total"] == [usd("3")]


def test_a_rule_out_of_its_dates_holds_but_charges_nothing(client: TestClient, past: list[PrepareTransfer]) -> None:
    second = fee_rule(
        fixed="1", currency="USD", validFrom="2023-11-14T22:14:20.000Z", validTo="2023-11-14T22:15:20.000Z"
    )
    tried = attempt(client, second)
    assert [(each["held"], each["charged"]) for each in tried["rules"]] == [(3, 1)]
    assert [bool(each["fees"]) for each in tried["transfers"]] == [False, True, False]


def test_a_trial_of_no_rules_says_what_was_charged(client: TestClient, past: list[PrepareTransfer]) -> None:
    tried = attempt(client)
    assert (tried["tried"], tried["charged"], tried["rules"], tried["total"]) == (3, 0, [], [])
    assert tried["totalThen"] == [usd("0.25")]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"limit": 2}, ["0.5", "20"]),
        ({"since": "2023-11-14T22:14:20.000Z"}, ["0.5", "20"]),
        ({"since": "2030-01-01T00:00:00.000Z"}, []),
        ({"since": "9999-12-31T23:59:59.999Z"}, []),
        ({"since": "1000-01-01T00:00:00.000Z"}, ["0.5", "20", "100"]),
        ({"ids": ["b51ec534-ee48-4575-b6a9-ead2955b8069"]}, []),
    ],
)
def test_past_payments_are_chosen(
    client: TestClient, past: list[PrepareTransfer], asked: dict[str, Any], found: list[str]
) -> None:
    assert [each["amount"]["amount"] for each in attempt(client, **asked)["transfers"]] == found


def test_past_payments_are_chosen_by_their_ids_however_these_are_written(
    client: TestClient, past: list[PrepareTransfer]
) -> None:
    ids = [past[0].message.resource_id, format_ulid(past[2].transfer_id), past[0].message.resource_id]
    assert [each["amount"]["amount"] for each in attempt(client, ids=ids)["transfers"]] == ["0.5", "100"]
    assert [each["amount"]["amount"] for each in attempt(client, ids=ids, limit=1)["transfers"]] == ["0.5"]
    later = attempt(client, ids=ids, since="2023-11-14T22:14:20.000Z")
    assert [each["amount"]["amount"] for each in later["transfers"]] == ["0.5"]


def test_a_trial_looks_through_the_past_a_page_at_a_time(
    client: TestClient, past: list[PrepareTransfer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fees, "PAGE_TRANSFERS", 1)
    assert [each["amount"]["amount"] for each in attempt(client)["transfers"]] == ["0.5", "20", "100"]
    assert [each["amount"]["amount"] for each in attempt(client, limit=2)["transfers"]] == ["0.5", "20"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "3100"),
        ({"rules": [], "limit": 0}, "3100"),
        ({"rules": [], "limit": 1001}, "3100"),
        ({"rules": [], "limits": 1}, "3100"),
        ({"rules": [], "ids": []}, "3100"),
        ({"rules": [], "ids": ["x"]}, "3101"),
        ({"rules": [], "ids": ["b51ec534-ee48-4575-b6a9-ead2955b8069"] * 201}, "3100"),
        ({"rules": [], "since": "yesterday"}, "3101"),
        ({"rules": {}}, "3100"),
        ({"rules": [{}]}, "3100"),
    ],
)
def test_what_cannot_be_tried_is_refused(client: TestClient, body: dict[str, Any], code: str) -> None:
    assert error(client.post("/rules/fees/try", json=body))[:2] == (400, code)


def test_what_is_no_json_cannot_be_tried(client: TestClient) -> None:
    assert error(client.post("/rules/fees/try", content=b"{"))[:2] == (400, "3101")


def test_faulty_rules_are_not_tried(client: TestClient) -> None:
    answer = client.post("/rules/fees/try", json={"rules": [fee_rule(percentage="99"), fee_rule(fixed="1")]})
    assert [(each["rule"], each["path"]) for each in answer.json()["faults"]] == [
        (1, "event.params.percentage"),
        (2, "event.params.currency"),
    ]


# --- what was charged -------------------------------------------------------------------------------------------


def fees_of(client: TestClient, payment: PrepareTransfer) -> list[dict[str, Any]] | None:
    """The fees of ``GET /transfers/{id}``; None where it shows none."""
    answer = client.get(f"/transfers/{payment.message.resource_id}")
    assert answer.status_code == 200
    found: list[dict[str, Any]] | None = answer.json().get("fees")
    return found


def test_a_transfer_shows_its_fees_in_the_order_in_which_they_were_charged(
    client: TestClient, scheme: Settling
) -> None:
    client.put("/rules/fees", json=[{**SIX_PER_MILLE, "priority": 1}, {**TOLL, "priority": 2}])
    assert fees_of(client, scheme.pay(A, B, "12.5 USD")) == [
        {"rule": "toll", "ledgerAccountType": FEE_TYPE, "from": A, "to": "Hub", "amount": usd("0.25")},
        {"rule": "six per mille", "ledgerAccountType": FEE_TYPE, "from": A, "to": B, "amount": usd("0.08")},
    ]


def test_a_transfer_keeps_its_fees_when_the_rules_are_gone(client: TestClient, scheme: Settling) -> None:
    client.put("/rules/fees", json=[TOLL])
    payment = scheme.pay(A, B, "12.5 USD")
    client.put("/rules/fees", json=[])
    assert [each["rule"] for each in fees_of(client, payment) or ()] == ["toll"]


def test_accounts_show_what_fees_run_up(client: TestClient, scheme: Settling) -> None:
    client.put("/rules/fees", json=[SIX_PER_MILLE, TOLL])
    scheme.pay(A, B, "100 USD")
    values = {
        name: next(
            each["value"]
            for each in client.get(f"/participants/{name}/accounts").json(parse_float=str)
            if (each["ledgerAccountType"], each["currency"]) == (FEE_TYPE, "USD")
        )
        for name in (A, B, "Hub")
    }
    assert values == {A: "0.85", B: "-0.6", "Hub": "-0.25"}
