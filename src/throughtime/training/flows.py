"""The gradient flow of a run, as JSON values that are kept with it: at the start, at the best weights, in between."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..data.batching import Batches
from ..errors import ThroughtimeError, first_line
from ..files import finite
from ..gradients.flow import LayerFlow, Probe
from ..gradients.history import LayerHistory, by_place
from ..gradients.monitor import GradientMonitor

SEQUENCES = 32  # of the training part, drawn by the seed
MOST_STEPS, MOST_PLACES = 48, 40  # of a heat map that is kept


class RecordedFlow:
    """Measures the flow of one batch at several weights, and says why where it cannot be measured.

    Args:
        model: compiled.
        batches: one batch of them is taken, without the rows that fill it up.

    Attributes:
        reason: why there is nothing; empty where there is something.
        monitor: the callback that records in between, where all layers are on the native kernel and none needs a probe.
    """

    def __init__(self, model: keras.Model, batches: Batches) -> None:
        self.reason, self.monitor = "", None
        self._found: dict[str, Any] = {}
        self._probe: Probe | None = None
        inputs, targets, weights = batches[0]
        count = len(batches.members(0))
        self.every_step = batches.examples.per == "step"
        try:
            self._probe = Probe(model, inputs, targets, sample_weight=weights, sequences=count)
        # What Keras and the backends raise where a layer of the user's own cannot be looked into.
        except (ThroughtimeError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            self._give_up(error)
            return
        self._found["sequences"] = count
        if len(self._probe.natively) == len(self._probe.layers):
            self.monitor = GradientMonitor()

    def _give_up(self, error: Exception) -> None:
        self.reason = first_line(error)
        self._probe = None

    def measure(self, when: str) -> None:
        """At the weights of this moment, under the name ``when``."""
        if self._probe is None:
            return
        try:
            flow = self._probe()
        except (ThroughtimeError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            self._give_up(error)
            return
        self._found[when] = {name: _layer(one) for name, one in flow.items()}

    def values(self) -> dict[str, Any]:
        """JSON values: ``reason``; or ``sequences``, ``every_step``, whether each step has a loss of its own, and by
        moment and layer what was found there.
        """
        if self.reason:
            return {"reason": self.reason}
        found = self._found | {"every_step": self.every_step}
        if self.monitor is not None:
            found["monitor"] = {name: _map(one) for name, one in self.monitor.history.items()}
        return finite(found)


def _layer(flow: LayerFlow) -> dict[str, Any]:
    lags, norms = by_place(flow.from_end)
    return {
        "cell": flow.cell, "units": flow.units, "longest": int(flow.lengths.max(initial=0)),
        "typical": int(np.median(flow.lengths)) if len(flow.lengths) else 0, "lags": lags.tolist(),
        "norms": _short(norms), "first_to_last": flow.first_to_last, "rate": flow.rate, "horizon": flow.horizon(),
    }  # fmt: skip


def _map(history: LayerHistory) -> dict[str, Any]:
    """A heat map of no more than so many columns and rows, taken evenly."""
    steps = np.unique(np.linspace(0, len(history.steps) - 1, min(len(history.steps), MOST_STEPS)).round().astype(int))
    places = np.unique(np.linspace(0, len(history.lags) - 1, min(len(history.lags), MOST_PLACES)).round().astype(int))
    return {
        "steps": history.steps[steps].tolist(), "lags": history.lags[places].tolist(),
        "horizon": history.horizon[steps].tolist(),
        "norms": [_short(row) for row in history.norms[np.ix_(steps, places)]],
    }  # fmt: skip


def _short(norms: np.ndarray) -> list[float]:
    """Four digits are more than a picture shows."""
    return [float(f"{norm:.3e}") for norm in norms]
