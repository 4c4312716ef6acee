"""Participants: who takes part, in which currencies, within which limits, and where they are reached.

What an operator does when a participant joins and while it takes part. The rules and the words of their errors are
the reference's (its administrative API), with one difference: a command happens wholly or not at all. The reference
leaves a participant without accounts behind where no settlement model fits.

Headroom follows at once whatever changes a net debit cap, see `vuka.switch.headroom`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from vuka.errors import ErrorCode, FspiopError
from vuka.ids import HUB, FspId, record_id
from vuka.ledger import chart
from vuka.ledger.model import CreateAccountStatus
from vuka.money import AMOUNT_MAX, CURRENCIES, Currency
from vuka.switch.directory import (
    HEADROOM,
    HUB_MULTILATERAL_SETTLEMENT,
    HUB_ON_US,
    HUB_RECONCILIATION,
    INTERNAL_ACCOUNT_TYPES,
    POSITION,
    SETTLEMENT,
    Account,
)
from vuka.switch.headroom import SHARE_WHOLE, LedgerRefusedError, rebalance
from vuka.switch.notifications import AdjustmentCause, notify_adjusted
from vuka.switch.work import Command, Outcome, Work

NAME_LENGTH_MIN: Final = 2
NAME_LENGTH_MAX: Final = 30
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@ +-]*[A-Za-z0-9])?")

NET_DEBIT_CAP: Final = "NET_DEBIT_CAP"
LIMIT_TYPES: Final = (NET_DEBIT_CAP,)
ALARM_PERCENTAGE_DEFAULT: Final = 10

HUB_FEE: Final = "HUB_FEE"
HUB_ACCOUNT_TYPES: Final = (HUB_RECONCILIATION, HUB_MULTILATERAL_SETTLEMENT, HUB_FEE)
"""What an operator may open for the hub itself, in each currency."""

ALARM_URL: Final = "ALARM_NOTIFICATION_URL"
LEFT_OUT: Final = "(left out)"
"""Stands where somebody is not told something secret."""
ADDRESSES_MAX: Final = 20
"""E-mail addresses in one endpoint."""

# Enough to keep out what is none, and whatever would break a header; the mail server knows the rest.
_E_MAIL: Final = re.compile(r"[!#-'*+./-9=?A-Z^-~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)
_URL: Final = re.compile(r"https?://[!-~]{1,2000}", re.ASCII | re.IGNORECASE)
_HOST_AND_REST: Final = re.compile(r"(https?://[^/?#]*(?:/[^/?#]*)?)(.*)", re.IGNORECASE | re.DOTALL)

FSPIOP_VERSIONS: Final = ("1.0", "1.1", "2.0")

ENDPOINT_TYPES: Final = tuple(
    """
    ALARM_NOTIFICATION_URL ALARM_NOTIFICATION_TOPIC
    FSPIOP_CALLBACK_URL_TRANSFER_POST FSPIOP_CALLBACK_URL_TRANSFER_PUT FSPIOP_CALLBACK_URL_TRANSFER_ERROR
    FSPIOP_CALLBACK_URL_FX_QUOTES
    FSPIOP_CALLBACK_URL_FX_TRANSFER_POST FSPIOP_CALLBACK_URL_FX_TRANSFER_PUT FSPIOP_CALLBACK_URL_FX_TRANSFER_ERROR
    NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL NET_DEBIT_CAP_ADJUSTMENT_EMAIL SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL
    FSPIOP_CALLBACK_URL_PARTICIPANT_PUT FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_PUT
    FSPIOP_CALLBACK_URL_PARTICIPANT_PUT_ERROR FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_PUT_ERROR
    FSPIOP_CALLBACK_URL_PARTICIPANT_DELETE FSPIOP_CALLBACK_URL_PARTICIPANT_SUB_ID_DELETE
    FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT FSPIOP_CALLBACK_URL_PARTICIPANT_BATCH_PUT_ERROR
    FSPIOP_CALLBACK_URL_PARTIES_GET FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_GET
    FSPIOP_CALLBACK_URL_PARTIES_PUT FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT
    FSPIOP_CALLBACK_URL_PARTIES_PUT_ERROR FSPIOP_CALLBACK_URL_PARTIES_SUB_ID_PUT_ERROR
    FSPIOP_CALLBACK_URL_QUOTES
    FSPIOP_CALLBACK_URL_BULK_TRANSFER_POST FSPIOP_CALLBACK_URL_BULK_TRANSFER_PUT
    FSPIOP_CALLBACK_URL_BULK_TRANSFER_ERROR
    FSPIOP_CALLBACK_URL_AUTHORIZATIONS FSPIOP_CALLBACK_URL_TRX_REQ_SERVICE FSPIOP_CALLBACK_URL_BULK_QUOTES
    TP_CB_URL_TRANSACTION_REQUEST_GET TP_CB_URL_TRANSACTION_REQUEST_POST TP_CB_URL_TRANSACTION_REQUEST_PUT
    TP_CB_URL_TRANSACTION_REQUEST_PUT_ERROR TP_CB_URL_TRANSACTION_REQUEST_PATCH
    TP_CB_URL_TRANSACTION_REQUEST_AUTH_POST TP_CB_URL_TRANSACTION_REQUEST_AUTH_PUT
    TP_CB_URL_TRANSACTION_REQUEST_AUTH_PUT_ERROR
    TP_CB_URL_TRANSACTION_REQUEST_VERIFY_POST TP_CB_URL_TRANSACTION_REQUEST_VERIFY_PUT
    TP_CB_URL_TRANSACTION_REQUEST_VERIFY_PUT_ERROR
    TP_CB_URL_CONSENT_REQUEST_POST TP_CB_URL_CONSENT_REQUEST_PUT TP_CB_URL_CONSENT_REQUEST_PUT_ERROR
    TP_CB_URL_CONSENT_REQUEST_PATCH TP_CB_URL_CREATE_CREDENTIAL_POST
    TP_CB_URL_CONSENT_POST TP_CB_URL_CONSENT_GET TP_CB_URL_CONSENT_PUT TP_CB_URL_CONSENT_PATCH
    TP_CB_URL_CONSENT_PUT_ERROR TP_CB_URL_CONSENT_GENERATE_CHALLENGE_POST
    TP_CB_URL_CONSENT_GENERATE_CHALLENGE_PUT_ERROR
    TP_CB_URL_ACCOUNTS_GET TP_CB_URL_ACCOUNTS_PUT TP_CB_URL_ACCOUNTS_PUT_ERROR
    TP_CB_URL_SERVICES_GET TP_CB_URL_SERVICES_PUT TP_CB_URL_SERVICES_PUT_ERROR
    """.split()
)
"""Every endpoint type of the reference, in the order of its seeds."""


class CreateParticipant(Command, frozen=True, kw_only=True):
    """``POST /participants``: a new participant, or a new currency for one that is there. Its accounts are inactive."""

    name: FspId
    currency: Currency
    is_proxy: bool = False
    by: str = "operator"


class SetParticipantActive(Command, frozen=True, kw_only=True):
    """``PUT /participants/{name}``: whether it may take part. What is reserved already goes on."""

    name: FspId
    is_active: bool


class SetParticipantVersion(Command, frozen=True, kw_only=True):
    """Which FSPIOP version the hub's own messages to it are written in; None: as it asks for in each request."""

    name: FspId
    version: str | None


