"""``/credentials``: letting participants and operators in, and no longer.

A token or an API key is made here, of 256 random bits, and told once, in the answer to the request that asked for it;
only its digest goes further. The reference has no such resource.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import read_query
from vuka.api.hub import Hub
from vuka.api.identity import (
    SECRET_PREFIX,
    certificate_digest,
    certificate_identities,
    registered_identity,
    secret_digest,
)
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms, parse_datetime_ms
from vuka.ids import FspId
from vuka.switch.access import (
    NAME_LENGTH_MAX,
    CredentialDetails,
    CredentialKind,
    IssueCredential,
    RevokeCredential,
    credentials,
)

SECRET_BYTES: Final = 32
BODY_BYTES_MAX: Final = 65_536
ID_DIGITS_MAX: Final = 15


class CredentialRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /credentials``: a participant's or an operator's."""

    participant: str | None = None
    operator: str | None = None
    kind: CredentialKind = CredentialKind.TOKEN
    certificate: str | None = None
    """Its PEM, SHA-256 fingerprint, subject (RFC 4514), or one name of it, as the hub or the gateway will see it."""
    name: str | None = None
    """A label for a participant's, for people; its name where there is none."""
    roles: tuple[str, ...] = ()
    expires_at: str | None = None
    """A DateTime; None: until it is revoked."""


def new_secret() -> str:
    """A token or an API key that nobody has."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""

    async def get(request: Request) -> Response:
        query = read_query(request)
        with_ended = query.flag("ended")
        query.end()
        now_ms = hub.now_ms()
        found = hub.read(lambda tx, _ledger, _directory: credentials(tx, with_ended=with_ended, now_ms=now_ms))
        return _json([_shown(each) for each in found])

    async def post(request: Request) -> Response:
        asked = await _body(request)
        made = _make(asked)
        command = IssueCredential(
            kind=asked.kind,
            digest=made.digest,
            participant=None if asked.participant is None else FspId(asked.participant),
            name=asked.operator or asked.name or made.label or asked.participant or "",
            roles=asked.roles,
            expires_ms=_expires_ms(asked),
            by=operator_name(request),
        )
        credential_id = await hub.submit(command)
        found = hub.read(lambda tx, _ledger, _directory: credentials(tx, with_ended=True))
        answer = _shown(next(each for each in found if each.credential_id == credential_id))
        if made.secret is not None:
            answer["secret"] = made.secret
        response = _json(answer, 201)
        response.headers["cache-control"] = "no-store"
        return response

    async def delete(request: Request) -> Response:
        await hub.submit(RevokeCredential(credential_id=_path_id(request)))
        return Response(status_code=204)

    return [
        Route("/credentials", get, methods=["GET"]),
        Route("/credentials", post, methods=["POST"]),
        Route("/credentials/{id}", delete, methods=["DELETE"]),
    ]


async def _body(request: Request) -> CredentialRequest:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES_MAX:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {BODY_BYTES_MAX} bytes", status=413)
    try:
        asked = msgspec.json.decode(bytes(content), type=CredentialRequest)
    except msgspec.ValidationError as error:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "the body is not JSON") from None
    if (asked.participant is None) == (asked.operator is None):
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "either participant or operator is required")
    if asked.operator is not None and asked.name is not None:
        raise FspiopError(ErrorCode.TOO_MANY_ELEMENTS, "name is for a participant's: an operator has its own")
    return asked


class _Made(msgspec.Struct, frozen=True):
    """A credential as it is made: what is told of it, what is kept of it, and what people may call it."""

    secret: str | None
    """None for a certificate: its holder has it already."""
    digest: bytes
    label: str = ""


def _make(asked: CredentialRequest) -> _Made:
    """Raises `FspiopError` where a certificate is wanted and not given, or the other way round."""
    if asked.kind is not CredentialKind.CERTIFICATE:
        if asked.certificate is not None:
            raise FspiopError(ErrorCode.TOO_MANY_ELEMENTS, f"certificate is not for kind {asked.kind}")
        secret = new_secret()
        return _Made(secret, secret_digest(secret))
    if asked.certificate is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "certificate is required for kind CERTIFICATE")
    identity = registered_identity(asked.certificate)
    if identity is None:
        detail = "certificate must be a PEM, a SHA-256 fingerprint, a subject (CN=a,O=b) or a name (cn:a, dns:a.test)"
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, detail)
    subjects = [each for each in certificate_identities(asked.certificate) if each.startswith("subject:")]
    name = subjects[0].removeprefix("subject:") if subjects else identity.removeprefix("sha256:")
    label = name[:NAME_LENGTH_MAX].strip()
    return _Made(None, certificate_digest(identity), label if label.isprintable() else "")


def _expires_ms(asked: CredentialRequest) -> int | None:
    if asked.expires_at is None:
        return None
    try:
        return parse_datetime_ms(asked.expires_at)
    except ValueError:
        detail = "expiresAt must be a DateTime such as 2030-01-31T12:00:00.000Z"
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, detail) from None


def _path_id(request: Request) -> int:
    text = request.path_params["id"]
    if not text.isascii() or not text.isdigit() or len(text) > ID_DIGITS_MAX:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "'id' URI path parameter")
    return int(text)


def _shown(credential: CredentialDetails) -> dict[str, object]:
    answer: dict[str, object] = {"credentialId": credential.credential_id, "kind": credential.kind.value}
    if credential.participant is not None:
        answer |= {"participant": credential.participant, "name": credential.name}
    else:
        answer |= {"operator": credential.name, "roles": list(credential.roles)}
    answer |= {
        "createdDate": format_datetime_ms(credential.created_ms),
        "createdBy": credential.created_by,
        "expiresAt": _moment(credential.expires_ms),
    }
    if credential.revoked_ms is not None:
        answer["revokedAt"] = format_datetime_ms(credential.revoked_ms)
    return answer


def _moment(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_datetime_ms(time_ms)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
