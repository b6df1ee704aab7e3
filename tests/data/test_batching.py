"""Buckets that pad least, and batches that hand out every example once an epoch and nothing else."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from throughtime.data.arrays import from_arrays
from throughtime.data.batching import WORTHWHILE_WASTE, Batches, Bucket, plan_buckets
from throughtime.data.examples import Examples
from throughtime.errors import ArgumentError
from throughtime.ragged import Ragged, offsets_from_lengths

NAN = math.nan
LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=20)
LIMITS = st.one_of(
    st.builds(lambda n: {"batch_size": n}, st.integers(1, 8)),
    st.builds(lambda n: {"tokens": n}, st.integers(1, 60)),
)


# The plan ----------------------------------------------------------------------------------------------------------


def padded_steps(group: list[int], limit: dict[str, int]) -> int:
    """Of one bucket, its batches evened out."""
    longest = max(group)
    cap = limit.get("batch_size") or max(limit["tokens"] // longest, 1)
    batches = math.ceil(len(group) / cap)
    return batches * math.ceil(len(group) / batches) * longest


def least_padding(lengths: list[int], limit: dict[str, int], buckets: int) -> tuple[int, int]:
    """(padded steps, buckets) of the best of all ways to cut the different lengths into ``buckets`` or fewer.

    More buckets are looked at only while more than 10% is padding.
    """
    lengths = [max(length, 1) for length in lengths]
    different = sorted(set(lengths))
    best = (10**9, 0)
    for count in range(1, min(buckets, len(different)) + 1):
        for cuts in itertools.combinations(range(1, len(different)), count - 1):
            edges = [0, *cuts, len(different)]
            groups = [different[a:b] for a, b in itertools.pairwise(edges)]
            cost = sum(padded_steps([n for n in lengths if n in group], limit) for group in groups)
            best = min(best, (cost, count))
        if 1 - sum(lengths) / best[0] <= WORTHWHILE_WASTE:
            break
    return best


@given(LENGTHS, LIMITS, st.integers(1, 5))
@example([3, 3, 4, 50, 48], {"batch_size": 3}, 8)
@example([1, 2, 3, 4, 5, 6, 7, 8, 9], {"tokens": 9}, 4)
def test_no_other_buckets_pad_less(lengths, limit, buckets) -> None:
    plan = plan_buckets(lengths, **limit, buckets=buckets)
    steps, count = least_padding(lengths, limit, buckets)
    assert sum(bucket.tokens for bucket in plan) == steps
    assert len(plan) == count


@given(
    st.one_of(
        LENGTHS,
        st.lists(st.integers(0, 5000), min_size=1, max_size=60),
        st.builds(
            lambda seed, count: np.random.default_rng(seed).geometric(0.003, count).tolist(),
            st.integers(0, 99),
            st.integers(200, 900),  # more different lengths than are searched
        ),
    ),
    st.one_of(LIMITS, st.builds(lambda n: {"tokens": n}, st.integers(500, 20_000))),
    st.integers(1, 12),
)
def test_every_member_once_and_within_the_limits(lengths, limit, buckets) -> None:
    plan = plan_buckets(lengths, **limit, buckets=buckets)
    assert 1 <= len(plan) <= buckets
    assert [bucket.length for bucket in plan] == sorted({bucket.length for bucket in plan})
    assert sorted(np.concatenate([bucket.members for bucket in plan]).tolist()) == list(range(len(lengths)))
    shorter = 0
    for bucket in plan:
        held = [max(lengths[i], 1) for i in bucket.members]
        assert shorter < min(held) <= max(held) <= bucket.length
        assert bucket.length <= max(max(lengths), 1)
        shorter = bucket.length
        if "batch_size" in limit:
            assert bucket.batch <= limit["batch_size"]
        else:
            assert bucket.batch * bucket.length <= limit["tokens"] or bucket.batch == 1
        assert bucket.batches == math.ceil(len(held) / bucket.batch)
        # Evened out: fewer than one row a batch is left over, and no batch fewer would do.
        assert 0 <= bucket.batches * bucket.batch - len(held) < bucket.batches
        cap = limit.get("batch_size") or max(limit["tokens"] // bucket.length, 1)
        assert bucket.batches == math.ceil(len(held) / cap)
        assert bucket.tokens == bucket.batches * bucket.batch * bucket.length


def test_more_buckets_never_pad_more() -> None:
    lengths = np.random.default_rng(0).geometric(0.05, 300)
    padded = [sum(b.tokens for b in plan_buckets(lengths, tokens=256, buckets=n)) for n in range(1, 12)]
    assert padded == sorted(padded, reverse=True)
    assert padded[0] > 1.5 * padded[-1]


def test_lengths_like_those_of_the_nottingham_tunes() -> None:
    """694 tunes of 40 to 1,788 steps, a middle half of 192 to 257, a few very long ones."""
    rng = np.random.default_rng(1)
    body = np.rint(
        rng.choice([128, 192, 256, 320, 512, 768], 640, p=[0.15, 0.2, 0.45, 0.05, 0.12, 0.03])
        + rng.normal(size=640) * 2
    )
    tail = np.clip(np.rint(rng.lognormal(5.6, 0.7, 54)), 40, 1788)
    lengths = np.concatenate([body, tail, [40, 1788]]).astype(int)
    plan = plan_buckets(lengths, tokens=8192)
    assert len(plan) <= 8
    assert 1 - lengths.sum() / sum(bucket.tokens for bucket in plan) <= 0.1
    alone = plan_buckets(lengths, tokens=8192, buckets=1)
    assert 1 - lengths.sum() / alone[0].tokens > 0.5, "without buckets most of it is padding"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either batch_size= .* or tokens="),
        ({"batch_size": 2, "tokens": 8}, "one of them"),
        ({"batch_size": 0}, "batch_size=0; give at least 1"),
        ({"tokens": -5}, "tokens=-5; give at least 1"),
        ({"tokens": 5, "buckets": 0}, "buckets=0; give at least 1"),
    ],
)
def test_plans_that_are_refused(arguments, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        plan_buckets([3, 4], **arguments)


def test_a_plan_of_nothing() -> None:
    assert plan_buckets([], tokens=5) == []


# Batches -----------------------------------------------------------------------------------------------------------


def examples_of(lengths, *, per="example", seed=0, gaps=False, horizon=0) -> Examples:
    """Random Examples whose first number is the number of the row, so that a moved row shows.

    With ``horizon`` the examples are windows: they overlap, and each has ``horizon`` rows after it.
    """
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths, np.int64)
    if horizon:
        starts = np.arange(len(lengths), dtype=np.int64) * 2
        rows = int((starts + lengths).max(initial=0)) + horizon
    else:
        offsets = offsets_from_lengths(lengths)
        starts, rows = offsets[:-1], int(offsets[-1])
    numbers = rng.normal(size=(rows, 3)).astype(np.float32)
    numbers[:, 0] = np.arange(rows) + 1
    size = len(lengths) if per == "example" else rows
    targets = rng.normal(size=(size, 2)).astype(np.float32) + 5
    weights = (rng.random(size) < 0.7).astype(np.float32) if gaps or per == "horizon" else None
    return Examples(
        numbers=numbers,
        codes=rng.integers(1, 9, (rows, 2)).astype(np.int32),
        starts=starts,
        lengths=lengths,
        per=per,
        targets=targets,
        weights=weights,
        horizon=horizon,
        known_numbers=(2, 0) if horizon else (),
        known_codes=(1,) if horizon else (),
    )


EVERYTHING = ("numbers", "codes", "mask")
MIXED = [4, 0, 1, 9, 9, 2, 7, 0, 3, 12, 5, 5, 0]


def check_batch(batches: Batches, index: int) -> list[int]:
    """One batch, value by value, against a loop over its rows; returns its members."""
    e, members = batches.examples, batches.members(index).tolist()
    inputs, targets, weights = batches[index]
    mask = inputs["mask"]
    rows, length = mask.shape
    for row in range(rows):
        real = row < len(members)
        steps = int(e.lengths[members[row]]) if real else 0
        first = int(e.starts[members[row]]) if real else 0
        # A row that fills up shows one step, because not every layer survives a row without any.
        assert mask[row].tolist() == [t < steps or (t == 0 and not real) for t in range(length)]
        for t in range(length):
            if t < steps:
                assert inputs["numbers"][row, t].tolist() == e.numbers[first + t].tolist()
                assert inputs["codes"][row, t].tolist() == e.codes[first + t].tolist()
            else:
                assert inputs["numbers"][row, t].tolist() == [batches.pad_value] * e.numbers.shape[1]
                assert not inputs["codes"][row, t].any()
            if e.per == "step":
                valid = t < steps
                assert targets[row, t].tolist() == (e.targets[first + t].tolist() if valid else [0, 0])
                weight = 1 if e.weights is None else e.weights[first + t] if valid else 0
                assert weights[row, t] == (weight if valid else 0)
        if e.per == "example":
            assert targets[row].tolist() == (e.targets[members[row]].tolist() if real else [0, 0])
            assert weights[row] == ((1 if e.weights is None else e.weights[members[row]]) if real else 0)
        for k in range(e.horizon):
            ahead = first + steps + k
            assert inputs["future_numbers"][row, k].tolist() == (e.numbers[ahead, [2, 0]].tolist() if real else [0, 0])
            assert inputs["future_codes"][row, k].tolist() == (e.codes[ahead, [1]].tolist() if real else [0])
            assert targets[row, k].tolist() == (e.targets[ahead].tolist() if real else [0, 0])
            assert weights[row, k] == (e.weights[ahead] if real else 0)
    assert (inputs["numbers"].dtype, inputs["codes"].dtype, mask.dtype) == (np.float32, np.int32, np.bool_)
    assert (targets.dtype, weights.dtype) == (np.float32, np.float32)
    return members


@given(
    LENGTHS,
    LIMITS,
    st.sampled_from(["example", "step", "horizon"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, -1.5]),
)
@example(MIXED, {"tokens": 20}, "step", True, True, -1.5)
@example([0, 0, 0], {"batch_size": 2}, "step", True, True, -1.5)
@example([2, 0], {"batch_size": 2}, "example", False, False, 0.0)
def test_every_value_of_every_batch(lengths, limit, per, gaps, shuffle, pad_value) -> None:
    horizon = 3 if per == "horizon" else 0
    feeds = (*EVERYTHING, "future_numbers", "future_codes") if horizon else EVERYTHING
    e = examples_of(lengths, per=per, gaps=gaps, horizon=horizon)
    batches = Batches(e, **limit, buckets=3, shuffle=shuffle, pad_value=pad_value, feeds=feeds)
    seen = [member for i in range(len(batches)) for member in check_batch(batches, i)]
    assert sorted(seen) == list(range(len(lengths)))


@given(LENGTHS, LIMITS, st.integers(0, 5))
def test_padding_is_what_the_masks_say(lengths, limit, seed) -> None:
    batches = Batches(examples_of(lengths), **limit, seed=seed, feeds="mask")
    held = valid = 0
    for i in range(len(batches)):
        mask = batches[i][0]
        real = int(mask[: len(batches.members(i))].sum())  # a fill-up row's single step is padding
        assert batches.batch_padding(i) == 1 - real / mask.size
        held, valid = held + mask.size, valid + real
    assert valid == sum(lengths)
    assert batches.padding == 1 - valid / held


@settings(max_examples=30)
@given(LENGTHS, LIMITS, st.integers(0, 3))
def test_orders_of_epochs(lengths, limit, seed) -> None:
    e = examples_of(lengths)

    def order(batches: Batches) -> list[list[int]]:
        return [batches.members(i).tolist() for i in range(len(batches))]

    batches, epochs = Batches(e, **limit, seed=seed), []
    for epoch in range(4):
        assert batches.epoch == epoch
        batches.on_epoch_begin()
        epochs.append(order(batches))
        assert sorted(itertools.chain(*epochs[-1])) == list(range(len(lengths)))
        batches.on_epoch_end()
    for epoch in (3, 0, 2):
        resumed = Batches(e, **limit, seed=seed)
        resumed.start_at(epoch)
        assert order(resumed) == epochs[epoch]
        resumed.on_epoch_end()
        assert epoch == 3 or order(resumed) == epochs[epoch + 1]
    still = Batches(e, **limit, seed=seed, shuffle=False)
    first = order(still)
    still.on_epoch_end()
    assert order(still) == first
    assert [bucket.members.tolist() for bucket in still.plan] == [
        list(itertools.chain(*(row for i, row in enumerate(first) if still._batches[i][0] is bucket)))
        for bucket in still.plan
    ]


@given(LENGTHS, LIMITS, st.booleans(), st.integers(0, 9))
def test_the_first_two_batches_show_that_lengths_differ(lengths, limit, shuffle, epoch) -> None:
    """On TensorFlow Keras looks at two batches, and refuses later ones that differ where those agree."""
    batches = Batches(examples_of(lengths), **limit, shuffle=shuffle, feeds="mask")
    batches.start_at(epoch)
    shown = [batches[i][0].shape[1] for i in range(len(batches))]
    assert len(set(shown[:2])) == min(2, len(set(shown)))


def test_orders_differ_by_epoch_and_by_seed() -> None:
    e = examples_of(np.random.default_rng(3).integers(1, 40, 60))
    orders, neighbours = set(), set()
    for seed, epoch in itertools.product(range(3), range(3)):
        batches = Batches(e, tokens=80, seed=seed)
        batches.start_at(epoch)
        rows = [tuple(batches.members(i).tolist()) for i in range(len(batches))]
        orders.add(tuple(rows))
        neighbours.add(frozenset(frozenset(row) for row in rows))
    assert len(orders) == 9
    assert len(neighbours) == 9, "not only the batches are shuffled, but who is in one with whom"


@pytest.mark.parametrize("per", ["example", "step", "horizon"])
def test_what_other_sequences_hold_changes_nothing(per) -> None:
    horizon = 2 if per == "horizon" else 0
    feeds = (*EVERYTHING, "future_numbers", "future_codes") if horizon else EVERYTHING
    e = examples_of(MIXED, per=per, gaps=True, horizon=horizon)
    clean = Batches(e, tokens=30, feeds=feeds)
    for index in range(len(clean)):
        members = clean.members(index)
        mine = np.zeros(len(e.numbers), bool)
        for member in members:
            mine[e.starts[member] : e.starts[member] + e.lengths[member] + horizon] = True
        numbers, codes = e.numbers.copy(), e.codes.copy()
        numbers[~mine], codes[~mine] = NAN, 99
        targets, weights = e.targets.copy(), e.weights.copy()
        others = np.delete(np.arange(len(e)), members) if per == "example" else ~mine
        targets[others], weights[others] = NAN, NAN
        spoilt = Examples(**(vars(e) | {"numbers": numbers, "codes": codes, "targets": targets, "weights": weights}))
        (inputs, y, w), (inputs_too, y_too, w_too) = clean[index], Batches(spoilt, tokens=30, feeds=feeds)[index]
        for name in feeds:
            np.testing.assert_array_equal(inputs_too[name], inputs[name])
        np.testing.assert_array_equal(y_too, y)
        np.testing.assert_array_equal(w_too, w)


def test_a_batch_costs_nothing_for_the_examples_that_are_not_in_it() -> None:
    count = 200_000
    windows = Examples(
        numbers=np.zeros((count + 8, 1), np.float32),
        codes=np.zeros((count + 8, 0), np.int32),
        starts=np.arange(count),
        lengths=np.full(count, 5),
        per="horizon",
        targets=np.zeros((count + 8, 1), np.float32),
        weights=np.ones(count + 8, np.float32),
        horizon=3,
    )
    batches = Batches(windows, batch_size=4)
    tracemalloc.start()
    batches[7]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < count  # bytes; one number an example would be 8 times that


def test_one_feed_is_the_array_itself() -> None:
    e = examples_of(MIXED)
    alone, named = Batches(e, batch_size=4, feeds="numbers"), Batches(e, batch_size=4, feeds=("numbers",))
    np.testing.assert_array_equal(alone[1][0], named[1][0]["numbers"])
    assert list(named[1][0]) == ["numbers"]


def test_without_targets_a_batch_is_its_inputs() -> None:
    e = Examples(**(vars(examples_of(MIXED)) | {"targets": None}))
    batch = Batches(e, batch_size=4)[0]
    assert len(batch) == 1
    assert set(batch[0]) == {"numbers", "mask"}


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_no_step_at_all(lengths) -> None:
    for per in ("example", "step"):
        batches = Batches(examples_of(lengths, per=per), batch_size=2, feeds=EVERYTHING, pad_value=-1)
        assert (len(batches), batches.padding) == (-(-len(lengths) // 2), 1.0 if lengths else 0.0)
        for i in range(len(batches)):
            inputs, targets, weights = batches[i]
            rows = inputs["mask"].shape[0]
            assert inputs["numbers"].tolist() == [[[-1, -1, -1]]] * rows
            assert inputs["codes"].shape == (rows, 1, 2)
            assert targets.shape == ((rows, 2) if per == "example" else (rows, 1, 2))
            assert weights.shape == ((rows,) if per == "example" else (rows, 1))


def test_a_ragged_with_its_targets() -> None:
    x = Ragged.from_list([np.arange(length * 2.0).reshape(length, 2) + 10 * length for length in (3, 1, 4)])
    y = np.array([7, 8, 9])
    inputs, targets, weights = Batches(x, targets=y, batch_size=3, buckets=1, shuffle=False)[0]
    assert targets.tolist() == [7, 8, 9]
    assert weights.tolist() == [1, 1, 1]
    assert inputs["numbers"].dtype == np.float32
    for row, sequence in enumerate(x):
        assert inputs["numbers"][row, : len(sequence)].tolist() == sequence.tolist()
    steps = Ragged.from_list([np.arange(length) + 100 * length for length in (3, 1, 4)])
    _, targets, weights = Batches(x, targets=steps, tokens=12, buckets=1, shuffle=False)[0]
    assert targets.tolist() == [[300, 301, 302, 0], [100, 0, 0, 0], [400, 401, 402, 403]]
    assert weights.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    flat = Ragged.from_list([[1.0, 2], [3.0]])
    alone = Batches(flat, batch_size=2, buckets=1, shuffle=False, feeds="numbers")
    assert alone[0][0].tolist() == [[[1], [2]], [[3], [0]]]


def test_batches_that_are_refused() -> None:
    x = Ragged.from_list([np.ones((3, 2)), np.ones((1, 2))])
    with pytest.raises(ArgumentError, match="3 targets were given for 2 sequences"):
        Batches(x, targets=np.zeros(3), batch_size=1)
    with pytest.raises(ArgumentError, match="as many steps in each sequence"):
        Batches(x, targets=Ragged.from_list([[1], [1, 2, 3]]), batch_size=1)
    with pytest.raises(ArgumentError, match="targets= goes with a Ragged"):
        Batches(examples_of([3]), targets=np.zeros(1), batch_size=1)
    data = from_arrays([np.ones((3, 2)), np.ones((1, 2))], [0, 1], task="classify")
    with pytest.raises(ArgumentError, match=r"given SequenceData.*Preparation.fit\(train\).apply\(data\)"):
        Batches(data, batch_size=1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="Did you mean 'numbers'"):
        Batches(x, batch_size=1, feeds=("number", "mask"))
    with pytest.raises(ArgumentError, match="Did you mean 'mask'"):
        Batches(x, batch_size=1, feeds="maks")
    with pytest.raises(ArgumentError, match=r"\(steps, features\) a sequence; given Ragged.*\(2, 2\)"):
        Batches(Ragged.from_list([np.ones((3, 2, 2))]), batch_size=1)
    with pytest.raises(ArgumentError, match="batches are made of numbers"):
        Batches(Ragged.from_list([np.array(["a", "b"])]), batch_size=1)
    with pytest.raises(ArgumentError, match="either batch_size="):
        Batches(x)


# Through Keras -----------------------------------------------------------------------------------------------------


def small_model(features: int, *, per_step: bool) -> keras.Model:
    numbers = keras.Input((None, features), name="numbers")
    mask = keras.Input((None,), dtype="bool", name="mask")
    hidden = keras.layers.SimpleRNN(3, return_sequences=per_step)(numbers, mask=mask)
    model = keras.Model({"numbers": numbers, "mask": mask}, keras.layers.Dense(2)(hidden))
    model.compile("sgd", keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"))
    return model


class Register(keras.callbacks.Callback):
    """Which examples the loss was given, batch by batch, in each epoch: their targets are their numbers, from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[list[list[int]]] = []
        self.open = False

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self.epochs.append([])
        self.open = True

    def on_train_end(self, logs=None) -> None:
        self.open = False

    def loss(self, y_true, y_pred):
        if self.open:  # Keras builds the model with a symbolic batch before the first epoch
            numbers = keras.ops.convert_to_numpy(y_true)[..., 0]
            numbers = numbers if numbers.ndim == 1 else numbers.max(1)
            self.epochs[-1].append([int(number) - 1 for number in numbers if number])
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


