"""Seasons: found where there is one, none where there is none; the window."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from throughtime.data.seasons import choose_window, find_season

PERIODS = (3, 4, 7, 12, 24, 52)


def steps(period: int, cycles: float = 12.4) -> np.ndarray:
    return np.arange(round(cycles * period) + 20)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


# Seasons -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("cycles", [6.3, 12.4, 40])
def test_a_sine_with_and_without_a_trend(period, cycles) -> None:
    t = steps(period, cycles)
    sine = np.sin(2 * np.pi * t / period + 0.7)
    assert find_season(sine) == period
    assert find_season(sine * 1e-3 + 400) == period
    assert find_season(sine + 0.05 * t - 7) == period
    assert find_season(sine + 20 * (t / len(t)) ** 2) == period  # a bent trend, which a straight line does not remove
    assert find_season(sine.astype(np.float32)) == period


@pytest.mark.parametrize(("period", "count"), [(100, 1000), (168, 1680), (168, 1000), (365, 2200)])
def test_a_long_season_is_exact(period, count) -> None:
    """The usual estimate of the autocorrelation sums fewer products at longer lags: its broad peak lies a few before.

    To within one step, as the series does not end with a cycle.
    """
    t = np.arange(count)
    assert abs(find_season(np.sin(2 * np.pi * t / period + 1)) - period) <= 1
    assert find_season((t % period) * 1.0) == period


@pytest.mark.parametrize("period", PERIODS)
def test_a_sine_in_noise(period) -> None:
    t = steps(period, 30)
    for seed in range(5):
        series = np.sin(2 * np.pi * t / period + seed) + 0.4 * noise(len(t), seed)
        # A peak as wide as a quarter of the period: noise moves its top by a step, and by a fiftieth of the period.
        assert abs(find_season(series) - period) <= (0 if period < 20 else max(1, period // 50))


@pytest.mark.parametrize("period", [100, 168])
def test_noise_beside_lag_zero_is_no_season(period) -> None:
    """Within a long season the autocorrelation of the first lags is as high as that of the season itself."""
    for seed in range(10):
        t = np.arange(3000)
        found = find_season(np.sin(2 * np.pi * t / period + seed) + 0.5 * noise(len(t), seed))
        assert abs(found - period) <= 0.03 * period


@pytest.mark.parametrize("period", [2, 3, 5, 7, 12, 24, 60, 168])
def test_a_sawtooth(period) -> None:
    t = steps(period)
    assert find_season(t % period) == period
    assert find_season((t % period) / period + 0.02 * t) == period
    assert find_season((t % period == 1) + 0.05 * noise(len(t))) == period, "one spike a cycle"


def test_a_week_in_hours() -> None:
    hour = np.arange(24 * 7 * 10)
    weekend = (hour // 24) % 7 >= 5
    day = np.sin(2 * np.pi * hour / 24)
    for spread in (0, 0.1, 0.5):
        e = spread * noise(len(hour))
        assert find_season(day - 2 * weekend + e) == 168, "the level of the weekend differs"
        assert find_season(day * np.where(weekend, 0.8, 1) + e) == 24, "the weekend is nearly a day like the others"


def test_gaps_are_bridged() -> None:
    t = np.arange(240)
    series = np.sin(2 * np.pi * t / 12) + 0.01 * t
    gone = np.random.default_rng(3).random(len(t)) < 0.3
    gone[100:112] = True
    gone[:3] = gone[-4:] = True
    assert find_season(np.where(gone, np.nan, series)) == 12
    assert find_season(np.where(gone, np.inf, series)) == 12


def test_none_where_there_is_none() -> None:
    for count in (30, 60, 120, 300, 1000):
        found = {"noise": 0, "skewed": 0, "walk": 0}
        for seed in range(40):
            e = noise(count, seed)
            found["noise"] += find_season(e) > 1
            found["skewed"] += find_season(np.random.default_rng(seed).exponential(size=count)) > 1
            found["walk"] += find_season(np.cumsum(e)) > 1
        # Tests of chance: 3 and 5 standard errors, at up to 200 lags each, let through one series in a hundred.
        assert all(times <= 2 for times in found.values()), (count, found)


@pytest.mark.parametrize(
    "series",
    [
        [],
        [1.0] * 3,
        np.tile([0.0, 1.0], 3),
        np.full(50, np.nan),
        np.r_[np.full(50, np.nan), 1, 2, 1, 2, 1, 2, 1],
        np.full(100, 3.3),
        np.full(1000, 1e9 + 0.1),  # the straight line through it leaves a rest of rounding
        np.full(300, -1e-9),
        np.arange(100) * 0.1,
        np.arange(999) * 1e6 + 1e12,
        np.arange(500.0) ** 2,
        np.exp(np.arange(300) / 40),
        np.log1p(np.arange(300)),
        np.repeat([0.0, 1.0], 50),
    ],
    ids=range(14),
)
def test_short_constant_and_smooth_series_have_none(series) -> None:
    assert find_season(np.asarray(series, dtype=np.float64)) == 1


def test_a_season_is_seen_five_times() -> None:
    assert find_season(np.arange(70) % 12) == 12
    assert find_season(np.arange(50) % 12) == 1


def test_real_series() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statsmodels's own reading of its files
        from statsmodels.datasets import co2, elnino, nile, sunspots

        weekly = co2.load_pandas().data["co2"].to_numpy()
        monthly = elnino.load_pandas().data.iloc[:, 1:].to_numpy().ravel()
        yearly = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
        river = nile.load_pandas().data["volume"].to_numpy()
    assert np.isnan(weekly).any()
    assert find_season(weekly) == 52
    assert find_season(monthly) == 12
    assert find_season(yearly) in (10, 11)
    assert find_season(river) == 1


# The window --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("horizon", "season", "length", "window"),
    [
        (1, 1, 1000, 24),  # at least 24
        (12, 12, 1000, 36),  # three seasons
        (48, 12, 1000, 96),  # twice the horizon
        (12, 12, 100, 22),  # a quarter of the steps that are left
        (12, 12, 15, 1),  # at least 1 ...
        (12, 12, 12, 1),
        (12, 12, 3, 1),  # ... even where there are none left
    ],
)
def test_window(horizon, season, length, window) -> None:
    assert choose_window(horizon=horizon, season=season, steps=length) == window
