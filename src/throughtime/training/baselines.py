"""Naive answers that a network has to beat, fitted on the training part and stored with the run.

classify            the most frequent class; a random forest on simple features of the sequence (length, and of each
                    column mean, deviation, ends and slope); the class of the nearest training sequence, all read at the
                    same number of places
regress             the mean of the training targets; of one target a sequence also the forest and the nearest sequence
tag                 the most frequent class
forecast            the last value; the value one season ago, where the series has a season (Hyndman & Athanasopoulos
                    2021, section 5.2); ridge regression on the same window that the network sees: its numbers, its
                    categories as ones and zeros, and the columns that are known ahead
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from ..data.examples import Examples
from ..data.scaling import fill_forward
from ..data.sequences import SequenceData
from ..data.transforms import Preparation
from .features import courses, frequent_labels, summaries
from .forest import Forest, some_rows

FOREST, NEAREST, LINEAR = "forest on simple features", "nearest sequence (1-NN)", "linear on the window"
# The linear model is fitted on at most this many windows, evenly spaced; more change its score in the third digit.
LINEAR_WINDOWS = 10_000
# Of wide windows fewer, so that all their numbers fit into memory.
FEWEST_WINDOWS, LINEAR_NUMBERS = 2_000, 20_000_000
# A window with more numbers than this gives the linear model the past targets only, and only as many categories as fit.
LINEAR_INPUTS = 4_000
# Windows that are answered at once.
WINDOWS_AT_A_TIME = 2_000
# More classes than this make a forest slow and large.
FOREST_CLASSES = 100
# Training sequences that the nearest one is looked for among, and numbers of all their courses together.
NEAREST_ROWS, NEAREST_NUMBERS = 2_000, 4_000_000
# Distances that are computed at once.
DISTANCES_AT_A_TIME = 4_000_000


class LinearInputs(NamedTuple):
    """Which part of a window the linear model takes.

    Attributes:
        columns: of the numbers, the targets first.
        code_steps: of the categories, the last ones of the window.
        codes_ahead: 1 if the categories that are known in advance are taken for the horizon.
    """

    columns: int
    code_steps: int = 0
    codes_ahead: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Baselines:
    """What was fitted. ``predict`` gives each baseline's answers in the form of the network's.

    Attributes:
        majority: index of the most frequent class; None for numbers.
        mean, spread: ``(K,)`` mean and standard deviation (1 where it is 0) of the training targets in their units;
            None for classes. Runs of the first versions have no spread.
        season: in steps, 1 if there is none.
        coefficients: ``(inputs + 1, horizon * K)`` of the linear model, the last row its intercept; None if there is no
            forecast.
        linear: what its inputs are; None in runs of the first versions, which had no categories.
        forest, labels: the forest, and the categories that its features count; None where there is none.
        courses, answers: ``(M, ...)`` training sequences to find the nearest among, and their class or scaled numbers.
    """

    majority: int | None
    mean: np.ndarray | None
    spread: np.ndarray | None = None
    season: int = 1
    coefficients: np.ndarray | None = None
    linear: LinearInputs | None = None
    forest: Forest | None = None
    labels: np.ndarray | None = None
    courses: np.ndarray | None = None
    answers: np.ndarray | None = None

    @classmethod
    def fit(cls, preparation: Preparation, train: SequenceData, examples: Examples) -> Baselines:
        """From the training part and the examples that ``preparation`` made of it."""
        target = train.target
        assert target is not None
        if preparation.classes:
            assert examples.targets is not None
            known = slice(None) if examples.weights is None else examples.weights > 0
            counts = np.bincount(examples.targets[known], minlength=len(preparation.classes))
            return cls(majority=int(counts.argmax()), mean=None, **_fit_sequences(preparation, examples))
        spread = np.nanstd(target.values, axis=0)
        found: dict[str, Any] = {
            "majority": None, "mean": np.nanmean(target.values, axis=0), "spread": np.where(spread > 0, spread, 1.0)
        }  # fmt: skip
        if preparation.forecast is None:
            return cls(**found, **_fit_sequences(preparation, examples))
        from sklearn.linear_model import Ridge

        outputs = len(preparation.schema.target)
        linear = _choose_inputs(preparation, examples)
        width = _linear_inputs(examples.take(np.arange(1)), preparation, linear)[0].shape[1]
        most = min(LINEAR_WINDOWS, max(FEWEST_WINDOWS, LINEAR_NUMBERS // width))
        fitted = examples.take(evenly(len(examples), most))
        inputs, last = _linear_inputs(fitted, preparation, linear)
        ahead = (fitted.starts + fitted.lengths)[:, None] + np.arange(fitted.horizon)
        # Of a missing target the last observed one before it is taken: the inputs hold just that.
        change = examples.numbers[ahead, :outputs] - last
        # In float64: columns that are left unscaled make the matrix too badly conditioned for float32.
        model = Ridge(alpha=1.0).fit(inputs.astype(np.float64), change.reshape(len(change), -1).astype(np.float64))
        coefficients = np.concatenate([np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)[None]])
        return cls(**found, season=preparation.season, coefficients=coefficients.astype(np.float32), linear=linear)

    def predict(self, preparation: Preparation, data: SequenceData, examples: Examples) -> dict[str, np.ndarray]:
        """``{name: answers}`` for the examples of a part: ``(..., classes)`` shares of the classes, which for a rule
        are 0 and 1, or numbers in the units of the target.
        """
        rows = len(examples) if examples.per != "step" else data.steps
        if self.majority is not None:
            label, classes = preparation.classes[self.majority], len(preparation.classes)
            answers = {
                f"most frequent class ({label})": np.broadcast_to(np.eye(classes)[self.majority], (rows, classes))
            }
            if self.forest is not None and self.labels is not None:
                answers[FOREST] = self.forest.predict(summaries(examples, self.labels))
            if self.courses is not None and self.answers is not None:
                answers[NEAREST] = np.eye(classes)[self.answers[nearest(self.courses, courses(examples))]]
            return answers
        assert self.mean is not None and preparation.outputs is not None
        if preparation.forecast is None:
            answers = {"training mean": np.broadcast_to(self.mean, (rows, len(self.mean)))}
            if self.forest is not None and self.labels is not None:
                answers[FOREST] = preparation.outputs.invert(self.forest.predict(summaries(examples, self.labels)))
            if self.courses is not None and self.answers is not None:
                found = self.answers[nearest(self.courses, courses(examples))]
                answers[NEAREST] = preparation.outputs.invert(found)
            return answers
        assert data.target is not None
        values = fill_forward(data.target.values - self.mean, data.offsets) + self.mean
        origin = examples.starts + examples.lengths - 1
        ahead = np.arange(1, examples.horizon + 1)
        shape = (len(examples), examples.horizon, len(self.mean))
        answers = {"last value": np.broadcast_to(values[origin][:, None], shape)}
        first = data.offsets[np.searchsorted(data.offsets, origin, side="right") - 1]
        if self.season > 1:
            back = origin[:, None] + ahead - self.season * -(-ahead // self.season)
            # Where the series does not reach back a season, the last value is the better guess.
            back = np.where(back >= first[:, None], back, origin[:, None])
            answers[f"seasonal naive ({self.season})"] = values[back]
        answers[LINEAR] = preparation.outputs.invert(self._linear(preparation, examples, shape))
        return answers

    def _linear(self, preparation: Preparation, examples: Examples, shape: tuple[int, ...]) -> np.ndarray:
        assert self.coefficients is not None
        chosen, made = self.linear or _inputs_of_old(preparation, examples), np.empty(shape, np.float32)
        for begin in range(0, len(examples), WINDOWS_AT_A_TIME):
            rows = np.arange(begin, min(begin + WINDOWS_AT_A_TIME, len(examples)))
            inputs, last = _linear_inputs(examples.take(rows), preparation, chosen)
            change = inputs @ self.coefficients[:-1] + self.coefficients[-1]
            made[rows] = change.reshape(len(rows), *shape[1:]) + last
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``numpy.savez`` can store; ``from_arrays`` reads it."""
        stored = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "forest"}
        if self.forest is not None:
            stored |= {f"forest_{one.name}": getattr(self.forest, one.name) for one in fields(self.forest)}
        return {name: np.asarray(value) for name, value in stored.items() if value is not None}

    @classmethod
    def from_arrays(cls, stored: dict[str, np.ndarray]) -> Baselines:
        """Also from a file of the first versions, which has no more than a majority, or a mean and coefficients."""
        forest = None
        if "forest_roots" in stored:
            forest = Forest(**{one.name: stored[f"forest_{one.name}"] for one in fields(Forest)})
        return cls(
            majority=int(stored["majority"]) if "majority" in stored else None,
            mean=stored.get("mean"),
            spread=stored.get("spread"),
            season=int(stored["season"]),
            coefficients=stored.get("coefficients"),
            linear=LinearInputs(*stored["linear"].tolist()) if "linear" in stored else None,
            forest=forest,
            **{name: stored.get(name) for name in ("labels", "courses", "answers")},
        )


