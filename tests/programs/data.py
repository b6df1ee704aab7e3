"""Data that a small recurrent network learns in a hundred steps, and a few real series; float32, the same on each call.

B sequences of T steps; ``x`` is (B, T, F) or tokens (B, T). Padding is zero and comes last unless the name says else.
"""

from __future__ import annotations

import functools

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Array = NDArray[np.float32]
Pair = tuple[Array, Array]


def f32(values: object) -> Array:
    return np.asarray(values, dtype="float32")


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# Memory -------------------------------------------------------------------------------------------------------------


def adding(batch: int, steps: int, *, first: int = 0, last: int | None = None, seed: int = 0) -> Pair:
    """The adding problem: the sum of the two values that are marked, somewhere in steps first to last."""
    rng = generator(seed)
    x = np.zeros((batch, steps, 2))
    x[..., 0] = rng.uniform(0, 1, (batch, steps))
    for row in range(batch):
        x[row, rng.choice(np.arange(first, steps if last is None else last), 2, replace=False), 1] = 1
    return f32(x), f32((x[..., 0] * x[..., 1]).sum(1, keepdims=True))


def cue(batch: int, steps: int, *, at: int, classes: int = 2, noise: float = 0.3, seed: int = 0) -> Pair:
    """The class is shown at one step, one-hot in channels of its own; another channel is noise at all steps."""
    rng = generator(seed)
    y = rng.integers(0, classes, batch)
    x = np.zeros((batch, steps, classes + 1))
    x[..., -1] = rng.normal(0, noise, (batch, steps))
    x[np.arange(batch), at, y] = 1
    return f32(x), y.astype("int32")


def copy_memory(batch: int, symbols: int = 4, length: int = 3, blank: int = 4, seed: int = 0) -> tuple[Array, Array]:
    """Tokens to be repeated after a pause; token 0 is blank, the last one says go. The target is the class per step."""
    rng = generator(seed)
    word = rng.integers(1, symbols + 1, (batch, length))
    x = np.zeros((batch, 2 * length + blank), "int32")
    y = np.zeros_like(x)
    x[:, :length], x[:, length + blank - 1], y[:, -length:] = word, symbols + 1, word
    return x, y


def parity(batch: int, longest: int = 4, seed: int = 0) -> tuple[Array, Array]:
    """Tokens 1 and 2, one to ``longest`` of them: whether the count of 2 is odd."""
    rng = generator(seed)
    lengths = rng.integers(1, longest + 1, batch)
    x = rng.integers(1, 3, (batch, longest)) * (np.arange(longest) < lengths[:, None])
    return x.astype("int32"), f32((x == 2).sum(1) % 2)


def latch(batch: int, batches: int, steps: int, *, seed: int = 0) -> Pair:
    """Long streams cut into pieces, row i of a batch going on in row i of the next: the sign of the latest pulse.

    A pulse comes every second piece or so, hence most targets need what an earlier piece said.
    """
    rng = generator(seed)
    length = batches * steps
    pulses = rng.choice([-1, 1], (batch, length)) * (rng.random((batch, length)) < 0.5 / steps)
    pulses[:, 0] = rng.choice([-1, 1], batch)
    latest = np.maximum.accumulate(np.where(pulses != 0, np.arange(length), 0), axis=1)
    held = np.take_along_axis(pulses, latest, axis=1)

    def pieces(values: NDArray[np.int64]) -> Array:
        return f32(values.reshape(batch, batches, steps).swapaxes(0, 1).reshape(-1, steps, 1))

    return pieces(pulses), pieces(held)


# Sequences with a class ---------------------------------------------------------------------------------------------


def drifting_walks(
    batch: int,
    steps: int,
    *,
    shortest: int | None = None,
    longest: int | None = None,
    side: str = "post",
    seed: int = 0,
) -> Pair:
    """Random walks that drift up (1) or down (0), of ``shortest`` to ``longest`` steps, then padded with zeros."""
    rng = generator(seed)
    y = rng.integers(0, 2, batch)
    lengths = rng.integers(shortest or steps, (longest or steps) + 1, batch)
    x = np.zeros((batch, steps, 1))
    for row, length in enumerate(lengths):
        walk = np.cumsum(rng.normal(0, 0.3, length) + 0.12 * (2 * y[row] - 1)) + rng.normal(0, 0.3)
        x[row, slice(0, length) if side == "post" else slice(steps - length, steps), 0] = walk
    return f32(x), f32(y)


