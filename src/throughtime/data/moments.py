"""Moments that somebody names, to compare them with the stamps of a time column."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from ..errors import ArgumentError
from . import zones
from .calendars import Stamps


def read_moment(value: Any, time: np.ndarray, stamps: Stamps | None) -> Any:
    """A moment that somebody names, such as "2024-01-31", as ``time`` holds its stamps: to compare it with them.

    Args:
        value: ISO text, a date, a datetime, a datetime64, or a number, as the time column has them. Without an offset
            it is local time where the column has a zone.

    Raises:
        ArgumentError: another value, or one of another kind than the column's.
    """
    zone, format = (None, None) if stamps is None else (stamps.zone, stamps.format)
    text = value.strip() if isinstance(value, str) else value
    if time.dtype.kind != "M":
        number = _number(text)
        if number is None:
            raise ArgumentError(f"at={value!r}, and the time column holds numbers; give a number.")
        return number
    made = None if isinstance(text, bool) else _moment(str(text) if isinstance(text, int) else text, format)
    if made is None or made != made:  # NaT of pandas is a datetime
        raise ArgumentError(f"at={value!r} is no date; write it as 2024-12-31 or 2024-12-31T23:59:00.")
    if made.tzinfo is None:
        return zones.to_utc(np.array([made], "datetime64[ns]"), zone)[0]
    if zone is None:
        raise ArgumentError(f"at={value!r} has a time zone, and the time column has none; give it without.")
    return np.datetime64(made.astimezone(UTC).replace(tzinfo=None), "ns")


def _number(value: Any) -> float | int | None:
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
        return None
    plain = isinstance(value, int | float | np.number) and not isinstance(value, bool) and value == value
    return value if plain else None


def _moment(value: Any, format: str | None) -> datetime | None:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, str):
        for read in (
            lambda text: datetime.strptime(text, format or ""),
            datetime.fromisoformat,
            lambda text: np.datetime64(text).astype("datetime64[us]").item(),  # 2024-01
        ):
            try:
                value = read(value)
            except ValueError:
                continue
            break
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None
