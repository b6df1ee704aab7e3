"""Dates and times written as text, in formats of which a whole column has one: 31.12.2024, Dec 31, 2024, 2024-Q4."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .columns import missing
from .digits import regular, week_starts, weeks_of

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%b %d, %Y", "%d %b %Y", "%d-%b-%Y")
HOURS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
MONTHS = ("%Y-%m", "%Y/%m", "%b %Y", "%m/%Y", "%b-%Y", "%m.%Y", "%m-%Y", "%Y %b")
SHORT_DAYS = (
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d", "%y.%m.%d", "%d-%b-%y",
    "%d %b %y",
)  # fmt: skip
SHORT_MONTHS = ("%b-%y", "%b %y", "%b/%y", "%m/%y")
LONG = (*(day + hour for day in ("%Y-%m-%d", *DAYS) for hour in HOURS), *MONTHS)
SHORT = (*(day + hour for day in SHORT_DAYS for hour in HOURS), *SHORT_MONTHS)
FORMATS = (*LONG, *SHORT)
ISO = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")  # read as such where every row is; the odd one out is found by these
ORDERS = {"day-first": "d", "month-first": "m", "year-first": "y"}
SAMPLE = 200


@dataclass(frozen=True)
class _Periods:
    """Quarters or weeks: a pattern with the groups year and part, and how one is written."""

    format: str
    pattern: re.Pattern[str]

    def write(self, year: int, part: int) -> str:
        letters = {"%Y": f"{year}", "%G": f"{year}", "%q": f"{part}", "%V": f"{part:02}"}
        return re.sub("%[YGqV]", lambda letter: letters[letter[0]], self.format)


def _pattern(format: str) -> re.Pattern[str]:
    letters = {"%Y": r"(?P<year>\d{4})", "%G": r"(?P<year>\d{4})", "%q": "(?P<part>[1-4])", "%V": r"(?P<part>\d\d)"}
    found = re.escape(format)
    for letter, group in letters.items():
        found = found.replace(re.escape(letter), group)
    return re.compile(found, re.IGNORECASE)


PERIODS = {
    format: _Periods(format, _pattern(format))
    for format in (
        "%YQ%q", "%Y-Q%q", "%Y Q%q", "%Y/Q%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y", "%qQ%Y", "%qQ %Y", "Q%q%Y",
        "%G-W%V", "%GW%V", "%G W%V", "W%V %G", "W%V-%G", "W%V/%G",
    )
}  # fmt: skip


def read_dates(
    name: str, index: pa.Array, texts: pa.Array, *, recorded: str | None = None, order: str = ""
) -> tuple[pa.Array, str, list[str]]:
    """Texts as timestamps, the format that all have, and what to say of it.

    Args:
        index: of each row into ``texts``, to name a row.
        texts: the different texts of the column, without spaces around them.
        recorded: the format in the table trained on, which decides where several fit.
        order: one of ORDERS, where the user says so.

    Raises:
        DataError: a text that is no date in a format known here; or all of them in several formats that differ.
    """
    if recorded in PERIODS:
        read = _read_periods(texts, PERIODS[recorded])
        if read is not None and not read.null_count:
            return read, recorded, []
    found = _readings(texts, recorded, order)
    if not found:
        sample = _sample(texts)
        for period in PERIODS.values():
            tried = _read_periods(sample, period)
            if tried is not None and 2 * tried.null_count < len(sample):
                read = _read_periods(texts, period)
                assert read is not None
                if read.null_count:
                    raise _odd(name, index, texts, read, period.format, "quarter" if "%q" in period.format else "week")
                return read, period.format, []
        raise _no_date(name, index, texts)
    if len(found) > 1:
        found = _likelier(found)
    if len(found) > 1:
        orders = [order for order in ORDERS if any(_begins(format, order) for format in found)]
        way = " or ".join(f"dtypes={{{name!r}: {one!r}}}" for one in orders)
        raise DataError(
            f"time column {name!r} can be read in {len(found)} ways ({', '.join(found)}), for example "
            f"{texts[0].as_py()!r}; {f'say {way}, or ' if way else ''}write it as 2024-12-31."
        )
    ((format, read),) = found.items()
    notes = []
    if format in SHORT:
        _refuse_yearless(name, texts, format, read)
        first, last = (int(str(end)[:4]) for end in _ends(read))
        notes.append(
            f"The years of time column {name!r} have two digits, as in {texts[0].as_py()!r}: read as {format}, "
            f"{first}{f' to {last}' if last > first else ''}."
        )
    return read, format, notes


def write_periods(time: np.ndarray, format: str) -> list[str]:
    """Quarters or ISO weeks as text.

    Example:
        >>> write_periods(np.array(["2024-10-01"], "datetime64[ns]"), "%Y-Q%q")
        ['2024-Q4']
    """
    if "%q" in format:
        months = time.astype("datetime64[M]").astype(np.int64)
        years, parts = months // 12 + 1970, months % 12 // 3 + 1
    else:
        years, parts = weeks_of(time)
    period = PERIODS[format]
    return [period.write(year, part) for year, part in zip(years.tolist(), parts.tolist(), strict=True)]


# -- which format ------------------------------------------------------------------------------------------------


def _sample(texts: pa.Array) -> pa.Array:
    import pyarrow as pa

    return (
        texts if len(texts) <= SAMPLE else texts.take(pa.array(np.linspace(0, len(texts) - 1, SAMPLE).astype(np.int64)))
    )


def _readings(texts: pa.Array, recorded: str | None, order: str) -> dict[str, pa.Array]:
    """The formats that all texts have, each with its own dates; most are ruled out by a sample."""
    sample = _sample(texts)
    found: dict[str, pa.Array] = {}
    first = (recorded,) if recorded in FORMATS else ()
    for format in (*first, *(one for one in FORMATS if not order or _begins(one, order) or not _has_order(one))):
        if not len(sample) or _read(sample, format).null_count:
            continue
        read = _read(texts, format)
        if read.null_count:
            continue
        if format == recorded:
            return {format: read}
        if not any(read.equals(other) for other in found.values()):
            found[format] = read
    return found


def _has_order(format: str) -> bool:
    """Whether it is of those whose order is a question: numbers alone, the year not in four digits at the front."""
    return "%b" not in format and not format.startswith("%Y") and "%d" in format


def _begins(format: str, order: str) -> bool:
    return _has_order(format) and format[1] in ORDERS[order]


def _likelier(found: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Years of two digits in front or behind: the reading that rises with the rows, or lies much closer together.

    Whether the day or the month comes first is never found in this way.
    """
    front = {format: read for format, read in found.items() if format.startswith("%y")}
    behind = {format: read for format, read in found.items() if format not in front}
    if not front or not behind:
        return found

    def judge(readings: dict[str, pa.Array]) -> tuple[bool, float]:
        times = [read.cast("timestamp[s]").cast("int64").to_numpy(zero_copy_only=False) for read in readings.values()]
        rises = any((np.diff(one) >= 0).all() for one in times)
        return rises, min(float(np.ptp(one)) for one in times)

    (up, far), (down, wide) = judge(front), judge(behind)
    if up != down:
        return front if up else behind
    if 10 * far < wide:
        return front
    return behind if 10 * wide < far else found


