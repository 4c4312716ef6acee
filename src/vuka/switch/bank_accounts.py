"""Bank accounts: where participants keep, at the settlement bank, what they settle with.

One for each participant and currency, and one of the hub itself: the scheme's own settlement account, through which
participants settle where they settle with all the others together. No two participants have the same: a statement could
not say whose money it tells of. They are read where bank files are made and read, so they are not in the directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vuka.bankfiles.identifiers import (
    ACCOUNT_SCHEMES,
    IBAN,
    bic_fault,
    iban_fault,
    name_fault,
    other_account_fault,
    plain_account,
)
from vuka.bankfiles.model import BankAccount
from vuka.errors import ErrorCode, FspiopError
from vuka.ids import FspId
from vuka.money import Currency
from vuka.store import Tx
from vuka.switch.participants import participant_not_found
from vuka.switch.work import Command, Outcome, Work


class SetBankAccount(Command, frozen=True, kw_only=True):
    """``PUT /participants/{name}/bankAccounts/{currency}``: its account, in the place of any that it had."""

    name: FspId
    currency: Currency
    account: str
    scheme: str = IBAN
    holder_name: str
    bic: str | None = None
    agent_bic: str | None = None
    by: str = "operator"


class RemoveBankAccount(Command, frozen=True, kw_only=True):
    """``DELETE /participants/{name}/bankAccounts/{currency}``."""

    name: FspId
    currency: Currency


def set_account(work: Work, commands: Sequence[SetBankAccount]) -> list[Outcome]:
    """Says where participants keep what they settle with."""
    return [_set(work, command) for command in commands]


def _set(work: Work, command: SetBankAccount) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return Outcome(error=participant_not_found())
    if all(currency != command.currency for currency, _ in participant.accounts):
        return _invalid(f"{command.name} has no {command.currency} accounts in the scheme")
    if command.scheme not in ACCOUNT_SCHEMES:
        return _invalid(f'"scheme" must be one of [{", ".join(ACCOUNT_SCHEMES)}]')
    is_iban = command.scheme == IBAN
    account = plain_account(command.account) if is_iban else command.account.strip()
    for field, fault in (
        ("account", iban_fault(account) if is_iban else other_account_fault(account)),
        ("name", name_fault(command.holder_name)),
        ("bic", bic_fault(command.bic) if command.bic is not None else None),
        ("agentBic", bic_fault(command.agent_bic) if command.agent_bic is not None else None),
    ):
        if fault is not None:
            return _invalid(f'"{field}" {fault}')
    owner = next(
        (
            each.holder
            for each in bank_accounts(work.tx)
            if each.currency == command.currency
            and plain_account(each.account) == plain_account(account)
            and each.holder != command.name
        ),
        None,
    )
    if owner is not None:
        return _invalid(f'"account" is that of {owner} already: a statement could not tell them apart')
    work.tx.run(
        """INSERT INTO bank_account (participant_id, currency, account, scheme, bic, agent_bic, name, changed_ms,
                                     changed_by)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (participant_id, currency) DO UPDATE
           SET account = excluded.account, scheme = excluded.scheme, bic = excluded.bic,
               agent_bic = excluded.agent_bic, name = excluded.name, changed_ms = excluded.changed_ms,
               changed_by = excluded.changed_by""",
        (
            participant.participant_id,
            command.currency,
            account,
            command.scheme,
            command.bic,
            command.agent_bic,
            command.holder_name,
            work.now_ms,
            command.by,
        ),
    )
    return Outcome(note=f"bank account of {command.name} in {command.currency} set")


def remove_account(work: Work, commands: Sequence[RemoveBankAccount]) -> list[Outcome]:
    """Forgets where participants kept what they settled with."""
    return [_remove(work, command) for command in commands]


def _remove(work: Work, command: RemoveBankAccount) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return Outcome(error=participant_not_found())
    removed = work.tx.run(
        "DELETE FROM bank_account WHERE participant_id = ? AND currency = ?",
        (participant.participant_id, command.currency),
    )
    if not removed:
        return Outcome(error=bank_account_not_found(command.name, command.currency))
    return Outcome(note=f"bank account of {command.name} in {command.currency} removed")


def bank_account_not_found(name: str, currency: str) -> FspiopError:
    """There is none: 3200, with status 400, as where any other thing of a participant is missing."""
    return FspiopError(ErrorCode.ID_NOT_FOUND, f"{name} has no bank account in {currency}")


def _invalid(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))


def bank_accounts(tx: Tx) -> list[BankAccount]:
    """Every bank account, by participant and currency."""
    return [
        BankAccount(
            holder=holder,
            currency=Currency(currency),
            account=account,
            scheme=scheme,
            name=name,
            bic=bic,
            agent_bic=agent_bic,
        )
        for holder, currency, account, scheme, name, bic, agent_bic in tx.query(
            """SELECT p.name, b.currency, b.account, b.scheme, b.name, b.bic, b.agent_bic
               FROM bank_account b JOIN participant p ON p.participant_id = b.participant_id
               ORDER BY b.participant_id, b.currency"""
        )
    ]


USE_CASES: Final = ((set_account, SetBankAccount), (remove_account, RemoveBankAccount))
"""Each function with the commands that it decides."""
