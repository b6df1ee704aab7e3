"""gradient_flow against closed forms, NumPy's backward pass and Keras's own layers; the model stays as it was."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.gradients.flow import LayerFlow
from throughtime.kernels import reference
from throughtime.kernels.problem import Problem

pytestmark = pytest.mark.backend

# Sums of tens of float32 products each, in other orders on each side: relative to the largest norm.
TOLERANCE = 1e-5


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-30))


def scalar(weight: float, *, activation: str, layer: Any = keras.layers.SimpleRNN, head: float = 3.0) -> keras.Model:
    """h_t = weight h_(t-1) + x_t, the loss (3 h_T - y)^2."""
    model = keras.Sequential([keras.Input((None, 1)), layer(1, activation=activation, use_bias=False, name="rnn"),
                              keras.layers.Dense(1, use_bias=False)])  # fmt: skip
    one = np.ones((1, 1), "float32")
    model.set_weights([one, weight * one, head * one])
    model.compile(loss="mse")
    return model


def batch(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype("float32")


# Closed forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.5, 0.9, 1.0, 1.1, -0.8, 0.0])
@pytest.mark.parametrize(("activation", "layer"), [("linear", keras.layers.SimpleRNN), ("relu", tt.SimpleRNN)])
def test_a_scalar_linear_recurrence_has_powers_of_its_weight(weight: float, activation: str, layer: Any) -> None:
    if activation == "relu":
        weight = abs(weight)  # states stay positive, and relu is linear there
    model = scalar(weight, activation=activation, layer=layer)
    x, y = np.random.default_rng(1).uniform(0.5, 1, (3, 12, 1)).astype("float32"), np.array([[0.5], [0.0], [2.0]])
    flow = tt.gradient_flow(model, x, y)
    prediction = model.predict(x, verbose=0)
    at_end = np.abs(2 * (prediction - y) / 3 * 3.0)
    expected = at_end * np.abs(weight) ** np.arange(11, -1, -1.0)
    close(flow["rnn"].norms, expected)
    assert flow["rnn"].native == (activation == "relu")
    assert flow["rnn"].first_to_last == pytest.approx(abs(weight) ** 11, rel=1e-4)
    if weight:
        assert flow["rnn"].rate == pytest.approx(abs(weight), rel=1e-4)
        if activation == "relu":
            assert flow["rnn"].trajectory.exponent == pytest.approx(np.log(float(np.float32(weight))), abs=1e-9)
    elif activation == "relu":
        assert flow["rnn"].trajectory.exponent == -np.inf


def test_the_horizon_of_a_geometric_flow() -> None:
    flow = tt.gradient_flow(scalar(0.5, activation="linear"), np.ones((1, 30, 1)), np.zeros((1, 1)))["rnn"]
    # 1 - 0.5^(h+1) >= share
    assert [flow.horizon(share) for share in (0.4, 0.5, 0.74, 0.9, 0.99)] == [0, 0, 1, 3, 6]
    assert flow.horizon(1.0) <= 29
    for share in (0.0, 1.5, -1):
        with pytest.raises(ArgumentError, match="more than 0 and at most 1"):
            flow.horizon(share)


def test_a_loss_at_every_step_adds_what_comes_back_to_what_is_there() -> None:
    """dL/dh_t = d_t + w dL/dh_(t+1), d_t the direct part."""
    layers = [keras.Input((None, 1)), tt.SimpleRNN(1, activation="relu", use_bias=False, return_sequences=True)]
    model = keras.Sequential(layers)
    one = np.ones((1, 1), "float32")
    model.set_weights([one, 0.7 * one])
    model.compile(loss="mse")
    x, y = np.random.default_rng(1).uniform(0.5, 1, (2, 9, 1)).astype("float32"), np.zeros((2, 9, 1), "float32")
    direct = 2 * model.predict(x, verbose=0)[..., 0] / y.size
    expected, coming = np.zeros_like(direct), np.zeros(2)
    for t in reversed(range(9)):
        expected[:, t] = coming = direct[:, t] + 0.7 * coming
    (flow,) = tt.gradient_flow(model, x, y).values()
    close(flow.norms, expected)


# Against NumPy and Keras --------------------------------------------------------------------------------------------

CELLS = {"SimpleRNN": "rnn_tanh", "GRU": "gru", "LSTM": "lstm"}


@pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_numpy_has_the_same_norms(room: Any, cell: str, reverse: bool) -> None:
    rng = np.random.default_rng(3)
    layer = getattr(room, cell)(6, go_backwards=reverse, name="rnn")
    head = keras.layers.Dense(2)
    inputs, mask_input = keras.Input((11, 4)), keras.Input((11,), dtype="bool")
    model = keras.Model([inputs, mask_input], head(layer(inputs, mask=mask_input)))
    model.set_weights([0.6 * batch(rng, *one.shape) for one in model.weights])
    model.compile(loss="mse")
    x, mask, y = batch(rng, 5, 11, 4), rng.random((5, 11)) < 0.7, batch(rng, 5, 2)
    mask[0], mask[1] = True, False
    flow = tt.gradient_flow(model, [x, mask], y)["rnn"]
    assert flow.native == (room is tt)

    kernel, recurrent_kernel, bias = layer.get_weights()
    biases = {"bias": bias[0], "recurrent_bias": bias[1]} if cell == "GRU" else {"bias": bias}
    arrays = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "x": x, **biases}
    doubles = {name: np.array(one, np.float64, order="C") for name, one in arrays.items()}
    problem = Problem(CELLS[cell], 5, 11, 4, 6, reverse)
    predicted = model.predict([x, mask], verbose=0)
    dlast = (2 * (predicted - y) / y.size) @ head.get_weights()[0].T
    exact = reference.backward(problem, mask=mask, dlast=dlast.astype(np.float64), norms=True, **doubles)
    close(flow.norms, exact.norms)
    order = slice(None, None, -1) if reverse else slice(None)
    np.testing.assert_array_equal(flow.mask, mask[:, order])
    assert not flow.norms[~flow.mask].any()


def stacked(room: Any, rng: np.random.Generator) -> keras.Model:
    """Embedding with a mask, two directions, dropout, normalisation, a layer that is shared, and two inputs."""
    tokens, values = keras.Input((9,), dtype="int32"), keras.Input((9, 3))
    x = keras.layers.Embedding(7, 5, mask_zero=True)(tokens)
    x = keras.layers.Bidirectional(room.LSTM(4, return_sequences=True, name="both"), name="two_ways")(x)
    x = keras.layers.Dropout(0.5)(x)
    shared = room.GRU(8, return_sequences=True, name="shared")
    x = shared(shared(x))
    other = room.SimpleRNN(3, name="other")(keras.layers.BatchNormalization()(values))
    joined = keras.layers.Concatenate()([room.LSTM(4, dropout=0.3, name="last")(x), other])
    model = keras.Model([tokens, values], keras.layers.Dense(3, activation="softmax")(joined))
    for variable in model.trainable_variables:
        variable.assign(0.5 * batch(rng, *variable.shape))
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def stacked_data(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    tokens = rng.integers(1, 7, (6, 9)) * (np.arange(9) < rng.integers(2, 10, (6, 1)))
    return [tokens.astype("int32"), batch(rng, 6, 9, 3)], rng.integers(0, 3, 6)


def test_both_ways_of_measuring_agree_in_a_larger_model() -> None:
    rng = np.random.default_rng(5)
    model, (x, y) = stacked(tt, rng), stacked_data(rng)
    natively = tt.gradient_flow(model, x, y)
    assert list(natively) == ["two_ways/forward_both", "two_ways/backward_both", "shared", "shared#2", "last", "other"]
    assert [flow.native for flow in natively.values()] == [True, True, False, False, True, True]
    by_probe = tt.gradient_flow(tt.to_keras(model), x, y)
    assert not any(flow.native for flow in by_probe.values())
    assert natively.loss == pytest.approx(by_probe.loss, rel=1e-5)
    for name, flow in natively.items():
        close(flow.norms, by_probe[name].norms)
        np.testing.assert_array_equal(flow.mask, by_probe[name].mask)
    for name, norm in natively.weights.items():
        assert by_probe.weights[name] == pytest.approx(norm, rel=1e-4, abs=1e-7)


def test_a_frozen_layer_and_a_subclassed_model() -> None:
    class Reader(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = tt.GRU(4, name="reader"), keras.layers.Dense(1)
            self.rnn.trainable = False

        def call(self, x: Any, training: bool = False) -> Any:
            return self.head(self.rnn(x, training=training))

    rng = np.random.default_rng(2)
    model, x, y = Reader(), batch(rng, 3, 7, 2), batch(rng, 3, 1)
    model(x)
    flow = tt.gradient_flow(model, x, y, loss="mse")
    assert flow["reader"].native and (flow["reader"].norms > 0).all()
    assert len(flow.weights) == 2  # of the head alone
    model.rnn.trainable = True
    close(tt.gradient_flow(model, x, y, loss="mse")["reader"].norms, flow["reader"].norms)


def test_cells_in_one_loop_are_as_layers_one_after_the_other() -> None:
    """The flow is that of the last cell, which gives the output."""
    rng = np.random.default_rng(4)
    cells = [keras.layers.LSTMCell(4), keras.layers.GRUCell(5)]
    together = keras.Sequential([keras.Input((9, 3)), keras.layers.RNN(cells, name="rnn"), keras.layers.Dense(1)])
    layers = [keras.layers.LSTM(4, return_sequences=True), keras.layers.GRU(5, name="last"), keras.layers.Dense(1)]
    apart = keras.Sequential([keras.Input((9, 3)), *layers])
    apart.set_weights([batch(rng, *one.shape) for one in apart.weights])
    together.set_weights(apart.get_weights())
    x, y = batch(rng, 4, 9, 3), batch(rng, 4, 1)
    found, expected = (tt.gradient_flow(model, x, y, loss="mse") for model in (together, apart))
    assert found["rnn"].units == 5 and found["rnn"].trajectory is None
    close(found["rnn"].norms, expected["last"].norms)


# What is left behind ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])
def test_the_model_stays_as_it_was(room: Any) -> None:
    rng = np.random.default_rng(7)
    model, (x, y) = stacked(room, rng), stacked_data(rng)
    model.fit(x, y, epochs=1, verbose=0)
    step = model.train_function
    every = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    before = [np.array(keras.ops.convert_to_numpy(one)) for one in every]
    classes = [type(layer) for layer in model._flatten_layers()]
    tt.gradient_flow(model, x, y)
    with pytest.raises(Exception):  # noqa: B017 - whatever the backend says of a wrong shape
        tt.gradient_flow(model, [x[0], x[1][:, :5]], y)
    for one, old in zip(every, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), old)
    assert [type(layer) for layer in model._flatten_layers()] == classes
    assert model.train_function is step
    assert not any("_watch" in layer.__dict__ for layer in model._flatten_layers())
    if room is tt:
        assert not any(layer.tap for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN))
    model.fit(x, y, epochs=1, verbose=0)


# Figures ------------------------------------------------------------------------------------------------------------


def test_sequences_are_aligned_to_their_start_and_to_their_end() -> None:
    norms = np.array([[1, 0, 2, 4], [0, 8, 0, 0], [0, 0, 0, 0]], np.float32)
    mask = np.array([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]], bool)
    flow = LayerFlow("rnn", "LSTM", 3, norms, mask)
    assert flow.lengths.tolist() == [3, 1, 0]
    assert flow.from_end.tolist() == [6, 2, 1]
    assert flow.from_start.tolist() == [4.5, 2, 4]
    assert flow.first_to_last == 0.25
    empty = LayerFlow("rnn", "LSTM", 3, norms[:0], mask[:0])
    assert empty.horizon() == 0 and np.isnan(empty.rate) and np.isnan(empty.first_to_last)


def test_what_it_says_and_shows(tmp_path: Any) -> None:
    flow = tt.gradient_flow(scalar(0.5, activation="relu", layer=tt.SimpleRNN), np.ones((2, 30, 1)), np.zeros((2, 1)))
    said = str(flow)
    assert "rnn" in said and "0.500" in said and "-0.693" in said
    flow.plot().savefig(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 5000


# What is refused ----------------------------------------------------------------------------------------------------


def test_bad_arguments_are_refused() -> None:
    x, y = np.ones((2, 4, 1)), np.ones((2, 1))
    with pytest.raises(ArgumentError, match="a keras.Model is accepted"):
        tt.gradient_flow(keras.layers.LSTM(2), x, y)  # type: ignore[arg-type]
    plain = keras.Sequential([keras.Input((4, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    with pytest.raises(ArgumentError, match="no recurrent layer"):
        tt.gradient_flow(plain, x, y)
    model = keras.Sequential([keras.Input((4, 1)), keras.layers.LSTM(2), keras.layers.Dense(1)])
    with pytest.raises(ArgumentError, match="not compiled"):
        tt.gradient_flow(model, x, y)
    model.compile(loss="mse")
    with pytest.raises(ArgumentError, match="sequences=0"):
        tt.gradient_flow(model, x, y, sequences=0)
    with pytest.raises(ArgumentError, match="sample_weight goes with the compiled loss"):
        tt.gradient_flow(model, x, y, loss="mse", sample_weight=np.ones(2))


def test_sample_weights_weigh_the_flow_of_their_sequences() -> None:
    model, x, y = scalar(0.5, activation="relu", layer=tt.SimpleRNN), np.ones((3, 5, 1)), np.zeros((3, 1))
    plain = tt.gradient_flow(model, x, y)["rnn"].norms
    weights = np.array([2.0, 0.0, 1.0])
    close(tt.gradient_flow(model, x, y, sample_weight=weights)["rnn"].norms, plain * weights[:, None])


@pytest.mark.parametrize("layer", [tt.GRU, keras.layers.GRU])
def test_a_penalty_on_what_a_layer_gives_out_has_a_gradient(layer: Any) -> None:
    """Alone: the head is zero, so that the error has none by the states."""
    penalty = keras.regularizers.L1L2(0.01, 0.02)
    recurrent = layer(3, activity_regularizer=penalty, name="gru")
    model = keras.Sequential([keras.Input((5, 2)), recurrent, keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(loss="mse")
    x = batch(np.random.default_rng(3), 4, 5, 2)
    states = keras.ops.convert_to_numpy(recurrent(x))
    expected = np.linalg.norm(0.01 * np.sign(states) + 0.04 * states, axis=1) / 4  # Keras divides by the batch
    close(tt.gradient_flow(model, x, np.ones((4, 1)))["gru"].norms[:, -1], expected)
