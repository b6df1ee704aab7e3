"""The recurrence as a differentiable op of JAX on the CPU: XLA calls the native library (csrc/xla.c).

It works under ``jit``, ``grad``, ``vjp``, ``jacrev``, ``checkpoint``, ``scan`` and ``vmap`` (one call after another).
Nothing is computed for a gradient that nobody asked for, nor read for an output that does not reach the loss. Calling
it is pure, but for a ``tap``: what a forward pass keeps for the backward pass is found by a ticket, and computed anew
where it is gone.

Reverse mode is all there is: ``jvp`` and second derivatives raise DerivativeError (under ``jit`` JAX raises its own
TypeError for ``jvp``, since no code of ours runs then).

Keras on JAX gives masked steps before the first valid one the initial state as their output, and so does this op; Keras
on the other backends gives zero.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.custom_derivatives import SymbolicZero

from ..errors import BackendError, DerivativeError
from . import native
from .callers import EXPORTED, EXPORTERS, called_from
from .problem import has_cell_state, output_units

TARGETS = {
    "throughtime_infer": "tt_xla_infer",
    "throughtime_forward": "tt_xla_forward",
    "throughtime_backward": "tt_xla_backward",
}
ABSENT = np.zeros(0, np.float32)  # what stands for an array that is not there; csrc/xla.c knows it by its shape
NO_TICKET = np.zeros(2, np.uint32)


class Setting(NamedTuple):
    """What is fixed when a call is traced."""

    cell: str
    reverse: bool
    zero_masked: bool
    return_sequences: bool
    tap: int
    memory: int


class Inputs(NamedTuple):
    """What a call reads, and, in the same places, its gradients."""

    x: Any
    mask: Any
    h0: Any
    c0: Any
    kernel: Any
    recurrent_kernel: Any
    bias: Any


class Outputs(NamedTuple):
    """What a call gives, and, in the same places, the gradients of the loss by it."""

    last: Any
    y: Any
    hn: Any
    cn: Any


def recurrent(
    x: Any, mask: Any, h0: Any, c0: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
    *, cell: str, reverse: bool, zero_masked: bool, return_sequences: bool, training: bool, tap: int = 0,
    memory: int = 0,
) -> Outputs:  # fmt: skip
    """A recurrence over the valid steps of a padded batch.

    Args:
        x: ``(B, T, F)`` float32, as all the others; what it holds at masked steps counts for nothing.
        mask: ``(B, T)`` bool, True at valid steps; None: all valid.
        h0: ``(B, H)``, the initial state.
        c0: ``(B, H)``, the initial cell state, of an LSTM or LRU; otherwise None.
        kernel, recurrent_kernel: ``(F, G*H)`` and ``(H, G*H)``, as Keras lays them out; those of other cells as in
            ``problem``.
        bias: ``(G*H,)``; ``(2, 3*H)`` for ``"gru"``; None for none.
        cell: one of ``problem.CELLS``.
        reverse: steps are taken from the last to the first, and outputs are in that order (Keras's ``go_backwards``).
        zero_masked: outputs are zero at masked steps (Keras's ``zero_output_for_mask``).
        return_sequences: ``y`` is wanted.
        training: not needed on JAX, which says itself whether there is a derivative to be taken.
        tap: not 0: a backward pass leaves the norms of dL/dh_k under this number, for ``native.tapped``.
        memory: bytes that activations may hold until the backward pass; what is beyond is computed again. 0: as many as
            ``native.keep_at_most`` says.

    Returns:
        ``last`` (B, H), what ``y[:, -1]`` is or would be; ``y`` (B, T, H) or None; ``hn`` (B, H) and, of an LSTM or
        LRU, ``cn`` (B, H), the states after the last valid step. Of an LRU ``last`` and ``y`` have 2H columns.

    Raises:
        BackendError: there is no native library, or this JAX does not take it. ArgumentError: ``memory`` is too small.
        DerivativeError: forward-mode or second derivatives.

    Example:
        >>> one = jax.numpy.ones((1, 1))
        >>> x = jax.numpy.array([[[1.0], [np.nan], [2.0]]])
        >>> mask = jax.numpy.array([[True, False, True]])
        >>> state = jax.numpy.zeros((1, 1))
        >>> recurrent(x, mask, state, None, one, one, None, cell="rnn_relu", reverse=False, zero_masked=False,
        ...           return_sequences=True, training=False).y.ravel().tolist()
        [1.0, 1.0, 3.0]
    """
    refused = _why_not_registered()
    if refused is not None:
        raise BackendError(refused)
    setting = Setting(cell, bool(reverse), bool(zero_masked), bool(return_sequences), int(tap), int(memory))
    inputs = Inputs(x, mask, h0, c0, kernel, recurrent_kernel, bias)
    try:
        return _recurrent(setting, inputs)
    except TypeError as error:
        if "custom_vjp" not in str(error):  # how JAX says that forward mode reached a function with a rule for reverse
            raise
        raise _refused_derivative() from error


def why_not(*tensors: Any) -> str | None:
    """Why the op cannot take these tensors, in one sentence; None where it can.

    Under ``jit`` a tensor does not say where it lies: then the device counts that JAX uses unless told otherwise.

    Args:
        tensors: those of one call that are not None.
    """
    reason = _why_not_registered()
    if reason is not None:
        return reason
    if any(tensor.dtype == np.float64 for tensor in tensors):
        return "float64 is asked for, and the native kernels compute in float32."
    platforms = {platform for tensor in tensors for platform in _platforms(tensor)}
    if platforms - {"cpu"}:
        return f"JAX computes on {' and '.join(sorted(platforms))}, and the native kernels run on the CPU."
    if any(isinstance(tensor, jax.core.Tracer) for tensor in tensors) and called_from(*EXPORTERS):
        return EXPORTED
    return None


def _platforms(tensor: Any) -> set[str]:
    if isinstance(tensor, jax.Array) and not isinstance(tensor, jax.core.Tracer):
        return {device.platform for device in tensor.devices()}
    chosen = jax.config.jax_default_device
    if chosen is None:
        return {jax.default_backend()}
    return {chosen if isinstance(chosen, str) else chosen.platform}


@cache
def _why_not_registered() -> str | None:
    """Registers the library with XLA, once, and says why it could not."""
    reason = native.why_not_available()
    if reason is not None:
        return reason
    try:
        # XLA takes handlers before its CPU client starts without a look, and a handler that it then refuses keeps the
        # client, and so all of JAX, from starting.
        jax.devices("cpu")
        for target, symbol in TARGETS.items():
            handler = jax.ffi.pycapsule(getattr(native.load(), symbol))
            jax.ffi.register_ffi_target(target, handler, platform="cpu")
    except RuntimeError as error:  # XLA's own errors are RuntimeErrors as well
        return f"JAX {jax.__version__} does not take the native kernels ({error})."
    return None


# The derivative -----------------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrent(setting: Setting, inputs: Inputs) -> Outputs:
    outputs, _ = _forward("throughtime_infer", setting, inputs)
    return outputs


def _recurrent_forward(setting: Setting, inputs: Inputs) -> tuple[Outputs, Any]:
    """The rule for reverse mode: the outputs, and what the rule's second half needs. Leaves say what is perturbed."""
    values = Inputs(*(None if leaf is None else leaf.value for leaf in inputs))
    # In the keys of a dictionary, because values that a residual holds become tracers.
    wanted = {name: () for name, leaf in inputs._asdict().items() if leaf is not None and leaf.perturbed}
    outputs, ticket = _train(setting, values)
    return outputs, (values, ticket, wanted)


def _recurrent_backward(setting: Setting, residuals: Any, cotangents: Outputs) -> tuple[Inputs]:
    values, ticket, wanted = residuals
    given = Outputs(*(None if isinstance(one, SymbolicZero) else one for one in cotangents))
    return (_backward((setting, tuple(wanted)), (values, ticket, given)),)


_recurrent.defvjp(_recurrent_forward, _recurrent_backward, symbolic_zeros=True)


def _refused_derivative() -> DerivativeError:
    return DerivativeError(
        "the native kernels have first derivatives in reverse mode (grad, vjp, jacrev); forward-mode (jvp, jacfwd) and "
        "second derivatives (hessian) need Keras's own layers: tt.to_keras(model)."
    )


def _final(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A function of something static and of arrays that says in our words that it has no derivative."""
    without = jax.custom_jvp(function, nondiff_argnums=(0,))

    @without.defjvp
    def refuse(static: Any, primals: Any, tangents: Any) -> Any:
        raise _refused_derivative()

    return without


# XLA's calls --------------------------------------------------------------------------------------------------------


def _call(target: str, setting: Setting, results: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    return jax.ffi.ffi_call(target, results, vmap_method="sequential")(
        *(ABSENT if array is None else array for array in arrays),
        cell=np.int32(native.CELLS.index(setting.cell)),
        reverse=np.int32(setting.reverse),
        masked_output=np.int32(setting.zero_masked),
        leading_initial=np.int32(1),
        tap=np.int32(setting.tap),
        keep_bytes=np.int64(setting.memory),
    )


def _floats(shape: tuple[int, ...] | None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(ABSENT.shape if shape is None else shape, np.float32)


def _forward(target: str, setting: Setting, inputs: Inputs) -> tuple[Outputs, Any]:
    """Outputs and ticket, which is None unless the target is one that keeps activations."""
    batch, steps, features = inputs.x.shape
    units = inputs.recurrent_kernel.shape[0]
    if setting.memory and target != "throughtime_infer":  # for inference nothing is kept
        native.check_budget(native.Problem(setting.cell, batch, steps, features, units, keep_bytes=setting.memory))
    state = (batch, units)
    shown, two = output_units(setting.cell, units), has_cell_state(setting.cell)
    results: tuple[Any, ...] = (
        _floats((batch, shown)),
        _floats((batch, steps, shown) if setting.return_sequences else None),
        _floats(state),
        _floats(state if two else None),
    )
    if target == "throughtime_infer":
        last, y, hn, cn = _call(target, setting, results, inputs)
        ticket = None
    else:
        results += (jax.ShapeDtypeStruct(NO_TICKET.shape, NO_TICKET.dtype),)
        last, y, hn, cn, ticket = _call(target, setting, results, inputs)
    return Outputs(last, y if setting.return_sequences else None, hn, cn if two else None), ticket


_train = _final(partial(_forward, "throughtime_forward"))


@_final
def _backward(static: tuple[Setting, tuple[str, ...]], arrays: tuple[Inputs, Any, Outputs]) -> Inputs:
    """The gradients of the inputs that are wanted, None in the places of the others."""
    setting, wanted = static
    inputs, ticket, cotangents = arrays
    order = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
    results = tuple(_floats(getattr(inputs, name).shape if name in wanted else None) for name in order)
    found = _call("throughtime_backward", setting, results, (*inputs, ticket, *cotangents))
    gradients = {name: value for name, value in zip(order, found, strict=True) if name in wanted}
    return Inputs(**{name: gradients.get(name) for name in Inputs._fields})
