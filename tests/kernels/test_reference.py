"""The NumPy kernels against plain loops, finite differences of those, and stock Keras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrences import FLAGS, KERAS_CELLS, MASKS, Recurrence, assert_close, masked, recurrence

from oracles import plain_backward, plain_forward, stock_forward
from strategies import masks
from throughtime.errors import ArgumentError
from throughtime.kernels import reference
from throughtime.kernels.problem import CELLS


def check(case: Recurrence) -> None:
    """In float64, forward and backward, with NaN in the padding of what the NumPy kernels see."""
    expected = plain_forward(case.problem, case.inputs) | plain_backward(case.problem, case.inputs, case.cotangents)
    if case.inputs["mask"] is not None:
        case = case.with_inputs(x=np.where(case.inputs["mask"][..., None], case.inputs["x"], np.nan))
    # Central differences of a loss of about 10 are good to 1e-8.
    assert_close(case.results(reference), expected, 1e-7)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_mask(cell: str, mask: str) -> None:
    check(masked(cell, mask, batch=4, steps=4, features=2, units=3, dtype=np.float64))


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_flag(cell: str, flags: str) -> None:
    check(masked(cell, "gaps", batch=3, steps=5, features=2, units=3, dtype=np.float64, **FLAGS[flags]))


@pytest.mark.parametrize(("bias", "states"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("cell", CELLS)
def test_without_bias_or_states(cell: str, bias: bool, states: bool) -> None:
    case = masked(cell, "post", batch=3, steps=3, features=2, units=2, dtype=np.float64, bias=bias, states=states)
    expected = plain_forward(case.problem, case.inputs) | plain_backward(case.problem, case.inputs, case.cotangents)
    found = case.results(reference)
    if not states:  # the gradient of zeros that were not given is there all the same
        assert "dh0" in found and "dh0" not in expected
        found = {name: array for name, array in found.items() if name not in ("dh0", "dc0")}
    assert_close(found, expected, 1e-7)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (1, 1), (1, 4), (3, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_edges_of_the_batch(cell: str, shape: tuple[int, int]) -> None:
    batch, steps = shape
    for flags in FLAGS.values():
        check(recurrence(cell, None, batch=batch, steps=steps, features=1, units=2, dtype=np.float64, **flags))


@settings(max_examples=25)
@given(
    mask=masks(), cell=st.sampled_from(CELLS), features=st.integers(1, 3), units=st.integers(1, 3),
    flags=st.fixed_dictionaries(dict.fromkeys(("reverse", "zero_masked", "leading_initial"), st.booleans())),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_mask(mask: np.ndarray, cell: str, features: int, units: int, flags: dict[str, bool], seed: int) -> None:
    mask = mask[:3, :4].copy()
    check(recurrence(cell, mask, features=features, units=units, dtype=np.float64, seed=seed, **flags))


@pytest.mark.parametrize("cell", CELLS)
def test_cotangents_that_are_not_given_are_zero(cell: str) -> None:
    case = masked(cell, "gaps", dtype=np.float64)
    for name, one in case.cotangents.items():
        alone = dict.fromkeys(case.cotangents) | {name: one}
        zeros = {other: None if array is None else np.zeros_like(array) for other, array in case.cotangents.items()}
        found = reference.backward(case.problem, **case.inputs, **alone, norms=True)._asdict()
        expected = reference.backward(case.problem, **case.inputs, **(zeros | {name: one}), norms=True)._asdict()
        for gradient in found:
            np.testing.assert_array_equal(found[gradient], expected[gradient])


@pytest.mark.parametrize("cell", CELLS)
def test_float32_is_kept(cell: str) -> None:
    case = masked(cell, "gaps")
    found = case.results(reference)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    # Sums of few terms: a few units of the last place, 6e-8.
    assert_close(found, case.astype(np.float64).results(reference), 5e-6)


def test_what_is_not_wanted_is_none() -> None:
    case = masked("gru", "gaps", bias=False)
    assert case.forward(reference, sequences=False).y is None
    gradients = reference.backward(case.problem, **case.inputs, **case.cotangents, need_dx=False)
    assert gradients.dx is None and gradients.norms is None and gradients.dc0 is None
    assert gradients.dbias is None and gradients.drecurrent_bias is None


def test_a_gate_far_below_zero_keeps_its_digits() -> None:
    a = np.array([-800.0, -30.0, 0.0, 30.0, 800.0])
    np.testing.assert_allclose(
        reference.sigmoid(a), [0.0, 9.357622968839299e-14, 0.5, 1 - 9.357622968839299e-14, 1.0], rtol=1e-14
    )


def test_arrays_of_two_dtypes_are_refused() -> None:
    case = masked("lstm", "no mask")
    with pytest.raises(ArgumentError, match=r"kernel: float64 \(3, 16\) is given, float32 \(3, 16\) accepted"):
        case.with_inputs(kernel=case.inputs["kernel"].astype(np.float64)).forward(reference)


@pytest.mark.backend
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    "flags", [{}, {"reverse": True}, {"zero_masked": True}, {"reverse": True, "zero_masked": True}]
)
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_stock_keras_gives_the_same(cell: str, flags: dict[str, bool], mask: str) -> None:
    import keras

    case = masked(cell, mask, bias=mask != "gaps", leading_initial=keras.backend.backend() == "jax", **flags)
    # Both in float32: sums of few terms, each step within a few units of the last place, 6e-8.
    expected = stock_forward(case.problem, case.inputs)
    found = {name: array for name, array in case.forward(reference)._asdict().items() if name in expected}
    assert_close(found, expected, 5e-6)
