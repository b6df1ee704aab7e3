"""Which layers a stream can have, and for each other one the reason, and what to do about it."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from ..errors import ArgumentError
from .layers import LAYERS
from .operations import OPERATIONS
from .recurrent import CELLS
from .scanned import SCANNED_CELLS
from .walking import is_graph, layers_of, said

RECURRENT = CELLS | SCANNED_CELLS
_LATER = "needs steps that have not come yet"
_OVER_TIME = "needs more steps than the current one; a recurrent layer carries what is past in its state"
_POOLED = "answers from all steps together; the last state (return_sequences=False) holds them in a stream"

_REASONS: dict[type, str] = {
    layers.Bidirectional: (
        "reads the sequence from its end as well, which has not come yet; train with causal=True (--causal on the "
        "command line), give a model of forward layers alone, or predict whole sequences"
    ),
    **dict.fromkeys(
        (
            layers.Conv1D, layers.SeparableConv1D, layers.DepthwiseConv1D, layers.Conv1DTranspose, layers.MaxPooling1D,
            layers.AveragePooling1D, layers.ZeroPadding1D, layers.Cropping1D, layers.UpSampling1D,
        ),
        _OVER_TIME,
    ),
    **dict.fromkeys((layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D), _POOLED),
    **dict.fromkeys(
        (layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention, layers.GroupQueryAttention), _OVER_TIME
    ),
    layers.RepeatVector: "makes a sequence of its own, all at once; predict whole sequences",
    layers.GroupNormalization: f"takes its mean over time as well, and so {_LATER}; LayerNormalization is accepted",
    layers.Lambda: "runs code of your own, which cannot be looked into; write it with the layers of Keras",
}  # fmt: skip


def why_not(layer: Any) -> str | None:
    """Why a layer cannot be computed one step at a time, and what to do; None where its class and settings can.

    Example:
        >>> why_not(keras.layers.GRU(4, go_backwards=True))
        'has go_backwards=True, so that it begins at the end, which has not come yet; leave it out'
    """
    kind = type(layer)
    if kind in _REASONS:
        return _REASONS[kind]
    if kind is layers.TimeDistributed:
        inner = layer.layer
        if isinstance(inner, layers.RNN | layers.Bidirectional):
            return f"holds {said(inner)}, which runs along another axis than time; a stream has steps of time alone"
        parts = layers_of(inner) if is_graph(inner) else (inner,)
        reasons = [f"holds {said(part)}, which {reason}" for part in parts if (reason := why_not(part))]
        return "; ".join(reasons) or None
    if kind in RECURRENT:
        if layer.go_backwards:
            return "has go_backwards=True, so that it begins at the end, which has not come yet; leave it out"
        return _why_not_quantized(layer)
    if isinstance(layer, layers.RNN):
        base = next((known.__name__ for known in RECURRENT if isinstance(layer, known)), None)
        if base is not None:
            return f"is a subclass of {base}, which may override what a stream computes; make it a {base}"
        cell = type(layer.cell).__name__
        return f"has the cell {cell}; accepted are {', '.join(dict.fromkeys(known.__name__ for known in RECURRENT))}"
    if kind in LAYERS or (not isinstance(layer, keras.Layer) and kind.__name__ in OPERATIONS):
        return _why_not_quantized(layer)
    if kind is layers.InputLayer:
        return None
    if isinstance(layer, keras.Model):
        return "is a model whose own call cannot be looked into; make it a Sequential or functional one"
    return "is not among the layers that a stream knows; docs/stream.md lists them"


def _why_not_quantized(layer: Any) -> str | None:
    mode = layer.quantization_mode if isinstance(layer, keras.Layer) else None
    return None if mode is None else f"is quantized to {mode}; give the model before quantize()"


def refuse_layers(model: keras.Model) -> None:
    """Raises ArgumentError that names every layer of a model that a stream cannot have, each with the reason."""
    reasons = [f"{said(layer)} {reason}" for layer in layers_of(model) if (reason := why_not(layer))]
    if reasons:
        raise ArgumentError(f"the model {model.name!r} has no answer one step at a time: {'; '.join(reasons)}.")
