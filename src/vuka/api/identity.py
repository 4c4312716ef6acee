"""Who a participant's request is from: a token, an API key or a certificate, and what it must agree with.

Where authentication is required a request shows who sends it (``Authorization: Bearer``, ``X-Api-Key``, the client
certificate of its connection, or a header in which a trusted gateway passes on what it has found out), and what it
shows must be the participant that it says it is from: ``FSPIOP-Source``, or ``FSPIOP-Proxy`` of a registered proxy.
`vuka.fspiop.headers.check_request` compares them (3100, hub reference §1.3). Nobody, or a credential that lets nobody
in, is 401 with the generic client error 3000, since FSPIOP has no code of its own for it; the answer is the same for
one that never was, has expired or was revoked.

No secret is ever compared: a credential is found by the SHA-256 of 256 random bits, so how long the look-up takes tells
nothing about any other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from vuka.api.tokens import AccessTokens, KeysPendingError, TokenError
from vuka.config import Listener, ParticipantsApi
from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.fspiop.headers import Headers
from vuka.httpserver import NOBODY, Peer
from vuka.ids import FspId
from vuka.switch.access import CredentialKind
from vuka.switch.directory import Credential, Directory

log: Final = structlog.get_logger("vuka.access")

SECRET_PREFIX: Final = "vuka_"  # noqa: S105 - what every secret of ours begins with
"""Tells our tokens from a gateway's own, and lets scanners find one that was published by mistake."""

BEARER: Final = 'Bearer realm="vuka"'
_INVALID_TOKEN: Final = BEARER + ', error="invalid_token"'

CERTIFICATES_KEPT_MAX: Final = 512
"""Certificate headers whose meaning is remembered: a gateway sends the same few for every request."""
CERTIFICATE_LENGTH_MAX: Final = 16_384

_FINGERPRINT: Final = re.compile(r"(?:sha-?256[:=])?((?:[0-9a-f]{2}:?){32})", re.IGNORECASE)
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_PEM_BEGINS: Final = "-----BEGIN"
"""With it no subject begins: what stands inside of one is never taken for a certificate."""
_NAMED: Final = re.compile(r"(cn|dns|uri|email|ip):([!-~]+(?: [!-~]+)*)", re.IGNORECASE)
"""One name of a certificate to register it by, and what kind it is."""
_UNREADABLE: Final = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_NO_CERTIFICATE: Final = ("", "(null)")
"""What gateways pass on where the client showed none."""

# What OpenSSL calls the attributes of a name that RFC 4514 gives no short name.
_ATTRIBUTES: Final = {
    "emailAddress": x509.NameOID.EMAIL_ADDRESS,
    "serialNumber": x509.NameOID.SERIAL_NUMBER,
    "GN": x509.NameOID.GIVEN_NAME,
    "SN": x509.NameOID.SURNAME,
    "title": x509.NameOID.TITLE,
    "dnQualifier": x509.NameOID.DN_QUALIFIER,
    "organizationIdentifier": x509.NameOID.ORGANIZATION_IDENTIFIER,
    "businessCategory": x509.NameOID.BUSINESS_CATEGORY,
    "jurisdictionC": x509.NameOID.JURISDICTION_COUNTRY_NAME,
    "postalCode": x509.NameOID.POSTAL_CODE,
    "street": x509.NameOID.STREET_ADDRESS,
}


# --- credentials ------------------------------------------------------------------------------------------------------


def secret_digest(secret: str) -> bytes:
    """Under what a token or an API key is filed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def find(directory: Directory, kind: CredentialKind, digest: bytes, now_ms: int) -> Credential | None:
    """The credential of that digest if it is of that kind and has not expired. Those revoked are not there at all."""
    credential = directory.credentials.get(digest)
    if credential is None:
        return None
    # A subject or a fingerprint is no secret: shown as a token it must not pass.
    if credential.kind != kind:
        return None
    if credential.expires_ms is not None and credential.expires_ms <= now_ms:
        return None
    return credential


def _shown(identities: Iterable[str]) -> str:
    """A certificate as operators are told of it: by what it alone has."""
    return " ".join(each for each in identities if each.startswith(("sha256:", "subject:")))


def find_certificate(directory: Directory, digests: Iterable[bytes], now_ms: int) -> Credential | None:
    """The credential of a certificate: that of its most exact identity which is registered and holds."""
    for digest in digests:
        credential = find(directory, CredentialKind.CERTIFICATE, digest, now_ms)
        if credential is not None:
            return credential
    return None


def bearer_token(authorization: str) -> str | None:
    """The token of an ``Authorization`` header (RFC 6750 §2.1), None where it is of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def fingerprint(identities: Iterable[str]) -> str:
    """The SHA-256 of a certificate (hexadecimal) among what it may be registered under; empty where it is not known."""
    return next((each.removeprefix("sha256:") for each in identities if each.startswith("sha256:")), "")


