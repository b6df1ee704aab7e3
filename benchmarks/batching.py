"""How much of a batch is padding, and how long planning and assembling an epoch take, on the Nottingham piano rolls.

    python benchmarks/batching.py [--data ../shared/data] [--repeat 5]

694 tunes of 88 keys, 40 to 1,788 steps. An epoch must hand out every step of every tune exactly once; this is checked
first. Times are medians. "compiled shapes" is how many batch shapes a compiled backend meets.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from throughtime.data.batching import Batches, plan_buckets
from throughtime.ragged import Ragged

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = (2048, 8192, 32768)
BUCKETS = (1, 2, 4, 8)


def tunes(folder: Path) -> Ragged:
    """The training tunes, ``(steps, 88)`` float32 each."""
    from scipy.io import loadmat

    return Ragged.from_list([tune.astype(np.float32) for tune in loadmat(folder / "Nottingham.mat")["traindata"][0]])


def as_they_come(lengths: np.ndarray, *, tokens: int, seed: int) -> tuple[int, int, float]:
    """Batches, shapes and the share of padding without buckets: shuffled tunes, each batch padded to its longest.

    A batch is closed before it would hold more than ``tokens`` steps, padding included.
    """
    closed, held, rows, longest = [], 0, 0, 0
    for length in np.random.default_rng(seed).permutation(lengths).tolist():
        if rows and (rows + 1) * max(longest, length) > tokens:
            closed.append((rows, longest))
            rows, longest = 0, 0
        rows, longest = rows + 1, max(longest, length)
    closed.append((rows, longest))
    held = sum(rows * longest for rows, longest in closed)
    return len(closed), len(set(closed)), 1 - lengths.sum() / held


def median_seconds(function: Callable[[], object], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def assemble(batches: Batches) -> int:
    """One epoch; how many valid steps it handed out."""
    valid = 0
    for i in range(len(batches)):
        inputs, _, weights = batches[i]
        valid += int(inputs["mask"][weights > 0].sum())
    return valid


def check(music: Ragged) -> None:
    """Every step of every tune comes once, and padding holds none."""
    batches = Batches(music, targets=np.arange(len(music)), tokens=8192)
    seen = np.zeros(len(music), int)
    for i in range(len(batches)):
        inputs, targets, weights = batches[i]
        for row in np.flatnonzero(weights):
            tune = targets[row]
            seen[tune] += 1
            np.testing.assert_array_equal(inputs["numbers"][row][inputs["mask"][row]], music[int(tune)])
        assert not inputs["numbers"][~inputs["mask"]].any()
    assert (seen == 1).all()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with music/")
    parser.add_argument("--repeat", type=int, default=5, help="times are medians of so many runs")
    arguments = parser.parse_args()
    folder = arguments.data / "music"
    if not (folder / "Nottingham.mat").is_file():
        print(f"no Nottingham.mat in {folder.resolve()}; name the folder of music/ with --data.", file=sys.stderr)
        return 2
    music = tunes(folder)
    lengths = music.lengths
    check(music)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"{len(music)} tunes, {lengths.min()} to {lengths.max()} steps, {lengths.sum()} in all\n")
    print(
        f"{'tokens':>7} {'buckets':>8} {'used':>5} {'batches':>8} {'compiled shapes':>16} {'padding':>8} "
        f"{'plan':>9} {'epoch':>9} {'steps/s':>9}"
    )
    for tokens in BUDGETS:
        runs = [as_they_come(lengths, tokens=tokens, seed=seed) for seed in range(9)]
        count, shapes, waste = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{tokens:7} {'none':>8} {'':5} {count:8} {shapes:16} {waste:8.1%}")
        for buckets in BUCKETS:
            planning = median_seconds(
                lambda tokens=tokens, buckets=buckets: plan_buckets(lengths, tokens=tokens, buckets=buckets),
                arguments.repeat,
            )
            batches = Batches(music, targets=np.zeros(len(music), np.int32), tokens=tokens, buckets=buckets)
            assert assemble(batches) == lengths.sum()
            epoch = median_seconds(lambda batches=batches: assemble(batches), arguments.repeat)
            shapes = len({(bucket.batch, bucket.length) for bucket in batches.plan})
            print(
                f"{tokens:7} {buckets:8} {len(batches.plan):5} {len(batches):8} {shapes:16} {batches.padding:8.1%} "
                f"{planning * 1e3:6.1f} ms {epoch * 1e3:6.1f} ms {lengths.sum() / epoch / 1e6:7.1f} M"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
