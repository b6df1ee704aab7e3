"""Polyphonic music, next frame: JSB chorales and Nottingham (Boulanger-Lewandowski et al. 2012), as in Bai, Kolter and
Koltun 2018: the negative log-likelihood of 88 keys, summed over keys, mean over all time steps of the test part.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import throughtime as tt

KEYS = 88


@dataclass(frozen=True)
class Piece:
    """A cell on a collection.

    Args:
        units: such that the model has about as many parameters as in the paper: 300,000 and 1,000,000.
        published: its negative log-likelihood in Bai, Kolter and Koltun 2018.
        epochs: at most; training stops when validation no longer falls.
    """

    file: str
    cell: str
    units: int
    published: float
    epochs: int


TASKS = {
    "jsb-lstm": Piece("JSB_Chorales", "LSTM", 223, 8.45, 200),
    "jsb-gru": Piece("JSB_Chorales", "GRU", 262, 8.43, 200),
    "jsb-rnn": Piece("JSB_Chorales", "SimpleRNN", 471, 8.91, 200),
    "nottingham-lstm": Piece("Nottingham", "LSTM", 448, 3.29, 60),
    "nottingham-gru": Piece("Nottingham", "GRU", 522, 3.46, 60),
    "nottingham-rnn": Piece("Nottingham", "SimpleRNN", 916, 4.05, 60),
}


@dataclass(frozen=True)
class Training:
    """How a collection is trained on: the best by the validation part, with a GRU, of 16 for JSB, of 4 for Nottingham.

    Args:
        rate: Adam's.
        inputs, outputs: share of the input's features and of the recurrent layer's outputs that is dropped.
    """

    batch: int
    rate: float
    inputs: float
    outputs: float


TRAINING = {"JSB_Chorales": Training(2, 2e-3, 0.05, 0.5), "Nottingham": Training(2, 1e-3, 0.05, 0.3)}


def parts(file: Path) -> dict[str, list[np.ndarray]]:
    """The piano rolls of each part, (T, 88) each."""
    from scipy.io import loadmat

    if not file.is_file():
        sys.exit(f"{file} is not there; --data names the folder that holds music/{file.name}.")
    loaded = loadmat(file)
    return {name: [roll.astype(np.float32) for roll in loaded[f"{name}data"][0]] for name in ("train", "valid", "test")}


class Rolls(keras.utils.PyDataset):
    """Batches of like lengths: a frame and the one after it, padded with -1, whose steps have no weight."""

    def __init__(self, rolls: list[np.ndarray], batch: int, seed: int | None) -> None:
        super().__init__()
        self.rolls, self.batch = sorted(rolls, key=len), batch
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.order = np.arange(len(self))

    def __len__(self) -> int:
        return -(-len(self.rolls) // self.batch)

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = int(self.order[place]) * self.batch
        rolls = self.rolls[first : first + self.batch]
        longest = -(-max(map(len, rolls)) // 64) * 64 + 1  # few lengths, few compilations
        padded = np.full((len(rolls), longest, KEYS), -1, np.float32)
        for row, roll in zip(padded, rolls, strict=True):
            row[: len(roll)] = roll
        x, y = padded[:, :-1], padded[:, 1:]
        valid = (y[:, :, 0] >= 0).astype(np.float32)
        return np.where(valid[..., None] > 0, x, -1), np.maximum(y, 0), valid

    def on_epoch_end(self) -> None:
        if self.rng is not None:
            self.order = self.rng.permutation(len(self))


def likelihood(model: keras.Model, rolls: list[np.ndarray]) -> float:
    """Negative log-likelihood, mean over all steps of all rolls, summed over keys; in float64 from probabilities."""
    total, steps = 0.0, 0
    for x, y, valid in (Rolls(rolls, 16, None)[place] for place in range(-(-len(rolls) // 16))):
        p = np.clip(keras.ops.convert_to_numpy(model.predict_on_batch(x)).astype(np.float64), 1e-7, 1 - 1e-7)
        each = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=2)
        total += float((each * valid).sum())
        steps += int(valid.sum())
    return total / steps


def measure(name: str, given: Any) -> dict[str, Any]:
    """A row of the table: trained under Guard, with dropout, stopped by validation; the best weights tested."""
    piece = TASKS[name]
    rolls = parts(given.data / "music" / f"{piece.file}.mat")
    row: dict[str, Any] = {"published": piece.published, "measure": "negative log-likelihood a step", "ours": [],
                           "seconds": [], "changed": "Guard, dropout, early stopping"}  # fmt: skip
    for seed in range(given.seeds):
        keras.utils.set_random_seed(seed)
        how = TRAINING[piece.file]
        model = keras.Sequential([
            keras.Input((None, KEYS)), keras.layers.Masking(-1.0),
            getattr(tt, piece.cell)(piece.units, return_sequences=True, dropout=how.inputs),
            keras.layers.Dropout(how.outputs),
            keras.layers.Dense(KEYS, activation="sigmoid"),
        ])  # fmt: skip
        loss = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
        model.compile(keras.optimizers.Adam(how.rate), loss)
        began = time.perf_counter()
        best = keras.callbacks.EarlyStopping(patience=8, restore_best_weights=True)
        slower = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=3)
        history = model.fit(
            Rolls(rolls["train"], how.batch, seed), validation_data=Rolls(rolls["valid"], 16, None),
            epochs=piece.epochs, callbacks=[tt.Guard(verbose=0), best, slower], verbose=0,
        ).history  # fmt: skip
        row["seconds"].append(time.perf_counter() - began)
        row["ours"].append(likelihood(model, rolls["test"]))
        row |= {"parameters": model.count_params(), "budget": f"{len(history['loss'])} epochs"}
        print(f"{name} seed {seed}: {row['ours'][-1]:.3f} after {len(history['loss'])} epochs, "
              f"{row['seconds'][-1]:.0f} s; published {piece.published}", flush=True)  # fmt: skip
    return row
