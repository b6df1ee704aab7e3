"""The gradient of a function of a model's variables and of arrays, on PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import torch


def derivative_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], others: Sequence[keras.Variable]
) -> Callable[[Sequence[np.ndarray]], tuple[float, list[np.ndarray], list[np.ndarray]]]:
    """See ``differentiate.derivative_of``; no ``.grad`` is touched, and ``others`` are read where they are."""

    def derivative(arrays: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
        values = [variable.value.detach().clone().requires_grad_() for variable in variables]
        tensors = [torch.tensor(array).requires_grad_() for array in arrays]
        mapping = list(zip(variables, values, strict=True))
        with random_state_kept(), torch.enable_grad(), keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            value = function(tensors)
            found = torch.autograd.grad(value, [*values, *tensors], allow_unused=True, materialize_grads=True)
        by_all = [one.detach().cpu().numpy() for one in found]
        return float(value.detach()), by_all[: len(values)], by_all[len(values) :]

    return derivative


def random_state_kept() -> AbstractContextManager[Any]:
    """PyTorch's own random state is after the block what it was before: layers draw masks of dropout from it, and do so
    for a call with ``training=False`` too."""
    return torch.random.fork_rng()


def copied(values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Copies that no gradient goes through."""
    return [value.detach().clone() for value in values]


def all_finite(values: Sequence[torch.Tensor]) -> bool:
    """Whether no value of any tensor is NaN or infinite: the largest absolute value of each is finite then."""
    held = [value.detach() for value in values if value.numel()]
    return bool(torch.stack([one.float() for one in torch._foreach_norm(held, float("inf"))]).isfinite().all())


def global_norm(gradients: Sequence[torch.Tensor]) -> float:
    """The Euclidean norm of all together; infinite where squares overflow."""
    return float(torch.linalg.vector_norm(torch.stack([one.float() for one in torch._foreach_norm(list(gradients))])))


def scaled(gradients: Sequence[torch.Tensor], factor: float) -> Sequence[torch.Tensor]:
    """All times one number."""
    return torch._foreach_mul(list(gradients), factor)


def threads() -> int:
    """Of PyTorch's own operations: where they add up, another number adds in another order."""
    return torch.get_num_threads()
