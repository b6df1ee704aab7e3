"""A trained run that is given the rows of its table one after the other, as CSV or JSON lines, and predicts after each.

Rows are prepared as ``Run.predict`` prepares a table: the scalers, vocabularies and indicators of the training part, a
missing value taken from the row before in its sequence. So a prediction is that of ``predict`` for the rows so far.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.columns import as_text
from ..data.examples import Examples
from ..data.sequences import SequenceData, Target
from ..data.sources import MISSING
from ..data.transforms import raw_inputs
from ..errors import ArgumentError, DataError, listed, nearest
from ..files import finite
from ..ragged import Ragged
from ..training.predictions import Predictions, predict_examples, values_of
from ..training.run import Run
from .stream import Stream

if TYPE_CHECKING:
    import pyarrow as pa

_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass
class _Past:
    """What is kept of one sequence: the number of rows, the last values, a forecast's window, a stream's states."""

    rows: int = 0
    time: float | datetime | None = None
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

    def __init__(self, run: Run) -> None:
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
        past = self._pasts.setdefault(data.ids[0], _Past())
        if schema.time in row:
            past.time = _in_order(past.time, row[schema.time], where)
        examples = self._preparation.apply(data, targets=False)
        numbers, codes = examples.numbers[0], examples.codes[0]
        absent = np.flatnonzero(np.isnan(raw_inputs(data)[0]))
        if past.filled is not None:
            numbers[absent] = past.filled[absent]
        past.filled, past.rows = numbers, past.rows + 1
        schema = replace(
            schema,
            sequence=schema.sequence if schema.sequence in row else None,
            time=schema.time if schema.time in row else None,
        )
        at = np.array([past.rows - 1 if schema.time is None else _moment(row[schema.time])], object)
        if self._forecast is not None:
            return self._ahead(past, numbers, codes, replace(data, schema=schema), at)
        outputs = self._answer(past, numbers, codes)[None]
        values, probabilities = values_of(self._preparation, outputs)
        return Predictions(
            schema=schema, values=Ragged(values, data.offsets), ids=data.ids, time=at,
            classes=self._preparation.classes,
            probabilities=None if probabilities is None else Ragged(probabilities, data.offsets),
        ).table()  # fmt: skip

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

    def _ahead(
        self, past: _Past, numbers: np.ndarray, codes: np.ndarray, data: SequenceData, at: np.ndarray
    ) -> pa.Table | None:
        """A forecast from the last rows."""
        assert self._forecast is not None and self._forecast.window is not None
        window, horizon = self._forecast.window, self._forecast.horizon
        past.window.append((numbers, codes))
        if len(past.window) > window:
            past.window.popleft()
        assert data.target is not None
        if len(past.window) < window or np.isnan(data.target.values).all():
            return None
        rows = [np.stack(kept) for kept in zip(*past.window, strict=True)]
        examples = Examples(
            numbers=rows[0], codes=rows[1], starts=np.array([0]), lengths=np.array([window]), per="horizon",
            targets=None, horizon=horizon,
        )  # fmt: skip
        scaled = predict_examples(self._run.model, examples, self._run.feeds, pad_value=self._run.pad_value)
        assert self._preparation.outputs is not None
        table = Predictions(
            schema=data.schema, values=self._preparation.outputs.invert(scaled), ids=data.ids
        ).table()  # fmt: skip
        place = table.column_names.index("step_ahead")
        return table.add_column(place, f"after_{data.schema.time or 'step'}", [[at[0]] * horizon])

    def _read(self, row: dict[str, Any], where: str) -> SequenceData:
        """The row as SequenceData of one step."""
        schema = self._preparation.schema
        targets = schema.target if self._forecast is not None else ()
        for name in (*targets, *schema.numbers, *schema.categories):
            if name not in row:
                raise DataError(f"{where} has no column {name!r}, which the run needs.{nearest(name, row)}")
        labels = [_label(row[name]) for name in schema.categories]
        past = [[_number(row[name], name, where) for name in targets]]
        return SequenceData(
            offsets=np.array([0, 1]),
            numbers=np.array([[_number(row[name], name, where) for name in schema.numbers]], float).reshape(1, -1),
            categories=np.array([[-1 if label is None else 0 for label in labels]], np.int32).reshape(1, -1),
            levels=tuple(() if label is None else (label,) for label in labels),
            target=Target(names=targets, kind="number", per="step", values=np.array(past)) if targets else None,
            ids=np.array([row.get(schema.sequence) if schema.sequence else 0], object),
            time=None,
            schema=schema,
            forecast=self._forecast,
            source=where,
        )


def answers(run: Run, lines: Iterable[str]) -> Iterator[tuple[pa.Table, bool]]:
    """The predictions after each line, as tables, and whether the lines are JSON.

    Args:
        lines: CSV with a header (the delimiter is seen from it), or a JSON object a line; empty lines are left out.

    Raises:
        ArgumentError: a network that cannot be asked after each row.
        DataError: a line that is neither, or has not the columns of the run; the line's number is named.
    """
    stream, header, as_json, delimiter = RunStream(run), None, False, ","
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if header is None and not as_json:
            as_json = line.lstrip().startswith("{")
            if not as_json:
                delimiter = max(",;\t|", key=line.count)
                header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
                continue
        where = f"line {number}"
        table = stream.push(_object(line, where) if as_json else _fields(line, header, delimiter, where), where=where)
        if table is not None:
            yield table, as_json


def written(table: pa.Table, *, as_json: bool, header: bool) -> bytes:
    """Predictions as they came: JSON lines, or CSV, with a header if asked for."""
    from pyarrow import csv as arrow_csv

    if as_json:
        return b"".join(json.dumps(finite(row), default=str).encode() + b"\n" for row in table.to_pylist())
    out = io.BytesIO()
    arrow_csv.write_csv(table, out, arrow_csv.WriteOptions(include_header=header))
    return out.getvalue()


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is no JSON ({error}); a line is one object, as the first one was.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__} in JSON; a line is an object of columns and values.")
    return row


def _fields(line: str, header: list[str] | None, delimiter: str, where: str) -> dict[str, Any]:
    assert header is not None
    fields = next(csv.reader([line], delimiter=delimiter))
    if len(fields) != len(header):
        raise DataError(f"{where} has {len(fields)} fields, and the header {len(header)}: {listed(header)}.")
    return dict(zip(header, fields, strict=True))


def _number(value: Any, name: str, where: str) -> float:
    if value is None or (isinstance(value, str) and value.strip() in MISSING):
        return float("nan")
    if isinstance(value, str) and value.strip().lower() in _TRUTH:
        return _TRUTH[value.strip().lower()]
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has {value!r} in column {name!r}; a number is needed, or nothing.") from error


def _moment(value: Any) -> Any:
    """A time as it is written out again: a number if it was one, in a CSV's text as well."""
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _in_order(before: float | datetime | None, value: Any, where: str) -> float | datetime | None:
    """The time of a row, where it is a number or a date; of other text the order is not known."""
    try:
        now: float | datetime = value if isinstance(value, datetime) else float(value)
    except (TypeError, ValueError):
        try:
            now = datetime.fromisoformat(str(value).strip())
        except ValueError:
            return before
    try:
        late = before is not None and now < before  # type: ignore[operator]
    except TypeError:  # a number after a date, or a date without a zone after one with
        late = False
    if late:
        raise DataError(f"{where} has the time {value}, and the row before it in its sequence a later one, {before}; "
                        "rows are accepted in the order of time.")  # fmt: skip
    return now


def _label(value: Any) -> str | None:
    if value is None or value != value or (isinstance(value, str) and value.strip() in MISSING):
        return None
    return value if isinstance(value, str) else as_text((value,))[0]
