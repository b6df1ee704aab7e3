"""Trainings of copies, step for step alike: the same batches in the same order by seed, scored on the same held rows.

A recipe that changes weights, rate or clipping alone shares the compiled functions of the one before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from ..layers.swapping import accelerate
from .evidence import Evidence
from .given import Given, rows
from .recipes import CLIPPINGS, Copies, Recipe, loss_of, loss_weights_of, optimizer_config, rate_of
from .trials import norm_of, shuffled

CLIPPED_AT = 0.1  # quantile of the last norms, as in Guard
WINDOW = 1000
SCORED = 1000  # held rows at most
UNLIMITED = 1e30


@dataclass
class Course:
    """One training of one copy.

    Args:
        seed: of weights and batches.
        score: on the held rows, lower is better; infinite where the training ended in NaN.
        norms: of each step's gradient, before clipping.
        weights: of the copy at the end; empty where they were not asked for.
        said: what was drawn, of a random search.
    """

    seed: int
    score: float
    norms: list[float] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    said: str = ""


@dataclass(frozen=True)
class Drawn:
    """One draw of the random search, applied to the user's model."""

    rate: float
    initialiser: str
    remembers: float
    limit: float

    def __str__(self) -> str:
        clip = "no clipping" if self.limit == UNLIMITED else f"global_clipnorm={self.limit:.2g}"
        return f"rate {self.rate:.2g}, {self.initialiser}, forget bias {self.remembers:.1f}, {clip}"


def draw(rng: np.random.Generator, *, adaptive: bool) -> Drawn:
    """A learning rate, log-uniform, an initialiser, a forget bias and a clipping, as a random search has them.

    Example:
        >>> 1e-4 <= draw(np.random.default_rng(0), adaptive=True).rate <= 0.1
        True
    """
    low, high = (1e-4, 1e-1) if adaptive else (1e-3, 1.0)
    return Drawn(
        float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        str(rng.choice(["orthogonal", "glorot_uniform", "random_normal"])),
        float(rng.uniform(0, 4)),
        UNLIMITED if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(0.01), np.log(10)))),
    )


