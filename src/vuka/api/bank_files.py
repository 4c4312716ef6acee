"""What goes between the hub and its settlement bank, on the operators' API: accounts, orders and statements.

``/participants/{name}/bankAccounts`` says where everybody keeps what they settle with; the hub's own is the scheme's
account. ``/v2/settlements/{id}/instructions`` is what the bank is asked, as JSON or as files it takes, and
``/v2/settlements/{id}/statements`` what it answers: checked first, which changes nothing, and then processed, with the
warnings named that the operator accepts. All of this is the hub's own; the reference has it in its portals.
"""

from __future__ import annotations

import asyncio
import datetime
import io
import re
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import invalid, malformed, path_name, read_body, read_query
from vuka.api.hub import Hub
from vuka.bankfiles.identifiers import ACCOUNT_SCHEMES, IBAN
from vuka.bankfiles.model import BankAccount, BankFileError, File, Order
from vuka.bankfiles.orders import FORMATS
from vuka.bankfiles.statements import FILE_BYTES_MAX, read_statement
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms
from vuka.ledger.model import Ledger
from vuka.money import CURRENCIES, Currency, format_amount
from vuka.store import Tx
from vuka.switch import bank_accounts, bank_orders, bank_statements, settlements
from vuka.switch.bank_orders import SettlementTransfers, Unpayable
from vuka.switch.bank_statements import (
    ACCEPTABLE,
    ENTRIES_MAX,
    FILES_MAX,
    Check,
    Finding,
    PlannedMovement,
    StatementFile,
)
from vuka.switch.directory import Directory
from vuka.switch.participants import participant_not_found

BODY_BYTES_MAX: Final = FILE_BYTES_MAX * 3 // 2
"""Files are base64 in JSON, a third longer than they are."""
FILE_NAME_LENGTH_MAX: Final = 200

JSON: Final = "json"

_ID_MAX: Final = 2**31 - 1
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SETTLEMENT: Final = "/v2/settlements/{id}"
_ACCOUNTS: Final = "/participants/{name}/bankAccounts"


class FileBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bank."""

    name: Annotated[str, Meta(min_length=1, max_length=FILE_NAME_LENGTH_MAX)]
    content: bytes
    """Base64."""


class StatementBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST …/statements/check``, and of ``POST …/statements`` with what was seen of it."""

    files: Annotated[tuple[FileBody, ...], Meta(min_length=1, max_length=FILES_MAX)]
    digest: str | None = None
    """Of the check whose findings were seen."""
    accept: tuple[str, ...] = ()
    """The codes of the warnings that are accepted."""


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""
    api = _BankFiles(hub)
    return [
        _route(_ACCOUNTS, GET=api.accounts),
        _route(_ACCOUNTS + "/{currency}", GET=api.account, PUT=api.set_account, DELETE=api.remove_account),
        _route(_SETTLEMENT + "/instructions", GET=api.instructions),
        _route(_SETTLEMENT + "/statements", GET=api.statements, POST=api.process),
        _route(_SETTLEMENT + "/statements/check", POST=api.check),
        _route(_SETTLEMENT + "/statements/{statement:int}", GET=api.statement),
        _route(_SETTLEMENT + "/statements/{statement:int}/files/{file:int}", GET=api.file),
    ]


def _route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
    async def by_method(request: Request) -> Response:
        return await methods[request.method](request)

    route = Route(path, by_method, methods=list(methods))
    route.methods = set(methods)
    return route


