"""What a participant does as payer: lookup, quote, transfer, and its customer's money."""

from __future__ import annotations

import asyncio

import pytest
from tests.sim.conftest import AMINA, JOSE, KAUNG, Scheme, usd
from tests.sim.fake_hub import FakeHub

from vuka.sim.behaviour import Conduct
from vuka.sim.participant import Customer, Participant, PaymentState
from vuka.sim.server import Answer

TO = ("MSISDN", KAUNG)


def _usd(participant: Participant, identifier: str) -> int:
    return participant.customer(identifier).balances["USD"]


async def test_sending_debits_the_amount_and_the_payee_gets_it_less_the_fee(
    bank: Participant, wallet: Participant
) -> None:
    payment = await bank.pay(AMINA, TO, usd("12.34"), "USD")
    assert await wallet.ended(payment.transfer_id) == "COMMITTED"
    assert payment.state is PaymentState.COMMITTED
    assert _usd(bank, AMINA) == usd("87.66")
    assert _usd(wallet, KAUNG) == usd("17.09")
    assert payment.fee == usd("0.25")


async def test_receiving_gives_the_payee_the_amount_and_the_payer_pays_the_fee_on_top(
    bank: Participant, wallet: Participant
) -> None:
    payment = await bank.pay(AMINA, TO, usd("10"), "USD", amount_type="RECEIVE")
    await wallet.ended(payment.transfer_id)
    assert _usd(bank, AMINA) == usd("89.75")
    assert _usd(wallet, KAUNG) == usd("15")


async def test_what_was_sent_and_received_is_summed_as_the_hub_moves_it(bank: Participant, wallet: Participant) -> None:
    for amount in ("1", "2.5"):
        payment = await bank.pay(AMINA, TO, usd(amount), "USD")
        await wallet.ended(payment.transfer_id)
    assert bank.sent["USD"] == wallet.received["USD"] == usd("3.5")


async def test_names_of_every_script_arrive(bank: Participant, wallet: Participant) -> None:
    payment = await bank.pay(AMINA, TO, usd("1"), "USD")
    assert payment.payee_name == "ကောင်းထက်စံ"
    wallet.customer(KAUNG).balances["USD"] = usd("5")
    back = await wallet.pay(KAUNG, ("MSISDN", JOSE), usd("1"), "USD")
    assert back.payee_name == "José Ñandú-Pérez"


async def test_each_leg_is_timed(bank: Participant, wallet: Participant) -> None:
    payment = await bank.pay(AMINA, TO, usd("1"), "USD")
    assert min(payment.lookup_ms, payment.quote_ms, payment.transfer_ms) > 0
    assert payment.total_ms == payment.lookup_ms + payment.quote_ms + payment.transfer_ms


async def test_an_account_behind_a_sub_identifier_is_paid_and_no_other(
    scheme: Scheme, bank: Participant, hub: FakeHub
) -> None:
    shop = await scheme.add(
        "shop",
        Customer("Till 1", "BUSINESS", "mama-njeri", {}, "till-1"),
        Customer("Till 2", "BUSINESS", "mama-njeri", {}, "till-2"),
    )
    payment = await bank.pay(AMINA, ("BUSINESS", "mama-njeri", "till-2"), usd("3"), "USD")
    await shop.ended(payment.transfer_id)
    assert shop.customer("mama-njeri", "BUSINESS", "till-2").balances == {"USD": usd("3")}
    assert shop.customer("mama-njeri", "BUSINESS", "till-1").balances == {}


async def test_an_unknown_payee_costs_nothing(bank: Participant, wallet: Participant) -> None:
    payment = await bank.pay(AMINA, ("MSISDN", "254799999999"), usd("1"), "USD")
    assert (payment.state, payment.error[:4]) == (PaymentState.ABORTED, "3204")
    assert _usd(bank, AMINA) == usd("100")


