"""Guard: what it clips, what it undoes to the last bit, what it says, and that nothing of it is left behind."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest

import throughtime as tt
from throughtime.errors import ArgumentError, NonFiniteLossError
from throughtime.gradients.guard import Event, Guard
from throughtime.gradients.guarded import global_norm
from throughtime.gradients.locating import NonFinite

pytestmark = pytest.mark.backend
BACKEND = keras.backend.backend()
ROOMS = pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])


def batches(rows: int = 24, steps: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, steps, 3)).astype("float32")
    return x, x[:, :, :1].sum(1)


def network(room: Any = tt, *, optimizer: Any = None, stateful: bool = False, **compiled: Any) -> keras.Model:
    """Everything that a step changes: weights, the statistics of a normalisation, seeds, slots, metrics, states."""
    keras.utils.set_random_seed(3)
    shape = {"batch_shape": (4, 7, 3)} if stateful else {"shape": (7, 3)}
    model = keras.Sequential([
        keras.Input(**shape), keras.layers.BatchNormalization(),
        room.LSTM(5, dropout=0.2, seed=1, stateful=stateful, name="rnn"), keras.layers.Dense(1, name="head"),
    ])  # fmt: skip
    optimizer = keras.optimizers.Adam(0.01) if optimizer is None else optimizer
    model.compile(optimizer, "mse", metrics=["mae"], **compiled)
    return model


def fit(model: keras.Model, x: Any, y: Any, *callbacks: Any, epochs: int = 1, **options: Any) -> dict[str, list[float]]:
    given = {"batch_size": 4, "epochs": epochs, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, callbacks=list(callbacks), **given).history


def values(model: keras.Model) -> list[np.ndarray]:
    every = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(one.value)) for one in every]


def trainable(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(one.value), "float64") for one in model.trainable_variables]


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(one, other, strict=True))))


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


class Each(keras.callbacks.Callback):
    """What all variables are after each step, and what the callbacks are told."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[list[np.ndarray]] = []
        self.trainable: list[list[np.ndarray]] = []
        self.logs: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.values.append(values(self.model))
        self.trainable.append(trainable(self.model))
        self.logs.append(dict(logs))


# Clipping -----------------------------------------------------------------------------------------------------------


def test_the_norm_is_that_of_all_gradients_and_knows_no_overflow() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype("float32") for shape in ((3, 4), (5,), ())]
    expected = np.sqrt(sum((one.astype("float64") ** 2).sum() for one in arrays))
    assert float(global_norm(list(map(keras.ops.array, arrays)))) == pytest.approx(expected, rel=1e-6)
    large = float(global_norm([keras.ops.array(1e30 * one) for one in arrays]))
    assert large == pytest.approx(1e30 * expected, rel=1e-6)
    assert float(global_norm([keras.ops.zeros((2, 2))])) == 0
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = [keras.ops.array([1.0, bad, 2.0]), keras.ops.zeros((3,))]
        assert not np.isfinite(float(global_norm(spoiled)))


@ROOMS
@pytest.mark.parametrize("quantile", [0.1, 0.5, 1.0])
def test_the_threshold_is_numpys_quantile_of_the_norms_before(room: Any, quantile: float) -> None:
    guard = Guard(quantile=quantile, window=9)
    fit(network(room), *batches(), guard, epochs=4)
    assert len(guard.norms) == len(guard.thresholds) == guard.steps == 24
    assert guard.thresholds[0] == np.inf
    for i in range(1, 24):
        # The norms are float32, and the mean of two neighbours is rounded once more.
        assert guard.thresholds[i] == pytest.approx(np.quantile(guard.norms[max(0, i - 9) : i], quantile), rel=1e-6)
    assert guard.threshold == pytest.approx(np.quantile(guard.norms[-9:], quantile), rel=1e-6)
    assert guard.clipped == (guard.norms > guard.thresholds).mean()
    assert f"{guard.clipped:.0%} of them clipped" in str(guard)


