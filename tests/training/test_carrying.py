"""CarryState: windows give what whole sequences give, and a training that was killed what it would have given."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import throughtime as tt
from throughtime.errors import ArgumentError, RunError

pytestmark = pytest.mark.backend
TENSORFLOW = keras.backend.backend() == "tensorflow"
# 0, 1, and around one window of 4 and two of them; several in a row, rows that are empty at the end.
LENGTHS = [9, 1, 4, 0, 13, 3, 5, 8, 2, 7]


def sequences(lengths: list[int] = LENGTHS, features: int = 2, seed: int = 0) -> tt.Ragged:
    rng = np.random.default_rng(seed)
    return tt.Ragged.from_lengths(rng.normal(size=(sum(lengths), features)).astype(np.float32), lengths)


def targets_of(x: tt.Ragged) -> tt.Ragged:
    return tt.Ragged(np.cumsum(x.values[:, :1], 0).astype(np.float32) / 3, x.offsets)


def network(
    *cells: Any, batch: int = 3, stateful: bool = True, masking: bool = False, dropout: float = 0.0,
    optimizer: Any = None, **compiled: Any,
) -> keras.Model:  # fmt: skip
    """A stack of cells; those of Keras without ``stateful``, as the oracle."""
    keras.utils.set_random_seed(7)
    shape: dict[str, Any] = {"batch_shape": (batch, None, 2)} if stateful else {"shape": (None, 2)}
    model = keras.Sequential([keras.Input(**shape)])
    if masking:
        model.add(keras.layers.Masking(-9.0))
    options = {"return_sequences": True, "stateful": stateful, "dropout": dropout, "seed": 5}
    for cell in cells or (tt.LSTM,):
        model.add(cell(4, bias_initializer="random_normal", **options))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.02) if optimizer is None else optimizer, "mse", **compiled)
    return model


def stock(*cells: Any, like: keras.Model) -> keras.Model:
    """Keras's own layers with the same weights, which see whole sequences."""
    model = network(*(getattr(keras.layers, cell.__name__) for cell in cells), stateful=False)
    model.set_weights(like.get_weights())
    return model


def whole_loss(model: keras.Model, x: tt.Ragged, y: tt.Ragged) -> float:
    errors = [
        (ops.convert_to_numpy(model(sequence[None]))[0] - target) ** 2
        for sequence, target in zip(x, y, strict=True) if len(sequence)
    ]  # fmt: skip
    return float(np.concatenate(errors).mean())


@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("cells", [(tt.LSTM,), (tt.GRU, tt.SimpleRNN)], ids=["LSTM", "stacked"])
def test_forward_over_windows_equals_forward_over_the_whole(cells, masking, shuffle) -> None:
    x = sequences()
    model = network(*cells, masking=masking)
    streams = tt.Streams(x, window=4, batch=3, ahead=0, shuffle=shuffle, pad_value=-9)
    oracle = stock(*cells, like=model)
    for _ in range(2):  # the second time from the states that the first has left
        outputs = streams.unwindowed(model.predict(streams, callbacks=[tt.CarryState(streams)], verbose=0))
        for found, sequence in zip(outputs, x, strict=True):
            if len(sequence):
                expected = ops.convert_to_numpy(oracle(sequence[None]))[0]
                np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)  # float32, another order of sums


