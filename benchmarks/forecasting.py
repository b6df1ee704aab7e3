"""Forecasts with every setting at its default, beside baselines computed in the same run.

    python benchmarks/forecasting.py [--data ../shared/data] [--seeds 3] [--only etth1|co2]

ETTh1 (hourly, target OT, univariate): 12 months train, 4 validation, 4 test, stride 1, z-scored by the training part;
the windows of a part may look back into the part before it, as in the published tables. Published LSTM: .114, .193 and
.236 at horizons 24, 48 and 168; last value: .034, .050, .087.
co2 (statsmodels, weekly, with missing values): 26 weeks ahead; the last 15% test, each part with its own history.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

import throughtime as tt
from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent
MONTH = 30 * 24
PUBLISHED_LSTM = {24: 0.114, 48: 0.193, 168: 0.236}


def etth1(folder: Path, seeds: int) -> None:
    import pyarrow.csv

    path = folder / "forecasting" / "ETTh1.csv"
    if not path.exists():
        sys.exit(f"ETTh1.csv is not at {path}; say where the data lies with --data.")
    table = pyarrow.csv.read_csv(path).select(["date", "OT"]).slice(0, 20 * MONTH)
    print("\nETTh1, OT, z-scored MSE on the test months (mean over seeds, their range)")
    for horizon, published in PUBLISHED_LSTM.items():
        data = tt.read_table(table, target="OT", time="date", horizon=horizon)
        train, validation, test = data.split(validation=4 * MONTH, test=4 * MONTH, history="shared")
        scores: dict[str, list[float]] = {}
        for seed in range(seeds):
            run = tt.train(train, validation, seed=seed, progress=False)
            for name, values in run.evaluate(test).scores.items():
                scores.setdefault(name, []).append(values["mse_scaled"])
        window = run.preparation.forecast.window
        cells = [f"{name} {np.mean(v):.4f}" for name, v in scores.items()]
        ours = scores["LSTM"]
        print(f"horizon {horizon:3} window {window:3}: {', '.join(cells)}; published LSTM {published:.3f}; "
              f"LSTM {min(ours):.4f} to {max(ours):.4f}")  # fmt: skip


def co2(seeds: int) -> None:
    from statsmodels.datasets import co2 as dataset

    table = dataset.load_pandas().data.reset_index(names="week")
    missing = float(table["co2"].isna().mean())
    data = tt.read_table(table, target="co2", time="week", horizon=26)
    train, validation, test = data.split()
    print(f"\nco2, weekly, {data.steps} weeks, {missing:.1%} missing, 26 weeks ahead: RMSE in ppm on the last 15%")
    for seed in range(seeds):
        run = tt.train(train, validation, seed=seed, progress=False)
        scored = run.evaluate(test)
        cells = [f"{name} {values['rmse']:.3f}" for name, values in scored.scores.items()]
        skills = [f"{name} {skill:+.3f}" for name, skill in scored.skill.items()]
        print(f"seed {seed}: {', '.join(cells)}; skill over {', '.join(skills)}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--only", choices=["etth1", "co2"])
    given = arguments.parse_args()
    print(machine_line())
    if given.only != "co2":
        etth1(given.data, given.seeds)
    if given.only != "etth1":
        co2(given.seeds)


if __name__ == "__main__":
    main()
