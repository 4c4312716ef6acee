"""Signatures at the hub's door: whose messages must be signed, and the hub's own signature on what it makes itself.

A deployment requires signatures of everybody or of nobody (``signatures.verify``), and a participant may be set apart
from the rest either way. Where one is not required but is there, it must be right as long as its sender has registered
a key: who signs wants to be checked. A participant whose signatures are OFF is not checked at all.

As in the reference, questions (GET) and DELETE are not signed, and ``PUT /parties`` need not be unless the scheme says
so: the usual SDK leaves it unsigned. What a participant sent is passed on with its own signature; only what the hub
makes itself carries the hub's.

A message that was signed once may be sent again by anybody who has seen it. What it is about is known by its id, so
that it changes nothing (the duplicate rules of each use case); where the deployment says how old a message may be, an
old one is refused besides.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog

from vuka.api.request import Request
from vuka.config import Signatures
from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.fspiop.jws import PrivateKey, PublicKey, sign, verify
from vuka.fspiop.times import parse_http_date
from vuka.switch.directory import Participant
from vuka.switch.work import Header

log: Final = structlog.get_logger("vuka.signatures")

REQUIRED: Final = "REQUIRED"
OFF: Final = "OFF"

_UNSIGNED_METHODS: Final = frozenset(("GET", "DELETE"))


def check_signature(settings: Signatures, sender: Participant, request: Request) -> None:
    """Checks a message's signature where its sender is to sign. Raises `FspiopError` 3105."""
    if sender.signatures == OFF or request.method in _UNSIGNED_METHODS:
        return
    is_required = sender.signatures == REQUIRED or settings.verify
    if request.headers.get("fspiop-signature") is None:
        if not is_required or (request.resource == "parties" and not settings.verify_put_parties):
            return
        raise FspiopError(ErrorCode.INVALID_SIGNATURE, "FSPIOP-Signature is missing")
    if not is_required and not sender.signing_keys:
        return
    keys = [PublicKey(key.algorithm, key.public_key, key.fingerprint) for key in sender.signing_keys]
    has_window = settings.date_age_seconds_max > 0
    verify(
        keys,
        method=request.method,
        path=request.path,
        get=request.headers.get,
        body=request.body,
        needs_date=has_window,
    )
    if has_window:
        _check_date(settings, request)


def _check_date(settings: Signatures, request: Request) -> None:
    """Raises `FspiopError` 3105 where a signed message is not of now."""
    date_s = parse_http_date(request.checked.date)
    if date_s is None:
        raise FspiopError(ErrorCode.INVALID_SIGNATURE, "the Date is none")
    age_ms = request.received_ms - date_s * 1000
    if age_ms > settings.date_age_seconds_max * 1000:
        detail = f"the Date is {age_ms // 1000} s old, more than {settings.date_age_seconds_max} s"
        raise FspiopError(ErrorCode.INVALID_SIGNATURE, detail)
    if age_ms < -settings.date_future_seconds_max * 1000:
        detail = f"the Date lies {-age_ms // 1000} s ahead, more than {settings.date_future_seconds_max} s"
        raise FspiopError(ErrorCode.INVALID_SIGNATURE, detail)


class HubKey:
    """The key with which the hub signs, as its file has it: another one holds from the next message on."""

    def __init__(self, path: Path) -> None:
        """Raises `OperatorError` where the file holds no key to sign with."""
        self._path = path
        try:
            self._read_as = self._state()
            self._key = PrivateKey.load(path.read_bytes())
        except OSError as error:
            raise OperatorError(
                f"The hub's signing key {path} can't be read: {error.strerror}. See signatures.hub_key_file."
            ) from None
        except ValueError as error:
            raise OperatorError(f"The hub's signing key {path} will not do. {error}") from None

    def _state(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size, found.st_ino

    @property
    def public(self) -> PublicKey:
        """What participants check the hub's messages with."""
        return self._current().public

    def _current(self) -> PrivateKey:
        """The key in the file; where the file no longer holds one, that of before."""
        try:
            state = self._state()
        except OSError:
            # Between its removal and its replacement, or for good: the log has it once.
            state = (0, 0, 0)
        if state == self._read_as:
            return self._key
        self._read_as = state
        try:
            self._key = PrivateKey.load(self._path.read_bytes())
        except (OSError, ValueError) as error:
            log.warning("the hub's signing key can't be read: the one of before is used", error=str(error))
        else:
            log.info("the hub signs with another key", fingerprint=self._key.public.fingerprint)
        return self._key

    def signed(self, headers: list[Header], body: bytes) -> list[Header]:
        """The headers of a message of the hub with its signature; ``body`` is in the form that all receivers check."""
        named = {name.lower(): value for name, value in headers}
        return [*headers, ("FSPIOP-Signature", sign(self._current(), get=named.get, body=body))]
