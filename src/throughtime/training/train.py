"""``train``: a network for sequences, trained, compared with naive answers, kept with what it takes to repeat it.

train part -> Preparation.fit -> Examples -> Batches -> keras fit -> best weights -> Run
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from ..data.batching import Batches
from ..data.examples import Examples
from ..data.scaling import Scale
from ..data.sequences import SequenceData
from ..data.transforms import Missing, Preparation
from ..errors import ArgumentError, DataError, NonFiniteLossError, RunError
from ..files import path_of
from ..gradients.guard import Guard
from ..gradients.locating import locate
from ..kernels.schedule import byte_count
from ..layers.swapping import set_memory
from .baselines import Baselines
from .callbacks import KeepBest, ShowProgress, row_names
from .checking import check_before_training
from .checkpoint import Progress, data_fingerprint, refuse_other_weights, restore_guard, restore_state
from .describe import describe_data, describe_network, describe_padding, other_threads, threads, versions
from .directory import hold
from .flows import SEQUENCES, RecordedFlow
from .networks import build_network, check_outputs, feeds_of
from .run import Run
from .settings import Cell, Settings

Train = TypeVar("Train", bound=Callable[..., Run])


def _alone(train: Train) -> Train:
    """``train``, while no other training is at work in the same ``out``."""

    @wraps(train)
    def alone(*args: Any, out: str | os.PathLike[str] | None = None, **settings: Any) -> Run:
        if out is None:
            return train(*args, **settings)
        path = path_of(out, "out")
        with hold(path):
            return train(*args, out=path, **settings)

    return alone  # type: ignore[return-value]


@_alone
def train(
    train: SequenceData,
    validation: SequenceData | None = None,
    *,
    model: keras.Model | None = None,
    cell: Cell = "lstm",
    units: int = 64,
    depth: int = 1,
    dropout: float = 0.3,
    causal: bool = False,
    scale: Scale = "standard",
    missing: Missing = "fill",
    batch_size: int | None = None,
    tokens: int | None = None,
    buckets: int | None = None,
    learning_rate: float | None = None,
    clipnorm: float | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    memory: int | str | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Trains a network on sequences.

    Adam under a ``Guard``: gradients are clipped to what was measured, and a step that is not finite is undone and
    explained. Stops when the validation loss no longer falls, and returns the best weights. With ``out`` there is a
    checkpoint after every epoch and the finished run is saved there.

    Args:
        train: the training part.
        validation: what early stopping looks at; by default 15% are held out of ``train`` (forecasts: its last steps).
        model: a keras.Model of your own, compiled or not, in place of ours. Its input is ``(batch, steps, features)``
            as ``Preparation`` makes them; or several, named "numbers", "codes", "mask".
        cell: "lstm", "gru", "rnn", "mingru", "minlstm" or "lru".
        units: of a recurrent layer, in each direction; ``depth``: recurrent layers; ``dropout``: share of hidden
            outputs dropped in training.
        causal: the network looks at no later step, so that ``Stream`` and ``RunStream`` take it. Forecasts and numbers
            a step do not look ahead in any case.
        scale: scaler of numbers, "standard", "minmax", "robust" or "none"; ``missing``: "fill" or "refuse".
        batch_size: most sequences of a batch; or ``tokens``, most padded time steps of one.
        buckets: most padded lengths; by default 8 with ``tokens``, else one for every three batches, at most 8.
        learning_rate: of Adam. ``clipnorm``: global norm that a gradient is clipped to; by default what ``Guard``
            measures.
        epochs: at most; ``patience``: epochs without a better validation loss before training stops. Where they are
            None, they are chosen from the data, and a run says what was chosen.
        seed: of the initial weights, dropout and the order of the batches.
        memory: bytes, as in ``"256MiB"``, that the recurrent layers may hold between forward and backward pass; what
            does not fit is computed again, with the same results (see ``accelerate``).
        out: a directory for checkpoints and the finished run.
        resume: go on from the checkpoint in ``out``, if there is one; a finished run is loaded.
        progress: show how far it is.

    Raises:
        DataError: data that cannot be trained on. ArgumentError: settings that are not accepted. RunError: ``out``
        holds a run already, or one begun with other settings; another training is at work in it; it cannot be written
        to, or the disk is full (``resume`` goes on from the last epoch). NonFiniteLossError: the loss stays NaN or
        infinite.

    Example:
        >>> from throughtime.data.arrays import from_arrays
        >>> rng = np.random.default_rng(0)
        >>> rising = [np.cumsum(rng.normal(1, 1, (n, 1)), axis=0) for n in rng.integers(5, 20, 40)]
        >>> data = from_arrays(rising + [-x for x in rising], ["up"] * 40 + ["down"] * 40)
        >>> run = train(data, epochs=3, progress=False)
        >>> run.evaluations["validation"]["accuracy"] > 0.9
        True
    """
    asked = Settings(
        cell="model" if model is not None else cell, units=units, depth=depth, dropout=dropout, causal=causal,
        scale=scale, missing=missing, batch_size=batch_size, tokens=tokens, buckets=buckets,
        learning_rate=learning_rate, clipnorm=clipnorm, epochs=epochs, patience=patience, seed=seed,
    )  # fmt: skip
    if memory is not None:
        byte_count(memory)  # refused here rather than after the data is prepared
    path = None if out is None else Path(out)
    if path is not None and (path / "run.json").exists():
        if resume:
            return _finished(path, asked)
        raise RunError(f"{path} holds a run already; choose another directory.")
    checkpoint = None if path is None else path / "checkpoint.npz"
    if checkpoint is not None and checkpoint.exists() and not resume:
        raise RunError(f"{path} holds an unfinished run; resume it, or choose another directory.")
    began = time.monotonic()
    if validation is None:
        train, validation = train.split(validation=0.15, test=0, seed=seed)
    preparation = Preparation.fit(train, scale=asked.scale, missing=asked.missing)
    examples, held_out = preparation.apply(train), preparation.apply(validation)
    for part, made in ((train, examples), (validation, held_out)):
        if made.weights is not None and not made.weights.any():
            name = "training" if part is train else "validation"
            raise DataError(f"the {name} part of {part.source} has no target value; fill some of them in.")
    if not examples.numbers.shape[1] and not examples.codes.shape[1]:
        raise DataError(f"{train.source} has no input column; name at least one feature.")
    settings = asked.chosen_for(examples)
    own = model is not None
    if model is None:
        model = build_network(
            preparation, examples, cell=asked.cell, units=units, depth=depth, dropout=dropout,  # type: ignore[arg-type]
            causal=causal, seed=seed,
        )  # fmt: skip
    if memory is not None:
        set_memory(model, memory)
    feeds, pad_value, warning = feeds_of(model, examples)
    batching = {key: settings[key] for key in ("batch_size", "tokens", "buckets")}
    batching |= {"seed": seed, "feeds": feeds, "pad_value": pad_value}
    batches = Batches(examples, **batching)
    width = len(preparation.classes)
    if own:
        outputs = keras.ops.convert_to_numpy(model.predict_on_batch(batches[0][0]))
        check_outputs(outputs.shape, preparation, examples)
        width = outputs.shape[-1]
    theirs = own and model.compiled
    if theirs:
        if learning_rate is not None:
            raise ArgumentError("the model is compiled, so its optimizer has the learning rate; leave it out.")
        monitor = "val_loss"
    else:
        monitor = f"val_{_compile(model, width if preparation.classes else None, settings)}"
    baselines = Baselines.fit(preparation, train, examples)
    if width == 1 and preparation.classes:  # one sigmoid for two classes: Keras compares equal shapes
        examples, held_out = _as_column(examples), _as_column(held_out)
        batches = Batches(examples, **batching)
    validation_batches = Batches(held_out, **batching, shuffle=False)
    Settings.complete(settings, len(batches))

    fingerprint = {
        **settings,
        "parameters": model.count_params(),
        "layers": [type(layer).__name__ for layer in model.layers],
        "optimizer": type(model.optimizer).__name__,
        "data": data_fingerprint(examples),
        "validation": data_fingerprint(held_out),
    }
    if not causal:  # an unfinished run of a version without it goes on
        del fingerprint["causal"]
    model.optimizer.build(model.trainable_variables)
    flow = RecordedFlow(model, Batches(examples, **batching | {"batch_size": SEQUENCES, "tokens": None, "buckets": 1}))
    flow.measure("start")
    found = check_before_training(
        model, examples, held_out, preparation, feeds=feeds, pad_value=pad_value, progress=progress
    )
    # A fixed norm, or an optimizer of the user's own, leaves nothing to be measured.
    named = row_names(batches, _namer(train, examples))
    guard = Guard(quantile=None if clipnorm or theirs else 0.1, verbose=int(progress), names=named)
    state = Progress()
    state.threads, otherwise = threads(), ""
    if checkpoint is not None and checkpoint.exists():
        state = Progress.read(checkpoint, fingerprint=fingerprint)
        restore_state(model, state.state, str(checkpoint))
        refuse_other_weights(model, state.best_weights, str(checkpoint))
        otherwise = other_threads(state.threads, threads())
        if otherwise:
            print(f"note: {otherwise}", file=sys.stderr)
        restore_guard(guard, state.guard, str(checkpoint))
    keep = KeepBest(
        state,
        monitor=monitor,
        patience=settings["patience"],
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        guard=guard,
    )
    callbacks: list[keras.callbacks.Callback] = [guard, keep]
    if flow.monitor is not None:
        callbacks.append(flow.monitor)
    _fit(model, batches, validation_batches, settings["epochs"], keep, callbacks, progress)
    model.set_weights(state.best_weights)
    if not np.isfinite(state.best_loss):
        names = row_names(validation_batches, _namer(validation, held_out))
        raise NonFiniteLossError(_never_finite(model, validation_batches, names, guard))
    flow.measure("best")

    run = Run(
        model=model,
        preparation=preparation,
        baselines=baselines,
        history=state.history,
        best_epoch=state.best_epoch,
        settings=settings,
        feeds=feeds,
        pad_value=pad_value,
        flow=flow.values(),
        findings=list(found),
        about={
            "source": train.source,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "notes": [*train.notes, *filter(None, [warning, _half_known(train), _undone(guard), otherwise])],
            "monitor": monitor,
            "parts": [describe_data(train, "train")],
            "padding": describe_padding(batches),
            "network": describe_network(model),
            "guard": {
                "quantile": guard.quantile,
                "threshold": guard.threshold,
                "clipped": guard.clipped,
                "events": [str(event) for event in guard.events],
            },
            "check": {"looked_at": list(found.looked_at), "left_out": list(found.left_out)},
            "versions": versions(),
            "threads": state.threads,
            "seconds": round(time.monotonic() - began, 2),
        },
    )
    run.evaluate(validation, part="validation")
    if path is not None:
        run.save(path)
        assert checkpoint is not None
        checkpoint.unlink(missing_ok=True)
    return run


