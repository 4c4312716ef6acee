"""A scheme that settles at a little bank: accounts on both sides, orders carried over, statements brought back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.bankfiles.little_bank import LittleBank
from tests.switch.scheme_bench import SchemeBench
from tests.switch.settling import Settling

from vuka.bankfiles.model import Order
from vuka.bankfiles.orders import FORMATS
from vuka.bankfiles.statements import read_statement
from vuka.ids import FspId
from vuka.money import Currency
from vuka.switch.bank_accounts import SetBankAccount
from vuka.switch.bank_orders import Unpayable, order, settlement_transfers
from vuka.switch.bank_statements import Check, Finding, ImportStatement, StatementFile, check_statement

IBANS = {
    "alpha": "GB29NWBK60161331926819",
    "bravo": "DE89370400440532013000",
    "charlie": "FR1420041010050500013M02606",
    "Hub": "NL91ABNA0417164300",
}
OTHERS = {"alpha": "1001-ALPHA", "bravo": "1002-BRAVO", "charlie": "1003-CHARLIE", "Hub": "1000-SCHEME"}
BICS = {"alpha": "NWBKGB2L", "bravo": "COBADEFFXXX"}


class Banking(Settling):
    """A scheme whose participants have accounts at a bank, with as much on them as the hub knows of."""

    def __init__(self, hub: SchemeBench, *names: str, currencies: tuple[str, ...] = ("USD",)) -> None:
        super().__init__(hub)
        self.bank = LittleBank()
        for currency in currencies:
            for name in (*names, "Hub"):
                account = self.give_account(name, currency)
                self.bank.open(account, currency, "0" if name == "Hub" else hub.liquidity(name, currency).lstrip("-"))

    def give_account(self, name: str, currency: str) -> str:
        """An account at the bank: an IBAN in USD, a number of the bank's own otherwise."""
        scheme, account = ("IBAN", IBANS[name]) if currency == "USD" else ("OTHER", f"{OTHERS[name]}-{currency}")
        command = SetBankAccount(
            name=FspId(name),
            currency=Currency(currency),
            account=account,
            scheme=scheme,
            holder_name=f"{name.capitalize()} & Sons",
            bic=BICS.get(name),
            agent_bic="RBOSGGSX",
        )
        self.hub.accept(command)
        return account

    def account(self, name: str, currency: str = "USD") -> tuple[str, str]:
        """The key of a participant's account at the bank."""
        return (IBANS[name] if currency == "USD" else f"{OTHERS[name]}-{currency}"), currency

    def book(self, name: str, amount: str, reference: str = "", currency: str = "USD") -> None:
        """Something that the bank books of its own accord."""
        self.bank.book(*self.account(name, currency), Decimal(amount), reference)

    # --- orders -------------------------------------------------------------------------------------------------

    def order(self, settlement_id: int, **fields: Any) -> Order | Unpayable:
        """What the hub has to ask the bank."""

        def read(tx: Any, _ledger: Any, directory: Any) -> Order | Unpayable:
            of = settlement_transfers(tx, directory, settlement_id)
            assert of is not None
            return order(tx, of, **fields)

        return self.hub.read(read)

    def carry(self, settlement_id: int, format_name: str = "pacs.009") -> None:
        """Exports a settlement and has the bank do what the files say."""
        found = self.order(settlement_id)
        assert isinstance(found, Order), found
        for file in FORMATS[format_name](found):
            self.bank.take(file.name, file.content)

    # --- statements ---------------------------------------------------------------------------------------------

    def check_file(self, settlement_id: int, *contents: bytes) -> Check:
        """What a statement comes to."""
        files = statement_files(*contents)
        found = self.hub.read(
            lambda tx, ledger, directory: check_statement(tx, ledger, directory, settlement_id, files)
        )
        assert isinstance(found, Check), found
        return found

    def found(self, settlement_id: int, *contents: bytes) -> list[str]:
        """The codes of what is found in a statement."""
        return [each.code for each in self.check_file(settlement_id, *contents).findings]

    def finding(self, settlement_id: int, *contents: bytes) -> Finding:
        """The one thing that is found in a statement."""
        (found,) = self.check_file(settlement_id, *contents).findings
        return found

    def bring(self, settlement_id: int, *contents: bytes, accept: tuple[str, ...] = (), shown: bool = True) -> Check:
        """Imports a statement, with the findings that were shown."""
        digest = self.check_file(settlement_id, *contents).digest if shown else None
        command = ImportStatement(
            settlement_id=settlement_id,
            files=statement_files(*contents),
            accepted=frozenset(accept),
            digest=digest,
            by="olga",
        )
        value = self.hub.accept(command).value
        assert isinstance(value, Check)
        return value


def statement_files(*contents: bytes) -> tuple[StatementFile, ...]:
    """Files of a bank, read."""
    return tuple(
        StatementFile(f"file{number}", content, read_statement(content)) for number, content in enumerate(contents, 1)
    )
