"""Where the hub may call: what an endpoint may be, and which addresses are never called.

Participants and operators say where the hub calls (endpoints, oracles, webhooks), so whoever may say that could have it
call what only the hub reaches: itself, its own machine, the metadata service of a cloud (SSRF). An endpoint is
looked at twice. When it is registered, as it is written: a wrong one is told to whoever is there to mend it. And when
the hub connects, by the address that its name has then: the connection is made to exactly the address that was looked
at, so a name that changes its address in between gains nothing.

Addresses of private networks may be called: participants are often reached through one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from vuka.config import Config, Listener
from vuka.errors import OperatorError

URL_LENGTH_MAX: Final = 1_024
"""Characters of an endpoint."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: Final = tuple(
    ipaddress.ip_address(each)
    for each in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds tell a machine its secrets, beyond the link-local address that most of them use."""

_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses behind which a translator has IPv4 ones (RFC 6052)."""

_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(:[0-9]+)?", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMBER: Final = re.compile(r"([0-9]+|0x[0-9a-f]*)")
_PLACEHOLDER: Final = re.compile(r"\{\{\{?\s*[A-Za-z0-9_]+\s*\}?\}\}")
_UNWANTED: Final = frozenset(" \"'<>\\^`|#")


class Destinations:
    """What a hub may call, by its configuration."""

    def __init__(self, config: Config) -> None:
        """Raises `OperatorError` where what may be called is no host, domain or network."""
        settings = config.outbound
        listeners = (config.participants_api, config.operators_api)
        self._https_only = settings.https_only
        self._networks, self._hosts = _allowed(settings.allowed)
        self._is_limited = bool(settings.allowed.strip())
        is_inside = all(each.is_loopback and not each.believes_gateway for each in listeners)
        self._loopback = settings.loopback == "allow" or (settings.loopback == "auto" and is_inside)
        self._own: set[tuple[str, int]] = {(_host_of(each), each.port) for each in listeners if each.port}

    def listens(self, host: str, port: int) -> None:
        """The hub itself listens there: it is not to call itself."""
        self._own.add((host, port))

    # --- as it is written -------------------------------------------------------------------------------------------

    def fault(self, url: str) -> str | None:
        """Why the hub will not call a URL, as a phrase to stand behind the field's name; None where it may.

        ``url`` may have ``{{placeholders}}`` in its path. The name in it is not resolved.
        """
        if len(url) > URL_LENGTH_MAX:
            return f"has more than {URL_LENGTH_MAX} characters"
        url = _PLACEHOLDER.sub("{}", url)
        if not url.isascii() or not url.isprintable() or _UNWANTED & set(url):
            return "must be a URL of http or https, in ASCII, without spaces, quotes, backslashes or #"
        scheme, mark, rest = url.partition("://")
        authority = re.split(r"[/?]", rest, maxsplit=1)[0]
        if not mark or scheme.lower() not in ("http", "https"):
            return "must be a URL of http or https"
        if self._https_only and scheme.lower() != "https":
            return "must be a URL of https: see outbound.https_only"
        if "@" in authority:
            return "must not carry a user name or a password"
        if "{" in authority or "}" in authority:
            return "must name its host: a placeholder may stand in the path only"
        if rest[len(authority) :].startswith("?"):
            return "must have a path before its query"
        try:
            parts = urlsplit(f"{scheme}://{authority}")
            host, port = parts.hostname, parts.port
        except ValueError:
            return "is malformed: its host or port is none"
        if not host or port == 0 or _AUTHORITY.fullmatch(authority) is None:
            return "is malformed: its host or port is none"
        return self._host_fault(host.removesuffix("."), port or (443 if scheme.lower() == "https" else 80))

    def _host_fault(self, host: str, port: int) -> str | None:
        address = _address(host)
        if address is not None:
            return self._refusal(host, address, port)
        if "%" in host or ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) or _NAME.fullmatch(host) is None:
            return "is malformed: its host is neither a name nor an address in its usual form"
        if host == "localhost" or host.endswith(".localhost"):
            return self._refusal(host, ipaddress.IPv4Address("127.0.0.1"), port)
        if self._is_limited and not self._networks and not self._is_allowed_name(host):
            return "is none of those that the hub may call: see outbound.allowed"
        return None

    # --- as it is connected to --------------------------------------------------------------------------------------

    def refusal(self, host: str, address: str, port: int, *, is_secure: bool) -> str | None:
        """Why the hub does not connect to an address that a URL's host has now; None where it does."""
        if self._https_only and not is_secure:
            return "the URL is not https: see outbound.https_only"
        found = _address(address.partition("%")[0])
        if found is None:
            return "the host has no address of the internet"
        reason = self._refusal(host.removesuffix(".").lower(), found, port)
        return None if reason is None else f"the address {address} {reason}"

    def _refusal(self, host: str, address: Address, port: int) -> str | None:
        for each in _meanings(address):
            if any(_is_same(each, own, port == own_port) for own, own_port in self._own):
                return "is the hub's own"
            if self._is_listed(each):
                continue
            if not self._loopback and (each.is_loopback or _is_of_this_machine(each)):
                return "is of the hub's own machine: see outbound.loopback"
            if not each.is_loopback and _is_inside(each):
                return "is none that participants have: link-local, metadata, multicast or reserved"
            if self._is_limited and not self._is_allowed_name(host):
                return "is none of those that the hub may call: see outbound.allowed"
        return None

    def _is_listed(self, address: Address) -> bool:
        return any(address in each for each in self._networks)

    def _is_allowed_name(self, host: str) -> bool:
        return any(host.endswith(each) if each.startswith(".") else host == each for each in self._hosts)


