"""What must hold of a release, checked on what would be published: ``make release-check``.

Builds the packages into ``dist/``, installs the wheel in a new environment with nothing but what it asks for, each by
the version in ``constraints.txt`` and the hash that the index tells, runs it, and writes down what is in it: hashes,
licences, and an inventory (SBOM, CycloneDX). What can't be checked, because a service is out of reach, is said to be
not done and counts as a failure, unless it was asked for with ``--without-audit``. Without a way out, known
vulnerabilities are looked up in an archive that was brought: ``--advisories all.zip``, as OSV publishes it for PyPI.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT: Final = Path(__file__).parent.parent
DIST: Final = ROOT / "dist"
PINNED_SDISTS: Final = ("--only-binary", ":all:")
"""Dependencies are installed as wheels: nothing of somebody else's is built, or run, to install a hub."""

LICENCES: Final = frozenset(
    (
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
    )
)
"""What a hub under Apache 2.0 may come with: free to use and pass on, unchanged, beside it."""

# What packages say whose metadata is older than licence expressions.
SPELLINGS: Final = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}


class FailedError(Exception):
    """A check that does not hold; the message says what to do."""


class NotDoneError(Exception):
    """A check that could not be made; the message says why."""


def run(*command: str | Path, where: Path = ROOT, **variables: str) -> str:
    """What a command prints. Raises `FailedError` with its last lines where it fails."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=where,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise FailedError(f"{Path(command[0]).name} {command[1]}: " + " | ".join(said[-4:]))
    return done.stdout


def pins() -> dict[str, str]:
    """What ``constraints.txt`` says, by normal name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines) if version
    }


