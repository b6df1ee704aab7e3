"""The scan against a loop in NumPy's float64, forwards and backwards, real and complex."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from layer_cases import with_gradients

from throughtime.layers import scan as scans
from throughtime.layers.scan import RADIX, scan

pytestmark = pytest.mark.backend

# float64 on both sides, products of at most 600 factors below 1.
CLOSE: dict[str, float] = {"rtol": 1e-10, "atol": 1e-12}


def problem(rng: np.random.Generator, parts: int, steps: int, shape_a: tuple[int, int, int]) -> list[np.ndarray]:
    """a (shape_a), b (B, T, H) and h0 (B, H), complex where there are two parts."""
    a, b, h0 = (rng.normal(size=shape) for shape in (shape_a, (3, steps, 2), (3, 2)))
    if parts == 2:
        a, b, h0 = (one + 1j * rng.normal(size=one.shape) for one in (a, b, h0))
    return [a / (1 + np.abs(a)), b, h0]


def plain(a: np.ndarray, b: np.ndarray, h0: np.ndarray) -> np.ndarray:
    a, h, found = np.broadcast_to(a, b.shape), h0, []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        found.append(h)
    return np.stack(found, 1)


def plain_gradients(a: np.ndarray, b: np.ndarray, h0: np.ndarray, dh: np.ndarray) -> list[np.ndarray]:
    """Of the real part of sum(conj(dh) h): one recurrence backwards, in the loop that defines it."""
    h = plain(a, b, h0)
    whole, da, db, carried = np.broadcast_to(a, b.shape), np.zeros_like(b), np.zeros_like(b), np.zeros_like(h0)
    for t in reversed(range(b.shape[1])):
        db[:, t] = carried = carried + dh[:, t]
        da[:, t] = carried * np.conj(h[:, t - 1] if t else h0)
        carried = carried * np.conj(whole[:, t])
    for axis in (0, 1):
        da = da.sum(axis, keepdims=True) if a.shape[axis] < da.shape[axis] else da
    return [da, db, carried]


def split(x: np.ndarray) -> list[np.ndarray]:
    return [x.real.copy(), x.imag.copy()] if np.iscomplexobj(x) else [x]


def joined(parts: list[Any]) -> np.ndarray:
    arrays = [ops.convert_to_numpy(one) for one in parts]
    return arrays[0] + 1j * arrays[1] if len(arrays) == 2 else arrays[0]


@pytest.fixture(autouse=True)
def _double() -> Any:
    """JAX makes float32 of float64 unless it is told otherwise."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("steps", "shared"),
    [(1, "nothing"), (2, "nothing"), (RADIX, "nothing"), (RADIX + 1, "nothing"), (600, "nothing"), (5, "rows"),
     (67, "rows and steps"), (3, "steps"), (67, "steps")],
)  # fmt: skip
def test_states_and_gradients_are_those_of_the_loop(parts: int, steps: int, shared: str) -> None:
    rng = np.random.default_rng(steps + parts)
    shape = (1 if "rows" in shared else 3, 1 if "steps" in shared else steps, 2)
    a, b, h0 = problem(rng, parts, steps, shape)
    given = [part for one in (a, b, h0) for part in split(one)]
    tensors = [ops.convert_to_tensor(one) for one in given]
    found = scan(tuple(tensors[:parts]), tuple(tensors[parts : 2 * parts]), tuple(tensors[2 * parts :]))
    assert all(keras.backend.standardize_dtype(one.dtype) == "float64" for one in found)
    np.testing.assert_allclose(joined(list(found)), plain(a, b, h0), **CLOSE)
    dh = rng.normal(size=b.shape) + (1j * rng.normal(size=b.shape) if parts == 2 else 0)

    def loss(*leaves: Any) -> Any:
        h = scan(leaves[:parts], leaves[parts : 2 * parts], leaves[2 * parts :])
        return sum(ops.sum(one * ops.convert_to_tensor(weight)) for one, weight in zip(h, split(dh), strict=True))

    gradients = with_gradients(loss, given)
    for place, expected in enumerate(plain_gradients(a, b, h0, dh)):
        mine = joined(gradients[place * parts : (place + 1) * parts])
        np.testing.assert_allclose(mine, expected, **CLOSE, err_msg="abh"[place])


@pytest.mark.parametrize("parts", [1, 2])
def test_the_gradient_of_the_gradient_is_that_of_the_loop(parts: int) -> None:
    rng = np.random.default_rng(3)
    given = [part for one in problem(rng, parts, 11, (3, 11, 2)) for part in split(one)]
    weights = [rng.normal(size=(3, 11, 2)) for _ in range(parts)]

    def total(h: Any) -> Any:
        # Squares, so that the gradient itself depends on the states.
        return sum(ops.sum(one**2 * ops.convert_to_tensor(weight)) for one, weight in zip(h, weights, strict=True))

    def by_scan(*leaves: Any) -> Any:
        return total(scan(leaves[:parts], leaves[parts : 2 * parts], leaves[2 * parts :]))

    def by_loop(*leaves: Any) -> Any:
        a, b, h = leaves[:parts], leaves[parts : 2 * parts], leaves[2 * parts :]
        found = []
        for t in range(11):
            h = scans._plus(scans._times(tuple(one[:, t] for one in a), h), tuple(one[:, t] for one in b))
            found.append(h)
        return total([ops.stack(one, 1) for one in zip(*found, strict=True)])

    for mine, theirs in zip(with_gradients(by_scan, given, 2), with_gradients(by_loop, given, 2), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow traces without the number of steps"
)
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("same_at_all_steps", [False, True])
def test_a_number_of_steps_that_is_not_known(jit: bool, same_at_all_steps: bool) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec((None, None, 2), "float64")
    factor = tf.TensorSpec((1, 1, 2), "float64") if same_at_all_steps else spec

    @tf.function(jit_compile=jit, input_signature=[factor, spec, tf.TensorSpec((None, 2), "float64")])
    def traced(a: Any, b: Any, h0: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([a, b, h0])
            (h,) = scan((a,), (b,), (h0,))
            total = tf.reduce_sum(h * h)
        return h, tape.gradient(total, [a, b, h0])

    for steps in (1, RADIX, 70, 600):
        a, b, h0 = problem(np.random.default_rng(steps), 1, steps, (1, 1, 2) if same_at_all_steps else (3, steps, 2))
        h, gradients = traced(a, b, h0)
        expected = plain(a, b, h0)
        np.testing.assert_allclose(h, expected, **CLOSE)
        for mine, theirs in zip(gradients, plain_gradients(a, b, h0, 2 * expected), strict=True):
            np.testing.assert_allclose(mine, theirs, **CLOSE)
