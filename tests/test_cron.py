"""Cron expressions in time zones: the next moment is after now and matches, also where the clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vuka.cron import EXAMPLE, LENGTH_MAX, CronError, moments, next_ms, time_zones


def ms(text: str) -> int:
    """``2026-03-29T02:30+02:00`` in milliseconds."""
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def runs(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next times as the clocks of the zone show them."""
    found = islice(moments(expression, zone, ms(after)), count)
    return [datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone)).strftime("%m-%d %H:%M %z") for at_ms in found]


def test_a_time_of_day_is_that_of_the_zone() -> None:
    assert next_ms("0 18 * * MON-FRI", "Africa/Kigali", ms("2026-11-27T16:00:00Z")) == ms("2026-11-30T16:00:00Z")


def test_a_moment_that_is_now_is_not_the_next() -> None:
    assert next_ms("0 18 * * *", "UTC", ms("2026-11-27T18:00:00Z")) == ms("2026-11-28T18:00:00Z")
    assert next_ms("0 18 * * *", "UTC", ms("2026-11-27T18:00:00Z") - 1) == ms("2026-11-27T18:00:00Z")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 8,12,16 * * *", ["11-27 08:00", "11-27 12:00", "11-27 16:00", "11-28 08:00"]),
        ("*/20 9-10 * * 1-5", ["11-27 09:00", "11-27 09:20", "11-27 09:40", "11-27 10:00"]),
        ("0 0 L * *", ["11-30 00:00", "12-31 00:00", "01-31 00:00", "02-28 00:00"]),
        ("30 17 LW * *", ["11-30 17:30", "12-31 17:30", "01-29 17:30", "02-26 17:30"]),
        ("0 12 * * MON#1", ["12-07 12:00", "01-04 12:00", "02-01 12:00", "03-01 12:00"]),
        ("0 12 1 * SUN", ["11-29 12:00", "12-01 12:00", "12-06 12:00", "12-13 12:00"]),
        ("0 0 29 2 *", ["02-29 00:00"] * 4),
    ],
)
def test_what_an_expression_names(expression: str, expected: list[str]) -> None:
    assert [each[:11] for each in runs(expression, "UTC", "2026-11-27T00:30:00Z", 4)] == expected


# --- where the clocks change -------------------------------------------------------------------------------------

BERLIN, CASABLANCA = "Europe/Berlin", "Africa/Casablanca"
"""Berlin leaves out 02:00 to 03:00 on 29 March 2026 and has it twice on 25 October. Casablanca sets its clocks back for
Ramadan: 02:00 to 03:00 is there twice on 15 February 2026 and left out on 22 March."""


def test_what_falls_into_the_hour_left_out_is_due_when_it_is_over() -> None:
    assert runs("30 2 * * *", BERLIN, "2026-03-28T12:00:00Z", 2) == ["03-29 03:00 +0200", "03-30 02:30 +0200"]
    assert runs("30 2 * * *", CASABLANCA, "2026-03-21T12:00:00Z", 2) == ["03-22 03:00 +0100", "03-23 02:30 +0100"]


def test_several_that_fall_into_the_hour_left_out_are_due_once() -> None:
    found = runs("0,20,40 2,3 * * *", BERLIN, "2026-03-29T00:00:00Z", 3)
    assert found == ["03-29 03:00 +0200", "03-29 03:20 +0200", "03-29 03:40 +0200"]


