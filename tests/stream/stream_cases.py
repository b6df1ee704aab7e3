"""Models for the tests of streams and of the export, with weights that are all random, and what Keras says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

TOLERANCE = 1e-5  # what Stream promises; both sides compute in float32, over a dozen steps of states of size 1


def filled(model: keras.Model, seed: int = 1) -> keras.Model:
    """The model with weights that differ from each other, biases too; variances positive."""
    rng = np.random.default_rng(seed)
    for variable in [*model.trainable_variables, *model.non_trainable_variables]:
        values = rng.normal(0, 0.4, variable.shape)
        if "variance" in variable.path:
            values = 0.5 + np.abs(values)
        if variable.dtype.startswith("float"):
            variable.assign(values)
    return model


def sequential(*layers: Any, features: int = 3, seed: int = 1) -> keras.Model:
    return filled(keras.Sequential([keras.Input((None, features)), *layers]), seed)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def whole(model: keras.Model, x: Any, **given: Any) -> Any:
    """What Keras gives for whole sequences."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, **given))


def answered(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """(B, T, ...) what Keras gives for the steps up to each one, of a model that answers once."""
    return np.stack([whole(model, x[:, : step + 1]) for step in range(x.shape[1])], 1)


def steps(x: Any) -> Iterator[Any]:
    """The steps of (B, T, ...) arrays."""
    for step in range(keras.tree.flatten(x)[0].shape[1]):
        yield keras.tree.map_structure(lambda one, step=step: one[:, step], x)


def pushed(stream: Any, x: Any) -> np.ndarray:
    """(B, T, ...) what a stream answers to the steps of x (B, T, ...)."""
    return np.stack([stream.push(step) for step in steps(x)], 1)
