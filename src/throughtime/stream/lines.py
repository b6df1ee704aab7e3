"""A trained run that is given the rows of its table one after the other, as CSV or JSON lines, and predicts after each.

Rows are prepared as ``Run.predict`` prepares a table: the scalers, vocabularies and indicators of the training part, a
missing value taken from the row before in its sequence. So a prediction is that of ``predict`` for the rows so far.
Lines of text are read by what reads a file (``reading.py``), so that a number, a date or a label is what it is there.
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import columns as col
from ..data.examples import Examples
from ..data.missing import Absent
from ..data.sequences import Schema, SequenceData, Target
from ..data.spelling import MISSING
from ..data.transforms import raw_inputs
from ..data.typed import VERBATIM
from ..errors import ArgumentError, DataError, listed, nearest
from ..files import finite
from ..ragged import Ragged
from ..training.predictions import Predictions, predict_examples, unseen_categories, values_of
from ..training.run import Run
from .reading import Reading, require_columns, without_row
from .records import Record, Records
from .stream import Stream

if TYPE_CHECKING:
    import pyarrow as pa

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One row, prepared.

    Args:
        where: what it is called.
        id: of its sequence; 0 where ``named`` is False, all rows being one sequence.
        raw, time: its time as it was given, and as it compares; ``timed``: whether it has one.
        numbers, codes, absent: for the network, and which numbers are missing.
        target: of a forecast, the past.
    """

    where: str
    id: Any
    named: bool
    raw: Any
    timed: bool
    time: Any
    numbers: np.ndarray
    codes: np.ndarray
    absent: np.ndarray
    target: np.ndarray | None


@dataclass
class _Past:
    """What is kept of one sequence: the number of rows, the last values, a forecast's window, a stream's states."""

    rows: int = 0
    time: Any = None
    filled: np.ndarray | None = None
    window: deque[tuple[np.ndarray, np.ndarray]] = field(default_factory=deque)
    states: bytes | None = None


