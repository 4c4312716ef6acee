"""``vuka demo``: a hub and four participants on this machine, and payments crossing between them."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vuka.cli.hub import found
from vuka.cli.output import console, fail
from vuka.cli.process import hub_process
from vuka.config import CONFIG_FILE, load, to_toml
from vuka.errors import OperatorError
from vuka.httpclient import TransportError
from vuka.money import Amount, Currency
from vuka.sim.onboard import OnboardingError
from vuka.sim.participant import Conduct, Payment, PaymentState
from vuka.sim.scenario import CAST, CURRENCIES, SCRIPT, SHORT_TRANSFER_SECONDS, TRANSFER_SECONDS, Cast, play
from vuka.store.migrate import current_revision

if TYPE_CHECKING:
    from vuka.switch.books import Balance

BAD_REQUEST = 400
DEFAULT_MODEL = "DEFAULTDEFERREDNET"
SHOWN = 14
PACE_SECONDS = 0.6
SPECIAL_EVERY = 12
"""In the live view, one payment in so many is refused or times out, so that one sees it."""


def demo(
    data: Annotated[Path, typer.Option("--data", help="The demo hub's data directory.")] = Path("demo-data"),
    once: Annotated[bool, typer.Option("--once", help="Play a fixed script, audit the books, and end.")] = False,
    participants_port: Annotated[int, typer.Option(help="Port of the participants' API; 0 takes a free one.")] = 4000,
    operators_port: Annotated[int, typer.Option(help="Port of the operators' API; 0 takes a free one.")] = 4001,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin with a new hub, whatever is in the directory.")] = False,
) -> None:
    """Run a hub with four participants on this machine and watch payments cross.

    Example: [bold]vuka demo --once[/bold]
    """
    if fresh and (data / "vuka.db").exists():
        shutil.rmtree(data)
    try:
        config = load(None, {}, data_dir=str(data))
        if current_revision(config.database_path) is None:
            found(config, "Demo scheme", list(CURRENCIES))
            (data / CONFIG_FILE).write_text(to_toml(config), encoding="utf-8")
    except OperatorError as error:
        fail(str(error))
    import uvloop

    try:
        ended_well = uvloop.run(_demo(data, participants_port, operators_port, once=once))
    except KeyboardInterrupt:
        ended_well = True
    if not ended_well:
        raise typer.Exit(1)


async def _demo(data: Path, participants_port: int, operators_port: int, *, once: bool) -> bool:
    started = time.monotonic()
    with hub_process(data, participants_port=participants_port, operators_port=operators_port) as running:
        cast = Cast(running.participants_url, running.operators_url)
        try:
            await cast.start()
            seconds = time.monotonic() - started
            console.print(
                f"A hub and {len(CAST)} participants are ready after {seconds:.1f} s. "
                f"Data: [bold]{data}[/]; hub {running.participants_url}, operators {running.operators_url}."
            )
            if once:
                ended_well = await _once(cast)
            else:
                await _live(cast, data)
                ended_well = True
            ended_well = await _end_of_day(cast) and ended_well
        finally:
            await cast.stop()
    return _audited(data) and ended_well


# --- once -------------------------------------------------------------------------------------------------------------


async def _once(cast: Cast) -> bool:
    table = Table(title="Payments", title_justify="left", header_style="bold")
    for column in ("", "payment", "from → to", "amount", "ended", "lookup/quote/transfer ms"):
        table.add_column(column, justify="right" if column.endswith("ms") or column == "amount" else "left")
    ended_well = True
    async for result in play(cast, SCRIPT):
        payment = result.payment
        table.add_row(
            "[green]✓[/]" if result.ok else "[bold red]✗[/]",
            result.step.title,
            f"{result.step.payer[0]} → {payment.payee_fsp or '?'}",
            str(Amount(Currency(payment.currency), payment.amount)),
            _end(payment),
            " / ".join(f"{ms:.1f}" for ms in (payment.lookup_ms, payment.quote_ms, payment.transfer_ms) if ms),
        )
        ended_well = ended_well and result.ok
    console.print(table)
    if not ended_well:
        console.print("[bold red]Not every payment ended as it should have.[/]")
    return ended_well


def _end(payment: Payment) -> str:
    if payment.state is PaymentState.COMMITTED:
        return "[green]COMMITTED[/]"
    return f"[yellow]{payment.state}[/] {payment.error}"


# --- the end of the day -----------------------------------------------------------------------------------------------


async def _end_of_day(cast: Cast) -> bool:
    """Closes the window and settles it, and shows what that does to positions; whether it could be done."""
    try:
        await _settle(cast)
    except (OnboardingError, TransportError) as error:
        console.print(f"[bold red]The window is not settled[/]: {escape(str(error))}")
        return False
    return True


async def _settle(cast: Cast) -> None:
    console.print(await _positions(cast))
    operator = cast.operator
    (window,) = await operator.do("GET", "/v2/settlementWindows?state=OPEN")
    path = f"/v2/settlementWindows/{window['id']}"
    status, answer = await operator.call("POST", path, {"state": "CLOSED", "reason": "end of the demo"})
    if "is empty" in str(answer):
        console.print(f"Nobody has paid anybody: window {window['id']} is empty and stays open.")
        return
    if status >= BAD_REQUEST:
        raise OnboardingError(f"the hub answered {status}: {answer}")
    wanted = {"settlementModel": DEFAULT_MODEL, "reason": "the demo", "settlementWindows": [{"id": window["id"]}]}
    made = await operator.do("POST", "/v2/settlements", wanted)
    settled = await operator.do("POST", f"/v2/settlements/{made['id']}/finalise", {"reason": "the bank has paid"})
    console.print(await _settled(cast, settled, window["id"]))
    console.print(await _positions(cast))


async def _settled(cast: Cast, settlement: dict[str, Any], window_id: int) -> Table:
    """Who owed how much to all the others."""
    owners = {
        account["id"]: participant["name"]
        for participant in await cast.operator.do("GET", "/participants")
        for account in participant["accounts"]
    }
    title = f"Window {window_id} closed and settled: settlement {settlement['id']} is {settlement['state']}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in ("participant", "currency", "owes", "is owed"):
        table.add_column(column, justify="right" if "ow" in column else "left")
    for participant in settlement["participants"]:
        for account in participant["accounts"]:
            net = account["netSettlementAmount"]
            owes, is_owed = (f"{net['amount']:,.2f}", "") if net["amount"] > 0 else ("", f"{-net['amount']:,.2f}")
            table.add_row(owners[account["id"]], net["currency"], owes, is_owed)
    return table


async def _positions(cast: Cast) -> Table:
    figures = await cast.operator.figures(cast.names)
    table = Table(title="Participants", title_justify="left", header_style="bold")
    for column in ("participant", "currency", "position", "liquidity", "what it is"):
        table.add_column(column, justify="right" if column in ("position", "liquidity") else "left")
    for role in CAST:
        for currency in role.terms:
            position = figures[role.name, currency, "POSITION"]
            liquidity = -figures[role.name, currency, "SETTLEMENT"]
            table.add_row(role.name, currency, f"{position:,.2f}", f"{liquidity:,.2f}", role.what)
    return table


def _audited(data: Path) -> bool:
    """The books, recomputed from the file the hub left behind."""
    from vuka.cli.options import read_config
    from vuka.cli.reading import reading
    from vuka.switch.audit import audit
    from vuka.switch.books import trial_balance
    from vuka.switch.directory import read_directory

    with reading(read_config(data, is_at_home=True)) as (tx, ledger):
        report = audit(tx, ledger)
        balances = trial_balance(ledger, read_directory(tx))
    for currency in sorted({each.currency for each in balances}):
        console.print(_trial_balance(currency, [each for each in balances if each.currency == currency]))
    if report.differences:
        for each in report.differences:
            console.print(f"[bold red]{each.rule}[/]: {each.subject}: expected {each.expected}, found {each.found}")
        return False
    console.print(
        f"[bold green]The books balance[/]: {report.accounts} accounts, {report.ledger_transfers} ledger transfers, "
        f"{report.transfers} transfers recomputed."
    )
    return True


def _trial_balance(currency: str, balances: Sequence[Balance]) -> Table:
    """Each account with its balance on the side where it is, and both sides added up."""
    table = Table(title=f"Trial balance, {currency}", title_justify="left", header_style="bold", show_footer=True)
    sides = [(max(0, each.debits - each.credits), max(0, each.credits - each.debits)) for each in balances]
    sums = [_figure(currency, sum(amounts)) for amounts in zip(*sides, strict=True)]
    at_nothing = sum(1 for side in sides if not any(side))
    table.add_column("participant", footer="all")
    table.add_column("account", footer=f"and {at_nothing} at nothing" if at_nothing else "")
    table.add_column("debit", footer=sums[0], justify="right")
    table.add_column("credit", footer=sums[1], justify="right")
    for each, side in zip(balances, sides, strict=True):
        if any(side):
            debit, credit = (_figure(currency, amount) if amount else "" for amount in side)
            table.add_row(each.participant, each.type, debit, credit)
    return table


def _figure(currency: str, amount: int) -> str:
    return str(Amount(Currency(currency), amount)).removesuffix(f" {currency}")


# --- live -------------------------------------------------------------------------------------------------------------


class _Scene:
    """What the live view shows."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self.rows: deque[tuple[str, str, str, Payment]] = deque(maxlen=SHOWN)
        self.committed = 0
        self.refused = 0
        self.positions: Table | None = None

    def __rich__(self) -> Group:
        table = Table(header_style="bold", expand=True)
        for column in ("from", "to", "amount", "state", "lookup", "quote", "transfer", "what"):
            table.add_column(column, justify="right" if column in ("amount", "lookup", "quote", "transfer") else "left")
        for payer, payee, what, payment in self.rows:
            table.add_row(
                payer,
                payee,
                str(Amount(Currency(payment.currency), payment.amount)),
                _end(payment) if payment.state in (PaymentState.COMMITTED, PaymentState.ABORTED) else payment.state,
                *(f"{ms:.0f} ms" if ms else "" for ms in (payment.lookup_ms, payment.quote_ms, payment.transfer_ms)),
                what,
            )
        line = Text(f"{self.committed} committed, {self.refused} refused or expired. Ctrl-C ends the demo.")
        parts: list[object] = [table, line]
        if self.positions is not None:
            parts.insert(1, self.positions)
        return Group(*parts)  # type: ignore[arg-type]


