"""Signatures of FSPIOP messages (JWS): made for what the hub says itself, checked for what participants say.

The rules are those of Signature v1.1 and of the reference (hub reference §11.1). ``FSPIOP-Signature`` holds a detached
JWS: the signature and the protected header; the payload is the body. The protected header names the algorithm and the
headers that decide where a message goes and whom it is from, so none of it can be changed on the way.

What exactly is signed is where implementations differ: the specification says the body's bytes, the reference says
the body as compact JSON with its keys in order. Both are accepted here, the bytes first; what the hub signs is written
so that the two are the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from vuka.errors import ErrorCode, FspiopError

RS256: Final = "RS256"
ES256: Final = "ES256"
ALGORITHMS: Final = (RS256, ES256)

RSA_BITS_MIN: Final = 2_048
RSA_BITS: Final = 2_048
"""Of a new key. More bits cost more than twice as much for each message, and the specification asks for no more."""

_COORDINATE_BYTES: Final = 32
_PEM_MAX: Final = 16_384
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EXACT_DIGITS: Final = 15
"""An integer of so many digits is the same in 53 bits."""

LONE_SURROGATE_BODY_BYTES_MAX: Final = 65_536
"""Bytes of a body with lone surrogates, which is no message, that is written in canonical form all the same."""

_PROTECTED: Final = frozenset(
    ("alg", "FSPIOP-URI", "FSPIOP-HTTP-Method", "FSPIOP-Source", "FSPIOP-Destination", "Date", "typ")
)

_TEXTS: Final = msgspec.json.Decoder(dict[str, str])
_ENCODER: Final = msgspec.json.Encoder()
_RSA: Final = padding.PKCS1v15(), hashes.SHA256()
_ECDSA: Final = ec.ECDSA(hashes.SHA256())

GetHeader = Callable[[str], str | None]


class PublicKey(msgspec.Struct, frozen=True):
    """A key with which a participant's signatures are checked."""

    algorithm: str
    """``RS256`` or ``ES256``: the key decides, never the message."""
    pem: str
    """SubjectPublicKeyInfo."""
    fingerprint: str
    """SHA-256 of the key's DER, in hex."""


class SignatureHeader(msgspec.Struct, frozen=True):
    """What ``FSPIOP-Signature`` holds, as JSON."""

    signature: str
    protected: str = msgspec.field(name="protectedHeader")


# --- keys ------------------------------------------------------------------------------------------------------------


def load_public_key(text: str) -> PublicKey:
    """A public key from PEM: the key itself or a certificate of it. Raises `ValueError` with a sentence."""
    if len(text) > _PEM_MAX:
        raise ValueError(f"A public key in PEM has at most {_PEM_MAX} characters.")
    if "PRIVATE KEY" in text:
        raise ValueError("This is a private key. Register its public key, and keep the private one to yourself.")
    raw = text.strip().encode("utf-8", "replace")
    try:
        if b"BEGIN CERTIFICATE" in raw:
            key: object = x509.load_pem_x509_certificate(raw).public_key()
        else:
            key = serialization.load_pem_public_key(raw)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("This is not a public key or a certificate in PEM.") from None
    return _public(key)


