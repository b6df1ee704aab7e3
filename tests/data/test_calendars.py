"""Calendars: found in the stamps of a series, and gone on with, as pandas goes on with its own."""

from __future__ import annotations

import calendar_cases as cases
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from throughtime.data.calendars import find_calendar, following_times


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[ns]")


@pytest.mark.parametrize(
    ("given", "following"),
    [
        # months, by the day of the month
        (("2024-01-01", "2024-02-01"), ("2024-03-01", "2024-04-01")),
        (("2023-11-15", "2023-12-15"), ("2024-01-15", "2024-02-15")),
        (("2024-01-15T06:30", "2024-04-15T06:30"), ("2024-07-15T06:30", "2024-10-15T06:30")),
        (("2022-12-29", "2023-01-29"), ("2023-02-28", "2023-03-29")),
        (("2023-12-30", "2024-01-30", "2024-02-29"), ("2024-03-30", "2024-04-30")),
        (("2020-05-04", "2021-05-04"), ("2022-05-04", "2023-05-04")),
        # month ends
        (("2024-01-31", "2024-02-29"), ("2024-03-31", "2024-04-30")),
        (("2024-03-31", "2024-04-30"), ("2024-05-31", "2024-06-30")),
        (("2023-01-31", "2023-02-28", "2023-03-31"), ("2023-04-30", "2023-05-31")),
        (("2024-01-31", "2024-03-31"), ("2024-05-31", "2024-07-31")),
        (("2024-06-30", "2024-09-30"), ("2024-12-31", "2025-03-31")),
        (("2020-02-29", "2021-02-28"), ("2022-02-28", "2023-02-28")),
        (("2021-02-28", "2022-02-28", "2023-02-28"), ("2024-02-29", "2025-02-28")),
        (("2024-01-31T23:59:59", "2024-02-29T23:59:59"), ("2024-03-31T23:59:59", "2024-04-30T23:59:59")),
        # no months
        (("2024-02-27", "2024-02-28"), ("2024-02-29", "2024-03-01")),
        (("2024-01-31", "2024-02-01"), ("2024-02-02", "2024-02-03")),
        (("2024-02-15T12:00", "2024-03-15T13:00"), ("2024-04-13T14:00", "2024-05-12T15:00")),
        (("2024-12-31T22", "2024-12-31T23"), ("2025-01-01T00", "2025-01-01T01")),
        (("2024-01-01T00:00:00.98", "2024-01-01T00:00:00.99"), ("2024-01-01T00:00:01", "2024-01-01T00:00:01.01")),
        # irregular: by the median step
        (("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-08"), ("2024-01-09", "2024-01-10")),
        # one stamp says nothing
        (("2024-01-31",), ("2024-01-31", "2024-01-31")),
    ],
)  # fmt: skip
def test_dates_that_follow(given, following) -> None:
    made = following_times(stamps(*given), 2)
    assert made.dtype == np.dtype("datetime64[ns]")
    np.testing.assert_array_equal(made, stamps(*following))
    assert len(following_times(stamps(*given), 0)) == 0


@given(
    st.dates(pd.Timestamp(1980, 1, 1).date(), pd.Timestamp(2060, 1, 1).date()),
    st.sampled_from([1, 2, 3, 6, 12]),
    st.integers(2, 5),
    st.integers(0, 86_399),
)
def test_months_are_those_of_pandas(first, jump, count, second) -> None:
    start = pd.Timestamp(first)
    every = np.array([start + pd.DateOffset(months=jump * k) for k in range(count + 8)], "datetime64[ns]")
    shown = pd.DatetimeIndex(every[:count])
    assume(start.day == 31 or not shown.is_month_end.all())  # 28 February, 28 April may be month ends or the 28th
    every = every + np.timedelta64(second, "s")
    found = find_calendar(every[:count])
    assert (found.kind, found.step) == ("month", jump)
    np.testing.assert_array_equal(following_times(every[:count], 8), every[count:])


