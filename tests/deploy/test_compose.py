"""The compose file: well formed, refuses to start without its secrets, and says what the hub understands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.deploy.files import COMPOSE, DEPLOY, ROOT, YAML_FILES, documents, expand, read

from vuka.api.audit_key import AuditKey
from vuka.api.server import SHUTDOWN_SECONDS
from vuka.config import Engine, load, settings

HERE = COMPOSE.parent
SAID = {"VUKA_POSTGRES_PASSWORD": "p4ss", "VUKA_GRAFANA_PASSWORD": "gr4f", "VUKA_LEDGER_CLUSTER_ID": "17"}
"""What must be said."""

HUBS = ("hub-1", "hub-2")
REPLICAS = ("tigerbeetle-0", "tigerbeetle-1", "tigerbeetle-2")


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = expand(read(COMPOSE), SAID)["services"]
    return found


def _seconds(text: str) -> int:
    assert re.fullmatch(r"\d+s", text)
    return int(text[:-1])


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: str(file.relative_to(DEPLOY)))
def test_every_file_is_yaml_and_no_key_is_said_twice(file: Path) -> None:
    assert all(documents(file))
    text = file.read_text(encoding="utf-8")
    # PyYAML takes the last of two; ruamel, like Go's parsers, refuses.
    from ruamel.yaml import YAML

    list(YAML(typ="safe", pure=True).load_all(text))


def test_the_compose_file_is_one_by_the_specifications_schema() -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8")
    jsonschema.validate(expand(read(COMPOSE), SAID), json.loads(schema))


def test_all_that_was_asked_for_is_there(services: dict[str, Any]) -> None:
    assert {*HUBS, *REPLICAS, "database", "prometheus", "grafana", "gateway"} <= set(services)


@pytest.mark.parametrize("missing", SAID)
def test_nothing_starts_where_a_secret_is_not_said(missing: str) -> None:
    with pytest.raises(LookupError, match=f"{missing}: (Choose|Draw) a .*see .env.example"):
        expand(read(COMPOSE), SAID | {missing: ""})


def test_no_secret_is_in_a_file() -> None:
    for file in (each for each in DEPLOY.rglob("*") if each.is_file()):
        text = file.read_text(encoding="utf-8")
        assert "PRIVATE KEY" not in text, file
        for name, value in re.findall(r"(\w*(?:PASSWORD|TOKEN|SECRET))\s*[=:]\s*(\S+)", text):
            assert value.startswith(("${", "#")) or not value.strip("'\""), (file.name, name, value)
    example = (HERE / ".env.example").read_text(encoding="utf-8")
    assert {name for name in SAID if f"\n{name}=\n" in example} == set(SAID)


def test_what_holds_secrets_is_kept_out_of_git_and_of_the_image() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    out_of_image = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").split()
    for name in (".env", "secrets"):
        assert f"/deploy/compose/{name}" in [each.rstrip("/") for each in ignored]
        assert f"deploy/compose/{name}" in out_of_image


def test_every_variable_of_the_file_is_in_the_example_with_its_default() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    example = (HERE / ".env.example").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    assert {name: value for name, value in defaults.items() if f"\n#{name}={value}\n" not in example} == {}
    assert set(re.findall(r"^#?([A-Z_]+)=", example, re.M)) == set(defaults) | set(SAID)


@pytest.mark.parametrize("service", [*HUBS, "init"])
def test_every_variable_of_a_hub_is_a_setting_and_its_value_one_that_it_takes(
    services: dict[str, Any], service: str
) -> None:
    environment = services[service]["environment"]
    known = {each.variable for each in settings()}
    assert {name for name in environment if name.startswith("VUKA_")} - known == set()
    config = load(None, environment)
    assert config.store.url == "postgresql://vuka@database/vuka"
    assert environment["PGPASSWORD"] == SAID["VUKA_POSTGRES_PASSWORD"]
    assert (config.ledger.engine, config.ledger.cluster_id) == ("tigerbeetle", "17")


def test_both_hubs_sign_the_audit_log_with_the_same_key_so_that_either_verifies_it(services: dict[str, Any]) -> None:
    for name in (*HUBS, "init"):
        assert load(None, services[name]["environment"]).auditlog.key_file == "/run/secrets/auditlog.pem"
        assert services[name]["secrets"] == ["auditlog.pem"]


def test_the_hub_stops_before_it_is_killed(services: dict[str, Any]) -> None:
    for name in HUBS:
        assert _seconds(services[name]["stop_grace_period"]) > SHUTDOWN_SECONDS + Engine().drain_seconds + 10


def test_the_hub_writes_nowhere_but_in_its_data_and_may_do_nothing_else(services: dict[str, Any]) -> None:
    for name in (*HUBS, "init"):
        hub = services[name]
        assert hub["read_only"] is True
        assert hub["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in hub["security_opt"]
        assert [each.split(":")[1] for each in hub["volumes"]] == ["/data"]
        assert hub["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    data = [services[name]["volumes"][0].split(":")[0] for name in HUBS]
    assert len(set(data)) == len(HUBS), "two hubs in one data directory: the second would be refused"


def test_everything_that_runs_on_has_a_limit_restarts_and_reaches_no_port_that_it_need_not(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        if "found" in service.get("profiles", ()):
            assert service["restart"] == "no", name
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert "privileged" not in service, name
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"gateway", "grafana"}
    assert all(each.startswith("127.0.0.1:") for ports in published.values() for each in ports)


def test_what_a_service_names_exists(services: dict[str, Any]) -> None:
    file = read(COMPOSE)
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (HERE / source).exists() if source.startswith(".") else source in file["volumes"], (name, source)
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service.get("secrets", ())) <= set(file["secrets"]), name
        networks = service.get("networks", {})
        assert set(networks) <= set(file["networks"]), name
    build = file["x-hub"]["build"]
    assert (HERE / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Containerfile"


def test_the_replicas_have_the_addresses_that_they_and_the_hubs_are_told(services: dict[str, Any]) -> None:
    own = [services[name]["networks"]["inside"]["ipv4_address"] for name in REPLICAS]
    addresses = ",".join(f"{each}:3000" for each in own)
    for name in REPLICAS:
        assert f"--addresses={addresses}" in services[name]["command"]
    assert services["hub-1"]["environment"]["VUKA_LEDGER_ADDRESSES"] == addresses
    (config,) = expand(read(COMPOSE), SAID)["networks"]["inside"]["ipam"]["config"]
    assert config["subnet"] == own[0].rsplit(".", 1)[0] + ".0/24"


def test_each_replica_is_formatted_as_itself_in_its_own_volume(services: dict[str, Any]) -> None:
    for index, name in enumerate(REPLICAS):
        one_off = services[f"format-{index}"]
        assert one_off["volumes"] == services[name]["volumes"] == [f"{name}:/data"]
        assert one_off["command"] == [
            "format",
            "--cluster=17",
            f"--replica={index}",
            "--replica-count=3",
            services[name]["command"][-1],
        ]


def test_tigerbeetles_server_is_no_older_than_the_hubs_client() -> None:
    """By its documentation: a client's release is at most that of the replicas."""
    pinned = re.search(r"^tigerbeetle==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    if pinned is None:
        pytest.skip("no TigerBeetle client is pinned")
    client = tuple(map(int, pinned[1].split(".")))
    for file in (COMPOSE, DEPLOY / "kubernetes" / "components" / "tigerbeetle" / "statefulset.yaml"):
        versions = re.findall(r"tigerbeetle/tigerbeetle:(?:\$\{\w+:-)?([\d.]+)", file.read_text(encoding="utf-8"))
        assert versions
        assert all(tuple(map(int, each.split("."))) >= client for each in versions), file


# --- the gateway --------------------------------------------------------------------------------------------------


def test_the_gateway_asks_each_hub_whether_it_is_well() -> None:
    text = (HERE / "haproxy.cfg").read_text(encoding="utf-8")
    backends = re.findall(r"^backend (\w+)\n((?:    .*\n|\n)+)", text, re.M)
    assert [name for name, _ in backends] == ["hubs_participants", "hubs_operators"]
    for (_, body), port in zip(backends, (4000, 4001), strict=True):
        assert "option httpchk GET /health" in body
        assert re.findall(r"^    server (\S+) (\S+)$", body, re.M) == [(name, f"{name}:{port}") for name in HUBS]
    assert "retry-on conn-failure" in text, "a request that was sent is never sent twice"


def test_the_gateway_finds_the_hubs_by_the_containers_own_resolver_whoever_runs_the_containers() -> None:
    text = (HERE / "haproxy.cfg").read_text(encoding="utf-8")
    (section,) = re.findall(r"^resolvers containers\n((?:    .*\n)+)", text, re.M)
    assert "    parse-resolv-conf\n" in section
    assert "nameserver" not in section


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy on PATH")
def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    from tests.certificates import Authority

    certificate, key = Authority(tmp_path).issue("localhost")
    pem = tmp_path / "tls.pem"
    pem.write_bytes(certificate.read_bytes() + key.read_bytes())
    text = (HERE / "haproxy.cfg").read_text(encoding="utf-8").replace("/run/secrets/tls.pem", str(pem))
    (tmp_path / "haproxy.cfg").write_text(text)
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(tmp_path / "haproxy.cfg")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_gateway_and_hubs_may_open_as_many_files_as_they_are_told_to_take_connections(services: dict[str, Any]) -> None:
    text = (HERE / "haproxy.cfg").read_text(encoding="utf-8")
    (connections,) = re.findall(r"^    maxconn (\d+)$", text, re.M)
    assert services["gateway"]["ulimits"]["nofile"] > 2 * int(connections) + 100
    for name in HUBS:
        assert services[name]["ulimits"]["nofile"] > 2 * load(None, {}).participants_api.connections_max


# --- ./found ------------------------------------------------------------------------------------------------------

COMMAND = """#!/bin/sh
# Stands for `docker compose`: writes down what it is asked, and answers as with nothing there yet.
echo "$*" >>calls
case "$*" in
    *"--entrypoint test"*) exit "${THERE:-1}" ;;
    *"access grant"*) printf '%s\\n' "Credential 2: prometheus may read." "The token, shown this once:" vuka_t0k3n ;;
    config*) exit "${CONFIG:-0}" ;;
esac
"""


def _found(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(HERE / "found", directory / "found")
    (directory / "compose").write_text(COMMAND)
    (directory / "compose").chmod(0o755)
    return subprocess.run(
        [str(directory / "found"), *arguments],
        env={**os.environ, "COMPOSE": "./compose", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def _calls(directory: Path) -> list[str]:
    file = directory / "calls"
    return file.read_text().splitlines() if file.exists() else []


def _with_certificate(directory: Path) -> None:
    (directory / "secrets").mkdir()
    (directory / "secrets" / "tls.pem").write_text("a certificate and its key\n")


def test_found_formats_founds_starts_and_leaves_a_token_for_prometheus(tmp_path: Path) -> None:
    _with_certificate(tmp_path)
    done = _found(tmp_path, "--name", "My scheme", "-c", "USD")
    assert done.returncode == 0, done.stderr
    assert _calls(tmp_path) == [
        "config --quiet",
        "--profile found build init",
        *(
            call
            for index in range(3)
            for call in (
                f"--profile found run --rm --no-deps --entrypoint test format-{index} -e /data/replica.tigerbeetle",
                f"--profile found run --rm --no-deps format-{index}",
            )
        ),
        "up --detach --wait database tigerbeetle-0 tigerbeetle-1 tigerbeetle-2",
        "--profile found run --rm --entrypoint test init -e /data/operator.token",
        "--profile found run --rm init --name My scheme -c USD",
        "up --detach --wait hub-1 hub-2",
        "exec -T hub-1 vuka access grant --operator prometheus --role read",
        "up --detach --wait",
    ]
    assert (tmp_path / "secrets" / "metrics-token").read_text() == "vuka_t0k3n"
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    key = tmp_path / "secrets" / "auditlog.pem"
    assert key.stat().st_mode & 0o777 == 0o644, "the hubs read it as a user of their own"
    assert len(AuditKey.load(key).public) == 64


def test_found_again_formats_and_founds_nothing(tmp_path: Path) -> None:
    _with_certificate(tmp_path)
    (tmp_path / "secrets" / "metrics-token").write_text("vuka_0ld")
    (tmp_path / "secrets" / "auditlog.pem").write_text("the key that has signed\n")
    assert _found(tmp_path, "-c", "USD", THERE="0").returncode == 0
    calls = _calls(tmp_path)
    assert not [each for each in calls if re.search(r"no-deps format|run --rm init|access grant", each)]
    assert calls[-1] == "up --detach --wait"
    assert (tmp_path / "secrets" / "metrics-token").read_text() == "vuka_0ld"
    assert (tmp_path / "secrets" / "auditlog.pem").read_text() == "the key that has signed\n"


def test_found_says_what_it_misses_before_it_does_anything(tmp_path: Path) -> None:
    done = _found(tmp_path)
    assert (done.returncode, _calls(tmp_path)) == (2, [])
    assert "./found --name" in done.stderr
    done = _found(tmp_path, "-c", "USD")
    assert (done.returncode, _calls(tmp_path)) == (1, [])
    assert "There is no secrets/tls.pem" in done.stderr
    _with_certificate(tmp_path)
    assert _found(tmp_path, "-c", "USD", CONFIG="15").returncode == 15
    assert _calls(tmp_path) == ["config --quiet"]
