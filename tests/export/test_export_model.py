"""A model in ONNX's runtime answers as in Keras, on sequences of every length in one container."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

import throughtime as tt
from throughtime.errors import ArgumentError, BackendError, RunError
from throughtime.export.model import export_model

# Both sides compute in float32 over seven steps.
TOLERANCE = 1e-5
LENGTHS = np.array([7, 3, 1, 3, 7, 1], np.int32)
VALID = np.arange(7) < LENGTHS[:, None]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def filled(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(1)
    for variable in [*model.trainable_variables, *model.non_trainable_variables]:
        values = rng.normal(0, 0.4, variable.shape)
        if variable.dtype.startswith("float"):
            variable.assign(0.5 + np.abs(values) if "variance" in variable.path else values)
    return model


def sequential(*given: Any) -> keras.Model:
    return filled(keras.Sequential([keras.Input((None, 3)), *given]))


def answered(path: Path, **given: Any) -> list[np.ndarray]:
    """What ONNX's runtime answers; only the inputs that the file has may be given."""
    return onnxruntime.InferenceSession(path).run(None, given)


def alone(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """What Keras answers to each sequence without padding; those of one length together."""
    found: dict[int, np.ndarray] = {}
    for length in np.unique(LENGTHS):
        rows = np.flatnonzero(length == LENGTHS)
        answers = keras.ops.convert_to_numpy(model(x[rows, :length]))
        found |= dict(zip(rows.tolist(), answers, strict=True))
    return [found[b] for b in range(len(LENGTHS))]


def check(model: keras.Model, tmp_path: Path, *, per_step: bool, x: np.ndarray | None = None) -> Any:
    """Each sequence as if it were alone, whatever the padding holds; returns the file's graph."""
    path = export_model(model, tmp_path / "model.onnx", overwrite=True)
    x = random(6, 7, 3) if x is None else x
    x[~VALID] = np.nan
    (found,) = answered(path, input=x, lengths=LENGTHS)
    for b, expected in enumerate(alone(model, x)):
        one = found[b, : LENGTHS[b]] if per_step else found[b]
        np.testing.assert_allclose(one, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=str(b))
    return onnx.load(path).graph


CELLS: dict[str, tuple[str, Callable[..., Any]]] = {
    "simple_rnn": ("RNN", layers.SimpleRNN),
    "relu": ("RNN", lambda units, **options: layers.SimpleRNN(units, activation="relu", **options)),
    "linear": ("RNN", lambda units, **options: layers.SimpleRNN(units, activation="linear", **options)),
    "gru": ("GRU", layers.GRU),
    "gru_reset_before": ("GRU", lambda units, **options: layers.GRU(units, reset_after=False, **options)),
    "gru_hard": ("GRU", lambda units, **options: layers.GRU(units, recurrent_activation="hard_sigmoid", **options)),
    "lstm": ("LSTM", layers.LSTM),
    "lstm_hard": ("LSTM", lambda units, **options: layers.LSTM(
        units, activation="softsign", recurrent_activation="hard_sigmoid", **options
    )),
    "ours": ("LSTM", tt.LSTM),
}  # fmt: skip


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_an_operator_with_lengths(cell: str, sequences: bool, tmp_path: Path) -> None:
    kind, make = CELLS[cell]
    for bias in (True, False):
        model = sequential(make(5, return_sequences=sequences, use_bias=bias), layers.Dense(2))
        graph = check(model, tmp_path, per_step=sequences)
        (node,) = [node for node in graph.node if node.op_type == kind]
        assert node.input[4] == "lengths"


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_a_bidirectional_layer_is_one_operator_of_both_directions(
    cell: str, merge: str, sequences: bool, tmp_path: Path
) -> None:
    kind, make = CELLS[cell]
    inner = make(4, return_sequences=sequences)
    model = sequential(layers.Bidirectional(inner, merge_mode=merge), layers.Dense(2))
    graph = check(model, tmp_path, per_step=sequences)
    (node,) = [node for node in graph.node if node.op_type == kind]
    assert [one.s for one in node.attribute if one.name == "direction"] == [b"bidirectional"]


def test_stacked_layers_the_reverse_direction_and_a_state_that_is_returned(tmp_path: Path) -> None:
    stacked = sequential(
        layers.Masking(0.0), layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.Dropout(0.5, seed=1),
        layers.GRU(3, return_sequences=True), layers.SimpleRNN(4), layers.Dense(2, activation="softmax"),
    )  # fmt: skip
    check(stacked, tmp_path, per_step=False)
    check(sequential(layers.GRU(4, go_backwards=True), layers.Dense(2)), tmp_path, per_step=False)
    inputs = keras.Input((None, 3))
    _, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(inputs)
    check(filled(keras.Model(inputs, layers.Concatenate()([h, c]))), tmp_path, per_step=False)


def test_tokens_of_an_embedding(tmp_path: Path) -> None:
    model = filled(
        keras.Sequential(
            [keras.Input((None,), dtype="int32"), layers.Embedding(9, 4, mask_zero=True), tt.GRU(5), layers.Dense(2)]
        )
    )
    tokens = np.where(VALID, np.random.default_rng(0).integers(1, 9, VALID.shape), 0).astype(np.int32)
    path = export_model(model, tmp_path / "tokens.onnx")
    (found,) = answered(path, input=tokens, lengths=LENGTHS)
    expected = keras.ops.convert_to_numpy(model(tokens))  # Keras's own mask, of the padded whole
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.BatchNormalization(),
        lambda: layers.BatchNormalization(center=False, scale=False),
        lambda: layers.LayerNormalization(),
        lambda: layers.LayerNormalization(center=False, scale=False, epsilon=0.1),
        lambda: layers.RMSNormalization(),
        lambda: layers.UnitNormalization(),
        lambda: layers.Normalization(mean=[1.0, 2.0, -3.0], variance=[4.0, 0.25, 1.5]),
        lambda: layers.Normalization(mean=2.0, variance=3.0, invert=True, axis=None),
        lambda: layers.Rescaling([0.1, 2.0, -3.0], offset=1.5),
        lambda: layers.ReLU(max_value=6),
        lambda: layers.LeakyReLU(0.05),
        lambda: layers.ELU(0.7),
        lambda: layers.Softmax(),
        lambda: layers.TimeDistributed(layers.Dense(4, activation="relu")),
        lambda: layers.TimeDistributed(
            keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Activation("elu")])
        ),
        lambda: keras.Sequential([keras.Input((None, 3)), layers.Dense(4), layers.Identity()]),
    ],
)
def test_layers_without_a_state(layer: Any, tmp_path: Path) -> None:
    check(sequential(layer(), layers.SimpleRNN(4, return_sequences=True)), tmp_path, per_step=True)


