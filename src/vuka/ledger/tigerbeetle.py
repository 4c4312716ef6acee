"""The ledger in a TigerBeetle cluster, through its official client.

`Cluster` is one session with a cluster; `TigerBeetleLedger` keeps the contract of `vuka.ledger.model.Ledger` over it.
A batch goes to the cluster as it is: one request of up to 8,189 events, packed as the 128-byte records of its wire, and
one request under way at a time, as sessions are. The official Python client converts field by field, 35 µs for each
two-phase payment; its own C library takes the bytes themselves, so that they are packed here in one call each (2.5 µs).

**The order of commits.** The embedded ledger becomes durable with the records, or is undone with them. A cluster does
what it is asked at once, *before* the records are committed, and never undoes it. What a process leaves that dies in
between, or whose transaction is rolled back, is therefore brought in order like this:

- Every id is derived from what caused the movement, so that the same command asks for the same transfers again and
  is told ``exists`` (`vuka.ledger.chart`).
- A reservation (pending transfer) carries a ``timeout``, later than the payment's expiration: one that has no record
  frees itself. If the payer sends the same payment again before that, it finds its reservation and goes on with it.
- Everything else that moves money is written down as an *intent* before the cluster is asked, in a commit of
  its own, and struck out in the commit of the records (`vuka.engine.intents`). An intent that is still there after a
  crash is carried out again before anything else is, by whichever process comes first: it finds what is done already,
  does what is not, and writes the records and messages of both.
- What was decided by balances is moved in a *term* only (`vuka.ledger.terms`): a request that arrives when another
  process has carried on is refused by the cluster.
- Headroom is no record: it is what the limits and the liquidity make it, computed from the balances of the cluster
  and put right after every recovery (`vuka.switch.headroom.restore`).
- Where the ledger says that a payment ended in another way than the hub is about to decide (an expiry that finds it
  posted), the ledger is right: the record is brought to it and both parties are told so (`vuka.switch.transfers`).

**When the cluster can't be reached**, a request is waited for ``timeout_ms`` and then given up with
`LedgerUnavailableError`: whether it will be done is not known. The client keeps it and goes on trying; until it is
answered no other request is sent, so that nothing overtakes it, and `Cluster.is_reachable` is false: the hub refuses
what is new before it accepts it. When the answer has come, the hub recovers as after a crash. A session that the
cluster has evicted (it keeps 64) is replaced by a new one, and the request sent again: it is the same by its ids.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from vuka.errors import OperatorError
from vuka.ledger.model import (
    AMOUNT_MAX,
    BATCH_MAX,
    ID_MAX,
    TIMESTAMP_MAX,
    Account,
    AccountBalance,
    AccountFilter,
    BatchTooLargeError,
    CreateAccountResult,
    CreateAccountStatus,
    CreateTransferResult,
    CreateTransferStatus,
    FieldError,
    LedgerUnavailableError,
    QueryFilter,
    Transfer,
    TransferFlags,
)

if TYPE_CHECKING:
    from vuka.store import Tx

TIMEOUT_MS: Final = 5_000
"""How long an answer is waited for by default."""

LOOK_MS_MAX: Final = 1_000
"""How long whoever only looks waits at most: an event loop, and everything in it, waits with it."""

_EVICTIONS_MAX: Final = 3
"""Sessions that one request may lose to eviction before it is given up."""

_LOW: Final = 2**64 - 1
_WHOLE: Final = ID_MAX
"""TigerBeetle's AMOUNT_MAX: as the amount of a post, all that was reserved."""

_POST: Final = int(TransferFlags.post_pending_transfer)

# Little-endian, a 128-bit number as its lower and its upper half; accounts and transfers are 128 bytes each.
_ID: Final = struct.Struct("<QQ")
_EVENT: Final = struct.Struct("<13Q3I2HQ")
_ACCOUNT: Final = struct.Struct("<13Q3I2HQ")
_BALANCE: Final = struct.Struct("<9Q56x")
_RESULT: Final = struct.Struct("<QI4x")
_ACCOUNT_FILTER: Final = struct.Struct("<QQQQQIH58xQQII")
_QUERY_FILTER: Final = struct.Struct("<QQQIIH6xQQII")