def test_one_sequence_is_read_in_pieces_that_carry_their_state() -> None:
    x = np.random.default_rng(1).normal(size=(47, 2)).astype(np.float32)
    model = network(tt.GRU)
    streams = tt.Streams(x, window=6, batch=3, ahead=0)
    found = streams.unwindowed(model.predict(streams, callbacks=[tt.CarryState(streams)], verbose=0))
    oracle = stock(tt.GRU, like=model)
    pieces = [x[i * 47 // 3 : (i + 1) * 47 // 3] for i in range(3)]
    expected = np.concatenate([ops.convert_to_numpy(oracle(piece[None]))[0] for piece in pieces])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("masking", [False, True])
def test_evaluate_and_fit_report_the_loss_over_whole_sequences(masking) -> None:
    """At a learning rate of 0 the loss of an epoch of training is that of the same weights."""
    x, y = sequences(), targets_of(sequences())
    model = network(masking=masking, optimizer=keras.optimizers.SGD(0.0), weighted_metrics=["mse"])
    streams = tt.Streams(x, y, window=4, batch=3, pad_value=-9)
    carry = tt.CarryState(streams)
    expected = whole_loss(stock(tt.LSTM, like=model), x, y)
    found = model.evaluate(streams, callbacks=[carry], return_dict=True, verbose=0)
    # Metrics see the same weights, but Keras does not divide them by the valid steps of a window: they need no mask.
    names = ["loss"] if masking else ["loss", "mse"]
    np.testing.assert_allclose([found[name] for name in names], expected, rtol=1e-5)
    history = model.fit(
        streams, epochs=3, shuffle=False, callbacks=[carry], validation_data=streams, verbose=0
    ).history  # fmt: skip
    for name in names:
        np.testing.assert_allclose([history[name], history[f"val_{name}"]], expected, rtol=1e-5)


def test_a_target_a_sequence_counts_at_its_last_step() -> None:
    x = sequences()
    y = np.arange(len(x), dtype=np.float32)
    model = network()
    streams = tt.Streams(x, y, window=4, batch=3)
    oracle = stock(tt.LSTM, like=model)
    errors = [
        (float(ops.convert_to_numpy(oracle(sequence[None]))[0, -1, 0]) - target) ** 2
        for sequence, target in zip(x, y, strict=True) if len(sequence)
    ]  # fmt: skip
    found = model.evaluate(streams, callbacks=[tt.CarryState(streams)], verbose=0)
    np.testing.assert_allclose(found, np.mean(errors), rtol=1e-5)


def test_windows_as_long_as_the_sequences_train_as_without_streams() -> None:
    x = sequences([6] * 6)
    y = targets_of(x)
    carried, plain = network(tt.GRU), network(keras.layers.GRU, stateful=False)
    streams = tt.Streams(x, y, window=6, batch=3)
    carried.fit(streams, epochs=3, shuffle=False, callbacks=[tt.CarryState(streams)], verbose=0)
    rows = [streams.layout[i].sequence for i in range(2)]
    order = np.concatenate(rows)
    assert sorted(order) == list(range(6))
    whole_x, whole_y = (ragged.values.reshape(6, 6, -1)[order] for ragged in (x, y))
    plain.fit(whole_x, whole_y, batch_size=3, epochs=3, shuffle=False, verbose=0)
    for one, other in zip(carried.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # six steps of Adam in float32


def by_hand(model: keras.Model, streams: tt.Streams, epochs: int) -> None:
    """The same training as a loop, with the states put to zero row by row in NumPy."""
    for epoch in range(epochs):
        streams.start_at(epoch)
        for number in range(len(streams)):
            begins = streams.layout[number].begins
            for layer in model.layers:
                for variable in layer._carried.training if hasattr(layer, "_carried") else ():
                    value = np.array(ops.convert_to_numpy(variable.value))
                    value[begins] = 0
                    variable.assign(value)
            model.train_on_batch(*streams[number])


@pytest.mark.parametrize("callbacks", [[], ["guard", "monitor"]], ids=["alone", "with Guard and GradientMonitor"])
def test_fit_trains_as_a_loop_by_hand(callbacks) -> None:
    x = sequences()
    streams = tt.Streams(x, targets_of(x), window=4, batch=3, shuffle=True, seed=2)
    fitted, looped = (network(tt.GRU, tt.LSTM, dropout=0.2) for _ in range(2))
    made = {"guard": tt.Guard(quantile=None), "monitor": tt.GradientMonitor(every=1)}
    used = [made[name] for name in callbacks]
    fitted.fit(streams, epochs=3, shuffle=False, callbacks=[tt.CarryState(streams), *used], verbose=0)
    by_hand(looped, streams, 3)
    for one, other in zip(fitted.get_weights(), looped.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)  # Guard's step is another program
    if used:
        assert made["guard"].steps == 3 * len(streams)
        assert {len(one.steps) for one in made["monitor"].history.values()} == {3 * len(streams)}


def test_validation_leaves_the_states_of_training_alone() -> None:
    x = sequences()
    streams = tt.Streams(x, targets_of(x), window=4, batch=3)
    fitted, looped = network(tt.GRU), network(tt.GRU)
    other = tt.Streams(sequences(seed=9), targets_of(sequences(seed=9)), window=5, batch=3)
    carry = tt.CarryState(streams, validation=other)
    found = fitted.fit(streams, epochs=2, shuffle=False, callbacks=[carry], validation_data=other, verbose=0).history
    by_hand(looped, streams, 2)
    for one, second in zip(fitted.get_weights(), looped.get_weights(), strict=True):
        np.testing.assert_allclose(one, second, rtol=1e-6, atol=1e-7)
    expected = whole_loss(stock(tt.GRU, like=looped), sequences(seed=9), targets_of(sequences(seed=9)))
    np.testing.assert_allclose(found["val_loss"][-1], expected, rtol=1e-5)


# What is refused ------------------------------------------------------------------------------------------------------


def fit(model: keras.Model, streams: tt.Streams, *, carry: Any = None, **options: Any) -> Any:
    options = {"shuffle": False, "verbose": 0} | options
    return model.fit(streams, callbacks=[tt.CarryState(streams) if carry is None else carry], **options)


def refused(message: str) -> Any:
    """TensorFlow packs an error of its input pipeline into one of its own."""
    return pytest.raises(Exception, match=re.compile(message, re.DOTALL)) if TENSORFLOW else pytest.raises(
        ArgumentError, match=message
    )  # fmt: skip


def recover(model: keras.Model) -> None:
    """On JAX, Keras does not put the weights back where evaluate or predict raises; the message says what does."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def two_way() -> keras.Model:
    layer = keras.layers.Bidirectional(tt.LSTM(3, stateful=True, return_sequences=True))
    model = keras.Sequential([keras.Input(batch_shape=(3, None, 2)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def backwards() -> keras.Model:
    layer = tt.GRU(3, stateful=True, return_sequences=True, go_backwards=True)
    model = keras.Sequential([keras.Input(batch_shape=(3, None, 2)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: network(stateful=False), "no stateful recurrent layer"),
        (lambda: network(keras.layers.GRU), r"tt\.accelerate\(model\)"),
        (two_way, "read from the end"),
        (backwards, "read from the end"),
        (lambda: network(batch=2), r"carries the states of 2 .*batch_shape=\(3"),
        (lambda: network(steps_per_execution=2), "steps_per_execution"),
    ],
    ids=["no state", "Keras's own", "Bidirectional", "go_backwards", "another batch", "steps_per_execution"],
)
def test_a_model_that_cannot_carry_is_refused(made: Callable[[], keras.Model], message: str) -> None:
    streams = tt.Streams(sequences(), window=4, batch=3)
    model = made()
    for run in (lambda: fit(model, streams), lambda: model.predict(streams, callbacks=[tt.CarryState(streams)])):
        # Of another batch size the layer speaks first where Keras builds the loss; 3.11 has a RuntimeError for it.
        with pytest.raises((ValueError, RuntimeError), match=message):
            run()


def test_a_layer_that_begins_anew_with_each_window_is_named() -> None:
    layers = [tt.GRU(3, stateful=True, return_sequences=True), tt.GRU(3, return_sequences=True, name="forgets")]
    model = keras.Sequential([keras.Input(batch_shape=(3, None, 2)), *layers, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="'forgets' are not stateful"):
        fit(model, tt.Streams(sequences(), window=4, batch=3))


def test_a_layer_that_looks_beyond_a_window_is_named() -> None:
    rows = [keras.layers.Conv1D(2, 3, padding="causal", name="wide"), tt.GRU(3, stateful=True, return_sequences=True)]
    model = keras.Sequential([keras.Input(batch_shape=(3, None, 2)), *rows, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="of their window alone .*'wide'"):
        fit(model, tt.Streams(sequences(), window=4, batch=3))


def test_what_would_train_on_wrong_states_is_refused() -> None:
    model, streams = network(weighted_metrics=["mse"]), tt.Streams(sequences(), window=4, batch=3, ahead=1)
    for _ in range(2):  # nothing is left behind by a refusal
        with pytest.raises(ArgumentError, match="shuffle=False"):
            fit(model, streams, shuffle=True)
        with refused("nobody sees to the states"):
            model.fit(streams, shuffle=False, verbose=0)
        with refused("nobody sees to the states"):
            model.evaluate(streams, verbose=0)
        recover(model)
        with refused("nobody sees to the states"):
            model.predict(streams, verbose=0)
        recover(model)
    other = tt.Streams(sequences(), window=4, batch=3)
    with refused("validation="):
        fit(model, streams, validation_data=other)
    fit(model, streams, carry=tt.CarryState(streams, validation=other), validation_data=other)
    before = model.get_weights()
    with refused("nobody sees to the states"):
        model.predict(streams, verbose=0)
    recover(model)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    with pytest.raises(ArgumentError, match="leave steps_per_epoch out"):
        fit(model, streams, steps_per_epoch=3)
    with pytest.raises(ArgumentError, match="with the Streams that CarryState has"):
        fit(model, tt.Streams(sequences([4]), window=4, batch=3), carry=tt.CarryState(streams))
    streams.workers = 2
    with pytest.raises(ArgumentError, match="workers=1"):
        fit(model, streams)


@pytest.mark.parametrize("lengths", [[3, 4], [3, 8]], ids=["one window", "two windows"])
def test_an_epoch_of_few_windows_is_refused_without_the_callback(lengths: list[int]) -> None:
    model, streams = network(), tt.Streams(sequences(lengths), window=5, batch=3)
    fit(model, streams, epochs=3)
    with refused("nobody sees to the states"):
        model.fit(streams, shuffle=False, epochs=2, verbose=0)


def test_arguments_that_are_refused(tmp_path: Path) -> None:
    streams = tt.Streams(sequences(), window=4, batch=3)
    for arguments, message in (
        ({"validation": [1]}, "validation is list"),
        ({"every": 3}, "every=3"),
        ({"every": 0, "checkpoint": tmp_path / "a"}, "every=0"),
    ):
        with pytest.raises(ArgumentError, match=message):
            tt.CarryState(streams, **arguments)
    with pytest.raises(ArgumentError, match="streams is Ragged"):
        tt.CarryState(sequences())


# On disk --------------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


class StopAt(keras.callbacks.Callback):
    """Breaks a training off after a step, and counts those before."""

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        self.left, self.made = steps, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.made += 1
        if self.made == self.left:
            raise Stopped


def resumable(path: Path | None, *, stop: int | None = None, guard: str = "", epochs: int = 3) -> tuple[Any, ...]:
    """A training with all that has a state: dropout, Adam, metrics, carried states, an order of its own an epoch."""
    x = sequences()
    streams = tt.Streams(x, targets_of(x), window=4, batch=3, shuffle=True, seed=4)
    model = network(tt.GRU, dropout=0.3, metrics=["mae"])
    watch = tt.Guard() if guard else None
    carry = tt.CarryState(streams, checkpoint=path, every=None if path is None else 2, guard=watch, verbose=0)
    counting = StopAt(stop)
    callbacks = [carry, counting] if watch is None else [carry, watch, counting]
    if guard == "before":
        callbacks[:2] = [watch, carry]
    history: dict[str, list[float]] = {}
    with contextlib.suppress(Stopped):
        history = model.fit(streams, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0).history
    assert model._initial_epoch is None
    return model, history, counting.made, len(streams)


def assert_same(one: keras.Model, other: keras.Model) -> None:
    values = (
        [ops.convert_to_numpy(variable.value) for variable in (*model.variables, *model.optimizer.variables)]
        for model in (one, other)
    )
    for first, second in zip(*values, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("guard", ["", "before", "after"], ids=["alone", "Guard before", "Guard after"])
def test_a_training_that_was_broken_off_goes_on_to_the_same_weights(tmp_path: Path, guard: str) -> None:
    plain, history, made, windows = resumable(None, guard=guard)
    assert made == 3 * windows
    # Before the first file, on and between files, before the last window of an epoch, at its end, and several times.
    every = ([1], [4], [windows - 1, 3], [windows + 1]) if not guard else ([5],)
    for stops in every:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        for stop in stops:
            resumable(path, stop=stop, guard=guard)
        resumed, rest, left, _ = resumable(path, guard=guard)
        assert left < 3 * windows or stops == [1]
        assert_same(resumed, plain)
        epochs = len(rest["loss"])
        names = ("loss",) if TENSORFLOW and epochs < 3 else ("loss", "mae")
        for name in names:
            # The epoch that was broken off is reported as a whole, where its metrics could be taken from the file.
            since = 1 if TENSORFLOW else 0
            np.testing.assert_allclose(rest[name][since:], history[name][3 - epochs + since :], rtol=1e-6)
        again, nothing, left, _ = resumable(path, guard=guard)
        assert (nothing, left) == ({}, 0), "what is done stays done"
        assert_same(again, plain)
        _, _, left, _ = resumable(path, guard=guard, epochs=4)
        assert left == windows


def test_the_first_epoch_says_where_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.npz"
    _, _, _, windows = resumable(path, stop=5)
    x = sequences()
    streams = tt.Streams(x, targets_of(x), window=4, batch=3, shuffle=True, seed=4)
    fit(network(tt.GRU, dropout=0.3, metrics=["mae"]), streams, carry=tt.CarryState(streams, checkpoint=path))
    assert f"goes on at epoch 1, window 5 of {windows}, from {path}" in capsys.readouterr().err


def test_a_training_that_was_stopped_in_an_epoch_goes_on_in_it(tmp_path: Path) -> None:
    class Enough(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._model.stop_training = batch == 2

    path = tmp_path / "c.npz"
    x = sequences()
    streams = tt.Streams(x, targets_of(x), window=4, batch=3, shuffle=True, seed=4)
    model = network(tt.GRU, dropout=0.3, metrics=["mae"])
    carry = tt.CarryState(streams, checkpoint=path, verbose=0)
    model.fit(streams, epochs=3, shuffle=False, callbacks=[carry, Enough()], verbose=0)
    resumed, _, made, windows = resumable(path)
    assert made == 3 * windows - 3
    assert_same(resumed, resumable(None)[0])


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    resumable(path, stop=5)
    x = sequences()

    def go_on(cells: Any = (tt.GRU,), window: int = 4, **options: Any) -> None:
        streams = tt.Streams(x, targets_of(x), window=window, batch=3, shuffle=True, seed=4)
        carry = tt.CarryState(streams, checkpoint=path, verbose=0, **options)
        fit(network(*cells, dropout=0.3), streams, carry=carry, initial_epoch=options.get("epoch", 0))

    with pytest.raises(RunError, match="window was 4, now 5"):
        go_on(window=5)
    with pytest.raises(RunError, match="another network"):
        go_on(cells=(tt.LSTM,))
    with pytest.raises(RunError, match="begun without guard="):
        go_on(guard=tt.Guard())
    streams = tt.Streams(x, targets_of(x), window=4, batch=3, shuffle=True, seed=4)
    with pytest.raises(RunError, match="leave initial_epoch out"):
        fit(
            network(tt.GRU, dropout=0.3), streams, carry=tt.CarryState(streams, checkpoint=path, verbose=0),
            initial_epoch=2, epochs=3,
        )  # fmt: skip
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RunError, match="damaged"):
        go_on()


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import keras
import test_carrying as t
from pathlib import Path

path = Path(sys.argv[1])
if sys.argv[2] == "killed":
    t.StopAt.on_train_batch_end = lambda self, batch, logs=None: (
        setattr(self, "made", self.made + 1), self.made == 9 and os.kill(os.getpid(), signal.SIGKILL)
    )
    t.resumable(path)
    sys.exit("was not killed")
resumed, _, made, windows = t.resumable(path)
t.assert_same(resumed, t.resumable(None)[0])
print(made, 3 * windows)
"""


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)))
    environment = os.environ | {"KERAS_BACKEND": keras.backend.backend()}

    def run(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(tmp_path / "c.npz"), how]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert run("killed").returncode == -signal.SIGKILL
    with np.load(tmp_path / "c.npz") as stored:
        about = json.loads(str(stored["about"]))
    assert (about["epoch"], about["window"]) == (1, 2), "it was killed in an epoch, after the file was written"
    resumed = run("resumed")
    assert resumed.returncode == 0, resumed.stderr
    made, all_of_them = (int(number) for number in resumed.stdout.split())
    windows = all_of_them // 3
    assert made == all_of_them - about["epoch"] * windows - about["window"] < all_of_them
