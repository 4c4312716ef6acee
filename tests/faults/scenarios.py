"""The faults: each scenario breaks one thing, again and again, while payments go on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from tests.faults.participant import Conduct
from tests.faults.scheme import MOVE_SECONDS_MAX, Scheme, Verdict, scheme

from vuka.fspiop.headers import hub_headers
from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient, Request
from vuka.sim.participant import now_ms

MS_PER_HOUR: Final = 3_600_000
DISK_BYTES: Final = 64 * 1024 * 1024
DISK_BYTES_A_ROUND: Final = 8 * 1024 * 1024
"""Far more than the payments of a round take: the disk is full when something else fills it, and not before."""
LOITERERS: Final = 60
FLOOD: Final = 300
CONNECTIONS_MAX: Final = 128
QUEUE_MAX: Final = 24
ASKING: Final = 96
"""Requests under way at once: four times what may wait."""
MEMORY_MORE_MAX: Final = 150 * 2**20
RECOVERY_SECONDS_MAX: Final = 10


def any_disk(_data: Path, _rounds: int) -> contextlib.AbstractContextManager[None]:
    """Where the data directory is made is as good as anywhere."""
    return contextlib.nullcontext()


class Scenario(msgspec.Struct, frozen=True):
    """A scenario by its name."""

    name: str
    rounds: int
    """How often something is broken in the short version."""
    rounds_long: int
    breaks: Callable[[Scheme, int], Awaitable[None]]
    environment: Mapping[str, str] = {}
    expires_ms: int = 8_000
    on_disk: Callable[[Path, int], contextlib.AbstractContextManager[None]] = any_disk
    """What the data directory lies on, for so many rounds. Raises `LookupError` where it can't be had here."""


# --- processes that die -----------------------------------------------------------------------------------------


async def kill_hub(scheme: Scheme, rounds: int) -> None:
    """The hub is killed in the middle of whatever it does, sometimes while it is still starting."""
    for number in range(rounds):
        await scheme.a_moment()
        scheme.hub.kill()
        scheme.faults["hub killed"] += 1
        if number % 3 == 2:
            scheme.hub.launch()
            await scheme.a_moment(1.2)
            scheme.hub.kill()
            scheme.faults["hub killed while it started"] += 1
        await scheme.hub.start()
        await scheme.moves_on()


async def kill_participants(scheme: Scheme, rounds: int) -> None:
    """Participants are killed, one or all, and come back to what they have written down."""
    for number in range(rounds):
        await scheme.a_moment()
        fallen = scheme.members if number % 3 == 2 else [scheme.random.choice(scheme.members)]
        for each in fallen:
            await each.kill()
            scheme.faults["participant killed"] += 1
        await scheme.a_moment(0.5)
        for each in fallen:
            await each.start()
            scheme.pay(each)
        await scheme.moves_on()


async def kill_anybody(scheme: Scheme, rounds: int) -> None:
    """The hub and a participant are killed at once."""
    for _ in range(rounds):
        await scheme.a_moment()
        fallen = scheme.random.choice(scheme.members)
        scheme.hub.kill()
        await fallen.kill()
        scheme.faults["hub killed"] += 1
        scheme.faults["participant killed"] += 1
        await scheme.hub.start()
        await scheme.a_moment(0.3)
        await fallen.start()
        scheme.pay(fallen)
        await scheme.moves_on()


async def freeze_hub(scheme: Scheme, rounds: int) -> None:
    """The hub stands still for a while, as on a machine that is suspended."""
    for _ in range(rounds):
        await scheme.a_moment()
        scheme.hub.running.send_signal(signal.SIGSTOP)
        scheme.faults["hub frozen"] += 1
        await scheme.a_moment(2.0)
        scheme.hub.running.send_signal(signal.SIGCONT)
        await scheme.moves_on()


# --- disks ------------------------------------------------------------------------------------------------------


