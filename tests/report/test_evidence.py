"""Evidence of real runs, one of each task: JSON, complete, and drawn by the page without a gap."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

import numpy as np
import pytest

from throughtime.data.arrays import from_arrays
from throughtime.data.sequences import SequenceData
from throughtime.errors import ArgumentError
from throughtime.ragged import Ragged
from throughtime.report import page
from throughtime.report.evidence import evidence
from throughtime.training.run import Run
from throughtime.training.train import train

pytestmark = pytest.mark.backend
TASKS = ("classify", "steps", "forecast")  # tags are drawn as classes, numbers a sequence as numbers a step


def data_of(task: str, seed: int) -> SequenceData:
    rng = np.random.default_rng(seed)
    if task == "forecast":
        wave = np.sin(np.arange(60) * 2 * np.pi / 6)[:, None] * [3, 50] + rng.normal(0, 0.2, (60, 2))
        return from_arrays([wave], horizon=2, window=6, names=["<load>", "wind"], source="waves & wind")
    lengths = [4, 1, 6, 2, 4, 6, 3, 1, 4, 6, 2, 5]
    inputs = Ragged.from_lengths(rng.normal(size=(sum(lengths), 2)), lengths)
    if task == "classify":
        return from_arrays(inputs, ["no", "yes & <no>"] * 6)
    return from_arrays(inputs, Ragged.from_lengths(rng.normal(size=sum(lengths)), lengths), task="regress")


@pytest.fixture(scope="module", params=TASKS)
def run(request: pytest.FixtureRequest) -> Run:
    made = train(
        data_of(request.param, 0), data_of(request.param, 1), cell="rnn", units=4, epochs=2, buckets=1, progress=False
    )
    made.evaluate(data_of(request.param, 2))
    return made


def test_it_is_json(run: Run) -> None:
    shown = evidence(run)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_it_holds_what_the_page_shows(run: Run) -> None:
    shown, judged = evidence(run), run.evaluations["test"]
    task = run.preparation.schema.task
    assert shown["task"] == task
    assert shown["title"] == run.about["source"]
    sure = judged.beats or (False if judged.lost_to else None)
    assert shown["verdict"] == {"text": judged.verdict(), "beats": sure, "notes": list(judged.notes)}
    assert [part["name"] for part in shown["data"]["parts"]] == ["train", "validation", "test"]
    own = "forecasts" if task == "forecast" else "regression" if task == "regress" else "confusion"
    assert {"forecasts", "regression", "confusion", "per_class"} & set(shown) == (
        {"confusion", "per_class"} if own == "confusion" else {own}
    )
    assert shown["curves"]["epoch"] == [1, 2]
    assert shown["curves"]["loss"] == [epoch["loss"] for epoch in run.history]
    assert shown["curves"]["best_epoch"] == run.best_epoch
    assert len(shown["curves"]["validation_loss"]) == 2
    assert ("validation_score" in shown["curves"]) == (own == "confusion")
    scores = shown["scores"]
    assert [row["name"] for row in scores["rows"]] == list(judged.scores)
    assert [row["network"] for row in scores["rows"]] == [True] + [False] * (len(judged.scores) - 1)
    assert scores["primary"] in scores["rows"][0]["values"]
    assert {row["against"]: row["value"] for row in scores["skill"]} == judged.skill
    assert {row["against"]: row["gain"]["low"] for row in scores["skill"]} == {
        name: gain.low if np.isfinite(gain.low) else None for name, gain in judged.gains.items()
    }
    assert [one["target"] for one in scores["targets"]] == (["<load>", "wind"] if task == "forecast" else [])
    assert scores["part"] == "test"


def test_another_part_may_be_shown(run: Run) -> None:
    shown = evidence(run, part="validation", title="A title", command="throughtime train x.csv")
    assert shown["scores"]["part"] == "validation"
    assert shown["verdict"]["text"] == run.evaluations["validation"].verdict()
    assert (shown["title"], shown["command"]) == ("A title", "throughtime train x.csv")
    with pytest.raises(ArgumentError, match=r"part='tset'.*'validation', 'test'\..*Did you mean 'test'"):
        evidence(run, part="tset")


def test_the_page_draws_every_section(run: Run) -> None:
    text = page.render(evidence(run))
    own = {"forecast": "Forecasts and truth", "regress": "Predictions and truth"}.get(
        run.preparation.schema.task, "Where it errs"
    )
    reach = "How far the gradient reaches"
    for heading in ("Against the baselines", own, "How it learned", reach, "In the course of training", "The data"):
        assert heading in text, heading
    assert "SimpleRNN" in text
    assert "<no>" not in text
    assert "<load>" not in text


def test_its_python_is_a_call_of_train_with_the_settings_of_the_run(run: Run) -> None:
    tree = ast.parse(evidence(run)["python"])
    (call,) = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "train")
    given: dict[str, Any] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert given == {name: value for name, value in run.settings.items() if value is not None}
    inspect.signature(train).bind("train", "validation", **given)


@pytest.mark.parametrize(("split", "parts"), [("test=0.0, seed=3", 2), ("test=0, seed=3", 2), ("test=0.05", 3)])
def test_its_python_takes_as_many_parts_as_the_split_gives(run: Run, split: str, parts: int) -> None:
    code = evidence(run, split=split)["python"]
    assigned = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Assign)]
    (taken,) = (n.targets[0] for n in assigned if "data.split" in ast.unparse(n))
    assert len(taken.elts) == parts
    assert ("evaluate(test)" in code) == (parts == 3)


def test_its_python_reads_the_table_where_the_source_is_a_file(run: Run) -> None:
    tree = ast.parse(evidence(run, split="by='sequence', seed=3")["python"])
    calls = {n.func.attr: n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    read = {keyword.arg: ast.literal_eval(keyword.value) for keyword in calls["read_table"].keywords}
    schema = run.preparation.schema
    assert [ast.literal_eval(argument) for argument in calls["read_table"].args] == [run.about["source"]]
    assert read["task"] == schema.task
    assert read["target"] == (schema.target[0] if len(schema.target) == 1 else schema.target)
    assert ("horizon" in read) == (schema.task == "forecast")
    split = {keyword.arg: ast.literal_eval(keyword.value) for keyword in calls["split"].keywords}
    assert split == {"by": "sequence", "seed": 3}
