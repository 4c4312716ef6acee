"""The operators' API: the reference's administrative API (central-ledger), and what the hub adds to it.

Participants, accounts, limits, positions, endpoints and funds, by the reference's paths, shapes and words, so that its
tools and test suites work unchanged. Amounts are JSON numbers, written from minor units digit by digit. A write is
answered when it is durable; where the reference says 202 and decides later, this says 202 with what was decided.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api import (
    auditlog,
    bank_files,
    credentials,
    fees,
    keys,
    notifications,
    operations,
    oracles,
    rules,
    schedules,
    settlement,
)
from vuka.api.access import OperatorAccess, may_operate, operator_name
from vuka.api.admin_body import (
    Fields,
    invalid,
    path_account_id,
    path_name,
    path_transfer_id,
    read_body,
    read_query,
)
from vuka.api.admin_enums import enums
from vuka.api.health import health
from vuka.api.hub import Hub
from vuka.errors import ErrorCode, FspiopError, OperatorError
from vuka.fspiop.endpoints import EndpointKind, EndpointType
from vuka.fspiop.ilp import transaction_of
from vuka.fspiop.times import format_datetime_ms
from vuka.ids import HUB, FspId
from vuka.ledger.model import Ledger
from vuka.money import Amount, format_amount
from vuka.store import Tx
from vuka.switch import account_types, accounts, funds, participants, settlement_models
from vuka.switch.directory import POSITION, Directory, Participant, SettlementModel

T = TypeVar("T")

_ALPHANUMERIC: Final = re.compile(r"[A-Za-z0-9]{2,30}")
_URL_TYPES: Final = frozenset(
    each.value
    for each in EndpointType
    if each.kind is not EndpointKind.OTHER or each is EndpointType.ALARM_NOTIFICATION_URL
)
"""Endpoints that the hub calls."""

_WORD: Final = re.compile(r"[A-Za-z0-9_]{2,30}")


def admin_app(hub: Hub) -> Starlette:
    """The application that operators talk to."""
    operators = _Operators(hub)
    app = Starlette(
        routes=[
            *operators.routes(),
            *operations.routes(hub),
            *credentials.routes(hub),
            *keys.routes(hub),
            *rules.routes(hub),
            *fees.routes(hub),
            *oracles.routes(hub),
            *settlement.routes(hub),
            *bank_files.routes(hub),
            *schedules.routes(hub),
            *notifications.routes(hub),
            *auditlog.routes(hub),
        ],
        middleware=[Middleware(OperatorAccess, hub=hub)],
        exception_handlers={
            FspiopError: _on_fspiop_error,
            OperatorError: _on_operator_error,
            HTTPException: _on_http_exception,
            Exception: _on_defect,
        },
    )
    # ``/participants/`` is an unknown URI in the reference, not another spelling of ``/participants``.
    app.router.redirect_slashes = False
    return app


class _Operators:
    """The endpoints, in the order of the reference's documentation."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        """One route for each path; a method that it does not have is answered 405 with those it has."""
        participant = "/participants/{name}"
        account = participant + "/accounts/{id}"
        return [
            self._route("/health", GET=self.health),
            self._route("/metrics", GET=self.metrics),
            self._route("/enums", GET=self.enums),
            self._route("/participants", GET=self.participants, POST=self.create_participant),
            self._route("/participants/limits", GET=self.limits_of_all),
            self._route(participant, GET=self.participant, PUT=self.update_participant),
            self._route(participant + "/limits", GET=self.limits, PUT=self.adjust_limits),
            self._route(participant + "/initialPositionAndLimits", POST=self.initial_position_and_limits),
            self._route(participant + "/positions", GET=self.positions),
            self._route(participant + "/accounts", GET=self.accounts, POST=self.create_hub_account),
            self._route(account, PUT=self.update_account, POST=self.move_funds),
            self._route(account + "/transfers/{transferId}", PUT=self.conclude_funds_out),
            self._route(participant + "/endpoints", GET=self.endpoints, POST=self.set_endpoint),
            self._route(participant + "/version", PUT=self.set_version),
            self._route("/settlementModels", GET=self.settlement_models, POST=self.add_settlement_model),
            self._route("/settlementModels/{name}", GET=self.settlement_model, PUT=self.update_settlement_model),
            self._route("/ledgerAccountTypes", GET=self.ledger_account_types, POST=self.add_ledger_account_type),
            self._route("/transactions/{id}", GET=self.transaction),
            self._route("/transfers/{transferId}", GET=self.transfer),
        ]

    @staticmethod
    def _route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
        async def by_method(request: Request) -> Response:
            return await methods[request.method](request)

        route = Route(path, by_method, methods=list(methods))
        # Starlette would answer HEAD wherever there is GET; the reference's server says 405.
        route.methods = set(methods)
        return route

    def _read(self, function: Callable[[Tx, Ledger, Directory], T]) -> T:
        return self._hub.read(function)

    def _read_participant(self, name: str, function: Callable[[Tx, Ledger, Participant], T]) -> T:
        """Reads about one participant. Raises `FspiopError` 3200."""

        def of_participant(tx: Tx, ledger: Ledger, directory: Directory) -> T:
            participant = directory.get(name)
            if participant is None:
                raise participants.participant_not_found()
            return function(tx, ledger, participant)

        return self._hub.read(of_participant)

    # --- operations ---------------------------------------------------------------------------------------------

    async def health(self, _request: Request) -> Response:
        """200 where every part works, 502 otherwise."""
        status, answer = health(self._hub)
        return _json(answer, status)

    async def metrics(self, request: Request) -> Response:
        """What the hub measures of itself, for Prometheus; where it is one of several workers, of all of them."""
        hub = self._hub
        text, content_type = await hub.metrics.expose(
            hub.engine, hub.health(), request.headers.get("accept", ""), hub.siblings
        )
        return Response(text, headers={"Content-Type": content_type})

    async def enums(self, _request: Request) -> Response:
        """Names and numbers."""
        hub = self._read(lambda tx, _ledger, _directory: accounts.participant(tx, HUB))
        types = self._read(lambda tx, _ledger, _directory: account_types.account_types(tx))
        return _json(enums(hub, [each.name for each in types]) if hub is not None else {})

    # --- participants -------------------------------------------------------------------------------------------

    async def participants(self, request: Request) -> Response:
        """Every participant, or the proxies among them."""
        proxies_only = read_query(request).flag("isProxy")
        found = self._read(lambda tx, _ledger, _directory: accounts.participants(tx, proxies_only=proxies_only))
        return _json([_participant(request, each) for each in found])

    async def create_participant(self, request: Request) -> Response:
        """A new participant, or a new currency of one."""
        body = await read_body(request)
        name = FspId(
            body.text("name", length_min=participants.NAME_LENGTH_MIN, length_max=participants.NAME_LENGTH_MAX)
        )
        currency = body.currency()
        is_proxy = body.flag("isProxy")
        body.end()
        await self._hub.submit(
            participants.CreateParticipant(name=name, currency=currency, is_proxy=is_proxy, by=operator_name(request))
        )
        return self._participant_answer(request, name, 201)

    async def participant(self, request: Request) -> Response:
        """One participant."""
        name = path_name(request)
        found = self._read(lambda tx, _ledger, _directory: accounts.participant(tx, name))
        if found is None:
            raise _resource_not_found()
        return _json(_participant(request, found))

    async def update_participant(self, request: Request) -> Response:
        """Whether a participant takes part."""
        name = path_name(request)
        body = await read_body(request)
        is_active = body.boolean("isActive")
        body.end()
        await self._hub.submit(participants.SetParticipantActive(name=name, is_active=is_active))
        return self._participant_answer(request, name, 200)

    async def set_version(self, request: Request) -> Response:
        """Which FSPIOP version the hub writes to a participant in."""
        name = path_name(request)
        body = await read_body(request)
        version = body.nullable_choice("version", participants.FSPIOP_VERSIONS)
        body.end()
        await self._hub.submit(participants.SetParticipantVersion(name=name, version=version))
        return _json({"name": name, "version": version})

    def _participant_answer(self, request: Request, name: str, status: int) -> Response:
        found = self._read(lambda tx, _ledger, _directory: accounts.participant(tx, name))
        if found is None:
            raise _resource_not_found()
        return _json(_participant(request, found), status)

    # --- limits and positions -----------------------------------------------------------------------------------

    async def limits_of_all(self, request: Request) -> Response:
        """The limits in force of every participant."""
        currency, limit_type = _limits_query(request)
        found = self._read(
            lambda tx, ledger, directory: accounts.limits(
                tx, ledger, directory, currency=currency, limit_type=limit_type
            )
        )
        return _json([{"name": each.name, **_limit(each)} for each in found])

    async def limits(self, request: Request) -> Response:
        """The limits in force of one participant."""
        name = path_name(request)
        currency, limit_type = _limits_query(request)

        def read(tx: Tx, ledger: Ledger, directory: Directory) -> list[accounts.Limit]:
            participant = directory.get(name)
            if participant is None or not _trades(participant, currency):
                raise participants.participant_not_found()
            return accounts.limits(tx, ledger, directory, name=name, currency=currency, limit_type=limit_type)

        return _json([_limit(each) for each in self._read(read)])

    async def adjust_limits(self, request: Request) -> Response:
        """Another net debit cap."""
        name = path_name(request)
        body = await read_body(request)
        currency = body.currency()
        limit = body.object("limit")
        limit_type = limit.text("type")
        share = _share(limit) if limit.has("liquidityPercentage") and not limit.has("value") else None
        value = limit.minor("value") if share is None else 0
        alarm_percentage = limit.whole("alarmPercentage")
        limit.end()
        body.end()
        await self._hub.submit(
            participants.AdjustLimit(
                name=name,
                currency=currency,
                limit_type=limit_type,
                value=value,
                liquidity_share=share,
                alarm_percentage=alarm_percentage,
                by=operator_name(request),
            )
        )
        if share is None:
            return _json(_limit(accounts.Limit(name, currency, limit_type, value, alarm_percentage)))
        (found,) = self._read(
            lambda tx, ledger, directory: accounts.limits(tx, ledger, directory, name=name, currency=currency)
        )
        return _json(_limit(found))

    async def initial_position_and_limits(self, request: Request) -> Response:
        """The first net debit cap in a currency; the accounts become active."""
        name = path_name(request)
        body = await read_body(request)
        currency = body.currency()
        limit = body.object("limit")
        limit_type = limit.text("type")
        value = limit.minor("value")
        limit.end()
        initial_position = body.optional_minor("initialPosition")
        body.end()
        await self._hub.submit(
            participants.SetInitialPositionAndLimits(
                name=name,
                currency=currency,
                limit_type=limit_type,
                value=value,
                initial_position=initial_position,
                by=operator_name(request),
            )
        )
        return Response(status_code=201)

    async def positions(self, request: Request) -> Response:
        """The positions of a participant; with a currency, that one, and an empty object where it is not active."""
        name = path_name(request)
        query = read_query(request)
        currency = query.optional_currency()
        query.end()

        def read(tx: Tx, ledger: Ledger, participant: Participant) -> list[accounts.AccountFigures]:
            if not _trades(participant, currency):
                raise participants.participant_not_found()
            return accounts.positions(tx, ledger, participant)

        found = self._read_participant(name, read)
        answers = {each.currency: _position(each) for each in found}
        return _json(list(answers.values()) if currency is None else answers.get(currency, {}))

    # --- accounts and funds -------------------------------------------------------------------------------------

    async def accounts(self, request: Request) -> Response:
        """The accounts of a participant with their balances."""
        found = self._read_participant(path_name(request), accounts.accounts)
        return _json([_account(each) for each in found])

    async def create_hub_account(self, request: Request) -> Response:
        """One of the hub's own accounts."""
        name = path_name(request)
        body = await read_body(request)
        currency = body.currency()
        account_type = body.text("type")
        body.end()
        await self._hub.submit(
            participants.CreateHubAccount(name=name, currency=currency, type=account_type, by=operator_name(request))
        )
        return self._participant_answer(request, name, 201)

    async def update_account(self, request: Request) -> Response:
        """Whether payments may use a position."""
        name, account_id = path_name(request), path_account_id(request)
        body = await read_body(request)
        is_active = body.boolean("isActive")
        body.end()
        await self._hub.submit(participants.SetAccountActive(name=name, account_id=account_id, is_active=is_active))
        return Response(status_code=200)

    async def move_funds(self, request: Request) -> Response:
        """Funds in, or the reservation of funds out."""
        name, account_id = path_name(request), path_account_id(request)
        body = await read_body(request)
        transfer_id, wire_id = body.transfer_id("transferId")
        external_reference = body.text("externalReference")
        action = body.choice(
            "action", (funds.RECORD_FUNDS_IN, funds.FUNDS_OUT_RESERVE), label="action is missing or not supported"
        )
        reason = body.text("reason")
        money = body.object("amount", label="No amount provided")
        minor = money.positive_minor("amount")
        currency = money.currency()
        money.end()
        extensions = body.extensions()
        body.end()
        command = funds.RecordFundsIn if action == funds.RECORD_FUNDS_IN else funds.ReserveFundsOut
        return await self._submit_funds(
            command(
                name=name,
                account_id=account_id,
                transfer_id=transfer_id,
                wire_id=wire_id,
                amount=Amount(currency, minor),
                reason=reason,
                external_reference=external_reference,
                extensions=extensions,
                by=operator_name(request),
            )
        )

    async def conclude_funds_out(self, request: Request) -> Response:
        """The commit or abort of funds out."""
        name, account_id, transfer_id = path_name(request), path_account_id(request), path_transfer_id(request)
        body = await read_body(request)
        action = body.choice(
            "action", (funds.FUNDS_OUT_COMMIT, funds.FUNDS_OUT_ABORT), label="action is missing or not supported"
        )
        reason = body.text("reason")
        body.end()
        command = funds.CommitFundsOut if action == funds.FUNDS_OUT_COMMIT else funds.AbortFundsOut
        return await self._submit_funds(
            command(name=name, account_id=account_id, transfer_id=transfer_id, reason=reason)
        )

    async def _submit_funds(self, command: funds.Movement | funds.Conclusion) -> Response:
        """202, as in the reference, with what became of it, which the reference does not say."""
        state = await self._hub.submit(command)
        if not isinstance(state, funds.FundsState):
            raise TypeError(f"funds were answered with {type(state).__name__}")
        answer: dict[str, object] = {"transferId": state.transfer_id, "transferState": state.state.api}
        if state.error_code is not None:
            answer |= FspiopError(state.error_code, description=state.error_description).body()
        return _json(answer, 202)

    async def transfer(self, request: Request) -> Response:
        """One transfer of any kind, with every state it has been in."""
        transfer_id = path_transfer_id(request)
        found = self._read(lambda tx, _ledger, _directory: accounts.transfer(tx, transfer_id))
        if found is None:
            detail = "Provided Transfer ID was not found on the server."
            raise FspiopError(ErrorCode.TRANSFER_ID_NOT_FOUND, detail)
        return _json(_transfer(found))

    # --- endpoints, models, types -------------------------------------------------------------------------------

    async def endpoints(self, request: Request) -> Response:
        """Where messages to a participant go; with a type, that one, and an empty object where it is not set.

        Where its alarms go may be a secret: who may not set it is shown the beginning.
        """
        kind = request.query_params.get("type")
        found = self._read_participant(path_name(request), lambda _tx, _ledger, participant: participant.endpoints)
        if participants.ALARM_URL in found and not may_operate(request):
            found = {**found, participants.ALARM_URL: participants.shortened(found[participants.ALARM_URL])}
        answers = {each: {"type": each, "value": value} for each, value in found.items()}
        return _json(answers.get(kind, {}) if kind else list(answers.values()))

    def _check_destination(self, endpoint_type: str, value: str) -> None:
        """Raises `FspiopError` 3101 where the hub would not call a URL."""
        is_url = endpoint_type in _URL_TYPES and bool(value)
        fault = self._hub.destinations.fault(value) if is_url else None
        if fault is not None:
            raise FspiopError(ErrorCode.MALFORMED_SYNTAX, f"value of {endpoint_type} {fault}")

    async def set_endpoint(self, request: Request) -> Response:
        """Sets one endpoint."""
        name = path_name(request)
        body = await read_body(request)
        endpoint = participants.Endpoint(body.text("type"), body.text("value"))
        self._check_destination(endpoint.type, endpoint.value.strip())
        body.end()
        await self._hub.submit(participants.SetEndpoints(name=name, endpoints=(endpoint,), by=operator_name(request)))
        return Response(status_code=201)

    async def settlement_models(self, _request: Request) -> Response:
        """Every settlement model in use."""
        found = self._read(lambda tx, _ledger, _directory: accounts.settlement_models(tx))
        return _json([_settlement_model(each) for each in found if each.is_active])

    async def settlement_model(self, request: Request) -> Response:
        """One settlement model."""
        name = request.path_params["name"]
        found = self._read(lambda tx, _ledger, _directory: accounts.settlement_models(tx, name))
        if not found:
            raise _resource_not_found()
        return _json(_settlement_model(found[0]))

    async def add_settlement_model(self, request: Request) -> Response:
        """One more settlement model."""
        body = await read_body(request)
        command = settlement_models.AddSettlementModel(
            name=body.matching("name", _ALPHANUMERIC, "must only contain alpha-numeric characters"),
            granularity=body.choice("settlementGranularity", settlement_models.GRANULARITIES),
            interchange=body.choice("settlementInterchange", settlement_models.INTERCHANGES),
            delay=body.choice("settlementDelay", settlement_models.DELAYS),
            currency=body.optional_currency(),
            require_liquidity_check=body.boolean("requireLiquidityCheck"),
            ledger_account_type=body.text("ledgerAccountType"),
            settlement_account_type=body.choice("settlementAccountType", settlement_models.SETTLEMENT_ACCOUNT_TYPES),
            by=operator_name(request),
            auto_position_reset=body.boolean("autoPositionReset"),
        )
        body.end()
        await self._hub.submit(command)
        return Response(status_code=201)

    async def update_settlement_model(self, request: Request) -> Response:
        """Whether a settlement model is in use."""
        body = await read_body(request)
        is_active = body.boolean("isActive")
        body.end()
        name = request.path_params["name"]
        await self._hub.submit(
            settlement_models.SetSettlementModelActive(name=name, is_active=is_active, by=operator_name(request))
        )
        return await self.settlement_model(request)

    async def ledger_account_types(self, _request: Request) -> Response:
        """What accounts may be for."""
        found = self._read(lambda tx, _ledger, _directory: account_types.account_types(tx))
        return _json(
            [
                {
                    "ledgerAccountTypeId": each.ledger_account_type_id,
                    "name": each.name,
                    "description": each.description,
                    "isActive": each.is_active,
                    "isSettleable": each.is_settleable,
                }
                for each in found
            ]
        )

    async def add_ledger_account_type(self, request: Request) -> Response:
        """One more thing that accounts may be for."""
        body = await read_body(request)
        command = account_types.AddLedgerAccountType(
            name=body.matching("name", _WORD, "must be letters, digits and underscores"),
            description=body.text("description"),
            is_active=body.boolean("isActive"),
            is_settleable=body.boolean("isSettleable"),
            by=operator_name(request),
        )
        body.end()
        await self._hub.submit(command)
        return Response(status_code=201)

    async def transaction(self, request: Request) -> Response:
        """The transaction object inside a transfer's ILP packet."""
        transfer_id = path_transfer_id(request, "id")
        packet = self._read(lambda tx, _ledger, _directory: accounts.ilp_packet(tx, transfer_id))
        if packet is None:
            raise FspiopError(ErrorCode.ID_NOT_FOUND, "The requested resource could not be found.")
        found = transaction_of(packet)
        if found is None:
            raise FspiopError(ErrorCode.INTERNAL_SERVER_ERROR, "The transfer's ILP packet holds no transaction object")
        return _json(found)


