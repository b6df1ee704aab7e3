"""How good the answers are, beside the naive ones, in the units of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from ..data.examples import Examples
from ..data.sequences import SequenceData
from ..data.stamps import write_texts
from ..data.transforms import Preparation
from ..errors import DataError
from .baselines import Baselines, evenly
from .predictions import as_probabilities, predict_examples

# Windows that a forecast is scored on, evenly spaced over the part; all of them where there are no more.
SCORED_WINDOWS = 20_000
# Forecasts and points kept for the report.
SHOWN_FORECASTS = 4
SHOWN_POINTS = 1_500


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of the network and of the baselines on one part.

    Attributes:
        part: its name.
        scores: ``{name: {metric: value}}``, the network first. Classes: accuracy and macro_f1 (the network also has
            log_loss). Numbers: mae and rmse in the units of the target, mse_scaled after the scaler of the run
            (z-scored by default).
        primary: the metric that is compared; ``higher_is_better`` says which way.
        skill: ``{baseline: share of its error that the network removes}``, of the mean squared error or of the wrong
            answers: 1 is perfect, 0 no better, negative worse.
        count: how many answers were scored, each for one ``counted``.
        detail: what the report draws: confusion matrix, forecasts, errors by step ahead. JSON values.
    """

    part: str
    scores: dict[str, dict[str, float]]
    primary: str
    higher_is_better: bool
    skill: dict[str, float]
    count: int
    counted: str
    detail: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Evaluation:
        """From its fields as JSON, which has null for a skill of minus infinity and for a score that is no number."""
        scores = {
            name: {metric: np.nan if value is None else value for metric, value in values.items()}
            for name, values in stored["scores"].items()
        }
        skill = {name: -np.inf if value is None else value for name, value in stored["skill"].items()}
        return cls(**{**stored, "scores": scores, "skill": skill})

    @property
    def network(self) -> str:
        return next(iter(self.scores))

    @property
    def beats(self) -> bool:
        """Whether the network is better than every baseline."""
        return all(skill > 0 for skill in self.skill.values())

    def __getitem__(self, metric: str) -> float:
        """The network's score: ``evaluation["accuracy"]``."""
        return self.scores[self.network][metric]

    def verdict(self) -> str:
        """What the scores say, in plain words."""
        best = min(self.skill, key=lambda name: self.skill[name])
        ours, theirs = self[self.primary], self.scores[best][self.primary]
        if self.higher_is_better:
            said = f"is right on {ours:.1%} of {self.count:,} {self.counted}; the {best} on {theirs:.1%}"
        else:
            error = {"rmse": "an RMSE"}.get(self.primary, "a scaled MSE")
            said = f"has {error} of {ours:.4g} on {self.count:,} {self.counted}; {_article(best)} has {theirs:.4g}"
        said = f"The {self.network} network {said}"
        if self.beats:
            return said + "."
        lost = [name for name, skill in self.skill.items() if not skill > 0]
        beaten_by = " or ".join(_article(name) for name in lost)
        return f"{said}. It does NOT beat {beaten_by}: use that instead, or look for the cause."

    def table(self) -> list[tuple[str, ...]]:
        """Rows of text: name, each metric, skill of the network over that row."""
        metrics = list(self.scores[self.network])
        rows: list[tuple[str, ...]] = [(f"on {self.part}", *metrics, "skill")]
        for name, values in self.scores.items():
            cells = (f"{values[m]:.4g}" if m in values else "" for m in metrics)
            rows.append((name, *cells, f"{self.skill[name]:+.3f}" if name in self.skill else ""))
        return rows


def has_targets(data: SequenceData) -> bool:
    """Whether there is a target value to score against."""
    if data.target is None:
        return False
    values = data.target.values
    return bool((values >= 0).any() if data.target.kind == "category" else np.isfinite(values).any())


