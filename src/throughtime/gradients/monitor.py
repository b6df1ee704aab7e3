"""``GradientMonitor``: the gradient flow while ``model.fit`` trains, as a heat map of training steps by time steps.

Layers on the native kernel have a tap each (csrc/taps.h), shut but for the steps that are read: a step that is not read
costs nothing more, and one that is read has its norms computed by the backward pass that is made anyway. Nothing is
asked at the end of a batch, where Keras would wait for each step to be done, but at the beginning of the next one.
Other layers are measured on a probe batch, outside of training: one that is given, or the first that ``fit`` shows,
which is looked at just before the step that is made of it (peeking.py).
"""

from __future__ import annotations

import os
import sys
import time
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ..errors import ArgumentError, ThroughtimeError, first_line
from ..kernels import native
from ..layers.explanation import NATIVE, explain
from ..layers.paths import recurrent_layers
from .arming import Outermost, Step, disarm
from .events import EventLog, refuse_without_tensorboard
from .flow import LayerFlow, Probe
from .history import READINGS, LayerHistory, Readings, heat_maps
from .peeking import peek, rows_of, values_in_place
from .reading import in_batches
from .watching import new_tap

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class _Pace:
    """When to measure again: every so many batches, or as often as a share of the time allows."""

    share: float
    every: int | None
    after: float = 0.0  # on the clock
    batch: int = 0  # the first one after the last measurement

    def due(self, batch: int, stride: int) -> bool:
        if self.every is not None:
            return batch % (self.every * stride) == 0
        return batch >= self.batch + stride - 1 and time.perf_counter() >= self.after

    def took(self, seconds: float, batch: int) -> None:
        self.batch, self.after = batch + 1, time.perf_counter() + seconds / self.share


def _give_back(taps: Mapping[str, tuple[Any, int]]) -> None:
    """Of a training that was broken off. What was compiled with the taps may still run, so they stay shut for good."""
    for layer, tap in taps.values():
        if layer.tap == tap:
            layer.tap = 0
        native.close_tap(tap)
        native.shut_tap(tap)


