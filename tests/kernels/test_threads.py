"""Several threads beside one: shards of their own, the same numbers. And what the environment says is what is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrences import FLAGS, Recurrence, assert_close, assert_same_bits, masked, recurrence

from throughtime.kernels import native
from throughtime.kernels.problem import CELLS

# Only the sums over all rows, which the shards share, are added in another order: a few units of the last place of
# their largest terms. Seen at most: 8.2e-7.
TOLERANCE = 1e-5
# Enough valid steps for five shards. 0 and 1 are among the lengths.
BATCH, STEPS = 90, 37


def ragged(cell: str, mask: str, *, seed: int, flags: str) -> Recurrence:
    rng = np.random.default_rng([seed, 7])
    sizes = {"features": int(rng.integers(1, 25)), "units": int(rng.integers(1, 41))}
    return masked(cell, mask, batch=BATCH, steps=STEPS, seed=seed, **sizes, **FLAGS[flags])


def padded_with_nan(case: Recurrence) -> Recurrence:
    return case.with_inputs(x=np.where(case.inputs["mask"][..., None], case.inputs["x"], np.float32(np.nan)))


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("mask", ["post", "pre", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_several_threads_compute_what_one_does(cell: str, mask: str, threads: int) -> None:
    for seed, flags in enumerate(FLAGS):
        case = padded_with_nan(ragged(cell, mask, seed=10 * seed + threads, flags=flags))
        alone = case.with_problem(threads=1).results(native)
        assert_close(case.with_problem(threads=threads).results(native), alone, TOLERANCE)


@pytest.mark.parametrize("cell", CELLS)
def test_the_work_is_cut_into_shards(cell: str) -> None:
    """Else the tests above would compare one thread with itself: sums in another order have other last bits."""
    case = masked(cell, "post", batch=BATCH, steps=STEPS, features=19, units=35)
    one, two, three = (case.with_problem(threads=threads).results(native) for threads in (1, 2, 3))
    assert len({found["dkernel"].tobytes() for found in (one, two, three)}) == 3


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=80), cell=st.sampled_from(CELLS),
    threads=st.integers(2, 7), features=st.integers(1, 9), units=st.integers(1, 33), seed=st.integers(0, 99),
    reverse=st.booleans(),
)  # fmt: skip
def test_any_lengths(lengths: list[int], cell: str, threads: int, **options: int) -> None:
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    case = recurrence(cell, mask, **options)
    alone = case.with_problem(threads=1).results(native)
    assert_close(case.with_problem(threads=threads).results(native), alone, TOLERANCE)


BY_ENVIRONMENT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from recurrences import masked
from throughtime.kernels import native
from throughtime.kernels.problem import CELLS

found = {}
for cell in CELLS:
    case = masked(cell, "gaps", batch=90, steps=37, features=19, units=35, seed=4)
    found |= {f"{cell} {name}": array for name, array in case.results(native).items()}
np.savez(sys.argv[2], **found)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_the_environment_s_threads_are_those_that_compute(threads: int, tmp_path: Path) -> None:
    program = [sys.executable, "-c", BY_ENVIRONMENT, str(Path(__file__).parent), str(tmp_path / "found.npz")]
    environment = {**os.environ, "THROUGHTIME_THREADS": str(threads)}
    done = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        for cell in CELLS:
            case = masked(cell, "gaps", batch=90, steps=37, features=19, units=35, seed=4, threads=threads)
            expected = case.results(native)
            assert_same_bits({name: found[f"{cell} {name}"] for name in expected}, expected)
