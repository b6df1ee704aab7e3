"""What a recurrent kernel is asked and what it answers; the same words for the NumPy reference and the native library.

Axes: B sequences, T steps of the container, F features, H units, G gates. Weights are laid out as Keras lays them out:
``kernel`` (F, G*H), ``recurrent_kernel`` (H, G*H), ``bias`` (G*H,); gates in the order i, f, g, o (LSTM), z, r, n
(GRU), z, n (minGRU) and f, i, n (minLSTM). The gates of minGRU and minLSTM see no state, so their ``recurrent_kernel``
is (H, 0). Step k is a place in the order of processing: with ``reverse``, step k reads x and mask at T-1-k, while y, dy
and norms are indexed by k, as in Keras's ``go_backwards``. Masked steps are passed over.

``"lru"`` is the complex recurrence s' = lambda s + x kernel + bias of a linear recurrent unit, with real parts before
imaginary ones: h and c are those of s, y and last are both side by side, (B, T, 2H) and (B, 2H), and recurrent_kernel
is lambda, (H, 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..errors import ArgumentError, one_of

GATES = {
    "rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "gru_reset_before": 3, "lstm": 4,
    "mingru": 2, "mingru_tanh": 2, "mingru_g": 2, "minlstm": 3, "minlstm_tanh": 3, "minlstm_g": 3,
    "lru": 2,
}  # fmt: skip
CELLS = tuple(GATES)  # a cell's place is its number in csrc/include/throughtime.h
ISAS = ("auto", "portable", "avx2", "avx512")  # likewise


def gates(cell: str) -> int:
    """G, the gates of a cell.

    Raises:
        ArgumentError: a cell that there is not.

    Example:
        >>> gates("lstm")
        4
    """
    one_of("cell", cell, CELLS)
    return GATES[cell]


def has_cell_state(cell: str) -> bool:
    """Whether a cell has a second state, c."""
    return cell in ("lstm", "lru")


def output_units(cell: str, units: int) -> int:
    """The last axis of y and last: that of the state, or of both of an LRU's."""
    return 2 * units if cell == "lru" else units


