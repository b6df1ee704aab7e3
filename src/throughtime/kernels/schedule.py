"""Backpropagation in a memory budget: which activations and states are kept, and what is computed again from them.

The steps of a recurrence are taken together as leaves. The activations of the last leaf are kept; of what lies before
it, states at the beginnings of some leaves, its *slots*, from which the others are computed again, one leaf at a time,
in the room of the last one. With so many slots, the order in which the fewest leaves are computed again is that of
Griewank and Walther 2000, "Algorithm 799: Revolve"; Gruslys et al. 2016 brought it to recurrent networks, and Chen et
al. 2016 is its simplest case, where every leaf has a state and is computed again once.

The library plans for itself (csrc/recompute.cc). This module is the same plan in Python: ``explain`` reads from it what
a budget costs, and the tests that the library did what it says here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

from ..errors import ArgumentError
from .problem import Problem

MOST_REPEATS = 4  # no leaf is computed again more often: five forward passes for one backward pass
CHUNK_TOKENS = 256  # steps of sequences that the kernel works on together
MOST_ROWS = 42  # sequences that it works on together
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Plan:
    """How so many chunks of steps are taken back.

    Args:
        chunks: all of them.
        chunks_per_leaf: computed and held together.
        slots: states that are kept besides the last leaf.
    """

    chunks: int
    chunks_per_leaf: int
    slots: int

    @property
    def leaves(self) -> int:
        return -(-self.chunks // self.chunks_per_leaf)

    @property
    def recomputed(self) -> int:
        """Chunks that are computed again, each as often as it is."""
        return sum(end - begin for begin, end in self.runs())

    def runs(self) -> Iterator[tuple[int, int]]:
        """What is computed again, in that order: the first chunk of each run, and its end.

        Example:
            >>> list(Plan(chunks=4, chunks_per_leaf=1, slots=3).runs()), list(Plan(4, 1, 0).runs())
            ([(2, 3), (1, 2), (0, 1)], [(0, 3), (0, 2), (0, 1)])
        """
        kept = [0]  # leaves at whose beginning there is a state
        free = self.slots

        def keep(until: int) -> None:
            nonlocal free
            while until - kept[-1] > 1 and free:
                kept.append(kept[-1] + advance(until - kept[-1], free))
                free -= 1

        keep(self.leaves)
        for leaf in reversed(range(self.leaves - 1)):
            while kept[-1] > leaf:
                kept.pop()
                free += 1
            begin = kept[-1]
            keep(leaf + 1)
            yield self._chunk(begin), self._chunk(leaf + 1)

    def _chunk(self, leaf: int) -> int:
        """A leaf's first chunk; the first leaf is the smaller one, where they do not come out even."""
        return max(0, self.chunks - (self.leaves - leaf) * self.chunks_per_leaf)


def repeats(leaves: int, slots: int) -> int:
    """How often a leaf is passed over at most: Griewank and Walther's r."""
    r = 0
    while comb(slots + 1 + r, r) < leaves:
        r += 1
    return r


def fewest_recomputed(leaves: int, slots: int) -> int:
    """Leaves that are computed again at least, in closed form.

    Example:
        >>> fewest_recomputed(10, 9), fewest_recomputed(10, 2), fewest_recomputed(10, 0)
        (9, 15, 45)
    """
    r = repeats(leaves, slots)
    return r * leaves - (comb(slots + 1 + r, r - 1) if r else 0)


def advance(leaves: int, slots: int) -> int:
    """How many leaves before the end of so many the next state is kept, counted from the last one."""
    r, states = repeats(leaves, slots), slots + 1
    return max(1, leaves - comb(states - 1 + r, r), comb(states + r - 2, r - 2) if r >= 2 else 0)