class GradientMonitor(keras.callbacks.Callback):
    """Records the gradient flow while ``model.fit`` trains: the norm of dL/dh_t by training step, layer and time step.

    Layers on the native kernel are read out of the backward passes of training itself, dropout and all, at step 1, 2,
    4, 8 and so on and then as often as ``share`` of the time allows. Others (Keras's own) are measured on a probe: one
    batch, whose flow is computed apart, as ``gradient_flow`` does, as often as ``share`` allows; compiling it the first
    time comes on top. It is the first batch that ``fit`` shows, as its train step gets it, shuffled and weighted, and
    is forgotten when ``fit`` ends; or, with ``probe=``, one that you choose. Training is the same bit for bit.

    The model is compiled anew for the training and after it, because the taps are part of what is compiled. A training
    that was broken off leaves its taps shut; they are given back when the monitor is used again or is gone.

    Args:
        log_dir: a folder for TensorBoard, which gets first/last, rate and horizon of each layer and the heat map.
        probe: ``(x, y)`` or ``(x, y, sample_weight)`` as ``fit`` takes them, or batches of these: for layers in Keras's
            loop, frozen ones and those that a step calls more than once, in place of the first batch of each ``fit``.
            The same probe in several trainings lets you compare them. Of no use to layers that training shows.
        every: a reading every so many batches (calls of the compiled step), whatever time it takes.
        share: of the time of training, for readings and, apart from them, for the probe.
        sequences: so many of the probe, from the first one on, are taken as one batch. Of a batch that ``fit`` shows a
            model with carried states, all are.

    Attributes:
        history: a ``LayerHistory`` of each layer, by name.
        unseen: why other layers are not in it, and how to mend it, by name.

    Raises:
        ArgumentError: an argument outside of what is accepted; in ``fit``, before its first step is made: a model none
            of whose layers can be seen.
        BackendError: ``log_dir`` without tensorboardX.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(64, 20, 3)), rng.normal(size=(64, 1))
        >>> layers = [keras.layers.LSTM(8, name="lstm"), keras.layers.Dense(1)]
        >>> model = keras.Sequential([keras.Input((20, 3)), *layers])
        >>> model.compile("adam", "mse")
        >>> monitor = GradientMonitor(every=2)
        >>> _ = model.fit(x, y, batch_size=16, epochs=3, callbacks=[monitor], verbose=0)
        >>> monitor.history["lstm"].steps.tolist(), monitor.history["lstm"].norms.shape
        ([1, 3, 5, 7, 9, 11], (6, 20))
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, *, probe: Any = None, every: int | None = None,
        share: float = 0.01, sequences: int = 64,
    ) -> None:  # fmt: skip
        super().__init__()
        arrays = isinstance(probe, list | tuple) and len(probe) in (2, 3)
        if probe is not None and not arrays and not in_batches(probe):
            raise ArgumentError(
                f"probe={type(probe).__name__} is given; (x, y) or (x, y, sample_weight) is accepted, as model.fit "
                "takes them, or batches of these."
            )
        if every is not None and every < 1:
            raise ArgumentError(f"every={every} is given; 1 or more is accepted, or None for a share of the time.")
        if not 0 < share <= 1:
            raise ArgumentError(f"share={share} is given; more than 0 and at most 1 is accepted.")
        if log_dir is not None:
            refuse_without_tensorboard()  # before hours of training
        self.log_dir, self.probe, self.every, self.share, self.sequences = log_dir, probe, every, share, sequences
        self.unseen: dict[str, str] = {}
        self._of: keras.Model | None = None
        self._names: list[str] = []  # of its layers, the layer next to the input first
        self._readings: dict[str, Readings] = {}
        self._taps: dict[str, tuple[Any, int]] = {}  # the layer and the number of its tap
        self._tapped: set[str] = set()  # those that are read
        self._probed: set[str] = set()
        self._prepared: Probe | None = None
        self._begun = 0  # batches
        self._stride = 1
        self._offset = 0  # steps of trainings before an optimizer that began to count anew
        self._open_since: int | None = None
        self._loss_scale = 1.0
        self._opening = 0.0  # seconds that it took to open the taps
        self._finalizer: Any = None
        self._writer: EventLog | None = None

    # What came of it --------------------------------------------------------------------------------------------------

    @property
    def history(self) -> dict[str, LayerHistory]:
        """Of each layer that was seen, the layer next to the input first."""
        kept = [name for name, one in self._readings.items() if one.steps]
        kept.sort(key=lambda name: self._names.index(name.partition("#")[0]))
        return {name: self._readings[name].history(name) for name in kept}

    def plot(self) -> Figure:
        """The norms as a heat map of each layer, training steps by time steps, on a log scale of colours.

        A Matplotlib figure: a notebook shows it, ``figure.savefig("flow.png")`` writes it.
        """
        return heat_maps(self.history.values())

    # What Keras calls -------------------------------------------------------------------------------------------------

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        disarm(model)
        # Before fit makes a step, and before another callback takes hold of the one that was compiled without taps.
        model.train_function = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._leave()
        model = self.model
        if model is not self._of:
            self._of, self._readings, self._begun, self._stride, self._offset = model, {}, 0, 1, 0
        self._look_at(model)
        self._readers, self._probes = _Pace(self.share, self.every), _Pace(self.share, self.every)
        self._pictures = _Pace(self.share, None)
        last = max((one.steps[-1] for one in self._readings.values() if one.steps), default=0)
        if self._steps_made() < last:
            self._offset += last - self._steps_made()
        if self.log_dir is not None:
            self._writer = EventLog(self.log_dir)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._read()
        self._measure()
        self._begun += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._read()
        if self._writer is not None and self._pictures.due(self._begun, 1):
            start = time.perf_counter()
            self._write_pictures()
            self._pictures.took(time.perf_counter() - start, self._begun)

    def on_train_end(self, logs: Any = None) -> None:
        self._read()
        late = sorted(self._probed - set(self._readings), key=self._names.index)
        if late and self._begun:
            why = "training ended before the first step that would have measured it apart."
            self._not_seen(dict.fromkeys(late, why), "")
        if self._writer is not None:
            self._write_pictures()
        self._leave()

    # Layers -----------------------------------------------------------------------------------------------------------

    def _look_at(self, model: keras.Model) -> None:
        """Gives the layers on the native kernel a tap each, and finds which are seen in another way or not at all."""
        layers = {name: layer for name, layer, _ in recurrent_layers(model)}
        if not layers:
            raise ArgumentError(
                "GradientMonitor: the model has no recurrent layer; one with a SimpleRNN, GRU, LSTM or RNN is accepted."
            )
        slow = {row.layer: row.reason for row in explain(model) if row.path != NATIVE}
        self._names = list(layers)
        self._tapped, self._probed, self.unseen = set(), set(slow), {}
        for name in layers:
            if name not in slow:
                tap = new_tap()
                native.shut_tap(tap)
                layers[name].tap = tap
                self._taps[name] = layers[name], tap
                self._tapped.add(name)
        if self._taps:
            # The number of a tap is part of what is compiled. Of the function that fit has just made nothing is yet.
            model.make_train_function(force=True)
            self._finalizer = weakref.finalize(self, _give_back, self._taps)
            self._finalizer.atexit = False

    def _not_seen(self, reasons: Mapping[str, str], remedy: str) -> None:
        """Layers that neither training nor the probe shows, and why."""
        self._probed -= set(reasons)
        self.unseen |= reasons
        warnings.warn(f"GradientMonitor does not see {_said(reasons)}{remedy}", stacklevel=3)

    def _leave(self) -> None:
        """Leaves the model as it was before ``fit``."""
        self._prepared, self._open_since = None, None
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
        if self._taps:
            self._finalizer.detach()
            _give_back(self._taps)
            self._taps = {}
            if self._of is not None:
                self._of.train_function = None

    # Readings ---------------------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """At the beginning of a batch: opens the taps for it, and measures the probe, where it is time to."""
        number = self._begun + 1
        early = self.every is None and number & (number - 1) == 0
        if self._tapped and (early or self._readers.due(self._begun, self._stride)):
            # Of the processor: a wait until JAX has made the step is no cost. The probe's work is in other threads.
            start = time.thread_time()
            self._open_since = self._steps_made()
            scale = self.model.optimizer.scale_loss(keras.ops.ones(()))
            self._loss_scale = float(keras.ops.convert_to_numpy(scale))
            Outermost(self.model, self._watched)
            self._opening = time.thread_time() - start
        if self._probed and self._probes.due(self._begun, self._stride):
            step = self._steps_made() + 1
            if self._prepared is None and self.probe is None:
                # Around the one with the taps, which are shut while the probe is made.
                Outermost(self.model, partial(self._take, self._begun, step))
                return
            if self._prepared is None:
                self._begin(self._prepare())
            self._measure_probe(self._begun, step)

    def _begin(self, probe: Probe) -> None:
        probe()  # it compiles, which is not counted
        self._prepared = probe
        hidden = {name: why for name, why in probe.unseen.items() if name in self._probed}
        if hidden:
            self._not_seen(hidden, "")

    def _measure_probe(self, batch: int, step: int) -> None:
        assert self._prepared is not None
        start = time.perf_counter()
        flow = self._prepared()
        probed = {name: one for name, one in flow.items() if name.partition("#")[0] in self._probed}
        self._keep(step, {name: replace(one, native=False) for name, one in probed.items()})
        self._probes.took(time.perf_counter() - start, batch)

    def _take(self, batch: int, step: int, before: Step, *given: Any) -> Any:
        """A step whose batch becomes the probe, which is measured at the weights that the step begins with."""
        model = self._of  # self.model would have JAX's fit take an older state for the newest one
        assert model is not None
        batch_of_fit, given = peek(model, given)
        carried = any(layer.stateful for _, layer, _ in recurrent_layers(model))
        rows = sys.maxsize if carried else self.sequences
        with values_in_place(model, given):
            try:
                x, y, weight = rows_of(batch_of_fit, rows)
                self._begin(Probe(model, x, y, sample_weight=weight, sequences=rows))
                self._measure_probe(batch, step)
            # What Keras and the backends raise on layers and data of the user's own.
            except (ThroughtimeError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
                self._prepared = None
                self._give_up(first_line(error))
        return before(*given)

    def _give_up(self, why: str) -> None:
        """The batch of a step is no probe. Of a training that has shown nothing yet it is an error."""
        names = sorted(self._probed, key=self._names.index)
        reasons = dict.fromkeys(names, f"the first batch of fit is no probe for it: {why}")
        if not self._tapped and not self._readings:
            raise ArgumentError(
                f"GradientMonitor sees no layer of this model: {_said(reasons)} Give a batch, "
                "GradientMonitor(probe=(x, y)), or put the layers on the native kernel."
            )
        self._not_seen(reasons, " GradientMonitor(probe=(x, y)) sees it with another batch.")

    def _watched(self, before: Step, *given: Any) -> Any:
        """One step with the taps open, and shut whatever ends it."""
        taps = [self._taps[name][1] for name in self._tapped]
        for tap in taps:
            native.open_tap(tap)
        try:
            answer = before(*given)
            logs = answer[0] if isinstance(answer, tuple) else answer
            keras.tree.map_structure(keras.ops.convert_to_numpy, logs)  # JAX answers before it has computed
        finally:
            for tap in taps:
                native.shut_tap(tap)
        return answer

    def _prepare(self) -> Probe:
        assert self.probe is not None
        if in_batches(self.probe):
            return Probe(self.model, self.probe, sequences=self.sequences)
        x, y, *rest = self.probe
        return Probe(self.model, x, y, sample_weight=rest[0] if rest else None, sequences=self.sequences)

    def _read(self) -> None:
        """Reads the taps of the step that was made since they were opened, if they were, and shuts them."""
        if self._open_since is None:
            return
        start = time.thread_time()
        step = self._steps_made()
        expected, self._open_since = max(step - self._open_since, 1), None
        found: dict[str, LayerFlow] = {}
        lost: set[str] = set()
        for name in sorted(self._tapped):
            layer, tap = self._taps[name]
            seen = native.tapped(tap)
            native.close_tap(tap)
            native.shut_tap(tap)
            if seen is not None and seen.passes == expected:
                mask = seen.mask[:, ::-1] if layer.go_backwards else seen.mask
                norms = seen.norms / np.float32(self._loss_scale)
                found[name] = LayerFlow(name, type(layer).__name__, layer.units, norms, mask, native=True)
            elif name in self._readings:
                pass  # another callback has run this batch again, or not at all
            else:  # no backward pass reaches it, as where it and all below it is frozen, or several do
                lost.add(name)
        self._tapped -= lost
        self._probed |= lost
        self._keep(step, found)
        self._readers.took(self._opening + time.thread_time() - start, self._begun)

    def _steps_made(self) -> int:
        """By the optimizer's count. JAX and TensorFlow are waited for: what they were asked for is done."""
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _keep(self, step: int, flows: Mapping[str, LayerFlow]) -> None:
        thinned = False
        for name, flow in flows.items():
            kept = self._readings.setdefault(name, Readings(flow.native))
            kept.add(step + self._offset, flow)
            if len(kept.steps) > READINGS:
                kept.thin()
                thinned = True
            if self._writer is not None:
                figures = dict(zip(("first_to_last", "rate", "horizon"), kept.figures[-1], strict=True))
                for figure, value in figures.items():
                    if np.isfinite(value):
                        self._writer.add_scalar(f"gradient/{name}/{figure}", value, step + self._offset)
        self._stride *= 2 if thinned else 1

    def _write_pictures(self) -> None:
        assert self._writer is not None
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        for name, history in self.history.items():
            canvas = FigureCanvasAgg(heat_maps([history]))
            canvas.draw()
            picture = np.asarray(canvas.buffer_rgba())[..., :3]
            self._writer.add_image(f"gradient/{name}", picture, int(history.steps[-1]))
        self._writer.flush()


def _said(reasons: Mapping[str, str]) -> str:
    return " ".join(f"{name}: {reason}" for name, reason in reasons.items())
