"""Which steps of which sequences stand in each window, for truncated backpropagation through time with carried state.

Sequences are laid into ``batch`` rows, one after another, each from the first step of a window on. So a row of a window
holds steps of one sequence alone, and where its state is to begin anew is known from the number of the window.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cells:
    """What stands in the rows of one window.

    Attributes:
        sequence: ``(batch,)`` the number of the sequence, -1 in an empty row.
        start: ``(batch,)`` the step of the sequence that the window begins with.
        count: ``(batch,)`` steps of it in the window, 0 in an empty row.
        ends: ``(batch,)`` whether the last step of the sequence is among them.
    """

    sequence: np.ndarray
    start: np.ndarray
    count: np.ndarray
    ends: np.ndarray

    @property
    def begins(self) -> np.ndarray:
        """``(batch,)`` whether a sequence begins here: the row's state has to be zero before the window."""
        return (self.sequence >= 0) & (self.start == 0)


@dataclass(frozen=True)
class Layout:
    """Sequences in rows.

    Attributes:
        lengths: ``(S,)`` steps of each sequence. Those of 0 steps are in no row.
        window: steps of a window.
        members: of each row, the sequences in it in their order.
        firsts: of each row, the windows that they begin in.
        windows: of the longest row.
    """

    lengths: np.ndarray
    window: int
    members: tuple[np.ndarray, ...]
    firsts: tuple[np.ndarray, ...]
    windows: int

    @property
    def batch(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Cells:
        sequence, start = np.full(self.batch, -1), np.zeros(self.batch, np.int64)
        for row, (members, firsts) in enumerate(zip(self.members, self.firsts, strict=True)):
            place = int(np.searchsorted(firsts, index, side="right")) - 1
            if place >= 0:
                at = (index - int(firsts[place])) * self.window
                if at < self.lengths[members[place]]:
                    sequence[row], start[row] = members[place], at
        left = np.where(sequence >= 0, self.lengths[sequence] - start, 0)
        count = np.minimum(left, self.window)
        return Cells(sequence, start, count, (left > 0) & (count == left))

    def shuffled(self, rng: np.random.Generator) -> Layout:
        """Another order in which no row is longer than it was.

        Sequences that take equally many windows trade places between rows, and the order within each row is drawn.
        """
        members = [row.copy() for row in self.members]
        rows = np.repeat(np.arange(self.batch), [len(row) for row in members])
        flat = np.concatenate(members)
        sizes = -(-self.lengths[flat] // self.window)
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size)
            flat[places] = rng.permutation(flat[places])
        return _laid([rng.permutation(flat[rows == row]) for row in range(self.batch)], self.lengths, self.window)


def lay_out(lengths: np.ndarray, *, window: int, batch: int) -> Layout:
    """Sequences into rows that are about equally long: the longest first, each into the row that is free first.

    That is the rule of Graham (1969): the longest row is at most 4/3 of what the best layout has.

    Args:
        lengths: ``(S,)`` steps of each sequence; 0 is legal.
        window: steps of a window.
        batch: rows.

    Example:
        >>> layout = lay_out(np.array([5, 2, 0, 3]), window=2, batch=2)
        >>> [row.tolist() for row in layout.members], layout.windows
        ([[0], [3, 1]], 3)
        >>> layout[2].sequence.tolist(), layout[2].count.tolist(), layout[2].begins.tolist()
        ([0, 1], [1, 2], [False, True])
    """
    lengths = np.asarray(lengths, np.int64)
    members: list[list[int]] = [[] for _ in range(batch)]
    free = [(0, row) for row in range(batch)]  # the first free window of each row; a heap
    for sequence in np.argsort(-lengths, kind="stable"):
        if lengths[sequence]:
            first, row = free[0]
            members[row].append(int(sequence))
            heapq.heapreplace(free, (first - int(-lengths[sequence] // window), row))
    return _laid([np.array(row, np.int64) for row in members], lengths, window)


def side_by_side(lengths: np.ndarray, *, window: int) -> Layout:
    """One sequence a row, in their order."""
    lengths = np.asarray(lengths, np.int64)
    return _laid([np.array([row] if length else [], np.int64) for row, length in enumerate(lengths)], lengths, window)


def _laid(members: list[np.ndarray], lengths: np.ndarray, window: int) -> Layout:
    firsts, windows = [], 0
    for row in members:
        after = np.cumsum(-(-lengths[row] // window))
        firsts.append(np.concatenate([[0], after[:-1]]).astype(np.int64)[: len(row)])
        windows = max(windows, int(after[-1]) if len(row) else 0)
    return Layout(lengths, window, tuple(members), tuple(firsts), windows)
