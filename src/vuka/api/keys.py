"""``/participants/{name}/keys``: with which keys a participant's messages are checked; ``/keys/hub``: the hub's own.

The reference reads keys from a directory of files; here they are records that change without a restart.
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import path_name, read_body
from vuka.api.hub import Hub
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.jws import load_public_key
from vuka.fspiop.times import format_datetime_ms
from vuka.switch.keys import CHOICES, AddSigningKey, KeyDetails, RetireSigningKey, SetSignatures, keys
from vuka.switch.participants import participant_not_found

PEM_MAX: Final = 16_384


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    def known(name: str) -> list[KeyDetails]:
        if hub.directory.get(name) is None:
            raise participant_not_found()
        return hub.read(lambda tx, _ledger, directory: keys(tx, directory.participants[name].name))

    async def get(request: Request) -> Response:
        return _json([_shown(each) for each in known(path_name(request))])

    async def post(request: Request) -> Response:
        name = path_name(request)
        body = await read_body(request)
        text = body.text("publicKey", length_max=PEM_MAX)
        body.end()
        try:
            key = load_public_key(text)
        except ValueError as error:
            raise FspiopError(ErrorCode.VALIDATION_ERROR, f"publicKey: {error}") from None
        await hub.submit(
            AddSigningKey(
                name=name,
                algorithm=key.algorithm,
                public_key=key.pem,
                fingerprint=key.fingerprint,
                by=operator_name(request),
            )
        )
        return _json(_shown(next(each for each in known(name) if each.fingerprint == key.fingerprint)), 201)

    async def delete(request: Request) -> Response:
        fingerprint: str = request.path_params["fingerprint"]
        await hub.submit(RetireSigningKey(name=path_name(request), fingerprint=fingerprint.lower()))
        return Response(status_code=204)

    async def get_signatures(request: Request) -> Response:
        name = path_name(request)
        participant = hub.directory.get(name)
        if participant is None:
            raise participant_not_found()
        required = participant.signatures or ("REQUIRED" if hub.config.signatures.verify else "OFF")
        return _json({"name": name, "signatures": participant.signatures, "effective": required})

    async def put_signatures(request: Request) -> Response:
        name = path_name(request)
        body = await read_body(request)
        signatures = body.nullable_choice("signatures", CHOICES)
        body.end()
        await hub.submit(SetSignatures(name=name, signatures=signatures))
        return await get_signatures(request)

    async def get_hub(_request: Request) -> Response:
        key = hub.signing_public_key()
        if key is None:
            raise FspiopError(ErrorCode.ID_NOT_FOUND, "The hub does not sign: see signatures.hub_key_file")
        return _json({"algorithm": key.algorithm, "fingerprint": key.fingerprint, "publicKey": key.pem})

    return [
        Route("/participants/{name}/keys", get, methods=["GET"]),
        Route("/participants/{name}/keys", post, methods=["POST"]),
        Route("/participants/{name}/keys/{fingerprint}", delete, methods=["DELETE"]),
        Route("/participants/{name}/signatures", get_signatures, methods=["GET"]),
        Route("/participants/{name}/signatures", put_signatures, methods=["PUT"]),
        Route("/keys/hub", get_hub, methods=["GET"]),
    ]


def _shown(key: KeyDetails) -> dict[str, object]:
    answer: dict[str, object] = {
        "algorithm": key.algorithm,
        "fingerprint": key.fingerprint,
        "isActive": int(key.is_active),
        "createdDate": format_datetime_ms(key.created_ms),
        "createdBy": key.created_by,
        "publicKey": key.public_key,
    }
    if key.retired_ms is not None:
        answer["retiredDate"] = format_datetime_ms(key.retired_ms)
    return answer


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
