"""``gradient_flow``: how much of the loss's gradient reaches each time step of each recurrent layer.

dL/dh_t is the gradient of the loss by the state after step t, by all ways: through the output of that step, and through
all later steps. Where its norm shrinks by the same factor with every step back, what lies long before the loss teaches
the network nothing (Hochreiter 1991; Bengio, Simard and Frasconi 1994, doi:10.1109/72.279181); where it grows, one long
sequence throws the weights about (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ..errors import ArgumentError, ThroughtimeError, first_line
from ..kernels import native
from ..layers.paths import recurrent_layers
from .building import build, copy_loss, loss_apart
from .differentiate import derivative_of, nothing_lasts
from .reading import in_batches, read_batches
from .trajectory import Trajectory, trajectory
from .watching import Call, Watch, new_tap, tapped, watched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = 0.9  # of the gradient, that the horizon in tables holds
TRAJECTORIES = 16  # sequences that gates and exponent are computed for, in NumPy


@dataclass(frozen=True)
class LayerFlow:
    """The flow through one recurrent layer. Steps are in the order in which the layer takes them.

    Args:
        layer: its name, as ``explain`` has it; a layer that was called several times has ``#2``, ``#3`` added.
        cell: its class.
        units: H, of the state that is the output; of a ConvLSTM all values of its state.
        norms: (B, T) float32, of dL/dh_t over units; 0 at masked steps.
        mask: (B, T) bool, True at valid steps.
        trajectory: gate saturation and Lyapunov exponent; None for cells whose equations are not known.
        native: the norms came from the native kernel's own backward pass.
    """

    layer: str
    cell: str
    units: int
    norms: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    trajectory: Trajectory | None = None
    native: bool = False

    @property
    def lengths(self) -> np.ndarray:
        """(B,) valid steps of each sequence."""
        return self.mask.sum(axis=1)

    def rows(self) -> list[np.ndarray]:
        """The norms of each sequence's valid steps, without the masked ones in between."""
        return [norms[valid] for norms, valid in zip(self.norms, self.mask, strict=True)]

    @property
    def from_end(self) -> np.ndarray:
        """Means over sequences, by the number of steps before the last valid one: place 0 is the last valid step."""
        sums, counts = _by_lag(self.norms[:, ::-1], self.mask[:, ::-1])
        return (sums / np.maximum(counts, 1)).astype(np.float32)

    @property
    def from_start(self) -> np.ndarray:
        """Means over sequences, by the number of steps after the first valid one."""
        sums, counts = _by_lag(self.norms, self.mask)
        return (sums / np.maximum(counts, 1)).astype(np.float32)

    @property
    def rate(self) -> float:
        """The factor from a step to the one before it: below 1 the gradient dies on its way back, above 1 it grows.

        exp of the slope of a straight line through the log of ``from_end``, up to where it is 0 in float32. NaN with
        fewer than three steps.
        """
        means = self.from_end.astype(np.float64)
        dead = np.flatnonzero(~(means > 0))
        means = means[: dead[0]] if len(dead) else means
        if len(means) < 3 or not np.isfinite(means).all():
            return float("nan")
        return float(np.exp(np.polyfit(np.arange(len(means)), np.log(means), 1)[0]))

    def horizon(self, share: float = SHARE) -> int:
        """How many steps back from each sequence's end this share of the gradient lies: the sum of norms, 0 for the
        last valid step alone.

        Raises:
            ArgumentError: a share outside of (0, 1].
        """
        if not 0 < share <= 1:
            raise ArgumentError(f"share={share} is given; more than 0 and at most 1 is accepted.")
        sums, _ = _by_lag(self.norms[:, ::-1], self.mask[:, ::-1])
        if not np.isfinite(sums).all():  # then what is infinite or NaN is all there is
            sums = np.where(np.isfinite(sums), 0.0, 1.0)
        if not sums.sum() > 0:
            return 0
        reached = np.cumsum(sums) / sums.sum()
        return int(np.searchsorted(reached, share * (1 - 1e-12)))

    @property
    def first_to_last(self) -> float:
        """The norm at a sequence's first valid step as a share of that at its last one: the median over sequences."""
        several = self.lengths > 1
        norms, mask = self.norms[several].astype(np.float64), self.mask[several]
        if not len(norms):
            return float("nan")
        rows = np.arange(len(norms))
        first, last = norms[rows, mask.argmax(1)], norms[rows, mask.shape[1] - 1 - mask[:, ::-1].argmax(1)]
        with np.errstate(invalid="ignore"):  # infinite by infinite
            ratios = first[last > 0] / last[last > 0]
        return float(np.median(ratios)) if len(ratios) else float("nan")


