"""Healthy twins of ``faulty_data``: the same data and models without the fault, and data that only look wrong."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

import throughtime as tt
from programs import data
from programs.models import adam, binary, multiclass, network
from programs.program import Case, healthy

# Shapes -------------------------------------------------------------------------------------------------------------


@healthy()
def lags_as_steps() -> Case:
    """The eight latest values are eight steps of one feature."""
    x, y = data.windows(data.seasonal(300), 8)
    return Case(network((8, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def words_into_lstm() -> Case:
    """Texts as tokens with an Embedding that masks the padding."""
    x, y = data.sentences(300)
    return Case(binary((20,), layers.Embedding(40, 8, mask_zero=True), layers.LSTM(16)), x, y)


@healthy()
def two_steps() -> Case:
    """Two steps are a short sequence, and a sequence."""
    x, y = data.levels(256, 2, features=4)
    return Case(multiclass((2, 4), tt.GRU(16), classes=3, optimizer=adam()), x, y)


@healthy()
def transposed_sensors() -> Case:
    """Padded sensors with a label at each step, axes in their places."""
    x, y = data.tagged_sensors(256, 20, 4)
    stack = layers.Masking(0.0), layers.LSTM(16, return_sequences=True)
    return Case(binary((20, 4), *stack, optimizer=adam()), x, y)


@healthy()
def sensors_as_features() -> Case:
    """Six smooth sensors over 48 steps."""
    x, y = data.rhythms(320, 48, 6)
    return Case(binary((48, 6), layers.LSTM(16), optimizer=adam()), x, y)


@healthy()
def spectrogram_of_a_glide() -> Case:
    """Neighbouring bands of a spectrogram are more alike than neighbouring steps, and the axes are right."""
    x, y = data.spectrogram(256, 20, 32)
    return Case(binary((20, 32), layers.GRU(16), optimizer=adam()), x, y)


@healthy()
def written_digits_row_by_row() -> Case:
    """Images read by rows: pixels are as alike along one axis as along the other."""
    x, y = data.digits()
    return Case(multiclass((8, 8), layers.LSTM(24), classes=10, optimizer=adam()), x, y)


@healthy()
def white_noise_inputs() -> Case:
    """The adding problem: no step is like its neighbour, and the sum is learnt."""
    x, y = data.adding(320, 10)
    return Case(network((10, 2), tt.LSTM(24), layers.Dense(1), optimizer=adam(0.02)), x, y)


@healthy()
def daily_profile_as_features() -> Case:
    """Each step is a day of 24 hours: hours of one day are more alike than days; the next day's mean is to be told."""
    level = data.ar2(320)[:, None]
    hours = np.sin(2 * np.pi * np.arange(24) / 24)
    days = data.f32(level + 0.5 * hours + 0.1 * data.generator(2).normal(size=(320, 24)))
    x, _ = data.windows(days, 10)
    y = days.mean(1, keepdims=True)[10:]
    return Case(network((10, 24), layers.GRU(16), layers.Dense(1)), x, y)


# Padding and masks --------------------------------------------------------------------------------------------------


