"""Intervals against SciPy, against enumeration of all outcomes, and by simulation; groups against plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from throughtime.training.intervals import (
    FEWEST_SEQUENCES,
    HORIZONS,
    MOST_BLOCKS,
    Gain,
    accuracy_gain,
    error_gain,
    grouped_accuracy_gain,
    step_groups,
    window_groups,
)


def won_and_lost(won: int, lost: int, count: int) -> Gain:
    place = np.arange(count)
    return accuracy_gain(place < won, (place >= won) & (place < won + lost))


# Right or wrong, a sequence each ------------------------------------------------------------------------------------


def test_one_right_answer_more_of_thirty_is_not_shown_to_be_better() -> None:
    gain = won_and_lost(1, 0, 30)  # 28 against 27
    assert gain.value == pytest.approx(1 / 30)
    assert gain.low < 0 < gain.high
    assert not gain.shown
    # Bonett and Price: (2 - 1) / 32 and 1.96 sqrt((3 / 32 - (1 / 32)^2) / 32), by hand.
    assert (gain.low, gain.high) == pytest.approx((-0.0742822, 0.1367822), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 30])
def test_no_network_is_falsely_better_too_often_whatever_the_errors(count: int) -> None:
    """All outcomes are gone through, for shares from rare to every second: no simulation, no luck."""
    outcomes = [(won, lost) for won in range(count + 1) for lost in range(count + 1 - won)]
    shown = [(won, lost) for won, lost in outcomes if won_and_lost(won, lost, count).shown]
    for share in np.linspace(0.01, 0.5, 12):
        odds = [share, share, 1 - 2 * share]
        falsely = sum(float(stats.multinomial.pmf((w, c, count - w - c), count, odds)) for w, c in shown)
        assert falsely <= 0.036, (count, share)


@given(won=st.integers(0, 40), lost=st.integers(0, 40), rest=st.integers(0, 200))
def test_mcnemars_exact_test_agrees_with_what_is_shown(won: int, lost: int, rest: int) -> None:
    if won + lost + rest == 0:
        return
    gain = won_and_lost(won, lost, won + lost + rest)
    assert -1 <= gain.low <= gain.value <= gain.high <= 1
    turned = won_and_lost(lost, won, won + lost + rest)
    assert (turned.low, turned.high) == pytest.approx((-gain.high, -gain.low))
    coins = stats.binom(won + lost, 0.5)
    chance = coins.sf(won) + coins.pmf(won) / 2  # as often or more, an equal number half
    if gain.shown:
        assert chance <= 0.025 + 1e-12


# Errors and steps ---------------------------------------------------------------------------------------------------


def plain_jackknife(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Value, standard error and degrees of freedom of the log ratio, leaving out one group after the other."""
    count = len(ours)
    whole = math.log(math.fsum(ours) / math.fsum(theirs))
    changes = [
        math.log(math.fsum(ours[:g] + ours[g + 1 :]) / math.fsum(theirs[:g] + theirs[g + 1 :])) - whole
        for g in range(count)
    ]
    second, fourth = (math.fsum(c**power for c in changes) for power in (2, 4))
    freedom = min(count - 1, max(1.0, 1.5 * count / (count * fourth / second**2 - 1)))
    return whole, math.sqrt((count - 1) / count * second), freedom


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(2, 30), rows=st.integers(1, 5), size=st.floats(1e-9, 1e9))
def test_the_interval_of_errors_by_plain_loops(seed: int, groups: int, rows: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = size * rng.normal(size=(2, groups * rows)) ** 2
    owner = rng.permutation(np.repeat(rng.permutation(groups * 3)[:groups], rows))  # numbers with gaps, mixed up
    gain = error_gain(ours, theirs, owner, "sequences")
    apart = [[math.fsum(values[owner == g]) for g in np.unique(owner)] for values in (ours, theirs)]
    whole, error, freedom = plain_jackknife(*apart)
    reach = float(stats.t.ppf(0.975, freedom)) * error
    assert gain.groups == groups
    assert gain.value == pytest.approx(1 - math.exp(whole), rel=1e-9)
    # Changes of the logarithm are small beside it and lose digits; a reach beyond a float's range is infinite.
    expected = [1 - math.exp(min(whole + sign * reach, 700)) for sign in (1, -1)]
    if whole + reach < 690:
        assert (gain.low, gain.high) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert gain.low <= gain.value <= gain.high <= 1


@given(seed=st.integers(0, 2**32 - 1), power=st.integers(-120, 120))
def test_the_gain_does_not_depend_on_the_unit(seed: int, power: int) -> None:
    ours, theirs = np.random.default_rng(seed).normal(size=(2, 20)) ** 2
    one, two = (error_gain(ours * u, theirs * u, np.arange(20), "sequences") for u in (1.0, 10.0**power))
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), rel=1e-6)


