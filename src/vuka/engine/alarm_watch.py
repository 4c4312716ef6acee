"""The watch over alarms: looks at some positions at a time, and has told what is to be told.

Looking is one read of a snapshot and one question to the ledger, of at most `POSITIONS_MAX` positions; the next look
goes on where the last one ended. With so many positions or fewer each is looked at every time. Rules and reasons are in
`vuka.switch.alarms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from vuka.engine.notifier import OwnEngine
from vuka.ledger.model import Ledger
from vuka.store import Tx
from vuka.switch.alarms import AlarmRules, CheckAlarms, Position, Told, anything_to_tell, limited_positions
from vuka.switch.directory import Directory

POSITIONS_MAX: Final = 100
"""Positions in one look: it keeps the event loop for less than 2 ms (measured: 16 µs for each position)."""


class AlarmWatch:
    """The alarms of one hub. The engine's timer calls `tick`."""

    def __init__(
        self,
        rules: AlarmRules,
        engine: OwnEngine,
        *,
        every_ms: int,
        clock_ms: Callable[[], int],
        told: Callable[[Sequence[Told]], None],
    ) -> None:
        """``told`` hears what people were told."""
        self._rules = rules
        self._engine = engine
        self._every_ms = every_ms
        self._clock_ms = clock_ms
        self._told = told
        self._looked_ms = 0
        self._after = 0
        # Those of one directory, which is another object where anything in it has changed.
        self._of: Directory | None = None
        self._positions: list[Position] = []

    async def tick(self) -> None:
        """Looks, where it is time to."""
        now_ms = self._clock_ms()
        if 0 <= now_ms - self._looked_ms < self._every_ms:
            return
        self._looked_ms = now_ms
        account_ids = self._engine.read(self._look)
        if not account_ids:
            return
        outcome = await self._engine.run_own(CheckAlarms(account_ids=account_ids, rules=self._rules))
        if isinstance(outcome.value, list):
            self._told(outcome.value)

    def _look(self, tx: Tx, ledger: Ledger, directory: Directory) -> tuple[int, ...]:
        if directory is not self._of:
            self._of, self._positions = directory, limited_positions(directory)
        next_ones = [each for each in self._positions if each[1].account_id > self._after][:POSITIONS_MAX]
        is_last = not next_ones or next_ones[-1] is self._positions[-1]
        self._after = 0 if is_last else next_ones[-1][1].account_id
        return anything_to_tell(tx, ledger, next_ones, self._rules, self._looked_ms)