@healthy()
def dry_days_counted() -> Case:
    """Half of the counts are 0, and nothing masks them."""
    x, y = data.counts()
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def machine_off_padded_with_minus_one() -> Case:
    """A machine that is off draws 0; the padding is -1, which never occurs."""
    x, y = data.off_share(padding=-1.0)
    return Case(network((30, 1), layers.Masking(-1.0), tt.GRU(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def words_numbered_from_one() -> Case:
    """Word 0 of the vocabulary is token 1, so mask_zero drops nothing."""
    x, y = data.negations(first=1)
    stack = layers.Embedding(21, 8, mask_zero=True), layers.LSTM(16)
    return Case(binary((12,), *stack, optimizer=adam()), x, y)


@healthy()
def word_zero_without_a_mask() -> Case:
    """Word 0 is a word of its own, and the Embedding has no mask."""
    x, y = data.topics(256)
    return Case(multiclass((20,), layers.Embedding(33, 8), layers.GRU(16), classes=3), x - 1, y)


@healthy()
def zeros_in_one_of_three_features() -> Case:
    """Single features are often 0 in steps that are not padding: Masking drops a step only if all are."""
    x, y = data.levels(256, 20)
    x[..., 2] = data.generator(3).poisson(0.5, x.shape[:2])
    x *= np.arange(20)[:, None] < data.generator(4).integers(8, 21, (256, 1, 1))
    return Case(multiclass((20, 3), layers.Masking(0.0), layers.LSTM(16), classes=3, optimizer=adam()), x, y)


@healthy()
def gaps_masked_on_purpose() -> Case:
    """A sensor that fails now and then: those steps hold -99, and Masking drops them inside the sequence too."""
    x, y = data.drifting_walks(256, 30)
    x[data.generator(5).random((256, 30)) < 0.2] = -99
    return Case(binary((30, 1), layers.Masking(-99.0), layers.GRU(16), optimizer=adam()), x, y)


@healthy()
def post_padding_with_a_mask() -> Case:
    """Walks of 5 to 40 steps in 150 under Masking."""
    x, y = data.drifting_walks(256, 150, shortest=5, longest=40)
    return Case(binary((150, 1), layers.Masking(0.0), layers.LSTM(16), optimizer=adam()), x, y)


@healthy()
def pre_padding_with_a_mask() -> Case:
    """Zeros before the walk, and Masking."""
    x, y = data.drifting_walks(256, 40, shortest=5, side="pre")
    return Case(binary((40, 1), layers.Masking(0.0), tt.LSTM(16), optimizer=adam()), x, y)


@healthy()
def embedding_with_mask_zero() -> Case:
    """Texts of 3 to 40 words in 150, masked."""
    x, y = data.sentences(256, 150, shortest=3, longest=40)
    return Case(binary((150,), layers.Embedding(40, 8, mask_zero=True), layers.LSTM(16)), x, y)


@healthy()
def tagger_with_a_mask() -> Case:
    """A Bidirectional tagger under a mask: padded steps are neither read, nor trained on, nor counted."""
    x, _ = data.sentences(256, 30, shortest=3)
    stack = layers.Embedding(40, 8, mask_zero=True), layers.Bidirectional(layers.GRU(12, return_sequences=True))
    return Case(multiclass((30,), *stack, classes=3), x, np.where(x == 0, 0, 1 + (x % 2)))


@healthy()
def padding_without_weight() -> Case:
    """The padded steps of a tagger weigh nothing in fit, and the way is forward only: no mask is needed."""
    x, _ = data.sentences(256, 30, shortest=3)
    stack = layers.Embedding(40, 8), layers.LSTM(16, return_sequences=True)
    y = np.where(x == 0, 0, 1 + (x % 2))
    return Case(multiclass((30,), *stack, classes=3), x, y, fit={"sample_weight": data.f32(x != 0)})


@healthy()
def quiet_ends() -> Case:
    """Sales end with a day or more of 0 in many rows, as they have 0 in between: no padding."""
    x, _ = data.counts(seed=2)
    y = x[:, -6:].mean(1)
    return Case(network((20, 1), layers.GRU(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def one_long_and_many_short() -> Case:
    """Very different lengths under a mask, one step the shortest."""
    x, y = data.drifting_walks(256, 60, shortest=1, longest=12)
    x[0, :, 0] = np.linspace(0.1, 6, 60) * (1 if y[0] else -1)
    return Case(binary((60, 1), layers.Masking(0.0), tt.GRU(16), optimizer=adam()), x, y)


@healthy()
def parity_of_short_words() -> Case:
    """Variable-length parity of one to three bits."""
    x, y = data.parity(400, 3)
    stack = layers.Embedding(3, 8, mask_zero=True), layers.LSTM(24)
    return Case(binary((3,), *stack, optimizer=adam(0.03)), x, y)


@healthy()
def recordings_without_the_empty_ones() -> Case:
    """Recordings under a mask, each with a step at least."""
    x, y = data.drifting_walks(256, 30, shortest=5)
    return Case(binary((30, 1), layers.Masking(0.0), layers.LSTM(16), optimizer=adam()), x, y)


@healthy()
def room_for_the_last_word() -> Case:
    """The highest token is one less than the Embedding's rows."""
    x, y = data.topics(256)
    return Case(multiclass((20,), layers.Embedding(32, 8), tt.LSTM(16), classes=3, optimizer=adam()), x, y)


# Values -------------------------------------------------------------------------------------------------------------


@healthy()
def pressure_normalised_in_the_model() -> Case:
    """Inputs near 101000 into a Normalization layer that knows them."""
    x, y = data.windows(data.seasonal(300), 20)
    x = 101_000 + 300 * x
    scale = layers.Normalization()
    scale.adapt(x)
    return Case(network((20, 1), scale, layers.LSTM(16), layers.Dense(1), optimizer=adam()), x, y)


@healthy()
def revenue_as_logarithm() -> Case:
    """A feature in millions enters as its standardised logarithm."""
    x, _ = data.levels(256, 20, classes=2, features=2)
    y = data.f32(x[..., 0].mean(1) > np.median(x[..., 0].mean(1)))
    return Case(binary((20, 2), layers.GRU(16), optimizer=adam()), x, y)


@healthy()
def load_rescaled_in_the_model() -> Case:
    """Targets near 20000 come out of a Rescaling layer, under a loss that is relative to their scale."""
    x, y = data.windows(data.seasonal(300), 20)
    stack = layers.LSTM(16), layers.Dense(1), layers.Rescaling(3_000.0, offset=20_000.0)
    return Case(network((20, 1), *stack, optimizer=adam()), x, 20_000 + 3_000 * y)


@healthy()
def sea_surface_standardised() -> Case:
    """Inputs and targets standardised."""
    x, y = data.windows(data.standard(data.sea_surface()), 24)
    return Case(network((24, 1), tt.GRU(16), layers.Dense(1), optimizer=adam()), x[:400], y[:400])


@healthy()
def targets_a_few_units_wide() -> Case:
    """Targets between 0 and 9 are not of scale 1, and are learnt."""
    x, _ = data.counts(seed=3)
    return Case(network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam(0.02)), x, x[:, -5:].sum(1))


@healthy()
def double_precision_input() -> Case:
    """x and y are float64, as NumPy makes them."""
    x, y = data.windows(data.seasonal(300), 20)
    model = network((20, 1), layers.LSTM(16), layers.Dense(1), optimizer=adam())
    return Case(model, x.astype("float64"), y.astype("float64"))


@healthy()
def first_differences_from_the_second_step() -> Case:
    """Differences without the step that has none."""
    x, y = data.drifting_walks(256, 25)
    return Case(binary((24, 1), layers.LSTM(16), optimizer=adam()), np.diff(x, axis=1), y)


@healthy()
def labels_in_their_order() -> Case:
    """The labels belong to the sequences."""
    x, y = data.levels(256, 20)
    return Case(multiclass((20, 3), layers.LSTM(16), classes=3, optimizer=adam()), x, y)


@healthy()
def some_labels_wrong() -> Case:
    """A fifth of the labels is wrong; the rest is learnt."""
    x, y = data.levels(320, 20, classes=2)
    y = np.where(data.generator(6).random(320) < 0.2, 1 - y, y)
    return Case(multiclass((20, 3), tt.GRU(16), classes=2), x, y)


@healthy()
def rare_class() -> Case:
    """One in eight is positive; it is learnt above the majority."""
    x, y = data.drifting_walks(600, 20, seed=4)
    keep = (y == 0) | (np.cumsum(y) % 7 == 0)
    return Case(binary((20, 1), layers.LSTM(16), optimizer=adam()), x[keep], y[keep])


@healthy()
def one_hot_events() -> Case:
    """Events one-hot in ten channels: most of the input is 0."""
    x, y = data.topics(256)
    return Case(multiclass((20, 32), layers.GRU(16), classes=3, optimizer=adam()), keras.utils.to_categorical(x, 32), y)
