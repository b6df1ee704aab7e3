"""Where a training on ``Streams`` is, on disk: all that the next window depends on, in one file.

As in checkpoint.py the file is written aside, flushed and renamed, so there is always a whole one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import RunError
from ..files import read_arrays, write_arrays
from ..gradients.guard import Guard
from ..schemas import Count, check_json, record
from .checkpoint import guard_state, model_state, restore_guard, restore_state, text_of, value_of


def stored_position() -> Any:
    """The type of what the file says beside its arrays."""
    return record("Position", {"epoch": Count, "window": Count, "guard": guard_state(), "fingerprint": dict[str, Any]})


@dataclass
class Position:
    """The state before a window.

    Attributes:
        epoch, window: that come next, from 0.
        state: of ``model_state``: weights, carried states, seeds, optimizer.
        metrics: the values of the metrics' variables within an epoch; empty where an epoch begins.
        guard: of ``Guard.state_dict``; empty without one.
    """

    epoch: int
    window: int
    state: dict[str, np.ndarray]
    metrics: list[np.ndarray] = field(default_factory=list)
    guard: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: keras.Model, *, epoch: int, window: int, guard: Guard | None = None, with_metrics: bool
    ) -> Position:
        metrics = [value_of(variable) for variable in model.metrics_variables] if with_metrics else []
        return cls(epoch, window, model_state(model), metrics, {} if guard is None else guard.state_dict())

    def restore(self, model: keras.Model, *, guard: Guard | None, where: str) -> None:
        """All but the metrics, which Keras puts to zero as an epoch begins.

        Raises:
            RunError: it was written for another network, or without the guard, or with one.
        """
        if (guard is not None) != bool(self.guard):
            raise RunError(f"{where} was begun {'without' if guard else 'with'} guard=; resume it in the same way.")
        restore_state(model, self.state, where)
        if guard is not None:
            restore_guard(guard, self.guard, where)

    def restore_metrics(self, model: keras.Model) -> None:
        """Where the model has built them by now: TensorFlow does so in its first step."""
        variables = model.metrics_variables
        if [tuple(one.shape) for one in variables] == [one.shape for one in self.metrics]:
            for variable, value in zip(variables, self.metrics, strict=True):
                variable.assign(value)

    def write(self, path: Path, *, fingerprint: dict[str, Any]) -> None:
        """As one .npz; ``fingerprint`` says which windows it was trained on."""
        about = {"epoch": self.epoch, "window": self.window, "guard": self.guard, "fingerprint": fingerprint}
        arrays = {f"state:{key}": value for key, value in self.state.items()}
        arrays |= {f"metric:{i:04}": value for i, value in enumerate(self.metrics)}
        arrays["about"] = np.array(json.dumps(about))
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path, *, fingerprint: dict[str, Any]) -> Position:
        """What ``write`` wrote.

        Raises:
            RunError: damaged, or of a training on other windows (each difference is named).
        """
        arrays = read_arrays(path)
        about = check_json(text_of(arrays, path), stored_position, f"{path} is damaged")
        epoch, window, before = about["epoch"], about["window"], about["fingerprint"]
        now = json.loads(json.dumps(fingerprint))
        other = [f"{key} was {before.get(key)!r}, now {now[key]!r}" for key in now if before.get(key) != now[key]]
        if other:
            raise RunError(
                f"{path} was begun with other windows: {'; '.join(other)}. Resume with the same, or give another file."
            )
        state = {key.removeprefix("state:"): value for key, value in arrays.items() if key.startswith("state:")}
        metrics = [value for key, value in sorted(arrays.items()) if key.startswith("metric:")]
        return cls(epoch, window, state, metrics, about["guard"])