@pytest.mark.parametrize(
    "name",
    [
        "linear", "tanh", "sigmoid", "hard_sigmoid", "relu", "relu6", "hard_tanh", "leaky_relu", "elu", "selu",
        "softplus", "softsign", "silu", "hard_silu", "gelu", "mish", "exponential", "softmax", "log_softmax",
    ],
)  # fmt: skip
def test_every_activation(name: str, tmp_path: Path) -> None:
    check(sequential(layers.Dense(5), layers.Activation(name)), tmp_path, per_step=True, x=3 * random(6, 7, 3))


def test_a_functional_model_with_skip_connections_and_arithmetic(tmp_path: Path) -> None:
    inputs = keras.Input((None, 3), name="x")
    hidden = layers.Add()([layers.Dense(3)(inputs), inputs])
    hidden = layers.Concatenate()([layers.GRU(4, return_sequences=True)(hidden), hidden[..., 1:], inputs[:, :, :1]])
    hidden = 0.5 * layers.Dense(3)(hidden) + 1.0 - layers.Dense(3)(inputs) / 2
    parts = [hidden, layers.Multiply()([hidden, hidden]), layers.Maximum()([hidden, inputs])]
    model = filled(keras.Model(inputs, layers.Average()(parts)))
    path, x = export_model(model, tmp_path / "model.onnx"), random(6, 7, 3)
    (found,) = answered(path, x=x, lengths=LENGTHS)
    for b, expected in enumerate(alone(model, x)):
        np.testing.assert_allclose(found[b, : LENGTHS[b]], expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_fixed_number_of_steps_needs_no_lengths(tmp_path: Path) -> None:
    first, second = layers.LSTM(4, return_sequences=True), layers.GRU(2)
    between = [layers.Flatten(), layers.Dense(6), layers.Reshape((3, 2))]
    model = filled(keras.Sequential([keras.Input((7, 3)), first, *between, second, layers.RepeatVector(2)]))
    path, x = export_model(model, tmp_path / "model.onnx"), random(5, 7, 3)
    (found,) = answered(path, input=x)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(x)), rtol=TOLERANCE, atol=TOLERANCE)


