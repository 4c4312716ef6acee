"""The channel ``webhook``: a POST of JSON to whoever has an ``ALARM_NOTIFICATION_URL`` endpoint.

The body is `vuka.plugins.Notification` with names in camelCase, the same bytes at each attempt. ``Vuka-Notification``
carries the delivery's id; where there is a secret ``Vuka-Signature`` is ``sha256=`` and the HMAC-SHA256 of the body in
hex. Only http and https are spoken, no redirect is followed, no proxy of the environment is used, and of the answer
nothing but its status is read: 2xx is delivered. Nobody is told whom the hub does not call (`vuka.destinations`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import ssl
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from vuka.channels.secrets import secret
from vuka.config import Config
from vuka.destinations import Destinations
from vuka.fspiop.times import format_datetime_ms
from vuka.plugins import NOTIFICATION_KINDS, Channel, DeliveryError, Notification, hookimpl
from vuka.tls import outgoing_context

if TYPE_CHECKING:
    import httpx

URL_ENDPOINT: Final = "ALARM_NOTIFICATION_URL"

ID_HEADER: Final = "Vuka-Notification"
SIGNATURE_HEADER: Final = "Vuka-Signature"

_LATER: Final = frozenset((408, 425, 429))
"""Statuses below 500 that mean "later", not "no"."""


@hookimpl
def vuka_notification_channels(config: Config) -> Sequence[Channel]:
    """Webhooks, unless they are switched off. Raises `OperatorError`."""
    settings = config.notifications
    if not settings.webhook:
        return []
    key = secret("webhook_secret", settings.webhook_secret, settings.webhook_secret_file)
    tls = outgoing_context(config.outbound, "", "")
    webhooks = _Webhooks(key.encode(), settings.timeout_ms, Destinations(config), tls)
    endpoints = dict.fromkeys(NOTIFICATION_KINDS, URL_ENDPOINT)
    return [Channel(name="webhook", deliver=webhooks.deliver, endpoints=endpoints)]


def body_of(notification: Notification) -> bytes:
    """The JSON that is posted."""
    return msgspec.json.encode(
        {
            "id": notification.id,
            "kind": notification.kind,
            "participant": notification.participant,
            "recipient": notification.recipient,
            "currency": notification.currency,
            "createdDate": format_datetime_ms(notification.created_ms),
            "data": notification.data,
            "subject": notification.subject,
            "text": notification.text,
            "isTest": notification.is_test,
        }
    )


def sign(key: bytes, body: bytes) -> str:
    """The value of ``Vuka-Signature``: what a receiver that has the secret computes and compares."""
    return f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"


def _check(url: str) -> None:
    """Raises `DeliveryError` where nothing can be asked of a URL."""
    try:
        parts = urlsplit(url)
        is_one = bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:
        is_one = False
    if not url.lower().startswith(("http://", "https://")):
        raise DeliveryError("the URL is not http or https", is_final=True)
    if not is_one:
        raise DeliveryError("the URL is malformed", is_final=True)


class _Webhooks:
    """What posts: each delivery in a thread, with an event loop of its own, so that all of it has one time."""

    def __init__(
        self, key: bytes, timeout_ms: int, destinations: Destinations, tls: ssl.SSLContext | None = None
    ) -> None:
        self._key = key
        self._destinations = destinations
        self._given_tls = tls
        self._timeout_seconds = timeout_ms / 1000

    def deliver(self, notification: Notification, url: str) -> None:
        """Raises `DeliveryError`."""
        _check(url)
        body = body_of(notification)
        headers = {"Content-Type": "application/json", "User-Agent": "vuka", ID_HEADER: notification.id}
        if self._key:
            headers[SIGNATURE_HEADER] = sign(self._key, body)
        status = asyncio.run(self._post(url, headers, body))
        if not 200 <= status < 300:
            raise DeliveryError(f"answered {status}", is_final=300 <= status < 500 and status not in _LATER)

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """The status of the answer: where its body begins the exchange ends. Raises `DeliveryError`."""
        import httpx

        try:
            asked = httpx.URL(url)
            # As it is written: what `host` says is decoded, and would be encoded by older rules, to another name.
            host = asked.raw_host.decode("ascii")
            async with (
                asyncio.timeout(self._timeout_seconds),
                httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=None, verify=self._tls) as client,  # noqa: S113 - it has its time above
                # Connected to is what was looked at: another look-up of the name might find another address.
                client.stream(
                    "POST",
                    asked.copy_with(host=await self._address(asked, host)),
                    content=body,
                    headers=headers | {"Host": asked.netloc.decode("ascii")},
                    extensions={"sni_hostname": host},
                ) as answer,
            ):
                return answer.status_code
        except socket.gaierror as error:
            raise DeliveryError("there is no connection", error.strerror or "unknown host") from None
        except TimeoutError:
            raise DeliveryError("timed out") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
            raise DeliveryError("the URL is malformed", is_final=True) from None
        except httpx.ConnectError as error:
            raise DeliveryError("there is no connection", str(error)) from None
        except httpx.HTTPError as error:
            raise DeliveryError("there was no answer", str(error) or type(error).__name__) from None

    async def _address(self, url: httpx.URL, host: str) -> str:
        """The address to connect to. Raises `DeliveryError` where the hub calls none that the host has."""
        is_secure = url.scheme == "https"
        port = url.port or (443 if is_secure else 80)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        refusal: str | None = None
        for *_, address in found:
            refusal = self._destinations.refusal(host, str(address[0]), port, is_secure=is_secure)
            if refusal is None:
                return str(address[0])
        raise DeliveryError(refusal or "the host has no address")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """By the system's certificates; made when it is first needed, for that takes a while."""
        return self._given_tls or ssl.create_default_context()
