"""What a series itself says about its time: its season, and how far back to look."""

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
