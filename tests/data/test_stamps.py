"""Time columns in each spelling: read, gone on with, and written as they were, beside what pandas makes of them."""

from __future__ import annotations

import calendar
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import calendar_cases as cases
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet

from throughtime.data.calendars import following_times
from throughtime.data.dates import ISO, LONG
from throughtime.data.sequences import Forecast, Schema, SequenceData
from throughtime.data.stamps import read_times, write_texts, write_times
from throughtime.data.tables import read_like, read_table
from throughtime.errors import DataError

DIGITS = {"%Y%m": "MS", "%Y%m%d": "D", "%Y%m%d%H": "h", "%Y%m%d%H%M": "15min", "%Y%m%d%H%M%S": "s"}


def iso(index: pd.DatetimeIndex) -> pd.Series:
    return pd.Series([stamp.isoformat() for stamp in index], dtype=object)


# How an index becomes a column, and the Arrow column that its continuation is expected as.
SPELLINGS: dict[str, Callable[[pd.DatetimeIndex], Any]] = {
    **{f"pandas {unit}": lambda index, unit=unit: pd.Series(index.as_unit(unit)) for unit in ("s", "ms", "us", "ns")},
    "polars ms": lambda index: pl.Series(index.as_unit("ms").to_numpy() if index.tz is None else index.as_unit("ms")),
    "polars date": lambda index: pl.Series([stamp.date() for stamp in index]),
    "arrow us": lambda index: pa.array(index.as_unit("us")),
    "arrow date32": lambda index: pa.array([stamp.date() for stamp in index], pa.date32()),
    "arrow date64": lambda index: pa.array([stamp.date() for stamp in index], pa.date64()),
    "offsets": iso,
    "offsets, space": lambda index: iso(index).str.replace("T", " "),
    "offsets, no colon": lambda index: pd.Series(index.strftime("%Y-%m-%dT%H:%M:%S%z"), dtype=object),
    "offsets, no seconds": lambda index: iso(index).str.replace(r":00([+-]\d\d:\d\d)$", r"\1", regex=True),
    "Z": lambda index: pd.Series(index.strftime("%Y-%m-%dT%H:%M:%SZ"), dtype=object),
    "categories": lambda index: iso(index).astype("category"),
    **{f"int {form}": lambda index, form=form: pd.Series(index.strftime(form).astype(np.int64)) for form in DIGITS},
    **{f"text {form}": lambda index, form=form: pd.Series(index.strftime(form), dtype=object) for form in DIGITS},
    "float %Y%m%d": lambda index: pd.Series(index.strftime("%Y%m%d").astype(float)),
    "int32 %Y%m%d": lambda index: pd.Series(index.strftime("%Y%m%d").astype(np.int32)),
    "decimal %Y%m%d": lambda index: pa.array(index.strftime("%Y%m%d").astype(np.int64)).cast(pa.decimal128(19, 0)),
    "seconds": lambda index: pd.Series(cases.as_stored(index).astype("datetime64[s]").astype(np.int64)),
}  # fmt: skip
FILED = ("frame", "csv", "parquet", "arrow")


def frame_of(column: Any) -> pa.Table:
    if isinstance(column, pa.Array):
        made = column
    elif isinstance(column, pl.Series):
        made = column.to_arrow()
    else:
        made = pa.Array.from_pandas(column)
    return pa.table({"t": made, "v": np.sin(np.arange(len(made)))})


def filed(table: pa.Table, how: str, folder: Path) -> Any:
    path = folder / f"series.{how}"
    if how == "csv":
        if pa.types.is_dictionary(table.schema.field("t").type):
            table = table.set_column(0, "t", table["t"].cast("string"))
        csv.write_csv(table, path)
    elif how == "parquet":
        parquet.write_table(table, path)
    elif how == "arrow":
        feather.write_feather(table, path, compression="uncompressed")
    return table if how == "frame" else path


