"""What a use case is given and what it leaves behind: commands in, outcomes and notices out.

The engine opens one transaction for a batch, wraps it in a `Work`, and hands each kind of command, as a list,
to its function. The function reads and writes through ``work.tx`` and ``work.ledger``, says with
`Work.notify` which messages the hub owes to whom, and returns one `Outcome` for each command. It never waits,
never looks at a clock and never draws a random number, so that the same commands on the same tables always
have the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from vuka.config import Scheme
from vuka.errors import FspiopError, OperatorError
from vuka.ids import HUB, FspId
from vuka.ledger.model import Ledger
from vuka.store import Tx
from vuka.switch.directory import Directory

Header: TypeAlias = tuple[str, str]


class Inbound(msgspec.Struct, frozen=True):
    """A message as a participant sent it: kept so that it can be forwarded byte for byte, and proven later."""

    message_id: int
    method: str
    path: str
    headers: tuple[Header, ...]
    body: bytes
    source: FspId
    destination: FspId | None
    resource: str
    ids: tuple[str, ...]
    """What follows the resource in the path; for a POST the id in the body."""
    version: str
    """The version of its Content-Type, e.g. ``1.1``: what the sender speaks."""
    answer_version: str
    """The highest version its Accept allows, or `version`: in what the hub answers it."""
    received_ms: int
    trace: tuple[Header, ...] = ()
    """Its ``traceparent``, ``tracestate`` and ``baggage``, to pass on with what answers it."""

    @property
    def resource_id(self) -> str:
        """What the journal files it under."""
        return "/".join(self.ids)


class Forward(msgspec.Struct, frozen=True):
    """The message as it came, byte for byte, its sender's headers and signature kept."""

    inbound: Inbound


class ErrorBody(msgspec.Struct, frozen=True):
    """An ``ErrorInformationObject`` from the hub."""

    code: str
    description: str
    extensions: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, error: FspiopError) -> ErrorBody:
        """The callback that tells of ``error``."""
        return cls(error.code, error.description, error.extensions)


class TransferBody(msgspec.Struct, frozen=True):
    """A transfer's state: the body of ``PUT`` (with its fulfilment) or ``PATCH`` ``/transfers/{ID}`` from the hub."""

    state: str
    completed_ms: int | None
    fulfilment: str | None = None
    extensions: tuple[tuple[str, str], ...] = ()


class JsonBody(msgspec.Struct, frozen=True):
    """A body that is the same in every version, already encoded."""

    content: bytes


Body: TypeAlias = Forward | ErrorBody | TransferBody | JsonBody


class Action(StrEnum):
    """What a notice does with the resource it names."""

    POST = "POST"
    GET = "GET"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    ERROR = "ERROR"
    """``PUT …/error``."""


class Notice(msgspec.Struct, frozen=True):
    """One message that the hub owes a participant. The engine writes it to the outbox in the same commit."""

    to: FspId
    action: Action
    resource: str
    ids: tuple[str, ...]
    """What follows the resource in the path, e.g. ``("MSISDN", "123", "SAVINGS")`` or ``(transferId,)``."""
    body: Body | None
    deadline_ms: int
    """Until when the message can still matter; after that it is parked rather than sent again."""
    source: FspId = HUB
    destination: FspId | None = None
    """The FSPIOP-Destination; None means `to`."""
    version: str = "2.0"
    """The version a message made by the hub is written in. A forwarded one keeps its own."""
    trace: tuple[Header, ...] = ()
    headers: tuple[Header, ...] = ()
    """Headers to add, each replacing those of its name: what a rule of the scheme has a forwarded message carry."""

    @property
    def resource_id(self) -> str:
        """What the journal files it under."""
        return "/".join(self.ids)


class ActorKind(StrEnum):
    """In what capacity somebody acts on the hub."""

    OPERATOR = "operator"
    """By the operators' API."""
    TIMER = "timer"
    """The hub itself, because it was time."""
    COMMAND_LINE = "command line"
    """Beside a hub that does not run; named is the account on its machine."""