def registered_identity(text: str) -> str | None:
    """Under what a certificate is registered that an operator names so; None where it names none.

    ``text`` is what `certificate_identities` reads, of which the most exact counts, or one name that every certificate
    of its holder has: ``cn:``, ``dns:``, ``uri:``, ``email:`` or ``ip:`` and the common name or the alternative name.
    """
    named = _NAMED.fullmatch(text.strip())
    if named is None:
        return next(iter(certificate_identities(text)), None)
    kind, name = named[1].lower(), named[2]
    if kind != "ip":
        return f"{kind}:{name.lower() if kind == 'dns' else name}"
    try:
        return f"ip:{ipaddress.ip_address(name)}"
    except ValueError:
        return None


def certificate_identities(text: str) -> tuple[str, ...]:
    """What a certificate may be registered under, the most exact first: fingerprint, subject, alternative names, CN.

    ``text`` is a fingerprint (hexadecimal, with or without colons), a certificate (PEM, also URL-encoded or with spaces
    for line ends, or RFC 9440's ``:base64:``), or a subject as RFC 4514 writes it. Empty where it is none of them.
    """
    text = text.strip()
    if len(text) > CERTIFICATE_LENGTH_MAX:
        return ()
    fingerprint = _FINGERPRINT.fullmatch(text)
    if fingerprint is not None:
        return (f"sha256:{fingerprint[1].replace(':', '').lower()}",)
    if text.startswith(_PEM_BEGINS):
        pem = _PEM.match(unquote(text))
        return _of_certificate("".join(pem[1].split())) if pem is not None else ()
    if len(text) > 2 and text[0] == text[-1] == ":":
        return _of_certificate(text[1:-1])
    return _of_subject(text)


def _of_certificate(base64_der: str) -> tuple[str, ...]:
    try:
        return _identities(x509.load_der_x509_certificate(base64.b64decode(base64_der, validate=True)))
    except (binascii.Error, *_UNREADABLE):
        return ()


