"""Tables and expectations that the tests of reading share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from throughtime.data.sequences import SequenceData

# Sequences "b" and "a" interleaved, each out of order in time; "b" appears first.
LONG = {
    "who": ["b", "a", "b", "a", "b"],
    "at": [3, 2, 1, 1, 2],
    "x": [1.5, 2.5, None, 4.5, 5.5],
    "word": ["hot", "cold", "hot", None, "mild"],
    "on": [True, False, None, True, False],
    "y": [7, 9, 7, 9, 7],
}
ROLES = {"sequence": "who", "time": "at", "target": "y"}


def frames(columns):
    return [pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns)]


def csv(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def refused(kind, *words):
    """A context that expects one line with all these words."""
    pattern = r"\A(?=[^\n]*\Z)" + "".join(f"(?=.*{re.escape(word)})" for word in words)
    return pytest.raises(kind, match=pattern)


def same(a: SequenceData, b: SequenceData) -> None:
    for name in ("offsets", "numbers", "categories", "ids"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.time is None) == (b.time is None)
    if a.time is not None:
        assert a.time.dtype == b.time.dtype
        np.testing.assert_array_equal(a.time, b.time)
    assert (a.schema, a.forecast, a.levels) == (b.schema, b.forecast, b.levels)
    assert a.numbers.dtype == b.numbers.dtype
    assert (a.target is None) == (b.target is None)
    if a.target is not None:
        assert (a.target.names, a.target.kind, a.target.per) == (b.target.names, b.target.kind, b.target.per)
        assert a.target.levels == b.target.levels
        assert [type(level) for level in a.target.levels] == [type(level) for level in b.target.levels]
        np.testing.assert_array_equal(a.target.values, b.target.values)


def one(values, type=None, name="x"):
    """A table of two sequences with the given column as its input."""
    half = len(values) // 2
    owner = [0] * half + [1] * (len(values) - half)
    return pa.table({"s": owner, name: pa.array(values, type), "y": [f"c{o}" for o in owner]})
