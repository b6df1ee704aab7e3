"""``repair``: what answers the findings is tried on copies, and what provably helps is kept.

Each change is compared with the model without it, seed for seed. What was kept is then proven on other seeds, against
plain retraining and against a random search that may spend as many trainings as all of the trying did.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, counted, first_line
from .courses import Course, Courses, draw
from .evidence import Evidence
from .findings import Diagnosis, Finding
from .given import Given, given, named, rows
from .keeping import untouched
from .measures import Measure
from .pasting import code_of, metric_names
from .progress import Tell, show_progress
from .proofs import Change, Gain, Repair, Scores, Tried, gain
from .recipes import Copies, Recipe, loss_of, loss_weights_of, optimizer_config
from .remedies import Remedy, at_once, remedies_for

STEPS = 300  # of each training: Adam at 0.001 learns what is easy in as many
LONG = 600  # where something has to be learned across many steps of time
LATE = ("vanishing-through-time", "learning-rate-too-low", "constant-prediction")
HELD = 0.25  # share of the sequences that are held out where there is no validation data


def repair(
    model: keras.Model,
    diagnosis: Diagnosis,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    fit: Mapping[str, Any] | None = None,
    seeds: int = 3,
    steps: int | None = None,
    seconds: float = 300.0,
    allow_cell_change: bool = False,
    progress: bool = True,
) -> Repair:
    """Tries what answers a diagnosis on copies of the model, and keeps what provably helps; or says that nothing does.

    Remedies are tried in the order of the causes, one on top of the other: biases for the sequences' length (Tallec and
    Ollivier 2018), initialisers, clipping, rate, scaling inside the model, head and loss, masks. Each is kept if the
    95% interval of its gain over the seeds lies above 0. The outcome is then trained on other seeds, beside the model
    as it was, and beside the best of a random search (rate, initialiser, forget bias, clipping) of as many trainings as
    were spent on all remedies. ``helped`` is True if both intervals lie above 0. The model is left bit for bit.

    What is compared starts from fresh weights, so biases or weights that were assigned by hand are drawn anew, but for
    those of frozen layers and of Normalization.

    Args:
        model: compiled. Sequential or functional; subclassed if from_config makes it of its get_config.
        diagnosis: what ``check`` found.
        x, y, validation_data, fit: as for ``check``. Without validation data a quarter of the sequences is held out.
        seeds: of weights and batches, 3 or more; as many again for the proof.
        steps: of each training; by the findings 300 or 600 where left out.
        seconds: about how long it may take; remedies for which there is no time are named in ``left_out``.
        allow_cell_change: whether a SimpleRNN may become an LSTM or GRU.
        progress: a bar on a terminal; False for none.

    Returns:
        ``helped``, ``changes``, ``code`` to paste, the repaired ``model``, scores by seed; printed, a table.

    Raises:
        ArgumentError: arguments that are not accepted, or a model that cannot be copied.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> layers = [keras.Input((10, 2)), keras.layers.GRU(8), keras.layers.Dense(1, activation="softmax")]
        >>> model = keras.Sequential(layers)
        >>> model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
        >>> x = rng.normal(size=(128, 10, 2)).astype("float32")
        >>> y = (x[:, :, 0].mean(1) > 0).astype("float32")
        >>> from throughtime.diagnosis.check import check
        >>> found = repair(model, check(model, x, y, train=False), x, y, steps=40)
        >>> found.helped, [change.name for change in found.changes]
        (True, ['sigmoid at the output'])
    """
    began = time.monotonic()
    _accepted(diagnosis, seeds=seeds, steps=steps, seconds=seconds)
    data = given(model, x, y, validation_data=validation_data, fit=fit)
    if not any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers()):
        raise ArgumentError("the model has no recurrent layer; one with a SimpleRNN, GRU, LSTM or RNN is accepted.")
    if any(getattr(layer, "stateful", False) for layer in model._flatten_layers()):
        raise ArgumentError("a stateful model is not repaired, because its batches have to go on in one order; "
                            "repair one of its layers without stateful=True.")  # fmt: skip
    data = held_out(data)
    codes = {one.code for top in diagnosis for one in (top, *top.folded)}
    steps = steps or (LONG if codes & set(LATE) else STEPS)
    with untouched(model, rows(data.x, slice(data.batch_size))), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of copies, such as on masks that end in them as in the user's
        evidence = Evidence(model, data, True, seconds)
        if evidence.trace.failed is not None:
            layer, error = evidence.trace.failed
            raise ArgumentError(f"the model cannot be called on this data ({layer}: {error}); see tt.check.")
        copies = Copies(model, rows(data.x, slice(2)))
        remedies, unanswered = remedies_for(diagnosis, evidence, copies, allow_cell_change=allow_cell_change)
        attempt = _Attempt(evidence, copies, remedies, unanswered, seeds=seeds, steps=steps, ends=began + seconds)
        with show_progress("repair", attempt.most, wanted=progress) as attempt.tell:
            return replace(attempt.repaired(), seconds=time.monotonic() - began)


class _Attempt:
    """One repair, inside ``untouched``."""

    def __init__(
        self, evidence: Evidence, copies: Copies, remedies: list[Remedy], unanswered: list[Finding], *, seeds: int,
        steps: int, ends: float,
    ) -> None:  # fmt: skip
        self.evidence, self.copies, self.remedies, self.unanswered = evidence, copies, remedies, unanswered
        self.seeds, self.steps, self.ends = seeds, steps, ends
        self.measure = Measure(evidence, [remedy.change(Recipe()) for remedy in remedies])
        self.tell: Tell = lambda said, taken: None
        self.doing = ""
        held = evidence.data.validation
        assert held is not None
        self.courses = Courses(evidence, copies, self.measure.held, steps, self.measure.score,
                               lambda: self.tell(self.doing, 1))  # fmt: skip
        self.left_out: list[str] = list(evidence.data.notes)

    @property
    def most(self) -> int:
        """Training steps at most, for the progress bar."""
        tried = self.seeds * (1 + len(self.remedies))
        return self.steps * (tried + self.seeds * 2 + tried + self.seeds) if self.remedies else 0

    def repaired(self) -> Repair:
        if not self.remedies:
            return self._result((), (), Recipe())
        self.doing = "plain retraining"
        plain = [self.courses.run(Recipe(), seed) for seed in range(self.seeds)]
        best, recipe = plain, Recipe()
        changes: list[Remedy] = []
        tried: list[Tried] = []
        for remedy in self.remedies:
            changed = remedy.change(recipe)
            if changed == recipe:
                continue
            if not self._time_for(remedy):
                continue
            found = self._tried(remedy.name, remedy.code, changed, best)
            tried.append(found)
            if found.kept:
                best, recipe = self._last, changed
                changes.append(remedy)
        every, together = at_once(self.remedies)
        alone = [remedy.change(Recipe()) for remedy in self.remedies]
        if not changes and every not in alone and self._time_for(None):
            found = self._tried("all of these at once", self.remedies[0].code, every, best)
            tried.append(found)
            if found.kept:
                recipe, changes = every, together
        first = Scores.of(plain)
        if not changes:
            return self._result((), tuple(tried), Recipe(), plain=first)
        return self._proof(changes, tuple(tried), recipe)

    def _tried(self, name: str, code: str, changed: Recipe, best: list[Course]) -> Tried:
        """Seed for seed beside the best so far, until it is certain that the interval will not lie above 0."""
        self.doing = name
        self._last: list[Course] = []
        for before in best:
            try:
                course = self.courses.run(changed, before.seed)
            except Exception as error:  # of Keras or of a user's layer, on what is not made for this change
                self.left_out.append(f"{name}: {first_line(error)}")
                return Tried(name, code, Scores(()), None, False)
            self._last.append(course)
            hopeless = self.seeds < 5 and self.measure.counted(course) >= self.measure.counted(before)
            if not np.isfinite(course.score) or hopeless:
                break
        measured = self._gain(best[: len(self._last)], self._last)
        whole = len(self._last) == len(best) and np.isfinite(self._last[-1].score)
        kept = whole and measured.low > 0 and self.measure.learns(self._last)
        return Tried(name, code, Scores.of(self._last), measured, kept)

    def _proof(self, remedies: list[Remedy], tried: tuple[Tried, ...], recipe: Recipe) -> Repair:
        spent = self.courses.count
        seeds = range(self.seeds, 2 * self.seeds)
        self.doing = "proof: plain retraining"
        plain = [self.courses.run(Recipe(), seed) for seed in seeds]
        self.doing = "proof: repaired"
        ours = [self.courses.run(recipe, seed, keep=True) for seed in seeds]
        self.doing = "proof: random search"
        draws = -(-spent // self.seeds) + 1
        searched = [self._search(seed, draws) for seed in seeds]
        against_plain, against_search = self._gain(plain, ours), self._gain(searched, ours)
        if against_plain.low <= 0:
            self.left_out.append(
                f"{', '.join(one.name for one in remedies)}: kept on the first seeds and not proven on others "
                f"({against_plain}); more seeds= tell more"
            )
        return self._result(
            tuple(remedies), tried, recipe, plain=Scores.of(plain), repaired=Scores.of(ours),
            searched=Scores.of(searched), against_plain=against_plain, against_search=against_search, draws=draws,
            weights=min(ours, key=lambda one: one.score).weights,
        )  # fmt: skip

    def _search(self, seed: int, draws: int) -> Course:
        """The best of so many draws on the user's model, by the same held rows: they flatter it, not the repair."""
        rng = np.random.default_rng(1000 + seed)
        adaptive = type(self.evidence.model.optimizer).__name__ not in ("SGD",)
        made = [
            self.courses.run(Recipe(rate=1.0, guard=True), seed + 100 * place, drawn=draw(rng, adaptive=adaptive))
            for place in range(draws)
        ]
        return min(made, key=lambda one: one.score)

    def _gain(self, before: list[Course], after: list[Course]) -> Gain:
        return gain([self.measure.counted(one) for one in before], [self.measure.counted(one) for one in after])

    def _time_for(self, remedy: Remedy | None) -> bool:
        """Whether there is time to try one more, for all of them at once where none helps, and for the proof."""
        plain = float(np.median(self.courses.seconds[: self.seeds]))
        changed = max(plain, float(np.median(self.courses.seconds[self.seeds :] or [plain])))  # other cells take longer
        tries = 1 if remedy is None or len(self.remedies) == 1 else 2
        searched = self.courses.count + (tries + 1) * self.seeds
        left = (tries + 1) * self.seeds * changed + (self.seeds + searched) * plain
        if time.monotonic() + left < self.ends:
            return True
        name = "all remedies at once" if remedy is None else remedy.name
        self.left_out.append(f"{name}: there was no time to try it; give more seconds=")
        return False

    def _result(
        self, remedies: tuple[Remedy, ...], tried: tuple[Tried, ...], recipe: Recipe, *,
        weights: list[np.ndarray] | None = None, against_plain: Gain | None = None,
        against_search: Gain | None = None, **scores: Any,
    ) -> Repair:  # fmt: skip
        better = weights is not None and against_plain is not None and against_plain.low > 0
        squared = self.measure.squared
        changes = tuple(
            Change(one.name, one.code, code_of(one.change(Recipe()), self.copies, squared=squared)) for one in remedies
        )
        made = self._compiled(recipe, weights) if better and weights is not None else None
        return Repair(
            changes=changes if better else (), tried=tried, model=made,
            code=code_of(recipe, self.copies, squared=squared) if better else "",
            helped=bool(better and against_search is not None and against_search.low > 0),
            against_plain=against_plain, against_search=against_search,
            measure=self.measure.said, steps=self.steps, unanswered=tuple(self.unanswered),
            left_out=tuple(self.left_out), **scores,
        )  # fmt: skip

    def _compiled(self, recipe: Recipe, weights: list[np.ndarray]) -> keras.Model:
        """The repaired copy with the weights of its best training, compiled as the user's model is."""
        user = self.evidence.model
        model = self.copies.make(recipe, 0)
        for variable, value in zip(model.variables, weights, strict=True):
            variable.assign(value)
        config = optimizer_config(user, recipe)
        model.compile(
            type(user.optimizer).from_config(config), loss_of(user, recipe),
            loss_weights=loss_weights_of(user, recipe, self.measure.squared), metrics=metric_names(user) or None,
        )  # fmt: skip
        return model


