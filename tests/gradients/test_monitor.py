"""GradientMonitor against gradient_flow at the same weights and batch; training is the same with it, bit for bit."""

from __future__ import annotations

import gc
import struct
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import throughtime as tt
from throughtime.errors import ArgumentError, BackendError
from throughtime.gradients import history, monitor
from throughtime.gradients.arming import Armed
from throughtime.gradients.flow import LayerFlow
from throughtime.gradients.guarded import GuardedStep
from throughtime.kernels import native

pytestmark = pytest.mark.backend

NAMES = FORWARD, BACKWARD, LAST = "inner/two_ways/forward_both", "inner/two_ways/backward_both", "inner/last"
AGAIN = "inner/again"


def network(room: Any, *, shared: bool = False, dropout: float = 0.0) -> keras.Model:
    """A mask, two directions, a nested model and a layer that goes backwards."""
    keras.utils.set_random_seed(3)
    both = room.LSTM(4, return_sequences=True, dropout=dropout, name="both")
    inputs = keras.Input((None, 3))
    x = keras.layers.Masking()(inputs)
    x = keras.layers.Bidirectional(both, name="two_ways")(x)
    if shared:
        again = room.SimpleRNN(8, return_sequences=True, name="again")
        x = again(again(x))
    inner = keras.Model(inputs, room.GRU(5, go_backwards=True, name="last")(x), name="inner")
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(dropout)(inner(inputs))))
    rng = np.random.default_rng(4)
    model.set_weights([0.6 * rng.normal(size=one.shape) for one in model.get_weights()])
    return model


class Parts(keras.utils.PyDataset):
    """Batches padded at the end with zeros, which Masking takes for padding."""

    def __init__(self, sizes: tuple[tuple[int, int], ...] = ((4, 9),) * 4) -> None:
        super().__init__()
        rng = np.random.default_rng(5)
        self.parts = []
        for batch, steps in sizes:
            lengths = np.append(rng.integers(1, steps + 1, batch - 1), steps)
            valid = np.arange(steps) < lengths[:, None]
            x = (rng.normal(size=(batch, steps, 3)) * valid[..., None]).astype("float32")
            self.parts.append((x, rng.normal(size=(batch, 2)).astype("float32")))

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> Any:
        return self.parts[place]


