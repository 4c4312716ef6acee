"""How participants go wrong, each in its way, and what people may ask of them over HTTP."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.sim.conftest import AMINA, JOSE, KAUNG, Scheme, usd
from tests.sim.fake_hub import FakeHub

from vuka.httpclient import HttpClient, Request, TransportError
from vuka.sim.behaviour import Conduct
from vuka.sim.outcomes import Outcome, Outcomes, read_outcomes
from vuka.sim.participant import Customer, Participant, PaymentState

TO = ("MSISDN", KAUNG)


async def _call(client: HttpClient, method: str, url: str, body: object | None = None) -> tuple[int, Any]:
    encoded = None if body is None else msgspec.json.encode(body)
    answer = await client.send(Request(method, url, (), encoded))
    return answer.status, msgspec.json.decode(answer.body) if answer.body else None


@pytest.mark.parametrize(
    ("conduct", "error"),
    [
        (Conduct.REJECTS_QUOTES, "5101 Payee rejected quote"),
        (Conduct.ABORTS, "5104 Payee rejected transaction"),
        (Conduct.WRONG_FULFILMENT, "3100 invalid fulfilment"),
    ],
)
async def test_a_payment_ends_for_a_payee_that(
    bank: Participant, wallet: Participant, conduct: Conduct, error: str
) -> None:
    wallet.conduct = conduct
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    assert (payment.state, payment.error) == (PaymentState.ABORTED, error)
    assert bank.customer(AMINA).balances["USD"] == usd("100")
    assert wallet.customer(KAUNG).balances["USD"] == usd("5")


async def test_a_payee_that_answers_twice_is_paid_once(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    wallet.conduct = Conduct.DUPLICATES
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    await hub.until(lambda: len(hub.of("PUT", "transfers")) == 2)
    assert await wallet.ended(payment.transfer_id) == "COMMITTED"
    assert [len(hub.of("PUT", each)) for each in ("parties", "quotes", "transfers")] == [2, 2, 2]
    assert payment.state is PaymentState.COMMITTED
    assert wallet.customer(KAUNG).balances["USD"] == usd("14.75")


async def test_a_payee_that_changes_its_second_answer_is_told_so_and_paid_once(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    wallet.conduct = Conduct.MODIFIED_DUPLICATES
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    await hub.until(lambda: "ERROR 3106 Modified request" in wallet.told.get(payment.transfer_id, ()))
    assert await wallet.ended(payment.transfer_id) == "COMMITTED"
    assert wallet.customer(KAUNG).balances["USD"] == usd("14.75")


async def test_a_payee_that_is_slow_is_waited_for(bank: Participant, wallet: Participant) -> None:
    wallet.conduct, wallet.delay_ms = Conduct.SLOW, 5
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    assert payment.state is PaymentState.COMMITTED
    assert min(payment.lookup_ms, payment.quote_ms, payment.transfer_ms) >= 5


async def test_a_payee_that_speaks_for_another_is_not_heard(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    wallet.conduct = Conduct.WRONG_SOURCE
    paying = asyncio.create_task(bank.pay(AMINA, TO, usd("10"), "USD"))
    await hub.until(lambda: hub.of("PUT", "transfers"))
    (transfer_id,) = hub.transfers
    assert hub.of("PUT", "transfers")[0].source == "bank"
    assert hub.transfers[transfer_id].state == "RESERVED"
    await hub.until(lambda: "RESERVED" in bank.told.get(transfer_id, ()))
    await hub.expire(transfer_id)
    assert (await paying).state is PaymentState.ABORTED
    assert wallet.reservations[transfer_id].state == "ABORTED"
    assert bank.customer(AMINA).balances["USD"] == usd("100")


async def test_a_participant_that_hangs_takes_connections_and_never_answers(wallet: Participant) -> None:
    wallet.conduct = Conduct.HANGS
    client = HttpClient(timeout_ms=50)
    with pytest.raises(TransportError, match="timed out"):
        await client.send(Request("GET", f"{wallet.url}/parties/MSISDN/{KAUNG}"))
    await client.close()


async def test_a_participant_that_fails_answers_500(wallet: Participant, client: HttpClient) -> None:
    wallet.conduct = Conduct.FAILS
    answer = await client.send(Request("GET", f"{wallet.url}/parties/MSISDN/{KAUNG}"))
    assert answer.status == 500


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conduct", list(Conduct))
async def test_every_behaviour_is_set_over_http_and_left_again(
    wallet: Participant, client: HttpClient, conduct: Conduct
) -> None:
    body = {"kind": conduct, "delayMs": 7}
    assert await _call(client, "PUT", f"{wallet.url}/sim/behaviour", body) == (200, None)
    assert (wallet.conduct, wallet.delay_ms) == (conduct, 7)
    assert await _call(client, "GET", f"{wallet.url}/sim/behaviour") == (200, {"kind": conduct, "delayMs": 7})
    assert await _call(client, "PUT", f"{wallet.url}/sim/conduct", {"conduct": "normal"}) == (200, None)
    assert wallet.conduct is Conduct.NORMAL


@pytest.mark.parametrize("body", [{}, {"kind": "rude"}, {"kind": "slow", "delayMs": -1}, {"kind": "slow", "delay": 1}])
async def test_a_behaviour_that_is_none_is_refused(wallet: Participant, client: HttpClient, body: object) -> None:
    status, answer = await _call(client, "PUT", f"{wallet.url}/sim/behaviour", body)
    assert status == 400
    assert answer["error"]
    assert wallet.conduct is Conduct.NORMAL


async def test_a_payment_over_http_is_answered_with_its_story(
    bank: Participant, wallet: Participant, client: HttpClient
) -> None:
    wanted = {"from": AMINA, "to": {"type": "MSISDN", "id": KAUNG}, "amount": "10", "currency": "USD"}
    status, story = await _call(client, "POST", f"{bank.url}/sim/pay", wanted)
    assert status == 200
    assert story["state"] == "COMMITTED"
    assert story["told"] == ["COMMITTED"]
    assert (story["amount"], story["fee"], story["payeeReceives"]) == ("10 USD", "0.25", "9.75 USD")
    assert await _call(client, "GET", f"{bank.url}/sim/payments/{story['transferId']}") == (200, story)
    assert await _call(client, "GET", f"{bank.url}/sim/payments") == (200, [story])


async def test_a_payment_over_http_may_name_what_the_payee_is_to_receive(
    bank: Participant, wallet: Participant, client: HttpClient
) -> None:
    wanted = {"from": AMINA, "to": {"id": KAUNG}, "amount": "10", "currency": "USD", "amountType": "RECEIVE"}
    _, story = await _call(client, "POST", f"{bank.url}/sim/pay", wanted)
    assert (story["amount"], story["payeeReceives"]) == ("10.25 USD", "10 USD")


@pytest.mark.parametrize(
    "changed",
    [{"from": KAUNG}, {"amount": "1e3"}, {"amount": "-1"}, {"currency": "USDT"}, {"amountType": "BOTH"}, {"to": None}],
)
async def test_a_payment_over_http_that_cannot_be_is_refused(
    bank: Participant, client: HttpClient, changed: dict[str, object]
) -> None:
    wanted = {"from": AMINA, "to": {"id": KAUNG}, "amount": "10", "currency": "USD", **changed}
    status, answer = await _call(client, "POST", f"{bank.url}/sim/pay", wanted)
    assert status == 400
    assert answer["error"]
    assert bank.payments == {}


async def test_customers_and_their_balances_are_shown_as_people_write_them(
    bank: Participant, client: HttpClient
) -> None:
    status, customers = await _call(client, "GET", f"{bank.url}/sim/customers")
    assert status == 200
    assert customers[0] == {"name": "Amina Otieno", "type": "MSISDN", "id": AMINA, "balances": {"USD": "100"}}
    assert customers[1]["id"] == JOSE


async def test_what_it_was_told_of_a_transfer_is_shown(
    bank: Participant, wallet: Participant, client: HttpClient
) -> None:
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    await wallet.ended(payment.transfer_id)
    url = f"{wallet.url}/sim/transfers/{payment.transfer_id}"
    expected = {"transferId": payment.transfer_id, "told": ["COMMITTED"], "asPayee": "COMMITTED"}
    assert await _call(client, "GET", url) == (200, expected)


@pytest.mark.parametrize("path", ["/sim/nothing", "/sim/payments/unknown", "/sim/transfers/unknown", "/nothing"])
async def test_what_is_not_there_is_not_found(bank: Participant, client: HttpClient, path: str) -> None:
    assert (await _call(client, "GET", bank.url + path))[0] == 404


async def test_a_hanging_participant_can_still_be_told_to_behave(wallet: Participant, client: HttpClient) -> None:
    wallet.conduct = Conduct.HANGS
    assert (await _call(client, "PUT", f"{wallet.url}/sim/behaviour", {"kind": "normal"}))[0] == 200


# --- what is kept on disk ---------------------------------------------------------------------------------------------


async def test_every_end_is_a_line_of_the_outcomes(scheme: Scheme, wallet: Participant, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    customer = Customer("Amina Otieno", "MSISDN", "254700000009", {"USD": usd("100")})
    with Outcomes(path) as outcomes:
        bank = await scheme.add("bank2", customer, outcomes=outcomes)
        wallet._outcomes = outcomes
        good = await bank.pay("254700000009", TO, usd("10"), "USD")
        await wallet.ended(good.transfer_id)
        wallet.conduct = Conduct.ABORTS
        bad = await bank.pay("254700000009", TO, usd("1"), "USD")
        written = read_outcomes(path)
    assert {(each.transfer_id, each.participant, each.role, each.state, each.amount) for each in written} == {
        (good.transfer_id, "bank2", "payer", "COMMITTED", usd("10")),
        (good.transfer_id, "wallet", "payee", "COMMITTED", usd("10")),
        (bad.transfer_id, "bank2", "payer", "ABORTED", usd("1")),
    }
    assert next(each.error for each in written if each.transfer_id == bad.transfer_id).startswith("5104")


def test_a_line_that_a_killed_process_left_unfinished_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    first, second = Outcome(1, "a", "bank", "payer", "COMMITTED"), Outcome(2, "b", "bank", "payer", "ABORTED")
    with Outcomes(path) as outcomes:
        outcomes.add(first)
    with path.open("ab") as file:
        file.write(b'{"atMs":2,"transf')
    with Outcomes(path) as outcomes:
        outcomes.add(second)
    assert read_outcomes(path) == [first, second]


def test_outcomes_are_in_the_file_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    with Outcomes(path) as outcomes:
        outcomes.add(Outcome(int(time.time()), "a", "bank", "payer", "COMMITTED"))
        assert len(read_outcomes(path)) == 1
