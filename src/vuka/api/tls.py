"""TLS of the hub: with which certificate a listener speaks it, whose clients it believes, and whom the hub believes.

TLS 1.2 and 1.3 (RFC 9325). What is wrong with a file is a sentence at the start, not a failed handshake later. A
session is resumed with the context that it was made with and with no other (`vuka.tls`): nobody comes in by what was
believed before.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import structlog

from vuka.config import Config, Listener
from vuka.errors import OperatorError
from vuka.tls import FollowingContext, load_pair, load_trusted, outgoing_context, require

log: Final = structlog.get_logger("vuka.tls")


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
    if listener.client_certificate == "required" and not listener.client_ca_file:
        raise OperatorError(f"{section}.client_certificate = required needs {section}.client_ca_file beside it.")
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
    load_pair(context, listener.tls_certificate_file, listener.tls_key_file, f"{section}.tls_certificate_file", section)
    if listener.client_ca_file:
        _ask_clients(context, listener, section)
    elif listener.client_crl_file:
        raise OperatorError(f"{section}.client_crl_file needs {section}.client_ca_file beside it.")
    return context


def _ask_clients(context: ssl.SSLContext, listener: Listener, section: str) -> None:
    """Has the listener ask clients for certificates of these authorities, unless they are on a list of them."""
    load_trusted(context, listener.client_ca_file, f"{section}.client_ca_file")
    is_required = listener.client_certificate == "required"
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    context.sslobject_class = _AskingObject
    if not listener.client_crl_file:
        return
    name = f"{section}.client_crl_file"
    require(listener.client_crl_file, name)
    try:
        context.load_verify_locations(cafile=listener.client_crl_file)
        has_list = "-----BEGIN X509 CRL-----" in Path(listener.client_crl_file).read_text(encoding="ascii")
    except (ssl.SSLError, UnicodeDecodeError):
        has_list = False
    if not has_list:
        raise OperatorError(f"{listener.client_crl_file} holds no revocation list in PEM. See {name}.")
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def check_trusted(config: Config) -> None:
    """Checks the files by which the hub believes others when it calls them, and is known. Raises `OperatorError`."""
    for file, name in (
        (config.courier.ca_file, "courier.ca_file"),
        (config.oracles.ca_file, "oracles.ca_file"),
        (config.oauth.ca_file, "oauth.ca_file"),
    ):
        outgoing_context(config.outbound, file, name)
