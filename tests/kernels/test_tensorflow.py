"""The op of TensorFlow against NumPy in float64 and against stock Keras, eager and in graphs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
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
)
from recurrences import KERAS_CELLS, MASKS, Recurrence, assert_close, assert_same_bits, masked, recurrence

from oracles import stock_layer
from throughtime.errors import ArgumentError, DerivativeError
from throughtime.kernels import native
from throughtime.kernels import tensorflow as op
from throughtime.kernels.problem import CELLS

pytestmark = pytest.mark.backend

GRADIENT_NAMES = {"drecurrent_bias", *(f"d{name}" for name in DIFFERENTIABLE)}


def tensors_of(case: Recurrence, **changes: Any) -> dict[str, Any]:
    return {name: None if one is None else tf.constant(one) for name, one in arguments(case, **changes).items()}


def call(tensors: dict[str, Any], **settings: Any) -> dict[str, Any]:
    outputs = op.recurrent(**tensors, **settings)
    return {name: one for name, one in outputs._asdict().items() if one is not None}


def differentiated(
    function: Callable[[], dict[str, Any]], inputs: dict[str, Any], cotangents: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Outputs and gradients by name."""
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        outputs = function()
    gradients = tape.gradient(
        [outputs[name] for name in cotangents], inputs, [tf.constant(one) for one in cotangents.values()],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )  # fmt: skip
    return outputs | {f"d{name}": one for name, one in gradients.items()}


def results(
    case: Recurrence, *, sequences: bool = True, graph: bool = False, training: bool = True
) -> dict[str, np.ndarray]:
    settings = settings_of(case, sequences=sequences, training=training)
    cotangents = cotangents_of(case, sequences=sequences)

    def both(tensors: dict[str, Any]) -> dict[str, Any]:
        inputs = {name: tensors[name] for name in DIFFERENTIABLE if tensors[name] is not None}
        return differentiated(lambda: call(tensors, **settings), inputs, cotangents)

    found = (tf.function(both) if graph else both)(tensors_of(case))
    return {name: one.numpy() for name, one in found.items()}


def check(case: Recurrence) -> None:
    exact = expected(case)
    eager, graph = results(case), results(case, graph=True)
    assert_close(eager, exact, TOLERANCE)
    assert_same_bits(graph, eager)
    # Without y the loss is another one, and so are its gradients.
    found = results(case, sequences=False, graph=True)
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
    tensors, weights = tensors_of(case), {name: cotangents_of(case)[name]}
    inputs = {name: tensors[name] for name in DIFFERENTIABLE}
    found = differentiated(lambda: call(tensors, **settings_of(case)), inputs, weights)
    assert_close({name: one.numpy() for name, one in found.items()}, expected(case, weights), TOLERANCE)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_stock_keras_gives_the_same(cell: str, flags: str, mask: str) -> None:
    case = masked(cell, mask, **FLAGS[flags])
    for sequences in (True, False):
        layer = stock_layer(case.problem, case.inputs, return_sequences=sequences)
        inputs = {name: tf.constant(case.inputs[name]) for name in ("x", "h0", "c0") if case.inputs[name] is not None}
        states = [inputs[name] for name in ("h0", "c0") if name in inputs]
        weights = zip(("kernel", "recurrent_kernel", "bias"), layer.trainable_variables, strict=True)

        def stock(layer: Any = layer, inputs: Any = inputs, states: Any = states, sequences: bool = sequences) -> Any:
            output, *final = layer(inputs["x"], initial_state=states, mask=case.inputs["mask"])
            outputs = {"y": output, "last": output[:, -1]} if sequences else {"last": output}
            return outputs | dict(zip(("hn", "cn"), final, strict=False))

        sources = inputs | {name: variable.value for name, variable in weights}
        exact = differentiated(stock, sources, cotangents_of(case, sequences=sequences))
        found = results(case, sequences=sequences)
        assert_close(found, {name: one.numpy() for name, one in exact.items()}, TOLERANCE)


