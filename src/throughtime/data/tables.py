"""Tables in long form, one row a time step, as SequenceData.

``read_table`` decides what the columns mean and says so in ``notes``; ``read_like`` reads another table by what was
decided then. Rows are counted from 1, without the header. Columns are read, moved into the order of the sequences and
let go one after the other, so that ten million rows need little more memory than their values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ..errors import ArgumentError, DataError, choose, counted, listed
from . import columns as col
from .rows import Rows, arrange
from .sequences import TASKS, Forecast, Schema, SequenceData, Task
from .sources import open_table
from .stamps import uneven
from .targets import learned, past, refuse_target_kinds, refuse_unchanging, target_like
from .typed import TEXT, VERBATIM, Typed

UNNAMED = re.compile(r"|Unnamed: \d+(_level_\d+)?")
CODES = {
    "id", "ids", "uid", "uuid", "guid", "zip", "zipcode", "postcode", "postal", "plz", "cep", "phone", "tel",
    "telephone", "telefon", "mobile", "fax", "code", "nr", "sku", "ean", "upc", "isbn", "iban", "serial", "ssn",
}  # fmt: skip
MANY = 20  # fewer levels than this are not too many for any table


def read_table(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    sequence: str | None = None,
    time: str | Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    known: str | Sequence[str] = (),
    task: Task | None = None,
    horizon: int | None = None,
    window: int | None = None,
    dtypes: Mapping[str, str] | None = None,
    na_values: str | float | Sequence[str | float] = (),
    encoding: str | None = None,
    skip: int | None = None,
) -> SequenceData:
    """A table in long form, one row a time step, as sequences.

    Text and categorical columns become category inputs; numbers and booleans (0 and 1) become numeric inputs, float32
    where that holds every value of the columns' types, else float64. Empty fields, NA, NaN, null, None and ? are
    missing. Text whose values are all numbers is read as numbers, also where it is written for people ($1,234.50, 12%
    as 12, 1 234,5, 12.3M); integers with leading zeros stay text. Columns of dates other than ``time``, columns without
    a name and columns with no value at all are left out. ``notes`` says all of this.

    Args:
        source: path of a CSV (.csv, .tsv, .txt, also .gz; the delimiter is seen from the header), Parquet, Arrow
            (.arrow, .feather, .ipc) or .ts file, or a pandas, polars or pyarrow frame. A .ts file is read as a table
            with the columns "sequence", "x0", "x1", ... and "target".
        target: the column to predict. For forecasts and regression also several; for a forecast, None or "*" means
            every numeric column that is neither in ``features`` nor in ``known``.
        sequence: the column that tells the sequences apart; its rows need not lie together, and sequences come in the
            order of first appearance. None: the table is one long series.
        time: a column of dates or numbers to sort each sequence by; or the columns that make it up, ("Date", "Time")
            or ("year", "month", "day", "hour"). None: rows keep the order of the table.
        features: the input columns, in this order; by default all that have no other role.
        known: forecasts: input columns whose values are known in advance.
        task: "classify" or "regress" (one target a sequence), "tag" or "regress" (one a step) or "forecast". By
            default seen from the target, see ``notes``.
        horizon, window: forecasts: how many steps to predict, and from how many (None: chosen later).
        dtypes: column -> "number", "decimal-point" or "decimal-comma" (a number, where 1,234 can be read in two
            ways), "category" (as it is written, NA and None too) or "date" (left out), for columns that would be read
            as something else. Of a time column: "day-first", "month-first" or "year-first", or "number" where whole
            numbers such as 20240131 are no dates.
        na_values: further texts or numbers that mean "missing" in any column, such as -999.
        encoding: of a text file, such as "cp1252"; None: UTF-8, or as its first bytes say.
        skip: lines of a text file above the row of column names. Comment lines that begin with # are left out.

    Returns:
        SequenceData with ``notes`` on what was decided.

    Raises:
        ArgumentError: arguments that contradict each other, or a task that cannot be seen from the table.
        DataError: no such file or column, a damaged file, repeated time stamps, missing or constant targets.
        BackendError: a .ts file without aeon.

    Example:
        >>> import pyarrow as pa
        >>> table = pa.table({"word": list("abab"), "at": [2, 1, 1, 2], "x": [0.5, 1, 2, 3], "y": [1.5, 2, 1.5, 2]})
        >>> data = read_table(table, sequence="word", time="at", target="y", task="regress")
        >>> data.ids.tolist(), data.numbers[:, 0].tolist(), data.target.values.tolist()
        (['a', 'b'], [2.0, 0.5, 1.0, 3.0], [[1.5], [2.0]])
    """
    known = _names(known)
    task = None if task is None else choose("task", task, TASKS)  # type: ignore[assignment]
    _check_arguments(task, horizon, window, known)
    forecast = None if horizon is None else Forecast(horizon=horizon, window=window, known=known)
    task = task if forecast is None else "forecast"
    opened = open_table(source, encoding=encoding, skip=skip)
    absent = opened.without(na_values)
    wanted = () if target in (None, "*") else _names(target)
    table = Typed(
        opened,
        dtypes=dtypes,
        labels=wanted if task in ("classify", "tag") else (),
        perhaps=wanted if task is None else (),
    )
    parts = _names(time)
    target = table.roles.get("target") if target is None and forecast is None else target
    sequence = table.roles.get("sequence") if sequence is None else sequence
    notes: list[str] = []
    targets, inputs = _roles(table, target, sequence, parts, features, known, task, notes)
    if forecast is None:
        refuse_target_kinds(table, targets, task)
    time = " ".join(parts) or None
    parts = parts if len(parts) > 1 else ()
    rows = arrange(table, sequence, time, parts=parts)
    notes.extend(rows.notes)
    if forecast is not None:
        task, made = "forecast", past(table, targets, rows, target in (None, "*"), notes)
        refuse_unchanging(made)
        notes.append(
            f"A forecast of {listed(made.names, 6)}, {counted(forecast.horizon, 'step')} ahead, as horizon= was given."
        )
        if rows.time is not None:
            notes.extend(filter(None, [uneven(rows.time, rows.offsets, rows.stamps)]))
    else:
        task, made = learned(table, targets, rows, sequence, task, notes)
    numbers, number_names = _numbers(table, [n for n in inputs if _is(table, n, "number", "missing")], rows, notes)
    codes, levels, text = _categories(table, [n for n in inputs if _is(table, n, "category")], rows, notes)
    if not number_names and not text and forecast is None:
        raise DataError(
            f"{table.source} has no input column left beside sequence, time and target; its columns are "
            f"{listed(table.names, 30)}. {' '.join(note for note in notes if note.startswith('Left out'))}".rstrip()
        )
    gone = [name for name in known if name not in number_names and name not in text]
    if gone:
        raise DataError(f"known={listed(gone)} was left out, as dates and columns without values are no input.")
    # Of other categories the name alone says that they are text.
    verbatim = [name for name in (*text, sequence or "") if table.spellings.get(name) == VERBATIM]
    kept = (*made.names, *number_names, *verbatim)
    return SequenceData(
        offsets=rows.offsets,
        numbers=numbers,
        categories=codes,
        levels=levels,
        target=made,
        ids=rows.ids,
        time=rows.time,
        schema=Schema(
            task=task,
            target=made.names,
            sequence=sequence,
            time=time,
            numbers=tuple(number_names),
            categories=tuple(text),
            time_parts=parts,
            spellings=tuple((name, table.spellings[name]) for name in kept if name in table.spellings),
            encoding=opened.encoding,
            skip=skip or 0,
            na_values=absent,
            stamps=rows.stamps,
        ),
        forecast=forecast,
        source=table.source,
        notes=(*notes, *opened.notes, *table.remarks()),
    )


def read_like(
    source: Any,
    schema: Schema,
    forecast: Forecast | None = None,
    *,
    per: Literal["sequence", "step"] | None = None,
    encoding: str | None = None,
    skip: int | None = None,
) -> SequenceData:
    """Another table, read as the one that ``schema`` came from: the same columns, each of the same kind.

    Args:
        source: as in ``read_table``.
        schema, forecast: of the data trained on. Columns that they do not name are not read.
        per: ``target.per`` of the data trained on, which only a regression needs: its targets are one a sequence or
            one a step. None: seen from this table.
        encoding, skip: as in ``read_table``; None: as in the table trained on.

    Returns:
        SequenceData, whose levels are those of this table. ``target`` is None where the table has no target column
        (a forecast needs it, as the past); where it is missing in some rows, it is NaN or -1 there.

    Raises:
        DataError: a column that is not there or of another kind, and what ``read_table`` raises.

    Example:
        >>> import pyarrow as pa
        >>> schema = Schema(task="classify", target=("y",), sequence="s", numbers=("x",))
        >>> data = read_like(pa.table({"s": [1, 1, 2], "x": [1, None, 3]}), schema)
        >>> data.numbers[:, 0].tolist(), data.target is None
        ([1.0, nan, 3.0], True)
    """
    if (schema.task == "forecast") != (forecast is not None):
        raise ArgumentError("forecast= goes with a schema whose task is 'forecast', and only with it.")
    opened = open_table(source, encoding=encoding, recorded=schema.encoding, skip=skip, recorded_skip=schema.skip)
    opened.without(schema.na_values)
    notes: list[str] = []
    numeric = schema.numbers if schema.task in ("classify", "tag") else (*schema.target, *schema.numbers)
    expected = {name: schema.spelling(name) for name in numeric} | dict.fromkeys(schema.categories, TEXT)
    expected |= {name: code for name, code in schema.spellings if code in (TEXT, VERBATIM)}
    table = Typed(opened, expected=expected)
    times = schema.time_parts or _names(schema.time)
    for role, names in (
        ("sequence", [schema.sequence] if schema.sequence else []),
        ("time", times),
        ("features", [*schema.numbers, *schema.categories]),
    ):
        for name in names:
            table.require(role, name)
    absent = [name for name in schema.target if name not in table.names]
    if absent and (schema.task == "forecast" or len(absent) < len(schema.target)):
        raise DataError(
            f"{table.source} lacks the target column{'s' * (len(absent) > 1)} {listed(absent)}, which "
            f"{'a forecast needs as its past' if schema.task == 'forecast' else 'go with the others'}."
        )
    for name in (*schema.numbers, *(() if absent or schema.task in ("classify", "tag") else schema.target)):
        if not _is(table, name, "number", "missing"):
            raise DataError(
                f"column {name!r} holds numbers in the table trained on, and {table.type(name)} values in "
                f"{table.source}; convert it to numbers."
            )
    rows = arrange(table, schema.sequence, schema.time, schema.stamps, schema.time_parts)
    notes.extend(rows.notes)
    target = None if absent or not schema.target else target_like(table, schema, rows, per)
    if schema.task == "forecast" and rows.time is not None:
        notes.extend(filter(None, [uneven(rows.time, rows.offsets, rows.stamps)]))
    numbers, _ = _numbers(table, list(schema.numbers), rows, None)
    codes, levels, _ = _categories(table, list(schema.categories), rows, None)
    return SequenceData(
        offsets=rows.offsets,
        numbers=numbers,
        categories=codes,
        levels=levels,
        target=target,
        ids=rows.ids,
        time=rows.time,
        schema=replace(schema, stamps=rows.stamps),
        forecast=forecast,
        source=table.source,
        notes=(*opened.notes, *table.remarks(), *notes),
    )


# -- roles -------------------------------------------------------------------------------------------------------


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _is(table: Typed, name: str, *kinds: col.Kind) -> bool:
    return table.kind(name) in kinds


def _check_arguments(task: str | None, horizon: Any, window: Any, known: tuple[str, ...]) -> None:
    for name, steps in (("horizon", horizon), ("window", window)):
        whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
        if steps is not None and (not whole or steps < 1):
            raise ArgumentError(f"{name}={steps!r} is not a number of steps; give a whole number of at least 1.")
    if task == "forecast" and horizon is None:
        raise ArgumentError("task='forecast' needs horizon=, the number of steps to predict.")
    forecast = horizon is not None and task in (None, "forecast")
    if not forecast and (horizon is not None or window is not None or known):
        extra = [name for name, given in (("horizon", horizon), ("window", window), ("known", known)) if given]
        other = f"task={task!r}" if task else "no horizon"
        raise ArgumentError(
            f"{' and '.join(f'{name}=' for name in extra)} belong{'' if len(extra) > 1 else 's'} to a "
            f"forecast; given with {other}."
        )


def _roles(
    table: Typed,
    target: str | Sequence[str] | None,
    sequence: str | None,
    time: tuple[str, ...],
    features: str | Sequence[str] | None,
    known: tuple[str, ...],
    task: str | None,
    notes: list[str],
) -> tuple[list[str], list[str]]:
    """The target columns and the input columns; a column has one role."""
    every = target is None or target == "*"
    if every and task != "forecast":
        raise ArgumentError(
            f"target= is needed, the column to predict, one of {listed(table.names, 30)}; or horizon= to forecast."
        )
    given = {
        "target": () if every else _names(target),
        "sequence": _names(sequence),
        "time": time,
        "features": _names(features),
    }
    for role, names in (*given.items(), ("known", known)):
        for name in names:
            table.require(role, name)
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ArgumentError(f"{role}= names {listed(twice)} more than once.")
    taken: dict[str, str] = {}
    for role, names in given.items():
        for name in names:
            if name in taken:
                raise ArgumentError(
                    f"column {name!r} is given as {taken[name]}= and as {role}=; a column has one role."
                )
            taken[name] = role
    for name in known:
        if taken.get(name, "features") != "features":
            raise ArgumentError(f"column {name!r} is given as {taken[name]}= and as known=; a column has one role.")
        if features is not None and name not in given["features"]:
            raise ArgumentError(f"known={name!r} is not among features={listed(given['features'])}; add it there.")
    unnamed = [name for name in table.names if name not in taken and UNNAMED.fullmatch(name)]
    free = [name for name in table.names if name not in taken and name not in unnamed]
    for name in unnamed:
        what = f"The column {name!r}, which pandas calls so as it has no name," if name else "The column without a name"
        notes.append(
            f"{what} was left out: it holds dates; {'give it as time=' if name else 'name it, to give it as time='}."
            if table.kind(name) == "date"
            else f"{what} was left out: it is most often a row number."
        )
    targets = list(given["target"])
    if every:
        numeric = [name for name in free if name not in known and _is(table, name, "number")]
        targets = [name for name in numeric if str(table.type(name)) != "bool"]
        free = [name for name in free if name not in targets]
        if not targets:
            raise DataError(f"{table.source} has no numeric column to forecast beside {listed(taken)}.")
    if not targets:
        raise ArgumentError(f"target= names no column; the columns are {listed(table.names, 30)}.")
    inputs = list(given["features"]) if features is not None else free
    for name in inputs:
        type = table.type(name)
        col.refuse_other(name, type)
        if table.kind(name) == "date" and features is not None:
            raise DataError(
                f"column {name!r} holds dates ({table.what(name)}), which are no input as they are; name it as time=, "
                "or turn it into numbers (hour, weekday, days since a start)."
            )
    spans = [name for name in inputs if str(table.type(name)).startswith("duration")]
    if spans:
        notes.append(f"Left out, as durations are no input: {listed(spans)}; turn them into numbers to use them.")
    dates = [name for name in inputs if _is(table, name, "date") and name not in spans]
    if dates:
        named = dates[0] if len(dates) == 1 else tuple(dates[:2])
        sort = "" if time else f", or sort by them with time={named!r}"
        notes.append(f"Left out, as dates are no input: {listed(dates)}; turn them into numbers to use them{sort}.")
    inputs = [name for name in inputs if name not in dates and name not in spans]
    codes = [
        name for name in inputs if _is_code(name) and "int" in str(table.type(name)) and _is(table, name, "number")
    ]
    if codes and features is None:
        notes.append(
            f"Read as numbers, as they are written: {listed(codes, 6)}; if they are names rather than amounts, say "
            f"dtypes={{{codes[0]!r}: 'category'}}."
        )
    return targets, inputs


def _is_code(name: str) -> bool:
    """Whether the name of a column says that its numbers are names, such as a postcode."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return not CODES.isdisjoint(words)


