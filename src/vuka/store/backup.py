"""Backups: a copy of a hub's database as of one moment, made while the hub runs, with a manifest that says what it is.

SQLite is copied through its own backup interface within one read transaction: a snapshot, whatever is in the
write-ahead log included, beside which the hub goes on writing. PostgreSQL is dumped by its own ``pg_dump``, in the
snapshot in which the manifest is read. A backup is a directory: it is made under another name, brought to the disk,
and gets its own name in the end, so that what has the name is whole.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import sqlite3
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeAlias, cast

import msgspec

from vuka.errors import OperatorError
from vuka.store import Row
from vuka.store.sqlite import read_only_uri

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1

PAGES_AT_A_TIME: Final = 1_024
"""Pages copied between two reports of the progress."""

CHUNK_BYTES: Final = 1 << 20
SPARE_BYTES: Final = 16 << 20
"""Room that must be left on a disk."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


class Facts(msgspec.Struct, frozen=True):
    """What is in the copy, by the copy itself: where the hub stood at its moment."""

    schema: str
    scheme: str
    ledger: str
    """``embedded`` or ``tigerbeetle``; of the latter the money is not in the backup."""
    transfers: int
    last_transfer: int
    """The key of the last transfer; keys grow with time."""
    last_block: int
    """The key of the journal's last block."""
    audit_entries: int
    """The number of the audit log's last entry."""
    audit_hash: str
    """Its hash."""


Moment: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""UTC milliseconds, to the year 9999."""


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is. Times are UTC milliseconds, sizes bytes."""

    format: int
    vuka: str
    store: str
    """``sqlite`` or ``postgresql``."""
    began_ms: Moment
    ended_ms: Moment
    file: str
    bytes: int
    sha256: str
    content_bytes: int
    """Of the database, where the file is compressed; else of the file."""
    content_sha256: str
    is_compressed: bool
    with_files: Mapping[str, str]
    """What else of the data directory is in it, with the SHA-256 of each."""
    facts: Facts


_FACTS: Final = """SELECT (SELECT version_num FROM alembic_version), (SELECT name FROM scheme),
    (SELECT engine FROM ledger_choice), (SELECT COUNT(*) FROM transfer), (SELECT MAX(transfer_seq) FROM transfer),
    (SELECT MAX(block_id) FROM journal_block), (SELECT MAX(seq) FROM audit_entry),
    (SELECT hash FROM audit_entry ORDER BY seq DESC LIMIT 1)"""


def _facts(row: Row) -> Facts:
    schema, scheme, ledger, transfers, last_transfer, last_block, audit_entries, audit_hash = row
    if scheme is None:
        raise OperatorError("There are tables, and no hub in them: it was never founded.")
    return Facts(
        schema,
        scheme,
        ledger or "embedded",
        transfers,
        last_transfer or 0,
        last_block or 0,
        audit_entries or 0,
        audit_hash.hex() if isinstance(audit_hash, bytes) else "",
    )


# --- making one -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A directory to fill, which is called ``target`` once it is on the disk; where anything fails nothing is left.

    Raises `OperatorError` where there is something of that name already, or it can't be made.
    """
    target = target.absolute()
    if target.exists():
        raise OperatorError(f"{target} is there already, and no backup is written over. Name another.")
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise OperatorError(f"{partial} can't be made: {error.strerror or error}.") from None
    try:
        yield partial
        sync(partial)
        partial.rename(target)
        sync(target.parent)
    except OSError as error:
        raise OperatorError(f"{target} can't be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sync(path: Path) -> None:
    """Brings a file, or the names in a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_room(directory: Path, needed_bytes: int) -> None:
    """Raises `OperatorError` where a disk has too little room."""
    there = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes + SPARE_BYTES:
        raise OperatorError(
            f"{there} has {free >> 20} MiB free and {(needed_bytes + SPARE_BYTES) >> 20} MiB are needed. "
            "Make room, or name another disk."
        )


