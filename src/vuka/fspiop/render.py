"""Bodies the hub makes itself, as bytes: results, notifications and errors.

All are written with sorted keys and without spaces (`vuka.fspiop.messages.encode`), the form whose signature every
participant can verify. What does not fit the wire's limits is cut or left out, never sent to be refused: an error
that its receiver cannot read would leave it guessing about money.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from vuka.errors import DESCRIPTION_MAX, FspiopError
from vuka.fspiop.messages import (
    ErrorInformation,
    ErrorInformationObject,
    Extension,
    ExtensionList,
    Message,
    ParticipantsIDPutResponse,
    ParticipantsTypeIDPutResponse,
    PartyIdInfo,
    PartyResult,
    TransfersIDPatchResponse,
    TransfersIDPutResponse,
    TransferState,
    encode,
)
from vuka.fspiop.times import format_datetime_ms

Extensions = Sequence[tuple[str, str]]
"""Keys and values of an ``extensionList``."""

EXTENSIONS_MAX: Final = 16
EXTENSION_KEY_MAX: Final = 32
EXTENSION_VALUE_MAX: Final = 128
"""The limits of an ``extensionList`` (FSPIOP API 1.1 §7.4.4, §7.3.13, §7.3.14)."""


class _RegisteredParty(Message, frozen=True, kw_only=True):
    # Not a `PartyIdInfo`: a scheme may have types of identifier beside the API's own (CONSENT, THIRD_PARTY_LINK).
    party_id_type: str
    party_identifier: str
    fsp_id: str
    party_sub_id_or_type: str | None = None


class _RegisteredParties(Message, frozen=True, kw_only=True):
    """What the reference sends for ``POST /participants/{Type}/{ID}``, which no version of the API describes."""

    party_list: tuple[_RegisteredParty, ...]
    currency: str | None = None


def extension_list(extensions: Extensions) -> ExtensionList | None:
    """The ``extensionList`` of what fits it: the first 16 that are not empty, cut to length. `None` for none."""
    if not extensions:
        return None
    fitting = tuple(
        Extension(key=key[:EXTENSION_KEY_MAX], value=value[:EXTENSION_VALUE_MAX])
        for key, value in extensions
        if key and value
    )[:EXTENSIONS_MAX]
    return ExtensionList(extension=fitting) if fitting else None


def error_information(error: FspiopError) -> ErrorInformation:
    """What a participant is told went wrong (FSPIOP API 1.1 §7.4.2)."""
    return ErrorInformation(
        error_code=error.code,
        error_description=error.description[:DESCRIPTION_MAX] or "Error",
        extension_list=extension_list(error.extensions),
    )


def error_body(error: FspiopError) -> bytes:
    """The body of a synchronous error and of every ``PUT …/error``."""
    return encode(ErrorInformationObject(error_information=error_information(error)))


def transfer_result(
    state: TransferState,
    completed_at_ms: int | None = None,
    fulfilment: str | None = None,
    extensions: Extensions = (),
) -> bytes:
    """``PUT /transfers/{ID}``: the result of a transfer. Times are milliseconds since 1970 UTC."""
    return encode(
        TransfersIDPutResponse(
            fulfilment=fulfilment,
            completed_timestamp=None if completed_at_ms is None else format_datetime_ms(completed_at_ms),
            transfer_state=state,
            extension_list=extension_list(extensions),
        )
    )


def transfer_patch(state: TransferState, completed_at_ms: int, extensions: Extensions = ()) -> bytes:
    """``PATCH /transfers/{ID}``: how a transfer that the payee reserved has ended (1.1 on)."""
    return encode(
        TransfersIDPatchResponse(
            completed_timestamp=format_datetime_ms(completed_at_ms),
            transfer_state=state,
            extension_list=extension_list(extensions),
        )
    )


def participant_result(fsp_id: str) -> bytes:
    """``PUT /participants/{Type}/{ID}``: at which participant a party is."""
    return encode(ParticipantsTypeIDPutResponse(fsp_id=fsp_id))


def participant_registered(
    party_type: str,
    identifier: str,
    fsp_id: str,
    *,
    sub_id: str | None = None,
    currency: str | None = None,
) -> bytes:
    """The answer to ``POST`` and ``PUT /participants/{Type}/{ID}`` in the reference's own form.

    ``{"partyList": [{partyIdType, partyIdentifier, fspId[, partySubIdOrType]}], "currency": …}``: participants have
    come to rely on it.
    """
    party = _RegisteredParty(
        party_id_type=party_type, party_identifier=identifier, fsp_id=fsp_id, party_sub_id_or_type=sub_id
    )
    return encode(_RegisteredParties(party_list=(party,), currency=currency))


def batch_result(results: Iterable[tuple[PartyIdInfo, FspiopError | None]], currency: str | None = None) -> bytes:
    """``PUT /participants/{ID}``: what became of each party of a batch, in its order; an error where it was refused."""
    return encode(
        ParticipantsIDPutResponse(
            party_list=tuple(
                PartyResult(
                    party_id=party,
                    error_information=None if error is None else error_information(error),
                )
                for party, error in results
            ),
            currency=currency,
        )
    )