def suits(spelling: str, case: cases.Case) -> bool:
    every = case.shown.append(case.following)
    wall = every.tz_localize(None)
    midnights = (wall.normalize() == wall).all()
    if "date" in spelling:
        return bool(midnights)
    if spelling == "Z":
        return case.zone == "UTC"
    if spelling.startswith("offsets"):
        no_seconds = "no seconds" not in spelling or bool((every.second == 0).all())
        return case.zone is not None and no_seconds and tells_the_zone(case)
    if spelling.startswith("polars"):
        return case.zone is None or not case.zone.startswith("+")
    if "%" in spelling:
        form = spelling.split()[1]
        return case.zone is None and bool((pd.to_datetime(every.strftime(form), format=form) == every).all())
    if spelling == "categories":
        return tells_the_zone(case)
    return spelling != "seconds" or case.frequency in cases.BY_THE_CLOCK


def tells_the_zone(case: cases.Case) -> bool:
    """Offsets that are equal so far say nothing of another one that comes."""
    if case.zone is None:
        return True
    shown, every = ({stamp.utcoffset() for stamp in part} for part in (case.shown, case.shown.append(case.following)))
    return len(shown) > 1 or shown == every


def drawn(seed: int) -> tuple[cases.Case, str, str]:
    rng = np.random.default_rng([seed, 1])
    case = cases.draw(seed)
    fitting = [spelling for spelling in SPELLINGS if suits(spelling, case)]
    spelling, how = fitting[int(rng.integers(len(fitting)))], FILED[int(rng.integers(len(FILED)))]
    return case, spelling, how if how != "csv" or tells_the_zone(case) else "parquet"


def go_on(data: Any, count: int) -> np.ndarray:
    stamps = data.schema.stamps
    return following_times(data.time, count, calendar=stamps.calendar, zone=stamps.zone)


def check(seed: int, folder: Path) -> None:
    """A column is read in one of the ways that tables come in; what follows is written as pandas writes its own."""
    case, spelling, how = drawn(seed)
    said = (seed, case.frequency, case.zone, spelling, how)
    data = read_table(filed(frame_of(SPELLINGS[spelling](case.shown)), how, folder), time="t", target="v", horizon=1)
    made = write_times(go_on(data, len(case.following)), data.schema.stamps)
    if spelling == "seconds" or spelling.startswith(("int", "float", "text", "decimal")):
        expected = frame_of(SPELLINGS[spelling](case.following))["t"].combine_chunks()
        assert made.cast(expected.type).equals(expected), said
        assert how == "csv" or spelling.startswith("decimal") or made.type == expected.type, said
        return
    if spelling.startswith("offsets") or spelling in ("Z", "categories"):
        expected = frame_of(SPELLINGS[spelling](case.following))["t"].combine_chunks()
        if case.zone is not None:
            assert made.to_pylist() == expected.cast("string").to_pylist(), said
            return
    elif how != "csv":
        whole = frame_of(SPELLINGS[spelling](case.following))["t"].combine_chunks()
        if how == "parquet":  # which has no seconds, and no dates of 64 bits
            filed(pa.table({"t": whole}), how, folder)
            whole = parquet.read_table(folder / "series.parquet")["t"].combine_chunks()
        assert made.type == whole.type, said
        assert made.to_pylist() == whole.to_pylist(), said
        return
    # What CSV makes of zones are offsets; what it makes of dates is what Arrow reads there.
    found = [pd.Timestamp(one) for one in made.to_pylist()]
    assert found == list(case.following.tz_localize(None) if "date" in spelling else case.following), said


ORDINARY = range(0, 10_000, 167)


def test_stamps_in_each_spelling_go_on_as_those_of_pandas(tmp_path: Path) -> None:
    for seed in ORDINARY:
        check(seed, tmp_path)


@pytest.mark.thorough
def test_stamps_in_each_spelling_go_on_in_thousands_of_draws(tmp_path: Path) -> None:
    for seed in range(20_000, 25_000):
        check(seed, tmp_path)


