"""Tiny Shakespeare by character: truncated backpropagation with carried state, bits per character of the last tenth."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
import numpy as np

import throughtime as tt

WINDOW, BATCH, EPOCHS = 100, 32, 12
UNITS = {"shakespeare-lstm": ("LSTM", 384), "shakespeare-gru": ("GRU", 384)}
TASKS = dict.fromkeys(UNITS)


def measure(name: str, given: Any) -> dict[str, Any]:
    """A row of the table: Embedding, one layer, dropout, Adam at 0.003 and falling, under Guard."""
    file = given.data / "text" / "tinyshakespeare.txt"
    if not file.is_file():
        sys.exit(f"{file} is not there; --data names the folder that holds text/{file.name}.")
    letters, ids = np.unique(np.frombuffer(file.read_bytes(), np.uint8), return_inverse=True)
    cut = len(ids) * 9 // 10
    row: dict[str, Any] = {"published": None, "measure": "bits per character", "budget": f"{EPOCHS} epochs", "ours": [],
                           "seconds": [], "changed": "carried state, Guard, dropout"}  # fmt: skip
    cell, units = UNITS[name]
    for seed in range(given.seeds):
        keras.utils.set_random_seed(seed)
        train = tt.Streams(ids[:cut].astype("int32"), window=WINDOW, batch=BATCH)
        test = tt.Streams(ids[cut:].astype("int32"), window=WINDOW, batch=BATCH)
        model = keras.Sequential([
            keras.Input(batch_shape=(BATCH, None)), keras.layers.Embedding(len(letters), 64),
            getattr(tt, cell)(units, stateful=True, return_sequences=True), keras.layers.Dropout(0.3),
            keras.layers.Dense(len(letters)),
        ])  # fmt: skip
        rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(train))
        model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        began = time.perf_counter()
        model.fit(train, epochs=EPOCHS, shuffle=False, callbacks=[tt.Guard(verbose=0), tt.CarryState(train)], verbose=0)
        row["seconds"].append(time.perf_counter() - began)
        loss = float(model.evaluate(test, callbacks=[tt.CarryState(test)], verbose=0))
        row["ours"].append(loss / np.log(2))
        row["parameters"] = model.count_params()
        print(f"{name} seed {seed}: {row['ours'][-1]:.3f} bits per character of {len(ids) - cut:,}, {EPOCHS} epochs of "
              f"{cut:,} in {row['seconds'][-1]:.0f} s", flush=True)  # fmt: skip
    return row
