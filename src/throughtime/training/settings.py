"""What a training can be told, and what is chosen where the user is silent."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..data.examples import Examples
from ..data.scaling import SCALES, Scale
from ..data.transforms import Missing
from ..errors import ArgumentError, choose

Cell = Literal["lstm", "gru", "rnn", "mingru", "minlstm", "lru"]
ACCEPTED = {"cell": get_args(Cell), "scale": tuple(SCALES), "missing": ("fill", "refuse")}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that, with the data, determines a run. None means chosen from the data; a run stores what was chosen.

    Attributes:
        cell: "lstm", "gru", "rnn", "mingru", "minlstm" or "lru"; "model" for a model of the user's own.
        units: of a recurrent layer, in each direction.
        depth: recurrent layers.
        dropout: share of hidden outputs dropped in training.
        causal: no layer reads a sequence from its end.
        scale: scaler of numbers, "standard", "minmax", "robust" or "none".
        missing: "fill" or "refuse".
        batch_size: most sequences of a batch; or ``tokens``, most padded time steps of one.
        buckets: most padded lengths; by default 8 with ``tokens``, else one for every three batches, at most 8,
            because a compiled backend takes a second or two for each.
        learning_rate: of Adam.
        clipnorm: global norm that a gradient is clipped to; None: the one that ``Guard`` measures.
        epochs: at most; ``patience``: epochs without a better validation loss before training stops.
        seed: of the initial weights, dropout and the order of the batches.
    """

    cell: str = "lstm"
    units: int = 64
    depth: int = 1
    dropout: float = 0.3
    causal: bool = False
    scale: Scale = "standard"
    missing: Missing = "fill"
    batch_size: int | None = None
    tokens: int | None = None
    buckets: int | None = None
    learning_rate: float | None = None
    clipnorm: float | None = None
    epochs: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, accepted in ACCEPTED.items():
            value = getattr(self, name)
            if name != "cell" or value != "model":
                object.__setattr__(self, name, choose(name, value, accepted))  # capitals are made small
        for name in ("units", "depth", "buckets", "batch_size", "tokens", "epochs", "patience"):
            value = getattr(self, name)
            if value is not None and (not _is_whole(value) or value < 1):
                raise ArgumentError(f"{name}={value!r}; give a whole number of at least 1.")
        if not _is_whole(self.seed) or self.seed < 0:
            raise ArgumentError(f"seed={self.seed!r}; give a whole number of at least 0.")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ArgumentError(f"dropout={self.dropout!r}; give a share from 0 up to, not including, 1.")
        if not isinstance(self.causal, bool):
            raise ArgumentError(f"causal={self.causal!r}; give True or False.")
        if self.causal and self.cell == "model":
            raise ArgumentError("causal=True is for the networks made here; a model= of yours reads as it was built.")
        for name in ("learning_rate", "clipnorm"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise ArgumentError(f"{name}={value!r}; give a number above 0.")
        if self.batch_size is not None and self.tokens is not None:
            raise ArgumentError("give batch_size= or tokens=, not both.")

    def chosen_for(self, examples: Examples) -> dict[str, Any]:
        """The settings with every None replaced by what suits so many examples."""
        chosen = asdict(self)
        forecast = examples.per == "horizon"
        if self.batch_size is None and self.tokens is None:
            chosen["batch_size"] = 64 if forecast else 16 if len(examples) < 1000 else 32
        if self.buckets is None:
            # With a budget of tokens the user cares for padding; otherwise few batches are not worth many programs.
            rows = chosen["batch_size"]
            chosen["buckets"] = 8 if rows is None else int(np.clip(len(examples) // (3 * rows), 1, 8))
        chosen["learning_rate"] = self.learning_rate or (1e-3 if forecast else 3e-3)
        return chosen

    @staticmethod
    def complete(chosen: dict[str, Any], batches: int) -> None:
        """Epochs and patience are counted in updates: small data needs many epochs, large data few."""
        chosen["epochs"] = chosen["epochs"] or int(np.clip(round(3_000 / batches), 20, 200))
        chosen["patience"] = chosen["patience"] or int(np.clip(round(300 / batches), 5, 30))


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
