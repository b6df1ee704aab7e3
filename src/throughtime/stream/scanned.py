"""How MinGRU, MinLSTM and LRU are computed for one time step, as the functions of ``recurrent.CELLS`` are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..layers.minimal import g
from ..layers.scanned import LRU, MinGRU, MinLSTM
from .activations import Activation, in_place
from .plan import Plan
from .recurrent import Advance, Cell
from .walking import said

_sigmoid = in_place(keras.activations.sigmoid, "")
_softplus = in_place(keras.activations.softplus, "")


def _positive(a: np.ndarray) -> None:
    """``minimal.g``: x + 0.5 from 0 on, else sigmoid(x)."""
    below = a.copy()
    _sigmoid(below)
    np.copyto(a, np.where(a >= 0, a + a.dtype.type(0.5), below))


def _candidate(layer: Any) -> Activation:
    return _positive if layer.cell.activation is g else in_place(layer.cell.activation, said(layer))


def min_gru(plan: Plan, layer: MinGRU, x: np.ndarray) -> tuple[list[np.ndarray], Advance]:
    """h = h + z (h~ - h)."""
    return _minimal(plan, layer, x, 1)


def min_lstm(plan: Plan, layer: MinLSTM, x: np.ndarray) -> tuple[list[np.ndarray], Advance]:
    """h = h + i' (h~ - h), where i' = sigmoid(softplus(-f) - softplus(-i)) is i / (f + i)."""
    return _minimal(plan, layer, x, 2)


def _minimal(plan: Plan, layer: Any, x: np.ndarray, gates: int) -> tuple[list[np.ndarray], Advance]:
    H, cell = layer.units, layer.cell
    kernel = plan.weight(cell.kernel)
    bias = np.zeros(kernel.shape[1], plan.dtype) if cell.bias is None else plan.weight(cell.bias)
    h, found, activate = plan.state(plan.buffer(H)), plan.buffer(kernel.shape[1]), _candidate(layer)
    first, second, candidate = found[:, :H], found[:, H : 2 * H], found[:, gates * H :]

    def advance() -> None:
        np.matmul(x, kernel, out=found)
        np.add(found, bias, out=found)
        if gates == 2:
            both = found[:, : 2 * H]
            np.negative(both, out=both)
            _softplus(both)
            np.subtract(first, second, out=first)
        _sigmoid(first)
        activate(candidate)
        np.subtract(candidate, h, out=candidate)
        np.multiply(candidate, first, out=candidate)
        np.add(h, candidate, out=h)

    return [h], advance


def lru(plan: Plan, layer: LRU, x: np.ndarray) -> tuple[list[np.ndarray], Advance]:
    """h = lambda h + gamma B x, in real and imaginary parts; y = activation(Re(C h) + D x + bias)."""
    cell, N = layer.cell, layer.cell.state_units
    nu, theta, gamma = (plan.weight(one).astype(np.float64) for one in (cell.nu_log, cell.theta_log, cell.gamma_log))
    factor = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    real, imaginary = factor.real.astype(plan.dtype), factor.imag.astype(plan.dtype)
    kernel = plan.weight(cell.kernel) * np.tile(np.exp(gamma), 2).astype(plan.dtype)
    readout, skip = plan.weight(cell.output_kernel), plan.weight(cell.skip_kernel)
    bias = np.zeros(layer.units, plan.dtype) if cell.bias is None else plan.weight(cell.bias)
    activate = in_place(cell.activation, said(layer))
    # y is carried for masked steps, which repeat it.
    y, h = plan.state(plan.buffer(layer.units)), plan.state(plan.buffer(2 * N))
    added, skipped = plan.buffer(2 * N), plan.buffer(layer.units)

    def advance() -> None:
        np.matmul(x, kernel, out=added)
        before_real, before_imaginary = h[:, :N], h[:, N:]
        added[:, :N] += real * before_real - imaginary * before_imaginary
        added[:, N:] += real * before_imaginary + imaginary * before_real
        np.copyto(h, added)
        np.matmul(h, readout, out=y)
        np.matmul(x, skip, out=skipped)
        np.add(y, skipped, out=y)
        np.add(y, bias, out=y)
        activate(y)

    return [y, h], advance


SCANNED_CELLS: dict[type, Cell] = {MinGRU: min_gru, MinLSTM: min_lstm, LRU: lru}
