"""Scalers, vocabularies, windows: against plain loops, and never a bit of them from validation or test."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import preprocessing

from throughtime.data import transforms
from throughtime.data.arrays import from_arrays
from throughtime.data.examples import Examples
from throughtime.data.scaling import SCALES, Scaler, fill_forward
from throughtime.data.sequences import Forecast, Schema, SequenceData, Target
from throughtime.data.tables import read_table
from throughtime.data.transforms import UNSEEN, Preparation
from throughtime.errors import ArgumentError, DataError
from throughtime.ragged import offsets_from_lengths

NAN = math.nan
SKLEARN = {
    "standard": (preprocessing.StandardScaler, lambda s: (s.mean_, s.scale_)),
    "minmax": (preprocessing.MinMaxScaler, lambda s: (s.data_min_, 1 / s.scale_)),
    "robust": (preprocessing.RobustScaler, lambda s: (s.center_, s.scale_)),
}


# Scaler ------------------------------------------------------------------------------------------------------------


def plain_scale(column: np.ndarray, kind: str) -> tuple[float, float]:
    """(center, scale) of one column from sorted Python floats."""
    seen = sorted(float(x) for x in column if not math.isnan(x))
    if not seen or kind == "none":
        return 0.0, 1.0

    def quantile(share: float) -> float:
        at = share * (len(seen) - 1)
        low = math.floor(at)
        high = min(low + 1, len(seen) - 1)
        return seen[low] + (at - low) * (seen[high] - seen[low])

    mean = math.fsum(seen) / len(seen)
    center, scale = {
        "standard": (mean, math.sqrt(math.fsum((x - mean) ** 2 for x in seen) / len(seen))),
        "minmax": (seen[0], seen[-1] - seen[0]),
        "robust": (quantile(0.5), quantile(0.75) - quantile(0.25)),
    }[kind]
    return (center, scale) if seen[0] < seen[-1] and scale > 0 else (center, 1.0)


def columns_of(seed: int, rows: int = 57) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = np.stack(
        [
            rng.normal(size=rows) * 3 - 2,
            rng.exponential(size=rows) * 1e5,
            rng.normal(size=rows) * 1e-9,
            rng.normal(size=rows) * 0.5 + 1e6,
            np.full(rows, 0.1),  # constant, and its mean is rounded
            np.where(np.arange(rows) == 5, 3.0, 0.0),  # the middle half is constant
            np.full(rows, NAN),
            np.where(np.arange(rows) == 7, 2.5, NAN),
        ],
        axis=1,
    )
    columns[:, :4][rng.random((rows, 4)) < 0.2] = NAN
    return columns


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaler_is_a_plain_loop(kind, dtype) -> None:
    values = columns_of(0).astype(dtype)
    made = Scaler.fit(values, kind)
    assert made.center.dtype == made.scale.dtype == np.float64
    expected = np.array([plain_scale(column, kind) for column in values.T])
    # Sums in another order: a few float64 roundings of the largest number, which for the scale is the offset.
    np.testing.assert_allclose(made.center, expected[:, 0], rtol=1e-14)
    np.testing.assert_allclose(made.scale, expected[:, 1], rtol=1e-14)
    with np.errstate(invalid="ignore"):
        scaled = made.apply(values)
    assert scaled.dtype == np.float32
    assert np.isnan(scaled).tolist() == np.isnan(values).tolist()
    np.testing.assert_array_equal(scaled, ((values.astype(np.float64) - made.center) / made.scale).astype(np.float32))


@pytest.mark.parametrize("kind", list(SKLEARN))
def test_scaler_is_that_of_scikit_learn(kind) -> None:
    values = columns_of(1)[:, [0, 1, 3, 4, 5, 7]]
    build, look = SKLEARN[kind]
    center, scale = look(build().fit(values))
    made = Scaler.fit(values, kind)
    np.testing.assert_allclose(made.center, center, rtol=1e-13)  # scikit-learn sums in another order
    np.testing.assert_allclose(made.scale, scale, rtol=1e-10)  # the variance about 1e6 loses digits there


@pytest.mark.parametrize("kind", list(SKLEARN))
@pytest.mark.parametrize(("offset", "spread"), [(0, 1e-7), (0, 1e-30), (0, 1e30), (1e6, 1), (1e-8, 1e-9), (1e9, 500)])
def test_float32_of_any_size_is_scaled_as_float64(kind, offset, spread) -> None:
    values = (offset + spread * np.random.default_rng(2).normal(size=(401, 2))).astype(np.float32)
    narrow, wide = Scaler.fit(values, kind), Scaler.fit(values.astype(np.float64), kind)
    assert (narrow.center.tolist(), narrow.scale.tolist()) == (wide.center.tolist(), wide.scale.tolist())
    scaled = narrow.apply(values)
    assert 0.5 < np.ptp(scaled, axis=0).min() < 10, "of the order of 1, not left as it was"


@given(st.integers(0, 10**6), st.sampled_from(SCALES))
def test_invert_undoes_apply(seed, kind) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rng.integers(1, 20), 3)) * 10.0 ** rng.integers(-6, 6, 3) + rng.normal(size=3) * 100
    scaler = Scaler.fit(values, kind)
    scaled = scaler.apply(values)
    back = scaler.invert(scaled)
    assert back.dtype == np.float64
    # The scaled number is rounded to float32, once: half a unit in 2**23 of it, in units of the scale.
    bound = (np.abs(scaled.astype(np.float64)) * 2.0**-24) * scaler.scale + 1e-13 * np.abs(values)
    assert (np.abs(back - values) <= bound).all()


def test_scaling_broadcasts_over_leading_axes() -> None:
    values = np.random.default_rng(4).normal(size=(2, 5, 3))
    scaler = Scaler.fit(values.reshape(-1, 3), "robust")
    np.testing.assert_array_equal(scaler.apply(values).reshape(-1, 3), scaler.apply(values.reshape(-1, 3)))
    assert scaler.invert(values).shape == (2, 5, 3)


def test_a_scaler_of_no_rows_or_no_columns() -> None:
    for kind in SCALES:
        assert Scaler.fit(np.zeros((0, 2)), kind).scale.tolist() == [1, 1]
        assert Scaler.fit(np.zeros((5, 0)), kind).scale.shape == (0,)


# Missing values ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 6), max_size=7), st.integers(0, 3), st.integers(0, 999), st.booleans())
@example([0, 1, 0, 0, 3, 0], 2, 5, True)
@example([], 2, 0, True)
def test_fill_forward_is_a_plain_loop(lengths, width, seed, single) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(sum(lengths), width)).astype(np.float32 if single else np.float64)
    values[rng.random(values.shape) < 0.5] = NAN
    before = values.copy()
    expected = values.tolist()
    start = 0
    for length in lengths:
        for column in range(width):
            last = 0.0
            for row in range(start, start + length):
                if math.isnan(expected[row][column]):
                    expected[row][column] = last
                last = expected[row][column]
        start += length
    filled = fill_forward(values, offsets_from_lengths(np.array(lengths, int)))
    assert filled.dtype == values.dtype
    assert filled.tolist() == expected
    np.testing.assert_array_equal(values, before)  # not written to


# Inputs and targets ------------------------------------------------------------------------------------------------


def data_of(
    lengths,
    numbers,
    target=None,
    *,
    words=None,
    forecast=None,
    known_words=(),
    source="arrays",
) -> SequenceData:
    """Sequences with number columns "n0", "n1", ... and, of ``words`` (labels, None where missing), "word"."""
    numbers = np.asarray(numbers, dtype=np.float64)
    numbers = numbers if numbers.ndim == 2 else numbers[:, None]
    names = tuple(f"n{i}" for i in range(numbers.shape[1]))
    categories, levels, text = np.zeros((len(numbers), 0), np.int32), (), ()
    if words is not None:
        labels = sorted({word for word in words if word is not None})
        categories = np.array([[labels.index(word) if word is not None else -1] for word in words], np.int32)
        levels, text = (tuple(labels),), ("word",)
    task = "forecast" if forecast else "regress"
    if target is not None and target.kind == "category":
        task = "classify" if target.per == "sequence" else "tag"
    return SequenceData(
        offsets=offsets_from_lengths(np.array(lengths, int)),
        numbers=numbers,
        categories=categories,
        levels=levels,
        target=target,
        ids=np.array([f"s{b}" for b in range(len(lengths))], dtype=object),
        time=None,
        schema=Schema(task=task, target=target.names if target else ("y",), numbers=names, categories=text),
        forecast=forecast,
        source=source,
    )


def numbers_target(values, per="step", names=None) -> Target:
    values = np.asarray(values, dtype=np.float64)
    values = values if values.ndim == 2 else values[:, None]
    return Target(names=names or tuple(f"y{k}" for k in range(values.shape[1])), kind="number", per=per, values=values)


def label_target(labels, per="sequence") -> Target:
    levels = sorted({label for label in labels if label is not None})
    codes = np.array([levels.index(label) if label is not None else -1 for label in labels], np.int32)
    return Target(names=("y",), kind="category", per=per, values=codes, levels=tuple(levels))


def test_columns_are_targets_inputs_indicators() -> None:
    y = np.array([10.0, 12, NAN, 16, 18, 30])
    n = np.array([[1.0, 5], [2, NAN], [3, 7], [4, 8], [NAN, 9], [6, 10]])
    data = data_of([4, 2], n, numbers_target(y), forecast=Forecast(horizon=1, window=2))
    prepared = Preparation.fit(data)
    assert prepared.indicators == (0, 1, 2)
    table = np.concatenate([y[:, None], n], axis=1)
    scaled = (table - np.nanmean(table, 0)) / np.nanstd(table, 0)
    scaled[2, 0] = scaled[1, 0]  # forward
    scaled[1, 2] = scaled[0, 2]
    scaled[4, 1] = 0  # the first of its sequence: the mean
    expected = np.concatenate([scaled, np.isnan(table)], axis=1)
    made = prepared.apply(data)
    # float64 against float64, sums in another order, then one rounding to float32
    np.testing.assert_allclose(made.numbers, expected, rtol=1e-6, atol=1e-7)
    assert made.numbers.dtype == np.float32
    np.testing.assert_array_equal(made.numbers[:, 3:], np.isnan(table))


@pytest.mark.parametrize(
    ("names", "difference"),
    [(["b", "a"], "another order"), (["a", "c"], "'b' not there, 'c' besides"), (["a"], "'b' not there")],
)
def test_columns_other_than_those_of_training_are_refused(names, difference) -> None:
    steps = [np.arange(2.0 * n).reshape(n, 2) for n in (3, 4, 5)]
    prepared = Preparation.fit(from_arrays(steps, [0.0, 1.0, 2.0], names=["a", "b"]))
    other = from_arrays([step[:, : len(names)] for step in steps], [0.0, 1.0, 2.0], names=names)
    with pytest.raises(DataError, match=rf"not those that were trained on \(.*{difference}"):
        prepared.apply(other)


@pytest.mark.parametrize("forecast", [None, Forecast(horizon=2, window=3)])
def test_rows_prepared_a_few_at_a_time_are_the_same_rows(forecast, monkeypatch) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(40, 3)) * [1, 1e4, 1e-4]
    values[rng.random((40, 3)) < 0.3] = NAN
    target = numbers_target(rng.normal(size=40))
    data = data_of([17, 0, 1, 22], numbers=values, target=target, forecast=forecast)
    prepared = Preparation.fit(data)
    whole = prepared.apply(data).numbers
    monkeypatch.setattr(transforms, "ROWS_AT_A_TIME", 7)
    np.testing.assert_array_equal(prepared.apply(data).numbers, whole)


def test_preparing_a_long_table_needs_little_more_memory_than_its_result() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(200_000, 12)).astype(np.float32)
    values[::100, 3] = NAN
    data = data_of([50_000] * 4, numbers=values, target=numbers_target(values[:, 0] + values[:, 1]))
    prepared = Preparation.fit(data)
    tracemalloc.start()
    made = prepared.apply(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * made.numbers.nbytes  # float64 on the way would be 2 of them, row numbers 2 more


def test_only_columns_with_gaps_in_training_have_an_indicator() -> None:
    target = numbers_target([1.0, 2], "sequence")
    train = data_of([2, 1], [[1.0, NAN, 3], [2, 5, 4], [4, 6, 9]], target)
    prepared = Preparation.fit(train)
    assert prepared.indicators == (1,)
    later = data_of([2, 1], [[NAN, NAN, 3], [2, 5, 4], [NAN, 6, NAN]], target)
    made = prepared.apply(later).numbers
    assert made.shape == (3, 4)
    assert made[:, 3].tolist() == [1, 0, 0]
    assert made[0, 0] == made[2, 0] == made[2, 2] == 0, "a gap at the start is the mean, with or without an indicator"


def test_a_column_without_a_value_in_training() -> None:
    target = numbers_target([1.0, 2], "sequence")
    train = data_of([2, 1], [[NAN, 1.0], [NAN, 2], [NAN, 4]], target)
    prepared = Preparation.fit(train)
    assert prepared.apply(train).numbers[:, 0].tolist() == [0, 0, 0]
    assert prepared.apply(data_of([2, 1], [[3.0, 1], [NAN, 2], [7, 4]], target)).numbers[:, 0].tolist() == [3, 3, 7]


def test_labels_seen_once_missing_and_unknown_are_zero() -> None:
    target = numbers_target([1.0, 2], "sequence")
    words = ["pear", "fig", "pear", None, "fig", "lime"]
    train = data_of([4, 2], np.zeros((6, 1)), target, words=words)
    prepared = Preparation.fit(train)
    assert prepared.vocabulary == (("fig", "pear"),)
    codes = prepared.apply(train).codes
    assert codes.dtype == np.int32
    assert codes[:, 0].tolist() == [2, 1, 2, 0, 1, 0]
    other = data_of([1, 3], np.zeros((4, 1)), target, words=["apple", "pear", "lime", None])
    assert prepared.apply(other).codes[:, 0].tolist() == [0, 2, 0, 0]


def test_where_every_label_is_seen_once_all_are_kept() -> None:
    target = numbers_target([1.0, 2], "sequence")
    train = data_of([1, 2], np.zeros((3, 1)), target, words=["c", "a", None])
    assert Preparation.fit(train).vocabulary == (("a", "c"),)
    nothing = data_of([1, 2], np.zeros((3, 1)), target, words=[None, None, None])
    prepared = Preparation.fit(nothing)
    assert prepared.vocabulary == ((),)
    assert prepared.apply(train).codes.tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("per", ["sequence", "step"])
def test_classes_are_those_of_training(per) -> None:
    lengths = [1, 1, 1, 1] if per == "sequence" else [3, 1]
    whole = data_of(lengths, np.zeros((4, 1)), label_target(["x", "b", None, "x"], per))
    prepared = Preparation.fit(whole)
    assert prepared.classes == ("b", "x")
    assert prepared.outputs is None
    made = prepared.apply(whole)
    assert made.per == ("example" if per == "sequence" else "step")
    assert (made.targets.tolist(), made.targets.dtype) == ([1, 0, 0, 1], np.int32)
    assert (made.weights.tolist(), made.weights.dtype) == ([1, 1, 0, 1], np.float32)
    # The same labels have other codes in another table, and labels come back as they stood.
    other = data_of(lengths, np.zeros((4, 1)), label_target(["x", "x", "x", "x"], per))
    assert prepared.apply(other).targets.tolist() == [1, 1, 1, 1]
    assert prepared.apply(other).weights is None
    strange = data_of(lengths, np.zeros((4, 1)), label_target(["x", "a", "z", "b"], per), source="later.csv")
    assert prepared.class_indices(strange.target).tolist() == [1, UNSEEN, UNSEEN, 0]
    if per == "sequence":
        with pytest.raises(
            DataError, match="'y' in later.csv has classes that the training part never showed: 'a', 'z'"
        ):
            prepared.apply(strange)
    else:  # a rare tag has no loss, and is not a reason to stop
        assert prepared.apply(strange).weights.tolist() == [1, 0, 0, 1]
    assert prepared.apply(strange, targets=False).targets is None
    assert prepared.labels(np.array([[0.2, 0.8], [0.9, 0.1]])).tolist() == ["x", "b"]
    assert prepared.labels(np.zeros((2, 3, 2))).shape == (2, 3)


def test_fewer_than_two_classes_are_refused() -> None:
    for labels, number in ((["a", "a"], "1 class of 'y'"), ([None, None], "0 classes of 'y'")):
        with pytest.raises(DataError, match=f"the training part has {number}; at least 2"):
            Preparation.fit(data_of([1, 1], np.zeros((2, 1)), label_target(labels)))


@pytest.mark.parametrize("labels", [[b"u", b"v"], [Decimal("0.5"), Decimal("1.5")], [date.min, date.max]])
def test_labels_that_a_run_could_not_store_are_refused(labels) -> None:
    data = from_arrays([np.zeros((2, 1)), np.ones((3, 1))], np.array(labels, object))
    with pytest.raises(DataError, match=f"labels of 'y' are of the type {type(labels[0]).__name__} "):
        Preparation.fit(data)


@pytest.mark.parametrize("per", ["sequence", "step"])
def test_numeric_targets_are_scaled_and_missing_ones_weigh_nothing(per) -> None:
    lengths = [1, 1, 1, 1] if per == "sequence" else [3, 1]
    y = np.array([[1.0, 10], [2, NAN], [6, 30], [NAN, 50]])
    data = data_of(lengths, np.zeros((4, 1)), numbers_target(y, per))
    prepared = Preparation.fit(data, scale="minmax")
    made = prepared.apply(data)
    assert made.weights.tolist() == [1, 0, 1, 0]
    assert made.targets.tolist() == [[0, 0], [0, 0], [1, 0.5], [0, 0]]
    assert made.targets.dtype == np.float32
    full = data_of(lengths, np.zeros((4, 1)), numbers_target(np.arange(8.0).reshape(4, 2), per))
    assert prepared.apply(full).weights is None


def test_a_constant_target_is_centred_only() -> None:
    data = data_of([1, 2], np.zeros((3, 1)), numbers_target([7.0, 7.0], "sequence"))
    for scale in ("standard", "minmax", "robust"):
        prepared = Preparation.fit(data, scale=scale)
        assert prepared.apply(data).targets.tolist() == [[0], [0]]
        assert prepared.outputs.invert(np.zeros((2, 1))).tolist() == [[7], [7]]


def test_what_apply_refuses() -> None:
    data = data_of([1, 2], np.ones((3, 1)), numbers_target([7.0, 8.0], "sequence"))
    prepared = Preparation.fit(data)
    without = data_of([1, 2], np.ones((3, 1)), None, source="new.csv")
    with pytest.raises(DataError, match="the target column 'y0' is not in new.csv"):
        prepared.apply(without)
    assert prepared.apply(without, targets=False).targets is None
    with pytest.raises(DataError, match="answers once a sequence, and 'y0' in new.csv is one a step"):
        prepared.apply(data_of([1, 2], np.ones((3, 1)), numbers_target([1.0, 2, 3]), source="new.csv"))
    with pytest.raises(DataError, match="no target column; name it"):
        Preparation.fit(without)
    with pytest.raises(ArgumentError, match="Did you mean 'robust'"):
        Preparation.fit(data, scale="robst")
    with pytest.raises(ArgumentError, match="missing='fil' is not accepted"):
        Preparation.fit(data, missing="fil")


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_values_are_refused_by_name_and_place(value) -> None:
    clean = data_of([2, 2], np.arange(8.0).reshape(4, 2), numbers_target([1.0, 2, 3, 5]))
    bad = data_of([2, 2], [[0, 1], [2, 3], [4, value], [6, value]], numbers_target([1.0, 2, 3, 5]), source="t.csv")
    where = "column 'n1' of t.csv has 2 infinite values, the first at time step 2"
    with pytest.raises(DataError, match=where):
        Preparation.fit(bad)
    with pytest.raises(DataError, match=where):
        Preparation.fit(clean).apply(bad)
    with pytest.raises(DataError, match="column 'y0' of arrays has 1 infinite values, the first at time step 3"):
        Preparation.fit(data_of([2, 2], np.ones((4, 1)), numbers_target([1.0, 2, 3, value])))


def test_missing_refused() -> None:
    target = numbers_target([1.0, 2], "sequence")
    gaps = data_of([1, 2], [[1.0, 1], [2, NAN], [3, 4]], target, source="gaps.csv")
    whole = data_of([1, 2], [[1.0, 1], [2, 3], [3, 4]], target)
    with pytest.raises(DataError, match="missing values in 'n1', and missing='refuse' was asked for"):
        Preparation.fit(gaps, missing="refuse")
    prepared = Preparation.fit(whole, missing="refuse")
    with pytest.raises(DataError, match="missing value in column 'n1' of gaps.csv, row 1, and the network was trained"):
        prepared.apply(gaps)
    assert prepared.apply(whole).numbers.shape == (3, 2)


# Forecast windows --------------------------------------------------------------------------------------------------


def windows_by_loop(lengths, values, window, horizon) -> list[tuple[int, list[float]]]:
    """(first row, weight of each step of the horizon) of every window that has a target to learn."""
    found, first = [], 0
    for length in lengths:
        for start in range(length):
            ahead = range(start + window, start + window + horizon)
            if ahead[-1] >= length:
                break
            weights = [float(not any(math.isnan(x) for x in values[first + t])) for t in ahead]
            if any(weights):
                found.append((first + start, weights))
        first += length
    return found


@given(
    st.lists(st.integers(0, 14), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.integers(0, 99),
)
@example([14, 3, 0, 6], 3, 2, 2, 0.3, 1)
def test_windows_are_those_of_a_plain_loop(lengths, window, horizon, targets, gaps, seed) -> None:
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    values = rng.normal(size=(steps, targets)) * 3 + 5
    values[rng.random(values.shape) < gaps] = NAN
    data = data_of(
        lengths, rng.normal(size=(steps, 1)), numbers_target(values), forecast=Forecast(horizon=horizon, window=window)
    )
    expected = windows_by_loop(lengths, values.tolist(), window, horizon)
    prepared = Preparation.fit(data)
    if not expected:
        long_enough = max(lengths) >= window + horizon
        with pytest.raises(DataError, match="no window of" if long_enough else "is as long as window"):
            prepared.apply(data)
        return
    made = prepared.apply(data)
    assert (made.per, made.horizon) == ("horizon", horizon)
    assert made.starts.tolist() == [start for start, _ in expected]
    assert made.lengths.tolist() == [window] * len(expected)
    ahead = made.starts[:, None] + window + np.arange(horizon)
    assert made.weights[ahead].tolist() == [weights for _, weights in expected]
    # No memory a window: the arrays are one row a time step.
    assert len(made.numbers) == len(made.targets) == len(made.weights) == steps
    known = ~np.isnan(values).any(1)
    np.testing.assert_array_equal(made.targets[known], prepared.outputs.apply(values[known]))
    assert not made.targets[~known].any()
    # The past of a target and the target are scaled alike.
    np.testing.assert_array_equal(made.numbers[known, :targets], made.targets[known])


def test_windows_share_memory() -> None:
    forecast = Forecast(horizon=3, window=5)
    data = data_of([40, 3, 30], np.ones((73, 2)), numbers_target(np.arange(73.0)), forecast=forecast)
    whole = Preparation.fit(data).apply(data)
    some = whole.take(np.array([4, 0, 9]))
    assert some.starts.tolist() == whole.starts[[4, 0, 9]].tolist()
    assert len(some) == 3
    for name in ("numbers", "codes", "targets", "weights"):
        assert getattr(some, name) is getattr(whole, name), name


def test_take_of_examples_moves_their_targets() -> None:
    y = np.array([[3.0], [NAN], [5], [9]])
    data = data_of([1, 2, 0, 3], np.ones((6, 1)), numbers_target(y, "sequence"))
    whole = Preparation.fit(data, scale="none").apply(data)
    some = whole.take(np.array([3, 1]))
    assert some.targets.tolist() == [[9], [0]]
    assert some.weights.tolist() == [1, 0]
    assert some.lengths.tolist() == [3, 2]
    assert np.shares_memory(some.numbers, whole.numbers)


def test_known_columns_are_found_with_their_indicators() -> None:
    forecast = Forecast(horizon=2, window=3, known=("n1", "word"))
    n = np.arange(40.0).reshape(20, 2)
    n[4, 0] = n[6, 1] = NAN
    data = data_of([20], n, numbers_target(np.arange(20.0)), words=["a", "b"] * 10, forecast=forecast)
    made = Preparation.fit(data).apply(data)
    # columns: y0, n0, n1, (n0 missing), (n1 missing)
    assert made.known_numbers == (2, 4)
    assert made.known_codes == (0,)


def test_the_window_is_settled_from_training() -> None:
    t = np.arange(400)
    series = np.sin(2 * np.pi * t / 20)
    data = data_of([400], np.zeros((400, 0)), numbers_target(series), forecast=Forecast(horizon=4))
    prepared = Preparation.fit(data)
    assert (prepared.season, prepared.forecast.window) == (20, 60)
    kept = Preparation.fit(replace(data, forecast=Forecast(horizon=4, window=7)))
    assert (kept.season, kept.forecast.window) == (20, 7)


# The latest window -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(3, 12), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 99))
def test_latest_ends_with_the_last_observed_target(lengths, window, seed) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(sum(lengths), 2))
    values[rng.random(values.shape) < 0.4] = NAN
    values[np.cumsum(lengths) - lengths + window - 1, 0] = 1.5  # each series is long enough
    forecast = Forecast(horizon=5, window=window)
    data = data_of(lengths, np.zeros((sum(lengths), 0)), numbers_target(values), forecast=forecast)
    train = data_of([50], np.zeros((50, 0)), numbers_target(rng.normal(size=(50, 2))), forecast=forecast)
    prepared = Preparation.fit(train)
    made, rows = prepared.latest(data)
    first = 0
    for b, length in enumerate(lengths):
        last = max(t for t in range(length) if not all(math.isnan(x) for x in values[first + t]))
        assert rows[b] == first + last
        assert (made.starts[b], made.lengths[b]) == (first + last - window + 1, window)
        first += length
    assert made.targets is None
    assert made.horizon == 5


def test_latest_refuses_what_it_cannot_forecast_from() -> None:
    forecast = Forecast(horizon=2, window=3, known=("n0",))
    train = data_of([20], np.arange(20.0), numbers_target(np.arange(20.0)), forecast=forecast)
    prepared = Preparation.fit(train)
    short = data_of([5, 4], np.zeros(9), numbers_target([1, 2, 3, NAN, NAN, 1, 2, NAN, NAN]), forecast=forecast)
    with pytest.raises(DataError, match="series 's1' has 2 observed steps, and the network looks back 3"):
        prepared.latest(short)
    nothing = data_of([5, 3], np.zeros(8), numbers_target([1, 2, 3, NAN, NAN, NAN, NAN, NAN]), forecast=forecast)
    with pytest.raises(DataError, match="series 's1' has 0 observed steps"):
        prepared.latest(nothing)
    numbered = replace(short, ids=np.arange(2))
    with pytest.raises(DataError, match="series 1 has 2 observed steps"):
        prepared.latest(numbered)
    ends = data_of([5, 4], np.zeros(9), numbers_target([1, 2, 3, NAN, NAN, 1, 2, 3, NAN]), forecast=forecast)
    with pytest.raises(DataError, match="series 's1' ends 1 step after its last target, and 'n0' must be known"):
        prepared.latest(ends)
    enough = data_of([5], np.zeros(5), numbers_target([1, 2, 3, NAN, NAN]), forecast=forecast)
    made, rows = prepared.latest(enough)
    assert (made.known_numbers, rows.tolist()) == ((1,), [2])
    blind = replace(enough, target=None, source="no_past.csv")
    with pytest.raises(DataError, match="no_past.csv has no column 'y0': a forecast goes on from its last values"):
        prepared.latest(blind)
    with pytest.raises(DataError, match="'y0' is not in no_past.csv"):
        prepared.apply(blind)


# To disk and back --------------------------------------------------------------------------------------------------


def bits(examples: Examples) -> dict[str, object]:
    """Everything a network could learn from, to the last bit."""
    arrays = {name: value for name, value in vars(examples).items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in vars(examples).items() if name not in arrays}
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()} | rest


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("task", ["classify", "tag", "regress", "forecast"])
def test_json_gives_back_the_same_bits(task, scale) -> None:
    rng = np.random.default_rng(6)
    lengths = [30, 1, 0, 9]
    numbers = rng.normal(size=(40, 3)) * [1e-7, 1, 1e7] / 3
    numbers[rng.random(numbers.shape) < 0.2] = NAN
    words = rng.choice(np.array(["naïve", "b", None], dtype=object), 40)
    forecast = None
    if task == "classify":
        target = label_target([True, False, None, True])
    elif task == "tag":
        target = label_target(rng.integers(-3, 3, 40).tolist(), "step")
    elif task == "regress":
        target = numbers_target(rng.normal(size=(4, 2)) / 7, "sequence")
    else:
        target = numbers_target(rng.normal(size=40) / 7)
        forecast = Forecast(horizon=np.int64(2), window=np.int64(3), known=("n1", "word"))
    data = data_of(lengths, numbers, target, words=words, forecast=forecast)
    prepared = Preparation.fit(data, scale=scale)
    stored = json.loads(json.dumps(prepared.to_json(), allow_nan=False))
    back = Preparation.from_json(stored)
    assert bits(back.apply(data)) == bits(prepared.apply(data))
    assert json.dumps(back.to_json()) == json.dumps(prepared.to_json())
    assert back.classes == prepared.classes
    assert [type(label) for label in back.classes] == [type(label) for label in prepared.classes]
    assert (back.schema, back.forecast) == (prepared.schema, prepared.forecast)
    if back.outputs is not None:
        assert back.outputs.invert(np.ones(1)).tobytes() == prepared.outputs.invert(np.ones(1)).tobytes()


@pytest.mark.parametrize(
    "labels", [np.array([2, 0, 2]), np.array(["a", "b", "a"]), [True, False, True], [0.5, 1.5, 0.5]], ids=range(4)
)
def test_classes_of_arrays_go_to_disk(labels) -> None:
    data = from_arrays([np.ones((2, 1)), np.zeros((1, 1)), np.ones((3, 1))], labels, task="classify")
    prepared = Preparation.fit(data)
    back = Preparation.from_json(json.loads(json.dumps(prepared.to_json())))
    assert back.classes == prepared.classes
    assert bits(back.apply(data)) == bits(prepared.apply(data))


# Leakage -----------------------------------------------------------------------------------------------------------
#
# Read, split, fit, apply; then change everything outside of the training part and do it all again: not one bit of what
# training sees may move.

Table = dict[str, np.ndarray]
LEAKS = {
    "forecast, own history": {"task": "forecast", "split": {"by": "time", "history": "own"}},
    "forecast, shared history": {"task": "forecast", "split": {"by": "time", "history": "shared"}},
    "a number a step, in time": {"task": "regress", "split": {"by": "time"}},
    "a label a step, in time": {"task": "tag", "split": {"by": "time"}},
    "a label a sequence": {"task": "classify", "split": {"by": "sequence", "stratify": False}},
    "a label a sequence, stratified": {"task": "classify", "split": {"by": "sequence", "stratify": True}},
    "a number a sequence": {"task": "regress", "split": {"by": "sequence"}},
}


def table_of(rng: np.random.Generator, *, task: str, in_time: bool) -> Table:
    """A long table, its rows shuffled, with gaps; the series of a forecast have a season."""
    lengths = rng.integers(30, 80, rng.integers(1, 4)) if in_time else rng.integers(1, 8, rng.integers(14, 24))
    who = np.repeat(np.arange(len(lengths)), lengths)
    at = np.concatenate([np.arange(length) for length in lengths])
    rows = len(who)
    x = rng.normal(size=(rows, 3)) * [1, 1e3, 1e-3] + [0, 5e3, 0]
    x[rng.random(x.shape) < rng.choice([0, 0.2])] = NAN
    word = rng.choice(np.array(["red", "green", "blue", "grey"], dtype=object), rows)
    word[rng.random(rows) < 0.1] = None
    per_row = np.sin(2 * np.pi * at / rng.integers(3, 7)) + 0.3 * rng.normal(size=rows) + who
    if task == "forecast":
        y = np.where(rng.random(rows) < rng.choice([0, 0.1]), NAN, per_row)
    elif task == "tag":
        y = np.where(per_row > np.median(per_row), "up", "down").astype(object)
    elif in_time:
        y = per_row
    elif task == "classify":
        y = np.array(["a", "b", "c"], dtype=object)[who % 3]
    else:
        y = (rng.normal(size=len(lengths)) * 10)[who]
    columns = {"who": who, "at": at, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2], "word": word, "y": y}
    order = rng.permutation(rows)
    return {name: column[order] for name, column in columns.items()}


def changed(table: Table, outside: np.ndarray, rng: np.random.Generator, *, targets: str | None) -> Table:
    """The table with other values in the rows ``outside``: huge ones, gaps, labels that were never seen.

    ``targets`` that change: "past" (with gaps), one a "step", one a "sequence", or None.
    """
    made = {name: column.copy() for name, column in table.items()}
    count = int(outside.sum())

    def wild(size: int) -> np.ndarray:
        values = rng.normal(size=size) * 10.0 ** rng.integers(-30, 30, size)
        return np.where(rng.random(size) < rng.choice([0, 0.3, 1]), NAN, values)

    for name in ("x0", "x1", "x2"):
        made[name][outside] = wild(count)
    # Labels before and behind those of training, so that a code by rank moves, and some of training's own.
    names = np.array(["aaa", "zzz", "mmm", "red", None, *(f"only {i}" for i in range(5))], dtype=object)
    made["word"][outside] = rng.choice(names, count)
    if targets is not None:
        place = table["who"][outside] if targets == "sequence" else np.arange(count)
        size = int(place.max(initial=0)) + 1
        if table["y"].dtype == object:
            made["y"][outside] = rng.choice(np.array(["A new class", "z", "a", "b"], dtype=object), size)[place]
        else:
            values = wild(size)
            made["y"][outside] = (values if targets == "past" else np.nan_to_num(values, nan=1e9))[place]
    return made


def learn(
    table: Table, *, task: str, window: int | None, scale: str, split: dict
) -> tuple[SequenceData, str, dict[str, object]]:
    extra = {"horizon": 2, "window": window, "known": "x1"} if task == "forecast" else {}
    whole = read_table(pa.table(table), target="y", sequence="who", time="at", task=task, **extra)
    train, _, _ = whole.split(validation=0.2, test=0.2, **split)
    prepared = Preparation.fit(train, scale=scale)
    # Scalers, vocabulary, classes, season and window, each float written so that it comes back to the bit.
    return train, json.dumps(prepared.to_json()), bits(prepared.apply(train))


@pytest.mark.parametrize("case", list(LEAKS))
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([None, 3]), scale=st.sampled_from(SCALES))
def test_nothing_leaks_from_validation_and_test_into_training(case, seed, window, scale) -> None:
    task, split = LEAKS[case]["task"], LEAKS[case]["split"]
    rng = np.random.default_rng(seed)
    table = table_of(rng, task=task, in_time=split["by"] == "time")
    arguments = {"task": task, "window": window, "scale": scale, "split": split}
    train, prepared, examples = learn(table, **arguments)
    inside = set(zip(np.repeat(train.ids, train.lengths).tolist(), train.time.tolist(), strict=True))
    outside = np.array([key not in inside for key in zip(table["who"], table["at"], strict=True)])
    assert outside.any()
    assert (~outside).sum() == len(inside)
    targets = "past" if task == "forecast" else "step" if split["by"] == "time" else "sequence"
    # A stratified draw depends on the labels of all sequences by definition, so there the labels stay. What is drawn is
    # then checked to be as it was; everything else of the other parts is changed as ever.
    other = changed(table, outside, rng, targets=None if split.get("stratify") else targets)
    again, prepared_again, examples_again = learn(other, **arguments)
    assert again.ids.tolist() == train.ids.tolist()
    assert prepared_again == prepared
    for name, value in examples.items():
        assert examples_again[name] == value, name
    assert examples_again.keys() == examples.keys()


def test_the_leakage_test_changes_what_it_should() -> None:
    """The perturbation reaches the other parts: what is fitted on all rows does move."""
    rng = np.random.default_rng(0)
    table = table_of(rng, task="forecast", in_time=True)
    other = changed(table, table["at"] >= 20, rng, targets="past")
    arguments = {"target": "y", "sequence": "who", "time": "at", "horizon": 2, "window": 3}
    whole = [read_table(pa.table(columns), **arguments) for columns in (table, other)]
    one, two = (json.loads(json.dumps(Preparation.fit(data).to_json())) for data in whole)
    assert one["inputs"]["center"] != two["inputs"]["center"]
    assert one["outputs"] != two["outputs"]
    assert one["vocabulary"] != two["vocabulary"]


def test_missing_categories_are_refused_as_missing_numbers_are() -> None:
    table = pa.table({"id": [0, 0, 1, 1], "word": ["a", None, "b", "a"], "y": ["u", "u", "v", "v"]})
    data = read_table(table, sequence="id", target="y")
    with pytest.raises(DataError, match="missing values in 'word' of"):
        Preparation.fit(data, missing="refuse")
    assert Preparation.fit(data, missing="fill").apply(data).codes[1, 0] == 0
