"""What operators do to settle, in few words, and figures as people write them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from tests.switch.charging import FEE_TYPE
from tests.switch.scheme_bench import SchemeBench, show
from tests.switch.wire import audited, fulfil, prepare

from vuka.money import Currency
from vuka.switch.directory import HUB_MULTILATERAL_SETTLEMENT, POSITION
from vuka.switch.fees import SetFeeRules
from vuka.switch.gross_settlement import SettleGross
from vuka.switch.obligations import HALF
from vuka.switch.settlement_models import AddSettlementModel
from vuka.switch.settlements import (
    ACCOUNT_STATES,
    AbortSettlement,
    AccountUpdate,
    CreateSettlement,
    FinaliseSettlement,
    ParticipantUpdate,
    SettlementUpdated,
    UpdateSettlement,
)
from vuka.switch.transfers import PrepareTransfer
from vuka.switch.windows import CloseWindow

DEFAULT = "DEFAULTDEFERREDNET"
FEES = "FEES"


class Settling:
    """A scheme on the bench that settles."""

    def __init__(self, hub: SchemeBench) -> None:
        self.hub = hub

    def add_model(self, name: str, delay: str, granularity: str, interchange: str, **fields: Any) -> None:
        """A settlement model, of USD positions unless ``fields`` say otherwise."""
        defaults: dict[str, Any] = {
            "currency": Currency("USD"),
            "require_liquidity_check": True,
            "ledger_account_type": POSITION,
            "settlement_account_type": "SETTLEMENT",
            "auto_position_reset": True,
        }
        command = AddSettlementModel(
            name=name, delay=delay, granularity=granularity, interchange=interchange, **(defaults | fields)
        )
        self.hub.accept(command)

    def add_fee_model(self, granularity: str = "NET", interchange: str = "MULTILATERAL", **fields: Any) -> None:
        """A model that settles what fees run up; it is called FEES unless ``fields`` say otherwise."""
        defaults: dict[str, Any] = {
            "name": FEES,
            "delay": "DEFERRED",
            "currency": None,
            "ledger_account_type": FEE_TYPE,
            "settlement_account_type": "INTERCHANGE_FEE_SETTLEMENT",
        }
        self.add_model(**(defaults | {"granularity": granularity, "interchange": interchange} | fields))

    def charge(self, *rules: object) -> None:
        """Puts rules about fees in force, instead of those before."""
        self.hub.accept(SetFeeRules(content=json.dumps(rules), by="alice"))

    def pay(self, payer: str, payee: str, amount: str, **fields: Any) -> PrepareTransfer:
        """A payment, prepared and fulfilled; ``fields`` replace its own."""
        request = msgspec.structs.replace(prepare(self.hub, amount, payer=payer, payee=payee), **fields)
        self.hub.accept(request)
        self.hub.accept(fulfil(self.hub, request))
        assert self.hub.transfer(request.transfer_id).state.name == "COMMITTED"
        return request

    @property
    def open_window(self) -> int:
        """The window that takes what is committed now."""
        return self.hub.directory.open_window_id

    def close(self) -> int:
        """Closes the open window; its number."""
        window_id = self.open_window
        self.hub.accept(CloseWindow(window_id=window_id, reason="end of day"))
        return window_id

    def create(self, *window_ids: int, model: str = DEFAULT) -> int:
        """A settlement of these windows; its number."""
        command = CreateSettlement(settlement_model=model, reason="settle", window_ids=window_ids)
        value = self.hub.accept(command).value
        assert isinstance(value, int)
        return value

    def step(self, settlement_id: int, state: str, *names: str) -> SettlementUpdated:
        """Leads all accounts of a settlement, or only those of participants of these ``names``, to ``state``."""
        accounts = self.hub.read(
            lambda tx, _ledger, _directory: tx.query(
                """SELECT a.participant_id, a.account_id, p.name
                   FROM settlement_account s JOIN account a ON a.account_id = s.account_id
                   JOIN participant p ON p.participant_id = a.participant_id WHERE s.settlement_id = ?""",
                (settlement_id,),
            )
        )
        updates = tuple(
            ParticipantUpdate(participant_id, (AccountUpdate(account_id, state, f"the bank says {state}"),))
            for participant_id, account_id, name in accounts
            if not names or name in names
        )
        value = self.hub.accept(UpdateSettlement(settlement_id=settlement_id, participants=updates)).value
        assert isinstance(value, SettlementUpdated)
        assert [each.error for result in value.participants for each in result.accounts] == [None] * len(updates)
        self.check()
        return value

    def walk(self, settlement_id: int) -> None:
        """Leads a settlement to its end, step by step."""
        for state in ACCOUNT_STATES[1:]:
            self.step(settlement_id, state)

    def finalise(self, settlement_id: int) -> None:
        """Leads a settlement to its end at once."""
        self.hub.accept(FinaliseSettlement(settlement_id=settlement_id, reason="all paid"))

    def abort(self, settlement_id: int) -> None:
        """Aborts a settlement."""
        self.hub.accept(AbortSettlement(settlement_id=settlement_id, reason="the bank says no"))

    def retry_gross(self) -> None:
        """What the timer does."""
        self.hub.accept(SettleGross())

    # --- what it shows ------------------------------------------------------------------------------------------

    def positions(self, *names: str, currency: str = "USD") -> tuple[str, ...]:
        """Positions as the API shows them."""
        return tuple(self.hub.position(name, currency) for name in names)

    def fees(self, *names: str, currency: str = "USD", account_type: str = FEE_TYPE) -> tuple[str, ...]:
        """What each owes in fees (negative: is owed), by the accounts that keep them."""
        return tuple(self.hub.value(name, currency, account_type) for name in names)

    def liquidity(self, *names: str, currency: str = "USD") -> tuple[str, ...]:
        """SETTLEMENT accounts as the API shows them."""
        return tuple(self.hub.liquidity(name, currency) for name in names)

    def hub_side(self, currency: str = "USD") -> str:
        """The hub's other side of settlement."""
        return self.hub.value("Hub", currency, HUB_MULTILATERAL_SETTLEMENT)

    def window_state(self, window_id: int) -> str:
        """A window's state."""
        return self._one("SELECT state FROM settlement_window WHERE settlement_window_id = ?", window_id)

    def state(self, settlement_id: int) -> str:
        """A settlement's state."""
        return self._one("SELECT state FROM settlement WHERE settlement_id = ?", settlement_id)

    def nets(self, settlement_id: int) -> dict[str, str]:
        """What each participant owes (negative: is owed), by name."""
        rows = self.hub.read(
            lambda tx, _ledger, _directory: tx.query(
                """SELECT p.name, s.net_high, s.net_low
                   FROM settlement_account s JOIN account a ON a.account_id = s.account_id
                   JOIN participant p ON p.participant_id = a.participant_id WHERE s.settlement_id = ?""",
                (settlement_id,),
            )
        )
        return {name: show(high * HALF + low) for name, high, low in rows}

    def obligations(self, settlement_id: int) -> dict[tuple[str, str], str]:
        """Who pays whom, by name."""
        rows = self.hub.read(
            lambda tx, _ledger, _directory: tx.query(
                """SELECT dp.name, cp.name, s.amount_high, s.amount_low FROM settlement_obligation s
                   JOIN account d ON d.account_id = s.debtor_account_id
                   JOIN participant dp ON dp.participant_id = d.participant_id
                   JOIN account c ON c.account_id = s.creditor_account_id
                   JOIN participant cp ON cp.participant_id = c.participant_id WHERE s.settlement_id = ?""",
                (settlement_id,),
            )
        )
        return {(debtor, creditor): show(high * HALF + low) for debtor, creditor, high, low in rows}

    def check(self) -> None:
        """The books, by the bench's audit and by the hub's own."""
        self.hub.audit()
        differences = audited(self.hub).differences
        assert not differences, differences

    def _one(self, sql: str, key: int) -> str:
        return str(self.hub.read(lambda tx, _ledger, _directory: tx.query(sql, (key,)))[0][0])
