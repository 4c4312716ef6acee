"""The settlement API, version 2: windows closed, settlements made and led to their end.

The reference's central settlement under ``/v2`` of the operators' API (``settlement-2.0.json``, hub reference §5.2),
with its shapes, statuses and words. What is wrong with one account of an update is told within a 200, beside what
became of the others; what is wrong with the whole is 400 and changes nothing. ``POST …/finalise`` is the hub's own:
it leads a settlement through all the states that are left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vuka.api.access import operator_name
from vuka.api.admin_body import Fields, invalid, malformed, read_body, read_query
from vuka.api.health import health
from vuka.api.hub import Hub
from vuka.errors import ErrorCode, FspiopError
from vuka.fspiop.times import format_datetime_ms
from vuka.money import format_amount
from vuka.store import Tx
from vuka.switch import settlement_views as views
from vuka.switch import settlements, windows
from vuka.switch.directory import Directory

REASON_LENGTH_MAX: Final = 512
REFERENCE_LENGTH_MAX: Final = 50
WINDOWS_MAX: Final = 1_000
"""Windows that one settlement may be made of."""

_ID_MAX: Final = 2**31 - 1

_WINDOW_FILTERS: Final = "participantId, state, fromDateTime, toDateTime, currency"
_SETTLEMENT_FILTERS: Final = (
    "state, fromDateTime, toDateTime, currency, settlementWindowId, fromSettlementWindowDateTime, "
    "toSettlementWindowDateTime, participantId, accountId"
)

_SETTLEMENT: Final = "/v2/settlements/{id}"
_PARTICIPANT: Final = "/v2/settlements/{sid}/participants/{pid}"
_ACCOUNT: Final = _PARTICIPANT + "/accounts/{aid}"


def routes(hub: Hub) -> list[Route]:
    """The routes, for the operators' application; errors are `FspiopError` and its handler's business."""
    api = _SettlementApi(hub)
    return [
        _route("/v2/health", GET=api.health),
        _route("/v2/settlementWindows", GET=api.list_windows),
        _route("/v2/settlementWindows/{id}", GET=api.window, POST=api.close),
        _route("/v2/settlements", GET=api.list_settlements, POST=api.create),
        _route(_SETTLEMENT, GET=api.settlement, PUT=api.update),
        _route(_SETTLEMENT + "/finalise", POST=api.finalise),
        _route(_PARTICIPANT, GET=api.of_participant, PUT=api.update_participant),
        _route(_ACCOUNT, GET=api.of_account, PUT=api.update_account),
    ]


def _route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
    async def by_method(request: Request) -> Response:
        return await methods[request.method](request)

    route = Route(path, by_method, methods=list(methods))
    route.methods = set(methods)
    return route


class _SettlementApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def health(self, _request: Request) -> Response:
        """200 where every part works, 502 otherwise."""
        status, answer = health(self._hub)
        return _json(answer, status)

    # --- windows ------------------------------------------------------------------------------------------------

    async def list_windows(self, request: Request) -> Response:
        """The windows that a filter lets through; at least one is needed."""
        query = read_query(request)
        if not request.query_params:
            raise invalid(f"Use at least one parameter: {_WINDOW_FILTERS}")
        asked = views.WindowFilter(
            participant_id=_optional_id(query, "participantId"),
            state=_optional_choice(query, "state", windows.STATES),
            from_ms=_optional_time(query, "fromDateTime"),
            to_ms=_optional_time(query, "toDateTime"),
            currency=query.optional_currency(),
        )
        query.end()
        found = self._hub.read(lambda tx, _ledger, _directory: views.windows(tx, asked))
        if not found:
            raise invalid(f"settlementWindow by filters: {_filters(request)} not found")
        return _json([_window(each) for each in found])

    async def window(self, request: Request) -> Response:
        """One window with its content."""
        window_id = _path_id(request, "id")
        return _json(_window(self._window(window_id)))

    async def close(self, request: Request) -> Response:
        """Closes a window; answers the one that is open then."""
        window_id = _path_id(request, "id")
        body = await read_body(request)
        body.choice("state", (windows.CLOSED,))
        reason = body.text("reason", length_max=REASON_LENGTH_MAX)
        body.end()
        command = windows.CloseWindow(window_id=window_id, reason=reason, by=operator_name(request))
        opened = await self._hub.submit(command)
        if not isinstance(opened, int):
            raise TypeError(f"a window was closed with {opened!r}")
        return _json(_window(self._window(opened)))

    def _window(self, window_id: int) -> views.Window:
        found = self._hub.read(lambda tx, _ledger, _directory: views.window(tx, window_id))
        if found is None:
            # The reference says the same with 2001 and status 500; nothing is wrong with the hub, though.
            raise invalid(f"No record for settlementWindowId: {window_id} found")
        return found

    # --- settlements --------------------------------------------------------------------------------------------

    async def list_settlements(self, request: Request) -> Response:
        """The settlements that a filter lets through; at least one is needed."""
        query = read_query(request)
        if not request.query_params:
            raise invalid(f"Use at least one parameter: {_SETTLEMENT_FILTERS}")
        asked = views.SettlementFilter(
            currency=query.optional_currency(),
            participant_id=_optional_id(query, "participantId"),
            settlement_window_id=_optional_id(query, "settlementWindowId"),
            account_id=_optional_id(query, "accountId"),
            state=_optional_choice(query, "state", settlements.STATES),
            from_ms=_optional_time(query, "fromDateTime"),
            to_ms=_optional_time(query, "toDateTime"),
            window_from_ms=_optional_time(query, "fromSettlementWindowDateTime"),
            window_to_ms=_optional_time(query, "toSettlementWindowDateTime"),
        )
        query.end()
        found = self._hub.read(lambda tx, _ledger, _directory: views.settlements(tx, asked))
        if not found:
            raise invalid(f"No settlements found matching the provided parameters: {_filters(request)}")
        return _json([_settlement(each) for each in found])

    async def create(self, request: Request) -> Response:
        """A settlement of closed windows, by one model."""
        body = await read_body(request)
        model = body.text("settlementModel", length_max=REASON_LENGTH_MAX)
        reason = body.text("reason", length_max=REASON_LENGTH_MAX)
        asked = body.objects("settlementWindows")
        if not 1 <= len(asked) <= WINDOWS_MAX:
            raise invalid(f'"settlementWindows" must contain 1 to {WINDOWS_MAX} items')
        window_ids = [_id(each, "id") for each in asked]
        for each in (*asked, body):
            each.end()
        if len(set(window_ids)) != len(window_ids):
            raise invalid('"settlementWindows" contains a duplicate value')
        command = settlements.CreateSettlement(
            settlement_model=model, reason=reason, window_ids=tuple(window_ids), by=operator_name(request)
        )
        settlement_id = await self._hub.submit(command)
        if not isinstance(settlement_id, int):
            raise TypeError(f"a settlement was made with {settlement_id!r}")
        found = self._load(settlement_id)
        return _json({**_settlement(found), "settlementModel": found.settlement_model})

    async def settlement(self, request: Request) -> Response:
        """One settlement with its windows and accounts."""
        return _json(_settlement(self._load(_path_id(request, "id"))))

    async def of_participant(self, request: Request) -> Response:
        """A settlement as one participant sees it."""
        settlement_id, participant_id = _path_id(request, "sid"), _path_id(request, "pid")
        found = self._load(settlement_id)
        accounts = [each for each in found.accounts if each.participant_id == participant_id]
        if not accounts:
            raise invalid(f"Participant with ID '{participant_id}' is not part of settlement '{settlement_id}'")
        return _json(self._narrowed(found, accounts))

    async def of_account(self, request: Request) -> Response:
        """A settlement as it is for one account."""
        settlement_id, participant_id = _path_id(request, "sid"), _path_id(request, "pid")
        account_id = _path_id(request, "aid")
        found = self._load(settlement_id)
        if all(each.participant_id != participant_id for each in found.accounts):
            raise invalid(f"Participant with ID '{participant_id}' is not part of settlement '{settlement_id}'")
        owner = self._hub.read(lambda _tx, _ledger, directory: _owner(directory, account_id))
        if owner != participant_id:
            raise invalid(
                f"Provided account ID '{account_id}' does not match any position account for participant"
                f" '{participant_id}' in settlement '{settlement_id}'"
            )
        accounts = [each for each in found.accounts if each.account_id == account_id]
        if not accounts:
            raise invalid(f"Account ID '{account_id}' is not part of settlement '{settlement_id}'")
        return _json(self._narrowed(found, accounts))

    def _narrowed(self, found: views.Settlement, accounts: Sequence[views.SettlementAccount]) -> dict[str, object]:
        """A settlement with these accounts only, and the windows that they have a part in."""
        account_ids = {each.account_id for each in accounts}

        def windows_with(tx: Tx) -> list[views.Window]:
            contents = views.contents_of(tx, found.settlement_id)
            kept = views.contents_with(tx, contents, account_ids)
            return views.windows_of(tx, {contents[each] for each in kept}, kept)

        concerned = self._hub.read(lambda tx, _ledger, _directory: windows_with(tx))
        return {
            "id": found.settlement_id,
            "state": found.state,
            "settlementWindows": [_settlement_window(each) for each in concerned],
            "participants": _participants(accounts),
        }

    async def update(self, request: Request) -> Response:
        """Leads accounts on, or aborts the settlement; never both."""
        settlement_id = _path_id(request, "id")
        body = await read_body(request)
        if body.has("participants"):
            if any(body.has(name) for name in ("state", "reason", "externalReference")):
                raise invalid("No other properties are allowed when participants is provided")
            asked = [_participant_update(each) for each in body.objects("participants")]
            body.end()
            return await self._update(request, settlement_id, asked)
        if body.has("state") != body.has("reason"):
            raise FspiopError(ErrorCode.MISSING_ELEMENT, "State and reason are mandatory")
        if not body.has("state") or body.text("state") != settlements.ABORTED:
            raise invalid("Invalid request payload input")
        command = settlements.AbortSettlement(
            settlement_id=settlement_id,
            reason=body.text("reason", length_max=REASON_LENGTH_MAX),
            external_reference=_reference(body),
            by=operator_name(request),
        )
        body.end()
        return _ended(await self._hub.submit(command))

    async def update_participant(self, request: Request) -> Response:
        """Leads the accounts of one participant on."""
        settlement_id, participant_id = _path_id(request, "sid"), _path_id(request, "pid")
        body = await read_body(request)
        accounts = tuple(_account_update(each) for each in body.objects("accounts"))
        body.end()
        return await self._update(request, settlement_id, [settlements.ParticipantUpdate(participant_id, accounts)])

    async def update_account(self, request: Request) -> Response:
        """Leads one account on."""
        settlement_id, participant_id = _path_id(request, "sid"), _path_id(request, "pid")
        body = await read_body(request)
        account = _account_update(body, account_id=_path_id(request, "aid"))
        return await self._update(request, settlement_id, [settlements.ParticipantUpdate(participant_id, (account,))])

    async def _update(
        self, request: Request, settlement_id: int, asked: Sequence[settlements.ParticipantUpdate]
    ) -> Response:
        command = settlements.UpdateSettlement(
            settlement_id=settlement_id, participants=tuple(asked), by=operator_name(request)
        )
        updated = await self._hub.submit(command)
        if not isinstance(updated, settlements.SettlementUpdated):
            raise TypeError(f"a settlement was updated with {updated!r}")

        def windows_changed(tx: Tx) -> list[views.Window]:
            contents = views.contents_of(tx, settlement_id)
            changed = updated.window_content_ids
            return views.windows_of(tx, {contents[each] for each in changed}, changed)

        changed = self._hub.read(lambda tx, _ledger, _directory: windows_changed(tx))
        return _json(
            {
                "id": settlement_id,
                "state": updated.state,
                "createdDate": format_datetime_ms(updated.changed_ms),
                "settlementWindows": [_settlement_window(each) for each in changed],
                "participants": [
                    {"id": each.participant_id, "accounts": [_account_result(account) for account in each.accounts]}
                    for each in updated.participants
                ],
            }
        )

    async def finalise(self, request: Request) -> Response:
        """Leads every account through the states that are left."""
        settlement_id = _path_id(request, "id")
        body = await read_body(request)
        command = settlements.FinaliseSettlement(
            settlement_id=settlement_id,
            reason=body.text("reason", length_max=REASON_LENGTH_MAX),
            external_reference=_reference(body),
            by=operator_name(request),
        )
        body.end()
        await self._hub.submit(command)
        return _json(_settlement(self._load(settlement_id)))

    def _load(self, settlement_id: int) -> views.Settlement:
        found = self._hub.read(lambda tx, _ledger, _directory: views.settlement(tx, settlement_id))
        if found is None:
            raise invalid(f"Settlement with ID '{settlement_id}' not found")
        return found


# --- what is asked ------------------------------------------------------------------------------------------------


def _path_id(request: Request, name: str) -> int:
    text = request.path_params[name]
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not 1 <= int(text) <= _ID_MAX:
        raise malformed(f"'{name}' URI path parameter")
    return int(text)


def _id(fields: Fields, name: str) -> int:
    number = fields.whole(name)
    if not 1 <= number <= _ID_MAX:
        raise invalid(f'"{name}" must be a positive number')
    return number


def _optional_id(query: Fields, name: str) -> int | None:
    return _id(query, name) if query.has(name) else None


def _optional_choice(query: Fields, name: str, choices: Sequence[str]) -> str | None:
    return query.choice(name, choices) if query.has(name) else None


def _optional_time(query: Fields, name: str) -> int | None:
    """A moment as ISO 8601 writes it; UTC where it does not say."""
    text = query.optional_text(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        # A time zone may take it out of the years that there are.
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise malformed(f'"{name}" must be in ISO 8601 date format') from None


def _filters(request: Request) -> str:
    """The filters as the reference repeats them in its error; cut where somebody sends much."""
    return ",".join(f"{name}:{value}" for name, value in request.query_params.items())[:200]


def _reference(body: Fields) -> str | None:
    if not body.has("externalReference"):
        return None
    return body.text("externalReference", length_max=REFERENCE_LENGTH_MAX)


def _participant_update(fields: Fields) -> settlements.ParticipantUpdate:
    participant_id = _id(fields, "id")
    accounts = tuple(_account_update(each) for each in fields.objects("accounts"))
    fields.end()
    return settlements.ParticipantUpdate(participant_id, accounts)


def _account_update(fields: Fields, account_id: int | None = None) -> settlements.AccountUpdate:
    update = settlements.AccountUpdate(
        _id(fields, "id") if account_id is None else account_id,
        fields.choice("state", settlements.ACCOUNT_STATES),
        fields.text("reason", length_max=REASON_LENGTH_MAX),
        _reference(fields),
    )
    fields.end()
    return update


def _owner(directory: Directory, account_id: int) -> int | None:
    found = directory.by_account(account_id)
    return found[0].participant_id if found is not None else None


# --- shapes -----------------------------------------------------------------------------------------------------


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _money(minor: int, currency: str) -> dict[str, object]:
    return {"amount": msgspec.Raw(format_amount(minor).encode()), "currency": currency}


def _window(window: views.Window) -> dict[str, object]:
    return {"settlementWindowId": window.settlement_window_id, **_settlement_window(window)}


def _settlement_window(window: views.Window) -> dict[str, object]:
    return {
        "id": window.settlement_window_id,
        "state": window.state,
        "reason": window.reason,
        "createdDate": format_datetime_ms(window.created_ms),
        "changedDate": format_datetime_ms(window.changed_ms),
        "content": [_content(each) for each in window.content],
    }


def _content(content: views.Content) -> dict[str, object]:
    answer: dict[str, object] = {
        "id": content.window_content_id,
        "state": content.state,
        "ledgerAccountType": content.ledger_account_type,
        "currencyId": content.currency,
        "createdDate": format_datetime_ms(content.created_ms),
        "changedDate": format_datetime_ms(content.changed_ms),
    }
    if content.settlement_id is not None:
        answer["settlementId"] = content.settlement_id
    return answer


def _settlement(settlement: views.Settlement) -> dict[str, object]:
    return {
        "id": settlement.settlement_id,
        "state": settlement.state,
        "reason": settlement.reason,
        "createdDate": format_datetime_ms(settlement.created_ms),
        "changedDate": format_datetime_ms(settlement.changed_ms),
        "settlementWindows": [_settlement_window(each) for each in settlement.windows],
        "participants": _participants(settlement.accounts),
    }


def _participants(accounts: Sequence[views.SettlementAccount]) -> list[dict[str, object]]:
    by_participant: dict[int, list[dict[str, object]]] = {}
    for account in accounts:
        shown: dict[str, object] = {
            "id": account.account_id,
            "state": account.state,
            "reason": account.reason,
            "netSettlementAmount": _money(account.net_amount, account.currency),
        }
        if account.external_reference is not None:
            shown["externalReference"] = account.external_reference
        by_participant.setdefault(account.participant_id, []).append(shown)
    return [{"id": participant_id, "accounts": shown} for participant_id, shown in by_participant.items()]


def _account_result(result: settlements.AccountResult) -> dict[str, object]:
    answer: dict[str, object] = {"id": result.account_id}
    if result.state is not None and result.changed_ms is not None:
        answer |= {
            "state": result.state,
            "reason": result.reason,
            "createdDate": format_datetime_ms(result.changed_ms),
            "netSettlementAmount": _money(result.net_amount or 0, result.currency or ""),
        }
    if result.external_reference is not None:
        answer["externalReference"] = result.external_reference
    if result.error is not None:
        answer |= result.error.body()
    return answer


def _ended(value: object) -> Response:
    if not isinstance(value, settlements.SettlementEnded):
        raise TypeError(f"a settlement ended with {value!r}")
    return _json({"id": value.settlement_id, "state": value.state, "reason": value.reason})
