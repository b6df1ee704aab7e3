"""Long sequences window by window: truncated backpropagation through time with carried state (Williams & Peng 1990).

A window is a batch of ``Streams``. Its rows go on where those of the window before stopped, so a ``stateful`` layer
sees the whole of a sequence while the gradient is taken over one window. ``CarryState``, the callback, gives the rows
in which a sequence begins a state of zero; without it a window is refused, since its state would be wrong.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, DataError, one_of
from ..ragged import Ragged, offsets_from_lengths
from .examples import Examples
from .sequences import SequenceData
from .windows import Layout, lay_out, side_by_side

FEEDS = ("numbers", "codes", "mask")
SAMPLED = 4096  # steps at either end of the values that a fingerprint is made of: all of a file would have to be read

Values = np.ndarray | Ragged | Sequence[Any] | str | os.PathLike[str]


class Streams(keras.utils.PyDataset):
    """Windows of sequences, for ``fit(streams, shuffle=False, callbacks=[tt.CarryState(streams)])``.

    A window is ``(inputs, targets, weights)``: ``(batch, window)`` int32 of whole numbers, or ``(batch, window, F)``
    float32. Sequences lie in the ``batch`` rows one after another, each beginning with a window; what is left of a
    window after a sequence's end is padding, which counts for nothing. The model has ``stateful=True`` layers that
    return sequences, and ``keras.Input(batch_shape=(batch, None, F))``.

    One array is one sequence, and is cut into ``batch`` pieces of about equal length, each with a state of its own, as
    in language modelling: a step sees its own piece only. A list or a Ragged has a sequence an item.

    The weights make each step that counts weigh the same, in whatever window it stands: with a loss of Keras's default
    reduction, ``evaluate`` gives the mean over the steps of all sequences. Metrics see the weights if they are among
    ``weighted_metrics``.

    Args:
        x: a sequence ``(T,)`` or ``(T, F)``; or a list or Ragged of them; or the path of a ``.npy`` file, of which, as
            of a ``numpy.memmap``, no more than a window is in memory; or the examples of a table or of arrays,
            ``Preparation.fit(train).apply(data)``, which have their targets with them, and no weight where one is
            missing.
        y: targets. Of one sequence, an array or file with as many steps. Of several, a list or Ragged with a target a
            step, or an array ``(S, ...)`` with one a sequence, which counts at its last step only.
        window: steps of a window, over which gradients are taken.
        batch: rows of a window, sequences that are read side by side.
        ahead: without ``y``, the target of a step is the value so many steps later, by default 1; 0 for no targets.
        shuffle: an order of the sequences of its own for each epoch. Of one array there is nothing to shuffle.
        seed: of that order; that of epoch ``n`` depends on the seed and ``n`` only.
        pad_value: what padding holds, for a ``Masking`` layer or ``Embedding(mask_zero=True)``. Neither is needed.
        feeds: "numbers" or "codes" (whole numbers) and "mask", by default the first alone; several make the inputs a
            dict, for a model whose inputs have these names. The mask ``(batch, window)`` is True at real steps.

    Attributes:
        layout: which steps stand where; ``layout[i].begins`` says in which rows a sequence begins.
        masked: whether the outputs of the model carry a mask: Keras then divides the loss of a window by its valid
            steps, which the weights make up for, and weighted metrics are not divided, so that they lean to full
            windows: leave masks out, they are not needed. ``CarryState`` sets it, except for subclassed models.
        disordered: whether Keras has asked for windows out of order in this epoch, as ``fit`` does by default.

    Raises:
        ArgumentError: an argument outside of what is accepted, or windows that are asked for without ``CarryState``.
            DataError: not a step to train on; NaN, infinity, or a whole number that int32 cannot hold, by its place
            (in a file, when its window is reached).

    Example:
        >>> streams = Streams(np.arange(100, 117), window=5, batch=2)
        >>> inputs, targets, weights = streams[1]
        >>> inputs.tolist(), targets[0].tolist(), len(streams)
        ([[105, 106, 107, 0, 0], [113, 114, 115, 0, 0]], [106, 107, 108, 0, 0], 2)
        >>> weights[0].tolist(), streams.layout[1].begins.tolist()
        ([1.25, 1.25, 1.25, 0.0, 0.0], [False, False])
    """

    def __init__(
        self,
        x: Values | Examples,
        y: Values | None = None,
        *,
        window: int,
        batch: int,
        ahead: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        pad_value: float = 0,
        feeds: Sequence[str] | str | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("window", window, 1), ("batch", batch, 1), ("ahead", ahead, 0)):
            if (value is not None or least) and (not isinstance(value, int | np.integer) or value < least):
                raise ArgumentError(f"{name}={value!r} is given; a whole number of at least {least} is accepted.")
        self._weights: np.ndarray | None = None  # of steps or of sequences, as the targets are
        if isinstance(x, Examples):
            if y is not None or ahead is not None:
                raise ArgumentError("y= and ahead= go with arrays; the examples that are given have their targets.")
            x, y, self._weights = _laid_out(x)
            ahead = 0 if y is None else None
        elif isinstance(x, SequenceData):
            raise ArgumentError(
                "Streams was given a SequenceData, whose columns are as they were read; give "
                "tt.Preparation.fit(train).apply(data), which scales and fills them."
            )
        if y is not None and ahead is not None:
            raise ArgumentError(f"y= and ahead={ahead} are given; targets are either y or values of x, one of them.")
        self.ahead = (1 if y is None else 0) if ahead is None else int(ahead)
        self.window, self.batch, self.seed, self.pad_value = int(window), int(batch), seed, pad_value
        self._x, offsets = _opened("x", x)
        self._whole = offsets is None
        if offsets is None:
            if shuffle:
                raise ArgumentError("shuffle=True is given with one sequence, whose order is fixed; leave it out.")
            steps = max(len(self._x) - self.ahead, 0)
            offsets = np.arange(self.batch + 1) * steps // self.batch
            lengths = np.diff(offsets)
        else:
            lengths = np.maximum(np.diff(offsets) - self.ahead, 0)
        self._offsets, self.shuffle = offsets, shuffle
        self._y, self.per_step = self._targets(y)
        kind = "numbers" if self._x.dtype.kind == "f" else "codes"
        self.feeds: Sequence[str] | str = kind if feeds is None else feeds
        for name in (self.feeds,) if isinstance(self.feeds, str) else self.feeds:
            one_of("feeds", name, FEEDS)
            if name not in (kind, "mask"):
                raise ArgumentError(f"feeds={name!r} is given, and x holds {self._x.dtype}, which makes {kind!r}.")
        if not lengths.any():
            raise DataError(f"there is no step to train on; sequences of more than {self.ahead} steps are accepted.")
        if self._whole:
            self._plan = side_by_side(lengths, window=self.window)
        else:
            self._plan = lay_out(lengths, window=self.window, batch=self.batch)
        # That all steps weigh the same, and 1 on average: the steps that count, of the cells of all windows.
        counting = lengths if self.per_step else lengths > 0
        if self._weights is not None:
            counting = self._weights if self.per_step else self._weights[lengths > 0]
        self._counted = float(counting.sum())
        if not self._counted:
            raise DataError("no target is known: there is nothing to train on.")
        self.masked = False
        self.layout: Layout = self._plan
        self._first = 0  # the window that an epoch begins with, where one is resumed
        self._open = self._shortened = self._attended = False
        self._reached, self._served, self._unattended = -1, 0, 0
        self.disordered = False
        self._looked_at = 2 if keras.backend.backend() == "jax" else 1
        self.start_at(0)

    def _targets(self, y: Values | None) -> tuple[np.ndarray | None, bool]:
        """The values of the targets, and whether there is one a step."""
        if y is None:
            return (self._x if self.ahead else None), True
        values, offsets = _opened("y", y)
        if offsets is not None or self._whole:
            given = np.array([0, len(values)]) if offsets is None else offsets
            wanted = np.array([0, len(self._x)]) if self._whole else self._offsets
            if not np.array_equal(given, wanted):
                raise ArgumentError("y has other lengths than x; a target for each step of each sequence is accepted.")
            return values, True
        if len(values) != len(self._offsets) - 1:
            raise ArgumentError(f"y has {len(values)} targets for {len(self._offsets) - 1} sequences; one each.")
        return values, False

    # Windows ----------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Windows of an epoch."""
        return self.layout.windows

    @property
    def num_batches(self) -> int:
        """For Keras: in the moment in which it begins a resumed epoch, the windows that are left of it."""
        return len(self) - (self._first if self._shortened else 0)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if self._open:
            self._watch(index)
        return self._window(index + self._first)

    def _window(self, number: int) -> tuple[Any, ...]:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no window {number}; there are {len(self)}.")
        cells = self.layout[number]
        mask = np.arange(self.window) < cells.count[:, None]

        def cut(values: np.ndarray, later: int, padding: float) -> np.ndarray:
            held = np.full((*mask.shape, *values.shape[1:]), padding, _held(values))
            for row in np.flatnonzero(cells.count):
                first = int(self._offsets[cells.sequence[row]] + cells.start[row]) + later
                part = values[first : first + cells.count[row]]
                if isinstance(values, np.memmap):
                    _refuse_not_held("y" if values is self._y and values is not self._x else "x", part, first)
                held[row, : cells.count[row]] = part
            return held if held.dtype == np.int32 or values.ndim > 1 else held[..., None]

        made = {name: mask if name == "mask" else cut(self._x, 0, self.pad_value) for name in self._feeds()}
        inputs = made[self.feeds] if isinstance(self.feeds, str) else made
        if self._y is None:
            return (inputs,)
        if self.per_step:
            targets, counted = cut(self._y, self.ahead, 0), mask.astype(float)
            if self._weights is not None:
                counted = cut(self._weights, 0, 0)[..., 0]
        else:
            last = mask & cells.ends[:, None] & (np.arange(self.window) == cells.count[:, None] - 1)
            targets = np.zeros((*mask.shape, *self._y.shape[1:]), _held(self._y))
            targets[last] = self._y[cells.sequence[cells.ends]]
            targets = targets if targets.dtype == np.int32 or self._y.ndim > 1 else targets[..., None]
            counted = last.astype(float)
            if self._weights is not None:
                counted[last] = self._weights[cells.sequence[cells.ends]]
        divided_by = int(mask.sum()) if self.masked else mask.size
        return inputs, targets, (counted * (divided_by * len(self) / self._counted)).astype(np.float32)

    def _feeds(self) -> tuple[str, ...]:
        return (self.feeds,) if isinstance(self.feeds, str) else tuple(self.feeds)

    def unwindowed(self, outputs: np.ndarray) -> Any:
        """What ``predict`` gave for the windows, by sequence again, without padding.

        Args:
            outputs: ``(windows * batch, window, ...)``, in the order of this epoch.

        Returns:
            A list with ``(length, ...)`` for each sequence; or, of one array, ``(steps, ...)``. Without the last
            ``ahead`` steps.

        Example:
            >>> streams = Streams([[1, 2, 3], [4]], window=2, batch=2, ahead=0)
            >>> outputs = np.concatenate([streams[i][0] for i in range(len(streams))])
            >>> [sequence.tolist() for sequence in streams.unwindowed(outputs)]
            [[1, 2, 3], [4]]
        """
        outputs = np.asarray(outputs)
        expected = (len(self) * self.batch, self.window)
        if outputs.shape[:2] != expected:
            raise ArgumentError(f"outputs have shape {outputs.shape}; {expected} and more axes are accepted.")
        found = [np.zeros((length, *outputs.shape[2:]), outputs.dtype) for length in self.layout.lengths]
        for number in range(len(self)):
            cells = self.layout[number]
            for row in np.flatnonzero(cells.count):
                start, count = cells.start[row], cells.count[row]
                found[cells.sequence[row]][start : start + count] = outputs[number * self.batch + row, :count]
        return np.concatenate(found) if self._whole else found

    # Epochs -----------------------------------------------------------------------------------------------------------

    def start_at(self, epoch: int, window: int = 0) -> None:
        """The order of epoch ``epoch``, from 0, and the window that it is to begin with."""
        if not 0 <= window < len(self):
            raise ArgumentError(f"window={window} is given; 0 to {len(self) - 1} is accepted.")
        self.epoch, self._first, self._shortened = epoch, window, window > 0
        self.layout = self._plan.shuffled(np.random.default_rng([self.seed, epoch])) if self.shuffle else self._plan

    def attend(self) -> None:
        """Says, until the end of the epoch, that someone sees to the states. ``CarryState`` does."""
        if self.workers > 1 or self.use_multiprocessing:
            raise ArgumentError(
                f"workers={self.workers}, use_multiprocessing={self.use_multiprocessing} are set; Streams takes its "
                "windows in order, which workers=1, use_multiprocessing=False do."
            )
        self._attended, self._unattended = True, 0

    def leave(self) -> None:
        """Takes it back; an epoch that was broken off is over as well."""
        self._open = self._attended = False

    @property
    def is_open(self) -> bool:
        """Whether Keras is within an epoch of it."""
        return self._open

    @property
    def first(self) -> int:
        """The window that this epoch begins with."""
        return self._first

    def on_epoch_begin(self) -> None:
        self._open, self._reached, self._served, self.disordered = True, -1, 0, False
        if len(self) <= self._looked_at and self._unattended and not self._attended:
            self._refuse_unattended()

    def on_epoch_end(self) -> None:
        self._open = self._attended = self._shortened = False
        self._first = 0

    def _watch(self, index: int) -> None:
        """Sees what would train on wrong states.

        Nothing is raised at the first window that is asked for: on JAX, Keras has the weights in its hands then, and
        would drop them. And Keras takes a window to build a model, on JAX up to two, before it calls callbacks.
        """
        self._shortened = False  # Keras has counted the windows by now
        self.disordered = self.disordered or index > self._reached + 1
        self._reached = max(self._reached, index)
        self._served += 1
        if not self._attended:
            self._unattended += 1
            if self._served > self._looked_at:
                self._refuse_unattended()

    def _refuse_unattended(self) -> None:
        self.leave()
        lost = " On JAX, model.jax_state_sync() first." if keras.backend.backend() == "jax" else ""
        raise ArgumentError(
            "nobody sees to the states of this Streams: they would be carried from one sequence into another. Give "
            "callbacks=[tt.CarryState(streams)] to fit, evaluate or predict (with steps_per_execution=1), and the "
            f"validation data of a fit to it: CarryState(streams, validation=...).{lost}"
        )

    def fingerprint(self) -> dict[str, Any]:
        """What the order of the windows and their content depend on, for JSON; of a large file only its ends."""
        digest = hashlib.blake2b(digest_size=8)
        for values in (self._x, self._y, self._weights):
            if values is not None:
                digest.update(f"{values.shape} {values.dtype}".encode())
                for part in (values[:SAMPLED], values[-SAMPLED:]):
                    digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(np.ascontiguousarray(self._offsets).tobytes())
        names = ("window", "batch", "ahead", "shuffle", "seed", "pad_value")
        return {name: getattr(self, name) for name in names} | {"data": digest.hexdigest()}


