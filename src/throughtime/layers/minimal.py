"""The cells of minGRU and minLSTM (Feng et al. 2024, arXiv:2410.01201): GRU and LSTM without the state in their gates.

A GRU asks its state what to forget; these ask the input alone. So all gates of all steps are one matrix product, and
what is left, h_t = a_t h_{t-1} + b_t for each unit by itself, is a scan. What is lost is said in ``LIMITS``.

Gates are computed in float32 at least, and without cancellation: 1 - z is the sigmoid of minus z's argument, and
f / (f + i) that of a difference of logarithms, which is finite where both underflow.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from ..errors import ArgumentError
from .scan import Number

LIMITS = (
    "{name} updates its state without looking at it, so it cannot track a state, such as parity; several layers of it "
    "help with short sequences only. A SimpleRNN, GRU or LSTM can."
)


def g(x: Any) -> Any:
    """x + 0.5 where x >= 0, else sigmoid(x): the positive candidates of the paper's log-space form (its appendix B.3).

    Example:
        >>> [float(one) for one in g(ops.convert_to_tensor([-100.0, 0.0, 2.0]))]
        [0.0, 0.5, 2.5]
    """
    return ops.where(x >= 0, x + 0.5, ops.sigmoid(x))


def wide(dtype: str) -> str:
    """What gates and states of a scan are computed in: float32 for half precision, else the dtype itself."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def product(x: Any, kernel: Any) -> Any:
    """x @ kernel; ``ops.matmul`` makes float32 of float64 on PyTorch (Keras 3.15)."""
    if keras.backend.backend() != "torch":
        return ops.matmul(x, kernel)
    kernel = ops.convert_to_tensor(kernel)
    return ops.cast(x, kernel.dtype) @ kernel


def whole_number(name: str, value: Any, least: int = 1) -> str | None:
    """What is wrong with an argument that is to be a whole number, or None."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return None
    return f"{name}={value!r} is given; a whole number of at least {least} is accepted."


class MinimalCell(keras.layers.Layer):
    """What minGRU and minLSTM have in common; the arguments are those of ``MinGRU``."""

    gates: ClassVar[int]  # beside the candidate, which comes last in the kernel

    def __init__(
        self,
        units: int,
        *,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        chrono: int | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        wrong = [whole_number("units", units)]
        if chrono is not None:
            wrong.append(whole_number("chrono", chrono, 2))
            if not use_bias:
                wrong.append("chrono= starts the bias, and use_bias=False is given; leave one of them out.")
        if any(wrong):
            raise ArgumentError(" ".join(filter(None, wrong)))
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units
        self.activation = g if activation == "g" else keras.activations.get(activation)
        self.use_bias, self.chrono, self.seed = use_bias, chrono, seed
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        width = (self.gates + 1) * self.units
        self.kernel = self.add_weight(
            shape=(input_shape[-1], width), name="kernel", initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
        )  # fmt: skip
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(width,), name="bias", initializer=self._first_bias,
                regularizer=self.bias_regularizer, constraint=self.bias_constraint,
            )  # fmt: skip

    def _first_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        bias = self.bias_initializer(shape, dtype=dtype)
        if self.chrono is None:
            return bias
        # Where the input says nothing, a unit loses 1 / (1 + steps) of its state with each step.
        draw = keras.initializers.RandomUniform(1.0, float(self.chrono), seed=self.seed)
        keep = ops.log(draw((self.units,), dtype=dtype))
        return ops.concatenate([*self.keeping(keep), bias[self.gates * self.units :]])

    def keeping(self, keep: Any) -> list[Any]:
        """The bias of each gate, (H,), at which a unit's state is multiplied by sigmoid(keep)."""
        raise NotImplementedError

    def split(self, x: Any) -> list[Any]:
        """The arguments of the gates and the candidate, (..., H) each, from inputs (..., F)."""
        found = product(x, self.kernel)
        if self.bias is not None:
            found = found + ops.cast(self.bias, found.dtype)
        *gates, candidate = ops.split(ops.cast(found, wide(self.compute_dtype)), self.gates + 1, axis=-1)
        return [*gates, candidate if self.activation is None else self.activation(candidate)]

    def coefficients(self, x: Any) -> tuple[Number, Number]:
        """a and b of h_t = a_t h_{t-1} + b_t, (..., H), from inputs (..., F)."""
        raise NotImplementedError

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """A step: the output (B, H), which is the state, and the state in a list."""
        h = states[0] if isinstance(states, list | tuple) else states
        (a,), (b,) = self.coefficients(inputs)
        h = ops.cast(a * ops.cast(h, a.dtype) + b, self.compute_dtype)
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.settings()

    def settings(self) -> dict[str, Any]:
        """The arguments of the cell itself, as a config has them."""
        return {
            "units": self.units,
            "activation": "g" if self.activation is g else keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "chrono": self.chrono,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="throughtime")
class MinGRUCell(MinimalCell):
    """A step of minGRU: h_t = (1 - z_t) h_{t-1} + z_t h~_t; z_t = sigmoid(W_z x_t + b_z), h~_t = W_h x_t + b_h.

    Takes the arguments of ``MinGRU`` that are not of the layer. Weights: ``kernel`` (F, 2H) of z and h~, ``bias`` (2H).

    Example:
        >>> keras.layers.RNN(MinGRUCell(4), return_sequences=True)(ops.ones((2, 5, 3))).shape == (2, 5, 4)
        True
    """

    gates = 1

    def keeping(self, keep: Any) -> list[Any]:
        return [-keep]

    def coefficients(self, x: Any) -> tuple[Number, Number]:
        z, candidate = self.split(x)
        return (ops.sigmoid(-z),), (ops.sigmoid(z) * candidate,)


@keras.saving.register_keras_serializable(package="throughtime")
class MinLSTMCell(MinimalCell):
    """A step of minLSTM: h_t = f'_t h_{t-1} + i'_t h~_t, where f' = f / (f + i), i' = i / (f + i), f, i as in an LSTM.

    Takes the arguments of ``MinGRU`` that are not of the layer. Weights: ``kernel`` (F, 3H) of f, i and h~, ``bias``
    (3H).

    Example:
        >>> keras.layers.RNN(MinLSTMCell(4))(ops.ones((2, 5, 3))).shape == (2, 4)
        True
    """

    gates = 2

    def keeping(self, keep: Any) -> list[Any]:
        return [keep, -keep]

    def coefficients(self, x: Any) -> tuple[Number, Number]:
        f, i, candidate = self.split(x)
        # log f - log i, where log sigmoid(x) = -softplus(-x).
        forgets = ops.softplus(-i) - ops.softplus(-f)
        return (ops.sigmoid(forgets),), (ops.sigmoid(-forgets) * candidate,)
