"""One date for all sequences: the rows of each part beside plain loops; what comes after it moves nothing before."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.sequences import SequenceData
from throughtime.data.tables import read_table
from throughtime.data.transforms import Preparation
from throughtime.errors import ArgumentError, DataError

START = np.datetime64("2024-01-01", "D")


def panel(
    spans: list[tuple[int, int]], *, horizon: int | None = 1, window: int | None = 2, seed: int = 0
) -> SequenceData:
    """Series of days: of each the first day and how many there are."""
    days = np.concatenate([START + first + np.arange(count) for first, count in spans])
    names = np.repeat([f"s{number}" for number in range(len(spans))], [count for _, count in spans])
    values = np.random.default_rng(seed).normal(size=len(days))
    table = pa.table({"day": days, "name": names, "y": values, "x": values[::-1].copy()})
    roles = {"target": "y", "sequence": "name", "time": "day"}
    return read_table(
        table, **roles, **({"task": "regress"} if horizon is None else {"horizon": horizon, "window": window})
    )


def rows(part: SequenceData) -> set[tuple[str, int]]:
    names = np.repeat(part.ids, part.lengths)
    return {
        (str(name), int((day - START) / np.timedelta64(1, "D"))) for name, day in zip(names, part.time, strict=True)
    }


def by_loops(
    spans: list[tuple[int, int]], dates: list[int], *, window: int, horizon: int, history: str, gap: int | None
) -> list[set[tuple[str, int]]]:
    """The rows of each part, from what the documentation says of them, one row at a time."""
    least = window if history == "own" else 0
    apart = (least if gap is None else gap) - least
    parts: list[set[tuple[str, int]]] = []
    for number in range(len(dates) + 1):
        kept: set[tuple[str, int]] = set()
        for index, (first, count) in enumerate(spans):
            mine = []
            for day in range(first, first + count):
                if number > 0 and day < dates[number - 1]:
                    continue
                if number < len(dates) and day >= dates[number]:
                    continue
                mine.append(day)
            if number < len(dates):  # what is left out before the next part comes off the end of this one
                border = next((day for day in range(first, first + count) if day >= dates[number]), first + count)
                mine = [day for day in mine if day < border - apart]
            start = next((day for day in range(first, first + count) if number == 0 or day >= dates[number - 1]), None)
            if history == "shared" and number > 0 and start is not None:
                reach = max(first, start - window)
                mine = [*range(reach, start), *mine]
            if len(mine) >= window + horizon:
                kept |= {(f"s{index}", day) for day in mine}
        parts.append(kept)
    return parts


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(2, 40)), min_size=1, max_size=5),
    st.lists(st.integers(1, 60), min_size=1, max_size=2, unique=True).map(sorted),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["own", "shared"]),
    st.one_of(st.none(), st.integers(0, 6)),
)
def test_the_rows_of_each_part_are_those_of_plain_loops(spans, dates, window, horizon, history, gap) -> None:
    if history == "own" and gap is not None:
        gap += window
    data = panel(spans, horizon=horizon, window=window)
    expected = by_loops(spans, dates, window=window, horizon=horizon, history=history, gap=gap)
    named = tuple(str(START + day) for day in dates)
    if not all(expected):
        with pytest.raises(DataError, match="fewer than window"):
            data.split(at=named, history=history, gap=gap)
        return
    parts = data.split(at=named, history=history, gap=gap)
    assert [rows(part) for part in parts] == expected


def test_one_number_a_step_is_cut_without_a_window() -> None:
    parts = panel([(0, 10), (4, 10)], horizon=None).split(at="2024-01-08")
    assert rows(parts[0]) == {*(("s0", day) for day in range(7)), *(("s1", day) for day in range(4, 7))}
    assert rows(parts[1]) == {*(("s0", day) for day in range(7, 10)), *(("s1", day) for day in range(7, 14))}


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("history", ["own", "shared"])
def test_rows_from_the_date_on_move_nothing_in_training(window, history) -> None:
    data = panel([(0, 60), (11, 50), (30, 40)], window=window)
    late = data.time >= np.datetime64("2024-02-10")
    numbers, values = data.numbers.copy(), data.target.values.copy()
    numbers[late], values[late] = -1e6, 1e6 * np.sin(np.arange(late.sum()))[:, None]
    moved = SequenceData(
        **{**vars(data), "numbers": numbers, "target": type(data.target)(**{**vars(data.target), "values": values})}
    )
    trained = [one.split(at=("2024-02-10", "2024-02-22"), history=history)[0] for one in (data, moved)]
    fitted = [Preparation.fit(one) for one in trained]
    assert fitted[0].to_json() == fitted[1].to_json()
    np.testing.assert_array_equal(trained[0].numbers, trained[1].numbers)
    np.testing.assert_array_equal(trained[0].target.values, trained[1].target.values)
    np.testing.assert_array_equal(fitted[0].apply(trained[0]).numbers, fitted[1].apply(trained[1]).numbers)


# How a date is named ------------------------------------------------------------------------------------------------

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("zone", "at", "first"),
    [
        (None, "2024-03-30", "2024-03-30T00:00"),
        (None, "2024-03-30T12:30", "2024-03-30T13:00"),
        (None, "2024-04", "2024-04-01T00:00"),
        (None, dt.date(2024, 3, 30), "2024-03-30T00:00"),
        (None, dt.datetime(2024, 3, 30, 5), "2024-03-30T05:00"),
        (None, np.datetime64("2024-03-30"), "2024-03-30T00:00"),
        (None, pd.Timestamp("2024-03-30"), "2024-03-30T00:00"),
        ("Europe/Berlin", "2024-03-30", "2024-03-29T23:00"),
        ("Europe/Berlin", "2024-04-01", "2024-03-31T22:00"),
        ("Europe/Berlin", "2024-03-30T00:00Z", "2024-03-30T00:00"),
        ("Europe/Berlin", dt.datetime(2024, 3, 30, 5, tzinfo=BERLIN), "2024-03-30T04:00"),
        ("Europe/Berlin", pd.Timestamp("2024-03-30 05:00", tz="Asia/Tokyo"), "2024-03-29T20:00"),
    ],
)
def test_a_date_is_named_in_many_ways(zone, at, first) -> None:
    hours = pd.date_range("2024-03-28", periods=200, freq="h", tz=zone)
    data = read_table(pd.DataFrame({"t": hours, "y": np.sin(np.arange(200))}), time="t", horizon=1, window=2)
    train, later = data.split(at=at)
    assert later.time[0] == np.datetime64(first)
    assert train.time[-1] == np.datetime64(first) - np.timedelta64(1, "h")


@pytest.mark.parametrize("at", [20240110, "20240110", "2024-01-10", dt.date(2024, 1, 10)])
def test_dates_as_whole_numbers_are_named_as_they_are_written(at) -> None:
    days = [int(f"202401{day:02d}") for day in range(1, 31)]
    data = read_table(pa.table({"t": days, "y": np.sin(np.arange(30))}), time="t", horizon=1, window=2)
    assert len(data.split(at=at)[0].time) == 9


@pytest.mark.parametrize("at", [7, 7.0, "7", np.int64(7)])
def test_a_time_of_numbers_is_cut_at_a_number(at) -> None:
    data = read_table(pa.table({"t": np.arange(20), "y": np.sin(np.arange(20))}), time="t", horizon=1, window=2)
    assert data.split(at=at)[1].time[0] == 7


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"at": "soon"}, ArgumentError, "at='soon' is no date"),
        ({"at": True}, ArgumentError, "at=True is no date"),
        ({"at": None, "validation": 2.5}, ArgumentError, "validation=2.5"),
        ({"at": pd.NaT}, ArgumentError, "at=NaT is no date"),
        ({"at": ("2024-01-09", "2024-01-05")}, ArgumentError, "where validation and where test begins"),
        ({"at": ()}, ArgumentError, "give one date"),
        ({"at": "2024-01-09T00:00+01:00"}, ArgumentError, "the time column has none"),
        ({"at": "2024-01-09", "test": 0.2}, ArgumentError, "leave out validation=, test="),
        ({"at": "2024-01-09", "by": "sequence"}, ArgumentError, "leave out validation=, test="),
        ({"at": "2024-01-09", "gap": -1}, ArgumentError, "gap=-1"),
        ({"at": "2024-01-09", "gap": 1}, ArgumentError, "gap=1 is less than the window"),
        ({"at": "2034-01-09"}, DataError, "the validation part .* other dates"),
    ],
)
def test_what_is_no_date_is_refused(arguments, error, said) -> None:
    with pytest.raises(error, match=said):
        panel([(0, 30)]).split(**arguments)


def test_without_a_time_column_there_is_no_date() -> None:
    data = read_table(pa.table({"y": np.sin(np.arange(20))}), horizon=1, window=2)
    with pytest.raises(ArgumentError, match="name it as time="):
        data.split(at="2024-01-01")


# Whole sequences, and notes -----------------------------------------------------------------------------------------


def trips(spans: list[tuple[int, int]]) -> SequenceData:
    days = np.concatenate([START + first + np.arange(count) for first, count in spans])
    names = np.repeat(np.arange(len(spans)), [count for _, count in spans])
    table = pa.table({"day": days, "name": names, "x": np.arange(len(days)), "y": np.where(names % 2, "a", "b")})
    return read_table(table, target="y", sequence="name", time="day")


def test_sequences_with_one_target_lie_on_one_side_whole() -> None:
    train, valid, test = trips([(0, 5), (3, 5), (4, 1), (5, 3), (6, 9), (20, 2), (9, 3)]).split(
        at=("2024-01-06", "2024-01-11")
    )
    assert [part.ids.tolist() for part in (train, valid, test)] == [[0, 2], [3], [5]]
    assert train.notes[-1] == "3 of 7 sequences lie across a date of at=, and are left out."
    with pytest.raises(DataError, match="no sequence lies in the validation part"):
        trips([(0, 5), (3, 5)]).split(at="2024-01-06")


def test_training_rows_later_than_test_rows_are_noted() -> None:
    later = panel([(0, 40), (60, 40)]).split(validation=8, test=8)
    assert (
        "Training has rows up to 2024-03-24T00:00, and the test part predicts from 2024-02-04T00:00"
        in later[0].notes[-1]
    )
    assert "split(at=...)" in later[2].notes[-1]
    together = panel([(0, 40), (0, 40)])
    for history in ("own", "shared"):
        assert not any(
            "Training has rows" in note for note in together.split(validation=8, test=8, history=history)[0].notes
        )
    assert not any("Training has rows" in note for note in panel([(0, 40), (30, 40)]).split(at="2024-02-04")[0].notes)
    drawn = trips([(day, 3) for day in range(30)]).split(seed=1)
    assert "Training has rows up to" in drawn[0].notes[-1]
