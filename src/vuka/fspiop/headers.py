"""Headers: what a request must carry, what is passed on with it, and what the hub's own messages carry.

`check_request` decides, for every FSPIOP resource, whether a request's headers are in order. The checks, their order,
codes and texts are the reference's header validation (clients assert which error they get), with these differences: the
limit on the body's length, which there never fires, does; a body in an encoding is refused, since it is passed on as it
came; and a header that may stand once only and stands twice is refused, since the next hop might believe the other one.

`forward_headers` passes a participant's headers on so that an end-to-end signature survives: nothing that a signature
may cover is touched. `hub_headers` makes those of the hub's own messages (FSPIOP API 1.1 §3.2).
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, cast

from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_http_date, parse_http_date
from vuka.fspiop.versions import (
    SUPPORTED,
    Dialect,
    Supported,
    Version,
    accept,
    content_type,
    parse_accept,
    parse_content_type,
    version_extensions,
)
from vuka.ids import FspId

BODY_MAX: Final = 5_242_880
"""Bytes in a body: the limit the API documents for Content-Length. A hub may be configured to have another one."""

HEADER_BYTES_MAX: Final = 65_536
"""Bytes in all names and values together: the limit the API documents (FSPIOP API 1.1 §3.2.1)."""

FSP_ID_MAX: Final = 32
"""Characters in a participant's name (FSPIOP API 1.1 §7.3.16)."""

_NEEDS_ACCEPT: Final = frozenset(("GET", "POST", "DELETE"))
_JSON: Final = ("/json", "+json")

# The reference's texts; conformance suites look for them.
# The reference says the first half or, for quotes, the second.
_ACCEPT_REQUIRED: Final = "Accept is required: /header must have required property 'accept'"
_ACCEPT_INVALID: Final = "Invalid accept header"
_ACCEPT_UNSUPPORTED: Final = "The Client requested an unsupported version, see extension list for supported version(s)."
_CONTENT_TYPE_REQUIRED: Final = "Content-type is required"
_CONTENT_TYPE_INVALID: Final = "Invalid content-type header"
# Its framework says the first half, where it comes first, and its header validation the second.
_MEDIA_TYPE_UNSUPPORTED: Final = "Unsupported Media Type: Invalid content-type header"
_ENCODING_UNSUPPORTED: Final = "Unsupported Media Type: Invalid content-encoding header"
_CONTENT_TYPE_UNSUPPORTED: Final = "Client supplied a protocol version which is not supported by the server"
_DATE_REQUIRED: Final = "Missing required date header"
_DATE_INVALID: Final = "Invalid date header"
_SOURCE_INVALID: Final = "Invalid fspiop-source header"
_PROXY_INVALID: Final = "Invalid fspiop-proxy header"
TOO_LARGE: Final = "Payload size is too large"
"""What is said of a body beyond the limit."""
HEADERS_TOO_LARGE: Final = f"Headers have more than {HEADER_BYTES_MAX} bytes"
"""What is said of headers beyond the limit."""

_ONCE: Final = frozenset(
    (
        "accept",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "fspiop-destination",
        "fspiop-encryption",
        "fspiop-http-method",
        "fspiop-proxy",
        "fspiop-signature",
        "fspiop-source",
        "fspiop-uri",
        "traceparent",
        "x-client-id",
    )
)

# RFC 9110 §7.6.1 (of one connection only), what the next hop's client sets itself, and who the caller was to the hub.
_NEVER_FORWARDED: Final = frozenset(
    (
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-client-id",
        "x-forwarded-client-cert",
    )
)
_NEVER_FORWARDED_WITH_CALLBACKS: Final = _NEVER_FORWARDED | {"accept"}

_LOOKED_AT: Final = frozenset(("date", "fspiop-destination", "fspiop-http-method"))
"""What may have to be passed on otherwise than it came."""

_END_TO_END: Final = frozenset(
    ("accept", "baggage", "content-encoding", "content-type", "date", "traceparent", "tracestate")
)
"""What a ``Connection`` header can not take away: with it a participant could make its own message unreadable."""

_NAME_BYTES: Final = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
_VALUE_BYTES: Final = bytes(range(0x20, 0x7F)) + b"\t"
_VALUES_BYTES: Final = _VALUE_BYTES + b"\n"

