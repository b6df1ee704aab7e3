"""The native library, called through ctypes: NumPy arrays or plain addresses in, NumPy arrays out.

``forward`` and ``backward`` check what they are given. ``forward_at`` and ``backward_at`` take addresses and check
nothing: they are for the ops of the frameworks, whose tensors are checked there. The C side is described in
csrc/include/throughtime.h. ctypes gives the interpreter's lock back for the time of a call.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import addressof, byref, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p, sizeof
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, BackendError, listed
from .problem import CELLS, ISAS, Gradients, Outputs, Problem, check_arrays, strides_of
from .problem import gates as gates

ABI_VERSION = 1
LIBRARY_VARIABLE = "THROUGHTIME_LIBRARY"
_FILE_NAMES = ("libthroughtime.so", "libthroughtime.dylib")
_OK, _INVALID, _OUT_OF_MEMORY, _UNSUPPORTED_ISA = range(4)


# Loading ------------------------------------------------------------------------------------------------------------


def load() -> ctypes.CDLL:
    """The library, loaded once.

    Raises:
        BackendError: there is none, or it does not fit; says why.
    """
    library, why_not = _found()
    if library is None:
        raise BackendError(f"the native kernels are not available: {why_not}")
    return library


def why_not_available() -> str | None:
    """None where the library is loaded; otherwise why not, in one sentence.

    Raises:
        BackendError: ``THROUGHTIME_LIBRARY`` names a library that cannot be used. That was asked for, so it is no
            reason to go on without one.
    """
    library, why_not = _found()
    return why_not if library is None else None


@cache
def _found() -> tuple[ctypes.CDLL | None, str]:
    chosen = os.environ.get(LIBRARY_VARIABLE)
    if chosen:
        library, why_not = _opened(Path(chosen))
        if library is None:
            raise BackendError(f"{LIBRARY_VARIABLE}={chosen} cannot be used: {why_not} Unset it, or name another file.")
        return library, ""
    # An editable install has the library in another folder than the sources; the package's path has both.
    folders = [Path(folder) for folder in sys.modules[__name__.partition(".")[0]].__path__]
    for path in (folder / name for folder in folders for name in _FILE_NAMES):
        if path.is_file():
            return _opened(path)
    return None, (
        "this install of throughtime has no native library; it was built without a C++ compiler. "
        "Install a wheel, or a compiler and then throughtime again."
    )


def _opened(path: Path) -> tuple[ctypes.CDLL | None, str]:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, f"the system cannot load it ({error})."
    try:
        version = library.tt_abi_version
    except AttributeError:
        return None, f"{path} is not a library of throughtime's."
    version.restype, version.argtypes = c_int32, []
    if version() != ABI_VERSION:
        return None, (
            f"{path} has interface {version()}, this throughtime needs {ABI_VERSION}; install throughtime again."
        )
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library, ""


# The structs of throughtime.h ---------------------------------------------------------------------------------------


class _Problem(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("cell", c_int32), ("batch", c_int64), ("steps", c_int64), ("features", c_int64),
        ("units", c_int64), ("reverse", c_int32), ("masked_output", c_int32), ("leading_initial", c_int32),
        ("threads", c_int32), ("isa", c_int32),
    )  # fmt: skip


class _Inputs(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("x", c_void_p), ("x_batch_stride", c_int64), ("x_step_stride", c_int64),
        ("mask", c_void_p), ("h0", c_void_p), ("c0", c_void_p), ("kernel", c_void_p), ("recurrent_kernel", c_void_p),
        ("bias", c_void_p), ("recurrent_bias", c_void_p),
    )  # fmt: skip


class _ForwardOutputs(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("y", c_void_p), ("last", c_void_p), ("hn", c_void_p), ("cn", c_void_p),
        ("ticket", c_void_p),
    )  # fmt: skip


class _Cotangents(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("dy", c_void_p), ("dlast", c_void_p), ("dhn", c_void_p), ("dcn", c_void_p),
        ("ticket", c_uint64),
    )  # fmt: skip


class _Gradients(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("dx", c_void_p), ("dkernel", c_void_p), ("drecurrent_kernel", c_void_p),
        ("dbias", c_void_p), ("drecurrent_bias", c_void_p), ("dh0", c_void_p), ("dc0", c_void_p), ("norms", c_void_p),
    )  # fmt: skip


# Structs go as addresses: ctypes checks and converts typed pointers at several times the cost.
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "tt_forward": (c_int32, [c_void_p] * 3),
    "tt_backward": (c_int32, [c_void_p] * 4),
    "tt_release": (None, [c_uint64]),
    "tt_keep_at_most": (c_uint64, [c_uint64]),
    "tt_memory": (None, [c_void_p] * 2),
    "tt_trim": (None, []),
    "tt_status_message": (ctypes.c_char_p, [c_int32]),
    "tt_isa": (c_int32, []),
    "tt_isa_supported": (c_int32, [c_int32]),
    "tt_threads": (c_int32, []),
    "tt_peak_gflops": (c_double, [c_int32, c_int32, c_double]),
}


@lru_cache(maxsize=4096)
def _struct(problem: Problem) -> _Problem:
    return _Problem(
        sizeof(_Problem), CELLS.index(problem.cell), problem.batch, problem.steps, problem.features, problem.units,
        problem.reverse, problem.zero_masked, problem.leading_initial, problem.threads, ISAS.index(problem.isa),
    )  # fmt: skip


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
        ArgumentError: an argument or an instruction set that the library does not take.
        MemoryError: activations that do not fit into memory.
    """
    ticket = c_uint64()
    inputs = _Inputs(
        sizeof(_Inputs), x, x_batch_stride, x_step_stride, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias
    )
    outputs = _ForwardOutputs(sizeof(_ForwardOutputs), y, last, hn, cn, addressof(ticket) if keep else 0)
    status = load().tt_forward(byref(_struct(problem)), byref(inputs), byref(outputs))
    if status != _OK:
        _refuse(problem, status)
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
) -> None:
    """``tt_backward`` on addresses, 0 for NULL; nothing is checked or copied.

    Raises:
        ArgumentError: an argument or an instruction set that the library does not take.
        MemoryError: activations that do not fit into memory.
    """
    inputs = _Inputs(
        sizeof(_Inputs), x, x_batch_stride, x_step_stride, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias
    )
    cotangents = _Cotangents(sizeof(_Cotangents), dy, dlast, dhn, dcn, ticket)
    gradients = _Gradients(sizeof(_Gradients), dx, dkernel, drecurrent_kernel, dbias, drecurrent_bias, dh0, dc0, norms)
    status = load().tt_backward(byref(_struct(problem)), byref(inputs), byref(cotangents), byref(gradients))
    if status != _OK:
        _refuse(problem, status)


