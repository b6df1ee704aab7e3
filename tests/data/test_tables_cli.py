"""The command line reads tables as people have them: its options, and what a run remembers of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from throughtime import cli

QUICK = ["--epochs", "1", "--units", "2", "--quiet", "--window", "3", "--horizon", "1"]


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["throughtime", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


def german(rows, start=0):
    """A table as a German program writes it: a line above, Latin letters, decimal commas, codes, split times."""
    rng = np.random.default_rng(start)
    lines = ["Bericht über März", "Datum;Zeit;Wärme °C;PLZ;Kürzel;y"]
    for i in range(start, start + rows):
        value = f"{1000 + 300 * np.sin(i / 3) + rng.normal():,.2f}".translate(str.maketrans(",.", ".,"))
        lines.append(f"2024-03-{1 + i // 24:02d};{i % 24:02d}:00;{value};0{1000 + i % 3};ü{i % 2};{i % 5},25 €")
    return "\n".join(lines) + "\n"


@pytest.mark.backend
def test_a_run_reads_the_next_table_as_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_bytes(german(200).encode("cp1252"))
    roles = ["--target", "y", "--time", "Datum,Zeit", *QUICK]
    assert call(monkeypatch, "train", "a.csv", *roles) == 2
    assert "--encoding cp1252" in capsys.readouterr().err
    assert call(monkeypatch, "train", "a.csv", *roles, "--encoding", "cp1252") == 2
    assert "--skip 1" in capsys.readouterr().err
    options = ["--encoding", "cp1252", "--skip", "1", "--dtypes", "PLZ=number", "--out", "run"]
    assert call(monkeypatch, "train", "a.csv", *roles, *options) == 0
    capsys.readouterr()
    (tmp_path / "b.csv").write_bytes(german(40, start=200).encode("cp1252"))
    plain = german(40, start=200).replace(".", "").replace(",", ".").replace(" €", "")
    (tmp_path / "plain.csv").write_text(plain, encoding="utf-8")
    assert call(monkeypatch, "predict", "run", "b.csv") == 0
    first = capsys.readouterr().out
    assert "2024-03-11" in first
    assert call(monkeypatch, "predict", "run", "plain.csv") == 0
    printed = capsys.readouterr()
    assert printed.out == first
    assert "note: Column 'y' of plain.csv is written with decimal points" in printed.err
    for wrong in ("PLZ", "=number", "PLZ=zip"):
        assert (
            call(monkeypatch, "train", "a.csv", *roles, "--encoding", "cp1252", "--skip", "1", "--dtypes", wrong) == 2
        )
        assert "error: " in capsys.readouterr().err
