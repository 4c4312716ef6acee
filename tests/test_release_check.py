"""What a release is checked for that can be checked without building one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType
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
