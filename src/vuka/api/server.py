"""The hub as a process: two listeners on one event loop, started and stopped in order.

The participants' API has the hub's own lean server (`vuka.httpserver`), the operators' uvicorn, where comfort counts.

A stop first lets requests under way end (the engine still commits them), then drains the engine and the courier.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from vuka import descriptors
from vuka.api.access import PEER, access_warnings
from vuka.api.admin import admin_app
from vuka.api.fspiop import FspiopApi
from vuka.api.hub import Hub, open_database
from vuka.api.observed import ObservedApi, ObservedFspiopApi
from vuka.api.siblings import Siblings
from vuka.api.tls import check_trusted, listener_context
from vuka.config import Config
from vuka.door import Door
from vuka.engine.membership import Identity, place_of
from vuka.errors import OperatorError
from vuka.httpserver import (
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    NOBODY,
    QUIET_SECONDS,
    STOP_LOOK_SECONDS,
    HttpServer,
    Limits,
    Peer,
)
from vuka.tls import FollowingContext, is_of_before

log: Final = structlog.get_logger("vuka.server")

KEEP_ALIVE_SECONDS: Final = 75
OPERATORS_REQUEST_SECONDS_MAX: Final = 60
"""How long an operator's request may take to arrive, from the connection or its first byte on."""
OPERATORS_CONNECTIONS_MAX: Final = 1_000
"""Connections of operators at once, those included whose TLS is not agreed on yet; one more is closed."""
SHUTDOWN_SECONDS: Final = 10
"""How long a stop waits for answers under way."""
BACKLOG: Final = 4_096
"""Connections that wait to be accepted: one more is dropped, and its client tries again after a second, then later."""
SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""How soon the thread that waits for the disk gets the interpreter back when its commit is done."""

FILES_SECONDS: Final = 1.0
"""How often files for TLS are looked at while nobody connects."""

_HEAD_TOO_LARGE: Final = f"The request's line and headers have more than {HEAD_BYTES_MAX} bytes."
_TOO_MANY_HEADERS: Final = f"The request has more than {HEADERS_MAX} headers."

YOUNG_OBJECTS: Final = 20_000
"""Objects made between two runs of the garbage collector: a batch of payments makes thousands, all short-lived."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a running hub listens."""

    participants_url: str
    operators_url: str


