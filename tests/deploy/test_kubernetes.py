"""The manifests: what they name exists, what selects finds, probes ask what answers, and a hub may end in order.

They are put together by `kubectl kustomize` where there is one (it needs no cluster); what stands in the files is
checked without it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.files import KUBERNETES, ROOT, documents, read

from vuka.api.access import NEEDED_ROLES
from vuka.api.server import SHUTDOWN_SECONDS
from vuka.config import Engine, load, settings

OVERLAYS = ("postgresql", "tigerbeetle")
HUB = {"app.kubernetes.io/name": "vuka", "app.kubernetes.io/component": "hub"}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")


def _manifests() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Everything that is no kustomization, by the file it stands in."""
    for file in sorted(KUBERNETES.rglob("*.yaml")):
        if file.name != "kustomization.yaml":
            for each in documents(file):
                yield file, each


def _one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (
        each
        for file, each in _manifests()
        if (each["kind"], each["metadata"]["name"]) == (kind, name) and file.parent.name != "tls"
    )
    return found


def _pod(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]
    return pod


def _hub() -> dict[str, Any]:
    (container,) = _pod(_one("Deployment", "vuka"))["spec"]["containers"]
    found: dict[str, Any] = container
    return found


WORKLOADS = (("Deployment", "vuka"), ("StatefulSet", "tigerbeetle"), ("Job", "vuka-init"))


def test_every_kustomization_names_what_exists_and_every_file_is_named() -> None:
    named: set[Path] = set()
    for file in sorted(KUBERNETES.rglob("kustomization.yaml")):
        content = read(file)
        assert content["kind"] == ("Component" if "components" in file.parts else "Kustomization")
        paths = [*content.get("resources", ()), *content.get("components", ())]
        paths += [each["path"] for each in content.get("patches", ()) if "path" in each]
        paths += [each for made in content.get("configMapGenerator", ()) for each in made.get("envs", ())]
        # What may be switched on.
        paths += re.findall(r"^ *# - (\.\./\S+)", file.read_text(encoding="utf-8"), re.M)
        for each in paths:
            target = (file.parent / each).resolve()
            assert target.exists(), (file, each)
            named.add(target / "kustomization.yaml" if target.is_dir() else target)
    there = {each for each in KUBERNETES.rglob("*") if each.is_file()}
    assert there - named == {KUBERNETES / "overlays" / each / "kustomization.yaml" for each in OVERLAYS}


