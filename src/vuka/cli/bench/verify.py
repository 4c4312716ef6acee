"""Whether what was measured was right: payer, payee and hub agree on every payment, and the books are audited.

A figure of a run that fails this is worth nothing, so none is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from vuka.cli.options import read_config
from vuka.cli.reading import reading
from vuka.sim.bench.participants import ABORTED, COMMITTED, REFUSED
from vuka.sim.bench.plan import Ends, Told
from vuka.switch.audit import audit
from vuka.switch.records import FINAL_STATES, State

SHOWN_MAX: Final = 3


class DisagreementError(Exception):
    """Payer, payee and hub do not agree, or the books do not balance; the message names the first cases."""


class HubRecord(msgspec.Struct, frozen=True):
    """What the hub has of a payment."""

    payer: str
    payee: str
    amount: int
    state: State


def check(data: Path, ends: Ends, *, after: int = 0, audits: bool = True) -> int:
    """Compares what participants were told with the records in a data directory, and audits the books.

    Payments up to number ``after`` (``transfer_seq``) were in the records before, and are nobody's here. Returns how
    many payments all agree to be COMMITTED. Raises `DisagreementError`. Without ``audits`` the books are taken as they
    are: to audit millions of transfers takes minutes.
    """
    with reading(read_config(data, is_at_home=True)) as (tx, ledger):
        rows = tx.query(
            """SELECT wire_id, payer_fsp, payee_fsp, amount, state FROM transfer
               WHERE kind = 'PAYMENT' AND transfer_seq > ?""",
            (after,),
        )
        differences = audit(tx, ledger).differences if audits else []
    records = {row[0]: HubRecord(row[1], row[2], row[3], State(row[4])) for row in rows}
    found = disagreements(ends, records)
    if found:
        more = f" (and {len(found) - SHOWN_MAX} more)" if len(found) > SHOWN_MAX else ""
        raise DisagreementError(f"Payer, payee and hub do not agree: {'; '.join(found[:SHOWN_MAX])}{more}.")
    if differences:
        raise DisagreementError(f"The books do not balance: {differences[0]}")
    return sum(each.payer_told == COMMITTED for each in ends.told)


def disagreements(ends: Ends, records: Mapping[str, HubRecord]) -> list[str]:
    """What participants and hub see differently, a phrase for each case."""
    found = list(ends.contradictions)
    for told in ends.told:
        difference = _difference(told, records.get(told.transfer_id))
        if difference:
            found.append(f"{told.transfer_id}: {difference}")
    known = {each.transfer_id for each in ends.told}
    found += [f"{each}: the hub has it, and no payer sent it" for each in records if each not in known]
    return found


def _difference(told: Told, record: HubRecord | None) -> str:
    if not told.payer_told:
        return f"the payer was not told its end, the hub has {record.state if record is not None else 'nothing'}"
    if told.payer_told == REFUSED:
        return "" if record is None and not told.payee_told else "the hub refused it, and knows it"
    if record is None:
        return f"the payer was told {told.payer_told}, the hub does not have it"
    if record.state not in FINAL_STATES:
        return f"it has not ended: the hub has {record.state}, the payer was told {told.payer_told}"
    if (record.payer, record.payee, record.amount) != (told.payer, told.payee, told.amount):
        return "the hub has other parties or another amount"
    end = COMMITTED if record.state is State.COMMITTED else ABORTED
    if told.payer_told != end:
        return f"the hub has {record.state}, the payer was told {told.payer_told}"
    # A payee that was never asked hears nothing of a payment that has failed.
    if told.payee_told != end and (end == COMMITTED or told.payee_told):
        return f"the hub has {record.state}, the payee was told {told.payee_told or 'nothing'}"
    return ""