def sqlite_bytes(source: Path) -> int:
    """How large a copy will be, about: what is in the write-ahead log may come on top."""
    wal = source.with_name(source.name + "-wal")
    return source.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


def copy_sqlite(source: Path, target: Path, progress: Progress) -> Facts:
    """Copies a database as of one moment; others may write it meanwhile. Raises `OperatorError`.

    The transaction that is open while it is copied keeps the moment: without it each commit would begin it anew.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(read_only_uri(source), uri=True, isolation_level=None)) as reader,
            contextlib.closing(sqlite3.connect(target, isolation_level=None)) as writer,
        ):
            reader.execute("BEGIN")
            reader.execute("SELECT version_num FROM alembic_version").fetchall()
            writer.execute("PRAGMA synchronous = OFF")

            def told(_status: int, remaining: int, total: int) -> None:
                progress(total - remaining, total)

            reader.backup(writer, pages=PAGES_AT_A_TIME, progress=told, sleep=0)
        sync(target)
        return check_sqlite(target)
    except sqlite3.Error as error:
        raise OperatorError(f"{source} can't be copied: {error}.") from None


def check_sqlite(path: Path) -> Facts:
    """Reads a copy that nobody uses from end to end. Raises `OperatorError` where it is not whole."""
    try:
        with contextlib.closing(sqlite3.connect(f"{read_only_uri(path)}&immutable=1", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise OperatorError(f"{path} is damaged: {found[0]}.")
            return _facts(connection.execute(_FACTS).fetchone())
    except sqlite3.Error as error:
        raise OperatorError(f"{path} is no whole database of a hub: {error}.") from None


def compress(source: Path, target: Path, progress: Progress) -> None:
    """Compresses a file with gzip, durably."""
    total, done = source.stat().st_size, 0
    with source.open("rb") as plain, target.open("wb") as raw:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
            while chunk := plain.read(CHUNK_BYTES):
                packed.write(chunk)
                done += len(chunk)
                progress(done, total)
        raw.flush()
        os.fsync(raw.fileno())


def digest(path: Path, *, is_compressed: bool = False) -> tuple[int, str]:
    """How long a file's content is, and its SHA-256."""
    length, sha256 = 0, hashlib.sha256()
    with _opened(path, is_compressed=is_compressed) as handle:
        while chunk := handle.read(CHUNK_BYTES):
            length += len(chunk)
            sha256.update(chunk)
    return length, sha256.hexdigest()


def _opened(path: Path, *, is_compressed: bool) -> contextlib.AbstractContextManager[BinaryIO]:
    return cast(BinaryIO, gzip.open(path, "rb")) if is_compressed else path.open("rb")


def dump_postgresql(url: str, target: Path) -> Facts:
    """Has ``pg_dump`` write a database as of one moment. Raises `OperatorError`."""
    import psycopg

    program = _program("pg_dump", f"pg_dump --format=custom --no-owner --no-privileges --file={target.name} URL")
    connection_string, environment = _for_programs(url)
    try:
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            ((snapshot, schema),) = connection.execute("SELECT pg_export_snapshot(), current_schema()").fetchall()
            row = connection.execute(_FACTS.encode()).fetchone()
            if row is None:
                raise AssertionError("one row was asked for")
            chosen = () if schema == "public" else (f"--schema={schema}",)
            _run(
                program,
                *("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", *chosen),
                *(f"--file={target}", f"--dbname={connection_string}"),
                environment=environment,
            )
    except psycopg.Error as error:
        raise OperatorError(f"The database can't be dumped: {str(error).strip()}.") from None
    sync(target)
    return _facts(row)


def restore_postgresql(url: str, source: Path) -> None:
    """Has ``pg_restore`` fill an empty database, wholly or not at all. Raises `OperatorError`."""
    program = _program("pg_restore", f"pg_restore --single-transaction --no-owner --dbname=URL {source.name}")
    connection_string, environment = _for_programs(url)
    _run(
        program,
        *("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"),
        *(f"--dbname={connection_string}", str(source)),
        environment=environment,
    )


