"""What a training step over a long sequence takes: seconds and peak memory, by length, until each contender fails.

    python benchmarks/memory.py [--steps 1000,10000,100000,1000000] [--only ours] [--limit-gib 12] [--limit-seconds 300]

LSTM (or MinGRU, MinLSTM, LRU; with ``scan`` by a parallel scan in Keras's operations) of 128 units over B=1 sequence
of 8 features, its last output to Dense(1), squared error, one step of gradient descent. Each row is a process of its
own. Peak: the resident memory at its highest less what it was with libraries and input loaded, compiling included.
Seconds: of the second step; of the first, with compiling (*), where the limit did not leave time for a second.

Before that: gradients within a budget equal those without, at T=20,000; and at T=10,000, B=4 what a budget costs, for
shares of what all activations hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, UNITS = 8, 128
SCANNED = ("MinGRU", "MinLSTM", "LRU")
BACKENDS = ("jax", "torch", "tensorflow")
CONTENDERS = (
    *(f"{kind}, {backend}" for backend in BACKENDS for kind in ("ours 64MiB", "ours", "keras")),
    "nn.LSTM", "jax.checkpoint",
    *(f"{cell}{way}, {backend}" for backend in BACKENDS for cell in SCANNED for way in (" 64MiB", "", " scan")),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="1000,10000,100000,1000000", help="lengths, with commas")
    parser.add_argument("--only", default="", help="contenders whose names hold this")
    parser.add_argument("--limit-gib", type=float, default=12.0)
    parser.add_argument("--limit-seconds", type=float, default=300.0)
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], int(given.child[1]))
        return
    from machine import machine_line

    print(machine_line(), flush=True)
    equality()
    price()
    print(f"\n{'':24}{'steps':>10}{'seconds':>10}{'peak MiB':>10}", flush=True)
    rows = []
    for name in CONTENDERS:
        if given.only not in name:
            continue
        for steps in map(int, given.steps.split(",")):
            row = measured(name, steps, given.limit_gib, given.limit_seconds)
            rows.append(row)
            shown = row["failed"] or f"{row['seconds']:9.3f}{'*' if row['first'] else ' '}{row['peak'] / 2**20:9.0f}"
            print(f"{name:24}{steps:10,}{shown}", flush=True)
            if row["failed"]:
                break
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def arrays(batch: int, steps: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"x": (batch, steps, FEATURES), "kernel": (FEATURES, 4 * UNITS), "recurrent_kernel": (UNITS, 4 * UNITS),
              "bias": (4 * UNITS,)}  # fmt: skip
    given = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return given, rng.normal(size=(batch, UNITS)).astype(np.float32)


def passes(steps: int, batch: int, keep: int) -> tuple[list[Any], float]:
    """Gradients of one forward and backward pass by the kernel, and its seconds."""
    from throughtime.kernels import native

    problem = native.Problem("lstm", batch, steps, FEATURES, UNITS, keep_bytes=keep)
    given, dlast = arrays(batch, steps)
    began = time.perf_counter()
    ticket = native.forward(problem, **given, sequences=False, keep=True).ticket
    found = native.backward(problem, **given, ticket=ticket, dlast=dlast, need_dx=False)
    return [one for one in found if one is not None], time.perf_counter() - began


def equality() -> None:
    (whole, _), (within, _) = passes(20_000, 1, 0), passes(20_000, 1, 2**21)
    same = all(np.array_equal(one, other) for one, other in zip(whole, within, strict=True))
    print(f"T=20,000, B=1: gradients within 2 MiB of 59 MiB equal those of everything kept, bit for bit: {same}")
    if not same:
        sys.exit(1)


def price() -> None:
    from throughtime.kernels import native
    from throughtime.kernels.problem import Problem
    from throughtime.kernels.schedule import need

    steps, batch = 10_000, 4
    whole = need(Problem("lstm", batch, steps, FEATURES, UNITS), 1 << 60, shards=1).whole
    shares = (1.0, 0.5, 0.25, 0.1, 0.03, 0.02)
    seconds: dict[float, list[float]] = {share: [] for share in shares}
    for _ in range(9):
        for share in shares:
            seconds[share].append(passes(steps, batch, 0 if share == 1 else int(share * whole))[1])
    print(f"\nT={steps:,}, B={batch}: all activations hold {whole / 2**20:.0f} MiB")
    print("budget   held   computed again   milliseconds (best)   of keeping everything")
    base = np.median(seconds[1.0])
    for share in shares:
        found = need(Problem("lstm", batch, steps, FEATURES, UNITS), int(share * whole), shards=native.threads())
        taken = seconds[share]
        print(f"{share:6.0%} {found.kept / whole:6.1%} {found.recomputed:16.0%} {1e3 * np.median(taken):14.1f} "
              f"({1e3 * min(taken):.1f}) {np.median(taken) / base:23.2f}", flush=True)  # fmt: skip


# Contenders ---------------------------------------------------------------------------------------------------------


def measured(name: str, steps: int, limit_gib: float, limit_seconds: float) -> dict[str, Any]:
    """One contender at one length, watched from outside."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if ", " in name:
        environment["KERAS_BACKEND"] = name.split(", ")[1]
    command = [sys.executable, __file__, "--child", name, str(steps)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began, highest, failed = time.monotonic(), 0, ""
    while process.poll() is None:
        time.sleep(0.05)
        highest = max(highest, resident(process.pid))
        if highest > limit_gib * 2**30:
            failed = f"  failed: more than {limit_gib:g} GiB"
        elif time.monotonic() - began > limit_seconds:
            failed = f"  failed: longer than {limit_seconds:g} s"
        if failed:
            process.kill()
            break
    out, error = process.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    row: dict[str, Any] = {"contender": name, "steps": steps, "failed": ""}
    if not lines:
        reason = error.strip().splitlines()[-1][:90] if error.strip() and not failed else ""
        return row | {"failed": failed or f"  failed: {reason}"}
    return row | lines[-1] | {"first": len(lines) == 1}


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):  # it has ended
        return 0


