"""What ``check`` was given, brought into one form: arrays with the sequence first, and the arguments of ``fit``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, listed, nearest
from ..gradients.reading import arrays, read_batches

_FIT = tuple(name for name in inspect.signature(keras.Model.fit).parameters if name not in ("self", "x", "y"))


@dataclass(frozen=True, eq=False)
class Given:
    """The data and settings of one check.

    Args:
        x, y: arrays with the sequence first, or lists and dicts of them, as the model takes them.
        weights: sample weights, (N,) or (N, T); None without.
        validation: x, y and weights of the validation data; None without.
        fit: the arguments of ``fit`` that the user means to use; ``told`` whether any were given.
        series: (steps, columns), the raw series before windowing; None without.
        task: "forecast" where the user says so; None otherwise.
        notes: how much was read of what comes in batches, and what of it is left out.
        weighted_batches: the weights came with the batches, so that ``fit`` takes them as they are.
    """

    x: Any
    y: Any
    weights: Any
    validation: tuple[Any, Any, Any] | None
    fit: Mapping[str, Any]
    told: bool
    series: np.ndarray | None
    task: str | None
    notes: tuple[str, ...] = ()
    weighted_batches: bool = False

    @property
    def size(self) -> int:
        """N, the number of sequences."""
        return len(keras.tree.flatten(self.x)[0])

    @property
    def batch_size(self) -> int:
        return min(int(self.fit.get("batch_size") or 32), self.size)

    def inputs(self, part: str = "train") -> dict[str, np.ndarray]:
        """The arrays of x by name: ``"x"`` where there is one, ``"x[0]"``, ``"x['words']"`` otherwise."""
        return named(self.x if part == "train" or self.validation is None else self.validation[0], "x")

    def targets(self) -> dict[str, np.ndarray]:
        return named(self.y, "y")


def given(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    validation_data: Any = None,
    fit: Mapping[str, Any] | None = None,
    series: Any = None,
    task: str | None = None,
) -> Given:
    """The arguments of ``check``, looked at and brought into form.

    Raises:
        ArgumentError: what is not accepted.
    """
    if not isinstance(model, keras.Model):
        raise ArgumentError(f"check was given {type(model).__name__}; a keras.Model is accepted.")
    if not model.compiled:
        raise ArgumentError("the model is not compiled; model.compile(optimizer, loss) first, as for fit.")
    settings = dict(fit or {})
    unknown = [name for name in settings if name not in _FIT]
    if unknown:
        raise ArgumentError(
            f"fit= holds {listed(unknown)}; the arguments of model.fit are accepted.{nearest(unknown[0], _FIT)}"
        )
    if task not in (None, "forecast", "classify", "regress", "tag"):
        raise ArgumentError(f"task={task!r} is not accepted; one of 'forecast', 'classify', 'regress', 'tag'.")
    notes: list[str] = []
    if y is None:
        x, y, batch_weights = _from_batches(x, notes, settings.get("steps_per_epoch"))
    else:
        batch_weights = None
    inputs, targets = arrays(x, "x"), arrays(y, "y")
    weights = settings.get("sample_weight")
    weights = batch_weights if weights is None else arrays(weights, "sample_weight")
    size = _size(inputs, targets, weights)
    validation = validation_data if validation_data is not None else settings.get("validation_data")
    split = float(settings.get("validation_split") or 0)
    if validation is not None:
        if not isinstance(validation, list | tuple):
            validation = _from_batches(validation, notes, settings.get("validation_steps"))
        if len(validation) not in (2, 3):
            raise ArgumentError("validation_data is (x, y) or (x, y, sample_weight), as for fit.")
        parts = [arrays(one, "validation_data") if one is not None else None for one in validation]
        validation = (parts[0], parts[1], parts[2] if len(parts) == 3 else None)
        _size(*validation)
    elif split and size > 1:
        cut = max(1, min(size - 1, int(size * (1 - split))))  # Keras takes the last rows
        validation = tuple(rows(one, slice(cut, None)) for one in (inputs, targets, weights))
        inputs, targets, weights = (rows(one, slice(cut)) for one in (inputs, targets, weights))
    if series is not None:
        series = np.asarray(series, float)
        series = series[:, None] if series.ndim == 1 else series
        if series.ndim != 2:
            raise ArgumentError(f"series has shape {series.shape}; (steps,) or (steps, columns) is accepted.")
    batched = batch_weights is not None
    return Given(
        inputs, targets, weights, validation, settings, fit is not None, series, task, tuple(notes), batched
    )  # fmt: skip


def rows(structure: Any, index: Any) -> Any:
    """The same rows of each array of a structure; None of None."""
    return keras.tree.map_structure(lambda one: None if one is None else one[index], structure)


def weights_for(weights: Any, name: str, place: int) -> Any:
    """The sample weights of one output: by its name or place where there are several; None without."""
    if isinstance(weights, Mapping):
        return weights.get(name)
    if isinstance(weights, list | tuple):
        return weights[place] if place < len(weights) else None
    return weights


def weights_in_fit(y: Any, weights: Any, class_weight: Any) -> Any:
    """The sample weights that ``fit`` makes of its arguments: the same for all outputs, or those of classes.

    Raises:
        ValueError: where ``fit`` does.
    """
    if weights is None and class_weight is None:
        return None
    adapter = keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter
    made = adapter(y, y, sample_weight=weights, class_weight=class_weight, batch_size=size_of(y))
    return made._inputs[2]


def size_of(structure: Any) -> int:
    """How many sequences the arrays of a structure have."""
    return len(keras.tree.flatten(structure)[0])


def named(structure: Any, name: str) -> dict[str, np.ndarray]:
    """The arrays of a structure by what a user would write to get each."""
    found: dict[str, np.ndarray] = {}
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            found |= named(value, f"{name}[{key!r}]")
    elif isinstance(structure, list | tuple):
        for place, value in enumerate(structure):
            found |= named(value, f"{name}[{place}]")
    elif structure is not None:
        found[name] = structure
    return found


def _size(*structures: Any) -> int:
    counts = {
        name: len(array)
        for structure, given_as in zip(structures, ("x", "y", "sample_weight"), strict=False)
        for name, array in named(structure, given_as).items()
    }
    if len(set(counts.values())) > 1:
        raise ArgumentError(f"x and y differ in their number of sequences: {counts}.")
    size = next(iter(counts.values()), 0)
    if not size:
        raise ArgumentError("x holds no sequence; one or more are accepted.")
    return size


def _from_batches(data: Any, notes: list[str], steps: int | None) -> tuple[Any, Any, Any]:
    """A PyDataset, tf.data.Dataset or other iterable of (x, y[, sample_weight]), read into arrays."""
    if isinstance(data, np.ndarray | Mapping) or (
        not isinstance(data, keras.utils.PyDataset) and not np.iterable(data)
    ):
        raise ArgumentError("y is missing; give x and y, or batches of (x, y) as a keras.utils.PyDataset.")
    read = read_batches(data, batches=steps)
    notes.append(f"read: {read.said}")
    if read.left_out:
        notes.append(f"left out: {read.left_out}")
    return read.x, read.y, read.weights
