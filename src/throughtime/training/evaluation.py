"""Scores as they are kept, read again and told in words; ``scores`` computes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import listed
from .intervals import Gain


@dataclass(frozen=True, kw_only=True)
class TargetScores:
    """Of one of several targets, in its own units: ``scores`` and ``gains`` as those of an ``Evaluation``."""

    scores: dict[str, dict[str, float]]
    gains: dict[str, Gain]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of the network and of the baselines on one part.

    Attributes:
        part: its name.
        scores: ``{name: {metric: value}}``, the network first. Classes: accuracy, recall, macro_f1 and
            average_precision (the network also has log_loss); of two classes recall and average_precision are those of
            the ``positive`` one, of more the means over the classes that occur. One number: mae and rmse in the units
            of the target, mse_scaled after the scaler of the run (z-scored by default). Several numbers: mse_scaled,
            each target's squared errors over its variance in the training part.
        primary: the metric that is compared; ``higher_is_better`` says which way.
        skill: ``{baseline: share of its error that the network removes}``, of the mean squared error or of the wrong
            answers: 1 is perfect, 0 no better, negative worse.
        gains: ``{baseline: Gain}``, the difference in accuracy or the share of the squared error that is gone, with its
            95% interval, paired over the rows of the part; empty in runs of the first versions.
        targets: of several numbers, the scores of each by name, never averaged over units.
        positive: of two classes, the label of the rarer one in training.
        notes: what the scores cannot say, in words, such as that one class is rare.
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
    gains: dict[str, Gain] = field(default_factory=dict)
    targets: dict[str, TargetScores] = field(default_factory=dict)
    positive: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Evaluation:
        """From its fields as JSON, which has null for infinity and for what is no number."""
        targets = {
            name: TargetScores(scores=_numbers_again(one["scores"]), gains=_gains_again(one["gains"]))
            for name, one in stored.get("targets", {}).items()
        }
        again = {
            "scores": _numbers_again(stored["scores"]),
            "skill": {name: -np.inf if value is None else value for name, value in stored["skill"].items()},
            "gains": _gains_again(stored.get("gains", {})),
            "targets": targets,
            "notes": tuple(stored.get("notes", ())),
        }
        return cls(**{**stored, **again})

    @property
    def network(self) -> str:
        return next(iter(self.scores))

    @property
    def best(self) -> str:
        """The baseline that is hardest to beat."""
        return min(self.skill, key=lambda name: self.skill[name])

    @property
    def beats(self) -> bool:
        """Whether the network is shown to be better than every baseline: the interval of every gain is above 0."""
        if not self.gains:
            return all(skill > 0 for skill in self.skill.values())
        return all(gain.shown for gain in self.gains.values())

    @property
    def lost_to(self) -> list[str]:
        """The baselines that are as good or better."""
        return [name for name, skill in self.skill.items() if not skill > 0]

    def __getitem__(self, metric: str) -> float:
        """The network's score: ``evaluation["accuracy"]``."""
        return self.scores[self.network][metric]

    def verdict(self) -> str:
        """What the scores say, in plain words, beside the best baseline."""
        best, count = self.best, self.count
        ours, theirs = self[self.primary], self.scores[best][self.primary]
        if self.higher_is_better:
            right = f"{round(ours * count):,} of {count:,} {self.counted} ({ours:.1%})"
            said = f"is right on {right}; {_article(best)} on {round(theirs * count):,} ({theirs:.1%})"
        else:
            error = {"rmse": "an RMSE"}.get(self.primary, "a scaled MSE")
            said = f"has {error} of {ours:.4g} on {count:,} {self.counted}; {_article(best)} has {theirs:.4g}"
        sentences = [f"The {self.network} network {said}."]
        if best in self.gains:
            sentences.append(self._difference(self.gains[best]))
        unshown = [name for name, gain in self.gains.items() if not gain.shown and name not in self.lost_to]
        if self.lost_to:
            names = _either(self.lost_to)
            sentences.append(f"It does NOT beat {names}: use that instead, or look for the cause.")
        if unshown:
            names = _either(unshown)
            sentences.append(f"It is not shown to be better than {names}: more test data would tell.")
        return " ".join([*sentences, *self._by_target()])

    def _difference(self, gain: Gain) -> str:
        if not math.isfinite(gain.value):
            return "The difference is no finite number."
        units = f"{gain.groups:,} {gain.unit if gain.groups != 1 else _one(gain.unit)}"
        if not (math.isfinite(gain.low) and math.isfinite(gain.high)):
            return f"That is {self._amount(gain.value)}; {units} alone cannot say how sure that is."
        said = self._amount(gain.value) if gain.value else "no difference"
        low, high = (self._amount(end, short=True) for end in (gain.low, gain.high))
        return f"That is {said} (95% interval from {low} to {high}, over {units})."

    def _amount(self, gain: float, *, short: bool = False) -> str:
        if self.higher_is_better:
            points = "" if short else " points"
            return f"{abs(gain) * 100:.1f}{points} {'more' if gain >= 0 else 'fewer'}"
        return f"{abs(gain):.1%} {'less' if gain >= 0 else 'more'}{'' if short else ' squared error'}"

    def _by_target(self) -> list[str]:
        """Which targets the network is shown to be better on, and which not."""
        better = [name for name, one in self.targets.items() if all(gain.shown for gain in one.gains.values())]
        if not self.targets or len(better) == len(self.targets):
            return []
        if not better:
            return ["By target, it is shown to be better for none."]
        other = listed([name for name in self.targets if name not in better])
        return [f"By target, it is shown to be better for {listed(better)}; not for {other}."]

    def table(self) -> list[tuple[str, ...]]:
        """Rows of text: name, each metric, skill of the network over that row."""
        metrics = list(self.scores[self.network])
        rows: list[tuple[str, ...]] = [(f"on {self.part}", *map(self.heading, metrics), "skill")]
        for name, values in self.scores.items():
            cells = (_figure(values[m]) if m in values else "" for m in metrics)
            rows.append((name, *cells, f"{self.skill[name]:+.3f}" if name in self.skill else ""))
        return rows

    def heading(self, metric: str) -> str:
        """The name of a metric, with the class that it is of."""
        of_positive = self.positive is not None and metric in ("recall", "average_precision")
        return f"{metric} ({self.positive})" if of_positive else metric

    def table_by_target(self) -> list[tuple[str, ...]]:
        """Of several targets, rows of text: the target, the network's scores, and those of its best baseline."""
        if not self.targets:
            return []
        rows: list[tuple[str, ...]] = [("target", "rmse", "mae", "best baseline", "its rmse", "its mae", "skill")]
        for target, one in self.targets.items():
            best = min(one.gains, key=lambda name: one.gains[name].value)
            ours, theirs = one.scores[self.network], one.scores[best]
            cells = (_figure(scores[metric]) for scores in (ours, theirs) for metric in ("rmse", "mae"))
            rmse, mae, its_rmse, its_mae = cells
            rows.append((target, rmse, mae, best, its_rmse, its_mae, f"{one.gains[best].value:+.3f}"))
        return rows


def _numbers_again(scores: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float]]:
    return {
        name: {metric: np.nan if value is None else value for metric, value in values.items()}
        for name, values in scores.items()
    }


def _gains_again(gains: dict[str, dict[str, Any]]) -> dict[str, Gain]:
    absent: dict[str, Any] = {"value": -np.inf, "low": -np.inf, "high": np.inf}
    return {
        name: Gain(**one | {key: value for key, value in absent.items() if one[key] is None})
        for name, one in gains.items()
    }


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _either(names: list[str]) -> str:
    *others, last = map(_article, names)
    return f"{', '.join(others)} or {last}" if others else last


def _one(unit: str) -> str:
    return {"sequences": "sequence", "series": "series"}.get(unit, unit.replace("blocks", "block", 1))


def _article(name: str) -> str:
    return f"the {name}" if not name.startswith("linear") else f"the {name.replace('linear', 'linear model', 1)}"
