"""How sure a gain is: paired 95% intervals over what is independent in a test part. Numbers in, numbers out.

Network and baseline answer the same rows, so their difference is taken row by row before anything is averaged.

Right or wrong, one answer a sequence   Bonett and Price's adjusted interval of a difference of paired proportions
                                        (2012, doi:10.3102/1076998610390632), which Fagerland, Lydersen and Laake
                                        recommend (2014, doi:10.1002/sim.6148), with 0 in it unless McNemar's exact
                                        test (mid-p), which they recommend too, agrees
Everything else                         the delete-a-group jackknife with Student's t, of the difference in accuracy or
                                        of the log of the ratio of squared errors. A group is a sequence, or a block of
                                        consecutive steps or windows where sequences are few, because neighbours in time
                                        are not independent (blocks of batch means; Ibragimov and Mueller 2010,
                                        doi:10.1198/jbes.2009.08046)

A percentile bootstrap was tried first: over few or heavy-tailed groups it covers less. Nothing here is drawn at random.
``benchmarks/intervals.py`` prints how often the intervals hold the truth, how often a network that is no better is said
to be better, and the bootstrap beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
# Groups of neighbours in time: more of them are shorter, and then what follows on each other is no longer independent.
MOST_BLOCKS = 12
# A block of windows is as long as this many horizons: windows that overlap lie in one block, or in two at its border.
HORIZONS = 2
# Below this many sequences, each is cut into blocks.
FEWEST_SEQUENCES = 8
# The degrees of freedom of a variance fall as the fourth moment of its parts rises: 2 G / (kurtosis - 1) for G parts.
# The fourth moment of few parts comes out too small itself, so less than 2 is taken: 1.5, chosen on other seeds than
# the benchmark reports.
TAILS = 1.5


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much better a network is than a baseline on the same rows; above 0 is better.

    Attributes:
        value: the difference in accuracy (0.03 is 3 points), or the share of the squared error that is gone.
        low, high: the ends of its 95% interval.
        groups: how many independent ``unit``s it is taken over.
    """

    value: float
    low: float
    high: float
    groups: int
    unit: str

    @property
    def shown(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


def accuracy_gain(network: np.ndarray, baseline: np.ndarray) -> Gain:
    """Of ``(B,)`` booleans, whether each was right on each of B independent sequences."""
    count = len(network)
    won, lost = int((network & ~baseline).sum()), int((~network & baseline).sum())
    up, down = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    reach = _quantile(math.inf) * math.sqrt((up + down - (up - down) ** 2) / (count + 2))
    value = (won - lost) / count
    low, high = max(-1.0, up - down - reach), min(1.0, up - down + reach)
    low, high = min(low, value), max(high, value)
    # A handful of sequences is judged by chance itself: a coin for each that only one of the two answered rightly.
    if _by_chance(won, lost) > (1 - CONFIDENCE) / 2:
        low = min(low, 0.0)
    if _by_chance(lost, won) > (1 - CONFIDENCE) / 2:
        high = max(high, 0.0)
    return Gain(value=value, low=low, high=high, groups=count, unit="sequences")


def _by_chance(won: int, lost: int) -> float:
    """McNemar's exact test, one side, mid-p: how often a coin wins so many times or more; what is equal counts half."""
    from scipy import special

    more, as_many = (float(special.bdtrc(wins, won + lost, 0.5)) for wins in (won, won - 1))
    return (more + as_many) / 2


def grouped_accuracy_gain(network: np.ndarray, baseline: np.ndarray, groups: np.ndarray, unit: str) -> Gain:
    """Of ``(N,)`` booleans, whether each was right; rows with the same number in ``groups`` belong together.

    A row that was won and one that was lost are added, as in Bonett and Price's interval: among many rows they change
    nothing, and a handful of rows that agree by chance is not taken for certain.
    """
    better, rows = _sums(network.astype(float) - baseline, groups), _sums(np.ones(len(groups)), groups)
    value, count = float(better.sum() / rows.sum()), len(rows)
    better, rows = np.append(better, [1.0, -1.0]), np.append(rows, [1.0, 1.0])
    middle = better.sum() / rows.sum()
    reach = _reach((better.sum() - better) / (rows.sum() - rows) - middle)
    low, high = max(-1.0, middle - reach), min(1.0, middle + reach)
    return Gain(value=value, low=min(low, value), high=max(high, value), groups=count, unit=unit)


def error_gain(network: np.ndarray, baseline: np.ndarray, groups: np.ndarray, unit: str) -> Gain:
    """Of ``(N,)`` squared errors: 1 less their ratio, with the interval of its logarithm.

    Where an error is 0 in all groups but one there is no such logarithm; the interval is then that of the difference.
    """
    ours, theirs = _sums(network, groups), _sums(baseline, groups)
    count, net, naive = len(ours), float(ours.sum()), float(theirs.sum())
    if not (math.isfinite(net) and math.isfinite(naive)):
        return Gain(value=math.nan, low=-math.inf, high=math.inf, groups=count, unit=unit)
    if naive == 0:  # nothing to gain: 0 where the network is perfect as well
        value = 0.0 if net == 0 else -math.inf
        return Gain(value=value, low=value, high=0.0, groups=count, unit=unit)
    net_without, naive_without = _without(ours), _without(theirs)
    value = 1 - net / naive
    if net > 0 and (net_without > 0).all() and (naive_without > 0).all():
        ratio = math.log(net) - math.log(naive)
        reach = _reach(np.log(net_without) - np.log(naive_without) - ratio)
        low, high = 1 - _exp(ratio + reach), 1 - _exp(ratio - reach)
    else:
        scale = count / max(count - 1, 1)
        reach = _reach((scale * (naive_without - net_without) - (naive - net)) / naive)
        low, high = value - reach, min(1.0, value + reach)
    return Gain(value=value, low=low, high=high, groups=count, unit=unit)


def step_groups(sequences: np.ndarray, unit: str) -> tuple[np.ndarray, str]:
    """Groups for ``(N,)`` rows of sequences, a step each, in their order; and what a group is.

    The sequence, or, of fewer than ``FEWEST_SEQUENCES``, blocks of consecutive steps.
    """
    _, sequence, counts = np.unique(sequences, return_inverse=True, return_counts=True)
    if len(counts) >= FEWEST_SEQUENCES:
        return sequence, unit
    # As many blocks for each sequence as its share of the steps, and one at least.
    blocks = np.minimum(np.maximum(1, np.round(MOST_BLOCKS * counts / counts.sum())).astype(int), counts)
    place = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _first_block(blocks)[sequence] + place * blocks[sequence] // counts[sequence], "blocks of steps"


def window_groups(series: np.ndarray, origins: np.ndarray, moments: np.ndarray, horizon: int) -> tuple[np.ndarray, str]:
    """Groups for ``(E,)`` forecast windows, and what a group is.

    Blocks of ``HORIZONS`` horizons or more, the same moments of all series in one: what moves all series at once then
    falls into one block. Where the series are too short for five blocks and there are more series than blocks, each
    series is a group; series are then taken for independent of each other.

    Args:
        series: ``(E,)`` the number of the series.
        origins: ``(E,)`` the last row of the window.
        moments: ``(E,)`` when that is, comparable between series: a time stamp, or the step in the series.
    """
    names, index = np.unique(series, return_inverse=True)
    first, last = np.full(len(names), np.iinfo(np.int64).max), np.full(len(names), -1)
    np.minimum.at(first, index, origins)
    np.maximum.at(last, index, origins)
    blocks = max(1, min(MOST_BLOCKS, int((last - first + 1).max()) // (HORIZONS * horizon)))
    if blocks < 5 and len(names) > blocks:
        return index, "series"
    seen, when = np.unique(moments, return_inverse=True)
    blocks = min(blocks, len(seen))
    return np.unique(when * blocks // len(seen), return_inverse=True)[1], "blocks of windows"


def _first_block(blocks: np.ndarray) -> np.ndarray:
    return np.cumsum(blocks) - blocks


def _sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """By group, of those that have a row."""
    return np.bincount(np.unique(groups, return_inverse=True)[1], values)


def _without(sums: np.ndarray) -> np.ndarray:
    """The total without each of them, summed anew from both sides: a difference from the total would leave rounding."""
    before = np.concatenate([[0.0], np.cumsum(sums)[:-1]])
    after = np.concatenate([np.cumsum(sums[::-1])[::-1][1:], [0.0]])
    return before + after


def _reach(changes: np.ndarray) -> float:
    """Half the interval, from what leaving out each group changes; infinite for a single group."""
    count = len(changes)
    if count < 2:
        return math.inf
    squares = changes**2
    total = float(squares.sum())
    if total == 0:
        return 0.0
    kurtosis = count * float(((squares / total) ** 2).sum())
    freedom = min(count - 1, max(1.0, TAILS * count / max(kurtosis - 1, 1e-12)))
    return _quantile(freedom) * math.sqrt((count - 1) / count * total)


def _quantile(freedom: float) -> float:
    """Of Student's t; of the normal distribution for infinite freedom."""
    from scipy import special

    place = (1 + CONFIDENCE) / 2
    return float(special.ndtri(place) if math.isinf(freedom) else special.stdtrit(freedom, place))


def _exp(power: float) -> float:
    return math.exp(power) if power < 700 else math.inf