class CreateHubAccount(Command, frozen=True, kw_only=True):
    """``POST /participants/{name}/accounts``: one of the hub's own accounts; `name` must be the hub."""

    name: FspId = HUB
    currency: Currency
    type: str
    by: str = "operator"


class SetInitialPositionAndLimits(Command, frozen=True, kw_only=True):
    """``POST /participants/{name}/initialPositionAndLimits``: its first net debit cap. Its accounts become active."""

    name: FspId
    currency: Currency
    limit_type: str = NET_DEBIT_CAP
    value: int
    """The cap, in minor units."""
    initial_position: int = 0
    """Minor units. Only 0 is accepted: a position without a transfer behind it would be money from nowhere."""
    by: str = "operator"


class AdjustLimit(Command, frozen=True, kw_only=True):
    """``PUT /participants/{name}/limits``: another net debit cap, in force at once."""

    name: FspId
    currency: Currency
    limit_type: str = NET_DEBIT_CAP
    value: int = 0
    """The cap, in minor units; 0 where `liquidity_share` says it."""
    liquidity_share: int | None = None
    """The cap as a share of the liquidity, in hundredths of a percent: it follows every movement of funds."""
    alarm_percentage: int = ALARM_PERCENTAGE_DEFAULT
    by: str = "operator"