@pytest.mark.parametrize("graph", [False, True])
def test_a_cotangent_of_few_sequences(graph: bool) -> None:
    """``tf.gather`` gives its gradient as slices."""
    case = masked("gru", "gaps")
    tensors = tensors_of(case)
    ones = np.zeros_like(case.cotangents["dy"])
    ones[[4, 1]] = 1.0

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors["kernel"])
            loss = tf.reduce_sum(tf.gather(call(tensors, **settings_of(case))["y"], [4, 1]))
        return tape.gradient(loss, tensors["kernel"])

    found = (tf.function(gradient) if graph else gradient)()
    assert_close({"dkernel": found.numpy()}, {"dkernel": expected(case, {"y": ones})["dkernel"]}, TOLERANCE)


# Graphs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_one_graph_for_any_batch_and_length(cell: str) -> None:
    traces = []
    given = {name: one for name, one in tensors_of(masked(cell, "gaps")).items() if one is not None}
    free = {"x": (None, None, 3), "mask": (None, None), "h0": (None, 4), "c0": (None, 4)}
    signature = {name: tf.TensorSpec(free.get(name, one.shape), one.dtype) for name, one in given.items()}
    settings = settings_of(masked(cell, "gaps"))

    @tf.function(input_signature=[signature])
    def gradients(tensors: dict[str, Any]) -> Any:
        traces.append(1)
        inputs = {name: tensors[name] for name in DIFFERENTIABLE if name in tensors}
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            found = call({"c0": None} | tensors, **settings)
            loss = tf.reduce_sum(found["y"])
        found |= {f"d{name}": one for name, one in tape.gradient(loss, inputs).items()}
        shown = 8 if cell == "lru" else 4
        assert found["y"].shape.as_list() == [None, None, shown] and found["last"].shape.as_list() == [None, shown]
        assert found["dkernel"].shape == given["kernel"].shape
        return found

    for batch, steps in ((5, 7), (1, 1), (9, 3), (0, 2)):
        case = masked(cell, "post", batch=batch, steps=steps)
        weights = {name: array for name, array in given.items() if name not in free}
        tensors = {name: one for name, one in tensors_of(case).items() if one is not None} | weights
        alone = case.with_inputs(**masked(cell, "gaps").inputs | {
            name: case.inputs[name] for name in ("x", "mask", "h0", "c0")})  # fmt: skip
        exact = expected(alone, {"y": np.ones_like(case.cotangents["dy"])})
        assert_close({name: one.numpy() for name, one in gradients(tensors).items()}, exact, TOLERANCE)
    assert len(traces) == 1


def test_the_shapes_of_a_graph_are_known() -> None:
    case = masked("lstm", "gaps")
    graph = tf.function(lambda tensors: call(tensors, **settings_of(case))).get_concrete_function(tensors_of(case))
    shapes = {name: tuple(spec.shape) for name, spec in graph.structured_outputs.items()}
    assert shapes == {"last": (5, 4), "y": (5, 7, 4), "hn": (5, 4), "cn": (5, 4)}


@pytest.mark.parametrize("training", [False, True])
def test_a_tape_around_a_graph(training: bool) -> None:
    """TensorFlow then makes two graphs of the function, one for each direction."""
    case = masked("lstm", "post")
    function = tf.function(lambda tensors: call(tensors, **settings_of(case, training=training)))
    tensors = tensors_of(case)
    inputs = {name: tensors[name] for name in DIFFERENTIABLE}
    before = kept_bytes()
    for _ in range(2):
        found = differentiated(lambda: function(tensors), inputs, cotangents_of(case))
        assert_same_bits({name: one.numpy() for name, one in found.items()}, results(case))
        assert kept_bytes() == before


