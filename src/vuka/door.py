"""A listening socket that counts connections from the moment they are accepted, and says when it can't accept any.

The event loop's own servers tell of a connection when TLS has been agreed on, so that nobody counts those that never
get so far; and where the process may open no more files, libuv accepts and closes whoever waits without a word to
anybody. Here connections are accepted first, and then given to the loop. It is work for each connection, not for each
request.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

import structlog

log: Final = structlog.get_logger("vuka.http")

ACCEPTED_AT_ONCE: Final = 64
"""Connections that are accepted before all else has its turn."""

PAUSE_SECONDS: Final = 0.2
"""How long those who wait are left to wait where the system has no room for another connection."""

SAID_SECONDS: Final = 5.0
"""How long the same is not said again."""

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Door:
    """Where connections of one API come in. `open` it, `close` it, and at last `break_off` what has not begun."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        api: str,
        connections: Callable[[], int],
        connections_max: int,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float = 60.0,
    ) -> None:
        """``connections`` says how many there are of those that have begun; one more than the limit is closed at once.

        ``api`` is what the log calls it.
        """
        self._listener = listener
        self._protocol = protocol
        self._api = api
        self._connections = connections
        self._connections_max = connections_max
        self._tls = tls
        self._handshake_seconds = handshake_seconds if tls is not None else None
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._said: dict[str, float] = {}
        """When something was said last, by the loop's clock."""
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def beginning(self) -> int:
        """How many connections have been accepted and have not begun: above all, their TLS has not been agreed on."""
        return len(self._beginning)

    def open(self, backlog: int) -> None:
        """Begins to listen; ``backlog`` connections wait to be accepted."""
        self._loop = asyncio.get_running_loop()
        self._listener.listen(backlog)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accepts no more. What is beginning goes on."""
        if self._loop is None:
            return
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._listener)
        self._loop = None
        self._listener.close()

    def break_off(self) -> None:
        """Ends what has not begun."""
        for each in list(self._beginning):
            each.cancel()

    def _accept(self) -> None:
        loop = self._loop
        for _ in range(ACCEPTED_AT_ONCE):
            if loop is None:
                return
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._wait(loop, error)
                    return
                # Whoever it was has gone already (accept(2)).
                continue
            if self._connections() + len(self._beginning) >= self._connections_max:
                accepted.close()
                self._say(
                    loop, "connections are closed at once: there are too many", connections_max=self._connections_max
                )
                continue
            accepted.setblocking(False)
            task = loop.create_task(self._begin(loop, accepted))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(
                self._protocol, accepted, ssl=self._tls, ssl_handshake_timeout=self._handshake_seconds
            )
        except OSError:
            # TLS was not agreed on, or not in time; the loop has closed it.
            return

    def _wait(self, loop: asyncio.AbstractEventLoop, error: OSError) -> None:
        self._say(
            loop,
            "no connection can be accepted: the system has no room for another (open files: LimitNOFILE=, ulimit -n)",
            error=error.strerror,
        )
        # Those who wait would wake the loop again and again.
        loop.remove_reader(self._listener)
        self._pause = loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._loop is not None:
            self._loop.add_reader(self._listener, self._accept)

    def _say(self, loop: asyncio.AbstractEventLoop, event: str, **facts: object) -> None:
        now = loop.time()
        if now - self._said.get(event, -SAID_SECONDS) >= SAID_SECONDS:
            self._said[event] = now
            log.warning(event, api=self._api, **facts)
