"""SimpleRNN, GRU and LSTM as ONNX's RNN, GRU and LSTM, and Bidirectional as their direction.

ONNX has time first, a gate order of its own (LSTM i, o, f, g; Keras i, f, g, o), and ends each sequence at its length:
later outputs are 0, and the reverse direction begins at the last valid step.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError
from ..layers.recurrent import OURS
from ..stream.activations import name_of
from ..stream.walking import said
from .graph import Graph, Value

# Keras's name: ONNX's, alpha, beta (None: it has none).
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "relu": ("Relu", None, None),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "softsign": ("Softsign", None, None),
    "softplus": ("Softplus", None, None),
    "linear": ("Affine", 1.0, 0.0),
}
KINDS: dict[type, str] = {keras.layers.SimpleRNN: "RNN", keras.layers.GRU: "GRU", keras.layers.LSTM: "LSTM"}
KINDS |= {ours: KINDS[stock] for stock, ours in OURS.items()}
_LSTM_ORDER = (0, 3, 1, 2)
_MERGES = {"sum": "Sum", "mul": "Mul", "ave": "Mean"}


def recurrent(graph: Graph, layer: Any, x: Value, **given: Any) -> Any:
    """One direction."""
    _refuse(layer, given)
    if layer.go_backwards and layer.return_sequences:
        raise ArgumentError(
            f"{said(layer)} has go_backwards=True and return_sequences=True, whose outputs stand in reverse; ONNX has "
            "them in the order of time. Leave one of them out."
        )
    direction = "reverse" if layer.go_backwards else "forward"
    y, states = _node(graph, [layer], x, direction)
    if layer.return_sequences:
        squeezed = graph.one("Squeeze", y, graph.constant([1], np.int64))
        out = Value(graph.one("Transpose", squeezed, perm=[1, 0, 2]), (*x.shape[:2], layer.units))
    else:
        out = _state(graph, layer, states[0])
    return [out, *(_state(graph, layer, state) for state in states)] if layer.return_state else out


def bidirectional(graph: Graph, wrapper: Any, x: Value, **given: Any) -> Value:
    """Both directions in one node."""
    forward, backward = wrapper.forward_layer, wrapper.backward_layer
    for layer in (forward, backward):
        if type(layer) not in KINDS:
            raise ArgumentError(f"{said(wrapper)} holds {said(layer)}; SimpleRNN, GRU and LSTM are accepted.")
        _refuse(layer, given)
    same = ("units", "activation", "recurrent_activation", "reset_after")
    pair = [{name: layer.get_config().get(name) for name in same} for layer in (forward, backward)]
    if KINDS[type(forward)] != KINDS[type(backward)] or pair[0] != pair[1]:
        raise ArgumentError(f"{said(wrapper)} has two layers of different kinds; ONNX has both alike in one operator.")
    if forward.return_state or wrapper.merge_mode not in ("concat", *_MERGES):
        raise ArgumentError(f"{said(wrapper)} returns its layers' outputs apart; give it merge_mode='concat'.")
    if forward.go_backwards or not backward.go_backwards:
        raise ArgumentError(f"{said(wrapper)} has a forward layer that goes backwards, or the other way round.")
    units = forward.units
    y, states = _node(graph, [forward, backward], x, "bidirectional")
    if forward.return_sequences:
        both, leading = graph.one("Transpose", y, perm=[2, 0, 1, 3]), x.shape[:2]  # (B, T, 2, H)
    else:
        both, leading = graph.one("Transpose", states[0], perm=[1, 0, 2]), x.shape[:1]
    axis = len(leading)
    if wrapper.merge_mode == "concat":
        shape = graph.constant([0] * axis + [2 * units], np.int64)
        return Value(graph.one("Reshape", both, shape), (*leading, 2 * units))
    halves = [
        graph.one("Gather", both, graph.constant(place, np.int64), axis=axis) for place in range(2)
    ]  # fmt: skip
    return Value(graph.one(_MERGES[wrapper.merge_mode], *halves), (*leading, units))


def _refuse(layer: Any, given: dict[str, Any]) -> None:
    given.pop("mask", None)
    if given:
        raise ArgumentError(f"{said(layer)} is called with {', '.join(f'{name}=' for name in given)}, which no export "
                            "has; initial states are zero.")  # fmt: skip
    if layer.stateful:
        raise ArgumentError(f"{said(layer)} has stateful=True; an exported file carries no state from call to call.")


def _state(graph: Graph, layer: Any, state: str) -> Value:
    return Value(graph.one("Squeeze", state, graph.constant([0], np.int64)), (None, layer.units))


def _node(graph: Graph, layers: list[Any], x: Value, direction: str) -> tuple[str, list[str]]:
    """``Y`` (T, directions, B, H) and the last states (directions, B, H)."""
    if len(x.shape) != 3:
        raise ArgumentError(f"{said(layers[0])} is given shape {x.shape}; (batch, time, features) is accepted.")
    kind, units = KINDS[type(layers[0])], layers[0].units
    weights = [np.stack(one) for one in zip(*(_weights(graph, layer) for layer in layers), strict=True)]
    attributes = _activations(layers)
    if kind == "GRU":
        attributes["linear_before_reset"] = int(layers[0].cell.reset_after)
    names = graph.add(
        kind,
        graph.one("Transpose", x.name, perm=[1, 0, 2]),
        *(graph.constant(weight) for weight in weights),
        graph.lengths.name if graph.lengths else "",
        outputs=3 if kind == "LSTM" else 2,
        hidden_size=units,
        direction=direction,
        **attributes,
    )
    return names[0], names[1:]


def _weights(graph: Graph, layer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (gates H, F), R (gates H, H), B (2 gates H), in ONNX's order of gates."""
    cell, units = layer.cell, layer.units
    kernel, recurrent_kernel = graph.weight(cell.kernel), graph.weight(cell.recurrent_kernel)
    bias = np.zeros((2, kernel.shape[1]), np.float32)
    if cell.bias is not None:
        given = graph.weight(cell.bias)
        bias[: given.ndim] = given  # a GRU with reset_after has two, the others one, which goes to the first
    gates = kernel.shape[1] // units
    order = _LSTM_ORDER if gates == 4 else range(gates)
    columns = np.concatenate([np.arange(gate * units, (gate + 1) * units) for gate in order])
    return kernel[:, columns].T, recurrent_kernel[:, columns].T, bias[:, columns].reshape(-1)


def _activations(layers: list[Any]) -> dict[str, Any]:
    functions = []
    for layer in layers:
        if isinstance(layer, keras.layers.SimpleRNN):
            functions += [layer.activation]
        else:
            functions += [layer.recurrent_activation, layer.activation]
        if isinstance(layer, keras.layers.LSTM):
            functions += [layer.activation]
    names = [name_of(function) for function in functions]
    odd = [function for function, name in zip(functions, names, strict=True) if name not in _ACTIVATIONS]
    if odd:
        given = getattr(odd[0], "__name__", type(odd[0]).__name__)
        raise ArgumentError(
            f"{said(layers[0])} has the activation {given}, which ONNX's operators do not have; accepted are "
            f"{', '.join(_ACTIVATIONS)}."
        )
    found = [_ACTIVATIONS[str(name)] for name in names]
    attributes: dict[str, Any] = {"activations": [name for name, _, _ in found]}
    # Each list has a number for those functions alone that take one.
    for key, place in (("activation_alpha", 1), ("activation_beta", 2)):
        numbers = [one[place] for one in found if one[place] is not None]
        if numbers:
            attributes[key] = numbers
    return attributes
