"""``stream`` is ``predict``: on the same file both give the same answers, or both refuse it.

A stream may refuse in one line what a whole file settles; it never answers what ``predict`` refuses, nor differently.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutated_tables import Grid, mutated, text_of
from test_lines import rows_of, run_of

from throughtime.data.tables import read_like
from throughtime.errors import ThroughtimeError
from throughtime.stream.lines import answer_pieces, written
from throughtime.stream.records import pieces_of
from throughtime.training.networks import build_network
from throughtime.training.predictions import write_table
from throughtime.training.run import Run

TOLERANCE = {"rel": 1e-4, "abs": 1e-4}  # a stream computes in NumPy; targets are of size 50


def causal(examples: Any) -> Any:
    run = run_of("classify")
    return build_network(run.preparation, examples, units=4, cell="gru", depth=2, causal=True)


def run_for(kind: str) -> Run:
    if kind == "classify":
        return run_of("classify", causal)
    return run_of("forecast", horizon=2, window=3) if kind == "forecast" else run_of("steps")


def grid_of(kind: str, *, dates: bool = False, seed: int = 5) -> Grid:
    """A table as cells of text."""
    table = rows_of(kind, seed)
    rows = [["" if value is None else str(value) for value in row.values()] for row in table.to_pylist()]
    grid = [table.column_names, *rows]
    if dates:
        place = grid[0].index("day")
        for row in grid[1:]:
            row[place] = str(np.datetime64("2024-03-09") + int(row[place]))
    if kind != "forecast":
        for name in ("label", "load", "rain"):
            if name in grid[0]:
                place = grid[0].index(name)
                for row in grid:
                    del row[place]
    return grid


class Slow(io.BytesIO):
    """A pipe that gives some bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self._size)


Answers = dict[tuple[str, ...], dict[str, float]]


def collected(kind: str, rows: Iterable[dict[str, Any]]) -> Answers:
    """Numbers by sequence and step: of a stream that answers once a sequence, or forecasts, the last ones."""
    found: Answers = {}
    steps: Counter[str] = Counter()
    for row in rows:
        who = str(row.get("who", ""))
        steps[who] += 1
        step = steps[who] if kind == "steps" else row.get("step_ahead", "")
        found[who, str(step)] = {name: float(row[name]) for name in row if name.startswith(("prediction_", "prob"))}
    return found


def rows_in(text: str) -> Iterable[dict[str, Any]]:
    return csv.DictReader(io.StringIO(text, newline=""))


def predicted(kind: str, run: Run, data: bytes, folder: Path) -> Answers | str:
    path = folder / "rows.csv"
    path.write_bytes(data)
    try:
        given = read_like(path, run.preparation.schema, run.preparation.forecast, per=run.preparation.per)
        made = run.predict(given).table()
    except ThroughtimeError as error:
        return str(error)
    out = io.BytesIO()
    write_table(made, out, ".csv")
    return collected(kind, rows_in(out.getvalue().decode()))


def streamed(kind: str, run: Run, data: bytes, size: int) -> Answers | str:
    parts, header, as_json = [], True, False
    try:
        for table, as_json in answer_pieces(run, pieces_of(Slow(data, size))):
            parts.append(written(table, as_json=as_json, header=header))
            header = False
    except ThroughtimeError as error:
        return str(error)
    text = b"".join(parts).decode()
    return collected(kind, map(json.loads, text.splitlines()) if as_json else rows_in(text))


def judge(kind: str, run: Run, data: bytes, folder: Path, sizes: tuple[int, ...]) -> str:
    """ "equal", "refused" by both, or "stream refuses"; anything else fails."""
    expected = predicted(kind, run, data, folder)
    if isinstance(expected, str) and "observed steps, and the network looks back" in expected:
        return "too short"  # a stream has no forecast of that series, and those of the others
    verdicts = set()
    for size in sizes:
        found = streamed(kind, run, data, size)
        assert not isinstance(found, str) or (found and "\n" not in found), found
        if isinstance(expected, str):
            assert isinstance(found, str), f"predict: {expected}\n{data[:600]!r}"
            verdicts.add("refused")
        elif isinstance(found, str):
            verdicts.add(f"stream refuses: {found}")
        else:
            assert found.keys() == expected.keys(), f"{found.keys() ^ expected.keys()}\n{data[:600]!r}"
            for key, values in expected.items():
                assert found[key] == pytest.approx(values, **TOLERANCE), f"{key}\n{data[:600]!r}"
            verdicts.add("equal")
    assert len({verdict[:14] for verdict in verdicts}) == 1, verdicts
    return verdicts.pop()


def fuzz(kind: str, count: int, folder: Path, *, seed: int) -> Counter[str]:
    run, rng = run_for(kind), np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for number in range(count):
        grid = grid_of(kind, dates=bool(number % 2))
        if rng.random() < 0.8:
            grid = grid[: int(rng.integers(8, len(grid) + 1))] if kind != "forecast" else grid
        data = mutated(grid, rng)
        sizes = (1 << 16,) if rng.random() < 0.7 else (1 << 16, int(rng.integers(1, 200)))
        verdict = judge(kind, run, data, folder, sizes)
        found[verdict] += 1
    return found