def test_a_step_goes_as_far_as_the_threshold() -> None:
    """With plain gradient descent a step is the rate times the gradient: its length says what was clipped."""
    model, guard, each = network(optimizer=keras.optimizers.SGD(0.1)), Guard(quantile=0.3), Each()
    before = trainable(model)
    fit(model, *batches(), guard, each, epochs=2)
    for norm, threshold, after in zip(guard.norms, guard.thresholds, each.trainable, strict=True):
        # A difference of two float32 weights: three digits of a step of a tenth of them.
        assert distance(after, before) == pytest.approx(0.1 * min(norm, threshold), rel=1e-3)
        before = after
    assert 0.2 < guard.clipped < 0.9


def test_without_clipping_a_guarded_run_is_the_plain_one() -> None:
    plain, guarded = network(), network()
    x, y = batches()
    expected = fit(plain, x, y, epochs=3)
    guard = Guard(quantile=None)
    found = fit(guarded, x, y, guard, epochs=3)
    assert guard.clipped == 0 and "18 steps, the gradient is not clipped" in str(guard)
    assert len(guard.norms) == 18 and np.isinf(guard.thresholds).all()
    for a, b in zip(values(guarded), values(plain), strict=True):
        # The same sums, compiled in another program.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)


def test_the_optimizers_own_clipping_stays_in_force() -> None:
    model, guard, each = network(optimizer=keras.optimizers.SGD(0.1, global_clipnorm=0.01)), Guard(), Each()
    before = trainable(model)
    fit(model, *batches(), guard, each)
    assert distance(each.trainable[0], before) == pytest.approx(0.001, rel=1e-2)
    assert (guard.norms > 0.1).all()


