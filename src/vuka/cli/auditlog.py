"""``vuka auditlog``: who changed what, how every transfer ended, and whether anybody has altered that."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from vuka.api.audit_key import AuditKey, has_key, key_path, read_public_keys, trusted_keys
from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.hub import locked, recording, whoever_is_here
from vuka.cli.options import DataDir, moment, read_config
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.cli.reading import records
from vuka.engine.auditlog import LAST_FILE
from vuka.errors import OperatorError
from vuka.fspiop.times import format_datetime_ms
from vuka.money import format_amount
from vuka.store.backup import sync
from vuka.switch import auditlog
from vuka.switch.auditlog import Act, Balance, Change, Checkpoint, Entry, Genesis, Pruned, Search, Verdict

app = typer.Typer(no_args_is_help=True, help="The audit log: who changed what, and how every transfer ended.")

LIST_MAX: Final = 1_000

_checkpoints: Final = msgspec.json.Decoder(Checkpoint | list[Checkpoint])


@app.command("list")
def list_entries(
    data: DataDir = None,
    who: Annotated[
        str,
        typer.Option(help="Only acts of this operator, or of an actor of this kind: operator, timer, command line."),
    ] = "",
    what: Annotated[str, typer.Option(help="Only entries whose kind or command has this in its name.")] = "",
    since: Annotated[str | None, typer.Option(help="From then on: a date, or a date and time (UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    transfer: Annotated[str, typer.Option(help="How this transfer ended, and the acts that name it.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=LIST_MAX, help="At most so many.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only entries before this number: the next page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was done, the newest first; beside a running hub too.

    Example: [bold]vuka auditlog list --who alice --what limit --since 2026-01-01[/bold]
    """
    search = Search(
        who=who,
        what=what,
        since_ms=moment(since, "--since") or 0,
        until_ms=(1 << 63) - 1 if (end := moment(until, "--until")) is None else end,
        transfer=transfer,
    )
    with records(read_config(data)) as tx:
        found = auditlog.find(tx, search, before=None if before is None else _within(before), limit=limit)
    if as_json:
        print_json({"entries": [_as_json(each) for each in found.entries], "before": found.before})
        return
    rows = [(each.seq, format_datetime_ms(each.at_ms), *_in_short(each)) for each in found.entries]
    print_table("The audit log", ("entry>", "at", "who", "what", "outcome"), rows)
    if found.before is not None:
        console.print(f"There is more: --before {found.before}", highlight=False)


