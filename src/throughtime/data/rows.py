"""Where the rows of a table go: grouped by sequence, then in the order of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import DataError
from ..ragged import offsets_from_lengths
from . import columns as col
from .calendars import Stamps, settle_calendar
from .clock import PARTS, join_times, part_of
from .digits import is_digits
from .stamps import explain_repeats, read_times, write_times
from .typed import Typed


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where the rows of the table go: row ``order[n]`` becomes row ``n`` (None: they lie right already).

    ``stamps`` is how the time column is written, and ``notes`` what was decided about it.
    """

    order: np.ndarray | None
    offsets: np.ndarray
    ids: np.ndarray
    time: np.ndarray | None
    stamps: Stamps | None = None
    notes: tuple[str, ...] = ()

    def move(self, values: np.ndarray) -> np.ndarray:
        return values if self.order is None else values[self.order]

    def constant(self, values: np.ndarray) -> bool:
        """Whether the moved values ``(N,)`` are the same at every step of each sequence."""
        changes = values[1:] != values[:-1]
        changes[self.offsets[1:-1] - 1] = False
        return not changes.any()


def arrange(
    table: Typed,
    sequence: str | None,
    time: str | None,
    like: Stamps | None = None,
    parts: tuple[str, ...] = (),
) -> Rows:
    """The order of the rows.

    Args:
        like: how the time column was written in the table trained on, where this is another one.
        parts: the columns that make up ``time``, where it is no column itself.
    """
    count = table.rows
    group: np.ndarray | None = None
    ids: np.ndarray = np.arange(1)
    if sequence is not None:
        col.refuse_other(sequence, table.table.type(sequence))
        column = table.ids(sequence)
        gaps = col.missing(column)
        if gaps.any():
            raise DataError(
                f"sequence column {sequence!r} is missing in {int(gaps.sum())} of {count} rows, first in row "
                f"{int(gaps.argmax()) + 1}; fill it in or drop these rows.{table.gone(sequence)}"
            )
        group, ids = col.groups(column)
        del column
    offsets = offsets_from_lengths([count] if group is None else np.bincount(group, minlength=len(ids)))
    stamps, written = None, None
    notes: list[str] = []
    if time is not None:
        for name in parts or (time,):
            col.refuse_other(name, table.table.type(name))
        columns = [(name, table.stamps(name)) for name in parts or (time,)]
        if parts:
            stamps, written = join_times(columns, table.order(parts[0])), Stamps(type="string")
        else:
            stamps, written = read_times(*columns[0], like=like, order=table.order(time), notes=notes)
    order = _order(group, stamps)
    if stamps is not None:
        stamps = stamps if order is None else stamps[order]
        assert written is not None
        others = "" if parts else _other_parts(table, str(time))
        _refuse_repeats(stamps, offsets, ids, sequence, str(time), written, others)
        longest = int(np.argmax(np.diff(offsets)))
        series = stamps[offsets[longest] : offsets[longest + 1]]
        calendar = settle_calendar(series, None if like is None else like.calendar, written.zone)
        written = replace(written, calendar=calendar)
    return Rows(order=order, offsets=offsets, ids=ids, time=stamps, stamps=written, notes=tuple(notes))


def _other_parts(table: Typed, time: str) -> str:
    """What else of the time the table may hold, for the message on repeated stamps; looked for only then."""
    order = list(PARTS)
    numbered = [
        name
        for name in table.names
        if len(name) > 1 and part_of(name) and (name == time or (name in table.left and table.kind(name) == "number"))
    ]
    clocks = [name for name in table.names if name != time and name in table.left and table.kind(name) == "date"]
    if time in numbered and len(numbered) > 1:
        parts = tuple(sorted(numbered, key=lambda name: order.index(part_of(name))))
    elif clocks:
        parts = (time, clocks[0])
    else:
        return ""
    return f"name all columns of the time, time={parts!r}, or "


def _order(group: np.ndarray | None, stamps: np.ndarray | None) -> np.ndarray | None:
    """The stable order by group, then time; None where the rows lie in it."""
    keys = [key for key in (stamps, group) if key is not None]
    if not keys:
        return None
    key = keys[-1]
    if group is not None and stamps is not None:
        if stamps.dtype.kind == "f":
            return np.lexsort((stamps, group))
        whole = stamps.view(np.int64)
        first, last = int(whole.min()), int(whole.max())
        span = last - first + 1
        if span * (int(group.max()) + 1) >= 2**63:
            return np.lexsort((whole, group))
        # One sort of one integer key takes half the time of sorting by each column in turn.
        key = whole - first
        key += group.astype(np.int64) * span
    if (key[1:] >= key[:-1]).all():
        return None
    return np.argsort(key, kind="stable")


def _refuse_repeats(
    stamps: np.ndarray,
    offsets: np.ndarray,
    ids: np.ndarray,
    sequence: str | None,
    time: str,
    written: Stamps,
    parts: str,
) -> None:
    same = stamps[1:] == stamps[:-1]
    same[offsets[1:-1] - 1] = False
    if not same.any():
        return
    explained = explain_repeats(stamps[1:][same], time) if written.zone is None else None
    if explained is not None:
        raise DataError(explained)
    row = int(same.argmax())
    if sequence is None:
        where, mend = "", "name the column that tells several series apart as sequence="
    else:
        where = f" of sequence {ids[np.searchsorted(offsets, row, side='right') - 1]!s}"
        mend = f"check that {sequence!r} tells all series apart"
    count = int(same.sum())
    raise DataError(
        f"{count} row{'s repeat' if count > 1 else ' repeats'} a time stamp within the sequence, for example "
        f"{time}={_shown(stamps[row], written)}{where}; {parts}drop or average the repeats, or {mend}."
    )


def _shown(stamp: np.generic, written: Stamps) -> str:
    return str(write_times(np.array([stamp]), written)[0].as_py()) if is_digits(written.format) else str(stamp)[:19]
