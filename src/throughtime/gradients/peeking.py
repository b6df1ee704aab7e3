"""A look at the batch of a training step that is about to be made, which is then made of the same batch.

``fit`` gives a step an iterator, or on PyTorch the batch itself. What is taken from an iterator is gone, so the step
gets it back in front of the rest: its data, and how much of the iterator is used up, are those of a step without us.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError
from .building import arrays_of


def peek(model: keras.Model, given: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The first batch of a step, and what its train function is to be given in place of ``given``.

    Args:
        given: what Keras gives the train function: an iterator, on JAX behind the variables' values; on PyTorch a list
            of one batch.

    Raises:
        StopIteration: there is no further batch. And what the data raise.

    Returns:
        None as the batch where it is spread over devices by tf.distribute.
    """
    *state, source = given
    backend = keras.backend.backend()
    if backend == "torch":
        return source[0], given
    if backend == "tensorflow":
        from . import tensorflow

        batch, source = tensorflow.peeked(source, model.steps_per_execution)
    else:
        batch = next(source)
        source = itertools.chain([batch], source)
    return batch, (*state, source)


def rows_of(batch: Any, count: int | None) -> tuple[Any, Any, Any]:
    """Copies of the first rows of (x, y, sample_weight) as NumPy arrays; None where there is none. Without a count all.

    Raises:
        ArgumentError: the batch is something else, or holds what no array is made of.
    """
    if batch is None:
        raise ArgumentError("it is spread over devices by tf.distribute.")
    try:
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        # What a data set gives may be a view of what it changes later.
        x, y, weight = (
            keras.tree.map_structure(lambda one: None if one is None else np.array(one[:count]), arrays_of(part))
            for part in parts
        )
    except (ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as error:
        raise ArgumentError(
            "the batch of a training step is not made of arrays; (x, y) or (x, y, sample_weight) is accepted."
        ) from error
    return x, y, weight


@contextmanager
def values_in_place(model: keras.Model, given: tuple[Any, ...]) -> Iterator[None]:
    """A block within a step in which the variables of the model have their values: on JAX ``fit`` takes them out."""
    if keras.backend.backend() != "jax":
        yield
        return
    kinds = "trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables"
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    for some, values in zip(variables, given[0], strict=True):
        for variable, value in zip(some, values, strict=True):
            variable.assign(value)
    yield
    # After an error they stay: the step is not made, and the values are those before it.
    model._purge_model_variables(**dict.fromkeys(kinds, True))
