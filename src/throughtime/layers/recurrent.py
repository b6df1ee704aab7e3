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

from ..kernels.schedule import byte_count
from .fused import Fused
from .paths import why_not_fused


class _Ours(Fused):
    """What the three layers override in Keras's."""

    def __init__(self, *args: Any, memory: int | str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.memory = None if memory is None else byte_count(memory)
        self.adopt()

    def adopt(self) -> None:
        super().adopt()
        if self.stateful and self.states is not None and self._carried is None:
            before = [variable.value for variable in self.states]
            self.make_states(before[0].shape[0])
            for variable, value in zip(self.states, before, strict=True):
                variable.assign(value)

    def __reduce__(self) -> Any:
        """Without the class, of which a pickle would say that it is Keras's."""
        load, given = super().__reduce__()
        return (load, given) if type(self) not in OURS.values() else (_unpickled, (*given, self.memory))

    def leave(self) -> None:
        super().leave()
        if self._carried is not None:  # Keras's layers have one state
            self._show(self._carried.inference)
            self._carried = None

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple[Any, Any, Any]:
        states = self.states_before(initial_state)
        if isinstance(mask, list | tuple):
            mask = mask[0]
        if why_not_fused(self, sequences, mask=mask) is not None:
            return super().inner_loop(sequences=sequences, initial_state=states, mask=mask, training=training)
        if training and self.cell.dropout:
            # One mask for all steps, drawn by RNN.call before this.
            sequences = sequences * ops.expand_dims(self.cell.get_dropout_mask(sequences[:, 0, :]), 1)
        return self.on_kernel(sequences, states, mask, training)


def _unpickled(file: Any, memory: int | None) -> Any:
    layer = keras.layers.Layer._unpickle_model(file)
    layer.memory = memory
    return layer


class SimpleRNN(_Ours, keras.layers.SimpleRNN):
    """``keras.layers.SimpleRNN`` (Elman 1990) on a native kernel that works on valid steps only.

    Takes the arguments of ``keras.layers.SimpleRNN``, and has its weights and saved files. ``activation="tanh"`` or
    ``"relu"``, without ``recurrent_dropout`` or ``unroll``, runs on the kernel; the rest in Keras's loop.

    Example:
        >>> layer = SimpleRNN(4, return_sequences=True)
        >>> layer(keras.ops.zeros((2, 5, 3))).shape == (2, 5, 4)
        True
    """

    __module__ = "keras.layers"  # what a saved file says


class GRU(_Ours, keras.layers.GRU):
    """``keras.layers.GRU`` (Cho et al. 2014) on a native kernel that works on valid steps only.

    Takes the arguments of ``keras.layers.GRU``, and has its weights and saved files. The default activations, with
    ``reset_after`` or without, and no ``recurrent_dropout`` or ``unroll``, run on the kernel; the rest in Keras's loop.

    Example:
        >>> layer = GRU(4, return_state=True)
        >>> [tuple(output.shape) for output in layer(keras.ops.zeros((2, 5, 3)))]
        [(2, 4), (2, 4)]
    """

    __module__ = "keras.layers"


class LSTM(_Ours, keras.layers.LSTM):
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
