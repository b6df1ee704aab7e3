"""A model's train step that measures and clips the gradient, and leaves nothing behind where a value is not finite.

While a step runs, the model's ``train_step`` and its optimizer's ``apply`` are ours; between steps both are as the user
made them, so nothing of this is seen by callbacks, in saved files, or after an interrupt. What the step is told (the
threshold) and what it answers (the norm, whether all was finite) are a small array, the *slate*: on JAX it travels
behind the optimizer's variables, elsewhere it is a variable of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from ..layers.carrying import Carrying
from .arming import plain

TINY = float(np.finfo(np.float32).tiny)
LARGE = float(np.finfo(np.float32).max)
SQUARED = 1e18  # a gradient of this norm can be squared, as optimizers do

# Rows of the slate: what the step is told, then one for each step of an execution, unless it was cut short.
_UNUSED = -1.0


def global_norm(gradients: list[Any]) -> Any:
    """The Euclidean norm of all gradients together, not finite where one of them is not.

    Where squares overflow, from 1.8e19 on in float32, each is scaled by its largest value first: a gradient of that
    size can still be clipped.

    Example:
        >>> round(float(global_norm([ops.array([3e30]), ops.array([[0.0], [4e30]])])) / 1e30, 3)
        5.0
    """
    if not gradients:
        return ops.zeros(())
    dense = [ops.cast(ops.convert_to_tensor(one), "float32") for one in gradients]
    plain = ops.sqrt(sum(ops.sum(ops.square(one)) for one in dense))
    return ops.cond(plain < LARGE, lambda: plain, lambda: _norm(ops.stack([_norm(one) for one in dense])))


def _norm(values: Any) -> Any:
    largest = ops.maximum(ops.max(ops.abs(values), initial=0), TINY)
    return largest * ops.sqrt(ops.sum(ops.square(values / largest)))


class GuardedStep:
    """In place of a model's ``train_function``.

    Attributes:
        threshold: gradients whose global norm is above are scaled down to it.
        share: of each update that is made, where the learning rate is a schedule and cannot be lowered itself.
        rows: of the last execution, (norm, 1 where all was finite else 0) for each step.
        batches: of the last execution, by reference; on TensorFlow only that of the last step.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model, self.optimizer = model, model.optimizer
        self.stateless, self.eager = (keras.backend.backend() == name for name in ("jax", "torch"))
        self.threshold, self.share = np.float32(np.inf), np.float32(1)
        self.rows = np.zeros((0, 2), np.float32)
        self.batches: deque[Any] = deque(maxlen=model.steps_per_execution)
        self.has_rate = isinstance(model.optimizer.learning_rate, keras.Variable)
        # What is infinite from the start, such as a best value so far, is meant to be.
        self._unchecked = {id(v) for v in self.variables() if _is_float(v) and not _all_finite(v.value)}
        self._train_step: Callable[..., Any] = model.train_step
        shape = (1 + model.steps_per_execution, 2)
        self._slate: Any = None
        if not (self.stateless or self.eager):
            self._slate = keras.Variable(np.zeros(shape, "float32"), trainable=False)
        self._norm, self._fits = float("nan"), True  # of an eager step
        self._every = self.variables() if self.eager else []
        self._checked = [variable for variable in self._every if self._is_checked(variable)]
        self._told = np.full(shape, _UNUSED, np.float32)
        self._plain, armed = plain(model), model.train_function
        with self._patched():
            model.train_function = None
            model.make_train_function()
            self._function = model.train_function
        model.train_function = armed

    def serves(self, model: keras.Model) -> bool:
        """Whether it can be used again: not after another ``compile``, which makes another ``train_function``."""
        return self.model is model and self.optimizer is model.optimizer and self._plain is plain(model)

    def variables(self) -> list[keras.Variable]:
        """All that a step changes: weights, states, seeds, metrics, slots."""
        found = [*self.model.variables, *self.optimizer.variables, *self.model.metrics_variables]
        for layer in self.model._flatten_layers():  # Keras does not count the states of its own layers
            # Of ours it counts them; what they show as states are names for those.
            if isinstance(layer, keras.layers.RNN) and not isinstance(layer, Carrying) and layer.states is not None:
                found += keras.tree.flatten(layer.states)
        return list({id(variable): variable for variable in found}.values())

    def __call__(self, *given: Any) -> Any:
        self._told[:] = _UNUSED
        self._told[0] = self.threshold, self.share
        self.batches.clear()
        with self._patched():
            if self.stateless:
                (*others, slots, metrics), iterator = given
                state = (*others, [*slots, np.array(self._told)], metrics)
                logs, (*others, slots, metrics) = self._function(state, _Seen(iterator, self.batches))
                *slots, slate = slots
                answer = logs, (*others, slots, metrics)
            elif self.eager:
                self.batches.extend(given[0])
                answer = logs = self._function(*given)
                metrics, slate = None, [[0, 0], [self._norm, self._fits]]
            else:
                self._slate.assign(self._told)
                found = self._function(*given)
                self.batches.append(_unpacked(found["batch"]))
                answer = logs = found["logs"]
                metrics, slate = None, self._slate.value
        rows = np.array(slate if self.eager else ops.convert_to_numpy(slate), np.float32)[1:]
        self.rows = rows[rows[:, 1] != _UNUSED]
        if not self.rows[:, 1].all():
            logs.update(self._logs(metrics, logs))  # metrics were put back, and the logs were made before
        return answer

    def _logs(self, metrics: Any, logs: dict[str, Any]) -> dict[str, Any]:
        mapping = list(zip(self.model.metrics_variables, metrics, strict=True)) if self.stateless else []
        if not mapping:
            found = self.model.get_metrics_result()
        else:
            with keras.StatelessScope(state_mapping=mapping):
                found = self.model.get_metrics_result()
        return {name: value for name, value in found.items() if name in logs}

    # In the graph -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _patched(self) -> Iterator[None]:
        """In the instances' own dictionaries: their classes, and so what is saved of them, stay as they are."""
        model, optimizer = self.model.__dict__, self.optimizer.__dict__
        names = [(model, "train_step"), (optimizer, "stateless_apply" if self.stateless else "apply")]
        before = [(held, name, held[name]) for held, name in names if name in held]
        applied = self.optimizer.stateless_apply if self.stateless else self.optimizer.apply
        if self.stateless:
            model["train_step"], optimizer["stateless_apply"] = self._stateless_step, self._stateless_apply(applied)
        elif self.eager:
            model["train_step"], optimizer["apply"] = self._eager_step, self._eager_apply(applied)
        else:
            model["train_step"], optimizer["apply"] = self._stateful_step, self._stateful_apply(applied)
        try:
            yield
        finally:
            for held, name in names:
                del held[name]
            for held, name, value in before:
                held[name] = value

    def _stateless_step(self, state: Any, data: Any) -> Any:
        trainable, other, slots, metrics = state
        *slots, slate = slots
        slate = ops.concatenate([slate[:1], slate[2:], ops.array([[np.nan, 1.0]], "float32")])
        logs, (*found, new_metrics) = self._train_step((trainable, other, [*slots, slate], metrics), data)
        new_trainable, new_other, (*new_slots, slate) = found
        model = self.model
        named = [
            *zip(model.trainable_variables, new_trainable, strict=True),
            *zip(model.non_trainable_variables, new_other, strict=True),
        ]
        finite = self._is_finite(logs, slate, named)
        if not self.has_rate:
            new_trainable = [self._shared(slate[0, 1], *pair) for pair in zip(trainable, new_trainable, strict=True)]

        def chosen(new: list[Any], old: list[Any]) -> list[Any]:
            return [ops.where(finite, *pair) for pair in zip(new, old, strict=True)]

        slots = [*chosen(new_slots, slots), _answered(slate, finite)]
        state = chosen(new_trainable, trainable), chosen(new_other, other), slots, chosen(new_metrics, metrics)
        return logs, state

    def _stateful_step(self, data: Any) -> Any:
        variables = self.variables()
        before = [ops.copy(variable.value) for variable in variables]
        slate: Any = self._slate
        slate.assign(ops.concatenate([slate[:1], slate[2:], ops.array([[np.nan, 1.0]], "float32")]))
        logs = self._train_step(data)
        finite = self._is_finite(logs, slate.value, [(variable, variable.value) for variable in self.model.variables])

        def restore() -> None:
            for variable, old in zip(variables, before, strict=True):
                variable.assign(old)

        ops.cond(finite, lambda: None, restore)
        if not self.has_rate:
            weights = {id(weight) for weight in self.model.trainable_variables}
            for variable, old in zip(variables, before, strict=True):
                if id(variable) in weights:
                    variable.assign(self._shared(slate[0, 1], old, variable.value))
        slate.assign(_answered(slate.value, finite))
        return {"logs": logs, "batch": _packed(data)}

    def _eager_step(self, data: Any) -> Any:
        """On PyTorch each operation is a call from Python: a few for all variables, instead of some for each."""
        from . import torch

        before = torch.copied([variable.value for variable in self._every])
        self._norm, self._fits = float("nan"), True
        logs = self._train_step(data)
        checked = [variable.value for variable in self._checked]
        checked += [logs["loss"]] if isinstance(logs, dict) and "loss" in logs else []
        self._fits = self._fits and torch.all_finite(checked)
        share = 1.0 if self.has_rate else float(self.share)
        weights = {id(weight) for weight in self.model.trainable_variables} if share < 1 else set()
        if not self._fits or weights:
            for variable, old in zip(self._every, before, strict=True):
                if not self._fits:
                    variable.assign(old)
                elif id(variable) in weights:
                    variable.assign(old + share * (variable.value - old))
        return logs

    def _is_finite(self, logs: Any, slate: Any, named: list[tuple[keras.Variable, Any]]) -> Any:
        """Whether the gradient was, and the loss, and all that the step has made of weights and states.

        What optimizers keep is a mean of gradients or of their squares: finite where those are.
        """
        checked = [value for variable, value in named if self._is_checked(variable)]
        checked += [logs["loss"]] if isinstance(logs, dict) and "loss" in logs else []
        each = [ops.all(ops.isfinite(ops.cast(value, "float32"))) for value in checked]
        return ops.all(ops.stack([slate[-1, 1] > 0, *each]))

    def _is_checked(self, variable: keras.Variable) -> bool:
        return id(variable) not in self._unchecked and _is_float(variable)

    def _shared(self, share: Any, old: Any, new: Any) -> Any:
        return ops.where(share < 1, old + ops.cast(share, new.dtype) * (new - old), new)

    def _clipped(self, slate: Any, scale: Any, gradients: Any, variables: list[Any]) -> tuple[list[Any], Any]:
        """The gradients, and the slate with their norm and whether it is finite."""
        places = [
            place for place, (gradient, variable) in enumerate(zip(gradients, variables, strict=True))
            # Such a variable takes the place of its gradient; it is no direction.
            if gradient is not None and not getattr(variable, "overwrite_with_gradient", False)
        ]  # fmt: skip
        dense = [gradients[place] for place in places]
        if keras.backend.backend() == "tensorflow":
            from . import tensorflow

            dense = tensorflow.dense(dense)
        norm = global_norm(dense if scale is None else [one / ops.cast(scale, one.dtype) for one in dense])
        threshold = slate[0, 0]
        factor = ops.where(norm > threshold, threshold / norm, 1.0)
        gradients = list(gradients)
        for place, one in zip(places, dense, strict=True):
            gradients[place] = one * ops.cast(factor, one.dtype)
        finite = ops.minimum(norm, threshold) < SQUARED
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # It tries scales that are too high on purpose, and leaves out the steps of those. Below 1 none is left.
            finite = ops.logical_or(finite, scale > 1)
        row = ops.stack([norm, ops.cast(finite, "float32")])
        return gradients, ops.concatenate([slate[:-1], row[None]])

    def _stateless_apply(self, applied: Callable[..., Any]) -> Callable[..., Any]:
        def stateless_apply(optimizer_variables: Any, grads: Any, trainable_variables: Any) -> Any:
            *slots, slate = optimizer_variables
            optimizer = self.optimizer
            scale = optimizer.loss_scale_factor
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                scale = next(
                    value for variable, value in zip(optimizer.variables, slots, strict=True)
                    if variable is optimizer.dynamic_scale
                )  # fmt: skip
            grads, slate = self._clipped(slate, scale, grads, optimizer._trainable_variables)
            weights, slots = applied(slots, grads, trainable_variables)
            return weights, [*slots, slate]

        return stateless_apply

    def _eager_apply(self, applied: Callable[..., Any]) -> Callable[..., Any]:
        from . import torch

        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            scale = self.optimizer.loss_scale_factor
            scaling = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
            if scaling:
                scale = float(self.optimizer.dynamic_scale.value)
            grads = list(grads)
            places = [place for place, one in enumerate(grads) if one is not None]
            dense = [grads[place] for place in places]
            norm = torch.global_norm(dense) / (scale or 1.0)
            if not norm < LARGE:
                norm = float(global_norm(dense if scale is None else [one / scale for one in dense]))
            self._norm, threshold = norm, float(self.threshold)
            self._fits = min(norm, threshold) < SQUARED or (scaling and scale > 1 and not norm < LARGE)
            if norm > threshold:
                for place, one in zip(places, torch.scaled(dense, threshold / norm), strict=True):
                    grads[place] = one
            return applied(grads, trainable_variables)

        return apply

    def _stateful_apply(self, applied: Callable[..., Any]) -> Callable[..., Any]:
        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            optimizer, slate = self.optimizer, self._slate
            variables = optimizer._trainable_variables if trainable_variables is None else list(trainable_variables)
            if not optimizer.built:
                optimizer.build(variables)
            scale = optimizer.loss_scale_factor
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                scale = ops.copy(optimizer.dynamic_scale.value)
            grads, answered = self._clipped(slate.value, scale, list(grads), variables)
            slate.assign(answered)
            return applied(grads, trainable_variables)

        return apply


def _answered(slate: Any, finite: Any) -> Any:
    row = ops.stack([slate[-1, 0], ops.cast(finite, "float32")])
    return ops.concatenate([slate[:-1], row[None]])


def _is_float(variable: keras.Variable) -> bool:
    return keras.backend.is_float_dtype(variable.dtype)


def _all_finite(value: Any) -> bool:
    return bool(np.isfinite(ops.convert_to_numpy(ops.cast(value, "float32"))).all())


def _packed(data: Any) -> dict[str, Any]:
    """A batch as a TensorFlow function can return it: without None."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    return {name: one for name, one in (("x", x), ("y", y), ("weight", weight)) if one is not None}


def _unpacked(batch: dict[str, Any]) -> tuple[Any, ...]:
    return batch["x"], batch.get("y"), batch.get("weight")


class _Seen:
    """An iterator over batches that keeps the last ones."""

    def __init__(self, iterator: Iterator[Any], kept: deque[Any]) -> None:
        self._iterator, self._kept = iterator, kept

    def __iter__(self) -> _Seen:
        return self

    def __next__(self) -> Any:
        batch = next(self._iterator)
        self._kept.append(batch)
        return batch
