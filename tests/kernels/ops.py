"""What the ops of the three frameworks are given, and what they must give: the same cases for each.

Everything is NumPy, by the names of the op's arguments; a test makes tensors of it. Both biases of a GRU are one array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recurrences import Recurrence, assert_close

from throughtime.kernels import native, reference

# A sum of n terms in float32 is off by a few units of the last place, 6e-8, of its largest terms, and a recurrence
# carries that on for some steps. A wrong term is off by 1e-2 and more.
TOLERANCE = 1e-5
INPUTS = ("x", "mask", "h0", "c0", "kernel", "recurrent_kernel", "bias")
DIFFERENTIABLE = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
FLAGS: dict[str, dict[str, bool]] = {
    "plain": {},
    "reverse": {"reverse": True},
    "zero_masked": {"zero_masked": True},
    "reverse, zero_masked": {"reverse": True, "zero_masked": True},
}
EDGES = [(0, 3), (2, 0), (0, 0), (1, 1), (1, 4), (3, 1)]  # B, T


def arguments(case: Recurrence, **changes: Any) -> dict[str, Any]:
    """The tensors of a call, with NaN in the padding."""
    given = case.inputs
    bias, mask = given["bias"], given["mask"]
    if case.problem.has_recurrent_bias and bias is not None:
        bias = np.stack([bias, given["recurrent_bias"]])
    x = given["x"] if mask is None else np.where(mask[..., None], given["x"], np.float32(np.nan))
    return {name: given[name] for name in INPUTS} | {"x": x, "bias": bias} | changes


def settings_of(
    case: Recurrence, *, sequences: bool = True, training: bool = True, tap: int = 0, memory: int = 0
) -> dict[str, Any]:
    problem = case.problem
    return {
        "cell": problem.cell, "reverse": problem.reverse, "zero_masked": problem.zero_masked,
        "return_sequences": sequences, "training": training, "tap": tap, "memory": memory,
    }  # fmt: skip


def cotangents_of(case: Recurrence, *, sequences: bool = True) -> dict[str, np.ndarray]:
    """By the names of the outputs that there are, in their order."""
    named = {"last": "dlast", "y": "dy", "hn": "dhn", "cn": "dcn"}
    found = {output: case.cotangents[name] for output, name in named.items()}
    return {output: one for output, one in found.items() if one is not None and (sequences or output != "y")}


def expected(case: Recurrence, cotangents: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Outputs and gradients from NumPy in float64."""
    exact = case.astype(np.float64)
    if cotangents is None:
        cotangents = cotangents_of(case)
    weights = {f"d{name}": one.astype(np.float64) for name, one in cotangents.items()}
    outputs = exact.forward(reference)
    gradients = reference.backward(exact.problem, **exact.inputs, **weights)
    found = outputs._asdict() | gradients._asdict()
    if found["drecurrent_bias"] is not None:
        found["dbias"] = np.stack([found["dbias"], found["drecurrent_bias"]])
    wanted = ("last", "y", "hn", "cn", *(f"d{name}" for name in DIFFERENTIABLE))
    return {name: found[name] for name in wanted if found[name] is not None}


def check_tap(case: Recurrence, tap: int) -> None:
    """What one backward pass left at a tap is what NumPy has."""
    exact = case.astype(np.float64)
    weights = {f"d{name}": one.astype(np.float64) for name, one in cotangents_of(case).items()}
    norms = reference.backward(exact.problem, **exact.inputs, **weights, norms=True).norms
    left = native.tapped(tap)
    assert left is not None and left.passes == 1
    assert_close({"norms": left.norms}, {"norms": norms}, TOLERANCE)
    np.testing.assert_array_equal(left.mask, case.inputs["mask"])
    native.close_tap(tap)
    assert native.tapped(tap) is None


def without_sequences(results: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in results.items() if name != "y"}


def kept_bytes() -> int:
    return native.memory()[0]