def test_a_loop_in_a_graph() -> None:
    """Pieces of a sequence in ``tf.while_loop``: tickets wait in a list until the loop runs backwards."""
    case = masked("lstm", "gaps", steps=8)
    tensors = tensors_of(case)
    inputs = {name: tensors[name] for name in DIFFERENTIABLE}

    def pieces() -> dict[str, Any]:
        h, c = tensors["h0"], tensors["c0"]
        for k in tf.range(4):
            part = {name: tensors[name][:, 2 * k : 2 * k + 2] for name in ("x", "mask")}
            found = call(tensors | part | {"h0": h, "c0": c}, **settings_of(case))
            h, c = tf.ensure_shape(found["hn"], (5, 4)), tf.ensure_shape(found["cn"], (5, 4))
        return {"hn": h, "cn": c}

    weights = {name: one for name, one in cotangents_of(case).items() if name in ("hn", "cn")}
    before = kept_bytes()
    found = tf.function(lambda: differentiated(tf.autograph.to_graph(pieces), inputs, weights))()
    exact = expected(case, weights)
    assert_close({name: one.numpy() for name, one in found.items()}, {name: exact[name] for name in found}, TOLERANCE)
    assert kept_bytes() == before


@pytest.mark.parametrize(("cell", "name"), [("gru", "bias"), *(("lstm", name) for name in DIFFERENTIABLE)])
def test_a_graph_computes_only_gradients_that_are_read(cell: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads it here is the caller of the graph."""
    case, asked = masked(cell, "gaps"), []
    backward_at = native.backward_at

    def spy(problem: Any, **given: Any) -> None:
        asked.append({one for one in given if one in GRADIENT_NAMES})
        backward_at(problem, **given)

    monkeypatch.setattr(native, "backward_at", spy)
    tensors = tensors_of(case)
    inputs = {name: tf.identity(tensors[name])}
    function = lambda: call(tensors | inputs, **settings_of(case))  # noqa: E731
    found = tf.function(lambda: differentiated(function, inputs, cotangents_of(case)))()
    assert_same_bits({f"d{name}": found[f"d{name}"].numpy()}, {f"d{name}": results(case)[f"d{name}"]})
    assert asked[0] == ({"dbias", "drecurrent_bias"} if cell == "gru" else {f"d{name}"})


# What is kept -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [False, True])
def test_without_training_nothing_is_kept_and_gradients_are_the_same(graph: bool) -> None:
    case, before = masked("gru", "gaps"), kept_bytes()
    assert_same_bits(results(case, graph=graph, training=False), results(case))
    tensors = tensors_of(case)
    function = lambda: call(tensors, **settings_of(case, training=False))  # noqa: E731
    with tf.GradientTape() as tape:
        tape.watch(tensors["x"])
        found = (tf.function(function) if graph else function)()
    assert kept_bytes() == before and found
    del tape


def test_what_is_kept_goes_with_the_tape() -> None:
    case, before = masked("lstm", "post"), kept_bytes()
    tensors = tensors_of(case)
    call(tensors, **settings_of(case))  # no tape at all
    gc.collect()
    assert kept_bytes() == before
    with tf.GradientTape() as tape:
        tape.watch(tensors["x"])
        found = call(tensors, **settings_of(case))
    assert kept_bytes() > before
    del tape, found
    gc.collect()
    assert kept_bytes() == before


def test_a_graph_without_a_gradient_keeps_nothing() -> None:
    case, before = masked("lstm", "post"), kept_bytes()
    tensors = tensors_of(case)
    found = tf.function(lambda: call(tensors, **settings_of(case, training=True)))()
    assert found and kept_bytes() == before


@pytest.mark.parametrize("graph", [False, True])
def test_a_persistent_tape_computes_anew(graph: bool) -> None:
    case, before = masked("lstm", "post"), kept_bytes()
    tensors = tensors_of(case)
    inputs = {name: tensors[name] for name in DIFFERENTIABLE}

    def twice() -> Any:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            outputs = call(tensors, **settings_of(case))
        weights = {name: tf.constant(one) for name, one in cotangents_of(case).items()}
        given = [list(outputs.values()), inputs, list(weights.values())]
        return [tape.gradient(*given) for _ in range(2)]

    once, again = (tf.function(twice) if graph else twice)()
    exact = results(case)
    for found in (once, again):
        assert_same_bits({f"d{name}": one.numpy() for name, one in found.items()},
                         {f"d{name}": exact[f"d{name}"] for name in found})  # fmt: skip
    gc.collect()
    assert kept_bytes() == before


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["x", "kernel"])
def test_second_derivatives_name_the_way_out(cell: str, name: str) -> None:
    tensors, settings = tensors_of(masked(cell, "gaps")), settings_of(masked(cell, "gaps"))
    with tf.GradientTape() as second:
        second.watch(tensors[name])
        with tf.GradientTape() as first:
            first.watch(tensors[name])
            loss = tf.reduce_sum(call(tensors, **settings)["last"])
        gradient = first.gradient(loss, tensors[name])  # taking it so that it could be differentiated is not refused
    with pytest.raises(DerivativeError, match=r"tt\.to_keras\(model\)"):
        second.gradient(gradient, tensors[name])


def test_second_derivatives_in_a_graph_name_the_way_out() -> None:
    case = masked("gru", "gaps")
    tensors = tensors_of(case)
    with tf.Graph().as_default():
        given = {name: None if one is None else tf.constant(one.numpy()) for name, one in tensors.items()}
        last = call(given, **settings_of(case))["last"]
        (dx,) = tf.gradients(last, given["x"])
        with pytest.raises(DerivativeError, match=r"tt\.to_keras\(model\)"):
            tf.gradients(dx, given["x"])
    assert dx.shape == tensors["x"].shape


def test_forward_mode_names_the_way_out() -> None:
    case = masked("gru", "gaps")
    tensors = tensors_of(case)
    with (
        pytest.raises(DerivativeError, match=r"tt\.to_keras\(model\)"),
        tf.autodiff.ForwardAccumulator(tensors["x"], tf.ones_like(tensors["x"])),
    ):
        call(tensors, **settings_of(case))


def test_tensors_that_do_not_fit_are_named() -> None:
    case = masked("lstm", "gaps")
    wrong = tensors_of(case) | {"kernel": tf.zeros((3, 8)), "h0": tf.zeros((5, 4), tf.float16)}
    message = r"h0: float16 \(5, 4\) is given.*kernel: float32 \(3, 8\) is given, float32 \(3, 16\) accepted"
    with pytest.raises(ArgumentError, match=message):
        call(wrong, **settings_of(case))
    with pytest.raises(tf.errors.OpError, match=message):
        tf.function(lambda: call(wrong, **settings_of(case)))()


def test_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert op.why_not(tf.zeros(3), tf.zeros(3, tf.bool)) is None
    assert "float64" in op.why_not(tf.zeros(3), tf.zeros(3, tf.float64))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: [
        tf.config.LogicalDevice("/device:CPU:0", "CPU"), tf.config.LogicalDevice("/device:GPU:0", "GPU")])  # fmt: skip
    assert op.why_not(tf.zeros(3)) == "TensorFlow computes on GPU, and the native kernels run on the CPU."
    monkeypatch.setattr(native, "why_not_available", lambda: "it was not built.")
    assert op.why_not(tf.zeros(3)) == "it was not built."


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_tap_has_the_norms_of_a_compiled_step(cell: str, graph: bool) -> None:
    case = masked(cell, "gaps")
    tensors = tensors_of(case)
    inputs = {name: tensors[name] for name in DIFFERENTIABLE if tensors[name] is not None}

    def both() -> dict[str, Any]:
        return differentiated(lambda: call(tensors, **settings_of(case, tap=903)), inputs, cotangents_of(case))

    assert (tf.function(both) if graph else both)()
    check_tap(case, 903)
