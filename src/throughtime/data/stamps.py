"""Time columns: Arrow columns of dates and numbers as time stamps in NumPy, and stamps as such columns again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from . import zones
from .calendars import Stamps, count_missing
from .columns import is_text, missing
from .dates import PERIODS, read_dates, write_periods
from .digits import FORMS, MONTH_BEHIND, is_digits, read_digits, write_digits

if TYPE_CHECKING:
    import pyarrow as pa

ISO_WITH_OFFSET = re.compile(r"\d{4}-\d\d-\d\d(.)\d\d:\d\d(:\d\d)?(?:[.,]\d+)?(Z|[+-]\d\d(:?)(?:\d\d)?)")


def read_times(
    name: str,
    column: pa.ChunkedArray,
    *,
    like: Stamps | None = None,
    order: str = "",
    notes: list[str] | None = None,
) -> tuple[np.ndarray, Stamps]:
    """``(N,)`` datetime64[ns] (UTC where the column has a time zone), int64 or float64, and how they were written.

    Args:
        like: how the column was written in the table trained on, where that is another one.
        order: what the user says of it: "number" for numbers that are no dates, or one of ``dates.ORDERS``.
        notes: what was decided is appended.

    Raises:
        DataError: missing stamps; text that is no date, or a date that can be read in two ways.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    notes = [] if notes is None else notes
    if types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    stamps = Stamps(type=_type_name(column.type))
    if is_text(column.type):
        column, stamps = _from_text(name, column, like, order, notes)
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
        if types.is_uint64(type) and pc.max(column).as_py() >= 2**63:
            raise DataError(
                f"time column {name!r} holds {pc.max(column).as_py()}, and whole numbers are read up to {2**63 - 1}; "
                "count time from a later start, or in larger units."
            )
        numbers = pc.cast(column, pa.int64()).to_numpy()
        return _or_dates(name, numbers, stamps, like, order, notes) if types.is_integer(type) else (numbers, stamps)
    if types.is_floating(type) or types.is_decimal(type):
        return _or_dates(name, pc.cast(column, pa.float64()).to_numpy(), stamps, like, order, notes)
    if types.is_timestamp(type) or types.is_date(type):
        zone = getattr(type, "tz", None)
        try:
            column = pc.cast(column, pa.timestamp("ns", tz=zone))
        except pa.ArrowInvalid as error:
            raise DataError(_too_far(name, column)) from error
        if zone is not None and not zones.is_known(zone):
            raise DataError(
                f"time column {name!r} has the time zone {zone!r}, which this system does not know; convert the column "
                "to a zone such as 'Europe/Berlin', or to UTC."
            )
        stamps = stamps if zone is None or stamps.zone is not None else Stamps(type=stamps.type, zone=zone)
        return pc.cast(column, pa.int64()).to_numpy().view("datetime64[ns]"), stamps
    raise DataError(f"time column {name!r} holds {type} values; a time is a number or a date.")


