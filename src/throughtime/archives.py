"""Zip archives, looked at before they are unpacked: a few bytes may claim terabytes, and damage is found by the sums
that an archive has of each entry. ``.npz`` files are read here whole; a ``.keras`` file is only looked at."""

from __future__ import annotations

import io
import json
import math
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .errors import short_line

# What zipfile raises for an archive that is none, or one of a kind that we do not write.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, KeyError)
ENCRYPTED = 0x1
_CONFIG = "config.json"
TEXT_BYTES = 1 << 26  # the most that the configuration of a model may take: millions of layers would
EXPANSION = 100  # the most that an entry may be larger than what is stored of it, past TEXT_BYTES; zeros: 1,000 times
# What NumPy writes before an array. It is not asked to read it: it would evaluate it, and make room for what it claims.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=])([biufcSUV])(\d+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays that ``numpy.savez`` wrote.

    Raises:
        ValueError: damaged, in one line. OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_claims(archive, size)
            return {_name(entry): _array(archive.read(entry), entry.filename) for entry in archive.infolist()}
    except ZIP_ERRORS as error:
        raise ValueError(short_line(error)) from error


def why_unreadable(path: Path) -> str:
    """In words, what is wrong with a ``.keras`` file before Keras reads it: damage, or claims that it cannot hold.

    Empty where nothing is. Reads all of it, and compares the sums of its entries.

    Raises:
        OSError: it cannot be read.
    """
    if not zipfile.is_zipfile(path):  # Keras says of it that it is not found
        return "it is no zip archive, as model.save writes"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len({entry.filename for entry in entries}) < len(entries):
                return "two of its entries have one name"
            for entry in entries:
                if entry.flag_bits & ENCRYPTED:
                    return f"{entry.filename} is encrypted"
                most = TEXT_BYTES if entry.filename.endswith(".json") else EXPANSION * entry.compress_size
                if entry.file_size > max(most, TEXT_BYTES):
                    return f"{entry.filename} unpacks to {entry.file_size:,} bytes, more than it can hold"
            if sum(entry.compress_size for entry in entries) > os.path.getsize(path):
                return "its entries are longer than the file"
            broken = archive.testzip()
            return "" if broken is None else f"{broken} is damaged: its sum is wrong"
    except ZIP_ERRORS as error:
        return short_line(error)


def compile_config(path: Path) -> dict[str, Any] | None:
    """How the model of a ``.keras`` file was compiled, as Keras keeps it: loss, optimizer; None if it was not."""
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(_CONFIG)).get("compile_config")


def put_compile_config(path: Path, config: dict[str, Any]) -> None:
    """Writes into a ``.keras`` file how its model was compiled."""
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as before, zipfile.ZipFile(path, "w") as after:
        for entry in before.infolist():
            data = before.read(entry)
            if entry.filename == _CONFIG:
                data = json.dumps(json.loads(data) | {"compile_config": config}).encode()
            after.writestr(entry, data)


def _refuse_claims(archive: zipfile.ZipFile, size: int) -> None:
    """What ``numpy.savez`` wrote is not packed, so no entry claims more than the file has."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError("two of its entries have one name")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED:
            raise ValueError(f"{entry.filename} is packed, which no file of ours is")
        if entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename} claims {entry.file_size:,} bytes and has {entry.compress_size:,}")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size:
        raise ValueError(f"it claims {claimed:,} bytes and has {size:,}")


def _name(entry: zipfile.ZipInfo) -> str:
    if not entry.filename.endswith(".npy"):
        raise ValueError(f"{entry.filename} is no array")
    return entry.filename.removesuffix(".npy")


def _array(data: bytes, name: str) -> np.ndarray:
    """An .npy file. Its header must claim as many bytes as there are."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12 or data[6] not in (1, 2, 3):
        raise ValueError(f"{name} is no array")
    wide = data[6] > 1
    start = 12 if wide else 10
    end = start + int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start:end])
    if header is None:
        raise ValueError(f"{name} has a header that NumPy does not write for numbers or text")
    order, kind, width, fortran, sizes = (part.decode() for part in header.groups())
    try:
        dtype = np.dtype(f"{order}{kind}{width}")
    except TypeError as error:
        raise ValueError(f"{name} holds {kind}{width}, which NumPy does not know") from error
    shape = tuple(int(one) for one in sizes.replace(" ", "").split(",") if one)
    if math.prod(shape) * dtype.itemsize != len(data) - end:
        raise ValueError(f"{name} claims {math.prod(shape) * dtype.itemsize:,} bytes and has {len(data) - end:,}")
    made = np.frombuffer(data, dtype, math.prod(shape), end) if math.prod(shape) else np.zeros(shape, dtype)
    return made.reshape(shape, order="F" if fortran == "True" else "C").copy(order="K")
