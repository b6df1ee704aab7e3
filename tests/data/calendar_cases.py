"""Draws of calendars as pandas makes them: a zone, a frequency, a start, rows left out, and what comes after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

ZONES = (
    None, None, "UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Santiago", "Asia/Kolkata",
    "Australia/Lord_Howe", "+05:30",
)  # fmt: skip

# Each frequency with the rows that show it: a week of minutes, two months of days, some months or years.
FREQUENCIES: dict[str, int] = {
    "s": 40, "5min": 300, "15min": 200, "30min": 150, "h": 120, "2h": 80, "6h": 60, "12h": 40, "D": 60, "2D": 40,
    "3D": 40, "B": 60, "C-Sun": 60, "C-MWF": 60, "W-SUN": 30, "W-WED": 30, "2W-MON": 20, "MS": 24, "ME": 24, "QS": 12,
    "QE": 12, "YS": 6, "YE": 6, "YE-JUN": 6, "2MS": 12, "SMS": 24, "SME": 24, "BMS": 24, "BME": 24, "BQE": 16,
    "WOM-3FRI": 24, "LWOM-MON": 24, "bh": 100, "trading-15min": 300, "trading-h": 120, "every-day-30min": 150,
}  # fmt: skip
BY_THE_CLOCK = ("s", "5min", "15min", "30min", "h", "2h", "6h", "12h")


@dataclass(frozen=True)
class Case:
    frequency: str
    zone: str | None
    shown: pd.DatetimeIndex
    following: pd.DatetimeIndex

    @property
    def stamps(self) -> np.ndarray:
        return as_stored(self.shown)

    @property
    def expected(self) -> np.ndarray:
        return as_stored(self.following)


def as_stored(index: pd.DatetimeIndex) -> np.ndarray:
    """UTC where there is a zone, else as they are."""
    naive = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    return naive.as_unit("ns").to_numpy()


def make(frequency: str, start: pd.Timestamp, count: int, zone: str | None) -> pd.DatetimeIndex:
    """``count`` stamps from ``start`` on, a wall time, by pandas."""
    if frequency in BY_THE_CLOCK:
        start = start.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
        return pd.date_range(start, periods=count, freq=frequency)
    if frequency.startswith("trading") or frequency == "every-day-30min":
        minutes = {"15min": 15, "h": 60, "30min": 30}[frequency.rsplit("-", 1)[1]]
        times = pd.timedelta_range("9:30:00", "15:59:00", freq=f"{minutes}min")
        days = pd.date_range(start.normalize(), periods=count, freq="B" if "trading" in frequency else "D")
        wall = pd.DatetimeIndex([day + time for day in days for time in times])
        skip = int(np.random.default_rng(count).integers(len(times)))
        return wall[skip : skip + count].tz_localize(zone)
    if frequency == "bh":
        return pd.date_range(start.normalize(), periods=count, freq="bh").tz_localize(zone)
    offset = {
        "C-Sun": pd.offsets.CustomBusinessDay(weekmask="Sun Mon Tue Wed Thu"),
        "C-MWF": pd.offsets.CustomBusinessDay(weekmask="Mon Wed Fri"),
        "LWOM-MON": pd.offsets.LastWeekOfMonth(weekday=0),
    }.get(frequency, frequency)
    wall = pd.date_range(start, periods=count, freq=offset)
    return wall.tz_localize(zone, ambiguous=np.ones(count, bool), nonexistent="shift_forward")


def draw(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    frequency = list(FREQUENCIES)[seed % len(FREQUENCIES)]
    zone = ZONES[int(rng.integers(len(ZONES)))]
    rows = FREQUENCIES[frequency] + int(rng.integers(20))
    start = pd.Timestamp("1999-01-01") + pd.Timedelta(days=int(rng.integers(9000)))
    if rng.random() < 0.5:  # so that the change of daylight saving is in the middle, or soon after the end
        start = pd.Timestamp(f"{start.year}-{rng.choice(['03-20', '10-22', '10-30', '04-01', '03-08', '11-01'])}")
    hour = int(rng.integers(5, 24)) if rng.random() < 0.3 else 0
    start += pd.Timedelta(hours=hour, minutes=15 * int(rng.integers(4)) if hour else 0)
    every = make(frequency, start, rows + 40, zone)
    count = int(rng.integers(1, 40))
    shown = every[:rows]
    if rng.random() < 0.5:  # rows missing here and there, and a block of them
        kept = rng.random(rows) < 0.93
        block = int(rng.integers(1, rows - 1))
        kept[block : block + int(rng.integers(1, max(2, rows // 12)))] = False
        kept[[0, -1]] = True
        if (kept[1:] & kept[:-1]).any():  # of 2020, 2022 and 2025 nobody can say that they are years
            shown = shown[kept | _looks_closed(shown, kept)]
    return Case(frequency, zone, shown, every[rows : rows + count])


def _looks_closed(stamps: pd.DatetimeIndex, kept: np.ndarray) -> np.ndarray:
    """Whether all rows at the time of the week of each stamp were left out, and these are four or more.

    A series that is open at 13:30, but has no row at 13:30 on any of four Wednesdays, is also one that is closed then:
    nothing in it tells which of the two it is.
    """
    wall = stamps.tz_localize(None)
    slots = (wall.dayofweek * pd.Timedelta("1D") + (wall - wall.normalize())).to_numpy()
    _, slot, times = np.unique(slots, return_inverse=True, return_counts=True)
    return ((np.bincount(slot, kept) == 0) & (times >= 4))[slot]