def _too_far(name: str, column: pa.ChunkedArray) -> str:
    """The first date that nanoseconds in 64 bits do not hold, in words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64()).to_numpy() / 86_400
    row = int(np.argmax((days < -106_000) | (days > 106_000)))
    shown = np.datetime64(int(days[row]), "D")
    return (
        f"time column {name!r} holds {shown} in row {row + 1}; dates are read from the year 1678 to 2261. Mend it, or "
        "leave the row out."
    )


def _type_name(type: pa.DataType) -> str:
    from pyarrow import types

    if is_text(type):
        return "string"
    if types.is_timestamp(type) or types.is_time(type) or types.is_duration(type):
        return str(type).partition("[")[0] + f"[{type.unit}]"
    return str(type).partition("[")[0]


# -- whole numbers -----------------------------------------------------------------------------------------------


def _or_dates(
    name: str, numbers: np.ndarray, stamps: Stamps, like: Stamps | None, order: str, notes: list[str]
) -> tuple[np.ndarray, Stamps]:
    """Numbers as they are, or the dates that they are written for: 20240131."""
    recorded = None if like is None else like.format
    if order == "number" or (like is not None and not is_digits(recorded)):
        return numbers, stamps
    found = read_digits(name, numbers, recorded=recorded, order=order)
    if found is None and recorded is not None:
        raise DataError(
            f"time column {name!r} held times written as {recorded} in the table trained on, and holds "
            f"{numbers[0]:.15g} to {numbers[-1]:.15g} here; write them in the same way."
        )
    if found is None and order:
        raise DataError(
            f"time column {name!r} holds {numbers[0]:.15g}, which is no date with dtypes={{{name!r}: {order!r}}}."
        )
    if found is None:
        return numbers, stamps
    dates, format = found
    whole, of_day = f"{numbers[0]:.15g}", format.startswith("%H")
    unit = "M" if format in ("%Y%m", "%Y%q", MONTH_BEHIND) else "D" if len(whole) <= 8 and not of_day else "m"
    shown = str(dates[0].astype(f"datetime64[{unit}]"))[11 if of_day else 0 :]
    form = "" if format == "%Y%m%d" else f" ({format})"
    notes.append(
        f"The numbers of time column {name!r} are {'times of day' if of_day else 'dates'}, such as "
        f"{whole} for {shown}{form}: they are sorted, and go on, as such. dtypes={{{name!r}: 'number'}} keeps numbers."
    )
    return dates, Stamps(type="int64" if stamps.type.startswith("decimal") else stamps.type, format=format)


# -- text --------------------------------------------------------------------------------------------------------


def _from_text(
    name: str, column: pa.ChunkedArray, like: Stamps | None, order: str, notes: list[str]
) -> tuple[pa.ChunkedArray, Stamps]:
    import pyarrow as pa
    import pyarrow.compute as pc

    # In one piece: dictionaries of the chunks of a CSV, in which each text is another, take long to unify.
    array = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    texts = pc.utf8_trim_whitespace(array.dictionary)  # each text once: most formats are tried in vain
    stamps = Stamps(type="string")
    for type in (pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.int64(), pa.float64()):
        try:
            read = pc.cast(texts, type)
        except pa.ArrowInvalid:
            continue  # the next type; there is no question "does it parse" to ask beforehand
        if type == pa.timestamp("ns", "UTC"):
            last = texts[array.indices.drop_null()[-1].as_py()].as_py()
            stamps = _with_offsets(name, read, texts, last, like, notes)
        return pa.chunked_array([read.take(array.indices)]), stamps
    recorded = None if like is None else like.format
    read, format, said = read_dates(name, array.indices, texts, recorded=recorded, order=order)
    notes.extend(said)
    return pa.chunked_array([read.take(array.indices)]), Stamps(type="string", format=format)


def _with_offsets(
    name: str, read: pa.Array, texts: pa.Array, last: str, like: Stamps | None, notes: list[str]
) -> Stamps:
    """How ISO dates with offsets are written: in a zone that has these offsets, else at the last one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = pc.utf8_slice_codeunits(texts, -6, stop=10**6).dictionary_encode()  # few, where the texts are many
    seconds = np.array([_seconds_of(end) for end in ends.dictionary.to_pylist()], "timedelta64[s]")
    offsets = seconds[ends.indices.to_numpy()]
    time = pc.cast(read, pa.int64()).to_numpy().view("datetime64[ns]")
    order = np.argsort(time, kind="stable")
    zone = zones.find_zone(time[order], offsets[order], None if like is None else like.zone)
    if zone is None:
        zone = zones.write_offset(offsets[order[-1]])
        notes.append(
            f"The offsets of time column {name!r} are those of no time zone; forecasts have its last offset, {zone}."
        )
    elif (offsets != offsets[0]).any():
        notes.append(f"The offsets of time column {name!r} are those of {zone}; forecasts have its offsets too.")
    match = ISO_WITH_OFFSET.fullmatch(last)
    between, second, offset, colon = match.groups() if match is not None else ("T", ":00", "+00:00", ":")
    ending = "Z" if offset == "Z" and zones.is_utc(zone) else "%:z" if colon or offset == "Z" else "%z"
    return Stamps(type="string", zone=zone, format=f"%Y-%m-%d{between}%H:%M{':%S' if second else ''}{ending}")


