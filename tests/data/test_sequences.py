"""SequenceData: parts that keep every column aligned, and splits that neither lose, mix nor share rows."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import Forecast, Schema, SequenceData, Target
from throughtime.errors import ArgumentError, DataError
from throughtime.ragged import offsets_from_lengths


def made_of(lengths, *, per="step", labels=None, horizon=None, window=None) -> SequenceData:
    """Every column of every row says which sequence and which step it is, so that a shifted column shows."""
    b = np.repeat(np.arange(len(lengths)), lengths)
    t = np.concatenate([np.arange(length) for length in [0, *lengths]]).astype(np.int64)
    if labels is not None:
        levels, codes = np.unique(labels, return_inverse=True)
        target = Target(names=("y",), kind="category", per="sequence", values=codes, levels=tuple(levels))
    elif per == "sequence":
        target = Target(names=("y",), kind="number", per="sequence", values=np.arange(len(lengths))[:, None] * 1.0)
    else:
        target = Target(names=("b", "t"), kind="number", per="step", values=np.stack([b, t], 1).astype(np.float64))
    task = "forecast" if horizon else "classify" if labels is not None else "regress"
    return SequenceData(
        offsets=offsets_from_lengths(np.asarray(lengths, np.int64)),
        numbers=np.stack([b, t], 1).astype(np.float32),
        categories=np.stack([t, b], 1).astype(np.int32),
        levels=(("a",), ("b",)),
        target=target,
        ids=np.array([f"series {i}" for i in range(len(lengths))], dtype=object),
        time=1000 * b + t,
        schema=Schema(task=task, target=target.names, numbers=("b", "t"), categories=("ct", "cb")),
        forecast=Forecast(horizon=horizon, window=window, known=("t",)) if horizon else None,
        notes=("a note",),
    )


def rows_of(data: SequenceData) -> list[list[tuple[int, int]]]:
    """(sequence, step) of every row, after checking that every column says the same."""
    assert data.offsets[0] == 0
    assert data.offsets[-1] == len(data.numbers)
    b, t = data.numbers.T.astype(int)
    assert data.categories.tolist() == np.stack([t, b], 1).tolist()
    assert data.time.tolist() == (1000 * b + t).tolist()
    if data.target.per == "step":
        assert data.target.values.tolist() == data.numbers.tolist()
    rows = list(zip(b.tolist(), t.tolist(), strict=True))
    ends = data.offsets.tolist()
    parts = [rows[ends[i] : ends[i + 1]] for i in range(len(data))]
    for i, part in enumerate(parts):
        assert len({b for b, _ in part}) <= 1, "rows of two sequences in one"
        assert all(data.ids[i] == f"series {b}" for b, _ in part)
        if data.target.per == "sequence" and data.target.kind == "number":
            assert all(data.target.values[i, 0] == b for b, _ in part)
    assert data.notes == ("a note",)
    return parts


def test_columns_of_other_lengths_are_refused() -> None:
    good = made_of([2, 3])
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for name, value, message in (
        ("numbers", good.numbers[:-1], "numbers has 4 rows, the sequences have 5 time steps"),
        ("categories", good.categories[:-1], "categories has 4 rows"),
        ("time", good.time[:-1], "time has 4 rows"),
        ("ids", good.ids[:1], "1 ids were given for 2 sequences"),
        ("target", Target(names=("y",), kind="number", per="step", values=np.zeros((2, 1))), "for 5 time steps"),
        ("target", Target(names=("y",), kind="number", per="sequence", values=np.zeros((5, 1))), "for 2 sequences"),
    ):
        with pytest.raises(DataError, match=message):
            SequenceData(**(fields | {name: value}))
    with pytest.raises(ArgumentError, match="a horizon goes with task='forecast'"):
        SequenceData(**(fields | {"forecast": Forecast(horizon=1)}))


def test_missing_shares() -> None:
    data = made_of([2, 2])
    data.numbers[0, 0] = math.nan
    data.categories[:3, 1] = -1
    assert data.missing() == {"b": 0.25, "t": 0.0, "ct": 0.0, "cb": 0.75}


# Parts keep every column aligned -----------------------------------------------------------------------------------

SOME_LENGTHS = st.lists(st.integers(0, 8), max_size=6)


@given(SOME_LENGTHS, st.sampled_from(["step", "sequence"]), st.data())
def test_take_keeps_columns_aligned(lengths, per, data) -> None:
    whole = made_of(lengths, per=per)
    count = len(lengths)
    indices = data.draw(st.lists(st.integers(-count, count - 1), max_size=7) if count else st.just([]))
    expected = [[(i % count, t) for t in range(lengths[i])] for i in indices]
    assert rows_of(whole.take(indices)) == expected
    assert whole.take(indices).ids.tolist() == [f"series {i % count}" for i in indices]
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    assert rows_of(whole.take(chosen)) == rows_of(whole.take(np.flatnonzero(chosen)))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8)), max_size=6))
@example([(8, 2, 5)])
@example([(0, 0, 0), (8, 2, 5), (3, 2, 2)])
def test_between_keeps_columns_aligned(cases) -> None:
    lengths = [length for length, _, _ in cases]
    starts = np.array([min(start, length) for length, start, _ in cases], int)
    stops = np.array([min(stop, length) for length, _, stop in cases], int)
    expected = [
        [(b, t) for t in range(start, stop)]
        for b, (start, stop) in enumerate(zip(starts, stops, strict=True))
        if stop > start
    ]
    for per in ("step", "sequence"):
        assert rows_of(made_of(lengths, per=per).between(starts, stops)) == expected


def test_a_long_series_is_not_copied() -> None:
    series = made_of([100])
    assert np.shares_memory(series.between([10], [90]).numbers, series.numbers)


def test_parts_that_are_refused() -> None:
    data = made_of([2, 3])
    for starts, stops in (([0, 0], [3, 3]), ([-1, 0], [2, 3])):
        with pytest.raises(ArgumentError, match="from 0 to the length of each sequence"):
            data.between(starts, stops)
    with pytest.raises(IndexError, match="of 2 sequences"):
        data.take([2])
    with pytest.raises(IndexError, match=r"shape \(2,\)"):
        data.take([True])


# Split by sequence -------------------------------------------------------------------------------------------------

SHARES = st.one_of(st.sampled_from([0, 0.0, 0.1, 0.15, 0.3, 0.49]), st.integers(0, 4))


def held_out(share, count: int) -> int:
    return share if isinstance(share, int) else max(1, round(share * count)) if share else 0


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), SHARES, SHARES, st.booleans(), st.integers(0, 3))
def test_sequences_are_dealt_out_once(lengths, validation, test, stratify, seed) -> None:
    count = len(lengths)
    labels = np.arange(count) % 3
    data = made_of(lengths, labels=labels)
    sizes = [held_out(validation, count), held_out(test, count)]
    assume(sum(sizes) < count)
    parts = data.split(validation=validation, test=test, stratify=stratify, seed=seed)
    assert [len(part) for part in parts] == [count - sum(sizes), *(size for size in sizes if size)]
    drawn = [name for part in parts for name in part.ids.tolist()]
    assert sorted(drawn) == sorted(data.ids.tolist())
    for part in parts:
        rows_of(part)
        numbers = [int(name.split()[1]) for name in part.ids]
        assert part.lengths.tolist() == [lengths[b] for b in numbers]
        assert part.target.labels().tolist() == [labels[b] for b in numbers]
    again = data.split(validation=validation, test=test, stratify=stratify, seed=seed)
    assert [part.ids.tolist() for part in again] == [part.ids.tolist() for part in parts]


def test_a_rare_class_stays_in_training_by_split() -> None:
    for labels in (["a"] + ["b"] * 9, ["b"] + ["a"] * 9):
        for part in made_of([1] * 10, labels=labels).split(validation=1, test=1)[1:]:
            assert part.target.labels().tolist() == [labels[-1]]


def test_without_strata_classes_are_drawn_as_they_come() -> None:
    data = made_of([1] * 40, labels=["a"] * 20 + ["b"] * 20)
    counts = {
        stratify: {
            Counter(data.split(validation=10, test=0, stratify=stratify, seed=seed)[1].target.labels())["a"]
            for seed in range(20)
        }
        for stratify in (True, False)
    }
    assert counts[True] == {5}
    assert len(counts[False]) > 1


def test_seeds_draw_other_sequences_and_every_sequence_is_drawn() -> None:
    for labels in (None, ["a"] * 10 + ["b"] * 10):
        data = made_of([1] * 20, per="sequence", labels=labels)
        drawn = [frozenset(data.split(validation=4, test=0, seed=seed)[1].ids) for seed in range(60)]
        assert len(set(drawn)) > 50
        assert frozenset.union(*drawn) == set(data.ids)


def test_counts_shares_and_parts_left_out() -> None:
    data = made_of([1] * 20, per="sequence")
    assert [len(part) for part in data.split()] == [14, 3, 3]
    assert [len(part) for part in data.split(validation=np.int64(5), test=1)] == [14, 5, 1]
    assert [len(part) for part in data.split(validation=0, test=0.25)] == [15, 5]
    assert [len(part) for part in data.split(validation=0.25, test=0.0)] == [15, 5]
    assert [len(part) for part in data.split(validation=0, test=0)] == [20]
    assert [len(part) for part in data.split(validation=0.01, test=0.01)] == [18, 1, 1]


@pytest.mark.parametrize(
    ("count", "arguments", "error", "message"),
    [
        (2, {}, DataError, "2 sequences cannot be split into training, 1 validation and 1 test"),
        (1, {"by": "sequence"}, DataError, "1 sequence cannot be split"),
        (0, {}, DataError, "0 sequences cannot be split"),
        (10, {"validation": 5, "test": 5}, DataError, "5 validation and 5 test sequences; give more sequences"),
        (10, {"validation": 0.5, "test": 0.5}, ArgumentError, "leaves nothing to train on"),
        (10, {"validation": 1.0}, ArgumentError, r"validation=1\.0 is neither a share"),
        (10, {"test": -1}, ArgumentError, "test=-1 is neither a share"),
        (10, {"test": math.nan}, ArgumentError, "test=nan is neither a share"),
        (10, {"by": "tim"}, ArgumentError, "Did you mean 'time'"),
        (10, {"history": "share"}, ArgumentError, "Did you mean 'shared'"),
        (10, {"gap": 3}, ArgumentError, "belong to a split by='time'"),
        (10, {"history": "shared"}, ArgumentError, "belong to a split by='time'"),
        (10, {"gap": -1, "by": "time"}, ArgumentError, "gap=-1 is not a number of time steps"),
        (10, {"by": "time"}, ArgumentError, "the target is one a sequence; split by='sequence'"),
    ],
)
def test_split_refuses(count, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        made_of([4] * count, per="sequence").split(**arguments)


# Split by time -----------------------------------------------------------------------------------------------------


def by_series(part: SequenceData) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for rows in rows_of(part):
        b, steps = rows[0][0], [t for _, t in rows]
        assert b not in found, "one series twice in a part"
        assert steps == list(range(steps[0], steps[0] + len(steps))), "a hole in a series"
        found[b] = steps
    return found


def predicted(steps: list[int], window: int) -> list[int]:
    """The steps that some window of the part can predict with horizon 1."""
    return steps[window:]


TIME_SPLITS = {
    "lengths": st.lists(st.integers(0, 60), min_size=1, max_size=4),
    "window": st.integers(1, 5),
    "horizon": st.integers(1, 3),
    "validation": st.sampled_from([0, 0.15, 0.2, 0.3, 9, 12]),
    "test": st.sampled_from([0, 0.15, 0.2, 0.3, 9, 12]),
    "more": st.integers(0, 4),
}


def time_split(lengths, window, horizon, validation, test, **arguments):
    """The parts by name; None where the library says that the series are too short."""
    data = made_of(lengths, horizon=horizon, window=window)
    names = ["train", *(["validation"] if validation else []), *(["test"] if test else [])]
    try:
        parts = data.split(validation=validation, test=test, **arguments)
    except DataError as error:
        if "fewer than window + horizon" not in str(error):
            raise
        return None
    return dict(zip(names, map(by_series, parts), strict=True))


@given(**TIME_SPLITS)
@example(lengths=[60, 31, 4], window=3, horizon=2, validation=0.3, test=0.2, more=2)
@example(lengths=[60], window=5, horizon=1, validation=12, test=12, more=0)
def test_own_history_shares_no_row(lengths, window, horizon, validation, test, more) -> None:
    for gap in (None, window, window + more):
        parts = time_split(lengths, window, horizon, validation, test, gap=gap)
        if parts is None:
            continue
        asked = max(window, gap or 0)
        for b in range(len(lengths)):
            inside = [part[b] for part in parts.values() if b in part]
            used = [step for steps in inside for step in steps]
            assert used == sorted(set(used)), "parts share rows, or are not in the order of time"
            for before, after in itertools.pairwise(inside):
                if not predicted(after, window):
                    continue
                if validation and test and b not in parts["validation"]:
                    continue  # a part fell out between the two
                assert predicted(after, window)[0] - before[-1] - 1 == asked
        if test:  # the last part runs to the last step
            assert all(steps[-1] == lengths[b] - 1 for b, steps in parts["test"].items())


@given(**TIME_SPLITS)
@example(lengths=[60, 31, 4], window=3, horizon=2, validation=0.3, test=0.2, more=2)
@example(lengths=[60, 40], window=5, horizon=1, validation=12, test=9, more=0)
def test_shared_history_predicts_every_step_of_a_part(lengths, window, horizon, validation, test, more) -> None:
    for gap in (None, more):
        parts = time_split(lengths, window, horizon, validation, test, gap=gap, history="shared")
        if parts is None:
            continue
        gap = gap or 0
        for b, length in enumerate(lengths):
            share = [size if isinstance(size, int) else round(size * length) for size in (validation, test)]
            test_from = length - share[1]
            valid_to = test_from - (gap if share[1] else 0)
            valid_from = valid_to - share[0]
            train_to = valid_from - (gap if share[0] else 0)
            if valid_from < window:
                continue
            train = list(range(train_to)) if train_to >= window + horizon else []
            assert parts["train"].get(b, []) == train
            if validation and share[0] >= horizon:
                assert predicted(parts["validation"][b], window) == list(range(valid_from, valid_to))
            if test and share[1] >= horizon:
                assert predicted(parts["test"][b], window) == list(range(test_from, length))


def test_a_split_in_time_by_hand() -> None:
    data = made_of([20], horizon=1, window=2)
    own = [by_series(part)[0] for part in data.split(validation=4, test=5)]
    assert own == [list(range(11)), list(range(11, 15)), list(range(15, 20))]
    wide = [by_series(part)[0] for part in data.split(validation=4, test=5, gap=3)]
    assert wide == [list(range(9)), list(range(10, 14)), list(range(15, 20))]
    shared = [by_series(part)[0] for part in data.split(validation=4, test=5, history="shared")]
    assert shared == [list(range(11)), list(range(9, 15)), list(range(13, 20))]
    apart = [by_series(part)[0] for part in data.split(validation=4, test=5, history="shared", gap=1)]
    assert apart == [list(range(9)), list(range(8, 14)), list(range(13, 20))]
    assert all(part.forecast == data.forecast for part in data.split(validation=4, test=5))


def test_short_series_fall_out_and_the_others_stay_whole() -> None:
    data = made_of([30, 2, 0, 18], horizon=1, window=2)
    train, test = (by_series(part) for part in data.split(validation=0, test=6))
    assert train == {0: list(range(24)), 3: list(range(12))}
    assert test == {0: list(range(24, 30)), 3: list(range(12, 18))}


def test_a_series_too_short_for_one_part_stays_in_the_others() -> None:
    data = made_of([40, 12, 7], horizon=2, window=3)
    train, validation, test = (by_series(part) for part in data.split(validation=0.15, test=5))
    assert {b: len(steps) for b, steps in train.items()} == {0: 29, 1: 5}, "two steps of the third predict nothing"
    assert {b: len(steps) for b, steps in validation.items()} == {0: 6}, "two steps of the second predict nothing"
    assert {b: len(steps) for b, steps in test.items()} == {0: 5, 1: 5, 2: 5}
    shared = [by_series(part) for part in data.split(validation=0.15, test=5, history="shared")]
    assert shared[1] == {0: list(range(26, 35)), 1: list(range(2, 7))}


@given(
    st.lists(st.integers(20, 300), min_size=1, max_size=3),
    st.sampled_from([0, 0.1, 0.15, 0.17, 0.2, 0.25, 0.33, 7, 12]),
    st.sampled_from([0, 0.1, 0.15, 0.17, 0.2, 0.25, 0.33, 7, 12]),
    st.sampled_from(["own", "shared"]),
    st.sampled_from([None, 0, 5, 30]),
    st.integers(0, 99),
)
@example([50], 0.15, 0.15, "shared", None, 0)  # 7.5 steps are rounded up to 8 in both parts: 34 train, not 35
def test_the_window_is_chosen_from_the_training_rows_alone(lengths, validation, test, history, gap, seed) -> None:
    rng = np.random.default_rng(seed)
    data = made_of(lengths, horizon=1)
    rows = np.arange(data.steps)
    wave = np.sin(2 * np.pi * rows / rng.integers(2, 9))[:, None] + rng.normal(0, 0.1, (data.steps, 2))
    arguments = {"validation": validation, "test": test, "history": history, "gap": gap}
    try:
        train, *_ = replace(data, target=replace(data.target, values=wave)).split(**arguments)
    except (ArgumentError, DataError):
        assume(False)
    other = rng.normal(0, 1e6, wave.shape) * (1 - 2 * (rows % 2))[:, None]
    b, t = train.numbers.T.astype(int)
    mine = data.offsets[b] + t
    if gap is None:  # up to the first row of the next part
        share = [size if isinstance(size, int) else np.round(size * data.lengths) for size in (validation, test)]
        valid_from = (data.lengths - sum(share)).astype(int)
        assert all(valid_from[name] == (b == name).sum() for name in set(b.tolist()))
    other[mine] = wave[mine]
    again, *_ = replace(data, target=replace(data.target, values=other)).split(**arguments)
    assert again.forecast == train.forecast
    assert again.forecast.window is not None
    assert again.season() == train.season()


def test_what_has_no_window_is_cut_without_a_gap() -> None:
    data = made_of([10])
    assert data.forecast is None
    parts = [by_series(part)[0] for part in data.split(validation=0.2, test=3)]
    assert parts == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]
    assert [by_series(part)[0] for part in data.split(validation=0, test=3, gap=1)] == [list(range(6)), [7, 8, 9]]
    several = made_of([10, 4]).split(validation=0, test=0.5, by="time")
    assert [by_series(part) for part in several] == [{0: [*range(5)], 1: [0, 1]}, {0: [*range(5, 10)], 1: [2, 3]}]


def test_what_is_cut_by_default() -> None:
    assert len(made_of([30, 30], horizon=1, window=2).split()[0]) == 2, "forecasts: in time"
    assert len(made_of([30]).split()) == 3, "one series: in time"
    assert len(made_of([30, 30, 30]).split()[0]) == 1, "several sequences: by sequence"


@pytest.mark.parametrize(
    ("lengths", "arguments", "error", "message"),
    [
        ([30], {"gap": 3}, ArgumentError, "gap=3 is less than the window of 4 steps.*history='shared'"),
        ([30], {"test": 5}, DataError, r"test part of a series of 30 steps has 5 steps.*window \+ horizon = 4 \+ 2"),
        ([30, 20], {"validation": 5}, DataError, "the validation part of a series of 30 steps has 5 steps"),
        ([30], {"validation": 15, "test": 10}, DataError, "the training part of a series of 30 steps has 5 steps"),
        ([30], {"history": "shared", "test": 1}, DataError, "the test part of a series of 30 steps has 5 steps"),
        ([0, 0], {}, DataError, "the training part of a series of 0 steps"),
    ],
)
def test_split_in_time_refuses(lengths, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        made_of(lengths, horizon=2, window=4).split(**({"validation": 0, "test": 8} | arguments))


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    data = from_arrays([np.zeros((3, 1))] * 10, list("abababcbca"))
    with pytest.raises(ArgumentError, match=r"validation=0.9 and test=0.5 are 1.4 together"):
        data.split(validation=0.9, test=0.5)
