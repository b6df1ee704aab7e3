"""``stateful=True`` carries the state from batch to batch, in every way to run a model and on every backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from layer_cases import CELLS, filled, values

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.layers.paths import why_not_fused

pytestmark = pytest.mark.backend


def model_of(cell: Any, rng: np.random.Generator, **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input(batch_shape=(3, 4, 2)), cell(5, stateful=True, **options)])
    filled(model.layers[0], rng)
    model.compile("sgd", "mse")
    return model


def whole_of(model: keras.Model, pieces: np.ndarray) -> list[np.ndarray]:
    """What a layer without carried state gives after 1, 2, ... pieces: from the whole so far, each time."""
    layer = model.layers[0]
    config = layer.get_config() | {"stateful": False, "name": "whole"}
    config.pop("batch_shape", None)
    whole = getattr(keras.layers, type(layer).__name__).from_config(config)
    joined = np.concatenate(list(pieces), 1)
    whole.build(joined.shape)
    whole.set_weights(layer.get_weights())
    return [ops.convert_to_numpy(whole(joined[:, : 4 * (i + 1)])) for i in range(len(pieces))]


@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
def test_predict_and_plain_calls_carry_the_state(cell: Any) -> None:
    rng = np.random.default_rng(1)
    model, pieces = model_of(cell, rng), values(rng, 3, 3, 4, 2)
    expected = whole_of(model, pieces)
    for again in range(2):
        for piece, whole in zip(pieces, expected, strict=True):
            found = model.predict(piece, batch_size=3, verbose=0) if again else ops.convert_to_numpy(model(piece))
            np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
        model.layers[0].reset_state()


def test_one_predict_carries_over_its_batches() -> None:
    rng = np.random.default_rng(2)
    model, pieces = model_of(tt.GRU, rng), values(rng, 3, 3, 4, 2)
    found = model.predict(pieces.reshape(9, 4, 2), batch_size=3, verbose=0).reshape(3, 3, 5)
    np.testing.assert_allclose(found, whole_of(model, pieces), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
def test_fit_carries_the_state(cell: Any, masked: bool) -> None:
    """With a learning rate of 0 the loss of each batch tells the output that it saw."""
    rng = np.random.default_rng(3)
    pieces, targets = values(rng, 3, 3, 4, 2), values(rng, 3, 3, 5)
    if masked:
        pieces[:, 1, 2:] = 0.0
        layers = [keras.Input(batch_shape=(3, 4, 2)), keras.layers.Masking(), cell(5, stateful=True)]
    else:
        layers = [keras.Input(batch_shape=(3, 4, 2)), cell(5, stateful=True)]
    model = keras.Sequential(layers)
    filled(model.layers[-1], rng)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    losses = []
    for piece, target in zip(pieces, targets, strict=True):
        model.reset_metrics()  # the loss that Keras returns is a mean over the batches since
        losses.append(model.train_on_batch(piece, target))
    reference = getattr(keras.layers, type(model.layers[-1]).__name__).from_config(
        model.layers[-1].get_config() | {"stateful": False, "name": "whole"}
    )
    joined = np.concatenate(list(pieces), 1)
    reference.build(joined.shape)
    reference.set_weights(model.layers[-1].get_weights())
    for i, (loss, target) in enumerate(zip(losses, targets, strict=True)):
        so_far = joined[:, : 4 * (i + 1)]
        mask = ops.convert_to_tensor((so_far != 0).any(-1)) if masked else None
        expected = np.mean((ops.convert_to_numpy(reference(so_far, mask=mask)) - target) ** 2)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_evaluate_and_predict_leave_the_state_of_training_alone() -> None:
    rng = np.random.default_rng(4)
    x, y, other = values(rng, 6, 4, 2), values(rng, 6, 5), values(rng, 3, 4, 2)
    weights = []
    for disturbed in (False, True):
        model = model_of(tt.LSTM, np.random.default_rng(5))
        for _ in range(3):
            model.train_on_batch(x[:3], y[:3])
            if disturbed:
                model.evaluate(other, y[:3], batch_size=3, verbose=0)
                model.predict(other, batch_size=3, verbose=0)
            model.train_on_batch(x[3:], y[3:])
        weights.append(model.get_weights())
    for plain, after in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, after)


def test_evaluate_carries_the_state_over_its_batches() -> None:
    rng = np.random.default_rng(6)
    pieces, targets = values(rng, 3, 3, 4, 2), values(rng, 3, 3, 5)
    model = model_of(tt.SimpleRNN, rng)
    found = model.evaluate(pieces.reshape(9, 4, 2), targets.reshape(9, 5), batch_size=3, verbose=0)
    np.testing.assert_allclose(found, np.mean((np.array(whole_of(model, pieces)) - targets) ** 2), rtol=1e-5)


def test_the_state_is_no_weight_and_is_not_saved(tmp_path: Any) -> None:
    model = model_of(tt.LSTM, np.random.default_rng(7))
    plain = keras.Sequential([keras.Input(batch_shape=(3, 4, 2)), keras.layers.LSTM(5, stateful=True)])
    assert len(model.get_weights()) == len(plain.get_weights()) == 3
    model.predict(values(np.random.default_rng(0), 3, 4, 2), batch_size=3, verbose=0)
    model = keras.Sequential(
        [keras.Input(batch_shape=(3, 4, 2)), *model.layers]
    )  # without the optimizer, which Keras saves as well
    model.save_weights(tmp_path / "a.weights.h5")
    plain.load_weights(tmp_path / "a.weights.h5")
    plain.save_weights(tmp_path / "b.weights.h5")
    model.load_weights(tmp_path / "b.weights.h5")


def test_keras_loop_carries_the_state_as_well() -> None:
    rng = np.random.default_rng(9)
    model, pieces = model_of(tt.LSTM, rng, activation="relu"), values(rng, 3, 3, 4, 2)
    assert why_not_fused(model.layers[0]) is not None
    found = model.predict(pieces.reshape(9, 4, 2), batch_size=3, verbose=0).reshape(3, 3, 5)
    np.testing.assert_allclose(found, whole_of(model, pieces), rtol=1e-5, atol=1e-6)
    for piece in pieces:
        model.train_on_batch(piece, values(rng, 3, 5))


def test_both_directions_of_a_bidirectional_carry_their_state_and_reset_it() -> None:
    rng = np.random.default_rng(10)
    x = values(rng, 3, 4, 2)
    model = keras.Sequential([keras.Input(batch_shape=(3, 4, 2)), keras.layers.Bidirectional(tt.GRU(5, stateful=True))])
    first, second = (model.predict(x, batch_size=3, verbose=0) for _ in range(2))
    assert np.abs(first - second).max(0).min() > 0
    model.layers[0].reset_states()
    np.testing.assert_array_equal(model.predict(x, batch_size=3, verbose=0), first)


def test_a_trained_stateful_model_is_saved_and_starts_at_zero_again(tmp_path: Any) -> None:
    rng = np.random.default_rng(11)
    model, x = model_of(tt.GRU, rng), values(rng, 3, 4, 2)
    model.train_on_batch(x, values(rng, 3, 5))
    model.layers[0].reset_state()
    model.save(tmp_path / "ours.keras")
    expected = model.predict(x, batch_size=3, verbose=0)
    plain = tt.to_keras(keras.models.load_model(tmp_path / "ours.keras"))
    plain.save(tmp_path / "plain.keras")
    for name in ("ours", "plain"):
        loaded = tt.accelerate(keras.models.load_model(tmp_path / f"{name}.keras"))
        assert int(loaded.optimizer.iterations) == 1
        np.testing.assert_array_equal(loaded.predict(x, batch_size=3, verbose=0), expected)


def test_a_stateful_layer_swapped_while_it_carries_goes_on_from_there() -> None:
    rng = np.random.default_rng(8)
    pieces = values(rng, 2, 3, 4, 2)
    model = keras.Sequential([keras.Input(batch_shape=(3, 4, 2)), keras.layers.GRU(5, stateful=True)])
    filled(model.layers[0], rng)
    tt.accelerate(model)
    expected = whole_of(model, pieces)
    for piece, whole in zip(pieces, expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(model(piece)), whole, rtol=1e-5, atol=1e-6)
    tt.to_keras(model)
    model.layers[0].reset_state()
    np.testing.assert_allclose(ops.convert_to_numpy(model(pieces[0])), expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_batch_of_another_size_is_refused(wrapped: bool) -> None:
    layer = tt.GRU(5, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(3, None, 2)), layer])
    called = model if wrapped else layer
    with pytest.raises(ArgumentError, match=r"carries the states of 3 sequences and was given 4; keras\.Input"):
        called(np.zeros((4, 6, 2), np.float32))
