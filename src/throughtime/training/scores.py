"""How good the answers are, beside the naive ones, in the units of the target; and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from ..data.examples import Examples
from ..data.sequences import SequenceData
from ..data.stamps import write_texts
from ..data.transforms import Preparation
from ..errors import DataError, listed
from .baselines import Baselines, evenly
from .evaluation import Evaluation as Evaluation
from .evaluation import TargetScores
from .intervals import Gain, accuracy_gain, error_gain, grouped_accuracy_gain, step_groups, window_groups
from .predictions import as_probabilities, predict_examples

# Windows that a forecast is scored on, evenly spaced over the part; all of them where there are no more.
SCORED_WINDOWS = 20_000
# Forecasts, points and targets kept for the report.
SHOWN_FORECASTS = 4
SHOWN_POINTS = 1_500
SHOWN_TARGETS = 8
# A class that is so common, or so many times as common as another, makes accuracy say little about the rare one.
COMMON_CLASS, TIMES_AS_COMMON = 0.75, 10
# Average precision sorts the answers once for each class.
RANKED_CLASSES = 100


def has_targets(data: SequenceData) -> bool:
    """Whether there is a target value to score against."""
    if data.target is None:
        return False
    values = data.target.values
    return bool((values >= 0).any() if data.target.kind == "category" else np.isfinite(values).any())


def evaluate(
    model: keras.Model,
    preparation: Preparation,
    baselines: Baselines,
    data: SequenceData,
    *,
    name: str,
    part: str,
    feeds: Any,
    pad_value: float = 0.0,
) -> Evaluation:
    """Scores of ``model``, called ``name``, and of the baselines on the data of one ``part``."""
    if not len(data):
        raise DataError(f"the {part} part of {data.source} has no sequences to evaluate.")
    examples = preparation.apply(data)
    windows = len(examples)
    if examples.per == "horizon":
        examples = examples.take(evenly(windows, SCORED_WINDOWS))
    outputs = predict_examples(model, examples, feeds, pad_value=pad_value)
    naive = baselines.predict(preparation, data, examples)
    if preparation.classes:
        assert data.target is not None
        truth = preparation.class_indices(data.target)
        return _classes(preparation, truth, examples, outputs, naive, name, part, baselines.majority)
    scored = _numbers(preparation, data, examples, outputs, naive, name, part, baselines.spread)
    if len(examples) < windows:
        scored = replace(scored, counted=f"{scored.counted} ({len(examples):,} of {windows:,} windows, evenly spaced)")
    return scored


def _classes(
    preparation: Preparation,
    truth: np.ndarray,
    examples: Examples,
    outputs: np.ndarray,
    naive: dict[str, np.ndarray],
    name: str,
    part: str,
    majority: int | None,
) -> Evaluation:
    from sklearn import metrics

    known = truth != -1
    truth = truth[known]
    seen = truth >= 0  # a label that training never showed cannot be answered: it counts as a mistake
    if not len(truth):
        raise DataError(f"the {part} part has no label to score against.")
    shown = [str(label) for label in preparation.classes]
    labels = np.arange(len(shown))
    positive = None if majority is None or len(shown) != 2 else 1 - majority
    probabilities = {name: as_probabilities(outputs, len(labels))} | naive
    probabilities = {key: values[known] for key, values in probabilities.items()}
    answers = {key: values.argmax(-1) for key, values in probabilities.items()}
    scores, ranked = {}, {}
    for key, answer in answers.items():
        recall = metrics.recall_score(truth, answer, labels=labels, average=None, zero_division=np.nan)
        ranked[key] = _average_precisions(truth, probabilities[key])
        scores[key] = {
            "accuracy": float(metrics.accuracy_score(truth, answer)),
            "recall": _of_interest(recall, positive),
            "macro_f1": float(metrics.f1_score(truth, answer, labels=labels, average="macro", zero_division=0)),
            "average_precision": _of_interest(ranked[key], positive),
        }
    # Float32 probabilities of exactly 0 would make one confident mistake infinite.
    chosen = probabilities[name][seen][np.arange(seen.sum()), truth[seen]]
    scores[name]["log_loss"] = float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, answers[name], labels=labels, zero_division=0
    )
    detail = {
        "confusion": {
            "labels": shown,
            "counts": metrics.confusion_matrix(truth, answers[name], labels=labels).tolist(),
        },
        "per_class": [
            {"label": label, "precision": float(p), "recall": float(r), "f1": float(f),
             "average_precision": float(a) if np.isfinite(a) else None, "support": int(s)}
            for label, p, r, f, a, s in zip(shown, precision, recall, f1, ranked[name], support, strict=True)
        ],
    }  # fmt: skip
    right = {key: answer == truth for key, answer in answers.items()}
    if examples.per == "step":
        sequences = np.repeat(np.arange(len(examples)), examples.lengths)[known]
        groups = step_groups(sequences, "sequences")
        gains = {key: grouped_accuracy_gain(right[name], right[key], *groups) for key in naive}
    else:
        gains = {key: accuracy_gain(right[name], right[key]) for key in naive}
    counted = "time steps" if examples.per == "step" else "sequences"
    if len(truth) == 1:
        counted = counted[:-1]
    wrong = 1 - scores[name]["accuracy"]
    return Evaluation(
        part=part,
        scores=scores,
        primary="accuracy",
        higher_is_better=True,
        skill={key: _removed(wrong, 1 - scores[key]["accuracy"]) for key in naive},
        gains=gains,
        positive=None if positive is None else shown[positive],
        notes=tuple(_imbalance(shown, support, recall, counted, part)),
        count=len(truth),
        counted=counted
        + (f" ({(~seen).sum():,} with labels that training never showed, counted as wrong)" if not seen.all() else ""),
        detail=detail,
    )


def _average_precisions(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """``(classes,)`` of each class against all others; NaN for a class that does not occur."""
    from sklearn.metrics import average_precision_score

    made = np.full(probabilities.shape[-1], np.nan)
    for label in np.unique(truth[truth >= 0]) if len(made) <= RANKED_CLASSES else ():
        if np.isfinite(probabilities[:, label]).all():
            made[label] = average_precision_score(truth == label, probabilities[:, label])
    return made


def _of_interest(values: np.ndarray, positive: int | None) -> float:
    """The positive class's value, or the mean over the classes that occur; NaN where there is none."""
    if positive is not None:
        return float(values[positive])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def _imbalance(labels: list[str], support: np.ndarray, recall: np.ndarray, counted: str, part: str) -> list[str]:
    """What accuracy hides where some classes are rare in the part."""
    present = np.flatnonzero(support)
    if not len(present):
        return []
    common = int(support.argmax())
    if len(present) == 1:
        return [f"Every label of the {part} part is {labels[common]!r}: nothing is known of the other classes."]
    rare = int(present[support[present].argmin()])
    share = support[common] / support.sum()
    if share < COMMON_CLASS and support[common] < TIMES_AS_COMMON * support[rare]:
        return []
    found = round(float(recall[rare] * support[rare]))
    return [
        f"The classes are imbalanced: {share:.1%} of the {counted} are {labels[common]!r}, {support[rare]:,} "
        f"{'is' if support[rare] == 1 else 'are'} {labels[rare]!r}, of which the network finds {found:,}. Look at "
        "recall and average precision; accuracy says little about a rare class."
    ]