class _BankFiles:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    # --- accounts -----------------------------------------------------------------------------------------------

    async def accounts(self, request: Request) -> Response:
        """Every bank account of a participant."""
        name = path_name(request)
        read_query(request).end()
        return _json([_account(each) for each in self._accounts(name)])

    async def account(self, request: Request) -> Response:
        """Its bank account in one currency."""
        name, currency = path_name(request), _path_currency(request)
        for each in self._accounts(name):
            if each.currency == currency:
                return _json(_account(each))
        raise bank_accounts.bank_account_not_found(name, currency)

    def _accounts(self, name: str) -> list[BankAccount]:
        def read(tx: Tx, _ledger: Ledger, directory: Directory) -> list[BankAccount]:
            if directory.get(name) is None:
                raise participant_not_found()
            return [each for each in bank_accounts.bank_accounts(tx) if each.holder == name]

        return self._hub.read(read)

    async def set_account(self, request: Request) -> Response:
        """Says where a participant keeps what it settles with."""
        name, currency = path_name(request), _path_currency(request)
        body = await read_body(request)
        command = bank_accounts.SetBankAccount(
            name=name,
            currency=currency,
            account=body.text("account"),
            scheme=body.choice("scheme", ACCOUNT_SCHEMES) if body.has("scheme") else IBAN,
            holder_name=body.text("name"),
            bic=body.optional_text("bic"),
            agent_bic=body.optional_text("agentBic"),
            by=operator_name(request),
        )
        body.end()
        await self._hub.submit(command)
        return await self.account(request)

    async def remove_account(self, request: Request) -> Response:
        """Forgets a bank account."""
        command = bank_accounts.RemoveBankAccount(name=path_name(request), currency=_path_currency(request))
        await self._hub.submit(command)
        return Response(status_code=204)

    # --- orders -------------------------------------------------------------------------------------------------

    async def instructions(self, request: Request) -> Response:
        """What the bank is asked: as JSON whatever stands in its way, as files when nothing does."""
        settlement_id = _path_id(request)
        query = read_query(request)
        format_name = query.choice("format", (JSON, *FORMATS)) if query.has("format") else JSON
        currency = query.optional_currency()
        value_date = _day(query.text("valueDate")) if query.has("valueDate") else None
        query.end()

        def read(
            tx: Tx, _ledger: Ledger, directory: Directory
        ) -> tuple[SettlementTransfers, Order | Unpayable, list[BankAccount]]:
            of = bank_orders.settlement_transfers(tx, directory, settlement_id)
            if of is None:
                raise settlements.not_found(settlement_id)
            found = bank_orders.order(tx, of, currency=currency, value_date=value_date)
            return of, found, bank_accounts.bank_accounts(tx)

        of, order, accounts = self._hub.read(read)
        if format_name == JSON:
            return _json(_instructions(of, order, accounts, currency))
        if of.state in (settlements.ABORTED, settlements.SETTLED):
            raise invalid(f"Settlement {settlement_id} is {of.state}: there is nothing left to ask the bank")
        if isinstance(order, Unpayable):
            detail = f"Settlement {settlement_id} can't be given to a bank: see details"
            return _with_details(FspiopError(ErrorCode.VALIDATION_ERROR, detail), order.sentences())
        if not order.instructions:
            in_currency = "" if currency is None else f" in {currency}"
            raise invalid(f"Settlement {settlement_id} asks the bank for nothing{in_currency}")

        def write() -> File:
            files = FORMATS[format_name](order)
            return files[0] if len(files) == 1 else _zipped(settlement_id, format_name, files)

        # Beside whatever else the hub does: a large settlement takes a while to write.
        return _download(await asyncio.to_thread(write))

    # --- statements ---------------------------------------------------------------------------------------------

    async def check(self, request: Request) -> Response:
        """What a statement comes to; changes nothing."""
        settlement_id = _path_id(request)
        body = await _statement_body(request)
        if body.digest is not None or body.accept:
            raise invalid("a check accepts nothing: leave digest and accept out")
        files = await _read_files(body)
        if isinstance(files, Response):
            return files
        found = self._hub.read(
            lambda tx, ledger, directory: bank_statements.check_statement(tx, ledger, directory, settlement_id, files)
        )
        if isinstance(found, FspiopError):
            raise found
        return _json(_check(found))

    async def process(self, request: Request) -> Response:
        """Finalises the settlement by a statement, and records what the bank says."""
        settlement_id = _path_id(request)
        body = await _statement_body(request)
        unknown = [each for each in body.accept if each not in ACCEPTABLE]
        if unknown:
            raise malformed(f"accept: {unknown[0][:40]} is no warning; warnings are {', '.join(ACCEPTABLE)}")
        files = await _read_files(body)
        if isinstance(files, Response):
            return files
        command = bank_statements.ImportStatement(
            settlement_id=settlement_id,
            files=files,
            accepted=frozenset(body.accept),
            digest=body.digest,
            by=operator_name(request),
        )
        done = await self._hub.submit(command)
        if not isinstance(done, Check):
            raise TypeError(f"a statement was answered with {done!r}")
        if done.refusal is not None:
            error = FspiopError(ErrorCode.VALIDATION_ERROR, done.refusal)
            return _json({**error.body(), "details": [done.refusal], **_check(done)}, error.status)
        return _json({"statementId": done.statement_id, **_check(done)}, 201)

    async def statements(self, request: Request) -> Response:
        """The statements by which a settlement was finalised."""
        settlement_id = _path_id(request)
        read_query(request).end()
        return _json([_statement(each) for each in self._statements(settlement_id)])

    async def statement(self, request: Request) -> Response:
        """One of them."""
        settlement_id, number = _path_id(request), request.path_params["statement"]
        for each in self._statements(settlement_id):
            if each.statement_id == number:
                return _json(_statement(each))
        raise _statement_not_found(settlement_id, number)

    def _statements(self, settlement_id: int) -> list[bank_statements.StoredStatement]:
        def read(tx: Tx, _ledger: Ledger, directory: Directory) -> list[bank_statements.StoredStatement]:
            if bank_orders.settlement_transfers(tx, directory, settlement_id) is None:
                raise settlements.not_found(settlement_id)
            return bank_statements.statements(tx, settlement_id)

        return self._hub.read(read)

    async def file(self, request: Request) -> Response:
        """A file of one, as the bank gave it."""
        settlement_id, number = _path_id(request), request.path_params["statement"]
        file_no = request.path_params["file"]
        if max(number, file_no) > _ID_MAX:
            raise _statement_not_found(settlement_id, number)
        found = self._hub.read(
            lambda tx, _ledger, _directory: bank_statements.file_content(tx, settlement_id, number, file_no)
        )
        if found is None:
            raise _statement_not_found(settlement_id, number)
        return _download(File(found[0], "application/octet-stream", found[1]))


