"""The native kernels against NumPy in float64: every cell, mask, flag, size, instruction set and number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrences import FLAGS, MASKS, Recurrence, assert_close, assert_same_bits, difference, masked, recurrence

from strategies import LENGTHS, masks
from throughtime.kernels import native, reference
from throughtime.kernels.problem import CELLS, Problem

# A sum of n terms in float32 is off by a few units of the last place, 6e-8, of its largest terms, and a recurrence
# carries that on for some steps. Seen at most: 2.3e-6. A wrong term is off by 1e-2 and more.
TOLERANCE = 1e-5
SIZES = (1, 3, 15, 16, 17, 33, 130)


def check(case: Recurrence, tolerance: float = TOLERANCE) -> None:
    """Forward with and without y, forward and backward, with NaN in the padding."""
    expected = case.astype(np.float64).results(reference)
    if case.inputs["mask"] is not None:
        case = case.with_inputs(x=np.where(case.inputs["mask"][..., None], case.inputs["x"], np.float32(np.nan)))
    found = case.results(native)
    assert_close(found, expected, tolerance)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    ends = case.forward(native, sequences=False)
    assert ends.y is None
    assert_same_bits({"last": ends.last, "hn": ends.hn}, {"last": found["last"], "hn": found["hn"]})


def test_the_names_are_those_of_the_library() -> None:
    assert native.why_not_available() is None
    assert set(native.supported()) >= {"portable"}
    assert native.isa() in native.supported()
    assert [native.gates(cell) for cell in native.CELLS] == [1, 1, 3, 3, 4, 2, 2, 2, 3, 3, 3, 2]
    gates = [native.load().tt_gates(number) for number in range(-1, len(native.CELLS) + 1)]
    assert gates == [0, *map(native.gates, native.CELLS), 0]


@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_mask(cell: str, mask: str, isa: str) -> None:
    for units in (5, 40):
        check(masked(cell, mask, batch=9, steps=13, features=7, units=units, isa=isa))


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("mask", ["pre", "gaps", "all masked"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_flag(cell: str, mask: str, flags: str) -> None:
    for isa in native.supported():
        check(masked(cell, mask, batch=6, steps=11, features=5, units=17, isa=isa, **FLAGS[flags]))


@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("units", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_size(cell: str, units: int, isa: str) -> None:
    for features in SIZES:
        for batch in (1, 13):
            check(masked(cell, "post", batch=batch, steps=5, features=features, units=units, isa=isa, seed=features))


@pytest.mark.parametrize("batch", [*range(1, 48), 85])
def test_every_number_of_rows(batch: int) -> None:
    """Rows of a tile, tiles of a step, sequences that follow each other in a row."""
    for isa in native.supported():
        check(masked("lstm", "no mask", batch=batch, steps=3, features=4, units=20, isa=isa))
        check(masked("gru", "post", batch=batch, steps=9, features=4, units=20, isa=isa, seed=batch))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("cell", CELLS)
def test_batches_for_several_threads(cell: str, isa: str, threads: int) -> None:
    """Large enough for the work to be cut into shards, and each shard's steps into chunks."""
    for mask in ("gaps", "post"):
        check(masked(cell, mask, batch=70, steps=40, features=19, units=35, isa=isa, threads=threads))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_batches_with_more_shards_than_threads(cell: str, threads: int) -> None:
    """From 1e9 operations on, kLongWork of csrc/schedule.cc."""
    check(masked(cell, "post", batch=120, steps=100, features=30, units=180, threads=threads))


@pytest.mark.parametrize("cell", CELLS)
def test_a_long_sequence_among_short_ones(cell: str) -> None:
    lengths = np.array([3000, 1, 0, 2, 60, 61, 1, 700])
    check(recurrence(cell, np.arange(3000) < lengths[:, None], features=2, units=9, threads=2))


@pytest.mark.parametrize(("bias", "states"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("cell", CELLS)
def test_without_bias_or_states(cell: str, bias: bool, states: bool) -> None:
    for isa in native.supported():
        for leading_initial in (False, True):
            check(masked(cell, "gaps", units=18, bias=bias, states=states, isa=isa, leading_initial=leading_initial))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (1, 1), (1, 4), (3, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_edges_of_the_batch(cell: str, shape: tuple[int, int]) -> None:
    for flags in FLAGS.values():
        check(recurrence(cell, None, batch=shape[0], steps=shape[1], features=3, units=17, **flags))


@settings(max_examples=150)
@given(
    mask=masks(), cell=st.sampled_from(CELLS), features=st.integers(1, 40), units=st.integers(1, 50),
    flags=st.fixed_dictionaries(dict.fromkeys(("reverse", "zero_masked", "leading_initial"), st.booleans())),
    isa=st.sampled_from(native.supported()), seed=st.integers(0, 99), bias=st.booleans(), states=st.booleans(),
)  # fmt: skip
def test_any_mask(mask: np.ndarray, cell: str, flags: dict, **options: int | str) -> None:
    check(recurrence(cell, mask, **options, **flags))


@settings(max_examples=100)
@given(
    lengths=LENGTHS, cell=st.sampled_from(CELLS), features=st.integers(1, 20), units=st.integers(1, 40),
    threads=st.integers(0, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_lengths(lengths: list[int], cell: str, **options: int) -> None:
    mask = np.arange(max(lengths, default=0)) < np.array(lengths, int)[:, None]
    check(recurrence(cell, mask, **options))


@pytest.mark.parametrize("cell", CELLS)
def test_cotangents_that_are_not_given_are_zero(cell: str) -> None:
    case = masked(cell, "gaps", units=19)
    exact = case.astype(np.float64)
    for name in case.cotangents:
        alone = dict.fromkeys(case.cotangents)
        found = native.backward(case.problem, **case.inputs, **alone | {name: case.cotangents[name]}, norms=True)
        expected = reference.backward(
            exact.problem, **exact.inputs, **alone | {name: exact.cotangents[name]}, norms=True
        )
        for gradient, one in found._asdict().items():
            if one is not None:
                assert difference(one, getattr(expected, gradient)) <= TOLERANCE, (name, gradient)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_wanted_changes_nothing_else(cell: str) -> None:
    case = masked(cell, "gaps", units=19)
    whole = case.results(native)
    some = native.backward(case.problem, **case.inputs, **case.cotangents, need_dx=False)
    assert some.dx is None and some.norms is None
    found = {name: array for name, array in some._asdict().items() if array is not None}
    assert_same_bits(found, {name: whole[name] for name in found})


@pytest.mark.parametrize("cell", CELLS)
def test_each_output_by_itself(cell: str) -> None:
    """Through the addresses, where each pointer may be NULL."""
    case = masked(cell, "gaps", units=19, features=6)
    whole = case.results(native)
    inputs = {name: array.ctypes.data for name, array in case.inputs.items() if array is not None}
    cotangents = {name: array.ctypes.data for name, array in case.cotangents.items() if array is not None}
    for name, expected in whole.items():
        found = np.full_like(expected, 7.0)
        if name in case.forward(native)._fields:
            assert native.forward_at(case.problem, **inputs, **{name: found.ctypes.data}) == 0
        else:
            native.backward_at(case.problem, **inputs, **cotangents, **{name: found.ctypes.data})
        assert_same_bits({name: found}, {name: expected})


def test_problems_compare_by_what_they_hold() -> None:
    one, same, other = Problem("gru", 1, 2, 3, 4), Problem("gru", 1, 2, 3, 4), Problem("gru", 1, 2, 3, 5)
    assert one == same and hash(one) == hash(same) and one != other
