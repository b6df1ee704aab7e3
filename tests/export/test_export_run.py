"""A run as one ONNX file: raw columns in, with gaps and unknown categories, and the answers of ``predict`` out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from keras import layers

from throughtime.data.sequences import SequenceData
from throughtime.data.tables import read_like, read_table
from throughtime.data.transforms import Preparation, input_names, raw_inputs
from throughtime.errors import ArgumentError
from throughtime.ragged import Ragged
from throughtime.training.baselines import Baselines
from throughtime.training.networks import build_network, feeds_of
from throughtime.training.run import Run

LENGTHS = (9, 1, 6, 14, 3)
SHOPS = ("n", "s", "w", "rare")


def table_of(task: str, seed: int = 0) -> pa.Table:
    """Five sequences with columns of very different sizes, gaps, and categories that are missing or rare."""
    rng = np.random.default_rng(seed)
    steps = sum(LENGTHS)
    who = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    x = np.where(rng.random(steps) < 0.3, np.nan, 1e6 + rng.normal(0, 2, steps))
    shop = [None if r < 0.1 else SHOPS[int(r * 4)] for r in rng.random(steps)]
    columns: dict[str, Any] = {
        "who": who,
        "x": pa.array(x, from_pandas=True),
        "z": rng.normal(size=steps),
        "shop": shop,
    }
    if task == "classify":
        columns["y"] = np.array(["low", "mid", "top"])[who % 3]
    elif task == "tag":
        columns["y"] = np.array(["low", "mid", "top"])[rng.integers(0, 3, steps)]
    elif task == "regress":
        columns["y"] = (50 * rng.normal(size=len(LENGTHS)))[who]
    else:
        columns |= {"y": 50 * rng.normal(size=steps), "v": 3 + 0.1 * rng.normal(size=steps)}
    return pa.table(columns)


def run_of(task: str, model: Any = None, **roles: Any) -> Run:
    """A run whose network has random weights; nothing is trained."""
    target: Any = ["y", "v"] if task in ("steps", "forecast") else "y"
    named = {"steps": "regress", "forecast": None}.get(task, task)
    data = read_table(table_of(task), target=target, sequence="who", task=named, **roles)
    preparation = Preparation.fit(data)
    examples = preparation.apply(data)
    made = model(examples) if model else build_network(preparation, examples, units=4, cell="lstm", depth=2)
    rng = np.random.default_rng(2)
    made.set_weights([rng.normal(0, 0.4, weight.shape) for weight in made.get_weights()])
    feeds, pad_value, _ = feeds_of(made, examples)
    return Run(
        model=made, preparation=preparation, baselines=Baselines.fit(preparation, data, examples), history=[],
        best_epoch=1, settings={"cell": "lstm"}, feeds=feeds, pad_value=pad_value,
    )  # fmt: skip


def raw(data: SequenceData) -> tuple[np.ndarray, np.ndarray]:
    """(N, columns) float64 and text, as they stood in the table."""
    text = [[levels[code] if code >= 0 else "" for code, levels in zip(row, data.levels, strict=True)]
            for row in data.categories]  # fmt: skip
    return raw_inputs(data).astype(np.float64), np.array(text, object).reshape(data.steps, -1)


def padded(values: np.ndarray, offsets: np.ndarray, fill: Any) -> np.ndarray:
    lengths = np.diff(offsets)
    out = np.full((len(lengths), lengths.max(), values.shape[1]), fill, values.dtype)
    for b, (first, length) in enumerate(zip(offsets[:-1], lengths, strict=True)):
        out[b, :length] = values[first : first + length]
    return out


@pytest.mark.parametrize("task", ["classify", "tag", "regress", "steps"])
def test_the_file_of_each_task_answers_as_predict(task: str, tmp_path: Path) -> None:
    run = run_of(task)
    path = run.export(tmp_path / f"{task}.onnx")
    table = table_of(task, seed=1).drop_columns(["y", "v"] if task == "steps" else ["y"])
    data = read_like(table, run.preparation.schema, None, per=run.preparation.per)
    numbers, text = raw(data)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {
        "numbers": padded(numbers, data.offsets, np.nan), "categories": padded(text, data.offsets, "n"),
        "lengths": data.lengths.astype(np.int32),
    })  # fmt: skip
    expected = run.predict(data)
    wanted = expected.values if expected.probabilities is None else expected.probabilities
    if isinstance(wanted, Ragged):
        found = np.concatenate([found[b, :length] for b, length in enumerate(data.lengths)])
        wanted = wanted.values
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=1e-5, atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["numbers"]) == list(input_names(run.preparation.schema))
    assert json.loads(about["classes"]) == list(run.preparation.classes)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("LSTM") == 2


@pytest.mark.parametrize("known", [(), ("x", "shop")])
def test_the_file_of_a_forecast_answers_as_predict(known: tuple[str, ...], tmp_path: Path) -> None:
    window, horizon = 3, 2
    run = run_of("forecast", horizon=horizon, window=window, known=known)
    path = run.export(tmp_path / "forecast.onnx")
    table = table_of("forecast", seed=1)
    rows = [n for b, first in enumerate(np.cumsum([0, *LENGTHS[:-1]])) if LENGTHS[b] >= 5 for n in
            range(first, first + 5)]  # fmt: skip
    table = table.take(rows)
    places = np.arange(len(rows)) % 5
    for name in ("y", "v"):  # three observed steps, and two ahead; the first row of all has no gap
        values = np.where(places < window, table[name].to_numpy(), np.nan)
        table = table.set_column(table.column_names.index(name), name, pa.array(values, from_pandas=True))
    x = table["x"].to_numpy().copy()
    x[places == 0] = 1e6
    table = table.set_column(table.column_names.index("x"), "x", pa.array(x, from_pandas=True))
    data = read_like(table, run.preparation.schema, run.preparation.forecast)
    numbers, text = (one.reshape(-1, 5, one.shape[1]) for one in raw(data))
    given = {"numbers": numbers[:, :window], "categories": text[:, :window]}
    if known:
        columns = [place for place, name in enumerate(input_names(run.preparation.schema)) if name in known]
        given |= {"future_numbers": numbers[:, window:][:, :, columns], "future_categories": text[:, window:]}
    (found,) = onnxruntime.InferenceSession(path).run(None, given)
    wanted = run.predict(data).values
    scale = np.abs(wanted).max((0, 1))
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=1e-5, atol=1e-5)


def test_a_network_of_the_users_own_with_one_input(tmp_path: Path) -> None:
    def own(examples: Any) -> keras.Model:
        width = examples.numbers.shape[1]
        return keras.Sequential([keras.Input((None, width)), layers.Masking(-9.0), layers.GRU(4), layers.Dense(1)])

    run = run_of("regress", own)
    path = run.export(tmp_path / "own.onnx")
    data = read_like(table_of("regress", seed=1), run.preparation.schema, None, per="sequence")
    given = {"numbers": padded(raw(data)[0], data.offsets, 0.0), "lengths": data.lengths.astype(np.int32)}
    (found,) = onnxruntime.InferenceSession(path).run(None, given)  # the network takes no categories, nor does the file
    wanted = run.predict(data).values
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=1e-5, atol=1e-5)
    with pytest.raises(ArgumentError, match=r"ends in \.onnx"):
        run.export(tmp_path / "own.bin")
