"""A settlement bank in small: takes the files that a hub exports, moves its money, and writes statements.

It reads and writes ISO 20022 by the standard's own classes, not by the code that is tested.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.bankfiles import iso

Key = tuple[str, str]
"""An account and its currency."""

MOMENT = "2030-01-31T18:00:00Z"
DAY = "2030-01-31"


@dataclass
class Booking:
    """One entry of a statement."""

    amount: Decimal
    reference: str
    bank_reference: str
    uetr: str = ""
    status: str = "BOOK"


@dataclass
class Account:
    """What the bank keeps."""

    opening: Decimal
    bookings: list[Booking] = field(default_factory=list)

    @property
    def closing(self) -> Decimal:
        return self.opening + sum((each.amount for each in self.bookings if each.status == "BOOK"), Decimal(0))


class LittleBank:
    """Accounts, and what was booked on them."""

    def __init__(self) -> None:
        self.accounts: dict[Key, Account] = {}
        self._references = 0

    def open(self, account: str, currency: str, balance: str) -> None:
        """An account with money on it."""
        self.accounts[account, currency] = Account(Decimal(balance))

    def book(self, account: str, currency: str, amount: Decimal, reference: str, uetr: str = "") -> Booking:
        """One booking, under a reference of the bank's own."""
        self._references += 1
        booking = Booking(amount, reference, f"BANK{self._references}", uetr)
        self.accounts[account, currency].bookings.append(booking)
        return booking

    # --- taking orders ------------------------------------------------------------------------------------------

    def take(self, name: str, content: bytes) -> None:
        """Does what a file of a hub asks for."""
        if name.endswith(".csv"):
            for row in csv.DictReader(io.StringIO(content.decode())):
                self._move(
                    row["debtor_account"],
                    row["creditor_account"],
                    row["currency"],
                    Decimal(row["amount"]),
                    row["reference"],
                    row["uetr"],
                )
        elif name.endswith(".pacs.009.xml"):
            self._take_pacs009(content)
        else:
            transfer = iso.camt050(content).lqdty_cdt_trf
            money = transfer.trfd_amt.amt_wth_ccy
            sides = [_number(each) for each in (transfer.dbtr_acct, transfer.cdtr_acct)]
            ids = transfer.lqdty_trf_id
            self._move(*sides, money.ccy, money.value, ids.end_to_end_id, ids.uetr)

    def _take_pacs009(self, content: bytes) -> None:
        message = iso.pacs009(content)
        header, transfers = message.grp_hdr, message.cdt_trf_tx_inf
        total = sum(each.intr_bk_sttlm_amt.value for each in transfers)
        currencies = {each.intr_bk_sttlm_amt.ccy for each in transfers} | {header.ttl_intr_bk_sttlm_amt.ccy}
        assert (int(header.nb_of_txs), header.ctrl_sum, header.ttl_intr_bk_sttlm_amt.value) == (
            len(transfers),
            total,
            total,
        )
        assert len(currencies) == 1
        for each in transfers:
            sides = [_number(account) for account in (each.dbtr_acct, each.cdtr_acct)]
            self._move(
                *sides,
                each.intr_bk_sttlm_amt.ccy,
                each.intr_bk_sttlm_amt.value,
                each.pmt_id.end_to_end_id,
                each.pmt_id.uetr,
            )

    def _move(self, debtor: str, creditor: str, currency: str, amount: Decimal, reference: str, uetr: str) -> None:
        self.book(debtor, currency, -amount, reference, uetr)
        self.book(creditor, currency, amount, reference, uetr)

    # --- writing statements -------------------------------------------------------------------------------------

    def csv(self, settlement_id: int) -> bytes:
        """A statement in the hub's own layout, of every account: booking by booking."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("settlement_id", "bank_account", "currency", "amount", "balance", "reference"))
        for (account, currency), each in self.accounts.items():
            balance = each.opening
            for booking in each.bookings:
                balance += booking.amount
                writer.writerow((settlement_id, account, currency, booking.amount, balance, booking.reference))
            if not each.bookings:
                writer.writerow((settlement_id, account, currency, 0, balance, ""))
        return text.getvalue().encode()

    def camt053(self, *accounts: Key, version: int = 8, together: bool = False, uetr_only: bool = False) -> bytes:
        """A statement of these accounts, or of all, checked against its schema.

        ``together``: what an account has is booked as one entry; ``uetr_only``: no other reference is repeated.
        """
        statements = "".join(
            _statement(number, key, self.accounts[key], version=version, together=together, uetr_only=uetr_only)
            for number, key in enumerate(accounts or self.accounts, 1)
        )
        content = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.0{version}">'
            f"<BkToCstmrStmt><GrpHdr><MsgId>STATEMENTS-1</MsgId><CreDtTm>{MOMENT}</CreDtTm></GrpHdr>{statements}"
            "</BkToCstmrStmt></Document>"
        ).encode()
        iso.read(content, iso.CAMT053[version].Document)  # type: ignore[attr-defined]
        return content


def _number(account: Any) -> str:
    """The number of an account of a message."""
    return str(account.id.iban or account.id.othr.id)


def _statement(number: int, key: Key, account: Account, *, version: int, together: bool, uetr_only: bool) -> str:
    name, currency = key
    is_iban = name[:2].isalpha() and name[2:4].isdigit()
    account_id = f"<IBAN>{name}</IBAN>" if is_iban else f"<Othr><Id>{name}</Id></Othr>"
    bookings = account.bookings
    groups = [bookings] if together and bookings else [[each] for each in bookings]
    entries = "".join(_entry(each, currency, version=version, uetr_only=uetr_only) for each in groups)
    return (
        f"<Stmt><Id>STATEMENT-{number}</Id><CreDtTm>{MOMENT}</CreDtTm>"
        f"<Acct><Id>{account_id}</Id><Ccy>{currency}</Ccy></Acct>"
        f"{_balance('OPBD', account.opening, currency)}{_balance('CLBD', account.closing, currency)}{entries}</Stmt>"
    )


def _balance(kind: str, amount: Decimal, currency: str) -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>{_money(amount, currency)}<Dt><Dt>{DAY}</Dt></Dt></Bal>"
    )


def _money(amount: Decimal, currency: str) -> str:
    return f'<Amt Ccy="{currency}">{abs(amount)}</Amt><CdtDbtInd>{"DBIT" if amount < 0 else "CRDT"}</CdtDbtInd>'


def _entry(bookings: list[Booking], currency: str, *, version: int, uetr_only: bool) -> str:
    status = bookings[0].status
    shown = status if version < 8 else f"<Cd>{status}</Cd>"
    amount = sum((each.amount for each in bookings), Decimal(0))
    details = ""
    for each in bookings:
        known = f"<UETR>{each.uetr}</UETR>" if uetr_only else f"<EndToEndId>{each.reference}</EndToEndId>"
        refs = f"<Refs><AcctSvcrRef>{each.bank_reference}</AcctSvcrRef>{known}</Refs>"
        if version < 8:
            sum_of_one = f'<AmtDtls><TxAmt><Amt Ccy="{currency}">{abs(each.amount)}</Amt></TxAmt></AmtDtls>'
        else:
            sum_of_one = _money(each.amount, currency)
        details += f"<TxDtls>{refs}{sum_of_one}</TxDtls>"
    return (
        f"<Ntry>{_money(amount, currency)}<Sts>{shown}</Sts><BookgDt><Dt>{DAY}</Dt></BookgDt>"
        f"<BkTxCd><Prtry><Cd>TRF</Cd></Prtry></BkTxCd><NtryDtls>{details}</NtryDtls></Ntry>"
    )
