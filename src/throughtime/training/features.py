"""A sequence as a row of numbers of fixed width, for models that know no time: its summary, or its course."""

from __future__ import annotations

import numpy as np

from ..data.examples import Examples

PLACES = 32  # that a course is read at, whatever the length
COLUMNS = 100  # number columns in a summary or a course, evenly taken; the rest of a wider table is left out
LABELS = 200  # categories whose share of the steps is in a summary, the most frequent ones
ROWS_AT_A_TIME = 1 << 17  # steps that are gathered at once


def frequent_labels(examples: Examples) -> np.ndarray:
    """``(L, 2)`` the column and code of the categories that most steps have, ``LABELS`` at most."""
    found = []
    for column in range(examples.codes.shape[1]):
        counts = np.bincount(examples.codes[:, column])
        found += [(-int(counts[code]), column, int(code)) for code in np.flatnonzero(counts)]
    return np.array([pair[1:] for pair in sorted(found)[:LABELS]], np.int64).reshape(-1, 2)


def summaries(examples: Examples, labels: np.ndarray) -> np.ndarray:
    """``(E, ...)`` float32: the length; mean, deviation, first, last and slope by step of each number column; the share
    of the steps with each of ``labels``. A sequence without a step has zeros.
    """
    columns = _columns(examples)
    made = np.zeros((len(examples), 1 + 5 * len(columns) + len(labels)), np.float32)
    made[:, 0] = examples.lengths
    for rows in _portions(examples):
        lengths = examples.lengths[rows]
        steps, firsts = _steps(examples.starts[rows], lengths)
        place = np.arange(len(steps)) - np.repeat(firsts, lengths) - np.repeat((lengths - 1) / 2, lengths)
        values = examples.numbers[steps][:, columns].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are left unscaled; clipped below
            mean = np.add.reduceat(values, firsts) / lengths[:, None]
            centred = values - np.repeat(mean, lengths, axis=0)
            spread = np.sqrt(np.add.reduceat(centred**2, firsts) / lengths[:, None])
            moment = np.add.reduceat(place**2, firsts)[:, None]
            slope = np.add.reduceat(centred * place[:, None], firsts) / np.where(moment > 0, moment, 1.0)
        parts = [mean, spread, values[firsts], values[firsts + lengths - 1], slope]
        codes = examples.codes[steps]
        parts += [
            np.add.reduceat((codes[:, column] == code).astype(float), firsts)[:, None] / lengths[:, None]
            for column, code in labels
        ]
        made[rows, 1:] = _in_float32(np.concatenate(parts, axis=1))
    return made


def courses(examples: Examples) -> np.ndarray:
    """``(E, PLACES * columns)`` float32: each number column, linearly interpolated at ``PLACES`` places from the first
    step to the last. A sequence without a step has zeros.
    """
    columns = _columns(examples)
    made = np.zeros((len(examples), PLACES * len(columns)), np.float32)
    for rows in _portions(examples):
        place = np.linspace(0, 1, PLACES) * (examples.lengths[rows, None] - 1)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, examples.lengths[rows, None] - 1)
        low, high = (
            examples.numbers[examples.starts[rows, None] + at][:, :, columns].astype(np.float64)
            for at in (below, above)
        )
        values = low + (high - low) * (place - below)[:, :, None]
        made[rows] = _in_float32(values.reshape(len(rows), -1))
    return made


def _columns(examples: Examples) -> np.ndarray:
    width = examples.numbers.shape[1]
    return np.arange(width) if width <= COLUMNS else np.linspace(0, width - 1, COLUMNS).astype(np.int64)


def _portions(examples: Examples) -> list[np.ndarray]:
    """The examples that have a step, in portions that fit into memory."""
    filled = np.flatnonzero(examples.lengths > 0)
    before = np.cumsum(np.maximum(examples.lengths[filled], PLACES))
    return [part for part in np.split(filled, np.flatnonzero(np.diff(before // ROWS_AT_A_TIME)) + 1) if len(part)]


def _steps(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of all steps, one sequence after the other, and where each begins among them."""
    firsts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - firsts, lengths), firsts


def _in_float32(values: np.ndarray) -> np.ndarray:
    most = float(np.finfo(np.float32).max)
    return np.nan_to_num(values, nan=0.0, posinf=most, neginf=-most).clip(-most, most).astype(np.float32)