# --- shapes -----------------------------------------------------------------------------------------------------


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _number(minor: int) -> msgspec.Raw:
    """An amount as a JSON number: ``125000`` as ``12.5``."""
    return msgspec.Raw(format_amount(minor).encode())


def _participant(request: Request, participant: accounts.ParticipantDetails) -> dict[str, object]:
    url = f"{request.base_url}participants/{participant.name}"
    answer: dict[str, object] = {
        "name": participant.name,
        "id": url,
        "created": format_datetime_ms(participant.created_ms),
        "isActive": int(participant.is_active),
        "links": {"self": url},
        "accounts": [
            {
                "id": account.account_id,
                "ledgerAccountType": account.type,
                "currency": account.currency,
                "isActive": int(account.is_active),
                "createdDate": format_datetime_ms(account.created_ms),
                "createdBy": account.created_by,
            }
            for account in participant.accounts
        ],
        "isProxy": int(participant.is_proxy),
    }
    if participant.fspiop_version is not None:
        answer["version"] = participant.fspiop_version
    return answer


def _limit(limit: accounts.Limit) -> dict[str, object]:
    shown = {"type": limit.type, "value": _number(limit.value), "alarmPercentage": limit.alarm_percentage}
    if limit.liquidity_share is not None:
        shown["liquidityPercentage"] = _number(limit.liquidity_share * _MINOR_PER_HUNDREDTH)
    return {"currency": limit.currency, "limit": shown}


