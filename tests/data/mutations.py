"""Damaged files of every kind, read one after the other in processes of their own, so that a signal is counted too.

    python tests/data/mutations.py [--count 300] [--seed 0]

prints for each kind of file how many were tried, read, refused in one line, and ended in a traceback or a signal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

KINDS = ("csv", "parquet", "arrow", "stream.arrow", "ts")


def originals() -> dict[str, list[bytes]]:
    """Whole files of each kind, small and of many types of column."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    rng = np.random.default_rng(0)
    n = 60
    stamps = np.datetime64("2024-01-01") + np.arange(n)
    table = pa.table(
        {
            "s": pa.array([f"id {i // 20}" for i in range(n)]),
            "t": stamps.astype("datetime64[us]"),
            "x": rng.normal(size=n).round(3),
            "n": pa.array([None if i % 7 == 0 else i for i in range(n)], pa.int32()),
            "w": pa.array(["hot", "cold", None, "mild"] * 15).dictionary_encode(),
            "on": rng.random(n) > 0.5,
            "y": rng.normal(size=n),
        }
    )
    plain = table.set_column(4, "w", table["w"].cast("string"))

    def written(write: Callable[[pa.BufferOutputStream], None]) -> bytes:
        sink = pa.BufferOutputStream()
        write(sink)
        return sink.getvalue().to_pybytes()

    def ipc(make: Callable[..., pa.ipc.RecordBatchStreamWriter], codec: str | None) -> bytes:
        def write(sink: pa.BufferOutputStream) -> None:
            with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
                writer.write_table(table, max_chunksize=25)

        return written(write)

    text = io.BytesIO()
    csv.write_csv(plain, text)
    base = text.getvalue()
    german = ["Datum;Wert;Menge;y"] + [f"{1 + i % 28:02d}.03.2024;{i},5;1.{100 + i};{i % 9},25" for i in range(n)]
    money = ["date,price,share,y"] + [f'{stamps[i]},"$1,{100 + i}.50",{i}%,{i}' for i in range(n)]
    ts = "@problemName p\n@timestamps false\n@univariate false\n@dimensions 2\n@equalLength false\n"
    ts += "@classLabel true up down\n@data\n1,2,?:4,5,6:up\n7,8:9,10:down\n1.5,2:3,4:up\n"
    return {
        "csv": [base, "\n".join(german).encode(), "\n".join(money).encode(), base.decode().encode("utf-16")],
        "parquet": [
            written(lambda sink: pq.write_table(table, sink, row_group_size=25)),
            written(lambda sink: pq.write_table(plain, sink, compression="zstd", use_dictionary=False)),
            written(lambda sink: pq.write_table(table, sink, compression="none", data_page_version="2.0")),
        ],
        "arrow": [ipc(pa.ipc.new_file, codec) for codec in (None, "lz4", "zstd")],
        "stream.arrow": [ipc(pa.ipc.new_stream, codec) for codec in (None, "lz4")],
        "ts": [ts.encode(), ts.replace(":4,5,6", "").replace(":9,10", "").replace(":3,4", "").encode()],
    }


# -- damage ------------------------------------------------------------------------------------------------------


