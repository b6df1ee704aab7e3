"""Summaries and courses of sequences by plain loops; the forest and the nearest sequence beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.neighbors import NearestNeighbors

from throughtime.data.examples import Examples
from throughtime.training import features, forest
from throughtime.training.baselines import nearest
from throughtime.training.features import PLACES, courses, frequent_labels, summaries
from throughtime.training.forest import TREES, Forest, some_rows


def examples_of(lengths: list[int], *, columns: int = 2, seed: int = 0, size: float = 1.0) -> Examples:
    """Sequences that lie in another order than they are numbered, with rows between them that belong to none."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    starts, at = np.zeros(len(lengths), np.int64), 1
    for b in order:
        starts[b], at = at, at + lengths[b] + 1
    numbers = (size * rng.normal(size=(at, columns))).astype(np.float32)
    codes = rng.integers(0, 3, (at, 2)).astype(np.int32)
    return Examples(numbers=numbers, codes=codes, starts=starts, lengths=np.array(lengths), per="example", targets=None)


LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 999), portion=st.sampled_from([1, 50, 1 << 17]))
def test_a_summary_by_plain_loops(lengths: list[int], seed: int, portion: int) -> None:
    examples = examples_of(lengths, seed=seed)
    labels = np.array([[1, 2], [0, 0]])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(features, "ROWS_AT_A_TIME", portion)
        made = summaries(examples, labels)
    assert made.dtype == np.float32
    for b, length in enumerate(lengths):
        rows = slice(examples.starts[b], examples.starts[b] + length)
        values, codes = examples.numbers[rows].astype(float), examples.codes[rows]
        if not length:
            assert (made[b] == 0).all()
            continue
        slope = np.polyfit(np.arange(length), values, 1)[0] if length > 1 else np.zeros(2)
        shares = [(codes[:, 1] == 2).mean(), (codes[:, 0] == 0).mean()]
        expected = [length, *values.mean(0), *values.std(0), *values[0], *values[-1], *slope, *shares]
        np.testing.assert_allclose(made[b], expected, rtol=1e-4, atol=1e-5)  # float32


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 999), portion=st.sampled_from([1, 50, 1 << 17]))
def test_a_course_by_numpys_interpolation(lengths: list[int], seed: int, portion: int) -> None:
    examples = examples_of(lengths, seed=seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(features, "ROWS_AT_A_TIME", portion)
        made = courses(examples).reshape(len(lengths), PLACES, 2)
    for b, length in enumerate(lengths):
        for column in range(2):
            values = examples.numbers[examples.starts[b] : examples.starts[b] + length, column]
            places = np.linspace(0, length - 1, PLACES)
            expected = np.interp(places, np.arange(length), values) if length else np.zeros(PLACES)
            np.testing.assert_allclose(made[b, :, column], expected, rtol=1e-4, atol=1e-5)


def test_features_of_numbers_beyond_float32_are_finite() -> None:
    examples = examples_of([5, 9], size=1e38)
    for made in (summaries(examples, np.zeros((0, 2), int)), courses(examples)):
        assert np.isfinite(made).all()


def test_a_wide_table_and_many_labels_are_cut_to_what_is_read() -> None:
    examples = examples_of([4, 6], columns=features.COLUMNS + 50)
    assert courses(examples).shape == (2, PLACES * features.COLUMNS)
    assert summaries(examples, np.zeros((0, 2), int)).shape == (2, 1 + 5 * features.COLUMNS)
    codes = examples_of([30] * 40).codes
    codes[:, 0] = np.minimum(np.random.default_rng(0).geometric(0.01, len(codes)), 500)
    many = examples_of([30] * 40)
    labels = frequent_labels(Examples(**vars(many) | {"codes": codes}))
    assert len(labels) == features.LABELS
    counts = [(codes[:, column] == code).sum() for column, code in labels]
    assert counts == sorted(counts, reverse=True)


# Forest -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "width", "classes"), [(60, 5, 2), (200, 30, 4), (2, 3, 2), (40, 1, 3)])
def test_a_forest_of_classes_is_scikit_learns(count: int, width: int, classes: int) -> None:
    rng = np.random.default_rng(count)
    known, asked = (rng.normal(size=(n, width)).astype(np.float32) for n in (count, 70))
    target = rng.integers(0, classes, count)
    target[target == 0] = classes - 1  # the first class occurs in no row
    theirs = RandomForestClassifier(TREES, max_features=max(1, round(width**0.5)), random_state=0).fit(known, target)
    ours = Forest.grow(known, target, classes).predict(asked)
    assert ours.shape == (70, classes)
    assert (ours[:, 0] == 0).all()
    # Leaves are stored in float32.
    np.testing.assert_allclose(ours[:, theirs.classes_], theirs.predict_proba(asked), atol=1e-6)


@pytest.mark.parametrize("targets", [1, 3])
def test_a_forest_of_numbers_is_scikit_learns(targets: int) -> None:
    rng = np.random.default_rng(targets)
    known, asked = (rng.normal(size=(n, 9)).astype(np.float32) for n in (120, 50))
    target = known[:, :targets] * 2 + rng.normal(size=(120, targets))
    theirs = RandomForestRegressor(TREES, max_features=3, min_samples_leaf=2, random_state=0)
    theirs.fit(known, target if targets > 1 else target[:, 0])
    expected = theirs.predict(asked).reshape(50, targets)
    np.testing.assert_allclose(Forest.grow(known, target).predict(asked), expected, atol=1e-5)


def test_a_forest_looks_at_thresholds_as_scikit_learn_does() -> None:
    # Equal to a threshold goes left: whole numbers meet thresholds at halves, and float32 ones at themselves.
    known = np.arange(8, dtype=np.float32)[:, None]
    grown = Forest.grow(known, (np.arange(8) >= 4).astype(int), 2)
    at = np.unique(grown.threshold[grown.left >= 0]).astype(np.float32)[:, None]
    theirs = RandomForestClassifier(TREES, max_features=1, random_state=0).fit(known, (np.arange(8) >= 4).astype(int))
    np.testing.assert_allclose(grown.predict(at), theirs.predict_proba(at), atol=1e-6)


def test_a_forest_leaves_the_users_random_state_and_is_the_same_twice() -> None:
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    rng = np.random.default_rng(0)
    known, target = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 2, 50)
    one, two = (Forest.grow(known, target, 2).predict(known) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_a_forest_is_grown_on_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "ROWS", 30)
    rng = np.random.default_rng(0)
    known, target = rng.normal(size=(500, 4)).astype(np.float32), np.sort(rng.integers(0, 3, 500))
    grown = Forest.grow(known, target, 3)
    assert len(grown.left) <= TREES * 2 * 30
    assert (grown.values.max(0) == 1).all(), "of sorted classes, all are drawn from"
    chosen = some_rows(500, 30)
    assert (np.diff(chosen) > 0).all()
    assert some_rows(5, 30).tolist() == [0, 1, 2, 3, 4]


