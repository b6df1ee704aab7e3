"""``check`` as a whole: what it leaves behind, what it says, and what it refuses. Its findings: tests/programs."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest

import throughtime as tt
from throughtime.diagnosis.findings import CAUSES, CODES, Diagnosis, Finding, folded
from throughtime.errors import ArgumentError

pytestmark = pytest.mark.backend


def walks(count: int = 96, steps: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = np.cumsum(rng.normal(0, 0.3, (count, steps, 1)) + 0.15 * (2 * y[:, None, None] - 1), axis=1)
    return x.astype("float32"), y.astype("float32")


def classifier(room: Any = keras.layers, *, seed: int = 0) -> keras.Model:
    """With dropout, batch statistics and metrics: everything that training changes."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([
        keras.Input((12, 1)),
        room.LSTM(8, return_sequences=True, dropout=0.2),
        keras.layers.BatchNormalization(),
        room.GRU(6, go_backwards=True),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(0.003), "binary_crossentropy", metrics=["accuracy"])
    return model


def state_of(model: keras.Model) -> dict[str, Any]:
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    seeds = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    return {
        "values": [np.array(keras.ops.convert_to_numpy(one.value)) for one in variables],
        "paths": [one.path for one in variables],
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "keras": None if seeds is None else np.array(keras.ops.convert_to_numpy(seeds.state.value)),
        "functions": [model.train_function, model.test_function, model.predict_function],
        "optimizer": [model.optimizer, model.loss, model.jit_compile, model.stop_training],
        "metrics": [id(metric) for metric in model.metrics],
        "classes": [type(layer) for layer in model._flatten_layers()],
        "trainable": [layer.trainable for layer in model._flatten_layers()],
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        if name in ("values", "keras", "numpy"):
            flat, again = (
                keras.tree.flatten(list(found) if found is not None else []) for found in (value, other[name])
            )
            assert len(flat) == len(again), name
            for a, b in zip(flat, again, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)
        elif name == "functions" or name == "optimizer":
            assert all(a is b for a, b in zip(value, other[name], strict=True)), name
        else:
            assert value == other[name], name


# What is left behind ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [keras.layers, tt], ids=["stock", "ours"])
@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained"])
def test_model_optimizer_and_random_state_are_left_bit_for_bit(room: Any, trained: bool) -> None:
    model, (x, y) = classifier(room), walks()
    if trained:
        model.fit(x, y, epochs=1, verbose=0)
    keras.random.normal((1,))  # so that there is a global seed generator
    before = state_of(model)
    tt.check(model, x, y, validation_data=walks(40, seed=1), fit={"batch_size": 16, "epochs": 3})
    same(before, state_of(model))


def test_training_goes_on_as_if_there_had_been_no_check() -> None:
    x, y = walks()
    found = []
    for checked in (False, True):
        model = classifier(seed=3)
        model.fit(x, y, epochs=1, verbose=0, shuffle=False)
        if checked:
            tt.check(model, x, y)
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_carried_states_are_left() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12, 1), batch_size=16), tt.LSTM(4, stateful=True), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = walks()
    model.predict(x, batch_size=16, verbose=0)
    layer = model.layers[0]
    before = [np.array(keras.ops.convert_to_numpy(one.value)) for one in layer._carried.variables]
    assert any(one.any() for one in before)
    tt.check(model, x, y, fit={"batch_size": 16, "shuffle": False})
    for one, old in zip(layer._carried.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one.value), old)


