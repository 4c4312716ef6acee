"""How the hub logs: one event a line, as JSON for machines or as text for people, on standard error.

A JSON line has ``time`` (UTC, RFC 3339), ``level`` and ``event``, which is always one of a fixed set of sentences; what
differs is beside it: ``participant``, ``resource``, ``id`` (a payment's), ``trace_id``, ``code``, ``status``. What
libraries log goes through the same formatter. Above ``debug`` nothing is written that was in a message's body, and no
identifier of a person: see `loggable_id`. Tracebacks show where, never the values.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict

from vuka.config import Config
from vuka.fspiop.parties import EXTENDED_PARTY_ID_TYPES

_PERSONAL: Final = frozenset(("parties", "participants"))
"""Resources that are named by an identifier of a person, such as a telephone number."""

# Trace Context level 1, §3.2.2: version, trace id, parent id, flags; a later version may have more after them.
_TRACEPARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")

_ID_SHOWN_MAX: Final = 64

_NOISY: Final = ("uvicorn", "asyncio", "httpx", "httpcore")
"""Libraries whose events below ``warning`` repeat what the hub says itself."""


_PARTY_IN_PATH: Final = re.compile(
    rf"(/(?:parties|participants)/(?:{'|'.join(sorted(EXTENDED_PARTY_ID_TYPES))})/)[^?\s]+"
)
_PARTY_IN_QUERY: Final = re.compile(r"((?:partyIdentifier|partySubIdOrType)=)[^&\s]+")

_LOCATIONS: Final = ("path", "url")
_BODIES: Final = ("answer", "body")


def trace_id(traceparent: str | None) -> str | None:
    """The trace id of a ``traceparent`` (W3C Trace Context); None where it is malformed or absent."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    is_version_00_and_longer = found[1] == "00" and found[3] is not None
    return None if is_version_00_and_longer else found[2]


def loggable_id(resource: str, resource_id: str) -> str | None:
    """The id of what a message is about, None where it is a person's."""
    return None if resource in _PERSONAL or not resource_id else resource_id[:_ID_SHOWN_MAX]


def without_persons(_logger: object, method: str, event: EventDict) -> EventDict:
    """The last look at a line (a structlog processor): no identifier of a person in a path or a URL, and no body.

    At ``debug`` both stay: whoever sets that asks for it.
    """
    if method == "debug":
        return event
    for key in _LOCATIONS:
        location = event.get(key)
        if isinstance(location, str):
            event[key] = _PARTY_IN_QUERY.sub(r"\1…", _PARTY_IN_PATH.sub(r"\1…", location))
    for key in _BODIES:
        event.pop(key, None)
    return event


class _StandardError:
    """Standard error as it is when a line is written: whoever replaces it meanwhile gets the line.

    A log that can't be written, because its disk is full or its reader is gone, must not stop payments: such lines are
    lost, and the next that is written says how many (``log_lines_lost``).
    """

    def __init__(self) -> None:
        self._lost = 0
        self._told = 0

    def tell_lost(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        """Has an event say how many were lost before it (a structlog processor)."""
        if self._lost > self._told:
            event["log_lines_lost"] = self._lost - self._told
        return event

    def write(self, text: str) -> int:
        try:
            written = sys.stderr.write(text)
        except (OSError, ValueError):  # the latter where it is closed
            self._lost += text.count("\n")
            return len(text)
        if "\n" in text:
            self._told = self._lost
        return written

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logging(config: Config) -> None:
    """Has the hub and the libraries it uses log as ``config.log`` says."""
    level = logging.getLevelNamesMapping()[config.log.level.upper()]
    standard_error = _StandardError()
    stream = cast(TextIO, standard_error)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        without_persons,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        standard_error.tell_lost,
    ]
    last = _as_json() if config.log.json else _as_text()
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _as_json() -> list[structlog.types.Processor]:
    # Local variables may hold tokens and what people wrote.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _as_text() -> list[structlog.types.Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
        )
    ]
