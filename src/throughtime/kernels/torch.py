"""The recurrence as a differentiable op of PyTorch on the CPU.

Eager tensors go to the native library by address, through an ``autograd.Function``: a third of the overhead of a
``torch.library`` op. What has no address (while compiling, exporting or tracing, fake tensors and the meta device) goes
through the ops ``throughtime::recurrent`` and ``throughtime::recurrent_backward``, which are the same calls. Only the
gradients that autograd asks for are computed. What a forward pass keeps for the backward pass is found by a ticket: it
is given back with the graph, used up by the first backward pass, and computed anew for a second one (``retain_graph``).

Second and forward-mode derivatives raise DerivativeError.

Keras on PyTorch gives masked steps before the first valid one zero as their output, and so does this op.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ArgumentError, DerivativeError
from . import native
from .callers import EXPORTED
from .problem import Problem, has_cell_state, output_units

NAMES = ("x", "mask", "h0", "c0", "kernel", "recurrent_kernel", "bias")
DIFFERENTIABLE = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
NEEDED = ("x", "h0", "kernel", "recurrent_kernel")
_PLAIN = (Tensor, torch.nn.Parameter)


class Setting(NamedTuple):
    """What is no tensor in a call."""

    cell: str
    reverse: bool
    zero_masked: bool
    return_sequences: bool
    tap: int
    memory: int


class Outputs(NamedTuple):
    """What a call gives, and, in the same places, the gradients of the loss by it."""

    last: Tensor
    y: Tensor | None
    hn: Tensor
    cn: Tensor | None


def recurrent(
    x: Tensor, mask: Tensor | None, h0: Tensor, c0: Tensor | None, kernel: Tensor, recurrent_kernel: Tensor,
    bias: Tensor | None, *, cell: str, reverse: bool, zero_masked: bool, return_sequences: bool, training: bool,
    tap: int = 0,
    memory: int = 0,
) -> Outputs:  # fmt: skip
    """A recurrence over the valid steps of a padded batch.

    Args:
        x: ``(B, T, F)`` float32, as all the others; what it holds at masked steps counts for nothing. Any strides; a
            copy is made only where features do not lie side by side.
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
        training: not needed on PyTorch, whose tensors say whether there is a derivative to be taken.
        tap: not 0: a backward pass leaves the norms of dL/dh_k under this number, for ``native.tapped``.
        memory: bytes that activations may hold until the backward pass; what is beyond is computed again. 0: as many as
            ``native.keep_at_most`` says.

    Returns:
        ``last`` (B, H), what ``y[:, -1]`` is or would be; ``y`` (B, T, H) or None; ``hn`` (B, H) and, of an LSTM or
        LRU, ``cn`` (B, H), the states after the last valid step. Of an LRU ``last`` and ``y`` have 2H columns.

    Raises:
        ArgumentError: tensors that do not fit each other, or not the kernels.
        BackendError: there is no native library.
        DerivativeError: second or forward-mode derivatives.

    Example:
        >>> one, state = torch.ones(1, 1), torch.zeros(1, 1)
        >>> x = torch.tensor([[[1.0], [float("nan")], [2.0]]])
        >>> mask = torch.tensor([[True, False, True]])
        >>> recurrent(x, mask, state, None, one, one, None, cell="rnn_relu", reverse=False, zero_masked=False,
        ...           return_sequences=True, training=False).y.ravel().tolist()
        [1.0, 1.0, 3.0]
    """
    setting = Setting(cell, bool(reverse), bool(zero_masked), bool(return_sequences), int(tap), int(memory))
    tensors = (x, mask, h0, c0, kernel, recurrent_kernel, bias)
    derivative = torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors)
    if not _have_addresses(tensors):
        last, y, hn, cn, _ = _forward_op(*tensors, *setting, derivative)
        return Outputs(last, y if setting.return_sequences else None, hn, cn if has_cell_state(cell) else None)
    problem = _problem(setting, tensors)
    # Also without a derivative: what forward mode carries along does not show, and must not get lost here.
    return Outputs(*_Recurrent.apply(problem, setting.return_sequences, derivative, setting.tap, *tensors))


def why_not(*tensors: Tensor) -> str | None:
    """Why the op cannot take these tensors, in one sentence; None where it can.

    Args:
        tensors: those of one call that are not None.
    """
    reason = native.why_not_available()
    if reason is not None:
        return reason
    if any(tensor.dtype == torch.float64 for tensor in tensors):
        return "float64 is asked for, and the native kernels compute in float32."
    elsewhere = {tensor.device.type for tensor in tensors} - {"cpu", "meta"}
    if elsewhere:
        return f"PyTorch computes on {' and '.join(sorted(elsewhere))}, and the native kernels run on the CPU."
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return EXPORTED
    return None


# Addresses ----------------------------------------------------------------------------------------------------------


def _have_addresses(tensors: tuple[Tensor | None, ...]) -> bool:
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return all(one is None or (type(one) in _PLAIN and one.device.type == "cpu") for one in tensors)


def _problem(setting: Setting, tensors: tuple[Tensor | None, ...]) -> Problem:
    """The sizes of a call, all of whose tensors fit them: a wrong address would be read without a complaint."""
    return _fitting(setting, tuple(None if one is None else (one.shape, one.dtype) for one in tensors))


@lru_cache(maxsize=4096)
def _fitting(setting: Setting, kinds: tuple[tuple[torch.Size, torch.dtype] | None, ...]) -> Problem:
    """The sizes that follow from the shapes and dtypes of NAMES.

    Raises:
        ArgumentError: one that is not accepted.
    """
    given = dict(zip(NAMES, kinds, strict=True))
    x, recurrent_kernel = given["x"], given["recurrent_kernel"]
    if x is None or recurrent_kernel is None or len(x[0]) != 3 or len(recurrent_kernel[0]) != 2:
        raise ArgumentError("a recurrence takes x of shape (B, T, F) and recurrent_kernel of shape (H, G*H).")
    batch, steps, features = x[0]
    problem = Problem(
        setting.cell,
        batch,
        steps,
        features,
        recurrent_kernel[0][0],
        setting.reverse,
        setting.zero_masked,
        keep_bytes=setting.memory,
    )
    shapes = _shapes(problem)
    wrong = []
    for name, kind in given.items():
        if kind is None:
            if name in NEEDED or (name == "c0" and problem.has_cell_state):
                wrong.append(f"{name}: nothing is given, shape {shapes[name]} needed")
        elif name not in shapes:
            wrong.append(f"{name}: a {setting.cell!r} has none; leave it None")
        elif kind != (shapes[name], torch.bool if name == "mask" else torch.float32):
            accepted = f"{'bool' if name == 'mask' else 'float32'} {shapes[name]}"
            wrong.append(f"{name}: {str(kind[1])[6:]} {tuple(kind[0])} is given, {accepted} accepted")
    if wrong:
        raise ArgumentError(f"the recurrence cannot take {'; '.join(wrong)}.")
    return problem


def _shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    """As Keras has them: both biases of a GRU are one array."""
    if not problem.has_recurrent_bias:
        return problem.shapes
    return problem.shapes | {"bias": (2, *problem.shapes["bias"])}


def _dense(tensor: Tensor | None) -> Tensor | None:
    # A tensor can be marked as negated, which its memory does not show.
    return None if tensor is None else tensor.contiguous().resolve_neg()


def _strided(x: Tensor) -> tuple[Tensor, int, int]:
    """x and its strides; to the library 0 stands for dense, so steps that lie on top of each other are copied apart."""
    if not x.is_contiguous() and x.stride(2) == 1 and x.stride(0) > 0 and x.stride(1) > 0 and not x.is_neg():
        return x, x.stride(0), x.stride(1)
    return x.contiguous().resolve_neg(), 0, 0


def _empty(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cpu")  # whatever the user's default dtype and device are


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _inputs(problem: Problem, tensors: tuple[Tensor | None, ...]) -> tuple[dict[str, int], list[Tensor | None]]:
    """What the library reads, by name, and the tensors whose memory that is: they must live through the call."""
    x, batch_stride, step_stride = _strided(tensors[0])
    dense = [x, *map(_dense, tensors[1:])]
    addresses = {name: _address(tensor) for name, tensor in zip(NAMES, dense, strict=True)}
    addresses |= {"x_batch_stride": batch_stride, "x_step_stride": step_stride}
    return addresses | _second_bias(problem, "recurrent_bias", addresses["bias"]), dense


def _second_bias(problem: Problem, name: str, bias: int) -> dict[str, int]:
    """The row below the bias, of a GRU that has both."""
    return {name: bias + 4 * problem.shapes["bias"][0]} if bias and problem.has_recurrent_bias else {}


def _forward(
    problem: Problem, sequences: bool, tensors: tuple[Tensor | None, ...], *, keep: bool
) -> tuple[Outputs, int]:
    addresses, alive = _inputs(problem, tensors)
    state = problem.shapes["hn"]
    outputs = Outputs(
        _empty(problem.shapes["last"]),
        _empty(problem.shapes["y"]) if sequences else None,
        _empty(state),
        _empty(state) if problem.has_cell_state else None,
    )
    written = {name: _address(tensor) for name, tensor in outputs._asdict().items()}
    ticket = native.forward_at(problem, **addresses, **written, keep=keep)
    del alive
    return outputs, ticket


def _backward(
    problem: Problem, tensors: tuple[Tensor | None, ...], ticket: int, cotangents: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...], tap: int,
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of DIFFERENTIABLE that are ``wanted``, None in the places of the others."""
    addresses, alive = _inputs(problem, tensors)
    dense = [_dense(one) for one in cotangents]
    shapes = _shapes(problem)
    gradients = [_empty(shapes[name]) if want else None for name, want in zip(DIFFERENTIABLE, wanted, strict=True)]
    written = {f"d{name}": _address(one) for name, one in zip(DIFFERENTIABLE, gradients, strict=True)}
    written |= _second_bias(problem, "drecurrent_bias", written["dbias"])
    read = {f"d{name}": _address(one) for name, one in zip(Outputs._fields, dense, strict=True)}
    native.backward_at(problem, **addresses, **read, **written, ticket=ticket, tap=tap)
    del alive
    return gradients


