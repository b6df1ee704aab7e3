"""How fast the layers are beside stock Keras's, on this machine and backend: what ``throughtime bench`` shows.

benchmarks/layers.py, which adds the other peers, measures with the same cases, clock and proof of equality. Useful
operations are those of valid steps alone: N x 2 x G*H x (F+H) for a forward pass, three times that with the backward
pass. A share is of the FMA peak of the same moment, because the clock of a processor drifts.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from .backend import backend_version
from .errors import ArgumentError, ThroughtimeError, choose, counted, listed, one_of
from .kernels import native
from .layers.paths import why_not_fused
from .layers.recurrent import GRU, LSTM, SimpleRNN

GRID = ((64, 16, 32), (128, 64, 64), (256, 128, 64), (512, 256, 64))  # (H, F, B)
CELLS = {"lstm": "lstm", "gru": "gru", "rnn": "rnn_tanh"}  # by the names of `throughtime train --cell`
STOCK = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
OURS = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN}
FORWARD, TRAINING = 1, 3  # passes, in forward passes

# Both sides sum in float32 and in different orders: over F+H products a gate, over up to 25,000 steps a weight. A
# rounding of 6e-8 each comes to 1e-6 to 1e-5 of the largest value; a wrong step, gate or mask shows as 1e-2 and more.
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3


# Cases --------------------------------------------------------------------------------------------------------------


def lengths_of(batch: int) -> np.ndarray:
    """Lengths as they come: log-normal, median 80, from 5 to 400.

    Example:
        >>> lengths_of(4).tolist()
        [86, 73, 117, 85]
    """
    return np.clip(np.random.default_rng(0).lognormal(np.log(80), 0.6, batch).astype(int), 5, 400)


@dataclass(frozen=True)
class Case:
    """One layer and one padded batch.

    Args:
        cell: one of ``CELLS``.
        units, features: H and F.
        lengths: of the sequences, in the order of the batch.

    Raises:
        ArgumentError: a cell that there is not.

    Example:
        >>> case = Case("gru", 4, 2, (3, 1))
        >>> case.tokens, case.steps, case.flops(TRAINING)
        (4, 3, 1728)
    """

    cell: str
    units: int
    features: int
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        one_of("cell", self.cell, CELLS)

    @classmethod
    def of_size(cls, cell: str, size: tuple[int, int, int]) -> Case:
        """A case of the grid, from (H, F, B)."""
        units, features, batch = size
        return cls(cell, units, features, tuple(lengths_of(batch).tolist()))

    @property
    def batch(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        return max(self.lengths)

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def columns(self) -> int:
        return native.gates(CELLS[self.cell]) * self.units

    def flops(self, passes: int) -> int:
        return self.tokens * 2 * self.columns * (self.features + self.units) * passes

    @cached_property
    def mask(self) -> np.ndarray:
        return np.arange(self.steps) < np.array(self.lengths)[:, None]

    @cached_property
    def x(self) -> np.ndarray:
        x = np.random.default_rng(1).normal(size=(self.batch, self.steps, self.features)).astype(np.float32)
        return np.where(self.mask[..., None], x, np.float32(0))

    @cached_property
    def target(self) -> np.ndarray:
        return np.random.default_rng(2).normal(size=(self.batch, 1)).astype(np.float32)

    @cached_property
    def weights(self) -> list[np.ndarray]:
        """kernel, recurrent_kernel and bias as Keras lays them out, and those of a Dense(1) that follows."""
        H, F, columns, rng = self.units, self.features, self.columns, np.random.default_rng(3)
        bias = (2, columns) if self.cell == "gru" else (columns,)
        scaled = (((F, columns), F), ((H, columns), H), (bias, H), ((H, 1), H), ((1,), H))
        return [rng.normal(scale=0.7 / fan**0.5, size=shape).astype(np.float32) for shape, fan in scaled]

    def named(self) -> dict[str, Any]:
        return {"cell": self.cell, "H": self.units, "F": self.features, "B": self.batch, "tokens": self.tokens}


def cells_of(names: Collection[str]) -> list[str]:
    """The names of ``CELLS`` that were given, in capitals or not.

    Raises:
        ArgumentError: none, or a cell that there is not.

    Example:
        >>> cells_of(["LSTM", "gru"])
        ['lstm', 'gru']
    """
    if not names:
        raise ArgumentError(f"cells= names none; give some of {listed(CELLS)}.")
    return [choose("cells", one, CELLS) for one in names]


def sizes_of(units: Collection[str]) -> list[tuple[int, int, int]]:
    """The sizes of ``GRID`` with so many units.

    Raises:
        ArgumentError: units that are not of the grid.

    Example:
        >>> sizes_of(["128", "64"])
        [(128, 64, 64), (64, 16, 32)]
    """
    by_units = {str(size[0]): size for size in GRID}
    if not units:
        raise ArgumentError(f"units= names none; give some of {listed(by_units)}.")
    for one in units:
        one_of("units", one, by_units)
    return [by_units[one] for one in units]


# The clock ----------------------------------------------------------------------------------------------------------


@dataclass
class Timings:
    """Seconds of one call in each round, and the FMA peak around it in GFLOP/s, 0 where it was not measured."""

    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)  # that were busy, of this process, on average

    def figures(self, flops: int) -> dict[str, float]:
        """Median and best. The best share is of the best peak, so that a low peak does not make a share look high.

        Example:
            >>> Timings([0.5, 1.0, 2.0], [4.0, 2.0, 1.0]).figures(1_000_000_000) == {
            ...     "ms": 1000.0, "best_ms": 500.0, "gflops": 1.0, "best_gflops": 2.0, "share": 0.5, "best_share": 0.5}
            True
        """
        middle, best = statistics.median(self.seconds), min(self.seconds)
        found = {"ms": middle * 1e3, "best_ms": best * 1e3, "gflops": flops / middle / 1e9,
                 "best_gflops": flops / best / 1e9}  # fmt: skip
        if self.cores:
            found["cores"] = statistics.median(self.cores)
        if all(self.peaks):
            shares = [flops / one / 1e9 / peak for one, peak in zip(self.seconds, self.peaks, strict=True)]
            found |= {"share": statistics.median(shares), "best_share": found["best_gflops"] / max(self.peaks)}
        return found


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, repeat: int, peak: Callable[[], float] | None = None,
    least: float = 0.1, most: float = 30.0,
) -> dict[str, Timings]:  # fmt: skip
    """Times calls in turn, so that what slows the machine down slows all of them down.

    Args:
        calls: by name. Each is called twice before it is timed: what is compiled, allocated or loaded is so then.
        repeat: rounds; each starts with another call.
        peak: measures the FMA peak in GFLOP/s, before and after each call; the higher one counts.
        least: a call is repeated until it has run for so many seconds, and the mean counts.
        most: after so many seconds no further round starts, three being made in any case.

    Example:
        >>> timings = interleaved({"a": lambda: None, "b": lambda: None}, repeat=3, least=0)
        >>> [len(one.seconds) for one in timings.values()]
        [3, 3]
    """
    counts = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        counts[name] = max(1, round(least / max(time.perf_counter() - start, 1e-7)))
    timings = {name: Timings() for name in calls}
    names = list(calls)
    until = time.perf_counter() + most
    for i in range(repeat):
        if i >= 3 and time.perf_counter() > until:
            break
        before = peak() if peak else 0.0
        for name in names[i % len(names) :] + names[: i % len(names)]:
            worked, start = time.process_time(), time.perf_counter()
            for _ in range(counts[name]):
                calls[name]()
            took = time.perf_counter() - start
            timings[name].seconds.append(took / counts[name])
            timings[name].cores.append((time.process_time() - worked) / max(took, 1e-9))
            after = peak() if peak else 0.0
            timings[name].peaks.append(max(before, after))
            before = after
    return timings


def peak_of(threads: int = 0, seconds: float = 0.03) -> Callable[[], float]:
    """A measurement of the FMA peak on so many threads, 0 for those of the kernels."""
    return lambda: native.peak_gflops(threads=threads, seconds=seconds)


# What OMP_NUM_THREADS does not do to stock Keras; PyTorch follows it.
IGNORED = {
    "jax": "XLA takes no notice of OMP_NUM_THREADS; start it under taskset to bound both sides",
    "tensorflow": "TensorFlow takes no notice of OMP_NUM_THREADS; set TF_NUM_INTRAOP_THREADS as well",
}


def origin_of(threads: int, named: Mapping[str, str], cores: int) -> str:
    """What the kernels' number of threads comes from.

    Args:
        threads: the number.
        named: the environment.
        cores: that the process may run on.

    Example:
        >>> origin_of(1, {"OMP_NUM_THREADS": "1"}, 8)
        'OMP_NUM_THREADS'
    """
    for name in ("THROUGHTIME_THREADS", "OMP_NUM_THREADS"):
        if named.get(name, "").partition(",")[0] == str(threads):
            return name
    return "the CPU quota" if threads < cores else "the cores this process may run on"


def machine() -> dict[str, Any]:
    """What the figures depend on: instruction set, threads, peak, versions and how busy the machine is.

    Raises:
        BackendError: there is no native library.
    """
    native.load()
    backend, cores = keras.backend.backend(), len(os.sched_getaffinity(0))
    return {
        "isa": native.isa(), "threads": native.threads(),
        "threads_from": origin_of(native.threads(), os.environ, cores),
        "threads_note": IGNORED.get(backend, "") if "OMP_NUM_THREADS" in os.environ else "",
        "load": round(os.getloadavg()[0], 2), "peak_gflops": native.peak_gflops(seconds=0.2),
        "backend": backend_version(), "keras": keras.__version__,
    }  # fmt: skip


# Layers -------------------------------------------------------------------------------------------------------------


def network(case: Case, layer: type[keras.Layer], *, steps: int | None = None) -> keras.Model:
    """The small model that is timed: a recurrent layer under an explicit mask, and a Dense layer on its last output.

    Args:
        case: the sizes, and the weights that the model starts from.
        layer: a class of ``STOCK`` or ``OURS``.
        steps: T; None: any.
    """
    x = keras.Input((steps, case.features))
    mask = keras.Input((steps,), dtype="bool")
    model = keras.Model([x, mask], keras.layers.Dense(1)(layer(case.units)(x, mask=mask)))
    model.set_weights(case.weights)
    return model


def gradients_of(model: keras.Model, case: Case) -> list[np.ndarray]:
    """Of the loss by each weight: a step of plain SGD at rate 1 subtracts just that. Weights are as before after it."""
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    before = model.get_weights()
    model.train_on_batch([case.x, case.mask], case.target)
    after = model.get_weights()
    model.set_weights(before)
    return [b - a for b, a in zip(before, after, strict=True)]


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference of arrays, each as a ratio to the largest value that is expected in it.

    Example:
        >>> difference([np.array([1.0, 2.5])], [np.array([1.0, 2.0])])
        0.25
    """
    return max(
        float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-30))
        for one, other in zip(found, expected, strict=True)
    )


