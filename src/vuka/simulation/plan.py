"""Plans: everything that is to happen in a simulated scheme, drawn from a seed before anything happens.

A plan is a scheme and a list of steps. Each step has its time and all its details, and makes sense without the others:
so a plan can be cut down step by step while it still shows the same failure. What is to be decided on the spot (which
window is open, who is owed what) a step asks the hub when its time has come, as people would.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from vuka.money import UNITS_PER_MAIN
from vuka.simulation.disk import Shortage, Tear
from vuka.simulation.network import Roughness

STEPS_DEFAULT: Final = 60

STEP_MS_MEAN: Final = 220
"""Between two steps, on average."""

NAMES: Final = ("alder", "birch", "cedar", "dogwood", "elm")


class PayerWay(StrEnum):
    """How a payer's participant sends a transfer."""

    PLAIN = "plainly"
    TWICE = "twice"
    CHANGED = "twice, the second time another amount"
    IMPATIENT = "and asks at once how it stands"
    BY_ANOTHER = "and another participant sends it too, in the payer's name"
    ONCE = "once, whatever becomes of it"
    OVERSPENDING = "for more than it has"
    TO_NOBODY = "to somebody unknown"


class PayeeWay(StrEnum):
    """How a payee's participant answers a transfer."""

    RESERVES = "reserves"
    COMMITS = "commits"
    DECLINES = "declines"
    SILENT = "is silent"
    LATE = "reserves too late"
    WRONG_FULFILMENT = "fulfils wrongly"
    WRONG_DESTINATION = "answers somebody else"
    BY_ANOTHER = "is answered for by another, then reserves"
    SAYS_ABORTED = "says ABORTED"
    DECLINES_THEN_FULFILS = "declines, then fulfils"
    FULFILS_THEN_DECLINES = "fulfils, then declines"
    TWICE = "answers twice"
    CHANGED = "answers twice, the second time otherwise"
    EARLY = "fulfils before it is asked"
    ASKS = "asks how it stands, then reserves"


class Trouble(StrEnum):
    """How a participant's server fails."""

    DOWN = "is down"
    HANGS = "hangs"
    FAILS = "answers 500"
    BUSY = "answers 503"
    GARBAGE = "answers what is not HTTP"
    REFUSES = "answers 400"
    CUTS = "takes messages and cuts the connection"


