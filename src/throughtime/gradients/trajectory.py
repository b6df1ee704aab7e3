"""What a recurrence does on its way: how far its gates saturate, and how fast a small change of the state grows.

Both come from the equations of kernels/reference.py in float64, along the states that the layer really goes through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..kernels.problem import Problem
from ..kernels.reference import STEPS, Sweep
from ..layers.paths import cell_name

# Where Karpathy, Johnson and Li (2015, arXiv:1506.02078) call a sigmoid gate saturated; tanh(a) = 2 sigmoid(2 a) - 1.
LOW, HIGH = 0.1, 0.9

# Names of what each cell's step keeps: the gates, with the activation of each. Others are None.
_GATES: dict[str, tuple[tuple[str, str] | None, ...]] = {
    "rnn_tanh": (None, ("output", "tanh")),
    "rnn_relu": (None, None),
    "gru": (None, ("update", "sigmoid"), ("reset", "sigmoid"), ("candidate", "tanh"), None),
    "gru_reset_before": (None, ("update", "sigmoid"), ("reset", "sigmoid"), ("candidate", "tanh")),
    "lstm": (
        None, None, ("input", "sigmoid"), ("forget", "sigmoid"), ("candidate", "tanh"), ("output", "sigmoid"), None,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Saturation:
    """Shares of a gate's values, over valid steps and units, below a tenth and above nine tenths of its range."""

    low: float
    high: float


@dataclass(frozen=True)
class Trajectory:
    """What the states of a recurrence went through.

    Args:
        gates: ``"input"``, ``"forget"``, ``"candidate"`` and ``"output"`` of an LSTM, ``"update"``, ``"reset"`` and
            ``"candidate"`` of a GRU, ``"output"`` of a SimpleRNN with tanh.
        exponent: the leading Lyapunov exponent per step: the mean of the log of the factor by which a small change of
            the state grows (above 0) or dies (below 0). Minus infinity where it dies at once; NaN without two valid
            steps.
    """

    gates: dict[str, Saturation]
    exponent: float


def trajectory(
    layer: keras.layers.RNN, inputs: np.ndarray, mask: np.ndarray, states: list[np.ndarray]
) -> Trajectory | None:
    """Along the states of one call of a SimpleRNN, GRU or LSTM; None of another layer, or with other activations.

    The exponent is that of the backward products of Jacobians, which have the singular values of the forward ones
    (Benettin et al. 1980, doi:10.1007/BF02128236; for recurrent networks Engelken, Wolf and Abbott 2023,
    doi:10.1103/PhysRevResearch.5.043044). A random direction is carried along and scaled to length 1 at each step.

    Args:
        layer: built.
        inputs: (B, T, F).
        mask: (B, T) bool.
        states: (B, H) each, before the first step.
    """
    name = cell_name(layer)
    if name not in _GATES or not _has_standard_activations(layer):
        return None
    kernel, recurrent_kernel = _double(layer.cell.kernel), _double(layer.cell.recurrent_kernel)
    given: dict[str, Any] = {
        "x": inputs.astype(np.float64), "mask": mask, "h0": states[0].astype(np.float64), "c0": None, "kernel": kernel,
        "recurrent_kernel": recurrent_kernel, "bias": None, "recurrent_bias": None,
    }  # fmt: skip
    if len(states) > 1:
        given["c0"] = states[1].astype(np.float64)
    if layer.cell.bias is not None:
        bias = _double(layer.cell.bias)
        given |= {"bias": bias[0], "recurrent_bias": bias[1]} if bias.ndim == 2 else {"bias": bias}
    batch, steps, features = inputs.shape
    problem = Problem(name, batch, steps, features, recurrent_kernel.shape[0], bool(layer.go_backwards))
    sweep = Sweep(problem, given)
    h, c, kept = sweep.h0, sweep.c0, []
    for k in range(steps):
        step, valid = sweep.step(k, h, c), sweep.valid(k)
        h, c = np.where(valid, step.h, h), np.where(valid, step.c, c)
        kept.append(step.kept)
    return Trajectory(_saturation(sweep, kept), _exponent(sweep, kept))


def _double(weight: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(weight), np.float64, order="C")


def _has_standard_activations(layer: keras.layers.RNN) -> bool:
    """A SimpleRNN's cell name says its activation; the gated ones have two that can be changed."""
    if isinstance(layer, keras.layers.SimpleRNN):
        return True
    return layer.activation is keras.activations.tanh and layer.recurrent_activation is keras.activations.sigmoid


def _saturation(sweep: Sweep, kept: list[tuple[np.ndarray, ...]]) -> dict[str, Saturation]:
    found = {}
    valid = np.stack([sweep.valid(k)[:, 0] for k in range(len(kept))]) if kept else np.zeros((0, 0), bool)
    for place, gate in enumerate(_GATES[sweep.problem.cell]):
        if gate is None or not valid.any():
            continue
        name, activation = gate
        values = np.stack([step[place] for step in kept])[valid]
        share = (values + 1) / 2 if activation == "tanh" else values
        found[name] = Saturation(float((share < LOW).mean()), float((share > HIGH).mean()))
    return found


def _exponent(sweep: Sweep, kept: list[tuple[np.ndarray, ...]]) -> float:
    problem = sweep.problem
    backward = STEPS[problem.cell][1]
    rng = np.random.default_rng(0)
    shape = (problem.batch, problem.units)
    dh = rng.normal(size=shape)
    dc = rng.normal(size=shape) if problem.has_cell_state else np.zeros(shape)
    logs, started = [], np.zeros((problem.batch, 1), bool)
    for k in reversed(range(problem.steps)):
        valid = sweep.valid(k)
        d = backward(kept[k], dh, dc, sweep.recurrent_kernel)
        after_h, after_c = np.where(valid, d.h, dh), np.where(valid, d.c, dc)
        length = np.sqrt((after_h**2).sum(-1, keepdims=True) + (after_c**2).sum(-1, keepdims=True))
        # The first step turns a random direction into one of the recurrence's own, and is not counted.
        logs.append(np.log(np.maximum(length, np.finfo(float).tiny))[valid & started])
        started |= valid
        scale = np.where(length > 0, length, 1)
        dh, dc = after_h / scale, after_c / scale
    found = np.concatenate(logs) if logs else np.zeros(0)
    if not len(found):
        return float("nan")
    return float("-inf") if found.min() <= np.log(np.finfo(float).tiny) else float(found.mean())
