"""``stateful=True`` that carries the state in ``fit``, ``evaluate`` and ``predict``, on every backend.

Calls with ``training=True`` have a state of their own, so evaluating or predicting leaves the state of training alone;
both start at zero, and ``reset_state`` takes both back there. In stock Keras there is one state: on JAX nothing carries
it, on the others ``evaluate`` overwrites that of ``fit``.

What a user sees and sets:

- ``layer.states`` are the states that the next ``predict``, ``evaluate`` or plain call starts from.
  ``layer.states[i].assign(value)`` sets the state of training as well: the next call starts from the value, whatever
  its mode.
- ``layer.training_states`` are those that the next training step starts from. Assigning to them leaves others alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from ..errors import ArgumentError

if TYPE_CHECKING:
    from keras.layers import RNN as _Layer
else:
    _Layer = object


class States:
    """The carried state by mode. A type of its own, so that Keras does not count its variables among the weights."""

    def __init__(self, training: list[Any], inference: list[Any]) -> None:
        self.training, self.inference = training, inference

    @property
    def variables(self) -> list[Any]:
        return [*self.training, *self.inference]


class SharedState(keras.Variable):
    """A state as ``layer.states`` shows it: reads that of inference, sets that of training too."""

    def __init__(self, training: Any, inference: Any) -> None:
        # A name for two variables, with no memory of its own: nothing of Keras's is to be made anew.
        self.__dict__.update({name: value for name, value in inference.__dict__.items() if name != "_value"})
        self._training, self._inference = training, inference

    @property
    def _value(self) -> Any:
        return self._inference._value

    @property
    def value(self) -> Any:
        return self._inference.value

    def assign(self, value: Any) -> Any:
        value = self._convert_to_tensor(value, dtype=self._dtype)
        # A copy for each: JAX gives the memory of a step's variables away, and that of no two may be the same.
        self._training.assign(ops.copy(value))
        return self._inference.assign(ops.copy(value))


class Carrying(_Layer):
    """What goes before ``keras.layers.RNN``, or a subclass of it, among the bases of a layer."""

    _carried: States | None = None

    def _create_state_variables(self, batch_size: int) -> None:
        self.make_states(batch_size)

    def make_states(self, batch_size: int) -> None:
        training, inference = (
            [self._state_variable(value) for value in keras.tree.flatten(self.get_initial_state(batch_size))]
            for _ in range(2)
        )
        self._carried = States(training, inference)
        self._show([SharedState(*pair) for pair in zip(training, inference, strict=True)])

    def _state_variable(self, value: Any) -> keras.Variable:
        with keras.name_scope(self.name, caller=self):
            # Without autocast: within a call under mixed precision, Keras on PyTorch would assign to a cast copy.
            return keras.Variable(value, trainable=False, autocast=False, dtype=self.variable_dtype, name="rnn_state")

    def _show(self, states: list[keras.Variable]) -> None:
        # Past Keras's tracking, which would count the variables among the weights, and so save them.
        self.__dict__["states"] = states

    @property
    def training_states(self) -> list[keras.Variable] | None:
        """The states that the next training step starts from; None where none are carried."""
        return None if self._carried is None else list(self._carried.training)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if sequences.shape[1] == 0:
            raise ArgumentError(
                f"{self.name!r} was given shape {tuple(sequences.shape)}, no time step at all; one or more are "
                "accepted, and for sequences of length 0 steps that are masked."
            )
        if initial_state is not None:
            given = [tuple(one.shape) for one in keras.tree.flatten(initial_state)]
            sizes = keras.tree.flatten(self.state_size)
            fits = all(len(shape) == 2 and shape[1] == size for shape, size in zip(given, sizes, strict=False))
            if len(given) != len(sizes) or not fits:
                raise ArgumentError(
                    f"initial_state of {self.name!r} has shapes {given}; {[('B', size) for size in sizes]} are "
                    "accepted, in the order in which return_state=True gives them."
                )
        if self._carried is not None:
            rows = self._carried.training[0].shape[0]
            if sequences.shape[0] not in (None, rows):
                raise ArgumentError(
                    f"{self.name!r} carries the states of {rows} sequences and was given {sequences.shape[0]}; "
                    f"keras.Input(batch_shape=({sequences.shape[0]}, None, ...)) makes a model for so many."
                )
            return self._call_from(
                self._carried.training if training else self._carried.inference,
                sequences, initial_state=initial_state, mask=mask, training=training,
            )  # fmt: skip
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def _call_from(self, states: list[keras.Variable], sequences: Any, **given: Any) -> Any:
        """Keras's call, which reads and assigns ``self.states``."""
        shown = self.states
        self._show(states)
        try:
            return super().call(sequences, **given)
        finally:
            self._show(shown)

    def states_before(self, initial_state: Any) -> list[Any]:
        states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
        # The variable is assigned to before the gradient is taken, which PyTorch refuses if it is the same tensor.
        return [ops.copy(state) for state in states] if self.stateful else states

    def reset_state(self) -> None:
        for variable in self._carried.variables if self._carried is not None else ():
            variable.assign(ops.zeros_like(variable.value))

    @property
    def variables(self) -> list[Any]:
        """All that a call depends on or changes: with the carried state, so that JAX carries it; it is no weight."""
        return [*super().variables, *(self._carried.variables if self._carried is not None else ())]
