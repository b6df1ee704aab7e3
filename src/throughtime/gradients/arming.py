"""A model's ``train_function`` replaced for one step of one ``fit``: whatever ends a training, the model is as it was.

Between the callbacks' ``on_train_batch_begin`` and the step another callback may raise, or Ctrl-C come. What is armed
then is left on the model, and steps aside: in the next step of another ``fit`` it does what was there before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

Step = Callable[..., Any]


class Armed:
    """What stands in for a ``train_function``.

    Args:
        model: the model, whose ``train_function`` it becomes.
        run: called with the function that was there before and what Keras gives a step; answers for the step.
    """

    def __init__(self, model: keras.Model, run: Callable[..., Any]) -> None:
        self.model, self.run, self.before = model, run, model.train_function
        self.fit = model.history  # another one in each fit
        model.__dict__["train_function"] = self

    def __call__(self, *given: Any) -> Any:
        self.model.__dict__["train_function"] = self.before
        if self.model.history is not self.fit:
            return self.before(*given)
        try:
            return self.run(self.before, *given)
        except BaseException:
            _give_back(self.model, given)
            raise


# What a step of Keras on JAX is given of the model, in its order. Until an epoch ends, the variables have no values.
STATE = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")


def _give_back(model: keras.Model, given: tuple[Any, ...]) -> None:
    """After a step that was broken off on JAX: fit gives the variables the values that the step began with."""
    if keras.backend.backend() != "jax" or len(given) != 2:
        return
    if not any(one.is_deleted() for one in keras.tree.flatten(given[0])):  # XLA was not at work with them yet
        model._jax_state = dict(zip(STATE, given[0], strict=True))


class Outermost(Armed):
    """One around all others, whichever comes first."""


def disarm(model: keras.Model) -> bool:
    """Takes all off that is armed. Whether there was more than an outermost one."""
    found = False
    while isinstance(model.train_function, Armed):
        found = found or not isinstance(model.train_function, Outermost)
        model.__dict__["train_function"] = model.train_function.before
    return found


def arm(model: keras.Model, run: Callable[..., Any]) -> bool:
    """Arms a step within the outermost ones. Whether one was armed already; then nothing is done."""
    outer = model.train_function
    if not isinstance(outer, Outermost):
        if isinstance(outer, Armed):
            return True
        Armed(model, run)
        return False
    model.__dict__["train_function"] = outer.before
    try:
        return arm(model, run)
    finally:
        outer.before = model.train_function
        model.__dict__["train_function"] = outer


def plain(model: keras.Model) -> Step | None:
    """The ``train_function`` beneath what is armed."""
    function = model.train_function
    while isinstance(function, Armed):
        function = function.before
    return function
