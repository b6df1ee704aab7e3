"""Times in every way of writing them: drawn at random, written by the standard library, read, and gone on with."""

from __future__ import annotations

import calendar
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from throughtime.data.calendars import following_times
from throughtime.data.clock import PARTS, join_times, part_of
from throughtime.data.dates import PERIODS, SHORT
from throughtime.data.digits import FORMS, read_digits
from throughtime.data.sequences import Forecast, SequenceData
from throughtime.data.stamps import read_times, write_times
from throughtime.data.tables import read_like, read_table
from throughtime.errors import ArgumentError, DataError

# Each way to write digits, with the frequency of pandas that its numbers show, and a writer that shares no code.
DIGITS: dict[str, tuple[str, Any]] = {
    "%Y%m": ("MS", lambda t: t.strftime("%Y%m")),
    "%Y%m%d": ("D", lambda t: t.strftime("%Y%m%d")),
    "%Y%m%d%H": ("h", lambda t: t.strftime("%Y%m%d%H")),
    "%Y%m%d%H%M": ("15min", lambda t: t.strftime("%Y%m%d%H%M")),
    "%Y%j": ("D", lambda t: t.strftime("%Y%j")),
    "%d%m%Y": ("D", lambda t: t.strftime("%d%m%Y")),
    "%m%d%Y": ("D", lambda t: t.strftime("%m%d%Y")),
    "%y%m%d": ("D", lambda t: t.strftime("%y%m%d")),
    "%G%V": ("W-MON", lambda t: f"{t.isocalendar()[0]}{t.isocalendar()[1]:02}"),
    "%Y%q": ("QS", lambda t: f"{t.year}{t.quarter}"),
    "%Y.%m": ("MS", lambda t: f"{t.year}.{t.month:02}"),
    "%H%M": ("15min", lambda t: t.strftime("%H%M")),
    "%H%M%S": ("20s", lambda t: t.strftime("%H%M%S")),
}
ROWS = {"%H%M": 60, "%H%M%S": 700, "%Y%q": 14, "%Y.%m": 30, "%Y%m": 30, "%G%V": 70}


def drawn(format: str, seed: int) -> tuple[pd.DatetimeIndex, list[str]]:
    """An index and how it is written, two rows more than are shown."""
    rng = np.random.default_rng(seed)
    frequency, write = DIGITS[format]
    count = ROWS.get(format, 80) + int(rng.integers(8))
    start = pd.Timestamp("1985-01-01") + pd.Timedelta(days=int(rng.integers(16_000)))
    if format.startswith("%H"):
        start = pd.Timestamp("1970-01-01") + pd.Timedelta(minutes=15 * int(rng.integers(24, 32)))
    index = pd.date_range(start, periods=count + 2, freq=frequency)
    return index, [write(one) for one in index]


def read(values: Any, path: Path | None = None, **options: Any) -> SequenceData:
    frame = pd.DataFrame({"t": values, "v": np.arange(len(values)) % 7 / 2})
    if path is None:
        return read_table(frame, time="t", target="v", horizon=2, **options)
    frame.to_csv(path / "t.csv", index=False)
    return read_table(path / "t.csv", time="t", target="v", horizon=2, **options)


def after(data: SequenceData, count: int = 2) -> list[Any]:
    stamps = data.schema.stamps
    assert stamps is not None and data.time is not None
    made = following_times(data.time, count, calendar=stamps.calendar, zone=stamps.zone)
    return write_times(made, stamps).to_pylist()


