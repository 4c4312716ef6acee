"""What the kernel says of a process: its CPU, its memory, and whoever it has started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from vuka.cli.bench.observed import Counters, cpu_clock, database_bytes, family, memory_of, usage_of
from vuka.store.sqlite import Database


def test_the_cpu_of_a_process_is_what_it_says_itself() -> None:
    before = time.process_time()
    seen = time.clock_gettime(cpu_clock(os.getpid()))
    assert before <= seen <= time.process_time()


def test_a_process_is_measured_with_those_that_it_has_started() -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as parent:
        try:
            while len(found := family(parent.pid)) < 2:
                time.sleep(0.01)
            assert found[0] == parent.pid
            assert parent.pid in family(os.getpid())
            assert usage_of(parent.pid).cpu_seconds > 0
            # Read once: what it has may grow while it is looked at.
            memory = memory_of(parent.pid)
            assert memory.highest >= memory.now > 0
        finally:
            parent.communicate(b"\n")
    assert memory_of(parent.pid).now == 0, "it is gone"


def test_the_size_of_a_database_counts_what_is_only_in_its_log(tmp_path: Path) -> None:
    file = tmp_path / "vuka.db"
    database = Database.open(file)
    before = database_bytes(file)
    database.create_all()
    assert database_bytes(file) > before
    database.close()
    assert database_bytes(file) == file.stat().st_size


def test_counters_are_told_apart_by_their_difference() -> None:
    later = Counters(commits=5, commands=50, decide_seconds=1.5, commit_seconds=2.0, committed=20)
    earlier = Counters(commits=2, commands=10, decide_seconds=0.5, commit_seconds=1.0, committed=5)
    assert later.since(earlier) == Counters(
        commits=3, commands=40, decide_seconds=1.0, commit_seconds=1.0, committed=15
    )
