"""``locate``: where a batch first becomes NaN or infinite: data, a weight, a layer's output, the loss, or a gradient.

Bisected by running the model on the batch: a cause is what the rest is finite without. NaN that a mask hides, or in a
row of no weight that the loss leaves out, is no cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from ..errors import ArgumentError
from ..layers.paths import recurrent_layers
from .building import build, copy_loss, loss_apart
from .differentiate import gradients_of, nothing_lasts
from .flow import gradient_flow

Kind = Literal["data", "weight", "forward", "loss", "gradient"]

TRIED = 16  # rows and steps with bad values that are tried one by one, before the first is taken for the cause


@dataclass(frozen=True)
class NonFinite:
    """The first value on the way from the data to the gradients that is NaN, infinite, or overflows when squared.

    Args:
        kind: ``"data"``: in what is given; ``"weight"``: in a variable of the model, before the batch; ``"forward"``:
            in a layer's output; ``"loss"``: of finite outputs; ``"gradient"``: of a finite loss.
        name: what holds it: ``x``, ``y``, ``sample_weight``, with the key of a dict; a variable's path; a layer's name.
        value: ``"NaN"``, ``"infinite"``, or a number that is too large.
        row: of the batch, from 0; None where it cannot be told.
        layer: name of the layer, nested ones after what holds them where they are recurrent.
        step: time step, from 0. Of a gradient the last one that is not finite, since it comes from the end.
        feature: along the last axis, of data.
    """

    kind: Kind
    name: str
    value: str = "NaN"
    row: int | None = None
    layer: str | None = None
    step: int | None = None
    feature: int | None = None

    def said(self, row: str | None = None) -> str:
        """In one sentence without its full stop; ``row`` names the row in place of its number."""
        at = row if row is not None else None if self.row is None else f"row {self.row}"
        places = [at] if at is not None else []
        places += [f"time step {self.step}"] if self.step is not None else []
        places += [f"feature {self.feature}"] if self.feature is not None else []
        where = f" ({', '.join(places)})" if places else ""
        if self.kind == "data":
            return f"{self.name} holds a value that is {self.value}{where}"
        if self.kind == "weight":
            return f"the weight {self.name} holds a value that is {self.value}"
        if self.kind == "forward":
            return f"the output of layer {self.name!r} becomes {self.value}{where}"
        if self.kind == "loss":
            return f"the loss becomes {self.value} though all outputs are finite{where}"
        return f"the gradient by {self.name} becomes {self.value} though the loss is finite{where}"

    def __str__(self) -> str:
        return self.said()


@dataclass
class _Output:
    """What a layer gave, and for a recurrent one (B, T) whether the state was not finite after each step."""

    layer: keras.Layer
    values: list[np.ndarray]
    steps: np.ndarray | None = None


@dataclass
class _Pass:
    """One forward pass: what each layer gave, in the order in which they were done, and what came of it."""

    outputs: list[_Output] = field(default_factory=list)
    predicted: Any = None
    penalty: float = 0.0
    loss: float = 0.0


def locate(
    model: keras.Model, x: Any, y: Any = None, sample_weight: Any = None, *, training: bool = False
) -> NonFinite | None:
    """Where the first value that is not finite comes from, when a batch goes through a model and back.

    The model is left as it was.

    Args:
        model: built and compiled.
        x, y, sample_weight: one batch, as ``fit`` takes it.
        training: with dropout and the like, as they come next.

    Returns:
        None where the loss and all gradients are finite.

    Raises:
        ArgumentError: not a compiled Keras model.

    Example:
        >>> model = keras.Sequential([keras.Input((5, 1)), keras.layers.LSTM(3), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x = np.zeros((4, 5, 1))
        >>> x[2, 3] = np.nan
        >>> str(locate(model, x, np.zeros((4, 1))))
        'x holds a value that is NaN (row 2, time step 3, feature 0)'
    """
    if not isinstance(model, keras.Model):
        raise ArgumentError(f"locate was given {type(model).__name__}; a keras.Model is accepted.")
    if not model.compiled:
        raise ArgumentError("the model is not compiled; model.compile(loss=...) first.")
    batch = {"x": x, "y": y, "sample_weight": sample_weight}
    batch = {name: _arrays(one) for name, one in batch.items() if one is not None}
    build(model, batch["x"])
    with loss_apart(model, copy_loss(model)):
        return _located(model, batch, training)


def _located(model: keras.Model, batch: dict[str, Any], training: bool) -> NonFinite | None:
    first, gradients = _whole(model, batch, training)
    if _finite(first.loss) and all(map(_finite, gradients)):
        return None
    for variable in model.variables:
        value = ops.convert_to_numpy(variable.value)
        if not _finite(value):
            return NonFinite("weight", variable.path, _said(value), layer=_owner(model, variable))
    suspects = _suspects(model, batch)
    if suspects:
        clean = _with(batch, [])
        first, gradients = _whole(model, _cleaned(model, clean), training)
        if _finite(first.loss) and all(map(_finite, gradients)):
            return _datum(model, batch, suspects, training)
        batch = _cleaned(model, clean)
    if not _finite(first.loss):
        return _in_forward(model, first) or _in_loss(model, batch, first)
    return _in_gradient(model, batch, gradients)


def loss_with(model: keras.Model, values: list[np.ndarray], batch: tuple[Any, Any, Any]) -> float:
    """The loss that a model would have on a batch with other values of its variables; the model is left as it was.

    Args:
        values: in the order of ``model.variables``.
        batch: x, y and weights, as ``fit`` takes them.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> model.compile(loss="mse")
        >>> loss_with(model, [np.full((2, 1), 3.0)], (np.ones((1, 2)), np.zeros((1, 1)), None))
        36.0
    """
    given = dict(zip(("x", "y", "sample_weight"), batch, strict=True))
    given = {name: one for name, one in given.items() if one is not None}
    mapping = [
        (one, ops.convert_to_tensor(value, one.dtype)) for one, value in zip(model.variables, values, strict=True)
    ]
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True), loss_apart(model, copy_loss(model)):
        predicted = model(given["x"], training=False)
        return float(ops.convert_to_numpy(_loss(model, given, predicted, False)))


def _whole(model: keras.Model, batch: dict[str, Any], training: bool) -> tuple[_Pass, list[np.ndarray]]:
    """The pass of a batch, and the gradients where its loss is finite."""
    found = _forward(model, batch, training)
    if not _finite(found.loss):
        return found, []

    def total(_: Any) -> Any:
        predicted = model(batch["x"], training=training)
        return _loss(model, batch, predicted, training)

    return found, gradients_of(total, model.trainable_variables, [])[1]


def _forward(model: keras.Model, batch: dict[str, Any], training: bool) -> _Pass:
    found = _Pass()
    with nothing_lasts(model), _seen(model, found.outputs):
        predicted = model(batch["x"], training=training)
        found.penalty = float(sum((float(ops.convert_to_numpy(ops.sum(one))) for one in model.losses), 0.0))
        found.loss = float(ops.convert_to_numpy(_loss(model, batch, predicted, training)))
    found.predicted = _arrays(predicted)
    return found


def _loss(model: keras.Model, batch: dict[str, Any], predicted: Any, training: bool) -> Any:
    # Keras has this wrapper for models whose compute_loss does not take `training`.
    return model._compute_loss(
        x=batch["x"], y=batch.get("y"), y_pred=predicted, sample_weight=batch.get("sample_weight"), training=training
    )


# The data -----------------------------------------------------------------------------------------------------------

_Place = tuple[str, tuple[int, ...]]  # name of an array, index in it


def _named(batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of floats of a batch, by ``x``, ``x['numbers']``, ``y[0]``."""
    found = {}
    for name, one in batch.items():
        for path, array in keras.tree.flatten_with_path(one):
            if array is not None and array.dtype.kind == "f":
                found[name + "".join(f"[{key!r}]" for key in path)] = array
    return found


def _limit(model: keras.Model) -> float:
    """The largest value that a model can be given: its square is one of float32, or it is one of its own type."""
    dtypes = {layer.compute_dtype for layer in model._flatten_layers()}
    return 65504.0 if "float16" in dtypes else float(np.sqrt(np.finfo(np.float32).max))


def _suspects(model: keras.Model, batch: dict[str, Any]) -> list[_Place]:
    limit = _limit(model)
    with np.errstate(invalid="ignore"):
        bad = {name: ~(np.abs(array) <= limit) for name, array in _named(batch).items()}
    return [(name, tuple(map(int, index))) for name, one in bad.items() for index in np.argwhere(one)]


def _cleaned(model: keras.Model, batch: dict[str, Any]) -> dict[str, Any]:
    for name, index in _suspects(model, batch):
        _named(batch)[name][index] = 0
    return batch


def _with(batch: dict[str, Any], kept: list[_Place], model: keras.Model | None = None) -> dict[str, Any]:
    """A copy, with 0 at every bad value but those ``kept`` where a model is given."""
    copied = {
        name: keras.tree.map_structure(lambda one: None if one is None else np.array(one), one)
        for name, one in batch.items()
    }
    if model is not None:
        _cleaned(model, copied)
        held, given = _named(copied), _named(batch)
        for name, index in kept:
            held[name][index] = given[name][index]
    return copied


def _datum(model: keras.Model, batch: dict[str, Any], suspects: list[_Place], training: bool) -> NonFinite:
    """The first row that is not finite by itself, and in it the first value."""

    def spoils(kept: list[_Place]) -> bool:
        found, gradients = _whole(model, _with(batch, kept, model), training)
        return not (_finite(found.loss) and all(map(_finite, gradients)))

    def first(groups: dict[Any, list[_Place]]) -> list[_Place]:
        tried = list(groups.values())[:TRIED]
        return next((group for group in tried if len(groups) == 1 or spoils(group)), tried[0])

    by_row = first(_grouped(suspects, lambda index: index[0] if index else 0))
    name, index = first(_grouped(by_row, lambda index: index[1] if len(index) > 1 else 0))[0]
    array = _named(batch)[name]
    sequence = array.ndim > 2 or (name.startswith("sample_weight") and array.ndim == 2)
    return NonFinite(
        "data", name, _said(array[index]), row=index[0] if index else None, step=index[1] if sequence else None,
        feature=index[-1] if array.ndim > 1 and not name.startswith("sample_weight") else None,
    )  # fmt: skip


def _grouped(places: list[_Place], key: Callable[[tuple[int, ...]], int]) -> dict[int, list[_Place]]:
    groups: dict[int, list[_Place]] = {}
    for place in places:
        groups.setdefault(key(place[1]), []).append(place)
    return dict(sorted(groups.items()))


# The forward pass ---------------------------------------------------------------------------------------------------


def _in_forward(model: keras.Model, found: _Pass) -> NonFinite | None:
    if all(map(_finite, keras.tree.flatten(found.predicted))):
        return None
    names = {id(layer): name for name, layer, _ in recurrent_layers(model)}
    for output in found.outputs:
        bad = next((one for one in output.values if not _finite(one)), None)
        if bad is None and (output.steps is None or not output.steps.any()):
            continue
        name = names.get(id(output.layer), output.layer.name)
        value = "NaN" if bad is None else _said(bad)
        if output.steps is not None and output.steps.any():
            where = output.steps
        else:
            assert bad is not None
            where = ~np.isfinite(bad)
            where = where.any(tuple(range(2, where.ndim))) if where.ndim > 2 else where.reshape(len(where), -1).any(1)
        if where.ndim == 1:
            return NonFinite("forward", name, value, row=int(where.argmax()), layer=name)
        step = int(where.any(0).argmax())  # the first that was computed, of any row
        row = int(where[:, step].argmax())
        step = _place(output.layer, step, where.shape[1])
        return NonFinite("forward", name, value, row=row, layer=name, step=step)
    return None


@contextmanager
def _seen(model: keras.Model, outputs: list[_Output]) -> Iterator[None]:
    """While it lasts, what layers give is added to ``outputs``; they are of a class of ours, in place."""
    watched: list[keras.Layer] = []
    try:
        for layer in _visible(model):
            layer.__dict__["_outputs"] = outputs
            layer.__class__ = _watched(type(layer))
            watched.append(layer)
        yield
    finally:
        for layer in watched:
            del layer.__dict__["_outputs"]
            layer.__dict__.pop("_steps", None)
            layer.__class__ = type(layer).__mro__[1]


def _visible(model: keras.Layer) -> Iterator[keras.Layer]:
    """The layers that are called with values, each once: not what a loop over time calls with tracers."""
    for layer in dict.fromkeys(model._flatten_layers(include_self=False, recursive=False)):
        if not isinstance(layer, keras.layers.InputLayer):
            yield layer
        loops = isinstance(layer, keras.layers.Wrapper) and not isinstance(layer, keras.layers.Bidirectional)
        if not (loops or isinstance(layer, keras.layers.RNN)):
            yield from _visible(layer)


def _watched(stock: type) -> type:
    def called(self: Any, *args: Any, **options: Any) -> Any:
        self.__dict__["_steps"] = None
        found = stock.__call__(self, *args, **options)
        if any(isinstance(one, keras.KerasTensor) for one in keras.tree.flatten(found)):
            return found  # a model that is built by this call
        values = [ops.convert_to_numpy(one) for one in keras.tree.flatten(found) if one is not None]
        self.__dict__["_outputs"].append(_Output(self, values, self.__dict__.pop("_steps")))
        return found

    def inner_loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        given = {"sequences": sequences, "initial_state": initial_state, "mask": mask, "training": training}
        found = stock.inner_loop(self, **given)  # type: ignore[attr-defined]
        if not all(_finite(ops.convert_to_numpy(one)) for one in keras.tree.flatten(found)):
            before = self.return_sequences
            self.return_sequences = True
            try:
                each = ops.convert_to_numpy(stock.inner_loop(self, **given)[1])  # type: ignore[attr-defined]
            finally:
                self.return_sequences = before
            self.__dict__["_steps"] = ~np.isfinite(each).all(-1)
        return found

    members: dict[str, Any] = {"__call__": called, "__module__": stock.__module__}
    if issubclass(stock, keras.layers.RNN):
        members["inner_loop"] = inner_loop
    return type(stock.__name__, (stock,), members)


# The loss and the gradients -----------------------------------------------------------------------------------------


def _in_loss(model: keras.Model, batch: dict[str, Any], found: _Pass) -> NonFinite:
    if not _finite(found.penalty):
        return NonFinite("loss", "penalty", _said(np.asarray(found.penalty)))
    value = _said(np.asarray(found.loss))
    rows = np.arange(len(keras.tree.flatten(batch["x"])[0]))

    def spoils(some: np.ndarray) -> bool:
        part = {name: _rows(one, some) for name, one in batch.items()}
        with nothing_lasts(model):
            loss = _loss(model, part, keras.tree.map_structure(ops.convert_to_tensor, _rows(found.predicted, some)),
                         False)  # fmt: skip
            return not _finite(ops.convert_to_numpy(loss))

    while len(rows) > 1:
        half = rows[: len(rows) // 2]
        rows = half if spoils(half) else rows[len(rows) // 2 :]
    return NonFinite("loss", "loss", value, row=int(rows[0]) if spoils(rows) else None)


def _in_gradient(model: keras.Model, batch: dict[str, Any], gradients: list[np.ndarray]) -> NonFinite:
    """By the variable nearest to the loss, since a gradient comes from there."""
    pairs = zip(model.trainable_variables, gradients, strict=True)
    variable, gradient = [pair for pair in pairs if not _finite(pair[1])][-1]
    layer, row, step = _owner(model, variable), None, None
    if any(True for _ in recurrent_layers(model)):
        many = len(keras.tree.flatten(batch["x"])[0])
        with np.errstate(all="ignore"):
            flow = gradient_flow(model, batch["x"], batch.get("y"), sample_weight=batch.get("sample_weight"),
                                 sequences=many)  # fmt: skip
        spoiled = [one for one in flow.values() if not _finite(one.norms)]
        own = [one for one in spoiled if one.layer.split("#")[0] == layer]
        if spoiled:
            seen = (own or spoiled)[-1]
            bad = ~np.isfinite(seen.norms)
            step = int(np.flatnonzero(bad.any(0))[-1])
            row = int(bad[:, step].argmax())
            found = next(one for name, one, _ in recurrent_layers(model) if name == seen.layer.split("#")[0])
            step = _place(found, step, bad.shape[1])
    return NonFinite("gradient", variable.path, _said(gradient), row=row, layer=layer, step=step)


def _owner(model: keras.Model, variable: keras.Variable) -> str | None:
    """The layer that has a variable; the recurrent one, where that is its cell."""
    for name, layer, _ in recurrent_layers(model):
        if any(one is variable for one in layer.variables):
            return name
    for layer in model._flatten_layers():
        if any(one is variable for one in [*layer._trainable_variables, *layer._non_trainable_variables]):
            return layer.name
    return None


def _place(layer: keras.Layer, taken: int, steps: int) -> int:
    """The time step that a layer takes as its ``taken``-th."""
    return steps - 1 - taken if isinstance(layer, keras.layers.RNN) and layer.go_backwards else taken


# Small things -------------------------------------------------------------------------------------------------------


def _finite(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind in "iub" or bool(np.isfinite(array.astype(np.float32)).all())


def _said(value: Any) -> str:
    """What is wrong with the worst of some values."""
    array = np.asarray(value).astype(np.float64)
    if np.isnan(array).any():
        return "NaN"
    return "infinite" if np.isinf(array).any() else f"{float(array.flat[np.abs(array).argmax()]):.3g}"


def _arrays(tree: Any) -> Any:
    return keras.tree.map_structure(lambda one: None if one is None else ops.convert_to_numpy(one), tree)


def _rows(tree: Any, some: np.ndarray) -> Any:
    return keras.tree.map_structure(lambda one: None if one is None else one[some], tree)
