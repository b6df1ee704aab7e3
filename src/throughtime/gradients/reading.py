"""Data as ``fit`` takes it in batches, read into arrays: no more than is asked for, and said where it is used up.

A PyDataset, a tf.data.Dataset and a DataLoader begin anew each time they are read. An iterator, such as a generator,
goes on where it was left: what is read of it is gone for ``fit``, so as little as will do is read. A source without an
end is read until it repeats itself, until there are enough rows, or until the time is up.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError
from .differentiate import random_state_kept

ROWS = 4096  # of what begins anew each time
ITERATOR_ROWS = 512  # of what is used up by being read
BATCHES = 10_000  # of a source whose batches are empty, or nearly so
SECONDS = 10.0  # after which no further batch is waited for


@dataclass(frozen=True)
class Batches:
    """What was read: ``x``, ``y`` and ``weights`` (None without) as arrays, the sequence first.

    ``said``: how much that was, and whether it is gone; ``left_out``: sequences of other shapes, which are not in it.
    """

    x: Any
    y: Any
    weights: Any
    said: str
    left_out: str = ""


def in_batches(data: Any) -> bool:
    """Whether it is a source of batches and no array or structure of arrays."""
    if isinstance(data, keras.utils.PyDataset):
        return True
    if isinstance(data, np.ndarray | Mapping | list | tuple | str) or keras.ops.is_tensor(data):
        return False
    kind = type(data).__module__.partition(".")[0]
    return bool(np.iterable(data)) and kind not in ("pandas", "polars", "pyarrow") and not _is_array(data)


def read_batches(data: Any, *, rows: int | None = None, batches: int | None = None, alike: bool = False) -> Batches:
    """Batches of (x, y) or (x, y, sample_weight), one after the other, as arrays.

    Args:
        data: a PyDataset, tf.data.Dataset, DataLoader, generator, or another iterable.
        rows: no batch is read after so many sequences; of an iterator the first batch alone where it is given.
        batches: at most so many, such as ``steps_per_epoch``.
        alike: reading ends with the first batch of another shape than the first. Otherwise those of the shape that most
            sequences have are kept, the longest of several.

    Raises:
        ArgumentError: no batch, or what is none.
    """
    once = isinstance(data, Iterator)
    if once:
        limit, most = (1, 1) if rows is not None else (ITERATOR_ROWS, batches or BATCHES)
    else:
        limit, most = rows or ROWS, batches or BATCHES
    read: list[tuple[Any, Any, Any]] = []
    taken = 0
    count, ends, seen = 0, time.monotonic() + SECONDS, set()
    with all_random_state_kept():
        for batch in _each(data):
            taken += 1
            parts = _batch(batch)
            hashes = _hashes(parts)
            if read and (_shapes(parts) != _shapes(read[0]) and alike):
                break
            if sum(one in seen for one in hashes) > len(hashes) // 2:
                break  # it begins anew
            seen |= set(hashes)
            read.append(parts)
            count += len(hashes)
            if count >= limit or taken >= most or time.monotonic() > ends:
                break
    if not read:
        raise ArgumentError("the data has no batch; one or more are accepted.")
    counted = Counter[Any]()
    for parts in read:
        counted[_shapes(parts)] += _count(parts)
    kept = max(counted, key=lambda shape: (counted[shape], shape))
    whole = [parts for parts in read if _shapes(parts) == kept]
    joined = [_joined([parts[place] for parts in whole], whole) for place in range(3)]
    named = "the generator" if once else type(data).__name__
    said = f"{taken} {'batch' if taken == 1 else 'batches'} of {named} with {count} sequences"
    if once:
        said += ", which fit does not get again"
    other = count - counted[kept]
    left = f"{other} of {count} sequences in batches of another length: those of {_length(kept)} steps are looked at"
    return Batches(joined[0], joined[1], joined[2], said, left if other else "")


def arrays(structure: Any, name: str) -> Any:
    """A structure of whatever has values as one of NumPy arrays; None stays.

    Raises:
        ArgumentError: ragged or other objects, or a single number.
    """

    def array(one: Any) -> Any:
        if one is None:
            return None
        if type(one).__name__ in ("RaggedTensor", "SparseTensor"):
            made = np.zeros((), object)
        else:
            made = keras.ops.convert_to_numpy(one) if keras.ops.is_tensor(one) else np.asarray(one)
        if made.dtype == object:
            raise ArgumentError(
                f"{name} is ragged or holds objects; arrays of one shape are accepted: pad it, as in "
                "keras.utils.pad_sequences(x, padding='post'), or tt.Ragged(...).to_padded()."
            )
        if made.ndim == 0:
            raise ArgumentError(f"{name} holds a single number; arrays with the sequence first are accepted.")
        return made

    if isinstance(structure, list | tuple) and structure and not any(_holds_arrays(one) for one in structure):
        return array(structure)  # nested lists of numbers
    return keras.tree.map_structure(array, structure)


@contextmanager
def all_random_state_kept() -> Iterator[None]:
    """Random state of Python, NumPy and the backend is after the block what it was before: a source that shuffles or
    changes its data at random goes on as if it had not been read."""
    python, generator = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that Keras and users share
    try:
        with random_state_kept():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(generator)  # noqa: NPY002


def _each(data: Any) -> Iterator[Any]:
    """An iterator as it is: one of ours around it would close a generator at its own end."""
    if not isinstance(data, keras.utils.PyDataset):
        return iter(data)
    numbers = itertools.count() if data.num_batches is None else range(data.num_batches)  # None: without an end
    return (data[number] for number in numbers)


def _batch(batch: Any) -> tuple[Any, Any, Any]:
    if not isinstance(batch, list | tuple) or len(batch) not in (2, 3):
        raise ArgumentError("each batch is (x, y) or (x, y, sample_weight), as for fit.")
    parts = [arrays(part, "a batch") for part in batch]
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _count(parts: tuple[Any, Any, Any]) -> int:
    return len(keras.tree.flatten(parts[0])[0])


def _shapes(parts: tuple[Any, Any, Any]) -> tuple[tuple[int, ...], ...]:
    """Of x and y without the number of sequences."""
    return tuple(one.shape[1:] for one in keras.tree.flatten(parts[:2]) if one is not None)


def _length(shapes: tuple[tuple[int, ...], ...]) -> int:
    return next((shape[0] for shape in shapes if shape), 0)


def _hashes(parts: tuple[Any, Any, Any]) -> list[int]:
    """Of each sequence with its target."""
    given = [one for one in keras.tree.flatten(parts[:2]) if one is not None]
    return [hash(tuple(np.ascontiguousarray(one[row]).tobytes() for one in given)) for row in range(_count(parts))]


def _joined(parts: list[Any], whole: list[tuple[Any, Any, Any]]) -> Any:
    """The arrays of several batches as one; a batch without weights counts as one with weights of 1."""
    first = next((one for one in parts if one is not None), None)
    if first is None:
        return None
    empty = keras.tree.map_structure(lambda _: None, first)
    full = [empty if part is None else part for part in parts]

    def together(*ones: Any) -> Any:
        if all(one is None for one in ones):
            return None
        shape = next(one.shape[1:] for one in ones if one is not None)
        rows = [_count(batch) for batch in whole]
        return np.concatenate([
            np.ones((many, *shape), "float32") if one is None else one for one, many in zip(ones, rows, strict=True)
        ])  # fmt: skip

    return keras.tree.map_structure(together, *full)


def _is_array(one: Any) -> bool:
    return isinstance(one, np.ndarray | Mapping) or keras.ops.is_tensor(one) or type(one).__module__ == "torch"


def _holds_arrays(one: Any) -> bool:
    inside = isinstance(one, list | tuple) and any(isinstance(part, np.ndarray) for part in one)
    return one is None or _is_array(one) or inside