@pytest.mark.backend
@pytest.mark.parametrize("per", ["example", "step"])
def test_fit_sees_every_sequence_once_an_epoch_and_goes_on_where_it_stopped(per) -> None:
    keras.utils.set_random_seed(5)
    lengths = [length for length in MIXED if length]
    numbers = np.arange(len(lengths)) + 1.0 if per == "example" else np.repeat(np.arange(len(lengths)) + 1.0, lengths)
    e = Examples(**(vars(examples_of(lengths, per=per)) | {"targets": numbers[:, None].astype(np.float32)}))

    def fit(batches: Batches, first: int, last: int) -> list[list[list[int]]]:
        register, model = Register(), small_model(3, per_step=per == "step")
        model.compile("sgd", register.loss, run_eagerly=True)
        before = model.get_weights()
        # Keras shuffles batches by Python's random state unless told not to; the order is that of the Batches.
        model.fit(batches, initial_epoch=first, epochs=last, verbose=0, shuffle=False, callbacks=[register])
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
        assert any((weight != old).any() for weight, old in zip(model.get_weights(), before, strict=True))
        return register.epochs

    epochs = fit(Batches(e, tokens=36, buckets=2, seed=1), 0, 2)
    for epoch in epochs:
        assert sorted(itertools.chain(*epoch)) == list(range(len(lengths)))
    assert epochs[0] != epochs[1]
    resumed = Batches(e, tokens=36, buckets=2, seed=1)
    resumed.start_at(1)
    assert fit(resumed, 1, 2) == epochs[1:]


