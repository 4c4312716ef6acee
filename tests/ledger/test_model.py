"""Engines against the obvious ledger: random requests, and after each of them everything compared.

The requests are drawn so that most of them matter: few ids, so that they meet again; pending transfers that are later
posted, voided or left to expire; amounts at both ends of the range; chains that break. A failure is made as short as
it can be before it is shown, one line an event, with what each side said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final, TypeAlias, TypeVar

import msgspec
import pytest
from tests.ledger.clock import START_NS
from tests.ledger.engines import FACTORIES, Engine
from tests.ledger.events import LEDGER, A, T
from tests.ledger.obvious import ObviousLedger

from vuka.ledger.model import (
    AMOUNT_MAX,
    ID_MAX,
    NS_PER_S,
    Account,
    AccountFilter,
    AccountFlags,
    Ledger,
    QueryFilter,
    Transfer,
    TransferFlags,
)
from vuka.ledger.model import CreateTransferStatus as Status

SEEDS: Final = 60
REQUESTS: Final = 30
EVENTS_MAX: Final = 20

ACCOUNTS: Final = range(1, 10)
IDS_MAX: Final = 2_000
AMOUNTS: Final = (0, 1, 2, 5, 10, 10, 100, 1_000, 2**62, AMOUNT_MAX - 1, AMOUNT_MAX)
USER_DATA_64: Final = (0, 0, 1, 2**63 - 1, 2**63, 2**64 - 1)

CHANGEABLE: Final = (
    "id",
    "user_data_128",
    "user_data_64",
    "user_data_32",
    "ledger",
    "code",
    "flags",
    "amount",
    "pending_id",
    "timeout",
    "debit_account_id",
    "credit_account_id",
)

FIRST_ACCOUNTS: Final = tuple(
    Account(id=id, ledger=LEDGER, code=1, flags=int(flags))
    for id, flags in enumerate(
        (
            A.history,
            A.history,
            AccountFlags(0),
            A.debits_must_not_exceed_credits | A.history,
            A.debits_must_not_exceed_credits,
            A.credits_must_not_exceed_debits | A.history,
        ),
        start=1,
    )
)


@dataclass(frozen=True)
class Request:
    """One batch, or a step of the clock."""

    accounts: tuple[Account, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    seconds: int = 0


Requests: TypeAlias = Sequence[Request]
EventT = TypeVar("EventT", Account, Transfer)


# --- drawing ----------------------------------------------------------------------------------------------------


class Draw:
    """Random events."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._now_ns = START_NS
        self._drawn: list[Account | Transfer] = []
        # The ids in use move on with the requests, so that new ones never run out and old ones still turn up.
        self._pendings = range(1, 10)
        self._others = range(1_000, 1_060)

    def requests(self) -> Requests:
        drawn = [Request(accounts=FIRST_ACCOUNTS), *(self._request() for _ in range(REQUESTS))]
        return [each for each in drawn if each != Request()]

    def _chance(self, one_in: int) -> bool:
        return self._random.randrange(one_in) == 0

    def _request(self) -> Request:
        self._pendings = range(self._pendings.start + 4, self._pendings.stop + 4)
        self._others = range(self._others.start + 15, self._others.stop + 15)
        kind = self._random.randrange(10)
        if kind == 0:
            return Request(accounts=tuple(self._batch(self._account, A.imported)))
        if kind in (1, 2):
            seconds = self._random.choice((1, 1, 2, 5))
            self._now_ns += seconds * NS_PER_S
            return Request(seconds=seconds)
        return Request(transfers=tuple(self._batch(self._transfer, T.imported)))

    def _batch(self, draw: Callable[[], EventT], imported: int) -> Iterable[EventT]:
        events = [self._event(draw) for _ in range(self._random.randint(1, EVENTS_MAX))]
        chains = self._chance(2)
        imports = self._chance(8)
        timestamp = self._now_ns - self._random.choice((NS_PER_S // 2, NS_PER_S, 30))
        for event in events:
            flags = event.flags
            if chains and self._chance(3) and (event is not events[-1] or self._chance(10)):
                flags |= T.linked
            if imports != self._chance(40):
                flags |= imported
            timestamp += self._random.choice((0, 1, 1, 1))
            yield msgspec.structs.replace(event, flags=int(flags), timestamp=timestamp if flags & imported else 0)

    def _event(self, draw: Callable[[], EventT]) -> EventT:
        """A new event, or one drawn before: as it was, or with one field changed."""
        event = draw()
        known = [each for each in self._drawn if isinstance(each, type(event))]
        if known and self._chance(6):
            known_event = self._random.choice(known)
            if self._chance(2):
                return known_event
            field = self._random.choice([name for name in CHANGEABLE if hasattr(event, name)])
            value = self._random.choice((0, 1, 2, 10, ID_MAX if field.endswith("id") else 3))
            return msgspec.structs.replace(known_event, **{field: value})
        self._drawn.append(event)
        return event

    def _account(self) -> Account:
        random = self._random
        flags = 0
        for flag in (A.debits_must_not_exceed_credits, A.credits_must_not_exceed_debits, A.history, A.closed):
            flags |= flag * self._chance(4)
        return Account(
            id=random.choice(ACCOUNTS),
            ledger=random.choice((LEDGER, LEDGER, LEDGER, 978)),
            code=1,
            flags=int(flags),
            user_data_64=random.choice(USER_DATA_64),
        )

    def _transfer(self) -> Transfer:
        return self._end() if self._chance(3) else self._movement()

    def _movement(self) -> Transfer:
        random = self._random
        flags = TransferFlags(0)
        if self._chance(2):
            flags |= T.pending
        if self._chance(8):
            flags |= T.balancing_debit
        if self._chance(8):
            flags |= T.balancing_credit
        if flags & T.pending and self._chance(8):
            flags |= random.choice((T.closing_debit, T.closing_credit))
        if self._chance(60):
            flags = TransferFlags(random.randrange(2 * T.imported))
        is_pending = bool(flags & T.pending)
        return Transfer(
            id=random.choice(self._pendings if is_pending else self._others),
            debit_account_id=random.choice(ACCOUNTS),
            credit_account_id=random.choice(ACCOUNTS),
            amount=random.choice(AMOUNTS),
            ledger=LEDGER if not self._chance(30) else 978,
            code=1,
            flags=int(flags),
            timeout=random.choice((0, 0, 1, 2, 3)) if is_pending else 0,
            user_data_64=random.choice(USER_DATA_64),
            user_data_128=random.choice((0, 0, 1, 2**128 - 1)),
            user_data_32=random.choice((0, 0, 1, 2**32 - 1)),
        )

    def _end(self) -> Transfer:
        random = self._random
        posts = not self._chance(3)
        amount = random.choice((AMOUNT_MAX, AMOUNT_MAX, *AMOUNTS)) if posts else random.choice((0, 0, 0, 1, 5, 10))
        return Transfer(
            id=random.choice(self._others),
            amount=amount,
            pending_id=random.choice(self._pendings if not self._chance(20) else self._others),
            flags=int(T.post_pending_transfer if posts else T.void_pending_transfer),
            debit_account_id=random.choice(ACCOUNTS) if self._chance(20) else 0,
            code=random.choice((0, 0, 0, 0, 1, 2)),
            user_data_64=random.choice(USER_DATA_64),
        )


# --- comparing --------------------------------------------------------------------------------------------------


def divergence(requests: Requests, make: Callable[[], Engine]) -> str | None:
    """Where an engine first differs from the obvious ledger, in words; None where it never does."""
    engine, model = make(), ObviousLedger()
    try:
        for request in requests:
            engine.advance(request.seconds)
            model.advance(request.seconds)
            told, meant = _run(engine, request), _run(model, request)
            if told != meant:
                return "\n".join(
                    f"  {_line(event)}: {status} at {timestamp - START_NS}, should be {want} at {want_at - START_NS}"
                    for (event, status, timestamp), (_, want, want_at) in zip(told, meant, strict=True)
                    if (status, timestamp) != (want, want_at)
                )
            difference = _difference(engine, model)
            if difference:
                return difference
        return _unbalanced(engine)
    finally:
        engine.close()


def _run(ledger: Ledger, request: Request) -> list[tuple[Account | Transfer, str, int]]:
    """Each event with what came of it: status and timestamp."""
    outcomes: list[tuple[Account | Transfer, str, int]] = []
    if request.accounts:
        made = ledger.create_accounts(request.accounts)
        outcomes += [
            (event, each.status.name, each.timestamp) for event, each in zip(request.accounts, made, strict=True)
        ]
    if request.transfers:
        moved = ledger.create_transfers(request.transfers)
        outcomes += [
            (event, each.status.name, each.timestamp) for event, each in zip(request.transfers, moved, strict=True)
        ]
    return outcomes


def _difference(engine: Engine, model: ObviousLedger) -> str | None:
    accounts, transfers = list(ACCOUNTS), list(range(IDS_MAX))
    readings = [
        ("accounts", engine.lookup_accounts(accounts), model.lookup_accounts(accounts)),
        ("transfers", engine.lookup_transfers(transfers), model.lookup_transfers(transfers)),
    ]
    for id in model.created:
        wanted = AccountFilter(account_id=id)
        of = f"of account {id}"
        readings += [
            (f"balances {of}", engine.get_account_balances(wanted), model.get_account_balances(wanted)),
            (f"transfers {of}", engine.get_account_transfers(wanted), model.get_account_transfers(wanted)),
        ]
    for name, got, want in readings:
        if got != want:
            return f"  {name} are\n    {got}\n  should be\n    {want}"
    return None


def _unbalanced(engine: Engine) -> str | None:
    """Whether debits and credits of a ledger differ."""
    sums: dict[int, list[int]] = {}
    for a in engine.lookup_accounts(list(ACCOUNTS)):
        both = sums.setdefault(a.ledger, [0, 0])
        both[0] += a.debits_pending - a.credits_pending
        both[1] += a.debits_posted - a.credits_posted
    return None if not any(map(any, sums.values())) else f"  the books do not balance: {sums}"


# --- showing ----------------------------------------------------------------------------------------------------


def _line(event: Account | Transfer) -> str:
    """An event as one reads it: what is zero is left out."""
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value}
    kind = AccountFlags if isinstance(event, Account) else TransferFlags
    fields["flags"] = kind(fields.pop("flags", 0)).name or "none"
    if "timestamp" in fields:
        fields["timestamp"] -= START_NS
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _lines(requests: Requests) -> str:
    lines = []
    for request in requests:
        lines.append(f"advance {request.seconds} s" if request.seconds else "batch")
        lines += [f"  {_line(each)}" for each in request.accounts]
        lines += [f"  {_line(each)}" for each in request.transfers]
    return "\n".join(lines)


def shortest(requests: Requests, fails: Callable[[Requests], bool]) -> Requests:
    """The requests without everything that the failure does not need."""
    requests = list(requests)
    for index in reversed(range(len(requests))):
        without = requests[:index] + requests[index + 1 :]
        if fails(without):
            requests = without
    for index, request in enumerate(requests):
        for name in ("accounts", "transfers"):
            for place in reversed(range(len(getattr(request, name)))):
                events = getattr(requests[index], name)
                less = replace(requests[index], **{name: events[:place] + events[place + 1 :]})
                without = [*requests[:index], less, *requests[index + 1 :]]
                if fails(without):
                    requests = without
    return requests


def compare(requests: Requests, make: Callable[[], Engine]) -> None:
    """Fails, with the shortest requests that show it, where the engine differs from the obvious ledger."""
    if divergence(requests, make) is None:
        return
    requests = shortest(requests, lambda shorter: divergence(shorter, make) is not None)
    pytest.fail(f"after\n{_lines(requests)}\nthe engine differs:\n{divergence(requests, make)}", pytrace=False)


# --- the tests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_embedded_ledger_does_what_the_obvious_one_does(seed: int, tmp_path: Path) -> None:
    compare(Draw(seed).requests(), lambda: FACTORIES["sql"](tmp_path))


def test_the_embedded_ledger_on_disk_does_what_the_obvious_one_does(tmp_path: Path) -> None:
    names = iter(range(1_000_000))

    def make() -> Engine:
        directory = tmp_path / str(next(names))
        directory.mkdir()
        return FACTORIES["sql-disk"](directory)

    compare(Draw(SEEDS).requests(), make)


def test_the_drawn_requests_reach_nearly_every_status() -> None:
    reached = set()
    for seed in range(20):
        model = ObviousLedger()
        for request in Draw(seed).requests():
            model.advance(request.seconds)
            if request.accounts:
                model.create_accounts(request.accounts)
            if request.transfers:
                reached |= {each.status.name for each in model.create_transfers(request.transfers)}
    assert len(reached) >= 50, sorted({status.name for status in Status} - reached)


@pytest.mark.parametrize("seed", range(5))
def test_filters_find_what_the_obvious_ledger_finds(seed: int, tmp_path: Path) -> None:
    engine, model = FACTORIES["sql"](tmp_path), ObviousLedger()
    for request in Draw(1_000 + seed).requests():
        for ledger in (engine, model):
            ledger.advance(request.seconds)
            ledger.create_accounts(request.accounts)
            ledger.create_transfers(request.transfers)
    random = Random(seed)
    times = [0, 0, *(t.timestamp for t in model.transfers.values()), 2**63 - 1, 2**63]
    for _ in range(200):
        common = {
            "user_data_128": random.choice((0, 0, 1)),
            "user_data_64": random.choice((0, 0, *USER_DATA_64)),
            "code": random.choice((0, 0, 0, 1, 2)),
            "timestamp_min": random.choice((0, 0, random.choice(times))),
            "timestamp_max": random.choice((0, 0, random.choice(times))),
            "limit": random.choice((0, 1, 2, 10, 8189, 2**32 - 1)),
        }
        of_account = AccountFilter(
            account_id=random.choice((0, 2**128 - 1, 99, *ACCOUNTS)), flags=random.randrange(10), **common
        )
        query = QueryFilter(ledger=random.choice((0, LEDGER, 978)), flags=random.randrange(4), **common)
        assert engine.get_account_transfers(of_account) == model.get_account_transfers(of_account), of_account
        assert engine.get_account_balances(of_account) == model.get_account_balances(of_account), of_account
        assert engine.query_transfers(query) == model.query_transfers(query), query
        assert engine.query_accounts(query) == model.query_accounts(query), query
    engine.close()
