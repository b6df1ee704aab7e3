"""The table of Bai, Kolter and Koltun 2018 with our layers at their numbers of parameters: published beside measured.

    python benchmarks/quality.py [--tasks adding-lstm-600,jsb-lstm] [--data ../shared/data] [--seeds 1] [--json FILE]

Synthetic tasks (quality_synthetic.py): models of about 70,000 parameters of stock Keras layers with their defaults,
compiled with Adam at its default rate.

adding: ``check`` names what keeps it from learning; ``repair`` tries what answers that, SimpleRNNs with leave to become
another cell. Then the model as it was and the one that repair's code makes, each from fresh weights, are trained for
so many steps of 32 fresh sequences, on the native kernel both, and scored on 1,000 others. The rate of the GRU that
repair made falls to 0 along a cosine.

copy: chrono biases for the length, Guard and three times the rate, learned first over 10 blanks, and over twice as many
whenever the loss is below a tenth of that of guessing, up to 1,000; beside it the same without the biases, the same
from the first step over 1,000 blanks, and Keras's defaults over 1,000 blanks, for as many seconds each. A SimpleRNN,
which has no gate whose bias could be set, becomes a GRU where the biases are.

Music (quality_music.py): LSTM, GRU and SimpleRNN of 300,000 (JSB chorales) and 1,000,000 parameters (Nottingham).

Text (quality_text.py): Tiny Shakespeare by character, in windows of 100 with the state carried.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import quality_music
import quality_synthetic
import quality_text
from layers import names
from machine import machine_line

PARTS = (quality_synthetic, quality_music, quality_text)
TASKS = {name: part for part in PARTS for name in part.TASKS}
say = partial(print, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=names(tuple(TASKS)), default=list(TASKS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds music/")
    parser.add_argument("--steps", type=int, help="of training for adding, in place of each task's own")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1800, help="for repair, by task")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args()
    say(machine_line())
    found = {name: TASKS[name].measure(name, given) for name in given.tasks}
    say("\ntask             parameters  budget       published  default    ours       what was changed; measure")
    for name, row in found.items():
        shown = [f"{np.mean(row[kind]):<9.4g}" if row.get(kind) else "-        " for kind in ("default", "ours")]
        say(f"{name:16} {row['parameters']:10,}  {row['budget']:11}  {row['published'] or '-':<9}  {shown[0]}  "
            f"{shown[1]}  {row['changed']}; {row['measure']}")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
