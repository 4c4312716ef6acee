"""Terms: what keeps a hub process that has lost its turn from moving money in a ledger elsewhere.

Where the ledger shares the transaction of the records, whatever a process still asks after it has lost that transaction
is lost, too. A cluster does what it is asked, whenever that arrives: a process may be frozen between two requests, and
a request may be late in the network. What is named by what caused it may arrive late and does no harm, for it is the
same whoever asks for it. What was decided by the balances of the moment, headroom above all, is not.

So a process moves that in its *term*: a number, drawn by lot, with an account of its own in a ledger of its own. Each
such movement is linked to a *guard*, a transfer of nothing from that account. Whoever carries on what another process
has left begins by closing its account; from then on the cluster refuses the guard, and with it the movement. Whatever
was to arrive has arrived by then, or never will.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from vuka.ids import derive_id
from vuka.ledger.model import (
    BATCH_MAX,
    Account,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    Ledger,
    LedgerUnavailableError,
    Transfer,
    TransferFlags,
)

LEDGER: Final = 2**32 - 1
"""The ledger of the terms' accounts: no currency has this number, and nothing in it is money."""

TERM_MAX: Final = 2**62
"""Terms are drawn from 1 to this."""

ACCOUNT_CODE: Final = 100
GUARD_CODE: Final = 100
END_CODE: Final = 101

_SIDE: Final = derive_id("terms")
"""The account on the other side of every guard."""

_LINKED: Final = int(TransferFlags.linked)

# An account that was closed has a flag that it was not made with.
_OPEN_OR_CLOSED: Final = frozenset(
    (CreateAccountStatus.created, CreateAccountStatus.exists, CreateAccountStatus.exists_with_different_flags)
)


class TermEndedError(LedgerUnavailableError):
    """Another hub process has carried on what this one had begun: the ledger refuses what it asks in its old term."""

    def __init__(self) -> None:
        super().__init__("another hub process has carried on what this one had begun")


def begin(ledger: Ledger, terms: Iterable[int]) -> None:
    """Opens the accounts of terms, those that are not there yet."""
    wanted = [_SIDE, *(_account_id(term) for term in terms)]
    for start in range(0, len(wanted), BATCH_MAX):
        chunk = wanted[start : start + BATCH_MAX]
        for result in ledger.create_accounts([Account(id=id_, ledger=LEDGER, code=ACCOUNT_CODE) for id_ in chunk]):
            if result.status not in _OPEN_OR_CLOSED:
                raise AssertionError(f"the ledger refused the account of a term: {result.status.name}")


def end(ledger: Ledger, terms: Iterable[int]) -> None:
    """Ends terms: when this returns, nothing more is moved in them."""
    ended = sorted(set(terms))
    if not ended:
        return
    # One that died before it had opened its account must not open it later.
    begin(ledger, ended)
    for start in range(0, len(ended), BATCH_MAX):
        for result in ledger.create_transfers([_end(term) for term in ended[start : start + BATCH_MAX]]):
            if result.status not in (
                CreateTransferStatus.created,
                CreateTransferStatus.exists,
                CreateTransferStatus.debit_account_already_closed,
            ):
                raise AssertionError(f"the ledger refused to end a term: {result.status.name}")


def guarded(term: int, transfers: Sequence[Transfer]) -> list[Transfer]:
    """The transfers, each chain of linked ones (one that is not linked is a chain of its own) behind a guard."""
    guarded: list[Transfer] = []
    chain: list[Transfer] = []
    for transfer in transfers:
        chain.append(transfer)
        if not transfer.flags & _LINKED:
            guarded += (_guard(term, chain), *chain)
            chain = []
    if chain:
        raise AssertionError("the last transfer is linked to none")
    return guarded


def without_guards(asked: Sequence[Transfer], results: Sequence[CreateTransferResult]) -> list[CreateTransferResult]:
    """The results of what was guarded. Raises `TermEndedError` where the term was over."""
    kept: list[CreateTransferResult] = []
    for transfer, result in zip(asked, results, strict=True):
        if transfer.ledger != LEDGER:
            kept.append(result)
        elif result.status is CreateTransferStatus.debit_account_already_closed:
            raise TermEndedError
    return kept


def _account_id(term: int) -> int:
    return derive_id("term", term.to_bytes(8, "big"))


def _guard(term: int, chain: Sequence[Transfer]) -> Transfer:
    # The same chain in the same term has the same guard: asked for again, it exists as a whole or not at all.
    parts = [
        number.to_bytes(16, "big")
        for each in chain
        for number in (each.id, each.debit_account_id, each.credit_account_id, each.pending_id, each.amount)
    ]
    return Transfer(
        id=derive_id("term-guard", term.to_bytes(8, "big"), *parts),
        debit_account_id=_account_id(term),
        credit_account_id=_SIDE,
        ledger=LEDGER,
        code=GUARD_CODE,
        flags=_LINKED,
    )


def _end(term: int) -> Transfer:
    """A closing transfer must be pending; as it has no timeout and nobody voids it, the account stays closed."""
    return Transfer(
        id=derive_id("term-end", term.to_bytes(8, "big")),
        debit_account_id=_account_id(term),
        credit_account_id=_SIDE,
        ledger=LEDGER,
        code=END_CODE,
        flags=int(TransferFlags.pending | TransferFlags.closing_debit),
    )
