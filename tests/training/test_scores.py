"""Scores against plain Python, on answers that are known; and what the verdict says of them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import cases
import numpy as np
import pytest

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import SequenceData
from throughtime.data.transforms import Preparation
from throughtime.errors import DataError
from throughtime.files import finite
from throughtime.ragged import Ragged
from throughtime.training import scores
from throughtime.training.baselines import FOREST, NEAREST, Baselines
from throughtime.training.scores import Evaluation, evaluate, has_targets

# Float32 probabilities and float64 sums in another order.
CLOSE = {"rel": 1e-6, "abs": 1e-12}


def judged(
    train: SequenceData,
    data: SequenceData,
    outputs: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    scale: str = "standard",
) -> Evaluation:
    """The evaluation of a network called LSTM that gives ``outputs``, whatever it is asked."""
    preparation = Preparation.fit(train, scale=scale)
    baselines = Baselines.fit(preparation, train, preparation.apply(train))
    monkeypatch.setattr(scores, "predict_examples", lambda *_, **__: outputs)
    return evaluate(None, preparation, baselines, data, name="LSTM", part="test", feeds=("numbers",))


def classes(truth: list, train: tuple[str, ...] = ("a", "b", "b", "c", "d")) -> tuple[SequenceData, SequenceData]:
    """A training part whose majority is "b", and a part with these labels, one a sequence of two steps."""
    made = (from_arrays(np.zeros((len(labels), 2, 1)), list(labels)) for labels in (train, truth))
    return tuple(made)


def softmax(seed: int, *shape: int) -> np.ndarray:
    raw = np.exp(np.random.default_rng(seed).normal(0, 2, shape))
    return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)


def plain_macro_f1(truth: list, answers: list, labels: tuple) -> float:
    values = []
    for label in labels:
        right = sum(t == a == label for t, a in zip(truth, answers, strict=True))
        wrong = sum(t != a and label in (t, a) for t, a in zip(truth, answers, strict=True))
        values.append(2 * right / (2 * right + wrong) if right + wrong else 0.0)
    return sum(values) / len(values)


def plain_average_precision(truth: list[bool], ranks: np.ndarray) -> float:
    """The mean, over the true ones, of the precision among those ranked as high or higher."""
    values = []
    for place, true in enumerate(truth):
        if true:
            above = [t for t, rank in zip(truth, ranks, strict=True) if rank >= ranks[place]]
            values.append(sum(above) / len(above))
    return sum(values) / len(values)


# Classes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_scores_of_classes_by_plain_loops(missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    truth = rng.choice(["a", "b", "c"], 40).tolist()  # "d" is in the training part alone
    if missing:
        truth[3] = truth[17] = None
    outputs = softmax(1, 40, 4)
    outputs[5] = [0, 0, 0, 1]  # and answered once, with certainty
    train, data = classes(truth)
    found = judged(train, data, outputs, monkeypatch)
    known = [i for i in range(40) if truth[i] is not None]
    labels = ("a", "b", "c", "d")
    right = [truth[i] for i in known]
    answers = [labels[max(range(4), key=lambda c, i=i: outputs[i, c])] for i in known]
    accuracy = sum(t == a for t, a in zip(right, answers, strict=True)) / len(known)
    tiny = float(np.finfo(np.float32).tiny)
    loss = -sum(math.log(max(float(outputs[i, labels.index(truth[i])]), tiny)) for i in known) / len(known)
    assert found["accuracy"] == pytest.approx(accuracy, **CLOSE)
    assert found["macro_f1"] == pytest.approx(plain_macro_f1(right, answers, labels), **CLOSE)
    assert found["log_loss"] == pytest.approx(loss, **CLOSE)
    naive = found.scores["most frequent class (b)"]
    share = right.count("b") / len(known)
    assert naive == {
        "accuracy": pytest.approx(share, **CLOSE),
        "recall": pytest.approx(1 / 3),  # all of "b", none of "a" and "c"; "d" does not occur
        "macro_f1": pytest.approx(plain_macro_f1(right, ["b"] * len(known), labels), **CLOSE),
        # A rank that is the same for all is right as often as the class is.
        "average_precision": pytest.approx(sum(right.count(c) for c in "abc") / len(known) / 3),
    }
    assert found.skill["most frequent class (b)"] == pytest.approx(1 - (1 - accuracy) / (1 - share), **CLOSE)
    assert list(found.skill) == list(found.gains) == ["most frequent class (b)", FOREST, NEAREST]
    recalls = [
        sum(t == a == label for t, a in zip(right, answers, strict=True)) / right.count(label) for label in "abc"
    ]
    assert found["recall"] == pytest.approx(sum(recalls) / 3)
    ranked = [plain_average_precision([t == c for t in right], outputs[known, "abcd".index(c)]) for c in "abc"]
    assert found["average_precision"] == pytest.approx(sum(ranked) / 3)
    assert found.positive is None
    assert (found.primary, found.higher_is_better, found.network) == ("accuracy", True, "LSTM")
    assert (found.count, found.counted) == (len(known), "sequences")
    # Rows are the truth, columns the answers.
    counts = [
        [sum(t == row and a == column for t, a in zip(right, answers, strict=True)) for column in labels]
        for row in labels
    ]
    assert found.detail["confusion"] == {"labels": list(labels), "counts": counts}
    assert counts != [list(column) for column in zip(*counts, strict=True)]  # asymmetric, so a transpose shows
    for row, label in zip(found.detail["per_class"], labels, strict=True):
        place = labels.index(label)
        answered, support = sum(line[place] for line in counts), sum(counts[place])
        assert (row["label"], row["support"]) == (label, support)
        assert row["precision"] == pytest.approx(counts[place][place] / answered if answered else 0.0)
        assert row["recall"] == pytest.approx(counts[place][place] / support if support else 0.0)
        assert row["average_precision"] == (pytest.approx(ranked[place]) if support else None)


def test_labels_a_step_are_scored_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.sequences("tag")
    data.target.values[[0, 9, 20]] = -1
    outputs = softmax(3, data.steps, 3)
    found = judged(data, data, outputs, monkeypatch)
    known = [i for i in range(data.steps) if i not in (0, 9, 20)]
    right = sum(int(outputs[i].argmax()) == data.target.values[i] for i in known)
    assert (found.count, found.counted) == (len(known), "time steps")
    assert found["accuracy"] == pytest.approx(right / len(known), **CLOSE)


def test_skill_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ["a", "b", "c", "b", "d", "a"]
    train, data = classes(truth)
    perfect = np.eye(4)[["abcd".index(label) for label in truth]]
    found = judged(train, data, perfect, monkeypatch)
    assert (next(iter(found.skill.values())), found["accuracy"]) == (1.0, 1.0)
    assert not judged(train, data.take([0, 1, 2]), perfect[:3], monkeypatch).beats, "three sequences show nothing"
    same = np.eye(4)[[1] * 6]
    found = judged(train, data, same, monkeypatch)
    assert (next(iter(found.skill.values())), found.beats) == (0.0, False)
    found = judged(train, data, np.roll(perfect, 1, axis=1), monkeypatch)
    assert found.skill["most frequent class (b)"] == pytest.approx(1 - 1 / (4 / 6))
    assert not found.beats


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["regress", "steps"])
@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_scores_of_numbers_by_plain_loops(task: str, scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train, data = cases.sequences(task), cases.sequences(task, (4, 1, 6, 3), seed=8)
    data.target.values[1, 0] = data.target.values[[0, 2], 1] = np.nan
    truth = data.target.values
    outputs = np.random.default_rng(2).normal(size=truth.shape).astype(np.float32)
    found = judged(train, data, outputs, monkeypatch, scale)
    spread = Preparation.fit(train, scale=scale).outputs
    mean, spreads = train.target.values.mean(0), train.target.values.std(0)
    for name, answer in (("LSTM", outputs * spread.scale + spread.center), ("training mean", [mean] * len(truth))):
        errors = [
            (k, float(answer[i][k]) - truth[i, k])
            for i in range(len(truth))
            for k in range(2)
            if not math.isnan(truth[i, k])
        ]
        assert len(errors) == truth.size - 3 == found.count
        # Whatever the scaler of the run, targets of several units are brought to one before they are averaged.
        assert found.scores[name] == {
            "mse_scaled": pytest.approx(math.fsum((e / spreads[k]) ** 2 for k, e in errors) / len(errors), **CLOSE)
        }
        for k, target in enumerate(("y0", "y1")):
            own = [e for place, e in errors if place == k]
            assert found.targets[target].scores[name] == {
                "mae": pytest.approx(math.fsum(map(abs, own)) / len(own), **CLOSE),
                "rmse": pytest.approx(math.sqrt(math.fsum(e * e for e in own) / len(own)), **CLOSE),
            }
    # Several targets of different sizes: their scaled errors are compared, else the largest would decide alone.
    assert (found.primary, found.higher_is_better) == ("mse_scaled", False)
    expected = 1 - found["mse_scaled"] / found.scores["training mean"]["mse_scaled"]
    assert found.skill["training mean"] == pytest.approx(expected, **CLOSE)
    assert list(found.skill) == (["training mean", FOREST, NEAREST] if task == "regress" else ["training mean"])
    assert found.counted == "values"
    shown, second = found.detail["regression"]
    assert second["target"] == "y1"
    kept = [i for i in range(len(truth)) if not math.isnan(truth[i, 0])]
    assert shown["target"] == "y0"
    assert shown["truth"] == truth[kept, 0].tolist()
    assert shown["prediction"] == pytest.approx((outputs * spread.scale + spread.center)[kept, 0].tolist(), **CLOSE)


def test_skill_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    train, data = (cases.sequences("regress", targets=1, seed=seed) for seed in (0, 1))
    spread = Preparation.fit(train).outputs
    perfect = (data.target.values - spread.center) / spread.scale
    found = judged(train, data, perfect, monkeypatch)
    assert found.skill["training mean"] == pytest.approx(1.0, abs=1e-12)
    assert found.primary == "rmse"
    found = judged(train, data, np.zeros_like(perfect), monkeypatch)  # 0 after scaling is the mean
    assert found.skill["training mean"] == pytest.approx(0.0, abs=1e-12)
    found = judged(train, data, -2 * perfect, monkeypatch)
    assert found.skill["training mean"] == pytest.approx(1 - 9 * (perfect**2).sum() / (perfect**2).sum(), rel=1e-9)
    assert not found.beats


# Forecasts ----------------------------------------------------------------------------------------------------------


def test_forecasts_are_scored_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    train, data = cases.series((40,)), cases.series((16, 11), seed=3)
    data.target.values[9, 0] = data.target.values[13, 1] = data.target.values[25, 1] = np.nan
    window, horizon = 6, 3
    windows = [
        (start, start + window)
        for first, stop in ((0, 16), (16, 27))
        for start in range(first, stop - window - horizon + 1)
    ]
    outputs = np.random.default_rng(5).normal(size=(len(windows), horizon, 2)).astype(np.float32)
    found = judged(train, data, outputs, monkeypatch)
    spread, truth = Preparation.fit(train).outputs, data.target.values
    errors: dict[tuple[int, int], list[float]] = {}
    for e, (_, first) in enumerate(windows):
        for h in range(horizon):
            for k in range(2):
                if not math.isnan(truth[first + h, k]):
                    answer = float(outputs[e, h, k]) * spread.scale[k] + spread.center[k]
                    errors.setdefault((h, k), []).append(answer - truth[first + h, k])
    every = [e for part in errors.values() for e in part]
    for k in range(2):
        own = [e for (_, place), part in errors.items() if place == k for e in part]
        scores_of = found.targets[f"y{k}"].scores["LSTM"]
        assert scores_of["mae"] == pytest.approx(math.fsum(map(abs, own)) / len(own), **CLOSE)
        assert scores_of["rmse"] == pytest.approx(math.sqrt(math.fsum(e * e for e in own) / len(own)), **CLOSE)
    assert (found.count, found.counted) == (len(every), "forecast values")
    detail = found.detail["forecasts"]
    assert [one["target"] for one in detail["by_step"]] == ["y0", "y1"]
    for k, one in enumerate(detail["by_step"]):
        assert one["step"] == [1, 2, 3]
        line = next(line for line in one["lines"] if line["network"])
        by_step = [math.sqrt(math.fsum(e * e for e in errors[h, k]) / len(errors[h, k])) for h in range(horizon)]
        assert line["name"] == "LSTM"
        assert line["values"] == pytest.approx(by_step, **CLOSE)
        assert [line["name"] for line in one["lines"]] == list(found.scores)
    # The first and the last window are among those shown, whatever their errors are.
    first, last = detail["examples"][0], detail["examples"][-1]
    start, origin = windows[0]
    assert first["history"] == [None if math.isnan(v) else v for v in truth[start:origin, 0]]
    assert (first["history_time"], first["time"]) == ([0, 1, 2, 3, 4, 5], [6, 7, 8])
    assert first["truth"] == truth[6:9, 0].tolist()
    assert first["baseline"] == [truth[5, 0]] * 3
    assert first["baseline_name"] == "last value"
    assert last["series"] == "1"
    assert last["time"] == [24, 25, 26]
    # Targets take turns, so the last of four windows shows the second.
    assert [one["target"] for one in detail["examples"]] == ["y0", "y1", "y0", "y1"]
    assert last["forecast"] == pytest.approx((outputs[-1, :, 1] * spread.scale[1] + spread.center[1]).tolist())


def test_many_windows_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.series((60,))
    monkeypatch.setattr(scores, "SCORED_WINDOWS", 7)
    found = judged(data, data, np.zeros((7, 3, 2)), monkeypatch)
    assert found.count == 7 * 3 * 2
    assert found.detail["forecasts"]["examples"][-1]["time"] == [57, 58, 59]


# Words --------------------------------------------------------------------------------------------------------------


def evaluation(network: float, naive: dict[str, float], **changed: Any) -> Evaluation:
    primary = changed.setdefault("primary", "rmse")
    better = changed.setdefault("higher_is_better", False)
    skill = {
        name: 1 - (1 - network) / (1 - value) if better else 1 - (network / value) ** 2 for name, value in naive.items()
    }
    return Evaluation(**{
        "part": "test", "skill": skill, "count": 1234, "counted": "values",
        "scores": {"LSTM": {primary: network}} | {name: {primary: value} for name, value in naive.items()}, **changed,
    })  # fmt: skip


def test_the_verdict_of_classes() -> None:
    naive = {"most frequent class (up)": 0.5}
    found = evaluation(0.9231, naive, primary="accuracy", higher_is_better=True, counted="sequences")
    assert found.verdict() == (
        "The LSTM network is right on 1,139 of 1,234 sequences (92.3%); the most frequent class (up) on 617 (50.0%)."
    )
    found = evaluation(0.5, naive, primary="accuracy", higher_is_better=True, counted="sequences")
    assert found.verdict() == (
        "The LSTM network is right on 617 of 1,234 sequences (50.0%); the most frequent class (up) on 617 (50.0%). It "
        "does NOT beat the most frequent class (up): use that instead, or look for the cause."
    )


def test_the_verdict_of_numbers_names_the_strongest_baseline() -> None:
    naive = {"last value": 4.0, "seasonal naive (12)": 2.0, "linear on the window": 2.5}
    assert evaluation(1.5, naive).verdict() == (
        "The LSTM network has an RMSE of 1.5 on 1,234 values; the seasonal naive (12) has 2."
    )
    found = evaluation(2.2, naive)
    assert not found.beats
    assert found.verdict().endswith(
        "; the seasonal naive (12) has 2. It does NOT beat the seasonal naive (12): use that instead, or look for the "
        "cause."
    )
    assert (
        "It does NOT beat the seasonal naive (12) or the linear model on the window:"
        in evaluation(3.0, naive).verdict()
    )
    assert "a scaled MSE of 1.5" in evaluation(1.5, naive, primary="mse_scaled").verdict()


def test_answers_that_are_no_numbers_beat_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.sequences("regress", targets=1)
    found = judged(data, data, np.full(data.target.values.shape, np.nan), monkeypatch)
    assert not found.beats
    assert "It does NOT beat the training mean" in found.verdict()


def test_a_perfect_baseline_leaves_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    train, data = classes(["b", "b", "b"])
    assert judged(train, data, np.eye(4)[[1, 1, 1]], monkeypatch).skill["most frequent class (b)"] == 0
    found = judged(train, data, np.eye(4)[[1, 1, 2]], monkeypatch)
    assert found.skill["most frequent class (b)"] == -math.inf
    # JSON has no infinity: what was stored and read again says the same.
    again = Evaluation.from_json(json.loads(json.dumps(finite(asdict(found)), allow_nan=False)))
    assert asdict(again) == asdict(found)
    assert again.verdict() == found.verdict()
    assert again.table() == found.table()
    assert not again.beats


def test_the_table_has_a_row_for_each_answer() -> None:
    found = evaluation(1.5, {"last value": 4.0, "linear on the window": 1.25})
    found.scores["LSTM"]["mae"] = 1.23456
    found.scores["last value"]["mae"] = 3.0
    assert found.table() == [
        ("on test", "rmse", "mae", "skill"),
        ("LSTM", "1.5", "1.235", ""),
        ("last value", "4", "3", "+0.859"),
        ("linear on the window", "1.25", "", "-0.440"),
    ]


# Nothing to score ---------------------------------------------------------------------------------------------------


def without_targets(task: str) -> SequenceData:
    data = cases.made(task)
    absent = np.nan if data.target.kind == "number" else -1
    return replace(data, target=replace(data.target, values=np.full_like(data.target.values, absent)))


@pytest.mark.parametrize("task", cases.TASKS)
def test_nothing_to_score_is_refused(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = cases.made(task)
    width = {"classify": (8, 3), "tag": (train.steps, 3), "regress": (8, 2), "steps": (train.steps, 2)}.get(task, ())
    for data in (train.take([]), without_targets(task)):
        with pytest.raises(DataError):
            judged(train, data, np.zeros(width), monkeypatch)
    with pytest.raises(DataError, match="the test part"):
        judged(train, train.take([]), np.zeros(width), monkeypatch)


@pytest.mark.parametrize("task", cases.TASKS)
def test_whether_there_are_targets(task: str) -> None:
    data = cases.made(task)
    assert has_targets(data)
    assert not has_targets(without_targets(task))
    assert not has_targets(replace(data, target=None))
    one = without_targets(task)
    one.target.values[-1] = 1
    assert has_targets(one)


def test_targets_of_steps_and_a_sequence_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Ragged.from_list([np.array([1.0, 2.0]), np.zeros(0), np.array([4.0])])
    data = from_arrays([np.ones((2, 1)), np.ones((0, 1)), np.ones((1, 1))], target, task="regress")
    found = judged(data, data, np.zeros((3, 1)), monkeypatch)
    assert found.count == 3


def test_a_tag_that_training_never_showed_counts_as_a_mistake() -> None:
    steps = Ragged.from_list([[[0.0], [1.0], [2.0]], [[3.0]]])
    seen = from_arrays(steps, Ragged.from_list([["a", "b", "a"], ["b"]]), task="tag")
    rare = from_arrays(steps, Ragged.from_list([["a", "c", "a"], ["b"]]), task="tag")
    preparation = Preparation.fit(seen)
    examples = preparation.apply(rare)
    assert examples.weights.tolist() == [1, 0, 1, 1]  # no loss can be computed for it
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    truth = preparation.class_indices(rare.target)
    scored = scores._classes(
        preparation, truth, examples, outputs, {"most frequent class (a)": np.eye(2)[[0] * 4]}, "n", "p", 0
    )
    assert scored["accuracy"] == 3 / 4
    assert scored.scores["most frequent class (a)"]["accuracy"] == 2 / 4
    assert scored["log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.7]).mean())
    assert scored.count == 4
    assert scored.counted == "time steps (1 with labels that training never showed, counted as wrong)"