class Endpoint(msgspec.Struct, frozen=True):
    """Where messages of one type go: a URL, a URL template with ``{{…}}``, or an e-mail address."""

    type: str
    value: str


def shortened(address: str) -> str:
    """Where alarms go, for whoever sends none: of a URL the host and the first segment of its path.

    What comes behind them is often all that its receiver asks for. What is no URL is as it is.
    """
    found = _HOST_AND_REST.fullmatch(address)
    if found is None or found[2] in ("", "/"):
        return address
    return f"{found[1].rstrip('/')}/{LEFT_OUT}"


class SetEndpoints(Command, frozen=True, kw_only=True):
    """``POST /participants/{name}/endpoints``: sets these, leaves the others; all of them or, in error, none."""

    name: FspId
    endpoints: tuple[Endpoint, ...]
    by: str = "operator"


class SetAccountActive(Command, frozen=True, kw_only=True):
    """``PUT /participants/{name}/accounts/{id}``: whether payments may use a position."""

    name: FspId
    account_id: int
    is_active: bool


# --- participants -----------------------------------------------------------------------------------------------


def create(work: Work, commands: Sequence[CreateParticipant]) -> list[Outcome]:
    """Adds participants, or currencies of participants, with the accounts that the settlement models ask for."""
    return [_create(work, command) for command in commands]


def _create(work: Work, command: CreateParticipant) -> Outcome:
    fault = _name_fault(work, command.name) or _currency_fault(command.currency)
    if fault is not None:
        return Outcome(error=fault)
    hub = work.directory.participants[HUB]
    if hub.account(command.currency, HUB_RECONCILIATION) is None:
        return _cannot_add("Hub reconciliation account for the specified currency does not exist")
    if hub.account(command.currency, HUB_MULTILATERAL_SETTLEMENT) is None:
        return _cannot_add("Hub multilateral net settlement account for the specified currency does not exist")
    participant = work.directory.get(command.name)
    if participant is not None and any(currency == command.currency for currency, _ in participant.accounts):
        return _client_error("Participant currency has already been registered")
    types = _account_types(work, command.currency)
    if not types:
        detail = "Unable to find a matching or default, Settlement Model"
        return Outcome(error=FspiopError(ErrorCode.SETTLEMENT_ERROR, detail))
    participant_id = (
        participant.participant_id
        if participant is not None
        else insert_participant(work, command.name, is_proxy=command.is_proxy, by=command.by)
    )
    open_accounts(
        work, participant_id, command.name, currency=command.currency, types=types, is_active=False, by=command.by
    )
    work.directory_changed()
    return Outcome(note=f"participant {command.name} created in {command.currency}")


def _name_fault(work: Work, name: str) -> FspiopError | None:
    """Why a participant can't be called so."""
    if not NAME_LENGTH_MIN <= len(name) <= NAME_LENGTH_MAX or _NAME.fullmatch(name) is None:
        detail = f"name must have {NAME_LENGTH_MIN} to {NAME_LENGTH_MAX} letters, digits or . _ @ + - inside"
        return FspiopError(ErrorCode.MALFORMED_SYNTAX, detail)
    if name.lower() == HUB.lower():
        return FspiopError(ErrorCode.CLIENT_ERROR, f"{HUB} is the hub itself and can't be a participant")
    # Headers are compared without regard to case, as in the reference: "Bank" could answer for "bank".
    alike = next((each for each in work.directory.participants if each.lower() == name.lower() and each != name), None)
    if alike is not None:
        return FspiopError(ErrorCode.CLIENT_ERROR, f"{name} differs from the participant {alike} only in its case")
    return None