def test_what_falls_into_the_hour_that_comes_twice_is_due_the_first_time() -> None:
    assert runs("30 2 * * *", BERLIN, "2026-10-24T12:00:00Z", 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    assert runs("30 2 * * *", CASABLANCA, "2026-02-14T12:00:00Z", 2) == ["02-15 02:30 +0100", "02-16 02:30 +0000"]


def test_asked_in_the_second_pass_of_an_hour_the_first_is_over() -> None:
    assert runs("30 2 * * *", BERLIN, "2026-10-25T01:10:00Z", 1) == ["10-26 02:30 +0100"]


def test_what_follows_the_time_that_passes_runs_in_both_passes_and_not_in_what_is_left_out() -> None:
    assert runs("30 * * * *", BERLIN, "2026-10-24T23:40:00Z", 4) == [
        *("10-25 02:30 +0200", "10-25 02:30 +0100"),
        *("10-25 03:30 +0100", "10-25 04:30 +0100"),
    ]
    assert runs("30 * * * *", BERLIN, "2026-03-28T23:40:00Z", 3) == [
        *("03-29 01:30 +0100", "03-29 03:30 +0200", "03-29 04:30 +0200")
    ]


def test_a_day_whose_first_hour_is_left_out_runs_all_the_same() -> None:
    found = runs("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2)
    assert found == ["04-24 01:00 +0300", "04-25 00:00 +0300"]


# --- any expression, any moment ------------------------------------------------------------------------------------

ZONES = ("UTC", BERLIN, CASABLANCA, "America/New_York", "Asia/Kathmandu", "Africa/Johannesburg")
Field = tuple[str, frozenset[int]]


def one_field(low: int, high: int, top: int, steps: tuple[int, int] = (1, 9)) -> st.SearchStrategy[Field]:
    """A field as it is written, and the values that it stands for; a star goes up to ``top``."""
    values = st.integers(low, high)
    return st.one_of(
        st.integers(*steps).map(
            lambda step: (f"*/{step}" if step > 1 else "*", frozenset(range(low, top + 1, step))),
        ),
        st.sets(values, min_size=1, max_size=3).map(lambda some: (",".join(map(str, sorted(some))), frozenset(some))),
        st.tuples(st.sets(values, min_size=2, max_size=2), st.integers(*steps)).map(
            lambda span: (
                f"{min(span[0])}-{max(span[0])}/{span[1]}",
                frozenset(range(min(span[0]), max(span[0]) + 1, span[1])),
            )
        ),
    )


EXPRESSIONS = st.tuples(
    one_field(0, 59, 59, steps=(15, 40)),
    one_field(0, 23, 23),
    one_field(1, 28, 31),
    one_field(1, 12, 12),
    one_field(0, 6, 6),
)

MOMENTS = st.one_of(
    st.integers(ms("2025-01-01T00:00:00Z"), ms("2030-01-01T00:00:00Z")),
    # Around the changes of the clocks.
    *(
        st.integers(ms(day) - 7_200_000, ms(day) + 10_800_000)
        for day in ("2026-03-29T00:30:00Z", "2026-10-25T00:30:00Z", "2026-02-15T01:30:00Z", "2026-03-22T01:30:00Z")
    ),
)


def on_the_clock(fields: tuple[Field, ...], day: date) -> Iterator[datetime]:
    """The times of a day that an expression names, as a clock without a zone shows them."""
    (_, minutes), (_, hours), (days_text, days), (_, months), (weekdays_text, weekdays) = fields
    of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
    # As Debian has it: either will do, unless one of them begins with a star.
    both = days_text.startswith("*") or weekdays_text.startswith("*")
    if day.month in months and (of_month and of_week if both else of_month or of_week):
        for hour in sorted(hours):
            for minute in sorted(minutes):
                yield datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - a clock without a zone


def instants(fields: tuple[Field, ...], clock: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """When a time of the clock is due: the first time that it comes, or each, or when what is left out is over."""
    passes = [clock.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    real = [each for each in passes if each.astimezone(zone).replace(tzinfo=None) == clock]
    if any(text.startswith("*") for text, _ in fields[:2]):
        yield from real
    elif real:
        yield real[0]
    else:
        later = clock
        while later.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != later:
            later += timedelta(minutes=1)
        yield later.replace(tzinfo=zone).astimezone(UTC)


def obvious_next_ms(fields: tuple[Field, ...], zone: ZoneInfo, after_ms: int) -> int:
    """The next moment, found by looking at one day after the other."""
    day = datetime.fromtimestamp(after_ms // 1000, zone).date() - timedelta(days=1)
    best: int | None = None
    while True:
        for clock in on_the_clock(fields, day):
            for instant in instants(fields, clock, zone):
                at_ms = int(instant.timestamp()) * 1000
                if at_ms > after_ms and (best is None or at_ms < best):
                    best = at_ms
        if best is not None and int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000 > best:
            return best
        day += timedelta(days=1)
        assert day.year < 2100, "an expression that names no day was generated"


@settings(deadline=None, max_examples=150)
@given(EXPRESSIONS, st.sampled_from(ZONES), MOMENTS)
def test_the_next_moment_is_the_first_after_now_that_the_expression_names(
    fields: tuple[Field, ...], zone: str, after_ms: int
) -> None:
    found = next_ms(" ".join(text for text, _ in fields), zone, after_ms)
    assert found > after_ms
    assert found == obvious_next_ms(fields, ZoneInfo(zone), after_ms)


@settings(deadline=None, max_examples=100)
@given(EXPRESSIONS, st.sampled_from(sorted(time_zones())), MOMENTS)
def test_moments_come_in_order_and_each_is_the_next_after_the_one_before(
    fields: tuple[Field, ...], zone: str, after_ms: int
) -> None:
    expression = " ".join(text for text, _ in fields)
    found = [after_ms, *islice(moments(expression, zone, after_ms), 4)]
    for earlier, later in pairwise(found):
        assert earlier < later == next_ms(expression, zone, earlier)


# --- what will not do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "zone", "text"),
    [
        ("", "UTC", '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI'),
        ("0 18 * *", "UTC", '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI'),
        ("0 0 18 * * *", "UTC", '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI'),
        ("@daily", "UTC", '"cron" must be 5 fields: minute, hour, day, month, weekday, e.g. 0 18 * * MON-FRI'),
        ("60 18 * * *", "UTC", '"cron" has a bad minute. Write it e.g. as 0 18 * * MON-FRI'),
        ("0 24 * * *", "UTC", '"cron" has a bad hour. Write it e.g. as 0 18 * * MON-FRI'),
        ("0 18 0 * *", "UTC", '"cron" has a bad day-of-month. Write it e.g. as 0 18 * * MON-FRI'),
        ("0 18 * JANUARY *", "UTC", '"cron" has a bad month. Write it e.g. as 0 18 * * MON-FRI'),
        ("0 18 * * 8", "UTC", '"cron" has a bad day-of-week. Write it e.g. as 0 18 * * MON-FRI'),
        ("0 18 31 2 *", "UTC", '"cron" has a bad day-of-month. Write it e.g. as 0 18 * * MON-FRI'),
        ("0 18 */29 2 MON#5", "UTC", '"cron" names a day that never comes. Write it e.g. as 0 18 * * MON-FRI'),
        (EXAMPLE, "Kigali", "\"timeZone\" 'Kigali' is not in the IANA database. Write it e.g. as Africa/Kigali"),
        (EXAMPLE, "localtime", "\"timeZone\" 'localtime' is not in the IANA database. Write it e.g. as Africa/Kigali"),
        (EXAMPLE, "../UTC", "\"timeZone\" '../UTC' is not in the IANA database. Write it e.g. as Africa/Kigali"),
    ],
)
def test_what_will_not_do_is_said_with_what_will(expression: str, zone: str, text: str) -> None:
    with pytest.raises(CronError) as refused:
        next_ms(expression, zone, ms("2026-11-27T00:00:00Z"))
    assert str(refused.value) == text
    assert len(text) <= 100


ODD_FIELDS = st.text("0123456789*/,-LW#MONFRI \u0663\u00b2", max_size=40)


@settings(deadline=None, max_examples=500)
@given(ODD_FIELDS | st.text(max_size=20), st.text(max_size=20))
@example("9" * 5000 + " * * * *", "UTC")
@example("* " * 4 + "1" + ",1" * LENGTH_MAX, "UTC")
def test_no_text_does_worse_than_be_refused(expression: str, zone: str) -> None:
    for each in ("Africa/Kigali", zone):
        refusal = ""
        try:
            assert next_ms(expression, each, 1_800_000_000_000) > 1_800_000_000_000
        except CronError as error:
            refusal = str(error)
        assert len(refusal) <= 100


@pytest.mark.parametrize("after_ms", [253_402_300_799_000, 10**17])
def test_where_the_years_end_there_is_no_next_moment(after_ms: int) -> None:
    with pytest.raises(CronError, match="never comes"):
        next_ms(EXAMPLE, "UTC", after_ms)