class Weights(keras.callbacks.Callback):
    """Copies of the weights that each batch starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[list[np.ndarray]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.before.append([np.array(one) for one in self.model.get_weights()])


def taps(model: keras.Model) -> list[int]:
    return [getattr(layer, "tap", 0) for layer in model._flatten_layers()]


# Exactly the flow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_what_is_read_of_a_step_is_the_flow_of_its_batch_at_the_weights_before(eagerly: bool) -> None:
    model, data = network(tt), Parts(((4, 9), (3, 12), (4, 9)))
    model.compile("adam", "mse", run_eagerly=eagerly)
    seen, weights = tt.GradientMonitor(every=1), Weights()
    model.fit(data, epochs=2, shuffle=False, callbacks=[weights, seen], verbose=0)
    assert list(seen.history) == [*NAMES] and not seen.unseen
    for name, found in seen.history.items():
        assert found.native and found.steps.tolist() == [*range(1, 7)]
        assert found.lags.tolist() == [*range(12)]
        for row, before in enumerate(weights.before):
            model.set_weights(before)
            flow = tt.gradient_flow(model, *data[row % 3])[name]
            expected = np.full(12, np.nan, np.float32)
            expected[: len(flow.from_end)] = flow.from_end
            np.testing.assert_allclose(found.norms[row], expected, rtol=1e-5, atol=1e-5 * flow.from_end.max())
            assert found.horizon[row] == flow.horizon()
            np.testing.assert_allclose(found.first_to_last[row], flow.first_to_last, rtol=1e-4)
            np.testing.assert_allclose(found.rate[row], flow.rate, rtol=1e-4)


def test_a_probe_has_the_flow_at_the_weights_before_the_step() -> None:
    model, data = network(keras.layers, dropout=0.3), Parts()
    model.compile("adam", "mse")
    seen, weights = tt.GradientMonitor(probe=data[2], every=3), Weights()
    model.fit(data, epochs=2, shuffle=False, callbacks=[seen, weights], verbose=0)
    assert list(seen.history) == [*NAMES]
    for name, found in seen.history.items():
        assert not found.native and found.steps.tolist() == [1, 4, 7]
        for row, step in enumerate(found.steps):
            model.set_weights(weights.before[step - 1])
            flow = tt.gradient_flow(model, *data[2])[name]
            np.testing.assert_allclose(found.norms[row], flow.from_end, rtol=1e-5, atol=1e-5 * flow.from_end.max())


def test_a_probe_follows_what_is_not_trained_as_well() -> None:
    """Statistics of a normalisation change with no gradient, and are no constants of what was compiled."""
    x, y = np.random.default_rng(1).normal(3, 5, (8, 6, 2)), np.ones((8, 1))
    layers = [keras.layers.BatchNormalization(momentum=0.5), keras.layers.SimpleRNN(4, name="rnn")]
    model = keras.Sequential([keras.Input((6, 2)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    seen, weights = tt.GradientMonitor(probe=(x, y, np.arange(8.0)), every=1), Weights()
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, callbacks=[seen, weights], verbose=0)
    for row, before in enumerate(weights.before):
        model.set_weights(before)
        flow = tt.gradient_flow(model, x, y, sample_weight=np.arange(8.0))["rnn"]
        np.testing.assert_allclose(seen.history["rnn"].norms[row], flow.from_end, rtol=1e-4)


def test_a_scaled_loss_does_not_scale_the_flow() -> None:
    found = []
    for optimizer in (keras.optimizers.SGD(0.1), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))):
        model, seen = network(tt), tt.GradientMonitor(every=1)
        model.compile(optimizer, "mse")
        model.fit(Parts(), shuffle=False, callbacks=[seen], verbose=0)
        found.append(seen.history[LAST])
    assert found[1].steps.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found[1].norms, found[0].norms, rtol=1e-4)


def test_several_steps_at_once_show_the_last_of_them() -> None:
    if keras.backend.backend() == "torch":
        pytest.skip("Keras on PyTorch makes one step at a time")
    model, data = network(tt), Parts()
    model.compile("adam", "mse")
    one = tt.GradientMonitor(every=1)
    model.fit(data, epochs=2, shuffle=False, callbacks=[one], verbose=0)
    model = network(tt)
    model.compile("adam", "mse", steps_per_execution=3)
    three = tt.GradientMonitor(every=1)
    model.fit(data, epochs=2, shuffle=False, callbacks=[three], verbose=0)
    for name, found in three.history.items():
        steps = found.steps
        assert steps.tolist() == [3, 4, 7, 8]
        np.testing.assert_allclose(found.norms, one.history[name].norms[steps - 1], rtol=1e-4)


# Nothing is changed -------------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "compiled": {},
    "jit": {"jit_compile": True},
    "eagerly": {"run_eagerly": True},
    "several": {"steps_per_execution": 2},
}


def trained(room: Any, callbacks: list[Any], **options: Any) -> keras.Model:
    model = network(room, dropout=0.3)
    model.compile("adam", "mse", **options)
    keras.utils.set_random_seed(11)
    model.fit(Parts(), epochs=3, validation_data=Parts(), callbacks=callbacks, verbose=0)
    return model


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])
def test_training_is_the_same_bit_for_bit(room: Any, way: str) -> None:
    if way == "several" and keras.backend.backend() == "torch":
        pytest.skip("Keras on PyTorch makes one step at a time")
    if way == "jit" and keras.backend.backend() != "jax":
        pytest.skip("torch.compile takes minutes, and TensorFlow's XLA cannot call the kernel")
    plain = trained(room, [], **WAYS[way])
    seen = tt.GradientMonitor(every=2, probe=Parts()[0])
    watched = trained(room, [seen], **WAYS[way])
    assert len(seen.history) == 3
    for one, other in zip(watched.variables, plain.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    for one, other in zip(watched.optimizer.variables, plain.optimizer.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))


@pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])
def test_a_carried_state_stays_its_own(room: Any) -> None:
    if room is keras.layers and keras.backend.backend() == "torch":
        pytest.skip("Keras's own LSTM cannot carry its state in fit on PyTorch: it changes a tensor that is needed")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(4, 30, 2)).astype("float32"), rng.normal(size=(4, 1)).astype("float32")
    x = x.reshape(4, 6, 5, 2).transpose(1, 0, 2, 3).reshape(24, 5, 2)
    found = []
    for callbacks in ([], [tt.GradientMonitor(every=1, probe=(x[:4], y))]):
        keras.utils.set_random_seed(5)
        layers = [room.LSTM(4, stateful=True, name="lstm"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input(batch_shape=(4, 5, 2)), *layers])
        model.compile("adam", "mse")
        model.fit(x, np.tile(y, (6, 1)), batch_size=4, epochs=2, shuffle=False, callbacks=callbacks, verbose=0)
        found.append([np.array(one) for one in model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_model_is_left_as_it_was_and_can_be_monitored_again() -> None:
    model, seen = network(tt), tt.GradientMonitor(every=1)
    model.compile("adam", "mse")
    model.fit(Parts(), shuffle=False, callbacks=[seen], verbose=0)
    assert not any(taps(model)) and model.train_function is None
    model.fit(Parts(), shuffle=False, verbose=0)
    assert seen.history[FORWARD].steps.tolist() == [1, 2, 3, 4]
    model.fit(Parts(), shuffle=False, callbacks=[seen], verbose=0)
    assert seen.history[FORWARD].steps.tolist() == [1, 2, 3, 4, 9, 10, 11, 12]
    model.compile("adam", "mse")  # its optimizer counts from 0
    model.fit(Parts(), shuffle=False, callbacks=[seen], verbose=0)
    assert seen.history[FORWARD].steps.tolist()[8:] == [13, 14, 15, 16]
    other = network(tt)
    other.compile("adam", "mse")
    other.fit(Parts(), shuffle=False, callbacks=[seen], verbose=0)
    assert seen.history[FORWARD].steps.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("first", ["guard", "monitor"])
def test_beside_a_guard_both_see_every_step(first: str) -> None:
    """Guard has a compiled step of its own, which it keeps from one fit to the next."""
    model, guard, seen = network(tt), tt.Guard(), tt.GradientMonitor(every=1)
    model.compile("adam", "mse")
    model.fit(Parts(), shuffle=False, callbacks=[guard], verbose=0)
    both = [guard, seen] if first == "guard" else [seen, guard]
    model.fit(Parts(), shuffle=False, callbacks=both, verbose=0)
    assert [one.steps.tolist() for one in seen.history.values()] == [[5, 6, 7, 8]] * 3
    model.fit(Parts(), shuffle=False, callbacks=[guard], verbose=0)
    assert guard.steps == 12 and not any(taps(model))
    alone, monitored = network(tt), tt.GradientMonitor(every=1)
    alone.compile("adam", "mse")
    alone.fit(Parts(), epochs=2, shuffle=False, callbacks=[tt.Guard(), monitored], verbose=0)
    for name, found in seen.history.items():
        np.testing.assert_allclose(found.norms, monitored.history[name].norms[4:], rtol=1e-4)


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("again", [True, False])
def test_a_training_that_is_broken_off_leaves_no_open_tap(again: bool) -> None:
    model, seen = network(tt), tt.GradientMonitor(every=1)
    model.compile("adam", "mse")
    with pytest.raises(KeyboardInterrupt):
        model.fit(Parts(), shuffle=False, callbacks=[seen, Interrupt()], verbose=0)
    assert seen.history[FORWARD].steps.tolist() == [1, 2]
    left = [tap for tap in taps(model) if tap]
    assert len(left) == 3
    if again:
        model.fit(Parts(), shuffle=False, callbacks=[seen], verbose=0)
        assert len(seen.history[FORWARD].steps) == 6
    else:
        del seen
        gc.collect()
        model.fit(Parts(), shuffle=False, verbose=0)
    assert not any(taps(model))
    assert [native.tapped(tap) for tap in left] == [None] * 3


HOOKS = ("on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end", "within the step")


@pytest.mark.parametrize("hook", HOOKS)
def test_taps_are_shut_and_functions_are_back_wherever_a_training_is_broken_off(hook: str, monkeypatch: Any) -> None:
    opened: set[int] = set()
    monkeypatch.setattr(monitor.native, "open_tap", lambda tap: opened.add(tap))
    monkeypatch.setattr(monitor.native, "shut_tap", lambda tap: opened.discard(tap))
    model, seen, guard, stop = network(tt), tt.GradientMonitor(every=1), tt.Guard(), keras.callbacks.Callback()
    model.compile("adam", "mse")

    def interrupt(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    if hook == "within the step":
        monkeypatch.setattr(GuardedStep, "__call__", interrupt)
    else:
        setattr(stop, hook, interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(Parts(), shuffle=False, callbacks=[seen, guard, stop], verbose=0)
    assert not opened
    monkeypatch.undo()
    steps = guard.steps
    model.fit(Parts(), shuffle=False, verbose=0)  # of its own: what was armed steps aside
    assert guard.steps == steps and not isinstance(model.train_function, Armed)
    model.fit(Parts(), shuffle=False, callbacks=[guard, seen], verbose=0)
    assert not any(taps(model)) and guard.steps == steps + len(Parts())


# What is seen, and what is not --------------------------------------------------------------------------------------


def test_a_layer_that_a_step_calls_twice_is_measured_on_a_probe() -> None:
    model, data = network(tt, shared=True), Parts()
    model.compile("adam", "mse")
    for given, batch, steps in (({}, data[1], [2, 3, 4]), ({"probe": data[0]}, data[0], [6, 7, 8])):
        seen, weights = tt.GradientMonitor(every=1, **given), Weights()
        model.fit(data, shuffle=False, callbacks=[seen, weights], verbose=0)
        assert list(seen.history) == [FORWARD, BACKWARD, AGAIN, f"{AGAIN}#2", LAST] and not seen.unseen
        found = seen.history[f"{AGAIN}#2"]
        assert found.steps.tolist() == steps and not found.native
        model.set_weights(weights.before[1])
        flow = tt.gradient_flow(model, *batch)[f"{AGAIN}#2"].from_end
        np.testing.assert_allclose(found.norms[0], flow, rtol=1e-5, atol=1e-5 * flow.max())


@pytest.mark.parametrize("named", [True, False])
def test_a_layer_that_no_gradient_reaches_is_measured_on_a_probe(named: bool) -> None:
    model, data = network(tt), Parts()
    model.get_layer("inner").get_layer("two_ways").trainable = False
    model.compile("adam", "mse")
    seen = tt.GradientMonitor(every=1, probe=data[0] if named else None)
    model.fit(data, callbacks=[seen], verbose=0)
    assert list(seen.history) == [*NAMES]
    assert (seen.history[FORWARD].norms > 0).all()


def test_layers_in_kerass_loop_are_measured_and_ours_read() -> None:
    layers = [tt.LSTM(3, return_sequences=True, name="ours"), keras.layers.GRU(3, name="stock")]
    mixed = keras.Sequential([keras.Input((7, 2)), *layers, keras.layers.Dense(1)])
    mixed.compile("adam", "mse")
    x, y = np.ones((4, 7, 2)), np.ones((4, 1))
    for seen in (tt.GradientMonitor(), tt.GradientMonitor(probe=(x, y))):
        mixed.fit(x, y, callbacks=[seen], verbose=0)
        assert {name: one.native for name, one in seen.history.items()} == {"ours": True, "stock": False}


def test_a_gradient_that_is_not_finite_is_recorded_as_it_is() -> None:
    model = keras.Sequential([keras.Input((90, 1)), tt.SimpleRNN(1, activation="relu", use_bias=False, name="rnn")])
    one = np.ones((1, 1), "float32")
    model.set_weights([one, 3 * one])
    model.compile(keras.optimizers.SGD(1e-30), "mse")
    seen = tt.GradientMonitor(every=1)
    model.fit(np.ones((2, 90, 1)), np.ones((2, 1)), callbacks=[seen], verbose=0)
    found = seen.history["rnn"]
    assert not np.isfinite(found.norms).all() and np.isnan(found.rate[0])
    seen.plot().savefig("/dev/null", format="png")


# When it measures ---------------------------------------------------------------------------------------------------


def test_a_measurement_waits_until_it_is_the_share_of_the_time(monkeypatch: Any) -> None:
    now = 100.0
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: now)
    pace = monitor._Pace(share=0.02, every=None)
    assert pace.due(0, 1)
    pace.took(0.5, 0)
    now = 124.9
    assert not pace.due(5, 1)
    now = 125.1
    assert pace.due(5, 1) and not pace.due(5, 8) and pace.due(8, 8)
    assert [batch for batch in range(9) if monitor._Pace(0.1, every=2).due(batch, 2)] == [0, 4, 8]


def test_the_first_steps_are_read_whatever_the_share(monkeypatch: Any) -> None:
    monkeypatch.setattr(monitor.time, "perf_counter", iter(range(10**6)).__next__)
    model, seen = network(tt), tt.GradientMonitor(share=1e-9)
    model.compile("adam", "mse")
    model.fit(Parts(), epochs=5, callbacks=[seen], verbose=0)
    assert seen.history[FORWARD].steps.tolist() == [1, 2, 4, 8, 16]


def test_of_many_readings_every_second_one_goes_and_they_come_half_as_often(monkeypatch: Any) -> None:
    monkeypatch.setattr(monitor, "READINGS", 6)
    model, seen = network(tt), tt.GradientMonitor(every=1)
    model.compile("adam", "mse")
    model.fit(Parts(), epochs=6, callbacks=[seen], verbose=0)
    assert seen.history[FORWARD].steps.tolist() == [1, 5, 9, 13, 17, 21]


# What is kept and shown ---------------------------------------------------------------------------------------------


def test_long_sequences_are_kept_as_means_over_places() -> None:
    norms = np.exp(-np.arange(5000.0)[::-1] / 400)[None].astype(np.float32)
    kept = history.Readings(True)
    kept.add(7, LayerFlow("rnn", "LSTM", 3, norms, np.ones_like(norms, bool)))
    kept.add(9, LayerFlow("rnn", "LSTM", 3, norms[:, -100:], np.ones((1, 100), bool)))
    found = kept.history("rnn")
    assert found.norms.shape == (2, len(found.lags)) and len(found.lags) < 256
    assert found.lags[:96].tolist() == [*range(96)] and found.lags[-1] < 5000
    ends = [*found.lags[1:], 5000]
    for lag, end, mean in zip(found.lags, ends, found.norms[0], strict=True):
        np.testing.assert_allclose(mean, norms[0, ::-1][lag:end].mean(), rtol=1e-5)
    assert np.isfinite(found.norms[1]).sum() == 97
    history.heat_maps([found]).savefig("/dev/null", format="png")


def test_the_picture_has_a_map_of_each_layer(tmp_path: Path) -> None:
    model, seen = network(tt), tt.GradientMonitor(every=1)
    model.compile("adam", "mse")
    model.fit(Parts(), callbacks=[seen], verbose=0)
    figure = seen.plot()
    maps = [axes for axes in figure.axes if axes.get_xlabel() == "training step"]
    assert [axes.get_title().partition(":")[0] for axes in maps] == list(seen.history)
    figure.savefig(tmp_path / "flow.png")
    tt.GradientMonitor().plot().savefig(tmp_path / "empty.png")


def events(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """Step and value by tag, of the event files in a folder: lengths, checksums and protocol buffers in turn."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, Any]]] = {}
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                shown = value.image if value.HasField("image") else value.simple_value
                found.setdefault(value.tag, []).append((event.step, shown))
    return found


