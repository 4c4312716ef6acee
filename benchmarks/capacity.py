"""What a scheme needs: cores, disk and network for so many payments a second, participants and days of messages.

    python benchmarks/capacity.py                                     # the table of docs/scaling.md
    python benchmarks/capacity.py --tps 300 --participants 40 --retention-days 365
    python benchmarks/capacity.py --tps 300 --scenario payment --hub-cpu-us 1400 --jws --tls

Arithmetic, no measurement. It multiplies what one payment costs; each cost is an option whose default was measured, by
what stands beside it. What was not measured yet has no default: then the script says so, and guesses nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

NOT_MEASURED: Final = "not measured yet"
SECONDS_PER_DAY: Final = 86_400
BILLION: Final = 1_000_000_000
TABLE_TPS: Final = (10, 100, 1_000, 10_000)

COMMANDS_PER_PAYMENT: Final = {"clearing": 2, "payment": 4}
"""What goes through the one writer: prepare and fulfil; with them the quote and its answer. Lookups pass it by."""
EXCHANGES_PER_PAYMENT: Final = {"clearing": 5, "payment": 13}
"""HTTP requests with their answers, in and out: benchmarks/README.md."""
SIGNED_PER_PAYMENT: Final = {"clearing": 2, "payment": 4}
"""Messages whose signature the hub checks: all but GET and PUT /parties."""


class Costs(msgspec.Struct, frozen=True):
    """What one payment costs, and what one machine may be used for."""

    hub_cpu_us: float | None
    """CPU of the hubs, plain HTTP, in microseconds."""
    database_cpu_us: float | None
    """CPU of PostgreSQL's server, in microseconds."""
    tigerbeetle_cpu_us: float
    """CPU of one replica, in microseconds."""
    signature_cpu_us: float
    """CPU to check one signature, in microseconds."""
    tls_cpu_us: float
    """CPU of TLS for one exchange on a kept connection, in microseconds."""
    decide_us: float
    """Deciding and writing one command, in microseconds, while every other waits."""
    commit_us: float
    """Committing one batch, in microseconds, while every other waits."""
    batch_max: int
    """Commands in a batch at most (``engine.batch_max``)."""
    disk_bytes: int
    """Records, ledger and messages in the database."""
    records_bytes: int
    """Of these, what stays when the messages' time has passed."""
    tigerbeetle_bytes: int
    """In each replica's file."""
    network_bytes: int
    """Sent and received by the hubs, together, plain HTTP."""
    in_flight_max: int
    """Connections of one hub to one participant at most (``courier.in_flight_max``)."""
    load: float
    """How much of a core, and of the writer, may be used at the peak."""


DISK_BYTES: Final = {"clearing": 7_263, "payment": 15_131}
NETWORK_BYTES: Final = {"clearing": 5_455, "payment": 13_170}
HUB_CPU_US: Final = {"clearing": 650.0, "payment": 1_500.0}
DATABASE_CPU_US: Final = {"clearing": 270.0, "payment": None}


class Need(msgspec.Struct, frozen=True):
    """What so many payments need. None: a cost of it was not measured yet."""

    tps: float
    hub_cores: float | None
    hub_processes: int | None
    database_cores: float | None
    tigerbeetle_cores: float
    writer_tps_max: float
    """Payments a second that one writer commits when every batch is full."""
    writer_load: float
    """The peak's share of that."""
    disk_bytes_per_day: float
    disk_bytes_kept: float
    """Messages of the days of retention, when so many have passed, and records of these days."""
    records_bytes_per_year: float
    tigerbeetle_bytes_per_year: float
    network_mbit_per_second: float
    connections: int | None
    """To participants, from all hubs together, at most."""
    days_to_a_billion: float
    records_bytes_at_a_billion: float
    tigerbeetle_bytes_at_a_billion: float


