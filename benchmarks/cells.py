"""What MinGRU, MinLSTM and LRU can and cannot learn, and how long a training step takes, beside LSTM; equal first.

    KERAS_BACKEND=jax python benchmarks/cells.py [--parts equal,parity,memory,time] [--seeds 1] [--json FILE]
                                                 [--parity-steps 1500] [--memory-steps 400] [--lengths 100,1000,10000]

equal: each layer against Keras's own loop around the same cell and weights, outputs and one update, at 257 steps.

parity: 40 random bits, and at each step whether so many ones were odd: one layer of 64 units, a Dense(64, relu) and a
Dense(1), Adam at 3e-3, so many updates of 64 fresh sequences for every cell. The figure is the share of 2,048 other
sequences whose parity after 40 bits is right: 50% is guessing.

memory: one of 4 classes is shown at the first of 1,000 steps, noise at all the others, and asked for after the last:
one layer of 64 units, Adam at 3e-3, so many updates of 32 fresh sequences. 25% is guessing.

time: a step of training (forward, backward, Adam) on 32 sequences of 8 features, 64 units, the loss at the last step:
our LSTM, the three, and Keras's loop around MinGRU's cell. Medians after the first step, in which things are compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import throughtime as tt
from layers import names
from machine import machine_line

UNITS, BITS, LONG = 64, 40, 1000
PARTS = ("equal", "parity", "memory", "time")

Make = Callable[..., keras.layers.RNN]


def looped(layer: keras.layers.RNN, **options: Any) -> keras.layers.RNN:
    """Keras's loop around a layer's cell."""
    return keras.layers.RNN(layer.cell, **options)


CELLS: dict[str, Make] = {
    "LSTM": lambda seed, **options: tt.LSTM(UNITS, seed=seed, **options),
    "MinGRU": lambda seed, **options: tt.MinGRU(UNITS, seed=seed, **options),
    "MinLSTM": lambda seed, **options: tt.MinLSTM(UNITS, seed=seed, **options),
    "LRU": lambda seed, **options: tt.LRU(UNITS, seed=seed, **options),
}
REMEMBERING: dict[str, Make] = CELLS | {
    "MinGRU, chrono": lambda seed, **options: tt.MinGRU(UNITS, chrono=LONG, seed=seed, **options),
    "MinLSTM, chrono": lambda seed, **options: tt.MinLSTM(UNITS, chrono=LONG, seed=seed, **options),
}


def equal(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The largest difference of outputs, and of weights after one step of SGD; refused where it is no rounding."""
    rows = []
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(4, 257, 3)).astype("float32"), rng.random((4, 257)) < 0.8
    y = rng.normal(size=(4, 257, UNITS)).astype("float32")
    for name in ("MinGRU", "MinLSTM", "LRU"):
        pair = []
        for form in ("scan", "loop"):
            layer = CELLS[name](1, return_sequences=True)
            layer = layer if form == "scan" else looped(layer, return_sequences=True)
            inputs = keras.Input((257, 3)), keras.Input((257,), dtype="bool")
            model = keras.Model(inputs, layer(inputs[0], mask=inputs[1]))
            model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
            pair.append(model)
        pair[1].set_weights(pair[0].get_weights())
        answers = [model.predict([x, mask], verbose=0) for model in pair]
        for model in pair:
            model.train_on_batch([x, mask], y)
        trained = zip(*(model.get_weights() for model in pair), strict=True)
        row = {"cell": name, "outputs": float(np.abs(answers[0] - answers[1]).max()),
               "weights": max(float(np.abs(one - other).max()) for one, other in trained)}  # fmt: skip
        if max(row["outputs"], row["weights"]) > 1e-4:
            raise SystemExit(f"the scan is not its sequential form: {row}")
        rows.append(row)
    return rows


