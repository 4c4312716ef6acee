"""Fixtures of the operators' API: the application over a scheme on the bench, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from starlette.testclient import TestClient
from tests.switch.scheme_bench import SchemeBench

from vuka.api.admin import admin_app
from vuka.api.tokens import AccessTokens
from vuka.config import Config
from vuka.destinations import Destinations
from vuka.fspiop.jws import PublicKey
from vuka.ledger.model import Ledger
from vuka.store import Tx
from vuka.switch.directory import Directory
from vuka.switch.work import Command

T = TypeVar("T")


class BenchHub:
    """What the API asks of a hub, each command decided and committed alone."""

    def __init__(self, bench: SchemeBench) -> None:
        self.bench = bench
        self.config = Config()
        self.started_ms = bench.now_ms
        self.works = {"datastore": True, "broker": True}
        self.refuses: Exception | None = None
        """What every command is refused with, e.g. an overloaded hub's error."""
        self.signs_with: PublicKey | None = None
        self.tokens: AccessTokens | None = None
        self.destinations = Destinations(self.config)

    def now_ms(self) -> int:
        return self.bench.now_ms

    @property
    def directory(self) -> Directory:
        return self.bench.directory

    async def submit(self, command: Command) -> object:
        if self.refuses is not None:
            raise self.refuses
        outcome = self.bench.run(command)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        return self.bench.read(function)

    def signing_public_key(self) -> PublicKey | None:
        return self.signs_with

    def health(self) -> list[tuple[str, bool]]:
        return list(self.works.items())


@pytest.fixture
def bench() -> Iterator[SchemeBench]:
    """A scheme with the hub's accounts in USD and EUR, and no participants. The books must balance in the end."""
    bench = SchemeBench()
    yield bench
    bench.audit()
    bench.close()


@pytest.fixture
def hub(bench: SchemeBench) -> BenchHub:
    return BenchHub(bench)


@pytest.fixture
def client(hub: BenchHub) -> Iterator[TestClient]:
    """The operators' API at ``http://hub``."""
    with TestClient(admin_app(hub), base_url="http://hub", raise_server_exceptions=False) as client:  # type: ignore[arg-type]
        yield client