def refuse_different(what: str, found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float) -> float:
    """The difference, which is within the tolerance.

    Raises:
        ThroughtimeError: results that differ, whose times would mean nothing.
    """
    seen = difference(found, expected)
    if not seen <= tolerance:  # NaN is refused too
        raise ThroughtimeError(f"{what} differ by {seen:.2g} of the largest, {tolerance:.0e} accepted: nothing timed.")
    return seen


def equal_models(case: Case, model: keras.Model, other: keras.Model) -> dict[str, float]:
    """How far outputs and gradients of two models lie apart.

    Raises:
        ThroughtimeError: too far.
    """
    found, expected = (one.predict_on_batch([case.x, case.mask]) for one in (model, other))
    outputs = refuse_different(f"the outputs of {case}", [found], [expected], OUTPUT_TOLERANCE)
    ours, theirs = (gradients_of(one, case) for one in (model, other))
    gradients = refuse_different(f"the gradients of {case}", ours, theirs, GRADIENT_TOLERANCE)
    return {"outputs": outputs, "gradients": gradients}


def compiled(model: keras.Model) -> keras.Model:
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return model


def compare(case: Case, *, repeat: int, peak: Callable[[], float] | None = None, most: float = 30.0) -> dict[str, Any]:
    """Our layer beside stock Keras's on the current backend: equal first, then timed in turn.

    Args:
        case: the layer and the batch.
        repeat: rounds, of which median and best are given.
        peak, most: as in ``interleaved``.

    Returns:
        The case, ``differs``, and for ``train`` (``train_on_batch`` with Adam) and ``predict`` (``predict_on_batch``)
        the figures of ``stock`` and ``ours``, and ``ratio`` and ``best_ratio`` of their times.

    Raises:
        BackendError: there is no native library.
        ThroughtimeError: results that differ, or a layer that would not run on the kernel.
    """
    native.load()
    stock, ours = (network(case, classes[case.cell], steps=case.steps) for classes in (STOCK, OURS))
    layer = next(layer for layer in ours.layers if isinstance(layer, OURS[case.cell]))
    reason = why_not_fused(layer)
    if reason is not None:
        raise ThroughtimeError(f"nothing to compare, the layer does not run on the native kernel: {reason}")
    row: dict[str, Any] = case.named() | {"differs": equal_models(case, ours, stock)}
    feed = [case.x, case.mask]
    for model in (stock, ours):
        compiled(model)
    asked: dict[str, tuple[int, Callable[[keras.Model], object]]] = {
        "train": (TRAINING, lambda model: model.train_on_batch(feed, case.target)),
        "predict": (FORWARD, lambda model: model.predict_on_batch(feed)),
    }
    for name, (passes, call) in asked.items():
        calls = {"stock": partial(call, stock), "ours": partial(call, ours)}
        timings = interleaved(calls, repeat=repeat, peak=peak, most=most)
        figures = {which: one.figures(case.flops(passes)) for which, one in timings.items()}
        row[name] = figures | ratios(figures["stock"], figures["ours"])
    return row


