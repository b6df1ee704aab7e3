"""Programs whose fault is in the model: shapes of the output, lost masks, activations, losses, the carried state."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

import throughtime as tt
from programs import data
from programs.models import Doubled, TwoLayers, WindowScale, adam, binary, multiclass, network
from programs.program import Case, faulty

# Outputs and losses -------------------------------------------------------------------------------------------------


@faulty("sequence-output-for-single-target", source="stackoverflow 70777445")
def sequences_for_one_target() -> Case:
    """return_sequences=True, and one target a sequence: the loss compares every step with it in silence."""
    x, y = data.windows(data.ar2(300), 12)
    stack = layers.LSTM(16, return_sequences=True), layers.Dense(1)
    return Case(network((12, 1), *stack), x, y)


@faulty("sequence-output-for-single-target")
def every_layer_returns_sequences() -> Case:
    """Three stacked layers that all return sequences, for one target a sequence."""
    x, y = data.adding(256, 12)
    stack = [tt.GRU(12, return_sequences=True) for _ in range(3)]
    return Case(network((12, 2), *stack, layers.Dense(1)), x, y)


@faulty("single-unit-softmax", source="stackoverflow 47241622")
def softmax_of_one_unit() -> Case:
    """One unit with softmax is 1 for every input, and has no gradient."""
    x, y = data.drifting_walks(256, 20)
    stack = layers.LSTM(16), layers.Dense(1, activation="softmax")
    return Case(network((20, 1), *stack, loss="binary_crossentropy", metrics=["accuracy"]), x, y)


@faulty("single-unit-softmax")
def softmax_of_one_unit_at_every_step() -> Case:
    """A tagger of two classes with one softmax unit at every step."""
    x, _ = data.sentences(256, 15, shortest=15)
    stack = layers.Embedding(40, 8), tt.LSTM(16, return_sequences=True), layers.Dense(1, activation="softmax")
    return Case(network((15,), *stack, loss="binary_crossentropy"), x, data.f32(x < 11)[..., None])


@faulty("logits-without-from-logits")
def logits_of_three_classes() -> Case:
    """A Dense layer without activation, and the cross-entropy that expects probabilities."""
    x, y = data.levels(256, 20)
    stack = layers.LSTM(16), layers.Dense(3)
    return Case(network((20, 3), *stack, loss="sparse_categorical_crossentropy", metrics=["accuracy"]), x, y)


@faulty("logits-without-from-logits")
def logit_of_a_yes_or_no() -> Case:
    """One linear unit under the binary cross-entropy of probabilities."""
    x, y = data.sentences(256)
    stack = layers.Embedding(40, 8, mask_zero=True), layers.GRU(16), layers.Dense(1)
    return Case(network((20,), *stack, loss=keras.losses.BinaryCrossentropy(), metrics=["accuracy"]), x, y)


@faulty("sigmoid-for-exclusive-classes")
def sigmoids_for_one_hot_rows() -> Case:
    """Ten exclusive classes, one-hot, as ten sigmoids with binary cross-entropy."""
    x, y = data.digits()
    stack = layers.LSTM(24), layers.Dense(10, activation="sigmoid")
    model = network((8, 8), *stack, loss="binary_crossentropy", optimizer=adam())
    return Case(model, x, keras.utils.to_categorical(y, 10))


@faulty("sigmoid-for-exclusive-classes")
def sigmoids_for_tags() -> Case:
    """Every word has one of four tags, one-hot, as four sigmoids with binary cross-entropy."""
    x, _ = data.sentences(256, 15, shortest=15)
    stack = layers.Embedding(40, 8), tt.GRU(16, return_sequences=True), layers.Dense(4, activation="sigmoid")
    model = network((15,), *stack, loss="binary_crossentropy", optimizer=adam())
    return Case(model, x, keras.utils.to_categorical(x % 4, 4))


@faulty("output-range", source="stackoverflow 51971180")
def relu_output_for_regression() -> Case:
    """The last layer is a relu, and half of the targets are negative."""
    x, y = data.windows(data.ar2(300), 15)
    stack = layers.LSTM(16), layers.Dense(1, activation="relu")
    return Case(network((15, 1), *stack, optimizer=adam()), x, y)


@faulty("output-range", source="stackoverflow 68716219")
def softmax_for_regression() -> Case:
    """Three values to forecast, of both signs, from a softmax with the mean squared error."""
    x, y = data.windows(data.seasonal(300), 15, horizon=3)
    stack = layers.LSTM(16), layers.Dense(3, activation="softmax")
    return Case(network((15, 1), *stack, optimizer=adam()), x, y)


@faulty("output-range")
def sigmoid_for_counts() -> Case:
    """Counts from 0 to 8 out of a sigmoid."""
    x, y = data.counts()
    stack = tt.LSTM(16), layers.Dense(1, activation="sigmoid")
    return Case(network((20, 1), *stack, optimizer=adam()), x, y)


@faulty("output-range")
def recurrent_layer_as_the_output() -> Case:
    """The last layer is an LSTM of one unit, which stays between -1 and 1; targets go to 3."""
    x, y = data.windows(data.standard(data.sunspots()), 15)
    return Case(network((15, 1), layers.LSTM(16, return_sequences=True), layers.LSTM(1), optimizer=adam()), x, y)


# Masks --------------------------------------------------------------------------------------------------------------


@faulty("mask-lost")
def convolution_ends_the_mask() -> Case:
    """A convolution between two LSTM layers drops the mask."""
    x, y = data.drifting_walks(256, 60, shortest=5)
    stack = layers.Masking(0.0), layers.LSTM(8, return_sequences=True), layers.Conv1D(8, 3, padding="same")
    return Case(binary((60, 1), *stack, layers.LSTM(16), optimizer=adam()), x, y)


@faulty("mask-lost")
def flatten_ends_the_mask() -> Case:
    """Flatten takes the outputs of padded steps, which repeat the last one, as features."""
    x, y = data.sentences(256, 30, shortest=3)
    stack = layers.Embedding(40, 8, mask_zero=True), layers.GRU(8, return_sequences=True), layers.Flatten()
    return Case(binary((30,), *stack), x, y)


@faulty("mask-lost")
def layer_of_their_own_ends_the_mask() -> Case:
    """A layer of the user's own, without supports_masking, lies between the Embedding and the LSTM."""
    x, y = data.sentences(256, 60, shortest=3)
    return Case(binary((60,), layers.Embedding(40, 8, mask_zero=True), Doubled(), layers.LSTM(16)), x, y)


