"""The files of ``deploy/`` as data: what the tests in this directory ask them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "vuka.json"
RULES = DEPLOY / "prometheus" / "rules.yaml"

YAML_FILES = sorted(DEPLOY.rglob("*.yaml"))


def read(file: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def documents(file: Path) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def rules() -> list[dict[str, Any]]:
    """The alarms of Prometheus."""
    return [rule for group in read(RULES)["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels that show something."""
    return [each for each in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if each["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Every query of the dashboard and of the alarms, by where it stands."""
    of_panels = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return of_panels + [(rule["alert"], rule["expr"]) for rule in rules()]


def parsed(query: str) -> Any:
    """A query as Prometheus understands it. Grafana's own variables have values here. Raises ValueError."""
    for variable, value in (("$__rate_interval", "1m"), ("$job", "vuka"), ("$participant", ".*")):
        query = query.replace(variable, value)
    return promql_parser.parse(query)


def selectors(expression: Any) -> Iterator[Any]:
    """What a query asks Prometheus for: every vector selector in it."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for name in ("vector_selector", "expr", "lhs", "rhs", "param"):
        below = getattr(expression, name, None)
        if below is not None and not isinstance(below, str):
            yield from selectors(below)
    for below in getattr(expression, "args", None) or ():
        yield from selectors(below)


def groupings(expression: Any) -> Iterator[list[str]]:
    """The labels by which a query adds up."""
    modifier = getattr(expression, "modifier", None)
    if isinstance(expression, promql_parser.AggregateExpr) and modifier is not None:
        yield list(modifier.labels)
    for name in ("expr", "lhs", "rhs"):
        below = getattr(expression, name, None)
        if below is not None and not isinstance(below, str):
            yield from groupings(below)
    for below in getattr(expression, "args", None) or ():
        yield from groupings(below)


def expanded(text: str, environment: dict[str, str]) -> str:
    """A value of the compose file with its ``${…}`` put in, as the Compose Specification has it.

    Raises LookupError with what the file says of a variable that must be set and is not.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, word = match["name"], match["operator"], match["word"] or ""
        found = environment.get(name, "")
        if found:
            return found
        if operator == ":?":
            raise LookupError(f"{name}: {word}")
        return word if operator == ":-" else ""

    return re.sub(r"\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<word>[^}]*))?\}", value, text)


def expand(node: Any, environment: dict[str, str]) -> Any:
    """The same for everything below a node."""
    if isinstance(node, dict):
        return {key: expand(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [expand(value, environment) for value in node]
    return expanded(node, environment) if isinstance(node, str) else node
