"""What a series itself says about its time: its season, how far back to look, and the time stamps that follow."""

from __future__ import annotations

import numpy as np

# An autocorrelation below these is no season: of the series itself, where slow wandering makes chance peaks of 0.2, and
# of its differences. Short series need more, this many times 1 / sqrt(n), as a fifth of n lags are tried.
LEAST_AUTOCORRELATION = 0.3
LEAST_OF_DIFFERENCES = 0.1
CHANCE = 3
CHANCE_OF_DIFFERENCES = 5
# The peak of a season stands above the valley before it; noise puts small peaks on the slope beside lag 0.
LEAST_RISE = 0.1
# Of several good lags the shortest within this share of the highest rise is the season; the others are its multiples.
MULTIPLE_SHARE = 0.9
# A lag is a peak if nothing within this share of it is higher: noise puts small peaks beside the true one.
NEIGHBOURHOOD = 0.25
# A season has to be seen this many times.
LEAST_CYCLES = 5
# What is left of a straight line after it is subtracted: up to 1e-15 of its numbers is measured, and is no season.
ROUNDING = 1e-12


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
    chance = 1 / np.sqrt(len(series))
    best, best_rise = 1, LEAST_RISE
    for candidate, least in (
        (detrended, max(LEAST_AUTOCORRELATION, CHANCE * chance)),
        (np.diff(series), max(LEAST_OF_DIFFERENCES, CHANCE_OF_DIFFERENCES * chance)),
    ):
        if np.ptp(candidate) <= ROUNDING * np.abs(series).max():
            continue
        longest = len(candidate) // LEAST_CYCLES
        correlation = _autocorrelation(candidate)[: int(longest * (1 + NEIGHBOURHOOD)) + 2]
        inner = correlation[1:-1]
        peaks = np.flatnonzero((inner > correlation[:-2]) & (inner >= correlation[2:])) + 1
        peaks = peaks[(peaks >= 2) & (peaks <= longest) & (correlation[peaks] >= least)]
        rises = correlation[peaks] - np.minimum.accumulate(correlation[1:])[peaks - 2]
        for lag, rise in zip(peaks.tolist(), rises.tolist(), strict=True):
            near = np.arange(lag - int(NEIGHBOURHOOD * lag), lag + int(NEIGHBOURHOOD * lag) + 1)
            if rise >= MULTIPLE_SHARE * rises.max() and correlation[lag] >= correlation[near].max():
                if rise > best_rise:
                    # At lag k only n - k products are summed, which pulls a broad peak to shorter lags; their mean is
                    # not pulled.
                    best = int(near[np.argmax(correlation[near] / (len(candidate) - near))])
                    best_rise = rise
                break
    return best


def _autocorrelation(series: np.ndarray) -> np.ndarray:
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    covariance = np.fft.irfft(spectrum * spectrum.conj())[: len(centred)]
    return covariance / covariance[0] if covariance[0] > 0 else np.zeros_like(covariance)


def choose_window(*, horizon: int, season: int, steps: int) -> int:
    """How many steps a forecast looks back, where the user does not say.

    Three seasons, or twice the horizon if that is more, at least 24 steps; at most a quarter of what the ``steps`` of a
    training series (the median of those that are long enough) leave beside the horizon, so that there are windows to
    learn from; and at least 1.
    """
    return max(1, min(max(3 * season, 2 * horizon, 24), (steps - horizon) // 4))


def step_between(time: np.ndarray) -> np.timedelta64 | float | None:
    """The regular step of rising time stamps ``(n,)``: a ``timedelta64`` (in months where the stamps keep the day of
    the month, or are month ends), a number, or the median step of an irregular series; None for fewer than two."""
    if len(time) < 2:
        return None
    if np.issubdtype(time.dtype, np.datetime64):
        months = time.astype("datetime64[M]")
        jumps = np.diff(months)
        if (jumps == jumps[0]).all() and (time == _in_months(months, time)).all():
            return jumps[0]
        differences = np.diff(time)
        return np.sort(differences)[len(differences) // 2]
    return float(np.median(np.diff(time)))


def following_times(time: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` time stamps after the last of ``time`` ``(n,)``, by the step between them, in the dtype of ``time``
    (whole numbers with a step that is not whole: float64).

    Example:
        >>> months = np.array(["2024-01-31", "2024-02-29"], "datetime64[ns]")
        >>> following_times(months, 2).astype("datetime64[D]").astype(str).tolist()
        ['2024-03-31', '2024-04-30']
    """
    step = step_between(time)
    ahead = np.arange(1, count + 1)
    if step is None:
        return np.repeat(time[-1:], count) if np.issubdtype(time.dtype, np.datetime64) else time[-1] + ahead
    if isinstance(step, np.timedelta64) and np.datetime_data(step)[0] == "M":
        return _in_months(time[-1].astype("datetime64[M]") + step * ahead, time)
    if not isinstance(step, np.timedelta64) and time.dtype.kind == "i" and step.is_integer():
        return time[-1] + int(step) * ahead  # not by way of float64, which holds whole numbers up to 2**53 only
    following = time[-1] + step * ahead
    return following.astype(time.dtype) if np.issubdtype(time.dtype, np.datetime64) else following


def _in_months(months: np.ndarray, time: np.ndarray) -> np.ndarray:
    """One stamp in each of ``months``, on the day that the stamps of ``time`` have, if they are monthly.

    The 31st is the last day of a shorter month; stamps that are all month ends stay month ends (30 June, 30 September,
    31 December).
    """
    dates = time.astype("datetime64[D]")
    ends = (dates + 1).astype("datetime64[M]") > time.astype("datetime64[M]")
    day = np.timedelta64(30, "D") if ends.all() else (dates - time.astype("datetime64[M]")).max()
    last_days = (months + 1).astype("datetime64[D]") - 1
    return np.minimum(months + day, last_days).astype(time.dtype) + (time[-1] - dates[-1])
