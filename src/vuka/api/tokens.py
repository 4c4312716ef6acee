"""Access tokens of authorization servers (OAuth 2.0): who shows one, found out here, without asking the server.

Participants and operators get them at the scheme's own server, by the client-credentials flow or by logging in there,
and show them as bearer tokens (RFC 6750). The hub checks signature, issuer, audience and times (RFC 7519, RFC 9068,
RFC 8725), and takes a participant's name, or an operator's name and roles, from the claims that the configuration
names. Each API has an audience of its own: a participant's token operates nothing. A token that is bound to a
certificate (RFC 8705) holds for whoever shows that certificate too.

Keys are read from a file or fetched from the server's key set (RFC 7517 §5), in the background: no request waits for a
server that is slow. An unknown key is asked for at most once in `oauth.refresh_seconds_min`, so nobody can have the hub
ask the server at will. What was found out about a token is remembered until the token ends, by its SHA-256.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog

from vuka.config import Config, OAuth
from vuka.errors import OperatorError
from vuka.httpclient import HttpClient, Request, TransportError, believing
from vuka.ids import HUB, FspId
from vuka.switch.access import NAME_LENGTH_MAX, Role

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

log: Final = structlog.get_logger("vuka.tokens")

ALGORITHMS: Final = ("RS256", "PS256", "ES256")
"""What a token may be signed with. Never ``none``, and never a secret that the hub would have to share."""

TOKEN_LENGTH_MAX: Final = 8_192
"""Characters of a token: what is longer is not looked at."""

TOKENS_KEPT_MAX: Final = 10_000
"""Tokens that are remembered; beyond that the one unused for longest is checked anew when it comes again."""

KEYS_MAX: Final = 100
"""Keys of one issuer."""

RSA_BITS_MIN: Final = 2_048

_TYPES: Final = frozenset(("", "jwt", "at+jwt", "application/at+jwt"))
_KINDS: Final = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
_SECOND_MS: Final = 1_000

Claims = Mapping[str, object]


class TokenError(Exception):
    """A token lets nobody in; the message says why, for the log, without anything of the token that is secret."""


class KeysPendingError(TokenError):
    """Whether it does can't be told yet: its issuer's keys are on their way."""


class TokenOperator(msgspec.Struct, frozen=True):
    """Whom an operator's token names."""

    name: str
    """For the records; with its issuer behind it where there are several."""
    roles: frozenset[str]


class _Key(msgspec.Struct, frozen=True):
    kid: str
    kind: str
    algorithm: str
    """The only one that it is for; empty: any of its kind."""
    key: RSAKey | ECKey


