"""``vuka auditlog``: what was done is listed, shown, exported, and checked with and without the hub."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.cli.conftest import Played, refused, vuka

from vuka.cli.process import hub_process


@pytest.fixture
def copied(played: Played, tmp_path: Path) -> Path:
    """The data directory of a hub that has worked, to be spoiled."""
    target = tmp_path / "copied"
    assert vuka("backup", str(tmp_path / "b"), "--data", str(played.data)).exit_code == 0
    assert vuka("restore", str(tmp_path / "b"), "--data", str(target)).exit_code == 0
    shutil.copyfile(played.data / "auditlog.pem", target / "auditlog.pem")
    return target


def _run(data: Path, sql: str) -> None:
    connection = sqlite3.connect(data / "vuka.db")
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_what_operators_did_is_listed_with_who_did_it(played: Played) -> None:
    found = json.loads(vuka("auditlog", "list", "--data", str(played.data), "--what", "limit", "--json").output)
    assert found["entries"]
    assert {each["content"]["who"]["kind"] for each in found["entries"]} == {"operator"}
    assert "FundsIn" in vuka("auditlog", "list", "--data", str(played.data), "--who", "operator").output


def test_how_a_transfer_ended_is_found_by_its_id(played: Played) -> None:
    payment = next(iter(played.payments.values()))
    arguments = ("--data", str(played.data), "--transfer", payment.transfer_id)
    found = json.loads(vuka("auditlog", "list", *arguments, "--json").output)
    (entry,) = found["entries"]
    (end,) = (each for each in entry["content"] if each["transfer_id"] == payment.transfer_id)
    assert end["state"] == "COMMITTED"
    shown = vuka("auditlog", "show", str(entry["seq"]), "--data", str(played.data)).output
    assert payment.transfer_id in shown


def test_an_entry_that_is_not_there_is_refused(played: Played) -> None:
    assert "has no entry 99999" in refused("auditlog", "show", "99999", "--data", str(played.data))
    assert "is not a time" in refused("auditlog", "list", "--since", "noon", "--data", str(played.data))


def test_a_number_above_all_entries_is_none_and_no_defect(played: Played, tmp_path: Path) -> None:
    beyond, data = str(10**30), ("--data", str(played.data))
    assert vuka("auditlog", "list", "--before", beyond, "--limit", "1", *data).exit_code == 0
    assert vuka("auditlog", "list", "--before", f"-{beyond}", *data).exit_code == 0
    assert "has no entry" in refused("auditlog", "show", beyond, *data)
    target = tmp_path / "none.jsonl"
    assert vuka("auditlog", "export", str(target), "--after", beyond, *data).exit_code == 0
    assert target.read_bytes() == b""
    assert vuka("auditlog", "list", "--since", "0001-01-01", "--until", "9999-12-31", *data).exit_code == 0


def test_a_running_hub_signs_and_is_checked_with_the_signature(played: Played, tmp_path: Path) -> None:
    signed = played.ask("auditlog", "checkpoint")
    assert signed.exit_code == 0
    kept = tmp_path / "kept.json"
    kept.write_text(signed.output + played.ask("auditlog", "checkpoint", "--last").output)
    checked = vuka("auditlog", "verify", "--data", str(played.data), "--checkpoint", str(kept))
    assert checked.exit_code == 0, checked.output
    assert "2 kept agree" in checked.output
    assert "(trusted)" in checked.output


def test_an_export_is_checked_with_the_public_key_alone(played: Played, tmp_path: Path) -> None:
    played.ask("auditlog", "checkpoint")
    export, public = tmp_path / "log.jsonl", played.data / "auditlog.pub.pem"
    assert vuka("auditlog", "export", str(export), "--data", str(played.data)).exit_code == 0
    checked = vuka("auditlog", "verify", "--file", str(export), "--public-key", str(public))
    assert checked.exit_code == 0, checked.output
    assert "is there already" in refused("auditlog", "export", str(export), "--data", str(played.data))
    lines = export.read_text().splitlines(keepends=True)
    for spoiled in (lines[:1] + lines[2:], [*lines[:2], lines[3], lines[2], *lines[4:]], [*lines[:3], "x\n"]):
        other = tmp_path / "other.jsonl"
        other.write_text("".join(spoiled))
        bad = vuka("auditlog", "verify", "--file", str(other), "--public-key", str(public))
        assert bad.exit_code == 1
        assert "is the first bad one" in bad.output


@pytest.mark.parametrize(
    ("sql", "seq"),
    [
        ("UPDATE audit_entry SET content = x'90' WHERE seq = 3", 3),
        ("DELETE FROM audit_entry WHERE seq = 4", 4),
        ("UPDATE audit_entry SET at_ms = at_ms + 1 WHERE seq = 2", 2),
        ("UPDATE audit_entry SET content = 'text', hash = 7, at_ms = 'noon' WHERE seq = 5", 5),
        ("INSERT INTO audit_entry SELECT -9, at_ms, kind, content, hash FROM audit_entry WHERE seq = 3", -9),
        ("INSERT INTO audit_entry SELECT 0, at_ms, kind, content, hash FROM audit_entry WHERE seq = 1", 0),
    ],
)
def test_what_was_altered_is_named_and_the_command_fails(copied: Path, sql: str, seq: int) -> None:
    assert vuka("auditlog", "verify", "--data", str(copied)).exit_code == 0
    _run(copied, sql)
    bad = vuka("auditlog", "verify", "--data", str(copied))
    assert bad.exit_code == 1
    assert f"Entry {seq} is the first bad one" in bad.output
    # What can't be read is listed all the same, and never a traceback.
    for command in ("list", "list --json", f"show {seq}", f"show {seq} --json", "list --who operator"):
        vuka("auditlog", *command.split(), "--data", str(copied))
    assert "Traceback" not in vuka("audit", "--data", str(copied)).output


def test_what_stands_below_the_first_entry_is_listed_as_altered_and_goes_into_an_export(
    copied: Path, tmp_path: Path
) -> None:
    _run(
        copied,
        """INSERT INTO audit_entry SELECT -9, at_ms, kind, content, hash FROM audit_entry
           WHERE kind = 'ACT' ORDER BY seq LIMIT 1""",
    )
    data = ("--data", str(copied))
    listed = json.loads(vuka("auditlog", "list", "--before", "1", "--json", *data).output)["entries"]
    assert [(each["seq"], list(each["content"])) for each in listed] == [(-9, ["unreadable"])]
    assert json.loads(vuka("auditlog", "list", "--before", "-9", "--json", *data).output)["entries"] == []
    assert vuka("auditlog", "export", str(tmp_path / "log.jsonl"), *data).exit_code == 0
    bad = vuka("auditlog", "verify", "--file", str(tmp_path / "log.jsonl"))
    assert bad.exit_code == 1
    assert "Entry -9 is the first bad one" in bad.output
    assert "Entry -9" in refused("auditlog", "prune", str(tmp_path / "archive.jsonl"), *data)


def test_a_database_that_can_not_be_read_is_a_sentence(copied: Path) -> None:
    _run(copied, "UPDATE audit_entry SET kind = CAST(x'ff41' AS TEXT) WHERE seq = 3")
    for command in ("auditlog verify", "auditlog list", "audit"):
        assert "can't be read" in refused(*command.split(), "--data", str(copied))


def test_a_log_that_was_cut_off_is_not_the_one_that_the_hub_has_signed(copied: Path) -> None:
    with hub_process(copied) as hub:
        signed = json.loads(vuka("auditlog", "checkpoint", "--url", hub.operators_url).output)
    kept = json.loads((copied / "auditlog.checkpoint.json").read_text())
    assert kept["seq"] >= signed["seq"]
    checked = vuka("auditlog", "verify", "--data", str(copied))
    assert checked.exit_code == 0, checked.output
    assert "1 kept agree" in checked.output
    _run(copied, f"DELETE FROM audit_entry WHERE seq >= {kept['seq']}")
    bad = vuka("auditlog", "verify", "--data", str(copied))
    assert bad.exit_code == 1
    assert f"a checkpoint has signed entry {kept['seq']}" in " ".join(bad.output.split())


def test_an_operators_act_that_was_cut_off_after_a_crash_is_missed(copied: Path) -> None:
    with hub_process(copied) as hub:
        assert vuka("auditlog", "checkpoint", "--url", hub.operators_url).exit_code == 0
        assert vuka("participant", "add", "mallory", "-c", "USD", "--url", hub.operators_url).exit_code == 0
        hub.process.kill()
        hub.process.wait()
    data = ("--data", str(copied))
    newest = json.loads(vuka("auditlog", "list", "--json", *data).output)["entries"][0]
    assert newest["content"]["what"] == "CreateParticipant"
    checked = vuka("auditlog", "verify", *data)
    assert checked.exit_code == 0, checked.output
    assert "1 kept agree" in checked.output
    assert "not signed yet" not in checked.output
    _run(copied, f"DELETE FROM audit_entry WHERE seq = {newest['seq']}")
    bad = vuka("auditlog", "verify", *data)
    assert bad.exit_code == 1
    assert f"Entry {newest['seq']} is the first bad one" in bad.output


@pytest.mark.parametrize("content", [b"[" * 2_000, b'{"other":' * 2_000, b'{"log":"\xff"}', b"7", b""])
def test_a_file_that_holds_no_checkpoints_is_a_sentence(played: Played, tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "kept.json"
    kept.write_bytes(content)
    said = refused("auditlog", "verify", "--data", str(played.data), "--checkpoint", str(kept))
    assert "kept.json holds no checkpoint" in said.replace("\n", "")


def test_what_is_not_signed_yet_is_said(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    assert vuka("init", "--data", str(data), "-c", "USD").exit_code == 0
    checked = vuka("auditlog", "verify", "--data", str(data))
    assert checked.exit_code == 0
    assert "The last 2 entries are not signed yet" in checked.output


def test_the_audit_finds_an_end_that_differs_from_the_log(copied: Path) -> None:
    assert vuka("audit", "--data", str(copied)).exit_code == 0
    _run(copied, "UPDATE transfer SET state = 'ABORTED_ERROR' WHERE kind = 'FUNDS_IN'")
    assert "as the audit log says" in vuka("audit", "--data", str(copied)).output


@pytest.mark.parametrize(
    ("column", "altered"),
    [
        ("completed_ms", "completed_ms + 1"),
        ("error_code", "'5100'"),
        ("payee_fsp", "'mallory'"),
        ("kind", "'FUNDS_IN'"),
    ],
)
def test_the_audit_finds_whatever_of_an_end_differs_from_the_log(copied: Path, column: str, altered: str) -> None:
    _run(
        copied,
        f"""UPDATE transfer SET {column} = {altered} WHERE transfer_seq =
            (SELECT MIN(transfer_seq) FROM transfer WHERE kind = 'PAYMENT' AND state = 'COMMITTED')""",
    )
    found = json.loads(vuka("audit", "--data", str(copied), "--json").output)
    assert any(each["subject"].startswith(f"{column} of ") for each in found["differences"])


def test_what_is_pruned_is_in_an_archive_and_both_are_checked(copied: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive.jsonl"
    pruned = vuka("auditlog", "prune", str(archive), "--data", str(copied))
    assert pruned.exit_code == 0, pruned.output
    assert archive.stat().st_mode & 0o077 == 0
    checked = vuka("auditlog", "verify", "--data", str(copied))
    assert checked.exit_code == 0
    assert "last into archive.jsonl" in " ".join(checked.output.split())
    public = copied / "auditlog.pub.pem"
    assert vuka("auditlog", "verify", "--file", str(archive), "--public-key", str(public)).exit_code == 0
    assert vuka("auditlog", "verify", "--file", str(archive), "--part", "--public-key", str(public)).exit_code == 0
    assert "--part goes with --file" in refused("auditlog", "verify", "--data", str(copied), "--part")
    assert vuka("audit", "--data", str(copied)).exit_code == 0
    again = refused("auditlog", "prune", str(tmp_path / "again.jsonl"), "--data", str(copied))
    assert "pruned already" in again
    _run(copied, "DELETE FROM audit_entry WHERE kind = 'PRUNED'")
    assert vuka("auditlog", "verify", "--data", str(copied)).exit_code == 1


def test_without_the_key_nothing_is_pruned(copied: Path, tmp_path: Path) -> None:
    (copied / "auditlog.pem").unlink()
    archive = tmp_path / "archive.jsonl"
    assert "has no key to sign that with" in refused("auditlog", "prune", str(archive), "--data", str(copied))
    assert not archive.exists()