@pytest.mark.backend
def test_predict_and_evaluate_take_every_length() -> None:
    keras.utils.set_random_seed(9)
    e = examples_of([2] * 8 + [11] * 3 + [30], seed=5)
    batches = Batches(e, batch_size=3, buckets=3, shuffle=False, pad_value=-50)
    plan = [(bucket.length, bucket.batches, bucket.batch) for bucket in batches.plan]
    assert plan == [(2, 3, 3), (11, 1, 3), (30, 1, 1)]
    model = small_model(3, per_step=False)
    history = model.fit(Batches(e, batch_size=3, buckets=3), validation_data=batches, verbose=0).history
    # The same batches in the same order, so the same float32 sums, but perhaps compiled into another program.
    np.testing.assert_allclose(model.evaluate(batches, verbose=0), history["val_loss"][0], rtol=1e-5)
    answers, at = model.predict(batches, verbose=0), 0
    for i in range(len(batches)):
        for row, member in enumerate(batches.members(i)):
            first, length = int(e.starts[member]), int(e.lengths[member])
            alone = {"numbers": e.numbers[None, first : first + length], "mask": np.ones((1, length), bool)}
            # Alone and in a batch the sums of three products may be taken in another order.
            expected = keras.ops.convert_to_numpy(model(alone))[0]
            np.testing.assert_allclose(answers[at + row], expected, rtol=1e-5, atol=1e-6)
        at += batches[i][0]["mask"].shape[0]
    assert at == len(answers)


