"""A PostgreSQL server for tests: made in a temporary directory, on a free port, as a user that is not root.

It forgets durability for speed (``fsync=off``): what a crash of the server would do is PostgreSQL's business. What a
crash of a hub does is tested against it as it is.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vuka.cli.process import free_port

HOW_TO_GET_IT = "PostgreSQL's server is not installed here. As root: apt-get install postgresql"

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "autovacuum": "off",
    "jit": "off",
    "log_min_messages": "fatal",
}


def find_binaries() -> Path | None:
    """Where ``initdb`` and ``postgres`` are: Debian keeps them off the PATH."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: each.parent.name, reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    return next((each for each in candidates if (each / "initdb").exists() and (each / "postgres").exists()), None)


def _user() -> str | None:
    """As whom to run it: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Server:
    """A running server. `url` is that of its first database."""

    def __init__(self, binaries: Path, directory: Path, **settings: str) -> None:
        self.binaries = binaries
        self.directory = directory
        self.settings = {**_SETTINGS, **settings}
        self.user = _user()
        self.process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        group = None if self.user is None else pwd.getpwnam(self.user).pw_gid
        self._as: dict[str, object] = (
            {} if self.user is None else {"user": self.user, "group": group, "extra_groups": []}
        )

    def make(self) -> None:
        """Makes the cluster."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        subprocess.run(
            [
                *(self.binaries / "initdb", "-D", self.directory / "data", "-U", "vuka", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **self._as,  # type: ignore[call-overload]
        )

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [
                *(self.binaries / "postgres", "-D", self.directory / "data", "-p", str(self.port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            **self._as,  # type: ignore[call-overload]
        )
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        ready = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            assert self.process is not None
            assert self.process.poll() is None, "the server has ended"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        raise AssertionError("the server did not start within 15 s")

    def stop(self, *, at_once: bool = False) -> None:
        """Ends it: `at_once` as a crash would, else with its connections cut and all written."""
        if self.process is not None and self.process.poll() is None:
            # SIGQUIT: immediate, recovery at the next start. SIGINT: fast.
            self.process.send_signal(3 if at_once else 2)
            self.process.wait(30)
        self.process = None

    def signal(self, number: int) -> None:
        """To the server and all its processes."""
        assert self.process is not None
        pid = self.process.pid
        for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    @property
    def url(self) -> str:
        """The first database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """A database of this server."""
        return f"postgresql://vuka@127.0.0.1:{self.port}/{database}"


@contextlib.contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """A server for as long as the block lasts. Raises `LookupError` where none is installed."""
    binaries = find_binaries()
    if binaries is None:
        raise LookupError(HOW_TO_GET_IT)
    directory = Path(tempfile.mkdtemp(prefix="vuka-postgresql-"))
    server = Server(binaries, directory, **settings)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop(at_once=True)
        shutil.rmtree(directory, ignore_errors=True)
