"""Splits as numbers: which sequences are drawn of each class. Cuts in time are tested through SequenceData.split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from throughtime.data.splits import cut, draw, training_stops
from throughtime.errors import DataError


def drawn(sizes, validation, test, seed=0) -> np.ndarray:
    """``(3, classes)`` how many of each class are in training, validation and test."""
    codes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = draw(len(codes), validation=validation, test=test, codes=codes, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(codes)))
    assert all((np.diff(part) > 0).all() for part in parts)
    counts = np.array([np.bincount(codes[part], minlength=len(sizes)) for part in parts])
    assert counts[1:].sum(1).tolist() == [validation, test]
    return counts


CLASSES = st.one_of(
    st.lists(st.integers(1, 25), min_size=1, max_size=6),
    st.lists(st.integers(1, 4), min_size=1, max_size=40),
    st.tuples(st.integers(1, 200), st.integers(1, 20)).map(lambda case: [case[0], *[1] * case[1]]),
)


@given(CLASSES, st.floats(0, 1), st.floats(0, 1), st.integers(0, 9))
@example([4, 3, 3], 0.2, 0.2, 0)
@example([90, *[1] * 10], 0.15, 0.3, 0)
@example([3] * 100, 0.55, 0.5, 0)
@example([2] * 40, 0.49, 0.9, 0)
@example([5, 2, 5, 3, 5, 3], 15 / 22, 4 / 15, 0)  # these take validation to leave the right classes to test
@example([2, 4, 2, 2, 4, 4], 10 / 17, 4 / 10, 0)
@example([2, 3, 3, 2, 2], 8 / 11, 6 / 8, 0)
def test_each_class_in_proportion_and_in_training(sizes, held, of_held, seed) -> None:
    members = np.array(sizes)
    count = members.sum()
    held = round(held * (count - 1))
    test = round(of_held * held)
    train, *parts = drawn(sizes, held - test, test, seed)
    possible = held <= (members - 1).sum()
    if possible:
        assert (train >= 1).all(), "a class that training never sees"
    if not possible or (members * held <= (members - 1) * count).all():  # in proportion every class keeps one by itself
        for part, size in zip(parts, (held - test, test), strict=True):
            assert (np.abs(part * count - members * size) < count).all(), "not within one of its share of the whole"
        assert (train * count > members * (count - held) - count).all(), "training gave a whole sequence too many"


def test_a_rare_class_stays_in_training() -> None:
    for seed in range(20):
        train, validation, test = drawn([90, *[1] * 10], 15, 15, seed)
        assert train.tolist() == [60, *[1] * 10]
        assert (validation[0], test[0]) == (15, 15)
        train, validation, test = drawn([2, 98], 45, 45, seed)
        assert train[0] == 1


def test_what_rare_classes_keep_the_others_give_in_proportion() -> None:
    train, validation, test = drawn([1, 1, 1, 1, 1, 40, 20], 15, 15)
    assert train[:5].tolist() == [1] * 5
    assert validation.tolist() == test.tolist() == [0, 0, 0, 0, 0, 10, 5]


def test_where_too_few_could_stay_the_draw_is_in_proportion() -> None:
    assert drawn([1] * 20, 5, 5).sum(1).tolist() == [10, 5, 5]
    labels_of_their_own = draw(20, validation=0.25, test=0.25, codes=np.arange(20), seed=3)
    assert [len(part) for part in labels_of_their_own] == [10, 5, 5]


def test_every_sequence_of_a_class_is_drawn_by_some_seed() -> None:
    codes = np.repeat([0, 1], 10)
    for number in (1, 2):
        seen = {int(i) for seed in range(60) for i in draw(20, validation=4, test=4, codes=codes, seed=seed)[number]}
        assert seen == set(range(20))


def test_nothing_held_out_is_all_training() -> None:
    parts = draw(3, validation=0, test=0.0, codes=np.array([0, 0, 5]))
    assert [part.tolist() for part in parts] == [[0, 1, 2], [], []]


@given(
    st.lists(st.integers(0, 90), min_size=1, max_size=4),
    st.sampled_from([0, 0.1, 0.15, 0.3, 12]),
    st.sampled_from([0, 0.1, 0.15, 0.3, 12]),
    st.sampled_from(["own", "shared"]),
    st.sampled_from([None, 6, 11]),
)
def test_training_has_its_steps_before_the_window_is_known(lengths, validation, test, history, gap) -> None:
    lengths = np.array(lengths)
    before = training_stops(lengths, validation=validation, test=test, gap=gap)
    for window in (1, 3, 6):
        try:
            (start, stop), *_ = cut(lengths, validation=validation, test=test, window=window, history=history, gap=gap)
        except DataError:
            assume(False)
        kept = stop > start
        assert (before <= stop)[kept].all()
        if gap is None:
            assert (before == stop)[kept].all()


def test_a_part_without_room_names_its_size() -> None:
    with pytest.raises(DataError, match="the validation part of a series of 9 steps has 2 steps"):
        cut(np.array([9, 4]), validation=2, test=0, window=2)
