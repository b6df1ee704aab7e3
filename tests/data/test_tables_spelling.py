"""Numbers as people write them: any spelling, delimiter, quoting and encoding gives the numbers, or one line."""

from __future__ import annotations

import csv as python_csv
import io
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_cases import csv, refused

from throughtime.data import columns as col
from throughtime.data.sequences import Forecast, Schema
from throughtime.data.spelling import MARKS, Spelling
from throughtime.data.tables import read_like, read_table
from throughtime.errors import DataError

POINT = ".,", ". ", ".\u00a0", ".\u202f", ".\u2009", ".'", ".\u2019", "."
COMMA = ",.", ", ", ",\u00a0", ",\u202f", ",'", ","
MINUS = ("-{}", "\u2212{}", "({})", "{}-", "- {}")
UNITS = ("{}", "{}", "{}", "${}", "\u20ac {}", "{} \u20ac", "USD {}", "{}%", "{} %", "{} kg", "{} \u00b0C", "kr. {}")


@dataclass(frozen=True)
class Column:
    """What a column holds, and how it is written."""

    values: list[Decimal | None]
    texts: list[str]
    marks: str


def group(digits: str, mark: str, indian: bool) -> str:
    """1234567 as 1,234,567, or 12,34,567."""
    head, tail = digits[:-3], digits[-3:]
    size, parts = (2 if indian else 3), [tail]
    while head:
        head, part = head[:-size], head[-size:]
        parts.insert(0, part)
    return mark.join(parts)


def write(value: Decimal | None, *, marks: str, places: int, indian: bool, minus: str, unit: str, missing: str) -> str:
    if value is None:
        return missing
    whole, _, fraction = f"{abs(value):.{places}f}".partition(".")
    text = group(whole, marks[1], indian) if len(marks) > 1 else whole
    text = unit.format(text + (marks[0] + fraction if fraction else ""))
    return minus.format(text) if value < 0 else text


@st.composite
def written(draw, size=12):
    places = draw(st.integers(0, 5))
    numbers = st.integers(-(10**9), 10**9) | st.integers(-5000, 5000)
    values = draw(st.lists(st.none() | numbers, min_size=size, max_size=size).filter(lambda xs: xs.count(None) < size))
    values = [None if value is None else Decimal(value).scaleb(-places) for value in values]
    how = {
        "marks": draw(st.sampled_from((*POINT, *COMMA))),
        "places": places,
        "indian": draw(st.booleans()),
        "minus": draw(st.sampled_from(MINUS)),
        "unit": draw(st.sampled_from(UNITS)),
        "missing": draw(st.sampled_from(["", "NA", "-", "n.a.", "#DIV/0!"])),
    }
    if how["marks"][1:] != ",":
        how["indian"] = False
    return Column(values, [write(value, **how) for value in values], how["marks"])


def certain(column: Column) -> bool:
    """Whether no other reading of the texts is possible, since no fraction has three digits."""
    bare = [text for text in column.texts if any(map(str.isdigit, text))]
    fractions = {len(text.rpartition(column.marks[0])[2].rstrip("-)% kgCUSD\u20ac\u00b0")) for text in bare}
    return all(column.marks[0] in text for text in bare) and not fractions & {3}


