"""Short trainings from the model's own weights, with its own loss, optimizer and training step.

What is learned in a hundred steps says nothing about how good a model will become; it does say whether the loss falls
at all, and at which learning rate. Runs inside ``untouched``: everything is put back by that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from . import thresholds
from .given import Given, rows
from .keeping import every_variable


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that losses are measured on: ``split`` of them are trained on, the others are not.

    ``masks`` by output, as the model gives them; None without. ``trained`` are the rows of the data to train on.
    """

    x: Any
    y: Any
    weights: Any
    split: int
    masks: list[np.ndarray | None]
    trained: np.ndarray

    def part(self, name: str) -> slice:
        return slice(self.split) if name == "train" else slice(self.split, None)


@dataclass
class Trial:
    """One short training.

    Args:
        rate: the learning rate; None where it follows a schedule.
        losses: of each step's batch, before that step.
        norms: of each step's gradient, before clipping.
        moved: the mean relative change of the weights per step, over the first steps.
        before, after: losses on the sample's parts, "train" and "held".
        curve: the same after some steps, by step.
        predictions: for the sample after the training, one array an output.
        stopped: the step whose loss was NaN or infinite; None without.
        batch: x, y and weights of that step.
        weights: of the model before that step; after the training where it did not stop.
    """

    rate: float | None
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    moved: float = 0.0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    curve: dict[int, dict[str, float]] = field(default_factory=dict)
    predictions: list[np.ndarray] = field(default_factory=list)
    stopped: int | None = None
    batch: tuple[Any, Any, Any] | None = None
    weights: list[np.ndarray] = field(default_factory=list)

    def along(self, part: str) -> np.ndarray:
        """The losses on a part of the sample: at the start, at some steps, at the end."""
        found = [self.before, *self.curve.values()]
        if not self.curve or next(reversed(self.curve)) != len(self.losses):
            found.append(self.after)
        return np.array([one[part] for one in found if part in one])

    def smooth(self, part: str) -> np.ndarray:
        """The losses after the start, each the mean of two looks in a row: of several that go up and down, one is low
        by chance, and then the next one is not."""
        losses = self.along(part)[1:]
        return (losses[:-1] + losses[1:]) / 2 if len(losses) > 1 else losses

    def least(self, part: str) -> float:
        """The least loss on the way; infinity where all are NaN."""
        losses = np.append(self.smooth(part), self.before.get(part, np.nan))
        finite = losses[np.isfinite(losses)]
        return float(finite.min()) if len(finite) else float("inf")

    def falls(self, part: str) -> bool:
        """The loss on the same rows goes on falling up to the end."""
        losses = self.smooth(part)
        if self.stopped is not None or len(losses) < 2 or not np.isfinite(losses).all():
            return False
        middle = losses[(len(losses) - 1) // 2]
        return bool(losses[-1] < middle - thresholds.FALLING * abs(middle) and losses[-1] <= losses.min())


class Trainer:
    """Trains a model again and again from the same weights and optimizer state.

    Args:
        model: compiled and built, inside ``untouched``.
        data: what the batches are of.
        sample: what losses are measured on.
    """

    def __init__(self, model: keras.Model, data: Given, sample: Sample) -> None:
        self.model, self.data, self.sample = model, data, sample
        self.stateful = any(getattr(layer, "stateful", False) for layer in model._flatten_layers())
        self.optimizer = model.optimizer
        self.loss = model.loss
        self.loss_weights = model._compile_loss._user_loss_weights if model._compile_loss is not None else None
        config = self.optimizer.get_config()
        self.scheduled = isinstance(config.get("learning_rate"), dict)
        self.rate = None if self.scheduled else float(ops.convert_to_numpy(self.optimizer.learning_rate))
        self.current = float(ops.convert_to_numpy(self.optimizer.learning_rate))
        self.start = [_copy(variable) for variable in self._variables()]
        self.compiled: Any = None
        self.begin: list[np.ndarray] = []  # of the optimizer that is trained with

    def _variables(self) -> list[Any]:
        own = {id(one) for one in self.model.optimizer.variables} | {id(one) for one in self.model.metrics_variables}
        return [one for one in every_variable(self.model) if id(one) not in own]

    def trial(
        self, steps: int, *, rate: float | None = None, y: Any = None, seed: int = 0, budget: float = np.inf,
        look: Sequence[int] = (),
    ) -> Trial:  # fmt: skip
        """So many steps, or as many as fit into ``budget`` seconds.

        Args:
            rate: in place of the optimizer's own.
            y: in place of the targets.
            seed: of the order of the sequences.
            look: steps after which the losses of the sample are measured as well.
        """
        model = self.model
        for variable, value in zip(self._variables(), self.start, strict=True):
            variable.assign(value)
        if self.compiled is None:
            self.compiled = self._compile()
        optimizer = self._reset(rate)
        found = Trial(rate=self.rate if rate is None else rate)
        sample = self.sample if y is None else None
        if sample is not None:
            found.before = self.losses()[0]
        targets = self.data.y if y is None else y
        order = self._batches(steps, seed)
        weights = [_copy(one) for one in model.trainable_variables]
        began = time.monotonic()
        for step, index in enumerate(order):
            x, wanted, weight = rows(self.data.x, index), rows(targets, index), rows(self.data.weights, index)
            before = [_copy(one) for one in model.trainable_variables]
            logs = model.train_on_batch(
                x, wanted, sample_weight=weight, class_weight=self.data.fit.get("class_weight"), return_dict=True
            )
            loss = float(logs["loss"])
            norm = float(ops.convert_to_numpy(optimizer.norm))
            if not np.isfinite(loss) or not np.isfinite(norm):
                found.stopped, found.batch, found.weights = step, (x, wanted, weight), before
                if np.isfinite(loss):
                    found.losses.append(loss)
                break
            found.losses.append(loss)
            found.norms.append(norm)
            if step == 4 or (step < 4 and step == len(order) - 1):
                found.moved = _relative(weights, [_copy(one) for one in model.trainable_variables]) / (step + 1)
            if step + 1 in look:
                found.curve[step + 1] = self.losses()[0]
            if time.monotonic() - began > budget:
                break
        if found.stopped is None:
            found.weights = [_copy(one) for one in model.trainable_variables]
        if sample is not None:
            found.after, found.predictions = self.losses()
        return found

    def losses(self) -> tuple[dict[str, float], list[np.ndarray]]:
        """On the sample's parts, with the model's own loss; and its predictions there."""
        sample = self.sample
        predicted = self._predict(sample.x)
        found = {"train": self.loss_of(predicted, "train")}
        if len(keras.tree.flatten(sample.x)[0]) > sample.split:
            found["held"] = self.loss_of(predicted, "held")
        return found, keras.tree.flatten(predicted)

    def _predict(self, x: Any) -> Any:
        if not self.stateful:
            return self.model.predict_on_batch(x)
        self._reset_states()
        predicted = self.model.predict_on_batch(x)
        self._reset_states()
        return predicted

    def _reset_states(self) -> None:
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.RNN) and layer.stateful:
                layer.reset_state()

    def loss_of(self, predicted: Any, part: str) -> float:
        """The loss of predictions for all rows of the sample, on one of its parts, without penalties of layers."""
        sample, index = self.sample, self.sample.part(part)
        return loss_on(
            self.model._compile_loss, rows(sample.y, index), rows(predicted, index), rows(sample.weights, index),
            [None if mask is None else mask[index] for mask in sample.masks],
        )  # fmt: skip

    def _compile(self) -> Any:
        model = self.model
        recording: Any = _recording(type(self.optimizer)).from_config(  # type: ignore[attr-defined]
            self.optimizer.get_config()
        )
        if not self.scheduled:
            recording.learning_rate = self.current
        jit = bool(model.jit_compile) and all(layer.supports_jit for layer in model._flatten_layers())
        keras.Model.compile(
            model, optimizer=recording, loss=self.loss, loss_weights=self.loss_weights, metrics=None,
            run_eagerly=model.run_eagerly, jit_compile=jit, auto_scale_loss=False,
        )  # fmt: skip
        model._compile_metrics = None
        recording.build(model.trainable_variables)
        self.begin = [_copy(one) for one in recording.variables]
        return recording

    def _reset(self, rate: float | None) -> Any:
        """The optimizer as the user's was, at the rate."""
        recording, before = self.compiled, self.optimizer
        values = self.begin
        if before.built and len(before.variables) + 1 == len(recording.variables):
            values = [*(_copy(one) for one in before.variables), np.zeros((), "float32")]
        for variable, value in zip(recording.variables, values, strict=True):
            variable.assign(value)
        if not self.scheduled:
            recording.learning_rate = self.current if rate is None else rate
        return recording

    def _batches(self, steps: int, seed: int) -> list[Any]:
        trained = self.sample.trained
        size = len(trained)
        batch = min(self.data.batch_size, size)
        if self.stateful:
            whole = size // batch
            return [slice(batch * (i % whole), batch * (i % whole) + batch) for i in range(steps)] if whole else []
        return shuffled(trained, batch, steps, seed)