def _numbers(
    preparation: Preparation,
    data: SequenceData,
    examples: Examples,
    outputs: np.ndarray,
    naive: dict[str, np.ndarray],
    name: str,
    part: str,
    spread: np.ndarray | None,
) -> Evaluation:
    assert data.target is not None and preparation.outputs is not None
    names = preparation.schema.target
    single = len(names) == 1
    answers = {name: preparation.outputs.invert(outputs)} | naive
    ahead = None
    truth = data.target.values
    if examples.per == "horizon":
        ahead = (examples.starts + examples.lengths)[:, None] + np.arange(examples.horizon)
        truth = truth[ahead]
    known = np.isfinite(truth)
    if not known.any():
        raise DataError(f"the {part} part of {data.source} has no target value to score against.")
    # The scaler of the run may leave targets of several units as they are, and these have no mean.
    scale = preparation.outputs.scale if single or spread is None else spread
    groups, unit = _groups(data, examples)
    errors = {key: np.where(known, answer - truth, 0.0) for key, answer in answers.items()}
    scaled = {key: (error / scale) ** 2 for key, error in errors.items()}
    scores = {key: {"mse_scaled": float(values.sum() / known.sum())} for key, values in scaled.items()}
    targets = {}
    for k, target in enumerate(names):
        seen = known[..., k]
        if not seen.any():
            continue
        by_name = {
            key: {
                "mae": float(np.abs(error[..., k]).sum() / seen.sum()),
                "rmse": float(np.sqrt((error[..., k] ** 2).sum() / seen.sum())),
            }
            for key, error in errors.items()
        }
        targets[target] = TargetScores(
            scores=by_name,
            gains=_error_gains(name, naive, {key: one[..., k] for key, one in scaled.items()}, seen, groups, unit),
        )
    if single:
        scores = {key: targets[names[0]].scores[key] | values for key, values in scores.items()}
    detail: dict[str, Any] = {}
    if ahead is None:
        detail["regression"] = [
            _regression_detail(truth[:, k], answers[name][:, k], target)
            for k, target in enumerate(names)
            if target in targets
        ][:SHOWN_TARGETS]
    else:
        detail["forecasts"] = _forecast_detail(preparation, data, examples, ahead, truth, answers, errors, known, name)
    count = int(known.sum())
    counted = {"example": "values", "step": "time steps", "horizon": "forecast values"}[examples.per]
    if not single and examples.per == "step":
        counted = "values"
    return Evaluation(
        part=part,
        scores=scores,
        primary="rmse" if single else "mse_scaled",
        higher_is_better=False,
        skill={key: _removed(scores[name]["mse_scaled"], scores[key]["mse_scaled"]) for key in naive},
        gains=_error_gains(name, naive, scaled, known, groups, unit),
        targets={} if single else targets,
        notes=tuple(
            f"The target {target!r} has no value in the {part} part: it has no scores."
            for target in names
            if target not in targets
        ),
        count=count,
        counted=counted if count != 1 else counted[:-1],
        detail=detail,
    )


