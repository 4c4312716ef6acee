"""The story of a payment: from any of its ids, in order, with what became of every message."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest
from tests.engine.batches import Batches, mark
from tests.switch import wire
from tests.switch.charging import SIX_PER_MILLE, fee_rule
from tests.switch.scheme_bench import START_MS
from tests.switch.settling import Settling
from tests.switch.wire import PAYEE, PAYER

from vuka.engine.outbox import DeliveryState
from vuka.engine.story import Event, EventKind, Story, tell, to_mermaid
from vuka.switch.quotes import RequestQuote
from vuka.switch.transfers import PrepareTransfer

PARTY = ("MSISDN", "27713803912")


class Told:
    """A scheme in which one payment went its whole way, a second for each step."""

    def __init__(self) -> None:
        self.batches = Batches()
        self.bench = self.batches.bench
        self.quote: RequestQuote | None = None
        self.transfer: PrepareTransfer | None = None

    def step(self) -> None:
        self.bench.advance(1_000)

    def look_up(self) -> None:
        self.step()
        question = wire.inbound(self.bench, "GET", "parties", PARTY, source=PAYER, destination=PAYEE)
        asked = self.batches.route(question, PAYEE)
        self.batches.run(routed=[asked], marks=[mark(asked.sent[0].delivery, DeliveryState.DELIVERED, status=202)])
        self.step()
        answer = wire.inbound(self.bench, "PUT", "parties", PARTY, source=PAYEE, destination=PAYER, body={"party": 1})
        answered = self.batches.route(answer, PAYER)
        self.batches.run(routed=[answered])

    def agree(self) -> RequestQuote:
        self.step()
        self.quote = wire.request_quote(self.bench, payer_fsp=PAYER, payee_fsp=PAYEE)
        self.batches.run(self.quote)
        self.step()
        self.batches.run(wire.answer_quote(self.bench, self.quote))
        return self.quote

    def pay(self) -> PrepareTransfer:
        self.step()
        self.transfer = wire.prepare(self.bench, "10 USD")
        (owed,) = self.batches.run(self.transfer).outgoing
        self.batches.run(marks=[mark(owed.delivery, DeliveryState.DELIVERED, status=202)])
        self.step()
        self.batches.run(wire.fulfil(self.bench, self.transfer))
        return self.transfer

    def story(self, wanted: str) -> Story | None:
        return self.bench.read(lambda tx, ledger, _directory: tell(tx, ledger, wanted))

    def known(self, wanted: str) -> Story:
        story = self.story(wanted)
        assert story is not None
        return story


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.bench.close()


def lines(story: Story, *kinds: EventKind) -> list[str]:
    return [
        f"{(each.at_ms - START_MS) // 1_000}s {each.source}>{each.destination} {each.text}"
        for each in story.events
        if each.kind in kinds
    ]


def test_a_payment_is_told_from_its_lookup_to_its_end_in_order(told: Told) -> None:
    told.look_up()
    quote = told.agree().message.resource_id
    transfer = told.pay().message.resource_id
    story = told.known(transfer)
    assert (story.state, story.amount, story.party) == ("COMMITTED", "10.00 USD", "/".join(PARTY))
    assert (story.payer_fsp, story.payee_fsp) == (PAYER, PAYEE)
    said = lines(story, EventKind.MESSAGE_IN)
    assert said == [
        "1s payerfsp>Hub GET /parties/MSISDN/27713803912",
        "2s payeefsp>Hub PUT /parties/MSISDN/27713803912",
        "3s payerfsp>Hub POST /quotes",
        f"4s payeefsp>Hub PUT /quotes/{quote}",
        "5s payerfsp>Hub POST /transfers",
        f"6s payeefsp>Hub PUT /transfers/{transfer}",
    ]
    assert [each.at_ms for each in story.events] == sorted(each.at_ms for each in story.events)


def test_what_the_hub_passed_on_names_who_had_sent_it_and_what_became_of_it(told: Told) -> None:
    told.look_up()
    told.agree()
    story = told.known(told.pay().message.resource_id)
    sent = lines(story, EventKind.MESSAGE_OUT)
    assert sent[0] == "1s Hub>payeefsp GET /parties/MSISDN/27713803912 (from payerfsp)"
    assert "5s Hub>payeefsp POST /transfers (from payerfsp)" in sent
    became = {line.partition(" ")[2] for line in lines(story, EventKind.DELIVERY)}
    assert "payeefsp>Hub delivered: HTTP 202" in became
    assert "payerfsp>Hub pending: not sent yet" in became


def test_the_states_and_the_money_are_in_the_story(told: Told) -> None:
    story = told.known(told.pay().message.resource_id)
    states = [line.partition(" Hub>Hub ")[2] for line in lines(story, EventKind.STATE)]
    assert states[0].startswith("RECEIVED")
    assert states[-1].startswith("COMMITTED")
    assert lines(story, EventKind.LEDGER) == [
        "1s Hub>Hub reserved 10.00 USD: debit payerfsp POSITION, credit payeefsp POSITION",
        "2s Hub>Hub posted 10.00 USD: debit payerfsp POSITION, credit payeefsp POSITION",
    ]


def test_the_fees_of_a_payment_are_in_its_story(told: Told) -> None:
    scheme = Settling(told.bench)
    scheme.add_fee_model()
    scheme.charge(SIX_PER_MILLE, fee_rule(creditor="hub", fixed="0.25", currency="USD"))
    story = told.known(told.pay().message.resource_id)
    assert lines(story, EventKind.LEDGER)[2:] == [
        "2s Hub>Hub fee by six per mille: 0.06 USD: debit payerfsp INTERCHANGE_FEE, credit payeefsp INTERCHANGE_FEE",
        "2s Hub>Hub fee by rule 2: 0.25 USD: debit payerfsp INTERCHANGE_FEE, credit Hub INTERCHANGE_FEE",
    ]


def test_any_id_of_a_payment_tells_the_same_story(told: Told) -> None:
    told.look_up()
    quote = told.agree()
    transfer = told.pay().message.resource_id
    story = told.known(transfer)
    assert (story.transfer_id, story.quote_id) == (transfer, quote.message.resource_id)
    assert story.transaction_id == quote.transaction_id
    for wanted in (quote.message.resource_id, quote.transaction_id):
        assert told.known(wanted) == story


def test_of_several_lookups_the_last_before_the_quote_is_told(told: Told) -> None:
    told.look_up()
    told.look_up()
    quote = told.agree()
    told.look_up()
    said = lines(told.known(quote.message.resource_id), EventKind.MESSAGE_IN)
    assert [line.partition(" ")[0] for line in said] == ["3s", "4s", "5s", "6s"]


def test_a_quote_without_a_transfer_is_a_story_too(told: Told) -> None:
    story = told.known(told.agree().message.resource_id)
    assert (story.transfer_id, story.state) == (None, "ANSWERED")


def test_a_payment_without_a_quote_is_a_story_too(told: Told) -> None:
    story = told.known(told.pay().message.resource_id)
    assert (story.quote_id, story.party) == (None, None)


def test_another_payment_is_another_story(told: Told) -> None:
    first = told.pay().message.resource_id
    second = told.pay().message.resource_id
    texts = " ".join(event.text for event in told.known(second).events)
    assert second in texts
    assert first not in texts


@pytest.mark.parametrize("wanted", ["00000000-0000-4000-8000-000000000000", "not an id", ""])
def test_what_nobody_knows_has_no_story(told: Told, wanted: str) -> None:
    told.pay()
    assert told.story(wanted) is None


def test_a_message_that_was_refused_has_a_story_without_a_record(told: Told) -> None:
    command = wire.prepare(told.bench, "10 USD", payer="nobody")
    told.batches.run(command)
    story = told.known(command.message.resource_id)
    assert (story.transfer_id, story.state) in ((None, ""), (command.message.resource_id, "INVALID"))
    assert any(event.kind is EventKind.MESSAGE_IN for event in story.events)


# --- the diagram ------------------------------------------------------------------------------------------------

_LINE = re.compile(r"    (participant P\d+ as .+|P\d+--?>>P\d+: .+|Note over P\d+: .+)")


def test_a_diagram_has_a_line_for_each_participant_and_each_event(told: Told) -> None:
    told.look_up()
    told.agree()
    story = told.known(told.pay().message.resource_id)
    first, *rest = to_mermaid(story).splitlines()
    assert first == "sequenceDiagram"
    assert rest[:3] == [f"    participant P{n} as {name}" for n, name in enumerate((PAYER, "Hub", PAYEE))]
    assert len(rest) == 3 + len(story.events)
    assert [line for line in rest if not _LINE.fullmatch(line)] == []


def test_what_means_something_to_mermaid_is_escaped_and_a_line_stays_a_line(told: Told) -> None:
    error = 'HTTP 400 <b>#1; "no";</b>\r\nparticipant evil\u2028end\x0bdone'
    story = told.known(told.pay().message.resource_id)
    nasty = Event(START_MS, EventKind.DELIVERY, "a;b#c", "Hub", error)
    diagram = to_mermaid(msgspec.structs.replace(story, events=[nasty]))
    assert "a#59;b#35;c" in diagram
    bare = re.sub(r"#\d+;", "", diagram)
    assert not set(";#") & set(bare)
    assert [line for line in diagram.splitlines()[1:] if not _LINE.fullmatch(line)] == []
