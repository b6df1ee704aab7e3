"""What GradientMonitor costs in ``fit``: our layers with it and without, and stock ones with a probe; equal first.

    python benchmarks/monitor.py [--cells lstm,gru,rnn] [--units 64,128,256,512] [--backends jax,torch,tensorflow]
                                 [--layers ours,stock] [--rounds 7] [--seconds 2] [--json FILE]

Each backend runs in a process of its own. A round trains a model with the monitor and one without, in turn, on the same
batch of ``throughtime bench``'s grid (H, F, B; lengths log-normal around 80 steps), Adam and mean squared error. The
first epoch of each training, in which things are compiled, is not timed; later epochs are, ``--seconds`` of them.
Before that the weights of both are compared bit for bit. Medians over rounds; a ratio of 1.02 is an overhead of 2%.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from layers import BACKENDS, CELLS, names, say
from machine import processor

LAYERS = ("ours", "stock")
UNITS = ("64", "128", "256", "512")
COLUMNS = ("backend", "layers", "cell", "H", "without", "with", "ratio", "least", "most", "readings")


def compare(cell: str, size: tuple[int, int, int], layers: str, given: argparse.Namespace) -> dict[str, Any]:
    """One case of one backend: milliseconds a step with and without, their ratio in each round, readings a second."""
    import keras
    import numpy as np

    import throughtime as tt
    from throughtime import bench

    class Same(keras.utils.PyDataset):
        """The batch of a case, so many times."""

        def __init__(self, case: bench.Case, count: int) -> None:
            super().__init__()
            self.case, self.count = case, count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, place: int) -> Any:
            return (self.case.x, self.case.mask), self.case.target

    class Clock(keras.callbacks.Callback):
        """Seconds of each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.perf_counter() - self.start)

    case = bench.Case.of_size(cell, size)
    classes = bench.OURS if layers == "ours" else bench.STOCK
    probe = None if layers == "ours" else ([case.x, case.mask], case.target)
    models = [bench.compiled(bench.network(case, classes[cell], steps=case.steps)) for _ in range(2)]
    monitor = tt.GradientMonitor(probe=probe)

    def fit(model: keras.Model, seen: bool, steps: int, epochs: int) -> Clock:
        clock = Clock()
        model.fit(Same(case, steps), epochs=epochs, shuffle=False, verbose=0, callbacks=[clock, monitor][: 1 + seen])
        return clock

    clocks = [fit(model, bool(seen), 3, 2) for seen, model in enumerate(models)]
    weights = [model.get_weights() for model in models]
    bench.refuse_different(f"with and without the monitor, the weights of {case}", *weights, 0.0)
    steps = max(2, round(given.seconds / 2 / (clocks[0].seconds[-1] / 3)))
    found: tuple[list[float], list[float]] = [], []
    readings = []
    for number in range(given.rounds):
        for seen in (number % 2, 1 - number % 2):
            before = sum(len(one.steps) for one in monitor.history.values())
            clock = fit(models[seen], bool(seen), steps, 3)
            found[seen].append(sum(clock.seconds[1:]) / (2 * steps) * 1e3)
            if seen:
                readings.append(sum(len(one.steps) for one in monitor.history.values()) - before)
    ratios = [with_it / without for without, with_it in zip(*found, strict=True)]
    return case.named() | {
        "layers": layers, "without": statistics.median(found[0]), "with": statistics.median(found[1]),
        "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
        "readings": float(np.median(readings)), "steps": 2 * steps,
    }  # fmt: skip


def work(backend: str, given: argparse.Namespace) -> None:
    from throughtime import bench

    with given.json.open("w", buffering=1) as file:
        print(json.dumps({"machine": bench.machine()}), file=file)
        for layers in given.layers:
            for cell in given.cells:
                for size in bench.sizes_of(given.units):
                    row = {"backend": backend} | compare(cell, size, layers, given)
                    print(json.dumps(row), file=file)
                    say("  ".join(shown(row)))


def shown(row: dict[str, Any]) -> list[str]:
    texts = {"without": "{:.2f} ms", "with": "{:.2f} ms", "ratio": "{:.3f}", "least": "{:.3f}", "most": "{:.3f}",
             "readings": "{:g}"}  # fmt: skip
    return [texts.get(column, "{}").format(row[column]) for column in COLUMNS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=names(CELLS), default=list(CELLS))
    parser.add_argument("--units", type=names(UNITS), default=list(UNITS))
    parser.add_argument("--layers", type=names(LAYERS), default=list(LAYERS))
    parser.add_argument("--backends", type=names(BACKENDS), default=[name for name in BACKENDS if find_spec(name)])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of the part of a training that is timed")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        if os.environ["KERAS_BACKEND"] != "tensorflow":
            sys.modules["tensorflow"] = None  # type: ignore[assignment]
        work(given.worker, given)
        return
    found: dict[str, Any] = {"processor": processor(), "load": os.getloadavg(), "machines": {}, "rows": []}
    failed = []
    for name in given.backends:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "found.jsonl"
            options = {"cells": given.cells, "units": given.units, "layers": given.layers}
            command = [sys.executable, __file__, "--worker", name, "--json", str(path)]
            command += ["--rounds", str(given.rounds), "--seconds", str(given.seconds)]
            command += [text for option, chosen in options.items() for text in (f"--{option}", ",".join(chosen))]
            quiet = {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
            if subprocess.run(command, env=os.environ | quiet).returncode:
                failed.append(name)
            rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for row in rows:
            if "machine" in row:
                found["machines"][name] = row["machine"]
            else:
                found["rows"].append(row)
    table = [list(COLUMNS), *(shown(row) for row in found["rows"])]
    widths = [max(len(row[place]) for row in table) for place in range(len(COLUMNS))]
    print(found["processor"], "load", *(f"{one:.2f}" for one in found["load"]))
    for row in table:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
