"""The records of transfers: their rows, their states, and the history of each.

Payments and movements of funds are both transfers and both rows of ``transfer``; what may become of them is decided
in `vuka.switch.transfers` and `vuka.switch.funds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from vuka.ids import FspId, TransferId
from vuka.money import Currency
from vuka.switch.work import Ended, Work


class State(StrEnum):
    """Every state of a transfer."""

    RECEIVED_PREPARE = "RECEIVED_PREPARE"
    RESERVED = "RESERVED"
    RECEIVED_FULFIL = "RECEIVED_FULFIL"
    RECEIVED_ERROR = "RECEIVED_ERROR"
    RESERVED_TIMEOUT = "RESERVED_TIMEOUT"
    COMMITTED = "COMMITTED"
    ABORTED_REJECTED = "ABORTED_REJECTED"
    ABORTED_ERROR = "ABORTED_ERROR"
    EXPIRED_PREPARED = "EXPIRED_PREPARED"
    EXPIRED_RESERVED = "EXPIRED_RESERVED"
    INVALID = "INVALID"

    @property
    def api(self) -> str:
        """The ``transferState`` that participants see: an internal state never leaves the hub."""
        return _API_STATES[self]


# An enum's own look-up by value, `value` and `name` are Python calls: of what every payment needs they are none.
_STATES: Final = {state.value: state for state in State}

_API_STATES: Final = {
    State.RECEIVED_PREPARE: "RECEIVED",
    State.RESERVED: "RESERVED",
    State.RECEIVED_FULFIL: "RESERVED",
    State.RECEIVED_ERROR: "RESERVED",
    State.RESERVED_TIMEOUT: "RESERVED",
    State.COMMITTED: "COMMITTED",
    State.ABORTED_REJECTED: "ABORTED",
    State.ABORTED_ERROR: "ABORTED",
    State.EXPIRED_PREPARED: "ABORTED",
    State.EXPIRED_RESERVED: "ABORTED",
    State.INVALID: "ABORTED",
}

FINAL_STATES: Final = frozenset(
    (
        State.COMMITTED,
        State.ABORTED_REJECTED,
        State.ABORTED_ERROR,
        State.EXPIRED_PREPARED,
        State.EXPIRED_RESERVED,
        State.INVALID,
    )
)


class Record(msgspec.Struct):
    """A row of ``transfer``."""

    transfer_seq: int
    transfer_id: TransferId
    wire_id: str
    kind: str
    payer_fsp: FspId
    payee_fsp: FspId
    currency: Currency
    amount: int
    state: State
    condition: str | None
    ilp_packet: str | None
    expires_ms: int
    request_hash: bytes
    fulfil_hash: bytes | None
    error_hash: bytes | None
    fulfilment: str | None
    error_code: str | None
    error_description: str | None
    settlement_window_id: int | None
    payer_version: str
    payee_version: str
    created_ms: int
    completed_ms: int | None
    extensions: str | None = None
    """Those of the request, as a JSON array of pairs of key and value; None where it has none."""
    trace: str | None = None
    """The trace context of the request, as a JSON array of pairs of name and value; None where it has none."""

    @property
    def cause(self) -> tuple[tuple[str, str], ...]:
        """The ``cause`` extension that tells why it was aborted, as the reference gives it."""
        if self.error_code is None:
            return ()
        return (("cause", f"{self.error_code}: {self.error_description}"),)


COLUMNS: Final = ", ".join(Record.__struct_fields__)
_INSERT: Final = f"INSERT INTO transfer ({COLUMNS}) VALUES ({', '.join('?' * len(Record.__struct_fields__))})"
_UPDATE: Final = """UPDATE transfer
    SET state = ?, fulfil_hash = ?, error_hash = ?, fulfilment = ?, error_code = ?, error_description = ?,
        settlement_window_id = ?, payee_version = ?, completed_ms = ?
    WHERE transfer_seq = ?"""
_INSERT_CHANGE: Final = (
    "INSERT INTO transfer_state_change (transfer_seq, step, state, reason, created_ms) VALUES (?, ?, ?, ?, ?)"
)

# Steps number the history of one transfer. What ends it comes after what reserved it, so two bases suffice.
_STEP_PREPARE: Final = 1
_STEP_END: Final = 3


def load_records(work: Work, transfer_ids: Sequence[bytes]) -> dict[bytes, Record]:
    """The transfers of these ids that exist, in one statement."""
    rows = work.tx.query_in(f"SELECT {COLUMNS} FROM transfer WHERE transfer_id IN {{values}}", transfer_ids)
    records = {row[1]: to_record(row) for row in rows}
    for record in records.values():
        file(work, record)
    return records


def file(work: Work, record: Record) -> None:
    """Says that the batch is about a transfer: its messages are filed under it."""
    work.filed["transfers", record.wire_id] = record.transfer_seq


def to_record(row: Sequence[object]) -> Record:
    record = Record(*row)  # type: ignore[arg-type]
    record.state = _STATES[record.state]
    return record


def insert_records(work: Work, records: Sequence[Record]) -> None:
    """Writes new transfers with the history of each: as received, and how it stands now."""
    work.tx.run_many(_INSERT, [msgspec.structs.astuple(record) for record in records])
    changes: list[tuple[int, int, str, str | None, int]] = []
    for record in records:
        file(work, record)
        if record.state in FINAL_STATES:
            note_end(work, record)
        if record.state is not State.INVALID:
            changes.append((record.transfer_seq, _STEP_PREPARE, "RECEIVED_PREPARE", None, record.created_ms))
        reason = record.error_description if record.state is not State.RESERVED else None
        changes.append((record.transfer_seq, _STEP_PREPARE + 1, record.state._value_, reason, work.now_ms))
    work.tx.run_many(_INSERT_CHANGE, changes)


def update_records(work: Work, records: Sequence[Record]) -> None:
    """Writes back transfers whose end was decided, or whose answer was noted."""
    work.tx.run_many(
        _UPDATE,
        [
            (
                record.state._value_,
                record.fulfil_hash,
                record.error_hash,
                record.fulfilment,
                record.error_code,
                record.error_description,
                record.settlement_window_id,
                record.payee_version,
                record.completed_ms,
                record.transfer_seq,
            )
            for record in records
        ],
    )


def note_end(work: Work, record: Record) -> None:
    """Says that this batch has ended a transfer: once for each, when it takes its final state."""
    work.ended.append(
        Ended(
            record.wire_id,
            record.kind,
            record.state._value_,
            record.payer_fsp,
            record.created_ms,
            record.transfer_id,
            record.payee_fsp,
            record.currency,
            record.amount,
            work.now_ms if record.completed_ms is None else record.completed_ms,
            record.error_code,
        )
    )


Change: TypeAlias = tuple[int, int, str, str | None, int]
"""A row of the history: transfer, step, state, reason, time."""


def end_changes(record: Record, through: State, state: State, reason: str | None, now_ms: int) -> tuple[Change, Change]:
    """The history of a reserved transfer's end: the state that announces it, and the final one."""
    seq = record.transfer_seq
    return (
        (seq, _STEP_END, through._value_, None, now_ms),
        (seq, _STEP_END + 1, state._value_, reason, now_ms),
    )


def insert_changes(work: Work, changes: Sequence[Change]) -> None:
    """Writes history."""
    work.tx.run_many(_INSERT_CHANGE, changes)
