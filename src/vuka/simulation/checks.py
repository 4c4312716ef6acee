"""What must always be true of a scheme, seen from outside: by tables, messages, answers, and a small model of money.

Nothing here is computed by the hub's own rules, but for its audit, which is one check among the others. The tables are
read as SQL, on a connection of its own that sees what is committed and nothing else; what participants and operators
were told is theirs (`vuka.simulation.beliefs`, `vuka.simulation.operators`).

After each commit: no transfer's end changes, nothing is promised that is not covered, reservations in the ledger are
those of the records, debits equal credits; after each tenth the hub's audit finds nothing. At each message and answer:
it tells what is durable. While time passes: what has expired is final. At the end, when everything works again: all of
it, once more and together, and everybody has been told (`vuka.simulation.told`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from vuka.ids import parse_id
from vuka.ledger.sql import SqlLedger
from vuka.money import format_amount
from vuka.simulation.beliefs import Beliefs, Word, word_of
from vuka.simulation.loop import is_of_the_dead
from vuka.simulation.machine import Watcher
from vuka.simulation.network import Answer, Call
from vuka.simulation.operators import FEE_CURRENCY, FEE_FIXED, FEE_PER_CENT, Operators
from vuka.simulation.participants import Participant
from vuka.simulation.told import TOLD, Told
from vuka.simulation.world import World, short
from vuka.store import Tx
from vuka.store.sqlite import Database
from vuka.switch import auditlog, journal
from vuka.switch.audit import audit

BALANCED: Final = "the books balance"
COVERED: Final = "nothing is promised that is not covered"
ONE_END: Final = "a transfer has one end, which stays"
AGREE: Final = "payer, payee and hub agree"
DURABLE: Final = "nobody is told what is not durable"
ON_RECORD: Final = "what is accepted is on record"
REFUSED: Final = "what is refused leaves nothing"
DELIVERED: Final = "what is owed arrives or is parked"
IN_TIME: Final = "what has expired is final within a second"
MONEY: Final = "money is where it must be"
ANSWERED: Final = "every request is answered"
SOUND: Final = "the hub finds no fault with itself"

FINAL_SECONDS_MAX: Final = 1.0
"""How long after its expiration a transfer may not be final, while the hub runs and its disk takes what is written."""

SPARE_SECONDS: Final = 0.5
"""…and how long commits that are slow may delay that."""

_FINAL: Final = frozenset(
    ("COMMITTED", "ABORTED_REJECTED", "ABORTED_ERROR", "EXPIRED_PREPARED", "EXPIRED_RESERVED", "INVALID")
)
_ENDED: Final = {Word.COMMITTED: ("COMMITTED",), Word.ABORTED: tuple(sorted(_FINAL - {"COMMITTED"}))}

AUDIT_COMMITS: Final = 10
"""After how many commits the hub's audit runs in between."""

UNWELL_SECONDS: Final = 2.0
"""How long after a commit failed the hub may still say so."""

_SAID_OF_A_DISK: Final = (
    "a batch could not be committed",
    "a timer failed and will run again",
    "the schedules failed and will run again",
)
"""What the hub logs as an error where its disk takes nothing, and rightly."""


class _Account(msgspec.Struct):
    """A ledger account of a participant, from its row."""

    account_id: int
    name: str
    currency: str
    type: str
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int

    @property
    def balance(self) -> int:
        """Credits less debits, what is reserved of it taken off."""
        return self.credits_posted - self.debits_posted - self.debits_pending


class _Asked(msgspec.Struct, frozen=True):
    sender: str
    method: str
    path: str
    body: bytes