# Eager --------------------------------------------------------------------------------------------------------------


class _Kept:
    """A ticket that is given back with the graph that holds it."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket

    def take(self) -> int:
        ticket, self.ticket = self.ticket, 0
        return ticket

    def __del__(self) -> None:
        if self.ticket:
            native.release(self.ticket)


class _Recurrent(torch.autograd.Function):
    # Not split into forward and setup_context, as torch.func would need: that looks up a signature in each call.
    @staticmethod
    def forward(ctx: Any, problem: Problem, sequences: bool, keep: bool, tap: int, *tensors: Tensor | None) -> Any:
        outputs, ticket = _forward(problem, sequences, tensors, keep=keep)
        if keep:
            ctx.problem, ctx.kept, ctx.tap = problem, _Kept(ticket), tap
            ctx.save_for_backward(*tensors)
            ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        x, _, *others = ctx.needs_input_grad[4:]
        wanted = (x, *others)
        dx, *gradients = _Gradients.apply(ctx.problem, ctx.kept, wanted, ctx.tap, *ctx.saved_tensors, *cotangents)
        return None, None, None, None, dx, None, *gradients

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise _refused_derivative()


class _Gradients(torch.autograd.Function):
    """The backward pass as a function of its own, so that differentiating it once more is refused in our words."""

    @staticmethod
    def forward(
        ctx: Any, problem: Problem, kept: _Kept, wanted: tuple[bool, ...], tap: int, *tensors: Tensor | None
    ) -> Any:
        inputs, cotangents = tensors[: len(NAMES)], tensors[len(NAMES) :]
        return tuple(_backward(problem, inputs, kept.take(), cotangents, wanted, tap))

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise _refused_derivative()


def _refused_derivative() -> DerivativeError:
    return DerivativeError(
        "the native kernels have first derivatives in reverse mode; second and forward-mode derivatives need Keras's "
        "own layers: tt.to_keras(model)."
    )


# Ops for torch.compile, torch.export and fake tensors -----------------------------------------------------------------

_TENSORS = "Tensor x, Tensor? mask, Tensor h0, Tensor? c0, Tensor kernel, Tensor recurrent_kernel, Tensor? bias"
_SETTING = "str cell, bool reverse, bool zero_masked, bool return_sequences, int tap, int memory"


def _filled(tensors: Any) -> tuple[Tensor, ...]:
    """An op has no optional outputs: what is not there is empty. Nor may two outputs be one tensor."""
    return tuple(_empty((0,)) if one is None else one for one in tensors)


@torch.library.custom_op(
    "throughtime::recurrent", mutates_args=(), device_types="cpu",
    schema=f"({_TENSORS}, {_SETTING}, bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)  # fmt: skip
def _forward_op(
    x: Any, mask: Any, h0: Any, c0: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
    cell: str, reverse: bool, zero_masked: bool, return_sequences: bool, tap: int, memory: int, keep: bool,
) -> Any:  # fmt: skip
    tensors = (x, mask, h0, c0, kernel, recurrent_kernel, bias)
    problem = _problem(Setting(cell, reverse, zero_masked, return_sequences, tap, memory), tensors)
    outputs, ticket = _forward(problem, return_sequences, tensors, keep=keep)
    return *_filled(outputs), _empty((1,), torch.int64).fill_(ctypes.c_int64(ticket).value)


@_forward_op.register_fake
def _(
    x: Any, mask: Any, h0: Any, c0: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
    cell: str, reverse: bool, zero_masked: bool, return_sequences: bool, tap: int, memory: int, keep: bool,
) -> Any:  # fmt: skip
    (batch, steps, _), units = x.shape, recurrent_kernel.shape[0]
    shown, hn = output_units(cell, units), x.new_empty(batch, units)
    last, y = x.new_empty(batch, shown), x.new_empty(batch, steps, shown) if return_sequences else x.new_empty(0)
    cn = x.new_empty(batch, units) if has_cell_state(cell) else x.new_empty(0)
    return last, y, hn, cn, x.new_empty(1, dtype=torch.int64)


@torch.library.custom_op(
    "throughtime::recurrent_backward", mutates_args=(), device_types="cpu",
    schema=f"({_TENSORS}, {_SETTING}, Tensor ticket, Tensor? dlast, Tensor? dy, Tensor? dhn, Tensor? dcn, "
    "bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)  # fmt: skip
def _backward_op(
    x: Any, mask: Any, h0: Any, c0: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
    cell: str, reverse: bool, zero_masked: bool, return_sequences: bool, tap: int, memory: int,
    ticket: Any, dlast: Any, dy: Any, dhn: Any, dcn: Any, wanted: Any,
) -> Any:  # fmt: skip
    tensors = (x, mask, h0, c0, kernel, recurrent_kernel, bias)
    problem = _problem(Setting(cell, reverse, zero_masked, return_sequences, tap, memory), tensors)
    number = ctypes.c_uint64(ticket.item()).value
    return _filled(_backward(problem, tensors, number, (dlast, dy, dhn, dcn), tuple(wanted), tap))


@_backward_op.register_fake
def _(
    x: Any, mask: Any, h0: Any, c0: Any, kernel: Any, recurrent_kernel: Any, bias: Any,
    cell: str, reverse: bool, zero_masked: bool, return_sequences: bool, tap: int, memory: int,
    ticket: Any, dlast: Any, dy: Any, dhn: Any, dcn: Any, wanted: Any,
) -> Any:  # fmt: skip
    like = (x, h0, c0, kernel, recurrent_kernel, bias)
    return tuple(x.new_empty(one.shape if want else 0) for one, want in zip(like, wanted, strict=True))


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    tensors, ctx.setting = inputs[: len(NAMES)], inputs[len(NAMES) : -1]
    ctx.save_for_backward(*tensors, output[-1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, *cotangents: Any) -> Any:
    *tensors, ticket = ctx.saved_tensors
    first, _, *rest = ctx.needs_input_grad[: len(NAMES)]
    wanted = [first, *rest]
    found = _backward_op(*tensors, *ctx.setting, ticket, *cotangents[: len(Outputs._fields)], wanted)
    dx, *gradients = (one if want else None for one, want in zip(found, wanted, strict=True))
    return dx, None, *gradients, *([None] * (len(ctx.setting) + 1))


def _refuse(ctx: Any, *cotangents: Any) -> Any:
    raise _refused_derivative()


_forward_op.register_autograd(_differentiate, setup_context=_save)
_backward_op.register_autograd(_refuse)
