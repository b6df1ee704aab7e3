"""The gradient of a function of a model's variables and of arrays, on JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras
import numpy as np


def gradients_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """What a scalar function is, and its gradients by variables and by the arrays that it takes as tensors.

    Nothing that the function assigns to a variable lasts.
    """

    def pure(values: list[Any], tensors: list[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(tensors)

    given = [variable.value for variable in variables], [jax.numpy.asarray(array) for array in arrays]
    value, (by_variable, by_array) = jax.jit(jax.value_and_grad(pure, argnums=(0, 1)))(*given)
    return float(value), [np.asarray(one) for one in by_variable], [np.asarray(one) for one in by_array]
