"""Oracles outside the hub: which of them is asked about a party, and how operators register them.

An oracle knows which participant serves the parties of one type, in one currency or in any. A type that has none is
served by the hub's own oracle (`vuka.switch.lookup`). The rules are the reference's account lookup (hub reference
§5.3, §7.4), without three of its defects: where several oracles match and none is the default, the choice is made and
not left undefined; an oracle can be changed without changing its type or currency; and it can stop being the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vuka.errors import ErrorCode, FspiopError
from vuka.money import Currency
from vuka.switch.directory import Directory, Oracle
from vuka.switch.work import Command, Outcome, Work


class AddOracle(Command, frozen=True, kw_only=True):
    """``POST /oracles``: asks an oracle about the parties of a type from this commit on. Its value is its number."""

    party_id_type: str
    currency: Currency | None = None
    """None: any currency."""
    value: str
    """The base URL of its API, without a slash at the end."""
    is_default: bool = False
    by: str = "operator"


class ChangeOracle(Command, frozen=True, kw_only=True):
    """``PUT /oracles/{ID}``: another URL, type or currency; what is None stays as it is."""

    oracle_id: int
    party_id_type: str
    currency: Currency | None = None
    value: str
    is_default: bool | None = None


class RemoveOracle(Command, frozen=True, kw_only=True):
    """``DELETE /oracles/{ID}``: asks it no longer."""

    oracle_id: int


def oracle_for(directory: Directory, party_id_type: str, currency: str = "", *, writes: bool = False) -> Oracle | None:
    """The oracle that is asked about parties of a type; None is the hub's own.

    With a currency it is the one for exactly that currency, else one for any. Without, or where several remain, it is
    the one flagged as default, before others one for any currency, before others the one added first. ``writes``: a
    registration in a currency that no oracle serves goes to the oracle that serves the type, as in the reference.

    Raises `FspiopError` 3003 where the type has oracles, but none for that currency (hub reference §7.4).
    """
    of_type = [each for each in directory.oracles if each.party_id_type == party_id_type]
    if not of_type:
        return None
    if not currency:
        return _preferred(of_type)
    of_currency = [each for each in of_type if each.currency == currency]
    of_any = [each for each in of_type if each.currency is None]
    matching = of_currency or of_any or (of_type if writes else [])
    if not matching:
        detail = f"Oracle type:{party_id_type} and currency:{currency} not found"
        raise FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, detail)
    return _preferred(matching)


def _preferred(oracles: Sequence[Oracle]) -> Oracle:
    return min(oracles, key=lambda each: (not each.is_default, each.currency is not None, each.oracle_id))


def add(work: Work, commands: Sequence[AddOracle]) -> list[Outcome]:
    """Registers oracles."""
    return [_add(work, command) for command in commands]


def _add(work: Work, command: AddOracle) -> Outcome:
    if _taken(work, command.party_id_type, command.currency):
        return Outcome(error=_duplicate())
    ((oracle_id,),) = work.tx.query(
        """INSERT INTO oracle (party_id_type, currency, endpoint_type, value, is_default, is_active,
                               created_ms, created_by, changed_ms)
           VALUES (?, ?, 'URL', ?, ?, 1, ?, ?, ?) RETURNING oracle_id""",
        (
            command.party_id_type,
            command.currency,
            command.value,
            int(command.is_default),
            work.now_ms,
            command.by,
            work.now_ms,
        ),
    )
    work.directory_changed()
    return Outcome(value=int(oracle_id), note=f"oracle {oracle_id} added for {command.party_id_type}")


def change(work: Work, commands: Sequence[ChangeOracle]) -> list[Outcome]:
    """Changes oracles."""
    return [_change(work, command) for command in commands]


def _change(work: Work, command: ChangeOracle) -> Outcome:
    oracle = _active(work, command.oracle_id)
    if oracle is None:
        return Outcome(error=FspiopError(ErrorCode.ADD_PARTY_INFO_ERROR, "Oracle not found"))
    currency = command.currency or oracle.currency
    if _taken(work, command.party_id_type, currency, by_other_than=oracle.oracle_id):
        return Outcome(error=_duplicate())
    is_default = oracle.is_default if command.is_default is None else command.is_default
    work.tx.run(
        """UPDATE oracle SET party_id_type = ?, currency = ?, value = ?, is_default = ?, changed_ms = ?
           WHERE oracle_id = ?""",
        (command.party_id_type, currency, command.value, int(is_default), work.now_ms, oracle.oracle_id),
    )
    work.directory_changed()
    return Outcome(note=f"oracle {oracle.oracle_id} changed")


def remove(work: Work, commands: Sequence[RemoveOracle]) -> list[Outcome]:
    """Removes oracles. One that is not there, or no longer, is removed already."""
    return [_remove(work, command) for command in commands]


def _remove(work: Work, command: RemoveOracle) -> Outcome:
    if _active(work, command.oracle_id) is None:
        return Outcome(note=f"oracle {command.oracle_id} is not there")
    work.tx.run("UPDATE oracle SET is_active = 0, changed_ms = ? WHERE oracle_id = ?", (work.now_ms, command.oracle_id))
    work.directory_changed()
    return Outcome(note=f"oracle {command.oracle_id} removed")


def _active(work: Work, oracle_id: int) -> Oracle | None:
    return next((each for each in work.directory.oracles if each.oracle_id == oracle_id), None)


def _taken(work: Work, party_id_type: str, currency: str | None, *, by_other_than: int | None = None) -> bool:
    """Whether an active oracle serves exactly that type and currency: there is never a second."""
    return any(
        (each.party_id_type, each.currency) == (party_id_type, currency) and each.oracle_id != by_other_than
        for each in work.directory.oracles
    )


def _duplicate() -> FspiopError:
    # The words of the reference, and before them the one by which its test suites know the error.
    detail = "Duplicate: Active oracle with matching partyIdTypeId, endpointTypeId, currencyId already exists"
    return FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, detail)


USE_CASES: Final = (
    # A batch that takes one away and adds another for the same parties ends with the one it added.
    (remove, RemoveOracle),
    (change, ChangeOracle),
    (add, AddOracle),
)
"""Each function with the commands that it decides, in the order in which one batch takes them."""
