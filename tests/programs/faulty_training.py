"""Programs whose fault shows in training: gradients through time, rates, clipping, too little data."""

from __future__ import annotations

import keras
from keras import layers

import throughtime as tt
from programs import data
from programs.models import adam, multiclass, network, sgd
from programs.program import Case, faulty

# Gradients through time ---------------------------------------------------------------------------------------------


@faulty("vanishing-through-time")
def first_step_decides() -> Case:
    """The class is shown at the first of 150 steps, and a SimpleRNN's gradient does not reach it."""
    x, y = data.cue(256, 150, at=0, noise=1.5)
    return Case(multiclass((150, 3), layers.SimpleRNN(16), classes=2), x, y)


@faulty("vanishing-through-time")
def second_step_decides() -> Case:
    """The second of 200 steps shows the class; an LSTM forgets it by its default bias."""
    x, y = data.cue(200, 200, at=1, classes=3)
    return Case(multiclass((200, 4), layers.LSTM(16), classes=3), x, y)


@faulty("vanishing-through-time", source="stackoverflow 73457069")
def flat_prediction() -> Case:
    """The level at the start of a long recording (T = 10000 there, 400 here) is to be told: the prediction is flat."""
    x, _ = data.windows(data.f32(data.generator(3).normal(size=700)), 400)
    level = data.generator(4).normal(size=len(x))
    x[:, :10] += level[:, None, None]
    return Case(network((400, 1), tt.LSTM(16), layers.Dense(1)), x[:200], data.f32(level[:200, None]))


@faulty("vanishing-through-time")
def early_marks() -> Case:
    """The adding problem with both marks in the first 15 of 150 steps."""
    x, y = data.adding(256, 150, last=15)
    return Case(network((150, 2), layers.GRU(16), layers.Dense(1), optimizer=adam()), x, 4 * (y - 1))


@faulty("exploding-through-time")
def recurrent_kernel_too_large() -> Case:
    """A recurrent kernel of gain 2: the gradient grows at each step back."""
    x, y = data.windows(0.1 * data.ar2(400), 80)
    init = keras.initializers.Orthogonal(gain=2.0)
    stack = layers.SimpleRNN(24, recurrent_initializer=init), layers.Dense(1)
    return Case(network((80, 1), *stack, optimizer=sgd(0.01)), x, 10 * y)


@faulty("exploding-through-time")
def gru_with_a_large_recurrent_kernel() -> Case:
    """A GRU whose recurrent kernel has gain 8."""
    x, y = data.windows(0.1 * data.ar2(400), 80)
    init = keras.initializers.Orthogonal(gain=8.0)
    stack = tt.GRU(24, recurrent_initializer=init), layers.Dense(1)
    return Case(network((80, 1), *stack, optimizer=sgd(0.01)), x, 10 * y)


@faulty("clipping-ineffective")
def clipped_to_nothing() -> Case:
    """SGD with global_clipnorm=1e-4: each step is ten thousand times shorter than its gradient."""
    x, y = data.windows(data.seasonal(300), 20)
    stack = layers.LSTM(16), layers.Dense(1)
    return Case(network((20, 1), *stack, optimizer=sgd(0.1, global_clipnorm=1e-4)), x, y)


@faulty("clipping-ineffective")
def every_variable_clipped_to_nothing() -> Case:
    """SGD with momentum and clipnorm=1e-4."""
    x, y = data.levels(256, 20)
    optimizer = sgd(0.05, momentum=0.9, clipnorm=1e-4)
    return Case(multiclass((20, 3), tt.GRU(16), classes=3, optimizer=optimizer), x, y)


# Rates --------------------------------------------------------------------------------------------------------------


@faulty("learning-rate-too-high")
def adam_at_one() -> Case:
    """Adam with a rate of 1 on two stacked layers."""
    x, y = data.windows(data.seasonal(300), 20)
    stack = layers.LSTM(32, return_sequences=True), layers.LSTM(32), layers.Dense(1)
    return Case(network((20, 1), *stack, optimizer=adam(1.0)), x, y)


@faulty("learning-rate-too-high")
def sgd_that_diverges() -> Case:
    """SGD with a rate of 5."""
    x, y = data.windows(data.ar2(300), 20)
    return Case(network((20, 1), layers.GRU(16), layers.Dense(1), optimizer=sgd(5.0)), x, y)


@faulty("learning-rate-too-high")
def adam_at_a_half_on_digits() -> Case:
    """Adam with a rate of 0.5: it learns something, and far less than with a hundredth of it."""
    x, y = data.digits()
    return Case(multiclass((8, 8), tt.LSTM(24), classes=10, optimizer=adam(0.5)), x, y)


@faulty("learning-rate-too-low")
def adam_at_a_ten_millionth() -> Case:
    """Adam with a rate of 1e-7."""
    x, y = data.windows(data.seasonal(300), 20)
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam(1e-7)), x, y)


@faulty("learning-rate-too-low")
def sgd_at_a_hundred_thousandth() -> Case:
    """SGD with a rate of 1e-5."""
    x, y = data.levels(256, 20)
    return Case(multiclass((20, 3), tt.GRU(16), classes=3, optimizer=sgd(1e-5)), x, y)


# Too little data ----------------------------------------------------------------------------------------------------


def wide_and_few(seed: int) -> tuple[data.Pair, data.Pair]:
    """40 sequences to train on, 160 to validate: a weak signal in 12 features."""
    x, y = data.levels(200, 12, classes=2, features=12, noise=4.0, seed=seed)
    return (x[:40], y[:40]), (x[40:], y[40:])


@faulty("overfit")
def learnt_by_heart() -> Case:
    """Trained until 40 sequences are known by heart; on the others it is worse than a constant."""
    train, validation = wide_and_few(1)
    model = multiclass((12, 12), layers.LSTM(48), classes=2, optimizer=adam())
    model.fit(*train, epochs=60, batch_size=20, verbose=0)
    return Case(model, *train, validation_data=validation)


@faulty("overfit")
def too_many_units() -> Case:
    """Two layers of 48 units and 40 sequences, not yet trained; 60 epochs are asked for."""
    train, validation = wide_and_few(2)
    stack = layers.LSTM(48, return_sequences=True), layers.LSTM(48)
    model = multiclass((12, 12), *stack, classes=2, optimizer=adam())
    return Case(model, *train, validation_data=validation, fit={"epochs": 60, "batch_size": 20})
