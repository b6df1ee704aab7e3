"""Text columns as files have them: words for "missing", spaces, codes, sentinels, quotes that are never closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from throughtime.data.missing import Absent
from throughtime.data.sequences import SequenceData
from throughtime.data.spelling import MISSING, decide
from throughtime.data.tables import read_like, read_table
from throughtime.errors import ArgumentError, DataError

KINDS = (".csv", ".parquet", ".feather", "frame")


def source(frame: pd.DataFrame, kind: str, folder: Path) -> Any:
    path = folder / f"table{kind}"
    if kind == ".csv":
        frame.to_csv(path, index=False)
    elif kind == ".parquet":
        frame.to_parquet(path)
    elif kind == ".feather":
        frame.to_feather(path)
    return frame if kind == "frame" else path


def with_words(word: str, seed: int) -> pd.DataFrame:
    """A table of 12 sequences, in whose category one value is a word for "missing"."""
    rng = np.random.default_rng(seed)
    rows = 48
    return pd.DataFrame({
        "s": np.repeat([f"s{i}" for i in range(12)], 4), "x": rng.normal(size=rows).round(3),
        "cat": np.array([word, "Low", "High"], object)[rng.integers(3, size=rows)],
        "y": np.repeat(np.arange(12) % 2 / 2, 4),
    })  # fmt: skip


def levels(data: SequenceData) -> list[str]:
    return [str(level) for level in data.levels[0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["None", "NA", "null", "N/A", "nan"])
def test_a_word_for_missing_is_a_category_where_it_is_said_so(word: str, kind: str, tmp_path: Path) -> None:
    frame = with_words(word, len(word))
    roles: dict[str, Any] = {"target": "y", "sequence": "s", "task": "regress"}
    said = read_table(source(frame, kind, tmp_path), **roles, dtypes={"cat": "category"})
    assert levels(said) == sorted(["High", "Low", word])
    plain = read_table(source(frame, kind, tmp_path), **roles)
    text = kind == ".csv"
    assert levels(plain) == (["High", "Low"] if text else sorted(["High", "Low", word]))
    assert any("'cat'" in note and repr(word) in note for note in plain.notes)
    for other in KINDS:  # what was decided holds for each other file
        for data in (said, plain):
            again = read_like(source(frame, other, tmp_path), data.schema)
            assert levels(again) == levels(data), (kind, other)
            np.testing.assert_array_equal(again.categories, data.categories)


def test_a_class_or_an_id_that_is_a_word_for_missing(tmp_path: Path) -> None:
    frame = with_words("None", 1).assign(label=np.repeat(np.array(["None", "Low", "High"] * 4, object), 4))
    path = source(frame, ".csv", tmp_path)
    with pytest.raises(DataError, match=r"'None' count as missing; dtypes={'label': 'category'} keeps them"):
        read_table(path, target="label", sequence="s", features="x")
    data = read_table(path, target="label", sequence="s", features="x", dtypes={"label": "category"})
    assert data.target is not None and data.target.levels == ("High", "Low", "None")
    ids = source(frame.assign(s=frame.s.replace("s3", "NA")), ".csv", tmp_path)
    with pytest.raises(DataError, match=r"'NA' count as missing; dtypes={'s': 'category'} keeps them"):
        read_table(ids, target="y", sequence="s", features="x", task="regress")
    data = read_table(ids, target="y", sequence="s", features="x", task="regress", dtypes={"s": "category"})
    assert "NA" in data.ids.tolist() and len(data) == 12
    assert "NA" in read_like(ids, data.schema).ids.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_around_values_part_nothing(kind: str, tmp_path: Path) -> None:
    frame = with_words("Mid", 2)
    clean = read_table(source(frame, kind, tmp_path), target="y", sequence="s", task="regress")
    rng = np.random.default_rng(0)
    spaced = frame.copy()
    for name in ("s", "cat"):
        spaced[name] = [f"{' ' * rng.integers(3)}{one}{' ' * rng.integers(3)}" for one in frame[name]]
    data = read_table(source(spaced, kind, tmp_path), target="y", sequence="s", task="regress")
    assert data.ids.tolist() == clean.ids.tolist() and levels(data) == levels(clean)
    np.testing.assert_array_equal(data.categories, clean.categories)
    assert sum("spaces around its values" in note for note in data.notes) == 2
    again = read_like(source(spaced, kind, tmp_path), clean.schema)
    np.testing.assert_array_equal(again.categories, clean.categories)
    kept = read_table(source(spaced, kind, tmp_path), target="y", sequence="s", dtypes={"cat": "category"},
                      task="regress")  # fmt: skip
    assert len(levels(kept)) > 3


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["+4930123456", "+442079460000", "+4930123457"], "begins with a plus sign"),
        (["12E3", "07E2", "33E1"], "looks like codes"),
        (["12E3", "14E2", "33E1"], "looks like codes"),
        (["01234", "90210", "10115"], "leading zeros"),
    ],
)
def test_codes_stay_text_with_a_note(texts: list[str], why: str, tmp_path: Path) -> None:
    frame = with_words("Mid", 3).assign(cat=np.tile(texts, 16))
    for kind in KINDS:
        path = source(frame, kind, tmp_path)
        data = read_table(path, target="y", sequence="s", task="regress")
        assert levels(data) == sorted(texts)
        assert any("'cat' is kept as text" in note and why in note for note in data.notes)
        number = read_table(path, target="y", sequence="s", task="regress", dtypes={"cat": "number"})
        assert set(number.numbers[:, 1]) == {float(text) for text in texts}
        assert levels(read_like(path, data.schema)) == sorted(texts)


def test_numbers_in_scientific_notation_stay_numbers(tmp_path: Path) -> None:
    for texts in (["1.5E3", "2E-4", "5", "1e+20"], ["1e-05", "0.5", "3"], ["+1.5", "+2", "-3"], ["5", "1e3", "2"]):
        values = np.resize(texts, 48)
        frame = with_words("Mid", 4).assign(v=values).drop(columns="cat")
        data = read_table(source(frame, ".csv", tmp_path), target="y", sequence="s", task="regress")
        assert set(data.numbers[:, 1].tolist()) == {float(text) for text in texts}


def test_numbers_that_may_be_names_are_noted(tmp_path: Path) -> None:
    frame = with_words("Mid", 5).assign(zip=90210, PhoneNr=4155550123, amount=7).reset_index()
    frame = frame.rename(columns={"index": "Unnamed: 0"})
    data = read_table(source(frame, ".csv", tmp_path), target="y", sequence="s", task="regress")
    note = next(note for note in data.notes if note.startswith("Read as numbers"))
    assert "'zip', 'PhoneNr';" in note and "dtypes={'zip': 'category'}" in note
    assert "Unnamed: 0" not in data.schema.numbers
    assert any("'Unnamed: 0', which pandas calls so" in note for note in data.notes)
    named = read_table(source(frame, ".csv", tmp_path), target="y", sequence="s", task="regress",
                       features=["Unnamed: 0", "zip"])  # fmt: skip
    assert named.schema.numbers == ("Unnamed: 0", "zip")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sentinel", [-999, -9999.0, -99.9, 9999, 1e20, -32768])
def test_a_sentinel_is_noted_and_taken_as_missing_where_it_is_said_so(
    sentinel: float, kind: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    frame = with_words("Mid", 6)
    frame["x"] = rng.uniform(-3, 30, 48).round(2)
    gone = rng.random(48) < 0.2
    frame.loc[gone, "x"] = sentinel
    roles: dict[str, Any] = {"target": "y", "sequence": "s", "task": "regress"}
    data = read_table(source(frame, kind, tmp_path), **roles)
    assert any(f"'x' holds {sentinel:g} in {gone.sum()} rows" in note and "na_values" in note for note in data.notes)
    mended = read_table(source(frame, kind, tmp_path), **roles, na_values=sentinel)
    np.testing.assert_array_equal(np.isnan(mended.numbers[:, 0]), gone)
    assert not any("na_values" in note for note in mended.notes)
    for other in KINDS:
        again = read_like(source(frame, other, tmp_path), mended.schema)
        np.testing.assert_array_equal(np.isnan(again.numbers[:, 0]), gone)


def test_numbers_that_are_no_sentinels_are_not_noted(tmp_path: Path) -> None:
    for values in (np.arange(-999, -951), np.arange(9952, 10_000), np.linspace(-99, 99, 48), np.arange(952, 1000)):
        frame = with_words("Mid", 7).assign(x=values)
        data = read_table(source(frame, ".csv", tmp_path), target="y", sequence="s", task="regress")
        assert not any("na_values" in note for note in data.notes)


def test_what_is_missing_may_be_a_text_in_any_column(tmp_path: Path) -> None:
    frame = with_words("no data", 8)
    frame["v"] = np.where(frame.cat == "no data", "no data", frame.x.astype(str))
    for kind in KINDS:
        data = read_table(source(frame, kind, tmp_path), target="y", sequence="s", task="regress", na_values="no data")
        assert levels(data) == ["High", "Low"] and data.schema.numbers == ("x", "v")
        np.testing.assert_array_equal(np.isnan(data.numbers[:, 1]), frame.cat == "no data")
    words: Any = [None]
    with pytest.raises(ArgumentError, match="na_values holds None"):
        read_table(frame, target="y", na_values=words)
    assert not Absent.of(["5"]).has(True) and Absent.of(["5"]).has("5.0") and not Absent.of(["x"]).has(5)
    assert not Absent.of([-999]).has(np.array([-999.0, 1.0]))


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1.036,-", "12,50", "7,-"], [1036.0, 12.5, 7.0]),
        (["1'234.-", "5.50", "6.--"], [1234.0, 5.5, 6.0]),
        (["CHF 12.-", "CHF 3.50"], [12.0, 3.5]),
        (["12,\u2013 \u20ac", "3,50 \u20ac"], [12.0, 3.5]),
        (["12.5-", "3.5", "7-"], [-12.5, 3.5, -7.0]),
        (["5", "\\N", "6"], [5.0, None, 6.0]),
        (["5", "\u2013", "6"], [5.0, None, 6.0]),
    ],
)
def test_a_dash_in_the_place_of_cents_is_no_minus(texts: list[str], values: list[float | None]) -> None:
    import pyarrow as pa

    verdict = decide(pa.array(texts))
    assert verdict.kind == "numbers" and verdict.values is not None
    assert verdict.values.to_pylist() == values
    if -7.0 in values:
        assert "a minus sign behind" in verdict.said
    assert "\\N" in MISSING


def rows_of(seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(3, size=int(rng.integers(2, 6)))
    kinds[rng.integers(len(kinds))] = 0
    return [
        [f"{rng.normal():.3f}" if kind == 0 else f"2024-01-{1 + i % 28:02}" if kind == 1 else f"w{rng.integers(4)}"
         for kind in kinds] for i in range(30)
    ]  # fmt: skip


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for seed in range(150):
        rng = np.random.default_rng(seed)
        rows = rows_of(seed)
        width, row, column = len(rows[0]), int(rng.integers(25)), int(rng.integers(len(rows[0])))
        closes = [None, *range(row + 1, 30)][int(rng.integers(30 - row))]
        rows[row][column] = f'"{rows[row][column]}'
        if closes is not None:  # the next quote, in any column
            other = int(rng.integers(width))
            rows[closes][other] = f'"{rows[closes][other]}"'
        end = ["\n", "\r\n"][seed % 2]
        header = ",".join(f"c{i}" for i in range(width))
        path.write_text(end.join([header, *(",".join(one) for one in rows)]) + end, newline="")
        with pytest.raises(DataError) as caught:
            read_table(path, target="c0", task="regress", features=[f"c{i}" for i in range(1, width)])
        assert f"line {row + 2}" in str(caught.value) or "never closed" in str(caught.value), (seed, str(caught.value))


def test_values_of_several_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for seed in range(100):
        rng = np.random.default_rng(seed)
        words = ["Hello, world", "5 kg, or 6", "line", "", "a;b", 'said ""no""', "1", "2024-01-01"]
        texts = ["\n".join(rng.choice(words, int(rng.integers(1, 5)))) for _ in range(40)]
        lines = [f'{i},"{text}",{i % 5}.5' for i, text in enumerate(texts)]
        path.write_text("\n".join(["at,note,y", *lines]) + "\n")
        data = read_table(path, target="y", time="at", task="regress", features="note")
        assert data.steps == 40, seed
