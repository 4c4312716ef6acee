"""Fixtures of the ledger's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ledger.engines import FACTORIES, QUICK, Engine, parameters


@pytest.fixture(params=parameters(QUICK, real=[pytest.mark.soak]))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger, of each quick engine; with ``indirect`` parameters, of any of `FACTORIES`."""
    engine = FACTORIES[request.param](tmp_path)
    yield engine
    engine.close()
