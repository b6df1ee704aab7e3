"""The calendar that the time stamps of a series follow, and the stamps that come next. Numbers in, numbers out.

Stamps are datetime64[ns]: instants in UTC where the column has a zone, else wall times. A step below a day is time that
passes, so it goes over a change of daylight saving by the hour; days, weeks and months are those of the wall clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..errors import DataError
from . import zones

SECOND = 10**9
DAY = 86_400 * SECOND
WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-05, from which weeks are counted here
# The calendar is that of the last rows: enough of them for years of days and months of minutes.
RECENT = 50_000
# A grid has gaps, but a third of the steps or more are its own.
LEAST_SHARE = 1 / 3
# Days of the week, or hours, never occur: by chance less than once in so many series with as many gaps, else closed.
CHANCE = 0.05
# Of the stamps that opening hours allow so many are there: holidays and half days are missing.
LEAST_PRESENT = 0.7
# A grid with so many of its stamps has gaps, and no closing times: nights and weekends are more.
FULL = 0.85
# A series with fewer rows may follow the calendar of the training series without showing it: Wednesday to Friday.
FEW = 30
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Rule = Literal["", "first business day", "last business day", "nth weekday", "last weekday"]


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """Which time stamps follow each other.

    Attributes:
        kind: "step": equal steps; "week": the same times in each week; "month": the same days in each month.
        step: "step": nanoseconds; "month": months. Numbers that are no dates: their step.
        local: "step": of the wall clock, and not of time that passes.
        of_day: the one time of the day, in nanoseconds; None where there are several.
        open: "week": the nanoseconds since Monday, 0:00, as (first, last, step) of runs of equal steps.
        days: "month": days of the month, 31 for the last one; "nth weekday": weekday (0 is Monday), and n from 0.
        rule: "month": what stands in the place of a day of the month.
        sure: False for the median step of an irregular series.
    """

    kind: Literal["step", "week", "month"]
    step: float = 0
    local: bool = False
    of_day: int | None = None
    open: tuple[tuple[int, int, int], ...] = ()
    days: tuple[int, ...] = ()
    rule: Rule = ""
    sure: bool = True

    def times_of_week(self) -> np.ndarray:
        """``(n,)`` int64, rising."""
        return np.concatenate([np.arange(first, last + 1, step) for first, last, step in self.open])

    def words(self) -> str:
        """What the stamps are, where they are more than equal steps."""
        if self.kind == "week":
            times = self.times_of_week()
            days = np.unique(times // DAY)
            named = _listed_days(days.tolist())
            of_day = times % DAY
            if (of_day == of_day[0]).all():
                return named
            if len(times) == len(days) * len(np.unique(of_day)):
                return f"{named}, {_clock(of_day.min())} to {_clock(of_day.max())}"
            return f"{named}, at the {len(times)} times of the week that occur"
        if self.kind == "month" and self.rule:
            named = f"the {self.rule}"
            if self.rule == "nth weekday":
                ordinal = ("first", "second", "third", "fourth", "fifth")
                named = f"the {ordinal[self.days[1]]} {DAYS[self.days[0]]}"
            elif self.rule == "last weekday":
                named = f"the last {DAYS[self.days[0]]}"
            return f"{named} of every {'month' if self.step == 1 else f'{self.step:g} months'}"
        if self.kind == "month" and len(self.days) > 1:
            return f"days {', '.join('last' if day == 31 else str(day) for day in self.days)} of every month"
        return ""


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """How a time column is written, and which calendar it follows: so stamps that are made look like those read.

    Attributes:
        type: Arrow's name of the column's type, without its zone; "string" for text.
        zone: a name such as "Europe/Berlin" or an offset such as "+02:00", and then ``time`` is in UTC.
        format: as of strftime, for text and for whole numbers such as 20240131.
        calendar: of the longest series; None for a single row.
    """

    type: str = ""
    zone: str | None = None
    format: str | None = None
    calendar: Calendar | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "calendar": self.calendar and vars(self.calendar)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Stamps:
        """The Stamps that ``to_json`` wrote."""
        calendar = stored["calendar"]
        if calendar is not None:
            runs = tuple((int(a), int(b), int(c)) for a, b, c in calendar["open"])
            calendar = Calendar(**{**calendar, "open": runs, "days": tuple(calendar["days"])})
        return cls(**{**stored, "calendar": calendar})


# Finding ------------------------------------------------------------------------------------------------------------


def find_calendar(time: np.ndarray, zone: str | None = None) -> Calendar | None:
    """The calendar of rising stamps ``(n,)``; None for fewer than two.

    Args:
        time: datetime64[ns], or numbers.
        zone: of the wall clock.

    Example:
        >>> week = np.array(["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09"], "datetime64[ns]")
        >>> find_calendar(week).words()
        'Monday to Friday'
    """
    if len(time) < 2:
        return None
    time = time[-RECENT:]
    if time.dtype.kind != "M":
        return _step_of_numbers(time)
    at = time.astype("datetime64[ns]").view(np.int64)
    local = _local(time, zone)
    of_day = _time_of_day(time, local, zone)
    if of_day is not None:
        return replace(_find_days(local // DAY, of_day), of_day=of_day)
    steps = np.diff(at)
    step = _grid(steps)
    if step is not None and len(time) >= FULL * (1 + (at[-1] - at[0]) / step):
        return Calendar(kind="step", step=step)
    found = _find_week(local)
    if found is not None:
        return found
    if step is not None:
        return Calendar(kind="step", step=step)
    wall = np.diff(local)
    step = _grid(wall) if (wall > 0).all() else None
    if step is not None:
        return Calendar(kind="step", step=step, local=True)
    return Calendar(kind="step", step=_middle(steps), sure=False)


def _local(time: np.ndarray, zone: str | None) -> np.ndarray:
    """``(n,)`` nanoseconds of the wall clock since 1970."""
    return zones.to_local(time.astype("datetime64[ns]"), zone).view(np.int64)


def _time_of_day(time: np.ndarray, local: np.ndarray, zone: str | None) -> int | None:
    """The one time of the day, in nanoseconds, that all stamps have; None where they have several.

    A day on which daylight saving skips that time (midnight, in Chile) has the moment it is skipped.
    """
    times = local % DAY
    of_day = int(times[0]) if len(times) < 3 else int(np.sort(times)[len(times) // 2])
    odd = times != of_day
    if odd.any():
        if zone is None or odd.mean() > 0.1:
            return None
        wanted = (local[odd] // DAY * DAY + of_day).view("datetime64[ns]")
        if (zones.to_utc(wanted, zone) != time[odd]).any():
            return None
    return of_day


def _step_of_numbers(time: np.ndarray) -> Calendar:
    """The median step. In Python's whole numbers, which do not wrap, where that of the dtype would."""
    if time.dtype.kind != "i":
        steps = np.diff(time)
        return Calendar(kind="step", step=float(np.median(steps)), sure=bool(np.allclose(steps, steps[0], atol=0)))
    if int(time[-1]) - int(time[0]) < 2**63:
        steps = np.diff(time)
    else:
        steps = np.diff(time.astype(object))
    ordered = np.sort(steps)
    low, high = int(ordered[(len(steps) - 1) // 2]), int(ordered[len(steps) // 2])
    middle = low + (high - low) // 2 if (high - low) % 2 == 0 else (low + high) / 2
    return Calendar(kind="step", step=middle, sure=bool((steps == steps[0]).all()))


def _grid(steps: np.ndarray) -> int | None:
    """The step that the others are whole multiples of, if it is a common one."""
    least = int(steps.min())
    if (steps % least == 0).all() and (steps == least).mean() >= LEAST_SHARE:
        return least
    return None


def _middle(steps: np.ndarray) -> int:
    """The median, as a step that occurs; np.median may lie between two."""
    return int(np.sort(steps)[len(steps) // 2])


def _find_days(days: np.ndarray, of_day: int) -> Calendar:
    """For stamps at one time of the day; ``days`` since 1970."""
    steps = np.diff(days)
    found = _find_month_days(days)
    if found is not None:
        return found
    if (steps == steps[0]).all() and (steps[0] > 1 or len(steps) < 2):
        return Calendar(kind="step", step=int(steps[0]) * DAY, local=True)
    found = _find_month_rules(days)
    if found is not None:
        return found
    step = _grid(steps)
    if step is not None and step > 1:
        return Calendar(kind="step", step=step * DAY, local=True)
    open_days = _open_days(days, sure=step == 1)
    if open_days is not None:
        return Calendar(kind="week", open=_runs(open_days * DAY + of_day))
    if step is not None:
        return Calendar(kind="step", step=step * DAY, local=True)
    return Calendar(kind="step", step=_middle(steps) * DAY, local=True, sure=False)


def _open_days(days: np.ndarray, *, sure: bool) -> np.ndarray | None:
    """The days of the week, 0 for Monday, where some never occur and that is no chance.

    Args:
        sure: the days lie beside each other, as Monday to Friday do. Others (Monday, Wednesday, Friday) have to be
            seen for three weeks.
    """
    every = np.arange(days[0], days[-1] + 1)
    weekday = _weekday(every)
    present = np.zeros(len(every), bool)
    present[days - days[0]] = True
    opened = np.unique(_weekday(days))
    inside = np.isin(weekday, opened)
    closed = len(every) - int(inside.sum())
    if len(opened) == 7 or not closed:
        return None
    share = (present[inside].sum() + 1) / (inside.sum() + 2)
    # What is left out once may be a gap, if it is not a Saturday and a Sunday.
    shut = np.setdiff1d(weekday, opened)
    weeks = np.bincount(weekday, minlength=7)[shut].min()
    if share < 0.5 or (1 - share) ** closed > CHANCE or weeks < (1 if shut.tolist() == [5, 6] else 2):
        return None
    if shut.tolist() == [5, 6]:
        opened = np.arange(5)  # of a few days around a weekend not all have been passed
    if not sure and (len(every) < 21 or share < LEAST_PRESENT):
        return None
    if sure and len(opened) < 4 and len(every) < 21:
        return None
    return opened


def _find_week(local: np.ndarray) -> Calendar | None:
    """Opening hours: stamps at the same times of the day, or of the week, with the rest of it left out."""
    of_day = np.unique(local % DAY)
    days = np.unique(local // DAY)
    if len(days) < 2 or 2 * len(of_day) > len(local):
        return None
    every = np.arange(days[0], days[-1] + 1)
    opened = _open_days(days, sure=True)
    if opened is None:
        opened = np.arange(7)
    spanned = every[np.isin(_weekday(every), opened)]
    # The first day and the last are seen in part.
    possible = len(spanned) * len(of_day) - int((of_day < local[0] % DAY).sum()) - int((of_day > local[-1] % DAY).sum())
    share = len(local) / possible
    of_day = _without_holes(of_day, (len(local) + 1) / (possible + 2), len(spanned))
    slots = (opened[:, None] * DAY + of_day).reshape(-1)
    if local[-1] - local[0] >= 3 * WEEK:
        seen = np.unique((local - MONDAY) % WEEK)
        present = _present_and_closed(local, slots, seen)
        if present is not None:
            slots, share = seen, present
    if share < (1 if len(spanned) < 3 else LEAST_PRESENT):
        return None
    around = np.diff(np.concatenate([slots, slots[:1] + WEEK]))
    if (around == around[0]).all():
        return None  # open all week
    return Calendar(kind="week", open=_runs(slots))


def _present_and_closed(local: np.ndarray, slots: np.ndarray, seen: np.ndarray) -> float | None:
    """The share of the stamps at the times ``seen`` that are there; None where other ``slots`` may be open as well.

    Rows are missing anywhere. If all were missing by chance, how often would so many of the slots be left without any
    of their rows? Those rows count among the missing ones: otherwise a series with many gaps seems to have few.
    """
    first, last = local.min() - MONDAY, local.max() - MONDAY
    times = (last - slots) // WEEK + (slots - first) // WEEK + 1  # how often the series passed each
    shut = ~np.isin(slots, seen)
    possible, rows, never = int(times.sum()), len(np.unique(local)), int(times[shut].sum())
    if not never:
        return None
    chance = _log_choices(len(slots), int(shut.sum()))
    chance += _log_choices(possible - never, rows) - _log_choices(possible, rows)
    return rows / (possible - never) if chance < math.log(CHANCE / 10) else None


def _log_choices(count: int, chosen: int) -> float:
    """The log of how many ways there are to choose so many of ``count``."""
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)


def _without_holes(of_day: np.ndarray, share: float, days: int) -> np.ndarray:
    """Times of the day with those between them that may be missing on each of the ``days`` by chance."""
    gaps = np.diff(np.append(of_day, of_day[0] + DAY))
    step = gaps.min()
    if (gaps % step != 0).any():
        return of_day
    absent = gaps // step - 1
    chance = (1 - share) ** (days * absent) * (DAY // step)
    filled = [
        time + step * np.arange(1 + (count if likely else 0))
        for time, count, likely in zip(of_day, absent, chance >= CHANCE / 10, strict=True)
    ]
    return np.unique(np.concatenate(filled) % DAY)


def _runs(times: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Rising whole numbers as (first, last, step) of runs."""
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(times):
        stop = start + 1
        step = int(times[stop] - times[start]) if stop < len(times) else 1
        while stop < len(times) and times[stop] - times[stop - 1] == step:
            stop += 1
        runs.append((int(times[start]), int(times[stop - 1]), step))
        start = stop
    return tuple(runs)


def _weekday(days: np.ndarray) -> np.ndarray:
    """0 for Monday, of days since 1970."""
    return (days + 3) % 7


# Months -------------------------------------------------------------------------------------------------------------


def _parts(days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months since 1970, day of the month from 1, and days of that month."""
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    return months.astype(np.int64), days - first + 1, length


def _find_month_days(days: np.ndarray) -> Calendar | None:
    """The same day of each month, the 31st being the last of a shorter one; or two or three such days."""
    months, day, length = _parts(days)
    jumps = np.diff(months)
    if (jumps > 0).all():
        step = _grid(jumps)
        wanted = 31 if (day == length).all() else int(day.max())
        if step is not None and (day == np.minimum(wanted, length)).all():
            return Calendar(kind="month", step=step, days=(wanted,))
        return None
    steps = np.diff(days)
    if (steps == steps[0]).all():
        return None
    for day_of in (day, np.where(day == length, 31, day)):
        wanted_days = np.unique(day_of)
        spanned = len(wanted_days) * (months[-1] - months[0] + 1)
        if len(wanted_days) <= 3 and len(days) >= 2 * len(wanted_days) and len(days) >= LEAST_PRESENT * (spanned - 2):
            return Calendar(kind="month", step=1, days=tuple(wanted_days.tolist()))
    return None


def _find_month_rules(days: np.ndarray) -> Calendar | None:
    """The first or last business day of each month, its third Friday, its last Sunday."""
    months, day, _ = _parts(days)
    jumps = np.diff(months)
    step = _grid(jumps) if len(days) > 2 and (jumps > 0).all() else None
    if step is None:
        return None
    weekday, week = _weekday(days), (day - 1) // 7
    rules: list[tuple[Rule, tuple[int, ...]]] = [("last business day", ()), ("first business day", ())]
    if (weekday == weekday[0]).all():
        rules += [("nth weekday", (int(weekday[0]), int(week[0]))), ("last weekday", (int(weekday[0]),))]
    for rule, which in rules:
        found = Calendar(kind="month", step=step, days=which, rule=rule)
        made = _days_of_months(months, found)[0]
        if len(made) == len(days) and (made == days).all():
            return found
    return None


def _days_of_months(months: np.ndarray, calendar: Calendar) -> np.ndarray:
    """``(n, ...)`` days since 1970 that ``calendar`` has in ``months``, in a row a day of the month."""
    starts = months.astype("datetime64[M]").astype("datetime64[D]")
    ends = (months + 1).astype("datetime64[M]").astype("datetime64[D]") - 1
    first, last = starts.astype(np.int64), ends.astype(np.int64)
    if calendar.rule == "first business day":
        return np.busday_offset(starts, 0, roll="forward").astype(np.int64)[None]
    if calendar.rule == "last business day":
        return np.busday_offset(ends, 0, roll="backward").astype(np.int64)[None]
    if calendar.rule == "nth weekday":
        weekday, week = calendar.days
        made = first + (weekday - _weekday(first)) % 7 + 7 * week
        return made[made <= last][None]  # a fifth Friday is not in each month
    if calendar.rule == "last weekday":
        return (last - (_weekday(last) - calendar.days[0]) % 7)[None]
    return np.stack([np.minimum(first + day - 1, last) for day in calendar.days])


# Following ----------------------------------------------------------------------------------------------------------


def following_times(
    time: np.ndarray, count: int, *, calendar: Calendar | None = None, zone: str | None = None
) -> np.ndarray:
    """The ``count`` time stamps after the last of ``time`` ``(n,)``, in the dtype of ``time``; whole numbers with a
    step that is not whole: float64.

    Args:
        calendar: of the training series, used where ``time`` is short and does not contradict it.
        zone: of the wall clock, with ``time`` in UTC.

    Raises:
        DataError: stamps beyond what 64 bits hold.

    Example:
        >>> months = np.array(["2024-01-31", "2024-02-29"], "datetime64[ns]")
        >>> following_times(months, 2).astype("datetime64[D]").astype(str).tolist()
        ['2024-03-31', '2024-04-30']
    """
    return _after(time, count, settle_calendar(time, calendar, zone), zone)


def settle_calendar(time: np.ndarray, recorded: Calendar | None, zone: str | None = None) -> Calendar | None:
    """The calendar of ``time``; where that is short and tells little, ``recorded``, unless a stamp contradicts it."""
    found = find_calendar(time, zone)
    if recorded is None or len(time) >= FEW:
        return found
    unsure = found is None or not found.sure
    return recorded if (unsure or recorded.kind != "step") and _continues(time, recorded, zone) else found


def _continues(time: np.ndarray, calendar: Calendar, zone: str | None) -> bool:
    """Whether ``time`` could be of this calendar: its stamps are among those that follow the first of them."""
    if not len(time) or not calendar.sure:
        return False
    if time.dtype.kind != "M":
        return len(time) == 1 and calendar.kind == "step"
    if len(time) > 1:
        made = _after(time[:1], int(len(time) / LEAST_SHARE), calendar, zone)
        return bool(np.isin(time[1:], made).all())
    local = _local(time, zone)
    if calendar.kind == "week":
        return bool(((local - MONDAY) % WEEK)[0] in calendar.times_of_week())
    return calendar.kind == "step" or bool(local[0] // DAY in _days_of_months(_parts(local // DAY)[0], calendar))


def count_missing(time: np.ndarray, calendar: Calendar, zone: str | None = None) -> int:
    """How many stamps of ``calendar`` lie between the last ``RECENT`` of ``time`` and are not among them."""
    time = time[-RECENT:]
    made = _after(time[:1], 4 * len(time), calendar, zone)
    return max(0, int((made <= time[-1]).sum()) - (len(time) - 1))


def _after(time: np.ndarray, count: int, calendar: Calendar | None, zone: str | None) -> np.ndarray:
    if time.dtype.kind != "M":
        return _numbers_after(time, count, 1 if calendar is None else calendar.step)
    if calendar is None or count == 0:
        return np.repeat(time[-1:], count)
    last = time[-1:].astype("datetime64[ns]")
    if calendar.kind == "step" and not calendar.local:
        return _stamps_after(int(last.view(np.int64)[0]), count, int(calendar.step)).astype(time.dtype)
    local = int(_local(last, zone)[0])
    if calendar.of_day is not None and local % DAY != calendar.of_day:
        wanted = local - local % DAY + calendar.of_day
        if (zones.to_utc(np.array([wanted]).view("datetime64[ns]"), zone) == last).all():
            local = wanted  # the last stamp is a time that daylight saving skipped
    if calendar.kind == "step":
        made = _stamps_after(local, count, int(calendar.step))
    elif calendar.kind == "week":
        made = _weeks_after(local, count, calendar.times_of_week())
    else:
        made = _months_after(local, count, calendar)
    return zones.to_utc(made, zone).astype(time.dtype)


def _numbers_after(time: np.ndarray, count: int, step: float) -> np.ndarray:
    ahead = np.arange(1, count + 1)
    if time.dtype.kind == "i" and step == int(step):
        _refuse_beyond(int(time[-1]) + int(step) * count)
        # Not by way of float64, which holds whole numbers up to 2**53 only.
        return (np.array([int(step)]) * ahead + time[-1]).astype(np.int64)
    return time[-1] + step * ahead


def _refuse_beyond(last: int) -> None:
    if not -(2**63) < last < 2**63:
        raise DataError(
            f"the stamps of the forecast go up to {last}, and 64 bits hold whole numbers up to {2**63 - 1} (as "
            "nanoseconds: the year 2262); count time from a later start, or in larger units."
        )


def _stamps_after(last: int, count: int, step: int) -> np.ndarray:
    _refuse_beyond(last + step * count)
    return (last + step * np.arange(1, count + 1)).view("datetime64[ns]")


def _weeks_after(last: int, count: int, times: np.ndarray) -> np.ndarray:
    monday = last - (last - MONDAY) % WEEK
    weeks = count // len(times) + 2
    _refuse_beyond(monday + WEEK * weeks)
    made = (monday + WEEK * np.arange(weeks)[:, None] + times).reshape(-1)
    return made[made > last][:count].view("datetime64[ns]")


def _months_after(last: int, count: int, calendar: Calendar) -> np.ndarray:
    day, of_day = divmod(last, DAY)
    month = int(_parts(np.array([day]))[0][0])
    step = int(calendar.step)
    # A fifth Friday comes four times a year at least.
    many = (count + 1) * (4 if calendar.rule == "nth weekday" else 1)
    _refuse_beyond(last + step * many * 31 * DAY)
    made = _days_of_months(month + step * np.arange(many + 1), calendar).T.reshape(-1)
    return (made[made > day][:count] * DAY + of_day).view("datetime64[ns]")


# Words --------------------------------------------------------------------------------------------------------------


def _listed_days(days: list[int]) -> str:
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{DAYS[days[0]]} to {DAYS[days[-1]]}"
    return " and ".join(filter(None, [", ".join(DAYS[day] for day in days[:-1]), DAYS[days[-1]]]))


def _clock(of_day: int) -> str:
    minutes = int(of_day) // (60 * SECOND)
    return f"{minutes // 60}:{minutes % 60:02d}"
