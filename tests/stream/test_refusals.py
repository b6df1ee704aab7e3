"""Models that have no answer one step at a time: each layer is named, with the reason and what to do."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

import throughtime as tt
from throughtime.errors import ArgumentError


class OfMyOwn(keras.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs


class MyLSTM(layers.LSTM):
    pass


class MyModel(keras.Model):
    def call(self, inputs: Any) -> Any:
        return inputs


def functional(make: Any, features: int = 4, steps: int | None = 6) -> keras.Model:
    inputs = keras.Input((steps, features))
    return keras.Model(inputs, make(inputs))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: layers.Bidirectional(layers.LSTM(3)), r"\(Bidirectional\) reads the sequence from its end as well"),
        (lambda: tt.GRU(3, go_backwards=True), "go_backwards=True, so that it begins at the end"),
        (lambda: layers.Conv1D(3, 2, padding="causal"), r"\(Conv1D\) needs more steps than the current one"),
        (lambda: layers.MaxPooling1D(2), "needs more steps than the current one"),
        (lambda: layers.GlobalAveragePooling1D(), r"answers from all steps together; the last state"),
        (lambda: layers.GroupNormalization(2), "LayerNormalization is accepted"),
        (lambda: layers.BatchNormalization(axis=1), "works along time.*axis=-1"),
        (lambda: layers.LayerNormalization(axis=[1, 2]), "works along time"),
        (lambda: layers.Softmax(axis=1), "works along time"),
        (lambda: layers.PReLU(), r"another slope at each time step; give it shared_axes=\[1\]"),
        (lambda: layers.Flatten(), "takes all steps together.*TimeDistributed"),
        (lambda: layers.Lambda(lambda x: x), "code of your own"),
        (lambda: OfMyOwn(), r"\(OfMyOwn\) is not among the layers"),
        (lambda: MyLSTM(3), "subclass of LSTM"),
        (lambda: layers.RNN(layers.LSTMCell(3)), "has the cell LSTMCell; accepted are SimpleRNN, GRU, LSTM"),
        (lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(3)]), "has the cell StackedRNNCells"),
        (lambda: layers.Dense(3, activation=lambda x: x * 2), "has the activation <lambda>; accepted are 'linear'"),
        (lambda: layers.GRU(3, activation=keras.activations.celu), "has the activation celu"),
        (lambda: layers.LayerNormalization(rms_scaling=True), "RMSNormalization is accepted"),
        (lambda: layers.Rescaling([[1.0], [2.0]]), "a scale of 2 axes"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_layer_that_needs_more_than_the_current_step_is_refused_with_the_reason(layer: Any, message: str) -> None:
    features, steps = (4, 2) if "2 axes" in message else (4, 6)
    with pytest.raises(ArgumentError, match=message):
        tt.Stream(keras.Sequential([keras.Input((steps, features)), layer()]))


def test_all_such_layers_are_named_at_once_those_within_models_too() -> None:
    inner = keras.Sequential([keras.Input((None, 3)), layers.Conv1D(3, 2), layers.Dense(3)], name="inner")
    model = keras.Sequential(
        [keras.Input((None, 3)), layers.Bidirectional(layers.GRU(2), name="both"), layers.RepeatVector(2)]
    )
    with pytest.raises(ArgumentError, match=r"'both' \(Bidirectional\).*\(RepeatVector\) makes a sequence"):
        tt.Stream(model)
    with pytest.raises(ArgumentError, match=r"\(Conv1D\)"):
        tt.Stream(keras.Sequential([keras.Input((None, 3)), inner, layers.GRU(2)]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x[:, 2:], "takes the steps slice"),
        (lambda x: x[:, 0], "takes the steps 0 out of the sequence"),
        (lambda x: x[1:, :], "rows out of the batch"),
        (lambda x: keras.ops.sum(x, axis=0), r"operation 'sum\w*' \(Sum\) works along the batch"),
        (lambda x: keras.ops.max(x), r"operation 'max\w*' \(Max\) works along all axes"),
        (lambda x: keras.ops.prod(x, axis=1), r"operation 'prod\w*' \(Prod\) is not among"),
        (lambda x: layers.GRU(4, return_sequences=True)(x, initial_state=layers.Dense(4)(x[:, -1])), "initial_state="),
        (lambda x: layers.Add()([x, layers.GRU(4)(x)[:, None]]), "joins what each step gives"),
        (lambda x: layers.GRU(3)(layers.Reshape((2, 2))(x[:, -1])), "does not run along the time axis"),
        (lambda x: layers.Dropout(0.5, seed=1)(x, training=True), "called with training=True"),
        (lambda x: layers.TimeDistributed(layers.GRU(2))(layers.Reshape((3, 2, 4))(x)), "runs along another axis"),
        (lambda x: layers.Reshape((24,))(x), "takes all steps together"),
    ],
)
def test_a_graph_that_needs_more_than_the_current_step_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        tt.Stream(functional(make))


def test_joining_what_each_step_gives_with_what_the_whole_gives_is_refused() -> None:
    inputs = keras.Input((4, 4))
    joined = layers.Multiply()([inputs, layers.GRU(4)(inputs)])
    with pytest.raises(ArgumentError, match="joins what each step gives with what the whole sequence gives"):
        tt.Stream(keras.Model(inputs, joined))


def test_models_that_cannot_be_looked_into_or_have_no_time_axis() -> None:
    with pytest.raises(ArgumentError, match="given str; a keras.Model is accepted"):
        tt.Stream("model.keras")
    with pytest.raises(ArgumentError, match="MyModel, whose own call cannot be looked into"):
        tt.Stream(MyModel())
    with pytest.raises(ArgumentError, match="no weights yet"):
        tt.Stream(keras.Sequential([layers.GRU(2)]))
    with pytest.raises(ArgumentError, match=r"works along time"):
        tt.Stream(keras.Sequential([keras.Input((5,)), layers.Dense(2)]))
    with pytest.raises(ArgumentError, match="only batch and time may be None"):
        tt.Stream(keras.Sequential([keras.Input((5, None)), layers.Activation("relu")]))
    model = keras.Sequential([keras.Input((None, 2)), layers.GRU(2)])
    for batch in (0, -1, 2.5, True):
        with pytest.raises(ArgumentError, match="not a number of streams"):
            tt.Stream(model, batch=batch)


def test_a_quantized_layer_is_refused() -> None:
    model = keras.Sequential([keras.Input((None, 4)), layers.Dense(8)])
    model.layers[0].quantize("int8")
    with pytest.raises(ArgumentError, match="quantized to int8"):
        tt.Stream(model)


def test_a_custom_cell_within_time_distributed_names_both() -> None:
    model = keras.Sequential(
        [keras.Input((None, 4)), layers.TimeDistributed(keras.Sequential([keras.Input((4,)), OfMyOwn()]))]
    )
    with pytest.raises(ArgumentError, match=r"\(TimeDistributed\) holds layer '\w+' \(OfMyOwn\)"):
        tt.Stream(model)
