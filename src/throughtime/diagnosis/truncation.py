"""``horizon_report``: what is lost where sequences are cut, what each cut saves, and where the important part lies.

Copies of the model are trained on sequences cut to so many steps, seed for seed beside those that see all of them, and
scored on the same held rows. Beside that stands where the gradient of the trained model lies, which says what it uses;
the trainings say whether it could do without.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ..data.streams import Streams
from ..errors import ArgumentError, choose, counted, first_line
from ..gradients.flow import LayerFlow, gradient_flow
from ..kernels.schedule import written
from ..layers.paths import bytes_a_step, recurrent_layers
from ..layers.swapping import accelerated
from .courses import Courses
from .cutting import Sequences, cut_to, of_any_length
from .evidence import Evidence
from .given import Given, given, rows
from .keeping import untouched
from .measures import Measure
from .progress import Tell, show_progress
from .proofs import Gain, Scores, gain
from .recipes import Copies, Recipe
from .repair import held_out
from .windowed import end_gradients, is_causal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 8  # steps of the shortest window that is tried by default
WORSE = 0.03  # share of the whole's loss by which a window's mean may lie above it and still be advised
KEEPS = ("last", "first", "windows", "carried")
SHOWN = {"last": "last steps alone", "first": "first steps alone", "windows": "windows without a state",
         "carried": "windows, the state carried"}  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """Sequences cut to ``window`` steps.

    Args:
        window: valid steps that are left of a sequence at most.
        keeps: "last" or "first" of them; "windows": all, each window a sequence of its own; "carried": all, with the
            state carried over windows, in which alone gradients are taken; "all": nothing is cut.
        scores: by seed, on held sequences that are cut alike; whole ones for "carried".
        lost: how much higher the loss is than that of whole sequences, seed for seed; None for those.
        share: of the gradient by the states of the whole sequences, that lies in these steps; NaN for windows.
        step_seconds: of a training step.
        held_bytes: activations that a training step of one batch holds on the native kernel; 0 where it has no part.
    """

    window: int
    keeps: str
    scores: Scores
    lost: Gain | None
    share: float
    step_seconds: float
    held_bytes: int


@dataclass(frozen=True)
class HorizonReport:
    """What ``horizon_report`` found; prints as a table.

    Args:
        whole: without a cut; ``cuts``: those that were tried, the longest first.
        advised: the shortest cut that loses nothing; None where each loses something.
        flow: through the layer that reaches furthest back, after training on whole sequences.
        measure: what a score is. ``steps``: of each training.
        left_out: what there was no time for.
    """

    whole: Cut
    cuts: tuple[Cut, ...]
    advised: Cut | None
    flow: LayerFlow = field(repr=False)
    measure: str
    steps: int
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """In a sentence or two, which window is advised and why."""
        whole = self.whole
        if self.advised is not None:
            cut = self.advised
            times, saved = whole.step_seconds / cut.step_seconds, whole.held_bytes / max(cut.held_bytes, 1)
            faster = f"; a training step is {times:.1f} times as fast" if times >= 1.1 else ""
            memory = f"; it holds 1/{saved:.0f} of the memory" if cut.held_bytes and saved >= 1.5 else ""
            kind = f"the {cut.keeps}" if cut.keeps in KEEPS[:2] else "windows of"
            carried = ", with the state carried over (tt.Streams)," if cut.keeps == "carried" else ""
            return (
                f"{kind} {cut.window} of {whole.window} steps{carried} are enough: {cut.scores.mean:.4g} against "
                f"{whole.scores.mean:.4g} for all of them{faster}{memory}."
            )
        if not self.cuts:
            return "no cut was tried."
        best = min(self.cuts, key=lambda one: one.scores.mean)
        ends = (
            f"the best of them ({best.keeps} {best.window}) ends at {best.scores.mean:.4g}, whole sequences of "
            f"{whole.window} steps at {whole.scores.mean:.4g}"
        )
        if min(best.scores.values) <= max(whole.scores.values):  # of few seeds, an interval says little
            return f"it cannot be told what a cut loses: {ends}, a loss of {best.lost}. More seeds= tell more."
        return (
            f"what matters lies beyond every cut that was tried: {ends}. Keep them whole; "
            'memory="..." bounds what that holds.'
        )

    def table(self) -> list[tuple[str, ...]]:
        head = ("kept", "steps", "score", "lost [95% interval]", "of the gradient", "a training step", "holds")
        lines: list[tuple[str, ...]] = [head]
        for cut in (self.whole, *self.cuts):
            share = "" if np.isnan(cut.share) else f"{cut.share:.1%}"
            held = written(cut.held_bytes) if cut.held_bytes else ""
            lost = "" if cut.lost is None else str(cut.lost)
            lines.append((cut.keeps, str(cut.window), f"{cut.scores.mean:.4g}", lost, share,
                          f"{1e3 * cut.step_seconds:.1f} ms", held))  # fmt: skip
        return lines

    def __str__(self) -> str:
        table = self.table()
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in table]  # fmt: skip
        left = [f"left out: {one}" for one in self.left_out]
        return "\n".join(
            [self.verdict, "", f"{self.measure}, after {counted(self.steps, 'training step')}", "", *lines, *left]
        )

    def evidence(self) -> dict[str, Any]:
        """For the section of the report."""
        head, *rows = self.table()
        lines: dict[str, dict[str, list[float]]] = {}
        for cut in self.cuts:
            line = lines.setdefault(cut.keeps, {"window": [], "score": []})
            line["window"].append(cut.window)
            line["score"].append(cut.scores.mean)
        return {
            "verdict": self.verdict, "columns": head, "rows": rows, "left_out": self.left_out, "lines": lines,
            "whole": self.whole.scores.mean, "measure": f"{self.measure}, after {counted(self.steps, 'training step')}",
        }  # fmt: skip

    def plot(self) -> Figure:
        """The score by window, with its interval, and the share of the gradient."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        low, high = self.whole.scores.interval
        axes.axhspan(low, high, color="0.9")
        axes.axhline(self.whole.scores.mean, color="0.4", label="whole sequences")
        for keeps in dict.fromkeys(cut.keeps for cut in self.cuts):
            cuts = [cut for cut in self.cuts if cut.keeps == keeps]
            means = np.array([cut.scores.mean for cut in cuts])
            reach = np.array([cut.scores.interval for cut in cuts]).T
            axes.errorbar([cut.window for cut in cuts], means, np.abs(reach - means), fmt="o-", capsize=3,
                          label=SHOWN[keeps])  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xlabel("steps that are kept")
        axes.set_ylabel(self.measure)
        axes.legend()
        return figure


