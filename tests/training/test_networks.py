"""Networks: shapes, and that no answer depends on padding, on the batch, on the future, or on hidden random state."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import keras
import numpy as np
import pytest
from keras import layers

import throughtime as tt
from throughtime.data.arrays import from_arrays
from throughtime.data.batching import Batches
from throughtime.data.examples import Examples
from throughtime.data.sequences import SequenceData
from throughtime.data.transforms import Preparation
from throughtime.errors import ArgumentError
from throughtime.training import predictions
from throughtime.training.networks import _pooled, build_network, check_outputs, feeds_of
from throughtime.training.predictions import predict_examples
from throughtime.training.run import NETWORK_NAMES

pytestmark = pytest.mark.backend
# Float32 outputs of size 1 whose sums are taken in another order when the container has another shape.
SAME = {"rtol": 1e-4, "atol": 1e-5}
CELLS = {"classify": "lstm", "regress": "gru", "tag": "gru", "steps": "rnn", "forecast": "lstm"}


def answers(model: keras.Model, examples: Examples) -> np.ndarray:
    return predict_examples(model, examples, cases.feeds(model))


def one_by_one(model: keras.Model, examples: Examples) -> np.ndarray:
    """Each example in a batch of its own, without a step of padding."""
    return np.concatenate([answers(model, examples.take(np.array([e]))) for e in range(len(examples))])


def other_rows_nan(examples: Examples, e: int) -> Examples:
    """NaN in every row that is not one of example ``e``."""
    numbers = np.full_like(examples.numbers, np.nan)
    rows = slice(int(examples.starts[e]), int(examples.starts[e] + examples.lengths[e]))
    numbers[rows] = examples.numbers[rows]
    return replace(examples, numbers=numbers)


# Shapes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", list(NETWORK_NAMES))
@pytest.mark.parametrize("task", cases.TASKS)
def test_shapes_of_every_task_and_cell(task: str, cell: str) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = build_network(preparation, examples, cell=cell, units=4, depth=2 if cell == "gru" else 1)
    expected = {
        "classify": (None, 3),
        "regress": (None, 2),
        "tag": (None, None, 3),
        "steps": (None, None, 2),
        "forecast": (None, 3, 2),
    }[task]
    assert model.output_shape == expected
    outputs, _ = {"tag": (3, "softmax"), "classify": (3, "softmax")}.get(task, (2, "linear"))
    check_outputs(tuple(7 if size is None else size for size in expected), preparation, examples)
    kinds = {type(layer) for layer in model.layers}
    assert (layers.Bidirectional in kinds) == (task in ("classify", "regress", "tag"))
    recurrent = [x.forward_layer if isinstance(x, layers.Bidirectional) else x for x in model.layers]
    recurrent = [type(x).__name__ for x in recurrent if isinstance(x, layers.RNN)]
    assert recurrent == [NETWORK_NAMES[cell]] * (2 if cell == "gru" else 1)
    assert outputs == expected[-1]


def test_the_two_directions_are_named_after_each_other() -> None:
    """Reports and pictures name layers: which of the two reads backwards must show."""
    model = build_network(*cases.prepared(cases.made("classify")), units=4, depth=2)
    names = [row.layer.split("/")[-1] for row in tt.explain(model)]
    assert [name.replace("forward", "backward") for name in names[::2]] == names[1::2]
    assert all(name.startswith("forward_lstm") for name in names[::2]) and len(set(names)) == 4


# Padding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", cases.TASKS)
def test_answers_do_not_depend_on_the_batch(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    examples = examples.take(np.arange(min(len(examples), 9)))
    model = cases.network(preparation, examples, cell=CELLS[task])
    expected = one_by_one(model, examples)
    assert np.isfinite(expected).all()
    assert np.ptp(expected, axis=0).min() > 1e-3  # weights for which the answers differ, else nothing is shown
    together = answers(model, examples)
    np.testing.assert_allclose(together, expected, **SAME)

    # Another plan of buckets: at most 12 steps a batch.
    monkeypatch.setattr(predictions, "PREDICTION_TOKENS", 12)
    np.testing.assert_allclose(answers(model, examples), expected, **SAME)
    monkeypatch.undo()

    # Another order.
    order = np.random.default_rng(3).permutation(len(examples))
    firsts = np.cumsum([0, *examples.lengths])
    rows = order if examples.per != "step" else np.concatenate([np.arange(firsts[e], firsts[e + 1]) for e in order])
    np.testing.assert_allclose(answers(model, examples.take(order)), expected[rows], **SAME)


@pytest.mark.parametrize("task", cases.TASKS)
def test_answers_do_not_depend_on_other_sequences(task: str) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = cases.network(preparation, examples, cell=CELLS[task])
    expected = answers(model, examples)
    own = 5  # the longest sequence of the cases
    rows = slice(own, own + 1)
    if examples.per == "step":
        rows = slice(int(examples.starts[own]), int(examples.starts[own] + examples.lengths[own]))
    disturbed = answers(model, other_rows_nan(examples, own))
    assert not np.isfinite(disturbed).all()
    np.testing.assert_array_equal(disturbed[rows], expected[rows])


@pytest.mark.parametrize(
    ("task", "cell"),
    [*((task, cell) for task, cell in CELLS.items() if task != "forecast"),
     ("classify", "mingru"), ("regress", "lru"), ("tag", "lru"), ("steps", "minlstm")],
)  # fmt: skip
def test_answers_do_not_depend_on_the_container(task: str, cell: str) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = cases.network(preparation, examples, cell=cell)
    inputs = Batches(examples, batch_size=99, buckets=1, shuffle=False, feeds=cases.feeds(model))[0][0]
    mask = inputs["mask"]
    expected = keras.ops.convert_to_numpy(model.predict_on_batch(inputs))
    longer: dict[str, Any] = {
        "mask": np.pad(mask, [(0, 0), (0, 8)]),
        "numbers": np.pad(inputs["numbers"], [(0, 0), (0, 8), (0, 0)], constant_values=-1e3),
        "codes": np.pad(inputs["codes"], [(0, 0), (0, 8), (0, 0)], constant_values=2),
    }
    longer["numbers"][~longer["mask"]] = np.nan
    found = keras.ops.convert_to_numpy(model.predict_on_batch(longer))
    if examples.per == "step":
        found, expected = found[:, : mask.shape[1]][mask], expected[mask]
    np.testing.assert_allclose(found, expected, **SAME)


def test_pooling_what_dropout_scaled_up_does_not_depend_on_the_container() -> None:
    hidden = keras.ops.convert_to_tensor([[[-1.4, 0.2], [-1.3, -1.1], [0.0, 0.0]]])  # 0.3 dropped: up to 1 / 0.7
    mask = keras.ops.convert_to_tensor([[True, True, False]])
    tight, loose = (keras.ops.convert_to_numpy(_pooled(hidden[:, :t], mask[:, :t], 1 / 0.7)) for t in (2, 3))
    np.testing.assert_allclose(tight, [[-1.35, -0.45, -1.3, 0.2]], rtol=1e-6)
    np.testing.assert_array_equal(tight, loose)


@pytest.mark.parametrize(("task", "cell"), [("classify", "lstm"), ("regress", "gru"), ("tag", "rnn"), ("steps", "gru")])
def test_sequences_of_no_step_and_of_one(task: str, cell: str) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = cases.network(preparation, examples, cell=cell)
    short = examples.take(np.array([3, 1, 7]))
    assert short.lengths.tolist() == [0, 1, 0]
    found = answers(model, short)
    assert found.shape[0] == (1 if examples.per == "step" else 3)
    assert np.isfinite(found).all()
    if examples.per == "example":
        np.testing.assert_array_equal(found[0], found[2])
        assert (found[0] != found[1]).any()


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_nothing_but_empty_sequences(task: str) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = cases.network(preparation, examples)
    empty = replace(
        examples.take(np.array([3, 7])), numbers=examples.numbers[:0], codes=examples.codes[:0],
        starts=np.zeros(2, np.int64), lengths=np.zeros(2, np.int64), targets=None, weights=None,
    )  # fmt: skip
    found = answers(model, empty)
    assert found.shape == ((2, 3) if task == "classify" else (0, 3))
    assert np.isfinite(found).all()


# Time ---------------------------------------------------------------------------------------------------------------


def with_later_steps_changed(examples: Examples, *, after: int) -> Examples:
    numbers, codes = examples.numbers.copy(), examples.codes.copy()
    for start, length in zip(examples.starts, examples.lengths, strict=True):
        numbers[start + after : start + length] += 1.5
        codes[start + after : start + length] = 1
    return replace(examples, numbers=numbers, codes=codes)


@pytest.mark.parametrize(("task", "cell"), [("steps", "lstm"), ("steps", "gru"), ("steps", "rnn"), ("tag", "lstm")])
def test_numbers_a_step_are_causal_and_tags_look_both_ways(task: str, cell: str) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = cases.network(preparation, examples, cell=cell)
    place = np.concatenate([np.arange(n) for n in examples.lengths])
    expected, found = answers(model, examples), answers(model, with_later_steps_changed(examples, after=4))
    changed = (np.abs(found - expected) > 1e-4).any(1)
    length = np.repeat(examples.lengths, examples.lengths)
    assert changed[place >= 4].all()
    if task == "steps":
        np.testing.assert_array_equal(found[place < 4], expected[place < 4])
    else:
        assert changed[length > 4].all()
        np.testing.assert_array_equal(found[length <= 4], expected[length <= 4])


def until(examples: Examples, steps: int) -> Examples:
    """Each example cut off after so many steps."""
    return replace(examples, lengths=np.minimum(examples.lengths, steps), targets=None, weights=None)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("task", ["classify", "regress", "tag", "steps"])
def test_a_causal_network_answers_as_if_later_steps_had_not_come(task: str, depth: int) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    model = cases.network(preparation, examples, cell=CELLS[task], causal=True, depth=depth)
    if task in ("classify", "regress"):  # each answer is of the steps so far, whatever comes behind them
        changed = until(with_later_steps_changed(examples, after=4), 4)
        np.testing.assert_array_equal(answers(model, changed), answers(model, until(examples, 4)))
        moved = np.abs(answers(model, until(examples, 4)) - answers(model, examples)) > 1e-4
        assert moved[examples.lengths > 4].any(1).all()
    else:
        place = np.concatenate([np.arange(n) for n in examples.lengths])
        expected, found = answers(model, examples), answers(model, with_later_steps_changed(examples, after=4))
        assert (np.abs(found - expected) > 1e-4).any(1)[place >= 4].all()
        np.testing.assert_array_equal(found[place < 4], expected[place < 4])
    assert not any(isinstance(layer, layers.Bidirectional) for layer in model.layers)
    assert not any(getattr(layer, "go_backwards", False) for layer in model.layers)


@pytest.mark.parametrize("known", [(), ("price", "day")])
def test_an_untrained_forecast_is_the_last_value(known: tuple[str, ...]) -> None:
    data = cases.series(known=known)
    preparation, examples = cases.prepared(data)
    model = build_network(preparation, examples, units=4, seed=3)
    last = examples.numbers[examples.starts + examples.lengths - 1, :2]
    expected = np.broadcast_to(last[:, None], (len(examples), 3, 2))
    np.testing.assert_array_equal(answers(model, examples), expected)


@pytest.mark.parametrize("known", [(), ("price",), ("day",)])
def test_a_forecast_sees_of_the_horizon_what_is_known_and_nothing_else(known: tuple[str, ...]) -> None:
    data = cases.series((30,), known=known)
    data.numbers[2, 0] = np.nan  # "price" gets an indicator of its missing values, which is known with it
    preparation, examples = cases.prepared(data)
    model = cases.network(preparation, examples)
    origin = 20
    examples = examples.take(np.array([origin - 6]))
    expected = answers(model, examples)

    def after_the_origin(column: str) -> np.ndarray:
        numbers, codes = examples.numbers.copy(), examples.codes.copy()
        if column in ("shop", "day"):
            place = ("shop", "day").index(column)
            codes[origin:, place] = (codes[origin:, place] + 1) % 3
        else:
            numbers[origin:, ("y0", "y1", "price", "rain", "price missing").index(column)] += 1.0
        return answers(model, replace(examples, numbers=numbers, codes=codes))

    assert examples.numbers.shape[1] == 5
    for column in ("y0", "y1", "price", "rain", "price missing", "shop", "day"):
        found = after_the_origin(column)
        if column.split()[0] in known:
            assert np.abs(found - expected).max() > 1e-3, column
        else:
            np.testing.assert_array_equal(found, expected, column)


def test_a_forecast_uses_every_column_of_the_window() -> None:
    preparation, examples = cases.prepared(cases.series((30,)))
    model = cases.network(preparation, examples)
    examples = examples.take(np.array([4]))
    expected = answers(model, examples)
    for column in range(examples.numbers.shape[1]):
        numbers = examples.numbers.copy()
        numbers[4, column] += 1.0
        assert (answers(model, replace(examples, numbers=numbers)) != expected).any()
    # Whatever is added to the past of a target is added to its forecast: only differences enter the network.
    shifted = examples.numbers.copy()
    shifted[:, :2] += [3.0, -2.0]
    found = answers(model, replace(examples, numbers=shifted))
    # Float32: adding 3 and taking it away again rounds at 2**-22.
    np.testing.assert_allclose(found - expected, np.broadcast_to([3.0, -2.0], found.shape), atol=1e-5)


# Randomness ---------------------------------------------------------------------------------------------------------


def random_states() -> list[Any]:
    # What keras.random functions draw from that are given no seed; Keras seeds it on first use, from Python's.
    shared = keras.src.random.seed_generator.global_seed_generator()
    states = [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002 (the state that users may rely on)
    if keras.backend.backend() == "torch":
        import torch

        states.append(torch.get_rng_state().tolist())
    states.append(keras.ops.convert_to_numpy(shared.state.value).tolist())
    return states


@pytest.mark.parametrize("task", cases.TASKS)
def test_a_seed_gives_the_weights_and_touches_no_random_state_of_the_user(task: str) -> None:
    data = cases.series(known=("price", "day")) if task == "forecast" else cases.made(task)
    preparation, examples = cases.prepared(data)
    before = random_states()
    first = build_network(preparation, examples, units=4, seed=1)
    first.predict_on_batch(Batches(examples, batch_size=4, shuffle=False, feeds=cases.feeds(first))[0][0])
    assert random_states() == before
    keras.random.normal((3,))  # someone draws from the global generators in between
    random.random()
    again = build_network(preparation, examples, units=4, seed=1)
    other = build_network(preparation, examples, units=4, seed=2)
    for a, b, c in zip(first.get_weights(), again.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        # Biases start at a constant, and the last kernels of a forecast at zero.
        assert len(np.unique(a)) <= 2 or (a != c).any()
    seeds = [
        keras.ops.convert_to_numpy(variable.value).tolist()
        for model in (first, again)
        for variable in model.non_trainable_variables
    ]
    assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]
    kernels = [w for w in first.get_weights() if len(np.unique(w)) > 2]
    assert all((a != b).any() for i, a in enumerate(kernels) for b in kernels[:i] if a.shape == b.shape)


# Files --------------------------------------------------------------------------------------------------------------

LOADED = """
    import sys
    from pathlib import Path
    import keras, numpy as np
    folder, backend = Path(sys.argv[1]), sys.argv[2]
    assert keras.backend.backend() == backend
    for task in ("classify", "forecast"):
        model = keras.saving.load_model(folder / f"{task}.keras")
        with np.load(folder / f"{task}.npz") as stored:
            found = model.predict_on_batch({name: stored[name] for name in stored.files})
        np.save(folder / f"{task}.{backend}.npy", keras.ops.convert_to_numpy(found))
    assert not [name for name in sys.modules if name.split(".")[0] == "throughtime"], "throughtime was imported"
