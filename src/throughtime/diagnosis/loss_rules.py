"""Rules about the loss on its targets: what stops ``fit``, and what it takes for something else in silence."""

from __future__ import annotations

import keras
import numpy as np

from ..errors import first_line
from . import thresholds
from .evidence import Evidence, Output
from .findings import Finding
from .given import weights_for

# Keras's own losses; a user's function may do with targets what it likes.
ONE_HOT = ("categoricalcrossentropy", "categoricalfocalcrossentropy", "kldivergence")
UNIT_INTERVAL = (*ONE_HOT, "binarycrossentropy", "binaryfocalcrossentropy")
ELEMENTWISE = (
    "meansquarederror", "meanabsoluteerror", "meanabsolutepercentageerror", "meansquaredlogarithmicerror", "huber",
    "logcosh", "poisson", "binarycrossentropy", "binaryfocalcrossentropy", "hinge", "squaredhinge", "mse", "mae",
)  # fmt: skip


def wrong_labels(evidence: Evidence) -> Finding | None:
    """Labels that are no class of the output, or outside of what a loss of probabilities compares with."""
    for output in evidence.outputs:
        if output.targets.dtype.kind not in "fiub":
            continue
        counted = _counted(evidence, output)
        labels = counted[np.isfinite(counted)].astype(float)
        if not len(labels):
            continue
        if output.sparse:
            found = _no_classes(output, labels)
        elif output.loss in UNIT_INTERVAL and output.targets.size // len(output.targets) == (
            output.predicted.size // len(output.predicted)
        ):  # labels in place of one-hot rows are another fault
            found = _no_probabilities(output, labels)
        else:
            continue
        if found is not None:
            return found
    return None


def _counted(evidence: Evidence, output: Output) -> np.ndarray:
    """The targets that the loss counts. On JAX those of weight 0 and of masked steps do no harm, whatever they are; on
    PyTorch and TensorFlow they stop the loss."""
    targets = output.targets
    if keras.backend.backend() != "jax":
        return targets.ravel()
    use = np.ones(targets.shape, bool)
    weights = weights_for(evidence.data.weights, output.name, output.place)
    if weights is not None and np.shape(weights) == targets.shape[: np.ndim(weights)]:
        use &= np.reshape(weights, (*np.shape(weights), *[1] * (targets.ndim - np.ndim(weights)))) != 0
    mask = evidence.trace.masks.get(output.name)
    if mask is not None and targets.ndim >= 2 and mask.shape[1] == targets.shape[1]:  # known for the sample alone
        rows = np.zeros(targets.shape, bool)
        rows[evidence.index] = np.reshape(mask, (*mask.shape, *[1] * (targets.ndim - 2)))
        use &= rows
    return targets[use]


def _no_classes(output: Output, labels: np.ndarray) -> Finding | None:
    classes = output.predicted.shape[-1]
    if output.ignored is not None:
        labels = labels[labels != output.ignored]
    cut = labels != np.round(labels)
    beyond = (labels < 0) | (labels >= classes)
    share = float((cut | beyond).mean()) if len(labels) else 0.0
    if not share:
        return None
    low, high = labels.min(), labels.max()
    if cut.any():
        return Finding(
            "wrong-labels", "error", output.name,
            f"{output.loss} takes whole numbers for classes, and {cut.mean():.1%} of the labels are none, such as "
            f"{labels[cut][0]:.4g}: they are cut off to a class in silence",
            'loss="mse" and one unit, where the targets are amounts; else labels as whole numbers from 0 on',
        )  # fmt: skip
    if low >= 1 and high == classes:
        remedy = f"y - 1: labels from 0 to {classes - 1}"
    elif low == -1:
        remedy = ("keras.losses.SparseCategoricalCrossentropy(ignore_class=-1), where -1 is no class; else labels "
                  "from 0 on")  # fmt: skip
    elif low < 0:
        remedy = f"labels from 0 to {classes - 1}: numpy.unique(y, return_inverse=True)[1]"
    else:
        remedy = f"{int(high) + 1} units in the last layer, or labels from 0 to {classes - 1}"
    return Finding(
        "wrong-labels", "error", output.name,
        f"the labels reach from {low:g} to {high:g}, and {classes} outputs are for labels from 0 to {classes - 1}; "
        f"{share:.1%} of the labels are none of these (JAX counts them as no class at all, PyTorch and TensorFlow "
        "stop)", remedy,
    )  # fmt: skip


def _no_probabilities(output: Output, values: np.ndarray) -> Finding | None:
    beyond = (values < -1e-6) | (values > 1 + 1e-6)
    if not beyond.any():
        return None
    low, high = values.min(), values.max()
    distinct = np.unique(values)
    one_unit = output.predicted.shape[-1] == 1
    if np.array_equal(distinct, [-1, 1]):
        remedy = "(y + 1) / 2"
    elif np.array_equal(distinct, [1, 2]):
        remedy = "y - 1"
    elif one_unit and np.array_equal(distinct, np.round(distinct)) and low >= 0:
        remedy = f'{int(high) + 1} units with softmax, and loss="sparse_categorical_crossentropy"'
    else:
        remedy = 'loss="mse" without an activation of the last layer; or targets between 0 and 1'
    return Finding(
        "wrong-labels", "error", output.name,
        f"{output.loss} compares with probabilities between 0 and 1, and {beyond.mean():.1%} of the targets lie beyond "
        f"({low:.4g} to {high:.4g}): the loss then has no least value that is right", remedy,
    )  # fmt: skip


