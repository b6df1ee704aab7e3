"""Damaged copies of a run's files, each by a number; what comes of them is said in a word. Run as a program, because a
reader that crashes takes its process with it: ``python mutations.py KIND,... DIRECTORY FIRST COUNT``.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Keras imports TensorFlow to save any model on any backend: seconds that a process of its own can spare itself.
if os.environ.get("KERAS_BACKEND") in ("jax", "torch"):
    sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]

import numpy as np
from cases import made

from throughtime.errors import RunError
from throughtime.report.page import write_report
from throughtime.training.checkpoint import Progress, refuse_other_weights, restore_guard, restore_state
from throughtime.training.run import Run

FILES = {"run": "run.json", "model": "model.keras", "baselines": "baselines.npz", "checkpoint": "checkpoint.npz"}
ODD: list[Any] = [
    None, True, "text", "", "\ud800", -1, 0, 1, 0.5, 1e9, 10**9, 10**30, -1e308, 5e-324, float("nan"), float("inf"), [],
    {},
    [[]], [1, 2, 3], ["a"], {"a": 1}, [None], [float("nan")],
]  # fmt: skip


# Any file ------------------------------------------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one kind of damage that disks and people do."""
    kind = rng.randrange(6)
    place = rng.randrange(len(data))
    if kind == 0:
        return data[:place]
    if kind in (1, 2):
        flipped = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 16])):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == 3:
        return data[:place] + rng.randbytes(rng.randrange(1, 200)) + data[place:]
    if kind == 4:
        return rng.randbytes(rng.randrange(2000))
    return data[:place] + bytes(min(len(data) - place, 512)) + data[place + 512 :]


# JSON ----------------------------------------------------------------------------------------------------------------


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if here:
        yield here
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*here, key))


def with_other_value(value: Any, rng: random.Random) -> Any:
    """A copy with one value replaced, removed, doubled, or one key more."""
    value = copy.deepcopy(value)
    # Deep lists have most of the values: the place is drawn level by level.
    path, within = [], value
    while True:
        keys = list(within) if isinstance(within, dict) else list(range(len(within)))
        path.append(rng.choice(keys))
        below = within[path[-1]]
        if not isinstance(below, dict | list) or not below or rng.random() < 0.15:
            break
        within = below
    last, kind = path[-1], rng.randrange(8)
    if kind == 0:
        del within[last]
    elif kind == 1 and isinstance(within, list):
        within.append(copy.deepcopy(within[last]))
    elif kind == 1:
        within["odd"] = 1
    else:
        within[last] = copy.deepcopy(rng.choice(ODD))
    return value


