"""Data that comes in batches, read into arrays: all of it, no more than asked for, and never without an end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.gradients.reading import ITERATOR_ROWS, ROWS, in_batches, read_batches

RNG = np.random.default_rng(2)
X = RNG.normal(size=(48, 6, 2)).astype("float32")
Y = X.mean(axis=(1, 2))[:, None]


class Rows(keras.utils.PyDataset):
    """Batches of some sizes, each with its own number of steps; weights and shuffling where they are asked for."""

    def __init__(self, sizes: list[int], steps: list[int], weights: Any = None, endless: bool = False) -> None:
        super().__init__()
        self.sizes, self.steps, self.weights, self.endless = sizes, steps, weights, endless
        self.asked = 0

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def num_batches(self) -> int | None:
        return None if self.endless else len(self.sizes)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        self.asked += 1
        place = number % len(self.sizes)
        first = sum(self.sizes[:place])
        rows = slice(first, first + self.sizes[place])
        x, y = X[rows, : self.steps[place]], Y[rows]
        return (x, y) if self.weights is None else (x, y, self.weights(rows))


class Counted:
    """An iterator that says how often it was asked, and gives the same batches again and again, or new ones."""

    def __init__(self, size: int, *, again: bool) -> None:
        self.size, self.again, self.asked = size, again, 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> tuple[Any, Any]:
        self.asked += 1
        if self.again:
            first = self.size * ((self.asked - 1) % (len(X) // self.size))
            return X[first : first + self.size], Y[first : first + self.size]
        x = RNG.normal(size=(self.size, 6, 2))
        return x, x.mean(axis=(1, 2))[:, None]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(2, 6)), min_size=1, max_size=6), st.booleans())
def test_the_batches_of_the_shape_that_most_sequences_have_are_read_whole(
    parts: list[tuple[int, int]], weighted: bool
) -> None:
    sizes, steps = [size for size, _ in parts], [length for _, length in parts]
    read = read_batches(Rows(sizes, steps, (lambda rows: np.arange(48.0)[rows]) if weighted else None))
    counts = {length: sum(size for size, other in parts if other == length) for length in steps}
    kept = max(counts, key=lambda length: (counts[length], length))
    starts = np.cumsum([0, *sizes])
    rows = np.concatenate([
        np.arange(first, first + size) for first, (size, length) in zip(starts, parts, strict=False) if length == kept
    ])  # fmt: skip
    np.testing.assert_array_equal(read.x, X[rows, :kept])
    np.testing.assert_array_equal(read.y, Y[rows])
    assert (read.weights is None) if not weighted else np.array_equal(read.weights, rows)
    assert f"{len(parts)} batch" in read.said and f"{sum(sizes)} sequences" in read.said
    assert (f"{sum(sizes) - counts[kept]} of {sum(sizes)} sequences" in read.left_out) == (len(counts) > 1)


@pytest.mark.parametrize("size", [1, 7, 16])
def test_an_iterator_without_an_end_is_read_once_round_or_so_far_as_it_takes(size: int) -> None:
    again = Counted(size, again=True)
    assert len(read_batches(again).x) == len(X) // size * size and again.asked == len(X) // size + 1
    fresh = Counted(size, again=False)
    read = read_batches(fresh)
    assert ITERATOR_ROWS <= len(read.x) < ITERATOR_ROWS + size and fresh.asked == -(-ITERATOR_ROWS // size)
    said = f"{fresh.asked} batches of the generator with {len(read.x)} sequences, which fit does not get again"
    assert read.said == said
    few = Counted(size, again=False)
    assert len(read_batches(few, batches=2).x) == 2 * size and few.asked == 2
    one = Counted(size, again=False)
    assert len(read_batches(one, rows=64, alike=True).x) == size and one.asked == 1


def test_a_generator_goes_on_where_reading_ended() -> None:
    source = ((X[i : i + 8], Y[i : i + 8]) for i in itertools.count(0, 8))
    read_batches(source, rows=8)
    np.testing.assert_array_equal(next(source)[0], X[8:16])


def test_a_dataset_without_an_end_is_read_as_far_as_it_takes() -> None:
    source = Rows([16, 16, 16], [6, 6, 6], endless=True)
    assert len(read_batches(source).x) == 48 and source.asked == 4
    assert ROWS > 48


def test_batches_with_and_without_weights_and_by_output() -> None:
    some = [(X[:4], Y[:4]), (X[4:6], Y[4:6], np.array([2.0, 3.0])), (X[6:8], Y[6:8], None)]
    assert read_batches(some).weights.tolist() == [1, 1, 1, 1, 2, 3, 1, 1]
    keyed = [(X[:2], {"a": Y[:2], "b": Y[:2]}, {"a": np.array([1.0, 2.0]), "b": None}) for _ in range(1)]
    read = read_batches(keyed)
    assert read.weights["a"].tolist() == [1, 2] and read.weights["b"] is None


def test_random_state_is_what_it_was() -> None:
    def drawn() -> Iterator[Any]:
        for _ in range(3):
            order = np.random.permutation(48)[:8]  # noqa: NPY002 - as users shuffle
            random.random()
            yield X[order], Y[order]

    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = np.random.rand(), random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    read_batches(drawn())
    assert (np.random.rand(), random.random()) == expected  # noqa: NPY002


@pytest.mark.parametrize(("source", "said"), [
    (iter([]), "the data has no batch"), (iter([X]), "each batch is"),
    (iter([(np.array([[1], [1, 2]], object), Y)]), "ragged"),
    (iter([(X[0, 0, 0], Y)]), "single number"),
])  # fmt: skip
def test_what_is_no_batch_is_refused_in_a_line(source: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as raised:
        read_batches(source)
    assert "\n" not in str(raised.value)


def test_arrays_and_structures_of_them_are_no_batches() -> None:
    assert not any(map(in_batches, (X, [X, X], {"a": X}, (X, Y), 3, None, "x", keras.ops.ones((2, 2)))))
    assert all(map(in_batches, (Rows([1], [2]), Counted(1, again=True), (one for one in [(X, Y)]))))


def network() -> keras.Model:
    model = keras.Sequential([keras.Input((None, 2)), tt.LSTM(4, name="lstm"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


@pytest.mark.backend
def test_a_flow_of_batches_is_that_of_their_first_sequences() -> None:
    model = network()
    expected = tt.gradient_flow(model, X[:20], Y[:20])["lstm"].norms
    flow = tt.gradient_flow(model, Rows([12, 8, 8], [6, 6, 4]))
    np.testing.assert_allclose(flow["lstm"].norms, expected, rtol=1e-5)
    source = Counted(12, again=True)
    flow = tt.gradient_flow(model, source)
    assert source.asked == 1 and "1 batch of the generator with 12 sequences, which fit does not get again" in str(flow)
    np.testing.assert_allclose(flow["lstm"].norms * 12, expected[:12] * 20, rtol=1e-4)
    with pytest.raises(ArgumentError, match="cannot be computed"):
        tt.gradient_flow(model, X, np.ones((48, 3, 7)))


@pytest.mark.backend
def test_check_and_the_monitor_take_batches_and_say_how_many() -> None:
    model, source = network(), Counted(8, again=True)
    found = tt.check(model, source, train=False)
    assert source.asked == 7 and found.looked_at[1].startswith("7 batches of the generator with 48 sequences")
    ragged = tt.check(model, Rows([16, 16, 8], [6, 6, 4]), train=False)
    assert ragged.left_out[0].startswith("8 of 40 sequences in batches of another length")
    weights = {"sample_weight": None}
    by_weights = tt.check(model, Rows([16, 16], [6, 6], lambda rows: np.ones(48)[rows]), train=False, fit=weights)
    assert [one.code for one in by_weights] == [one.code for one in found]
    stock = keras.Sequential([keras.Input((None, 2)), keras.layers.RNN(keras.layers.GRUCell(3)), keras.layers.Dense(1)])
    stock.compile("adam", "mse")
    monitor = tt.GradientMonitor(probe=Rows([16], [6]), every=1)
    stock.fit(X, Y, verbose=0, callbacks=[monitor])
    (history,) = monitor.history.values()
    assert history.norms.shape == (2, 6)


@pytest.mark.backend
def test_the_framework_s_own_datasets_are_read() -> None:
    backend = keras.backend.backend()
    sources: list[Any] = [Rows([16, 16, 16], [6, 6, 6])]
    if backend == "torch":
        import torch

        rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
        sources.append(torch.utils.data.DataLoader(rows, 16))
    if backend == "tensorflow":
        import tensorflow as tf

        rows = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
        sources += [rows, rows.repeat()]
    for source in sources:
        read = read_batches(source)
        np.testing.assert_array_equal(read.x, X)
        np.testing.assert_array_equal(read.y, Y)
