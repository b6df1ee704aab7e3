"""accelerate, to_keras and explain: what is found, what stays as it was, what is said; and saved files both ways."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from layer_cases import values

import throughtime as tt
from throughtime.layers.paths import why_not_fused
from throughtime.layers.recurrent import OURS

pytestmark = pytest.mark.backend


def nested() -> keras.Model:
    """Recurrent layers in a nested model, in Bidirectional, in TimeDistributed, and at the top."""
    inner = keras.Sequential(
        [keras.Input((None, 3)), keras.layers.GRU(4, return_sequences=True, name="inner")], name="encoder"
    )
    x = keras.Input((2, 5, 3))
    hidden = keras.layers.TimeDistributed(keras.layers.SimpleRNN(3, return_sequences=True), name="each")(x)
    hidden = keras.layers.Reshape((10, 3))(hidden)
    hidden = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="both")(
        inner(hidden[:, :, :3])
    )
    return keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(4, name="last")(hidden)))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.cells = [keras.layers.GRU(4, return_sequences=True), keras.layers.LSTM(4)]
        self.out = keras.layers.Dense(1)

    def call(self, x: Any) -> Any:
        for cell in self.cells:
            x = cell(x)
        return self.out(x)


def test_every_recurrent_layer_is_found_and_named() -> None:
    model = nested()
    assert {row.path for row in tt.explain(model)} == {"Keras's loop"}
    assert all("tt.accelerate(model)" in row.reason for row in tt.explain(model))
    assert tt.accelerate(model) is model
    rows = {row.layer: row for row in tt.explain(model)}
    assert {row.path for row in rows.values()} == {"native kernel"} and not any(row.reason for row in rows.values())
    assert len(rows) == 5 and "encoder/inner" in rows and "last" in rows
    assert rows["encoder/inner"].cell == "GRU" and rows["last"].units == 4
    assert sum(name.startswith("both/") for name in rows) == 2 and sum(name.startswith("each/") for name in rows) == 1
    tt.accelerate(model)  # once more changes nothing
    tt.to_keras(model)
    assert not any(type(layer) in OURS.values() for layer in model._flatten_layers())


def test_swapping_changes_no_result_and_training_goes_on() -> None:
    """Swapped in the middle of training, there and back: the same weights as without, the optimizer's moments too."""
    rng = np.random.default_rng(0)
    x, y = values(rng, 6, 2, 5, 3), values(rng, 6, 1)
    runs = []
    for swaps in (False, True):
        keras.utils.set_random_seed(3)
        model = nested()
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)
        before = model.predict(x, verbose=0)
        if swaps:
            tt.accelerate(model)
            np.testing.assert_allclose(model.predict(x, verbose=0), before, rtol=1e-4, atol=1e-6)
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)
        if swaps:
            tt.to_keras(model)
        model.fit(x, y, epochs=1, verbose=0, shuffle=False)
        assert int(model.optimizer.iterations) == 5
        runs.append(model.get_weights())
    for plain, swapped in zip(*runs, strict=True):
        np.testing.assert_allclose(swapped, plain, rtol=1e-3, atol=2e-5)  # Adam divides by small second moments


def test_a_subclassed_model_is_reached() -> None:
    rng = np.random.default_rng(1)
    x, y = values(rng, 4, 5, 3), values(rng, 4, 1)
    model = Subclassed()
    model.compile("sgd", "mse")
    expected = model.predict(x, verbose=0)
    tt.accelerate(model)
    assert [row.path for row in tt.explain(model)] == ["native kernel"] * 2
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    model.fit(x, y, verbose=0)


class Custom(keras.layers.LSTM):
    pass


