"""Forward and backward passes by the native library: NumPy arrays or plain addresses in, NumPy arrays out.

``forward`` and ``backward`` check what they are given. ``forward_at`` and ``backward_at`` take addresses and check
nothing: they are for the ops of the frameworks, whose tensors are checked there. The interpreter's lock is given back
for the time of a call.
"""

from __future__ import annotations

from ctypes import addressof, byref, c_uint64, sizeof
from functools import lru_cache

import numpy as np

from .library import OK, CCotangents, CForwardOutputs, CGradients, CInputs, refuse, struct_of
from .library import close_tap as close_tap
from .library import isa as isa
from .library import keep_at_most as keep_at_most
from .library import load as load
from .library import memory as memory
from .library import open_tap as open_tap
from .library import peak_gflops as peak_gflops
from .library import recomputed as recomputed
from .library import release as release
from .library import shut_tap as shut_tap
from .library import supported as supported
from .library import tapped as tapped
from .library import threads as threads
from .library import trim as trim
from .library import why_not_available as why_not_available
from .problem import CELLS as CELLS
from .problem import Gradients, Outputs, Problem, check_arrays, strides_of
from .problem import gates as gates
from .schedule import Need, need


@lru_cache(maxsize=4096)
def check_budget(problem: Problem) -> Need:
    """What ``keep_bytes`` comes to, for sequences no step of which is masked.

    Raises:
        ArgumentError: it is too small; names the smallest that is accepted.
    """
    return need(problem, problem.keep_bytes, shards=problem.threads or threads())


# By address ---------------------------------------------------------------------------------------------------------


def forward_at(
    problem: Problem,
    *,
    x: int,
    x_batch_stride: int = 0,
    x_step_stride: int = 0,
    mask: int = 0,
    h0: int = 0,
    c0: int = 0,
    kernel: int,
    recurrent_kernel: int,
    bias: int = 0,
    recurrent_bias: int = 0,
    y: int = 0,
    last: int = 0,
    hn: int = 0,
    cn: int = 0,
    keep: bool = False,
) -> int:
    """``tt_forward`` on addresses, 0 for NULL; nothing is checked or copied.

    Returns:
        The ticket of what was kept for the backward pass; 0 unless ``keep``.

    Raises:
        ArgumentError: an argument or an instruction set that the library does not take, or too small a ``keep_bytes``.
        MemoryError: activations that do not fit into memory.
    """
    if keep and problem.keep_bytes:
        check_budget(problem)
    ticket = c_uint64()
    inputs = CInputs(
        sizeof(CInputs), x, x_batch_stride, x_step_stride, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias
    )
    outputs = CForwardOutputs(sizeof(CForwardOutputs), y, last, hn, cn, addressof(ticket) if keep else 0)
    status = load().tt_forward(byref(struct_of(problem)), byref(inputs), byref(outputs))
    if status != OK:
        refuse(problem, status)
    return ticket.value


def backward_at(
    problem: Problem,
    *,
    x: int,
    x_batch_stride: int = 0,
    x_step_stride: int = 0,
    mask: int = 0,
    h0: int = 0,
    c0: int = 0,
    kernel: int,
    recurrent_kernel: int,
    bias: int = 0,
    recurrent_bias: int = 0,
    ticket: int = 0,
    dy: int = 0,
    dlast: int = 0,
    dhn: int = 0,
    dcn: int = 0,
    dx: int = 0,
    dkernel: int = 0,
    drecurrent_kernel: int = 0,
    dbias: int = 0,
    drecurrent_bias: int = 0,
    dh0: int = 0,
    dc0: int = 0,
    norms: int = 0,
    tap: int = 0,
) -> None:
    """``tt_backward`` on addresses, 0 for NULL; nothing is checked or copied.

    Raises:
        ArgumentError: an argument or an instruction set that the library does not take.
        MemoryError: activations that do not fit into memory.
    """
    if problem.keep_bytes:
        check_budget(problem)
    inputs = CInputs(
        sizeof(CInputs), x, x_batch_stride, x_step_stride, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias
    )
    cotangents = CCotangents(sizeof(CCotangents), dy, dlast, dhn, dcn, ticket)
    gradients = CGradients(
        sizeof(CGradients), dx, dkernel, drecurrent_kernel, dbias, drecurrent_bias, dh0, dc0, norms, tap
    )
    status = load().tt_backward(byref(struct_of(problem)), byref(inputs), byref(cotangents), byref(gradients))
    if status != OK:
        refuse(problem, status)


# NumPy arrays -------------------------------------------------------------------------------------------------------


