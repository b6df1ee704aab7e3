"""Seconds that ``tt.check`` takes on a model for JapaneseVowels and on one of 256 units, by probes and whole.

    KERAS_BACKEND=jax python benchmarks/check.py [--rounds 3]

The first call in a process compiles; so every round is a process of its own. Beside it the training steps a minute that
the model makes on the native kernel, because "under 30 seconds" is said of one that makes 1,000.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

CASES = ("vowels", "256 units")


def child(name: str) -> None:
    import keras

    import throughtime as tt

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    if name == "vowels":
        from aeon.datasets import load_japanese_vowels

        series, labels = load_japanese_vowels(split="train")
        x = np.zeros((len(series), max(one.shape[1] for one in series), 12), np.float32)
        for row, one in zip(x, series, strict=True):
            row[: one.shape[1]] = one.T
        y = labels.astype(int) - 1
        inner = [keras.layers.Masking(), keras.layers.LSTM(64), keras.layers.Dense(9, activation="softmax")]
        loss = "sparse_categorical_crossentropy"
    else:
        x = rng.normal(size=(1000, 100, 16)).astype(np.float32)
        y = x[:, -20:, 0].mean(axis=1)
        inner, loss = [keras.layers.LSTM(256), keras.layers.Dense(1)], "mse"
    model = keras.Sequential([keras.Input((None, x.shape[2])), *inner])
    model.compile("adam", loss)
    found = {}
    for said, train in (("probes", False), ("whole", True)):
        began = time.perf_counter()
        diagnosis = tt.check(model, x, y, train=train)
        found[said] = time.perf_counter() - began
    found["findings"] = [one.code for one in diagnosis]
    tt.accelerate(model)
    model.fit(x[:64], y[:64], verbose=0)
    began = time.perf_counter()
    model.fit(x, y, epochs=3, verbose=0)
    found["rate"] = 3 * -(-len(x) // 32) / (time.perf_counter() - began) * 60
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return
    from machine import machine_line

    print(machine_line(), flush=True)
    print("model      probes alone (s)  with training (s)  training steps a minute  findings")
    for name in CASES:
        command = [sys.executable, __file__, "--child", name]
        rows = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
                for _ in range(given.rounds)]  # fmt: skip
        probes, whole, rate = (float(np.median([row[key] for row in rows])) for key in ("probes", "whole", "rate"))
        findings = ", ".join(rows[0]["findings"]) or "none"
        print(f"{name:10} {probes:16.1f} {whole:18.1f} {rate:24,.0f}  {findings}", flush=True)


if __name__ == "__main__":
    main()