REASONS = {
    "recurrent_dropout": (lambda: keras.layers.GRU(3, recurrent_dropout=0.2), "recurrent_dropout=0.2.*dropout="),
    "dropout": (lambda: keras.layers.GRU(3, dropout=1.0), "dropout=1.0.*below 1"),
    "unroll": (lambda: keras.layers.LSTM(3, unroll=True), "unroll=True.*leave it out"),
    "activation": (lambda: keras.layers.LSTM(3, activation="relu"), "activation='relu'.*'tanh'"),
    "gates": (lambda: keras.layers.GRU(3, recurrent_activation="hard_sigmoid"), "'hard_sigmoid'.*'sigmoid'"),
    "simple": (lambda: keras.layers.SimpleRNN(3, activation="elu"), "activation='elu'.*'tanh'.*'relu'"),
    "implementation": (lambda: keras.layers.LSTM(3, implementation=1, dropout=0.1), "implementation=1"),
    "cudnn": (lambda: keras.layers.LSTM(3, use_cudnn=True), "use_cudnn=True"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_does_not_fit_the_kernel_says_why_and_runs_in_keras(name: str) -> None:
    make, message = REASONS[name]
    stock = make()
    model = keras.Sequential([keras.Input((4, 2)), stock])
    x = values(np.random.default_rng(2), 3, 4, 2)
    runs = name != "cudnn"  # Keras refuses that one on the CPU
    expected = model.predict(x, verbose=0) if runs else None
    tt.accelerate(model)
    (row,) = tt.explain(model)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(row.reason)
    assert row.path == "Keras's loop" and row.reason == why_not_fused(stock)
    if runs:
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_float64_stays_float64() -> None:
    assert "computes in float64" in (why_not_fused(tt.LSTM(3, dtype="float64")) or "")
    if keras.backend.backend() == "jax":
        return  # which has no float64 unless the whole process is set to it
    x = np.random.default_rng(3).normal(size=(2, 4, 3))
    ours, theirs = tt.LSTM(3, dtype="float64"), keras.layers.LSTM(3, dtype="float64")
    theirs.build(x.shape)
    ours.build(x.shape)
    theirs.set_weights(ours.get_weights())
    found = ours(x)
    assert keras.backend.standardize_dtype(found.dtype) == "float64"
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(theirs(x)))


def test_implementation_1_without_dropout_is_the_same_sum() -> None:
    assert why_not_fused(keras.layers.LSTM(3, implementation=1)) is None


def test_other_cells_and_subclasses_are_left_alone() -> None:
    model = keras.Sequential(
        [keras.Input((4, 2)), Custom(3, return_sequences=True), keras.layers.RNN(keras.layers.LSTMCell(3))]
    )
    tt.accelerate(model)
    subclass, other = tt.explain(model)
    assert type(model.layers[0]) is Custom and "subclass of LSTM" in subclass.reason
    assert "LSTMCell" in other.reason and other.units is None
    assert "layer" in str(tt.explain(model)) and "<table>" in tt.explain(model)._repr_html_()
    assert str(tt.explain(keras.layers.Dense(1))) == "no SimpleRNN, GRU or LSTM in this model"


def test_the_model_alone_is_accepted() -> None:
    for function in (tt.accelerate, tt.to_keras, tt.explain):
        with pytest.raises(tt.ThroughtimeError, match=r"was given str; a keras\.Model or keras\.Layer is accepted"):
            function("model.keras")


# Files --------------------------------------------------------------------------------------------------------------


def ours() -> keras.Model:
    layers = [keras.layers.Bidirectional(tt.GRU(4, return_sequences=True)), tt.LSTM(3), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((None, 2)), keras.layers.Masking(), *layers])


