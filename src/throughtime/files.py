"""Files that are whole or not there: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from .archives import read_npz
from .errors import ArgumentError, RunError

# What this version writes aside, and what earlier ones left where they were killed: of our own names alone.
_ASIDE = re.compile(r"\..+\.[0-9a-f]{12}\.aside(\.keras)?")
_OLD_ASIDE = re.compile(
    r"\.(run\.json|checkpoint\.npz|baselines\.npz|vowels\.parquet|report\.html)\.\d+(\.part)?|\.model\.\d+\.keras"
)
_LONGEST_NAME = 200  # bytes of it that a name aside keeps: file systems take 255 in all


def path_of(given: str | os.PathLike[str], called: str) -> Path:
    """A path that the user gave for ``called``, refused where no file can have it.

    Raises:
        ArgumentError: an empty one. RunError: one that the file system does not take, such as a name too long.
    """
    text = os.fspath(given)
    if not text or "\0" in text:
        raise ArgumentError(f"{called}={text!r} names no file or directory; give a path.")
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise RunError(f"{_shown(text)} cannot be used: {error.strerror}.") from error
    return Path(text)


def refuse_unwritable(path: Path) -> None:
    """Raises RunError where no file can be written: no such folder, or a directory. For before the work is done."""
    if path.is_dir():
        raise RunError(f"{path} is a directory; give a file.")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent} is not a directory; make it first.")
    if not os.access(path.parent, os.W_OK) and not path.exists():
        raise RunError(f"{path.parent} cannot be written to; choose another folder.")


@contextmanager
def beside(*paths: Path) -> Iterator[list[Path]]:
    """Names beside ``paths``, to be written to; at the end of the block they take the places of ``paths``, in order.

    Several belong together by the last of them, which is taken away first: where that one is, all are of one kind.

    Raises:
        RunError: the folder is missing or cannot be written to, or the disk is full. Nothing has changed then.
    """
    targets = [Path(os.path.realpath(path)) for path in paths]  # a link stays one, to what is written
    asides = [path.with_name(_aside(path)) for path in targets]
    try:
        yield asides
        for aside in asides:
            with open(aside, "rb") as file:
                os.fsync(file.fileno())
        if len(targets) > 1:
            targets[-1].unlink(missing_ok=True)
        for aside, target in zip(asides, targets, strict=True):
            os.replace(aside, target)
    except RunError:
        raise
    except OSError as error:
        named = paths[0] if len(paths) == 1 else paths[0].parent
        raise RunError(f"{_shown(named)} cannot be written: {error.strerror or error}.") from error
    finally:
        for aside in asides:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def write_aside(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """``write`` fills a file beside ``path``, which then takes its place in one step; a device is written to as it is.

    Raises:
        RunError: the folder is missing or cannot be written to, or the disk is full.
    """
    if path.exists() and not path.is_file():
        try:
            with open(path, "wb") as file:
                write(file)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror or error}.") from error
        return
    with beside(path) as (aside,), open(aside, "xb") as file:
        write(file)


def clear_asides(directory: Path) -> None:
    """Removes what was being written where a process was killed; the caller holds the directory's lock."""
    for path in directory.iterdir():
        if _ASIDE.fullmatch(path.name) or _OLD_ASIDE.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def json_text(value: Any) -> bytes:
    """JSON, with null in place of NaN and infinity, which JSON has no word for."""
    return json.dumps(finite(value), indent=1, allow_nan=False).encode()


def write_json(path: Path, value: Any) -> None:
    """A file of ``json_text``."""
    write_aside(path, lambda file: file.write(json_text(value)))


def save_arrays(file: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """An .npz file, which ``read_arrays`` reads, into an open file."""
    once = _FailsOnce(file)
    # NumPy's stubs take every keyword for allow_pickle.
    np.savez(once, **arrays)  # type: ignore[arg-type]
    if once.failure is not None:
        raise once.failure


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A file of ``save_arrays``."""
    write_aside(path, lambda file: save_arrays(file, arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that ``write_arrays`` wrote; what it claims to hold is compared with its size first.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return read_npz(path)
    except OSError as error:
        raise RunError(f"{path} is missing or damaged ({error.strerror or error}).") from error
    except ValueError as error:
        raise RunError(f"{path} is missing or damaged ({error}).") from error


def finite(value: Any) -> Any:
    """JSON values with None in place of NaN and infinity, and Python numbers in place of NumPy's."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def make_directory(path: Path) -> None:
    """Makes a directory and those above it.

    Raises:
        RunError: a file stands in its place, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{_shown(path)} cannot be made a directory: {error.strerror}.") from error


class _FailsOnce(io.RawIOBase):
    """Keeps the first failure and takes the rest for written: a zip file that fails is closed by its end, and fails
    there again where nobody can catch it."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def _aside(path: Path) -> str:
    name = path.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return f".{name}.{secrets.token_hex(6)}.aside{path.suffix if path.suffix == '.keras' else ''}"


def _shown(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if len(text) <= 300 else f"{text[:120]}... ({len(text):,} characters)"
