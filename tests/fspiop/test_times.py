"""Moments on the wire: to the millisecond, in both spellings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vuka.fspiop.times import (
    TIME_MS_MAX,
    TIME_MS_MIN,
    format_datetime_ms,
    format_http_date,
    is_date,
    parse_datetime_ms,
    parse_http_date,
)


@given(st.integers(TIME_MS_MIN, TIME_MS_MAX))
def test_a_moment_survives_the_way_there_and_back_to_the_millisecond(time_ms: int) -> None:
    assert parse_datetime_ms(format_datetime_ms(time_ms)) == time_ms


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2016-05-24T08:38:08.699-04:00", 1_464_093_488_699),
        ("2016-05-24T12:38:08.699Z", 1_464_093_488_699),
        ("2016-05-24T12:38:08.699+00:00", 1_464_093_488_699),
        ("2016-02-29T00:00:00.000Z", 1_456_704_000_000),
        ("9999-12-31T23:59:59.999-19:59", TIME_MS_MAX + 71_940_000),
    ],
)
def test_a_date_and_time_names_one_moment(text: str, time_ms: int) -> None:
    assert parse_datetime_ms(text) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2016-05-24",
        "2016-05-24T08:38:08Z",
        "2016-05-24T08:38:08.69Z",
        "2016-05-24T08:38:08.6999Z",
        "2016-05-24T08:38:08.699",
        "2016-05-24T08:38:08.699z",
        "2016-05-24t08:38:08.699Z",
        "2016-05-24 08:38:08.699Z",
        "2016-05-24T08:38:08,699Z",
        "2016-W21-2T08:38:08.699Z",
        "2016-05-24T24:00:00.000Z",
        "2016-05-24T08:38:60.000Z",
        "2015-02-29T08:38:08.699Z",
        "1900-02-29T08:38:08.699Z",
        "2016-04-31T08:38:08.699Z",
        "0999-05-24T08:38:08.699Z",
        "2016-05-24T08:38:08.699+20:00",
        "2016-05-24T08:38:08.699+04:60",
        "2016-05-24T08:38:08.699+0400",
        "2016-05-24T08:38:08.699+4:00 ",
        "2016-05-24T08:38:08.699Z\n",
        "\u0662016-05-24T08:38:08.699Z",
        "\ud800016-05-24T08:38:08.699Z",
    ],
)
def test_any_other_text_is_no_date_and_time(text: str) -> None:
    with pytest.raises(ValueError, match="date and time"):
        parse_datetime_ms(text)


@pytest.mark.parametrize("time_ms", [TIME_MS_MIN - 1, TIME_MS_MAX + 1])
def test_a_moment_outside_the_years_of_the_wire_cannot_be_written(time_ms: int) -> None:
    with pytest.raises(ValueError, match="1000 to 9999"):
        format_datetime_ms(time_ms)


@pytest.mark.parametrize("text", ["1966-06-16", "2000-02-29", "1000-01-01", "9999-12-31"])
def test_a_day_that_exists_is_a_date(text: str) -> None:
    assert is_date(text)


@pytest.mark.parametrize(
    "text", ["", "1966-6-16", "19660616", "1966-W24-4", "2001-02-29", "0999-01-01", "1966-06-16Z", "1966-13-01"]
)
def test_any_other_text_is_no_date(text: str) -> None:
    assert not is_date(text)


@given(st.integers(TIME_MS_MIN // 1000, TIME_MS_MAX // 1000))
def test_an_http_date_survives_the_way_there_and_back_to_the_second(time_s: int) -> None:
    assert parse_http_date(format_http_date(time_s * 1000 + 999)) == time_s


def test_an_http_date_is_written_in_english_and_in_gmt() -> None:
    assert format_http_date(1_464_093_488_699) == "Tue, 24 May 2016 12:38:08 GMT"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2019-05-24 08:52:19",
        "Tue, 24 May 2016 12:38:08",
        "Tue, 24 May 2016 12:38:08 UTC",
        "Wed, 24 May 2016 12:38:08 GMT",
        "Tue, 24 Mai 2016 12:38:08 GMT",
        "Tue, 31 Jun 2016 12:38:08 GMT",
        "Tue, 24 May 2016 25:38:08 GMT",
        "Tuesday, 24-May-16 12:38:08 GMT",
    ],
)
def test_any_other_text_is_no_http_date(text: str) -> None:
    assert parse_http_date(text) is None
