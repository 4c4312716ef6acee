"""Fees: how much a tariff charges, which payments a rule holds for, what a commit charges, and how it is settled."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.switch.charging import (
    ALWAYS,
    BETWEEN_CONSUMERS,
    FEE_TYPE,
    SIX_PER_MILLE,
    WALLET_TO_WALLET,
    Conditions,
    charged,
    fee_rule,
    packet,
    transaction,
    where,
)
from tests.switch.scheme_bench import START_MS, SchemeBench, show
from tests.switch.settling import DEFAULT, FEES, Settling
from tests.switch.wire import EXPIRY_MS, abort, audited, fulfil, prepare, reserved

from vuka.config import Scheme
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import HUB, FspId
from vuka.ledger import chart
from vuka.ledger.model import QueryFilter
from vuka.money import AMOUNT_MAX, Currency, parse_decimal
from vuka.rules import RulesError
from vuka.store import Row
from vuka.switch.account_types import AddLedgerAccountType
from vuka.switch.fees import FIXED_MAX, PERCENTAGE_MAX, Fees, SetFeeRules, Tariff, compile_fee_rules, past_payments
from vuka.switch.participants import CreateHubAccount, SetAccountActive, SetParticipantActive
from vuka.switch.rule_sets import history
from vuka.switch.settlement_models import AddSettlementModel, SetSettlementModelActive
from vuka.switch.settlements import ACCOUNT_STATES, CreateSettlement
from vuka.switch.transfers import PrepareTransfer
from vuka.switch.windows import CloseWindow

A, B, C = "alpha", "bravo", "charlie"

RECORDED, RESERVED, COMMITTED, SETTLED = ACCOUNT_STATES[1:]


def tariff(**params: object) -> Tariff:
    """The tariff of a rule, in USD unless it says otherwise."""
    return compile_fee_rules(json.dumps([fee_rule(**{"currency": "USD", **params})])).tariffs[1]


def priced(of: Tariff, amount: str, currency: str = "USD") -> str:
    """What a payment of ``amount`` is charged."""
    return show(of.fee(parse_decimal(amount), currency))


# --- how much ---------------------------------------------------------------------------------------------------

SLABS = [{"upTo": "100", "fixed": "1"}, {"upTo": "1000", "fixed": "5"}, {"percentage": "1"}]
PARTS = [{"upTo": "100", "percentage": "2"}, {"upTo": "1000", "percentage": "1", "fixed": "0.5"}, {"fixed": "0"}]


@pytest.mark.parametrize(
    ("params", "amount", "fee"),
    [
        ({"percentage": "0.6"}, "100", "0.6"),
        ({"percentage": "0.6"}, "12.5", "0.08"),
        ({"percentage": 0.6}, "12.5", "0.08"),
        ({"percentage": "0.000001"}, "1000000", "0.01"),
        ({"percentage": "50"}, "0.01", "0.01"),
        ({"fixed": "0.25"}, "0.01", "0.25"),
        ({"fixed": "0.25"}, "1000000", "0.25"),
        ({"percentage": "1", "fixed": "0.25"}, "10", "0.35"),
        ({"percentage": "1", "fixed": "0.255"}, "10", "0.36"),
        ({"percentage": "1", "minimum": "0.5"}, "49.99", "0.5"),
        ({"percentage": "1", "minimum": "0.5"}, "51", "0.51"),
        ({"percentage": "1", "maximum": "2"}, "199", "1.99"),
        ({"percentage": "1", "maximum": "2"}, "100000", "2"),
        ({"percentage": "1", "minimum": "2", "maximum": "2"}, "1", "2"),
        ({"percentage": "0.6", "decimals": 4}, "12.5", "0.075"),
        ({"percentage": "0.6", "decimals": 0}, "250", "2"),
        ({"percentage": "0.1"}, "4.99", "0"),
        ({"percentage": "0.1", "minimum": "0.1"}, "4.99", "0.1"),
    ],
)
def test_a_fee_is_a_percentage_or_fixed_within_bounds(params: dict[str, Any], amount: str, fee: str) -> None:
    assert priced(tariff(**params), amount) == fee


@pytest.mark.parametrize(
    ("amount", "fee"),
    [("0.01", "1"), ("100", "1"), ("100.0001", "5"), ("1000", "5"), ("1000.01", "10"), ("2000", "20")],
)
def test_a_slab_says_the_fee_of_the_whole_amount_and_has_its_upper_end(amount: str, fee: str) -> None:
    assert priced(tariff(tiers=SLABS), amount) == fee
    assert priced(tariff(tiers=SLABS, tiering="SLAB"), amount) == fee


@pytest.mark.parametrize(
    ("amount", "fee"),
    [("50", "1"), ("100", "2"), ("100.0001", "2.5"), ("200", "3.5"), ("1000", "11.5"), ("5000", "11.5")],
)
def test_a_marginal_tier_says_the_fee_of_what_lies_in_it(amount: str, fee: str) -> None:
    assert priced(tariff(tiers=PARTS, tiering="MARGINAL"), amount) == fee


def test_a_tier_that_costs_nothing_is_free_whatever_the_minimum() -> None:
    tiers = [{"upTo": "10", "fixed": "0"}, {"percentage": "1"}]
    of = tariff(tiers=tiers, minimum="0.3")
    assert (priced(of, "10"), priced(of, "10.01")) == ("0", "0.3")


@pytest.mark.parametrize(
    ("rounding", "fees"),
    [
        # Of 0.0149, 0.0150, 0.0151, 0.0200, 0.0250: to two decimals.
        ("HALF_UP", ("0.01", "0.02", "0.02", "0.02", "0.03")),
        ("HALF_EVEN", ("0.01", "0.02", "0.02", "0.02", "0.02")),
        ("UP", ("0.02", "0.02", "0.02", "0.02", "0.03")),
        ("DOWN", ("0.01", "0.01", "0.01", "0.02", "0.02")),
    ],
)
def test_a_fee_is_rounded_once_as_the_rule_says(rounding: str, fees: tuple[str, ...]) -> None:
    of = tariff(percentage="1", rounding=rounding)
    assert tuple(priced(of, amount) for amount in ("1.49", "1.5", "1.51", "2", "2.5")) == fees


@pytest.mark.parametrize(
    ("currency", "fee"),
    [("JPY", "1"), ("USD", "1.5"), ("KWD", "1.498"), ("XXX", "1.4975")],
)
def test_a_fee_has_the_decimals_of_its_currency(currency: str, fee: str) -> None:
    assert priced(tariff(percentage="1.25", currency=currency), "119.8", currency) == fee


def test_a_percentage_without_a_currency_is_of_any() -> None:
    rule = fee_rule(percentage="1.25")
    of = compile_fee_rules(json.dumps([rule])).tariffs[1]
    assert of.applies("USD", 0)
    assert of.applies("JPY", 0)
    assert (priced(of, "119.8", "JPY"), priced(of, "119.8", "KWD")) == ("1", "1.498")


def test_a_rule_of_one_currency_is_of_no_other() -> None:
    of = tariff(percentage="1")
    assert (of.applies("USD", 0), of.applies("EUR", 0)) == (True, False)


def test_the_largest_fee_of_the_largest_payment_fits_the_ledger() -> None:
    top = show(FIXED_MAX)
    tiers = [{"upTo": top, "fixed": top, "percentage": PERCENTAGE_MAX}, {"percentage": PERCENTAGE_MAX}]
    for each in (
        tariff(percentage=PERCENTAGE_MAX, fixed=top, rounding="UP", decimals=0),
        tariff(tiers=tiers, tiering="MARGINAL", rounding="UP", decimals=0),
    ):
        assert FIXED_MAX < each.fee(AMOUNT_MAX, "USD") <= AMOUNT_MAX


# --- how much, of any amount ------------------------------------------------------------------------------------

minor_units = st.integers(1, 10**12)
places = st.integers(0, 4)
roundings = st.sampled_from(["HALF_UP", "HALF_EVEN", "UP", "DOWN"])


def texts(most: int, decimals: int) -> st.SearchStrategy[str]:
    """Numbers as rules write them."""
    return st.integers(0, most * 10**decimals).map(lambda n: f"{n // 10**decimals}.{n % 10**decimals:0{decimals}d}")


prices = st.one_of(
    st.fixed_dictionaries({"percentage": texts(50, 6)}),
    st.fixed_dictionaries({"fixed": texts(100, 4)}),
    st.fixed_dictionaries({"percentage": texts(50, 6), "fixed": texts(100, 4)}),
)


@st.composite
def tiers(draw: st.DrawFn) -> list[dict[str, str]]:
    ends = sorted(draw(st.sets(st.integers(1, 10**10), max_size=4)))
    return [{**draw(prices), "upTo": show(end)} for end in ends] + [draw(prices)]


def is_free(tiers: list[dict[str, str]]) -> bool:
    return not any(Fraction(tier.get(name, "0")) for tier in tiers for name in ("percentage", "fixed"))


def exactly(tiers: list[dict[str, str]], amount: int, *, marginal: bool) -> Fraction:
    """The fee before it is rounded, in minor units, worked out with fractions as one would on paper."""
    whole, reached = Fraction(0), 0
    for tier in tiers:
        end = parse_decimal(tier["upTo"]) if "upTo" in tier else None
        upper = amount if end is None else min(end, amount)
        part = upper - reached if marginal else amount
        price = Fraction(tier.get("percentage", "0")) / 100 * part + Fraction(tier.get("fixed", "0")) * 10_000
        if marginal:
            whole += price
        if end is None or amount <= end:
            return whole if marginal else price
        reached = upper
    raise AssertionError("the last tier is open")


def rounded(exact: Fraction, decimals: int, rounding: str) -> int:
    """Minor units, by the rules of rounding as one would on paper."""
    step = 10 ** (4 - decimals)
    below = exact // step
    rest = exact / step - below
    half = Fraction(1, 2)
    goes_up = {
        "UP": rest > 0,
        "DOWN": False,
        "HALF_UP": rest >= half,
        "HALF_EVEN": rest > half or (rest == half and below % 2 == 1),
    }[rounding]
    return (below + goes_up) * step


@given(of=tiers(), amount=minor_units, decimals=places, rounding=roundings, marginal=st.booleans())
def test_a_fee_is_exact_until_it_is_rounded(
    of: list[dict[str, str]], amount: int, decimals: int, rounding: str, marginal: bool
) -> None:
    if is_free(of):
        return
    tiering = "MARGINAL" if marginal else "SLAB"
    fee = tariff(tiers=of, tiering=tiering, decimals=decimals, rounding=rounding).fee(amount, "USD")
    assert fee == rounded(exactly(of, amount, marginal=marginal), decimals, rounding)
    assert type(fee) is int


@given(of=tiers(), one=minor_units, other=minor_units, decimals=places, rounding=roundings)
def test_who_pays_more_is_never_charged_less_where_tiers_are_marginal(
    of: list[dict[str, str]], one: int, other: int, decimals: int, rounding: str
) -> None:
    if is_free(of):
        return
    each = tariff(tiers=of, tiering="MARGINAL", decimals=decimals, rounding=rounding)
    less, more = sorted((one, other))
    assert each.fee(less, "USD") <= each.fee(more, "USD")


@given(price=prices, one=minor_units, other=minor_units, rounding=roundings)
def test_who_pays_more_is_never_charged_less_by_one_price(
    price: dict[str, str], one: int, other: int, rounding: str
) -> None:
    if is_free([price]):
        return
    each = tariff(**price, rounding=rounding)
    less, more = sorted((one, other))
    assert each.fee(less, "USD") <= each.fee(more, "USD")


@given(price=prices, amount=minor_units, bounds=st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)))
def test_a_fee_stays_within_its_bounds(price: dict[str, str], amount: int, bounds: tuple[int, int]) -> None:
    if is_free([price]):
        return
    minimum, maximum = sorted(bounds)
    each = tariff(**price, minimum=show(minimum), maximum=show(maximum), decimals=4)
    fee = each.fee(amount, "USD")
    assert minimum <= fee <= maximum or (fee == 0 and exactly([price], amount, marginal=False) == 0)


@given(of=tiers(), amount=minor_units)
def test_marginal_tiers_cost_what_their_parts_cost(of: list[dict[str, str]], amount: int) -> None:
    """Rounded down to the last unit, the whole is what the parts are alone, less what rounding each part loses."""
    if is_free(of):
        return
    whole = tariff(tiers=of, tiering="MARGINAL", decimals=4, rounding="DOWN").fee(amount, "USD")
    alone, reached = 0, 0
    for tier in of:
        end = parse_decimal(tier["upTo"]) if "upTo" in tier else amount
        part = min(end, amount) - reached
        if part <= 0:
            break
        price = {name: value for name, value in tier.items() if name != "upTo"}
        if not is_free([price]):
            alone += tariff(**price, decimals=4, rounding="DOWN").fee(part, "USD")
        reached += part
    assert alone <= whole < alone + len(of)


# --- what is wrong with a rule ----------------------------------------------------------------------------------


def faults(*rules: object) -> list[str]:
    """What is wrong with rules, a line each."""
    with pytest.raises(RulesError) as refused:
        compile_fee_rules(json.dumps(rules))
    return [str(each) for each in refused.value.faults]


def faults_of(**params: object) -> list[tuple[str, str]]:
    """What is wrong with the params of one rule: where, and a sentence."""
    with pytest.raises(RulesError) as refused:
        compile_fee_rules(json.dumps([fee_rule(**params)]))
    return [(each.path.removeprefix("event.params."), each.message) for each in refused.value.faults]


AMOUNT = 'must be an amount of at most 100,000,000,000,000 with at most 4 decimals, e.g. "0.50"'
PERCENTAGE = 'must be from 0 to 50 with at most 6 decimals, e.g. "0.6"'
KIND = "must be the type of accounts that take fees, e.g. INTERCHANGE_FEE"
TIME = 'must be a time with its zone, e.g. "2030-01-31T00:00:00+02:00"'
ENDS = "must be more than nothing, and more than that of the tier before"


@pytest.mark.parametrize("wrong", ["51", "-1", "0.0000001", "0,6", "x", "", " 1", "1e1", "1_0", "１", "0.6 %", None])
def test_a_percentage_is_a_number_from_0_to_50(wrong: object) -> None:
    assert faults_of(percentage=wrong) == [("percentage", PERCENTAGE)]


@pytest.mark.parametrize("wrong", [True, [], {}, 50.0000001, -0.5, "0.6" + "0" * 40, "1" * 41, 10**30])
def test_a_percentage_is_nothing_else(wrong: object) -> None:
    assert faults_of(percentage=wrong) == [("percentage", PERCENTAGE)]


@pytest.mark.parametrize("name", ["fixed", "minimum", "maximum"])
@pytest.mark.parametrize(
    "wrong", ["-1", "0.00001", "100000000000000.0001", "1e35", "9" * 40, "0." + "1" * 35, "1 USD", True, None, []]
)
def test_an_amount_is_one_that_the_hub_can_hold(name: str, wrong: object) -> None:
    of = {"percentage": "1", "currency": "USD", "decimals": 4, name: wrong}
    assert faults_of(**of) == [(name, AMOUNT)]


@pytest.mark.parametrize(
    "number",
    [b"1e35", b"1e-35", b"1E+300", b"123456789012345678901234567890", b"0e999", b"0." + b"1" * 200_000],
    ids=lambda number: number[:9].decode(),
)
def test_a_number_beyond_any_amount_is_refused_and_does_no_harm(number: bytes) -> None:
    content = json.dumps([fee_rule(percentage="1", currency="USD", fixed="NUMBER")]).encode()
    with pytest.raises(RulesError) as refused:
        compile_fee_rules(content.replace(b'"NUMBER"', number))
    assert [each.path for each in refused.value.faults] == ["event.params.fixed"]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, [("percentage", "is missing: a fee is a percentage, a fixed amount, both, or tiers of them")]),
        ({"debtor": "bank"}, [("from", "must be one of payer, payee, hub")]),
        ({"creditor": None}, [("to", "must be one of payer, payee, hub")]),
        ({"debtor": "hub", "creditor": "hub"}, [("to", "is hub, who would owe the fee to itself")]),
        ({"currency": "usd"}, [("currency", "must be a currency, e.g. USD")]),
        ({"currency": None}, [("currency", "must be a currency, e.g. USD")]),
        ({"decimals": 5}, [("decimals", "must be a whole number from 0 to 4")]),
        ({"decimals": "2"}, [("decimals", "must be a whole number from 0 to 4")]),
        ({"decimals": True}, [("decimals", "must be a whole number from 0 to 4")]),
        ({"rounding": "BANKERS"}, [("rounding", "must be one of HALF_UP, HALF_EVEN, UP, DOWN")]),
        ({"tiering": "SLAB"}, [("tiering", "is for tiers, and there are none")]),
        ({"validFrom": "2030-01-31"}, [("validFrom", TIME)]),
        ({"validFrom": "2030-01-31T00:00:00"}, [("validFrom", TIME)]),
        ({"validTo": "tomorrow"}, [("validTo", TIME)]),
        ({"validTo": 1893456000}, [("validTo", TIME)]),
        ({"validTo": None}, [("validTo", TIME)]),
        (
            {"validFrom": "2030-01-01T02:00:00+02:00", "validTo": "2030-01-01T00:00:00Z"},
            [("validTo", "is not after validFrom")],
        ),
        ({"ledgerAccountType": "POSITION"}, [("ledgerAccountType", KIND)]),
        ({"ledgerAccountType": 4}, [("ledgerAccountType", KIND)]),
        ({"ledgerAccountType": "X" * 51}, [("ledgerAccountType", KIND)]),
    ],
)  # fmt: skip
def test_each_fault_of_a_rule_is_told_with_its_place(params: dict[str, Any], told: list[tuple[str, str]]) -> None:
    price = {} if told[0][0] == "percentage" else {"percentage": "1"}
    assert faults_of(**price, **params) == told


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"percentage": "0"}, "percentage"),
        ({"fixed": "0"}, "fixed"),
        ({"percentage": "0", "fixed": "0.00"}, "percentage"),
        ({"fixed": "0", "minimum": "1"}, "fixed"),
        ({"tiers": [{"upTo": "1", "fixed": "0"}, {"percentage": 0}]}, "tiers"),
    ],
)
def test_a_rule_that_could_never_charge_anything_is_a_mistake(params: dict[str, Any], told: str) -> None:
    message = "charges nothing, ever: some percentage or fixed amount must be more than 0"
    assert faults_of(currency="USD", **params) == [(told, message)]


@pytest.mark.parametrize("bounds", [{"minimum": "2", "maximum": "1.99"}, {"maximum": "0"}])
def test_bounds_leave_room_for_a_fee(bounds: dict[str, str]) -> None:
    told = [("maximum", "must be more than nothing, and not less than the minimum")]
    assert faults_of(percentage="1", currency="USD", **bounds) == told


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"minimum": "0.005"}, "has more decimals than the 2 to which the fee is rounded"),
        ({"minimum": "1.5", "currency": "JPY"}, "has more decimals than the 0 to which the fee is rounded"),
        ({"minimum": "0.05", "decimals": 1}, "has more decimals than the 1 to which the fee is rounded"),
    ],
)
def test_a_bound_is_an_amount_that_a_fee_can_have(params: dict[str, Any], told: str) -> None:
    assert faults_of(**{"percentage": "1", "currency": "USD", **params}) == [("minimum", told)]


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"fixed": "1"}, "fixed"),
        ({"percentage": "1", "minimum": "1", "maximum": "2"}, "minimum, maximum"),
        ({"tiers": [{"percentage": "1"}]}, "tiers"),
    ],
)
def test_amounts_are_of_one_currency(params: dict[str, Any], names: str) -> None:
    assert faults_of(**params) == [("currency", f"is missing: {names} mean amounts of one currency")]


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ({}, [("tiers", "must be a list of 1 to 50 tiers")]),
        ([], [("tiers", "must be a list of 1 to 50 tiers")]),
        ([{"percentage": "1"}] * 51, [("tiers", "must be a list of 1 to 50 tiers")]),
        ([5], [("tiers[0]", 'must be an object, e.g. {"upTo": "100", "fixed": "0.50"}')]),
        (
            [{"upTo": "1"}, {"fixed": "1"}],
            [("tiers[0]", 'must have a percentage or a fixed amount; one that costs nothing has "fixed": "0"')],
        ),
        ([{"upTo": "1", "fixed": "1"}], [("tiers[0].upTo", "the last tier has no upper end: leave upTo out")]),
        ([{"fixed": "1"}, {"fixed": "2"}], [("tiers[0].upTo", AMOUNT)]),
        ([{"upTo": "0", "fixed": "1"}, {"fixed": "2"}], [("tiers[0].upTo", ENDS)]),
        ([{"upTo": "2", "fixed": "1"}, {"upTo": "2.00", "fixed": "2"}, {"fixed": "3"}], [("tiers[1].upTo", ENDS)]),
        (
            [{"upTo": "9", "fixed": "1"}, {"upTo": "x", "fixed": "2"}, {"upTo": "8", "fixed": "3"}, {"fixed": "4"}],
            [("tiers[1].upTo", AMOUNT), ("tiers[2].upTo", ENDS)],
        ),
        (
            [{"percentage": "99", "fixed": "1.00001", "from": "1"}],
            [
                ("tiers[0].from", "is not known here; known: fixed, percentage, upTo"),
                ("tiers[0].percentage", PERCENTAGE),
                ("tiers[0].fixed", AMOUNT),
            ],
        ),
    ],
)
def test_each_fault_of_a_tier_is_told_with_its_place(of: object, told: list[tuple[str, str]]) -> None:
    assert faults_of(currency="USD", tiers=of) == told


def test_a_price_stands_in_the_tiers_where_there_are_tiers() -> None:
    told = "stands in each of the tiers, where there are tiers"
    of = [{"fixed": "1"}]
    assert faults_of(currency="USD", tiers=of, fixed="1", percentage="1") == [("percentage", told), ("fixed", told)]


def test_marginal_tiers_never_charge_more_than_the_ledger_can_move() -> None:
    top = show(FIXED_MAX)
    of = [{"upTo": "1", "fixed": top}, {"fixed": "0.0001"}]
    assert faults_of(currency="USD", tiers=of, tiering="MARGINAL") == [
        ("tiers", "have fixed amounts that add up to more than 100,000,000,000,000")
    ]
    assert priced(tariff(tiers=of), "1") == top


def test_what_is_not_known_is_told_with_what_is() -> None:
    ((path, message),) = faults_of(percentage="1", percent="1")
    assert path == "percent"
    assert message.startswith("is not known here; known: currency, decimals, fixed, from, ledgerAccountType, ")


def test_every_fault_of_every_rule_is_told_at_once() -> None:
    wrong = fee_rule(name="odd", percentage="99", rounding="NONE", debtor="me")
    other = {"conditions": {"all": [where("payload", "$.a", "equal", 1)]}, "event": {"type": "FINE"}}
    assert faults(SIX_PER_MILLE, wrong, other) == [
        "rule 2 (odd), event.params.from: must be one of payer, payee, hub",
        f"rule 2 (odd), event.params.percentage: {PERCENTAGE}",
        "rule 2 (odd), event.params.rounding: must be one of HALF_UP, HALF_EVEN, UP, DOWN",
        "rule 3, conditions.all[0].fact: must be one of payee, payer, transaction, transfer",
        "rule 3, event.type: must be FEE",
    ]


def test_a_moment_is_read_to_the_millisecond() -> None:
    of = tariff(percentage="1", validFrom="2030-01-31T00:00:00.001+02:00", validTo="2030-01-31T00:00:00.003+02:00")
    assert (of.valid_from_ms, of.valid_to_ms) == (1_896_040_800_001, 1_896_040_800_003)


# --- a scheme that charges --------------------------------------------------------------------------------------


@pytest.fixture
def scheme() -> Iterator[Settling]:
    """alpha, bravo and charlie in USD; fees are settled net, by a model of their own. The books must balance."""
    hub = SchemeBench(rules=Scheme(on_us_transfers=True))
    for name in (A, B, C):
        hub.onboard(name, "USD", cap="1000", funds="2000")
    settling = Settling(hub)
    settling.add_fee_model()
    hub.take_notices()
    yield settling
    settling.check()
    hub.close()


def fee_rows(scheme: Settling) -> list[Row]:
    return scheme.hub.read(lambda tx, _ledger, _directory: tx.query("SELECT * FROM fee ORDER BY transfer_seq, fee_no"))


def in_force(scheme: Settling) -> list[tuple[int, bool, int]]:
    """The versions of the rules: number, whether it is in force, and how many rules."""
    versions = scheme.hub.read(lambda tx, _ledger, _directory: history(tx, "fees", limit=10))
    return [(each.rule_set_id, each.is_active, len(json.loads(each.content))) for each in versions]


# --- which payments -------------------------------------------------------------------------------------------------


def is_charged(scheme: Settling, conditions: Conditions, **fields: object) -> bool:
    """Whether a payment of 100 USD from alpha to bravo is charged by a rule of these conditions."""
    scheme.charge(fee_rule(conditions=conditions, percentage="1", currency="USD"))
    return bool(scheme.hub.transfer(scheme.pay(A, B, "100 USD", **fields).transfer_id).fees)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (where("transfer", "$.amount.amount", "greaterThanInclusive", "100"), True),
        (where("transfer", "$.amount.amount", "lessThan", 100), False),
        (where("transfer", "$.amount.currency", "equal", "USD"), True),
        (where("transfer", "$.amount.currency", "in", ["EUR", "KES"]), False),
        (where("transfer", "$.payerFsp", "equal", A), True),
        (where("transfer", "$.payeeFsp", "in", [A, C]), False),
        (where("payer", "$.name", "equal", A), True),
        (where("payee", "$.name", "notEqual", B), False),
        (where("payee", "$.isProxy", "equal", 0), True),
        (where("payer", "$.accounts[?(@.ledgerAccountType == 'POSITION')].currency", "contains", "USD"), True),
        (where("payer", "$.accounts[*].ledgerAccountType", "contains", "HEADROOM"), False),
        (where("transfer", "$.payerFsp", "equal", {"fact": "payer", "path": "$.name"}), True),
    ],
)
def test_a_condition_looks_at_the_transfer_and_its_parties(
    scheme: Settling, condition: Mapping[str, object], holds: bool
) -> None:
    assert is_charged(scheme, {"all": [condition]}) is holds


EXTENSIONS = (("channel", "USSD"), ("segment", "merchant"), ("channel", "APP"), ("a b.c", "odd"))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (where("transfer", "$.extensions.segment", "equal", "merchant"), True),
        (where("transfer", "$.extensions.segment", "equal", "farmer"), False),
        (where("transfer", "$.extensions.channel", "equal", "USSD"), True),
        (where("transfer", "$.extensions['a b.c']", "equal", "odd"), True),
        (where("transfer", "$.extensions.absent", "isString", True), False),
        (where("transfer", "$.extensionList.extension[?(@.key == 'channel')].value", "contains", "APP"), True),
        (where("transfer", "$.extensionList.extension[2].value", "equal", "APP"), True),
    ],
)
def test_a_condition_looks_at_extensions_of_which_the_first_of_a_key_counts(
    scheme: Settling, condition: Mapping[str, object], holds: bool
) -> None:
    assert is_charged(scheme, {"all": [condition]}, extensions=EXTENSIONS) is holds


def test_a_payment_without_extensions_has_an_empty_list_of_them(scheme: Settling) -> None:
    none = where("transfer", "$.extensionList.extension", "deepEqual", [])
    assert is_charged(scheme, {"all": [none]})


@pytest.mark.parametrize(
    ("of", "holds"),
    [
        (transaction(), True),
        (transaction(payer_kind="Bank"), False),
        (transaction(payee_kind="Bank"), False),
        (transaction(payer_kind=None), False),
        (transaction(transactionType={**BETWEEN_CONSUMERS, "scenario": "PAYMENT"}), False),
        (transaction(transactionType={**BETWEEN_CONSUMERS, "initiatorType": "AGENT"}), False),
    ],
)
def test_a_condition_looks_at_the_transaction_that_both_sides_have_agreed_on(
    scheme: Settling, of: dict[str, Any], holds: bool
) -> None:
    assert is_charged(scheme, WALLET_TO_WALLET, ilp_packet=packet(of)) is holds


def of_json(content: bytes) -> str:
    """A packet that holds whatever it is."""
    data = base64.urlsafe_b64encode(content).rstrip(b"=")
    inner = bytes(8) + b"\x01g" + b"\x84" + len(data).to_bytes(4, "big") + data + b"\0"
    whole = b"\x01\x84" + len(inner).to_bytes(4, "big") + inner
    return base64.urlsafe_b64encode(whole).rstrip(b"=").decode()


def test_a_packet_is_read_whoever_made_it(scheme: Settling) -> None:
    of = of_json(json.dumps(transaction()).encode())
    assert is_charged(scheme, WALLET_TO_WALLET, ilp_packet=of)


@pytest.mark.parametrize(
    "unreadable",
    [
        "",
        "AYIBgQ",
        "not a packet",
        of_json(b""),
        of_json(b"{"),
        of_json(b"[]"),
        of_json(b"\xff\xff"),
        of_json(b'"text"'),
        of_json(b"1e99999999999999999999"),
        of_json(b'{"a":' + b"1" * 5000 + b"}"),
        of_json(b'{"a":' * 10_000),
        of_json(b'{"a":' * 33 + b"1" + b"}" * 33),
        of_json(b'{"a":[' + b",".join([b"1"] * 2000) + b"]}"),
    ],
    ids=lambda text: text[:12],
)
def test_a_payment_whose_transaction_cannot_be_read_is_committed_as_if_it_had_none(
    scheme: Settling, unreadable: str
) -> None:
    there = {"all": [{"fact": "transaction", "operator": "isObject", "value": True}]}
    assert not is_charged(scheme, there, ilp_packet=unreadable)
    assert is_charged(scheme, {"not": there}, ilp_packet=unreadable)


odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("Wallet"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["extension", "key", "value", "partyIdInfo", "scenario"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(parts=st.dictionaries(st.sampled_from(["payer", "payee", "transactionType"]), odd_values), list_=odd_values)
def test_no_transaction_is_so_odd_that_a_rule_could_not_look_at_it(parts: dict[str, Any], list_: object) -> None:
    rules = compile_fee_rules(json.dumps([fee_rule(conditions=WALLET_TO_WALLET, percentage="1")])).rules
    assert rules.run({"transaction": parts}) == []
    wallets = transaction()
    wallets["payee"]["partyIdInfo"]["extensionList"]["extension"] = list_
    rules.run({"transaction": wallets})


def test_a_transaction_is_not_looked_at_unless_a_rule_asks_for_it(scheme: Settling) -> None:
    asked: list[str] = []

    def read(packet: str) -> bytes:
        asked.append(packet)
        return b"{}"

    fees = Fees(read)
    payment = scheme.pay(A, B, "1 USD")
    (record,) = scheme.hub.read(lambda tx, _l, _d: past_payments(tx, before=2**63 - 1, down_to=0, transfers=1)).records
    dear = {"all": [where("transfer", "$.amount.currency", "equal", "EUR"), *_ASKS["all"]]}
    for conditions, times in ((ALWAYS, 0), (dear, 0), (_ASKS, 1)):
        asked.clear()
        rules = compile_fee_rules(json.dumps([fee_rule(conditions=conditions, percentage="1")]))
        fees.charges(rules, scheme.hub.directory, record, scheme.hub.now_ms)
        assert len(asked) == times
    assert record.transfer_id == payment.transfer_id


_ASKS = {
    "all": [
        where("transaction", "$.a", "notEqual", 1),
        where("transaction", "$.b", "notEqual", 1),
    ]
}

# --- when -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_ms", "is_charged"),
    [(-1, False), (0, True), (59_999, True), (60_000, False)],
)
def test_a_rule_charges_from_its_first_moment_until_before_its_last(
    scheme: Settling, after_ms: int, is_charged: bool
) -> None:
    start = START_MS + 10_000
    valid = {"validFrom": format_datetime_ms(start), "validTo": format_datetime_ms(start + 60_000)}
    scheme.charge(fee_rule(percentage="1", currency="USD", **valid))
    scheme.hub.advance(start + after_ms - scheme.hub.now_ms)
    payment = scheme.pay(A, B, "100 USD")
    assert bool(charged(scheme.hub, payment)) is is_charged


def test_the_moment_that_counts_is_that_of_the_commit(scheme: Settling) -> None:
    request = prepare(scheme.hub, "100 USD", payer=A, payee=B)
    scheme.hub.accept(request)
    scheme.hub.advance(1_000)
    scheme.charge({**SIX_PER_MILLE})
    scheme.hub.advance(1_000)
    scheme.hub.accept(fulfil(scheme.hub, request))
    assert charged(scheme.hub, request) == ["six per mille: alpha owes bravo 0.6 USD"]


def test_what_was_charged_stays_when_rules_change(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    before = scheme.pay(A, B, "100 USD")
    scheme.charge(fee_rule(name="one percent", percentage="1", currency="USD"))
    after = scheme.pay(A, B, "100 USD")
    scheme.charge()
    free = scheme.pay(A, B, "100 USD")
    assert charged(scheme.hub, before) == ["six per mille: alpha owes bravo 0.6 USD"]
    assert charged(scheme.hub, after) == ["one percent: alpha owes bravo 1 USD"]
    assert charged(scheme.hub, free) == []
    assert scheme.fees(A, B) == ("1.6", "-1.6")


def test_rules_hold_for_the_payments_of_the_same_batch(scheme: Settling) -> None:
    request = prepare(scheme.hub, "100 USD", payer=A, payee=B)
    scheme.hub.accept(request)
    rules = SetFeeRules(content=json.dumps([SIX_PER_MILLE]), by="alice")
    scheme.hub.run_many([rules, fulfil(scheme.hub, request)])
    assert charged(scheme.hub, request) == ["six per mille: alpha owes bravo 0.6 USD"]


# --- who owes whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("debtor", "creditor", "line"),
    [
        ("payer", "payee", "alpha owes bravo"),
        ("payee", "payer", "bravo owes alpha"),
        ("payer", "hub", "alpha owes Hub"),
        ("payee", "hub", "bravo owes Hub"),
        ("hub", "payer", "Hub owes alpha"),
        ("hub", "payee", "Hub owes bravo"),
    ],
)
def test_a_fee_is_owed_by_one_side_to_another(scheme: Settling, debtor: str, creditor: str, line: str) -> None:
    scheme.charge(fee_rule(name="r", debtor=debtor, creditor=creditor, fixed="0.3", currency="USD"))
    assert charged(scheme.hub, scheme.pay(A, B, "100 USD")) == [f"r: {line} 0.3 USD"]
    owing, _, owed = line.split()
    assert scheme.fees(owing, owed) == ("0.3", "-0.3")


def test_every_rule_that_holds_charges_the_highest_priority_first(scheme: Settling) -> None:
    scheme.charge(
        fee_rule(name="second", fixed="0.2", currency="USD"),
        fee_rule(fixed="0.3", currency="USD", creditor="hub"),
        fee_rule(name="first", priority=9, fixed="0.1", currency="USD", debtor="payee", creditor="payer"),
        fee_rule(name="never", fixed="9", currency="EUR"),
    )
    assert charged(scheme.hub, scheme.pay(A, B, "100 USD")) == [
        "first: bravo owes alpha 0.1 USD",
        "second: alpha owes bravo 0.2 USD",
        "rule 2: alpha owes Hub 0.3 USD",
    ]
    assert scheme.fees(A, B, HUB) == ("0.4", "-0.1", "-0.3")


def test_a_participant_owes_itself_nothing_but_may_owe_the_hub(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE, fee_rule(name="toll", creditor="hub", fixed="0.05", currency="USD"))
    assert charged(scheme.hub, scheme.pay(A, A, "100 USD")) == ["toll: alpha owes Hub 0.05 USD"]


def test_a_fee_that_rounds_to_nothing_is_none(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    assert charged(scheme.hub, scheme.pay(A, B, "0.5 USD")) == []
    assert fee_rows(scheme) == []


# --- charged once, and only with a commit ---------------------------------------------------------------------------


def reserve(scheme: Settling, amount: str = "100 USD", **fields: Any) -> PrepareTransfer:
    request = prepare(scheme.hub, amount, payer=A, payee=B, **fields)
    scheme.hub.accept(request)
    return request


def test_a_reservation_is_charged_nothing(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    reserve(scheme)
    assert fee_rows(scheme) == []


def test_a_declined_payment_is_charged_nothing(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    scheme.hub.accept(abort(scheme.hub, reserve(scheme)))
    assert fee_rows(scheme) == []


def test_a_payment_with_a_wrong_fulfilment_is_charged_nothing(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    scheme.hub.accept(fulfil(scheme.hub, reserve(scheme), fulfilment=None))
    assert fee_rows(scheme) == []


def test_an_expired_payment_is_charged_nothing(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    request = reserve(scheme)
    scheme.hub.advance(EXPIRY_MS)
    scheme.hub.expire()
    scheme.hub.accept(fulfil(scheme.hub, request))
    assert fee_rows(scheme) == []


def test_a_payment_that_is_refused_is_charged_nothing(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    reserve(scheme, "5000 USD")
    assert fee_rows(scheme) == []


def test_a_payee_that_waits_for_the_hub_is_charged_too(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    request = reserve(scheme)
    scheme.hub.accept(reserved(scheme.hub, request))
    assert charged(scheme.hub, request) == ["six per mille: alpha owes bravo 0.6 USD"]


def test_an_answer_that_is_repeated_charges_nothing_more(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    request = reserve(scheme)
    answer = fulfil(scheme.hub, request)
    scheme.hub.run_many([answer, answer])
    scheme.hub.accept(answer)
    scheme.hub.accept(fulfil(scheme.hub, request, note="another body"))
    scheme.charge(fee_rule(percentage="5", currency="USD"))
    scheme.hub.accept(answer)
    assert charged(scheme.hub, request) == ["six per mille: alpha owes bravo 0.6 USD"]
    assert scheme.fees(A, B) == ("0.6", "-0.6")


def test_a_commit_that_is_undone_charges_nothing_and_is_charged_when_it_is_done_again(scheme: Settling) -> None:
    scheme.charge(fee_rule(name="toll", creditor="hub", fixed="0.05", currency="USD"))
    request = reserve(scheme)
    answer = fulfil(scheme.hub, request)

    def crash() -> None:
        with scheme.hub.work() as work:
            scheme.hub.decide(work, [answer])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert fee_rows(scheme) == []
    assert scheme.hub.directory.participants[HUB].account("USD", FEE_TYPE) is None
    scheme.hub.accept(answer)
    assert charged(scheme.hub, request) == ["toll: alpha owes Hub 0.05 USD"]


def test_many_payments_of_the_same_two_in_one_batch_are_charged_each(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE, fee_rule(name="toll", creditor="hub", fixed="0.05", currency="USD"))
    requests = [prepare(scheme.hub, f"{10 * n} USD", payer=A, payee=B) for n in range(1, 6)]
    requests += [prepare(scheme.hub, "1 USD", payer=B, payee=A), prepare(scheme.hub, "2 USD", payer=B, payee=C)]
    scheme.hub.run_many(requests)
    answers = [fulfil(scheme.hub, each) for each in requests]
    answers[2] = abort(scheme.hub, requests[2])  # type: ignore[call-overload]
    scheme.hub.run_many(answers)
    assert charged(scheme.hub, requests[2]) == []
    assert charged(scheme.hub, requests[4]) == [
        "six per mille: alpha owes bravo 0.3 USD",
        "toll: alpha owes Hub 0.05 USD",
    ]
    # 0.06 + 0.12 + 0.24 + 0.3 from alpha to bravo, 0.01 back, 0.01 from bravo to charlie, and six tolls.
    assert scheme.fees(A, B, C, HUB) == ("0.91", "-0.6", "-0.01", "-0.3")
    assert len(fee_rows(scheme)) == 12


def test_what_a_fee_adds_changes_no_position_no_liquidity_and_no_limit(scheme: Settling) -> None:
    scheme.charge(fee_rule(percentage="50", fixed="100", currency="USD"))
    scheme.pay(A, B, "1000 USD")
    assert scheme.fees(A, B) == ("600", "-600")
    assert scheme.positions(A, B) == ("1000", "-1000")
    assert scheme.liquidity(A, B) == ("-2000", "-2000")
    assert (scheme.hub.available(A, "USD"), scheme.hub.available(B, "USD")) == ("0", "2000")


def test_parties_are_told_of_their_payment_and_nothing_of_fees(scheme: Settling) -> None:
    scheme.pay(A, B, "100 USD")
    without = [(each.to, each.action, each.resource) for each in scheme.hub.take_notices()]
    scheme.charge(SIX_PER_MILLE)
    scheme.hub.take_notices()
    scheme.pay(A, B, "100 USD")
    assert [(each.to, each.action, each.resource) for each in scheme.hub.take_notices()] == without


def test_a_payment_of_a_participant_that_was_disabled_meanwhile_is_charged_when_it_commits(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    request = reserve(scheme)
    scheme.hub.accept(SetParticipantActive(name=FspId(A), is_active=False))
    position = scheme.hub.account_id(B, "USD", "POSITION")
    scheme.hub.accept(SetAccountActive(name=FspId(B), account_id=position, is_active=False))
    scheme.hub.accept(fulfil(scheme.hub, request))
    assert charged(scheme.hub, request) == ["six per mille: alpha owes bravo 0.6 USD"]


# --- entries and accounts ---------------------------------------------------------------------------------------


def test_a_fee_is_one_entry_between_accounts_of_its_type_in_the_payments_window(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    request = scheme.pay(A, B, "100 USD")
    moved = scheme.hub.read(lambda _tx, ledger, _directory: ledger.query_transfers(QueryFilter()))
    (entry,) = [each for each in moved if each.code == chart.TransferCode.FEE]
    assert entry.id == chart.fee_id(request.transfer_id, 1)
    assert entry.debit_account_id == chart.account_id(A, "USD", FEE_TYPE)
    assert entry.credit_account_id == chart.account_id(B, "USD", FEE_TYPE)
    assert (entry.amount, entry.flags, entry.user_data_64) == (6000, 0, scheme.open_window)
    assert entry.user_data_128 == int.from_bytes(request.transfer_id, "big")


def test_an_account_is_opened_by_the_first_fee_that_needs_it_and_once(scheme: Settling) -> None:
    scheme.charge(fee_rule(name="toll", creditor="hub", fixed="0.05", currency="USD"))
    assert scheme.hub.directory.participants[HUB].account("USD", FEE_TYPE) is None
    scheme.pay(A, B, "1 USD")
    opened = scheme.hub.directory.participants[HUB].account("USD", FEE_TYPE)
    assert opened is not None
    assert opened.is_active
    version = scheme.hub.directory.version
    scheme.pay(B, C, "1 USD")
    assert scheme.hub.directory.version == version
    assert scheme.fees(HUB) == ("-0.1",)


def test_an_account_of_a_type_of_the_schemes_own_is_opened_too(scheme: Settling) -> None:
    add_type(scheme, "MERCHANT_FEE")
    scheme.add_fee_model(name="MERCHANTS", ledger_account_type="MERCHANT_FEE", currency=Currency("USD"))
    scheme.charge(fee_rule(percentage="1", currency="USD", ledgerAccountType="MERCHANT_FEE"), SIX_PER_MILLE)
    scheme.pay(A, B, "100 USD")
    assert scheme.fees(A, B, account_type="MERCHANT_FEE") == ("1", "-1")
    assert scheme.fees(A, B) == ("0.6", "-0.6")


def test_participants_that_join_after_the_model_are_charged_too(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    scheme.hub.onboard("delta", "USD", cap="1000", funds="2000")
    scheme.pay("delta", A, "100 USD")
    assert scheme.fees("delta", A) == ("0.6", "-0.6")


def test_fees_go_either_way_without_limit(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    scheme.pay(A, B, "100 USD")
    scheme.pay(B, A, "300 USD")
    assert scheme.fees(A, B) == ("-1.2", "1.2")


# --- what may be stored -------------------------------------------------------------------------------------------


def add_type(scheme: Settling, name: str, *, settleable: bool = True) -> None:
    command = AddLedgerAccountType(name=name, description=name, is_active=True, is_settleable=settleable)
    scheme.hub.accept(command)


def refused(scheme: Settling, *rules: object) -> list[str]:
    """What is wrong with rules that the scheme does not put in force."""
    error = scheme.hub.run(SetFeeRules(content=json.dumps(rules), by="alice")).error
    assert isinstance(error, RulesError)
    return [str(each) for each in error.faults]


def test_rules_are_versions_of_which_one_is_in_force(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    scheme.charge(SIX_PER_MILLE, SIX_PER_MILLE)
    scheme.charge()
    assert in_force(scheme) == [(3, True, 0), (2, False, 2), (1, False, 1)]


def test_a_fee_must_have_a_type_of_account_that_is_there(scheme: Settling) -> None:
    assert refused(scheme, fee_rule(percentage="1", currency="USD", ledgerAccountType="NONE")) == [
        "rule 1, event.params.ledgerAccountType: is no type of account here: add it first (POST /ledgerAccountTypes), "
        "or use INTERCHANGE_FEE"
    ]


@pytest.mark.parametrize("account_type", ["SETTLEMENT", "HUB_FEE", "INTERCHANGE_FEE_SETTLEMENT", "HUB_RECONCILIATION"])
def test_a_fee_must_have_a_type_of_account_that_can_be_settled(scheme: Settling, account_type: str) -> None:
    assert refused(scheme, fee_rule(percentage="1", currency="USD", ledgerAccountType=account_type)) == [
        "rule 1, event.params.ledgerAccountType: is a type of account that can't be settled: use INTERCHANGE_FEE, or a "
        "settleable type"
    ]


@pytest.mark.parametrize("account_type", ["HEADROOM", "HUB_ON_US"])
def test_a_fee_never_touches_the_hubs_own_books(scheme: Settling, account_type: str) -> None:
    (told,) = refused(scheme, fee_rule(percentage="1", currency="USD", ledgerAccountType=account_type))
    assert "is no type of account here" in told


def test_a_fee_must_be_settled_by_a_deferred_model_in_its_currency(scheme: Settling) -> None:
    add_type(scheme, "MERCHANT_FEE")
    merchants = fee_rule(name="m", percentage="1", currency="USD", ledgerAccountType="MERCHANT_FEE")
    lacking = "rule 1 (m), event.params.ledgerAccountType: is settled by no deferred model in {}: add one first "
    assert refused(scheme, merchants) == [f"{lacking.format('USD')}(vuka model add)"]
    scheme.add_model("AT_ONCE", "IMMEDIATE", "GROSS", "BILATERAL", ledger_account_type="MERCHANT_FEE", currency=None)
    assert refused(scheme, merchants) == [f"{lacking.format('USD')}(vuka model add)"]
    scheme.add_fee_model(name="MERCHANTS", ledger_account_type="MERCHANT_FEE", currency=Currency("USD"))
    scheme.charge(merchants)
    del merchants["event"]["params"]["currency"]
    assert refused(scheme, merchants) == [f"{lacking.format('EUR')}(vuka model add)"]


def test_every_fault_is_told_at_once_and_the_rules_before_stay_in_force(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    assert len(refused(scheme, fee_rule(percentage="99", ledgerAccountType="NONE"), fee_rule(debtor="me"))) == 4
    assert in_force(scheme) == [(1, True, 1)]
    assert charged(scheme.hub, scheme.pay(A, B, "100 USD")) == ["six per mille: alpha owes bravo 0.6 USD"]


def test_the_only_model_that_settles_what_rules_charge_is_not_switched_off(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    off = SetSettlementModelActive(name=FEES, is_active=False)
    code, description, status = scheme.hub.refuse(off)
    assert (code, status) == ("3000", 400)
    assert description == (
        "Generic client error - rules about fees charge INTERCHANGE_FEE in USD: add another deferred model for it, or "
        "change them"
    )
    scheme.add_fee_model("GROSS", "BILATERAL", name="OTHERS")
    scheme.hub.accept(off)
    scheme.pay(A, B, "100 USD")
    scheme.hub.refuse(SetSettlementModelActive(name="OTHERS", is_active=False))
    scheme.charge()
    scheme.hub.accept(SetSettlementModelActive(name="OTHERS", is_active=False))


def test_no_immediate_model_takes_over_what_rules_charge(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    at_once: dict[str, Any] = {"ledger_account_type": FEE_TYPE, "settlement_account_type": "INTERCHANGE_FEE_SETTLEMENT"}
    command = AddSettlementModel(
        name="AT_ONCE",
        delay="IMMEDIATE",
        granularity="GROSS",
        interchange="BILATERAL",
        currency=Currency("USD"),
        require_liquidity_check=True,
        auto_position_reset=True,
        **at_once,
    )
    assert scheme.hub.refuse(command)[0] == "3000"
    # Nor one that was there before the rules, and switched off.
    scheme.charge()
    scheme.hub.accept(command)
    scheme.hub.accept(SetSettlementModelActive(name="AT_ONCE", is_active=False))
    scheme.charge(SIX_PER_MILLE)
    assert scheme.hub.refuse(SetSettlementModelActive(name="AT_ONCE", is_active=True))[0] == "3000"
    # Of another currency, or another type of account, it takes nothing from them.
    scheme.add_model("EUROS", "IMMEDIATE", "GROSS", "BILATERAL", currency=Currency("EUR"), **at_once)
    scheme.add_model("POSITIONS", "IMMEDIATE", "GROSS", "BILATERAL")


def test_a_currency_that_comes_later_is_charged_and_waits_for_its_model() -> None:
    hub = SchemeBench(currencies=("USD",))
    scheme = Settling(hub)
    scheme.add_fee_model(currency=Currency("USD"))
    scheme.charge(fee_rule(percentage="1"))
    for account_type in ("HUB_RECONCILIATION", "HUB_MULTILATERAL_SETTLEMENT"):
        hub.accept(CreateHubAccount(currency=Currency("KES"), type=account_type))
    for name in (A, B):
        hub.onboard(name, "KES", cap="1000", funds="2000")
    scheme.pay(A, B, "100 KES")
    assert scheme.fees(A, B, currency="KES") == ("1", "-1")
    window = scheme.close()
    scheme.walk(scheme.create(window))
    assert scheme.window_state(window) == "CLOSED"
    scheme.add_fee_model(name="SHILLINGS", currency=Currency("KES"))
    scheme.walk(scheme.create(window, model="SHILLINGS"))
    assert (scheme.window_state(window), scheme.fees(A, B, currency="KES")) == (SETTLED, ("0", "0"))
    hub.close()


# --- settled ------------------------------------------------------------------------------------------------------


def a_day(scheme: Settling) -> int:
    """alpha owes bravo 1.2 and gets 0.6, bravo owes charlie 0.3, each payer the hub 0.05; the window, closed."""
    scheme.charge(SIX_PER_MILLE, fee_rule(name="toll", creditor="hub", fixed="0.05", currency="USD"))
    scheme.pay(A, B, "200 USD")
    scheme.pay(B, A, "100 USD")
    scheme.pay(B, C, "50 USD")
    assert scheme.fees(A, B, C, HUB) == ("0.65", "-0.2", "-0.3", "-0.15")
    return scheme.close()


def test_a_fee_belongs_to_the_window_of_its_payment(scheme: Settling) -> None:
    request = reserve(scheme)
    scheme.charge(SIX_PER_MILLE)
    scheme.pay(A, C, "100 USD")
    first = scheme.close()
    scheme.hub.accept(fulfil(scheme.hub, request))
    assert scheme.hub.transfer(request.transfer_id).settlement_window_id == first + 1
    assert scheme.nets(scheme.create(first, model=FEES)) == {A: "0.6", C: "-0.6"}
    assert scheme.nets(scheme.create(scheme.close(), model=FEES)) == {A: "0.6", B: "-0.6"}


def test_positions_and_fees_of_one_window_settle_apart(scheme: Settling) -> None:
    window = a_day(scheme)
    positions, fees = scheme.create(window), scheme.create(window, model=FEES)
    assert scheme.nets(positions) == {A: "100", B: "-50", C: "-50"}
    assert scheme.nets(fees) == {A: "0.65", B: "-0.2", C: "-0.3", HUB: "-0.15"}
    scheme.walk(positions)
    assert scheme.window_state(window) == "PENDING_SETTLEMENT"
    assert (scheme.positions(A, B, C), scheme.fees(A, B, C, HUB)) == (
        ("0", "0", "0"),
        ("0.65", "-0.2", "-0.3", "-0.15"),
    )
    scheme.walk(fees)
    assert (scheme.window_state(window), scheme.fees(A, B, C, HUB)) == (SETTLED, ("0", "0", "0", "0"))


def test_the_model_of_positions_settles_no_fees(scheme: Settling) -> None:
    window = a_day(scheme)
    scheme.walk(scheme.create(window))
    refused = scheme.hub.refuse(CreateSettlement(settlement_model=DEFAULT, reason="again", window_ids=(window,)))
    assert refused[1] == f"Generic validation error - Inapplicable windows {window}"
    assert scheme.window_state(window) == "CLOSED"


def test_a_window_without_fees_is_not_for_the_model_of_fees(scheme: Settling) -> None:
    scheme.pay(A, B, "100 USD")
    window = scheme.close()
    refused = scheme.hub.refuse(CreateSettlement(settlement_model=FEES, reason="why not", window_ids=(window,)))
    assert refused[1] == f"Generic validation error - Inapplicable windows {window}"


def test_fees_net_step_by_step(scheme: Settling) -> None:
    window = a_day(scheme)
    settlement = scheme.create(window, model=FEES)
    positions, liquidity = scheme.positions(A, B, C), scheme.liquidity(A, B, C)
    scheme.step(settlement, RECORDED)
    assert scheme.fees(A, B, C, HUB) == ("0.65", "-0.2", "-0.3", "-0.15")
    scheme.step(settlement, RESERVED)
    assert (scheme.fees(A, B, C, HUB), scheme.hub_side()) == (("0.65", "0", "0", "0"), "-0.65")
    scheme.step(settlement, COMMITTED)
    assert (scheme.fees(A, B, C, HUB), scheme.hub_side()) == (("0", "0", "0", "0"), "0")
    scheme.step(settlement, SETTLED)
    assert scheme.state(settlement) == SETTLED
    assert (scheme.positions(A, B, C), scheme.liquidity(A, B, C)) == (positions, liquidity)


def test_fees_settle_participant_by_participant_the_hub_among_them(scheme: Settling) -> None:
    window = a_day(scheme)
    settlement = scheme.create(window, model=FEES)
    scheme.step(settlement, RECORDED)
    scheme.step(settlement, RESERVED, HUB)
    assert (scheme.state(settlement), scheme.fees(A, B, C, HUB)) == (RECORDED, ("0.65", "-0.2", "-0.3", "0"))
    scheme.step(settlement, RESERVED, A, B, C)
    scheme.step(settlement, COMMITTED, A)
    assert (scheme.state(settlement), scheme.fees(A, B, C, HUB)) == (RESERVED, ("0", "0", "0", "0"))


@pytest.mark.parametrize(
    ("granularity", "paid"),
    [
        ("NET", {(A, B): "0.6", (B, C): "0.3", (A, HUB): "0.05", (B, HUB): "0.1"}),
        ("GROSS", {(A, B): "1.2", (B, A): "0.6", (B, C): "0.3", (A, HUB): "0.05", (B, HUB): "0.1"}),
    ],
)
def test_fees_settle_pair_by_pair(scheme: Settling, granularity: str, paid: dict[tuple[str, str], str]) -> None:
    scheme.add_fee_model(granularity, "BILATERAL", name="PAIRS")
    settlement = scheme.create(a_day(scheme), model="PAIRS")
    assert scheme.obligations(settlement) == paid
    scheme.walk(settlement)
    assert (scheme.fees(A, B, C, HUB), scheme.hub_side()) == (("0", "0", "0", "0"), "0")


@pytest.mark.parametrize("steps", [(), (RECORDED,), (RECORDED, RESERVED)])
@pytest.mark.parametrize("pair", [("NET", "MULTILATERAL"), ("NET", "BILATERAL"), ("GROSS", "BILATERAL")])
def test_an_aborted_settlement_of_fees_gives_them_back_and_is_done_again(
    scheme: Settling, pair: tuple[str, str], steps: tuple[str, ...]
) -> None:
    scheme.add_fee_model(*pair, name="MODEL")
    window = a_day(scheme)
    first = scheme.create(window, model="MODEL")
    for state in steps:
        scheme.step(first, state)
    scheme.abort(first)
    assert (scheme.window_state(window), scheme.hub_side()) == ("ABORTED", "0")
    assert scheme.fees(A, B, C, HUB) == ("0.65", "-0.2", "-0.3", "-0.15")
    scheme.check()
    second = scheme.create(window, model="MODEL")
    scheme.walk(second)
    assert scheme.fees(A, B, C, HUB) == ("0", "0", "0", "0")


def test_a_settlement_of_fees_is_finalised_at_once(scheme: Settling) -> None:
    settlement = scheme.create(a_day(scheme), model=FEES)
    scheme.finalise(settlement)
    assert (scheme.state(settlement), scheme.fees(A, B, C, HUB)) == (SETTLED, ("0", "0", "0", "0"))


def test_a_model_without_reset_leaves_the_accounts_of_fees(scheme: Settling) -> None:
    scheme.add_fee_model(name="MANUAL", auto_position_reset=False)
    scheme.walk(scheme.create(a_day(scheme), model="MANUAL"))
    assert scheme.fees(A, B, C, HUB) == ("0.65", "-0.2", "-0.3", "-0.15")


def test_what_is_charged_after_the_window_stays_on_the_accounts(scheme: Settling) -> None:
    settlement = scheme.create(a_day(scheme), model=FEES)
    scheme.pay(C, A, "100 USD")
    scheme.walk(settlement)
    assert scheme.fees(A, B, C, HUB) == ("-0.6", "0", "0.65", "-0.05")


def test_fees_of_several_windows_settle_together(scheme: Settling) -> None:
    settlement = scheme.create(a_day(scheme), a_day_more(scheme), model=FEES)
    assert scheme.nets(settlement) == {A: "1.3", B: "-0.4", C: "-0.6", HUB: "-0.3"}


def a_day_more(scheme: Settling) -> int:
    for payer, payee, amount in ((A, B, "200 USD"), (B, A, "100 USD"), (B, C, "50 USD")):
        scheme.pay(payer, payee, amount)
    return scheme.close()


def test_where_payments_settle_at_once_fees_settle_with_the_window() -> None:
    hub = SchemeBench()
    for name in (A, B):
        hub.onboard(name, "USD", cap="1000", funds="2000")
    scheme = Settling(hub)
    scheme.add_model("INSTANT", "IMMEDIATE", "GROSS", "BILATERAL")
    scheme.add_fee_model()
    scheme.charge(SIX_PER_MILLE)
    scheme.pay(A, B, "100 USD")
    assert (scheme.positions(A, B), scheme.liquidity(A, B)) == (("0", "0"), ("-1900", "-2100"))
    assert scheme.fees(A, B) == ("0.6", "-0.6")
    window = scheme.close()
    assert scheme.window_state(window) == "CLOSED"
    scheme.walk(scheme.create(window, model=FEES))
    assert (scheme.window_state(window), scheme.fees(A, B)) == (SETTLED, ("0", "0"))
    assert scheme.liquidity(A, B) == ("-1900", "-2100")
    hub.close()


def test_fees_that_are_held_already_are_settled_when_their_rules_and_model_are_gone(scheme: Settling) -> None:
    window = a_day(scheme)
    scheme.charge()
    scheme.hub.accept(SetSettlementModelActive(name=FEES, is_active=False))
    scheme.walk(scheme.create(window))
    scheme.walk(scheme.create(window, model=FEES))
    assert (scheme.window_state(window), scheme.fees(A, B, C, HUB)) == (SETTLED, ("0", "0", "0", "0"))


def test_a_window_closes_before_the_payments_of_its_batch_and_their_fees(scheme: Settling) -> None:
    scheme.charge(SIX_PER_MILLE)
    scheme.pay(A, B, "100 USD")
    request = reserve(scheme)
    window = scheme.open_window
    scheme.hub.run_many([CloseWindow(window_id=window, reason="end of day"), fulfil(scheme.hub, request)])
    assert [row[-1] for row in fee_rows(scheme)] == [window, window + 1]


def test_the_audit_knows_fees(scheme: Settling) -> None:
    scheme.walk(scheme.create(a_day(scheme), model=FEES))
    scheme.pay(A, B, "100 USD")
    assert audited(scheme.hub).differences == []


# --- trying -------------------------------------------------------------------------------------------------------


def pages(scheme: Settling, transfers: int, *, down_to: int = 0) -> list[list[str]]:
    """The payments that each page of a trial has, the newest page first, by their amounts."""
    found: list[list[str]] = []
    before: int | None = 2**63 - 1
    while before is not None:
        below = before
        page = scheme.hub.read(
            lambda tx, _l, _d: past_payments(tx, before=below, down_to=down_to, transfers=transfers)  # noqa: B023 - at once
        )
        found.append([show(record.amount) for record in page.records])
        before = page.before
    return found


def test_past_payments_are_read_a_page_at_a_time_the_newest_first(scheme: Settling) -> None:
    # Three funds in came before them.
    for amount in ("1", "2", "3"):
        scheme.pay(A, B, f"{amount} USD")
    scheme.hub.accept(abort(scheme.hub, reserve(scheme, "4 USD")))
    reserve(scheme, "5 USD")
    assert pages(scheme, 2) == [[], ["3", "2"], ["1"], [], []]
    assert pages(scheme, 100) == [["3", "2", "1"]]


def test_past_payments_go_down_to_a_moment(scheme: Settling) -> None:
    for amount in ("1", "2", "3"):
        scheme.hub.advance(1_000)
        scheme.pay(A, B, f"{amount} USD")
    second = scheme.hub.read(lambda tx, _l, _d: tx.query("SELECT transfer_seq FROM transfer WHERE amount = 20000"))[0][
        0
    ]
    assert pages(scheme, 100, down_to=second) == [["3", "2"]]
