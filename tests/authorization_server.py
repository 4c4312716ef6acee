"""A little authorization server: hands out access tokens by the client-credentials flow, and tells its keys."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from vuka.sim.server import Answer, Inquiry, Server

ISSUER = "https://login.scheme.example"
PARTICIPANTS, OPERATORS = "hub-participants", "hub-operators"


class AuthorizationServer:
    """Clients with a secret each, and what their tokens say of them."""

    def __init__(self, key: RSAKey | ECKey | None = None) -> None:
        self.keys = [key or new_key("first")]
        self.clients: dict[str, tuple[str, dict[str, Any]]] = {}
        """The secret and the claims of each client."""
        self.asked = 0
        """How often its keys were asked for."""
        self.status = 200
        self.server = Server(self._answer)

    @property
    def keys_url(self) -> str:
        """Where its keys are."""
        return f"{self.server.url}/keys"

    def key_set(self) -> bytes:
        """Its public keys, as it tells them."""
        return json.dumps(KeySet(self.keys).as_dict(private=False)).encode()

    def token(self, *, alg: str = "ES256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token signed with its newest key; None leaves a claim out."""
        now = int(time.time())
        said = {"iss": ISSUER, "aud": PARTICIPANTS, "sub": "x", "iat": now, "exp": now + 300, **claims}
        key = self.keys[-1]
        made = {"alg": alg, "kid": key.kid, **(header or {})}
        made = {name: value for name, value in made.items() if value is not None}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(made, said, key, algorithms=["RS256", "PS256", "ES256", "RS512", "HS256"])

    def _answer(self, inquiry: Inquiry) -> Answer:
        if inquiry.path == "/keys":
            self.asked += 1
            return Answer(self.status, self.key_set())
        asked = parse_qs(inquiry.body.decode())
        scheme, _, given = inquiry.headers.get("authorization", "").partition(" ")
        client, _, secret = base64.b64decode(given).decode().partition(":")
        known, claims = self.clients.get(client, ("", {}))
        if inquiry.path != "/token" or scheme != "Basic" or not known or secret != known:
            return Answer(401, b'{"error": "invalid_client"}')
        if asked.get("grant_type") != ["client_credentials"]:
            return Answer(400, b'{"error": "unsupported_grant_type"}')
        token = self.token(client_id=client, sub=client, **claims)
        return Answer(200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 300}).encode())


def new_key(kid: str, kind: str = "EC", **parameters: str) -> RSAKey | ECKey:
    """A key to sign tokens with."""
    said: Any = {"kid": kid, **parameters}
    return ECKey.generate_key("P-256", said) if kind == "EC" else RSAKey.generate_key(2048, said)
