"""What signatures cost: checking and making one, for a transfer's message, in microseconds (median of 5 rounds).

Repeat with ``python benchmarks/signatures.py``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from vuka.fspiop.jws import ALGORITHMS, PrivateKey, canonical, sign, verify

ROUNDS, TIMES = 5, 500
URI = "/transfers"
HEADERS = {
    "fspiop-uri": URI,
    "fspiop-http-method": "POST",
    "fspiop-source": "payerfsp",
    "fspiop-destination": "payeefsp",
    "date": "Tue, 24 Nov 2026 10:00:00 GMT",
}
BODY = (
    b'{"transferId":"b51ec534-ee48-4575-b6a9-ead2955b8069","payerFsp":"payerfsp","payeeFsp":"payeefsp",'
    b'"amount":{"amount":"123.45","currency":"USD"},"ilpPacket":"' + b"A" * 900 + b'",'
    b'"condition":"f5sqb7tBTWPd5Y8BDFdMm9BJR_MNI4isf8p8n4D5pHA","expiration":"2026-11-24T10:00:30.000Z"}'
)


def microseconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(TIMES):
            work()
        rounds.append((time.perf_counter() - started) / TIMES * 1e6)
    return statistics.median(rounds)


def main() -> None:
    """Prints a line for each algorithm."""
    for algorithm in ALGORITHMS:
        key = PrivateKey.generate(algorithm)
        raw = HEADERS | {"fspiop-signature": sign(key, get=HEADERS.get, body=BODY)}
        ordered = HEADERS | {"fspiop-signature": sign(key, get=HEADERS.get, body=canonical(BODY))}
        keys = [key.public]

        def check(headers: dict[str, str], keys: list[object] = keys) -> None:
            verify(keys, method="POST", path=URI, get=headers.get, body=BODY)  # type: ignore[arg-type]

        print(
            f"{algorithm}: check {microseconds(lambda: check(raw)):.0f} µs over the bytes, "  # noqa: B023
            f"{microseconds(lambda: check(ordered)):.0f} µs over the canonical form, "  # noqa: B023
            f"make {microseconds(lambda: sign(key, get=HEADERS.get, body=BODY)):.0f} µs"  # noqa: B023
        )


if __name__ == "__main__":
    main()
