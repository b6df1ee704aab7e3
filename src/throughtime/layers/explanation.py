"""``explain``: which way each recurrent layer of a model is computed, and why."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import keras
import numpy as np

from ..errors import ArgumentError
from ..kernels import native
from ..kernels.schedule import need, written
from .fused import Fused
from .paths import cell_name, recurrent_layers, state_units, why_not_fused
from .recurrent import OURS
from .scanned import LRU, SCANNED, Scanned

# Layers that run on the native kernel, where nothing keeps them from it.
FUSED: tuple[Any, ...] = (*OURS.values(), *SCANNED)
_WITH_UNITS = keras.layers.SimpleRNN | keras.layers.GRU | keras.layers.LSTM
NATIVE, SCAN, KERAS = "native kernel", "parallel scan", "Keras's loop"
FORWARD = 1 / 3  # of the multiplications of a training step are those of its forward pass
# Values a step and unit that a training step by parallel scan holds at its highest: by how much the peaks that
# benchmarks/memory.py --steps 20000,100000 prints differ. Over a million steps PyTorch held a seventh less.
HELD_BY_SCAN = {
    "jax": {"MinGRU": 10, "MinLSTM": 13, "LRU": 16},
    "torch": {"MinGRU": 16, "MinLSTM": 18, "LRU": 24},
    "tensorflow": {"MinGRU": 11, "MinLSTM": 14, "LRU": 13},
}
WRAPPERS = keras.layers.Bidirectional | keras.layers.TimeDistributed


@dataclass(frozen=True)
class LayerPath:
    """One recurrent layer.

    Args:
        layer: its name, after those of the models and wrappers that hold it: ``"encoder/bidirectional/forward_lstm"``.
        cell: its class.
        units: of its state.
        path: "native kernel"; "parallel scan", where a MinGRU, MinLSTM or LRU is not on it; or "Keras's loop".
        reason: why it is not the kernel, or what its wrapper loses, and how to mend it; empty where all is well.
        memory: what it holds between forward and backward pass, and what that costs, by a parallel scan about; empty
            where it was not asked for, and of Keras's loop.
    """

    layer: str
    cell: str
    units: int | None
    path: str
    reason: str
    memory: str = ""


class Explanation(Sequence[LayerPath]):
    """The recurrent layers of a model; prints as a table."""

    def __init__(self, rows: list[LayerPath]) -> None:
        self._rows = rows

    @overload
    def __getitem__(self, place: int) -> LayerPath: ...
    @overload
    def __getitem__(self, place: slice) -> list[LayerPath]: ...
    def __getitem__(self, place: int | slice) -> LayerPath | list[LayerPath]:
        return self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def table(self) -> list[tuple[str, ...]]:
        """Header and rows, as text; the last column may be long."""
        asked = any(row.memory for row in self._rows)
        head = ("layer", "cell", "units", "path", *(("held for the backward pass",) if asked else ()), "why")
        rows = (
            (row.layer, row.cell, str(row.units or ""), row.path, *((row.memory,) if asked else ()), row.reason)
            for row in self._rows
        )
        return [head, *rows]

    def __str__(self) -> str:
        if not self._rows:
            return "no SimpleRNN, GRU or LSTM in this model"
        table = self.table()
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
        lines = []
        for row in table:
            cells = (f"{text:<{width}}" for text, width in zip(row[:-1], widths, strict=True))
            lines.append("  ".join([*cells, row[-1]]).rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self.table()
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows)
        return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def explain(model: keras.Layer, *, batch_size: int | None = None, steps: int | None = None) -> Explanation:
    """Which way each recurrent layer of a model is computed, and why; and what a training step holds in memory for it.

    Args:
        model: a keras.Model or layer; of ours or Keras's.
        batch_size: sequences of a batch; says for each layer on the kernel what it holds between forward and backward
            pass, within its ``memory=`` or by default, how much is computed again for that, and about how many times
            as long a training step of the layer takes. A parallel scan holds all steps; about how much was measured.
        steps: time steps of a sequence; by default those of the model's first input.

    Returns:
        A sequence of ``LayerPath``, one for each SimpleRNN, GRU, LSTM and other RNN layer; prints as a table.

    Raises:
        ArgumentError: not a Keras model or layer; a number of steps that is not known; a budget that is too small.

    Example:
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.GRU(8, name="first")])
        >>> print(explain(model))
        layer  cell  units  path          why
        first  GRU   8      Keras's loop  it is Keras's own layer; tt.accelerate(model) puts it on the native kernel.
    """
    if not isinstance(model, keras.Layer):
        raise ArgumentError(f"explain was given {type(model).__name__}; a keras.Model or keras.Layer is accepted.")
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise ArgumentError(f"{name}={value!r} is given; a whole number of at least 1 is accepted.")
    if batch_size is not None and steps is None:
        shapes = [tensor.shape for tensor in getattr(model, "inputs", None) or () if len(tensor.shape) > 1]
        steps = shapes[0][1] if shapes else None
        if steps is None:
            raise ArgumentError("the model takes sequences of any length; say for how many time steps: steps=1000.")
    rows = []
    for name, layer, container in recurrent_layers(model):
        path, reason = _path(layer)
        units = layer.units if isinstance(layer, _WITH_UNITS | Scanned) else None
        memory = ""
        if batch_size is not None and steps is not None and path != KERAS:
            memory = (_memory if path == NATIVE else _scanned)(layer, batch_size, steps)
        rows.append(LayerPath(name, type(layer).__name__, units, path, reason or _lost(container) or "", memory))
    return Explanation(rows)


def _memory(layer: keras.layers.RNN, batch_size: int, steps: int) -> str:
    """In words, what the kernel holds of a batch without masked steps, and computes again."""
    problem = native.Problem(cell_name(layer) or "", batch_size, steps, 1, state_units(layer))
    budget = layer.memory or native.keep_at_most(0)
    found = need(problem, budget, shards=native.threads())
    if not found.recomputed:
        within = f", within {written(budget)}" if layer.memory else ""
        return f"{written(found.whole)}: all of it{within}{_states_of_lru(layer, batch_size, steps)}"
    again = (
        f"{found.recomputed:.0%} of the steps" if found.recomputed <= 1 else f"each step {found.recomputed:.1f} times"
    )
    times = 1 + FORWARD * found.recomputed  # as measured by benchmarks/memory.py
    held = f"{written(found.kept)} of {written(found.whole)}, within {written(budget)}"
    cost = f"computed again: {again}, about {times:.1f} times the time"
    return f"{held}; {cost}{_states_of_lru(layer, batch_size, steps)}"


def _states_of_lru(layer: keras.layers.RNN, batch_size: int, steps: int) -> str:
    """What C reads is no part of what the kernel holds."""
    if not isinstance(layer, LRU) or not layer.return_sequences:
        return ""
    return f"; and {written(8 * batch_size * steps * layer.cell.state_units)} of states"


def _scanned(layer: Scanned, batch_size: int, steps: int) -> str:
    kind = next(ours.__name__ for ours in SCANNED if isinstance(layer, ours))
    values = HELD_BY_SCAN[keras.backend.backend()][kind]
    size = np.dtype(layer.compute_dtype).itemsize
    held = written(values * size * batch_size * steps * state_units(layer))
    return f"about {held}: all steps, {values} values a step and unit"


def _lost(layer: keras.Layer | None) -> str | None:
    if not isinstance(layer, WRAPPERS) or layer.supports_masking:
        return None
    return f"this Keras's {type(layer).__name__} does not pass the mask on; tt.accelerate(model) makes it."


def runs_as_ours(kind: Any) -> bool:
    """Whether a class is one of ours, or a subclass that leaves alone what we replace."""
    return issubclass(kind, Fused) and kind.inner_loop in [ours.inner_loop for ours in FUSED]


def _path(layer: keras.layers.RNN) -> tuple[str, str]:
    """The way and, where it is not the kernel's, why."""
    if not runs_as_ours(type(layer)):
        return KERAS, _why_not_ours(layer)
    reason = why_not_fused(layer)
    if reason is None:
        return NATIVE, ""
    scanned = isinstance(layer, Scanned) and layer.why_not_scanned() is None
    return SCAN if scanned else KERAS, reason


def _why_not_ours(layer: keras.layers.RNN) -> str:
    if type(layer) in OURS:
        could = why_not_fused(layer)
        if could is None:
            return "it is Keras's own layer; tt.accelerate(model) puts it on the native kernel."
        return f"it is Keras's own layer, and would stay in Keras's loop: {could}"
    if isinstance(layer, Scanned):
        return f"it is a subclass of {type(layer).__mro__[1].__name__}, which may run another way."
    if isinstance(layer, _WITH_UNITS):
        base = next(stock.__name__ for stock in OURS if isinstance(layer, stock))
        return f"it is a subclass of {base}, which may override what the kernel replaces; it is left alone."
    return f"its cell is {type(layer.cell).__name__}; the kernel has those of SimpleRNN, GRU and LSTM."
