"""GradientMonitor on the first batch that fit shows it: its flow there, and a training that is the same bit for bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.gradients import monitor, peeking

pytestmark = pytest.mark.backend

STEPS, BATCH, ROWS = 5, 4, 18  # the last batch is a smaller one
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(ROWS, STEPS, 2)).astype("float32"), RNG.integers(0, 2, (ROWS, 1)).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2, ROWS).astype("float32")
PARTS = [slice(at, at + BATCH) for at in range(0, ROWS, BATCH)]
SEVERAL = 1 if keras.backend.backend() == "torch" else 3  # Keras on PyTorch makes one step at a time


class Counted(keras.Sequential):
    """How often its step is traced, or made where it is not compiled."""

    traced = 0

    def train_step(self, *given: Any) -> Any:
        self.traced += 1
        return super().train_step(*given)


def network(room: Any = keras.layers, kind: Any = Counted, single: bool = False, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.GRU(3, dropout=0.3, name="second")]
    if not single:
        layers.insert(0, room.LSTM(3, return_sequences=True, dropout=0.3, name="first"))
    model = kind([keras.Input((None, 2)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse", **options)
    return model


class Parts(keras.utils.PyDataset):
    def __len__(self) -> int:
        return len(PARTS)

    def __getitem__(self, place: int) -> Any:
        return X[PARTS[place]], Y[PARTS[place]], WEIGHTS[PARTS[place]]


class Endless:
    """A generator without an end that counts its batches."""

    given = 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            part = PARTS[self.given % 4]
            self.given += 1
            yield X[part], Y[part]


def _loader() -> Any:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(*(torch.tensor(one) for one in (X, Y)))
    return torch.utils.data.DataLoader(data, batch_size=BATCH)


def _stream() -> Any:
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y, WEIGHTS)).batch(BATCH)


ARRAYS = {"x": X, "y": Y, "batch_size": BATCH, "shuffle": False}
FIRST = X[:BATCH], Y[:BATCH]
WEIGHTED = {"sample_weight": WEIGHTS[:BATCH]}
CLASSES = {0: 0.25, 1: 3.0}
# What fit is given, and what the first batch has beside x and y.
SOURCES: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "arrays": (lambda: ARRAYS, {}),
    "classes": (
        lambda: {**ARRAYS, "class_weight": CLASSES},
        {"sample_weight": np.where(Y[:BATCH, 0] > 0, *[np.float32(CLASSES[one]) for one in (1, 0)])},
    ),
    "PyDataset": (lambda: {"x": Parts(), "shuffle": False}, WEIGHTED),
    "generator": (lambda: {"x": iter(Endless()), "steps_per_epoch": 4, "shuffle": False}, {}),
    "tf.data": (lambda: {"x": _stream(), "shuffle": False}, WEIGHTED),
    "DataLoader": (lambda: {"x": _loader(), "shuffle": False}, {}),
}


def state(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(one)) for one in (*model.variables, *model.optimizer.variables)]


def weights_of(model: keras.Model) -> list[np.ndarray]:
    """Copies: on PyTorch Keras gives the weights themselves."""
    return [np.array(one) for one in model.get_weights()]


def same(one: keras.Model, other: keras.Model) -> None:
    for mine, its in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("source", SOURCES)
def test_the_first_batch_is_the_probe_and_training_the_same(source: str) -> None:
    given, beside = SOURCES[source]
    options = {"steps_per_execution": SEVERAL} if source in ("arrays", "tf.data") else {}
    plain, watched = network(single=True, **options), network(single=True, **options)
    start = weights_of(watched)
    seen = tt.GradientMonitor(every=1)
    losses = []
    for model, callbacks in ((plain, []), (watched, [seen])):
        keras.utils.set_random_seed(7)
        losses.append(model.fit(**given(), epochs=2, callbacks=callbacks, verbose=0).history["loss"])
    assert losses[0] == losses[1] and plain.traced == watched.traced
    same(plain, watched)
    found = seen.history["second"]
    assert not seen.unseen and not found.native and found.steps[0] == 1 and len(found.steps) >= 4
    watched.set_weights(start)
    flow = tt.gradient_flow(watched, *FIRST, **beside)["second"]
    np.testing.assert_allclose(found.norms[0], flow.from_end, rtol=1e-4)


def test_another_training_has_a_first_batch_of_its_own() -> None:
    model, seen = network(single=True), tt.GradientMonitor(every=1)
    model.fit(X[BATCH:], Y[BATCH:], batch_size=ROWS, callbacks=[seen], verbose=0)
    start = weights_of(model)
    model.fit(*FIRST, batch_size=BATCH, callbacks=[seen], verbose=0)
    model.set_weights(start)
    found, flow = seen.history["second"], tt.gradient_flow(model, *FIRST)["second"]
    assert found.steps.tolist() == [1, 2]
    np.testing.assert_allclose(found.norms[1], flow.from_end, rtol=1e-4)


def test_no_batch_of_a_generator_is_taken_twice() -> None:
    sources = [Endless(), Endless()]
    for source, callbacks in zip(sources, ([], [tt.GradientMonitor(every=1)]), strict=True):
        network(single=True).fit(iter(source), steps_per_epoch=3, shuffle=False, callbacks=callbacks, verbose=0)
    if keras.backend.backend() != "tensorflow":  # whose data sets read ahead, in a thread
        assert sources[0].given == sources[1].given


def test_the_probe_stays_what_it_was_where_its_arrays_are_used_again() -> None:
    batch = [keras.ops.convert_to_tensor(X[:BATCH]), {"one": Y[:BATCH].copy(), "none": None}]
    x, y, weight = peeking.rows_of(batch, 3)
    batch[1]["one"][:] = 7
    np.testing.assert_array_equal(x, X[:3])
    np.testing.assert_array_equal(y["one"], Y[:3])
    assert y["none"] is None and weight is None


@pytest.mark.parametrize(
    ("room", "options"),
    [(tt, {"run_eagerly": True}), (keras.layers, {"steps_per_execution": SEVERAL})],
    ids=["ours eagerly", "stock several"],
)
def test_guard_and_other_monitors_beside_it(room: Any, options: dict[str, Any]) -> None:
    """Of which each has a look at the same batch, before and within what the others put around the step."""
    models, guards, monitors = [], [], [tt.GradientMonitor(every=1), tt.GradientMonitor(every=2, sequences=2)]
    for others in ([], monitors[:1], monitors):
        model, guard = network(room, **options), tt.Guard()
        if room is tt:
            others = others[:1]  # a layer has one tap
        keras.utils.set_random_seed(5)
        model.fit(X, Y, batch_size=BATCH, epochs=2, callbacks=[*others[:1], guard, *others[1:]], verbose=0)
        models.append(model)
        guards.append(guard)
    for model, guard in zip(models[1:], guards[1:], strict=True):
        same(models[0], model)
        np.testing.assert_array_equal(guard.norms, guards[0].norms)
    assert [one.native for one in monitors[0].history.values()] == [room is tt, False]
    assert room is tt or len(monitors[1].history["first"].steps) >= 2


def test_a_layer_found_in_the_second_step_leaves_training_as_it_was() -> None:
    """On JAX ``fit`` has the newest values in its hands then, and the variables none."""
    models, seen = [], tt.GradientMonitor(every=1)
    for callbacks in ([], [seen]):
        model = network(tt)
        model.layers[0].trainable = False
        model.compile("adam", "mse")
        model.fit(X, Y, batch_size=BATCH, epochs=2, callbacks=callbacks, verbose=0)
        models.append(model)
    same(*models)
    read = keras.backend.backend() == "tensorflow"  # whose tape takes frozen weights along
    assert seen.history["first"].native == read and seen.history["first"].steps[0] == (1 if read else 2)


def test_carried_states_take_the_whole_batch() -> None:
    stateful = {} if keras.backend.backend() == "torch" else {"stateful": True}  # Keras's own cannot train on PyTorch
    models, seen = [], tt.GradientMonitor(every=1, sequences=2)
    for callbacks in ([], [seen]):
        keras.utils.set_random_seed(5)
        layers = [keras.layers.LSTM(3, name="lstm", **stateful), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input(batch_shape=(BATCH, STEPS, 2)), *layers])
        model.compile("adam", "mse")
        model.fit(X[:16], Y[:16], batch_size=BATCH, shuffle=False, callbacks=callbacks, verbose=0)
        models.append(model)
    same(*models)
    assert seen.history["lstm"].steps.tolist() == [1, 2, 3, 4]


def test_the_batch_is_given_back_when_training_ends(monkeypatch: Any) -> None:
    made = []

    class Probe(monitor.Probe):
        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr(monitor, "Probe", Probe)
    model, seen = network(single=True), tt.GradientMonitor()
    model.fit(X, Y, batch_size=BATCH, callbacks=[seen], verbose=0)
    gc.collect()
    assert [one() for one in made] == [None] and seen.history["second"].steps.tolist()[:1] == [1]


class Own(Counted):
    """The loss is not the compiled one."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *others: Any, **more: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(y - y_pred))