async def test_a_customer_without_the_money_sends_no_transfer(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    payment = await bank.pay(AMINA, TO, usd("100.01"), "USD")
    assert (payment.state, payment.error) == (PaymentState.ABORTED, "Amina Otieno has not enough USD")
    assert not hub.of("POST", "transfers")


async def test_two_payments_at_once_cannot_spend_the_same_money(bank: Participant, wallet: Participant) -> None:
    payments = await asyncio.gather(*(bank.pay(AMINA, TO, usd("60"), "USD") for _ in range(2)))
    assert sorted(payment.state for payment in payments) == ["ABORTED", "COMMITTED"]
    assert _usd(bank, AMINA) == usd("40")


async def test_two_lookups_of_one_party_at_once_are_both_answered(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    payments = await asyncio.gather(*(bank.pay(AMINA, TO, usd("1"), "USD") for _ in range(5)))
    assert {payment.state for payment in payments} == {PaymentState.COMMITTED}


async def test_a_quote_for_more_than_was_to_be_sent_is_not_accepted(
    hub: FakeHub, bank: Participant, wallet: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = hub._deliver

    async def dearer(to: str, method: str, key: tuple[str, ...], source: str, body: bytes | None) -> None:
        if method == "PUT" and key[0] == "quotes" and body is not None:
            body = body.replace(b'"transferAmount":{"amount":"10"', b'"transferAmount":{"amount":"11"')
        await tell(to, method, key, source, body)

    monkeypatch.setattr(hub, "_deliver", dearer)
    payment = await bank.pay(AMINA, TO, usd("10"), "USD")
    assert payment.error == "the quote is not acceptable: it asks for more than was to be sent"
    assert _usd(bank, AMINA) == usd("100")
    assert not hub.of("POST", "transfers")


# --- while it is under way, and how it ends ---------------------------------------------------------------------------


async def test_the_money_is_set_aside_at_prepare_and_returned_when_the_transfer_expires(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    wallet.conduct = Conduct.SILENT
    paying = asyncio.create_task(bank.pay(AMINA, TO, usd("20"), "USD"))
    await hub.until(lambda: hub.transfers)
    assert _usd(bank, AMINA) == usd("80")
    await hub.expire(next(iter(hub.transfers)))
    payment = await paying
    assert (payment.state, payment.error) == (PaymentState.ABORTED, "3303 Transfer expired")
    assert _usd(bank, AMINA) == usd("100")
    assert _usd(wallet, KAUNG) == usd("5")


async def test_a_payer_that_is_not_told_asks(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    lost: list[str] = []

    def first_result_is_lost(to: str, method: str, key: tuple[str, ...]) -> bool:
        if (to, method, key[0]) != ("bank", "PUT", "transfers") or lost:
            return False
        lost.append(key[1])
        return True

    hub.loses = first_result_is_lost
    bank.transfer_seconds = 0.02
    payment = await bank.pay(AMINA, TO, usd("20"), "USD")
    assert lost == [payment.transfer_id]
    assert payment.state is PaymentState.COMMITTED
    assert _usd(bank, AMINA) == usd("80")
    assert bank.told[payment.transfer_id] == ["COMMITTED"]


async def test_a_transfer_that_the_hub_never_got_is_returned_when_its_time_is_over(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    hub.ignores_transfers = True
    bank.transfer_seconds = 0.02
    payment = await bank.pay(AMINA, TO, usd("20"), "USD")
    assert (payment.state, payment.error[:4]) == (PaymentState.ABORTED, "3208")
    assert _usd(bank, AMINA) == usd("100")


async def test_money_stays_aside_while_the_hub_does_not_say_how_it_ended(
    scheme: Scheme, hub: FakeHub, wallet: Participant
) -> None:
    bank = await scheme.add(
        "bank2",
        Customer("Amina Otieno", "MSISDN", "254700000009", {"USD": usd("100")}),
        transfer_seconds=0.01,
        answer_seconds=0.05,
        asking_seconds=0.05,
    )
    wallet.answer_seconds = 0.05
    hub.loses = lambda to, _method, key: to == "bank2" and key[0] == "transfers"
    # Lookup and quote are answered in time all the same.
    bank.answer_seconds = 2.0
    paying = asyncio.create_task(bank.pay("254700000009", TO, usd("20"), "USD"))
    await hub.until(lambda: hub.of("POST", "transfers"))
    bank.answer_seconds = 0.02
    payment = await paying
    assert payment.state is PaymentState.UNKNOWN
    assert bank.customer("254700000009").balances["USD"] == usd("80")

    hub.loses = lambda _to, _method, _key: False
    await hub._result(hub.transfers[payment.transfer_id], "bank2")
    assert payment.state.value == "COMMITTED"
    assert bank.customer("254700000009").balances["USD"] == usd("80")


async def test_a_refused_transfer_is_returned_at_once(hub: FakeHub, bank: Participant, wallet: Participant) -> None:

    payment_before = await bank.pay(AMINA, TO, usd("1"), "USD")
    assert payment_before.state is PaymentState.COMMITTED
    await wallet.ended(payment_before.transfer_id)
    put_quotes = len(hub.of("PUT", "quotes"))
    paying = asyncio.create_task(bank.pay(AMINA, TO, usd("20"), "USD"))
    await hub.until(lambda: len(hub.of("PUT", "quotes")) > put_quotes)
    hub.refusals.append(Answer(400, b'{"errorInformation":{"errorCode":"3100","errorDescription":"no"}}'))
    payment = await paying
    assert (payment.state, payment.error) == (PaymentState.ABORTED, "3100 no")
    assert _usd(bank, AMINA) == usd("99")
    assert not hub.of("GET", "transfers")


async def test_a_busy_hub_is_sent_the_same_again(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    hub.refusals += [Answer(503)] * 3
    payment = await bank.pay(AMINA, TO, usd("1"), "USD")
    assert payment.state is PaymentState.COMMITTED
    assert len(hub.of("GET", "parties")) == 1


async def test_a_hub_that_is_restarted_is_waited_for(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    await hub.server.stop()
    paying = asyncio.create_task(bank.pay(AMINA, TO, usd("1"), "USD"))
    await asyncio.sleep(0)
    await hub.server.start()
    assert (await paying).state is PaymentState.COMMITTED


async def test_a_hub_that_stays_away_is_given_up(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    await hub.server.stop()
    bank.resend_seconds = 0.005
    payment = await bank.pay(AMINA, TO, usd("1"), "USD")
    assert (payment.state, payment.error) == (PaymentState.ABORTED, "connection refused")
    assert _usd(bank, AMINA) == usd("100")


async def test_an_error_about_a_message_is_not_the_end_of_the_transfer(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    wallet.conduct = Conduct.SILENT
    paying = asyncio.create_task(bank.pay(AMINA, TO, usd("20"), "USD"))
    await hub.until(lambda: hub.transfers)
    (transfer_id,) = hub.transfers
    key = ("transfers", transfer_id)
    await hub.tell_error("bank", key, "3106", "Modified request")
    await hub.tell_error("bank", key, "3100", "FSPIOP-Source header should match Payee FSP")
    await hub.until(lambda: "RESERVED" in bank.told.get(transfer_id, ()))
    assert _usd(bank, AMINA) == usd("80")
    await hub.expire(transfer_id)
    assert (await paying).error == "3303 Transfer expired"


async def test_two_ends_of_one_transfer_are_noticed(hub: FakeHub, bank: Participant, wallet: Participant) -> None:
    payment = await bank.pay(AMINA, TO, usd("20"), "USD")
    await wallet.ended(payment.transfer_id)
    await hub.expire(payment.transfer_id)
    assert bank.contradictions == [f"{payment.transfer_id}: payer told COMMITTED, then ABORTED"]
    assert wallet.contradictions == [f"{payment.transfer_id}: payee told COMMITTED, then ABORTED"]
    assert _usd(bank, AMINA) == usd("80")


async def test_a_commit_with_another_fulfilment_is_noticed(
    hub: FakeHub, bank: Participant, wallet: Participant
) -> None:
    wallet.conduct = Conduct.SILENT
    paying = asyncio.create_task(bank.pay(AMINA, TO, usd("20"), "USD"))
    await hub.until(lambda: hub.transfers)
    (transfer,) = hub.transfers.values()
    transfer.state, transfer.fulfilment = "COMMITTED", "A" * 43
    await hub._result(transfer, "bank")
    payment = await paying
    assert bank.contradictions == [f"{payment.transfer_id}: COMMITTED with a fulfilment that does not fit"]


# --- clearing alone ---------------------------------------------------------------------------------------------------


async def test_clearing_moves_sums_and_nobodys_money(scheme: Scheme, hub: FakeHub, bank: Participant) -> None:
    payee = await scheme.add("clearer", clears_unquoted=True)
    payment = await bank.clear("clearer", usd("7.0001"), "USD")
    assert await payee.ended(payment.transfer_id) == "COMMITTED"
    assert payment.state is PaymentState.COMMITTED
    assert bank.sent["USD"] == payee.received["USD"] == usd("7.0001")
    assert _usd(bank, AMINA) == usd("100")
    assert {message.key[0] for message in hub.messages} == {"transfers"}


async def test_a_participant_clears_nothing_unquoted_unless_it_is_told_to(
    bank: Participant, wallet: Participant
) -> None:
    payment = await bank.clear("wallet", usd("7"), "USD")
    assert (payment.state, payment.error[:4]) == (PaymentState.ABORTED, "5105")
    assert wallet.reservations == {}


async def test_a_bounded_participant_forgets_the_oldest_that_ended(scheme: Scheme) -> None:
    payer = await scheme.add("payer", history_max=3)
    payee = await scheme.add("payee", history_max=3, clears_unquoted=True)
    made = []
    for _ in range(5):
        payment = await payer.clear("payee", usd("1"), "USD")
        await payee.ended(payment.transfer_id)
        made.append(payment.transfer_id)
    assert list(payer.told) == list(payer.payments) == made[2:]
    assert list(payee.told) == list(payee.reservations) == made[2:]
    assert payer.sent["USD"] == usd("5")