def test_rows_of_an_embedding_count_as_often_as_they_were_looked_up() -> None:
    """TensorFlow gives the gradient by its rows, one for each look-up."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(4, 1, name="table"),
                              keras.layers.GlobalAveragePooling1D()])  # fmt: skip
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.set_weights([np.array([[1.0], [2.0], [3.0], [5.0]])])
    guard = Guard()
    fit(model, np.array([[1, 1, 3]]), np.zeros((1, 1)), guard)
    by_output = 2 * (2 + 2 + 5) / 3
    assert guard.norms[0] == pytest.approx(by_output / 3 * np.sqrt(2**2 + 1), rel=1e-6)


# What is not finite -------------------------------------------------------------------------------------------------

SETTINGS: list[dict[str, Any]] = [{}, {"run_eagerly": True}]
SETTINGS += [{"jit_compile": True}] if BACKEND == "jax" else []


@ROOMS
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("stateful", [False, True])
def test_an_undone_step_leaves_every_variable_as_it_was(room: Any, settings: dict[str, Any], stateful: bool) -> None:
    if BACKEND == "torch" and stateful and room is keras.layers:
        pytest.skip("stock stateful layers do not train on PyTorch without a mask")
    x, y = batches()
    x[9, 3, 1] = np.nan
    model, guard, each = network(room, stateful=stateful, **settings), Guard(verbose=0), Each()
    history = fit(model, x, y, guard, each)
    assert [event.found for event in guard.events] == [NonFinite("data", "x", row=1, step=3, feature=1)]
    assert (guard.events[0].epoch, guard.events[0].batch, guard.events[0].step) == (1, 3, 3)
    same(each.values[2], each.values[1])
    for place in (1, 3, 4, 5):
        assert any((a != b).any() for a, b in zip(each.values[place], each.values[place - 1], strict=True))
    assert each.logs[2] == each.logs[1]  # metrics as well
    assert np.isfinite([one for logs in each.logs for one in logs.values()]).all()
    assert np.isfinite(history["loss"]).all()
    assert np.isnan(guard.norms[2]) and np.isfinite(np.delete(guard.norms, 2)).all()
    np.testing.assert_array_equal(guard.batch[0], x[8:12])
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.01)


def test_the_run_goes_on_as_if_the_batch_had_not_been_there() -> None:
    x, y = batches()
    without = np.delete(np.arange(24), np.arange(8, 12))
    expected, found = network(), network()
    fit(expected, x[without], y[without], Guard())
    y[9] = np.inf
    fit(found, x, y, Guard(verbose=0))
    same(values(found), values(expected))


@ROOMS
def test_a_run_that_ends_in_nan_comes_through(
    room: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not seen before it is infinite, as one whose loss starts high.
    monkeypatch.setattr("throughtime.gradients.guard.SUSPECT", np.inf)

    def run(*callbacks: Any) -> tuple[keras.Model, list[float]]:
        keras.utils.set_random_seed(1)
        rnn = room.SimpleRNN(16, activation="relu", name="rnn")
        model = keras.Sequential([keras.Input((30, 2)), rnn, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.3), "mse")
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 30, 2)).astype("float32")
        return model, fit(model, x, x[:, :, :1].sum(1), *callbacks, epochs=15, batch_size=16)["loss"]

    model, losses = run()
    assert np.isnan(losses[-1])
    assert not all(np.isfinite(weight).all() for weight in model.get_weights())
    guard = Guard(quantile=1.0)
    model, losses = run(guard)
    assert np.isfinite(losses).all() and losses[-1] < 1e3
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert guard.events and guard.events[0].found.kind in ("forward", "loss", "gradient")
    assert "lowered from 0.3 to 0.15" in str(guard.events[0])
    # The weights before the first undone step were nearly infinite, so the next is not finite either.
    assert "the weights are those of the start again" in str(guard.events[1])
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    assert rate == pytest.approx(0.3 * 0.5 ** len(guard.events))
    assert len([line for line in capfd.readouterr().err.splitlines() if line.startswith("Guard: epoch")]) == len(
        guard.events
    )


@ROOMS
@pytest.mark.parametrize("several", [1, 3])
def test_a_loss_that_diverges_and_stays_finite_comes_through(room: Any, several: int) -> None:
    if several > 1 and BACKEND == "torch":
        pytest.skip("Keras refuses steps_per_execution on PyTorch")

    def run(*callbacks: Any) -> list[float]:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((20, 2)), room.LSTM(8), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(8.0), "mse", steps_per_execution=several)
        x = np.random.default_rng(0).normal(size=(96, 20, 2)).astype("float32")
        return fit(model, x, x[:, -3:, 0].sum(1), *callbacks, epochs=30, batch_size=16)["loss"]

    guard = Guard(quantile=0.5, verbose=0)
    losses = run(guard)
    assert np.isfinite(losses).all() and losses[-1] < 10
    diverged = [event for event in guard.events if ": it diverged; these are put back" in event.said]
    assert diverged and diverged[0].found is None and "lowered from 8 to 4" in guard.events[0].said
    assert guard.lowered == len(guard.events) < guard.patience


class Spoils(keras.callbacks.Callback):
    """From the eleventh step on, 90 times the loss."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == 10:
            self.model.layers[-1].kernel.assign(np.full((1, 1), 90**0.5))


@pytest.mark.parametrize(("nothing_at", "seen_at"), [(None, 61), (61, 111)])
def test_a_loss_that_stays_high_is_looked_at(nothing_at: int | None, seen_at: int) -> None:
    x, y = np.ones((120, 1), "float32"), np.zeros((120, 1), "float32")
    if nothing_at:
        x[nothing_at - 1] = 0  # the batch that is looked at first has the same loss with any weights
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    guard = Guard(verbose=0)
    fit(model, x, y, Spoils(), guard, batch_size=1)
    # The mean is above 10 times the beginning's from the twelfth step on, and never above 100 times.
    assert [event.step for event in guard.events] == [seen_at]
    assert "the loss of this batch is 90, and was 1 with the weights of the start" in guard.events[0].said
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(1)


