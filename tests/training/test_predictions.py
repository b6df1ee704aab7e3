"""Predictions: in the order of the sequences, in the user's labels, units and time stamps; as tables and as files."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import keras
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import Schema, SequenceData
from throughtime.data.transforms import Preparation
from throughtime.errors import BackendError, DataError, RunError
from throughtime.ragged import Ragged
from throughtime.training import predictions
from throughtime.training.predictions import (
    Predictions,
    answer,
    as_probabilities,
    predict_examples,
    unseen_categories,
)

LENGTHS = (4, 1, 11, 0, 2, 7, 7, 1, 0, 30, 3)


def answered(data: SequenceData, outputs: np.ndarray, monkeypatch: pytest.MonkeyPatch, **fitted: Any) -> Predictions:
    """The predictions of a network that gives ``outputs``, whatever it is asked."""
    monkeypatch.setattr(predictions, "predict_examples", lambda *_, **__: outputs)
    return answer(None, Preparation.fit(fitted.pop("train", data), **fitted), data, feeds=("numbers",))


def softmax(*shape: int) -> np.ndarray:
    raw = np.exp(np.random.default_rng(4).normal(0, 2, shape))
    return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)


# Order --------------------------------------------------------------------------------------------------------------


def numbered(per_step: bool) -> SequenceData:
    """Sequences whose numbers tell which sequence and which step they are."""
    rows = [np.stack([np.full(n, b + 1.0), np.arange(n) + 1.0], 1) for b, n in enumerate(LENGTHS)]
    target: Any = Ragged.from_list([row[:, 0] for row in rows]) if per_step else np.arange(len(rows), dtype=float)
    return from_arrays(Ragged.from_list(rows), target, task="regress")


@pytest.mark.backend
@pytest.mark.parametrize("tokens", [1, 8, 33, 16_384])
@pytest.mark.parametrize("per_step", [False, True])
def test_results_come_in_the_order_of_the_sequences(
    per_step: bool, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "PREDICTION_TOKENS", tokens)
    data = numbered(per_step)
    examples = Preparation.fit(data, scale="none").apply(data)
    numbers = keras.Input((None, 2), name="numbers")
    # Sums of whole numbers are exact in float32, in any order; padding is 0 and adds nothing.
    made = 10 * numbers if per_step else keras.ops.sum(numbers, axis=1)
    found = predict_examples(keras.Model(numbers, made), examples, "numbers")
    steps = [[(b + 1, t + 1) for t in range(n)] for b, n in enumerate(LENGTHS)]
    if per_step:
        expected: list = [(10 * b, 10 * t) for row in steps for b, t in row]
    else:
        expected = [(sum(b for b, _ in row), sum(t for _, t in row)) for row in steps]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.backend
def test_forecasts_come_in_the_order_of_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "PREDICTION_TOKENS", 25)
    data = from_arrays([np.arange(40.0), 100 + np.arange(17.0)], horizon=3, window=6)
    examples = Preparation.fit(data, scale="none").apply(data)
    numbers = keras.Input((6, 1), name="numbers")
    found = predict_examples(keras.Model(numbers, numbers[:, -3:]), examples, "numbers")
    firsts = [*range(40 - 8), *range(100, 100 + 17 - 8)]
    np.testing.assert_array_equal(found[:, :, 0], [[first + 3, first + 4, first + 5] for first in firsts])


@pytest.mark.backend
def test_nothing_to_predict_is_refused() -> None:
    data = numbered(False)
    preparation = Preparation.fit(data)
    numbers = keras.Input((None, 2), name="numbers")
    model = keras.Model(numbers, keras.ops.sum(numbers, axis=1))
    with pytest.raises(DataError, match="no sequence"):
        answer(model, preparation, data.take([]), feeds="numbers")
    with pytest.raises(DataError, match="no sequence"):
        predict_examples(model, preparation.apply(data).take(np.zeros(0, int)), "numbers")


# Labels, units, time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [[7, -1, 30], ["up", "down", "é"], [True, False, True], ["1", "0", "1"]])
def test_labels_come_back_as_they_were(labels: list, monkeypatch: pytest.MonkeyPatch) -> None:
    data = from_arrays([np.ones((2, 1)), np.ones((1, 1)), np.ones((3, 1))], labels, task="classify")
    levels = sorted(set(labels))
    places = [0, len(levels) - 1, 1]
    found = answered(data, np.eye(len(levels), dtype="float32")[places], monkeypatch)
    assert found.values.tolist() == [levels[place] for place in places]
    assert {type(value) for value in found.values} == {type(labels[0])}
    assert list(found.classes) == levels
    # And so they do after the preparation was stored as JSON.
    preparation = Preparation.from_json(Preparation.fit(data).to_json())
    again = answer(None, preparation, data, feeds=("numbers",))
    assert again.values.tolist() == found.values.tolist()
    assert {type(value) for value in again.values} == {type(labels[0])}
    table = found.table()
    assert table.column("prediction").to_pylist() == found.values.tolist()
    assert table.column_names == ["sequence", "prediction", *(f"probability_{level}" for level in levels)]


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "none"])
def test_numbers_come_back_in_the_units_of_the_target(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    train = cases.sequences("regress", targets=3)
    spread = Preparation.fit(train, scale=scale).outputs
    wanted = np.random.default_rng(1).normal(size=(8, 3)) * [50, 0.2, 7]
    outputs = ((wanted - spread.center) / spread.scale).astype(np.float32)
    found = answered(replace(train, target=None), outputs, monkeypatch, train=train, scale=scale)
    # The network's outputs are float32; errors are as small as that, in units of each target's spread.
    np.testing.assert_allclose(found.values / spread.scale, wanted / spread.scale, rtol=1e-6, atol=1e-6)
    assert found.probabilities is None
    assert found.table().column_names == ["sequence", "prediction_y0", "prediction_y1", "prediction_y2"]
    np.testing.assert_array_equal(found.table().column("prediction_y2").to_numpy(), found.values[:, 2])


def stamped(data: SequenceData, time: np.ndarray, name: str = "at") -> SequenceData:
    return replace(data, time=time, schema=replace(data.schema, time=name, sequence="who"))


@pytest.mark.parametrize("task", ["tag", "steps"])
def test_answers_a_step_stand_beside_their_sequence_and_time(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.sequences(task, (3, 0, 1, 4), targets=1)
    ids = np.array(["ann", "bob", "eve", "kim"], object)
    time = np.array(["2024-01-01", "2024-01-05", "2024-02-01"] + ["2020-02-29"] + ["2023-01-01"] * 4, "datetime64[ns]")
    time[4:] += np.arange(4) * np.timedelta64(90, "s")
    outputs = softmax(8, 3) if task == "tag" else np.arange(8, dtype=np.float32)[:, None]
    found = answered(replace(stamped(data, time), ids=ids), outputs, monkeypatch, scale="none")
    assert isinstance(found.values, Ragged)
    assert found.values.lengths.tolist() == [3, 0, 1, 4]
    table = found.table()
    assert table.column("who").to_pylist() == ["ann"] * 3 + ["eve"] + ["kim"] * 4
    np.testing.assert_array_equal(table.column("at").to_numpy().astype("datetime64[ns]"), time)
    if task == "tag":
        assert table.column_names == ["who", "at", "prediction", "probability_0", "probability_1", "probability_2"]
        np.testing.assert_array_equal(found.probabilities[3], outputs[4:].astype(float))
        assert table.column("prediction").to_pylist() == outputs.argmax(-1).tolist()
        np.testing.assert_array_equal(table.column("probability_1").to_numpy(), outputs[:, 1])
    else:
        assert table.column_names == ["who", "at", "prediction"]
        assert [row[:, 0].tolist() for row in found.values] == [[0, 1, 2], [], [3], [4, 5, 6, 7]]
        assert table.column("prediction").to_pylist() == list(range(8))
    # Without a time column the steps are counted anew in each sequence, and sequences without a name are numbered.
    plain = answered(data, outputs, monkeypatch, scale="none").table()
    assert plain.column_names[:2] == ["sequence", "step"]
    assert plain.column("step").to_pylist() == [0, 1, 2, 0, 0, 1, 2, 3]
    assert plain.column("sequence").to_pylist() == [0, 0, 0, 2, 3, 3, 3, 3]


def forecast(time: np.ndarray | None, lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, **known: Any):
    data = cases.series(lengths, targets=1, **known)
    if time is not None:
        data = stamped(data, time)
    return data, answered(data, np.zeros((len(lengths), 3, 1)), monkeypatch)


@pytest.mark.parametrize(
    ("given", "ahead"),
    [
        (np.arange("2024-02-10", "2024-02-28", dtype="datetime64[D]"), ["2024-02-28", "2024-02-29", "2024-03-01"]),
        (np.arange("2024-01", "2025-07", dtype="datetime64[M]"), ["2025-07-01", "2025-08-01", "2025-09-01"]),
        (
            np.arange("2024-03-30T06", "2024-03-31T00", dtype="datetime64[h]"),
            ["2024-03-31T00", "2024-03-31T01", "2024-03-31T02"],
        ),
    ],
    ids=["daily", "monthly", "hourly"],
)
def test_forecasts_carry_the_dates_ahead(given: np.ndarray, ahead: list, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(given) == 18
    # The second series has the same step and lies years later.
    later = given + np.timedelta64(48, given.dtype.str[4:-1])
    _, found = forecast(np.concatenate([given, later]).astype("datetime64[ns]"), (18, 18), monkeypatch)
    assert found.time.shape == (2, 3)
    np.testing.assert_array_equal(found.time[0], np.array(ahead, "datetime64[ns]"))
    np.testing.assert_array_equal(
        found.time[1], (np.array(ahead, given.dtype) + (later[0] - given[0])).astype("datetime64[ns]")
    )
    table = found.table()
    assert table.column_names == ["who", "step_ahead", "at", "prediction"]
    assert table.column("step_ahead").to_pylist() == [1, 2, 3] * 2
    assert table.column("who").to_pylist() == [0] * 3 + [1] * 3
    np.testing.assert_array_equal(table.column("at").to_numpy().astype("datetime64[ns]"), found.time.reshape(-1))


def test_forecasts_carry_numbers_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate([5 * np.arange(18), 1000 + 2 * np.arange(20)])
    _, found = forecast(whole, (18, 20), monkeypatch)
    assert found.time.tolist() == [[90, 95, 100], [1040, 1042, 1044]]
    assert found.time.dtype.kind == "i"
    _, found = forecast(np.concatenate([0.25 * np.arange(18), np.arange(20.0)]), (18, 20), monkeypatch)
    assert found.time.tolist() == [[4.5, 4.75, 5.0], [20, 21, 22]]


def test_forecasts_without_a_time_column_count_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = forecast(None, (18, 20), monkeypatch)
    assert found.time is None
    assert found.table().column_names == ["sequence", "step_ahead", "prediction"]


def test_a_forecast_begins_after_the_last_observed_target(monkeypatch: pytest.MonkeyPatch) -> None:
    days = np.arange("2024-01-01", "2024-01-19", dtype="datetime64[D]").astype("datetime64[ns]")
    data = stamped(cases.series((18,), targets=1), days)
    # Rows whose target is still missing, on days that no rule would have named.
    data.time[-2:] += np.timedelta64(7, "D")
    data.target.values[-2:] = np.nan
    found = answered(data, np.zeros((1, 3, 1)), monkeypatch)
    assert found.time[0].astype("datetime64[D]").astype(str).tolist() == ["2024-01-24", "2024-01-25", "2024-01-26"]


def test_forecasts_are_in_the_units_of_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.series((30, 17), targets=2)
    outputs = np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)
    found = answered(data, outputs, monkeypatch)
    mean, spread = data.target.values.mean(0), data.target.values.std(0)
    # Mean and standard deviation by other formulas than scikit-learn's.
    np.testing.assert_allclose(found.values, outputs * spread + mean, rtol=1e-9)
    table = found.table()
    assert table.column_names == ["sequence", "step_ahead", "prediction_y0", "prediction_y1"]
    np.testing.assert_array_equal(table.column("prediction_y1").to_numpy(), found.values[:, :, 1].reshape(-1))


def test_a_single_series_without_a_name_has_no_column_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = forecast(None, (18,), monkeypatch)
    assert found.table().column_names == ["step_ahead", "prediction"]


# Probabilities ------------------------------------------------------------------------------------------------------


def test_probabilities_from_a_softmax_are_taken_as_they_are() -> None:
    given = softmax(9, 4)
    np.testing.assert_array_equal(as_probabilities(given, 4), given.astype(np.float64))
    # What bfloat16 leaves of them (8 bits) is still a softmax, and not put through another one.
    rough = (given.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert np.abs(rough.sum(-1) - 1).max() > 1e-3
    np.testing.assert_array_equal(as_probabilities(rough, 4), rough.astype(np.float64))
    assert as_probabilities(np.zeros((0, 4), np.float32), 4).shape == (0, 4)


def test_probabilities_from_one_sigmoid() -> None:
    given = np.array([[0.0], [0.25], [1.0]], np.float32)
    np.testing.assert_array_equal(as_probabilities(given, 2), [[1, 0], [0.75, 0.25], [0, 1]])
    steps = given.reshape(1, 3, 1)
    np.testing.assert_array_equal(as_probabilities(steps, 2), [[[1, 0], [0.75, 0.25], [0, 1]]])


def test_probabilities_from_logits() -> None:
    given = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)
    given[0] = [1e4, -1e4, 0, 5]
    found = as_probabilities(given, 4)
    # Float64 throughout; another order of the sums.
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.log(found[1:] / found[1:, :1]), given[1:] - given[1:, :1], rtol=1e-6, atol=1e-9)
    assert found[0].tolist() == [1, 0, 0, 0]
    single = np.array([[-800.0], [-1.5], [0.0], [2.5], [900.0]])
    expected = [0, 1 / (1 + np.exp(1.5)), 0.5, 1 / (1 + np.exp(-2.5)), 1]
    found = as_probabilities(single, 2)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-12)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-12)


# Files --------------------------------------------------------------------------------------------------------------

READ = {
    ".csv": csv.read_csv,
    ".parquet": parquet.read_table,
    ".arrow": lambda path: feather.read_table(path, memory_map=False),
    ".feather": lambda path: feather.read_table(path, memory_map=False),
}


def some(monkeypatch: pytest.MonkeyPatch, task: str = "tag") -> Predictions:
    lengths = (3, 1, 4)
    if task == "forecast":
        days = np.arange("2024-01-01", "2024-02-05", dtype="datetime64[D]").astype("datetime64[ns]")
        return forecast(days, (18, 17), monkeypatch)[1]
    data = from_arrays(
        Ragged.from_lengths(np.ones((8, 1)), lengths),
        Ragged.from_lengths(np.array(["a,b", 'say "x"', "é", "a,b"] * 2), lengths),
        task="tag",
    )
    return answered(data, softmax(8, 3), monkeypatch)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow", ".feather", ".CSV"])
@pytest.mark.parametrize("task", ["tag", "forecast"])
def test_what_is_written_reads_back_equal(
    task: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = some(monkeypatch, task)
    path = found.write(tmp_path / f"answers{suffix}")
    assert [entry.name for entry in tmp_path.iterdir()] == [f"answers{suffix}"]
    assert path == tmp_path / f"answers{suffix}"
    read = READ[suffix.lower()](path)
    assert read.column_names == found.table().column_names
    assert read.to_pylist() == found.table().to_pylist()
    assert pa.types.is_date(read.schema.field("at").type) if task == "forecast" else True


def test_a_file_is_not_overwritten_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = some(monkeypatch), tmp_path / "answers.csv"
    path.write_text("mine")
    with pytest.raises(RunError, match=r"answers\.csv exists"):
        found.write(path)
    assert path.read_text() == "mine"
    found.write(str(path), overwrite=True)
    assert csv.read_csv(path).num_rows == 8
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["answers.xlsx", "answers", "answers.csv.gz"])
def test_another_suffix_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"'\.csv', '\.parquet', '\.arrow'"):
        some(monkeypatch).write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="nowhere is not a directory"):
        some(monkeypatch).write(tmp_path / "nowhere" / "answers.csv")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = some(monkeypatch), tmp_path / "answers.parquet"
    path.write_text("mine")

    def full(table: pa.Table, target: Any, suffix: str) -> None:
        target.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predictions, "write_table", full)
    with pytest.raises(RunError, match="No space left"):
        found.write(path, overwrite=True)
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["answers.parquet"]


def test_a_column_of_the_users_own_is_not_lost_to_one_of_ours() -> None:
    schema = Schema(task="classify", target=("y",), sequence="prediction")
    made = Predictions(
        schema=schema,
        values=np.array(["a", "b"], dtype=object),
        ids=np.array([7, 8]),
        probabilities=np.array([[0.9, 0.1], [0.2, 0.8]]),
        classes=("a", "b"),
    )
    assert made.table().to_pydict() == {
        "prediction": [7, 8],
        "prediction_": ["a", "b"],
        "probability_a": [0.9, 0.2],
        "probability_b": [0.1, 0.8],
    }


# Looks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", cases.TASKS)
def test_predictions_are_shown_as_the_first_rows_of_their_table(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.series() if task == "forecast" else cases.sequences(task, (5, 1, 9, 12))
    preparation, _ = cases.prepared(data)
    rng, width = np.random.default_rng(0), len(preparation.classes) or 2
    rows = {"forecast": (2, 3), "tag": (27,), "steps": (27,)}.get(task, (4,))
    found = answered(data, rng.random((*rows, width)).astype("float32"), monkeypatch)
    table, lines = found.table(), repr(found).splitlines()
    shown = min(10, table.num_rows)
    assert lines[0] == f"Predictions({data.schema.task}: {table.num_rows} rows)"
    assert lines[1].split() == table.column_names
    assert [line.split()[-1] for line in lines[2 : 2 + shown]] == [
        f"{value:.6g}" if isinstance(value, float) else str(value) for value in table.columns[-1].to_pylist()[:shown]
    ]
    assert len({len(line) for line in lines[1 : 2 + shown]}) == 1  # columns stand below each other
    assert lines[2 + shown :] == ([f"... {table.num_rows - 10} more rows"] if table.num_rows > 10 else [])


def test_predictions_become_a_frame_and_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = cases.sequences("regress", (5, 1, 9))
    found = answered(data, np.arange(6, dtype="float32").reshape(3, 2), monkeypatch)
    frame = found.to_pandas()
    assert frame.to_dict("list") == found.table().to_pydict()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BackendError, match="needs pandas: pip install pandas"):
        found.to_pandas()


def test_categories_that_training_does_not_have_are_counted() -> None:
    """The count of a loop over the rows."""
    rng = np.random.default_rng(3)
    train = cases.with_categories(cases.sequences("steps"))
    preparation = Preparation.fit(train)
    levels = (("east", "north", "south", "up"), ("a", "z"))
    codes = np.stack([rng.integers(-1, 4, train.steps), rng.integers(-1, 2, train.steps)], 1).astype(np.int32)
    data = replace(train, categories=codes, levels=levels)
    said = unseen_categories(preparation, data)
    for column, name in enumerate(("shop", "day")):
        labels = [levels[column][code] for code in codes[:, column] if code >= 0]
        unknown = [label for label in labels if label not in preparation.vocabulary[column]]
        assert f"column {name!r} has {len(unknown)} rows of {train.steps} " in said[name]
        assert all(repr(label) in said[name] for label in set(unknown))
    assert unseen_categories(preparation, train) == {}