def child(name: str, steps: int) -> None:
    """Two training steps; a line after each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, steps, FEATURES)).astype(np.float32)
    y = np.ones((1, 1), np.float32)
    step = {"nn.LSTM": torch_step, "jax.checkpoint": checkpoint_step}.get(name, keras_step)(name, x, y)
    before = resident(os.getpid())
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest resident memory
    for _ in range(2):
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
        status = Path("/proc/self/status").read_text().split()
        highest = int(status[status.index("VmHWM:") + 1]) * 1024
        print(json.dumps({"seconds": seconds, "peak": highest - before}), flush=True)


def keras_step(name: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    import keras

    import throughtime as tt

    kind, _, way = name.split(", ")[0].partition(" ")
    memory = "64MiB" if way == "64MiB" else None
    if kind in SCANNED:
        layer = getattr(tt, kind)(UNITS, memory=memory)
        if way == "scan":
            tt.to_keras(layer)
    elif kind == "keras":
        layer = keras.layers.LSTM(UNITS)
    else:
        layer = tt.LSTM(UNITS, memory=memory)
    model = keras.Sequential([keras.Input((x.shape[1], FEATURES)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return lambda: model.train_on_batch(x, y)


def torch_step(name: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    import torch

    lstm, dense = torch.nn.LSTM(FEATURES, UNITS, batch_first=True), torch.nn.Linear(UNITS, 1)
    optimizer = torch.optim.SGD([*lstm.parameters(), *dense.parameters()], 0.01)
    given, wanted = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> float:
        optimizer.zero_grad()
        loss = ((dense(lstm(given)[0][:, -1]) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def checkpoint_step(name: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """``jax.checkpoint`` over scan: a scan over pieces of about the root of T, each a scan that is computed again."""
    import jax
    from jax import numpy as jnp

    weights, _ = arrays(1, 1)
    parameters = {name: jnp.asarray(value) for name, value in weights.items() if name != "x"}
    parameters |= {"dense": jnp.ones((UNITS, 1)) * 0.1}
    steps = x.shape[1]
    piece = next(size for size in range(int(steps**0.5), 0, -1) if steps % size == 0)

    def cell(p: Any, state: Any, token: Any) -> tuple[Any, None]:
        h, c = state
        i, f, g, o = jnp.split(token @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    def loss(p: Any, given: Any) -> Any:
        pieces = jnp.swapaxes(given, 0, 1).reshape(steps // piece, piece, 1, FEATURES)

        @jax.checkpoint
        def over(state: Any, part: Any) -> tuple[Any, None]:
            return jax.lax.scan(lambda s, token: cell(p, s, token), state, part)

        zero = jnp.zeros((1, UNITS))
        (h, _), _ = jax.lax.scan(over, (zero, zero), pieces)
        return ((h @ p["dense"] - y) ** 2).mean()

    update = jax.jit(lambda p, given: jax.tree.map(lambda a, d: a - 0.01 * d, p, jax.grad(loss)(p, given)))
    given = jnp.asarray(x)
    return lambda: jax.block_until_ready(update(parameters, given))


if __name__ == "__main__":
    main()
