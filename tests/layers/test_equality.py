"""Our layers against Keras's own with the same weights: outputs, states, gradients of everything, and training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops
from layer_cases import CELLS, FLAGS, MASKS, filled, gradients, mask_of, stock_of, values

import throughtime as tt
from throughtime.layers.paths import why_not_fused

pytestmark = pytest.mark.backend

# Both compute in float32 and sum in different orders over up to 24 terms and 9 steps.
CLOSE: dict[str, float] = {"rtol": 2e-5, "atol": 2e-6}


@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
@pytest.mark.parametrize("kind", MASKS)
def test_outputs_states_and_gradients_equal_keras(cell: Any, kind: str) -> None:
    rng = np.random.default_rng(len(kind) + CELLS.index(cell))
    x = values(rng, 5, 9, 3)
    mask = mask_of(kind, rng, 5, 9)
    for flags in FLAGS:
        ours = cell(4, return_state=True, **flags)
        assert why_not_fused(ours) is None
        theirs = stock_of(ours)
        states = [values(rng, 5, 4) for _ in range(2 if isinstance(ours, tt.LSTM) else 1)]
        for layer in (ours, theirs):
            layer.build(x.shape)
        filled(ours, rng)
        theirs.set_weights(ours.get_weights())
        found = gradients(ours, x, mask, states, np.random.default_rng(7))
        expected = gradients(theirs, x, mask, states, np.random.default_rng(7))
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], **CLOSE, err_msg=f"{name} with {flags}")


@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
def test_what_padding_holds_changes_nothing(cell: Any) -> None:
    rng = np.random.default_rng(3)
    x, mask = values(rng, 4, 6, 3), mask_of("gaps", rng, 4, 6)
    layer = cell(5, return_sequences=True)
    layer.build(x.shape)
    filled(layer, rng)
    clean = ops.convert_to_numpy(layer(x, mask=ops.convert_to_tensor(mask)))
    for junk in (np.nan, np.inf, -1e30):
        dirty = np.where(mask[..., None], x, np.float32(junk))
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(dirty, mask=ops.convert_to_tensor(mask))), clean)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_with_a_mask_equals_keras(merge: str) -> None:
    rng = np.random.default_rng(4)
    x, mask = values(rng, 5, 7, 3), ops.convert_to_tensor(mask_of("right", rng, 5, 7))
    pair = []
    for cell in (tt.LSTM, keras.layers.LSTM):
        layer = keras.layers.Bidirectional(cell(4, return_sequences=True, return_state=True), merge_mode=merge)
        layer.build(x.shape)
        pair.append(layer)
    ours, theirs = pair
    assert type(ours.forward_layer) is tt.LSTM and type(ours.backward_layer) is tt.LSTM
    assert type(theirs.forward_layer) is keras.layers.LSTM
    theirs.set_weights(ours.get_weights())
    found, expected = list(ours(x, mask=mask)), list(theirs(x, mask=mask))
    assert len(found) == len(expected) == (6 if merge is None else 5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), **CLOSE)


@settings(max_examples=20)
@given(st.data())
def test_any_sizes_and_any_mask_equal_keras(data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from(list(zip(CELLS, CELLS.ids, strict=True))), "cell")[0]
    batch, steps = data.draw(st.integers(1, 5), "batch"), data.draw(st.integers(1, 6), "steps")
    features, units = data.draw(st.integers(1, 20), "features"), data.draw(st.integers(1, 20), "units")
    mask = data.draw(arrays(bool, (batch, steps)), "mask")
    names = ("return_sequences", "go_backwards", "zero_output_for_mask", "use_bias")
    flags = {name: data.draw(st.booleans(), name) for name in names}
    rng = np.random.default_rng(batch + 10 * steps)
    ours = cell(units, return_state=True, **flags)
    theirs = stock_of(ours)
    for layer in (ours, theirs):
        layer.build((batch, steps, features))
    filled(ours, rng)
    theirs.set_weights(ours.get_weights())
    states = [values(rng, batch, units) for _ in range(2 if isinstance(ours, tt.LSTM) else 1)]
    given_to_both = {"initial_state": list(map(ops.convert_to_tensor, states)), "mask": ops.convert_to_tensor(mask)}
    x = values(rng, batch, steps, features)
    for one, other in zip(ours(x, **given_to_both), theirs(x, **given_to_both), strict=True):
        # relu does not shrink what six steps of 20 units add up.
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
def test_dropping_everything_is_what_keras_makes_of_it(cell: Any) -> None:
    """One of Keras's loops drops all at a rate of 1, another nothing: whichever runs here."""
    x = values(np.random.default_rng(10), 3, 5, 2)
    ours = cell(4, dropout=1.0)
    theirs = stock_of(ours)
    for layer in (ours, theirs):
        layer.build(x.shape)
    theirs.set_weights(ours.get_weights())
    found, expected = (ops.convert_to_numpy(layer(x, training=True)) for layer in (ours, theirs))
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_an_encoder_hands_its_states_to_a_decoder_at_any_length() -> None:
    rng = np.random.default_rng(11)
    x, shown, y = values(rng, 4, 7, 3), values(rng, 4, 5, 2), values(rng, 4, 5, 1)
    models = []
    for layers in (tt, keras.layers):
        source, target = keras.Input((None, 3)), keras.Input((None, 2))
        _, *states = layers.LSTM(5, return_state=True)(source)
        decoded = layers.LSTM(5, return_sequences=True)(target, initial_state=states)
        model = keras.Model([source, target], keras.layers.Dense(1)(decoded))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    for steps, ahead in ((7, 5), (4, 2), (1, 1)):
        losses = [model.train_on_batch([x[:, :steps], shown[:, :ahead]], y[:, :ahead]) for model in models]
        np.testing.assert_allclose(*losses, rtol=1e-5)
    for ours, theirs in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


