"""Time zones: instants as local time and back, the zone that offsets follow, hours that daylight saving repeats.

PyArrow converts whole columns, zoneinfo answers for single stamps; both read the system's time zone database. PyArrow
(26) ends daylight saving with the year 2037, where the database's list of changes ends and its rule goes on, so later
stamps are left to zoneinfo.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

# Tried first, by the number of people who live by them: several zones often have the same offsets.
COMMON = (
    "Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles",
    "Europe/Athens", "Australia/Sydney", "Australia/Adelaide", "Pacific/Auckland", "America/Santiago",
    "America/Halifax", "America/St_Johns", "America/Havana", "Asia/Jerusalem", "Asia/Beirut", "Africa/Cairo",
    "America/Sao_Paulo", "Asia/Tehran", "Australia/Lord_Howe", "Europe/Moscow", "Atlantic/Azores",
)  # fmt: skip
# A skipped hour is looked for in gaps up to this long; a longer gap that lies over one is missing rows.
LONGEST_SKIP = np.timedelta64(1, "D")
# From here on PyArrow's conversions are not those of the rule, see above.
LISTED_UNTIL = np.datetime64("2037-01-01", "ns")


def is_utc(zone: str | None) -> bool:
    """Whether local time is the time as stored: no zone, or UTC."""
    return zone is None or zone.upper() in ("UTC", "Z", "ETC/UTC", "GMT", "+00:00", "-00:00")


def is_known(zone: str) -> bool:
    """Whether PyArrow can convert to this zone."""
    import pyarrow as pa

    try:
        to_local(np.zeros(1, "datetime64[ns]"), zone)
    except pa.ArrowInvalid:  # there is no list of what it knows to look into beforehand: offsets are among it
        return False
    return True


def to_local(time: np.ndarray, zone: str | None) -> np.ndarray:
    """``(N,)`` datetime64[ns] in UTC as the wall clock of ``zone`` shows it."""
    if is_utc(zone) or not len(time):
        return time
    import pyarrow as pa
    import pyarrow.compute as pc

    instants = pa.array(time.astype("datetime64[ns]")).cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ns", zone))
    made = pc.local_timestamp(instants).cast(pa.int64()).to_numpy().view("datetime64[ns]")
    return _by_rule(made, time, zone, _offset_at)


def to_utc(local: np.ndarray, zone: str | None) -> np.ndarray:
    """``(N,)`` wall times to UTC: the first of two in a repeated hour; in a skipped one, the moment it is skipped."""
    if is_utc(zone) or not len(local):
        return local
    import pyarrow as pa
    import pyarrow.compute as pc

    times = pc.assume_timezone(pa.array(local), zone, ambiguous="earliest", nonexistent="latest")
    made = times.cast(pa.int64()).to_numpy().view("datetime64[ns]")
    return _by_rule(made, local, zone, _offset_to_utc)


def _by_rule(
    made: np.ndarray, given: np.ndarray, zone: str | None, offset: Callable[[ZoneInfo, datetime], timedelta]
) -> np.ndarray:
    """``made`` with what PyArrow converts wrongly put right."""
    late = given >= LISTED_UNTIL
    if not late.any() or zone is None or zone not in available_timezones():
        return made
    hours, place = np.unique(given[late].astype("datetime64[s]"), return_inverse=True)
    shifts = [offset(_zone(zone), one) for one in hours.tolist()]
    made = made.copy()
    made[late] = given[late] + np.array(shifts, "timedelta64[s]")[place]
    return made


def _offset_at(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta(0)


def _offset_to_utc(zone: ZoneInfo, local: datetime) -> timedelta:
    first, second = (local - (local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0)) for fold in (0, 1))
    if first <= second:
        return first - local
    # Skipped: between the two the offset changes, and that moment is asked for.
    low, high = second, first
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle -= timedelta(microseconds=middle.microsecond)
        low, high = (middle, high) if _offset_at(zone, middle) == _offset_at(zone, second) else (low, middle)
    return high - local


def find_zone(time: np.ndarray, offsets: np.ndarray, first: str | None = None) -> str | None:
    """A zone whose offsets are ``offsets`` at ``time``, both ``(N,)``; a fixed offset where they are all equal.

    Args:
        time: datetime64[ns], UTC, in any order.
        offsets: timedelta64[s].
        first: a zone to try before others, and before a fixed offset.

    Returns:
        None where no zone has these offsets.
    """

    def follows(zone: str) -> bool:
        # Few stamps settle it for nearly all zones; the one left is asked about every stamp.
        few = to_local(time[probes], zone) - time[probes] == offsets[probes]
        return bool(few.all() and (to_local(time, zone) - time == offsets).all())

    changes = np.flatnonzero(offsets[1:] != offsets[:-1])
    probes = np.unique(np.concatenate([[0, len(time) - 1], changes[:50], changes[:50] + 1]))
    if first is not None and is_known(first) and follows(first):
        return first
    if (offsets == offsets[0]).all():
        return write_offset(offsets[0])
    others = sorted(name for name in available_timezones() if "/" in name and name not in COMMON)
    return next((zone for zone in (*COMMON, *others) if is_known(zone) and follows(zone)), None)


def write_offset(offset: np.timedelta64, *, colon: bool = True) -> str:
    """``+02:00`` for two hours."""
    seconds = int(offset / np.timedelta64(1, "s"))
    minutes = abs(seconds) // 60
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02d}{':' if colon else ''}{minutes % 60:02d}"


def repeating_zone(local: np.ndarray) -> str | None:
    """A zone in which each of the wall times ``(N,)`` occurs twice, as daylight saving ends; None if there is none."""
    return _zone_where(_occurs_twice, local)


def skipping_zone(before: np.ndarray, after: np.ndarray) -> str | None:
    """A zone in which daylight saving begins between the wall times ``before[n]`` and ``after[n]``, for each ``n``."""
    if not len(before) or (after - before > LONGEST_SKIP).any():
        return None
    return _zone_where(_skips, before, after)


def _zone_where(holds: object, *columns: np.ndarray) -> str | None:
    rows = [tuple(one.astype("datetime64[us]").item() for one in row) for row in zip(*columns, strict=True)]
    if not rows or any(not isinstance(one, datetime) for row in rows for one in row):
        return None
    return next((zone for zone in COMMON if all(holds(_zone(zone), *row) for row in rows)), None)  # type: ignore[operator]


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _occurs_twice(zone: ZoneInfo, local: datetime) -> bool:
    early, late = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return early < late


def _skips(zone: ZoneInfo, before: datetime, after: datetime) -> bool:
    early, late = (local.replace(tzinfo=zone) for local in (before, after))
    gone = late.utcoffset() - early.utcoffset()  # type: ignore[operator]
    return bool(gone > timedelta(0) and gone < after - before)
