"""Files that are whole or not there: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import RunError


def write_aside(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """``write`` fills a file beside ``path``, which then takes its place in one step.

    Raises:
        RunError: the folder is missing or cannot be written to, or the disk is full.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON, with null in place of NaN and infinity, which JSON has no word for."""
    text = json.dumps(finite(value), indent=1, allow_nan=False)
    write_aside(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz file, which ``read_arrays`` reads."""
    # NumPy's stubs take every keyword for allow_pickle.
    write_aside(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        # NumPy would leave a file open that it opened itself and could not read.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is missing or damaged ({type(error).__name__}: {error}).") from error


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
        raise RunError(f"{path} cannot be made a directory: {error.strerror}.") from error
