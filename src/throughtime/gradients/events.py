"""TensorBoard's event file, written where it is called.

tensorboardX has the formats. Its SummaryWriter is not used: it writes in a thread, which ends where the disk is full,
and whoever gives it more waits for ever.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ..errors import BackendError, RunError
from ..files import path_of


def refuse_without_tensorboard() -> None:
    """Raises BackendError where tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise BackendError(
            "log_dir= writes for TensorBoard with tensorboardX, which is not installed; "
            "pip install 'throughtime[tensorboard]', or leave log_dir out."
        ) from error


class EventLog:
    """An event file in ``log_dir``, which is made if need be.

    Raises:
        RunError: here or later: the folder cannot be made or written to, or the disk is full.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter, directory_check

        self.log_dir = os.fspath(path_of(log_dir, "log_dir"))
        self._file: Any = None
        with self._said():
            directory_check(self.log_dir)
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
            self._file = RecordWriter(os.path.join(self.log_dir, name))
            self._write(Event(file_version="brain.Event:2", wall_time=time.time()))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.summary import scalar

        self._add(scalar(tag, value), step)

    def add_image(self, tag: str, picture: np.ndarray, step: int) -> None:
        """A picture ``(height, width, 3)``."""
        from tensorboardX.summary import image

        self._add(image(tag, picture, dataformats="HWC"), step)

    def flush(self) -> None:
        """What was added is on the disk afterwards."""
        with self._said():
            self._file.flush()

    def close(self) -> None:
        """What was added is in the file afterwards; nothing more can be."""
        if self._file is not None:
            with self._said():
                self._file.close()

    def _add(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with self._said():
            self._write(Event(summary=summary, step=step, wall_time=time.time()))

    def _write(self, event: Any) -> None:
        self._file.write(event.SerializeToString())

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
                self._file = None
            raise RunError(f"{self.log_dir} cannot be written to: {error.strerror or error}.") from error
