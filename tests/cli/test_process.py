"""Ports for a hub that is started by another program: free, and still so when it comes to listen."""

from __future__ import annotations

import itertools
import socket

import pytest

from vuka.cli import process
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
