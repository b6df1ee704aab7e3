"""What happens at each batch and epoch of a training: the best weights are kept, and nothing runs on in vain."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from ..data.batching import Batches
from ..errors import counted
from ..gradients.guard import Guard
from .checkpoint import Progress, model_state, weights_of


def row_names(batches: Batches, names: Callable[[int], str]) -> Callable[[int, int | None], str]:
    """What ``Guard`` calls the rows of batches, of ``names`` for examples."""

    def named(batch: int, row: int | None) -> str:
        members = [int(member) for member in batches.members(batch)]
        if row is not None:
            return names(members[row]) if row < len(members) else f"row {row}, which fills up the batch"
        return ", ".join(map(names, members[:6])) + (", ..." if len(members) > 6 else "")

    return named


class KeepBest(keras.callbacks.Callback):
    """Records each epoch, keeps the best weights, writes the checkpoint and stops after ``patience`` epochs in vain."""

    def __init__(
        self,
        progress: Progress,
        *,
        monitor: str,
        patience: int,
        checkpoint: Path | None,
        fingerprint: dict[str, Any],
        guard: Guard,
    ) -> None:
        super().__init__()
        self.progress, self.monitor, self.patience, self.guard = progress, monitor, patience, guard
        self.checkpoint, self.fingerprint = checkpoint, fingerprint

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        record = {key: float(value) for key, value in (logs or {}).items()}
        self.progress.history.append(record)
        watched = record[self.monitor]
        if watched < self.progress.best_loss or not self.progress.best_weights:
            # Nothing is below NaN: kept as infinity, so that the first number after it is better.
            self.progress.best_loss = math.inf if math.isnan(watched) else watched
            self.progress.best_epoch = epoch + 1
            self.progress.best_weights = weights_of(self.model)
        if self.checkpoint is not None:
            self.progress.state = model_state(self.model)
            self.progress.guard = self.guard.state_dict()
            self.progress.write(self.checkpoint, fingerprint=self.fingerprint)
        if self.in_vain():
            self.model.stop_training = True

    def in_vain(self) -> bool:
        """Whether the last ``patience`` epochs brought no better validation loss."""
        return len(self.progress.history) - self.progress.best_epoch >= self.patience


class ShowProgress(keras.callbacks.Callback):
    """A line that is updated on a terminal; elsewhere a line every few seconds."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, *, epochs: int, batches: int, best: Progress) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.epochs, self.batches, self.best = epochs, batches, best
        self.console = Console(file=sys.stderr)
        self.bar = Bar(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("epochs", total=epochs)
        self.last_line = 0.0
        self.epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.bar.start()
        said = f"{counted(self.batches, 'batch', 'batches')} an epoch; the first epoch includes compiling"
        self.bar.update(self.task, description=said)
        if not self.console.is_terminal:
            self.console.print(said, highlight=False)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Gives the terminal back; also after an error."""
        self.bar.stop()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update(self.task, completed=round(self.epoch + (batch + 1) / self.batches, 2))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        said = f"loss {logs['loss']:.4g}, validation {logs['val_loss']:.4g} (best at epoch {self.best.best_epoch})"
        self.bar.update(self.task, completed=epoch + 1, description=said)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self.last_line > self.SECONDS_BETWEEN_LINES or epoch == 0):
            self.last_line = now
            self.console.print(f"epoch {epoch + 1}/{self.epochs}: {said}", highlight=False)