def sentences(
    batch: int, steps: int = 20, *, shortest: int = 5, longest: int | None = None, words: int = 40, seed: int = 0
) -> tuple[Array, Array]:
    """Tokens 1 to words - 1; in a good text a third of them is 1 to 5, in a bad one 6 to 10; padded with 0."""
    rng = generator(seed)
    y = rng.integers(0, 2, batch)
    x = rng.integers(11, words, (batch, steps))
    mood = rng.integers(1, 6, (batch, steps)) + 5 * (1 - y[:, None])
    x = np.where(rng.random((batch, steps)) < 0.3, mood, x)
    lengths = rng.integers(shortest, (longest or steps) + 1, batch)
    x[np.arange(batch), rng.integers(0, lengths)] = mood[:, 0]
    x[np.arange(steps) >= lengths[:, None]] = 0
    return x.astype("int32"), f32(y)


def negations(batch: int = 320, steps: int = 12, *, first: int = 0, padding: int = 0, seed: int = 0) -> Pair:
    """Words numbered from ``first`` on, the first a negation: whether a text has one (1), never as its last word."""
    rng = generator(seed)
    y = rng.integers(0, 2, batch)
    lengths = rng.integers(6, steps + 1, batch)
    x = first + rng.integers(1, 20, (batch, steps))
    for place in (rng.integers(0, 3, batch), rng.integers(3, 5, batch)):
        x[y == 1, place[y == 1]] = first
    x[np.arange(steps) >= lengths[:, None]] = padding
    return x.astype("int32"), f32(y)


