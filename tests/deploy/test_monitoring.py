"""Dashboard and alarms ask for what the hub exposes, by its names and labels, and mean it rightly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.deploy.files import (
    COMPOSE,
    DASHBOARD,
    DEPLOY,
    KUBERNETES,
    ROOT,
    RULES,
    documents,
    groupings,
    panels,
    parsed,
    queries,
    read,
    rules,
    selectors,
)
from tests.e2e.rig import Rig, running

from vuka.httpclient import Request

GUIDE = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
OF_PROMETHEUS = frozenset(("up",))
"""What Prometheus says itself of whom it asks."""
OF_WORKERS = frozenset(("vuka_worker_up",))
"""What a hub of one process does not have."""
LABELS_OF_PROMETHEUS = frozenset(("job", "instance"))
IN_THE_RECORDS = frozenset(("vuka_parked_messages", "vuka_parked_notifications", "vuka_alarms"))
"""Counted in the database that all processes share: each says the same."""


def _rows_of_the_guide() -> dict[str, str]:
    return dict(re.findall(r"^\| `(vuka_\w+)` \|(.*)$", GUIDE, re.M))


def _labels(metric: str) -> set[str]:
    """The labels of a figure, as the operators' guide has them."""
    family = re.sub(r"_(bucket|sum|count)$", "", metric)
    row = _rows_of_the_guide().get(metric) or _rows_of_the_guide()[family]
    own = set(re.findall(r"`(\w+)`", row.split("|")[1]))
    return own | ({"le"} if metric.endswith("_bucket") else set())


async def _exposed(rig: Rig) -> set[str]:
    """The name of every sample that a hub can have, from its own answer."""
    response = await rig.client.send(Request("GET", f"{rig.addresses.operators_url}/metrics"))
    names: set[str] = set()
    for family in text_string_to_metric_families(response.body.decode()):
        names |= {sample.name for sample in family.samples}
        # Those that nothing has been counted in yet.
        if family.type == "counter":
            names.add(f"{family.name}_total")
        elif family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(family.name)
    return names


async def test_every_query_asks_for_what_the_hub_exposes(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        exposed = await _exposed(rig) | OF_PROMETHEUS | OF_WORKERS
    asked = {(where, each.name) for where, query in queries() for each in selectors(parsed(query))}
    assert len({name for _, name in asked}) > 25
    assert {(where, name) for where, name in asked if name not in exposed} == set()


def test_a_query_for_what_the_hub_does_not_expose_would_be_found() -> None:
    assert [each.name for each in selectors(parsed("sum(rate(vuka_wrong_total[1m])) / 2 > 1 or vector(0)"))] == [
        "vuka_wrong_total"
    ]
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(vuka_wrong_total[1m])")


def test_every_figure_of_the_guide_is_on_the_dashboard() -> None:
    shown = {
        each.name for panel in panels() for target in panel["targets"] for each in selectors(parsed(target["expr"]))
    }
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert set(_rows_of_the_guide()) - shown == set()


def test_every_label_that_a_query_uses_is_one_of_its_figures() -> None:
    wrong = []
    for where, query in queries():
        expression = parsed(query)
        of_hub = [each for each in selectors(expression) if each.name.startswith("vuka_")]
        for each in of_hub:
            used = {matcher.name for matcher in each.matchers.matchers} - LABELS_OF_PROMETHEUS
            wrong += [(where, each.name, label) for label in used - _labels(each.name)]
        known = set().union(*(_labels(each.name) for each in of_hub)) | LABELS_OF_PROMETHEUS
        wrong += [(where, "by", label) for labels in groupings(expression) for label in set(labels) - known]
    assert wrong == []


def test_every_value_that_a_query_asks_for_is_one_that_the_guide_names() -> None:
    named = set(re.findall(r"`([\w]+)`", GUIDE)) | {"participants", "operators", "503"}
    for where, query in queries():
        for each in selectors(parsed(query)):
            for matcher in each.matchers.matchers:
                if matcher.name in ("kind", "state", "api", "outcome"):
                    assert any(re.fullmatch(matcher.value, value) for value in named), (where, str(matcher))


def test_what_every_process_counts_in_the_same_records_is_never_added_up() -> None:
    for where, query in queries():
        if not {each.name for each in selectors(parsed(query))} & IN_THE_RECORDS:
            continue
        bare = re.sub(r"max by \(\w+\) \((vuka_\w+)(\{[^}]*\})?\)", "", query)
        assert not re.search("|".join(IN_THE_RECORDS), bare), where


def test_a_rate_is_taken_of_counters_alone() -> None:
    for where, query in queries():
        for function, name in re.findall(r"\b(rate|increase)\((\w+)", query):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), (where, function, name)