async def limit_files(scheme: Scheme, rounds: int) -> None:
    """The disk takes nothing beyond a place in the write-ahead log, or nothing at all; sometimes the hub dies of it."""
    wal = scheme.hub.data / "vuka.db-wal"
    for number in range(rounds):
        await scheme.a_moment()
        whole = wal.stat().st_size
        scheme.hub.limit_files(0 if number % 2 else scheme.random.randrange(whole + 1))
        scheme.faults["disk full"] += 1
        await scheme.a_moment(0.5)
        if not number % 2:
            # Where it stands in the log is chance: only a disk that takes nothing is noticed at once.
            scheme.hub.limit_files(0)
        await scheme.hub.unwell(MOVE_SECONDS_MAX)
        if number % 3 == 2:
            scheme.hub.kill()
            scheme.faults["hub killed"] += 1
            await scheme.hub.start()
        else:
            scheme.hub.limit_files(-1)
            await scheme.hub.healthy(MOVE_SECONDS_MAX)
        await scheme.moves_on()


async def fill_disk(scheme: Scheme, rounds: int) -> None:
    """Something else fills the hub's disk, and goes away again."""
    ballast = scheme.hub.data / "ballast"
    for number in range(rounds):
        await scheme.a_moment()
        _fill(ballast)
        scheme.faults["disk full"] += 1
        await scheme.hub.unwell(MOVE_SECONDS_MAX)
        if number % 3 == 2:
            scheme.hub.kill()
            scheme.faults["hub killed"] += 1
            ballast.unlink()
            await scheme.hub.start()
        else:
            ballast.unlink()
            await scheme.hub.healthy(MOVE_SECONDS_MAX)
        await scheme.moves_on()


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@contextlib.contextmanager
def small_disk(data: Path, rounds: int) -> Iterator[None]:
    """A filesystem of its own, in memory, for the data directory. Raises `LookupError` where none may be mounted."""
    data.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES + rounds * DISK_BYTES_A_ROUND}", "tmpfs", str(data))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


def _mount(*arguments: str) -> None:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise LookupError("there is no mount on this machine") from None
    if done.returncode != 0:
        raise LookupError(f"this user may not mount: {done.stderr.decode().strip()}")


async def make_read_only(scheme: Scheme, rounds: int) -> None:
    """The hub comes back to a directory that it may not write: it says so and changes nothing, until it may."""
    for _ in range(rounds):
        await scheme.a_moment()
        scheme.hub.kill()
        scheme.faults["hub killed"] += 1
        with _read_only(scheme.hub.data):
            before = _contents(scheme.hub.data)
            scheme.hub.launch()
            code = await asyncio.to_thread(scheme.hub.running.wait, MOVE_SECONDS_MAX)
            said = scheme.hub.log.splitlines()[-30:]
            assert code != 0, "the hub serves from a directory that it can't write"
            assert not any("Traceback" in line for line in said), said
            assert before == _contents(scheme.hub.data)
            scheme.faults["start on a read-only disk refused"] += 1
        await scheme.hub.start()
        await scheme.moves_on()


def _contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.suffix in (".db", ".db-wal")}


@contextlib.contextmanager
def _read_only(directory: Path) -> Iterator[None]:
    """Nobody writes in a directory: by its mode, or where the user is above modes, by a mount."""
    if os.geteuid() == 0:
        _mount("--bind", str(directory), str(directory))
        try:
            _mount("-o", "remount,ro,bind", str(directory))
            yield
        finally:
            subprocess.run(["umount", "-l", str(directory)], check=True)
        return
    files = [*directory.iterdir(), directory]
    modes = [stat.S_IMODE(each.stat().st_mode) for each in files]
    for each, mode in zip(files, modes, strict=True):
        each.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for each, mode in zip(reversed(files), reversed(modes), strict=True):
            each.chmod(mode)


# --- clocks -----------------------------------------------------------------------------------------------------


async def jump_clock(scheme: Scheme, rounds: int) -> None:
    """The hub's clock goes ahead and back, by seconds and by days, also while it is down, and is put right."""
    jumps = (-MS_PER_HOUR, 48 * MS_PER_HOUR, -3_000, 3_000, -72 * MS_PER_HOUR, MS_PER_HOUR)
    for number in range(rounds):
        await scheme.a_moment()
        scheme.hub.set_clock(jumps[number % len(jumps)])
        scheme.faults["clock jumped ahead" if jumps[number % len(jumps)] > 0 else "clock jumped back"] += 1
        if number % 3 == 1:
            # Made with one clock, and found with another.
            await scheme.a_moment(0.5)
            scheme.hub.kill()
            scheme.faults["hub killed"] += 1
            await scheme.hub.start()
        fallen = scheme.random.choice(scheme.members)
        await fallen.conduct(Conduct.RESETS)
        await scheme.a_moment(1.0)
        scheme.hub.set_clock(0)
        await fallen.conduct(Conduct.WELL)
        await scheme.moves_on()
        for each in scheme.members:
            # Everybody is served again, and soon: no wait was measured by the clock that was wrong.
            await scheme.moves_on([each], further=1)


