"""A time that stands in several columns: a date and a time of day, or year, month, day, hour, minute, second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError, DataError, listed
from . import columns as col
from .stamps import read_times

if TYPE_CHECKING:
    import pyarrow as pa

CLOCK = re.compile(r"\s*(\d{1,2})[:.hH](\d\d)(?:[:.](\d\d)(?:[.,](\d{1,9}))?)?\s*(?:([aApP])\.?[mM]\.?)?\s*")
UNITS = ("year", "month", "day", "hour", "minute", "second")
RANGES = ((1678, 2261), (1, 12), (1, 31), (0, 24), (0, 59), (0, 59))
SECOND = 10**9


def join_times(parts: Sequence[tuple[str, pa.ChunkedArray]]) -> np.ndarray:
    """``(N,)`` datetime64[ns] from the columns of a time.

    Args:
        parts: names and columns: a date and a time of day; or numbers, year first, down to any unit of UNITS.

    Raises:
        ArgumentError: other columns. DataError: values that are no such part, with the row.

    Example:
        >>> import pyarrow as pa
        >>> day, hour = pa.chunked_array([["31.12.2024"]]), pa.chunked_array([["18:30"]])
        >>> str(join_times([("day", day), ("hour", hour)])[0])[:16]
        '2024-12-31T18:30'
    """
    names = [name for name, _ in parts]
    first = parts[0][1]
    if col.kind(first.type) == "number" and np.nanmax(col.numbers(first), initial=0) <= RANGES[0][1]:
        return _calendar(names, [column for _, column in parts])
    dates, _ = read_times(names[0], first)
    if dates.dtype.kind != "M" or len(parts) != 2:
        raise ArgumentError(
            f"time={listed(names)} is not a date and a time of day, nor year, month, day, hour, ... as numbers; name "
            "the columns in this order."
        )
    within = dates - dates.astype("datetime64[D]")
    if within.any():
        raise DataError(f"time column {names[0]!r} holds times of day already; name it alone, without {names[1]!r}.")
    return dates + _clock(*parts[1]).view("timedelta64[ns]")


def _calendar(names: list[str], columns: list[pa.ChunkedArray]) -> np.ndarray:
    if len(columns) > len(UNITS):
        raise ArgumentError(f"time={listed(names)} has more columns than {', '.join(UNITS)}.")
    values = []
    for name, column, unit, (least, most) in zip(names, columns, UNITS, RANGES, strict=False):
        if col.kind(column.type) != "number":
            raise DataError(f"time column {name!r} holds {column.type} values; the {unit} of a time is a number.")
        numbers = col.numbers(column)
        wrong = ~((numbers >= least) & (numbers <= most) & (numbers == np.floor(numbers)))
        if wrong.any():
            raise DataError(
                f"time column {name!r} holds {numbers[wrong.argmax()]:g} in row {int(wrong.argmax()) + 1}, which is no "
                f"{unit}; name the columns of a time in the order {', '.join(UNITS)}."
            )
        values.append(numbers.astype(np.int64))
    year, month, day = (*values, *[np.ones_like(values[0])] * 3)[:3]
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    late = days.astype("datetime64[M]") != months
    if late.any():
        row = int(late.argmax())
        raise DataError(f"{year[row]}-{month[row]:02d} has no day {day[row]}, which row {row + 1} says.")
    seconds = np.zeros(len(days), np.int64)
    for value, size in zip(values[3:], (3600, 60, 1), strict=False):
        seconds += value * size
    return days.astype("datetime64[ns]") + (seconds * SECOND).view("timedelta64[ns]")


def _clock(name: str, column: pa.ChunkedArray) -> np.ndarray:
    """``(N,)`` nanoseconds since midnight."""
    import pyarrow as pa

    gaps = col.missing(column)
    if gaps.any():
        raise DataError(
            f"time column {name!r} is missing in {int(gaps.sum())} of {len(gaps)} rows, first in row "
            f"{int(gaps.argmax()) + 1}; fill them in or drop these rows."
        )
    type = column.type
    if pa.types.is_time(type) or pa.types.is_duration(type):
        wide = pa.duration("ns") if pa.types.is_duration(type) else pa.time64("ns")
        return column.cast(wide).cast("int64").to_numpy()
    if pa.types.is_integer(type):
        return _of_digits(name, column.cast("int64").to_numpy())
    if not col.is_text(getattr(type, "value_type", type)):
        raise DataError(f"time column {name!r} holds {type} values, which are no times of day, such as 18:30.")
    index, texts = col.encoded(column)
    read = np.zeros(len(texts), np.int64)
    rows = index.to_numpy(zero_copy_only=False)
    for i, text in enumerate(texts.to_pylist()):  # 86,400 different seconds at most in most tables
        found = CLOCK.fullmatch(text or "")
        hour, minute, second = (int(part or 0) for part in found.group(1, 2, 3)) if found else (99, 0, 0)
        half = (found.group(5) or "").lower() if found else ""
        if half and 1 <= hour <= 12:
            hour = hour % 12 + 12 * (half == "p")
        elif half:
            hour = 99
        if hour > 24 or minute > 59 or second > 60 or (hour == 24 and minute + second):
            row = int(np.argmax(rows == i)) + 1
            raise DataError(
                f"time column {name!r} holds {text!r} in row {row}, which is no time of day, such as 18:30."
            )
        fraction = int((found.group(4) or "").ljust(9, "0")) if found else 0
        read[i] = (hour * 3600 + minute * 60 + second) * SECOND + fraction
    return read[rows]


def _of_digits(name: str, values: np.ndarray) -> np.ndarray:
    """Hours (18), or hours and minutes in one number (1830), or with seconds (183000)."""
    highest = int(values.max(initial=0))
    scale = 1 if highest <= 24 else 100 if highest <= 2400 else 10_000
    hour, rest = values // scale, values % scale
    minute, second = (rest // 100, rest % 100) if scale == 10_000 else (rest, np.zeros_like(rest))
    wrong = (values < 0) | (hour > 24) | (minute > 59) | (second > 59)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"time column {name!r} holds {values[row]} in row {row + 1}, which is no time of day, such as 18, 1830 or "
            "18:30."
        )
    return (hour * 3600 + minute * 60 + second) * SECOND