def _identities(certificate: x509.Certificate) -> tuple[str, ...]:
    """Raises one of `_UNREADABLE` where it can't be read."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return (
        f"sha256:{certificate.fingerprint(SHA256()).hex()}",
        *_identities_of_subject(certificate.subject)[:1],
        *(f"dns:{each.lower()}" for each in names.get_values_for_type(x509.DNSName)),
        *(f"uri:{each}" for each in names.get_values_for_type(x509.UniformResourceIdentifier)),
        *(f"email:{each}" for each in names.get_values_for_type(x509.RFC822Name)),
        *(f"ip:{each}" for each in names.get_values_for_type(x509.IPAddress)),
        *_identities_of_subject(certificate.subject)[1:],
    )


def _of_subject(text: str) -> tuple[str, ...]:
    """The subject in one spelling. The old form with slashes is not read: a slash in a value would start another."""
    try:
        return _identities_of_subject(x509.Name.from_rfc4514_string(text, _ATTRIBUTES))
    except ValueError:
        return ()


def _identities_of_subject(subject: x509.Name) -> tuple[str, ...]:
    """The whole of it, and its common name. Of several common names none is told apart."""
    text = subject.rfc4514_string()
    if not text:
        return ()
    common = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return (f"subject:{text}", f"cn:{common[0].value!s}") if len(common) == 1 else (f"subject:{text}",)


def certificate_digest(identity: str) -> bytes:
    """Under what one identity of a certificate is filed."""
    return hashlib.sha256(f"certificate {identity}".encode()).digest()


def _certificate_digests(text: str) -> tuple[bytes, ...]:
    return tuple(map(certificate_digest, certificate_identities(text)))


# --- connections ------------------------------------------------------------------------------------------------------


class Known(msgspec.Struct, frozen=True):
    """What a connection tells of its peer, found out once."""

    is_gateway: bool
    """Whether what it says in headers about a caller is believed."""
    digests: tuple[bytes, ...] = ()
    """Under what its certificate may be registered."""
    identities: tuple[str, ...] = ()
    valid_until_ms: int = 0
    """The end of its certificate, UTC milliseconds: a connection may outlast it."""


class Peers:
    """Whom the connections of one listener are from."""

    def __init__(self, listener: Listener, section: str) -> None:
        """Raises `OperatorError` where the trusted proxies are no addresses."""
        self._has_gateway = listener.believes_gateway
        self._networks = networks_of(listener.trusted_proxies, f"{section}.trusted_proxies")

    def known(self, peer: Peer) -> Known:
        """What is known of a peer; found out with its first request."""
        if not isinstance(peer.known_as, Known):
            peer.known_as = self._look_at(peer)
        return peer.known_as

    def _look_at(self, peer: Peer) -> Known:
        is_gateway = self._has_gateway and _is_in(peer.address, self._networks)
        if is_gateway or peer.certificate is None:
            # A gateway's certificate is its own, not the caller's.
            return Known(is_gateway)
        try:
            certificate = x509.load_der_x509_certificate(peer.certificate)
            identities = _identities(certificate)
        except _UNREADABLE:
            log.info("a client's certificate can't be read", address=peer.address)
            return Known(is_gateway)
        return Known(
            is_gateway,
            tuple(map(certificate_digest, identities)),
            identities,
            int(certificate.not_valid_after_utc.timestamp()) * 1000,
        )


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks_of(text: str, name: str) -> tuple[_Network, ...]:
    """Addresses and networks between commas. Raises `OperatorError` naming the key."""
    try:
        return tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip())
    except ValueError as error:
        raise OperatorError(f"{name} must hold addresses and networks, separated by commas: {error}.") from None


def _is_in(address: str, networks: tuple[_Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # A listener for both kinds of addresses tells those of the older kind in the newer form.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in each for each in networks)


# --- participants' requests -------------------------------------------------------------------------------------------

Identify = Callable[[Headers, Peer], str | None]
"""Who a request is from by what it shows, for `check_request` to compare. Raises `FspiopError` 401 or 3100."""


def by_source_header(headers: Headers, _peer: Peer = NOBODY) -> str | None:
    """Believes FSPIOP-Source: only what a gateway says, where there is one, must agree with it."""
    return headers.get("x-client-id")


class _RefusedError(Exception):
    """Why a caller is not let in: for the operators, and for the caller."""

    def __init__(self, reason: str, error: FspiopError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Credentials:
    """Has every request show who sends it."""

    def __init__(
        self,
        settings: ParticipantsApi,
        directory: Callable[[], Directory],
        now_ms: Callable[[], int],
        tokens: AccessTokens | None = None,
    ) -> None:
        self._directory = directory
        self._tokens = tokens
        self._now_ms = now_ms
        self._peers = Peers(settings, "participants_api")
        self._trusts_client_id = settings.trust_client_id
        self._certificate_header = settings.client_certificate_header.lower()
        self._names = frozenset(("authorization", "x-api-key", "x-client-id", self._certificate_header))
        self._certificate_digests = lru_cache(CERTIFICATES_KEPT_MAX)(_certificate_digests)
        self._certificate_identities = lru_cache(CERTIFICATES_KEPT_MAX)(certificate_identities)

    def __call__(self, headers: Headers, peer: Peer = NOBODY) -> str:
        """The participant that the request shows to be from. Tells the caller little, and the log why it is refused."""
        try:
            return self._caller(headers, self._peers.known(peer))
        except _RefusedError as refusal:
            log.info("a caller is refused", source=headers.get("fspiop-source"), reason=refusal.reason)
            raise refusal.error from None

    def _caller(self, headers: Headers, known: Known) -> str:
        names = self._names
        callers: set[str] = set()
        claimed: set[str] = set()
        if known.digests:
            callers.add(self._by_connection(known))
        for name, value in headers.pairs:
            key = name.lower()
            if key not in names:
                continue
            if key == "authorization":
                caller = self._by_authorization(value, known, headers)
                if caller is not None:
                    callers.add(caller)
            elif key == "x-api-key":
                callers.add(self._by_digest(CredentialKind.API_KEY, secret_digest(value.strip())))
            elif key == "x-client-id":
                if value:
                    (callers if self._trusts_client_id and known.is_gateway else claimed).add(value)
            elif known.is_gateway and value.strip() not in _NO_CERTIFICATE:
                callers.add(self._by_certificate(value))
        if not callers:
            raise _RefusedError("it shows nothing", not_authenticated(shown_any=False))
        if len(callers | claimed) > 1:
            detail = "the request shows several callers that are not the same participant"
            error = FspiopError(ErrorCode.VALIDATION_ERROR, detail)
            raise _RefusedError(f"it shows to be {', '.join(sorted(callers | claimed))}", error)
        (only,) = callers
        if headers.get("fspiop-proxy"):
            self._check_proxy(only)
        return only

    def _by_authorization(self, value: str, known: Known, headers: Headers) -> FspId | None:
        """Whose token it is; None for one of the gateway's own, that the gateway has checked."""
        token = bearer_token(value)
        if token is not None and token.startswith(SECRET_PREFIX):
            return self._by_digest(CredentialKind.TOKEN, secret_digest(token))
        if token is not None and self._tokens is not None:
            return _token_holder(self._tokens, token, self._fingerprint(known, headers))
        if known.is_gateway:
            return None
        raise _invalid("an Authorization that is none of the hub's")

    def _fingerprint(self, known: Known, headers: Headers) -> str:
        """Of the certificate that the caller shows, or the gateway passes on; empty where there is none."""
        passed_on = headers.get(self._certificate_header) if known.is_gateway else None
        return fingerprint(self._certificate_identities(passed_on) if passed_on else known.identities)

    def _by_digest(self, kind: CredentialKind, digest: bytes) -> FspId:
        credential = find(self._directory(), kind, digest, self._now_ms())
        if credential is None or credential.participant is None:
            raise _invalid(_why(self._directory(), digest, kind))
        return credential.participant

    def _by_certificate(self, text: str) -> FspId:
        credential = find_certificate(self._directory(), self._certificate_digests(text), self._now_ms())
        if credential is not None and credential.participant is not None:
            return credential.participant
        shown = _shown(certificate_identities(text)) or f"which can't be read: {text[:80]!r}"
        raise _invalid(f"a certificate of nobody, {shown}")

    def _by_connection(self, known: Known) -> FspId:
        now_ms = self._now_ms()
        if known.valid_until_ms <= now_ms:
            raise _invalid(f"a certificate that has expired, {known.identities[0]}")
        credential = find_certificate(self._directory(), known.digests, now_ms)
        if credential is None or credential.participant is None:
            raise _invalid(f"a certificate of nobody, {_shown(known.identities)}")
        return credential.participant

    def _check_proxy(self, caller: str) -> None:
        """Only a proxy speaks for others: any participant could otherwise, by naming itself in FSPIOP-Proxy."""
        participant = self._directory().get(caller)
        if participant is None or not participant.is_proxy:
            error = FspiopError(ErrorCode.VALIDATION_ERROR, "Invalid fspiop-proxy header")
            raise _RefusedError(f"{caller} is no proxy", error)