_MINOR_PER_HUNDREDTH: Final = 100


def _share(limit: Fields) -> int:
    """A percentage of the liquidity, in hundredths of a percent."""
    hundredths, rest = divmod(limit.minor("liquidityPercentage"), _MINOR_PER_HUNDREDTH)
    if rest:
        raise invalid('"limit.liquidityPercentage" must have at most 2 decimals')
    return hundredths


def _position(account: accounts.AccountFigures) -> dict[str, object]:
    return {
        "currency": account.currency,
        "value": _number(account.value),
        "changedDate": format_datetime_ms(account.changed_ms),
    }


def _account(account: accounts.AccountFigures) -> dict[str, object]:
    return {
        "id": account.account_id,
        "ledgerAccountType": account.type,
        "currency": account.currency,
        "isActive": int(account.is_active),
        "value": _number(account.value),
        "reservedValue": _number(account.reserved_value),
        "changedDate": format_datetime_ms(account.changed_ms),
    }


def _settlement_model(model: SettlementModel) -> dict[str, object]:
    return {
        "settlementModelId": model.settlement_model_id,
        "name": model.name,
        "isActive": model.is_active,
        "settlementGranularity": model.granularity,
        "settlementInterchange": model.interchange,
        "settlementDelay": model.delay,
        "currency": model.currency,
        "requireLiquidityCheck": model.require_liquidity_check,
        "ledgerAccountTypeId": model.ledger_account_type,
        "autoPositionReset": model.auto_position_reset,
    }


