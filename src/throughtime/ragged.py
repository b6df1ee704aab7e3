"""Sequences of different lengths in one array: values and offsets.

``Ragged`` is the container that every room passes on. Sequence ``b`` is ``values[offsets[b]:offsets[b + 1]]``, so no
memory and no work goes to padding; the layout is Arrow's own for lists (https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .errors import ArgumentError, counted, one_of, spanned

if TYPE_CHECKING:
    import pyarrow as pa

Index = int | slice | Sequence[int] | np.ndarray


class Ragged:
    """A batch of B sequences of any lengths, 0 and 1 included.

    Args:
        values: ``(N, ...)`` array of any dtype, the sequences laid end to end. Kept as it is, not copied: a
            ``numpy.memmap`` stays on disk.
        offsets: ``(B + 1,)`` integers, from 0 to N, never falling.

    Raises:
        ArgumentError: offsets that do not describe ``values``.

    Example:
        >>> r = Ragged.from_list([[1.0, 2.0, 3.0], [], [4.0]])
        >>> len(r), r.lengths.tolist(), r[0].tolist()
        (3, [3, 0, 1], [1.0, 2.0, 3.0])
        >>> padded, mask = r.to_padded(fill=-1.0)
        >>> padded.tolist()
        [[1.0, 2.0, 3.0], [-1.0, -1.0, -1.0], [4.0, -1.0, -1.0]]
    """

    __slots__ = ("offsets", "values")

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        if not isinstance(values, np.ndarray):
            values = np.asarray(values)
        offsets = np.asarray(offsets)
        if values.ndim < 1:
            raise ArgumentError("Ragged values need at least one dimension, (steps, ...); a scalar was given.")
        if offsets.ndim != 1 or offsets.size < 1 or offsets.dtype.kind not in "iu":
            raise ArgumentError(
                f"Ragged offsets are (sequences + 1,) integers; given shape {offsets.shape}, dtype {offsets.dtype}."
            )
        offsets = offsets.astype(np.int64, copy=False)
        falls = np.flatnonzero(np.diff(offsets) < 0)
        if offsets[0] != 0 or offsets[-1] != len(values) or falls.size:
            at = f", falling after sequence {falls[0]}" if falls.size else ""
            raise ArgumentError(
                f"Ragged offsets run from 0 to the number of steps, {len(values)}, and never fall; "
                f"given {offsets[0]} to {offsets[-1]}{at}."
            )
        self.values = values
        self.offsets = offsets

    # -- in ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> Ragged:
        """Sequences of the given lengths, cut one after the other from ``values`` ``(N, ...)``."""
        offsets = offsets_from_lengths(lengths)
        if np.ndim(values) and offsets[-1] != len(values):
            raise ArgumentError(f"the lengths add up to {offsets[-1]} steps; {len(values)} were given.")
        return cls(values, offsets)

    @classmethod
    def from_list(cls, sequences: Sequence[Any], dtype: Any = None) -> Ragged:
        """A list of ``(length, ...)`` arrays or lists; all trailing dimensions must be equal. Copies once."""
        arrays = []
        for i, sequence in enumerate(sequences):
            try:
                array = np.asarray(sequence, dtype=dtype)
            except (ValueError, TypeError) as error:
                raise ArgumentError(f"sequence {i} is not an array of time steps of one shape: {error}") from error
            arrays.append(array)
            if array.ndim < 1:
                raise ArgumentError(f"sequence {i} is a scalar; each sequence is an array or list of time steps.")
        filled = [array for array in arrays if len(array)]
        if not filled:
            trailing = arrays[0].shape[1:] if arrays else ()
            kind = arrays[0].dtype if arrays else (dtype or np.float64)
            return cls(np.empty((0, *trailing), kind), np.zeros(len(arrays) + 1, np.int64))
        trailing = filled[0].shape[1:]
        for i, array in enumerate(arrays):
            if len(array) and array.shape[1:] != trailing:
                raise ArgumentError(
                    f"sequence {i} has steps of shape {array.shape[1:]}, the ones before it {trailing}; "
                    "every sequence needs the same features."
                )
        return cls(np.concatenate(filled), offsets_from_lengths([len(array) for array in arrays]))

    @classmethod
    def from_padded(
        cls, padded: np.ndarray, *, mask: np.ndarray | None = None, lengths: Sequence[int] | np.ndarray | None = None
    ) -> Ragged:
        """The valid steps of a padded array; what the padding holds never matters.

        Args:
            padded: ``(B, T, ...)``.
            mask: ``(B, T)`` booleans, True at valid steps; padded before, after, or with gaps.
            lengths: ``(B,)`` instead of a mask, for padding after the sequence.
        """
        padded = np.asarray(padded)
        if padded.ndim < 2:
            raise ArgumentError(f"padded is (sequences, steps, ...); given shape {padded.shape}.")
        if (mask is None) == (lengths is None):
            raise ArgumentError("from_padded needs either mask= or lengths=, one of them.")
        if lengths is not None:
            lengths = np.asarray(lengths)
            if (
                lengths.shape != padded.shape[:1]
                or (lengths.size and lengths.dtype.kind not in "iu")
                or (lengths < 0).any()
                or (lengths > padded.shape[1]).any()
            ):
                raise ArgumentError(
                    f"lengths are ({padded.shape[0]},) integers from 0 to {padded.shape[1]}; given {lengths!r}."
                )
            mask = np.arange(padded.shape[1]) < lengths[:, None]
        mask = np.asarray(mask)
        if mask.shape != padded.shape[:2] or mask.dtype != np.bool_:
            raise ArgumentError(
                f"mask is {padded.shape[:2]} booleans, True at valid steps; given {mask.shape} of {mask.dtype}."
            )
        return cls(padded[mask], offsets_from_lengths(mask.sum(1)))

    @classmethod
    def from_arrow(cls, array: pa.Array | pa.ChunkedArray) -> Ragged:
        """An Arrow list array; inner fixed-size lists become trailing dimensions.

        No copy where Arrow has no nulls. A null number becomes NaN (integers become float64); a null list or step is
        refused, because dropping it would move every step behind it.
        """
        import pyarrow as pa

        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
            raise ArgumentError(f"from_arrow takes an Arrow list array; given {array.type}.")
        if array.null_count:
            raise ArgumentError(f"the Arrow list array has {array.null_count} null lists; empty or drop them.")
        flat, trailing = array.flatten(), []
        while pa.types.is_fixed_size_list(flat.type):
            if flat.null_count:
                raise ArgumentError(f"the Arrow list array has {flat.null_count} null steps; fill or drop them.")
            trailing.append(flat.type.list_size)
            flat = flat.flatten()
        if pa.types.is_nested(flat.type):
            raise ArgumentError(
                f"each step of the Arrow list array is a {flat.type}; cast the steps to a fixed-size list of numbers."
            )
        offsets = array.offsets.to_numpy().astype(np.int64)
        offsets -= offsets[0]
        # The number of steps is named, not -1: with no feature at all (F = 0) it could not be inferred.
        values = flat.to_numpy(zero_copy_only=False).reshape(offsets[-1], *trailing)
        return cls(values, offsets)

    # -- out -----------------------------------------------------------------------------------------------------

    def to_list(self) -> list[np.ndarray]:
        """One view ``(length, ...)`` a sequence."""
        return list(self)

    def to_padded(
        self, *, fill: Any = 0, side: Literal["post", "pre"] = "post", length: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """``(padded, mask)``: ``(B, T, ...)`` in the dtype of the values, and ``(B, T)`` booleans.

        Args:
            fill: what the padding holds; one that the dtype cannot hold (NaN among integers) is refused.
            side: where the padding goes, after the sequence ("post") or before it ("pre").
            length: T; by default the longest sequence. A shorter one is refused: nothing is truncated in silence.
        """
        one_of("side", side, ("post", "pre"))
        lengths = self.lengths
        longest = int(lengths.max(initial=0))
        if length is None:
            length = longest
        elif length < longest:
            raise ArgumentError(f"length={length} is shorter than the longest sequence, {longest} steps.")
        if self.dtype.kind in "iub":
            with np.errstate(invalid="ignore"):  # NaN to an integer; caught by the comparison
                held = np.asarray(fill).astype(self.dtype)
            if not np.array_equal(held, fill):
                raise ArgumentError(f"fill={fill!r} cannot be held by values of dtype {self.dtype}.")
        steps = np.arange(length)
        mask = steps < lengths[:, None] if side == "post" else steps >= length - lengths[:, None]
        padded = np.full((len(self), length, *self.values.shape[1:]), fill, dtype=self.values.dtype)
        padded[mask] = self.values
        return padded, mask

    def to_arrow(self) -> pa.Array:
        """An Arrow large_list array; trailing dimensions become fixed-size lists. No copy of contiguous values."""
        import pyarrow as pa

        flat = pa.array(np.ascontiguousarray(self.values).reshape(-1))
        steps = self.values.shape[:-1]
        for depth, size in reversed(list(enumerate(self.values.shape[1:]))):
            # from_buffers, because from_arrays infers the number of lists and so refuses lists of size 0.
            count = int(np.prod(steps[: depth + 1]))
            flat = pa.Array.from_buffers(pa.list_(flat.type, size), count, [None], children=[flat])
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), flat)

    # -- parts ---------------------------------------------------------------------------------------------------

    @property
    def lengths(self) -> np.ndarray:
        """``(B,)`` int64: the number of steps of each sequence."""
        return np.diff(self.offsets)

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.values[start:stop]

    def __getitem__(self, index: Index) -> Any:
        """``r[3]`` is one sequence, a view; ``r[2:5]`` a Ragged over the same memory; other indices ``take``."""
        if isinstance(index, int | np.integer):
            b = int(index) + (len(self) if index < 0 else 0)
            if not 0 <= b < len(self):
                raise IndexError(f"sequence {index} of {len(self)}")
            return self.values[self.offsets[b] : self.offsets[b + 1]]
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                first, last = self.offsets[start], self.offsets[stop]
                return Ragged(self.values[first:last], self.offsets[start : stop + 1] - first)
            return self.take(np.arange(start, stop, step))
        return self.take(index)

    def take(self, indices: Sequence[int] | np.ndarray) -> Ragged:
        """The sequences at ``indices``, in that order, copied; an index may occur more than once.

        ``indices`` are integers, negative ones counted from the end, or ``(B,)`` booleans.
        """
        indices = positions(indices, len(self))
        lengths = self.lengths[indices]
        offsets = offsets_from_lengths(lengths)
        steps = np.arange(offsets[-1]) + np.repeat(self.offsets[indices] - offsets[:-1], lengths)
        return Ragged(self.values[steps], offsets)

    def with_values(self, values: np.ndarray) -> Ragged:
        """Other values ``(N, ...)`` with the same lengths."""
        return Ragged(values, self.offsets)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Ragged:
        """``function`` applied to all steps at once, ``(N, ...)`` to ``(N, ...)``."""
        return self.with_values(function(self.values))

    def __repr__(self) -> str:
        lengths = self.lengths
        span = spanned(int(lengths.min()), int(lengths.max()), "step") if len(self) else "no steps"
        return (
            f"Ragged({counted(len(self), 'sequence')}, {span}, step shape {self.values.shape[1:]}, {self.values.dtype})"
        )


def positions(indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """``indices`` into ``count`` sequences, as ``(K,)`` int64 from 0: negative ones and ``(count,)`` booleans resolved.

    Raises:
        IndexError: an index outside, of another type, or booleans of another number.
    """
    given = np.asarray(indices)
    if given.dtype == np.bool_:
        if given.shape != (count,):
            raise IndexError(f"a boolean index needs shape ({count},); given {given.shape}")
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise IndexError(f"indices are (K,) integers or ({count},) booleans; given {given.shape} of {given.dtype}")
    given = given.astype(np.int64)
    if given.size and (given.min() < -count or given.max() >= count):
        raise IndexError(f"indices between {given.min()} and {given.max()} of {count} sequences")
    return np.where(given < 0, given + count, given)


def offsets_from_lengths(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """``(B + 1,)`` int64 offsets for ``(B,)`` lengths."""
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        raise ArgumentError(f"lengths are (sequences,) integers; given shape {lengths.shape}, dtype {lengths.dtype}.")
    lengths = lengths.astype(np.int64, copy=False)
    if (lengths < 0).any():
        raise ArgumentError(f"a length is never negative; given {int(lengths.min())}.")
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The sequences of all parts in one Ragged; one part is returned as it is, without a copy."""
    if not parts:
        raise ArgumentError("concatenate needs at least one Ragged.")
    if len(parts) == 1:
        return parts[0]
    for i, part in enumerate(parts):
        if part.values.shape[1:] != parts[0].values.shape[1:]:
            raise ArgumentError(
                f"part {i} has steps of shape {part.values.shape[1:]}, part 0 {parts[0].values.shape[1:]}; "
                "every part needs the same features."
            )
    return Ragged(
        np.concatenate([part.values for part in parts]),
        offsets_from_lengths(np.concatenate([part.lengths for part in parts])),
    )
