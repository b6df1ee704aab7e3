"""Training: every task learns, a seed repeats it, an interrupted run goes on, and what goes wrong is named."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest
from series import TASKS, rising_or_falling, waves

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import SequenceData
from throughtime.data.tables import read_table
from throughtime.diagnosis.findings import Diagnosis
from throughtime.errors import ArgumentError, DataError, NonFiniteLossError, RunError
from throughtime.gradients.guard import Guard
from throughtime.training.callbacks import KeepBest
from throughtime.training.checkpoint import Progress
from throughtime.training.run import Run
from throughtime.training.train import train

pytestmark = pytest.mark.backend
SMALL = {"units": 8, "buckets": 2, "progress": False}
MODELS = ("linear", "forest", "nearest")  # baselines that learn, and are as good on data as plain as this


def weights(run: Run) -> list[np.ndarray]:
    return run.model.get_weights()


def assert_same_weights(one: Run, other: Run) -> None:
    assert len(weights(one)) == len(weights(other)) > 0
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("task", "cell"),
    [
        ("classify", "lstm"),
        ("classify", "gru"),
        ("classify", "rnn"),
        ("regress", "lstm"),
        ("tag", "rnn"),
        ("forecast", "gru"),
    ],
)
def test_every_task_and_every_cell_beats_the_naive_answers(task: str, cell: str) -> None:
    data = TASKS[task]()
    run = train(data, cell=cell, epochs=30, learning_rate=1e-2, dropout=0.1, **SMALL)
    evaluation = run.evaluations["validation"]
    naive = {name: skill for name, skill in evaluation.skill.items() if not name.startswith(MODELS)}
    assert min(naive.values()) > 0.3, evaluation.scores
    assert 1 <= run.best_epoch <= len(run.history) <= 30
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_the_returned_weights_are_those_of_the_best_epoch() -> None:
    run = train(rising_or_falling(), epochs=8, patience=8, **SMALL)
    best = min(range(8), key=lambda epoch: run.history[epoch]["val_cross_entropy"])
    assert run.best_epoch == best + 1
    # Float32 sums in another order: the loss of an epoch is added up batch by batch, log_loss over all at once.
    assert run.evaluations["validation"]["log_loss"] == pytest.approx(
        run.history[best]["val_cross_entropy"], rel=1e-4, abs=1e-6
    )


def test_a_first_validation_loss_of_nan_is_no_best() -> None:
    progress = Progress()
    keep = KeepBest(progress, monitor="val_loss", patience=5, checkpoint=None, fingerprint={}, guard=Guard())
    keep.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
    for epoch, loss in enumerate([np.nan, 0.5, 0.7]):
        keep.on_epoch_end(epoch, {"val_loss": loss})
    assert (progress.best_epoch, progress.best_loss) == (2, 0.5)


def test_a_seed_repeats_the_run_and_leaves_the_random_state_alone() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 (the state that the user may rely on)
    before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    first = train(rising_or_falling(), epochs=3, seed=7, **SMALL)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    keras.random.normal((3,))  # someone draws from the global generator in between
    again = train(rising_or_falling(), epochs=3, seed=7, **SMALL)
    assert_same_weights(first, again)
    assert first.history == again.history
    other = train(rising_or_falling(), epochs=3, seed=8, **SMALL)
    assert any((a != b).any() for a, b in zip(weights(first), weights(other), strict=True))


@pytest.mark.parametrize("task", ["classify", "forecast"])
def test_resumed_from_a_checkpoint_equals_never_interrupted(task: str, tmp_path: Path, monkeypatch) -> None:
    data, settings = TASKS[task](), {"epochs": 6, "patience": 6, "depth": 2, **SMALL}
    whole = train(data, **settings)

    written = Progress.write

    def stop_after_the_third(self: Progress, path: Path, **options) -> None:
        written(self, path, **options)
        if len(self.history) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "write", stop_after_the_third)
        with pytest.raises(KeyboardInterrupt):
            train(data, out=tmp_path / "run", **settings)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.npz"]
    with pytest.raises(RunError, match="unfinished run; resume it"):
        train(data, out=tmp_path / "run", **settings)
    with pytest.raises(RunError, match=r"seed was 0, now 1"):
        train(data, out=tmp_path / "run", resume=True, seed=1, **settings)
    with pytest.raises(RunError, match=r"data was .* now"):
        train(TASKS[task](seed=1), out=tmp_path / "run", resume=True, **settings)
    resumed = train(data, out=tmp_path / "run", resume=True, **settings)
    assert_same_weights(whole, resumed)
    assert whole.history == resumed.history
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
    assert_same_weights(whole, train(data, out=tmp_path / "run", resume=True, **settings))  # finished: loaded
    with pytest.raises(RunError, match="holds a run already"):
        train(data, out=tmp_path / "run", **settings)


KILLED = """
    import sys
    from series import rising_or_falling
    from throughtime.training.train import train
    settings = {"units": 8, "buckets": 2, "epochs": 12, "patience": 12, "progress": False}
    train(rising_or_falling(200), out=sys.argv[1], resume=True, **settings)
