"""What ``layer.states`` names is what the next call starts from: in any order of calls, trainings and assignments, and
in every precision. The oracle is a layer that carries nothing, which is given its initial state.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras import ops
from layer_cases import values

import throughtime as tt

pytestmark = pytest.mark.backend

ROWS, STEPS, FEATURES, UNITS = 2, 3, 2, 3
RATE = 0.1
CELLS = (tt.SimpleRNN, tt.GRU, tt.LSTM, tt.MinGRU, tt.MinLSTM, tt.LRU)
OWN = (tt.MinGRU, tt.MinLSTM, tt.LRU)  # that Keras does not have
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")
ACTIONS = ("fit", "predict", "evaluate", "call", "call in training", "assign", "assign for training", "reset")


def without_carrying(layer: Any) -> keras.layers.RNN:
    """Keras's own layer of the same weights, or its loop around the same kind of cell; in float32."""
    config = layer.get_config() | {"stateful": False, "return_state": True, "dtype": "float32"}
    kind = type(layer)
    if kind in OWN:
        ours = kind.from_config(config)
        stock = keras.layers.RNN(ours.cell, return_sequences=layer.return_sequences, return_state=True)
    else:
        stock = getattr(keras.layers, kind.__name__).from_config(config)
    stock.build((ROWS, STEPS, FEATURES))
    return stock


class Oracle:
    """Two states in NumPy, and a layer that carries none."""

    def __init__(self, layer: Any) -> None:
        self.layer, self.stock = layer, without_carrying(layer)
        self.reset()

    def reset(self) -> None:
        self.states = {
            mode: [np.zeros((ROWS, size), np.float32) for size in self.layer.state_size]
            for mode in ("training", "inference")
        }

    def call(self, x: np.ndarray, mode: str) -> np.ndarray:
        self.stock.set_weights(self.layer.get_weights())
        y, *states = self.stock(x, initial_state=[ops.convert_to_tensor(one) for one in self.states[mode]])
        self.states[mode] = [ops.convert_to_numpy(one) for one in states]
        return ops.convert_to_numpy(y)


def numbers(variables: Any) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(one.value)).astype(np.float32) for one in variables]


def close(found: Any, expected: Any, **tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


@cache
def model_of(kind: Any) -> tuple[keras.Model, Oracle, list[np.ndarray]]:
    """Compiled once for all examples."""
    keras.utils.set_random_seed(3)
    layer = kind(UNITS, stateful=True, return_sequences=True)
    model = keras.Sequential([keras.Input(batch_shape=(ROWS, STEPS, FEATURES)), layer])
    model.compile(keras.optimizers.SGD(RATE), "mse")
    return model, Oracle(layer), model.get_weights()


def play(kind: Any, actions: list[str]) -> None:
    model, oracle, weights = model_of(kind)
    layer, rng = model.layers[0], np.random.default_rng(len(actions))
    model.set_weights(weights)
    layer.reset_state()
    oracle.reset()
    for action in actions:
        x, y = values(rng, ROWS, STEPS, FEATURES), values(rng, ROWS, STEPS, UNITS)
        if action == "fit":
            answer = oracle.call(x, "training")  # by the weights before the step
            loss = model.fit(x, y, batch_size=ROWS, verbose=0, shuffle=False).history["loss"][0]
            np.testing.assert_allclose(loss, np.mean((answer - y) ** 2), rtol=1e-4)
        elif action == "predict":
            close([model.predict(x, batch_size=ROWS, verbose=0)], [oracle.call(x, "inference")])
        elif action == "evaluate":
            loss = model.evaluate(x, y, batch_size=ROWS, verbose=0)
            np.testing.assert_allclose(loss, np.mean((oracle.call(x, "inference") - y) ** 2), rtol=1e-4)
        elif action == "call":
            close([ops.convert_to_numpy(model(x))], [oracle.call(x, "inference")])
        elif action == "call in training":
            found = model(x, training=True)
            found = found.detach() if keras.backend.backend() == "torch" else found
            close([ops.convert_to_numpy(found)], [oracle.call(x, "training")])
        elif action == "assign":
            given_states = [values(rng, ROWS, size) for size in layer.state_size]
            for variable, value in zip(layer.states, given_states, strict=True):
                variable.assign(value)
            oracle.states = {"training": given_states, "inference": given_states}
        elif action == "assign for training":
            oracle.states["training"] = [values(rng, ROWS, size) for size in layer.state_size]
            for variable, value in zip(layer.training_states, oracle.states["training"], strict=True):
                variable.assign(value)
        else:
            layer.reset_state()
            oracle.reset()
        close(numbers(layer.states), oracle.states["inference"])
        close(numbers(layer.training_states), oracle.states["training"])


@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=4)
@given(actions=st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=7))
@example(actions=["fit", "assign", "predict", "predict"])
@example(actions=["predict", "fit", "assign", "fit", "fit", "evaluate", "assign", "call in training", "call", "reset"])
def test_each_call_starts_from_the_states_that_the_layer_shows(kind: Any, actions: list[str]) -> None:
    play(kind, actions)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=150)
@given(actions=st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=14))
def test_the_same_in_many_orders(kind: Any, actions: list[str]) -> None:
    play(kind, actions)