class Check:
    """The checks, in their order: each needs what the ones before it have made."""

    def __init__(self, *, audits: bool, advisories: Path | None = None) -> None:
        project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        self.version: str = project["version"]
        self.audits = audits
        self.advisories = advisories
        self._scratch = tempfile.TemporaryDirectory(prefix="vuka-release-")
        self._environment = Path(self._scratch.name) / "venv"
        self._python = self._environment / "bin" / "python"
        self._requirements = DIST / f"vuka-{self.version}-requirements.txt"
        self._bom = DIST / f"vuka-{self.version}.cdx.json"

    def all(self) -> Sequence[tuple[str, Callable[[], str]]]:
        """By name; each tells what it found."""
        return (
            ("version and changelog", self.agree),
            ("pins", self.pinned),
            ("packages", self.build),
            ("metadata", self.metadata),
            ("hashes", self.hashed),
            ("clean install", self.install),
            ("command", self.command),
            ("demo", self.demo),
            ("licences", self.licences),
            ("inventory", self.inventory),
            ("known vulnerabilities", self.audit),
        )

    def close(self) -> None:
        """Removes what was made on the way."""
        self._scratch.cleanup()

    def agree(self) -> str:
        """The version is one, in the project, in the program and at the top of the changelog."""
        source = (ROOT / "src" / "vuka" / "__init__.py").read_text(encoding="utf-8")
        if f'__version__ = "{self.version}"' not in source:
            raise FailedError(f"vuka.__version__ is not {self.version}, as pyproject.toml says")
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        heading = re.search(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
        to_be = re.search(r"^To be (\d\S*?),", changelog, re.MULTILINE)
        said = heading[1] if heading else to_be[1] if to_be else None
        if said != self.version:
            raise FailedError(f"the newest version in CHANGELOG.md is {said}, and pyproject.toml says {self.version}")
        return f"{self.version}{'' if heading else ', not released yet'}"

    def pinned(self) -> str:
        """Everything in the environment that the tests run in is pinned, and has the version of its pin."""
        known = pins()
        for each in distributions():
            name = canonicalize_name(each.name)
            if name not in ("vuka", "pip", "setuptools") and known.get(name) != each.version:
                raise FailedError(f"{name} {each.version} is installed, and constraints.txt has {known.get(name)}")
        return f"{len(known)} packages"

    def build(self) -> str:
        """The source distribution, and the wheel made from it."""
        shutil.rmtree(DIST, ignore_errors=True)
        constraints = str(ROOT / "constraints.txt")
        run(
            sys.executable, "-m", "build", "--outdir", DIST,
            PIP_CONSTRAINT=constraints, PIP_BUILD_CONSTRAINT=constraints,
        )  # fmt: skip
        return ", ".join(sorted(each.name for each in DIST.iterdir()))

    def metadata(self) -> str:
        """What an index would refuse, or show wrongly."""
        run(sys.executable, "-m", "twine", "check", "--strict", *self._packages())
        return "as indexes want it"

    def _packages(self) -> list[Path]:
        found = [*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")]
        if len(found) != 2:
            raise FailedError("there is not one wheel and one source distribution in dist/")
        return found

    def hashed(self) -> str:
        """What the wheel needs, each with its pin and the hash of its file."""
        wheel = self._packages()[0]
        report = Path(self._scratch.name) / "report.json"
        run(
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", *PINNED_SDISTS,
            "--report", report, "--constraint", ROOT / "constraints.txt", wheel,
        )  # fmt: skip
        lines: list[str] = []
        known = pins()
        for each in json.loads(report.read_text(encoding="utf-8"))["install"]:
            name = canonicalize_name(each["metadata"]["name"])
            if name == "vuka":
                continue
            version, digest = each["metadata"]["version"], each["download_info"]["archive_info"]["hashes"].get("sha256")
            if known.get(name) != version or not digest:
                raise FailedError(
                    f"{name} {version} is needed: constraints.txt has {known.get(name)}, its hash is {digest}"
                )
            lines.append(f"{name}=={version} --hash=sha256:{digest}")
        self._requirements.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
        return f"{len(lines)} packages in {self._requirements.name}"

    def install(self) -> str:
        """A new environment, the requirements by their hashes, the wheel without asking for more."""
        venv.create(self._environment, with_pip=True)
        pip = (self._python, "-m", "pip", "install", "--quiet")
        run(*pip, "--require-hashes", "--no-deps", *PINNED_SDISTS, "-r", self._requirements)
        run(*pip, "--no-deps", "--no-index", self._packages()[0])
        run(self._python, "-m", "pip", "check")
        return "by hashes"

    def command(self) -> str:
        """The command starts, and says which version it is."""
        said = run(self._environment / "bin" / "vuka", "--version", where=Path(self._scratch.name)).strip()
        if said != f"vuka {self.version}":
            raise FailedError(f"`vuka --version` says {said!r}")
        return said

    def demo(self) -> str:
        """A hub from the wheel, with participants, makes payments, and its books balance."""
        said = run(self._environment / "bin" / "vuka", "demo", "--once", where=Path(self._scratch.name))
        return said.strip().splitlines()[-1].strip()

    def licences(self) -> str:
        """What comes with a hub may come with it."""
        rows = sorted(_licence(each) for each in self._installed())
        table = ["| Package | Version | Licence |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
        (DIST / f"vuka-{self.version}-licences.md").write_text("\n".join(table) + "\n", encoding="utf-8")
        for name, version, licence in rows:
            names = set(re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", licence)) - {""}
            may = names & LICENCES if " OR " in licence and " AND " not in licence else names <= LICENCES
            if not may:
                raise FailedError(
                    f"{name} {version} is under {licence!r}: see whether it may be, then add it to LICENCES"
                )
        return ", ".join(sorted({row[2] for row in rows}))

    def _installed(self) -> list[Distribution]:
        (packages,) = self._environment.glob("lib/python*/site-packages")
        found = [each for each in distributions(path=[str(packages)]) if each.name not in ("pip", "setuptools", "vuka")]
        if len(found) != len(self._requirements.read_text(encoding="utf-8").splitlines()):
            raise FailedError("the environment has other packages than the requirements")
        return found

    def inventory(self) -> str:
        """What is in a hub, for those who must know when something of it turns out to be unsafe."""
        run(
            sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", ROOT / "pyproject.toml",
            "--output-format", "JSON", "--output-reproducible", "--output-file", self._bom, self._python,
        )  # fmt: skip
        parts = {canonicalize_name(each["name"]) for each in json.loads(self._bom.read_text())["components"]}
        missing = [each.name for each in self._installed() if canonicalize_name(each.name) not in parts]
        if missing:
            raise FailedError(f"{', '.join(missing)} is not in {self._bom.name}")
        return f"{len(parts)} components in {self._bom.name}"

    def audit(self) -> str:
        """Nothing that a hub comes with is known to be vulnerable, as of now."""
        if not self.audits:
            return "not looked for, as was asked"
        if self.advisories is not None:
            return self._look_up(self.advisories)
        report = DIST / f"vuka-{self.version}-audit.json"
        done = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "--requirement", str(self._requirements), "--require-hashes",
                "--disable-pip", "--progress-spinner", "off", "--format", "json", "--output", str(report),
            ],
            capture_output=True,
            check=False,
            text=True,
        )  # fmt: skip
        if not report.exists() or not report.stat().st_size:
            why = done.stderr.strip().splitlines() or ["it says nothing"]
            raise NotDoneError(
                f"the vulnerability service can't be asked ({why[-1][:160]}). Run this where there is a way to it; "
                "ARGS='--advisories all.zip' looks them up in OSV's archive for PyPI, brought by hand; "
                "ARGS=--without-audit leaves it out, and then nobody knows"
            )
        looked_at = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
        passed_over = [each["name"] for each in looked_at if "skip_reason" in each]
        if passed_over or len(looked_at) != len(self._installed()):
            raise NotDoneError(f"not everything was looked at: {', '.join(passed_over) or 'some are missing'}")
        found = [
            f"{each['name']} {each['version']}: {', '.join(flaw['id'] for flaw in each['vulns'])}"
            for each in looked_at
            if each.get("vulns")
        ]
        if found:
            raise FailedError("; ".join(found))
        return f"none of {len(looked_at)} packages, in {report.name}"

    def _look_up(self, archive: Path) -> str:
        """The same, from OSV's archive."""
        installed = {canonicalize_name(each.name): each.version for each in self._installed()}
        found: list[str] = []
        count, newest = 0, ""
        try:
            with zipfile.ZipFile(archive) as advisories:
                for name in advisories.namelist():
                    advisory: dict[str, Any] = json.loads(advisories.read(name))
                    count, newest = count + 1, max(newest, advisory["modified"])
                    found += [f"{each} {installed[each]}: {advisory['id']}" for each in affected(advisory, installed)]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise NotDoneError(f"{archive} is not OSV's archive for PyPI: {error!r}") from None
        if not count:
            raise NotDoneError(f"{archive} holds no advisory")
        if found:
            raise FailedError("; ".join(sorted(found)))
        return f"none of {len(installed)} packages, by {count:,} advisories up to {newest}"


def affected(advisory: Mapping[str, Any], installed: Mapping[str, str]) -> list[str]:
    """Which installed packages, by normal name and version, an advisory in the form of OSV (its `affected`) is about.

    A version that can't be ordered counts as affected where its package is named: somebody must look.
    """
    if advisory.get("withdrawn"):
        return []
    found: list[str] = []
    for each in advisory.get("affected", ()):
        package = each.get("package", {})
        name = canonicalize_name(package.get("name", ""))
        version = installed.get(name)
        if package.get("ecosystem") != "PyPI" or version is None:
            continue
        ranges = [one["events"] for one in each.get("ranges", ()) if one.get("type") == "ECOSYSTEM"]
        if version in each.get("versions", ()) or any(_is_within(version, events) for events in ranges):
            found.append(name)
    return list(dict.fromkeys(found))


def _is_within(version: str, events: Sequence[Mapping[str, str]]) -> bool:
    """Whether a version lies in a range: introduced at or before it, and neither fixed nor last affected before it."""
    try:
        mine, inside = Version(version), False
        for event in sorted(events, key=_event_key):
            ((kind, text),) = event.items()
            at = Version(text)
            if kind == "introduced" and at <= mine:
                inside = True
            elif (kind == "fixed" and at <= mine) or (kind == "last_affected" and at < mine):
                inside = False
    except InvalidVersion:
        return True
    return inside


def _event_key(event: Mapping[str, str]) -> tuple[Version, bool]:
    ((kind, text),) = event.items()
    # Where one range ends and the next begins at the same version, that version is affected.
    return Version(text), kind == "introduced"


def _licence(package: Distribution) -> tuple[str, str, str]:
    """Name, version, and the licence as an expression; what is no expression, and no spelling of one, as it stands."""
    metadata = package.metadata
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License :: ")
    ]
    said = [metadata.get("License-Expression"), metadata.get("License"), *classifiers]
    for text in said:
        if not text or "\n" in text:
            continue
        try:
            licence = canonicalize_license_expression(SPELLINGS.get(text.lower(), text))
        except InvalidLicenseExpression:
            continue
        return package.name, package.version, str(licence)
    return package.name, package.version, next((text for text in reversed(said) if text), "unknown")


def main(arguments: Sequence[str]) -> int:
    """Makes every check that can be made, and tells what came of each; 1 where anything is wrong or not known."""
    parser = argparse.ArgumentParser(description="Check what would be released.")
    parser.add_argument("--without-audit", action="store_true", help="don't ask for known vulnerabilities")
    parser.add_argument("--advisories", type=Path, default=None, help="look them up in this archive of OSV's for PyPI")
    options = parser.parse_args(arguments)
    check = Check(audits=not options.without_audit, advisories=options.advisories)
    failed = False
    try:
        for name, work in check.all():
            try:
                said = f"ok        {name}: {work()}"
            except FailedError as error:
                said = f"FAILED    {name}: {error}"
            except NotDoneError as error:
                said = f"NOT DONE  {name}: {error}"
            failed = failed or not said.startswith("ok")
            print(said, flush=True)
            if said.startswith("FAILED") and name in ("packages", "hashes", "clean install"):
                print("The checks after this one need it.", flush=True)
                break
    finally:
        check.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
