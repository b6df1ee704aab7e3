"""The calls of a model's recurrent layers, seen from inside: what goes in, and dL/dh_t of every step.

While a model is watched its recurrent layers are of a class of ours that records or probes, in place; afterwards they
are what they were. One that runs on the native kernel leaves the norms of dL/dh_t at a tap, out of the backward pass
that is made anyway. In Keras's loop a zero is added to the state after each step, inside the recurrence, and the loss
is differentiated by it: added to the layer's outputs instead it would see the direct part alone, not what comes back
through later steps.
"""

from __future__ import annotations

import itertools
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

    ``inputs`` (B, T, F) and ``states`` (B, H) each are float32, ``mask`` (B, T) bool. ``fused``: on the native kernel.
    """

    fused: bool
    units: int  # of the state that is the output; of an LRU, real and imaginary parts of its state
    inputs: np.ndarray
    mask: np.ndarray
    states: list[np.ndarray]


@dataclass
class Watch:
    """What happens at each call of a layer: it is recorded, or, with ``probes``, has the next of them added."""

    name: str
    layer: keras.layers.RNN
    calls: list[Call] = field(default_factory=list)
    probes: Iterator[Any] | None = None


class _WithProbe:
    """A cell that takes x and a probe side by side, and adds the probe to the state after the step."""

    def __init__(self, cell: Any, features: int, training: bool) -> None:
        self.cell, self.features = cell, features
        takes = isinstance(cell, keras.Layer) and cell._call_has_training_arg
        self.options = {"training": training} if takes else {}

    def __call__(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        x, probe = inputs[:, : self.features], inputs[:, self.features :]
        if isinstance(self.cell, LRUCell):  # its first state is the output, through which nothing comes back
            return self.cell.moved(x, states, probe)
        output, after = self.cell(x, states, **self.options)
        after = list(after) if isinstance(after, list | tuple) else [after]
        place = -1 if isinstance(self.cell, keras.layers.StackedRNNCells) else 0  # of the cell that gives the output
        after[place] = self.added(after[place], probe)
        return output + ops.cast(probe, output.dtype), after

    def added(self, states: Any, probe: Any) -> Any:
        """To the state that is the output: the first one of a cell."""
        if not isinstance(states, list | tuple):
            return states + ops.cast(probe, states.dtype)
        return [states[0] + ops.cast(probe, states[0].dtype), *states[1:]]


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
            units = self.cell.state_size[1] if isinstance(self.cell, LRUCell) else last.shape[-1]
            watch.calls.append(Call(fused, units, arrays[0], seen, arrays[1:]))
            return last, outputs, after
        probe = ops.cast(next(watch.probes), sequences.dtype)
        given["sequences"] = ops.concatenate([sequences, probe], axis=-1)
        before = self.__dict__.get("cell")
        self.__dict__["cell"] = _WithProbe(self.cell, sequences.shape[-1], training)
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
