"""How long read_table takes and how much memory, on ten million rows in a hundred thousand sequences.

    python benchmarks/tables.py [--rows 10000000] [--sequences 100000] [--format parquet]

Every case reads in a process of its own. Memory is the highest resident size of that process, less what it was after
importing NumPy, Arrow and throughtime, as a ratio to the values in memory (all columns read, as the table stores them).
The shuffled table must give the same data as the sorted one, up to the order of the sequences; this is checked first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write(path: Path, *, rows: int, sequences: int) -> int:
    """The table as Parquet; the bytes of its values in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, shuffled = path.stem.startswith("text"), path.stem.endswith("shuffled")
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=sequences) + 0.05
    lengths = 1 + rng.multinomial(rows - sequences, weights / weights.sum())
    owner = np.repeat(np.arange(sequences), lengths)
    step = np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    order = rng.permutation(rows) if shuffled else slice(None)
    names = pa.array([f"patient-{i:06d}" for i in range(sequences)])
    columns = {
        "id": names.take(pa.array(owner[order])) if text else owner[order],
        "time": step[order],
        # Each value says where it belongs, so that a wrong order cannot go unseen.
        **{f"x{k}": (owner * 1e-3 + step * (k + 1.0) + 0.25)[order] for k in range(4)},
        "label": (owner % 7)[order],
    }
    table = pa.table(columns)
    pq.write_table(table, path)
    return table.nbytes


def read(path: str) -> None:
    """In the process that is measured: reads, then proves that every value is where it belongs."""
    import pyarrow.parquet  # noqa: F401  part of the baseline

    from throughtime.data.tables import read_table

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    data = read_table(path, sequence="id", time="time", target="label")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ids = np.array([int(str(one).removeprefix("patient-")) for one in data.ids])
    owner = np.repeat(ids, data.lengths)
    step = np.arange(data.steps) - np.repeat(data.offsets[:-1], data.lengths)
    right = np.array_equal(data.time, step) and data.schema.task == "classify"
    right &= np.array_equal(np.array(data.target.levels)[data.target.values], ids % 7)
    right &= all(np.array_equal(data.numbers[:, k], owner * 1e-3 + step * (k + 1.0) + 0.25) for k in range(4))
    print(json.dumps({"seconds": seconds, "peak": (peak - before) * 1024, "right": bool(right), "data": repr(data)}))


def call(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(given.read)
        return
    if given.write:
        path = Path(given.write)
        print(write(path, rows=given.rows, sequences=given.sequences))
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for case in ("int-sorted", "int-shuffled", "text-sorted", "text-shuffled"):
            path = Path(folder) / f"{case}.parquet"
            # Written in a process of its own too: a process starts with the highest memory of its parent.
            size = int(call("--write", str(path), "--rows", str(given.rows), "--sequences", str(given.sequences)))
            result = json.loads(call("--read", str(path)))
            path.unlink()
            if not result["right"]:
                raise SystemExit(f"{path.name}: the values read are not the values written")
            print(
                f"{path.name:24} {result['seconds']:6.2f} s   values {size / 1e6:6.0f} MB   "
                f"peak {result['peak'] / 1e6:6.0f} MB = {result['peak'] / size:4.2f} x the values",
                flush=True,
            )


if __name__ == "__main__":
    main()
