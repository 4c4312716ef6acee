"""The participants of a benchmark: what comes to the wrong one is no payment, and is told to whoever verifies."""

from __future__ import annotations

import pytest

from vuka.sim.bench.participants import COMMITTED, NAMES, Participants
from vuka.sim.bench.plan import Setting
from vuka.sim.bench.scenarios import SCENARIOS

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def participants() -> Participants:
    return Participants(Setting(participants_url=NOBODY, operators_url=NOBODY, scenario="payment", participants=3))


async def test_the_end_of_a_transfer_counts_for_its_payer_and_its_payee_alone(participants: Participants) -> None:
    participants.scenario = SCENARIOS["clearing"]
    participants.begin(0.0, is_counted=False)
    (told,) = participants.ends().told
    (transfer,) = participants._under
    payer, payee = (NAMES.index(each) for each in (told.payer, told.payee))
    (stranger,) = {0, 1, 2} - {payer, payee}
    path = b"/transfers/" + transfer
    body = b'{"transferState":"COMMITTED"}'
    participants._handler(stranger)(b"PUT", path, body)
    assert (told.payer_told, told.payee_told) == ("", "")
    assert participants.ends().contradictions == [
        f"{told.transfer_id}: {NAMES[stranger]} was told instead of {told.payer}"
    ]
    participants._handler(payer)(b"PUT", path, body)
    participants._handler(payee)(b"PATCH", path, body)
    assert (told.payer_told, told.payee_told) == (COMMITTED, COMMITTED)
    assert len(participants.ends().contradictions) == 1
    await participants.stop()


async def test_a_question_or_an_answer_that_comes_to_another_is_noted_and_leads_nowhere(
    participants: Participants,
) -> None:
    participants.begin(0.0, is_counted=False)
    (party,) = participants._looking
    (payment,) = participants._looking[party]
    pair = payment.pair
    (stranger,) = {0, 1, 2} - {pair.payer, pair.payee}
    path = b"/parties/MSISDN/" + party
    participants._handler(stranger)(b"GET", path, b"")
    participants._handler(stranger)(b"PUT", path, b"{}")
    assert (payment.leg, payment.asked) == (0, False)
    participants._handler(pair.payer)(b"PUT", path, b"{}")
    assert payment.leg == 1
    (quote,) = participants._under
    participants._handler(stranger)(b"POST", b"/quotes", b'{"quoteId":"' + quote)
    participants._handler(stranger)(b"PUT", b"/quotes/" + quote, b"{}")
    assert (payment.leg, payment.asked) == (1, False)
    assert [each.partition(": ")[2] for each in participants.ends().contradictions] == [
        f"{NAMES[stranger]} was told instead of {NAMES[meant]}"
        for meant in (pair.payee, pair.payer, pair.payee, pair.payer)
    ]
    await participants.stop()