def ratios(theirs: Mapping[str, float], ours: Mapping[str, float]) -> dict[str, float]:
    """Of times: how many times as fast ours is, by the medians and by the best.

    Example:
        >>> ratios({"ms": 6.0, "best_ms": 4.0}, {"ms": 2.0, "best_ms": 2.0})
        {'ratio': 3.0, 'best_ratio': 2.0}
    """
    return {"ratio": theirs["ms"] / ours["ms"], "best_ratio": theirs["best_ms"] / ours["best_ms"]}


def bench(
    cells: Sequence[str], sizes: Sequence[tuple[int, int, int]], *, repeat: int, done: Callable[[], object]
) -> dict[str, Any]:
    """Our layers beside stock Keras's on the current backend.

    Args:
        cells: of ``CELLS``.
        sizes: (H, F, B) of each case.
        repeat: rounds of each measurement.
        done: called after each case.

    Returns:
        ``machine``, and ``rows`` of ``compare``: JSON values.

    Raises:
        ArgumentError: a cell that there is not.
        BackendError: there is no native library.
        ThroughtimeError: results that differ.
    """
    result: dict[str, Any] = {"machine": machine(), "rows": []}
    for case in [Case.of_size(cell, size) for cell in cells for size in sizes]:
        # Two measurements of at most so many seconds a case: the command answers in a minute.
        result["rows"].append(compare(case, repeat=repeat, peak=peak_of(), most=2.0))
        done()
    return result


