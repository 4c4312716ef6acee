"""TLS of the hub: with which certificate a listener speaks it, and which authorities are believed when the hub calls.

TLS 1.2 and 1.3 (RFC 9325). What is wrong with a file is a sentence at the start, not a failed handshake later.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from vuka.config import Config, Listener
from vuka.errors import OperatorError


def listener_context(listener: Listener, section: str) -> ssl.SSLContext | None:
    """The context of a listener; None where it speaks plain HTTP. ``section`` is its name in the configuration.

    Raises `OperatorError` where certificate or key is missing, can't be read, or they don't belong together.
    """
    certificate, key = listener.tls_certificate_file, listener.tls_key_file
    if not certificate and not key:
        return None
    if not certificate or not key:
        given, missing = ("tls_key_file", "tls_certificate_file") if key else ("tls_certificate_file", "tls_key_file")
        raise OperatorError(f"{section}.{given} needs {section}.{missing} beside it.")
    _require(certificate, f"{section}.tls_certificate_file")
    _require(key, f"{section}.tls_key_file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise OperatorError(
                f"{key} is not the key of the certificate in {certificate}. See {section}.tls_key_file."
            ) from None
        raise OperatorError(
            f"{certificate} and {key} can't be used for TLS: the first must hold a certificate, the hub's own before "
            f"any above it, the second its private key, both in PEM and without a password. See {section}."
        ) from None
    return context


def check_trusted(config: Config) -> None:
    """Checks the files of authorities that the hub believes when it calls others. Raises `OperatorError`."""
    for file, name in ((config.courier.ca_file, "courier.ca_file"), (config.oracles.ca_file, "oracles.ca_file")):
        if not file:
            continue
        _require(file, name)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
        except ssl.SSLError:
            raise OperatorError(f"{file} holds no certificate in PEM. See {name}.") from None


def _require(file: str, name: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise OperatorError(f"{file} can't be read: {error.strerror}. See {name}.") from None