def _laid_out(examples: Examples) -> tuple[Ragged, Values | None, np.ndarray | None]:
    """Their inputs, targets and weights, one example after another."""
    if examples.per == "horizon":
        raise ArgumentError(
            "these are the windows of a forecast, which overlap; give the series itself, Streams(values, ahead=...)."
        )
    if examples.numbers.shape[1] and examples.codes.shape[1]:
        raise ArgumentError(
            f"the examples have {examples.numbers.shape[1]} columns of numbers and {examples.codes.shape[1]} of "
            "categories; Streams feeds one array: numbers, or categories."
        )
    offsets = offsets_from_lengths(examples.lengths)
    rows = np.repeat(examples.starts - offsets[:-1], examples.lengths) + np.arange(offsets[-1])
    values = examples.numbers if examples.numbers.shape[1] else examples.codes
    values = values[:, 0] if values.dtype.kind == "i" and values.shape[1] == 1 else values
    x = Ragged(values[rows], offsets)
    if examples.targets is None:
        return x, None, None
    if examples.per == "example":
        return x, examples.targets, examples.weights
    weights = None if examples.weights is None else examples.weights[rows]
    return x, Ragged(examples.targets[rows], offsets), weights


def _opened(name: str, given: Values) -> tuple[np.ndarray, np.ndarray | None]:
    """Values with steps first, and the offsets of several sequences; None of one array."""
    offsets: np.ndarray | None = None
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise ArgumentError(f"{name}={str(path)!r} cannot be read: {error}") from error
        except (ValueError, EOFError) as error:
            raise ArgumentError(
                f"{name}={str(path)!r} is not a .npy file of numbers, which np.save writes. Of a table: "
                "tt.Preparation.fit(data).apply(data), with data = tt.read_table(...)."
            ) from error
    elif isinstance(given, np.ndarray):
        values = given
    elif isinstance(given, Ragged | Sequence):
        ragged = given if isinstance(given, Ragged) else Ragged.from_list(given)
        values, offsets = ragged.values, ragged.offsets
    else:
        raise ArgumentError(
            f"{name} is {type(given).__name__}; an array, a list or Ragged of sequences, or the path of a .npy file is "
            "accepted."
        )
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu":
        raise ArgumentError(
            f"{name} is {values.dtype} of shape {values.shape}; numbers (steps,) or (steps, features) are accepted, "
            "and of several sequences a list or a Ragged."
        )
    if not isinstance(values, np.memmap):
        _refuse_not_held(name, values, 0, offsets)
    return values, offsets


def _refuse_not_held(name: str, values: np.ndarray, first: int, offsets: np.ndarray | None = None) -> None:
    """What float32, or int32 for whole numbers, does not hold; ``first`` is the step that the values begin with."""
    if values.dtype.kind == "f":
        wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
        mend = "fill it in, scale it, or leave it out; of a table, Preparation does"
    elif values.dtype.itemsize < 4 or values.dtype == np.int32:
        return
    else:
        wrong = (values < np.iinfo(np.int32).min) | (values > np.iinfo(np.int32).max)
        mend = "whole numbers of 32 bits are accepted; number categories from 0, and give quantities as floats"
    if not wrong.any():
        return
    at = np.argwhere(wrong)[0]
    step, place = first + int(at[0]), "".join(f", feature {feature}" for feature in at[1:])
    where = f"step {step}{place}"
    if offsets is not None:
        sequence = int(np.searchsorted(offsets, step, side="right")) - 1
        where = f"sequence {sequence}, step {step - offsets[sequence]}{place}"
    raise DataError(f"{name} holds {values[tuple(at)]} ({where}; counted from 0): {mend}.")


def _held(values: np.ndarray) -> Any:
    return np.float32 if values.dtype.kind == "f" else np.int32
