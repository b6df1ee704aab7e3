"""Ragged against two models that share no code with it: nested Python lists, and Arrow's own ``to_pylist``."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strategies import RaggedCase, masks, ragged_cases
from throughtime.errors import ArgumentError, ThroughtimeError
from throughtime.ragged import Ragged, concatenate, offsets_from_lengths, positions


def rows(ragged: Ragged) -> list[list]:
    """What a Ragged holds, read through nothing but its two public arrays."""
    ends = ragged.offsets.tolist()
    steps = ragged.values.tolist()
    return [steps[start:stop] for start, stop in itertools.pairwise(ends)]


def three() -> Ragged:
    return Ragged.from_list([[1.0, 2.0, 3.0], [], [4.0]])


# The case itself ---------------------------------------------------------------------------------------------------


@given(ragged_cases())
def test_holds_what_the_lists_hold(case: RaggedCase) -> None:
    ragged = case.ragged
    assert rows(ragged) == case.rows
    assert len(ragged) == len(case.rows)
    assert ragged.lengths.tolist() == case.lengths
    assert ragged.lengths.dtype == ragged.offsets.dtype == np.int64
    assert ragged.dtype == ragged.values.dtype
    assert [sequence.tolist() for sequence in ragged] == case.rows
    assert [ragged[b].tolist() for b in range(-len(ragged), len(ragged))] == case.rows * 2


def test_values_are_kept_and_not_copied(tmp_path) -> None:
    on_disk = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=(6, 2))
    on_disk[:] = np.arange(12).reshape(6, 2)
    ragged = Ragged(on_disk, np.array([0, 2, 2, 6]))
    assert ragged.values is on_disk
    for view in (ragged[0], ragged[-1], ragged[1:].values, next(iter(ragged)), *ragged.to_list()[2:]):
        assert isinstance(view, np.memmap)
        assert np.shares_memory(view, on_disk)


@given(ragged_cases())
def test_pickles(case: RaggedCase) -> None:
    again = pickle.loads(pickle.dumps(case.ragged))
    assert rows(again) == case.rows
    assert again.dtype == case.ragged.dtype


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        (np.float32(3), [0, 1], "at least one dimension"),
        ([1, 2], [[0, 2]], r"\(sequences \+ 1,\) integers; given shape \(1, 2\)"),
        ([1, 2], [], r"given shape \(0,\)"),
        ([1, 2], [0.0, 2.0], "dtype float64"),
        ([1, 2], [False, True], "dtype bool"),
        ([1, 2], [1, 2], "given 1 to 2"),
        ([1, 2], [0, 1], "number of steps, 2, .* given 0 to 1"),
        ([1, 2], [0, 3], "given 0 to 3"),
        ([1, 2, 3, 4], [0, 3, 2, 4], "given 0 to 4, falling after sequence 1"),
    ],
)
def test_refuses_offsets_that_do_not_describe_the_values(values, offsets, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ragged(np.asarray(values), offsets)


def test_unsigned_offsets_and_lists_are_taken() -> None:
    ragged = Ragged([1, 2, 3], np.array([0, 1, 3], np.uint8))
    assert rows(ragged) == [[1], [2, 3]]
    assert ragged.offsets.dtype == np.int64


# Lengths -----------------------------------------------------------------------------------------------------------


@given(ragged_cases())
def test_from_lengths(case: RaggedCase) -> None:
    assert rows(Ragged.from_lengths(case.ragged.values, case.lengths)) == case.rows
    assert rows(Ragged.from_lengths(case.ragged.values, np.array(case.lengths, np.int32))) == case.rows


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([2, -1, 2], "never negative; given -1"),
        ([1.5, 1.5], r"\(sequences,\) integers; given shape \(2,\), dtype float64"),
        ([True, True, True], "dtype bool"),
        ([[1, 2]], r"shape \(1, 2\)"),
        (3, r"shape \(\)"),
        ([1, 1], "add up to 2 steps; 3 were given"),
        ([2, 2], "add up to 4 steps; 3 were given"),
    ],
)
def test_from_lengths_refuses(lengths, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ragged.from_lengths(np.arange(3), lengths)


def test_offsets_from_lengths() -> None:
    for lengths, offsets in (([], [0]), ([0], [0, 0]), ([3, 0, 1], [0, 3, 3, 4])):
        made = offsets_from_lengths(lengths)
        assert made.tolist() == offsets
        assert made.dtype == np.int64


# Lists -------------------------------------------------------------------------------------------------------------


@given(ragged_cases())
def test_lists_round_trip(case: RaggedCase) -> None:
    again = Ragged.from_list(case.ragged.to_list())
    assert rows(again) == case.rows
    assert len(again) == 0 or again.dtype == case.ragged.dtype
    assert len(again) == 0 or again.values.shape[1:] == case.trailing
    as_lists = Ragged.from_list(case.rows, dtype=case.ragged.dtype)
    assert rows(as_lists) == case.rows
    assert as_lists.dtype == case.ragged.dtype


def test_from_list_copies() -> None:
    first = np.arange(3)
    ragged = Ragged.from_list([first, [7]])
    first[0] = 99
    assert rows(ragged) == [[0, 1, 2], [7]]


def test_from_list_of_nothing() -> None:
    assert Ragged.from_list([]).dtype == np.float64
    assert Ragged.from_list([], dtype=np.int8).dtype == np.int8
    none = Ragged.from_list([np.zeros((0, 3), np.int8)] * 2)
    assert (len(none), none.values.shape, none.dtype) == (2, (0, 3), np.int8)


def test_an_empty_list_among_others_changes_neither_dtype_nor_shape() -> None:
    ragged = Ragged.from_list([[], np.ones((2, 3), np.int8), []])
    assert (ragged.dtype, ragged.values.shape, ragged.lengths.tolist()) == (np.int8, (2, 3), [0, 2, 0])


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([[1.0], 2.0], "sequence 1 is a scalar"),
        ([[[1, 2]], [[1, 2, 3]]], r"sequence 1 has steps of shape \(3,\), the ones before it \(2,\)"),
        ([[1.0], [], [[1.0]]], r"sequence 2 has steps of shape \(1,\), the ones before it \(\)"),
        ([[[1], [2]], [[1, 2], [3]]], "sequence 1 is not an array of time steps of one shape"),
    ],
)
def test_from_list_refuses(sequences, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ragged.from_list(sequences)


def test_from_list_refuses_what_is_not_of_the_dtype() -> None:
    with pytest.raises(ArgumentError, match="sequence 1 is not an array"):
        Ragged.from_list([["1"], ["one"]], dtype=np.float32)


# Padded and mask ---------------------------------------------------------------------------------------------------


def fills(dtype: np.dtype) -> list:
    if dtype.kind == "f":
        return [0, -1.5, math.nan, math.inf]
    return [False, True] if dtype.kind == "b" else [0, -1, 127]


@given(ragged_cases(), st.sampled_from(["post", "pre"]), st.integers(0, 3), st.data())
def test_padded_round_trip(case: RaggedCase, side: str, extra: int, data: st.DataObject) -> None:
    fill = data.draw(st.sampled_from(fills(case.ragged.dtype)))
    longest = max(case.lengths, default=0)
    length = data.draw(st.sampled_from([None, longest + extra]))
    padded, mask = case.ragged.to_padded(fill=fill, side=side, length=length)
    total = longest if length is None else length
    assert padded.shape == (len(case.rows), total, *case.trailing)
    assert padded.dtype == case.ragged.dtype
    assert mask.shape == padded.shape[:2]
    assert mask.dtype == np.bool_
    for b, row in enumerate(case.rows):
        pad = [False] * (total - len(row))
        valid = [True] * len(row)
        assert mask[b].tolist() == (pad + valid if side == "pre" else valid + pad)
        held = padded[b].tolist()
        assert (held[len(pad) :] if side == "pre" else held[: len(row)]) == row
        filling = padded[b, : len(pad)] if side == "pre" else padded[b, len(row) :]
        np.testing.assert_array_equal(filling, np.full(filling.shape, fill))
    assert rows(Ragged.from_padded(padded, mask=mask)) == case.rows
    if side == "post":
        assert rows(Ragged.from_padded(padded, lengths=case.lengths)) == case.rows


@given(masks(), st.sampled_from([(), (2,), (2, 3)]), st.sampled_from([math.nan, math.inf, -7.0]))
def test_what_the_padding_holds_never_matters(mask: np.ndarray, trailing: tuple[int, ...], poison: float) -> None:
    clean = np.random.default_rng(3).standard_normal((*mask.shape, *trailing))
    poisoned = clean.copy()
    poisoned[~mask] = poison
    expected = [[clean[b, t].tolist() for t in range(mask.shape[1]) if mask[b, t]] for b in range(mask.shape[0])]
    for padded in (clean, poisoned, np.asfortranarray(poisoned)):
        ragged = Ragged.from_padded(padded, mask=mask)
        assert rows(ragged) == expected
        assert ragged.values.shape[1:] == trailing
    wider = np.concatenate([poisoned, np.full((len(mask), 2, *trailing), poison)], axis=1)
    assert rows(Ragged.from_padded(wider, mask=np.pad(mask, [(0, 0), (0, 2)]))) == expected


def test_from_padded_copies() -> None:
    padded = np.arange(4.0).reshape(2, 2)
    ragged = Ragged.from_padded(padded, lengths=[2, 1])
    padded[:] = -1
    assert rows(ragged) == [[0.0, 1.0], [2.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either mask= or lengths="),
        ({"mask": np.ones((2, 3), bool), "lengths": [3, 3]}, "either mask= or lengths="),
        ({"lengths": [3]}, r"lengths are \(2,\) integers from 0 to 3"),
        ({"lengths": [3, 4]}, "from 0 to 3"),
        ({"lengths": [3, -1]}, "from 0 to 3"),
        ({"lengths": [1.5, 2.0]}, r"lengths are \(2,\) integers"),
        ({"lengths": [True, True]}, r"lengths are \(2,\) integers"),
        ({"mask": np.ones((2, 3))}, r"mask is \(2, 3\) booleans, .* given \(2, 3\) of float64"),
        ({"mask": np.ones((3, 2), bool)}, r"given \(3, 2\) of bool"),
        ({"mask": np.ones((2, 3, 1), bool)}, r"given \(2, 3, 1\) of bool"),
    ],
)
def test_from_padded_refuses(arguments, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ragged.from_padded(np.zeros((2, 3, 1)), **arguments)


def test_from_padded_refuses_one_dimension() -> None:
    with pytest.raises(ArgumentError, match=r"\(sequences, steps, \.\.\.\); given shape \(3,\)"):
        Ragged.from_padded(np.zeros(3), lengths=[1, 1, 1])


def test_to_padded_refuses() -> None:
    with pytest.raises(ArgumentError, match="length=2 is shorter than the longest sequence, 3 steps"):
        three().to_padded(length=2)
    with pytest.raises(ArgumentError, match="side='posT' is not accepted.* Did you mean 'post'"):
        three().to_padded(side="posT")


@pytest.mark.parametrize(("dtype", "fill"), [("int64", math.nan), ("int8", 300), ("int8", 0.5), ("bool", 2)])
def test_to_padded_refuses_a_fill_that_the_dtype_cannot_hold(dtype, fill) -> None:
    with pytest.raises(ArgumentError, match=f"cannot be held by values of dtype {dtype}"):
        Ragged.from_list([[0, 1], [1]], dtype=dtype).to_padded(fill=fill)


# Arrow -------------------------------------------------------------------------------------------------------------


@given(ragged_cases())
def test_arrow_round_trip(case: RaggedCase) -> None:
    array = case.ragged.to_arrow()
    array.validate(full=True)
    assert pa.types.is_large_list(array.type)
    assert array.to_pylist() == case.rows
    again = Ragged.from_arrow(array)
    assert rows(again) == case.rows
    assert again.dtype == case.ragged.dtype
    assert again.values.shape == case.ragged.values.shape


@given(ragged_cases(), st.booleans(), st.integers(0, 3), st.integers(0, 3), st.lists(st.integers(0, 6), max_size=3))
def test_arrow_of_every_form(case: RaggedCase, large: bool, before: int, after: int, cuts: list[int]) -> None:
    # Built by Arrow from Python lists, so that neither to_arrow nor a Ragged is on the expected side.
    kind = pa.from_numpy_dtype(case.ragged.dtype)
    for size in reversed(case.trailing):
        kind = pa.list_(kind, size)
    kind = pa.large_list(kind) if large else pa.list_(kind)
    outside = [case.ragged.values[:1].tolist()] if len(case.ragged.values) else [[]]
    whole = pa.array(outside * before + case.rows + outside * after, type=kind)
    sliced = whole.slice(before, len(case.rows))
    again = Ragged.from_arrow(sliced)
    assert rows(again) == case.rows == sliced.to_pylist()
    assert again.dtype == case.ragged.dtype
    assert again.values.shape[1:] == case.trailing

    ends = [0, *sorted(min(cut, len(sliced)) for cut in cuts), len(sliced)]
    pieces = [sliced.slice(a, b - a) for a, b in itertools.pairwise(ends)]
    chunked = Ragged.from_arrow(pa.chunked_array(pieces, type=kind))
    assert rows(chunked) == case.rows
    assert chunked.dtype == case.ragged.dtype


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.list_(pa.list_(pa.int8(), 2), 3))])
@pytest.mark.parametrize("make", [pa.array, pa.chunked_array, lambda empty, type: pa.chunked_array([[]], type=type)])
def test_an_empty_arrow_array_keeps_its_dtype(kind, make) -> None:
    ragged = Ragged.from_arrow(make([], type=kind))
    assert len(ragged) == 0
    assert (ragged.dtype, ragged.values.shape) in ((np.float32, (0,)), (np.int8, (0, 3, 2)))


def test_arrow_shares_memory_where_it_can() -> None:
    values = np.arange(12.0).reshape(6, 2)
    ragged = Ragged(values, np.array([0, 2, 6]))
    array = ragged.to_arrow()
    assert np.shares_memory(array.flatten().flatten().to_numpy(), values)
    assert np.shares_memory(Ragged.from_arrow(array).values, values)
    assert np.shares_memory(Ragged.from_arrow(array[1:]).values, values)


def test_steps_without_features_survive_arrow() -> None:
    ragged = Ragged(np.zeros((3, 0), np.float32), np.array([0, 1, 3]))
    again = Ragged.from_arrow(ragged.to_arrow())
    assert again.values.shape == (3, 0)
    assert again.lengths.tolist() == [1, 2]


def test_null_numbers_become_nan() -> None:
    for kind in (pa.float32(), pa.int64()):
        ragged = Ragged.from_arrow(pa.array([[1, None], [], [3]], type=pa.list_(kind)))
        assert ragged.dtype.kind == "f"
        assert ragged.lengths.tolist() == [2, 0, 1]
        np.testing.assert_array_equal(ragged.values, [1.0, math.nan, 3.0])
    nested = Ragged.from_arrow(pa.array([[[1, None]], [[3, 4]]], type=pa.list_(pa.list_(pa.int8(), 2))))
    np.testing.assert_array_equal(nested.values, [[1.0, math.nan], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([1, 2]), "takes an Arrow list array; given int64"),
        (pa.array([[1], [2]], type=pa.list_(pa.int8(), 1)), "given fixed_size_list"),
        (pa.array([[1], None, None]), "2 null lists; empty or drop them"),
        (pa.chunked_array([[[1]], [None]]), "1 null lists"),
        (pa.array([[[1, 2], None], [[3, 4]]], type=pa.list_(pa.list_(pa.int8(), 2))), "1 null steps"),
        (
            pa.array([[[[1], None]], [[[3], [4]]]], type=pa.list_(pa.list_(pa.list_(pa.int8(), 1), 2))),
            "1 null steps",
        ),
        (pa.array([[[1, 2]], [[3]]]), "each step of the Arrow list array is a list.*cast the steps to a fixed-size"),
        (pa.array([[{"a": 1}]]), "each step of the Arrow list array is a struct"),
    ],
)
def test_from_arrow_refuses(array, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ragged.from_arrow(array)


def test_nulls_outside_of_a_slice_do_not_matter() -> None:
    array = pa.array([None, [1, 2], [3], None])[1:3]
    assert rows(Ragged.from_arrow(array)) == [[1, 2], [3]]


# Slices, take ------------------------------------------------------------------------------------------------------

BOUNDS = st.none() | st.integers(-8, 8)


@given(ragged_cases(), st.builds(slice, BOUNDS, BOUNDS, st.sampled_from([None, 1, 2, 3, -1, -2])))
@example(RaggedCase(Ragged.from_list([]), []), slice(None, None, -1))
def test_slices_like_a_list(case: RaggedCase, index: slice) -> None:
    part = case.ragged[index]
    assert rows(part) == case.rows[index]
    assert part.dtype == case.ragged.dtype
    assert part.values.shape[1:] == case.trailing
    if index.step in (None, 1) and part.values.size:
        assert np.shares_memory(part.values, case.ragged.values)


@given(ragged_cases())
def test_one_sequence_is_a_view(case: RaggedCase) -> None:
    for b, sequence in enumerate(case.ragged):
        assert sequence.size == 0 or np.shares_memory(sequence, case.ragged.values)
        assert case.ragged[np.int32(b)].tolist() == sequence.tolist()


@given(ragged_cases(), st.data())
def test_take_like_a_list(case: RaggedCase, data: st.DataObject) -> None:
    count = len(case.rows)
    some = st.lists(st.integers(-count, count - 1), max_size=8) if count else st.just([])
    indices = data.draw(some)
    expected = [case.rows[i] for i in indices]
    for part in (case.ragged.take(indices), case.ragged[indices], case.ragged[np.array(indices, np.int16)]):
        assert rows(part) == expected
        assert part.dtype == case.ragged.dtype
        assert part.values.shape[1:] == case.trailing
        assert part.values.size == 0 or not np.shares_memory(part.values, case.ragged.values)
    chosen = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    expected = [row for row, keep in zip(case.rows, chosen, strict=True) if keep]
    boolean = np.array(chosen, bool)
    assert rows(case.ragged[boolean]) == rows(case.ragged.take(boolean)) == expected


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (3, "sequence 3 of 3"),
        (-4, "sequence -4 of 3"),
        ([0, 3], "between 0 and 3 of 3 sequences"),
        ([-4], "between -4 and -4 of 3 sequences"),
        ([True, False], r"a boolean index needs shape \(3,\); given \(2,\)"),
        ([[0, 1]], r"given \(1, 2\) of int64"),
        ([0.5], r"indices are \(K,\) integers or \(3,\) booleans; given \(1,\) of float64"),
        (["0"], r"given \(1,\) of <U1"),
        (np.True_, r"a boolean index needs shape \(3,\); given \(\)"),
    ],
)
def test_indices_that_are_refused(index, message) -> None:
    with pytest.raises(IndexError, match=message):
        three()[index]


def test_positions() -> None:
    assert positions([], 0).dtype == np.int64
    assert positions([-1, 0, -3], 3).tolist() == [2, 0, 0]
    assert positions(np.array([3], np.uint8), 5).tolist() == [3]
    assert positions([False, True], 2).tolist() == [1]


# Together, map, words ----------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.lists(st.integers(-9, 9), max_size=4), max_size=4), min_size=1, max_size=4))
def test_concatenate_like_lists(parts: list[list[list[int]]]) -> None:
    whole = concatenate([Ragged.from_list(part, dtype=np.int8) for part in parts])
    assert rows(whole) == [row for part in parts for row in part]
    assert whole.dtype == np.int8


@given(ragged_cases(), st.integers(0, 6), st.integers(0, 6))
def test_parts_concatenate_to_the_whole(case: RaggedCase, first: int, second: int) -> None:
    first, second = sorted((first, second))
    whole = concatenate([case.ragged[:first], case.ragged[first:second], case.ragged[second:]])
    assert rows(whole) == case.rows
    assert whole.dtype == case.ragged.dtype


def test_concatenate_one_and_none() -> None:
    one = three()
    assert concatenate([one]) is one
    with pytest.raises(ArgumentError, match="at least one Ragged"):
        concatenate([])
    with pytest.raises(ArgumentError, match=r"part 1 has steps of shape \(2,\), part 0 \(\)"):
        concatenate([one, Ragged(np.ones((3, 2)), np.array([0, 3]))])


@given(ragged_cases(dtypes=("float32", "int64")))
def test_map(case: RaggedCase) -> None:
    negated = case.ragged.map(np.negative)
    assert negated.values.tolist() == [(-np.array(step)).tolist() for row in case.rows for step in row]
    assert negated.lengths.tolist() == case.lengths
    summed = case.ragged.map(lambda values: values.reshape(len(values), math.prod(case.trailing)).sum(1))
    assert summed.values.shape == (sum(case.lengths),)


def test_map_refuses_another_number_of_steps() -> None:
    with pytest.raises(ArgumentError, match="number of steps, 3, .* given 0 to 4"):
        three().map(lambda values: values[1:])
    with pytest.raises(ArgumentError, match="number of steps, 5"):
        three().with_values(np.zeros(5))


def test_words() -> None:
    assert repr(three()) == "Ragged(3 sequences, 0 to 3 steps, step shape (), float64)"
    assert repr(Ragged.from_list([])) == "Ragged(0 sequences, no steps, step shape (), float64)"


def test_what_is_refused_is_what_a_caller_expects_to_catch() -> None:
    for expected in (ValueError, ThroughtimeError):
        with pytest.raises(expected, match="never negative"):
            offsets_from_lengths([-1])
