"""What several hub processes on one database clear: workers behind one port, or hubs on ports of their own.

    python benchmarks/nodes.py --workers 2                                   # SQLite
    python benchmarks/nodes.py --url postgresql://vuka@localhost/bench       # PostgreSQL, a schema made for it
    python benchmarks/nodes.py --url … --nodes 2 --concurrency 256
    python benchmarks/nodes.py --url … --nodes 2 --tigerbeetle               # the money in a new cluster of one replica

A `tigerbeetle` binary on PATH is started for the last. VUKA_… variables hold for the hubs, e.g. VUKA_ENGINE_BATCH_MAX.
The participants run in a process of their own, for each hub one; the books are audited afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec

from vuka.cli.hub import found
from vuka.cli.process import free_port
from vuka.config import Config, Ledger, Store, load
from vuka.sim.load import LoadReport
from vuka.store.migrate import open_place

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
WARMUP_SECONDS = 3
START_SECONDS_MAX = 60


@contextlib.contextmanager
def schema(url: str) -> Iterator[str]:
    """A new schema in a PostgreSQL database, dropped at the end; its URL."""
    import psycopg

    name = f"bench_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={name}')}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[tuple[str, int]]:
    """A new TigerBeetle cluster of one replica, as it is run in production; its address and process."""
    file, log = directory / "0_0.tigerbeetle", directory / "tigerbeetle.log"
    command = ["tigerbeetle", "format", "--cluster=0", "--replica=0", "--replica-count=1", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    with log.open("wb") as told:
        process = subprocess.Popen(
            ["tigerbeetle", "start", "--addresses=127.0.0.1:0", str(file)], stdout=told, stderr=told
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while (listens := re.search(r"listening on.*port = (\d+)", log.read_text(errors="replace"))) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(log.read_text(errors="replace"))
            time.sleep(0.05)
        yield f"127.0.0.1:{listens[1]}", process.pid
    finally:
        process.kill()
        process.wait()


def environment_of(config: Config) -> dict[str, str]:
    """What every process of the hub is told."""
    return {
        **os.environ,
        "VUKA_STORE_URL": config.store.url,
        "VUKA_LEDGER_ENGINE": config.ledger.engine,
        "VUKA_LEDGER_ADDRESSES": config.ledger.addresses,
    }


def differences(config: Config) -> list[str]:
    """What the audit finds amiss, in the records, and between them and the ledger."""
    command = [sys.executable, "-m", "vuka", "audit", "--data", config.data_dir, "--against-ledger", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment_of(config))
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(done.stdout + done.stderr) from None
    return [str(each) for each in report["differences"] + report["against_ledger"]["differences"]]


@contextlib.contextmanager
def hub(data: Path, config: Config, workers: int) -> Iterator[tuple[str, str, int]]:
    """A running hub: the participants' API, the operators' API, the process."""
    ports = free_port(), free_port()
    environment = {
        **environment_of(config),
        "VUKA_PARTICIPANTS_API_PORT": str(ports[0]),
        "VUKA_OPERATORS_API_PORT": str(ports[1]),
    }
    data.mkdir(exist_ok=True)
    with (data / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vuka", "serve", "--data", str(data), "--workers", str(workers)],
            stdout=log,
            stderr=log,
            env=environment,
        )
    urls = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{urls[1]}/health", trust_env=False).is_success:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit((data / "hub.log").read_text())
        yield *urls, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used, those that have ended included."""
    used = 0.0
    for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        used += sum(map(int, _stat_of(each)[11:15])) / TICKS_PER_SECOND
    return used


def _stat_of(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


def server_of(url: str) -> int | None:
    """The process of a PostgreSQL server, the parent of all of its own; None where it is on another machine."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
        name = Path(f"/proc/{pid}/comm")
        return int(_stat_of(pid)[1]) if name.is_file() and name.read_text().startswith("postgres") else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="a PostgreSQL database; without it SQLite")
    parser.add_argument("--tigerbeetle", action="store_true", help="the money in a TigerBeetle cluster")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1, help="hubs, each with its own ports; PostgreSQL only")
    parser.add_argument("--concurrency", type=int, default=128, help="transfers under way, over all hubs")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vuka-nodes-")))
        config = load(None, {}, data_dir=str(folder / "0"))
        if given.url:
            config = msgspec.structs.replace(config, store=Store(url=stack.enter_context(schema(given.url))))
        servers = {"PostgreSQL": server_of(config.store.url)} if given.url else {}
        if given.tigerbeetle:
            address, servers["TigerBeetle"] = stack.enter_context(cluster(folder))
            ledger = Ledger(engine="tigerbeetle", addresses=address)
            config = msgspec.structs.replace(config, ledger=ledger)
        found(config, "Bench", ["USD"])
        running = stack.enter_context(contextlib.ExitStack())
        hubs = [
            running.enter_context(hub(folder / str(number), config, given.workers)) for number in range(given.nodes)
        ]
        measured = {"hub": [pid for *_, pid in hubs]}
        measured |= {name: [pid] for name, pid in servers.items() if pid is not None}
        before = {name: sum(map(cpu_seconds, pids)) for name, pids in measured.items()}
        loads = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "vuka.sim", "--hub", participants, "--operators", operators),
                    *("--concurrency", str(given.concurrency // given.nodes), "--participants", "8"),
                    *("--prefix", f"load{number}fsp", "--warmup", str(WARMUP_SECONDS), "--seconds", str(given.seconds)),
                ],
                stdout=subprocess.PIPE,
            )
            for number, (participants, operators, _) in enumerate(hubs)
        ]
        reports = [msgspec.json.decode(each.communicate()[0], type=LoadReport) for each in loads]
        used = {name: sum(map(cpu_seconds, pids)) - before[name] for name, pids in measured.items()}
        running.close()
        database = open_place(config.place, read_only=True)
        with database.read() as tx:
            ((committed,),) = tx.query("SELECT COUNT(*) FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED'")
        database.close()
        amiss = differences(config)
    assert amiss == [], amiss[0]
    told = sum(each.committed for each in reports)
    assert committed == told, f"the hub has {committed} committed, the payers were told of {told}"
    assert not any(each.disagreements or each.unfinished for each in reports), "payers and payees disagree"
    stage = ("PostgreSQL" if given.url else "SQLite") + (" and TigerBeetle" if given.tigerbeetle else "")
    print(
        f"{stage}, nodes {given.nodes}, workers {given.workers}, "
        f"concurrency {given.concurrency}: {sum(each.per_second for each in reports):,.0f} transfers/s, "
        f"p50 {max(each.p50_ms for each in reports):.0f} ms, p99 {max(each.p99_ms for each in reports):.0f} ms, "
        f"CPU ms a transfer: {', '.join(f'{name} {seconds * 1000 / told:.3f}' for name, seconds in used.items())}"
    )


if __name__ == "__main__":
    main()
