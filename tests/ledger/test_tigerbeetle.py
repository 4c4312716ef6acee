"""The session with a real cluster: it loses sessions, is not there, comes back, and nothing is done twice or half.

The contract itself is proven in `test_contract`, the recovery of a hub in `tests.engine.test_intents`.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Iterator

import pytest
from tests import stores, tigerbeetle
from tests.tigerbeetle import Server

from vuka.config import Ledger as LedgerSettings
from vuka.errors import OperatorError
from vuka.ledger.choice import check_choice, open_ledger, write_choice
from vuka.ledger.model import (
    Account,
    CreateTransferStatus,
    LedgerUnavailableError,
    Transfer,
)
from vuka.ledger.sql import SqlLedger
from vuka.ledger.tigerbeetle import Cluster, TigerBeetleLedger
from vuka.store import Database

pytestmark = tigerbeetle.GROUP

SESSIONS_MAX = 64
"""How many a cluster keeps; one more takes the place of the one that was silent longest."""

T = CreateTransferStatus


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of its own, that a test may stop."""
    server = Server(tigerbeetle.binary(), tmp_path_factory.mktemp("tigerbeetle"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cluster(server: Server) -> Iterator[Cluster]:
    cluster = Cluster(server.address, timeout_ms=2_000)
    yield cluster
    cluster.close()


class Two:
    """Two accounts, and a transfer between them that is the same whenever it is asked for."""

    def __init__(self, ledger: TigerBeetleLedger) -> None:
        self.ids = secrets.randbits(96) << 8
        made = ledger.create_accounts([Account(id=self.ids + n, ledger=840, code=1) for n in (1, 2)])
        assert {each.status.name for each in made} == {"created"}
        self.transfer = Transfer(
            id=self.ids + 3, debit_account_id=self.ids + 1, credit_account_id=self.ids + 2, amount=5, ledger=840, code=1
        )

    def moved(self, ledger: TigerBeetleLedger) -> int:
        (account,) = ledger.lookup_accounts([self.ids + 2])
        return account.credits_posted


@pytest.mark.store("sqlite")
def test_an_evicted_session_is_replaced_and_nothing_is_done_twice(cluster: Cluster, server: Server) -> None:
    ledger = TigerBeetleLedger(cluster)
    two = Two(ledger)
    assert [each.status for each in ledger.create_transfers([two.transfer])] == [T.created]
    for _ in range(SESSIONS_MAX):
        # A session outlives its connection.
        other = Cluster(server.address)
        TigerBeetleLedger(other).lookup_accounts([1])
        other.close()
    assert [each.status for each in ledger.create_transfers([two.transfer])] == [T.exists]
    assert (cluster.evictions, two.moved(ledger), cluster.is_reachable) == (1, 5, True)


@pytest.mark.store("sqlite")
def test_a_cluster_that_does_not_answer_is_given_up_in_time_and_taken_up_when_it_does(
    cluster: Cluster, server: Server
) -> None:
    ledger = TigerBeetleLedger(cluster)
    two = Two(ledger)
    server.pause()
    try:
        with pytest.raises(LedgerUnavailableError) as refused:
            ledger.create_transfers([two.transfer])
        assert (refused.value.code, refused.value.status) == ("2003", 503)
        assert not cluster.is_reachable
        # Nothing overtakes what was given up: it is refused without waiting.
        asked = cluster.requests
        with pytest.raises(LedgerUnavailableError):
            ledger.lookup_accounts([two.ids + 1])
        assert cluster.requests == asked
    finally:
        server.resume()
    _until_reachable(cluster)
    # What was given up was done all the same, before anything that came after it.
    assert [each.status for each in ledger.create_transfers([two.transfer])] == [T.exists]
    assert two.moved(ledger) == 5


@pytest.mark.store("sqlite")
def test_a_cluster_that_died_is_taken_up_again_with_the_same_session(cluster: Cluster, server: Server) -> None:
    ledger = TigerBeetleLedger(cluster)
    two = Two(ledger)
    ledger.create_transfers([two.transfer])
    server.stop()
    with pytest.raises(LedgerUnavailableError):
        two.moved(ledger)
    server.start()
    _until_reachable(cluster)
    assert two.moved(ledger) == 5


def _until_reachable(cluster: Cluster) -> None:
    given_up = cluster._given_up
    assert given_up is not None
    assert given_up.done.wait(30)
    assert cluster.is_reachable


@pytest.mark.store("sqlite")
def test_a_cluster_that_was_never_there_is_given_up_in_time() -> None:
    cluster = Cluster("127.0.0.1:9", timeout_ms=300)
    with pytest.raises(LedgerUnavailableError):
        TigerBeetleLedger(cluster).lookup_accounts([1])
    assert not cluster.is_reachable
    cluster.close()


@pytest.mark.store("sqlite")
def test_threads_share_a_session_and_take_turns(cluster: Cluster) -> None:
    ledger = TigerBeetleLedger(cluster)
    two = Two(ledger)
    statuses: list[CreateTransferStatus] = []

    def ask() -> None:
        for _ in range(20):
            statuses.extend(each.status for each in ledger.create_transfers([two.transfer]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(T.created), statuses.count(T.exists), two.moved(ledger)) == (1, 79, 5)


# --- the choice ------------------------------------------------------------------------------------------------------


def test_addresses_that_are_none_are_refused_with_a_sentence() -> None:
    with pytest.raises(OperatorError, match=r"'nowhere at all' will not do \(ADDRESS_INVALID\): see ledger.addresses"):
        Cluster("nowhere at all")


def test_a_missing_client_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tigerbeetle", None)
    with pytest.raises(OperatorError, match=r"pip install 'vuka\[tigerbeetle\]'"):
        Cluster("127.0.0.1:9")


@pytest.fixture
def database() -> Iterator[Database]:
    database = stores.fresh()
    yield database
    database.close()


EMBEDDED = LedgerSettings()
CLUSTER_7 = LedgerSettings(engine="tigerbeetle", cluster_id="7")


def test_a_hub_keeps_the_ledger_it_was_made_with(database: Database) -> None:
    with database.begin() as tx:
        write_choice(tx, CLUSTER_7, SqlLedger(tx, 0))
        check_choice(tx, CLUSTER_7)
        check_choice(tx, LedgerSettings(engine="tigerbeetle", cluster_id="007", addresses="10.0.0.1:3000"))
        with pytest.raises(OperatorError, match=r"in its tigerbeetle ledger, and the configuration says embedded"):
            check_choice(tx, EMBEDDED)
        with pytest.raises(OperatorError, match=r"in cluster 7, and the configuration says 8"):
            check_choice(tx, LedgerSettings(engine="tigerbeetle", cluster_id="8"))


def test_a_hub_of_before_the_choice_has_the_embedded_ledger(database: Database) -> None:
    with database.begin() as tx:
        check_choice(tx, EMBEDDED)
        with pytest.raises(OperatorError, match=r"set ledger.engine back to embedded"):
            check_choice(tx, CLUSTER_7)


def test_a_cluster_that_has_transfers_is_not_given_to_a_new_hub(database: Database) -> None:
    ledger = TigerBeetleLedger(tigerbeetle.cluster())
    two = Two(ledger)
    ledger.create_transfers([two.transfer])
    with database.begin() as tx, pytest.raises(OperatorError, match="a cluster belongs to one hub"):
        write_choice(tx, CLUSTER_7, ledger)


def test_the_embedded_ledger_needs_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tigerbeetle", None)
    assert open_ledger(EMBEDDED).cluster is None
