"""All that rules look at: the data by role, one traced call, the gradient's flow, and what short trainings showed.

Probes are run when a rule first asks for them, once. What a probe cannot do on this model is None, and a rule that
needs it finds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np

from ..errors import first_line
from ..gradients.building import copy_loss, loss_apart
from ..gradients.differentiate import nothing_lasts
from ..gradients.flow import GradientFlow, gradient_flow
from ..layers.paths import recurrent_layers
from ..layers.swapping import accelerated
from . import thresholds
from .given import Given, named, rows, weights_for, weights_in_fit
from .tracing import LayerCall, Trace, traced
from .trials import Sample, Trainer, Trial


@dataclass(frozen=True, eq=False)
class Steps:
    """An input that has time steps.

    Args:
        name: as the user would write it, ``"x"`` or ``"x[1]"``.
        values: (N, T, F) float64, or (N, T, 1) of tokens.
        tokens: the values are those of an Embedding.
        mask_value: what Masking or ``mask_zero`` takes for padding; None without.
    """

    name: str
    values: np.ndarray
    tokens: bool
    mask_value: float | None

    @property
    def masked(self) -> np.ndarray:
        """(N, T): the steps that the mask leaves out."""
        if self.mask_value is None:
            return np.zeros(self.values.shape[:2], bool)
        return (self.values == np.float32(self.mask_value)).all(axis=2)


@dataclass(frozen=True, eq=False)
class Output:
    """An output with its targets and its loss.

    Args:
        name: of the output.
        targets: all of them, as given.
        predicted: for the sample's rows.
        loss: the loss's name in lower case, without ``_``, as in ``"binarycrossentropy"``; empty where it is unknown.
        from_logits: the loss takes logits.
        place: of the output among all.
        ignored: a label that the loss leaves out; None without.
    """

    name: str
    targets: np.ndarray
    predicted: np.ndarray
    loss: str
    from_logits: bool
    place: int = 0
    ignored: int | None = None

    @property
    def classes(self) -> bool:
        """Whether the loss is one of classes."""
        return "crossentropy" in self.loss or "focal" in self.loss or self.loss == "kldivergence"

    @property
    def sparse(self) -> bool:
        return self.loss == "sparsecategoricalcrossentropy"

    @property
    def per_step(self) -> bool:
        return self.predicted.ndim >= 3


@dataclass
class Evidence:
    """What is known of one model on its data. Made inside ``untouched``."""

    model: keras.Model
    data: Given
    train: bool = True
    seconds: float = 30.0
    left_out: list[str] = field(default_factory=list)
    spent: float = 0.0  # seconds of training
    tried: int = 0  # short trainings
    rates: dict[float, Trial | None] = field(default_factory=dict)

    # The data -------------------------------------------------------------------------------------------------------

    @cached_property
    def fixed_batch(self) -> int | None:
        """The number of sequences that every batch has to have; None where any will do."""
        shapes = [one.shape[0] for one in getattr(self.model, "inputs", None) or ()]
        return shapes[0] if shapes and shapes[0] is not None else None

    @cached_property
    def stateful(self) -> list[tuple[str, keras.layers.RNN]]:
        return [(name, layer) for name, layer, _ in recurrent_layers(self.model) if layer.stateful]

    @cached_property
    def index(self) -> np.ndarray:
        """The rows of the training data that probes run on: some that are trained on, then those held out."""
        return np.concatenate([self._chosen[0], self._chosen[1]])

    @cached_property
    def _chosen(self) -> tuple[np.ndarray, np.ndarray]:
        data = self.data
        none = np.zeros(0, int)
        if self.fixed_batch is not None or self.stateful:
            return np.arange(data.batch_size), none
        longest = max((one.shape[1] for one in data.inputs().values() if one.ndim > 1), default=1)
        count = int(np.clip(thresholds.SAMPLE_STEPS // max(longest, 1), 4, thresholds.SAMPLE_ROWS))
        chosen = np.unique(np.linspace(0, data.size - 1, min(count, data.size)).astype(int))
        if data.validation is not None or data.size < thresholds.HELD_FROM:
            return chosen, none
        held = chosen[1::2][: data.size // 4]
        return np.setdiff1d(chosen, held), held

    @cached_property
    def sample(self) -> Sample:
        """Rows that are trained on, then rows that are not: the user's validation data, or some held out."""
        data, (ours, held) = self.data, self._chosen
        x, y, weights = rows(data.x, self.index), rows(data.y, self.index), rows(data.weights, self.index)
        masks = list(self.trace.masks.values())
        if data.validation is None or self.fixed_batch is not None or self.stateful:
            return Sample(x, y, weights, len(ours), masks, np.setdiff1d(np.arange(data.size), held))
        count = len(keras.tree.flatten(data.validation[0])[0])
        others = np.unique(np.linspace(0, count - 1, min(len(ours), count)).astype(int))
        theirs = [rows(part, others) for part in data.validation]
        pairs = zip(keras.tree.flatten((x, y)), keras.tree.flatten((theirs[0], theirs[1])), strict=False)
        every = np.arange(data.size)
        if any(one.shape[1:] != two.shape[1:] for one, two in pairs):
            self.left_out.append("the validation data: its arrays have other shapes than the training data's")
            return Sample(x, y, weights, len(ours), masks, every)

        def both(one: Any, two: Any) -> Any:
            if one is None or two is None:
                return None
            return keras.tree.map_structure(lambda a, b: np.concatenate([a, b]), one, two)

        whole = both(x, theirs[0])
        if any(mask is not None for mask in masks):
            masks = list(traced(self.model, whole).masks.values())
        return Sample(whole, both(y, theirs[1]), both(weights, theirs[2]), len(ours), masks, every)

    @cached_property
    def x(self) -> Any:
        """The sample of the training data."""
        return rows(self.data.x, self.index)

    @cached_property
    def y(self) -> Any:
        return rows(self.data.y, self.index)

    @cached_property
    def steps(self) -> list[Steps]:
        """The inputs with time steps."""
        lengths = {call.inputs[0].shape[1] for _, call in self.recurrent}
        sources = self._embedded()
        found = []
        for name, array in self.data.inputs().items():
            source = sources.get(name, [])
            embeddings = [call for call in source if isinstance(call.layer, keras.layers.Embedding)]
            maskings = [call for call in source if isinstance(call.layer, keras.layers.Masking)]
            mask_value = float(maskings[0].layer.mask_value) if maskings else None
            if any(call.layer.mask_zero for call in embeddings):
                mask_value = 0.0
            if array.ndim == 3 and array.dtype.kind in "fiub":
                found.append(Steps(name, array.astype(np.float32), False, mask_value))
            elif array.ndim == 2 and (embeddings or array.shape[1] in lengths) and array.dtype.kind in "fiu":
                found.append(Steps(name, array[..., None].astype(np.float32), bool(embeddings), mask_value))
        return found

    def _embedded(self) -> dict[str, list[LayerCall]]:
        """By name of an input, the Embedding and Masking layers that take it as it is."""
        found: dict[str, list[LayerCall]] = {}
        arrays = named(self.x, "x")
        for call in self.trace.of((keras.layers.Embedding, keras.layers.Masking)):
            taken = call.inputs[0]
            for name, array in arrays.items():
                if array.shape == taken.shape and np.array_equal(array.astype(np.float32), taken.astype(np.float32)):
                    found.setdefault(name, []).append(call)
        return found

    # One call -------------------------------------------------------------------------------------------------------

    @cached_property
    def trace(self) -> Trace:
        return traced(self.model, self.x)

    @cached_property
    def recurrent(self) -> list[tuple[str, LayerCall]]:
        """The calls of recurrent layers, by the layer's name."""
        return [(call.name, call) for call in self.trace.of(keras.layers.RNN)]

    @cached_property
    def outputs(self) -> list[Output]:
        """The outputs that have targets; none where the structures do not fit together."""
        names = list(self.trace.outputs)
        targets = keras.tree.flatten(self.data.y)
        if isinstance(self.data.y, dict):
            targets = [self.data.y[name] for name in names if name in self.data.y]
            names = [name for name in names if name in self.data.y]
        if len(names) != len(targets):
            return []
        losses = self.model.loss
        found = []
        for place, (name, target) in enumerate(zip(names, targets, strict=True)):
            loss = losses
            if isinstance(losses, dict):
                loss = losses.get(name)
            elif isinstance(losses, list | tuple):
                loss = losses[place] if place < len(losses) else None
            kind, config = _loss(loss)
            found.append(Output(
                name, target, self.trace.outputs[name], kind, bool(config.get("from_logits", False)), place,
                config.get("ignore_class"),
            ))  # fmt: skip
        return found

    # The loss -------------------------------------------------------------------------------------------------------

    @cached_property
    def loss_error(self) -> tuple[str, Exception] | None:
        """Where the loss of a batch of fit cannot be computed, and what it stops with; None where it can, or where
        the model's own train_step may have another loss."""
        data = self.data
        if self.model._compile_loss is None or type(self.model).train_step is not keras.Model.train_step:
            return None
        parts = {"in the loss of its first batch": (data.x, data.y, data.weights)}
        if data.validation is not None:
            parts["in the loss of the validation data"] = data.validation
        for where, (x, y, weights) in parts.items():
            first = slice(data.batch_size)
            training = weights is data.weights
            try:
                self._loss_of(rows(x, first), rows(y, first), rows(weights, first), training)
            except Exception as error:  # Keras's, the framework's or a user's own: it is shown to the user
                return where, error
        return None

    def _loss_of(self, x: Any, y: Any, weights: Any, training: bool) -> tuple[float, float]:
        """The loss that fit would have, with what the model gives out, and with its bare values."""
        class_weight = self.data.fit.get("class_weight") if training else None
        if class_weight is not None or not self.data.weighted_batches:
            weights = weights_in_fit(y, weights, class_weight)
        x, y, weights = (keras.tree.map_structure(_tensor, one) for one in (x, y, weights))
        with nothing_lasts(self.model), loss_apart(self.model, copy_loss(self.model)):
            given = self.model(x, training=False)
            bare = keras.tree.map_structure(lambda one: _tensor(keras.ops.convert_to_numpy(one)), given)
            losses = [
                self.model._compute_loss(x=x, y=y, y_pred=one, sample_weight=weights, training=False)
                for one in (given, bare)
            ]
            return tuple(float(keras.ops.convert_to_numpy(one)) for one in losses)  # type: ignore[return-value]

    @cached_property
    def softmax_taken_back(self) -> bool:
        """TensorFlow finds the logits that a softmax was taken of, and has them in place of the probabilities."""
        if self.loss_error is not None or self.model._compile_loss is None:
            return False
        first = slice(self.data.batch_size)
        data = self.data
        given, bare = self._loss_of(rows(data.x, first), rows(data.y, first), rows(data.weights, first), True)
        masked = any(mask is not None for mask in self.trace.masks.values())
        return not masked and not np.isclose(given, bare, rtol=1e-4)

    # The gradient ---------------------------------------------------------------------------------------------------

    @cached_property
    def flow(self) -> GradientFlow | None:
        """Of the model as it was given."""
        return self._flow()

    @cached_property
    def trained_flow(self) -> GradientFlow | None:
        """Of the model after its short training; None where that ended in NaN."""
        if self.flow is None or self.trial is None or self.trial.stopped is not None:
            return None
        for variable, value in zip(self.model.trainable_variables, self.trial.weights, strict=True):
            variable.assign(value)
        return self._flow()

    def _flow(self) -> GradientFlow | None:
        if self.trace.failed or not list(recurrent_layers(self.model)) or not self.shapes_fit or self.loss_error:
            return None
        count = len(self.index) if self.fixed_batch or self.stateful else thresholds.FLOW_ROWS
        weights = rows(self.data.weights, self.index)
        try:
            with accelerated(self.model):
                return gradient_flow(self.model, self.x, self.y, sample_weight=weights, sequences=count)
        except Exception as error:  # of a user's own layer or loss under differentiation: said, and gone without
            self.left_out.append(f"the gradient through time ({first_line(error)})")
            return None

    @cached_property
    def shapes_fit(self) -> bool:
        """Whether each output's shape can be meant for its targets."""
        if not self.outputs:
            return len(self.trace.outputs) > 0 and self.model.loss is not None
        for output in self.outputs:
            predicted, target = output.predicted, output.targets[self.index]
            expected = predicted.ndim - 1 if output.sparse else predicted.ndim
            if target.ndim not in (expected, expected - 1, expected + 1):
                return False
            if predicted.ndim == 3 and (target.ndim < 2 or target.shape[1] != predicted.shape[1]):
                return False
        return True

    # Training -------------------------------------------------------------------------------------------------------

    @cached_property
    def trainer(self) -> Trainer | None:
        if not self.train or self.trace.failed or not self.shapes_fit or self.nothing_finite or self.loss_error:
            return None
        return Trainer(self.model, self.data, self.sample)

    @cached_property
    def nothing_finite(self) -> bool:
        """The outputs hold NaN or infinity before any training."""
        return any(not np.isfinite(one).all() for one in self.trace.outputs.values())

    @cached_property
    def trial(self) -> Trial | None:
        """The short training at the model's own learning rate; None where there was no time for one that tells."""
        if self.trainer is None:
            return None
        steps = thresholds.TRAINING_STEPS
        trial = self._run(steps, look=tuple(range(steps // 6, steps + 1, steps // 6)))
        if trial is None or trial.stopped is not None or len(trial.losses) >= steps * thresholds.ENOUGH:
            return trial
        self.left_out.append(
            f"what is learned: {len(trial.losses)} of {steps} training steps fit into the time; give more seconds="
        )
        return None

    def at(self, rate: float) -> Trial | None:
        """A shorter training at another learning rate; None where the optimizer has a schedule."""
        if self.trainer is None or self.trainer.scheduled or self.trial is None:
            return None
        if rate not in self.rates:
            trial = self._run(thresholds.TRIAL_STEPS, rate=rate)
            whole = trial is not None and (trial.stopped is not None or len(trial.losses) == thresholds.TRIAL_STEPS)
            self.rates[rate] = trial if whole else None
        return self.rates[rate]

    @cached_property
    def scaled_targets(self) -> Trial | None:
        """As many steps as ``trial`` has, on targets of mean 0 and standard deviation 1."""
        if self.trainer is None or self.trial is None:
            return None
        return self._run(max(len(self.trial.losses), 10), y=keras.tree.map_structure(_scaled, self.data.y))

    @cached_property
    def scaled_constant(self) -> float:
        """The loss of the best constant for scaled targets."""
        scaled = _scaled(keras.tree.flatten(self.data.y)[0][self.index])
        absolute = "absolute" in self.outputs[0].loss or self.outputs[0].loss == "mae"
        return float(np.abs(scaled).mean() if absolute else (scaled**2).mean())

    def again(self, seed: int) -> Trial | None:
        """The short training with another order of the sequences."""
        if self.trial is None:
            return None
        return self._run(len(self.trial.losses), seed=seed, look=tuple(self.trial.curve))

    def _run(self, steps: int, **options: Any) -> Trial | None:
        left = self.seconds / 2 - self.spent  # probes, compiling and references take the other half
        if left <= 0 or self.trainer is None:
            return None
        began = time.monotonic()
        share = left * 0.6 if not self.tried else left
        try:
            with accelerated(self.model):
                trial = self.trainer.trial(steps, budget=share, **options)
        except Exception as error:  # the user's own train_step, loss or layer may raise anything
            self.left_out.append(f"training ({first_line(error)})")
            self.train = False
            return None
        finally:
            self.spent += time.monotonic() - began
        self.tried += 1
        return trial if trial.losses or trial.stopped is not None else None

    @cached_property
    def constants(self) -> dict[str, float]:
        """By part of the sample, the loss of the best answer that is the same for every input; empty if unknown."""
        if self.trainer is None or not self.outputs or len(self.outputs) != len(self.trace.outputs):
            return {}
        options = [
            _constants(output, weights_for(self.data.weights, output.name, output.place)) for output in self.outputs
        ]
        if any(not one for one in options):
            return {}
        total = len(keras.tree.flatten(self.sample.x)[0])
        found: dict[str, float] = {}
        for place in range(max(len(one) for one in options)):
            chosen = [one[min(place, len(one) - 1)] for one in options]
            made = [
                np.broadcast_to(value, (total, *output.predicted.shape[1:])).astype("float32")
                for value, output in zip(chosen, self.outputs, strict=True)
            ]
            with keras.StatelessScope():
                predicted = self._as_model_gives(made)
                for part in ("train", "held")[: 1 + (total > self.sample.split)]:
                    loss = self.trainer.loss_of(predicted, part)
                    found[part] = min(loss, found.get(part, np.inf))
        return {part: loss for part, loss in found.items() if np.isfinite(loss)}

    @property
    def part(self) -> str:
        """Where it is measured whether something was learned: on rows held out, if there are any."""
        return "held" if self.trial is not None and "held" in self.trial.before else "train"

    @property
    def constant(self) -> float | None:
        return self.constants.get(self.part)

    def _as_model_gives(self, arrays: list[np.ndarray]) -> Any:
        if len(arrays) == 1 and not isinstance(self.data.y, dict):
            return arrays[0]
        if isinstance(self.data.y, dict):
            return dict(zip(self.trace.outputs, arrays, strict=True))
        return arrays

    def learns(self, trial: Trial) -> bool:
        """Somewhere on its way the loss lies below the best constant's, and, unless it was far below from the start,
        below the start's."""
        start, constant = trial.before[self.part], self.constant
        bar = start if constant is None else constant
        if start > thresholds.BY_HEART * bar:
            bar = min(bar, start)
        return trial.least(self.part) < bar - thresholds.LEARNED * abs(bar)

    @property
    def not_looked_at(self) -> tuple[str, ...]:
        """What could not be looked at, and what of the data was left out."""
        notes = [note.removeprefix("left out: ") for note in self.data.notes if note.startswith("left out: ")]
        return (*notes, *self.left_out)

    def __post_init__(self) -> None:
        # Asked at once: short trainings have an optimizer of their own.
        self.fresh = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)) == 0

    @cached_property
    def learned(self) -> bool:
        """The short training learned something that holds on the rows it is measured on."""
        return self.trial is not None and self.trial.stopped is None and self.learns(self.trial)

    @cached_property
    def by_heart(self) -> bool:
        """The rows that were trained on are known far better than by the best constant, whatever holds for others."""
        if self.trial is None or self.trial.stopped is not None or "train" not in self.constants:
            return False
        return self.trial.after["train"] < thresholds.BY_HEART * self.constants["train"]

    @cached_property
    def failed_to_learn(self) -> bool:
        """There was a short training, and nothing was learned, nor is the loss on its way."""
        if self.trial is None or self.learned or self.by_heart:
            return False
        return not self.trial.falls(self.part)

    def layers(self, kind: type) -> Iterator[tuple[str, Any]]:
        """The layers of a kind, by name."""
        parts: list[Any] = [part for part in self.model._flatten_layers() if isinstance(part, kind)]
        yield from ((part.name, part) for part in parts)


def standard(layer: keras.layers.RNN) -> bool:
    """Whether it is a SimpleRNN, GRU or LSTM, whose cell has the weights that one expects."""
    return isinstance(layer, keras.layers.SimpleRNN | keras.layers.GRU | keras.layers.LSTM)


def _loss(loss: Any) -> tuple[str, dict[str, Any]]:
    """The name of a loss, and its settings where it is an object."""
    if loss is None:
        return "", {}
    try:
        found = keras.losses.get(loss)
    except ValueError:
        return "", {}
    if isinstance(found, keras.losses.Loss):
        return type(found).__name__.lower(), found.get_config()
    return str(getattr(found, "__name__", "")).replace("_", "").lower(), {}


def _constants(output: Output, weights: Any) -> list[np.ndarray]:
    """Answers that are the same for every input, among which a loss has its best one; none where it is unknown."""
    targets, shape = output.targets, output.predicted.shape
    if output.sparse:
        classes = shape[-1]
        flat = targets.astype(int).ravel()
        if weights is not None and np.shape(weights) == targets.shape[: np.ndim(weights)]:
            use = np.broadcast_to(np.reshape(weights, (*np.shape(weights), *[1] * (targets.ndim - np.ndim(weights)))),
                                  targets.shape).ravel() > 0  # fmt: skip
            flat = flat[use] if use.any() else flat
        if flat.min(initial=0) < 0 or flat.max(initial=0) >= classes:
            return []
        prior = np.bincount(flat, minlength=classes) / max(len(flat), 1)
    elif (targets.ndim == len(shape) and targets.shape[-1] == shape[-1]) or targets.ndim == len(shape) - 1:
        values = targets if targets.ndim == len(shape) else targets[..., None]
        values = values.reshape(-1, values.shape[-1]).astype(float)
        values = values[np.isfinite(values).all(axis=1)]
        if not len(values) or (values.shape[-1] != shape[-1] and values.shape[-1] != 1):
            return []
        prior, middle = values.mean(axis=0), np.median(values, axis=0)
        if not output.classes:
            return [prior, middle]
    else:
        return []
    safe = np.clip(prior, 1e-7, 1 - 1e-7)
    if not output.from_logits:
        return [safe]
    return [np.log(safe / (1 - safe)) if output.loss.startswith("binary") else np.log(safe)]


def _tensor(one: Any) -> Any:
    """As fit gives arrays to a model: floats in its own precision."""
    if one is None:
        return None
    dtype = keras.config.floatx() if one.dtype.kind == "f" else None
    return keras.ops.convert_to_tensor(one, dtype)


def _scaled(target: np.ndarray) -> np.ndarray:
    values = target.astype(float)
    return ((values - np.nanmean(values)) / max(float(np.nanstd(values)), 1e-30)).astype(np.float32)


def moved(before: np.ndarray, after: np.ndarray, where: Any = ()) -> float:
    """How far an output lies from what it was, as a share of its spread; of the places ``where`` alone.

    Example:
        >>> moved(np.array([0.0, 2.0]), np.array([0.0, 3.0]))
        1.0
    """
    spread = max(float(np.std(before)), 1e-3 * float(np.abs(before).max(initial=0)), 1e-9)
    return float(np.abs(after[where].astype(float) - before[where]).max(initial=0)) / spread