def test_every_alarm_says_how_grave_it_is_what_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        expression = parsed(rule["expr"])
        grouped = list(groupings(expression))
        kept = (
            set(grouped[0])
            if grouped
            else LABELS_OF_PROMETHEUS.union(
                *(_labels(each.name) for each in selectors(expression) if each.name.startswith("vuka_"))
            )
        )
        assert used <= kept, rule["alert"]


def test_what_must_be_told_is_told() -> None:
    watched = {each.name for rule in rules() for each in selectors(parsed(rule["expr"]))}
    assert watched >= {
        "up",
        "vuka_service_up",
        "vuka_engine_queued_commands",
        "vuka_parked_messages",
        "vuka_batches_failed_total",
        "vuka_delivery_oldest_queued_seconds",
        "vuka_delivery_probing",
    }


def test_every_command_that_an_alarm_names_exists() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    named = re.findall(r"`(vuka [a-z ]+)`", RULES.read_text(encoding="utf-8"))
    assert named
    assert [each for each in named if f"## {each}\n" not in page] == []


def test_the_alarm_of_memory_comes_before_the_containers_limit() -> None:
    (rule,) = (each for each in rules() if each["alert"] == "VukaMemoryHigh")
    limit = parsed(rule["expr"]).rhs
    assert isinstance(limit, promql_parser.BinaryExpr)
    assert rule["expr"].endswith("> 0.8 * 1024 * 1024 * 1024")
    assert read(COMPOSE)["x-hub"]["deploy"]["resources"]["limits"]["memory"] == "1G"


def test_the_alarm_of_the_queue_comes_before_the_hub_refuses() -> None:
    from vuka.config import Engine

    (rule,) = (each for each in rules() if each["alert"] == "VukaQueueFull")
    assert parsed(rule["expr"]).rhs.val == 0.9 * Engine().queue_max


def test_the_operators_rules_are_those_of_prometheus() -> None:
    operators = read(KUBERNETES / "components" / "monitoring" / "prometheusrule.yaml")
    assert operators["spec"]["groups"] == read(RULES)["groups"]


def test_the_dashboard_is_provisioned_as_it_is() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    (provider,) = read(DEPLOY / "grafana" / "provisioning" / "dashboards" / "vuka.yaml")["providers"]
    sources = {json.dumps(each["datasource"]) for each in [*panels(), *dashboard["templating"]["list"]]}
    assert sources == {json.dumps({"type": "prometheus", "uid": source["uid"]})}
    grafana = read(COMPOSE)["services"]["grafana"]
    mounts = dict(each.split(":")[:2][::-1] for each in grafana["volumes"])
    assert (COMPOSE.parent / mounts[provider["options"]["path"]]).resolve() == DASHBOARD.parent
    assert (COMPOSE.parent / mounts["/etc/grafana/provisioning"]).resolve() == DEPLOY / "grafana" / "provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"
    assert read(DEPLOY / "grafana" / "kustomization.yaml")["configMapGenerator"][0]["files"] == ["dashboards/vuka.json"]
    variables = {each["name"] for each in dashboard["templating"]["list"]} | {"__rate_interval"}
    used = {name for _, query in queries() for name in re.findall(r"\$(\w+)", query)}
    assert used == variables


def test_no_two_panels_cover_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert len({each["id"] for each in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


def test_prometheus_asks_every_hub_with_its_token() -> None:
    compose = read(COMPOSE)
    (job,) = (each for each in read(COMPOSE.parent / "prometheus.yaml")["scrape_configs"] if each["job_name"] == "vuka")
    hubs = [name for name in compose["services"] if re.fullmatch(r"hub-\d+", name)]
    assert job["static_configs"] == [{"targets": [f"{name}:4001" for name in hubs]}]
    assert job["authorization"] == {"credentials_file": "/run/secrets/metrics-token"}
    assert compose["services"]["prometheus"]["secrets"] == ["metrics-token"]


def test_the_operator_of_prometheus_finds_the_service_and_calls_the_job_vuka() -> None:
    monitor = read(KUBERNETES / "components" / "monitoring" / "servicemonitor.yaml")
    services = documents(KUBERNETES / "base" / "services.yaml")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = (each for each in services if wanted <= each["metadata"]["labels"].items())
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "vuka"
    assert monitor["spec"]["endpoints"][0]["port"] in {each["name"] for each in service["spec"]["ports"]}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH: Debian's package prometheus has it")
@pytest.mark.parametrize("arguments", [("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")])
def test_promtool_has_nothing_to_say(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alarm_that_has_a_test_exists() -> None:
    tested: list[Any] = [
        case["alertname"]
        for each in read(RULES.parent / "rules_test.yaml")["tests"]
        for case in each["alert_rule_test"]
    ]
    assert set(tested) <= {rule["alert"] for rule in rules()}
