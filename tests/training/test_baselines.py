"""Baselines against plain loops, and that none of them looks beyond the origin of its forecast."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import cases
import numpy as np
import pytest

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import SequenceData
from throughtime.data.transforms import Preparation
from throughtime.ragged import Ragged
from throughtime.training import baselines
from throughtime.training.baselines import FOREST, NEAREST, Baselines, evenly


def fitted(train: SequenceData, scale: str = "standard") -> tuple[Preparation, Baselines]:
    preparation = Preparation.fit(train, scale=scale)
    return preparation, Baselines.fit(preparation, train, preparation.apply(train))


def answers(train: SequenceData, data: SequenceData, scale: str = "standard") -> dict[str, np.ndarray]:
    preparation, made = fitted(train, scale)
    return made.predict(preparation, data, preparation.apply(data))


def labelled(labels: list, lengths: list[int]) -> SequenceData:
    return from_arrays(Ragged.from_lengths(np.arange(sum(lengths), dtype=float), lengths), labels, task="classify")


def seasonal(
    lengths: list[int], *, season: int = 5, horizon: int = 3, window: int = 6, targets: int = 1, seed: int = 0
):
    """Series that repeat themselves with some noise, each on a level of its own."""
    rng = np.random.default_rng(seed)
    pattern = rng.normal(0, 10, (season, targets))
    made = [
        100 * (b + 1) + pattern[np.arange(length) % season] + rng.normal(0, 0.5, (length, targets))
        for b, length in enumerate(lengths)
    ]
    return from_arrays(made, horizon=horizon, window=window)


# One answer for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "most"),
    [(["b", "a", "b", "c"], "b"), (["c", "b", "b", "c", "a"], "b"), (["z", "y"], "y"), ([3, 1, 3, None, None], 3)],
)
def test_the_majority_is_the_first_of_the_most_frequent_classes(labels: list, most: object) -> None:
    train = labelled(labels, list(range(1, len(labels) + 1)))
    preparation, made = fitted(train)
    assert preparation.classes[made.majority] == most
    other = labelled(sorted({label for label in labels if label is not None}), [1] * len(preparation.classes))
    found = made.predict(preparation, other, preparation.apply(other))
    assert list(found) == [f"most frequent class ({most})", FOREST, NEAREST]
    values = found[f"most frequent class ({most})"]
    assert values.argmax(1).tolist() == [preparation.classes.index(most)] * len(other)
    assert (values.sum(1) == 1).all()


def test_the_majority_of_labels_a_step_counts_steps_that_have_a_label() -> None:
    labels = [[2, 2, 2], [1], [None, None, None, None, 1, 1, 1]]
    train = from_arrays([np.ones((3, 1)), np.ones((1, 1)), np.ones((7, 1))], Ragged.from_list(labels), task="tag")
    preparation, made = fitted(train)
    assert preparation.classes == (1, 2)
    assert made.majority == 0
    (found,) = made.predict(preparation, train, preparation.apply(train)).values()
    assert found.tolist() == [[1, 0]] * 11


@pytest.mark.parametrize("task", ["regress", "steps"])
@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_the_training_mean_is_in_the_units_of_the_target(task: str, scale: str) -> None:
    train, other = cases.sequences(task), cases.sequences(task, (2, 3, 4), seed=5)
    train.target.values[[1, 3], 1] = np.nan
    train.target.values[0, 0] = np.nan
    found = answers(train, other, scale)
    assert list(found) == (["training mean"] if task == "steps" else ["training mean", FOREST, NEAREST])
    expected = []
    for k in range(2):
        known = [value for value in train.target.values[:, k].tolist() if not math.isnan(value)]
        expected.append(math.fsum(known) / len(known))
    rows = 9 if task == "steps" else 3
    # Float64 sums in another order.
    np.testing.assert_allclose(found["training mean"], [expected] * rows, rtol=1e-12)


# Forecasts ----------------------------------------------------------------------------------------------------------


def last_observed(series: list[float], origin: int, otherwise: float) -> float:
    for step in range(origin, -1, -1):
        if not math.isnan(series[step]):
            return series[step]
    return otherwise


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "none"])
def test_last_value_and_seasonal_naive_by_plain_loops(scale: str) -> None:
    train = seasonal([80, 40], targets=2)
    preparation, made = fitted(train, scale)
    assert made.season == preparation.season == 5
    # Horizons of more than a season, windows of less than one, series that start just before the window ends.
    horizon, window = 12, 2
    train = replace(train, forecast=replace(train.forecast, horizon=horizon, window=window))
    other = seasonal([22, 15, 14, 30], targets=2, horizon=horizon, window=window, seed=4)
    rng = np.random.default_rng(1)
    other.target.values[rng.random(other.target.values.shape) < 0.2] = np.nan
    other.target.values[22:27, 0] = np.nan  # the second series begins with missing values
    preparation, made = fitted(train, scale)
    examples = preparation.apply(other)
    found = made.predict(preparation, other, examples)
    assert list(found) == ["last value", "seasonal naive (5)", "linear on the window"]
    mean = train.target.values.mean(0)
    origins = []
    for b in range(4):
        series = other.target.values[other.offsets[b] : other.offsets[b + 1]]
        origins += [(b, series, origin) for origin in range(window - 1, len(series) - horizon)]
    kept = [(s, o) for _, s, o in origins if np.isfinite(s[o + 1 : o + 1 + horizon]).all(1).any()]
    assert len(kept) == len(examples)
    for e, (series, origin) in enumerate(kept):
        for k in range(2):
            column = series[:, k].tolist()
            last = last_observed(column, origin, mean[k])
            for h in range(1, horizon + 1):
                # Float64: the mean is subtracted to fill and added again.
                assert found["last value"][e, h - 1, k] == pytest.approx(last, rel=1e-12)
                step = origin + h
                while step > origin:
                    step -= 5
                # Before the series began there is no season ago, and the last value stands in.
                expected = last_observed(column, step if step >= 0 else origin, mean[k])
                assert found["seasonal naive (5)"][e, h - 1, k] == pytest.approx(expected, rel=1e-12)


def test_without_a_season_there_is_no_seasonal_naive() -> None:
    rng = np.random.default_rng(0)
    train = from_arrays([np.cumsum(rng.normal(size=60))], horizon=3, window=6)
    assert fitted(train)[1].season == 1
    assert list(answers(train, train)) == ["last value", "linear on the window"]


@pytest.mark.parametrize("known", [(), ("price",)])
@pytest.mark.parametrize("scale", ["standard", "none"])
def test_linear_is_ridge_regression_on_the_window(known: tuple[str, ...], scale: str) -> None:
    train, other = cases.series((60, 40), known=known), cases.series((20,), known=known, seed=9)
    train.target.values[5:7, 1] = np.nan
    train.target.values[30, :] = np.nan
    preparation = Preparation.fit(train, scale=scale)
    window, horizon = 6, 3

    def ones(data: SequenceData, steps: range) -> list[list[float]]:
        """Each category of each step as ones and zeros, unknown first."""
        return [
            [float(place == (seen.index(label) + 1 if label in seen else 0)) for place in range(len(seen) + 1)]
            for column, seen in enumerate(preparation.vocabulary)
            for label in (data.levels[column][data.categories[step, column]] for step in steps)
        ]  # fmt: skip

    def rows(data: SequenceData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, last values and changes of each window, by plain loops over scaled columns that were filled."""
        columns = np.concatenate([data.target.values, data.numbers], axis=1)
        scaled = (columns - preparation.inputs.center) / preparation.inputs.scale
        inputs, lasts, changes = [], [], []
        for start, stop in zip(data.offsets[:-1], data.offsets[1:], strict=True):
            part, gaps = scaled[start:stop].copy(), np.isnan(scaled[start:stop])
            for t in range(len(part)):
                part[t][gaps[t]] = part[t - 1][gaps[t]] if t else 0.0
            part = np.concatenate([part, gaps[:, preparation.indicators].astype(float)], axis=1)
            for t in range(len(part) - window - horizon + 1):
                seen, ahead = part[t : t + window].copy(), part[t + window : t + window + horizon]
                last = seen[-1, :2].copy()
                seen[:, :2] -= last
                steps = range(start + t, start + t + window)
                inputs.append(np.concatenate([seen.reshape(-1), ahead[:, 2] if known else [], *ones(data, steps)]))
                lasts.append(last)
                changes.append((ahead[:, :2] - last).reshape(-1))
        return np.array(inputs), np.array(lasts), np.array(changes)

    inputs, _, changes = rows(train)
    # Ridge as least squares: a row sqrt(alpha) for each coefficient; none for the intercept, the column of ones.
    width = inputs.shape[1]
    augmented = np.block([[inputs, np.ones((len(inputs), 1))], [np.eye(width), np.zeros((width, 1))]])
    coefficients = np.linalg.lstsq(augmented, np.vstack([changes, np.zeros((width, changes.shape[1]))]), rcond=None)[0]
    seen, last, _ = rows(other)
    change = (np.column_stack([seen, np.ones(len(seen))]) @ coefficients).reshape(-1, horizon, 2)
    expected = (change + last[:, None]) * preparation.outputs.scale + preparation.outputs.center
    found = answers(train, other, scale)["linear on the window"]
    assert found.shape == expected.shape
    # The fit and its inputs are float32; the answers are compared in units of the spread of each target.
    np.testing.assert_allclose(found / expected.std((0, 1)), expected / expected.std((0, 1)), rtol=1e-4, atol=1e-3)


