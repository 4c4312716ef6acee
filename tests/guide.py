"""Runs the console blocks of a page as its reader would, and compares what they print with what the page shows.

A block with a ``title`` is a file, which the reader saves under that name before anything else. One fenced with
``console`` is a dialogue: a line that begins with ``$`` is a command, further lines of it end the one before with a
backslash, and what follows is its output. Commands run one after another with bash in one empty directory.
``vuka serve`` runs beside them until the page ends. The hub's usual ports are replaced by free ones, and what is new
each time (ids, times, secrets) is compared by its shape only. ``VUKA_WRITE_GUIDE=1`` writes the page anew from what
the commands print.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vuka.cli.process import free_port

READY_SECONDS = 30
COMMAND_SECONDS = 60
USUAL_PORTS = (4000, 4001)

_BLOCK = re.compile(r"^( *)```console\n(.*?)^ *```", re.M | re.S)

_FILE = re.compile(r"^```\w+ title=\"([\w.-]+)\"\n(.*?)^```", re.M | re.S)

_SERVES = re.compile(r"(VUKA_\w+=\S+ (\\\n *)?)*vuka serve\b")

_SECRET = re.compile(r"\bvuka_[A-Za-z0-9_-]{20,}")
NO_SECRET = "vuka_only-this-once-and-never-again-is-it-shown"
"""What a page shows for a secret: one that lets nobody in."""

_VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?"), "<time>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?(\.\d+)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (_SECRET, "<secret>"),
    (re.compile(r"\+\d+ ms"), "+<n> ms"),
    (re.compile(r'"uptime":\d+'), '"uptime":<n>'),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r"─{2,}"), "──"),
)
"""What differs from run to run, and how wide it makes a column."""


@dataclass
class Step:
    """One command of a page, and the output that the page shows; both as they stand there, without indentation."""

    line: int
    command: str
    output: str


def steps(page: Path) -> Iterator[Step]:
    """The commands of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        indent, content = block[1], block[2]
        start = text.count("\n", 0, block.start(2)) + 1
        lines = [line.removeprefix(indent) for line in content.splitlines()]
        number = 0
        while number < len(lines):
            assert lines[number].startswith("$ "), f"{page.name}:{start + number}: a block begins with a command"
            first = number
            command = [lines[number][2:]]
            while lines[number].endswith("\\"):
                number += 1
                command.append(lines[number])
            number += 1
            output = number
            while number < len(lines) and not lines[number].startswith("$ "):
                number += 1
            yield Step(start + first, "\n".join(command), "\n".join(lines[output:number]).rstrip())


def files(page: Path) -> dict[str, str]:
    """The files that a page has its reader save, by their names."""
    return dict(_FILE.findall(page.read_text(encoding="utf-8")))


def shape(text: str) -> list[str]:
    """The lines of an output without what is new each time."""
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


class Reader:
    """Somebody who follows a page at a terminal."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = {usual: free_port() for usual in USUAL_PORTS}
        self._hub: subprocess.Popen[str] | None = None
        self._log = directory / "serve.log"
        self._work = directory / "work"
        self._work.mkdir()
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(directory),
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "VUKA_PARTICIPANTS_API_PORT": str(self._ports[4000]),
            "VUKA_OPERATORS_API_PORT": str(self._ports[4001]),
            "VUKA_OPERATORS_URL": f"http://127.0.0.1:{self._ports[4001]}",
        }

    def save(self, files: Mapping[str, str]) -> None:
        """Makes files in the directory in which commands run."""
        for name, content in files.items():
            (self._work / name).write_text(content, encoding="utf-8")

    def run(self, command: str) -> str:
        """What a command prints, standard error included."""
        for usual, port in self._ports.items():
            command = command.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{port}")
        if _SERVES.match(command):
            return self._usual(self._serve(command))
        is_export = command.startswith("export ")
        done = subprocess.run(
            ["bash", "-c", f"{command} && env -0" if is_export else command],
            cwd=self._work,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if is_export:
            self._environment = dict(each.split("=", 1) for each in done.stdout.split("\0") if "=" in each)
            return ""
        return self._usual(done.stdout.rstrip())

    def _usual(self, text: str) -> str:
        for usual, port in self._ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{usual}")
        return text

    def _serve(self, command: str) -> str:
        self.close()
        with self._log.open("w") as log:
            self._hub = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=self._work,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._hub.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[4001]}/health", timeout=2):
                    return self._log.read_text().rstrip()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError(f"the hub did not start: {self._log.read_text()}")

    def close(self) -> None:
        """Stops the hub."""
        if self._hub is not None:
            self._hub.terminate()
            self._hub.wait(READY_SECONDS)
            self._hub = None


def write(page: Path, results: list[tuple[Step, str]]) -> None:
    """The page with the outputs as they were printed."""
    rest = iter(results)

    def anew(block: re.Match[str]) -> str:
        indent = block[1]
        count = sum(1 for line in block[2].splitlines() if line.removeprefix(indent).startswith("$ "))
        lines: list[str] = []
        for _ in range(count):
            step, output = next(rest)
            lines += [f"$ {step.command}", *([_SECRET.sub(NO_SECRET, output)] if output else [])]
        text = "\n".join(lines)
        return (
            indent
            + "```console\n"
            + "\n".join((indent + each).rstrip() for each in text.split("\n"))
            + f"\n{indent}```"
        )

    page.write_text(_BLOCK.sub(anew, page.read_text(encoding="utf-8")), encoding="utf-8")


def is_to_be_written() -> bool:
    """Whether the pages are to be written anew rather than compared."""
    return os.environ.get("VUKA_WRITE_GUIDE") == "1"
