"""The two ways in which the wire writes a moment, to and from whole milliseconds since 1970 UTC.

Bodies carry ``DateTime`` (``2016-05-24T08:38:08.699-04:00``, FSPIOP API 1.1 §7.2.14: exactly three decimals, a zone,
a day that exists); headers carry HTTP dates (``Tue, 24 May 2016 12:38:08 GMT``, RFC 7231 §7.1.1.1). No float
is involved, so a moment survives the way there and back to the millisecond.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE: Final = datetime(1970, 1, 1)  # noqa: DTZ001 formatted as UTC, where carrying the zone only costs time

TIME_MS_MIN: Final = -30_610_224_000_000
"""1000-01-01T00:00:00.000Z: the wire knows no earlier year."""
TIME_MS_MAX: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z."""

_DATETIME_SIZES: Final = (24, 29)
"""Characters in a ``DateTime``: in UTC, and with its distance from it."""

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE: Final = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([0-9]{4})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)


def parse_datetime(text: str) -> datetime | None:
    """The moment that a ``DateTime`` names, `None` where the text is not one.

    `datetime.fromisoformat` checks digits, calendar and clock; the guards before it refuse the other ISO 8601 forms
    that it also reads, in this Python or a later one (hour 24).
    """
    return _moment(text) if len(text) in _DATETIME_SIZES else None


@lru_cache(maxsize=1024)
def _moment(text: str) -> datetime | None:
    """Of a text that is not too long to be remembered: each is checked when it comes, and read when it counts."""
    if len(text) == 24:
        if text[23] != "Z":
            return None
    elif text[23] not in "+-" or text[24] not in "01" or text[26] != ":" or text[27] not in "012345":
        return None
    if text[0] == "0" or text[4] != "-" or text[7] != "-" or text[10] != "T" or text[11:13] > "23":
        return None
    if text[13] != ":" or text[16] != ":" or text[19] != ".":
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def parse_datetime_ms(text: str) -> int:
    """Milliseconds since 1970 UTC of a ``DateTime``. Raises `ValueError` where the text is not one."""
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(f"{text[:40]!r} is not a date and time as 2016-05-24T08:38:08.699Z")
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


@lru_cache(maxsize=64)
def format_datetime_ms(time_ms: int) -> str:
    """A ``DateTime`` in UTC, e.g. ``2016-05-24T12:38:08.699Z``.

    Raises `ValueError` for years the wire does not know (before 1000 or after 9999).
    """
    if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        raise ValueError(f"{time_ms} ms lies outside the years 1000 to 9999")
    return (_EPOCH_NAIVE + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds") + "Z"


def is_date(text: str) -> bool:
    """Whether the text is a ``Date``: ``YYYY-MM-DD``, a day that exists, after 999 (FSPIOP API 1.1 §7.2.15)."""
    if len(text) != 10 or text[0] == "0" or text[4] != "-" or text[7] != "-":
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def parse_http_date(text: str) -> int | None:
    """Seconds since 1970 UTC of an HTTP date; `None` where it is malformed, or names a day that was not that weekday.

    Only the fixed form of RFC 7231 is read, as the reference does; the two obsolete ones are refused.
    """
    match = _HTTP_DATE.fullmatch(text)
    if match is None:
        return None
    day_name, day, month, year, hour, minute, second = match.groups()
    try:
        moment = datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except ValueError:
        return None
    if _DAYS[moment.weekday()] != day_name:
        return None
    since = moment - _EPOCH
    return since.days * 86_400 + since.seconds


def format_http_date(time_ms: int) -> str:
    """The HTTP date of a moment, its milliseconds dropped. Made once for each second."""
    return _http_date(time_ms // 1000)


@lru_cache(maxsize=64)
def _http_date(time_s: int) -> str:
    moment = _EPOCH + timedelta(seconds=time_s)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year:04d}"
        f" {moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} GMT"
    )
