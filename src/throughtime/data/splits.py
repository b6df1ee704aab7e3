"""Where sequences are split: which go to which part, and at which steps each is cut. Numbers in, numbers out.

A part is asked for as a share, a float from 0 to 1, or as a whole number, of sequences or of time steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, DataError

PARTS = ("training", "validation", "test")


def refuse_share(name: str, share: float) -> None:
    """Raises ArgumentError unless ``share`` is a float from 0 to below 1, or a whole number."""
    if not (share >= 0 and (_is_whole(share) or share < 1)):  # so put that NaN is refused as well
        raise ArgumentError(f"{name}={share!r} is neither a share from 0 to 1 nor a whole number from 0 on.")


def _is_whole(share: float) -> bool:
    return isinstance(share, int | np.integer)


# Whole sequences ----------------------------------------------------------------------------------------------------


def draw(
    count: int, *, validation: float, test: float, codes: np.ndarray | None = None, seed: int = 0
) -> list[np.ndarray]:
    """The sequences of ``[training, validation, test]``, drawn at random; each part in rising order.

    Args:
        count: how many sequences there are.
        validation, test: the size of a part.
        codes: ``(count,)`` the class of each sequence, to draw from each class in proportion: validation and test each
            hold its share of the whole, to within one. Only where that could leave a class without a sequence in
            training does the class keep one (if there are enough others to hold out), and the others make up for it.
        seed: of the draw.

    Raises:
        DataError: no sequence is left to train on.
    """
    if not _is_whole(seed) or seed < 0:
        raise ArgumentError(f"seed={seed!r}; give a whole number of at least 0.")
    sizes = [
        int(share) if _is_whole(share) else max(1, round(share * count)) if share else 0 for share in (validation, test)
    ]
    if sum(sizes) >= count:
        raise DataError(
            f"{count} sequence{'s' if count != 1 else ''} cannot be split into training, {sizes[0]} validation "
            f"and {sizes[1]} test sequences; give more sequences, smaller parts, or by='time'."
        )
    rng = np.random.default_rng(seed)
    if codes is None:
        codes = np.zeros(count, np.int64)
    _, classes, members = np.unique(codes, return_inverse=True, return_counts=True)
    from_class = _apportion(members, sizes[0], sizes[1], rng)
    order = rng.permutation(count)
    order = order[np.argsort(classes[order], kind="stable")]
    place = np.arange(count) - np.repeat(np.cumsum(members) - members, members)  # inside its class
    held = np.repeat(np.cumsum(from_class, axis=1), members, axis=0)
    part = (place[:, None] >= held).sum(1)  # 0: validation, 1: test, 2: training
    return [np.sort(order[part == number]) for number in (2, 0, 1)]


def _apportion(members: np.ndarray, validation: int, test: int, rng: np.random.Generator) -> np.ndarray:
    """``(classes, 2)``: how many of each class go to validation and to test; the columns add up to both sizes.

    A controlled rounding (Cox 1987): both numbers of a class are its exact quotas, rounded down or up, and their sum is
    at most the rounded up sum of the quotas, so that what stays in training does.
    """
    number, per = _quota(members, validation + test)
    per *= max(validation + test, 1)
    down_v, rest_v = np.divmod(number * validation, per)
    down_t, rest_t = np.divmod(number * test, per)
    both = rest_v + rest_t > per  # a class whose two quotas may both be rounded up
    chance = rng.permutation(len(members))
    # Validation rounds up first where that takes nothing from test: otherwise test could be left without candidates.
    up_v = np.zeros(len(members), bool)
    order = np.lexsort((chance, -rest_v, ~both & (rest_t > 0), rest_v == 0))
    up_v[order[: validation - down_v.sum()]] = True
    up_t = np.zeros(len(members), bool)
    order = np.lexsort((chance, -rest_t, ~both, up_v, rest_t == 0))
    up_t[order[: test - down_t.sum()]] = True
    return np.stack([down_v + up_v, down_t + up_t], axis=1)


def _quota(members: np.ndarray, held: int) -> tuple[np.ndarray, int]:
    """How many of each class to hold out, as exact fractions ``number / per`` that add up to ``held``.

    In proportion to the class, but at most all of it but one; what such a class cannot give, the others give in
    proportion. In proportion alone where even so there would be too few.
    """
    if held > (members - 1).sum():
        return members * held, int(members.sum())
    full = np.zeros(len(members), bool)
    while True:
        left, among = held - int((members - 1)[full].sum()), int(members[~full].sum())
        beyond = ~full & (members * left > (members - 1) * among)
        if not beyond.any():
            among = max(among, 1)
            return np.where(full, (members - 1) * among, members * left), among
        full |= beyond


def sort_by_time(first: np.ndarray, last: np.ndarray, at: Sequence[Any]) -> tuple[list[np.ndarray], int]:
    """The sequences of ``[training, validation, test]`` that lie in it whole, and how many lie across a date of ``at``.

    Args:
        first, last: ``(B,)`` the first and the last time of each sequence.
        at: where validation begins, and test, if there is one.
    """
    begins, ends = (np.searchsorted(np.array(at), times, side="right") for times in (first, last))
    parts = [np.flatnonzero((begins == part) & (ends == part)) for part in range(3)]
    return parts, int((begins != ends).sum())


# Later steps of every sequence --------------------------------------------------------------------------------------


def training_stops(
    lengths: np.ndarray,
    *,
    validation: float = 0,
    test: float = 0,
    firsts: Sequence[np.ndarray] | None = None,
    gap: int | None = None,
) -> np.ndarray:
    """``(B,)`` steps of each sequence that ``cut`` gives to training whatever the window will be."""
    return np.maximum(_borders(lengths, validation, test, firsts, gap or 0)[0][1], 0)


def smallest_part(
    lengths: np.ndarray, *, validation: float = 0, test: float = 0, firsts: Sequence[np.ndarray] | None = None
) -> int:
    """Rows that the longest sequence has in validation or test, whichever of those asked for is smaller; of parts that
    begin at ``firsts``, the rows of the sequence that has the most of that part."""
    if firsts is None:
        lengths = lengths.max(initial=0)[None]
    rows = [int((stop - start).max(initial=0)) for start, stop in _borders(lengths, validation, test, firsts, 0)]
    return min(size for size, asked in zip(rows, _asked(validation, test, firsts), strict=True) if asked)


def cut(
    lengths: np.ndarray,
    *,
    validation: float = 0,
    test: float = 0,
    firsts: Sequence[np.ndarray] | None = None,
    window: int = 0,
    horizon: int = 1,
    history: str = "own",
    gap: int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """``(starts, stops)`` of each sequence in ``[training, validation, test]``, ``(B,)`` each, in time steps.

    Where a sequence has fewer than ``window + horizon`` steps for a part, nothing could be predicted in it, and its
    stop is its start. For the other arguments see ``SequenceData.split``.

    Args:
        firsts: instead of ``validation`` and ``test``: the first step of validation, and of test if there is one, in
            each sequence, ``(B,)`` each.

    Raises:
        ArgumentError: a gap shorter than the window, with "own" history.
        DataError: a part in which no sequence has enough steps.

    Example:
        >>> [(int(a[0]), int(b[0])) for a, b in cut(np.array([20]), validation=4, test=5, window=2, history="shared")]
        [(0, 11), (9, 15), (13, 20)]
    """
    least = window if history == "own" else 0
    if gap is None:
        gap = least
    elif gap < least:
        raise ArgumentError(
            f"gap={gap} is less than the window of {window} steps, so the parts would share rows; "
            "give a larger gap, or history='shared' to allow shared inputs."
        )
    reach = window - least  # rows before a part that its first prediction looks back on
    cuts = []
    asked = _asked(validation, test, firsts)
    for name, wanted, (start, stop) in zip(
        PARTS, asked, _borders(lengths, validation, test, firsts, gap - least), strict=True
    ):
        start = np.maximum(start - reach, 0)
        room = stop - start
        enough = room >= window + horizon
        if wanted and not enough.any():
            raise DataError(
                f"the {name} part of a series of {int(lengths.max(initial=0))} steps has "
                f"{int(room.max(initial=0))} steps, fewer than window + horizon = {window} + {horizon}; give a "
                f"longer series, a shorter window or horizon, or {'larger parts' if firsts is None else 'other dates'}."
            )
        cuts.append((start, np.where(enough, stop, start)))
    return cuts


def _asked(validation: float, test: float, firsts: Sequence[np.ndarray] | None) -> tuple[bool, bool, bool]:
    """Which parts are asked for."""
    return (True, validation > 0, test > 0) if firsts is None else (True, True, len(firsts) == 2)


def _borders(
    lengths: np.ndarray, validation: float, test: float, firsts: Sequence[np.ndarray] | None, apart: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """``(starts, stops)`` of the three parts, counted from the end, with ``apart`` steps left out before a part.

    What is left out comes off the part before, so that each part has the size asked for and training has the rest,
    which may be below 0.
    """
    if firsts is not None:
        starts = [np.zeros_like(lengths), *firsts]
        stops = [np.maximum(stop - apart, start) for start, stop in zip(starts, firsts, strict=False)]
        borders = list(zip(starts, [*stops, lengths], strict=True))
        return borders if len(borders) == 3 else [*borders, (lengths, lengths)]
    stop = lengths
    parts = []
    for share in (test, validation):
        size = np.full(len(lengths), share) if _is_whole(share) else np.round(share * lengths).astype(np.int64)
        parts.append((stop - size, stop))
        stop = stop - size - np.where(size > 0, apart, 0)
    return [(np.zeros_like(lengths), stop), parts[1], parts[0]]
