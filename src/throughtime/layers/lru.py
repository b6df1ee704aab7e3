"""The cell of the linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349): a complex diagonal state.

    h_t = lambda h_{t-1} + gamma (B x_t),  y_t = Re(C h_t) + D x_t

lambda = exp(-exp(nu) + i exp(theta)) lies within the unit circle whatever is learned, and starts on the ring from
``r_min`` to ``r_max``, up to the angle ``max_phase``; gamma starts at sqrt(1 - |lambda|^2), so that states are as large
as inputs. What decides how long a unit remembers is no gate: |lambda|^t, the same for every input.

The state is kept as real parts and imaginary parts, side by side, because not every backend differentiates complex
arrays. It is computed in float32 at least: in bfloat16 |lambda| = 0.999 is 1.
"""

from __future__ import annotations

from math import pi
from typing import Any

import keras
from keras import ops

from ..errors import ArgumentError
from .minimal import product, whole_number, wide
from .scan import Number


@keras.saving.register_keras_serializable(package="throughtime")
class LRUCell(keras.layers.Layer):
    """A step of the linear recurrent unit.

    The states are y, (B, H), and h, (B, 2N): real parts, then imaginary ones. y is there because Keras's loop takes the
    first state for the output of the step before, which it repeats where a step is masked.

    Takes the arguments of ``LRU`` that are not of the layer. Weights: ``kernel`` (F, 2N), Re B and Im B;
    ``output_kernel`` (2N, H), Re C above -Im C; ``skip_kernel`` (F, H), D; ``bias`` (H); ``nu_log``, ``theta_log``,
    ``gamma_log`` (N).

    Example:
        >>> keras.layers.RNN(LRUCell(4, state_units=6))(ops.ones((2, 5, 3))).shape == (2, 4)
        True
    """

    def __init__(
        self,
        units: int,
        *,
        state_units: int | None = None,
        activation: Any = None,
        use_bias: bool = False,
        r_min: float = 0.9,
        r_max: float = 0.999,
        max_phase: float = 2 * pi,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        wrong = [whole_number("units", units)]
        if state_units is not None:
            wrong.append(whole_number("state_units", state_units))
        if not 0 <= r_min < r_max < 1:
            wrong.append(f"r_min={r_min!r} and r_max={r_max!r} are given; 0 <= r_min < r_max < 1 is accepted.")
        if not 0 < max_phase <= 2 * pi + 1e-6:
            wrong.append(f"max_phase={max_phase!r} is given; an angle above 0 and up to 2 pi is accepted.")
        if any(wrong):
            raise ArgumentError(" ".join(filter(None, wrong)))
        super().__init__(**options)
        self.units = self.output_size = units
        self.state_units = units if state_units is None else state_units
        self.state_size = [units, 2 * self.state_units]
        self.activation, self.use_bias = keras.activations.get(activation), use_bias
        self.r_min, self.r_max, self.max_phase, self.seed = r_min, r_max, max_phase, seed
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def build(self, input_shape: Any) -> None:
        features, states = input_shape[-1], self.state_units
        seeds = [None if self.seed is None else 7 * self.seed + place for place in range(5)]
        # Not the ends: a radius of exactly r_min = 0 has no logarithm.
        radius, phase = (keras.initializers.RandomUniform(1e-6, 1 - 1e-6, seed=seed) for seed in seeds[:2])

        def decay(dtype: Any) -> Any:
            """exp(nu) = -log |lambda|, of points that lie evenly on the ring."""
            area = radius((states,), dtype=dtype) * (self.r_max**2 - self.r_min**2) + self.r_min**2
            return -0.5 * ops.log(area)

        def first(name: str, value: Any) -> Any:
            # Never rounded to half precision, in which |lambda| would be 1.
            return self.add_weight(
                shape=(states,), name=name, initializer=lambda shape, dtype=None: ops.log(value(dtype)), autocast=False
            )

        self.nu_log = first("nu_log", decay)
        self.theta_log = first("theta_log", lambda dtype: self.max_phase * phase((states,), dtype=dtype))
        self.gamma_log = first("gamma_log", lambda dtype: ops.sqrt(1 - ops.exp(-2 * decay(dtype))))

        def kernel(name: str, shape: tuple[int, int], scale: float, seed: int | None) -> Any:
            spread = keras.initializers.VarianceScaling(scale, "fan_in", "untruncated_normal", seed=seed)
            return self.add_weight(
                shape=shape, name=name, initializer=spread,
                regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
            )  # fmt: skip

        # As in the paper: variance 1 / 2F of each part of B, 1 / N of each part of C, of 2N rows.
        self.kernel = kernel("kernel", (features, 2 * states), 0.5, seeds[2])
        self.output_kernel = kernel("output_kernel", (2 * states, self.units), 2.0, seeds[3])
        self.skip_kernel = kernel("skip_kernel", (features, self.units), 1.0, seeds[4])
        self.bias = self.add_weight(shape=(self.units,), name="bias", initializer="zeros") if self.use_bias else None

    def factor(self) -> Number:
        """Real and imaginary part of lambda, (N,)."""
        dtype = wide(self.compute_dtype)
        size = ops.exp(-ops.exp(ops.cast(self.nu_log, dtype)))
        angle = ops.exp(ops.cast(self.theta_log, dtype))
        return size * ops.cos(angle), size * ops.sin(angle)

    def coefficients(self, x: Any) -> tuple[Number, Number]:
        """a, (1, 1, N) and so the same at all steps, and b, (B, T, N), from inputs (B, T, F)."""
        dtype = wide(self.compute_dtype)
        added = ops.cast(product(x, self.kernel), dtype)
        gamma = ops.exp(ops.cast(self.gamma_log, dtype))
        real, imaginary = ops.split(added, 2, axis=-1)
        return tuple(part[None, None] for part in self.factor()), (gamma * real, gamma * imaginary)

    def read(self, h: Any, x: Any) -> Any:
        """The outputs (..., H) at states (..., 2N) and inputs (..., F)."""
        y = product(ops.cast(h, self.compute_dtype), self.output_kernel) + product(x, self.skip_kernel)
        if self.bias is not None:
            y = y + ops.cast(self.bias, y.dtype)
        return y if self.activation is None else self.activation(y)

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """A step: the output (B, H), and the states y and h."""
        return self.moved(inputs, states, None)

    def moved(self, inputs: Any, states: Any, change: Any) -> tuple[Any, list[Any]]:
        """A step after which ``change``, (B, 2N) or None, is added to h; ``gradient_flow`` differentiates by it."""
        (real, imaginary), (added_real, added_imaginary) = self.coefficients(inputs[:, None])
        real, imaginary = real[:, 0], imaginary[:, 0]
        h_real, h_imaginary = ops.split(ops.cast(states[1], real.dtype), 2, axis=-1)
        h = ops.concatenate(
            [
                real * h_real - imaginary * h_imaginary + added_real[:, 0],
                real * h_imaginary + imaginary * h_real + added_imaginary[:, 0],
            ],
            axis=-1,
        )
        h = ops.cast(h, self.compute_dtype)
        if change is not None:
            h = h + ops.cast(change, h.dtype)
        y = self.read(h, inputs)
        return y, [y, h]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | self.settings()

    def settings(self) -> dict[str, Any]:
        """The arguments of the cell itself, as a config has them."""
        return {
            "units": self.units,
            "state_units": self.state_units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "r_min": self.r_min,
            "r_max": self.r_max,
            "max_phase": self.max_phase,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "seed": self.seed,
        }
