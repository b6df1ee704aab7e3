"""The gradient of a function of a model's variables and of arrays, on TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def derivative_of(
    function: Callable[[list[Any]], Any], variables: Sequence[keras.Variable], others: Sequence[keras.Variable]
) -> Callable[[Sequence[np.ndarray]], tuple[float, list[np.ndarray], list[np.ndarray]]]:
    """See ``differentiate.derivative_of``; a graph reads ``others`` where they are."""

    @tf.function(autograph=False)
    def traced(values: list[Any], tensors: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([values, tensors])
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)), collect_losses=True):
                value = function(tensors)
        found = tape.gradient(value, [values, tensors], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Of an embedding TensorFlow gives the rows that were looked up.
        return value, *tf.nest.map_structure(tf.convert_to_tensor, found)

    def derivative(arrays: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
        given = [tf.identity(variable.value) for variable in variables], [tf.constant(array) for array in arrays]
        value, by_variable, by_array = traced(*given)
        return float(value), [one.numpy() for one in by_variable], [one.numpy() for one in by_array]

    return derivative


def dense(gradients: Sequence[Any]) -> list[tf.Tensor]:
    """All as tensors: that of an embedding comes as the rows that were looked up, one for each time."""
    return [tf.convert_to_tensor(one) for one in gradients]


def peeked(iterator: Any, count: int) -> tuple[Any, Any]:
    """The first batch of an iterator, and an iterator over the first ``count`` ones, which are used up.

    It is of the same type, so that a step that was compiled for the one is not compiled again for the other. Where
    batches are spread over devices nothing is taken, and the batch is None.
    """
    if not isinstance(iterator, tf.data.Iterator):
        return None, iterator
    batches = list(itertools.islice(iterator, count))
    if not batches:
        raise StopIteration
    whole = tf.data.Dataset.from_tensors(batches[0])
    for batch in batches[1:]:
        whole = whole.concatenate(tf.data.Dataset.from_tensors(batch))
    specs = tf.nest.flatten(iterator.element_spec, expand_composites=True)

    def of_the_type(*batch: Any) -> Any:
        values = tf.nest.flatten(batch, expand_composites=True)
        known = [
            None if value is None else tf.compat.v1.placeholder_with_default(value, spec.shape)
            for value, spec in zip(values, specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(iterator.element_spec, known, expand_composites=True)

    return batches[0], iter(whole.map(of_the_type))
