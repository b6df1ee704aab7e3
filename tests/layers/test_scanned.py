"""MinGRU, MinLSTM and LRU: the scan against Keras's own loop around the same cell, and against equations in NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from layer_cases import FLAGS, MASKS, gradients, mask_of, values, with_gradients

import throughtime as tt
from throughtime.errors import ArgumentError
from throughtime.layers.lru import LRUCell
from throughtime.layers.minimal import MinGRUCell, MinLSTMCell, product
from throughtime.layers.paths import why_not_fused

pytestmark = pytest.mark.backend

LAYERS = [tt.MinGRU, tt.MinLSTM, tt.LRU]


class ScannedGRU(tt.MinGRU):
    """As after tt.to_keras."""

    by_scan = True


class ScannedLSTM(tt.MinLSTM):
    by_scan = True


class ScannedLRU(tt.LRU):
    by_scan = True


WAYS = [*LAYERS, ScannedGRU, ScannedLSTM, ScannedLRU]  # on the native kernel where there is one, and by the scan
# Both compute in float32; the scan multiplies factors in another order, log2(T) roundings deep.
CLOSE: dict[str, float] = {"rtol": 1e-4, "atol": 2e-5}


def options(flags: dict[str, bool], kind: Any) -> dict[str, Any]:
    """The settings of a case; an LRU with a state of another size than its outputs."""
    return flags | ({"state_units": 3} if issubclass(kind, tt.LRU) else {})


def filled(layer: keras.Layer, rng: np.random.Generator) -> None:
    """Weights that differ from each other; those of an LRU's lambda stay where |lambda| is below 1."""
    for weight in layer.weights:
        if not weight.path.endswith("_log"):
            weight.assign(0.5 * values(rng, *weight.shape))


def states_of(layer: Any, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
    return [values(rng, batch, size) for size in layer.state_size]


def sequential(layer: Any) -> keras.layers.RNN:
    """Keras's loop around the same cell, so of the same weights."""
    names = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")
    return keras.layers.RNN(layer.cell, dtype=layer.dtype_policy, **{name: getattr(layer, name) for name in names})


def built(kind: Any, rng: np.random.Generator, features: int = 2, **given: Any) -> Any:
    layer = kind(4, **options(given, kind))
    layer.build((None, None, features))
    filled(layer, rng)
    return layer


def called(layer: Any, x: np.ndarray, mask: np.ndarray | None = None, **given: Any) -> list[np.ndarray]:
    found = layer(ops.convert_to_tensor(x), mask=None if mask is None else ops.convert_to_tensor(mask), **given)
    return [ops.convert_to_numpy(one) for one in (found if isinstance(found, list | tuple) else [found])]


# The loop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("masked", [*MASKS, "nothing"])
def test_outputs_states_and_gradients_equal_the_loop(kind: Any, masked: str) -> None:
    # By the scan two of the four for each mask, all with every cell.
    for number in range(4) if kind in LAYERS else (0, 2) if (WAYS.index(kind) + len(masked)) % 2 else (1, 3):
        flags = {name: value for name, value in FLAGS[number].items() if name != "use_bias"}
        rng = np.random.default_rng(number)
        layer = built(kind, rng, return_state=True, **flags)
        assert (why_not_fused(layer) is None) == (kind in LAYERS)
        x = values(rng, 4, 19, 2)
        mask = np.zeros((4, 19), bool) if masked == "nothing" else mask_of(masked, rng, 4, 19)
        states = states_of(layer, rng, 4)
        loop = sequential(layer)
        loop.build(x.shape)
        found, expected = (gradients(one, x, mask, states, np.random.default_rng(9)) for one in (layer, loop))
        for (name, mine), theirs in zip(found.items(), expected.values(), strict=True):
            # Sums over 76 steps; the small ones are what is left of large ones.
            scale = 2e-6 * max(1.0, float(np.abs(theirs).max()))
            np.testing.assert_allclose(mine, theirs, rtol=CLOSE["rtol"], atol=5 * scale, err_msg=f"{name} {flags}")


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (3, 1), (1, 2), (2, 7), (2, 301)])
def test_any_length_equals_the_loop(kind: Any, batch: int, steps: int) -> None:
    rng = np.random.default_rng(steps)
    layer = built(kind, rng, return_state=True, return_sequences=True)
    x, states = values(rng, batch, steps, 2), states_of(layer, rng, batch)
    for mask in (None, rng.random((batch, steps)) < 0.5):
        given = {"initial_state": [ops.convert_to_tensor(one) for one in states]}
        for mine, theirs in zip(
            called(layer, x, mask, **given), called(sequential(layer), x, mask, **given), strict=True
        ):
            # A state that forgets a thousandth a step sums up a thousand inputs, and their roundings.
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * max(1, np.abs(theirs).max() / 10))