def _currency_fault(currency: str) -> FspiopError | None:
    if currency in CURRENCIES:
        return None
    return FspiopError(ErrorCode.MALFORMED_SYNTAX, f"{currency[:8]} is not a currency the scheme knows")


def _account_types(work: Work, currency: str) -> list[str]:
    """The accounts that a participant needs in a currency: those that its settlement models name.

    A default model counts for the ledger account type that the currency has no model of its own for. (The reference
    drops every default as soon as there is one: a currency with a model for fees only would have no positions.)
    """
    models = work.tx.query(
        """SELECT currency, ledger_account_type, settlement_account_type FROM settlement_model
           WHERE is_active = 1 AND (currency = ? OR currency IS NULL) ORDER BY settlement_model_id""",
        (currency,),
    )
    own = {ledger_account_type for model_currency, ledger_account_type, _ in models if model_currency is not None}
    types: list[str] = []
    for model_currency, ledger_account_type, settlement_account_type in models:
        if model_currency is None and ledger_account_type in own:
            continue
        types += (each for each in (ledger_account_type, settlement_account_type) if each not in types)
    if POSITION in types:
        # Whatever account a model names to settle on: what a position may use is covered by liquidity.
        types += (each for each in (SETTLEMENT, HEADROOM) if each not in types)
    return types


def open_model_accounts(work: Work, by: str) -> int:
    """Opens what the settlement models in force name and participants that joined before lack; how many accounts.

    An account is active at once where the participant's others in that currency are: limits that are set already
    activate nothing any more.
    """
    opened = 0
    for participant in work.directory.participants.values():
        if participant.name == HUB:
            continue
        for currency in sorted({currency for currency, _ in participant.accounts}):
            lacking = [each for each in _account_types(work, currency) if participant.account(currency, each) is None]
            has_active = any(each.is_active for (code, _), each in participant.accounts.items() if code == currency)
            if not lacking:
                continue
            open_accounts(
                work,
                participant.participant_id,
                participant.name,
                currency=currency,
                types=lacking,
                is_active=has_active and POSITION not in lacking,
                by=by,
            )
            opened += len(lacking)
    return opened


def insert_participant(work: Work, name: str, *, is_proxy: bool, by: str) -> int:
    """Writes a participant; its number."""
    ((participant_id,),) = work.tx.query(
        """INSERT INTO participant (name, is_active, is_proxy, created_ms, created_by) VALUES (?, 1, ?, ?, ?)
           RETURNING participant_id""",
        (name, int(is_proxy), work.now_ms, by),
    )
    return int(participant_id)