def test_data_that_become_harder_are_not_taken_for_divergence() -> None:
    x, y = batches()
    y = y.copy()
    y[:12] *= 1e-3
    y[12:] *= 100  # nothing rains for three batches, and then it pours
    guard, each = Guard(verbose=0), Each()
    model = network()
    model.layers[-1].kernel.assign(np.zeros((5, 1)))
    fit(model, x, y, guard, each, epochs=3)
    assert max(log["loss"] for log in each.logs) > 1e4 * min(log["loss"] for log in each.logs)
    assert not guard.events


def test_a_schedule_cannot_be_lowered_so_the_updates_are() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1000, 0.9)
    x, y = batches()
    lengths = []
    for share in (1.0, 0.25):
        model = network(optimizer=keras.optimizers.SGD(schedule))
        guard, each = Guard(), Each()
        guard._share = share
        before = trainable(model)
        fit(model, x, y, guard, each)
        lengths.append(distance(each.trainable[0], before))
    assert lengths[1] == pytest.approx(0.25 * lengths[0], rel=1e-3)

    def explode(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.exp(100 * (1 + keras.ops.square(y_pred - y_true))), axis=-1)

    model = network(optimizer=keras.optimizers.SGD(schedule))
    model.compile(model.optimizer, explode)
    guard = Guard(verbose=0)
    fit(model, x[:4], y[:4], guard)
    assert "updates are scaled by 0.5 from here on" in guard.events[0].said
    assert guard.events[0].found.kind == "loss"


def test_an_update_that_makes_a_weight_infinite_is_undone() -> None:
    model, guard, each = network(optimizer=keras.optimizers.SGD(1e38)), Guard(verbose=0), Each()
    model.layers[-1].kernel.assign(3e3 * np.ones((5, 1)))
    fit(model, *batches(), guard, each)
    assert np.isfinite(guard.norms[0]) and guard.events[0].step == 1
    assert "or the update that it makes is too large for a float32" in guard.events[0].said
    assert all(np.isfinite(one).all() for step in each.values for one in step)


def test_it_gives_up_with_a_report() -> None:
    x, y = batches()
    model = network()
    model.compile("adam", lambda y_true, y_pred: keras.ops.mean(keras.ops.log(0 * y_pred), axis=-1))
    before = model.get_weights()
    guard = Guard(patience=5, verbose=0)
    with pytest.raises(NonFiniteLossError) as caught:
        fit(model, x, y, guard)
    said = str(caught.value)
    assert "5 steps in a row were not finite; the learning rate was lowered 5 times" in said
    assert "epoch 1, batch 1: the loss becomes infinite though all outputs are finite (row 0)" in said
    assert len(guard.events) == 5
    same(model.get_weights(), before)


def test_rows_have_the_names_that_the_caller_gives_them() -> None:
    x, y = batches()
    x[13, 2] = np.nan
    guard = Guard(verbose=0, names=lambda batch, row: f"patient {batch}-{row}")
    fit(network(), x, y, guard)
    assert "patient 3-1, time step 2" in guard.events[0].said
    model = network(optimizer=keras.optimizers.SGD(1e38))
    model.layers[-1].kernel.assign(3e3 * np.ones((5, 1)))
    fit(model, *batches(), guard)
    assert guard.events[0].said.startswith("the gradient, of norm") and "(patient 0-None)" in guard.events[0].said


def test_bad_data_in_one_batch_of_each_epoch_ends_nothing() -> None:
    x, y = batches()
    x[0, 0] = np.nan
    guard = Guard(patience=3, verbose=0)
    history = fit(network(), x, y, guard, epochs=6)
    assert len(guard.events) == 6 and np.isfinite(history["loss"]).all()
    with pytest.raises(NonFiniteLossError, match="3 steps in a row .* Look at the data"):
        fit(network(), x[:4], y[:4], Guard(patience=3, verbose=0), epochs=6)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses steps_per_execution on PyTorch")