_TRANSFER_STATUS: Final = {int(each): each for each in CreateTransferStatus}
_ACCOUNT_STATUS: Final = {int(each): each for each in CreateAccountStatus}


class _Request:
    """One request under way: what the client's own thread leaves behind when the answer has come."""

    __slots__ = ("answer", "done", "is_missed", "packet", "status")

    def __init__(self, packet: Any) -> None:
        self.packet = packet
        self.done = threading.Event()
        self.is_missed = False
        """Whether it was waited for as long as a batch waits."""
        self.status = 0
        self.answer = b""


class _Session:
    """One session of the C client. The buffer is the client's from `send` until the request is done."""

    def __init__(self, addresses: str, cluster_id: int) -> None:
        from tigerbeetle.lib import c_uint128

        from tigerbeetle import bindings

        self._bindings = bindings
        self._buffer = ctypes.create_string_buffer(BATCH_MAX * _EVENT.size)
        self._address = ctypes.cast(self._buffer, ctypes.c_void_p).value
        self._request: _Request | None = None
        self._client = bindings.CClient()
        self._callback = bindings.OnCompletion(self._completed)
        number = c_uint128.from_param(cluster_id)
        encoded = addresses.encode("ascii")
        status = bindings.tb_client_init(
            ctypes.byref(self._client),
            ctypes.cast(ctypes.byref(number), ctypes.POINTER(ctypes.c_uint8 * 16)),
            encoded,
            len(encoded),
            0,
            self._callback,
        )
        if status != bindings.InitStatus.SUCCESS:
            reason = bindings.InitStatus(status).name
            raise OperatorError(f"The ledger's addresses {addresses!r} will not do ({reason}): see ledger.addresses.")

    def send(self, operation: int, body: bytes | bytearray) -> _Request:
        """Hands a request to the client. There must be none under way."""
        ctypes.memmove(self._buffer, bytes(body), len(body))
        packet = self._bindings.CPacket()
        packet.operation = operation
        packet.data_size = len(body)
        packet.data = self._address
        request = self._request = _Request(packet)
        if (
            self._bindings.tb_client_submit(ctypes.byref(self._client), ctypes.byref(packet))
            != self._bindings.ClientStatus.OK
        ):
            request.status = int(self._bindings.PacketStatus.CLIENT_SHUTDOWN)
            request.done.set()
        return request

    def _completed(self, _context: object, packet: Any, _timestamp: int, data: int | None, size: int) -> None:
        """Called by the client's own thread. What it points to is gone when this returns."""
        request = self._request
        if request is None:
            return
        request.status = packet[0].status
        request.answer = ctypes.string_at(data, size) if data and size else b""
        request.done.set()

    def close(self) -> None:
        self._bindings.tb_client_deinit(ctypes.byref(self._client))


