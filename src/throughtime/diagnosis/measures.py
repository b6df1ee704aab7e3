"""By what copies are compared: the user's own loss on held rows, or what is right where losses cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..errors import counted
from . import thresholds
from .courses import SCORED, Course
from .evidence import Evidence
from .given import rows, weights_for
from .recipes import Recipe
from .tracing import traced
from .trials import loss_on


class Measure:
    """Scores predictions for held rows; lower is better.

    The user's loss, in the units of the user's targets. Where a change of the loss is among what is tried, or the loss
    is given what is no probability, one loss is no measure of the other, and it is the share of wrong answers.

    Args:
        evidence: of the user's model, with validation data.
        recipes: what will be tried.
    """

    def __init__(self, evidence: Evidence, recipes: Sequence[Recipe]) -> None:
        assert evidence.data.validation is not None
        x, y, weights = evidence.data.validation
        count = len(keras.tree.flatten(x)[0])
        chosen = np.unique(np.linspace(0, count - 1, min(count, SCORED)).astype(int))
        self.held = rows(x, chosen), rows(y, chosen), rows(weights, chosen)
        self.output = evidence.outputs[0] if evidence.outputs else None
        self.squared = self.output is not None and self.output.loss in ("mse", "meansquarederror")
        self.wrong = any(recipe.loss is not None for recipe in recipes) and len(evidence.outputs) == 1
        self.masks = list(traced(evidence.model, self.held[0]).masks.values())
        user = evidence.model._compile_loss
        self.loss = None if user is None else type(user)(
            user._user_loss, user._user_loss_weights, output_names=user.output_names
        )  # fmt: skip
        name = getattr(evidence.model.loss, "name", None) or getattr(evidence.model.loss, "__name__", None)
        named = "share of wrong answers" if self.wrong else f"loss ({name or evidence.model.loss})"
        self.said = f"{named} on {counted(len(chosen), 'sequence')} held out"
        self.constant = None if self.wrong else evidence.constants.get("held")
        self.ceiling = 1.0 if self.wrong else 1e30 if self.constant is None else 2 * self.constant

    def counted(self, course: Course) -> float:
        """A score for comparison: none counts for more than twice the best constant's, be it NaN or 1e30.

        An interval over seeds would otherwise be that of how badly the worst of them failed.
        """
        return min(course.score, self.ceiling)

    def learns(self, courses: Sequence[Course]) -> bool:
        """Better than the best constant: what only fails less badly is no repair."""
        if self.constant is None:
            return True
        mean = float(np.mean([self.counted(one) for one in courses]))
        return mean < self.constant - thresholds.LEARNED * abs(self.constant)

    def score(self, recipe: Recipe, predicted: Any) -> float:
        _, y, weights = self.held
        if self.wrong:
            return self._wrong(recipe, keras.tree.flatten(predicted)[0])
        assert self.loss is not None
        return loss_on(self.loss, y, predicted, weights, self.masks)

    def _wrong(self, recipe: Recipe, predicted: np.ndarray) -> float:
        """The share of rows, or of steps that count, whose most likely class is another one than the target's."""
        targets = keras.tree.flatten(self.held[1])[0]
        if not np.isfinite(predicted).all():
            return float("inf")
        if predicted.shape[-1] == 1:
            logits = recipe.loss is not None and recipe.loss[1]
            guessed = (predicted[..., 0] > (0 if logits else 0.5)).astype(int)
            wanted = targets.reshape(guessed.shape).astype(int)
        else:
            guessed = predicted.argmax(axis=-1)
            wanted = targets.argmax(axis=-1) if targets.shape == predicted.shape else targets.reshape(guessed.shape)
        wrong = guessed != wanted
        weights = weights_for(self.held[2], self.output.name if self.output is not None else "", 0)
        if weights is None and self.masks[0] is not None and wrong.shape == self.masks[0].shape:
            weights = self.masks[0]
        if not isinstance(weights, np.ndarray) or weights.shape != wrong.shape:
            return float(wrong.mean())
        return float(np.average(wrong, weights=weights)) if weights.any() else 0.0
