"""How commands ask a running hub: the operators' API, with errors turned into sentences."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import httpx
import typer

from vuka.cli.output import fail

DEFAULT_URL: Final = "http://127.0.0.1:4001"
TIMEOUT_SECONDS: Final = 30.0

HubUrl = Annotated[
    str,
    typer.Option("--url", envvar="VUKA_OPERATORS_URL", help="The operators' API of the running hub."),
]


def call(url: str, method: str, path: str, body: object | None = None) -> Any:
    """One request to the operators' API; its JSON, or None where there is none.

    Ends the command with a sentence where the hub does not answer or refuses.
    """
    try:
        answer = httpx.request(
            method,
            url.rstrip("/") + path,
            json=body,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )
    except httpx.InvalidURL as error:
        fail(f"{url} is not a URL: {error}.")
    except httpx.HTTPError as error:
        fail(f"No hub answers at {url} ({error}). Start one with `vuka serve`, or name another with --url.")
    if answer.is_success:
        try:
            return answer.json() if answer.content else None
        except ValueError:
            fail(f"What answers at {url} is no hub: it sent no JSON. Name the operators' API with --url.")
    return fail(_reason(answer))


def _reason(answer: httpx.Response) -> str:
    try:
        information = answer.json()["errorInformation"]
    except (ValueError, KeyError, TypeError):
        return f"The hub answered {answer.status_code}: {answer.text[:200]}"
    return f"The hub refused: {information['errorDescription']} (code {information['errorCode']})."


def environment() -> dict[str, str]:
    """The variables that configure a hub."""
    return dict(os.environ)
