"""The participants' API called as a server calls it, without one: every byte of a request is the test's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from vuka.api.fspiop import FspiopApi
from vuka.api.hub import Hub
from vuka.cli.hub import found
from vuka.config import load
from vuka.fspiop.times import format_http_date
from vuka.fspiop.versions import Version
from vuka.httpserver import Answer as HttpAnswer
from vuka.httpserver import Fault, Head
from vuka.ids import FspId
from vuka.money import Currency
from vuka.sim.participant import now_ms
from vuka.store.sqlite import Database
from vuka.switch.participants import CreateParticipant

PAYER: Final = "payerfsp"
PAYEE: Final = "payeefsp"
PARTICIPANTS: Final = (PAYER, PAYEE)

Header = tuple[bytes, bytes]


class Answer(NamedTuple):
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def information(self) -> dict[str, Any]:
        """The ``errorInformation`` of a refusal."""
        information: dict[str, Any] = json.loads(self.body)["errorInformation"]
        return information

    @property
    def refusal(self) -> tuple[int, str, str]:
        """Status, code and description of a refusal."""
        return self.status, self.information["errorCode"], self.information["errorDescription"]

    @property
    def extensions(self) -> list[tuple[str, str]]:
        """What an ``extensionList`` says, in order."""
        return [(each["key"], each["value"]) for each in self.information["extensionList"]["extension"]]


def media_type(resource: str, version: Version | str) -> str:
    """What Content-Type and Accept say."""
    return f"application/vnd.interoperability.{resource}+json;version={version}"


def right_headers(method: str, path: str, version: Version | str = Version.V1_1) -> dict[str, str]:
    """Headers in order, of payerfsp to payeefsp."""
    media = media_type(path.split("/")[1], version)
    headers = {
        "content-type": media,
        "date": format_http_date(now_ms()),
        "fspiop-source": PAYER,
        "fspiop-destination": PAYEE,
    }
    return headers | ({"accept": media} if method in ("GET", "POST", "DELETE") else {})


class Api:
    """A hub's participants' API."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._app = FspiopApi(hub)

    async def send(
        self,
        method: str,
        path: str,
        body: object = b"",
        *,
        version: Version | str = Version.V1_1,
        changed: dict[str, str | None] | None = None,
        more: tuple[Header, ...] = (),
    ) -> Answer:
        """One request: ``changed`` headers replace the right ones, None leaves one out; ``more`` come after them.

        ``body`` bytes are sent as they are, anything else as JSON.
        """
        headers: dict[str, str | None] = {**right_headers(method, path, version), **(changed or {})}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items() if value is not None]
        encoded = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return await self.call(method, path, [*raw, *more], [encoded])

    async def call(self, method: str, path: str, headers: list[Header], chunks: list[bytes]) -> Answer:
        """One request as it is."""
        route, _, query = path.partition("?")
        answer = await answered(self._app, Head(method, route.encode(), query.encode(), headers), chunks)
        return Answer(answer.status, dict(answer.headers), answer.body)


async def answered(app: FspiopApi, head: Head, chunks: list[bytes]) -> HttpAnswer:
    """What the application answers to one request, as its server would ask it."""
    accepted = app.accept(head)
    if isinstance(accepted, HttpAnswer):
        return accepted
    if sum(map(len, chunks)) > app.body_bytes_max:
        return app.refuse(Fault.BODY_TOO_LARGE)
    return await accepted.answer(b"".join(chunks))


class InProcess(httpx.AsyncBaseTransport):
    """Lets an httpx client talk to the application without a socket."""

    def __init__(self, app: FspiopApi) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        head = Head(request.method, path, query, request.headers.raw)
        answer = await answered(self._app, head, [await request.aread()])
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


@asynccontextmanager
async def serving(directory: Path, **settings: str) -> AsyncIterator[Api]:
    """The API of a new hub with payerfsp and payeefsp, who can't be reached. ``settings`` are variables' ends."""
    config = load(None, {f"VUKA_{name}": value for name, value in settings.items()}, data_dir=str(directory))
    found(config, "Contract", ["USD"])
    database = Database.open(config.database_path)
    hub = Hub(config, database)
    await hub.start()
    for name in PARTICIPANTS:
        await hub.submit(CreateParticipant(name=FspId(name), currency=Currency("USD"), is_proxy=False))
    yield Api(hub)
    await hub.stop()
    database.close()
