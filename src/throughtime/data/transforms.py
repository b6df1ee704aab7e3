"""What is fitted on the training part, and only there: scalers, vocabularies, classes, the season.

``Preparation.fit(train)`` looks at the training part; ``apply`` turns any part into ``Examples`` that a network can
take, by the same numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import DataError, choose, counted, listed
from ..files import finite
from ..schemas import check_json
from .examples import Examples
from .scaling import SCALES, Scale, Scaler, fill_forward
from .sequences import Forecast, Schema, SequenceData, Target
from .stored import preparation

Missing = Literal["fill", "refuse"]
UNSEEN = -2  # index of a class that the training part never showed
# Rows scaled at a time: what is computed in float64 on the way stays in the cache, however long the table.
ROWS_AT_A_TIME = 1 << 14


@dataclass(frozen=True, eq=False, kw_only=True)
class Preparation:
    """How raw columns become the network's inputs and targets, and its outputs become answers.

    The columns of ``Examples.numbers`` are, in this order: for forecasts the K scaled targets; the numeric inputs; an
    indicator (1 where missing) for each of those that has missing values in the training part.

    Attributes:
        schema, forecast: of the training data; the window is settled here if it was not before.
        inputs: scaler of ``[targets,] inputs``.
        indicators: which of those columns have an indicator.
        vocabulary: for each category column the labels with codes 1, 2, ...; every other label has code 0.
        outputs: scaler of the K numeric targets, None for classes.
        classes: the class labels in the order of the network's outputs, empty for numbers.
        missing: "fill" (the last value of the sequence, before the first one 0 after scaling, which with the standard
            scaler is the training mean; and an indicator) or "refuse".
        per: where the target is, one a sequence or one a step.
        season: of the training part of the series, in steps; 1 if it has none. Forecasts only.

    Example:
        >>> from throughtime.data.arrays import from_arrays
        >>> data = from_arrays([np.array([[0.0], [2.0]]), np.array([[2.0], [0.0]])], ["a", "b"])
        >>> preparation = Preparation.fit(data)
        >>> preparation.classes, preparation.apply(data).numbers.ravel().tolist()
        (('a', 'b'), [-1.0, 1.0, 1.0, -1.0])
    """

    schema: Schema
    forecast: Forecast | None
    inputs: Scaler
    indicators: tuple[int, ...]
    vocabulary: tuple[tuple[str, ...], ...]
    outputs: Scaler | None
    classes: tuple[Any, ...]
    missing: Missing
    per: Literal["sequence", "step"] = "sequence"
    season: int = 1

    @classmethod
    def fit(cls, train: SequenceData, *, scale: Scale = "standard", missing: Missing = "fill") -> Preparation:
        """Everything that is learned from data before training, from the training part alone."""
        scale = choose("scale", scale, SCALES)  # type: ignore[assignment]
        missing = choose("missing", missing, ("fill", "refuse"))  # type: ignore[assignment]
        target = train.target
        if target is None:
            raise DataError("the training data has no target column; name it with target=.")
        refuse_infinite(train)
        columns = raw_inputs(train)
        gaps = np.isnan(columns).any(0) if len(columns) else np.zeros(columns.shape[1], bool)
        names = input_names(train.schema)
        if missing == "refuse" and gaps.any():
            named = [name for name, gap in zip(names, gaps, strict=True) if gap]
            raise DataError(
                f"missing values in {listed(named)}, and missing='refuse' was asked for; fill them in the table or use "
                "missing='fill'."
            )
        if missing == "refuse":
            refuse_missing_categories(train)
        vocabulary = []
        for column, levels in enumerate(train.levels):
            counts = np.bincount(train.categories[:, column] + 1, minlength=len(levels) + 1)[1:]
            # Labels seen once are left to the unknown category, so that training meets it as prediction will.
            least = 2 if (counts >= 2).any() else 1
            vocabulary.append(tuple(sorted(levels[code] for code in np.flatnonzero(counts >= least))))
        outputs, classes = None, ()
        if target.kind == "number":
            outputs = Scaler.fit(target.values, scale)
        else:
            present = np.unique(target.values[target.values >= 0])
            classes = tuple(target.levels[code] for code in present)
            storable = (str, bool, int, float, np.number, np.bool_)
            odd = [target.levels[code] for code in present if not isinstance(target.levels[code], storable)]
            if odd:
                raise DataError(
                    f"the labels of {target.names[0]!r} are of the type {type(odd[0]).__name__} ({odd[0]!r}), which a "
                    "run cannot store; give text, numbers or booleans."
                )
            if len(classes) < 2:
                raise DataError(
                    f"the training part has {len(classes)} class{'es' if len(classes) != 1 else ''} of "
                    f"{target.names[0]!r}; at least 2 are needed to learn from."
                )
        forecast, season = train.forecast, 1
        if forecast is not None:
            season = train.season()
            if forecast.window is None:
                forecast = train.with_window().forecast
        return cls(
            schema=train.schema,
            forecast=forecast,
            inputs=Scaler.fit(columns, scale),
            indicators=tuple(np.flatnonzero(gaps).tolist()),
            vocabulary=tuple(vocabulary),
            outputs=outputs,
            classes=classes,
            missing=missing,
            per=target.per,
            season=season,
        )

    # -- to the network ------------------------------------------------------------------------------------------

    def apply(self, data: SequenceData, *, targets: bool = True) -> Examples:
        """The examples of a part: its sequences, or every window of its series that has a horizon after it.

        Args:
            targets: False to leave the target out (``latest`` makes the windows to forecast from).

        Raises:
            DataError: other columns than those of training, infinite values, missing ones where they are refused,
                classes that training never saw.
        """
        numbers, codes = self._numbers(data), self._codes(data)
        if self.forecast is not None:
            return self._windows(data, numbers, codes)
        made, weights = None, None
        if targets:
            if data.target is None:
                raise DataError(f"the target column {listed(self.schema.target)} is not in {data.source}.")
            if data.target.per != self.per:
                raise DataError(
                    f"the network answers once a {self.per}, and {listed(data.target.names)} in {data.source} is one a "
                    f"{data.target.per}."
                )
            made, weights = self._targets(data.target, data.source)
        return Examples(
            numbers=numbers,
            codes=codes,
            starts=data.offsets[:-1],
            lengths=data.lengths,
            per="step" if self.per == "step" else "example",
            targets=made,
            weights=weights,
        )

    def latest(self, data: SequenceData) -> tuple[Examples, np.ndarray]:
        """For each series the window that ends with its last observed target, and that row's number ``(B,)``.

        Raises:
            DataError: a series shorter than the window, or without the known covariates of the horizon.
        """
        assert self.forecast is not None and self.forecast.window is not None
        window, horizon = self.forecast.window, self.forecast.horizon
        if data.target is None:
            raise DataError(
                f"{data.source} has no column {listed(self.schema.target)}: a forecast goes on from its last values."
            )
        numbers, codes = self._numbers(data), self._codes(data)
        observed = ~np.isnan(data.target.values).all(1)
        rows = np.where(observed, np.arange(data.steps), -1)
        before = np.concatenate([[-1], np.maximum.accumulate(rows)])[data.offsets[1:]]  # the last one of all series
        last = np.where(before >= data.offsets[:-1], before, -1)
        short = np.flatnonzero(last - data.offsets[:-1] + 1 < window)
        if len(short):
            b = short[0]
            raise DataError(
                f"series {data.ids.tolist()[b]!r} has {max(0, last[b] - data.offsets[b] + 1)} observed steps, and the "
                f"network looks back {window}; give at least {window} steps of each series."
            )
        known = self._known()
        if any(known):
            short = np.flatnonzero(data.offsets[1:] - last - 1 < horizon)
            if len(short):
                b = short[0]
                after = counted(int(data.offsets[b + 1] - last[b] - 1), "step")
                raise DataError(
                    f"series {data.ids.tolist()[b]!r} ends {after} after its last "
                    f"target, and {listed(self.forecast.known)} must be known for all {horizon} steps of the horizon; "
                    "add those rows with the target left empty."
                )
        return (
            Examples(
                numbers=numbers,
                codes=codes,
                starts=last - window + 1,
                lengths=np.full(len(data), window),
                per="horizon",
                targets=None,
                horizon=horizon,
                known_numbers=known[0],
                known_codes=known[1],
            ),
            last,
        )

    def _windows(self, data: SequenceData, numbers: np.ndarray, codes: np.ndarray) -> Examples:
        assert self.forecast is not None and self.forecast.window is not None and self.outputs is not None
        if data.target is None:
            raise DataError(f"the target column {listed(self.schema.target)} is not in {data.source}.")
        window, horizon = self.forecast.window, self.forecast.horizon
        observed = np.isfinite(data.target.values).all(1)
        counts = np.maximum(data.lengths - window - horizon + 1, 0)
        starts = np.concatenate(
            [first + np.arange(n) for first, n in zip(data.offsets[:-1], counts, strict=True)]
            or [np.zeros(0, np.int64)]
        )
        # A window whose whole horizon is missing teaches and tests nothing.
        seen = np.concatenate([[0], np.cumsum(observed)])
        possible = len(starts)
        starts = starts[seen[starts + window + horizon] > seen[starts + window]]
        if possible and not len(starts):
            raise DataError(
                f"in {data.source} no window of {counted(window, 'step')} is followed by a value of "
                f"{'every target' if len(self.schema.target) > 1 else 'the target'} within "
                f"{counted(horizon, 'step')}; fill some of them in, or choose a "
                "shorter window."
            )
        if not len(starts):
            raise DataError(
                f"no series of {data.source} is as long as window + horizon = {window} + {horizon} steps (the longest "
                f"has {int(data.lengths.max(initial=0))}); give longer series, or a shorter window or horizon."
            )
        scaled = self.outputs.apply(data.target.values)
        known = self._known()
        return Examples(
            numbers=numbers,
            codes=codes,
            starts=starts,
            lengths=np.full(len(starts), window),
            per="horizon",
            targets=np.where(observed[:, None], scaled, np.float32(0)),
            weights=observed.astype(np.float32),
            horizon=horizon,
            known_numbers=known[0],
            known_codes=known[1],
        )

    def _known(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        assert self.forecast is not None
        names, known = input_names(self.schema), self.forecast.known
        numbers = [i for i, name in enumerate(names) if name in known]
        numbers += [len(names) + i for i, column in enumerate(self.indicators) if names[column] in known]
        return tuple(numbers), tuple(i for i, name in enumerate(self.schema.categories) if name in known)

    def _numbers(self, data: SequenceData) -> np.ndarray:
        self._refuse_other_columns(data)
        refuse_infinite(data)
        names, indicators = input_names(self.schema), list(self.indicators)
        made = np.empty((data.steps, len(names) + len(indicators)), np.float32)
        gaps = np.zeros(len(names), bool)
        for start in range(0, data.steps, ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            columns = raw_inputs(data, rows)
            absent = np.isnan(columns)
            if self.missing == "refuse" and absent.any():
                row, column = (int(i[0]) for i in np.nonzero(absent))
                raise DataError(
                    f"missing value in column {names[column]!r} of {data.source}, row {start + row}, and the network "
                    "was trained with missing='refuse'; fill it first."
                )
            gaps |= absent.any(0)
            made[rows, : len(names)] = self.inputs.apply(columns)
            made[rows, len(names) :] = absent[:, indicators]
        for column in np.flatnonzero(gaps):  # one at a time: the row numbers that filling needs are 64 bits wide
            made[:, [column]] = fill_forward(made[:, [column]], data.offsets)
        return made

    def _refuse_other_columns(self, data: SequenceData) -> None:
        """Columns are told apart by their place from here on: in another order they would be taken for each other."""
        expected, given = ((*input_names(schema), *schema.categories) for schema in (self.schema, data.schema))
        if expected == given and self.schema.categories == data.schema.categories:
            return
        lacking = [name for name in expected if name not in given]
        other = [name for name in given if name not in expected]
        differences = [f"{listed(lacking)} not there" if lacking else "", f"{listed(other)} besides" if other else ""]
        raise DataError(
            f"the input columns of {data.source} are not those that were trained on "
            f"({', '.join(filter(None, differences)) or 'they are in another order'}): {listed(expected, 30)}; read a "
            "table with tt.read_like(table, run.preparation.schema, run.preparation.forecast)."
        )

    def _codes(self, data: SequenceData) -> np.ndarray:
        if self.missing == "refuse":
            refuse_missing_categories(data)
        codes = np.zeros((data.steps, len(self.vocabulary)), np.int32)
        for column, (levels, labels) in enumerate(zip(data.levels, self.vocabulary, strict=True)):
            place = {label: code for code, label in enumerate(labels, start=1)}
            table = np.array([*(place.get(level, 0) for level in levels), 0], np.int32)  # the last one is for -1
            codes[:, column] = table[data.categories[:, column]]
        return codes

    def _targets(self, target: Target, source: str) -> tuple[np.ndarray, np.ndarray | None]:
        if self.outputs is not None:
            known = np.isfinite(target.values).all(-1)
            scaled = np.where(known[:, None], self.outputs.apply(target.values), np.float32(0))
            return scaled, None if known.all() else known.astype(np.float32)
        classes = self.class_indices(target)
        # A rare tag among thousands of steps is only a wrong answer to come (scores count it as one); a whole sequence
        # of an unknown class is a mistake to be told of.
        if (classes == UNSEEN).any() and self.per == "sequence":
            unseen = [target.levels[code] for code in np.unique(target.values[classes == UNSEEN])]
            raise DataError(
                f"{target.names[0]!r} in {source} has classes that the training part never showed: {listed(unseen)}; "
                "train with examples of them, leave those sequences out, or, to predict only, the target column."
            )
        known = classes >= 0
        return np.where(known, classes, 0).astype(np.int32), None if known.all() else known.astype(np.float32)

    def class_indices(self, target: Target) -> np.ndarray:
        """The index of each label among ``classes``, in the shape of its values; -1 missing, -2 never seen.

        An integer and its spelling are one label: the same classes may be text in one file and numbers in another.
        """
        place = {str(label): index for index, label in enumerate(self.classes)}
        table = np.array([*(place.get(str(level), UNSEEN) for level in target.levels), -1], np.int32)
        return table[target.values]

    # -- from the network, and to disk -----------------------------------------------------------------------------

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """``(..., classes)`` probabilities to the most probable label, an object array ``(...,)``."""
        table = np.empty(len(self.classes), dtype=object)
        table[:] = self.classes
        return table[np.argmax(probabilities, -1)]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; ``from_json`` gives back the same numbers to the last bit."""

        def scaler(s: Scaler | None) -> dict[str, list[float]] | None:
            return None if s is None else {"center": s.center.tolist(), "scale": s.scale.tolist()}

        forecast = self.forecast
        return {
            "schema": self.schema.to_json(),
            "forecast": None
            if forecast is None
            else {
                "horizon": int(forecast.horizon),  # NumPy's integers are accepted, and are no JSON
                "window": None if forecast.window is None else int(forecast.window),
                "known": forecast.known,
            },
            "inputs": scaler(self.inputs),
            "indicators": self.indicators,
            "vocabulary": self.vocabulary,
            "outputs": scaler(self.outputs),
            "classes": self.classes,
            "missing": self.missing,
            "per": self.per,
            "season": self.season,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any], *, named: str = "the preparation is damaged") -> Preparation:
        """The Preparation that ``to_json`` wrote.

        Args:
            named: what errors begin with.

        Raises:
            RunError: a value of another type, or of another length than the columns; says which.
        """
        stored = check_json(json.dumps(finite(stored)), preparation, named)

        def tuples(value: Any) -> Any:
            return tuple(map(tuples, value)) if isinstance(value, list) else value

        def scaler(s: dict[str, list[float]] | None) -> Scaler | None:
            return None if s is None else Scaler(center=np.array(s["center"]), scale=np.array(s["scale"]))

        inputs = scaler(stored["inputs"])
        assert inputs is not None
        forecast = stored["forecast"]
        return cls(
            schema=Schema.from_json(stored["schema"]),
            forecast=forecast and Forecast(**{key: tuples(value) for key, value in forecast.items()}),
            inputs=inputs,
            indicators=tuples(stored["indicators"]),
            vocabulary=tuples(stored["vocabulary"]),
            outputs=scaler(stored["outputs"]),
            classes=tuples(stored["classes"]),
            missing=stored["missing"],
            per=stored["per"],
            season=stored["season"],
        )