def _seconds_of(end: str) -> int:
    """The offset that a text ends with, in seconds."""
    match = re.search(r"([+-])(\d\d):?(\d\d)?$", end)
    if match is None:
        return 0  # Z
    sign, hours, minutes = match.groups()
    return (int(hours) * 3600 + int(minutes or 0) * 60) * (-1 if sign == "-" else 1)


# -- writing -----------------------------------------------------------------------------------------------------


def write_times(time: np.ndarray, stamps: Stamps | None) -> pa.Array:
    """Time stamps ``(N,)`` as a column like the one that ``stamps`` was read from.

    Dates that were text without an offset become dates, which are not read in two ways. A unit that cannot hold the
    stamps gives way to a finer one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if stamps is None or not stamps.type:
        return pa.array(_coarsest(time))
    if time.dtype.kind != "M":
        return _number_column(time, stamps.type)
    if stamps.format is not None and is_digits(stamps.format):
        whole = pa.array(write_digits(time, stamps.format))
        if stamps.type != "string":
            return whole.cast(pa.type_for_alias(stamps.type))
        wide = FORMS[stamps.format].width if stamps.format in FORMS else 0
        return pc.utf8_lpad(whole.cast(pa.string()), wide, padding="0")
    if stamps.type == "string" and stamps.format in PERIODS:
        return pa.array(write_periods(time, stamps.format), pa.string())
    if stamps.zone is not None and stamps.type == "string":
        return pa.array(_iso(time, stamps.zone, stamps.format or ""), pa.string())
    if stamps.type.startswith("timestamp"):
        unit = next(unit for unit in (stamps.type[10:-1], "ms", "us", "ns") if _holds(unit, time))
        column = pa.array(time.astype(f"datetime64[{unit}]"))
        if stamps.zone is not None:
            column = column.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, stamps.zone))
        return column
    if stamps.type.startswith("date") and _holds("D", time):
        return pa.array(time.astype("datetime64[D]")).cast(pa.type_for_alias(stamps.type))
    return pa.array(_coarsest(time))


def write_texts(time: np.ndarray, stamps: Stamps | None) -> list[Any]:
    """Time stamps ``(N,)`` for a report: ISO text, with the offset where there is a zone; numbers as they are."""
    if time.dtype.kind != "M":
        return time.tolist()
    if stamps is not None and stamps.zone is not None:
        return _iso(time, stamps.zone, "%Y-%m-%dT%H:%M:%S%:z")
    return np.datetime_as_string(time, unit="s").tolist()


def _holds(unit: str, time: np.ndarray) -> bool:
    return bool((time.astype(f"datetime64[{unit}]") == time).all())


def _coarsest(time: np.ndarray) -> np.ndarray:
    """Time stamps in the coarsest of days, seconds and nanoseconds that loses nothing."""
    if np.issubdtype(time.dtype, np.datetime64):
        for unit in ("D", "s"):
            if _holds(unit, time):
                return time.astype(f"datetime64[{unit}]")
    return time


def _number_column(time: np.ndarray, type: str) -> pa.Array:
    import pyarrow as pa

    if type.startswith("duration") and time.dtype.kind == "i":
        return pa.array(time).cast(pa.type_for_alias(type))
    if type.startswith("time") and time.dtype.kind == "i":
        day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[type.partition("[")[2][:-1]]
        column = pa.array(time % day)  # after 23:00 comes 0:00
        return column.cast(pa.int32() if type.startswith("time32") else pa.int64()).cast(pa.type_for_alias(type))
    if type.startswith(("int", "uint")) and time.dtype.kind == "i":
        bits = np.iinfo(type)
        if len(time) and bits.min <= int(time.min()) and int(time.max()) <= bits.max:
            return pa.array(time.astype(type))
    return pa.array(time)


def _iso(time: np.ndarray, zone: str, format: str) -> list[str]:
    """ISO texts of the wall clock with its offset."""
    local = zones.to_local(time, zone)
    units = ("s", "ms", "us", "ns") if "%S" in format else ("m", "s", "ms", "us", "ns")
    unit: Any = next(unit for unit in units if _holds(unit, local))
    texts = np.datetime_as_string(local, unit=unit)
    if not format.startswith("%Y-%m-%dT"):
        texts = np.char.replace(texts, "T", format[8])
    offsets = (local - time).astype("timedelta64[s]")
    if format.endswith("Z"):
        return [f"{text}Z" for text in texts.tolist()]
    written = {one: zones.write_offset(one, colon="%:z" in format) for one in np.unique(offsets)}
    return [f"{text}{written[one]}" for text, one in zip(texts.tolist(), offsets, strict=True)]


# -- notes -------------------------------------------------------------------------------------------------------


def uneven(time: np.ndarray, offsets: np.ndarray, stamps: Stamps | None = None) -> str:
    """In words, how the time steps differ in size; empty where they are all equal, or all a month, quarter or year.

    Args:
        stamps: whose calendar, if it has one, explains the steps.
    """
    calendar = None if stamps is None else stamps.calendar
    zone = None if stamps is None else stamps.zone
    longest = int(np.argmax(np.diff(offsets)))
    series = time[offsets[longest] : offsets[longest + 1]]
    if calendar is not None and calendar.words():
        absent = count_missing(series, calendar, zone)
        return (
            f"The time stamps are {calendar.words()}{f', {absent} of which are missing' if absent else ''}; forecasts "
            "have the next ones, and count rows, not time."
        )
    dates = time.dtype.kind == "M"
    if dates and calendar is not None and (calendar.local or calendar.kind == "month"):
        time = zones.to_local(time, zone)
    steps = _steps(time, offsets)
    if not len(steps):
        return ""
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
    said = (
        f"The time steps are not all equal: the median is {show(middle)}, {odd} of {len(steps)} differ from it, "
        f"{gaps} of them gaps (the largest {show(steps.max())}); a forecast counts rows, not time."
    )
    if calendar is not None and not calendar.sure:
        said += " Its time stamps go on by the median step of each series."
    elif (
        calendar is not None and dates and calendar.kind == "step" and calendar.step != middle / np.timedelta64(1, "ns")
    ):
        said += f" Its time stamps go on every {_span(np.timedelta64(int(calendar.step), 'ns'))}."
    skipped = _skipped_hours(time, offsets, middle) if dates and zone is None else ""
    return said + skipped


def _skipped_hours(time: np.ndarray, offsets: np.ndarray, middle: np.timedelta64) -> str:
    """Which gaps of an hour are where daylight saving begins."""
    inside = np.append(False, time[1:] - time[:-1] == middle + np.timedelta64(1, "h"))
    inside[offsets[:-1]] = False
    at = np.flatnonzero(inside)
    if middle >= np.timedelta64(1, "D") or not 0 < len(at) <= 100:
        return ""
    zone = zones.skipping_zone(time[at - 1], time[at])
    if zone is None:
        return ""
    return (
        f" {len(at)} of the gaps {'are hours' if len(at) > 1 else 'is the hour'} that daylight saving skips, as in "
        f"{zone}, first before {str(time[at[0]])[:16]}; write the times in UTC or with offsets to keep steps equal."
    )


def explain_repeats(stamps: np.ndarray, name: str) -> str | None:
    """That daylight saving ends where all of the wall times that are repeated ``(n,)`` occur twice, and a way out."""
    if stamps.dtype.kind != "M" or len(stamps) > 1000:
        return None
    zone = zones.repeating_zone(stamps)
    if zone is None:
        return None
    return (
        f"{len(stamps)} row{'s repeat' if len(stamps) > 1 else ' repeats'} a time stamp, for example "
        f"{name}={str(stamps[0])[:19]}, all in the hour that occurs twice as daylight saving ends, as in {zone}: the "
        "column holds local time without its offset. Write it in UTC or with offsets (2024-10-27T02:30:00+01:00); "
        f"in pandas: frame[{name!r}] = frame[{name!r}].dt.tz_localize({zone!r}, ambiguous='infer')."
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
