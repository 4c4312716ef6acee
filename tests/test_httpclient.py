"""The HTTP client, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from vuka import httpclient
from vuka.httpclient import ANSWER_BYTES_MAX, HttpClient, Request, Response, TransportError
from vuka.sim.server import Answer, Inquiry, Server

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(talk: Talk) -> AsyncIterator[str]:
    """A server that does exactly what ``talk`` says with each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_ms=500, timeout_ms=500)
    yield made
    await made.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Server, list[Inquiry]]]:
    got: list[Inquiry] = []

    def handle(inquiry: Inquiry) -> Answer:
        got.append(inquiry)
        return Answer(200, inquiry.body)

    server = Server(handle)
    await server.start()
    yield server, got
    await server.stop()


async def test_every_method_is_sent_as_it_is_whatever_the_handle_did_before(
    client: HttpClient, echo: tuple[Server, list[Inquiry]]
) -> None:
    server, got = echo
    asked = [("POST", b"a"), ("GET", None), ("PUT", b"\x00\xff"), ("PATCH", b"b"), ("DELETE", None), ("POST", b"")]
    for method, body in asked:
        answer = await client.send(Request(method, f"{server.url}/x", (), body))
        assert (answer.status, answer.body) == (200, body or b"")
    assert [(each.method, each.body) for each in got] == [(method, body or b"") for method, body in asked]
    assert len(server.connections) == 1, "the connection is kept"


async def test_headers_are_sent_as_given_and_none_is_added(
    client: HttpClient, echo: tuple[Server, list[Inquiry]]
) -> None:
    server, got = echo
    headers = [("FSPIOP-Source", "payerfsp"), ("FSPIOP-Destination", "")]
    await client.send(Request("PUT", f"{server.url}/x", headers, b"{}"))
    assert got[0].headers["fspiop-source"] == "payerfsp"
    assert got[0].headers["fspiop-destination"] == ""
    assert got[0].headers.keys() == {"host", "user-agent", "content-length", "fspiop-source", "fspiop-destination"}


@pytest.mark.parametrize("header", [("X", "a\r\nEvil: 1"), ("X\n", "a"), ("X", "a\0b")])
async def test_a_line_end_in_a_header_is_refused(client: HttpClient, header: tuple[str, str]) -> None:
    with pytest.raises(TransportError, match="line end"):
        await client.send(Request("GET", "http://127.0.0.1:1/", [header]))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "nonsense://x", "http://"])
async def test_only_http_and_https_are_spoken(client: HttpClient, url: str) -> None:
    with pytest.raises(TransportError):
        await client.send(Request("GET", url))


async def test_nobody_listening_is_connection_refused(client: HttpClient) -> None:
    with pytest.raises(TransportError, match="refused"):
        await client.send(Request("GET", "http://127.0.0.1:1/"))


async def test_no_answer_in_time_is_a_time_out(client: HttpClient) -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as url:
        with pytest.raises(TransportError, match="timed out after"):
            await client.send(Request("GET", url))


