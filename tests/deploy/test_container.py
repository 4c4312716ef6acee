"""The container: what its build runs, run; then the hub as nobody in particular, who may write in its data alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.deploy.files import DEPLOY, ROOT

from vuka.cli.process import free_port
from vuka.config import load, settings

CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PROBE = DEPLOY / "container" / "probe.py"
NOBODY = 65534


def _probe(question: str, port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-IS", str(PROBE), question],
        env={"VUKA_OPERATORS_API_PORT": str(port), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


# --- the probe ----------------------------------------------------------------------------------------------------


@pytest.fixture
def told() -> Iterator[tuple[int, dict[str, object]]]:
    """A port at which health says what the test has it say."""
    answer: dict[str, object] = {}

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/health"
            parts = answer["services"]
            assert isinstance(parts, dict)
            well = set(parts.values()) == {"OK"}
            services = [{"name": name, "status": status} for name, status in parts.items()]
            body = json.dumps({"status": "OK" if well else "DOWN", "services": services}).encode()
            self.send_response(200 if well else 502)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_that_is_well_is_ready_and_lives(told: tuple[int, dict[str, object]]) -> None:
    port, answer = told
    answer["services"] = {"datastore": "OK", "broker": "OK"}
    assert [_probe(each, port).returncode for each in ("ready", "live")] == [0, 0]


def test_a_hub_whose_database_or_ledger_is_away_takes_no_requests_and_is_not_started_again(
    told: tuple[int, dict[str, object]],
) -> None:
    port, answer = told
    for away in ("datastore", "ledger"):
        answer["services"] = {"datastore": "OK", "ledger": "OK", "broker": "OK", away: "DOWN"}
        ready = _probe("ready", port)
        assert ready.returncode == 1
        assert f"'{away}': 'DOWN'" in ready.stderr
        assert _probe("live", port).returncode == 0


def test_a_hub_whose_engine_has_failed_is_started_again(told: tuple[int, dict[str, object]]) -> None:
    port, answer = told
    answer["services"] = {"datastore": "OK", "broker": "DOWN"}
    live = _probe("live", port)
    assert live.returncode == 1
    assert "the engine does not work" in live.stderr


def test_where_nobody_answers_the_probe_says_so() -> None:
    for question in ("ready", "live"):
        done = _probe(question, free_port())
        assert (done.returncode, done.stderr[:9]) == (1, "no answer")
    assert "usage" in _probe("well", 1).stderr


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_containerfile_copies_what_exists_and_takes_no_more() -> None:
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.M)
    sources = [each for line in copied for each in line.split()]
    assert sources
    for each in sources:
        assert (ROOT / each).exists(), each
        assert f"!{each.split('/')[0]}" in ignored, each
    assert "*" in ignored


def test_the_containers_variables_are_settings_and_have_everybody_show_who_they_are() -> None:
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", CONTAINERFILE, re.M)
    environment = dict(re.findall(r"(VUKA_\w+)=(\S+)", block))
    assert set(environment) - {each.variable for each in settings()} == set()
    config = load(None, environment)
    assert config.participants_api.requires_authentication
    assert config.operators_api.requires_authentication
    assert config.data_dir == "/data"
    exposed = re.findall(r"^EXPOSE (\d+) (\d+)$", CONTAINERFILE, re.M)
    assert exposed == [(str(config.participants_api.port), str(config.operators_api.port))]


def test_the_container_runs_as_a_user_that_is_not_root_and_owns_its_data_alone() -> None:
    assert re.findall(r"^USER (.*)$", CONTAINERFILE, re.M) == ["10001:10001"]
    assert "--owner 10001 --group 10001 --mode 0700 /data" in CONTAINERFILE
    assert "chown" not in CONTAINERFILE


# --- its commands, run --------------------------------------------------------------------------------------------


def _as_nobody() -> dict[str, object]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}


def _python_for_everybody() -> str:
    """An interpreter that nobody in particular may run too: not one in root's home."""
    for each in (sys.executable, "/usr/bin/python3", "/usr/bin/python3.11"):
        question = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
        try:
            asked = subprocess.run([each, "-c", question], check=False, cwd="/", **_as_nobody())  # type: ignore[call-overload]
        except OSError:
            continue
        if asked.returncode == 0:
            return each
    pytest.skip("no Python here that another user than root may run")


def _vuka(installed: Path, data: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """As in the container: as nobody in particular, with nothing to write in but its data."""
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [str(installed / "bin" / "vuka"), *arguments],
        env={
            "PATH": f"{installed}/bin:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "TMPDIR": "/nonexistent",
            "PYTHONDONTWRITEBYTECODE": "1",
            "VUKA_DATA_DIR": str(data),
            "VUKA_LOG_JSON": "true",
            **environment,
        },
        cwd=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **_as_nobody(),
    )


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that nobody in particular gets through, as pytest's own are for their user alone."""
    with tempfile.TemporaryDirectory(prefix="vuka-container-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.soak
def test_what_the_build_installs_is_founded_and_served_by_nobody_and_ends_in_order(place: Path) -> None:
    assert "RUN sh deploy/container/install /opt/vuka" in CONTAINERFILE
    python = _python_for_everybody()
    installed, data = place / "opt", place / "data"
    script = ["sh", str(DEPLOY / "container" / "install"), str(installed)]
    subprocess.run(script, env={**os.environ, "PYTHON": python}, check=True, timeout=900)
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    there = {
        name.lower().replace("_", "-"): version
        for each in installed.rglob("*.dist-info")
        for name, version in [each.name.removesuffix(".dist-info").rsplit("-", 1)]
    }
    assert {"vuka", "msgspec", "psycopg"} <= set(there)
    assert "pip" not in there
    assert {name: version for name, version in there.items() if name != "vuka" and pins.get(name) != version} == {}

    data.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(data, NOBODY, NOBODY)
    init = _vuka(installed, data, "init", "--name", "In a container", "-c", "USD")
    _, complained = init.communicate(timeout=60)
    assert init.returncode == 0, complained
    assert (data / "operator.token").stat().st_mode & 0o777 == 0o600

    before = {each: each.stat().st_mtime_ns for each in installed.rglob("*")}
    ports = {"VUKA_PARTICIPANTS_API_PORT": str(free_port()), "VUKA_OPERATORS_API_PORT": str(free_port())}
    hub = _vuka(installed, data, "serve", **ports)
    try:
        deadline = time.monotonic() + 60
        while _probe("ready", int(ports["VUKA_OPERATORS_API_PORT"])).returncode != 0:
            assert hub.poll() is None, hub.communicate()[1]
            assert time.monotonic() < deadline
    finally:
        hub.terminate()
        _, log = hub.communicate(timeout=40)
    assert hub.returncode == 0, log
    assert json.loads(log.splitlines()[-1])["event"] == "the hub has stopped"
    assert {each: each.stat().st_mtime_ns for each in installed.rglob("*")} == before
