"""``Finding`` and ``Diagnosis``: what ``check`` found, causes first, with what follows from each folded under it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from ..gradients.flow import GradientFlow

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

# Every code, in the order in which a table has them: what the data is, what the model is, what training makes of both.
CODES = {
    "call-fails": "the model cannot be called on this data",
    "non-finite-data": "NaN or infinity in the data",
    "token-out-of-range": "a token that the embedding has no row for",
    "single-time-step": "sequences of one step: nothing goes through time",
    "axes-swapped": "time lies along another axis than the layer takes it from",
    "sequence-output-for-single-target": "an answer at each step, and one target a sequence",
    "single-unit-softmax": "a softmax over one unit is 1 whatever the input",
    "logits-without-from-logits": "the loss takes probabilities and is given something else",
    "sigmoid-for-exclusive-classes": "one-hot classes under a loss for independent labels",
    "output-range": "targets that the output cannot reach",
    "wrong-labels": "labels that the loss has no class or probability for",
    "loss-fails": "the loss cannot be computed on these targets",
    "target-shape": "targets of another shape than the output, in silence",
    "probabilities-as-logits": "the loss takes logits and is given probabilities",
    "fully-masked-sequence": "sequences without a valid step",
    "mask-value-in-data": "real steps are taken for padding",
    "unmasked-padding": "padding is read as data",
    "mask-lost": "a mask ends before the layer that needs it",
    "scaler-leak": "validation data was scaled with the training data",
    "overlapping-split": "validation windows lie in training windows",
    "noncausal-forecast": "the answer is among the inputs",
    "stateful-not-carried": "the state is not carried from batch to batch",
    "stateful-shuffled": "carried states meet sequences that do not continue them",
    "unscaled-input": "inputs of a scale that saturates the layer",
    "unscaled-target": "targets of a scale that the output takes too long to reach",
    "unbounded-activation": "a recurrence without bound that grows",
    "exploding-through-time": "the gradient grows with every step back in time",
    "non-finite-loss": "the loss becomes NaN or infinite",
    "saturated-gates": "gates at the end of their range, where they have no slope",
    "learning-rate-too-high": "steps too long for the loss to fall",
    "learning-rate-too-low": "steps too short to get anywhere",
    "clipping-ineffective": "clipping that never acts, or always",
    "vanishing-through-time": "the gradient dies before it reaches the steps that matter",
    "random-labels": "nothing predicts these targets from these inputs",
    "persistence": "the forecast repeats the last value",
    "overfit": "training data is learned by heart",
    "constant-prediction": "nearly the same answer to every input",
}

# What follows from what: a finding of the key is folded under the first finding there is among the values.
_APART = ("constant-prediction", "overfit", "random-labels", "scaler-leak", "overlapping-split", "noncausal-forecast")
_ALL_ELSE = tuple(code for code in CODES if code not in _APART)
CAUSES: dict[str, tuple[str, ...]] = {
    "constant-prediction": (*_ALL_ELSE, "random-labels"),
    "random-labels": tuple(code for code in _ALL_ELSE if code not in ("persistence", "vanishing-through-time")),
    "call-fails": ("token-out-of-range",),
    "loss-fails": ("non-finite-data", "wrong-labels", "sequence-output-for-single-target", "single-unit-softmax"),
    "target-shape": ("sequence-output-for-single-target",),
    "output-range": ("target-shape",),
    "overfit": ("random-labels", "scaler-leak", "overlapping-split"),
    "non-finite-loss": (
        "non-finite-data", "token-out-of-range", "wrong-labels", "unbounded-activation", "logits-without-from-logits",
        "output-range", "unscaled-input", "unscaled-target", "exploding-through-time", "learning-rate-too-high",
    ),
    "exploding-through-time": ("unbounded-activation", "unscaled-input"),
    "saturated-gates": ("unscaled-input",),
    "learning-rate-too-high": (
        "unbounded-activation", "unscaled-input", "unscaled-target", "exploding-through-time", "single-unit-softmax",
        "axes-swapped", "output-range", "saturated-gates",
        "wrong-labels", "target-shape", "probabilities-as-logits",
        "sequence-output-for-single-target", "stateful-shuffled",
    ),
    "learning-rate-too-low": ("unscaled-target", "clipping-ineffective", "single-unit-softmax", "output-range",
                              "wrong-labels", "target-shape", "probabilities-as-logits"),
    "vanishing-through-time": (
        "single-unit-softmax", "unscaled-input", "saturated-gates", "unmasked-padding", "mask-lost",
        "sequence-output-for-single-target", "learning-rate-too-high", "learning-rate-too-low", "output-range",
        "unscaled-target", "random-labels", "wrong-labels", "target-shape",
    ),
    "clipping-ineffective": ("unbounded-activation",),
    "unmasked-padding": ("mask-lost", "axes-swapped"),
    "unscaled-target": ("output-range",),
    "unscaled-input": ("axes-swapped",),
    "mask-value-in-data": ("axes-swapped",),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, how it is known, and what to do.

    Args:
        code: one of ``CODES``; stable.
        severity: "error": the result is wrong, or training cannot work. "warning": it works worse than it should, by a
            measurement on this model and data. "note": worth knowing.
        layer: the layer, or the part of the data, that it is about.
        evidence: what was measured, in numbers.
        remedy: what to do, as code where that is possible.
        folded: findings that follow from this one.
    """

    code: str
    severity: Severity
    layer: str
    evidence: str
    remedy: str
    folded: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.code} ({self.layer})", f"  {self.evidence}", f"  -> {self.remedy}"]
        lines += [f"  from which follows {one.code} ({one.layer}): {one.evidence}" for one in self.folded]
        return "\n".join(lines)


