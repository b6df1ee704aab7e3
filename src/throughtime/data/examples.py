"""What batches are drawn from: ranges of flat arrays, so that the overlapping windows of a forecast cost no memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """What batches are drawn from: E examples, each a range of time steps of flat arrays.

    Attributes:
        numbers: ``(N, F)`` float32, scaled, without missing values.
        codes: ``(N, C)`` int32, 0 for an unknown or missing category.
        starts, lengths: ``(E,)`` int64; example ``e`` is rows ``starts[e]:starts[e] + lengths[e]``.
        per: where the targets are: one an example, one a step, or on the ``horizon`` steps after the example.
        targets: ``(E, ...)``, or flat ``(N, ...)``; float32 numbers or int32 classes; None to predict only.
        weights: float32 of the shape ``(E,)`` or ``(N,)``, 0 where a target is missing.
        known_numbers, known_codes: the columns whose values in the horizon may be used.
    """

    numbers: np.ndarray
    codes: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    per: Literal["example", "step", "horizon"]
    targets: np.ndarray | None
    weights: np.ndarray | None = None
    horizon: int = 0
    known_numbers: tuple[int, ...] = ()
    known_codes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at ``indices``; the flat arrays are shared, not copied."""
        per_example = self.per == "example"
        return replace(
            self,
            starts=self.starts[indices],
            lengths=self.lengths[indices],
            targets=self.targets[indices] if per_example and self.targets is not None else self.targets,
            weights=self.weights[indices] if per_example and self.weights is not None else self.weights,
        )
