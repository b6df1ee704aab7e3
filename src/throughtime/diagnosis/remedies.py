"""What can be changed in a model for a finding: each remedy a change of the ``Recipe`` that a copy is made by.

A remedy is a proposal. Whether it helps is measured by ``repair``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from .evidence import Evidence
from .findings import Diagnosis, Finding
from .recipes import Copies, Place, Recipe, place_of, rate_of, recurrences


@dataclass(frozen=True)
class Remedy:
    """A change that may help.

    Args:
        name: what is changed, in a few words.
        code: of the finding that it answers.
        change: gives the changed recipe; the same one where there is nothing to change.
    """

    name: str
    code: str
    change: Callable[[Recipe], Recipe]


@dataclass(frozen=True)
class Subject:
    """A finding with what its remedies look at."""

    finding: Finding
    evidence: Evidence
    copies: Copies
    cells: bool  # whether a layer may become one of another class

    @property
    def rate(self) -> float | None:
        return rate_of(self.evidence.model)

    @property
    def steps(self) -> int:
        """The horizon that the task may need: the longest sequence, in valid steps."""
        lengths = [
            call.inputs[0].shape[1] if call.mask_in is None else int(call.mask_in.sum(axis=1).max())
            for _, call in self.evidence.recurrent
        ]
        return max(lengths, default=1)

    def recurrent(self, *kinds: type) -> list[tuple[Place, Any]]:
        return [(place, layer) for place, layer in recurrences(self.evidence.model) if isinstance(layer, kinds)]

    def remedy(self, name: str, change: Callable[[Recipe], Recipe]) -> Remedy:
        return Remedy(name, self.finding.code, change)


Maker = Callable[[Subject], Iterator[Remedy]]


# Memory and initialisers -------------------------------------------------------------------------------------------


def memory(one: Subject) -> Iterator[Remedy]:
    gated = tuple((place, one.steps) for place, layer in one.recurrent(keras.layers.LSTM, keras.layers.GRU)
                  if layer.cell.use_bias)  # fmt: skip
    if gated and one.steps > 2:
        name = f"biases that remember up to {one.steps} steps (chrono)"
        yield one.remedy(name, lambda was: replace(was, memory=gated))


def forget_bias(one: Subject) -> Iterator[Remedy]:
    places = [place for place, layer in one.recurrent(keras.layers.LSTM) if not layer.unit_forget_bias]
    if places:
        yield one.remedy("forget bias 1", lambda was: _set(was, places, unit_forget_bias=True))


def orthogonal(one: Subject) -> Iterator[Remedy]:
    def other(layer: Any) -> bool:
        kind = layer.cell.recurrent_initializer
        return not isinstance(kind, keras.initializers.Orthogonal) or kind.gain != 1

    places = [place for place, layer in one.recurrent(*_CELLS) if other(layer)]
    if places:
        arguments = {"recurrent_initializer": "orthogonal"}
        yield one.remedy("orthogonal recurrent kernel", lambda was: _set(was, places, **arguments))


def usual_kernel(one: Subject) -> Iterator[Remedy]:
    places = [
        place for place, layer in one.recurrent(*_CELLS)
        if not isinstance(layer.cell.kernel_initializer, keras.initializers.GlorotUniform)
    ]  # fmt: skip
    if places:
        yield one.remedy("kernel as Keras draws it", lambda was: _set(was, places, kernel_initializer="glorot_uniform"))


def identity(one: Subject) -> Iterator[Remedy]:
    """Le, Jaitly and Hinton 2015: an identity for the recurrent kernel of a relu SimpleRNN."""
    places = [place for place, _ in one.recurrent(keras.layers.SimpleRNN)]
    if places:
        yield one.remedy(
            "relu from an identity kernel, clipped",
            lambda was: replace(_set(was, places, activation="relu", recurrent_initializer="identity"), guard=True),
        )


def bounded(one: Subject) -> Iterator[Remedy]:
    places = [
        place for place, layer in one.recurrent(*_CELLS)
        if getattr(layer, "activation", None) is not keras.activations.tanh
    ]  # fmt: skip
    if places:
        yield one.remedy("tanh in the recurrence", lambda was: _set(was, places, activation="tanh"))


def other_cell(one: Subject) -> Iterator[Remedy]:
    plain = [place for place, _ in one.recurrent(keras.layers.SimpleRNN) if not place.wrapped]
    if not plain or not one.cells or one.copies.subclassed:
        return
    for cell in ("LSTM", "GRU"):
        cells = tuple((place, cell) for place in plain)

        def change(was: Recipe, cells: tuple[tuple[Place, str], ...] = cells) -> Recipe:
            kept = tuple(one for one in was.settings if one[0] not in plain or one[1] not in _OF_SIMPLE)
            now = replace(_set(replace(was, settings=kept), plain, activation="tanh"), cells=cells)
            return replace(now, memory=tuple((place, one.steps) for place in plain)) if one.steps > 2 else now

        yield one.remedy(f"{cell} in place of SimpleRNN, with biases for {one.steps} steps", change)


# Steps --------------------------------------------------------------------------------------------------------------


def advised_rate(one: Subject) -> Iterator[Remedy]:
    found = re.search(r"learning_rate=([\d.e+-]+)", one.finding.remedy)
    if found:
        rate = float(found[1])
        yield one.remedy(f"learning rate {rate:g}", lambda was: replace(was, rate=rate))


def lower_rate(one: Subject) -> Iterator[Remedy]:
    rate = one.rate
    if rate is not None:
        yield one.remedy("a tenth of the learning rate", lambda was: replace(was, rate=_short((was.rate or rate) / 10)))


def higher_rate(one: Subject) -> Iterator[Remedy]:
    rate = one.rate
    if rate is not None:
        yield one.remedy("ten times the learning rate", lambda was: replace(was, rate=_short((was.rate or rate) * 10)))


def clipped(one: Subject) -> Iterator[Remedy]:
    yield one.remedy("gradients clipped to a measured quantile (Guard)", lambda was: replace(was, guard=True))


# Scales and padding -------------------------------------------------------------------------------------------------


def scaled_inputs(one: Subject) -> Iterator[Remedy]:
    x = one.evidence.data.x
    if not one.copies.wraps or x.ndim != 3 or not one.evidence.steps or one.evidence.steps[0].tokens:
        return
    steps = one.evidence.steps[0]
    if steps.masked.any() and not _masked_first(one.evidence.model):
        return  # scaled padding would no longer be the value that is masked
    valid = steps.values[~steps.masked].astype(float)
    valid = valid[np.isfinite(valid).all(axis=1)]
    centre, spread = valid.mean(axis=0), valid.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    inputs = tuple(map(_short, centre)), tuple(map(_short, spread))
    yield one.remedy("inputs scaled inside the model", lambda was: replace(was, inputs=inputs))


def scaled_targets(one: Subject) -> Iterator[Remedy]:
    y = one.evidence.data.y
    if not one.copies.wraps or not isinstance(y, np.ndarray) or y.dtype.kind not in "fiu":
        return
    if one.evidence.outputs and one.evidence.outputs[0].classes:
        return
    outputs = _short(np.nanmean(y.astype(float))), _short(np.nanstd(y.astype(float)) or 1.0)
    yield one.remedy("targets scaled inside the model", lambda was: replace(was, outputs=outputs))


def padding(one: Subject) -> Iterator[Remedy]:
    found = re.search(r"mask_value=([\d.e+-]+)", one.finding.remedy)
    if found and one.copies.wraps:
        value = float(found[1])
        yield one.remedy("Masking before the first layer", lambda was: replace(was, mask=value))
    if "mask_zero" in one.finding.remedy:
        places = [Place(layer.name) for _, layer in one.evidence.layers(keras.layers.Embedding)]
        yield one.remedy("mask_zero in the Embedding", lambda was: _set(was, places, mask_zero=True))


# Head and loss ------------------------------------------------------------------------------------------------------


def head(one: Subject) -> Iterator[Remedy]:
    """The last layer's activation, as its finding has it."""
    activation = {"single-unit-softmax": "sigmoid", "output-range": "linear"}.get(one.finding.code, "softmax")
    last = place_of(one.evidence.model, one.finding.layer) or _last_dense(one.evidence.model)
    if last is None or not hasattr(last[1], "activation"):
        return
    places = [last[0]]
    if one.finding.code == "logits-without-from-logits" and "from_logits" in one.finding.remedy:
        found = re.search(r"losses\.(\w+)", one.finding.remedy)
        if found:
            loss = found[1], True
            yield one.remedy(f"{found[1]} of logits", lambda was: replace(was, loss=loss))
        return
    name = f"{activation} at the output"
    if one.finding.code == "sigmoid-for-exclusive-classes":
        yield one.remedy(
            f"{name}, categorical cross-entropy",
            lambda was: replace(_set(was, places, activation=activation), loss=("CategoricalCrossentropy", False)),
        )
        return
    yield one.remedy(name, lambda was: _set(was, places, activation=activation))


