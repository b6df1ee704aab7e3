"""``from_arrays``: every form that inputs and targets come in, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import Forecast, Schema
from throughtime.errors import ArgumentError, DataError
from throughtime.ragged import Ragged

THREE = [np.arange(6.0).reshape(3, 2), np.zeros((0, 2)), np.full((1, 2), 9.0)]


# Inputs -----------------------------------------------------------------------------------------------


def test_the_same_sequences_in_every_form() -> None:
    ragged = Ragged.from_list(THREE)
    padded, mask = ragged.to_padded(fill=math.nan)
    pre, pre_mask = ragged.to_padded(fill=math.nan, side="pre")
    target = ["up", "down", "up"]
    forms = [
        from_arrays(ragged, target),
        from_arrays(THREE, target),
        from_arrays(tuple(THREE), target),
        from_arrays(padded, target, mask=mask),
        from_arrays(pre, target, mask=pre_mask),
        from_arrays(padded, target, lengths=[3, 0, 1]),
    ]
    for data in forms:
        assert data.offsets.tolist() == [0, 3, 3, 4]
        assert data.numbers.tolist() == [[0, 1], [2, 3], [4, 5], [9, 9]]
        assert data.lengths.tolist() == [3, 0, 1]
        assert (len(data), data.steps) == (3, 4)
        assert data.inputs.to_list()[0].tolist() == THREE[0].tolist()
        assert data.target.labels().tolist() == target
        assert data.categories.shape == (4, 0)
        assert data.ids.tolist() == [0, 1, 2]
        assert data.time is None
        assert data.schema == Schema(task="classify", target=("y",), numbers=("x0", "x1"))


def test_padded_without_mask_is_full_length() -> None:
    data = from_arrays(np.arange(12.0).reshape(2, 3, 2), [1.0, 2.0])
    assert data.lengths.tolist() == [3, 3]
    assert data.numbers.tolist() == np.arange(12.0).reshape(6, 2).tolist()


@pytest.mark.parametrize(
    "inputs",
    [
        [[1.0, 2.0, 3.0], [4.0]],
        [np.array([[1.0], [2.0], [3.0]]), np.array([[4.0]])],
        Ragged.from_list([[1.0, 2.0, 3.0], [4.0]]),
        np.array([np.array([1.0, 2.0, 3.0]), np.array([4.0])], dtype=object),
    ],
)
def test_one_feature_with_and_without_its_dimension(inputs) -> None:
    data = from_arrays(inputs, [0.0, 1.0], names=["price"])
    assert data.numbers.tolist() == [[1], [2], [3], [4]]
    assert data.schema.numbers == ("price",)
    assert data.lengths.tolist() == [3, 1]


def test_one_feature_padded() -> None:
    data = from_arrays(np.array([[1.0, 2.0], [3.0, math.nan]]), ["a", "b"], lengths=[2, 1])
    assert data.numbers.tolist() == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("dtype", "held"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int8", "float32"),
        ("int16", "float32"),
        ("int64", "float64"),
        ("bool", "float32"),
    ],
)
def test_numbers_are_floats_that_hold_what_was_given(dtype, held) -> None:
    data = from_arrays([np.array([1, 0]).astype(dtype)], ["a"])
    assert data.numbers.dtype == held
    assert data.numbers.tolist() == [[1], [0]]


def test_a_batch_of_none() -> None:
    for target in ([], np.zeros((0, 2)), Ragged.from_list([])):
        data = from_arrays(Ragged(np.zeros((0, 2)), np.array([0])), target)
        assert (len(data), data.steps, data.numbers.shape) == (0, 0, (0, 2))
        assert repr(data).startswith("SequenceData(regress: 0 sequences, no steps, 2 numbers")
        assert data.missing() == {}


# Targets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "levels", "codes"),
    [
        (["up", "down", "up"], ("down", "up"), [1, 0, 1]),
        ([7, -1, 7], (-1, 7), [1, 0, 1]),
        ([True, False, True], (False, True), [1, 0, 1]),
        (np.array([2, 2, 2], np.uint8), (2,), [0, 0, 0]),
        (pd.Series(["b", "a", "b"], index=[7, 8, 9]), ("a", "b"), [1, 0, 1]),
        (np.array(["b", None, "a"], dtype=object), ("a", "b"), [1, -1, 0]),
    ],
)
def test_labels_a_sequence(target, levels, codes) -> None:
    data = from_arrays(THREE, target)
    assert data.schema.task == "classify"
    assert (data.target.kind, data.target.per, data.target.levels) == ("category", "sequence", levels)
    assert data.target.values.dtype == np.int32
    assert data.target.values.tolist() == codes
    assert data.target.labels().tolist() == [None if code < 0 else levels[code] for code in codes]


def test_float_labels_where_the_task_says_so() -> None:
    data = from_arrays(THREE, [2.5, 1.0, math.nan], task="classify")
    assert data.target.levels == (1.0, 2.5)
    assert data.target.values.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ([1.0, 2.0, math.nan], ("y",)),
        (np.array([[1.0], [2.0], [3.0]]), ("y",)),
        (np.arange(6.0).reshape(3, 2), ("y0", "y1")),
        ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], ("y0", "y1")),
    ],
)
def test_numbers_a_sequence(target, names) -> None:
    data = from_arrays(THREE, target)
    assert (data.schema.task, data.schema.target) == ("regress", names)
    assert (data.target.kind, data.target.per, data.target.names) == ("number", "sequence", names)
    assert data.target.values.dtype == np.float64
    np.testing.assert_array_equal(data.target.values, np.asarray(target, np.float64).reshape(3, -1))


def test_whole_numbers_are_numbers_where_the_task_says_so() -> None:
    for target in ([1, 2, 3], [True, False, True]):
        data = from_arrays(THREE, target, task="regress")
        assert data.target.kind == "number"
        assert data.target.values.tolist() == [[float(value)] for value in target]


def test_labels_a_step_in_every_form() -> None:
    inputs = np.arange(12.0).reshape(2, 3, 2)
    mask = np.array([[True, True, True], [True, False, False]])
    padded = np.array([["a", "b", "a"], ["c", "PAD", "PAD"]])
    lists = [["a", "b", "a"], ["c"]]
    forms = [
        from_arrays(inputs, padded, mask=mask, task="tag"),
        from_arrays(inputs, padded, lengths=[3, 1], task="tag"),
        from_arrays(inputs, Ragged.from_list(lists), mask=mask),
        from_arrays(inputs, lists, mask=mask),
        from_arrays([inputs[0], inputs[1, :1]], lists),
        from_arrays([inputs[0], inputs[1, :1]], [np.array(labels) for labels in lists]),
    ]
    for data in forms:
        assert data.schema.task == "tag"
        assert (data.target.kind, data.target.per, data.target.levels) == ("category", "step", ("a", "b", "c"))
        assert data.target.values.tolist() == [0, 1, 0, 2]


def test_numbers_a_step() -> None:
    inputs = [np.zeros((3, 2)), np.zeros((1, 2))]
    flat = from_arrays(inputs, [[1.0, 2.0, 3.0], [4.0]])
    assert (flat.schema.task, flat.target.per, flat.target.values.tolist()) == ("regress", "step", [[1], [2], [3], [4]])
    two = from_arrays(np.zeros((2, 3, 2)), np.arange(12.0).reshape(2, 3, 2), lengths=[3, 1])
    assert (two.target.names, two.target.per) == (("y0", "y1"), "step")
    assert two.target.values.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_row_of_numbers_as_long_as_the_sequences_is_not_guessed() -> None:
    inputs, target = np.zeros((2, 3, 1)), np.arange(6.0).reshape(2, 3)
    for arguments in ({}, {"mask": np.array([[True] * 3, [True, False, False]])}, {"lengths": [3, 1]}):
        with pytest.raises(ArgumentError, match="3 numbers a sequence, and the sequences 3 steps: pass a Ragged"):
            from_arrays(inputs, target, **arguments)
    assert from_arrays(inputs, target, task="regress").target.per == "sequence"
    assert from_arrays(inputs, Ragged.from_list(target)).target.per == "step"
    assert from_arrays([[1.0] * 3, [1.0]], target).target.per == "sequence"


# Forecasts --------------------------------------------------------------------------------------------


def test_forecast_of_the_inputs_themselves() -> None:
    data = from_arrays([[1, 2, 3], [4]], horizon=2, window=5, names=["load"])
    assert data.schema == Schema(task="forecast", target=("load",))
    assert data.forecast == Forecast(horizon=2, window=5)
    assert data.numbers.shape == (4, 0)
    assert (data.target.names, data.target.per, data.target.kind) == (("load",), "step", "number")
    assert data.target.values.tolist() == [[1], [2], [3], [4]]
    assert data.target.values.dtype == np.float64


def test_forecast_with_covariates() -> None:
    inputs = np.arange(12.0).reshape(2, 3, 2)
    data = from_arrays(inputs, np.array([[1, 2, 3], [4, 5, 6]]), horizon=1)
    assert data.schema == Schema(task="forecast", target=("y",), numbers=("x0", "x1"))
    assert data.target.values.tolist() == [[1], [2], [3], [4], [5], [6]]
    assert data.forecast == Forecast(horizon=1)


def test_to_predict_from_without_a_target() -> None:
    for task in ("classify", "regress", "tag"):
        data = from_arrays(THREE, task=task)
        assert data.target is None
        assert data.schema == Schema(task=task, numbers=("x0", "x1"))
        assert "no target" in repr(data)


# Names and origin --------------------------------------------------------------------------------------------------


def test_targets_are_named() -> None:
    two = np.arange(6.0).reshape(3, 2)
    series = {"inputs": [[1, 2, 3], [4]], "horizon": 2}
    for arguments, expected in (
        ({"inputs": THREE, "target": ["a", "b", "a"], "target_name": "speaker"}, ("speaker",)),
        ({"inputs": THREE, "target": ["a", "b", "a"], "target_name": ["speaker"]}, ("speaker",)),
        ({"inputs": THREE, "target": two, "target_name": ("weight", "height")}, ("weight", "height")),
        (series | {"target_name": "load"}, ("load",)),
        (series | {"names": ["load"]}, ("load",)),
        (series | {"names": ["load"], "target_name": "demand"}, ("demand",)),
        (series | {"target": [[5, 6, 7], [8]], "names": ["load"], "target_name": "demand"}, ("demand",)),
    ):
        data = from_arrays(**arguments)
        assert data.target.names == data.schema.target == expected


def test_where_the_arrays_come_from() -> None:
    assert from_arrays(THREE, task="regress").source == "arrays"
    assert from_arrays(THREE, task="regress", source="JapaneseVowels").source == "JapaneseVowels"


# What is refused --------------------------------------------------------------------------------------

LABELS = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("inputs", "arguments", "error", "message"),
    [
        (np.zeros(3), {"target": LABELS}, DataError, r"inputs are \(sequences, steps, features\); given shape \(3,\)"),
        (np.zeros((3, 2, 1, 1)), {"target": LABELS}, DataError, r"\(steps, features\) a sequence; given Ragged"),
        ([["x"], ["y"], ["z"]], {"target": LABELS}, DataError, "inputs are numbers"),
        (THREE, {"target": LABELS, "names": ["one"]}, DataError, "1 name was given for 2 features"),
        (THREE, {"target": LABELS, "names": ["a", "a"]}, DataError, "a name of its own; given 'a', 'a'"),
        (THREE, {"target": LABELS, "target_name": ["a", "b"]}, DataError, "2 names were given for 1 target"),
        (THREE, {"target": np.zeros((3, 2)), "target_name": "a"}, DataError, "1 name was given for 2 targets"),
        (THREE, {"target": np.zeros((3, 2)), "target_name": "aa"}, DataError, "1 name was given for 2 targets"),
        (THREE, {"target": np.zeros((3, 2)), "target_name": ["a", "a"]}, DataError, "target needs a name of its own"),
        (THREE, {"target": LABELS, "names": ["a", "b"], "target_name": "b"}, DataError, "'b' is a feature as well"),
        (THREE, {"task": "regress", "target_name": "b"}, ArgumentError, "names a target, and none was given"),
        (THREE, {"horizon": 1, "target_name": "b"}, DataError, "1 name was given for 2 targets"),
        (THREE, {"target": LABELS[:2]}, DataError, "2 targets were given for 3 sequences"),
        (THREE, {"target": "a"}, DataError, "one value a sequence or a step"),
        (THREE, {"target": [["a"], [], ["b", "c"]]}, DataError, "as many steps in each sequence as the inputs"),
        (THREE, {"target": [[1.0], [2.0, 3.0], [4.0]]}, DataError, "as many steps in each sequence as the inputs"),
        (THREE, {"target": np.eye(3, 4, dtype=int)}, DataError, r"not one-hot rows, .* task='tag'; given \(3, 4\)"),
        (THREE, {"target": ["a", 1, None], "task": "regress"}, DataError, "regress predicts numbers, K a sequence"),
        (THREE, {"target": LABELS, "task": "regress"}, DataError, "regress predicts numbers"),
        (THREE, {"target": np.array(["a", 1, 2.5], object)}, DataError, "labels are of several types"),
        (THREE, {"target": LABELS, "task": "tag"}, DataError, "task='tag' has one target a step"),
        (THREE, {"target": [1.0, 2.0, 3.0], "horizon": 1}, DataError, "task='forecast' has one target a step"),
        (THREE, {"target": [["a"] * 3, [], ["b"]], "task": "classify"}, DataError, "a label a step is task='tag'"),
        (THREE, {"target": [["a"] * 3, [], ["b"]], "horizon": 1}, DataError, "forecast predicts numbers, K a step"),
        (THREE, {}, ArgumentError, "without a target, say task=, one of 'classify'"),
        (THREE, {"target": LABELS, "task": "clasify"}, ArgumentError, "Did you mean 'classify'"),
        (THREE, {"task": "forecast"}, ArgumentError, "needs horizon=.* given None"),
        (THREE, {"horizon": 0}, ArgumentError, "at least 1; given 0"),
        (THREE, {"horizon": 1.5}, ArgumentError, r"horizon=1\.5 is not a number of time steps"),
        (THREE, {"horizon": 1, "window": 0}, ArgumentError, "window=0 is not a number of time steps"),
        (THREE, {"target": LABELS, "task": "classify", "horizon": 2}, ArgumentError, "belong to task='forecast'"),
        (THREE, {"target": LABELS, "window": 2}, ArgumentError, "window=2 belongs to a forecast"),
        (THREE, {"target": LABELS, "lengths": [1, 0, 1]}, ArgumentError, "one padded array.*the inputs are a list"),
        (Ragged.from_list(THREE), {"target": LABELS, "mask": np.ones((3, 3), bool)}, ArgumentError, "are a Ragged"),
        (np.zeros((3, 2)), {"target": LABELS, "lengths": [1, 2, 3]}, ArgumentError, "integers from 0 to 2"),
        (np.zeros((3, 2)), {"target": LABELS, "mask": np.ones((3, 2))}, ArgumentError, "booleans"),
    ],
)
def test_from_arrays_refuses(inputs, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        from_arrays(inputs, **arguments)