class Checker(Watcher):
    """Looks on, and says when something is not as it must be."""

    def __init__(
        self,
        world: World,
        beliefs: Beliefs,
        operators: Operators,
        participants: Sequence[Participant],
        database: Database,
    ) -> None:
        self._world = world
        self._beliefs = beliefs
        self._operators = operators
        self._participants = {each.name: each for each in participants}
        self._database = database
        self._states: dict[bytes, str] = {}
        self._accepted: Counter[_Asked] = Counter()
        self._healthy_since_s = 0.0
        self._unwell_s = -UNWELL_SECONDS
        self._last_block = 0
        self._bodies: dict[int, bytes] = {}
        self._owed: dict[int, tuple[str, str, str, bytes]] = {}
        self._commits = 0
        self._prepared: Counter[bytes] = Counter()
        self._arrived: Counter[str] = Counter()
        self._on_record: set[tuple[str, str, bytes]] = set()
        self._told = Told(world.plan.scheme, lambda what: self._fail(TOLD, what))
        self.transfers: Counter[str] = Counter()
        """By final state: how many there were, at the end."""

    def _fail(self, check: str, what: str) -> None:
        self._world.fail(check, what)

    # --- as it happens ----------------------------------------------------------------------------------------------

    def disk_failed(self) -> None:
        """The hub can't write: it may be late from here on, and may say so."""
        self._healthy_since_s = self._unwell_s = self._world.loop.time()

    def hub_started(self) -> None:
        """It may be late until it has had its time."""
        self._healthy_since_s = self._world.loop.time()
        self._world.tell("the hub is ready")

    def hub_died(self, how: str) -> None:
        """Nothing is checked: that is what must not matter."""
        self._told.hub_died()
        self._world.tell(f"the hub {how}")

    def committed(self) -> None:
        """The tables have changed."""
        with self._world.looking(), self._database.read() as tx:
            self._check_states(tx)
            self._check_cover(tx)
            self._check_sums(tx)
            self._note_owed(tx)
            self._told.committed(tx)
            self._commits += 1
            if self._commits % AUDIT_COMMITS == 0:
                self._check_books(tx)

    def _check_states(self, tx: Tx) -> None:
        states: dict[bytes, str] = dict(tx.query("SELECT transfer_id, state FROM transfer WHERE kind = 'PAYMENT'"))
        for transfer_id, before in self._states.items():
            now = states.get(transfer_id)
            if now != before and (now is None or before in _FINAL):
                self._fail(ONE_END, f"transfer {transfer_id.hex()[:8]} was {before} and is {now or 'gone'}")
        self._states = states

    def _note_owed(self, tx: Tx) -> None:
        """What the hub writes down to owe: a hub without a journal forgets it once it has come."""
        for block in journal.blocks_after(tx, 0, self._last_block):
            self._bodies.update((each.message_id, each.body) for each in block.received)
            self._told.marked(block, self._owed)
            for sent in block.sent:
                if sent.is_owed and sent.to in self._participants:
                    body = sent.body or b"" if sent.body_of is None else self._bodies.get(sent.body_of)
                    if body is None:
                        self._fail(ON_RECORD, f"what {sent.method} {sent.path} passes on is not in the journal")
                        continue
                    self._owed[sent.message_id] = (sent.to, sent.method, sent.path, body)
                    self._on_record.add((sent.method, sent.path, body))
        ((last,),) = tx.query("SELECT MAX(block_id) FROM journal_block")
        self._last_block = last or 0

    def _check_cover(self, tx: Tx) -> None:
        """Positions are never overdrawn, and never granted more than the cap and the liquidity both allow."""
        accounts = _accounts(tx)
        reserved = {
            (name, currency): amount
            for name, currency, amount in tx.query(
                """SELECT payer_fsp, currency, SUM(amount) FROM transfer
                   WHERE kind = 'PAYMENT' AND state = 'RESERVED' GROUP BY payer_fsp, currency"""
            )
        }
        settling = _settling(tx)
        caps: dict[int, int] = dict(tx.query("SELECT account_id, value FROM participant_limit WHERE is_active = 1"))
        short_by: dict[int, int] = dict(tx.query("SELECT account_id, amount FROM shortfall"))
        for (name, currency, kind), position in accounts.items():
            if kind != "POSITION":
                continue
            subject = f"{name} {currency}"
            if position.balance < 0:
                self._fail(COVERED, f"{subject} is overdrawn by {format_amount(-position.balance)}")
            pending = reserved.get((name, currency), 0) + settling.get(position.account_id, 0)
            if position.debits_pending != pending:
                found = (
                    f"{format_amount(position.debits_pending)} in the ledger, {format_amount(pending)} in the records"
                )
                self._fail(COVERED, f"{subject}: reserved are {found}")
            granted = -accounts[name, currency, "HEADROOM"].balance
            cover = accounts[name, currency, "SETTLEMENT"].balance
            limit = max(0, min(cover, caps.get(position.account_id, 0)))
            lacking = short_by.get(position.account_id, 0)
            if granted - lacking != limit:
                self._fail(
                    COVERED,
                    f"{subject} may go {format_amount(granted)} into debt, {format_amount(lacking)} of it to be taken "
                    f"back, where cap and liquidity allow {format_amount(limit)}",
                )
            if lacking and position.balance > 0:
                self._fail(COVERED, f"{subject} may send {format_amount(position.balance)} while it owes headroom")

    def hub_sends(self, call: Call) -> None:
        """A message about a transfer must tell what is in the tables already."""
        with self._world.looking():
            self._check_sent(call)

    def _check_sent(self, call: Call) -> None:
        resource, *ids = call.path.strip("/").split("/")
        if resource != "transfers":
            return
        if not self._is_owed(call):
            self._fail(DURABLE, f"{call.method} {call.path} is sent, and would be forgotten if the hub died now")
        if call.method == "POST":
            transfer_id = str(msgspec.json.decode(call.body)["transferId"])
            if self._state(transfer_id) is None:
                self._fail(DURABLE, f"transfer {short(transfer_id)} is sent to its payee, and is not on record")
            return
        word, text = word_of(call)
        state = self._state(ids[0])
        if word is Word.COMMITTED and state != "COMMITTED":
            self._fail(DURABLE, f"transfer {short(ids[0])} is told to be COMMITTED, and is {state}")
        if word is Word.ABORTED and state == "COMMITTED":
            self._fail(DURABLE, f"transfer {short(ids[0])} is told {text}, and is COMMITTED")

    def _is_owed(self, call: Call) -> bool:
        """Whether a block has said that a message is owed; what waits for a queue with room may have its row alone."""
        key = (call.method, call.path, call.body)
        if key not in self._on_record:
            with self._database.read() as tx:
                for (message,) in tx.query("SELECT message FROM delivery"):
                    sent = journal.decode_sent(message)
                    self._on_record.add((sent.method, sent.path, sent.body or b""))
        return key in self._on_record

    def hub_is_asked(self, call: Call) -> None:
        """Counts how often a payer's request has come to the hub, and notes who asks what."""
        self._told.hub_is_asked(call)
        if (call.method, call.path) == ("POST", "/transfers"):
            body = msgspec.json.decode(call.body)
            self._arrived[str(body["transferId"])] += call.sender == body["payerFsp"]

    def hub_answers(self, call: Call, answer: Answer) -> None:
        """What is accepted must be in the tables now; what is refused must not be there for it."""
        self._told.hub_answers(call, answer)
        if answer.status == 500 and call.sender != "operator":
            self._fail(SOUND, f"{call.sender} is answered 500 to {call.method} {call.path}")
        resource, *ids = call.path.partition("?")[0].strip("/").split("/")
        if resource == "transfers" and call.sender != "operator":
            if call.method == "POST":
                self._check_prepared(call, answer)
            elif call.method == "PUT" and answer.status == 200:
                self._check_answered(call, ids)
        if answer.status in (200, 202) and resource in ("transfers", "quotes") and call.sender != "operator":
            self._accepted[_Asked(call.sender, call.method, call.path, call.body)] += 1

    def _check_prepared(self, call: Call, answer: Answer) -> None:
        body = msgspec.json.decode(call.body)
        transfer_id, payer = str(body["transferId"]), body["payerFsp"]
        if call.sender != payer:
            return
        state = self._state(transfer_id)
        key = parse_id(transfer_id)
        if answer.status == 202:
            self._prepared[key] += 1
            if state is None:
                self._fail(ON_RECORD, f"transfer {short(transfer_id)} of {payer} is accepted and not on record")
        elif state is not None and not self._prepared.get(key) and not self._may_be_under_way(transfer_id):
            self._fail(REFUSED, f"transfer {short(transfer_id)} is refused with {answer.status}, and is {state}")

    def _may_be_under_way(self, transfer_id: str) -> bool:
        """Whether another request for it may have been taken: it was sent more than once."""
        pay = self._beliefs.payments.get(transfer_id)
        return pay is None or self._arrived[transfer_id] != 1

    def _check_answered(self, call: Call, ids: Sequence[str]) -> None:
        pay = self._beliefs.payments.get(ids[0])
        if pay is None or call.sender != pay.payee:
            return
        said = msgspec.json.decode(call.body)
        is_error = ids[-1] == "error"
        state = said.get("transferState")
        version = next(value for name, value in call.headers if name.lower() == "content-type")
        if not is_error and (state == "ABORTED" or (state == "RESERVED" and version.endswith("1.0"))):
            return
        column = "error_hash" if is_error else "fulfil_hash"
        with self._database.read() as tx:
            rows = tx.query(f"SELECT {column} FROM transfer WHERE transfer_id = ?", (parse_id(ids[0]),))
        if rows and rows[0][0] is None and ids[0] in self._beliefs.asked:
            self._fail(ON_RECORD, f"{call.sender}'s answer to transfer {short(ids[0])} is accepted and not on record")

    def _state(self, transfer_id: str) -> str | None:
        with self._database.read() as tx:
            rows = tx.query("SELECT state FROM transfer WHERE transfer_id = ?", (parse_id(transfer_id),))
        return rows[0][0] if rows else None

    def time_passes(self) -> None:
        """What has expired must be final, where the hub had time for it."""
        world = self._world
        machine = world.machine
        spent = world.loop.time() - max(self._healthy_since_s, machine.since_s)
        if not machine.is_listening or spent < FINAL_SECONDS_MAX + SPARE_SECONDS:
            return
        late_ms = world.clock.now_ms() - round((FINAL_SECONDS_MAX + SPARE_SECONDS) * 1000)
        with self._database.read() as tx:
            rows = tx.query(
                """SELECT wire_id, expires_ms FROM transfer
                   WHERE kind = 'PAYMENT' AND state = 'RESERVED' AND expires_ms < ?""",
                (late_ms,),
            )
        for wire_id, expires_ms in rows:
            ago = world.clock.now_ms() - expires_ms
            self._fail(IN_TIME, f"transfer {short(wire_id)} expired {ago} ms ago and is RESERVED")

    def log(self, level: str, event: str) -> None:
        """What the hub calls an error is one, unless the simulation has caused it."""
        if is_of_the_dead():
            return
        is_unwell = self._world.loop.time() - self._unwell_s < UNWELL_SECONDS
        if not (is_unwell and level == "error" and event.startswith(_SAID_OF_A_DISK)):
            self._fail(SOUND, event)

    # --- at the end -------------------------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Everything works again, everybody has been told, and nothing is under way."""
        with self._database.read() as tx:
            self._check_agreement(tx)
            self._check_records(tx)
            self._check_deliveries(tx)
            self._told.check(tx, {name: each.heard for name, each in self._participants.items()})
            self._check_money(tx)
            self._check_fees(tx)
            self._check_books(tx)
            self._check_log(tx)
            self._check_sums(tx)
            self._check_left(tx)
            self.transfers = Counter(
                state for (state,) in tx.query("SELECT state FROM transfer WHERE kind = 'PAYMENT'")
            )
        if self._world.machine.waiting:
            self._fail(ANSWERED, f"{self._world.machine.waiting} requests were never answered")
        for defect in self._world.loop.defects:
            self._fail(SOUND, defect)

    def _check_agreement(self, tx: Tx) -> None:
        rows = tx.query("SELECT wire_id, payer_fsp, payee_fsp, state, amount FROM transfer WHERE kind = 'PAYMENT'")
        known: set[str] = set()
        for wire_id, payer, payee, state, amount in rows:
            known.add(wire_id)
            if state not in _FINAL:
                self._fail(IN_TIME, f"transfer {short(wire_id)} is {state} at the end")
                continue
            if amount not in self._beliefs.sent.get(wire_id, ()):
                self._fail(AGREE, f"transfer {short(wire_id)} is of {format_amount(amount)}, as nobody has sent it")
            for name in (payer, payee):
                told = self._beliefs.end_told(name, wire_id)
                if told is not None and state not in _ENDED[told]:
                    self._fail(AGREE, f"{name} was told {told} of transfer {short(wire_id)}, which is {state}")
                if told is None and (name, wire_id) in self._beliefs.word_expected:
                    self._fail(AGREE, f"{name} has asked, and does not know that transfer {short(wire_id)} is {state}")
        for transfer_id in sorted(self._beliefs.accepted - known):
            self._fail(ON_RECORD, f"transfer {short(transfer_id)} was accepted and is not on record")

    def _check_records(self, tx: Tx) -> None:
        """Every message that was accepted and is a matter of record is in the journal, as often as it was accepted."""
        if not self._world.plan.scheme.keeps_journal:
            return
        found: Counter[_Asked] = Counter()
        for block in journal.everything(tx):
            for each in block.received:
                found[_Asked(each.source, each.method, each.path, each.body)] += 1
        for asked, times in self._accepted.items():
            if found[asked] < times:
                what = f"{asked.sender}'s {asked.method} {asked.path} was accepted {times} times"
                self._fail(ON_RECORD, f"{what} and is in the journal {found[asked]} times")

    def _check_deliveries(self, tx: Tx) -> None:
        """Every message that the hub has written down to owe has come to the participant's server, or is parked."""
        parked = {message_id for (message_id,) in tx.query("SELECT message_id FROM delivery WHERE state = 'PARKED'")}
        for message_id, name in tx.query("SELECT message_id, participant FROM delivery WHERE state = 'PENDING'"):
            self._fail(DELIVERED, f"message {message_id} to {name} is still owed at the end")
        owed = Counter(each for message_id, each in self._owed.items() if message_id not in parked)
        for (name, method, path, body), times in owed.items():
            came = self._participants[name].taken[method, path, body]
            if came < times:
                self._fail(DELIVERED, f"{method} {path} is owed to {name} {times} times and came {came} times")

    def _check_money(self, tx: Tx) -> None:
        """What each participant has, from what it and the operators were told; in no settlement that is not ended."""
        expected: dict[tuple[str, str], int] = defaultdict(int)
        for told in self._operators.funds.values():
            if told.state in ("COMMITTED", "RESERVED"):
                expected[told.name, told.currency] += told.amount
        amounts: dict[str, int] = dict(tx.query("SELECT wire_id, amount FROM transfer WHERE kind = 'PAYMENT'"))
        for transfer_id, pay in self._beliefs.payments.items():
            if self._beliefs.end_of(transfer_id) is Word.COMMITTED:
                # Which of the amounts that its payer has sent counts, is the hub's to say.
                amount = amounts.get(transfer_id, pay.amount)
                expected[pay.payer, pay.currency] -= amount
                expected[pay.payee, pay.currency] += amount
        for name, currency, net in _settled(tx):
            expected[name, currency] += net
        accounts = _accounts(tx)
        for name, currency, kind in accounts:
            if kind != "POSITION":
                continue
            found = sum(accounts[name, currency, each].balance for each in ("POSITION", "HEADROOM", "SETTLEMENT"))
            if found != expected[name, currency]:
                told_of = format_amount(expected[name, currency])
                self._fail(MONEY, f"{name} has {format_amount(found)} {currency}, and was told of {told_of}")

    def _check_fees(self, tx: Tx) -> None:
        charged = self._world.plan.scheme.charges_fees
        found: dict[str, int] = dict(
            tx.query(
                """SELECT t.wire_id, SUM(f.amount) FROM fee f JOIN transfer t ON t.transfer_seq = f.transfer_seq
                   GROUP BY t.wire_id"""
            )
        )
        rows = tx.query("SELECT wire_id, currency, amount, state FROM transfer WHERE kind = 'PAYMENT'")
        for wire_id, currency, amount, state in rows:
            is_charged = charged and currency == FEE_CURRENCY and state == "COMMITTED"
            fee = FEE_FIXED + amount * FEE_PER_CENT // 100 if is_charged else 0
            if found.get(wire_id, 0) != fee:
                shown = f"{format_amount(found.get(wire_id, 0))} for {format_amount(fee)}"
                self._fail(MONEY, f"transfer {short(wire_id)} is charged {shown}")

    def _check_books(self, tx: Tx) -> None:
        """The hub's own audit: every account against the records of all that has moved on it."""
        for each in audit(tx, SqlLedger(tx, 0)).differences:
            self._fail(BALANCED, f"{each.rule}: {each.subject}: expected {each.expected}, found {each.found}")

    def _check_log(self, tx: Tx) -> None:
        for other in auditlog.compare(tx):
            self._fail(BALANCED, f"{other.rule}: {other.subject}: expected {other.expected}, found {other.found}")
        fault = auditlog.verify(auditlog.entries(tx)).fault
        if fault is not None:
            self._fail(BALANCED, f"entry {fault.seq} of the audit log: {fault.reason}")

    def _check_sums(self, tx: Tx) -> None:
        """Debits equal credits in every currency, of what is posted and of what is reserved."""
        sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for ledger, *four in tx.query(
            "SELECT ledger, debits_posted, credits_posted, debits_pending, credits_pending FROM ledger_account"
        ):
            of_ledger = sums[ledger]
            for place, each in enumerate(four):
                of_ledger[place] += int.from_bytes(each, "big")
        for ledger, (debits, credits, debits_pending, credits_pending) in sums.items():
            if debits != credits:
                self._fail(BALANCED, f"in ledger {ledger} debits are {debits} and credits {credits}")
            if debits_pending != credits_pending:
                self._fail(BALANCED, f"in ledger {ledger} {debits_pending} are reserved from, {credits_pending} to")

    def _check_left(self, tx: Tx) -> None:
        """Nothing is left with the hub that is on its way only."""
        for (name, currency, kind), account in _accounts(tx).items():
            if kind == "POSITION" and (account.debits_pending or account.credits_pending):
                self._fail(MONEY, f"{name} {currency} has something reserved at the end")
            if kind in ("HUB_MULTILATERAL_SETTLEMENT", "HUB_ON_US") and account.balance + account.credits_pending:
                self._fail(MONEY, f"the hub keeps {format_amount(account.balance)} {currency} in {kind}")