def _accepted(diagnosis: Any, *, seeds: Any, steps: Any, seconds: Any) -> None:
    if not isinstance(diagnosis, Diagnosis):
        raise ArgumentError(f"diagnosis is {type(diagnosis).__name__}; what tt.check(model, x, y) gives is accepted.")
    for name, value, least in (("seeds", seeds, 3), ("steps", steps, 1)):
        if value is not None and (not isinstance(value, int | np.integer) or value < least):
            raise ArgumentError(f"{name}={value!r} is given; a whole number of at least {least} is accepted.")
    if not seconds > 0:
        raise ArgumentError(f"seconds={seconds} is given; a number above 0 is accepted.")


def held_out(data: Given) -> Given:
    """With held rows: the user's, or a quarter; the last one of windows that overlap, so that none is in both parts."""
    if data.validation is not None:
        return data
    if data.size < 16:
        raise ArgumentError(f"x holds {counted(data.size, 'sequence')}; 16 or more, or validation_data=, are accepted.")
    count = max(4, int(data.size * HELD))
    order = np.random.default_rng(0).permutation(data.size)
    gap = 0
    for array in named(data.x, "x").values():
        few = array[: min(len(array), 20)]
        if array.ndim >= 2 and array.shape[1] > 2 and np.array_equal(few[1:, :-1], few[:-1, 1:]) and few.std() > 0:
            order, gap = np.arange(data.size), min(array.shape[1], data.size // 4)
    ours, held = np.sort(order[: data.size - count - gap]), np.sort(order[data.size - count :])
    validation = tuple(rows(one, held) for one in (data.x, data.y, data.weights))
    return replace(
        data, x=rows(data.x, ours), y=rows(data.y, ours), weights=rows(data.weights, ours), validation=validation
    )
