"""Batches on a scheme in memory, run as the engine runs them: with the hub's use cases and wire, without its clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from tests import journalled
from tests.switch import wire
from tests.switch.scheme_bench import SchemeBench
from tests.switch.wire import PAYEE, PAYER

from vuka.api.hub import USE_CASES
from vuka.api.wire import FspiopWire
from vuka.engine.batch import Batch, Routed, Rules, run_batch, use_case
from vuka.engine.courier import Delivery
from vuka.engine.keys import KeySource
from vuka.engine.outbox import DeliveryState, Mark, Outbox, make_outgoing, settle
from vuka.ids import FspId
from vuka.ledger.sql import SqlLedger
from vuka.store import Row, WriteTx
from vuka.switch.directory import DirectoryCache
from vuka.switch.work import Action, Command, Forward, Inbound, JsonBody, Notice, Outcome, Work

NODE: Final = 1
"""Its keys are not those that the scheme was set up with."""


class Poison(Command, frozen=True, kw_only=True):
    """A command whose use case has a defect, found when half of its work is done."""

    message: Inbound | None = None


class FillDisk(Command, frozen=True, kw_only=True):
    """A command that needs more room than the disk has."""


class Unspeakable(Command, frozen=True, kw_only=True):
    """A command that owes a message which nobody knows how to write."""


class Undecided(Command, frozen=True, kw_only=True):
    """A command that no use case decides."""


def _poisoned(work: Work, _commands: Sequence[Poison]) -> list[Outcome]:
    work.notify(_notice("transfers"))
    work.tx.run("UPDATE transfer SET state = 'COMMITTED'")
    work.tx.run("UPDATE ledger_account SET debits_posted = credits_posted")
    raise RuntimeError("a defect")


def _fill(work: Work, _commands: Sequence[FillDisk]) -> list[Outcome]:
    work.tx.run('INSERT INTO scheme ("only", version, name, created_ms) VALUES (2, 1, zeroblob(1000000), 0)')
    raise AssertionError("the disk has more room than was thought")


def _unspeakable(work: Work, commands: Sequence[Unspeakable]) -> list[Outcome]:
    work.notify(_notice("weather"))
    return [Outcome() for _ in commands]


def _notice(resource: str) -> Notice:
    return Notice(FspId(PAYEE), Action.POST, resource, ("1",), JsonBody(b"{}"), 2**60)


class Batches:
    """A scheme with two funded participants, and batches run on it as the engine runs them."""

    def __init__(self) -> None:
        self.bench = SchemeBench()
        self.bench.onboard(PAYER, "USD", cap="1000", funds="1000")
        self.bench.onboard(PAYEE, "USD", cap="1000")
        self.bench.take_quotes(PAYER, PAYEE)
        self.bench.take_notices()
        self.directories = DirectoryCache()
        self.keys = KeySource(node=NODE)
        self.outbox = Outbox(node=NODE)

    @property
    def rules(self) -> Rules:
        mine = (
            use_case(_poisoned, Poison),
            use_case(_fill, FillDisk),
            use_case(_unspeakable, Unspeakable),
        )
        return Rules(
            (*USE_CASES, *mine), self.bench.rules, FspiopWire(), SqlLedger, self.directories.load, self.journal
        )

    def run(
        self,
        *commands: Command,
        routed: Sequence[Routed] = (),
        marks: Sequence[Mark] = (),
        behind: Collection[str] = (),
        commit: bool = True,
    ) -> Batch:
        tx = self.bench.database.start()
        try:
            batch = self.run_in(tx, *commands, routed=routed, marks=marks, behind=behind)
        except BaseException:
            tx.rollback()
            raise
        if not commit:
            tx.rollback()
            return batch
        tx.commit()
        if batch.written is not None:
            self.outbox.committed(batch.written)
        return batch

    def run_in(
        self,
        tx: WriteTx,
        *commands: Command,
        routed: Sequence[Routed] = (),
        marks: Sequence[Mark] = (),
        behind: Collection[str] = (),
    ) -> Batch:
        """Runs a batch in a transaction, of which the caller says whether it is committed."""
        return run_batch(
            tx,
            self.rules,
            commands,
            now_ms=self.bench.now_ms,
            next_id=self.next_id,
            outbox=self.outbox,
            routed=routed,
            marks=marks,
            behind=behind,
        )

    @property
    def journal(self) -> bool:
        """Whether a journal is kept."""
        return self.outbox.keeps_journal

    @journal.setter
    def journal(self, is_kept: bool) -> None:
        self.outbox.keeps_journal = is_kept

    def next_id(self) -> int:
        return self.keys.next(self.bench.now_ms)

    def crash(self) -> None:
        """The process is gone, and the next one looks what it owes."""
        self.outbox = Outbox(node=NODE, keeps_journal=self.journal)
        with self.bench.database.begin() as tx:
            settle(tx, NODE, now_ms=self.bench.now_ms)

    def messages(self) -> list[journalled.Message]:
        with self.bench.database.read() as tx:
            return journalled.messages(tx)

    def deliveries(self) -> list[tuple[str, str]]:
        with self.bench.database.read() as tx:
            return journalled.deliveries(tx)

    def rows(self, sql: str) -> list[Row]:
        with self.bench.database.read() as tx:
            return tx.query(sql)

    def states(self) -> list[str]:
        return [state for (state,) in self.rows("SELECT state FROM transfer WHERE kind = 'PAYMENT' ORDER BY 1")]

    def route(self, message: Inbound, to: str = PAYEE) -> Routed:
        """A message passed on at once, as the engine passes it."""
        notice = Notice(
            FspId(to),
            Action(message.method),
            message.resource,
            message.ids,
            Forward(message),
            2**60,
            source=message.source,
        )
        outgoing = make_outgoing(
            notice,
            FspiopWire().compose(notice, self.bench.now_ms),
            message_id=self.next_id(),
            now_ms=self.bench.now_ms,
            durable=False,
            keeps_journal=self.journal,
        )
        return Routed(message, "routed", (outgoing,))

    def lookup(self) -> Inbound:
        return wire.inbound(self.bench, "GET", "parties", ("MSISDN", "1"), source=PAYER, destination=PAYEE)


def mark(delivery: Delivery, state: DeliveryState, *, status: int | None = 200, error: str | None = None) -> Mark:
    return Mark(delivery, state, 1, status, error, 5)