_NAMES_MAX: Final = 1_000
_NAME_MAX: Final = 64
_SPELLED: Final[dict[bytes, str]] = {}
"""Names as they come, of which most come with every message: at most `_NAMES_MAX`, no longer than `_NAME_MAX`."""
_LOWER: Final[dict[bytes, str]] = {}
"""The same in lower case."""

_name_of: Final = itemgetter(0)


class Headers:
    """A request's headers: pairs as they came, for passing on, and a look-up by name in any case.

    ``pairs`` keeps order and spelling. Names and values are ASCII without control characters.
    """

    __slots__ = ("first", "pairs", "repeated")

    pairs: tuple[tuple[str, str], ...]
    first: Mapping[str, str]
    """The first value of each header, by its name in lower case."""
    repeated: tuple[str, ...]
    """Lower-case names of the headers that may stand once only and stand more often."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Raises `FspiopError`: 3104 for more than `HEADER_BYTES_MAX`, 3101 for what HTTP does not allow in them."""
        self.pairs = tuple(pairs)
        first: dict[str, str] = {}
        repeated: list[str] = []
        for name, value in self.pairs:
            key = name.lower()
            if key not in first:
                first[key] = value
            elif key in _ONCE:
                repeated.append(key)
        self.first = first
        self.repeated = tuple(repeated)
        names, values = "".join([name for name, _ in self.pairs]), "".join([value for _, value in self.pairs])
        if len(names) + len(values) > HEADER_BYTES_MAX:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, HEADERS_TOO_LARGE)
        if not _is_clean(names, values):
            raise _unclean(self.pairs)

    @classmethod
    def from_raw(cls, raw: Sequence[tuple[bytes, bytes]]) -> Headers:
        """The headers as they came over the wire. Raises `FspiopError` as the constructor does."""
        headers = cls._of_known(raw) if raw else None
        if headers is None:
            # Latin-1 never fails, and what it makes of bytes beyond ASCII is refused with the rest.
            headers = cls([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
            _know(name for name, _ in raw)
        return headers

    @classmethod
    def _of_known(cls, raw: Sequence[tuple[bytes, bytes]]) -> Headers | None:
        """What nearly all requests have, without a step for each header: names that came before, each of them once.

        None where anything is otherwise: it is looked at one by one, and refused where it is wrong.
        """
        names, values = zip(*raw, strict=True)
        keys = tuple(map(_LOWER.get, names))
        joined = b"\n".join(values)
        if None in keys or joined.translate(None, _VALUES_BYTES) or joined.count(b"\n") != len(values) - 1:
            return None
        contents = joined.decode("ascii").split("\n")
        first = dict(zip(cast(tuple[str, ...], keys), contents, strict=True))
        if len(first) != len(keys) or len(joined) + sum(map(len, names)) > HEADER_BYTES_MAX:
            return None
        headers = cls.__new__(cls)
        headers.pairs = tuple(zip(map(_SPELLED.__getitem__, names), contents, strict=True))
        headers.first = first
        headers.repeated = ()
        return headers

    def get(self, name: str) -> str | None:
        """The first value of a header, `None` where it is absent. ``name`` in lower case is found at once."""
        value = self.first.get(name)
        return value if value is not None else self.first.get(name.lower())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The pairs as they came."""
        return iter(self.pairs)

    def __repr__(self) -> str:
        """The names alone: values may be secrets."""
        return f"Headers({', '.join(name for name, _ in self.pairs)})"


def _know(names: Iterable[bytes]) -> None:
    """Remembers names that were in order."""
    for name in names:
        if name not in _LOWER and len(name) <= _NAME_MAX and len(_LOWER) < _NAMES_MAX:
            _SPELLED[name] = name.decode("ascii")
            _LOWER[name] = _SPELLED[name].lower()


def _is_clean(names: str, values: str) -> bool:
    """Whether names and values, joined, are what HTTP allows: one look at all of them together."""
    if not (names.isascii() and values.isascii()):
        return False
    return not names.encode().translate(None, _NAME_BYTES) and not values.encode().translate(None, _VALUE_BYTES)


def _unclean(pairs: Sequence[tuple[str, str]]) -> FspiopError:
    culprit = next((name for name, value in pairs if not _is_clean(name, value)), "")
    shown = culprit.encode("ascii", "backslashreplace").decode("ascii")
    return FspiopError(ErrorCode.MALFORMED_SYNTAX, f"Invalid characters in header {shown!r}")


class RequestHeaders(NamedTuple):
    """What a request's headers say, checked.

    ``versions`` are the versions the client accepts in the answer, highest first: empty where a callback carries no
    ``Accept``. ``date`` is the text as it came, because a signature may cover it.
    """

    source: FspId
    destination: FspId | None
    version: Version
    versions: tuple[Version, ...]
    dialect: Dialect
    date: str
    proxy: FspId | None
    traceparent: str | None
    tracestate: str | None


def check_request(
    method: str,
    resource: str,
    headers: Headers,
    *,
    trusted_client_id: str | None,
    supported: Supported = SUPPORTED,
    destination_required: bool = False,
    body_bytes_max: int = BODY_MAX,
) -> RequestHeaders:
    """Decides whether a request's headers are in order; raises `FspiopError` for the first that is not.

    ``method`` is in upper case, ``resource`` the first segment of the path. ``trusted_client_id`` is who the caller is
    by its certificate or token, `None` where nobody has established that. ``destination_required`` is for the
    requests whose destination the hub does not find out itself (``POST /quotes``). ``body_bytes_max`` is the largest
    body that the hub reads.
    """
    get = headers.first.get
    if headers.repeated:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, f"Header {headers.repeated[0]} stands more than once")

    source = get("fspiop-source")
    proxy = get("fspiop-proxy") or None
    if trusted_client_id is not None:
        _check_identity(trusted_client_id, source, proxy)

    accepted = None
    accept_text = get("accept")
    if accept_text or method in _NEEDS_ACCEPT:
        if accept_text is None:
            raise FspiopError(ErrorCode.MISSING_ELEMENT, _ACCEPT_REQUIRED)
        accepted = parse_accept(resource, accept_text, supported)
        if accepted is None:
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _ACCEPT_INVALID)
        if not accepted.versions:
            raise _unacceptable(_ACCEPT_UNSUPPORTED, resource, supported)

    date = get("date")
    if date is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, _DATE_REQUIRED)
    if parse_http_date(date) is None:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _DATE_INVALID)

    length = get("content-length")
    if length is not None:
        _check_length(length, body_bytes_max)

    content_type_text = get("content-type")
    if content_type_text is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, _CONTENT_TYPE_REQUIRED)
    content = parse_content_type(resource, content_type_text, supported)
    if content is None:
        is_json = content_type_text.partition(";")[0].strip().lower().endswith(_JSON)
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _CONTENT_TYPE_INVALID if is_json else _MEDIA_TYPE_UNSUPPORTED)
    if content.version is None:
        raise _unacceptable(_CONTENT_TYPE_UNSUPPORTED, resource, supported)
    if (get("content-encoding") or "identity").lower() != "identity":
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, _ENCODING_UNSUPPORTED)

    if source is None:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-source'")
    if not 1 <= len(source) <= FSP_ID_MAX:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "/header/fspiop-source must have 1 to 32 characters")
    destination = get("fspiop-destination") or None
    if destination is None and destination_required:
        raise FspiopError(ErrorCode.MISSING_ELEMENT, "/header must have required property 'fspiop-destination'")
    if destination is not None and len(destination) > FSP_ID_MAX:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, "/header/fspiop-destination must have 1 to 32 characters")

    return RequestHeaders(
        FspId(source),
        FspId(destination) if destination is not None else None,
        content.version,
        accepted.versions if accepted is not None else (),
        content.dialect,
        date,
        FspId(proxy) if proxy is not None else None,
        get("traceparent") or None,
        get("tracestate") or None,
    )


def _check_identity(client_id: str, source: str | None, proxy: str | None) -> None:
    """The caller must be who the message says it is from, or the proxy through which it came."""
    if proxy is not None and (proxy != client_id or proxy == source):
        raise FspiopError(ErrorCode.VALIDATION_ERROR, _PROXY_INVALID)
    if proxy is None and source != client_id:
        raise FspiopError(ErrorCode.VALIDATION_ERROR, _SOURCE_INVALID)


def _check_length(text: str, body_bytes_max: int) -> None:
    if not text.isdigit() or len(text) > 19:
        raise FspiopError(ErrorCode.MALFORMED_SYNTAX, "Invalid content-length header")
    if int(text) > body_bytes_max:
        raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, TOO_LARGE)


def _unacceptable(text: str, resource: str, supported: Supported) -> FspiopError:
    return FspiopError(ErrorCode.UNACCEPTABLE_VERSION, text, extensions=version_extensions(resource, supported))


def forward_headers(
    headers: Iterable[tuple[str, str]], *, method: str, destination: str | None = None
) -> list[tuple[str, str]]:
    """The headers with which a participant's message is passed on, in their order and spelling.

    ``method`` is the method of the message to send. ``destination`` names the recipient where the sender did not
    (a lookup); it replaces what the sender wrote. Content-Type, FSPIOP-Source and FSPIOP-Signature are never touched;
    the Date is normalised only where no signature may cover it.
    """
    pairs = list(headers)
    keys = [*map(str.lower, map(_name_of, pairs))]
    signed = "fspiop-signature" in keys
    dropped = _NEVER_FORWARDED if method in _NEEDS_ACCEPT else _NEVER_FORWARDED_WITH_CALLBACKS
    named = dict(zip(keys, pairs, strict=True))
    if len(named) == len(keys) and _may_stay(named, method=method, destination=destination, signed=signed):
        return [pair for key, pair in named.items() if key not in dropped]
    if "connection" in keys:
        listed = {token.strip().lower() for token in pairs[keys.index("connection")][1].split(",")}
        # What the other side needs is not the sender's to strike out.
        dropped = dropped | {name for name in listed if name not in _END_TO_END and not name.startswith("fspiop-")}

    forwarded: list[tuple[str, str]] = []
    method_named = destination_named = False
    for key, pair in zip(keys, pairs, strict=True):
        if key in dropped:
            continue
        if key not in _LOOKED_AT:
            forwarded.append(pair)
            continue
        name, value = pair
        if key == "fspiop-http-method":
            method_named = True
            value = value if value.upper() == method else method
        elif key == "fspiop-destination":
            destination_named = True
            value = value if destination is None else destination
            if not value:
                continue
        elif not signed:
            value = _normal_date(value)
        forwarded.append((name, value))
    if destination is not None and not destination_named:
        forwarded.append(("FSPIOP-Destination", destination))
    if not method_named:
        forwarded.append(("FSPIOP-HTTP-Method", method))
    return forwarded


def _may_stay(named: Mapping[str, tuple[str, str]], *, method: str, destination: str | None, signed: bool) -> bool:
    """Whether headers, by their names, need no change but that some are left out: most come as they go on."""
    said = named.get("fspiop-http-method")
    if said is None or said[1] != method or "connection" in named:
        return False
    said = named.get("fspiop-destination")
    if said is None:
        if destination is not None:
            return False
    elif not said[1] or (destination is not None and said[1] != destination):
        return False
    said = named.get("date")
    return signed or said is None or _normal_date(said[1]) == said[1]


def _normal_date(text: str) -> str:
    time_s = parse_http_date(text)
    return text if time_s is None else format_http_date(time_s * 1000)


def hub_headers(
    resource: str,
    version: Version,
    *,
    method: str,
    source: str,
    destination: str | None,
    uri: str,
    now_ms: int,
    traceparent: str | None = None,
    tracestate: str | None = None,
    baggage: str | None = None,
    dialect: Dialect = Dialect.FSPIOP,
) -> list[tuple[str, str]]:
    """The headers of a message the hub makes itself, unsigned.

    ``uri`` is the path from the resource's name on (`vuka.fspiop.endpoints.path_of`); ``now_ms`` milliseconds since
    1970 UTC. Only requests carry an ``Accept``: a callback has no answer to negotiate.
    """
    made = [
        ("Content-Type", content_type(resource, version, dialect)),
        ("Date", format_http_date(now_ms)),
        ("FSPIOP-Source", source),
    ]
    if destination:
        made.append(("FSPIOP-Destination", destination))
    made.append(("FSPIOP-URI", uri))
    made.append(("FSPIOP-HTTP-Method", method))
    if method in _NEEDS_ACCEPT:
        made.append(("Accept", accept(resource, version, dialect)))
    if traceparent:
        made.append(("traceparent", traceparent))
    if tracestate:
        made.append(("tracestate", tracestate))
    if baggage:
        made.append(("baggage", baggage))
    return made
