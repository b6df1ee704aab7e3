"""The op of JAX against NumPy in float64 and against stock Keras, under the transformations of JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr
from ops import (
    DIFFERENTIABLE,
    EDGES,
    FLAGS,
    TOLERANCE,
    arguments,
    check_tap,
    cotangents_of,
    expected,
    kept_bytes,
    settings_of,
    without_sequences,
)  # fmt: skip
from recurrences import KERAS_CELLS, MASKS, Recurrence, assert_close, assert_same_bits, masked, recurrence

from oracles import stock_layer
from throughtime.errors import DerivativeError
from throughtime.kernels import jax as op
from throughtime.kernels import native
from throughtime.kernels.problem import CELLS

pytestmark = pytest.mark.backend


def split(case: Recurrence, **changes: Any) -> tuple[dict[str, Any], Any]:
    """The arguments that have a gradient, and the mask."""
    given = arguments(case, **changes)
    tensors = {name: jnp.asarray(given[name]) for name in DIFFERENTIABLE if given[name] is not None}
    return tensors, None if given["mask"] is None else jnp.asarray(given["mask"])


def call(mask: Any, tensors: dict[str, Any], **settings: Any) -> dict[str, Any]:
    outputs = op.recurrent(mask=mask, **dict.fromkeys(DIFFERENTIABLE) | tensors, **settings)
    return {name: one for name, one in outputs._asdict().items() if one is not None}


def results(case: Recurrence, *, sequences: bool = True, jit: bool = True, **changes: Any) -> dict[str, np.ndarray]:
    tensors, mask = split(case, **changes)
    cotangents = cotangents_of(case, sequences=sequences)

    def both(tensors: dict[str, Any], mask: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        outputs, back = jax.vjp(lambda moved: call(mask, moved, **settings_of(case, sequences=sequences)), tensors)
        return outputs, back({name: jnp.asarray(cotangents[name]) for name in outputs})[0]

    outputs, gradients = (jax.jit(both) if jit else both)(tensors, mask)
    named = outputs | {f"d{name}": one for name, one in gradients.items()}
    return {name: np.asarray(one) for name, one in named.items()}


def check(case: Recurrence, **options: Any) -> None:
    case = case.with_problem(leading_initial=True)
    assert_close(results(case, **options), expected(case), TOLERANCE)
    # Without y the loss is another one, and so are its gradients.
    found = results(case, sequences=False, **options)
    assert_close(found, without_sequences(expected(case, cotangents_of(case, sequences=False))), TOLERANCE)


def loss(case: Recurrence, tensors: dict[str, Any], mask: Any, **settings: Any) -> Any:
    outputs = call(mask, tensors, **settings_of(case, **settings))
    return sum((outputs[name] * jnp.asarray(one)).sum() for name, one in cotangents_of(case).items())


# The numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_mask(cell: str, mask: str) -> None:
    check(masked(cell, mask))


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_flag(cell: str, flags: str) -> None:
    check(masked(cell, "gaps", batch=6, steps=9, features=2, units=17, bias=flags != "reverse", **FLAGS[flags]))


@pytest.mark.parametrize("shape", EDGES)
@pytest.mark.parametrize("cell", CELLS)
def test_edges_of_the_batch(cell: str, shape: tuple[int, int]) -> None:
    check(recurrence(cell, None, batch=shape[0], steps=shape[1]))
    check(recurrence(cell, np.zeros(shape, bool)))


@pytest.mark.parametrize("name", ["last", "y", "hn", "cn"])
def test_each_output_by_itself(name: str) -> None:
    case = masked("lstm", "gaps", leading_initial=True)
    tensors, mask = split(case)
    weights = cotangents_of(case)[name]
    gradients = jax.grad(lambda moved: (call(mask, moved, **settings_of(case))[name] * weights).sum())(tensors)
    found = {f"d{name}": np.asarray(one) for name, one in gradients.items()}
    exact = expected(case, {name: weights})
    assert_close(found, {name: exact[name] for name in found}, TOLERANCE)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_stock_keras_gives_the_same(cell: str, flags: str, mask: str) -> None:
    case = masked(cell, mask, **FLAGS[flags])
    for sequences in (True, False):
        layer = stock_layer(case.problem, case.inputs, return_sequences=sequences)
        states = [jnp.asarray(case.inputs[name]) for name in ("h0", "c0") if case.inputs[name] is not None]

        def stock(x: Any, states: Any, weights: Any, layer: Any = layer, sequences: bool = sequences) -> dict[str, Any]:
            (output, *final), _ = layer.stateless_call(
                weights, layer.non_trainable_variables, x, initial_state=states, mask=case.inputs["mask"]
            )
            found = {"y": output, "last": output[:, -1]} if sequences else {"last": output}
            return found | dict(zip(("hn", "cn"), final, strict=False))

        weights = [variable.value for variable in layer.trainable_variables]
        outputs, back = jax.vjp(stock, jnp.asarray(case.inputs["x"]), states, weights)
        dx, dstates, dweights = back(
            {name: jnp.asarray(one) for name, one in cotangents_of(case, sequences=sequences).items()}
        )
        names = (*("dx", "dh0", "dc0")[: 1 + len(states)], "dkernel", "drecurrent_kernel", "dbias")
        exact = outputs | dict(zip(names, (dx, *dstates, *dweights), strict=True))
        found = results(case, sequences=sequences)
        assert_close(found, {name: np.asarray(one) for name, one in exact.items()}, TOLERANCE)


# JAX's transformations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_jit_changes_nothing(cell: str) -> None:
    case = masked(cell, "gaps")
    assert_same_bits(results(case, jit=False), results(case))


def test_inference_gives_the_same_and_keeps_nothing() -> None:
    case = masked("gru", "gaps")
    tensors, mask = split(case)
    before = kept_bytes()
    outputs = call(mask, tensors, **settings_of(case, training=False))
    found = {name: np.asarray(one) for name, one in outputs.items()}
    assert_same_bits(found, {name: one for name, one in results(case).items() if name in found})
    assert kept_bytes() == before


def test_what_is_kept_is_used_up_and_computed_anew() -> None:
    case = masked("lstm", "post")
    tensors, mask = split(case)
    before = kept_bytes()
    outputs, back = jax.vjp(lambda moved: call(mask, moved, **settings_of(case)), tensors)
    jax.block_until_ready(outputs)
    assert kept_bytes() > before
    cotangents = {name: jnp.asarray(one) for name, one in cotangents_of(case).items()}
    once, twice = ({name: np.asarray(one) for name, one in back(cotangents)[0].items()} for _ in range(2))
    assert kept_bytes() == before
    assert_same_bits(once, twice)


def equations(jaxpr: Any, target: str) -> list[Any]:
    """The calls of an FFI target, also those in the jaxprs of other equations."""
    found = []
    for equation in jaxpr.eqns:
        if equation.params.get("target_name") == target:
            found.append(equation)
        for inner in equation.params.values():
            if isinstance(inner, ClosedJaxpr):
                found += equations(inner.jaxpr, target)
    return found


@pytest.mark.parametrize("wrapped", [lambda function: function, jax.jit])
def test_only_what_is_asked_for_is_computed(wrapped: Any) -> None:
    case = masked("lstm", "gaps")
    tensors, mask = split(case)
    of_last = wrapped(lambda moved: call(mask, tensors | moved, **settings_of(case))["last"].sum())
    jaxpr = jax.make_jaxpr(jax.grad(of_last))({"kernel": tensors["kernel"]}).jaxpr
    assert len(equations(jaxpr, "throughtime_forward")) == 1 and equations(jaxpr, "throughtime_infer") == []
    (backward,) = equations(jaxpr, "throughtime_backward")
    sizes = [one.aval.size for one in backward.outvars]
    assert [size > 0 for size in sizes] == [False, False, False, True, False, False]  # dkernel
    cotangents = [one.aval.size for one in backward.invars[-4:]]
    assert [size > 0 for size in cotangents] == [True, False, False, False]  # dlast
    assert len(equations(jax.make_jaxpr(of_last)({}).jaxpr, "throughtime_infer")) == 1


def test_checkpoint() -> None:
    case = masked("gru", "gaps")
    tensors, mask = split(case)
    plain = jax.jit(jax.grad(lambda moved: loss(case, moved, mask)))(tensors)
    again = jax.jit(jax.grad(jax.checkpoint(lambda moved: loss(case, moved, mask))))(tensors)
    assert_same_bits(*({name: np.asarray(one) for name, one in each.items()} for each in (plain, again)))


def test_vmap() -> None:
    cases = [masked("lstm", "gaps", seed=seed) for seed in range(3)]
    several = [split(case) for case in cases]
    tensors = {name: jnp.stack([tensors[name] for tensors, _ in several]) for name in several[0][0]}
    mask = jnp.stack([mask for _, mask in several])
    kernel = tensors.pop("kernel")[0]  # one for all

    def gradient(tensors: dict[str, Any], mask: Any, kernel: Any) -> dict[str, Any]:
        return jax.grad(lambda moved: loss(cases[0], moved, mask))(tensors | {"kernel": kernel})

    found = jax.vmap(gradient, in_axes=(0, 0, None))(tensors, mask, kernel)
    for place in range(3):
        alone = gradient({name: one[place] for name, one in tensors.items()}, mask[place], kernel)
        assert_same_bits(*({name: np.asarray(one) for name, one in each.items()}
                           for each in (alone, {name: one[place] for name, one in found.items()})))  # fmt: skip


def test_jacrev() -> None:
    case = masked("gru", "gaps", batch=2, steps=3, leading_initial=True)
    tensors, mask = split(case)
    found = jax.jacrev(lambda moved: call(mask, moved, **settings_of(case, sequences=False))["last"])(tensors)
    for place in np.ndindex(2, 4):
        weights = np.zeros((2, 4), np.float32)
        weights[place] = 1.0
        exact = expected(case, {"last": weights})
        assert_close({f"d{name}": np.asarray(one)[place] for name, one in found.items()},
                     {f"d{name}": exact[f"d{name}"] for name in found}, TOLERANCE)  # fmt: skip


def test_scan_over_pieces_of_a_sequence_is_the_whole() -> None:
    case = masked("lstm", "gaps", steps=8)
    tensors, mask = split(case)

    def pieces(moved: dict[str, Any]) -> Any:
        x, h0, c0 = (moved.pop(name) for name in ("x", "h0", "c0"))
        cut = lambda array: jnp.moveaxis(array.reshape(5, 4, 2, *array.shape[2:]), 1, 0)  # noqa: E731

        def step(states: Any, piece: Any) -> Any:
            outputs = call(piece[1], moved | {"x": piece[0], "h0": states[0], "c0": states[1]}, **settings_of(case))
            return (outputs["hn"], outputs["cn"]), None

        return jax.lax.scan(step, (h0, c0), (cut(x), cut(mask)))[0]

    def whole(moved: dict[str, Any]) -> Any:
        outputs = call(mask, moved, **settings_of(case))
        return outputs["hn"], outputs["cn"]

    weights = [jnp.asarray(case.cotangents[name]) for name in ("dhn", "dcn")]
    found, exact = (
        jax.jit(jax.grad(lambda moved, function=function: sum(
            (one * weight).sum() for one, weight in zip(function(dict(moved)), weights, strict=True))))(tensors)
        for function in (pieces, whole)
    )  # fmt: skip
    assert_close({name: np.asarray(one) for name, one in found.items()},
                 {name: np.asarray(one) for name, one in exact.items()}, TOLERANCE)  # fmt: skip


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_derivatives_that_there_are_not_name_the_way_out(cell: str) -> None:
    case = masked(cell, "gaps")
    tensors, mask = split(case)

    def of_x(x: Any) -> Any:
        return loss(case, tensors | {"x": x}, mask)

    x = tensors["x"]
    for refused in (
        lambda: jax.jvp(of_x, (x,), (x,)),
        lambda: jax.jacfwd(of_x)(x),
        lambda: jax.hessian(of_x)(x),
        lambda: jax.jit(jax.grad(lambda x: jax.grad(of_x)(x).sum()))(x),
    ):
        with pytest.raises(DerivativeError, match=r"tt\.to_keras\(model\)"):
            refused()


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("kernel", np.zeros((3, 8), np.float32), r"'kernel' is of XLA's type 11 and shape \(3, 8\); type 11 and shape "
         r"\(3, 16\) are accepted"),
        ("mask", np.ones((5, 6), bool), r"'mask' .* shape \(5, 6\); type 1 and shape \(5, 7\)"),
        ("h0", np.zeros((5, 4), np.float16), r"'h0' is of XLA's type 10"),
        ("x", np.zeros((0,), np.float32), r"'x' has 1 axes, 3 are accepted"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_named(name: str, wrong: np.ndarray, message: str) -> None:
    given = arguments(masked("lstm", "gaps"))
    given = [op.ABSENT if one is None else one for one in (given | {name: wrong}).values()]
    state = jax.ShapeDtypeStruct((5, 4), np.float32)
    y = jax.ShapeDtypeStruct((5, 7, 4), np.float32)
    attributes = {"reverse": np.int32(0), "masked_output": np.int32(0), "leading_initial": np.int32(0),
                  "keep_bytes": np.int64(0)}  # fmt: skip
    infer = jax.ffi.ffi_call("throughtime_infer", (state, y, state, state))
    assert op.why_not() is None
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        jax.block_until_ready(infer(*given, cell=np.int32(4), **attributes))
    with pytest.raises(jax.errors.JaxRuntimeError, match="the attribute 'cell' is needed"):
        jax.block_until_ready(infer(*given, **attributes))
    with pytest.raises(jax.errors.JaxRuntimeError, match="6 arguments and 4 results are given, 7 and 4 accepted"):
        jax.block_until_ready(infer(*given[:-1], cell=np.int32(4), **attributes))


def test_why_not() -> None:
    assert op.why_not(jnp.zeros(3), jnp.zeros(3, bool)) is None
    assert jax.jit(lambda x: x + (op.why_not(x) is None))(jnp.zeros(3)).tolist() == [1.0, 1.0, 1.0]
    assert "float64" in op.why_not(np.zeros(3))


def test_why_not_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    seen = []
    jax.jit(lambda x: seen.append(op.why_not(x)))(jnp.zeros(3))
    assert seen == ["JAX computes on tpu, and the native kernels run on the CPU."]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "why_not_available", lambda: "it was not built.")
    op._why_not_registered.cache_clear()
    try:
        assert op.why_not() == "it was not built."
        case = masked("gru", "gaps")
        tensors, mask = split(case)
        with pytest.raises(ImportError, match="it was not built"):
            call(mask, tensors, **settings_of(case))
    finally:
        op._why_not_registered.cache_clear()


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_tap_has_the_norms_of_a_compiled_step(cell: str, jit: bool) -> None:
    case = masked(cell, "gaps")
    tensors, mask = split(case)
    gradient = jax.grad(lambda moved: loss(case, moved, mask, tap=901))
    jax.block_until_ready((jax.jit(gradient) if jit else gradient)(tensors))
    check_tap(case, 901)
