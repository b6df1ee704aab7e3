"""A run on disk: what comes back is what was saved, and damage is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from series import TASKS, rising_or_falling

from throughtime.data.sequences import SequenceData
from throughtime.diagnosis.findings import Finding
from throughtime.errors import DataError, RunError
from throughtime.ragged import Ragged
from throughtime.report.page import write_report
from throughtime.training.run import Run
from throughtime.training.train import train

pytestmark = pytest.mark.backend


def raw(values: object) -> np.ndarray:
    return values.values if isinstance(values, Ragged) else np.asarray(values)


@pytest.mark.parametrize("task", list(TASKS))
def test_a_loaded_run_answers_and_scores_as_the_one_saved(task: str, tmp_path: Path) -> None:
    data: SequenceData = TASKS[task]()
    run = train(data, units=4, epochs=2, buckets=2, progress=False)
    run.evaluate(TASKS[task](seed=1), part="other")
    directory = run.save(tmp_path / "runs" / task)
    loaded = Run.load(directory)
    np.testing.assert_array_equal(raw(run.predict(data).values), raw(loaded.predict(data).values))
    assert loaded.evaluations == run.evaluations
    assert loaded.evaluate(TASKS[task](seed=1), part="again").scores == run.evaluations["other"].scores
    assert loaded.settings == run.settings
    assert loaded.history == run.history
    assert loaded.best_epoch == run.best_epoch
    assert loaded.flow == run.flow and loaded.flow["best"]
    assert loaded.about["parts"] == [*run.about["parts"], loaded.about["parts"][-1]]
    assert loaded.preparation.to_json() == run.preparation.to_json()


@pytest.mark.parametrize("cell", ["mingru", "minlstm", "lru"])
def test_a_run_of_a_scanned_cell_is_loaded_and_its_report_says_what_it_cannot_do(cell: str, tmp_path: Path) -> None:
    data = rising_or_falling()
    run = train(data, cell=cell, units=4, epochs=2, buckets=2, progress=False)  # type: ignore[arg-type]
    loaded = Run.load(run.save(tmp_path / "run"))
    np.testing.assert_array_equal(raw(run.predict(data).values), raw(loaded.predict(data).values))
    assert loaded.name.lower() == cell
    (limit,) = loaded.about["network"]["limits"]
    write_report(loaded, tmp_path / "report.html")
    assert f"{limit[:40]}" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved") / "run"
    train(rising_or_falling(), units=4, epochs=1, buckets=1, progress=False, out=out)
    return out


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_run_is_shown_in_one_line(saved: Path) -> None:
    assert re.fullmatch(r"Run\(\w+: LSTM, \d+ epochs?, best \d+, judged on validation.*\)", repr(Run.load(saved)))


def test_a_run_of_a_version_that_recorded_no_flow_comes_back(copy: Path) -> None:
    stored = json.loads((copy / "run.json").read_text())
    del stored["flow"], stored["findings"]
    (copy / "run.json").write_text(json.dumps(stored))
    assert Run.load(copy).flow == {}
    assert Run.load(copy).findings == []


def test_findings_come_back_with_what_follows_from_them(saved: Path, tmp_path: Path) -> None:
    run = Run.load(saved)
    below = Finding("saturated-gates", "warning", "lstm", "91%", "-")
    run.findings = [Finding("unscaled-input", "warning", "x", "mean 1000", "Normalization()", (below,))]
    assert Run.load(run.save(tmp_path / "run")).findings == run.findings


def test_nothing_is_overwritten_unasked(copy: Path) -> None:
    run = Run.load(copy)
    with pytest.raises(RunError, match="holds a run already"):
        run.save(copy)
    run.save(copy, overwrite=True)
    assert sorted(path.name for path in copy.iterdir()) == ["baselines.npz", "model.keras", "run.json"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda d: (d / "run.json").unlink(), "holds no run"),
        (lambda d: cut_short(d / "run.json"), "damaged run"),
        (lambda d: (d / "run.json").write_text("[]"), "damaged run"),
        (lambda d: (d / "run.json").write_text(json.dumps({"format": 99})), "format 99"),
        (lambda d: cut_short(d / "baselines.npz"), "baselines.npz is missing or damaged"),
        (lambda d: (d / "baselines.npz").unlink(), "baselines.npz is missing or damaged"),
        (lambda d: cut_short(d / "model.keras"), "cannot be read"),
        (lambda d: (d / "model.keras").unlink(), "model.keras is missing"),
        (lambda d: (d / "model.keras").write_bytes(b""), "cannot be read"),
    ],
)
def test_a_damaged_directory_is_named(copy: Path, damage, says: str) -> None:
    damage(copy)
    with pytest.raises(RunError, match=says):
        Run.load(copy)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"")
    with pytest.raises(RunError, match="unfinished run"):
        Run.load(tmp_path)
    with pytest.raises(RunError, match="not a directory"):
        Run.load(tmp_path / "nowhere")


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return x * 2


def test_a_model_with_a_layer_of_ones_own_comes_back(tmp_path: Path) -> None:
    model = keras.Sequential(
        [
            keras.layers.Input((None, 2)),
            keras.layers.Masking(),
            keras.layers.GRU(3),
            Doubled(),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    run = train(rising_or_falling(), model=model, epochs=1, buckets=1, progress=False, out=tmp_path / "run")
    loaded = Run.load(tmp_path / "run", custom_objects={"Doubled": Doubled})
    data = rising_or_falling(seed=2)
    np.testing.assert_array_equal(run.predict(data).probabilities, loaded.predict(data).probabilities)


def test_predicting_needs_sequences(saved: Path) -> None:
    with pytest.raises(DataError, match="no sequences to predict"):
        Run.load(saved).predict(rising_or_falling().take([]))
