"""What a series itself says about its time: its season, how far back to look, and the time stamps that follow."""

from __future__ import annotations

import numpy as np

# An autocorrelation below these is no season: of the series itself, where slow wandering makes chance peaks of 0.2, and
# of its differences, where chance stays within a few times 1 / sqrt(n).
LEAST_AUTOCORRELATION = 0.3
LEAST_OF_DIFFERENCES = 0.1
# Of several good lags the shortest within this share of the best is the season; the others are its multiples.
MULTIPLE_SHARE = 0.9
# A lag is a peak if nothing within this share of it is higher: noise puts small peaks beside the true one.
NEIGHBOURHOOD = 0.25
# A season has to be seen this many times.
LEAST_CYCLES = 5


def find_season(series: np.ndarray) -> int:
    """The season of one series in steps, 1 if there is none.

    A lag at which the autocorrelation (Box & Jenkins 1976) peaks, from 2 to a fifth of the length, of the linearly
    detrended series or of its differences, whichever rises higher above the valley before it: a bent trend or slow
    wandering hides the season in the one, noise hides it in the other. Of lags nearly as good the shortest.

    Args:
        series: ``(n,)`` numbers; missing values (NaN) are interpolated.

    Example:
        >>> find_season(np.sin(np.arange(200) * 2 * np.pi / 12))
        12
    """
    series = np.asarray(series, dtype=np.float64)
    known = np.isfinite(series)
    if known.sum() < 8:
        return 1
    steps = np.arange(len(series))
    series = np.interp(steps, steps[known], series[known])
    detrended = series - np.polyval(np.polyfit(steps, series, 1), steps)
    chance = max(LEAST_OF_DIFFERENCES, 4 / np.sqrt(len(series)))
    best, best_rise = 1, 0.0
    for candidate, least in ((detrended, LEAST_AUTOCORRELATION), (np.diff(series), chance)):
        longest = len(candidate) // LEAST_CYCLES
        correlation = _autocorrelation(candidate)[: int(longest * (1 + NEIGHBOURHOOD)) + 2]
        inner = correlation[1:-1]
        peaks = np.flatnonzero((inner > correlation[:-2]) & (inner >= correlation[2:])) + 1
        peaks = peaks[(peaks >= 2) & (peaks <= longest)]
        if len(peaks) == 0 or correlation[peaks].max() < least:
            continue
        highest = correlation[peaks].max()
        for lag in peaks[correlation[peaks] >= MULTIPLE_SHARE * highest]:
            reach = int(NEIGHBOURHOOD * lag)
            if correlation[lag] >= correlation[lag - reach : lag + reach + 1].max():
                rise = float(correlation[lag] - correlation[1:lag].min())
                if rise > best_rise:
                    best, best_rise = int(lag), rise
                break
    return best


def _autocorrelation(series: np.ndarray) -> np.ndarray:
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    covariance = np.fft.irfft(spectrum * spectrum.conj())[: len(centred)]
    return covariance / covariance[0] if covariance[0] > 0 else np.zeros_like(covariance)


def choose_window(*, horizon: int, season: int, steps: int) -> int:
    """How many steps a forecast looks back, where the user does not say.

    Three seasons, or twice the horizon if that is more, at least 24 steps; at most a quarter of the ``steps`` that the
    shortest useful training series has, so that there are windows to learn from, and at least 1.
    """
    return max(1, min(max(3 * season, 2 * horizon, 24), (steps - horizon) // 4))


def step_between(time: np.ndarray) -> np.timedelta64 | float | None:
    """The regular step of rising time stamps ``(n,)``: a ``timedelta64`` (in months where the stamps keep the day of
    the month), a number, or the median step of an irregular series; None for fewer than two."""
    if len(time) < 2:
        return None
    differences = np.diff(time)
    if np.issubdtype(time.dtype, np.datetime64):
        months = time.astype("datetime64[M]")
        in_month = time - months
        jumps = np.diff(months)
        if (in_month == in_month[0]).all() and (jumps == jumps[0]).all():
            return jumps[0]
        return np.sort(differences)[len(differences) // 2]
    return float(np.median(differences))


def following_times(time: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` time stamps after the last of ``time`` ``(n,)``, by the step between them.

    Example:
        >>> months = np.array(["2024-01-01", "2024-02-01"], "datetime64[ns]")
        >>> following_times(months, 2).astype("datetime64[D]").astype(str).tolist()
        ['2024-03-01', '2024-04-01']
    """
    step = step_between(time)
    ahead = np.arange(1, count + 1)
    if step is None:
        return np.repeat(time[-1:], count) if np.issubdtype(time.dtype, np.datetime64) else time[-1] + ahead
    if isinstance(step, np.timedelta64) and np.datetime_data(step)[0] == "M":
        month = time[-1].astype("datetime64[M]")
        return (month + step * ahead).astype(time.dtype) + (time[-1] - month.astype(time.dtype))
    following = time[-1] + step * ahead
    return following.astype(time.dtype) if np.issubdtype(time.dtype, np.datetime64) else following
