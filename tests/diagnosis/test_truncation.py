"""horizon_report on data whose important part is known: at the end, at the start, everywhere."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import throughtime as tt
from throughtime.diagnosis.cutting import Sequences, cut_to
from throughtime.diagnosis.given import Given
from throughtime.diagnosis.proofs import Scores, gain
from throughtime.diagnosis.truncation import Cut, HorizonReport
from throughtime.diagnosis.windowed import end_gradients
from throughtime.report.page import render

STEPS = 24


def series(count: int = 192) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, STEPS, 2)).astype(np.float32)


def model_of(*, per_step: bool = False, masked: bool = False) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Masking(9.0)] if masked else []
    recurrent = keras.layers.GRU(8, return_sequences=per_step)
    model = keras.Sequential([keras.Input((None, 2)), *layers, recurrent, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    return model


def by_cut(report: HorizonReport) -> dict[tuple[str, int], float]:
    return {(cut.keeps, cut.window): cut.scores.mean for cut in report.cuts}


@pytest.mark.backend
def test_what_lies_at_the_end_needs_the_last_steps_alone() -> None:
    x, model = series(), model_of()
    before = model.get_weights()
    report = tt.horizon_report(model, x, x[:, -2:, 0].mean(1), windows=[6, 12], steps=60, seeds=2, seconds=600)
    assert report.advised is not None and report.advised.keeps == "last"
    assert by_cut(report)["first", 12] > 5 * by_cut(report)["last", 6]
    shares = {(cut.keeps, cut.window): cut.share for cut in report.cuts}
    assert shares["last", 6] > 0.7 > 0.3 > shares["first", 12] and 0 < shares["last", 6] < shares["last", 12] <= 1
    assert " of 24 steps are enough" in report.verdict and "last" in str(report)
    # A GRU of 8 units: 320 bytes a step of a sequence, 32 of them in a batch.
    assert report.whole.held_bytes == 320 * 32 * 24 and {cut.held_bytes for cut in report.cuts} == {61440, 122880}
    assert report.plot().axes
    page = render({"cuts": report.evidence()})
    assert "What shorter sequences would lose" in page and report.verdict[1:] in page and "score-by-window" in page
    for one, other in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_what_lies_beyond_the_cut_is_said() -> None:
    x = series()
    y = 3 * x[:, :, 0].mean(1)  # of which the last half of the steps is half
    report = tt.horizon_report(model_of(), x, y, windows=[12], keeps="last", steps=150, seeds=2, seconds=600)
    assert report.advised is None and "beyond every cut" in report.verdict


@pytest.mark.parametrize(("scores", "said"), [((1.2, 1.3), "what matters lies beyond every"), ((1.0, 1.5), "seeds=")])
def test_the_verdict_claims_no_more_than_the_seeds_show(scores: tuple[float, ...], said: str) -> None:
    whole = Cut(24, "all", Scores((1.0, 1.11)), None, 1.0, 0.1, 0)
    cut = Cut(12, "last", Scores(scores), gain(scores, whole.scores.values), 0.5, 0.1, 0)
    report = HorizonReport(whole, (cut,), None, None, "loss", 60)  # type: ignore[arg-type]
    assert said in report.verdict and "(last 12) ends at 1.25, whole sequences of 24 steps at 1.055" in report.verdict


def test_the_valid_steps_of_padded_sequences_are_kept() -> None:
    x = series()
    for row, length in zip(x, np.random.default_rng(1).integers(8, STEPS + 1, len(x)), strict=True):
        row[length:] = 9.0
    y = np.array([row[(row != 9).any(1)][-1, 1] for row in x])
    report = tt.horizon_report(model_of(masked=True), x, y, windows=[4], keeps="last", steps=60, seeds=2, seconds=600)
    # Of a variance of 1.08. Not by the interval of two seeds, which lies to one side of 0 by chance on some backend.
    assert report.cuts[0].scores.mean < 0.05 and report.whole.scores.mean < 0.05


def test_a_state_that_is_carried_loses_less_than_none() -> None:
    x = series()
    y = np.cumsum(x[..., :1], axis=1) / 4  # a state that goes on is all that it takes; its gradient may be cut
    options = {"windows": [6], "steps": 60, "seeds": 2, "seconds": 600}
    report = tt.horizon_report(model_of(per_step=True), x, y, **options)
    scores = by_cut(report)
    assert list(scores) == [("carried", 6), ("windows", 6)]
    assert report.measure == "loss (mse) on 48 sequences held out"  # whole ones, not their windows
    assert scores["windows", 6] > 3 * report.whole.scores.mean and scores["carried", 6] < scores["windows", 6] / 2
    one = tt.horizon_report(model_of(per_step=True), x, y, keeps="carried", **options)
    assert list(by_cut(one)) == [("carried", 6)]
    without = tt.horizon_report(model_of(per_step=True), x, y, keeps="windows", **options)
    assert list(by_cut(without)) == [("windows", 6)] and without.advised is None


def squares(expected: Any, found: Any) -> Any:
    return keras.ops.sum(keras.ops.square(expected - found))


@pytest.mark.backend
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_end_where_a_window_begins(masked: bool) -> None:
    """Against the same model called once a window, its states given to the next as numbers."""
    model = model_of(per_step=True, masked=masked)
    x = series(4)
    if masked:
        x[1, 9:] = 9.0
    y = np.cumsum(x[..., :1], axis=1)
    mask = (x != 9).any(2) if masked else np.ones(x.shape[:2], bool)
    fed = keras.Input((None, 2)), keras.Input((8,)), keras.Input((None,), dtype="bool")
    rnn = keras.layers.GRU(8, return_sequences=True, return_state=True)
    outputs, state = rnn(fed[0], initial_state=fed[1], mask=fed[2])
    piece = keras.Model(fed, [keras.layers.Dense(1)(outputs), state])
    piece.compile(keras.optimizers.SGD(1.0), [squares, None])
    before, states = model.get_weights(), np.zeros((4, 8), "float32")
    sums = [np.zeros_like(one) for one in before]
    for begin in range(0, STEPS, 7):
        part = slice(begin, begin + 7)
        piece.set_weights(before)
        values = [x[:, part], states, mask[:, part]]
        states = piece.predict_on_batch(values)[1]
        piece.train_on_batch(values, [y[:, part], states])
        sums = [a + b - c for a, b, c in zip(sums, before, piece.get_weights(), strict=True)]
    end_gradients(model, 7, STEPS)
    model.compile(keras.optimizers.SGD(1.0), squares)
    model.train_on_batch(x, y)
    # Read off float32 weights that they moved by 150 to 1,900; if no gradient ended they would differ by 19 and more.
    for a, b, expected in zip(before, model.get_weights(), sums, strict=True):
        np.testing.assert_allclose(a - b, expected, rtol=2e-4, atol=2e-3)


def test_a_model_that_reads_backwards_carries_no_state() -> None:
    both = keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True))
    model = keras.Sequential([keras.Input((None, 2)), both, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = series(32)
    report = tt.horizon_report(model, x, x[..., :1], windows=[12], steps=2, seeds=2, seconds=600)
    assert list(by_cut(report)) == [("windows", 12)]
    with pytest.raises(tt.ThroughtimeError, match="reads backwards"):
        tt.horizon_report(model, x, x[..., :1], keeps="carried")


def test_what_there_is_no_time_for_is_named() -> None:
    x = series(64)
    report = tt.horizon_report(model_of(), x, x[:, -1, 0], windows=[6, 12], steps=5, seeds=2, seconds=0.01)
    assert not report.cuts and len(report.left_out) == 4 and "no cut was tried" in str(report)


def test_windows_of_arrays() -> None:
    x = np.arange(14, dtype=np.float32).reshape(2, 7, 1)
    data = Given(x, x[..., 0], np.ones((2, 7)), (x, x, None), {"batch_size": 2}, True, None, None)
    cut = cut_to(data, 3, "windows", Sequences(7, {"x": None}))
    assert cut.x[..., 0].tolist() == [[0, 1, 2], [3, 4, 5], [7, 8, 9], [10, 11, 12]] and cut.weights.shape == (4, 3)
    assert np.array_equal(cut.y, cut.x[..., 0]) and cut.fit["batch_size"] == 4
    tokens = np.array([[5, 6, 7, 0], [1, 0, 0, 0]])
    kept = cut_to(Given(tokens, None, None, None, {}, False, None, None), 2, "last", Sequences(4, {"x": 0.0}))
    assert kept.x.tolist() == [[6, 7], [1, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": [24]}, "from 1 to 23"),
        ({"windows": []}, "from 1 to 23"),
        ({"keeps": "middle"}, "middle"),
        ({"keeps": "carried"}, "one a sequence"),
        ({"seeds": 1}, "seeds=1"),
        ({"seconds": 0}, "seconds=0"),
    ],
)
def test_what_is_not_accepted(options: dict, message: str) -> None:
    x = series(32)
    with pytest.raises(tt.ThroughtimeError, match=message):
        tt.horizon_report(model_of(), x, x[:, 0, 0], **options)


@pytest.mark.backend
def test_a_model_of_one_length_is_cut_like_one_of_any() -> None:
    x = series(64)
    reports = []
    for steps in (STEPS, None):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((steps, 2)), keras.layers.GRU(4), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.02), "mse")
        before = model.get_weights()
        reports.append(tt.horizon_report(model, x, x[:, -1, 0], windows=[6], steps=10, seeds=2, seconds=600))
        assert model.input_shape == (None, steps, 2)
        assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    fixed, free = reports
    np.testing.assert_allclose(list(by_cut(fixed).values()), list(by_cut(free).values()), rtol=1e-5)
    np.testing.assert_allclose(fixed.whole.scores.values, free.whole.scores.values, rtol=1e-5)
    assert [cut.share for cut in fixed.cuts] == pytest.approx([cut.share for cut in free.cuts], rel=1e-4)


@pytest.mark.parametrize("layer", ["Flatten", "Reshape", "Permute"])
def test_layers_that_need_the_number_of_steps_are_named(layer: str) -> None:
    made = {
        "Flatten": [keras.layers.Flatten()],
        "Reshape": [keras.layers.Reshape((STEPS * 4,))],
        "Permute": [keras.layers.Permute((2, 1)), keras.layers.Dense(3), keras.layers.Flatten()],
    }[layer]
    stack = [keras.Input((STEPS, 2)), keras.layers.GRU(4, return_sequences=True), *made, keras.layers.Dense(1)]
    model = keras.Sequential(stack)
    model.compile("adam", "mse")
    with pytest.raises(tt.ThroughtimeError, match="24 steps alone"):
        tt.horizon_report(model, series(32), np.zeros(32))


@pytest.mark.parametrize(
    ("steps", "structure", "per_step"), [(STEPS, "dict", False), (STEPS, "list", True), (None, "list", False)]
)
def test_several_inputs_are_cut_where_they_hold_steps(steps: int | None, structure: str, per_step: bool) -> None:
    rng = np.random.default_rng(3)
    inputs = {
        "numbers": keras.Input((steps, 2), name="numbers"),
        "words": keras.Input((steps,), dtype="int32", name="words"),
        "site": keras.Input((5,), name="site"),
        "mask": keras.Input((steps,), dtype="bool", name="mask"),
    }
    embedded = keras.layers.Embedding(9, 3)(inputs["words"])
    joined = keras.layers.Concatenate()([inputs["numbers"], embedded])
    hidden = keras.layers.GRU(4, return_sequences=per_step)(joined, mask=inputs["mask"])
    if not per_step:
        hidden = keras.layers.Concatenate()([hidden, inputs["site"]])
    taken = inputs if structure == "dict" else list(inputs.values())
    model = keras.Model(taken, keras.layers.Dense(1)(hidden))
    model.compile("adam", "mse")
    arrays = {"numbers": series(32), "words": rng.integers(0, 9, (32, STEPS)), "site": rng.normal(size=(32, 5)),
              "mask": np.arange(STEPS) < rng.integers(3, STEPS, 32)[:, None]}  # fmt: skip
    y = rng.normal(size=(32, STEPS, 1) if per_step else 32)
    x = arrays if structure == "dict" else list(arrays.values())
    report = tt.horizon_report(model, x, y, windows=[7], steps=3, seeds=2, seconds=600)
    assert sorted({cut.keeps for cut in report.cuts}) == (["carried", "windows"] if per_step else ["first", "last"])
    assert report.left_out == () and all(np.isfinite(cut.scores.mean) for cut in report.cuts)


@settings(max_examples=60)
@given(drawn=st.data())
def test_arrays_are_cut_alike(drawn: st.DataObject) -> None:
    """Against plain loops over rows and steps."""
    rng = np.random.default_rng(drawn.draw(st.integers(0, 99)))
    count, length = drawn.draw(st.integers(1, 5)), drawn.draw(st.integers(2, 9))
    window = drawn.draw(st.integers(1, length - 1))
    kind = drawn.draw(st.sampled_from(["last", "first", "windows"]))
    numbers = rng.normal(size=(count, length, 2))
    valid = np.arange(length) < rng.integers(1, length + 1, count)[:, None]
    if drawn.draw(st.booleans()):
        valid = valid[:, ::-1]  # padded on the left
    x = {"a": numbers, "b": [np.arange(count * length).reshape(count, length), rng.normal(size=(count, 3))], "m": valid}
    y, weights = rng.normal(size=(count, length) if kind == "windows" else count), rng.random(count)
    sequences = Sequences(length, {"x['a']": None, "x['b'][0]": None}, ("x['m']",))
    data = Given(x, y, weights, (x, y, weights), {}, False, None, None)
    found = cut_to(data, window, kind, sequences)
    if kind == "windows":
        pieces = [(i, b) for i in range(count) for b in range(0, length - window + 1, window)]
        expected = [np.array([array[i, b : b + window] for i, b in pieces]) for array in (numbers, x["b"][0], valid, y)]
        wanted = [np.array([array[i] for i, _ in pieces]) for array in (x["b"][1], weights)]
        for one, other in zip((found.x["a"], found.x["b"][0], found.x["m"], found.y), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        wanted = [x["b"][1], weights]
        for i in range(count):
            steps = [t for t in range(length) if valid[i, t]]
            steps = steps[-window:] if kind == "last" else steps[:window]
            assert found.x["m"][i].tolist() == [True] * len(steps) + [False] * (window - len(steps))
            np.testing.assert_array_equal(found.x["a"][i, : len(steps)], numbers[i, steps])
            np.testing.assert_array_equal(found.x["b"][0][i, : len(steps)], x["b"][0][i, steps])
        np.testing.assert_array_equal(found.y, y)
    for one, other in zip((found.x["b"][1], found.weights), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.validation is not None
    np.testing.assert_array_equal(found.validation[0]["a"], found.x["a"])


def test_inputs_of_several_lengths_are_refused() -> None:
    short, long = keras.Input((None, 2)), keras.Input((None, 2))
    model = keras.Model([short, long], keras.layers.Add()([keras.layers.GRU(3)(short), keras.layers.GRU(3)(long)]))
    model.compile("adam", "mse")
    with pytest.raises(tt.ThroughtimeError, match="several numbers of steps"):
        tt.horizon_report(model, [series(32)[:, :9], series(32)], np.zeros((32, 3)))


def test_what_has_no_answer_is_refused() -> None:
    x = series(64)
    x[3, 4] = np.nan
    with pytest.raises(tt.ThroughtimeError, match="the loss is inf; tt.check"):
        tt.horizon_report(model_of(), x, np.zeros(64), windows=8, steps=5)
    with pytest.raises(tt.ThroughtimeError, match="whole ones"):
        tt.horizon_report(model_of(), tt.Streams(series(4)[0], window=6, batch=1))
    layer = keras.layers.GRU(4, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(8, None, 2)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(tt.ThroughtimeError, match="without stateful=True"):
        tt.horizon_report(model, series(32), np.zeros(32))
