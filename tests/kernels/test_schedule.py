"""Plans of what is kept and what is computed again: against a search through all plans, and against what was done."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.errors import ArgumentError
from throughtime.kernels import native, schedule
from throughtime.kernels.problem import CELLS, Problem
from throughtime.kernels.schedule import Plan, byte_count, fewest_recomputed, need, plan, smallest


@cache
def fewest_of_all(leaves: int, slots: int) -> int:
    """Runs of the leaf's function, counted in leaves, to take back so many from a state that is there: by trying every
    place for the next state. The forward pass itself counts as well."""
    if leaves == 1:
        return 1
    if slots == 0:
        return leaves * (leaves + 1) // 2
    return min(
        place + fewest_of_all(leaves - place, slots - 1) + fewest_of_all(place, slots) for place in range(1, leaves)
    )


@pytest.mark.parametrize("leaves", range(1, 50))
def test_as_few_leaves_are_computed_again_as_can_be(leaves: int) -> None:
    for slots in range(min(leaves, 9)):
        fewest = fewest_of_all(leaves, slots) - leaves
        assert fewest_recomputed(leaves, slots) == fewest
        assert Plan(leaves, 1, slots).recomputed == fewest


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(0, 60))
def test_runs_go_back_leaf_by_leaf(chunks: int, chunks_per_leaf: int, slots: int) -> None:
    found = Plan(chunks, chunks_per_leaf, slots)
    if schedule.repeats(found.leaves, slots) > schedule.MOST_REPEATS:
        return
    runs = list(found.runs())
    assert len(runs) == found.leaves - 1
    for (begin, end), (_, next_end) in pairwise(runs):
        assert 0 <= begin < end and end - next_end == chunks_per_leaf
    if runs:
        assert runs[0][1] == chunks - chunks_per_leaf and runs[-1][0] == 0


@given(st.integers(2, 400), st.integers(1, 2000), st.integers(1, 3000), st.floats(0, 1))
def test_the_plan_keeps_to_the_budget(chunks: int, chunk_bytes: int, state_bytes: int, share: float) -> None:
    least = smallest(chunks, chunk_bytes=chunk_bytes, state_bytes=state_bytes)
    budget = int(least + share * (chunks * chunk_bytes - least))
    found = plan(chunks, chunk_bytes=chunk_bytes, state_bytes=state_bytes, budget=budget)
    if found.leaves > 1:
        assert found.chunks_per_leaf * chunk_bytes + found.slots * state_bytes <= budget
        assert schedule.repeats(found.leaves, found.slots) <= schedule.MOST_REPEATS
    with pytest.raises(ArgumentError, match=f"{least} or more"):
        plan(chunks, chunk_bytes=chunk_bytes, state_bytes=state_bytes, budget=least - 1)


def test_with_a_state_a_leaf_all_but_the_last_are_computed_again_once() -> None:
    found = plan(100, chunk_bytes=1000, state_bytes=1, budget=25_500)
    assert (found.chunks_per_leaf, found.slots, found.recomputed) == (25, 3, 75)


def arrays(problem: Problem) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(problem.units)
    names = ["x", "h0", "kernel", "recurrent_kernel", "bias"]
    names += ["c0"] if problem.has_cell_state else []
    return {name: rng.normal(size=problem.shapes[name], scale=0.1).astype(np.float32) for name in names}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02, 0.0])
def test_the_library_computes_again_what_the_plan_says(cell: str, share: float) -> None:
    problem = Problem(cell, batch=3, steps=7001, features=2, units=20, threads=1)
    given = arrays(problem)
    dlast = np.ones(problem.shapes["last"], np.float32)
    whole = native.backward(problem, **given, ticket=native.forward(problem, **given, keep=True).ticket, dlast=dlast)
    assert not len(native.recomputed())

    each = schedule.CHUNK_TOKENS // 3
    sizes = {
        "chunk_bytes": schedule.token_bytes(problem) * 3 * each,
        "state_bytes": 4 * 32 * 3 * (2 if problem.has_cell_state else 1),
    }
    chunks = -(-7001 // each)
    budget = max(int(share * chunks * sizes["chunk_bytes"]), smallest(chunks, **sizes))
    within = Problem(cell, batch=3, steps=7001, features=2, units=20, threads=1, keep_bytes=budget)
    ticket = native.forward(within, **given, keep=True).ticket
    assert native.memory()[0] <= budget + 3 * 7001 * 12 + 7001 * 8 + 3 * 4096  # with the order of work
    found = native.backward(within, **given, ticket=ticket, dlast=dlast)
    for one, other in zip(found, whole, strict=True):
        assert one is None or np.array_equal(one, other)

    expected = plan(chunks, **sizes, budget=budget)
    runs = [(0, begin * each, min(end * each, 7001)) for begin, end in expected.runs()]
    assert [tuple(run) for run in native.recomputed().tolist()] == runs
    assert need(within, budget, shards=1).recomputed == expected.recomputed / chunks


def test_too_small_a_budget_names_the_smallest_that_works() -> None:
    problem = Problem("lstm", batch=2, steps=5000, features=1, units=16, threads=1, keep_bytes=1000)
    with pytest.raises(ArgumentError, match="2 sequences of 5,000 steps") as raised:
        native.forward(problem, **arrays(problem), keep=True)
    least = int(re.search(r"(\d+) bytes", str(raised.value))[1])  # type: ignore[index]
    native.check_budget(Problem("lstm", batch=2, steps=5000, features=1, units=16, threads=1, keep_bytes=least))
    with pytest.raises(ArgumentError, match="too small"):
        native.check_budget(Problem("lstm", batch=2, steps=5000, features=1, units=16, threads=1, keep_bytes=least - 1))
    native.forward(problem, **arrays(problem))  # for inference nothing is kept


@pytest.mark.parametrize("memory", [0, -1, True, 1.5, "", "12 parsecs", "0MB", None])
def test_what_is_no_number_of_bytes_is_refused(memory: object) -> None:
    with pytest.raises(ArgumentError, match="256MiB"):
        byte_count(memory)  # type: ignore[arg-type]
