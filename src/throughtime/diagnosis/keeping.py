"""``untouched``: a model, its optimizer and all random state are bit for bit the same after a block as before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from ..gradients.building import copy_loss, is_built, loss_apart
from ..gradients.reading import all_random_state_kept
from ..layers.carrying import Carrying
from ..layers.paths import recurrent_layers
from .tracing import traced


@contextmanager
def untouched(model: keras.Model, x: Any) -> Iterator[None]:
    """Weights, carried states, metrics, optimizer, compiled functions and random state are put back at the end.

    A block may train the model, compile it anew with ``keras.Model.compile``, and fail. A model that is not
    built is built on ``x``. The compiled loss is another one within the block, which may be built and count.
    """
    if not is_built(model):
        traced(model, x)  # what stops it is said by who looks at the trace
    variables = every_variable(model)
    values = [_copy(variable.value) for variable in variables]
    attributes = {id(part): (part, dict(part.__dict__)) for part in _with_functions(model)}
    learning = [(layer, layer.trainable) for layer in model._flatten_layers()]
    seeds = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    seed = None if seeds is None else _copy(seeds.state.value)
    try:
        with all_random_state_kept(), loss_apart(model, copy_loss(model)):
            yield
    finally:
        for part, before in attributes.values():
            for name in [name for name in part.__dict__ if name not in before]:
                del part.__dict__[name]
            part.__dict__.update(before)
        for layer, trainable in learning:
            if layer.trainable != trainable:
                layer.trainable = trainable
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        if seeds is not None:
            seeds.state.assign(seed)


def every_variable(model: keras.Model) -> list[Any]:
    """All that a model's training and calls depend on or change: also the states that stock layers do not track."""
    optimizer = model.optimizer.variables if model.optimizer is not None else []
    carried = [
        state
        for _, layer, _ in recurrent_layers(model)
        if layer.stateful and not isinstance(layer, Carrying)  # whose model counts them
        for state in keras.tree.flatten(layer.states)
    ]
    found = {
        id(one): one for one in [*model.variables, *model.metrics_variables, *optimizer, *carried] if one is not None
    }
    return list(found.values())


def _with_functions(model: keras.Model) -> list[Any]:
    """What has plain attributes that compiling and training change: the models, and their losses and metrics."""
    models = [part for part in model._flatten_layers() if isinstance(part, keras.Model)]
    inner = [part.__dict__.get(name) for part in models for name in ("_compile_loss", "_compile_metrics")]
    return [*models, *(one for one in inner if one is not None)]


def _copy(value: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(value))
