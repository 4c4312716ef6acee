"""Fixtures of the ledger's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ledger.engines import FACTORIES, Engine


@pytest.fixture(params=["sql-memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger, in memory; with ``indirect`` parameters, of any engine of `FACTORIES`."""
    engine = FACTORIES[request.param](tmp_path)
    yield engine
    engine.close()