@settings(max_examples=120)
@given(
    written(),
    st.sampled_from(",;\t|"),
    st.sampled_from([python_csv.QUOTE_ALL, python_csv.QUOTE_MINIMAL]),
    st.sampled_from([("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("utf-16-le", "utf-16-le"),
                     ("cp1252", "cp1252"), ("utf-32", None)]),
)  # fmt: skip
def test_every_spelling_gives_the_numbers_or_one_line(column, delimiter, quoting, encoding):
    codec, given_encoding = encoding
    text = io.StringIO()
    writer = python_csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\r\n")
    writer.writerows([["n", "x", "y"], *([i, one, i % 5] for i, one in enumerate(column.texts))])
    expected = [np.nan if value is None else float(value) for value in column.values]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        try:
            path.write_bytes(text.getvalue().encode(codec))
        except UnicodeEncodeError:
            path.write_bytes(text.getvalue().encode())
            given_encoding = None
        try:
            data = read_table(path, target="y", horizon=1, encoding=given_encoding)
        except DataError as error:
            said = str(error)
            assert not certain(column), said
            assert all(word in said for word in ("'x'", "dtypes=")), said
            return
        assert data.schema.numbers == ("n", "x"), column.texts
        found = data.numbers[:, 1]
        noted = any("'x'" in note and "decimal" in note for note in data.notes)
        if certain(column) or not noted:
            np.testing.assert_array_equal(found, expected)
        again = read_like(path, data.schema, data.forecast)
        np.testing.assert_array_equal(again.numbers, data.numbers)


@settings(max_examples=40)
@given(written())
def test_frames_of_text_hold_the_same_numbers_as_a_file_of_it(column):
    frames = [pd.DataFrame({"x": column.texts}), pl.DataFrame({"x": column.texts}), pa.table({"x": column.texts})]
    with tempfile.TemporaryDirectory() as folder:
        text = io.StringIO()
        python_csv.writer(text, delimiter=";").writerows(
            [["x", "y"], *([one, i] for i, one in enumerate(column.texts))]
        )
        (Path(folder) / "t.csv").write_text(text.getvalue(), encoding="utf-8")
        read = []
        for source in (Path(folder) / "t.csv", *(_with_target(frame) for frame in frames)):
            try:
                read.append(read_table(source, target="y", horizon=1).numbers[:, 0].tolist())
            except DataError as error:
                read.append(str(error).partition("which is")[2])
    for one in read[1:]:
        np.testing.assert_array_equal(one, read[0])


def _with_target(frame):
    y = list(range(12))
    if isinstance(frame, pa.Table):
        return frame.append_column("y", pa.array(y))
    return frame.assign(y=y) if isinstance(frame, pd.DataFrame) else frame.with_columns(y=pl.Series(y))


@settings(max_examples=60)
@given(written(size=1), st.sampled_from(MARKS), st.sampled_from(["", "$", "\u20ac", "%", "kg"]))
def test_one_value_is_read_as_a_column_of_it(column, marks, unit):
    code = Spelling(*marks, unit).code
    for text in (*column.texts, "true", " 5", "1e5", "abc", "1.5", "1,5"):
        try:
            expected = col.numbers(pa.array([text]), code, name="x").tolist()
        except DataError:
            with pytest.raises(DataError, match="'x'"):
                col.number(text, code, name="x")
        else:
            np.testing.assert_array_equal([col.number(text, code, name="x")], expected)


# -- what is decided, and said -----------------------------------------------------------------------------------


def column(tmp_path, values, *, other=(), **arguments):
    """One column "x" of a file, beside a target and further columns."""
    text = io.StringIO()
    names = ["x", "y", *(f"o{i}" for i in range(len(other)))]
    rows = [[value, i % 7, *(one[i % len(one)] for one in other)] for i, value in enumerate(values)]
    python_csv.writer(text).writerows([names, *rows])
    return read_table(csv(tmp_path, text.getvalue()), target="y", horizon=1, **arguments)


@pytest.mark.parametrize(
    ("texts", "expected", "words"),
    [
        (["$1,234.50", "$5"], [1234.5, 5], ("'$' beside them",)),
        (["12%", "-0.5%", "0"], [12, -0.5, 0], ("12% is 12",)),
        (["12.3M", "850K", "1.1B"], [12.3e6, 850e3, 1.1e9], ("thousand, million, billion",)),
        (["3 Mio. €", "2,5 Mrd. €"], [3e6, 2.5e9], ("million, billion", "comma as the decimal mark")),
        (["(1,234.5)", "7"], [-1234.5, 7], ("brackets",)),
        (["1,234.5-", "7"], [-1234.5, 7], ()),
        (["0,53", "1,2"], [0.53, 1.2], ("comma as the decimal mark",)),
        (["12,34,567.8", "1"], [1234567.8, 1], ("between thousands",)),
        (["5 km/h", "7 km/h"], [5, 7], ("'km/h'",)),
        (["Rs.500", "Rs.1,500.5"], [500, 1500.5], ("'Rs.'",)),
        (["+5", "-7"], [5, -7], ()),
        (["1.5e3 W", "2 W"], [1500, 2], ("'W'",)),
        ([" 1.5", "2 ", "\u00a03"], [1.5, 2, 3], ()),
        (["inf", "-inf", "1.5"], [np.inf, -np.inf, 1.5], ()),
    ],
)
def test_spellings_and_what_is_said_of_them(tmp_path, texts, expected, words):
    data = column(tmp_path, texts)
    np.testing.assert_array_equal(data.numbers[:, 0], expected)
    notes = " ".join(data.notes)
    assert all(word in notes for word in words), notes


def test_words_for_missing_among_numbers_are_named(tmp_path):
    data = column(tmp_path, ["1.5", "-", "n.a.", "NA", "", "2"])
    np.testing.assert_array_equal(data.numbers[:, 0], [1.5, np.nan, np.nan, np.nan, np.nan, 2])
    assert any("'-', 'n.a.' taken as missing" in note for note in data.notes)
    assert column(tmp_path, ["a", "-", "b"]).levels == (("-", "a", "b"),)


def test_a_comma_before_three_digits_is_never_guessed(tmp_path):
    with refused(DataError, "'x' of t.csv holds '1,234', which is 1234 or 1.234", "dtypes={'x': 'decimal-comma'}"):
        column(tmp_path, ["1,234", "2,345"])
    for dtype, expected in (("decimal-comma", [1.234, 2.345]), ("decimal-point", [1234, 2345])):
        assert column(tmp_path, ["1,234", "2,345"], dtypes={"x": dtype}).numbers[:, 0].tolist() == expected
    assert column(tmp_path, ["1,234", "2,345"], other=[["0.25"]]).numbers[:, 0].tolist() == [1234, 2345]
    assert column(tmp_path, ["1,234", "2,345"], other=[["0,25"]]).numbers[:, 0].tolist() == [1.234, 2.345]
    with refused(DataError, "'1,234'"):
        column(tmp_path, ["1,234", "2,345"], other=[["0,25"], ["0.25"]])
    whole = [f"{i:,}" for i in range(900, 1100)]
    assert column(tmp_path, whole).numbers[:, 0].tolist() == list(range(900, 1100))


def test_a_point_before_three_digits_is_a_point_unless_others_have_commas(tmp_path):
    data = column(tmp_path, ["1.234", "12.500"])
    assert data.numbers[:, 0].tolist() == [1.234, 12.5]
    assert any("'x' is read with decimal points, as in '1.234'" in note for note in data.notes)
    data = column(tmp_path, ["1.234", "12.500"], other=[["0.25"]])
    assert not any("'x'" in note for note in data.notes)
    data = column(tmp_path, ["1.234", "12.500", "7"], other=[["0,25"]])
    assert data.numbers[:, 0].tolist() == [1234, 12500, 7]
    assert dict(data.schema.spellings)["x"] == ",."


def test_commas_that_begin_far_into_the_file(tmp_path):
    whole = [str(i) for i in range(40_000)]
    data = column(tmp_path, [*whole, "0,5"])
    assert data.numbers[:, 0].tolist() == [*range(40_000), 0.5]


def test_mixed_marks_and_units_are_named(tmp_path):
    with refused(DataError, "'x' of t.csv mixes decimal commas and decimal points", "'1.234,5'", "'1,234.5'"):
        column(tmp_path, ["1.234,5", "1,234.5"])
    kept = column(tmp_path, ["1.234,5", "1,234.5"], dtypes={"x": "category"})
    assert kept.levels == (("1,234.5", "1.234,5"),)
    for texts in (["5 kg", "7 g"], ["5%", "6"], ["$5", "€6"]):
        data = column(tmp_path, texts)
        assert data.schema.categories == ("x",)
        assert any("'x'" in note and "different units" in note and repr(texts[0]) in note for note in data.notes)


@pytest.mark.parametrize(
    "texts",
    [["A1", "A2"], ["12a", "13b"], ["1.2.3", "1.2.4"], ["10.0.0.1", "10.0.0.2"], ["1/2", "3/4"], ["5-10", "10-20"],
     ["0x1F", "0x2A"], ["#1", "#2"], ["030 123", "040 123"], ["1 2 3", "4 5 6"], ["IV", "V"], ["1st", "2nd"]],
)  # fmt: skip
def test_codes_are_no_numbers(tmp_path, texts):
    data = column(tmp_path, texts)
    assert data.schema.categories == ("x",)
    assert data.levels == (tuple(sorted(texts)),)


# -- the same way again ------------------------------------------------------------------------------------------


def test_another_table_is_read_in_the_spelling_of_the_first():
    schema = Schema(task="forecast", target=("v",), spellings=(("v", ",.€"),))

    def read(*texts):
        return read_like(pa.table({"v": list(texts)}), schema, Forecast(horizon=1))

    # "1.234" alone would be a number with a fraction.
    assert read("1.234", "5 €").target.values[:, 0].tolist() == [1234, 5]
    assert read_like(pa.table({"v": [1.5, 2]}), schema, Forecast(horizon=1)).target.values[:, 0].tolist() == [1.5, 2]
    other = read("1234.5", "7")
    assert other.target.values[:, 0].tolist() == [1234.5, 7]
    assert any("decimal points" in note and "decimal commas" in note for note in other.notes)
    with refused(DataError, "'v' holds '$5' in row 2", "'€' beside them"):
        read("1", "$5")
    with refused(DataError, "'v' holds 'much' in row 2"):
        read("1", "much")
    plain = Schema(task="forecast", target=("v",))
    with refused(DataError, "'v' holds '5%' in row 1", "decimal point"):
        read_like(pa.table({"v": ["5%", "6%"]}), plain, Forecast(horizon=1))
    with refused(DataError, "'v' holds '1,234' in row 1"):
        read_like(pa.table({"v": ["1,234", "6"]}), plain, Forecast(horizon=1))


def test_spellings_survive_the_file_of_a_run():
    spelling = Spelling(decimal=",", thousands="'", unit="m³ s")
    assert Spelling.of(spelling.code) == spelling
    assert Schema(task="tag").spelling("any") == Spelling().code
