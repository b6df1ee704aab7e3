"""Accuracy on JapaneseVowels with every setting at its default, official split, over seeds.

    python benchmarks/vowels.py [--seeds 5] [--cells lstm]

Published for this split: LSTM 0.797 (Zerveas et al. 2021), ROCKET 0.962. Training holds out 15% of the 270 training
utterances for early stopping; the 370 test utterances are looked at once, at the end. Needs throughtime[demo].
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

import throughtime as tt
from machine import machine_line
from throughtime.demo import japanese_vowels


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--cells", default="lstm", help="lstm, gru, rnn, with commas")
    given = arguments.parse_args()
    print(machine_line())
    data, test = japanese_vowels()
    for cell in given.cells.split(","):
        accuracies, naive, seconds = [], 0.0, []
        for seed in range(given.seeds):
            began = time.perf_counter()
            run = tt.train(data, cell=cell, seed=seed, progress=False)
            seconds.append(time.perf_counter() - began)
            scored = run.evaluate(test)
            accuracies.append(scored["accuracy"])
            naive = next(values["accuracy"] for name, values in scored.scores.items() if name != scored.network)
            print(f"{cell} seed {seed}: accuracy {accuracies[-1]:.4f}, {len(run.history)} epochs, {seconds[-1]:.0f} s")
        spread = np.std(accuracies, ddof=1) if given.seeds > 1 else 0.0
        print(
            f"{cell}: mean accuracy {np.mean(accuracies):.4f} (standard deviation {spread:.4f}, {given.seeds} seeds); "
            f"most frequent class {naive:.4f}; published LSTM 0.797, ROCKET 0.962; median {np.median(seconds):.0f} s"
        )


if __name__ == "__main__":
    main()
