"""The chart of accounts: which accounts a participant has, and what may move between them.

For each participant and currency:

=============  ===========  ==============================================================================
account        normal side  what it holds
=============  ===========  ==============================================================================
`LIQUIDITY`    credit       what the participant has placed at the settlement bank (``SETTLEMENT`` on the API)
`POSITION`     credit       headroom granted + credits received − debits made or reserved
`HEADROOM`     debit        how much headroom has been granted to the position
=============  ===========  ==============================================================================

and for the hub, in each currency: `RECONCILIATION` (the settlement bank's side of funds in and out),
`MULTILATERAL_SETTLEMENT` (the other side of settlement, zero when one is complete), `ON_US` (through which a
payment of a participant to itself passes; zero when none is pending) and, where an operator opens it, `FEE`.

What fees run up stands on accounts of their own, `INTERCHANGE_FEE` or of a type that the scheme adds, of participants
and of the hub where it takes part in a fee: they may go either way.

**A payment is one pending transfer** from the payer's position to the payee's; posting it is the commit, voiding
it the abort. The position's ``debits_must_not_exceed_credits`` makes the ledger itself refuse what exceeds the
headroom, under any concurrency. The figures of the API follow from the balances: see `position_value` and
`liquidity_value`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from vuka.ids import TransferId, derive_id, ledger_id
from vuka.ledger.model import TIMEOUT_MAX, Account, AccountFlags, Transfer, TransferFlags
from vuka.money import AMOUNT_MAX, ledger_number


class AccountCode(IntEnum):
    """What an account is for: the ``code`` of its ledger account."""

    LIQUIDITY = 1
    POSITION = 2
    HEADROOM = 3
    RECONCILIATION = 10
    MULTILATERAL_SETTLEMENT = 11
    ON_US = 12
    FEE = 13
    INTERCHANGE_FEE = 14
    INTERCHANGE_FEE_SETTLEMENT = 15
    OTHER = 16
    """Of a ledger account type that the scheme has added."""


class TransferCode(IntEnum):
    """Why money moved: the ``code`` of a ledger transfer."""

    PAYMENT = 1
    ON_US_RETURN = 2
    HEADROOM_GRANT = 10
    HEADROOM_RECALL = 11
    SHORTFALL_RECALL = 12
    HEADROOM_ROOM = 13
    """Beyond what the limits allow, for what settlement must take; a shortfall until later credits pay it back."""
    FUNDS_IN = 20
    FUNDS_OUT = 21
    GROSS_POSITION = 30
    """Immediate gross settlement: the payment's effect on the positions is undone…"""
    GROSS_LIQUIDITY = 31
    """…and the liquidity moves instead."""
    SETTLEMENT = 32
    """Deferred settlement: between the settled account and the hub's other side of settlement."""
    FEE = 40


ACCOUNT_CODES: Final[dict[str, AccountCode]] = {
    "SETTLEMENT": AccountCode.LIQUIDITY,
    "POSITION": AccountCode.POSITION,
    "HEADROOM": AccountCode.HEADROOM,
    "HUB_RECONCILIATION": AccountCode.RECONCILIATION,
    "HUB_MULTILATERAL_SETTLEMENT": AccountCode.MULTILATERAL_SETTLEMENT,
    "HUB_ON_US": AccountCode.ON_US,
    "HUB_FEE": AccountCode.FEE,
    "INTERCHANGE_FEE": AccountCode.INTERCHANGE_FEE,
    "INTERCHANGE_FEE_SETTLEMENT": AccountCode.INTERCHANGE_FEE_SETTLEMENT,
}
"""The account code of each ledger account type that every scheme has."""

# What may never be overdrawn: a position (headroom), what a participant has placed (liquidity), and the account
# through which an on-us payment passes.
_NEVER_OVERDRAWN: Final = frozenset((AccountCode.LIQUIDITY, AccountCode.POSITION, AccountCode.ON_US))

# A balance row for each payment would double what the ledger writes; the history of these is their transfers.
_MOVED_BY_PAYMENTS: Final = frozenset((AccountCode.POSITION, AccountCode.HEADROOM, AccountCode.ON_US))


def account_id(participant: str, currency: str, account_type: str) -> int:
    """The ledger id of a participant's account: derived, so that creating it again is the same account."""
    return derive_id("account", participant.encode(), currency.encode(), account_type.encode())


def account(participant: str, currency: str, account_type: str) -> Account:
    """The ledger account for one of the account types of the records."""
    code = ACCOUNT_CODES.get(account_type, AccountCode.OTHER)
    flags = AccountFlags(0)
    if code in _NEVER_OVERDRAWN:
        flags |= AccountFlags.debits_must_not_exceed_credits
    if code not in _MOVED_BY_PAYMENTS:
        flags |= AccountFlags.history
    return Account(
        id=account_id(participant, currency, account_type),
        ledger=ledger_number(currency),
        code=int(code),
        flags=int(flags),
    )