async def _live(cast: Cast, data: Path) -> None:
    console.print(_your_turn(cast, data))
    scene = _Scene(cast)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    tasks = {asyncio.create_task(_traffic(cast, scene)), asyncio.create_task(_watch(cast, scene))}
    with Live(scene, console=console, refresh_per_second=8):
        await stopping.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # Where it is no terminal the view ends without a line of its own.
    console.print()


async def _watch(cast: Cast, scene: _Scene) -> None:
    while True:
        scene.positions = await _positions(cast)
        await asyncio.sleep(1)


async def _traffic(cast: Cast, scene: _Scene) -> None:
    chance = random.Random()  # noqa: S311 - who pays whom in a demo is no secret
    running: set[asyncio.Task[None]] = set()
    number = 0
    while True:
        number += 1
        special = ("liquidity", "timeout")[number // SPECIAL_EVERY % 2] if number % SPECIAL_EVERY == 0 else ""
        task = asyncio.create_task(_one(cast, scene, chance, special))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(PACE_SECONDS)


async def _one(cast: Cast, scene: _Scene, chance: random.Random, special: str) -> None:
    currency = chance.choice(CURRENCIES)
    able = [participant for participant in cast.participants.values() if currency in participant.currencies]
    payer, payee = chance.sample(able, 2)
    amount = chance.randint(100, 2_000) * (100 if currency == "USD" else 10_000)
    if special == "liquidity":
        payer, currency, amount = cast.participants["kilimo"], "USD", 4_000_000
        payee = cast.participants["greenbank"]
    elif special == "timeout":
        payer, payee, currency = cast.participants["pesapay"], cast.participants["kilimo"], "USD"
        amount = 100_000
    if special != "liquidity" and payee.fee >= amount:
        amount = payee.fee * 20
    customer = chance.choice(list(payer.customers.values()))
    other = chance.choice(list(payee.customers.values()))
    # The view shows the hub, not how rich the customers are.
    customer.balances[currency] = max(customer.balances.get(currency, 0), amount * 2)
    if special == "timeout":
        payee.conduct, payer.transfer_seconds = Conduct.SILENT, SHORT_TRANSFER_SECONDS
    before = set(payer.payments)
    paying = asyncio.create_task(payer.pay(customer.identifier, (other.party_type, other.identifier), amount, currency))
    await asyncio.sleep(0)
    for transfer_id in set(payer.payments) - before:
        what = {"liquidity": "more than its liquidity", "timeout": "the payee is silent"}.get(special, "")
        scene.rows.append((payer.name, payee.name, what, payer.payments[transfer_id]))
    try:
        payment = await paying
    finally:
        if special == "timeout":
            payee.conduct, payer.transfer_seconds = Conduct.NORMAL, TRANSFER_SECONDS
    if payment.state is PaymentState.COMMITTED:
        scene.committed += 1
    else:
        scene.refused += 1


def _your_turn(cast: Cast, data: Path) -> Panel:
    payer = cast.participants["greenbank"]
    pay = (
        f"curl -s -X POST {payer.url}/sim/pay "
        """-d '{"from": "254700000001", "to": {"id": "254711000001"}, "amount": "25", "currency": "USD"}'"""
    )
    text = Text.assemble(
        "Send a payment of your own: Amina of greenbank pays Wanjiru of pesapay 25 USD; the answer names its id.\n\n",
        (f"  {pay}\n", "bold"),
        "\nThen watch it, from the hub's side:\n\n",
        (f"  vuka trace <transferId> --data {data}\n", "bold"),
        (f"  vuka trace <transferId> --data {data} --diagram\n", "bold"),
        (f"  curl -s {payer.url}/sim/customers\n", "bold"),
        (f"  vuka participant list --url {cast.operator.url}\n", "bold"),
        "\nHave a participant misbehave (silent, aborts, wrong-fulfilment, duplicates, hangs, … and normal again):\n\n",
        (
            f"  curl -s -X PUT {cast.participants['pesapay'].url}/sim/conduct -d "
            """'{"conduct": "aborts"}'\n""",
            "bold",
        ),
    )
    return Panel(text, title="Your turn", title_align="left")
