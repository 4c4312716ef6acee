"""What a release is checked for that can be checked without building one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_check", ROOT / "scripts" / "release_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DIST", tmp_path)
    return module


def test_version_and_changelog_agree_and_everything_installed_is_pinned(script: ModuleType) -> None:
    check = script.Check(audits=False)
    assert check.agree().startswith(check.version)
    assert int(check.pinned().split()[0]) > 100
    check.version = "9.9.9"
    with pytest.raises(script.FailedError, match=r"9\.9\.9"):
        check.agree()
    check.close()


def test_a_package_without_a_pin_is_named(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    known = script.pins()
    del known["msgspec"]
    monkeypatch.setattr(script, "pins", lambda: known)
    check = script.Check(audits=False)
    with pytest.raises(script.FailedError, match="msgspec"):
        check.pinned()
    check.close()


@pytest.mark.parametrize(
    ("dependencies", "outcome"),
    [
        (None, "can't be asked"),
        ([{"name": "msgspec", "skip_reason": "Dependency not found"}], "not everything was looked at: msgspec"),
        ([], "not everything was looked at"),
        ([{"name": "msgspec", "version": "1", "vulns": [{"id": "CVE-1"}]}], "msgspec 1: CVE-1"),
        ([{"name": "msgspec", "version": "1", "vulns": []}], ""),
    ],
)
def test_nobody_is_told_that_nothing_is_vulnerable_unless_everything_was_looked_at(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, dependencies: list[dict[str, Any]] | None, outcome: str
) -> None:
    check = script.Check(audits=True)

    def audited(command: list[str], **_settings: object) -> subprocess.CompletedProcess[str]:
        if dependencies is not None:
            Path(command[-1]).write_text(json.dumps({"dependencies": dependencies}))
        return subprocess.CompletedProcess(command, 1, "", "no route to host")

    monkeypatch.setattr(script.subprocess, "run", audited)
    monkeypatch.setattr(check, "_installed", lambda: [None])
    if outcome:
        with pytest.raises((script.FailedError, script.NotDoneError), match=outcome):
            check.audit()
    else:
        assert check.audit().startswith("none of 1 packages")
    check.close()


def _advisory(*ranges: list[dict[str, str]], **others: Any) -> dict[str, Any]:
    of_package = {
        "package": {"ecosystem": "PyPI", "name": "Some_Package"},
        "ranges": [{"type": "ECOSYSTEM", "events": events} for events in ranges],
    }
    return {"id": "PYSEC-1", "modified": "2026-01-01T00:00:00Z", "affected": [of_package], **others}


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        ([{"introduced": "0"}], ["0.1", "9"], []),
        ([{"introduced": "1.2"}, {"fixed": "1.10"}], ["1.2", "1.9.9", "1.10rc1"], ["1.1", "1.10", "2"]),
        ([{"introduced": "0"}, {"last_affected": "1.10"}], ["1.9", "1.10"], ["1.10.1"]),
        ([{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}, {"fixed": "3"}], ["0.9", "2.5"], ["1", "1.5", "3"]),
    ],
)
def test_an_advisory_is_about_the_versions_of_its_ranges(
    script: ModuleType, events: list[dict[str, str]], inside: list[str], outside: list[str]
) -> None:
    advisory = _advisory(events)
    assert [each for each in inside if not script.affected(advisory, {"some-package": each})] == []
    assert [each for each in outside if script.affected(advisory, {"some-package": each})] == []
    assert script.affected(advisory, {"another": "0.5"}) == []
    assert script.affected({**advisory, "withdrawn": "2026-02-01T00:00:00Z"}, {"some-package": "2.5"}) == []


def test_a_version_that_is_listed_is_affected_and_one_that_is_none_is_looked_at(script: ModuleType) -> None:
    advisory = _advisory()
    advisory["affected"][0]["versions"] = ["1.5"]
    assert script.affected(advisory, {"some-package": "1.5"}) == ["some-package"]
    assert script.affected(advisory, {"some-package": "1.6"}) == []
    assert script.affected(_advisory([{"introduced": "0"}, {"fixed": "1"}]), {"some-package": "odd"}) == [
        "some-package"
    ]


def test_without_a_way_out_known_vulnerabilities_are_looked_up_in_an_archive(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive = tmp_path / "all.zip"
    check = script.Check(audits=True, advisories=archive)
    installed = SimpleNamespace(name="some.package", version="1.5")
    monkeypatch.setattr(check, "_installed", lambda: [installed])
    with pytest.raises(script.NotDoneError, match="not OSV's archive"):
        check.audit()
    with zipfile.ZipFile(archive, "w"):
        pass
    with pytest.raises(script.NotDoneError, match="no advisory"):
        check.audit()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("PYSEC-1.json", json.dumps(_advisory([{"introduced": "1"}, {"fixed": "1.6"}])))
    with pytest.raises(script.FailedError, match=r"some-package 1\.5: PYSEC-1"):
        check.audit()
    installed.version = "1.6"
    assert check.audit() == "none of 1 packages, by 1 advisories up to 2026-01-01T00:00:00Z"
    check.close()
