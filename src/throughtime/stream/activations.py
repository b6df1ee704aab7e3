"""Keras's activations as NumPy functions that work in place, on an array of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, listed

Activation = Callable[[np.ndarray], None]


def _linear(a: np.ndarray) -> None:
    pass


def _tanh(a: np.ndarray) -> None:
    np.tanh(a, out=a)


def _sigmoid(a: np.ndarray) -> None:
    # By tanh, which NumPy has in SIMD and which cannot overflow as exp does.
    a *= 0.5
    np.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _hard_sigmoid(a: np.ndarray) -> None:
    a += 3
    a *= 1 / 6
    np.clip(a, 0, 1, out=a)


def _relu(a: np.ndarray) -> None:
    np.maximum(a, 0, out=a)


def _relu6(a: np.ndarray) -> None:
    np.clip(a, 0, 6, out=a)


def _hard_tanh(a: np.ndarray) -> None:
    np.clip(a, -1, 1, out=a)


def _leaky(slope: float) -> Activation:
    def leaky(a: np.ndarray) -> None:
        np.copyto(a, slope * a, where=a < 0)

    return leaky


def _elu(alpha: float) -> Activation:
    def elu(a: np.ndarray) -> None:
        np.copyto(a, alpha * np.expm1(np.minimum(a, 0)), where=a < 0)

    return elu


def _selu(a: np.ndarray) -> None:
    _elu(1.6732632423543772)(a)
    a *= 1.0507009873554805


def _softplus(a: np.ndarray) -> None:
    np.logaddexp(a, 0, out=a)


def _softsign(a: np.ndarray) -> None:
    a /= 1 + np.abs(a)


def _times(gate: Activation) -> Activation:
    """``a * gate(a)``."""

    def gated(a: np.ndarray) -> None:
        gates = a.copy()
        gate(gates)
        a *= gates

    return gated


def _softplus_tanh(a: np.ndarray) -> None:
    _softplus(a)
    np.tanh(a, out=a)


def _normal(a: np.ndarray) -> None:
    from scipy.special import ndtr

    a[...] = ndtr(a)


def _exponential(a: np.ndarray) -> None:
    np.exp(a, out=a)


def _softmax(a: np.ndarray) -> None:
    a -= a.max(-1, keepdims=True)
    np.exp(a, out=a)
    a /= a.sum(-1, keepdims=True)


def _log_softmax(a: np.ndarray) -> None:
    a -= a.max(-1, keepdims=True)
    a -= np.log(np.exp(a).sum(-1, keepdims=True))


_KNOWN: dict[str, Activation] = {
    "linear": _linear, "tanh": _tanh, "sigmoid": _sigmoid, "hard_sigmoid": _hard_sigmoid, "relu": _relu,
    "relu6": _relu6, "hard_tanh": _hard_tanh, "leaky_relu": _leaky(0.2), "elu": _elu(1.0), "selu": _selu,
    "softplus": _softplus, "softsign": _softsign, "silu": _times(_sigmoid), "hard_silu": _times(_hard_sigmoid),
    "gelu": _times(_normal), "mish": _times(_softplus_tanh), "exponential": _exponential, "softmax": _softmax,
    "log_softmax": _log_softmax,
}  # fmt: skip
_BY_FUNCTION = {getattr(keras.activations, name): name for name in _KNOWN}


def name_of(activation: Any) -> str | None:
    """Keras's name of one of its functions, ``"linear"`` for None; None for a function of the user's own.

    Example:
        >>> name_of(keras.activations.get("swish"))
        'silu'
    """
    if activation is None:
        return "linear"
    # A layer may stand where a function is meant, and a layer need not be hashable.
    return _BY_FUNCTION.get(activation) if not isinstance(activation, keras.Layer) else None


def in_place(activation: Any, layer: str) -> Activation:
    """What Keras's activation computes, in NumPy and in place.

    Args:
        activation: a function of ``keras.activations``, one of the layers ReLU, LeakyReLU and ELU, or None.
        layer: whose it is, in words.

    Raises:
        ArgumentError: another one.

    Example:
        >>> a = np.array([-1.0, 2.0], np.float32)
        >>> in_place(keras.activations.relu, "layer 'dense'")(a)
        >>> a.tolist()
        [0.0, 2.0]
    """
    if type(activation) in LAYERS:
        return LAYERS[type(activation)](activation)
    name = name_of(activation)
    if name is None:
        given = getattr(activation, "__name__", type(activation).__name__)
        raise ArgumentError(f"{layer} has the activation {given}; accepted are {listed(_KNOWN, 30)}.")
    return _KNOWN[name]


# Layers that are activations ------------------------------------------------------------------------------------------


def _relu_layer(layer: keras.layers.ReLU) -> Activation:
    threshold, slope, highest = float(layer.threshold), float(layer.negative_slope), layer.max_value

    def relu(a: np.ndarray) -> None:
        below = slope * (a - threshold)
        low = a <= threshold
        if highest is not None:
            np.clip(a, 0, highest, out=a)
        np.copyto(a, below, where=low)

    return relu


LAYERS: dict[type, Callable[[Any], Activation]] = {
    keras.layers.ReLU: _relu_layer,
    keras.layers.LeakyReLU: lambda layer: _leaky(float(layer.negative_slope)),
    keras.layers.ELU: lambda layer: _elu(float(layer.alpha)),
}
