"""The audit log: what is chained, who is named, and that nothing in it can be altered unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests import stores
from tests.switch.scheme_bench import START_MS

from vuka.api.audit_key import AuditKey
from vuka.ids import FspId
from vuka.store import Database, Tx
from vuka.store import sqlite as on_sqlite
from vuka.switch import auditlog
from vuka.switch.auditlog import Act, Checkpoint, Entry, Kind, Search
from vuka.switch.work import Actor, ActorKind, Ended

ALICE = Actor(ActorKind.OPERATOR, "alice", 7)
KEY = AuditKey(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1"))
OTHER = AuditKey(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\2"))


def ended(number: int, state: str = "COMMITTED") -> Ended:
    key = number.to_bytes(16, "big")
    payer, payee = FspId("payer"), FspId("payee")
    return Ended(str(number), "PAYMENT", state, payer, START_MS, key, payee, "USD", 10_000 + number, START_MS, None)


def act(what: str, who: Actor = ALICE) -> Act:
    return Act(who, what, "accepted", {"name": "greenbank"})


@pytest.fixture
def database() -> Iterator[Database]:
    fresh = stores.fresh()
    yield fresh
    fresh.close()


def build(database: Database, *, batches: int = 6, sign_every: int = 3) -> list[Entry]:
    """A log of acts, ends and checkpoints."""
    with database.begin() as tx:
        last = auditlog.begin(tx, "Bench", START_MS)
        for number in range(batches):
            at_ms = START_MS + number
            last = auditlog.append(tx, last, Kind.ACT, act(f"Change{number}"), at_ms)
            last = auditlog.append_ends(tx, last, [ended(2 * number), ended(2 * number + 1)], at_ms)
            if number % sign_every == sign_every - 1:
                last, _ = auditlog.sign(tx, last, KEY.sign, at_ms)
    return stored(database)


def stored(database: Database) -> list[Entry]:
    with database.read() as tx:
        return list(auditlog.entries(tx))


def first_bad(chain: Sequence[Entry], kept: Sequence[Checkpoint] = (), keys: set[str] | None = None) -> int | None:
    fault = auditlog.verify(chain, kept=kept, keys=keys).fault
    return None if fault is None else fault.seq


def prune(tx: Tx, up_to: int) -> None:
    auditlog.prune(tx, up_to, who=ALICE, archive="a.jsonl", sha256="00", sign_bytes=KEY.sign, now_ms=START_MS + 50)


def kept_of(chain: Sequence[Entry]) -> list[Checkpoint]:
    return [content for each in chain if isinstance(content := each.read(), Checkpoint)]


def test_a_log_that_nobody_has_touched_is_whole(database: Database) -> None:
    chain = build(database)
    verdict = auditlog.verify(chain, kept=kept_of(chain), keys={KEY.public})
    assert verdict.fault is None
    assert (verdict.first, verdict.last, verdict.entries, verdict.checkpoints) == (1, 15, 15, 2)
    assert verdict.keys == [KEY.public]


Alteration = Callable[[list[Entry], int, int], list[Entry]]


def _replace(chain: list[Entry], at: int, **fields: object) -> list[Entry]:
    return [*chain[:at], msgspec.structs.replace(chain[at], **fields), *chain[at + 1 :]]


def _flip(content: bytes, place: int) -> bytes:
    place %= len(content)
    return content[:place] + bytes((content[place] ^ 1,)) + content[place + 1 :]


def _swap(chain: list[Entry], one: int, other: int) -> list[Entry]:
    """Two rows change their places: each keeps the number of its place."""
    changed = list(chain)
    changed[one] = msgspec.structs.replace(chain[other], seq=chain[one].seq)
    changed[other] = msgspec.structs.replace(chain[one], seq=chain[other].seq)
    return changed


def _insert_copy(chain: list[Entry], at: int, other: int) -> list[Entry]:
    copied = msgspec.structs.replace(chain[other], seq=chain[at].seq)
    moved = [msgspec.structs.replace(each, seq=each.seq + 1) for each in chain[at:]]
    return [*chain[:at], copied, *moved]


ALTERATIONS: dict[str, Alteration] = {
    "its content is edited": lambda chain, at, n: _replace(chain, at, content=_flip(chain[at].content, n)),
    "its time is edited": lambda chain, at, n: _replace(chain, at, at_ms=chain[at].at_ms + 1 + n),
    "its kind is edited": lambda chain, at, n: _replace(chain, at, kind="ACT" if chain[at].kind != "ACT" else "ENDS"),
    "its hash is edited": lambda chain, at, n: _replace(chain, at, hash=_flip(chain[at].hash, n)),
    "it is removed": lambda chain, at, n: [*chain[:at], *chain[at + 1 :]],
    "it is removed and the rest moves up": lambda chain, at, n: [
        *chain[:at],
        *(msgspec.structs.replace(each, seq=each.seq - 1) for each in chain[at + 1 :]),
    ],
    "it changes places": lambda chain, at, n: _swap(chain, at, (at + 1 + n % (len(chain) - 1)) % len(chain)),
    "it is there twice": lambda chain, at, n: [*chain[:at], chain[at], *chain[at:]],
    "a copy of another is inserted": lambda chain, at, n: _insert_copy(chain, at, n % len(chain)),
}


@pytest.fixture(scope="module")
def chain() -> list[Entry]:
    database = on_sqlite.Database.open(None)
    database.create_all()
    return build(database)


@given(data=st.data(), name=st.sampled_from(sorted(ALTERATIONS)))
def test_whatever_is_altered_is_found(chain: list[Entry], data: st.DataObject, name: str) -> None:
    at, other = data.draw(st.integers(0, len(chain) - 1)), data.draw(st.integers(0, 1_000))
    altered = ALTERATIONS[name](chain, at, other)
    if altered == chain or altered == chain[: len(chain) - 1]:
        # What comes behind the last checkpoint that was kept elsewhere may be cut off: there is no trace of it.
        return
    found = first_bad(altered, kept_of(chain), {KEY.public})
    assert found is not None
    if name in ("its content is edited", "its hash is edited", "its time is edited", "its kind is edited"):
        assert found == at + 1, "the first bad entry is named"


def test_an_entry_whose_letters_are_none_any_more_is_named(chain: list[Entry]) -> None:
    edited = msgspec.structs.replace(chain[1], content=chain[1].content.replace(b"alice", b"\xa4lice"))
    assert edited != chain[1]
    assert first_bad([chain[0], edited, *chain[2:]]) == 2
    assert edited.content_or_none() is None


def test_a_removed_entry_is_named(chain: list[Entry]) -> None:
    fault = auditlog.verify([*chain[:4], *chain[5:]]).fault
    assert fault == auditlog.Fault(5, "it is missing")


@given(data=st.data())
def test_a_tail_that_was_cut_off_is_found_by_a_checkpoint_kept_elsewhere(
    chain: list[Entry], data: st.DataObject
) -> None:
    kept = kept_of(chain)[-1]
    length = data.draw(st.integers(0, kept.seq - 1))
    assert first_bad(chain[:length], [kept], {KEY.public}) is not None


def _forged(chain: Sequence[Entry], at: int, key: AuditKey | None) -> list[Entry]:
    """What somebody makes who can write the tables: an entry is edited and all after it is chained anew."""
    forged: list[Entry] = list(chain[:at])
    before = chain[at - 1].hash if at else bytes(32)
    for each in chain[at:]:
        content = each.content
        read = each.read()
        if each.seq == at + 1 and isinstance(read, Act):
            content = msgspec.msgpack.encode(msgspec.structs.replace(read, outcome="something else"))
        if isinstance(read, Checkpoint) and key is not None:
            unsigned = msgspec.structs.replace(read, hash=before.hex())
            public, signature = key.sign(unsigned.signed())
            content = msgspec.msgpack.encode(msgspec.structs.replace(unsigned, key=public, signature=signature))
        forged.append(
            msgspec.structs.replace(
                each, content=content, hash=auditlog.chained(before, each.seq, each.at_ms, each.kind, content)
            )
        )
        before = forged[-1].hash
    return forged


def test_a_chain_that_is_made_anew_is_not_signed(chain: list[Entry]) -> None:
    forged = _forged(chain, 1, None)
    assert first_bad(forged) == 8, "the first checkpoint has signed something else"


def test_a_chain_that_is_signed_anew_with_another_key_is_not_believed(chain: list[Entry]) -> None:
    forged = _forged(chain, 1, OTHER)
    assert first_bad(forged) is None, "it is consistent in itself"
    assert first_bad(forged, keys={KEY.public}) == 8
    assert first_bad(forged, kept_of(chain)) is not None, "and not what was kept elsewhere"


def test_a_checkpoint_that_is_kept_and_was_edited_is_named(chain: list[Entry]) -> None:
    kept = msgspec.structs.replace(kept_of(chain)[0], hash=chain[0].hash.hex())
    assert first_bad(chain, [kept]) == kept.seq


def test_an_export_tells_what_it_is_and_is_checked_without_a_hub(chain: list[Entry]) -> None:
    lines = [auditlog.export_line(each) for each in chain]
    assert [auditlog.read_line(line) for line in lines] == chain
    assert b'"what":"Change0"' in lines[1]
    with pytest.raises(ValueError, match="not what stands beside it"):
        auditlog.read_line(lines[1].replace(b'"what":"Change0"', b'"what":"Change9"'))


def test_an_entry_is_found_by_who_what_and_when(database: Database) -> None:
    build(database)
    bob = Actor(ActorKind.OPERATOR, "bob")
    with database.begin() as tx:
        auditlog.append(tx, auditlog.head(tx), Kind.ACT, act("AdjustLimit", bob), START_MS + 100)
    with database.read() as tx:
        assert [each.seq for each in auditlog.find(tx, Search(who="Bob")).entries] == [16]
        assert [each.seq for each in auditlog.find(tx, Search(what="limit")).entries] == [16]
        assert [each.seq for each in auditlog.find(tx, Search(since_ms=START_MS + 5)).entries] == [16, 15, 14, 13]
        assert [each.seq for each in auditlog.find(tx, Search(until_ms=START_MS + 1, what="change")).entries] == [2]
        page = auditlog.find(tx, Search(), limit=10)
        assert (len(page.entries), page.before) == (10, 7)
        rest = auditlog.find(tx, Search(), limit=10, before=page.before)
        assert ([each.seq for each in rest.entries], rest.before) == ([6, 5, 4, 3, 2, 1], None)


def test_a_search_by_time_sees_through_a_clock_that_was_set_back(database: Database) -> None:
    build(database)
    with database.begin() as tx:
        last = auditlog.head(tx)
        for at_ms in (START_MS + 100, START_MS + 1, START_MS + 200):
            last = auditlog.append(tx, last, Kind.ACT, act("Late"), at_ms)
    with database.read() as tx:
        assert [each.seq for each in auditlog.find(tx, Search(until_ms=START_MS + 2, what="late")).entries] == [17]
        assert [each.seq for each in auditlog.find(tx, Search(since_ms=START_MS + 6)).entries] == [18, 16]
        assert auditlog.find(tx, Search(since_ms=START_MS + 201)) == auditlog.Found([], None)
        assert auditlog.find(tx, Search(until_ms=START_MS)) == auditlog.Found([], None)


@pytest.mark.store("sqlite")
def test_a_search_by_time_costs_by_what_it_finds_and_not_by_the_whole_log(database: Database) -> None:
    def steps(search: Search) -> int:
        counted = [0]
        with database.read() as tx:
            connection = tx._connection  # type: ignore[attr-defined]
            connection.set_progress_handler(lambda: counted.__setitem__(0, counted[0] + 1), 10)
            auditlog.find(tx, search)
            connection.set_progress_handler(None, 10)
        return counted[0]

    build(database)
    searches = [Search(until_ms=START_MS + 2), Search(since_ms=START_MS + 99_999)]
    few = [steps(each) for each in searches]
    with database.begin() as tx:
        last = auditlog.head(tx)
        for number in range(3_000):
            last = auditlog.append(tx, last, Kind.ACT, act("Much"), START_MS + 100 + number)
        auditlog.append(tx, last, Kind.ACT, act("Last"), START_MS + 100_000)
    assert all(steps(search) < 3 * before + 100 for search, before in zip(searches, few, strict=True))


def test_what_is_pruned_leaves_a_chain_that_begins_with_a_checkpoint(database: Database) -> None:
    chain = build(database)
    with database.begin() as tx:
        prune(tx, 7)
    left = stored(database)
    verdict = auditlog.verify(left, kept=kept_of(chain), keys={KEY.public})
    assert (verdict.fault, verdict.first, verdict.last) == (None, 8, 16)
    assert verdict.log == chain[0].hash.hex()
    assert first_bad(left[:-1]) == 7, "without the entry that says so it is a removal"
    with database.begin() as tx:
        last, checkpoint = auditlog.sign(tx, auditlog.head(tx), KEY.sign, START_MS + 60)
    assert (last.seq, checkpoint.log) == (17, chain[0].hash.hex())
    assert first_bad(stored(database), [checkpoint], {KEY.public}) is None


def test_only_up_to_a_checkpoint_can_be_pruned(database: Database) -> None:
    build(database)
    with database.begin() as tx, pytest.raises(ValueError, match="not the last before a checkpoint"):
        prune(tx, 6)


def _insert(database: Database, seq: int, kind: Kind, content: object, before: bytes) -> None:
    """What somebody appends who can write the tables and not sign."""
    packed = msgspec.msgpack.encode(content)
    digest = auditlog.chained(before, seq, START_MS, kind.value, packed)
    with database.begin() as tx:
        tx.run(
            "INSERT INTO audit_entry (seq, at_ms, kind, content, hash) VALUES (?, ?, ?, ?, ?)",
            (seq, START_MS, kind.value, packed, digest),
        )


def test_that_the_beginning_was_pruned_can_not_be_said_without_the_key(database: Database) -> None:
    chain = build(database)
    with database.begin() as tx:
        prune(tx, 7)
    genuine = stored(database)[-1].read()
    assert isinstance(genuine, auditlog.Pruned)
    for forged in (
        msgspec.structs.replace(genuine, key="", signature=""),
        msgspec.structs.replace(genuine, digest="00" * 32),
        msgspec.structs.replace(genuine, who=Actor(ActorKind.COMMAND_LINE, "bob")),
        msgspec.structs.replace(genuine, log="00" * 32),
    ):
        with database.begin() as tx:
            tx.run("DELETE FROM audit_entry WHERE seq = 16")
        _insert(database, 16, Kind.PRUNED, forged, chain[14].hash)
        assert first_bad(stored(database), keys={KEY.public}) == 16
    other = msgspec.structs.replace(genuine, key="", signature="")
    key, signature = OTHER.sign(other.signed())
    with database.begin() as tx:
        tx.run("DELETE FROM audit_entry WHERE seq = 16")
    _insert(database, 16, Kind.PRUNED, msgspec.structs.replace(other, key=key, signature=signature), chain[14].hash)
    assert first_bad(stored(database), keys={KEY.public}) == 16, "signed with a key that nobody trusts"


def test_an_archive_that_begins_where_another_has_ended_is_checked_as_a_part(chain: list[Entry]) -> None:
    part = chain[7:]
    assert first_bad(part, keys={KEY.public}) == 7, "nobody says that it was pruned"
    verdict = auditlog.verify(part, kept=kept_of(chain), keys={KEY.public}, is_part=True)
    assert (verdict.fault, verdict.first, verdict.last, verdict.kept) == (None, 8, 15, 2)
    for spoiled in (chain[8:], [part[0], *part[2:]], []):
        assert auditlog.verify(spoiled, keys={KEY.public}, is_part=True).fault is not None


def test_a_kept_checkpoint_of_what_was_pruned_is_told_to_be_one(database: Database) -> None:
    kept = kept_of(build(database))
    with database.begin() as tx:
        prune(tx, kept[1].seq)
    verdict = auditlog.verify(stored(database), kept=kept, keys={KEY.public})
    assert (verdict.fault, verdict.kept, verdict.kept_of_pruned) == (None, 1, 1)
    assert verdict.pruned is not None
    assert verdict.pruned.archive == "a.jsonl"


def test_a_log_that_was_emptied_does_not_begin_anew_with_a_signature_of_nothing(database: Database) -> None:
    with database.begin() as tx, pytest.raises(ValueError, match="an empty audit log is not signed"):
        auditlog.sign(tx, auditlog.Head(0, bytes(32)), KEY.sign, START_MS)
    nothing = Checkpoint("", 0, bytes(32).hex(), START_MS, "", "")
    key, signature = KEY.sign(nothing.signed())
    _insert(
        database, 1, Kind.CHECKPOINT, msgspec.structs.replace(nothing, key=key, signature=signature), auditlog.NO_HASH
    )
    assert first_bad(stored(database), keys={KEY.public}) == 1


def test_a_checkpoint_at_the_beginning_that_has_signed_no_hash_is_a_fault() -> None:
    unsigned = Checkpoint("00" * 32, 7, "no hash", START_MS, "", "")
    key, signature = OTHER.sign(unsigned.signed())
    packed = msgspec.msgpack.encode(msgspec.structs.replace(unsigned, key=key, signature=signature))
    assert first_bad([Entry(8, START_MS, "CHECKPOINT", packed, bytes(32))]) == 8


ACT_CONTENT = msgspec.msgpack.encode(Act(ALICE, "SetLimit", "accepted", {"limit": 7}))


@pytest.mark.parametrize(
    "odd",
    [
        msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"x")),
        b"\x81\x91\x01\x01",
        b"\x81\xc0\x01",
        b"\x91" * 2_000 + b"\x07",
    ],
    ids=["an extension", "a list as a key", "no key", "depth"],
)
def test_an_act_that_can_not_be_shown_is_a_fault_though_its_hash_agrees(database: Database, odd: bytes) -> None:
    chain = build(database)
    content = ACT_CONTENT.replace(b"\xa5limit\x07", b"\xa5limit" + odd)
    assert content != ACT_CONTENT
    digest = auditlog.chained(chain[-1].hash, 16, START_MS, "ACT", content)
    with database.begin() as tx:
        tx.run(
            "INSERT INTO audit_entry (seq, at_ms, kind, content, hash) VALUES (?, ?, ?, ?, ?)",
            (16, START_MS, "ACT", content, digest),
        )
    last = stored(database)[-1]
    assert auditlog.read_line(auditlog.export_line(last)) == last
    assert first_bad(stored(database), keys={KEY.public}) == 16
    with database.read() as tx:
        assert auditlog.find(tx, Search(what="limit")).entries == []


@pytest.mark.parametrize(("seq", "at_ms"), [(1, 1 << 63), (1, (1 << 64) - 1), (1 << 63, 1), (1, -1)])
def test_a_line_of_an_export_with_a_number_that_no_row_has_is_none(chain: list[Entry], seq: int, at_ms: int) -> None:
    line = auditlog.export_line(msgspec.structs.replace(chain[0], seq=seq, at_ms=at_ms))
    with pytest.raises(ValueError, match="no line of an export"):
        auditlog.read_line(line)


@pytest.mark.parametrize("deep", [b"[" * 2_000 + b"]" * 2_000, b'{"a":' * 2_000 + b"1" + b"}" * 2_000])
def test_a_line_of_an_export_that_nests_further_than_anybody_reads_is_none(deep: bytes) -> None:
    with pytest.raises(ValueError, match="no line of an export"):
        auditlog.read_line(b'{"seq":1,"at_ms":1,"kind":"ACT","hash":"","content":"","means":%b}' % deep)


ODD: dict[str, list[object]] = {
    "content": ["text", 7, b"\xc1", b""],
    "at_ms": ["noon", 1.5, 1 << 62, -1],
    "kind": [b"ACT", "OTHER", ""],
    "hash": ["text", 7, b""],
}


@pytest.mark.store("sqlite")
@pytest.mark.parametrize(("column", "odd"), [(name, value) for name, values in ODD.items() for value in values])
@pytest.mark.parametrize("seq", [1, 2, 3, 8, 15])
def test_whatever_stands_in_a_row_is_a_fault_and_no_defect(column: str, odd: object, seq: int) -> None:
    database = on_sqlite.Database.open(None)
    database.create_all()
    kept = kept_of(build(database))
    with database.begin() as tx:
        tx.run(f"UPDATE audit_entry SET {column} = ? WHERE seq = ?", (odd, seq))  # type: ignore[arg-type]
    with database.read() as tx:
        chain = list(auditlog.entries(tx))
        assert first_bad(chain, kept, {KEY.public}) == seq
        assert all(auditlog.export_line(each) for each in chain)
        auditlog.find(tx, Search(who="alice"))
        auditlog.find(tx, Search(transfer="00000000-0000-0000-0000-000000000001"))
        list(auditlog.compare(tx))
        auditlog.checkpoints(tx, limit=10)
        assert auditlog.last_checkpoint(tx) is not None or seq == 15
    with database.begin() as tx:
        auditlog.sign(tx, auditlog.head(tx), KEY.sign, START_MS)
    database.close()


@pytest.mark.parametrize(
    "end",
    [
        ["not", "an", "end"],
        [b"short", "COMMITTED", 1, 1, "USD", "a", "b", "PAYMENT", None],
        [bytes(16), "COMMITTED", None, 1, "USD", "a", "b", "PAYMENT", None],
    ],
)
def test_ends_that_can_not_be_read_are_a_fault_though_their_hash_agrees(database: Database, end: list[object]) -> None:
    chain = build(database)
    _insert(database, 16, Kind.ENDS, [end], chain[-1].hash)
    assert auditlog.export_line(stored(database)[-1])
    assert first_bad(stored(database), keys={KEY.public}) == 16
    with database.read() as tx:
        assert "an entry of the audit log can be read" in {each.rule for each in auditlog.compare(tx)}


def _put_below(database: Database, seq: int, like: Entry | None = None) -> None:
    """A row where no entry ever is: an act that nobody did, or a copy of an entry."""
    if like is None:
        _insert(database, seq, Kind.ACT, act("SetLimit"), auditlog.NO_HASH)
        return
    with database.begin() as tx:
        tx.run(
            "INSERT INTO audit_entry (seq, at_ms, kind, content, hash) VALUES (?, ?, ?, ?, ?)",
            (seq, like.at_ms, like.kind, like.content, like.hash),
        )


@pytest.mark.parametrize("is_pruned", [False, True])
@pytest.mark.parametrize("copied", [None, 1, 8])
@pytest.mark.parametrize("seq", [0, -1, -9, -(1 << 63)])
def test_a_row_below_the_first_entry_is_a_fault_that_is_named(
    database: Database, seq: int, copied: int | None, is_pruned: bool
) -> None:
    chain = build(database)
    if is_pruned:
        with database.begin() as tx:
            prune(tx, 7)
    _put_below(database, seq, None if copied is None else chain[copied - 1])
    assert first_bad(stored(database), kept_of(chain), {KEY.public}) == seq
    with database.read() as tx:
        assert str(seq) in {each.subject for each in auditlog.compare(tx)}
    exported = [auditlog.read_line(auditlog.export_line(each)) for each in stored(database)]
    assert first_bad(exported, keys={KEY.public}) == seq
    assert auditlog.verify(exported, keys={KEY.public}, is_part=True).fault is not None


def test_a_line_below_the_first_entry_is_a_fault_of_any_file(chain: list[Entry]) -> None:
    for number in (0, -1, -9):
        for each in (chain[0], chain[1], chain[7]):
            line = msgspec.structs.replace(each, seq=number)
            for file in ([line, *chain], [line, *chain[7:]], [line]):
                for is_part in (False, True):
                    fault = auditlog.verify(file, keys={KEY.public}, is_part=is_part).fault
                    assert fault is not None
                    assert fault.seq == number


def test_a_row_below_the_first_entry_is_read_as_what_somebody_has_altered(database: Database) -> None:
    chain = build(database)
    _put_below(database, -1)
    _put_below(database, -9, chain[7])
    with database.read() as tx:
        assert not any(each.seq < 1 for each in auditlog.find(tx, Search(who="alice")).entries)
        listed = auditlog.find(tx, Search()).entries
        assert [each.content_or_none() for each in listed if each.seq < 1] == [None, None]
        below = auditlog.entry(tx, -1)
        assert below is not None
        assert below.content_or_none() is None
        assert len(auditlog.checkpoints(tx, limit=100)) == 2
        assert auditlog.last_checkpoint(tx, up_to=0) is None


def test_rows_below_the_first_entry_are_no_part_of_what_the_hub_signs_or_goes_on_from(database: Database) -> None:
    chain = build(database)
    _put_below(database, 0)
    _put_below(database, -5)
    with database.begin() as tx:
        assert auditlog.log_id(tx) == chain[0].hash.hex()
        auditlog.sign(tx, auditlog.head(tx), KEY.sign, START_MS)
        tx.run("DELETE FROM audit_entry WHERE seq < 1")
    assert first_bad(stored(database), keys={KEY.public}) is None
    _put_below(database, -5)
    with database.begin() as tx:
        prune(tx, 7)
        assert auditlog.log_id(tx) == chain[0].hash.hex()
        pruned = auditlog.entry(tx, 17)
        assert pruned is not None
        content = pruned.read()
        assert isinstance(content, auditlog.Pruned)
        assert (content.first, content.log) == (1, chain[0].hash.hex())
    assert first_bad(stored(database), keys={KEY.public}) == -5, "what somebody has put there is not pruned away"
    with database.begin() as tx:
        tx.run("DELETE FROM audit_entry WHERE seq > 0")
        assert auditlog.head(tx) == auditlog.Head(0, auditlog.NO_HASH)
        assert auditlog.log_id(tx) == ""


def test_an_act_put_before_a_pruned_log_does_not_give_it_another_name(database: Database) -> None:
    chain = build(database)
    with database.begin() as tx:
        prune(tx, 7)
    _put_below(database, 3)
    assert first_bad(stored(database), keys={KEY.public}) == 3
    with database.read() as tx:
        assert auditlog.log_id(tx) == chain[0].hash.hex()


def test_a_line_of_an_export_that_says_a_thing_twice_is_none(chain: list[Entry]) -> None:
    line = auditlog.export_line(chain[1])
    for spoiled in (line.replace(b'{"seq":2,', b'{"seq":9,"seq":2,'), line.replace(b'{"seq"', b'{"means":{},"seq"')):
        with pytest.raises(ValueError, match="not written as an export writes it"):
            auditlog.read_line(spoiled)


def test_an_empty_log_is_no_whole_log() -> None:
    assert first_bad([]) == 1
