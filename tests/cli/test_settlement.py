"""``vuka window`` and ``vuka settlement``, against a hub in which somebody has paid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cli.conftest import refused, vuka
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling

from vuka.cli.hub import found
from vuka.cli.process import hub_process
from vuka.config import load
from vuka.engine.auditlog import AuditLog
from vuka.store.sqlite import Database
from vuka.switch.work import Work

CREATE = ("settlement", "create", "--model", "DEFAULTDEFERREDNET", "--window", "1")


class OnDisk(SchemeBench):
    """The bench over a hub's own database."""

    def open_database(self, path: Path) -> None:
        self.database.close()
        self.database = Database.open(path)
        self.forget_directory()

    @contextmanager
    def work(self) -> Iterator[Work]:
        """As the engine has it: what has ended is in the audit log, in the same commit."""
        with super().work() as work:
            yield work
            AuditLog().write(work.tx, acts=(), ended=work.ended, checkpoints=False, now_ms=work.now_ms)


def settled_hub(path: Path, *rules: object) -> None:
    """Makes a hub there in which alpha has paid bravo 12.5 USD, charged by ``rules`` if there are any."""
    config = load(None, {}, data_dir=str(path))
    found(config, "Settled", ["USD"])
    bench = OnDisk()
    bench.open_database(config.database_path)
    for name in ("alpha", "bravo"):
        bench.onboard(name, "USD", cap="1000", funds="2000")
    scheme = Settling(bench)
    if rules:
        scheme.add_fee_model()
        scheme.charge(*rules)
    scheme.pay("alpha", "bravo", "12.5 USD")
    bench.close()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    settled_hub(tmp_path)
    with hub_process(tmp_path) as hub:
        yield hub.operators_url


def said(*arguments: str) -> str:
    result = vuka(*arguments, environment={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_day_is_settled_by_command(url: str) -> None:
    at = ("--url", url)
    assert said("window", "close", "--reason", "end of day", *at) == "Window 1 is closed; 2 is open."
    assert "USD POSITION" in said("window", "list", "--state", "closed", *at)
    assert "CLOSED" in said("window", "show", "1", *at)
    made = said(*CREATE, *at)
    assert "Settlement 1 is PENDING_SETTLEMENT." in made
    assert [line.split()[1] for line in made.splitlines() if "12.5" in line] == ["alpha", "bravo"]
    step = ("settlement", "advance", "1", "--to", "PS_TRANSFERS_RECORDED")
    assert said(*step, "--participant", "alpha", *at) == "Settlement 1 is PENDING_SETTLEMENT."
    assert said(*step, *at) == "Settlement 1 is PS_TRANSFERS_RECORDED."
    assert said("settlement", "finalise", "1", "--reference", "bank-1", *at) == "Settlement 1 is SETTLED."
    assert "SETTLED" in said("settlement", "list", *at)
    assert "bank-1" in said("settlement", "show", "1", "--json", *at)


def test_a_settlement_is_aborted_by_command(url: str) -> None:
    at = ("--url", url)
    said("window", "close", *at)
    said(*CREATE, *at)
    assert said("settlement", "abort", "1", *at) == "Settlement 1 is ABORTED."
    assert "The hub refused" in refused("settlement", "finalise", "1", *at)


def test_what_is_not_there_is_an_empty_table(url: str) -> None:
    assert "Settlements" in said("settlement", "list", "--url", url)
    assert "Settlement windows" in said("window", "list", "--state", "SETTLED", "--url", url)


def test_a_wrong_step_is_a_sentence(url: str) -> None:
    said("window", "close", "--url", url)
    said(*CREATE, "--url", url)
    assert "--to must be one of" in refused("settlement", "advance", "1", "--to", "DONE", "--url", url)
    assert "State change not allowed" in refused("settlement", "advance", "1", "--to", "SETTLED", "--url", url)
    nobody = ("settlement", "advance", "1", "--to", "PS_TRANSFERS_RECORDED", "--participant", "nobody")
    assert "nobody has no account in settlement 1" in refused(*nobody, "--url", url)


def test_an_empty_window_is_not_closed(url: str) -> None:
    said("window", "close", "--url", url)
    assert "Window 2 is empty" in refused("window", "close", "--url", url)
