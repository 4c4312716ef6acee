"""``vuka backup`` and ``vuka restore``: a copy of a running hub as of one moment, and a hub made of it again."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import Progress as Bar

from vuka import __version__
from vuka.api.audit_key import PUBLIC_FILE, trusted_keys
from vuka.cli.hub import locked, note_act, recording, whoever_is_here
from vuka.cli.options import DataDir, read_config
from vuka.cli.output import console, errors, fail
from vuka.cli.reading import reading, records
from vuka.clock import clock_ms
from vuka.config import CONFIG_FILE, Config
from vuka.engine import outbox
from vuka.errors import OperatorError
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import format_uuid
from vuka.ledger.choice import TIGERBEETLE
from vuka.money import format_amount
from vuka.store import backup as copies
from vuka.store.backup import Facts, Manifest, Progress
from vuka.store.migrate import HEAD, current_revision, migrate
from vuka.switch import auditlog
from vuka.switch.audit import audit as run_audit

DATABASE: Final = "vuka.db"
DUMP: Final = "vuka.dump"
WITH_FILES: Final = (CONFIG_FILE, PUBLIC_FILE)
"""What else is copied. Keys and tokens are not: they belong in another place than the records that they protect."""

RESERVED: Final = "reserved.csv"
"""Where `--hold` lists the payments that were under way."""


def backup(
    target: Annotated[Path, typer.Argument(help="The directory to make; it must not exist.")],
    data: DataDir = None,
    compress: Annotated[bool, typer.Option("--compress", help="Compress the copy with gzip.")] = False,
) -> None:
    """Copy a hub as of one moment while it runs, and read the copy from end to end.

    Example: [bold]vuka backup /backups/hub-2026-11-24 --data ./hub[/bold]
    """
    config = read_config(data)
    try:
        revision = current_revision(config.place)
        if revision is None:
            fail(f"There is no hub in {config.place_shown}. Name its data directory with --data.")
        if revision != HEAD:
            fail(
                f"The hub in {config.place_shown} has schema {revision}, this program {HEAD}. "
                "Back it up with the version of vuka that serves it."
            )
        manifest = _backup(config, target, is_compressed=compress)
    except (OperatorError, OSError) as error:
        # What a directory or a disk does in between is a sentence, too.
        fail(str(error))
    console.print(
        f"Backed up {manifest.facts.transfers} transfers and {manifest.facts.audit_entries} entries of the audit log "
        f"to {target}: {manifest.file}, {manifest.bytes} bytes, SHA-256 {manifest.sha256}.",
        highlight=False,
        markup=False,
    )
    if manifest.facts.ledger == TIGERBEETLE:
        errors.print("The money is in the TigerBeetle cluster, and not in this backup: see docs/backup.md.")


def _backup(config: Config, target: Path, *, is_compressed: bool) -> Manifest:
    began_ms = clock_ms()
    with copies.new_directory(target) as directory, _progress("copying") as told:
        name, facts = _copy(config, directory, told, is_compressed=is_compressed)
        plain = directory / name
        content_bytes, content_sha256 = copies.digest(plain)
        packs = is_compressed and name == DATABASE
        if packs:
            name += ".gz"
            copies.compress(plain, directory / name, told)
            plain.unlink()
        length, sha256 = copies.digest(directory / name)
        with_files: dict[str, str] = {}
        for each in WITH_FILES:
            if not (Path(config.data_dir) / each).is_file():
                continue
            shutil.copyfile(Path(config.data_dir) / each, directory / each)
            # A configuration may hold a secret.
            (directory / each).chmod(0o600)
            copies.sync(directory / each)
            with_files[each] = copies.digest(directory / each)[1]
        (directory / name).chmod(0o600)
        manifest = Manifest(
            format=copies.FORMAT,
            vuka=__version__,
            store="postgresql" if config.store.url else "sqlite",
            began_ms=began_ms,
            ended_ms=clock_ms(),
            file=name,
            bytes=length,
            sha256=sha256,
            content_bytes=content_bytes,
            content_sha256=content_sha256,
            is_compressed=packs,
            with_files=with_files,
            facts=facts,
        )
        copies.write_manifest(directory, manifest)
        return manifest


def _copy(config: Config, directory: Path, told: Progress, *, is_compressed: bool) -> tuple[str, Facts]:
    if isinstance(config.place, Path):
        size = copies.sqlite_bytes(config.place)
        copies.check_room(directory, 2 * size if is_compressed else size)
        return DATABASE, copies.copy_sqlite(config.place, directory / DATABASE, told)
    # How large a dump will be only its end tells; it is compressed by itself.
    copies.check_room(directory, 0)
    return DUMP, copies.dump_postgresql(config.place, directory / DUMP)


def restore(
    source: Annotated[Path, typer.Argument(help="The backup's directory.")],
    data: DataDir = None,
    hold: Annotated[
        bool,
        typer.Option(
            "--hold", help="Park every message that is owed, and list the payments under way, so that you look first."
        ),
    ] = False,
    check: Annotated[bool, typer.Option(help="Audit the books and the audit log of the restored hub.")] = True,
) -> None:
    """Make a hub of a backup, in an empty directory (and an empty PostgreSQL database, where it was in one).

    A hub restored knows nothing of what came after its backup: read docs/backup.md before you serve it.

    Example: [bold]vuka restore /backups/hub-2026-11-24 --data ./restored --hold[/bold]
    """
    try:
        manifest = copies.read_manifest(source)
        if manifest.facts.schema > HEAD:
            fail(
                f"The backup has schema {manifest.facts.schema}, which is newer than this program's ({HEAD}). "
                f"Restore it with vuka {manifest.vuka} or later."
            )
        copies.check_file(source, manifest)
        config = read_config(data)
        directory = Path(config.data_dir)
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            fail(f"{directory} is not empty. A backup is restored into a directory of its own.")
        _restore(source, directory, manifest, holds=hold, checks=check)
    except (OperatorError, OSError) as error:
        # What a directory or a disk does in between is a sentence, too.
        fail(str(error))


def _restore(source: Path, directory: Path, manifest: Manifest, *, holds: bool, checks: bool) -> None:
    was_there = directory.exists()
    copies.check_room(directory, manifest.content_bytes if manifest.store == "sqlite" else 0)
    with contextlib.ExitStack() as undo:
        undo.callback(_remove, directory, was_there)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in manifest.with_files:
                shutil.copyfile(source / name, directory / name)
                (directory / name).chmod(0o600)
        except OSError as error:
            raise OperatorError(f"{directory} can't be written: {error.strerror or error}.") from None
        config = read_config(directory)
        with locked(config):
            _fill(config, source, manifest)
            copies.sync(directory)
            migrate(config.place)
            if checks:
                _check(config, manifest)
            _note(config, source, manifest, holds=holds)
        undo.pop_all()
    moment = format_datetime_ms(manifest.began_ms)
    console.print(f"Restored the hub of {moment} into {directory}.", highlight=False, markup=False)
    console.print(f"Serve it with: vuka serve --data {directory}", highlight=False, markup=False)


def _remove(directory: Path, was_there: bool) -> None:
    """Nothing is left of what could not be restored. In a database of PostgreSQL a restore is wholly there or not."""
    if not was_there:
        shutil.rmtree(directory, ignore_errors=True)
        return
    for each in directory.iterdir():
        each.unlink()


def _fill(config: Config, source: Path, manifest: Manifest) -> None:
    """The records as they were backed up, in the place that the configuration names."""
    is_file = isinstance(config.place, Path)
    if (manifest.store == "sqlite") != is_file:
        there = "a file (SQLite)" if is_file else "PostgreSQL (store.url)"
        raise OperatorError(
            f"The backup is of {manifest.store}, and the configuration names {there}: a backup is restored into what "
            "it was made of. Set VUKA_STORE_URL accordingly."
        )
    if isinstance(config.place, Path):
        with _progress("restoring") as told:
            copies.unpack(source / manifest.file, config.place, manifest, told)
        copies.check_sqlite(config.place)
        return
    if current_revision(config.place) is not None:
        raise OperatorError(f"There is a hub in {config.place_shown} already. Restore into an empty database.")
    copies.restore_postgresql(config.place, source / manifest.file)


def _note(config: Config, source: Path, manifest: Manifest, *, holds: bool) -> None:
    """Says in the audit log that this is a restored hub, and, where asked, holds back what it owes."""
    if manifest.facts.ledger == TIGERBEETLE:
        errors.print("The money is in the TigerBeetle cluster: what it did after the backup is not on record.")
    with recording(config) as (tx, now_ms):
        held = outbox.hold(tx, now_ms=now_ms) if holds else None
        under_way = tx.query(
            """SELECT transfer_id, payer_fsp, payee_fsp, amount, currency, expires_ms FROM transfer
               WHERE state = 'RESERVED' ORDER BY transfer_seq"""
        )
        asked: dict[str, object] = {
            "backup": source.name,
            "of": format_datetime_ms(manifest.began_ms),
            "sha256": manifest.sha256,
            "held": held,
        }
        act = auditlog.Act(whoever_is_here(), "Restore", "restored", asked)
        note_act(tx, act, now_ms)
    if held is None:
        console.print(
            f"{len(under_way)} payments were under way; what is owed is sent once you serve.", highlight=False
        )
        return
    path = Path(config.data_dir) / RESERVED
    try:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline=""
        ) as handle:
            rows = csv.writer(handle)
            rows.writerow(("transferId", "payerFsp", "payeeFsp", "amount", "currency", "expiration"))
            for transfer_id, payer, payee, amount, currency, expires_ms in under_way:
                expiration = format_datetime_ms(expires_ms)
                rows.writerow((format_uuid(transfer_id), payer, payee, format_amount(amount), currency, expiration))
    except OSError as error:
        raise OperatorError(f"{path} can't be written: {error.strerror or error}.") from None
    console.print(
        f"Parked {held} messages (vuka message parked); {len(under_way)} payments were under way: see {path}.",
        highlight=False,
        markup=False,
    )


def _check(config: Config, manifest: Manifest) -> None:
    """Raises `OperatorError` where the restored hub does not add up."""
    with records(config) as tx:
        verdict = auditlog.verify(auditlog.entries(tx), keys=trusted_keys(config))
        mismatch = next(auditlog.compare(tx), None)
    if verdict.fault is not None:
        raise OperatorError(
            f"The audit log of the backup is not whole: entry {verdict.fault.seq}, {verdict.fault.reason}. "
            "Use another backup, or --no-check to look at it."
        )
    if mismatch is not None:
        raise OperatorError(
            f"The records and the audit log of the backup differ ({mismatch.rule}: {mismatch.subject}). "
            "Use another backup, or --no-check to look at it."
        )
    if manifest.facts.ledger == TIGERBEETLE:
        errors.print("The books are not audited: compare with the cluster by vuka audit --against-ledger.")
        return
    with reading(config) as (tx, ledger):
        report = run_audit(tx, ledger, now_ms=clock_ms())
    if report.differences:
        first = report.differences[0]
        raise OperatorError(
            f"The books of the backup do not balance ({first.rule}: {first.subject}). "
            "Use another backup, or --no-check to look at it."
        )
    console.print(f"Checked {report.transfers} transfers and {verdict.entries} entries of the audit log: all agree.")


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """A bar on a terminal; elsewhere nothing."""
    with Bar(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield told
