"""SimpleRNN, GRU and LSTM: Keras's own layers, with the loop over time steps on the native kernel.

Everything but the loop is Keras's: arguments, weights, dropout, Bidirectional, saved files. Where ``why_not_fused``
gives a reason, the loop is Keras's too. Two things are mended on the way:

- The layers carry the mask on whatever Keras does: 3.16 no longer passes it on. Nor do its Bidirectional and
  TimeDistributed, which ``accelerate`` mends; ``explain`` says where a layer sits in one that was not.
- ``stateful=True`` carries the state in ``fit``, ``evaluate`` and ``predict`` on every backend: see carrying.py.

``memory=`` bounds what a layer holds between forward and backward pass: what does not fit is computed again, step for
step, and the gradients are the same to the bit (kernels/schedule.py). It is no part of a saved file, nor of a copy made
from a layer's config, as Bidirectional makes one: ``accelerate(model, memory=...)`` sets it there.

A saved file names the classes of Keras, so plain Keras loads it. Where these layers are imported, it loads as them.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..errors import ArgumentError
from ..kernels.schedule import byte_count
from .carrying import Carrying
from .paths import cell_name, recurrent, why_not_fused


class _Fused(Carrying):
    """What the three layers override in Keras's."""

    memory: int | None = None  # bytes that activations may hold until the backward pass; read when a call is traced
    tap = 0  # not 0: a backward pass leaves the norms of dL/dh_t there; read when a call is traced
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
            for variable, value in zip(self.make_states(before[0].shape[0]).training, before, strict=True):
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
        features = cell.kernel.shape[0]
        if sequences.shape[2] not in (None, features):  # under jit, JAX would only say it when a result is read
            raise ArgumentError(
                f"{self.name!r} was built for {features} features and was given shape {tuple(sequences.shape)}; "
                f"(B, T, {features}) is accepted."
            )
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
