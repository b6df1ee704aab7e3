"""Every cell in NumPy, forward and backward: plain to read, slow to run. The native kernels are checked against it.

Each cell is two functions, its equations and their derivatives. ``xa`` is what the input adds to the gates,
``x @ kernel + bias``; R is the recurrent kernel, with the gates side by side. A backward function takes the gradients
of the states after the step and gives those of xa, R, the recurrent bias and the states before the step, as
backpropagation through time needs them (Werbos 1990, doi:10.1109/5.58337).

All is computed in the dtype of x, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .problem import GATES, Gradients, Outputs, Problem, check_arrays

Array = np.ndarray


class Step(NamedTuple):
    """The states after a step, and what its backward function wants to know again."""

    h: Array
    c: Array
    kept: tuple[Array, ...]


class StepGradients(NamedTuple):
    """The gradients of what went into a step. ``recurrent_bias`` is that of the rows, not yet added up."""

    xa: Array
    recurrent_kernel: Array
    recurrent_bias: Array
    h: Array
    c: Array


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), without overflow and exact far below zero too."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1, e) / (1 + e)


def split(a: Array, cell: str) -> list[Array]:
    return np.split(a, GATES[cell], axis=-1)


def join(*parts: Array) -> Array:
    return np.concatenate(parts, axis=-1)


# SimpleRNN (Elman 1990, doi:10.1207/s15516709cog1402_1) ---------------------------------------------------------------


def rnn_tanh(xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    after = np.tanh(xa + h @ R)
    return Step(after, c, (h, after))


def rnn_tanh_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, after = kept
    da = dh * (1 - after**2)
    return StepGradients(da, h.T @ da, da, da @ R.T, dc)


def rnn_relu(xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    after = np.maximum(xa + h @ R, 0)
    return Step(after, c, (h, after))


def rnn_relu_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, after = kept
    da = dh * (after > 0)
    return StepGradients(da, h.T @ da, da, da @ R.T, dc)


# GRU, the reset gate after the product: Keras's default, and cuDNN's variant of Cho et al. 2014 (arXiv:1406.1078) ---


def gru(xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    xz, xr, xn = split(xa, "gru")
    hz, hr, hn = split(h @ R + recurrent_bias, "gru")
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    n = np.tanh(xn + r * hn)
    return Step(z * h + (1 - z) * n, c, (h, z, r, n, hn))


def gru_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, z, r, n, hn = kept
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * hn * r * (1 - r)
    from_x, from_h = join(dz, dr, dn), join(dz, dr, dn * r)
    return StepGradients(from_x, h.T @ from_h, from_h, dh * z + from_h @ R.T, dc)


# GRU, the reset gate before the product (Cho et al. 2014, arXiv:1406.1078): Keras's reset_after=False ---------------


def gru_reset_before(xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    xz, xr, xn = split(xa, "gru_reset_before")
    Rz, Rr, Rn = split(R, "gru_reset_before")
    z, r = sigmoid(xz + h @ Rz), sigmoid(xr + h @ Rr)
    n = np.tanh(xn + (r * h) @ Rn)
    return Step(z * h + (1 - z) * n, c, (h, z, r, n))


def gru_reset_before_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, z, r, n = kept
    Rz, Rr, Rn = split(R, "gru_reset_before")
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dreset = dn @ Rn.T  # of r * h
    dr = dreset * h * r * (1 - r)
    dR = join(h.T @ dz, h.T @ dr, (r * h).T @ dn)
    da = join(dz, dr, dn)
    return StepGradients(da, dR, da, dh * z + dreset * r + dz @ Rz.T + dr @ Rr.T, dc)


# LSTM (Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000,
# doi:10.1162/089976600300015015) --------------------------------------------------------------------------------------


def lstm(xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    ai, af, ag, ao = split(xa + h @ R, "lstm")
    i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
    after = f * c + i * g
    return Step(o * np.tanh(after), after, (h, c, i, f, g, o, after))


def lstm_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, c, i, f, g, o, after = kept
    t = np.tanh(after)
    dafter = dc + dh * o * (1 - t**2)
    da = join(dafter * g * i * (1 - i), dafter * c * f * (1 - f), dafter * i * (1 - g**2), dh * t * o * (1 - o))
    return StepGradients(da, h.T @ da, da, da @ R.T, dafter * f)


# minGRU and minLSTM (Feng et al. 2024, arXiv:2410.01201): the gates are those of xa, and R has no columns ------------


def candidate(a: Array, cell: str) -> tuple[Array, Array]:
    """What becomes of the candidate's argument, and the derivative of that."""
    if cell.endswith("_tanh"):
        return np.tanh(a), 1 - np.tanh(a) ** 2
    if cell.endswith("_g"):
        s = sigmoid(a)
        return np.where(a >= 0, a + a.dtype.type(0.5), s), np.where(a >= 0, 1, s * (1 - s))
    return a, np.ones_like(a)


