"""How often the intervals of gains hold the truth, and how often a network that is no better is said to be better.

Cases are drawn with known gains, as a test part would show them; the intervals are those that reports have.
The constants of ``throughtime.training.intervals`` were chosen on ``--seed 1``; what is printed by default is of
``--seed 2``. Beside each stands a paired percentile bootstrap over the same groups.

    python benchmarks/intervals.py [--seed 2] [--draws 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from scipy.signal import lfilter

from throughtime.training.intervals import (
    Gain,
    accuracy_gain,
    error_gain,
    grouped_accuracy_gain,
    step_groups,
    window_groups,
)

RESAMPLED = 300  # of each bootstrap
# Gives the gain, and network, baseline and groups that it was computed from.
Draw = Callable[[np.random.Generator], tuple[Gain, np.ndarray, np.ndarray, np.ndarray]]


def right_or_wrong(count: int, won: float, lost: float) -> Draw:
    """One label a sequence: the network alone is right on ``won`` of them, the baseline alone on ``lost``."""

    def draw(rng: np.random.Generator) -> tuple[Gain, np.ndarray, np.ndarray, np.ndarray]:
        place = rng.random(count)
        network, baseline = (place < won) | (place >= won + lost), place >= won
        return accuracy_gain(network, baseline), network, baseline, np.arange(count)

    return draw


def labelled_steps(sequences: int, steps: int, won: float, lost: float) -> Draw:
    """A label a step: errors come in runs of ten steps or so, and some sequences are harder than others."""

    def draw(rng: np.random.Generator) -> tuple[Gain, np.ndarray, np.ndarray, np.ndarray]:
        lengths = rng.integers(steps // 2, 2 * steps, sequences)
        owner = np.repeat(np.arange(sequences), lengths)
        run = np.cumsum(rng.random(len(owner)) < 0.1)
        hard = rng.uniform(0.5, 1.5, sequences)[owner]
        place = rng.random(run[-1] + 1)[run]
        network = ~((place >= won * hard) & (place < (won + lost) * hard))
        baseline = ~(place < won * hard)
        groups, unit = step_groups(owner, "sequences")
        return grouped_accuracy_gain(network, baseline, groups, unit), network, baseline, groups

    return draw


def numbers(count: int, ratio: float, kind: str) -> Draw:
    """A number a sequence: errors of both correlate, 0.6; the network's have ``ratio`` times the variance."""

    def draw(rng: np.random.Generator) -> tuple[Gain, np.ndarray, np.ndarray, np.ndarray]:
        if kind == "normal":
            first, second = rng.normal(size=(2, count))
        elif kind == "heavy tails":
            first, second = rng.standard_t(5, size=(2, count))
        else:  # some sequences are several times as hard as others
            first, second = rng.normal(size=(2, count)) * np.exp(rng.normal(0, 0.6, count))
        network = ratio * (0.6 * first + 0.8 * second) ** 2
        groups = np.arange(count)
        return error_gain(network, first**2, groups, "sequences"), network, first**2, groups

    return draw


def windows(steps: int, horizon: int, ratio: float, memory: float, series: int = 1, shared: float = 0.0) -> Draw:
    """Forecasts from every step: errors add up over the horizon, innovations remember, series share shocks."""

    def draw(rng: np.random.Generator) -> tuple[Gain, np.ndarray, np.ndarray, np.ndarray]:
        def innovations() -> np.ndarray:
            own, common = rng.normal(size=(series, steps + horizon + 30)), rng.normal(size=steps + horizon + 30)
            return lfilter([1], [1, -memory], np.sqrt(1 - shared) * own + np.sqrt(shared) * common)[:, 30:]

        def squared(noise: np.ndarray) -> np.ndarray:
            level = np.concatenate([np.zeros((series, 1)), np.cumsum(noise, axis=1)], axis=1)
            return sum((level[:, h : h + steps] - level[:, :steps]) ** 2 for h in range(1, horizon + 1)).reshape(-1)

        first = innovations()
        network, baseline = ratio * squared(0.6 * first + 0.8 * innovations()), squared(first)
        owner, moment = np.repeat(np.arange(series), steps), np.tile(np.arange(steps), series)
        groups, unit = window_groups(owner, owner * (steps + horizon) + moment, moment, horizon)
        return error_gain(network, baseline, groups, unit), network, baseline, groups

    return draw


