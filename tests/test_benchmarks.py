"""The scripts that published figures come from run to their end, and leave nothing behind."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.xdist_group("bench")


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=110, cwd=ROOT)


def test_a_hub_is_filled_and_measured_at_each_size(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    arguments = ("--transfers", "30", "90", "--through", "5", "--seconds", "0.3", "--directory", str(tmp_path))
    done = _run("growth", *arguments, "--json", str(file))
    assert done.returncode == 0, done.stderr
    growth = json.loads(file.read_text())
    assert [each["transfers"] for each in growth["sizes"]] == [30, 90]
    assert all(each["audited"] and each["start_seconds"] > 0 for each in growth["sizes"])
    assert growth["through"] >= 5
    assert "A transfer after 90 costs" in done.stdout
    assert list(tmp_path.iterdir()) == [file]


def test_every_part_of_a_transfers_cost_is_measured_and_so_is_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "bounds.json"
    arguments = ("--runs", "1", "--times", "100", "--seconds", "0.5", "--directory", str(tmp_path))
    done = _run("bounds", *arguments, "--json", str(file))
    assert done.returncode == 0, done.stderr
    bounds = json.loads(file.read_text())
    assert len(bounds["parts"]) == 6
    assert all(each["hub"] > 0 and each["bound"] > 0 for each in (*bounds["parts"], bounds["signatures"]))
    assert bounds["rest"] == pytest.approx(bounds["total"] - sum(each["hub"] for each in bounds["parts"]))
    assert "the hub's process under load" in done.stdout
    assert list(tmp_path.iterdir()) == [file]


def test_how_steady_a_machine_is_is_told() -> None:
    done = _run("steadiness", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    assert "p99.9 times" in done.stdout


def test_a_commit_is_compared_with_itself() -> None:
    bench = "--scenario clearing --security plain --concurrency 2 --seconds 0.3 --warmup 0.1 --participants 2"
    done = _run("compare", ".", ".", "--runs", "1", "--bench", bench)
    assert done.returncode == 0, done.stderr
    assert "clearing, plain, closed, 2 under way: medians of 1 pairs" in done.stdout
    assert "hub CPU" in done.stdout


def test_a_commit_that_is_none_is_refused() -> None:
    done = _run("compare", "no-such-commit", ".")
    assert done.returncode == 1
    assert "git rev-parse" in done.stderr


def test_a_difference_is_told_only_where_enough_pairs_agree() -> None:
    judgement = _script("compare").judgement
    assert judgement("transfers/s", [1.1] * 5) == "better"
    assert judgement("transfers/s", [0.9] * 5) == "worse"
    assert judgement("p99 ms", [1.1] * 5) == "worse"
    assert judgement("p99 ms", [1.1] * 4) == ""
    assert judgement("p99 ms", [1.1, 1.1, 0.99, 1.2, 1.3]) == ""
