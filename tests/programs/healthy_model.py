"""Healthy twins of ``faulty_model``, and models that only look wrong."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

import throughtime as tt
from programs import data
from programs.models import (
    AttentionPool,
    DoubledUnderMask,
    TwoLayers,
    WindowScale,
    adam,
    binary,
    multiclass,
    network,
)
from programs.program import Case, healthy

# Outputs and losses -------------------------------------------------------------------------------------------------


@healthy()
def sequences_only_below_the_last_layer() -> Case:
    """Two stacked layers, of which the last returns one vector."""
    x, y = data.windows(data.ar2(300), 12)
    stack = layers.LSTM(16, return_sequences=True), layers.LSTM(16), layers.Dense(1)
    return Case(network((12, 1), *stack, optimizer=adam()), x, y)


@healthy()
def sequences_pooled() -> Case:
    """Sequences that a masked mean turns into one vector."""
    x, y = data.sentences(256, 30, shortest=3)
    stack = layers.Embedding(40, 8, mask_zero=True), layers.GRU(12, return_sequences=True)
    return Case(binary((30,), *stack, layers.GlobalAveragePooling1D(), optimizer=adam()), x, y)


@healthy()
def one_target_at_every_step() -> Case:
    """Sequences for targets of one value per step, of shape (B, T, 1)."""
    x, y = data.trajectories(256, 15)
    stack = tt.GRU(24, return_sequences=True), layers.Dense(1)
    return Case(network((15, 2), *stack, optimizer=adam()), x, y[..., :1])


@healthy()
def sigmoid_of_one_unit() -> Case:
    """One unit with sigmoid for two classes."""
    x, y = data.drifting_walks(256, 20)
    return Case(binary((20, 1), layers.LSTM(16), optimizer=adam()), x, y)


@healthy()
def softmax_of_two_units() -> Case:
    """Two units with softmax for two classes."""
    x, y = data.drifting_walks(256, 20)
    return Case(multiclass((20, 1), layers.GRU(16), classes=2, optimizer=adam()), x, y)


@healthy()
def logits_and_from_logits() -> Case:
    """A Dense layer without activation, and the loss knows."""
    x, y = data.levels(256, 20)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Case(network((20, 3), layers.LSTM(16), layers.Dense(3), loss=loss, optimizer=adam()), x, y)


@healthy()
def logit_and_from_logits() -> Case:
    """One linear unit and BinaryCrossentropy(from_logits=True)."""
    x, y = data.sentences(256)
    stack = layers.Embedding(40, 8, mask_zero=True), layers.GRU(16), layers.Dense(1)
    return Case(network((20,), *stack, loss=keras.losses.BinaryCrossentropy(from_logits=True)), x, y)


@healthy()
def several_labels_at_once() -> Case:
    """Multi-label: five sigmoids with binary cross-entropy, and rows of any sum."""
    curve = data.smooth(data.generator(1).normal(size=(256, 20, 5)), 5)
    y = data.f32(curve[:, -5:].mean(1) > [-0.3, 0.0, 0.3, 0.5, -0.5])
    stack = layers.LSTM(24), layers.Dense(5, activation="sigmoid")
    return Case(network((20, 5), *stack, loss="binary_crossentropy", optimizer=adam()), data.f32(curve), y)


@healthy()
def mostly_one_label() -> Case:
    """Multi-label rows that have one label in most cases, none or two in the others."""
    x, y = data.topics(320)
    rows = keras.utils.to_categorical(y, 3)
    x, rows = x.copy(), rows.copy()
    x[:20], rows[:20] = data.generator(2).integers(13, 32, (20, 20)), 0
    x[20:60:2, ::2] = 1 + 4 * ((y[20:60:2, None] + 1) % 3) + x[20:60:2, ::2] % 4
    rows[np.arange(20, 60, 2), (y[20:60:2] + 1) % 3] = 1
    stack = layers.Embedding(33, 8), layers.GRU(16), layers.Dense(3, activation="sigmoid")
    return Case(network((20,), *stack, loss="binary_crossentropy", optimizer=adam()), x, rows)


@healthy()
def softmax_for_one_hot_rows() -> Case:
    """One-hot classes with softmax and categorical cross-entropy."""
    x, y = data.digits()
    stack = layers.LSTM(24), layers.Dense(10, activation="softmax")
    model = network((8, 8), *stack, loss="categorical_crossentropy", optimizer=adam())
    return Case(model, x, keras.utils.to_categorical(y, 10))


@healthy()
def softmax_for_shares() -> Case:
    """Softmax under a divergence for targets that are shares which sum to 1."""
    x, _ = data.sentences(320, 15, shortest=15)
    counts = np.stack([(x < 6).sum(1), ((x > 5) & (x < 11)).sum(1), (x > 10).sum(1)], 1)
    stack = layers.Embedding(40, 8), layers.LSTM(16), layers.Dense(3, activation="softmax")
    model = network((15,), *stack, loss="kl_divergence", optimizer=adam())
    return Case(model, x, data.f32(counts / 15))


@healthy()
def linear_output_for_regression() -> Case:
    """A linear last layer for targets of both signs; no accuracy."""
    x, y = data.windows(data.ar2(300), 15)
    return Case(network((15, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam(), metrics=["mae"]), x, y)


@healthy()
def tanh_for_targets_within_one() -> Case:
    """A tanh output, and targets in [-1, 1]."""
    x, y = data.windows(data.f32(np.sin(data.seasonal(300))), 15)
    stack = layers.LSTM(16), layers.Dense(1, activation="tanh")
    return Case(network((15, 1), *stack, optimizer=adam()), x, y)


@healthy()
def sigmoid_for_shares() -> Case:
    """A sigmoid with the mean squared error for targets in [0, 1]."""
    x, _ = data.off_share(padding=-1.0)
    y = data.f32(((x == 0).sum((1, 2)) / (x >= 0).sum((1, 2)))[:, None])
    stack = layers.Masking(-1.0), layers.GRU(16), layers.Dense(1, activation="sigmoid")
    return Case(network((30, 1), *stack, optimizer=adam()), x, y)


@healthy()
def exponential_for_counts() -> Case:
    """Poisson regression: an exponential output for counts with many zeros."""
    x, y = data.counts()
    stack = layers.LSTM(16), layers.Dense(1, activation="exponential")
    return Case(network((20, 1), *stack, loss="poisson", optimizer=adam()), x, y)


@healthy()
def ordinal_thresholds() -> Case:
    """Ordinal classes as cumulative sigmoids: rows such as 1, 1, 0."""
    x, _ = data.counts(seed=5)
    total = x[:, -6:].sum(1)
    y = data.f32(total > [2, 4, 6])
    stack = tt.GRU(16), layers.Dense(3, activation="sigmoid")
    return Case(network((20, 1), *stack, loss="binary_crossentropy", optimizer=adam()), x, y)


# Masks --------------------------------------------------------------------------------------------------------------


@healthy()
def convolution_before_the_mask_is_made() -> Case:
    """A convolution over all steps, then LSTM and LSTM under the mask that is passed by hand."""
    x, y = data.drifting_walks(256, 40, shortest=5)
    series = keras.Input((40, 1))
    mask = ops.squeeze(ops.not_equal(series, 0.0), -1)
    hidden = layers.Conv1D(8, 3, padding="causal", activation="relu")(series)
    hidden = layers.LSTM(16)(hidden, mask=mask)
    model = keras.Model(series, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(adam(), loss="binary_crossentropy", metrics=["accuracy"])
    return Case(model, x, y)


@healthy()
def layer_of_their_own_keeps_the_mask() -> Case:
    """A layer of the user's own with supports_masking."""
    x, y = data.sentences(256, 60, shortest=3)
    return Case(binary((60,), layers.Embedding(40, 8, mask_zero=True), DoubledUnderMask(), layers.LSTM(16)), x, y)


