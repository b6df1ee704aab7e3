"""The run directory: one training at a time, and nothing left by one that was killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RunError
from ..files import clear_asides, make_directory

LOCK = ".lock"


class _Held(threading.local):
    """Directories that this thread holds: a training that saves its run does not wait for itself."""

    def __init__(self) -> None:
        self.paths: set[str] = set()


_held = _Held()


@contextmanager
def hold(directory: Path, *, new: bool = False) -> Iterator[None]:
    """Keeps every other training out of a directory, which is made if need be, within a block.

    The lock is the operating system's and ends with the process, so one that was killed locks nobody out. What such
    a process left half written is removed. A directory that the block leaves empty is taken away again if it was made
    here.

    Args:
        new: raises FileExistsError where the directory is there already, another process's made at the same moment too.

    Raises:
        RunError: another training is at work there, or the directory cannot be made or written to.
    """
    real = os.path.realpath(directory)
    if real in _held.paths and not new:
        yield
        return
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        if new:
            make_directory(directory.parent)
            directory.mkdir()
        make_directory(directory)
    except RunError:
        _take_away(made)
        raise
    lock = FileLock(Path(real) / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"another training is at work in {directory}; wait until it has ended, or choose another directory."
        ) from error
    except OSError as error:
        raise RunError(f"{directory} cannot be written to: {error.strerror or error}.") from error
    _held.paths.add(real)
    try:
        clear_asides(Path(real))
        yield
    finally:
        _held.paths.discard(real)
        with suppress(OSError):
            (Path(real) / LOCK).unlink()  # while it is held: who waits on this file sees that it is gone
        _take_away(made)
        lock.release()


def _take_away(made: list[Path]) -> None:
    """Directories that are empty, the innermost first."""
    for path in made:
        with suppress(OSError):
            path.rmdir()