# --- participants that behave badly -------------------------------------------------------------------------------


def misbehave(conduct: Conduct) -> Callable[[Scheme, int], Awaitable[None]]:
    """One participant does what no participant should; the others go on paying each other, and later all do again."""

    async def breaks(scheme: Scheme, rounds: int) -> None:
        for _ in range(rounds):
            bad = scheme.random.choice(scheme.members)
            good = [each for each in scheme.members if each is not bad]
            before = await bad.conduct(conduct)
            scheme.faults[f"participant {conduct}"] += 1
            await scheme.moves_on(good, further=4)
            await scheme.a_moment(1.5)
            await scheme.moves_on(good)
            scheme.faults["messages that met it"] += await bad.conduct(Conduct.WELL) - before
            await scheme.moves_on([bad], further=3)

    return breaks


# --- strangers at the door ----------------------------------------------------------------------------------------


async def loiter(scheme: Scheme, rounds: int) -> None:
    """Clients that send a byte now and then: each is closed when its time is over, and payments go on meanwhile."""
    for _ in range(rounds):
        loiterers = [asyncio.create_task(_loiterer(scheme)) for _ in range(LOITERERS)]
        await scheme.moves_on()
        for each in loiterers:
            assert await asyncio.wait_for(each, MOVE_SECONDS_MAX), "a slow client was not closed"
            scheme.faults["slow client closed"] += 1
        await scheme.moves_on()


async def _loiterer(scheme: Scheme) -> bool:
    """Whether the hub has closed the connection of a request that never ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scheme.hub.ports[0])
    beginning = scheme.random.choice((b"", b"POST /trans", b"PUT /transfers/1 HTTP/1.1\r\nHost: hub\r\nX-Slow: "))
    try:
        writer.write(beginning)
        for _ in range(200):
            writer.write(b"x")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), 0.15)
                return True
    except ConnectionError:
        return True
    finally:
        writer.close()
    return False


async def flood(scheme: Scheme, rounds: int) -> None:
    """More connections than the hub takes: who is too many is told 503 and closed; later all is as before."""
    for _ in range(rounds):
        told = await asyncio.gather(*(_one_of_many(scheme) for _ in range(FLOOD)))
        scheme.faults["connection refused with 503"] += sum(said.startswith(b"HTTP/1.1 503") for said in told)
        assert all(said == b"" or (said.startswith(b"HTTP/1.1 503") and b'"2005"' in said) for said in told), told
        assert any(told), "nobody was refused"
        for _ in range(FLOOD):
            _, writer = await asyncio.open_connection("127.0.0.1", scheme.hub.ports[0])
            writer.transport.abort()
            scheme.faults["connection reset"] += 1
        await scheme.moves_on()


async def _one_of_many(scheme: Scheme) -> bytes:
    """A connection on which nothing is asked; what the hub says to it within a second."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", scheme.hub.ports[0])
    except ConnectionError:
        return b""
    try:
        return await asyncio.wait_for(reader.read(), 1.0)
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


# --- too much to do -----------------------------------------------------------------------------------------------


async def overload(scheme: Scheme, rounds: int) -> None:
    """Somebody asks far more than the hub can answer: it says so, rightly, and ends what it has begun meanwhile."""
    url = f"http://127.0.0.1:{scheme.hub.ports[0]}"
    before = scheme.hub.memory_bytes()
    for _ in range(rounds):
        client = HttpClient(timeout_ms=20_000)
        stopping, refused = asyncio.Event(), asyncio.Event()
        asking = [asyncio.create_task(_ask_on_and_on(scheme, client, url, stopping, refused)) for _ in range(ASKING)]
        try:
            await asyncio.wait_for(refused.wait(), MOVE_SECONDS_MAX)
            await scheme.moves_on()
            assert scheme.hub.memory_bytes() < before + MEMORY_MORE_MAX, "a hub that refuses keeps what it refuses"
        finally:
            stopping.set()
            await asyncio.gather(*asking)
            await client.close()
        assert scheme.faults["request refused, rightly"], "nobody was refused"
        await scheme.hub.healthy(RECOVERY_SECONDS_MAX)
        await scheme.moves_on()


