"""The hub as its APIs see it, and how it is put together from its parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from vuka import plugins
from vuka.api.audit_key import AuditKey, has_key, key_path
from vuka.api.metrics import Metrics
from vuka.api.oracle_client import OracleClient
from vuka.api.siblings import Siblings
from vuka.api.signatures import HubKey
from vuka.api.tokens import access_tokens
from vuka.api.wire import FspiopWire
from vuka.channels import channels
from vuka.clock import clock_ms
from vuka.config import Config
from vuka.destinations import Destinations
from vuka.engine import node, notifications
from vuka.engine.batch import UseCase, use_case
from vuka.engine.membership import Identity
from vuka.engine.node import Engine
from vuka.errors import OperatorError
from vuka.fspiop.ilp import transaction_json
from vuka.fspiop.jws import PublicKey
from vuka.httpclient import Client
from vuka.ledger.choice import check_choice, open_ledger
from vuka.ledger.model import Ledger
from vuka.store import Database, Tx
from vuka.store.migrate import open_place
from vuka.switch import (
    access,
    account_types,
    alarms,
    bank_accounts,
    bank_statements,
    bulk_quotes,
    fees,
    funds,
    fx_quotes,
    gross_settlement,
    keys,
    lookup,
    oracles,
    participants,
    quote_rules,
    quotes,
    schedules,
    settlement_models,
    settlements,
    transfers,
    undelivered,
    windows,
)
from vuka.switch.directory import Directory
from vuka.switch.quote_rules import QuoteRules
from vuka.switch.work import Command, Inbound, Notice
from vuka.tls import outgoing_context

log: Final = structlog.get_logger("vuka.hub")

T = TypeVar("T")

FEES: Final = fees.Fees(transaction_json)
"""What charges fees: by the rules in force, which look into the transaction objects of ILP packets."""


def use_cases(rules: QuoteRules) -> tuple[UseCase, ...]:
    """What the hub can decide, in the order in which a batch decides it; ``rules`` have a say about quotes."""
    return (
        # What operators change holds for the payments of the same batch.
        *(use_case(handler, *commands) for handler, *commands in (*participants.USE_CASES, *funds.USE_CASES)),
        *(
            use_case(handler, *commands)
            for handler, *commands in (
                *access.USE_CASES,
                *keys.USE_CASES,
                *account_types.USE_CASES,
                *settlement_models.USE_CASES,
                # A window closes before the payments of the same batch: they belong to the next.
                *windows.USE_CASES,
                *settlements.USE_CASES,
                *bank_accounts.USE_CASES,
                *bank_statements.USE_CASES,
                *schedules.USE_CASES,
            )
        ),
        *(use_case(handler, *commands) for handler, *commands in (*quote_rules.USE_CASES, *fees.USE_CASES)),
        *(use_case(handler, *commands) for handler, *commands in oracles.USE_CASES),
        use_case(lookup.register, lookup.RegisterParty),
        use_case(lookup.remove, lookup.RemoveParty),
        # What frees headroom comes before what takes it.
        use_case(partial(transfers.fulfil, fees=FEES), transfers.FulfilTransfer, transfers.AbortTransfer),
        use_case(partial(transfers.expire, fees=FEES), transfers.ExpireTransfers),
        *(use_case(handler, *commands) for handler, *commands in gross_settlement.USE_CASES),
        use_case(transfers.prepare, transfers.PrepareTransfer),
        use_case(partial(quotes.request, rules=rules), quotes.RequestQuote),
        use_case(partial(fx_quotes.request, rules=rules), fx_quotes.RequestFxQuote),
        use_case(bulk_quotes.request, bulk_quotes.RequestBulkQuote),
        use_case(quotes.answer, quotes.AnswerQuote, quotes.DeclineQuote),
        use_case(fx_quotes.answer, fx_quotes.AnswerFxQuote, fx_quotes.DeclineFxQuote),
        # Questions see what the batch has decided.
        use_case(quotes.get, quotes.GetQuote),
        use_case(fx_quotes.get, fx_quotes.GetFxQuote),
        use_case(bulk_quotes.route, bulk_quotes.RouteBulkQuote),
        use_case(transfers.get, transfers.GetTransfer),
        use_case(transfers.tell_result, transfers.TellResult),
        use_case(undelivered.report, undelivered.ReportUndelivered),
        *(use_case(handler, *commands) for handler, *commands in alarms.USE_CASES),
        *notifications.USE_CASES,
        *node.USE_CASES,
    )


USE_CASES: Final = use_cases(QuoteRules())
"""What a hub without plugins can decide."""


class Hub:
    """A hub: one engine over one database, and what its APIs need of it. Built from a `Config`."""

    def __init__(
        self,
        config: Config,
        database: Database,
        *,
        clock: Callable[[], int] = clock_ms,
        jitter: Callable[[], float] = random.random,
        identity: Identity | None = None,
        siblings: Siblings | None = None,
        client: Client | None = None,
    ) -> None:
        """``siblings``: the other workers on this machine, where it is one of several.

        Time, chance and the network are the machine's own, where they are not given.
        """
        self.config = config
        self.database = database
        self.started_ms = clock()
        self.is_stopping = False
        """Whether it takes nothing new any more; its health says so to whoever sends it requests."""
        self.siblings = siblings
        self.metrics = Metrics(lambda name: self.directory.get(name) is not None)
        key_file = config.signatures.hub_key_file
        self._key = HubKey(Path(key_file)) if key_file else None
        audit_key = AuditKey.load(key_path(config)) if has_key(config) else None
        self.signs_audit_log = audit_key is not None
        """Whether it has a key for it."""
        if audit_key is None:
            log.warning("the audit log is not signed: there is no key", key_file=str(key_path(config)))
        installed = plugins.installed()
        with database.read() as tx:
            check_choice(tx, config.ledger)
        self._ledger = open_ledger(config.ledger)
        self.destinations = Destinations(config)
        """Whom it may call."""
        self.engine = Engine(
            config=config,
            database=database,
            use_cases=use_cases(QuoteRules(installed)),
            wire=FspiopWire(self._key),
            ledger=self._ledger.open,
            clock_ms=clock,
            jitter=jitter,
            observers=(self.metrics,),
            channels=channels(config, installed),
            identity=identity,
            cluster=self._ledger.cluster,
            sign=None if audit_key is None else audit_key.sign,
            destinations=self.destinations,
            client=client,
        )
        self.oracles = OracleClient(
            config.oracles,
            clock,
            self.metrics.oracle_asked,
            guard=self.destinations,
            tls=outgoing_context(config.outbound, config.oracles.ca_file, "oracles.ca_file"),
        )
        """The oracles outside the hub."""
        self.tokens = access_tokens(config, clock)
        """What checks tokens of authorization servers; None where none is believed."""

    async def start(self) -> None:
        """Takes up what an earlier process left undone."""
        if self.tokens is not None:
            await self.tokens.start()
        await self.engine.start()
        if self.siblings is not None:
            await self.siblings.start(lambda: self.metrics.families(self.engine, self.health()))

    async def stop(self) -> None:
        """Ends what was accepted and stops."""
        if self.siblings is not None:
            self.siblings.stop()
        await self.oracles.close(self.config.engine.drain_seconds * 1000)
        if self.tokens is not None:
            await self.tokens.close()
        await self.engine.stop()
        self._ledger.close()
        log.info("what the engine did", **msgspec.structs.asdict(self.engine.statistics))

    def signing_public_key(self) -> PublicKey | None:
        """What participants check the hub's own messages with; None where it does not sign them."""
        return self._key.public if self._key is not None else None

    @property
    def directory(self) -> Directory:
        """Who takes part, as of the last commit."""
        return self.engine.directory

    def now_ms(self) -> int:
        """The hub's clock."""
        return self.engine.now_ms()

    def new_message_id(self) -> int:
        """The key of a message that has just come in."""
        return self.engine.new_message_id()

    async def submit(self, command: Command) -> object:
        """Runs a command; returns its value once it is durable. Raises `FspiopError` or `OperatorError`."""
        return await self.engine.submit(command)

    def route(self, inbound: Inbound, notices: Sequence[Notice], outcome: str = "routed") -> None:
        """Passes messages on at once. Raises `FspiopError` 2005."""
        self.engine.route(inbound, notices, outcome)

    def record(self, inbound: Inbound, outcome: str) -> None:
        """Journals a message that was refused in its answer."""
        self.engine.record(inbound, outcome)

    def read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        """What ``function`` finds in one consistent snapshot."""
        return self.engine.read(function)

    async def resend(self, message_id: int) -> None:
        """Has a parked message sent again. Raises `OperatorError`."""
        await self.engine.resend(message_id)

    def health(self) -> list[tuple[str, bool]]:
        """The parts that the reference's health answer names, and whether each works."""
        try:
            self.engine.read(lambda tx, _ledger, _directory: tx.query("SELECT 1 FROM scheme"))
        except Exception:
            datastore = False
        else:
            # Reading goes on where the disk is full: what was written last tells.
            datastore = self.engine.writes
        parts = [("datastore", datastore), ("broker", self.engine.running and not self.is_stopping)]
        if self._ledger.cluster is not None:
            parts.append(("ledger", self.engine.follows_ledger))
        return parts


def open_database(config: Config) -> Database:
    """Opens the hub's database. Raises `OperatorError` where there is none yet."""
    place = config.place
    if isinstance(place, Path) and not place.exists():
        raise OperatorError(f"There is no hub in {config.data_dir}. Make one with: vuka init --data {config.data_dir}")
    return open_place(place)
