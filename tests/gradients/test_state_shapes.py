"""dL/dh_t where states are no (B, H): images, stacked cells, cells of the user's own.

The oracle is a plain loop over steps that calls the cell, and central differences of the loss by every value of the
state after a step: it shares no code with the probes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import throughtime as tt
from throughtime.errors import ArgumentError

pytestmark = pytest.mark.backend
RNG = np.random.default_rng(8)
STEP = 3e-2  # of the differences: float32 in a loss that is nearly quadratic


class Residual(keras.Layer):
    """A cell that gives out its state and what it was given: still as the state moves, its output moves."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight((shape[-1] + self.units, self.units), initializer="orthogonal", name="kernel")

    def call(self, x: Any, states: Any) -> Any:
        h = ops.tanh(ops.concatenate([x, states[0]], axis=-1) @ self.kernel)
        return h + x[:, :1], [h]


class SecondState(Residual):
    """Its output is the second of its states, and both come from the second."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(units, **options)
        self.state_size = [units, units]

    def call(self, x: Any, states: Any) -> Any:
        h = ops.tanh(ops.concatenate([x, states[1]], axis=-1) @ self.kernel)
        return h, [states[1] * 0.5 + states[0], h]


class Hidden(Residual):
    """Its output is a function of its state."""

    def call(self, x: Any, states: Any) -> Any:
        h = ops.tanh(ops.concatenate([x, states[0]], axis=-1) @ self.kernel)
        return ops.square(h), [h]


def images(*shape: int) -> np.ndarray:
    return RNG.normal(size=(2, 4, *shape)).astype("float32")


# The layer, its input, and the place of the state that is its output among all, laid flat.
CASES: dict[str, tuple[Callable[[], keras.layers.RNN], np.ndarray, int]] = {
    "1d": (lambda: layers.ConvLSTM1D(2, 3, padding="same"), images(4, 2), 0),
    "1d, all steps": (lambda: layers.ConvLSTM1D(2, 2, return_sequences=True), images(4, 1), 0),
    "2d": (lambda: layers.ConvLSTM2D(2, 2), images(3, 3, 1), 0),
    "2d, backwards": (lambda: layers.ConvLSTM2D(1, 2, padding="same", go_backwards=True), images(3, 3, 2), 0),
    "3d": (lambda: layers.ConvLSTM3D(1, 2, padding="same"), images(2, 2, 2, 1), 0),
    "stacked": (lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)])), images(2), 2),
    "stacked LSTMs": (lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(2)])),
                      images(2), 1),
    "residual": (lambda: layers.RNN(Residual(3), return_sequences=True), images(2), 0),
    "second state": (lambda: layers.RNN(SecondState(3)), images(2), 1),
}  # fmt: skip


def by_differences(layer: keras.layers.RNN, head: keras.Layer, x: np.ndarray, y: np.ndarray, place: int) -> np.ndarray:
    """(B, T): the norm of the loss's derivative by the state after each step, all perturbed copies in one batch."""

    def losses(row: int, at: int | None, offsets: np.ndarray | None) -> np.ndarray:
        """The loss of a row for each of the offsets of its state after a step."""
        many = 1 if offsets is None else len(offsets)
        xs = np.repeat(x[row : row + 1], many, axis=0)
        states: Any = layer.get_initial_state(many)
        order = range(x.shape[1] - 1, -1, -1) if layer.go_backwards else range(x.shape[1])
        outputs = []
        for taken, step in enumerate(order):
            output, states = layer.cell(ops.convert_to_tensor(xs[:, step]), states)
            if taken == at:
                assert offsets is not None
                flat = keras.tree.flatten(states)
                moved = ops.convert_to_tensor(offsets.reshape(-1, *output.shape[1:]))
                flat[place] = flat[place] + moved
                states, output = keras.tree.pack_sequence_as(states, flat), output + moved
            outputs.append(output)
        whole = ops.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
        answer = ops.convert_to_numpy(head(ops.reshape(whole, (many, -1)))).astype(float)
        return ((answer - y[row]) ** 2).mean(axis=-1) / len(x)

    size = int(np.prod(layer_state(layer, x, place)))
    each = np.concatenate([STEP * np.eye(size), -STEP * np.eye(size)]).astype("float32")
    found = np.zeros(x.shape[:2])
    for row in range(len(x)):
        for at in range(x.shape[1]):
            there = losses(row, at, each)
            found[row, at] = np.linalg.norm((there[:size] - there[size:]) / (2 * STEP))
    return found


def layer_state(layer: keras.layers.RNN, x: np.ndarray, place: int) -> tuple[int, ...]:
    initial = layer.get_initial_state(1)
    return tuple(keras.tree.flatten(initial)[place].shape[1:])


@pytest.mark.parametrize("name", CASES)
def test_the_flow_through_states_of_any_shape_is_that_of_central_differences(name: str) -> None:
    make, x, place = CASES[name]
    keras.utils.set_random_seed(4)
    layer, head = make(), layers.Dense(2)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, layers.Flatten(), head])
    model.compile(loss="mse")
    y = RNG.normal(size=(len(x), 2)).astype("float32")
    flow = tt.gradient_flow(model, x, y)
    expected = by_differences(layer, head, x, y, place)
    assert flow[layer.name].units == int(np.prod(layer_state(layer, x, place)))
    np.testing.assert_allclose(flow[layer.name].norms, expected, rtol=2e-2, atol=1e-5)
    assert expected.min() > 0


def test_a_cell_whose_output_is_no_state_is_refused_in_a_line_and_left_out_beside_others() -> None:
    x = images(2)
    alone = keras.Sequential([keras.Input((4, 2)), layers.RNN(Hidden(3), name="own"), layers.Dense(1)])
    alone.compile(loss="mse")
    with pytest.raises(ArgumentError, match="own: Hidden gives out what is none of its states") as raised:
        tt.gradient_flow(alone, x, x[:, 0, :1])
    assert "\n" not in str(raised.value)
    both = keras.Sequential([
        keras.Input((4, 2)), layers.RNN(Hidden(3), return_sequences=True, name="own"), layers.GRU(2, name="gru"),
        layers.Dense(1),
    ])  # fmt: skip
    both.compile(loss="mse")
    flow = tt.gradient_flow(both, x, x[:, 0, :1])
    assert list(flow) == ["gru"] and list(flow.unseen) == ["own"] and "not seen: own: Hidden" in str(flow)


def test_a_monitor_records_layers_of_images_by_a_probe() -> None:
    x = images(3, 3, 1)
    model = keras.Sequential([
        keras.Input(x.shape[1:]), layers.ConvLSTM2D(1, 2, name="own"), layers.Flatten(), layers.Dense(1),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    y = x[:, 0, 0, 0]
    before = tt.gradient_flow(model, x, y)["own"].norms
    monitor = tt.GradientMonitor(probe=(x, y), every=1)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[monitor])
    assert monitor.history["own"].norms.shape == (2, 4)
    np.testing.assert_allclose(monitor.history["own"].norms[0], before.mean(axis=0)[::-1], rtol=1e-4)
