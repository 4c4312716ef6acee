"""A participant that keeps every request as it got it, and sends whatever a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import msgspec

from vuka.fspiop.times import format_http_date
from vuka.httpclient import HttpClient, Request, Response
from vuka.sim.participant import now_ms
from vuka.sim.server import Answer, Inquiry, Server

WAIT_SECONDS = 8

Header = tuple[str, str]


def media_type(resource: str, version: str) -> str:
    """What Content-Type and Accept say."""
    return f"application/vnd.interoperability.{resource}+json;version={version}"


class Recorder:
    """One participant on the wire: nothing is parsed, nothing is answered but 202 or 200."""

    def __init__(self, name: str, client: HttpClient, hub_url: str) -> None:
        self.name = name
        self.version = "1.1"
        """What it writes in Content-Type."""
        self.accepts = "1.1"
        self.hub_url = hub_url
        self.received: list[Inquiry] = []
        self.answers: dict[str, int] = {}
        """Statuses by path, where it is to answer another one than usual."""
        self.server = Server(self._keep)
        self._client = client
        self._something = asyncio.Event()

    def _keep(self, inquiry: Inquiry) -> Answer:
        self.received.append(inquiry)
        self._something.set()
        usual = 202 if inquiry.method in ("GET", "POST") else 200
        return Answer(self.answers.get(inquiry.path, usual))

    async def heard(self, method: str, path: str, *, count: int = 1, having: bytes = b"") -> Inquiry:
        """The ``count``-th request with that method and path whose body has ``having`` in it, awaited."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    self._something.clear()
                    found = [
                        each
                        for each in self.received
                        if (each.method, each.path) == (method, path) and having in each.body
                    ]
                    if len(found) >= count:
                        return found[count - 1]
                    await self._something.wait()
        except TimeoutError:
            seen = [f"{each.method} {each.path} {each.body[:200]!r}" for each in self.received[-8:]]
            raise AssertionError(f"{self.name} did not hear {method} {path}; last it heard: {seen}") from None

    def headers(
        self, resource: str, method: str, destination: str | None = None, **changed: str | None
    ) -> list[Header]:
        """Headers in order; ``changed`` by name with _ for -, None to leave one out."""
        made: dict[str, str] = {
            "content-type": media_type(resource, self.version),
            "date": format_http_date(now_ms()),
            "fspiop-source": self.name,
        }
        if method in ("GET", "POST", "DELETE"):
            made["accept"] = media_type(resource, self.accepts)
        if destination is not None:
            made["fspiop-destination"] = destination
        for name, value in changed.items():
            key = name.replace("_", "-")
            made.pop(key, None)
            if value is not None:
                made[key] = value
        return list(made.items())

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        to: str | None = None,
        *,
        headers: Sequence[Header] | None = None,
        **changed: str | None,
    ) -> Response:
        """One request to the hub, its answer. ``body`` bytes are sent as they are, anything else as JSON."""
        resource = path.split("/")[1].partition("?")[0]
        sent = headers if headers is not None else self.headers(resource, method, to, **changed)
        encoded = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        return await self._client.send(Request(method, self.hub_url + path, sent, encoded))

    async def send_in_chunks(self, path: str, chunks: Sequence[bytes], headers: Sequence[Header]) -> httpx.Response:
        """A POST whose length is not told before; its answer."""

        async def parts() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(self.hub_url + path, headers=list(headers), content=parts())


def refusal(answer: Response | httpx.Response) -> tuple[int, str]:
    """Status and FSPIOP code of a refusing answer."""
    if isinstance(answer, httpx.Response):
        return answer.status_code, answer.json()["errorInformation"]["errorCode"]
    return answer.status, json_of(answer.body)["errorInformation"]["errorCode"]


def description(body: bytes) -> str:
    """The description of an error's body."""
    text: str = json_of(body)["errorInformation"]["errorDescription"]
    return text


def code(body: bytes) -> str:
    """The code of an error's body."""
    text: str = json_of(body)["errorInformation"]["errorCode"]
    return text


def json_of(body: bytes) -> Any:
    """A body as JSON."""
    return msgspec.json.decode(body)