@healthy()
def flatten_without_padding() -> Case:
    """Flatten over sequences that are all of the same length; there is no mask to lose."""
    x, y = data.topics(256, 12)
    stack = layers.Embedding(33, 8), layers.GRU(8, return_sequences=True), layers.Flatten()
    return Case(multiclass((12,), *stack, classes=3), x, y)


@healthy()
def attention_under_a_mask() -> Case:
    """A layer of the user's own that ends the mask and uses it: a weighted mean over valid steps."""
    x, y = data.sentences(256, 40, shortest=3)
    stack = layers.Embedding(40, 8, mask_zero=True), tt.GRU(12, return_sequences=True), AttentionPool()
    return Case(binary((40,), *stack, optimizer=adam()), x, y)


@healthy()
def dropout_and_normalisation_under_a_mask() -> Case:
    """Dropout, LayerNormalization, BatchNormalization and TimeDistributed hand the mask on."""
    x, y = data.sentences(256, 30, shortest=3)
    stack = layers.Embedding(40, 12, mask_zero=True), layers.Dropout(0.2), layers.BatchNormalization(momentum=0.9)
    stack = *stack, layers.LSTM(16, return_sequences=True), layers.LayerNormalization()
    stack = *stack, layers.TimeDistributed(layers.Dense(8, activation="relu")), layers.GRU(16)
    return Case(binary((30,), *stack, optimizer=adam()), x, y)


