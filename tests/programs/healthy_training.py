"""Healthy twins of ``faulty_training``: gradients that reach what is needed, rates and clipping that work."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

import throughtime as tt
from programs import data
from programs.models import adam, binary, multiclass, network, sgd
from programs.program import Case, healthy

# Gradients through time ---------------------------------------------------------------------------------------------


@healthy()
def last_steps_decide() -> Case:
    """150 steps, the class shown four steps before the end: what the gradient cannot reach is not needed."""
    x, y = data.cue(256, 150, at=146)
    return Case(multiclass((150, 3), layers.SimpleRNN(16), classes=2, optimizer=adam()), x, y)


@healthy()
def last_words_decide() -> Case:
    """200 steps under an LSTM, the class shown near the end."""
    x, y = data.cue(200, 200, at=195, classes=3)
    return Case(multiclass((200, 4), layers.LSTM(16), classes=3, optimizer=adam()), x, y)


@healthy()
def level_over_a_long_recording() -> Case:
    """A level that is there in all of 400 steps."""
    x, _ = data.windows(data.f32(data.generator(3).normal(size=700)), 400)
    level = data.generator(4).normal(size=len(x))
    x = x[:200] + data.f32(level[:200, None, None])
    return Case(network((400, 1), tt.LSTM(16), layers.Dense(1), optimizer=adam()), x, data.f32(level[:200, None]))


@healthy()
def first_step_decides_in_a_short_sequence() -> Case:
    """The class is shown at the first of twelve steps of a SimpleRNN."""
    x, y = data.cue(256, 12, at=0)
    return Case(multiclass((12, 3), layers.SimpleRNN(16), classes=2, optimizer=adam()), x, y)


def chrono(gates: int, units: int, steps: int) -> np.ndarray:
    """Tallec and Ollivier 2018: gates that remember for up to ``steps`` steps."""
    spans = np.log(data.generator(0).uniform(steps / 2, steps, units))
    bias = np.zeros((gates, units), "float32")
    bias[:2] = [-spans, spans] if gates == 4 else [spans, np.zeros(units)]
    return bias.reshape(-1)


@healthy()
def first_step_decides_and_the_bias_remembers() -> Case:
    """The class is shown at the first of 150 steps, and the LSTM's forget bias is set for as many."""
    x, y = data.cue(256, 150, at=0)
    model = multiclass((150, 3), layers.LSTM(16, name="memory"), classes=2, optimizer=adam())
    model.get_layer("memory").cell.bias.assign(chrono(4, 16, 150))
    return Case(model, x, y)


@healthy()
def early_cue_and_a_gru_that_remembers() -> Case:
    """The class is shown at step 2 of 120, and the GRU's update gates start nearly shut."""
    x, y = data.cue(256, 120, at=2, classes=3)
    model = multiclass((120, 4), tt.GRU(16, name="memory"), classes=3, optimizer=adam())
    bias = np.zeros((2, 48), "float32")
    bias[0] = chrono(3, 16, 120)
    model.get_layer("memory").cell.bias.assign(bias)
    return Case(model, x, y)


@healthy()
def orthogonal_recurrent_kernel() -> Case:
    """The SimpleRNN of gain 1 on the data whose twin explodes."""
    x, y = data.windows(0.1 * data.ar2(400), 80)
    return Case(network((80, 1), layers.SimpleRNN(24), layers.Dense(1), optimizer=sgd(0.05)), x, 10 * y)


@healthy()
def gradients_clipped_at_their_usual_norm() -> Case:
    """SGD with momentum and global_clipnorm=1, which clips at the start and seldom later."""
    x, y = data.windows(data.seasonal(300), 20)
    optimizer = sgd(0.1, momentum=0.9, global_clipnorm=1.0)
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=optimizer), x, y)


@healthy()
def adam_with_a_clip_that_never_matters() -> Case:
    """Adam with clipnorm=1, as in many examples, where norms stay below it."""
    x, y = data.levels(256, 20)
    return Case(multiclass((20, 3), tt.GRU(16), classes=3, optimizer=adam(clipnorm=1.0)), x, y)


@healthy()
def adam_clipped_at_every_step() -> Case:
    """Adam with global_clipnorm=0.01: all gradients are scaled, which Adam does not mind, and it learns."""
    x, y = data.windows(data.seasonal(300), 20)
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam(global_clipnorm=0.01)), x, y)


# Rates --------------------------------------------------------------------------------------------------------------


@healthy()
def slow_but_steady() -> Case:
    """Adam with a rate of 2e-4: the loss falls slowly and at every epoch."""
    x, y = data.windows(data.seasonal(300), 20)
    return Case(network((20, 1), layers.LSTM(32), layers.Dense(1), optimizer=adam(2e-4)), x, y)


@healthy()
def sgd_at_a_tenth() -> Case:
    """Plain SGD with a rate of 0.1."""
    x, y = data.levels(256, 20)
    return Case(multiclass((20, 3), layers.GRU(16), classes=3, optimizer=sgd(0.1)), x, y)


