"""What closing a settlement window does to clearing: p99 without closes, and with one every second.

A hub clears under load, first to fill the open window, then for two equal measurements; in the second one the window
is closed every second, the first time with everything that was cleared before in it. Afterwards every closed window is
settled and the books are audited.

    python benchmarks/window_close.py --fill 60 --seconds 10
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from vuka.cli.hub import found
from vuka.cli.options import read_config
from vuka.cli.process import hub_process
from vuka.cli.reading import reading
from vuka.config import load
from vuka.sim.load import LoadReport
from vuka.switch.audit import audit


def main() -> None:
    """Runs and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fill", type=float, default=60, help="seconds of clearing before")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of each measurement")
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vuka-window-") as folder:
        data = Path(folder) / "hub"
        found(load(None, {}, data_dir=str(data)), "Windows", ["USD"])
        with hub_process(data) as hub, httpx.Client(base_url=hub.operators_url, timeout=30, trust_env=False) as client:
            arguments = ["--hub", hub.participants_url, "--operators", hub.operators_url]
            arguments += ["--concurrency", str(options.concurrency)]
            filled = _ended(_clear(arguments, options.fill))
            print(f"filled the window with {filled.committed:,} transfers")
            quiet = _ended(_clear(arguments, options.seconds))
            print(f"without closes: {quiet.per_second:,.0f} transfers/s, p99 {quiet.p99_ms:.1f} ms")
            clearing, closes = _clear(arguments, options.seconds), []
            while clearing.poll() is None:
                time.sleep(1)
                closes += _close(client)
            busy = _ended(clearing)
            print(f"a close each second: {busy.per_second:,.0f} transfers/s, p99 {busy.p99_ms:.1f} ms")
            median = sorted(closes)[len(closes) // 2]
            print(f"{len(closes)} closes: the fullest took {closes[0]:.1f} ms, the median {median:.1f}")
            _close(client)
            _settle(client)
        with reading(read_config(data)) as (tx, ledger):
            differences = audit(tx, ledger).differences
        if differences:
            sys.exit(f"the books do not balance: {differences[:3]}")
        print("every window settled; the books balance")


def _clear(arguments: list[str], seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vuka.sim", *arguments, "--warmup", "1", "--seconds", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _ended(process: subprocess.Popen[bytes]) -> LoadReport:
    output, _ = process.communicate()
    report = msgspec.json.decode(output, type=LoadReport)
    if report.disagreements or report.unfinished:
        sys.exit(f"payer and payee disagree or wait: {report.disagreements[:3]}, {report.unfinished} unfinished")
    return report


def _close(client: httpx.Client) -> list[float]:
    """Closes the open window, where it holds anything; how long that took, in milliseconds."""
    window_id = client.get("/v2/settlementWindows", params={"state": "OPEN"}).json()[0]["id"]
    started = time.perf_counter()
    answer = client.post(f"/v2/settlementWindows/{window_id}", json={"state": "CLOSED", "reason": "measured"})
    return [(time.perf_counter() - started) * 1000] if answer.is_success else []


def _settle(client: httpx.Client) -> None:
    closed: list[dict[str, Any]] = client.get("/v2/settlementWindows", params={"state": "CLOSED"}).json()
    windows = [{"id": each["id"]} for each in closed]
    asked = {"settlementModel": "DEFAULTDEFERREDNET", "reason": "measured", "settlementWindows": windows}
    made = client.post("/v2/settlements", json=asked)
    made.raise_for_status()
    client.post(f"/v2/settlements/{made.json()['id']}/finalise", json={"reason": "measured"}).raise_for_status()


if __name__ == "__main__":
    main()
