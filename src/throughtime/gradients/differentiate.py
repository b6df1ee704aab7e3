"""The gradient of a function of a model, on the current backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import keras
import numpy as np

from ..errors import BackendError

Found = tuple[float, list[np.ndarray], list[np.ndarray]]


def derivative_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], others: Sequence[keras.Variable] = ()
) -> Callable[[Sequence[np.ndarray]], Found]:
    """What a scalar function is, and its gradients by variables and by the arrays that it takes as tensors: again and
    again, each time at the values that the variables have then. JAX and TensorFlow trace the function once for arrays
    of the same shapes.

    Nothing that the function assigns to a variable lasts.

    Args:
        function: of a list of tensors.
        variables: what it is differentiated by, besides the tensors.
        others: what it reads besides.

    Raises:
        BackendError: a backend other than JAX, PyTorch and TensorFlow.

    Example:
        >>> weight = keras.Variable(np.array([3.0], "float32"))
        >>> square = derivative_of(lambda tensors: keras.ops.sum(weight * weight * tensors[0]), [weight])
        >>> square([np.array([2.0], "float32")])[0]
        18.0
        >>> _ = weight.assign([1.0])
        >>> square([np.array([2.0], "float32")])[0]
        2.0
    """
    return _module().derivative_of(function, variables, others)


def nothing_lasts(model: keras.Model) -> ExitStack:
    """A block in which a model can be called: no variable is changed by it, nor random state that is none."""
    stack = ExitStack()
    # The weights are named, since Keras looks up there, and nowhere else, those that penalties are of.
    weights = [(one, one.value) for one in model.trainable_variables]
    stack.enter_context(keras.StatelessScope(state_mapping=weights, collect_losses=True))
    stack.enter_context(random_state_kept())
    return stack


def random_state_kept() -> AbstractContextManager[Any]:
    """The backend's own random state, where it has one, is after the block what it was before."""
    return _module().random_state_kept() if keras.backend.backend() == "torch" else nullcontext()


def _module() -> Any:
    backend = keras.backend.backend()
    if backend == "jax":
        from . import jax as module
    elif backend == "torch":
        from . import torch as module  # type: ignore[no-redef]
    elif backend == "tensorflow":
        from . import tensorflow as module  # type: ignore[no-redef]
    else:
        raise BackendError(f"KERAS_BACKEND={backend} has no gradients; use jax, torch or tensorflow.")
    return module


def gradients_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]
) -> Found:
    """``derivative_of`` for once.

    Example:
        >>> weight = keras.Variable(np.array([3.0], "float32"))
        >>> square = lambda arrays: keras.ops.sum(weight * weight * arrays[0])
        >>> value, by_weight, by_array = gradients_of(square, [weight], [np.array([2.0], "float32")])
        >>> value, by_weight[0].tolist(), by_array[0].tolist()
        (18.0, [12.0], [9.0])
    """
    return derivative_of(function, variables)(arrays)