class Actor(msgspec.Struct, frozen=True):
    """Who does something that changes how the hub works, for the audit log."""

    kind: ActorKind
    name: str
    credential: int | None = None
    """The number of the credential that was shown; None where nobody had to show one."""


TIMER: Final = Actor(ActorKind.TIMER, "the hub's timer")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One thing asked of the hub, typed. Its fields are checked before it is made."""

    actor: Actor | None = None
    """Who asks, where it is an act of administration: the audit log keeps what it changed. None for participants."""


class Outcome(msgspec.Struct, frozen=True):
    """How one command ended.

    ``error`` is for whoever waits for the answer: an error that a participant learns by callback is a
    notice and not an outcome. ``value`` is what the command returns, ``note`` what the journal says of it.
    """

    value: object = None
    error: FspiopError | OperatorError | None = None
    note: str = "accepted"


ACCEPTED: Final = Outcome()


class Ended(msgspec.Struct, frozen=True):
    """A transfer that came to its end: for whoever watches the hub, nothing is decided by it."""

    wire_id: str
    kind: str
    state: str
    payer_fsp: FspId
    began_ms: int
    """When its prepare came, UTC milliseconds."""
    transfer_id: bytes
    payee_fsp: FspId
    currency: str
    amount: int
    completed_ms: int
    error_code: str | None


class Work:
    """One batch at work: a transaction, the ledger in it, the time, and what it has decided so far."""

    __slots__ = (
        "_directory",
        "_load_directory",
        "_next_id",
        "checkpoints",
        "ended",
        "filed",
        "ledger",
        "notices",
        "now_ms",
        "scheme",
        "term",
        "tx",
    )

    def __init__(
        self,
        *,
        tx: Tx,
        ledger: Ledger,
        now_ms: int,
        scheme: Scheme,
        next_id: Callable[[], int],
        load_directory: Callable[[Tx], Directory],
        term: int = 0,
    ) -> None:
        """``term``: in which this process moves what depends on balances, where the ledger is elsewhere; 0: in none."""
        self.tx = tx
        self.ledger = ledger
        self.now_ms = now_ms
        self.scheme = scheme
        self.term = term
        self.notices: list[Notice] = []
        self.ended: list[Ended] = []
        self.checkpoints = False
        """Whether the audit log is to be signed at the end of the batch."""
        self.filed: dict[tuple[str, str], int] = {}
        """The records that the batch is about: their keys by resource and id. The journal files messages under them."""
        self._next_id = next_id
        self._load_directory = load_directory
        self._directory: Directory | None = None

    @property
    def directory(self) -> Directory:
        """Participants, accounts and endpoints as this transaction sees them."""
        if self._directory is None:
            self._directory = self._load_directory(self.tx)
        return self._directory

    def directory_changed(self) -> None:
        """Says that this transaction changed what the directory holds: every hub process reads it anew."""
        self.tx.run('UPDATE scheme SET version = version + 1 WHERE "only" = 1')
        self._directory = None

    def next_id(self) -> int:
        """A new key for a record: 63 bits, growing with time, never used before."""
        return self._next_id()

    def file(self, message: Inbound, record: int) -> None:
        """Has the journal file a message, and what answers it, under the record of that key."""
        self.filed[message.resource, message.resource_id] = record

    def notify(self, notice: Notice) -> None:
        """Has the hub owe this message. It is sent if, and only if, the batch commits."""
        self.notices.append(in_declared_version(notice, self.directory))


def in_declared_version(notice: Notice, directory: Directory) -> Notice:
    """The notice in the version that its receiver has declared, where it has; what it is to forward keeps its own."""
    receiver = directory.get(notice.to)
    if receiver is None or receiver.fspiop_version is None:
        return notice
    return msgspec.structs.replace(notice, version=receiver.fspiop_version)


Handler: TypeAlias = Callable[[Work, Sequence[Command]], Sequence[Outcome]]
