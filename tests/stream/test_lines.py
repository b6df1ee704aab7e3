"""Rows as they come are answered as ``predict`` answers a table of the rows so far: scaled, filled, encoded alike."""

from __future__ import annotations

import io
import json
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from keras import layers
from stream_cases import filled

from throughtime.data.sequences import SequenceData
from throughtime.data.tables import read_like, read_table
from throughtime.data.transforms import Preparation
from throughtime.errors import ArgumentError, DataError
from throughtime.stream.lines import answer_pieces, answers
from throughtime.training.baselines import Baselines
from throughtime.training.networks import build_network, feeds_of
from throughtime.training.run import Run


def rows_of(kind: str, seed: int = 0) -> pa.Table:
    """Three sequences whose rows are mixed, with gaps in the numbers and a rare category."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.repeat(["a", "b", "c"], (14, 9, 11)))
    step = np.array([int((names[:place] == name).sum()) for place, name in enumerate(names)])
    x, y = rng.normal(50, 9, len(names)), rng.normal(3, 0.1, (len(names), 2))
    gaps = rng.random(len(names)) < 0.25
    once = {"a": "up", "b": "down", "c": "up"}
    columns: dict[str, Any] = {
        "who": names,
        "day": step,
        "x": pa.array(np.where(gaps, np.nan, x), from_pandas=True),
        "on": rng.random(len(names)) < 0.5,
        "shop": pa.array([None if r < 0.1 else ("n", "s", "w")[int(r * 3)] for r in rng.random(len(names))]),
    }
    columns |= {"label": [once[name] for name in names]} if kind == "classify" else {"load": y[:, 0], "rain": y[:, 1]}
    return pa.table(columns)


def run_of(kind: str, model: Any = None, **roles: Any) -> Run:
    """A run whose network has random weights; nothing is trained."""
    target = "label" if kind == "classify" else ["load", "rain"]
    task = {"classify": "classify", "steps": "regress", "forecast": None}[kind]
    data = read_table(rows_of(kind), target=target, sequence="who", time="day", task=task, **roles)
    preparation = Preparation.fit(data)
    examples = preparation.apply(data)
    made = filled(model(examples) if model else build_network(preparation, examples, units=4, cell="gru", depth=2))
    feeds, pad_value, _ = feeds_of(made, examples)
    return Run(
        model=made, preparation=preparation, baselines=Baselines.fit(preparation, data, examples),
        history=[{"loss": 1.0}],
        best_epoch=1, settings={"cell": "gru"}, feeds=feeds, pad_value=pad_value,
    )  # fmt: skip


def csv_of(table: pa.Table) -> list[str]:
    out = io.BytesIO()
    pyarrow.csv.write_csv(table, out)
    return out.getvalue().decode().splitlines(keepends=True)


def json_of(table: pa.Table) -> list[str]:
    return [json.dumps(row) + "\n" for row in table.to_pylist()]


def read(run: Run, table: pa.Table) -> SequenceData:
    return read_like(table, run.preparation.schema, run.preparation.forecast, per=run.preparation.per)


def by_step(table: pa.Table) -> dict[tuple[str, int], dict[str, Any]]:
    return {(row["who"], row["day"]): row for row in table.to_pylist()}


@pytest.mark.parametrize("lines_of", [csv_of, json_of])
def test_an_answer_a_step_is_that_of_predict_on_the_table(lines_of: Any) -> None:
    run = run_of("steps")
    new = rows_of("steps", seed=1).drop_columns(["load", "rain"])
    expected = by_step(run.predict(read(run, new)).table())
    tables = [table for table, _ in answers(run, lines_of(new))]
    assert len(tables) == new.num_rows
    for table, given in zip(tables, new.to_pylist(), strict=True):
        (row,) = table.to_pylist()
        wanted = expected[given["who"], given["day"]]
        assert list(row) == list(wanted)
        assert row["who"] == given["who"] and row["day"] == given["day"]
        for name in ("prediction_load", "prediction_rain"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-5, abs=1e-5)


def causal(examples: Any) -> keras.Model:
    return keras.Sequential(
        [keras.Input((None, examples.numbers.shape[1])), layers.LSTM(5), layers.Dense(2, activation="softmax")]
    )


def test_a_network_of_the_users_own_that_answers_once_answers_for_the_rows_so_far() -> None:
    run = run_of("classify", causal)
    new = rows_of("classify", seed=2).drop_columns(["label"])
    seen: list[dict[str, Any]] = []
    for (table, as_json), given in zip(answers(run, json_of(new)), new.to_pylist(), strict=True):
        (row,) = table.to_pylist()
        assert as_json
        seen.append(given)
        so_far = [one for one in seen if one["who"] == given["who"]]
        if len(so_far) in (1, 2, 7):
            expected = run.predict(read(run, pa.Table.from_pylist(so_far, new.schema))).table().to_pylist()[0]
            assert row["prediction"] == expected["prediction"]
            assert row["probability_up"] == pytest.approx(expected["probability_up"], abs=1e-5)


def test_a_forecast_begins_when_the_window_is_full_and_goes_on_from_the_last_row() -> None:
    run = run_of("forecast", horizon=2, window=4)
    new = rows_of("forecast", seed=3)
    load = [None if place == 20 else value for place, value in enumerate(new["load"].to_pylist())]
    new = new.set_column(new.column_names.index("load"), "load", pa.array(load))
    counts: dict[str, int] = {}
    tables = answers(run, csv_of(new))
    seen: list[dict[str, Any]] = []
    checked = 0
    for given in new.to_pylist():
        seen.append(given)
        counts[given["who"]] = counts.get(given["who"], 0) + 1
        if counts[given["who"]] < 4:
            continue
        table, _ = next(tables)
        rows = table.to_pylist()
        assert table.column_names == ["who", "after_day", "step_ahead", "prediction_load", "prediction_rain"]
        assert [row["after_day"] for row in rows] == [given["day"]] * 2
        if counts[given["who"]] % 3 == 0 or len(seen) in (20, 21, 22, 23):
            so_far = pa.Table.from_pylist([one for one in seen if one["who"] == given["who"]], new.schema)
            if not np.isnan(read(run, so_far).target.values[-1]).any():
                expected = run.predict(read(run, so_far)).table().to_pylist()
                for row, wanted in zip(rows, expected, strict=True):
                    assert row["prediction_load"] == pytest.approx(wanted["prediction_load"], rel=1e-5, abs=1e-5)
                checked += 1
    assert checked > 3 and next(tables, None) is None


def test_after_a_row_without_a_target_there_is_no_forecast() -> None:
    run = run_of("forecast", horizon=2, window=3)
    made = [{"who": "a", "day": n, "x": 1.0, "on": True, "shop": "n", "load": n, "rain": 2 * n} for n in range(6)]
    made[4] |= {"load": None, "rain": None}
    days = [table["after_day"].to_pylist()[0] for table, _ in answers(run, [json.dumps(row) for row in made])]
    assert days == [2, 3, 5]


def test_a_time_is_written_as_what_it_was() -> None:
    run = run_of("steps")
    header = "who,day,x,on,shop"
    for text, wanted in (
        ("3", 3),
        ("3.5", 3.5),
        ("2024-05-01T23:00", "2024-05-01T23:00"),
        ("31.12.2024", "31.12.2024"),
    ):
        ((table, _),) = answers(run, [header, f"a,{text},1,true,n"])
        (found,) = table["day"].to_pylist()
        assert found == wanted and type(found) is type(wanted)


def test_rows_without_a_sequence_or_time_column_are_one_sequence_and_are_counted() -> None:
    run = run_of("steps")
    new = rows_of("steps", seed=1).drop_columns(["load", "rain", "who", "day"])
    with pytest.raises(DataError, match=r"has no column 'who', the run's sequence column.*one_sequence=True"):
        next(answers(run, csv_of(new)))
    tables = [table for table, _ in answers(run, ["\n", *csv_of(new)], one_sequence=True)]
    assert tables[0].column_names == ["step", "prediction_load", "prediction_rain"]
    assert [table["step"].to_pylist() for table in tables] == [[n] for n in range(new.num_rows)]
    table = pa.concat_tables([new]).append_column("who", pa.array(["z"] * new.num_rows))
    expected = run.predict(read(run, table.append_column("day", pa.array(range(new.num_rows))))).table()
    found = np.concatenate([table["prediction_load"].to_numpy() for table in tables])
    np.testing.assert_allclose(found, expected["prediction_load"].to_numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['who,day,X,on,shop', "a,0,1,true,n"], "the header has no column 'x', which the run needs. Did you mean 'X'"),
        (['who,day,x,on,shop,x', "a,0,1,true,n,2"], "line 1, the header, has more than one column named 'x'"),
        (['who,Day,x,on,shop', "a,0,1,true,n"], "the header has no column 'day', the run's time column. Did you mean"),
        (["who,day,x,on,shop", "a,0,warm,true,n"], "line 2: column 'x' holds 'warm', which is no number"),
        (["who,day,x,on,shop", "a,0,1e999,true,n"], "line 2: column 'x' of input.csv has 1 infinite values"),
        (["who,day,x,on,shop", ",0,1,true,n"], "line 2 has nothing in column 'who'"),
        (["who,day,x,on,shop", "a,,1,true,n"], "line 2: time column 'day' is missing"),
        (["who,day,x,on,shop", "a,5,1,true,n", "a,5,2,true,n"], "line 3 repeats the time 5 within its sequence"),
        (["who,day,x,on,shop", "a,5,1,true,n", "a,2024-01-01,2,true,n"], "line 3: "),
        (["who,day,x,on,shop", 'a,5,1,true,"n'], 'line 2 opens a quote (") that is never closed'),
        (["who,day,x,on,shop"], "there is no row to predict"),
        ([], "there is no row of column names"),
        (["who,day,x,on,shop", "a,5,1,true,\udce4"], "line 2 is not UTF-8 text: it holds the bytes b'.xe4"),
        (['{"who": [1], "day": 1, "x": 1, "on": 1, "shop": "n"}'], "line 1 has list in column 'who'"),
        (['{"who": 1, "day": 1, "x": {}, "on": 1, "shop": "n"}'], "line 1: column 'x' holds dict of JSON"),
        (['{"who": 1, "who": 2, "day": 1, "x": 1, "on": 1, "shop": "n"}'], "line 1 has more than one column"),
        (['{"who": 1, "day": 1, "x": ' + "[" * 100_000], "line 1 holds JSON within JSON too deep"),
        (['{"who": 1, "day": 1, "x": ' + "9" * 5000 + "}"], "line 1 is no JSON"),
        (['{"who": 1, "day": 1, "x": ' + "9" * 4000 + ', "on": 1, "shop": "n"}'], "line 1: column 'x' of input.csv"),
        (['{"who": 1, "day": 1, "x": 1, "on": 1, "shop": "\\ud800"}'], "line 1: column 'shop' holds '.ud800'"),
        (["who,day,x,on,shop", "", "a,0,1"], "line 3 has 3 fields, and the header 5"),
        (['{"x": 1', ""], "line 1 is no JSON"),
        (['{"x": 1, "on": true}'], "line 1 has no column 'shop'"),
        (['{"who": "a", "day": 1, "x": 1, "on": true, "shop": "n"}', "[1]"], "line 2 is list in JSON"),
        (["who;day;x;on;shop", "a;0;inf;true;n"], "line 2: column 'x' of input.csv has 1 infinite values"),
        (["who,day,x,on,shop", "a,5,1,true,n", "b,3,1,true,n", "a,4,1,true,n"], "line 4 has the time 4, and the row"),
        (["who,day,x,on,shop", "a,2024-05-02,1,true,n", "a,2024-05-01T23:00,1,true,n"], "line 3 has the time 2024"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_named_by_its_number(lines: list[str], message: str) -> None:
    run = run_of("steps")
    with pytest.raises(DataError, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        list(answers(run, lines))
    assert "\n" not in str(caught.value)


def test_rows_before_one_that_is_refused_are_answered_and_all_that_is_there_is_at_once() -> None:
    run = run_of("steps")
    text = "who,day,x,on,shop\na,0,1,true,n\nb,0,2,true,n\na,1,warm,true,n\n"
    for pieces in ([text], list(text), [text[:30], text[30:]]):
        found = answer_pieces(run, pieces)
        assert [next(found)[0]["who"].to_pylist() for _ in range(2)] == [["a"], ["b"]]
        with pytest.raises(DataError, match="line 4: column 'x' holds 'warm'"):
            next(found)

    taken: list[str] = []

    def lines() -> Any:
        for line in text.splitlines(keepends=True)[:3]:
            taken.append(line)
            yield line

    found = answer_pieces(run, lines())
    next(found)
    assert len(taken) == 2  # the answer to a row does not wait for the next


def test_a_row_that_would_change_how_those_before_it_are_read_is_refused() -> None:
    run = run_of("steps")
    lines = ["who,day,x,on,shop\n", "a,2024-01-01,1,true,n\n", "a,2024-01-02 00:00+01:00,1,true,n\n"]
    found = answers(run, lines)
    next(found)
    with pytest.raises(DataError, match="line 3: "):
        next(found)


def test_an_unknown_category_is_noted_once_a_column() -> None:
    run, notes = run_of("steps"), list[str]()
    lines = ["who,day,x,on,shop", "a,0,1,true,n", "a,1,1,true,new", "a,2,1,true,newer", "a,3,1,true,"]
    assert len(list(answers(run, lines, note=notes.append))) == 4
    (note,) = notes
    assert "column 'shop' has 1 row of 1 with values that the training part does not have, or has once: 'new'" in note
    table = pa.table(
        {"who": ["a"] * 4, "day": range(4), "x": [1.0] * 4, "on": [True] * 4, "shop": ["n", "new", "new", "z"]}
    )
    predictions = run.predict(read(run, table))
    assert len(predictions.notes) == 1 and "has 3 rows of 4" in predictions.notes[0]
    assert "'new', 'z'; they are all read as one unknown value" in predictions.notes[0]
    assert run.predict(read(run, table.slice(0, 1))).notes == ()


def test_a_causal_run_of_our_own_answers_for_the_rows_so_far() -> None:
    def causal(examples: Any) -> keras.Model:
        return build_network(run_of("classify").preparation, examples, units=4, causal=True)

    run = run_of("classify", causal)
    new = rows_of("classify", seed=2).drop_columns(["label"])
    seen: list[dict[str, Any]] = []
    for place, ((table, _), given) in enumerate(zip(answers(run, csv_of(new)), new.to_pylist(), strict=True)):
        seen.append(given)
        if place % 9 == 8:
            so_far = [one for one in seen if one["who"] == given["who"]]
            expected = run.predict(read(run, pa.Table.from_pylist(so_far, new.schema))).table().to_pylist()[0]
            assert table.to_pylist()[0]["probability_up"] == pytest.approx(expected["probability_up"], abs=1e-5)


def test_series_that_end_before_a_window_is_full_are_noted() -> None:
    run, notes = run_of("forecast", horizon=2, window=3), list[str]()
    lines = ["who,day,x,on,shop,load,rain", *(f"a,{day},1,true,n,1,2" for day in range(3)), "b,0,1,true,n,1,2"]
    assert len(list(answers(run, lines, note=notes.append))) == 1
    assert notes == ["'b' ended before a forecast's window was full, and has no forecast."]


def test_networks_that_look_ahead_and_known_covariates_are_refused() -> None:
    with pytest.raises(ArgumentError, match="reads the sequence from its end as well"):
        list(answers(run_of("classify"), csv_of(rows_of("classify"))))
    run = run_of("forecast", horizon=2, window=4, known=["x"])
    with pytest.raises(ArgumentError, match="need 'x' of the steps ahead"):
        list(answers(run, csv_of(rows_of("forecast"))))