@given(
    st.dates(pd.Timestamp(1980, 1, 1).date(), pd.Timestamp(2060, 1, 1).date()),
    st.sampled_from([1, 2, 3, 6, 12]),
    st.integers(2, 5),
)
def test_month_ends_are_those_of_pandas(first, jump, count) -> None:
    every = np.array(
        [pd.Timestamp(first) + pd.offsets.MonthEnd(1 + jump * k) for k in range(count + 8)], "datetime64[ns]"
    )
    np.testing.assert_array_equal(following_times(every[:count], 8), every[count:])


@given(st.integers(1, 10**15), st.integers(2, 6), st.integers(-(10**17), 10**17))
def test_equal_steps_go_on(step, count, start) -> None:
    time = (start + step * np.arange(count + 3)).astype("datetime64[ns]")
    assume(find_calendar(time[:count]).kind == "step")
    np.testing.assert_array_equal(following_times(time[:count], 3), time[count:])


@pytest.mark.parametrize(
    ("given", "following"),
    [
        (np.array([1, 3, 5]), np.array([7, 9])),
        (np.array([2**60, 2**60 + 2]), np.array([2**60 + 4, 2**60 + 6])),  # float64 holds no whole numbers of that size
        (np.array([7]), np.array([8, 9])),
        (np.array([1, 2, 4, 9]), np.array([11, 13])),
        (np.array([1, 2, 4]), np.array([5.5, 7.0])),
        (np.array([0.5, 0.75]), np.array([1.0, 1.25])),
        (np.array([2.5]), np.array([3.5, 4.5])),
    ],
)
def test_numbers_that_follow(given, following) -> None:
    made = following_times(given, 2)
    assert made.dtype == following.dtype
    assert made.tolist() == following.tolist()


# Families of calendars ---------------------------------------------------------------------------------------------


def check(seed: int) -> None:
    case = cases.draw(seed)
    np.testing.assert_array_equal(*answer(case), err_msg=f"{seed} {case.frequency} {case.zone}")


def test_calendars_go_on_as_those_of_pandas() -> None:
    for seed in range(0, 7_000, 37):
        check(seed)


def test_a_weekend_that_was_passed_once_is_seen() -> None:
    """By any three days or more around it, as pandas.infer_freq sees it."""
    for first in range(5):
        for count in range(3, 12):
            every = pd.bdate_range("2024-01-01", periods=30)[first:].as_unit("ns").to_numpy()
            shown = every[:count]
            if (np.diff(shown) > np.timedelta64(1, "D")).any():
                np.testing.assert_array_equal(following_times(shown, 10), every[count : count + 10], str(shown))


@pytest.mark.parametrize("seed", [3_648_850, 3_666_526, 3_666_994])
def test_a_time_that_three_weeks_happen_to_lack_is_open(seed: int) -> None:
    """Of hours with many gaps: 20 rows of 130 are missing, among them all three Mondays at 9:30."""
    check(seed)


@pytest.mark.parametrize("gaps", [0, 0.07, 0.12])
@pytest.mark.parametrize(("day", "last"), [(2, 11), (4, 13)])
def test_a_day_that_closes_early_is_seen_among_gaps(day: int, last: int, gaps: float) -> None:
    every = pd.DatetimeIndex([
        at for at in pd.date_range("2024-03-04", periods=24 * 7 * 12, freq="h")
        if at.dayofweek < 5 and 9 <= at.hour <= (last if at.dayofweek == day else 15)
    ])  # fmt: skip
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = 260 + int(rng.integers(12))
        kept = rng.random(rows) >= gaps
        kept[-1] = True
        shown, following = every[:rows][kept], every[rows : rows + 40]
        made = following_times(shown.as_unit("ns").to_numpy(), 40)
        np.testing.assert_array_equal(made, following.as_unit("ns").to_numpy(), str(seed))


@pytest.mark.thorough
def test_calendars_go_on_in_thousands_of_draws() -> None:
    # 1 of 4,000 draws cannot be told: quarters whose last days were all business days so far.
    wrong = [seed for seed in range(100_000, 104_000) if not np.array_equal(*answer(cases.draw(seed)))]
    assert len(wrong) <= 2, wrong


def answer(case: cases.Case) -> tuple[np.ndarray, np.ndarray]:
    return following_times(case.stamps, len(case.expected), zone=case.zone), case.expected
