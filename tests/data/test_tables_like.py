"""Reading another table in the same way, and one table in many containers."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_cases import LONG, ROLES, refused, same

from throughtime.data.sequences import Forecast, Schema
from throughtime.data.tables import read_like, read_table
from throughtime.data.transforms import Preparation
from throughtime.errors import ArgumentError, DataError

# -- read_like ---------------------------------------------------------------------------------------------------


def test_read_like_reads_the_same_table_in_the_same_way():
    for arguments in (
        {**ROLES, "task": "classify"},
        {**ROLES, "task": "tag"},
        {**ROLES, "task": "regress"},
        {"sequence": "who", "time": "at", "target": "y", "horizon": 1, "known": ["on"], "window": 2},
    ):
        data = read_table(pa.table(LONG), **arguments)
        again = read_like(pl.DataFrame(LONG), data.schema, data.forecast)
        same(again, data)


def test_read_like_without_target_and_with_other_columns_and_order():
    schema = read_table(pa.table(LONG), **ROLES, task="classify").schema
    table = pa.table({"extra": [[1]] * 5, **{name: LONG[name] for name in ("word", "on", "x", "at", "who")}})
    data = read_like(table, schema)
    assert data.target is None
    assert data.schema == schema
    np.testing.assert_array_equal(data.numbers[:, 1], [np.nan, 0, 1, 1, 0])


def test_read_like_keeps_unseen_levels_and_kinds():
    schema = Schema(task="classify", target=("y",), sequence="s", numbers=("n",), categories=("c",))
    table = pd.DataFrame({"s": [0, 0, 1], "n": [1.0, np.nan, 3], "c": [1, 2, 1], "y": [4, 4, np.nan]})
    data = read_like(table, schema)
    assert data.levels == (("1", "2"),)
    np.testing.assert_array_equal(data.numbers[:, 0], [1, np.nan, 3])
    assert data.target.levels == (4,)
    assert type(data.target.levels[0]) is int
    assert data.target.values.tolist() == [0, -1]
    gaps = read_like(table.assign(c=[1.0, np.nan, 2.0], n=[None] * 3, y=["new", None, "b"]), schema)
    assert gaps.levels == (("1", "2"),)
    assert gaps.categories[:, 0].tolist() == [0, -1, 1]
    assert np.isnan(gaps.numbers).all()
    assert gaps.target.labels().tolist() == ["new", "b"]
    void = read_like(table.assign(c=[None] * 3, y=[None] * 3), schema)
    assert void.categories[:, 0].tolist() == [-1, -1, -1]
    assert void.target.values.tolist() == [-1, -1]


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_classes_spelled_with_digits_are_the_same_in_every_file(tmp_path, task):
    rng = np.random.default_rng(3)
    speaker = np.repeat(rng.integers(1, 10, 40), 3) if task == "classify" else rng.integers(1, 10, 120)
    numbers = pd.DataFrame({"s": np.repeat(np.arange(40), 3), "x": rng.normal(size=120), "speaker": speaker})
    texts = numbers.assign(speaker=numbers.speaker.astype(str))
    numbers.to_csv(tmp_path / "it.csv", index=False)
    numbers.to_parquet(tmp_path / "numbers.parquet")
    texts.to_parquet(tmp_path / "texts.parquet")
    sources = [tmp_path / "it.csv", tmp_path / "numbers.parquet", tmp_path / "texts.parquet", numbers, texts]
    said = []
    for source in sources:
        data = read_table(source, target="speaker", sequence="s", task=task)
        prepared = Preparation.fit(data)
        assert [str(label) for label in prepared.classes] == list("123456789")
        for other in sources:
            like = read_like(other, prepared.schema)
            np.testing.assert_array_equal(
                prepared.class_indices(like.target), speaker[:: 3 if task == "classify" else 1] - 1
            )
            said.extend(like.notes if source is other else ())
    assert said == []  # a file that is read as it was before has nothing to be told


def test_read_like_regression_targets_with_gaps():
    schema = Schema(task="regress", target=("y",), sequence="s", numbers=("x",))
    table = pa.table({"s": [0, 0, 1, 1], "x": [1, 2, 3, 4], "y": [None, 2.5, None, None]})
    data = read_like(table, schema)
    assert data.target.per == "sequence"
    np.testing.assert_array_equal(data.target.values, [[2.5], [np.nan]])
    step = read_like(table, schema, per="step")
    np.testing.assert_array_equal(step.target.values, [[np.nan], [2.5], [np.nan], [np.nan]])
    varied = table.set_column(2, "y", pa.array([1.0, 2, None, 3]))
    assert read_like(varied, schema).target.per == "step"
    with refused(DataError, "'y' changes within sequence 0"):
        read_like(varied, schema, per="sequence")
    with refused(DataError, "'y' changes within sequence 1"):
        read_like(
            table.set_column(2, "y", pa.array(["a", None, "a", "b"])),
            Schema(task="classify", target=("y",), sequence="s", numbers=("x",)),
        )


def test_read_like_refuses_what_is_not_there_or_of_another_kind():
    schema = Schema(task="regress", target=("y",), sequence="s", time="t", numbers=("x",), categories=("c",))
    full = {"s": [0, 1], "t": [0, 1], "x": [1.0, 2], "c": ["a", "b"], "y": [1.0, 2]}
    assert read_like(pa.table(full), schema).target.values[:, 0].tolist() == [1, 2]
    for name in ("s", "t", "x", "c"):
        with refused(DataError, f"{name!r} is not a column"):
            read_like(pa.table({key: value for key, value in full.items() if key != name}), schema)
    for name in ("x", "y"):
        with refused(DataError, f"column {name!r} holds 'a' in row 1", "no number"):
            read_like(pa.table({**full, name: ["a", "b"]}), schema)
    with refused(DataError, "'c'", "list"):
        read_like(pa.table({**full, "c": [[1], [2]]}), schema)
    with refused(DataError, "lacks the target column 'z'"):
        read_like(pa.table(full), Schema(task="regress", target=("y", "z"), sequence="s", numbers=("x",)))


def test_read_like_of_a_forecast_needs_the_past():
    schema = Schema(task="forecast", target=("v",), numbers=("x",))
    data = read_like(pa.table({"v": [1, None], "x": [3, 4]}), schema, Forecast(horizon=1))
    np.testing.assert_array_equal(data.target.values, [[1], [np.nan]])
    with refused(DataError, "lacks the target column 'v'", "past"):
        read_like(pa.table({"x": [3, 4]}), schema, Forecast(horizon=1))
    with refused(ArgumentError, "forecast="):
        read_like(pa.table({"v": [1, 2], "x": [3, 4]}), schema)
    with refused(ArgumentError, "forecast="):
        read_like(pa.table(LONG), Schema(task="tag"), Forecast(horizon=1))


# -- all containers agree ----------------------------------------------------------------------------------------


@st.composite
def ragged_tables(draw):
    """Sequences as plain lists of steps, and a shuffled order of all rows."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=6))
    rows = sum(lengths)
    number = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=64))
    text = st.one_of(st.none(), st.sampled_from(["a", "B c", "é,", '"q"', "zz"]))
    return {
        "s": [b * 3 - 1 for b, length in enumerate(lengths) for _ in range(length)],
        "t": [float(t) / 4 for length in lengths for t in range(length)],
        "x": [0.5, *draw(st.lists(number, min_size=rows - 1, max_size=rows - 1))],
        "w": ["w", *draw(st.lists(text, min_size=rows - 1, max_size=rows - 1))],
        "y": [f"class {b % 2}" for b, length in enumerate(lengths) for _ in range(length)],
    }, draw(st.permutations(range(rows)))


