"""One training step by everybody, for benchmarks/layers.py: what one backend's process measures of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

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
    network,
    peak_of,
    refuse_different,
)

GROUPS = (2, 4, 8)


def least_padding(lengths: np.ndarray, groups: int) -> list[np.ndarray]:
    """Rows of so many sub-batches, sorted by length and cut where the padded steps of all together are fewest.

    Exact, by dynamic programming over the places of the cuts.
    """
    rows = np.argsort(lengths, kind="stable")
    sorted_ = lengths[rows]
    B = len(rows)
    # cost[n] of the n shortest in the groups so far; a group of sorted rows i..n-1 costs (n - i) * its longest.
    cost = np.array([0.0, *[np.inf] * B])
    cuts = []
    for _ in range(groups):
        choices = np.full((B + 1, B + 1), np.inf)
        for n in range(1, B + 1):
            i = np.arange(n)
            choices[n, :n] = cost[:n] + (n - i) * sorted_[n - 1]
        cuts.append(choices.argmin(1))
        cost = choices.min(1)
    found, end = [], B
    for cut in reversed(cuts):
        found.append(rows[cut[end] : end])
        end = cut[end]
    return found[::-1]


def equal_sizes(lengths: np.ndarray, groups: int) -> list[np.ndarray]:
    return np.array_split(np.argsort(lengths, kind="stable"), groups)


def compare(case: Case, backend: str, *, repeat: int) -> dict[str, Any]:
    """Figures of ours and of the peers that this backend has; equal first.

    Returns:
        The case, and ``steps`` (a training step on the batch as it came), ``buckets`` (the peers' time over all
        sub-batches) and, on PyTorch, ``no_optimizer`` (forward and backward with the gradient of x): figures by name.
    """
    ours, stock = (network(case, classes[case.cell], steps=case.steps) for classes in (OURS, STOCK))
    equal_models(case, ours, stock)
    feed = [case.x, case.mask]
    steps: dict[str, Callable[[], object]] = {
        "ours": partial(ours.train_on_batch, feed, case.target),
        "Keras": partial(stock.train_on_batch, feed, case.target),
    }
    lengths = np.array(case.lengths)
    buckets: dict[str, Callable[[], object]] = {}
    if backend != "torch":  # there Keras's loop is several times slower than nn.LSTM padded, with buckets and without
        cuts = {groups: least_padding(lengths, groups) for groups in GROUPS}
        buckets = {f"Keras, {groups} of least padding": keras_buckets(case, cut) for groups, cut in cuts.items()}
    bare: dict[str, Callable[[], object]] = {}
    if backend == "torch":
        add_torch(case, ours, steps, buckets, bare)
    for model in (ours, stock):
        compiled(model)
    row: dict[str, Any] = case.named() | {"backend": backend}
    parts = (("steps", steps), ("buckets", {"ours": steps["ours"], **buckets}), ("no_optimizer", bare))
    for part, calls in parts:
        if calls:
            timings = interleaved(calls, repeat=repeat, peak=peak_of())
            row[part] = {which: one.figures(case.flops(TRAINING)) for which, one in timings.items()}
    return row


def keras_buckets(case: Case, groups: list[np.ndarray]) -> Callable[[], object]:
    """A step of stock Keras on each sub-batch: what fit does with buckets."""
    model = compiled(network(case, STOCK[case.cell]))
    batches = []
    for rows in groups:
        longest = max(case.lengths[row] for row in rows)
        batches.append(([case.x[rows, :longest], case.mask[rows, :longest]], case.target[rows]))

    def call() -> None:
        for feed, target in batches:
            model.train_on_batch(feed, target)

    return call


def add_torch(
    case: Case, ours: keras.Model, steps: dict[str, Any], buckets: dict[str, Any], bare: dict[str, Any]
) -> None:
    """PyTorch's own layers, proved equal to ours."""
    from layers_torch import Peer, op_gradients

    expected, gradients = ours.predict_on_batch([case.x, case.mask]), gradients_of(ours, case)
    for name, packed in (("nn packed", True), ("nn padded", False)):
        peer = Peer(case, packed=packed)
        refuse_different(f"outputs of {name} and ours", [peer.predictions()], [expected], OUTPUT_TOLERANCE)
        refuse_different(f"gradients of {name} and ours", peer.found(case.cell), gradients, GRADIENT_TOLERANCE)
        steps[name] = peer.step
        bare[name] = Peer(case, packed=packed, x_gradient=True).gradients
    bare["ours"] = op_gradients(case)
    lengths = np.array(case.lengths)
    for groups in GROUPS:
        for how, cut in (("least padding", least_padding), ("equal sizes", equal_sizes)):
            peer = Peer(case, packed=False, groups=cut(lengths, groups))
            refuse_different("gradients of buckets and ours", peer.found(case.cell), gradients, GRADIENT_TOLERANCE)
            buckets[f"nn padded, {groups} of {how}"] = peer.step