def input_names(schema: Schema) -> tuple[str, ...]:
    """The numeric input columns in the order of ``raw_inputs``: a forecast's past targets are inputs as well."""
    return (*schema.target, *schema.numbers) if schema.task == "forecast" else schema.numbers


def raw_inputs(data: SequenceData, rows: slice = slice(None)) -> np.ndarray:
    """``(N, [K +] F)`` numeric inputs as they were read, of all ``rows`` or some."""
    numbers = data.numbers[rows]
    if data.forecast is None:
        return numbers
    if data.target is None:
        return np.concatenate([np.full((len(numbers), len(data.schema.target)), np.nan), numbers], axis=1)
    return np.concatenate([data.target.values[rows], numbers], axis=1)


def refuse_infinite(data: SequenceData) -> None:
    """Raises DataError that names the column, how many values are infinite, and where the first one is."""
    arrays = [(data.schema.numbers, data.numbers)]
    if data.target is not None and data.target.kind == "number":
        arrays.append((data.target.names, data.target.values))
    for names, values in arrays:
        infinite = np.isinf(values)
        if infinite.any():
            row, column = (int(i[0]) for i in np.nonzero(infinite))
            raise DataError(
                f"column {names[column]!r} of {data.source} has {int(infinite[:, column].sum())} infinite values, the "
                f"first at time step {row}; replace them with numbers or leave them empty."
            )


def refuse_missing_categories(data: SequenceData) -> None:
    """Raises DataError that names the category columns with missing values."""
    gaps = np.flatnonzero((data.categories < 0).any(0))
    if len(gaps):
        named = [data.schema.categories[column] for column in gaps]
        raise DataError(
            f"missing values in {listed(named)} of {data.source}, and missing='refuse' was asked for; fill them in the "
            "table or use missing='fill'."
        )