def cases() -> Iterator[tuple[str, str, float, Draw]]:
    """Kind, name, true gain, draw."""
    for count in (30, 100, 400):
        for won, lost in ((0.05, 0.05), (0.2, 0.2), (0.15, 0.05), (0.4, 0.1)):
            name = f"{count} sequences, won {won:.0%}, lost {lost:.0%}"
            yield "accuracy a sequence", name, won - lost, right_or_wrong(count, won, lost)
    for sequences, steps in ((1, 600), (3, 200), (12, 40), (60, 15)):
        for won, lost in ((0.1, 0.1), (0.15, 0.05)):
            many = "sequences" if sequences > 1 else "sequence"
            name = f"{sequences} {many} of {steps} steps, won {won:.0%}, lost {lost:.0%}"
            yield "accuracy a step", name, won - lost, labelled_steps(sequences, steps, won, lost)
    for kind in ("normal", "heavy tails", "unequal"):
        for count in (10, 30, 100, 400):
            for ratio in (1.0, 0.7):
                yield "numbers", f"{count} sequences, {kind}, ratio {ratio}", 1 - ratio, numbers(count, ratio, kind)
    for steps, horizon in ((60, 3), (200, 12), (500, 24), (1000, 1)):
        for memory in (0.0, 0.5):
            for ratio in (1.0, 0.7):
                name = f"{steps} origins, horizon {horizon}, memory {memory}, ratio {ratio}"
                yield "forecasts", name, 1 - ratio, windows(steps, horizon, ratio, memory)
    for series, steps, shared in ((5, 100, 0.5), (20, 100, 0.5), (40, 2, 0.0)):
        name = f"{series} series of {steps} origins, horizon 6, {shared:.0%} of the shocks shared"
        yield "forecasts", name, 0.0, windows(steps, 6, 1.0, 0.3, series, shared)


def bootstrap(network: np.ndarray, baseline: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple:
    """The ends of the paired percentile interval over groups."""
    _, groups = np.unique(groups, return_inverse=True)
    ours, theirs, rows = (np.bincount(groups, v) for v in (network, baseline, np.ones(len(groups))))
    weights = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLED)
    drawn = (weights @ (ours - theirs)) / (weights @ rows) if network.dtype == bool else (
        1 - (weights @ ours) / (weights @ theirs)
    )  # fmt: skip
    return tuple(np.percentile(drawn, [2.5, 97.5]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--seed", type=int, default=2)
    asked.add_argument("--draws", type=int, default=1000)
    given = asked.parse_args()
    by_kind: dict[str, list[tuple[float, float | None, float, float | None]]] = {}
    print(f"seed {given.seed}, {given.draws} draws a case; 'better' is false where the true gain is 0")
    print(f"{'':72} {'covers':>7} {'better':>7}   bootstrap: {'covers':>7} {'better':>7}")
    for index, (kind, name, truth, draw) in enumerate(cases()):
        rng, own = np.random.default_rng([given.seed, index]), np.random.default_rng([given.seed, index, 1])
        held, better, plainly, plain_better = 0, 0, 0, 0
        for _ in range(given.draws):
            gain, network, baseline, groups = draw(rng)
            held += gain.low <= truth <= gain.high
            better += gain.shown
            low, high = bootstrap(network, baseline, groups, own)
            plainly += low <= truth <= high
            plain_better += low > 0
        shares = [count / given.draws for count in (held, better, plainly, plain_better)]
        by_kind.setdefault(kind, []).append((shares[0], shares[1] if truth == 0 else None, shares[2],
                                             shares[3] if truth == 0 else None))  # fmt: skip
        print(
            f"{kind + ': ' + name:72} {shares[0]:7.3f} {shares[1]:7.3f}              {shares[2]:7.3f} {shares[3]:7.3f}"
        )
    print()
    for kind, rows in by_kind.items():
        covers, wrong, plain, plain_wrong = ([v for v in column if v is not None] for column in zip(*rows, strict=True))
        print(
            f"{kind}: covers {np.mean(covers):.3f} ({min(covers):.3f} to {max(covers):.3f}), falsely better "
            f"{np.mean(wrong):.3f} (at most {max(wrong):.3f}); bootstrap covers {np.mean(plain):.3f} (from "
            f"{min(plain):.3f}), falsely better {np.mean(plain_wrong):.3f} (at most {max(plain_wrong):.3f})"
        )


if __name__ == "__main__":
    main()
