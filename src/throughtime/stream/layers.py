"""How each layer without a state is computed for one time step; ``LAYERS`` has a function for each class.

A function is given the plan, the layer and the signals that it is called on; it adds a step that fills an array of its
own, and returns the signal of that array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ArgumentError
from .activations import LAYERS as ACTIVATION_LAYERS
from .activations import in_place
from .plan import Mask, Plan, Signal, axes_of, last_axis
from .walking import said


def dense(plan: Plan, layer: layers.Dense, x: Signal) -> Signal:
    last_axis(layer, x)
    array, kernel = x.array, plan.weight(layer.kernel)
    bias = plan.weight(layer.bias) if layer.use_bias else None
    activate = in_place(layer.activation, said(layer))
    out = plan.buffer(*array.shape[1:-1], layer.units)

    def step() -> None:
        np.matmul(array, kernel, out=out)
        if bias is not None:
            np.add(out, bias, out=out)
        activate(out)

    plan.steps.append(step)
    return plan.after(layer, x, out)


def embedding(plan: Plan, layer: layers.Embedding, x: Signal) -> Signal:
    tokens, table, size = x.array, plan.weight(layer.embeddings), layer.input_dim
    out = plan.buffer(*tokens.shape[1:], layer.output_dim)
    mask = plan.mask()
    if layer.mask_zero and tokens.ndim != 1:
        raise ArgumentError(
            f"{said(layer)} with mask_zero=True is given {tokens.ndim} axes at a step, so that its mask is not one of "
            "steps; leave mask_zero out."
        )

    if not any(np.may_share_memory(tokens, given) for given in plan.inputs):
        raise ArgumentError(f"{said(layer)} is given tokens that the model computes; give it those of an input.")

    def check() -> None:
        index = tokens.astype(np.intp)
        if index.min() < 0 or index.max() >= size or (index != tokens).any():
            odd = tokens[(index < 0) | (index >= size) | (index != tokens)].flat[0]
            raise ArgumentError(
                f"{said(layer)} was given the token {odd}; whole numbers from 0 to {size - 1} are accepted."
            )

    def step() -> None:
        np.take(table, tokens.astype(np.intp), axis=0, out=out)
        if layer.mask_zero:
            mask.rows[...] = tokens != 0
            mask.full = bool(mask.rows.all())

    plan.checks.append(check)
    plan.steps.append(step)
    return Signal(out, mask, x.timed)


def masking(plan: Plan, layer: layers.Masking, x: Signal) -> Signal:
    if x.array.ndim != 2 or not x.timed:
        raise ArgumentError(f"{said(layer)} is accepted on (batch, time, features) alone.")
    array, value, out, mask = x.array, layer.mask_value, plan.buffer(x.array.shape[1]), plan.mask()

    def step() -> None:
        np.any(array != value, axis=1, out=mask.rows)
        mask.full = bool(mask.rows.all())
        np.copyto(out, array)
        if not mask.full:
            out[~mask.rows] = 0

    plan.steps.append(step)
    return Signal(out, mask, True)


# One array in, one out ------------------------------------------------------------------------------------------------


def unchanged(plan: Plan, layer: keras.Layer, x: Signal) -> Signal:
    """Of layers that do nothing but in training."""
    return plan.after(layer, x, x.array)


def activation(plan: Plan, layer: keras.Layer, x: Signal) -> Signal:
    given = layer.activation if isinstance(layer, layers.Activation) else layer
    if isinstance(layer, layers.Softmax):
        axes_of(layer, x, layer.axis)
        if layer.axis not in (-1, x.array.ndim + x.timed - 1):
            raise ArgumentError(f"{said(layer)} has axis={layer.axis}; give it axis=-1.")
        given = keras.activations.softmax
    if given in (keras.activations.softmax, keras.activations.log_softmax):
        last_axis(layer, x)
    return _elementwise(plan, layer, x, in_place(given, said(layer)))


def prelu(plan: Plan, layer: layers.PReLU, x: Signal) -> Signal:
    alpha = plan.weight(layer.alpha)
    if x.timed and alpha.shape[0] != 1:
        raise ArgumentError(f"{said(layer)} has another slope at each time step; give it shared_axes=[1].")
    alpha = alpha[0] if x.timed else alpha

    def activate(a: np.ndarray) -> None:
        np.copyto(a, alpha * a, where=a < 0)

    return _elementwise(plan, layer, x, activate)


def rescaling(plan: Plan, layer: layers.Rescaling, x: Signal) -> Signal:
    scale, offset = (np.asarray(given, plan.dtype) for given in (layer.scale, layer.offset))
    if max(scale.ndim, offset.ndim) > 1:
        raise ArgumentError(f"{said(layer)} has a scale of {scale.ndim} axes; a number, or one a feature, is accepted.")
    last_axis(layer, x)

    def rescale(a: np.ndarray) -> None:
        a *= scale
        a += offset

    return _elementwise(plan, layer, x, rescale)


def normalization(plan: Plan, layer: layers.Normalization, x: Signal) -> Signal:
    if layer.axis is not None:
        axes_of(layer, x, list(layer.axis) if isinstance(layer.axis, list | tuple) else layer.axis)
    mean, variance = plan.weight(layer.mean), plan.weight(layer.variance)
    if x.timed and mean.ndim > 1:  # (1, 1, F), with axes of size 1 for batch and time
        mean, variance = mean[:, 0], variance[:, 0]
    spread = np.maximum(np.sqrt(variance), keras.config.epsilon()).astype(plan.dtype)

    def normalize(a: np.ndarray) -> None:
        if layer.invert:
            a *= spread
            a += mean
        else:
            a -= mean
            a /= spread

    return _elementwise(plan, layer, x, normalize)


def batch_normalization(plan: Plan, layer: layers.BatchNormalization, x: Signal) -> Signal:
    (axis,) = axes_of(layer, x, layer.axis)
    shape = tuple(size if place == axis else 1 for place, size in enumerate(x.array.shape))
    mean, variance = (
        keras.ops.convert_to_numpy(one).astype(np.float64) for one in (layer.moving_mean, layer.moving_variance)
    )
    factor = 1 / np.sqrt(variance + layer.epsilon)
    factor = (factor * plan.weight(layer.gamma) if layer.scale else factor).astype(plan.dtype).reshape(shape)
    center = mean.astype(plan.dtype).reshape(shape)
    offset = plan.weight(layer.beta, shape) if layer.center else None

    # The mean is taken off first: in one offset with beta, it would cost the digits that inputs far from 0 have left.
    def normalize(a: np.ndarray) -> None:
        a -= center
        a *= factor
        if offset is not None:
            a += offset

    return _elementwise(plan, layer, x, normalize)


def layer_normalization(plan: Plan, layer: Any, x: Signal) -> Signal:
    """LayerNormalization, and RMSNormalization, which neither centers nor shifts."""
    axes = axes_of(layer, x, layer.axis)
    shape = tuple(size if place in axes else 1 for place, size in enumerate(x.array.shape))
    rms = isinstance(layer, layers.RMSNormalization)
    if not rms and layer.rms_scaling:
        raise ArgumentError(f"{said(layer)} has rms_scaling=True; the layer RMSNormalization is accepted.")
    scale, offset = (layer.scale, None) if rms else (layer.gamma, layer.beta)
    gamma = None if scale is None else plan.weight(scale, shape)
    beta = None if offset is None else plan.weight(offset, shape)

    def normalize(a: np.ndarray) -> None:
        if not rms:
            a -= a.mean(axes, keepdims=True)
        a /= np.sqrt((a * a).mean(axes, keepdims=True) + layer.epsilon)
        if gamma is not None:
            a *= gamma
        if beta is not None:
            a += beta

    return _elementwise(plan, layer, x, normalize)


def unit_normalization(plan: Plan, layer: layers.UnitNormalization, x: Signal) -> Signal:
    axes = axes_of(layer, x, layer.axis)

    def normalize(a: np.ndarray) -> None:
        a /= np.sqrt(np.maximum((a * a).sum(axes, keepdims=True), 1e-12))

    return _elementwise(plan, layer, x, normalize)


def _elementwise(plan: Plan, layer: keras.Layer, x: Signal, change: Callable[[np.ndarray], None]) -> Signal:
    """A copy that ``change`` changes in place; the array itself may be the input of other layers."""
    array, out = x.array, plan.buffer(*x.array.shape[1:])

    def step() -> None:
        np.copyto(out, array)
        change(out)

    plan.steps.append(step)
    return plan.after(layer, x, out)


def flatten(plan: Plan, layer: Any, x: Signal) -> Signal:
    """Flatten and Reshape, of what a whole sequence or one step gave."""
    if x.timed:
        raise ArgumentError(
            f"{said(layer)} takes all steps together; for each step alone, put it into keras.layers.TimeDistributed."
        )
    shape = (math.prod(x.array.shape[1:]),)
    if isinstance(layer, layers.Reshape):
        shape = layer.compute_output_shape((plan.batch, *x.array.shape[1:]))[1:]
    array, out = x.array, plan.buffer(*shape)

    def step() -> None:
        out[...] = array.reshape(out.shape)

    plan.steps.append(step)
    return plan.after(layer, x, out)


# Several arrays in ----------------------------------------------------------------------------------------------------


def merge(plan: Plan, layer: Any, signals: list[Signal]) -> Signal:
    """Add and the like, element by element."""
    refuse_mixed(layer, signals)
    ufunc = _UFUNCS[type(layer)]
    arrays = [signal.array for signal in signals]
    out = plan.buffer(*np.broadcast_shapes(*(array.shape for array in arrays))[1:])

    def step() -> None:
        ufunc(arrays[0], arrays[1], out=out)
        for array in arrays[2:]:
            ufunc(out, array, out=out)
        if isinstance(layer, layers.Average):
            np.divide(out, len(arrays), out=out)

    plan.steps.append(step)
    return Signal(out, _any_mask(plan, layer, signals), signals[0].timed)


def concatenate(plan: Plan, layer: Any, signals: list[Signal]) -> Signal:
    refuse_mixed(layer, signals)
    (axis,) = axes_of(layer, signals[0], layer.axis)
    arrays = [signal.array for signal in signals]
    out = np.concatenate(arrays, axis)

    def step() -> None:
        np.concatenate(arrays, axis, out=out)

    plan.steps.append(step)
    return Signal(out, _any_mask(plan, layer, signals), signals[0].timed)


def refuse_mixed(layer: Any, signals: list[Signal]) -> None:
    if len({signal.timed for signal in signals}) > 1:
        raise ArgumentError(
            f"{said(layer)} joins what each step gives with what the whole sequence gives; a stream has the steps so "
            "far alone. Let all its inputs have a time axis (return_sequences=True), or none."
        )


def _any_mask(plan: Plan, layer: Any, signals: list[Signal]) -> Mask:
    """Keras's: a step is valid where it is valid in any input, and an input without a mask is valid everywhere."""
    mask, masks = plan.mask(), [signal.mask for signal in signals]
    if isinstance(layer, keras.Layer) and layer.supports_masking:

        def step() -> None:
            mask.full = any(one.full for one in masks)
            if not mask.full:
                np.logical_or.reduce([one.rows for one in masks], out=mask.rows)

        plan.steps.append(step)
    return mask


