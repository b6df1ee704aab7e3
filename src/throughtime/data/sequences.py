"""SequenceData: sequences with their inputs, targets, names and times, and splits that cannot leak.

The columns are held as they were read: nothing is scaled, filled or encoded here, because all of that has to be fitted
on the training part alone (``transforms.py``). A split only moves whole rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..errors import ArgumentError, DataError, choose, counted, listed, one_of, spanned
from ..ragged import Ragged, offsets_from_lengths, positions
from . import splits, zones
from .calendars import Stamps
from .moments import read_moment
from .seasons import choose_window, find_season

Task = Literal["classify", "regress", "tag", "forecast"]
TASKS: tuple[Task, ...] = ("classify", "regress", "tag", "forecast")


@dataclass(frozen=True, eq=False, kw_only=True)
class Target:
    """What is to be predicted.

    Attributes:
        names: K column names.
        kind: numbers, or one of a set of categories (then K is 1).
        per: one target a sequence, or one a time step.
        values: numbers: float64 ``(B, K)`` or ``(N, K)``, NaN where missing; categories: int32 codes ``(B,)`` or
            ``(N,)``, -1 where missing.
        levels: the labels that the codes stand for, as they stood in the table; empty for numbers.
    """

    names: tuple[str, ...]
    kind: Literal["number", "category"]
    per: Literal["sequence", "step"]
    values: np.ndarray
    levels: tuple[Any, ...] = ()

    def labels(self) -> np.ndarray:
        """The categories as an object array of labels, None where missing."""
        table = np.array([*self.levels, None], dtype=object)
        return table[self.values]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a forecast is: ``horizon`` steps after the last of ``window`` steps (None: chosen from the training part).

    ``known`` names the covariates that are known in advance (a calendar, a planned price), so that their values in the
    horizon may be used; all other columns are used up to the last step of the window only.
    """

    horizon: int
    window: int | None = None
    known: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("horizon", self.horizon), ("window", self.window)):
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise ArgumentError(f"{name}={value} is not a number of time steps; give at least 1.")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Which columns of a table play which part: enough to read another table in the same way.

    Attributes:
        time: the time column; where several columns make up the time, their names with a space between.
        time_parts: those columns ("Date", "Time"), or none.
        spellings: pairs of a column and how its numbers are written (``data.spelling.Spelling.code``), or "text" for
            a target that is text though its values look like numbers, or "verbatim" for text in which NA and None are
            values. Columns that need none of these are not named.
        stamps: how the time is written.
        encoding, skip: of the file, where it was not UTF-8 text, or its table did not begin in the first line.
        na_values: what meant "missing", beside the usual words.
    """

    task: Task
    target: tuple[str, ...] = ()
    sequence: str | None = None
    time: str | None = None
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    time_parts: tuple[str, ...] = ()
    spellings: tuple[tuple[str, str], ...] = ()
    encoding: str | None = None
    skip: int = 0
    na_values: tuple[str, ...] = ()
    stamps: Stamps | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "stamps": self.stamps and self.stamps.to_json()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Schema:
        """The Schema that ``to_json`` wrote; files of earlier versions have no stamps."""
        stamps = stored.get("stamps")
        roles: dict[str, Any] = {k: _tuples(value) for k, value in stored.items()}
        return cls(**{**roles, "stamps": None if stamps is None else Stamps.from_json(stamps)})

    def spelling(self, name: str) -> str:
        """How the numbers of a column are written, for ``data.columns.numbers``."""
        return dict(self.spellings).get(name, "._")


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceData:
    """B sequences, N time steps in all, laid end to end.

    Made by ``tt.read_table`` from a table or by ``tt.from_arrays`` from arrays; attributes are read-only.

    Attributes:
        offsets: ``(B + 1,)`` int64; sequence ``b`` is rows ``offsets[b]:offsets[b + 1]`` of every per-step array.
        numbers: ``(N, F)`` float32 or float64, NaN where missing.
        categories: ``(N, C)`` int32 codes into ``levels[c]``, -1 where missing.
        target: None in a table to predict from that has no target column. For forecasts it holds the past as well.
        ids: ``(B,)`` the value of the sequence column for each sequence, or its number.
        time: ``(N,)`` datetime64[ns], int64 or float64, rising inside each sequence; None where no column was named.
        notes: what was decided while reading, in words, for the report.
    """

    offsets: np.ndarray
    numbers: np.ndarray
    categories: np.ndarray
    levels: tuple[tuple[str, ...], ...]
    target: Target | None
    ids: np.ndarray
    time: np.ndarray | None
    schema: Schema
    forecast: Forecast | None = None
    source: str = "arrays"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        one_of("task", self.schema.task, TASKS)
        rows = int(self.offsets[-1])
        for name, array in (("numbers", self.numbers), ("categories", self.categories), ("time", self.time)):
            if array is not None and len(array) != rows:
                raise DataError(f"{name} has {len(array)} rows, the sequences have {rows} time steps.")
        if len(self.ids) != len(self):
            raise DataError(f"{len(self.ids)} ids were given for {len(self)} sequences.")
        if self.target is not None:
            expected = rows if self.target.per == "step" else len(self)
            if len(self.target.values) != expected:
                raise DataError(
                    f"the target has {len(self.target.values)} values for {expected} "
                    f"{'time steps' if self.target.per == 'step' else 'sequences'}."
                )
        if (self.schema.task == "forecast") != (self.forecast is not None):
            raise ArgumentError("a horizon goes with task='forecast', and only with it.")

    # -- looks ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """``(B,)`` time steps of each sequence."""
        return np.diff(self.offsets)

    @property
    def steps(self) -> int:
        """Time steps of all sequences together."""
        return int(self.offsets[-1])

    @property
    def inputs(self) -> Ragged:
        """The numeric inputs as a Ragged of ``(length, F)``."""
        return Ragged(self.numbers, self.offsets)

    def missing(self) -> dict[str, float]:
        """The share of missing values of each input column, 0 to 1."""
        shares = dict(zip(self.schema.numbers, np.isnan(self.numbers).mean(0) if self.steps else [], strict=False))
        if self.steps:
            shares |= dict(zip(self.schema.categories, (self.categories < 0).mean(0), strict=True))
        return {name: float(share) for name, share in shares.items()}

    def season(self) -> int:
        """The season of the first target in the longest series, in steps; 1 if there is none."""
        if self.target is None or self.target.kind != "number" or self.target.per != "step" or not len(self):
            return 1
        b = int(np.argmax(self.lengths))
        return find_season(self.target.values[self.offsets[b] : self.offsets[b + 1], 0])

    def with_window(self, *, most: int | None = None) -> SequenceData:
        """A forecast with its window settled: as the user named it, else by their season, ``most`` at most."""
        if self.forecast is None or self.forecast.window is not None:
            return self
        horizon = self.forecast.horizon
        usable = self.lengths[self.lengths > horizon]
        if not len(usable):
            raise DataError(
                f"the longest series of {self.source} has {int(self.lengths.max(initial=0))} steps to train on, not "
                f"more than the horizon of {horizon}; give longer series or a shorter horizon."
            )
        window = choose_window(horizon=horizon, season=self.season(), steps=int(np.median(usable)))
        notes = self.notes
        if most is not None and most < window:
            notes = (
                *notes,
                f"The window is {most} steps, not {window}: validation and test have to hold their own history. A "
                "longer series, larger parts or history='shared' allow more.",
            )
            window = most
        return replace(self, forecast=replace(self.forecast, window=window), notes=notes)

    def __repr__(self) -> str:
        lengths = self.lengths
        span = spanned(int(lengths.min()), int(lengths.max()), "step") if len(self) else "no steps"
        target = "no target" if self.target is None else f"target {listed(self.target.names, 3)}"
        return (
            f"SequenceData({self.schema.task}: {counted(len(self), 'sequence')}, {span}, "
            f"{counted(self.numbers.shape[1], 'number')}, "
            f"{counted(self.categories.shape[1], 'category', 'categories')}, {target})"
        )

    # -- parts ---------------------------------------------------------------------------------------------------

    def take(self, indices: Sequence[int] | np.ndarray) -> SequenceData:
        """The sequences at ``indices``, in that order."""
        indices = positions(indices, len(self))
        rows = Ragged(np.arange(self.steps), self.offsets).take(indices)
        return self._rows(rows.values, rows.offsets, indices)

    def between(self, starts: np.ndarray, stops: np.ndarray) -> SequenceData:
        """Steps ``starts[b]`` to ``stops[b]`` (excluded) of every sequence; sequences left empty are dropped."""
        starts, stops = np.asarray(starts), np.asarray(stops)
        kept = np.flatnonzero(stops > starts)
        if (starts[kept] < 0).any() or (stops > self.lengths)[kept].any():
            raise ArgumentError("between takes steps from 0 to the length of each sequence; beyond lies its neighbour.")
        first = self.offsets[:-1][kept] + starts[kept]
        lengths = (stops - starts)[kept]
        offsets = offsets_from_lengths(lengths)
        if len(kept) == 1:
            rows: Any = slice(int(first[0]), int(first[0] + lengths[0]))  # a view: a long series is not copied
        else:
            rows = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], lengths)
        return self._rows(rows, offsets, kept)

    def _rows(self, rows: Any, offsets: np.ndarray, sequences: np.ndarray) -> SequenceData:
        target = self.target
        if target is not None:
            target = replace(target, values=target.values[rows if target.per == "step" else sequences])
        return replace(
            self,
            offsets=offsets,
            numbers=self.numbers[rows],
            categories=self.categories[rows],
            target=target,
            ids=self.ids[sequences],
            time=None if self.time is None else self.time[rows],
        )

    def split(
        self,
        *,
        validation: float | int | None = None,
        test: float | int | None = None,
        at: Any = None,
        by: Literal["sequence", "time"] | None = None,
        history: Literal["own", "shared"] = "own",
        gap: int | None = None,
        stratify: bool = True,
        seed: int = 0,
    ) -> tuple[SequenceData, ...]:
        """``train, validation, test``: whole sequences, or the later steps of each sequence.

        Args:
            validation, test: a share between 0 and 1, or a whole number; 0.15 by default. ``by="sequence"``: of the
                sequences; ``by="time"``: of the steps of each sequence, counted from its end. With
                ``history="shared"`` a part predicts exactly that many steps; with "own" it has that many rows, of
                which a forecast's first ``window`` are looked back on and not predicted. A part of 0 is left out of
                the result. Not with ``at``.
            at: one date, or number, of the time column for all sequences: ``train`` is before it, and ``validation``
                from it on; or two, where validation and where test begins. "2024-01-31", a date, a datetime; without
                an offset it is local time where the column has a zone. Where the target is one a sequence, sequences
                that lie across a date are left out, and ``notes`` says how many.
            by: "sequence": sequences are drawn at random; "time": each sequence is cut, the first steps train. By
                default "time" for forecasts and for a single sequence.
            history: for forecasts, where the window before a part's first prediction comes from. "own": from the
                part itself, so that no row is in two parts. "shared": from the rows before it, as published benchmarks
                do; those rows are inputs only, and every step of the part itself is predicted.
            gap: ``by="time"``: steps between the last one that a part predicts and the first that the next predicts.
                By default, and at least, the window ("own"), or 0 ("shared"); 0 where there is no window. A longer
                gap comes off the end of the part before.
            stratify: ``by="sequence"``: draw from each class in proportion, to within one, and leave one sequence of
                each class in training wherever there are enough others to hold out.
            seed: of the draw.

        A sequence that is cut and has too few steps for a part to predict anything is not in that part. Where training
        has rows later than the first that a later part predicts, ``notes`` says so.

        Raises:
            DataError: too few sequences or steps for the parts asked for.

        Example:
            >>> import pyarrow as pa
            >>> from throughtime.data.tables import read_table
            >>> days = np.arange("2024-01-01", "2024-01-21", dtype="datetime64[D]")
            >>> data = read_table(pa.table({"day": days, "y": np.sin(np.arange(20))}), time="day", horizon=1, window=2)
            >>> [len(part.time) for part in data.split(at=("2024-01-11", "2024-01-16"))]
            [10, 5, 5]
        """
        if at is not None:
            return self._split_at(at, validation=validation, test=test, by=by, history=history, gap=gap)
        validation, test = (0.15 if share is None else share for share in (validation, test))
        splits.refuse_shares(validation=validation, test=test)
        per_step = self.target is None or self.target.per == "step"
        if by is None:
            by = "time" if self.schema.task == "forecast" or (len(self) == 1 and per_step) else "sequence"
        by = choose("by", by, ("sequence", "time"))  # type: ignore[assignment]
        history = choose("history", history, ("own", "shared"))  # type: ignore[assignment]
        if gap is not None and gap < 0:
            raise ArgumentError(f"gap={gap} is not a number of time steps; give at least 0.")
        if by == "sequence" and (gap is not None or history != "own"):
            raise ArgumentError("gap= and history= belong to a split by='time'.")
        if by == "time" and not per_step:
            raise ArgumentError(
                "by='time' cuts every sequence, but the target is one a sequence; split by='sequence' instead."
            )
        if by == "time":
            parts = self._cut(history=history, gap=gap, validation=validation, test=test)
        else:
            strata = self.target if stratify and not per_step else None
            codes = strata.values if strata is not None and strata.kind == "category" else None
            drawn = splits.draw(len(self), validation=validation, test=test, codes=codes, seed=seed)
            parts = [self.take(part) for part in drawn]
        wanted = [True, validation > 0, test > 0]
        return _noted([part for part, want in zip(parts, wanted, strict=True) if want])

    def _split_at(
        self, at: Any, *, validation: Any, test: Any, by: str | None, history: str, gap: int | None
    ) -> tuple[SequenceData, ...]:
        """The parts before and from one date on, or before, between and from two."""
        if validation is not None or test is not None or by == "sequence":
            raise ArgumentError("at= says where the parts begin; leave out validation=, test= and by=.")
        if self.time is None:
            raise ArgumentError("at= needs a time column to compare it with; name it as time= when the table is read.")
        one_of("history", history, ("own", "shared"))
        if gap is not None and gap < 0:
            raise ArgumentError(f"gap={gap} is not a number of time steps; give at least 0.")
        named = tuple(at) if isinstance(at, tuple | list) else (at,)
        dates = [read_moment(one, self.time, self.schema.stamps) for one in named]
        if len(dates) not in (1, 2) or (len(dates) == 2 and dates[0] >= dates[1]):
            raise ArgumentError(f"at={at!r}; give one date, or two, where validation and where test begins.")
        if self.target is None or self.target.per == "step":
            before = [np.append(0, np.cumsum(self.time < one)) for one in dates]
            firsts = [counts[self.offsets[1:]] - counts[self.offsets[:-1]] for counts in before]
            parts = self._cut(history=history, gap=gap, firsts=firsts)
            return tuple(parts[: len(dates) + 1])
        if gap is not None or history != "own":
            raise ArgumentError("gap= and history= belong to sequences that are cut; these have one target each.")
        members, across = splits.sort_by_time(self.time[self.offsets[:-1]], self.time[self.offsets[1:] - 1], dates)
        for name, part in zip(splits.PARTS, members[: len(dates) + 1], strict=False):
            if not len(part):
                raise DataError(
                    f"no sequence lies in the {name} part of at={at!r} with all its rows; give other dates."
                )
        said = f"{across} of {len(self)} sequences lie across a date of at=, and are left out." if across else ""
        data = replace(self, notes=(*self.notes, said)) if said else self
        return tuple(data.take(part) for part in members[: len(dates) + 1])

    def _cut(self, *, history: str, gap: int | None, **borders: Any) -> list[SequenceData]:
        """Each sequence cut; ``borders`` as of ``splits.cut``: shares, or first steps."""
        data = self
        if self.forecast is None:
            cuts = splits.cut(self.lengths, history=history, gap=gap, **borders)
        else:
            if self.forecast.window is None:  # chosen from the training rows alone, like everything that is learned
                stops = splits.training_stops(self.lengths, gap=gap, **borders)
                # A part that holds its own history has to have room for windows after it.
                room = splits.smallest_part(self.lengths, **borders) - self.forecast.horizon
                most = max(1, room * 2 // 3) if history == "own" else None
                chosen = self.between(np.zeros_like(stops), stops).with_window(most=most)
                data = replace(self, forecast=chosen.forecast, notes=chosen.notes)
            assert data.forecast is not None
            assert data.forecast.window is not None
            cuts = splits.cut(
                self.lengths, window=data.forecast.window, horizon=data.forecast.horizon, history=history, gap=gap,
                **borders,
            )  # fmt: skip
        return [data.between(starts, stops) for starts, stops in cuts]


def _noted(parts: list[SequenceData]) -> tuple[SequenceData, ...]:
    """``parts`` with a note where training has dates that are later than what another part predicts."""
    train, time = parts[0], parts[0].time
    if len(parts) == 1 or time is None or time.dtype.kind != "M" or not len(time):
        return tuple(parts)
    name, later = ("test", parts[2]) if len(parts) == 3 else ("other", parts[1])
    assert later.time is not None
    back = (later.forecast.window or 0) if later.forecast is not None else 0
    first = later.time[np.minimum(later.offsets[:-1] + back, later.offsets[1:] - 1)].min(initial=time.max())
    if time.max() <= first:
        return tuple(parts)
    zone = None if train.schema.stamps is None else train.schema.stamps.zone
    last, first = (str(one)[:16] for one in zones.to_local(np.array([time.max(), first]), zone))
    said = (
        f"Training has rows up to {last}, and the {name} part predicts from {first} on: what "
        "holds for all sequences at a later date was seen in training. split(at=...) cuts all of them at one date."
    )
    return tuple(replace(part, notes=(*part.notes, said)) for part in [train, *parts[1:]])