@pytest.mark.parametrize("kind", LAYERS)
def test_unrolled_is_the_loop_and_equals_the_scan(kind: Any) -> None:
    rng = np.random.default_rng(2)
    layer, x = built(kind, rng, return_sequences=True, dropout=0.5, seed=3), values(rng, 3, 5, 2)
    config = layer.get_config() | {"unroll": True}
    unrolled = kind.from_config(config)
    unrolled.build(x.shape)
    unrolled.set_weights(layer.get_weights())
    assert layer.why_not_scanned() is None
    assert "unroll=True" in unrolled.why_not_scanned()
    # Dropout draws from a seed, once a call, in both.
    mine, theirs = (called(one, x, training=True)[0] for one in (layer, unrolled))
    np.testing.assert_allclose(mine, theirs, **CLOSE)
    assert np.abs(mine - called(layer, x)[0]).max() > 1e-3


# Equations in NumPy ---------------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_minimal_cells_are_the_equations_of_the_paper() -> None:
    rng = np.random.default_rng(4)
    x = values(rng, 3, 9, 2).astype(np.float64)
    for kind in (tt.MinGRU, tt.MinLSTM, ScannedGRU, ScannedLSTM):
        for activation, function in ((None, lambda v: v), ("tanh", np.tanh), ("g", None)):
            layer = built(kind, rng, return_sequences=True, activation=activation)
            kernel, bias = (np.asarray(one, np.float64) for one in layer.get_weights())
            parts = np.split(x @ kernel + bias, 2 if issubclass(kind, tt.MinGRU) else 3, axis=-1)
            candidate = np.where(parts[-1] >= 0, parts[-1] + 0.5, sigmoid(parts[-1])) if function is None else (
                function(parts[-1])
            )  # fmt: skip
            gates = [sigmoid(one) for one in parts[:-1]]
            takes = gates[0] if issubclass(kind, tt.MinGRU) else gates[1] / sum(gates)
            h, expected = np.zeros((3, 4)), []
            for t in range(9):
                h = (1 - takes[:, t]) * h + takes[:, t] * candidate[:, t]
                expected.append(h)
            np.testing.assert_allclose(called(layer, x.astype(np.float32))[0], np.stack(expected, 1), **CLOSE)


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_an_lru_is_a_complex_recurrence(activation: str | None) -> None:
    rng = np.random.default_rng(5)
    layer = built(tt.LRU, rng, features=3, return_sequences=True, return_state=True, activation=activation,
                  use_bias=True, r_min=0.3)  # fmt: skip
    x, (y0, start) = values(rng, 2, 12, 3), states_of(layer, rng, 2)
    weights = {one.path.split("/")[-1]: ops.convert_to_numpy(one).astype(np.float64) for one in layer.weights}
    turn = np.exp(-np.exp(weights["nu_log"]) + 1j * np.exp(weights["theta_log"]))
    assert (np.abs(turn) >= 0.3 - 1e-5).all() and (np.abs(turn) <= 0.999 + 1e-5).all()
    np.testing.assert_allclose(np.exp(weights["gamma_log"]), np.sqrt(1 - np.abs(turn) ** 2), rtol=1e-4)
    into = weights["kernel"][:, :3] + 1j * weights["kernel"][:, 3:]
    out = weights["output_kernel"][:3] - 1j * weights["output_kernel"][3:]
    h, expected = start[:, :3] + 1j * start[:, 3:], []
    for t in range(12):
        h = turn * h + np.exp(weights["gamma_log"]) * (x[:, t] @ into)
        y = (h @ out).real + x[:, t] @ weights["skip_kernel"] + weights["bias"]
        expected.append(np.tanh(y) if activation else y)
    found = called(layer, x, initial_state=[ops.convert_to_tensor(one) for one in (y0, start)])
    np.testing.assert_allclose(found[0], np.stack(expected, 1), **CLOSE)
    np.testing.assert_allclose(found[1], expected[-1], **CLOSE)
    np.testing.assert_allclose(found[2], np.concatenate([h.real, h.imag], 1), **CLOSE)