_UFUNCS: dict[type, Any] = {
    layers.Add: np.add, layers.Subtract: np.subtract, layers.Multiply: np.multiply, layers.Average: np.add,
    layers.Maximum: np.maximum, layers.Minimum: np.minimum,
}  # fmt: skip

LAYERS: dict[type, Callable[..., Any]] = {
    layers.Dense: dense,
    layers.Embedding: embedding,
    layers.Masking: masking,
    layers.Activation: activation,
    layers.Softmax: activation,
    **dict.fromkeys(ACTIVATION_LAYERS, activation),
    layers.PReLU: prelu,
    layers.Rescaling: rescaling,
    layers.Normalization: normalization,
    layers.BatchNormalization: batch_normalization,
    layers.LayerNormalization: layer_normalization,
    layers.RMSNormalization: layer_normalization,
    layers.UnitNormalization: unit_normalization,
    layers.Flatten: flatten,
    layers.Reshape: flatten,
    layers.Concatenate: concatenate,
    **dict.fromkeys(_UFUNCS, merge),
    **dict.fromkeys(
        (
            layers.Identity, layers.Dropout, layers.SpatialDropout1D, layers.GaussianDropout, layers.GaussianNoise,
            layers.AlphaDropout, layers.ActivityRegularization,
        ),
        unchanged,
    ),
}  # fmt: skip
