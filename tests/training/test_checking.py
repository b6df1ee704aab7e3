"""``check_saved``: what a table becomes for a saved model, and what comes out of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from cases import sequences, with_categories
from keras import layers
from series import TASKS, rising_or_falling, signs, sums, waves

from throughtime.data.sequences import SequenceData
from throughtime.diagnosis.check import check
from throughtime.diagnosis.findings import Diagnosis
from throughtime.errors import ArgumentError, DataError
from throughtime.training.checking import check_saved
from throughtime.training.train import train

pytestmark = pytest.mark.backend


def saved(path: Path, *stack: Any, loss: Any, optimizer: Any = "adam") -> Path:
    keras.utils.set_random_seed(2)
    model = keras.Sequential(stack)
    model.compile(optimizer, loss)
    model.save(path)
    return path


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``check`` was called with last."""
    seen: dict[str, Any] = {}

    def seeing(model: keras.Model, x: Any, y: Any, **options: Any) -> Diagnosis:
        seen.update(x=x, y=y, **options)
        return check(model, x, y, **options)

    monkeypatch.setattr("throughtime.training.checking.check", seeing)
    return seen


keras.utils.set_random_seed(2)  # layers draw the seeds of their initialisers where they are made
MASKED = (keras.Input((None, 2)), layers.Masking(-5.0), layers.LSTM(6))
CLASSES = "sparse_categorical_crossentropy"


def test_sequences_of_different_lengths_are_padded_with_the_mask_value(tmp_path: Path, passed) -> None:
    file = saved(tmp_path / "m.keras", *MASKED, layers.Dense(2, activation="softmax"), loss=CLASSES)
    data = rising_or_falling(100)
    diagnosis = check_saved(file, data, train=False)
    assert not diagnosis.findings
    assert len(passed["x"]) == 80
    assert len(passed["validation_data"][0]) == 20
    longest = int(data.inputs.lengths.max())
    assert passed["x"].shape[1:] == passed["validation_data"][0].shape[1:] == (longest, 2)
    lengths = (passed["x"] != -5).any(axis=2).sum(axis=1)
    part, _ = data.split(validation=0.2, test=0)
    np.testing.assert_array_equal(lengths, part.inputs.lengths)
    assert passed["task"] == "classify"


def test_padding_that_no_mask_covers_is_found(tmp_path: Path) -> None:
    stack = (keras.Input((None, 2)), layers.LSTM(6), layers.Dense(2, activation="softmax"))
    diagnosis = check_saved(saved(tmp_path / "m.keras", *stack, loss=CLASSES), rising_or_falling(100), train=False)
    assert [one.code for one in diagnosis] == ["unmasked-padding"]


@pytest.mark.parametrize(
    ("units", "activation", "loss", "shape"),
    [
        (2, "softmax", "categorical_crossentropy", (80, 2)),
        (2, "softmax", keras.losses.CategoricalFocalCrossentropy(), (80, 2)),
        (1, "sigmoid", "binary_crossentropy", (80,)),
    ],
)
def test_classes_come_as_the_loss_takes_them(
    units: int, activation: str, loss: Any, shape: tuple[int, ...], tmp_path: Path, passed
) -> None:
    file = saved(tmp_path / "m.keras", *MASKED, layers.Dense(units, activation=activation), loss=loss)
    assert not check_saved(file, rising_or_falling(100), train=False).errors
    assert passed["y"].shape == shape


def test_exclusive_classes_under_independent_sigmoids_are_found(tmp_path: Path) -> None:
    stack = (keras.Input((None, 3)), layers.Masking(), layers.LSTM(6), layers.Dense(3, activation="sigmoid"))
    file = saved(tmp_path / "m.keras", *stack, loss="binary_crossentropy")
    data = sequences("classify", tuple(np.random.default_rng(0).integers(3, 9, 90)))
    found = [one.code for one in check_saved(file, data, scale="standard", train=False)]
    assert found == ["sigmoid-for-exclusive-classes"]


