"""Who may do what on the operators' API.

Every route needs a role, by one table. A request shows a bearer token, or its connection a client certificate, which a
trusted gateway may pass on in a header instead; the credential names the operator and its roles (`vuka.switch.access`).
A token counts before a certificate: that may be the machine's, the token is the person's. Nobody known is 401; somebody
known who may not is 403; both say so with the generic client error 3000. What an operator changes is logged with its
name, and kept in the records that have a place for it.

Where authentication is not required anybody may do anything, which `access_warnings` says aloud; a valid token still
names who did it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vuka.api.hub import Hub
from vuka.api.identity import (
    BEARER,
    SECRET_PREFIX,
    Known,
    Peers,
    bearer_token,
    certificate_digest,
    certificate_identities,
    find,
    find_certificate,
    fingerprint,
    keys_pending,
    not_authenticated,
    secret_digest,
)
from vuka.api.tokens import AccessTokens, KeysPendingError, TokenError
from vuka.config import Config
from vuka.engine.auditlog import ACTING
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.render import error_body
from vuka.httpserver import NOBODY, Peer
from vuka.switch.access import CredentialKind, Role, allows, living_admins
from vuka.switch.directory import Directory
from vuka.switch.work import Actor, ActorKind

log: Final = structlog.get_logger("vuka.access")

EVERYBODY: Final = None
"""Needs no role: not even a token."""

_READ: Final = {"GET": Role.READ}

NEEDED_ROLES: Final[Mapping[str, Mapping[str, Role | None]]] = {
    "/health": {"GET": EVERYBODY},
    "/metrics": _READ,
    "/enums": _READ,
    # Who takes part.
    "/participants": {"GET": Role.READ, "POST": Role.OPERATE},
    "/participants/{name}": {"GET": Role.READ, "PUT": Role.OPERATE},
    "/participants/{name}/accounts": {"GET": Role.READ, "POST": Role.OPERATE},
    "/participants/{name}/endpoints": {"GET": Role.READ, "POST": Role.OPERATE},
    "/participants/{name}/version": {"PUT": Role.OPERATE},
    "/participants/{name}/keys": {"GET": Role.READ, "POST": Role.OPERATE},
    "/participants/{name}/keys/{fingerprint}": {"DELETE": Role.OPERATE},
    "/participants/{name}/signatures": {"GET": Role.READ, "PUT": Role.OPERATE},
    "/keys/hub": _READ,
    # How far it may go, and its money.
    "/participants/limits": _READ,
    "/participants/{name}/limits": {"GET": Role.READ, "PUT": Role.FINANCE},
    "/participants/{name}/initialPositionAndLimits": {"POST": Role.FINANCE},
    "/participants/{name}/positions": _READ,
    "/participants/{name}/accounts/{id}": {"PUT": Role.OPERATE, "POST": Role.FINANCE},
    "/participants/{name}/accounts/{id}/transfers/{transferId}": {"PUT": Role.FINANCE},
    # The scheme.
    "/settlementModels": {"GET": Role.READ, "POST": Role.FINANCE},
    "/settlementModels/{name}": {"GET": Role.READ, "PUT": Role.FINANCE},
    "/ledgerAccountTypes": {"GET": Role.READ, "POST": Role.FINANCE},
    # Settlement.
    "/v2/health": {"GET": EVERYBODY},
    "/v2/settlementWindows": _READ,
    "/v2/settlementWindows/{id}": {"GET": Role.READ, "POST": Role.FINANCE},
    "/v2/settlements": {"GET": Role.READ, "POST": Role.FINANCE},
    "/v2/settlements/{id}": {"GET": Role.READ, "PUT": Role.FINANCE},
    "/v2/settlements/{id}/finalise": {"POST": Role.FINANCE},
    "/v2/settlements/{sid}/participants/{pid}": {"GET": Role.READ, "PUT": Role.FINANCE},
    "/v2/settlements/{sid}/participants/{pid}/accounts/{aid}": {"GET": Role.READ, "PUT": Role.FINANCE},
    "/participants/{name}/bankAccounts": _READ,
    "/participants/{name}/bankAccounts/{currency}": {
        "GET": Role.READ,
        "PUT": Role.FINANCE,
        "DELETE": Role.FINANCE,
    },
    "/v2/settlements/{id}/instructions": _READ,
    "/v2/settlements/{id}/statements": {"GET": Role.READ, "POST": Role.FINANCE},
    "/v2/settlements/{id}/statements/check": {"POST": Role.FINANCE},
    "/v2/settlements/{id}/statements/{statement:int}": _READ,
    "/v2/settlements/{id}/statements/{statement:int}/files/{file:int}": _READ,
    "/settlementSchedules": {"GET": Role.READ, "POST": Role.FINANCE},
    "/settlementSchedules/{name}": {"GET": Role.READ, "PUT": Role.FINANCE, "DELETE": Role.FINANCE},
    "/transactions/{id}": _READ,
    "/transfers/{transferId}": _READ,
    # Who serves which party: by the oracles that the hub asks, and by its own.
    "/oracles": {"GET": Role.READ, "POST": Role.OPERATE},
    "/oracles/health": _READ,
    "/oracles/{ID}": {"PUT": Role.OPERATE, "DELETE": Role.OPERATE},
    "/oracle/parties": {"GET": Role.READ, "POST": Role.OPERATE, "DELETE": Role.OPERATE},
    "/oracle/health": _READ,
    "/oracle/participants": {"POST": Role.OPERATE},
    "/oracle/participants/{party:path}": {
        "GET": Role.READ,
        "POST": Role.OPERATE,
        "PUT": Role.OPERATE,
        "DELETE": Role.OPERATE,
    },
    "/rules/quotes": {"GET": Role.READ, "PUT": Role.OPERATE},
    "/rules/quotes/history": _READ,
    "/rules/quotes/try": {"POST": Role.READ},
    "/rules/fees": {"GET": Role.READ, "PUT": Role.FINANCE},
    "/rules/fees/history": _READ,
    "/rules/fees/try": {"POST": Role.READ},
    # What the hub owes.
    "/messages/parked": _READ,
    "/messages/queues": _READ,
    "/messages/{message_id:int}/resend": {"POST": Role.OPERATE},
    # What people are told.
    "/notifications": _READ,
    "/notifications/channels": _READ,
    "/notifications/test": {"POST": Role.OPERATE},
    "/notifications/resend": {"POST": Role.OPERATE},
    "/notifications/{id:int}": _READ,
    "/notifications/{id:int}/resend": {"POST": Role.OPERATE},
    "/alarms": _READ,
    # What was done, by whom.
    "/auditlog": _READ,
    "/auditlog/{seq:int}": _READ,
    "/auditlog/checkpoints": {"GET": Role.READ, "POST": Role.OPERATE},
    # Who may do what.
    "/credentials": {"GET": Role.READ, "POST": Role.ADMIN},
    "/credentials/{id}": {"DELETE": Role.ADMIN},
}
"""By path, as its route is declared, and method: the role that it takes. What is not here is for admins alone."""


class Operator(msgspec.Struct, frozen=True):
    """Who operates the hub in a request."""

    name: str
    roles: frozenset[str]
    credential_id: int | None = None
    """What it has shown; None where nobody asks, and of an authorization server's token."""


