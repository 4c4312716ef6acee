"""How many files the system lets this process open, and for how many connections that is enough.

Every connection is an open file. Where there are more connections than files, nobody gets in, not even operators; so
the hub takes as many files as it may have, and no more connections than they are enough for.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Final

import msgspec
import structlog

from vuka.config import Config
from vuka.httpserver import REFUSED_AT_ONCE_MAX

log: Final = structlog.get_logger("vuka.server")

BESIDE_MAX: Final = 2 * 32
"""Files that are opened for moments, by the threads beside the loop: asyncio has 32 at most, and each may hold a
connection to the database, or a file and the log that SQLite keeps beside it."""


class Room(msgspec.Struct, frozen=True):
    """Connections at once for which there are files enough."""

    participants: int
    operators: int


def take_all() -> None:
    """Raises this process's limit of open files as far as it may itself. Whoever it starts has it too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not every system takes its own word for it that there is no limit.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room(config: Config, *, operators_max: int, participants: int) -> Room:
    """The room for connections beside all else that is open, once a hub has started; where it is small the log says so.

    ``operators_max`` are the connections of operators that there may be, ``participants`` those to whom it delivers.
    """
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files_max == resource.RLIM_INFINITY:
        files_max = sys.maxsize
    outgoing = config.courier.in_flight_max * participants + config.oracles.in_flight_max
    wanted = (config.participants_api.connections_max, operators_max, outgoing)
    own = _open_now() + BESIDE_MAX + REFUSED_AT_ONCE_MAX
    shares = shared(max(files_max - own, 0), wanted)
    found = Room(shares[0], shares[1])
    if shares != wanted:
        log.warning(
            "fewer connections are taken, for the system lets the hub open too few files: raise its limit with "
            "LimitNOFILE= (systemd), ulimit -n (shell), ulimits.nofile (container)",
            files_max=files_max,
            files_needed=own + sum(wanted),
            connections_max=found.participants,
            operators_connections_max=found.operators,
        )
    return found


def shared(files: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """What each of several gets: what it wants, or where that is too much its part in proportion, and one at least."""
    total = sum(wanted)
    return wanted if total <= files else tuple(max(1, each * files // total) for each in wanted)


def _open_now() -> int:
    return len(os.listdir("/dev/fd"))
