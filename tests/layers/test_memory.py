"""``memory=``: a layer holds no more between forward and backward pass, and the gradients are the same to the bit."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from layer_cases import CELLS, MASKS, filled, gradients, mask_of, values

import throughtime as tt
from throughtime.kernels import native
from throughtime.layers.scanned import SCANNED
from throughtime.layers.swapping import set_memory

pytestmark = pytest.mark.backend
STEPS = 700  # of five sequences, or fewer for each core: some chunks of 256 steps of sequences


@pytest.mark.parametrize("masked", MASKS)
@pytest.mark.parametrize("make", [*CELLS, *SCANNED], ids=[*CELLS.ids, "mingru", "minlstm", "lru"])
def test_gradients_are_the_same_to_the_bit(make: type, masked: str) -> None:
    rng = np.random.default_rng(0)
    sequences = masked in ("gaps", "left")
    layer = make(7, return_sequences=sequences, go_backwards=masked == "right", return_state=True)
    x, mask = values(rng, 5, STEPS, 2), mask_of(masked, rng, 5, STEPS)
    layer.build(x.shape)
    filled(layer, rng)
    layer.set_weights([0.2 * weight for weight in layer.get_weights()])  # relu stays finite
    states = [values(rng, 5, size) for size in keras.tree.flatten(layer.state_size)]
    found = []
    for memory in (None, "300KiB"):
        if memory is not None:
            set_memory(layer, memory)
        found.append(gradients(layer, x, mask, states, np.random.default_rng(1)))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert np.array_equal(value, found[1][name]), name


def model_of(memory: str | None) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((None, 3)), keras.layers.Masking(), keras.layers.LSTM(8, return_sequences=True),
        keras.layers.Bidirectional(keras.layers.GRU(4)), keras.layers.Dense(1),
    ])  # fmt: skip
    model.compile("adam", "mse")
    return tt.accelerate(model, memory=memory)


def test_a_model_trains_to_the_same_weights_within_a_budget() -> None:
    rng = np.random.default_rng(0)
    x, y = values(rng, 6, 1200, 3), values(rng, 6, 1)
    x[0, 700:] = x[1, 30:] = 0
    models = [model_of(None), model_of("900KiB")]
    for model in models:
        model.fit(x, y, batch_size=3, epochs=2, verbose=0, shuffle=False)
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        assert np.array_equal(one, other)


def test_the_budget_of_a_model_is_divided_by_what_layers_hold() -> None:
    lstm, *grus = (
        layer.memory for layer in dict.fromkeys(model_of("1MB")._flatten_layers()) if hasattr(layer, "memory")
    )
    assert len(grus) == 2 and grus[0] == grus[1]
    # With 8 units, 384 bytes a step; with 4 units 320, twice.
    assert lstm == 10**6 * 384 // 1024 and grus[0] == 10**6 * 320 // 1024


def test_too_small_a_budget_is_refused_where_the_layer_is_called() -> None:
    layer = tt.LSTM(16, memory=2000)
    x = keras.ops.convert_to_tensor(np.zeros((2, 3000, 1), np.float32))
    layer.build(x.shape)
    # TensorFlow may raise it as an error of its own.
    with pytest.raises(Exception, match="is too small for 2 sequences of 3,000 steps and 16 units"):
        gradients(layer, np.zeros((2, 3000, 1), np.float32), None, [np.zeros((2, 16), np.float32)] * 2,
                  np.random.default_rng(0))  # fmt: skip


@pytest.mark.parametrize("memory", ["much", 0, -5])
def test_what_is_no_number_of_bytes_is_refused(memory: object) -> None:
    with pytest.raises(tt.ThroughtimeError, match="256MiB"):
        tt.GRU(4, memory=memory)
    with pytest.raises(tt.ThroughtimeError, match="256MiB"):
        tt.accelerate(keras.layers.GRU(4), memory=memory)  # type: ignore[arg-type]


def test_a_model_that_could_not_keep_to_it_is_refused() -> None:
    for layer in (tt.MinGRU(4, activation="relu"), keras.layers.GRU(4, recurrent_dropout=0.5)):
        with pytest.raises(tt.ThroughtimeError, match="no layer of the model runs on the native kernel"):
            tt.accelerate(keras.Sequential([keras.Input((None, 1)), layer]), memory="1MiB")


def test_it_is_no_part_of_a_saved_file(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None, 1)), tt.GRU(4, memory="1MiB")])
    assert model.layers[0].memory == 2**20 and "memory" not in model.layers[0].get_config()
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").layers[0].memory is None


def test_explain_says_what_is_held_and_computed_again() -> None:
    model = model_of("900KiB")
    rows = tt.explain(model, batch_size=32, steps=1000)
    held, cost = "336KiB of 12MiB, within 338KiB", "each step 1.4 times, about 1.5 times the time"
    assert rows[0].memory == f"{held}; computed again: {cost}"
    assert "held for the backward pass" in str(rows)
    tt.to_keras(model)
    assert not tt.explain(model, batch_size=32, steps=1000)[0].memory
    assert tt.explain(model_of(None), batch_size=2, steps=1000)[0].memory == "750KiB: all of it"
    with pytest.raises(tt.ThroughtimeError, match="steps="):
        tt.explain(model, batch_size=32)
    for wrong in ({"batch_size": "4"}, {"batch_size": 0}, {"batch_size": 1, "steps": 2.5}):
        with pytest.raises(tt.ThroughtimeError, match="whole number of at least 1"):
            tt.explain(model, **{"steps": 10} | wrong)


def test_explain_says_about_what_a_scan_holds() -> None:
    kinds = tt.MinGRU(4, return_sequences=True), tt.LRU(4, state_units=128)
    model = keras.Sequential([keras.Input((None, 3)), *kinds])
    # On the kernel z, n and the state before each step, of units in panels of 16.
    assert tt.explain(model, batch_size=2, steps=1024)[0].memory == "384KiB: all of it"
    sequences = keras.Sequential([keras.Input((None, 3)), tt.LRU(4, state_units=16, return_sequences=True)])
    assert tt.explain(sequences, batch_size=2, steps=1024)[0].memory == "512KiB: all of it; and 256KiB of states"
    tt.to_keras(model)
    minimal, linear = tt.explain(model, batch_size=2, steps=1024)
    values, of_lru = {"jax": (10, 16), "torch": (16, 24), "tensorflow": (11, 13)}[keras.backend.backend()]
    assert minimal.memory == f"about {32 * values}KiB: all steps, {values} values a step and unit"
    assert linear.memory == f"about {of_lru}MiB: all steps, {of_lru} values a step and unit"
    assert tt.explain(model)[0].memory == ""
    half = tt.to_keras(keras.Sequential([keras.Input((None, 3)), tt.MinGRU(8, dtype="float16")]))
    assert tt.explain(half, batch_size=2, steps=1024)[0].memory.startswith(f"about {32 * values}KiB")


def test_without_a_budget_what_does_not_fit_comfortably_is_computed_again() -> None:
    before = native.keep_at_most(400_000)
    try:
        layer = tt.LSTM(8)
        rng = np.random.default_rng(0)
        x, states = values(rng, 2, 3000, 1), [values(rng, 2, 8), values(rng, 2, 8)]
        layer.build(x.shape)
        found = gradients(layer, x, None, states, np.random.default_rng(1))
        held = tt.explain(keras.Sequential([keras.Input((3000, 1)), layer]), batch_size=2)[0].memory
        native.keep_at_most(before)
        whole = gradients(layer, x, None, states, np.random.default_rng(1))
    finally:
        native.keep_at_most(before)
    assert held.endswith("computed again: 83% of the steps, about 1.3 times the time")
    for name, value in whole.items():
        assert np.array_equal(value, found[name]), name
