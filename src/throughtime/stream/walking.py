"""The calls of a model in their order, for those that compute a model without its framework: Stream, and the export.

A Keras model is a graph of calls. ``walk`` goes through it with whatever stands for a tensor there, and leaves each
layer to a function; nested models are gone through, everything else is the function's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import keras

from ..errors import ArgumentError

Call = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


def is_graph(model: Any) -> bool:
    """Whether the calls of a model can be seen without running it: a Sequential or a functional one, no subclass."""
    return type(model) in (keras.Sequential, keras.src.models.functional.Functional)


def refuse_no_graph(model: Any, called: str) -> None:
    """Raises ArgumentError unless ``model`` is a built Sequential or functional model."""
    if not isinstance(model, keras.Model):
        raise ArgumentError(
            f"{called} was given {type(model).__name__}; a keras.Model is accepted. Of a run, run.model takes rows "
            "that are prepared, and tt.RunStream(run) those of its table."
        )
    if not is_graph(model):
        raise ArgumentError(
            f"{called} was given a {type(model).__name__}, whose own call cannot be looked into; a keras.Sequential "
            "or a functional keras.Model(inputs, outputs) of the same layers is accepted."
        )
    if not model.built or not getattr(model, "inputs", None):
        raise ArgumentError(
            f"the {type(model).__name__} {model.name!r} has no weights yet; begin it with keras.Input(...), or call it "
            "once on data."
        )


def walk(model: keras.Model, inputs: list[Any], call: Call) -> Any:
    """Goes through the calls of a model.

    Args:
        model: built; a Sequential or functional one.
        inputs: what stands for each of its input tensors, in the order of ``model.inputs``.
        call: ``call(layer, args, kwargs)`` for each call of a layer, or of an operation such as ``a + b``, with
            ``inputs`` and what ``call`` gave before in place of tensors.

    Returns:
        What stands for the outputs, in the structure that the model gives.

    Raises:
        ArgumentError: a model of another kind within, or a layer called with training=True.

    Example:
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(8), keras.layers.Dense(1)])
        >>> walk(model, ["x"], lambda layer, args, kwargs: f"{type(layer).__name__}({args[0]})")
        'Dense(GRU(x))'
    """

    def visit(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.pop("training", None):
            raise ArgumentError(
                f"{said(layer)} is called with training=True in the model, so that its answers are random or depend "
                "on the batch; build the model without it."
            )
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        if isinstance(layer, keras.Model) and is_graph(layer):
            return walk(layer, keras.tree.flatten(args[0]), call)
        return call(layer, args, kwargs)

    if isinstance(model, keras.Sequential):
        (tensor,) = inputs
        for layer in model.layers:
            tensor = visit(layer, tensor)
        return tensor
    return model._run_through_graph(inputs, operation_fn=lambda layer: lambda *args, **kwargs: visit(
        layer, *args, **kwargs
    ))  # fmt: skip


def layers_of(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model and of the models in it; a wrapper counts, what it wraps does not."""
    for layer in model.layers:
        if is_graph(layer):
            yield from layers_of(layer)
        else:
            yield layer


def said(layer: Any) -> str:
    """A layer in a message: ``layer 'gru_1' (GRU)``, or ``operation 'add' (Add)`` for one that is no layer."""
    kind = "layer" if isinstance(layer, keras.Layer) else "operation"
    return f"{kind} {layer.name!r} ({type(layer).__name__})"


def full_key(operation: Any, key: Any, rank: int) -> list[int | slice | None]:
    """What an operation ``x[key]`` takes of each axis of ``x``: a number, a slice, or None for a new axis.

    A saved model holds a list where the model in memory has a tuple, so both are read alike. A slice of the whole axis
    is ``slice(None)``, however it is written.

    Args:
        rank: of ``x``, batch and time included.

    Raises:
        ArgumentError: an array of indices or of booleans.

    Example:
        >>> full_key(None, [Ellipsis, slice(0, None), 3], 4)
        [slice(None, None, None), slice(None, None, None), slice(None, None, None), 3]
    """
    keys = list(key) if isinstance(key, tuple | list) else [key]
    places = [place for place, one in enumerate(keys) if one is Ellipsis]
    used = sum(one is not None and one is not Ellipsis for one in keys)
    rest: list[Any] = [slice(None)] * (rank - used)
    if places:
        keys[places[0] : places[0] + 1] = rest
    else:
        keys += rest
    found: list[int | slice | None] = []
    for one in keys:
        if one is None:
            found.append(None)
        elif isinstance(one, slice):
            whole = one.start in (None, 0) and one.stop is None and one.step in (None, 1)
            found.append(slice(None) if whole else one)
        else:
            try:
                found.append(operator.index(one))
            except TypeError as error:
                raise ArgumentError(
                    f"{said(operation)} is indexed by {key!r}; numbers, slices, ... and None are accepted."
                ) from error
    return found
