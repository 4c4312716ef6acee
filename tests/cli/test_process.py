"""A hub that is started by another program: its ports are free, and its records and money its own."""

from __future__ import annotations

import itertools
import socket

import pytest

from vuka.cli import process
from vuka.cli.options import at_home
from vuka.cli.process import PORTS, free_port


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(port in PORTS for port in ports)


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        taken = free_port()
        listener.bind(("127.0.0.1", taken))
        listener.listen()
        monkeypatch.setattr(process, "_turns", itertools.count(PORTS.index(taken)))
        assert free_port() != taken


def test_what_names_another_hubs_records_or_money_is_not_passed_on() -> None:
    kept = {"PATH": "/bin", "VUKA_ENGINE_TIMER_MS": "5", "VUKA_JOURNAL_ENABLED": "false"}
    named = {f"VUKA_LEDGER_{each}": "1" for each in ("ENGINE", "ADDRESSES", "CLUSTER_ID")}
    assert at_home({**kept, **named, "VUKA_STORE_URL": "postgresql://of-life"}) == kept