def json_lines(grid: Grid, rng: np.random.Generator) -> bytes:
    """The same rows as objects: numbers as numbers or as text, nothing as null or as an empty text."""
    lines = []
    for row in grid[1:]:
        one: dict[str, Any] = {}
        for name, text in zip(grid[0], row, strict=True):
            one[name] = text
            if rng.random() < 0.7 and name not in ("who", "shop"):
                one[name] = (
                    {"True": True, "False": False, "": None}.get(text) if text in ("True", "False", "") else text
                )
                if text.replace(".", "", 1).isdigit():
                    one[name] = json.loads(text) if text == "0" or not text.startswith("0") or "." in text else text
        lines.append(json.dumps(one))
    return "\n".join(lines).encode() + b"\n"


PIECES = (
    b"[" * 20_000, b"9" * 5000, b"1e999", b'{"a": ' * 300, b"NaN", b"Infinity", b"-", b"null", b"[1]", b'{"a": 1}',
    b"true",
    b'"\\ud800"', b"\xe4", b"\0", b'"', b",", b"\n", b"}", b"{", b"\\", b'"x": 1, ', b'"who": "a", ', b"\xef\xbb\xbf",
    b"1e-999",
    b'"' + b"x" * 200_000 + b'"', b"12345678901234567890123", b"//", b"'",
)  # fmt: skip


def mutated_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Objects with pieces put in, taken out, or in place of values."""
    for _ in range(int(rng.integers(1, 3))):
        kind, piece = rng.integers(4), PIECES[int(rng.integers(len(PIECES)))]
        at = int(rng.integers(len(data)))
        if kind == 0:
            data = data[:at] + piece + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + int(rng.integers(1, 12)) :]
        elif kind == 2:
            lines = data.split(b"\n")
            lines.insert(int(rng.integers(len(lines))), piece)
            data = b"\n".join(lines)
        else:  # in place of a value
            starts = [match.end() for match in re.finditer(rb": ", data)]
            if starts:
                start = starts[int(rng.integers(len(starts)))]
                ends = re.compile(rb'"(?:[^"\\\\]|\\\\.)*"|[^,}\s]+').match(data, start)
                data = data[:start] + piece + data[ends.end() if ends else start :]
    return data


def fuzz_json(kind: str, count: int, folder: Path, *, seed: int) -> dict[str, int]:
    """Objects as they are have to be answered as a file of the same rows is; mutated, they are answered or refused."""
    run, rng = run_for(kind), np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for number in range(count):
        grid = grid_of(kind, dates=bool(number % 2))
        plain = json_lines(grid, rng)
        if number % 10 == 0:
            expected, made = predicted(kind, run, text_of(grid), folder), streamed(kind, run, plain, 1 << 16)
            assert isinstance(expected, dict) and isinstance(made, dict) and made.keys() == expected.keys()
            for key, values in expected.items():
                assert made[key] == pytest.approx(values, **TOLERANCE)
            found["equal"] += 1
        else:
            data = mutated_json(plain, rng)
            made = streamed(kind, run, data, 1 << 16)
            assert isinstance(made, dict) or (made and "\n" not in made), made
            assert isinstance(made, str) or all(np.isfinite(list(one.values())).all() for one in made.values())
            found["refused" if isinstance(made, str) else "answered"] += 1
    return {"tried": found.total(), **found}


def summed(found: Counter[str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for verdict, count in found.items():
        total[verdict.partition(":")[0]] += count
    return {"tried": found.total(), **total}


@pytest.mark.parametrize("kind", ["steps", "classify", "forecast"])
@pytest.mark.parametrize("dates", [False, True])
def test_a_whole_table_is_answered_alike_however_it_comes(kind: str, dates: bool, tmp_path: Path) -> None:
    run, grid = run_for(kind), grid_of(kind, dates=dates)
    for options in ({}, {"end": "\r\n"}, {"delimiter": ";"}, {"quoting": csv.QUOTE_ALL}):
        assert judge(kind, run, text_of(grid, **options), tmp_path, (1 << 16, 97)) == "equal"
    assert judge(kind, run, b"\xef\xbb\xbf" + text_of(grid), tmp_path, (1 << 16, 1)) == "equal"


@pytest.mark.parametrize("kind", ["steps", "classify", "forecast"])
def test_mutated_tables_are_answered_as_predict_does_or_refused(kind: str, tmp_path: Path) -> None:
    found = summed(fuzz(kind, 12, tmp_path, seed=0))
    assert found["equal"] > 2


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["steps", "classify", "forecast"])
def test_hundreds_of_mutated_tables_are_answered_as_predict_does_or_refused(kind: str, tmp_path: Path) -> None:
    found = fuzz(kind, 300, tmp_path, seed=1)
    print(kind, summed(found))
    print(*(f"{count} {verdict}" for verdict, count in found.most_common() if verdict.startswith("stream")), sep="\n")
    assert summed(found)["stream refuses"] < 30 and summed(found)["equal"] > 60


@pytest.mark.parametrize("kind", ["steps", "classify", "forecast"])
def test_mutated_json_lines_are_answered_or_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    found = fuzz_json(kind, 12, tmp_path, seed=0)
    assert found["equal"] == 2 and found["refused"] > 2


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["steps", "classify", "forecast"])
def test_hundreds_of_mutated_json_lines_are_answered_or_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    found = fuzz_json(kind, 300, tmp_path, seed=1)
    print(kind, found)
    assert found["equal"] == 30 and found["refused"] > 100