# Nearest ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(known=st.integers(1, 60), asked=st.integers(0, 40), seed=st.integers(0, 999), far=st.sampled_from([0.0, 1e4]))
def test_the_nearest_is_scikit_learns(known: int, asked: int, seed: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    rows, others = ((rng.normal(size=(n, 7)) + far).astype(np.float32) for n in (known, asked))
    found = nearest(rows, others)
    if asked:
        distances, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows.astype(float)).kneighbors(others)
        reached = np.linalg.norm(others.astype(float) - rows[found], axis=1)
        np.testing.assert_allclose(reached, distances[:, 0], rtol=1e-6, atol=1e-5)


def test_of_equally_near_sequences_the_first_is_taken() -> None:
    rows = np.array([[5.0], [1.0], [1.0], [-1.0]], np.float32)
    assert nearest(rows, np.array([[1.0], [0.0], [9.0]], np.float32)).tolist() == [1, 1, 0]


def test_a_course_of_twice_the_steps_is_the_same_course() -> None:
    short, long = np.linspace(-1, 2, 20), np.linspace(-1, 2, 39)
    values = np.concatenate([short, long]).astype(np.float32)[:, None]
    made = courses(
        Examples(numbers=values, codes=np.zeros((59, 0), np.int32), starts=np.array([0, 20]),
                 lengths=np.array([20, 39]), per="example", targets=None)
    )  # fmt: skip
    np.testing.assert_allclose(made[0], made[1], atol=1e-6)