def test_several_steps_an_execution() -> None:
    x, y = batches()
    x[5] = np.nan  # second step of the first execution
    model, guard = network(steps_per_execution=2), Guard(verbose=0)
    history = fit(model, x, y, guard)
    assert np.isfinite(history["loss"]).all() and len(guard.norms) == 6
    assert guard.events[0].found == NonFinite("data", "x", row=1, step=0, feature=0)
    assert guard.events[0].batch == 2
    x, y = batches()
    x[1] = np.nan  # the first step of it
    guard = Guard(verbose=0)
    fit(network(steps_per_execution=2), x, y, guard)
    assert guard.events[0].batch == 1 and len(guard.events) == 1
    if BACKEND == "tensorflow":  # whose graph takes the batches itself
        assert "with steps_per_execution=1" in guard.events[0].said
    else:
        assert guard.events[0].found.row == 1


def test_accumulated_gradients() -> None:
    x, y = batches()
    x[5] = np.nan
    without = np.delete(np.arange(24), np.arange(4, 8))

    def accumulating() -> keras.Model:
        return network(optimizer=keras.optimizers.Adam(0.01, gradient_accumulation_steps=2))

    found, expected = accumulating(), accumulating()
    guard = Guard(verbose=0)
    fit(found, x, y, guard)
    fit(expected, x[without], y[without], Guard())
    assert len(guard.events) == 1
    same(values(found), values(expected))


def test_a_scale_of_the_loss_that_is_tried_is_no_event() -> None:
    """LossScaleOptimizer starts far too high, and leaves steps out until its scale fits."""
    x, y = batches()
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=1e38)
    model, guard = network(optimizer=optimizer), Guard(verbose=0)
    fit(model, x, 3 * y, guard)
    assert not guard.events
    skipped = int((~np.isfinite(guard.norms)).sum())
    assert 0 < skipped < 6
    assert int(optimizer.iterations) == 6 - skipped
    plain = network(optimizer=keras.optimizers.Adam(0.01, loss_scale_factor=256.0))
    unscaled, scaled = Guard(), Guard()
    fit(network(), x, y, unscaled)
    fit(plain, x, y, scaled)
    assert scaled.norms[0] == pytest.approx(unscaled.norms[0], rel=1e-4)
    x[9] = np.nan
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=4.0)
    model, guard, each = network(optimizer=optimizer), Guard(verbose=0), Each()
    fit(model, x, y, guard, each)
    assert guard.events[0].found.kind == "data"
    same(each.values[2], each.values[1])


# What is left behind ------------------------------------------------------------------------------------------------


def instance(thing: Any) -> dict[str, Any]:
    return {name: type(value) for name, value in thing.__dict__.items()}


def test_model_and_optimizer_are_as_found() -> None:
    x, y = batches()
    model = network()
    fit(model, x, y)
    function, optimizer = model.train_function, model.optimizer
    kept = instance(model), instance(optimizer), type(model), type(optimizer), len(optimizer.variables)
    x[9] = np.nan
    fit(model, x, y, Guard(verbose=0))
    assert model.train_function is function
    assert kept == (instance(model), instance(optimizer), type(model), type(optimizer), len(optimizer.variables))
    fit(model, *batches())


class Stop(keras.callbacks.Callback):
    def __init__(self, hook: str) -> None:
        super().__init__()
        setattr(self, hook, self.stop)

    def stop(self, *given: Any, **options: Any) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end", "on_epoch_end", "in the step"])