class Courses:
    """Trains copies.

    Args:
        evidence: of the user's model; made inside ``untouched``.
        copies: what makes the copies.
        held: x, y and weights of the rows to score on.
        masks: by output, of those rows as the user's model gives them.
        steps: of each training.
        score: of predictions for the held rows, given the recipe they come of.
        done: called after each training step.
        prepare: called with each copy before it is compiled.
    """

    def __init__(
        self, evidence: Evidence, copies: Copies, held: tuple[Any, Any, Any], steps: int,
        score: Callable[[Recipe, Any], float], done: Callable[[], None],
        prepare: Callable[[keras.Model], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.evidence, self.copies, self.held, self.steps = evidence, copies, held, steps
        self.score, self.done, self.prepare = score, done, prepare
        self.data: Given = evidence.data
        self.user = evidence.model
        self.compiled: dict[Recipe, tuple[keras.Model, Any, list[np.ndarray]]] = {}
        self.rate = rate_of(self.user)
        self.count = 0
        self.seconds: list[float] = []

    def run(self, recipe: Recipe, seed: int, *, drawn: Drawn | None = None, keep: bool = False) -> Course:
        """A training of ``steps`` steps from fresh weights."""
        began = time.monotonic()
        model, optimizer, begin = self._ready(recipe, searched=drawn is not None)
        fresh = self.copies.make(recipe, seed)
        if drawn is not None:
            self._redraw(fresh, drawn, seed)
        for variable, other in zip(model.variables, fresh.variables, strict=True):
            variable.assign(other.value)
        for variable, value in zip(optimizer.variables, begin, strict=True):
            variable.assign(value)
        rate = drawn.rate if drawn is not None else recipe.rate if recipe.rate is not None else self.rate
        if rate is not None:
            optimizer.learning_rate = rate
        optimizer.limit.assign(UNLIMITED if drawn is None else drawn.limit)
        course = Course(seed, float("inf"), said="" if drawn is None else str(drawn))
        finite = self._train(model, optimizer, course, guard=recipe.guard and drawn is None)
        if finite:
            score = self.score(recipe, model.predict_on_batch(self.held[0]))
            course.score = score if np.isfinite(score) else float("inf")
        if keep:
            course.weights = [np.array(ops.convert_to_numpy(one.value)) for one in model.variables]
        self.count += 1
        self.seconds.append(time.monotonic() - began)
        return course

    def _train(self, model: keras.Model, optimizer: Any, course: Course, *, guard: bool) -> bool:
        for index in self._batches(course.seed):
            x, y, weights = rows(self.data.x, index), rows(self.data.y, index), rows(self.data.weights, index)
            logs = model.train_on_batch(
                x, y, sample_weight=weights, class_weight=self.data.fit.get("class_weight"), return_dict=True
            )
            norm = float(ops.convert_to_numpy(optimizer.norm))
            self.done()
            if not np.isfinite(float(logs["loss"])) or not np.isfinite(norm):
                return False
            course.norms.append(norm)
            if guard:
                optimizer.limit.assign(np.quantile(course.norms[-WINDOW:], CLIPPED_AT))
        return True

    def _batches(self, seed: int) -> list[np.ndarray]:
        return shuffled(np.arange(self.data.size), self.data.batch_size, self.steps, seed)

    def _ready(self, recipe: Recipe, *, searched: bool) -> tuple[keras.Model, Any, list[np.ndarray]]:
        """A compiled copy, its optimizer, and what the optimizer's variables are at first."""
        structure = Recipe(rate=1.0, guard=True) if searched else recipe.structure
        if self.rate is not None:
            structure = replace(structure, rate=None)  # a number that can be set
        if not any(getattr(self.user.optimizer, name, None) for name in CLIPPINGS):
            structure = replace(structure, guard=False)  # there is nothing to take out
        if structure not in self.compiled:
            model = accelerate(self.copies.make(recipe, 0))
            self.prepare(model)
            config = optimizer_config(self.user, recipe if not searched else Recipe(rate=1.0, guard=True))
            optimizer = _limited(type(self.user.optimizer)).from_config(config)  # type: ignore[attr-defined]
            squared = "squared" in self.evidence.outputs[0].loss if self.evidence.outputs else False
            jit = bool(self.user.jit_compile) and all(layer.supports_jit for layer in model._flatten_layers())
            keras.Model.compile(
                model, optimizer=optimizer, loss=loss_of(self.user, recipe),
                loss_weights=loss_weights_of(self.user, recipe, squared), run_eagerly=self.user.run_eagerly,
                jit_compile=jit, auto_scale_loss=False,
            )  # fmt: skip
            optimizer.build(model.trainable_variables)
            begin = [np.array(ops.convert_to_numpy(one.value)) for one in optimizer.variables]
            self.compiled[structure] = model, optimizer, begin
        return self.compiled[structure]

    def _redraw(self, model: keras.Model, drawn: Drawn, seed: int) -> None:
        """The recurrent kernels and forget biases that were drawn."""
        initialiser = {
            "orthogonal": keras.initializers.Orthogonal(seed=seed),
            "glorot_uniform": keras.initializers.GlorotUniform(seed=seed),
            "random_normal": keras.initializers.RandomNormal(stddev=0.05, seed=seed),
        }[drawn.initialiser]
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.RNN) and hasattr(layer.cell, "recurrent_kernel"):
                kernel = layer.cell.recurrent_kernel
                kernel.assign(initialiser(kernel.shape))
                if isinstance(layer, keras.layers.LSTM | keras.layers.GRU) and layer.cell.use_bias:
                    units, bias = layer.cell.units, np.array(ops.convert_to_numpy(layer.cell.bias.value))
                    if isinstance(layer, keras.layers.LSTM):
                        bias[units : 2 * units] = drawn.remembers
                    else:
                        bias[(0, slice(units)) if bias.ndim == 2 else slice(units)] = drawn.remembers
                    layer.cell.bias.assign(bias)


def _limited(stock: type) -> type:
    """A class of optimizer that keeps the norm of each gradient, and cuts those beyond a limit that can be set."""

    def build(self: Any, variables: Any) -> None:
        stock.build(self, variables)  # type: ignore[attr-defined]
        self.norm = self.add_variable((), name="norm", dtype="float32")
        self.limit = self.add_variable((), name="limit", dtype="float32")

    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
        grads = [None if one is None else ops.convert_to_tensor(one) for one in grads]
        norm = norm_of(grads)
        self.norm.assign(norm)
        scale = ops.minimum(1.0, self.limit / ops.maximum(norm, 1e-30))
        grads = [None if one is None else one * ops.cast(scale, one.dtype) for one in grads]
        return stock.apply(self, grads, trainable_variables)  # type: ignore[attr-defined]

    return type(stock.__name__, (stock,), {"build": build, "apply": apply, "__module__": stock.__module__})
