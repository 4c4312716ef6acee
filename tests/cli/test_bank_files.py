"""``vuka bank-account``, and a settlement carried to its bank and back by command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.bankfiles.little_bank import LittleBank
from tests.cli.conftest import refused, vuka
from tests.cli.test_settlement import CREATE, said, settled_hub
from tests.switch.banking import IBANS

from vuka.cli.process import hub_process

NAMES = ("alpha", "bravo", "Hub")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A hub with a settlement of 12.5 USD from alpha to bravo."""
    settled_hub(tmp_path / "hub")
    with hub_process(tmp_path / "hub") as hub:
        at = ("--url", hub.operators_url)
        said("window", "close", *at)
        said(*CREATE, *at)
        yield hub.operators_url


@pytest.fixture
def bank(url: str) -> LittleBank:
    """A bank with the accounts of everybody."""
    bank = LittleBank()
    for name in NAMES:
        said("bank-account", "set", name, IBANS[name], "-c", "usd", "--name", f"{name} Ltd", "--url", url)
        bank.open(IBANS[name], "USD", "0" if name == "Hub" else "2000")
    return bank


def carry(bank: LittleBank, directory: Path, url: str, *arguments: str) -> str:
    """Exports the settlement and has the bank do what the files say; what was printed."""
    printed = said("settlement", "export", "1", "-o", str(directory), *arguments, "--url", url)
    for path in sorted(directory.iterdir()):
        bank.take(path.name, path.read_bytes())
    return printed


def write(directory: Path, content: bytes) -> str:
    """A statement's file."""
    path = directory / "statement.xml"
    path.write_bytes(content)
    return str(path)


def test_bank_accounts_are_set_listed_and_removed(url: str) -> None:
    at = ("--url", url)
    account = ("bank-account", "set", "alpha", "GB29 NWBK 6016 1331 9268 19", "-c", "USD", "--name", "Alpha & Sons")
    made = said(*account, "--bic", "NWBKGB2L", "--agent-bic", "RBOSGGSX", *at)
    assert made == "alpha: GB29NWBK60161331926819 in USD."
    said("bank-account", "set", "Hub", "1000/A", "-c", "USD", "--name", "Scheme", "--scheme", "other", *at)
    listed = said("bank-account", "list", *at)
    assert "Alpha & Sons" in listed
    assert "1000/A" in listed
    assert msgspec.json.decode(said("bank-account", "list", "alpha", "--json", *at)) == [
        {
            "participant": "alpha",
            "currency": "USD",
            "account": "GB29NWBK60161331926819",
            "scheme": "IBAN",
            "name": "Alpha & Sons",
            "bic": "NWBKGB2L",
            "agentBic": "RBOSGGSX",
        }
    ]
    assert said("bank-account", "remove", "alpha", "-c", "usd", *at) == "alpha has no bank account in USD any more."
    assert "alpha has no bank account in USD" in refused("bank-account", "remove", "alpha", "-c", "usd", *at)
    assert "its check digits are wrong" in refused(*account[:3], "GB28NWBK60161331926819", *account[4:], *at)


@pytest.mark.parametrize(
    ("format_name", "names"),
    [
        ("csv", ["settlement-1.csv"]),
        ("pacs.009", ["settlement-1-USD.pacs.009.xml"]),
        ("camt.050", ["settlement-1-USD-STL1-0-7.camt.050.xml", "settlement-1-USD-STL1-4-0.camt.050.xml"]),
    ],
)
def test_a_settlement_is_carried_to_its_bank_and_back(
    url: str, bank: LittleBank, tmp_path: Path, format_name: str, names: list[str]
) -> None:
    out = tmp_path / "out"
    printed = carry(bank, out, url, "--format", format_name, "--currency", "usd", "--value-date", "2030-01-31")
    assert sorted(each.name for each in out.iterdir()) == names
    assert [line.split()[-1] for line in printed.splitlines() if line.startswith("Wrote")] == [
        str(out / each) for each in sorted(names, reverse=len(names) > 1)
    ]
    assert "12.5" in printed
    statement = write(tmp_path, bank.camt053())
    checked = said("settlement", "check-statement", "1", statement, "--url", url)
    assert f"Nothing stands in the way: vuka settlement import-statement 1 {statement}" in checked
    assert "1,987.5" in checked
    assert "PENDING_SETTLEMENT" in said("settlement", "show", "1", "--url", url)
    done = said("settlement", "import-statement", "1", statement, "--url", url)
    assert done.splitlines()[-1] == "Settlement 1 is SETTLED by statement 1."
    assert "bank's reference" in done
    shown = said("settlement", "statements", "1", "--save", str(tmp_path / "kept"), "--url", url)
    assert "by operator: statement.xml" in shown
    (kept,) = (tmp_path / "kept").iterdir()
    assert (kept.name, kept.read_bytes()) == ("statement-1-1-statement.xml", Path(statement).read_bytes())
    assert (
        "was processed already, as statement 1"
        in vuka("settlement", "import-statement", "1", statement, "--url", url).stdout
    )