def _transfer(transfer: accounts.TransferDetails) -> dict[str, object]:
    answer: dict[str, object] = {
        "transferId": transfer.wire_id,
        "kind": transfer.kind,
        "payerFsp": transfer.payer_fsp,
        "payeeFsp": transfer.payee_fsp,
        "amount": {"amount": _number(transfer.amount), "currency": transfer.currency},
        "transferState": transfer.state.api,
        "internalState": transfer.state.value,
        "createdDate": format_datetime_ms(transfer.created_ms),
        "expiration": format_datetime_ms(transfer.expires_ms),
        "completedTimestamp": _moment(transfer.completed_ms),
        "condition": transfer.condition,
        "fulfilment": transfer.fulfilment,
        "settlementWindowId": transfer.settlement_window_id,
        "history": [
            {"state": change.state, "reason": change.reason, "createdDate": format_datetime_ms(change.created_ms)}
            for change in transfer.history
        ],
    }
    if transfer.error_code is not None:
        answer |= FspiopError(transfer.error_code, description=transfer.error_description).body()
    if transfer.fees:
        answer["fees"] = [fees.fee(each) for each in transfer.fees]
    if transfer.funds is not None:
        answer["funds"] = {
            "accountId": transfer.funds.account_id,
            "action": transfer.funds.action,
            "reason": transfer.funds.reason,
            "externalReference": transfer.funds.external_reference,
            "createdBy": transfer.funds.created_by,
        }
    return answer


