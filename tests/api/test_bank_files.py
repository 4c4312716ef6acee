"""Bank files over HTTP: accounts, orders as JSON and as files, statements checked and processed, and each refusal."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.bankfiles import iso
from tests.switch.banking import IBANS, Banking
from tests.switch.scheme_bench import SchemeBench

from vuka.api.bank_files import BODY_BYTES_MAX
from vuka.switch.bank_statements import ENTRIES_MAX

A, B = "alpha", "bravo"


@pytest.fixture
def scheme(bench: SchemeBench) -> Iterator[Banking]:
    for name in (A, B):
        bench.onboard(name, "USD", cap="1000", funds="2000")
    banking = Banking(bench, A, B)
    yield banking
    banking.check()


@pytest.fixture
def settlement(scheme: Banking) -> int:
    """A owes B 12.50."""
    scheme.pay(A, B, "12.5 USD")
    return scheme.create(scheme.close())


def error(answer: Any) -> tuple[int, str, str]:
    information = answer.json()["errorInformation"]
    return answer.status_code, information["errorCode"], information["errorDescription"]


def files(*contents: bytes, **fields: Any) -> dict[str, Any]:
    """The body with these files."""
    return {
        "files": [
            {"name": f"file{number}", "content": base64.b64encode(content).decode()}
            for number, content in enumerate(contents, 1)
        ],
        **fields,
    }


REPORT = b"settlement_id,participant,currency,amount,balance\n1,alpha,USD,-12.50,1987.50\n1,bravo,USD,12.50,2012.50\n"
SHORT = REPORT.replace(b"1987.50", b"1980")


# --- accounts ---------------------------------------------------------------------------------------------------


def test_an_account_is_put_shown_and_removed(client: TestClient, bench: SchemeBench) -> None:
    bench.onboard(A, "USD", cap="1000")
    path = "/participants/alpha/bankAccounts/USD"
    shown = {
        "currency": "USD",
        "account": IBANS[A],
        "scheme": "IBAN",
        "name": "Alpha Ltd",
        "bic": "NWBKGB2L",
        "agentBic": "RBOSGGSX",
    }
    asked = {"account": "GB29 nwbk 6016 1331 9268 19", "name": "Alpha Ltd", "bic": "NWBKGB2L", "agentBic": "RBOSGGSX"}
    answer = client.put(path, json=asked)
    assert (answer.status_code, answer.json()) == (200, shown)
    assert client.get(path).json() == shown
    assert client.get("/participants/alpha/bankAccounts").json() == [shown]
    assert client.delete(path).status_code == 204
    assert error(client.get(path)) == (400, "3200", "Generic ID not found - alpha has no bank account in USD")
    assert client.get("/participants/alpha/bankAccounts").json() == []


def test_the_scheme_itself_has_an_account(client: TestClient, bench: SchemeBench) -> None:
    answer = client.put("/participants/Hub/bankAccounts/USD", json={"account": "1000", "scheme": "OTHER", "name": "S"})
    assert (answer.status_code, answer.json()["account"]) == (200, "1000")


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({}, "3102", '"account" is required'),
        ({"account": "GB29"}, "3102", '"name" is required'),
        ({"account": "GB29", "name": "x"}, "3100", '"account" is not an IBAN'),
        ({"account": "1", "name": "x", "scheme": "BBAN"}, "3101", '"scheme" must be one of [IBAN, OTHER]'),
        ({"account": "1", "name": "x", "scheme": "OTHER", "bic": "no"}, "3100", '"bic" is not a BIC'),
        ({"account": "1", "name": "x", "scheme": "OTHER", "iban": "1"}, "3103", '"iban" is not allowed'),
        ({"account": 1, "name": "x"}, "3101", '"account" must be a string'),
    ],
)
def test_what_is_wrong_with_an_account_is_told_with_its_field(
    client: TestClient, bench: SchemeBench, body: dict[str, Any], code: str, text: str
) -> None:
    bench.onboard(A, "USD", cap="1000")
    status, found, description = error(client.put("/participants/alpha/bankAccounts/USD", json=body))
    assert (status, found, text in description) == (400, code, True), description


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/participants/nobody/bankAccounts", "3200"),
        ("GET", "/participants/nobody/bankAccounts/USD", "3200"),
        ("DELETE", "/participants/nobody/bankAccounts/USD", "3200"),
        ("GET", "/participants/Hub/bankAccounts/XYZ", "3101"),
        ("GET", "/participants/Hub/bankAccounts?currency=USD", "3103"),
    ],
)
def test_what_is_not_there_is_an_error(client: TestClient, method: str, path: str, code: str) -> None:
    assert error(client.request(method, path))[:2] == (400, code)


# --- orders -----------------------------------------------------------------------------------------------------


def test_instructions_are_shown_as_json(client: TestClient, scheme: Banking, settlement: int) -> None:
    answer = client.get(f"/v2/settlements/{settlement}/instructions").json()
    assert (answer["settlementId"], answer["state"], answer["details"]) == (1, "PENDING_SETTLEMENT", [])
    first, second = answer["instructions"]
    assert (first["reference"], first["amount"]) == ("STL1-7-0", {"amount": 12.5, "currency": "USD"})
    assert (first["debtor"]["name"], first["debtor"]["bankAccount"]["account"]) == (A, IBANS[A])
    assert (first["creditor"]["name"], second["debtor"]["name"], second["creditor"]["name"]) == ("Hub", "Hub", B)


def test_instructions_are_a_file_that_is_always_the_same(client: TestClient, scheme: Banking, settlement: int) -> None:
    path = f"/v2/settlements/{settlement}/instructions?format=pacs.009"
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/xml")
    assert answer.headers["content-disposition"] == 'attachment; filename="settlement-1-USD.pacs.009.xml"'
    assert iso.pacs009(answer.content).grp_hdr.nb_of_txs == "2"
    scheme.hub.advance(60_000)
    assert client.get(path).content == answer.content


def test_several_files_come_as_one_archive_that_is_always_the_same(
    client: TestClient, scheme: Banking, settlement: int
) -> None:
    path = f"/v2/settlements/{settlement}/instructions?format=camt.050&currency=USD&valueDate=2030-01-31"
    answer = client.get(path)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert names == [f"settlement-1-USD-STL1-{pair}.camt.050.xml" for pair in ("7-0", "0-10")]
        assert str(iso.camt050(archive.read(names[0])).lqdty_cdt_trf.sttlm_dt) == "2030-01-31"
    assert client.get(path).content == answer.content


def test_instructions_are_csv(client: TestClient, scheme: Banking, settlement: int) -> None:
    answer = client.get(f"/v2/settlements/{settlement}/instructions?format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert [line.split(",")[1] for line in answer.text.splitlines()] == ["reference", "STL1-7-0", "STL1-0-10"]


def test_everything_that_stands_in_the_way_is_told_at_once(
    client: TestClient, bench: SchemeBench, scheme: Banking
) -> None:
    scheme.pay(A, B, "12.5001 USD")
    settlement = scheme.create(scheme.close())
    for name in (B, "Hub"):
        assert client.delete(f"/participants/{name}/bankAccounts/USD").status_code == 204
    details = [
        "Hub has no bank account in USD",
        "bravo has no bank account in USD",
        "no bank can pay Hub the 12.5001 USD of alpha",
        "no bank can pay bravo the 12.5001 USD of Hub",
    ]
    answer = client.get(f"/v2/settlements/{settlement}/instructions?format=csv")
    assert error(answer)[:2] == (400, "3100")
    assert answer.json()["details"] == details
    shown = client.get(f"/v2/settlements/{settlement}/instructions").json()
    assert (shown["details"], shown["instructions"][1]["creditor"]) == (details, {"name": B, "bankAccount": None})


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("format=mt202", "3101", '"format" must be one of [camt.050, csv, json, pacs.009]'),
        ("currency=XYZ", "3101", '"currency" must be one of'),
        ("currency=EUR&format=csv", "3100", "Settlement 1 asks the bank for nothing in EUR"),
        ("valueDate=2030-02-30", "3101", '"valueDate" must be a day such as 2030-01-31'),
        ("valueDate=20300131", "3101", '"valueDate" must be a day such as 2030-01-31'),
        ("fromat=csv", "3103", '"fromat" is not allowed'),
    ],
)
def test_what_is_wrong_with_a_question_is_told(
    client: TestClient, scheme: Banking, settlement: int, query: str, code: str, text: str
) -> None:
    status, found, description = error(client.get(f"/v2/settlements/1/instructions?{query}"))
    assert (status, found, text in description) == (400, code, True), description


def test_there_is_no_order_for_what_is_over(client: TestClient, scheme: Banking, settlement: int) -> None:
    scheme.pay(A, B, "1 USD")
    other = scheme.create(scheme.close())
    scheme.abort(other)
    scheme.finalise(settlement)
    for number, state in ((settlement, "SETTLED"), (other, "ABORTED")):
        refused = error(client.get(f"/v2/settlements/{number}/instructions?format=csv"))
        assert refused == (
            400,
            "3100",
            f"Generic validation error - Settlement {number} is {state}: there is nothing left to ask the bank",
        )
        assert client.get(f"/v2/settlements/{number}/instructions").json()["state"] == state


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v2/settlements/9/instructions", "3100"),
        ("GET", "/v2/settlements/x/instructions", "3101"),
        ("GET", "/v2/settlements/9/statements", "3100"),
        ("GET", "/v2/settlements/9/statements/1", "3100"),
        ("GET", "/v2/settlements/9/statements/1/files/1", "3200"),
        ("GET", f"/v2/settlements/9/statements/{2**70}/files/1", "3200"),
        ("POST", "/v2/settlements/9/statements", "3100"),
        ("POST", "/v2/settlements/9/statements/check", "3100"),
    ],
)
def test_what_is_of_no_settlement_is_an_error(client: TestClient, method: str, path: str, code: str) -> None:
    answer = client.request(method, path, json=files(REPORT) if method == "POST" else None)
    assert error(answer)[:2] == (400, code)


# --- statements -------------------------------------------------------------------------------------------------


def test_a_statement_is_checked_and_then_processed(client: TestClient, scheme: Banking, settlement: int) -> None:
    scheme.carry(settlement)
    body = files(scheme.bank.camt053())
    check = client.post("/v2/settlements/1/statements/check", json=body)
    assert check.status_code == 200
    assert (check.json()["hasErrors"], check.json()["findings"], check.json()["warnings"]) == (False, [], [])
    assert check.json()["balances"] == [
        {"participant": A, "currency": "USD", "before": 2000, "after": 1987.5, "isSuspended": False},
        {"participant": B, "currency": "USD", "before": 2000, "after": 2012.5, "isSuspended": False},
    ]
    assert (scheme.state(settlement), scheme.liquidity(A)) == ("PENDING_SETTLEMENT", ("-2000",))
    done = client.post("/v2/settlements/1/statements", json=body)
    assert (done.status_code, done.json()["statementId"], done.json()["digest"]) == (201, 1, check.json()["digest"])
    assert (scheme.state(settlement), scheme.liquidity(A, B)) == ("SETTLED", ("-1987.5", "-2012.5"))


def test_a_processed_statement_is_shown_with_its_file(client: TestClient, scheme: Banking, settlement: int) -> None:
    assert client.get("/v2/settlements/1/statements").json() == []
    client.post("/v2/settlements/1/statements", json=files(REPORT))
    (shown,) = client.get("/v2/settlements/1/statements").json()
    assert shown == client.get("/v2/settlements/1/statements/1").json()
    assert (shown["id"], shown["settlementId"], shown["createdBy"], shown["findings"]) == (1, 1, "operator", [])
    assert [(each["participant"], each["kind"], each["amount"]) for each in shown["movements"]] == [
        (A, "SETTLEMENT", {"amount": -12.5, "currency": "USD"}),
        (B, "SETTLEMENT", {"amount": 12.5, "currency": "USD"}),
    ]
    assert [each["name"] for each in shown["files"]] == ["file1"]
    file = client.get("/v2/settlements/1/statements/1/files/1")
    assert (file.content, file.headers["content-disposition"]) == (REPORT, 'attachment; filename="file1"')
    movement = client.get(f"/transfers/{shown['movements'][0]['transferId']}").json()
    assert (movement["kind"], movement["funds"]["reason"]) == ("FUNDS_OUT", "Bank statement 1, settlement")
    assert error(client.get("/v2/settlements/1/statements/2"))[:2] == (400, "3200")


def test_findings_are_told_and_accepted_as_they_were_shown(
    client: TestClient, scheme: Banking, settlement: int
) -> None:
    check = client.post("/v2/settlements/1/statements/check", json=files(SHORT)).json()
    assert (check["hasErrors"], check["warnings"]) == (False, ["BALANCE_NOT_AS_EXPECTED"])
    assert check["findings"] == [
        {
            "severity": "WARNING",
            "code": "BALANCE_NOT_AS_EXPECTED",
            "message": "The balance of alpha is not what the hub expects: its liquidity is adjusted.",
            "participant": A,
            "currency": "USD",
            "place": "file1, row 2",
            "expected": "1987.5",
            "found": "1980",
        }
    ]
    refused = client.post("/v2/settlements/1/statements", json=files(SHORT))
    assert error(refused)[:2] == (400, "3100")
    assert (refused.json()["findings"], refused.json()["digest"]) == (check["findings"], check["digest"])
    assert refused.json()["details"] == [
        "The statement has warnings that were not accepted: BALANCE_NOT_AS_EXPECTED. Nothing was changed."
    ]
    accepted = files(SHORT, digest=check["digest"], accept=["BALANCE_NOT_AS_EXPECTED"])
    assert client.post("/v2/settlements/1/statements", json=accepted).status_code == 201
    assert scheme.liquidity(A) == ("-1980",)


def test_another_digest_than_was_shown_is_refused(client: TestClient, scheme: Banking, settlement: int) -> None:
    body = files(SHORT, digest="0" * 64, accept=["BALANCE_NOT_AS_EXPECTED"])
    refused = client.post("/v2/settlements/1/statements", json=body)
    assert refused.json()["details"] == [
        "What the hub finds now is not what was shown: look at the findings again. Nothing was changed."
    ]
    assert scheme.state(settlement) == "PENDING_SETTLEMENT"


def test_every_file_that_can_not_be_read_is_told(client: TestClient, scheme: Banking, settlement: int) -> None:
    for path in ("/v2/settlements/1/statements/check", "/v2/settlements/1/statements"):
        answer = client.post(path, json=files(b"<a", REPORT, b"\xff"))
        assert error(answer)[:2] == (400, "3101")
        assert answer.json()["details"] == [
            "file1 is not well-formed XML: unclosed token: line 1, column 0",
            "file3 is not text in UTF-8",
        ]
    assert scheme.state(settlement) == "PENDING_SETTLEMENT"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({}, "3100", "missing required field `files`"),
        ({"files": []}, "3100", "Expected `array` of length >= 1"),
        (files(*[REPORT] * 21), "3100", "Expected `array` of length"),
        ({"files": [{"name": "a", "content": "%"}]}, "3100", "Invalid base64"),
        ({"files": [{"name": "", "content": ""}]}, "3100", "Expected `str` of length >= 1"),
        ({"files": [{"name": "a\n", "content": ""}]}, "3101", "the name of a file must be printable"),
        (files(REPORT, accept=["ACCOUNT_MISSING"]), "3101", "accept: ACCOUNT_MISSING is no warning"),
        (files(REPORT, more=1), "3100", "unknown field"),
    ],
)
def test_what_is_wrong_with_a_body_is_told(
    client: TestClient, scheme: Banking, settlement: int, body: dict[str, Any], code: str, text: str
) -> None:
    status, found, description = error(client.post("/v2/settlements/1/statements", json=body))
    assert (status, found, text in description) == (400, code, True), description


def test_a_check_accepts_nothing(client: TestClient, scheme: Banking, settlement: int) -> None:
    answer = client.post("/v2/settlements/1/statements/check", json=files(REPORT, accept=["BALANCE_MISSING"]))
    assert error(answer)[:2] == (400, "3100")


def test_a_body_that_is_too_large_is_refused(client: TestClient, scheme: Banking, settlement: int) -> None:
    answer = client.post("/v2/settlements/1/statements", content=b"x" * (BODY_BYTES_MAX + 1))
    assert error(answer)[:2] == (413, "3104")


def test_a_statement_with_too_many_entries_in_all_its_files_is_refused(
    client: TestClient, scheme: Banking, settlement: int
) -> None:
    half = REPORT + b"1,alpha,USD,0,1987.50\n" * (ENTRIES_MAX // 2)
    assert error(client.post("/v2/settlements/1/statements", json=files(half, half + b"\n"))) == (
        400,
        "3100",
        "Generic validation error - files: the statement has more than 20,000 entries in all its files together",
    )
    assert scheme.state(settlement) == "PENDING_SETTLEMENT"
    assert client.post("/v2/settlements/1/statements/check", json=files(half)).status_code == 200


def test_the_name_of_a_file_does_no_harm_in_a_header(client: TestClient, scheme: Banking, settlement: int) -> None:
    body = files(REPORT)
    body["files"][0]["name"] = 'a"; filename="b.exe'
    client.post("/v2/settlements/1/statements", json=body)
    headers = client.get("/v2/settlements/1/statements/1/files/1").headers
    assert headers["content-disposition"] == 'attachment; filename="a__ filename__b.exe"'