def _allowed(text: str) -> tuple[tuple[Network, ...], tuple[str, ...]]:
    """Networks and names between commas. Raises `OperatorError`."""
    networks: list[Network] = []
    names: list[str] = []
    for each in (part.strip().lower() for part in text.split(",")):
        if not each:
            continue
        try:
            networks.append(ipaddress.ip_network(each))
        except ValueError:
            if _NAME.fullmatch(each.removeprefix(".")) is None or _NUMBER.fullmatch(each.rpartition(".")[2]):
                raise OperatorError(
                    f"outbound.allowed has {each}, which is no host (dfsp.example), domain (.example) or "
                    "network (10.0.0.0/8)."
                ) from None
            names.append(each)
    return tuple(networks), tuple(names)


def _host_of(listener: Listener) -> str:
    return "127.0.0.1" if listener.host == "localhost" else listener.host


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _meanings(address: Address) -> Iterator[Address]:
    """An address, and those that it stands for: behind each of them must be somebody whom the hub may call."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _TRANSLATED:
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_inside(address: Address) -> bool:
    """Whether an address is of no host that anybody could have for others to call."""
    if isinstance(address, ipaddress.IPv4Address) and address in _THIS_NETWORK:
        return True
    is_special = address.is_link_local or address.is_unspecified or address.is_multicast or address in _METADATA
    # The reserved blocks of IPv6 hold those of translators, whose meaning is looked at by itself.
    return is_special or (address.is_reserved and address not in _TRANSLATED)


def _is_same(address: Address, own: str, is_port: bool) -> bool:
    """Whether an address is where the hub listens: at it, or at all addresses of its machine."""
    if not is_port:
        return False
    listening = _address(own)
    if listening is None:
        return False
    if address.is_unspecified:
        # Whoever connects there comes to this machine by loopback.
        return listening.is_unspecified or listening.is_loopback
    if not listening.is_unspecified:
        return address == listening
    return address.is_loopback or _is_of_this_machine(address)


def _is_of_this_machine(address: Address) -> bool:
    """Whether it is an address of this machine: whoever calls one of those does so from the same one.

    Nothing is sent. To bind to it would not tell: machines that share an address let anything be bound to any.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return _address(str(probe.getsockname()[0])) == address
    except OSError:
        return False