def identifier(
    settings: ParticipantsApi,
    directory: Callable[[], Directory],
    now_ms: Callable[[], int],
    tokens: AccessTokens | None = None,
) -> Identify:
    """How the participants' API finds out who calls, by its settings."""
    if settings.requires_authentication:
        return Credentials(settings, directory, now_ms, tokens)
    return by_source_header


def _token_holder(tokens: AccessTokens, token: str, shown: str) -> FspId:
    """Whose token of an authorization server it is; ``shown``: the fingerprint of the bearer's certificate."""
    try:
        return tokens.participant(token, shown)
    except KeysPendingError as error:
        raise _RefusedError(f"it shows {error}", keys_pending()) from None
    except TokenError as error:
        raise _invalid(str(error)) from None


def keys_pending() -> FspiopError:
    """503: whether a token lets its holder in will be known in a moment."""
    detail = "the keys of the token's issuer are not known yet"
    error = ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE
    return FspiopError(error, detail, status=503, headers=(("Retry-After", "1"),))


def without(headers: Headers, name: str) -> Headers:
    """The headers without one, given in lower case: what a gateway says of a caller is neither kept nor passed on."""
    return Headers(pair for pair in headers.pairs if pair[0].lower() != name)


def not_authenticated(*, shown_any: bool) -> FspiopError:
    """401. It says the same whatever is wrong with what was shown."""
    if shown_any:
        detail = "the credential is not valid, or no longer"
        return FspiopError(ErrorCode.CLIENT_ERROR, detail, status=401, headers=(("WWW-Authenticate", _INVALID_TOKEN),))
    detail = "authentication is required"
    return FspiopError(ErrorCode.CLIENT_ERROR, detail, status=401, headers=(("WWW-Authenticate", BEARER),))


def _invalid(shown: str) -> _RefusedError:
    return _RefusedError(f"it shows {shown}", not_authenticated(shown_any=True))


def _why(directory: Directory, digest: bytes, kind: CredentialKind) -> str:
    credential = directory.credentials.get(digest)
    if credential is None:
        return f"an unknown or revoked {kind}"
    if credential.kind != kind:
        return f"credential {credential.credential_id} as a {kind}, which it is not"
    if credential.participant is None:
        return f"credential {credential.credential_id}, an operator's"
    return f"credential {credential.credential_id}, which has expired"
