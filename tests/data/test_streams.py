"""Streams: each step of each sequence once an epoch and in its order, beginnings known, files read by the window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import throughtime as tt
from throughtime.data.streams import Streams
from throughtime.data.windows import lay_out
from throughtime.errors import ArgumentError, DataError
from throughtime.ragged import Ragged

WINDOW = 5
# 0, 1, and around one window and two of them.
LENGTHS = st.lists(st.sampled_from([0, 1, 2, 4, 5, 6, 9, 10, 11, 37]), min_size=1, max_size=9)


def numbered(lengths: list[int]) -> Ragged:
    """Steps numbered from 1 through all sequences, so that a number says which step of which sequence it is."""
    return Ragged.from_lengths(np.arange(1, sum(lengths) + 1), lengths)


def rows_of(streams: Streams) -> list[list[np.ndarray]]:
    """What each row shows, a list for each sequence in it: cut where ``begins`` says so, without padding."""
    rows: list[list[np.ndarray]] = [[] for _ in range(streams.batch)]
    for number in range(len(streams)):
        inputs, *_ = streams[number]
        cells = streams.layout[number]
        for row in range(streams.batch):
            seen = inputs[row][inputs[row] != 0]
            assert len(seen) == cells.count[row]
            assert (inputs[row][: len(seen)] != 0).all(), "padding is after the steps"
            if cells.begins[row]:
                rows[row].append(seen)
            elif len(seen):
                rows[row][-1] = np.concatenate([rows[row][-1], seen])
    return rows


@given(lengths=LENGTHS, batch=st.integers(1, 4), shuffle=st.booleans(), epoch=st.integers(0, 2))
def test_each_step_is_there_once_and_in_its_order(lengths, batch, shuffle, epoch) -> None:
    x = numbered(lengths)
    if not sum(lengths):
        with pytest.raises(DataError, match="no step to train on"):
            Streams(x, window=WINDOW, batch=batch, ahead=0)
        return
    streams = Streams(x, window=WINDOW, batch=batch, ahead=0, shuffle=shuffle, seed=3)
    windows = len(streams)
    streams.start_at(epoch)
    assert len(streams) == windows, "Keras counts the batches of an epoch once"
    seen = [sequence.tolist() for row in rows_of(streams) for sequence in row]
    assert sorted(seen) == sorted(sequence.tolist() for sequence in x if len(sequence))
    assert all(any(streams.layout[number].count) for number in range(windows)), "no window is empty"
    # A sequence is in ceil(length / window) windows in a row; no row is longer than two thirds more than the mean.
    sizes = [-(-length // WINDOW) for length in lengths]
    assert max(max(sizes), -(-sum(sizes) // batch)) <= windows <= max(sizes) + sum(sizes) // batch


@given(lengths=LENGTHS, ahead=st.integers(1, 3))
def test_the_target_is_the_value_so_many_steps_later_in_the_same_sequence(lengths, ahead) -> None:
    x = numbered(lengths)
    if max(lengths) <= ahead:
        with pytest.raises(DataError, match=f"more than {ahead} steps"):
            Streams(x, window=WINDOW, batch=2, ahead=ahead)
        return
    streams = Streams(x, window=WINDOW, batch=2, ahead=ahead)
    counted = 0
    for number in range(len(streams)):
        inputs, targets, weights = streams[number]
        real = weights > 0
        np.testing.assert_array_equal(real, inputs != 0)
        np.testing.assert_array_equal(targets, np.where(real, inputs + ahead, 0))
        counted += real.sum()
    ends = {end for end, length in zip(np.cumsum(lengths), lengths, strict=True) if length}
    last = max(targets.max() for _, targets, _ in (streams[i] for i in range(len(streams))))
    assert last in ends
    assert counted == sum(max(length - ahead, 0) for length in lengths)


@given(lengths=LENGTHS.filter(any), batch=st.integers(1, 4), per=st.sampled_from(["step", "sequence"]))
def test_all_that_counts_weighs_the_same_and_one_on_average(lengths, batch, per) -> None:
    x = numbered(lengths)
    y = Ragged(-x.values, x.offsets) if per == "step" else np.arange(len(x)) + 100
    streams = Streams(x, y, window=WINDOW, batch=batch)
    weights = np.stack([streams[i][2] for i in range(len(streams))])
    assert len(np.unique(weights[weights > 0])) == 1
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)  # float32
    # With masked outputs Keras divides by the valid steps: then the sum over these is 1 on average.
    streams.masked = True
    masked = np.stack([streams[i][2] for i in range(len(streams))])
    valid = np.array([streams.layout[i].count.sum() for i in range(len(streams))])
    np.testing.assert_allclose((masked.sum((1, 2)) / valid).mean(), 1, rtol=1e-6)
    for number in range(len(streams)):
        inputs, targets, weight = streams[number]
        for row, step in np.argwhere(weight > 0):
            place = int(inputs[row, step]) - 1
            if per == "step":
                assert targets[row, step] == -place - 1
            else:
                sequence = int(np.searchsorted(x.offsets, place, side="right")) - 1
                assert targets[row, step] == 100 + sequence and place + 1 == x.offsets[sequence + 1]
    found = int((weights > 0).sum())
    assert found == (sum(lengths) if per == "step" else np.count_nonzero(lengths))


@pytest.mark.parametrize("per", ["step", "sequence"])
def test_the_examples_of_a_table_bring_their_targets_and_what_is_missing_counts_for_nothing(per) -> None:
    rng = np.random.default_rng(0)
    lengths, ids = [6, 1, 9, 4], np.repeat([3, 1, 2, 0], [6, 1, 9, 4])
    table = pd.DataFrame({"id": ids, "a": rng.normal(size=20), "b": rng.normal(size=20)})
    table["y"] = rng.normal(size=20) if per == "step" else np.array([5.0, 6.0, 7.0, 8.0])[ids]
    data = tt.read_table(table, target="y", sequence="id", task="tag" if per == "step" else "regress")
    examples = tt.Preparation.fit(data).apply(data)
    weights = np.ones(20 if per == "step" else 4, np.float32)
    weights[[2, 9] if per == "step" else [2]] = 0
    examples = replace(examples, weights=weights)
    streams = Streams(examples, window=4, batch=2)
    known = 0
    for number in range(len(streams)):
        (inputs, targets, weights), cells = streams[number], streams.layout[number]
        assert inputs.shape == (2, 4, 2)
        for row in range(2):
            for step in range(cells.count[row]):
                sequence, place = cells.sequence[row], cells.start[row] + step
                at = examples.starts[sequence] + place
                np.testing.assert_array_equal(inputs[row, step], examples.numbers[at])
                counts = per == "step" or place == examples.lengths[sequence] - 1
                index = at if per == "step" else sequence
                assert (weights[row, step] > 0) == (counts and examples.weights[index] > 0)
                if weights[row, step] > 0:
                    known += 1
                    np.testing.assert_array_equal(targets[row, step], examples.targets[index])
    assert known == (18 if per == "step" else 3) and sorted(lengths) == sorted(examples.lengths)
    every = np.stack([streams[i][2] for i in range(len(streams))])
    assert len(np.unique(every[every > 0])) == 1 and every.mean() == pytest.approx(1)


def test_what_examples_are_refused() -> None:
    table = pd.DataFrame({"a": np.arange(40.0), "c": list("ab") * 20, "y": np.arange(40.0)})
    data = tt.read_table(table, target="y", task="tag")
    with pytest.raises(ArgumentError, match="Preparation.fit"):
        Streams(data, window=4, batch=1)
    examples = tt.Preparation.fit(data).apply(data)
    with pytest.raises(ArgumentError, match="1 columns of numbers and 1 of categories"):
        Streams(examples, window=4, batch=1)
    with pytest.raises(ArgumentError, match="have their targets"):
        Streams(examples, ahead=1, window=4, batch=1)
    forecast = tt.read_table(table[["a", "y"]], target="y", horizon=3)
    with pytest.raises(ArgumentError, match="the series itself"):
        Streams(tt.Preparation.fit(forecast).apply(forecast), window=4, batch=1)


@given(steps=st.integers(2, 60), batch=st.integers(1, 5))
def test_one_sequence_is_cut_into_rows_of_about_equal_length(steps, batch) -> None:
    streams = Streams(np.arange(1, steps + 1), window=WINDOW, batch=batch)
    rows = [np.concatenate([*row, []]) for row in rows_of(streams)]
    lengths = [len(row) for row in rows]
    assert max(lengths) - min(lengths) <= 1
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(1, steps))
    # The next value of a piece's last step is the first of the next piece: nothing is lost between them.
    assert sum((streams[i][2] > 0).sum() for i in range(len(streams))) == steps - 1
    outputs = np.concatenate([streams[i][1] for i in range(len(streams))])
    np.testing.assert_array_equal(streams.unwindowed(outputs), np.arange(2, steps + 1))


@given(lengths=LENGTHS.filter(any), shuffle=st.booleans())
def test_outputs_come_back_by_sequence(lengths, shuffle) -> None:
    x = numbered(lengths)
    streams = Streams(x, window=WINDOW, batch=3, ahead=0, shuffle=shuffle)
    outputs = np.concatenate([streams[i][0][..., None] * 10 for i in range(len(streams))])
    for found, sequence in zip(streams.unwindowed(outputs), x, strict=True):
        np.testing.assert_array_equal(found[:, 0], sequence * 10)
    with pytest.raises(ArgumentError, match="outputs have shape"):
        streams.unwindowed(outputs[1:])


def test_an_order_depends_on_seed_and_epoch_alone() -> None:
    x = numbered([4, 9, 3, 12, 5, 5, 8, 6])

    def orders(seed: int) -> list[list[Any]]:
        streams = Streams(x, window=WINDOW, batch=2, ahead=0, shuffle=True, seed=seed)
        found = []
        for epoch in (0, 1, 2):
            streams.start_at(epoch)
            found.append([[sequence.tolist() for sequence in row] for row in rows_of(streams)])
        return found

    assert orders(1) == orders(1)
    first, second, third = orders(1)
    assert first != second != third != first
    assert orders(2)[0] != first
    assert {len(row) for epoch in orders(1) for row in epoch} != {1}, "rows hold several sequences"
    neighbours = {tuple(sorted(sequence[0] for sequence in row)) for epoch in orders(1) for row in epoch}
    assert len(neighbours) > 2, "not only the order within a row is drawn, but who is in it"


class Counting(np.memmap):
    """A file of which every read is noted, in steps."""

    reads: list[int]

    def __getitem__(self, index: Any) -> Any:
        found = np.memmap.__getitem__(self, index)
        if isinstance(found, np.ndarray):
            Counting.reads.append(len(found))
            return np.asarray(found)
        return found


@pytest.mark.parametrize("kind", ["tokens", "numbers"])
def test_of_a_file_no_more_than_windows_are_read(tmp_path: Path, kind) -> None:
    steps, batch = 100_000, 4
    values = np.random.default_rng(0).integers(1, 200, steps).astype(np.uint8)
    if kind == "numbers":
        values = values[:, None] / np.float64([[3, 7]])
    values.tofile(tmp_path / "x.bin")
    Counting.reads = []
    x = Counting(tmp_path / "x.bin", values.dtype, "r", shape=values.shape)
    streams = Streams(x, window=50, batch=batch)
    assert Counting.reads == []
    inputs, targets, _ = streams[7]
    assert Counting.reads == [50] * 2 * batch
    assert inputs.dtype == targets.dtype == (np.int32 if kind == "tokens" else np.float32)
    for row in range(batch):
        first = row * (steps - 1) // batch + 350
        np.testing.assert_array_equal(inputs[row], values[first : first + 50].astype(inputs.dtype))
        np.testing.assert_array_equal(targets[row], values[first + 1 : first + 51].astype(inputs.dtype))
    streams.fingerprint()
    assert max(Counting.reads) <= 4096
    np.save(tmp_path / "x.npy", values)
    stored = Streams(str(tmp_path / "x.npy"), window=50, batch=batch)
    for one, other in zip(stored[7], streams[7], strict=True):
        np.testing.assert_array_equal(one, other)
    assert isinstance(stored._x, np.memmap)


def test_what_a_model_is_fed() -> None:
    x, y = [np.float64([[1, 2], [3, 4], [5, 6]]), np.float64([[7, 8]])], [np.float64([1, 2, 3]), np.float64([4])]
    streams = Streams(x, y, window=2, batch=3, pad_value=-9, feeds=("numbers", "mask"))
    inputs, targets, weights = streams[1]
    assert {name: array.dtype for name, array in inputs.items()} == {"numbers": np.float32, "mask": bool}
    np.testing.assert_array_equal(inputs["numbers"], [[[5, 6], [-9, -9]], [[-9, -9]] * 2, [[-9, -9]] * 2])
    np.testing.assert_array_equal(inputs["mask"], [[True, False], [False, False], [False, False]])
    np.testing.assert_array_equal(targets, [[[3], [0]], [[0], [0]], [[0], [0]]])
    np.testing.assert_array_equal(weights > 0, inputs["mask"])
    alone = Streams([[1, 2], [3]], window=2, batch=2, ahead=0)[0]
    assert len(alone) == 1 and alone[0].tolist() == [[1, 2], [3, 0]]


def test_a_layout_in_words() -> None:
    layout = lay_out(np.array([3, 7, 0, 5]), window=3, batch=2)
    assert [row.tolist() for row in layout.members] == [[1], [3, 0]]
    assert [row.tolist() for row in layout.firsts] == [[0], [0, 2]]
    last = layout[2]
    assert (last.sequence.tolist(), last.start.tolist(), last.count.tolist()) == ([1, 0], [6, 0], [1, 3])
    assert (last.begins.tolist(), last.ends.tolist()) == ([False, True], [True, True])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window=0"),
        ({"batch": 2.5}, "batch=2.5"),
        ({"ahead": -1}, "ahead=-1"),
        ({"y": np.arange(30), "ahead": 1}, "one of them"),
        ({"y": np.arange(29)}, "other lengths than x"),
        ({"shuffle": True}, "one sequence, whose order is fixed"),
        ({"feeds": "number"}, "Did you mean 'numbers'"),
        ({"feeds": "numbers"}, "makes 'codes'"),
        ({"x": np.zeros((2, 3, 4))}, "a list or a Ragged"),
        ({"x": np.array(["a", "b"])}, "numbers"),
        ({"x": "there/is/none.npy"}, "cannot be read"),
        ({"x": None}, "x is NoneType"),
        ({"x": __file__}, "not a .npy file of numbers.*read_table"),
        ({"x": [[1, 2], [3]], "y": np.arange(3)}, "3 targets for 2 sequences"),
        ({"x": [[1, 2], [3]], "y": [[1, 2], [3, 4]]}, "other lengths than x"),
    ],
)
def test_what_is_refused(options, message) -> None:
    options = {"x": np.arange(30), "window": 5, "batch": 2} | options
    with pytest.raises(ArgumentError, match=message):
        Streams(options.pop("x"), **options)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "float32", "x holds nan"), (np.inf, "float64", "x holds inf"), (1e300, "float64", r"x holds 1e\+300"),
        (2**31, "int64", "x holds 2147483648"), (2**32 - 1, "uint32", "x holds 4294967295"),
        (-(2**31) - 1, "int64", "x holds -2147483649"),
    ],
)  # fmt: skip
def test_what_would_become_another_number_is_refused(value: Any, dtype: str, message: str, tmp_path: Path) -> None:
    x = np.ones((30, 2), dtype)
    Streams(x, window=5, batch=1)
    x[17, 1] = value
    with pytest.raises(DataError, match=message + r" \(step 17, feature 1;"):
        Streams(x, window=5, batch=1)
    with pytest.raises(DataError, match=r"\(sequence 1, step 7, feature 1;"):
        Streams([x[:10], x[10:]], window=5, batch=1)
    with pytest.raises(DataError, match="y holds"):
        Streams(np.ones((30, 2)), x, window=5, batch=1)
    np.save(tmp_path / "x.npy", x)
    streams = Streams(tmp_path / "x.npy", window=5, batch=1)
    assert streams[2][0].shape[1] == 5
    with pytest.raises(DataError, match=r"\(step 17, feature 1;"):
        _ = streams[3]


def test_a_fingerprint_sees_every_change() -> None:
    x = numbered([4, 9, 3])
    base: dict[str, Any] = {"window": 5, "batch": 2}
    same = Streams(x, **base).fingerprint()
    assert same == Streams(numbered([4, 9, 3]), **base).fingerprint()
    others = [{"window": 6}, {"batch": 3}, {"ahead": 2}, {"shuffle": True}, {"seed": 1}, {"pad_value": 9}]
    found = [Streams(x, **(base | other)).fingerprint() for other in others]
    found += [Streams(other, **base).fingerprint() for other in (numbered([9, 4, 3]), Ragged(x.values + 1, x.offsets))]
    assert same not in found
