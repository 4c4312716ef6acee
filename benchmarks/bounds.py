"""Where the hub's time for a cleared transfer goes, and how little each part could cost on this machine.

    python benchmarks/bounds.py
    python benchmarks/bounds.py --runs 5 --times 10000

Each part is measured alone, as CPU microseconds a transfer, twice: as the hub does it, and as the least that has to be
done in its place (*the bound*): bare protocols on httptools that look at nothing, msgspec decoding into the same types,
the same statements with the same values given to SQLite by a loop that decides nothing, the same bytes appended to a
file and flushed. What the hub's process uses in all is measured under load, 64 transfers under way; the part of it that
none of these is (futures, tasks, queues, metrics, timers, two threads that share an interpreter) stands last.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import structlog
import uvloop
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from growth import CLEARING, PLAIN, Filler
from vuka.api.fspiop import Accepted, FspiopApi
from vuka.api.hub import Hub, open_database
from vuka.api.server import SWITCH_INTERVAL_SECONDS
from vuka.cli.bench.machine import Machine, describe
from vuka.cli.bench.observed import usage_of
from vuka.cli.bench.security import make_secrets
from vuka.cli.bench.session import Terms, drive, in_turn, run_session, running_hub, stop
from vuka.cli.hub import found
from vuka.cli.options import read_config
from vuka.cli.output import print_table
from vuka.config import load
from vuka.fspiop.jws import PrivateKey, verify
from vuka.fspiop.messages import TransfersIDPutResponse, TransfersPostRequest
from vuka.fspiop.times import format_datetime_ms, format_http_date
from vuka.httpclient import HttpClient, Request
from vuka.httpserver import Answer, Exchange, Head, HttpServer
from vuka.sim.bench.messages import (
    COMPLETED,
    CURRENCY,
    DATE,
    EXPIRES,
    PARTY,
    QUOTE,
    SIGNATURE,
    TRANSFER,
    Fields,
    Form,
    Kind,
    Pair,
    make_pairs,
)
from vuka.sim.bench.participants import NAMES
from vuka.sim.bench.shapes import Shape
from vuka.sim.bench.wire import Connections, Listener
from vuka.sim.participant import now_ms
from vuka.sim.unquoted import CONDITION, FULFILMENT
from vuka.store import Value
from vuka.store.sqlite import SqliteTx
from vuka.switch.work import Command

UNDER_WAY = 64
RECEIVED, SENT = 2, 3
"""Messages that the hub reads and writes for one transfer: prepare, fulfil; prepare, the end to payer and payee."""

TURNS = 10_000_000


class Part(msgspec.Struct):
    """CPU microseconds a transfer."""

    name: str
    hub: float
    bound: float


class Bounds(msgspec.Struct):
    """Everything."""

    machine: Machine
    turns_seconds: float
    """How long ten million turns of ``s += i * i`` take: what this machine's Python is like."""
    batch: int
    """Transfers whose two commands are as many as a batch had under load."""
    per_second: float
    parts: list[Part]
    rest: float
    total: float
    signatures: Part
    flush_ms: float
    """How long the disk takes to have a batch's bytes."""


def fields(at_ms: int) -> Fields:
    """A payment's ids and times."""
    return {
        TRANSFER: str(uuid.uuid4()).encode(),
        QUOTE: b"",
        PARTY: b"",
        DATE: format_http_date(at_ms).encode(),
        EXPIRES: format_datetime_ms(at_ms + 60_000).encode(),
        COMPLETED: format_datetime_ms(at_ms).encode(),
        SIGNATURE: b"",
    }


def pair() -> Pair:
    """A payer and a payee."""
    return make_pairs(NAMES[:8], reserves=True, host="127.0.0.1")[0]


# --- HTTP in --------------------------------------------------------------------------------------------------------


class Yes:
    """An application that takes whatever comes."""

    body_bytes_max = 10_000_000

    def accept(self, _head: Head) -> Exchange:
        """Everything."""
        return self

    def refuse(self, _fault: object) -> Answer:
        """What is no request."""
        return Answer(400)

    async def answer(self, _body: bytes) -> Answer:
        """Accepted."""
        return Answer(202)


