"""Programs whose fault is in the data, or in how the data meet the model: shapes, padding, scales, splits."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from sklearn.feature_extraction.text import TfidfTransformer

import throughtime as tt
from programs import data
from programs.models import adam, binary, multiclass, network
from programs.program import Case, faulty

# Shapes -------------------------------------------------------------------------------------------------------------


@faulty("single-time-step", source="stackoverflow 77416892")
def lags_as_features() -> Case:
    """The eight latest values of a series are eight features of one step."""
    x, y = data.windows(data.seasonal(300), 8)
    return Case(network((1, 8), layers.LSTM(16), layers.Dense(1)), x.reshape(-1, 1, 8), y)


@faulty("single-time-step", source="stackoverflow 72795591")
def tf_idf_into_lstm() -> Case:
    """A text is one vector of TF-IDF weights, hence one step."""
    tokens, y = data.sentences(300)
    counts = np.stack([np.bincount(row, minlength=40)[1:] for row in tokens])
    x = data.f32(TfidfTransformer().fit_transform(counts).toarray())[:, None]
    return Case(binary((1, 39), layers.LSTM(16)), x, y)


@faulty("single-time-step")
def rows_of_a_table() -> Case:
    """Each row of a table of independent measurements is a sequence of length 1."""
    x, y = data.levels(256, 1, features=4)
    return Case(multiclass((1, 4), tt.GRU(16), classes=3), x, y)


@faulty("axes-swapped", source="stackoverflow 59282996")
def reshape_for_transpose() -> Case:
    """(B, F, T) was reshaped to (B, T, F): the padding of each row is scattered over the steps, unlike its labels'."""
    x, y = data.tagged_sensors(256, 20, 4)
    stack = layers.Masking(0.0), layers.LSTM(16, return_sequences=True)
    return Case(binary((20, 4), *stack, optimizer=adam()), x.swapaxes(1, 2).reshape(x.shape), y)


@faulty("axes-swapped")
def sensors_as_steps() -> Case:
    """Six sensors are the steps, their 48 times the features."""
    x, y = data.rhythms(320, 48, 6)
    return Case(binary((6, 48), layers.LSTM(16), optimizer=adam()), x.swapaxes(1, 2), y)


# Padding and masks --------------------------------------------------------------------------------------------------


@faulty("mask-value-in-data")
def dry_days_masked() -> Case:
    """Daily counts are often 0, which Masking takes for padding; the target is how long it has been 0."""
    x, y = data.counts()
    stack = layers.Masking(0.0), layers.LSTM(16), layers.Dense(1)
    return Case(network((20, 1), *stack, optimizer=adam()), x, y)


@faulty("mask-value-in-data")
def machine_off_masked() -> Case:
    """A machine that is off draws exactly 0, the value of the padding; the target is how often it is off."""
    x, y = data.off_share(padding=0.0)
    return Case(network((30, 1), layers.Masking(0.0), tt.GRU(16), layers.Dense(1), optimizer=adam()), x, y)


@faulty("mask-value-in-data")
def first_word_is_padding() -> Case:
    """Words are numbered from 0, and mask_zero drops word 0, which is a negation."""
    x, y = data.negations()
    stack = layers.Embedding(20, 8, mask_zero=True), layers.LSTM(16)
    return Case(binary((12,), *stack, optimizer=adam()), x, y)


@faulty("unmasked-padding")
def post_padding_without_a_mask() -> Case:
    """Walks of 5 to 40 steps in 150, zeros after them, no mask: the last output belongs to the padding."""
    x, y = data.drifting_walks(256, 150, shortest=5, longest=40)
    return Case(binary((150, 1), layers.LSTM(16), optimizer=adam()), x, y)


@faulty("unmasked-padding")
def embedding_without_mask_zero() -> Case:
    """Texts of 3 to 40 words, padded with 0 to 150, and an Embedding that has no mask."""
    x, y = data.sentences(256, 150, shortest=3, longest=40)
    return Case(binary((150,), layers.Embedding(40, 8), layers.LSTM(16)), x, y)


@faulty("unmasked-padding")
def tagger_that_reads_padding_first() -> Case:
    """A Bidirectional tagger without a mask: the way back starts in the padding, which counts in the accuracy too."""
    x, _ = data.sentences(256, 30, shortest=3)
    stack = layers.Embedding(40, 8), layers.Bidirectional(layers.GRU(12, return_sequences=True))
    return Case(multiclass((30,), *stack, classes=3), x, np.where(x == 0, 0, 1 + (x % 2)))