def test_warnings_are_accepted_by_the_command_that_the_check_prints(url: str, bank: LittleBank, tmp_path: Path) -> None:
    carry(bank, tmp_path / "out", url)
    bank.accounts[IBANS["alpha"], "USD"].opening -= 7
    statement = write(tmp_path, bank.camt053())
    checked = said("settlement", "check-statement", "1", statement, "--url", url)
    assert "WARNING  BALANCE_NOT_AS_EXPECTED  alpha USD  statement.xml, statement 1" in checked
    assert "(expected 1987.5, found 1980.5)" in checked
    command = checked.splitlines()[-1].split()
    assert command[:2] == ["vuka", "settlement"]
    stopped = vuka("settlement", "import-statement", "1", statement, "--url", url)
    assert stopped.exit_code == 1
    assert "warnings that were not accepted: BALANCE_NOT_AS_EXPECTED. Nothing was changed." in stopped.stderr
    assert "is SETTLED by statement 1" in said(*command[1:], "--url", url)
    assert "BALANCE_NOT_AS_EXPECTED" in said("settlement", "statements", "1", "--url", url)


def test_errors_end_the_check_with_1(url: str, bank: LittleBank, tmp_path: Path) -> None:
    carry(bank, tmp_path / "out", url)
    bank.accounts[IBANS["bravo"], "USD"].bookings.clear()
    statement = write(tmp_path, bank.camt053((IBANS["alpha"], "USD"), (IBANS["bravo"], "USD")))
    checked = vuka("settlement", "check-statement", "1", statement, "--url", url)
    assert checked.exit_code == 1
    assert "ERROR  TRANSFER_MISSING  bravo USD" in checked.stdout
    as_json = vuka("settlement", "check-statement", "1", statement, "--json", "--url", url)
    assert (as_json.exit_code, msgspec.json.decode(as_json.stdout)["hasErrors"]) == (1, True)
    done = vuka("settlement", "import-statement", "1", statement, "--json", "--url", url)
    assert (done.exit_code, done.stderr.strip()) == (1, "Error: The statement has errors; nothing was changed.")


def test_what_can_not_be_done_is_a_sentence(url: str, tmp_path: Path) -> None:
    at = ("--url", url)
    export = ("settlement", "export", "1")
    assert "--format must be one of csv, pacs.009, camt.050." in refused(*export, "--format", "mt202", *at)
    told = refused(*export, *at)
    assert "Settlement 1 can't be given to a bank: see details (code 3100)." in told
    assert told.splitlines()[1:] == [f"  {name} has no bank account in USD" for name in ("alpha", "Hub", "bravo")]
    assert "valueDate" in refused(*export, "--value-date", "soon", *at)
    assert "can't be read" in refused("settlement", "check-statement", "1", str(tmp_path / "no.xml"), *at)
    broken = write(tmp_path, b"<Document")
    assert "statement.xml is not well-formed XML" in refused("settlement", "check-statement", "1", broken, *at)
    assert "statement.xml is not well-formed XML" in refused("settlement", "import-statement", "1", broken, *at)
    other = ("settlement", "import-statement", "1", broken, "--accept", "EVERYTHING", *at)
    assert "EVERYTHING is no warning" in refused(*other)
    assert said("settlement", "statements", "1", *at) == "Settlement 1 was not finalised by a statement."


def test_a_directory_that_can_not_be_written_to_is_a_sentence(url: str, bank: LittleBank, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = str(tmp_path / "file")
    assert "can't be written to" in refused("settlement", "export", "1", "-o", directory, "--url", url)