@pytest.mark.parametrize("format", DIGITS)
def test_times_in_digits_are_read_sorted_and_gone_on_with_as_they_are_written(format: str, tmp_path: Path) -> None:
    for seed in range(12):
        index, texts = drawn(format, seed)
        order = np.random.default_rng(seed).permutation(len(texts) - 2)
        shown = [texts[i] for i in order]
        numbers = [float(one) if "." in format else int(one) for one in shown]
        for data in (read(shown, tmp_path), read(numbers), read(shown)):
            assert data.schema.stamps is not None and data.schema.stamps.format == format, (seed, texts[0])
            np.testing.assert_array_equal(data.time, index[:-2].to_numpy("datetime64[ns]"))
            assert [float(one) for one in after(data)] == [float(one) for one in texts[-2:]], seed
            assert any("'t'" in note and format in note for note in data.notes) or format == "%Y%m%d"
            again = read_like(pd.DataFrame({"t": texts[:9], "v": 1.0}), data.schema, Forecast(horizon=2, window=3))
            np.testing.assert_array_equal(again.time, index[:9].to_numpy("datetime64[ns]"))
        if "0" in {one[0] for one in shown}:  # zeros in front come back as well
            assert after(read(shown, tmp_path)) == texts[-2:]


def test_plain_numbers_stay_numbers(tmp_path: Path) -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        low = 10 ** int(rng.integers(0, 9))
        start, step, count = int(rng.integers(low)), int(rng.integers(1, 60)), int(rng.integers(20, 90))
        steady = np.arange(count) * step + start
        found = read_digits("t", steady)
        # A count by ones within 20240101 to 20240131 is those days, and goes on as they do.
        assert found is None or FORMS[found[1]].sure, (seed, start, step, found)
        ids = np.unique(rng.integers(low * 10, size=count))
        found = read_digits("t", ids) if len(ids) > 12 else None
        assert found is None, (seed, ids[:3], found)
    hours = np.arange(60) * 3600 + 1_600_000_000
    assert read_digits("t", hours) is None and read_digits("t", np.arange(1900, 2020)) is None
    assert read(list(range(20200101, 20200160)), tmp_path).time[0] == 20200101


@pytest.mark.parametrize("format", ["%Y%m%d", "%d%m%Y", "%m%d%Y", "%Y%m%d%H%M"])
def test_one_number_that_is_no_date_among_dates_is_named(format: str) -> None:
    for seed in range(20):
        _, texts = drawn(format, seed)
        row = int(np.random.default_rng(seed).integers(len(texts)))
        odd = {"%Y%m%d": "20210229", "%d%m%Y": "31022021", "%m%d%Y": "02312021", "%Y%m%d%H%M": "202102281260"}[format]
        texts[row] = odd
        with pytest.raises(DataError, match=rf"'t' holds {int(odd)} in row {row + 1}, .*dtypes={{'t': 'number'}}"):
            read([int(one) for one in texts])
        kept = read([int(one) for one in texts], dtypes={"t": "number"})
        assert kept.time is not None and int(odd) in kept.time.tolist()
        assert after(kept)[0] > max(int(one) for one in texts)


def test_the_order_of_day_and_month_is_never_guessed() -> None:
    digits = [f"{day:02}{month:02}2024" for month in (1, 2, 3) for day in (1, 2, 3)]
    for values in ([int(one) for one in digits], [f"{one[:2]}/{one[2:4]}/{one[4:]}" for one in digits],
                   [f"{one[:2]}-{one[2:4]}-{one[6:]}" for one in digits]):  # fmt: skip
        with pytest.raises(DataError, match=r"2 ways .*dtypes={'t': 'day-first'} or dtypes={'t': 'month-first'}"):
            read(values)
        first = read(values, dtypes={"t": "day-first"}).time
        np.testing.assert_array_equal(first, pd.to_datetime([f"{one[4:]}-{one[2:4]}-{one[:2]}" for one in digits])
                                      .sort_values().to_numpy("datetime64[ns]"))  # fmt: skip
    month = read([int(one) for one in digits], dtypes={"t": "month-first"}).time
    assert month is not None and str(month[1])[:10] == "2024-01-02"
    short = read([210105, 210106, 210107], dtypes={"t": "year-first"})
    assert short.time is not None and str(short.time[0])[:10] == "2021-01-05"
    with pytest.raises(DataError, match="no date with dtypes"):
        read([1, 2, 3], dtypes={"t": "day-first"})