PENALTIES = {
    "kernel_regularizer": "l2",
    "recurrent_regularizer": "l1",
    "bias_regularizer": "l2",
    "activity_regularizer": "l2",
    "kernel_constraint": keras.constraints.MaxNorm(0.5),
    "recurrent_constraint": keras.constraints.UnitNorm(),
    "bias_constraint": "non_neg",
}


def _tagger(layers: Any, **options: Any) -> keras.Model:
    """Embedding with a mask, a stack, and a wrapper: the mask has to reach all of them."""
    words = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(12, 6, mask_zero=True)(words)
    hidden = layers.GRU(5, return_sequences=True, **options)(hidden)
    hidden = keras.layers.Bidirectional(layers.LSTM(4, return_sequences=True, **options))(hidden)
    hidden = layers.SimpleRNN(5, return_sequences=True, **options)(hidden)
    tags = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="softmax"))(hidden)
    return keras.Model(words, tags)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.4, "seed": 5}, PENALTIES], ids=["plain", "dropout", "penalties"])
def test_training_gives_the_weights_that_keras_gives(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(1, 12, (12, 8))
    x[np.arange(8)[None] >= rng.integers(1, 9, 12)[:, None]] = 0
    y = rng.integers(0, 3, (12, 8))
    models = [_tagger(tt, **options), _tagger(keras.layers, **options)]
    models[1].set_weights(models[0].get_weights())
    losses = []
    for model in models:
        model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
        losses.append(model.fit(x, y, batch_size=5, epochs=3, shuffle=False, verbose=0).history)
    for name, history in losses[0].items():
        np.testing.assert_allclose(history, losses[1][name], rtol=1e-4, err_msg=name)
    for ours, theirs in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)  # nine steps of a large learning rate
    np.testing.assert_allclose(models[0].predict(x, verbose=0), models[1].predict(x, verbose=0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_outside_is_float32_inside(policy: str) -> None:
    rng = np.random.default_rng(6)
    x, mask = values(rng, 3, 6, 4), ops.convert_to_tensor(mask_of("right", rng, 3, 6))
    half = tt.LSTM(5, return_sequences=True, dtype=policy)
    full = keras.layers.LSTM(5, return_sequences=True)
    assert why_not_fused(half) is None
    for layer in (half, full):
        layer.build(x.shape)
    full.set_weights(half.get_weights())
    found = half(x, mask=mask)
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    # Inputs, weights and the result are rounded to 8 bits of bfloat16.
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(found, "float32")), ops.convert_to_numpy(full(x, mask=mask)), atol=1e-2
    )


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 1, 1), (1, 7, 2)])
@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
def test_small_batches_equal_keras(cell: Any, shape: tuple[int, int, int]) -> None:
    x = values(np.random.default_rng(8), *shape)
    ours = cell(4, return_sequences=True)
    theirs = stock_of(ours)
    for layer in (ours, theirs):
        layer.build(shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(ours(x)), ops.convert_to_numpy(theirs(x)), **CLOSE)


@pytest.mark.parametrize("cell", CELLS, ids=CELLS.ids)
def test_an_empty_batch_has_empty_outputs(cell: Any) -> None:
    for sequences, shape in ((True, (0, 5, 4)), (False, (0, 4))):
        assert tuple(cell(4, return_sequences=sequences)(np.zeros((0, 5, 3), np.float32)).shape) == shape


def test_whole_numbers_and_arrays_with_gaps_in_memory_are_taken() -> None:
    layer = tt.GRU(4)
    whole = np.random.default_rng(0).integers(-3, 4, (4, 12, 3))
    expected = ops.convert_to_numpy(layer(whole[:, ::2].astype("float32").copy()))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(whole[:, ::2])), expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(whole.astype("float32")[:, ::2])), expected)


@pytest.mark.parametrize("how", [{"run_eagerly": True}, {"jit_compile": False}, {"steps_per_execution": 2}])
def test_the_ways_to_run_a_step_agree(how: dict[str, Any]) -> None:
    if "steps_per_execution" in how and keras.backend.backend() == "torch":
        how = {}  # Keras refuses it there
    rng = np.random.default_rng(9)
    x, y = values(rng, 8, 5, 3), values(rng, 8, 1)
    weights = []
    for options in ({}, how):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((None, 3)), tt.LSTM(4), keras.layers.Dense(1)])
        model.compile("sgd", "mse", **options)
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for plain, other in zip(*weights, strict=True):
        np.testing.assert_allclose(plain, other, rtol=1e-5, atol=1e-6)
