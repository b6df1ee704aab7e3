"""Reading tables: every kind of column, every decision, every refusal; and one table in many containers."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data.sequences import Forecast, Schema, SequenceData
from throughtime.data.tables import read_like, read_table
from throughtime.errors import ArgumentError, BackendError, DataError

# Sequences "b" and "a" interleaved, each out of order in time; "b" appears first.
LONG = {
    "who": ["b", "a", "b", "a", "b"],
    "at": [3, 2, 1, 1, 2],
    "x": [1.5, 2.5, None, 4.5, 5.5],
    "word": ["hot", "cold", "hot", None, "mild"],
    "on": [True, False, None, True, False],
    "y": [7, 9, 7, 9, 7],
}
ROLES = {"sequence": "who", "time": "at", "target": "y"}


def frames(columns):
    return [pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)]


def csv(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refused(kind, *words):
    """A context that expects one line with all these words."""
    pattern = r"\A(?=[^\n]*\Z)" + "".join(f"(?=.*{re.escape(word)})" for word in words)
    return pytest.raises(kind, match=pattern)


def same(a: SequenceData, b: SequenceData) -> None:
    for name in ("offsets", "numbers", "categories", "ids"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.time is None) == (b.time is None)
    if a.time is not None:
        assert a.time.dtype == b.time.dtype
        np.testing.assert_array_equal(a.time, b.time)
    assert (a.schema, a.forecast, a.levels) == (b.schema, b.forecast, b.levels)
    assert a.numbers.dtype == b.numbers.dtype
    assert (a.target is None) == (b.target is None)
    if a.target is not None:
        assert (a.target.names, a.target.kind, a.target.per) == (b.target.names, b.target.kind, b.target.per)
        assert a.target.levels == b.target.levels
        assert [type(level) for level in a.target.levels] == [type(level) for level in b.target.levels]
        np.testing.assert_array_equal(a.target.values, b.target.values)


# -- rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", frames(LONG), ids=lambda frame: type(frame).__module__.partition(".")[0])
def test_long_table_is_grouped_and_sorted(frame):
    data = read_table(frame, **ROLES, task="classify")
    assert data.ids.tolist() == ["b", "a"]
    assert data.offsets.tolist() == [0, 3, 5]
    assert data.time.tolist() == [1, 2, 3, 1, 2]
    assert data.time.dtype == np.int64
    assert data.schema == Schema(
        task="classify", target=("y",), sequence="who", time="at", numbers=("x", "on"), categories=("word",)
    )
    np.testing.assert_array_equal(data.numbers, [[np.nan, np.nan], [5.5, 0], [1.5, 1], [4.5, 1], [2.5, 0]])
    assert data.levels == (("cold", "hot", "mild"),)
    assert data.categories[:, 0].tolist() == [1, 2, 1, -1, 0]
    assert data.categories.dtype == np.int32
    assert data.target.levels == (7, 9)
    assert [type(level) for level in data.target.levels] == [int, int]
    assert (data.target.kind, data.target.per, data.target.values.tolist()) == ("category", "sequence", [0, 1])
    assert data.target.values.dtype == np.int32


def test_without_time_rows_keep_the_order_of_the_table():
    data = read_table(pa.table(LONG), sequence="who", target="y", features="x", task="classify")
    np.testing.assert_array_equal(data.numbers[:, 0], [1.5, np.nan, 5.5, 2.5, 4.5])
    assert data.time is None


def test_without_sequence_it_is_one_long_series():
    data = read_table(pa.table({"t": [3, 1, 2], "x": [0.0, 1, 2], "y": ["c", "a", "b"]}), time="t", target="y")
    assert (len(data), data.ids.tolist(), data.schema.task) == (1, [0], "tag")
    assert data.target.labels().tolist() == ["a", "b", "c"]
    assert "'tag'" in data.notes[0]


def test_sorted_rows_are_the_same_as_shuffled_ones():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 30, 50)
    owner = np.repeat(np.arange(50), lengths)
    step = np.arange(len(owner))
    table = pa.table({"s": owner, "t": step * 1.5, "x": rng.random(len(owner)), "y": owner % 3})
    order = rng.permutation(len(owner))
    left = read_table(table, sequence="s", time="t", target="y")
    right = read_table(table.take(pa.array(order)), sequence="s", time="t", target="y")
    back = np.argsort(right.ids)
    same(left, right.take(back))
    assert left.schema.task == "classify"


@pytest.mark.parametrize(
    "stamps",
    [
        [-(2**62), 2**62 - 1, 0, 5],  # too wide a span for one combined key
        [dt.datetime(2261, 1, 1), dt.datetime(1700, 1, 1), dt.datetime(2000, 1, 1), dt.datetime(1900, 1, 1)],
        [2.5, -1.0, 0.25, 0.125],
        [4, 3, 2, 1],
    ],
)
def test_sorting_holds_for_every_kind_and_span_of_time(stamps):
    table = pa.table({"s": [1, 1, 0, 0], "t": stamps, "x": [0, 1, 2, 3], "y": ["u", "u", "v", "v"]})
    data = read_table(table, sequence="s", time="t", target="y")
    expected = [x for group in ([0, 1], [2, 3]) for x in sorted(group, key=lambda row: stamps[row])]
    assert data.numbers[:, 0].tolist() == expected
    assert data.ids.tolist() == [1, 0]


def test_sequence_column_may_be_categorical_with_levels_unused_and_unsorted():
    who = pd.Categorical(["b", "a", "b"], categories=["a", "unused", "b"])
    data = read_table(pd.DataFrame({"s": who, "x": [1, 2, 3], "y": [0.5, 1.5, 0.5]}), sequence="s", target="y")
    assert data.ids.tolist() == ["b", "a"]
    assert data.numbers[:, 0].tolist() == [1, 3, 2]


def test_sequence_column_may_be_a_dictionary_that_repeats_a_value():
    who = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["b", "a", "b"]))
    data = read_table(pa.table({"s": who, "x": [1, 2, 3], "y": [0.5, 1.5, 0.5]}), sequence="s", target="y")
    assert data.ids.tolist() == ["b", "a"]
    assert data.numbers[:, 0].tolist() == [1, 3, 2]


def test_sequence_column_of_several_chunks_and_types():
    for values in (
        [2, 1, 2, 3],
        [2.5, 1.5, 2.5, 0.5],
        ["é", "b", "é", "a"],
        [dt.date(2020, 1, d) for d in (2, 1, 2, 3)],
    ):
        table = pa.table({"s": pa.chunked_array([values[:1], values[1:]]), "x": [1, 2, 3, 4], "y": [1.5, 2, 1.5, 3]})
        data = read_table(table, sequence="s", target="y")
        assert data.ids.tolist() == [values[0], values[1], values[3]]
        assert data.numbers[:, 0].tolist() == [1, 3, 2, 4]


def test_repeated_stamps_are_refused_with_an_example():
    table = pa.table({"s": ["p", "q", "p", "p", "q"], "t": [1, 1, 2, 2, 1], "x": [1, 2, 3, 4, 5], "y": [0, 1, 0, 0, 1]})
    with refused(DataError, "2 rows repeat", "t=2", "sequence p", "drop or average"):
        read_table(table, sequence="s", time="t", target="y")
    with refused(DataError, "3 rows repeat", "t=1", "as sequence="):
        read_table(table, time="t", target="x", horizon=1)
    with refused(DataError, "1 row repeats"):
        read_table(table.slice(0, 2), time="t", target="x", horizon=1)


@pytest.mark.parametrize("column", ["who", "at"])
def test_missing_keys_are_refused(column):
    values = list(LONG[column])
    values[2] = values[4] = None
    for frame in (pa.table({**LONG, column: values}), pd.DataFrame({**LONG, column: values})):
        with refused(DataError, f"column {column!r} is missing in 2 of 5 rows, first in row 3", "drop"):
            read_table(frame, **ROLES)


# -- kinds of column ---------------------------------------------------------------------------------------------


def one(values, type=None, name="x"):
    """A table of two sequences with the given column as its input."""
    half = len(values) // 2
    owner = [0] * half + [1] * (len(values) - half)
    return pa.table({"s": owner, name: pa.array(values, type), "y": [f"c{o}" for o in owner]})


@pytest.mark.parametrize(
    ("type", "dtype"),
    [
        (pa.float32(), "f4"), (pa.float16(), "f4"), (pa.int8(), "f4"), (pa.int16(), "f4"), (pa.uint16(), "f4"),
        (pa.bool_(), "f4"), (pa.int32(), "f8"), (pa.uint64(), "f8"), (pa.int64(), "f8"), (pa.float64(), "f8"),
        (pa.decimal128(5, 2), "f8"),
    ],
)  # fmt: skip
def test_numbers_keep_their_precision(type, dtype):
    values = [1, None, 0, 1]
    if type == pa.bool_():
        values = [True, None, False, True]
    if pa.types.is_decimal(type):
        values = [Decimal("1.00"), None, Decimal("0.00"), Decimal("1.00")]
    data = read_table(one(values, type), sequence="s", target="y")
    assert data.numbers.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(data.numbers[:, 0], [1, np.nan, 0, 1])


def test_one_wide_column_makes_all_of_them_float64():
    table = one([1, 2], pa.int8()).append_column("wide", pa.array([16777217, 0]))
    data = read_table(table, sequence="s", target="y")
    assert data.numbers.dtype == np.float64
    assert data.numbers[0, 1] == 16777217  # float32 would have 16777216


def test_infinity_and_nan_in_inputs():
    data = read_table(one([np.inf, np.nan, -np.inf, 0.0]), sequence="s", target="y")
    np.testing.assert_array_equal(data.numbers[:, 0], [np.inf, np.nan, -np.inf, 0])


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["v", "u", None, "v"]),
        pa.array(["v", "u", None, "v"], pa.large_string()),
        pa.array(["v", "u", None, "v"], pa.string_view()),
        pa.array(["v", "u", None, "v"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([2, 1, 0, 2]), pa.array([None, "u", "v", "unused"])),
    ],
    ids=str,
)
def test_text_is_a_category(values):
    data = read_table(one(values), sequence="s", target="y")
    assert data.levels == (("u", "v"),)
    assert data.categories[:, 0].tolist() == [1, 0, -1, 1]
    assert data.schema.categories == ("x",)
    assert data.numbers.shape == (4, 0)


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["v", "u", "never"])])
def test_polars_categories(dtype):
    frame = pl.DataFrame({"s": [0, 0, 1], "x": pl.Series(["v", "u", None], dtype=dtype), "y": ["a", "a", "b"]})
    data = read_table(frame.lazy(), sequence="s", target="y")
    assert data.levels == (("u", "v"),)
    assert data.categories[:, 0].tolist() == [1, 0, -1]
    assert data.source == "polars DataFrame"


def test_category_of_integers_is_text_as_an_input():
    data = read_table(one(pa.array([10, 2, 10, 2]).dictionary_encode()), sequence="s", target="y")
    assert data.levels == (("2", "10"),)
    assert data.categories[:, 0].tolist() == [1, 0, 1, 0]


def test_dates_are_left_out_with_a_note_and_refused_when_asked_for():
    table = one([1.0, 2.0]).append_column("born", pa.array([dt.date(2020, 1, 1), dt.date(2020, 1, 2)]))
    data = read_table(table, sequence="s", target="y")
    assert data.schema.numbers == ("x",)
    assert any("'born'" in note and "dates" in note for note in data.notes)
    with refused(DataError, "'born' holds dates", "time=", "hour, weekday"):
        read_table(table, sequence="s", target="y", features=["x", "born"])


@pytest.mark.parametrize("values", [pa.nulls(2), pa.array([None, None], pa.float64()), pa.array([np.nan, np.nan]),
                                    pa.array([None, None], pa.string())])  # fmt: skip
def test_a_column_with_no_value_is_left_out_with_a_note(values):
    table = one([1.0, 2.0]).append_column("void", values).append_column("z", pa.array([3.0, 4.0]))
    data = read_table(table, sequence="s", target="y")
    assert data.schema.numbers == ("x", "z")
    assert data.schema.categories == ()
    np.testing.assert_array_equal(data.numbers, [[1, 3], [2, 4]])
    assert any("'void'" in note and "no value" in note for note in data.notes)


@pytest.mark.parametrize(
    ("values", "word"), [([[1], [2]], "list"), ([{"a": 1}, {"a": 2}], "struct"), ([b"1", b"2"], "binary")]
)
def test_nested_and_binary_columns_are_refused(values, word):
    table = one([1.0, 2.0]).append_column("odd", pa.array(values))
    with refused(DataError, "'odd'", word, "features="):
        read_table(table, sequence="s", target="y")
    assert read_table(table, sequence="s", target="y", features="x").schema.numbers == ("x",)
    for roles in (
        {"sequence": "odd", "target": "y"},
        {"time": "odd", "target": "y"},
        {"sequence": "s", "target": "odd"},
    ):
        with refused(DataError, "'odd'", word):
            read_table(table, **roles)


def test_mixed_pandas_and_object_polars_columns_are_refused():
    frame = pd.DataFrame({"s": [0, 1], "x": pd.Series([1, "a"], dtype=object), "y": ["a", "b"]})
    with refused(DataError, "'x' mixes values"):
        read_table(frame, sequence="s", target="y")
    objects = pl.DataFrame({"s": [0, 1], "x": pl.Series([object(), object()], dtype=pl.Object), "y": ["a", "b"]})
    with refused(DataError, "'x' holds", "binary"):
        read_table(objects, sequence="s", target="y")


def test_pandas_index_names_and_integer_column_names():
    index = pd.date_range("2024-01-01", periods=4, freq="D", name="day")[::-1]
    data = read_table(
        pd.DataFrame({0: [1.0, 2, 3, 4], 1: [5.0, 6, 7, 8]}, index=index), time="day", target="0", horizon=1
    )
    assert data.target.values[:, 0].tolist() == [4, 3, 2, 1]
    assert data.schema.numbers == ("1",)
    assert data.time[0] == np.datetime64("2024-01-01")


def test_pandas_multiindex_columns_are_named_by_their_text():
    frame = pd.DataFrame([[1.0, 2.0], [2.0, 3.0]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    assert read_table(frame, target="*", horizon=1).target.names == ("('a', 'x')", "('a', 'y')")


# -- time --------------------------------------------------------------------------------------------------------


def stamps(values, type=None):
    table = pa.table({"t": pa.array(values, type), "v": np.arange(float(len(values)))})
    return read_table(table, time="t", target="v", horizon=1).time


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-03-01", "2024-03-02"], ["2024-03-01T00:00:00", "2024-03-02 00:00:00"],
        ["2024-03-01T01:00:00+01:00", "2024-03-02T00:00:00Z"], ["2024/03/01", "2024/03/02"],
        ["01.03.2024", "02.03.2024"], ["Mar 1, 2024", "Mar 2, 2024"], ["01-Mar-2024", "02-Mar-2024"],
        ["2024-03-01 12:00 AM", "2024-03-02 12:00 AM"], [" 2024-03-01 ", "2024-03-02"],
        ["1.3.2024 00:00", "2.3.2024 00:00"],
    ],
)  # fmt: skip
def test_text_dates(texts):
    found = stamps(texts)
    assert found.dtype == np.dtype("datetime64[ns]")
    np.testing.assert_array_equal(found, np.array(["2024-03-01", "2024-03-02"], "datetime64[ns]"))
    np.testing.assert_array_equal(stamps(pa.array(texts).dictionary_encode()), found)


@pytest.mark.parametrize("texts", [["1949-01", "1949-02"], ["Jan 1949", "Feb 1949"], ["01/1949", "02/1949"]])
def test_months_alone(texts):
    np.testing.assert_array_equal(stamps(texts), np.array(["1949-01-01", "1949-02-01"], "datetime64[ns]"))


def test_day_and_month_are_never_guessed():
    with refused(DataError, "2 ways", "%d/%m/%Y", "%m/%d/%Y", "'01/02/2024'", "write it as 2024-12-31"):
        stamps(["01/02/2024", "03/02/2024"])
    np.testing.assert_array_equal(stamps(["25/02/2024", "03/03/2024"])[1], np.datetime64("2024-03-03"))
    np.testing.assert_array_equal(stamps(["02/25/2024", "03/03/2024"])[1], np.datetime64("2024-03-03"))


def test_missing_text_dates_are_refused():
    for texts in (["2024-01-01", None], ["1.5", "nan"]):
        with refused(DataError, "'t' is missing in 1 of 2 rows, first in row 2"):
            stamps(texts)


def test_years_of_two_digits_are_refused():
    for texts in (["03/04/24", "25/04/24"], ["25.04.24", "26.04.24"]):
        with refused(DataError, f"'t' holds {texts[0]!r} in row 1", "2024-12-31"):
            stamps(texts)


def test_text_that_is_no_date_is_shown_with_its_row():
    with refused(DataError, "'t' holds 'never' in row 4", "neither a number nor a date"):
        stamps(["25/01/2024", None, "26/01/2024", "never"])
    with refused(DataError, "'t' holds 'tuesday' in row 3", "neither a number nor a date"):
        stamps(["2024-01-01", "2024-01-02", "tuesday"])


def test_time_zones_are_read_as_utc():
    paris = dt.timezone(dt.timedelta(hours=2))
    values = [dt.datetime(2024, 7, 1, 2, tzinfo=paris), dt.datetime(2024, 7, 1, 3, tzinfo=paris)]
    expected = np.array(["2024-07-01T00", "2024-07-01T01"], "datetime64[ns]")
    np.testing.assert_array_equal(stamps(values, pa.timestamp("us", "Europe/Paris")), expected)
    frame = pd.DataFrame({"t": pd.DatetimeIndex(values), "v": [1.0, 2.0]})
    np.testing.assert_array_equal(read_table(frame, time="t", target="v", horizon=1).time, expected)


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([1, 2], pa.int16(), np.array([1, 2])),
        ([0.5, 1.5], pa.float32(), np.array([0.5, 1.5])),
        (["2", "10"], None, np.array([2, 10])),
        (["2.5", "10"], None, np.array([2.5, 10])),
        ([dt.date(2024, 1, 1), dt.date(2024, 1, 2)], pa.date32(), np.array(["2024-01-01", "2024-01-02"], "M8[ns]")),
        ([1, 2], pa.timestamp("ms"), np.array([1_000_000, 2_000_000]).view("M8[ns]")),
        ([1, 2], pa.duration("s"), np.array([1, 2])),
        ([61, 62], pa.time32("s"), np.array([61, 62])),
    ],
)
def test_times_of_other_types(values, type, expected):
    found = stamps(values, type)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_a_date_beyond_nanoseconds_and_a_boolean_time_are_refused():
    with refused(DataError, "'t'", "1678 to 2261"):
        stamps([dt.datetime(3000, 1, 1), dt.datetime(2000, 1, 1)], pa.timestamp("s"))
    with refused(DataError, "'t' holds bool values"):
        stamps([True, False])


def uneven_note(values):
    table = pa.table({"t": values, "v": np.arange(float(len(values)))})
    return " ".join(read_table(table, time="t", target="v", horizon=1).notes)


def test_uneven_steps_of_a_forecast_are_noted():
    days = np.array(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-07", "2024-01-08"], "datetime64[ns]")
    assert "median is 1 day, 1 of 4 differ from it, 1 of them gaps (the largest 4 days)" in uneven_note(days)
    assert "not all equal" not in uneven_note(days[:3])
    assert "median is 2, 1 of 3 differ" in uneven_note([0, 2, 4, 5])
    assert "not all equal" not in uneven_note(np.arange(50) * 0.1)  # rounding is no gap
    assert "median is 3 hours, 1 of 2" in uneven_note(
        np.array(["2024-01-01T00", "2024-01-01T01", "2024-01-01T04"], "M8[ns]")
    )


def test_calendar_months_are_even():
    months = np.arange("2023-01", "2024-06", dtype="datetime64[M]")
    assert "not all equal" not in uneven_note(months.astype("datetime64[ns]"))
    ends = (months + 1).astype("datetime64[D]") - 1
    assert "not all equal" not in uneven_note(ends.astype("datetime64[ns]"))
    assert "not all equal" not in uneven_note(months[::3].astype("datetime64[ns]"))
    assert "not all equal" in uneven_note(np.delete(months, 5).astype("datetime64[ns]"))


def test_the_step_between_two_sequences_is_no_gap():
    table = pa.table({"s": [0, 0, 0, 1, 1], "t": [1, 2, 3, 100, 101], "v": [1.0, 2, 3, 4, 5]})
    data = read_table(table, sequence="s", time="t", target="v", horizon=1)
    assert not any("not all equal" in note for note in data.notes)


# -- tasks -------------------------------------------------------------------------------------------------------


def labelled(values, steps=2):
    """One target value a sequence, ``steps`` steps each."""
    owner = np.repeat(np.arange(len(values)), steps)
    return pa.table({"s": owner, "x": np.arange(len(owner)) * 0.5, "y": [values[o] for o in owner]})


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        (["a", "b", "a"], "classify", ("text with 2 values",)),
        ([True, False, True], "classify", ("true or false", "2 values")),
        ([3, 5, 3, 5, 3], "classify", ("integer with 2 values, one a sequence", "task='regress'")),
        ([3, 5, 3, 5], "regress", ("number with 2 values", "task='classify'")),  # not fewer than half
        ([1.0, 2.0, 1.0, 2.0, 1.0], "regress", ("number with 2 values",)),
        (list(range(20)) * 3, "classify", ("20 values",)),
        (list(range(21)) * 3, "regress", ("21 values",)),
    ],
)
def test_task_of_a_target_that_is_one_a_sequence(values, task, words):
    data = read_table(labelled(values), sequence="s", target="y")
    assert data.schema.task == task
    assert data.target.per == "sequence"
    assert all(word in data.notes[0] for word in words)
    got = data.target.labels().tolist() if task == "classify" else data.target.values[:, 0].tolist()
    assert got == values
    if task == "classify":
        assert {type(level) for level in data.target.levels} == {type(values[0])}
        assert list(data.target.levels) == sorted(set(values))
    else:
        assert data.target.values.shape == (len(values), 1)
        assert data.target.values.dtype == np.float64


def test_task_of_a_target_that_changes_within_sequences():
    table = {"s": [0, 0, 1, 1], "x": [1.0, 2, 3, 4]}
    for values in (["a", "b", "b", "b"], [True, False, True, True]):
        data = read_table(pa.table({**table, "y": values}), sequence="s", target="y")
        assert (data.schema.task, data.target.per) == ("tag", "step")
        assert data.target.labels().tolist() == values
    numbers = pa.table({**table, "y": [1, 2, 2, 2]})
    data = read_table(numbers, sequence="s", target="y")
    assert (data.schema.task, data.target.per, data.target.values.tolist()) == ("regress", "step", [[1], [2], [2], [2]])
    assert "horizon=" in data.notes[0]
    assert "task='tag'" in data.notes[0]
    assert read_table(numbers, sequence="s", target="y", horizon=1).schema.task == "forecast"
    tagged = read_table(numbers, sequence="s", target="y", task="tag")
    assert tagged.target.levels == (1, 2)
    assert tagged.notes == ()
    with refused(DataError, "'y' changes within a sequence", "task='tag'"):
        read_table(numbers, sequence="s", target="y", task="classify")


def test_explicit_task_wins():
    table = labelled([3, 5, 3, 5, 3])
    regress = read_table(table, sequence="s", target="y", task="regress")
    assert regress.target.values[:, 0].tolist() == [3, 5, 3, 5, 3]
    assert regress.target.per == "sequence"
    floats = read_table(labelled([0.5, 1.5, 0.5]), sequence="s", target="y", task="classify")
    assert floats.target.levels == (0.5, 1.5)
    tag = read_table(table, sequence="s", target="y", task="tag")
    assert (tag.target.per, len(tag.target.values)) == ("step", 10)
    with refused(DataError, "'y' holds text", "task='classify'"):
        read_table(labelled(["a", "b"]), sequence="s", target="y", task="regress")


def test_one_series_with_a_numeric_target_asks_for_the_horizon():
    table = pa.table({"x": [1.0, 2, 3], "y": [1, 2, 4]})
    with refused(ArgumentError, "'y' is a number in one long series", "horizon=", "task='regress'", "sequence="):
        read_table(table, target="y")
    data = read_table(table, target="y", task="regress")
    assert (data.target.per, data.target.values[:, 0].tolist()) == ("step", [1, 2, 4])


def test_several_targets_of_a_regression():
    table = labelled([1.5, 2.5, 3.5]).append_column("z", pa.array([1.0, 1, 2, 2, 3, 3]))
    data = read_table(table, sequence="s", target=["z", "y"], task="regress")
    assert data.target.values.tolist() == [[1, 1.5], [2, 2.5], [3, 3.5]]
    assert data.schema.target == ("z", "y")
    assert data.schema.numbers == ("x",)
    with refused(ArgumentError, "several targets", "'z', 'y'", "task='regress'"):
        read_table(table, sequence="s", target=["z", "y"])


@pytest.mark.parametrize("values", [["a", "a"], [1, 1], [0.5, 0.5], [True, True]])
@pytest.mark.parametrize("task", [None, "tag"])
def test_a_target_with_one_value_is_refused(values, task):
    with refused(DataError, f"target 'y' is {values[0]!r} in every row: nothing to learn"):
        read_table(labelled(values), sequence="s", target="y", task=task)


def test_a_forecast_of_series_that_never_change_is_refused():
    table = pa.table({"y": [3.0, None, 3.0, 3.0], "z": [1.0, 1.0, 1.0, 2.0]})
    with refused(DataError, "target 'y' has one value in every row: nothing to learn"):
        read_table(table, target="y", horizon=1)
    assert read_table(table, target=["y", "z"], horizon=1).target.values.shape == (4, 2)


@pytest.mark.parametrize("task", ["classify", "regress", "tag"])
def test_missing_targets_are_refused_with_the_first_row(task):
    for values in ([1.5, None, 2.5], [1.5, float("nan"), 2.5]):
        with refused(DataError, "'y' is missing in 2 of 6 rows, first in row 3", "drop these rows", "fill"):
            read_table(labelled(values), sequence="s", target="y", task=task)


@pytest.mark.parametrize("task", ["classify", "regress", "tag", "forecast"])
def test_infinite_targets_are_refused(task):
    with refused(DataError, "'y' is infinite in 2 of 6 rows, first in row 3"):
        read_table(
            labelled([1.5, np.inf, 2.5]), sequence="s", target="y", task=task, horizon=1 if task == "forecast" else None
        )


def test_targets_of_dates_or_without_values_are_refused():
    table = one([1.0, 2.0]).append_column("d", pa.array([dt.date(2020, 1, 1)] * 2)).append_column("v", pa.nulls(2))
    for name, word in (("d", "dates"), ("v", "no value")):
        with refused(DataError, f"{name!r}", word):
            read_table(table, sequence="s", target=name)
    with refused(DataError, "'v' has no value"):
        read_table(table, sequence="s", target="v", horizon=1)


def test_no_input_left_is_refused():
    table = labelled(["a", "b"]).drop_columns("x")
    with refused(DataError, "no input column left", "'s', 'y'"):
        read_table(table, sequence="s", target="y")
    with refused(DataError, "no input column left", "'void'"):
        read_table(table.append_column("void", pa.nulls(4)), sequence="s", target="y")


# -- forecasts ---------------------------------------------------------------------------------------------------

SERIES = {
    "t": [2, 1, 3],
    "load": [5.0, None, 6.0],
    "price": [1, 2, 3],
    "day": ["mo", "tu", "mo"],
    "on": [True, False, True],
}


def test_forecast_with_covariates():
    data = read_table(pa.table(SERIES), time="t", target="load", horizon=2, window=7, known="price")
    assert data.forecast == Forecast(horizon=2, window=7, known=("price",))
    np.testing.assert_array_equal(data.target.values, [[np.nan], [5], [6]])
    assert data.target.values.dtype == np.float64
    assert (data.target.per, data.target.kind) == ("step", "number")
    assert data.schema == Schema(
        task="forecast", target=("load",), time="t", numbers=("price", "on"), categories=("day",)
    )
    assert any("2 step" in note and "'load'" in note for note in data.notes)


def test_wide_series_are_all_targets():
    for target in (None, "*"):
        data = read_table(pa.table(SERIES), time="t", target=target, horizon=1)
        assert data.target.names == ("load", "price")
        np.testing.assert_array_equal(data.target.values, [[np.nan, 2], [5, 1], [6, 3]])
        assert (data.schema.numbers, data.schema.categories) == (("on",), ("day",))
    named = read_table(pa.table(SERIES), time="t", target=["price", "load"], horizon=1, features=[])
    assert named.target.names == ("price", "load")
    assert named.numbers.shape == (3, 0)
    known = read_table(pa.table(SERIES), time="t", horizon=1, known=["price"])
    assert (known.target.names, known.schema.numbers) == (("load",), ("price", "on"))


def test_wide_series_without_values_are_left_out():
    data = read_table(pa.table({"a": [1.0, 2], "void": pa.array([None, None], pa.float64()), "b": [3.0, 4]}), horizon=1)
    assert data.target.names == data.schema.target == ("a", "b")
    assert data.target.values.tolist() == [[1, 3], [2, 4]]
    assert any("'void'" in note for note in data.notes)


def test_forecast_of_what_is_no_number_is_refused():
    with refused(DataError, "'day' holds string values", "needs numbers"):
        read_table(pa.table(SERIES), target="day", horizon=1)
    with refused(DataError, "'on' holds bool values", "1 and 0"):
        read_table(pa.table(SERIES), target="on", horizon=1)
    with refused(DataError, "no numeric column to forecast"):
        read_table(pa.table({"day": ["mo", "tu"]}), horizon=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "load"}, ("horizon=",)),
        ({}, ("target= is needed", "'load'")),
        ({"target": "*"}, ("target= is needed",)),
        ({"target": [], "horizon": 1}, ("names no column",)),
        ({"target": "load", "task": "forecast"}, ("needs horizon=",)),
        ({"target": "load", "horizon": 0}, ("horizon=0", "at least 1")),
        ({"target": "load", "horizon": 1.5}, ("horizon=1.5",)),
        ({"target": "load", "horizon": True}, ("horizon=True",)),
        ({"target": "load", "horizon": 1, "window": -1}, ("window=-1",)),
        ({"target": "load", "task": "regress", "horizon": 1}, ("horizon=", "task='regress'")),
        ({"target": "load", "window": 3}, ("window=", "no horizon")),
        ({"target": "load", "known": ["price"], "task": "tag"}, ("known=", "task='tag'")),
        ({"target": "load", "task": "forcast"}, ("task='forcast'", "Did you mean 'forecast'?")),
        ({"target": "load", "time": "load", "horizon": 1}, ("'load'", "target=", "time=", "one role")),
        ({"target": "load", "features": ["load"], "horizon": 1}, ("'load'", "target=", "features=")),
        ({"target": "load", "known": "load", "horizon": 1}, ("'load'", "target=", "known=")),
        ({"target": "load", "features": "on", "known": "price", "horizon": 1}, ("known='price'", "features=")),
        ({"target": "load", "features": ["on", "on"], "horizon": 1}, ("'on'", "more than once")),
    ],
)
def test_arguments_that_do_not_fit(arguments, words):
    with refused(ArgumentError, *words):
        read_table(pa.table(SERIES), **arguments)


@pytest.mark.parametrize("role", ["target", "sequence", "time", "features", "known"])
def test_wrong_column_names_get_the_nearest(role):
    arguments = {"target": "load", "horizon": 1, role: "pricee"}
    with refused(DataError, f"{role}='pricee'", "Did you mean 'price'?", "'load', 'price'", "pyarrow Table"):
        read_table(pa.table(SERIES), **arguments)


def test_known_columns_that_cannot_be_inputs():
    table = pa.table({"v": [1.0, 2], "d": pa.array([dt.date(2020, 1, 1)] * 2), "void": pa.nulls(2)})
    with refused(DataError, "known='d', 'void' was left out"):
        read_table(table, target="v", horizon=1, known=["d", "void"])


def test_features_restrict_and_order():
    data = read_table(pa.table(SERIES), target="load", horizon=1, features=["on", "price"])
    assert data.schema.numbers == ("on", "price")
    assert data.numbers.tolist() == [[1, 1], [0, 2], [1, 3]]
    assert data.schema.categories == ()


# -- files -------------------------------------------------------------------------------------------------------

CSV = "id,t,x,w,flag,y\n7,2,1.5,hot,true,up\n7,1,NA,,false,up\n3,1,?,cold,,down\n3,2,-2e3,NaN,true,down\n"
DECIMAL_COMMAS = "id;t;x;w;flag;y\n7;2;1,5;hot;true;up\n7;1;NA;;false;up\n3;1;?;cold;;down\n3;2;-2000,0;NaN;true;down\n"


def check(data: SequenceData) -> None:
    assert data.ids.tolist() == [7, 3]
    assert data.schema.numbers == ("x", "flag")
    np.testing.assert_array_equal(data.numbers, [[np.nan, 0], [1.5, 1], [np.nan, np.nan], [-2000, 1]])
    assert data.target.labels().tolist() == ["up", "down"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", CSV), ("t.txt", CSV.replace(",", ";")), ("t.tsv", CSV.replace(",", "\t")), ("t.dat", CSV),
        ("t.csv", CSV.replace(",", "|")), ("t.csv", DECIMAL_COMMAS),
        ("t.txt", CSV.replace(",", " ")),
        ("t.csv", "\ufeff" + CSV), ("t.csv", CSV.replace("\n", "\r\n")), ("t.csv", CSV.replace(",", " , ", 5)),
        ("T.CSV", CSV + "\n"),
    ],
)  # fmt: skip
def test_text_files(tmp_path, name, text):
    data = read_table(csv(tmp_path, text, name), sequence="id", time="t", target="y")
    check(data)
    assert data.categories[:, 0].tolist() == [-1, 1, 0, -1]
    assert data.source == name


def test_compressed_text_and_string_paths(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    check(read_table(str(path), sequence="id", time="t", target="y"))
    path.write_bytes(CSV.encode())
    with refused(DataError, "t.csv.gz cannot be unpacked"):
        read_table(path, sequence="id", target="y")


def test_quoted_text_with_delimiters_and_line_breaks(tmp_path):
    path = csv(tmp_path, 's,w,y\n0,"a, ""b""\nc",u\n1,d,v\n')
    assert read_table(path, sequence="s", target="y").levels == (('a, "b"\nc', "d"),)


def test_line_breaks_in_text_far_into_the_file(tmp_path):
    rows = ["0,plain,u"] * 20_000 + ['1,"x\ny",v'] * 200_000  # several of the blocks that are parsed on their own
    data = read_table(csv(tmp_path, "s,w,y\n" + "\n".join(rows) + "\n"), sequence="s", target="y")
    assert data.levels == (("plain", "x\ny"),)
    assert data.lengths.tolist() == [20_000, 200_000]


def test_kinds_are_seen_from_all_of_the_file(tmp_path):
    rows = ["0,1,u"] * 200_000 + ["1,1.5,v"]  # the fraction lies beyond the first block that is parsed
    data = read_table(csv(tmp_path, "s,x,y\n" + "\n".join(rows) + "\n"), sequence="s", target="y")
    assert data.numbers[-1, 0] == 1.5
    assert data.steps == 200_001


def test_a_slip_among_numbers_is_named(tmp_path):
    path = csv(tmp_path, "x,w,v\n1,a1,1\n2,2,2\n3,b,3\n1O,c,x\n")
    data = read_table(path, target="w", task="tag")
    assert any("'x' is read as text" in note and "'1O'" in note for note in data.notes)
    assert any("'v' is read as text" in note and "'x'" in note for note in data.notes)
    assert not any("'w'" in note for note in data.notes)
    with refused(DataError, "target 'v' is no column of numbers: it holds 'x' in row 4"):
        read_table(path, target="v", horizon=1)


def test_an_empty_line_in_one_column_is_a_missing_value(tmp_path):
    data = read_table(csv(tmp_path, "v\n1\n\n3\n"), target="v", horizon=1)
    np.testing.assert_array_equal(data.target.values[:, 0], [1, np.nan, 3])


def test_a_column_without_a_name_is_left_out(tmp_path):
    data = read_table(csv(tmp_path, ",x,v\n0,5,1\n1,6,2\n"), target="v", horizon=1)
    assert data.schema.numbers == ("x",)
    assert any("without a name" in note and "row number" in note for note in data.notes)
    data = read_table(csv(tmp_path, ",v\n2024-01-01,1\n2024-01-02,2\n"), target="v", horizon=1)
    assert any("without a name" in note and "holds dates" in note for note in data.notes)


def test_binary_files_hold_the_same(tmp_path):
    table = pa.table(LONG)
    expected = read_table(table, **ROLES)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.ipc.new_stream(tmp_path / "t.ipc", table.schema) as writer:
        writer.write_table(table)
    pl.DataFrame(LONG).write_ipc(tmp_path / "polars.arrow", compression="zstd")
    pd.DataFrame(LONG, index=[5, 4, 3, 2, 1]).to_parquet(tmp_path / "pandas.pq")
    (tmp_path / "noname").write_bytes((tmp_path / "t.parquet").read_bytes())
    for name in ("t.parquet", "t.feather", "t.arrow", "t.ipc", "polars.arrow", "pandas.pq", "noname"):
        data = read_table(tmp_path / name, **ROLES)
        same(data, expected)
        assert data.source == name


def test_parquet_column_names_with_dots(tmp_path):
    pq.write_table(pa.table({"a": [1, 2], "a.b": [3, 4], "v": [5.0, 6]}), tmp_path / "t.parquet")
    data = read_table(tmp_path / "t.parquet", target="v", horizon=1)
    assert data.schema.numbers == ("a", "a.b")
    assert data.numbers.tolist() == [[1, 3], [2, 4]]


def test_missing_files_and_directories(tmp_path):
    csv(tmp_path, CSV, "vowels.csv")
    with refused(DataError, "there is no file", "vowel.csv", "Did you mean 'vowels.csv'?"):
        read_table(tmp_path / "vowel.csv", target="y")
    with refused(DataError, "there is no file"):
        read_table(tmp_path / "no" / "vowel.csv", target="y")
    with refused(DataError, "is a directory", "'vowels.csv'"):
        read_table(tmp_path, target="y")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.png", b"\x89PNG\r\n\x1a\n\0", ("t.png is a PNG image", "Parquet", ".csv")),
        ("t.xlsx", b"PK\x03\x04\0", ("Excel", "as CSV")),
        ("t.bin", b"\0\1\2\3", ("starts with the bytes", "read_table reads")),
        ("t.npy", b"\x93NUMPY\1\0", ("NumPy", "from_arrays")),
        ("t.parquet", b"a,b\n1,2\n", ("not a Parquet file", "b'a,b")),
        ("t.arrow", b"a,b\n1,2\n", ("not a Arrow file",)),
        ("t.csv", b"PAR1aaaa", ("not a text file", "Parquet data", "rename")),
        ("t.csv", b"\x1f\x8b\x08\0", ("gzip", ".csv.gz")),
        ("t.csv", b"a\0,\0b\0\n\0", ("UTF-8", "encoding='utf-16-le'")),
        ("t.parquet", b"PAR1" + b"\0" * 20, ("damaged Parquet",)),
        ("t.arrow", b"ARROW1" + b"\0" * 20, ("damaged Arrow",)),
        ("t.csv", b"", ("t.csv is empty",)),
        ("t.csv", b"\n\n", ("t.csv is empty",)),
        ("t.csv", b"a,b\n", ("t.csv is empty", "'a', 'b'", "no rows")),
        ("t.csv", b"a,a,y\n1,2,3\n", ("more than one column named 'a'",)),
        ("t.csv", b"a,b\n1,2\n3\n4,5\n", ("line 3", "1 values", "2", "'3'")),
        ("t.csv", b"a,b\n1,2\n3,4,5\n", ("line 3", "3 values", "'3,4,5'")),
        ("t.csv", b"15,2\n3,4\n", ("'y' is not a column", "first row seems to hold data")),
        ("t.csv", b"1.5,2\n3,4\n", ("no row of column names", "'1.5', '2'", "add a line of names")),
        ("t.csv", b"y,w\n1,\xe9\n2,b\n", ("not UTF-8", "line 2", "encoding='cp1252'", "'1,é'")),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with refused(DataError, *words):
        read_table(tmp_path / name, target="y", horizon=1)


def test_other_sources_are_refused():
    for source in ({"a": [1]}, np.zeros(3), 5, pd.Series([1])):
        with refused(ArgumentError, "read_table takes a path, or a pandas", type(source).__name__):
            read_table(source, target="a")
    with refused(DataError, "more than one column"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), target="a")
    with refused(DataError, "more than one column named 'a'"):
        read_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), target="a")
    with refused(DataError, "no columns"):
        read_table(pd.DataFrame(), target="a")
    with refused(DataError, "pandas DataFrame is empty"):
        read_table(pd.DataFrame({"a": []}), target="a")


# -- .ts ---------------------------------------------------------------------------------------------------------

TS = """@problemName p
@timestamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
1,2,?:4,5,6:up
7,8:9,10:down
"""


def test_ts_with_classes_unequal_lengths_and_dimensions(tmp_path):
    path = csv(tmp_path, TS, "p.ts")
    data = read_table(path)
    assert (data.schema.task, data.lengths.tolist()) == ("classify", [3, 2])
    np.testing.assert_array_equal(data.numbers, [[1, 4], [2, 5], [np.nan, 6], [7, 9], [8, 10]])
    assert data.target.labels().tolist() == ["up", "down"]
    assert data.schema.numbers == ("x0", "x1")
    same(read_like(path, data.schema), data)
    assert read_table(path, features="x1").schema.numbers == ("x1",)


def test_ts_with_numbers_and_without_labels(tmp_path):
    head = "@problemName p\n@timestamps false\n@univariate true\n@equalLength true\n"
    data = read_table(csv(tmp_path, head + "@targetlabel true\n@data\n1,2:0.5\n3,4:1.5\n5,6:2.5\n", "r.ts"))
    assert (data.schema.task, data.target.values[:, 0].tolist()) == ("regress", [0.5, 1.5, 2.5])
    plain = csv(tmp_path, head + "@classLabel false\n@data\n1,2,3\n4,5,6\n", "n.ts")
    with refused(ArgumentError, "target= is needed", "horizon"):
        read_table(plain)
    series = read_table(plain, horizon=1)
    assert series.target.names == ("x0",)
    assert series.target.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(series) == 2
    assert read_like(plain, data.schema).target is None


def test_ts_that_is_none_and_aeon_that_is_missing(tmp_path, monkeypatch):
    for text in ("hello\n", "@problemName p\n@univariate true\n@data\n1,x:1\n"):
        with refused(DataError, "p.ts is not a .ts file"):
            read_table(csv(tmp_path, text, "p.ts"))
    monkeypatch.setitem(sys.modules, "aeon.datasets", None)
    with refused(BackendError, "pip install throughtime[ts]"):
        read_table(csv(tmp_path, TS, "p.ts"))


# -- read_like ---------------------------------------------------------------------------------------------------


def test_read_like_reads_the_same_table_in_the_same_way():
    for arguments in (
        {**ROLES, "task": "classify"},
        {**ROLES, "task": "tag"},
        {**ROLES, "task": "regress"},
        {"sequence": "who", "time": "at", "target": "y", "horizon": 1, "known": ["on"], "window": 2},
    ):
        data = read_table(pa.table(LONG), **arguments)
        again = read_like(pl.DataFrame(LONG), data.schema, data.forecast)
        same(again, data)


def test_read_like_without_target_and_with_other_columns_and_order():
    schema = read_table(pa.table(LONG), **ROLES, task="classify").schema
    table = pa.table({"extra": [[1]] * 5, **{name: LONG[name] for name in ("word", "on", "x", "at", "who")}})
    data = read_like(table, schema)
    assert data.target is None
    assert data.schema == schema
    np.testing.assert_array_equal(data.numbers[:, 1], [np.nan, 0, 1, 1, 0])


def test_read_like_keeps_unseen_levels_and_kinds():
    schema = Schema(task="classify", target=("y",), sequence="s", numbers=("n",), categories=("c",))
    table = pd.DataFrame({"s": [0, 0, 1], "n": [1.0, np.nan, 3], "c": [1, 2, 1], "y": [4, 4, np.nan]})
    data = read_like(table, schema)
    assert data.levels == (("1", "2"),)
    np.testing.assert_array_equal(data.numbers[:, 0], [1, np.nan, 3])
    assert data.target.levels == (4,)
    assert type(data.target.levels[0]) is int
    assert data.target.values.tolist() == [0, -1]
    gaps = read_like(table.assign(c=[1.0, np.nan, 2.0], n=[None] * 3, y=["new", None, "b"]), schema)
    assert gaps.levels == (("1", "2"),)
    assert gaps.categories[:, 0].tolist() == [0, -1, 1]
    assert np.isnan(gaps.numbers).all()
    assert gaps.target.labels().tolist() == ["new", "b"]
    void = read_like(table.assign(c=[None] * 3, y=[None] * 3), schema)
    assert void.categories[:, 0].tolist() == [-1, -1, -1]
    assert void.target.values.tolist() == [-1, -1]


def test_read_like_regression_targets_with_gaps():
    schema = Schema(task="regress", target=("y",), sequence="s", numbers=("x",))
    table = pa.table({"s": [0, 0, 1, 1], "x": [1, 2, 3, 4], "y": [None, 2.5, None, None]})
    data = read_like(table, schema)
    assert data.target.per == "sequence"
    np.testing.assert_array_equal(data.target.values, [[2.5], [np.nan]])
    step = read_like(table, schema, per="step")
    np.testing.assert_array_equal(step.target.values, [[np.nan], [2.5], [np.nan], [np.nan]])
    varied = table.set_column(2, "y", pa.array([1.0, 2, None, 3]))
    assert read_like(varied, schema).target.per == "step"
    with refused(DataError, "'y' changes within sequence 0"):
        read_like(varied, schema, per="sequence")
    with refused(DataError, "'y' changes within sequence 1"):
        read_like(
            table.set_column(2, "y", pa.array(["a", None, "a", "b"])),
            Schema(task="classify", target=("y",), sequence="s", numbers=("x",)),
        )


def test_read_like_refuses_what_is_not_there_or_of_another_kind():
    schema = Schema(task="regress", target=("y",), sequence="s", time="t", numbers=("x",), categories=("c",))
    full = {"s": [0, 1], "t": [0, 1], "x": [1.0, 2], "c": ["a", "b"], "y": [1.0, 2]}
    assert read_like(pa.table(full), schema).target.values[:, 0].tolist() == [1, 2]
    for name in ("s", "t", "x", "c"):
        with refused(DataError, f"{name!r} is not a column"):
            read_like(pa.table({key: value for key, value in full.items() if key != name}), schema)
    for name in ("x", "y"):
        with refused(DataError, f"column {name!r} holds 'a' in row 1", "no number"):
            read_like(pa.table({**full, name: ["a", "b"]}), schema)
    with refused(DataError, "'c'", "list"):
        read_like(pa.table({**full, "c": [[1], [2]]}), schema)
    with refused(DataError, "lacks the target column 'z'"):
        read_like(pa.table(full), Schema(task="regress", target=("y", "z"), sequence="s", numbers=("x",)))


def test_read_like_of_a_forecast_needs_the_past():
    schema = Schema(task="forecast", target=("v",), numbers=("x",))
    data = read_like(pa.table({"v": [1, None], "x": [3, 4]}), schema, Forecast(horizon=1))
    np.testing.assert_array_equal(data.target.values, [[1], [np.nan]])
    with refused(DataError, "lacks the target column 'v'", "past"):
        read_like(pa.table({"x": [3, 4]}), schema, Forecast(horizon=1))
    with refused(ArgumentError, "forecast="):
        read_like(pa.table({"v": [1, 2], "x": [3, 4]}), schema)
    with refused(ArgumentError, "forecast="):
        read_like(pa.table(LONG), Schema(task="tag"), Forecast(horizon=1))


# -- all containers agree ----------------------------------------------------------------------------------------


@st.composite
def ragged_tables(draw):
    """Sequences as plain lists of steps, and a shuffled order of all rows."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=6))
    rows = sum(lengths)
    number = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=64))
    text = st.one_of(st.none(), st.sampled_from(["a", "B c", "é,", '"q"', "zz"]))
    return {
        "s": [b * 3 - 1 for b, length in enumerate(lengths) for _ in range(length)],
        "t": [float(t) / 4 for length in lengths for t in range(length)],
        "x": [0.5, *draw(st.lists(number, min_size=rows - 1, max_size=rows - 1))],
        "w": ["w", *draw(st.lists(text, min_size=rows - 1, max_size=rows - 1))],
        "y": [f"class {b % 2}" for b, length in enumerate(lengths) for _ in range(length)],
    }, draw(st.permutations(range(rows)))