class Cluster:
    """A session with a TigerBeetle cluster, renewed when it is evicted. Any thread may ask; one request at a time.

    Raises `OperatorError` where the client is not installed or the addresses are none.
    """

    def __init__(self, addresses: str, cluster_id: int = 0, *, timeout_ms: int = TIMEOUT_MS) -> None:
        try:
            from tigerbeetle import bindings
        except ImportError:
            raise OperatorError(
                "The ledger is a TigerBeetle cluster, but its client is not installed: pip install 'vuka[tigerbeetle]'."
            ) from None
        self._bindings = bindings
        self._addresses = addresses
        self._cluster_id = cluster_id
        self._timeout_s = timeout_ms / 1000
        self._look_s = min(timeout_ms, LOOK_MS_MAX) / 1000
        self._lock = threading.Lock()
        self._given_up: _Request | None = None
        self._session: _Session | None = _Session(addresses, cluster_id)
        self.requests = 0
        """Requests answered since it was made."""
        self.evictions = 0
        """Sessions lost to eviction since it was made."""

    def ledger(self, _tx: Tx, _now_ns: int) -> TigerBeetleLedger:
        """The ledger for a transaction. Its time is the cluster's, and it does not wait for the commit."""
        return TigerBeetleLedger(self)

    def for_looking(self, _tx: Tx, _now_ns: int) -> TigerBeetleLedger:
        """The same for whoever only reads, and must not wait for long (`LOOK_MS_MAX`)."""
        return TigerBeetleLedger(self, looks=True)

    @property
    def is_reachable(self) -> bool:
        """Whether every request so far was answered: one that was given up may still be done at any time."""
        given_up = self._given_up
        return given_up is None or given_up.done.is_set() or not given_up.is_missed

    def ping(self) -> None:
        """Asks for next to nothing, so that `is_reachable` tells of a cluster that nobody uses."""
        with contextlib.suppress(LedgerUnavailableError):
            self.request("LOOKUP_ACCOUNTS", _ID.pack(1, 0))

    def request(self, operation: str, body: bytes | bytearray, *, looks: bool = False) -> bytes:
        """The answer to one request. Raises `LedgerUnavailableError` where none comes in time."""
        number = int(self._bindings.Operation[operation])
        if not self._lock.acquire(timeout=self._look_s if looks else self._timeout_s):
            raise LedgerUnavailableError
        try:
            for _ in range(_EVICTIONS_MAX):
                answer = self._ask(number, body, looks=looks)
                if answer is not None:
                    self.requests += 1
                    return answer
                self.evictions += 1
            raise LedgerUnavailableError
        finally:
            self._lock.release()

    def _ask(self, operation: int, body: bytes | bytearray, *, looks: bool) -> bytes | None:
        """The answer, or None where the session was evicted."""
        if self._given_up is not None:
            self._wait(self._given_up, looks=looks)
            self._end_if_lost(self._given_up)
            self._given_up = None
        if self._session is None:
            self._session = _Session(self._addresses, self._cluster_id)
        request = self._given_up = self._session.send(operation, body)
        self._wait(request, looks=looks)
        self._given_up = None
        if request.status == self._bindings.PacketStatus.OK:
            return request.answer
        if self._end_if_lost(request):
            return None
        if request.status == self._bindings.PacketStatus.TOO_MUCH_DATA:
            raise LedgerUnavailableError("its cluster takes smaller requests than 8,189 events")
        raise AssertionError(f"the ledger's client refused a request: {request.status}")

    def _wait(self, request: _Request, *, looks: bool) -> None:
        """Waits for an answer, unless it was waited for long enough before. Raises `LedgerUnavailableError`."""
        wait_s = 0 if request.is_missed else self._look_s if looks else self._timeout_s
        if not request.done.wait(wait_s):
            request.is_missed = request.is_missed or not looks
            raise LedgerUnavailableError

    def _end_if_lost(self, request: _Request) -> bool:
        """Whether the session ended with the request; then the next request begins another.

        Raises `LedgerUnavailableError` where another would end in the same way: the client is too old or too new.
        """
        status = self._bindings.PacketStatus
        if request.status in (status.OK, status.TOO_MUCH_DATA, status.INVALID_OPERATION, status.INVALID_DATA_SIZE):
            return False
        if self._session is not None:
            self._session.close()
            self._session = None
        if request.status in (status.CLIENT_RELEASE_TOO_LOW, status.CLIENT_RELEASE_TOO_HIGH):
            raise LedgerUnavailableError("its client is of another release than the cluster allows")
        return True

    def close(self) -> None:
        """Ends the session; what is under way is given up."""
        if self._session is not None:
            self._session.close()
            self._session = None