class _PeerProtocol(HttpToolsProtocol):
    """Tells each request's application who is at the other end of its connection, and waits for none without end.

    Nor does it keep a head without end, for the server itself keeps whatever comes.
    """

    _peer: Peer = NOBODY
    _deadline: asyncio.TimerHandle | None = None
    _head_size = 0
    _told = 0
    """How often the parser has told of anything."""
    _untold = 0
    """Bytes since then: those of a header that has no end yet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = Peer.of(transport)
        if is_of_before(self.config.ssl, transport):
            transport.abort()
        else:
            self._expect_request()

    def _expect_request(self) -> None:
        self._expect_none()
        self._deadline = self.loop.call_later(OPERATORS_REQUEST_SECONDS_MAX, self.transport.abort)

    def _expect_none(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_none()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        told = self._told
        super().data_received(data)
        self._untold = self._untold + len(data) if self._told == told else 0
        if self._untold > HEAD_BYTES_MAX:
            self.send_400_response(_HEAD_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        is_too_large = max(self._head_size, self._untold) > HEAD_BYTES_MAX
        if len(self.headers) >= HEADERS_MAX:
            msg = _TOO_MANY_HEADERS
        super().send_400_response(_HEAD_TOO_LARGE if is_too_large else msg)

    def _count(self, size: int) -> None:
        """Raises `ValueError`, which the parser passes on as its own, where a head has too many bytes."""
        self._told += 1
        self._head_size += size
        if self._head_size > HEAD_BYTES_MAX:
            raise ValueError(_HEAD_TOO_LARGE)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if len(self.headers) >= HEADERS_MAX:
            # Each takes memory, however short it is.
            raise ValueError(_TOO_MANY_HEADERS)
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._told += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._told += 1
        self._expect_none()
        super().on_message_complete()

    def on_message_begin(self) -> None:
        self._told += 1
        self._head_size = 0
        super().on_message_begin()
        self._expect_request()
        # The server's own keys are typed, an application's are its business.
        cast("dict[str, object]", self.scope)[PEER] = self._peer


class _Server(uvicorn.Server):
    """A listener that says when it listens, and leaves signals to the process: there are two of them."""

    def __init__(self, config: uvicorn.Config, connections_max: int) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._connections_max = connections_max
        self._doors: list[Door] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # It is given no socket to accept from: connections come in by doors of the hub's own.
        await super().startup([])
        for each in sockets or []:
            door = Door(
                each,
                self._protocol,
                api="operators",
                connections=self.server_state.connections.__len__,
                connections_max=self._connections_max,
                tls=self.config.ssl,
                handshake_seconds=OPERATORS_REQUEST_SECONDS_MAX,
            )
            door.open(self.config.backlog)
            self._doors.append(door)
        self.listening.set()

    def _protocol(self) -> _PeerProtocol:
        return _PeerProtocol(self.config, self.server_state, self.lifespan.state)

    def end_connections(self) -> None:
        """Has every connection end with what it owes: its client begins another, and is looked at anew."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):
                if _is_idle(connection):
                    connection.transport.abort()
                else:
                    connection.shutdown()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for door in self._doors:
            door.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await self._hear_newcomers()
        if self.config.ssl is not None:
            # TLS ends with a word of both sides, and whoever keeps a connection idle reads none: it is not waited for.
            for connection in list(self.server_state.connections):
                if isinstance(connection, HttpToolsProtocol) and _is_idle(connection):
                    connection.transport.abort()
        await super().shutdown(sockets)
        for door in self._doors:
            door.break_off()

    async def _hear_newcomers(self) -> None:
        """Waits until whoever has just come in has asked: it may be on its way."""
        while any(door.beginning for door in self._doors) or any(  # noqa: ASYNC110 - they are few, and it is not for long
            isinstance(each, HttpToolsProtocol) and _has_not_asked(each) for each in self.server_state.connections
        ):
            await asyncio.sleep(STOP_LOOK_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _has_not_asked(connection: HttpToolsProtocol) -> bool:
    """Whether no request has come on a connection yet."""
    # None until the first one, whatever its type says.
    cycle: object = connection.cycle
    return not isinstance(cycle, RequestResponseCycle)


def _is_idle(connection: HttpToolsProtocol) -> bool:
    """Whether no request is under way on a connection."""
    return _has_not_asked(connection) or connection.cycle.response_complete


def bind(host: str, port: int, name: str, *, shared: bool = False) -> socket.socket:
    """A socket for one of the APIs; where it is shared, others may be bound to the same port, and take turns.

    Raises `OperatorError` where the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches off Nagle's algorithm: an answer is not held back for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OperatorError(
            f"The {name} API can't listen on {host}:{port}: {error.strerror or error}. "
            f"Choose another with VUKA_{name.upper()}_API_PORT, or stop what uses it."
        ) from None
    listener.setblocking(False)
    return listener


def _url(listener: socket.socket, tls: ssl.SSLContext | None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def keep_what_is_there() -> None:
    """Has the garbage collector leave alone what is there now, and look less often.

    For a process that does nothing but serve a hub, once that is ready: what it has made by then lives as long as it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)