@settings(max_examples=40)
@given(ragged_tables())
def test_any_container_of_the_shuffled_table_gives_the_same_data(case):
    columns, order = case
    shuffled = {name: [values[row] for row in order] for name, values in columns.items()}
    ids = list(dict.fromkeys(shuffled["s"]))
    expected = [row for one in ids for row in range(len(columns["s"])) if columns["s"][row] == one]
    levels = sorted({word for word in columns["w"] if word is not None})
    table = pa.table(shuffled)
    text = io.StringIO()
    pd.DataFrame(shuffled).to_csv(text, index=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "t.csv").write_text(text.getvalue(), encoding="utf-8")
        pq.write_table(table, path / "t.parquet")
        for source in (table, pd.DataFrame(shuffled), pl.DataFrame(shuffled), path / "t.csv", path / "t.parquet"):
            data = read_table(source, sequence="s", time="t", target="y")
            assert data.ids.tolist() == ids
            assert data.lengths.tolist() == [columns["s"].count(one) for one in ids]
            assert data.time.tolist() == [columns["t"][row] for row in expected]
            x = [np.nan if columns["x"][row] is None else columns["x"][row] for row in expected]
            np.testing.assert_array_equal(data.numbers[:, 0], x)
            assert data.levels == (tuple(levels),)
            words = [-1 if columns["w"][row] is None else levels.index(columns["w"][row]) for row in expected]
            assert data.categories[:, 0].tolist() == words
            assert data.target.labels().tolist() == [columns["y"][columns["s"].index(one)] for one in ids]


def test_import_is_light():
    code = (
        "import sys, throughtime.data.tables\n"
        "print([name for name in ('pyarrow', 'pandas', 'polars', 'narwhals', 'aeon') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
