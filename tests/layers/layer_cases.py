"""Layers and inputs for the tests of layers, and the gradients of everything that a call of a layer gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

import throughtime as tt


class Named(list):
    """Cells with names for pytest."""

    ids = ("simple_rnn", "relu", "gru", "gru_reset_before", "lstm")


CELLS = Named(
    [
        tt.SimpleRNN,
        partial(tt.SimpleRNN, activation="relu"),
        tt.GRU,
        partial(tt.GRU, reset_after=False),
        tt.LSTM,
    ]
)
MASKS = ("none", "right", "left", "gaps", "a fully masked row")
FLAGS: list[dict[str, bool]] = [
    {"return_sequences": True},
    {"return_sequences": False, "use_bias": False},
    {"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True},
    {"return_sequences": False, "go_backwards": True},
]


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def mask_of(kind: str, rng: np.random.Generator, batch: int, steps: int) -> np.ndarray | None:
    place = np.arange(steps)[None]
    lengths = rng.integers(1, steps + 1, batch)[:, None]
    if kind == "none":
        return None
    if kind == "gaps":
        return rng.random((batch, steps)) < 0.6
    mask = place >= steps - lengths if kind == "left" else place < lengths
    if kind == "a fully masked row":
        mask[batch // 2] = False
    return mask


def stock_of(layer: keras.Layer) -> keras.Layer:
    """Keras's own layer of the same settings."""
    stock = getattr(keras.layers, type(layer).__name__)
    assert stock is not type(layer)
    return stock.from_config(layer.get_config())


def filled(layer: keras.Layer, rng: np.random.Generator) -> None:
    """Weights that differ from each other, biases too; small enough that nine steps of relu stay finite."""
    layer.set_weights([0.4 * values(rng, *weight.shape) for weight in layer.weights])


def gradients(
    layer: keras.Layer, x: np.ndarray, mask: np.ndarray | None, states: list[np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Outputs of a call, and the gradients of a random sum of them by inputs, initial states and weights."""

    def called(x: Any, states: list[Any]) -> list[Any]:
        outputs = layer(x, initial_state=states, mask=None if mask is None else ops.convert_to_tensor(mask))
        return list(outputs)

    shapes = [
        tuple(output.shape) for output in called(ops.convert_to_tensor(x), list(map(ops.convert_to_tensor, states)))
    ]
    cotangents = [values(rng, *shape) for shape in shapes]
    leaves = [x, *states]
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def loss(leaves: list[Any], weights: list[Any]) -> Any:
            outputs, _ = layer.stateless_call(
                weights,
                [v.value for v in layer.non_trainable_variables],
                leaves[0],
                initial_state=leaves[1:],
                mask=mask,
            )
            return sum((output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True))

        weights = [v.value for v in layer.trainable_variables]
        found = jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(list(map(jax.numpy.asarray, leaves)), weights))
    elif backend == "torch":
        import torch

        tensors = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
        outputs = called(tensors[0], tensors[1:])
        total = sum((output * torch.tensor(c)).sum() for output, c in zip(outputs, cotangents, strict=True))
        found = torch.autograd.grad(
            total, [*tensors, *(v.value for v in layer.trainable_variables)], allow_unused=True, materialize_grads=True
        )
    else:
        import tensorflow

        tensors = [tensorflow.constant(leaf) for leaf in leaves]
        with tensorflow.GradientTape() as tape:
            tape.watch(tensors)
            outputs = called(tensors[0], tensors[1:])
            total = sum(tensorflow.reduce_sum(o * c) for o, c in zip(outputs, cotangents, strict=True))
        found = tape.gradient(
            total, [*tensors, *(v.value for v in layer.trainable_variables)], unconnected_gradients="zero"
        )
    outputs = called(ops.convert_to_tensor(x), list(map(ops.convert_to_tensor, states)))
    names = ["dx", *(f"dstate{i}" for i in range(len(states))), *(f"d{v.path}" for v in layer.trainable_variables)]
    names = [name.replace(f"d{layer.name}", "d") for name in names]
    results = {name: ops.convert_to_numpy(value) for name, value in zip(names, found, strict=True)}
    return results | {f"output{i}": ops.convert_to_numpy(output) for i, output in enumerate(outputs)}


def with_gradients(loss: Any, leaves: list[np.ndarray], order: int = 1) -> list[np.ndarray]:
    """The gradient of ``loss(*leaves)``; of the sum of its squares where the order is 2."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def first(leaves: list[Any]) -> list[Any]:
            return jax.grad(lambda leaves: loss(*leaves))(leaves)

        def second(leaves: list[Any]) -> list[Any]:
            return jax.grad(lambda leaves: sum((one**2).sum() for one in first(leaves)))(leaves)

        with jax.enable_x64(True):
            return [np.asarray(one) for one in (first if order == 1 else second)([*map(jax.numpy.asarray, leaves)])]
    if backend == "torch":
        import torch

        tensors = [torch.tensor(leaf, requires_grad=True) for leaf in leaves]
        found = torch.autograd.grad(loss(*tensors), tensors, create_graph=order == 2)
        if order == 2:
            found = torch.autograd.grad(sum((one**2).sum() for one in found), tensors)
        return [one.detach().numpy() for one in found]
    import tensorflow

    tensors = [tensorflow.constant(leaf) for leaf in leaves]
    with tensorflow.GradientTape() as outer:
        outer.watch(tensors)
        with tensorflow.GradientTape() as tape:
            tape.watch(tensors)
            total = loss(*tensors)
        found = tape.gradient(total, tensors)
        squares = sum(tensorflow.reduce_sum(one**2) for one in found)
    return [one.numpy() for one in (found if order == 1 else outer.gradient(squares, tensors))]
