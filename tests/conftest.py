"""Which stores the suites run on: with ``--store both`` those below on each; every other test, and they too unless
asked otherwise, on SQLite. What is for one store only always runs on it."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from tests import stores
from tests.postgres_server import Server, running_server
from xdist.scheduler import LoadGroupScheduling

from vuka.cli import hub
from vuka.store.migrate import migrate

ON_EVERY_STORE = frozenset(("api", "engine", "ledger", "switch"))
"""The directories whose tests run on every store."""

SLOWEST_FIRST = ("e2e", "faults", "cli", "test_guide.py", "test_benchmarks.py", "contract", "api")
"""The directories and files whose tests begin: what is short comes last, so that all workers end together."""

# As a hub writes them: with the values of every frame they would take seconds, in which nothing else goes on. And on
# standard error itself: what a command prints is judged while a hub runs beside it in the same process.
structlog.configure(
    processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)],
    logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
)


# How long an example takes is the machine's business, and a benchmark's.
settings.register_profile("vuka", deadline=None)
settings.load_profile("vuka")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=(stores.SQLITE, stores.POSTGRESQL, "both"),
        default=stores.SQLITE,
        help="the stores to run the suites on; what is for one store only always runs on it",
    )


class _FileByFile(LoadGroupScheduling):
    """Gives a worker the tests of a file that have no group together: what they share is then made once."""

    def _split_scope(self, nodeid: str) -> str:
        return super()._split_scope(nodeid).partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadGroupScheduling:
    # In the order below, not by the number of tests.
    config.option.loadscopereorder = False
    return _FileByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {room: number for number, room in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(_room(item.path), len(rank)))


def pytest_collection_finish() -> None:
    # Twelve thousand tests, and all that they import, are looked through at each collection otherwise.
    gc.collect()
    gc.freeze()


def _room(path: Path) -> str:
    """The directory of a test file, or the file's own name where it has none."""
    return path.relative_to(Path(__file__).parent).parts[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "_store" not in metafunc.fixturenames:
        return
    room = _room(metafunc.definition.path)
    chosen = metafunc.config.getoption("--store")
    kinds = [stores.SQLITE, stores.POSTGRESQL] if chosen == "both" else [chosen]
    marker = metafunc.definition.get_closest_marker("store")
    if marker is not None:
        # The contract of the stores is for all of them, whatever else runs on one.
        kinds = (
            list(marker.args)
            if room == "store"
            else [each for each in kinds if each in marker.args] or list(marker.args)
        )
    elif room not in ON_EVERY_STORE:
        return
    metafunc.parametrize("_store", kinds, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """Has a new hub's file made by migrations once, and copied from then on: half a second each time."""
    made: list[bytes] = []

    def migrate_or_copy(place: Path | str) -> str | None:
        if isinstance(place, str) or place.exists():
            return migrate(place)
        if made:
            place.write_bytes(made[0])
            return None
        before = migrate(place)
        made.append(place.read_bytes())
        return before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "migrate", migrate_or_copy)
        yield


@pytest.fixture
def configured() -> Iterator[None]:
    """Whatever a test configures of logging is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("uvicorn", "asyncio")}
    structlog_before = structlog.get_config()
    # A test before may have left it on, with what pytest has put back since.
    logging.captureWarnings(capture=False)
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, each in levels.items():
        logging.getLogger(name).setLevel(each)
    structlog.configure(**structlog_before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server, started for the session. Tests that need it are skipped where none is installed."""
    try:
        running = running_server()
        server = running.__enter__()
    except LookupError as error:
        pytest.skip(str(error))
    yield server
    running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def _schemas(postgresql: Server) -> Iterator[stores.Schemas]:
    schemas = stores.Schemas(postgresql.url)
    yield schemas
    schemas.close()


@pytest.fixture(autouse=True)
def _store(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has `tests.stores` make databases of the store that this run is for."""
    stores.current.kind = getattr(request, "param", stores.SQLITE)
    if stores.current.kind == stores.POSTGRESQL:
        stores.current.schemas = request.getfixturevalue("_schemas")
    yield
    if stores.current.schemas is not None:
        stores.current.schemas.take_back()
    stores.current.configured.clear()
    stores.current.kind = stores.SQLITE
