"""Times written as whole numbers: 20240131, 31012024, 2024031, 20243 for a quarter, 930 for half past nine.

A form is either sure, because other numbers hardly ever look like it (20240131), or it is taken where the numbers go on
in equal steps as dates and not as numbers: 945, 1000, 1015. Some numbers can be read in two ways; the user decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import DataError

YEARS = (1700, 2200)
NEAR = (1900, 2100)  # where the year stands behind, or other numbers look alike
SAMPLE = 256
MOSTLY = 0.6  # so many of the numbers are dates, and they are no plain count: the others are mistakes


@dataclass(frozen=True)
class Form:
    """One way to write a time in digits.

    Attributes:
        format: its name, in the letters of strftime; %q is a quarter.
        width: the most digits; a first zero may be lost in a number.
        words: what it is, for a message.
        sure: whether numbers that fit are such times.
        read: whole numbers -> datetime64[ns], and which of them fit.
        write: datetime64[ns] -> whole numbers.
        order: what the user says to choose it.
    """

    format: str
    width: int
    words: str
    sure: bool
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    write: Callable[[np.ndarray], np.ndarray]
    order: str = ""


# -- fields ------------------------------------------------------------------------------------------------------


def _fields(numbers: np.ndarray, *sizes: int) -> list[np.ndarray]:
    """The number cut into fields of so many digits, the first one open to the left."""
    rest, found = numbers, []
    for size in reversed(sizes):
        rest, field = np.divmod(rest, 10**size)
        found.append(field)
    return [rest, *reversed(found)]


def _within(values: np.ndarray, least: int, most: int) -> np.ndarray:
    return (values >= least) & (values <= most)


def _date(
    year: np.ndarray, month: np.ndarray, day: np.ndarray, years: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    fits = _within(year, *years) & _within(month, 1, 12) & (day >= 1)
    months = np.where(fits, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + np.where(fits, day - 1, 0)
    fits &= dates.astype("datetime64[M]") == months
    return dates.astype("datetime64[ns]"), fits


def _clock(hour: np.ndarray, minute: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fits = _within(hour, 0, 23) & _within(minute, 0, 59) & _within(second, 0, 59)
    return (hour * 3600 + minute * 60 + second).astype("timedelta64[s]").astype("timedelta64[ns]"), fits


def _parts(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Years, months and days."""
    months = time.astype("datetime64[M]")
    whole = months.astype(np.int64)
    day = (time.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64) + 1
    return whole // 12 + 1970, whole % 12 + 1, day


def _wide(numbers: np.ndarray, width: int) -> np.ndarray:
    """Whether they have all digits."""
    return _within(numbers, 10 ** (width - 1), 10**width - 1)


# -- forms -------------------------------------------------------------------------------------------------------


