"""The gradient of a function of a model's variables and of arrays, on JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np


def derivative_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], others: Sequence[keras.Variable]
) -> Callable[[Sequence[np.ndarray]], tuple[float, list[np.ndarray], list[np.ndarray]]]:
    """See ``differentiate.derivative_of``."""

    def pure(values: list[Any], tensors: list[Any], rest: list[Any]) -> Any:
        mapping = list(zip([*variables, *others], [*values, *rest], strict=True))
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            return function(tensors)

    step = jax.jit(jax.value_and_grad(pure, argnums=(0, 1)))

    def derivative(arrays: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
        # Those that are only read are arguments too: in the function they would be constants of its first trace.
        values, rest = [variable.value for variable in variables], [variable.value for variable in others]
        value, (by_variable, by_array) = step(values, [jax.numpy.asarray(array) for array in arrays], rest)
        return float(value), [np.asarray(one) for one in by_variable], [np.asarray(one) for one in by_array]

    return derivative
