"""How far a check, a repair or a comparison of cuts is: shown on a terminal, and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Callable

import keras
import numpy as np
import pytest

import throughtime as tt


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def asked() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.GRU(3), keras.layers.Dense(1, activation="softmax")])
    model.compile("adam", "binary_crossentropy")
    x = np.random.default_rng(0).normal(size=(32, 8, 2))
    return model, x, (x[:, :, 0].mean(1) > 0).astype("float32")


def repaired(progress: bool) -> None:
    model, x, y = asked()
    tt.repair(model, tt.check(model, x, y, train=False, progress=False), x, y, steps=2, progress=progress)


def cut(progress: bool) -> None:
    tt.horizon_report(*asked(), windows=[4], steps=2, seeds=2, progress=progress)


CALLS: dict[str, Callable[[bool], object]] = {
    "check": lambda progress: tt.check(*asked(), train=False, progress=progress),
    "repair": repaired,
    "horizon_report": cut,
}


@pytest.mark.parametrize("name", list(CALLS))
def test_progress_is_shown_on_a_terminal_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stream, progress, shown in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        monkeypatch.setattr("sys.stderr", stream)
        CALLS[name](progress)
        said = stream.getvalue()
        assert (name in said) == shown, (progress, said)
        assert bool(said) == shown
        if shown:
            assert "100%" in said
            assert said.endswith("\x1b[2K")  # gone at the end
