"""Reading tables: every kind of file, and what is none."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from table_cases import LONG, ROLES, csv, refused, same

from throughtime.data.sequences import SequenceData
from throughtime.data.tables import read_like, read_table
from throughtime.errors import ArgumentError, BackendError, DataError

# -- files -------------------------------------------------------------------------------------------------------

CSV = "id,t,x,w,flag,y\n7,2,1.5,hot,true,up\n7,1,NA,,false,up\n3,1,?,cold,,down\n3,2,-2e3,NaN,true,down\n"
DECIMAL_COMMAS = "id;t;x;w;flag;y\n7;2;1,5;hot;true;up\n7;1;NA;;false;up\n3;1;?;cold;;down\n3;2;-2000,0;NaN;true;down\n"


def check(data: SequenceData) -> None:
    assert data.ids.tolist() == [7, 3]
    assert data.schema.numbers == ("x", "flag")
    np.testing.assert_array_equal(data.numbers, [[np.nan, 0], [1.5, 1], [np.nan, np.nan], [-2000, 1]])
    assert data.target.labels().tolist() == ["up", "down"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", CSV), ("t.txt", CSV.replace(",", ";")), ("t.tsv", CSV.replace(",", "\t")), ("t.dat", CSV),
        ("t.csv", CSV.replace(",", "|")), ("t.csv", DECIMAL_COMMAS),
        ("t.txt", CSV.replace(",", " ")),
        ("t.csv", "\ufeff" + CSV), ("t.csv", CSV.replace("\n", "\r\n")), ("t.csv", CSV.replace(",", " , ", 5)),
        ("T.CSV", CSV + "\n"),
    ],
)  # fmt: skip
def test_text_files(tmp_path, name, text):
    data = read_table(csv(tmp_path, text, name), sequence="id", time="t", target="y")
    check(data)
    assert data.categories[:, 0].tolist() == [-1, 1, 0, -1]
    assert data.source == name


def test_compressed_text_and_string_paths(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    check(read_table(str(path), sequence="id", time="t", target="y"))
    path.write_bytes(CSV.encode())
    with refused(DataError, "t.csv.gz cannot be unpacked"):
        read_table(path, sequence="id", target="y")


def test_quoted_text_with_delimiters_and_line_breaks(tmp_path):
    path = csv(tmp_path, 's,w,y\n0,"a, ""b""\nc",u\n1,d,v\n')
    assert read_table(path, sequence="s", target="y").levels == (('a, "b"\nc', "d"),)


def test_line_breaks_in_text_far_into_the_file(tmp_path):
    rows = ["0,plain,u"] * 20_000 + ['1,"x\ny",v'] * 200_000  # several of the blocks that are parsed on their own
    data = read_table(csv(tmp_path, "s,w,y\n" + "\n".join(rows) + "\n"), sequence="s", target="y")
    assert data.levels == (("plain", "x\ny"),)
    assert data.lengths.tolist() == [20_000, 200_000]


def test_kinds_are_seen_from_all_of_the_file(tmp_path):
    rows = ["0,1,u"] * 200_000 + ["1,1.5,v"]  # the fraction lies beyond the first block that is parsed
    data = read_table(csv(tmp_path, "s,x,y\n" + "\n".join(rows) + "\n"), sequence="s", target="y")
    assert data.numbers[-1, 0] == 1.5
    assert data.steps == 200_001


def test_a_slip_among_numbers_is_named(tmp_path):
    path = csv(tmp_path, "x,w,v\n1,a1,1\n2,2,2\n3,b,3\n1O,c,x\n")
    data = read_table(path, target="w", task="tag")
    assert any("'x' is read as text" in note and "'1O'" in note for note in data.notes)
    assert any("'v' is read as text" in note and "'x'" in note for note in data.notes)
    assert not any("'w'" in note for note in data.notes)
    with refused(DataError, "target 'v' is no column of numbers: it holds 'x' in row 4"):
        read_table(path, target="v", horizon=1)


def test_an_empty_line_in_one_column_is_a_missing_value(tmp_path):
    data = read_table(csv(tmp_path, "v\n1\n\n3\n"), target="v", horizon=1)
    np.testing.assert_array_equal(data.target.values[:, 0], [1, np.nan, 3])


def test_a_column_without_a_name_is_left_out(tmp_path):
    data = read_table(csv(tmp_path, ",x,v\n0,5,1\n1,6,2\n"), target="v", horizon=1)
    assert data.schema.numbers == ("x",)
    assert any("without a name" in note and "row number" in note for note in data.notes)
    data = read_table(csv(tmp_path, ",v\n2024-01-01,1\n2024-01-02,2\n"), target="v", horizon=1)
    assert any("without a name" in note and "holds dates" in note for note in data.notes)


def test_binary_files_hold_the_same(tmp_path):
    table = pa.table(LONG)
    expected = read_table(table, **ROLES)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.ipc.new_stream(tmp_path / "t.ipc", table.schema) as writer:
        writer.write_table(table)
    pl.DataFrame(LONG).write_ipc(tmp_path / "polars.arrow", compression="zstd")
    pd.DataFrame(LONG, index=[5, 4, 3, 2, 1]).to_parquet(tmp_path / "pandas.pq")
    (tmp_path / "noname").write_bytes((tmp_path / "t.parquet").read_bytes())
    for name in ("t.parquet", "t.feather", "t.arrow", "t.ipc", "polars.arrow", "pandas.pq", "noname"):
        data = read_table(tmp_path / name, **ROLES)
        same(data, expected)
        assert data.source == name


def test_parquet_column_names_with_dots(tmp_path):
    pq.write_table(pa.table({"a": [1, 2], "a.b": [3, 4], "v": [5.0, 6]}), tmp_path / "t.parquet")
    data = read_table(tmp_path / "t.parquet", target="v", horizon=1)
    assert data.schema.numbers == ("a", "a.b")
    assert data.numbers.tolist() == [[1, 3], [2, 4]]


def test_missing_files_and_directories(tmp_path):
    csv(tmp_path, CSV, "vowels.csv")
    with refused(DataError, "there is no file", "vowel.csv", "Did you mean 'vowels.csv'?"):
        read_table(tmp_path / "vowel.csv", target="y")
    with refused(DataError, "there is no file"):
        read_table(tmp_path / "no" / "vowel.csv", target="y")
    with refused(DataError, "is a directory", "'vowels.csv'"):
        read_table(tmp_path, target="y")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.png", b"\x89PNG\r\n\x1a\n\0", ("t.png is a PNG image", "Parquet", ".csv")),
        ("t.xlsx", b"PK\x03\x04\0", ("Excel", "as CSV")),
        ("t.bin", b"\0\1\2\3", ("starts with the bytes", "read_table reads")),
        ("t.npy", b"\x93NUMPY\1\0", ("NumPy", "from_arrays")),
        ("t.parquet", b"a,b\n1,2\n", ("not a Parquet file", "b'a,b")),
        ("t.arrow", b"a,b\n1,2\n", ("not a Arrow file",)),
        ("t.csv", b"PAR1aaaa", ("not a text file", "Parquet data", "rename")),
        ("t.csv", b"\x1f\x8b\x08\0", ("gzip", ".csv.gz")),
        ("t.csv", b"a\0,\0b\0\n\0", ("UTF-8", "encoding='utf-16-le'")),
        ("t.parquet", b"PAR1" + b"\0" * 20, ("damaged Parquet",)),
        ("t.arrow", b"ARROW1" + b"\0" * 20, ("damaged Arrow",)),
        ("t.csv", b"", ("t.csv is empty",)),
        ("t.csv", b"\n\n", ("t.csv is empty",)),
        ("t.csv", b"a,b\n", ("t.csv is empty", "'a', 'b'", "no rows")),
        ("t.csv", b"a,a,y\n1,2,3\n", ("more than one column named 'a'",)),
        ("t.csv", b"a,b\n1,2\n3\n4,5\n", ("line 3", "has 1 value, ", "2", "'3'")),
        ("t.csv", b"a,b\n1,2\n3,4,5\n", ("line 3", "3 values", "'3,4,5'")),
        ("t.csv", b"15,2\n3,4\n", ("'y' is not a column", "first row seems to hold data")),
        ("t.csv", b"1.5,2\n3,4\n", ("no row of column names", "'1.5', '2'", "add a line of names")),
        ("t.csv", b"y,w\n1,\xe9\n2,b\n", ("not UTF-8", "line 2", "encoding='cp1252'", "'1,é'")),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with refused(DataError, *words):
        read_table(tmp_path / name, target="y", horizon=1)


def test_other_sources_are_refused():
    for source in ({"a": [1]}, np.zeros(3), 5, pd.Series([1])):
        with refused(ArgumentError, "read_table takes a path, or a pandas", type(source).__name__):
            read_table(source, target="a")
    with refused(DataError, "more than one column"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]), target="a")
    with refused(DataError, "more than one column named 'a'"):
        read_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), target="a")
    with refused(DataError, "no columns"):
        read_table(pd.DataFrame(), target="a")
    with refused(DataError, "pandas DataFrame is empty"):
        read_table(pd.DataFrame({"a": []}), target="a")


# -- .ts ---------------------------------------------------------------------------------------------------------

TS = """@problemName p
@timestamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
1,2,?:4,5,6:up
7,8:9,10:down
"""


def test_ts_with_classes_unequal_lengths_and_dimensions(tmp_path):
    path = csv(tmp_path, TS, "p.ts")
    data = read_table(path)
    assert (data.schema.task, data.lengths.tolist()) == ("classify", [3, 2])
    np.testing.assert_array_equal(data.numbers, [[1, 4], [2, 5], [np.nan, 6], [7, 9], [8, 10]])
    assert data.target.labels().tolist() == ["up", "down"]
    assert data.schema.numbers == ("x0", "x1")
    same(read_like(path, data.schema), data)
    assert read_table(path, features="x1").schema.numbers == ("x1",)


def test_ts_with_numbers_and_without_labels(tmp_path):
    head = "@problemName p\n@timestamps false\n@univariate true\n@equalLength true\n"
    data = read_table(csv(tmp_path, head + "@targetlabel true\n@data\n1,2:0.5\n3,4:1.5\n5,6:2.5\n", "r.ts"))
    assert (data.schema.task, data.target.values[:, 0].tolist()) == ("regress", [0.5, 1.5, 2.5])
    plain = csv(tmp_path, head + "@classLabel false\n@data\n1,2,3\n4,5,6\n", "n.ts")
    with refused(ArgumentError, "target= is needed", "horizon"):
        read_table(plain)
    series = read_table(plain, horizon=1)
    assert series.target.names == ("x0",)
    assert series.target.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(series) == 2
    assert read_like(plain, data.schema).target is None


def test_ts_that_is_none_and_aeon_that_is_missing(tmp_path, monkeypatch):
    for text in ("hello\n", "@problemName p\n@univariate true\n@data\n1,x:1\n"):
        with refused(DataError, "p.ts is not a .ts file"):
            read_table(csv(tmp_path, text, "p.ts"))
    monkeypatch.setitem(sys.modules, "aeon.datasets", None)
    with refused(BackendError, "pip install throughtime[ts]"):
        read_table(csv(tmp_path, TS, "p.ts"))
