"""Arrays -> SequenceData: padded with a mask or lengths, ragged, or a list of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..errors import ArgumentError, DataError, choose, listed
from ..ragged import Ragged
from .sequences import TASKS, Forecast, Schema, SequenceData, Target, Task


def from_arrays(
    inputs: Ragged | Sequence[np.ndarray] | np.ndarray,
    target: Any = None,
    *,
    mask: np.ndarray | None = None,
    lengths: Sequence[int] | np.ndarray | None = None,
    task: Task | None = None,
    names: Sequence[str] | None = None,
    target_name: str | Sequence[str] | None = None,
    horizon: int | None = None,
    window: int | None = None,
    source: str = "arrays",
) -> SequenceData:
    """Sequences from arrays.

    Args:
        inputs: a Ragged or a list of ``(length, F)`` arrays, or a padded ``(B, T, F)`` array with ``mask``
            ``(B, T)`` or ``lengths`` ``(B,)`` (neither: every sequence is T steps long). F may be left out for one
            feature. For a forecast without a target, the inputs are the series to forecast.
        target: one label or number a sequence, ``(B,)`` or ``(B, K)``; or one a step, as inputs are given. A label
            that is None or NaN is missing.
        task: "classify", "regress", "tag" or "forecast"; by default seen from the target.
        names: F feature names, by default "x0", "x1", ...
        target_name: the name of the target, or K names; by default "y", or "y0", "y1", ...; for a forecast without a
            target the feature names.
        horizon, window: for forecasts, in steps.
        source: where the arrays come from, for messages and reports.

    Raises:
        DataError: shapes that do not fit each other. ArgumentError: arguments that do not.

    Example:
        >>> import numpy as np
        >>> data = from_arrays([np.ones((3, 2)), np.zeros((5, 2))], ["up", "down"], target_name="trend")
        >>> len(data), data.schema.task, data.schema.target, data.lengths.tolist()
        (2, 'classify', ('trend',), [3, 5])
    """
    if task is not None:
        task = choose("task", task, TASKS)  # type: ignore[assignment]
    if (horizon is not None or window is not None) and task not in (None, "forecast"):
        raise ArgumentError(f"horizon= and window= belong to task='forecast'; given task={task!r}.")
    if window is not None and horizon is None:
        raise ArgumentError(f"window={window} belongs to a forecast; give horizon= as well.")
    if (mask is not None or lengths is not None) and (not isinstance(inputs, np.ndarray) or inputs.dtype == object):
        kind = type(inputs).__name__
        raise ArgumentError(f"mask= and lengths= go with one padded array of numbers; the inputs are a {kind}.")
    ragged = _ragged(inputs, mask, lengths)
    values = ragged.values if ragged.values.ndim > 1 else ragged.values[:, None]
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise DataError(f"inputs are numbers, (steps, features) a sequence; given {ragged!r}.")
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    names = _named(names, [f"x{i}" for i in range(values.shape[1])], "feature")
    if horizon is not None and task is None:
        task = "forecast"
    forecast = None
    if task == "forecast":
        if horizon is None or horizon < 1:
            raise ArgumentError(f"a forecast needs horizon=, a number of steps of at least 1; given {horizon!r}.")
        forecast = Forecast(horizon=horizon, window=window)
    made: Target | None = None
    if task == "forecast" and target is None:
        targets = _named(target_name, names, "target")
        made = Target(names=targets, kind="number", per="step", values=values.astype(np.float64))
        values, names = values[:, :0], ()
    elif target is not None:
        made = _target(target, ragged, mask, lengths, task, target_name)
        twice = sorted({*made.names} & {*names}) if target_name is not None else []
        if twice:
            raise DataError(f"the target needs a name of its own; {listed(twice)} is a feature as well.")
    elif target_name is not None:
        raise ArgumentError(f"target_name={target_name!r} names a target, and none was given.")
    if task is None:
        if made is None:
            raise ArgumentError(f"without a target, say task=, one of {listed(TASKS)}.")
        task = "tag" if made.per == "step" and made.kind == "category" else None
        task = task or ("classify" if made.kind == "category" else "regress")
    return SequenceData(
        offsets=ragged.offsets,
        numbers=values,
        categories=np.zeros((len(values), 0), np.int32),
        levels=(),
        target=made,
        ids=np.arange(len(ragged)),
        time=None,
        schema=Schema(task=task, target=made.names if made else (), numbers=names),
        forecast=forecast,
        source=source,
    )


def _named(given: str | Sequence[str] | None, default: Sequence[str], kind: str) -> tuple[str, ...]:
    """As many names as ``default`` has, each of its own."""
    if given is None:
        return tuple(default)
    names = (given,) if isinstance(given, str) else tuple(given)
    if len(names) != len(default):
        raise DataError(
            f"{len(names)} name{'s were' if len(names) != 1 else ' was'} given for {len(default)} "
            f"{kind}{'s' if len(default) != 1 else ''}."
        )
    if len(set(names)) != len(names):
        raise DataError(f"every {kind} needs a name of its own; given {listed(names)}.")
    return names


def _ragged(inputs: Any, mask: np.ndarray | None, lengths: Any) -> Ragged:
    if isinstance(inputs, Ragged):
        return inputs
    if isinstance(inputs, np.ndarray) and inputs.dtype != object:
        if inputs.ndim < 2:
            raise DataError(f"inputs are (sequences, steps, features); given shape {inputs.shape}.")
        if mask is None and lengths is None:
            lengths = np.full(len(inputs), inputs.shape[1])
        return Ragged.from_padded(inputs, mask=mask, lengths=lengths)
    return Ragged.from_list(inputs)


def _target(
    target: Any,
    inputs: Ragged,
    mask: np.ndarray | None,
    lengths: Any,
    task: Task | None,
    name: str | Sequence[str] | None,
) -> Target:
    array: np.ndarray | None = None
    if not isinstance(target, Ragged):
        if not isinstance(target, list | tuple):
            target = np.asarray(target)  # a pandas Series, whose [0] is a label and not a place
            if target.ndim == 0:
                raise DataError(f"a target is one value a sequence or a step; given {target!r}.")
        first = target[0] if len(target) else 0
        arrays = (np.ndarray, list, tuple)
        if not isinstance(first, arrays) or all(isinstance(x, arrays) and len(x) == len(first) for x in target):
            array = np.asarray(target)
    per_step = array is None or array.ndim > 2 or (array.ndim > 1 and task in ("tag", "forecast"))
    if not per_step and array is not None:
        _refuse_ambiguous(array, inputs, mask, lengths, task)
    if per_step:
        ragged = _ragged(target, mask, lengths)
        if not np.array_equal(ragged.lengths, inputs.lengths):
            raise DataError("a target a step needs as many steps in each sequence as the inputs have.")
        array = ragged.values
    assert array is not None
    if not per_step and len(array) != len(inputs):
        raise DataError(f"{len(array)} targets were given for {len(inputs)} sequences.")
    if task == "classify" and per_step:
        raise DataError("task='classify' has one label a sequence; a label a step is task='tag'.")
    if task in ("tag", "forecast") and not per_step:
        raise DataError(f"task={task!r} has one target a step, given as the inputs are; one a sequence was given.")
    per: Literal["sequence", "step"] = "step" if per_step else "sequence"
    if task in ("regress", "forecast") or (task is None and array.dtype.kind == "f"):
        if array.dtype.kind not in "fiub" or array.ndim > 2:
            raise DataError(f"{task or 'regress'} predicts numbers, K a {per}; given {array.dtype} {array.shape}.")
        values = array.astype(np.float64)
        values = values if values.ndim == 2 else values[:, None]
        names = _named(name, ["y"] if values.shape[1] == 1 else [f"y{k}" for k in range(values.shape[1])], "target")
        return Target(names=names, kind="number", per=per, values=values)
    if array.ndim != 1:
        raise DataError(
            f"class labels are one value each, not one-hot rows, and a label a step is task='tag'; given {array.shape}."
        )
    missing = np.zeros(len(array), bool)
    if array.dtype.kind in "fO":  # None, and NaN, which alone differs from itself
        missing[:] = [label is None or label != label for label in array.tolist()]
    try:
        levels, present = np.unique(array[~missing], return_inverse=True)
    except TypeError as error:
        raise DataError(f"the labels are of several types, which have no order: {error}.") from error
    codes = np.full(len(array), -1, np.int32)
    codes[~missing] = present
    names = _named(name, ["y"], "target")
    return Target(names=names, kind="category", per=per, values=codes, levels=tuple(levels.tolist()))


def _refuse_ambiguous(
    array: np.ndarray, inputs: Ragged, mask: np.ndarray | None, lengths: Any, task: Task | None
) -> None:
    """Numbers ``(B, K)`` where K is the number of steps as well: one row a sequence, or one number a step?"""
    if array.ndim != 2 or array.dtype.kind != "f" or task is not None or array.shape[1] < 2:
        return
    steps = inputs.lengths
    longest = np.shape(mask)[1] if mask is not None else steps.max(initial=0)
    padded = mask is not None or lengths is not None
    if array.shape[1] == longest and (padded or (steps == longest).all()):
        raise ArgumentError(
            f"the target has {longest} numbers a sequence, and the sequences {longest} steps: pass a Ragged for one "
            f"number a step, or task='regress' for {longest} numbers a sequence."
        )
