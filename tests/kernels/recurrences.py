"""Random recurrences of every cell: asymmetric weights, non-zero initial states, random cotangents, any mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from throughtime.kernels.problem import CELLS, Gradients, Outputs, Problem

KERAS_CELLS = [cell for cell in CELLS if not cell.startswith(("min", "lru"))]

FLAGS = {
    "plain": {},
    "reverse": {"reverse": True},
    "zero_masked": {"zero_masked": True},
    "leading_initial": {"leading_initial": True},
    "reverse, zero_masked, leading_initial": {"reverse": True, "zero_masked": True, "leading_initial": True},
    "reverse, leading_initial": {"reverse": True, "leading_initial": True},
}
MASKS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray | None]] = {
    "no mask": lambda rng, B, T: None,
    "post": lambda rng, B, T: np.arange(T) < lengths(rng, B, T),
    "pre": lambda rng, B, T: np.arange(T) >= T - lengths(rng, B, T),
    "gaps": lambda rng, B, T: rng.random((B, T)) < 0.6,
    "all masked": lambda rng, B, T: np.zeros((B, T), bool),
    "one row": lambda rng, B, T: np.arange(B)[:, None] == np.full(T, B // 2),
    "equal lengths": lambda rng, B, T: np.broadcast_to(np.arange(T) < (T + 1) // 2, (B, T)).copy(),
}


def lengths(rng: np.random.Generator, B: int, T: int) -> np.ndarray:
    """``(B, 1)`` lengths of all sizes; the first four are 0, 1, T and T, where there are so many."""
    drawn = rng.integers(0, T + 1, B)
    drawn[:4] = np.array([0, min(1, T), T, T])[:B]
    return drawn[:, None]


@dataclass(frozen=True)
class Recurrence:
    """A problem with its inputs and the cotangents of its outputs, by the names of the kernels' arguments."""

    problem: Problem
    inputs: dict[str, Any]
    cotangents: dict[str, Any]

    def astype(self, dtype: type) -> Recurrence:
        return replace(self, inputs=_as(self.inputs, dtype), cotangents=_as(self.cotangents, dtype))

    def with_problem(self, **changes: Any) -> Recurrence:
        return replace(self, problem=replace(self.problem, **changes))

    def with_inputs(self, **changes: Any) -> Recurrence:
        return replace(self, inputs=self.inputs | changes)

    def forward(self, kernels: Any, **options: Any) -> Outputs:
        return kernels.forward(self.problem, **self.inputs, **options)

    def backward(self, kernels: Any, **options: Any) -> Gradients:
        return kernels.backward(self.problem, **self.inputs, **self.cotangents, norms=True, **options)

    def results(self, kernels: Any) -> dict[str, np.ndarray]:
        """All outputs and gradients by name, without those that are not part of the cell."""
        outputs = self.forward(kernels)
        found = outputs._asdict() | self.backward(kernels, ticket=outputs.ticket)._asdict()
        return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _as(arrays: dict[str, Any], dtype: type) -> dict[str, Any]:
    return {name: array if array is None or name == "mask" else array.astype(dtype) for name, array in arrays.items()}


def recurrence(
    cell: str,
    mask: np.ndarray | None,
    *,
    batch: int = 5,
    steps: int = 7,
    features: int = 3,
    units: int = 4,
    dtype: type = np.float32,
    bias: bool = True,
    states: bool = True,
    seed: int = 0,
    **flags: Any,
) -> Recurrence:
    """A random recurrence; ``batch`` and ``steps`` are the mask's own where there is one."""
    rng = np.random.default_rng(seed)
    batch, steps = (batch, steps) if mask is None else mask.shape
    problem = Problem(cell, batch, steps, features, units, **flags)

    def drawn(name: str, spread: float = 1.0) -> np.ndarray:
        return (spread * rng.normal(0.05, 1.0, problem.shapes[name])).astype(dtype)

    two, gru = problem.has_cell_state, problem.has_recurrent_bias
    # Weights of this size neither let the state die nor blow up, in the linear cell (relu) either.
    inputs = {
        "x": drawn("x"),
        "mask": mask,
        "h0": drawn("h0", 0.5) if states else None,
        "c0": drawn("c0", 0.5) if states and two else None,
        "kernel": drawn("kernel", features**-0.5),
        "recurrent_kernel": drawn("recurrent_kernel", units**-0.5),
        "bias": drawn("bias", 0.3) if bias else None,
        "recurrent_bias": drawn("recurrent_bias", 0.3) if bias and gru else None,
    }
    cotangents = {
        "dy": drawn("y"),
        "dlast": drawn("last"),
        "dhn": drawn("hn"),
        "dcn": drawn("cn") if two else None,
    }
    return Recurrence(problem, inputs, cotangents)


def masked(cell: str, mask: str, *, batch: int = 5, steps: int = 7, seed: int = 0, **options: Any) -> Recurrence:
    """A random recurrence with a mask of ``MASKS``."""
    made = MASKS[mask](np.random.default_rng(seed), batch, steps)
    return recurrence(cell, made, batch=batch, steps=steps, seed=seed, **options)


def assert_close(found: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float) -> None:
    """All arrays of ``found`` are those of ``expected``, up to ``tolerance`` of each array's largest value."""
    assert set(found) == set(expected)
    wrong = {name: error for name in expected if not (error := difference(found[name], expected[name])) <= tolerance}
    assert not wrong, f"differences, as a share of the largest value: {wrong}"


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a share of the largest value of ``expected``, or of 1 where all are smaller."""
    assert found.shape == expected.shape
    if expected.size == 0:
        return 0.0
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    return float(apart.max() / max(1.0, np.abs(expected).max()))


def assert_same_bits(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert set(found) == set(expected)
    assert [name for name in expected if found[name].tobytes() != expected[name].tobytes()] == []