def test_a_loss_of_the_users_own_is_that_of_the_probe() -> None:
    model, seen = network(kind=Own, single=True), tt.GradientMonitor()
    start = weights_of(model)
    model.fit(X, Y, batch_size=BATCH, shuffle=False, callbacks=[seen], verbose=0)
    model.set_weights(start)
    flow = tt.gradient_flow(model, *FIRST)["second"].from_end
    np.testing.assert_allclose(seen.history["second"].norms[0], flow, rtol=1e-4)


@pytest.mark.parametrize("room", [tt, keras.layers], ids=["ours", "stock"])
def test_a_batch_that_is_no_probe_is_said(room: Any, monkeypatch: Any) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise ArgumentError("it is of another kind.")

    model, plain = network(room), network(room)
    monkeypatch.setattr(monitor, "Probe", refuse)
    start, seen = weights_of(model), tt.GradientMonitor()
    if room is keras.layers:
        said = (
            r"sees no layer of this model: first: the first batch of fit is no probe for it: it is of another kind\. "
        )
        with pytest.raises(ArgumentError, match=said + r".*GradientMonitor\(probe=\(x, y\)\)"):
            model.fit(X, Y, batch_size=BATCH, callbacks=[seen], verbose=0)
        for one, before in zip(weights_of(model), start, strict=True):
            np.testing.assert_array_equal(one, before)
        model.fit(X, Y, batch_size=BATCH, verbose=0)
        return
    said = r"does not see second: .* it is of another kind\. GradientMonitor\(probe=\(x, y\)\) sees it"
    keras.utils.set_random_seed(5)
    with pytest.warns(UserWarning, match=said):
        model.fit(X, Y, batch_size=BATCH, callbacks=[seen], verbose=0)
    keras.utils.set_random_seed(5)
    plain.fit(X, Y, batch_size=BATCH, verbose=0)
    assert [*seen.unseen] == ["second"] and [*seen.history] == ["first"]
    same(model, plain)


