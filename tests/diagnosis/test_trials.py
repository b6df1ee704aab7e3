"""What a course of losses says: whether something was learned, and whether it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from throughtime.diagnosis.trials import Trial


def trial(start: float, *looks: float) -> Trial:
    """A training that was looked at after each ten steps."""
    curve = {10 * (place + 1): {"held": loss} for place, loss in enumerate(looks)}
    return Trial(0.001, losses=[0.0] * 10 * len(looks), before={"held": start}, curve=curve, after={"held": looks[-1]})


def test_a_loss_that_goes_up_and_down_does_not_fall() -> None:
    # As measured: a SimpleRNN on the adding problem, where the best constant has 0.1612.
    noise = trial(2.0532, 0.1601, 0.1734, 0.1910, 0.1572, 0.1862, 0.1555)
    assert not noise.falls("held") and noise.least("held") > 0.1612
    assert trial(2.0, 0.9, 0.7, 0.6, 0.5, 0.45, 0.4).falls("held")
    assert not trial(2.0, 0.9, 0.7, 0.6, 0.62, 0.64, 0.66).falls("held")  # it fell, and no longer does
    assert not trial(2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5).falls("held")


def test_the_least_loss_is_one_that_lasts_for_two_looks() -> None:
    assert trial(2.0, 0.9, 0.1, 0.9, 0.5, 0.3, 0.5).least("held") == pytest.approx(0.4)
    assert trial(0.2, 0.9, 0.9).least("held") == 0.2  # the start counts by itself
    assert trial(2.0, 0.7).least("held") == 0.7
    assert trial(np.nan, np.nan, np.nan).least("held") == np.inf


def test_one_look_or_an_end_in_nan_is_no_fall() -> None:
    assert not trial(2.0, 0.1).falls("held")
    stopped = trial(2.0, 0.9, 0.7, 0.6, 0.5, 0.45, 0.4)
    stopped.stopped = 60
    assert not stopped.falls("held")