def _article(name: str) -> str:
    return f"the {name}" if not name.startswith("linear") else f"the {name.replace('linear', 'linear model', 1)}"


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
        return _classes(preparation, preparation.class_indices(data.target), examples, outputs, naive, name, part)
    scored = _numbers(preparation, data, examples, outputs, naive, name, part)
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
) -> Evaluation:
    from sklearn import metrics

    known = truth != -1
    truth = truth[known]
    seen = truth >= 0  # a label that training never showed cannot be answered: it counts as a mistake
    if not len(truth):
        raise DataError(f"the {part} part has no label to score against.")
    labels = np.arange(len(preparation.classes))
    probabilities = as_probabilities(outputs, len(labels))[known]
    answers = {name: probabilities.argmax(-1)} | {key: value[known] for key, value in naive.items()}
    scores = {
        key: {
            "accuracy": float(metrics.accuracy_score(truth, answer)),
            "macro_f1": float(metrics.f1_score(truth, answer, labels=labels, average="macro", zero_division=0)),
        }
        for key, answer in answers.items()
    }
    # Float32 probabilities of exactly 0 would make one confident mistake infinite.
    chosen = np.maximum(probabilities[seen][np.arange(seen.sum()), truth[seen]], np.finfo(np.float32).tiny)
    scores[name]["log_loss"] = float(-np.log(chosen).mean())
    wrong = 1 - scores[name]["accuracy"]
    skill = {key: _removed(wrong, 1 - scores[key]["accuracy"]) for key in naive}
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, answers[name], labels=labels, zero_division=0
    )
    shown = [str(label) for label in preparation.classes]
    detail = {
        "confusion": {
            "labels": shown,
            "counts": metrics.confusion_matrix(truth, answers[name], labels=labels).tolist(),
        },
        "per_class": [
            {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for label, p, r, f, s in zip(shown, precision, recall, f1, support, strict=True)
        ],
    }
    return Evaluation(
        part=part,
        scores=scores,
        primary="accuracy",
        higher_is_better=True,
        skill=skill,
        count=len(truth),
        counted=("time steps" if examples.per == "step" else "sequences")
        + (f" ({(~seen).sum():,} with labels that training never showed, counted as wrong)" if not seen.all() else ""),
        detail=detail,
    )


def _numbers(
    preparation: Preparation,
    data: SequenceData,
    examples: Examples,
    outputs: np.ndarray,
    naive: dict[str, np.ndarray],
    name: str,
    part: str,
) -> Evaluation:
    assert data.target is not None and preparation.outputs is not None
    answers = {name: preparation.outputs.invert(outputs)} | naive
    ahead = None
    truth = data.target.values
    if examples.per == "horizon":
        ahead = (examples.starts + examples.lengths)[:, None] + np.arange(examples.horizon)
        truth = truth[ahead]
    known = np.isfinite(truth)
    if not known.any():
        raise DataError(f"the {part} part of {data.source} has no target value to score against.")
    scale = preparation.outputs.scale
    scores, errors = {}, {}
    for key, answer in answers.items():
        error = np.where(known, answer - truth, 0.0)
        count = known.sum()
        scores[key] = {
            "mae": float(np.abs(error).sum() / count),
            "rmse": float(np.sqrt((error**2).sum() / count)),
            "mse_scaled": float(((error / scale) ** 2).sum() / count),
        }
        errors[key] = error
    single = len(preparation.schema.target) == 1
    skill = {key: _removed(scores[name]["mse_scaled"], scores[key]["mse_scaled"]) for key in naive}
    detail: dict[str, Any] = {}
    if ahead is None:
        rows = np.flatnonzero(known[:, 0])
        rows = rows[evenly(len(rows), SHOWN_POINTS)]
        detail["regression"] = {
            "truth": truth[rows, 0].tolist(),
            "prediction": answers[name][rows, 0].tolist(),
            "target": preparation.schema.target[0],
        }
    else:
        detail["forecasts"] = _forecast_detail(preparation, data, examples, ahead, truth, answers, errors, known, name)
    return Evaluation(
        part=part,
        scores=scores,
        primary="rmse" if single else "mse_scaled",
        higher_is_better=False,
        skill=skill,
        count=int(known.sum()),
        counted={"example": "values", "step": "time steps", "horizon": "forecast values"}[examples.per],
        detail=detail,
    )


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
    counts = np.maximum(known[..., 0].sum(0), 1)
    lines = [
        {"name": key, "network": key == name, "values": np.sqrt((error[..., 0] ** 2).sum(0) / counts).tolist()}
        for key, error in errors.items()
    ]
    seasonal = [key for key in answers if key.startswith("seasonal")]
    beside = seasonal[0] if seasonal else "last value"
    assert data.target is not None
    shown = []
    # Evenly spaced from the first to the last window: not the best ones, not the worst ones.
    for e in evenly(len(examples), SHOWN_FORECASTS):
        origin = int(examples.starts[e] + examples.lengths[e])
        back = np.arange(max(int(examples.starts[e]), origin - 3 * examples.horizon), origin)
        series = int(np.searchsorted(data.offsets, origin - 1, side="right") - 1)
        shown.append(
            {
                "series": str(data.ids[series]),
                "history_time": _stamps(data, back),
                "history": _listed(data.target.values[back, 0]),
                "time": _stamps(data, ahead[e]),
                "truth": _listed(truth[e, :, 0]),
                "forecast": _listed(answers[name][e, :, 0]),
                "baseline": _listed(answers[beside][e, :, 0]),
                "baseline_name": beside,
            }
        )
    return {
        "target": preparation.schema.target[0],
        "unit": "",
        "examples": shown,
        "by_step": {"step": list(range(1, examples.horizon + 1)), "metric": "rmse", "lines": lines},
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