def test_what_data_raise_is_theirs_to_say() -> None:
    def broken() -> Iterator[Any]:
        for part in PARTS[:2]:
            yield X[part], Y[part]
        raise OSError("the disk is gone")

    model = network(single=True, steps_per_execution=SEVERAL)
    with pytest.raises(Exception, match="the disk is gone"):
        model.fit(broken(), steps_per_epoch=6, shuffle=False, callbacks=[tt.GradientMonitor()], verbose=0)


def test_a_layer_that_is_found_too_late_is_said() -> None:
    model = network(tt)
    model.layers[0].trainable = False
    model.layers[1].trainable = False
    model.compile("adam", "mse")
    if keras.backend.backend() == "tensorflow":  # whose tape takes frozen weights along
        model.fit(X, Y, batch_size=ROWS, callbacks=[tt.GradientMonitor()], verbose=0)
        return
    with pytest.warns(UserWarning, match="does not see first: training ended before the first step that would"):
        model.fit(X, Y, batch_size=ROWS, callbacks=[tt.GradientMonitor()], verbose=0)


@pytest.mark.parametrize("batch", [None, (1, 2, 3, 4), ("text", Y)])
def test_a_batch_of_another_kind_is_refused(batch: Any) -> None:
    with pytest.raises(ArgumentError, match=r"spread over devices|\(x, y, sample_weight\) is accepted"):
        peeking.rows_of(batch, 3)
