"""Rules about the model on its data, from one call of it and calls with something changed; nothing is trained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import first_line
from . import thresholds
from .evidence import Evidence, Output, Steps, moved
from .findings import Finding
from .given import named, rows, weights_for
from .tracing import LayerCall, traced

PROBABILITIES = ("categoricalcrossentropy", "sparsecategoricalcrossentropy", "kldivergence")


def call_fails(evidence: Evidence) -> Finding | None:
    """The model cannot be called on a batch of the size that fit would take, or on what is left at the end."""
    model, data = evidence.model, evidence.data
    if evidence.trace.failed is not None:
        layer, error = evidence.trace.failed
        shapes = {name: (data.batch_size, *one.shape[1:]) for name, one in data.inputs().items()}
        remedy = "change the shape of x or of keras.Input until model(x[:1]) runs"
        said = first_line(error)
        if evidence.fixed_batch not in (None, data.batch_size) or (evidence.stateful and "batch" in str(error)):
            remedy = f"model.fit(..., batch_size={evidence.fixed_batch}), and rows in multiples of it"
        elif "ndim=3, found ndim=2" in str(error) or "expected ndim=3" in str(error):
            remedy = "return_sequences=True on the recurrent layer before it"
        return Finding("call-fails", "error", layer, f"a batch of {shapes} stops with: {said}", remedy)
    batch = evidence.fixed_batch
    if batch is None:
        return None
    sizes = {"the last batch of fit": data.size % data.batch_size if data.size > data.batch_size else 0}
    if data.validation is not None:
        sizes["the last batch of the validation data"] = (
            len(keras.tree.flatten(data.validation[0])[0]) % data.batch_size
        )
    for name, left in sizes.items():
        if left and left != batch:
            trace = traced(model, rows(data.x, slice(left)))
            if trace.failed is not None:
                return Finding(
                    "call-fails", "error", trace.failed[0],
                    f"{name} holds {left} sequences and the model takes {batch}: {first_line(trace.failed[1])}",
                    f"whole = len(x) // {batch} * {batch}; x, y = x[:whole], y[:whole]",
                )  # fmt: skip
    return None


def sequence_output_for_single_target(evidence: Evidence) -> Finding | None:
    for output in evidence.outputs:
        predicted, target = output.predicted, output.targets
        if predicted.ndim != 3 or predicted.shape[1] == 1:
            continue
        single = target.ndim == 1 or (target.ndim == 2 and target.shape[1] in (1, predicted.shape[2]))
        per_step = target.ndim >= 2 and target.shape[1] == predicted.shape[1]
        if single and not per_step:
            last = [name for name, call in evidence.recurrent if getattr(call.layer, "return_sequences", False)]
            shape = ", ".join(["batch", *map(str, target.shape[1:])])
            return Finding(
                "sequence-output-for-single-target", "error", last[-1] if last else output.name,
                f"the output has shape (batch, {predicted.shape[1]}, {predicted.shape[2]}) and the targets have "
                f"({shape}): each is compared with all {predicted.shape[1]} steps",
                "return_sequences=False on the last recurrent layer",
            )  # fmt: skip
    return None


def single_unit_softmax(evidence: Evidence) -> Finding | None:
    for output in evidence.outputs:
        if output.predicted.shape[-1] == 1 and (output.predicted == 1).all():
            layer = _last_with_activation(evidence)
            if layer is None or layer.layer.activation is not keras.activations.softmax:
                continue
            norm = evidence.flow.global_norm if evidence.flow is not None else None
            measured = "" if norm is None else f", and the norm of the loss's gradient is {norm:.3g}"
            return Finding(
                "single-unit-softmax", "error", layer.name, f"the output is exactly 1 for all "
                f"{len(output.predicted)} sequences{measured}", 'keras.layers.Dense(1, activation="sigmoid")',
            )  # fmt: skip
    return None


def logits_without_from_logits(evidence: Evidence) -> Finding | None:
    for output in evidence.outputs:
        predicted = output.predicted
        if output.from_logits or not np.isfinite(predicted).all():
            continue
        if output.loss in PROBABILITIES and predicted.shape[-1] > 1:
            sums = predicted.sum(axis=-1)
            if predicted.min() < -1e-6 or np.abs(sums - 1).max() > 1e-3:
                said = (
                    f"the outputs lie between {predicted.min():.3g} and {predicted.max():.3g} and their sums between "
                    f"{sums.min():.3g} and {sums.max():.3g}, and {output.loss} takes probabilities that sum to 1"
                )
                return Finding("logits-without-from-logits", "error", output.name, said, _remedy_of_logits(output))
        elif output.loss.startswith("binary") and (predicted.min() < -1e-6 or predicted.max() > 1 + 1e-6):
            said = (
                f"the outputs lie between {predicted.min():.3g} and {predicted.max():.3g}, and {output.loss} takes "
                "probabilities between 0 and 1"
            )
            return Finding("logits-without-from-logits", "error", output.name, said, _remedy_of_logits(output))
    return None


def _remedy_of_logits(output: Output) -> str:
    names = {
        "sparsecategoricalcrossentropy": "SparseCategoricalCrossentropy",
        "categoricalcrossentropy": "CategoricalCrossentropy",
    }
    if output.predicted.min() >= 0 and output.predicted.max() <= 1:
        return 'activation="softmax" on the last layer'
    if output.loss in names:
        return f"loss=keras.losses.{names[output.loss]}(from_logits=True)"
    return "loss=keras.losses.BinaryCrossentropy(from_logits=True)"


def sigmoid_for_exclusive_classes(evidence: Evidence) -> Finding | None:
    for output in evidence.outputs:
        target = output.targets
        classes = target.shape[-1] if target.ndim >= 2 else 1
        if not output.loss.startswith("binary") or classes < 3 or classes != output.predicted.shape[-1]:
            continue
        flat = target.reshape(-1, classes)
        if output.per_step:
            flat = flat[flat.any(axis=1)]
        exclusive = np.isin(flat, (0, 1)).all() and (flat.sum(axis=1) == 1).all()
        if exclusive and len(flat) >= thresholds.ONE_HOT_ROWS:
            return Finding(
                "sigmoid-for-exclusive-classes", "warning", output.name,
                f"each of the {len(flat)} targets has one of {classes} classes, and {output.loss} takes them for "
                f"{classes} separate questions: answering none of them always scores {1 - 1 / classes:.3f} of binary "
                "accuracy",
                'keras.layers.Dense(classes, activation="softmax") and loss="categorical_crossentropy"',
            )  # fmt: skip
    return None


def output_range(evidence: Evidence) -> Finding | None:
    """Targets beyond what the last activation can give, found by evaluating it far out on both sides."""
    for output in evidence.outputs:
        if output.classes or output.targets.dtype.kind not in "fiu":
            continue
        last = evidence.trace.calls[-1] if evidence.trace.calls else None
        call = _last_with_activation(evidence)
        if call is None or last is None or call.output is None or not _gives(call, output):
            continue
        low, high = _range(call.layer.activation, output.predicted.shape[-1])
        targets = output.targets[np.isfinite(output.targets)].astype(float)
        if not len(targets):
            continue
        slack = 1e-3 * max(1.0, float(np.ptp(targets)))
        beyond = float(((targets < low - slack) | (targets > high + slack)).mean())
        span = f"from {low:g} to {high:g}".replace("from -inf to", "up to").replace(" to inf", " on")
        if beyond > thresholds.REACHABLE:
            return Finding(
                "output-range", "error", call.name,
                f"{beyond:.0%} of the targets lie beyond what activation={_activation(call)!r} can give ({span}): they "
                f"reach from {targets.min():.4g} to {targets.max():.4g}",
                "activation=None on the last layer" if not np.isfinite(high) or targets.min() < low
                else "activation=None on the last layer, or targets scaled into the range",
            )  # fmt: skip
        if call.layer.activation is keras.activations.softmax and output.predicted.shape[-1] > 1:
            sums = output.targets.reshape(-1, output.predicted.shape[-1]).sum(axis=1)
            off = float((np.abs(sums - 1) > 1e-3).mean())
            if off > thresholds.REACHABLE:
                return Finding(
                    "output-range", "error", call.name,
                    f"a softmax sums to 1, and {off:.0%} of the targets do not (they sum to {sums.min():.3g} to "
                    f"{sums.max():.3g})", "activation=None on the last layer",
                )  # fmt: skip
    return None


def _last_with_activation(evidence: Evidence) -> LayerCall | None:
    """The call that gives the output, if its layer has an activation (an Activation layer, or ReLU and the like)."""
    calls = [call for call in evidence.trace.calls if not isinstance(call.layer, keras.Model)]
    while calls and isinstance(calls[-1].layer, keras.layers.Reshape | keras.layers.Flatten | keras.layers.Dropout):
        calls.pop()
    if not calls:
        return None
    call = calls[-1]
    layer = call.layer
    if isinstance(layer, keras.layers.TimeDistributed):
        layer = layer.layer
        call = LayerCall(f"{call.name}/{layer.name}", layer, call.inputs, call.output, call.mask_in, call.mask_out)
    return call if callable(getattr(layer, "activation", None)) else None


def _gives(call: LayerCall, output: Output) -> bool:
    return (
        call.output is not None
        and call.output.size == output.predicted.size
        and bool(np.array_equal(call.output.ravel(), output.predicted.ravel(), equal_nan=True))
    )


def _range(activation: Any, width: int) -> tuple[float, float]:
    """What an activation can give: its values far out, infinite where they go on growing."""
    if isinstance(activation, keras.Layer):
        return -np.inf, np.inf
    grid = np.concatenate([-(10.0 ** np.arange(4, -3, -1)), [0.0], 10.0 ** np.arange(-2, 5)])
    given = np.repeat(grid[:, None], max(width, 1), axis=1).astype("float32")
    if width > 1:  # softmax and the like see the whole row
        given = np.concatenate([given, given * np.eye(width, dtype="float32")[0]])
    values = ops.convert_to_numpy(activation(ops.convert_to_tensor(given))).astype(float)
    low, high = float(values.min()), float(values.max())
    return (-np.inf if low < -999 else low), (np.inf if high > 999 else high)


def _activation(call: LayerCall) -> str:
    return str(getattr(call.layer.activation, "__name__", call.layer.activation))


def mask_lost(evidence: Evidence) -> Finding | None:
    """A mask ends on its way, and outputs move with what the padding holds behind the layer that made it."""
    calls = evidence.trace.calls
    makers = [call for call in calls if call.mask_out is not None and call.mask_in is None and not call.mask_out.all()]
    if not makers:
        return None
    ends = _ends(evidence, makers[0])
    if ends is None:
        return None
    layer, taker, source = ends
    mask = source.mask_out
    assert mask is not None
    rng = np.random.default_rng(0)

    def noise(call: LayerCall, outputs: Any) -> Any:
        if call.layer is not source.layer or call.output is None or call.output.shape[:2] != mask.shape:
            return None
        changed = call.output.copy()
        valid = call.output[mask]
        changed[~mask] = valid[rng.integers(0, len(valid), int((~mask).sum()))]
        return ops.convert_to_tensor(changed)

    other = traced(evidence.model, evidence.x, change=noise)
    far = 0.0
    for name, before in evidence.trace.outputs.items():
        after = other.outputs.get(name)
        if after is None or after.shape != before.shape:
            return None
        per_step = before.ndim == 3 and before.shape[1] == mask.shape[1]
        use: Any = mask if per_step else slice(None)
        far = max(far, moved(before, after, use))
    counted = _counts_padding(evidence, mask)
    if far <= thresholds.MOVED and not counted:
        return None
    measured = f"other values at masked steps there move the outputs by {far:.1g} of their spread"
    if far <= thresholds.MOVED:
        measured = f"{(~mask).mean():.0%} of the steps that the loss counts are padding"
    return Finding(
        "mask-lost", "error", layer,
        f"the mask of {makers[0].name} ends at {layer} ({_kind(calls, layer)}), before {taker}; {measured}",
        _keep_mask(calls, layer),
    )  # fmt: skip


def _ends(evidence: Evidence, maker: LayerCall) -> tuple[str, str, LayerCall] | None:
    """Where a mask ends, who lacks it there, and the last call that still had it.

    Who lacks it is a recurrent layer further on, a loss by steps, or what takes all steps at once, behind Flatten.
    """
    calls = evidence.trace.calls
    assert maker.mask_out is not None
    length = maker.mask_out.shape[1]
    lost: str | None = None
    source = maker
    for call in calls[calls.index(maker) + 1 :]:
        if isinstance(call.layer, keras.Model | keras.layers.Wrapper):
            continue
        first = call.inputs[0] if call.inputs else None
        if first is None or first.ndim < 3:
            continue
        if call.mask_in is not None:
            lost = None
        elif lost is None and first.shape[1] == length:
            lost = f"an operation before {call.name}"
        if call.mask_out is not None:
            source = call
        elif call.mask_in is not None and isinstance(call.layer, keras.layers.Flatten):
            return call.name, "what takes all steps at once", source
        elif call.mask_in is not None and call.output is not None and call.output.ndim == 3:
            lost = call.name
        if isinstance(call.layer, keras.layers.RNN) and call.mask_in is None and lost is not None:
            return lost, call.name, source
    for output in evidence.outputs:
        if lost is not None and output.per_step and output.predicted.shape[1] == length:
            return lost, "the loss", source
    return None


def _counts_padding(evidence: Evidence, mask: np.ndarray) -> bool:
    for output in evidence.outputs:
        seen = evidence.trace.masks.get(output.name)
        if output.per_step and output.predicted.shape[1] == mask.shape[1] and seen is None:
            weights = weights_for(evidence.data.weights, output.name, output.place)
            if not isinstance(weights, np.ndarray) or weights.ndim < 2:
                return True
    return False


def _kind(calls: list[LayerCall], name: str) -> str:
    return next((type(call.layer).__name__ for call in calls if call.name == name), "no layer")


def _keep_mask(calls: list[LayerCall], name: str) -> str:
    layer = next((call.layer for call in calls if call.name == name), None)
    if layer is None or name.startswith("an operation"):
        return "mask = masking.compute_mask(x); pass mask=mask to the recurrent layer"
    if isinstance(layer, keras.layers.Flatten | keras.layers.Conv1D | keras.layers.Reshape):
        return f"move {type(layer).__name__} before the masking, or pass mask=... to the layers behind it"
    return f"self.supports_masking = True in {type(layer).__name__}.__init__"


def noncausal_forecast(evidence: Evidence) -> Finding | None:
    """Outputs at a step move with later steps of an input, and the target is among those, and not told before."""
    if evidence.fixed_batch is not None or evidence.trace.failed:
        return None
    for output in evidence.outputs:
        predicted = output.predicted
        if predicted.ndim != 3 or predicted.shape[1] < 4 or len(predicted) < 2:
            continue
        length = predicted.shape[1]
        half = length // 2
        inputs = [steps for steps in evidence.steps if steps.values.shape[1] == length]
        for steps in inputs:
            far = _moves_with_later(evidence, steps, output, half)
            found = _target_ahead(steps, inputs, output) if far > thresholds.MOVED else None
            if found is None:
                continue
            lag, feature, share = found
            layer = next(
                (call.name for call in evidence.trace.calls if isinstance(call.layer, keras.layers.Bidirectional)),
                output.name,
            )
            return Finding(
                "noncausal-forecast", "error", layer,
                f"outputs before step {half} move by {far:.1g} of their spread with inputs from there on, and "
                f"the target at t is feature {feature} of {steps.name} at t + {lag} ({share:.0%} of the steps)",
                "a forward layer in place of Bidirectional (or go_backwards=False)",
            )  # fmt: skip
    return None


def _moves_with_later(evidence: Evidence, steps: Steps, output: Output, half: int) -> float:
    """How far the output before ``half`` moves with what one input holds from there on. Each input by itself: a decoder
    may read all of what is encoded, and must not read on in what it is to answer."""
    name_of = iter(named(evidence.x, "x"))

    def later(array: np.ndarray) -> np.ndarray:
        if next(name_of) != steps.name:
            return array
        other = array.copy()
        other[:, half:] = np.roll(array, 1, axis=0)[:, half:]
        return other

    after = traced(evidence.model, keras.tree.map_structure(later, evidence.x)).outputs.get(output.name)
    return 0.0 if after is None else moved(output.predicted, after, (slice(None), slice(half)))


def _target_ahead(steps: Steps, inputs: list[Steps], output: Output) -> tuple[int, int, float] | None:
    """By how many steps a feature runs ahead of the target that it equals, up to scale, nearly everywhere; None where
    what is given up to the target's own step equals it nearly as well, as in an autoencoder or in a slow series."""
    targets = output.targets.astype(float)
    targets = targets[..., None] if targets.ndim == 2 else targets
    if targets.ndim != 3 or targets.shape[:2] != steps.values.shape[:2]:
        return None
    reach = max(2, targets.shape[1] // 2)
    for column in range(targets.shape[2]):
        target = targets[:, :, column]
        ahead = [
            (_equal(steps.values[:, :, feature], target, lag, output.classes), lag, feature)
            for lag in range(1, reach) for feature in range(steps.values.shape[2])
        ]  # fmt: skip
        likely = [one for one in ahead if one[0] > thresholds.EQUAL]
        if not likely:
            continue
        known = max(
            _equal(one.values[:, :, feature], target, lag, output.classes)
            for one in inputs for feature in range(one.values.shape[2]) for lag in range(1 - reach, 1)
        )  # fmt: skip
        share, lag, feature = max(likely)
        if 1 - known > thresholds.TOLD_BEFORE and 1 - share < thresholds.MUCH_CLOSER * (1 - known):
            return lag, feature, share
    return None


def _equal(values: np.ndarray, targets: np.ndarray, lag: int, classes: bool) -> float:
    """How far values so many steps later (earlier, below 0) are the targets: the share of equal classes, of those that
    are not 0; else the squared correlation."""
    length = targets.shape[1]
    there = values[:, max(lag, 0) : length + min(lag, 0)].ravel()
    target = targets[:, max(-lag, 0) : length - max(lag, 0)].ravel()
    if target.std() == 0 or there.std() == 0:
        return 0.0
    if classes:
        return float((there == target)[target != 0].mean()) if (target != 0).any() else 0.0
    return float(np.corrcoef(there, target)[0, 1]) ** 2


def stateful_not_carried(evidence: Evidence) -> Finding | None:
    """Two batches one after the other, through predict: the second as if there had been no first."""
    if not evidence.stateful or evidence.trace.failed or not evidence.recurrent:
        return None
    model, data = evidence.model, evidence.data
    batch = data.batch_size
    if data.size < 2 * batch:
        return None
    first, second = rows(data.x, slice(batch)), rows(data.x, slice(batch, 2 * batch))
    layers = [layer for _, layer in evidence.stateful]

    def reset() -> None:
        for layer in layers:
            layer.reset_state()

    reset()
    model.predict_on_batch(first)
    carried = keras.tree.flatten(model.predict_on_batch(second))
    reset()
    alone = keras.tree.flatten(model.predict_on_batch(second))
    reset()
    if any(not np.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in zip(carried, alone, strict=True)):
        return None
    name = evidence.stateful[0][0]
    return Finding(
        "stateful-not-carried", "error", name,
        f"stateful=True, and the answer to a second batch is the same with a first batch before it as without (on "
        f"{keras.backend.backend()}, predict and fit do not carry the state of Keras's own layer)",
        "tt.accelerate(model), whose layers carry the state on every backend",
    )  # fmt: skip


def stateful_shuffled(evidence: Evidence) -> Finding | None:
    """A carried state meets sequences that do not continue those before them."""
    if not evidence.stateful:
        return None
    data, name = evidence.data, evidence.stateful[0][0]
    if data.told and data.fit.get("shuffle", True):
        said = "shuffle=True" if "shuffle" in data.fit else "shuffle is left at its default, True"
        return Finding(
            "stateful-shuffled", "error", name, f"{said}: the state that is carried into a sequence is that of another "
            f"one ({data.size} sequences, {data.batch_size} in a batch)",
            "model.fit(..., shuffle=False), row i of each batch continuing row i of the batch before",
        )  # fmt: skip
    for steps in evidence.steps:
        values = steps.values
        if len(values) > 2 and values.shape[1] > 2:
            overlap = [np.array_equal(values[i + 1, :-1], values[i, 1:]) for i in range(min(len(values) - 1, 64))]
            if np.mean(overlap) > 0.9 and data.batch_size > 1:
                return Finding(
                    "stateful-shuffled", "error", name,
                    f"row i + 1 of {steps.name} is row i moved by one step, so row i of the next batch does not "
                    "continue row i of this one", "one stream a row: windows without overlap, laid out so that row i "
                    "of each batch continues row i of the batch before",
                )  # fmt: skip
    return None


def unbounded_activation(evidence: Evidence) -> Finding | None:
    """An activation without bound in a recurrence, and states that grow from step to step."""
    for name, call in evidence.recurrent:
        said = unbounded(call.layer)
        if said is None:
            continue
        grown = state_growth(call)
        trial = evidence.trial
        if grown is not None:
            rate, largest = grown
            if not np.isfinite(largest) or (rate > thresholds.STATE_GROWTH and largest > thresholds.STATE_SIZE):
                return _unbounded(name, call, said, f"its state grows by {rate:.3f} a step, to {largest:.3g}")
        flow = evidence.flow
        if flow is not None and name in flow:
            layer = flow[name]
            first = layer.first_to_last
            if first > thresholds.GROWN and layer.rate > thresholds.GROWTH_RATE:
                return _unbounded(
                    name,
                    call,
                    said,
                    f"its gradient grows by {layer.rate:.3f} a step back in time, to {first:.3g} times",
                )
        if trial is not None:
            jumps = max(trial.norms, default=0) / max(float(np.median(trial.norms or [0])), 1e-30)
            if trial.stopped is not None:
                return _unbounded(name, call, said, f"the loss is NaN or infinite after {trial.stopped} training steps")
            if jumps > thresholds.JUMPS and max(trial.losses) > 10 * trial.losses[0]:
                return _unbounded(
                    name, call, said,
                    f"in training the loss jumps from {trial.losses[0]:.3g} to {max(trial.losses):.3g} and the "
                    f"gradient's norm to {jumps:.0f} times its median",
                )  # fmt: skip
    return None


def unbounded(layer: keras.layers.RNN) -> str | None:
    """The activation of a layer's recurrence that has no bound, as the user wrote it; None where it has one."""
    activation = getattr(layer, "activation", None) or getattr(layer.cell, "activation", None)
    if not callable(activation):
        return None
    low, high = _range(activation, 1)
    return None if np.isfinite(low) and np.isfinite(high) else str(getattr(activation, "__name__", activation))


def state_growth(call: LayerCall) -> tuple[float, float] | None:
    """The factor by which a layer's state grows per step over the later half of its steps, and its largest value."""
    layer = call.layer
    sequences = layer.return_sequences
    try:
        layer.return_sequences = True
        with keras.StatelessScope():
            inputs = [ops.convert_to_tensor(one) for one in call.inputs[:1]]
            mask = None if call.mask_in is None else ops.convert_to_tensor(call.mask_in)
            outputs = layer(inputs[0], mask=mask)
    finally:
        layer.return_sequences = sequences
    states = ops.convert_to_numpy(keras.tree.flatten(outputs)[0]).astype(float)
    if states.ndim != 3 or states.shape[1] < 4:
        return None
    largest = float(np.abs(states).max())
    if not np.isfinite(largest):
        return float("inf"), float("inf")
    sizes = np.sqrt((states**2).mean(axis=(0, 2)))
    later = sizes[len(sizes) // 2 :]
    if (later <= 0).any():
        return 1.0, largest
    return float(np.exp(np.polyfit(np.arange(len(later)), np.log(later), 1)[0])), largest


def _unbounded(name: str, call: LayerCall, activation: str, measured: str) -> Finding:
    return Finding(
        "unbounded-activation", "error", name,
        f"activation={activation!r} has no bound, and {measured} ({call.inputs[0].shape[1]} steps)",
        'activation="tanh"; or recurrent_initializer="orthogonal" (identity for a SimpleRNN) with global_clipnorm',
    )  # fmt: skip


RULES = (
    call_fails,
    sequence_output_for_single_target,
    single_unit_softmax,
    logits_without_from_logits,
    sigmoid_for_exclusive_classes,
    output_range,
    mask_lost,
    noncausal_forecast,
    stateful_not_carried,
    stateful_shuffled,
    unbounded_activation,
)
