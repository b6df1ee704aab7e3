"""Naive answers that a network has to beat, fitted on the training part and stored with the run.

classify, tag       the most frequent class
regress             the mean of the training targets
forecast            the last value; the value one season ago, where the series has a season (Hyndman & Athanasopoulos
                    2021, section 5.2); ridge regression on the same window that the network sees
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.examples import Examples
from ..data.scaling import fill_forward
from ..data.sequences import SequenceData
from ..data.transforms import Preparation

# The linear model is fitted on at most this many windows, evenly spaced; more change its score in the third digit.
LINEAR_WINDOWS = 10_000
# A window with more numbers than this gives the linear model the past targets only.
LINEAR_INPUTS = 4_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Baselines:
    """What was fitted. ``predict`` gives each baseline's answers in the form of the network's.

    Attributes:
        majority: index of the most frequent class; None for numbers.
        mean: ``(K,)`` mean of the training targets in their units; None for classes.
        season: in steps, 1 if there is none.
        coefficients: ``(inputs + 1, horizon * K)`` of the linear model, the last row its intercept; None if there is no
            forecast.
    """

    majority: int | None
    mean: np.ndarray | None
    season: int = 1
    coefficients: np.ndarray | None = None

    @classmethod
    def fit(cls, preparation: Preparation, train: SequenceData, examples: Examples) -> Baselines:
        """From the training part and the examples that ``preparation`` made of it."""
        target = train.target
        assert target is not None
        if preparation.classes:
            assert examples.targets is not None
            known = slice(None) if examples.weights is None else examples.weights > 0
            counts = np.bincount(examples.targets[known], minlength=len(preparation.classes))
            return cls(majority=int(counts.argmax()), mean=None)
        mean = np.nanmean(target.values, axis=0)
        if preparation.forecast is None:
            return cls(majority=None, mean=mean)
        from sklearn.linear_model import Ridge

        fitted = examples.take(evenly(len(examples), LINEAR_WINDOWS))
        outputs = len(preparation.schema.target)
        inputs, last = _linear_inputs(fitted, outputs)
        ahead = (fitted.starts + fitted.lengths)[:, None] + np.arange(fitted.horizon)
        # Of a missing target the last observed one before it is taken: the inputs hold just that.
        change = examples.numbers[ahead, :outputs] - last
        model = Ridge(alpha=1.0).fit(inputs, change.reshape(len(change), -1))
        coefficients = np.concatenate([np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)[None]])
        return cls(majority=None, mean=mean, season=preparation.season, coefficients=coefficients.astype(np.float32))

    def predict(self, preparation: Preparation, data: SequenceData, examples: Examples) -> dict[str, np.ndarray]:
        """``{name: answers}`` for the examples of a part: class indices, or numbers in the units of the target."""
        rows = len(examples) if examples.per != "step" else data.steps
        if self.majority is not None:
            label = preparation.classes[self.majority]
            return {f"most frequent class ({label})": np.full(rows, self.majority)}
        assert self.mean is not None and preparation.outputs is not None
        if preparation.forecast is None:
            return {"training mean": np.broadcast_to(self.mean, (rows, len(self.mean)))}
        assert data.target is not None and self.coefficients is not None
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
        inputs, last = _linear_inputs(examples, len(self.mean))
        change = inputs @ self.coefficients[:-1] + self.coefficients[-1]
        answers["linear on the window"] = preparation.outputs.invert(change.reshape(shape) + last)
        return answers

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``numpy.savez`` can store; ``from_arrays`` reads it."""
        stored: dict[str, Any] = {"majority": self.majority, "mean": self.mean, "coefficients": self.coefficients}
        return {"season": np.array(self.season)} | {k: np.asarray(v) for k, v in stored.items() if v is not None}

    @classmethod
    def from_arrays(cls, stored: dict[str, np.ndarray]) -> Baselines:
        return cls(
            majority=int(stored["majority"]) if "majority" in stored else None,
            mean=stored.get("mean"),
            season=int(stored["season"]),
            coefficients=stored.get("coefficients"),
        )


def evenly(count: int, most: int) -> np.ndarray:
    """At most ``most`` indices of ``count``, evenly spaced, the first and the last among them."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def _linear_inputs(examples: Examples, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """``(E, inputs)`` float32, past targets as differences from the last one; and that last one, ``(E, 1, K)``."""
    window = int(examples.lengths[0])
    width = examples.numbers.shape[1]
    columns = width if window * width <= LINEAR_INPUTS else targets
    steps = examples.starts[:, None] + np.arange(window)
    inputs = examples.numbers[steps, :columns]
    last = inputs[:, -1:, :targets].copy()
    inputs[:, :, :targets] -= last
    parts = [inputs.reshape(len(inputs), -1)]
    if examples.known_numbers:
        ahead = (examples.starts + examples.lengths)[:, None] + np.arange(examples.horizon)
        known = examples.numbers[:, list(examples.known_numbers)]
        parts.append(known[ahead].reshape(len(inputs), -1))
    return np.concatenate(parts, axis=1), last