def test_an_interrupt_leaves_nothing(hook: str) -> None:
    interrupted = []

    def loss(y_true: Any, y_pred: Any) -> Any:
        if interrupted:
            raise KeyboardInterrupt
        return keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1)

    x, y = batches()
    model = network()
    model.compile("adam", loss)
    fit(model, x, y)
    function, guard = model.train_function, Guard()
    kept = instance(model), instance(model.optimizer)
    interrupted += [True] if hook == "in the step" else []
    with pytest.raises(KeyboardInterrupt):
        fit(model, x, y, Stop(hook), guard)
    interrupted.clear()
    assert model.train_function is function
    assert kept == (instance(model), instance(model.optimizer))
    if hook == "in the step" and BACKEND == "jax":
        return  # Keras takes the values out of the variables before it, and puts them back after
    seen = guard.steps
    fit(model, x, y)
    assert guard.steps == seen
    fit(model, x, y, guard)
    assert guard.steps == seen + 6


def test_norms_go_on_in_a_second_fit_and_are_forgotten_for_another_model() -> None:
    x, y = batches()
    model, guard = network(), Guard()
    for _ in range(3):
        fit(model, x, y, guard)
    assert len(guard.norms) == 18
    once = Guard()
    fit(network(), x, y, once, epochs=3)
    np.testing.assert_allclose(guard.norms, once.norms, rtol=1e-5)
    model.compile("sgd", "mae")
    fit(model, x, y, guard)
    assert len(guard.norms) == 24
    fit(network(), x, y, guard)
    assert len(guard.norms) == 6 and guard.thresholds[0] == np.inf


def test_two_guards_in_one_fit_are_refused() -> None:
    model = network()
    with pytest.raises(ArgumentError, match="two Guards are in the callbacks of one fit; one is accepted"):
        fit(model, *batches(), Guard(), Guard())
    fit(model, *batches(), Guard())


def test_a_model_saved_while_training_loads_with_its_optimizer(tmp_path: Any) -> None:
    x, y = batches()
    path = tmp_path / "{epoch}-{batch}.keras"
    model, guard, each = network(keras.layers), Guard(), Each()
    fit(model, x, y, guard, keras.callbacks.ModelCheckpoint(str(path), save_freq=2), each)
    loaded = keras.saving.load_model(tmp_path / "1-4.keras")
    same(trainable(loaded), each.trainable[3])
    same(values(loaded)[-len(model.optimizer.variables) :], each.values[3][-len(model.optimizer.variables) :])
    assert type(loaded.optimizer) is type(model.optimizer)


def test_its_state_goes_on_elsewhere() -> None:
    x, y = batches()
    x[9] = np.nan
    whole, first = Guard(window=10, verbose=0), Guard(window=10, verbose=0)
    model = network()
    fit(model, x, y, whole, epochs=4)
    model = network()
    fit(model, x, y, first, epochs=2)
    second = Guard(window=10, verbose=0)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert str(second) == str(first) and str(second.events) == str(first.events)
    fit(model, x, y, second, epochs=4, initial_epoch=2)
    assert second.threshold == whole.threshold
    assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())
    np.testing.assert_array_equal(second.thresholds, whole.thresholds[-12:])
    assert [event.step for event in second.events] == [3, 9, 15, 21]


def test_the_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("throughtime.gradients.guard.RECORDED", 5)
    guard, all_of_them = Guard(), Guard()
    fit(network(), *batches(), guard, epochs=4)
    assert len(guard._norms) <= 10
    norms = guard.norms
    monkeypatch.undo()
    fit(network(), *batches(), all_of_them, epochs=4)
    np.testing.assert_array_equal(norms, all_of_them.norms[-5:])
    assert guard.clipped == all_of_them.clipped and guard.steps == 24


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantile": 0.0}, "quantile=0.0 is given; more than 0 and at most 1"),
        ({"quantile": 10}, "quantile=10 is given"),
        ({"factor": 1.0}, "factor=1.0 is given; between 0 and 1"),
        ({"window": 0}, "window=0 is given; a whole number"),
        ({"patience": 2.5}, "patience=2.5 is given"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Guard(**options)


def test_what_it_says() -> None:
    assert str(Guard()) == "Guard: no step yet"
    event = Event(2, 7, 40, float("nan"), None, "a value is not finite")
    assert str(event) == "epoch 2, batch 7: a value is not finite"