class _Issuer:
    """One authorization server, and the keys that it signs with."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.is_url = "://" in source
        self.keys: tuple[_Key, ...] = ()
        self.raw = b""
        self.has_keys = False
        """Whether they have ever been read."""
        self.asked_ms = -(1 << 62)
        """When they were last asked for."""
        self.read_ms = -(1 << 62)
        """When they last came."""
        self.asking: asyncio.Task[None] | None = None


class AccessTokens:
    """Checks the tokens of the servers that the configuration names. Made for one event loop."""

    def __init__(self, settings: OAuth, now_ms: Callable[[], int]) -> None:
        """Raises `OperatorError` where the configuration does not fit together, or a file of keys will not do."""
        self._settings = settings
        self._now_ms = now_ms
        self._leeway_ms = settings.leeway_seconds * _SECOND_MS
        self._algorithms = frozenset(_parts(settings.algorithms))
        self._issuers = {each.name: each for each in _issuers(settings)}
        self._participants = _participants_mapping(settings.participants, self._issuers)
        self._roles = _roles_mapping(settings.roles, self._issuers)
        self._checked: OrderedDict[bytes, tuple[Claims, int]] = OrderedDict()
        self._client: HttpClient | None = None
        self._following: asyncio.Task[None] | None = None
        for issuer in self._issuers.values():
            if not issuer.is_url:
                self._read_file(issuer)

    # --- keys -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Asks for the keys. A server that does not answer is asked again later, and meanwhile its tokens are refused.

        Raises `OperatorError` where the file of authorities will not do.
        """
        settings = self._settings
        try:
            tls = believing(settings.ca_file)
        except OSError as error:
            raise OperatorError(f"{settings.ca_file} can't be used: {error.strerror}. See oauth.ca_file.") from None
        self._client = HttpClient(
            connect_timeout_ms=settings.timeout_ms, timeout_ms=settings.timeout_ms, tls=tls, user_agent="vuka"
        )
        await asyncio.gather(*(self._fetch(each) for each in self._issuers.values() if each.is_url))
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Asks nobody any more."""
        tasks = [each.asking for each in self._issuers.values()]
        for task in (self._following, *tasks):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._client is not None:
            await self._client.close()

    async def _follow(self) -> None:
        """Asks for keys from time to time: those that a server has withdrawn must not count for ever.

        One that does not tell them is soon asked again.
        """
        while True:
            await asyncio.sleep(min(self._settings.refresh_seconds_min, self._settings.refresh_seconds))
            for issuer in self._issuers.values():
                if not issuer.is_url:
                    with contextlib.suppress(OperatorError):
                        self._read_file(issuer)
                elif self._is_due(issuer):
                    await self._fetch(issuer)

    def _is_due(self, issuer: _Issuer) -> bool:
        """Whether its keys are too old to be believed without asking."""
        return self._now_ms() - issuer.read_ms >= self._settings.refresh_seconds * _SECOND_MS

    def _age_ms(self, issuer: _Issuer) -> int:
        return self._now_ms() - issuer.asked_ms

    def _ask_anew(self, issuer: _Issuer) -> bool:
        """Whether its keys may soon be others than those that are known."""
        if not issuer.is_url:
            return False
        if issuer.asking is not None and not issuer.asking.done():
            return True
        if self._client is None or self._age_ms(issuer) < self._settings.refresh_seconds_min * _SECOND_MS:
            return False
        issuer.asking = asyncio.get_running_loop().create_task(self._fetch(issuer))
        return True

    async def _fetch(self, issuer: _Issuer) -> None:
        issuer.asked_ms = self._now_ms()
        assert self._client is not None  # noqa: S101 - asked only once it is started
        try:
            answer = await self._client.send(Request("GET", issuer.source, [("Accept", "application/json")]))
        except TransportError as error:
            log.warning("an issuer's keys can't be fetched", issuer=issuer.name, url=issuer.source, error=str(error))
            return
        if answer.status != 200:
            log.warning(
                "an issuer's keys can't be fetched", issuer=issuer.name, url=issuer.source, status=answer.status
            )
            return
        try:
            self._take(issuer, answer.body)
        except ValueError as error:
            log.warning("an issuer's keys will not do", issuer=issuer.name, url=issuer.source, error=str(error))

    def _read_file(self, issuer: _Issuer) -> None:
        """Raises `OperatorError`; keys that were read before stay."""
        try:
            self._take(issuer, Path(issuer.source).read_bytes())
        except OSError as error:
            fault = f"{issuer.source} can't be read: {error.strerror}. See oauth.keys."
        except ValueError as error:
            fault = f"{issuer.source} will not do: {error}. See oauth.keys."
        else:
            return
        log.warning("an issuer's keys can't be read", issuer=issuer.name, error=fault)
        raise OperatorError(fault)

    def _take(self, issuer: _Issuer, raw: bytes) -> None:
        """Takes keys into use, if they are others than before. Raises `ValueError`.

        Whoever has withdrawn all its keys has none. One that never had any is more likely to be set up wrongly.
        """
        keys = issuer.keys if issuer.has_keys and raw == issuer.raw else _keys(raw)
        if not keys and not issuer.has_keys:
            raise ValueError("it holds no key for RS256, PS256 or ES256")
        issuer.read_ms = self._now_ms()
        if issuer.has_keys and raw == issuer.raw:
            return
        issuer.keys, issuer.raw, issuer.has_keys = keys, raw, True
        # What was signed with a key that is gone must not be remembered as good.
        self._checked.clear()
        log.info("an issuer's keys are in use", issuer=issuer.name, keys=[each.kid for each in issuer.keys])

    # --- tokens -----------------------------------------------------------------------------------------------------

    def participant(self, token: str, fingerprint: str = "") -> FspId:
        """The participant whose token it is. Raises `TokenError`.

        ``fingerprint``: the SHA-256 (hexadecimal) of the certificate that its bearer has shown, if any.
        """
        settings = self._settings
        claims = self._claims(token, settings.participants_audience)
        _check_bearer(claims, fingerprint)
        value = _claim(claims, settings.participant_claim)
        if not isinstance(value, str) or not value:
            raise TokenError(f"a token without the claim {settings.participant_claim}")
        named = [self._participants[key] for key in _keys_of(claims, value) if key in self._participants]
        name = value if not self._participants else next(iter(named), None)
        if name is None:
            said = f"{value[:64]!r} of {claims['iss']}"
            raise TokenError(f"a token of {said}, which oauth.participants does not name")
        if name == HUB:
            raise TokenError("a token of the hub itself, for which nobody else speaks")
        return FspId(name)

    def operator(self, token: str, fingerprint: str = "") -> TokenOperator:
        """The operator whose token it is; ``fingerprint`` as above. Raises `TokenError`."""
        settings = self._settings
        claims = self._claims(token, settings.operators_audience)
        _check_bearer(claims, fingerprint)
        name = _claim(claims, settings.operator_claim)
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_LENGTH_MAX or not name.isprintable():
            raise TokenError(f"a token whose claim {settings.operator_claim} is no name")
        said = _claim(claims, settings.roles_claim)
        values = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
        keys = [key for each in values if isinstance(each, str) for key in _keys_of(claims, each)]
        roles = frozenset(role for key in keys for role in self._roles.get(key, ()))
        if not roles:
            raise TokenError(f"a token of {name!r}, whose claim {settings.roles_claim} has no role of this hub")
        # Of several servers each has its own alice: one is not to act in the name of the other's.
        return TokenOperator(name if len(self._issuers) == 1 else f"{name} ({claims['iss']})", roles)

    def _claims(self, token: str, audience: str) -> Claims:
        """What a token says, if it holds for this audience now. Raises `TokenError`."""
        if not audience:
            raise TokenError("a token of an authorization server, of which this API takes none")
        digest = hashlib.sha256(f"{audience}\n{token}".encode("utf-8", "surrogatepass")).digest()
        known = self._checked.get(digest)
        now_ms = self._now_ms()
        if known is not None:
            if known[1] <= now_ms:
                del self._checked[digest]
                raise TokenError("a token that has expired")
            self._checked.move_to_end(digest)
            return known[0]
        claims, until_ms = self._check(token, audience, now_ms)
        self._checked[digest] = claims, until_ms
        if len(self._checked) > TOKENS_KEPT_MAX:
            self._checked.popitem(last=False)
        return claims

    def _check(self, token: str, audience: str, now_ms: int) -> tuple[Claims, int]:
        """A token's claims, and until when they hold. Raises `TokenError`."""
        if len(token) > TOKEN_LENGTH_MAX:
            raise TokenError(f"a token of more than {TOKEN_LENGTH_MAX} characters")
        parts = token.split(".")
        if len(parts) != 3:
            raise TokenError("an Authorization that is none of the hub's and no JWT")
        header, claims = _object(parts[0]), _object(parts[1])
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms or algorithm not in ALGORITHMS:
            raise TokenError("a token whose alg is not allowed")
        if not isinstance(kid, str) or str(header.get("typ", "")).lower() not in _TYPES or "crit" in header:
            raise TokenError("a token whose header is not that of an access token")
        issuer = self._issuers.get(str(claims.get("iss")))
        if issuer is None:
            raise TokenError("a token of an issuer that oauth.issuers does not name")
        key = self._key(issuer, algorithm, kid)
        from joserfc import jws
        from joserfc.errors import JoseError

        try:
            jws.deserialize_compact(token, key.key, algorithms=[algorithm])
        except (JoseError, ValueError, TypeError):
            raise TokenError(f"a token whose signature is not of {issuer.name}") from None
        return claims, self._until_ms(claims, audience, now_ms)

    def _key(self, issuer: _Issuer, algorithm: str, kid: str) -> _Key:
        fitting = [
            each
            for each in issuer.keys
            if each.kind == _KINDS[algorithm] and each.algorithm in ("", algorithm) and (not kid or each.kid == kid)
        ]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise TokenError(f"a token that does not say with which key {issuer.name} has signed it")
        if self._ask_anew(issuer) or not issuer.has_keys:
            raise KeysPendingError(f"a token of {issuer.name}, whose keys are not known yet")
        raise TokenError(f"a token signed with a key that {issuer.name} does not have")

    def _until_ms(self, claims: Claims, audience: str, now_ms: int) -> int:
        said = claims.get("aud")
        if audience not in (said if isinstance(said, list) else [said]):
            raise TokenError("a token for another audience")
        expires_ms = _time_ms(claims, "exp")
        if expires_ms is None:
            raise TokenError("a token without an end")
        until_ms = expires_ms + self._leeway_ms
        if until_ms <= now_ms:
            raise TokenError("a token that has expired")
        for name in ("nbf", "iat"):
            begins_ms = _time_ms(claims, name)
            if begins_ms is not None and begins_ms - self._leeway_ms > now_ms:
                raise TokenError(f"a token whose {name} lies ahead")
        return until_ms