@faulty("fully-masked-sequence", source="stackoverflow 67169344")
def empty_recordings() -> Case:
    """Five recordings hold nothing but the padding value."""
    x, y = data.drifting_walks(256, 30, shortest=5)
    x[10:15] = 0
    return Case(binary((30, 1), layers.Masking(0.0), layers.LSTM(16), optimizer=adam()), x, y)


@faulty("fully-masked-sequence", source="tensorflow#36139")
def empty_texts() -> Case:
    """Some texts lost all their words to the vocabulary's limit, and are rows of zeros."""
    x, y = data.sentences(256)
    x[::50] = 0
    return Case(binary((20,), layers.Embedding(40, 8, mask_zero=True), layers.GRU(16)), x, y)


@faulty("token-out-of-range")
def no_room_for_the_last_word() -> Case:
    """Words 1 to 39 and padding 0, and an Embedding of 39 rows: word 39 has none."""
    x, y = data.sentences(256)
    return Case(binary((20,), layers.Embedding(39, 8, mask_zero=True), layers.LSTM(16)), x, y)


@faulty("token-out-of-range")
def vocabulary_of_another_file() -> Case:
    """The Embedding has room for the 25 words of another corpus."""
    x, y = data.topics(256)
    return Case(multiclass((20,), layers.Embedding(25, 8), tt.LSTM(16), classes=3), x, y)


# Values -------------------------------------------------------------------------------------------------------------


@faulty("unscaled-input")
def pressure_in_pascal() -> Case:
    """Inputs near 101000 that vary by 300 saturate every gate; the target is scaled."""
    wave = data.seasonal(300)
    x, y = data.windows(wave, 20)
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam()), 101_000 + 300 * x, y)


@faulty("unscaled-input")
def revenue_beside_a_rate() -> Case:
    """One feature is in millions and drowns the other, which decides."""
    x, y = data.levels(256, 20, classes=2, features=2)
    x[..., 1] = 1e6 * np.exp(x[..., 1])
    y = data.f32(x[..., 0].mean(1) > np.median(x[..., 0].mean(1)))
    return Case(binary((20, 2), layers.GRU(16)), x, y)


@faulty("unscaled-target")
def load_in_kilowatt() -> Case:
    """Targets near 20000: at Adam's rate the bias needs millions of steps to get there."""
    x, y = data.windows(data.seasonal(300), 20)
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1)), x, 20_000 + 3_000 * y)


@faulty("unscaled-target")
def sea_surface_in_kelvin() -> Case:
    """Inputs are standardised, targets are left between 292 and 303 kelvin."""
    series = data.sea_surface()
    x, y = data.windows(data.standard(series), 24)
    return Case(network((24, 1), tt.GRU(16), layers.Dense(1)), x[:400], y[:400] * series.std() + series.mean() + 273.15)


@faulty("non-finite-data")
def nan_of_a_shift() -> Case:
    """The first difference of each recording is NaN."""
    x, y = data.drifting_walks(200, 20)
    x[:, 1:] = np.diff(x, axis=1)
    x[:, 0] = np.nan
    return Case(binary((20, 1), layers.LSTM(16)), x, y)


@faulty("non-finite-data")
def infinite_growth_rate() -> Case:
    """Growth rates of counts: after a 0 the rate is infinite, in three places."""
    x, y = data.windows(data.seasonal(300), 15)
    x[[40, 90, 200], [3, 7, 14]] = np.inf
    return Case(network((15, 1), tt.GRU(16), layers.Dense(1)), x, y)


@faulty("non-finite-data")
def nan_in_the_target() -> Case:
    """The target is the value of the next row, and the last one has none."""
    x, y = data.windows(data.ar2(300), 15)
    y[-1] = np.nan
    return Case(network((15, 1), layers.GRU(16), layers.Dense(1)), x, y)


@faulty("random-labels")
def labels_in_another_order() -> Case:
    """The labels were shuffled, the sequences were not."""
    x, y = data.levels(256, 20)
    y = data.generator(5).permutation(y)
    return Case(multiclass((20, 3), layers.LSTM(16), classes=3, optimizer=adam()), x, y)


