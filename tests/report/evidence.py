"""Evidence as runs would leave it, one of each task, and `hostile`, whose names and numbers try to break the page."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np


def _part(name: str, lengths: np.ndarray) -> dict[str, Any]:
    counts, edges = np.histogram(lengths, bins=min(16, int(np.ptp(lengths)) + 1))
    return {
        "name": name,
        "sequences": len(lengths),
        "steps": int(lengths.sum()),
        "shortest": int(lengths.min()),
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def gain(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "low": value - 0.0312, "high": value + 0.0298, "groups": 12, "unit": unit}


def flow(layers: dict[str, float], steps: int = 29) -> dict[str, Any]:
    """The flow of layers whose gradient changes by a factor with every step back, halved in the course of training."""
    lags = np.arange(steps)

    def layer(rate: float) -> dict[str, Any]:
        norms = 0.02 * rate**lags
        horizon = int(np.searchsorted(np.cumsum(norms) / norms.sum(), 0.9))
        return {
            "cell": "LSTM", "units": 64, "longest": steps, "lags": lags.tolist(), "norms": norms.tolist(),
            "first_to_last": rate ** (steps - 1), "rate": rate, "horizon": horizon,
        }  # fmt: skip

    training = [1, 2, 4, 8, 40, 80, 120, 160, 200]
    seen = {
        name: {
            "steps": training, "lags": lags.tolist(), "horizon": [layer(rate)["horizon"]] * len(training),
            "norms": [[*(np.array(layer(rate)["norms"]) / (1 + step / 50)).tolist()] for step in training],
        }
        for name, rate in layers.items()
    }  # fmt: skip
    kept = {name: layer(rate) for name, rate in layers.items()}
    before = {name: layer(rate**1.5) for name, rate in layers.items()}
    return {"sequences": 32, "every_step": False, "start": before, "best": kept, "monitor": seen}


FINDINGS = {
    "found": [
        {
            "code": "unscaled-input", "severity": "warning", "layer": "lstm",
            "evidence": "what it is given has a mean of 1000 and a standard deviation of 4.6 (feature 1): 100% of the "
            "input gate's values lie beyond 0.1 and 0.9 of its range, and 0% with standard inputs",
            "remedy": "scaler = keras.layers.Normalization(); scaler.adapt(x_train); as the first layer",
            "folded": [
                {"code": "saturated-gates", "severity": "warning", "layer": "lstm",
                 "evidence": "100% of the input gate's values lie below 0.1 or above 0.9", "remedy": "-", "folded": []},
            ],
        },
        {
            "code": "clipping-ineffective", "severity": "note", "layer": "optimizer", "evidence": "every norm is above",
            "remedy": "tt.Guard()", "folded": [],
        },
    ],
    "looked_at": ["64 sequences, 64 of them in probes"], "left_out": [],
}  # fmt: skip


def _shared(title: str, task: str, cell: str, epochs: int, rng: np.random.Generator) -> dict[str, Any]:
    epoch = np.arange(1, epochs + 1)
    fall = np.exp(-epoch / (epochs / 4))
    validation = 0.22 + 1.9 * fall + 0.004 * np.maximum(epoch - epochs * 0.7, 0) + rng.normal(0, 0.02, epochs)
    return {
        "title": title,
        "task": task,
        "created": "2026-11-22T20:30:00+00:00",
        "notes": [
            "utterance names the sequence and frame orders its steps.",
            "2 rows without a value of x3 take the last value known before them.",
        ],
        "network": {
            "cell": cell,
            "parameters": 20_809,
            "layers": [
                {"name": "scale", "class": "Normalization", "output": "(batch, time, 12)", "parameters": 25},
                {"name": cell, "class": cell.upper(), "output": "(batch, 64)", "parameters": 19_712},
                {"name": "head", "class": "Dense", "output": "(batch, 9)", "parameters": 585},
            ],
        },
        "curves": {
            "epoch": epoch.tolist(),
            "loss": (0.1 + 2.0 * fall + rng.normal(0, 0.01, epochs)).tolist(),
            "validation_loss": validation.tolist(),
            "best_epoch": int(epoch[np.argmin(validation)]),
        },
        "flow": flow({"lstm": 0.88}),
        "findings": {"found": [], "looked_at": FINDINGS["looked_at"], "left_out": []},
        "settings": {
            "cell": cell, "units": 64, "layers": 1, "learning_rate": 0.003, "batch_tokens": 4096, "dropout": 0.0,
            "epochs": epochs, "patience": 10, "bidirectional": False, "clip": None, "seed": 0,
        },
        "python": (
            'import throughtime as tt\n\ndata = tt.read_table("vowels.parquet", sequence="utterance", time="frame", '
            'target="speaker")\ntrain, valid, test = data.split(by="sequence", seed=0)\nrun = tt.train(train, '
            "validation=valid, seed=0)\nprint(run.evaluate(test))"
        ),
        "versions": {
            "throughtime": "0.1.0", "keras": "3.15.1", "backend": "jax 0.10.2", "python": "3.11.7", "numpy": "2.3.5",
        },
        "seconds": 41.2,
    }  # fmt: skip


def classify(classes: int = 9) -> dict[str, Any]:
    """JapaneseVowels as it might come out; ``classes`` up to 60 widen the confusion matrix."""
    rng = np.random.default_rng(1)
    evidence = _shared("JapaneseVowels", "classify", "lstm", 60, rng)
    support = rng.integers(24, 48, classes)
    counts = np.diag(support)
    for _ in range(max(classes, 6)):
        truth, guess = rng.integers(0, classes, 2)
        moved = min(int(rng.integers(1, 4)), int(counts[truth, truth]))
        counts[truth, truth] -= moved
        counts[truth, guess] += moved
    labels = [str(index + 1) for index in range(classes)]
    accuracy = float(np.trace(counts) / counts.sum())
    evidence["curves"].update(
        validation_score=(0.97 - 0.8 * np.exp(-np.arange(1, 61) / 9) + rng.normal(0, 0.006, 60)).tolist(),
        score_name="accuracy",
    )
    precision = np.diag(counts) / np.maximum(counts.sum(0), 1)
    recall = np.diag(counts) / np.maximum(counts.sum(1), 1)
    return evidence | {
        "verdict": {
            "text": "The LSTM names the speaker of an unheard utterance far more often than always answering the "
            "commonest speaker would, and no speaker is left behind.",
            "beats": True,
        },
        "data": {
            "source": "vowels.parquet",
            "parts": [
                _part(name, np.clip(rng.normal(15, 4, size).astype(int), 7, 29))
                for name, size in (("train", 216), ("validation", 54), ("test", int(counts.sum())))
            ],
            "features": [
                {
                    "name": f"x{index}",
                    "kind": "number",
                    "missing": 0.002 if index == 3 else 0.0,
                    "mean": float(rng.normal()),
                    "std": float(rng.uniform(0.1, 1)),
                }
                for index in range(11)
            ]
            + [{"name": "microphone", "kind": "category", "missing": 0.0, "levels": 4}],
            "target": {"names": ["speaker"], "kind": "category", "levels": labels, "missing": 0.0},
            "padding": {
                "bucketed": 0.051,
                "unbucketed": 0.387,
                "buckets": [
                    {"length": 12, "batch": 64, "sequences": 61},
                    {"length": 17, "batch": 48, "sequences": 98},
                    {"length": 29, "batch": 32, "sequences": 57},
                ],
            },
        },
        "scores": {
            "part": "test",
            "primary": "accuracy",
            "higher_is_better": True,
            "unit": "",
            "rows": [
                {
                    "name": "LSTM",
                    "network": True,
                    "values": {
                        "accuracy": accuracy,
                        "recall": accuracy - 0.01,
                        "macro_f1": accuracy - 0.004,
                        "average_precision": 0.9996,
                        "log_loss": 0.0801,
                    },
                },
                {
                    "name": "nearest centroid of means",
                    "network": False,
                    "values": {"accuracy": 0.843, "macro_f1": 0.829},
                },
                {"name": "majority class", "network": False, "values": {"accuracy": 0.138, "macro_f1": 0.027}},
            ],
            "skill": [
                {"against": "nearest centroid of means", "value": 0.71, "gain": gain(0.1213, "sequences")},
                {"against": "majority class", "value": 0.95, "gain": gain(0.8263, "sequences")},
            ],
        },
        "confusion": {"labels": labels, "counts": counts.tolist()},
        "per_class": [
            {
                "label": label,
                "precision": float(p),
                "recall": float(r),
                "f1": float(2 * p * r / (p + r)),
                "average_precision": float((p + r) / 2),
                "support": int(n),
            }
            for label, p, r, n in zip(labels, precision, recall, counts.sum(1), strict=True)
        ],
        "command": "throughtime train vowels.parquet --target speaker --sequence utterance --time frame --seed 0",
    }


def tag() -> dict[str, Any]:
    """A tagger with long label names and two tags only half learned."""
    evidence = classify()
    labels = ["noun", "verb", "adjective", "determiner", "preposition or conjunction", "punctuation"]
    counts = [
        [1210, 31, 44, 0, 2, 0], [52, 870, 12, 0, 9, 0], [96, 17, 402, 0, 1, 0],
        [0, 0, 3, 655, 21, 0], [4, 11, 0, 17, 734, 0], [0, 0, 0, 0, 0, 512],
    ]  # fmt: skip
    both = {f"bidirectional/{way}_lstm": rate for way, rate in (("forward", 0.7), ("backward", 0.9))}
    evidence["flow"] = flow(both, steps=60) | {"every_step": True}
    evidence |= {"title": "Parts of speech", "task": "tag", "confusion": {"labels": labels, "counts": counts}}
    evidence["per_class"] = [
        {"label": label, "precision": 0.93, "recall": 0.91, "f1": 0.92, "support": sum(row)}
        for label, row in zip(labels, counts, strict=True)
    ]
    evidence["data"]["target"] = {"names": ["tag"], "kind": "category", "levels": labels, "missing": 0.01}
    return evidence


def regress() -> dict[str, Any]:
    """A regression that does not beat its baseline, with a logarithmic loss."""
    rng = np.random.default_rng(2)
    evidence = _shared("Remaining useful life", "regress", "gru", 40, rng)
    truth = rng.uniform(0, 125, 1800)
    prediction = np.clip(truth + rng.normal(0, 6 + truth / 9), 0, 140)
    epoch = np.arange(1, 41)
    evidence["curves"]["loss"] = (12 + 4200 * np.exp(-epoch / 4)).tolist()
    evidence["curves"]["validation_loss"] = (19 + 3900 * np.exp(-epoch / 4)).tolist()
    evidence["findings"] = FINDINGS
    return evidence | {
        "verdict": {
            "text": "The GRU is no closer than a linear fit on the last step: the difference is within the spread of "
            "three seeds. Longer sequences or more of them may help; more units will not.",
            "beats": False,
        },
        "data": {
            "source": "engines.csv",
            "parts": [
                _part(name, rng.integers(31, 362, size))
                for name, size in (("train", 180), ("validation", 40), ("test", 40))
            ],
            "features": [
                {"name": name, "kind": "number", "missing": 0.0, "mean": mean, "std": std}
                for name, mean, std in (("fan_inlet_temperature", 518.67, 1e-6), ("pressure_ratio", 1.3e9, 4.2e7))
            ],
            "target": {"names": ["cycles_left"], "kind": "number", "levels": [], "missing": 0.0},
            "padding": {"bucketed": 0.08, "unbucketed": 0.46, "buckets": []},
        },
        "scores": {
            "part": "test",
            "primary": "rmse",
            "higher_is_better": False,
            "unit": "cycles",
            "rows": [
                {"name": "GRU", "network": True, "values": {"rmse": 18.42, "mae": 13.1, "r2": 0.742}},
                {
                    "name": "linear fit on the last step",
                    "network": False,
                    "values": {"rmse": 18.31, "mae": 13.4, "r2": 0.745},
                },
                {"name": "mean of training", "network": False, "values": {"rmse": 36.1, "mae": 31.2, "r2": -0.003}},
            ],
            "skill": [{"against": "linear fit on the last step", "value": -0.006}],
        },
        "regression": {"truth": truth.tolist(), "prediction": prediction.tolist(), "unit": "cycles"},
        "command": "throughtime train engines.csv --target cycles_left --sequence engine --time cycle",
    }


def forecast() -> dict[str, Any]:
    """Hourly oil temperature, a day ahead."""
    rng = np.random.default_rng(3)
    evidence = _shared("ETTh1", "forecast", "lstm", 25, rng)
    examples = []
    for index in range(4):
        start = datetime(2017, 7, 1 + 3 * index)
        hours = np.arange(96)
        series = 14 + 5 * np.sin(hours * np.pi / 12 + index) + 0.03 * hours + rng.normal(0, 0.7, 96).cumsum() * 0.3
        time = [(start + timedelta(hours=int(hour))).isoformat() for hour in hours]
        examples.append({
            "series": str(index), "history_time": time[:72], "history": series[:72].tolist(),
            "time": time[72:], "truth": series[72:].tolist(),
            "forecast": (series[72:] + rng.normal(0, 0.5, 24).cumsum() * 0.4).tolist(),
            "baseline": series[48:72].tolist(), "baseline_name": "seasonal naive (24)",
        })  # fmt: skip
    step = np.arange(1, 25)
    window = _part("train", np.full(8000, 96))
    return evidence | {
        "verdict": {
            "text": "The LSTM forecasts the next 24 hours with a fifth less error than repeating yesterday, and leads "
            "at every step but the first two.",
            "beats": True,
        },
        "data": {
            "source": "ETTh1.csv",
            "parts": [window, {**window, "name": "validation", "sequences": 2785, "steps": 2785 * 96}],
            "features": [{"name": "OT", "kind": "number", "missing": 0.0, "mean": 13.3, "std": 8.57}],
            "target": {"names": ["OT"], "kind": "number", "levels": [], "missing": 0.0},
        },
        "scores": {
            "part": "test",
            "primary": "rmse",
            "higher_is_better": False,
            "unit": "°C",
            "rows": [
                {"name": "LSTM", "network": True, "values": {"rmse": 1.842, "mae": 1.31, "mase": 0.79}},
                {"name": "seasonal naive (24)", "network": False, "values": {"rmse": 2.31, "mae": 1.66, "mase": 1.0}},
                {"name": "last value", "network": False, "values": {"rmse": 3.07, "mae": 2.4, "mase": 1.45}},
            ],
            "skill": [{"against": "seasonal naive (24)", "value": 0.2}, {"against": "last value", "value": 0.4}],
            "targets": [
                {
                    "target": target,
                    "rows": [
                        {"name": "LSTM", "network": True, "values": {"rmse": 1.842 * unit, "mae": 1.31 * unit}},
                        {
                            "name": "seasonal naive (24)",
                            "network": False,
                            "values": {"rmse": 2.31 * unit, "mae": 1.66 * unit},
                            "gain": gain(0.364, "blocks of windows"),
                        },
                    ],
                }
                for target, unit in (("OT", 1.0), ("useful load of the transformer", 1e6), ("LUFL", 1e-6))
            ],
        },
        "forecasts": {
            "target": "OT",
            "unit": "°C",
            "examples": examples,
            "by_step": {
                "step": step.tolist(),
                "metric": "rmse",
                "lines": [
                    {"name": "LSTM", "network": True, "values": (0.6 + 1.5 * (1 - np.exp(-step / 8))).tolist()},
                    {"name": "seasonal naive (24)", "network": False, "values": (2.31 + 0.04 * np.sin(step)).tolist()},
                    {
                        "name": "last value",
                        "network": False,
                        "values": (0.5 + 3.6 * np.sin(step * np.pi / 30)).tolist(),
                    },
                ],
            },
        },
        "command": "throughtime train ETTh1.csv --target OT --time date --horizon 24",
    }


def hostile() -> dict[str, Any]:
    """Names that are markup or mathematics, numbers that are not numbers, one epoch, one class."""
    name = "<script>alert(1)</script>"
    evidence = classify(classes=1)
    evidence |= {"title": f"{name} & $x_1$", "seconds": 1e7, "created": "yesterday", "command": f"echo '{name}'"}
    evidence["verdict"] = {"text": f"{name} cannot say.", "beats": None}
    error = {"code": name, "severity": "error", "layer": "$x$", "evidence": name * 9, "remedy": f"{name}['" + "a" * 200}
    evidence["findings"] = {"found": [error | {"folded": [error | {"folded": []}]}], "left_out": [name]}
    evidence["notes"] = [name, "日本語 \x07 \u202e"]
    evidence["curves"] = {
        "epoch": [1], "loss": [None], "validation_loss": [0.5], "validation_score": [float("nan")],
        "score_name": name, "best_epoch": 1,
    }  # fmt: skip
    evidence["data"]["features"] += [
        {"name": name, "kind": "number", "missing": 1.0, "mean": None, "std": float("inf")},
        {"name": "$x_1$", "kind": "number", "missing": 1e-7, "mean": 1e300, "std": 1e-300},
        {"name": "a_very_long_column_name_" * 5, "kind": "category", "missing": 0.0, "levels": 10**7},
    ]
    evidence["flow"] = flow({name: 1e-3, "$x_1$": 4.0, "a" * 90: 1.0})
    evidence["flow"]["best"][name] |= {"norms": [None, math.nan, 0.0], "lags": [0, 1, 2], "horizon": None}
    evidence["flow"]["monitor"][name]["norms"][3] = [None] * 29
    evidence["confusion"] = {"labels": [name], "counts": [[10**6]]}
    evidence["per_class"] = [{"label": name, "precision": None, "recall": 1.0, "f1": 0.99999, "support": 10**6}]
    evidence["scores"]["rows"].append({"name": name, "network": False, "values": {"accuracy": None}})
    evidence["scores"]["rows"].append({"name": "$\\frac{1}{2}$ 日本語 " * 6, "network": False, "values": {}})
    evidence["forecasts"] = {
        "target": name,
        "examples": [
            {"series": name, "history": [], "time": ["now"], "truth": [1.0], "forecast": [None], "baseline_name": name},
            {"series": "$x$", "history": [1e-12, None, 3e-12], "truth": [2e-12] * 2, "forecast": [None, 1e-12],
             "time": [1, 2], "history_time": [-2, -1, 0]},
            {"series": "empty", "history": [], "truth": [], "forecast": []},
            {"series": "large", "history": [1e18, 2e18], "truth": [1e18], "forecast": [3e18],
             "baseline": [float("inf")]},
        ],
        "by_step": {"step": [1], "metric": name, "lines": [{"name": "$y$", "network": True, "values": [1e9]},
                                                           {"name": name, "network": False, "values": [None]}]},
    }  # fmt: skip
    evidence["regression"] = {"truth": [5.0, None], "prediction": [5.0, 1.0], "unit": name}
    evidence["settings"] = {name: name, "seed": None, "a_setting_without_any_place_to_break" * 3: 1}
    return evidence


TASKS = {"classify": classify, "tag": tag, "regress": regress, "forecast": forecast, "hostile": hostile}