@pytest.mark.backend
@pytest.mark.parametrize("per", ["example", "step"])
def test_the_loss_is_the_mean_over_what_is_real(per) -> None:
    """What fills up, pads or is missing has no part in it, although it holds large numbers."""
    keras.utils.set_random_seed(6)
    e = examples_of([5, 2, 9], per=per, gaps=True, seed=4)
    assert 0 < e.weights.sum() < len(e.weights)
    batches = Batches(e, batch_size=2, buckets=1, shuffle=False, pad_value=1e3)
    assert batches.plan[0].batches * batches.plan[0].batch == 4, "one row fills up"
    model = small_model(3, per_step=per == "step")
    rows, losses = [], []
    for member in range(len(e)):
        first, length = int(e.starts[member]), int(e.lengths[member])
        alone = {"numbers": e.numbers[None, first : first + length], "mask": np.ones((1, length), bool)}
        answer = keras.ops.convert_to_numpy(model(alone))[0]
        if per == "example":
            rows.append(float(e.weights[member]))
            losses.append(float(((answer - e.targets[member]) ** 2).mean()))
        else:
            rows.extend(e.weights[first : first + length].tolist())
            losses.extend(((answer - e.targets[first : first + length]) ** 2).mean(-1).tolist())
    # float32 sums of about twenty terms, in another order
    inputs, targets, weights = (
        {name: np.concatenate([batches[i][0][name] for i in range(2)]) for name in ("numbers", "mask")},
        *(np.concatenate([batches[i][k] for i in range(2)]) for k in (1, 2)),
    )
    found = model.test_on_batch(inputs, targets, sample_weight=weights)
    np.testing.assert_allclose(float(found), np.average(losses, weights=rows), rtol=1e-5)


