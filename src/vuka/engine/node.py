"""The engine: collects what has arrived, runs it as one batch, commits once, then answers and sends.

One loop writes. While a commit waits for the disk, in a thread of its own, requests go on arriving; the next
batch is whatever came in meanwhile, so the busier the hub, the cheaper each payment. A request is
answered, and a message sent, only after the commit that holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from urllib.parse import unquote

import msgspec
import structlog

from vuka.config import Config
from vuka.destinations import Destinations
from vuka.engine import intents, notifications, outbox
from vuka.engine.alarm_watch import AlarmWatch
from vuka.engine.auditlog import ACTING, AuditLog, SignAuditLog, tell
from vuka.engine.auditlog import USE_CASES as AUDITLOG_USE_CASES
from vuka.engine.batch import Batch, LedgerFactory, Routed, Rules, UseCase, run_batch, use_case
from vuka.engine.courier import Courier, CourierSettings, Delivery, DeliveryOutcome, DeliveryReport
from vuka.engine.keys import KeySource, key_floor, node_of
from vuka.engine.membership import Identity, Membership, boot_ms
from vuka.engine.nodes import BEAT_MS, Beat, FencedError, TakeOver, TidyNodes, ask_again, nodes
from vuka.engine.nodes import USE_CASES as NODE_USE_CASES
from vuka.engine.notifier import Notifier
from vuka.engine.observed import Committed, EngineLog, Observer, Observers
from vuka.engine.outbox import DeliveryState, Mark, Outbox, Wire, make_outgoing, traces_of
from vuka.engine.waiting import Submission, Waiting, is_question
from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.httpclient import Client, HttpClient
from vuka.ids import HUB, FspId, TransferId, parse_id
from vuka.ledger.model import Ledger, LedgerUnavailableError, QueryFilter, QueryFilterFlags
from vuka.ledger.terms import TERM_MAX, TermEndedError
from vuka.ledger.tigerbeetle import Cluster
from vuka.plugins import Channel
from vuka.store import CommitUnknownError, Database, Tx, UnavailableError, WriteTx
from vuka.switch import auditlog, gross_settlement, journal, schedules, transfers, undelivered
from vuka.switch.alarms import AlarmRules
from vuka.switch.directory import Directory, DirectoryCache
from vuka.switch.journal import Sent
from vuka.switch.work import TIMER, Command, Inbound, Notice, Outcome, Work, in_declared_version
from vuka.tls import outgoing_context

log: Final = structlog.get_logger("vuka.engine")

T = TypeVar("T")
P = ParamSpec("P")

NOTES_WAIT_MS: Final = 100
"""How long a note for which nobody waits may wait for a batch: that a message has arrived, or was passed on."""

RELOAD_MAX: Final = 1_000
"""Messages read from the outbox at a time for a participant whose queue has room again."""

JOURNAL_RETRIES_MAX: Final = 100
"""Failed commits in a row after which notes for the journal are given up: what is owed is in the outbox anyway."""

ROUTED_MAX: Final = 10_000
"""Messages that wait to be journalled: beyond that, what is only routed is refused."""

REFUSED_BODY_BYTES_MAX: Final = 16_384
"""How much of a refused message's body is kept: enough to see what was wrong, too little to fill a disk with."""

PURGE_EVERY_MS: Final = 10_000

PURGE_BLOCKS_MAX: Final = 100
"""Blocks of the journal that one batch removes at most: a longer transaction would keep payments waiting."""

SCHEDULES_MS_MAX: Final = 1_000
"""How late a settlement window may close by its schedule, in milliseconds, however seldom the other timers look."""

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000

SILENT_WRITERS_MS: Final = 5_000
"""How often it is looked whether a process that says nothing keeps the others from writing."""

FOLLOW_MS: Final = 100
"""How often one of several hub processes looks whether another has changed the directory."""

IN_DOUBT_SECONDS_MAX: Final = 20.0
"""How long a batch whose commit was not answered waits to learn what became of it, before its senders get 503."""

IN_DOUBT_PAUSE_SECONDS: Final = 0.1

_OWN_REPORTS: Final = (undelivered.ReportUndelivered, transfers.TellResult)
"""What the engine has to tell by itself: nobody asks for it again."""


def busy() -> FspiopError:
    """The answer to what finds no room: the hub has more waiting than it can clear."""
    return FspiopError(ErrorCode.SERVER_BUSY, "the hub is busy", status=503, headers=(("Retry-After", "1"),))


class Statistics(msgspec.Struct):
    """What the engine has done since it started."""

    batches: int = 0
    commands: int = 0
    refused_busy: int = 0
    batch_max: int = 0
    run_ms: float = 0.0
    """Time spent deciding and writing, in milliseconds."""
    commit_ms: float = 0.0
    """Time spent waiting for commits, in milliseconds."""

    def add(self, batch: Committed) -> None:
        """One more batch."""
        self.batches += 1
        self.commands += batch.commands
        self.batch_max = max(self.batch_max, batch.commands)
        self.run_ms += batch.decide_seconds * 1000
        self.commit_ms += batch.commit_seconds * 1000


class NotCommittedError(Exception):
    """A batch whose commit was not answered, and was not made."""