def test_linear_takes_the_past_targets_alone_where_the_window_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.series((60,))
    monkeypatch.setattr(baselines, "LINEAR_INPUTS", 6 * 4 - 1)
    preparation, made = fitted(data)
    # The past of two targets, and the categories of the last step, of which there are 3 + 1 and 5 + 1.
    assert made.coefficients.shape == (6 * 2 + 10 + 1, 3 * 2)
    other = cases.series((60,))
    other.numbers[:] += 100.0
    one, two = (made.predict(preparation, d, preparation.apply(d)) for d in (data, other))
    np.testing.assert_array_equal(one["linear on the window"], two["linear on the window"])


def test_linear_is_fitted_on_windows_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evenly(5, 9).tolist() == evenly(5, 5).tolist() == [0, 1, 2, 3, 4]
    chosen = evenly(1000, 7)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 999, 7)
    assert np.ptp(np.diff(chosen)) <= 1
    monkeypatch.setattr(baselines, "LINEAR_WINDOWS", 20)
    few = fitted(cases.series((60,)))[1].coefficients
    monkeypatch.setattr(baselines, "LINEAR_WINDOWS", 10_000)
    assert (few != fitted(cases.series((60,)))[1].coefficients).any()


@pytest.mark.parametrize("known", [(), ("price",)])
def test_no_baseline_looks_beyond_the_origin(known: tuple[str, ...]) -> None:
    train = seasonal([80], window=6)
    rng = np.random.default_rng(2)
    train = replace(
        train, numbers=rng.normal(size=(80, 2)), schema=replace(train.schema, numbers=("price", "rain")),
        forecast=replace(train.forecast, known=known),
    )  # fmt: skip
    preparation, made = fitted(train)
    origin = 40
    example = preparation.apply(train).take(np.array([origin - 5]))
    before = made.predict(preparation, train, example)
    assert len(before) == 3
    later = replace(
        train, numbers=train.numbers.copy(), target=replace(train.target, values=train.target.values.copy())
    )
    later.target.values[origin + 1 :] = rng.normal(size=(80 - origin - 1, 1)) * 1e3
    later.target.values[origin + 3 :] = np.nan
    later.numbers[origin + 1 :, 1] = 99.0
    if not known:
        later.numbers[origin + 1 :, 0] = -99.0
    after = made.predict(preparation, later, preparation.apply(later).take(np.array([origin - 5])))
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, name)
    # The other way round: all of them use what lies before, so the comparison is able to fail.
    later.target.values[: origin + 1] += 1.0
    moved = made.predict(preparation, later, preparation.apply(later).take(np.array([origin - 5])))
    assert all((moved[name] != values).all() for name, values in before.items())