def backward() -> keras.Layer:
    return layers.LSTM(3, go_backwards=True)


class OfMyOwn(keras.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: layers.Conv1D(3, 2), r"\(Conv1D\) is not among what can be exported"),
        (lambda: OfMyOwn(), r"\(OfMyOwn\) is not among"),
        (lambda: layers.GRU(3, activation="mish"), "has the activation mish, which ONNX's operators do not have"),
        (lambda: layers.Dense(3, activation="celu"), "has the activation celu; accepted are"),
        (lambda: layers.GRU(3, go_backwards=True, return_sequences=True), "whose outputs stand in reverse"),
        (lambda: layers.Bidirectional(layers.GRU(3), merge_mode=None), "returns its layers' outputs apart"),
        (lambda: layers.Bidirectional(layers.RNN(layers.GRUCell(3))), "SimpleRNN, GRU and LSTM are accepted"),
        (lambda: layers.Bidirectional(layers.GRU(3), backward_layer=backward()), "of different kinds"),
        (lambda: layers.Flatten(), "takes all steps of sequences of any length"),
        (lambda: layers.BatchNormalization(axis=1), "axis=-1"),
        (lambda: layers.TimeDistributed(keras.Sequential([keras.Input((3,)), OfMyOwn()])), "holds layer"),
        (lambda: layers.ReLU(threshold=0.5), "settings of its own"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_what_cannot_be_exported_is_refused_with_the_reason(layer: Any, message: str, tmp_path: Path) -> None:
    shape = (6, 3) if "axis" in message else (None, 3)
    model = keras.Sequential([keras.Input(shape), layer()])
    with pytest.raises(ArgumentError, match=message):
        export_model(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_steps_of_padded_sequences_and_states_from_elsewhere_are_refused(tmp_path: Path) -> None:
    inputs = keras.Input((None, 3))
    first = keras.Model(inputs, inputs[:, -1])
    with pytest.raises(ArgumentError, match="takes single steps out of padded sequences"):
        export_model(first, tmp_path / "a.onnx")
    started = keras.Model(inputs, layers.GRU(3)(inputs, initial_state=layers.GRU(3)(inputs)))
    with pytest.raises(ArgumentError, match="is called with initial_state="):
        export_model(started, tmp_path / "a.onnx")
    stateful = keras.Sequential([keras.Input(batch_shape=(2, None, 3)), layers.GRU(3, stateful=True)])
    with pytest.raises(ArgumentError, match="carries no state from call to call"):
        export_model(stateful, tmp_path / "a.onnx")


def test_a_path_that_is_no_new_onnx_file_is_refused_and_a_missing_package_named(tmp_path: Path, monkeypatch) -> None:
    model = sequential(layers.GRU(2))
    with pytest.raises(ArgumentError, match=r"ends in \.onnx"):
        export_model(model, tmp_path / "model.pb")
    with pytest.raises(RunError, match="is not a directory"):
        export_model(model, tmp_path / "nowhere" / "model.onnx")
    path = export_model(model, tmp_path / "model.onnx")
    with pytest.raises(RunError, match="exists; choose another file, or overwrite=True"):
        export_model(model, path)
    export_model(model, path, overwrite=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'throughtime\[onnx\]'"):
        export_model(model, tmp_path / "other.onnx")