def _public(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise ValueError(f"An RSA key needs {RSA_BITS_MIN} bits or more; this one has {key.key_size}.")
        algorithm = RS256
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = ES256
    else:
        raise ValueError("A signing key is RSA (for RS256) or on the curve P-256 (for ES256).")  # noqa: TRY004
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = key.public_bytes(serialization.Encoding.DER, form)
    pem = key.public_bytes(serialization.Encoding.PEM, form)
    return PublicKey(algorithm, pem.decode("ascii"), hashlib.sha256(der).hexdigest())


class PrivateKey:
    """A key to sign with."""

    __slots__ = ("_key", "public")

    def __init__(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        """Raises `ValueError` where the key is not one to sign messages with."""
        self._key = key
        self.public = _public(key.public_key())
        """What others check its signatures with."""

    @classmethod
    def load(cls, pem: bytes) -> PrivateKey:
        """A private key from PEM, not encrypted. Raises `ValueError` with a sentence."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("This is not a private key in PEM without a password.") from None
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise ValueError("A signing key is RSA (for RS256) or on the curve P-256 (for ES256).")  # noqa: TRY004
        return cls(key)

    @classmethod
    def generate(cls, algorithm: str) -> PrivateKey:
        """A new key for ``RS256`` or ``ES256``."""
        if algorithm == RS256:
            return cls(rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS))
        if algorithm == ES256:
            return cls(ec.generate_private_key(ec.SECP256R1()))
        raise ValueError(f"{algorithm} is not one of {', '.join(ALGORITHMS)}.")

    def to_pem(self) -> bytes:
        """The key as PEM (PKCS 8), without a password."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def signature(self, data: bytes) -> bytes:
        """The signature as JWS has it (RFC 7518 §3.3, §3.4)."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, *_RSA)
        r, s = decode_dss_signature(self._key.sign(data, _ECDSA))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")


@lru_cache(maxsize=1_024)
def _parsed(pem: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """A registered key, ready to use: reading PEM costs more than checking a signature."""
    key = serialization.load_pem_public_key(pem.encode("ascii"))
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise TypeError("a registered key is RSA or EC: load_public_key sees to it")
    return key


def _is_signature(key: PublicKey, signature: bytes, data: bytes) -> bool:
    parsed = _parsed(key.pem)
    try:
        if isinstance(parsed, rsa.RSAPublicKey):
            parsed.verify(signature, data, *_RSA)
            return True
        if len(signature) != 2 * _COORDINATE_BYTES:
            return False
        r, s = signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        parsed.verify(der, data, _ECDSA)
    except InvalidSignature:
        return False
    return True


# --- signing ---------------------------------------------------------------------------------------------------------


def sign(key: PrivateKey, *, get: GetHeader, body: bytes) -> str:
    """The value of ``FSPIOP-Signature`` for a message with these headers and this body.

    ``get`` finds a header by its name in lower case; FSPIOP-URI, FSPIOP-HTTP-Method and FSPIOP-Source must be there.
    Write the body with `canonical` where the receiver may be one that checks that form only.
    """
    protected: dict[str, str] = {"alg": key.public.algorithm}
    for name in ("FSPIOP-URI", "FSPIOP-HTTP-Method", "FSPIOP-Source"):
        value = get(name.lower())
        if value is None:
            raise ValueError(f"a message is signed with its {name}")
        protected[name] = value
    for name in ("FSPIOP-Destination", "Date"):
        value = get(name.lower())
        if value:
            protected[name] = value
    encoded = _base64url(msgspec.json.encode(protected))
    signature = key.signature(b".".join((encoded, _base64url(body))))
    header = SignatureHeader(_base64url(signature).decode("ascii"), encoded.decode("ascii"))
    return msgspec.json.encode(header).decode("ascii")


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


# --- checking --------------------------------------------------------------------------------------------------------


def verify(
    keys: Sequence[PublicKey], *, method: str, path: str, get: GetHeader, body: bytes, needs_date: bool = False
) -> None:
    """Checks a message's signature with any of its sender's keys; raises `FspiopError` 3105 saying what is wrong.

    ``path`` is that of the request line, ``get`` finds a header by its name in lower case. ``needs_date``: the Date
    must be signed too, because whoever asks goes by it.
    """
    if not keys:
        raise _invalid("no key of the sender is registered")
    text = get("fspiop-signature")
    if text is None:
        raise _invalid("FSPIOP-Signature is missing")
    header = _signature_header(text)
    protected = _protected_header(header.protected)
    candidates = [key for key in keys if key.algorithm == protected.get("alg")]
    if protected.get("alg") not in ALGORITHMS:
        raise _invalid("alg must be RS256 or ES256")
    if not candidates:
        raise _invalid(f"the sender has no key for {protected['alg']}")
    _check_protected(protected, method=method, path=path, get=get)
    if needs_date and "Date" not in protected:
        raise _invalid("Date is not protected, and here a message must be of now")
    signature = _decoded(header.signature, "signature")
    if not _matches(candidates, signature, header.protected.rstrip("="), body):
        raise _invalid("it is not of this message, or not of a key of the sender")


def _matches(keys: Sequence[PublicKey], signature: bytes, protected: str, body: bytes) -> bool:
    """Whether any of the keys has signed the body, as its bytes or in its canonical form."""
    start = protected.encode("ascii") + b"."
    data = start + _base64url(body)
    if any(_is_signature(key, signature, data) for key in keys):
        return True
    try:
        form = canonical(body)
    except ValueError:
        return False
    if form == body:
        return False
    data = start + _base64url(form)
    return any(_is_signature(key, signature, data) for key in keys)


def _signature_header(text: str) -> SignatureHeader:
    try:
        return msgspec.json.decode(text, type=SignatureHeader)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _invalid("FSPIOP-Signature is not JSON with signature and protectedHeader") from None


def _decoded(text: str, name: str) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise _invalid(f"{name} is not base64url")
    bare = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        raise _invalid(f"{name} is not base64url") from None


def _protected_header(text: str) -> dict[str, str]:
    found = _texts(_decoded(text, "protectedHeader"))
    unknown = sorted(found.keys() - _PROTECTED)
    if unknown:
        # What is not understood must not be passed over (RFC 7515 §4.1.11).
        raise _invalid(f"protectedHeader has {unknown[0][:40]!a}, which is not known")
    return found


def _texts(raw: bytes) -> dict[str, str]:
    """A JSON object of texts, each name once."""
    try:
        found = _TEXTS.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    else:
        # Written as it came, it has said nothing twice.
        if _ENCODER.encode(found) == raw:
            return found
    try:
        read = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _invalid("protectedHeader is not a JSON object with each name once") from None
    if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
        raise _invalid("protectedHeader is not a JSON object of texts")
    return read


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _check_protected(protected: dict[str, str], *, method: str, path: str, get: GetHeader) -> None:
    """The protected header is that of this very request: its headers, and its request line."""
    for name in ("FSPIOP-URI", "FSPIOP-HTTP-Method", "FSPIOP-Source"):
        said = get(name.lower())
        if said is None:
            raise _invalid(f"the header {name} is missing")
        if name not in protected:
            raise _invalid(f"{name} is not protected")
        if protected[name] != said:
            raise _invalid(f"the protected {name} is not that of the header")
    if protected["FSPIOP-HTTP-Method"].upper() != method:
        raise _invalid("the protected FSPIOP-HTTP-Method is not that of the request")
    if not _is_same_path(protected["FSPIOP-URI"], path):
        raise _invalid("the protected FSPIOP-URI is not that of the request")
    destination = get("fspiop-destination") or None
    if (protected.get("FSPIOP-Destination") or None) != destination:
        raise _invalid("the protected FSPIOP-Destination is not that of the header")
    if "Date" in protected and protected["Date"] != get("date"):
        raise _invalid("the protected Date is not that of the header")


def _is_same_path(uri: str, path: str) -> bool:
    """Whether a URI names the request's path: from the resource on, or behind the base path of a gateway."""
    said, asked = unquote(uri.partition("?")[0]), unquote(path)
    return said == asked or said.endswith(asked)


def _invalid(detail: str) -> FspiopError:
    return FspiopError(ErrorCode.INVALID_SIGNATURE, detail)


# --- the canonical form ----------------------------------------------------------------------------------------------


def canonical(body: bytes) -> bytes:
    """A JSON body as the reference signs it: compact, keys in the order of their UTF-16 code units.

    Numbers are written as JavaScript writes them, text is not escaped beyond what JSON demands. Raises `ValueError`
    where the body is not JSON, or says something twice: which of the two was signed would be anybody's guess.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
        try:
            # Whoever may send messages may send the largest there are: the loops are those of msgspec and json.
            return msgspec.json.encode(value)
        except UnicodeEncodeError:
            if len(body) > LONE_SURROGATE_BODY_BYTES_MAX:
                raise
            parts: list[str] = []
            _write(value, parts)
            return "".join(parts).encode("utf-8")
    except RecursionError:
        raise ValueError("the body is nested too deep") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _once(pairs)
    names = sorted(found) if all(map(str.isascii, found)) else sorted(found, key=_utf16)
    return {name: found[name] for name in names}


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")


def _js_float(text: str) -> msgspec.Raw:
    return msgspec.Raw(_number(float(text)).encode("ascii"))


def _js_int(text: str) -> int | msgspec.Raw:
    return int(text) if len(text) <= _EXACT_DIGITS else _js_float(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_in_order, parse_float=_js_float, parse_int=_js_int, parse_constant=_no_constant
)


def _write(value: Any, parts: list[str]) -> None:
    """Writes what holds lone surrogates, which UTF-8 does not have: JavaScript escapes them."""
    if isinstance(value, dict):
        parts.append("{")
        for place, (name, content) in enumerate(value.items()):
            parts.append(f"{',' if place else ''}{_text(name)}:")
            _write(content, parts)
        parts.append("}")
    elif isinstance(value, list):
        parts.append("[")
        for place, each in enumerate(value):
            parts.append("," if place else "")
            _write(each, parts)
        parts.append("]")
    elif isinstance(value, str):
        parts.append(_text(value))
    else:
        parts.append(msgspec.json.encode(value).decode("ascii"))


def _text(text: str) -> str:
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _number(number: float) -> str:
    """A number as JavaScript has it: one kind only, with 53 bits (ECMA-262 §6.1.6.1.20)."""
    if number in (float("inf"), float("-inf")):
        return "null"
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    text = "".join(map(str, digits))
    point = len(text) + int(exponent)
    return ("-" if sign else "") + _decimal(text, point)


def _decimal(digits: str, point: int) -> str:
    """Digits with the point after so many of them, written out where that is short enough."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"