@settings(max_examples=40)
@given(ragged_tables())
def test_any_container_of_the_shuffled_table_gives_the_same_data(case):
    columns, order = case
    shuffled = {name: [values[row] for row in order] for name, values in columns.items()}
    ids = list(dict.fromkeys(shuffled["s"]))
    expected = [row for one in ids for row in range(len(columns["s"])) if columns["s"][row] == one]
    levels = sorted({word for word in columns["w"] if word is not None})
    table = pa.table(shuffled)
    text = io.StringIO()
    pd.DataFrame(shuffled).to_csv(text, index=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "t.csv").write_text(text.getvalue(), encoding="utf-8")
        pq.write_table(table, path / "t.parquet")
        for source in (table, pd.DataFrame(shuffled), pl.DataFrame(shuffled), path / "t.csv", path / "t.parquet"):
            data = read_table(source, sequence="s", time="t", target="y")
            assert data.ids.tolist() == ids
            assert data.lengths.tolist() == [columns["s"].count(one) for one in ids]
            assert data.time.tolist() == [columns["t"][row] for row in expected]
            x = [np.nan if columns["x"][row] is None else columns["x"][row] for row in expected]
            np.testing.assert_array_equal(data.numbers[:, 0], x)
            assert data.levels == (tuple(levels),)
            words = [-1 if columns["w"][row] is None else levels.index(columns["w"][row]) for row in expected]
            assert data.categories[:, 0].tolist() == words
            assert data.target.labels().tolist() == [columns["y"][columns["s"].index(one)] for one in ids]


def test_import_is_light():
    code = (
        "import sys, throughtime.data.tables\n"
        "print([name for name in ('pyarrow', 'pandas', 'polars', 'narwhals', 'aeon') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
