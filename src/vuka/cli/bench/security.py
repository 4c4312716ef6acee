"""What a run is protected by: signatures (JWS), TLS, both or neither; and the keys and certificates for it.

With signatures the hub requires them (``signatures.verify``), checks every message that participants sign, RS256 with
2,048 bits, and signs what it says itself with ES256. With TLS both APIs of the hub and every participant's server speak
it, with certificates of an authority made for the occasion that each side verifies; connections are kept.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vuka.fspiop.jws import ES256, RS256, PrivateKey

VALID_DAYS: Final = 2


class Security(msgspec.Struct, frozen=True):
    """What is on."""

    jws: bool = False
    tls: bool = False

    @property
    def name(self) -> str:
        """How it is called on the command line and in reports."""
        return "+".join(name for name, is_on in (("jws", self.jws), ("tls", self.tls)) if is_on) or "plain"


SECURITIES: Final[Mapping[str, Security]] = {
    each.name: each for each in (Security(), Security(jws=True), Security(tls=True), Security(jws=True, tls=True))
}


class Secrets(msgspec.Struct, frozen=True):
    """The files and keys of one benchmark, used by all its runs."""

    ca_file: Path
    certificate_file: Path
    key_file: Path
    hub_key_file: Path
    signing_keys: tuple[str, ...]
    """PEM, one for each participant."""

    def hub_environment(self, security: Security) -> dict[str, str]:
        """What configures a hub for it."""
        variables: dict[str, str] = {}
        if security.jws:
            variables |= {"VUKA_SIGNATURES_VERIFY": "true", "VUKA_SIGNATURES_HUB_KEY_FILE": str(self.hub_key_file)}
        if security.tls:
            for api in ("PARTICIPANTS", "OPERATORS"):
                variables[f"VUKA_{api}_API_TLS_CERTIFICATE_FILE"] = str(self.certificate_file)
                variables[f"VUKA_{api}_API_TLS_KEY_FILE"] = str(self.key_file)
            variables["VUKA_COURIER_CA_FILE"] = str(self.ca_file)
        return variables

    def context(self, security: Security) -> ssl.SSLContext | None:
        """With which the benchmark itself talks to the hub."""
        return ssl.create_default_context(cafile=str(self.ca_file)) if security.tls else None


def make_secrets(directory: Path, participants: int) -> Secrets:
    """Makes keys and certificates in a directory of the benchmark's own."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Vuka bench authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    here = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    root = (
        _certificate(issuer, issuer, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = _certificate(subject, issuer, server).add_extension(here, critical=False).sign(authority, hashes.SHA256())
    secrets = Secrets(
        ca_file=directory / "ca.pem",
        certificate_file=directory / "certificate.pem",
        key_file=directory / "key.pem",
        hub_key_file=directory / "hub-signing.pem",
        signing_keys=tuple(PrivateKey.generate(RS256).to_pem().decode() for _ in range(participants)),
    )
    secrets.ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    secrets.certificate_file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    secrets.key_file.write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    secrets.hub_key_file.write_bytes(PrivateKey.generate(ES256).to_pem())
    return secrets


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )
