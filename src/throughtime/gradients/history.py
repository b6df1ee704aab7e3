"""The flow through a layer in the course of a training: what is kept of each reading, and the heat map of them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .flow import SHARE, LayerFlow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READINGS = 400  # of a layer that are kept; beyond, every second one goes, and readings come half as often
EACH = 96  # places before the end that stand for themselves; beyond, twelve to each doubling, and means over them
_EDGES = np.unique(np.concatenate([np.arange(EACH), np.round(EACH * 2 ** (np.arange(12 * 14) / 12))])).astype(int)


@dataclass(frozen=True)
class LayerHistory:
    """The flow through one layer during a training: S readings, K places in time.

    Args:
        layer: its name, as ``explain`` has it.
        native: from the native kernel's backward passes on the batches of training; else from the probe batch.
        steps: (S,) the training step of each reading, from 1; the weights are those that it starts from.
        lags: (K,) steps before the end of each sequence; 0 is the last valid step. From ``EACH`` on the first of those
            that a column is the mean over.
        norms: (S, K) float32, the mean norm of dL/dh_t; NaN where no sequence of a batch was so long.
        first_to_last, rate, horizon: (S,) as in ``LayerFlow``.
    """

    layer: str
    native: bool
    steps: np.ndarray
    lags: np.ndarray = field(repr=False)
    norms: np.ndarray = field(repr=False)
    first_to_last: np.ndarray = field(repr=False)
    rate: np.ndarray = field(repr=False)
    horizon: np.ndarray = field(repr=False)


@dataclass
class Readings:
    """What is kept of one layer: a list an entry of ``LayerHistory``, an element each reading."""

    native: bool
    steps: list[int] = field(default_factory=list)
    norms: list[np.ndarray] = field(default_factory=list)
    figures: list[tuple[float, float, int]] = field(default_factory=list)

    def add(self, step: int, flow: LayerFlow) -> None:
        self.native = flow.native
        self.steps.append(step)
        self.norms.append(by_place(flow.from_end)[1])
        self.figures.append((flow.first_to_last, flow.rate, flow.horizon()))

    def thin(self) -> None:
        """Every second one goes; the first stays."""
        self.steps, self.norms, self.figures = self.steps[::2], self.norms[::2], self.figures[::2]

    def history(self, layer: str) -> LayerHistory:
        places = max((len(one) for one in self.norms), default=0)
        norms = np.full((len(self.norms), places), np.nan, np.float32)
        for row, one in zip(norms, self.norms, strict=True):
            row[: len(one)] = one
        first_to_last, rate, horizon = np.array(self.figures, float).reshape(-1, 3).T
        return LayerHistory(
            layer, self.native, np.array(self.steps, int), _EDGES[:places], norms, first_to_last, rate,
            horizon.astype(int),
        )  # fmt: skip


def by_place(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means by lag as means over ever more lags: the first lag of each place, and its mean.

    Example:
        >>> lags, norms = by_place(np.arange(100.0))
        >>> lags.tolist()[-2:], norms.tolist()[-2:]
        ([95, 96], [95.0, 97.5])
    """
    starts = _EDGES[len(means) > _EDGES]
    if not len(starts):
        return starts, means
    return starts, (np.add.reduceat(means, starts) / np.diff(np.append(starts, len(means)))).astype(np.float32)


def heat_maps(histories: Iterable[LayerHistory]) -> Figure:
    """A heat map of each layer: training steps by steps before the end of sequences, colours by the log of the norm."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    shown = list(histories)
    figure = Figure(figsize=(7, 0.6 + 2.9 * max(len(shown), 1)), layout="constrained")
    for axes, history in zip(np.atleast_1d(figure.subplots(max(len(shown), 1))), shown, strict=False):
        norms = history.norms.T.astype(float)
        largest = np.max(norms, where=np.isfinite(norms) & (norms > 0), initial=0) or 1.0
        # Zero is drawn as the darkest colour, and what no sequence is long enough for not at all.
        lowest = max(np.min(norms, where=norms > 0, initial=largest), largest * 1e-9)
        norms = np.where(np.isnan(norms), norms, np.clip(norms, lowest, largest))
        lags = np.append(history.lags, _EDGES[min(len(history.lags), len(_EDGES) - 1)]) - 0.5
        drawn = axes.pcolormesh(
            _borders(history.steps), lags, norms, cmap="inferno", norm=LogNorm(lowest, max(largest, lowest * 1.01))
        )
        figure.colorbar(drawn, ax=axes, label="norm of dL/dh")
        axes.step(history.steps, history.horizon, where="mid", color="white", linewidth=1.2, linestyle=":")
        if lags[-1] > 2 * EACH:
            axes.set_yscale("symlog", linthresh=EACH)
        axes.invert_yaxis()
        axes.set_xlabel("training step")
        axes.set_ylabel("steps before the end")
        axes.set_title(f"{history.layer}: dotted, {SHARE:.0%} of the gradient lies above", fontsize=10)
    return figure


def _borders(steps: np.ndarray) -> np.ndarray:
    """Of columns that meet half way between one step and the next.

    Example:
        >>> _borders(np.array([1, 3, 5])).tolist()
        [0.0, 2.0, 4.0, 6.0]
    """
    if len(steps) == 1:
        return steps[0] + np.array([-0.5, 0.5])
    middles = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middles[0]], middles, [2 * steps[-1] - middles[-1]]])