def forward(
    problem: Problem,
    *,
    x: np.ndarray,
    mask: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    recurrent_bias: np.ndarray | None = None,
    sequences: bool = True,
    keep: bool = False,
) -> Outputs:
    """Outputs and final states of a recurrence over the valid steps.

    Args:
        problem: the cell and the sizes.
        x: ``(B, T, F)`` float32, features side by side; what it holds at masked steps is never read.
        mask: ``(B, T)`` bool or uint8, nonzero at valid steps; None: all valid.
        h0, c0: ``(B, H)`` float32; None: zeros. c0 for LSTM and LRU alone.
        kernel, recurrent_kernel, bias: ``(F, G*H)``, ``(H, G*H)`` and ``(G*H,)`` float32, as Keras lays them out; of
            minGRU, minLSTM and LRU as in problem.py.
        recurrent_bias: ``(G*H,)``, for ``"gru"`` alone.
        sequences: y is wanted.
        keep: activations are kept for one ``backward``, under the ticket that is returned.

    Raises:
        ArgumentError: arrays that do not fit the problem.
        BackendError: there is no library.
        MemoryError: activations that do not fit into memory.

    Example:
        >>> problem = Problem("rnn_relu", batch=1, steps=3, features=1, units=1)
        >>> one = np.ones((1, 1), np.float32)
        >>> x = np.array([[[1.0], [np.nan], [2.0]]], np.float32)
        >>> forward(problem, x=x, mask=np.array([[1, 0, 1]], bool), kernel=one, recurrent_kernel=one).y.ravel().tolist()
        [1.0, 1.0, 3.0]
    """
    given = {
        "x": x, "mask": mask, "h0": h0, "c0": c0, "kernel": kernel, "recurrent_kernel": recurrent_kernel,
        "bias": bias, "recurrent_bias": recurrent_bias,
    }  # fmt: skip
    check_arrays(problem, given, dtypes=(np.float32,), missing=("x", "kernel", "recurrent_kernel"))
    state = problem.shapes["hn"]
    y = np.empty(problem.shapes["y"], np.float32) if sequences else None
    last, hn = np.empty(problem.shapes["last"], np.float32), np.empty(state, np.float32)
    cn = np.empty(state, np.float32) if problem.has_cell_state else None
    ticket = forward_at(
        problem, **_addresses(given), y=_address(y), last=_address(last), hn=_address(hn), cn=_address(cn), keep=keep
    )
    return Outputs(y, last, hn, cn, ticket)


def backward(
    problem: Problem,
    *,
    x: np.ndarray,
    mask: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    recurrent_bias: np.ndarray | None = None,
    ticket: int = 0,
    dy: np.ndarray | None = None,
    dlast: np.ndarray | None = None,
    dhn: np.ndarray | None = None,
    dcn: np.ndarray | None = None,
    need_dx: bool = True,
    norms: bool = False,
) -> Gradients:
    """Gradients of a recurrence, given those of its outputs.

    Args:
        problem, x, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias: as in ``forward``.
        ticket: of ``forward`` on the same arguments, used up here; 0, or one that is gone: computed anew.
        dy, dlast, dhn, dcn: gradients of the outputs, float32, of their shapes; None: zero.
        need_dx: the gradient of x is wanted.
        norms: the norms of dL/dh_k are wanted.

    Returns:
        Gradients; None for what is not wanted, not given, or not part of the cell.

    Raises:
        ArgumentError: arrays that do not fit the problem.
        BackendError: there is no library.
        MemoryError: activations that do not fit into memory.
    """
    given = {
        "x": x, "mask": mask, "h0": h0, "c0": c0, "kernel": kernel, "recurrent_kernel": recurrent_kernel,
        "bias": bias, "recurrent_bias": recurrent_bias,
    }  # fmt: skip
    cotangents = {"dy": dy, "dlast": dlast, "dhn": dhn, "dcn": dcn}
    check_arrays(problem, given | cotangents, dtypes=(np.float32,), missing=("x", "kernel", "recurrent_kernel"))

    shapes = problem.shapes
    found = Gradients(
        dx=np.empty(shapes["x"], np.float32) if need_dx else None,
        dkernel=np.empty(shapes["kernel"], np.float32),
        drecurrent_kernel=np.empty(shapes["recurrent_kernel"], np.float32),
        dbias=None if bias is None else np.empty(shapes["bias"], np.float32),
        drecurrent_bias=None if recurrent_bias is None else np.empty(shapes["recurrent_bias"], np.float32),
        dh0=np.empty(shapes["h0"], np.float32),
        dc0=np.empty(shapes["c0"], np.float32) if problem.has_cell_state else None,
        norms=np.empty(shapes["norms"], np.float32) if norms else None,
    )
    addresses = {name: _address(array) for name, array in (cotangents | found._asdict()).items()}
    backward_at(problem, **_addresses(given), **addresses, ticket=ticket)
    return found


def _address(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data


def _addresses(given: dict[str, np.ndarray | None]) -> dict[str, int]:
    x = given["x"]
    batch, step = (0, 0) if x is None else strides_of(x) or (0, 0)
    return {name: _address(array) for name, array in given.items()} | {"x_batch_stride": batch, "x_step_stride": step}