def _groups(data: SequenceData, examples: Examples) -> tuple[np.ndarray, str]:
    """``(E,)`` or, for targets a step, ``(N,)``: what is independent in a part; and what that is called."""
    if examples.per == "example":
        return np.arange(len(examples)), "sequences"
    if examples.per == "step":
        return step_groups(np.repeat(np.arange(len(examples)), examples.lengths), "sequences")
    origins = examples.starts + examples.lengths - 1
    series = np.searchsorted(data.offsets, origins, side="right") - 1
    moments = origins - data.offsets[series] if data.time is None else data.time[origins]
    return window_groups(series, origins, moments, examples.horizon)


def _error_gains(
    name: str,
    naive: dict[str, np.ndarray],
    squares: dict[str, np.ndarray],
    known: np.ndarray,
    groups: np.ndarray,
    unit: str,
) -> dict[str, Gain]:
    """The gain over each baseline, from squared errors of ``(rows, ...)`` whose unknown ones are 0."""
    rows = known.reshape(len(known), -1).any(1)
    sums = {key: values.reshape(len(values), -1).sum(1)[rows] for key, values in squares.items()}
    return {key: error_gain(sums[name], sums[key], groups[rows], unit) for key in naive}


def _regression_detail(truth: np.ndarray, answers: np.ndarray, target: str) -> dict[str, Any]:
    rows = np.flatnonzero(np.isfinite(truth))
    rows = rows[evenly(len(rows), SHOWN_POINTS)]
    return {"truth": truth[rows].tolist(), "prediction": answers[rows].tolist(), "target": target}


def _forecast_detail(
    preparation: Preparation,
    data: SequenceData,
    examples: Examples,
    ahead: np.ndarray,
    truth: np.ndarray,
    answers: dict[str, np.ndarray],
    errors: dict[str, np.ndarray],
    known: np.ndarray,
    name: str,
) -> dict[str, Any]:
    targets = preparation.schema.target
    by_step = []
    for k, target in enumerate(targets[:SHOWN_TARGETS]):
        counts = np.maximum(known[..., k].sum(0), 1)
        lines = [
            {"name": key, "network": key == name, "values": np.sqrt((error[..., k] ** 2).sum(0) / counts).tolist()}
            for key, error in errors.items()
        ]
        steps = list(range(1, examples.horizon + 1))
        by_step.append({"target": target, "step": steps, "metric": "rmse", "lines": lines})
    seasonal = [key for key in answers if key.startswith("seasonal")]
    beside = seasonal[0] if seasonal else "last value"
    assert data.target is not None
    shown = []
    # Evenly spaced from the first to the last window, a target each: not the best ones, not the worst ones.
    most = max(SHOWN_FORECASTS, min(len(targets), SHOWN_TARGETS))
    for place, e in enumerate(evenly(len(examples), most)):
        k = place % len(targets)
        origin = int(examples.starts[e] + examples.lengths[e])
        back = np.arange(max(int(examples.starts[e]), origin - 3 * examples.horizon), origin)
        series = int(np.searchsorted(data.offsets, origin - 1, side="right") - 1)
        shown.append(
            {
                "series": str(data.ids[series]),
                "target": targets[k],
                "history_time": _stamps(data, back),
                "history": _listed(data.target.values[back, k]),
                "time": _stamps(data, ahead[e]),
                "truth": _listed(truth[e, :, k]),
                "forecast": _listed(answers[name][e, :, k]),
                "baseline": _listed(answers[beside][e, :, k]),
                "baseline_name": beside,
            }
        )
    return {
        "target": listed(targets, SHOWN_TARGETS) if len(targets) > 1 else targets[0],
        "unit": "",
        "examples": shown,
        "by_step": by_step,
    }


def _stamps(data: SequenceData, rows: np.ndarray) -> Sequence[Any]:
    if data.time is None:
        return rows.tolist()
    return write_texts(data.time[rows], data.schema.stamps)


def _listed(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _removed(error: float, naive: float) -> float:
    """The share of the naive error that is gone; where the naive answer is perfect already, 0 or worse."""
    if naive == 0:
        return 0.0 if error == 0 else -np.inf
    return 1 - error / naive