def _recording(stock: type) -> type:
    """A class of optimizer that keeps the norm of the last gradient, before its own clipping."""

    def build(self: Any, variables: Any) -> None:
        stock.build(self, variables)  # type: ignore[attr-defined]
        self.norm = self.add_variable((), name="norm", dtype="float32")

    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
        norm = norm_of(grads)
        scaled = isinstance(self, keras.optimizers.LossScaleOptimizer)
        self.norm.assign(norm / self.dynamic_scale if scaled else norm)
        return stock.apply(self, grads, trainable_variables)  # type: ignore[attr-defined]

    return type(stock.__name__, (stock,), {"build": build, "apply": apply, "__module__": stock.__module__})


def norm_of(gradients: Sequence[Any]) -> Any:
    """The Euclidean norm of all gradients together, a tensor."""
    given = [ops.cast(ops.convert_to_tensor(one), "float32") for one in gradients if one is not None]
    return ops.sqrt(sum((ops.sum(ops.square(one)) for one in given), start=ops.zeros(())))


def shuffled(members: np.ndarray, batch: int, steps: int, seed: int) -> list[np.ndarray]:
    """So many batches of rows, shuffled anew once all were seen; of one size, so that one function is compiled."""
    rng = np.random.default_rng(seed)
    order: list[np.ndarray] = []
    while len(order) < steps:
        mixed = rng.permutation(members)
        order += [mixed[i : i + batch] for i in range(0, len(mixed) - batch + 1, batch)]
    return order[:steps]


def loss_on(loss: Any, y: Any, predicted: Any, weights: Any, masks: Sequence[np.ndarray | None]) -> float:
    """A compiled loss of predictions; where there are no weights, masked steps of an only output do not count."""
    flat = keras.tree.flatten(predicted)
    if weights is None and len(flat) == 1 and masks[0] is not None and np.ndim(flat[0]) == 3:
        weights = masks[0].astype("float32")
    tensors = [
        None if one is None else keras.tree.map_structure(ops.convert_to_tensor, one) for one in (y, predicted, weights)
    ]
    return float(ops.convert_to_numpy(loss(*tensors)))


def _copy(variable: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(variable.value))


def _relative(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    change = sum(float(((b - a).astype(float) ** 2).sum()) for b, a in zip(before, after, strict=True))
    size = sum(float((b.astype(float) ** 2).sum()) for b in before)
    return float(np.sqrt(change / size)) if size > 0 else 0.0
