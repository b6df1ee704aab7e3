"""Programs whose fault is between loss and targets: what stops fit, and what it takes for something else in silence."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import throughtime as tt
from programs import data
from programs.models import binary, multiclass, network
from programs.program import Case, faulty


@faulty("wrong-labels")
def labels_from_one_on() -> Case:
    """Three classes that are numbered from 1 to 3, for three units: JAX learns two of them and says nothing."""
    x, y = data.levels(256, 12)
    return Case(multiclass((12, 3), layers.LSTM(12), classes=3), x, y + 1)


@faulty("wrong-labels")
def signs_for_a_sigmoid() -> Case:
    """Classes -1 and 1 under the binary cross-entropy, whose least value they have at infinity."""
    x, y = data.sentences(256)
    stack = layers.Embedding(40, 8, mask_zero=True), tt.GRU(12)
    return Case(binary((20,), *stack), x, 2 * y - 1)


@faulty("wrong-labels")
def amounts_for_classes() -> Case:
    """Amounts between 0 and 3 under the sparse cross-entropy, which cuts them off to whole numbers."""
    x, y = data.levels(256, 12)
    return Case(multiclass((12, 3), layers.LSTM(12), classes=3), x, data.f32(y) * 0.9 + 0.05)


@faulty("loss-fails")
def whole_numbers_for_one_hot_rows() -> Case:
    """Labels 0 to 2 under the cross-entropy of one-hot rows."""
    x, y = data.levels(256, 12)
    stack = layers.LSTM(12), layers.Dense(3, activation="softmax")
    return Case(network((12, 3), *stack, loss="categorical_crossentropy"), x, y)


@faulty("loss-fails", source="keras issue 3653")
def class_weight_for_a_label_a_step() -> Case:
    """class_weight is for one label a sequence, and here is a label at each step."""
    x, y = data.levels(256, 12)
    stack = tt.LSTM(12, return_sequences=True), layers.Dense(3, activation="softmax")
    model = network((12, 3), *stack, loss="sparse_categorical_crossentropy")
    return Case(model, x, np.repeat(y[:, None], 12, axis=1), fit={"class_weight": {0: 1.0, 1: 2.0, 2: 1.0}})


@faulty("loss-fails")
def five_units_for_four_targets() -> Case:
    """A unit more in the last layer than the targets have columns."""
    x, _ = data.levels(256, 12)
    return Case(network((12, 3), layers.GRU(12), layers.Dense(5)), x, data.f32(np.tile(x.mean(1), 2)[:, :4]))


@faulty("target-shape")
def several_units_for_one_target() -> Case:
    """Four units under the squared error, and one target a sequence: all four learn the same number."""
    x, _ = data.levels(256, 12)
    return Case(network((12, 3), layers.GRU(12), layers.Dense(4)), x, x.mean(axis=(1, 2))[:, None])


@faulty("target-shape")
def one_unit_for_a_whole_horizon() -> Case:
    """Six values ahead as the target, one unit in the last layer: it learns their mean."""
    series = data.ar2(400)
    windows = np.lib.stride_tricks.sliding_window_view(series.ravel(), 18)
    return Case(network((12, 1), layers.LSTM(12), layers.Dense(1)), data.f32(windows[:, :12, None]),
                data.f32(windows[:, 12:]))  # fmt: skip


@faulty("probabilities-as-logits", backends=("jax", "torch"))
def softmax_and_from_logits() -> Case:
    """A softmax at the end, and a loss from_logits: TensorFlow looks through it, the others take it twice."""
    x, y = data.levels(256, 12)
    stack = layers.LSTM(12), layers.Dense(3, activation="softmax")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Case(network((12, 3), *stack, loss=loss), x, y)
