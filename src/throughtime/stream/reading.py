"""Rows of text read by what reads a whole file of them, so that a stream and ``predict`` see the same values.

The rows that are there are written as a small file and read as ``read_like`` reads any. What a column of text means may
depend on its other rows (an integer's column, a date's order), so a row of each form that was seen is read along: a row
that would change how those are read is refused.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
import weakref
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.columns import as_text
from ..data.sequences import Schema, SequenceData
from ..data.tables import read_like
from ..data.transforms import Preparation, input_names, raw_inputs
from ..errors import DataError, listed, nearest
from .records import Record

FORMS = 400  # rows that are read along at most; a form is what is left of numbers without their digits
DIGITS = re.compile(r"\d+")
LETTERS = re.compile(r"[^\W\d_]")
# The row that a message names is one of the small file's.
ROW = re.compile(r",?( the)?( first)? (in row|at time step) \d+")


class Reading:
    """Reads rows of text as a run's table.

    Args:
        preparation: of the run.
    """

    def __init__(self, preparation: Preparation) -> None:
        schema = preparation.schema
        self._preparation, self._schema = preparation, schema
        self._times = times_of(schema)
        self.columns = tuple(dict.fromkeys(
            (*schema.numbers, *schema.categories, *schema.target, *self._times, *filter(None, [schema.sequence]))
        ))  # fmt: skip
        self._numeric = {*schema.numbers, *(schema.target if preparation.outputs is not None else ())}
        self._made: Path | None = None
        self._known: dict[tuple[str, ...], Record] = {}
        self._before: tuple[np.ndarray, Any] = (np.empty((0, len(input_names(schema)))), None)

    def time_of(self, record: Record) -> Any:
        """The time of a row as it was written; None where it has none."""
        given = [record.values[name] for name in self._times if name in record.values]
        return None if not given else given[0] if len(given) == 1 else " ".join(map(str, given))

    def read(self, records: list[Record]) -> SequenceData:
        """The rows, each a sequence of one step.

        Raises:
            DataError: what a file of these rows is refused for.
        """
        given = {name for record in records for name in record.values}
        names = [name for name in self.columns if name in given and name != self._schema.sequence]
        timed = not given.isdisjoint(self._times)
        row = "row"
        while row in names:
            row += "_"
        along = list(self._known.values())
        path = self._folder() / "input.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([row, *names])
            for place, record in enumerate((*records, *along)):
                writer.writerow([place, *(self._cell(record, name) for name in names)])
        schema = replace(
            self._schema, sequence=row, encoding=None, skip=0,
            time=self._schema.time if timed else None, time_parts=self._schema.time_parts if timed else (),
        )  # fmt: skip
        data = read_like(path, schema, self._preparation.forecast, per=self._preparation.per)
        self._refuse_other_reading(data, len(records))
        return data.take(np.arange(len(records))) if along else data

    def learn(self, records: list[Record], data: SequenceData) -> None:
        """Remembers rows of new forms, and how they were read."""
        numbers, time = self._before
        places = []
        for place, record in enumerate(records):
            form = self._form(record)
            if form not in self._known and len(self._known) < FORMS:
                self._known[form] = record
                places.append(place)
        if places:
            self._before = (
                np.concatenate([numbers, raw_inputs(data)[places]]),
                None if data.time is None else data.time[places] if time is None
                else np.concatenate([time, data.time[places].astype(np.result_type(time, data.time))]),
            )  # fmt: skip

    def _refuse_other_reading(self, data: SequenceData, new: int) -> None:
        """Raises DataError where rows that were read before are other numbers or times beside the new ones."""
        numbers, time = self._before
        same = np.array_equal(raw_inputs(data)[new:], numbers, equal_nan=True)
        if same and time is not None and data.time is not None:
            same = data.time.dtype.kind == time.dtype.kind or "M" not in (data.time.dtype.kind, time.dtype.kind)
            same = same and bool((data.time[new:] == time).all())
        if not same:
            raise DataError("it is written so that rows before it would be read as other values; write all rows alike.")

    def _folder(self) -> Path:
        """One for all reads, gone with this object: to make and remove it takes as long as to read a row."""
        if self._made is None:
            self._made = Path(tempfile.mkdtemp(prefix="throughtime-"))
            weakref.finalize(self, shutil.rmtree, self._made, ignore_errors=True)
        return self._made

    def _cell(self, record: Record, name: str) -> str:
        value = record.values.get(name)
        if isinstance(value, list | dict):
            raise DataError(f"column {name!r} holds {type(value).__name__} of JSON; a row has single values.")
        if value is None:
            return ""
        if isinstance(value, bool) and name in self._numeric:
            return "true" if value else "false"
        text = value if isinstance(value, str) else as_text((value,))[0] if name not in self._numeric else repr(value)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"column {name!r} holds {text!r}, which is no text: half of a letter.") from error
        return text

    def _form(self, record: Record) -> tuple[str, ...]:
        """What decides how the cells of a row are read: numbers without their digits, times without their letters."""
        cells = [DIGITS.sub(_few, self._cell(record, name)) for name in sorted(self._numeric) if name in record.values]
        times = [str(record.values[name]) for name in self._times if name in record.values]
        return (*cells, *(LETTERS.sub("a", DIGITS.sub(_all, time)) for time in times))


def without_row(error: DataError) -> str:
    """What an error of the small file says, without the row in it."""
    return ROW.sub("", str(error))


def _few(digits: re.Match[str]) -> str:
    return "9" * min(5, len(digits.group()))


def _all(digits: re.Match[str]) -> str:
    return "9" * len(digits.group())


def times_of(schema: Schema) -> tuple[str, ...]:
    """The columns of the time."""
    return schema.time_parts or ((schema.time,) if schema.time else ())


def require_columns(schema: Schema, given: Collection[str], where: str, *, one_sequence: bool) -> None:
    """Raises DataError where a column that the run needs is not there.

    Args:
        one_sequence: whether the sequence and time columns may be missing.
    """
    forecast = schema.task == "forecast"
    for name in (*(schema.target if forecast else ()), *schema.numbers, *schema.categories):
        if name not in given:
            raise DataError(f"{where} has no column {name!r}, which the run needs.{nearest(name, given)}")
    some = [name for name in schema.target if name in given]
    if some and len(some) < len(schema.target):
        lacking = [name for name in schema.target if name not in some]
        raise DataError(f"{where} lacks the target column {listed(lacking)}, which goes with the others.")
    for role, names in (("sequence", tuple(filter(None, [schema.sequence]))), ("time", times_of(schema))):
        absent = [name for name in names if name not in given]
        if absent and (not one_sequence or len(absent) < len(names)):
            raise DataError(
                f"{where} has no column {absent[0]!r}, the run's {role} column.{nearest(absent[0], given)} Rows of one "
                "sequence in the order of time: say one_sequence=True (--one-sequence)."
            )