def test_tensorboard_gets_figures_and_pictures(tmp_path: Path) -> None:
    model, seen = network(tt), tt.GradientMonitor(tmp_path, every=1)
    model.compile("adam", "mse")
    model.fit(Parts(), callbacks=[seen], verbose=0)
    found = events(tmp_path)
    for name, one in seen.history.items():
        for figure in ("first_to_last", "rate", "horizon"):
            steps, values = zip(*found[f"gradient/{name}/{figure}"], strict=True)
            expected = getattr(one, figure)
            finite = np.isfinite(expected)
            assert list(steps) == one.steps[finite].tolist()
            np.testing.assert_allclose(values, expected[finite], rtol=1e-6)
        step, picture = found[f"gradient/{name}"][-1]
        assert step == 4 and picture.encoded_image_string.startswith(b"\x89PNG") and picture.width > 400


# What is refused ----------------------------------------------------------------------------------------------------


def test_bad_arguments_are_refused(monkeypatch: Any) -> None:
    for given, said in (
        ({"probe": np.ones((4, 3))}, r"probe=ndarray is given; \(x, y\)"),
        ({"every": 0}, "every=0 is given; 1 or more"),
        ({"share": 0.0}, "share=0.0 is given; more than 0"),
    ):
        with pytest.raises(ArgumentError, match=said):
            tt.GradientMonitor(**given)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ArgumentError, match="no recurrent layer"):
        model.fit(np.ones((2, 4)), np.ones((2, 1)), callbacks=[tt.GradientMonitor()], verbose=0)
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(BackendError, match=r"pip install 'throughtime\[tensorboard\]'"):
        tt.GradientMonitor("logs")