@pytest.mark.parametrize("format", [format for format in SHORT if "%d" in format and "%b" not in format])
def test_years_of_two_digits_are_read_with_a_note(format: str) -> None:
    for seed in range(6):
        start = pd.Timestamp("1990-01-01") + pd.Timedelta(days=int(np.random.default_rng(seed).integers(14_000)))
        index = pd.date_range(start.normalize(), periods=70)
        data = read([one.strftime(format) for one in index])
        np.testing.assert_array_equal(data.time, index.to_numpy("datetime64[ns]"))
        note = next(note for note in data.notes if "two digits" in note)
        assert format.split(" ")[0] in note and str(index[0].year) in note
    assert datetime.strptime("68", "%y").year == 2068 and datetime.strptime("69", "%y").year == 1969
    for year in (1969, 2068):  # Arrow's century is Python's
        time, _ = read_times("t", pa.chunked_array([[f"{day:02}.12.{year % 100:02}" for day in (29, 30, 31)]]))
        assert str(time[0])[:4] == str(year)


def test_a_month_without_a_year_is_refused() -> None:
    months = pd.date_range("2019-03-01", periods=30, freq="MS")
    np.testing.assert_array_equal(read(months.strftime("%b-%y")).time, months.to_numpy("datetime64[ns]"))
    for days in (pd.date_range("2021-01-01", periods=31), pd.date_range("2021-01-20", periods=50)):
        with pytest.raises(DataError, match=r"a month with a year or a day without one|neither a number nor a date"):
            read(days.strftime("%b-%d"))


@pytest.mark.parametrize("format", PERIODS)
def test_quarters_and_weeks_are_read_and_written(format: str, tmp_path: Path) -> None:
    for seed in range(8):
        start = pd.Timestamp("1995-01-01") + pd.Timedelta(days=int(np.random.default_rng(seed).integers(9_000)))
        index = pd.date_range(start, periods=90, freq="QS" if "%q" in format else "W-MON")
        texts = []
        for one in index:
            year, week, _ = one.isocalendar()
            text = format.replace("%Y", f"{one.year}").replace("%q", f"{one.quarter}")
            texts.append(text.replace("%G", f"{year}").replace("%V", f"{week:02}"))
        data = read(texts[:-2], tmp_path)
        np.testing.assert_array_equal(data.time, index[:-2].to_numpy("datetime64[ns]"))
        assert after(data) == texts[-2:]
        again = read_like(pd.DataFrame({"t": texts[3:4], "v": [1.0]}), data.schema, Forecast(horizon=2, window=3))
        assert again.time is not None and again.time[0] == index[3].to_datetime64()
    with pytest.raises(DataError, match=r"'2021-W53' in row 2, which is no week of the calendar"):
        read(["2021-W52", "2021-W53", "2022-W01"])
    with pytest.raises(DataError, match=r"'2021-Q5' in row 3"):
        read(["2021-Q1", "2021-Q2", "2021-Q5", "2021-Q4"])