def _refuse_yearless(name: str, texts: pa.Array, format: str, read: pa.Array) -> None:
    """Jan-10 is January 2010, or the tenth of January."""
    if format not in SHORT_MONTHS or len(read) < 2:
        return
    months = read.cast("timestamp[s]").to_numpy(zero_copy_only=False).astype("datetime64[M]")
    if len(np.unique(months.astype(np.int64) % 12)) == 1 or regular(months) < 0.5:
        raise DataError(
            f"time column {name!r} holds {texts[0].as_py()!r}, which is a month with a year or a day without one; "
            "write the year in four digits, as 2024-12 or 2024-12-31."
        )


def _ends(read: pa.Array) -> tuple[datetime, datetime]:
    import pyarrow.compute as pc

    ends = pc.min_max(read).as_py()
    return ends["min"], ends["max"]


# -- the odd one out ---------------------------------------------------------------------------------------------


def _no_date(name: str, index: pa.Array, texts: pa.Array) -> DataError:
    reads = {format: _read(texts, format) for format in (*LONG, *ISO, *SHORT)}
    # The format that most rows have shows the odd one out.
    format, tried = min(reads.items(), key=lambda read: read[1].null_count)
    return _odd(name, index, texts, tried, format, "day")


def _odd(name: str, index: pa.Array, texts: pa.Array, read: pa.Array, format: str, what: str) -> DataError:
    import pyarrow as pa

    bad = int(np.argmax(missing(pa.chunked_array([read]))))
    text, rows = texts[bad].as_py(), index.fill_null(-1).to_numpy(zero_copy_only=False)
    row = int(np.argmax(rows == bad)) + 1
    begins = f"time column {name!r} holds {text[:60]!r} in row {row}, which is "
    if (what == "day" and _rolls_over(text, format)) or (what == "week" and PERIODS[format].pattern.fullmatch(text)):
        return DataError(f"{begins}no {what} of the calendar; correct it, or leave the row out.")
    most = len(texts) > 2 * read.null_count
    others = f"; the others are written as {format}" if most else ""
    total = ""
    if most and not re.search(r"\d", text):
        total = " If this row holds a total or units, leave it out." if row in (1, len(rows)) else ""
    return DataError(
        f"{begins}neither a number nor a date{others}; write dates as 2024-12-31 or 2024-12-31T23:59:00.{total}"
    )


