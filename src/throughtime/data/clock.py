"""A time that stands in several columns: a date and a time of day, or year, month, day, hour, minute, second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError, DataError, listed
from . import columns as col
from .digits import week_starts
from .stamps import read_times

if TYPE_CHECKING:
    import pyarrow as pa

CLOCK = re.compile(r"\s*(\d{1,2})[:.hH](\d\d)(?:[:.](\d\d)(?:[.,](\d{1,9}))?)?\s*(?:([aApP])\.?[mM]\.?)?\s*")
# What a part of a time may be called, and the numbers that it may be.
PARTS = {
    "year": ("year yr yyyy y jahr annee année ano año anno jaar", 1678, 2261),
    "quarter": ("quarter qtr q quartal trimestre trim kwartaal", 1, 4),
    "month": ("month mon mo mm mnth monat mois mes mese maand", 1, 12),
    "week": ("week wk isoweek kw woche semaine semana settimana weekofyear weeknum", 1, 53),
    "day": ("day dy dd d dom dayofmonth tag jour dia día giorno dag mday", 1, 31),
    "day of year": ("doy dayofyear yday yearday julian julianday jday ordinal", 1, 366),
    "hour": ("hour hr hh h hourofday stunde std heure hora ora uur", 0, 24),
    "minute": ("minute min mi minuto", 0, 59),
    "second": ("second sec ss s sekunde seconde segundo", 0, 60),
}
CALENDAR = (("year",), ("year", "quarter"), ("year", "month"), ("year", "week"), ("year", "day of year"),
            ("year", "month", "day"))  # fmt: skip
TIMES_OF_DAY = "time tod clock uhrzeit zeit heure hora hms hhmm hhmmss timeofday tijd horario"
SECOND = 10**9


def part_of(name: str) -> str:
    """Which of PARTS a column is, by its name; empty for others.

    Example:
        >>> part_of("Year"), part_of("day_of_year"), part_of("season")
        ('year', 'day of year', '')
    """
    plain = re.sub(r"[^a-zà-ÿ]", "", name.casefold())
    return next((part for part, (names, _, _) in PARTS.items() if plain in names.split()), "")


def join_times(parts: Sequence[tuple[str, pa.ChunkedArray]], order: str = "") -> np.ndarray:
    """``(N,)`` datetime64[ns] from the columns of a time.

    Args:
        parts: names and columns: a date and a time of day; or numbers, whose names say which PARTS they are: a year, a
            month, a day, an hour; a year and a quarter, an ISO week or a day of the year.
        order: of the date, as for ``read_times``.

    Raises:
        ArgumentError: other columns. DataError: values that are no such part, with the row.

    Example:
        >>> import pyarrow as pa
        >>> day, hour = pa.chunked_array([["31.12.2024"]]), pa.chunked_array([["18:30"]])
        >>> str(join_times([("day", day), ("hour", hour)])[0])[:16]
        '2024-12-31T18:30'
        >>> str(join_times([("year", pa.chunked_array([[2024]])), ("quarter", pa.chunked_array([[4]]))])[0])[:10]
        '2024-10-01'
    """
    names = [name for name, _ in parts]
    first = parts[0][1]
    numbered = all(col.kind(column.type) == "number" for _, column in parts)
    if numbered and (part_of(names[0]) or np.nanmax(col.numbers(first), initial=0) <= PARTS["year"][2]):
        return _calendar(names, [column for _, column in parts])
    dates, _ = read_times(names[0], first, order=order)
    if dates.dtype.kind != "M" or len(parts) != 2:
        raise ArgumentError(
            f"time={listed(names)} is not a date and a time of day, nor numbers that are year, month, day, hour, ...; "
            "name the columns in this order."
        )
    within = dates - dates.astype("datetime64[D]")
    if within.any():
        raise DataError(f"time column {names[0]!r} holds times of day already; name it alone, without {names[1]!r}.")
    return dates + _clock(*parts[1]).view("timedelta64[ns]")


def _calendar(names: list[str], columns: list[pa.ChunkedArray]) -> np.ndarray:
    known = [part_of(name) for name in names]
    date = tuple(part for part in PARTS if part in known and part not in ("hour", "minute", "second"))
    clock = tuple(part for part in ("hour", "minute", "second") if part in known)
    whole = ("hour", "minute", "second")[: len(clock)] == clock
    if "" in known or len(set(known)) < len(known) or date not in CALENDAR or not whole:
        odd = f"{names[known.index('')]!r} is none of these" if "" in known else "these do not make up a time"
        raise ArgumentError(
            f"time={listed(names)} is numbers, and their names have to say what they are, such as year, month, day, "
            f"hour, minute, second, quarter, week or day_of_year; {odd}. Rename it, or name other columns."
        )
    if clock and date not in (("year", "month", "day"), ("year", "day of year")):
        raise ArgumentError(f"time={listed(names)} has an {clock[0]} and no day; name the column of the day as well.")
    values = {}
    for name, column, part in zip(names, columns, known, strict=True):
        _, least, most = PARTS[part]
        numbers = col.numbers(column)
        wrong = ~((numbers >= least) & (numbers <= most) & (numbers == np.floor(numbers)))
        if wrong.any():
            raise DataError(
                f"time column {name!r} holds {numbers[wrong.argmax()]:g} in row {int(wrong.argmax()) + 1}, which is no "
                f"{part} ({least} to {most})."
            )
        values[part] = numbers.astype(np.int64)
    days = _days(values)
    seconds = np.zeros(len(days), np.int64)
    for part, size in zip(clock, (3600, 60, 1), strict=False):
        seconds += values[part] * size
    return days.astype("datetime64[ns]") + (seconds * SECOND).view("timedelta64[ns]")


def _days(values: dict[str, np.ndarray]) -> np.ndarray:
    """``(N,)`` datetime64[D]: the first day of a longer part."""
    year = values["year"]
    years = (year - 1970).astype("datetime64[Y]")
    if "week" in values:
        starts, there = week_starts(year, values["week"])
        _refuse_absent(there, year, "week", values["week"])
        return starts.astype("datetime64[D]")
    if "day of year" in values:
        days = years.astype("datetime64[D]") + (values["day of year"] - 1)
        _refuse_absent(days.astype("datetime64[Y]") == years, year, "day", values["day of year"])
        return days
    month = values["month"] if "month" in values else values["quarter"] * 3 - 2 if "quarter" in values else 1
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    if "day" not in values:
        return months.astype("datetime64[D]")
    days = months.astype("datetime64[D]") + (values["day"] - 1)
    there = days.astype("datetime64[M]") == months
    if not there.all():
        row = int(there.argmin())
        raise DataError(f"{months[row]} has no day {values['day'][row]}, which row {row + 1} says.")
    return days


def _refuse_absent(there: np.ndarray, year: np.ndarray, part: str, values: np.ndarray) -> None:
    if not there.all():
        row = int(there.argmin())
        raise DataError(f"{year[row]} has no {part} {values[row]}, which row {row + 1} says.")


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
        values = column.cast("int64").to_numpy()
        if part_of(name) != "hour" and values.max() <= 24 and not _is_clock(name):
            raise ArgumentError(
                f"time column {name!r} holds {values.min()} to {values.max()}, and its name does not say that these "
                "are hours; rename it to 'hour' if they are, or name another column."
            )
        return _of_digits(name, values)
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


def _is_clock(name: str) -> bool:
    words = re.split(r"[^a-zà-ÿ]+", name.casefold())
    return any(word in TIMES_OF_DAY.split() or part_of(word) == "hour" for word in words)


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
