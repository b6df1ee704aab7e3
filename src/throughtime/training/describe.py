"""What the data and the network are, as JSON values for the run and its report."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import keras
import numpy as np

from ..backend import backend_version, choose_backend
from ..data.batching import Batches
from ..data.sequences import SequenceData
from ..kernels import library
from ..layers.paths import recurrent_layers
from ..layers.scanned import Scanned

HISTOGRAM_BARS = 24


def describe_data(data: SequenceData, name: str) -> dict[str, Any]:
    """Lengths, columns and missing values of one part."""
    lengths = data.lengths
    shortest, longest = int(lengths.min(initial=lengths.max(initial=0))), int(lengths.max(initial=0))
    width = -(-(longest - shortest + 1) // HISTOGRAM_BARS)  # whole steps, so that no bar is empty by rounding
    counts, edges = np.histogram(lengths, bins=np.arange(shortest, longest + width + 1, width) - 0.5)
    missing = data.missing()
    features: list[dict[str, Any]] = []
    for i, column in enumerate(data.schema.numbers):
        known = data.numbers[:, i][np.isfinite(data.numbers[:, i])]
        features.append(
            {
                "name": column,
                "kind": "number",
                "missing": missing.get(column, 0.0),
                "mean": float(known.mean(dtype=np.float64)) if len(known) else None,
                "std": float(known.std(dtype=np.float64)) if len(known) else None,
            }
        )
    for column, levels in zip(data.schema.categories, data.levels, strict=True):
        features.append(
            {"name": column, "kind": "category", "missing": missing.get(column, 0.0), "levels": len(levels)}
        )
    described: dict[str, Any] = {
        "name": name,
        "sequences": len(data),
        "steps": data.steps,
        "shortest": shortest,
        "median": float(np.median(lengths)) if len(lengths) else 0.0,
        "longest": longest,
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "features": features,
    }
    if data.target is not None:
        values = data.target.values
        absent = np.isnan(values) if data.target.kind == "number" else values < 0
        described["target"] = {
            "names": list(data.target.names),
            "kind": data.target.kind,
            "levels": [str(level) for level in data.target.levels],
            "missing": float(absent.mean()) if absent.size else 0.0,
        }
    return described


def describe_network(model: keras.Model) -> dict[str, Any]:
    """Layers with their output shapes and parameters; and what a layer of a cell that is not a full one cannot do."""
    layers = []
    for layer in model.layers:
        if layer.count_params() or not isinstance(layer, keras.layers.InputLayer):
            layers.append(
                {
                    "name": layer.name,
                    "class": type(layer).__name__,
                    "parameters": int(layer.count_params()),
                    "output": _shape(layer),
                }
            )
    limits = dict.fromkeys(layer.limits for _, layer, _ in recurrent_layers(model) if isinstance(layer, Scanned))
    return {"parameters": int(model.count_params()), "layers": layers, "limits": list(limits)}


def describe_padding(batches: Batches) -> dict[str, Any]:
    """The share of padding in the batches, beside that of one padded length for all."""
    lengths = batches.examples.lengths
    return {
        "bucketed": batches.padding,
        "unbucketed": 1 - float(lengths.mean()) / max(1, int(lengths.max())),
        "buckets": [{"length": b.length, "batch": b.batch, "sequences": len(b.members)} for b in batches.plan],
    }


def versions() -> dict[str, str]:
    """Of everything that a run's numbers depend on."""
    return {
        "throughtime": version("throughtime"),
        "keras": keras.__version__,
        "backend": backend_version(),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def threads() -> dict[str, int]:
    """How many threads add up what a step computes: another number adds in another order, and the last bits differ.

    Of JAX and TensorFlow only the processors are known, which their pools are made for.
    """
    found = {} if library.why_not_available() else {"native kernels": library.threads()}
    name = choose_backend()
    if name == "torch":
        from ..gradients.torch import threads as torch_threads

        return found | {name: torch_threads()}
    return found | {name: len(os.sched_getaffinity(0))}


def other_threads(before: dict[str, int], now: dict[str, int]) -> str:
    """In words, that a training goes on with another number of threads than it was begun with; empty where not so."""
    other = [f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if not other:
        return ""
    return (
        f"the run was begun with another number of threads ({'; '.join(other)}): sums are added up in another order, "
        "so the weights may differ in the last bits from those of a run that was never interrupted"
    )


def _shape(layer: keras.Layer) -> str:
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError):  # a layer that was never called symbolically, or more than once
        return ""
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