@pytest.mark.parametrize("kind", [tt.MinLSTM, ScannedLSTM])
def test_gates_that_underflow_are_still_shares(kind: Any) -> None:
    """f / (f + i) as written is 0 / 0 here."""
    layer = kind(1, return_sequences=True)
    layer.build((None, None, 1))
    layer.set_weights([np.zeros((1, 3), np.float32), np.array([-200.0, -201.0, 1.0], np.float32)])
    found = called(layer, np.ones((1, 40, 1), np.float32))[0].ravel()
    np.testing.assert_allclose(found, 1 - sigmoid(np.array(1.0)) ** np.arange(1, 41), rtol=1e-5)


@pytest.mark.parametrize("kind", [tt.MinGRU, tt.MinLSTM])
def test_chrono_starts_units_that_remember(kind: Any) -> None:
    layer = kind(200, chrono=1000, seed=0)
    layer.build((None, None, 1))
    (a,), _ = layer.cell.coefficients(ops.zeros((1, 1)))
    keep = ops.convert_to_numpy(a)[0].astype(np.float64)
    steps = keep / (1 - keep)
    assert 1 - 1e-3 <= steps.min() < 50 and 950 < steps.max() <= 1001 and 400 < steps.mean() < 600


# Padding --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_what_padding_holds_changes_nothing(kind: Any, junk: float) -> None:
    rng = np.random.default_rng(6)
    layer = built(kind, rng, return_sequences=True, return_state=True)
    x, mask, states = values(rng, 4, 11, 2), mask_of("gaps", rng, 4, 11), states_of(layer, rng, 4)
    assert mask is not None
    dirty = np.where(mask[..., None], x, np.float32(junk))
    clean, same = (gradients(layer, one, mask, states, np.random.default_rng(1)) for one in (x, dirty))
    for name, mine in same.items():
        np.testing.assert_array_equal(mine, clean[name], err_msg=name)


@pytest.mark.parametrize("kind", WAYS)
def test_a_longer_container_and_another_order_change_nothing(kind: Any) -> None:
    rng = np.random.default_rng(7)
    layer, x, mask = built(kind, rng), values(rng, 4, 9, 2), mask_of("right", rng, 4, 9)
    short = called(layer, x, mask)[0]
    longer = called(layer, np.pad(x, ((0, 0), (0, 30), (0, 0))), np.pad(mask, ((0, 0), (0, 30))))[0]
    np.testing.assert_allclose(longer, short, **CLOSE)
    np.testing.assert_allclose(called(layer, x[::-1].copy(), mask[::-1].copy())[0], short[::-1], **CLOSE)


@pytest.mark.parametrize("kind", WAYS)
def test_two_halves_with_a_carried_state_equal_the_whole(kind: Any) -> None:
    rng = np.random.default_rng(8)
    layer, x = built(kind, rng, return_sequences=True, return_state=True), values(rng, 3, 25, 2)
    mask = mask_of("gaps", rng, 3, 25)
    assert mask is not None
    whole, *ends = called(layer, x, mask)
    first, *states = called(layer, x[:, :10], mask[:, :10])
    second, *after = called(
        layer, x[:, 10:], mask[:, 10:], initial_state=[ops.convert_to_tensor(one) for one in states]
    )
    started = np.cumsum(mask[:, 10:], 1) > 0  # before that the second half shows what its backend shows
    np.testing.assert_allclose(first, whole[:, :10], **CLOSE)
    np.testing.assert_allclose(second[started], whole[:, 10:][started], **CLOSE)
    for mine, theirs in zip(after, ends, strict=True):
        np.testing.assert_allclose(mine, theirs, **CLOSE)


# Keras ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAYERS)
def test_stateful_layers_carry_in_every_way_to_run_a_model(kind: Any) -> None:
    rng = np.random.default_rng(9)
    stateful = kind(4, stateful=True, seed=1)
    model = keras.Sequential([keras.Input(batch_shape=(3, 5, 2)), stateful])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    pieces, target = values(rng, 3, 3, 5, 2), values(rng, 3, 4)
    whole = kind(4, seed=1)
    whole.build((3, 5, 2))
    whole.set_weights(stateful.get_weights())
    expected = [called(whole, np.concatenate(list(pieces[: i + 1]), 1))[0] for i in range(3)]
    for piece, one in zip(pieces, expected, strict=True):
        np.testing.assert_allclose(model.predict(piece, batch_size=3, verbose=0), one, **CLOSE)
    for piece, one in zip(pieces, expected, strict=True):  # from zero again: training has a state of its own
        model.reset_metrics()
        loss = float(model.train_on_batch(piece, target))
        np.testing.assert_allclose(loss, ((one - target) ** 2).mean(), rtol=1e-4)
    stateful.reset_state()
    np.testing.assert_allclose(model.predict(pieces[0], batch_size=3, verbose=0), expected[0], **CLOSE)
    assert len(model.get_weights()) == len(whole.get_weights())


