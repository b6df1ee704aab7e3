"""Time columns: Arrow columns of dates and numbers as time stamps in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .columns import is_text, missing

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%b %d, %Y", "%d %b %Y", "%d-%b-%Y")
HOURS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
MONTHS = ("%Y-%m", "%Y/%m", "%b %Y", "%m/%Y")
FORMATS = (*(day + hour for day in ("%Y-%m-%d", *DAYS) for hour in HOURS), *MONTHS)


def times(name: str, column: pa.ChunkedArray) -> np.ndarray:
    """``(N,)`` datetime64[ns] (UTC where the column has a time zone), int64 or float64.

    Raises:
        DataError: missing stamps; text that is no date, or a date that can be read in two ways.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if is_text(column.type):
        column = _from_text(name, column)
    gaps = missing(column)
    if gaps.any():
        raise DataError(
            f"time column {name!r} is missing in {int(gaps.sum())} of {len(gaps)} rows, first in row "
            f"{int(gaps.argmax()) + 1}; fill them in or drop these rows."
        )
    type = column.type
    if types.is_integer(type) or types.is_time(type) or types.is_duration(type):
        if not types.is_integer(type):
            column = pc.cast(column, pa.int32() if types.is_time32(type) else pa.int64())
        return pc.cast(column, pa.int64()).to_numpy()
    if types.is_floating(type) or types.is_decimal(type):
        return pc.cast(column, pa.float64()).to_numpy()
    if types.is_timestamp(type) or types.is_date(type):
        try:
            column = pc.cast(column, pa.timestamp("ns", tz=getattr(type, "tz", None)))
        except pa.ArrowInvalid as error:
            raise DataError(f"time column {name!r} holds dates outside of the years 1678 to 2261.") from error
        return pc.cast(column, pa.int64()).to_numpy().view("datetime64[ns]")
    raise DataError(f"time column {name!r} holds {type} values; a time is a number or a date.")


def _from_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.dictionary_encode().unify_dictionaries().combine_chunks()
    texts = pc.utf8_trim_whitespace(array.dictionary)  # each text once: most formats are tried in vain
    for type in (pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.int64(), pa.float64()):
        try:
            return pa.chunked_array([pc.cast(texts, type).take(array.indices)])
        except pa.ArrowInvalid:
            continue  # the next type; there is no question "does it parse" to ask beforehand
    found: dict[str, pa.Array] = {}
    for format in FORMATS:
        read = pc.strptime(texts, format=format, unit="s", error_is_null=True)
        # %Y takes "24" for the year 24, so that a year of two digits would fit several formats.
        if read.null_count or pc.min(pc.year(read)).as_py() < 1000:
            continue
        if not any(read.equals(other) for other in found.values()):
            found[format] = read
    if len(found) > 1:
        raise DataError(
            f"time column {name!r} can be read in {len(found)} ways ({', '.join(found)}), for example "
            f"{texts[0].as_py()!r}; write it as 2024-12-31."
        )
    if not found:
        values = texts.to_pylist()
        reads = (pc.strptime(texts, format=format, unit="s", error_is_null=True) for format in FORMATS)
        tried = min(reads, key=lambda read: read.null_count)  # the format that most rows have shows the odd one out
        bad = int(np.argmax(missing(pa.chunked_array([tried]))))
        row = int(np.argmax(array.indices.fill_null(-1).to_numpy() == bad)) + 1
        raise DataError(
            f"time column {name!r} holds {values[bad]!r} in row {row}, which is neither a number nor a date; write "
            "dates as 2024-12-31 or 2024-12-31T23:59:00."
        )
    ((_, read),) = found.items()
    return pa.chunked_array([read.take(array.indices)])


def uneven(time: np.ndarray, offsets: np.ndarray) -> str:
    """In words, how the time steps differ in size; empty where they are all equal, or all a month, quarter or year."""
    steps = _steps(time, offsets)
    if not len(steps):
        return ""
    dates = time.dtype.kind == "M"
    middle = np.sort(steps)[len(steps) // 2]  # a step that occurs; np.median may lie between two
    if dates and np.timedelta64(28, "D") <= middle <= np.timedelta64(366, "D"):
        months = time.astype("datetime64[M]")
        day = (time - months.astype(time.dtype)).astype("timedelta64[D]").astype(int)
        last = ((months + 1).astype(time.dtype) - time).astype("timedelta64[D]").astype(int)
        jumps = _steps(months, offsets)
        if (jumps == jumps[0]).all() and (np.ptp(day) == 0 or np.ptp(last) == 0):
            return ""
    tolerance = abs(middle) * 1e-6 if time.dtype.kind == "f" else middle * 0
    odd = int((np.abs(steps - middle) > tolerance).sum())
    if not odd:
        return ""
    gaps = int((steps > middle * 1.5).sum())
    show = _span if dates else "{:g}".format
    return (
        f"The time steps are not all equal: the median is {show(middle)}, {odd} of {len(steps)} differ from it, "
        f"{gaps} of them gaps (the largest {show(steps.max())}); a forecast counts rows, not time."
    )


def _steps(time: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    inside = np.ones(max(len(time) - 1, 0), bool)
    inside[offsets[1:-1] - 1] = False
    return np.diff(time)[inside]


def _span(step: np.timedelta64) -> str:
    seconds = float(step / np.timedelta64(1, "s"))
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            return f"{seconds / size:g} {word}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"
