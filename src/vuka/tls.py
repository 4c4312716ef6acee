"""Contexts of TLS that follow their files: what changes on disk holds from the next handshake on.

A certificate is renewed, an authority added, a revocation list published while the hub runs. Where the new files will
not do, those of before hold, and the log says so once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from vuka.config import Outbound
from vuka.errors import OperatorError

log: Final = structlog.get_logger("vuka.tls")

_State = tuple[tuple[int, int, int], ...]
_NOT_THERE: Final = (0, 0, 0)


class FollowingContext(ssl.SSLContext):
    """A context that is made anew when one of its files changes; each handshake is by the newest.

    ``make`` makes it and raises `OperatorError` where the files will not do. It is handed out as a context of its own
    because servers and clients keep the one that they are given.
    """

    _make: Callable[[], ssl.SSLContext]
    _files: tuple[Path, ...]
    _read_as: _State
    _current: ssl.SSLContext
    on_change: list[Callable[[], None]]
    """Is told when another context is in force: of connections made before, some may have to end."""

    @classmethod
    def of(
        cls, make: Callable[[], ssl.SSLContext], files: Sequence[str], protocol: int = ssl.PROTOCOL_TLS_SERVER
    ) -> FollowingContext:
        """Raises `OperatorError` where there can be none at all."""
        context = cls(protocol)
        context._make = make
        context._files = tuple(Path(each) for each in files if each)
        context._read_as = context._state()
        context._current = make()
        context.on_change = []
        return context

    def refresh(self) -> bool:
        """Whether another context is in force than before."""
        state = self._state()
        if state == self._read_as:
            return False
        self._read_as = state
        try:
            self._current = self._make()
        except (OperatorError, OSError) as error:
            # A file may be gone between two looks at it: its next state is another change.
            log.warning("files for TLS have changed and will not do: those of before are used", error=str(error))
            return False
        log.info("files for TLS have changed and are in use", files=[str(each) for each in self._files])
        for tell in self.on_change:
            tell()
        return True

    @property
    def current(self) -> ssl.SSLContext:
        """The context in force."""
        return self._current

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """One connection, by the files as they are now."""
        self.refresh()
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _state(self) -> _State:
        return tuple(_state_of(each) for each in self._files)


def is_of_before(tls: ssl.SSLContext | None, transport: asyncio.BaseTransport) -> bool:
    """Whether a connection was begun with a context that is in force no longer: whom it let in, this one might not."""
    if not isinstance(tls, FollowingContext):
        return False
    secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return secured is not None and secured.context is not tls.current


def _state_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return _NOT_THERE
    return found.st_mtime_ns, found.st_size, found.st_ino


def outgoing_context(outbound: Outbound, ca_file: str, ca_name: str) -> FollowingContext | None:
    """How the hub calls others by TLS: whom it believes, and what it shows where it is asked.

    None where it believes whom the system believes and shows nothing. Raises `OperatorError` where a file will not do.
    """
    certificate, key = outbound.client_certificate_file, outbound.client_key_file
    if not ca_file and not certificate and not key:
        return None
    if bool(certificate) != bool(key):
        given, missing = ("client_key_file", "client_certificate_file")[:: -1 if certificate else 1]
        raise OperatorError(f"outbound.{given} needs outbound.{missing} beside it.")

    def make() -> ssl.SSLContext:
        if not ca_file:
            context = ssl.create_default_context()
        else:
            # As the default has it, but for the authorities.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_trusted(context, ca_file, ca_name)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            load_pair(context, certificate, key, "outbound.client_certificate_file", "outbound")
        return context

    return FollowingContext.of(make, (ca_file, certificate, key), ssl.PROTOCOL_TLS_CLIENT)


def load_pair(context: ssl.SSLContext, certificate: str, key: str, name: str, section: str) -> None:
    """Has a context show a certificate. Raises `OperatorError` where its files will not do."""
    key_name = name.replace("certificate_file", "key_file")
    require(certificate, name)
    require(key, key_name)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise OperatorError(f"{key} is not the key of the certificate in {certificate}. See {key_name}.") from None
        raise OperatorError(
            f"{certificate} and {key} can't be used for TLS: the first must hold a certificate, the hub's own before "
            f"any above it, the second its private key, both in PEM and without a password. See {section}."
        ) from None


def load_trusted(context: ssl.SSLContext, file: str, name: str) -> None:
    """Has a context believe authorities, of which ``name`` is the key. Raises `OperatorError`."""
    require(file, name)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise OperatorError(f"{file} holds no certificate in PEM. See {name}.") from None


def require(file: str, name: str) -> None:
    """Raises `OperatorError` where a file can't be read."""
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise OperatorError(f"{file} can't be read: {error.strerror}. See {name}.") from None