def plan(chunks: int, *, chunk_bytes: int, state_bytes: int, budget: int) -> Plan:
    """The plan that computes the fewest chunks again within a budget; among equals that of the fewest bytes.

    Args:
        chunks: of steps.
        chunk_bytes: activations of one.
        state_bytes: of a state between two steps.
        budget: bytes for both.

    Raises:
        ArgumentError: a budget for which some step would be computed more than MOST_REPEATS times again; names the
            smallest that is accepted.

    Example:
        >>> plan(100, chunk_bytes=1000, state_bytes=10, budget=10_000)
        Plan(chunks=100, chunks_per_leaf=9, slots=11)
    """
    if chunks <= 1 or chunks * chunk_bytes <= budget:
        return Plan(max(chunks, 1), max(chunks, 1), 0)
    found: list[tuple[int, int, Plan]] = []
    for size, leaves, fewest in _sizes(chunks):
        if size * chunk_bytes > budget:
            break
        if size * chunk_bytes + fewest * state_bytes <= budget:
            slots = min(leaves - 1, (budget - size * chunk_bytes) // state_bytes)
            held = size * chunk_bytes + slots * state_bytes
            again = fewest_recomputed(leaves, slots) * size - (leaves * size - chunks)
            found.append((again, held, Plan(chunks, size, slots)))
    if not found:
        least = smallest(chunks, chunk_bytes=chunk_bytes, state_bytes=state_bytes)
        raise ArgumentError(f"a budget of {budget} bytes is too small; {least} or more are accepted.")
    return min(found, key=lambda one: one[:2])[2]


def smallest(chunks: int, *, chunk_bytes: int, state_bytes: int) -> int:
    """The smallest budget that ``plan`` accepts.

    Example:
        >>> smallest(100, chunk_bytes=1000, state_bytes=10)
        1040
    """
    return min((size * chunk_bytes + fewest * state_bytes for size, _, fewest in _sizes(chunks)), default=chunk_bytes)


def _sizes(chunks: int) -> Iterator[tuple[int, int, int]]:
    """Chunks a leaf, leaves, and the fewest slots for them."""
    fewest = chunks - 1
    for size in range(1, chunks):
        leaves = -(-chunks // size)
        while fewest and comb(fewest + MOST_REPEATS, MOST_REPEATS) >= leaves:
            fewest -= 1
        yield size, leaves, fewest


# Bytes --------------------------------------------------------------------------------------------------------------


def byte_count(memory: int | str) -> int:
    """A number of bytes, as it is or in words.

    Raises:
        ArgumentError: neither a whole number above 0 nor one with a unit.

    Example:
        >>> byte_count("256MiB"), byte_count("1.5 GB"), byte_count(4096)
        (268435456, 1500000000, 4096)
    """
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", memory)
        if found and found[2].upper() in UNITS and float(found[1]) > 0:
            return int(float(found[1]) * UNITS[found[2].upper()])
    elif isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    raise ArgumentError(
        f'memory={memory!r} is given; a number of bytes is accepted, or text such as "256MiB" or "2 GB".'
    )


def written(count: float) -> str:
    """
    Example:
        >>> written(2**28), written(1500), written(3.2 * 2**30)
        ('256MiB', '1.5KiB', '3.2GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f}{unit}" if unit == "B" or count >= 10 else f"{count:.2g}{unit}"


# Of a recurrence ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """What a backward pass needs of a layer whose sequences are all of one length.

    Args:
        whole: bytes of all activations.
        kept: bytes that are held.
        recomputed: steps that are computed again, as a share of all: 2.0 is each of them twice.
    """

    whole: int
    kept: int
    recomputed: float


def token_bytes(problem: Problem) -> int:
    """Activations of one step of one sequence: gates, state and cell state, in whole panels of 16 units.

    Example:
        >>> token_bytes(Problem("lstm", batch=1, steps=1, features=1, units=128))
        3072
    """
    slots = 1 if problem.cell.startswith("rnn") else 2 if problem.cell.startswith(("mingru", "lru")) else 4
    return 4 * 16 * -(-problem.units // 16) * (slots + 1 + problem.has_cell_state)


def need(problem: Problem, budget: int, *, shards: int) -> Need:
    """What is held of a problem, and computed again, within a budget.

    Args:
        problem: no step of which is masked.
        budget: in bytes.
        shards: parts of the batch that are worked on at once: 1, or the threads.

    Raises:
        ArgumentError: a budget that is too small; names the smallest.
    """
    whole = token_bytes(problem) * problem.batch * problem.steps
    if whole <= budget or not whole:
        return Need(whole, whole, 0.0)
    shards = max(1, min(shards, problem.batch))
    sequences = -(-problem.batch // shards)
    rows = min(sequences, MOST_ROWS)
    steps = problem.steps * -(-sequences // rows)
    each = min(steps, max(1, CHUNK_TOKENS // rows))
    state = 4 * 16 * -(-problem.units // 16) * rows * (1 + problem.has_cell_state)
    chunk = token_bytes(problem) * rows * each
    chunks = -(-steps // each)
    least = shards * smallest(chunks, chunk_bytes=chunk, state_bytes=state)
    if budget < least:
        raise ArgumentError(
            f"memory={written(budget)} is too small for {problem.batch} sequences of {problem.steps:,} steps and "
            f"{problem.units} units; {least} bytes ({-(-least // 1024)}KiB) or more are accepted."
        )
    found = plan(chunks, chunk_bytes=chunk, state_bytes=state, budget=budget // shards)
    kept = shards * (found.chunks_per_leaf * chunk + found.slots * state)
    return Need(whole, kept, found.recomputed / found.chunks)