def test_selectors_find_their_pods() -> None:
    labels = [_pod(_one(kind, name))["metadata"]["labels"] for kind, name in WORKLOADS]
    selecting = 0
    for file, each in _manifests():
        spec = each.get("spec", {})
        selector = spec.get("selector") if each["kind"] != "ServiceMonitor" else None
        if each["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]
        if not selector:
            continue
        wanted = dict(selector.get("matchLabels", selector))
        pod_name = wanted.pop("statefulset.kubernetes.io/pod-name", None)
        if pod_name is not None:
            assert pod_name in {f"tigerbeetle-{index}" for index in range(3)}
        assert any(wanted.items() <= pod.items() for pod in labels), file
        selecting += 1
    assert selecting >= 10


@pytest.mark.parametrize("name", ["vuka", "tigerbeetle"])
def test_a_disruption_budget_guards_all_pods_and_lets_one_go(name: str) -> None:
    budget = _one("PodDisruptionBudget", name)["spec"]
    workload = next(_one(kind, each) for kind, each in WORKLOADS if each == name)
    assert budget["selector"] == workload["spec"]["selector"]
    assert budget["selector"]["matchLabels"].items() <= _pod(workload)["metadata"]["labels"].items()
    assert budget["maxUnavailable"] == 1
    assert workload["spec"]["replicas"] >= 3, "with fewer one that goes is too many"


def test_the_founding_is_no_hub() -> None:
    labels = _pod(_one("Job", "vuka-init"))["metadata"]["labels"]
    assert not HUB.items() <= labels.items()


def test_probes_ask_what_the_hub_answers_without_a_token() -> None:
    hub = _hub()
    ports = {each["name"]: each["containerPort"] for each in hub["ports"]}
    defaults = load(None, {})
    assert ports == {"participants": defaults.participants_api.port, "operators": defaults.operators_api.port}
    for probe in ("startupProbe", "readinessProbe"):
        asked = hub[probe]["httpGet"]
        assert NEEDED_ROLES[asked["path"]]["GET"] is None
        assert asked["port"] in ports
    assert hub["livenessProbe"]["exec"]["command"] == ["python", "-IS", "/opt/vuka/probe.py", "live"]


def test_services_lead_to_ports_that_exist() -> None:
    ports = {
        each["name"]
        for kind, name in WORKLOADS
        for c in _pod(_one(kind, name))["spec"]["containers"]
        for each in c.get("ports", ())
    }
    for _, each in _manifests():
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
        if each["kind"] == "NetworkPolicy":
            assert {port["port"] for rule in each["spec"]["ingress"] for port in rule["ports"]} <= ports


def test_a_hub_has_the_time_to_end_in_order() -> None:
    spec = _pod(_one("Deployment", "vuka"))["spec"]
    (pause,) = (int(each) for each in _hub()["lifecycle"]["preStop"]["exec"]["command"] if each.isdigit())
    environment = _environment("postgresql")
    drain = load(None, environment).engine.drain_seconds
    assert drain == Engine().drain_seconds
    assert spec["terminationGracePeriodSeconds"] >= pause + SHUTDOWN_SECONDS + drain + 10
    ready = _hub()["readinessProbe"]
    assert pause >= ready["periodSeconds"] * ready["failureThreshold"], "it stops while requests are still sent to it"


def test_a_new_version_takes_over_before_an_old_one_ends() -> None:
    strategy = _one("Deployment", "vuka")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_everything_has_its_share_and_no_more_rights_than_it_needs(kind: str, name: str) -> None:
    spec = _pod(_one(kind, name))["spec"]
    assert spec["automountServiceAccountToken"] is False
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"]
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"]["drop"] == ["ALL"]
        mounted = {each["name"] for each in container["volumeMounts"]}
        there = {each["name"] for each in spec.get("volumes", ())}
        there |= {each["metadata"]["name"] for each in _one(kind, name)["spec"].get("volumeClaimTemplates", ())}
        assert mounted <= there
    if name != "tigerbeetle":
        user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Containerfile").read_text(), re.M)
        assert user is not None
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert [context["runAsUser"], context["runAsGroup"]] == [int(each) for each in user.groups()]


def test_all_pods_sign_the_audit_log_with_one_key_that_does_not_go_with_them() -> None:
    init = _pod(_one("Job", "vuka-init"))["spec"]
    for container, spec in ((_hub(), _pod(_one("Deployment", "vuka"))["spec"]), (init["initContainers"][0], init)):
        (file,) = (Path(each["value"]) for each in container["env"] if each["name"] == "VUKA_AUDITLOG_KEY_FILE")
        (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == str(file.parent))
        (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
        assert (volume["secret"]["secretName"], file.name) == ("vuka-auditlog", "auditlog.pem")
        # Root's, and so readable by fsGroup alone.
        assert volume["secret"]["defaultMode"] == 0o440


def test_no_secret_stands_in_a_manifest() -> None:
    assert [file for file, each in _manifests() if each["kind"] == "Secret"] == []
    assert [
        (file, name)
        for file, each in _manifests()
        for name in _literal_environment(each)
        if re.search("PASSWORD|TOKEN|SECRET", name)
    ] == []


def _literal_environment(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "name" in node and "value" in node:
            yield node["name"]
        for each in node.values():
            yield from _literal_environment(each)
    elif isinstance(node, list):
        for each in node:
            yield from _literal_environment(each)


def _environment(overlay: str) -> dict[str, str]:
    """What an overlay tells the hubs, by its ConfigMap."""
    lines = (KUBERNETES / "base" / "vuka.env").read_text(encoding="utf-8").splitlines()
    for made in read(KUBERNETES / "overlays" / overlay / "kustomization.yaml")["configMapGenerator"]:
        lines += made["literals"]
    return dict(each.split("=", 1) for each in lines)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting_and_its_value_one_that_the_hub_takes(overlay: str) -> None:
    environment = _environment(overlay)
    assert set(environment) - {each.variable for each in settings()} == set()
    config = load(None, environment)
    assert config.store.url.startswith("postgresql://")
    if overlay == "tigerbeetle":
        assert config.ledger.engine == "tigerbeetle"


def test_every_variable_of_the_component_for_tls_is_a_setting() -> None:
    patch = read(KUBERNETES / "components" / "tls" / "deployment.yaml")
    names = set(_literal_environment(patch["spec"]["template"]["spec"]["containers"][0]["env"]))
    assert names - {each.variable for each in settings()} == set()
    assert {
        f"VUKA_{api}_API_TLS_{file}_FILE" for api in ("PARTICIPANTS", "OPERATORS") for file in ("CERTIFICATE", "KEY")
    } == names


def test_the_services_of_the_replicas_have_the_addresses_that_the_hubs_are_told() -> None:
    overlay = read(KUBERNETES / "overlays" / "tigerbeetle" / "kustomization.yaml")
    said = _environment("tigerbeetle")["VUKA_LEDGER_ADDRESSES"].split(",")
    patched = {}
    for each in overlay["patches"]:
        (change,) = yaml.safe_load(each["patch"])
        assert (each["target"]["kind"], change["path"]) == ("Service", "/spec/clusterIP")
        patched[each["target"]["name"]] = f"{change['value']}:3000"
    assert [patched[f"tigerbeetle-{index}"] for index in range(3)] == said


# --- the scripts in the StatefulSet -------------------------------------------------------------------------------


def _script(tmp_path: Path, kind: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs what the containers of the StatefulSet run, with a command that stands for the server's."""
    server = tmp_path / "tigerbeetle"
    server.write_text('#!/bin/sh\necho "$@"\n')
    server.chmod(0o755)
    (container,) = _pod(_one("StatefulSet", "tigerbeetle"))["spec"][kind]
    assert container["command"] == ["/bin/sh", "-euc"]
    (script,) = container["args"]
    script = script.replace("/tigerbeetle ", f"{server} ").replace("/data/", f"{tmp_path}/")
    return subprocess.run(
        ["/bin/sh", "-euc", script], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True,
        check=False, timeout=10,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pod", "addresses"),
    [
        ("tigerbeetle-0", "0.0.0.0:3000,10.0.0.2:3000,10.0.0.3:3000"),
        ("tigerbeetle-1", "10.0.0.1:3000,0.0.0.0:3000,10.0.0.3:3000"),
        ("tigerbeetle-2", "10.0.0.1:3000,10.0.0.2:3000,0.0.0.0:3000"),
    ],
)
def test_a_replica_listens_everywhere_and_knows_the_others_by_their_services(
    tmp_path: Path, pod: str, addresses: str
) -> None:
    said = "10.0.0.1:3000,10.0.0.2:3000,10.0.0.3:3000"
    done = _script(tmp_path, "containers", POD_NAME=pod, ADDRESSES=said)
    assert done.stdout == f"start --addresses={addresses} --cache-grid=1GiB {tmp_path}/replica.tigerbeetle\n"


def test_only_the_founding_formats_and_only_what_is_not_there(tmp_path: Path) -> None:
    who = {"POD_NAME": "tigerbeetle-2", "CLUSTER_ID": "17"}
    done = _script(tmp_path, "initContainers", **who, FOUNDING="yes")
    assert done.stdout.split() == [
        "format", "--cluster=17", "--replica=2", "--replica-count=3", f"{tmp_path}/replica.tigerbeetle",
    ]  # fmt: skip
    for founding in ({}, {"FOUNDING": "no"}):
        done = _script(tmp_path, "initContainers", **who, **founding)
        assert (done.returncode, done.stdout) == (1, "")
        assert "recover this replica" in done.stderr
    (tmp_path / "replica.tigerbeetle").touch()
    done = _script(tmp_path, "initContainers", **who, FOUNDING="yes")
    assert (done.returncode, done.stdout) == (0, "")


# --- as kustomize puts them together ------------------------------------------------------------------------------


def _built(directory: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def _with_everything(tmp_path: Path, overlay: str) -> Path:
    """A copy whose components are all switched on."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    file = tmp_path / "kubernetes" / "overlays" / overlay / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"^  # (- \.\./)", r"  \1", text, flags=re.M).replace("components: []", "components:"))
    return file.parent


@needs_kubectl
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_whole(tmp_path: Path, overlay: str, *, everything: bool) -> None:
    directory = _with_everything(tmp_path, overlay) if everything else KUBERNETES / "overlays" / overlay
    built = _built(directory)
    there = {(each["kind"], each["metadata"]["name"]) for each in built}
    assert {each["metadata"].get("namespace", "vuka") for each in built} == {"vuka"}
    config_maps = {name: each for each in built for name in [each["metadata"]["name"]] if each["kind"] == "ConfigMap"}
    for each in built:
        if (each["kind"], each["metadata"]["name"]) not in WORKLOADS:
            continue
        spec = _pod(each)["spec"]
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert container["image"] != "vuka", "the overlay says whose image it is"
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] in config_maps
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("configMapKeyRef")
                if reference is not None and not (reference.get("optional") and not everything):
                    assert reference["key"] in config_maps[reference["name"]]["data"], variable["name"]
        if name := spec.get("serviceAccountName"):
            assert ("ServiceAccount", name) in there
        # The client of TigerBeetle needs what the default profile refuses; nobody else gets it.
        wanted = "Unconfined" if overlay == "tigerbeetle" else "RuntimeDefault"
        assert spec["securityContext"]["seccompProfile"] == {"type": wanted}
    assert (("StatefulSet", "tigerbeetle") in there) == (overlay == "tigerbeetle")
    assert (("Job", "vuka-init") in there) == everything
    assert (("ConfigMap", "vuka-founding") in there) == everything


@needs_kubectl
def test_with_tls_the_probes_the_services_and_prometheus_ask_by_it(tmp_path: Path) -> None:
    built = {
        (each["kind"], each["metadata"]["name"]): each for each in _built(_with_everything(tmp_path, "tigerbeetle"))
    }
    (hub,) = _pod(built["Deployment", "vuka"])["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert hub[probe]["httpGet"] == {"path": "/health", "port": "operators", "scheme": "HTTPS"}
        assert hub[probe]["failureThreshold"], "what the base says of it stays"
    assert {each["mountPath"] for each in hub["volumeMounts"]} == {"/data", "/run/auditlog", "/run/tls"}
    for name in ("vuka-participants", "vuka-operators"):
        assert built["Service", name]["spec"]["ports"][0]["appProtocol"] == "https"
    endpoint = built["ServiceMonitor", "vuka"]["spec"]["endpoints"][0]
    assert (endpoint["scheme"], endpoint["tlsConfig"]["ca"]["secret"]["key"]) == ("https", "ca.crt")


@needs_kubectl
def test_the_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    (made,) = _built(KUBERNETES.parent / "grafana")
    assert made["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert made["data"]["vuka.json"] == (KUBERNETES.parent / "grafana" / "dashboards" / "vuka.json").read_text()


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_one_by_kubernetes_own_schema(tmp_path: Path, overlay: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for each in _built(_with_everything(tmp_path, overlay)):
        if "monitoring.coreos.com" not in each["apiVersion"]:
            validate.validate(each, "1.31", strict=True)