# Recurrences --------------------------------------------------------------------------------------------------------


@healthy()
def relu_from_the_identity() -> Case:
    """Le, Jaitly and Hinton's IRNN: relu, and a recurrent kernel that starts as the identity."""
    x, y = data.drifting_walks(256, 30)
    small = keras.initializers.RandomNormal(stddev=0.05)
    layer = layers.SimpleRNN(24, activation="relu", kernel_initializer=small, recurrent_initializer="identity")
    return Case(binary((30, 1), layer), x, y)


@healthy()
def relu_and_orthogonal() -> Case:
    """A SimpleRNN with relu and Keras's orthogonal recurrent kernel, which trains."""
    x, y = data.levels(256, 30)
    return Case(multiclass((30, 3), tt.SimpleRNN(24, activation="relu"), classes=3), x, y)


@healthy()
def stacked_tanh_lstm() -> Case:
    """Two LSTM layers with tanh over 160 steps."""
    x, y = data.windows(1.5 + data.seasonal(400), 160)
    stack = [layers.LSTM(32, return_sequences=more) for more in (True, False)]
    return Case(network((160, 1), *stack, layers.Dense(1), optimizer=adam()), x[:192], y[:192])


@healthy()
def autoencoder_with_repeat_vector() -> Case:
    """A sequence autoencoder: one vector, repeated and decoded."""
    x, _ = data.windows(data.seasonal(300), 12)
    stack = layers.GRU(24), layers.RepeatVector(12), layers.GRU(24, return_sequences=True), layers.Dense(1)
    return Case(network((12, 1), *stack, optimizer=adam()), x, x)


@healthy()
def recurrent_dropout_with_tanh() -> Case:
    """recurrent_dropout where the activation is bounded."""
    x, y = data.levels(256, 20)
    return Case(
        multiclass((20, 3), layers.LSTM(16, dropout=0.1, recurrent_dropout=0.2), classes=3, optimizer=adam()), x, y
    )


