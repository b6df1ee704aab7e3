"""The recurrence as a differentiable op of TensorFlow on the CPU.

Eager tensors go to the native library by address; inside ``tf.function``, and so in a compiled ``fit``, a
``tf.numpy_function`` does the same when the graph runs. XLA cannot compile that: ``jit_compile`` must be False.

What a forward pass keeps for the backward pass is found by a ticket. It is used up by the first backward pass and
computed anew for another one (a persistent tape). An eager ticket is given back with the tape that did not use it. A
graph keeps activations only where a gradient was built as well; those of a step that then takes no gradient wait until
newer ones push them out (``native.keep_at_most``).

A graph computes the gradients that something in it reads. Eager TensorFlow does not say which are needed, so all are
computed. Second and forward-mode derivatives raise DerivativeError.

Keras on TensorFlow gives masked steps before the first valid one zero as their output, and so does this op.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import prod
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ..errors import DerivativeError
from . import native
from .callers import EXPORTED, EXPORTERS, called_from
from .problem import Problem, check_arrays, has_cell_state, output_units

NAMES = ("x", "mask", "h0", "c0", "kernel", "recurrent_kernel", "bias")
DIFFERENTIABLE = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
VECTORIZERS = ("tensorflow.python.ops.parallel_for",)  # of tf.vectorized_map, and of a tape's jacobian
ALIGNMENT = 64  # of the arrays that TensorFlow takes over without a copy


class Setting(NamedTuple):
    """What is no tensor in a call."""

    cell: str
    reverse: bool
    zero_masked: bool
    return_sequences: bool
    tap: int
    memory: int


class Outputs(NamedTuple):
    """What a call gives."""

    last: Any
    y: Any
    hn: Any
    cn: Any


@tf.autograph.experimental.do_not_convert
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
        training: activations are kept for the backward pass. Without, a gradient costs a second forward pass.
        tap: not 0: a backward pass leaves the norms of dL/dh_k under this number, for ``native.tapped``.
        memory: bytes that activations may hold until the backward pass; what is beyond is computed again. 0: as many as
            ``native.keep_at_most`` says.

    Returns:
        ``last`` (B, H), what ``y[:, -1]`` is or would be; ``y`` (B, T, H) or None; ``hn`` (B, H) and, of an LSTM or
        LRU, ``cn`` (B, H), the states after the last valid step. Of an LRU ``last`` and ``y`` have 2H columns.

    Raises:
        ArgumentError: tensors that do not fit each other; inside ``tf.function``, as an error of TensorFlow's.
        BackendError: there is no native library.
        DerivativeError: second or forward-mode derivatives.

    Example:
        >>> one, state = tf.ones((1, 1)), tf.zeros((1, 1))
        >>> x = tf.constant([[[1.0], [float("nan")], [2.0]]])
        >>> mask = tf.constant([[True, False, True]])
        >>> recurrent(x, mask, state, None, one, one, None, cell="rnn_relu", reverse=False, zero_masked=False,
        ...           return_sequences=True, training=False).y.numpy().ravel().tolist()
        [1.0, 1.0, 3.0]
    """
    setting = Setting(cell, bool(reverse), bool(zero_masked), bool(return_sequences), int(tap), int(memory))
    given = dict(zip(NAMES, (x, mask, h0, c0, kernel, recurrent_kernel, bias), strict=True))
    tensors = {name: tf.convert_to_tensor(one) for name, one in given.items() if one is not None}
    call = _Call(setting, tuple(tensors), keep=bool(training))
    found = dict(zip(call.outputs, tf.custom_gradient(call.forward)(*tensors.values()), strict=True))
    return Outputs(**{name: found.get(name) for name in Outputs._fields})


