"""How commands ask a running hub: the operators' API, with errors turned into sentences.

A hub that wants to know who asks is shown a token: the one of ``vuka --token``, of VUKA_TOKEN, or the one that
``vuka init`` left in the data directory, which goes to this machine only.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer

from vuka.cli import given
from vuka.cli.given import TOKEN_FILE
from vuka.cli.output import fail
from vuka.rules import Fault

DEFAULT_URL: Final = "http://127.0.0.1:4001"
TIMEOUT_SECONDS: Final = 30.0
_EXACT: Final = msgspec.json.Decoder(float_hook=Decimal)
_FILE_NAME: Final = re.compile(r'filename="([^"/\\]+)"')
_FOUND_NOTHING: Final = re.compile(r"not found|No settlements found")

HubUrl = Annotated[
    str,
    typer.Option("--url", envvar="VUKA_OPERATORS_URL", help="The operators' API of the running hub."),
]


class Token(msgspec.Struct, frozen=True):
    """An operator's token, and where it was found."""

    text: str
    origin: str


def call(url: str, method: str, path: str, body: object | None = None, *, exact: bool = False) -> Any:
    """One request to the operators' API; its JSON, or None where there is none. ``exact``: amounts as `Decimal`.

    Ends the command with a sentence where the hub does not answer or refuses.
    """
    return _value(url, _ask(url, method, path, body), exact=exact)


def _ask(url: str, method: str, path: str, body: object | None = None) -> httpx.Response:
    token = find_token(url)
    try:
        return httpx.request(
            method,
            url.rstrip("/") + path,
            json=body,
            headers={} if token is None else {"Authorization": f"Bearer {token.text}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=_believed(url),
        )
    except httpx.InvalidURL as error:
        fail(f"{url} is not a URL: {error}.")
    except (httpx.ReadError, httpx.RemoteProtocolError) as error:
        if not url.lower().startswith("https://"):
            fail(f"What answers at {url} is no hub, or the hub has just gone ({error}). Name another with --url.")
        # In TLS 1.3 a certificate is refused when the client believes that all is well.
        what = "does not believe the certificate of --certificate" if given.CERTIFICATE.get() else "wants a certificate"
        fail(f"The hub at {url} ends the connection without an answer ({error}). Perhaps it {what}: ask an admin.")
    except httpx.HTTPError as error:
        fail(f"No hub answers at {url} ({error}). Start one with `vuka serve`, or name another with --url.")


def _believed(url: str) -> ssl.SSLContext | bool:
    """Whom to believe of a hub with https, and what to show it. Ends the command where a file for it can't be used."""
    file, certificate = given.CA_FILE.get(), given.CERTIFICATE.get()
    if not file and not certificate:
        # Without https nobody needs to be believed, and to read whom one might takes longer than all else.
        return True if url.lower().startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context = ssl.create_default_context(cafile=file or None)
    except OSError as error:
        fail(f"{file} can't be used to know the hub by: {error.strerror or error}. See --ca-file.")
    if certificate:
        try:
            # Without a password OpenSSL would ask the terminal for one.
            context.load_cert_chain(certificate, password="")
        except OSError as error:
            reason = (
                "it must hold a certificate and its private key" if isinstance(error, ssl.SSLError) else error.strerror
            )
            fail(f"{certificate} can't be shown to the hub: {reason}. See --certificate.")
    return context


def _value(url: str, answer: httpx.Response, *, exact: bool) -> Any:
    """What was answered, or the end of the command."""
    if answer.is_success:
        try:
            if not answer.content:
                return None
            return _EXACT.decode(answer.content) if exact else answer.json()
        except ValueError:
            fail(f"What answers at {url} is no hub: it sent no JSON. Name the operators' API with --url.")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        fail(_who_are_you(url, find_token(url)))
    if answer.status_code == httpx.codes.FORBIDDEN:
        fail(f"{_reason(answer)} Ask an admin for it: vuka access grant --operator NAME --role ROLE")
    return fail(_reason(answer))


def try_call(
    url: str, method: str, path: str, body: object, *, refused_with: str, exact: bool = False
) -> tuple[bool, Any]:
    """One request that may be refused with more than an error: whether it was done, and the JSON answered.

    ``refused_with`` names the member that such a refusal has. Ends the command where the answer is any other.
    """
    answer = _ask(url, method, path, body)
    if answer.status_code == httpx.codes.BAD_REQUEST and _has(answer, refused_with):
        return False, _EXACT.decode(answer.content) if exact else answer.json()
    return True, _value(url, answer, exact=exact)


def _has(answer: httpx.Response, name: str) -> bool:
    try:
        found = answer.json()
    except ValueError:
        return False
    return isinstance(found, dict) and name in found


def download(url: str, path: str) -> tuple[str, bytes]:
    """A file: its name, and its bytes. Ends the command as `call` does."""
    answer = _ask(url, "GET", path)
    if not answer.is_success:
        _value(url, answer, exact=False)
    name = _FILE_NAME.search(answer.headers.get("content-disposition", ""))
    return name[1] if name is not None else "download", answer.content


def find(url: str, path: str) -> list[Any]:
    """What a search of the settlement API finds; it answers an error where that is nothing."""
    answer = _ask(url, "GET", path)
    if answer.status_code == httpx.codes.BAD_REQUEST and _FOUND_NOTHING.search(_reason(answer)):
        return []
    found: list[Any] = _value(url, answer, exact=False)
    return found


def find_token(url: str) -> Token | None:
    """The token to show to the hub at a URL. Ends the command where it can't be one."""
    text = given.TOKEN.get().strip()
    if text:
        return _checked(Token(text, "--token or VUKA_TOKEN"))
    # A token of this machine is for no other, whatever a URL says.
    if not _is_this_machine(url):
        return None
    file = Path(os.environ.get("VUKA_DATA_DIR", "vuka-data")) / TOKEN_FILE
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return _checked(Token(text, str(file))) if text else None


def _checked(token: Token) -> Token:
    if not token.text.isascii() or not token.text.isprintable() or " " in token.text:
        fail(f"What {token.origin} gives is no token: a token has no spaces, and begins with vuka_.")
    return token


def _is_this_machine(url: str) -> bool:
    try:
        host = httpx.URL(url).host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False


def _who_are_you(url: str, token: Token | None) -> str:
    if token is None:
        return (
            f"The hub at {url} wants to know who you are. Give your token in VUKA_TOKEN or with `vuka --token`; on the "
            f"hub's own machine name its data directory in VUKA_DATA_DIR, where {TOKEN_FILE} is."
        )
    return (
        f"The hub at {url} does not know the token of {token.origin}: it is wrong, expired or revoked. "
        "Ask an admin for another: vuka access grant --operator NAME --role ROLE"
    )


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        information = body["errorInformation"]
    except (ValueError, KeyError, TypeError):
        return f"The hub answered {answer.status_code}: {answer.text[:200]}"
    if "faults" in body:
        # Of rules, all that is wrong is told in full.
        return "The hub refused the rules:" + "".join(f"\n  {Fault(**fault)}" for fault in body["faults"])
    details = "".join(f"\n  {each}" for each in body.get("details", ()))
    return f"The hub refused: {information['errorDescription']} (code {information['errorCode']}).{details}"


def environment() -> dict[str, str]:
    """The variables that configure a hub."""
    return dict(os.environ)
