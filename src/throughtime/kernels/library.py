"""The shared library: where it is found, its structs and status codes, its settings and its state.

The C side is described in csrc/include/throughtime.h.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import byref, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p, sizeof
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import ArgumentError, BackendError, listed, one_of
from .problem import CELLS, ISAS, Problem

ABI_VERSION = 4
LIBRARY_VARIABLE = "THROUGHTIME_LIBRARY"
FILE_NAMES = ("libthroughtime.so", "libthroughtime.dylib")
OK, INVALID, OUT_OF_MEMORY, UNSUPPORTED_ISA = range(4)


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
    for path in (folder / name for folder in folders for name in FILE_NAMES):
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


class CProblem(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("cell", c_int32), ("batch", c_int64), ("steps", c_int64), ("features", c_int64),
        ("units", c_int64), ("reverse", c_int32), ("masked_output", c_int32), ("leading_initial", c_int32),
        ("threads", c_int32), ("isa", c_int32), ("keep_bytes", c_int64),
    )  # fmt: skip


class CInputs(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("x", c_void_p), ("x_batch_stride", c_int64), ("x_step_stride", c_int64),
        ("mask", c_void_p), ("h0", c_void_p), ("c0", c_void_p), ("kernel", c_void_p), ("recurrent_kernel", c_void_p),
        ("bias", c_void_p), ("recurrent_bias", c_void_p),
    )  # fmt: skip


class CForwardOutputs(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("y", c_void_p), ("last", c_void_p), ("hn", c_void_p), ("cn", c_void_p),
        ("ticket", c_void_p),
    )  # fmt: skip


class CCotangents(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("dy", c_void_p), ("dlast", c_void_p), ("dhn", c_void_p), ("dcn", c_void_p),
        ("ticket", c_uint64),
    )  # fmt: skip


class CGradients(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_uint32), ("dx", c_void_p), ("dkernel", c_void_p), ("drecurrent_kernel", c_void_p),
        ("dbias", c_void_p), ("drecurrent_bias", c_void_p), ("dh0", c_void_p), ("dc0", c_void_p), ("norms", c_void_p),
        ("tap", c_int32),
    )  # fmt: skip


# Structs go as addresses: ctypes checks and converts typed pointers at several times the cost.
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "tt_forward": (c_int32, [c_void_p] * 3),
    "tt_backward": (c_int32, [c_void_p] * 4),
    "tt_recomputed": (c_int64, [c_void_p, c_int64]),
    "tt_release": (None, [c_uint64]),
    "tt_keep_at_most": (c_uint64, [c_uint64]),
    "tt_memory": (None, [c_void_p] * 2),
    "tt_trim": (None, []),
    "tt_tap": (c_uint64, [c_int32] + [c_void_p] * 2),
    "tt_read_tap": (c_int32, [c_int32] + [c_int64] * 2 + [c_void_p] * 2),
    "tt_shut_tap": (None, [c_int32] * 2),
    "tt_close_tap": (None, [c_int32]),
    "tt_gates": (c_int32, [c_int32]),
    "tt_status_message": (ctypes.c_char_p, [c_int32]),
    "tt_isa": (c_int32, []),
    "tt_isa_supported": (c_int32, [c_int32]),
    "tt_threads": (c_int32, []),
    "tt_peak_gflops": (c_double, [c_int32, c_int32, c_double]),
}


@lru_cache(maxsize=4096)
def struct_of(problem: Problem) -> CProblem:
    return CProblem(
        sizeof(CProblem), CELLS.index(problem.cell), problem.batch, problem.steps, problem.features, problem.units,
        problem.reverse, problem.zero_masked, problem.leading_initial, problem.threads, ISAS.index(problem.isa),
        problem.keep_bytes,
    )  # fmt: skip


def refuse(problem: Problem, status: int) -> None:
    words = load().tt_status_message(status).decode()
    if status == OUT_OF_MEMORY:
        raise MemoryError(f"{words}: {problem}. Make the batch smaller.")
    if status == UNSUPPORTED_ISA:
        asked = f"isa={problem.isa!r}"
        if problem.isa == "auto":
            asked = f"THROUGHTIME_ISA={os.environ.get('THROUGHTIME_ISA')}"
        raise ArgumentError(f"{asked}: {words}; one of {listed(supported())} is accepted.")
    raise ArgumentError(f"{words}: {problem}, with kernel, recurrent_kernel and x not NULL.")


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


def recomputed() -> np.ndarray:
    """(n, 3) int32: what this thread's last backward pass computed again, in that order: the number of a shard of the
    batch, the first of a run of its steps, and the run's end."""
    library = load()
    found = np.empty((library.tt_recomputed(None, 0), 3), np.int32)
    library.tt_recomputed(found.ctypes.data, len(found))
    return found


def trim() -> None:
    """Gives the memory that waits to be used again back to the system."""
    load().tt_trim()


class Tapped(NamedTuple):
    """What the last backward pass with a tap left.

    ``passes``: how many there were since the tap was closed. ``norms``: (B, T) float32, of dL/dh_k, 0 at masked steps.
    ``mask``: (B, T) bool, as the layer was given it, by place. ``norms`` are by order of processing.
    """

    passes: int
    norms: np.ndarray
    mask: np.ndarray


def tapped(tap: int) -> Tapped | None:
    """What the last backward pass with this tap left; None where there was none since the tap was closed."""
    library, batch, steps = load(), c_int64(), c_int64()
    while True:  # until no other pass comes in between
        passes = library.tt_tap(tap, byref(batch), byref(steps))
        if not passes:
            return None
        size = batch.value, steps.value
        norms, mask = np.empty(size, np.float32), np.empty(size, bool)
        if library.tt_read_tap(tap, *size, norms.ctypes.data, mask.ctypes.data) == OK:
            return Tapped(passes, norms, mask)


def open_tap(tap: int) -> None:
    """From now on passes with this tap leave their norms again."""
    load().tt_shut_tap(tap, 0)


def shut_tap(tap: int) -> None:
    """Until it is opened, passes with this tap leave nothing and cost nothing more; what was left before stays."""
    load().tt_shut_tap(tap, 1)


def close_tap(tap: int) -> None:
    """Forgets what was left at a tap, and whether it was shut."""
    load().tt_close_tap(tap)


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
    """The threads that ``threads=0`` stands for.

    ``THROUGHTIME_THREADS`` says it; or they are the cores that this process may run on, but no more than
    ``OMP_NUM_THREADS``, nor than the CPU quota of its control group keeps busy (a container's, cgroup v1 or v2, below
    ``/sys/fs/cgroup`` or the folder ``THROUGHTIME_CGROUP``). Sums over a batch are added in another order where there
    are more threads, so weights are the same to the bit for the same number of them only.
    """
    return load().tt_threads()


def peak_gflops(isa: str = "auto", threads: int = 0, seconds: float = 0.2) -> float:
    """GFLOP/s of multiply-adds on registers alone: what kernels are measured against. 0 where ``isa`` is not there."""
    one_of("isa", isa, ISAS)
    return load().tt_peak_gflops(ISAS.index(isa), threads, seconds)
