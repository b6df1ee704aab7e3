"""The state on disk: everything comes back to the last bit, and a damaged or foreign checkpoint is refused."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from series import rising_or_falling

from throughtime.data.transforms import Preparation
from throughtime.errors import RunError
from throughtime.files import finite, write_aside, write_json
from throughtime.training.checkpoint import Progress, data_fingerprint, model_state, restore_state


def compiled(units: int = 3, seed: int = 0) -> keras.Model:
    initial = keras.initializers.GlorotUniform(seed)
    model = keras.Sequential(
        [
            keras.layers.Input((None, 2)),
            keras.layers.GRU(units, kernel_initializer=initial),
            keras.layers.Dropout(0.5, seed=seed),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.backend
def test_the_state_of_training_moves_from_one_model_to_another() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 5, 2)), rng.normal(size=(32, 1))
    first, other = compiled(seed=1), compiled(seed=2)
    first.fit(x, y, epochs=2, verbose=0, shuffle=False)
    restore_state(other, model_state(first), "here")
    for model in (first, other):
        model.fit(x, y, epochs=2, verbose=0, shuffle=False)  # dropout and Adam go on alike
    for a, b in zip(model_state(first).values(), model_state(other).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(RunError, match="written for another network"):
        restore_state(compiled(units=4), model_state(first), "here")


@pytest.mark.backend
def test_the_state_is_a_copy() -> None:
    model = compiled()
    state = model_state(model)
    before = {key: value.copy() for key, value in state.items()}
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(8, 4, 2)), rng.normal(size=(8, 1)), epochs=1, verbose=0)
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)


def some_progress() -> Progress:
    rng = np.random.default_rng(0)
    return Progress(
        history=[{"loss": 0.1 + 0.2, "val_loss": 1e-300}, {"loss": 1 / 3, "val_loss": 2.0}],
        best_epoch=1,
        best_loss=1e-300,
        best_weights=[rng.normal(size=(3, 2)).astype(np.float32), np.float32([0.1])],
        guard={"norms": [0.1, 1 / 3], "steps": 2, "events": []},
        state={"0000:a": rng.integers(0, 9, 4).astype(np.uint32), "0001:b": rng.normal(size=(2, 2))},
    )


def test_progress_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path, made = tmp_path / "checkpoint.npz", some_progress()
    made.write(path, fingerprint={"units": 8, "data": "ab"})
    read = Progress.read(path, fingerprint={"units": 8, "data": "ab"})
    assert read.history == made.history
    assert read.guard == made.guard
    assert (read.best_epoch, read.best_loss) == (1, 1e-300)
    for a, b in zip(read.best_weights, made.best_weights, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    assert {key: value.tobytes() for key, value in read.state.items()} == {
        key: value.tobytes() for key, value in made.state.items()
    }
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_another_fingerprint_is_refused_and_each_difference_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    some_progress().write(path, fingerprint={"units": 8, "seed": 0, "data": "ab"})
    with pytest.raises(RunError, match=r"units was 8, now 16; data was 'ab', now 'cd'"):
        Progress.read(path, fingerprint={"units": 16, "seed": 0, "data": "cd"})


@pytest.mark.parametrize("left", [0, 10, 400])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, left: int) -> None:
    path = tmp_path / "checkpoint.npz"
    some_progress().write(path, fingerprint={})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(RunError, match="damaged"):
        Progress.read(path, fingerprint={})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})

    def fail(file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aside(path, fail)
    assert path.read_text() == '{\n "a": 1\n}'
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
    with pytest.raises(RunError, match="cannot be written"):
        write_json(tmp_path / "missing" / "file.json", {})


def test_json_has_no_word_for_nan() -> None:
    value = {"a": [np.float32(1.5), float("nan"), (np.int64(3), -np.inf)], "b": {"c": np.bool_(True)}}
    assert finite(value) == {"a": [1.5, None, [3, None]], "b": {"c": True}}


def test_the_fingerprint_sees_every_change() -> None:
    data = rising_or_falling(6)
    preparation = Preparation.fit(data)
    examples = preparation.apply(data)
    seen = {data_fingerprint(examples), data_fingerprint(examples.take(np.arange(5)))}
    for name in ("numbers", "lengths", "targets"):
        array = getattr(examples, name).copy()
        array.flat[1] += 1
        seen.add(data_fingerprint(type(examples)(**{**vars(examples), name: array})))
    assert len(seen) == 5
    assert data_fingerprint(examples) == data_fingerprint(preparation.apply(rising_or_falling(6)))
