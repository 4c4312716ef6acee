"""One batch: commands of many kinds, one transaction, and what it leaves to be sent.

This is the engine without its clock, its queue and its thread: given a transaction and a time it is a plain
function, so that tests and the simulation run exactly what the hub runs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, TypeAlias, cast

import msgspec
import structlog

from vuka.config import Scheme
from vuka.engine.auditlog import AuditLog
from vuka.engine.outbox import Entries, Mark, Outbox, Outgoing, Wire, Written, make_outgoing
from vuka.errors import ErrorCode, FspiopError
from vuka.ledger.model import Ledger, LedgerUnavailableError
from vuka.store import Tx, WriteTx
from vuka.switch.auditlog import Act, Checkpoint
from vuka.switch.directory import Directory
from vuka.switch.headroom import restore
from vuka.switch.witness import failed, witnessed
from vuka.switch.work import ActorKind, Command, Ended, Handler, Inbound, Notice, Outcome, Work

log: Final = structlog.get_logger("vuka.engine")

LedgerFactory: TypeAlias = Callable[[Tx, int], Ledger]
"""Makes the ledger of a transaction; the second argument is the time in nanoseconds since 1970."""


class UseCase(msgspec.Struct, frozen=True):
    """Which commands one function of the switch decides, together and in the order of their arrival."""

    commands: tuple[type[Command], ...]
    handler: Handler


def use_case(handler: object, *commands: type[Command]) -> UseCase:
    """A use case; the handler takes a list of exactly these commands."""
    return UseCase(commands, cast(Handler, handler))


class Routed(msgspec.Struct, frozen=True):
    """A message that needed no decision: it was passed on at once and is journalled with the next batch."""

    inbound: Inbound
    outcome: str
    sent: tuple[Outgoing, ...]


class Batch(msgspec.Struct):
    """What one batch has decided, before its commit."""

    outcomes: list[Outcome]
    outgoing: list[Outgoing]
    directory: Directory
    ended: list[Ended]
    filed: Mapping[tuple[str, str], int]
    acts: list[Act] = []
    """What operators and timers have changed: for the audit log."""
    checkpoints: bool = False
    """Whether the audit log is to be signed with it."""
    checkpoint: Checkpoint | None = None
    """As it was signed, to be told once it is committed."""
    written: Written | None = None
    """What it left in journal and outbox."""


class Rules(msgspec.Struct, frozen=True):
    """What a batch runs by: the same for every batch of a hub."""

    use_cases: tuple[UseCase, ...]
    scheme: Scheme
    wire: Wire
    ledger: LedgerFactory
    load_directory: Callable[[Tx], Directory]
    journal: bool
    term: int = 0
    """In which the process moves what depends on balances (`vuka.ledger.terms`); 0 where the ledger is embedded."""
    auditlog: AuditLog = msgspec.field(default_factory=AuditLog)


def run_batch(
    tx: WriteTx,
    rules: Rules,
    commands: Sequence[Command],
    *,
    now_ms: int,
    next_id: Callable[[], int],
    outbox: Outbox,
    routed: Sequence[Routed] = (),
    marks: Sequence[Mark] = (),
    behind: Container[str] = (),
) -> Batch:
    """Decides ``commands`` and writes everything that follows from them, short of the commit.

    If a use case raises, everything is undone and the commands are run one by one, so that only the one at fault
    fails (error 2001), and says so to whoever waits for it. Raises where the database fails, or a ledger elsewhere does
    not answer: then nothing is written. The caller tells ``outbox`` of `Batch.written` once it is durable; ``behind``
    are those that are read for from the outbox's table.
    """
    try:
        with tx.savepoint():
            batch = _decide(tx, rules, commands, now_ms, next_id)
    except LedgerUnavailableError:
        raise
    except Exception:
        if tx.given_up:
            # No command is at fault: the disk is. What would run now would be durable one statement at a time.
            raise
        log.exception("a batch failed and is run again one by one", commands=len(commands))
        batch = _decide_one_by_one(tx, rules, commands, now_ms, next_id)
        if rules.term:
            restore_headroom(tx, rules, now_ms=now_ms, next_id=next_id)
    received = _received(commands, batch.outcomes)
    # What a batch has decided counts, where the API has noted the same message as refused.
    received += [(each.inbound, each.outcome) for each in routed]
    entries = Entries(
        received, [outgoing for each in routed for outgoing in each.sent], batch.outgoing, marks, batch.filed
    )
    batch.checkpoint = rules.auditlog.write(
        tx, acts=batch.acts, ended=batch.ended, checkpoints=batch.checkpoints, now_ms=now_ms
    )
    batch.written = outbox.write(tx, entries, block_id=next_id(), now_ms=now_ms, behind=behind)
    return batch


def _received(commands: Sequence[Command], outcomes: Sequence[Outcome]) -> list[tuple[Inbound, str]]:
    rows: list[tuple[Inbound, str]] = []
    for command, outcome in zip(commands, outcomes, strict=True):
        message = getattr(command, "message", None)
        if isinstance(message, Inbound):
            rows.append((message, outcome.note if outcome.error is None else f"failed: {outcome.error}"))
    return rows


def restore_headroom(tx: WriteTx, rules: Rules, *, now_ms: int, next_id: Callable[[], int]) -> None:
    """Puts every headroom right in a ledger that has kept what an undone transaction moved."""
    restore(_work(tx, rules, now_ms, next_id))


def _work(tx: WriteTx, rules: Rules, now_ms: int, next_id: Callable[[], int]) -> Work:
    return Work(
        tx=tx,
        ledger=rules.ledger(tx, now_ms * 1_000_000),
        now_ms=now_ms,
        scheme=rules.scheme,
        next_id=next_id,
        load_directory=rules.load_directory,
        term=rules.term,
    )


def _decide(tx: WriteTx, rules: Rules, commands: Sequence[Command], now_ms: int, next_id: Callable[[], int]) -> Batch:
    work = _work(tx, rules, now_ms, next_id)
    outcomes: list[Outcome | None] = [None] * len(commands)
    acts: list[Act] = []
    kinds = {type(command) for command in commands}
    for case in rules.use_cases:
        if kinds.isdisjoint(case.commands):
            continue
        places = [place for place, command in enumerate(commands) if type(command) in case.commands]
        if all(commands[place].actor is None for place in places):
            decided = case.handler(work, [commands[place] for place in places])
            for place, outcome in zip(places, decided, strict=True):
                outcomes[place] = outcome
        else:
            _decide_acts(work, case, commands, places, outcomes, acts)
    undecided = [type(command).__name__ for command, outcome in zip(commands, outcomes, strict=True) if outcome is None]
    if undecided:
        raise AssertionError(f"no use case decides {undecided[0]}")
    outgoing = [_outgoing(rules, work, notice, next_id()) for notice in work.notices]
    return Batch(
        cast(list[Outcome], outcomes), outgoing, work.directory, work.ended, work.filed, acts, work.checkpoints
    )


def _decide_acts(
    work: Work,
    case: UseCase,
    commands: Sequence[Command],
    places: Sequence[int],
    outcomes: list[Outcome | None],
    acts: list[Act],
) -> None:
    """Decides acts of administration each by itself, so that what each has changed is known; others in between too."""
    for place in places:
        command = commands[place]
        if command.actor is None:
            (outcomes[place],) = case.handler(work, [command])
        else:
            outcomes[place], act = witnessed(work, case.handler, command, command.actor)
            # A timer looks often, and finds nothing to do.
            if act.changes or act.balances or command.actor.kind is not ActorKind.TIMER:
                acts.append(act)


def _outgoing(rules: Rules, work: Work, notice: Notice, message_id: int) -> Outgoing:
    return make_outgoing(
        notice,
        rules.wire.compose(notice, work.now_ms),
        message_id=message_id,
        now_ms=work.now_ms,
        durable=True,
        keeps_journal=rules.journal,
        filed=work.filed,
    )


def _decide_one_by_one(
    tx: WriteTx, rules: Rules, commands: Sequence[Command], now_ms: int, next_id: Callable[[], int]
) -> Batch:
    outcomes: dict[int, Outcome] = {}
    outgoing: list[Outgoing] = []
    ended: list[Ended] = []
    filed: dict[tuple[str, str], int] = {}
    acts: list[Act] = []
    checkpoints = False
    for place, command in _in_order(rules, commands):
        try:
            with tx.savepoint():
                alone = _decide(tx, rules, [command], now_ms, next_id)
        except LedgerUnavailableError:
            raise
        except Exception:
            if tx.given_up:
                raise
            log.exception("a command failed", command=type(command).__name__)
            error = FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "the hub could not decide this message")
            outcomes[place] = Outcome(error=error)
            if command.actor is not None:
                acts.append(failed(command, command.actor))
            continue
        (outcomes[place],) = alone.outcomes
        outgoing += alone.outgoing
        ended += alone.ended
        filed.update(alone.filed)
        acts += alone.acts
        checkpoints = checkpoints or alone.checkpoints
    in_place = [outcomes[place] for place in range(len(commands))]
    return Batch(in_place, outgoing, rules.load_directory(tx), ended, filed, acts, checkpoints)


def _in_order(rules: Rules, commands: Sequence[Command]) -> list[tuple[int, Command]]:
    """The commands with their places, in the order in which the batch decided them before it failed.

    A ledger elsewhere has done what was decided then: in another order a command might ask it for something else.
    """
    order = {kind: number for number, case in enumerate(rules.use_cases) for kind in case.commands}
    return sorted(enumerate(commands), key=lambda each: order.get(type(each[1]), len(order)))