@healthy()
def gru_that_resets_before() -> Case:
    """GRU(reset_after=False)."""
    x, y = data.windows(data.ar2(300), 15)
    return Case(network((15, 1), layers.GRU(16, reset_after=False), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def gates_by_hard_sigmoid() -> Case:
    """An LSTM with hard_sigmoid gates, which are exactly 0 or 1 at times."""
    x, y = data.drifting_walks(256, 20)
    return Case(binary((20, 1), layers.LSTM(16, recurrent_activation="hard_sigmoid"), optimizer=adam()), x, y)


@healthy()
def scale_of_each_window() -> Case:
    """Windows divided by their own deviation, never by less than a thousandth."""
    x, y = data.windows(data.seasonal(300), 15)
    return Case(network((15, 1), WindowScale(1e-3), layers.LSTM(16), layers.Dense(1), optimizer=adam()), x, y)


# State --------------------------------------------------------------------------------------------------------------


def streams(layer: Any, seed: int) -> Case:
    x, y = data.latch(16, 20, 6, seed=seed)
    model = network((6, 1), layer, layers.Dense(1), optimizer=adam(), batch_size=16)
    return Case(model, x, y, fit={"batch_size": 16, "shuffle": False})


@healthy()
def streams_in_order() -> Case:
    """Aligned streams, not shuffled, and layers that carry the state on every backend."""
    return streams(tt.LSTM(16, stateful=True, return_sequences=True), 0)


@healthy()
def streams_in_order_with_a_gru() -> Case:
    """The same with a GRU."""
    return streams(tt.GRU(16, stateful=True, return_sequences=True), 1)


@healthy()
def pieces_without_state() -> Case:
    """Independent pieces of which each says all it takes; nothing is stateful."""
    x, y = data.next_values(data.seasonal(400), 16, batch=256)
    return Case(network((16, 1), tt.LSTM(16, return_sequences=True), layers.Dense(1), optimizer=adam()), x, y)


# Models of every kind -----------------------------------------------------------------------------------------------


@healthy()
def lstm_into_lstm_with_sequences() -> Case:
    """A subclassed model whose first LSTM returns sequences."""
    model = TwoLayers(16, sequences=True)
    model.compile(adam(), loss="mse")
    return Case(model, *data.windows(data.ar2(300), 12))


class Smoothed(keras.Sequential):
    """A compute_loss of the user's own, for any backend: a penalty on the prediction beside the loss."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return loss + 1e-3 * ops.mean(ops.square(y_pred))


@healthy()
def loss_of_their_own_in_a_subclass() -> Case:
    """A subclass of Sequential with a compute_loss of its own."""
    model = Smoothed([keras.Input((15, 1)), layers.LSTM(16), layers.Dense(1)])
    model.compile(adam(), loss="mse")
    return Case(model, *data.windows(data.seasonal(300), 15))


@healthy()
def series_and_what_is_known_of_it() -> Case:
    """Two inputs: a series and constants of the sequence."""
    x, y = data.drifting_walks(256, 20)
    about = data.f32(data.generator(3).normal(size=(256, 3)))
    series, constants = keras.Input((20, 1), name="series"), keras.Input((3,), name="constants")
    hidden = layers.Concatenate()([layers.LSTM(16)(series), layers.Dense(4, activation="relu")(constants)])
    model = keras.Model([series, constants], layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(adam(), loss="binary_crossentropy", metrics=["accuracy"])
    return Case(model, [x, about], y)


@healthy()
def inputs_by_name() -> Case:
    """Two inputs in a dictionary, one of them tokens."""
    tokens, y = data.sentences(256)
    series = data.drifting_walks(256, 15)[0]
    words, walk = keras.Input((20,), dtype="int32", name="words"), keras.Input((15, 1), name="walk")
    hidden = layers.GRU(16)(layers.Embedding(40, 8, mask_zero=True)(words))
    hidden = layers.Concatenate()([hidden, tt.LSTM(8)(walk)])
    model = keras.Model({"words": words, "walk": walk}, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(adam(), loss="binary_crossentropy", metrics=["accuracy"])
    return Case(model, {"words": tokens, "walk": series}, y)


@healthy()
def two_outputs() -> Case:
    """A value and a class from one recurrent layer."""
    x, y = data.drifting_walks(256, 20)
    series = keras.Input((20, 1))
    hidden = layers.GRU(16)(series)
    outputs = {
        "last": layers.Dense(1, name="last")(hidden),
        "up": layers.Dense(1, activation="sigmoid", name="up")(hidden),
    }
    model = keras.Model(series, outputs)
    model.compile(adam(), loss={"last": "mse", "up": "binary_crossentropy"})
    return Case(model, x, {"last": x[:, -1], "up": y[:, None]})


@healthy()
def copy_after_a_pause() -> Case:
    """Tokens to be repeated after a pause: most targets are blank."""
    x, y = data.copy_memory(320, 3, 2, 2)
    stack = layers.Embedding(6, 12), layers.LSTM(24, return_sequences=True)
    return Case(multiclass((6,), *stack, classes=4, optimizer=adam(0.02)), x, y)


@healthy()
def frozen_embedding() -> Case:
    """An Embedding that was trained elsewhere and is frozen."""
    x, y = data.topics(256)
    stack = layers.Embedding(33, 16, trainable=False, embeddings_initializer="orthogonal"), layers.LSTM(16)
    return Case(multiclass((20,), *stack, classes=3, optimizer=adam()), x, y)