ANYBODY: Final = Operator("operator", frozenset((Role.ADMIN.value,)))
"""Whoever it is, where the hub does not ask."""

_OPERATOR: Final = "vuka.operator"
PEER: Final = "vuka.peer"
"""Under what the listener puts the `Peer` of a request's connection into its scope."""


def operator_name(request: Request) -> str:
    """Who makes a request, for the records."""
    operator = request.scope.get(_OPERATOR, ANYBODY)
    return operator.name if isinstance(operator, Operator) else ANYBODY.name


def may_operate(request: Request) -> bool:
    """Whether whoever makes a request may set where messages and alarms go, and may so be told of it."""
    operator = request.scope.get(_OPERATOR, ANYBODY)
    return isinstance(operator, Operator) and allows(operator.roles, Role.OPERATE)


def needed_role(path: str, method: str) -> Role | None:
    """The role that a route takes, `EVERYBODY` where it takes none."""
    methods = NEEDED_ROLES.get(path, {})
    return methods.get("GET" if method == "HEAD" else method, Role.ADMIN)


class OperatorAccess:
    """The middleware that lets operators in, or not."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub
        settings = hub.config.operators_api
        self._required = settings.requires_authentication
        self._peers = Peers(settings, "operators_api")
        self._certificate_header = settings.client_certificate_header.lower().encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            operator = self._let_in(scope)
        except FspiopError as refusal:
            await _refuse(refusal, send)
            return
        scope[_OPERATOR] = operator
        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        await self._recorded(operator, scope, receive, send)

    def _let_in(self, scope: Scope) -> Operator:
        """Who it is, if it may. Raises `FspiopError` 3000 with status 401 or 403."""
        tokens = [value for name, value in scope["headers"] if name == b"authorization"]
        certificate = self._certificate(scope) if not tokens else None
        known = self._operator(tokens[0].decode("latin-1"), scope) if len(tokens) == 1 else certificate
        shown_any = bool(tokens) or _peer(scope).certificate is not None
        if not (self._required and tokens):
            _refuse_other_sites(scope)
        if not self._required:
            return known or ANYBODY
        method, path = scope["method"], _declared_path(scope)
        needed = Role.READ if path is None else needed_role(path, method)
        if needed is EVERYBODY:
            return known or ANYBODY
        if known is None:
            log.info("nobody known is refused", method=method, path=scope["path"], shown_any=shown_any)
            raise not_authenticated(shown_any=shown_any)
        if not allows(known.roles, needed):
            log.info("an operator is refused", operator=known.name, method=method, path=scope["path"], needed=needed)
            detail = f"this takes the role {needed}; {known.name} has {', '.join(sorted(known.roles))}"
            authenticate = f'{BEARER}, error="insufficient_scope", scope="{needed}"'
            raise FspiopError(ErrorCode.CLIENT_ERROR, detail, status=403, headers=(("WWW-Authenticate", authenticate),))
        return known

    def _operator(self, authorization: str, scope: Scope) -> Operator | None:
        token = bearer_token(authorization)
        if token is None:
            return None
        if self._hub.tokens is not None and not token.startswith(SECRET_PREFIX):
            return self._by_access_token(self._hub.tokens, token, scope)
        credential = find(self._hub.directory, CredentialKind.TOKEN, secret_digest(token), self._hub.now_ms())
        if credential is None or credential.participant is not None:
            return None
        return Operator(credential.name, credential.roles, credential.credential_id)

    def _by_access_token(self, tokens: AccessTokens, token: str, scope: Scope) -> Operator | None:
        """Whose token of an authorization server it is. Raises `FspiopError` 2003 where that can't be told yet."""
        known = self._peers.known(_peer(scope))
        try:
            found = tokens.operator(token, fingerprint(known.identities or self._passed_on(scope, known)))
        except KeysPendingError:
            if self._required:
                raise keys_pending() from None
            return None
        except TokenError as error:
            log.info("a token is refused", reason=str(error))
            return None
        return Operator(found.name, found.roles)

    def _certificate(self, scope: Scope) -> Operator | None:
        """Whose certificate the connection shows, or the gateway passes on."""
        known, now_ms = self._peers.known(_peer(scope)), self._hub.now_ms()
        shown = known.digests if known.valid_until_ms > now_ms else ()
        passed_on = map(certificate_digest, self._passed_on(scope, known))
        credential = find_certificate(self._hub.directory, shown or passed_on, now_ms)
        if credential is None or credential.participant is not None:
            return None
        return Operator(credential.name, credential.roles, credential.credential_id)

    def _passed_on(self, scope: Scope, known: Known) -> Sequence[str]:
        """What a trusted gateway says of its client's certificate; nothing where it says two things."""
        if not self._certificate_header or not known.is_gateway:
            return ()
        said = [value for name, value in scope["headers"] if name == self._certificate_header]
        if len(said) != 1:
            return ()
        return certificate_identities(said[0].decode("latin-1"))

    async def _recorded(self, operator: Operator, scope: Scope, receive: Receive, send: Send) -> None:
        """Says in the log who changed what, and with which end."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                log.info(
                    "an operator's request",
                    operator=operator.name,
                    method=scope["method"],
                    path=scope["path"],
                    status=message["status"],
                )
            await send(message)

        # Whatever is submitted on the way is this operator's act.
        acting = ACTING.set(Actor(ActorKind.OPERATOR, operator.name, operator.credential_id))
        try:
            await self._app(scope, receive, noting)
        finally:
            ACTING.reset(acting)


def _peer(scope: Scope) -> Peer:
    peer = scope.get(PEER, NOBODY)
    return peer if isinstance(peer, Peer) else NOBODY


def _refuse_other_sites(scope: Scope) -> None:
    """Where nobody is asked who they are, a page of any site could have the operator's own browser ask.

    So it could where the browser has the operator's certificate, which it shows whoever has it ask. Browsers say that
    themselves (Fetch Metadata, ``Sec-Fetch-Site``); a token they would not have sent along.
    """
    if scope["method"] in ("GET", "HEAD") or (b"sec-fetch-site", b"cross-site") not in scope["headers"]:
        return
    log.warning("a page of another site is refused", method=scope["method"], path=scope["path"])
    raise FspiopError(ErrorCode.CLIENT_ERROR, "a page of another site may not operate this hub", status=403)


def _declared_path(scope: Scope) -> str | None:
    """The path of the route that will take a request, as it is declared; None where none will: 404 or 405."""
    routes: Sequence[BaseRoute] = scope["app"].routes
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            path = getattr(route, "path", "")
            return path if isinstance(path, str) else ""
    return None


async def _refuse(refusal: FspiopError, send: Send) -> None:
    body = error_body(refusal)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in refusal.headers]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def access_warnings(config: Config, directory: Directory, now_ms: int) -> Iterator[str]:
    """What whoever starts a hub should know: a sentence for each API that asks nobody, or lets nobody in."""
    participants, operators = config.participants_api, config.operators_api
    if not participants.requires_authentication:
        yield (
            f"The participants' API on {participants.host} is open: whoever reaches it can speak for any participant. "
            "Close it with participants_api.authentication = required."
        )
    if not operators.requires_authentication:
        yield (
            f"The operators' API on {operators.host} is open: whoever reaches it can do anything. "
            "Close it with operators_api.authentication = required."
        )
    elif not config.oauth.operators_audience and not living_admins(directory, now_ms):
        yield (
            "No operator has the role admin, so nobody can be let in. "
            f"Stop the hub and make a token with: vuka access recover --data {config.data_dir}"
        )
