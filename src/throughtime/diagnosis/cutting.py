"""Sequences cut to fewer steps, in all the arrays that hold steps; and a model of one length that takes any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, first_line, listed
from .evidence import Evidence
from .given import Given, named
from .recipes import Recipe, loss_of, loss_weights_of, optimizer_config


@dataclass(frozen=True)
class Sequences:
    """Which arrays of x hold steps.

    Args:
        length: T, steps of each.
        masks: by the array's name, as in ``"x['words']"``, the value that says that a step is padding; None without.
        given: the names of boolean arrays (N, T) that say which steps are valid.
    """

    length: int
    masks: Mapping[str, float | None]
    given: tuple[str, ...] = ()

    @classmethod
    def of(cls, evidence: Evidence) -> Sequences:
        """The arrays of three axes, and those of two that hold tokens, masks, or the only sequences.

        Raises:
            ArgumentError: no array with steps, or arrays of several lengths.
        """
        arrays = evidence.data.inputs()
        found = {one.name: one for one in evidence.steps}
        wide = any(array.ndim > 2 for array in arrays.values())
        names = [
            name for name, array in arrays.items()
            if array.ndim > 2 or (name in found and (found[name].tokens or array.dtype.kind in "iu" or not wide))
        ]  # fmt: skip
        lengths = {arrays[name].shape[1] for name in names}
        if not names:
            raise ArgumentError("horizon_report takes x of (sequences, steps, features), or (sequences, steps).")
        if len(lengths) > 1:
            shapes = listed(f"{name} {arrays[name].shape}" for name in names)
            raise ArgumentError(f"the arrays of x have several numbers of steps: {shapes}; one length is accepted.")
        length = lengths.pop()
        given = tuple(
            name for name, array in arrays.items() if array.dtype == bool and array.shape[1:] == (length,)
        )  # fmt: skip
        values = {name: found[name].mask_value if name in found else None for name in names if name not in given}
        return cls(length, values, given)

    def valid(self, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
        """(N, T): the valid steps of an array, by its own mask, else by one that was given, else by another's."""
        own = {one: value for one, value in self.masks.items() if value is not None}
        if name not in own and self.given:
            return arrays[self.given[0]]
        masked = name if name in own else next(iter(own), None)
        if masked is None:
            return None
        array = arrays[masked]
        return array != own[masked] if array.ndim == 2 else (array != np.float32(own[masked])).any(axis=2)


def cut_to(data: Given, window: int, kind: str, sequences: Sequences) -> Given:
    """The data with sequences cut alike in both parts.

    Args:
        data: as it is.
        window: steps that are left.
        kind: "last", "first" or "windows".
        sequences: of the data.

    Example:
        >>> x = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]], "float32")[..., None]
        >>> data = Given(x, np.zeros((2, 1)), None, None, {}, False, None, None)
        >>> cut_to(data, 2, "last", Sequences(5, {"x": 0.0})).x[..., 0].tolist()
        [[2.0, 3.0], [7.0, 8.0]]
        >>> cut_to(data, 2, "first", Sequences(5, {"x": None})).x[..., 0].tolist()
        [[1.0, 2.0], [4.0, 5.0]]
    """
    count = sequences.length // window

    def windowed(array: np.ndarray, *, steps: bool) -> np.ndarray:
        return _in_windows(array, window) if steps else np.repeat(array, count, axis=0)

    def targets(structure: Any) -> Any:
        return keras.tree.map_structure(
            lambda one: None if one is None else windowed(one, steps=one.shape[1:2] == (sequences.length,)), structure
        )

    def cut(x: Any, y: Any, weights: Any) -> tuple[Any, Any, Any]:
        arrays = named(x, "x")
        steps = {*sequences.masks, *sequences.given}
        if kind == "windows":
            return _named_map(lambda name, one: windowed(one, steps=name in steps), x), targets(y), targets(weights)
        return _named_map(
            lambda name, one: _ends(one, window, kind, sequences.valid(arrays, name)) if name in steps else one, x
        ), y, weights  # fmt: skip

    parts = cut(data.x, data.y, data.weights)
    validation = None if data.validation is None else cut(*data.validation)
    fit = dict(data.fit)
    if kind == "windows":  # a batch of as many steps
        fit["batch_size"] = data.batch_size * max(1, count)
    return replace(data, x=parts[0], y=parts[1], weights=parts[2], validation=validation, fit=fit)