def last_step(one: Subject) -> Iterator[Remedy]:
    found = place_of(one.evidence.model, one.finding.layer)
    if found is not None:
        yield one.remedy("return_sequences=False on the last recurrent layer",
                         lambda was: _set(was, [found[0]], return_sequences=False))  # fmt: skip


# What answers what --------------------------------------------------------------------------------------------------

_OF_SIMPLE = ("activation", "recurrent_initializer")  # as ``identity`` has them, which a gated cell has no use for
_CELLS = (keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM)
_LEARNS_LATE = (memory, forget_bias, orthogonal, identity, other_cell, higher_rate, clipped)
ANSWERS: dict[str, tuple[Maker, ...]] = {
    "single-unit-softmax": (head,),
    "logits-without-from-logits": (head,),
    "sigmoid-for-exclusive-classes": (head,),
    "output-range": (head,),
    "sequence-output-for-single-target": (last_step,),
    "unmasked-padding": (padding,),
    "unscaled-input": (scaled_inputs,),
    "unscaled-target": (scaled_targets,),
    "unbounded-activation": (bounded, orthogonal, clipped),
    "exploding-through-time": (orthogonal, clipped, bounded, lower_rate),
    "non-finite-loss": (clipped, lower_rate, bounded),
    "saturated-gates": (usual_kernel, orthogonal, lower_rate, scaled_inputs),
    "learning-rate-too-high": (advised_rate, clipped),
    "learning-rate-too-low": (advised_rate,),
    "clipping-ineffective": (clipped,),
    "vanishing-through-time": _LEARNS_LATE,
    "constant-prediction": (memory, forget_bias, other_cell, higher_rate, lower_rate, clipped),
    "random-labels": (memory, higher_rate, lower_rate),
}


