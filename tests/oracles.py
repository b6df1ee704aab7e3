"""Second opinions that share no code with the kernels: a recurrence in plain loops over one sequence after the other,
finite differences of it, and stock Keras layers.

Arrays are named as in ``throughtime.kernels.problem``: inputs x, mask, h0, c0, kernel, recurrent_kernel, bias,
recurrent_bias; outputs y, last, hn, cn.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, tanh
from typing import Any

import numpy as np

from throughtime.kernels.problem import Problem

# Plain loops --------------------------------------------------------------------------------------------------------


def sigmoid(a: float) -> float:
    return 1.0 / (1.0 + exp(-a)) if a > 0 else exp(a) / (1.0 + exp(a))


def cell_step(cell: str, x: list, h: list, c: list, weights: dict[str, Any]) -> tuple[list, list]:
    """The states after one step of one sequence, unit by unit."""
    H = len(h)
    kernel, recurrent, bias, recurrent_bias = (
        weights[name] for name in ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
    )

    def from_x(gate: int, j: int) -> float:
        total = 0.0 if bias is None else bias[gate * H + j]
        return total + sum(x[f] * kernel[f, gate * H + j] for f in range(len(x)))

    def from_h(gate: int, j: int, state: list = h) -> float:
        total = 0.0 if recurrent_bias is None else recurrent_bias[gate * H + j]
        return total + sum(state[i] * recurrent[i, gate * H + j] for i in range(H))

    def gate(number: int, function: Callable[[float], float]) -> list:
        return [function(from_x(number, j) + from_h(number, j)) for j in range(H)]

    if cell == "rnn_tanh":
        return gate(0, tanh), c
    if cell == "rnn_relu":
        return gate(0, lambda a: max(a, 0.0)), c
    if cell == "lstm":
        i, f, g, o = gate(0, sigmoid), gate(1, sigmoid), gate(2, tanh), gate(3, sigmoid)
        c = [f[j] * c[j] + i[j] * g[j] for j in range(H)]
        return [o[j] * tanh(c[j]) for j in range(H)], c
    if cell == "lru":
        turned = [complex(h[j], c[j]) * complex(*recurrent[j]) + complex(from_x(0, j), from_x(1, j)) for j in range(H)]
        return [s.real for s in turned], [s.imag for s in turned]
    if cell.startswith("min"):  # a gate less, and none that sees h
        kind, _, activation = cell.partition("_")
        function = {"": float, "tanh": tanh, "g": lambda a: a + 0.5 if a >= 0 else sigmoid(a)}[activation]
        n = [function(from_x(1 if kind == "mingru" else 2, j)) for j in range(H)]
        takes = [sigmoid(from_x(0, j)) for j in range(H)]
        if kind == "minlstm":
            i = [sigmoid(from_x(1, j)) for j in range(H)]
            takes = [i[j] / (takes[j] + i[j]) for j in range(H)]
        return [(1 - takes[j]) * h[j] + takes[j] * n[j] for j in range(H)], c
    z, r = gate(0, sigmoid), gate(1, sigmoid)
    if cell == "gru":
        n = [tanh(from_x(2, j) + r[j] * from_h(2, j)) for j in range(H)]
    else:
        reset = [r[j] * h[j] for j in range(H)]
        n = [tanh(from_x(2, j) + from_h(2, j, reset)) for j in range(H)]
    return [z[j] * h[j] + (1 - z[j]) * n[j] for j in range(H)], c


def plain_forward(problem: Problem, inputs: dict[str, Any], shift: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All outputs in float64; ``shift``, of the shape of y, is added to the state that y shows after a valid step."""
    B, T, H = problem.batch, problem.steps, problem.units
    outputs = {name: np.zeros(problem.shapes[name]) for name in ("y", "last", "hn", "cn") if name in problem.shapes}
    mask = inputs["mask"]
    for b in range(B):
        h, c = (list(inputs[name][b]) if inputs[name] is not None else [0.0] * H for name in ("h0", "c0"))
        both = problem.cell == "lru"
        shown = [0.0] * (2 * H if both else H)
        if problem.leading_initial:
            shown = h + c if both else h
        for k in range(T):
            t = T - 1 - k if problem.reverse else k
            if mask is None or mask[b, t]:
                h, c = cell_step(problem.cell, list(inputs["x"][b, t]), h, c, inputs)
                if shift is not None:
                    h = [h[j] + shift[b, k, j] for j in range(H)]
                    c = [c[j] + shift[b, k, H + j] for j in range(H)] if both else c
                shown = h + c if both else h
                outputs["y"][b, k] = shown
            elif not problem.zero_masked:
                outputs["y"][b, k] = shown
        if T:
            outputs["last"][b] = outputs["y"][b, -1]
        elif not problem.zero_masked:
            outputs["last"][b] = shown
        outputs["hn"][b] = h
        if "cn" in outputs:
            outputs["cn"][b] = c
    return outputs


