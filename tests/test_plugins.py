"""Plugins: who is asked, in which order, and that one which fails fails alone and by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from vuka.errors import OperatorError
from vuka.plugins import GROUP, PluginError, Plugins, hookimpl, installed
from vuka.rules import Event

QUESTION: dict[str, object] = {
    "operation": "quoteRequest",
    "payer": {"name": "payerfsp"},
    "payee": {"name": "payeefsp"},
    "payload": {"amount": {"currency": "USD"}},
    "headers": {},
    "rules": None,
}


class Says:
    """A plugin that says one thing of every quote."""

    def __init__(self, *types: str) -> None:
        self.events = [Event(each) for each in types]

    @hookimpl
    def vuka_quote_events(self) -> Sequence[Event]:
        return self.events


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def vuka_quote_events(self, operation: str) -> Sequence[Event]:
        raise self.error


def said(*plugins: object) -> list[str]:
    named = [(f"plugin-{number}", each) for number, each in enumerate(plugins)]
    return [event.type for event in Plugins(named).quote_events(**QUESTION)]  # type: ignore[arg-type]


def test_without_plugins_nothing_is_said() -> None:
    assert said() == []


def test_plugins_are_asked_in_the_order_in_which_they_were_given() -> None:
    assert said(Says("a"), Says("b", "c"), Says(), Says("d")) == ["a", "b", "c", "d"]


def test_plugins_are_listed_in_that_order() -> None:
    assert Plugins([("one", Says()), ("two", Says())]).names == ("one", "two")


def test_a_plugin_takes_the_arguments_that_it_names() -> None:
    class Curious:
        @hookimpl
        def vuka_quote_events(self, payee: dict[str, object], operation: str) -> list[Event]:
            return [Event(f"{operation} to {payee['name']}")]

    assert said(Curious()) == ["quoteRequest to payeefsp"]


def test_a_plugin_may_have_nothing_to_say() -> None:
    class Silent:
        @hookimpl
        def vuka_quote_events(self) -> None:
            return None

    assert said(Silent(), Says("a")) == ["a"]


def test_a_module_is_a_plugin_too() -> None:
    @hookimpl
    def vuka_quote_events() -> list[Event]:
        return [Event("from a module")]

    assert said(SimpleNamespace(vuka_quote_events=vuka_quote_events)) == ["from a module"]


@pytest.mark.parametrize("error", [RuntimeError("no rates today"), SystemExit(1), RecursionError()])
def test_a_plugin_that_fails_is_named_and_logged(error: BaseException) -> None:
    with capture_logs() as logs, pytest.raises(PluginError, match="plugin-1 failed"):
        said(Says("a"), Raises(error), Says("b"))
    assert [(each["event"], each["plugin"]) for each in logs] == [("a plugin failed", "plugin-1")]


@pytest.mark.parametrize("answer", ["INVALID", [{"type": "INVALID"}], 1, Event("alone")])
def test_a_plugin_that_gives_no_list_of_events_fails(answer: object) -> None:
    class Odd:
        @hookimpl
        def vuka_quote_events(self) -> object:
            return answer

    with capture_logs() as logs, pytest.raises(PluginError, match="no list of events"):
        said(Odd())
    assert logs[0]["log_level"] == "error"


def test_a_plugin_whose_function_wants_what_there_is_not_is_refused_at_once() -> None:
    class Wrong:
        @hookimpl
        def vuka_quote_events(self, weather: str) -> None:
            return None

    with pytest.raises(OperatorError, match="The plugin wrong can't be used"):
        Plugins([("wrong", Wrong())])


def test_a_plugin_of_a_hook_that_there_is_not_is_refused_at_once() -> None:
    class Lost:
        @hookimpl
        def vuka_weather(self) -> None:
            return None

    with pytest.raises(OperatorError, match="The plugin lost can't be used"):
        Plugins([("lost", Lost())])


# --- plugins of installed packages ------------------------------------------------------------------------------


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Packages as pip leaves them, each with one module that is a plugin."""
    for name, source in modules.items():
        (directory / f"{name}.py").write_text(source)
        metadata = directory / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(directory))


SOURCE = """
from vuka.plugins import hookimpl
from vuka.rules import Event

@hookimpl
def vuka_quote_events(payer):
    return [Event("{}")]
"""


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, vuka_test_zebra=SOURCE.format("z"), vuka_test_ant=SOURCE.format("a"))
    found = [(name, plugin) for name, plugin in installed() if name.startswith("vuka_test_")]
    assert [name for name, _ in found] == ["vuka_test_ant", "vuka_test_zebra"]
    assert [event.type for event in Plugins(found).quote_events(**QUESTION)] == ["a", "z"]  # type: ignore[arg-type]


def test_a_package_that_cannot_be_loaded_keeps_the_hub_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, vuka_test_broken="import no_such_thing\n")
    with pytest.raises(OperatorError, match="The plugin vuka_test_broken can't be used: No module named") as refusal:
        installed()
    assert str(refusal.value).endswith("Repair it, or uninstall its package.")
