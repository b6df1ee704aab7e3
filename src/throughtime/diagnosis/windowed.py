"""Truncated backpropagation within one call: the state goes on over the whole sequence, the gradient over a window.

What ``tt.Streams`` and ``tt.CarryState`` do over several training steps, in one, so that a copy that is trained so
differs from one that is trained on whole sequences by nothing but the gradient's reach.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..layers.paths import recurrent_layers


def is_causal(model: keras.Model) -> bool:
    """Whether no recurrent layer reads backwards: the state of one that does comes from the windows after."""
    return not any(layer.go_backwards for _, layer, _ in recurrent_layers(model))


def end_gradients(model: keras.Model, window: int, steps: int) -> None:
    """From here on the gradient through the states of a model's recurrent layers ends where a window of steps begins.

    Args:
        model: a copy that is given sequences of ``steps`` steps; its outputs stay what they are.
        window: steps.

    Example:
        >>> layer = keras.layers.GRU(2, return_sequences=True)
        >>> model = keras.Sequential([keras.Input((6, 1)), layer])
        >>> before = model(ops.ones((1, 6, 1)))
        >>> end_gradients(model, 4, 6)
        >>> bool(ops.max(ops.abs(model(ops.ones((1, 6, 1))) - before)) < 1e-6)
        True
    """
    for _, layer, _ in recurrent_layers(model):
        layer.inner_loop = _in_windows(layer.inner_loop, window, steps)


def _in_windows(inner_loop: Any, window: int, steps: int) -> Any:
    def looped(sequences: Any, initial_state: Any, mask: Any = None, training: bool = False) -> Any:
        states, outputs, last = initial_state, [], None
        for begin in range(0, steps, window):
            part = None if mask is None else mask[:, begin : begin + window]
            last, found, states = inner_loop(
                sequences[:, begin : begin + window], initial_state=states, mask=part, training=training
            )
            outputs.append(found)
            states = keras.tree.map_structure(ops.stop_gradient, states)
        return last, ops.concatenate(outputs, axis=1), states

    return looped