@app.command("show")
def show(
    seq: Annotated[int, typer.Argument(min=1, help="The entry's number.")],
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show one entry: who did it, what was asked, and what it changed, before and after.

    Example: [bold]vuka auditlog show 17[/bold]
    """
    with records(read_config(data)) as tx:
        found = auditlog.entry(tx, seq) if seq < 1 << 63 else None
    if found is None:
        fail(f"The audit log has no entry {seq}. See: vuka auditlog list")
    if as_json:
        print_json(_as_json(found))
        return
    who, what, outcome = _in_short(found)
    console.print(f"Entry {found.seq}, {format_datetime_ms(found.at_ms)}: {what}", highlight=False, markup=False)
    console.print(f"By {who}. {outcome}", highlight=False, markup=False)
    content = found.content_or_none()
    if isinstance(content, Act):
        _print_act(content)
    elif isinstance(content, list):
        rows = [
            (
                each["transfer_id"],
                each["kind"],
                each["state"],
                f"{format_amount(each['amount'])} {each['currency']}",
                each["payer_fsp"],
                each["payee_fsp"],
                each["error_code"],
            )
            for each in _builtins(found)
        ]
        print_table("Transfers that ended", ("transfer", "kind", "state", "amount>", "payer", "payee", "error"), rows)
    else:
        print_table("", ("what", "value"), [(name, _plain(value)) for name, value in _builtins(found).items()])
    console.print(f"SHA-256 {found.hash.hex()}", highlight=False)


@app.command("verify")
def verify(
    data: DataDir = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="An export or archive to check, without a hub.", show_default="the hub's log"),
    ] = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="Checkpoints kept elsewhere, which the log must agree with; repeatable."),
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(help="Whose signatures to believe; repeatable.", show_default="the data directory's, else any"),
    ] = None,
    part: Annotated[
        bool, typer.Option("--part", help="The file begins with a checkpoint: what came before is in another archive.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was edited, removed, inserted or moved; exit 1 and name the first where one was.

    The newest checkpoint that the hub keeps in its data directory is always among those that it must agree with.

    Example: [bold]vuka auditlog verify --checkpoint kept.json --public-key auditlog.pub.pem[/bold]
    """
    checkpoints = [each for path in kept or [] for each in _read_checkpoints(path)]
    if part and file is None:
        fail("--part goes with --file: the hub's own log says what was pruned of it.")
    config = read_config(data)
    try:
        keys: set[str] | None = {key for path in public_key for key in read_public_keys(path)} if public_key else None
        if keys is None and file is None:
            keys = trusted_keys(config)
    except OperatorError as error:
        fail(str(error))
    if file is None:
        own = Path(config.data_dir) / LAST_FILE
        checkpoints += [each for each in (_read_checkpoints(own) if own.exists() else ()) if each not in checkpoints]
        with records(config) as tx:
            verdict = auditlog.verify(auditlog.entries(tx), kept=checkpoints, keys=keys)
    else:
        verdict = _verify_file(file, checkpoints, keys, is_part=part)
    if as_json:
        print_json(msgspec.to_builtins(verdict))
    else:
        _print_verdict(verdict, is_trusted=keys is not None)
    if verdict.fault is not None:
        raise typer.Exit(1)


@app.command("checkpoint")
def checkpoint(
    url: HubUrl = DEFAULT_URL,
    last: Annotated[bool, typer.Option("--last", help="Print the newest there is, and sign nothing.")] = False,
) -> None:
    """Have the running hub sign its audit log now, and print the signature: keep it where the hub can't reach.

    Example: [bold]vuka auditlog checkpoint >> /mnt/elsewhere/checkpoints.json[/bold]
    """
    if last:
        found: list[Any] = call(url, "GET", "/auditlog/checkpoints?limit=1")
        if not found:
            fail("The audit log was never signed. Sign it with: vuka auditlog checkpoint")
        typer.echo(msgspec.json.encode(found[0]).decode())
        return
    typer.echo(msgspec.json.encode(call(url, "POST", "/auditlog/checkpoints")).decode())


@app.command("export")
def export(
    target: Annotated[Path, typer.Argument(help="The file to write; - is standard output.")],
    data: DataDir = None,
    after: Annotated[int, typer.Option(min=0, help="Only entries after this number.")] = 0,
) -> None:
    """Write the log as lines of JSON that `vuka auditlog verify --file` checks anywhere, without the hub.

    Example: [bold]vuka auditlog export auditlog.jsonl[/bold]
    """
    with records(read_config(data)) as tx:
        if str(target) == "-":
            for each in auditlog.entries(tx, after=_within(after) or None):
                sys.stdout.buffer.write(auditlog.export_line(each))
            return
        count, digest = _write(target, auditlog.entries(tx, after=_within(after) or None))
    console.print(f"Wrote {count} entries to {target}; its SHA-256 is {digest}.", highlight=False, markup=False)


@app.command("prune")
def prune(
    archive: Annotated[Path, typer.Argument(help="The file that keeps what is removed; it must not exist.")],
    up_to: Annotated[
        int | None, typer.Option(min=1, help="The last entry to remove.", show_default="before the last checkpoint")
    ] = None,
    data: DataDir = None,
) -> None:
    """Move the log's beginning into an archive, up to a checkpoint; the hub must not run. The rest stays verifiable.

    Example: [bold]vuka auditlog prune auditlog-2026.jsonl --up-to 250000[/bold]
    """
    config = read_config(data)
    try:
        if not has_key(config):
            fail(f"The hub has no key to sign that with ({key_path(config)}): see auditlog.key_file.")
        key = AuditKey.load(key_path(config))
        with locked(config), recording(config) as (tx, now_ms):
            found = auditlog.last_checkpoint(tx, up_to=None if up_to is None else _within(up_to) + 1)
            if found is None:
                fail("There is no checkpoint to prune up to. Have one signed with: vuka auditlog checkpoint")
            last = found[1].seq
            verdict = auditlog.verify(auditlog.entries(tx), keys=trusted_keys(config))
            if verdict.fault is not None:
                fail(f"Entry {verdict.fault.seq} is not as it was written: {verdict.fault.reason}. Nothing is removed.")
            if last < verdict.first:
                fail("What comes before the last checkpoint is pruned already.")
            # The archive ends with the checkpoint that has signed it.
            removed = takewhile(lambda each: each.seq <= last + 1, auditlog.entries(tx))
            count, digest = _write(archive, removed)
            auditlog.prune(
                tx,
                last,
                who=whoever_is_here(),
                archive=archive.name,
                sha256=digest,
                sign_bytes=key.sign,
                now_ms=now_ms,
            )
    except OperatorError as error:
        fail(str(error))
    console.print(
        f"Moved {count - 1} entries, up to {last}, to {archive}; its SHA-256 is {digest}.",
        highlight=False,
        markup=False,
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _write(target: Path, chain: Iterable[Entry]) -> tuple[int, str]:
    """Writes lines into a new file, durably: their number, and the file's SHA-256."""
    count, digest = 0, hashlib.sha256()
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            for each in chain:
                line = auditlog.export_line(each)
                handle.write(line)
                digest.update(line)
                count += 1
            handle.flush()
            os.fsync(handle.fileno())
        # Its name, too: what it holds may be removed from the log next.
        sync(target.absolute().parent)
    except FileExistsError:
        fail(f"{target} is there already. Name another file.")
    except OSError as error:
        target.unlink(missing_ok=True)
        fail(f"{target} can't be written: {error.strerror or error}.")
    return count, digest.hexdigest()


def _verify_file(path: Path, kept: list[Checkpoint], keys: set[str] | None, *, is_part: bool) -> Verdict:
    lines = _Lines(path)
    try:
        verdict = auditlog.verify(lines.entries(), kept=kept, keys=keys, is_part=is_part)
    except OSError as error:
        fail(f"{path} can't be read: {error.strerror or error}.")
    if lines.fault is None or (verdict.fault is not None and verdict.fault.seq <= verdict.last):
        return verdict
    return msgspec.structs.replace(verdict, fault=auditlog.Fault(verdict.last + 1, lines.fault))


class _Lines:
    """The entries of an export, up to the first line that is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault: str | None = None

    def entries(self) -> Iterator[Entry]:
        with self._path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                try:
                    yield auditlog.read_line(line)
                except ValueError as error:
                    self.fault = f"line {number} of {self._path.name}: {error}"
                    return


def _read_checkpoints(path: Path) -> list[Checkpoint]:
    """The checkpoints of a file: one, a list of them, or one on each line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        fail(f"{path} can't be read: {error.strerror or error}.")
    found: list[Checkpoint] = []
    try:
        whole = [content] if content.lstrip()[:1] == b"[" else [line for line in content.splitlines() if line.strip()]
        for part in whole:
            read = _checkpoints.decode(part)
            found += read if isinstance(read, list) else [read]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fail(f"{path} holds no checkpoints as `vuka auditlog checkpoint` prints them: {error}.")
    if not found:
        fail(f"{path} holds no checkpoint.")
    return found


def _within(number: int) -> int:
    """The number, or the nearest that a row may have: beyond it there is none."""
    return max(-auditlog.LATEST, min(number, auditlog.LATEST - 1))


# --- words ------------------------------------------------------------------------------------------------------------


def _as_json(each: Entry) -> dict[str, object]:
    return {
        "seq": each.seq,
        "at": format_datetime_ms(each.at_ms),
        "kind": each.kind,
        "hash": each.hash.hex(),
        "content": auditlog.shown(each),
    }


def _builtins(each: Entry) -> Any:
    return auditlog.shown(each)


def _in_short(each: Entry) -> tuple[str, str, str]:
    """Who, what, and with which outcome."""
    content = each.content_or_none()
    if content is None:
        return "?", str(each.kind), "can't be read: somebody has altered it, see vuka auditlog verify"
    if isinstance(content, Act):
        shown = "" if content.who.credential is None else f", credential {content.who.credential}"
        return f"{content.who.name} ({content.who.kind.value}{shown})", content.what, content.outcome
    if isinstance(content, Genesis):
        before = f"; {content.transfers} transfers had ended before" if content.transfers else ""
        return "the hub", "the log begins", f"the scheme {content.scheme}{before}"
    if isinstance(content, Checkpoint):
        return "the hub", "checkpoint", f"signed up to entry {content.seq} with key {content.key[:16]}…"
    if isinstance(content, Pruned):
        return f"{content.who.name} ({content.who.kind.value})", "pruned", f"up to {content.up_to}, {content.archive}"
    states = Counter(each.state for each in content)
    ends = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return "the hub", f"{len(content)} transfers ended" if len(content) != 1 else "a transfer ended", ends


def _print_act(act: Act) -> None:
    if act.asked:
        print_table("Asked", ("field", "value"), [(name, _plain(value)) for name, value in act.asked.items()])
    if act.changes:
        print_table("Changed", ("table", "row", "before", "after"), [_row(each) for each in act.changes])
    if act.left_out:
        console.print(f"{act.left_out} more rows changed.", highlight=False)
    if act.balances:
        rows = [row for each in act.balances for row in _moved(each)]
        print_table("Balances", ("account", "balance", "before>", "after>"), rows)


def _row(each: Change) -> tuple[str, str, str, str]:
    return each.table, _fields(each.of), _fields(each.before), _fields(each.after)


def _moved(each: Balance) -> Iterator[tuple[str, str, str, str]]:
    for name, after in each.after.items():
        before = each.before.get(name, 0) if each.before is not None else 0
        if before != after:
            yield each.account, name.replace("_", " "), format_amount(before), format_amount(after)


def _fields(fields: auditlog.Fields | None) -> str:
    return "–" if fields is None else ", ".join(f"{name} {_plain(value)}" for name, value in fields.items())


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _print_verdict(verdict: Verdict, *, is_trusted: bool) -> None:
    if verdict.fault is not None:
        console.print(f"Entry {verdict.fault.seq} is the first bad one: {verdict.fault.reason}.", style="bold red")
        return
    console.print(
        f"Entries {verdict.first} to {verdict.last} are as they were written; {verdict.checkpoints} checkpoints, "
        f"signed up to entry {verdict.signed_up_to}; {verdict.kept} kept agree.",
        highlight=False,
    )
    pruned = verdict.pruned
    if pruned is not None:
        console.print(
            f"Entries 1 to {pruned.up_to} were pruned by {pruned.who.name}, last into {pruned.archive}, "
            f"SHA-256 {pruned.sha256}: check it with --file.",
            highlight=False,
            markup=False,
        )
    if verdict.kept_of_pruned:
        console.print(
            f"{verdict.kept_of_pruned} kept are of entries that were pruned: check the archive with them.",
            style="yellow",
        )
    if verdict.unsigned:
        since = f" since {format_datetime_ms(verdict.signed_ms)}" if verdict.signed_up_to else ""
        console.print(
            f"The last {verdict.unsigned} entries are not signed yet: no signature has been made{since}. Whoever can "
            "write the tables could have replaced them.",
            style="yellow",
        )
    for key in verdict.keys:
        believed = "trusted" if is_trusted else "not compared with any: name yours with --public-key"
        console.print(f"Signed with {key} ({believed}).", highlight=False)
    console.print("[bold green]The audit log is whole.[/]")
