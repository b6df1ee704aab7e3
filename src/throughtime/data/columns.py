"""Arrow columns as numbers and categories in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["number", "category", "date", "missing", "other"]


def kind(type: pa.DataType) -> Kind:
    """What a column of this Arrow type is read as; booleans are the numbers 0 and 1."""
    from pyarrow import types

    if types.is_null(type):
        return "missing"
    if types.is_integer(type) or types.is_floating(type) or types.is_boolean(type) or types.is_decimal(type):
        return "number"
    if types.is_dictionary(type):
        return "category" if kind(type.value_type) in ("number", "category") else kind(type.value_type)
    if is_text(type):
        return "category"
    if types.is_temporal(type):
        return "date"
    return "other"


def is_text(type: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_string(type) or types.is_large_string(type) or types.is_string_view(type)


def is_narrow(type: pa.DataType) -> bool:
    """Whether float32 holds every value of this type exactly."""
    from pyarrow import types

    return (
        types.is_null(type)
        or types.is_boolean(type)
        or (types.is_integer(type) and type.bit_width <= 16)
        or (types.is_floating(type) and type.bit_width <= 32)
    )


def refuse_other(name: str, type: pa.DataType) -> None:
    """Raises DataError for nested and binary columns."""
    if kind(type) == "other":
        hint = "save the table as UTF-8 text" if "binary" in str(type) else "spread it over columns of single values"
        raise DataError(
            f"column {name!r} holds {type} values, which cannot be read as numbers or categories; {hint}, or leave "
            "it out with features=."
        )


def missing(column: pa.ChunkedArray) -> np.ndarray:
    """``(N,)`` booleans: null or NaN."""
    import pyarrow.compute as pc

    return pc.is_null(column, nan_is_null=True).to_numpy()


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """``(N,)`` float32 where that is exact, else float64; NaN where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    type = column.type
    wanted = np.float32 if is_narrow(type) else np.float64
    if pa.types.is_null(type):
        return np.full(len(column), np.nan, wanted)
    if pa.types.is_boolean(type):
        column = pc.cast(column, pa.uint8())
    elif pa.types.is_decimal(type):
        column = pc.cast(column, pa.float64())
    return column.to_numpy().astype(wanted, copy=False)


def categories(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[Any, ...]]:
    """``(N,)`` int32 codes, -1 where missing, and the sorted levels that occur, as Python values."""
    index, values = _encoded(column)
    present = np.zeros(len(values) + 1, bool)
    present[index] = True  # -1, a missing value, falls on the last place
    known = [None if value is None or value != value else value for value in values]
    levels = tuple(sorted({value for value, seen in zip(known, present, strict=False) if seen and value is not None}))
    code = {level: number for number, level in enumerate(levels)}
    recode = np.array([*(code.get(value, -1) for value in known), -1], np.int32)
    return recode[index], levels


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """Indices, -1 where missing, into a list of values."""
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return np.full(len(column), -1, np.int32), []
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks gives back for no chunks at all
        return np.empty(0, np.int32), []
    index = array.indices
    return index.cast(pa.int32()).fill_null(-1).to_numpy(), array.dictionary.to_pylist()


def odd_one(levels: tuple[Any, ...]) -> str | None:
    """The first text that is no number where half of them or more are: most likely a slip; None elsewhere."""
    odd = [level for level in levels if isinstance(level, str) and not _is_number(level)]
    return odd[0] if odd and all(isinstance(one, str) for one in levels) and 2 * len(odd) <= len(levels) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_text(levels: tuple[Any, ...]) -> tuple[str, ...]:
    """Levels of a category that is text, where a table holds only numbers there: 1.0 came from "1"."""
    return tuple(str(int(one)) if isinstance(one, float) and one.is_integer() else str(one) for one in levels)


def groups(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` int32 group numbers in the order of first appearance, and the ``(B,)`` value of each group."""
    import pyarrow as pa

    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    values = array.dictionary
    index = array.indices.cast(pa.int32())
    # A dictionary that came with the table is in any order, may repeat a value, and may hold ones that never occur.
    again = values.dictionary_encode()
    if len(again.dictionary) < len(values):
        index, values = again.indices.take(index), again.dictionary
    seen = index.dictionary_encode()
    return seen.indices.to_numpy(), values.take(seen.dictionary).to_numpy(zero_copy_only=False)