def test_a_state_that_is_shown_is_a_variable_like_any_other() -> None:
    layer = tt.LSTM(UNITS, stateful=True)
    layer(np.zeros((ROWS, STEPS, FEATURES), np.float32))
    first = layer.states[0]
    assert isinstance(first, keras.Variable)
    assert tuple(first.shape) == (ROWS, UNITS)
    assert first.dtype == "float32"
    first.assign(np.full((ROWS, UNITS), 2.0))
    first.assign_add(ops.ones((ROWS, UNITS)))
    np.testing.assert_array_equal(ops.convert_to_numpy(first + 1.0), np.full((ROWS, UNITS), 4.0))
    np.testing.assert_array_equal(np.asarray(first), np.full((ROWS, UNITS), 3.0))
    np.testing.assert_array_equal(numbers(layer.training_states)[0], np.full((ROWS, UNITS), 3.0))
    with pytest.raises(ValueError, match="shape"):
        first.assign(np.zeros((ROWS + 1, UNITS)))
    assert len(layer.weights) == 3


def test_without_stateful_there_are_none() -> None:
    assert tt.GRU(UNITS).training_states is None


# Precision ------------------------------------------------------------------------------------------------------------


def side_by_side(policy: str) -> keras.Model:
    """All kinds of layers on one input, so that one compilation serves them all."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input(batch_shape=(ROWS, STEPS, FEATURES))
    outputs = [kind(UNITS, stateful=True, return_sequences=True, dtype=policy)(inputs) for kind in CELLS]
    return keras.Model(inputs, keras.layers.Concatenate(dtype="float32")(outputs))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_precision_carries_in_predict_and_in_fit(policy: str) -> None:
    model, rng = side_by_side(policy), np.random.default_rng(1)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.RNN)]
    oracles = [Oracle(layer) for layer in layers]
    # Half precision rounds inputs, weights and the states between two calls.
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if policy == "float32" else {"rtol": 0.05, "atol": 0.03}
    x = values(rng, 3 * ROWS, STEPS, FEATURES)
    batches = x.reshape(3, ROWS, STEPS, FEATURES)
    expected = np.concatenate(
        [np.concatenate([oracle.call(one, "inference") for oracle in oracles], -1) for one in batches]
    )
    close([model.predict(x[:ROWS], batch_size=ROWS, verbose=0)], [expected[:ROWS]], **tolerance)
    close([model.predict(x[ROWS:], batch_size=ROWS, verbose=0)], [expected[ROWS:]], **tolerance)
    model.fit(x, expected, batch_size=ROWS, shuffle=False, verbose=0)
    for layer, oracle in zip(layers, oracles, strict=True):
        close(numbers(layer.states), oracle.states["inference"], **tolerance)
        close(numbers(layer.training_states), oracle.states["inference"], **tolerance)


@pytest.mark.parametrize("policy", POLICIES)
def test_all_that_a_step_assigns_changes_in_every_precision(policy: str) -> None:
    """Moving averages, seeds of dropout and carried states, in a model with layers of ours."""
    rng = np.random.default_rng(2)
    keras.utils.set_random_seed(5)
    layers = [
        keras.layers.Dropout(0.5, seed=1, dtype=policy),
        keras.layers.BatchNormalization(momentum=0.5, dtype=policy),
        tt.LSTM(UNITS, stateful=True, return_sequences=True, dropout=0.5, seed=2, dtype=policy),
        tt.MinGRU(UNITS, stateful=True, return_sequences=True, dropout=0.5, seed=3, dtype=policy),
        keras.layers.BatchNormalization(dtype=policy),
        keras.layers.Dense(1, dtype="float32"),
    ]
    model = keras.Sequential([keras.Input(batch_shape=(ROWS, STEPS, FEATURES)), *layers])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    shown = [id(one) for layer in layers[2:4] for one in layer._carried.inference]
    assigned = [one for one in model.non_trainable_variables if id(one) not in shown]
    seeds = [layer.seed_generator.state for layer in (layers[0], layers[3])] + [layers[2].cell.seed_generator.state]
    before = numbers([*assigned, *seeds])
    model.fit(values(rng, ROWS, STEPS, FEATURES), values(rng, ROWS, STEPS, 1), batch_size=ROWS, verbose=0)
    same = [
        one.path
        for one, old, new in zip([*assigned, *seeds], before, numbers([*assigned, *seeds]), strict=True)
        if np.array_equal(old, new)
    ]
    drawn_by_torch = keras.backend.backend() == "torch"  # which draws from a state of its own
    assert [path for path in same if not (drawn_by_torch and "seed" in path)] == []


@pytest.mark.parametrize("policy", POLICIES[1:])
def test_streams_are_carried_in_half_precision(policy: str) -> None:
    keras.utils.set_random_seed(6)
    rng = np.random.default_rng(3)
    sequences = [values(rng, length, FEATURES) for length in (9, 2, 5)]
    streams = tt.Streams(sequences, window=4, batch=ROWS)
    layer = tt.GRU(UNITS, stateful=True, return_sequences=True, dtype=policy)
    model = keras.Sequential([keras.Input(batch_shape=(ROWS, None, FEATURES)), layer])
    whole = without_carrying(layer)
    whole.set_weights(layer.get_weights())
    found = streams.unwindowed(model.predict(streams, callbacks=[tt.CarryState(streams)], verbose=0))
    for x, one in zip(sequences, found, strict=True):  # a forecast of each step but the first
        close([one], [ops.convert_to_numpy(whole(x[None, :-1])[0])[0]], rtol=0.05, atol=0.03)