def _refuse(problem: Problem, status: int) -> None:
    words = load().tt_status_message(status).decode()
    if status == _OUT_OF_MEMORY:
        raise MemoryError(f"{words}: {problem}. Make the batch smaller.")
    if status == _UNSUPPORTED_ISA:
        asked = f"isa={problem.isa!r}"
        if problem.isa == "auto":
            asked = f"THROUGHTIME_ISA={os.environ.get('THROUGHTIME_ISA')}"
        raise ArgumentError(f"{asked}: {words}; one of {listed(supported())} is accepted.")
    raise ArgumentError(f"{words}: {problem}, with kernel, recurrent_kernel and x not NULL.")


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
        h0, c0: ``(B, H)`` float32; None: zeros. c0 for the LSTM alone.
        kernel, recurrent_kernel, bias: ``(F, G*H)``, ``(H, G*H)`` and ``(G*H,)`` float32, as Keras lays them out.
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
    state = problem.shapes["last"]
    y = np.empty(problem.shapes["y"], np.float32) if sequences else None
    last, hn = np.empty(state, np.float32), np.empty(state, np.float32)
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


# The library's state ------------------------------------------------------------------------------------------------


def release(ticket: int) -> None:
    """Gives back what a ticket holds; unknown tickets, and 0, are ignored."""
    load().tt_release(ticket)


def memory() -> tuple[int, int]:
    """Bytes held by tickets, and by memory that waits to be used again."""
    kept, idle = c_uint64(), c_uint64()
    load().tt_memory(byref(kept), byref(idle))
    return kept.value, idle.value


def keep_at_most(byte_count: int) -> int:
    """Sets how many bytes tickets may hold before the oldest are evicted, and returns the limit before; 0 only asks."""
    return load().tt_keep_at_most(byte_count)


def trim() -> None:
    """Gives the memory that waits to be used again back to the system."""
    load().tt_trim()


def isa() -> str:
    """The instruction set that ``"auto"`` stands for.

    Raises:
        ArgumentError: ``THROUGHTIME_ISA`` names one that this processor does not have, or none at all.
    """
    found = load().tt_isa()
    if found < 0:
        raise ArgumentError(
            f"THROUGHTIME_ISA={os.environ.get('THROUGHTIME_ISA')} is not an instruction set of this processor; "
            f"one of {listed(supported())} is accepted."
        )
    return ISAS[found]


def supported() -> tuple[str, ...]:
    """The instruction sets of this processor that the library has kernels for."""
    return tuple(name for number, name in enumerate(ISAS) if name != "auto" and load().tt_isa_supported(number))


def threads() -> int:
    """The threads that ``threads=0`` stands for."""
    return load().tt_threads()


def peak_gflops(isa: str = "auto", threads: int = 0, seconds: float = 0.2) -> float:
    """GFLOP/s of multiply-adds on registers alone: what kernels are measured against. 0 where ``isa`` is not there."""
    return load().tt_peak_gflops(ISAS.index(isa), threads, seconds)