def _iso(width: int) -> Form:
    """The year first, then ever smaller units of two digits."""
    units = ("%Y", "%m", "%d", "%H", "%M", "%S")[: (width - 2) // 2]

    def read(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        year, *rest = _fields(numbers, *[2] * (len(units) - 1))
        month, day, *clock = rest if len(units) > 2 else (*rest, np.ones_like(year))
        dates, fits = _date(year, month, day, YEARS if width > 6 else (YEARS[0], NEAR[1]))  # 210105 is a day
        fits &= _wide(numbers, width)
        if clock:
            hour, minute, second = (*clock, *[np.zeros_like(year)] * 2)[:3]
            within, right = _clock(hour, minute, second)
            dates, fits = dates + within, fits & right
        return dates, fits

    def write(time: np.ndarray) -> np.ndarray:
        texts = np.datetime_as_string(time, unit="s")
        for mark in "-T:":
            texts = np.char.replace(texts, mark, "")
        return texts.astype(f"U{width}").astype(np.int64)

    words = "dates" if width == 8 else "months" if width == 6 else "times"
    return Form("".join(units), width, words, True, read, write)


def _year_behind(format: str, day_first: bool) -> Form:
    def read(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second, year = _fields(numbers, 2, 4)
        return _date(year, *((second, first) if day_first else (first, second)), NEAR)

    def write(time: np.ndarray) -> np.ndarray:
        year, month, day = _parts(time)
        first, second = (day, month) if day_first else (month, day)
        return first * 10**6 + second * 10**4 + year

    return Form(format, 8, "dates", True, read, write, "day-first" if day_first else "month-first")


def _read_short(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    year, month, day = _fields(numbers, 2, 2)
    return _date(year + np.where(year < 69, 2000, 1900), month, day, NEAR)


def _write_short(time: np.ndarray) -> np.ndarray:
    year, month, day = _parts(time)
    return year % 100 * 10_000 + month * 100 + day


def _read_day_of_year(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    year, day = _fields(numbers, 3)
    fits = _within(year, *NEAR) & _within(day, 1, 366)
    starts = np.where(fits, year - 1970, 0).astype("datetime64[Y]")
    dates = starts.astype("datetime64[D]") + np.where(fits, day - 1, 0)
    return dates.astype("datetime64[ns]"), fits & (dates.astype("datetime64[Y]") == starts)


def _write_day_of_year(time: np.ndarray) -> np.ndarray:
    day = (time.astype("datetime64[D]") - time.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return _parts(time)[0] * 1000 + day + 1


def _read_quarter(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    year, quarter = _fields(numbers, 1)
    dates, fits = _date(year, quarter * 3 - 2, np.ones_like(year), NEAR)
    return dates, fits & _within(quarter, 1, 4)


def _write_quarter(time: np.ndarray) -> np.ndarray:
    year, month, _ = _parts(time)
    return year * 10 + (month + 2) // 3


def week_starts(year: np.ndarray, week: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Mondays of ISO weeks, and which of them there are: 2021 has no week 53."""
    fits = _within(year, *YEARS) & _within(week, 1, 53)
    fourth = np.where(fits, year - 1970, 0).astype("datetime64[Y]").astype("datetime64[D]") + 3  # of January
    monday = fourth - (fourth.astype(np.int64) + 3) % 7
    days = monday + np.where(fits, (week - 1) * 7, 0)
    fits &= (days + 3).astype("datetime64[Y]") == (fourth.astype("datetime64[Y]"))
    return days.astype("datetime64[ns]"), fits


def weeks_of(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ISO years and weeks."""
    days = time.astype("datetime64[D]")
    thursday = days - (days.astype(np.int64) + 3) % 7 + 3
    years = thursday.astype("datetime64[Y]")
    return years.astype(np.int64) + 1970, (thursday - years.astype("datetime64[D]")).astype(np.int64) // 7 + 1


def _read_week(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    year, week = _fields(numbers, 2)
    dates, fits = week_starts(year, week)
    return dates, fits & _within(year, *NEAR)


def _write_week(time: np.ndarray) -> np.ndarray:
    year, week = weeks_of(time)
    return year * 100 + week


def _of_day(format: str, sizes: tuple[int, ...]) -> Form:
    """A time of day without a date: on the first of January 1970."""

    def read(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hour, minute, second = (*_fields(numbers, *sizes), np.zeros_like(numbers))[:3]
        within, fits = _clock(hour, minute, second)
        return np.datetime64(0, "ns") + within, fits

    def write(time: np.ndarray) -> np.ndarray:
        seconds = (time - time.astype("datetime64[D]")).astype("timedelta64[s]").astype(np.int64)
        hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
        return hour * 100 + minute if len(sizes) == 1 else hour * 10_000 + minute * 100 + second

    return Form(format, 2 + 2 * len(sizes), "times of day", False, read, write)


FORMS = {
    form.format: form
    for form in (
        *(_iso(width) for width in (6, 8, 10, 12, 14)),
        Form("%Y%j", 7, "days of the year", True, _read_day_of_year, _write_day_of_year),
        _year_behind("%d%m%Y", True),
        _year_behind("%m%d%Y", False),
        Form("%y%m%d", 6, "dates", False, _read_short, _write_short, "year-first"),
        Form("%G%V", 6, "ISO weeks", False, _read_week, _write_week),
        Form("%Y%q", 5, "quarters", False, _read_quarter, _write_quarter),
        _of_day("%H%M", (2,)),
        _of_day("%H%M%S", (2, 2)),
    )
}
MONTH_BEHIND = "%Y.%m"  # 2000.1 is October 2000, as a number drops the zero


# -- reading and writing -----------------------------------------------------------------------------------------


def read_digits(
    name: str, numbers: np.ndarray, *, recorded: str | None = None, order: str = ""
) -> tuple[np.ndarray, str] | None:
    """Times ``(N,)`` datetime64[ns] and the form that these numbers are written in; None for plain numbers.

    Args:
        recorded: the form in the table trained on.
        order: "day-first", "month-first" or "year-first", where the user says so.

    Raises:
        DataError: numbers that can be read in two ways; one that is no date among dates.

    Example:
        >>> read_digits("t", np.array([20240131, 20240201]))[1]
        '%Y%m%d'
        >>> read_digits("t", np.array([930, 945, 1000, 1015]))[1], read_digits("t", np.array([99, 100, 101]))
        ('%H%M', None)
    """
    if not len(numbers) or not (numbers.min() >= 0 and numbers.max() < 1e14):
        return None
    whole = numbers.astype(np.int64)
    if numbers.dtype.kind == "f" and (numbers != whole).any():
        return _months_behind(numbers, recorded)
    if recorded is not None:
        if recorded not in FORMS:
            return None
        times, fits = FORMS[recorded].read(whole)
        if not fits.all() and fits.mean() >= MOSTLY:
            _refuse_odd(name, whole, FORMS[recorded], fits)
        return (times, recorded) if fits.all() else None
    found = _likeliest(whole, _fitting(name, whole, order), order)
    kept: dict[Form, np.ndarray] = {}
    for form, times in found.items():
        if not any((times == other).all() for other in kept.values()):
            kept[form] = times
    if len(kept) > 1:
        first, second = (form.order or "number" for form in list(kept)[:2])
        forms = ", ".join(form.format for form in kept)
        raise DataError(
            f"the numbers of time column {name!r} can be read as dates in {len(kept)} ways ({forms}), for example "
            f"{whole[0]}; say which with dtypes={{{name!r}: {first!r}}} or dtypes={{{name!r}: {second!r}}}."
        )
    return next(((times, form.format) for form, times in kept.items()), None)


def _fitting(name: str, numbers: np.ndarray, order: str) -> dict[Form, np.ndarray]:
    """The forms that all numbers fit; refuses a few that do not where the others are dates for sure."""
    digits, sample = len(str(int(numbers.max()))), numbers[:: max(1, len(numbers) // SAMPLE)]
    read = {}
    for form in FORMS.values():
        least = form.width - (form.order != "") if form.sure else form.width - 1
        wanted = not order or order == (form.order or "year-first")
        enough = MOSTLY / 2 if form.sure else 1
        if wanted and least <= digits <= form.width and form.read(sample)[1].mean() >= enough:
            read[form] = form.read(numbers)
    found = {form: times for form, (times, fits) in read.items() if fits.all()}
    if not any(form.sure for form in found):
        for form, (_, fits) in read.items():
            if form.sure and fits.mean() >= MOSTLY and (order or regular(numbers) < 1):
                _refuse_odd(name, numbers, form, fits)
    return found


def _likeliest(numbers: np.ndarray, found: dict[Form, np.ndarray], order: str) -> dict[Form, np.ndarray]:
    """Those among the forms that fit: the sure ones, else what goes on in equal steps more than the numbers do."""
    if not found:
        return {}
    sure = {form: times for form, times in found.items() if form.sure}
    if FORMS["%Y%j"] in sure:  # 2022050 is hardly 2 February 2050
        return {FORMS["%Y%j"]: sure[FORMS["%Y%j"]]}
    plain = regular(numbers)
    shares = {
        form: share
        for form, times in found.items()
        if not form.sure and ((share := _steady(times)) > plain or form.order == order != "")
    }
    best = max(shares.values(), default=0.0)  # 200101 is a month, or 1 January 2020
    sure = {form: times for form, times in sure.items() if form.format != "%Y%m" or _steady(times) >= best}
    return sure or {form: found[form] for form, share in shares.items() if share == best}


def write_digits(time: np.ndarray, format: str) -> np.ndarray:
    """Times as the numbers of this form."""
    if format == MONTH_BEHIND:
        year, month, _ = _parts(time)
        return np.round(year + month / 100, 2)
    return FORMS[format].write(time)


def is_digits(format: str | None) -> bool:
    return format in FORMS or format == MONTH_BEHIND


def regular(values: np.ndarray) -> float:
    """The share of the commonest step between the different values; 1 for fewer than three."""
    different = np.unique(values)
    if len(different) < 3:
        return 1.0
    _, counts = np.unique(np.diff(different), return_counts=True)
    return float(counts.max() / (len(different) - 1))


def _steady(times: np.ndarray) -> float:
    """``regular`` by days or by months, whichever is more so."""
    months = times.astype("datetime64[M]")
    starts = bool((times == months.astype("datetime64[ns]")).all())
    return max(regular(times), regular(months) if starts else 0.0)


def _refuse_odd(name: str, numbers: np.ndarray, form: Form, fits: np.ndarray) -> None:
    row, other = int(np.argmin(fits)), int(np.argmax(fits))
    raise DataError(
        f"time column {name!r} holds {numbers[row]} in row {row + 1}, and the others are {form.words} such as "
        f"{numbers[other]}; mend it, or leave the row out. dtypes={{{name!r}: 'number'}} reads them as plain numbers."
    )


def _months_behind(numbers: np.ndarray, recorded: str | None) -> tuple[np.ndarray, str] | None:
    """2000.01 to 2000.12: numbers whose fraction is a month."""
    hundred = np.round(numbers * 100)
    if np.abs(numbers * 100 - hundred).max() > 1e-6:
        return None
    year, month = np.divmod(hundred.astype(np.int64), 100)
    times, fits = _date(year, month, np.ones_like(year), NEAR)
    if (
        not fits.all()
        or recorded not in (None, MONTH_BEHIND)
        or (recorded is None and _steady(times) <= regular(hundred))
    ):
        return None
    return times, MONTH_BEHIND