def test_a_file_of_ours_is_loaded_by_plain_keras(tmp_path: Path) -> None:
    model, x = ours(), values(np.random.default_rng(4), 3, 6, 2)
    model.save(tmp_path / "ours.keras")
    np.save(tmp_path / "x.npy", x)
    assert "throughtime" not in zipfile.ZipFile(tmp_path / "ours.keras").read("config.json").decode()
    program = (
        "import sys, numpy, keras\n"
        "model = keras.models.load_model('ours.keras')\n"
        "assert type(model.layers[2]) is keras.layers.LSTM and 'throughtime' not in sys.modules\n"
        "numpy.save('y.npy', model.predict(numpy.load('x.npy'), verbose=0))\n"
        "model.save('plain.keras')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    plain = keras.models.load_model(tmp_path / "plain.keras")
    assert type(plain.layers[2]) is keras.layers.LSTM  # a file of Keras's stays Keras's until it is accelerated
    tt.accelerate(plain)
    np.testing.assert_allclose(plain.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_file_of_ours_is_ours_where_it_is_loaded_with_us(tmp_path: Path) -> None:
    model, x = ours(), values(np.random.default_rng(5), 3, 6, 2)
    model.compile("adam", "mse")
    model.fit(x, x[:, 0, :1], verbose=0)
    model.save(tmp_path / "ours.keras")
    loaded = keras.models.load_model(tmp_path / "ours.keras")
    assert {row.path for row in tt.explain(loaded)} == {"native kernel"}
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert int(loaded.optimizer.iterations) == 1


def test_copies_are_ours() -> None:
    model, x = ours(), values(np.random.default_rng(6), 3, 6, 2)
    copies = [
        keras.models.clone_model(model),
        keras.Sequential.from_config(model.get_config()),
        keras.models.model_from_json(model.to_json()),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ]
    for other in copies:
        assert [row.path for row in tt.explain(other)] == ["native kernel"] * 3
        other.set_weights(model.get_weights())
        np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    assert "throughtime" not in json.dumps(json.loads(model.to_json()))


def test_weights_have_the_places_and_names_that_keras_gives_them() -> None:
    pair = [
        keras.Sequential([keras.Input((None, 2)), layers.GRU(3, name="a")], name="m") for layers in (tt, keras.layers)
    ]
    assert [w.path for w in pair[0].weights] == [w.path for w in pair[1].weights]
    assert pair[0].layers[0].get_config() == pair[1].layers[0].get_config()


def test_the_command_explains_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from throughtime import cli

    model = keras.Sequential(
        [
            keras.Input((None, 2)),
            keras.layers.GRU(3, return_sequences=True, name="fast"),
            keras.layers.LSTM(3, unroll=False, activation="relu", name="slow"),
        ]
    )
    model.save(tmp_path / "model.keras")
    (tmp_path / "other.keras").write_text("not a model")
    said = {}
    for name in ("model.keras", ".", "other.keras", "none.keras"):
        monkeypatch.setattr(sys, "argv", ["throughtime", "explain", str(tmp_path / name)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said[name] = (stopped.value.code or 0, *capsys.readouterr())
    assert said["model.keras"][0] == 0 and said["model.keras"] == said["."]
    _, fast, slow = said["model.keras"][1].splitlines()
    assert fast.split()[:2] == ["fast", "GRU"] and "native kernel" in fast
    assert "Keras's loop" in slow and "activation='relu'" in slow
    for name, words in (("other.keras", "cannot be read as a Keras model"), ("none.keras", "there is no file")):
        assert said[name][0] == 2 and words in said[name][2] and said[name][2].count("\n") == 1


# The seam with Keras ------------------------------------------------------------------------------------------------


def test_keras_calls_the_loop_as_we_override_it() -> None:
    """``inner_loop`` is no public promise: this says first where a new Keras has moved it."""
    import inspect

    for stock in OURS:
        names = list(inspect.signature(stock.inner_loop).parameters)
        assert names == ["self", "sequences", "initial_state", "mask", "training"]
    assert "self.inner_loop(" in inspect.getsource(keras.layers.RNN.call)
    assert "self._create_state_variables(" in inspect.getsource(keras.layers.RNN.build)


def test_the_layers_carry_masks() -> None:
    mask = keras.ops.convert_to_tensor([[True, False, False], [True, True, True]])
    for cell in (tt.SimpleRNN, tt.GRU, tt.LSTM):
        layer = cell(3, return_sequences=True)
        assert layer.supports_masking
        out = layer(values(np.random.default_rng(0), 2, 3, 2), mask=mask)
        assert out._keras_mask is mask


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("ours", list(OURS.values()), ids=lambda one: one.__name__)
def test_a_layer_alone_is_pickled_as_what_it_is(ours: Any, built: bool) -> None:
    x = np.random.default_rng(4).normal(size=(2, 5, 3)).astype("float32")
    for layer in (ours(4, memory="1MiB"), keras.layers.Bidirectional(ours(4))):
        if built:
            layer(x)
        copied = pickle.loads(pickle.dumps(layer))
        inner, found = (getattr(one, "forward_layer", one) for one in (layer, copied))
        assert type(found) is ours and found.memory == inner.memory
        if built:
            answers = [keras.ops.convert_to_numpy(one(x)) for one in (copied, layer)]
            np.testing.assert_array_equal(*answers)