def open_accounts(
    work: Work, participant_id: int, name: str, *, currency: str, types: Iterable[str], is_active: bool, by: str
) -> None:
    """Opens accounts of a participant in the ledger and in the records."""
    accounts = [(each, chart.account(name, currency, each)) for each in types]
    results = work.ledger.create_accounts([account for _, account in accounts])
    for (account_type, account), result in zip(accounts, results, strict=True):
        if result.status not in (CreateAccountStatus.created, CreateAccountStatus.exists):
            raise LedgerRefusedError(f"the ledger refused {name}'s {currency} {account_type}: {result.status.name}")
        work.tx.run(
            """INSERT INTO account (participant_id, currency, type, ledger_account_id, is_active, created_ms,
                                    created_by, changed_ms)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                participant_id,
                currency,
                account_type,
                record_id(account.id),
                int(is_active),
                work.now_ms,
                by,
                work.now_ms,
            ),
        )


def set_active(work: Work, commands: Sequence[SetParticipantActive]) -> list[Outcome]:
    """Lets participants take part, or no longer."""
    return [_set_active(work, command) for command in commands]


def _set_active(work: Work, command: SetParticipantActive) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return _participant_not_found()
    work.tx.run(
        "UPDATE participant SET is_active = ? WHERE participant_id = ?",
        (int(command.is_active), participant.participant_id),
    )
    work.directory_changed()
    return Outcome(note=f"participant {command.name} {_activated(command.is_active)}")


def set_version(work: Work, commands: Sequence[SetParticipantVersion]) -> list[Outcome]:
    """Declares in which FSPIOP version participants are written to."""
    return [_set_version(work, command) for command in commands]


def _set_version(work: Work, command: SetParticipantVersion) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return _participant_not_found()
    if command.version is not None and command.version not in FSPIOP_VERSIONS:
        detail = f"version must be one of {', '.join(FSPIOP_VERSIONS)}"
        return Outcome(error=FspiopError(ErrorCode.MALFORMED_SYNTAX, detail))
    work.tx.run(
        "UPDATE participant SET fspiop_version = ? WHERE participant_id = ?",
        (command.version, participant.participant_id),
    )
    work.directory_changed()
    return Outcome(note=f"participant {command.name} is written to in FSPIOP {command.version or 'as it asks'}")


# --- accounts ---------------------------------------------------------------------------------------------------


def create_hub_account(work: Work, commands: Sequence[CreateHubAccount]) -> list[Outcome]:
    """Opens the hub's own accounts, active at once."""
    return [_create_hub_account(work, command) for command in commands]


def _create_hub_account(work: Work, command: CreateHubAccount) -> Outcome:
    fault = _currency_fault(command.currency)
    if fault is not None:
        return Outcome(error=fault)
    participant = work.directory.get(command.name)
    if participant is None:
        return _cannot_add("Participant was not found.")
    if command.type not in chart.ACCOUNT_CODES or command.type in INTERNAL_ACCOUNT_TYPES:
        return _cannot_add("Ledger account type was not found.")
    if participant.account(command.currency, command.type) is not None:
        return _cannot_add("Hub account has already been registered.")
    if participant.name != HUB:
        return _cannot_add("Endpoint is reserved for creation of Hub account types only.")
    if command.type not in HUB_ACCOUNT_TYPES:
        return _cannot_add("The requested hub operator account type is not allowed.")
    types = [command.type]
    if command.type == HUB_RECONCILIATION:
        types.append(HUB_ON_US)
    open_accounts(
        work, participant.participant_id, HUB, currency=command.currency, types=types, is_active=True, by=command.by
    )
    work.directory_changed()
    return Outcome(note=f"hub account {command.type} opened in {command.currency}")


def set_account_active(work: Work, commands: Sequence[SetAccountActive]) -> list[Outcome]:
    """Lets payments use positions, or no longer."""
    return [_set_account_active(work, command) for command in commands]


def _set_account_active(work: Work, command: SetAccountActive) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return _participant_not_found()
    found = work.directory.by_account(command.account_id)
    if found is None or found[1].type in INTERNAL_ACCOUNT_TYPES:
        return _internal_error("Account not found")
    owner, account = found
    if owner.participant_id != participant.participant_id:
        return _internal_error("Participant/account mismatch")
    if account.type != POSITION:
        return _internal_error("Only position account update is permitted")
    work.tx.run(
        "UPDATE account SET is_active = ?, changed_ms = ? WHERE account_id = ?",
        (int(command.is_active), work.now_ms, account.account_id),
    )
    work.directory_changed()
    return Outcome(note=f"account {account.account_id} of {command.name} {_activated(command.is_active)}")


# --- limits -----------------------------------------------------------------------------------------------------


def set_initial_position_and_limits(work: Work, commands: Sequence[SetInitialPositionAndLimits]) -> list[Outcome]:
    """Gives participants their first net debit cap in a currency, once, and activates their accounts in it."""
    return [_set_initial(work, command) for command in commands]


def _set_initial(work: Work, command: SetInitialPositionAndLimits) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return _participant_not_found()
    position = participant.account(command.currency, POSITION)
    if position is None:
        return _no_account(command.name, command.currency)
    if position.net_debit_cap is not None:
        return _internal_error("Participant Limit or Initial Position already set")
    fault = _limit_fault(command.limit_type, command.value)
    if fault is not None:
        return Outcome(error=fault)
    if command.initial_position != 0:
        # The reference writes the figure into the position, with nothing on the other side of the books.
        detail = "initialPosition must be 0: a position follows from transfers, liquidity from funds in"
        return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))
    _insert_limit(work, position, command.limit_type, command.value, ALARM_PERCENTAGE_DEFAULT, command.by)
    accounts = [account for (currency, _), account in participant.accounts.items() if currency == command.currency]
    work.tx.run_many(
        "UPDATE account SET is_active = 1, changed_ms = ? WHERE account_id = ?",
        [(work.now_ms, account.account_id) for account in accounts],
    )
    _limits_changed(work, command.name, position, AdjustmentCause.INITIAL)
    return Outcome(note=f"limits of {command.name} in {command.currency} set")


