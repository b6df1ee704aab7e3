"""The gradient of a function of a model's variables and of arrays, on PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch


def gradients_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """What a scalar function is, and its gradients by variables and by the arrays that it takes as tensors.

    Nothing that the function assigns to a variable lasts, and no ``.grad`` is touched.
    """
    values = [variable.value.detach().clone().requires_grad_() for variable in variables]
    tensors = [torch.tensor(array).requires_grad_() for array in arrays]
    with torch.enable_grad(), keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
        value = function(tensors)
        found = torch.autograd.grad(value, [*values, *tensors], allow_unused=True, materialize_grads=True)
    by_all = [one.detach().cpu().numpy() for one in found]
    return float(value.detach()), by_all[: len(values)], by_all[len(values) :]
