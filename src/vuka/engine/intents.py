"""Intents: what is about to be done in a ledger that does not wait for the commit of the records.

Before the ledger is asked, the commands that move money, and those that decide how, are written down, in a commit of
their own; the commit of their records strikes them out. Whoever finds one written, and holds the lock under which
batches are run, knows that it was begun by a process that died, or that has lost its connection, or in a transaction
that was undone: `recover` carries it out again from the beginning. Every command may be: the ids of what it moves are
derived from it, so that what the ledger has done already is told ``exists``.

Not written down is what needs no second try: a prepare, whose reservation frees itself and whose payer was not told
that it was accepted. What the timers ask they ask again; where it moves headroom, a *mark* says so, an intent without a
command: whoever finds it has every headroom put right.

Every intent names the *term* of the process that wrote it (`vuka.ledger.terms`). Whoever recovers ends the terms of
all that it finds, before it looks at a balance: a process that lives on without knowing moves nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Final

import msgspec
import structlog

from vuka.engine.batch import Batch, Rules, restore_headroom, run_batch
from vuka.engine.outbox import EVERYBODY, Outbox
from vuka.ledger import terms
from vuka.store import Tx, WriteTx
from vuka.switch import (
    account_types,
    bank_statements,
    fees,
    funds,
    gross_settlement,
    participants,
    settlement_models,
    settlements,
    transfers,
    windows,
)
from vuka.switch.work import Command

log: Final = structlog.get_logger("vuka.engine")


def _commands(use_cases: Iterable[Sequence[object]]) -> list[type[Command]]:
    return [
        each for _, *commands in use_cases for each in commands if isinstance(each, type) and issubclass(each, Command)
    ]


INTENDED: Final[frozenset[type[Command]]] = frozenset(
    (
        transfers.FulfilTransfer,
        transfers.AbortTransfer,
        # What operators change decides what the rest of the batch moves: limits, fees, models, windows.
        *_commands(participants.USE_CASES),
        *_commands(funds.USE_CASES),
        *_commands(account_types.USE_CASES),
        *_commands(settlement_models.USE_CASES),
        *_commands(windows.USE_CASES),
        *_commands(settlements.USE_CASES),
        *_commands(bank_statements.USE_CASES),
        *_commands(fees.USE_CASES),
    )
)
"""The commands that are written down. They are carried out again in the order of their arrival."""

MARKED: Final[frozenset[type[Command]]] = frozenset((transfers.ExpireTransfers, gross_settlement.SettleGross))
"""What the timers ask again, and what may move headroom."""

_TYPES: Final = {command.__name__: command for command in INTENDED}

_MARK: Final = ""


class UnfinishedError(Exception):
    """Something was begun in the ledger and has no records: it comes before anything else. Nothing was done."""


class Intent(msgspec.Struct, frozen=True):
    """A command that was begun, or, without one, a mark."""

    intent_id: int
    now_ms: int
    """The time of its batch: by that time it is decided again."""
    term: int
    command: Command | None


def write(tx: Tx, commands: Sequence[Command], *, term: int, now_ms: int, next_id: Callable[[], int]) -> list[int]:
    """Writes down what is about to be begun; its numbers, for `strike_out`: none where nothing needs to be."""
    rows: list[tuple[int, int, int, str, bytes]] = []
    for command in commands:
        if type(command) not in INTENDED:
            continue
        try:
            content = msgspec.msgpack.encode(command)
        except (OverflowError, TypeError):
            # It holds what no message can: it will fail by itself, and must not take the others with it.
            log.exception("a command can not be written down", command=type(command).__name__)
            continue
        rows.append((next_id(), now_ms, term, type(command).__name__, content))
    if not rows and is_begun_in_ledger(commands):
        rows.append((next_id(), now_ms, term, _MARK, b""))
    tx.run_many("INSERT INTO ledger_intent (intent_id, now_ms, term, command, content) VALUES (?, ?, ?, ?, ?)", rows)
    return [row[0] for row in rows]


def mark(tx: Tx, intent_id: int, *, term: int, now_ms: int) -> None:
    """Says that a recovery is begun. One that has failed may be begun again under the same number."""
    tx.run(
        """INSERT INTO ledger_intent (intent_id, now_ms, term, command, content) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (intent_id) DO NOTHING""",
        (intent_id, now_ms, term, _MARK, b""),
    )


def is_begun_in_ledger(commands: Iterable[Command]) -> bool:
    """Whether any of these has to be written down or marked before the ledger is asked."""
    return any(type(command) in INTENDED or type(command) in MARKED for command in commands)


def strike_out(tx: Tx, intent_ids: Sequence[int]) -> None:
    """Forgets intents, in the transaction that has their records."""
    tx.run_many("DELETE FROM ledger_intent WHERE intent_id = ?", [(each,) for each in intent_ids])


def written(tx: Tx) -> list[int]:
    """The numbers of all intents that are written, in order."""
    return [intent_id for (intent_id,) in tx.query("SELECT intent_id FROM ledger_intent ORDER BY intent_id")]


def unfinished(tx: Tx) -> list[Intent]:
    """What was begun and has no records, in the order in which it was."""
    return [
        Intent(intent_id, now_ms, term, None if name == _MARK else msgspec.msgpack.decode(content, type=_TYPES[name]))
        for intent_id, now_ms, term, name, content in tx.query(
            "SELECT intent_id, now_ms, term, command, content FROM ledger_intent ORDER BY intent_id"
        )
    ]


def recover(tx: WriteTx, rules: Rules, *, now_ms: int, next_id: Callable[[], int], outbox: Outbox) -> list[Batch]:
    """Carries out again what was begun and has no records, and puts every headroom right; what it has decided.

    To be run before anything else is asked of the ledger, under the lock of the batches, in the new term of ``rules``,
    and after `mark`. Raises `vuka.ledger.model.LedgerUnavailableError`.
    """
    begun = unfinished(tx)
    ledger = rules.ledger(tx, now_ms * 1_000_000)
    terms.begin(ledger, [rules.term])
    terms.end(ledger, {each.term for each in begun} - {rules.term})
    batches: list[Batch] = []
    for then_ms, together in groupby(begun, key=lambda each: each.now_ms):
        commands = [each.command for each in together if each.command is not None]
        if commands:
            batches.append(
                run_batch(tx, rules, commands, now_ms=then_ms, next_id=next_id, outbox=outbox, behind=EVERYBODY)
            )
    restore_headroom(tx, rules, now_ms=now_ms, next_id=next_id)
    strike_out(tx, [each.intent_id for each in begun])
    if batches:
        count = sum(each.command is not None for each in begun)
        log.warning("what was begun in the ledger was brought to its end", commands=count)
    return batches
