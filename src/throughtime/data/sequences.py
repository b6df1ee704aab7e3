"""SequenceData: sequences with their inputs, targets, names and times, and splits that cannot leak.

The columns are held as they were read: nothing is scaled, filled or encoded here, because all of that has to be fitted
on the training part alone (``transforms.py``). A split only moves whole rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..errors import ArgumentError, DataError, listed, one_of
from ..ragged import Ragged, offsets_from_lengths, positions
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


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Which columns of a table play which part: enough to read another table in the same way. JSON-friendly."""

    task: Task
    target: tuple[str, ...] = ()
    sequence: str | None = None
    time: str | None = None
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceData:
    """B sequences, N time steps in all, laid end to end.

    Made by ``tt.read_table`` from a table or by ``SequenceData.from_arrays`` from arrays; attributes are read-only.

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

    @classmethod
    def from_arrays(
        cls,
        inputs: Ragged | Sequence[np.ndarray] | np.ndarray,
        target: Any = None,
        *,
        mask: np.ndarray | None = None,
        lengths: Sequence[int] | np.ndarray | None = None,
        task: Task | None = None,
        names: Sequence[str] | None = None,
        horizon: int | None = None,
        window: int | None = None,
    ) -> SequenceData:
        """Sequences from arrays.

        Args:
            inputs: a Ragged or a list of ``(length, F)`` arrays, or a padded ``(B, T, F)`` array with ``mask``
                ``(B, T)`` or ``lengths`` ``(B,)`` (neither: every sequence is T steps long). F may be left out for one
                feature. For a forecast without a target, the inputs are the series to forecast.
            target: one label or number a sequence, ``(B,)`` or ``(B, K)``; or one a step, as inputs are given. A label
                that is None or NaN is missing.
            task: "classify", "regress", "tag" or "forecast"; by default seen from the target.
            names: F feature names, by default "x0", "x1", ...
            horizon, window: for forecasts, in steps.

        Raises:
            DataError: shapes that do not fit each other.

        Example:
            >>> import numpy as np
            >>> data = SequenceData.from_arrays([np.ones((3, 2)), np.zeros((5, 2))], ["up", "down"])
            >>> len(data), data.schema.task, data.lengths.tolist()
            (2, 'classify', [3, 5])
        """
        if task is not None:
            one_of("task", task, TASKS)
        if (horizon is not None or window is not None) and task not in (None, "forecast"):
            raise ArgumentError(f"horizon= and window= belong to task='forecast'; given task={task!r}.")
        if window is not None and horizon is None:
            raise ArgumentError(f"window={window} belongs to a forecast; give horizon= as well.")
        if (mask is not None or lengths is not None) and (not isinstance(inputs, np.ndarray) or inputs.dtype == object):
            kind = type(inputs).__name__
            raise ArgumentError(f"mask= and lengths= go with one padded array of numbers; the inputs are a {kind}.")
        ragged = _ragged(inputs, mask, lengths)
        values = ragged.values if ragged.values.ndim > 1 else ragged.values[:, None]
        if values.ndim != 2 or values.dtype.kind not in "fiub":
            raise DataError(f"inputs are numbers, (steps, features) a sequence; given {ragged!r}.")
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        names = tuple(names) if names is not None else tuple(f"x{i}" for i in range(values.shape[1]))
        if len(names) != values.shape[1]:
            raise DataError(f"{len(names)} names were given for {values.shape[1]} features.")
        if len(set(names)) != len(names):
            raise DataError(f"every feature needs a name of its own; given {listed(names)}.")
        if horizon is not None and task is None:
            task = "forecast"
        forecast = None
        if task == "forecast":
            if horizon is None or horizon < 1:
                raise ArgumentError(f"a forecast needs horizon=, a number of steps of at least 1; given {horizon!r}.")
            forecast = Forecast(horizon=horizon, window=window)
        if task == "forecast" and target is None:
            made: Target | None = Target(names=names, kind="number", per="step", values=values.astype(np.float64))
            values, names = values[:, :0], ()
        else:
            made = None if target is None else _target(target, ragged, mask, lengths, task)
        if task is None:
            if made is None:
                raise ArgumentError(f"without a target, say task=, one of {listed(TASKS)}.")
            task = "tag" if made.per == "step" and made.kind == "category" else None
            task = task or ("classify" if made.kind == "category" else "regress")
        schema = Schema(task=task, target=made.names if made else (), numbers=names)
        return cls(
            offsets=ragged.offsets,
            numbers=values,
            categories=np.zeros((len(values), 0), np.int32),
            levels=(),
            target=made,
            ids=np.arange(len(ragged)),
            time=None,
            schema=schema,
            forecast=forecast,
        )

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

    def with_window(self) -> SequenceData:
        """A forecast with its window settled: as it is where the user named one, else from these series' season."""
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
        return replace(self, forecast=replace(self.forecast, window=window))

    def __repr__(self) -> str:
        lengths = self.lengths
        span = f"{lengths.min()} to {lengths.max()} steps" if len(self) else "no steps"
        target = "no target" if self.target is None else f"target {listed(self.target.names, 3)}"
        return (
            f"SequenceData({self.schema.task}: {len(self)} sequences, {span}, "
            f"{self.numbers.shape[1]} numbers, {self.categories.shape[1]} categories, {target})"
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
        validation: float | int = 0.15,
        test: float | int = 0.15,
        by: Literal["sequence", "time"] | None = None,
        history: Literal["own", "shared"] = "own",
        gap: int | None = None,
        stratify: bool = True,
        seed: int = 0,
    ) -> tuple[SequenceData, ...]:
        """``train, validation, test``: whole sequences, or the later steps of each sequence.

        Args:
            validation, test: a share between 0 and 1, or a number of sequences (``by="time"``: of steps to predict in
                each sequence). A part of 0 is left out of the result.
            by: "sequence": sequences are drawn at random; "time": each sequence is cut, the first steps train. By
                default "time" for forecasts and for a single sequence.
            history: for forecasts, where the window before a part's first prediction comes from. "own": from the
                part itself, so that no row is in two parts. "shared": from the rows before it, as published benchmarks
                do; those rows are inputs only, and every prediction of the part is made.
            gap: ``by="time"``: steps between the last one that a part predicts and the first that the next predicts.
                By default, and at least, the window ("own"), or 0 ("shared"); 0 where there is no window.
            stratify: ``by="sequence"``: draw from each class in proportion.
            seed: of the draw.

        Raises:
            DataError: too few sequences or steps for the parts asked for.
        """
        shares = {"validation": validation, "test": test}
        for name, share in shares.items():
            whole = isinstance(share, int | np.integer)
            if not (share >= 0 and (whole or share < 1)):  # so put that NaN is refused as well
                raise ArgumentError(f"{name}={share!r} is neither a share from 0 to 1 nor a whole number from 0 on.")
        if by is None:
            by = "time" if self.schema.task == "forecast" or (len(self) == 1 and self._per_step()) else "sequence"
        one_of("by", by, ("sequence", "time"))
        one_of("history", history, ("own", "shared"))
        if gap is not None and gap < 0:
            raise ArgumentError(f"gap={gap} is not a number of time steps; give at least 0.")
        if by == "sequence":
            if gap is not None or history != "own":
                raise ArgumentError("gap= and history= belong to a split by='time'.")
            parts = self._split_sequences(validation, test, stratify, seed)
        else:
            parts = self._split_time(validation, test, history, gap)
        wanted = [True, validation > 0, test > 0]
        return tuple(part for part, want in zip(parts, wanted, strict=True) if want)

    def _per_step(self) -> bool:
        return self.target is None or self.target.per == "step"

    def _split_sequences(self, validation: float, test: float, stratify: bool, seed: int) -> list[SequenceData]:
        count = len(self)
        wanted = [share if isinstance(share, int | np.integer) else max(1, round(share * count)) if share else 0
                  for share in (validation, test)]
        if sum(wanted) >= count:
            raise DataError(
                f"{count} sequence{'s' if count != 1 else ''} cannot be split into training, {wanted[0]} validation "
                f"and {wanted[1]} test sequences; give more sequences, smaller parts, or by='time'."
            )
        order = np.random.default_rng(seed).permutation(count)
        classes = self.target
        left = order
        held: list[np.ndarray] = []
        for number in wanted:
            if stratify and classes is not None and classes.kind == "category" and classes.per == "sequence":
                left = left[np.argsort(classes.values[left], kind="stable")]
            # Evenly spaced picks from sequences that lie class by class: each class in proportion, to within one, and
            # a class of one sequence is no special case.
            picks = ((np.arange(number) + 0.5) * len(left) / max(number, 1)).astype(np.int64)
            held.append(np.sort(left[picks]))
            left = np.delete(left, picks)
        return [self.take(part) for part in (np.sort(left), *held)]

    def _split_time(
        self, validation: float, test: float, history: str, gap: int | None
    ) -> list[SequenceData]:
        if not self._per_step():
            raise ArgumentError(
                "by='time' cuts every sequence, but the target is one a sequence; split by='sequence' instead."
            )
        data = self
        window = 0
        if self.forecast is not None:
            if self.forecast.window is None:  # chosen from the training rows alone, like everything that is learned
                train_share = [size / np.maximum(self.lengths, 1) if isinstance(size, int | np.integer) else size
                               for size in (validation, test)]
                stops = np.floor(self.lengths * (1 - np.minimum(train_share[0] + train_share[1], 1))).astype(np.int64)
                chosen = self.between(np.zeros_like(stops), stops).with_window().forecast
                data = replace(self, forecast=chosen)
            assert data.forecast is not None
            assert data.forecast.window is not None
            window = data.forecast.window
        least = window if history == "own" else 0
        if gap is None:
            gap = least
        elif gap < least:
            raise ArgumentError(
                f"gap={gap} is less than the window of {window} steps, so the parts would share rows; "
                "give a larger gap, or history='shared' to allow shared inputs."
            )
        lengths = data.lengths
        sizes = [np.full(len(data), share) if isinstance(share, int | np.integer) else np.round(share * lengths)
                 for share in (validation, test)]
        test_from = lengths - sizes[1].astype(np.int64)
        valid_from = test_from - sizes[0].astype(np.int64)
        # A part predicts [from, to); its rows start `window` steps earlier, and the part before it ends `gap` earlier.
        # With "own" history and the least gap this makes the parts touch and share no row.
        reach = window if history == "shared" else 0
        skip = gap - (window if history == "own" else 0)
        cuts = [
            (np.zeros_like(lengths), valid_from),
            (valid_from + skip - reach, test_from),
            (test_from + skip - reach, lengths),
        ]
        horizon = self.forecast.horizon if self.forecast else 1
        parts = []
        for name, share, (start, stop) in zip(
            ("training", "validation", "test"), (1, validation, test), cuts, strict=True
        ):
            room = stop - np.maximum(start, 0)
            if share and (room < window + horizon).all():
                raise DataError(
                    f"the {name} part of a series of {int(lengths.max(initial=0))} steps has "
                    f"{int(room.max(initial=0))} steps, fewer than window + horizon = {window} + {horizon}; give a "
                    "longer series, a shorter window or horizon, or larger parts."
                )
            parts.append(data.between(np.maximum(start, 0), stop))
        return parts


