"""What the tables of the participants' API share: the API without sockets, and a whole scheme on sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.contract.application import Api, serving
from tests.e2e.conftest import wire

__all__ = ["api", "wire"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """The participants' API of a hub with two participants: nothing that it accepts arrives anywhere."""
    async with serving(tmp_path_factory.mktemp("hub"), COURIER_RETRY_FIRST_MS="1000") as api:
        yield api
