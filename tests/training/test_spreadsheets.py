"""Predictions for a spreadsheet: texts that it would compute are texts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from throughtime.data.sequences import Schema
from throughtime.errors import ArgumentError
from throughtime.training.predictions import Predictions

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "=", "'=1", " =1", "a=1", "", "x", "-", "1-1", "a\n=1"]


def test_for_spreadsheets_no_text_begins_a_formula(tmp_path: Path) -> None:
    schema = Schema(task="classify", target=("y",), sequence="=id", numbers=("x",))
    labels = np.array(FORMULAS, object)
    probabilities = np.full((len(labels), 2), -0.5)
    found = Predictions(schema=schema, values=labels, ids=labels, probabilities=probabilities, classes=("=a", "b"))

    def cells(name: str, asked: bool) -> list[list[str]]:
        with found.write(tmp_path / name, for_spreadsheet=asked).open(newline="") as file:
            return list(csv.reader(file))

    plain, safe = cells("plain.csv", False), cells("safe.csv", True)
    assert plain[0] == ["=id", "prediction", "probability_=a", "probability_b"]
    assert safe[0] == ["'=id", *plain[0][1:]]
    for row, other, text in zip(plain[1:], safe[1:], FORMULAS, strict=True):
        assert row == [text, text, "-0.5", "-0.5"], "without the wish every text is as it was"
        # An oracle of its own: the characters that OWASP names.
        expected = f"'{text}" if text and ord(text[0]) in (61, 43, 45, 64, 9, 13, 10) else text
        assert other == [expected, expected, "-0.5", "-0.5"], "numbers are no texts"
    with pytest.raises(ArgumentError, match=r"a\.parquet holds no formulas"):
        found.write(tmp_path / "a.parquet", for_spreadsheet=True)
