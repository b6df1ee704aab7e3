"""What a model does at one time step, planned once: arrays of fixed places, and functions that fill them in turn.

Each layer's output has an array of its own, so that a step needs no memory and looks nothing up. What stands for a
tensor ``(B, T, ...)`` of the model is a ``Signal``: the array ``(B, ...)`` of the current step, and its mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError
from .walking import said


@dataclass(eq=False)
class Mask:
    """``rows`` (B,) bool are the valid streams of the step; read only where ``full``, all of them are, is False."""

    rows: np.ndarray
    full: bool = True


@dataclass(frozen=True, eq=False)
class Signal:
    """A tensor of the model at the current step.

    Args:
        array: (B, ...), always the same one.
        mask: of the step; of a tensor without a mask in Keras, one that stays full.
        timed: whether the tensor has a time axis. Without it, it is what a whole sequence gave: the steps so far.
    """

    array: np.ndarray
    mask: Mask
    timed: bool


@dataclass(eq=False)
class Plan:
    """The steps and states of a model.

    Args:
        batch: B, streams side by side.
        dtype: float32, or float64 for a model that computes in it.
        inputs: arrays that a step is copied into.
        checks: what is asked of them before anything is changed.
        steps: called in turn.
        states: what is carried, each (B, ...).
        structure: a line for each call.
    """

    batch: int
    dtype: Any
    inputs: list[np.ndarray] = field(default_factory=list)
    checks: list[Callable[[], None]] = field(default_factory=list)
    steps: list[Callable[[], None]] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    structure: list[str] = field(default_factory=list)
    _masks: dict[int, Mask] = field(default_factory=dict)

    def buffer(self, *shape: int, dtype: Any = None) -> np.ndarray:
        """A new array ``(B, *shape)`` of zeros."""
        return np.zeros((self.batch, *shape), self.dtype if dtype is None else dtype)

    def state(self, array: np.ndarray) -> np.ndarray:
        """``array`` as a state: set to zero by a reset, and part of a snapshot."""
        self.states.append(array)
        return array

    def mask(self) -> Mask:
        """A new mask, full."""
        return Mask(np.ones(self.batch, bool))

    def mask_of(self, signal: Signal) -> Mask:
        """The mask that a tensor of booleans (B, T) is; the same one each time."""
        array = signal.array
        if array.dtype != bool or array.ndim != 1:
            shape = ("batch", "time", *array.shape[1:])
            raise ArgumentError(
                f"a layer is given a mask of shape {shape} and type {array.dtype}; booleans (batch, time) are accepted."
            )
        mask = self._masks.get(id(array))
        if mask is None:
            mask = self._masks[id(array)] = Mask(array)

            def step() -> None:
                mask.full = bool(array.all())

            self.steps.append(step)
        return mask

    def weight(self, variable: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A weight as a C-contiguous array of the plan's dtype."""
        values = np.array(keras.ops.convert_to_numpy(variable)).astype(self.dtype, order="C")
        return values if shape is None else values.reshape(shape)

    def after(self, layer: keras.Layer, x: Signal, array: np.ndarray) -> Signal:
        """The output of a layer that keeps the time axis; the mask goes on where Keras lets it."""
        return Signal(array, x.mask if layer.supports_masking else self.mask(), x.timed)

    def note(self, layer: Any, outputs: Any, setting: str) -> None:
        """Enters a call into the structure that a snapshot has to fit."""
        shapes = [(one.array.shape[1:], one.timed) for one in keras.tree.flatten(outputs)]
        self.structure.append(f"{type(layer).__name__} {shapes} {setting}")

    def fingerprint(self) -> bytes:
        """32 bytes that tell structures apart: layers, shapes and settings, not the weights and not the batch."""
        shapes = [state.shape[1:] for state in self.states]
        text = "\n".join([*self.structure, f"{shapes} {np.dtype(self.dtype).name}"])
        return hashlib.sha256(text.encode()).digest()


def last_axis(layer: Any, x: Signal) -> int:
    """The size of a signal's last axis; refused where that is the batch or time, which a layer would then mix."""
    if x.array.ndim < 2:
        axis = "time" if x.timed else "the batch"
        raise ArgumentError(
            f"{said(layer)} works along {axis}: its input has no axis behind it. Make the input "
            "keras.Input((None, features)), or put an Embedding first for tokens."
        )
    return x.array.shape[-1]


def axes_of(layer: Any, x: Signal, given: Any) -> tuple[int, ...]:
    """A layer's axes, as counted in Keras, in the array of a signal; time and batch are refused."""
    rank = x.array.ndim + x.timed
    axes = tuple(axis % rank for axis in (given if isinstance(given, list | tuple) else [given]))
    for axis in axes:
        if axis == 0 or (axis == 1 and x.timed):
            over = "the batch" if axis == 0 else "time, and so needs steps that have not come yet"
            raise ArgumentError(f"{said(layer)} works along {over}; give it axis=-1.")
    return tuple(axis - x.timed for axis in axes)
