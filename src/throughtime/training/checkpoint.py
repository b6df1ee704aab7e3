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
from typing import Annotated, Any, NotRequired

import keras
import numpy as np
from pydantic import Field

from ..data.examples import Examples
from ..errors import RunError, listed
from ..files import read_arrays, write_arrays
from ..gradients.guard import Event, Guard
from ..schemas import Count, check_json, record, record_of

Loose = Annotated[float, Field(allow_inf_nan=True)]  # Python writes NaN and Infinity into a checkpoint


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
    if [tuple(v.shape) for v in variables] != shapes or any(value.dtype.kind in "SUc" for value in state.values()):
        raise RunError(f"{where} was written for another network; resume with the settings that it was begun with.")
    for variable, value in zip(variables, state.values(), strict=True):
        variable.assign(value)


def refuse_other_weights(model: keras.Model, weights: list[np.ndarray], where: str) -> None:
    """Raises RunError where these are not weights of such a model."""
    if [tuple(v.shape) for v in model.weights] != [w.shape for w in weights] or any(
        w.dtype.kind in "SUc" for w in weights
    ):
        raise RunError(
            f"{where} has the best weights of another network; resume with the settings that it was begun with."
        )


def guard_state() -> Any:
    """The type of ``Guard.state_dict``; empty without one."""
    event: Any = record_of(Event, norm=Loose)
    kinds = {
        "norms": list[Loose], "steps": Count, "clipped": Count, "lowered": Count, "share": float, "in_a_row": Count,
        "begun": tuple[int, Loose, int, int], "events": list[event],
    }  # fmt: skip
    return record("Guard", {name: NotRequired[kind] for name, kind in kinds.items()})


def restore_guard(guard: Guard, state: dict[str, Any], where: str) -> None:
    """Gives a guard what ``state_dict`` of another said, if it said anything."""
    lacking = guard.state_dict().keys() - state.keys()
    if state and lacking:
        raise RunError(f"{where} is damaged: of the guard it lacks {listed(sorted(lacking))}; remove it to begin anew.")
    if state:
        guard.load_state_dict(state)


def stored_progress() -> Any:
    """The type of what a checkpoint says beside its arrays."""
    kinds = {
        "history": list[dict[str, Loose]],
        "best_epoch": Count,
        "best_loss": Loose,
        "fingerprint": dict[str, Any],
        "guard": NotRequired[guard_state()],
        "threads": NotRequired[dict[str, int]],
    }
    return record("Checkpoint", kinds)


def text_of(arrays: dict[str, np.ndarray], path: Path) -> str:
    """What a checkpoint says of itself, taken out of its arrays."""
    text = arrays.pop("about", np.zeros(0))
    if text.ndim or text.dtype.kind != "U":
        raise RunError(f"{path} is damaged: it says nothing of itself; remove it to begin anew.")
    return str(text)


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
        threads: that it was begun with, see ``describe.threads``; empty where that is not known.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_weights: list[np.ndarray] = field(default_factory=list)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    guard: dict[str, Any] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)

    def write(self, path: Path, *, fingerprint: dict[str, Any]) -> None:
        """All of it as one .npz; ``fingerprint`` says what the run was begun with."""
        about = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "fingerprint": fingerprint,
            "guard": self.guard,
            "threads": self.threads,
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
        about = check_json(text_of(arrays, path), stored_progress, f"{path} is damaged")
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
        if not 1 <= about["best_epoch"] <= len(about["history"]) or not best or not state:
            raise RunError(f"{path} is damaged: it lacks weights or epochs; remove it to start the run anew.")
        return cls(
            about["history"], about["best_epoch"], about["best_loss"], best, state, about.get("guard", {}),
            about.get("threads", {}),
        )  # fmt: skip


def data_fingerprint(examples: Examples) -> str:
    """A hash of everything the examples hold, so that a run is not resumed on other data."""
    digest = hashlib.blake2b(digest_size=8)
    for array in (examples.numbers, examples.codes, examples.starts, examples.lengths, examples.targets):
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
