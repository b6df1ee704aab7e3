"""The training state on disk: killed at any moment, a run goes on to the weights it would have had.

One file holds everything that the next epoch depends on: weights, optimizer slots, the counters of the dropout seeds,
the best weights so far, and the history (from which early stopping follows). It is written aside, flushed to the disk
and renamed, so there is always one whole checkpoint, of this epoch or of the one before.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..data.examples import Examples
from ..errors import RunError
from ..files import read_arrays, write_arrays


def model_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Every variable that training changes, by its place: weights, seeds, optimizer."""
    variables = [*model.variables, *model.optimizer.variables]
    return {f"{i:04}:{v.path}": value_of(v) for i, v in enumerate(variables)}


def value_of(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable: ``convert_to_numpy`` may share memory with what training goes on to change."""
    return np.array(keras.ops.convert_to_numpy(variable.value))


def restore_state(model: keras.Model, state: dict[str, np.ndarray], where: str) -> None:
    """Sets every variable from ``model_state`` of an equal model.

    Variables are matched by place and shape: Keras numbers the names anew in each process.
    """
    variables = [*model.variables, *model.optimizer.variables]
    shapes = [tuple(value.shape) for value in state.values()]
    if [tuple(v.shape) for v in variables] != shapes:
        raise RunError(f"{where} was written for another network; resume with the settings that it was begun with.")
    for variable, value in zip(variables, state.values(), strict=True):
        variable.assign(value)


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """Copies of the model's weights."""
    return [value_of(weight) for weight in model.weights]


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        history: one dict an epoch, ``loss``, ``validation_loss`` and scores.
        best_epoch: from 1; 0 before the first epoch.
        best_weights: of that epoch.
        state: of ``model_state`` after the last epoch.
        guard: ``Guard.state_dict`` after the last epoch.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_weights: list[np.ndarray] = field(default_factory=list)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    guard: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path, *, fingerprint: dict[str, Any]) -> None:
        """All of it as one .npz; ``fingerprint`` says what the run was begun with."""
        about = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "fingerprint": fingerprint,
            "guard": self.guard,
        }
        arrays = {f"best:{i:04}": weight for i, weight in enumerate(self.best_weights)}
        arrays |= {f"state:{key}": value for key, value in self.state.items()}
        arrays["about"] = np.array(json.dumps(about))
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path, *, fingerprint: dict[str, Any]) -> Progress:
        """What ``write`` wrote.

        Raises:
            RunError: damaged, or begun with other settings or other data (each difference is named).
        """
        arrays = read_arrays(path)
        try:
            about = json.loads(str(arrays.pop("about")))
        except (ValueError, KeyError) as error:
            raise RunError(f"{path} is damaged ({error}); remove it to start the run anew.") from error
        before = about["fingerprint"]
        now = json.loads(json.dumps(fingerprint))
        other = [f"{key} was {before.get(key)!r}, now {now.get(key)!r}" for key in now if before.get(key) != now[key]]
        if other:
            raise RunError(
                f"{path.parent} was begun with other settings or data: {'; '.join(other)}. Resume with the same, or "
                "choose another directory."
            )
        best = [value for key, value in sorted(arrays.items()) if key.startswith("best:")]
        state = {key.removeprefix("state:"): value for key, value in arrays.items() if key.startswith("state:")}
        return cls(about["history"], about["best_epoch"], about["best_loss"], best, state, about.get("guard", {}))


def data_fingerprint(examples: Examples) -> str:
    """A hash of everything the examples hold, so that a run is not resumed on other data."""
    digest = hashlib.blake2b(digest_size=8)
    for array in (examples.numbers, examples.codes, examples.starts, examples.lengths, examples.targets):
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
