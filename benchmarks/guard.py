"""``Guard``: what a training becomes that ends in NaN without it, by the quantile that gradients are clipped to,
and what it costs a step.

    KERAS_BACKEND=jax python benchmarks/guard.py [--steps 400] [--rounds 5]

The adding problem over 100 steps, LSTM of 64 units, plain gradient descent at rates up to 10; loss on other sequences
(the best constant has 0.167), and the steps that were undone. Then milliseconds a step of ``fit`` with Adam, with and
without Guard in turn, LSTM of 64 and 256 units, B=64, T=100; the median over rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import throughtime as tt
from machine import machine_line
from quality_synthetic import adding

BATCH, STEPS = 64, 100


def model_of(units: int, optimizer: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((STEPS, 2)), tt.LSTM(units), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def divergence(steps: int) -> None:
    x, y = adding(64 * 50, STEPS, np.random.default_rng(0))
    others = adding(1000, STEPS, np.random.default_rng(1))
    quantiles: tuple[float | None, ...] = (None, 0.5, 0.25, 0.1)
    print(f"loss after {steps} steps of plain gradient descent; in brackets: steps undone")
    print("rate   without Guard  " + "  ".join(f"{f'quantile {q}':>16}" for q in quantiles))
    for rate in (0.1, 0.3, 1.0, 3.0, 10.0):
        shown = []
        for quantile in ("without", *quantiles):
            model = model_of(64, keras.optimizers.SGD(rate))
            guard = None if quantile == "without" else tt.Guard(quantile=quantile, patience=10_000, verbose=0)
            model.fit(x, y, batch_size=BATCH, epochs=max(1, steps // 50), verbose=0,
                      callbacks=[] if guard is None else [guard])  # fmt: skip
            loss = float(model.evaluate(*others, verbose=0))
            shown.append(f"{loss:.4f}" + (f" ({len(guard.events)})" if guard is not None else ""))
        print(f"{rate:<6} {shown[0]:>13}  " + "  ".join(f"{one:>16}" for one in shown[1:]), flush=True)


def cost(rounds: int) -> None:
    print("\nmilliseconds a step of fit  without Guard  with Guard  ratio")
    for units in (64, 256):
        x, y = adding(BATCH * 50, STEPS, np.random.default_rng(0))
        models = [model_of(units, "adam"), model_of(units, "adam")]
        guards: list[list[Any]] = [[], [tt.Guard(verbose=0)]]
        taken: list[list[float]] = [[], []]
        for turn in range(rounds + 1):
            for model, guard, times in zip(models, guards, taken, strict=True):
                began = time.perf_counter()
                model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=guard)
                if turn:  # the first one compiles
                    times.append((time.perf_counter() - began) / 50)
        without, guarded = (1e3 * float(np.median(times)) for times in taken)
        print(f"LSTM {units:<22} {without:13.2f} {guarded:11.2f} {guarded / without:6.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(machine_line(), flush=True)
    divergence(given.steps)
    cost(given.rounds)


if __name__ == "__main__":
    main()
