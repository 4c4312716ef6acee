"""Plugins: the hooks at which a scheme's own code takes part in what the hub decides, and who is hung on them.

A plugin is a Python package that names, under the entry point group ``vuka``, a module or an object with functions
marked by `hookimpl`; installing it is enough. The hub's own features of the same kind are plugins of the same hooks,
so that the hooks are known to be enough. pluggy calls them.

A plugin that fails makes what it was asked about fail, clearly and alone: a quote, or a delivery. One that can't be
loaded keeps the hub from starting: without it the hub would let through what the scheme means to stop.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec
import pluggy

from vuka.config import Config
from vuka.errors import OperatorError
from vuka.rules import Event

GROUP: Final = "vuka"
"""The entry point group, and pluggy's project name."""

hookspec: Final = pluggy.HookspecMarker(GROUP)
hookimpl: Final = pluggy.HookimplMarker(GROUP)
"""What marks a plugin's functions: ``from vuka.plugins import hookimpl``."""

_CHANNEL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


THRESHOLD_BREACH: Final = "NET_DEBIT_CAP_THRESHOLD_BREACH"
ADJUSTMENT: Final = "NET_DEBIT_CAP_ADJUSTMENT"
POSITION_CHANGE: Final = "SETTLEMENT_TRANSFER_POSITION_CHANGE"

NOTIFICATION_KINDS: Final = (THRESHOLD_BREACH, ADJUSTMENT, POSITION_CHANGE)
"""What people are told: see `vuka.switch.notifications`."""


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What one recipient is told by one channel. It is the same at each attempt."""

    id: str
    """Of this delivery: the same however often it is attempted or sent again, and no other's. By it a receiver can
    tell a repeat: after a crash the hub delivers again what may have arrived."""
    kind: str
    """One of `NOTIFICATION_KINDS`."""
    participant: str
    """Whom it is about."""
    recipient: str
    """Who is told: the participant, or the hub."""
    currency: str
    created_ms: int
    """When it happened, UTC milliseconds since 1970."""
    data: Mapping[str, str]
    """The figures, as people write them: docs/notifications.md lists them for each kind."""
    subject: str
    text: str
    """Subject and plain text, in words for the recipient."""
    is_test: bool = False
    """Whether an operator only tries the channel: nothing has happened."""


class DeliveryError(Exception):
    """A channel could not deliver.

    ``reason`` is a short sentence of the channel's own and is logged; ``said`` is what the other side answered: it may
    name people, so that only operators see it. ``is_final`` says that another attempt would be refused as well.
    """

    def __init__(self, reason: str, said: str = "", *, is_final: bool = False) -> None:
        super().__init__(f"{reason}: {said}" if said else reason)
        self.reason = reason
        self.is_final = is_final


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A way by which notifications reach people."""

    name: str
    """In small letters, e.g. ``slack``."""
    deliver: Callable[[Notification, str], None]
    """Delivers a notification to an address, or raises: `DeliveryError`, or anything else. It runs in a thread of its
    own and may wait; what takes longer than ``notifications.timeout_ms`` counts as failed and is tried again."""
    endpoints: Mapping[str, str] | None = None
    """The type of the endpoint that holds a recipient's address, by kind. Who has none is not told by this channel.
    None: the channel needs no addresses and is given an empty one."""
    tells_participants: bool = True
    """Whether the participant is told, too, and not the hub alone."""


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

    @hookspec
    def vuka_notification_channels(self, config: Config) -> Sequence[Channel] | None:
        """Says by which channels notifications are delivered, each a `Channel`; none where it is not configured.

        It is called once, when the hub is made. ``log``, ``webhook`` and ``smtp`` are plugins of this hook. What raises
        an `OperatorError` keeps the hub from starting with that sentence, and so does any other error.
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
            _log().exception("a plugin failed", plugin=name, hook="vuka_quote_events")
            raise PluginError(f"plugin {name} failed") from error
        events: list[Event] = []
        for answer in answers:
            if not isinstance(answer, Sequence) or not all(isinstance(event, Event) for event in answer):
                _log().error("a plugin gave no list of events", hook="vuka_quote_events", given=type(answer).__name__)
                raise PluginError("a plugin gave no list of events")
            events += answer
        return events

    def notification_channels(self, config: Config) -> list[Channel]:
        """What all plugins give, in order (`Hooks.vuka_notification_channels`). Raises `OperatorError`."""
        try:
            answers: list[object] = self._manager.hook.vuka_notification_channels(config=config)
        except OperatorError:
            raise
        except (Exception, SystemExit) as error:
            raise _unusable(self._culprit(error), error) from error
        channels: list[Channel] = []
        for answer in answers:
            if not isinstance(answer, Sequence) or not all(isinstance(channel, Channel) for channel in answer):
                raise OperatorError(f"A plugin gave {type(answer).__name__} for a list of channels. Repair it.")
            channels += answer
        names = [channel.name for channel in channels]
        for name in names:
            if _CHANNEL_NAME.fullmatch(name) is None:
                raise OperatorError(f"A plugin calls a channel {name[:40]!r}: it must be small letters, e.g. slack.")
            if names.count(name) > 1:
                raise OperatorError(f"Two plugins call a channel {name}. Uninstall one of them.")
        return channels

    def _culprit(self, error: BaseException) -> str:
        """Which plugin's function was running when the error was raised."""
        functions = {impl.function.__code__: impl.plugin_name for impl in self._implementations()}
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code in functions:
                return functions[frame.f_code]
        return "?"

    def _implementations(self) -> list[pluggy.HookImpl]:
        hooks = (self._manager.hook.vuka_quote_events, self._manager.hook.vuka_notification_channels)
        return [impl for hook in hooks for impl in hook.get_hookimpls() if hasattr(impl.function, "__code__")]


def _log() -> Any:
    # Commands know plugins by their constants alone: what logs is imported where something is logged.
    import structlog

    return structlog.get_logger("vuka.plugins")


def installed() -> list[tuple[str, object]]:
    """The plugins that installed packages name, by name. Raises `OperatorError` where one can't be loaded."""
    found: list[tuple[str, object]] = []
    for each in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            found.append((each.name, each.load()))
        except Exception as error:
            raise _unusable(each.name, error) from error
    return found


def _unusable(name: str, error: BaseException) -> OperatorError:
    return OperatorError(f"The plugin {name} can't be used: {error}. Repair it, or uninstall its package.")
