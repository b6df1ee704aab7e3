"""Tables as people have them: codes, dates, free text, empty columns, lines above the table, encodings, split times."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_cases import csv, refused, same

from throughtime.data import clock
from throughtime.data.sequences import Schema
from throughtime.data.tables import read_like, read_table
from throughtime.data.transforms import Preparation
from throughtime.errors import ArgumentError, DataError

SERIES = [f"{i},{i % 5}.5" for i in range(40)]


def series(tmp_path, columns, *, rows=None, **arguments):
    """A forecast of "y" from a file with these further columns of text."""
    rows = rows or len(next(iter(columns.values())))
    lines = [",".join([*columns, "y"])]
    lines += [",".join([*(values[i] for values in columns.values()), f"{i % 7}.5"]) for i in range(rows)]
    return read_table(csv(tmp_path, "\n".join(lines)), target="y", horizon=1, **arguments)


def said(data, *words):
    return any(all(word in note for word in words) for note in data.notes)


# -- codes and text ----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.integers(0, 99999), min_size=2, max_size=9), st.integers(2, 6))
def test_codes_stay_as_they_are_written(numbers, width):
    texts = [f"{number:0{width}d}" for number in numbers]
    with tempfile.TemporaryDirectory() as folder:
        data = series(Path(folder), {"zip": texts, "x": ["1.5"] * len(texts)})
        ids = read_table(Path(folder) / "t.csv", target="y", sequence="zip", task="tag").ids.tolist()
    if any(len(text) > 1 and text.startswith("0") for text in texts):
        assert data.levels == (tuple(sorted(set(texts))),)
        assert said(data, "'zip' is kept as text", "leading zeros", "dtypes={'zip': 'number'}")
        assert ids == list(dict.fromkeys(texts))
    else:
        assert data.numbers[:, 0].tolist() == numbers
        assert ids == list(dict.fromkeys(numbers))


def test_one_and_zero_one_are_two_sequences(tmp_path):
    data = read_table(csv(tmp_path, "s,x,y\n01,1,a\n1,2,b\n01,3,a\n"), target="y", sequence="s")
    assert data.ids.tolist() == ["01", "1"]
    labels = read_table(csv(tmp_path, "s,x,y\n1,1,01\n2,2,1\n"), target="y", sequence="s", task="classify")
    assert labels.target.levels == ("01", "1")
    again = read_like(csv(tmp_path, "s,x,y\n1,1,10\n2,2,11\n"), labels.schema)
    assert again.target.levels == ("10", "11")


def test_dtypes_are_the_way_out(tmp_path):
    columns = {"zip": ["01", "02", "10"], "n": ["1", "2", "3"], "day": ["2024-01-01"] * 3}
    kinds = {"zip": "number", "n": "category", "day": "category"}
    data = series(tmp_path, columns, dtypes=kinds)
    assert (data.schema.numbers, data.schema.categories) == (("zip",), ("n", "day"))
    assert data.numbers[:, 0].tolist() == [1, 2, 10]
    again = read_like(tmp_path / "t.csv", data.schema, data.forecast)
    assert (again.levels, again.numbers.tolist()) == (data.levels, data.numbers.tolist())
    assert series(tmp_path, columns, dtypes={"n": "date"}).schema.numbers == ()
    frame = pd.DataFrame({"n": [1, 2, 3], "on": [True, False, True], "y": [1.5, 2, 3]})
    data = read_table(frame, target="y", horizon=1, dtypes={"n": "category", "on": "category"})
    assert data.levels == (("1", "2", "3"), ("false", "true"))
    levels = pd.DataFrame({"c": pd.Categorical(["1.5", "2", "1.5"]), "y": [1.5, 2, 3]})
    assert read_table(levels, target="y", horizon=1).levels == (("1.5", "2"),)
    assert read_table(levels, target="y", horizon=1, dtypes={"c": "number"}).numbers[:, 0].tolist() == [1.5, 2, 1.5]
    with refused(DataError, "'zip'", "holds 'x' in row 2"):
        series(tmp_path, {"zip": ["1", "x", "3"]}, dtypes={"zip": "number"})
    with refused(DataError, "'day' holds date32", "'number'"):
        read_table(pa.table({"day": [dt.date(2024, 1, 1)], "y": [1]}), target="y", horizon=1, dtypes={"day": "number"})
    with refused(ArgumentError, "dtypes['n']='int'", "'decimal-comma'"):
        series(tmp_path, columns, dtypes={"n": "int"})
    with refused(DataError, "dtypes='m' is not a column"):
        series(tmp_path, columns, dtypes={"m": "number"})


def test_text_that_hardly_repeats_is_said(tmp_path):
    free = series(tmp_path, {"note": [f"patient {i} came" for i in range(40)]})
    assert said(free, "'note' is text with 40 different values in 40 rows", "'patient 0 came'", "features=")
    few = series(tmp_path, {"note": [f"ward {i % 5}" for i in range(40)]})
    assert not said(few, "'note'")


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_numbers_that_a_frame_holds_as_text(frame):
    table = frame({"x": ["1.5", "2", "nan"], "k": ["1", "2", "3"], "y": ["0.5", "1.5", "2"]})
    data = read_table(table, target="y", horizon=1)
    np.testing.assert_array_equal(data.numbers, [[1.5, 1], [2, 2], [np.nan, 3]])
    assert data.target.values[:, 0].tolist() == [0.5, 1.5, 2]
    assert said(data, "'x', 'k'", "text whose values are all numbers", "dtypes=")
    classes = frame({"s": [1, 2, 3], "x": [0.5, 1, 2], "y": ["0", "1", "0"]})
    assert read_table(classes, target="y", sequence="s").target.levels == ("0", "1")


# -- dates that are not named ------------------------------------------------------------------------------------

DAY = dt.datetime(2024, 3, 9, 18, 5, 30)


@pytest.mark.parametrize(
    "format",
    ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%b %d, %Y", "%d %B %Y", "%d-%b-%y",
     "%H:%M:%S", "%H.%M.%S", "%I:%M %p", "%Y-%m", "%Y/%m/%d %H:%M:%S.%f", "%A, %d %B %Y", "%B %Y", "%Y-W%V"],
)  # fmt: skip
def test_text_that_looks_like_dates_is_left_out_with_a_note(tmp_path, format):
    texts = [f'"{(DAY + dt.timedelta(days=37 * i, hours=i)).strftime(format)}"' for i in range(20)]
    data = series(tmp_path, {"when": texts, "x": ["1.5"] * 20})
    assert (data.schema.numbers, data.schema.categories) == (("x",), ())
    assert said(data, "Left out, as dates are no input: 'when'", "time='when'")
    with refused(DataError, "'when' holds dates", "time="):
        series(tmp_path, {"when": texts}, features="when")
    assert series(tmp_path, {"when": texts}, dtypes={"when": "category"}).schema.categories == ("when",)


@pytest.mark.parametrize("texts", [["May", "June"], ["1.2.3", "1.2.4"], ["2 boxes", "3 boxes"], ["Q1", "Q2"],
                                   ["1/2", "3/4"], ["12-34", "56-78"]])  # fmt: skip
def test_text_that_is_no_date_is_a_category(tmp_path, texts):
    assert series(tmp_path, {"c": texts * 5}).schema.categories == ("c",)


# -- times in several columns ------------------------------------------------------------------------------------


UNITS = ("year", "month", "hour", "minute", "second")


@settings(max_examples=60)
@given(
    st.lists(st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2200, 1, 1)), min_size=2, max_size=6, unique=True),
    st.sampled_from(["%H:%M:%S", "%H.%M.%S", "%I:%M:%S %p", "%H:%M:%S.%f"]),
    st.sampled_from(["%Y-%m-%d", "%d %b %Y", "%Y/%m/%d"]),
)
def test_a_date_and_a_time_of_day_are_joined(moments, clock_format, day_format):
    moments = sorted({moment.replace(microsecond=0) for moment in moments})
    table = {
        "day": [moment.strftime(day_format) for moment in moments],
        "clock": [moment.strftime(clock_format) for moment in moments],
        **{
            name: [getattr(moment, name) for moment in moments]
            for name in ("year", "month", "hour", "minute", "second")
        },
        "whole": [int(moment.strftime("%Y%m%d")) for moment in moments],
        "d": [moment.day for moment in moments],
        "y": [float(i) for i in range(len(moments))],
    }
    expected = np.array(moments, "datetime64[ns]")
    for parts in (("day", "clock"), ("whole", "clock"), ("year", "month", "d", "hour", "minute", "second")):
        data = read_table(pa.table(table), target="y", time=parts, horizon=1, features=[])
        np.testing.assert_array_equal(data.time, expected)
        assert (data.schema.time, data.schema.time_parts) == (" ".join(parts), parts)
        same(read_like(pa.table(table), data.schema, data.forecast), data)


@pytest.mark.parametrize(
    ("values", "hours"),
    [
        (["0", "13", "24"], [0, 13, 24]),
        (["0", "130", "2330"], [0, 1.5, 23.5]),
        (["0", "13000", "233000"], [0, 1.5, 23.5]),
        (["24:00", "12:30 AM", "12:30 PM"], [24, 0.5, 12.5]),
    ],
)
def test_times_of_day_as_people_write_them(values, hours):
    column = pa.chunked_array([values])
    day = pa.chunked_array([["2024-01-01"] * 3])
    numbers = column.cast("int64") if values[0].isdigit() else column
    found = clock.join_times([("day", day), ("hour", numbers)]) - np.datetime64("2024-01-01")
    assert (found / np.timedelta64(1, "h")).tolist() == hours


def test_half_a_time_says_so(tmp_path):
    days = [f"{1 + i // 24}/3/2024" for i in range(744)]
    hours = [f"{i % 24}:00:00" for i in range(744)]
    columns = {"Date": days, "Time": hours}
    with refused(DataError, "repeat a time stamp", "time=('Date', 'Time')"):
        series(tmp_path, columns, time="Date")
    assert said(series(tmp_path, columns), "'Date', 'Time'", "time=('Date', 'Time')")
    whole = series(tmp_path, columns, time=["Date", "Time"])
    assert whole.time[25] == np.datetime64("2024-03-02T01:00")
    assert not said(whole, "not all equal")
    numbered = {"year": ["2024"] * 40, "month": ["2"] * 40, "hour": [str(i % 24) for i in range(40)]}
    with refused(DataError, "time=('year', 'month', 'hour')"):
        series(tmp_path, numbered, time="year")
    for parts, words in (
        (("Time", "Date"), ("'Time'",)),
        (("Date", "Time", "Date"), ("'Date'", "more than once")),
        (("month", "year", "hour"), ("'month', 'year', 'hour'", "an hour and no day")),
    ):
        with refused((ArgumentError, DataError), *words):
            series(tmp_path, columns if "Date" in parts else numbered, time=parts)
    with refused(DataError, "2023-02 has no day 30"):
        series(tmp_path, {"year": ["2023"] * 2, "mo": ["2"] * 2, "Tag": ["1", "30"]}, time=("Tag", "mo", "year"))
    with refused(DataError, "'Time' holds '25:00' in row 2"):
        series(tmp_path, {"Date": ["2024-01-01"] * 2, "Time": ["1:00", "25:00"]}, time=("Date", "Time"))


# -- what is in a file beside its table --------------------------------------------------------------------------


def test_empty_columns_and_lines_of_separators(tmp_path):
    lines = ["x;y;;", *(f"{i},5;{i};;" for i in range(9)), *[";" * 3] * 4]
    data = read_table(csv(tmp_path, "\n".join(lines)), target="y", horizon=1)
    assert (data.schema.numbers, data.steps) == (("x",), 9)
    assert said(data, "2 columns without a name and without a value")
    assert said(data, "4 lines of separators alone", "row 10")
    again = read_like(tmp_path / "t.csv", data.schema, data.forecast)
    assert (again.steps, said(again, "separators alone")) == (9, True)


@pytest.mark.parametrize(
    ("above", "words"),
    [
        (["# made by a logger", "# at home, in the cellar"], ("2 comment lines",)),
        (["sep=,"], ("'sep=,'", "delimiter")),
        (["", ""], ()),
        (["# one", "", "# two"], ("2 comment lines",)),
    ],
)
def test_lines_above_the_table_that_explain_themselves(tmp_path, above, words):
    data = read_table(csv(tmp_path, "\n".join([*above, "t,y", *SERIES])), time="t", target="y", horizon=1)
    assert data.time.tolist() == list(range(40))
    assert said(data, *words)


def test_names_in_a_comment_and_comments_between_rows(tmp_path):
    text = "\n".join(["# station 5", "# t,y", *SERIES[:20], "# moved", *SERIES[20:]])
    data = read_table(csv(tmp_path, text), time="t", target="y", horizon=1)
    assert data.time.tolist() == list(range(40))
    assert said(data, "names", "comment line '# t,y'")
    assert said(data, "1 line beginning with '#'", "'# moved'")
    named = read_table(csv(tmp_path, "\n".join(["#t,y", *SERIES])), time="t", target="y", horizon=1)
    assert named.steps == 40


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "above", [["Report of March"], ["Category: all", ""], ["a", "b: c", "d"], ["made, at home", "x"]]
)
def test_other_lines_above_are_offered_to_be_skipped(tmp_path, above, delimiter):
    rows = ["t,y,w", *(f"{row},a" for row in SERIES)]
    path = csv(tmp_path, "\n".join([*above, *(row.replace(",", delimiter) for row in rows)]))
    with refused(DataError, f"skip={len(above)}", f"--skip {len(above)}", "'t', 'y', 'w'"):
        read_table(path, time="t", target="y", horizon=1)
    data = read_table(path, time="t", target="y", horizon=1, skip=len(above))
    assert (data.time.tolist(), data.schema.skip) == (list(range(40)), len(above))
    same(read_like(path, data.schema, data.forecast), data)
    for wrong in (-1, 1.5, True, "2"):
        with refused(ArgumentError, f"skip={wrong!r}"):
            read_table(path, target="y", horizon=1, skip=wrong)
    with refused(ArgumentError, "belong to text files"):
        read_table(pa.table({"y": [1, 2]}), target="y", horizon=1, skip=2)


def test_a_row_without_names_for_all_columns(tmp_path):
    with refused(DataError, "has 1 value, 'y', and line 2 has 2", "give each column a name"):
        read_table(csv(tmp_path, "\n".join(["y", *SERIES])), target="y", horizon=1)


# -- encodings ---------------------------------------------------------------------------------------------------

LETTERS = {
    "cp1252": "°Cé€",
    "latin-1": "°Cé",
    "cp1251": "\u0442\u0435\u043c\u043f",
    "shift_jis": "温度",
    "gb18030": "温度",
    "utf-16-le": "°温",
    "utf-16-be": "°温",
    "utf-8": "°温",
    "cp437": "°é",
}


@pytest.mark.parametrize("encoding", LETTERS)
@pytest.mark.parametrize("where", ["header", "value", "far"])
def test_encodings_are_read_when_they_are_said(tmp_path, encoding, where):
    letters = LETTERS[encoding]
    name, rows = ("x " + letters if where == "header" else "x"), 30_000 if where == "far" else 20
    cells = [letters if where == "value" or (where == "far" and i == rows - 1) else "plain" for i in range(rows)]
    text = f"{name},y\n" + "\n".join(f"{cell},{i % 7}.5" for i, cell in enumerate(cells)) + "\n"
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    if encoding != "utf-8":
        with refused(DataError, "t.csv is not UTF-8 text", "encoding="):
            read_table(path, target="y", horizon=1)
    data = read_table(path, target="y", horizon=1, encoding=encoding)
    assert data.schema.categories == (name,)
    assert set(data.levels[0]) == set(cells)
    same(read_like(path, data.schema, data.forecast), data)
    # A later file in UTF-8 is read as what it is.
    other = csv(tmp_path, text, "u.csv")
    assert read_like(other, data.schema, data.forecast).levels == data.levels


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_a_file_says_itself(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes(("x °,y\n" + "\n".join(f"é,{i}" for i in range(9))).encode(encoding))
    data = read_table(path, target="y", horizon=1)
    assert (data.schema.categories, data.levels, data.schema.encoding) == (("x °",), (("é",),), None)
    assert said(data, encoding.upper(), "first bytes") == (encoding != "utf-8-sig")


def test_unknown_and_wrong_encodings_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("x,y\né,1\né,2\n".encode("latin-1"))
    for wrong in ("utf8000", "hex", "base64"):
        with refused(ArgumentError, f"encoding={wrong!r} is no encoding of text", "cp1252"):
            read_table(path, target="y", horizon=1, encoding=wrong)
    for wrong in ("ascii", "utf-8", "utf-16"):
        with refused(DataError, "t.csv"):
            read_table(path, target="y", horizon=1, encoding=wrong)
    pq.write_table(pa.table({"y": [1, 2]}), tmp_path / "t.parquet")
    with refused(ArgumentError, "belong to text files"):
        read_table(tmp_path / "t.parquet", target="y", horizon=1, encoding="cp1252")


# -- numbers that are too large, cells that are too long ---------------------------------------------------------


@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=6))
def test_integers_are_rounded_with_a_note_only(values):
    data = read_table(pa.table({"x": values, "y": [float(i) for i in range(len(values))]}), target="y", horizon=1)
    exact = [int(float(value)) == value for value in values]
    assert said(data, "'x' holds integers beyond 2**53", "rounded") != all(exact)


def test_identifiers_of_many_digits(tmp_path):
    ids = [str(10**25 + i) for i in range(4)]
    data = read_table(csv(tmp_path, "\n".join(["s,x,y", *(f"{one},{i},a{i % 2}" for i, one in enumerate(ids))])),
                      target="y", sequence="s")  # fmt: skip
    assert data.ids.tolist() == ids
    assert said(series(tmp_path, {"k": ids}), "'k' is kept as text", "longer than numbers hold")


def test_a_row_that_is_no_row_of_the_series_is_named(tmp_path):
    with refused(DataError, "'t' is not all numbers", "'Total' in row 41"):
        read_table(csv(tmp_path, "\n".join(["t,y", *SERIES, "Total,80.5"])), time="t", target="y", horizon=1)
    with refused(DataError, "'t' is not all numbers", "'s' in row 1"):
        read_table(csv(tmp_path, "\n".join(["t,y", "s,mbar", *SERIES])), time="t", target="y", horizon=1)
    with refused(DataError, "line 42 holds a zero byte"):
        read_table(csv(tmp_path, "\n".join(["t,y", *SERIES, "\0\0\0"])), time="t", target="y", horizon=1)


def test_long_values_and_open_quotes_are_named(tmp_path):
    long = ["ab"] * 9
    long[4] = "b" * 3_000_000
    with refused(DataError, "a value of 3 MB in column 1, row 5", "'bbbb"):
        series(tmp_path, {"x": long})
    names = [f"{'column':>200} {i}" for i in range(6000)]  # a row of names longer than what is parsed at once
    wide = csv(tmp_path, ",".join(names) + "\n" + ",".join(["1.5"] * 6000), "w.csv")
    with refused(DataError, "'y' is not a column"):
        read_table(wide, target="y", horizon=1)


# -- a run remembers ---------------------------------------------------------------------------------------------


def test_a_schema_survives_json_and_old_files_load():
    schema = Schema(task="forecast", target=("y",), time="Date Time", time_parts=("Date", "Time"), skip=2,
                    spellings=(("y", ",.€"),), encoding="cp1252")  # fmt: skip
    whole = {"schema": vars(schema), "forecast": {"horizon": 1}, "inputs": {"center": [0], "scale": [1]}}
    whole |= dict.fromkeys(("indicators", "vocabulary", "classes"), ())
    whole |= {"outputs": {"center": [0], "scale": [1]}, "missing": "fill", "per": "step", "season": 1}
    stored = json.loads(json.dumps(whole))
    assert Preparation.from_json(stored).schema == schema
    for name in ("time_parts", "spellings", "encoding", "skip"):
        del stored["schema"][name]
    assert Preparation.from_json(stored).schema == Schema(task="forecast", target=("y",), time="Date Time")
