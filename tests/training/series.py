"""Small data whose answers are known, one for each task."""

from __future__ import annotations

import numpy as np

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import SequenceData
from throughtime.ragged import Ragged


def rising_or_falling(count: int = 60, seed: int = 0) -> SequenceData:
    """Random walks of 3 to 14 steps that drift up or down; the class is the direction."""
    rng = np.random.default_rng(seed)
    walks = [np.cumsum(rng.normal(1.0, 0.6, (rng.integers(3, 15), 2)), axis=0) for _ in range(count)]
    labels = ["up" if i % 2 else "down" for i in range(count)]
    return from_arrays([w if label == "up" else -w for w, label in zip(walks, labels, strict=True)], labels)


def sums(count: int = 60, seed: int = 0) -> SequenceData:
    """Sequences of 2 to 9 numbers; the target is their sum, in hundreds."""
    rng = np.random.default_rng(seed)
    rows = [rng.uniform(-1, 1, (rng.integers(2, 10), 1)) for _ in range(count)]
    return from_arrays(rows, np.array([100 * row.sum() for row in rows]), task="regress")


def signs(count: int = 40, seed: int = 0) -> SequenceData:
    """A label a step: whether the number before it was positive."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(rng.integers(2, 10), 1)) for _ in range(count)]
    labels = [np.concatenate([[False], row[:-1, 0] > 0]).astype(int) for row in rows]
    return from_arrays(rows, Ragged.from_list(labels), task="tag")


def waves(steps: int = 400, horizon: int = 4, seed: int = 0, window: int | None = 24) -> SequenceData:
    """A sine of period 12 about 50, with some noise."""
    rng = np.random.default_rng(seed)
    wave = 50 + 10 * np.sin(np.arange(steps) * 2 * np.pi / 12) + rng.normal(0, 0.5, steps)
    return from_arrays([wave[:, None]], horizon=horizon, window=window, names=["load"])


TASKS = {"classify": rising_or_falling, "regress": sums, "tag": signs, "forecast": waves}
