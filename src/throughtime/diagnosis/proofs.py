"""``Repair``: what was tried, what was kept, and how it is known; scores over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from ..errors import counted
from .courses import Course
from .findings import Finding

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Gain:
    """How much lower scores became, seed for seed: the mean, and the ends of its 95% interval (Student's t)."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


@dataclass(frozen=True)
class Scores:
    """Of one way of training, by seed; lower is better, infinity a training that ended in NaN."""

    values: tuple[float, ...]
    said: tuple[str, ...] = ()

    @classmethod
    def of(cls, courses: Sequence[Course]) -> Scores:
        return cls(tuple(one.score for one in courses), tuple(one.said for one in courses if one.said))

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean, 95%, by Student's t."""
        return interval(self.values)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.mean:.4g} [{low:.4g}, {high:.4g}]"


@dataclass(frozen=True)
class Tried:
    """A remedy that was tried on top of those kept before it.

    ``gain`` is over what was best before; of fewer seeds than asked for where it was certain by then not to help.
    """

    name: str
    code: str
    scores: Scores
    gain: Gain | None
    kept: bool


@dataclass(frozen=True)
class Change:
    """A remedy that was kept: ``finding`` is the code of what it answers, ``code`` what makes this change alone."""

    name: str
    finding: str
    code: str


@dataclass(frozen=True)
class Repair:
    """What ``repair`` found.

    Args:
        changes: what was kept; empty where nothing is better than plain retraining.
        tried: all that was tried, in that order.
        model: the repaired copy with the weights of the best seed, compiled; None without changes.
        code: to paste below your own ``model = ...``; makes the repaired model, not yet trained.
        helped: better than plain retraining and than the random search: both intervals lie above 0.
        plain, repaired, searched: scores on the seeds of the proof; None where there was none (plain: of the first).
        against_plain, against_search: the gain of the repaired model over each.
        draws: trainings of the random search by seed, the best of which counts.
        measure: what a score is.
        steps: of each training.
        unanswered: findings that no remedy answers.
        left_out: what could not be tried, and why.
        seconds: how long it took.
    """

    changes: tuple[Change, ...]
    tried: tuple[Tried, ...]
    model: keras.Model | None = field(repr=False)
    code: str
    helped: bool
    against_plain: Gain | None
    against_search: Gain | None
    measure: str
    steps: int
    plain: Scores | None = None
    repaired: Scores | None = None
    searched: Scores | None = None
    draws: int = 0
    unanswered: tuple[Finding, ...] = ()
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """In a sentence, what helped or that nothing did."""
        names = ", ".join(change.name for change in self.changes)
        if self.helped:
            return f"helped: {names}"
        if self.changes:
            return (f"better than plain retraining, though not provably than a random search of as many trainings: "
                    f"{names}")  # fmt: skip
        if not self.tried:
            return "no change helped: there is none that answers what was found"
        return "no change helped"

    def __str__(self) -> str:
        lines = [self.verdict, ""]
        if self.tried:
            lines += [f"{self.measure}, after {counted(self.steps, 'training step')}; lower is better", ""]
            lines += _table([("tried", "mean over seeds", "gain [95% interval]", "kept"), *map(_row, self.tried)])
        if self.repaired is not None:
            best = self.searched.said[int(np.argmin(self.searched.values))] if self.searched else ""
            proof = [
                ("proof on other seeds", "mean [95% interval]", "gain of the repaired model"),
                ("plain retraining", str(self.plain), str(self.against_plain)),
                (f"random search, best of {self.draws}", str(self.searched), str(self.against_search)),
                ("repaired", str(self.repaired), ""),
            ]
            lines += ["", *_table(proof), f"the best of the search: {best}"]
        elif self.plain is not None:
            lines += ["", f"plain retraining: {self.plain}"]
        lines += [f"no remedy answers: {one.code} ({one.layer}) -> {one.remedy}" for one in self.unanswered]
        lines += [f"left out: {one}" for one in self.left_out]
        if self.code:
            lines += ["", self.code]
        return "\n".join(lines)


def gain(before: Sequence[float], after: Sequence[float]) -> Gain:
    """Of pairs by seed; from minus to plus infinity for fewer than two.

    Example:
        >>> print(gain([1.0, 1.1, 0.9], [0.5, 0.5, 0.5]))
        +0.5 [+0.252, +0.748]
    """
    differences = np.subtract(before, after)
    return Gain(float(differences.mean()), *interval(differences)) if len(differences) else Gain(0.0, -np.inf, np.inf)


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The 95% interval of a mean by Student's t."""
    from scipy import stats

    if len(values) < 2 or not np.isfinite(values).all():
        return -np.inf, np.inf
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach


def _row(one: Tried) -> tuple[str, ...]:
    if not one.scores.values:
        return one.name, "not possible", "", ""
    count = "" if one.gain is None or np.isfinite(one.gain.low) else " (1 seed)"
    measured = "" if one.gain is None else str(one.gain) if not count else f"{one.gain.mean:+.3g}"
    return one.name, f"{one.scores.mean:.4g}{count}", measured, "kept" if one.kept else "no"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