def _flip(rng: np.random.Generator, data: bytearray) -> bytearray:
    for _ in range(int(rng.integers(1, 4))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return data


def _head(rng: np.random.Generator, data: bytearray) -> bytearray:
    """Bits near an end, where formats keep what the rest means."""
    at = int(rng.integers(min(len(data), 400)))
    data[at if rng.random() < 0.5 else -1 - at] ^= 1 << int(rng.integers(8))
    return data


def _bytes(rng: np.random.Generator, data: bytearray) -> bytearray:
    at, count = int(rng.integers(len(data))), int(rng.integers(1, 9))
    data[at : at + count] = rng.choice([rng.bytes(count), b"\xff" * count, b"\0" * count])
    return data


def _cut(rng: np.random.Generator, data: bytearray) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _drop(rng: np.random.Generator, data: bytearray) -> bytearray:
    at = int(rng.integers(len(data)))
    del data[at : at + int(rng.integers(1, 40))]
    return data


def _splice(rng: np.random.Generator, data: bytearray) -> bytearray:
    a, b, size = (int(rng.integers(len(data))) for _ in range(3))
    data[a:a] = data[b : b + size]
    return data


def _separators(rng: np.random.Generator, data: bytearray) -> bytearray:
    marks = [i for i, byte in enumerate(data) if byte in b',;"\n:|']
    for at in sorted(rng.choice(marks, size=min(len(marks), int(rng.integers(1, 6))), replace=False), reverse=True):
        replacement = [b"", b",", b";", b'"', b"\n", b"\r", b"#", b"\t"][int(rng.integers(8))]
        data[at : at + 1] = replacement
    return data


def _repeat(rng: np.random.Generator, data: bytearray) -> bytearray:
    """A column once more, or a line."""
    lines = bytes(data).split(b"\n")
    if rng.random() < 0.5:
        at = int(rng.integers(len(lines)))
        return bytearray(b"\n".join([*lines[:at], lines[at], *lines[at:]]))
    return bytearray(b"\n".join(line + b"," + line.split(b",")[0] for line in lines))


def _encode(rng: np.random.Generator, data: bytearray) -> bytearray:
    text = bytes(data).decode("utf-8", errors="replace").replace("e", "é").replace("o", "ö")
    codec = ["latin-1", "utf-16", "utf-16-le", "utf-32", "shift_jis", "utf-7"][int(rng.integers(6))]
    return bytearray(text.encode(codec, errors="replace"))


BINARY = (_flip, _flip, _head, _head, _bytes, _cut, _drop, _splice)
TEXT = (*BINARY, _separators, _separators, _repeat, _encode)


def damaged(kind: str, count: int, seed: int) -> list[bytes]:
    """``count`` files of a kind, each damaged once or twice."""
    rng = np.random.default_rng(seed)
    whole = originals()[kind]
    made = []
    for i in range(count):
        data = bytearray(whole[i % len(whole)])
        for _ in range(1 + int(rng.random() < 0.3)):
            ways = TEXT if kind in ("csv", "ts") else BINARY
            data = ways[int(rng.integers(len(ways)))](rng, data or bytearray(b" "))
        made.append(bytes(data))
    return made


# -- reading -----------------------------------------------------------------------------------------------------


def read_all(paths: list[str]) -> None:
    """In a process of its own: what comes of each file, a line each, said before the next is begun."""
    import warnings

    from throughtime.data.tables import read_table
    from throughtime.errors import ThroughtimeError

    warnings.simplefilter("ignore")
    for path in paths:
        roles = [{}] if path.endswith(".ts") else [
            {"horizon": 1}, {"horizon": 1, "target": "y", "sequence": "s", "time": "t"},
            {"target": "w", "sequence": "s", "task": "tag"}, {"target": "y", "time": "date", "horizon": 1},
        ]  # fmt: skip
        outcome = "refused"
        for role in roles:
            try:
                read_table(path, **role)
                outcome = "read"
            except ThroughtimeError as error:
                if "\n" in str(error):
                    outcome = f"traceback: {len(str(error).splitlines())} lines: {str(error)[:200]!r}"
                    break
            except BaseException as error:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"traceback: {type(error).__name__}: {str(error)[:200]!r} at {frame.name}"
                break
        print(outcome.replace("\n", " "), flush=True)


def outcomes(kind: str, files: list[bytes], folder: Path) -> list[str]:
    """What came of each file: "read", "refused", "traceback: ..." or "signal N"."""
    paths = []
    for i, data in enumerate(files):
        paths.append(folder / f"{i:05d}.{kind}")
        paths[-1].write_bytes(data)
    found: list[str] = []
    while len(found) < len(paths):
        command = [sys.executable, __file__, "--read", *map(str, paths[len(found) :])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        found += done.stdout.splitlines()
        if done.returncode < 0:
            found.append(f"signal {-done.returncode}")
        elif len(found) < len(paths):
            raise RuntimeError(done.stderr[-2000:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--keep", help="folder to keep the files in")
    parser.add_argument("--read", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read_all(given.read)
        return
    for kind in (given.kind,) if given.kind else KINDS:
        with tempfile.TemporaryDirectory() as folder:
            where = Path(given.keep or folder)
            found = outcomes(kind, damaged(kind, given.count, given.seed), where)
        counts = Counter(one.split(":")[0] for one in found)
        print(f"{kind:14} tried {len(found)}, " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        for i, one in enumerate(found):
            if one not in ("read", "refused"):
                print(f"    {i:05d} {one}")


if __name__ == "__main__":
    main()