def odd_json(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(20)
    if kind < 2:
        return damaged(data, rng)
    if kind == 2:
        return rng.choice([b"[" * 200_000, b'{"a":' * 200_000, b"", b"null", b"[]", b"{}", b"NaN", b'"', b"\xff\xfe{}"])
    return json.dumps(with_other_value(json.loads(data), rng)).encode(errors="surrogatepass")


# Archives ------------------------------------------------------------------------------------------------------------


def entries_of(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def archive_of(entries: list[tuple[str, bytes]], packed: bool = False) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
    return made.getvalue()


def odd_archive(data: bytes, rng: random.Random, odd_entry: Callable[[str, bytes, random.Random], bytes]) -> bytes:
    """Damage to the archive as bytes, to what it says of its entries, or to one entry, whose sum is right then."""
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(data, rng)
    if kind == 1:  # a field of the central directory: sizes, sums, flags, method, offsets
        changed = bytearray(data)
        start = data.rindex(b"PK\x01\x02") if rng.random() < 0.5 else data.index(b"PK\x01\x02")
        place, width = rng.choice([(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (42, 4), (46, 1)])
        odd = rng.choice([0, 1, 8, 9, 99, 255, 2**16 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)]) % (1 << (8 * width))
        changed[start + place : start + place + width] = odd.to_bytes(width, "little")
        return bytes(changed)
    entries = entries_of(data)
    chosen = rng.randrange(len(entries))
    name, content = entries[chosen]
    if kind == 2:
        what = rng.randrange(5)
        if what == 0:
            del entries[chosen]
        elif what == 1:
            entries[chosen] = (name + "x", content)
        elif what == 2:
            entries.append((rng.choice(["../out", "assets/a", "more.npy", "/x"]), content))
        elif what == 3:
            return archive_of(entries, packed=True)
        else:
            entries[chosen] = (name, bytes(3 << 30 if rng.random() < 0.01 else 200 << 20))
            return archive_of(entries, packed=True)
        return archive_of(entries)
    entries[chosen] = (name, odd_entry(name, content, rng))
    return archive_of(entries)


def odd_array(name: str, data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(data, rng)
    if kind == 1:  # the header claims terabytes, or something else
        claim = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"
        claims = [
            ("<f4", "(549755813888,)"),
            ("<f4", "(-1,)"),
            ("<f9", "()"),
            ("<U0", "(99999999999999,)"),
            ("|O", "()"),
        ]
        made = [claim % one for one in (*claims, ("<f4", f"(0, {'9' * 40})"))]
        header = rng.choice(["(" * 5000, "[" * 9000 + "]" * 9000, "{}", *made])
        return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header.encode() + data[80:]
    array = np.load(io.BytesIO(data))
    if name == "about.npy" and kind == 2:
        array = np.array(json.dumps(with_other_value(json.loads(str(array)), rng)).encode(errors="replace").decode())
    elif kind == 2:
        array = rng.choice([
            array[None], np.zeros(0), np.array("text"), np.array(b"bytes"), array.astype("U"), np.array(5),
            np.full(array.shape, np.nan), np.full((2, 3, 4), 1e300), np.array(-1), np.zeros(array.shape, complex),
        ])  # fmt: skip
    stored = io.BytesIO()
    np.save(stored, array)
    return stored.getvalue()


def odd_model_entry(name: str, data: bytes, rng: random.Random) -> bytes:
    if not name.endswith(".json"):
        # A reader of HDF5 trusts the file, so of the weights only sizes are changed: sums are what guards the rest.
        return rng.choice([data[: rng.randrange(len(data))], b"", b"\x89HDF\r\n\x1a\n", rng.randbytes(500)])
    if rng.random() < 0.2:
        return rng.choice([b"[" * 200_000, b"{}", b"[]", b"null", damaged(data, rng)])
    return json.dumps(with_other_value(json.loads(data), rng)).encode(errors="surrogatepass")


def mutated(kind: str, data: bytes, number: int) -> tuple[bytes, bool]:
    """The damaged file, and whether what it says may have been changed with right sums, as an editor would."""
    rng = random.Random(f"{kind} {number}")
    if kind == "run":
        return odd_json(data, rng), True
    before = rng.getstate()
    changed = odd_archive(data, rng, odd_model_entry if kind == "model" else odd_array)
    rng.setstate(before)
    return changed, rng.randrange(4) == 3


# What comes of it ----------------------------------------------------------------------------------------------------


class Reader:
    """A run directory's files, read with one of them damaged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.task = directory.name
        self.data = made(self.task, seed=1)
        self.run = Run.load(directory)
        self.expected = self.answers(self.run)
        self.fingerprint = json.loads((directory / "fingerprint.json").read_text())
        self.model = self.run.model
        self.model.compile("adam", "mse")
        self.model.optimizer.build(self.model.trainable_variables)
        self.progress = Progress.read(directory / "checkpoint.npz", fingerprint=self.fingerprint)

    def answers(self, run: Run) -> list[np.ndarray]:
        table = run.predict(self.data).table()
        scores = run.baselines.predict(run.preparation, self.data, run.preparation.apply(self.data))
        columns = [np.array(column.to_pylist()) for column in table.columns]
        return [*columns, *map(np.asarray, scores.values())]

    def read(self, kind: str, directory: Path, edited: bool) -> str:
        """ "refused", "loaded", or "other": it loaded, and answers otherwise without having been edited."""
        try:
            if kind == "checkpoint":
                return self.resume(directory, edited)
            run = Run.load(directory)
        except RunError as error:
            said = str(error)
            return "refused" if said.isprintable() and 10 < len(said) < 1000 else f"said: {said!r}"
        answers = self.answers(run)
        if kind == "run" and run.about:
            write_report(run, directory / "report.html")
        same = len(answers) == len(self.expected) and all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(answers, self.expected, strict=True)
        )
        return "loaded" if same or edited else "other"

    def resume(self, directory: Path, edited: bool) -> str:
        from throughtime.gradients.guard import Guard

        path = directory / "checkpoint.npz"
        progress = Progress.read(path, fingerprint=self.fingerprint)
        restore_state(self.model, progress.state, str(path))
        refuse_other_weights(self.model, progress.best_weights, str(path))
        restore_guard(Guard(), progress.guard, str(path))
        self.model.set_weights(progress.best_weights)
        pairs = zip(progress.state.values(), self.progress.state.values(), strict=True)
        same = all(one.tobytes() == other.tobytes() for one, other in pairs)
        return "loaded" if edited or (same and progress.history == self.progress.history) else "other"


def main() -> None:
    kinds, directory, first, count = sys.argv[1].split(","), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    reader = Reader(directory)
    for kind in kinds:
        read_mutations(reader, kind, first, count)


def read_mutations(reader: Reader, kind: str, first: int, count: int) -> None:
    whole = (reader.directory / FILES[kind]).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / reader.directory.name
        shutil.copytree(reader.directory, copied)
        for number in range(first, first + count):
            changed, edited = mutated(kind, whole, number)
            (copied / FILES[kind]).write_bytes(changed)
            print(json.dumps({"kind": kind, "number": number}), flush=True)
            try:
                outcome = reader.read(kind, copied, edited)
            except BaseException:
                outcome = traceback.format_exc()
            print(json.dumps({"kind": kind, "number": number, "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main()