async def _ask_on_and_on(
    scheme: Scheme, client: HttpClient, url: str, stopping: asyncio.Event, refused: asyncio.Event
) -> None:
    """Asks about transfers that nobody knows, each time as soon as it is answered."""
    while not stopping.is_set():
        path = f"/transfers/{uuid.UUID(int=scheme.random.getrandbits(128), version=4)}"
        headers = hub_headers(
            "transfers",
            Version.V1_1,
            method="GET",
            source=scheme.members[0].name,
            destination=scheme.members[1].name,
            uri=path,
            now_ms=now_ms(),
        )
        answer = await client.send(Request("GET", url + path, headers))
        scheme.faults["request too many"] += 1
        if answer.status == 202:
            continue
        assert answer.status == 503, answer.body
        assert b'"2005"' in answer.body, answer.body
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        scheme.faults["request refused, rightly"] += 1
        refused.set()


SCENARIOS: Final = (
    Scenario("hub-killed", 2, 60, kill_hub),
    Scenario("participants-killed", 1, 60, kill_participants),
    Scenario("hub-and-participants-killed", 1, 40, kill_anybody),
    Scenario("hub-frozen", 1, 20, freeze_hub),
    Scenario("disk-fails", 2, 40, limit_files),
    Scenario("disk-full", 1, 40, fill_disk, on_disk=small_disk),
    Scenario("disk-read-only", 1, 10, make_read_only),
    Scenario("clock-jumps", 2, 30, jump_clock),
    Scenario("participant-hangs", 1, 12, misbehave(Conduct.HANGS), expires_ms=3_000),
    Scenario("participant-fails", 1, 12, misbehave(Conduct.FAILS), expires_ms=3_000),
    Scenario("participant-talks-garbage", 1, 12, misbehave(Conduct.GARBAGE), expires_ms=3_000),
    Scenario("participant-resets", 1, 12, misbehave(Conduct.RESETS), expires_ms=3_000),
    Scenario("slow-clients", 1, 10, loiter, {"VUKA_PARTICIPANTS_API_REQUEST_SECONDS_MAX": "1"}),
    Scenario("connection-flood", 1, 20, flood, {"VUKA_PARTICIPANTS_API_CONNECTIONS_MAX": str(CONNECTIONS_MAX)}),
    Scenario("overload", 1, 20, overload, {"VUKA_ENGINE_QUEUE_MAX": str(QUEUE_MAX)}),
)


TOGETHER: Final = (
    ("processes-die", ("hub-killed", "participants-killed", "hub-and-participants-killed", "hub-frozen")),
    ("disk-fails", ("disk-fails", "disk-read-only")),
    ("disk-full", ("disk-full",)),
    ("clock-jumps", ("clock-jumps",)),
    (
        "participants-misbehave",
        ("participant-hangs", "participant-fails", "participant-talks-garbage", "participant-resets"),
    ),
    ("strangers", ("slow-clients", "connection-flood")),
    ("overload", ("overload",)),
)
"""What the short version breaks in one scheme, one after another: to start one takes longer than to break it."""


async def run(
    name: str, scenarios: Sequence[Scenario], directory: Path, *, rounds: Callable[[Scenario], int], seed: int
) -> Verdict:
    """Runs scenarios in one scheme. Raises `LookupError` where this machine or user can't have what they need."""
    data = directory / "hub"
    environment = {key: value for each in scenarios for key, value in each.environment.items()}
    with scenarios[0].on_disk(data, rounds(scenarios[0])):
        async with scheme(
            name,
            data,
            directory / "papers",
            seed=seed,
            environment=environment,
            expires_ms=min(each.expires_ms for each in scenarios),
        ) as made:
            for each in scenarios:
                await each.breaks(made, rounds(each))
    return made.verdict