def _named_map(change: Callable[[str, Any], Any], structure: Any, name: str = "x") -> Any:
    """The structure with each array changed, which is told its name as in ``named``."""
    if isinstance(structure, Mapping):
        return {key: _named_map(change, value, f"{name}[{key!r}]") for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([_named_map(change, one, f"{name}[{place}]") for place, one in enumerate(structure)])
    return change(name, structure)


def _in_windows(array: np.ndarray, window: int) -> np.ndarray:
    """(N, T, ...) to (N * T / window, window, ...); what is left of a sequence at its end is left out."""
    count = array.shape[1] // window
    return array[:, : count * window].reshape(-1, window, *array.shape[2:])


def _ends(x: np.ndarray, window: int, kind: str, valid: np.ndarray | None) -> np.ndarray:
    """The last or first valid steps of each sequence, padded on the right where there are fewer."""
    if valid is None:
        return x[:, -window:] if kind == "last" else x[:, :window]

    def taken(array: np.ndarray, places: np.ndarray) -> np.ndarray:
        return np.take_along_axis(array, places.reshape(*places.shape, *(1,) * (array.ndim - 2)), axis=1)

    sorted_x = taken(x, np.argsort(~valid, axis=1, kind="stable"))  # valid steps first, in their order
    if kind == "first":
        return sorted_x[:, :window]
    starts = np.maximum(valid.sum(axis=1) - window, 0)
    return taken(sorted_x, np.minimum(starts[:, None] + np.arange(window), x.shape[1] - 1))


def of_any_length(model: keras.Model, length: int) -> keras.Model:
    """The model, or where its inputs have a fixed number of steps, one of the same layers and weights without.

    Args:
        model: compiled and built.
        length: the number of steps.

    Raises:
        ArgumentError: a layer needs that number.

    Example:
        >>> fixed = keras.Sequential([keras.Input((6, 1)), keras.layers.GRU(2), keras.layers.Dense(1)])
        >>> fixed.compile("sgd", "mse")
        >>> of_any_length(fixed, 6).input_shape
        (None, None, 1)
    """
    inputs = list(getattr(model, "inputs", None) or ())
    if not any(_fixed(one, inputs, length) for one in inputs):
        return model
    try:
        tensors = [
            keras.Input(
                batch_shape=(None, None, *one.shape[2:]) if _fixed(one, inputs, length) else one.shape,
                dtype=one.dtype, name=one.name,
            )
            for one in inputs
        ]  # fmt: skip
        structure = keras.tree.pack_sequence_as(model.input, tensors) if len(tensors) > 1 else tensors[0]
        free = keras.models.clone_model(model, input_tensors=structure)
        short = [keras.ops.zeros([2 if n is None and i == 0 else 3 if n is None else n
                                  for i, n in enumerate(one.shape)], dtype=one.dtype) for one in tensors]  # fmt: skip
        free(keras.tree.pack_sequence_as(model.input, short) if len(short) > 1 else short[0], training=False)
    except Exception as error:  # of whichever layer asks for a number of steps
        raise ArgumentError(
            f"the model takes sequences of {length} steps alone ({first_line(error)}); build it on "
            "keras.Input((None, ...)), of layers that take any number of steps."
        ) from error
    free.set_weights(model.get_weights())
    free.compile(
        type(model.optimizer).from_config(optimizer_config(model, Recipe())), loss_of(model, Recipe()),
        loss_weights=loss_weights_of(model, Recipe(), False), run_eagerly=model.run_eagerly,
        jit_compile=bool(model.jit_compile) and all(layer.supports_jit for layer in free._flatten_layers()),
    )  # fmt: skip
    return free


def _fixed(tensor: Any, inputs: list[Any], length: int) -> bool:
    """Whether an input of a model has that number of steps; one of two axes may hold features in their place."""
    steps = len(tensor.shape) > 2 or tensor.dtype.startswith(("int", "uint", "bool")) or len(inputs) == 1
    return steps and len(tensor.shape) > 1 and tensor.shape[1] == length
