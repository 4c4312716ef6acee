"""``vuka schedule``: when settlement windows close by themselves, and what is settled then."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Schedules: settlement windows that close by themselves.")

Name = Annotated[str, typer.Argument(help="The schedule's name.")]
Cron = Annotated[str, typer.Argument(help="When: minute, hour, day, month, weekday, in quotes.")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Its name: letters, digits, dots, dashes, underscores.")],
    cron: Cron,
    time_zone: Annotated[str, typer.Option(help="Whose clocks count, by their IANA name.")] = "UTC",
    model: Annotated[
        str | None, typer.Option(help="The settlement model to settle by then.", show_default="closes only")
    ] = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Have settlement windows close by themselves, several times a day if you like.

    Example: [bold]vuka schedule add end-of-day "0 18 * * MON-FRI" --time-zone Africa/Kigali[/bold]
    """
    body = {"name": name, "cron": cron, "timeZone": time_zone}
    if model is not None:
        body["settlementModel"] = model
    made: dict[str, Any] = call(url, "POST", "/settlementSchedules", body)
    _say(made)


@app.command("list")
def list_schedules(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the schedules, with when each runs next and what it did last.

    Example: [bold]vuka schedule list[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", "/settlementSchedules")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            each["cron"],
            each["timeZone"],
            each["settlementModel"] or "closes only",
            _next(each),
            each["lastOutcome"],
        )
        for each in found
    ]
    print_table("Schedules", ("schedule", "cron", "time zone", "settles by", "next run", "last run"), rows)


@app.command("show")
def show(name: Name, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a schedule with its next five runs and what came of the last one.

    Example: [bold]vuka schedule show end-of-day[/bold]
    """
    found: dict[str, Any] = call(url, "GET", _path(name))
    if as_json:
        print_json(found)
        return
    settles = f"and settles by {found['settlementModel']}" if found["settlementModel"] else "and settles nothing"
    state = "" if found["isActive"] else ", but is paused"
    console.print(
        f"{name} closes the window at {found['cron']} ({found['timeZone']}) {settles}{state}.",
        highlight=False,
        markup=False,
    )
    if found["lastRun"] is not None:
        console.print(f"Last run {_local(found, 'lastRun')}: {found['lastOutcome']}", highlight=False, markup=False)
    rows = [(_clock(each, found["timeZone"]), each) for each in found["nextRuns"]]
    print_table("Next runs", (found["timeZone"], "UTC"), rows)


@app.command("change")
def change(
    name: Name,
    cron: Annotated[str | None, typer.Option(help="Another expression.", show_default="as it is")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Another time zone.", show_default="as it is")] = None,
    model: Annotated[
        str | None, typer.Option(help="Another settlement model; empty: none.", show_default="as it is")
    ] = None,
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Change when a schedule runs, or what it settles; what is due already runs first.

    Example: [bold]vuka schedule change end-of-day --cron "30 17 * * MON-FRI"[/bold]
    """
    body: dict[str, object] = {}
    if cron is not None:
        body["cron"] = cron
    if time_zone is not None:
        body["timeZone"] = time_zone
    if model is not None:
        body["settlementModel"] = model or None
    if not body:
        fail("Nothing is to be changed. Give --cron, --time-zone or --model.")
    changed: dict[str, Any] = call(url, "PUT", _path(name), body)
    _say(changed)


@app.command("pause")
def pause(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Have a schedule not run until it is resumed.

    Example: [bold]vuka schedule pause end-of-day[/bold]
    """
    paused: dict[str, Any] = call(url, "PUT", _path(name), {"isActive": False})
    _say(paused)


@app.command("resume")
def resume(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Have a schedule run again, from now on: what it was paused for is not made up.

    Example: [bold]vuka schedule resume end-of-day[/bold]
    """
    resumed: dict[str, Any] = call(url, "PUT", _path(name), {"isActive": True})
    _say(resumed)


@app.command("remove")
def remove(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Remove a schedule. What it has closed and settled stays.

    Example: [bold]vuka schedule remove end-of-day[/bold]
    """
    call(url, "DELETE", _path(name))
    console.print(f"{name} is removed.", highlight=False)


def _say(schedule: dict[str, Any]) -> None:
    when = f"runs next at {_next(schedule)}" if schedule["isActive"] else "is paused"
    console.print(f"{schedule['name']} {when}.", highlight=False)


def _path(name: str) -> str:
    return f"/settlementSchedules/{quote(name, safe='')}"


def _next(schedule: dict[str, Any]) -> str:
    """When a schedule runs next, as the clocks of its zone will show it."""
    runs: list[str] = schedule["nextRuns"]
    return _clock(runs[0], schedule["timeZone"]) if runs else "paused"


def _local(schedule: dict[str, Any], moment: str) -> str:
    return _clock(schedule[moment], schedule["timeZone"])


def _clock(text: str, time_zone: str) -> str:
    """A DateTime as the clocks of a zone show it; as it is, where this machine does not know the zone."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return text
    return datetime.fromisoformat(text).astimezone(zone).isoformat(" ", "minutes")
