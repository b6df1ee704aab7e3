"""Our recurrent layers beside stock Keras on every backend and PyTorch's own layers: equal first, then timed.

    python benchmarks/layers.py [--parts kernel,layers,peers,scaling] [--cells lstm,gru,rnn] [--backends jax,torch]
                                [--repeat 7] [--quick] [--json FILE]

Each backend runs in a process of its own, so that no framework's threads disturb another's. Nothing is timed whose
results differ: kernels from PyTorch's layer in float64, our Keras layers from stock ones and from nn.LSTM and nn.GRU.
The grid is (H, F, B), its lengths log-normal around 80 steps, 5 to 400, padded to the longest.

- kernel: by address, outputs allocated beforehand, so that page faults of fresh NumPy arrays are not measured.
- layers: ``train_on_batch`` (Adam, mean squared error) and ``predict_on_batch`` of a small model.
- peers: the same training step by nn.LSTM, nn.GRU and nn.RNN, packed and padded, and by Keras; then steps on eight
  batches, whose sequences are sorted by length for the peers and stay as they came for ours.
- scaling: one axis at a time.

The closing table judges medians and shows the best round beside them. The JSON file is written after each process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import layers_summary
from machine import processor

BACKENDS = ("jax", "torch", "tensorflow")
PARTS = ("kernel", "layers", "peers", "scaling")
CELLS = ("lstm", "gru", "rnn")


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:4.1f}  {line}", file=sys.stderr, flush=True)


def names(accepted: Sequence[str]) -> Any:
    """A parser of names with commas."""

    def parse(given: str) -> list[str]:
        wrong = [name for name in given.split(",") if name not in accepted]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: one of {', '.join(accepted)} is accepted")
        return given.split(",")

    return parse


# One process --------------------------------------------------------------------------------------------------------


def work(name: str, given: argparse.Namespace, done: Callable[[str, Any], None]) -> None:
    """What the process of one backend, or that of the kernels, measures: a part's name and a row or all of it."""
    from throughtime import bench

    sizes = bench.GRID[:2] if given.quick else bench.GRID
    done("machine", bench.machine())
    if name == "kernel":
        import layers_kernel

        if "kernel" in given.parts:
            layers_kernel.grid(given.cells, sizes, repeat=max(given.repeat, 3), say=say, done=done)
        if "scaling" in given.parts:
            layers_kernel.scaling(repeat=3, say=say, done=done)
        return
    cases = [bench.Case.of_size(cell, size) for cell, size in itertools.product(given.cells, sizes)]
    if "layers" in given.parts:
        for case in cases:
            row = bench.compare(case, repeat=given.repeat, peak=bench.peak_of())
            done("layers", [row | {"backend": name}])
            train, predict = row["train"]["ratio"], row["predict"]["ratio"]
            say(f"{name} {case.cell} H={case.units}: train {train:.1f} x, predict {predict:.1f} x")
    if "peers" in given.parts:
        import layers_peers

        for case in cases:
            row = layers_peers.compare(case, name, repeat=given.repeat)
            done("peers", [row])
            for part in ("steps", "pool"):
                said = ", ".join(f"{which} {one['ms']:.1f} ms" for which, one in row[part].items())
                say(f"{name} {case.cell} H={case.units} {part}: {said}")


def added(found: dict[str, Any], part: str, value: Any) -> None:
    found[part] = found[part] + value if part in found and isinstance(value, list) else value


def call(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """``work`` in a process of its own: what it had measured when it ended."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.jsonl"
        command = [sys.executable, __file__, "--worker", name, "--json", str(path), "--repeat", str(given.repeat),
                   "--parts", ",".join(given.parts), "--cells", ",".join(given.cells)]  # fmt: skip
        # Keras imports TensorFlow, where it is installed, on every backend; the worker leaves it out.
        backend = "torch" if name == "kernel" else name
        quiet = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        ended = subprocess.run([*command, *(["--quick"] if given.quick else [])], env=os.environ | quiet)
        found: dict[str, Any] = {"failed": [name] if ended.returncode else []}
        for line in path.read_text().splitlines() if path.exists() else ():
            added(found, *json.loads(line))
        return found


# All of them --------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=names(PARTS), default=list(PARTS))
    parser.add_argument("--cells", type=names(CELLS), default=list(CELLS))
    parser.add_argument("--backends", type=names(BACKENDS), default=[name for name in BACKENDS if find_spec(name)])
    parser.add_argument("--repeat", type=int, default=7, help="rounds of each measurement")
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes alone")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        if os.environ["KERAS_BACKEND"] != "tensorflow":
            sys.modules["tensorflow"] = None  # type: ignore[assignment]
        with given.json.open("w", buffering=1) as file:
            work(given.worker, given, lambda part, value: print(json.dumps([part, value]), file=file))
        return
    load = os.getloadavg()
    workers = ["kernel"] if {"kernel", "scaling"} & set(given.parts) else []
    if {"layers", "peers"} & set(given.parts):
        workers += given.backends
    found: dict[str, Any] = {"processor": processor(), "load_before": load, "machines": {}}
    for name in workers:
        for part, value in call(name, given).items():
            if part == "machine":
                found["machines"][name] = value
            else:
                added(found, part, value)
        found["load_after"] = os.getloadavg()
        found["reach"] = layers_summary.reach(found)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))
    print(layers_summary.text(found))
    if found["failed"]:
        sys.exit(f"not measured to the end: {', '.join(found['failed'])}")


if __name__ == "__main__":
    main()