# -- reading -----------------------------------------------------------------------------------------------------


def _read_periods(texts: pa.Array, period: _Periods) -> pa.Array | None:
    """Null where a text is no such period; None where the first ones are none."""
    import pyarrow as pa

    values = texts.to_pylist()
    matches = [period.pattern.fullmatch(text) for text in values]
    years = np.array([int(match["year"]) if match else 1970 for match in matches])
    parts = np.array([int(match["part"]) if match else 1 for match in matches])
    known = np.array([match is not None for match in matches], bool)
    if not known.any():
        return None
    if "%q" in period.format:
        times = ((years - 1970) * 12 + parts * 3 - 3).astype("datetime64[M]").astype("datetime64[s]")
    else:
        starts, there = week_starts(years, parts)
        times, known = starts.astype("datetime64[s]"), known & there
    return pa.array(times, mask=~known)


def _read(texts: pa.Array, format: str) -> pa.Array:
    """Texts in a format, null where they have another one or name a day that is none, such as 31 April.

    Arrow goes on to the next month then: to its first three days.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    read = pc.strptime(texts, format=format, unit="s", error_is_null=True)
    if "%Y" in format and (pc.min(pc.year(read)).as_py() or 1000) < 1000:  # %Y takes "24" for the year 24
        read = pc.if_else(pc.less(pc.year(read), 1000), None, read)
    if "%d" not in format or read.null_count == len(read):
        return read
    after = pc.is_in(pc.month(read), pa.array([3, 5, 7, 10, 12], pa.int64()))
    at = np.flatnonzero(pc.and_(after, pc.less_equal(pc.day(read), 3)).fill_null(False).to_numpy(zero_copy_only=False))
    rolled = np.zeros(len(read), bool)
    rolled[at] = [_rolls_over(text, format) for text in texts.take(pa.array(at)).to_pylist()]
    return pc.if_else(pa.array(rolled), None, read) if rolled.any() else read


def _rolls_over(text: str, format: str) -> bool:
    """Whether Arrow reads a text, and the calendar does not have its day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    read = pc.strptime(pa.array([text]), format=format, unit="s", error_is_null=True)
    if read.null_count or (format not in SHORT and pc.year(read)[0].as_py() < 1000):
        return False
    try:
        datetime.strptime(text, format)
    except ValueError:
        return True
    return False