@dataclass(frozen=True)
class Problem:
    """One recurrence over one padded batch: the same for the forward and the backward pass of a call.

    Args:
        cell: one of ``CELLS``; ``"gru"`` is Keras's ``GRU(reset_after=True)``. What comes after ``mingru`` and
            ``minlstm`` is the activation of their candidate, which otherwise has none.
        batch, steps, features, units: B, T, F and H.
        reverse: steps are taken from the container's last to its first.
        zero_masked: y is zero at masked steps (Keras's ``zero_output_for_mask``), not the last output before them.
        leading_initial: y at masked steps before the first valid one is h0 (Keras on JAX), not zero.
        threads: 0 for as many as ``native.threads`` says.
        keep_bytes: that activations may hold between forward and backward pass; what is beyond is computed again. 0: as
            many as ``native.keep_at_most`` says.
        isa: one of ``ISAS``; ``"auto"`` for ``THROUGHTIME_ISA``, or the best of this processor.

    Raises:
        ArgumentError: a name or a size that is not accepted.

    Example:
        >>> problem = Problem("gru", batch=2, steps=5, features=3, units=4)
        >>> problem.shapes["kernel"], problem.shapes["y"]
        ((3, 12), (2, 5, 4))
    """

    cell: str
    batch: int
    steps: int
    features: int
    units: int
    reverse: bool = False
    zero_masked: bool = False
    leading_initial: bool = False
    threads: int = 0
    isa: str = "auto"
    keep_bytes: int = 0

    def __post_init__(self) -> None:
        one_of("cell", self.cell, CELLS)
        one_of("isa", self.isa, ISAS)
        least = {"batch": 0, "steps": 0, "features": 1, "units": 1, "threads": 0, "keep_bytes": 0}
        wrong = [f"{name}={getattr(self, name)} (at least {low})" for name, low in least.items()
                 if getattr(self, name) < low]  # fmt: skip
        if wrong:
            raise ArgumentError(f"sizes of a recurrent problem that are too small: {', '.join(wrong)}.")

    @property
    def has_cell_state(self) -> bool:
        return has_cell_state(self.cell)

    @property
    def has_recurrent_bias(self) -> bool:
        return self.cell == "gru"

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array that this problem takes or gives, by its name without the d of a gradient."""
        B, T, F, H = self.batch, self.steps, self.features, self.units
        columns = GATES[self.cell] * H
        recurrent = 2 if self.cell == "lru" else 0 if self.cell.startswith("min") else columns
        shown = output_units(self.cell, H)
        shapes: dict[str, tuple[int, ...]] = {
            "x": (B, T, F), "mask": (B, T), "h0": (B, H), "kernel": (F, columns), "recurrent_kernel": (H, recurrent),
            "bias": (columns,), "y": (B, T, shown), "last": (B, shown), "hn": (B, H), "norms": (B, T),
        }  # fmt: skip
        if self.has_cell_state:
            shapes |= {"c0": (B, H), "cn": (B, H)}
        if self.has_recurrent_bias:
            shapes["recurrent_bias"] = (columns,)
        return shapes


class Outputs(NamedTuple):
    """What a forward pass gives. ``last`` is what y[:, -1] is or would be; hn and cn follow the last valid step."""

    y: np.ndarray | None
    last: np.ndarray
    hn: np.ndarray
    cn: np.ndarray | None
    ticket: int = 0


class Gradients(NamedTuple):
    """What a backward pass gives; ``norms`` (B, T) are those of dL/dh_k over units, 0 at masked steps."""

    dx: np.ndarray | None
    dkernel: np.ndarray
    drecurrent_kernel: np.ndarray
    dbias: np.ndarray | None
    drecurrent_bias: np.ndarray | None
    dh0: np.ndarray
    dc0: np.ndarray | None
    norms: np.ndarray | None


def check_arrays(
    problem: Problem, arrays: dict[str, np.ndarray | None], *, dtypes: Iterable[type], missing: tuple[str, ...]
) -> None:
    """Refuses arrays that a kernel would misread, naming all that is wrong.

    Args:
        problem: what the shapes follow from.
        arrays: by name; None where it is not given.
        dtypes: of everything but the mask, which is bool or uint8.
        missing: names that may not be None.

    Raises:
        ArgumentError: a wrong type, dtype, shape or memory layout, or nothing where something is needed.

    Example:
        >>> check_arrays(Problem("gru", 1, 2, 3, 4), {"x": np.zeros((1, 2, 5))}, dtypes=[np.float32], missing=("x",))
        Traceback (most recent call last):
        throughtime.errors.ArgumentError: the 'gru' of 1 sequences, 2 steps, 3 features and 4 units cannot take x:
        float64 (1, 2, 5) is given, float32 (1, 2, 3) accepted.
    """
    accepted, shapes = tuple(np.dtype(one) for one in dtypes), problem.shapes
    masks = (np.dtype(bool), np.dtype(np.uint8))
    wrong = []
    for name, array in arrays.items():
        if array is None:
            if name in missing:
                wrong.append(f"{name}: nothing is given, an array of shape {shapes[name]} needed")
            continue
        shape = shapes.get(name) or shapes.get(name.removeprefix("d"))
        if shape is None:
            wrong.append(f"{name}: this cell has none; leave it None")
            continue
        if not isinstance(array, np.ndarray):
            wrong.append(f"{name}: {type(array).__name__} is given, a NumPy array accepted")
            continue
        wanted = masks if name == "mask" else accepted
        if array.dtype not in wanted or array.shape != shape:
            words = " or ".join(str(dtype) for dtype in wanted)
            wrong.append(f"{name}: {array.dtype} {array.shape} is given, {words} {shape} accepted")
        elif not (array.flags.c_contiguous or (name == "x" and strides_of(array) is not None)):
            wrong.append(f"{name}: its memory is not contiguous; numpy.ascontiguousarray({name}) is")
    if wrong:
        sizes = f"{problem.batch} sequences, {problem.steps} steps, {problem.features} features"
        raise ArgumentError(
            f"the {problem.cell!r} of {sizes} and {problem.units} units cannot take {'; '.join(wrong)}."
        )


def strides_of(x: np.ndarray) -> tuple[int, int] | None:
    """The distance of sequences and of steps, in elements, where features lie side by side; otherwise None.

    An axis of one place has any stride; 0 says so, and stands for a dense axis. Sequences or steps on top of each other
    (a broadcast array) or in falling order cannot be said that way.

    Example:
        >>> strides_of(np.zeros((2, 10, 3))[:, ::2]), strides_of(np.zeros((2, 3, 10)).swapaxes(1, 2))
        ((30, 6), None)
    """
    if x.size == 0:
        return 0, 0
    size = x.itemsize
    (B, T, F), (batch, step, feature) = x.shape, x.strides
    batch, step = batch if B > 1 else 0, step if T > 1 else 0
    dense = F == 1 or feature == size
    apart = (B == 1 or batch > 0) and (T == 1 or step > 0)
    if not dense or not apart or batch % size or step % size:
        return None
    return batch // size, step // size