class RunStream:
    """A run's predictions row by row.

    A network that answers at each step carries its states (``Stream``). One that answers once a sequence is asked about
    the rows so far. A forecaster looks back on a window: the last rows are kept, and there is no answer before it is
    full. Rows of several sequences may be mixed; what is kept of each grows with their number alone.

    Args:
        run: trained; its network one that Stream can have, or a forecaster without known covariates.
        note: is given what is to be said of the rows, such as a category that the run was not trained on.

    Raises:
        ArgumentError: a network that needs steps that have not come yet, such as a bidirectional one.

    Example:
        >>> from throughtime.data.arrays import from_arrays
        >>> from throughtime.training.train import train
        >>> x = [np.random.default_rng(row).normal(size=(20, 1)) for row in range(24)]
        >>> run = train(from_arrays(x, [np.cumsum(one, axis=0) for one in x]), epochs=1, progress=False)
        >>> stream = RunStream(run)
        >>> answers = [stream.push({"x0": value}) for value in (0.5, -1.0)]
        >>> answers[1].num_rows
        1
    """

    def __init__(self, run: Run, *, note: Note = lambda _: None) -> None:
        self._run, self._forecast = run, run.preparation.forecast
        if self._forecast is not None and self._forecast.known:
            raise ArgumentError(
                f"the forecasts of this run need {listed(self._forecast.known)} of the steps ahead, which a stream has "
                "not seen yet; use predict on a table that has them."
            )
        # A forecast's rows are prepared one by one, and laid into windows here.
        self._preparation = replace(run.preparation, forecast=None)
        self._stream = None if self._forecast is not None else Stream(run.model)
        self._pasts: dict[Any, _Past] = {}
        self._current: _Past | None = None
        self._note, self._noted = note, set[str]()
        self._kind: tuple[Any, ...] | None = None
        self._reading = Reading(run.preparation)
        schema = self._preparation.schema
        self._absent = Absent.of(schema.na_values)
        self._reads = {
            name: _Texts(name, schema.spelling(name) == VERBATIM, self._absent)
            for name in (*schema.categories, str(schema.sequence))
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the run reads, the sequence and time columns too."""
        return self._reading.columns

    def push(self, row: dict[str, Any], *, where: str = "the row") -> pa.Table | None:
        """The prediction after one more row.

        Args:
            row: values by column: those of the run's inputs, the target of a forecast, and, if they are there, the
                sequence and time columns. Numbers or text; None, NaN and what a table takes for missing are missing.
            where: what the row is called in errors.

        Returns:
            The rows that ``Predictions.table`` gives for it: one, or for a forecast one for each step of the horizon,
            with the time of the last row in a column "after_<time>". None while a forecast's window is not full, and
            after a row without a target.

        Raises:
            DataError: a column is missing, or holds what is no number where one is needed; a row that is earlier than
                the one before it in its sequence.
        """
        schema = self._preparation.schema
        data = self._read(row, where)
        given = schema.time_parts or ((schema.time,) if schema.time else ())
        timed = bool(given) and all(name in row for name in given)
        raw = None
        if timed:
            raw = row[given[0]] if len(given) == 1 else " ".join(str(row[name]) for name in given)
        numbers, codes, absent = self._prepared(data)
        step = _Step(
            where=where, id=data.ids[0], named=schema.sequence in row, raw=raw, timed=timed,
            time=_comparable(raw, where) if timed else None, numbers=numbers[0], codes=codes[0], absent=absent[0],
            target=None if data.target is None else data.target.values[0],
        )  # fmt: skip
        self._note_unseen(data)
        return self._advance(step)

    def push_records(self, records: list[Record]) -> Iterator[pa.Table]:
        """The predictions after rows of text, as they stand in a file; of those that come together, read together.

        Raises:
            DataError: what ``predict`` refuses in a file of these rows, with the line, after the rows before it.
        """
        if not records:
            return
        try:
            data = self._reading.read(records)
            numbers, codes, absent = self._prepared(data)
        except DataError as error:
            if len(records) == 1:
                raise DataError(f"{records[0].where}: {without_row(error)}") from error
            half = len(records) // 2  # the rows before the one that is refused are answered
            yield from self.push_records(records[:half])
            yield from self.push_records(records[half:])
            return
        self._note_unseen(data)
        self._reading.learn(records, data)
        schema = self._preparation.schema
        for place, record in enumerate(records):
            name = schema.sequence
            named = name is not None and name in record.values
            step = _Step(
                where=record.where,
                id=self._reads[str(name)].id(record.values[str(name)], record.where) if named else 0,
                named=named, raw=self._reading.time_of(record), timed=data.time is not None,
                time=None if data.time is None else data.time[place],
                numbers=numbers[place], codes=codes[place], absent=absent[place],
                target=None if self._forecast is None or data.target is None else data.target.values[place],
            )  # fmt: skip
            table = self._advance(step)
            if table is not None:
                yield table

    def _prepared(self, data: SequenceData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers and codes as the network takes them, and which of the numbers are missing."""
        examples = self._preparation.apply(data, targets=False)
        return examples.numbers, examples.codes, np.isnan(raw_inputs(data))

    def too_short(self) -> list[Any]:
        """The sequences that have fewer rows than a forecast looks back on."""
        window = 0 if self._forecast is None else self._forecast.window or 0
        return [name for name, past in self._pasts.items() if past.rows < window]

    def _note_unseen(self, data: SequenceData) -> None:
        for name, found in unseen_categories(self._preparation, data).items():
            if name not in self._noted:
                self._noted.add(name)
                self._note(f"{found} (said once a column)")

    def _advance(self, step: _Step) -> pa.Table | None:
        """What follows from one more row of a sequence."""
        self._refuse_other_kind(step)
        past = self._pasts.setdefault(step.id, _Past())
        if step.timed:
            past.time = _in_order(past.time, step.time, step.raw, step.where)
        numbers, absent = step.numbers, np.flatnonzero(step.absent)
        if past.filled is not None:
            numbers[absent] = past.filled[absent]
        past.filled, past.rows = numbers, past.rows + 1
        schema = self._preparation.schema
        schema = replace(
            schema, sequence=schema.sequence if step.named else None, time=schema.time if step.timed else None
        )
        at = _moment(step.raw) if step.timed else past.rows - 1
        if self._forecast is not None:
            return self._ahead(past, step, schema, at)
        outputs = self._answer(past, numbers, step.codes)[None]
        values, probabilities = values_of(self._preparation, outputs)
        offsets = np.array([0, 1])
        table = Predictions(
            schema=schema, values=Ragged(values, offsets), ids=np.array([step.id], object),
            classes=self._preparation.classes,
            probabilities=None if probabilities is None else Ragged(probabilities, offsets),
        ).table()  # fmt: skip
        # The time as it was written; Predictions counts the steps.
        name = schema.time or "step"
        return table.set_column(table.column_names.index(name), name, [[at]])

    def _refuse_other_kind(self, step: _Step) -> None:
        """Sequences and times that only some rows have, or ids of two kinds, would be taken for other ones."""
        kind = (step.named, step.timed, isinstance(step.id, str) if step.named else None)
        if self._kind is None:
            self._kind = kind
        elif kind != self._kind:
            what = "ids that are text in some rows and numbers in others"
            if kind[:2] != self._kind[:2]:
                what = "a sequence or time column in some rows and none in others"
            raise DataError(f"{step.where} and the rows before it have {what}; give all rows the same.")

    def _answer(self, past: _Past, numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """The network's output after one more step of a sequence; its states are brought back if others came since."""
        stream = self._stream
        assert stream is not None
        if past is not self._current:
            if self._current is not None:
                self._current.states = stream.snapshot()
            if past.states is None:
                stream.reset()
            else:
                stream.restore(past.states)
            self._current = past
        arrays = {"numbers": numbers, "codes": codes, "mask": np.array(True)}
        feeds = self._run.feeds
        if isinstance(feeds, str):
            # Keras takes (batch, T, 1) for an input (batch, T).
            array = arrays[feeds]
            return stream.push(array[0] if len(self._run.model.inputs[0].shape) == 2 else array)
        return stream.push({name: arrays[name] for name in feeds})

    def _ahead(self, past: _Past, step: _Step, schema: Schema, at: Any) -> pa.Table | None:
        """A forecast from the last rows."""
        assert self._forecast is not None and self._forecast.window is not None
        window, horizon = self._forecast.window, self._forecast.horizon
        past.window.append((step.numbers, step.codes))
        if len(past.window) > window:
            past.window.popleft()
        assert step.target is not None
        if len(past.window) < window or np.isnan(step.target).all():
            return None
        rows = [np.stack(kept) for kept in zip(*past.window, strict=True)]
        examples = Examples(
            numbers=rows[0], codes=rows[1], starts=np.array([0]), lengths=np.array([window]), per="horizon",
            targets=None, horizon=horizon,
        )  # fmt: skip
        scaled = predict_examples(self._run.model, examples, self._run.feeds, pad_value=self._run.pad_value)
        assert self._preparation.outputs is not None
        table = Predictions(
            schema=schema, values=self._preparation.outputs.invert(scaled), ids=np.array([step.id], object)
        ).table()  # fmt: skip
        place = table.column_names.index("step_ahead")
        return table.add_column(place, f"after_{schema.time or 'step'}", [[at] * horizon])

    def _read(self, row: dict[str, Any], where: str) -> SequenceData:
        """The row as SequenceData of one step."""
        schema = self._preparation.schema
        targets = schema.target if self._forecast is not None else ()
        name = str(schema.sequence)
        for column in (*targets, *schema.numbers, *schema.categories):
            if column not in row:
                raise DataError(f"{where} has no column {column!r}, which the run needs.{nearest(column, row)}")
        labels = [self._reads[name].label(row[name], where) for name in schema.categories]
        past = [[self._number(row[name], name, where) for name in targets]]
        return SequenceData(
            offsets=np.array([0, 1]),
            numbers=np.array([[self._number(row[name], name, where) for name in schema.numbers]]).reshape(1, -1),
            categories=np.array([[-1 if label is None else 0 for label in labels]], np.int32).reshape(1, -1),
            levels=tuple(() if label is None else (label,) for label in labels),
            target=Target(names=targets, kind="number", per="step", values=np.array(past)) if targets else None,
            ids=np.array([self._reads[name].id(row[name], where) if name in row else 0], object),
            time=None,
            schema=schema,
            forecast=self._forecast,
            source=where,
        )

    def _number(self, value: Any, name: str, where: str) -> float:
        if self._absent.has(value):
            return float("nan")
        if isinstance(value, str) or value is None or isinstance(value, bool | int | float | np.number | np.bool_):
            try:
                return col.number(value, self._preparation.schema.spelling(name), name=name)
            except OverflowError:
                return float("inf")  # an integer beyond all floats, as a file has it
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{where} has {value!r} in column {name!r}; a number is needed, or nothing.") from error


def answers(
    run: Run, lines: Iterable[str], *, one_sequence: bool = False, note: Note = lambda _: None
) -> Iterator[tuple[pa.Table, bool]]:
    """The predictions after each line, as tables, and whether the lines are JSON.

    Args:
        lines: CSV with a header (the delimiter is seen from it), or a JSON object a line; with or without line ends.
        one_sequence: the rows are of one sequence, in the order of time: no sequence or time column is needed.
        note: is given what is to be said of the rows, such as categories that the run was not trained on.

    Raises:
        ArgumentError: a network that cannot be asked after each row.
        DataError: a line that is neither, or what ``predict`` refuses in a file of these lines; the line is named.
    """
    whole = (line if line.endswith(("\n", "\r")) else f"{line}\n" for line in lines)
    return answer_pieces(run, whole, one_sequence=one_sequence, note=note)


def answer_pieces(
    run: Run, pieces: Iterable[str], *, one_sequence: bool = False, note: Note = lambda _: None
) -> Iterator[tuple[pa.Table, bool]]:
    """As ``answers``, of text in pieces that end anywhere; rows that come in one piece are read together."""
    stream = RunStream(run, note=note)
    schema = run.preparation.schema
    records = Records(stream.columns, encoding=schema.encoding, skip=schema.skip)
    rows = 0
    for text in _with_end(pieces):
        found: list[Record] = []
        failure: DataError | None = None
        try:
            for record in records.finish() if text is None else records.feed(text):
                if records.as_json:
                    require_columns(schema, record.values, record.where, one_sequence=one_sequence)
                found.append(record)
        except DataError as error:  # the rows before it are answered
            failure = error
        if records.header is not None:
            require_columns(schema, records.header, "the header", one_sequence=one_sequence)
        rows += len(found)
        for table in stream.push_records(found):
            yield table, bool(records.as_json)
        if failure is not None:
            raise failure
    if not rows:
        raise DataError("the input is empty: there is no row to predict.")
    short = stream.too_short()
    if short:
        have = "has" if len(short) == 1 else "have"
        note(f"{listed(short, 3)} ended before a forecast's window was full, and {have} no forecast.")


def _with_end(pieces: Iterable[str]) -> Iterator[str | None]:
    yield from pieces
    yield None


def written(table: pa.Table, *, as_json: bool, header: bool) -> bytes:
    """Predictions as they came: JSON lines, or CSV, with a header if asked for."""
    from pyarrow import csv as arrow_csv

    if as_json:
        return b"".join(json.dumps(finite(row), default=str).encode() + b"\n" for row in table.to_pylist())
    out = io.BytesIO()
    arrow_csv.write_csv(table, out, arrow_csv.WriteOptions(include_header=header))
    return out.getvalue()


def _moment(value: Any) -> Any:
    """A time as it is written out again: a number if it was one, in a CSV's text as well."""
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            return _storable(kind(value))
        except ValueError:
            continue
    return _storable(value)


def _storable(value: Any) -> Any:
    """An integer that a table cannot hold, as text."""
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _comparable(value: Any, where: str) -> Any:
    """The time of a row, where it is a number or a date; of other text the order is not known, and None."""
    if _is_missing(value):
        raise DataError(f"{where} has no time; each row needs one, or none has.")
    if isinstance(value, datetime | np.datetime64):
        return value
    try:
        return datetime(value.year, value.month, value.day) if isinstance(value, date) else float(value)
    except (TypeError, ValueError, OverflowError):
        try:
            return datetime.fromisoformat(str(value).strip())
        except ValueError:
            return None


def _in_order(before: Any, now: Any, raw: Any, where: str) -> Any:
    """The later time; refused where it is not later than the one before in its sequence."""
    if now is None or before is None:
        return before if now is None else now
    dated = [isinstance(one, datetime | np.datetime64) for one in (before, now)]
    try:
        late, same = bool(now < before), bool(now == before)
    except TypeError:  # a date without a zone after one with
        dated = [True, False]
    if dated[0] != dated[1]:
        raise DataError(f"{where} has the time {raw}, which is of another kind than {before} before it; write all "
                        "times in one way.")  # fmt: skip
    if late:
        raise DataError(f"{where} has the time {raw}, and the row before it in its sequence a later one, {before}; "
                        "rows are accepted in the order of time.")  # fmt: skip
    if same:
        raise DataError(f"{where} repeats the time {raw} within its sequence; drop or average the repeats.")
    return now


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip() in MISSING)


@dataclass(frozen=True)
class _Texts:
    """How the values of one column are read as names, as a table reads them."""

    name: str
    verbatim: bool
    absent: Absent

    def id(self, value: Any, where: str) -> Any:
        """The value of the sequence column: a single one."""
        if isinstance(value, list | dict | tuple | set | np.ndarray):
            raise DataError(
                f"{where} has {type(value).__name__} in column {self.name!r}; a sequence is named by one value."
            )
        if self._is_missing(value):
            raise DataError(f"{where} has nothing in column {self.name!r}, which names its sequence; fill it in.")
        return _storable(self._trimmed(value))

    def label(self, value: Any, where: str) -> str | None:
        if isinstance(value, list | dict | tuple | set | np.ndarray):
            raise DataError(f"{where} has {type(value).__name__} in column {self.name!r}; a category is one value.")
        if self._is_missing(value):
            return None
        return self._trimmed(value) if isinstance(value, str) else col.as_text((value,))[0]

    def _is_missing(self, value: Any) -> bool:
        if self.verbatim and isinstance(value, str):
            return value == "" or self.absent.has(value)
        return _is_missing(value) or self.absent.has(value)

    def _trimmed(self, value: Any) -> Any:
        return value.strip() if isinstance(value, str) and not self.verbatim else value