def need(
    costs: Costs,
    *,
    tps: float,
    participants: int,
    retention_days: int,
    average: float = 1.0,
    scenario: str = "clearing",
    jws: bool = False,
    tls: bool = False,
) -> Need:
    """Multiplies. ``average`` is the mean rate of a day as a part of the peak ``tps``."""
    cpu_us = costs.hub_cpu_us
    if cpu_us is not None:
        cpu_us += SIGNED_PER_PAYMENT[scenario] * costs.signature_cpu_us if jws else 0
        cpu_us += EXCHANGES_PER_PAYMENT[scenario] * costs.tls_cpu_us if tls else 0
    hub_cores = None if cpu_us is None else tps * cpu_us / 1_000_000 / costs.load
    # A process uses one core; two is the least with which one may end.
    processes = None if hub_cores is None else max(2, math.ceil(hub_cores))
    batch_us = costs.commit_us + costs.batch_max * costs.decide_us
    writer_tps_max = costs.batch_max / batch_us * 1_000_000 / COMMANDS_PER_PAYMENT[scenario]
    per_day = tps * average * SECONDS_PER_DAY
    return Need(
        tps=tps,
        hub_cores=hub_cores,
        hub_processes=processes,
        database_cores=None if costs.database_cpu_us is None else tps * costs.database_cpu_us / 1_000_000 / costs.load,
        tigerbeetle_cores=tps * costs.tigerbeetle_cpu_us / 1_000_000 / costs.load,
        writer_tps_max=writer_tps_max,
        writer_load=tps / writer_tps_max,
        disk_bytes_per_day=per_day * costs.disk_bytes,
        disk_bytes_kept=per_day * costs.disk_bytes * retention_days,
        records_bytes_per_year=per_day * costs.records_bytes * 365,
        tigerbeetle_bytes_per_year=per_day * costs.tigerbeetle_bytes * 365,
        network_mbit_per_second=tps * costs.network_bytes * 8 / 1_000_000,
        connections=None if processes is None else processes * participants * costs.in_flight_max,
        days_to_a_billion=BILLION / per_day,
        records_bytes_at_a_billion=float(BILLION * costs.records_bytes),
        tigerbeetle_bytes_at_a_billion=float(BILLION * costs.tigerbeetle_bytes),
    )


def _amount(value: float) -> str:
    """A figure with no more digits than it means."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.2g}'):g}"


def size(value: float) -> str:
    """Bytes as people say them; in powers of 1,000, as disks are sold."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1_000:
            return f"{_amount(value)} {unit}"
        value /= 1_000
    return f"{_amount(value)} PB"


def _or_not(value: float | None) -> str:
    return NOT_MEASURED if value is None else _amount(value)


