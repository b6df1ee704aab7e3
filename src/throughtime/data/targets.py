"""What is to be predicted: the target columns, and the task where none was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import ArgumentError, DataError, listed
from . import columns as col
from .rows import Rows
from .sequences import Schema, Target, Task
from .typed import Typed

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 20  # an integer target with more distinct values than this is a number


def refuse_target_kinds(table: Typed, targets: list[str], task: str | None) -> None:
    for name in targets:
        col.refuse_other(name, table.type(name))
        kind = table.kind(name)
        if kind == "date":
            raise DataError(f"target {name!r} holds dates ({table.what(name)}); a target is a number or a category.")
        if kind == "missing":
            raise DataError(f"target {name!r} has no value in any row.")
        if task == "regress" and kind == "category":
            if table.odd(name):
                raise DataError(f"target {name!r} is no column of numbers: {table.odd(name)}; mend it.")
            raise DataError(
                f"target {name!r} holds text, which is no number to regress on; say task='classify' (one a sequence) "
                "or task='tag' (one a step)."
            )
    if len(targets) > 1 and task != "regress":
        raise ArgumentError(
            f"several targets, {listed(targets)}, need task='regress' or a forecast (horizon=); given task={task!r}."
        )


def _finite(name: str, values: np.ndarray) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        raise DataError(
            f"target {name!r} is infinite in {int(infinite.sum())} of {len(values)} rows, first in row "
            f"{int(infinite.argmax()) + 1}; drop or replace these."
        )


def past(table: Typed, targets: list[str], rows: Rows, every: bool, notes: list[str]) -> Target:
    """The target of a forecast: the series themselves; gaps stay NaN."""
    values = np.empty((table.rows, len(targets)))
    kept: list[str] = []
    for name in targets:
        type = table.type(name)
        col.refuse_other(name, type)
        if str(type) == "bool" or table.kind(name) in ("category", "date"):
            if table.odd(name):
                raise DataError(
                    f"target {name!r} is no column of numbers: {table.odd(name)}; mend it, or leave the field empty."
                )
            text = table.kind(name) == "category" and str(type) != "bool"
            raise DataError(
                f"target {name!r} holds {table.what(name)}{'' if text else ' values'}; a forecast needs numbers ("
                + (f"dtypes={{{name!r}: 'number'}} says which value is none; " if text else "")
                + "for yes and no, write 1 and 0, or say task='tag' without horizon=)."
            )
        column = col.numbers(table.take(name))
        _finite(name, column)
        notes.extend(filter(None, [col.sentinel(name, column)]))
        if np.isnan(column).all():
            if not every:
                raise DataError(f"target {name!r} has no value in any row.")
            notes.append(f"Left out, as it has no value in any row: {name!r}.")
            continue
        values[:, len(kept)] = rows.move(column)
        kept.append(name)
    if not kept:
        raise DataError(f"none of the columns to forecast, {listed(targets)}, has a value.")
    if len(kept) < len(targets):
        values = values[:, : len(kept)].copy()
    return Target(names=tuple(kept), kind="number", per="step", values=values)


def learned(
    table: Typed, targets: list[str], rows: Rows, sequence: str | None, task: Task | None, notes: list[str]
) -> tuple[Task, Target]:
    """The target of every other task, and the task where none was said."""
    taken = {name: table.take(name) for name in targets}
    name, column = next(iter(taken.items()))
    labels = str(column.type) == "bool" or col.kind(column.type) == "category"
    if task is None and sequence is None and not labels:
        raise ArgumentError(
            f"target {name!r} is a number in one long series; give horizon= to forecast it, task='regress' to "
            "predict it from the other columns at every step, or sequence= where the table holds several sequences."
        )
    for one in targets:
        gaps = col.missing(taken[one])
        if gaps.any():
            raise DataError(
                f"target {one!r} is missing in {int(gaps.sum())} of {len(gaps)} rows, first in row "
                f"{int(gaps.argmax()) + 1}; drop these rows, or fill them in.{table.gone(one)}"
            )
    if task is None:
        task = _see_task(name, column, rows, sequence, labels, notes)
    firsts = rows.offsets[:-1]
    if task == "regress":
        moved = {}
        for name, column in taken.items():
            if col.kind(column.type) != "number":
                raise DataError(f"target {name!r} holds {column.type} values; a regression needs numbers.")
            values = col.numbers(column)
            _finite(name, values)
            _refuse_constant(name, values, column)
            notes.extend(filter(None, [col.sentinel(name, values)]))
            moved[name] = rows.move(values)
        steps = sequence is None or not all(rows.constant(values) for values in moved.values())
        stacked = np.stack([values if steps else values[firsts] for values in moved.values()], axis=1)
        return task, Target(
            names=tuple(moved), kind="number", per="step" if steps else "sequence", values=stacked.astype(np.float64)
        )
    if col.kind(column.type) == "number":
        _finite(name, col.numbers(column))
    codes, levels = col.categories(column)
    _refuse_constant(name, codes, column)
    codes = rows.move(codes)
    if task == "classify":
        if not rows.constant(codes):
            raise DataError(
                f"target {name!r} changes within a sequence, and task='classify' is one class a sequence; say "
                "task='tag' for one class a step" + (", or name the sequence column." if sequence is None else ".")
            )
        codes = codes[firsts]
    return task, Target(
        names=(name,), kind="category", per="sequence" if task == "classify" else "step", values=codes, levels=levels
    )


def _see_task(
    name: str, column: pa.ChunkedArray, rows: Rows, sequence: str | None, labels: bool, notes: list[str]
) -> Task:
    what = "true or false" if str(column.type) == "bool" else "text" if labels else "a number"
    if sequence is None:
        notes.append(f"Target {name!r} is {what} in one long series: task 'tag', one class a step.")
        return "tag"
    values = rows.move(col.categories(column)[0] if labels else col.numbers(column))
    if not rows.constant(values):
        if labels:
            notes.append(f"Target {name!r} is {what} and changes within sequences: task 'tag', one class a step.")
            return "tag"
        notes.append(
            f"Target {name!r} is a number and changes within sequences: task 'regress', one number a step (give "
            "horizon= to forecast it, or task='tag' for classes)."
        )
        return "regress"
    count = len(rows.offsets) - 1
    distinct = len(np.unique(values[rows.offsets[:-1]]))
    if labels:
        notes.append(f"Target {name!r} is {what} with {distinct} values, one a sequence: task 'classify'.")
        return "classify"
    if "int" in str(column.type) and distinct <= FEW and 2 * distinct < count:
        notes.append(
            f"Target {name!r} is an integer with {distinct} values, one a sequence: task 'classify' (say "
            "task='regress' for a number)."
        )
        return "classify"
    notes.append(
        f"Target {name!r} is a number with {distinct} values, one a sequence: task 'regress' (say task='classify' for "
        "classes)."
    )
    return "regress"


def _refuse_constant(name: str, values: np.ndarray, column: pa.ChunkedArray) -> None:
    if (values == values[0]).all():
        raise DataError(f"target {name!r} is {column[0].as_py()!r} in every row: nothing to learn.")


def refuse_unchanging(target: Target) -> None:
    """Raises DataError where no series of a forecast ever changes."""
    known = ~np.isnan(target.values)
    firsts = target.values[known.argmax(0), np.arange(target.values.shape[1])]
    if not ((target.values != firsts) & known).any():
        raise DataError(f"target {listed(target.names)} has one value in every row: nothing to learn.")


def target_like(table: Typed, schema: Schema, rows: Rows, per: Literal["sequence", "step"] | None) -> Target:
    """The target of a table to predict from, where NaN and -1 stand for what is missing."""
    per = {"classify": "sequence", "tag": "step", "forecast": "step"}.get(schema.task, per)  # type: ignore[assignment]
    if schema.task in ("classify", "tag"):
        (name,) = schema.target
        column = table.take(name)
        if col.kind(column.type) not in ("number", "category", "missing"):
            raise DataError(f"target {name!r} holds {column.type} values; it is a category in the table trained on.")
        codes, levels = col.categories(column)
        if all(isinstance(level, float) and level.is_integer() for level in levels):
            levels = tuple(int(level) for level in levels)  # integers with gaps come out of pandas as floats
        codes = rows.move(codes)
        if per == "sequence":
            codes = _once(name, codes, codes < 0, rows)
        return Target(names=(name,), kind="category", per=per or "step", values=codes, levels=levels)
    values = np.empty((table.rows, len(schema.target)))
    for k, name in enumerate(schema.target):
        column = col.numbers(table.take(name))
        _finite(name, column)
        values[:, k] = rows.move(column)
    gaps = np.isnan(values)
    if per is None:
        steady = all(_varies(values[:, k], gaps[:, k], rows) is None for k in range(values.shape[1]))
        per = "sequence" if schema.sequence is not None and steady else "step"
    if per == "sequence":
        columns = [_once(name, values[:, k], gaps[:, k], rows) for k, name in enumerate(schema.target)]
        values = np.stack(columns, axis=1)
    return Target(names=schema.target, kind="number", per=per, values=values)


def _filled(values: np.ndarray, gaps: np.ndarray, rows: Rows) -> np.ndarray:
    """``(B,)`` the first value of each sequence that is not missing; a missing one where there is none."""
    at = np.where(gaps, len(values), np.arange(len(values)))
    first = np.minimum.reduceat(at, rows.offsets[:-1])
    return values[np.where(first < len(values), first, rows.offsets[:-1])]


def _varies(values: np.ndarray, gaps: np.ndarray, rows: Rows) -> int | None:
    """The first sequence whose values differ, missing ones aside."""
    expected = np.repeat(_filled(values, gaps, rows), np.diff(rows.offsets))
    other = (values != expected) & ~gaps
    return int(np.searchsorted(rows.offsets, other.argmax(), side="right")) - 1 if other.any() else None


def _once(name: str, values: np.ndarray, gaps: np.ndarray, rows: Rows) -> np.ndarray:
    odd = _varies(values, gaps, rows)
    if odd is not None:
        raise DataError(
            f"target {name!r} changes within sequence {rows.ids[odd]!s}, and it was one a sequence in the table "
            "trained on; check the sequence column."
        )
    return _filled(values, gaps, rows)
