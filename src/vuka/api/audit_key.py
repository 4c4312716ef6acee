"""The key with which the hub signs its audit log: an Ed25519 key of its own, in a file that its owner alone can read.

Beside it lies the public key, for whoever checks the log: it should be kept elsewhere too, with the checkpoints.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from vuka.config import Config
from vuka.errors import OperatorError

KEY_FILE: Final = "auditlog.pem"
"""In the data directory, where no other is configured."""
PUBLIC_FILE: Final = "auditlog.pub.pem"

_READABLE_BY_OWNER: Final = 0o600

_PEM: Final = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def key_path(config: Config) -> Path:
    """Where the key is."""
    return Path(config.auditlog.key_file) if config.auditlog.key_file else Path(config.data_dir) / KEY_FILE


def public_path(config: Config) -> Path:
    """Where the public key is written for people to take with them."""
    return Path(config.data_dir) / PUBLIC_FILE


class AuditKey:
    """A key to sign checkpoints with."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()
        """The public key: 32 bytes in hexadecimal."""

    @classmethod
    def load(cls, path: Path) -> AuditKey:
        """The key of a file (PEM). Raises `OperatorError` where it holds none that will do."""
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise OperatorError(
                f"The audit log's key {path} can't be read: {error.strerror}. See auditlog.key_file."
            ) from None
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise OperatorError(
                f"{path} holds no Ed25519 key without a password (PEM). Make one with: "
                f"openssl genpkey -algorithm ed25519 -out {path}"
            )
        return cls(key)

    def sign(self, content: bytes) -> tuple[str, str]:
        """The public key and the signature, in hexadecimal."""
        return self.public, self._key.sign(content).hex()


def has_key(config: Config) -> bool:
    """Whether the log can be signed."""
    return bool(config.auditlog.key_file) or key_path(config).exists()


def make_key(config: Config) -> None:
    """Makes the key in the data directory where there is none and no other is configured, and sees to its public half.

    Raises `OperatorError` where it can't be written, or the one that is configured will not do.
    """
    if has_key(config):
        _publish(config)
        return
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = key_path(config)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READABLE_BY_OWNER), "wb") as handle:
            handle.write(private)
    except OSError as error:
        raise OperatorError(f"The audit log's key can't be written to {path}: {error.strerror}.") from None
    _publish(config)


def _publish(config: Config) -> None:
    """Adds the public key to those in the data directory. Raises `OperatorError`.

    Where a hub was restored, or its key was changed, its earlier ones are there: what they have signed stays signed.
    """
    path = public_path(config)
    key = AuditKey.load(key_path(config))
    if path.exists() and key.public in read_public_keys(path):
        return
    try:
        with path.open("ab") as handle:
            handle.write(
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)).public_bytes(
                    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
                )
            )
    except OSError as error:
        raise OperatorError(f"The audit log's public key can't be written to {path}: {error.strerror}.") from None


def read_public_keys(path: Path) -> set[str]:
    """The public keys of a file (PEM, one after another, or 64 hexadecimal digits), in hexadecimal.

    Raises `OperatorError`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"The public key {path} can't be read: {error.strerror}.") from None
    text = content.decode("ascii", "replace").strip()
    try:
        if len(text) == 64:
            return {Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)).public_bytes_raw().hex()}
        keys = [load_pem_public_key(each.encode()) for each in _PEM.findall(text)]
    except ValueError:
        keys = []
    found = {key.public_bytes_raw().hex() for key in keys if isinstance(key, Ed25519PublicKey)}
    if not found or len(found) != len(keys):
        raise OperatorError(f"{path} holds no Ed25519 public key (PEM, or 64 hexadecimal digits).")
    return found


def trusted_keys(config: Config) -> set[str] | None:
    """The public keys of this data directory; None where there is none to compare with."""
    path = public_path(config)
    keys = read_public_keys(path) if path.exists() else set()
    if key_path(config).exists():
        keys.add(AuditKey.load(key_path(config)).public)
    return keys or None