class Step(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that happens. ``at_ms`` counts from the beginning."""

    number: int
    at_ms: int


class Pay(Step, frozen=True, kw_only=True):
    """One participant pays another. ``amount`` in minor units; the payer's message is valid for ``valid_ms``."""

    payer: str
    payee: str
    currency: str
    amount: int
    transfer_id: str
    valid_ms: int
    payer_way: PayerWay
    payee_way: PayeeWay
    payee_ms: int
    """How long the payee takes."""
    is_quoted: bool
    """Whether the payee is looked up and asked for a quote first."""


class Suffer(Step, frozen=True, kw_only=True):
    """A participant's server fails for a while."""

    name: str
    trouble: Trouble
    for_ms: int


class Funds(Step, frozen=True, kw_only=True):
    """An operator records funds in, or reserves funds out and concludes that later; ``ends`` None leaves it open."""

    name: str
    currency: str
    amount: int
    """Minor units; funds out where negative."""
    transfer_id: str
    ends: str | None = None
    ends_after_ms: int = 0


class SetCap(Step, frozen=True, kw_only=True):
    """An operator changes a net debit cap."""

    name: str
    currency: str
    cap: int


class Disable(Step, frozen=True, kw_only=True):
    """An operator has a participant, or its position in a currency, take no part for a while."""

    name: str
    currency: str | None
    for_ms: int


class CloseWindow(Step, frozen=True, kw_only=True):
    """An operator closes the open settlement window."""


class Settle(Step, frozen=True, kw_only=True):
    """An operator makes a settlement of what is closed."""

    of_fees: bool
    """Of what fees have run up, rather than payments."""


class Advance(Step, frozen=True, kw_only=True):
    """An operator leads an open settlement a step further: all its accounts, or the first so many of them."""

    accounts: int


class EndSettlement(Step, frozen=True, kw_only=True):
    """An operator leads an open settlement to its end, or aborts it."""

    aborts: bool


class Crash(Step, frozen=True, kw_only=True):
    """The hub's machine dies and starts again."""

    tear: Tear | None
    """None: at once; else in its next commit."""
    after_sends: int
    """0: see `tear`; else as it sends so many more messages."""
    down_ms: int
    clock_ms: int
    """How far its clock, and everybody's, is set forward or back meanwhile."""


class Stop(Step, frozen=True, kw_only=True):
    """The hub is stopped in order, and started again."""

    down_ms: int


class FillDisk(Step, frozen=True, kw_only=True):
    """The hub's disk is full for a while."""

    shortage: Shortage
    for_ms: int


AnyStep: TypeAlias = (
    Pay | Suffer | Funds | SetCap | Disable | CloseWindow | Settle | Advance | EndSettlement | Crash | Stop | FillDisk
)


class Member(msgspec.Struct, frozen=True):
    """A participant as the scheme begins. Amounts in minor units."""

    name: str
    version: str
    cap: int
    funds: int


class Scheme(msgspec.Struct, frozen=True):
    """What the scheme is when the plan begins, and how its hub is configured."""

    members: tuple[Member, ...]
    currencies: tuple[str, ...]
    gross_currency: str | None
    """Whose payments settle one by one."""
    is_bilateral: bool
    charges_fees: bool
    on_us: bool
    confirms_to_payee: bool
    checks_payee_account: bool
    keeps_journal: bool
    batch_max: int
    queue_max: int
    courier_queue_max: int
    in_flight_max: int
    roughness: Roughness
    commit_ms_max: int
    """How long a slow commit takes at most."""


class Plan(msgspec.Struct, frozen=True):
    """A scheme and what happens in it."""

    seed: int
    scenario: str
    scheme: Scheme
    steps: tuple[AnyStep, ...]

    def only(self, numbers: Sequence[int]) -> Plan:
        """The same with these steps alone."""
        wanted = set(numbers)
        return msgspec.structs.replace(self, steps=tuple(each for each in self.steps if each.number in wanted))

    def in_quiet_network(self) -> Plan:
        """The same where nothing is lost on its way, or slow."""
        return msgspec.structs.replace(self, scheme=msgspec.structs.replace(self.scheme, roughness=Roughness()))

    def among(self, names: Sequence[str]) -> Plan:
        """The same with these participants alone, and what happens among them.

        Raises `ValueError` with a sentence where there is none of a name.
        """
        members = {each.name: each for each in self.scheme.members}
        for name in names:
            if name not in members:
                raise ValueError(f"{name} is not one of {', '.join(members)}")
        left = tuple(each for each in self.scheme.members if each.name in names)
        gone = members.keys() - set(names)
        steps = tuple(
            step
            for step in self.steps
            if not any(getattr(step, field, None) in gone for field in ("payer", "payee", "name"))
        )
        scheme = msgspec.structs.replace(self.scheme, members=left)
        return msgspec.structs.replace(self, scheme=scheme, steps=steps)


# --- drawing ------------------------------------------------------------------------------------------------------


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario: what happens how often, by weight."""

    says: str
    steps: dict[str, int]
    payer_ways: Mapping[PayerWay, int] = MappingProxyType({PayerWay.PLAIN: 1})
    payee_ways: Mapping[PayeeWay, int] = MappingProxyType(
        {PayeeWay.RESERVES: 3, PayeeWay.COMMITS: 2, PayeeWay.DECLINES: 1}
    )
    roughness: tuple[Roughness, ...] = (Roughness(),)


_EVERY_PAYER_WAY: Final = {PayerWay.PLAIN: 8} | {way: 1 for way in PayerWay if way is not PayerWay.PLAIN}
_EVERY_PAYEE_WAY: Final = {PayeeWay.RESERVES: 6, PayeeWay.COMMITS: 5} | {
    way: 1 for way in PayeeWay if way not in (PayeeWay.RESERVES, PayeeWay.COMMITS)
}
_ROUGH: Final = (
    Roughness(),
    Roughness(slow=200),
    Roughness(slow=100, lost_requests=30, lost_answers=60),
    Roughness(slow=400, slow_seconds=4.0, lost_answers=20),
)
_OPERATORS: Final = {"funds": 3, "set_cap": 3, "disable": 1}
_SETTLEMENT: Final = {"close_window": 3, "settle": 3, "advance": 6, "end_settlement": 2}

SCENARIOS: Final = {
    "calm": Mix(says="Everybody behaves, nothing breaks.", steps={"pay": 12, "funds": 1, "set_cap": 1}),
    "rough": Mix(
        says="Messages are slow, lost and doubled, participants fail and come back.",
        steps={"pay": 14, "suffer": 3, "fill_disk": 1, **_OPERATORS},
        payer_ways=_EVERY_PAYER_WAY,
        payee_ways=_EVERY_PAYEE_WAY,
        roughness=_ROUGH[1:],
    ),
    "crashes": Mix(
        says="The hub dies at any moment, its disk fills up, its clock jumps.",
        steps={"pay": 14, "crash": 4, "stop": 1, "fill_disk": 1, "funds": 2, "set_cap": 1},
        payee_ways=_EVERY_PAYEE_WAY,
    ),
    "liars": Mix(
        says="Participants say what is not so, in their own names and in others'.",
        steps={"pay": 16, "set_cap": 1, "funds": 1},
        payer_ways=dict.fromkeys(PayerWay, 1),
        payee_ways=dict.fromkeys(PayeeWay, 1),
        roughness=_ROUGH,
    ),
    "settlement": Mix(
        says="Windows close and settlements are led to their end or aborted, while the hub dies and payments go on.",
        steps={"pay": 14, "crash": 1, **_SETTLEMENT, **_OPERATORS},
    ),
    "all": Mix(
        says="All of it.",
        steps={
            "pay": 26,
            "suffer": 3,
            "crash": 3,
            "stop": 1,
            "fill_disk": 2,
            **_SETTLEMENT,
            **_OPERATORS,
        },
        payer_ways=_EVERY_PAYER_WAY,
        payee_ways=_EVERY_PAYEE_WAY,
        roughness=_ROUGH,
    ),
}
"""By name."""

SCENARIO_DEFAULT: Final = "all"


def draw_plan(seed: int, *, steps: int = STEPS_DEFAULT, scenario: str = SCENARIO_DEFAULT) -> Plan:
    """The plan of a seed. The first steps of a longer plan are those of a shorter one."""
    mix = SCENARIOS[scenario]
    scheme = _draw_scheme(Random(f"{seed}/{scenario}/scheme"), mix)
    drawn: list[AnyStep] = []
    at_ms = 0
    kinds, weights = list(mix.steps), list(mix.steps.values())
    for number in range(1, steps + 1):
        chance = Random(f"{seed}/{scenario}/{number}")
        # Many at once now and then: what arrives together is decided together.
        at_ms += chance.choice((0, 0, 1, STEP_MS_MEAN // 4, STEP_MS_MEAN, 2 * STEP_MS_MEAN, 4 * STEP_MS_MEAN))
        (kind,) = chance.choices(kinds, weights)
        drawn.append(_DRAWN[kind](chance, mix, scheme, number, at_ms))
    return Plan(seed, scenario, scheme, tuple(drawn))


def _draw_scheme(chance: Random, mix: Mix) -> Scheme:
    members = tuple(
        Member(
            name,
            chance.choice(("1.0", "1.1", "1.1", "2.0")),
            cap=_units(chance.choice((100, 1_000, 5_000))),
            funds=_units(chance.choice((100, 1_000, 5_000))),
        )
        for name in NAMES[: chance.randint(2, len(NAMES))]
    )
    currencies = ("USD",) if chance.random() < 0.6 else ("USD", "KES")
    return Scheme(
        members,
        currencies,
        gross_currency=chance.choice((None, None, "USD", currencies[-1])),
        is_bilateral=chance.random() < 0.25,
        charges_fees=chance.random() < 0.4,
        on_us=chance.random() < 0.3,
        confirms_to_payee=chance.random() < 0.7,
        checks_payee_account=chance.random() < 0.4,
        keeps_journal=chance.random() < 0.85,
        batch_max=chance.choice((1, 3, 500)),
        queue_max=chance.choice((4, 5_000, 5_000)),
        courier_queue_max=chance.choice((2, 10, 10_000)),
        in_flight_max=chance.choice((1, 4, 32)),
        roughness=chance.choice(mix.roughness),
        commit_ms_max=chance.choice((2, 20, 150)),
    )


def _units(number: int) -> int:
    return number * UNITS_PER_MAIN


def _name(chance: Random, scheme: Scheme) -> str:
    return chance.choice(scheme.members).name


def _id(chance: Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _pay(chance: Random, mix: Mix, scheme: Scheme, number: int, at_ms: int) -> Pay:
    payer = _name(chance, scheme)
    others = [each.name for each in scheme.members if each.name != payer or chance.random() < 0.1]
    (payer_way,) = chance.choices(list(mix.payer_ways), list(mix.payer_ways.values()))
    (payee_way,) = chance.choices(list(mix.payee_ways), list(mix.payee_ways.values()))
    amount = _units(chance.choice((1, 5, 20, 75, 200)))
    return Pay(
        number=number,
        at_ms=at_ms,
        payer=payer,
        payee="nobody" if payer_way is PayerWay.TO_NOBODY else chance.choice(others),
        currency=chance.choice(scheme.currencies),
        amount=_units(1_000_000) if payer_way is PayerWay.OVERSPENDING else amount,
        transfer_id=_id(chance),
        valid_ms=chance.choice((600, 1_500, 3_000, 8_000, 20_000)),
        payer_way=payer_way,
        payee_way=payee_way,
        payee_ms=chance.choice((0, 0, 3, 40, 500, 2_500)),
        is_quoted=chance.random() < 0.25,
    )


def _suffer(chance: Random, _mix: Mix, scheme: Scheme, number: int, at_ms: int) -> Suffer:
    return Suffer(
        number=number,
        at_ms=at_ms,
        name=_name(chance, scheme),
        trouble=chance.choice(list(Trouble)),
        for_ms=chance.choice((50, 700, 4_000, 15_000)),
    )


def _funds(chance: Random, _mix: Mix, scheme: Scheme, number: int, at_ms: int) -> Funds:
    amount = _units(chance.choice((10, 100, 900)))
    return Funds(
        number=number,
        at_ms=at_ms,
        name=_name(chance, scheme),
        currency=chance.choice(scheme.currencies),
        amount=chance.choice((amount, -amount, -amount)),
        transfer_id=_id(chance),
        ends=chance.choice(("recordFundsOutCommit", "recordFundsOutCommit", "recordFundsOutAbort", None)),
        ends_after_ms=chance.choice((0, 200, 3_000)),
    )


def _set_cap(chance: Random, _mix: Mix, scheme: Scheme, number: int, at_ms: int) -> SetCap:
    return SetCap(
        number=number,
        at_ms=at_ms,
        name=_name(chance, scheme),
        currency=chance.choice(scheme.currencies),
        cap=_units(chance.choice((0, 10, 150, 1_000, 9_000))),
    )


def _disable(chance: Random, _mix: Mix, scheme: Scheme, number: int, at_ms: int) -> Disable:
    return Disable(
        number=number,
        at_ms=at_ms,
        name=_name(chance, scheme),
        currency=chance.choice((None, *scheme.currencies)),
        for_ms=chance.choice((50, 400, 2_500)),
    )


def _close_window(_chance: Random, _mix: Mix, _scheme: Scheme, number: int, at_ms: int) -> CloseWindow:
    return CloseWindow(number=number, at_ms=at_ms)


def _settle(chance: Random, _mix: Mix, scheme: Scheme, number: int, at_ms: int) -> Settle:
    return Settle(number=number, at_ms=at_ms, of_fees=scheme.charges_fees and chance.random() < 0.4)


def _advance(chance: Random, _mix: Mix, _scheme: Scheme, number: int, at_ms: int) -> Advance:
    return Advance(number=number, at_ms=at_ms, accounts=chance.choice((1, 2, 100, 100)))


def _end_settlement(chance: Random, _mix: Mix, _scheme: Scheme, number: int, at_ms: int) -> EndSettlement:
    return EndSettlement(number=number, at_ms=at_ms, aborts=chance.random() < 0.5)


def _crash(chance: Random, _mix: Mix, _scheme: Scheme, number: int, at_ms: int) -> Crash:
    how = chance.choice(("now", "commit", "commit", "send"))
    return Crash(
        number=number,
        at_ms=at_ms,
        tear=chance.choice(list(Tear)) if how == "commit" else None,
        after_sends=chance.randint(1, 6) if how == "send" else 0,
        down_ms=chance.choice((1, 30, 400, 2_500)),
        clock_ms=chance.choice((0, 0, 0, 1_500, 40_000, 3_600_000, 180_000_000, -700, -5_000)),
    )


def _stop(chance: Random, _mix: Mix, _scheme: Scheme, number: int, at_ms: int) -> Stop:
    return Stop(number=number, at_ms=at_ms, down_ms=chance.choice((10, 1_000)))


def _fill_disk(chance: Random, _mix: Mix, _scheme: Scheme, number: int, at_ms: int) -> FillDisk:
    return FillDisk(
        number=number,
        at_ms=at_ms,
        shortage=chance.choice(list(Shortage)),
        for_ms=chance.choice((20, 300, 2_000)),
    )


_DRAWN: Final[dict[str, Callable[[Random, Mix, Scheme, int, int], AnyStep]]] = {
    "pay": _pay,
    "suffer": _suffer,
    "funds": _funds,
    "set_cap": _set_cap,
    "disable": _disable,
    "close_window": _close_window,
    "settle": _settle,
    "advance": _advance,
    "end_settlement": _end_settlement,
    "crash": _crash,
    "stop": _stop,
    "fill_disk": _fill_disk,
}
