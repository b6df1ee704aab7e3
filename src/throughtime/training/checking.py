"""``check`` for sequences from a table: they are made into the arrays that the model takes."""

from __future__ import annotations

import os
from dataclasses import replace
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
from ..errors import ArgumentError, DataError, ThroughtimeError, first_line
from ..layers.swapping import load_model
from .networks import feeds_of
from .run import Run

SEQUENCES, STEPS = 64, 16_000  # of each part, before a training: some seconds at most


def check_saved(
    file: str | os.PathLike[str],
    data: SequenceData,
    *,
    scale: Scale = "none",
    batch_size: int | None = None,
    train: bool = True,
    seconds: float = 30.0,
    progress: bool = True,
) -> Diagnosis:
    """Checks a saved model on sequences: a fifth of them is validation data (forecasts: the last steps).

    Args:
        file: what ``model.save`` wrote, compiled; or a run directory, whose own scalers and classes are used. Which
            rows a run was trained on is not known, so there is no validation data then.
        data: with a target.
        scale: how the numbers are scaled, fitted on the training part; a run has its own.
        batch_size: of the short training; 32 by default.
        train, seconds, progress: as in ``check``.

    Raises:
        ArgumentError: a file that is no compiled model, or one that does not take these columns.
        DataError: data without a target.
    """
    path = Path(file)
    run = Run.load(path) if path.is_dir() else None
    if data.target is None:
        column = f"the run needs {', '.join(run.preparation.schema.target)}" if run is not None else "name its column"
        raise DataError(f"{data.source} has no target; {column}.")
    model = load_model(path, compiled=True)
    if not model.compiled:
        raise ArgumentError(f"{file} was saved without a loss; compile the model, save it, and check it again.")
    others = None
    if run is not None:
        preparation, feeds, pad_value = run.preparation, run.feeds, run.pad_value
        examples = preparation.apply(data)
    else:
        part, held = data.split(validation=0.2, test=0, history="shared" if data.forecast is not None else "own")
        preparation = Preparation.fit(part, scale=scale)
        examples, others = preparation.apply(part), preparation.apply(held)
        feeds, pad_value, _ = feeds_of(model, examples)
    diagnosis = check_examples(
        model, examples, others, preparation, feeds=feeds, pad_value=pad_value, batch_size=batch_size or 32,
        train=train, seconds=seconds, progress=progress,
    )  # fmt: skip
    unseen = [
        f"the {kind} columns, which the model has no input {name!r} for"
        for kind, name, array in (("numeric", "numbers", examples.numbers), ("category", "codes", examples.codes))
        if array.shape[1] and name not in ((feeds,) if isinstance(feeds, str) else feeds)
    ]
    return replace(diagnosis, left_out=(*diagnosis.left_out, *unseen))


