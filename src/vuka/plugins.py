"""Plugins: the hooks at which a scheme's own code takes part in what the hub decides, and who is hung on them.

A plugin is a Python package that names, under the entry point group ``vuka``, a module or an object with functions
marked by `hookimpl`; installing it is enough. The hub's own features of the same kind are plugins of the same hooks,
so that the hooks are known to be enough. pluggy calls them.

A plugin that fails makes what it was asked about fail, clearly and alone. One that can't be loaded keeps the hub from
starting: without it the hub would let through what the scheme means to stop.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Final

import pluggy
import structlog

from vuka.errors import OperatorError
from vuka.rules import Event

GROUP: Final = "vuka"
"""The entry point group, and pluggy's project name."""

hookspec: Final = pluggy.HookspecMarker(GROUP)
hookimpl: Final = pluggy.HookimplMarker(GROUP)
"""What marks a plugin's functions: ``from vuka.plugins import hookimpl``."""

log: Final = structlog.get_logger("vuka.plugins")


class Hooks:
    """Every hook. A plugin's function takes as many of the arguments as it wants, by their names."""

    @hookspec
    def vuka_quote_events(
        self,
        operation: str,
        payer: Mapping[str, object],
        payee: Mapping[str, object],
        payload: Mapping[str, object],
        headers: Mapping[str, str],
        rules: str | None,
    ) -> Sequence[Event] | None:
        """Says what is to become of a request for a quote: refuse it, have another participant answer it, or nothing.

        ``operation`` is ``quoteRequest`` or ``fxQuoteRequest``; ``payer`` and ``payee`` are the participants that sent
        it and that it is for (``name``, ``isActive``, ``isProxy``, ``accounts``); ``payload`` is the body, ``headers``
        have lower-case names; ``rules`` is the JSON of the scheme's rules in force. None of it is to be changed. The
        events are those of docs/rules.md. It is called while other payments wait: it must neither block nor look
        anything up elsewhere.
        """


class PluginError(Exception):
    """A plugin failed; the message names it. What went wrong is in the log."""


class Plugins:
    """Plugins hung on the hooks, in the order in which they are asked."""

    def __init__(self, plugins: Iterable[tuple[str, object]] = ()) -> None:
        """``plugins`` are pairs of a name and a plugin. Raises `OperatorError` where one is no plugin."""
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)
        # pluggy asks the one registered last first.
        for name, plugin in reversed(list(plugins)):
            try:
                self._manager.register(plugin, name)
            except (pluggy.PluginValidationError, ValueError) as error:
                raise _unusable(name, error) from error
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            name = next((name for name, each in self._manager.list_name_plugin() if each is error.plugin), "?")
            raise _unusable(name, error) from error

    @property
    def names(self) -> tuple[str, ...]:
        """The plugins by name, in the order in which they are asked."""
        return tuple(reversed([name for name, _ in self._manager.list_name_plugin()]))

    def quote_events(
        self,
        *,
        operation: str,
        payer: Mapping[str, object],
        payee: Mapping[str, object],
        payload: Mapping[str, object],
        headers: Mapping[str, str],
        rules: str | None,
    ) -> list[Event]:
        """What all plugins say, in order (`Hooks.vuka_quote_events`). Raises `PluginError`."""
        try:
            answers: list[object] = self._manager.hook.vuka_quote_events(
                operation=operation, payer=payer, payee=payee, payload=payload, headers=headers, rules=rules
            )
        except (Exception, SystemExit) as error:
            name = self._culprit(error)
            log.exception("a plugin failed", plugin=name, hook="vuka_quote_events")
            raise PluginError(f"plugin {name} failed") from error
        events: list[Event] = []
        for answer in answers:
            if not isinstance(answer, Sequence) or not all(isinstance(event, Event) for event in answer):
                log.error("a plugin gave no list of events", hook="vuka_quote_events", given=type(answer).__name__)
                raise PluginError("a plugin gave no list of events")
            events += answer
        return events

    def _culprit(self, error: BaseException) -> str:
        """Which plugin's function was running when the error was raised."""
        functions = {impl.function.__code__: impl.plugin_name for impl in self._implementations()}
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code in functions:
                return functions[frame.f_code]
        return "?"

    def _implementations(self) -> list[pluggy.HookImpl]:
        return [
            impl for impl in self._manager.hook.vuka_quote_events.get_hookimpls() if hasattr(impl.function, "__code__")
        ]


def installed() -> list[tuple[str, object]]:
    """The plugins that installed packages name, by name. Raises `OperatorError` where one can't be loaded."""
    found: list[tuple[str, object]] = []
    for each in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found.append((each.name, each.load()))
        except Exception as error:
            raise _unusable(each.name, error) from error
    return found


def _unusable(name: str, error: Exception) -> OperatorError:
    return OperatorError(f"The plugin {name} can't be used: {error}. Repair it, or uninstall its package.")
