"""``CarryState``: the carried states of a model that trains on ``Streams``, begun anew where a sequence begins.

Between two steps Keras gives callbacks the model as it is: on JAX, asking a callback for ``self.model`` takes the
variables back from the compiled step, and the next step takes them from the model again. So that is done only where
there is a state to change or to save.

Stopped at any moment, a training goes on to the weights it would have had. The epoch that it was stopped in is shorter
then: Keras is told that its data has run out, which it warns of, and that one warning is kept from the user.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ..data.streams import Streams
from ..errors import ArgumentError, RunError, listed
from ..files import path_of
from ..gradients.arming import disarm
from ..gradients.guard import Guard
from ..layers.carrying import Carrying
from ..layers.paths import recurrent_layers
from .position import Position

RAN_OUT = "Your input ran out of data"  # of Keras
ACROSS_TIME = (
    layers.Conv1D, layers.Conv1DTranspose, layers.SeparableConv1D, layers.DepthwiseConv1D, layers.MaxPooling1D,
    layers.AveragePooling1D, layers.UpSampling1D, layers.ZeroPadding1D, layers.Attention, layers.AdditiveAttention,
    layers.MultiHeadAttention, layers.GroupQueryAttention,
)  # fmt: skip


class CarryState(keras.callbacks.Callback):
    """Carries the states of ``stateful`` layers over the windows of a ``Streams``, each sequence from zero.

    For ``fit``, ``evaluate`` and ``predict`` alike: ``model.fit(streams, shuffle=False,
    callbacks=[tt.CarryState(streams)])``. Training and inference have states of their own, so ``validation_data`` does
    not disturb the training.

    With ``checkpoint=`` a training that was killed goes on where it was: build the model as before, and call the same
    ``fit`` with the same ``epochs``. Weights, optimizer, states, seeds and metrics come from the file, epochs that are
    done are not done again, and the first one begins with the window that is next. The weights are then, to the bit,
    those of a training that was never stopped; on PyTorch, where Keras draws dropout from a state of PyTorch's own, if
    what is random has a ``seed=``. A training that is done stays done: remove the file to begin another.
    What other callbacks know is not in the file, but for ``guard``. On TensorFlow, ``metrics=`` of the epoch that was
    resumed are of the rest of it.

    Args:
        streams: that the model is fitted, evaluated or predicted on.
        validation: the Streams that is ``validation_data`` of a fit.
        checkpoint: a file to write, and to go on from if it is there.
        every: windows from one writing of it to the next; it is written at the end of each epoch in any case.
        guard: the ``Guard`` of the same fit, whose norms the file then holds.
        verbose: 1 says on stderr where a training goes on, 0 does not.

    Raises:
        ArgumentError: in ``fit`` and the others, a model that cannot carry its states over these windows, or arguments
            of fit that would. RunError: a checkpoint that is damaged or was begun with other data or another network.

    Example:
        >>> streams = Streams([np.sin(np.arange(n) / 3.0) for n in (50, 20, 35)], window=10, batch=2)
        >>> model = keras.Sequential([keras.Input(batch_shape=(2, None, 1))])
        >>> model.add(keras.layers.GRU(4, stateful=True, return_sequences=True))
        >>> model.add(keras.layers.Dense(1))
        >>> import throughtime as tt
        >>> tt.accelerate(model).compile("adam", "mse")
        >>> carry = CarryState(streams)
        >>> history = model.fit(streams, epochs=2, shuffle=False, callbacks=[carry], verbose=0)
        >>> model.predict(streams, callbacks=[carry], verbose=0).shape == (len(streams) * 2, 10, 1)
        True
    """

    def __init__(
        self,
        streams: Streams,
        *,
        validation: Streams | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int | None = None,
        guard: Guard | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        for name, given in (("streams", streams), ("validation", validation)):
            if not isinstance(given, Streams) and not (name == "validation" and given is None):
                raise ArgumentError(f"{name} is {type(given).__name__}; a tt.Streams is accepted.")
        if every is not None and (not isinstance(every, int | np.integer) or every < 1 or checkpoint is None):
            raise ArgumentError(f"every={every!r} is given; a whole number from 1 on is accepted, with checkpoint=.")
        self.streams, self.validation, self.every, self.guard, self.verbose = (
            streams, validation, every, guard, verbose
        )  # fmt: skip
        self.checkpoint = None if checkpoint is None else path_of(checkpoint, "checkpoint")
        self._layers: list[Carrying] = []
        self._resumed: Position | None = None  # until its epoch begins
        self._epoch, self._next = 0, 0  # the window that training makes next
        self._written: tuple[int, int] | None = None
        self._is_due = False  # an epoch has ended
        self._silence: warnings.catch_warnings | None = None

    # What Keras calls -------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        model = self._at_the_door()
        steps = self.params.get("steps")
        if steps != len(self.streams):
            raise ArgumentError(
                f"an epoch has {steps} steps, and the Streams {len(self.streams)} windows; leave steps_per_epoch out, "
                "and call fit with the Streams that CarryState has."
            )
        self._speak()  # a training before may have been broken off
        self._resumed, self._written, self._is_due = None, None, False
        if self.checkpoint is not None:
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            if self.checkpoint.exists():
                self._go_on(model, self.checkpoint)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        resumed, self._resumed = self._resumed, None
        window = 0
        if resumed is not None:
            self._model._initial_epoch = None  # Keras has taken it, and would take it in the next fit as well
            if resumed.epoch != epoch:
                raise RunError(
                    f"{self.checkpoint} goes on at epoch {resumed.epoch}, fit at {epoch}; leave initial_epoch out."
                )
            window = resumed.window
            if window:
                resumed.restore_metrics(self.model)
                self._silence = warnings.catch_warnings()
                self._silence.__enter__()
                warnings.filterwarnings("ignore", message=RAN_OUT)
        elif self._is_due:
            self._write()
        self.streams.start_at(epoch, window)
        self.streams.attend()
        self._epoch, self._next = epoch, window

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        window = self.streams.first + batch
        if window == len(self.streams):
            # Keras begins a batch before it finds that there is none, and on TensorFlow counts it as a step.
            disarm(self._model)
            raise StopIteration
        if self.every and window and window % self.every == 0:
            # Not at the end of the batch before, when callbacks after this one were still to have their say.
            self._write(with_metrics=True)
        self._begin(self.streams, window, "training")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._next = self.streams.first + batch + 1
        if self.streams.disordered:
            raise ArgumentError(
                "fit shuffles the windows, as it does by default; give it shuffle=False. Streams(..., shuffle=True) "
                "shuffles the sequences. One step was made."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._speak()
        if self._next == len(self.streams):  # not where training was stopped
            self._epoch, self._next, self._is_due = epoch + 1, 0, True

    def on_train_end(self, logs: Any = None) -> None:
        self._model._initial_epoch = None
        self._write()
        self._leave()

    def on_test_begin(self, logs: Any = None) -> None:
        self._speak()
        self._at_the_door()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begin(self._evaluated(), batch, "inference")

    def on_test_end(self, logs: Any = None) -> None:
        self._leave()

    def on_predict_begin(self, logs: Any = None) -> None:
        self._at_the_door()

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._begin(self._evaluated(), batch, "inference")

    def on_predict_end(self, logs: Any = None) -> None:
        self._leave()

    # States -----------------------------------------------------------------------------------------------------------

    def _at_the_door(self) -> keras.Model:
        model = self.model
        if getattr(model, "steps_per_execution", 1) != 1:
            raise ArgumentError(
                f"steps_per_execution={model.steps_per_execution} is compiled in; 1 is accepted: states begin anew "
                "between two steps."
            )
        self._layers = carrying_layers(model)
        for streams in self._all():
            for layer in self._layers:
                rows = layer._carried.training[0].shape[0] if layer._carried is not None else None
                if rows != streams.batch:
                    raise ArgumentError(
                        f"{layer.name!r} carries the states of {rows or 'no'} rows, and the Streams has batch="
                        f"{streams.batch}; build the model with keras.Input(batch_shape=({streams.batch}, None, ...))."
                    )
            outputs = getattr(model, "outputs", None)  # a subclassed one has none
            if outputs is not None:
                streams.masked = any(getattr(one, "_keras_mask", None) is not None for one in outputs)
            streams.attend()
        return model

    def _all(self) -> list[Streams]:
        return [self.streams, *([] if self.validation is None else [self.validation])]

    def _leave(self) -> None:
        for streams in self._all():
            streams.leave()

    def _evaluated(self) -> Streams | None:
        """None where something else is evaluated."""
        return next((one for one in reversed(self._all()) if one.is_open), None)

    def _begin(self, streams: Streams | None, window: int, mode: str) -> None:
        if streams is None:
            return
        # All rows at first: what an empty one has left from before could be no number.
        rows = np.ones(streams.batch, bool) if window == 0 else streams.layout[window].begins
        if rows.any():
            _ = self.model  # on JAX, the variables are up to date from here on
            for layer in self._layers:
                for variable in getattr(layer._carried, mode):
                    value = variable.value
                    shown = rows.reshape(-1, *[1] * (len(value.shape) - 1))
                    variable.assign(ops.where(shown, ops.zeros_like(value), value))

    # On disk ----------------------------------------------------------------------------------------------------------

    def _write(self, *, with_metrics: bool = False) -> None:
        if self.checkpoint is None or self._written == (self._epoch, self._next):
            return
        position = Position.of(
            self.model, epoch=self._epoch, window=self._next, guard=self.guard, with_metrics=with_metrics
        )
        position.write(self.checkpoint, fingerprint=self.streams.fingerprint())
        self._written = (self._epoch, self._next)

    def _go_on(self, model: keras.Model, path: Path) -> None:
        position = Position.read(path, fingerprint=self.streams.fingerprint())
        position.restore(model, guard=self.guard, where=str(path))
        self._resumed, self._written = position, (position.epoch, position.window)
        self._epoch, self._next = position.epoch, position.window
        model._initial_epoch = position.epoch  # as Keras's BackupAndRestore does
        if self.verbose:
            said = f"epoch {position.epoch + 1}, window {position.window + 1} of {len(self.streams)}"
            print(f"CarryState: goes on at {said}, from {path}", file=sys.stderr)

    def _speak(self) -> None:
        """Warnings are let through again."""
        if self._silence is not None:
            self._silence.__exit__(None, None, None)
            self._silence = None


def carrying_layers(model: keras.Model) -> list[Carrying]:
    """The recurrent layers of a model that carry their states.

    Raises:
        ArgumentError: there is none, or one whose state does not go on from window to window.
    """
    found = list(recurrent_layers(model))
    stateful = [(name, layer, container) for name, layer, container in found if layer.stateful]
    if not stateful:
        raise ArgumentError(
            "the model has no stateful recurrent layer, so nothing would be carried from window to window; "
            "set stateful=True, or train on whole sequences."
        )
    stock = [name for name, layer, _ in stateful if not isinstance(layer, Carrying)]
    if stock:
        raise ArgumentError(
            f"{listed(stock)} carry no state in fit on JAX, and on other backends evaluate overwrites it, as in all of "
            "Keras's own layers; tt.accelerate(model) makes SimpleRNN, GRU and LSTM carry it."
        )
    backwards = [
        name for name, layer, container in stateful
        if layer.go_backwards or isinstance(container, keras.layers.Bidirectional)
    ]  # fmt: skip
    if backwards:
        raise ArgumentError(
            f"{listed(backwards)} read from the end of the sequence, which lies in a window that is still to come; "
            "only layers that read forwards can carry their states."
        )
    across = [layer.name for layer in model._flatten_layers() if isinstance(layer, ACROSS_TIME)]
    if across:
        warnings.warn(
            f"layers that look at several steps at once see those of their window alone ({listed(across)}): outputs "
            "near its edges are others than over the whole sequence.",
            stacklevel=4,
        )
    other = [name for name, layer, _ in found if not layer.stateful]
    if other:
        warnings.warn(
            f"{listed(other)} are not stateful and begin anew with each window; stateful=True carries their states.",
            stacklevel=4,
        )
    return [layer for _, layer, _ in stateful]