# --- what is asked ------------------------------------------------------------------------------------------------


def _path_id(request: Request) -> int:
    text = request.path_params["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not 1 <= int(text) <= _ID_MAX:
        raise malformed("'id' URI path parameter")
    return int(text)


def _path_currency(request: Request) -> Currency:
    currency = request.path_params["currency"]
    if currency not in CURRENCIES:
        raise malformed("'currency' URI path parameter")
    return Currency(currency)


def _day(text: str) -> str:
    """A day that there is."""
    try:
        if _DAY.fullmatch(text) is None:
            raise ValueError
        datetime.date.fromisoformat(text)
    except ValueError:
        raise malformed('"valueDate" must be a day such as 2030-01-31') from None
    return text


async def _statement_body(request: Request) -> StatementBody:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES_MAX:
            raise FspiopError(ErrorCode.TOO_LARGE_PAYLOAD, f"more than {BODY_BYTES_MAX} bytes", status=413)
    try:
        body = msgspec.json.decode(bytes(content), type=StatementBody)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed("the body is not JSON") from None
    if not all(each.name.isprintable() for each in body.files):
        raise malformed("files: the name of a file must be printable")
    return body


async def _read_files(body: StatementBody) -> tuple[StatementFile, ...] | Response:
    """The files, read beside whatever else the hub does; or what is wrong with each that can't be."""
    files: list[StatementFile] = []
    faults: list[str] = []
    size = 0
    for each in body.files:
        try:
            statement = await asyncio.to_thread(read_statement, each.content)
        except BankFileError as error:
            faults.append(f"{each.name} {error}")
            continue
        files.append(StatementFile(each.name, each.content, statement))
        size += files[-1].size
        if size > ENTRIES_MAX:
            raise invalid(f"files: the statement has more than {ENTRIES_MAX:,} entries in all its files together")
    if faults:
        return _with_details(malformed(faults[0]), faults)
    return tuple(files)


# --- shapes -----------------------------------------------------------------------------------------------------


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _with_details(error: FspiopError, details: Sequence[str]) -> Response:
    """The reference's error, and beside it every reason in full."""
    return _json({**error.body(), "details": details}, error.status)


def _statement_not_found(settlement_id: int, number: int) -> FspiopError:
    return FspiopError(ErrorCode.ID_NOT_FOUND, f"Settlement {settlement_id} has no such statement: {number}")


def _download(file: File) -> Response:
    # The name is the bank's: only what every header may hold is repeated.
    name = re.sub(r"[^A-Za-z0-9._ -]", "_", file.name)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(file.content, media_type=file.media_type, headers=headers)


def _zipped(settlement_id: int, format_name: str, files: Sequence[File]) -> File:
    """Several files as one, the same for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in files:
            archive.writestr(zipfile.ZipInfo(each.name), each.content, zipfile.ZIP_DEFLATED)
    return File(f"settlement-{settlement_id}.{format_name}.zip", "application/zip", buffer.getvalue())


def _number(minor: int) -> msgspec.Raw:
    return msgspec.Raw(format_amount(minor).encode())


def _account(account: BankAccount) -> dict[str, object]:
    shown: dict[str, object] = {
        "currency": account.currency,
        "account": account.account,
        "scheme": account.scheme,
        "name": account.name,
    }
    return shown | {
        name: value for name, value in (("bic", account.bic), ("agentBic", account.agent_bic)) if value is not None
    }


def _instructions(
    of: SettlementTransfers, order: Order | Unpayable, accounts: Sequence[BankAccount], currency: str | None
) -> dict[str, object]:
    known = {(each.holder, each.currency): _account(each) for each in accounts}
    return {
        "settlementId": of.settlement_id,
        "state": of.state,
        "instructions": [
            {
                "reference": str(each.reference),
                "uetr": each.uetr,
                "amount": {"amount": _number(each.amount), "currency": each.currency},
                "debtor": {"name": each.debtor, "bankAccount": known.get((each.debtor, each.currency))},
                "creditor": {"name": each.creditor, "bankAccount": known.get((each.creditor, each.currency))},
            }
            for each in of.transfers
            if currency in (None, each.currency)
        ],
        "details": order.sentences() if isinstance(order, Unpayable) else [],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        name: value
        for name, value in (
            ("severity", finding.severity),
            ("code", finding.code),
            ("message", finding.message),
            ("participant", finding.participant),
            ("currency", finding.currency),
            ("place", finding.place),
            ("expected", finding.expected),
            ("found", finding.found),
        )
        if value is not None
    }


def _movement(movement: PlannedMovement) -> dict[str, object]:
    return {
        "participant": movement.participant,
        "kind": movement.kind,
        "amount": {"amount": _number(movement.amount), "currency": movement.currency},
        "reference": movement.reference,
        "transferId": movement.transfer_id,
    }


def _check(check: Check) -> dict[str, object]:
    return {
        "settlementId": check.settlement_id,
        "digest": check.digest,
        "hasErrors": check.has_errors,
        "warnings": sorted(check.warnings),
        "findings": [_finding(each) for each in check.findings],
        "movements": [_movement(each) for each in check.movements],
        "balances": [
            {
                "participant": each.participant,
                "currency": each.currency,
                "before": _number(each.before),
                "after": _number(each.after),
                "isSuspended": each.is_suspended,
            }
            for each in check.balances
        ],
    }


def _statement(statement: bank_statements.StoredStatement) -> dict[str, object]:
    return {
        "id": statement.statement_id,
        "settlementId": statement.settlement_id,
        "createdDate": format_datetime_ms(statement.created_ms),
        "createdBy": statement.created_by,
        "findings": [_finding(each) for each in statement.findings],
        "movements": [_movement(each) for each in statement.movements],
        "files": [
            {
                "id": each.file_no,
                "name": each.name,
                "identification": each.identification,
                "sha256": each.digest.hex(),
            }
            for each in statement.files
        ],
    }
