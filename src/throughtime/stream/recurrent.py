"""How each recurrent layer is computed for one time step; ``CELLS`` has a function for each class.

Such a function is given the plan, the layer and the array of its input ``(B, F)``. It returns the states, each
``(B, H)`` and zero, output first, and a function that brings them one step on. A layer with another recurrence needs
one such function; ``refusals.RECURRENT`` has all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError
from ..layers.recurrent import OURS
from .activations import in_place, name_of
from .plan import Plan, Signal
from .walking import said

Advance = Callable[[], None]
Cell = Callable[[Plan, Any, np.ndarray], tuple[list[np.ndarray], Advance]]


def recurrent(plan: Plan, cell: Cell, layer: Any, x: Signal, **given: Any) -> Any:
    """A step of a layer whose recurrence is ``cell``: where the mask is False states and output stay, as in Keras."""
    if given:
        raise ArgumentError(
            f"{said(layer)} is called with {', '.join(f'{name}=' for name in given)}; a stream starts from zero "
            "states, or from those of a snapshot."
        )
    if not x.timed or x.array.ndim != 2:
        raise ArgumentError(
            f"{said(layer)} does not run along the time axis of the model's input (batch, time, features); a stream "
            "has steps of that alone."
        )
    valid = x.mask
    states, advance = cell(plan, layer, x.array)
    kept = [np.empty_like(state) for state in states]
    output = plan.buffer(layer.units) if layer.zero_output_for_mask else states[0]

    def step() -> None:
        if valid.full:
            advance()
        else:
            for before, state in zip(kept, states, strict=True):
                np.copyto(before, state)
            advance()
            held = ~valid.rows[:, None]
            for before, state in zip(kept, states, strict=True):
                np.copyto(state, before, where=held)
        if output is not states[0]:
            np.copyto(output, states[0])
            if not valid.full:
                output[~valid.rows] = 0

    plan.steps.append(step)
    carried = valid if layer.return_sequences and layer.supports_masking else plan.mask()
    out = Signal(output, carried, layer.return_sequences)
    return [out, *(Signal(state, plan.mask(), False) for state in states)] if layer.return_state else out


def lstm(plan: Plan, layer: keras.layers.LSTM, x: np.ndarray) -> tuple[list[np.ndarray], Advance]:
    H, both, h = _joined(plan, layer, x)
    c, gates, squashed = plan.state(plan.buffer(H)), plan.buffer(4 * H), plan.buffer(H)
    # Keras has the gates i, f, g, o; with g last, those that a sigmoid squashes lie side by side.
    order = np.r_[0 : 2 * H, 3 * H : 4 * H, 2 * H : 3 * H]
    kernel = np.concatenate([plan.weight(layer.cell.kernel), plan.weight(layer.cell.recurrent_kernel)])[:, order]
    bias = _bias(plan, layer, 4 * H)[order]
    i, f, o, g = (gates[:, place * H : (place + 1) * H] for place in range(4))
    kernel, bias, squash = _squashing(layer, kernel, bias, gates, 3 * H)
    activate = in_place(layer.activation, said(layer))

    def advance() -> None:
        np.copyto(both[:, :-H], x)
        np.matmul(both, kernel, out=gates)
        np.add(gates, bias, out=gates)
        squash()
        np.multiply(c, f, out=c)
        np.multiply(g, i, out=g)
        np.add(c, g, out=c)
        np.copyto(squashed, c)
        activate(squashed)
        np.multiply(squashed, o, out=h)

    return [h, c], advance


def simple_rnn(plan: Plan, layer: keras.layers.SimpleRNN, x: np.ndarray) -> tuple[list[np.ndarray], Advance]:
    H, both, h = _joined(plan, layer, x)
    kernel = np.concatenate([plan.weight(layer.cell.kernel), plan.weight(layer.cell.recurrent_kernel)])
    bias, out = _bias(plan, layer, H), plan.buffer(H)
    activate = in_place(layer.activation, said(layer))

    def advance() -> None:
        np.copyto(both[:, :-H], x)
        np.matmul(both, kernel, out=out)
        np.add(out, bias, out=out)
        activate(out)
        np.copyto(h, out)

    return [h], advance


def gru(plan: Plan, layer: keras.layers.GRU, x: np.ndarray) -> tuple[list[np.ndarray], Advance]:
    H, cell = layer.units, layer.cell
    h = plan.state(plan.buffer(H))
    kernel, recurrent_kernel = plan.weight(cell.kernel), plan.weight(cell.recurrent_kernel)
    # With reset_after the candidate's recurrent bias is inside of the reset; the other biases may be added up.
    bias = _bias(plan, layer, 3 * H)
    recurrent_bias = np.zeros_like(bias) if bias.ndim == 1 else bias[1]
    bias = bias if bias.ndim == 1 else bias[0]
    gates, n, from_h = plan.buffer(3 * H), plan.buffer(H), plan.buffer(3 * H)
    z, r = gates[:, :H], gates[:, H : 2 * H]
    inner, outer, reset = recurrent_kernel[:, : 2 * H].copy(), recurrent_kernel[:, 2 * H :].copy(), plan.buffer(H)
    squash_gates = in_place(layer.recurrent_activation, said(layer))
    squash = in_place(layer.activation, said(layer))

    def advance() -> None:
        np.matmul(x, kernel, out=gates)
        np.add(gates, bias, out=gates)
        if cell.reset_after:
            np.matmul(h, recurrent_kernel, out=from_h)
            np.add(from_h, recurrent_bias, out=from_h)
        else:
            np.matmul(h, inner, out=from_h[:, : 2 * H])
        np.add(gates[:, : 2 * H], from_h[:, : 2 * H], out=gates[:, : 2 * H])
        squash_gates(gates[:, : 2 * H])
        if cell.reset_after:
            np.multiply(r, from_h[:, 2 * H :], out=n)
        else:
            np.multiply(r, h, out=reset)
            np.matmul(reset, outer, out=n)
        np.add(n, gates[:, 2 * H :], out=n)
        squash(n)
        # z h + (1 - z) n
        np.subtract(h, n, out=h)
        np.multiply(h, z, out=h)
        np.add(h, n, out=h)

    return [h], advance


def _joined(plan: Plan, layer: Any, x: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """The units; an array for input and state side by side, so that one product serves both; the state in it."""
    units = layer.units
    both = plan.buffer(x.shape[1] + units)
    return units, both, plan.state(both[:, -units:])


def _bias(plan: Plan, layer: Any, size: int) -> np.ndarray:
    return np.zeros(size, plan.dtype) if layer.cell.bias is None else plan.weight(layer.cell.bias)


def _squashing(
    layer: keras.layers.LSTM, kernel: np.ndarray, bias: np.ndarray, gates: np.ndarray, sigmoids: int
) -> tuple[np.ndarray, np.ndarray, Advance]:
    """Kernel, bias, and the activation of all gates, of which the first ``sigmoids`` columns are not the candidate.

    sigmoid(a) = tanh(a / 2) / 2 + 1/2: with the halves in the weights, where they are exact, one tanh serves all gates.
    """
    first = gates[:, :sigmoids]
    if name_of(layer.activation) == "tanh" and name_of(layer.recurrent_activation) == "sigmoid":
        kernel[:, :sigmoids] *= 0.5
        bias[:sigmoids] *= 0.5

        def squash() -> None:
            np.tanh(gates, out=gates)
            np.multiply(first, 0.5, out=first)
            np.add(first, 0.5, out=first)
    else:
        squash_first, squash_last = in_place(layer.recurrent_activation, said(layer)), in_place(layer.activation, "")

        def squash() -> None:
            squash_first(first)
            squash_last(gates[:, sigmoids:])

    return np.ascontiguousarray(kernel), bias, squash


CELLS: dict[type, Cell] = {
    keras.layers.SimpleRNN: simple_rnn,
    keras.layers.GRU: gru,
    keras.layers.LSTM: lstm,
}
CELLS |= {ours: CELLS[stock] for stock, ours in OURS.items()}
