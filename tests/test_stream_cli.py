"""``throughtime stream DIR``: rows come in at the standard input, predictions go out, one line says what is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from throughtime import cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str, given: str = "") -> int:
    monkeypatch.setattr(sys, "argv", ["throughtime", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode(errors="surrogateescape"))))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


@pytest.mark.backend
def test_a_run_answers_line_by_line_as_predict_does(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=160)
    names, step = np.repeat(["u", "v", "w", "z"], 40), np.tile(np.arange(40), 4)
    table = pa.table({"who": names, "at": step, "x": x, "y": np.cumsum(x) * 10})
    pyarrow.parquet.write_table(table, "table.parquet")
    roles = ["--target", "y", "--sequence", "who", "--time", "at", "--epochs", "2", "--units", "4", "--quiet"]
    assert call(monkeypatch, "train", "table.parquet", *roles) == 0
    capfd.readouterr()
    new = table.drop_columns(["y"]).slice(0, 40)
    pyarrow.parquet.write_table(new, "new.parquet")
    assert call(monkeypatch, "predict", "runs/table", "new.parquet") == 0
    expected = capfd.readouterr().out.strip().splitlines()

    lines = "who,at,x\n" + "".join(f"{row['who']},{row['at']},{row['x']!r}\n" for row in new.to_pylist())
    assert call(monkeypatch, "stream", "runs/table", given=lines) == 0
    found = capfd.readouterr().out.strip().splitlines()
    assert found[0] == expected[0] == '"who","at","prediction"'
    assert len(found) == len(expected) == 41
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.split(",")[0] == other.split(",")[0]
        assert float(one.split(",")[2]) == pytest.approx(float(other.split(",")[2]), rel=1e-5, abs=1e-5)

    assert (
        call(monkeypatch, "stream", "runs/table", given="".join(json.dumps(row) + "\n" for row in new.to_pylist())) == 0
    )
    objects = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["at"] for one in objects] == list(range(40))
    assert objects[-1]["prediction"] == pytest.approx(float(expected[-1].split(",")[2]), rel=1e-5, abs=1e-5)

    assert call(monkeypatch, "stream", "runs/table", given="who,at\nu,1\n") == 2
    assert capfd.readouterr().err.startswith("error: the header has no column 'x'")
    assert call(monkeypatch, "stream", "nowhere", given=lines) == 2
    assert "nowhere is not a directory" in capfd.readouterr().err


def test_it_says_when_forecasts_begin(tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    pyarrow.parquet.write_table(pa.table({"t": np.arange(80), "y": np.sin(np.arange(80) / 3)}), "table.parquet")
    roles = ["--task", "forecast", "--target", "y", "--time", "t", "--window", "6", "--horizon", "2"]
    assert call(monkeypatch, "train", "table.parquet", *roles, "--epochs", "1", "--units", "2", "--quiet") == 0
    capfd.readouterr()
    lines = "t,y\n" + "".join(f"{row},{row / 7}\n" for row in range(6))
    assert call(monkeypatch, "stream", "runs/table", given=lines) == 0
    shown = capfd.readouterr()
    assert "forecasts of a sequence begin with its row 6" in shown.err
    assert len(shown.out.splitlines()) == 3 and shown.out.splitlines()[1].startswith("5,1,")


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> pa.Table:
    """A tagger of two sequences with a category, in runs/table."""
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    table = pa.table({
        "who": np.repeat(["u", "v", "w"], 20), "at": np.tile(np.arange(20), 3), "x": x,
        "shop": rng.choice(["n", "s"], 60), "y": np.where(x > 0, "up", "down"),
    })  # fmt: skip
    pyarrow.parquet.write_table(table, "table.parquet")
    roles = ["--target", "y", "--sequence", "who", "--time", "at", "--task", "tag", "--epochs", "1", "--units", "4"]
    assert call(monkeypatch, "train", "table.parquet", *roles, "--quiet", *options) == 0
    return table


def test_a_causal_tagger_is_streamed_and_another_one_says_how(tmp_path: Path, monkeypatch, capfd) -> None:
    trained(tmp_path, monkeypatch)
    assert call(monkeypatch, "stream", "runs/table", given="who,at,x,shop\nu,1,1,n\n") == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert "train with causal=True (--causal on the command line)" in said

    table = trained(tmp_path, monkeypatch, "--causal")
    assert json.loads(Path("runs/table-2/run.json").read_text())["settings"]["causal"] is True
    capfd.readouterr()
    lines = "\ufeffwho;at;x;shop\r\n" + "".join(
        f"{row['who']};{row['at']};{row['x']!r};{'new' if place < 2 else row['shop']}\r\n"
        for place, row in enumerate(table.to_pylist())
    )
    Path("new.csv").write_text(lines, newline="")
    assert call(monkeypatch, "predict", "runs/table-2", "new.csv") == 0
    expected = capfd.readouterr()
    assert call(monkeypatch, "stream", "runs/table-2", given=lines) == 0
    found = capfd.readouterr()
    one, other = (list(csv.DictReader(io.StringIO(text))) for text in (found.out, expected.out))
    assert [(row["who"], row["at"], row["prediction"]) for row in one] == [
        (row["who"], row["at"], row["prediction"]) for row in other
    ]
    for shown in (found.err, expected.err):
        (note,) = [line for line in shown.splitlines() if line.startswith("note: ")]
        assert "column 'shop' has 2 rows of 60 with values that the training part does not have" in note
        assert "'new'; they are all read as one unknown value" in note


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "the input is empty: there is no row of column names."),
        ("who,at,x,shop\n", "the input is empty: there is no row to predict."),
        ("who,at,x,shop,x\nu,1,1,n,2\n", "line 1, the header, has more than one column named 'x'; rename them."),
        ("Who,at,x,shop\nu,1,1,n\n", "the header has no column 'who', the run's sequence column. Did you mean 'Who'?"),
        ("who,at,x,shop\nu,1,1,\udce4\n", "line 2 is not UTF-8 text"),
        ('{"who": [1], "at": 1, "x": 1, "shop": "n"}\n', "line 1 has list in column 'who'"),
    ],
)
def test_what_cannot_be_streamed_is_said_in_a_line(
    given: str, message: str, tmp_path: Path, monkeypatch, capfd
) -> None:
    trained(tmp_path, monkeypatch, "--causal")
    capfd.readouterr()
    assert call(monkeypatch, "stream", "runs/table", given=given) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"error: {message}")


@pytest.mark.thorough
def test_each_answer_is_there_before_the_next_row_comes(tmp_path: Path, monkeypatch) -> None:
    """A pipe that is held open: what was written to it is answered."""
    trained(tmp_path, monkeypatch, "--causal")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [sys.executable, "-m", "throughtime", "stream", "runs/table"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1, env=environment,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("who,at,x,shop\n")
        for at in range(3):
            process.stdin.write(f"u,{at},{at / 3},n\n")
            process.stdin.flush()
            lines = [process.stdout.readline() for _ in range(2 if at == 0 else 1)]
            assert lines[-1].startswith(f'"u",{at},')
        process.stdin.close()
        assert process.wait() == 0
