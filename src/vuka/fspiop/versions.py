"""Versions of the API, the dialects it is spoken in, and how client and hub agree on one.

A media type names all three: ``application/vnd.interoperability[.iso20022].{resource}+json;version=2.0``. What
``Content-Type`` may say is exact; what ``Accept`` may say is a list, in which a version may be whole (``2.0``),
major only (``1``: the highest minor the hub has) or absent (the highest the hub has), FSPIOP API 1.1 §3.3.
The grammar is the reference's, down to where a space may stand: clients assert which error they get.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

RESOURCES: Final = frozenset(
    (
        "participants",
        "parties",
        "transactionRequests",
        "authorizations",
        "quotes",
        "transfers",
        "transactions",
        "bulkQuotes",
        "bulkTransfers",
        "fxQuotes",
        "fxTransfers",
        "services",
    )
)
"""The first path segments whose headers are checked; other paths (``/health``, ``/metrics``) are exempt."""


class Version(StrEnum):
    """A version of the FSPIOP API. Versions compare in their order: ``Version.V1_0 < Version.V2_0``."""

    V1_0 = "1.0"
    V1_1 = "1.1"
    V2_0 = "2.0"

    __hash__ = str.__hash__  # the enum's own is a Python call, and versions are in the keys of hot caches

    @property
    def major(self) -> str:
        """The major number alone, as the hub's own ``Accept`` writes it."""
        return self.value[0]


class Dialect(Enum):
    """How bodies are written: the API's own JSON, or ISO 20022 messages in JSON. The value is the media type's part."""

    FSPIOP = ""
    ISO20022 = "iso20022."


_ALL: Final = (Version.V1_0, Version.V1_1, Version.V2_0)
_ONLY_2_0: Final = (Version.V2_0,)
_SINCE_2_0: Final = frozenset(("fxQuotes", "fxTransfers", "services"))
_IN_ISO20022: Final = frozenset(("parties", "quotes", "transfers", "fxQuotes", "fxTransfers"))


@dataclass(frozen=True, eq=False, slots=True)
class Supported:
    """The versions a hub speaks, lowest first, and whether it speaks ISO 20022 beside FSPIOP's own JSON.

    Compared by identity, because it is in the key of the caches below: a hub builds one and keeps it.
    """

    versions: tuple[Version, ...] = _ALL
    iso20022: bool = False

    def of(self, resource: str, dialect: Dialect = Dialect.FSPIOP) -> tuple[Version, ...]:
        """The versions of one resource, lowest first; none where the dialect does not know the resource."""
        if dialect is Dialect.ISO20022:
            if not self.iso20022 or resource not in _IN_ISO20022:
                return ()
            return tuple(version for version in self.versions if version in _ONLY_2_0)
        if resource in _SINCE_2_0:
            return tuple(version for version in self.versions if version in _ONLY_2_0)
        return self.versions


SUPPORTED: Final = Supported()
"""Every version, in FSPIOP's own JSON."""


class ContentType(NamedTuple):
    """What a ``Content-Type`` says. ``version`` is `None` where it is well written but not one the hub supports."""

    dialect: Dialect
    version: Version | None


class Accepted(NamedTuple):
    """What an ``Accept`` allows: the supported versions among those it names, highest first; maybe none."""

    dialect: Dialect
    versions: tuple[Version, ...]


_CONTENT_TYPE: Final = re.compile(
    r"application/vnd\.interoperability\.(iso20022\.)?([A-Za-z]+)\+json\s?;\s?version=([0-9]+\.[0-9]+)", re.ASCII
)
_RANGE: Final = re.compile(
    r"application/vnd\.interoperability\.(iso20022\.)?([A-Za-z]+)\+json(?:\s?;\s?version=([0-9]+(?:\.[0-9]+)?))?",
    re.ASCII,
)


MEDIA_TYPES_MAX: Final = 1_024
"""Characters of a ``Content-Type`` or an ``Accept``: longer ones are malformed, and not kept in any cache."""


def parse_content_type(resource: str, text: str, supported: Supported = SUPPORTED) -> ContentType | None:
    """What a ``Content-Type`` says; `None` where it is malformed, of another resource, or of a dialect not spoken."""
    return None if len(text) > MEDIA_TYPES_MAX else _parse_content_type(resource, text, supported)


@lru_cache(maxsize=1024)
def _parse_content_type(resource: str, text: str, supported: Supported) -> ContentType | None:
    match = _CONTENT_TYPE.fullmatch(text)
    if match is None or match[2] != resource:
        return None
    dialect = Dialect.ISO20022 if match[1] else Dialect.FSPIOP
    if dialect is Dialect.ISO20022 and not supported.of(resource, dialect):
        return None
    return ContentType(dialect, _exact(match[3], supported.of(resource, dialect)))


def parse_accept(resource: str, text: str, supported: Supported = SUPPORTED) -> Accepted | None:
    """What an ``Accept`` allows; `None` where any of its ranges is malformed, or they mix dialects.

    Ranges are separated by a comma and nothing else. A range without a version stands for the highest supported,
    as FSPIOP API 1.1 §3.3 wants; the reference answers 406 to it.
    """
    return None if len(text) > MEDIA_TYPES_MAX else _parse_accept(resource, text, supported)


@lru_cache(maxsize=1024)
def _parse_accept(resource: str, text: str, supported: Supported) -> Accepted | None:
    dialect: Dialect | None = None
    chosen: set[Version] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or match[2] != resource:
            return None
        of_part = Dialect.ISO20022 if match[1] else Dialect.FSPIOP
        available = supported.of(resource, of_part)
        if dialect not in (None, of_part) or (of_part is Dialect.ISO20022 and not available):
            return None
        dialect = of_part
        version = _negotiate(match[3], available)
        if version is not None:
            chosen.add(version)
    assert dialect is not None, "split yields at least one part"  # noqa: S101
    return Accepted(dialect, tuple(sorted(chosen, reverse=True)))


def _exact(text: str, available: tuple[Version, ...]) -> Version | None:
    return next((version for version in available if version.value == text), None)


def _negotiate(text: str | None, available: tuple[Version, ...]) -> Version | None:
    if text is None:
        return max(available, default=None)
    if "." in text:
        return _exact(text, available)
    return max((version for version in available if version.major == text), default=None)


@lru_cache(maxsize=128)
def content_type(resource: str, version: Version, dialect: Dialect = Dialect.FSPIOP) -> str:
    """The ``Content-Type`` of a message the hub makes."""
    return f"application/vnd.interoperability.{dialect.value}{resource}+json;version={version.value}"


@lru_cache(maxsize=128)
def accept(resource: str, version: Version, dialect: Dialect = Dialect.FSPIOP) -> str:
    """The ``Accept`` of a request the hub makes: the major version, so that any minor may answer."""
    return f"application/vnd.interoperability.{dialect.value}{resource}+json;version={version.major}"


@lru_cache(maxsize=256)
def version_extensions(resource: str, supported: Supported = SUPPORTED) -> tuple[tuple[str, str], ...]:
    """The ``extensionList`` of error 3001: each supported version, its major number as key, its minor as value."""
    dialects = {version for dialect in Dialect for version in supported.of(resource, dialect)}
    return tuple((version.value[0], version.value[2]) for version in sorted(dialects))
