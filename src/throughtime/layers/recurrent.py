"""SimpleRNN, GRU and LSTM: Keras's own layers, with the loop over time steps on the native kernel.

Everything but the loop is Keras's: arguments, weights, dropout, Bidirectional, saved files. Where ``why_not_fused``
gives a reason, the loop is Keras's too. Two things are mended on the way:

- The layers carry the mask on whatever Keras does: 3.16 no longer passes it on. Nor do its Bidirectional and
  TimeDistributed, which ``accelerate`` mends; ``explain`` says where a layer sits in one that was not.
- ``stateful=True`` carries the state in ``fit``, ``evaluate`` and ``predict`` on every backend. Calls with
  ``training=True`` have a state of their own, so evaluating or predicting leaves the state of training alone; both
  start at zero, and ``reset_state`` takes both back there. (In stock Keras there is one state: on JAX nothing carries
  it, on the others ``evaluate`` overwrites that of ``fit``.)

``memory=`` bounds what a layer holds between forward and backward pass: what does not fit is computed again, step for
step, and the gradients are the same to the bit (kernels/schedule.py). It is no part of a saved file, nor of a copy made
from a layer's config, as Bidirectional makes one: ``accelerate(model, memory=...)`` sets it there.

A saved file names the classes of Keras, so plain Keras loads it. Where these layers are imported, it loads as them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from ..kernels.schedule import byte_count
from .paths import cell_name, recurrent, why_not_fused

if TYPE_CHECKING:
    from keras.layers import RNN as _Layer
else:
    _Layer = object


class _States:
    """The carried state by mode. A type of its own, so that Keras does not count its variables among the weights."""

    def __init__(self, training: list[Any], inference: list[Any]) -> None:
        self.training, self.inference = training, inference

    @property
    def variables(self) -> list[Any]:
        return [*self.training, *self.inference]


class _Fused(_Layer):
    """What the three layers override in Keras's."""

    memory: int | None = None  # bytes that activations may hold until the backward pass; read when a call is traced
    tap = 0  # not 0: a backward pass leaves the norms of dL/dh_t there; read when a call is traced
    _carried: _States | None = None
    supports_jit: bool

    def __init__(self, *args: Any, memory: int | str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.memory = None if memory is None else byte_count(memory)
        self.adopt()

    def adopt(self) -> None:
        """Sets what a layer of Keras's lacks; also called where one becomes one of ours in place."""
        self.supports_masking = True
        self._keras_supports_jit = self.supports_jit
        if keras.backend.backend() == "tensorflow" and why_not_fused(self) is None:
            self.supports_jit = False  # XLA on TensorFlow cannot call out to the kernel
        if self.stateful and self.states is not None and self._carried is None:
            before = [variable.value for variable in self.states]
            for variable, value in zip(self._make_states(before[0].shape[0]).training, before, strict=True):
                variable.assign(value)

    def leave(self) -> None:
        """What ``adopt`` did and Keras's layer would not have; called before one becomes Keras's again in place."""
        self.supports_jit = self._keras_supports_jit

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple[Any, Any, Any]:
        states = list(initial_state) if isinstance(initial_state, list | tuple) else [initial_state]
        if self.stateful:
            # The variable is assigned to before the gradient is taken, which PyTorch refuses if it is the same tensor.
            states = [ops.copy(state) for state in states]
        if isinstance(mask, list | tuple):
            mask = mask[0]
        if why_not_fused(self, sequences, mask=mask) is not None:
            return super().inner_loop(sequences=sequences, initial_state=states, mask=mask, training=training)
        cell = self.cell
        if training and cell.dropout:
            # One mask for all steps, drawn by RNN.call before this.
            sequences = sequences * ops.expand_dims(cell.get_dropout_mask(sequences[:, 0, :]), 1)
        x, h0, *c0 = (ops.cast(tensor, "float32") for tensor in (sequences, *states))
        weights = (cell.kernel, cell.recurrent_kernel, cell.bias)
        last, y, hn, cn = recurrent(
            x,
            None if mask is None else ops.cast(mask, "bool"),
            h0,
            c0[0] if c0 else None,
            *(None if weight is None else ops.cast(ops.convert_to_tensor(weight), "float32") for weight in weights),
            cell=cell_name(self),
            reverse=self.go_backwards,
            zero_masked=self.zero_output_for_mask,
            return_sequences=self.return_sequences,
            training=bool(training),
            tap=self.tap,
            memory=self.memory or 0,
        )
        return last, ops.expand_dims(last, 1) if y is None else y, [hn] if cn is None else [hn, cn]

    # The carried state ------------------------------------------------------------------------------------------------

    def _create_state_variables(self, batch_size: int) -> None:
        self._make_states(batch_size)

    def _make_states(self, batch_size: int) -> _States:
        super()._create_state_variables(batch_size)
        training = list(self.states)
        super()._create_state_variables(batch_size)
        self._carried = _States(training, list(self.states))
        return self._carried

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if self._carried is not None:
            # Past Keras's tracking, which would count the variables among the weights, and so save them.
            self.__dict__["states"] = self._carried.training if training else self._carried.inference
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def reset_state(self) -> None:
        for variable in self._carried.variables if self._carried is not None else ():
            variable.assign(ops.zeros_like(variable.value))

    @property
    def variables(self) -> list[Any]:
        """All that a call depends on or changes: with the carried state, so that JAX carries it; it is no weight."""
        return [*super().variables, *(self._carried.variables if self._carried is not None else ())]


class SimpleRNN(_Fused, keras.layers.SimpleRNN):
    """``keras.layers.SimpleRNN`` (Elman 1990) on a native kernel that works on valid steps only.

    Takes the arguments of ``keras.layers.SimpleRNN``, and has its weights and saved files. ``activation="tanh"`` or
    ``"relu"``, without ``recurrent_dropout`` or ``unroll``, runs on the kernel; the rest in Keras's loop.

    Example:
        >>> layer = SimpleRNN(4, return_sequences=True)
        >>> layer(keras.ops.zeros((2, 5, 3))).shape == (2, 5, 4)
        True
    """

    __module__ = "keras.layers"  # what a saved file says


class GRU(_Fused, keras.layers.GRU):
    """``keras.layers.GRU`` (Cho et al. 2014) on a native kernel that works on valid steps only.

    Takes the arguments of ``keras.layers.GRU``, and has its weights and saved files. The default activations, with
    ``reset_after`` or without, and no ``recurrent_dropout`` or ``unroll``, run on the kernel; the rest in Keras's loop.

    Example:
        >>> layer = GRU(4, return_state=True)
        >>> [tuple(output.shape) for output in layer(keras.ops.zeros((2, 5, 3)))]
        [(2, 4), (2, 4)]
    """

    __module__ = "keras.layers"


class LSTM(_Fused, keras.layers.LSTM):
    """``keras.layers.LSTM`` (Hochreiter & Schmidhuber 1997) on a native kernel that works on valid steps only.

    Takes the arguments of ``keras.layers.LSTM``, and has its weights and saved files. The default activations, without
    ``recurrent_dropout`` or ``unroll``, run on the kernel; the rest in Keras's loop.

    Example:
        >>> mask = keras.ops.convert_to_tensor([[True, True, False], [True, False, False]])
        >>> LSTM(4)(keras.ops.ones((2, 3, 1)), mask=mask).shape == (2, 4)
        True
    """

    __module__ = "keras.layers"


# doctest looks only at what a module says is its own.
__test__ = {ours.__name__: ours.__doc__ for ours in (SimpleRNN, GRU, LSTM)}

OURS: dict[type, type] = {
    keras.layers.SimpleRNN: SimpleRNN,
    keras.layers.GRU: GRU,
    keras.layers.LSTM: LSTM,
}

# A layer of ours says in its config that it is registered by its plain name, which Keras takes for its own class where
# nothing is registered. So Bidirectional(LSTM(8)), which copies a layer through its config, copies ours.
keras.saving.get_custom_objects().update({ours.__name__: ours for ours in OURS.values()})
