"""Healthy forecasts: skill over the last value, splits in time, causal models, real series."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import throughtime as tt
from programs import data
from programs.models import adam, binary, multiclass, network
from programs.program import Case, healthy


def forecaster(steps: int, features: int = 1) -> keras.Model:
    return network((steps, features), layers.LSTM(16), layers.Dense(1), optimizer=adam())


def split_in_time(x: data.Array, y: data.Array, at: int, *, gap: int) -> Case:
    return Case(forecaster(*x.shape[1:]), x[:at], y[:at], validation_data=(x[at + gap :], y[at + gap :]))


@healthy()
def min_and_max_of_the_training_part() -> Case:
    """Scaled to [0, 1] by the training part; the validation part goes beyond."""
    series = data.seasonal(400, trend=1.5)
    known = series[:300]
    x, y = data.windows((series - known.min()) / (known.max() - known.min()), 20)
    return split_in_time(x, y, 280, gap=21)


@healthy()
def bounded_by_nature() -> Case:
    """Relative humidity runs from exactly 0 to exactly 1 in the training part and in the other: nobody scaled it."""
    series = np.clip(0.5 + 0.6 * data.ar2(420) / 1.6, 0, 1)
    return split_in_time(*data.windows(data.f32(series), 20), 280, gap=21)


@healthy()
def mean_of_the_training_recordings() -> Case:
    """Standardised by the training recordings."""
    x, y = data.levels(320, 16, features=2)
    x = data.f32((x - x[:220].mean((0, 1))) / x[:220].std((0, 1)))
    model = multiclass((16, 2), tt.LSTM(16), classes=3, optimizer=adam())
    return Case(model, x[:220], y[:220], validation_data=(x[220:], y[220:]))


@healthy()
def windows_split_with_a_gap() -> Case:
    """Overlapping windows, split in time, with a gap of a window's length."""
    return split_in_time(*data.windows(data.ar2(340), 20), 220, gap=21)


@healthy()
def windows_that_share_history_at_the_border() -> Case:
    """Split in time without a gap: the first validation windows look back into the training part, their targets not."""
    return split_in_time(*data.windows(data.ar2(320, seed=2), 20), 230, gap=0)


@healthy()
def recordings_split_by_sequence() -> Case:
    """Independent recordings, split at random."""
    x, y = data.drifting_walks(320, 20)
    model = binary((20, 1), layers.GRU(16), optimizer=adam())
    return Case(model, x[:240], y[:240], validation_data=(x[240:], y[240:]))


@healthy()
def short_texts_that_repeat() -> Case:
    """Texts of three words out of six: the same text is written by many people, on both sides of the split."""
    rng = data.generator(3)
    x = rng.integers(1, 7, (320, 3))
    y = data.f32((x == 1).any(1))
    model = binary((3,), layers.Embedding(7, 8, mask_zero=True), layers.LSTM(16), optimizer=adam())
    return Case(model, x[:240], y[:240], validation_data=(x[240:], y[240:]))


@healthy()
def forward_only_for_a_forecast() -> Case:
    """The target of each step is the next input, and only what came before is read."""
    x, y = data.next_values(data.ar2(400), 24, batch=256)
    stack = layers.LSTM(16, return_sequences=True), layers.Dense(1)
    return Case(network((24, 1), *stack, optimizer=adam()), x, y)


@healthy()
def causal_convolution_before_the_forecast() -> Case:
    """A convolution with padding="causal" before the GRU."""
    x, y = data.next_values(data.ar2(400, seed=1), 24, batch=256)
    stack = layers.Conv1D(12, 3, padding="causal"), layers.GRU(12, return_sequences=True), layers.Dense(1)
    return Case(network((24, 1), *stack, optimizer=adam()), x, y)


@healthy()
def both_directions_for_one_forecast() -> Case:
    """Bidirectional over a window that ends before its target: it sees no future."""
    x, y = data.windows(data.ar2(340), 20)
    stack = layers.Bidirectional(layers.LSTM(10)), layers.Dense(1)
    return Case(network((20, 1), *stack, optimizer=adam()), x, y)


@healthy()
def both_directions_for_tags() -> Case:
    """A Bidirectional tagger: whether the next word is 1 to 5 decides the tag, and it may look ahead."""
    x, _ = data.sentences(256, 15, shortest=15)
    ahead = np.concatenate([x[:, 1:], x[:, :1]], axis=1)
    stack = layers.Embedding(40, 8), layers.Bidirectional(layers.GRU(12, return_sequences=True))
    return Case(binary((15,), *stack, optimizer=adam()), x, data.f32(ahead < 6)[..., None])