def test_errors_that_have_no_logarithm() -> None:
    places = np.arange(12)
    some = np.random.default_rng(0).normal(size=12) ** 2
    perfect = error_gain(np.zeros(12), some, places, "sequences")
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.shown
    beaten = error_gain(some, np.zeros(12), places, "sequences")
    assert (beaten.value, beaten.high) == (-math.inf, 0)
    equal = error_gain(some, some, places, "sequences")
    assert (equal.value, equal.low, equal.high, equal.shown) == (0, 0, 0, False)
    nothing = error_gain(np.zeros(12), np.zeros(12), places, "sequences")
    assert (nothing.value, nothing.shown) == (0, False)
    broken = error_gain(np.full(12, np.nan), some, places, "sequences")
    assert math.isnan(broken.value)
    assert not broken.shown
    alone = error_gain(np.array([1.0]), np.array([9.0]), np.array([0]), "sequences")
    assert alone.value == pytest.approx(8 / 9)
    assert not alone.shown, "one row shows nothing"
    once = error_gain(np.zeros(1), np.ones(1), np.array([0]), "sequences")
    assert not once.shown


@given(st.data())
def test_steps_that_agree_are_never_a_gain_and_a_handful_shows_nothing(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=20))
    groups, unit = step_groups(np.repeat(np.arange(len(lengths)), lengths), "sequences")
    right = np.array(data.draw(st.lists(st.booleans(), min_size=sum(lengths), max_size=sum(lengths))))
    same = grouped_accuracy_gain(right, right, groups, unit)
    assert same.value == 0
    assert not same.shown
    other = grouped_accuracy_gain(right, ~right, groups, unit)
    assert other.value == pytest.approx((2 * right.sum() - len(right)) / len(right))
    assert other.low <= other.value <= other.high
    if len(right) <= 3:
        assert not other.shown


@pytest.mark.parametrize("heavy", [False, True])
def test_the_interval_covers_what_it_says(heavy: bool) -> None:
    """Longer, and for more cases: benchmarks/intervals.py."""
    rng, held, better = np.random.default_rng(5), 0, 0
    for _ in range(1500):
        first, second = rng.standard_t(5, (2, 30)) if heavy else rng.normal(size=(2, 30))
        gain = error_gain((0.6 * first + 0.8 * second) ** 2, first**2, np.arange(30), "sequences")
        held += gain.low <= 0 <= gain.high
        better += gain.shown
    # Of 1500 draws a share of 0.95 is 0.011 off at most 95 times in a hundred; the seed is fixed.
    assert 0.93 <= held / 1500 <= 0.975
    assert better / 1500 <= 0.035


# Groups -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), min_size=1, max_size=14).filter(any))
def test_groups_of_steps_are_sequences_or_runs_within_one(lengths: list[int]) -> None:
    owner = np.repeat(np.arange(len(lengths)), lengths)
    groups, unit = step_groups(owner, "sequences")
    filled = sum(length > 0 for length in lengths)
    for group in np.unique(groups):
        places = np.flatnonzero(groups == group)
        assert np.ptp(places) == len(places) - 1, "a group is a run of steps"
        assert len(set(owner[places])) == 1, "of one sequence"
    if filled >= FEWEST_SEQUENCES:
        assert (unit, len(np.unique(groups))) == ("sequences", filled)
    else:
        assert unit == "blocks of steps"
        assert min(filled, sum(lengths)) <= len(np.unique(groups)) <= MOST_BLOCKS + filled


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=20),
    horizon=st.integers(1, 12),
    begins=st.lists(st.integers(0, 500), min_size=20, max_size=20),
)
def test_groups_of_windows_are_long_enough(lengths: list[int], horizon: int, begins: list[int]) -> None:
    series = np.repeat(np.arange(len(lengths)), lengths)
    origins = np.concatenate([1000 * b + np.arange(n) for b, n in enumerate(lengths)])
    moments = np.concatenate([begin + np.arange(n) for begin, n in zip(begins, lengths, strict=False)])
    groups, unit = window_groups(series, origins, moments, horizon)
    names = np.unique(groups)
    if unit == "series":
        assert (groups == series).all()
        assert max(lengths) // (HORIZONS * horizon) < 5
        return
    assert 1 <= len(names) <= MOST_BLOCKS
    assert len(names) == 1 or max(lengths) >= HORIZONS * horizon * len(names)
    for moment in np.unique(moments):  # what happens to all series at once is in one group
        assert len(set(groups[moments == moment])) == 1
    for below, above in itertools.pairwise(names):
        assert moments[groups == below].max() < moments[groups == above].min()
    if len(lengths) == 1:
        sizes = [int((groups == g).sum()) for g in names]
        assert min(sizes) >= min(HORIZONS * horizon, lengths[0])
