"""Reading tables: what is predicted, and every argument that does not fit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest
from table_cases import one, refused

from throughtime.data.sequences import Forecast, Schema
from throughtime.data.tables import read_table
from throughtime.errors import ArgumentError, DataError

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
    with refused(DataError, "'day' holds text such as 'mo'", "needs numbers"):
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
