"""``Guard``: gradients clipped to a quantile of what was measured, and steps that are not finite undone and explained.

The clipping is AutoClip (Seetharaman, Wichern, Pardo and Le Roux 2020, arXiv:2007.14469).
"""

from __future__ import annotations

import bisect
import sys
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from ..errors import ArgumentError, BackendError, NonFiniteLossError, counted
from .arming import Step, arm, disarm
from .guarded import GuardedStep
from .locating import NonFinite, locate, loss_with

EVERY = 50  # finite steps from one copy of the weights to the next
BEGINNING = 10  # steps in which the loss is that of the beginning
# A loss as many times that of the beginning for EVERY steps is looked at: it diverged if it is as many times what the
# same batch had before. Weights of such a loss are no place to go back to.
RISING = 10.0
SUSPECT = 100.0  # times the loss of the beginning: it is looked at once
RECORDED = 100_000  # steps whose norm and threshold are kept


@dataclass(frozen=True)
class Event:
    """A step that was not finite, or at which the loss had diverged.

    Args:
        epoch, batch: from 1, within ``fit``.
        step: from 1, over all fits.
        norm: of the gradient; NaN or infinite, or finite where the loss or a weight was not.
        found: where it comes from; None where the step, repeated, is finite, and where the loss diverged.
        said: what happened, and what was done, in one line.
    """

    epoch: int
    batch: int
    step: int
    norm: float
    found: NonFinite | None
    said: str

    def __str__(self) -> str:
        return f"epoch {self.epoch}, batch {self.batch}: {self.said}"