def table(needs: Sequence[Need], *, retention_days: int) -> str:
    """As Markdown, one column for each rate."""
    rows = [
        ("payments/s at the peak", [_amount(each.tps) for each in needs]),
        ("cores of the hubs", [_or_not(each.hub_cores) for each in needs]),
        ("hub processes", [_or_not(each.hub_processes) for each in needs]),
        ("the writer's load", [f"{each.writer_load:.0%}" for each in needs]),
        ("cores of PostgreSQL", [_or_not(each.database_cores) for each in needs]),
        ("cores of TigerBeetle, each replica", [_amount(each.tigerbeetle_cores) for each in needs]),
        ("database, a day", [size(each.disk_bytes_per_day) for each in needs]),
        (f"database, after {retention_days} days", [size(each.disk_bytes_kept) for each in needs]),
        ("then of records, a year", [size(each.records_bytes_per_year) for each in needs]),
        ("TigerBeetle, each replica, a year", [size(each.tigerbeetle_bytes_per_year) for each in needs]),
        ("network, Mbit/s", [_amount(each.network_mbit_per_second) for each in needs]),
        ("connections to participants, at most", [_or_not(each.connections) for each in needs]),
        ("days to a billion payments", [_amount(each.days_to_a_billion) for each in needs]),
    ]
    head, *body = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join([head, "|---|" + "---:|" * len(needs), *body])


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a scheme needs, from what one payment costs.")
    parser.add_argument("--tps", type=float, help="payments a second at the peak; without it a table of several")
    parser.add_argument("--participants", type=int, default=50)
    parser.add_argument("--retention-days", type=int, default=90, help="journal.retention_days")
    parser.add_argument("--average", type=float, default=1.0, help="a day's mean rate as a part of the peak, 0 to 1")
    parser.add_argument("--scenario", choices=sorted(DISK_BYTES), default="clearing", help="as of `vuka bench`")
    parser.add_argument("--jws", action="store_true", help="signatures are checked")
    parser.add_argument("--tls", action="store_true", help="the hubs speak TLS themselves")
    parser.add_argument("--load", type=float, default=0.6, help="how much of a core may be used at the peak, 0 to 1")
    costs = parser.add_argument_group("what one payment costs", "defaults: docs/scaling.md says what they come from")
    costs.add_argument("--hub-cpu-us", type=float)
    costs.add_argument("--database-cpu-us", type=float)
    costs.add_argument("--tigerbeetle-cpu-us", type=float, default=39.0)
    costs.add_argument("--signature-cpu-us", type=float, default=46.0, help="each")
    costs.add_argument("--tls-cpu-us", type=float, default=9.0, help="for each exchange")
    costs.add_argument("--decide-us", type=float, default=104.0, help="for each command")
    costs.add_argument("--commit-us", type=float, default=4_620.0, help="for each batch")
    costs.add_argument("--batch-max", type=int, default=200, help="engine.batch_max")
    costs.add_argument("--disk-bytes", type=int)
    costs.add_argument("--records-bytes", type=int, help="of these, what stays; a tenth unless said")
    costs.add_argument("--tigerbeetle-bytes", type=int, default=400)
    costs.add_argument("--network-bytes", type=int)
    costs.add_argument("--in-flight-max", type=int, default=32, help="courier.in_flight_max")
    parser.add_argument("--json", action="store_true", help="as JSON, with the costs")
    found = parser.parse_args(given)
    for name in ("tps", "participants", "retention_days", "batch_max"):
        value = getattr(found, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be more than 0, not {value:g}")
    for name in ("average", "load"):
        if not 0 < getattr(found, name) <= 1:
            parser.error(f"--{name} must be more than 0 and at most 1, not {getattr(found, name):g}")
    negative = [name for name, value in vars(found).items() if isinstance(value, int | float) and value < 0]
    if negative:
        parser.error(f"--{negative[0].replace('_', '-')} must not be negative")
    return found


def costs_of(given: argparse.Namespace) -> Costs:
    """The costs as given, and else as measured for the scenario."""
    disk = DISK_BYTES[given.scenario] if given.disk_bytes is None else given.disk_bytes
    return Costs(
        hub_cpu_us=HUB_CPU_US[given.scenario] if given.hub_cpu_us is None else given.hub_cpu_us,
        database_cpu_us=DATABASE_CPU_US[given.scenario] if given.database_cpu_us is None else given.database_cpu_us,
        tigerbeetle_cpu_us=given.tigerbeetle_cpu_us,
        signature_cpu_us=given.signature_cpu_us,
        tls_cpu_us=given.tls_cpu_us,
        decide_us=given.decide_us,
        commit_us=given.commit_us,
        batch_max=given.batch_max,
        disk_bytes=disk,
        records_bytes=disk // 10 if given.records_bytes is None else given.records_bytes,
        tigerbeetle_bytes=given.tigerbeetle_bytes,
        network_bytes=NETWORK_BYTES[given.scenario] if given.network_bytes is None else given.network_bytes,
        in_flight_max=given.in_flight_max,
        load=given.load,
    )


def main(arguments: Sequence[str]) -> None:
    """Prints the need, as Markdown or as JSON."""
    given = _arguments(arguments)
    costs = costs_of(given)
    needs = [
        need(
            costs,
            tps=tps,
            participants=given.participants,
            retention_days=given.retention_days,
            average=given.average,
            scenario=given.scenario,
            jws=given.jws,
            tls=given.tls,
        )
        for tps in ([given.tps] if given.tps is not None else TABLE_TPS)
    ]
    if given.json:
        print(json.dumps({"costs": msgspec.to_builtins(costs), "needs": msgspec.to_builtins(needs)}, indent=2))
        return
    print(table(needs, retention_days=given.retention_days))
    print(f"\nOne writer commits {_amount(needs[0].writer_tps_max)} payments/s at most.", end=" ")
    print(f"A billion payments: {size(needs[0].records_bytes_at_a_billion)} of records,", end=" ")
    print(f"{size(needs[0].tigerbeetle_bytes_at_a_billion)} in each replica of TigerBeetle.")


if __name__ == "__main__":
    main(sys.argv[1:])