def table(result: Mapping[str, Any]) -> Table:
    """What ``bench`` found, medians, for a terminal."""
    about = result["machine"]
    note = f"; {about['threads_note']}" if about["threads_note"] else ""
    busy = {
        side: statistics.mean(row[way][side]["cores"] for row in result["rows"] for way in ("train", "predict"))
        for side in ("stock", "ours")
    }
    shown = Table(
        box=SIMPLE,
        pad_edge=False,
        title=f"our layers beside stock Keras {about['keras']} on {about['backend']}",
        caption=f"{about['isa']}, FMA peak {about['peak_gflops']:.0f} GFLOP/s, load {about['load']}; medians; share: "
        f"of the peak, by operations of valid steps\nours: {counted(about['threads'], 'thread')} "
        f"({about['threads_from']}), {busy['ours']:.1f} cores busy on average\n"
        f"stock: {busy['stock']:.1f} cores busy on average{note}",
        caption_justify="left",
    )
    for name in ("layer", "H", "F", "B", "steps", "", "stock", "ours", "share", "faster"):
        shown.add_column(name, justify="left" if name in ("layer", "") else "right", no_wrap=True)
    for row in result["rows"]:
        for way in ("train", "predict"):
            stock, ours = row[way]["stock"], row[way]["ours"]
            sizes = (
                [row["cell"], *(str(row[name]) for name in ("H", "F", "B", "tokens"))] if way == "train" else [""] * 5
            )
            shown.add_row(*sizes, way, f"{stock['ms']:.1f} ms", f"{ours['ms']:.1f} ms", f"{ours['share']:.0%}",
                          f"{row[way]['ratio']:.1f} x")  # fmt: skip
    return shown