class Guard(keras.callbacks.Callback):
    """Keeps a training on its way: ``model.fit(..., callbacks=[tt.Guard()])``.

    **Clipping without a number to guess.** The global norm of the gradient is measured at each step, and scaled down to
    a quantile of those seen before. A ``clipnorm`` of the optimizer's own stays in force.

    **A step that is not finite is undone**: weights, optimizer, metrics, states and seeds are what they were, to the
    bit, and so the next step is as if the batch had not been there. What was the first NaN or infinity is located (see
    ``locate``) and said in one line. If it is in the data, training goes on without that batch. If not, the
    learning rate is lowered as well; and if the next step is not finite either, the weights go back to those of 50 to
    100 steps before, since weights that are nearly infinite are no place to go on from.

    **A loss that diverges but stays finite**, as it can where gradients are clipped, is taken for the same. Where the
    epoch's mean is above 10 times the least of the first 10 steps for 50 steps, or above 100 times once, the batch is
    put to the weights from before the loss rose: if they had a tenth of its loss or less, they are put back and the
    learning rate is lowered. If not, it is the data that became harder, and nothing is done.

    It works under jit, on one device. Between steps, model and optimizer are as the user made them, so saved files are
    the usual ones. Each step waits for its result, as under Keras's progress bar. What is random without a seed of
    Keras's is not put back: on PyTorch dropout without ``seed=``.

    Args:
        quantile: of the norms; None clips nothing. 0.1 clips about nine steps in ten; the paper found it best with
            Adam, and plain gradient descent bears higher rates with it than with larger quantiles.
        window: norms that the quantile is taken of, the last ones.
        factor: that the learning rate is lowered by.
        patience: so many lowerings of the rate, or steps in a row that are not finite, end the training.
        verbose: 1 shows each event as a line on stderr, 0 does not.
        names: what a row is called in messages, given its batch and its place in it, both from 0; of the place None,
            what all rows of the batch are called.

    Attributes:
        threshold: that the next step is clipped to; infinite before the first.
        norms, thresholds: of each step, as measured and as applied; the last 100,000 steps or fewer.
        clipped: the share of all steps whose norm was above the threshold.
        events: a list of ``Event``.
        batch: ``(x, y, sample_weight)`` of the last event, to look into; None where it could not be seen.

    Raises:
        ArgumentError: arguments that are not accepted, or two guards in one ``fit``. NonFiniteLossError: it gave up.

    Example:
        >>> model = keras.Sequential([keras.Input((20, 1)), keras.layers.LSTM(4), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.random.default_rng(0).normal(size=(64, 20, 1)), np.zeros((64, 1))
        >>> x[17, 5] = np.nan
        >>> guard = Guard(verbose=0)
        >>> history = model.fit(x, y, batch_size=16, callbacks=[guard], shuffle=False, verbose=0)
        >>> guard.events[0].found
        NonFinite(kind='data', name='x', value='NaN', row=1, layer=None, step=5, feature=0)
        >>> len(guard.norms), bool(np.isfinite(model.predict(np.ones((1, 20, 1)), verbose=0)).all())
        (4, True)
    """

    def __init__(
        self,
        *,
        quantile: float | None = 0.1,
        window: int = 1000,
        factor: float = 0.5,
        patience: int = 10,
        verbose: int = 1,
        names: Callable[[int, int | None], str] | None = None,
    ) -> None:
        super().__init__()
        if quantile is not None and not 0 < quantile <= 1:
            raise ArgumentError(f"quantile={quantile} is given; more than 0 and at most 1 is accepted (1 clips to the "
                                "largest norm seen).")  # fmt: skip
        if not 0 < factor < 1:
            raise ArgumentError(f"factor={factor} is given; between 0 and 1 is accepted (0.5 halves the rate).")
        for name, value in (("window", window), ("patience", patience)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise ArgumentError(f"{name}={value!r} is given; a whole number of at least 1 is accepted.")
        self.quantile, self.window, self.factor, self.patience = quantile, window, factor, patience
        self.verbose, self.names = verbose, names
        self._step: GuardedStep | None = None
        self._forget()

    def _forget(self) -> None:
        self.threshold = float("inf")
        self.events: list[Event] = []
        self.batch: Any = None
        self.steps = 0
        self.lowered = 0
        self._share = 1.0
        self._clipped = 0
        self._in_a_row = 0
        self._noted = 0
        self._norms, self._thresholds = array("f"), array("f")
        self._seen: deque[float] = deque()
        self._sorted: list[float] = []
        self._copies: deque[tuple[int, int, list[np.ndarray]]] = deque(maxlen=2)
        self._epoch = 0
        self._begin()
        self._goes_on = False

    def _begin(self) -> None:
        """The steps, from here on, tell what the loss of the beginning is."""
        self._begun, self._least, self._high, self._again = 0, float("inf"), 0, 0

    @property
    def norms(self) -> np.ndarray:
        return np.array(self._norms[-RECORDED:])

    @property
    def thresholds(self) -> np.ndarray:
        return np.array(self._thresholds[-RECORDED:])

    @property
    def clipped(self) -> float:
        return self._clipped / self.steps if self.steps else 0.0

    def __str__(self) -> str:
        if not self.steps:
            return "Guard: no step yet"
        said = "the gradient is not clipped"
        if self.quantile is not None:
            said = (
                f"{self.clipped:.0%} of them clipped; the threshold is {self.threshold:.3g}, "
                f"quantile {self.quantile:g} of the last {len(self._seen):,} norms"
            )
        lines = [f"Guard: {counted(self.steps, 'step')}, {said}"]
        if self.events:
            lines.append(f"{_not_finite(len(self.events))}, or had diverged, and undone:")
            lines += [f"  {event}" for event in self.events[-self.patience :]]
        return "\n".join(lines)

    # What Keras calls -------------------------------------------------------------------------------------------------

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        disarm(model)  # what a training that was broken off has left

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        self._refuse(model)
        known = self._step
        if known is not None and known.model is not model:
            self._forget()  # norms of another model
        if model.built and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        if known is None or not known.serves(model):
            self._step = GuardedStep(model)
        self._copies.clear()
        if not self._goes_on:
            self._begin()
        self._goes_on = False
        if model.built:  # else, on TensorFlow, in the first step
            self._copy()

    def _refuse(self, model: keras.Model) -> None:
        if model.optimizer is None:
            raise ArgumentError("Guard needs an optimizer; model.compile(optimizer=...) first.")
        replicas = 1
        if keras.backend.backend() == "tensorflow":
            replicas = model.distribute_strategy.num_replicas_in_sync
        if keras.distribution.distribution() is not None or replicas > 1:
            raise BackendError("Guard works on one device; train without keras.distribution or tf.distribute.")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self._guarded.serves(self._guarded.model):
            self._step = GuardedStep(self.model)  # another callback had the step compiled anew
        # Ours is there for one step alone: whatever interrupts a training, the model is as it was.
        if arm(self._guarded.model, self._run):
            raise ArgumentError("two Guards are in the callbacks of one fit; one is accepted.")

    def _run(self, before: Step, *given: Any) -> Any:
        step = self._guarded
        step.threshold, step.share = np.float32(self.threshold), np.float32(self._share)
        return step(*given)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = self._guarded
        first = batch + 1 - len(step.rows)
        times = self._times_the_beginning(logs)
        for place, (norm, finite) in enumerate(step.rows.tolist()):
            self.steps += 1
            self._norms.append(norm)
            self._thresholds.append(float(step.threshold))
            self._clipped += bool(np.isfinite(norm) and norm > step.threshold)
            if finite:
                self._in_a_row = 0
                if np.isfinite(norm):
                    self._note(norm)
                if (self.steps % EVERY == 0 and times < RISING) or not self._copies:
                    self._copy()
            else:
                at = place - len(step.rows)
                seen = step.batches[at] if len(step.batches) >= -at else None
                self._event(first + place, norm, seen)
        self._high = self._high + len(step.rows) if times > RISING else 0
        suspected = self.steps >= self._again and (times > SUSPECT or self._high >= EVERY)
        if suspected and step.rows[-1, 1] and step.batches and self._copies:
            self._look(batch)
        if len(self._norms) > 2 * RECORDED:
            del self._norms[:-RECORDED], self._thresholds[:-RECORDED]

    def _times_the_beginning(self, logs: Any) -> float:
        """The mean loss of the epoch so far, as a multiple of the least in the first steps of this fit."""
        loss = float((logs or {}).get("loss", "nan"))
        if self._begun < BEGINNING and loss > 0:
            self._begun += 1
            self._least = min(self._least, loss)
        return loss / self._least if loss > 0 else 0.0

    @property
    def _guarded(self) -> GuardedStep:
        """Has the model too: on JAX, ``self.model`` brings the variables up to date first, which takes time."""
        assert self._step is not None
        return self._step

    def _note(self, norm: float) -> None:
        """One norm more, and the threshold of the next step."""
        self._noted += 1
        self._seen.append(norm)
        bisect.insort(self._sorted, norm)
        if len(self._seen) > self.window:
            del self._sorted[bisect.bisect_left(self._sorted, self._seen.popleft())]
        self._choose()

    def _choose(self) -> None:
        """The quantile as NumPy has it, by linear interpolation."""
        if not self._sorted or self.quantile is None:
            self.threshold = float("inf")
            return
        at = self.quantile * (len(self._sorted) - 1)
        below, part = int(at), at - int(at)
        above = min(below + 1, len(self._sorted) - 1)
        self.threshold = self._sorted[below] + (self._sorted[above] - self._sorted[below]) * part

    # A step that is not finite ----------------------------------------------------------------------------------------

    def _look(self, batch: int) -> None:
        """The loss is finite and high: by the training, or by the data."""
        model = self.model
        self._high, self._again = 0, self.steps + EVERY
        x, y, weight = keras.utils.unpack_x_y_sample_weight(self._guarded.batches[-1])
        now, then = (
            loss_with(model, values, (x, y, weight))
            for values in (_values(model.variables), self._copies[0][2][: len(model.variables)])
        )
        if not now > RISING * then:
            if then > RISING * self._least:  # the data are harder: theirs is the loss to compare with
                self._least = then
            return
        self._again = 0
        self.batch = _numpy((x, y, weight))
        lowered = self._lower()
        said = (
            f"the loss of this batch is {now:.3g}, and was {then:.3g} with the weights of {self._go_back()}: it "
            f"diverged; these are put back, {lowered}"
        )
        model.reset_metrics()
        self._noted_event(Event(self._epoch + 1, batch + 1, self.steps, float(self._norms[-1]), None, said))

    def _event(self, batch: int, norm: float, seen: Any) -> None:
        self._in_a_row += 1
        found, self.batch = None, None
        if seen is not None:
            x, y, weight = keras.utils.unpack_x_y_sample_weight(seen)
            self.batch = _numpy((x, y, weight))
            found = locate(self.model, *self.batch, training=True)
        said = self._cause(batch, norm, found, seen is not None)
        if found is not None and found.kind == "data":
            said += "; the batch is left out"
        else:
            said += f"; the step is undone, {self._lower()}"
            if self._copies and (self._in_a_row > 1 or (found is not None and found.kind == "weight")):
                said += f", the weights are those of {self._go_back()} again"
        self._noted_event(Event(self._epoch + 1, batch + 1, self.steps, norm, found, said))

    def _noted_event(self, event: Event) -> None:
        self.events.append(event)
        if self.verbose:
            print(f"Guard: {event}", file=sys.stderr)
        if self.lowered >= self.patience or self._in_a_row >= self.patience:
            raise NonFiniteLossError(self._report())

    def _cause(self, batch: int, norm: float, found: NonFinite | None, seen: bool) -> str:
        if found is not None and found.row is not None:
            return found.said(None if self.names is None else self.names(batch, found.row))
        if found is not None:
            said = found.said()
        elif not seen:
            said = "a value is not finite; where, can be told with steps_per_execution=1"
        elif np.isfinite(norm):
            said = f"the gradient, of norm {norm:.3g}, or the update that it makes is too large for a float32"
        else:
            said = "a value is not finite, though not when the step is repeated, so it depends on what is random in it"
        return said if self.names is None else f"{said} ({self.names(batch, None)})"

    def _lower(self) -> str:
        self.lowered += 1
        if not self._guarded.has_rate:
            self._share *= self.factor
            return f"updates are scaled by {self._share:.3g} from here on"
        rate = self.model.optimizer.learning_rate
        before = float(ops.convert_to_numpy(rate.value))
        rate.assign(before * self.factor)
        return f"the learning rate lowered from {before:.3g} to {before * self.factor:.3g}"

    def _report(self) -> str:
        count = len(self.events)
        shown = self.events[:3] + self.events[3:][-3:]
        last = self.events[-1].found
        if last is not None and last.kind == "data":
            advice = "Look at the data: it holds what no learning rate can mend."
        else:
            advice = "Try a lower learning rate, smaller inputs and targets, or tanh in the recurrence."
        why = f"{_not_finite(count)} or had diverged"
        if self._in_a_row >= self.patience:
            why = f"{self._in_a_row} steps in a row were not finite"
        lines = [
            f"{why}; the learning rate was lowered {counted(self.lowered, 'time')} by a factor of {self.factor:g}. "
            f"{advice}",
            *(f"  {event}" for event in shown),
        ]
        if count > len(shown):
            lines.insert(4, f"  ... {count - len(shown)} more")
        return "\n".join(lines)

    # Copies of the weights --------------------------------------------------------------------------------------------

    def _kept(self) -> list[keras.Variable]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def _copy(self) -> None:
        self._copies.append((self.steps, self._noted, _values(self._kept())))

    def _go_back(self) -> str:
        """To the older of two copies, but for the learning rate."""
        step, noted, values = self._copies[0]
        rate = self.model.optimizer.learning_rate if self._guarded.has_rate else None
        for variable, value in zip(self._kept(), values, strict=True):
            if variable is not rate:
                variable.assign(value)
        self._copies = deque(list(self._copies)[:1], maxlen=2)
        for _ in range(min(self._noted - noted, len(self._seen))):  # norms of the way that is given up
            del self._sorted[bisect.bisect_left(self._sorted, self._seen.pop())]
        self._noted = noted
        self._choose()
        return f"step {step}" if step else "the start"

    # To go on elsewhere -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as numbers, lists and dicts that JSON can hold."""
        return {
            "norms": list(self._seen),
            "steps": self.steps,
            "clipped": self._clipped,
            "lowered": self.lowered,
            "share": self._share,
            "in_a_row": self._in_a_row,
            "begun": [self._begun, self._least, self._high, self._again],
            "events": [asdict(event) for event in self.events],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What ``state_dict`` of another guard gave; of the norms, the record alone is not in it."""
        self._forget()
        for norm in state["norms"]:
            self._note(norm)
        self.steps, self._clipped, self.lowered = state["steps"], state["clipped"], state["lowered"]
        self._share, self._in_a_row = state["share"], state["in_a_row"]
        self._begun, self._least, self._high, self._again = state["begun"]
        self._goes_on = True
        for event in state["events"]:
            found = event["found"] and NonFinite(**event["found"])
            self.events.append(Event(**{**event, "found": found}))


def _values(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(one.value)) for one in variables]


def _numpy(batch: Any) -> Any:
    return keras.tree.map_structure(lambda one: None if one is None else np.array(ops.convert_to_numpy(one)), batch)


def _not_finite(count: int) -> str:
    return f"{counted(count, 'step')} {'was' if count == 1 else 'were'} not finite"