class Engine:
    """The running hub behind its APIs.

    ``submit`` a command and await its durable outcome; ``route`` a message that needs no record; ``read`` a
    consistent snapshot. `start` resumes what an earlier process left undone.
    """

    def __init__(
        self,
        *,
        config: Config,
        database: Database,
        use_cases: Sequence[UseCase],
        wire: Wire,
        ledger: LedgerFactory,
        clock_ms: Callable[[], int],
        jitter: Callable[[], float],
        observers: Sequence[Observer] = (),
        channels: Sequence[Channel] = (),
        identity: Identity | None = None,
        cluster: Cluster | None = None,
        sign: auditlog.Sign | None = None,
        destinations: Destinations | None = None,
        client: Client | None = None,
    ) -> None:
        """``sign``: what the audit log is signed with; ``client`` delivers messages, where it is not the usual one."""
        self.config = config
        self.database = database
        self.statistics = Statistics()
        self._observer = Observers(EngineLog(), *observers)
        self._wire = wire
        self._clock_ms = clock_ms
        # What a batch has changed and not committed is not for those who read beside it.
        self._cache = DirectoryCache()
        self._read_cache = DirectoryCache()
        self._auditlog = AuditLog(sign, is_alone=identity is None and not database.is_remote)
        self._rules = Rules(
            tuple(use_cases),
            config.scheme,
            wire,
            ledger,
            self._cache.load,
            config.journal.enabled,
            auditlog=self._auditlog,
        )
        self._looked_for_checkpoint_ms = 0
        self._queue = Waiting()
        self._routed: list[Routed] = []
        self._marks: list[Mark] = []
        self._marks_with: dict[Command, list[Mark]] = {}
        """What is noted in the commit of a command of the engine's own, and not before."""
        self._outbox = Outbox(keeps_journal=config.journal.enabled)
        self._wake = asyncio.Event()
        # Set from the first note that no batch has taken yet until they are due by themselves.
        self._notes_timer: asyncio.TimerHandle | None = None
        self._notes_are_due = False
        self._closing = False
        self._keys = KeySource()
        self._commit_thread = ThreadPoolExecutor(1, thread_name_prefix="vuka-commit")
        self._tasks: list[asyncio.Task[None]] = []
        self._purged_ms = 0
        # Participants whose queue was full: what they are owed stays in the outbox from this key on.
        self._behind: dict[str, int] = {}
        self._reloaded: dict[str, int] = {}
        # What has ended, but not yet in the tables: a reload must not take it for owed.
        self._ended: set[int] = set()
        # A batch was in doubt: what is owed has rows that nobody has read.
        self._must_take_up = False
        self._failures = 0
        self._has_failed = False
        self._lost = False
        # None: the only process on its database. Else what it keeps as one of several.
        self._membership = None if identity is None else Membership(identity)
        self._adopted: dict[tuple[int, str], int] = {}
        self._gives_up = threading.Event()
        self.fenced = asyncio.Event()
        """Set when others go on without this one: it must end, and may start anew."""
        self.fenced_because = ""
        """Why, as a sentence."""
        # A ledger elsewhere may have done what is not on record: by an earlier process, or for a batch that failed.
        self._cluster = cluster
        self._behind_ledger = cluster is not None
        self._ledger_to_read: LedgerFactory = ledger if cluster is None else cluster.for_looking
        # The mark under which it recovers, and its term from then on; kept until that has succeeded.
        self._recovery: tuple[int, int] | None = None
        self._ask_thread = ThreadPoolExecutor(1, thread_name_prefix="vuka-ledger")
        self._client = client or HttpClient(
            connect_timeout_ms=config.courier.connect_timeout_ms,
            timeout_ms=config.courier.timeout_ms,
            tls=outgoing_context(config.outbound, config.courier.ca_file, "courier.ca_file"),
            guard=destinations or Destinations(config),
        )
        self.courier = Courier(
            self._client,
            resolve=self._resolve,
            report=self._reported,
            settings=CourierSettings(
                queue_max=config.courier.queue_max,
                in_flight_max=config.courier.in_flight_max,
                retry_first_ms=config.courier.retry_first_ms,
                retry_max_ms=config.courier.retry_max_ms,
                probe_max_ms=config.courier.probe_max_ms,
            ),
            clock=clock_ms,
            jitter=jitter,
            on_drained=self._reload,
            may_send=self._may_deliver,
        )
        self.notifier = Notifier(
            channels,
            config.notifications,
            self,
            clock_ms=clock_ms,
            attempted=self._observer.notified,
            is_alone=identity is None,
        )
        self._alarms = AlarmWatch(
            AlarmRules.of(config.notifications),
            self,
            every_ms=config.notifications.alarm_check_ms,
            clock_ms=clock_ms,
            told=self._observer.alarmed,
        )
        with database.read() as tx:
            self._directory = self._read_cache.load(tx)

    # --- life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Takes up what an earlier process left: keys go on above its last, what is owed is sent.

        As one of several it takes a seat among them first. Raises `OperatorError` where there is none.
        """
        number = self._join()
        self._outbox = Outbox(node=number or 0, keeps_journal=self.config.journal.enabled)
        self._settle()
        with self.database.read() as tx:
            highest = max(
                tx.query(f"SELECT COALESCE(MAX({column}), 0) FROM {table}")[0][0]
                for table, column in (
                    ("journal_block", "block_id"),
                    ("transfer", "transfer_seq"),
                    ("quote", "quote_seq"),
                    ("fx_quote", "fx_quote_seq"),
                    ("notification", "notification_id"),
                )
            )
            # Headroom moves have no record but the ledger's own.
            ((ledger_ns,),) = tx.query("SELECT COALESCE(MAX(timestamp), 0) FROM ledger_transfer")
        self._keys = KeySource(node=number or 0, above=max(highest, key_floor(ledger_ns // 1_000_000)))
        self._take_up_owed()
        self._tasks = [
            asyncio.create_task(self._write(), name="vuka-engine"),
            asyncio.create_task(self._tick(), name="vuka-timers"),
            asyncio.create_task(self._keep_schedules(), name="vuka-schedules"),
        ]
        if self._membership is not None:
            self._tasks.append(asyncio.create_task(self._live(self._membership), name="vuka-node"))
            self._tasks.append(asyncio.create_task(self._follow(), name="vuka-directory"))
        if self.database.is_remote:
            self._tasks.append(asyncio.create_task(self._free_writer(), name="vuka-silent-writers"))
        self._tasks[0].add_done_callback(self._writer_ended)
        self._wake.set()

    def _settle(self) -> None:
        """What an earlier process owed by its blocks alone gets rows; where the disk is full, with the first batch.

        The only process stands in for all that there were: nobody else takes over from them.
        """
        with self.database.read() as tx:
            nodes_before = journal.nodes(tx) if self._membership is None else [self._outbox.node]
            standings = [(node, *journal.settled_up_to(tx, node)) for node in nodes_before]
        unsettled = [node for node, last, settled in standings if last > settled]
        if not unsettled:
            return
        try:
            with self.database.begin() as tx:
                for node in unsettled:
                    outbox.settle(tx, node, now_ms=self._clock_ms())
        except Exception as error:
            log.warning("what is still owed can't be noted now and is taken up later", reason=str(error))
            self._outbox.is_in_doubt, self._outbox.left_behind = True, unsettled

    def _take_up_owed(self) -> None:
        """Has everything that is owed under its number and has a row delivered, after what is queued already."""
        with self.database.read() as tx:
            owed = outbox.participants_owed(tx, node=self._number)
        for participant in owed:
            self._behind[participant] = 0
            self._reload(participant)

    def _writer_ended(self, writer: asyncio.Task[None]) -> None:
        """It ends when the hub stops. Where it fails, by a defect of ours, nobody waits in vain, and health says so."""
        error = None if writer.cancelled() else writer.exception()
        if error is None:
            return
        log.critical("the engine has failed: restart the hub", exc_info=error)
        self._has_failed = True
        if isinstance(error, FencedError):
            self.fenced_because = str(error)
            self.fenced.set()
        waiting = self._queue.take(len(self._queue))
        self._fail(waiting, error)

    async def stop(self) -> None:
        """Refuses what is new, ends what was accepted, waits for messages under way, and stops."""
        await self.notifier.close()
        self._closing = True
        for task in self._tasks[1:]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.courier.drain(self.config.engine.drain_seconds * 1000)
        await self._sign_at_the_end()
        self._gives_up.set()
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1])
        self._leave()
        await self.courier.close()
        await self._client.close()
        self._commit_thread.shutdown()
        self._ask_thread.shutdown()

    # --- what the APIs ask ------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The hub's clock: milliseconds since 1970, UTC."""
        return self._clock_ms()

    def new_message_id(self) -> int:
        """The key of a message that has just come in."""
        return self._keys.next(self._clock_ms())

    @property
    def directory(self) -> Directory:
        """The directory as of the last commit."""
        return self._directory

    async def submit(self, command: Command) -> object:
        """Runs a command; returns its value once it is durable.

        Raises its `FspiopError` or `OperatorError`, and `FspiopError` 2005 (HTTP 503) before accepting it where the
        hub has more waiting than it can clear.
        """
        actor = ACTING.get()
        if actor is not None:
            command = msgspec.structs.replace(command, actor=actor)
        outcome = await self._enqueue(command)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def has_room(self, *, is_question: bool) -> bool:
        """Whether one more command may wait. What is refused for want of it is counted, and told `busy`.

        What is no question has room of its own: an answer to what was accepted ends what is open, and frees what that
        holds, and an operator must be able to act on a hub that is asked too much.
        """
        if self._queue.count(is_question=is_question) < self.config.engine.queue_max:
            return True
        self.statistics.refused_busy += 1
        return False

    async def run_own(self, command: Command) -> Outcome:
        """Runs a command of the engine's own timers; its outcome once it is durable, or with why it could not be."""
        return await self._enqueue(command, internal=True)

    def _enqueue(self, command: Command, *, internal: bool = False) -> asyncio.Future[Outcome]:
        if self._has_failed:
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub cannot write its records")
        if self._is_away and not internal:
            raise FspiopError(
                ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE,
                "the hub cannot write its records",
                headers=(("Retry-After", "1"),),
            )
        if self._closing and not internal:
            raise FspiopError(
                ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub is shutting down", headers=(("Retry-After", "5"),)
            )
        if not self.reaches_ledger and not internal:
            raise LedgerUnavailableError
        if not internal and not self.has_room(is_question=is_question(command)):
            raise busy()
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.add(Submission(command, done))
        self._wake.set()
        return done

    def route(self, inbound: Inbound, notices: Sequence[Notice], outcome: str = "routed") -> None:
        """Passes messages on at once, without a record to wait for; the journal has them with the next batch.

        Raises `FspiopError` 2005 where no recipient's queue has room: what the hub owes goes first.
        """
        if self._closing:
            raise FspiopError(
                ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub is shutting down", headers=(("Retry-After", "5"),)
            )
        now_ms = self._clock_ms()
        made = [
            make_outgoing(
                notice,
                self._wire.compose(in_declared_version(notice, self._directory), now_ms),
                message_id=self._keys.next(now_ms),
                now_ms=now_ms,
                durable=False,
                keeps_journal=self._rules.journal,
            )
            for notice in notices
            if notice.to not in self._behind and len(self._routed) < ROUTED_MAX
        ]
        sent = tuple(each for each in made if self.courier.post(each.delivery))
        if notices and not sent:
            self.statistics.refused_busy += 1
            raise FspiopError(
                ErrorCode.SERVER_BUSY,
                f"{', '.join(dict.fromkeys(notice.to for notice in notices))} has too many messages waiting",
                status=503,
                headers=(("Retry-After", "1"),),
            )
        self._observer.routed(sent)
        if self._rules.journal:
            self._routed.append(Routed(inbound, outcome, sent))
            self._note()

    def record(self, inbound: Inbound, outcome: str) -> None:
        """Journals a message that the hub refused in its answer."""
        if self._rules.journal and not self._closing and len(self._routed) < ROUTED_MAX:
            kept = msgspec.structs.replace(inbound, body=inbound.body[:REFUSED_BODY_BYTES_MAX])
            self._routed.append(Routed(kept, outcome, ()))
            self._note()

    def read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        """What ``function`` finds in one consistent snapshot of everything committed."""
        if self._is_away:
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub cannot read its records")
        try:
            with self.database.read() as tx:
                directory = self._read_cache.load(tx)
                self._took_effect(directory)
                return function(tx, self._ledger_to_read(tx, self._clock_ms() * 1_000_000), directory)
        except UnavailableError as error:
            # Whoever asks next need not wait to be refused; a timer finds out when it is there again.
            self._lost = True
            raise FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub cannot read its records") from error

    async def resend(self, message_id: int) -> None:
        """Has a parked message sent again, before others and with a new deadline.

        Raises `OperatorError` where none is parked.
        """
        lasts_ms = self.config.scheme.result_deadline_seconds * 1000
        shared = self._membership is not None
        await self.submit(Unpark(message_id=message_id, lasts_ms=lasts_ms, is_shared=shared))
        if self._membership is not None and node_of(message_id) != self._membership.seat.number:
            # Whoever holds its number sends it: that it was asked again is in the tables.
            return
        with self.database.read() as tx:
            delivery = outbox.load_one(tx, message_id)
        if delivery is not None and not self.courier.post(delivery, is_first=True):
            before = delivery.id - 1
            self._behind[delivery.to] = min(self._behind.get(delivery.to, before), before)

    @property
    def running(self) -> bool:
        """Whether the engine takes commands."""
        return bool(self._tasks) and not self._tasks[0].done() and not self._closing

    @property
    def writes(self) -> bool:
        """Whether the last batch could be committed: not where the disk is full or fails."""
        return self._failures == 0 and not self._lost

    @property
    def reaches_ledger(self) -> bool:
        """Whether the ledger answers, where it is a cluster."""
        return self._cluster is None or self._cluster.is_reachable

    @property
    def follows_ledger(self) -> bool:
        """Whether the ledger answers, and all that was begun in it is on record."""
        return self.reaches_ledger and not self._behind_ledger

    @property
    def queued(self) -> int:
        """Commands that wait for a batch."""
        return len(self._queue)

    # --- the one that writes ----------------------------------------------------------------------------------

    async def _write(self) -> None:
        """The loop: one batch after another until the hub stops and nothing is left."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._behind_ledger:
                await self._catch_up_with_ledger()
            while self._queue or self._has_due_notes() or self._has_late():
                await self._write_batch()
            if self._closing:
                return

    def _note(self) -> None:
        """Something is to be written for which nobody waits: with the next batch, or by itself when none comes."""
        if self._notes_timer is None:
            loop = asyncio.get_running_loop()
            self._notes_timer = loop.call_later(NOTES_WAIT_MS / 1000, self._let_notes_be_written)

    def _let_notes_be_written(self) -> None:
        self._notes_timer = None
        self._notes_are_due = True
        self._wake.set()

    def _has_due_notes(self) -> bool:
        return (self._notes_are_due or self._closing) and bool(self._routed or self._marks)

    def _take_notes(self) -> tuple[list[Routed], list[Mark]]:
        if self._notes_timer is not None:
            self._notes_timer.cancel()
            self._notes_timer = None
        self._notes_are_due = False
        routed, self._routed = self._routed, []
        marks, self._marks = self._marks, []
        return routed, marks

    def _take_marks_with(self, taken: Sequence[Submission]) -> dict[Command, list[Mark]]:
        if not self._marks_with:
            return {}
        with_each = self._marks_with
        return {each.command: with_each.pop(each.command) for each in taken if each.command in with_each}

    def _put_notes_back(
        self, routed: Sequence[Routed], marks: Sequence[Mark], marks_with: Mapping[Command, list[Mark]]
    ) -> None:
        """For the next batch, or that of their command: what they were taken for was not committed."""
        self._routed = [*routed, *self._routed]
        self._marks = [*marks, *self._marks]
        self._marks_with.update(marks_with)
        if self._routed or self._marks:
            self._note()

    def _has_late(self) -> bool:
        """Whether what is owed needs rows; where the hub stops the next start gives it these."""
        return not self._closing and self._outbox.has_late(self._clock_ms())

    async def _write_batch(self) -> None:
        taken = self._queue.take(self.config.engine.batch_max)
        if self._behind_ledger:
            taken = await self._without_ledger(taken)
            if not (taken or self._routed or self._marks):
                return
        routed, loose = self._take_notes()
        marks_with = self._take_marks_with(taken)
        marks = [*loose, *chain.from_iterable(marks_with.values())]
        now_ms = self._clock_ms()
        loop = asyncio.get_running_loop()
        started = loop.time()
        tx: WriteTx | None = None
        commands = [each.command for each in taken]
        try:
            if self._runs_in_thread:
                batch, decide_seconds = await self._in_thread(self._run_whole, commands, now_ms, routed, marks)
                decided = started + decide_seconds
            else:
                tx = self.database.start()
                batch = self._run(tx, commands, now_ms, routed, marks)
                decided = loop.time()
                await self._commit(tx)
        except intents.UnfinishedError:
            # Another process has left something: it comes first, and then this batch, of which nothing has begun.
            self._behind_ledger = True
            self._queue.put_back(taken)
            self._put_notes_back(routed, loose, marks_with)
            return
        except Exception as error:
            # Nothing of this batch is durable: nobody is told that it was accepted, and nothing of it is sent.
            if tx is not None and not tx.closed:
                tx.rollback()
            self._failures += 1
            self._lost = self._lost or isinstance(error, (UnavailableError, CommitUnknownError))
            self._behind_ledger = self._cluster is not None
            self._observer.not_committed(len(taken), error, now_ms)
            if isinstance(error, FencedError):
                self._fail(taken, error)
                raise
            if self._failures <= JOURNAL_RETRIES_MAX:
                # What may be in the journal after all is not written there again.
                self._put_notes_back(() if isinstance(error, CommitUnknownError) else routed, loose, marks_with)
            if isinstance(error, CommitUnknownError):
                self._outbox.is_in_doubt = True
                if self._membership is not None:
                    self._membership.forget_reloads()
            # What nobody else asks again for: whose request did not arrive is told when the disk works again.
            kept = [each for each in taken if isinstance(each.command, _OWN_REPORTS)]
            self._queue.put_back(kept)
            self._fail([each for each in taken if each not in kept], error)
            await asyncio.sleep(0.05)
            return
        was_away, self._failures, self._lost = self._failures > 0, 0, False
        self._ended.difference_update(mark.delivery.id for mark in marks)
        was_in_doubt = self._outbox.is_in_doubt
        if batch.written is not None:
            self._outbox.committed(batch.written)
        if batch.checkpoint is not None:
            tell(batch.checkpoint, Path(self.config.data_dir))
        told = Committed(len(taken), batch.outgoing, batch.ended, decided - started, loop.time() - decided)
        self.statistics.add(told)
        self._committed(taken, batch)
        self._must_take_up = self._must_take_up or was_in_doubt
        if was_away:
            self.courier.resume()
        try:
            self._observer.committed(told)
        except Exception:  # what only looks on must not stop the one that writes
            log.exception("an observer failed")

    def _run(
        self, tx: WriteTx, commands: Sequence[Command], now_ms: int, routed: Sequence[Routed], marks: Sequence[Mark]
    ) -> Batch:
        return run_batch(
            tx,
            self._rules,
            commands,
            now_ms=now_ms,
            next_id=lambda: self._keys.next(now_ms),
            outbox=self._outbox,
            routed=routed,
            marks=marks,
            behind=self._behind,
        )

    @property
    def _runs_in_thread(self) -> bool:
        """Whether a batch waits for more than the disk: for a server, a ledger elsewhere, or other processes."""
        return self.database.is_remote or self._membership is not None or self._cluster is not None

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In the thread that writes, while the loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._commit_thread, partial(function, *args, **kwargs))

    def _run_whole(
        self, commands: Sequence[Command], now_ms: int, routed: Sequence[Routed], marks: Sequence[Mark]
    ) -> tuple[Batch, float]:
        """In the thread that writes: a batch from its beginning to its commit, and how long it took to decide it."""
        started = time.monotonic()

        def decide(tx: WriteTx) -> tuple[Batch, float]:
            return self._run(tx, commands, now_ms, routed, marks), time.monotonic() - started

        if self._cluster is not None and any(map(_asks_ledger, commands)):
            return self._run_with_intents(decide, commands, now_ms)
        return self._whole(decide, now_ms)

    def _whole(self, function: Callable[[WriteTx], T], now_ms: int) -> T:
        """A transaction from its beginning, which is signed where there are several processes, to its commit."""
        began_ms = boot_ms()
        key = self._keys.next(now_ms)
        tx = self.database.start()
        try:
            if self._membership is not None:
                self._membership.sign(tx, key)
            value = function(tx)
            tx.commit()
        except CommitUnknownError:
            if not self._was_committed(key):
                raise
        except BaseException:
            if not tx.closed:
                tx.rollback()
            raise
        if self._membership is not None:
            self._membership.signed(began_ms)
        return value

    def _was_committed(self, key: int) -> bool:
        """Whether a batch whose commit was not answered was made. Asks until the database can be asked.

        Meanwhile whoever comes is refused. Raises `CommitUnknownError` where it stays away too long.
        """
        log.warning("the connection was lost while a batch was being committed: finding out what became of it")
        if self._membership is None:
            raise CommitUnknownError("only one of several hub processes leaves a mark to find out by")
        self._lost = True
        deadline = time.monotonic() + IN_DOUBT_SECONDS_MAX
        while True:
            try:
                committed = self._membership.committed(self.database, key)
            except Exception as error:
                if time.monotonic() > deadline or self._gives_up.is_set():
                    raise CommitUnknownError("the database stays away") from error
                self._gives_up.wait(IN_DOUBT_PAUSE_SECONDS)
                continue
            log.warning("what became of it is known", committed=committed)
            if not committed:
                raise NotCommittedError("the connection was lost before the commit")
            return True

    # --- a ledger elsewhere, which does not wait for the commit (see `vuka.ledger.tigerbeetle`) ---------------------

    def _run_with_intents(self, decide: Callable[[WriteTx], T], commands: Sequence[Command], now_ms: int) -> T:
        """A batch whose ledger is asked before its commit: what it begins is written down, and nobody comes between.

        Raises `intents.UnfinishedError`, and has begun nothing, where somebody has left what must be carried out first.
        """
        with self.database.hold():
            begun: list[int] = []
            if intents.is_begun_in_ledger(commands):
                begun = self._whole(partial(self._write_intents, commands, now_ms), now_ms)

            def run(tx: WriteTx) -> T:
                there = intents.written(tx)
                if there != begun and not begun:
                    raise intents.UnfinishedError
                if there != begun:
                    # The connection was lost in between, and with it the turn.
                    raise TermEndedError
                value = decide(tx)
                intents.strike_out(tx, begun)
                return value

            return self._whole(run, now_ms)

    def _write_intents(self, commands: Sequence[Command], now_ms: int, tx: WriteTx) -> list[int]:
        if intents.written(tx):
            raise intents.UnfinishedError
        return intents.write(
            tx, commands, term=self._rules.term, now_ms=now_ms, next_id=partial(self._keys.next, now_ms)
        )

    async def _without_ledger(self, taken: list[Submission]) -> list[Submission]:
        """Catches up with the ledger; where it can't, whoever needs the ledger is refused, and the others are left.

        Raises `FencedError`.
        """
        asking = [each for each in taken if _asks_ledger(each.command)]
        try:
            if not asking or await self._catch_up_with_ledger():
                return taken
        except FencedError as error:
            self._fail(taken, error)
            raise
        self._fail(asking, LedgerUnavailableError())
        return [each for each in taken if not _asks_ledger(each.command)]

    async def _catch_up_with_ledger(self) -> bool:
        """Carries out again what was begun and is not on record, and puts the headroom right; whether it could.

        Raises `FencedError`.
        """
        if not self.reaches_ledger:
            return False
        try:
            rules, batches = await self._in_thread(self._recover_whole, self._clock_ms())
        except FencedError:
            raise
        except Exception as error:
            if isinstance(error, TermEndedError):
                self._recovery = None
            if isinstance(error, CommitUnknownError):
                self._outbox.is_in_doubt = True
                if self._membership is not None:
                    self._membership.forget_reloads()
            if not isinstance(error, (LedgerUnavailableError, UnavailableError)):
                log.exception("what was begun in the ledger could not be brought to its end; it will be tried again")
            return False
        self._behind_ledger, self._recovery, self._rules = False, None, rules
        for batch in batches:
            if batch.written is not None:
                self._outbox.committed(batch.written)
            if batch.checkpoint is not None:
                tell(batch.checkpoint, Path(self.config.data_dir))
            self._took_effect(batch.directory)
            self._hand_over([each.delivery for each in batch.outgoing])
        return True

    def _recover_whole(self, now_ms: int) -> tuple[Rules, list[Batch]]:
        """Begins a new term, with nobody in between, and ends what every earlier one has left."""
        if self._recovery is None:
            self._recovery = self._keys.next(now_ms), secrets.randbelow(TERM_MAX) + 1
        number, term = self._recovery
        rules = msgspec.structs.replace(self._rules, term=term)
        with self.database.hold():
            # Whoever recovers may die of it, too.
            self._whole(lambda tx: intents.mark(tx, number, term=term, now_ms=now_ms), now_ms)
            return rules, self._whole(lambda tx: self._recover(tx, rules, number), now_ms)

    def _recover(self, tx: WriteTx, rules: Rules, number: int) -> list[Batch]:
        if number not in intents.written(tx):
            # The connection was lost in between, and another process has recovered meanwhile.
            raise TermEndedError
        last = rules.ledger(tx, 0).query_transfers(QueryFilter(limit=1, flags=QueryFilterFlags.reversed))
        if last:
            # Headroom moves have no record but the ledger's own.
            self._keys.rise_above(key_floor(last[0].timestamp // 1_000_000))
        now_ms = self._clock_ms()
        next_id = partial(self._keys.next, now_ms)
        return intents.recover(tx, rules, now_ms=now_ms, next_id=next_id, outbox=self._outbox)

    async def _commit(self, tx: WriteTx) -> None:
        if self.database.commits_at_once:
            tx.commit()
            return
        await asyncio.get_running_loop().run_in_executor(self._commit_thread, tx.commit)

    def _committed(self, taken: Sequence[Submission], batch: Batch) -> None:
        self._took_effect(batch.directory)
        for submission, outcome in zip(taken, batch.outcomes, strict=True):
            if not submission.done.done():
                submission.done.set_result(outcome)
        self._hand_over([each.delivery for each in batch.outgoing])

    def _fail(self, taken: Sequence[Submission], error: BaseException) -> None:
        for submission in taken:
            if not submission.done.done():
                failure = FspiopError(ErrorCode.SERVICE_CURRENTLY_UNAVAILABLE, "the hub cannot write its records")
                failure.__cause__ = error
                submission.done.set_result(Outcome(error=failure))

    def _took_effect(self, directory: Directory) -> None:
        """What was committed holds from now on. A read that began earlier may be told later: the newer one stays."""
        if directory.version >= self._directory.version:
            self._directory = directory

    # --- deliveries -------------------------------------------------------------------------------------------

    def _hand_over(self, deliveries: Sequence[Delivery]) -> None:
        """Gives durable messages to the courier; where a queue is full they wait in the outbox."""
        for delivery in deliveries:
            is_behind = delivery.to in self._behind
            if delivery.has_row and (is_behind or delivery.id <= self._reloaded.get(delivery.to, 0)):
                continue
            try:
                is_queued = not is_behind and self.courier.post(delivery)
            except Exception:  # it is durable: the timer finds it in the outbox
                log.exception("a message could not be handed to the courier", participant=delivery.to)
                is_queued = False
            if not is_queued:
                self._behind[delivery.to] = min(self._behind.get(delivery.to, delivery.id - 1), delivery.id - 1)
                if not delivery.has_row:
                    self._outbox.strand(delivery)

    def _catch_up(self) -> None:
        """Reads for whoever is behind and has room: whatever was missed, a failed read above all, is made good here."""
        if self._must_take_up:
            self._take_up_owed()
            self._must_take_up = False
        for participant in list(self._behind):
            if self.courier.has_room(participant):
                self._reload(participant)
        for number, participant in list(self._adopted):
            if self.courier.has_room(participant):
                self._adopt(number, participant)

    def _reload(self, participant: str) -> None:
        """The participant's queue has room: takes what it is owed from the outbox, oldest first."""
        after = self._behind.get(participant)
        if after is None or self._closing or self._outbox.has_stranded(participant):
            return
        while True:
            with self.database.read() as tx:
                owed = outbox.load_owed(tx, participant, after=after, limit=RELOAD_MAX, node=self._number)
            for delivery in owed:
                if delivery.id not in self._ended and not self.courier.post(delivery):
                    self._behind[participant] = after
                    return
                after = delivery.id
                self._reloaded[participant] = after
            if len(owed) < RELOAD_MAX:
                break
        del self._behind[participant]

    def _resolve(self, delivery: Delivery) -> str:
        participant = self._directory.get(delivery.to)
        target = delivery.target
        if participant is None or not isinstance(target, Sent):
            raise LookupError(f"{delivery.to} is not a participant")
        return self._wire.url(participant.endpoints, target)

    def _reported(self, report: DeliveryReport) -> None:
        """Notes what became of a delivery; a request that could not be delivered is told to its sender."""
        state = _DELIVERY_STATES[report.outcome]
        target = report.delivery.target
        refuses_end = state is DeliveryState.PARKED and report.status is not None and _is_end_passed_on(target)
        if refuses_end and not self.running:
            # Whoever can't read it is to be told by the hub, which begins nothing more: it stays owed, and the next
            # process finds it refused.
            self._observer.attempted(report)
            return
        mark = Mark(report.delivery, state, report.attempts, report.status, report.error, report.at_ms)
        if refuses_end and isinstance(target, Sent):
            transfer_id = TransferId(parse_id(target.resource_id))
            command = transfers.TellResult(transfer_id=transfer_id, to=FspId(report.to))
            # In one commit with what is told then: a crash between the two would leave nobody to tell it.
            self._marks_with.setdefault(command, []).append(mark)
            self._ended.add(report.delivery.id)
            self._enqueue(command, internal=True)
        elif state is not DeliveryState.PENDING or report.delivery.durable:
            self._marks.append(mark)
            if state is not DeliveryState.PENDING:
                self._ended.add(report.delivery.id)
            self._note()
        self._observer.attempted(report)
        if state is not DeliveryState.PARKED or not isinstance(target, Sent):
            return
        if target.resource in undelivered.RESOURCES and target.method in undelivered.METHODS and self.running:
            self._enqueue(
                undelivered.ReportUndelivered(
                    resource=target.resource,
                    ids=_ids_of(target),
                    source=FspId(target.source),
                    to=FspId(report.to),
                    reason=report.error or "",
                    version=self._wire.answer_version(target.resource, report.delivery.headers),
                    trace=traces_of(report.delivery.headers),
                ),
                internal=True,
            )

    # --- as one of several hub processes ----------------------------------------------------------------------

    @property
    def _number(self) -> int | None:
        """Under which number it owes what it owes; None where it is the only process."""
        return None if self._membership is None else self._membership.seat.number

    @property
    def _is_away(self) -> bool:
        """Whether a database server could not be reached a moment ago: who asks now need not wait to be refused."""
        return self._lost

    def _may_deliver(self) -> bool:
        return self._membership is None or self._membership.may_deliver()

    def _join(self) -> int | None:
        if self._membership is None:
            return None
        began_ms = boot_ms()
        with self.database.begin() as tx:
            self._membership.join(tx, self._clock_ms())
        self._membership.signed(began_ms)
        return self._membership.seat.number

    def _leave(self) -> None:
        """Ends as one of several: what it still owes is for the others."""
        if self._membership is None or self._has_failed or not self._tasks:
            return
        try:
            self._membership.leave(self.database, now_ms=self._clock_ms())
        except Exception:  # they notice by themselves, a little later
            log.exception("the other hub processes could not be told that this one ends")

    async def _live(self, membership: Membership) -> None:
        """Says that it lives, stands in for those that do not, and hears of what others have changed."""
        while not self._has_failed:
            try:
                await self._beat(membership)
            except Exception as error:
                # Once a second, and the timers tell more of it.
                log.warning("a look at the other hub processes failed and will be repeated", reason=str(error))
            await asyncio.sleep(BEAT_MS / 1000)

    async def _free_writer(self) -> None:
        """A process that stands still may have been writing: the others wait for it, but not for ever."""
        loop = asyncio.get_running_loop()
        while not self._has_failed:
            await asyncio.sleep(SILENT_WRITERS_MS / 1000)
            # What can't be asked now the timers report.
            with contextlib.suppress(Exception):
                ended = await loop.run_in_executor(self._ask_thread, self.database.end_silent_writers)
                if ended:
                    log.warning("ended the transaction of another process that has said nothing for long")

    async def _follow(self) -> None:
        """Another process may have changed the directory: what is answered without a batch knows it soon after."""
        while not self._has_failed:
            await asyncio.sleep(FOLLOW_MS / 1000)
            # What can't be read now the timers report.
            with contextlib.suppress(Exception):
                self.read(lambda _tx, _ledger, _directory: None)

    async def _beat(self, membership: Membership) -> None:
        if not membership.has_signed or self._outbox.is_in_doubt:
            await self._enqueue(Beat(), internal=True)
        if not self.writes:
            return
        self.courier.resume()
        there = self.read(lambda tx, _ledger, _directory: nodes(tx))
        for dead in membership.look(there):
            outcome = await self._enqueue(TakeOver(dead=dead, by=membership.seat), internal=True)
            if outcome.value:
                # It may have left something in a ledger elsewhere: that does not wait for the next payment.
                self._behind_ledger = self._cluster is not None
                self._wake.set()
                log.warning("took over from another hub process", node=dead.number, stopped=bool(dead.is_stopped))
        there = self.read(lambda tx, _ledger, _directory: nodes(tx))
        try:
            for number in membership.to_reload(there):
                with self.database.read() as tx:
                    owed = outbox.participants_owed(tx, node=number)
                self._adopted.update({(number, participant): 0 for participant in owed})
        except Exception:
            membership.forget_reloads()
            raise
        if not self._adopted and membership.may_tidy(there):
            await self._enqueue(TidyNodes(by=membership.seat), internal=True)
        self._catch_up()

    def _adopt(self, number: int, participant: str) -> None:
        """Takes what is owed under a number that it holds from the outbox; what is queued already stays as it is."""
        after = self._adopted[number, participant]
        while True:
            with self.database.read() as tx:
                owed = outbox.load_owed(tx, participant, after=after, limit=RELOAD_MAX, node=number)
            for delivery in owed:
                if delivery.id not in self._ended and not self.courier.post(delivery):
                    self._adopted[number, participant] = after
                    return
                after = delivery.id
            if len(owed) < RELOAD_MAX:
                break
        del self._adopted[number, participant]

    # --- time -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """The timers: expiry at every tick, the journal's retention now and then."""
        while not self._has_failed:
            await asyncio.sleep(self.config.engine.timer_ms / 1000)
            try:
                await self._check_disk()
                await self._check_ledger()
                if self._is_away:
                    continue
                self._catch_up()
                if self._has_late():
                    self._wake.set()
                await self._expire()
                await self._settle_gross()
                await self._purge()
                await self._sign_audit_log()
                if self.reaches_ledger:
                    await self._alarms.tick()
                await self.notifier.tick()
            except Exception:
                log.exception("a timer failed and will run again")

    async def _check_disk(self) -> None:
        """After a commit that failed: writes something, so that a hub that nobody uses sees that it works again."""
        if self._failures or self._lost:
            await self._enqueue(CheckDisk(), internal=True)

    async def _check_ledger(self) -> None:
        """Asks a ledger elsewhere whether it is there, so that a hub that nobody uses sees it go and come back."""
        if self._cluster is None:
            return
        if self._behind_ledger:
            self._wake.set()
        if self._cluster.is_reachable:
            await asyncio.get_running_loop().run_in_executor(self._ask_thread, self._cluster.ping)

    async def _expire(self) -> None:
        while self.read(_anything_expired(self._clock_ms())):
            outcome = await self._enqueue(transfers.ExpireTransfers(), internal=True)
            if outcome.value != transfers.EXPIRE_MAX:
                return

    async def _settle_gross(self) -> None:
        """Payments whose payer had no liquidity left when they were committed: it may have some now."""
        while self.read(lambda tx, _ledger, _directory: gross_settlement.anything_to_retry(tx)):
            outcome = await self._enqueue(gross_settlement.SettleGross(actor=TIMER), internal=True)
            if not outcome.value:
                return

    async def _keep_schedules(self) -> None:
        """Closes settlement windows when they are due; at the start what fell due meanwhile, and plans all anew."""
        replans_all = True
        while True:
            try:
                if await self._run_schedules(replans_all=replans_all):
                    replans_all = False
            except Exception:
                log.exception("the schedules failed and will run again")
            await asyncio.sleep(min(self.config.engine.timer_ms, SCHEDULES_MS_MAX) / 1000)

    async def _run_schedules(self, *, replans_all: bool) -> bool:
        """Whether all is done: not where it could not be committed, of which the log knows."""
        if not self.read(_anything_scheduled(self._clock_ms(), replans_all=replans_all)):
            return True
        outcome = await self._enqueue(schedules.RunSchedules(replans_all=replans_all, actor=TIMER), internal=True)
        if not isinstance(outcome.value, tuple):
            return False
        for each in outcome.value:
            log.info("a schedule ran", schedule=each.name, due_ms=each.due_ms, outcome=each.outcome)
        return True

    async def _purge(self) -> None:
        now_ms = self._clock_ms()
        if 0 <= now_ms - self._purged_ms < PURGE_EVERY_MS:
            return
        self._purged_ms = now_ms
        before = key_floor(now_ms - self.config.journal.retention_days * DAY_MS)
        while self.read(lambda tx, _ledger, _directory: journal.anything_before(tx, before)):
            outcome = await self._enqueue(PurgeJournal(before=before), internal=True)
            if not outcome.value:
                return

    async def _sign_audit_log(self) -> None:
        """At the start, and then as often as configured: of several processes whichever comes first."""
        now_ms = self._clock_ms()
        every_ms = self.config.auditlog.checkpoint_minutes * MINUTE_MS
        if self._auditlog.sign is None or 0 <= now_ms - self._looked_for_checkpoint_ms < every_ms:
            return
        is_first, self._looked_for_checkpoint_ms = not self._looked_for_checkpoint_ms, now_ms
        if self.read(_anything_unsigned(now_ms if is_first else now_ms - every_ms // 2, after_ms=now_ms + every_ms)):
            await self._enqueue(SignAuditLog(), internal=True)

    async def _sign_at_the_end(self) -> None:
        """Before it stops. Where nothing can be written the next start signs."""
        if self._auditlog.sign is None or not self.writes or not self._tasks or self._tasks[0].done():
            return
        with contextlib.suppress(Exception):
            if self.read(_anything_unsigned(now_ms := self._clock_ms(), after_ms=now_ms)):
                await self._enqueue(SignAuditLog(), internal=True)


_DELIVERY_STATES: Final = {
    DeliveryOutcome.DELIVERED: DeliveryState.DELIVERED,
    DeliveryOutcome.RETRYING: DeliveryState.PENDING,
    DeliveryOutcome.PARKED: DeliveryState.PARKED,
}


def _is_end_passed_on(target: object) -> bool:
    """Whether a message is the end of a transfer as one of its parties wrote it."""
    return (
        isinstance(target, Sent) and (target.resource, target.method) == ("transfers", "PUT") and target.source != HUB
    )


def _ids_of(target: Sent) -> tuple[str, ...]:
    """What follows the resource: a path says it, each segment escaped; where it does not, the body's id."""
    segments = tuple(unquote(segment) for segment in target.path.split("/")[2:])
    return segments or (target.resource_id,)


def _anything_expired(now_ms: int) -> Callable[[Tx, Ledger, Directory], bool]:
    def query(tx: Tx, _ledger: Ledger, _directory: Directory) -> bool:
        return bool(tx.query("SELECT 1 FROM transfer WHERE state = 'RESERVED' AND expires_ms <= ? LIMIT 1", (now_ms,)))

    return query


def _anything_scheduled(now_ms: int, *, replans_all: bool) -> Callable[[Tx, Ledger, Directory], bool]:
    def query(tx: Tx, _ledger: Ledger, _directory: Directory) -> bool:
        return schedules.anything_planned(tx) if replans_all else schedules.anything_to_do(tx, now_ms)

    return query


def _anything_unsigned(before_ms: int, *, after_ms: int) -> Callable[[Tx, Ledger, Directory], bool]:
    """Whether the audit log has entries behind its last checkpoint, and that one is older than ``before_ms``.

    Or was made by a clock that was ahead and has been put right: then it is younger than ``after_ms``.
    """

    def query(tx: Tx, _ledger: Ledger, _directory: Directory) -> bool:
        signed = auditlog.last_checkpoint(tx)
        if signed is None:
            return auditlog.head(tx).seq > 0
        seq, checkpoint = signed
        return auditlog.head(tx).seq > seq and not before_ms < checkpoint.at_ms <= after_ms

    return query


def _asks_ledger(command: Command) -> bool:
    """Whether a command may ask the ledger anything: what the engine does about its own tables goes on without one."""
    return not isinstance(command, _WITHOUT_LEDGER)


class Unpark(Command, frozen=True, kw_only=True):
    """An operator has a parked message sent again."""

    message_id: int
    lasts_ms: int
    """How long it is worth sending, from the commit on."""
    is_shared: bool = False
    """Whether another hub process may have to send it."""


class PurgeJournal(Command, frozen=True, kw_only=True):
    """The timer removes messages past their retention time."""

    before: int


class CheckDisk(Command, frozen=True, kw_only=True):
    """The timer wants to know whether the disk takes what is written again."""


def _check_disk(work: Work, commands: Sequence[CheckDisk]) -> list[Outcome]:
    work.tx.run('UPDATE scheme SET version = version WHERE "only" = 1')
    return [Outcome() for _ in commands]


def _unpark(work: Work, commands: Sequence[Unpark]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for command in commands:
        deadline_ms = work.now_ms + command.lasts_ms
        if not outbox.unpark(work.tx, command.message_id, deadline_ms=deadline_ms, now_ms=work.now_ms):
            outcomes.append(Outcome(error=OperatorError(f"No message {command.message_id} is parked.")))
            continue
        if command.is_shared:
            ask_again(work.tx, command.message_id)
        outcomes.append(Outcome(note="unparked"))
    return outcomes


def _purge_journal(work: Work, commands: Sequence[PurgeJournal]) -> list[Outcome]:
    return [Outcome(value=journal.purge(work.tx, command.before, blocks_max=PURGE_BLOCKS_MAX)) for command in commands]


_WITHOUT_LEDGER: Final = (
    Beat,
    TakeOver,
    TidyNodes,
    CheckDisk,
    PurgeJournal,
    Unpark,
    undelivered.ReportUndelivered,
    transfers.TellResult,
    notifications.TakeNotifications,
    notifications.NoteAttempts,
    notifications.ResendNotifications,
    notifications.PurgeNotifications,
    SignAuditLog,
)

USE_CASES: Final = (
    use_case(_unpark, Unpark),
    use_case(_purge_journal, PurgeJournal),
    use_case(_check_disk, CheckDisk),
    *(use_case(handler, *commands) for handler, *commands in NODE_USE_CASES),
    *(use_case(handler, *commands) for handler, *commands in AUDITLOG_USE_CASES),
)
"""What the engine itself decides, about its own outbox and journal."""