ORPHAN_SECONDS: Final = 600
"""How long after its expiration a reservation that has no record frees itself. Longer than clocks differ."""


def timeout(expires_ms: int, now_ms: int) -> int:
    """The timeout, in seconds, of what is reserved until ``expires_ms`` in a ledger that can't undo it."""
    return min(max(0, -(-(expires_ms - now_ms) // 1000)) + ORPHAN_SECONDS, TIMEOUT_MAX)


_POST: Final = int(TransferFlags.post_pending_transfer)
_POST_LINKED: Final = int(TransferFlags.post_pending_transfer | TransferFlags.linked)


def reserve(
    transfer_id: TransferId, *, debit: int, credit: int, amount: int, currency: str, timeout_seconds: int = 0
) -> Transfer:
    """The payment itself: pending until the payee's participant has answered. Its id is the transfer's."""
    return Transfer(
        id=ledger_id(transfer_id),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        ledger=ledger_number(currency),
        code=int(TransferCode.PAYMENT),
        flags=int(TransferFlags.pending),
        timeout=timeout_seconds,
    )


def post_id(transfer_id: TransferId) -> int:
    """The ledger id of the post that commits a transfer."""
    return derive_id("post", transfer_id)


def void_id(transfer_id: TransferId) -> int:
    """The ledger id of the void that aborts a transfer."""
    return derive_id("void", transfer_id)


def post(transfer_id: TransferId, amount: int, *, window_id: int, linked: bool = False) -> Transfer:
    """The commit: the whole reserved amount moves. ``user_data_64`` says to which settlement window it belongs."""
    return Transfer(
        id=post_id(transfer_id),
        amount=amount,
        pending_id=ledger_id(transfer_id),
        user_data_64=window_id,
        flags=_POST_LINKED if linked else _POST,
    )


def void(transfer_id: TransferId) -> Transfer:
    """The abort: what was reserved is free again."""
    return Transfer(
        id=void_id(transfer_id), pending_id=ledger_id(transfer_id), flags=int(TransferFlags.void_pending_transfer)
    )


def return_on_us(transfer_id: TransferId, *, debit: int, credit: int, amount: int, currency: str) -> Transfer:
    """The second half of an on-us payment: from the hub's `ON_US` account back to the same position."""
    return Transfer(
        id=derive_id("on-us", transfer_id),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        user_data_128=ledger_id(transfer_id),
        ledger=ledger_number(currency),
        code=int(TransferCode.ON_US_RETURN),
    )


def funds_in(transfer_id: TransferId, *, liquidity: int, reconciliation: int, amount: int, currency: str) -> Transfer:
    """Money that a participant has placed at the settlement bank: its liquidity grows by ``amount`` at once."""
    return Transfer(
        id=ledger_id(transfer_id),
        debit_account_id=reconciliation,
        credit_account_id=liquidity,
        amount=amount,
        ledger=ledger_number(currency),
        code=int(TransferCode.FUNDS_IN),
    )


def funds_out(
    transfer_id: TransferId,
    *,
    liquidity: int,
    reconciliation: int,
    amount: int,
    currency: str,
    timeout_seconds: int = 0,
) -> Transfer:
    """Money that a participant asks back: set aside from its liquidity until `post` or `void`.

    The ledger refuses it (``exceeds_credits``) where the liquidity does not suffice.
    """
    return Transfer(
        id=ledger_id(transfer_id),
        debit_account_id=liquidity,
        credit_account_id=reconciliation,
        amount=amount,
        ledger=ledger_number(currency),
        code=int(TransferCode.FUNDS_OUT),
        flags=int(TransferFlags.pending),
        timeout=timeout_seconds,
    )


def parts(amount: int) -> list[int]:
    """An amount as one or more that a ledger transfer can hold: a sum may be larger than any payment."""
    whole, rest = divmod(amount, AMOUNT_MAX)
    return [AMOUNT_MAX] * whole + ([rest] if rest else [])


def gross_settlement_id(transfer_id: TransferId, attempt: int) -> int:
    """The ledger id of the first half of one attempt to settle a payment at once; the second is there where it is."""
    return derive_id("gross-position", transfer_id, attempt.to_bytes(4, "big"))


def gross_settlement(
    transfer_id: TransferId,
    *,
    attempt: int,
    payer: tuple[int, int],
    payee: tuple[int, int],
    amount: int,
    currency: str,
) -> tuple[Transfer, Transfer]:
    """Settles one committed payment at once: its positions go back, the liquidity moves instead; both or neither.

    ``payer`` and ``payee`` are each a position and a liquidity account. An attempt that was refused is not repeated
    under the same ids: the ledger keeps refusals.
    """
    position = Transfer(
        id=gross_settlement_id(transfer_id, attempt),
        debit_account_id=payee[0],
        credit_account_id=payer[0],
        amount=amount,
        user_data_128=ledger_id(transfer_id),
        ledger=ledger_number(currency),
        code=int(TransferCode.GROSS_POSITION),
        flags=int(TransferFlags.linked),
    )
    liquidity = Transfer(
        id=derive_id("gross-liquidity", transfer_id, attempt.to_bytes(4, "big")),
        debit_account_id=payer[1],
        credit_account_id=payee[1],
        amount=amount,
        user_data_128=ledger_id(transfer_id),
        ledger=ledger_number(currency),
        code=int(TransferCode.GROSS_LIQUIDITY),
    )
    return position, liquidity


def settlement_leg_id(settlement_id: int, account_id: int, counterparty: int, part_no: int, *, pays: bool) -> int:
    """The ledger id of what a settlement moves between an account and the hub's other side of settlement.

    ``account_id`` and ``counterparty`` are the records' numbers; 0 where the counterparty is all the others together.
    """
    numbers = (settlement_id, account_id, counterparty, part_no, int(pays))
    return derive_id("settlement", *(number.to_bytes(8, "big") for number in numbers))


def settlement_leg(
    leg_id: int, *, settlement_id: int, debit: int, credit: int, amount: int, currency: str, pending: bool
) -> Transfer:
    """One movement of a settlement; ``user_data_64`` says of which."""
    return Transfer(
        id=leg_id,
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        user_data_64=settlement_id,
        ledger=ledger_number(currency),
        code=int(TransferCode.SETTLEMENT),
        flags=int(TransferFlags.pending) if pending else 0,
    )


def end_settlement_leg(leg_id: int, amount: int, *, settlement_id: int, commits: bool) -> Transfer:
    """Posts what a settlement has reserved, or gives it back."""
    raw = leg_id.to_bytes(16, "big")
    return Transfer(
        id=derive_id("settlement-post" if commits else "settlement-void", raw),
        amount=amount if commits else 0,
        pending_id=leg_id,
        user_data_64=settlement_id,
        flags=int(TransferFlags.post_pending_transfer if commits else TransferFlags.void_pending_transfer),
    )


def fee_id(transfer_id: TransferId, number: int) -> int:
    """The ledger id of the fee of that number (from 1) of a payment."""
    return derive_id("fee", transfer_id, number.to_bytes(4, "big"))


def fee(
    transfer_id: TransferId, number: int, *, debit: int, credit: int, amount: int, currency: str, window_id: int
) -> Transfer:
    """A fee of a committed payment: ``debit`` owes it to ``credit``. ``user_data_64`` says its settlement window."""
    return Transfer(
        id=fee_id(transfer_id, number),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        user_data_128=ledger_id(transfer_id),
        user_data_64=window_id,
        ledger=ledger_number(currency),
        code=int(TransferCode.FEE),
    )


def grant_headroom(
    cause: bytes,
    *,
    headroom: int,
    position: int,
    amount: int,
    currency: str,
    part: int = 0,
    code: TransferCode = TransferCode.HEADROOM_GRANT,
) -> Transfer:
    """More headroom: the position may go ``amount`` further."""
    return Transfer(
        id=derive_id("headroom-grant", cause, position.to_bytes(16, "big"), *((bytes([part]),) if part else ())),
        debit_account_id=headroom,
        credit_account_id=position,
        amount=amount,
        user_data_128=int.from_bytes(cause, "big"),
        ledger=ledger_number(currency),
        code=int(code),
    )


def recall_headroom(
    cause: bytes,
    *,
    headroom: int,
    position: int,
    amount_max: int,
    currency: str,
    part: int = 0,
    code: TransferCode = TransferCode.HEADROOM_RECALL,
) -> Transfer:
    """Less headroom: takes up to ``amount_max``, as far as the position has it free; the rest is a shortfall."""
    return Transfer(
        id=derive_id("headroom-recall", cause, position.to_bytes(16, "big"), *((bytes([part]),) if part else ())),
        debit_account_id=position,
        credit_account_id=headroom,
        amount=amount_max,
        user_data_128=int.from_bytes(cause, "big"),
        ledger=ledger_number(currency),
        code=int(code),
        flags=int(TransferFlags.balancing_debit),
    )


def available(position: Account) -> int:
    """What the position's participant can still send, in minor units."""
    return position.credits_posted - position.debits_posted - position.debits_pending


def granted(headroom: Account) -> int:
    """The headroom granted at present, in minor units."""
    return headroom.debits_posted - headroom.credits_posted


def position_value(position: Account, headroom: Account) -> int:
    """The reference's POSITION ``value``: what the participant owes the scheme, reservations included."""
    return granted(headroom) - available(position)


def liquidity_cover(liquidity: Account) -> int:
    """What the participant has placed at the settlement bank and not asked back, in minor units."""
    return liquidity.credits_posted - liquidity.debits_posted - liquidity.debits_pending


def settlement_value(account_: Account) -> int:
    """The ``value`` of the hub's other side of settlement: what is reserved from net recipients counts already."""
    return debit_value(account_) - account_.credits_pending


def debit_value(account_: Account) -> int:
    """The reference's ``value`` of any account but a position: debits − credits, negative when funded."""
    return account_.debits_posted + account_.debits_pending - account_.credits_posted
