"""Settlement models: how the transfers of a currency, or of all that have no model of their own, settle.

A model names the account that obligations build up on and the one that they are discharged on. A participant that
joins in a currency gets the accounts of its models; one that has joined before gets those of a model that comes later.
The rules and the words of their errors are the reference's (hub reference §5.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.money import Currency
from vuka.switch.directory import SettlementModel
from vuka.switch.fees import unsettled_by
from vuka.switch.participants import open_model_accounts
from vuka.switch.work import Command, Outcome, Work

GRANULARITIES: Final = ("GROSS", "NET")
INTERCHANGES: Final = ("BILATERAL", "MULTILATERAL")
DELAYS: Final = ("IMMEDIATE", "DEFERRED")

COMBINATIONS: Final = frozenset(
    (
        ("IMMEDIATE", "GROSS", "BILATERAL"),
        ("DEFERRED", "GROSS", "BILATERAL"),
        ("DEFERRED", "NET", "BILATERAL"),
        ("DEFERRED", "NET", "MULTILATERAL"),
    )
)
"""Delay, granularity and interchange that make sense together."""

NOT_SUPPORTED: Final = (
    "Invalid settlement model definition - delay-granularity-interchange combination is not supported"
)

SETTLEMENT_ACCOUNT_TYPES: Final = ("SETTLEMENT", "INTERCHANGE_FEE_SETTLEMENT")


class AddSettlementModel(Command, frozen=True, kw_only=True):
    """``POST /settlementModels``."""

    name: str
    granularity: str
    interchange: str
    delay: str
    currency: Currency | None
    """None: the default for every currency that has none of its own for that account."""
    require_liquidity_check: bool
    ledger_account_type: str
    settlement_account_type: str
    auto_position_reset: bool
    by: str = "operator"


class SetSettlementModelActive(Command, frozen=True, kw_only=True):
    """``PUT /settlementModels/{name}``: whether anything is settled by it from now on."""

    name: str
    is_active: bool
    by: str = "operator"


def add(work: Work, commands: Sequence[AddSettlementModel]) -> list[Outcome]:
    """Stores models."""
    return [_add(work, command) for command in commands]


def _add(work: Work, command: AddSettlementModel) -> Outcome:
    fault = _fault(work, command)
    if fault is not None:
        return Outcome(error=fault)
    work.tx.run(
        """INSERT INTO settlement_model (name, is_active, granularity, interchange, delay, currency,
               require_liquidity_check, ledger_account_type, settlement_account_type, auto_position_reset, created_ms)
           VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            command.name,
            command.granularity,
            command.interchange,
            command.delay,
            command.currency,
            int(command.require_liquidity_check),
            command.ledger_account_type,
            command.settlement_account_type,
            int(command.auto_position_reset),
            work.now_ms,
        ),
    )
    work.directory_changed()
    opened = open_model_accounts(work, command.by)
    if opened:
        work.directory_changed()
    return Outcome(note=f"settlement model {command.name} created, {opened} accounts opened")


def _fault(work: Work, command: AddSettlementModel) -> FspiopError | None:
    """Why a model can't be, in the reference's order."""
    if (command.delay, command.granularity, command.interchange) not in COMBINATIONS:
        return FspiopError(ErrorCode.CLIENT_ERROR, NOT_SUPPORTED)
    known = {name for (name,) in work.tx.query("SELECT name FROM ledger_account_type WHERE is_active = 1")}
    if command.ledger_account_type not in known:
        return FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, "Ledger account type was not found")
    if command.settlement_account_type not in known:
        return FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, "Settlement account type was not found")
    if work.tx.query("SELECT 1 FROM settlement_model WHERE name = ?", (command.name,)):
        return FspiopError(ErrorCode.CLIENT_ERROR, "Settlement Model already exists")
    if command.currency is not None and work.tx.query(
        "SELECT 1 FROM settlement_model WHERE ledger_account_type = ? AND currency = ?",
        (command.ledger_account_type, command.currency),
    ):
        detail = f"{command.currency} has a Settlement Model for {command.ledger_account_type} already"
        return FspiopError(ErrorCode.CLIENT_ERROR, detail)
    problem = unsettled_by(work.directory, (*work.directory.settlement_models, _model(command)))
    return None if problem is None else FspiopError(ErrorCode.CLIENT_ERROR, problem)


def _model(command: AddSettlementModel) -> SettlementModel:
    return SettlementModel(
        settlement_model_id=0,
        name=command.name,
        is_active=True,
        granularity=command.granularity,
        interchange=command.interchange,
        delay=command.delay,
        currency=command.currency,
        require_liquidity_check=command.require_liquidity_check,
        ledger_account_type=command.ledger_account_type,
        settlement_account_type=command.settlement_account_type,
        auto_position_reset=command.auto_position_reset,
    )


def set_active(work: Work, commands: Sequence[SetSettlementModelActive]) -> list[Outcome]:
    """Takes models into use, or out of it."""
    return [_set_active(work, command) for command in commands]


def _set_active(work: Work, command: SetSettlementModelActive) -> Outcome:
    models = work.directory.settlement_models
    if all(each.name != command.name for each in models):
        return Outcome(error=FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "Settlement Model does not exist"))
    changed = [
        msgspec.structs.replace(each, is_active=command.is_active) if each.name == command.name else each
        for each in models
    ]
    problem = unsettled_by(work.directory, changed)
    if problem is not None:
        return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, problem))
    work.tx.run("UPDATE settlement_model SET is_active = ? WHERE name = ?", (int(command.is_active), command.name))
    work.directory_changed()
    if command.is_active and open_model_accounts(work, command.by):
        work.directory_changed()
    return Outcome(note=f"settlement model {command.name}: {'active' if command.is_active else 'not active'}")


USE_CASES: Final = ((add, AddSettlementModel), (set_active, SetSettlementModelActive))
"""Each function with the commands that it decides."""