def access_tokens(config: Config, now_ms: Callable[[], int]) -> AccessTokens | None:
    """What checks tokens of authorization servers; None where the configuration names none.

    Raises `OperatorError` where it does not fit together.
    """
    settings = config.oauth
    if not settings.issuers:
        return None
    for audience, listener, section in (
        (settings.participants_audience, config.participants_api, "participants"),
        (settings.operators_audience, config.operators_api, "operators"),
    ):
        if audience and not listener.requires_authentication:
            raise OperatorError(
                f"oauth.{section}_audience is set, and {section}_api asks nobody who they are. "
                f"Say {section}_api.authentication = required."
            )
    if not settings.participants_audience and not settings.operators_audience:
        raise OperatorError("oauth.issuers needs oauth.participants_audience or oauth.operators_audience beside it.")
    if settings.participants_audience == settings.operators_audience:
        raise OperatorError(
            "oauth.participants_audience and oauth.operators_audience are the same: "
            "a participant's token would be an operator's too."
        )
    return AccessTokens(settings, now_ms)


# --- the configuration ------------------------------------------------------------------------------------------------


def _parts(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _issuers(settings: OAuth) -> list[_Issuer]:
    names, sources = _parts(settings.issuers), _parts(settings.keys)
    if len(names) != len(sources) or len(set(names)) != len(names):
        raise OperatorError("oauth.keys must name a file or URL for each of oauth.issuers, in their order.")
    for source in sources:
        if "://" in source and "@" in source.partition("://")[2].partition("/")[0]:
            # The log names the URL, and `vuka config` shows it.
            raise OperatorError(
                "oauth.keys has a URL with a user name or a password: key sets are public, leave it out."
            )
        if "://" in source and not _is_safe(source):
            raise OperatorError(
                f"{source} must be a URL of https, for whoever changes keys on their way may be anybody."
            )
    return [_Issuer(name, source) for name, source in zip(names, sources, strict=True)]


def _is_safe(url: str) -> bool:
    """Whether nobody can change what comes from there: it comes by TLS, or does not leave this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_local))


_Said = tuple[str, str]
"""An issuer and what it says; without one, whoever says it."""


def _keys_of(claims: Claims, value: str) -> tuple[_Said, _Said]:
    """Where a claim's value may stand in a mapping: that of its issuer before that of any."""
    return (str(claims["iss"]), value), ("", value)


def _mapping(text: str, name: str, issuers: Collection[str]) -> list[tuple[_Said, str]]:
    """``value=name`` or ``issuer value=name`` between commas. Raises `OperatorError`."""
    pairs: list[tuple[_Said, str]] = []
    for part in _parts(text):
        said, _, whose = (each.strip() for each in part.rpartition("="))
        issuer = next((each for each in issuers if said.startswith(f"{each} ")), "")
        value = said.removeprefix(issuer).strip()
        if not value or not whose:
            raise OperatorError(f"{name} must hold pairs such as a-value=a-name, separated by commas.")
        if "://" in value.partition(" ")[0] and " " in value:
            raise OperatorError(f"{name} has {value.partition(' ')[0]}, which oauth.issuers does not name.")
        pairs.append(((issuer, value), whose))
    return pairs


def _participants_mapping(text: str, issuers: Collection[str]) -> dict[_Said, str]:
    pairs = _mapping(text, "oauth.participants", issuers)
    found = dict(pairs)
    for said, whose in pairs:
        if found[said] != whose:
            raise OperatorError(
                f"oauth.participants says of {said[1]} that it is {whose} and that it is {found[said]}."
            )
    return found


def _roles_mapping(text: str, issuers: Collection[str]) -> dict[_Said, list[str]]:
    """The roles of this hub by a claim's values; without a mapping each goes by its own name."""
    if not text:
        return {("", role.value): [role.value] for role in Role}
    found: dict[_Said, list[str]] = {}
    for said, role in _mapping(text, "oauth.roles", issuers):
        if role not in set(Role):
            raise OperatorError(f"oauth.roles names {role}: roles are {', '.join(Role)}.")
        found.setdefault(said, []).append(role)
    return found


# --- JSON -------------------------------------------------------------------------------------------------------------


def _object(part: str) -> dict[str, Any]:
    """A part of a token as a JSON object. Raises `TokenError`."""
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TokenError("an Authorization that is none of the hub's and no JWT")
    return found


def _check_bearer(claims: Claims, fingerprint: str) -> None:
    """A token that is bound to a certificate (RFC 8705 §3.1) is for whoever shows it. Raises `TokenError`.

    One that is bound to something else, of which the hub sees no proof, is for nobody.
    """
    bound = claims.get("cnf")
    if bound is None:
        return
    digest = bound.get("x5t#S256") if isinstance(bound, dict) and len(bound) == 1 else None
    if not isinstance(digest, str):
        raise TokenError("a token that is bound to what the hub does not ask for")
    if not fingerprint or digest.rstrip("=").encode() != base64.urlsafe_b64encode(bytes.fromhex(fingerprint)).rstrip(
        b"="
    ):
        raise TokenError("a token that is bound to a certificate which its bearer does not show")


def _claim(claims: Claims, name: str) -> object:
    """A claim by its name; by a path with dots where it lies in others (``realm_access.roles``)."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _time_ms(claims: Claims, name: str) -> int | None:
    """A NumericDate (RFC 7519 §2) in milliseconds. Raises `TokenError`."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise TokenError(f"a token whose {name} is no time")
    return int(value * _SECOND_MS)


def _keys(raw: bytes) -> tuple[_Key, ...]:
    """The keys of a set that tokens may be signed with. Raises `ValueError` with a phrase where it is no set."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        found = None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no key set: a JSON object with keys")  # noqa: TRY004 - of what was read
    if len(listed) > KEYS_MAX:
        raise ValueError(f"it holds more than {KEYS_MAX} keys")
    return tuple(key for each in listed if (key := _usable(each)) is not None)


def _usable(said: object) -> _Key | None:
    """One key of a set; None where it is none to check access tokens with."""
    if not isinstance(said, dict) or said.get("use", "sig") != "sig":
        return None
    # Imported where tokens are believed: commands, and most hubs, do without.
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, RSAKey

    kind, kid, algorithm = said.get("kty"), said.get("kid", ""), said.get("alg", "")
    if not isinstance(kid, str) or (algorithm and algorithm not in ALGORITHMS):
        return None
    try:
        if kind == "RSA":
            rsa = RSAKey.import_key({name: said[name] for name in ("kty", "n", "e")})
            return _Key(kid, kind, algorithm, rsa) if rsa.raw_value.key_size >= RSA_BITS_MIN else None
        if kind == "EC" and said.get("crv") == "P-256":
            return _Key(kid, kind, algorithm, ECKey.import_key({name: said[name] for name in ("kty", "crv", "x", "y")}))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None
