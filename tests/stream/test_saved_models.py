"""Models of the user's own with slices, new axes and operations that hold tuples are streamed and exported alike in
memory, saved and loaded, and cloned. Keras writes a tuple into a saved model as a list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers, ops
from stream_cases import TOLERANCE, answered, filled, pushed, random, whole

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.export.model import export_model

pytestmark = pytest.mark.backend


def recurrent(x: Any, **options: Any) -> Any:
    return layers.GRU(4, return_sequences=True, **options)(x)


# (B, T, 4) to a tensor whose second axis is time, or that has none.
MADE: dict[str, Callable[[Any], Any]] = {
    "slice": lambda x: recurrent(x[:, :, 1:3]),
    "slice to the end": lambda x: recurrent(x[:, :, -2:]),
    "slice with a step": lambda x: recurrent(x[:, :, ::2]),
    "number": lambda x: recurrent(ops.expand_dims(x[:, :, 2], -1)),
    "negative number": lambda x: recurrent(x)[:, :, -1:] * x[:, :, -1:],
    "number of numpy": lambda x: recurrent(x[:, :, np.int64(1) :]),
    "ellipsis": lambda x: recurrent(x[..., :3]),
    "ellipsis for nothing": lambda x: recurrent(x[:, :, 1:, ...]),
    "ellipsis in the middle": lambda x: recurrent(x[:, ..., 1:]),
    "whole slices": lambda x: recurrent(x[0:, :, 0:4:1]),
    "fewer slices than axes": lambda x: recurrent(x[:, :]),
    "new axis at the end": lambda x: recurrent(ops.squeeze(x[:, :, 1:2, None], axis=(3,))),
    "new axis in the middle": lambda x: recurrent(ops.max(x[:, :, None, 1:], axis=(2,))),
    "new axis of a state": lambda x: layers.GRU(4)(x)[:, None],
    "new axis of a number": lambda x: layers.GRU(4)(x)[:, 1, None],
    "reduction of features": lambda x: recurrent(ops.mean(x, axis=(2,), keepdims=True)),
    "reduction of two axes": lambda x: recurrent(ops.sum(x[:, :, :, None], axis=(2, 3))[..., None]),
    "concatenation": lambda x: recurrent(ops.concatenate((x[..., :1], x[..., 2:]), axis=-1)),
    "arithmetic": lambda x: recurrent(1.0 - x[:, :, :2] * x[:, :, 2:] / 2.0),
    "layer of axes": lambda x: recurrent(layers.LayerNormalization(axis=(-1,))(x)),
}
if keras.backend.backend() != "torch":  # which has no slices backwards
    MADE |= {
        "backwards slice": lambda x: recurrent(x[:, :, ::-1]),
        "backwards slice from the middle": lambda x: recurrent(x[:, :, 2:0:-1]),
    }
# What single steps of padded sequences an export refuses, or a step's place that ONNX does not know.
STREAM_ONLY: dict[str, Callable[[Any], Any]] = {
    "the current step": lambda x: recurrent(x)[:, -1],
    "the current step with its axis": lambda x: recurrent(x)[:, -1:],
    "the current step's features": lambda x: recurrent(x)[:, -1, 1:3],
}
# Over all steps so far. ONNX has them as well, where no padding enters, as in a model of a fixed number of steps.
POOLED: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: ops.sum(recurrent(x), axis=1),
    "mean": lambda x: ops.mean(recurrent(x), axis=1),
    "max": lambda x: ops.max(recurrent(x), axis=1),
    "min with its axis": lambda x: ops.min(recurrent(x), axis=(1,), keepdims=True),
    "mean of steps and features": lambda x: ops.mean(recurrent(x), axis=(1, 2))[:, None],
}


def written(make: Callable[[Any], Any], folder: Path, steps: int | None = None) -> dict[str, keras.Model]:
    """A model in memory, loaded, loaded twice, and cloned."""
    inputs = keras.Input((steps, 4), name="x")
    model = filled(keras.Model(inputs, layers.Dense(2)(make(inputs))))
    found = {"memory": model}
    for name in ("loaded", "again"):
        (model if name == "loaded" else found["loaded"]).save(folder / f"{name}.keras")
        found[name] = keras.saving.load_model(folder / f"{name}.keras")
    found["clone"] = keras.models.clone_model(model)
    found["clone"].set_weights(model.get_weights())
    return found


@pytest.mark.parametrize("name", [*MADE, *STREAM_ONLY, *POOLED])
def test_a_stream_of_a_saved_model_is_that_of_the_model(name: str, tmp_path: Path) -> None:
    models = written((MADE | STREAM_ONLY | POOLED)[name], tmp_path)
    x = random(2, 5, 4)
    expected = whole(models["memory"], x)
    once = name in {**STREAM_ONLY, **POOLED} or " of a " in name
    expected = answered(models["memory"], x) if once else expected
    for way, model in models.items():
        np.testing.assert_allclose(
            pushed(tt.Stream(model, batch=2), x), expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=way
        )


@pytest.mark.parametrize("name", [*MADE, *POOLED])
def test_an_export_of_a_saved_model_is_that_of_the_model(name: str, tmp_path: Path) -> None:
    models = written((MADE | POOLED)[name], tmp_path, steps=5)
    x = random(3, 5, 4)
    expected = whole(models["memory"], x)
    for way, model in models.items():
        path = export_model(model, tmp_path / "model.onnx", overwrite=True)
        (found,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=way)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x[:, 1:], "takes the steps slice"),
        (lambda x: x[1:, :], "rows out of the batch"),
        (lambda x: x[:, None], "puts an axis before time"),
    ],
)
def test_a_refusal_of_a_saved_model_is_that_of_the_model(make: Any, message: str, tmp_path: Path) -> None:
    said = set()
    for model in written(lambda x: ops.sum(make(x), axis=-1, keepdims=True), tmp_path, steps=5).values():
        with pytest.raises(ArgumentError, match=message) as caught:
            tt.Stream(model)
        said.add(str(caught.value))
    assert len(said) == 1


def test_what_all_steps_so_far_give_begins_anew_with_a_reset_and_goes_on_from_a_snapshot() -> None:
    inputs = keras.Input((None, 4))
    hidden = recurrent(inputs)
    pooled = ops.concatenate([ops.sum(hidden, axis=1), ops.max(hidden - 3.0, axis=1), ops.mean(hidden, axis=1)], -1)
    model = filled(keras.Model(inputs, pooled))
    x = random(2, 6, 4)
    stream = tt.Stream(model, batch=2)
    pushed(stream, x[:, :2])
    kept = stream.snapshot()
    expected = answered(model, x)
    np.testing.assert_allclose(pushed(stream, x[:, 2:]), expected[:, 2:], rtol=TOLERANCE, atol=TOLERANCE)
    stream.restore(kept)
    np.testing.assert_allclose(pushed(stream, x[:, 2:]), expected[:, 2:], rtol=TOLERANCE, atol=TOLERANCE)
    stream.reset(1)
    both = np.stack([random(6, 4, seed=5), x[1]])
    np.testing.assert_allclose(pushed(stream, both)[1], expected[1], rtol=TOLERANCE, atol=TOLERANCE)
