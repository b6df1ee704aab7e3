"""Time columns in each spelling: read, gone on with, and written as they were, beside what pandas makes of them."""

from __future__ import annotations

from collections.abc import Callable
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
from throughtime.data.stamps import write_times
from throughtime.data.tables import read_table

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
    if spelling == "seconds" or spelling.startswith(("int", "float", "text")):
        expected = frame_of(SPELLINGS[spelling](case.following))["t"].combine_chunks()
        assert made.cast(expected.type).equals(expected), said
        assert how == "csv" or made.type == expected.type, said
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