def adjust_limit(work: Work, commands: Sequence[AdjustLimit]) -> list[Outcome]:
    """Changes net debit caps. The former one stays on record, inactive."""
    return [_adjust_limit(work, command) for command in commands]


def _adjust_limit(work: Work, command: AdjustLimit) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return _participant_not_found()
    position = participant.account(command.currency, POSITION)
    if position is None:
        return _no_account(command.name, command.currency)
    fault = _limit_fault(command.limit_type, command.value)
    if fault is not None:
        return Outcome(error=fault)
    if not 0 <= command.alarm_percentage <= 100:
        detail = "limit.alarmPercentage must be between 0 and 100"
        return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))
    if command.liquidity_share is not None and not 0 <= command.liquidity_share <= SHARE_WHOLE:
        detail = "limit.liquidityPercentage must be between 0 and 100"
        return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))
    if position.net_debit_cap is None:
        return _internal_error("Participant Limit does not exist")
    _retire_limit(work, position, command.limit_type)
    _insert_limit(
        work,
        position,
        command.limit_type,
        command.value if command.liquidity_share is None else 0,
        command.alarm_percentage,
        command.by,
        liquidity_share=command.liquidity_share,
    )
    work.tx.run("UPDATE account SET changed_ms = ? WHERE account_id = ?", (work.now_ms, position.account_id))
    _limits_changed(work, command.name, position, AdjustmentCause.ADJUSTED)
    return Outcome(note=f"limits of {command.name} in {command.currency} adjusted")


def raise_net_debit_cap(work: Work, position: Account, by_amount: int, by: str) -> None:
    """Raises a fixed net debit cap by ``by_amount`` minor units; headroom and notification are left to the caller."""
    ((cap, alarm_percentage),) = work.tx.query(
        "SELECT value, alarm_percentage FROM participant_limit WHERE account_id = ? AND type = ? AND is_active = 1",
        (position.account_id, NET_DEBIT_CAP),
    )
    _retire_limit(work, position, NET_DEBIT_CAP)
    _insert_limit(work, position, NET_DEBIT_CAP, min(cap + by_amount, AMOUNT_MAX), alarm_percentage, by)
    work.directory_changed()


def _retire_limit(work: Work, position: Account, limit_type: str) -> None:
    work.tx.run(
        "UPDATE participant_limit SET is_active = 0 WHERE account_id = ? AND type = ? AND is_active = 1",
        (position.account_id, limit_type),
    )


def _limit_fault(limit_type: str, value: int) -> FspiopError | None:
    if limit_type not in LIMIT_TYPES:
        return FspiopError(ErrorCode.VALIDATION_ERROR, f"limit.type must be one of [{', '.join(LIMIT_TYPES)}]")
    if not 0 <= value <= AMOUNT_MAX:
        return FspiopError(ErrorCode.VALIDATION_ERROR, "limit.value must be 0 or a positive number the hub can hold")
    return None


def _insert_limit(
    work: Work,
    position: Account,
    limit_type: str,
    value: int,
    alarm_percentage: int,
    by: str,
    *,
    liquidity_share: int | None = None,
) -> None:
    work.tx.run(
        """INSERT INTO participant_limit (account_id, type, value, liquidity_share, alarm_percentage, is_active,
                                          created_ms, created_by)
           VALUES (?, ?, ?, ?, ?, 1, ?, ?)""",
        (position.account_id, limit_type, value, liquidity_share, alarm_percentage, work.now_ms, by),
    )