@healthy()
def both_directions_to_smooth() -> Case:
    """A Bidirectional smoother: the target is the curve under the noise, at the same step."""
    curve = data.smooth(data.generator(4).normal(size=(256, 24, 1)), 6)
    x = data.f32(curve + 0.7 * data.generator(5).normal(size=curve.shape))
    stack = layers.Bidirectional(tt.LSTM(12, return_sequences=True)), layers.Dense(1)
    return Case(network((24, 1), *stack, optimizer=adam()), x, data.f32(curve))


@healthy()
def ar2_trained() -> Case:
    """Already trained on a series that the last value forecasts badly: it has skill."""
    x, y = data.windows(data.ar2(340), 20)
    model = forecaster(20)
    model.fit(x, y, epochs=15, batch_size=32, verbose=0)
    return Case(model, x, y)


@healthy()
def ar2_to_be_trained() -> Case:
    """The same, fresh."""
    return Case(forecaster(20), *data.windows(data.ar2(340, seed=3), 20))


@healthy()
def season_a_year_ahead() -> Case:
    """Twelve values ahead at once."""
    x, y = data.windows(data.seasonal(330), 24, horizon=12)
    return Case(network((24, 1), tt.GRU(24), layers.Dense(12), optimizer=adam()), x, y)


@healthy()
def differences_of_a_trend() -> Case:
    """The next difference instead of the next value."""
    series = data.seasonal(330, trend=8)
    x, y = data.windows(data.standard(np.diff(series)), 24)
    return Case(network((24, 1), layers.GRU(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def sunspots_of_next_year() -> Case:
    """A real series of 309 years; a unit that is relu under targets that are never negative."""
    x, y = data.windows(data.f32(data.sunspots() / 60), 22)
    stack = layers.LSTM(16), layers.Dense(1, activation="relu", bias_initializer=keras.initializers.Constant(1.0))
    return Case(network((22, 1), *stack, optimizer=adam()), x, y)


@healthy()
def sine_with_trend() -> Case:
    """A sine on a trend, standardised, the next value of each step."""
    series = data.standard(data.seasonal(400, trend=2))
    x, y = data.next_values(series, 24, batch=256)
    stack = tt.GRU(16, return_sequences=True), layers.Dense(1)
    return Case(network((24, 1), *stack, optimizer=adam()), x, y)


@healthy()
def weather_beside_the_load() -> Case:
    """Two features, and the target is driven by the second: the last value of the target alone says little."""
    rng = data.generator(6)
    weather = data.ar2(341, seed=7)
    load = np.concatenate([[0], 0.9 * weather[:-1]]) + 0.2 * rng.normal(size=341)
    x, y = data.windows(data.f32(np.stack([load, weather], 1)), 16)
    return Case(forecaster(16, 2), x, y)


@healthy()
def decoder_fed_with_what_came_before() -> Case:
    """Encoder and decoder: the decoder reads the targets one step late, and forward only."""
    x, ahead = data.windows(data.ar2(340, seed=4), 20, horizon=6)
    fed = np.concatenate([x[:, -1:, 0], ahead[:, :-1]], axis=1)[..., None]
    past, before = keras.Input((20, 1), name="past"), keras.Input((6, 1), name="before")
    state = layers.GRU(16, return_state=True)(past)[1]
    hidden = layers.GRU(16, return_sequences=True)(before, initial_state=state)
    model = keras.Model([past, before], layers.Dense(1)(hidden))
    model.compile(adam(), loss="mse")
    return Case(model, [x, fed], ahead[..., None])


@healthy()
def both_directions_to_reconstruct() -> Case:
    """A Bidirectional autoencoder: the target is the input of the same step, through four numbers."""
    x, _ = data.next_values(data.ar2(400), 20, batch=256)
    stack = layers.Bidirectional(layers.LSTM(8, return_sequences=True)), layers.Dense(4), layers.Dense(1)
    return Case(network((20, 1), *stack, optimizer=adam()), x, x)


@healthy()
def flat_targets() -> Case:
    """Targets of shape (B,) for one linear unit, and an input without a fixed length."""
    x, y = data.windows(data.ar2(340, seed=5), 15)
    return Case(network((None, 1), tt.LSTM(16), layers.Dense(1), optimizer=adam()), x, y[:, 0])


@healthy()
def calendar_beside_the_series() -> Case:
    """The month as sine and cosine beside the series."""
    series = data.standard(data.sea_surface())
    angle = 2 * np.pi * np.arange(len(series)) / 12
    x, y = data.windows(data.f32(np.stack([series, np.sin(angle), np.cos(angle)], 1)), 12)
    return Case(network((12, 3), layers.GRU(16), layers.Dense(1), optimizer=adam()), x[:400], y[:400])