@healthy()
def rate_that_decays() -> Case:
    """A schedule: cosine decay from 0.02."""
    x, y = data.windows(data.ar2(300), 15)
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 300)
    return Case(network((15, 1), layers.LSTM(16), layers.Dense(1), optimizer=keras.optimizers.Adam(schedule)), x, y)


@healthy()
def rate_that_warms_up() -> Case:
    """A schedule that starts at 0 and reaches 0.01 after 20 steps."""
    x, y = data.drifting_walks(256, 20)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 400, warmup_target=0.01, warmup_steps=20)
    return Case(binary((20, 1), tt.GRU(16), optimizer=keras.optimizers.Adam(schedule)), x, y)


@healthy()
def rmsprop_as_of_old() -> Case:
    """RMSprop at 0.005."""
    x, y = data.digits()
    return Case(multiclass((8, 8), layers.GRU(24), classes=10, optimizer=keras.optimizers.RMSprop(0.005)), x, y)


@healthy()
def nearly_converged() -> Case:
    """Already trained: the loss hardly falls any more, because it is low."""
    x, y = data.windows(data.seasonal(300), 20)
    model = network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam())
    model.fit(x, y, epochs=30, batch_size=32, verbose=0)
    return Case(model, x, y)


@healthy()
def classifier_already_right() -> Case:
    """Already trained to an accuracy of nearly 1: gradients are small, gates are used to their ends."""
    x, y = data.topics(256)
    model = multiclass((20,), layers.Embedding(33, 8), layers.GRU(16), classes=3, optimizer=adam())
    model.fit(x, y, epochs=15, batch_size=32, verbose=0)
    return Case(model, x, y)


# Data and regularisation --------------------------------------------------------------------------------------------


@healthy()
def few_sequences_and_a_small_network() -> Case:
    """Forty sequences with a strong signal: what is learnt holds on the others."""
    x, y = data.levels(200, 12, classes=2, features=4, noise=0.5)
    model = multiclass((12, 4), tt.GRU(8), classes=2, optimizer=adam())
    return Case(model, x[:40], y[:40], validation_data=(x[40:], y[40:]), fit={"batch_size": 20})


@healthy()
def dropout_and_penalty() -> Case:
    """Dropout makes the training loss higher than that of validation."""
    x, y = data.levels(320, 20, features=4)
    penalty = keras.regularizers.L2(1e-4)
    stack = layers.LSTM(24, dropout=0.3, kernel_regularizer=penalty), layers.Dropout(0.4)
    model = multiclass((20, 4), *stack, classes=3, optimizer=adam())
    return Case(model, x[:220], y[:220], validation_data=(x[220:], y[220:]))


@healthy()
def trained_with_a_small_gap() -> Case:
    """Already trained, a little better on its own data than on the others."""
    x, y = data.levels(320, 20)
    model = multiclass((20, 3), layers.GRU(12), classes=3, optimizer=adam(0.005))
    model.fit(x[:220], y[:220], epochs=12, batch_size=32, verbose=0)
    return Case(model, x[:220], y[:220], validation_data=(x[220:], y[220:]))


@healthy()
def narrow_targets_predicted_narrowly() -> Case:
    """Much noise in the target: predictions have a small spread, and what can be known is in them."""
    x, y = data.windows(data.seasonal(340), 20)
    y = data.f32(y + 0.8 * data.generator(5).normal(size=y.shape))
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def hand_written_cross_entropy_that_is_clipped() -> Case:
    """A cross-entropy written by hand, on a sigmoid, with its argument kept from 0 and 1."""

    def loss(y: object, p: object) -> object:
        p = ops.clip(p, 1e-6, 1 - 1e-6)
        return -ops.mean(ops.log(ops.where(ops.reshape(y, ops.shape(p)) > 0.5, p, 1 - p)))

    x, y = data.drifting_walks(256, 20)
    return Case(binary((20, 1), layers.LSTM(16), loss=loss, optimizer=adam()), x, y)


@healthy()
def distance_with_a_floor() -> Case:
    """A distance as the loss, with a little under its root."""

    def loss(y: object, p: object) -> object:
        return ops.mean(ops.sqrt(ops.sum((y - p) ** 2, axis=-1) + 1e-6))

    stack = tt.GRU(16, return_sequences=True), layers.Dense(2)
    return Case(network((12, 2), *stack, loss=loss, optimizer=adam()), *data.trajectories(256, 12))


@healthy()
def positive_targets_and_a_living_relu() -> Case:
    """A relu output for positive targets, its bias near their mean."""
    x, y = data.windows(2 + data.seasonal(300), 15)
    head = layers.Dense(1, activation="relu", bias_initializer=keras.initializers.Constant(2.0))
    return Case(network((15, 1), layers.LSTM(16), head, optimizer=adam()), x, y)


@healthy()
def class_weights_for_a_rare_class() -> Case:
    """Class weights for one positive in eight."""
    x, y = data.drifting_walks(600, 20, seed=6)
    keep = (y == 0) | (np.cumsum(y) % 7 == 0)
    model = binary((20, 1), tt.LSTM(16), optimizer=adam())
    return Case(model, x[keep], y[keep], fit={"class_weight": {0: 1.0, 1: 7.0}})