@faulty("random-labels")
def target_of_another_series() -> Case:
    """The target is noise that no input tells of; with validation data."""
    x, _ = data.windows(data.ar2(420), 20)
    y = data.f32(data.generator(6).normal(size=(400, 1)))
    model = network((20, 1), tt.GRU(16), layers.Dense(1), optimizer=adam())
    return Case(model, x[:280], y[:280], validation_data=(x[320:400], y[320:400]))


# Splits -------------------------------------------------------------------------------------------------------------


def forecaster(steps: int, features: int = 1) -> keras.Model:
    return network((steps, features), layers.LSTM(16), layers.Dense(1), optimizer=adam())


@faulty("scaler-leak", source="datascience.stackexchange 44017")
def min_and_max_of_the_whole_series() -> Case:
    """Scaled to [0, 1] before the split: the highest value is in the validation part, and is exactly 1."""
    series = data.seasonal(400, trend=1.5)
    x, y = data.windows((series - series.min()) / (series.max() - series.min()), 20)
    return Case(forecaster(20), x[:280], y[:280], validation_data=(x[301:], y[301:]))


@faulty("scaler-leak")
def mean_of_all_recordings() -> Case:
    """Standardised over all recordings before the split."""
    x, y = data.levels(320, 16, features=2)
    x = data.f32((5 + 3 * x - (5 + 3 * x).mean((0, 1))) / (5 + 3 * x).std((0, 1)))
    model = multiclass((16, 2), tt.LSTM(16), classes=3, optimizer=adam())
    return Case(model, x[:220], y[:220], validation_data=(x[220:], y[220:]))


@faulty("overlapping-split")
def shuffled_windows() -> Case:
    """Windows that overlap are split at random: validation windows lie between training windows."""
    x, y = data.windows(data.ar2(320), 20)
    order = data.generator(7).permutation(len(x))
    x, y = x[order], y[order]
    return Case(forecaster(20), x[:240], y[:240], validation_data=(x[240:], y[240:]))


@faulty("overlapping-split")
def oversampled_before_the_split() -> Case:
    """The rarer class was doubled before the split, and its sequences are on both sides."""
    x, y = data.drifting_walks(240, 20)
    x, y = np.concatenate([x, x[y == 1]]), np.concatenate([y, y[y == 1]])
    order = data.generator(8).permutation(len(x))
    x, y = x[order], y[order]
    model = binary((20, 1), layers.GRU(16), optimizer=adam())
    return Case(model, x[:260], y[:260], validation_data=(x[260:], y[260:]))


@faulty("noncausal-forecast")
def both_directions_for_a_forecast() -> Case:
    """Bidirectional, and the target of each step is the input of the next, which the way back has seen."""
    x, y = data.next_values(data.ar2(400), 24, batch=256)
    stack = layers.Bidirectional(layers.LSTM(12, return_sequences=True)), layers.Dense(1)
    return Case(network((24, 1), *stack, optimizer=adam()), x, y)


@faulty("noncausal-forecast")
def centred_convolution_before_the_forecast() -> Case:
    """A convolution with padding="same" sees the next step, which is the target."""
    x, y = data.next_values(data.ar2(400, seed=1), 24, batch=256)
    stack = layers.Conv1D(12, 3, padding="same"), layers.GRU(12, return_sequences=True), layers.Dense(1)
    return Case(network((24, 1), *stack, optimizer=adam()), x, y)


def trained(case: Case, epochs: int) -> Case:
    case.model.fit(case.x, case.y, epochs=epochs, batch_size=32, verbose=0)
    return case


@faulty("persistence", source="stackoverflow 51432661")
def echo_of_a_price() -> Case:
    """Trained on a random walk: its forecast is the last value, a step late."""
    x, y = data.windows(data.standard(data.random_walk(340)), 20)
    return trained(Case(forecaster(20), x, y), 15)


@faulty("persistence", source="stackoverflow 49882499")
def echo_of_the_last_close() -> Case:
    """Three prices that move together as inputs, the next of the first as target: it echoes the last one."""
    market = data.random_walk(340, seed=11)[:, None] + 0.3 * data.generator(12).normal(size=(340, 3)) * [0, 1, 1]
    x, y = data.windows(data.standard(data.f32(market)), 10)
    return trained(Case(network((10, 3), tt.GRU(16), layers.Dense(1), optimizer=adam()), x, y), 15)