def topics(batch: int, steps: int = 20, *, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Tokens of which a third are words of the class: 1 to 4, 5 to 8, ... ; all of the same length."""
    rng = generator(seed)
    y = rng.integers(0, classes, batch)
    own = 1 + 4 * y[:, None] + rng.integers(0, 4, (batch, steps))
    other = rng.integers(4 * classes + 1, 4 * classes + 20, (batch, steps))
    x = np.where(rng.random((batch, steps)) < 0.35, own, other)
    return x.astype("int32"), y.astype("int32")


def off_share(batch: int = 320, steps: int = 30, *, padding: float, seed: int = 0) -> Pair:
    """The power of a machine that is off (exactly 0) at times; the share of steps that it is off, standardised."""
    rng = generator(seed)
    lengths = rng.integers(steps // 5, steps + 1, (batch, 1))
    on = rng.random((batch, steps)) < rng.uniform(0.2, 0.9, (batch, 1))
    on[np.arange(batch), lengths[:, 0] - 1] = True
    valid = np.arange(steps) < lengths
    share = (~on & valid).sum(1, keepdims=True) / lengths
    x = np.where(valid, np.where(on, rng.uniform(0.3, 1, (batch, steps)), 0), padding)
    return f32(x[..., None]), standard(f32(share))


def counts(batch: int = 320, steps: int = 20, seed: int = 1) -> Pair:
    """Counts, of which half are 0, and for how many steps the latest have been 0."""
    x = generator(seed).poisson(0.7, (batch, steps, 1))
    return f32(x), f32((np.cumsum(x[:, ::-1, 0], axis=1) == 0).sum(1, keepdims=True))


def tagged_sensors(batch: int, steps: int, features: int, seed: int = 0) -> Pair:
    """Smooth curves of which the first is above zero (1) or below (0) at each step; a third and more are padded."""
    rng = generator(seed)
    x = smooth(rng.normal(0, 1, (batch, steps, features)), 4)
    valid = np.arange(steps)[:, None] < rng.integers(steps // 3, steps + 1, (batch, 1, 1))
    return f32(x * valid), f32((x[..., :1] > 0) & valid)


def levels(batch: int, steps: int, *, classes: int = 3, features: int = 3, noise: float = 0.8, seed: int = 0) -> Pair:
    """Smooth noisy curves around a level for each class and feature."""
    rng = generator(seed)
    centre = generator(99).normal(0, 1, (classes, features))
    y = rng.integers(0, classes, batch)
    curve = smooth(rng.normal(0, 1, (batch, steps, features)), 3)
    return f32(centre[y][:, None] + noise * curve), y.astype("int32")


def rhythms(batch: int, steps: int, channels: int, *, seed: int = 0) -> Pair:
    """Oscillations with random phases and periods: channel 2 is quick (1) or slow (0), the others are either."""
    rng = generator(seed)
    y = rng.integers(0, 2, batch)
    period = rng.uniform(8, 26, (batch, channels))
    period[:, 2] = np.where(y == 1, rng.uniform(7, 10, batch), rng.uniform(18, 28, batch))
    phase = rng.uniform(0, 2 * np.pi, (batch, channels))
    x = np.sin(2 * np.pi * np.arange(steps)[:, None] / period[:, None] + phase[:, None])
    return f32(x + 0.05 * rng.normal(size=x.shape)), f32(y)


def trajectories(batch: int, steps: int, seed: int = 0) -> Pair:
    """Displacements in the plane, the first of which is none, and the places they lead to from the origin."""
    moves = generator(seed).normal(0, 0.4, (batch, steps, 2))
    moves[:, 0] = 0
    return f32(moves), f32(np.cumsum(moves, axis=1))


def spectrogram(batch: int, steps: int, bands: int, *, seed: int = 0) -> Pair:
    """A bump in frequency that rises (1) or falls (0) with time: neighbouring bands are more alike than steps."""
    rng = generator(seed)
    y = rng.integers(0, 2, batch)
    start = np.where(y == 1, 0.3, 0.7) * bands + rng.normal(0, 1, batch)
    slope = np.where(y == 1, 0.4, -0.4) * bands / steps
    shake = smooth(rng.normal(0, 1.5, (batch, steps, 1)), 2)[..., 0]
    centre = start[:, None] + slope[:, None] * np.arange(steps) + shake
    bump = np.exp(-(((np.arange(bands) - centre[..., None]) / (bands / 8)) ** 2))
    return f32(bump + 0.02 * rng.normal(size=bump.shape)), f32(y)


@functools.cache
def _digits() -> tuple[Array, Array]:
    digits = load_digits()
    return f32(digits.images / 16), digits.target.astype("int32")


def digits(batch: int = 400, classes: int = 10) -> Pair:
    """Written digits, 8 rows of 8 pixels read from above, in [0, 1]."""
    x, y = _digits()
    of_interest = y < classes
    return x[of_interest][:batch], y[of_interest][:batch]


# Series -------------------------------------------------------------------------------------------------------------


def smooth(values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """A running mean along axis 1 with exponential weights, scaled to variance 1."""
    keep = np.exp(-1 / width)
    out = np.empty_like(values)
    state = values[:, 0] / np.sqrt(1 - keep**2)
    for step in range(values.shape[1]):
        state = out[:, step] = keep * state + values[:, step] if step else state
    return out * np.sqrt(1 - keep**2)


def seasonal(length: int, *, period: int = 12, noise: float = 0.15, trend: float = 0.0, seed: int = 0) -> Array:
    """A sine with a second harmonic, a trend and noise."""
    rng = generator(seed)
    t = np.arange(length)
    wave = np.sin(2 * np.pi * t / period) + 0.4 * np.sin(4 * np.pi * t / period + 1)
    return f32(wave + trend * t / length + noise * rng.normal(size=length))


def ar2(length: int, seed: int = 0) -> Array:
    """x_t = 1.6 x_(t-1) - 0.85 x_(t-2) + e, scaled to about variance 1: the last value is a poor forecast."""
    rng = generator(seed)
    x = np.zeros(length + 50)
    noise = rng.normal(size=length + 50)
    for t in range(2, length + 50):
        x[t] = 1.6 * x[t - 1] - 0.85 * x[t - 2] + noise[t]
    return f32(x[50:] / 3.8)


def random_walk(length: int, seed: int = 0) -> Array:
    return f32(np.cumsum(generator(seed).normal(size=length)))


def sunspots() -> Array:
    """The yearly sunspot numbers from 1700 to 2008."""
    return f32(sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"])


def sea_surface() -> Array:
    """The monthly temperatures of the sea where El Nino is seen, in degrees Celsius, 1950 to 2010."""
    return f32(sm.datasets.elnino.load_pandas().data.iloc[:, 1:].to_numpy().reshape(-1))


def standard(values: Array, *, over: int | None = None) -> Array:
    """Standardised along the first axis by the mean and deviation of the first ``over`` values."""
    known = values[:over]
    return f32((values - known.mean(0)) / known.std(0))


def windows(series: Array, steps: int, *, horizon: int = 1) -> Pair:
    """All windows (B, T, F) of a series (L,) or (L, F), with the first feature's next ``horizon`` values."""
    series = series[:, None] if series.ndim == 1 else series
    starts = range(len(series) - steps - horizon + 1)
    x = np.stack([series[s : s + steps] for s in starts])
    y = np.stack([series[s + steps : s + steps + horizon, 0] for s in starts])
    return f32(x), f32(y)


def next_values(series: Array, steps: int, *, batch: int | None = None) -> Pair:
    """Windows with the next value as target at each step, y[:, t] = x[:, t + 1]: all, or ``batch`` of them."""
    x, _ = windows(series, steps + 1)
    if batch is not None:
        x = x[np.linspace(0, len(x) - 1, batch).astype(int)]
    return x[:, :-1], x[:, 1:, :1]