def _moment(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_datetime_ms(time_ms)


def _limits_query(request: Request) -> tuple[str | None, str | None]:
    query: Fields = read_query(request)
    currency, limit_type = query.optional_currency(), query.optional_text("type")
    query.end()
    return currency, limit_type


def _trades(participant: Participant, currency: str | None) -> bool:
    """Whether it has a position in that currency; without a currency there is nothing to have."""
    return currency is None or participant.account(currency, POSITION) is not None


# --- errors -----------------------------------------------------------------------------------------------------


def _resource_not_found() -> FspiopError:
    return FspiopError(ErrorCode.ID_NOT_FOUND, "The requested resource could not be found")


def _error(error: FspiopError) -> Response:
    answer = _json(error.body(), error.status)
    for name, value in error.headers:
        answer.headers[name] = value
    return answer


async def _on_fspiop_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, FspiopError):
        raise error
    return _error(error)


async def _on_operator_error(_request: Request, error: Exception) -> Response:
    return _error(FspiopError(ErrorCode.CLIENT_ERROR, str(error)))


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path is 3002, another method of a known one 3000 with status 405."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        headers = tuple((error.headers or {}).items())
        return _error(FspiopError(ErrorCode.CLIENT_ERROR, "Method Not Allowed", status=405, headers=headers))
    if error.status_code == 404:
        return _error(FspiopError(ErrorCode.UNKNOWN_URI))
    return _error(FspiopError(ErrorCode.CLIENT_ERROR, error.detail, status=error.status_code))


async def _on_defect(_request: Request, _error_raised: Exception) -> Response:
    """A defect of ours: the server logs it, the operator is told no more than that."""
    return _error(FspiopError(ErrorCode.INTERNAL_SERVER_ERROR))