# What is said -------------------------------------------------------------------------------------------------------


def series(times: Any, **other: Any) -> SequenceData:
    table = pd.DataFrame({"t": times, "v": np.sin(np.arange(len(times))), **other})
    return read_table(table, time="t", target="v", horizon=1, **({"sequence": "s"} if "s" in other else {}))


def notes(times: Any) -> str:
    return " ".join(series(times).notes)


@pytest.mark.parametrize(
    ("zone", "start"),
    [("Europe/Berlin", "2022-10-28"), ("America/New_York", "2021-11-05"), ("Australia/Sydney", "2023-04-01")],
)
@pytest.mark.parametrize("step", ["15min", "30min", "h"])
def test_an_hour_that_occurs_twice_is_called_daylight_saving(zone, start, step) -> None:
    local = pd.date_range(start, periods=400, freq=step, tz=zone).tz_localize(None)
    with pytest.raises(DataError, match=r"daylight saving ends, as in .*tz_localize\(") as refused:
        notes(local)
    count = pd.Series(local).duplicated().sum()
    assert str(refused.value).startswith(
        f"{count} row{'s repeat' if count > 1 else ' repeats'} a time stamp, for example t={start[:4]}"
    )
    assert "\n" not in str(refused.value)


def test_other_repeats_are_not_called_daylight_saving() -> None:
    for moment in ("2022-10-30 04:00", "2022-07-30 02:00", "2022-10-31 02:00"):
        hours = list(pd.date_range(pd.Timestamp(moment) - pd.Timedelta("5h"), periods=10, freq="h"))
        with pytest.raises(DataError, match="drop or average the repeats"):
            notes([*hours, hours[5]])