"""


def test_a_saved_network_loads_in_plain_keras_on_every_backend(tmp_path: Path) -> None:
    expected = {}
    for task in ("classify", "forecast"):
        data = cases.series(known=("price", "day")) if task == "forecast" else cases.made(task)
        preparation, examples = cases.prepared(data)
        model = cases.network(preparation, examples, cell=CELLS[task])
        inputs = Batches(examples, batch_size=8, shuffle=False, feeds=cases.feeds(model))[0][0]
        expected[task] = keras.ops.convert_to_numpy(model.predict_on_batch(inputs))
        model.save(tmp_path / f"{task}.keras")
        np.savez(tmp_path / f"{task}.npz", **inputs)
    here = keras.backend.backend()
    # From one backend to each other one is enough, and it is JAX's run that pays for it.
    backends = ("jax", "torch", "tensorflow") if here == "jax" else (here,)
    started = {
        backend: subprocess.Popen(
            [sys.executable, "-I", "-c", textwrap.dedent(LOADED), str(tmp_path), backend],
            env={**os.environ, "KERAS_BACKEND": backend},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for backend in backends
    }
    for backend, process in started.items():
        _, said = process.communicate()
        assert process.returncode == 0, said[-2000:]
        # On one backend the same program runs on the same weights; a thread more or less may split a float32 sum
        # elsewhere. On another, sums of dozens of terms have another order, and tanh and exp other approximations.
        tolerance = {"rtol": 1e-6, "atol": 1e-6} if backend == here else {"rtol": 1e-4, "atol": 1e-5}
        for task, outputs in expected.items():
            np.testing.assert_allclose(np.load(tmp_path / f"{task}.{backend}.npy"), outputs, **tolerance)


# Models of the user's own -------------------------------------------------------------------------------------------


def unequal(features: int = 3) -> tuple[Preparation, Examples]:
    return cases.prepared(cases.sequences("classify")) if features else cases.prepared(coded())


def coded() -> SequenceData:
    """Categories and no numbers."""
    data = cases.made("classify")
    return replace(data, numbers=data.numbers[:, :0], schema=replace(data.schema, numbers=()))


def equal() -> Examples:
    return cases.prepared(cases.sequences("classify", (5, 5, 5)))[1]


class Subclassed(keras.Model):
    def __init__(self, *first: keras.Layer) -> None:
        super().__init__()
        self.first, self.cell = list(first), layers.GRU(2)

    def call(self, x: Any) -> Any:
        for layer in self.first:
            x = layer(x)
        return self.cell(x)


SEES = "sees the padding of shorter sequences as data"


def test_feeds_of_our_own_networks() -> None:
    for task in cases.TASKS:
        preparation, examples = cases.prepared(cases.made(task))
        names, pad_value, warning = feeds_of(build_network(preparation, examples, units=4), examples)
        assert set(names) == {"numbers", "codes"} | ({"mask"} if task != "forecast" else set())
        assert (pad_value, warning) == (0.0, None)
    preparation, examples = cases.prepared(cases.series(known=("price", "shop")))
    names, _, _ = feeds_of(build_network(preparation, examples, units=4), examples)
    assert set(names) == {"numbers", "codes", "future_numbers", "future_codes"}


def test_feeds_of_a_model_with_masking() -> None:
    _, examples = unequal()
    model = keras.Sequential([layers.Masking(mask_value=-7.0), layers.GRU(3), layers.Dense(3)])
    assert feeds_of(model, examples) == ("numbers", -7.0, None)
    nested = keras.Sequential([keras.Sequential([layers.Masking(mask_value=-5.0), layers.GRU(3)]), layers.Dense(3)])
    assert feeds_of(nested, examples) == ("numbers", -5.0, None)
    named = layers.Input((None, 3), name="numbers")
    outputs = layers.GRU(3)(layers.Masking(mask_value=-3.0)(named))
    assert feeds_of(keras.Model(named, outputs), examples) == ("numbers", -3.0, None)
    assert feeds_of(Subclassed(layers.Masking(mask_value=-2.0)), examples) == ("numbers", -2.0, None)


def test_padding_of_a_masked_model_changes_nothing() -> None:
    _, examples = unequal()
    examples = examples.take(np.flatnonzero(examples.lengths))
    model = keras.Sequential([layers.Masking(mask_value=-7.0), layers.GRU(3)])
    feed, pad_value, _ = feeds_of(model, examples)
    found = predict_examples(model, examples, feed, pad_value=pad_value)
    alone = [predict_examples(model, examples.take(np.array([e])), feed) for e in range(len(examples))]
    np.testing.assert_allclose(found, np.concatenate(alone), **SAME)


def test_feeds_of_a_model_that_does_not_mask() -> None:
    _, examples = unequal()
    feed, pad_value, warning = feeds_of(keras.Sequential([layers.GRU(3)]), examples)
    assert (feed, pad_value) == ("numbers", 0.0)
    assert SEES in warning
    assert feeds_of(keras.Sequential([layers.GRU(3)]), equal())[2] is None
    named = layers.Input((None, 3), name="numbers")
    feed, _, warning = feeds_of(keras.Model(named, layers.GRU(3)(named)), examples)
    assert feed == "numbers"
    assert SEES in warning
    assert SEES in feeds_of(Subclassed(), examples)[2]


def test_feeds_of_a_model_of_codes() -> None:
    _, examples = unequal(features=0)
    assert examples.numbers.shape[1] == 0
    for mask_zero in (True, False):
        model = keras.Sequential([layers.Embedding(9, 2, mask_zero=mask_zero), layers.GRU(3)])
        feed, pad_value, warning = feeds_of(model, examples)
        assert (feed, pad_value) == ("codes", 0.0)
        assert (warning is None) == mask_zero


def test_feeds_of_unknown_inputs() -> None:
    _, examples = unequal()
    one, two = layers.Input((None, 3), name="past"), layers.Input((None,), dtype="bool", name="mask")
    model = keras.Model([one, two], layers.GRU(3)(one, mask=two))
    with pytest.raises(ArgumentError, match=r"'past', 'mask'.*'numbers', 'codes', 'mask'"):
        feeds_of(model, examples)
    assert feeds_of(keras.Model(one, layers.GRU(3)(one)), examples)[0] == "numbers"
    with pytest.raises(ArgumentError, match="'past'"):
        feeds_of(keras.Model({"past": one}, layers.GRU(3)(one)), examples)


def test_a_model_of_one_named_input_is_fed_as_it_was_made() -> None:
    # Keras warns, which is an error here, of a dict for a model of one input, and of an array for a model of a dict.
    _, examples = unequal()
    named = layers.Input((None, 3), name="numbers")
    outputs = layers.GRU(3)(named)
    expected = None
    for inputs in (named, {"numbers": named}):
        model = keras.Model(inputs, outputs)
        feed, _, _ = feeds_of(model, examples)
        found = predict_examples(model, examples, feed)
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found, expected)
    sequential = keras.Sequential([layers.Input((None, 3), name="numbers"), layers.GRU(3)])
    predict_examples(sequential, examples, feeds_of(sequential, examples)[0])


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        ("classify", (8, 5, 3), ["(8, 5, 3)", "(batch, 3)", "a probability a class", "return_sequences=False"]),
        ("classify", (8, 2), ["(8, 2)", "(batch, 3)"]),
        ("classify", (8, 1), ["(8, 1)", "(batch, 3)"]),
        ("regress", (8, 1), ["(batch, 2)", "return_sequences=False"]),
        ("tag", (8, 3), ["(batch, steps, 3)", "return_sequences=True"]),
        ("steps", (8, 9, 3), ["(batch, steps, 2)"]),
        ("forecast", (8, 6), ["(8, 6)", "(batch, 3, 2)", "Reshape((3, 2))"]),
        ("forecast", (8, 2, 3), ["(batch, 3, 2)"]),
    ],
)
def test_outputs_of_another_shape_are_refused(task: str, given: tuple[int, ...], said: list[str]) -> None:
    preparation, examples = cases.prepared(cases.made(task))
    with pytest.raises(ArgumentError) as refused:
        check_outputs(given, preparation, examples)
    for words in said:
        assert words in str(refused.value)
    assert ("probability" in str(refused.value)) == (task in ("classify", "tag"))


def test_two_classes_may_have_one_output() -> None:
    data = from_arrays([np.ones((2, 1)), np.zeros((3, 1))], ["a", "b"])
    preparation, examples = cases.prepared(data)
    check_outputs((2, 1), preparation, examples)
    check_outputs((2, 2), preparation, examples)
    with pytest.raises(ArgumentError, match=r"\(batch, 2\) or \(batch, 1\)"):
        check_outputs((2, 3), preparation, examples)