@pytest.mark.parametrize("kind", [tt.LRU])  # the others are saved and loaded by the tests of train
def test_a_model_is_trained_saved_and_loaded(kind: Any, tmp_path: Any) -> None:
    rng = np.random.default_rng(10)
    x = values(rng, 16, 12, 2)
    x[:, 8:], y = 0, x[:, 7, :1]
    layers = [
        keras.Input((None, 2)),
        keras.layers.Masking(),
        keras.layers.Bidirectional(kind(4, return_sequences=True, dropout=0.1, seed=2)),
        kind(3, kernel_regularizer=keras.regularizers.L2(1e-4), activation="tanh", seed=3),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.03), "mse")
    losses = model.fit(x, y, epochs=8, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    assert type(again.layers[-2]) is kind and again.layers[-2].get_config() == model.layers[-2].get_config()
    # Another length: on TensorFlow the first call that does not know it.
    np.testing.assert_allclose(again.predict(x[:, :9], verbose=0), model.predict(x, verbose=0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_bidirectional_equals_that_of_the_loop(kind: Any) -> None:
    rng = np.random.default_rng(11)
    x, mask = values(rng, 3, 10, 2), mask_of("right", rng, 3, 10)
    both = keras.layers.Bidirectional(kind(4, return_sequences=True))
    both.build(x.shape)
    forward, backward = (called(sequential(one), x, mask)[0] for one in (both.forward_layer, both.backward_layer))
    np.testing.assert_allclose(called(both, x, mask)[0], np.concatenate([forward, backward[:, ::-1]], -1), **CLOSE)


@pytest.mark.parametrize("kind", WAYS)
def test_half_precision_scans_in_float32(kind: Any) -> None:
    rng = np.random.default_rng(12)
    layer, x = built(kind, rng, return_sequences=True), values(rng, 2, 300, 2)
    half = kind.from_config(layer.get_config() | {"dtype": "mixed_bfloat16"})
    half.build(x.shape)
    half.set_weights(layer.get_weights())
    found = half(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    exact = called(layer, x)[0]
    # bfloat16 has 8 bits: what goes in and comes out is rounded to 2^-9; 300 roundings of a state would be 0.3.
    error = np.abs(ops.convert_to_numpy(ops.cast(found, "float32")) - exact).max() / np.abs(exact).max()
    assert error < 0.03


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless it starts with it")
def test_float64_is_computed_in_float64(kind: Any) -> None:
    keras.utils.set_random_seed(13)
    rng = np.random.default_rng(13)
    layer = kind(4, dtype="float64", return_sequences=True)
    x = rng.normal(size=(2, 50, 2))
    mine, theirs = called(layer, x)[0], called(sequential(layer), x)[0]
    assert mine.dtype == np.float64
    kernel = layer.cell.kernel
    exact = x @ ops.convert_to_numpy(kernel)  # of which both could make float32
    found = ops.convert_to_numpy(product(ops.convert_to_tensor(x), kernel))
    # Sums of two products of about 1, which may cancel: what is left has their rounding and none of its own.
    np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-13)


def test_cells_stand_in_a_stack_and_in_a_config() -> None:
    cells = [MinGRUCell(3), MinLSTMCell(4, activation="g"), LRUCell(2, state_units=5)]
    stacked = keras.layers.RNN(cells[:2])
    assert called(stacked, values(np.random.default_rng(0), 2, 6, 1))[0].shape == (2, 4)
    for cell in cells:
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
        assert type(again) is type(cell) and again.get_config() == cell.get_config()


# The rest of throughtime ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAYS)
def test_the_gradient_flow_is_that_of_the_same_cell_in_keras_loop(kind: Any) -> None:
    rng = np.random.default_rng(14)
    layer = built(kind, rng)
    x, y = values(rng, 3, 12, 2), values(rng, 3, 1)
    x[0, 5:] = 0
    models = []
    for one in (layer, keras.layers.RNN(layer.cell, name="loop")):
        models.append(keras.Sequential([keras.Input((None, 2)), keras.layers.Masking(), one, keras.layers.Dense(1)]))
        models[-1].compile(loss="mse")
    models[1].set_weights(models[0].get_weights())
    mine, theirs = (next(iter(tt.gradient_flow(model, x, y).values())) for model in models)
    # By the kernel itself, or by a probe in Keras's loop around either: then the same to the bit.
    np.testing.assert_allclose(mine.norms, theirs.norms, rtol=1e-5 if kind in LAYERS else 0)
    assert mine.native == (kind in LAYERS)
    assert not mine.norms[0, 5:].any() and mine.norms[0, :5].all()
    # And that by which the scan itself takes it: what is added to b_t is added to h_t.
    head = ops.convert_to_numpy(models[0].layers[-1].kernel)[:, 0]
    answer = ops.convert_to_numpy(models[0](x))[:, 0]
    at_end = 2 / 3 * (answer - y[:, 0])[:, None] * head  # dL/dy
    if issubclass(kind, tt.LRU):
        real, imaginary = (ops.convert_to_numpy(one) for one in layer.cell.factor())
        by_state = at_end @ ops.convert_to_numpy(layer.cell.output_kernel).T
        by_state = by_state[:, :3] + 1j * by_state[:, 3:]
        factor = np.broadcast_to(real - 1j * imaginary, (3, 12, 3))
    else:
        (a,), _ = layer.cell.coefficients(ops.convert_to_tensor(x))
        by_state, factor = at_end, ops.convert_to_numpy(a)
    for row in (1, 2):
        d, expected = by_state[row], []
        for t in reversed(range(12)):
            expected.append(np.linalg.norm(d))
            d = d * factor[row, t]
        np.testing.assert_allclose(mine.norms[row], expected[::-1], rtol=1e-4)


def test_the_monitor_sees_what_runs_on_the_kernel() -> None:
    rng = np.random.default_rng(16)
    model = keras.Sequential([keras.Input((9, 2)), tt.MinGRU(4, return_sequences=True), tt.LRU(3, name="last")])
    model.compile("sgd", "mse")
    monitor = tt.GradientMonitor()
    model.fit(values(rng, 8, 9, 2), values(rng, 8, 3), batch_size=4, verbose=0, callbacks=[monitor])
    assert not monitor.unseen
    last = monitor.history["last"]
    assert last.native and last.norms.shape == (2, 9) and (last.norms > 0).all()


def test_to_keras_gives_the_scan_with_its_second_derivatives() -> None:
    rng = np.random.default_rng(17)
    model = keras.Sequential([
        keras.Input((6, 2)), tt.MinGRU(3, return_sequences=True, activation="g"),
        tt.LRU(3, return_sequences=True), tt.MinLSTM(2),
    ])  # fmt: skip
    for layer in model.layers:
        filled(layer, rng)
    x = values(rng, 3, 6, 2)

    def loss(x: Any) -> Any:
        return ops.sum(model(x) ** 2)

    (native,) = with_gradients(loss, [x])
    with pytest.raises(Exception, match=r"tt\.to_keras\(model\)"):
        with_gradients(loss, [x], order=2)
    assert tt.to_keras(model) is model
    assert {row.path for row in tt.explain(model)} == {"parallel scan"}
    assert "tt.accelerate(model)" in tt.explain(model)[0].reason
    (scanned,), (second,) = with_gradients(loss, [x]), with_gradients(loss, [x], order=2)
    np.testing.assert_allclose(native, scanned, **CLOSE)
    for layer in model.layers:
        layer.unroll = True
    (expected,) = with_gradients(loss, [x], order=2)
    np.testing.assert_allclose(second, expected, rtol=1e-4, atol=1e-4)
    for layer in model.layers:
        layer.unroll = False
    tt.accelerate(model)
    assert {row.path for row in tt.explain(model)} == {"native kernel"}
    np.testing.assert_array_equal(with_gradients(loss, [x])[0], native)


@pytest.mark.parametrize("base", LAYERS)
def test_a_subclass_with_a_recurrence_of_its_own_keeps_it(base: Any) -> None:
    class Twice(base):
        def scanned(self, x: Any, states: list[Any], mask: Any) -> tuple[Any, list[Any]]:
            h, after = super().scanned(x, states, mask)
            return 2 * h, after

    class OwnCell(MinGRUCell):
        def coefficients(self, x: Any) -> Any:
            (a,), (b,) = super().coefficients(x)
            return (a,), (2 * b,)

    class Doubled(tt.MinGRU):
        cell_class = OwnCell

    x = values(np.random.default_rng(18), 2, 5, 3)
    twice, once = Twice(4), base(4)
    if base is tt.MinLSTM:
        twice, once = Doubled(4), tt.MinGRU(4)  # of a linear recurrence twice as large, from a state of zero
    for layer in (twice, once):
        layer.build(x.shape)
        filled(layer, np.random.default_rng(19))
    once.set_weights(twice.get_weights())
    (row,) = tt.explain(twice)
    assert row.path == "parallel scan" and "a recurrence of its own" in row.reason
    model = keras.Sequential([keras.Input((5, 3)), twice])
    model.compile(loss="mse")
    flow = next(iter(tt.gradient_flow(model, x, np.zeros((2, 4), np.float32)).values()))
    assert not flow.native and flow.norms.all()
    np.testing.assert_allclose(called(twice, x)[0], 2 * called(once, x)[0], **CLOSE)


def test_explain_says_what_is_a_scan_and_accelerate_leaves_it_alone() -> None:
    model = keras.Sequential([
        keras.Input((8, 2)), tt.LRU(3, return_sequences=True), tt.MinGRU(4, unroll=True, return_sequences=True),
        tt.MinLSTM(4, return_sequences=True), tt.MinGRU(2, activation="relu"),
    ])  # fmt: skip
    classes = [type(layer) for layer in model.layers]
    tt.accelerate(model)
    lru, loop, native, relu = tt.explain(model)
    assert (lru.cell, lru.units, lru.path, lru.reason) == ("LRU", 3, "native kernel", "")
    assert (loop.path, loop.reason[:11]) == ("Keras's loop", "unroll=True")
    assert (native.path, native.reason) == ("native kernel", "")
    assert relu.path == "parallel scan" and "activation='relu'; the kernel has None, 'tanh' and 'g'" in relu.reason
    assert [type(layer) for layer in model.layers] == classes

    class Mine(tt.MinLSTM):
        """What a user makes of it."""

    class Looped(tt.MinLSTM):
        def inner_loop(self, *given: Any, **named: Any) -> Any:
            return super().inner_loop(*given, **named)

    (mine,), (looped,) = (tt.explain(keras.Sequential([keras.Input((8, 2)), kind(3)])) for kind in (Mine, Looped))
    assert mine.path == "native kernel"
    assert looped.path == "Keras's loop" and "subclass of MinLSTM" in looped.reason


@pytest.mark.parametrize("kind", LAYERS)
def test_each_says_what_it_cannot_do(kind: Any) -> None:
    assert kind.__name__ in kind.limits and "parity" in kind.limits


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (tt.MinGRU, {"units": 0}, "units=0 is given; a whole number of at least 1"),
        (tt.MinLSTM, {"units": 2.5}, "units=2.5 is given"),
        (tt.MinGRU, {"units": 4, "chrono": 1}, "chrono=1 is given; a whole number of at least 2"),
        (tt.MinGRU, {"units": 4, "chrono": 9, "use_bias": False}, "leave one of them out"),
        (tt.MinLSTM, {"units": 4, "dropout": 1.0}, "dropout=1.0 is given; a share from 0"),
        (tt.LRU, {"units": 4, "r_min": 0.9, "r_max": 0.5}, "0 <= r_min < r_max < 1"),
        (tt.LRU, {"units": 4, "r_max": 1.0, "max_phase": 7.0}, "r_max=1.0 .* max_phase=7.0"),
        (tt.LRU, {"units": 4, "state_units": -1}, "state_units=-1 is given"),
    ],
)
def test_arguments_are_refused_at_the_door(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kind(**given)


@pytest.mark.parametrize("cell", [tt.SimpleRNN, tt.GRU, tt.LSTM, tt.MinGRU, tt.MinLSTM, tt.LRU])
def test_no_step_at_all_and_states_of_other_shapes_are_refused(cell: Any) -> None:
    with pytest.raises(tt.ThroughtimeError, match=r"was given shape \(2, 0, 3\), no time step"):
        cell(4)(np.zeros((2, 0, 3), "float32"))
    count = {tt.LSTM: 2, tt.LRU: 2}.get(cell, 1)
    for given in ([np.zeros((2, 5), "float32")] * count, [np.zeros((2, 4), "float32")] * (count + 1)):
        with pytest.raises(tt.ThroughtimeError, match=r"\('B', 4\).* are accepted"):
            cell(4)(np.zeros((2, 5, 3), "float32"), initial_state=given)
