"""The gradient of a function of a model, on the current backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from ..errors import BackendError


def gradients_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """What a scalar function is, and its gradients by variables and by the arrays that it takes as tensors.

    Nothing that the function assigns to a variable lasts.

    Raises:
        BackendError: a backend other than JAX, PyTorch and TensorFlow.

    Example:
        >>> weight = keras.Variable(np.array([3.0], "float32"))
        >>> square = lambda arrays: keras.ops.sum(weight * weight * arrays[0])
        >>> value, by_weight, by_array = gradients_of(square, [weight], [np.array([2.0], "float32")])
        >>> value, by_weight[0].tolist(), by_array[0].tolist()
        (18.0, [12.0], [9.0])
    """
    backend = keras.backend.backend()
    if backend == "jax":
        from . import jax as module
    elif backend == "torch":
        from . import torch as module  # type: ignore[no-redef]
    elif backend == "tensorflow":
        from . import tensorflow as module  # type: ignore[no-redef]
    else:
        raise BackendError(f"KERAS_BACKEND={backend} has no gradients; use jax, torch or tensorflow.")
    return module.gradients_of(function, variables, arrays)
