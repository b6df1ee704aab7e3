"""The calls of a model's recurrent layers, seen from inside: what goes in, and dL/dh_t of every step.

While a model is watched its recurrent layers are of a class of ours that records or probes, in place; afterwards they
are what they were. One that runs on the native kernel leaves the norms of dL/dh_t at a tap, out of the backward pass
that is made anyway. In Keras's loop a zero is added to the state after each step, inside the recurrence, and the loss
is differentiated by it: added to the layer's outputs instead it would see the direct part alone, not what comes back
through later steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from ..kernels import native
from ..layers.explanation import runs_as_ours
from ..layers.lru import LRUCell
from ..layers.paths import why_not_fused

_TAPS = itertools.count(1)  # numbers of taps, each used once in a process


@dataclass
class Call:
    """One call of a recurrent layer: what it was given, by place in time.

    ``inputs`` (B, T, F) and ``states`` (B, H) each are float32, ``mask`` (B, T) bool; of images they have more axes.

    Args:
        fused: on the native kernel.
        shape: of the state that is the output, for one sequence; of an LRU, real and imaginary parts of its state.
        places: of that state among the states, laid flat; none where the output is no state.
    """

    fused: bool
    shape: tuple[int, ...]
    inputs: np.ndarray
    mask: np.ndarray
    states: list[np.ndarray]
    places: tuple[int, ...]

    @property
    def units(self) -> int:
        """H: of the state of an image, all of its values."""
        return math.prod(self.shape)


@dataclass
class Watch:
    """What happens at each call of a layer: it is recorded, or, with ``probes``, has the next of them added.

    ``probes``: a recorded call, and its probe (B, T, H) as a tensor.
    """

    name: str
    layer: keras.layers.RNN
    calls: list[Call] = field(default_factory=list)
    probes: Iterator[Any] | None = None


class _WithProbe:
    """A cell that takes x and a probe side by side, and adds the probe to the state after the step.

    Both are laid flat, so that images and states of any shape go through a loop together.
    """

    def __init__(self, cell: Any, call: Call, dtype: Any, training: bool) -> None:
        self.cell, self.known, self.dtype = cell, call, dtype
        takes = isinstance(cell, keras.Layer) and cell._call_has_training_arg
        self.options = {"training": training} if takes else {}

    def __call__(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        shape = self.known.inputs.shape[2:]
        size = math.prod(shape)
        x = ops.cast(ops.reshape(inputs[:, :size], (-1, *shape)), self.dtype)
        probe = ops.reshape(inputs[:, size:], (-1, *self.known.shape))
        if isinstance(self.cell, LRUCell):  # its first state is the output, through which nothing comes back
            return self.cell.moved(x, states, probe)
        output, after = self.cell(x, states, **self.options)
        after = list(after) if isinstance(after, list | tuple) else [after]
        flat = keras.tree.flatten(after)
        for place in self.known.places:
            flat[place] = flat[place] + ops.cast(probe, flat[place].dtype)
        return output + ops.cast(probe, output.dtype), keras.tree.pack_sequence_as(after, flat)


def _output_states(cell: Any, x: Any, states: list[Any]) -> tuple[int, ...]:
    """Which of a cell's new states, laid flat, are its output, or are so up to what does not depend on the state.

    Found by a step from each of two states that are drawn: what a step adds to the state, such as the input, is the
    same in both. Zero and one are no good states for that, since much is equal there by chance.
    """
    takes = isinstance(cell, keras.Layer) and cell._call_has_training_arg
    options = {"training": False} if takes else {}
    rng = np.random.default_rng(0)
    added: list[list[np.ndarray | None]] = []
    for _ in range(2):
        drawn = keras.tree.map_structure(
            lambda one: ops.cast(ops.convert_to_tensor(rng.normal(size=one.shape).astype("float32")), one.dtype), states
        )
        output, after = cell(x, drawn, **options)
        found = [np.asarray(ops.convert_to_numpy(ops.cast(one, "float32"))) for one in keras.tree.flatten(after)]
        wanted = np.asarray(ops.convert_to_numpy(ops.cast(output, "float32")))
        added.append([wanted - one if one.shape == wanted.shape else None for one in found])
    return tuple(
        place for place, (one, other) in enumerate(zip(*added, strict=True))
        if one is not None and other is not None and np.allclose(one, other, rtol=1e-3, atol=1e-4)
    )  # fmt: skip


def _watched(stock: type) -> type:
    """A subclass of a layer's class whose loop is recorded or probed."""

    def inner_loop(self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        watch: Watch = self.__dict__["_watch"]
        states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
        valid = mask[0] if isinstance(mask, list | tuple) else mask
        given = {"sequences": sequences, "initial_state": initial_state, "mask": mask, "training": training}
        if watch.probes is None:
            seen = np.ones(sequences.shape[:2], bool) if valid is None else ops.convert_to_numpy(valid).astype(bool)
            arrays = [
                ops.convert_to_numpy(ops.cast(one, "float32")) for one in (sequences, *keras.tree.flatten(states))
            ]
            fused = runs_as_ours(stock) and why_not_fused(self, sequences, mask=valid) is None
            last, outputs, after = stock.inner_loop(self, **given)  # type: ignore[attr-defined]
            lru = isinstance(self.cell, LRUCell)
            shape = (self.cell.state_size[1],) if lru else tuple(last.shape[1:])
            places = (0,) if fused or lru else _output_states(self.cell, sequences[:, 0], states)
            watch.calls.append(Call(fused, shape, arrays[0], seen, arrays[1:], places))
            return last, outputs, after
        call, probe = next(watch.probes)
        dtype = sequences.dtype
        wide = sequences if keras.backend.is_float_dtype(dtype) else ops.cast(sequences, "float32")  # tokens
        wide = ops.reshape(wide, (*sequences.shape[:2], math.prod(sequences.shape[2:])))
        given["sequences"] = ops.concatenate([wide, ops.cast(probe, wide.dtype)], axis=-1)
        before = self.__dict__.get("cell")
        self.__dict__["cell"] = _WithProbe(self.cell, call, dtype, training)
        try:
            return keras.layers.RNN.inner_loop(self, **given)
        finally:
            if before is None:  # on PyTorch a module's parts lie elsewhere
                del self.__dict__["cell"]
            else:
                self.__dict__["cell"] = before

    return type(stock.__name__, (stock,), {"inner_loop": inner_loop, "__module__": stock.__module__})


@contextmanager
def watched(named: Mapping[str, keras.layers.RNN]) -> Iterator[dict[str, Watch]]:
    """Layers whose calls are recorded until the end of the block, or probed where their watch is given probes."""
    watches: dict[str, Watch] = {}
    try:
        for name, layer in named.items():
            watches[name] = layer.__dict__["_watch"] = Watch(name, layer)
            layer.__class__ = _watched(type(layer))
        yield watches
    finally:
        for watch in watches.values():
            del watch.layer.__dict__["_watch"]
            watch.layer.__class__ = type(watch.layer).__mro__[1]


def new_tap() -> int:
    """A number for a tap that this process has not used before."""
    return next(_TAPS)


@contextmanager
def tapped(named: Mapping[str, keras.layers.RNN], taps: Mapping[str, int] | None = None) -> Iterator[Mapping[str, int]]:
    """Layers on the native kernel with a tap each, until the end of the block.

    ``taps``: the numbers of an earlier block, for a function that was compiled in it; by default new ones.
    """
    taps = {name: new_tap() for name in named} if taps is None else taps
    before = {name: layer.tap for name, layer in named.items()}
    try:
        for name, layer in named.items():
            layer.tap = taps[name]
        yield taps
    finally:
        for name, layer in named.items():
            layer.tap = before[name]
            native.close_tap(taps[name])
