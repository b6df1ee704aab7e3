"""What a network answers, in the user's own labels and units, and as a table."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ..data.batching import Batches
from ..data.calendars import Calendar, following_times
from ..data.examples import Examples
from ..data.sequences import Schema, SequenceData
from ..data.stamps import write_times
from ..data.transforms import Preparation
from ..errors import BackendError, DataError, RunError, listed
from ..files import write_aside
from ..ragged import Ragged

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Time steps of one prediction batch: large enough to keep the cores busy, small enough for any machine.
PREDICTION_TOKENS = 16_384


def predict_examples(model: keras.Model, examples: Examples, feeds: Any, *, pad_value: float = 0.0) -> np.ndarray:
    """The raw outputs in the order of the examples: ``(E, ...)``; one a step: ``(steps of all examples, ...)``."""
    longest = int(examples.lengths.max(initial=1))
    batches = Batches(examples, tokens=max(PREDICTION_TOKENS, longest), shuffle=False, feeds=feeds, pad_value=pad_value)
    per_step = examples.per == "step"
    firsts = np.concatenate([[0], np.cumsum(examples.lengths)])
    result: np.ndarray | None = None
    for index in range(len(batches)):
        members = batches.members(index)
        outputs = keras.ops.convert_to_numpy(model.predict_on_batch(batches[index][0]))
        if result is None:
            rows = firsts[-1] if per_step else len(examples)
            result = np.empty((int(rows), *outputs.shape[2 if per_step else 1 :]), outputs.dtype)
        if per_step:
            for row, member in enumerate(members):
                result[firsts[member] : firsts[member + 1]] = outputs[row, : examples.lengths[member]]
        else:
            result[members] = outputs[: len(members)]
    if result is None:
        raise DataError("there is no sequence to predict.")
    return result


def as_probabilities(outputs: np.ndarray, classes: int) -> np.ndarray:
    """``(..., classes)`` probabilities, from a softmax, from a single sigmoid for two classes, or from logits."""
    outputs = outputs.astype(np.float64)
    if outputs.shape[-1] == 1 and classes == 2:
        if (outputs < 0).any() or (outputs > 1).any():
            outputs = np.exp(-np.logaddexp(0, -outputs))
        return np.concatenate([1 - outputs, outputs], axis=-1)
    # A softmax in bfloat16 adds up to 1 within three roundings of 2**-9.
    if (outputs < 0).any() or np.abs(outputs.sum(-1) - 1).max(initial=0) > 1e-2:
        outputs = np.exp(outputs - outputs.max(-1, keepdims=True))
        outputs /= outputs.sum(-1, keepdims=True)
    return outputs


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Predictions:
    """The answers for B sequences.

    Attributes:
        values: one a sequence: ``(B,)`` labels or ``(B, K)`` numbers; one a step: a Ragged of them; forecasts:
            ``(B, horizon, K)`` numbers in the units of the target.
        probabilities: ``(B, classes)``, or a Ragged of ``(length, classes)``; None for numbers.
        classes: the labels in the order of the probabilities.
        ids: ``(B,)`` names of the sequences.
        time: forecasts: ``(B, horizon)`` time stamps where the table has a time column; one a step: ``(N,)``.
        notes: what the answers rest on that the user may not know, such as categories that training never showed.
    """

    schema: Schema
    values: Any
    ids: np.ndarray
    probabilities: Any = None
    classes: tuple[Any, ...] = ()
    time: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The first rows, as a table."""
        table = self.table()
        rows = [
            table.column_names,
            *([_shown(value) for value in row.values()] for row in table.slice(0, 10).to_pylist()),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        more = [f"... {table.num_rows - 10:,} more rows"] if table.num_rows > 10 else []
        count = f"{table.num_rows:,} row{'s' * (table.num_rows != 1)}"
        return "\n".join([f"Predictions({self.schema.task}: {count})", *lines, *more, *self.notes])

    def to_pandas(self) -> pd.DataFrame:
        """The rows of ``table()`` as a pandas DataFrame.

        Raises:
            BackendError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401
        except ImportError as error:
            raise BackendError(
                "to_pandas() needs pandas: pip install pandas. table() gives the same rows as a pyarrow Table."
            ) from error
        return self.table().to_pandas()

    def table(self) -> pa.Table:
        """A row a sequence, a time step, or a step ahead, with the columns "prediction" and "probability_<label>".

        A name that a column of the user's own has already gets an underscore behind it.
        """
        import pyarrow as pa

        values, probabilities = self.values, self.probabilities
        columns: dict[str, Any] = {}

        def free(column: str) -> str:
            return column if column not in columns else free(f"{column}_")

        name = self.schema.sequence or "sequence"
        if isinstance(values, Ragged):
            columns[name] = np.repeat(self.ids, values.lengths)
            columns[self.schema.time or "step"] = (
                write_times(self.time, self.schema.stamps)
                if self.time is not None
                else np.concatenate([np.arange(n) for n in values.lengths])
            )
            values = values.values
            probabilities = None if probabilities is None else probabilities.values
        elif self.schema.task == "forecast":
            horizon = values.shape[1]
            columns[name] = np.repeat(self.ids, horizon)
            columns[free("step_ahead")] = np.tile(np.arange(1, horizon + 1), len(values))
            if self.time is not None:
                columns[free(self.schema.time or "time")] = write_times(self.time.reshape(-1), self.schema.stamps)
            values = values.reshape(-1, values.shape[-1])
        else:
            columns[name] = self.ids
        if self.classes:
            columns[free("prediction")] = values.tolist()
        else:
            single = len(self.schema.target) == 1
            for k, target in enumerate(self.schema.target):
                columns[free("prediction" if single else f"prediction_{target}")] = values[:, k]
        for c, label in enumerate(self.classes):
            columns[free(f"probability_{label}")] = probabilities[:, c]
        if self.schema.sequence is None and len(self.ids) == 1:
            columns.pop(name)
        return pa.table({key: pa.array(column) for key, column in columns.items()})

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """The table as .csv, .parquet or .arrow, written aside and renamed.

        Raises:
            DataError: another suffix. RunError: the file exists and ``overwrite`` is not asked for.
        """
        path = Path(path)
        refuse_unwritable(path)
        if path.exists() and not overwrite:
            raise RunError(f"{path} exists; choose another file, or say that it may be overwritten.")
        table = self.table()
        write_aside(path, lambda file: write_table(table, file, path.suffix.lower()))
        return path


def refuse_unwritable(path: Path) -> None:
    """Raises DataError for a suffix that predictions are not written as, RunError where there is no such folder."""
    if path.suffix.lower() not in (".csv", ".parquet", ".arrow", ".feather"):
        raise DataError(f"{path.name}: predictions are written as {listed(['.csv', '.parquet', '.arrow'])}.")
    if path.is_dir():
        raise RunError(f"{path} is a directory; give a file.")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent} is not a directory; make it first.")


def write_table(table: pa.Table, target: Any, suffix: str) -> None:
    """An Arrow table to a path or an open binary file, in the format of the suffix."""
    if suffix == ".csv":
        from pyarrow import csv

        csv.write_csv(table, target)
    elif suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(table, target)
    else:
        from pyarrow import feather

        feather.write_feather(table, target, compression="uncompressed")


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def unseen_categories(preparation: Preparation, data: SequenceData) -> dict[str, str]:
    """For each category column with labels that the run has no code for, what to say of it."""
    found: dict[str, str] = {}
    for column, (name, labels) in enumerate(zip(preparation.schema.categories, preparation.vocabulary, strict=True)):
        known, levels = set(labels), data.levels[column]
        counts = np.bincount(data.categories[:, column] + 1, minlength=len(levels) + 1)[1:]
        unseen = [code for code in np.flatnonzero(counts).tolist() if levels[code] not in known]
        if unseen:
            rows = int(counts[unseen].sum())
            most = sorted(unseen, key=lambda code: -counts[code])
            found[name] = (
                f"column {name!r} has {rows:,} row{'s' * (rows != 1)} of {data.steps:,} with values that the training "
                f"part does not have, or has once: {listed([levels[code] for code in most], 3)}; they are all read as "
                "one unknown value."
            )
    return found


def answer(
    model: keras.Model, preparation: Preparation, data: SequenceData, *, feeds: Any, pad_value: float = 0.0
) -> Predictions:
    """Predictions for every sequence; for forecasts the horizon after each series' last observed target."""
    if not len(data):
        raise DataError(f"{data.source} has no sequences to predict.")
    if preparation.forecast is not None:
        examples, last = preparation.latest(data)
        scaled = predict_examples(model, examples, feeds, pad_value=pad_value)
        assert preparation.outputs is not None
        return Predictions(
            schema=replace(preparation.schema, stamps=data.schema.stamps),
            values=preparation.outputs.invert(scaled),
            ids=data.ids,
            time=_times_ahead(data, preparation, last, preparation.forecast.horizon),
            notes=tuple(unseen_categories(preparation, data).values()),
        )
    examples = preparation.apply(data, targets=False)
    outputs = predict_examples(model, examples, feeds, pad_value=pad_value)
    per_step = examples.per == "step"
    values, probabilities = values_of(preparation, outputs)
    if per_step:
        values = Ragged(values, data.offsets)
        probabilities = None if probabilities is None else Ragged(probabilities, data.offsets)
    return Predictions(
        schema=replace(preparation.schema, stamps=data.schema.stamps),
        values=values,
        ids=data.ids,
        probabilities=probabilities,
        classes=preparation.classes,
        time=data.time if per_step else None,
        notes=tuple(unseen_categories(preparation, data).values()),
    )


def values_of(preparation: Preparation, outputs: np.ndarray) -> tuple[Any, Any]:
    """What the network's outputs say: classes and their probabilities, or numbers in their own unit and None."""
    if preparation.classes:
        probabilities = as_probabilities(outputs, len(preparation.classes))
        return preparation.labels(probabilities), probabilities
    assert preparation.outputs is not None
    return preparation.outputs.invert(outputs), None


def _times_ahead(data: SequenceData, preparation: Preparation, last: np.ndarray, horizon: int) -> np.ndarray | None:
    if data.time is None:
        return None
    zone, calendar = _calendar(data, preparation)
    times = []
    made: dict[bytes, np.ndarray] = {}  # the series of a panel often have the same stamps
    for b, row in enumerate(last):
        given = data.time[row + 1 : data.offsets[b + 1]][:horizon]
        known = np.concatenate([data.time[data.offsets[b] : row + 1], given])
        key = hashlib.blake2b(known.tobytes(), salt=len(given).to_bytes(8)).digest()
        if key not in made:
            made[key] = following_times(known, horizon - len(given), calendar=calendar, zone=zone)
        times.append(np.concatenate([given, made[key]]))
    return np.stack(times)


def _calendar(data: SequenceData, preparation: Preparation) -> tuple[str | None, Calendar | None]:
    """The zone of the data, and the calendar for series that are too short to show theirs."""
    here, trained = data.schema.stamps, preparation.schema.stamps
    zone, calendar = (None, None) if here is None else (here.zone, here.calendar)
    if trained is not None and (calendar is None or calendar.kind == "step"):
        calendar = trained.calendar
    return zone, calendar
