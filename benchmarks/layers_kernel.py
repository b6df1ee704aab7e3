"""The native kernels by themselves, for benchmarks/layers.py: the grid, telemetry, accuracy, and how they scale.

Outputs are allocated once and written again in each call, through ``forward_at`` and ``backward_at``: a fresh NumPy
array costs page faults that belong to NumPy. The frameworks' allocators do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from layers_torch import results
from throughtime.bench import (
    CELLS,
    FORWARD,
    GRADIENT_TOLERANCE,
    GRID,
    OUTPUT_TOLERANCE,
    TRAINING,
    Case,
    interleaved,
    peak_of,
    refuse_different,
)
from throughtime.kernels import native
from throughtime.kernels.problem import Problem


class Kernel:
    """One case with all its arrays, ready to be called by address."""

    def __init__(self, case: Case, *, threads: int = 0, isa: str = "auto") -> None:
        self.case = case
        self.problem = Problem(
            CELLS[case.cell], case.batch, case.steps, case.features, case.units, threads=threads, isa=isa
        )
        kernel, recurrent_kernel, bias = case.weights[:3]
        inputs: dict[str, np.ndarray] = {
            "x": case.x, "mask": case.mask, "kernel": kernel, "recurrent_kernel": recurrent_kernel,
        }  # fmt: skip
        inputs |= {"bias": bias[0], "recurrent_bias": bias[1]} if case.cell == "gru" else {"bias": bias}
        shapes = self.problem.shapes
        dy = np.random.default_rng(4).normal(size=shapes["y"]).astype(np.float32)
        self.dy = np.where(case.mask[..., None], dy, np.float32(0))
        self.outputs = {"y": np.zeros(shapes["y"], np.float32)}
        wanted = ["x", "kernel", "recurrent_kernel", "bias", *(["recurrent_bias"] if case.cell == "gru" else [])]
        self.gradients = {f"d{name}": np.zeros(shapes[name], np.float32) for name in wanted}
        self.norms = np.zeros(shapes["norms"], np.float32)
        self.alive = inputs
        self.inputs = {name: array.ctypes.data for name, array in inputs.items()}
        self.read = {"dy": self.dy.ctypes.data}
        self.written = {name: array.ctypes.data for name, array in self.outputs.items()}
        self.found = {name: array.ctypes.data for name, array in self.gradients.items()}

    def forward(self) -> None:
        native.forward_at(self.problem, **self.inputs, **self.written)

    def training(self, norms: bool = False) -> None:
        """Forward and backward with the gradient of x."""
        ticket = native.forward_at(self.problem, **self.inputs, **self.written, keep=True)
        address = self.norms.ctypes.data if norms else 0
        native.backward_at(self.problem, **self.inputs, **self.read, **self.found, ticket=ticket, norms=address)

    def results(self) -> dict[str, np.ndarray]:
        self.training()
        return {"y": self.outputs["y"] * self.case.mask[..., None], **self.gradients}


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array.astype(np.float64) ** 2)))


def proved(kernel: Kernel) -> dict[str, Any]:
    """Our errors and those of PyTorch's float32 layer, both against PyTorch's layer in float64.

    Raises:
        ThroughtimeError: ours is too far off; nothing is timed then.
    """
    case = kernel.case
    expected = results(case, kernel.dy, torch.float64)
    theirs = results(case, kernel.dy, torch.float32)
    ours = kernel.results()
    for name, array in expected.items():
        tolerance = OUTPUT_TOLERANCE if name == "y" else GRADIENT_TOLERANCE
        refuse_different(f"{name} of {case.named()} and of PyTorch's in float64", [ours[name]], [array], tolerance)
    errors = {name: (rms(ours[name] - array), rms(theirs[name] - array)) for name, array in expected.items()}
    worst = max(errors, key=lambda name: errors[name][0] / errors[name][1])
    return case.named() | {
        "errors": {name: {"ours": a, "pytorch": b, "ratio": a / b} for name, (a, b) in errors.items()},
        "worst": worst,
        "ratio": errors[worst][0] / errors[worst][1],
    }


def timed(kernel: Kernel, *, repeat: int, threads: int = 0) -> dict[str, Any]:
    """Forward alone, forward and backward; then what norms add to the latter, by themselves."""
    calls: dict[str, Callable[[], object]] = {"forward": kernel.forward, "training": kernel.training}
    timings = interleaved(calls, repeat=repeat, peak=peak_of(threads))
    flops = kernel.case.flops
    row = {name: one.figures(flops(FORWARD if name == "forward" else TRAINING)) for name, one in timings.items()}
    # Telemetry costs less than the machine drifts between rounds: many rounds, and the median of their ratios.
    pair: dict[str, Callable[[], object]] = {"off": kernel.training, "on": partial(kernel.training, norms=True)}
    found = interleaved(pair, repeat=8 * repeat, least=0.01, most=10)
    ratios = [on / off for on, off in zip(found["on"].seconds, found["off"].seconds, strict=True)]
    return kernel.case.named() | row | {
        "telemetry": float(np.median(ratios)) - 1,
        "best_telemetry": min(found["on"].seconds) / min(found["off"].seconds) - 1,
    }  # fmt: skip


Done = Callable[[str, Any], None]  # takes a part's name, and a row of it in a list or all of it


def grid(
    cells: Sequence[str], sizes: Sequence[tuple[int, int, int]], *, repeat: int, say: Callable[[str], None], done: Done
) -> None:
    """Accuracy and times of every case, and of each instruction set."""
    done("isas", list(native.supported()))
    for cell in cells:
        for isa in native.supported():
            proved(Kernel(Case.of_size(cell, GRID[0]), isa=isa))
        for size in sizes:
            kernel = Kernel(Case.of_size(cell, size))
            done("accuracy", [proved(kernel)])
            for threads in (1, 2):
                on = Kernel(kernel.case, threads=threads)
                row = timed(on, repeat=repeat, threads=threads)
                done("kernel", [row | {"threads": threads}])
                say(f"kernel {cell} H={size[0]} threads={threads}: {row['training']['share']:.0%} of the peak")


def scaling(*, repeat: int, say: Callable[[str], None], done: Done) -> None:
    """LSTM, forward and backward, along one axis at a time from T=100, B=32, H=F=128, all steps valid, two threads."""
    axes: dict[str, dict[int, Case]] = {
        "T": {T: Case("lstm", 128, 128, (T,) * 8) for T in (10, 100, 1000, 10_000)},
        "B": {B: Case("lstm", 128, 128, (100,) * B) for B in (1, 4, 16, 64, 256, 1024)},
        "H": {H: Case("lstm", H, H, (100,) * 32) for H in (8, 32, 64, 128, 256, 512, 1024)},
        "valid %": {share: Case("lstm", 128, 128, (200, *[2 * share] * 63)) for share in (10, 25, 50, 75, 100)},
        "threads": dict.fromkeys((1, 2), Case("lstm", 256, 128, (100,) * 64)),
    }
    for axis, cases in axes.items():
        for value, case in cases.items():
            threads = value if axis == "threads" else 0
            kernel = Kernel(case, threads=threads)
            timings = interleaved({"training": kernel.training}, repeat=repeat, peak=peak_of(threads), most=6)
            figures = timings["training"].figures(case.flops(TRAINING))
            row = {"axis": axis, "value": value, "B": case.batch, "T": case.steps} | case.named() | figures
            done("scaling", [row])
            say(f"scaling {axis}={value}: {figures['gflops']:.0f} GFLOP/s, {figures['share']:.0%} of the peak")
    native.trim()
