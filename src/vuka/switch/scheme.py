"""The scheme itself: what must be there before the first participant can join.

Founding it writes the scheme's name, the hub as participant number 1, the hub's accounts in the currencies to begin
with, the default settlement model (deferred, net, multilateral: FSPIOP schemes settle so unless they say otherwise)
and the first settlement window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vuka.errors import OperatorError
from vuka.ids import HUB
from vuka.money import CURRENCIES
from vuka.switch import account_types, auditlog
from vuka.switch.directory import HUB_MULTILATERAL_SETTLEMENT, HUB_ON_US, HUB_RECONCILIATION, POSITION, SETTLEMENT
from vuka.switch.participants import insert_participant, open_accounts
from vuka.switch.work import Work

DEFAULT_MODEL: Final = "DEFAULTDEFERREDNET"
"""Not a name that the provisioning scripts of existing schemes give to a model of their own, such as DEFERREDNET."""

SCHEME_NAME_LENGTH_MAX: Final = 128
FOUNDER: Final = "founding"

_HUB_ACCOUNTS: Final = (HUB_RECONCILIATION, HUB_MULTILATERAL_SETTLEMENT, HUB_ON_US)


def found(work: Work, name: str, currencies: Sequence[str]) -> None:
    """Founds the scheme called ``name``, with the hub's accounts in ``currencies`` (none is allowed: add them later).

    Raises `OperatorError`, before anything is written, where the name or a currency will not do, or where the tables
    hold a scheme already: one is never founded twice, nor over another.
    """
    if not name.strip() or len(name) > SCHEME_NAME_LENGTH_MAX:
        raise OperatorError(f"Give the scheme a name of 1 to {SCHEME_NAME_LENGTH_MAX} characters.")
    unknown = sorted(set(currencies) - CURRENCIES)
    if unknown:
        raise OperatorError(f"{', '.join(unknown)} is not a currency of ISO 4217 that FSPIOP knows, e.g. USD.")
    founded = work.tx.query("SELECT name FROM scheme")
    if founded:
        raise OperatorError(f"The scheme {founded[0][0]!r} is founded here already. Choose another data directory.")
    work.tx.run(
        'INSERT INTO scheme ("only", version, name, created_ms) VALUES (1, 1, ?, ?)', (name.strip(), work.now_ms)
    )
    auditlog.begin(work.tx, name.strip(), work.now_ms)
    work.tx.run(
        """INSERT INTO settlement_window (state, reason, created_ms, changed_ms)
           VALUES ('OPEN', 'The scheme was founded', ?, ?)""",
        (work.now_ms, work.now_ms),
    )
    work.tx.run(
        """INSERT INTO settlement_model (name, is_active, granularity, interchange, delay, currency,
               require_liquidity_check, ledger_account_type, settlement_account_type, auto_position_reset, created_ms)
           VALUES (?, 1, 'NET', 'MULTILATERAL', 'DEFERRED', NULL, 1, ?, ?, 1, ?)""",
        (DEFAULT_MODEL, POSITION, SETTLEMENT, work.now_ms),
    )
    account_types.seed(work.tx, by=FOUNDER, now_ms=work.now_ms)
    hub_id = insert_participant(work, HUB, is_proxy=False, by=FOUNDER)
    for currency in dict.fromkeys(currencies):
        open_accounts(work, hub_id, HUB, currency=currency, types=_HUB_ACCOUNTS, is_active=True, by=FOUNDER)
    work.directory_changed()
