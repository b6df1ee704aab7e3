"""Operations of a functional model that are no layers: ``a + b``, ``x[:, :, 3]``, and those that masks are made of.

``OPERATIONS`` has a function for each, by the name of its class in Keras, which is not public and is kept in saved
models. Keras drops the mask at an operation, and so do these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError
from .layers import refuse_mixed
from .plan import Plan, Signal, axes_of
from .walking import full_key, said

_BINARY: dict[str, Any] = {
    "Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply, "TrueDivide": np.true_divide,
    "Maximum": np.maximum, "Minimum": np.minimum,
    # Keras enters into a functional model how the mask of a layer was computed.
    "NotEqual": np.not_equal, "Equal": np.equal, "LogicalOr": np.logical_or, "LogicalAnd": np.logical_and,
}  # fmt: skip
_REDUCTIONS: dict[str, Any] = {
    "Any": np.logical_or, "Sum": np.add, "Mean": np.add, "Max": np.maximum, "Min": np.minimum,
}  # fmt: skip
_UNARY: dict[str, Any] = {"LogicalNot": np.logical_not, "ZerosLike": np.zeros_like, "OnesLike": np.ones_like}


def binary(plan: Plan, operation: Any, a: Any, b: Any) -> Signal:
    """Of two tensors, or a tensor and a number."""
    signals = [one for one in (a, b) if isinstance(one, Signal)]
    refuse_mixed(operation, signals)
    arrays = [one.array if isinstance(one, Signal) else np.asarray(one) for one in (a, b)]
    if (
        len(signals) == 1
        and max(array.size for array, one in zip(arrays, (a, b), strict=True) if one is not signals[0]) > 1
    ):
        raise ArgumentError(f"{said(operation)} has an array for an operand; a tensor or a number is accepted.")
    if len({signal.array.ndim for signal in signals}) > 1:
        raise ArgumentError(f"{said(operation)} has operands of different ranks; give them the same axes.")
    ufunc = _BINARY[type(operation).__name__]
    first, second = (array if isinstance(one, Signal) else array.reshape(()).astype(signals[0].array.dtype)
                     for array, one in zip(arrays, (a, b), strict=True))  # fmt: skip
    out = ufunc(first, second)
    plan.steps.append(lambda: ufunc(first, second, out=out))
    return Signal(out, plan.mask(), signals[0].timed)


def unary(plan: Plan, operation: Any, x: Signal, **given: Any) -> Signal:
    function = _UNARY[type(operation).__name__]
    if function is np.logical_not:
        out = np.logical_not(x.array)
        plan.steps.append(lambda: np.logical_not(x.array, out=out))
        return Signal(out, plan.mask(), x.timed)
    dtype = given.get("dtype") or getattr(operation, "dtype", None)
    return Signal(function(x.array, dtype=dtype), plan.mask(), x.timed)


def cast(plan: Plan, operation: Any, x: Signal, **_: Any) -> Signal:
    kind = keras.backend.standardize_dtype(operation.dtype)
    dtype = plan.dtype if "float" in kind else np.bool_ if kind == "bool" else np.int64
    out = x.array.astype(dtype)
    plan.steps.append(lambda: np.copyto(out, x.array, casting="unsafe"))
    return Signal(out, plan.mask(), x.timed)


def reduction(plan: Plan, operation: Any, x: Signal) -> Signal:
    """``sum`` and the like along axes; along time they are of the steps so far, which one state holds."""
    kind, keep, rank = type(operation).__name__, bool(operation.keepdims), x.array.ndim + x.timed
    given = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
    if None in given:
        raise ArgumentError(f"{said(operation)} works along all axes, the batch too; give it axis=-1.")
    over_time = x.timed and kind != "Any" and any(axis % rank == 1 for axis in given)
    axes = axes_of(operation, x, [axis for axis in given if not (over_time and axis % rank == 1)])
    ufunc = _REDUCTIONS[kind]

    def of_the_step() -> np.ndarray:
        part = ufunc.reduce(x.array, axis=axes, keepdims=keep) if axes else x.array
        if kind == "Mean":
            part = part / np.prod([x.array.shape[axis] for axis in axes] or [1])
        return part[:, None] if over_time and keep else part

    if not over_time:
        out = np.array(of_the_step())
        plan.steps.append(lambda: np.copyto(out, of_the_step(), casting="unsafe"))
        return Signal(out, plan.mask(), x.timed)
    shape = of_the_step().shape[1:]
    so_far, steps, out = plan.state(plan.buffer(*shape)), plan.state(plan.buffer(1)), plan.buffer(*shape)

    def step() -> None:
        part, first = of_the_step(), steps[:, 0] == 0
        ufunc(so_far, part, out=so_far)
        so_far[first] = part[first]
        np.add(steps, 1, out=steps)
        np.copyto(out, so_far)
        if kind == "Mean":
            np.divide(out, steps.reshape(-1, *[1] * len(shape)), out=out)

    plan.steps.append(step)
    return Signal(out, plan.mask(), False)


def squeeze(plan: Plan, operation: Any, x: Signal) -> Signal:
    axes = axes_of(operation, x, operation.axis)
    return Signal(np.squeeze(x.array, axes), plan.mask(), x.timed)


def expand(plan: Plan, operation: Any, x: Signal) -> Signal:
    if operation.axis != -1:
        raise ArgumentError(f"{said(operation)} adds the axis {operation.axis}; -1 is accepted.")
    return Signal(x.array[..., None], plan.mask(), x.timed)


def concatenation(plan: Plan, operation: Any, signals: list[Signal]) -> Signal:
    refuse_mixed(operation, signals)
    (axis,) = axes_of(operation, signals[0], operation.axis)
    arrays = [signal.array for signal in signals]
    out = np.concatenate(arrays, axis)
    plan.steps.append(lambda: np.concatenate(arrays, axis, out=out))
    return Signal(out, plan.mask(), signals[0].timed)


def get_item(plan: Plan, operation: Any, x: Signal, key: Any) -> Signal:
    """``x[:, :, 3]`` and the like. ``x[:, -1]`` is the current step; other steps are not there any more."""
    keys = full_key(operation, key, x.array.ndim + x.timed)
    if keys[0] != slice(None):
        raise ArgumentError(f"{said(operation)} takes rows out of the batch; take features alone.")
    timed = x.timed
    if timed:
        chosen = keys.pop(1)
        if chosen is None:
            raise ArgumentError(f"{said(operation)} puts an axis before time; put it behind the features.")
        timed = chosen == slice(None)
        if chosen == slice(-1, None):  # the current step with a time axis of one step
            keys.insert(1, None)
        elif not timed and chosen != -1:
            raise ArgumentError(
                f"{said(operation)} takes the steps {chosen!r} out of the sequence; a stream has the current one "
                "alone, which is -1."
            )
    return Signal(x.array[tuple(keys)], plan.mask(), timed)


OPERATIONS: dict[str, Callable[..., Signal]] = {
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_REDUCTIONS, reduction),
    "Cast": cast,
    "Squeeze": squeeze,
    "ExpandDims": expand,
    "Concatenate": concatenation,
    "GetItem": get_item,
}
