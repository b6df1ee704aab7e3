"""One training step by everybody, for benchmarks/layers.py: what one backend's process measures of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from throughtime.bench import (
    GRADIENT_TOLERANCE,
    OURS,
    OUTPUT_TOLERANCE,
    STOCK,
    TRAINING,
    Case,
    compiled,
    equal_models,
    gradients_of,
    interleaved,
    lengths_of,
    network,
    peak_of,
    refuse_different,
)

Calls = dict[str, Callable[[], object]]

POOL = 8  # batches whose sequences a loader sorts by length at once


def pools(case: Case) -> tuple[list[Case], list[Case]]:
    """Batches of sequences as they come, the first being the case; and of the same sequences, sorted by length."""
    B = case.batch
    lengths = lengths_of(POOL * B).tolist()

    def batches(found: list[int]) -> list[Case]:
        return [Case(case.cell, case.units, case.features, tuple(found[i : i + B])) for i in range(0, len(found), B)]

    return batches(lengths), batches(sorted(lengths))


def compare(case: Case, backend: str, *, repeat: int) -> dict[str, Any]:
    """Figures of ours and of the peers that this backend has; equal first.

    Returns:
        The case, and ``steps`` (a training step on the batch), ``pool`` (a step on each of ``POOL`` batches, which are
        sorted by length for the peers and as they come for ours) and, on PyTorch, ``no_optimizer`` (forward and
        backward with the gradient of x): figures by name.
    """
    ours, stock = (network(case, classes[case.cell]) for classes in (OURS, STOCK))
    equal_models(case, ours, stock)
    random, bucketed = pools(case)
    steps: Calls = {}
    pool: Calls = {}
    bare: Calls = {}
    if backend == "torch":
        add_torch(case, ours, bucketed, steps, pool, bare)
    steps |= {"ours": keras_steps(ours, [case]), "Keras": keras_steps(stock, [case])}
    pool |= {"ours": keras_steps(ours, random)}
    if backend != "torch":  # there Keras's loop is several times slower than nn.LSTM padded, sorted or not
        pool |= {"Keras": keras_steps(stock, bucketed)}
    for model in (ours, stock):
        compiled(model)
    row: dict[str, Any] = case.named() | {"backend": backend}
    flops = case.flops(TRAINING)
    pool_flops = sum(one.flops(TRAINING) for one in random)
    for part, calls, work in (("steps", steps, flops), ("pool", pool, pool_flops), ("no_optimizer", bare, flops)):
        if calls:
            timings = interleaved(calls, repeat=repeat, peak=peak_of())
            row[part] = {which: one.figures(work) for which, one in timings.items()}
    return row


def keras_steps(model: keras.Model, cases: list[Case]) -> Callable[[], None]:
    """A training step on each batch, padded to its own longest sequence."""

    def call() -> None:
        for case in cases:
            model.train_on_batch([case.x, case.mask], case.target)

    return call


def add_torch(case: Case, ours: keras.Model, bucketed: list[Case], steps: Calls, pool: Calls, bare: Calls) -> None:
    """PyTorch's own layers, proved equal to ours."""
    from layers_torch import Peer, op_gradients

    expected, gradients = ours.predict_on_batch([case.x, case.mask]), gradients_of(ours, case)
    for name, packed in (("nn packed", True), ("nn padded", False)):
        peer = Peer(case, packed=packed)
        refuse_different(f"outputs of {name} and ours", [peer.predictions()], [expected], OUTPUT_TOLERANCE)
        refuse_different(f"gradients of {name} and ours", peer.found(case.cell), gradients, GRADIENT_TOLERANCE)
        steps[name] = peer.steps
        bare[name] = Peer(case, packed=packed, x_gradient=True).gradients
    bare["ours"] = op_gradients(case)
    pool["nn padded"] = Peer(*bucketed, packed=False).steps