def horizon_report(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    fit: Mapping[str, Any] | None = None,
    windows: int | Sequence[int] | None = None,
    keeps: str | None = None,
    seeds: int = 3,
    steps: int = 300,
    seconds: float = 120.0,
    progress: bool = True,
) -> HorizonReport:
    """What is lost at each length that sequences are cut to, what that saves, and which is advised.

    For one target a sequence, its last or its first steps are kept. For targets at each step, sequences are cut into
    windows: with the state carried over them, as by ``tt.Streams`` (the gradient alone ends at a window's edge), and
    each beginning without one. Copies of the model are trained from fresh weights, in as many steps of as many
    sequences; the model itself is left bit for bit.

    Args:
        model: compiled. One of a fixed number of steps is tried on copies that take any.
        x, y, validation_data, fit: as for ``check``. Arrays of x without steps, such as features of a whole sequence,
            are left as they are. Without validation data a quarter of the sequences is held out.
        windows: a number of steps, or several; by default halves, quarters, ... of the longest sequence, down to 8.
        keeps: "last" or "first", of the steps of a sequence; with targets at each step "carried" or "windows". Both by
            default; a model that reads backwards carries no state.
        seeds: of weights and batches, 2 or more.
        steps: of each training.
        seconds: about how long it may take; the shortest windows are left out where there is no time.
        progress: a bar on a terminal; False for none.

    Returns:
        ``whole`` and ``cuts`` with scores, what they lose, their share of the gradient, time and memory; ``advised``;
        ``verdict``; printed, a table; ``plot()``.

    Raises:
        ArgumentError: arguments that are not accepted, or a model that takes one length alone.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(256, 32, 1)).astype("float32")
        >>> y = x[:, -3:].mean(axis=1)
        >>> model = keras.Sequential([keras.Input((None, 1)), keras.layers.GRU(8), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.Adam(0.01), "mse")
        >>> report = horizon_report(model, x, y, windows=[8], keeps="last", steps=150)
        >>> report.advised.window
        8
    """
    began = time.monotonic()
    if isinstance(x, Streams):
        raise ArgumentError("horizon_report cuts sequences itself; give it whole ones, x (sequences, steps, features).")
    data = given(model, x, y, validation_data=validation_data, fit=fit)
    if any(getattr(layer, "stateful", False) for layer in model._flatten_layers()):
        raise ArgumentError("a stateful model has one batch size and carries states from one sequence into the next; "
                            "build it without stateful=True.")  # fmt: skip
    if not isinstance(seeds, int) or seeds < 2 or not isinstance(steps, int) or steps < 1 or not seconds > 0:
        raise ArgumentError(
            f"seeds={seeds!r}, steps={steps!r}, seconds={seconds!r} are given; at least 2, at least 1 and more than 0 "
            "are accepted."
        )
    data = held_out(data)
    with untouched(model, rows(data.x, slice(data.batch_size))), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        evidence = Evidence(model, data, True, seconds)
        if evidence.trace.failed is not None:
            layer, error = evidence.trace.failed
            raise ArgumentError(f"the model cannot be called on this data ({layer}: {error}); see tt.check.")
        sequences = Sequences.of(evidence)
        length = sequences.length
        kinds = _kinds(keeps, _per_step(evidence, length), is_causal(model))
        chosen = _windows(windows, length)
        free = of_any_length(model, length)
        if free is not model:
            evidence = Evidence(free, data, True, seconds)
        trainer = _Trainings(evidence, sequences, seeds, steps, began + seconds)
        with show_progress("horizon_report", seeds * steps * (1 + len(chosen) * len(kinds)), wanted=progress) as tell:
            trainer.tell = tell
            return trainer.report(length, chosen, kinds, began)