def _finished(path: Path, asked: Settings) -> Run:
    """The run in ``path``, unless it was made with other settings than those ``asked`` for."""
    run = Run.load(path)
    (path / "checkpoint.npz").unlink(missing_ok=True)  # of a process that was killed between the two
    given = {name: value for name, value in asdict(asked).items() if value is not None}
    before = asdict(Settings()) | run.settings  # a run of an older version lacks what was added since
    other = [f"{name} was {before[name]!r}, now {value!r}" for name, value in given.items() if before[name] != value]
    if other:
        raise RunError(f"{path} holds a finished run of other settings: {'; '.join(other)}. Choose another directory.")
    return run


def _undone(guard: Guard) -> str:
    """In words, how many steps were not finite and why; empty where none was."""
    if not guard.events:
        return ""
    count = len(guard.events)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{count} of {guard.steps:,} training steps were not finite and are left out: {guard.events[0]}{more}"


def _never_finite(model: keras.Model, batches: Batches, names: Callable[[int, int | None], str], guard: Guard) -> str:
    """Why the validation loss was not finite in any epoch, so that no weights are the best."""
    said = ""
    for place in range(len(batches)):
        found = locate(model, *batches[place])
        if found is not None:
            said = found.said(None if found.row is None else names(place, found.row)) + ". "
            break
    training = f" In training, {_undone(guard)}." if guard.events else ""
    advice = "Mend those values, or try a lower learning rate."
    return f"the validation loss was not finite in any epoch: {said}{advice}{training}"