def _accounts(tx: Tx) -> dict[tuple[str, str, str], _Account]:
    """Every account with its balances, by participant, currency and type."""
    rows = tx.query(
        """SELECT a.account_id, p.name, a.currency, a.type, l.debits_pending, l.debits_posted, l.credits_pending,
                  l.credits_posted
           FROM account a JOIN participant p ON p.participant_id = a.participant_id
           JOIN ledger_account l ON l.id = a.ledger_account_id"""
    )
    return {
        (name, currency, kind): _Account(
            account_id, name, currency, kind, *(int.from_bytes(each, "big") for each in four)
        )
        for account_id, name, currency, kind, *four in rows
    }


def _settling(tx: Tx) -> dict[int, int]:
    """By position: what settlements have reserved of it: its net, or pair by pair where they are bilateral."""
    reserved: dict[int, int] = defaultdict(int)
    pairwise = {settlement_id for (settlement_id,) in tx.query("SELECT settlement_id FROM settlement_obligation")}
    for settlement_id, account_id, high, low in tx.query(
        """SELECT settlement_id, account_id, net_high, net_low FROM settlement_account
           WHERE state = 'PS_TRANSFERS_RESERVED'"""
    ):
        if settlement_id not in pairwise:
            reserved[account_id] += max(0, -(high * 2**32 + low))
    for account_id, high, low in tx.query(
        """SELECT o.creditor_account_id, o.amount_high, o.amount_low FROM settlement_obligation o
           JOIN settlement_account s ON s.settlement_id = o.settlement_id AND s.account_id = o.creditor_account_id
           WHERE s.state = 'PS_TRANSFERS_RESERVED'"""
    ):
        reserved[account_id] += high * 2**32 + low
    return reserved


def _settled(tx: Tx) -> list[tuple[str, str, int]]:
    """What settlements that are ended have taken from positions (negative) or given back to them."""
    rows = tx.query(
        """SELECT p.name, a.currency, s.net_high, s.net_low FROM settlement_account s
           JOIN account a ON a.account_id = s.account_id
           JOIN participant p ON p.participant_id = a.participant_id
           WHERE s.state = 'SETTLED' AND a.type = 'POSITION'"""
    )
    return [(name, currency, high * 2**32 + low) for name, currency, high, low in rows]
