"""Small random sequences for every task, with lengths that include 0, 1 and very different ones, and what belongs to
them: the preparation, the examples, a network with random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from throughtime.data.arrays import from_arrays
from throughtime.data.examples import Examples
from throughtime.data.sequences import Forecast, SequenceData
from throughtime.data.transforms import Preparation
from throughtime.ragged import Ragged
from throughtime.training.networks import build_network

LENGTHS = (5, 1, 9, 0, 5, 12, 1, 0)
# "steps": regression with one target a step. The rest are the names of the tasks.
TASKS = ("classify", "regress", "tag", "steps", "forecast")


def sequences(task: str, lengths: tuple[int, ...] = LENGTHS, *, targets: int = 2, seed: int = 0) -> SequenceData:
    """Random inputs of 3 features and random targets: 3 classes, or ``targets`` numbers of very different sizes."""
    rng = np.random.default_rng(seed)
    inputs = Ragged.from_lengths(rng.normal(2.0, 3.0, (sum(lengths), 3)), lengths)
    size = np.array([50.0, 0.2, 7.0][:targets])
    if task == "classify":
        return from_arrays(inputs, [("low", "mid", "top")[i % 3] for i in range(len(lengths))])
    if task == "tag":
        labels = rng.permutation(np.arange(sum(lengths)) % 3)
        return from_arrays(inputs, Ragged.from_lengths(labels, lengths), task="tag")
    if task == "regress":
        return from_arrays(inputs, rng.normal(3.0, 1.0, (len(lengths), targets)) * size, task="regress")
    return from_arrays(inputs, Ragged.from_lengths(rng.normal(3, 1, (sum(lengths), targets)) * size, lengths),
                       task="regress")  # fmt: skip


def series(
    lengths: tuple[int, ...] = (30, 17),
    *,
    targets: int = 2,
    horizon: int = 3,
    window: int = 6,
    known: tuple[str, ...] = (),
    seed: int = 0,
) -> SequenceData:
    """Random series with the covariates "price", "rain" (numbers) and "shop", "day" (categories)."""
    rng = np.random.default_rng(seed)
    steps, size = sum(lengths), np.array([50.0, 0.2, 7.0][:targets])
    data = from_arrays(
        Ragged.from_lengths(rng.normal(0, 1, (steps, 2)), lengths),
        Ragged.from_lengths((np.cumsum(rng.normal(0, 1, (steps, targets)), 0) + 5) * size, lengths),
        horizon=horizon, window=window, names=["price", "rain"],
    )  # fmt: skip
    return with_categories(replace(data, forecast=Forecast(horizon=horizon, window=window, known=known)), seed)


def with_categories(data: SequenceData, seed: int = 0) -> SequenceData:
    """The same with two columns of categories."""
    rng = np.random.default_rng([seed, 1])
    codes = np.stack([rng.integers(0, 3, data.steps), rng.integers(0, 5, data.steps)], 1).astype(np.int32)
    return replace(
        data,
        categories=codes,
        levels=(("east", "north", "west"), ("a", "b", "c", "d", "e")),
        schema=replace(data.schema, categories=("shop", "day")),
    )


def made(task: str, *, seed: int = 0) -> SequenceData:
    return series(seed=seed) if task == "forecast" else with_categories(sequences(task, seed=seed), seed)


def prepared(data: SequenceData) -> tuple[Preparation, Examples]:
    preparation = Preparation.fit(data)
    return preparation, preparation.apply(data)


def network(preparation: Preparation, examples: Examples, *, seed: int = 0, **settings: Any) -> keras.Model:
    """A network with every weight random, so that no zero hides anything; returned uncompiled."""
    model = build_network(preparation, examples, **{"units": 4, "dropout": 0.5, **settings})
    rng = np.random.default_rng([seed, 2])
    model.set_weights([rng.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    return model


def feeds(model: keras.Model) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in model.inputs)