class TigerBeetleLedger:
    """The contract of `vuka.ledger.model.Ledger`, kept by a cluster.

    ``amount_max`` is the largest amount of one transfer; the cluster's own, 2^128 − 1, is for its tests. One that only
    ``looks`` does not wait for long.
    """

    __slots__ = ("_amount_max", "_cluster", "_looks")

    shares_transaction = False

    def __init__(self, cluster: Cluster, *, amount_max: int = AMOUNT_MAX, looks: bool = False) -> None:
        self._cluster = cluster
        self._looks = looks
        self._amount_max = amount_max

    def create_accounts(self, accounts: Sequence[Account]) -> list[CreateAccountResult]:
        """One result for each account, in order. Raises `BatchTooLargeError`, `FieldError`."""
        return [
            CreateAccountResult(timestamp, _ACCOUNT_STATUS[status])
            for timestamp, status in self._create("CREATE_ACCOUNTS", [_account_fields(each) for each in accounts])
        ]

    def create_transfers(self, transfers: Sequence[Transfer]) -> list[CreateTransferResult]:
        """One result for each transfer, in order. Raises `BatchTooLargeError`, `FieldError`."""
        statuses = _TRANSFER_STATUS
        return [
            CreateTransferResult(timestamp, statuses[status])
            for timestamp, status in self._create(
                "CREATE_TRANSFERS", [_transfer_fields(each, self._amount_max) for each in transfers]
            )
        ]

    def lookup_accounts(self, ids: Sequence[int]) -> list[Account]:
        """The accounts that exist among these, in the order asked. Raises `BatchTooLargeError`, `FieldError`."""
        return [_account(row) for row in _ACCOUNT.iter_unpack(self._lookup("LOOKUP_ACCOUNTS", ids))]

    def lookup_transfers(self, ids: Sequence[int]) -> list[Transfer]:
        """The transfers that exist among these, in the order asked. Raises `BatchTooLargeError`, `FieldError`."""
        return [_transfer(row) for row in _EVENT.iter_unpack(self._lookup("LOOKUP_TRANSFERS", ids))]

    def get_account_transfers(self, account_filter: AccountFilter) -> list[Transfer]:
        """The transfers of one account, by timestamp. Raises `FieldError`."""
        answer = self._find("GET_ACCOUNT_TRANSFERS", account_filter, _pack_account_filter)
        return [_transfer(row) for row in _EVENT.iter_unpack(answer)]

    def get_account_balances(self, account_filter: AccountFilter) -> list[AccountBalance]:
        """The balances of one account after each of its transfers, by timestamp. Raises `FieldError`."""
        answer = self._find("GET_ACCOUNT_BALANCES", account_filter, _pack_account_filter)
        return [
            AccountBalance(
                debits_pending=row[0] | row[1] << 64,
                debits_posted=row[2] | row[3] << 64,
                credits_pending=row[4] | row[5] << 64,
                credits_posted=row[6] | row[7] << 64,
                timestamp=row[8],
            )
            for row in _BALANCE.iter_unpack(answer)
        ]

    def query_accounts(self, query_filter: QueryFilter) -> list[Account]:
        """The accounts that match, by timestamp. Raises `FieldError`."""
        answer = self._find("QUERY_ACCOUNTS", query_filter, _pack_query_filter)
        return [_account(row) for row in _ACCOUNT.iter_unpack(answer)]

    def query_transfers(self, query_filter: QueryFilter) -> list[Transfer]:
        """The transfers that match, by timestamp. Raises `FieldError`."""
        answer = self._find("QUERY_TRANSFERS", query_filter, _pack_query_filter)
        return [_transfer(row) for row in _EVENT.iter_unpack(answer)]

    def _request(self, operation: str, body: bytes | bytearray) -> bytes:
        return self._cluster.request(operation, body, looks=self._looks)

    def _create(self, operation: str, events: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
        """Timestamp and status of each event."""
        _check_length(events)
        if not events:
            return []
        body = bytearray(len(events) * _EVENT.size)
        pack, size = _EVENT.pack_into, _EVENT.size
        try:
            for place, event in enumerate(events):
                pack(body, place * size, *event)
        except struct.error as error:
            raise FieldError(f"a number does not fit its field: {error}") from None
        results: list[Any] = list(_RESULT.iter_unpack(self._request(operation, body)))
        if len(results) != len(events):
            raise AssertionError(f"the ledger answered {len(results)} results to {len(events)} events")
        return results

    def _lookup(self, operation: str, ids: Sequence[int]) -> bytes:
        _check_length(ids)
        if not ids:
            return b""
        try:
            body = b"".join([each.to_bytes(16, "little") for each in ids])
        except OverflowError:
            raise FieldError("not a 128-bit id") from None
        return self._request(operation, body)

    def _find(self, operation: str, wanted: Any, pack: Callable[[Any], bytes]) -> bytes:
        is_valid = (
            wanted.limit > 0
            and wanted.flags >= 0
            and 0 <= wanted.timestamp_min <= TIMESTAMP_MAX
            and 0 <= wanted.timestamp_max <= TIMESTAMP_MAX
        )
        if not is_valid:
            return b""
        try:
            body = pack(wanted)
        except struct.error as error:
            raise FieldError(f"a number does not fit its field: {error}") from None
        return self._request(operation, body)


def _check_length(events: Sequence[object]) -> None:
    if len(events) > BATCH_MAX:
        raise BatchTooLargeError(f"{len(events)} in one request, where {BATCH_MAX} are the most")


# A negative number, or one that is too large, has an upper half that does not fit 64 bits: packing it fails.


def _account_fields(a: Account) -> tuple[int, ...]:
    return (
        a.id & _LOW, a.id >> 64,
        a.debits_pending & _LOW, a.debits_pending >> 64,
        a.debits_posted & _LOW, a.debits_posted >> 64,
        a.credits_pending & _LOW, a.credits_pending >> 64,
        a.credits_posted & _LOW, a.credits_posted >> 64,
        a.user_data_128 & _LOW, a.user_data_128 >> 64,
        a.user_data_64, a.user_data_32, 0, a.ledger, a.code, a.flags, a.timestamp,
    )  # fmt: skip


def _transfer_fields(t: Transfer, amount_max: int) -> tuple[int, ...]:
    amount = t.amount
    if not 0 <= amount <= amount_max:
        raise FieldError(f"a number does not fit its field: {t}")
    if amount == amount_max and t.flags & _POST:
        amount = _WHOLE
    return (
        t.id & _LOW, t.id >> 64,
        t.debit_account_id & _LOW, t.debit_account_id >> 64,
        t.credit_account_id & _LOW, t.credit_account_id >> 64,
        amount & _LOW, amount >> 64,
        t.pending_id & _LOW, t.pending_id >> 64,
        t.user_data_128 & _LOW, t.user_data_128 >> 64,
        t.user_data_64, t.user_data_32, t.timeout, t.ledger, t.code, t.flags, t.timestamp,
    )  # fmt: skip


def _pack_account_filter(wanted: AccountFilter) -> bytes:
    return _ACCOUNT_FILTER.pack(
        wanted.account_id & _LOW, wanted.account_id >> 64,
        wanted.user_data_128 & _LOW, wanted.user_data_128 >> 64,
        wanted.user_data_64, wanted.user_data_32, wanted.code,
        wanted.timestamp_min, wanted.timestamp_max, min(wanted.limit, BATCH_MAX), wanted.flags,
    )  # fmt: skip


def _pack_query_filter(wanted: QueryFilter) -> bytes:
    return _QUERY_FILTER.pack(
        wanted.user_data_128 & _LOW, wanted.user_data_128 >> 64,
        wanted.user_data_64, wanted.user_data_32, wanted.ledger, wanted.code,
        wanted.timestamp_min, wanted.timestamp_max, min(wanted.limit, BATCH_MAX), wanted.flags,
    )  # fmt: skip


def _account(row: tuple[Any, ...]) -> Account:
    return Account(
        id=row[0] | row[1] << 64,
        debits_pending=row[2] | row[3] << 64,
        debits_posted=row[4] | row[5] << 64,
        credits_pending=row[6] | row[7] << 64,
        credits_posted=row[8] | row[9] << 64,
        user_data_128=row[10] | row[11] << 64,
        user_data_64=row[12],
        user_data_32=row[13],
        ledger=row[15],
        code=row[16],
        flags=row[17],
        timestamp=row[18],
    )


def _transfer(row: tuple[Any, ...]) -> Transfer:
    return Transfer(
        id=row[0] | row[1] << 64,
        debit_account_id=row[2] | row[3] << 64,
        credit_account_id=row[4] | row[5] << 64,
        amount=row[6] | row[7] << 64,
        pending_id=row[8] | row[9] << 64,
        user_data_128=row[10] | row[11] << 64,
        user_data_64=row[12],
        user_data_32=row[13],
        timeout=row[14],
        ledger=row[15],
        code=row[16],
        flags=row[17],
        timestamp=row[18],
    )
