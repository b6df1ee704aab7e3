"""Batches of sequences of different lengths, with little padding and few shapes.

Sequences are sorted into buckets by length; a bucket has one padded length and one batch size, so a compiled backend
compiles once a bucket. The bucket boundaries are the ones that pad least, found by dynamic programming over the lengths
that occur. Within its bucket every sequence is shuffled anew each epoch, and so is the order of the batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, one_of
from ..ragged import Ragged
from .examples import Examples

# More buckets are taken only as long as the share of padding is above this ...
WORTHWHILE_WASTE = 0.1
# ... and the search looks at no more than this many different lengths (more are rounded up to quantiles).
CANDIDATES = 160
FEEDS = ("numbers", "codes", "mask", "future_numbers", "future_codes")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Examples padded to one ``length``, ``batch`` rows at a time; ``members`` are their indices."""

    length: int
    batch: int
    members: np.ndarray

    @property
    def batches(self) -> int:
        return math.ceil(len(self.members) / self.batch)

    @property
    def tokens(self) -> int:
        """Steps of the padded containers of one epoch, valid or not."""
        return self.batches * self.batch * self.length


def plan_buckets(
    lengths: Sequence[int] | np.ndarray,
    *,
    batch_size: int | None = None,
    tokens: int | None = None,
    buckets: int = 8,
) -> list[Bucket]:
    """The buckets that pad least.

    Args:
        lengths: ``(E,)`` time steps of each example; 0 is legal.
        batch_size: most rows of a batch; or
        tokens: most time steps of a padded batch, rows x length (a longer sequence makes a batch of one).
        buckets: most buckets. Fewer are taken where that leaves no more than 10% padding.

    Returns:
        Buckets from short to long. The rows of the batches of a bucket are evened out (71 sequences at most 32 at a
        time are 3 batches of 24), so at most one row a batch is left over.

    Raises:
        ArgumentError: neither or both of ``batch_size`` and ``tokens``, or one below 1.

    Example:
        >>> [(b.length, b.batch, len(b.members)) for b in plan_buckets([3, 3, 4, 50, 48], batch_size=3)]
        [(4, 3, 3), (50, 2, 2)]
    """
    if (batch_size is None) == (tokens is None):
        raise ArgumentError("batches need either batch_size= (rows) or tokens= (time steps of a batch), one of them.")
    for name, value in (("batch_size", batch_size), ("tokens", tokens), ("buckets", buckets)):
        if value is not None and value < 1:
            raise ArgumentError(f"{name}={value}; give at least 1.")
    lengths = np.maximum(np.asarray(lengths, np.int64), 1)
    if not len(lengths):
        return []
    bounds = np.unique(lengths)
    if len(bounds) > CANDIDATES:
        spread = np.quantile(lengths, np.linspace(0, 1, CANDIDATES // 2), method="higher")
        even = bounds[np.linspace(0, len(bounds) - 1, CANDIDATES // 2).astype(int)]
        bounds = np.unique(np.concatenate([spread, even]))
    upto = np.searchsorted(np.sort(lengths), bounds, side="right")  # examples no longer than each bound
    below = np.concatenate([[0], upto])

    def rows(count: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cap = np.full_like(length, batch_size) if tokens is None else np.maximum(tokens // length, 1)
        number = -(-count // cap)
        return number, -(-count // np.maximum(number, 1))

    # cost[i, j]: padded steps of one bucket that holds the examples of bounds i .. j
    count = np.maximum(upto[None, :] - below[:-1, None], 0)
    number, batch = rows(count, np.broadcast_to(bounds, count.shape))
    cost = np.where(count > 0, number * batch * bounds, np.where(upto[None, :] < below[:-1, None], np.inf, 0.0))
    size, valid = len(bounds), int(lengths.sum())
    best = np.full((buckets + 1, size + 1), np.inf)
    best[0, 0] = 0
    choice = np.zeros((buckets + 1, size + 1), np.int64)
    used = 1
    for used in range(1, min(buckets, size) + 1):
        total = best[used - 1, :size, None] + cost  # the last bucket starts at bound i and ends at bound j
        choice[used, 1:] = total.argmin(0)
        best[used, 1:] = total.min(0)
        if 1 - valid / best[used, size] <= WORTHWHILE_WASTE:
            break
    used = int(best[: used + 1, size].argmin())
    ends = [size]
    for level in range(used, 0, -1):
        ends.append(int(choice[level, ends[-1]]))
    plan, order = [], np.argsort(lengths, kind="stable")
    for start, end in zip(ends[:0:-1], ends[-2::-1], strict=True):
        members = order[below[start] : below[end]]
        if len(members):
            _, batch_rows = rows(np.array(len(members)), np.array(bounds[end - 1]))
            plan.append(Bucket(length=int(bounds[end - 1]), batch=int(batch_rows), members=np.sort(members)))
    return plan


class Batches(keras.utils.PyDataset):
    """Padded batches for ``fit``, ``evaluate`` and ``predict``, every example exactly once an epoch.

    A batch is ``(inputs, targets, weights)``. ``inputs`` is a dict of the arrays named in ``feeds``: "numbers"
    ``(batch, T, F)`` float32, "codes" ``(batch, T, C)`` int32, "mask" ``(batch, T)`` bool and, for known covariates,
    "future_numbers" and "future_codes" ``(batch, horizon, ...)``; or, if ``feeds`` is a single name, that array alone.
    Padding is after the sequence. ``weights`` are 0 for padding, for missing targets, and for the rows that fill up the
    last batch of a bucket: a loss with ``reduction="mean_with_sample_weight"`` is the mean over what is real.

    Args:
        examples: from ``Preparation.apply``; or a Ragged of ``(length, F)``, with ``targets``.
        targets: with a Ragged: ``(E, ...)`` one a sequence, or a Ragged one a step.
        batch_size, tokens, buckets: as in ``plan_buckets``.
        shuffle: a new order each epoch.
        seed: of that order; the order of epoch ``n`` depends on the seed and ``n`` only.
        pad_value: what padding holds.

    Example:
        >>> from throughtime.ragged import Ragged
        >>> x = Ragged.from_list([np.ones((n, 2), "float32") for n in (3, 5, 4)])
        >>> batches = Batches(x, targets=np.array([0, 1, 0]), batch_size=3, buckets=1)
        >>> inputs, targets, weights = batches[0]
        >>> inputs["numbers"].shape, inputs["mask"].sum().item(), weights.tolist()
        ((3, 5, 2), 12, [1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        examples: Examples | Ragged,
        *,
        targets: np.ndarray | Ragged | None = None,
        batch_size: int | None = None,
        tokens: int | None = None,
        buckets: int = 8,
        shuffle: bool = True,
        seed: int = 0,
        pad_value: float = 0.0,
        feeds: Sequence[str] | str = ("numbers", "mask"),
    ) -> None:
        super().__init__()
        if isinstance(examples, Ragged):
            examples = _examples(examples, targets)
        elif not isinstance(examples, Examples):
            raise ArgumentError(
                f"Batches takes examples or a Ragged; given {type(examples).__name__}. Examples of a SequenceData: "
                "Preparation.fit(train).apply(data), with Preparation from throughtime.data.transforms."
            )
        elif targets is not None:
            raise ArgumentError("targets= goes with a Ragged; Examples have theirs.")
        for name in (feeds,) if isinstance(feeds, str) else feeds:
            one_of("feeds", name, FEEDS)
        self.examples = examples
        self.plan = plan_buckets(examples.lengths, batch_size=batch_size, tokens=tokens, buckets=buckets)
        self.shuffle, self.seed, self.pad_value, self.feeds = shuffle, seed, pad_value, feeds
        self._order(0)

    def __len__(self) -> int:
        return sum(bucket.batches for bucket in self.plan)

    @property
    def padding(self) -> float:
        """The share of an epoch's batches that is padding, 0 to 1."""
        held = sum(bucket.tokens for bucket in self.plan)
        return 1 - float(self.examples.lengths.sum()) / held if held else 0.0

    def members(self, batch: int) -> np.ndarray:
        """The examples in a batch of the present epoch, in the order of its rows; fill-up rows are not among them."""
        return self._batches[batch][1]

    def batch_padding(self, batch: int) -> float:
        """The share of a batch that is padding, 0 to 1."""
        bucket, members = self._batches[batch]
        return 1 - float(self.examples.lengths[members].sum()) / (bucket.batch * bucket.length)

    def on_epoch_end(self) -> None:
        """Keras calls this after each epoch: the order of the next one."""
        self._order(self.epoch + 1)

    def start_at(self, epoch: int) -> None:
        """The order of epoch ``epoch``, counted from 0: where a resumed run goes on.

        On every backend ``fit`` ends an epoch that never was before its first, so it sees the orders from ``epoch + 1``
        on; a run resumed here sees those that it would have seen without the stop.
        """
        self._order(epoch)

    def _order(self, epoch: int) -> None:
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        batches = []
        for bucket in self.plan:
            members = rng.permutation(bucket.members) if self.shuffle else bucket.members
            batches += [(bucket, members[i : i + bucket.batch]) for i in range(0, len(members), bucket.batch)]
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        # On TensorFlow, Keras fixes every axis on which the first two batches agree, and refuses what differs later.
        rows_differ = len({bucket.batch for bucket in self.plan}) > 1
        for i in range(1, len(batches)):
            first, other = batches[0][0], batches[i][0]
            if other is not first and (other.batch != first.batch or not rows_differ):
                batches[1], batches[i] = batches[i], batches[1]
                break
        self._batches = batches

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        bucket, members = self._batches[index]
        e, rows, real = self.examples, bucket.batch, len(members)
        steps = np.arange(bucket.length)
        mask = np.zeros((rows, bucket.length), bool)
        mask[:real] = steps < e.lengths[members, None]
        at = (e.starts[members, None] + steps)[mask[:real]]  # only what is valid: an empty sequence points nowhere
        ahead = np.zeros((rows, e.horizon), np.int64)
        ahead[:real] = (e.starts[members] + e.lengths[members])[:, None] + np.arange(e.horizon)

        def padded(flat: np.ndarray, padding: float = 0) -> np.ndarray:
            held = np.full((*mask.shape, *flat.shape[1:]), padding, flat.dtype)
            held[mask] = flat[at]
            return held

        def feed(name: str) -> np.ndarray:
            if name == "mask":
                shown = mask.copy()
                shown[real:, 0] = True  # a row without a valid step is an edge that not every layer survives
                return shown
            if name == "numbers":
                return padded(e.numbers, self.pad_value)
            if name == "codes":
                return padded(e.codes)
            flat, columns = (e.numbers, e.known_numbers) if name == "future_numbers" else (e.codes, e.known_codes)
            future = flat[ahead[..., None], list(columns)]
            future[real:] = 0
            return future

        inputs = feed(self.feeds) if isinstance(self.feeds, str) else {name: feed(name) for name in self.feeds}
        if e.targets is None:
            return (inputs,)
        weights = np.zeros({"example": (rows,), "step": mask.shape, "horizon": ahead.shape}[e.per], np.float32)
        if e.per == "example":
            targets = np.zeros((rows, *e.targets.shape[1:]), e.targets.dtype)
            targets[:real] = e.targets[members]
            weights[:real] = 1.0 if e.weights is None else e.weights[members]
        elif e.per == "step":
            targets = padded(e.targets)
            weights[:] = mask if e.weights is None else padded(e.weights)
        else:
            targets = e.targets[ahead]
            targets[real:] = 0
            assert e.weights is not None
            weights[:real] = e.weights[ahead[:real]]
        return inputs, targets, weights


def _examples(inputs: Ragged, targets: np.ndarray | Ragged | None) -> Examples:
    values = inputs.values if inputs.values.ndim > 1 else inputs.values[:, None]
    if values.ndim > 2 or values.dtype.kind not in "fiub":
        raise ArgumentError(f"batches are made of numbers, (steps, features) a sequence; given {inputs!r}.")
    per_step = isinstance(targets, Ragged)
    if isinstance(targets, Ragged):
        if not np.array_equal(targets.lengths, inputs.lengths):
            raise ArgumentError("targets a step need as many steps in each sequence as the inputs have.")
    elif targets is not None and len(targets) != len(inputs):
        raise ArgumentError(f"{len(targets)} targets were given for {len(inputs)} sequences.")
    return Examples(
        numbers=values.astype(np.float32, copy=False),
        codes=np.zeros((len(values), 0), np.int32),
        starts=inputs.offsets[:-1],
        lengths=inputs.lengths,
        per="step" if per_step else "example",
        targets=targets.values if isinstance(targets, Ragged) else None if targets is None else np.asarray(targets),
    )