def mingru(cell: str, xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    az, an = split(xa, cell)
    z, (n, slope) = sigmoid(az), candidate(an, cell)
    return Step(sigmoid(-az) * h + z * n, c, (h, z, sigmoid(-az), n, slope))


def mingru_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, z, keeps, n, slope = kept
    da = join(dh * (n - h) * z * keeps, dh * z * slope)
    return StepGradients(da, np.zeros_like(R), np.zeros_like(da), dh * keeps, dc)


def minlstm(cell: str, xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    af, ai, an = split(xa, cell)
    n, slope = candidate(an, cell)
    # f / (f + i), by the logarithms of f and i
    keeps = sigmoid(np.logaddexp(0, -ai) - np.logaddexp(0, -af))
    takes = sigmoid(np.logaddexp(0, -af) - np.logaddexp(0, -ai))
    return Step(keeps * h + takes * n, c, (h, keeps, takes, n, slope, sigmoid(-af), sigmoid(-ai)))


def minlstm_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    h, keeps, takes, n, slope, no_f, no_i = kept
    dlog = dh * (h - n) * keeps * takes
    da = join(dlog * no_f, -dlog * no_i, dh * takes * slope)
    return StepGradients(da, np.zeros_like(R), np.zeros_like(da), dh * keeps, dc)


# The recurrence of a linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349): h and c are parts of its state ---


def lru(xa: Array, h: Array, c: Array, R: Array, recurrent_bias: Array) -> Step:
    real, imaginary = R.T
    u, v = split(xa, "lru")
    return Step(real * h - imaginary * c + u, real * c + imaginary * h + v, (h, c))


def lru_backward(kept: tuple[Array, ...], dh: Array, dc: Array, R: Array) -> StepGradients:
    (h, c), (real, imaginary) = kept, R.T
    dR = np.stack([(dh * h + dc * c).sum(axis=0), (dc * h - dh * c).sum(axis=0)], axis=1)
    da = join(dh, dc)
    return StepGradients(da, dR, np.zeros_like(da), real * dh + imaginary * dc, real * dc - imaginary * dh)


STEPS: dict[str, tuple[Callable[..., Step], Callable[..., StepGradients]]] = {
    "rnn_tanh": (rnn_tanh, rnn_tanh_backward),
    "rnn_relu": (rnn_relu, rnn_relu_backward),
    "gru": (gru, gru_backward),
    "gru_reset_before": (gru_reset_before, gru_reset_before_backward),
    "lstm": (lstm, lstm_backward),
    **{name: (partial(mingru, name), mingru_backward) for name in ("mingru", "mingru_tanh", "mingru_g")},
    **{name: (partial(minlstm, name), minlstm_backward) for name in ("minlstm", "minlstm_tanh", "minlstm_g")},
    "lru": (lru, lru_backward),
}

# Over the steps of a batch ------------------------------------------------------------------------------------------


def forward(
    problem: Problem,
    *,
    x: Array,
    mask: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    recurrent_bias: Array | None = None,
    sequences: bool = True,
    keep: bool = False,
) -> Outputs:
    """What ``native.forward`` gives, in NumPy; nothing is ever kept.

    Args:
        problem, x, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias, sequences, keep: as there, all
            float32 or all float64.

    Raises:
        ArgumentError: arrays that do not fit the problem.

    Example:
        >>> problem = Problem("rnn_relu", batch=1, steps=3, features=1, units=1)
        >>> x, mask, one = np.array([[[1.0], [np.nan], [2.0]]]), np.array([[1, 0, 1]], bool), np.ones((1, 1))
        >>> forward(problem, x=x, mask=mask, kernel=one, recurrent_kernel=one).y.ravel().tolist()
        [1.0, 1.0, 3.0]
    """
    given = {
        "x": x, "mask": mask, "h0": h0, "c0": c0, "kernel": kernel, "recurrent_kernel": recurrent_kernel,
        "bias": bias, "recurrent_bias": recurrent_bias,
    }  # fmt: skip
    sweep = Sweep(problem, given)
    y = np.empty(problem.shapes["y"], x.dtype)
    h, c = sweep.h0, sweep.c0
    output = sweep.shown(h, c) if sweep.leading_initial else np.zeros(problem.shapes["last"], x.dtype)
    for k in range(problem.steps):
        valid, step = sweep.valid(k), sweep.step(k, h, c)
        h, c = np.where(valid, step.h, h), np.where(valid, step.c, c)
        output = np.where(valid, sweep.shown(step.h, step.c), 0 if problem.zero_masked else output)
        y[:, k] = output
    return Outputs(y if sequences else None, output, h, c if problem.has_cell_state else None)


def backward(
    problem: Problem,
    *,
    x: Array,
    mask: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None = None,
    recurrent_bias: Array | None = None,
    ticket: int = 0,
    dy: Array | None = None,
    dlast: Array | None = None,
    dhn: Array | None = None,
    dcn: Array | None = None,
    need_dx: bool = True,
    norms: bool = False,
) -> Gradients:
    """What ``native.backward`` gives, in NumPy; a ticket is of no use here.

    Args:
        problem, x, mask, h0, c0, kernel, recurrent_kernel, bias, recurrent_bias, ticket, dy, dlast, dhn, dcn, need_dx,
            norms: as there, all float32 or all float64.

    Raises:
        ArgumentError: arrays that do not fit the problem.
    """
    given = {
        "x": x, "mask": mask, "h0": h0, "c0": c0, "kernel": kernel, "recurrent_kernel": recurrent_kernel,
        "bias": bias, "recurrent_bias": recurrent_bias,
    }  # fmt: skip
    sweep = Sweep(problem, given)
    sweep.check({"dy": dy, "dlast": dlast, "dhn": dhn, "dcn": dcn})
    kept: list[tuple[Array, ...]] = []
    h, c = sweep.h0, sweep.c0
    for k in range(problem.steps):
        valid, step = sweep.valid(k), sweep.step(k, h, c)
        h, c = np.where(valid, step.h, h), np.where(valid, step.c, c)
        kept.append(step.kept)

    dx, dR = np.zeros_like(sweep.x), np.zeros_like(recurrent_kernel)
    dkernel, dbias = np.zeros_like(kernel), np.zeros(kernel.shape[1], x.dtype)
    drecurrent_bias, lengths = np.zeros_like(dbias), np.zeros(problem.shapes["norms"], x.dtype)
    dh, dc = sweep.or_zeros(dhn, "hn"), sweep.or_zeros(dcn, "hn")
    doutput = sweep.or_zeros(dlast, "last")  # of outputs that repeat one further down, on the way there
    for k in reversed(range(problem.steps)):
        valid, t = sweep.valid(k), sweep.place(k)
        doutput = doutput + (0 if dy is None else dy[:, k])
        dh, dc = sweep.with_outputs(dh, dc, np.where(valid, doutput, 0))
        doutput = np.where(valid | problem.zero_masked, 0, doutput)
        state = sweep.shown(dh, dc)  # not that of an LSTM's cell
        lengths[:, k] = np.linalg.norm(np.where(valid, state, 0).astype(np.float64), axis=-1)
        # Masked rows go in as zeros, so that they add nothing to the sums over the batch.
        d = STEPS[problem.cell][1](kept[k], np.where(valid, dh, 0), np.where(valid, dc, 0), recurrent_kernel)
        dx[:, t] = d.xa @ kernel.T
        dkernel += sweep.x[:, t].T @ d.xa
        dbias += d.xa.sum(axis=0)
        dR += d.recurrent_kernel
        drecurrent_bias += d.recurrent_bias.sum(axis=0)
        dh, dc = np.where(valid, d.h, dh), np.where(valid, d.c, dc)
    if sweep.leading_initial:
        dh, dc = sweep.with_outputs(dh, dc, doutput)
    return Gradients(
        dx=dx if need_dx else None,
        dkernel=dkernel,
        drecurrent_kernel=dR,
        dbias=None if bias is None else dbias,
        drecurrent_bias=None if recurrent_bias is None else drecurrent_bias,
        dh0=dh,
        dc0=dc if problem.has_cell_state else None,
        norms=lengths if norms else None,
    )


class Sweep:
    """The inputs of one call, with zeros and ones for what is not given; one step after the other."""

    def __init__(self, problem: Problem, given: dict[str, Any]) -> None:
        self.problem, self.dtype = problem, np.asarray(given["x"]).dtype.type
        self.check(given)
        mask, kernel = given["mask"], given["kernel"]
        self.mask = np.ones(problem.shapes["mask"], bool) if mask is None else mask != 0
        self.x = np.where(self.mask[..., None], given["x"], 0)  # padding may hold NaN, which is not to be multiplied
        self.h0, self.c0 = self.or_zeros(given["h0"], "hn"), self.or_zeros(given["c0"], "hn")
        self.xa = self.x @ kernel + self.or_zeros(given["bias"], "bias")
        self.recurrent_kernel = given["recurrent_kernel"]
        self.recurrent_bias = self.or_zeros(given["recurrent_bias"], "bias")
        self.leading_initial = problem.leading_initial and not problem.zero_masked

    def check(self, arrays: dict[str, Array | None]) -> None:
        dtypes = (self.dtype,) if self.dtype in (np.float32, np.float64) else (np.float32, np.float64)
        check_arrays(self.problem, arrays, dtypes=dtypes, missing=("x", "kernel", "recurrent_kernel"))

    def or_zeros(self, array: Array | None, name: str) -> Array:
        return np.zeros(self.problem.shapes[name], self.dtype) if array is None else array

    def shown(self, h: Array, c: Array) -> Array:
        """What of the states is the output: of an LRU both."""
        return join(h, c) if self.problem.cell == "lru" else h

    def with_outputs(self, dh: Array, dc: Array, doutput: Array) -> tuple[Array, Array]:
        """The gradients of the states, with that of the output added to what it shows."""
        if self.problem.cell != "lru":
            return dh + doutput, dc
        real, imaginary = np.split(doutput, 2, axis=-1)
        return dh + real, dc + imaginary

    def place(self, k: int) -> int:
        """Of step k in the container."""
        return self.problem.steps - 1 - k if self.problem.reverse else k

    def valid(self, k: int) -> Array:
        return self.mask[:, self.place(k), None]

    def step(self, k: int, h: Array, c: Array) -> Step:
        forward_step = STEPS[self.problem.cell][0]
        return forward_step(self.xa[:, self.place(k)], h, c, self.recurrent_kernel, self.recurrent_bias)
