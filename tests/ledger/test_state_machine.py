"""The embedded ledger against the obvious one, as a state machine: whatever hypothesis thinks of, both do the same."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.ledger.engines import FACTORIES
from tests.ledger.events import LEDGER, A, T
from tests.ledger.obvious import ObviousLedger

from vuka.ledger.model import AMOUNT_MAX, Account, Transfer

ACCOUNTS: Final = (
    Account(id=1, ledger=LEDGER, code=1, flags=int(A.history)),
    Account(id=2, ledger=LEDGER, code=1),
    Account(id=3, ledger=LEDGER, code=1, flags=int(A.debits_must_not_exceed_credits | A.history)),
    Account(id=4, ledger=LEDGER, code=1, flags=int(A.debits_must_not_exceed_credits)),
    Account(id=5, ledger=LEDGER, code=1, flags=int(A.credits_must_not_exceed_debits)),
    Account(id=6, ledger=LEDGER + 1, code=1),
)
IDS: Final = st.integers(10, 30)
ACCOUNT_IDS: Final = st.integers(1, 7)
LINKED: Final = st.sampled_from((0, 0, 0, int(T.linked)))
AMOUNTS: Final = st.one_of(st.integers(0, 50), st.sampled_from((2**62, AMOUNT_MAX - 1, AMOUNT_MAX)))

moves: Final = st.builds(
    lambda id, debit, credit, amount, kind, linked, timeout: Transfer(
        id=id,
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        ledger=LEDGER,
        code=1,
        flags=int(kind) | linked,
        timeout=timeout if kind & T.pending else 0,
    ),
    id=IDS,
    debit=ACCOUNT_IDS,
    credit=ACCOUNT_IDS,
    amount=AMOUNTS,
    kind=st.sampled_from(
        (
            T(0),
            T(0),
            T.pending,
            T.pending,
            T.balancing_debit,
            T.balancing_credit,
            T.pending | T.balancing_debit,
            T.pending | T.closing_debit,
            T.pending | T.closing_credit,
        )
    ),
    linked=LINKED,
    timeout=st.sampled_from((0, 0, 1, 5)),
)
ends: Final = st.builds(
    lambda id, pending_id, amount, kind, linked: Transfer(
        id=id, pending_id=pending_id, amount=amount, flags=int(kind) | linked
    ),
    id=IDS,
    pending_id=IDS,
    amount=st.one_of(st.sampled_from((0, AMOUNT_MAX)), AMOUNTS),
    kind=st.sampled_from((T.post_pending_transfer, T.void_pending_transfer)),
    linked=LINKED,
)


class LedgerMachine(RuleBasedStateMachine):
    """Two ledgers that are told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = FACTORIES["sql"](Path())
        self.model = ObviousLedger()

    @initialize()
    def open_accounts(self) -> None:
        assert self.engine.create_accounts(ACCOUNTS) == self.model.create_accounts(ACCOUNTS)

    @rule(batch=st.lists(st.one_of(moves, moves, ends), min_size=1, max_size=8))
    def move(self, batch: list[Transfer]) -> None:
        assert self.engine.create_transfers(batch) == self.model.create_transfers(batch)

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.engine.advance(seconds)
        self.model.advance(seconds)

    @rule(accounts=st.lists(st.sampled_from(ACCOUNTS), min_size=1, max_size=3))
    def open_again(self, accounts: list[Account]) -> None:
        assert self.engine.create_accounts(accounts) == self.model.create_accounts(accounts)

    @invariant()
    def both_have_the_same_accounts_and_transfers(self) -> None:
        ids = [account.id for account in ACCOUNTS]
        accounts = self.engine.lookup_accounts(ids)
        assert accounts == self.model.lookup_accounts(ids)
        transfers = list(range(10, 31))
        assert self.engine.lookup_transfers(transfers) == self.model.lookup_transfers(transfers)

    @invariant()
    def debits_equal_credits(self) -> None:
        accounts = self.engine.lookup_accounts([account.id for account in ACCOUNTS])
        assert sum(each.debits_posted - each.credits_posted for each in accounts) == 0
        assert sum(each.debits_pending - each.credits_pending for each in accounts) == 0

    def teardown(self) -> None:
        self.engine.close()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