@dataclass(frozen=True)
class Diagnosis:
    """What ``check`` found.

    Args:
        findings: the causes, errors first.
        flow: the gradient through time on a batch, before training; None where it could not be computed.
        looked_at: what was done, a line each: rows, probes, training steps.
        left_out: what could not be looked at, and why.
        seconds: how long it took.
    """

    findings: tuple[Finding, ...]
    flow: GradientFlow | None = field(default=None, repr=False)
    looked_at: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity."""
        return [one for one in self.findings if one.severity == severity]

    @property
    def errors(self) -> list[Finding]:
        return self.of("error")

    @property
    def warnings(self) -> list[Finding]:
        return self.of("warning")

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        said = [str(one) for one in self.findings] or ["nothing found"]
        said.append(f"looked at: {'; '.join(self.looked_at)} ({self.seconds:.1f} s)")
        said += [f"not looked at: {one}" for one in self.left_out]
        return "\n\n".join(said[: -1 - len(self.left_out)]) + "\n\n" + "\n".join(said[-1 - len(self.left_out) :])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("severity", "code", "layer", "evidence", "remedy"))
        rows = []
        for one in self.findings:
            texts = (one.evidence, *(f"{sub.code}: {sub.evidence}" for sub in one.folded))
            cells = [html.escape(text) for text in (one.severity, one.code, one.layer)]
            cells.append("<br>".join(html.escape(text) for text in texts))
            rows.append("".join(f"<td>{text}</td>" for text in [*cells, f"<code>{html.escape(one.remedy)}</code>"]))
        body = "".join(f"<tr>{row}</tr>" for row in rows) or "<tr><td colspan=5>nothing found</td></tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def folded(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings with their consequences under them: errors first, then in the order of ``CODES``.

    Example:
        >>> cause = Finding("unscaled-input", "warning", "rnn", "...", "...")
        >>> symptom = Finding("saturated-gates", "warning", "rnn", "...", "...")
        >>> [(one.code, len(one.folded)) for one in folded([symptom, cause])]
        [('unscaled-input', 1)]
    """
    order = list(CODES)
    ranked = sorted(found, key=lambda one: order.index(one.code))
    serious = {one.code for one in ranked if one.severity != "note"}
    under: dict[str, str] = {}
    for one in ranked:
        cause = next((code for code in CAUSES.get(one.code, ()) if code in serious and code != one.code), None)
        if cause is not None and one.severity != "note":
            under[one.code] = cause

    def top(code: str) -> str:
        seen = {code}
        while code in under and under[code] not in seen:
            code = under[code]
            seen.add(code)
        return code

    kept = [one for one in ranked if one.code not in under or top(one.code) == one.code]
    tops = []
    for one in kept:
        below = tuple(other for other in ranked if other not in kept and top(other.code) == one.code)
        tops.append(replace(one, folded=below))
    return tuple(sorted(tops, key=lambda one: (SEVERITIES.index(one.severity), order.index(one.code))))