def test_a_failing_training_step_leaves_the_model_and_is_said() -> None:
    class Failing(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = keras.layers.GRU(4), keras.layers.Dense(1)

        def call(self, x: Any, training: bool = False) -> Any:
            if training:
                raise RuntimeError("no training today")
            return self.head(self.rnn(x))

    model, (x, y) = Failing(), walks()
    model.compile("adam", "mse")
    model(x[:2])
    before = state_of(model)
    diagnosis = tt.check(model, x, y)
    assert any("no training today" in said for said in diagnosis.left_out)
    same(before, state_of(model))


# What is taken ------------------------------------------------------------------------------------------------------


def test_functional_subclassed_and_unbuilt_models_and_several_inputs() -> None:
    x, y = walks()
    steps, extra = keras.Input((12, 1), name="steps"), keras.Input((2,), name="extra")
    hidden = keras.layers.Bidirectional(tt.GRU(4, name="gru"), name="both")(steps)
    joined = keras.layers.Concatenate()([hidden, extra])
    model = keras.Model({"steps": steps, "extra": extra}, keras.layers.Dense(1, activation="sigmoid")(joined))
    model.compile("adam", "binary_crossentropy")
    given = {"steps": x, "extra": np.zeros((len(x), 2), "float32")}
    diagnosis = tt.check(model, given, y)
    assert diagnosis.errors == [] and list(diagnosis.flow or []) == [
        "both/forward_gru", "both/backward_gru"
    ]  # fmt: skip

    class Reader(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = keras.layers.LSTM(4, name="reader"), keras.layers.Dense(1, activation="sigmoid")

        def call(self, x: Any, training: bool = False) -> Any:
            return self.head(self.rnn(x, training=training))

    reader = Reader()
    reader.compile("adam", "binary_crossentropy")
    assert tt.check(reader, x, y, train=False).errors == []
    assert reader.rnn.built and reader.head.built


def test_cells_of_ones_own_and_targets_by_name_are_looked_at_as_well() -> None:
    """Inputs and targets of a large scale, in a model whose loop has several cells and whose output has a name."""
    x, _ = walks()
    y = 500 + 100 * x[:, -1]
    steps = keras.Input((12, 1))
    cells = [keras.layers.LSTMCell(4), keras.layers.GRUCell(5)]
    model = keras.Model(steps, {"load": keras.layers.Dense(1, name="load")(keras.layers.RNN(cells)(steps))})
    model.compile("adam", {"load": "mse"})
    diagnosis = tt.check(model, 1000 * x + 300, {"load": y}, seconds=600)
    assert "unscaled-target" in {one.code for top in diagnosis for one in (top, *top.folded)}, str(diagnosis)
    assert diagnosis.left_out == ()


def test_batches_are_taken_in_place_of_arrays() -> None:
    x, y = walks()

    class Halves(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            return x[48 * i : 48 * i + 48], y[48 * i : 48 * i + 48]

    diagnosis = tt.check(classifier(), Halves(), train=False)
    assert diagnosis.looked_at[0].startswith("96 sequences")


def test_one_and_two_sequences() -> None:
    x, y = walks(2)
    assert isinstance(tt.check(classifier(), x, y), Diagnosis)
    assert isinstance(tt.check(classifier(), x[:1], y[:1], validation_data=(x[1:], y[1:])), Diagnosis)


def test_without_time_nothing_is_said_of_training() -> None:
    x, y = walks()
    diagnosis = tt.check(classifier(), x, y, seconds=1e-6)
    assert any("seconds=" in said for said in diagnosis.left_out) or diagnosis.looked_at[1:] == ()
    assert not {one.code for one in diagnosis} & {"constant-prediction", "vanishing-through-time", "random-labels"}


# What is said -------------------------------------------------------------------------------------------------------


def test_findings_are_printed_with_evidence_remedy_and_what_follows() -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((12, 1)), keras.layers.LSTM(4), keras.layers.Dense(1, activation="softmax")])
    model.compile("adam", "binary_crossentropy")
    diagnosis = tt.check(model, *walks())
    assert [one.code for one in diagnosis] == ["single-unit-softmax"]
    said = str(diagnosis)
    assert "error: single-unit-softmax (dense" in said and "exactly 1 for all" in said and '"sigmoid"' in said
    assert "looked at: 96 sequences" in said
    assert diagnosis._repr_html_().count("<tr>") == 2 and "&quot;sigmoid&quot;" in diagnosis._repr_html_()
    nothing = Diagnosis(())
    assert "nothing found" in str(nothing) and "nothing found" in nothing._repr_html_()


def test_symptoms_are_folded_under_their_cause() -> None:
    def one(code: str, severity: Any = "warning") -> Finding:
        return Finding(code, severity, "rnn", "evidence", "remedy")

    codes = ("constant-prediction", "saturated-gates", "unscaled-input", "overlapping-split")
    tops = folded([one(code) for code in codes])
    assert [(top.code, [sub.code for sub in top.folded]) for top in tops] == [
        ("overlapping-split", []),
        ("unscaled-input", ["saturated-gates", "constant-prediction"]),
    ]
    # A note is nobody's cause, and nothing is lost when two are each other's.
    assert {top.code for top in folded([one("clipping-ineffective", "note"), one("learning-rate-too-low")])} == {
        "clipping-ineffective", "learning-rate-too-low"
    }  # fmt: skip
    every = folded([one(code) for code in CODES])
    assert {code for top in every for code in (top.code, *(sub.code for sub in top.folded))} == set(CODES)


def test_causes_are_known_codes() -> None:
    assert set(CAUSES) <= set(CODES)
    assert {code for causes in CAUSES.values() for code in causes} <= set(CODES)
    left = dict(CAUSES)  # no code is its own cause, by whatever way: else both would be folded, and neither shown
    while left:
        first = [code for code, causes in left.items() if not set(causes) & set(left)]
        assert first, f"causes of each other: {sorted(left)}"
        left = {code: causes for code, causes in left.items() if code not in first}


# What is refused ----------------------------------------------------------------------------------------------------


def test_bad_arguments_are_refused() -> None:
    model, (x, y) = classifier(), walks()
    with pytest.raises(ArgumentError, match="a keras.Model is accepted"):
        tt.check(keras.layers.LSTM(2), x, y)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="not compiled"):
        tt.check(keras.Sequential([keras.Input((12, 1)), keras.layers.LSTM(2)]), x, y)
    with pytest.raises(ArgumentError, match="differ in their number"):
        tt.check(model, x, y[:-1])
    with pytest.raises(ArgumentError, match="holds no sequence"):
        tt.check(model, x[:0], y[:0])
    with pytest.raises(ArgumentError, match=r"batch_sise.*Did you mean 'batch_size'"):
        tt.check(model, x, y, fit={"batch_sise": 3})
    with pytest.raises(ArgumentError, match="task='forcast'"):
        tt.check(model, x, y, task="forcast")
    with pytest.raises(ArgumentError, match="y is missing"):
        tt.check(model, x)
    with pytest.raises(ArgumentError, match="seconds=0"):
        tt.check(model, x, y, seconds=0)
    with pytest.raises(ArgumentError, match="validation_data is"):
        tt.check(model, x, y, validation_data=(x,))
    with pytest.raises(ArgumentError, match="series has shape"):
        tt.check(model, x, y, series=np.zeros((2, 3, 4)))
    with pytest.raises(ArgumentError, match="ragged or holds objects"):
        tt.check(model, np.array([np.zeros(3), np.zeros(4)], dtype=object), y[:2])
    plain = keras.Sequential([keras.Input((12, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    plain.compile("adam", "mse")
    with pytest.raises(ArgumentError, match="no recurrent layer"):
        tt.check(plain, x, y)
