"""``locate`` finds what was put there: in data, weights, layers, losses and gradients, at its own row and step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.gradients.locating import NonFinite, locate

pytestmark = pytest.mark.backend
ROOMS = pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])


def batch(rows: int = 6, steps: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, steps, 3)).astype("float32"), rng.normal(size=(rows, 1)).astype("float32")


def stacked(room: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((None, 3)), room.LSTM(4, return_sequences=True, name="one"), keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5, seed=2), keras.layers.Bidirectional(room.GRU(3, name="two"), name="both"),
        keras.layers.Dense(1, name="head"),
    ])  # fmt: skip
    model.compile("adam", "mse", metrics=["mae"])
    return model


def scalar(room: Any, weight: float, *, loss: Any = "mse", **options: Any) -> keras.Model:
    """h_t = relu(x_t + weight h_(t-1)); the output is the last of them."""
    rnn = room.SimpleRNN(1, activation="relu", use_bias=False, name="rnn", **options)
    model = keras.Sequential([keras.Input((None, 1)), rnn, keras.layers.Dense(1, use_bias=False, name="head")])
    model.set_weights([np.ones((1, 1)), np.full((1, 1), weight), np.ones((1, 1))])
    model.compile("sgd", loss)
    return model


@ROOMS
@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_found_where_all_is_finite(room: Any, training: bool) -> None:
    assert locate(stacked(room), *batch(), training=training) is None


@ROOMS
@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (-np.inf, "infinite")])
def test_a_value_in_the_data(room: Any, value: float, said: str) -> None:
    x, y = batch()
    x[4, 2, 1] = value
    model = stacked(room)
    expected = NonFinite("data", "x", said, row=4, step=2, feature=1)
    assert locate(model, x, y) == locate(model, x, y, training=True) == expected
    x, y = batch()
    y[3] = value
    assert locate(model, x, y) == NonFinite("data", "y", said, row=3, feature=0)
    x, y = batch()
    weights = np.ones(6)
    weights[2] = value
    assert locate(model, x, y, weights) == NonFinite("data", "sample_weight", said, row=2)
    assert str(expected) == f"x holds a value that is {said} (row 4, time step 2, feature 1)"
    assert expected.said("patient 7") == f"x holds a value that is {said} (patient 7, time step 2, feature 1)"


def test_a_number_whose_square_is_infinite_is_one_of_the_data() -> None:
    x, y = batch()
    y[2] = 1e38
    assert locate(stacked(tt), x, y) == NonFinite("data", "y", "1e+38", row=2, feature=0)
    x[1, 3, 0] = 1e38  # saturates the gates, and does no harm
    assert locate(stacked(tt), x, y).row == 2


def test_by_name_of_input() -> None:
    first, second = keras.Input((5, 2), name="first"), keras.Input((5, 1), name="second")
    joined = keras.layers.Concatenate()([tt.LSTM(3)(first), tt.GRU(3)(second)])
    model = keras.Model({"first": first, "second": second}, keras.layers.Dense(1)(joined))
    model.compile(loss="mse")
    x = {"first": np.ones((3, 5, 2), "float32"), "second": np.ones((3, 5, 1), "float32")}
    x["second"][1, 4] = np.nan
    found = locate(model, x, np.ones((3, 1)))
    assert found == NonFinite("data", "x['second']", row=1, step=4, feature=0)


@ROOMS
def test_what_a_mask_hides_is_no_cause(room: Any) -> None:
    inputs, mask = keras.Input((6, 2)), keras.Input((6,), dtype="bool")
    model = keras.Model([inputs, mask], keras.layers.Dense(1)(room.LSTM(3)(inputs, mask=mask)))
    model.compile(loss="mse")
    x, seen, y = np.ones((4, 6, 2), "float32"), np.ones((4, 6), bool), np.zeros((4, 1))
    x[2, 4:], seen[2, 4:] = 1e38, False
    assert locate(model, [x, seen], y) is None
    x[3, 1, 1] = np.nan
    assert locate(model, [x, seen], y) == NonFinite("data", "x[0]", row=3, step=1, feature=1)
    x[1, 5, 0], seen[1, 5] = 2e38, False  # an earlier row, hidden
    assert locate(model, [x, seen], y) == NonFinite("data", "x[0]", row=3, step=1, feature=1)


@ROOMS
def test_a_weight(room: Any) -> None:
    model = stacked(room)
    kernel = model.layers[3].backward_layer.cell.kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    found = locate(model, *batch())
    assert found == NonFinite("weight", kernel.path, layer=found.layer)
    assert found.layer == "both/backward_two"
    model = stacked(room)
    model.layers[1].moving_mean.assign([1, np.inf, 1, 1])
    found = locate(model, *batch())
    assert (found.kind, found.value, found.layer) == ("weight", "infinite", model.layers[1].name)


@ROOMS
@pytest.mark.parametrize("sequences", [False, True])
def test_the_step_at_which_a_state_overflows(room: Any, sequences: bool) -> None:
    """The state grows ten-thousandfold a step: from 1 on, the tenth product is beyond float32."""
    x = np.zeros((5, 30, 1))
    x[3, 7] = 1.0
    model = scalar(room, 1e4, return_sequences=sequences)
    found = locate(model, x, np.zeros((5, 30, 1) if sequences else (5, 1)))
    assert found == NonFinite("forward", "rnn", found.value, row=3, layer="rnn", step=17)
    assert "the output of layer 'rnn' becomes" in str(found) and "(row 3, time step 17)" in str(found)
    backwards = scalar(room, 1e4, go_backwards=True, return_sequences=sequences)
    found = locate(backwards, x[:, ::-1], np.zeros((5, 30, 1) if sequences else (5, 1)))
    assert found == NonFinite("forward", "rnn", found.value, row=3, layer="rnn", step=12)


@ROOMS
def test_inside_two_directions_and_several_rows(room: Any) -> None:
    x = np.zeros((5, 30, 1))
    x[3, 22], x[1, 20] = 1.0, 1.0  # the first in time of its own: row 3, which goes down from step 22
    inner = room.SimpleRNN(1, activation="relu", use_bias=False, name="rnn")
    model = keras.Sequential([keras.Input((None, 1)), keras.layers.Bidirectional(inner, name="both")])
    model.set_weights([np.ones((1, 1)), np.full((1, 1), 0.5), np.ones((1, 1)), np.full((1, 1), 1e4)])
    model.compile(loss="mse")
    found = locate(model, x, np.zeros((5, 2)))
    assert found == NonFinite("forward", "both/backward_rnn", found.value, row=3, layer="both/backward_rnn", step=12)


def test_a_layer_without_time() -> None:
    model = scalar(tt, 0.5)
    model = keras.Sequential([*model.layers, keras.layers.Lambda(lambda h: keras.ops.log(h), name="log")])
    model.compile(loss="mse")
    x = np.ones((4, 5, 1))
    x[2] = 0
    found = locate(model, x, np.zeros((4, 1)))
    assert found == NonFinite("forward", "log", "infinite", row=2, layer="log")


def mean_of(function: Any) -> Any:
    return lambda y_true, y_pred: keras.ops.mean(function(y_pred), axis=-1)


@ROOMS
def test_the_loss_of_a_row(room: Any) -> None:
    x = np.ones((5, 6, 1))
    x[2] = 0
    found = locate(scalar(room, 1.0, loss=mean_of(keras.ops.log)), x, np.zeros((5, 1)))
    assert found == NonFinite("loss", "loss", "infinite", row=2)
    model = scalar(room, 1.0)
    model.layers[-1].kernel.regularizer = lambda kernel: keras.ops.log(0 * keras.ops.sum(kernel))
    assert locate(model, x, np.zeros((5, 1))) == NonFinite("loss", "penalty", "infinite")


@ROOMS
def test_a_gradient_of_a_finite_loss(room: Any) -> None:
    """The slope of a square root is infinite at 0."""
    x = np.ones((5, 6, 1))
    x[2] = 0
    model = scalar(room, 1.0, loss=mean_of(keras.ops.sqrt))
    found = locate(model, x, np.zeros((5, 1)))
    assert (found.kind, found.layer, found.row, found.step) == ("gradient", "head", 2, 5)
    assert "though the loss is finite (row 2, time step 5)" in str(found)


@ROOMS
def test_the_model_stays_as_it_was(room: Any) -> None:
    model, (x, y) = stacked(room), batch()
    model.fit(x, y, verbose=0)
    every = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    before = [np.array(keras.ops.convert_to_numpy(one)) for one in every]
    held = [(type(layer), set(layer.__dict__)) for layer in model._flatten_layers()]
    x[1, 2] = np.nan
    given = x.copy()
    assert locate(model, x, y, training=True).row == 1
    np.testing.assert_array_equal(x, given)
    for one, old in zip(every, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), old)
    assert [(type(layer), set(layer.__dict__)) for layer in model._flatten_layers()] == held
    model.fit(*batch(), verbose=0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"a keras\.Model is accepted"):
        locate(keras.layers.LSTM(2), np.ones((1, 2, 1)))  # type: ignore[arg-type]
    model = keras.Sequential([keras.Input((4, 1)), keras.layers.LSTM(2)])
    with pytest.raises(ArgumentError, match="not compiled"):
        locate(model, np.ones((1, 4, 1)), np.ones((1, 2)))