# Finite differences -------------------------------------------------------------------------------------------------


def central_differences(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """The gradient of ``loss`` at a float64 array, one element after the other. Good to about 1e-9 of the loss."""
    gradient = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        sides = []
        for side in (step, -step):
            moved = at.copy()
            moved[place] += side
            sides.append(loss(moved))
        gradient[place] = (sides[0] - sides[1]) / (2 * step)
    return gradient


def plain_backward(problem: Problem, inputs: dict[str, Any], cotangents: dict[str, Any]) -> dict[str, np.ndarray]:
    """All gradients by the names of ``Gradients``, of sum(outputs * cotangents), by central differences."""

    def loss_of(outputs: dict[str, np.ndarray]) -> float:
        return sum(float((outputs[name] * cotangents[f"d{name}"]).sum()) for name in outputs)

    given = {name: array for name, array in inputs.items() if array is not None and name != "mask"}
    if inputs["mask"] is not None:  # padding has no gradient, whatever it holds
        given["x"] = np.where(inputs["mask"][..., None], given["x"], 0.0)
    gradients = {
        f"d{name}": central_differences(
            lambda moved, name=name: loss_of(plain_forward(problem, inputs | {name: moved})), array
        )
        for name, array in given.items()
    }
    by_output = central_differences(
        lambda moved: loss_of(plain_forward(problem, inputs, moved)), np.zeros(problem.shapes["y"])
    )
    return gradients | {"norms": np.sqrt((by_output**2).sum(axis=-1))}


# Stock Keras --------------------------------------------------------------------------------------------------------


def stock_layer(problem: Problem, inputs: dict[str, Any], **options: Any) -> Any:
    """Keras's own layer for a problem, built, with the weights of ``inputs``."""
    import keras

    bias, recurrent_bias = inputs["bias"], inputs["recurrent_bias"]
    options |= {
        "use_bias": bias is not None,
        "go_backwards": problem.reverse,
        "zero_output_for_mask": problem.zero_masked,
        "return_state": True,
    }
    if problem.cell in ("rnn_tanh", "rnn_relu"):
        layer = keras.layers.SimpleRNN(problem.units, activation=problem.cell.removeprefix("rnn_"), **options)
    elif problem.cell == "lstm":
        layer = keras.layers.LSTM(problem.units, **options)
    else:
        layer = keras.layers.GRU(problem.units, reset_after=problem.cell == "gru", **options)
    layer.build((None, None, problem.features))
    biases = [] if bias is None else [bias if problem.cell != "gru" else np.stack([bias, recurrent_bias])]
    layer.set_weights([inputs["kernel"], inputs["recurrent_kernel"], *biases])
    return layer


def stock_forward(problem: Problem, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """What Keras's own layer gives on the backend that is running, float32; the states are to be given."""
    from keras import ops

    states = [ops.convert_to_tensor(inputs[name]) for name in ("h0", "c0") if inputs[name] is not None]
    found = {}
    for name, sequences in (("y", True), ("last", False)):
        layer = stock_layer(problem, inputs, return_sequences=sequences)
        mask = None if inputs["mask"] is None else ops.convert_to_tensor(inputs["mask"])
        output, *final = layer(ops.convert_to_tensor(inputs["x"]), initial_state=states, mask=mask)
        found |= dict(
            zip((name, "hn", "cn"), (ops.convert_to_numpy(array) for array in (output, *final)), strict=False)
        )
    return found