def _limits_changed(work: Work, name: FspId, before: Account, cause: AdjustmentCause) -> None:
    """The directory is read anew first: the headroom follows the cap that is in force now, and people are told of it.

    ``before`` is the position as it was.
    """
    work.directory_changed()
    rebalance(work, record_id(work.next_id()), work.directory.participants[name], before.currency)
    notify_adjusted(work, cause, [(name, before)])


# --- endpoints --------------------------------------------------------------------------------------------------


def set_endpoints(work: Work, commands: Sequence[SetEndpoints]) -> list[Outcome]:
    """Says where messages to participants go. A message not yet sent goes to the new place."""
    return [_set_endpoints(work, command) for command in commands]


def _set_endpoints(work: Work, command: SetEndpoints) -> Outcome:
    participant = work.directory.get(command.name)
    if participant is None:
        return _participant_not_found()
    for endpoint in command.endpoints:
        if endpoint.type not in ENDPOINT_TYPES:
            detail = f"type {endpoint.type[:60]} is not an endpoint type"
            return Outcome(error=FspiopError(ErrorCode.VALIDATION_ERROR, detail))
        if not endpoint.value.strip():
            detail = f"value of {endpoint.type} is not allowed to be empty"
            return Outcome(error=FspiopError(ErrorCode.MALFORMED_SYNTAX, detail))
        fault = _address_fault(endpoint)
        if fault is not None:
            return Outcome(error=FspiopError(ErrorCode.MALFORMED_SYNTAX, fault))
    work.tx.run_many(
        """INSERT INTO endpoint (participant_id, type, value, created_ms, created_by) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (participant_id, type)
           DO UPDATE SET value = excluded.value, created_ms = excluded.created_ms, created_by = excluded.created_by""",
        [
            (participant.participant_id, endpoint.type, endpoint.value.strip(), work.now_ms, command.by)
            for endpoint in command.endpoints
        ],
    )
    work.directory_changed()
    return Outcome(note=f"endpoints of {command.name} set: {len(command.endpoints)}")


def _address_fault(endpoint: Endpoint) -> str | None:
    """Why people can't be told at an address: it would come to light when they should be."""
    if endpoint.type.endswith("_EMAIL"):
        addresses = endpoint.value.strip().split(",")
        if len(addresses) > ADDRESSES_MAX or not all(_E_MAIL.fullmatch(each.strip()) for each in addresses):
            return f"value of {endpoint.type} must be an e-mail address, or up to {ADDRESSES_MAX} between commas"
    if endpoint.type == ALARM_URL and _URL.fullmatch(endpoint.value.strip()) is None:
        return f"value of {endpoint.type} must be a URL of http or https"
    return None


# --- errors, in the reference's words -----------------------------------------------------------------------------


def participant_not_found() -> FspiopError:
    """Whoever it is, the hub does not know it: 3200, with status 400."""
    return FspiopError(ErrorCode.ID_NOT_FOUND, "participant not found")


def _participant_not_found() -> Outcome:
    return Outcome(error=participant_not_found())


def _no_account(name: str, currency: str) -> Outcome:
    """The reference looks participant and currency up together and says of either that it is not found."""
    detail = f"participant not found: {name} has no {currency} account"
    return Outcome(error=FspiopError(ErrorCode.ID_NOT_FOUND, detail))


def _cannot_add(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, detail))


def _client_error(detail: str) -> Outcome:
    return Outcome(error=FspiopError(ErrorCode.CLIENT_ERROR, detail))


def _internal_error(detail: str) -> Outcome:
    """What the reference's domain calls an internal error (2001, status 500): its clients look for that."""
    return Outcome(error=FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, detail))


def _activated(is_active: bool) -> str:
    return "activated" if is_active else "disabled"


USE_CASES: Final = (
    (create_hub_account, CreateHubAccount),
    (create, CreateParticipant),
    (set_active, SetParticipantActive),
    (set_version, SetParticipantVersion),
    (set_initial_position_and_limits, SetInitialPositionAndLimits),
    (adjust_limit, AdjustLimit),
    (set_account_active, SetAccountActive),
    (set_endpoints, SetEndpoints),
)
"""Each function with the commands that it decides, in the order in which one batch takes them."""