async def serve_bare() -> None:
    """A server that looks at nothing; says its port, and serves until it is killed."""
    listener = Listener(lambda _method, _path, _body: None)
    await listener.start()
    print(listener.port, flush=True)
    await asyncio.Event().wait()


async def serve_hub() -> None:
    """The hub's server, with nothing behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        await HttpServer(Yes()).start(listener)
        print(listener.getsockname()[1], flush=True)
        await asyncio.Event().wait()


@contextlib.contextmanager
def child(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This script in a process of its own, which does one thing."""
    command = [sys.executable, __file__, "--child", name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> int:
    """The number that a child says next."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def in_rounds(start: Callable[[int, Callable[[], None]], None], times: int) -> Coroutine[Any, Any, None]:
    """Starts so many things, 64 under way at once; ``start`` is given a number and what to call in the end."""

    async def run() -> None:
        over = asyncio.Event()
        begun = ended = 0

        def following() -> None:
            nonlocal begun, ended
            ended += 1
            if ended == times:
                over.set()
            if begun < times:
                begun += 1
                start(begun - 1, following)

        begun = min(UNDER_WAY, times)
        for number in range(begun):
            start(number, following)
        await over.wait()

    return run()


def http_in(server: str, messages: Sequence[bytes]) -> float:
    """CPU microseconds of a server for one message."""
    with child(server) as process:
        port = line_of(process)

        async def send() -> float:
            connections = Connections("127.0.0.1", port, connections_max=UNDER_WAY)

            def start(number: int, done: Callable[[], None]) -> None:
                connections.send(messages[number % len(messages)], lambda _status, _body: done())

            await in_rounds(start, len(messages) // 4)
            before = usage_of(process.pid).cpu_seconds
            await in_rounds(start, len(messages))
            used = usage_of(process.pid).cpu_seconds - before
            await connections.close()
            return used / len(messages) * 1e6

        return uvloop.run(send())


# --- HTTP out -------------------------------------------------------------------------------------------------------


async def send_bare(port: int, times: int) -> float:
    """A client that looks at nothing: CPU microseconds a message."""
    connections = Connections("127.0.0.1", port, connections_max=UNDER_WAY)
    message = pair().forms[Kind.PREPARE].fill(fields(now_ms()))

    def start(_number: int, done: Callable[[], None]) -> None:
        connections.send(message, lambda _status, _body: done())

    return await timed(start, times)


async def send_hub(port: int, times: int) -> float:
    """The hub's client."""
    client = HttpClient()
    method, path, headers, body = parted(pair().forms[Kind.PREPARE].fill(fields(now_ms())))
    request = Request(method, f"http://127.0.0.1:{port}{path}", headers, body)

    def start(_number: int, done: Callable[[], None]) -> None:
        client.start(request, lambda _outcome: done())

    return await timed(start, times)


async def timed(start: Callable[[int, Callable[[], None]], None], times: int) -> float:
    """CPU microseconds of this process for one message."""
    await in_rounds(start, times // 4)
    before = time.process_time()
    await in_rounds(start, times)
    return (time.process_time() - before) / times * 1e6


def http_out(client: str, times: int) -> float:
    """CPU microseconds of a client for one message."""

    async def serve() -> float:
        listener = Listener(lambda _method, _path, _body: None)
        await listener.start()
        with child(client, str(listener.port), str(times)) as process:
            answer = await asyncio.get_running_loop().run_in_executor(None, lambda: process.communicate()[0])
        await listener.stop()
        return float(answer)

    return uvloop.run(serve())


def parted(message: bytes) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """A message's method, path, headers without those that a client adds, and body."""
    head, _, body = message.partition(b"\r\n\r\n")
    request, *lines = head.decode().split("\r\n")
    method, path, _ = request.split(" ")
    headers = [(name, value) for name, _, value in (each.partition(": ") for each in lines)]
    return method, path, [each for each in headers if each[0] not in ("Host", "Content-Length")], body


# --- what a message is checked for ------------------------------------------------------------------------------------


class Unsubmitted(Hub):
    """A hub that says yes to every command, and forgets it."""

    async def submit(self, _command: Command) -> object:
        """Nothing."""
        return None


def checked(data: Path, forms: Sequence[tuple[Form, Fields]]) -> float:
    """CPU microseconds a message: headers, sender, JSON, every rule about a field, up to the command."""

    async def run() -> float:
        config = read_config(data, is_at_home=True)
        database = open_database(config)
        hub = Unsubmitted(config, database)
        await hub.start()
        api = FspiopApi(hub)
        requests = []
        for form, filled in forms:
            method, path, headers, body = parted(form.fill(filled))
            raw = [(name.encode(), value.encode()) for name, value in headers]
            raw.append((b"Content-Length", str(len(body)).encode()))
            requests.append((Head(method, path.encode(), b"", raw), body))
        before = time.thread_time()
        for head, body in requests:
            accepted = api.accept(head)
            assert isinstance(accepted, Accepted), accepted
            answer = await accepted.answer(body)
            assert answer.status in (200, 202), answer
        used = time.thread_time() - before
        await hub.stop()
        database.close()
        return used / len(requests) * 1e6

    return asyncio.run(run())


def decoded(forms: Sequence[tuple[Form, Fields]]) -> float:
    """CPU microseconds a message: JSON into the same types, the same patterns held, nothing else."""
    decoders: dict[bytes, msgspec.json.Decoder[Any]] = {
        b"POST": msgspec.json.Decoder(TransfersPostRequest),
        b"PUT ": msgspec.json.Decoder(TransfersIDPutResponse),
    }
    messages = [form.fill(filled) for form, filled in forms]
    bodies = [(decoders[each[:4]], each.partition(b"\r\n\r\n")[2]) for each in messages]

    def decode(number: int) -> None:
        decoder, body = bodies[number]
        decoder.decode(body)

    return per(len(bodies), decode)


def per(times: int, work: Callable[[int], None]) -> float:
    """CPU microseconds of this thread for one of so many, each of which ``work`` is given the number of."""
    before = time.thread_time()
    for number in range(times):
        work(number)
    return (time.thread_time() - before) / times * 1e6


# --- rules, ledger, rows ----------------------------------------------------------------------------------------------


class Statements:
    """What a batch gave to SQLite, to be given to it again."""

    def __init__(self) -> None:
        self.made: list[tuple[bool, str, list[Sequence[Value]]]] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Notes every statement that a transaction is given."""
        run, run_many, query, query_in = SqliteTx.run, SqliteTx.run_many, SqliteTx.query, SqliteTx.query_in
        made = self.made

        def noting_run(tx: SqliteTx, sql: str, parameters: Sequence[Value] = ()) -> int:
            made.append((False, sql, [parameters]))
            return run(tx, sql, parameters)

        def noting_many(tx: SqliteTx, sql: str, rows: Iterable[Sequence[Value]]) -> None:
            kept = list(rows)
            made.append((True, sql, kept))
            run_many(tx, sql, kept)

        def noting_query(tx: SqliteTx, sql: str, parameters: Sequence[Value] = ()) -> Any:
            made.append((False, sql, [parameters]))
            return query(tx, sql, parameters)

        def noting_in(tx: SqliteTx, sql: str, values: Sequence[Value], parameters: Sequence[Value] = ()) -> Any:
            if values:
                before, after = sql.split("{values}")
                places = 1 << (len(values) - 1).bit_length()
                filled = (*parameters, *values, *(values[-1],) * (places - len(values)))
                made.append((False, f"{before}({','.join('?' * places)}){after}", [filled]))
            return query_in(tx, sql, values, parameters)

        with (
            mock.patch.object(SqliteTx, "run", noting_run),
            mock.patch.object(SqliteTx, "run_many", noting_many),
            mock.patch.object(SqliteTx, "query", noting_query),
            mock.patch.object(SqliteTx, "query_in", noting_in),
        ):
            yield


def batches(data: Path, transfers: int, size: int, *, note: Statements | None = None) -> tuple[float, float]:
    """CPU microseconds a transfer of batches in process: to decide and write, and to commit."""
    filler = Filler(read_config(data, is_at_home=True), batch=size)
    with note.noted() if note is not None else contextlib.nullcontext():
        filler.fill(transfers)
    filler.close()
    return filler.decide_seconds / transfers * 1e6, filler.commit_seconds / transfers * 1e6


def replayed(copy: Path, statements: Statements, transfers: int) -> float:
    """CPU microseconds a transfer of the same statements, on a copy of the database as it was before them."""
    connection = sqlite3.connect(copy, isolation_level=None, cached_statements=512)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    before = time.thread_time()
    for is_many, sql, rows in statements.made:
        if is_many:
            cursor.executemany(sql, rows)
        else:
            cursor.execute(sql, rows[0]).fetchall()
    used = time.thread_time() - before
    cursor.execute("ROLLBACK")
    connection.close()
    return used / transfers * 1e6


def flushed(folder: Path, size: int, times: int) -> tuple[float, float]:
    """CPU microseconds and elapsed milliseconds of appending so many bytes to a file and waiting for the disk."""
    block = os.urandom(size)
    waits = []
    with (folder / "log").open("wb", buffering=0) as file:
        file.write(bytes(size * times))
        os.fsync(file.fileno())
        file.seek(0)
        before = time.process_time()
        for _ in range(times):
            started = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            waits.append(time.perf_counter() - started)
        used = time.process_time() - before
    return used / times * 1e6, statistics.median(waits) * 1000


# --- all together -----------------------------------------------------------------------------------------------------


def fulfilled(times: int) -> float:
    """CPU microseconds of what a fulfilment has to be checked for: that it is the condition's."""

    def check(_number: int) -> None:
        digest = hashlib.sha256(base64.urlsafe_b64decode(FULFILMENT + "=")).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == CONDITION

    return per(times, check)


def signatures(times: int) -> Part:
    """Checking the payer's and the payee's RS256: all of it, and the library's own part."""
    key = PrivateKey.generate("RS256")
    form, filled = pair().forms[Kind.PREPARE], fields(now_ms())
    filled[SIGNATURE] = form.sign(key, filled)
    method, path, headers, body = parted(form.fill(filled))
    known = {name.lower(): value for name, value in headers}
    private = rsa.generate_private_key(65537, 2048)
    public, signature = private.public_key(), private.sign(body, padding.PKCS1v15(), SHA256())

    def check(_number: int) -> None:
        verify([key.public], method=method, path=path, get=known.get, body=body)

    def check_barely(_number: int) -> None:
        public.verify(signature, body, padding.PKCS1v15(), SHA256())

    hub, bound = per(times, check), per(times, check_barely)
    return Part("two RS256 signatures, where they are asked for", RECEIVED * hub, RECEIVED * bound)


def median(runs: int, work: Callable[[], float]) -> float:
    """The median of so many runs."""
    return statistics.median(work() for _ in range(runs))


def run(options: argparse.Namespace, folder: Path) -> Bounds:
    """Everything."""
    times, runs = options.times, options.runs
    machine = describe(folder)
    started = time.perf_counter()
    total = 0
    for number in range(TURNS):
        total += number * number
    turns_seconds = time.perf_counter() - started

    data = folder / "hub"
    terms = Terms(folder, make_secrets(folder, 8), seconds=options.seconds, warmup_seconds=1.0)
    found(load(None, {}, data_dir=str(data)), "Bounds", [CURRENCY])
    with running_hub(terms, PLAIN, data) as hub:
        drive(terms, CLEARING, PLAIN, in_turn([]), hub, data / "ends")
        stop(hub)
    # Under load first: what follows fills these data.
    sessions = [
        run_session(terms, CLEARING, PLAIN, in_turn([Shape(concurrency=UNDER_WAY)]), name=f"load{number}").figures[0]
        for number in range(runs)
    ]
    whole = statistics.median(each.hub_cpu_ms_per_transfer for each in sessions) * 1000
    size = max(round(statistics.median(each.commands_per_commit for each in sessions) / RECEIVED), 1)

    two = [(pair().forms[kind], fields(now_ms())) for _ in range(times // 2) for kind in (Kind.PREPARE, Kind.FULFIL)]
    messages = [form.fill(filled) for form, filled in two]
    parts = [
        Part(
            "HTTP in: two messages read and answered",
            RECEIVED * median(runs, lambda: http_in("serve-hub", messages)),
            RECEIVED * median(runs, lambda: http_in("serve-bare", messages)),
        ),
        Part(
            "checking two messages: headers, sender, JSON, fields",
            RECEIVED * median(runs, lambda: checked(data, two)),
            RECEIVED * median(runs, lambda: decoded(two)),
        ),
    ]
    copy, statements = folder / "copy.db", Statements()
    batches(data, size * 40, size)
    with (
        contextlib.closing(sqlite3.connect(data / "vuka.db")) as source,
        contextlib.closing(sqlite3.connect(copy)) as to,
    ):
        source.backup(to)
    few = size * 20
    batches(data, few, size, note=statements)
    sql = median(runs, lambda: replayed(copy, statements, few))
    measured = [batches(data, times, size) for _ in range(runs)]
    decide, commit = (statistics.median(column) for column in zip(*measured, strict=True))
    written = int(statistics.median(each.written_bytes_per_transfer for each in sessions) * size)
    flushes = [flushed(folder, written, 100) for _ in range(runs)]
    parts += [
        Part(
            "deciding: rules, ledger, messages to send", max(decide - sql, 0.0), median(runs, lambda: fulfilled(times))
        ),
        Part("SQL: rows read and written, the same for both", sql, sql),
        Part("the commits' own part", commit, statistics.median(cpu for cpu, _ in flushes) / size),
        Part(
            "HTTP out: three messages written, their answers read",
            SENT * median(runs, lambda: http_out("send-hub", times)),
            SENT * median(runs, lambda: http_out("send-bare", times)),
        ),
    ]
    return Bounds(
        machine=machine,
        turns_seconds=turns_seconds,
        batch=size,
        per_second=statistics.median(each.report.per_second for each in sessions),
        parts=parts,
        rest=whole - sum(part.hub for part in parts),
        total=whole,
        signatures=signatures(times),
        flush_ms=statistics.median(wait for _, wait in flushes),
    )


def show(bounds: Bounds) -> None:
    """Prints it for people."""
    print(bounds.machine.line())
    print(f"Ten million turns of s += i * i take {bounds.turns_seconds:.2f} s; batches of {bounds.batch}.")
    rows = [(part.name, f"{part.hub:,.0f}", f"{part.bound:,.0f}", ratio(part)) for part in bounds.parts]
    whole = Part("the hub's process under load", bounds.total, sum(part.bound for part in bounds.parts))
    print_table(
        "CPU µs of a cleared transfer",
        ("part", "hub>", "bound>", "times>"),
        [
            *rows,
            ("event loop, futures, queues, metrics, threads", f"{bounds.rest:,.0f}", "-", "-"),
            (whole.name, f"{whole.hub:,.0f}", f"{whole.bound:,.0f}", ratio(whole)),
            (
                bounds.signatures.name,
                f"{bounds.signatures.hub:,.0f}",
                f"{bounds.signatures.bound:,.0f}",
                ratio(bounds.signatures),
            ),
        ],
    )
    print(f"{bounds.per_second:,.0f} transfers/s; the disk has a batch's bytes after {bounds.flush_ms:.2f} ms.")


def ratio(part: Part) -> str:
    """How far off the bound."""
    return f"{part.hub / part.bound:.1f}" if part.bound else "-"


def be_child(name: str, arguments: Sequence[str]) -> None:
    """What a process of its own does."""
    numbers = [int(each) for each in arguments]
    if name.startswith("serve"):
        uvloop.run(serve_bare() if name == "serve-bare" else serve_hub())
    else:
        print(uvloop.run(send_bare(*numbers) if name == "send-bare" else send_hub(*numbers)))


def main() -> None:
    """Reads the arguments, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="the median of so many")
    parser.add_argument("--times", type=int, default=4_000, help="messages, or transfers, in each")
    parser.add_argument("--seconds", type=float, default=5, help="seconds of each load on the whole hub")
    parser.add_argument("--directory", type=Path, default=None, help="where the data goes while it runs")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    parser.add_argument("--child", nargs="+", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    if options.child:
        be_child(options.child[0], options.child[1:])
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="vuka-bounds-", dir=options.directory) as folder:
        bounds = run(options, Path(folder))
    show(bounds)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(bounds)) + b"\n")


if __name__ == "__main__":
    main()