def _by_lag(norms: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over sequences and how many they are, by the number of valid steps before a step."""
    lags = mask.cumsum(axis=1)[mask] - 1
    return np.bincount(lags, norms[mask]), np.bincount(lags)


class GradientFlow(Mapping[str, LayerFlow]):
    """The flow of one batch through each recurrent layer, by name, the layer next to the input first.

    Args:
        layers: by name.
        loss: of the batch.
        weights: the norm of the gradient by each variable, by its path.
        unseen: why other layers are not in it, by name.
        read: how much was taken of data that comes in batches.
    """

    def __init__(
        self, layers: Mapping[str, LayerFlow], *, loss: float, weights: Mapping[str, float],
        unseen: Mapping[str, str] | None = None, read: str = "",
    ) -> None:  # fmt: skip
        self.layers, self.loss, self.weights = dict(layers), loss, dict(weights)
        self.unseen, self.read = dict(unseen or {}), read

    def __getitem__(self, layer: str) -> LayerFlow:
        return self.layers[layer]

    def __iter__(self) -> Any:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def global_norm(self) -> float:
        """Of the gradient by all variables together, which ``global_clipnorm`` limits."""
        return float(np.sqrt(sum(one**2 for one in self.weights.values())))

    def table(self) -> list[tuple[str, ...]]:
        """Header and rows, as text."""
        rows: list[tuple[str, ...]] = [
            ("layer", "cell", "units", "steps", "first/last", "per step", "horizon", "Lyapunov", "saturated gates")
        ]
        for flow in self.values():
            exponent = "" if flow.trajectory is None else f"{flow.trajectory.exponent:+.3f}"
            rows.append((
                flow.layer, flow.cell, str(flow.units), str(int(flow.lengths.max(initial=0))),
                f"{flow.first_to_last:.1e}", f"{flow.rate:.3f}", str(flow.horizon()), exponent, _gates(flow.trajectory),
            ))  # fmt: skip
        return rows

    def __str__(self) -> str:
        table = self.table()
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        lines.append(f"loss {self.loss:.6g}, gradient norm {self.global_norm:.3g}; horizon: steps back that hold "
                     f"{SHARE:.0%} of the gradient")  # fmt: skip
        lines += [f"read: {self.read}"] if self.read else []
        lines += [f"not seen: {name}: {why}" for name, why in self.unseen.items()]
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self) -> Figure:
        """The norms by the number of steps before each sequence's end, one line for each layer, on a log scale.

        A Matplotlib figure: a notebook shows it, ``figure.savefig("flow.png")`` writes it.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        floor = np.finfo(np.float32).tiny
        for flow in self.values():
            means = flow.from_end
            steps = np.arange(len(means))
            (line,) = axes.plot(-steps, np.where(means > floor, means, np.nan), label=flow.layer, linewidth=1.8)
            if len(means):
                axes.axvline(-flow.horizon(), color=line.get_color(), linestyle=":", linewidth=1)
        axes.set_yscale("log")
        axes.set_xlabel("time step, counted from the end of each sequence")
        axes.set_ylabel("norm of dL/dh")
        axes.set_title(f"How far the gradient reaches (dotted: {SHARE:.0%} of it lies to the right)", fontsize=10)
        axes.grid(alpha=0.3)
        if len(self):
            axes.legend()
        return figure


def _gates(found: Trajectory | None) -> str:
    """``forget 3% + 41%``: shares near the lower and the upper end, of the gates that have a tenth or more there."""
    gates = found.gates if found is not None else {}
    said = [
        f"{name} {one.low:.0%} low, {one.high:.0%} high" for name, one in gates.items() if one.low + one.high >= 0.1
    ]
    return "; ".join(said)


class Probe:
    """A batch made ready to be measured again and again: a call gives the flow at the weights of that moment.

    The first call traces what later ones run. The model is left as it was, as by ``gradient_flow``, whose arguments
    these are; gates and Lyapunov exponents are left out.

    Example:
        >>> model = keras.Sequential([keras.Input((20, 3)), keras.layers.GRU(8, name="gru"), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> probe = Probe(model, np.ones((4, 20, 3)), np.ones((4, 1)))
        >>> before = probe()["gru"].norms
        >>> model.set_weights([2 * one for one in model.get_weights()])
        >>> bool((probe()["gru"].norms == before).any())
        False
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        loss: Any = None,
        sequences: int = 64,
    ) -> None:
        if not isinstance(model, keras.Model):
            raise ArgumentError(f"gradient_flow was given {type(model).__name__}; a keras.Model is accepted.")
        if sequences < 1:
            raise ArgumentError(f"sequences={sequences} is given; 1 or more is accepted.")
        self.layers = {name: layer for name, layer, _ in recurrent_layers(model)}
        if not self.layers:
            raise ArgumentError("the model has no recurrent layer; one with a SimpleRNN, GRU, LSTM or RNN is accepted.")
        if loss is None and not model.compiled:
            raise ArgumentError("the model is not compiled; model.compile(loss=...) first, or give loss=.")
        if loss is not None and sample_weight is not None:
            raise ArgumentError(
                "sample_weight goes with the compiled loss; compile the model with it and leave loss= out."
            )
        self._said = ""
        if y is None and in_batches(x):
            read = read_batches(x, rows=sequences, alike=True)
            x, y, sample_weight, self._said = read.x, read.y, read.weights, read.said
            if loss is not None:
                sample_weight = None
        x, y, sample_weight = (_first(one, sequences) for one in (x, y, sample_weight))
        chosen = None if loss is None else keras.losses.get(loss)
        self._model, self._loss = model, copy_loss(model)

        def total() -> Any:
            predicted = model(x, training=False)
            if chosen is not None:
                return keras.ops.mean(chosen(y, predicted))
            # As in fit, since a compute_loss of the user's own may count on tensors.
            given = {"x": _tensors(x), "y": _tensors(y), "sample_weight": _tensors(sample_weight)}
            return model._compute_loss(**given, y_pred=predicted, training=False)

        try:
            build(model, x)
            # The first loss is computed outside of any trace: what it builds has values then.
            with nothing_lasts(model), watched(self.layers) as watches, loss_apart(model, self._loss):
                total()
        except ThroughtimeError:
            raise
        except Exception as error:  # of a layer, the framework or a user's loss, on data that does not fit
            raise ArgumentError(
                f"the loss of this batch cannot be computed: {first_line(error)} tt.check(model, x, y) says more."
            ) from error
        self.calls = {name: watch.calls for name, watch in watches.items()}
        self.unseen = {
            name: f"{type(self.layers[name].cell).__name__} gives out what is none of its states, so dL/dh_t cannot be "
            "seen from outside; a cell whose output is a state is accepted."
            for name, seen in self.calls.items() if not all(one.places for one in seen)
        }  # fmt: skip
        if len(self.unseen) == len(self.layers):
            raise ArgumentError(" ".join(f"gradient_flow: {name}: {why}" for name, why in self.unseen.items()))
        # The norms of a layer that is called twice are those of its last call.
        self.natively = {
            name: self.layers[name] for name, seen in self.calls.items() if len(seen) == 1 and seen[0].fused
        }
        self._probed = {
            name: layer for name, layer in self.layers.items() if name not in self.natively and name not in self.unseen
        }
        self._zeros = [_zeros(call) for name in self._probed for call in self.calls[name]]
        self._taps = {name: new_tap() for name in self.natively}
        self._watches: Mapping[str, Watch] = {}

        def probing(probes: list[Any]) -> Any:
            left = iter(probes)
            for name, watch in self._watches.items():
                watch.probes = iter([(call, next(left)) for call in self.calls[name]])
            return total()

        # A frozen layer makes no backward pass unless something of it is differentiated by.
        frozen = [layer.cell.kernel for layer in self.natively.values() if not layer.cell.kernel.trainable]
        self._variables = [variable.path for variable in model.trainable_variables]
        differentiated = [*model.trainable_variables, *frozen]
        known = {id(variable) for variable in differentiated}
        others = [variable for variable in model.variables if id(variable) not in known]
        self._derivative = derivative_of(probing, differentiated, others)

    def __call__(self) -> GradientFlow:
        """The flow at the weights that the model has now."""
        apart = loss_apart(self._model, self._loss)
        with tapped(self.natively, self._taps), watched(self._probed) as self._watches, apart:
            value, by_weight, by_probe = self._derivative(self._zeros)
            found = {name: native.tapped(tap) for name, tap in self._taps.items()}
        left = iter(by_probe)
        flows = {}
        for name, layer in self._seen():
            for number, call in enumerate(self.calls[name], 1):
                mask = call.mask
                if name in self.natively:
                    seen = found[name]
                    norms = np.zeros(mask.shape, np.float32) if seen is None else seen.norms
                else:
                    norms = np.linalg.norm(next(left).astype(np.float64), axis=-1).astype(np.float32)
                    norms = np.where(mask, norms, 0)
                    norms = norms[:, ::-1] if layer.go_backwards else norms
                if layer.go_backwards:
                    mask = mask[:, ::-1]
                full = name if number == 1 else f"{name}#{number}"
                flows[full] = LayerFlow(
                    full, type(layer).__name__, call.units, norms, mask, native=name in self.natively
                )
        weights = {
            path: float(np.linalg.norm(gradient.astype(np.float64)))
            for path, gradient in zip(self._variables, by_weight, strict=False)
        }
        return GradientFlow(flows, loss=value, weights=weights, unseen=self.unseen, read=self._said)

    def trajectories(self) -> list[Trajectory | None]:
        """Gates and exponents, in the order of the layers of a flow, at the weights that the probe was made with."""
        few = slice(TRAJECTORIES)
        return [
            trajectory(layer, call.inputs[few], call.mask[few], [state[few] for state in call.states])
            for name, layer in self._seen()
            for call in self.calls[name]
        ]

    def _seen(self) -> list[tuple[str, keras.layers.RNN]]:
        return [(name, layer) for name, layer in self.layers.items() if name not in self.unseen]


def gradient_flow(
    model: keras.Model, x: Any, y: Any = None, *, sample_weight: Any = None, loss: Any = None, sequences: int = 64
) -> GradientFlow:
    """The norm of dL/dh_t at every time step of every recurrent layer, for one batch.

    The model is left as it was: weights, optimizer, metrics, random state. It is called with ``training=False``, so
    dropout is off. Layers on the native kernel give the norms out of the backward pass that is made anyway; in others a
    zero is added to the state inside the loop, and the loss differentiated by it.

    Args:
        model: built, and compiled with a loss unless ``loss`` is given. Sequential, functional or subclassed.
        x, y: arrays as ``model.fit`` takes them, or lists or dicts of them; or x alone, as a PyDataset,
            tf.data.Dataset, DataLoader or generator, of which the first sequences of one length are taken. Of a
            generator that is its first batch, which ``fit`` does not get again; ``flow.read`` says so.
        sample_weight: as in ``fit``, with the compiled loss.
        loss: a Keras loss or its name, in place of the compiled one and without penalties of layers.
        sequences: so many, from the first one on, are taken as one batch.

    Returns:
        ``flow[layer].norms``, and what follows from them; ``print(flow)`` shows a table, ``flow.plot()`` a picture.

    Raises:
        ArgumentError: a model without a recurrent layer or a loss, or arguments that do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rnn = keras.layers.SimpleRNN(8, name="rnn")
        >>> model = keras.Sequential([keras.Input((20, 3)), rnn, keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> flow = gradient_flow(model, rng.normal(size=(4, 20, 3)), rng.normal(size=(4, 1)))
        >>> flow["rnn"].norms.shape, flow["rnn"].rate < 1
        ((4, 20), True)
    """
    probe = Probe(model, x, y, sample_weight=sample_weight, loss=loss, sequences=sequences)
    flow = probe()
    found = zip(flow.values(), probe.trajectories(), strict=True)
    layers = {one.layer: replace(one, trajectory=path) for one, path in found}
    return GradientFlow(layers, loss=flow.loss, weights=flow.weights, unseen=flow.unseen, read=flow.read)


def _zeros(call: Call) -> np.ndarray:
    return np.zeros((*call.mask.shape, call.units), np.float32)


def _tensors(given: Any) -> Any:
    """A tensor of each array of numbers."""
    return keras.tree.map_structure(
        lambda one: one if one is None or one.dtype.kind in "OSU" else keras.ops.convert_to_tensor(one), given
    )


def _first(given: Any, count: int) -> Any:
    """The first rows of an array, or of each in a list or dict."""
    return keras.tree.map_structure(lambda one: None if one is None else np.asarray(one)[:count], given)
