"""Is the hub in this container well? ``probe.py ready`` and ``probe.py live``: exit 0, or 1 with a word on why not.

``ready``: it takes requests; its health says OK. For whoever sends requests.
``live``: it answers, and its engine works. A database that is away is no reason to start a hub again: the hub asks it
every second and goes on by itself. For whoever restarts what is dead.

It needs the standard library alone and reads the variables that the hub reads, so that ports and TLS agree.
"""

import http.client
import json
import os
import ssl
import sys

TIMEOUT_SECONDS = 4


def health() -> tuple[int, dict[str, object]]:
    """The status and the body of the operators' ``GET /health``. Raises OSError and the like where nobody answers."""
    port = int(os.environ.get("VUKA_OPERATORS_API_PORT") or 4001)
    connection: http.client.HTTPConnection
    if os.environ.get("VUKA_OPERATORS_API_TLS_CERTIFICATE_FILE"):
        # The certificate is for the name that others know the hub by; this asks by loopback, and sends no secret.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def complaint(question: str) -> str:
    """What is wrong, or nothing."""
    try:
        status, answer = health()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    services = answer.get("services")
    parts = {each["name"]: each["status"] for each in services} if isinstance(services, list) else {}
    if question == "ready":
        return "" if status == 200 else f"health is {answer.get('status')}: {parts}"
    return "" if parts.get("broker") == "OK" else f"the engine does not work: {parts}"


def main() -> None:
    """``probe.py ready|live``."""
    if sys.argv[1:] not in (["ready"], ["live"]):
        sys.exit("usage: probe.py ready|live")
    said = complaint(sys.argv[1])
    if said:
        sys.exit(said)


if __name__ == "__main__":
    main()
