"""A stream answers at each step what Keras answers for the whole: every cell and option, masks, graphs of layers."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from stream_cases import TOLERANCE, answered, filled, pushed, random, sequential, steps, whole

import throughtime as tt
from throughtime.errors import ArgumentError

pytestmark = pytest.mark.backend

CELLS: dict[str, Callable[..., Any]] = {
    "simple_rnn": layers.SimpleRNN,
    "relu": lambda units, **options: layers.SimpleRNN(units, activation="relu", **options),
    "gru": layers.GRU,
    "gru_reset_before": lambda units, **options: layers.GRU(units, reset_after=False, **options),
    "lstm": layers.LSTM,
    "lstm_hard": lambda units, **options: layers.LSTM(
        units, activation="softsign", recurrent_activation="hard_sigmoid", **options
    ),
    "gru_other": lambda units, **options: layers.GRU(
        units, activation="selu", recurrent_activation="hard_sigmoid", **options
    ),
    "ours_lstm": tt.LSTM,
    "ours_gru": tt.GRU,
    "ours_rnn": tt.SimpleRNN,
    "min_gru": tt.MinGRU,
    "min_gru_positive": lambda units, **options: tt.MinGRU(units, activation="g", **options),
    "min_lstm": lambda units, **options: tt.MinLSTM(units, activation="tanh", **options),
    "lru": lambda units, **options: tt.LRU(units, state_units=7, activation="gelu", **options),
}


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


# Without a bias a cell has one line less, which those of one kind share.
ONCE = ("relu", "lstm_hard", "gru_other", "ours_lstm", "ours_gru", "ours_rnn", "min_gru_positive")


@pytest.mark.parametrize(
    ("cell", "bias"), [(cell, bias) for cell in CELLS for bias in (True, False) if bias or cell not in ONCE]
)
def test_every_cell_answers_each_step_as_the_whole(cell: str, bias: bool) -> None:
    model = sequential(CELLS[cell](5, return_sequences=True, use_bias=bias), layers.Dense(2))
    x = random(3, 12, 3)
    close(pushed(tt.Stream(model, batch=3), x), whole(model, x))
    one = tt.Stream(model)
    close(np.stack([one.push(step) for step in x[1]]), whole(model, x)[1])


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_a_model_that_answers_once_answers_for_the_sequence_so_far(cell: str) -> None:
    model = sequential(
        CELLS[cell](4, return_sequences=True), CELLS[cell](3), layers.Reshape((3, 1)), layers.Flatten(), layers.Dense(2)
    )
    x = random(2, 5, 3)
    close(pushed(tt.Stream(model, batch=2), x), answered(model, x))


def test_settings_that_belong_to_training_or_to_keras_change_nothing() -> None:
    model = sequential(
        layers.LSTM(4, return_sequences=True, dropout=0.5, recurrent_dropout=0.3, unroll=False, seed=3),
        layers.Dropout(0.5, seed=1),
        layers.SpatialDropout1D(0.5, seed=1),
        layers.GaussianNoise(0.5, seed=1),
        layers.GaussianDropout(0.5, seed=1),
        layers.AlphaDropout(0.5, seed=1),
        layers.ActivityRegularization(0.1),
        layers.Identity(),
        layers.Dense(2),
    )
    x = random(2, 6, 3)
    close(pushed(tt.Stream(model, batch=2), x), whole(model, x))


def test_a_stateful_layer_keeps_its_own_state_and_the_stream_another() -> None:
    inputs = keras.Input(batch_shape=(2, None, 3))
    hidden = tt.GRU(4, stateful=True, return_sequences=True)(inputs)
    model = filled(keras.Model(inputs, layers.Dense(1)(hidden)))
    x = random(2, 6, 3)
    stream = tt.Stream(model, batch=2)
    whole(model, random(2, 2, 3, seed=5))
    found = pushed(stream, x)
    for layer in model.layers:
        if isinstance(layer, tt.GRU):
            layer.reset_state()
    close(found, whole(model, x))


# Layers ---------------------------------------------------------------------------------------------------------------

ONE_IN_ONE_OUT = {
    "batch_normalization": lambda: layers.BatchNormalization(),
    "batch_normalization_plain": lambda: layers.BatchNormalization(center=False, scale=False, epsilon=0.1),
    "layer_normalization": lambda: layers.LayerNormalization(),
    "layer_normalization_plain": lambda: layers.LayerNormalization(center=False, scale=False, epsilon=0.1),
    "rms_normalization": lambda: layers.RMSNormalization(),
    "unit_normalization": lambda: layers.UnitNormalization(),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2.0, -3.0], variance=[4.0, 0.25, 1.5]),
    "normalization_back": lambda: layers.Normalization(mean=2.0, variance=3.0, invert=True, axis=None),
    "rescaling": lambda: layers.Rescaling([0.1, 2.0, -3.0], offset=1.5),
    "relu": lambda: layers.ReLU(max_value=0.7, negative_slope=0.1, threshold=0.2),
    "leaky_relu": lambda: layers.LeakyReLU(0.05),
    "elu": lambda: layers.ELU(0.7),
    "prelu": lambda: layers.PReLU(shared_axes=[1]),
    "softmax": lambda: layers.Softmax(),
    "time_distributed": lambda: layers.TimeDistributed(layers.Dense(4, activation="gelu")),
    "time_distributed_model": lambda: layers.TimeDistributed(
        keras.Sequential([keras.Input((3,)), layers.Dense(6), layers.Reshape((2, 3)), layers.Flatten()])
    ),
    "dense_of_a_layer": lambda: layers.Dense(4, activation=layers.LeakyReLU(0.3), use_bias=False),
}


@pytest.mark.parametrize("name", ONE_IN_ONE_OUT)
def test_layers_without_a_state(name: str) -> None:
    model = sequential(ONE_IN_ONE_OUT[name](), layers.SimpleRNN(4, return_sequences=True))
    x = 2 * random(2, 5, 3)
    close(pushed(tt.Stream(model, batch=2), x), whole(model, x))


@pytest.mark.parametrize(
    "name",
    [
        "linear", "tanh", "sigmoid", "hard_sigmoid", "relu", "relu6", "hard_tanh", "leaky_relu", "elu", "selu",
        "softplus", "softsign", "silu", "hard_silu", "gelu", "mish", "exponential", "softmax", "log_softmax",
    ],
)  # fmt: skip
def test_every_activation(name: str) -> None:
    model = keras.Sequential([keras.Input((None, 7)), layers.Activation(name)])
    x = np.concatenate([4 * random(1, 9, 7), np.zeros((1, 1, 7), "float32"), 20 * random(1, 3, 7)], 1)
    expected = whole(model, x)
    np.testing.assert_allclose(pushed(tt.Stream(model, batch=1), x), expected, rtol=2e-5, atol=TOLERANCE)


def test_tokens_of_an_embedding_with_and_without_a_mask() -> None:
    tokens = np.array([[3, 0, 5, 5, 0, 1], [0, 0, 2, 4, 6, 0]])
    for mask_zero in (True, False):
        model = filled(
            keras.Sequential(
                [
                    keras.Input((None,), dtype="int32"),
                    layers.Embedding(7, 4, mask_zero=mask_zero),
                    layers.LSTM(5, return_sequences=True),
                    layers.GRU(4, return_sequences=True),
                    layers.Dense(2),
                ]
            )
        )
        close(pushed(tt.Stream(model, batch=2), tokens), whole(model, tokens))
        one = tt.Stream(model)
        close(np.stack([one.push(token) for token in tokens[0].tolist()]), whole(model, tokens)[0])


# Masks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "gru_reset_before", "lstm", "ours_lstm", "min_lstm", "lru"])
def test_a_masked_step_leaves_the_state_and_answers_as_keras_does(cell: str, zeros: bool) -> None:
    x = random(3, 9, 3)
    x[0, 5:] = x[1, [0, 3, 4]] = x[2, :3] = 7.0
    model = sequential(
        layers.Masking(7.0),
        CELLS[cell](4, return_sequences=True, zero_output_for_mask=zeros),
        layers.BatchNormalization(),
        CELLS[cell](5, return_sequences=True, zero_output_for_mask=zeros),
        layers.Dense(2),
    )
    close(pushed(tt.Stream(model, batch=3), x), whole(model, x))
    once = sequential(layers.Masking(7.0), CELLS[cell](4, zero_output_for_mask=zeros), layers.Dense(2))
    x = x[:, 2:6]
    close(pushed(tt.Stream(once, batch=3), x), answered(once, x))


@pytest.mark.parametrize("merge", [layers.Add, layers.Concatenate])
def test_masks_meet_in_a_merge_as_in_keras(merge: Any) -> None:
    inputs = keras.Input((None, 3))
    first = layers.Masking(7.0)(inputs)
    second = layers.Masking(5.0)(inputs)
    both = merge()([first, second])
    one = merge()([first, inputs])
    outputs = [layers.GRU(4, return_sequences=True)(hidden) for hidden in (both, one)]
    model = filled(keras.Model(inputs, layers.Concatenate()(outputs)))
    x = random(2, 8, 3)
    x[0, [1, 4]], x[1, [2, 4]], x[1, 6] = 7.0, 5.0, 7.0
    close(pushed(tt.Stream(model, batch=2), x), whole(model, x))


def test_a_mask_that_is_an_input_and_one_that_is_pushed() -> None:
    mask = np.random.default_rng(3).random((3, 8)) < 0.6
    x = random(3, 8, 3)
    inputs = {
        "numbers": keras.Input((None, 3), name="numbers"),
        "mask": keras.Input((None,), dtype="bool", name="mask"),
    }
    hidden = layers.LSTM(4, return_sequences=True)(inputs["numbers"], mask=inputs["mask"])
    model = filled(keras.Model(inputs, layers.Dense(2)(layers.GRU(3, return_sequences=True)(hidden))))
    given = {"numbers": x, "mask": mask}
    close(pushed(tt.Stream(model, batch=3), given), whole(model, given))

    plain = sequential(layers.LSTM(4, return_sequences=True), layers.GRU(3, return_sequences=True), layers.Dense(2))
    stream = tt.Stream(plain, batch=3)
    found = np.stack([stream.push(x[:, t], mask=mask[:, t]) for t in range(8)], 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not support masking")  # Keras's models say so of themselves
        close(found, whole(plain, x, mask=keras.ops.convert_to_tensor(mask)))
    # What a masked step holds changes nothing, NaN included.
    again = tt.Stream(plain, batch=3)
    x[~mask] = np.nan
    found_again = np.stack([again.push(x[:, t], mask=mask[:, t]) for t in range(8)], 1)
    np.testing.assert_array_equal(found_again, found)


def test_pushed_masks_meet_where_branches_do() -> None:
    """Steps with a mask and without one in turn; a tensor that Keras keeps no mask of is valid everywhere."""
    inputs = keras.Input((None, 3))
    hidden = layers.Add()([layers.Dense(3)(inputs), inputs])
    hidden = layers.Concatenate()([layers.GRU(4, return_sequences=True)(hidden), inputs])
    hidden = layers.LSTM(4, return_sequences=True)(hidden)
    hidden = layers.Add()([hidden, layers.GRU(4, return_sequences=True)(2 * hidden)])
    model = filled(keras.Model(inputs, layers.SimpleRNN(3, return_sequences=True)(hidden)))
    x, mask = random(2, 8, 3), np.random.default_rng(4).random((2, 8)) < 0.5
    mask[:, [2, 5]] = True
    stream = tt.Stream(model, batch=2)
    found = [stream.push(x[:, t], mask=None if mask[:, t].all() else mask[:, t]) for t in range(8)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not support masking")
        close(np.stack(found, 1), whole(model, x, mask=keras.ops.convert_to_tensor(mask)))


# Graphs ---------------------------------------------------------------------------------------------------------------


def skipping() -> keras.Model:
    """Functional, with skip connections, a model within, arithmetic, a shared layer, and the last step taken out."""
    numbers = keras.Input((None, 4), name="numbers")
    codes = keras.Input((None, 2), dtype="int32", name="codes")
    inner = keras.Sequential([keras.Input((None, 5)), layers.Dense(4, activation="tanh"), layers.LayerNormalization()])
    words = layers.Embedding(6, 5)(codes[:, :, 1])
    hidden = layers.Add()([numbers, inner(words)])
    shared = layers.GRU(4, return_sequences=True)
    hidden = layers.Concatenate()([shared(hidden), shared(numbers), hidden[..., 1:3]])
    hidden = 0.5 * layers.Dense(3)(hidden) + 1.0 - layers.Dense(3)(numbers) / 2
    hidden = layers.Average()([hidden, layers.Multiply()([hidden, hidden]), layers.Maximum()([hidden, hidden])])
    states = layers.LSTM(3, return_sequences=True, return_state=True)(hidden)
    each = layers.Dense(2, name="each")(layers.Subtract()([states[0], hidden]))
    once = layers.Dense(2, name="once")(layers.Concatenate()([states[1], states[2], hidden[:, -1]]))
    return filled(keras.Model([numbers, codes], {"each": each, "once": once}))


def test_a_functional_model_with_skip_connections_two_inputs_and_two_outputs() -> None:
    model = skipping()
    x = [random(2, 6, 4), np.random.default_rng(2).integers(0, 6, (2, 6, 2))]
    stream = tt.Stream(model, batch=2)
    for t, step in enumerate(steps(x)):
        found = stream.push(step)
        expected = whole(model, [one[:, : t + 1] for one in x])
        assert set(found) == {"each", "once"}
        close(found["each"], expected["each"][:, -1])
        close(found["once"], expected["once"])


def test_inputs_of_other_types() -> None:
    model = sequential(layers.GRU(4, return_sequences=True), layers.Dense(2))
    x = np.random.default_rng(0).integers(-2, 3, (2, 4, 3))
    expected = whole(model, x.astype("float32"))
    for dtype in ("float64", "int16", "float16"):
        found = pushed(tt.Stream(model, batch=2), x.astype(dtype))
        assert found.dtype == np.float32
        close(found, expected)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless a process asks for it")
def test_a_model_in_float64_is_answered_in_float64() -> None:
    model = filled(
        keras.Sequential(
            [keras.Input((None, 3), dtype="float64"), layers.LSTM(4, return_sequences=True, dtype="float64")]
        )
    )
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    found = pushed(tt.Stream(model, batch=2), x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, whole(model, x), rtol=1e-12, atol=1e-12)


# Many streams ---------------------------------------------------------------------------------------------------------


def test_one_of_three_streams_is_reset_in_the_middle() -> None:
    model = sequential(layers.LSTM(4, return_sequences=True), layers.GRU(3, return_sequences=True), layers.Dense(2))
    x, stream = random(3, 10, 3), tt.Stream(model, batch=3)
    before = pushed(stream, x[:, :4])
    stream.reset(1)
    after = pushed(stream, x[:, 4:])
    expected = whole(model, x)
    expected[1] = np.concatenate([expected[1, :4], whole(model, x[1:2, 4:])[0]])
    close(np.concatenate([before, after], 1), expected)
    stream.reset()
    close(pushed(stream, x), whole(model, x))
    kept = stream.snapshot()
    stream.reset(np.array([True, False, True]))  # a mask, not numbers
    stream.restore(stream.snapshot(1), 0)
    assert stream.snapshot(0) == stream.snapshot(np.array([False, True, False])) != stream.snapshot(2)
    stream.restore(kept)
    for wrong in (True, [3], [-1], [0.5], "a", [], np.array([True, False])):
        with pytest.raises(ArgumentError, match="numbers from 0 to 2"):
            stream.reset(wrong)
    assert stream.snapshot() == kept


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_is_refused(copied: Any) -> None:
    with pytest.raises(ArgumentError, match=r"restore\(\)"):
        copied(tt.Stream(sequential(layers.SimpleRNN(3, return_sequences=True))))


def test_an_answer_is_the_callers_own() -> None:
    model = sequential(layers.SimpleRNN(3, return_sequences=True))
    stream, x = tt.Stream(model), random(2, 3)
    first = stream.push(x[0])
    kept = first.copy()
    first += 1
    second = stream.push(x[1])
    np.testing.assert_array_equal(first, kept + 1)
    close(second, whole(model, x[None])[0, 1])


# What is refused at a push --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(4), r"shape \(4,\) .* one step is \(3,\) numbers"),
        (np.zeros((5, 3)), r"shape \(5, 3\) .* For many streams: Stream\(model, batch=B\)"),
        (np.array(["a", "b", "c"]), "type <U1"),
        (np.array([1.0, np.nan, 2.0]), r"nan \(feature 1\).*states are as they were"),
        (np.array([1.0, np.inf, 2.0]), "inf"),
    ],
)
def test_what_cannot_be_a_step_is_refused_and_changes_no_state(given: Any, message: str) -> None:
    model = sequential(layers.LSTM(4, return_sequences=True), layers.Dense(2))
    stream, x = tt.Stream(model), random(1, 5, 3)
    before = [stream.push(step) for step in x[0, :3]]
    state = stream.snapshot()
    with pytest.raises(ArgumentError, match=message):
        stream.push(given)
    assert stream.snapshot() == state
    close(np.stack([*before, *(stream.push(step) for step in x[0, 3:])]), whole(model, x)[0])


def test_other_refusals_of_a_push_name_what_is_accepted() -> None:
    model = sequential(layers.LSTM(4))
    many = tt.Stream(model, batch=2)
    with pytest.raises(ArgumentError, match=r"nan \(feature 2 of stream 1\)"):
        many.push([[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]])
    with pytest.raises(ArgumentError, match=r"one step is \(2, 3\) numbers, of each stream"):
        many.push(np.zeros(3))
    with pytest.raises(ArgumentError, match=r"booleans of shape \(2,\)"):
        many.push(np.zeros((2, 3)), mask=[1, 0])
    with pytest.raises(ArgumentError, match="numbers from 0 to 1"):
        many.reset(2)
    with pytest.raises(ArgumentError, match="numbers from 0 to 1"):
        many.reset("all")
    words = keras.Sequential([keras.Input((None,)), layers.Embedding(7, 3), layers.GRU(2)])
    stream = tt.Stream(words)
    for token in (7, -1, 2.5):
        with pytest.raises(ArgumentError, match=rf"the token {token}.* from 0 to 6"):
            stream.push(token)
    counted = tt.Stream(keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(7, 3)]))
    with pytest.raises(ArgumentError, match="takes whole numbers"):
        counted.push(2.5)
    two = tt.Stream(skipping())
    with pytest.raises(ArgumentError, match="a list of 'numbers', 'codes'"):
        two.push(np.zeros(4))
    inputs = {"numbers": keras.Input((None, 3), name="numbers")}
    keyed = tt.Stream(keras.Model(inputs, layers.GRU(2)(inputs["numbers"])))
    with pytest.raises(ArgumentError, match="a dict of 'number'; the model takes a dict of 'numbers'"):
        keyed.push({"number": np.zeros(3)})