def why_not(*tensors: Any) -> str | None:
    """Why the op cannot take these tensors, in one sentence; None where it can.

    Args:
        tensors: those of one call that are not None.
    """
    reason = native.why_not_available()
    if reason is not None:
        return reason
    if any(tensor.dtype == tf.float64 for tensor in tensors):
        return "float64 is asked for, and the native kernels compute in float32."
    # A tensor in a graph has no device yet: TensorFlow puts what it can on a GPU that it sees.
    others = sorted({device.device_type for device in tf.config.list_logical_devices()} - {"CPU"})
    if others:
        return f"TensorFlow computes on {' and '.join(others)}, and the native kernels run on the CPU."
    if not tf.executing_eagerly() and called_from(*EXPORTERS):
        return EXPORTED
    return None


class _Kept:
    """A ticket that is given back with the tape that holds it."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket

    def take(self) -> int:
        ticket, self.ticket = self.ticket, 0
        return ticket

    def __del__(self) -> None:
        if self.ticket:
            native.release(self.ticket)


class _Call:
    """One call, or one place in a graph: which tensors there are, and whether activations are kept."""

    def __init__(self, setting: Setting, names: tuple[str, ...], *, keep: bool) -> None:
        self.setting, self.names, self.keep = setting, names, keep
        there = {"last": True, "y": setting.return_sequences, "hn": True, "cn": has_cell_state(setting.cell)}
        self.outputs = tuple(name for name, wanted in there.items() if wanted)
        self.gradients = tuple(name for name in names if name in DIFFERENTIABLE)

    # TensorFlow's side ----------------------------------------------------------------------------------------------

    def forward(self, *tensors: Any) -> tuple[list[Any], Callable[..., list[Any]]]:
        """The outputs, and the function that ``tf.custom_gradient`` asks for."""
        kept: Any
        differentiated: list[bool] = []
        if tf.executing_eagerly():
            arrays, ticket = self.run_forward(self.keep, [np.asarray(one) for one in tensors])
            outputs, kept = [_adopted(one) for one in arrays], _Kept(ticket)
        else:

            def run(*arrays: np.ndarray) -> list[np.ndarray]:
                found, number = self.run_forward(self.keep and bool(differentiated), arrays)
                return [*found, np.array(number, np.uint64)]

            types = [tf.float32] * len(self.outputs) + [tf.uint64]
            *outputs, kept = tf.numpy_function(run, tensors, types)
            self.set_shapes(tensors, outputs)
            kept.set_shape(())

        def gradient(*cotangents: Any) -> list[Any]:
            if not tf.executing_eagerly():
                differentiated.append(True)  # while the graph is built, and so before it runs
            dense = [tf.convert_to_tensor(one) for one in cotangents]
            found = iter(tf.custom_gradient(lambda *given: self.backward(kept, *given))(*tensors, *dense))
            return [next(found) if name in self.gradients else None for name in self.names]

        return outputs, gradient

    def backward(self, kept: Any, *tensors: Any) -> tuple[list[Any], Callable[..., Any]]:
        if isinstance(kept, _Kept) and not tf.executing_eagerly():
            kept = tf.constant(
                0, tf.uint64
            )  # a graph around an eager call, as of a tape's jacobian, may run many times
        if isinstance(kept, _Kept):
            arrays = self.run_backward(kept.take(), [np.asarray(one) for one in tensors], self.gradients)
            gradients = [_adopted(one) for one in arrays]
        else:
            # What is vectorized is a copy of this graph, and the copy's gradients are what is read.
            wanted: list[str] | None = list(self.gradients) if called_from(*VECTORIZERS) else None

            def run(ticket: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
                nonlocal wanted
                if wanted is None:  # now that the graph runs it is complete
                    wanted = [name for name, one in zip(self.gradients, gradients, strict=True) if _is_read(one)]
                return self.run_backward(int(ticket), arrays, wanted)

            gradients = tf.numpy_function(run, [kept, *tensors], [tf.float32] * len(self.gradients))
            like = dict(zip(self.names, tensors, strict=False))
            for name, one in zip(self.gradients, gradients, strict=True):
                one.set_shape(like[name].shape)
        return gradients, _refuse

    def set_shapes(self, tensors: tuple[Any, ...], outputs: list[Any]) -> None:
        given = dict(zip(self.names, tensors, strict=True))
        (batch, steps, _), units = given["x"].shape.with_rank(3), given["recurrent_kernel"].shape.with_rank(2)[0]
        for name, one in zip(self.outputs, outputs, strict=True):
            last = output_units(self.setting.cell, units) if name in ("y", "last") else units
            one.set_shape((batch, steps, last) if name == "y" else (batch, last))

    # NumPy's side ---------------------------------------------------------------------------------------------------

    def run_forward(self, keep: bool, arrays: Any) -> tuple[list[np.ndarray], int]:
        problem, given = self.checked(arrays)
        outputs = {name: _aligned(problem.shapes[name]) for name in self.outputs}
        ticket = native.forward_at(problem, **_addresses(given), **_addresses(outputs), keep=keep)
        return list(outputs.values()), ticket

    def run_backward(self, ticket: int, arrays: Any, wanted: Collection[str]) -> list[np.ndarray]:
        """Gradients, empty in the places of those that are not wanted."""
        count = len(self.names)
        cotangents = {f"d{name}": one for name, one in zip(self.outputs, arrays[count:], strict=True)}
        problem, given = self.checked(arrays[:count], **cotangents)
        gradients = {f"d{name}": _aligned(one.shape if name in wanted else (0,) * one.ndim)
                     for name, one in zip(self.names, arrays, strict=False) if name in self.gradients}  # fmt: skip
        asked = {name: one for name, one in gradients.items() if name[1:] in wanted}
        written = self.split_bias("dbias", asked)
        native.backward_at(problem, **_addresses(given), **_addresses(written), ticket=ticket, tap=self.setting.tap)
        return list(gradients.values())

    def checked(self, arrays: Any, **cotangents: np.ndarray) -> tuple[Problem, dict[str, np.ndarray]]:
        """The sizes of a call, all of whose arrays fit them, and the arrays by the library's names."""
        given = self.split_bias("bias", dict(zip(self.names, arrays, strict=True)))
        batch, steps, features = given["x"].shape
        problem = Problem(
            self.setting.cell, batch, steps, features, given["recurrent_kernel"].shape[0], self.setting.reverse,
            self.setting.zero_masked, keep_bytes=self.setting.memory,
        )  # fmt: skip
        every = given | cotangents
        check_arrays(problem, dict(every), dtypes=(np.float32,), missing=())
        return problem, every

    def split_bias(self, name: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Keras has both biases of a GRU in one array, the library in two."""
        if self.setting.cell != "gru" or name not in arrays:
            return arrays
        bias, recurrent_bias = arrays[name]
        second = name.replace("bias", "recurrent_bias")
        return arrays | {name: bias, second: recurrent_bias}


def _refuse(*cotangents: Any) -> Any:
    raise DerivativeError(
        "the native kernels have first derivatives in reverse mode; second and forward-mode derivatives need Keras's "
        "own layers: tt.to_keras(model)."
    )


def _is_read(tensor: Any) -> bool:
    """Whether anything in a complete graph reads a tensor, other than copies that nothing reads."""
    outputs = getattr(tensor.graph, "outputs", None)
    if outputs is None or any(one is tensor for one in outputs):  # a graph without outputs: a session may fetch it
        return True
    for op in tensor.consumers():
        if op.type not in ("Identity", "IdentityN"):
            return True
        if any(one is tensor and _is_read(copy) for one, copy in zip(op.inputs, op.outputs, strict=True)):
            return True
    return False


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """A new array that TensorFlow takes over without a copy."""
    size = 4 * prod(shape)
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(np.float32).reshape(shape)


def _adopted(array: np.ndarray) -> Any:
    # convert_to_tensor would copy.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _addresses(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: array.ctypes.data for name, array in arrays.items()}
