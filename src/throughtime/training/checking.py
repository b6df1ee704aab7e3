"""``check`` for a saved model and a table: the table is made into the arrays that the model takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..data.batching import Batches
from ..data.examples import Examples
from ..data.scaling import Scale
from ..data.sequences import SequenceData
from ..data.transforms import Preparation
from ..diagnosis.check import check
from ..diagnosis.findings import Diagnosis
from ..errors import ArgumentError, DataError
from ..layers.swapping import load_model
from .networks import feeds_of
from .run import Run


def check_saved(
    file: str | os.PathLike[str],
    data: SequenceData,
    *,
    scale: Scale = "none",
    batch_size: int | None = None,
    train: bool = True,
    seconds: float = 30.0,
) -> Diagnosis:
    """Checks a saved model on sequences: a fifth of them is validation data (forecasts: the last steps).

    Args:
        file: what ``model.save`` wrote, compiled; or a run directory, whose own scalers and classes are used.
        data: with a target.
        scale: how the numbers are scaled, fitted on the training part; a run has its own.
        batch_size: of the short training; 32 by default.
        train, seconds: as in ``check``.

    Raises:
        ArgumentError: a file that is no compiled model, or one that does not take these columns.
        DataError: data without a target.
    """
    if data.target is None:
        raise DataError(f"{data.source} has no target; name its column.")
    path = Path(file)
    run = Run.load(path) if path.is_dir() else None
    model = load_model(path, compiled=True)
    if not model.compiled:
        raise ArgumentError(f"{file} was saved without a loss; compile the model, save it, and check it again.")
    part, held = data.split(validation=0.2, test=0, history="shared" if data.forecast is not None else "own")
    preparation = run.preparation if run is not None else Preparation.fit(part, scale=scale)
    examples, others = preparation.apply(part), preparation.apply(held)
    feeds, pad_value, _ = (run.feeds, run.pad_value, None) if run is not None else feeds_of(model, examples)
    length = int(max(examples.lengths.max(initial=1), others.lengths.max(initial=1)))
    ours, theirs = (_arrays(one, feeds, pad_value, length) for one in (examples, others))
    if _is_one_hot(model) and preparation.classes:
        ours, theirs = (
            (x, keras.utils.to_categorical(y, len(preparation.classes)), weights) for x, y, weights in (ours, theirs)
        )
    fit = {"batch_size": batch_size or 32, "sample_weight": ours[2]}
    return check(model, ours[0], ours[1], validation_data=theirs, fit=fit, train=train, seconds=seconds)


def _is_one_hot(model: keras.Model) -> bool:
    """Whether the loss takes classes one-hot and not by number."""
    loss = model.loss
    name = loss if isinstance(loss, str) else type(loss).__name__
    return str(name).replace("_", "").lower() == "categoricalcrossentropy"


def _arrays(examples: Examples, feeds: Any, pad_value: float, length: int) -> tuple[Any, Any, Any]:
    """All examples in one batch of ``length`` steps: x, y and weights, None where all weigh the same."""
    batches = Batches(
        examples, batch_size=max(len(examples), 1), buckets=1, shuffle=False, feeds=feeds, pad_value=pad_value
    )
    x, y, weights = batches[0]
    count = len(batches.members(0))

    def made(array: np.ndarray, fill: float = 0) -> np.ndarray:
        array = array[:count]
        if examples.per == "horizon" or array.ndim < 2 or array.shape[1] >= length:
            return array
        return np.pad(array, [(0, 0), (0, length - array.shape[1]), *[(0, 0)] * (array.ndim - 2)], constant_values=fill)

    if isinstance(x, dict):
        x = {name: made(array, pad_value if name == "numbers" else 0) for name, array in x.items()}
    else:
        x = made(x, pad_value if feeds == "numbers" else 0)
    y = made(y) if examples.per == "step" else y[:count]
    weights = made(weights) if examples.per == "step" else weights[:count]
    return x, y, None if (weights == 1).all() else weights
