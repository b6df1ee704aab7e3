"""Reading tables: the order of rows, every kind of column, times."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from table_cases import LONG, ROLES, frames, one, refused, same

from throughtime.data.sequences import Schema
from throughtime.data.tables import read_table
from throughtime.errors import DataError

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
        [-(2**62), 2**62, 0, 5],  # too wide a span for one combined key
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
