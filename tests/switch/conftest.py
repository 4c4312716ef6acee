"""Fixtures of the rules' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.switch.scheme_bench import SchemeBench


@pytest.fixture
def hub() -> Iterator[SchemeBench]:
    """A scheme with the hub's accounts in USD and EUR, and no participants. The books must balance in the end."""
    bench = SchemeBench()
    yield bench
    bench.audit()
    bench.close()