def loss_fails(evidence: Evidence) -> Finding | None:
    """What fit would stop with in the loss of its first batch, or of the validation data."""
    if evidence.loss_error is None:
        return None
    where, error = evidence.loss_error
    shapes = "; ".join(
        f"{output.name} gives {_shape(output.predicted)} and its targets have {_shape(output.targets)}"
        for output in evidence.outputs
    )
    name = evidence.outputs[0].name if len(evidence.outputs) == 1 else "loss"
    said = f"fit stops {where}: {first_line(error)}"
    return Finding("loss-fails", "error", name, f"{said} ({shapes})" if shapes else said, _mended(evidence))


def _shape(array: np.ndarray) -> str:
    return f"({', '.join(['batch', *map(str, array.shape[1:])])})"


def _mended(evidence: Evidence) -> str:
    data = evidence.data
    if data.fit.get("class_weight") is not None:
        if data.weights is not None:
            return "sample_weight= or class_weight=, one of them"
        if len(evidence.outputs) != 1:
            return "sample_weight= with an array for each output in place of class_weight="
        if evidence.outputs[0].targets.ndim > 1:
            return "class_weight= is for one label a sequence; sample_weight=numpy.vectorize(class_weight.get)(y) here"
    for output in evidence.outputs:
        predicted, target = output.predicted, output.targets
        whole = target.dtype.kind in "iub" or bool(np.equal(np.mod(target, 1), 0).all())
        single = target.ndim == predicted.ndim - 1 or (target.ndim == predicted.ndim and target.shape[-1] == 1)
        if output.loss in ONE_HOT and whole and single:
            return 'loss="sparse_categorical_crossentropy", or keras.utils.to_categorical(y)'
        if output.sparse and target.shape == (len(target), *predicted.shape[1:]):
            return 'loss="categorical_crossentropy"'
        if target.ndim == predicted.ndim and target.shape[1:-1] == predicted.shape[1:-1] and (
            target.shape[-1] != predicted.shape[-1] and not output.sparse
        ):  # fmt: skip
            return f"{target.shape[-1]} units in the last layer, or targets with {predicted.shape[-1]} columns"
        if target.ndim >= 2 and predicted.ndim == 3 and target.shape[1] != predicted.shape[1]:
            return f"targets of {predicted.shape[1]} steps, as the output has"
    return "targets in the structure and of the shape that the model gives; see model.output_shape"


def target_shape(evidence: Evidence) -> Finding | None:
    """Targets of another shape than the output, over which a loss by elements spreads them in silence."""
    if evidence.loss_error is not None:
        return None
    for output in evidence.outputs:
        given, wanted = list(output.predicted.shape[1:]), list(output.targets.shape[1:])
        if output.loss not in ELEMENTWISE:
            continue
        if len(given) == len(wanted) + 1 and given[-1] == 1:  # Keras takes such an axis away, or adds it
            given = given[:-1]
        elif len(wanted) == len(given) + 1 and wanted[-1] == 1:
            wanted = wanted[:-1]
        if given == wanted:
            continue
        return Finding(
            "target-shape", "error", output.name,
            f"the output has shape {_shape(output.predicted)} and the targets have {_shape(output.targets)}: "
            f"{output.loss} compares each of one with several of the other",
            f"targets of shape {_shape(output.predicted)}, or a last layer that gives {_shape(output.targets)}",
        )  # fmt: skip
    return None


def probabilities_as_logits(evidence: Evidence) -> Finding | None:
    """A softmax under a loss from_logits, which takes a softmax of it once more."""
    if evidence.loss_error is not None or evidence.softmax_taken_back:
        return None
    for output in evidence.outputs:
        predicted, classes = output.predicted, output.predicted.shape[-1]
        if not output.from_logits or classes < 2 or output.loss not in ("sparsecategoricalcrossentropy", *ONE_HOT):
            continue
        sums = predicted.sum(axis=-1)
        if predicted.min() < 0 or np.abs(sums - 1).max() > thresholds.SUMS_TO_ONE:
            continue
        least = float(np.log(1 + (classes - 1) * np.exp(-1)))
        return Finding(
            "probabilities-as-logits", "error", output.name,
            f"all outputs lie between 0 and 1 and sum to 1, and {output.loss} with from_logits=True takes a softmax of "
            f"them once more: the loss cannot fall below {least:.3g}, however right the answers are",
            "from_logits=False, or no softmax at the end",
        )  # fmt: skip
    return None


RULES = (wrong_labels, loss_fails, target_shape, probabilities_as_logits)
