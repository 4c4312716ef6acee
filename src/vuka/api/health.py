"""``GET /health``, in the reference's shape: 200 and ``OK``, or 502 and ``DOWN`` where any part is down."""

from __future__ import annotations

from vuka import __version__
from vuka.api.hub import Hub
from vuka.fspiop.times import format_datetime_ms


def health(hub: Hub) -> tuple[int, dict[str, object]]:
    """The HTTP status and body of the health answer. ``uptime`` is in seconds."""
    services = [{"name": name, "status": "OK" if works else "DOWN"} for name, works in hub.health()]
    down = any(service["status"] == "DOWN" for service in services)
    answer: dict[str, object] = {
        "status": "DOWN" if down else "OK",
        "uptime": (hub.now_ms() - hub.started_ms) // 1000,
        "startTime": format_datetime_ms(hub.started_ms),
        "versionNumber": __version__,
        "services": services,
    }
    return (502 if down else 200), answer
