"""Which way a recurrent layer is computed: on the native kernel, or on Keras's own loop, and why.

``why_not_fused`` is the one place that decides. The layers call it before each call, ``explain`` and the tests read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import keras

from ..kernels.problem import Problem
from ..kernels.schedule import token_bytes
from .lru import LRUCell
from .minimal import MinGRUCell, MinLSTMCell, g

FUSED_DTYPES = ("float32", "float16", "bfloat16")
# Not subclasses, which may compute otherwise.
SCANNED_CELLS: dict[type, str] = {MinGRUCell: "mingru", MinLSTMCell: "minlstm", LRUCell: "lru"}
CANDIDATES = {keras.activations.linear: "", keras.activations.tanh: "_tanh", g: "_g"}
UNROLLED = "unroll=True asks for Keras's unrolled loop; leave it out, the kernel is faster."


def _op() -> ModuleType | None:
    """The module of the current backend's op; None where the backend has none."""
    backend = keras.backend.backend()
    if backend == "jax":
        from ..kernels import jax

        return jax
    if backend == "torch":
        from ..kernels import torch

        return torch
    if backend == "tensorflow":
        from ..kernels import tensorflow

        return tensorflow
    return None


def recurrent(*tensors: Any, **setting: Any) -> tuple[Any, Any, Any, Any]:
    """``recurrent`` of the current backend's op, where ``why_not_fused`` is None."""
    op = _op()
    assert op is not None
    return op.recurrent(*tensors, **setting)


def cell_name(layer: keras.layers.RNN) -> str | None:
    """What kernels call the recurrence of a layer, as in ``"gru_reset_before"``; None where they have no such one."""
    if isinstance(layer, keras.layers.LSTM):
        return "lstm"
    if isinstance(layer, keras.layers.GRU):
        return "gru" if layer.cell.reset_after else "gru_reset_before"
    if isinstance(layer, keras.layers.SimpleRNN):
        return {keras.activations.tanh: "rnn_tanh", keras.activations.relu: "rnn_relu"}.get(layer.activation)
    name = SCANNED_CELLS.get(type(layer.cell))
    if name is None or name == "lru":
        return name
    candidate = CANDIDATES.get(layer.cell.activation)
    return None if candidate is None else name + candidate


def state_units(layer: keras.layers.RNN) -> int:
    """H of the recurrence as the kernel has it: of an LRU the complex numbers of its state."""
    return getattr(layer.cell, "state_units", layer.cell.units)


def bytes_a_step(layer: keras.layers.RNN) -> int:
    """What the kernel holds of a step of one sequence between forward and backward pass; 0 for a cell it does not have.

    Example:
        >>> bytes_a_step(keras.layers.LSTM(128))
        3072
    """
    name = cell_name(layer)
    return 0 if name is None else token_bytes(Problem(name, 1, 1, 1, state_units(layer)))


def recurrent_layers(model: keras.Layer) -> Iterator[tuple[str, keras.layers.RNN, keras.Layer | None]]:
    """The recurrent layers of a model or layer, each once, wrapped ones too.

    Returns:
        A layer's name, after those of the models and wrappers that hold it, as in
        ``"encoder/bidirectional/forward_lstm"``; the layer; and what holds it, None for the one that was asked about.

    Example:
        >>> model = keras.Sequential([keras.layers.TimeDistributed(keras.layers.GRU(4, name="gru"), name="each")])
        >>> [name for name, _, _ in recurrent_layers(model)]
        ['each/gru']
    """
    return _recurrent_layers(model, "", None, set())


def _recurrent_layers(
    layer: keras.Layer, inside: str, container: keras.Layer | None, seen: set[int]
) -> Iterator[tuple[str, keras.layers.RNN, keras.Layer | None]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    if isinstance(layer, keras.layers.RNN):
        yield inside + layer.name, layer, container
        return
    within = f"{inside}{layer.name}/" if container is not None else ""  # the model that was asked about needs no name
    for part in layer._layers:
        yield from _recurrent_layers(part, within, layer, seen)


def why_not_mask(mask: Any) -> str | None:
    """Why a call with this mask, or None, runs in Keras's loop, or None."""
    if mask is None or len(mask.shape) == 2:
        return None
    return f"the mask has shape {tuple(mask.shape)}; one of shape (batch, steps) is accepted."


def why_not_fused(layer: keras.layers.RNN, *tensors: Any, mask: Any = None) -> str | None:
    """Why a layer's next call does not run on the native kernel, and how to mend it; None where it does.

    Args:
        layer: a SimpleRNN, GRU or LSTM, built or not, of ours or Keras's (as if it were ours); a MinGRU,
            MinLSTM or LRU.
        tensors: what the call is given; without them the layer's weights say where the call would run.
        mask: the call's mask.

    Example:
        >>> why_not_fused(keras.layers.GRU(4, recurrent_dropout=0.5))
        'recurrent_dropout=0.5 is not in the kernel; dropout= is, and is as fast as none.'
    """
    reason = _why_not_by_settings(layer) or why_not_mask(mask)
    if reason is not None:
        return reason
    op = _op()
    if op is None:
        return f"the kernel serves JAX, PyTorch and TensorFlow, and KERAS_BACKEND is {keras.backend.backend()}."
    if not tensors and layer.built:
        tensors = (layer.cell.kernel.value,)
    return op.why_not(*tensors)


def _why_not_by_settings(layer: keras.layers.RNN) -> str | None:
    cell = layer.cell
    if not isinstance(layer, keras.layers.SimpleRNN | keras.layers.GRU | keras.layers.LSTM):
        return _why_not_scanned(layer)
    if layer.recurrent_dropout:
        return f"recurrent_dropout={layer.recurrent_dropout} is not in the kernel; dropout= is, and is as fast as none."
    if layer.dropout == 1:
        return "dropout=1.0 drops all in some of Keras's loops and nothing in others; the kernel takes rates below 1."
    if layer.unroll:
        return UNROLLED
    if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
        if layer.activation is not keras.activations.tanh:
            return f"activation={_said(layer.activation)}; the kernel has 'tanh', the default."
        if layer.recurrent_activation is not keras.activations.sigmoid:
            return f"recurrent_activation={_said(layer.recurrent_activation)}; the kernel has 'sigmoid', the default."
        if layer.use_cudnn is True:
            return "use_cudnn=True asks for cuDNN; leave it out to run on the CPU's kernel."
        if cell.implementation == 1 and cell.dropout:
            return "implementation=1 draws a dropout mask for each gate; implementation=2, the default, draws one."
    if cell_name(layer) is None:
        return f"activation={_said(layer.activation)}; the kernel has 'tanh', the default, and 'relu'."
    if layer.compute_dtype not in FUSED_DTYPES:
        return f"it computes in {layer.compute_dtype}; the kernel computes in float32."
    return None


def _why_not_scanned(layer: keras.layers.RNN) -> str | None:
    if layer.unroll:
        return UNROLLED
    if layer.by_scan:
        return "tt.to_keras(model) put it on a scan in Keras's operations; tt.accelerate(model) puts it back."
    if type(layer.cell) not in SCANNED_CELLS or not layer.has_our_recurrence():
        return f"{type(layer).__name__} has a recurrence of its own, which the kernel does not have."
    if cell_name(layer) is None:
        return f"activation={_said(layer.cell.activation)}; the kernel has None, 'tanh' and 'g'."
    if layer.compute_dtype not in FUSED_DTYPES:
        return f"it computes in {layer.compute_dtype}; the kernel computes in float32."
    return None


def _said(activation: Any) -> str:
    return repr(keras.activations.serialize(activation))