@pytest.mark.parametrize("said", [b"", b"this is not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_broken_answer_is_a_transport_error(client: HttpClient, said: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with raw_server(break_off) as url:
        with pytest.raises(TransportError):
            await client.send(Request("GET", url))


async def test_an_answer_in_another_protocol_is_none(client: HttpClient) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with raw_server(talk) as url:
        with pytest.raises(TransportError, match="another protocol"):
            await client.send(Request("GET", url))


async def test_an_answer_that_is_too_large_is_refused(client: HttpClient) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size = ANSWER_BYTES_MAX + 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await writer.drain()

    async with raw_server(flood) as url:
        with pytest.raises(TransportError, match="too large"):
            await client.send(Request("GET", url))


async def test_a_redirect_is_an_answer_and_is_not_followed(client: HttpClient) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(redirect) as url:
        answer = await client.send(Request("GET", url))
    assert (answer.status, answer.headers["location"]) == (302, "http://127.0.0.1:1/")


async def test_a_kept_connection_that_the_server_has_closed_is_replaced(client: HttpClient) -> None:
    connections = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(once) as url:
        for _ in range(3):
            assert (await client.send(Request("GET", url))).status == 200
    assert connections == 3


async def test_a_connection_that_is_reset_says_so(client: HttpClient) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with raw_server(reset) as url:
        with pytest.raises(TransportError, match="reset"):
            await client.send(Request("GET", url))


async def test_a_post_on_a_kept_connection_that_the_server_closed_while_it_was_idle_is_sent_again(
    client: HttpClient,
) -> None:
    bodies: list[bytes] = []
    close_now, closed = asyncio.Event(), asyncio.Event()

    async def answer_then_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        bodies.append(await reader.readexactly(3))
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await close_now.wait()
        writer.close()
        closed.set()

    async with raw_server(answer_then_close) as url:
        assert (await client.send(Request("POST", url, (), b"one"))).status == 202
        close_now.set()
        await closed.wait()
        assert (await client.send(Request("POST", url, (), b"two"))).status == 202
    assert bodies == [b"one", b"two"]


async def test_only_the_last_answer_counts_and_its_headers_are_read_without_regard_to_case(client: HttpClient) -> None:
    async def interim(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many\r\nRETRY-After:  7 \r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\nabc\r\n0\r\n\r\n")
        await reader.read()

    async with raw_server(interim) as url:
        answer = await client.send(Request("GET", url))
        assert (answer.status, answer.body) == (429, b"abc")
        assert answer.headers == {"retry-after": "7", "transfer-encoding": "chunked"}
        assert 0 <= answer.total_ms < 500


async def test_an_answer_to_one_request_may_start_another(
    client: HttpClient, echo: tuple[Server, list[Inquiry]]
) -> None:
    server, got = echo
    done: asyncio.Future[Response | TransportError] = asyncio.get_running_loop().create_future()
    client.start(
        Request("GET", f"{server.url}/first"),
        lambda _answer: client.start(Request("GET", f"{server.url}/second"), done.set_result),
    )
    assert isinstance(await done, Response)
    assert [each.path for each in got] == ["/first", "/second"]


async def test_of_the_names_that_were_sent_none_is_kept_that_is_long(
    client: HttpClient, echo: tuple[Server, list[Inquiry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: set[str] = set()
    monkeypatch.setattr(httpclient, "_OTHER", kept)
    long = "X-" + "y" * 60_000
    for _ in range(2):
        await client.send(Request("GET", f"{echo[0].url}/x", [("X-Short", "1"), (long, "2")]))
        with pytest.raises(TransportError, match="the client's to set"):
            await client.send(Request("GET", f"{echo[0].url}/x", [("X-Short", "1"), ("CONTENT-length", "2")]))
    assert kept == {"X-Short"}, "a participant chooses the names, and would fill the memory with them"


@pytest.mark.parametrize("request_", [Request("GET", "http://127.0.0.1/ü"), Request("GET", "http://x/", [("X", "ü")])])
async def test_what_is_not_ascii_is_refused_and_the_client_goes_on(
    client: HttpClient, echo: tuple[Server, list[Inquiry]], request_: Request
) -> None:
    with pytest.raises(TransportError):
        await client.send(request_)
    assert (await client.send(Request("GET", f"{echo[0].url}/x"))).status == 200


async def test_a_request_that_nobody_awaits_any_more_harms_nothing(
    client: HttpClient, echo: tuple[Server, list[Inquiry]]
) -> None:
    server, got = echo
    waiting = asyncio.create_task(client.send(Request("GET", f"{server.url}/gone")))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await client.send(Request("GET", f"{server.url}/here"))).status == 200
    assert {each.path for each in got} == {"/gone", "/here"}


async def test_one_that_hangs_does_not_hold_up_others_on_the_same_address(client: HttpClient) -> None:
    server = Server(lambda inquiry: None if inquiry.path == "/hang" else Answer(200))
    await server.start()
    outcomes: list[Response | TransportError] = []
    for _ in range(100):
        client.start(Request("GET", f"{server.url}/hang"), outcomes.append)
    async with asyncio.timeout(0.4):
        assert (await client.send(Request("GET", f"{server.url}/fine"))).status == 200
    assert outcomes == []
    await server.stop()


async def test_a_callback_that_fails_harms_no_other(client: HttpClient, echo: tuple[Server, list[Inquiry]]) -> None:
    server, _got = echo
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))

    def fail(_answer: Response | TransportError) -> None:
        raise RuntimeError("a defect")

    client.start(Request("GET", f"{server.url}/x"), fail)
    assert (await client.send(Request("GET", f"{server.url}/y"))).status == 200
    assert [str(each["exception"]) for each in failures] == ["a defect"]


async def test_closing_ends_what_is_under_way_and_refuses_what_comes_after() -> None:
    client = HttpClient()
    outcomes: list[Response | TransportError] = []
    server = Server(lambda _inquiry: None)
    await server.start()
    client.start(Request("GET", f"{server.url}/hang"), outcomes.append)
    await client.close()
    with pytest.raises(TransportError, match="closed"):
        await client.send(Request("GET", server.url))
    assert [str(each) for each in outcomes] == ["the client was closed"]
    await server.stop()


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
async def test_where_a_body_ends_is_not_the_callers_to_say(client: HttpClient, name: str) -> None:
    with pytest.raises(TransportError, match="client's to set"):
        await client.send(Request("POST", "http://127.0.0.1:1/", [(name, "chunked")], b"x"))


async def test_an_answer_without_a_length_ends_with_its_connection(client: HttpClient) -> None:
    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of ")
        await writer.drain()
        writer.write(b"it")

    async with raw_server(until_closed) as url:
        assert (await client.send(Request("GET", url))).body == b"all of it"


async def test_what_comes_unasked_is_no_answer_to_the_next_request(client: HttpClient) -> None:
    answered = 0

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        await reader.readuntil(b"\r\n\r\n")
        answered += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % answered)
        writer.write(b"HTTP/1.1 500 Forged\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()
        await reader.read()

    async with raw_server(twice) as url:
        answers = [await client.send(Request("GET", url)) for _ in range(3)]
    assert [(each.status, each.body) for each in answers] == [(200, b"1"), (200, b"2"), (200, b"3")]


async def test_a_name_and_password_in_the_url_are_shown(client: HttpClient, echo: tuple[Server, list[Inquiry]]) -> None:
    server, got = echo
    await client.send(Request("GET", server.url.replace("//", "//hub:p%40ss@") + "/x"))
    assert got[0].headers["authorization"] == "Basic aHViOnBAc3M="


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = 0

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while not reader.at_eof():
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(patient) as url:
        await client.send(Request("GET", url))
        await client.send(Request("GET", url))
        assert connections == 1
        monkeypatch.setattr("vuka.httpclient.IDLE_SECONDS_MAX", 0)
        await client.send(Request("GET", url))
    assert connections == 2


# --- whom it may connect to -------------------------------------------------------------------------------------------


class Only:
    """A guard that knows one address, and what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, str, int, bool]] = []

    def refusal(self, host: str, address: str, port: int, *, is_secure: bool) -> str | None:
        self.asked.append((host, address, port, is_secure))
        return None if address == self.address else f"not {address}"


def _resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Has names resolve to these addresses, other ones each time; what was looked up."""
    looked_up: list[str] = []
    rest = list(answers)

    async def getaddrinfo(host: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in rest.pop(0)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return looked_up


async def test_what_a_guard_refuses_is_not_connected_to(echo: tuple[Server, list[Inquiry]]) -> None:
    server, heard = echo
    guard = Only("192.0.2.1")
    client = HttpClient(guard=guard)
    with pytest.raises(TransportError, match=r"not 127\.0\.0\.1"):
        await client.send(Request("GET", f"{server.url}/"))
    assert heard == []
    assert guard.asked == [("127.0.0.1", "127.0.0.1", server.port, False)]
    await client.close()


async def test_a_name_is_connected_to_at_the_address_that_was_looked_at(
    echo: tuple[Server, list[Inquiry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers one address to the check and another to the connection gains nothing."""
    server, heard = echo
    looked_up = _resolving(monkeypatch, ["192.0.2.9", "127.0.0.1"], ["192.0.2.9"])
    client = HttpClient(guard=Only("127.0.0.1"))
    answer = await client.send(Request("GET", f"http://dfsp.example:{server.port}/x"))
    assert answer.status == 200
    assert looked_up == ["dfsp.example"]
    assert heard[0].headers["host"] == f"dfsp.example:{server.port}"
    await client.close()
    again = HttpClient(guard=Only("127.0.0.1"))
    with pytest.raises(TransportError, match=r"not 192\.0\.2\.9"):
        await again.send(Request("GET", f"http://dfsp.example:{server.port}/x"))
    assert len(heard) == 1
    await again.close()


async def test_of_several_addresses_the_next_is_tried_where_one_does_not_answer(
    echo: tuple[Server, list[Inquiry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, heard = echo
    _resolving(monkeypatch, ["127.0.0.2", "127.0.0.1"])

    class Anybody:
        def refusal(self, host: str, address: str, port: int, *, is_secure: bool) -> str | None:
            return None

    client = HttpClient(guard=Anybody())
    assert (await client.send(Request("GET", f"http://dfsp.example:{server.port}/"))).status == 200
    assert len(heard) == 1
    await client.close()


# --- who answers slowly, or without end -------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
async def test_an_answer_that_drips_ends_with_the_time_of_the_request(start: bytes) -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    client = HttpClient(timeout_ms=200)
    async with raw_server(drip) as url:
        with pytest.raises(TransportError, match="timed out after"):
            await client.send(Request("GET", url))
    await client.close()


@pytest.mark.parametrize("header", [b"X-%d: " + b"y" * 1_000 + b"\r\n", b"x" * 1_000])
async def test_headers_without_end_are_refused(header: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in itertools.count():
            writer.write(header % number if b"%d" in header else header)
            await writer.drain()

    client = HttpClient(timeout_ms=5_000)
    async with raw_server(talk) as url:
        with pytest.raises(TransportError, match=r"too large|not HTTP"):
            await client.send(Request("GET", url))
    await client.close()