def _program(name: str, by_hand: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise OperatorError(
            f"{name} is not here. Install PostgreSQL's client programs (of the server's version or later), or do it "
            f"where they are: {by_hand}"
        )
    return found


def _for_programs(url: str) -> tuple[str, Mapping[str, str]]:
    """The connection without its password, which anybody on the machine could read, and an environment that has it."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parts = conninfo_to_dict(url)
    password = parts.pop("password", None)
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    return make_conninfo("", **parts), environment


def _run(program: str, *arguments: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603 - the programs of the database
        [program, *arguments], capture_output=True, check=False, text=True, env=dict(environment)
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise OperatorError(f"{Path(program).name} has failed: {lines[-1] if lines else 'it says nothing'}")


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Writes the manifest, durably."""
    path = directory / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    sync(path)


# --- reading one ------------------------------------------------------------------------------------------------------


def read_manifest(directory: Path) -> Manifest:
    """What a backup says it is. Raises `OperatorError` where it is none, or of a later program."""
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise OperatorError(f"{directory} is no backup: it has no {MANIFEST}.") from None
    except OSError as error:
        raise OperatorError(f"{path} can't be read: {error.strerror or error}.") from None
    return decode_manifest(content, directory)


def decode_manifest(content: bytes, directory: Path) -> Manifest:
    """The manifest that is written there, of the backup in ``directory``. Raises `OperatorError`."""
    path = directory / MANIFEST
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OperatorError(f"{path} is no manifest of a backup: {error}.") from None
    if manifest.format != FORMAT:
        raise OperatorError(f"{directory} is a backup of a later vuka ({manifest.vuka}). Use that one to restore it.")
    for name in (manifest.file, *manifest.with_files):
        if Path(name).name != name or not name or name == ".." or "\0" in name:
            raise OperatorError(f"{path} names a file outside of the backup: {name}.")
    return manifest


def check_file(directory: Path, manifest: Manifest) -> None:
    """Reads a backup's files and compares them with its manifest. Raises `OperatorError`."""
    path = directory / manifest.file
    found = _digest_or_raise(path)
    for name, sha256 in manifest.with_files.items():
        if _digest_or_raise(directory / name)[1] != sha256:
            raise OperatorError(f"{directory / name} is not what was backed up. Use another backup.")
    if found != (manifest.bytes, manifest.sha256):
        raise OperatorError(
            f"{path} is not what was backed up: it has {found[0]} bytes and the SHA-256 {found[1][:16]}…, and should "
            f"have {manifest.bytes} and {manifest.sha256[:16]}…. Use another backup."
        )


def _digest_or_raise(path: Path) -> tuple[int, str]:
    try:
        return digest(path)
    except OSError as error:
        raise OperatorError(f"{path} can't be read: {error.strerror or error}.") from None


def unpack(source: Path, target: Path, manifest: Manifest, progress: Progress) -> None:
    """Writes a backup's content into a new file, durably. Raises `OperatorError` where it is not what was copied."""
    sha256, done = hashlib.sha256(), 0
    try:
        with (
            _opened(source, is_compressed=manifest.is_compressed) as packed,
            open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as plain,
        ):
            # No further than it should go: what is made to be without an end fills no disk.
            while done <= manifest.content_bytes and (chunk := packed.read(CHUNK_BYTES)):
                plain.write(chunk)
                sha256.update(chunk)
                done += len(chunk)
                progress(done, manifest.content_bytes)
            plain.flush()
            os.fsync(plain.fileno())
    except (OSError, EOFError, zlib.error) as error:
        raise OperatorError(f"{target} can't be written from {source}: {error}.") from None
    if (done, sha256.hexdigest()) != (manifest.content_bytes, manifest.content_sha256):
        raise OperatorError(f"{source} does not hold what its manifest says. Use another backup.")
