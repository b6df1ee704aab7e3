"""Arrow columns as numbers and categories in NumPy."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import DataError, counted
from .spelling import PLAIN, Spelling, convert

if TYPE_CHECKING:
    import pyarrow as pa

# Numbers that files hold for "missing".
SENTINELS = {-99.0, -999.0, -9999.0, -99999.0, -999999.0, -99.9, -999.9, -9999.9, -999.99, -999.25, -9999.25, -32768.0}
LARGE = {99.0, 999.0, 9999.0, 99999.0, 999999.0, 99.9, 999.9, 999.99, 9999.99, 32767.0, 65535.0, 1e20, 1e30}

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


def numbers(column: pa.ChunkedArray | pa.Array, spelling: str = PLAIN.code, *, name: str = "") -> np.ndarray:
    """``(N,)`` float32 where that is exact, else float64; NaN where missing.

    Text is read as a table reads it: true and false are 1 and 0, and a number may have the decimal mark, the thousands
    mark and the unit of ``spelling``, as ``Schema.spelling(name)`` gives it. No other spelling is guessed.

    Raises:
        DataError: text that is no number in this spelling; ``name`` is the column in the message.

    Example:
        >>> import pyarrow as pa
        >>> numbers(pa.array(["1.234,5", None, "7"]), ",.").tolist()
        [1234.5, nan, 7.0]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    type = column.type
    if pa.types.is_dictionary(type) and is_text(type.value_type):
        column, type = pc.cast(column, type.value_type), type.value_type
    if is_text(type):
        column, type = _numbers_of_text(column, Spelling.of(spelling), name), pa.float64()
    wanted = np.float32 if is_narrow(type) else np.float64
    if pa.types.is_null(type):
        return np.full(len(column), np.nan, wanted)
    if pa.types.is_boolean(type):
        column = pc.cast(column, pa.uint8())
    elif pa.types.is_decimal(type):
        column = pc.cast(column, pa.float64())
    if isinstance(column, pa.Array):
        return column.to_numpy(zero_copy_only=False).astype(wanted, copy=False)
    return column.to_numpy().astype(wanted, copy=False)


def number(value: Any, spelling: str = PLAIN.code, *, name: str = "") -> float:
    """One value, as ``numbers`` reads a column of it: for rows that come one by one.

    Example:
        >>> number("$1,234.50", ".,$"), number(True), number(" 2.5 ")
        (1234.5, 1.0, 2.5)
    """
    import pyarrow as pa

    if value is None or isinstance(value, bool | int | float | np.number):
        return float("nan") if value is None else float(value)
    if not isinstance(value, str):
        raise DataError(f"column {name!r} holds {value!r}, which is no number.")
    known = _usual(spelling).fullmatch(value)  # most values, by Python alone
    if known is not None:
        _, minus, whole, fraction = (part or "" for part in known.group("unit", "minus", "whole", "fraction"))
        mark = Spelling.of(spelling).thousands
        return float(f"{minus}{whole.replace(mark, '') if mark else whole}.{fraction or 0}")
    return float(numbers(pa.array([value]), spelling, name=name)[0])


@functools.cache
def _usual(code: str) -> re.Pattern[str]:
    """The usual forms of a number in a spelling; what it does not match may be a number all the same."""
    spelling = Spelling.of(code)
    unit, mark = re.escape(spelling.unit), re.escape(spelling.thousands)
    groups = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|" if mark else ""
    before, after = (rf"(?P<unit>{unit} ?)?", rf"(?(unit)| ?(?:{unit})?)") if unit else ("(?P<unit>)", "")
    number = rf"(?P<minus>-?){before}(?P<whole>{groups}\d+)(?:{re.escape(spelling.decimal)}(?P<fraction>\d+))?"
    return re.compile(rf"\s*{number}{after}\s*", re.ASCII)


