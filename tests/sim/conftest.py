"""Two participants and a tiny hub between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.sim.fake_hub import FakeHub

from vuka.fspiop.versions import Version
from vuka.httpclient import HttpClient
from vuka.money import Amount
from vuka.sim.participant import Customer, Participant

AMINA, JOSE, KAUNG = "254700000001", "254700000002", "254711000002"


def usd(text: str) -> int:
    """Minor units of an amount of dollars as people write it."""
    return Amount.from_string(f"{text} USD").minor


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(timeout_ms=2_000)
    yield client
    await client.close()


@pytest.fixture
async def hub(client: HttpClient) -> AsyncIterator[FakeHub]:
    hub = FakeHub(client)
    await hub.server.start()
    yield hub
    await hub.server.stop()


class Scheme:
    """Makes participants and takes them into the hub."""

    def __init__(self, hub: FakeHub, client: HttpClient) -> None:
        self.hub = hub
        self.client = client
        self.made: list[Participant] = []

    async def add(self, name: str, *customers: Customer, **options: Any) -> Participant:
        """A participant that waits no longer than a test wants to."""
        settings: dict[str, Any] = {
            "currencies": ("USD",),
            "answer_seconds": 2.0,
            "transfer_seconds": 2.0,
            "grace_seconds": 0.01,
            "retry_first_seconds": 0.001,
            "resend_seconds": 2.0,
            **options,
        }
        participant = Participant(name, client=self.client, customers=customers, **settings)
        await participant.start()
        self.made.append(participant)
        self.hub.serve(participant)
        return participant


@pytest.fixture
async def scheme(hub: FakeHub, client: HttpClient) -> AsyncIterator[Scheme]:
    scheme = Scheme(hub, client)
    yield scheme
    for participant in scheme.made:
        await participant.stop()


@pytest.fixture
async def bank(scheme: Scheme) -> Participant:
    """A bank without fees; its Amina has 100 USD."""
    return await scheme.add(
        "bank",
        Customer("Amina Otieno", "MSISDN", AMINA, {"USD": usd("100")}),
        Customer("José Ñandú-Pérez", "MSISDN", JOSE, {"USD": usd("8")}),
    )


@pytest.fixture
async def wallet(scheme: Scheme) -> Participant:
    """A wallet that takes 0.25 USD; its ကောင်းထက်စံ has 5 USD."""
    return await scheme.add(
        "wallet", Customer("ကောင်းထက်စံ", "MSISDN", KAUNG, {"USD": usd("5")}), version=Version.V1_1, fee=usd("0.25")
    )
