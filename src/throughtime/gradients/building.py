"""What Keras builds when it first needs it, built in time or apart from the model: a look at a model changes nothing.

Layers are built by their first call, and a compiled loss by the first batch: of a model with several outputs it then
makes a metric for each. Inside a function that a framework traces, what they create would hold the trace's values, and
break the next ``fit``. So layers are built before, as ``fit`` builds them, and the loss is computed with a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from .differentiate import random_state_kept


def build(model: keras.Model, x: Any) -> None:
    """Builds what is not built yet, with the weights that ``fit`` would begin with; nothing is computed.

    Args:
        x: arrays as the model takes them. A model that is not stateful is built for any number of sequences.

    Raises:
        Whatever a layer raises on such arrays.

    Example:
        >>> model = keras.Sequential([keras.layers.GRU(4), keras.layers.Dense(1)])
        >>> build(model, np.zeros((8, 5, 2)))
        >>> model.built, model.input_shape
        (True, (None, 5, 2))
    """
    if is_built(model):
        return
    carried = any(isinstance(layer, keras.layers.RNN) and layer.stateful for layer in model._flatten_layers())

    x = arrays_of(x)
    if isinstance(model, keras.Sequential) and isinstance(x, np.ndarray) and not carried:
        model.build((None, *x.shape[1:]))  # PyTorch would have it take one number of sequences
        return

    def symbol(array: Any) -> keras.KerasTensor:
        dtype = keras.config.floatx() if array.dtype.kind == "f" else str(array.dtype)
        return keras.KerasTensor((len(array) if carried else None, *array.shape[1:]), dtype)

    with random_state_kept():
        keras.src.backend.compute_output_spec(model, keras.tree.map_structure(symbol, x), training=False)


def is_built(model: keras.Model) -> bool:
    """Whether the model and all layers in it have their weights."""
    return all(layer.built for layer in model._flatten_layers())


def arrays_of(structure: Any) -> Any:
    """The same structure of NumPy arrays; None where there is none."""

    def array(one: Any) -> Any:
        if one is None:
            return None
        return keras.ops.convert_to_numpy(one) if keras.ops.is_tensor(one) else np.asarray(one)

    return keras.tree.map_structure(array, structure)


def copy_loss(model: keras.Model) -> Any:
    """The compiled loss as it was when the model was compiled, not built; None where there is none."""
    loss = model._compile_loss
    if loss is None:
        return None
    return type(loss)(loss._user_loss, loss._user_loss_weights, loss.reduction, loss.output_names)


@contextmanager
def loss_apart(model: keras.Model, loss: Any) -> Iterator[None]:
    """``loss`` in place of the compiled one, which is not built, and whose metrics do not count, within the block."""
    held = model.__dict__
    before = held["_compile_loss"]
    held["_compile_loss"] = loss
    try:
        yield
    finally:
        held["_compile_loss"] = before