def parity(given: argparse.Namespace) -> list[dict[str, Any]]:
    def batch(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        bits = rng.integers(0, 2, (count, BITS, 1))
        return bits.astype("float32"), (bits.cumsum(1) % 2).astype("float32")

    def score(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
        return float(((model.predict(x, verbose=0, batch_size=256)[:, -1] > 0.5) == y[:, -1]).mean())

    def head() -> list[keras.layers.Layer]:
        return [keras.layers.Dense(UNITS, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]

    return learned(
        CELLS, True, (BITS, 1), head, "binary_crossentropy", batch, score, given.parity_steps, 64, given.seeds
    )


def memory(given: argparse.Namespace) -> list[dict[str, Any]]:
    def batch(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 4, count)
        x = np.zeros((count, LONG, 6), "float32")
        x[np.arange(count), 0, y] = 1
        x[:, :, 4:] = rng.normal(size=(count, LONG, 2))
        return x, y

    def score(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
        return float((model.predict(x, verbose=0, batch_size=64).argmax(-1) == y).mean())

    def head() -> list[keras.layers.Layer]:
        return [keras.layers.Dense(4, activation="softmax")]

    loss = "sparse_categorical_crossentropy"
    return learned(REMEMBERING, False, (LONG, 6), head, loss, batch, score, given.memory_steps, 32, given.seeds)


def learned(
    cells: dict[str, Make],
    sequences: bool,
    shape: tuple[int, int],
    head: Callable[[], list[keras.layers.Layer]],
    loss: str,
    batch: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]],
    score: Callable[[keras.Model, np.ndarray, np.ndarray], float],
    updates: int,
    size: int,
    seeds: int,
) -> list[dict[str, Any]]:
    """A row for each cell: the same updates on the same batches, and the score on sequences of another seed."""
    rows = []
    test = batch(np.random.default_rng(10_000), 2048 if shape[0] < LONG else 512)
    for name, make in cells.items():
        scores, begin = [], time.perf_counter()
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            model = keras.Sequential([keras.Input(shape), make(seed, return_sequences=sequences), *head()])
            model.compile(keras.optimizers.Adam(3e-3, global_clipnorm=1.0), loss)
            rng = np.random.default_rng(seed)
            for _ in range(updates):
                model.train_on_batch(*batch(rng, size))
            scores.append(score(model, *test))
        row = {"cell": name, "parameters": model.count_params(), "updates": updates, "scores": scores,
               "seconds": (time.perf_counter() - begin) / seeds}  # fmt: skip
        print(f"  {name:16} {' '.join(f'{one:.1%}' for one in scores)}  {row['seconds']:.0f} s", flush=True)
        rows.append(row)
    return rows


def timed(given: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    rng = np.random.default_rng(0)
    for steps in given.lengths:
        x, y = rng.normal(size=(32, steps, 8)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")
        found: dict[str, float] = {}
        for name in (*CELLS, *(f"{cell} by a scan" for cell in CELLS if cell != "LSTM"), "MinGRU in Keras's loop"):
            layer = CELLS[name.split(" ")[0]](0)
            if name.endswith("scan"):
                tt.to_keras(layer)
            layer = looped(layer) if name.endswith("loop") else layer
            model = keras.Sequential([keras.Input((steps, 8)), layer, keras.layers.Dense(1)])
            model.compile("adam", "mse")
            seconds: list[float] = []
            begin = time.perf_counter()
            while len(seconds) < 3 or (len(seconds) < 12 and time.perf_counter() - begin < 20):
                start = time.perf_counter()
                model.train_on_batch(x, y)
                seconds.append(time.perf_counter() - start)
            found[name] = statistics.median(seconds[1:])
        for name, one in found.items():
            rows.append({"T": steps, "cell": name, "milliseconds": 1e3 * one, "by_lstm": one / found["LSTM"]})
            print(f"  T={steps:<6} {name:24} {1e3 * one:9.1f} ms  {one / found['LSTM']:6.2f} of LSTM", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=names(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--parity-steps", type=int, default=1500, help="updates")
    parser.add_argument("--memory-steps", type=int, default=400, help="updates")
    parser.add_argument(
        "--lengths", type=lambda text: [int(one) for one in text.split(",")], default=[100, 1000, 10000]
    )
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args()
    print(machine_line(), "load", *(f"{one:.2f}" for one in os.getloadavg()), flush=True)
    found: dict[str, Any] = {"machine": machine_line(), "load": os.getloadavg()}
    parts = dict(zip(PARTS, (equal, parity, memory, timed), strict=True))
    for name in dict.fromkeys(["equal", *given.parts]):  # never a figure before equality
        print(name, flush=True)
        found[name] = parts[name](given)
        if name == "equal":
            for row in found[name]:
                print(f"  {row['cell']:8} outputs {row['outputs']:.1e}, weights after a step {row['weights']:.1e}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