def _per_step(evidence: Evidence, length: int) -> bool:
    found = {one.per_step and one.targets.shape[1:2] == (length,) for one in evidence.outputs}
    if len(found) > 1:
        raise ArgumentError(
            "some outputs have a target at each step and others one a sequence; give a model of either."
        )
    return found == {True}


def _kinds(keeps: str | None, per_step: bool, causal: bool) -> tuple[str, ...]:
    accepted = ("carried", "windows") if per_step else KEEPS[:2]
    if keeps is None:
        return accepted if causal or not per_step else ("windows",)
    if keeps in KEEPS and keeps not in accepted:
        which = "at each step" if per_step else "one a sequence"
        raise ArgumentError(f"keeps={keeps!r} is given, and targets are {which}; {accepted[0]!r} or {accepted[1]!r}.")
    keeps = choose("keeps", keeps, accepted)
    if keeps == "carried" and not causal:
        raise ArgumentError('keeps="carried" is given, and the model reads backwards: no state can be carried on.')
    return (keeps,)


def _windows(windows: int | Sequence[int] | None, length: int) -> list[int]:
    if isinstance(windows, int | np.integer):
        windows = [int(windows)]
    if windows is None:
        halves = [length // 2**power for power in range(1, 20)]
        return [one for one in halves if one >= LEAST]
    wrong = [one for one in windows if not isinstance(one, int | np.integer) or not 1 <= one < length]
    if wrong or not len(windows):
        raise ArgumentError(f"windows={list(windows)!r} is given; whole numbers from 1 to {length - 1} are accepted.")
    return sorted({int(one) for one in windows}, reverse=True)


class _Trainings:
    """Trains copies on what is left of the sequences."""

    def __init__(self, evidence: Evidence, sequences: Sequences, seeds: int, steps: int, ends: float) -> None:
        self.evidence, self.sequences, self.seeds, self.steps, self.ends = evidence, sequences, seeds, steps, ends
        self.tell: Tell = lambda said, done: None
        self.doing = "whole sequences"
        self.measure = ""
        self.scores: list[float] = []
        self.last = 0.0

    def report(self, length: int, windows: Sequence[int], kinds: Sequence[str], began: float) -> HorizonReport:
        whole, flow = self.whole(length)
        if not np.isfinite(whole.scores.mean):
            raise ArgumentError(
                f"after {counted(self.steps, 'step')} of training on whole sequences the loss is {whole.scores.mean}; "
                "tt.check(model, x, y) names why, such as NaN in the data or a learning rate that is too high."
            )
        cuts, left_out = [], list(self.evidence.data.notes)
        for window in windows:
            for kind in kinds:
                self.doing = f"{kind} {window}"
                if time.monotonic() + self.last >= self.ends:
                    left_out.append(f"{kind} {window}: there was no time; give more seconds=")
                    continue
                cut = self.cut(window, kind, whole, flow)
                if isinstance(cut, Cut):
                    cuts.append(cut)
                else:
                    left_out.append(f"{kind} {window}: {cut}")
        return HorizonReport(
            whole, tuple(cuts), _advised(whole, cuts), flow, self.measure, self.steps, tuple(left_out),
            time.monotonic() - began,
        )  # fmt: skip

    def whole(self, length: int) -> tuple[Cut, LayerFlow]:
        scores, seconds, weights = self._trained(self.evidence.data, self.evidence)
        model, data = self.evidence.model, self.evidence.data
        for variable, value in zip(model.variables, weights, strict=True):
            variable.assign(value)
        assert data.validation is not None
        some = [rows(part, slice(32)) for part in data.validation]
        with accelerated(model):
            found = gradient_flow(model, some[0], some[1], sample_weight=some[2])
        flow = max(found.values(), key=lambda layer: layer.horizon())
        self.scores = list(scores.values)
        batch = data.batch_size
        return Cut(length, "all", scores, None, 1.0, seconds, batch * length * self._bytes_a_step()), flow

    def cut(self, window: int, kind: str, whole: Cut, flow: LayerFlow) -> Cut | str:
        """Trained on what is left; in words where the model cannot take that."""
        data, evidence = self.evidence.data, self.evidence
        if kind != "carried":
            data = cut_to(data, window, kind, self.sequences)
            evidence = Evidence(evidence.model, data, True, evidence.seconds)
            if evidence.trace.failed is not None:
                layer, error = evidence.trace.failed
                return f"the model does not take so few steps ({layer}: {first_line(error)})"
            if not evidence.shapes_fit:
                return "the model answers with another number of steps than its targets have"
        scores, seconds, _ = self._trained(data, evidence, window if kind == "carried" else None)
        lost = gain(scores.values, self.scores)
        held = data.batch_size * window * self._bytes_a_step()
        return Cut(window, kind, scores, lost, _share(flow, window, kind), seconds, held)

    def _trained(
        self, data: Given, evidence: Evidence, window: int | None = None
    ) -> tuple[Scores, float, list[np.ndarray]]:
        """Scores by seed, seconds of a step, and the weights of the first seed; of ``window`` the gradient's reach."""
        began = time.monotonic()
        measure = Measure(evidence, [])
        self.measure = self.measure or measure.said  # of whole sequences, which come first
        copies = Copies(evidence.model, rows(data.x, slice(2)))
        taken: list[float] = []

        def truncated(model: keras.Model) -> None:
            if window is not None:
                end_gradients(model, window, self.sequences.length)

        def done() -> None:
            taken.append(time.monotonic())
            self.tell(self.doing, 1)

        courses = Courses(evidence, copies, measure.held, self.steps, measure.score,
                          done, truncated)  # fmt: skip
        found = [courses.run(Recipe(), seed, keep=seed == 0) for seed in range(self.seeds)]
        self.last = time.monotonic() - began
        return Scores.of(found), float(np.median(np.diff(taken))) if len(taken) > 1 else 0.0, found[0].weights

    def _bytes_a_step(self) -> int:
        """What the kernel holds of a step of one sequence, in all layers together."""
        return sum(bytes_a_step(layer) for _, layer, _ in recurrent_layers(self.evidence.model))


def _share(flow: LayerFlow, window: int, kind: str) -> float:
    """Of the norms of dL/dh_t of whole sequences, how much lies in the steps that are kept."""
    if kind in ("windows", "carried"):
        return float("nan")
    every = flow.rows()
    kept = sum(float(one[-window:].sum() if kind == "last" else one[:window].sum()) for one in every)
    return kept / max(sum(float(one.sum()) for one in every), 1e-30)


def _advised(whole: Cut, cuts: Sequence[Cut]) -> Cut | None:
    """The shortest that is not provably worse, nor by more than a little in the mean."""
    bar = whole.scores.mean + WORSE * abs(whole.scores.mean)
    enough = [one for one in cuts if one.lost is not None and one.lost.low <= 0 and one.scores.mean <= bar]
    return min(enough, key=lambda one: (one.window, one.scores.mean), default=None)
