"""Layers and operations without a state as ONNX nodes; ``LAYERS`` and ``OPERATIONS`` have a function for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ArgumentError, listed
from ..stream.activations import name_of
from ..stream.walking import full_key, said
from .graph import Graph, IsMask, Value


def activated(graph: Graph, name: str, x: str) -> str:
    """The nodes of an activation."""
    if name == "linear":
        return x
    if name in _NODES:
        kind, attributes = _NODES[name]
        return graph.one(kind, x, **attributes)
    if name in ("relu6", "hard_tanh"):
        low, high = (0.0, 6.0) if name == "relu6" else (-1.0, 1.0)
        return graph.one("Clip", x, graph.constant(low), graph.constant(high))
    if name == "gelu":
        half = graph.one("Erf", graph.one("Mul", x, graph.constant(np.sqrt(0.5))))
        half = graph.one("Add", graph.one("Mul", half, graph.constant(0.5)), graph.constant(0.5))
        return graph.one("Mul", x, half)
    if name == "mish":
        return graph.one("Mul", x, graph.one("Tanh", graph.one("Softplus", x)))
    gate = {"silu": "sigmoid", "hard_silu": "hard_sigmoid"}[name]
    return graph.one("Mul", x, activated(graph, gate, x))


_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("Tanh", {}), "sigmoid": ("Sigmoid", {}), "relu": ("Relu", {}), "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}), "exponential": ("Exp", {}), "selu": ("Selu", {}), "elu": ("Elu", {"alpha": 1.0}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}), "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "softmax": ("Softmax", {"axis": -1}), "log_softmax": ("LogSoftmax", {"axis": -1}),
}  # fmt: skip


def _named(layer: Any, given: Any) -> str:
    name = name_of(given)
    if name is None:
        found = getattr(given, "__name__", type(given).__name__)
        known = [*_NODES, "linear", "relu6", "hard_tanh", "gelu", "mish", "silu", "hard_silu"]
        raise ArgumentError(f"{said(layer)} has the activation {found}; accepted are {listed(known, 30)}.")
    return name


def dense(graph: Graph, layer: layers.Dense, x: Value) -> Value:
    name = graph.one("MatMul", x.name, graph.constant(graph.weight(layer.kernel)))
    if layer.use_bias:
        name = graph.one("Add", name, graph.constant(graph.weight(layer.bias)))
    return Value(activated(graph, _named(layer, layer.activation), name), (*x.shape[:-1], layer.units))


def embedding(graph: Graph, layer: layers.Embedding, x: Value) -> Value:
    tokens = graph.one("Cast", x.name, to=_kind("INT64"))
    table = graph.constant(graph.weight(layer.embeddings))
    return Value(graph.one("Gather", table, tokens, axis=0), (*x.shape, layer.output_dim))


def unchanged(graph: Graph, layer: Any, x: Value) -> Value:
    """Of layers that do nothing but in training, and of Masking, whose part the lengths have."""
    return x


def activation(graph: Graph, layer: Any, x: Value) -> Value:
    if isinstance(layer, layers.LeakyReLU):
        return Value(graph.one("LeakyRelu", x.name, alpha=float(layer.negative_slope)), x.shape)
    if isinstance(layer, layers.ELU):
        return Value(graph.one("Elu", x.name, alpha=float(layer.alpha)), x.shape)
    if isinstance(layer, layers.ReLU):
        if layer.threshold or layer.negative_slope or layer.max_value not in (None, 6):
            raise ArgumentError(f"{said(layer)} has settings of its own; ReLU() and ReLU(max_value=6) are accepted.")
        return Value(activated(graph, "relu" if layer.max_value is None else "relu6", x.name), x.shape)
    if isinstance(layer, layers.Softmax):
        _refuse_axis(layer, x)
        return Value(activated(graph, "softmax", x.name), x.shape)
    return Value(activated(graph, _named(layer, layer.activation), x.name), x.shape)


def rescaling(graph: Graph, layer: layers.Rescaling, x: Value) -> Value:
    name = graph.one("Mul", x.name, graph.constant(layer.scale))
    return Value(graph.one("Add", name, graph.constant(layer.offset)), x.shape)


def normalization(graph: Graph, layer: layers.Normalization, x: Value) -> Value:
    mean, variance = graph.weight(layer.mean), graph.weight(layer.variance)
    spread = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        return Value(
            graph.one("Add", graph.one("Mul", x.name, graph.constant(spread)), graph.constant(mean)), x.shape
        )  # fmt: skip
    return Value(graph.one("Div", graph.one("Sub", x.name, graph.constant(mean)), graph.constant(spread)), x.shape)


def batch_normalization(graph: Graph, layer: layers.BatchNormalization, x: Value) -> Value:
    _refuse_axis(layer, x)
    factor = 1 / np.sqrt(graph.weight(layer.moving_variance).astype(np.float64) + layer.epsilon)
    if layer.scale:
        factor = factor * graph.weight(layer.gamma)
    name = graph.one("Sub", x.name, graph.constant(graph.weight(layer.moving_mean)))
    name = graph.one("Mul", name, graph.constant(factor))
    if layer.center:
        name = graph.one("Add", name, graph.constant(graph.weight(layer.beta)))
    return Value(name, x.shape)


def layer_normalization(graph: Graph, layer: layers.LayerNormalization, x: Value) -> Value:
    _refuse_axis(layer, x)
    if layer.rms_scaling:
        raise ArgumentError(f"{said(layer)} has rms_scaling=True; the layer RMSNormalization is accepted.")
    gamma = np.ones(x.shape[-1] or 0) if layer.gamma is None else graph.weight(layer.gamma)
    inputs = [x.name, graph.constant(gamma)]
    if layer.beta is not None:
        inputs.append(graph.constant(graph.weight(layer.beta)))
    return Value(graph.one("LayerNormalization", *inputs, axis=-1, epsilon=float(layer.epsilon)), x.shape)


def rms_normalization(graph: Graph, layer: Any, x: Value) -> Value:
    """RMSNormalization and UnitNormalization: by the root of the mean, or of the sum, of squares."""
    _refuse_axis(layer, x)
    squares = graph.one("Mul", x.name, x.name)
    if isinstance(layer, layers.UnitNormalization):
        total = graph.one("ReduceSum", squares, graph.constant([-1], np.int64), keepdims=1)
        return Value(
            graph.one("Div", x.name, graph.one("Sqrt", graph.one("Max", total, graph.constant(1e-12)))), x.shape
        )
    mean = graph.one("ReduceMean", squares, axes=[-1], keepdims=1)
    root = graph.one("Sqrt", graph.one("Add", mean, graph.constant(layer.epsilon)))
    return Value(graph.one("Mul", graph.one("Div", x.name, root), graph.constant(graph.weight(layer.scale))), x.shape)


def _refuse_axis(layer: Any, x: Value) -> None:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if [axis % len(x.shape) for axis in axes] != [len(x.shape) - 1]:
        raise ArgumentError(f"{said(layer)} has axis={layer.axis}; an export has axis=-1.")


# Shapes ---------------------------------------------------------------------------------------------------------------


def flatten(graph: Graph, layer: Any, x: Value) -> Value:
    """Flatten and Reshape, of tensors whose sizes are known."""
    if None in x.shape[1:]:
        raise ArgumentError(f"{said(layer)} takes all steps of sequences of any length together; give the model's "
                            "input a number of steps.")  # fmt: skip
    _refuse_padded(graph, layer, x)
    shape = tuple(layer.compute_output_shape((1, *x.shape[1:])))[1:]
    return Value(graph.one("Reshape", x.name, graph.constant([0, *shape], np.int64)), (None, *shape))


def repeat_vector(graph: Graph, layer: layers.RepeatVector, x: Value) -> Value:
    one = graph.one("Unsqueeze", x.name, graph.constant([1], np.int64))
    repeated = graph.one("Tile", one, graph.constant([1, layer.n, 1], np.int64))
    return Value(repeated, (None, layer.n, x.shape[-1]))


def _refuse_padded(graph: Graph, layer: Any, x: Value) -> None:
    if graph.lengths is not None and len(x.shape) > 2:
        raise ArgumentError(f"{said(layer)} takes single steps out of padded sequences, whose lengths differ; take the "
                            "last state (return_sequences=False).")  # fmt: skip


def concatenate(graph: Graph, layer: Any, parts: list[Value]) -> Any:
    if any(isinstance(part, IsMask) for part in parts):
        return IsMask()
    axis = layer.axis % len(parts[0].shape)
    if axis != len(parts[0].shape) - 1:
        raise ArgumentError(f"{said(layer)} has axis={layer.axis}; an export has axis=-1.")
    width = sum(part.shape[-1] or 0 for part in parts)
    return Value(graph.one("Concat", *(part.name for part in parts), axis=axis), (*parts[0].shape[:-1], width))


def merge(graph: Graph, layer: Any, parts: list[Value]) -> Value:
    kind = _MERGES[type(layer)]
    # Sub and Mul take two; the rest any number.
    name = parts[0].name
    if kind in ("Sub", "Mul"):
        for part in parts[1:]:
            name = graph.one(kind, name, part.name)
    else:
        name = graph.one(kind, *(part.name for part in parts))
    return Value(name, _broadcast(*(part.shape for part in parts)))


# Operations -----------------------------------------------------------------------------------------------------------


def binary(graph: Graph, operation: Any, a: Any, b: Any) -> Value:
    names = [one.name if isinstance(one, Value) else graph.constant(one) for one in (a, b)]
    shapes = [one.shape if isinstance(one, Value) else np.shape(one) for one in (a, b)]
    return Value(graph.one(_BINARY[type(operation).__name__], *names), _broadcast(*shapes))


def cast(graph: Graph, operation: Any, x: Any, **_: Any) -> Any:
    if isinstance(x, IsMask):
        return x
    return Value(graph.one("Cast", x.name, to=_kind("FLOAT")), x.shape)


def expand(graph: Graph, operation: Any, x: Any) -> Any:
    if isinstance(x, IsMask):
        return x
    axis = operation.axis % (len(x.shape) + 1)
    name = graph.one("Unsqueeze", x.name, graph.constant([axis], np.int64))
    return Value(name, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(graph: Graph, operation: Any, x: Any) -> Any:
    if isinstance(x, IsMask):
        return x
    given = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
    axes = sorted(axis % len(x.shape) for axis in given if axis is not None)
    if not axes or any(x.shape[axis] != 1 for axis in axes):
        raise ArgumentError(f"{said(operation)} has axis={operation.axis}; name axes of size 1.")
    name = graph.one("Squeeze", x.name, graph.constant(axes, np.int64))
    return Value(name, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))


def reduction(graph: Graph, operation: Any, x: Value) -> Value:
    axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
    axes = [axis % len(x.shape) for axis in axes]
    kind, keep = _REDUCTIONS[type(operation).__name__], int(bool(operation.keepdims))
    if kind == "ReduceSum":  # the first whose axes became an input
        name = graph.one(kind, x.name, graph.constant(axes, np.int64), keepdims=keep)
    else:
        name = graph.one(kind, x.name, axes=axes, keepdims=keep)
    sizes = [1 if place in axes else size for place, size in enumerate(x.shape) if keep or place not in axes]
    return Value(name, tuple(sizes))


def get_item(graph: Graph, operation: Any, x: Value, key: Any) -> Value:
    keys = full_key(operation, key, len(x.shape))
    if keys[0] != slice(None):
        raise ArgumentError(f"{said(operation)} takes rows out of the batch; take features alone.")
    if len(keys) > 1 and keys[1] != slice(None) and len(x.shape) > 2:
        _refuse_padded(graph, operation, x)
    name, shape, gone, axis = x.name, list(x.shape), [], 0
    for one in keys:
        if one is None:
            continue
        if isinstance(one, int):
            name = graph.one("Gather", name, graph.constant([one], np.int64), axis=axis)
            gone.append(axis)
        elif one != slice(None):
            size = x.shape[axis]
            if size is None:
                raise ArgumentError(f"{said(operation)} takes {one!r} of an axis of any length; give it a size.")
            first, stop, step = one.indices(size)
            # Before the first element, which -1 is not for ONNX: there it is the last one.
            inputs = ([first], [stop if stop >= 0 else -size - 1], [axis], [step])
            name = graph.one("Slice", name, *(graph.constant(given, np.int64) for given in inputs))
            shape[axis] = len(range(first, stop, step))
        axis += 1
    if gone:
        name = graph.one("Squeeze", name, graph.constant(gone, np.int64))
    kept = iter([size for axis, size in enumerate(shape) if axis not in gone])
    sizes = [1 if one is None else next(kept) for one in keys if not isinstance(one, int)]
    added = [place for place, one in enumerate(one for one in keys if not isinstance(one, int)) if one is None]
    if added:
        name = graph.one("Unsqueeze", name, graph.constant(added, np.int64))
    return Value(name, tuple(sizes))


def masks(graph: Graph, operation: Any, *args: Any, **kwargs: Any) -> IsMask:
    """How Keras enters into a functional model the mask of a layer in it."""
    return IsMask()


def _broadcast(*shapes: tuple[Any, ...]) -> tuple[int | None, ...]:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def _kind(name: str) -> int:
    return {"FLOAT": 1, "INT64": 7}[name]  # onnx.TensorProto's, which are fixed by the format


_MERGES: dict[type, str] = {
    layers.Add: "Sum", layers.Subtract: "Sub", layers.Multiply: "Mul", layers.Average: "Mean", layers.Maximum: "Max",
    layers.Minimum: "Min",
}  # fmt: skip
_BINARY = {
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "TrueDivide": "Div", "Maximum": "Max", "Minimum": "Min"
}  # fmt: skip
_REDUCTIONS = {"Sum": "ReduceSum", "Max": "ReduceMax", "Min": "ReduceMin", "Mean": "ReduceMean"}

LAYERS: dict[type, Callable[..., Any]] = {
    layers.Dense: dense,
    layers.Embedding: embedding,
    **dict.fromkeys((layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax), activation),
    layers.Rescaling: rescaling,
    layers.Normalization: normalization,
    layers.BatchNormalization: batch_normalization,
    layers.LayerNormalization: layer_normalization,
    **dict.fromkeys((layers.RMSNormalization, layers.UnitNormalization), rms_normalization),
    **dict.fromkeys((layers.Flatten, layers.Reshape), flatten),
    layers.RepeatVector: repeat_vector,
    layers.Concatenate: concatenate,
    **dict.fromkeys(_MERGES, merge),
    **dict.fromkeys(
        (
            layers.Masking, layers.Identity, layers.Dropout, layers.SpatialDropout1D, layers.GaussianDropout,
            layers.GaussianNoise, layers.AlphaDropout, layers.ActivityRegularization,
        ),
        unchanged,
    ),
}  # fmt: skip
OPERATIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(_REDUCTIONS, reduction),
    "Cast": cast,
    "ExpandDims": expand,
    "GetItem": get_item,
    "Squeeze": squeeze,
    "Concatenate": concatenate,
    **dict.fromkeys(("NotEqual", "Any", "LogicalOr", "ZerosLike", "OnesLike"), masks),
}