def compilations(model: keras.Model, batches: Batches, epochs: int) -> int:
    """How many XLA programs the training step became (JAX counts what it asks the compiler for, cached or not)."""
    import jax

    found = []

    def listen(event: str, seconds: float, **named) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and named.get("fun_name") == "jit(train_step)":
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        model.fit(batches, epochs=epochs, verbose=0)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(found)


class Ungainly(Batches):
    """As many would write it: each batch is cut to its own longest sequence and its own number of rows."""

    def __getitem__(self, index: int):
        inputs, targets, weights = super().__getitem__(index)
        rows, length = len(self.members(index)), int(inputs["mask"].sum(1).max())
        return {name: array[:rows, :length] for name, array in inputs.items()}, targets[:rows], weights[:rows]


MANY = np.random.default_rng(8).geometric(0.06, 50)


@pytest.mark.parametrize(("kind", "bounded"), [(Batches, True), (Ungainly, False)], ids=["buckets", "cut to fit"])
def test_one_compilation_a_bucket(kind, bounded) -> None:
    keras.utils.set_random_seed(7)
    batches = kind(examples_of(MANY), tokens=96, buckets=4, seed=2)
    shapes = {(bucket.batch, bucket.length) for bucket in batches.plan}
    assert len(shapes) == len(batches.plan) == 4
    if keras.backend.backend() != "jax":  # the others do not compile a step by its shapes; shapes are what can be held
        seen = set()
        for _ in range(3):
            seen |= {batches[i][0]["mask"].shape for i in range(len(batches))}
            batches.on_epoch_end()
        assert (seen == shapes) is bounded
        return
    count = compilations(small_model(3, per_step=False), batches, epochs=3)
    assert count == 4 if bounded else count > 4


def test_the_steps_of_a_bucket() -> None:
    bucket = Bucket(length=7, batch=3, members=np.arange(10))
    assert (bucket.batches, bucket.tokens) == (4, 84)
