"""One eager call of a model, seen layer by layer: what goes in and comes out, with its mask, in the order of execution.

Layers are of a class of ours for that time, as in gradients/watching.py. What runs inside of a recurrent loop or of
TimeDistributed is not seen: a backend may trace it instead of running it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from ..gradients.building import build


@dataclass
class LayerCall:
    """One call of one layer.

    ``inputs`` are in the order given; ``mask_in`` and ``mask_out`` are boolean, (B, T), or None.
    """

    name: str
    layer: keras.layers.Layer
    inputs: list[np.ndarray]
    output: np.ndarray | None
    mask_in: np.ndarray | None
    mask_out: np.ndarray | None

    @property
    def finite(self) -> bool:
        return self.output is None or bool(np.isfinite(self.output).all())


@dataclass
class Trace:
    """The calls of one run, and what the model gave: ``outputs`` by name, each with its mask or None.

    ``failed``: what stopped the run, and the layer in which it did.
    """

    calls: list[LayerCall] = field(default_factory=list)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray | None] = field(default_factory=dict)
    failed: tuple[str, Exception] | None = None

    def of(self, kind: type | tuple[type, ...]) -> list[LayerCall]:
        return [call for call in self.calls if isinstance(call.layer, kind)]


# What a layer gives out, with its mask, before others see it; returns what they see instead, or None to leave it.
Change = Callable[[LayerCall, Any], Any]


class _Mask(keras.layers.Layer):
    """Sees the mask of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True
        self.seen: Any = None

    def call(self, x: Any, mask: Any = None) -> Any:
        self.seen = mask
        return x


class _WithMask(keras.layers.Layer):
    """Gives a tensor a mask."""

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.mask = mask

    def call(self, x: Any) -> Any:
        return ops.multiply(x, ops.ones((), x.dtype))

    def compute_mask(self, x: Any, previous_mask: Any = None) -> Any:
        return self.mask


def traced(model: keras.Model, x: Any, *, change: Change | None = None) -> Trace:
    """Calls a model with ``training=False`` on arrays; no variable is changed.

    Args:
        x: as the model takes it.
        change: is shown every call, and may replace what the layer gives out; its mask stays.
    """
    trace = Trace()
    stack: list[str] = []
    unbuilt: Exception | None = None
    try:
        build(model, x)
    except Exception as error:  # the call stops as well, and there it is known in which layer
        unbuilt = error
    with _swapped(model, trace, stack, change), keras.StatelessScope():
        try:
            given = keras.tree.map_structure(ops.convert_to_tensor, x)
            outputs = model(given, training=False)
        except Exception as error:
            # Any of Keras's, the framework's or the user's own: it is shown to the user, with the layer.
            trace.failed = (stack[-1] if stack else model.name, error)
            return trace
    if unbuilt is not None:  # fit builds it before it calls it
        trace.failed = (model.name, unbuilt)
        return trace
    flat = keras.tree.flatten(outputs)
    names = list(getattr(model, "output_names", None) or [])
    if isinstance(outputs, dict):
        names = list(outputs)
        flat = list(outputs.values())
    last = next((call.name for call in reversed(trace.calls) if not isinstance(call.layer, keras.Model)), "output")
    for place, one in enumerate(flat):
        name = names[place] if len(names) == len(flat) else last if len(flat) == 1 else f"output {place}"
        trace.outputs[name] = ops.convert_to_numpy(one)
        trace.masks[name] = _array(_mask_of(one))
    return trace


@contextmanager
def _swapped(model: keras.Model, trace: Trace, stack: list[str], change: Change | None) -> Iterator[None]:
    layers = list(_seen_layers(model))
    before = [type(layer) for _, layer in layers]
    try:
        for name, layer in layers:
            layer.__class__ = _tracing(type(layer), name, trace, stack, change)
        yield
    finally:
        for (_, layer), stock in zip(layers, before, strict=True):
            layer.__class__ = stock


def _seen_layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    seen: set[int] = set()

    def walk(layer: Any, inside: str) -> Iterator[tuple[str, keras.layers.Layer]]:
        for part in layer._layers:
            if id(part) in seen or isinstance(part, keras.layers.InputLayer):
                continue
            seen.add(id(part))
            name = f"{inside}{part.name}"
            yield name, part
            if not isinstance(part, keras.layers.RNN | keras.layers.TimeDistributed):
                yield from walk(part, f"{name}/")

    yield from walk(model, "")


def _tracing(stock: type, name: str, trace: Trace, stack: list[str], change: Change | None) -> type:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        tensors = [one for one in keras.tree.flatten((args, kwargs)) if ops.is_tensor(one)]
        if any(isinstance(one, keras.KerasTensor) for one in keras.tree.flatten((args, kwargs))):
            return stock.__call__(self, *args, **kwargs)
        mask_in = kwargs.get("mask")
        if mask_in is None and tensors:
            mask_in = _mask_of(tensors[0])
        if isinstance(mask_in, list | tuple):
            mask_in = mask_in[0]
        stack.append(name)
        outputs = stock.__call__(self, *args, **kwargs)
        stack.pop()
        first = keras.tree.flatten(outputs)[0]
        mask = _mask_of(first)
        inputs = [ops.convert_to_numpy(one) for one in tensors]
        call = LayerCall(name, self, inputs, _array(first), _array(mask_in), _array(mask))
        trace.calls.append(call)
        if change is not None:
            other = change(call, outputs)
            if other is not None:
                return other if mask is None else _WithMask(mask)(other)
        return outputs

    return type(stock.__name__, (stock,), {"__call__": __call__, "__module__": stock.__module__})


def _mask_of(tensor: Any) -> Any:
    seen = _Mask()
    seen(tensor)
    return seen.seen


def _array(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else ops.convert_to_numpy(tensor)
