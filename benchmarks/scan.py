"""The scan of layers/scan.py in chunks of 2 to 32 steps, beside ``keras.ops.associative_scan`` and a loop; equal first.

    KERAS_BACKEND=jax python benchmarks/scan.py [--lengths 100,1000,10000] [--rounds 9]

Forward and backward pass of h_t = a_t h_{t-1} + b_t for 32 sequences of 64 units in float32, compiled on JAX and
TensorFlow (without XLA; ``--xla`` for with it), eager on PyTorch. Each is first held against a loop in NumPy's float64,
then all take turns; medians, and ratios to the chunks that are used. ``loop`` is ``keras.ops.scan`` with the same
gradient of our own, ``associative`` differentiated by the framework.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from machine import machine_line
from throughtime.layers import scan as scans

BATCH, UNITS = 32, 64


def chunks(radix: int) -> Callable[[Any, Any], Any]:
    def states(a: Any, b: Any) -> Any:
        before, scans.RADIX = scans.RADIX, radix
        try:
            return scans.scan((a,), (b,), (ops.zeros_like(b[:, 0]),))[0]
        finally:
            scans.RADIX = before

    return states


def associative(a: Any, b: Any) -> Any:
    def together(first: Any, second: Any) -> Any:
        return first[0] * second[0], second[0] * first[1] + second[1]

    return ops.associative_scan(together, (a, b), axis=1)[1]


def loop(a: Any, b: Any) -> Any:
    def stepped(a: Any, b: Any) -> Any:
        def step(h: Any, given: Any) -> Any:
            h = given[0] * h + given[1]
            return h, h

        by_step = ops.swapaxes(a, 0, 1), ops.swapaxes(b, 0, 1)
        return ops.swapaxes(ops.scan(step, ops.zeros_like(b[:, 0]), by_step)[1], 0, 1)

    @ops.custom_gradient
    def differentiable(a: Any, b: Any) -> Any:
        def gradient(*given: Any, upstream: Any = None) -> Any:
            dh = given[0] if upstream is None else upstream
            h = stepped(a, b)
            after = ops.flip(ops.concatenate([a[:, 1:], ops.zeros_like(a[:, :1])], 1), 1)
            db = ops.flip(stepped(after, ops.flip(dh, 1)), 1)
            return db * ops.concatenate([ops.zeros_like(h[:, :1]), h[:, :-1]], 1), db

        return stepped(a, b), gradient

    return differentiable(a, b)


FORMS: dict[str, Callable[[Any, Any], Any]] = {
    **{f"chunks of {radix}": chunks(radix) for radix in (2, 4, 8, 16, 32)}, "associative": associative, "loop": loop,
}  # fmt: skip


def compiled(form: Callable[[Any, Any], Any], a: np.ndarray, b: np.ndarray, w: np.ndarray, xla: bool) -> Any:
    """A function without arguments that gives the gradient of sum(w h) by a and b as NumPy arrays."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        gradient = jax.jit(jax.grad(lambda a, b: (form(a, b) * w).sum(), argnums=(0, 1)))
        given = jax.numpy.asarray(a), jax.numpy.asarray(b)
        return lambda: [np.asarray(one) for one in gradient(*given)]
    if backend == "torch":
        import torch

        tensors, weights = [torch.tensor(one, requires_grad=True) for one in (a, b)], torch.tensor(w)
        return lambda: [one.numpy() for one in torch.autograd.grad((form(*tensors) * weights).sum(), tensors)]
    import tensorflow

    def taped(a: Any, b: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            tape.watch([a, b])
            total = tensorflow.reduce_sum(form(a, b) * w)
        return tape.gradient(total, [a, b])

    traced = tensorflow.function(taped, jit_compile=xla)
    given = tensorflow.constant(a), tensorflow.constant(b)
    return lambda: [one.numpy() for one in traced(*given)]


def by_hand(a: np.ndarray, b: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same gradients by two loops in float64."""
    before, h = np.zeros(b.shape), np.zeros(b[:, 0].shape)
    for t in range(b.shape[1]):
        before[:, t] = h
        h = a[:, t].astype(np.float64) * h + b[:, t]
    db, d = np.zeros(b.shape), np.zeros(b[:, 0].shape)
    for t in reversed(range(b.shape[1])):
        db[:, t] = d = d + w[:, t]
        d = d * a[:, t]
    return db * before, db


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="100,1000,10000")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--xla", action="store_true")
    given = parser.parse_args()
    print(machine_line(), "load", *(f"{one:.2f}" for one in os.getloadavg()), flush=True)
    for steps in map(int, given.lengths.split(",")):
        rng = np.random.default_rng(steps)
        a = rng.uniform(0, 1, (BATCH, steps, UNITS)).astype("float32")
        b, w = (rng.normal(size=a.shape).astype("float32") for _ in range(2))
        expected, calls = by_hand(a, b, w), {}
        for name, form in FORMS.items():
            call = compiled(form, a, b, w, given.xla)
            try:
                found = call()
            except Exception as error:  # XLA on TensorFlow has no associative scan: what it says differs by version
                print(f"  T={steps:<6} {name:14} fails: {type(error).__name__}", flush=True)
                continue
            worst = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
            if worst > 1e-3:
                raise SystemExit(f"{name} is not the recurrence: off by {worst}")
            calls[name] = call
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(given.rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(one) for name, one in times.items()}
        ours = medians[f"chunks of {scans.RADIX}"]
        for name, one in medians.items():
            print(f"  T={steps:<6} {name:14} {1e3 * one:9.2f} ms  {one / ours:5.2f}", flush=True)


if __name__ == "__main__":
    main()