def test_a_horizon_may_be_answered_flat(tmp_path: Path, passed) -> None:
    stack = (keras.Input((24, 1)), layers.LSTM(6))
    flat = saved(tmp_path / "flat.keras", *stack, layers.Dense(4), loss="mse")
    check_saved(flat, waves(), scale="standard", train=False)
    y = passed["y"]
    assert y.shape == (len(passed["x"]), 4)
    deep = saved(tmp_path / "deep.keras", *stack, layers.Dense(4), layers.Reshape((4, 1)), loss="mse")
    check_saved(deep, waves(), scale="standard", train=False)
    np.testing.assert_array_equal(passed["y"][..., 0], y)
    assert passed["task"] == "forecast"


def test_a_regression_learns_in_the_short_training(tmp_path: Path) -> None:
    stack = (keras.Input((None, 1)), layers.Masking(), layers.GRU(12), layers.Dense(1))
    file = saved(tmp_path / "m.keras", *stack, loss="mse", optimizer=keras.optimizers.Adam(0.01))
    diagnosis = check_saved(file, sums(120), scale="standard", batch_size=16)
    assert not diagnosis.findings, str(diagnosis)
    assert "training steps of 16 sequences" in " ".join(diagnosis.looked_at)


def test_tokens_go_into_an_embedding(tmp_path: Path, passed) -> None:
    data = with_categories(rising_or_falling(100))
    words = replace(
        data, numbers=data.numbers[:, :0], categories=data.categories[:, 1:], levels=data.levels[1:],
        schema=replace(data.schema, numbers=(), categories=("day",)),
    )  # fmt: skip
    stack = (layers.Embedding(7, 4, mask_zero=True), layers.LSTM(6), layers.Dense(2, activation="softmax"))
    file = saved(tmp_path / "m.keras", keras.Input((None,)), *stack, loss=CLASSES)
    assert not check_saved(file, words, train=False).findings
    assert passed["x"].ndim == 2
    np.testing.assert_array_equal((passed["x"] > 0).sum(axis=1), data.split(validation=0.2, test=0)[0].lengths)


def test_a_label_a_step_weighs_nothing_in_the_padding(tmp_path: Path, passed) -> None:
    stack = (keras.Input((None, 1)), layers.Masking(-9.0), layers.LSTM(6, return_sequences=True))
    file = saved(tmp_path / "m.keras", *stack, layers.Dense(2, activation="softmax"), loss=CLASSES)
    check_saved(file, signs(100), train=False)
    np.testing.assert_array_equal(passed["fit"]["sample_weight"], (passed["x"] != -9).all(axis=2))


@pytest.mark.parametrize("task", list(TASKS))
def test_a_run_directory_has_its_own_scalers_and_classes(task: str, tmp_path: Path, passed) -> None:
    data: SequenceData = TASKS[task]()
    run = train(data, units=4, epochs=1, buckets=1, progress=False, out=tmp_path / "run")
    diagnosis = check_saved(tmp_path / "run", data, train=False)
    assert not diagnosis.errors, str(diagnosis)
    np.testing.assert_array_equal(passed["x"]["numbers"][0, 0], run.preparation.apply(data).numbers[0])
    assert passed["validation_data"] is None


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.keras", *MASKED, layers.Dense(2, activation="softmax"), loss=CLASSES)
    with pytest.raises(ArgumentError, match="takes 2 features a step, and the data has 1"):
        check_saved(good, sums())
    short = (keras.Input((4, 2)), layers.LSTM(6), layers.Dense(2, activation="softmax"))
    with pytest.raises(ArgumentError, match="takes 4 steps, and the longest sequence has 14"):
        check_saved(saved(tmp_path / "short.keras", *short, loss=CLASSES), rising_or_falling())
    window = saved(tmp_path / "window.keras", keras.Input((12, 1)), layers.LSTM(6), layers.Dense(4), loss="mse")
    with pytest.raises(ArgumentError, match="takes 12 steps, and the window has 24; say --window 12"):
        check_saved(window, waves())
    with pytest.raises(DataError, match="no target"):
        check_saved(good, replace(rising_or_falling(), target=None))