def test_an_hour_that_is_skipped_is_called_daylight_saving() -> None:
    local = pd.date_range("2022-03-20", periods=400, freq="h", tz="Europe/Berlin").tz_localize(None)
    assert (
        "1 of the gaps is the hour that daylight saving skips, as in Europe/Berlin, first before 2022-03-27T03:00"
        in notes(local)
    )
    assert "daylight" not in notes(local.delete(100)[:150]), "a gap of another hour"
    assert "not all equal" not in notes(local.tz_localize("Europe/Berlin")), "with its zone there is no gap"


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (pd.bdate_range("2024-01-01", periods=60), "The time stamps are Monday to Friday; forecasts have the next"),
        (pd.bdate_range("2024-01-01", periods=60).delete([7, 30]), "Monday to Friday, 2 of which are missing"),
        (cases.make("trading-15min", pd.Timestamp("2024-01-01"), 300, None), "Monday to Friday, 9:30 to 15:45"),
        (pd.date_range("2024-01-01", periods=24, freq="BME"), "the last business day of every month"),
        (pd.date_range("2024-01-01", periods=24, freq="WOM-3FRI"), "the third Friday of every month"),
        (pd.date_range("2024-01-01", periods=9, freq="5min").delete([1, 3, 5]), "go on every 5 minutes"),
        (pd.date_range("2024-01-01", periods=24, freq="SMS"), "days 1, 15 of every month"),
        (pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-05", "2024-01-20", "2024-02-27"]), "by the median step"),
        ([20240101 + day for day in range(31)], "dates, such as 20240101 for 2024-01-01"),
        (["2024-01-01T00:00+01:00", "2024-01-01T01:00+03:00", "2024-01-01T01:00+01:00"], "those of no time zone"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_was_seen_is_said(times, said) -> None:
    assert said in notes(times)


def test_equal_steps_have_no_note() -> None:
    for frequency in ("h", "D", "W", "MS", "QE", "YS"):
        times = pd.date_range("2024-01-01", periods=30, freq=frequency, tz="Europe/Berlin")
        assert notes(times) == "A forecast of 'v', 1 step ahead, as horizon= was given."


@pytest.mark.parametrize(
    "values", [[200013, 200014], [20240230, 20240301], [123456, 123457], [0, 202401], [99999999, 100000001]]
)
def test_whole_numbers_that_are_no_dates_stay_numbers(values) -> None:
    data = series(values)
    assert data.time.tolist() == sorted(values)


def test_numbers_of_another_spelling_than_in_training_are_refused() -> None:
    schema = series([20240101, 20240102]).schema
    with pytest.raises(DataError, match="written as %Y%m%d in the table trained on, and holds 1 to 2 here"):
        read_like(pd.DataFrame({"t": [1, 2], "v": [1.0, 2.0]}), schema, Forecast(horizon=1))
    one = read_like(pd.DataFrame({"t": [20240131], "v": [1.0]}), schema, Forecast(horizon=1))
    assert write_times(go_on(one, 2), one.schema.stamps).to_pylist() == [20240201, 20240202]


def test_an_ambiguous_date_is_read_as_in_training() -> None:
    table = pd.DataFrame({"t": ["30/01/2024", "31/01/2024"], "v": [1.0, 2.0]})
    schema = read_table(table, time="t", target="v", horizon=1).schema
    new = read_like(table.assign(t=["01/02/2024", "02/02/2024"]), schema, Forecast(horizon=1))
    assert new.time.astype("datetime64[D]").astype(str).tolist() == ["2024-02-01", "2024-02-02"]


def test_numbers_near_the_end_of_64_bits_are_refused_and_never_wrapped() -> None:
    last = 2**63 - 1
    data = series([last - 20, last - 10, last])
    with pytest.raises(DataError, match="64 bits hold whole numbers up to 9223372036854775807"):
        go_on(data, 1)
    wide = series([last, -last, 0], s=[0, 0, 0])
    assert wide.time.tolist() == [-last, 0, last]
    with pytest.raises(DataError, match="64 bits"):
        go_on(wide, 1)
    with pytest.raises(DataError, match="whole numbers are read up to 9223372036854775807"):
        read_table(pa.table({"t": pa.array([1, 2**63], pa.uint64()), "v": [1.0, 2.0]}), time="t", target="v", horizon=1)


def test_the_stamps_of_a_run_survive_json() -> None:
    for seed in range(36):
        case = cases.draw(seed)
        schema = series(case.shown).schema
        again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
        assert again.stamps == schema.stamps
        assert again == schema


def test_the_texts_of_a_report_are_wall_times() -> None:
    time = np.array(["2022-10-30T00:30", "2022-10-30T01:30"], "datetime64[ns]")
    data = series(pd.DatetimeIndex(time, tz="UTC").tz_convert("Europe/Berlin"))
    assert write_texts(data.time, data.schema.stamps) == ["2022-10-30T02:30:00+02:00", "2022-10-30T02:30:00+01:00"]
    assert write_texts(time, None) == ["2022-10-30T00:30:00", "2022-10-30T01:30:00"]
    assert write_texts(np.array([3, 4]), data.schema.stamps) == [3, 4]


@pytest.mark.parametrize("format", [format for format in (*LONG, *ISO) if "%d" in format])
def test_a_day_that_the_calendar_does_not_have_is_refused_and_the_days_around_it_are_read(format: str) -> None:
    for year in (1900, 2000, 2021, 2024):
        for month in range(1, 13):
            last = calendar.monthrange(year, month)[1]
            days = [datetime(year, month, day, 13, 5, 9).strftime(format) for day in range(1, last + 1)]
            time, _ = read_times("t", pa.chunked_array([pa.array(days)]))
            assert [str(one) for one in time.astype("datetime64[D]")] == [
                f"{year}-{month:02}-{day:02}" for day in range(1, last + 1)
            ]
            for day in range(last + 1, 32):
                odd = days[last - 1].replace(f"{last}", f"{day}")
                with pytest.raises(DataError, match=rf"holds '{odd}' in row {last + 1}, which is no day of the cal"):
                    read_times("t", pa.chunked_array([pa.array([*days, odd])]))