"""


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.thorough)])
def test_killed_at_any_moment_a_run_goes_on_to_the_same_weights(times: int, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}

    def start(out: Path) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(script), str(out)], env=environment)

    out = tmp_path / "run"
    kills, rng = 0, random.Random(3)
    for _ in range(times):
        process = start(out)
        checkpoint = out / "checkpoint.npz"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        # Let it come as far as one more checkpoint, then strike at a moment of its own.
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 1
    assert start(out).wait() == 0
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "baselines.npz",
        "model.keras",
        "run.json",
    ]
    whole = train(rising_or_falling(200), epochs=12, patience=12, **SMALL)
    resumed = Run.load(out)
    assert_same_weights(whole, resumed)
    assert whole.history == resumed.history


CULPRIT = 17


def spoiled() -> tuple[SequenceData, SequenceData]:
    """Sequences of which one has inputs that are finite as float32, and their squares are not; and the clean ones."""
    data = rising_or_falling()
    huge = data.inputs.values.copy()
    huge[int(data.offsets[CULPRIT]) : int(data.offsets[CULPRIT + 1])] = 1e38
    labels = np.arange(len(data)).astype(float) % 2
    targets = np.stack([labels, -labels], 1)
    made = [from_arrays(one, targets, task="regress") for one in (data.inputs.with_values(huge), data.inputs)]
    return made[0], made[1]


def linear_network() -> keras.Model:
    return keras.Sequential(
        [keras.layers.Masking(), keras.layers.SimpleRNN(4, activation="linear", name="rnn"), keras.layers.Dense(2)]
    )


def test_a_loss_that_is_never_finite_in_validation_stops_and_names_the_sequence() -> None:
    bad, _ = spoiled()
    model = linear_network()
    model.compile(keras.optimizers.SGD(1e-6), keras.losses.MeanSquaredError())
    named = rf"x holds a value that is 1e\+38 \(sequence {CULPRIT}, time step 0, feature 0\)"
    with pytest.raises(NonFiniteLossError, match=f"validation loss was not finite in any epoch: {named}") as caught:
        train(bad, bad, model=model, scale="none", epochs=2, progress=False)
    assert str(caught.value).count(f"sequence {CULPRIT}") == 2  # in training as well


@pytest.mark.parametrize("compiled", [False, True])
def test_a_sequence_that_spoils_its_batch_is_left_out_and_named(compiled: bool, capfd: Any) -> None:
    bad, clean = spoiled()
    model = linear_network()
    if compiled:
        model.compile(keras.optimizers.SGD(1e-6), keras.losses.MeanSquaredError())
    run = train(bad, clean, model=model, scale="none", epochs=3, progress=False)
    assert capfd.readouterr().err.count("Guard:") == 0
    assert np.isfinite([epoch["loss"] for epoch in run.history]).all()
    assert all(np.isfinite(weight).all() for weight in weights(run))
    events = run.about["guard"]["events"]
    assert len(events) == 3
    assert all(f"sequence {CULPRIT}" in event and "the batch is left out" in event for event in events)
    assert f"sequence {CULPRIT}" in run.about["notes"][-1] and "3 of" in run.about["notes"][-1]
    assert (run.about["guard"]["quantile"] is None) == compiled


def test_gradients_are_clipped_to_what_was_measured_or_to_a_norm_of_the_users(tmp_path: Path) -> None:
    run = train(rising_or_falling(), epochs=3, out=tmp_path / "measured", **SMALL)
    guard = Run.load(tmp_path / "measured").about["guard"]
    assert guard == run.about["guard"]
    assert guard["quantile"] == 0.1 and 0 < guard["clipped"] < 1 and 0 < guard["threshold"] < 10
    assert run.settings["clipnorm"] is None and run.model.optimizer.global_clipnorm is None
    fixed = train(rising_or_falling(), epochs=3, clipnorm=1.0, **SMALL)
    assert fixed.model.optimizer.global_clipnorm == 1.0
    assert fixed.about["guard"]["quantile"] is None and fixed.about["guard"]["clipped"] == 0


def masked_classifier(compiled: bool, outputs: int = 2) -> keras.Model:
    keras.utils.set_random_seed(1)  # one draw in twelve learns more slowly than its test waits
    model = keras.Sequential(
        [
            keras.layers.Input((None, 2)),
            keras.layers.Masking(mask_value=-9.0),
            keras.layers.GRU(6),
            keras.layers.Dense(outputs, activation="softmax" if outputs > 1 else "sigmoid"),
        ],
        name="my_gru",
    )
    if compiled:
        model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(("compiled", "outputs"), [(False, 2), (True, 2), (False, 1)])
def test_a_model_of_the_users_own(compiled: bool, outputs: int) -> None:
    model = masked_classifier(compiled, outputs)
    run = train(rising_or_falling(), model=model, epochs=12, progress=False)
    assert run.model is model
    assert run.name == "my_gru"
    assert run.pad_value == -9.0
    assert run.evaluations["validation"]["accuracy"] > 0.8
    assert not any("padding" in note for note in run.about["notes"])


def test_the_flow_of_a_training_batch_is_recorded_at_the_start_and_at_the_best_weights() -> None:
    run = train(rising_or_falling(), epochs=3, batch_size=8, cell="rnn", units=4, progress=False)
    assert run.flow["sequences"] == 26 and run.flow["every_step"] is False
    names = list(run.flow["best"])
    assert len(names) == 2 and all("simple_rnn" in name for name in names)
    for moment in ("start", "best"):
        for layer in run.flow[moment].values():
            assert layer["lags"] == [*range(layer["longest"])] and min(layer["norms"]) > 0
    assert run.flow["start"] != run.flow["best"]
    seen = run.flow["monitor"][names[0]]
    assert seen["steps"][:3] == [1, 2, 4] and len(seen["norms"]) == len(seen["steps"]) == len(seen["horizon"])
    assert [layer.tap for layer in run.model._flatten_layers() if isinstance(layer, keras.layers.RNN)] == [0, 0]


def test_a_flow_that_cannot_be_measured_says_why() -> None:
    layers = [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.layers.Input((None, 2)), *layers])
    run = train(rising_or_falling(), model=model, epochs=1, progress=False)
    assert "no recurrent layer" in run.flow["reason"]
    stock = keras.Sequential(
        [keras.layers.Input((None, 2)), keras.layers.GRU(4, name="gru"), keras.layers.Dense(2, "softmax")]
    )
    run = train(rising_or_falling(), model=stock, epochs=1, progress=False)
    assert run.flow["best"]["gru"]["longest"] > 1 and "monitor" not in run.flow


def test_a_model_that_sees_padding_is_warned_of() -> None:
    model = keras.Sequential([keras.layers.Input((None, 2)), keras.layers.GRU(4), keras.layers.Dense(2, "softmax")])
    run = train(rising_or_falling(), model=model, epochs=1, progress=False)
    assert any("sees the padding" in note for note in run.about["notes"])


def test_a_model_that_does_not_see_the_category_columns_is_warned_of() -> None:
    rng = np.random.default_rng(0)
    rows = 200
    table = pa.table(
        {
            "id": np.arange(rows) // 5,
            "x": rng.normal(size=rows),
            "word": rng.choice(["a", "b", "c"], rows),
            "y": np.array(["no", "yes"])[(np.arange(rows) // 5) % 2],
        }
    )
    model = keras.Sequential([keras.layers.Input((None, 1)), keras.layers.GRU(2), keras.layers.Dense(2, "softmax")])
    run = train(read_table(table, target="y", sequence="id"), model=model, epochs=1, progress=False)
    assert run.about["notes"][-1] == "the model has no input named 'codes', so it does not see the category columns"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([keras.layers.GRU(4, return_sequences=True), keras.layers.Dense(2)], "return_sequences=False"),
        ([keras.layers.GRU(4), keras.layers.Dense(5)], r"needs \(batch, 2\) or \(batch, 1\), a probability a class"),
    ],
)
def test_a_model_with_the_wrong_output_is_refused(layers: list, message: str) -> None:
    model = keras.Sequential([keras.layers.Input((None, 2)), *layers])
    with pytest.raises(ArgumentError, match=message):
        train(rising_or_falling(), model=model, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "lstn"}, "Did you mean 'lstm'"),
        ({"units": 0}, "units=0; give a whole number of at least 1"),
        ({"units": 2.5}, r"units=2.5; give a whole number"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"seed": -1}, "seed=-1; give a whole number of at least 0"),
        ({"seed": 1.5}, "seed=1.5; give a whole number"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"batch_size": 8, "tokens": 100}, "not both"),
        ({"scale": "standart"}, "Did you mean 'standard'"),
    ],
)
def test_bad_settings_are_refused_at_the_door(settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        train(rising_or_falling(), progress=False, **settings)


def test_a_seed_may_be_any_whole_number() -> None:
    assert len(train(rising_or_falling(), seed=10**12, epochs=1, **SMALL).history) == 1


def test_a_causal_run_says_so_and_runs_of_versions_without_the_setting_go_on(tmp_path: Path) -> None:
    data = rising_or_falling()
    run = train(data, epochs=1, causal=True, out=tmp_path / "causal", **SMALL)
    assert run.settings["causal"] and Run.load(tmp_path / "causal").settings["causal"]
    with pytest.raises(RunError, match="causal was True, now False"):
        train(data, epochs=1, out=tmp_path / "causal", resume=True, **SMALL)
    train(data, epochs=1, out=tmp_path / "old", **SMALL)
    stored = json.loads((tmp_path / "old" / "run.json").read_text())
    del stored["settings"]["causal"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(stored))
    assert train(data, epochs=1, out=tmp_path / "old", resume=True, **SMALL).history == stored["history"]
    with pytest.raises(RunError, match="causal was False, now True"):
        train(data, epochs=1, causal=True, out=tmp_path / "old", resume=True, **SMALL)
    own = keras.Sequential([keras.Input((None, 2)), keras.layers.GRU(2), keras.layers.Dense(2)])
    with pytest.raises(ArgumentError, match="causal=True is for the networks made here"):
        train(data, model=own, causal=True, **SMALL)


def test_a_finished_run_is_not_taken_for_one_of_other_settings(tmp_path: Path) -> None:
    data = rising_or_falling()
    run = train(data, epochs=1, out=tmp_path, **SMALL)
    assert_same_weights(run, train(data, epochs=1, out=tmp_path, resume=True, **SMALL))
    with pytest.raises(RunError, match="finished run of other settings: dropout was 0.3, now 0.1; epochs was 1"):
        train(data, epochs=2, dropout=0.1, out=tmp_path, resume=True, **SMALL)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_part_without_a_target_is_refused_before_training(part: str) -> None:
    data = rising_or_falling()
    values = np.arange(float(len(data)))
    labelled, blank = (from_arrays(data.inputs, target) for target in (values, np.full_like(values, np.nan)))
    parts = (blank, labelled) if part == "training" else (labelled, blank)
    with pytest.raises(DataError, match=f"the {part} part of arrays has no target value"):
        train(*parts, progress=False)


def test_rows_that_lack_some_of_several_targets_are_noted() -> None:
    data = rising_or_falling()
    values = np.random.default_rng(0).normal(size=(len(data), 2))
    values[:5, 1] = np.nan
    values[5:7] = np.nan
    run = train(from_arrays(data.inputs, values), from_arrays(data.inputs, values), epochs=1, **SMALL)
    assert any(f"5 of {len(data)} rows of the targets hold some of the 2" in note for note in run.about["notes"])


def test_a_class_only_in_validation_is_named() -> None:
    data = rising_or_falling()
    with pytest.raises(DataError, match=r"never showed: 'sideways'"):
        train(data, from_arrays(data.inputs, ["sideways"] * len(data)), progress=False)


def test_a_series_too_short_is_refused() -> None:
    with pytest.raises(DataError, match=r"fewer than window \+ horizon = 24 \+ 4"):
        train(waves(steps=60), progress=False)


def test_missing_inputs_and_targets_do_not_reach_the_loss() -> None:
    data = waves()
    values = data.target.values.copy()
    values[50:60] = np.nan
    values[300:303] = np.nan
    gappy = from_arrays([values], horizon=4, window=24, names=["load"])
    run = train(gappy, epochs=10, learning_rate=1e-2, **SMALL)
    assert np.isfinite([epoch["loss"] for epoch in run.history]).all()
    assert run.evaluations["validation"].skill["last value"] > 0.3
    with pytest.raises(DataError, match="missing='refuse'"):
        train(gappy, missing="refuse", epochs=1, **SMALL)


def test_an_epoch_takes_few_shapes() -> None:
    run = train(rising_or_falling(120), epochs=2, **{**SMALL, "buckets": 3})
    assert len(run.about["padding"]["buckets"]) <= 3


def test_a_model_of_another_width_is_refused() -> None:
    model = keras.Sequential([keras.layers.Input((None, 5)), keras.layers.GRU(2), keras.layers.Dense(2, "softmax")])
    with pytest.raises(ArgumentError, match=r"takes 5 features a step, and the data has 2.*Input\(\(None, 2\)\)"):
        train(rising_or_falling(), model=model, progress=False)


def test_the_check_before_a_training_changes_nothing_of_it(monkeypatch) -> None:
    for task in ("classify", "forecast"):
        data = TASKS[task]()
        checked = train(data, epochs=2, **SMALL)
        assert checked.about["check"]["looked_at"]
        assert checked.findings == []
        with monkeypatch.context() as patched:
            patched.setattr("throughtime.training.train.check_before_training", lambda *_, **__: Diagnosis(()))
            plain = train(data, epochs=2, **SMALL)
        assert_same_weights(checked, plain)
        assert checked.history == plain.history
        assert checked.evaluations == plain.evaluations


def test_a_model_of_ones_own_is_trained_and_what_is_wrong_with_it_is_found() -> None:
    layers = [keras.Input((None, 2)), keras.layers.LSTM(6), keras.layers.Dense(2, activation="softmax")]
    run = train(rising_or_falling(), model=keras.Sequential(layers), epochs=1, buckets=1, progress=False)
    assert "unmasked-padding" in [one.code for one in run.findings]
    dense = [keras.Input((None, 2)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2, activation="softmax")]
    run = train(rising_or_falling(), model=keras.Sequential(dense), epochs=1, buckets=1, progress=False)
    assert run.findings == []
    assert "no recurrent layer" in run.about["check"]["left_out"][0]