def test_columns_of_a_time_are_what_their_names_say() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        days = pd.date_range(pd.Timestamp("2000-01-01") + pd.Timedelta(days=int(rng.integers(9_000))), periods=50)
        parts = {
            "Year": days.year, "mo": days.month, "Tag": days.day, "doy": days.dayofyear, "qtr": days.quarter,
            "KW": days.isocalendar().week.to_numpy(np.int64), "hr": np.arange(50) % 24,
        }  # fmt: skip
        for names, expected in (
            (("Year", "mo", "Tag"), days), (("Year", "doy"), days), (("Year", "mo", "Tag", "hr"), days),
            (("Year", "qtr"), days.to_period("Q").start_time), (("Year", "mo"), days.to_period("M").start_time),
        ):  # fmt: skip
            shuffled = rng.permutation(names).tolist()
            made = join_times([(name, pa.chunked_array([np.array(parts[name])])) for name in shuffled])
            hours = pd.to_timedelta(parts["hr"], "h") if "hr" in names else pd.to_timedelta(np.zeros(50), "h")
            np.testing.assert_array_equal(made, (expected + hours).to_numpy("datetime64[ns]"))
        iso = days.isocalendar()
        made = join_times([("isoweek", pa.chunked_array([iso.week.to_numpy(np.int64)])),
                           ("year", pa.chunked_array([iso.year.to_numpy(np.int64)]))])  # fmt: skip
        np.testing.assert_array_equal(made, days.to_period("W-SUN").start_time.to_numpy("datetime64[ns]"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("year", "season"), "'season' is none of these"),
        (("year", "period"), "'period' is none of these"),
        (("a", "b"), "'a' is none of these"),
        (("year", "day"), "do not make up a time"),
        (("month", "day"), "do not make up a time"),
        (("year", "month", "hour"), "an hour and no day"),
        (("year", "year_"), "do not make up a time"),
    ],
)
def test_columns_whose_names_say_nothing_are_refused(names: tuple[str, ...], words: str) -> None:
    columns = [(name, pa.chunked_array([[2020, 2021] if part_of(name) == "year" else [1, 2]])) for name in names]
    columns[0] = (names[0], pa.chunked_array([[2020, 2021] if part_of(names[0]) in ("year", "") else [1, 2]]))
    with pytest.raises(ArgumentError, match=words):
        join_times(columns)


def test_a_shift_beside_a_date_is_no_hour() -> None:
    day = ("date", pa.chunked_array([["2024-01-01", "2024-01-02"]]))
    for name in ("shift", "period", "n"):
        with pytest.raises(ArgumentError, match=f"{name!r} holds 1 to 2, and its name does not say"):
            join_times([day, (name, pa.chunked_array([[1, 2]]))])
    for name, values, hours in (
        ("hour", [1, 2], [1, 2]),
        ("start_time", [1, 2], [1, 2]),
        ("shift", [600, 1800], [6, 18]),
    ):
        made = join_times([day, (name, pa.chunked_array([values]))])
        assert [int(str(one)[11:13]) for one in made] == hours


def test_every_part_has_names_of_its_own() -> None:
    names = [name for words, _, _ in PARTS.values() for name in words.split()]
    assert len(set(names)) == len(names)
    assert [part_of(part.title()) for part in PARTS] == list(PARTS)


def test_the_first_date_beyond_all_is_named() -> None:
    with pytest.raises(DataError, match="'t' holds 1600-01-03 in row 2; dates are read from the year 1678"):
        read(["1700-01-01", "1600-01-03", "1700-01-02"])
    with pytest.raises(DataError, match="'Total' in row 6, .* total or units, leave it out"):
        read([*(f"2024-01-{day:02}" for day in range(1, 6)), "Total"])


def test_one_year_of_two_digits_among_years_of_four_is_named() -> None:
    for seed in range(10):
        days = [one.strftime("%d.%m.%Y") for one in pd.date_range("2021-01-01", periods=60)]
        row = int(np.random.default_rng(seed).integers(60))
        days[row] = days[row][:6] + "21"
        with pytest.raises(DataError, match=rf"holds '{days[row]}' in row {row + 1}, which is neither"):
            read(days)


def test_months_behind_a_point_are_no_months_of_another_form() -> None:
    index, texts = drawn("%Y%m", 0)
    schema = read([int(one) for one in texts]).schema
    behind = pd.DataFrame({"t": [float(f"{one.year}.{one.month:02}") for one in index], "v": 1.0})
    with pytest.raises(DataError, match="held times written as %Y%m"):
        read_like(behind, schema, Forecast(horizon=2, window=3))


def test_leap_days_in_digits() -> None:
    for year in (1904, 1996, 2000, 2023, 2024):
        leap = calendar.isleap(year)
        for format, odd in (
            ("%Y%m%d", year * 10_000 + 229),
            ("%d%m%Y", 29_020_000 + year),
            ("%Y%j", year * 1000 + 366),
        ):
            _, fits = FORMS[format].read(np.array([odd]))
            assert bool(fits[0]) == leap, (year, format)
