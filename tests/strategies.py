"""Hypothesis strategies for ragged data, with a second model beside each case: plain lists of plain steps.

``RaggedCase.rows`` is what the Ragged should hold, built from Python lists alone, so that a test compares two things
that share no code.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from throughtime.ragged import Ragged

DTYPES = ("float32", "float64", "int8", "int64", "bool")
TRAILING = ((), (1,), (3,), (2, 3))

# Equal, short and very different lengths; 0, 1 and the empty batch are drawn often, because code breaks there.
LENGTHS = st.one_of(
    st.just([]),
    st.lists(st.integers(0, 6), max_size=6),
    st.lists(st.sampled_from([0, 1]), min_size=1, max_size=5),
    st.builds(lambda length, count: [length] * count, st.integers(0, 5), st.integers(1, 4)),
    st.permutations([1, 40, 0, 2]),
)


@dataclass(frozen=True)
class RaggedCase:
    """A Ragged and, as nested Python lists, what each of its sequences holds."""

    ragged: Ragged
    rows: list[list[Any]]

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.rows]

    @property
    def trailing(self) -> tuple[int, ...]:
        return self.ragged.values.shape[1:]


def distinct(count: int, trailing: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """``(count, *trailing)`` values that differ from each other as far as the dtype allows."""
    rng = np.random.default_rng(seed)
    size = count * int(np.prod(trailing, dtype=int))
    if dtype == "bool":
        flat = rng.integers(0, 2, size).astype(bool)
    elif dtype == "int8":
        flat = rng.integers(-128, 128, size).astype(np.int8)
    elif dtype == "int64":
        flat = rng.permutation(size).astype(np.int64) + 2**60  # beyond what float64 holds: a detour through it shows
    else:
        flat = (rng.permutation(size) + rng.random(size)).astype(dtype)
    return flat.reshape(count, *trailing)


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another memory layout."""
    if layout == "strided":
        spaced = np.zeros((2 * len(values), *values.shape[1:]), values.dtype)
        spaced[::2] = values
        return spaced[::2]
    if layout == "reversed":
        return values[::-1].copy()[::-1]
    if layout == "fortran":
        return np.asfortranarray(values)
    if layout == "memmap" and values.size:  # a file of no bytes cannot be mapped
        with tempfile.TemporaryDirectory() as folder:  # the mapping outlives the name of the file
            path = Path(folder) / "values.bin"
            values.tofile(path)
            return np.memmap(path, dtype=values.dtype, mode="r", shape=values.shape)
    return values


@st.composite
def ragged_cases(draw: st.DrawFn, *, dtypes: tuple[str, ...] = DTYPES, lengths: Any = LENGTHS) -> RaggedCase:
    chosen = list(draw(lengths))
    trailing = draw(st.sampled_from(TRAILING))
    dtype = draw(st.sampled_from(dtypes))
    values = distinct(sum(chosen), trailing, dtype, draw(st.integers(0, 99)))
    steps = values.tolist()
    rows, start = [], 0
    for length in chosen:
        rows.append(steps[start : start + length])
        start += length
    layout = draw(st.sampled_from(["plain", "strided", "reversed", "fortran", "memmap"]))
    offsets = [0]
    for length in chosen:
        offsets.append(offsets[-1] + length)
    return RaggedCase(Ragged(laid_out(values, layout), np.array(offsets)), rows)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """``(B, T)`` masks: padded after, before, with gaps, or all masked; B and T may be 0."""
    batch, steps = draw(st.integers(0, 5)), draw(st.integers(0, 7))
    kind = draw(st.sampled_from(["post", "pre", "gapped", "all masked", "none masked"]))
    mask = np.zeros((batch, steps), bool)
    for row in range(batch):
        if kind == "gapped":
            mask[row] = draw(st.lists(st.booleans(), min_size=steps, max_size=steps))
            continue
        length = {"all masked": 0, "none masked": steps}.get(kind)
        length = draw(st.integers(0, steps)) if length is None else length
        for step in range(length):
            mask[row, step if kind != "pre" else steps - 1 - step] = True
    return mask
