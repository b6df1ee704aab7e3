"""Descriptions of data and networks: right, as plain loops find them, and JSON to the last value."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from dataclasses import replace
from typing import Any

import cases
import keras
import numpy as np
import pytest
from keras import layers

from throughtime.data.arrays import from_arrays
from throughtime.data.batching import Batches
from throughtime.training.describe import HISTOGRAM_BARS, describe_data, describe_network, describe_padding, versions
from throughtime.training.networks import build_network


def as_json(value: Any) -> Any:
    """What comes back from JSON, which must be all that went in."""
    read = json.loads(json.dumps(value, allow_nan=False))
    assert read == value
    return read


@pytest.mark.parametrize("task", cases.TASKS)
def test_data_of_every_task(task: str) -> None:
    data = cases.made(task)
    data.numbers[[0, 4], 1] = np.nan
    data.categories[:3, 0] = -1
    data.target.values[1] = np.nan if data.target.kind == "number" else -1
    found = as_json(describe_data(data, "train"))
    lengths = [30, 17] if task == "forecast" else list(cases.LENGTHS)
    assert found["name"] == "train"
    assert (found["sequences"], found["steps"]) == (len(lengths), sum(lengths))
    assert (found["shortest"], found["longest"]) == (min(lengths), max(lengths))
    assert found["median"] == statistics.median(lengths)
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert len(edges) == len(counts) + 1 <= HISTOGRAM_BARS + 1
    inside = [sum(low <= n < high for n in lengths) for low, high in itertools.pairwise(edges)]
    inside[-1] += sum(n == edges[-1] for n in lengths)
    assert counts == inside
    assert sum(counts) == len(lengths)
    features = {feature["name"]: feature for feature in found["features"]}
    assert list(features) == [*data.schema.numbers, "shop", "day"]
    second = data.schema.numbers[1]
    known = [value for value in data.numbers[:, 1].tolist() if not math.isnan(value)]
    assert features[second] == {
        "name": second,
        "kind": "number",
        "missing": 2 / sum(lengths),
        # Sums of float64 in another order.
        "mean": pytest.approx(statistics.fmean(known), rel=1e-9),
        "std": pytest.approx(statistics.pstdev(known), rel=1e-9),
    }
    assert features["shop"] == {"name": "shop", "kind": "category", "missing": 3 / sum(lengths), "levels": 3}
    target = found["target"]
    rows = len(lengths) if task in ("classify", "regress") else sum(lengths)
    assert (target["names"], target["kind"]) == (list(data.target.names), data.target.kind)
    assert target["missing"] == pytest.approx(1 / rows)
    assert target["levels"] == {"classify": ["low", "mid", "top"], "tag": ["0", "1", "2"]}.get(task, [])


def test_data_without_a_value() -> None:
    data = from_arrays([np.full((3, 1), np.nan)], task="tag")
    found = as_json(describe_data(data, "new"))
    assert found["features"] == [{"name": "x0", "kind": "number", "missing": 1.0, "mean": None, "std": None}]
    assert "target" not in found
    empty = as_json(describe_data(cases.made("classify").take([]), "none"))
    assert (empty["sequences"], empty["shortest"], empty["median"], empty["longest"]) == (0, 0, 0, 0)
    assert sum(empty["histogram"]["counts"]) == 0
    nothing = as_json(describe_data(from_arrays([np.zeros((0, 1))] * 2, ["a", "b"]), "empty"))
    assert (nothing["sequences"], nothing["steps"], nothing["histogram"]["counts"]) == (2, 0, [2])


def test_a_mean_of_float32_values_is_taken_in_float64() -> None:
    values = np.random.default_rng(0).uniform(1e6, 2e6, (5_000, 1)).astype(np.float32)
    found = describe_data(from_arrays([values], [1.0], task="regress"), "train")["features"][0]
    # A float32 mean is off by up to 1e-7 of it; float64 sums in another order by 1e-13.
    assert found["mean"] == pytest.approx(statistics.fmean(values[:, 0].tolist()), rel=1e-12)


@pytest.mark.backend
def test_networks() -> None:
    preparation, examples = cases.prepared(cases.made("classify"))
    model = build_network(preparation, examples, units=4)
    found = as_json(describe_network(model))
    assert found["parameters"] == sum(int(np.prod(weight.shape)) for weight in model.get_weights())
    assert sum(layer["parameters"] for layer in found["layers"]) == found["parameters"]
    output = next(layer for layer in found["layers"] if layer["name"] == "output")
    assert output == {"name": "output", "class": "Dense", "parameters": 16 * 3 + 3, "output": "(any, 3)"}
    # An LSTM of U units and F inputs has 4 (U + F + 1) U; F is 3 numbers and 2 embeddings.
    width = 3 + sum(layer.output_dim for layer in model.layers if isinstance(layer, layers.Embedding))
    recurrent = next(layer for layer in found["layers"] if layer["class"] == "Bidirectional")
    assert recurrent["parameters"] == 2 * 4 * (4 + width + 1) * 4
    assert recurrent["output"] == "(any, any, 8)"
    assert not [layer for layer in found["layers"] if layer["class"] == "InputLayer"]
    assert found["limits"] == []
    (limit,) = describe_network(build_network(preparation, examples, cell="minlstm", units=4))["limits"]
    assert limit.startswith("MinLSTM updates its state without looking at it")


@pytest.mark.backend
def test_networks_of_the_users_own() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = layers.GRU(3, return_state=True), layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.out(self.cell(x)[0])

    model = Own()
    model.predict_on_batch(np.ones((2, 4, 1), np.float32))
    found = as_json(describe_network(model))
    assert [(layer["class"], layer["output"]) for layer in found["layers"]] == [("GRU", ""), ("Dense", "")]
    assert found["parameters"] == 3 * 3 * (1 + 3 + 2) + 3 * 2 + 2
    numbers = keras.Input((None, 1))
    outputs, state = layers.LSTM(3, return_state=True)(numbers)[:2]
    shared = keras.Model(numbers, layers.Dense(1)(outputs + state))
    assert as_json(describe_network(shared))["parameters"] == 4 * 3 * (1 + 3 + 1) + 4


@pytest.mark.backend
def test_padding() -> None:
    _, examples = cases.prepared(cases.made("classify"))
    found = as_json(describe_padding(Batches(examples, batch_size=2)))
    lengths = list(cases.LENGTHS)
    assert found["unbucketed"] == pytest.approx(1 - sum(lengths) / (len(lengths) * max(lengths)))
    assert 0 <= found["bucketed"] < found["unbucketed"]
    assert sum(bucket["sequences"] for bucket in found["buckets"]) == len(lengths)
    held = sum(-(-b["sequences"] // b["batch"]) * b["batch"] * b["length"] for b in found["buckets"])
    assert found["bucketed"] == pytest.approx(1 - sum(lengths) / held)
    none = replace(examples, lengths=np.zeros_like(examples.lengths))
    assert as_json(describe_padding(Batches(none, batch_size=2)))["unbucketed"] == 1


def test_versions() -> None:
    found = as_json(versions())
    assert set(found) == {"throughtime", "keras", "backend", "numpy", "python"}
    assert found["keras"] == keras.__version__
    assert keras.backend.backend() in found["backend"]
