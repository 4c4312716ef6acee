"""Bodies the hub makes: valid on the wire of every version, whatever is put into them."""

from __future__ import annotations

import json

import pytest

from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.jws import canonical
from vuka.fspiop.messages import (
    ErrorInformationObject,
    ParticipantsIDPutResponse,
    ParticipantsTypeIDPutResponse,
    PartyIdInfo,
    TransfersIDPatchResponse,
    TransfersIDPutResponse,
    decode,
)
from vuka.fspiop.render import (
    batch_result,
    error_body,
    participant_registered,
    participant_result,
    transfer_patch,
    transfer_result,
)
from vuka.fspiop.versions import Version

FULFILMENT = "WLctttbu2HvTsa1XWvUoGRcQozHsqeu9Ahl2JW9Bsu8"
COMPLETED_AT_MS = 1_464_093_488_699
ALL = list(Version)


def test_a_committed_result_has_its_keys_sorted_and_no_spaces() -> None:
    assert transfer_result("COMMITTED", COMPLETED_AT_MS, FULFILMENT, (("k", "v"),)) == (
        b'{"completedTimestamp":"2016-05-24T12:38:08.699Z","extensionList":{"extension":[{"key":"k","value":"v"}]},'
        b'"fulfilment":"WLctttbu2HvTsa1XWvUoGRcQozHsqeu9Ahl2JW9Bsu8","transferState":"COMMITTED"}'
    )


def test_what_a_result_does_not_have_is_left_out() -> None:
    assert transfer_result("RESERVED") == b'{"transferState":"RESERVED"}'


def test_a_patch_has_no_fulfilment() -> None:
    assert transfer_patch("COMMITTED", COMPLETED_AT_MS) == (
        b'{"completedTimestamp":"2016-05-24T12:38:08.699Z","transferState":"COMMITTED"}'
    )


def test_what_is_made_is_in_the_form_in_which_it_is_signed() -> None:
    odd = (("Zürich", 'a "quote" \\ / \x01 \x7f'), ("a", "😀"), ("B", "\u2028"))
    error = FspiopError(ErrorCode.VALIDATION_ERROR, "n'est pas été", extensions=odd)
    for body in (
        error_body(error),
        transfer_result("COMMITTED", COMPLETED_AT_MS, FULFILMENT, odd),
        transfer_result("ABORTED"),
        transfer_patch("ABORTED", COMPLETED_AT_MS, odd),
    ):
        assert canonical(body) == body


@pytest.mark.parametrize("version", ALL)
def test_results_and_patches_are_valid_in_every_version(version: Version) -> None:
    result = decode(
        TransfersIDPutResponse, version, transfer_result("ABORTED", COMPLETED_AT_MS, None, (("cause", "3303"),))
    )
    assert (result.transfer_state, result.completed_at_ms()) == ("ABORTED", COMPLETED_AT_MS)
    patch = decode(TransfersIDPatchResponse, version, transfer_patch("ABORTED", COMPLETED_AT_MS))
    assert patch.completed_at_ms() == COMPLETED_AT_MS


def test_an_error_says_code_and_description() -> None:
    assert json.loads(error_body(FspiopError(ErrorCode.TRANSFER_EXPIRED))) == {
        "errorInformation": {"errorCode": "3303", "errorDescription": "Transfer expired"}
    }


@pytest.mark.parametrize("version", ALL)
def test_an_error_is_valid_on_the_wire_whatever_it_says(version: Version) -> None:
    extensions = (("", "dropped"), ("dropped", ""), *((f"{i:02d}" + "k" * 40, "v" * 200) for i in range(20)))
    body = error_body(FspiopError("5199", description="x" * 500, extensions=extensions))
    information = decode(ErrorInformationObject, version, body).error_information
    assert (information.error_code, len(information.error_description)) == ("5199", 128)
    assert information.extension_list is not None
    listed = information.extension_list.extension
    assert [len(extension.key) for extension in listed] == [32] * 16
    assert [len(extension.value) for extension in listed] == [128] * 16


def test_an_error_without_a_description_still_has_one_on_the_wire() -> None:
    body = error_body(FspiopError("3100", description=""))
    assert decode(ErrorInformationObject, Version.V2_0, body).error_information.error_description == "Error"


def test_a_participant_result_names_the_participant() -> None:
    body = participant_result("payeefsp")
    assert body == b'{"fspId":"payeefsp"}'
    assert decode(ParticipantsTypeIDPutResponse, Version.V2_0, body).fsp_id == "payeefsp"


def test_a_registration_is_answered_in_the_references_own_form() -> None:
    assert json.loads(participant_registered("MSISDN", "123", "payeefsp", sub_id="home", currency="USD")) == {
        "partyList": [
            {"partyIdType": "MSISDN", "partyIdentifier": "123", "fspId": "payeefsp", "partySubIdOrType": "home"}
        ],
        "currency": "USD",
    }
    assert json.loads(participant_registered("MSISDN", "123", "payeefsp")) == {
        "partyList": [{"partyIdType": "MSISDN", "partyIdentifier": "123", "fspId": "payeefsp"}]
    }


@pytest.mark.parametrize("version", ALL)
def test_a_batch_result_names_each_party_and_what_refused_it(version: Version) -> None:
    good = PartyIdInfo(party_id_type="MSISDN", party_identifier="1", fsp_id="payeefsp")
    bad = PartyIdInfo(party_id_type="MSISDN", party_identifier="2", fsp_id="otherfsp")
    body = batch_result([(good, None), (bad, FspiopError(ErrorCode.PARTY_NOT_FOUND))], "USD")
    result = decode(ParticipantsIDPutResponse, version, body)
    assert result.currency == "USD"
    assert [item.party_id.party_identifier for item in result.party_list] == ["1", "2"]
    first, second = (item.error_information for item in result.party_list)
    assert first is None
    assert second is not None
    assert second.error_code == "3204"