def _half_known(train: SequenceData) -> str:
    """In words, how many answers with some of several targets are left out; empty where none is."""
    if train.target is None or train.target.kind != "number":
        return ""
    absent = np.isnan(train.target.values)
    half = int((absent.any(1) & ~absent.all(1)).sum())
    if not half:
        return ""
    return (
        f"{half:,} of {len(absent):,} rows of the targets hold some of the {absent.shape[1]} and lack others; they are "
        "left out of the loss. Train one run a target to learn from them."
    )


def _as_column(examples: Examples) -> Examples:
    assert examples.targets is not None
    return replace(examples, targets=examples.targets[..., None])


def _fit(
    model: keras.Model,
    batches: Batches,
    validation: Batches,
    epochs: int,
    keep: KeepBest,
    callbacks: list[keras.callbacks.Callback],
    progress: bool,
) -> None:
    """The epochs that are not in the history yet."""
    done = len(keep.progress.history)
    if done >= epochs or keep.in_vain():
        return
    batches.start_at(done)
    shown = ShowProgress(epochs=epochs, batches=len(batches), best=keep.progress) if progress else None
    try:
        model.fit(
            batches,
            validation_data=validation,
            epochs=epochs,
            initial_epoch=done,
            callbacks=[*callbacks, shown] if shown is not None else callbacks,
            shuffle=False,  # Batches shuffle by the seed; Keras would by Python's global random state
            verbose=0,
        )
    finally:
        if shown is not None:
            shown.close()


