"""Whether an answer that lies among the inputs is told from one that is meant to be rebuilt of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import throughtime as tt

pytestmark = pytest.mark.backend
RNG = np.random.default_rng(5)
COUNT, STEPS = 96, 20
LENGTH = 2 * STEPS  # of which the later half is what comes next
TIME = np.arange(LENGTH)

SERIES: dict[str, np.ndarray] = {
    "walk": np.cumsum(RNG.normal(size=(COUNT, LENGTH)), axis=1) * 0.3,
    "slow sine": np.sin(TIME * 0.1 + RNG.uniform(0, 6.28, (COUNT, 1))) + 0.02 * RNG.normal(size=(COUNT, LENGTH)),
    "very slow sine": np.sin(TIME * 0.02 + RNG.uniform(0, 6.28, (COUNT, 1))),
    "levels": RNG.normal(size=(COUNT, 1)) + 0.01 * RNG.normal(size=(COUNT, LENGTH)),
    "noise": RNG.normal(size=(COUNT, LENGTH)),
}


def float32(values: np.ndarray) -> np.ndarray:
    return values[..., None].astype("float32")


def autoencoder(width: int = 1) -> keras.Model:
    stack = [layers.LSTM(6), layers.RepeatVector(STEPS), layers.LSTM(6, return_sequences=True), layers.Dense(width)]
    return compiled(keras.Sequential([keras.Input((STEPS, 1)), *stack]))


def both_ways() -> keras.Model:
    stack = [layers.Bidirectional(layers.GRU(5, return_sequences=True)), layers.Dense(1)]
    return compiled(keras.Sequential([keras.Input((STEPS, 1)), *stack]))


def translator(decoder_both_ways: bool = False) -> keras.Model:
    """Encodes one input, and answers along the other, which holds the answer a step late."""
    source, before = keras.Input((STEPS, 1), name="source"), keras.Input((STEPS, 1), name="before")
    _, state = layers.GRU(5, return_state=True)(source)
    if decoder_both_ways:
        h = layers.Bidirectional(layers.GRU(5, return_sequences=True))(before)
        h = layers.Concatenate()([h, layers.RepeatVector(STEPS)(state)])
    else:
        h = layers.GRU(5, return_sequences=True)(before, initial_state=state)
    return compiled(keras.Model([source, before], layers.Dense(1)(h)))


def compiled(model: keras.Model) -> keras.Model:
    model.compile("adam", "mse")
    return model


def shifted(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(values[:, :1]), values[:, :-1]], axis=1)


Task = tuple[Callable[[], keras.Model], Any, np.ndarray]


def rebuilt(series: np.ndarray) -> dict[str, Task]:
    """Tasks whose answer is meant to be among the inputs."""
    x = series[:, :STEPS]
    noisy = x + 0.1 * x.std() * RNG.normal(size=x.shape)
    dropped = x * (RNG.random(x.shape) > 0.3)
    return {
        "autoencoder": (autoencoder, float32(x), float32(x)),
        "both ways": (both_ways, float32(x), float32(x)),
        "denoised": (both_ways, float32(noisy), float32(x)),
        "filled": (both_ways, float32(dropped), float32(x)),
        "backwards": (autoencoder, float32(x), float32(x[:, ::-1])),
        "scaled": (both_ways, float32(x), float32(3 * x + 1)),
        "forecast by a decoder": (translator, [float32(x), float32(series[:, STEPS - 1 : -1])],
                                  float32(series[:, STEPS:])),
        "copied": (translator, [float32(x), float32(shifted(x))], float32(x)),
    }  # fmt: skip


CASES = [(kind, task) for kind in SERIES for task in rebuilt(SERIES["noise"])]


def codes(task: Task) -> list[str]:
    make, x, y = task
    keras.utils.set_random_seed(3)
    return [one.code for one in tt.check(make(), x, y, train=False)]


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: "-".join(case))
def test_what_is_rebuilt_is_no_leak(case: tuple[str, str]) -> None:
    assert "noncausal-forecast" not in codes(rebuilt(SERIES[case[0]])[case[1]])


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case))
def test_whatever_is_rebuilt_is_no_leak(case: tuple[str, str]) -> None:
    assert "noncausal-forecast" not in codes(rebuilt(SERIES[case[0]])[case[1]])


@pytest.mark.parametrize("kind", SERIES)
def test_a_forecast_that_reads_on_is_a_leak_on_every_series(kind: str) -> None:
    series = SERIES[kind]
    assert "noncausal-forecast" in codes((both_ways, float32(series[:, :STEPS]), float32(series[:, 1 : STEPS + 1])))


def test_a_decoder_that_reads_its_answer_is_a_leak() -> None:
    series = SERIES["slow sine"]
    given = [float32(series[:, :STEPS]), float32(series[:, STEPS - 1 : -1])]
    assert "noncausal-forecast" in codes((lambda: translator(True), given, float32(series[:, STEPS:])))
