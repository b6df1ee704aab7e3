"""``throughtime stream DIR``: rows come in at the standard input, predictions go out, one line says what is wrong."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from throughtime import cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str, given: str = "") -> int:
    monkeypatch.setattr(sys, "argv", ["throughtime", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
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
    assert capfd.readouterr().err.startswith("error: line 2 has no column 'x'")
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