def _compile(model: keras.Model, classes: int | None, settings: dict[str, Any]) -> str:
    """Our loss, as a mean over real targets. Returns the name of the metric that equals it over batches of any size.

    ``classes`` is the number of the model's probabilities, None for numbers.
    """
    loss: keras.losses.Loss
    metrics: list[keras.metrics.Metric]
    if classes is None:
        loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
        metrics = [keras.metrics.MeanSquaredError(name="mse")]
    elif classes == 1:
        loss = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
        metrics = [
            keras.metrics.BinaryCrossentropy(name="cross_entropy"),
            keras.metrics.BinaryAccuracy(name="accuracy"),
        ]
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
        metrics = [
            keras.metrics.SparseCategoricalCrossentropy(name="cross_entropy"),
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        ]
    optimizer = keras.optimizers.Adam(settings["learning_rate"], global_clipnorm=settings["clipnorm"])
    model.compile(optimizer, loss, weighted_metrics=metrics)
    return metrics[0].name


def _namer(train: SequenceData, examples: Examples) -> Callable[[int], str]:
    """What an example is called in a message."""

    def named(example: int) -> str:
        b = int(np.searchsorted(train.offsets, examples.starts[example], side="right") - 1)
        if examples.per != "horizon":
            return f"sequence {train.ids[example]!s}"
        return f"series {train.ids[b]!s} from step {examples.starts[example] - train.offsets[b]}"

    return named
