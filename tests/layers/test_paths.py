"""Which path runs where the surroundings decide: no library, a newer Keras, XLA on TensorFlow, a strange mask."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras
import numpy as np
import pytest
from layer_cases import values

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.kernels import library
from throughtime.layers.paths import why_not_fused

pytestmark = pytest.mark.backend


def regression(layer: keras.Layer, **options: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((None, 2)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", **options)
    return model


def test_without_the_library_keras_computes_and_explain_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_found", lambda: (None, "there is no native library here."))
    if keras.backend.backend() == "jax":  # which remembers that it has registered the library
        op = import_module("throughtime.kernels.jax")
        monkeypatch.setattr(op, "_why_not_registered", op._why_not_registered.__wrapped__)
    rng = np.random.default_rng(0)
    x, y = values(rng, 4, 5, 2), values(rng, 4, 1)
    ours, theirs = regression(tt.GRU(3)), regression(keras.layers.GRU(3))
    (row,) = tt.explain(ours)
    assert (row.path, row.reason) == ("Keras's loop", "there is no native library here.")
    assert "there is no native library here." in tt.explain(theirs)[0].reason
    theirs.set_weights(ours.get_weights())
    for model in (ours, theirs):
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(ours.predict(x, verbose=0), theirs.predict(x, verbose=0))


def test_a_mask_that_is_no_matrix_is_left_to_keras() -> None:
    assert "(2, 3, 1)" in (why_not_fused(tt.LSTM(3), mask=np.ones((2, 3, 1), bool)) or "")


def masks_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Keras 3.16 does in its constructors."""
    for kind in (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed):

        def made(self: Any, *args: Any, _made: Any = kind.__init__, **options: Any) -> None:
            _made(self, *args, **options)
            self.supports_masking = False

        monkeypatch.setattr(kind, "__init__", made)


def stack(layers: Any) -> keras.Model:
    words = keras.Input((None,), dtype="int32")
    hidden = keras.layers.Embedding(9, 4, mask_zero=True)(words)
    hidden = layers.GRU(3, return_sequences=True)(hidden)
    hidden = keras.layers.Bidirectional(layers.LSTM(3, return_sequences=True))(hidden)
    hidden = keras.layers.TimeDistributed(keras.layers.Dense(4))(hidden)
    return keras.Model(words, layers.SimpleRNN(3, return_sequences=True)(hidden))


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")  # that is what is mended
@pytest.mark.parametrize("layers", [tt, keras.layers], ids=["ours", "accelerated"])
def test_masks_reach_the_end_where_keras_drops_them(layers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.array([[1, 2, 0, 0], [3, 4, 5, 6]])
    right = stack(keras.layers)
    masks_are_not_passed_on(monkeypatch)
    model = stack(layers)
    model.set_weights(right.get_weights())
    assert getattr(model(x), "_keras_mask", None) is None
    wrapped = [row.reason for row in tt.explain(model) if "/" in row.layer]
    said = "Bidirectional does not pass the mask on; tt.accelerate(model)" if layers is tt else "Keras's own layer"
    assert len(wrapped) == 2 and all(said in reason for reason in wrapped)
    tt.accelerate(model)
    assert {(row.path, row.reason) for row in tt.explain(model)} == {("native kernel", "")}
    found = model(x)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found._keras_mask), x != 0)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(right(x)), rtol=1e-5, atol=1e-6
    )


def test_xla_is_off_on_tensorflow_where_the_kernel_runs_and_only_there() -> None:
    off = keras.backend.backend() == "tensorflow"
    assert tt.LSTM(3).supports_jit is not off and tt.LSTM(3, unroll=True).supports_jit
    model = regression(keras.layers.LSTM(3), jit_compile=keras.backend.backend() != "torch")
    before = model.jit_compile
    tt.accelerate(model)
    assert model.layers[0].supports_jit is not off and model.jit_compile is (before and not off)
    model.fit(np.ones((2, 3, 2), np.float32), np.ones((2, 1), np.float32), verbose=0)
    tt.to_keras(model)
    assert model.layers[0].supports_jit


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_other_features_than_it_was_built_for_are_refused_at_the_door(kind: str) -> None:
    """In ``fit`` as well, where JAX would otherwise not say it before somebody reads the weights."""
    layer = getattr(tt, kind)(4, name="first")
    model = keras.Sequential([keras.Input((None, 3)), layer])
    model.compile("sgd", "mse")
    x = np.zeros((4, 6, 2), np.float32)
    for call in (lambda: layer(x), lambda: model.fit(x, np.zeros((4, 4)), verbose=0)):
        with pytest.raises(Exception, match=r"'first' was built for 3 features and was given shape \(.*, 6, 2\)"):
            call()
    with pytest.raises(ArgumentError):
        layer(x)
