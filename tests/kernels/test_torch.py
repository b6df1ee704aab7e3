"""The op of PyTorch against NumPy in float64 and against stock Keras, eager, compiled and exported."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
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
from torch.autograd import forward_ad

from oracles import stock_layer
from throughtime.errors import ArgumentError, DerivativeError
from throughtime.kernels import native
from throughtime.kernels import torch as op
from throughtime.kernels.problem import CELLS, Problem

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def compile_afresh() -> None:
    """What torch.compile remembers of a function counts against a limit."""
    torch.compiler.reset()


def tensors_of(case: Recurrence, *, require: tuple[str, ...] = DIFFERENTIABLE, **changes: Any) -> dict[str, Any]:
    given = {name: None if one is None else torch.tensor(one) for name, one in arguments(case, **changes).items()}
    for name in require:
        if given[name] is not None:
            given[name].requires_grad_()
    return given


def call(tensors: dict[str, Any], **settings: Any) -> dict[str, torch.Tensor]:
    outputs = op.recurrent(**tensors, **settings)
    return {name: one for name, one in outputs._asdict().items() if one is not None}


def differentiated(
    outputs: dict[str, Any], inputs: dict[str, Any], cotangents: dict[str, np.ndarray], **options: Any
) -> dict[str, np.ndarray]:
    """Outputs and gradients by name."""
    wanted = {name: one for name, one in inputs.items() if one is not None and one.requires_grad}
    weights = {name: torch.tensor(one) for name, one in cotangents.items()}
    gradients = torch.autograd.grad(
        [outputs[name] for name in weights], list(wanted.values()), list(weights.values()),
        allow_unused=True, materialize_grads=True, **options,
    )  # fmt: skip
    found = outputs | {f"d{name}": one for name, one in zip(wanted, gradients, strict=True)}
    return {name: one.detach().numpy() for name, one in found.items()}


def results(
    case: Recurrence, *, sequences: bool = True, through: Callable[..., Any] = call, **changes: Any
) -> dict[str, np.ndarray]:
    tensors = tensors_of(case, **changes)
    outputs = through(tensors, **settings_of(case, sequences=sequences))
    return differentiated(outputs, tensors, cotangents_of(case, sequences=sequences))


def check(case: Recurrence) -> None:
    assert_close(results(case), expected(case), TOLERANCE)
    # Without y the loss is another one, and so are its gradients.
    found = results(case, sequences=False)
    assert_close(found, without_sequences(expected(case, cotangents_of(case, sequences=False))), TOLERANCE)


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
    case = masked("lstm", "gaps")
    tensors = tensors_of(case)
    weights = {name: cotangents_of(case)[name]}
    assert_close(
        differentiated(call(tensors, **settings_of(case)), tensors, weights), expected(case, weights), TOLERANCE
    )


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_stock_keras_gives_the_same(cell: str, flags: str, mask: str) -> None:
    case = masked(cell, mask, **FLAGS[flags])
    for sequences in (True, False):
        layer = stock_layer(case.problem, case.inputs, return_sequences=sequences)
        given = {name: case.inputs[name] for name in ("x", "h0", "c0") if case.inputs[name] is not None}
        inputs = {name: torch.tensor(one, requires_grad=True) for name, one in given.items()}
        mask_tensor = None if case.inputs["mask"] is None else torch.tensor(case.inputs["mask"])
        states = [inputs[name] for name in ("h0", "c0") if name in inputs]
        output, *final = layer(inputs["x"], initial_state=states, mask=mask_tensor)
        outputs = {"y": output, "last": output[:, -1]} if sequences else {"last": output}
        outputs |= dict(zip(("hn", "cn"), final, strict=False))
        weights = zip(("kernel", "recurrent_kernel", "bias"), layer.trainable_variables, strict=True)
        inputs |= {name: variable.value for name, variable in weights}
        exact = differentiated(outputs, inputs, cotangents_of(case, sequences=sequences))
        assert_close(results(case, sequences=sequences), exact, TOLERANCE)


@pytest.mark.parametrize(
    "change",
    {
        "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
        "features first": lambda x: x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "part of wider features": lambda x: torch.cat([x, x], dim=2)[:, :, : x.shape[2]],
        "every other step": lambda x: torch.repeat_interleave(x, 2, dim=1)[:, ::2],
        "negated in name": lambda x: torch._neg_view(-x),
        "negated in name, time first": lambda x: torch._neg_view(-x.transpose(0, 1).contiguous().transpose(0, 1)),
    }.values(),
)
def test_any_memory_layout(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    case = masked("gru", "gaps")
    plain = results(case)
    tensors = tensors_of(case, require=())
    tensors["x"] = change(tensors["x"])
    tensors["mask"] = tensors["mask"].T.contiguous().T
    for name in ("h0", "kernel", "recurrent_kernel", "bias"):
        tensors[name] = tensors[name].T.contiguous().T
    assert not tensors["x"].is_contiguous() or tensors["x"].is_neg()
    for name in DIFFERENTIABLE:
        if tensors[name] is not None:
            tensors[name].requires_grad_()
    weights = cotangents_of(case)
    outputs = call(tensors, **settings_of(case))
    assert_same_bits(differentiated(outputs, tensors, weights), plain)
    # A sum's gradient is an expanded scalar: a cotangent without memory of its own.
    call(tensors, **settings_of(case))["y"].sum().backward()
    ones = expected(case, {"y": np.ones_like(weights["y"])})
    assert_close({"dx": tensors["x"].grad.numpy()}, {"dx": ones["dx"]}, TOLERANCE)


@pytest.mark.parametrize("axis", [0, 1])
def test_x_that_repeats_itself_in_memory(axis: int) -> None:
    case = recurrence("lstm", None, batch=4, steps=6)
    x = case.inputs["x"].copy()
    x[:] = x.take([0], axis=axis)
    one = torch.tensor(x.take([0], axis=axis)).requires_grad_()
    tensors = tensors_of(case, x=x) | {"x": one.expand(x.shape)}
    found = call(tensors, **settings_of(case))
    assert_close({"y": found["y"].detach().numpy()}, {"y": expected(case.with_inputs(x=x))["y"]}, TOLERANCE)
    windows = torch.arange(30.0).unfold(0, 12, 3)[:, :, None]  # overlapping windows of one series
    alone = case.with_inputs(x=windows.numpy().copy(), kernel=case.inputs["kernel"][:1]).with_problem(
        batch=7, steps=12, features=1
    )
    alone = alone.with_inputs(h0=np.ones((7, 4), np.float32), c0=np.ones((7, 4), np.float32))
    found = call(tensors_of(alone) | {"x": windows}, **settings_of(alone))
    exact = call(tensors_of(alone), **settings_of(alone))
    assert torch.equal(found["y"], exact["y"])


def test_the_users_default_dtype_and_device_do_not_matter() -> None:
    case = masked("lstm", "gaps")
    plain = results(case)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            tensors = {name: None if one is None else torch.from_numpy(one) for name, one in arguments(case).items()}
            tensors["x"].requires_grad_()
            outputs = call(tensors, **settings_of(case))
            weights = [torch.from_numpy(one) for one in cotangents_of(case).values()]
            (dx,) = torch.autograd.grad(list(outputs.values()), tensors["x"], weights)
    finally:
        torch.set_default_dtype(torch.float32)
    found = {name: one.detach().numpy() for name, one in (outputs | {"dx": dx}).items()}
    assert_same_bits(found, {name: plain[name] for name in found})


# What is kept and computed ------------------------------------------------------------------------------------------


def test_inference_gives_the_same_and_keeps_nothing() -> None:
    case = masked("gru", "gaps")
    plain, tensors, before = results(case), tensors_of(case), kept_bytes()
    with torch.no_grad():
        found = call(tensors, **settings_of(case, training=False))
    assert_same_bits({name: one.numpy() for name, one in found.items()}, {name: plain[name] for name in found})
    assert kept_bytes() == before


def test_what_is_kept_goes_with_the_graph() -> None:
    case, before = masked("lstm", "post"), kept_bytes()
    outputs = call(tensors_of(case), **settings_of(case))
    assert kept_bytes() > before
    del outputs
    gc.collect()
    assert kept_bytes() == before


def test_a_second_backward_pass_computes_anew() -> None:
    case, before = masked("lstm", "post"), kept_bytes()
    tensors = tensors_of(case)
    outputs = call(tensors, **settings_of(case))
    once = differentiated(outputs, tensors, cotangents_of(case), retain_graph=True)
    assert kept_bytes() == before
    assert_same_bits(differentiated(outputs, tensors, cotangents_of(case)), once)


def test_weights_changed_before_the_backward_pass_are_noticed() -> None:
    case = masked("lstm", "post")
    tensors = tensors_of(case)
    outputs = call(tensors, **settings_of(case))
    with torch.no_grad():
        tensors["kernel"].mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs["last"].sum().backward()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_only_what_is_asked_for_is_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = masked("lstm", "gaps")
    seen: list[dict[str, int]] = []
    backward_at = native.backward_at

    def spy(problem: Problem, **addresses: int) -> None:
        seen.append(addresses)
        backward_at(problem, **addresses)

    monkeypatch.setattr(native, "backward_at", spy)
    tensors, weights = tensors_of(case, require=(name,)), {"last": cotangents_of(case)["last"]}
    found = differentiated(call(tensors, **settings_of(case)), tensors, weights)
    (addresses,) = seen
    written = {f"d{other}" for other in DIFFERENTIABLE if addresses[f"d{other}"]}
    read = {one for one in ("dlast", "dy", "dhn", "dcn") if addresses[one]}
    assert written == {f"d{name}"} and read == {"dlast"}
    assert_close({f"d{name}": found[f"d{name}"]}, {f"d{name}": expected(case, weights)[f"d{name}"]}, TOLERANCE)


# Compiled, exported, traced -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_compiled(cell: str, sequences: bool) -> None:
    case = masked(cell, "gaps")
    # "aot_eager" traces forward and backward as the default does, and needs no C++ compiler.
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert_same_bits(results(case, sequences=sequences, through=compiled), results(case, sequences=sequences))


def test_compiled_inference_keeps_nothing() -> None:
    case, before = masked("gru", "gaps"), kept_bytes()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        found = compiled(tensors_of(case), **settings_of(case))
    assert_same_bits({"y": found["y"].numpy()}, {"y": results(case)["y"]})
    assert kept_bytes() == before


@pytest.mark.parametrize("cell", CELLS)
def test_exported_for_any_batch_and_length(cell: str) -> None:
    case = masked(cell, "gaps")

    class Module(torch.nn.Module):
        def forward(self, tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
            return call(tensors, **settings_of(case))

    B, T = torch.export.Dim("B", min=2), torch.export.Dim("T", min=2)
    tensors = tensors_of(case, require=())
    shapes = {"x": {0: B, 1: T}, "mask": {0: B, 1: T}, "h0": {0: B}, "c0": {0: B}}
    dynamic = {name: None if one is None else shapes.get(name, {}) for name, one in tensors.items()}
    exported = torch.export.export(Module(), (tensors,), dynamic_shapes=(dynamic,))
    other = masked(cell, "post", batch=8, steps=11)
    given = tensors_of(case, require=()) | {
        name: one for name, one in tensors_of(other, require=()).items() if name in shapes
    }
    found = exported.module()(given)
    for name, one in call(given, **settings_of(case)).items():
        assert torch.equal(found[name], one)


def test_traced() -> None:
    """``torch.jit.trace`` would make constants of what it does not see."""
    case = masked("gru", "gaps")
    given = {name: one for name, one in tensors_of(case, require=()).items() if one is not None}
    names, tensors = tuple(given), tuple(given.values())

    def y(*tensors: torch.Tensor) -> torch.Tensor:
        return call({"c0": None} | dict(zip(names, tensors, strict=True)), **settings_of(case))["y"]

    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        traced = torch.jit.trace(y, tensors, check_trace=False)
    moved = (tensors[0] + 1.0, *tensors[1:])
    assert torch.equal(traced(*moved), y(*moved)) and not torch.equal(y(*moved), y(*tensors))


@pytest.mark.parametrize("cell", CELLS)
def test_pytorchs_own_checks_of_an_op(cell: str) -> None:
    case = masked(cell, "gaps")
    settings = settings_of(case)
    setting = tuple(settings[name] for name in op.Setting._fields)
    # Activations that are kept have a new ticket in each call, which the check would take for a difference.
    torch.library.opcheck(op._forward_op, (*tensors_of(case).values(), *setting, False))
    given = tensors_of(case, require=()).values()
    cotangents = [torch.tensor(one) for one in cotangents_of(case).values()] + [None] * (
        not case.problem.has_cell_state
    )
    wanted = [True, False, case.problem.has_cell_state, True, True, True]
    ticket = torch.zeros(1, dtype=torch.int64)
    torch.library.opcheck(op._backward_op, (*given, *setting, ticket, *cotangents, wanted))


def test_the_meta_device_has_shapes_alone() -> None:
    case = masked("lstm", "gaps")
    given = {name: None if one is None else one.to("meta") for name, one in tensors_of(case).items()}
    assert op.why_not(given["x"]) is None
    for sequences in (True, False):
        found = call(given, **settings_of(case, sequences=sequences))
        exact = call(tensors_of(case), **settings_of(case, sequences=sequences))
        assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in exact.items()}
        assert found["hn"].device.type == "meta"


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_name_the_way_out(cell: str) -> None:
    case = masked(cell, "gaps")
    tensors = tensors_of(case)
    # Taking the first derivative so that it could be differentiated once more is not refused.
    for through in (call, torch.compile(call, fullgraph=True, backend="eager")):
        y = through(tensors, **settings_of(case))["y"]
        (dx,) = torch.autograd.grad(y.sum(), tensors["x"], create_graph=True)
        with pytest.raises(DerivativeError, match=r"tt\.to_keras\(model\)"):
            dx.sum().backward()


# PyTorch scripts its own rules for forward mode when they are first used, and warns of that.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_names_the_way_out() -> None:
    case = masked("gru", "gaps")
    for require in ((), DIFFERENTIABLE):
        tensors = tensors_of(case, require=require)
        with forward_ad.dual_level(), pytest.raises(DerivativeError, match=r"tt\.to_keras\(model\)"):
            call(tensors | {"h0": forward_ad.make_dual(tensors["h0"], tensors["h0"])}, **settings_of(case))


WRONG = (
    ("lstm", {"kernel": torch.zeros(3, 8)}, r"kernel: float32 \(3, 8\) is given, float32 \(3, 16\) accepted"),
    ("lstm", {"h0": torch.zeros(5, 4).double()}, r"h0: float64 \(5, 4\) is given, float32 \(5, 4\) accepted"),
    ("lstm", {"mask": torch.ones(5, 7)}, r"mask: float32 \(5, 7\) is given, bool \(5, 7\) accepted"),
    ("lstm", {"c0": None}, r"c0: nothing is given, shape \(5, 4\) needed"),
    ("lstm", {"x": torch.zeros(5, 7)}, r"x of shape \(B, T, F\)"),
    ("gru", {"c0": torch.zeros(5, 4)}, "c0: a 'gru' has none; leave it None"),
)


@pytest.mark.parametrize(("cell", "change", "message"), WRONG)
def test_tensors_that_do_not_fit_are_named(cell: str, change: dict[str, Any], message: str) -> None:
    case = masked(cell, "gaps")
    with pytest.raises(ArgumentError, match=message):
        call(tensors_of(case) | change, **settings_of(case))


def test_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert op.why_not(torch.zeros(3), torch.zeros(3, dtype=torch.bool)) is None
    assert "float64" in op.why_not(torch.zeros(3), torch.zeros(3, dtype=torch.float64))

    class OnAnotherDevice:
        dtype, device = torch.float32, torch.device("cuda")

    assert op.why_not(torch.zeros(3), OnAnotherDevice()) == (
        "PyTorch computes on cuda, and the native kernels run on the CPU."
    )
    monkeypatch.setattr(native, "why_not_available", lambda: "it was not built.")
    assert op.why_not(torch.zeros(3)) == "it was not built."


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_tap_has_the_norms_of_a_compiled_step(cell: str, compiled: bool) -> None:
    case = masked(cell, "gaps")
    tensors = tensors_of(case)
    through = torch.compile(call, fullgraph=True, backend="aot_eager") if compiled else call
    differentiated(through(tensors, **settings_of(case, tap=902)), tensors, cotangents_of(case))
    check_tap(case, 902)