def test_baselines_of_a_series_take_nothing_from_its_neighbour() -> None:
    train = seasonal([60, 40, 30])
    preparation, made = fitted(train)
    alone = [train.take([b]) for b in range(3)]
    apart = [made.predict(preparation, data, preparation.apply(data)) for data in alone]
    together = made.predict(preparation, train, preparation.apply(train))
    for name, values in together.items():
        # Matrix products of float32 over another number of rows.
        np.testing.assert_allclose(values, np.concatenate([part[name] for part in apart]), rtol=1e-5)


# To disk ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", cases.TASKS)
def test_baselines_survive_being_stored(task: str) -> None:
    data = cases.made(task)
    preparation, made = fitted(data)
    file = io.BytesIO()
    np.savez(file, **made.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = Baselines.from_arrays({name: stored[name] for name in stored.files})
    assert (again.majority, again.season) == (made.majority, made.season)
    assert type(again.season) is int
    examples = preparation.apply(data)
    before, after = (each.predict(preparation, data, examples) for each in (made, again))
    assert list(before) == list(after)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)


def test_baselines_of_the_first_versions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of then hold no more than these arrays, and the linear model saw numbers alone."""
    data = cases.series((60, 40), known=("price", "shop"))
    preparation, made = fitted(data)
    examples = preparation.apply(data)
    width = 6 * examples.numbers.shape[1] + 3 * len(examples.known_numbers)
    coefficients = np.random.default_rng(0).normal(size=(width + 1, 3 * 2)).astype(np.float32)
    old = Baselines.from_arrays({"season": np.array(1), "mean": made.mean, "coefficients": coefficients})
    found = old.predict(preparation, data, examples)["linear on the window"]
    inputs = np.stack([examples.numbers[s : s + 6] for s in examples.starts])
    last = inputs[:, -1:, :2].copy()
    inputs[:, :, :2] -= last
    ahead = np.stack([examples.numbers[s + 6 : s + 9, 2] for s in examples.starts])
    change = np.concatenate([inputs.reshape(len(inputs), -1), ahead], axis=1) @ coefficients[:-1] + coefficients[-1]
    expected = preparation.outputs.invert(change.reshape(-1, 3, 2) + last)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    few = Baselines.from_arrays({"season": np.array(1), "majority": np.array(1)})
    labels = cases.made("classify")
    preparation = Preparation.fit(labels)
    assert list(few.predict(preparation, labels, preparation.apply(labels))) == ["most frequent class (mid)"]
    mean = Baselines.from_arrays({"season": np.array(1), "mean": np.array([1.0, 2.0])})
    numbers = cases.made("regress")
    preparation = Preparation.fit(numbers)
    assert list(mean.predict(preparation, numbers, preparation.apply(numbers))) == ["training mean"]


# Sequences ----------------------------------------------------------------------------------------------------------


def turning(count: int, seed: int, share: float = 0.08) -> SequenceData:
    """A few of the sequences turn down at the end; a mean alone does not tell, the ends do."""
    rng = np.random.default_rng(seed)
    labels = ["fail" if i < share * count else "ok" for i in range(count)]
    walks = [np.cumsum(rng.normal(0, 0.1, (rng.integers(20, 40), 1)), axis=0) for _ in labels]
    for walk, label in zip(walks, labels, strict=True):
        if label == "fail":
            walk[-5:] -= np.linspace(1, 4, 5)[:, None]
    return from_arrays(walks, labels)


def test_a_forest_finds_what_simple_features_show() -> None:
    found = answers(turning(200, 0), turning(100, 1))
    truth = np.array([0] * 8 + [1] * 92)
    assert (found["most frequent class (ok)"].argmax(1) == truth).mean() == 0.92
    assert (found[FOREST].argmax(1) == truth).mean() >= 0.98
    assert (found[NEAREST].argmax(1) == truth).mean() >= 0.98
    np.testing.assert_allclose(found[FOREST].sum(1), 1, atol=1e-6)


def test_numbers_a_sequence_have_a_forest_and_a_nearest_sequence_in_their_units() -> None:
    rng = np.random.default_rng(0)
    made = []
    for seed in (0, 1):
        slopes = np.random.default_rng(seed).uniform(-1, 1, 150)
        steps = [np.arange(rng.integers(18, 25))[:, None] * slope for slope in slopes]
        made.append(from_arrays(steps, np.stack([1e6 * slopes, 3 + slopes], 1), task="regress"))
    found = answers(*made)
    truth = made[1].target.values
    naive = ((found["training mean"] - truth) ** 2).mean(0)
    for name in (FOREST, NEAREST):
        assert found[name].shape == truth.shape
        assert (((found[name] - truth) ** 2).mean(0) < 0.1 * naive).all(), name


def test_a_sequence_without_a_label_teaches_nothing() -> None:
    train = turning(60, 0)
    known = np.flatnonzero(np.arange(60) % 3 > 0)
    train.target.values[np.arange(60) % 3 == 0] = -1
    other = turning(30, 1)
    # Scaled by the same preparation: inputs of all sequences are seen, whatever their label.
    preparation, made = fitted(train)
    kept = train.take(known)
    again = Baselines.fit(preparation, kept, preparation.apply(kept))
    examples = preparation.apply(other)
    one, two = (each.predict(preparation, other, examples) for each in (made, again))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], name)


@pytest.mark.parametrize("task", ["classify", "regress", "tag", "steps", "forecast"])
def test_baselines_are_of_the_training_part_alone(task: str) -> None:
    """Whatever the rows of other parts hold, what was fitted is the same bits, and what it answers for one sequence
    does not depend on the others that are asked about.
    """
    train, other = cases.made(task), cases.made(task, seed=4)
    made = fitted(train)[1]
    stored = {name: values.copy() for name, values in made.arrays().items()}
    preparation = Preparation.fit(train)
    made.predict(preparation, other, preparation.apply(other))
    other.numbers[:] = 1e3
    made.predict(preparation, other, preparation.apply(other))
    for name, values in made.arrays().items():
        np.testing.assert_array_equal(values, stored[name], name)
    if task in ("classify", "regress"):
        other = cases.made(task, seed=4)
        whole = made.predict(preparation, other, preparation.apply(other))
        for b in (1, 2):
            alone = other.take([b])
            for name, values in made.predict(preparation, alone, preparation.apply(alone)).items():
                np.testing.assert_allclose(values[0], whole[name][b], rtol=1e-6)


def test_linear_sees_categories_of_the_window_and_those_known_ahead() -> None:
    """The next value depends on a category of the last step, or of the step ahead: only who sees it can be right."""
    rng = np.random.default_rng(0)
    for known in ((), ("day",)):
        made = []
        for length in (300, 100):
            codes = rng.integers(0, 4, length)
            effect = np.array([0.0, 10.0, -20.0, 5.0])[codes]
            value = rng.normal(0, 0.1, length)
            value[1:] += effect[:-1]
            if known:
                value += 3 * effect
            data = from_arrays([value], horizon=1, window=4, names=["y"])
            made.append(replace(
                data, categories=codes[:, None].astype(np.int32), levels=(("a", "b", "c", "d"),),
                schema=replace(data.schema, categories=("day",)), forecast=replace(data.forecast, known=known),
            ))  # fmt: skip
        preparation, fit = fitted(made[0])
        examples = preparation.apply(made[1])
        found = fit.predict(preparation, made[1], examples)
        truth = made[1].target.values[examples.starts + 4][:, None]
        errors = {name: float(np.sqrt(((values - truth) ** 2).mean())) for name, values in found.items()}
        assert errors["linear on the window"] < 1
        assert errors["last value"] > 10


@pytest.mark.parametrize(
    ("inputs", "expected"), [(4_000, (5, 6, 1)), (80, (5, 1, 1)), (33, (5, 0, 0)), (28, (2, 1, 0))]
)
def test_linear_takes_as_many_categories_as_there_is_room_for(
    inputs: int, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = cases.series((60,), known=("day",))
    data.numbers[3, 0] = np.nan  # an indicator makes five columns
    monkeypatch.setattr(baselines, "LINEAR_INPUTS", inputs)
    preparation, made = fitted(data)
    assert tuple(made.linear) == expected
    assert made.predict(preparation, data, preparation.apply(data))["linear on the window"].shape == (52, 3, 2)
