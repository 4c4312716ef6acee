"""TLS of the hub: with which certificate a listener speaks it, whose clients it believes, and whom the hub believes.

TLS 1.2 and 1.3 (RFC 9325). What is wrong with a file is a sentence at the start, not a failed handshake later. Files
that change while the hub runs (a renewed certificate, a revocation list) hold from the next handshake on; where they
will not do, those of before hold, and the log says so once. A session is resumed with the context that it was made with
and with no other, so that nobody comes in by what was believed before.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from vuka.config import Config, Listener
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
        except OperatorError as error:
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


def _state_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return _NOT_THERE
    return found.st_mtime_ns, found.st_size, found.st_ino


class _AskingObject(ssl.SSLObject):
    """A handshake with a client, whose certificate may be refused: the log says why, the client's own TLS tells it."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            log.info("a client's certificate is refused", reason=error.verify_message)
            raise
        except ssl.SSLError as error:
            if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
                log.info("a client is refused", reason="it shows no certificate")
            raise


def listener_context(listener: Listener, section: str) -> FollowingContext | None:
    """The context of a listener; None where it speaks plain HTTP. ``section`` is its name in the configuration.

    Raises `OperatorError` where a file is missing or can't be read, or certificate and key don't belong together.
    """
    certificate, key = listener.tls_certificate_file, listener.tls_key_file
    if not certificate and not key:
        if listener.client_ca_file:
            raise OperatorError(
                f"{section}.client_ca_file needs {section}.tls_certificate_file and tls_key_file: "
                "only over TLS does a client show a certificate."
            )
        return None
    if not certificate or not key:
        given, missing = ("tls_key_file", "tls_certificate_file") if key else ("tls_certificate_file", "tls_key_file")
        raise OperatorError(f"{section}.{given} needs {section}.{missing} beside it.")
    files = (certificate, key, listener.client_ca_file, listener.client_crl_file)
    return FollowingContext.of(lambda: _listener_context(listener, section), files)


def _listener_context(listener: Listener, section: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(
        context, listener.tls_certificate_file, listener.tls_key_file, f"{section}.tls_certificate_file", section
    )
    if listener.client_ca_file:
        _ask_clients(context, listener, section)
    elif listener.client_crl_file:
        raise OperatorError(f"{section}.client_crl_file needs {section}.client_ca_file beside it.")
    return context


def _load_pair(context: ssl.SSLContext, certificate: str, key: str, name: str, section: str) -> None:
    key_name = name.replace("certificate_file", "key_file")
    _require(certificate, name)
    _require(key, key_name)
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


def _ask_clients(context: ssl.SSLContext, listener: Listener, section: str) -> None:
    """Has the listener ask clients for certificates of these authorities, unless they are on a list of them."""
    _load_trusted(context, listener.client_ca_file, f"{section}.client_ca_file")
    is_required = listener.client_certificate == "required"
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    context.sslobject_class = _AskingObject
    if not listener.client_crl_file:
        return
    name = f"{section}.client_crl_file"
    _require(listener.client_crl_file, name)
    try:
        context.load_verify_locations(cafile=listener.client_crl_file)
        has_list = "-----BEGIN X509 CRL-----" in Path(listener.client_crl_file).read_text(encoding="ascii")
    except (ssl.SSLError, UnicodeDecodeError):
        has_list = False
    if not has_list:
        raise OperatorError(f"{listener.client_crl_file} holds no revocation list in PEM. See {name}.")
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def check_trusted(config: Config) -> None:
    """Checks the files of authorities that the hub believes when it calls others. Raises `OperatorError`."""
    for file, name in ((config.courier.ca_file, "courier.ca_file"), (config.oracles.ca_file, "oracles.ca_file")):
        if file:
            _load_trusted(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file, name)


def _load_trusted(context: ssl.SSLContext, file: str, name: str) -> None:
    _require(file, name)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise OperatorError(f"{file} holds no certificate in PEM. See {name}.") from None


def _require(file: str, name: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise OperatorError(f"{file} can't be read: {error.strerror}. See {name}.") from None
