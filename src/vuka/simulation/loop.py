"""Time that is only counted: an event loop whose clock jumps to what is due next, and processes that can die on it.

Everything runs in one thread, in an order that follows from a seed. What asyncio promises, that callbacks run in the
order in which they were asked for, holds here too. What it does not promise is drawn by lot: each turn of the loop
takes a little while, timers are a little late, and what runs in another thread ends after a time of its own; so what
comes from outside gets in between as it would in life.

A `Process` is all that runs in one memory. When it dies, in the middle of whatever it does, nothing that it has begun
goes on and nothing that it asks for happens any more: what is left of it is what it has written and sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

TURN_SECONDS_MAX: Final = 0.000_030
"""How long one turn of the loop takes at most: the callbacks that were ready, and what came of them."""

LATE_SECONDS_MAX: Final = 0.000_200
"""How late a timer is at most."""

_RESOLUTION_SECONDS: Final = 0.000_001


class Process:
    """What runs in one memory. Whatever is started in its context belongs to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.context = copy_context()
        self.context.run(_PROCESS.set, self)
        self.tasks: list[asyncio.Task[Any]] = []
        """All that it has started: kept, so that memory is given back when nothing runs any more, and never before."""


def is_of_the_dead() -> bool:
    """Whether what runs now is the rest of a callback in which its process has died."""
    process = _PROCESS.get()
    return process is not None and not process.is_alive


_PROCESS: Final[ContextVar[Process | None]] = ContextVar("vuka_simulated_process", default=None)


class StandstillError(RuntimeError):
    """Nothing is ready and nothing will ever be."""


class _Selector:
    """Stands where asyncio waits for sockets: there are none, so that waiting is nothing but time that passes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise StandstillError("every task waits for another")
        self._loop.pass_time(timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop on a clock that is only counted."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = _RESOLUTION_SECONDS
        self.thread_seconds: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        """How long what runs in a thread takes: to its effect, and from there until the loop hears of its end."""
        self.set_exception_handler(lambda _loop, context: self._unhandled(context))
        self.defects: list[str] = []
        """What was raised in living processes and nobody caught."""

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Time passes: so long, or, where something is ready, as long as that takes."""
        self._now += seconds or self._chance.random() * TURN_SECONDS_MAX

    # --- processes ------------------------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """Ends a process at once: nothing that it has begun goes on."""
        process.is_alive = False
        # asyncio keeps what it is to run in these two.
        for handle in (*self._ready, *self._scheduled):  # type: ignore[attr-defined]
            if handle._context.get(_PROCESS) is process:
                handle.cancel()

    def start_in(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of that process."""
        return self.create_task(coroutine, context=process.context.copy())

    def bury(self, process: Process) -> None:
        """Gives back the memory of a process, dead or not, once the loop runs no more."""
        process.is_alive = False
        for task in process.tasks:
            if task.done():
                if not task.cancelled():
                    task.exception()
            else:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                # Whatever it would still do at its end has no effect: it is of a dead process.
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
        process.tasks.clear()

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        process = _of(context)
        task: asyncio.Task[T] = super().create_task(coro, name=name, context=context)
        if process is not None:
            process.tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        process = _of(context)
        if process is not None and not process.is_alive:
            handle = asyncio.Handle(callback, args, self, context)
            handle.cancel()
            return handle
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        process = _of(context)
        if process is not None and not process.is_alive:
            handle = asyncio.TimerHandle(when, callback, args, self, context)
            handle.cancel()
            return handle
        late = self._chance.random() * LATE_SECONDS_MAX
        return super().call_at(max(when, self._now) + late, callback, *args, context=context)

    # --- threads --------------------------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Runs it in this thread a little later, in one piece, and tells of its end later still."""
        future: asyncio.Future[T] = self.create_future()
        effect_seconds, told_seconds = self.thread_seconds()

        def tell(value: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]

        def run() -> None:
            value: T | None = None
            error: BaseException | None = None
            try:
                value = func(*args)
            except BaseException as raised:
                error = raised
            self.call_later(told_seconds, tell, value, error)

        self.call_later(effect_seconds, run)
        return future

    async def shutdown_default_executor(self, *_args: object) -> None:
        """There is none."""

    # --- what asyncio asks of a loop --------------------------------------------------------------------------------

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _unhandled(self, context: dict[str, Any]) -> None:
        if "task" in context or "future" in context:
            # Told when its memory is given back, which is no moment of the simulation; whoever waits for it has heard.
            return
        handle = context.get("handle")
        process = None if handle is None else _of(handle._context)
        if process is not None and not process.is_alive:
            # It died within this very callback, whose rest a real process would not have run.
            return
        error = context.get("exception")
        self.defects.append(f"{context.get('message')}: {type(error).__name__}: {error}")


def _of(context: Context | None) -> Process | None:
    """The process in whose context something is asked for."""
    return _PROCESS.get() if context is None else context.get(_PROCESS)