def remedies_for(
    diagnosis: Diagnosis, evidence: Evidence, copies: Copies, *, allow_cell_change: bool
) -> tuple[list[Remedy], list[Finding]]:
    """What answers the findings, in the order of the causes, each change once; and the findings that nothing answers.

    Folded findings are consequences: they are answered after all causes.
    """
    ordered = [*diagnosis, *(below for finding in diagnosis for below in finding.folded)]
    found: list[Remedy] = []
    unanswered = []
    seen: set[Recipe] = set()
    for finding in ordered:
        subject = Subject(finding, evidence, copies, allow_cell_change)
        made = [remedy for maker in ANSWERS.get(finding.code, ()) for remedy in maker(subject)]
        if not made:
            unanswered.append(finding)
        for remedy in made:
            changed = remedy.change(Recipe())
            if changed not in seen and changed != Recipe():
                seen.add(changed)
                found.append(remedy)
    return found, unanswered


def at_once(remedies: Sequence[Remedy]) -> tuple[Recipe, list[Remedy]]:
    """All changes on top of each other; of two learning rates the first. With the remedies that it takes to get there.

    Example:
        >>> faster = Remedy("faster", "", lambda was: replace(was, rate=0.01))
        >>> slower = Remedy("slower", "", lambda was: replace(was, rate=0.0001))
        >>> lstm = Remedy("LSTM", "", lambda was: replace(was, cells=((Place("rnn"), "LSTM"),)))
        >>> gru = Remedy("GRU", "", lambda was: replace(was, cells=((Place("rnn"), "GRU"),)))
        >>> recipe, taken = at_once([faster, lstm, gru, slower])
        >>> recipe.rate, [one.name for one in taken]
        (0.01, ['faster', 'GRU'])
    """
    recipe, needed = _on_top(remedies), list(remedies)
    for remedy in remedies:
        others = [one for one in needed if one is not remedy]
        if _on_top(others) == recipe:
            needed = others
    return recipe, needed


def _on_top(remedies: Sequence[Remedy]) -> Recipe:
    recipe = Recipe()
    for remedy in remedies:
        changed = remedy.change(recipe)
        if recipe.rate in (None, changed.rate):
            recipe = changed
    return recipe


def _set(recipe: Recipe, places: list[Place], **arguments: Any) -> Recipe:
    for place in places:
        recipe = recipe.setting(place, **arguments)
    return recipe


def _short(value: Any) -> float:
    """A number of few digits, to be read and pasted."""
    return float(f"{float(value):.6g}")


def _masked_first(model: keras.Model) -> bool:
    return isinstance(model, keras.Sequential) and isinstance(model.layers[0], keras.layers.Masking)


def _last_dense(model: keras.Model) -> tuple[Place, Any] | None:
    dense = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    return place_of(model, dense[-1].name) if dense else None