# -- inputs ------------------------------------------------------------------------------------------------------


def _numbers(table: Typed, names: list[str], rows: Rows, notes: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """``(N, F)``; columns with no value are left out where there are notes to say so."""
    narrow = all(col.is_narrow(table.type(name)) for name in names)
    values = np.empty((table.rows, len(names)), np.float32 if narrow else np.float64)
    kept: list[str] = []
    for name in names:
        whole = table.take(name)
        column = col.numbers(whole)
        if notes is not None:
            notes.extend(filter(None, [col.rounded(name, whole), col.sentinel(name, column)]))
        if notes is not None and np.isnan(column).all():
            notes.append(f"Left out, as it has no value in any row: {name!r}.")
            continue
        values[:, len(kept)] = rows.move(column)
        kept.append(name)
    return (values if len(kept) == len(names) else values[:, : len(kept)].copy()), kept


def _categories(
    table: Typed, names: list[str], rows: Rows, notes: list[str] | None
) -> tuple[np.ndarray, tuple[tuple[str, ...], ...], list[str]]:
    values = np.empty((table.rows, len(names)), np.int32)
    levels: list[tuple[str, ...]] = []
    kept: list[str] = []
    for name in names:
        if col.kind(table.type(name)) == "other":
            col.refuse_other(name, table.type(name))
        odd, dated = table.odd(name), table.kind(name) == "date"
        column = table.take(name)
        if dated and col.kind(column.type) == "date":
            column = column.cast("string")
        codes, found = col.categories(column)
        if notes is not None and not found:
            notes.append(f"Left out, as it has no value in any row: {name!r}.")
            continue
        if notes is not None:
            notes.extend(_doubtful(name, odd, codes, found))
        values[:, len(kept)] = rows.move(codes)
        levels.append(col.as_text(found))
        kept.append(name)
    return (values if len(kept) == len(names) else values[:, : len(kept)].copy()), tuple(levels), kept


def _doubtful(name: str, odd: str, codes: np.ndarray, levels: tuple[Any, ...]) -> list[str]:
    """What to say of a category that may not be meant as one."""
    if odd:
        return [
            f"Column {name!r} is read as text, as {odd}; its other values are mostly numbers. Mend it, leave it out "
            f"with features=, or say dtypes={{{name!r}: 'category'}}."
        ]
    known = int((codes >= 0).sum())
    if len(levels) >= MANY and 2 * len(levels) > known:
        return [
            f"Column {name!r} is text with {len(levels)} different values in {known} rows, such as "
            f"{str(levels[0])[:40]!r}: a category that hardly repeats helps no network. Leave it out with features=, "
            "or name it as sequence=."
        ]
    return []