def evenly(count: int, most: int) -> np.ndarray:
    """At most ``most`` indices of ``count``, evenly spaced, the first and the last among them."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """``(E,)`` which of ``(M, D)`` known rows is nearest to each of ``(E, D)``: the first of several equally near."""
    known = known.astype(np.float64)
    middle = known.mean(0)  # distances from the middle are small numbers, and lose fewer digits
    known -= middle
    sizes, found = (known**2).sum(1), np.empty(len(asked), np.int64)
    portion = max(1, DISTANCES_AT_A_TIME // max(known.shape))
    for begin in range(0, len(asked), portion):
        rows = slice(begin, begin + portion)
        found[rows] = (sizes - 2 * (asked[rows] - middle) @ known.T).argmin(1)
    return found


def _fit_sequences(preparation: Preparation, examples: Examples) -> dict[str, Any]:
    """Forest and nearest sequence, where there is one target a sequence and more than one sequence to learn from."""
    if examples.per != "example" or examples.targets is None:
        return {}
    if examples.weights is not None:
        examples = examples.take(np.flatnonzero(examples.weights > 0))
    targets, classes, found = examples.targets, len(preparation.classes), dict[str, Any]()
    assert targets is not None
    if len(examples) < 2:
        return {}
    if classes <= FOREST_CLASSES:
        labels = frequent_labels(examples)
        found |= {"labels": labels, "forest": Forest.grow(summaries(examples, labels), targets, classes)}
    if examples.numbers.shape[1]:
        width = courses(examples.take(np.arange(1))).shape[1]
        rows = some_rows(len(examples), min(NEAREST_ROWS, max(1, NEAREST_NUMBERS // width)))
        found |= {"courses": courses(examples.take(rows)), "answers": targets[rows]}
    return found


def _choose_inputs(preparation: Preparation, examples: Examples) -> LinearInputs:
    """All numbers and categories of the window if there are no more than ``LINEAR_INPUTS``; else what fits."""
    window = int(examples.lengths[0])
    columns = _inputs_of_old(preparation, examples).columns
    left = LINEAR_INPUTS - window * columns
    sizes = [len(labels) + 1 for labels in preparation.vocabulary]
    ahead = examples.horizon * sum(sizes[column] for column in examples.known_codes)
    codes_ahead = int(0 < ahead <= left)
    left -= ahead * codes_ahead
    code_steps = next((steps for steps in (window, 1) if 0 < steps * sum(sizes) <= left), 0)
    return LinearInputs(columns, code_steps, codes_ahead)


def _inputs_of_old(preparation: Preparation, examples: Examples) -> LinearInputs:
    width = examples.numbers.shape[1]
    fits = int(examples.lengths[0]) * width <= LINEAR_INPUTS
    return LinearInputs(width if fits else len(preparation.schema.target))


def _linear_inputs(examples: Examples, preparation: Preparation, chosen: LinearInputs) -> tuple[np.ndarray, np.ndarray]:
    """``(E, inputs)`` float32, past targets as differences from the last one; and that last one, ``(E, 1, K)``."""
    window, targets = int(examples.lengths[0]), len(preparation.schema.target)
    steps = examples.starts[:, None] + np.arange(window)
    ahead = (examples.starts + examples.lengths)[:, None] + np.arange(examples.horizon)
    inputs = examples.numbers[steps, : chosen.columns]
    last = inputs[:, -1:, :targets].copy()
    inputs[:, :, :targets] -= last
    parts = [inputs.reshape(len(inputs), -1)]
    if examples.known_numbers:
        known = examples.numbers[:, list(examples.known_numbers)]
        parts.append(known[ahead].reshape(len(inputs), -1))
    for taken, columns in (
        (steps[:, window - chosen.code_steps :], range(len(preparation.vocabulary))),
        (ahead[:, : examples.horizon * chosen.codes_ahead], examples.known_codes),
    ):
        for column in columns if taken.shape[1] else ():
            ones = np.eye(len(preparation.vocabulary[column]) + 1, dtype=np.float32)
            parts.append(ones[examples.codes[taken, column]].reshape(len(inputs), -1))
    return np.concatenate(parts, axis=1), last
