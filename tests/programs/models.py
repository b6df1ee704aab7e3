"""Models as users write them, short enough to be read inside a program."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def network(
    shape: tuple[int | None, ...],
    *stack: Any,
    loss: Any = "mse",
    optimizer: Any = "adam",
    metrics: list[Any] | None = None,
    batch_size: int | None = None,
) -> keras.Model:
    """A compiled Sequential; ``shape`` without the batch, () after the steps for tokens."""
    dtype = "int32" if len(shape) == 1 else "float32"
    model = keras.Sequential([keras.Input(shape, batch_size=batch_size, dtype=dtype), *stack])
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def binary(shape: tuple[int | None, ...], *stack: Any, optimizer: Any = "adam", **options: Any) -> keras.Model:
    """A ``network`` with one sigmoid at its end."""
    head = layers.Dense(1, activation="sigmoid")
    loss = options.pop("loss", "binary_crossentropy")
    return network(shape, *stack, head, loss=loss, optimizer=optimizer, metrics=["accuracy"], **options)


def multiclass(shape: tuple[int | None, ...], *stack: Any, classes: int, **options: Any) -> keras.Model:
    """A ``network`` with a softmax at its end, for integer classes."""
    head = layers.Dense(classes, activation="softmax")
    return network(shape, *stack, head, loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options)


def adam(rate: float = 0.01, **options: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(rate, **options)


def sgd(rate: float, **options: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(rate, **options)


class Doubled(layers.Layer):
    """A layer of the user's own, which forgot ``supports_masking``."""

    def call(self, x: Any) -> Any:
        return 2 * x


class DoubledUnderMask(Doubled):
    """The same, with ``supports_masking``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True


class WindowScale(layers.Layer):
    """Divides every window by its own standard deviation, never by less than ``floor``."""

    def __init__(self, floor: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.floor = floor

    def call(self, x: Any) -> Any:
        return x / ops.maximum(ops.std(x, axis=1, keepdims=True), self.floor)


class AttentionPool(layers.Layer):
    """A weighted mean over the valid steps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.score = layers.Dense(1)

    def build(self, shape: Any) -> None:
        self.score.build(shape)
        self.built = True

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def call(self, x: Any, mask: Any = None) -> Any:
        score = self.score(x)
        if mask is not None:
            score = ops.where(ops.expand_dims(mask, -1), score, -1e9)
        return ops.sum(ops.softmax(score, axis=1) * x, axis=1)


class TwoLayers(keras.Model):
    """Two LSTM layers in a subclassed model."""

    def __init__(self, units: int, *, sequences: bool) -> None:
        super().__init__()
        self.first = layers.LSTM(units, return_sequences=sequences)
        self.second = layers.LSTM(units)
        self.head = layers.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.second(self.first(x, training=training), training=training))
