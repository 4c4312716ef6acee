"""Windows closed while payments cross: each payment is in exactly one window, and all of them settle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from vuka.cli.hub import found
from vuka.cli.options import read_config
from vuka.cli.process import hub_process
from vuka.cli.reading import reading
from vuka.config import load
from vuka.switch.audit import audit


def test_windows_closed_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    found(load(None, {}, data_dir=str(tmp_path)), "Windows", ["USD"])
    closed: list[int] = []
    with (
        hub_process(tmp_path) as hub,
        httpx.Client(base_url=hub.operators_url, timeout=30, trust_env=False) as client,
    ):
        command = [sys.executable, "-m", "vuka.sim", "--hub", hub.participants_url, "--operators", hub.operators_url]
        load_ = subprocess.Popen([*command, "--warmup", "0", "--seconds", "3"], stdout=subprocess.DEVNULL)
        window_id = 1
        while load_.poll() is None:
            answer = client.post(f"/v2/settlementWindows/{window_id}", json={"state": "CLOSED", "reason": "again"})
            if answer.is_success:
                closed.append(window_id)
                window_id = answer.json()["id"]
        assert load_.wait() == 0
        if client.post(f"/v2/settlementWindows/{window_id}", json={"state": "CLOSED", "reason": "last"}).is_success:
            closed.append(window_id)
        asked = {"settlementModel": "DEFAULTDEFERREDNET", "reason": "all of them"}
        for start in range(0, len(closed), 1000):
            windows = [{"id": each} for each in closed[start : start + 1000]]
            made = client.post("/v2/settlements", json={**asked, "settlementWindows": windows})
            path = f"/v2/settlements/{made.json()['id']}/finalise"
            assert client.post(path, json={"reason": "paid"}).json()["state"] == "SETTLED"
    assert len(closed) > 10
    with reading(read_config(tmp_path)) as (tx, ledger):
        assert audit(tx, ledger).differences == []
        ((committed,),) = tx.query("SELECT COUNT(*) FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED'")
        ((held,),) = tx.query("SELECT SUM(transfers) FROM window_flow")
        ((unsettled,),) = tx.query("SELECT COUNT(*) FROM window_content WHERE state <> 'SETTLED'")
    assert (held, unsettled) == (committed, 0)
