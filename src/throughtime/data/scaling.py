"""Numbers brought to one scale, and gaps in them filled; fitted by ``Preparation`` on the training part alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Scale = Literal["standard", "minmax", "robust", "none"]
SCALES: tuple[Scale, ...] = ("standard", "minmax", "robust", "none")


@dataclass(frozen=True, eq=False, kw_only=True)
class Scaler:
    """``(x - center) / scale`` a column; ``center`` and ``scale`` are ``(F,)`` float64."""

    center: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, kind: Scale) -> Scaler:
        """Of ``(N, F)`` values, NaN left out; "standard", "minmax" and "robust" as scikit-learn defines them.

        A column that is constant, or whose middle half is ("robust"), has scale 1; so has one without a value, about 0.
        """
        # Not scikit-learn's own: in float32 its minmax takes a column that spans less than 1e-6 for a constant one.
        width = values.shape[1]
        center, scale = np.zeros(width), np.ones(width)
        for column in range(width if kind != "none" else 0):
            seen = values[:, column].astype(np.float64)  # a column at a time: the copy is small
            seen = seen[~np.isnan(seen)]
            if not len(seen):
                continue
            low, high = seen.min(), seen.max()
            if kind == "standard":
                center[column], spread = seen.mean(), seen.std()
            elif kind == "minmax":
                center[column], spread = low, high - low
            else:
                quarter, center[column], three_quarters = np.percentile(seen, [25, 50, 75])
                spread = three_quarters - quarter
            if low == high:  # asked of the values, as the mean of a constant is rounded
                center[column] = low
            elif spread > 0:
                scale[column] = spread
        return cls(center=center, scale=scale)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """``(..., F)`` to float32, computed in float64."""
        return ((values - self.center) / self.scale).astype(np.float32)

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """``(..., F)`` back to the units of the column, float64."""
        return np.asarray(scaled, dtype=np.float64) * self.scale + self.center


def fill_forward(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """NaN in ``(N, F)`` replaced by the last value before it in the same sequence, by 0 if there is none."""
    rows = np.arange(len(values))[:, None]
    first = np.repeat(offsets[:-1], np.diff(offsets))[:, None]
    source = np.maximum.accumulate(np.where(np.isnan(values), -1, rows), axis=0)
    filled = np.take_along_axis(values, np.maximum(source, 0), axis=0)
    return np.where(source >= first, filled, values.dtype.type(0))
