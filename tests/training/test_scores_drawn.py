"""Scores and verdicts of drawn parts: rare classes, one class, one row, ties, gaps, targets of very different units."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import asdict
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, recall_score

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import SequenceData
from throughtime.data.transforms import Preparation
from throughtime.files import finite
from throughtime.training import scores
from throughtime.training.baselines import Baselines
from throughtime.training.scores import Evaluation, evaluate


def judged(
    train: SequenceData | tuple[str, ...], data: SequenceData, outputs: np.ndarray, scale: Any = "standard"
) -> Evaluation:
    """Of a network that gives these outputs. ``train``: the part, or its labels, and then it is fitted once."""
    preparation, baselines = fitted_on(train) if isinstance(train, tuple) else fitted(train, scale)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scores, "predict_examples", lambda *_, **__: outputs)
        return evaluate(None, preparation, baselines, data, name="LSTM", part="test", feeds=("numbers",))


def fitted(train: SequenceData, scale: Any = "standard") -> tuple[Preparation, Baselines]:
    preparation = Preparation.fit(train, scale=scale)
    return preparation, Baselines.fit(preparation, train, preparation.apply(train))


@functools.cache
def fitted_on(labels: tuple[str, ...]) -> tuple[Preparation, Baselines]:
    return fitted(sequences([*labels]))


def stored_and_read(found: Evaluation) -> Evaluation:
    return Evaluation.from_json(json.loads(json.dumps(finite(asdict(found)), allow_nan=False)))


def sequences(labels: list[str], seed: int = 0) -> SequenceData:
    rng = np.random.default_rng(seed)
    return from_arrays([rng.normal(size=(3, 1)) for _ in labels], labels)


def consistent(found: Evaluation) -> None:
    """What holds of every evaluation: words, numbers and what is stored say the same."""
    words = found.verdict()
    assert found.beats == all(gain.low > 0 for gain in found.gains.values())
    assert ("does NOT beat" in words) == bool(found.lost_to)
    unshown = [name for name, gain in found.gains.items() if not gain.shown and name not in found.lost_to]
    assert ("not shown to be better" in words) == bool(unshown)
    assert found.beats == (not found.lost_to and not unshown)
    assert not re.search(r"\b(nan|inf)\b|-?inf%|\b1 (sequences|values|time steps|blocks)\b", words), words
    for gain in found.gains.values():
        assert gain.low <= gain.value <= gain.high
    again = stored_and_read(found)
    assert again.verdict() == words
    assert again.table() == found.table()
    assert again.table_by_target() == found.table_by_target()
    assert again.gains == found.gains
    assert again.notes == found.notes
    rows = found.table()
    assert {len(row) for row in rows} == {len(rows[0])}


# Classes ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    truth=st.lists(st.sampled_from(["ok"] * 9 + ["fail"]), min_size=1, max_size=60),
    seed=st.integers(0, 99),
    rounded=st.booleans(),
)
def test_two_classes_of_which_one_is_rare(truth: list[str], seed: int, rounded: bool) -> None:
    train = ("ok",) * 18 + ("fail",) * 2
    data = sequences(truth, 1)
    chance = np.random.default_rng(seed).random(len(truth)).astype(np.float32)
    chance = np.round(chance, 1) if rounded else chance  # ties in rank
    found = judged(train, data, np.stack([chance, 1 - chance], 1))  # "fail" is the first class
    consistent(found)
    fails = np.array([label == "fail" for label in truth])
    assert found.positive == "fail"
    said = chance >= 0.5
    assert found["accuracy"] == pytest.approx((said == fails).mean())
    if fails.any():
        assert found["recall"] == pytest.approx(recall_score(fails, said))
        assert found["average_precision"] == pytest.approx(average_precision_score(fails, chance))
        naive = found.scores["most frequent class (ok)"]
        assert naive["recall"] == 0
        assert naive["average_precision"] == pytest.approx(fails.mean())
    else:
        assert np.isnan(found["recall"])
        assert np.isnan(found["average_precision"])
        assert "Every label of the test part is 'ok'" in found.notes[0]
    if fails.any() and (~fails).mean() >= 0.75:
        (note,) = found.notes
        hits = int((said & fails).sum())
        assert f"{fails.sum()} {'is' if fails.sum() == 1 else 'are'} 'fail', of which the network finds {hits}" in note
    if len(truth) < 5:
        assert not found.beats, "fewer than five rows show nothing"


def test_28_of_30_against_27_is_not_shown_to_be_better() -> None:
    train, data = sequences(["ok"] * 90 + ["fail"] * 10), sequences(["ok"] * 27 + ["fail"] * 3, 1)
    right = np.eye(2)[[1] * 27 + [0, 1, 1]]
    found = judged(train, data, right)
    gain = found.gains["most frequent class (ok)"]
    assert gain.value == pytest.approx(1 / 30)
    assert not found.beats
    words = found.verdict()
    assert "is right on 28 of 30 sequences (93.3%)" in words
    assert "not shown to be better than the most frequent class (ok)" in words or "NOT beat the most" in words
    assert "points more (95% interval from" in words or "points fewer (95%" in words
    head = found.table()[0]
    assert head[1:6] == ("accuracy", "recall (fail)", "macro_f1", "average_precision (fail)", "log_loss")
    assert found["recall"] == pytest.approx(1 / 3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), count=st.integers(1, 80), classes=st.integers(3, 6))
def test_several_classes_some_of_them_absent(seed: int, count: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(classes)]
    truth = rng.integers(0, max(1, classes - 2), count)
    outputs = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    found = judged(tuple(names * 2), sequences([names[i] for i in truth], 1), outputs)
    consistent(found)
    present = np.unique(truth)
    recalls = [(outputs.argmax(1)[truth == c] == c).mean() for c in present]
    assert found["recall"] == pytest.approx(np.mean(recalls))
    ranked = [average_precision_score(truth == c, outputs[:, c]) for c in present]
    assert found["average_precision"] == pytest.approx(np.mean(ranked))
    assert found.positive is None


# Numbers ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(
    task=st.sampled_from(["regress", "steps", "forecast"]),
    apart=st.sampled_from([1e-6, 1.0, 1e6]),
    scale=st.sampled_from(["standard", "none"]),
    gaps=st.floats(0, 0.6),
    seed=st.integers(0, 999),
)
def test_targets_of_any_units(task: str, apart: float, scale: str, gaps: float, seed: int) -> None:
    """The unit of the second target changes its own scores by that factor and nothing else."""
    rng = np.random.default_rng(seed)

    def part(unit: float, seed: int, holes: bool) -> SequenceData:
        data = cases.series((24, 15), seed=seed) if task == "forecast" else cases.sequences(task, seed=seed)
        data.target.values[:, 1] *= unit
        if holes:
            data.target.values[np.random.default_rng(seed).random(data.target.values.shape) < gaps] = np.nan
            data.target.values[:12] = rng.normal(1, 1, data.target.values[:12].shape) * [1, unit]
        return data

    made = []
    for unit in (1.0, apart):
        rng = np.random.default_rng(seed)
        train, data = part(unit, 0, False), part(unit, 1, True)
        preparation = Preparation.fit(train, scale=scale)
        rows = len(preparation.apply(data)) if task != "steps" else data.steps
        size = np.array([1.0, 1.0]) if scale == "standard" else np.array([1.0, unit])
        outputs = rng.normal(size=(rows, 3, 2) if task == "forecast" else (rows, 2)) * size
        made.append(judged(train, data, outputs, scale))
    for found in made:
        consistent(found)
        assert "rmse" not in found.scores["LSTM"], "an average over units"
    one, two = made
    for name in one.scores:
        if name.startswith(("forest", "nearest", "linear")) and scale == "none":
            continue  # of columns that are left unscaled, the larger ones decide
        first, second = (found.targets["y1"].scores[name] for found in made)
        assert second["rmse"] == pytest.approx(first["rmse"] * apart, rel=1e-3)
        assert two.targets["y0"].scores[name]["mae"] == pytest.approx(one.targets["y0"].scores[name]["mae"], rel=1e-3)
        assert two.scores[name]["mse_scaled"] == pytest.approx(one.scores[name]["mse_scaled"], rel=1e-3)


def test_targets_that_are_better_by_name() -> None:
    rng = np.random.default_rng(0)
    steps = [rng.normal(size=(3, 1)) for _ in range(60)]
    target = rng.normal(size=(60, 2)) * [1, 1e6]
    data = from_arrays(steps, target, task="regress")
    spread = Preparation.fit(data).outputs
    outputs = (target - spread.center) / spread.scale
    outputs[:, 1] = np.roll(outputs[:, 1], 1)
    found = judged(data, from_arrays(steps, target + 1e-9, task="regress"), outputs)
    assert "By target, it is shown to be better for 'y0'; not for 'y1'." in found.verdict()
    rows = found.table_by_target()
    assert [row[0] for row in rows] == ["target", "y0", "y1"]
    assert float(rows[2][1]) > 1e5 > float(rows[1][1])


def test_a_target_without_a_value_has_no_scores_and_is_said() -> None:
    data = cases.sequences("regress")
    other = cases.sequences("regress", seed=1)
    other.target.values[:, 1] = np.nan
    found = judged(data, other, np.zeros((8, 2)))
    assert list(found.targets) == ["y0"]
    assert found.notes == ("The target 'y1' has no value in the test part: it has no scores.",)
    consistent(found)


def test_an_evaluation_of_the_first_versions_is_read() -> None:
    old = {
        "part": "test", "scores": {"LSTM": {"rmse": 1.0}, "last value": {"rmse": 2.0}}, "primary": "rmse",
        "higher_is_better": False, "skill": {"last value": 0.75}, "count": 9, "counted": "values", "detail": {},
    }  # fmt: skip
    found = Evaluation.from_json(old)
    assert found.beats
    assert found.verdict() == "The LSTM network has an RMSE of 1 on 9 values; the last value has 2."
    assert (found.gains, found.targets, found.notes, found.table_by_target()) == ({}, {}, (), [])