async def serve(
    config: Config,
    *,
    ready: Callable[[Addresses, Hub], None] | None = None,
    stop: asyncio.Event | None = None,
    identity: Identity | None = None,
    sockets: tuple[socket.socket, socket.socket] | None = None,
    siblings: Siblings | None = None,
) -> None:
    """Runs a hub until SIGTERM, SIGINT or ``stop``. ``ready`` is called once both APIs listen.

    A worker is given its identity, its sockets, for the participants and the operators, and the other workers; else
    sockets are made here.

    Raises `OperatorError` where there is no hub in the data directory, a port is taken, or a file for TLS will not do.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    participants_tls = listener_context(config.participants_api, "participants_api")
    operators_tls = listener_context(config.operators_api, "operators_api")
    check_trusted(config)
    with contextlib.ExitStack() as resources:
        database = open_database(config)
        resources.callback(database.close)
        if sockets is None:
            sockets = (
                bind(config.participants_api.host, config.participants_api.port, "participants"),
                bind(config.operators_api.host, config.operators_api.port, "operators"),
            )
        participants_socket, operators_socket = sockets
        for each in sockets:
            resources.callback(each.close)
        if identity is None and database.is_remote:
            identity = Identity.draw(place_of(Path(config.data_dir)))
        hub = Hub(config, database, identity=identity, siblings=siblings)
        for each in sockets:
            hub.destinations.listens(*each.getsockname()[:2])
        await hub.start()
        room = descriptors.room(
            config, operators_max=OPERATORS_CONNECTIONS_MAX, participants=len(hub.directory.participants)
        )
        participants = HttpServer(
            ObservedFspiopApi(FspiopApi(hub), metrics=hub.metrics),
            limits=Limits(
                request_seconds=config.participants_api.request_seconds_max,
                idle_seconds=KEEP_ALIVE_SECONDS,
                connections_max=room.participants,
            ),
            tls=participants_tls,
        )
        operators = _server(_operators_api(hub), operators_tls, room.operators)
        for listener, tls, server in (
            (config.participants_api, participants_tls, participants),
            (config.operators_api, operators_tls, operators),
        ):
            if tls is not None and listener.client_ca_file:
                # Whoever is believed no longer may have come in before.
                tls.on_change.append(server.end_connections)
        following = asyncio.create_task(_follow([each for each in (participants_tls, operators_tls) if each]))
        stopping = stop or asyncio.Event()
        _on_signals(stopping)
        await participants.start(participants_socket, backlog=BACKLOG)
        operators_task = asyncio.create_task(operators.serve(sockets=[operators_socket]))
        await operators.listening.wait()
        addresses = Addresses(_url(participants_socket, participants_tls), _url(operators_socket, operators_tls))
        log.info(
            "the hub is ready",
            participants=addresses.participants_url,
            operators=addresses.operators_url,
            data_dir=config.data_dir,
        )
        for warning in access_warnings(config, hub.directory, hub.now_ms()):
            log.warning(warning)
        if ready is not None:
            ready(addresses, hub)
        ends = [asyncio.create_task(event.wait()) for event in (stopping, hub.engine.fenced)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        log.info("the hub is stopping")
        hub.is_stopping = True
        following.cancel()
        operators.should_exit = True
        await asyncio.gather(participants.stop(SHUTDOWN_SECONDS), operators_task)
        await hub.stop()
        log.info("the hub has stopped")
        if hub.engine.fenced.is_set():
            raise OperatorError(hub.engine.fenced_because)


async def _follow(contexts: Sequence[FollowingContext]) -> None:
    """Looks whether files for TLS have changed, for those connections too after which no other comes."""
    while contexts:
        await asyncio.sleep(FILES_SECONDS)
        for each in contexts:
            each.refresh()


def _operators_api(hub: Hub) -> ObservedApi:
    app = admin_app(hub)
    paths = (str(getattr(route, "path", "")) for route in app.routes)
    return ObservedApi(app, api="operators", resources={path.split("/")[1] for path in paths}, metrics=hub.metrics)


def _server(app: Callable[..., object], tls: ssl.SSLContext | None, connections_max: int) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=_PeerProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=65_536,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        ),
        connections_max,
    )


def _on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may handle signals; a hub started in a test's thread is stopped by its event.
        with contextlib.suppress(RuntimeError, ValueError):
            loop.add_signal_handler(number, stopping.set)
