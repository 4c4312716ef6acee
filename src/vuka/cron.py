"""When a schedule is due: a cron expression, a time zone, and the moments that they name together.

An expression has five fields (minute, hour, day of the month, month, day of the week) and is read by cronsim as
Debian's cron reads it; ``L`` is the last day of a month, ``5L`` its last Friday, ``MON#1`` its first Monday. Where the
clocks of the zone change, one that names minute and hour runs once a day as ever: what falls into the hour that is left
out is due when that hour would have begun, what falls into the hour that comes twice is due the first time. One with
``*`` for the minute or the hour follows the time that passes.

Nothing here looks at a clock. The rules of the zones are data, as the list of currencies is: the machine's, or those of
the package tzdata where it has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS: Final = 5
LENGTH_MAX: Final = 100
"""The longest expression, in characters."""

EXAMPLE: Final = "0 18 * * MON-FRI"


class CronError(ValueError):
    """The expression or the time zone will not do; the text says what to write instead, in 100 characters at most."""


def next_ms(expression: str, time_zone: str, after_ms: int) -> int:
    """The first moment after ``after_ms`` (milliseconds UTC since 1970). Raises `CronError`."""
    return next(moments(expression, time_zone, after_ms))


def moments(expression: str, time_zone: str, after_ms: int) -> Iterator[int]:
    """Every moment after ``after_ms``, in order. Raises `CronError` at the first where there is none in 50 years."""
    fields = expression.split()
    if len(fields) != FIELDS or len(expression) > LENGTH_MAX:
        raise CronError(f'"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. {EXAMPLE}')
    zone = _zone(time_zone)
    last_ms = after_ms
    try:
        for moment in CronSim(" ".join(fields), datetime.fromtimestamp(after_ms // 1000, zone)):
            at_ms = int(moment.timestamp()) * 1000
            # Begun within the hour that comes twice, cronsim names its first pass, which is over.
            if at_ms > last_ms:
                yield at_ms
                last_ms = at_ms
    except CronSimError as error:
        raise CronError(f'"cron" has a {str(error).lower()}. Write it e.g. as {EXAMPLE}') from None
    except (ValueError, OverflowError):
        # The years that there are have an end.
        pass
    if last_ms == after_ms:
        raise CronError(f'"cron" names a day that never comes. Write it e.g. as {EXAMPLE}')


def _zone(name: str) -> ZoneInfo:
    if name not in time_zones():
        raise CronError(f'"timeZone" {ascii(name)[:25]} is not in the IANA database. Write it e.g. as Africa/Kigali')
    return ZoneInfo(name)


@cache
def time_zones() -> frozenset[str]:
    """The names of the IANA database, without what machines add to them (``localtime``, ``right/…``)."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())