@faulty("mask-lost")
def arithmetic_ends_the_mask() -> Case:
    """In a functional model, ``h * 0.5`` has no mask."""
    tokens = keras.Input((60,), dtype="int32")
    hidden = layers.Embedding(40, 8, mask_zero=True)(tokens)
    hidden = tt.LSTM(16, return_sequences=True)(hidden)
    hidden = layers.GRU(16)(ops.relu(hidden * 0.5))
    model = keras.Model(tokens, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", loss="binary_crossentropy", metrics=["accuracy"])
    return Case(model, *data.sentences(256, 60, shortest=3, seed=1))


# Recurrences --------------------------------------------------------------------------------------------------------


@faulty("unbounded-activation", source="stackoverflow 71494820")
def stacked_relu_lstm() -> Case:
    """Two LSTM layers with relu over 160 steps: states grow without bound, the loss becomes NaN."""
    x, y = data.windows(1.5 + data.seasonal(400), 160)
    stack = [layers.LSTM(32, activation="relu", return_sequences=more) for more in (True, False)]
    return Case(network((160, 1), *stack, layers.Dense(1), optimizer=adam(0.05)), x[:192], y[:192])


@faulty("unbounded-activation", source="stackoverflow 69364684")
def relu_autoencoder() -> Case:
    """An autoencoder of LSTM layers (GRU there) with relu over 150 steps."""
    x, _ = data.windows(2 + 0.8 * data.ar2(400), 150)
    stack = layers.LSTM(48, activation="relu"), layers.RepeatVector(150)
    stack = *stack, layers.LSTM(48, activation="relu", return_sequences=True), layers.Dense(1)
    return Case(network((150, 1), *stack, optimizer=adam()), x[:192], x[:192])


@faulty("unbounded-activation", source="stackoverflow 70217712")
def relu_with_recurrent_dropout() -> Case:
    """An LSTM with relu and recurrent_dropout, on values between 0 and 3."""
    x, y = data.windows(1.5 + data.seasonal(400), 150)
    stack = layers.LSTM(24, activation="relu", recurrent_dropout=0.3), layers.Dense(1)
    return Case(network((150, 1), *stack, optimizer=adam()), x[:192], y[:192])


@faulty("unbounded-activation")
def linear_recurrence() -> Case:
    """A SimpleRNN without activation, its recurrent kernel somewhat too large."""
    x, y = data.windows(data.ar2(400), 100)
    init = keras.initializers.Orthogonal(gain=1.4)
    stack = tt.SimpleRNN(16, activation="linear", recurrent_initializer=init), layers.Dense(1)
    return Case(network((100, 1), *stack), x, y)


@faulty("saturated-gates")
def kernel_twenty_times_too_large() -> Case:
    """A kernel of deviation 20 on scaled inputs: every gate is open or shut."""
    x, y = data.windows(data.ar2(300), 20)
    stack = layers.LSTM(16, kernel_initializer=keras.initializers.RandomNormal(stddev=20.0)), layers.Dense(1)
    return Case(network((20, 1), *stack), x, y)


@faulty("saturated-gates")
def gates_shut_by_their_bias() -> Case:
    """A bias of 30 holds the update gate of a GRU at 1: its state stays what it was, zero."""
    x, y = data.drifting_walks(256, 20)
    return Case(binary((20, 1), layers.GRU(16, bias_initializer=keras.initializers.Constant(30.0))), x, y)


@faulty("constant-prediction")
def dead_output() -> Case:
    """A relu output whose bias starts at -10: it is 0 for every input and has no gradient; targets are positive."""
    x, y = data.windows(2 + data.seasonal(300), 15)
    head = layers.Dense(1, activation="relu", bias_initializer=keras.initializers.Constant(-10.0))
    return Case(network((15, 1), layers.LSTM(16), head), x, y)


@faulty("constant-prediction")
def penalty_above_all() -> Case:
    """An L2 penalty of 10 on every kernel leaves the bias alone to predict."""
    x, y = data.windows(1 + data.seasonal(300), 15)
    penalty = {"kernel_regularizer": keras.regularizers.L2(10.0)}
    stack = layers.LSTM(16, **penalty, recurrent_regularizer=keras.regularizers.L2(10.0)), layers.Dense(1, **penalty)
    return Case(network((15, 1), *stack, optimizer=adam()), x, y)


@faulty("non-finite-loss")
def division_by_no_deviation() -> Case:
    """A layer divides each window by its own deviation, and some windows are constant: 0 / 0."""
    x, y = data.windows(data.seasonal(300), 15)
    x[[20, 21, 120]] = 0
    return Case(network((15, 1), WindowScale(), layers.LSTM(16), layers.Dense(1)), x, y)


# State --------------------------------------------------------------------------------------------------------------


@faulty("stateful-not-carried", backends=("jax",))
def stock_layer_carries_nothing() -> Case:
    """The streams are aligned and not shuffled, and Keras on JAX starts each batch from zero all the same."""
    x, y = data.latch(16, 20, 6)
    stack = layers.SimpleRNN(16, stateful=True, return_sequences=True), layers.Dense(1)
    model = network((6, 1), *stack, optimizer=adam(), batch_size=16)
    return Case(model, x, y, fit={"batch_size": 16, "shuffle": False})


@faulty("stateful-not-carried", backends=("jax",))
def stock_layer_above_a_dense_one() -> Case:
    """A Dense layer below, a stateful stock layer above, and aligned streams of 32 rows."""
    x, y = data.latch(32, 10, 8, seed=3)
    stack = layers.Dense(8, activation="tanh"), layers.SimpleRNN(16, stateful=True, return_sequences=True)
    model = network((8, 1), *stack, layers.Dense(1), optimizer=adam(), batch_size=32)
    return Case(model, x, y, fit={"batch_size": 32, "shuffle": False})


@faulty("stateful-shuffled", source="stackoverflow 47241622")
def streams_shuffled() -> Case:
    """fit shuffles by default, and a carried state meets another stream's next piece."""
    x, y = data.latch(16, 20, 6, seed=1)
    stack = tt.LSTM(16, stateful=True, return_sequences=True), layers.Dense(1)
    return Case(network((6, 1), *stack, optimizer=adam(), batch_size=16), x, y, fit={"batch_size": 16})


@faulty("stateful-shuffled")
def streams_shuffled_on_purpose() -> Case:
    """As above, with a GRU and shuffle=True."""
    x, y = data.latch(32, 10, 8, seed=2)
    stack = tt.GRU(16, stateful=True, return_sequences=True), layers.Dense(1, activation="tanh")
    model = network((8, 1), *stack, optimizer=adam(), batch_size=32)
    return Case(model, x, y, fit={"batch_size": 32, "shuffle": True})


# Calls that fail ----------------------------------------------------------------------------------------------------


@faulty("call-fails", source="stackoverflow 67590787")
def lstm_into_lstm() -> Case:
    """In a subclassed model the first LSTM returns one vector, which the second cannot read."""
    model = TwoLayers(16, sequences=False)
    model.compile("adam", loss="mse")
    return Case(model, *data.windows(data.ar2(300), 12))


@faulty("call-fails", source="stackoverflow 71251340")
def stateful_with_another_batch_size() -> Case:
    """Aligned streams of 32 rows, of which the last batch has only 12."""
    x, y = data.latch(32, 10, 8, seed=4)
    stack = tt.LSTM(16, stateful=True, return_sequences=True), layers.Dense(1)
    model = network((8, 1), *stack, optimizer=adam(), batch_size=32)
    return Case(model, x[:300], y[:300], fit={"batch_size": 32, "shuffle": False})


@faulty("call-fails")
def features_missing() -> Case:
    """The model was built for three features, and two are given."""
    x, y = data.levels(256, 20, features=2)
    return Case(multiclass((20, 3), layers.GRU(16), classes=3), x, y)


# What the loss does -------------------------------------------------------------------------------------------------


def cross_entropy_by_hand(y: Any, p: Any) -> Any:
    y = ops.reshape(y, ops.shape(p))
    return -ops.mean(y * ops.log(p) + (1 - y) * ops.log(1 - p))


@faulty("non-finite-loss")
def logarithm_of_zero() -> Case:
    """A cross-entropy written by hand on the output of a relu: the logarithm of 0."""
    x, y = data.drifting_walks(256, 20)
    stack = layers.LSTM(16), layers.Dense(1, activation="relu")
    return Case(network((20, 1), *stack, loss=cross_entropy_by_hand), x, y)


def distance(y: Any, p: Any) -> Any:
    """The mean Euclidean distance."""
    return ops.mean(ops.sqrt(ops.sum((y - p) ** 2, axis=-1)))


@faulty("non-finite-loss")
def root_of_zero() -> Case:
    """A distance as the loss: both ends are at the origin in the first step, where its gradient is 0 / 0."""
    stack = tt.GRU(16, return_sequences=True), layers.Dense(2)
    return Case(network((12, 2), *stack, loss=distance), *data.trajectories(256, 12))