def check_before_training(
    model: keras.Model,
    examples: Examples,
    others: Examples,
    preparation: Preparation,
    *,
    feeds: tuple[str, ...] | str,
    pad_value: float,
    progress: bool = False,
) -> Diagnosis:
    """The probes of ``check`` on some sequences, bounded in time; why there are none where they cannot be made."""
    longest = max(int(one.lengths.max(initial=1)) for one in (examples, others))
    most = int(np.clip(STEPS // longest, 4, SEQUENCES))
    ours, theirs = (
        one.take(np.unique(np.linspace(0, len(one) - 1, min(most, len(one))).astype(int))) for one in (examples, others)
    )
    try:
        return check_examples(
            model, ours, theirs, preparation, feeds=feeds, pad_value=pad_value, batch_size=len(ours), train=False,
            seconds=3.0, progress=progress,
        )  # fmt: skip
    # What Keras and the backends raise where a layer of the user's own cannot be looked into.
    except (ThroughtimeError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        return Diagnosis((), left_out=(first_line(error),))


def check_examples(
    model: keras.Model,
    examples: Examples,
    others: Examples | None,
    preparation: Preparation,
    *,
    feeds: tuple[str, ...] | str,
    pad_value: float,
    batch_size: int,
    train: bool,
    seconds: float,
    progress: bool = False,
) -> Diagnosis:
    """``check`` on ``examples``, with ``others`` as validation data, padded to one length.

    Raises:
        ArgumentError: a model that takes another number of steps, or whose answers are not of the targets' shape.
    """
    shape = _answers(model)
    longest = max(int(one.lengths.max(initial=1)) for one in (examples, others) if one is not None)
    length = _steps(model, longest, examples.per)
    classes = len(preparation.classes)
    _refuse_answers(shape, "sparse" in _loss(model), examples, preparation)
    one_hot = classes > 1 and shape is not None and shape[-1] == classes and _is_one_hot(model)

    def made(part: Examples) -> tuple[Any, Any, Any]:
        x, y, weights = _arrays(part, feeds, pad_value, length)
        if not isinstance(x, dict) and x.ndim == 3 and x.shape[2] == 1 and len(model.inputs[0].shape) == 2:
            x = x[:, :, 0]  # tokens
        if one_hot:
            y = keras.utils.to_categorical(y, classes)
        elif shape is not None and y.ndim == len(shape) + 1:
            y = y.reshape(len(y), *y.shape[1:-2], -1)  # the horizon of one target, answered by Dense(horizon)
            weights = None if weights is None else weights.reshape(len(y), -1).min(axis=1)
        return x, y, weights

    ours = made(examples)
    theirs = None if others is None else made(others)
    fit = {"batch_size": batch_size, "sample_weight": ours[2]}
    return check(
        model, ours[0], ours[1], validation_data=theirs, fit=fit, task=preparation.schema.task, train=train,
        seconds=seconds, progress=progress,
    )  # fmt: skip


def _loss(model: keras.Model) -> str:
    name = model.loss if isinstance(model.loss, str) else type(model.loss).__name__
    return str(name).replace("_", "").lower()


def _is_one_hot(model: keras.Model) -> bool:
    """Whether the loss takes classes one-hot, or for separate questions; of one of the user's own nothing is known."""
    name = _loss(model)
    return ("crossentropy" in name or name == "kldivergence") and "sparse" not in name


def _answers(model: keras.Model) -> tuple[int | None, ...] | None:
    """The shape of the output; None where it is not known before the model is called, or there are several."""
    outputs = list(getattr(model, "outputs", None) or ())
    return tuple(outputs[0].shape) if len(outputs) == 1 else None


def _steps(model: keras.Model, longest: int, per: str) -> int:
    """The steps to pad to: as many as the longest sequence has, or as the model takes."""
    for tensor in getattr(model, "inputs", None) or ():
        shape: tuple[int | None, ...] = tuple(tensor.shape)
        taken = shape[1] if len(shape) > 1 and not tensor.name.startswith("future_") else None
        if taken is None or taken == longest or (taken > longest and per != "horizon"):
            longest = longest if taken is None else taken
            continue
        mend = f"say --window {taken}" if per == "horizon" else "make it keras.Input((None, ...)), or cut them"
        what = "the window" if per == "horizon" else "the longest sequence"
        raise ArgumentError(f"the model's input takes {taken} steps, and {what} has {longest}; {mend}.")
    return longest


def _refuse_answers(
    shape: tuple[int | None, ...] | None, by_number: bool, examples: Examples, preparation: Preparation
) -> None:
    """Raises where the answers cannot be meant for the targets; what may be a mistake in the model is left to rules."""
    if by_number and not preparation.classes:
        raise ArgumentError(
            "the model's loss takes classes by number, and the target is read as a quantity; --task classify (or tag) "
            "makes classes of it."
        )
    if shape is None or len(shape) < 2:
        return
    classes, targets = len(preparation.classes), len(preparation.schema.target)
    if classes:
        if shape[-1] in (1, None) or shape[-1] >= classes:
            return
        wanted = f"{classes} classes"
    elif examples.per == "horizon":
        if shape[1:] in ((examples.horizon, targets), (examples.horizon * targets,)):
            return
        wanted = f"{examples.horizon} steps ahead of {targets} target{'s' if targets > 1 else ''}"
    else:
        if shape[-1] in (targets, None):
            return
        wanted = f"{targets} target{'s' if targets > 1 else ''}"
    answers = ", ".join("batch" if size is None else str(size) for size in shape)
    raise ArgumentError(f"the model's output has shape ({answers}), and the data has {wanted}; they do not fit.")


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
