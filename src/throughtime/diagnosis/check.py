"""``check``: what is wrong with a recurrent model on its data, found by running it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ..errors import ArgumentError, counted
from . import data_rules, loss_rules, model_rules, training_rules
from .evidence import Evidence
from .findings import Diagnosis, Finding, folded
from .given import given, rows
from .keeping import untouched
from .progress import Tell, show_progress

Rule = Callable[[Evidence], Finding | None]

# Rules that look at arrays alone, and still hold where the model cannot be called.
_WITHOUT_CALL = (
    model_rules.call_fails,
    data_rules.non_finite_data,
    data_rules.token_out_of_range,
    model_rules.stateful_shuffled,
)


def check(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    fit: Mapping[str, Any] | None = None,
    series: Any = None,
    task: str | None = None,
    train: bool = True,
    seconds: float = 30.0,
    progress: bool = True,
) -> Diagnosis:
    """Names what keeps a recurrent model from learning, with the numbers that show it and a remedy to paste.

    Probes on some rows (what moves the output, where a mask ends, how far the gradient reaches), then a short training
    from the model's own weights, also at other learning rates where nothing is learned. Afterwards model, optimizer and
    random state are bit for bit what they were; a model that was not built is built.

    Args:
        model: compiled. Sequential, functional or subclassed; on any backend.
        x, y: as ``fit`` takes them: arrays, or lists and dicts of arrays; or batches of (x, y) alone, as a PyDataset,
            tf.data.Dataset, DataLoader or generator. Of a generator as few batches as will do are read, and ``fit``
            does not get them again: ``looked_at`` says how many.
        validation_data: (x, y) or (x, y, sample_weight).
        fit: the arguments of ``fit`` that you mean to use, such as ``{"batch_size": 32, "shuffle": False}``.
        series: (steps,) or (steps, columns), the raw series before windowing.
        task: "forecast", "classify", "regress" or "tag", where it is not seen from the data.
        train: False for probes alone, without training.
        seconds: about how long it may take. Half of it is for training; a model too slow for that is not judged by it.
        progress: a bar on a terminal; False for none.

    Returns:
        ``diagnosis.findings``, the causes first; what follows from a cause is folded under it. Printed, it is a report.

    Raises:
        ArgumentError: arguments that are not accepted.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> layers = [keras.Input((20, 3)), keras.layers.LSTM(8), keras.layers.Dense(1, activation="softmax")]
        >>> model = keras.Sequential(layers)
        >>> model.compile("adam", "binary_crossentropy")
        >>> x = rng.normal(size=(64, 20, 3))
        >>> [finding.code for finding in check(model, x, x[:, :, 0].mean(1) > 0, train=False)]
        ['single-unit-softmax']
    """
    began = time.monotonic()
    if not seconds > 0:
        raise ArgumentError(f"seconds={seconds} is given; a number above 0 is accepted.")
    data = given(model, x, y, validation_data=validation_data, fit=fit, series=series, task=task)
    if not any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers()):
        raise ArgumentError("the model has no recurrent layer; one with a SimpleRNN, GRU, LSTM or RNN is accepted.")
    with untouched(model, rows(data.x, slice(data.batch_size))), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a probe's own, such as Keras's on masks that end: they become findings
        evidence = Evidence(model, data, train, seconds)
        called = evidence.trace.failed is None
        every = (*data_rules.RULES, *loss_rules.RULES, *model_rules.RULES, *training_rules.RULES)
        rules = every if called else _WITHOUT_CALL
        with show_progress("check", len(rules), wanted=progress) as tell:
            found = [finding for finding in _findings(rules, evidence, tell) if finding is not None]
        return Diagnosis(
            folded(found), evidence.flow if called else None, _looked_at(evidence), evidence.not_looked_at,
            time.monotonic() - began,
        )  # fmt: skip


def _findings(rules: Sequence[Rule], evidence: Evidence, tell: Tell) -> Iterator[Finding | None]:
    for rule in rules:
        tell(rule.__name__.replace("_", " "), 0)
        yield rule(evidence)
        tell("", 1)


def _looked_at(evidence: Evidence) -> tuple[str, ...]:
    said = [f"{counted(evidence.data.size, 'sequence')}, {len(evidence.index)} of them in probes"]
    said += [note.removeprefix("read: ") for note in evidence.data.notes if note.startswith("read: ")]
    trial = evidence.trial if evidence.trace.failed is None else None
    if trial is not None:
        said.append(f"{counted(len(trial.losses), 'training step')} of {counted(evidence.data.batch_size, 'sequence')}")
        if evidence.tried > 1:
            said.append(counted(evidence.tried - 1, "more short training"))
    return tuple(said)