def _ragged(inputs: Any, mask: np.ndarray | None, lengths: Any) -> Ragged:
    if isinstance(inputs, Ragged):
        return inputs
    if isinstance(inputs, np.ndarray) and inputs.dtype != object:
        if inputs.ndim < 2:
            raise DataError(f"inputs are (sequences, steps, features); given shape {inputs.shape}.")
        if mask is None and lengths is None:
            lengths = np.full(len(inputs), inputs.shape[1])
        return Ragged.from_padded(inputs, mask=mask, lengths=lengths)
    return Ragged.from_list(inputs)


def _target(target: Any, inputs: Ragged, mask: np.ndarray | None, lengths: Any, task: Task | None) -> Target:
    array: np.ndarray | None = None
    if not isinstance(target, Ragged):
        if not isinstance(target, list | tuple):
            target = np.asarray(target)  # a pandas Series, whose [0] is a label and not a place
            if target.ndim == 0:
                raise DataError(f"a target is one value a sequence or a step; given {target!r}.")
        first = target[0] if len(target) else 0
        arrays = (np.ndarray, list, tuple)
        if not isinstance(first, arrays) or all(isinstance(x, arrays) and len(x) == len(first) for x in target):
            array = np.asarray(target)
    per_step = array is None or array.ndim > 2 or (array.ndim > 1 and task in ("tag", "forecast"))
    if not per_step and array is not None:
        _refuse_ambiguous(array, inputs, mask, lengths, task)
    if per_step:
        ragged = _ragged(target, mask, lengths)
        if not np.array_equal(ragged.lengths, inputs.lengths):
            raise DataError("a target a step needs as many steps in each sequence as the inputs have.")
        array = ragged.values
    assert array is not None
    if not per_step and len(array) != len(inputs):
        raise DataError(f"{len(array)} targets were given for {len(inputs)} sequences.")
    if task == "classify" and per_step:
        raise DataError("task='classify' has one label a sequence; a label a step is task='tag'.")
    if task in ("tag", "forecast") and not per_step:
        raise DataError(f"task={task!r} has one target a step, given as the inputs are; one a sequence was given.")
    per: Literal["sequence", "step"] = "step" if per_step else "sequence"
    if task in ("regress", "forecast") or (task is None and array.dtype.kind == "f"):
        if array.dtype.kind not in "fiub" or array.ndim > 2:
            raise DataError(f"{task or 'regress'} predicts numbers, K a {per}; given {array.dtype} {array.shape}.")
        values = array.astype(np.float64)
        values = values if values.ndim == 2 else values[:, None]
        names = ("y",) if values.shape[1] == 1 else tuple(f"y{k}" for k in range(values.shape[1]))
        return Target(names=names, kind="number", per=per, values=values)
    if array.ndim != 1:
        raise DataError(
            f"class labels are one value each, not one-hot rows, and a label a step is task='tag'; given {array.shape}."
        )
    missing = np.zeros(len(array), bool)
    if array.dtype.kind in "fO":  # None, and NaN, which alone differs from itself
        missing[:] = [label is None or label != label for label in array.tolist()]
    try:
        levels, present = np.unique(array[~missing], return_inverse=True)
    except TypeError as error:
        raise DataError(f"the labels are of several types, which have no order: {error}.") from error
    codes = np.full(len(array), -1, np.int32)
    codes[~missing] = present
    return Target(names=("y",), kind="category", per=per, values=codes, levels=tuple(levels.tolist()))


def _refuse_ambiguous(
    array: np.ndarray, inputs: Ragged, mask: np.ndarray | None, lengths: Any, task: Task | None
) -> None:
    """Numbers ``(B, K)`` where K is the number of steps as well: one row a sequence, or one number a step?"""
    if array.ndim != 2 or array.dtype.kind != "f" or task is not None or array.shape[1] < 2:
        return
    steps = inputs.lengths
    longest = np.shape(mask)[1] if mask is not None else steps.max(initial=0)
    padded = mask is not None or lengths is not None
    if array.shape[1] == longest and (padded or (steps == longest).all()):
        raise ArgumentError(
            f"the target has {longest} numbers a sequence, and the sequences {longest} steps: pass a Ragged for one "
            f"number a step, or task='regress' for {longest} numbers a sequence."
        )