def _numbers_of_text(column: pa.ChunkedArray | pa.Array, spelling: Spelling, name: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if str(column.type) == "string_view":
        column = column.cast("large_string")
    index, texts = encoded(column)
    truth = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    words = pc.is_in(truth, value_set=pa.array(["true", "false"], texts.type))
    plain = pc.if_else(words, pc.if_else(pc.equal(truth, "true"), "1", "0").cast(texts.type), texts)
    values, odd = convert(plain, spelling)
    if odd is not None:
        row = int(np.argmax(index.fill_null(-1).to_numpy(zero_copy_only=False) == odd)) + 1
        held = texts[odd].as_py()
        raise DataError(
            f"column {name!r} holds {held[:60]!r} in row {row}, which is no number as the numbers of this column are "
            f"written ({_written(spelling)}); mend it, or leave the field empty."
        )
    return pc.cast(values, pa.float64()).take(index)


def _written(spelling: Spelling) -> str:
    mark = "decimal comma" if spelling.decimal == "," else "decimal point"
    thousands = f", {spelling.thousands!r} between thousands" if spelling.thousands else ", nothing between thousands"
    return mark + thousands + (f", {spelling.unit!r} beside them" if spelling.unit else "")


def chunked(array: pa.Array | np.ndarray) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([array])


def encoded(column: pa.ChunkedArray | pa.Array) -> tuple[pa.Array, pa.Array]:
    """Indices, null where missing, into the different values of a column."""
    import pyarrow as pa

    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not column.num_chunks:
        return pa.array([], pa.int32()), pa.array([], column.type.value_type)
    array = _one_dictionary(column)
    return array.indices, array.dictionary


def _one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The chunks of a column of a dictionary type, of which there is at least one, as one array."""
    import pyarrow as pa

    if column.num_chunks > 1 and any(chunk.dictionary.null_count for chunk in column.chunks):
        column = column.cast(column.type.value_type).dictionary_encode()  # Arrow cannot unify these
    array = column.unify_dictionaries().combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


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
    if not column.num_chunks:
        return np.empty(0, np.int32), []
    array = _one_dictionary(column)
    index = array.indices
    return index.cast(pa.int32()).fill_null(-1).to_numpy(), array.dictionary.to_pylist()


def rounded(name: str, column: pa.ChunkedArray) -> str:
    """What to say of integers that float64 does not hold; empty where it holds all."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_integer(column.type) and column.type.bit_width == 64):
        return ""
    ends = pc.min_max(column).as_py()
    if max(abs(ends["min"] or 0), abs(ends["max"] or 0)) <= 2**53:
        return ""
    values = pc.drop_null(column).to_numpy()
    with np.errstate(invalid="ignore"):  # 2**63 comes back as another integer, which is what is asked
        changed = values.astype(np.float64).astype(values.dtype) != values
    if not changed.any():
        return ""
    return (
        f"Column {name!r} holds integers beyond 2**53, such as {values[changed.argmax()]}, which are rounded to 16 "
        f"digits; if they are names, give it as sequence=, leave it out with features=, or say dtypes={{{name!r}: "
        "'category'}."
    )


def sentinel(name: str, values: np.ndarray) -> str:
    """What to say of numbers ``(N,)`` whose least or greatest value may stand for "missing"; empty where none does."""
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    for value, low in ((known.min(), True), (known.max(), False)):
        if float(f"{value:.7g}") not in (SENTINELS if low else LARGE):  # float32 holds no -99.9
            continue
        rest = known[known != value]
        if len(rest) < 2:
            continue
        least, most = float(rest.min()), float(rest.max())
        gap = least - value if low else value - most
        if gap > 3 * (most - least) or (low and least >= 0):
            count = len(known) - len(rest)
            return (
                f"Column {name!r} holds {value:g} in {counted(count, 'row')}, and {least:g} to {most:g} elsewhere; if "
                f"it means missing, say na_values={value:g}."
            )
    return ""


def as_text(levels: tuple[Any, ...]) -> tuple[str, ...]:
    """Levels of a category that is text, where a table holds only numbers there: 1.0 came from "1"."""
    return tuple(str(int(one)) if isinstance(one, float) and one.is_integer() else str(one) for one in levels)


def groups(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` int32 group numbers in the order of first appearance, and the ``(B,)`` value of each group."""
    import pyarrow as pa

    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    array = _one_dictionary(column)
    values = array.dictionary
    index = array.indices.cast(pa.int32())
    # A dictionary that came with the table is in any order, may repeat a value, and may hold ones that never occur.
    again = values.dictionary_encode()
    if len(again.dictionary) < len(values):
        index, values = again.indices.take(index), again.dictionary
    seen = index.dictionary_encode()
    return seen.indices.to_numpy(), values.take(seen.dictionary).to_numpy(zero_copy_only=False)
