"""``train``: a network for sequences, trained, compared with naive answers, and kept with all that it takes to repeat it.

    train part -> Preparation.fit -> Examples -> Batches -> keras fit -> best weights -> Run
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..backend import backend_version
from ..data.batching import Batches
from ..data.sequences import SequenceData
from ..data.transforms import SCALES, Examples, Missing, Preparation, Scale
from ..errors import ArgumentError, DataError, RunError, one_of
from .baselines import Baselines
from .callbacks import KeepBest, ShowProgress, StopAtNonFinite
from .checkpoint import Progress, data_fingerprint, restore_state, write_aside, write_json
from .describe import describe_data, describe_network
from .networks import CELLS, Cell, build_network, check_outputs, feeds_of
from .predictions import Predictions, answer
from .scores import Evaluation, evaluate

FORMAT = 1
NETWORK_NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that, with the data, determines a run. None means chosen from the data; a run stores what was chosen.

    Attributes:
        cell: "lstm", "gru" or "rnn"; "model" for a model of the user's own.
        units: of a recurrent layer, in each direction.
        depth: recurrent layers.
        dropout: share of hidden outputs dropped in training.
        scale: scaler of numbers, "standard", "minmax", "robust" or "none".
        missing: "fill" or "refuse".
        batch_size: most sequences of a batch; or ``tokens``, most padded time steps of one.
        buckets: most padded lengths.
        learning_rate: of Adam.
        clipnorm: global norm that a gradient is clipped to.
        epochs: at most; ``patience``: epochs without a better validation loss before training stops.
        seed: of the initial weights, dropout and the order of the batches.
    """

    cell: str = "lstm"
    units: int = 64
    depth: int = 1
    dropout: float = 0.3
    scale: Scale = "standard"
    missing: Missing = "fill"
    batch_size: int | None = None
    tokens: int | None = None
    buckets: int = 8
    learning_rate: float | None = None
    clipnorm: float = 1.0
    epochs: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("cell", self.cell, [*CELLS, "model"])
        one_of("scale", self.scale, SCALES)
        one_of("missing", self.missing, ("fill", "refuse"))
        for name in ("units", "depth", "buckets", "batch_size", "tokens", "epochs", "patience"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | np.integer) or value < 1):
                raise ArgumentError(f"{name}={value!r}; give a whole number of at least 1.")
        if not 0 <= self.dropout < 1:
            raise ArgumentError(f"dropout={self.dropout!r}; give a share from 0 up to, not including, 1.")
        for name in ("learning_rate", "clipnorm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ArgumentError(f"{name}={value!r}; give a number above 0.")
        if self.batch_size is not None and self.tokens is not None:
            raise ArgumentError("give batch_size= or tokens=, not both.")

    def chosen_for(self, examples: Examples) -> dict[str, Any]:
        """The settings with every None replaced by what suits so many examples."""
        chosen = asdict(self)
        forecast = examples.per == "horizon"
        if self.batch_size is None and self.tokens is None:
            chosen["batch_size"] = 64 if forecast else 16 if len(examples) < 1000 else 32
        chosen["learning_rate"] = self.learning_rate or (1e-3 if forecast else 3e-3)
        return chosen

    @staticmethod
    def complete(chosen: dict[str, Any], batches: int) -> None:
        """Epochs and patience are counted in updates: small data needs many epochs, large data few."""
        chosen["epochs"] = chosen["epochs"] or int(np.clip(round(3_000 / batches), 20, 200))
        chosen["patience"] = chosen["patience"] or int(np.clip(round(300 / batches), 5, 30))


@dataclass(eq=False, kw_only=True)
class Run:
    """A trained network and its evidence.

    Attributes:
        model: the keras.Model, with the weights of its best epoch.
        preparation: scalers, vocabularies and classes of the training part.
        baselines: the naive answers, fitted on the training part.
        history: one dict an epoch.
        best_epoch: from 1.
        settings: all of them, as used.
        evaluations: by part, "validation" first; ``evaluate`` adds others.
        about: what the data and the network are, versions, notes; JSON values for the report.
    """

    model: keras.Model
    preparation: Preparation
    baselines: Baselines
    history: list[dict[str, float]]
    best_epoch: int
    settings: dict[str, Any]
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    feeds: Any = ("numbers", "mask")
    pad_value: float = 0.0

    @property
    def name(self) -> str:
        """What the network is called in tables: the cell, or the name of the user's model."""
        return NETWORK_NAMES.get(self.settings["cell"]) or self.model.name

    def evaluate(self, data: SequenceData, *, part: str = "test") -> Evaluation:
        """Scores on labelled data beside those of the baselines; kept under the name of the ``part`` for the report.

        Raises:
            DataError: no target, or classes that the training part never showed.
        """
        evaluation = evaluate(
            self.model,
            self.preparation,
            self.baselines,
            data,
            name=self.name,
            part=part,
            feeds=self.feeds,
            pad_value=self.pad_value,
        )
        self.evaluations[part] = evaluation
        parts = [known for known in self.about.get("parts", []) if known["name"] != part]
        self.about["parts"] = [*parts, describe_data(data, part)]
        return evaluation

    def predict(self, data: SequenceData) -> Predictions:
        """The answer for each sequence; for forecasts the ``horizon`` steps after the last observed target.

        Raises:
            DataError: columns, lengths or values that the network cannot work with.
        """
        return answer(self.model, self.preparation, data, feeds=self.feeds, pad_value=self.pad_value)

    def save(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes ``run.json``, ``model.keras`` and ``baselines.npz`` into a directory, made if need be.

        Each file is written aside and renamed, ``run.json`` last: a directory that has one is whole.

        Raises:
            RunError: the directory holds a run already and ``overwrite`` is not asked for.
        """
        path = Path(directory)
        if (path / "run.json").exists() and not overwrite:
            raise RunError(f"{path} holds a run already; choose another directory, or overwrite=True to replace it.")
        make_directory(path)
        aside = path / f".model.{os.getpid()}.keras"
        try:
            self.model.save(aside)
            os.replace(aside, path / "model.keras")
        finally:
            aside.unlink(missing_ok=True)
        write_aside(path / "baselines.npz", lambda file: np.savez(file, **self.baselines.arrays()))
        stored = {
            "format": FORMAT,
            "settings": self.settings,
            "preparation": self.preparation.to_json(),
            "history": self.history,
            "best_epoch": self.best_epoch,
            "evaluations": {part: asdict(evaluation) for part, evaluation in self.evaluations.items()},
            "about": self.about,
            "feeds": self.feeds,
            "pad_value": self.pad_value,
        }
        write_json(path / "run.json", finite(stored))
        return path

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, custom_objects: dict[str, Any] | None = None) -> Run:
        """A saved run, on any backend.

        Args:
            custom_objects: classes of the user's own in the model, by name, as for ``keras.saving.load_model``.

        Raises:
            RunError: no such directory, no run in it, or a damaged one.
        """
        path = Path(directory)
        if not path.is_dir():
            raise RunError(f"{path} is not a directory; a run directory is what 'train' writes.")
        if not (path / "run.json").is_file():
            unfinished = (path / "checkpoint.npz").exists()
            raise RunError(
                f"{path} holds an unfinished run; finish it with resume."
                if unfinished
                else f"{path} holds no run: there is no run.json in it."
            )
        try:
            stored = json.loads((path / "run.json").read_text())
            if stored["format"] != FORMAT:
                raise RunError(f"{path}/run.json has format {stored['format']}, this version reads {FORMAT}.")
            with np.load(path / "baselines.npz", allow_pickle=False) as arrays:
                baselines = Baselines.from_arrays({key: arrays[key] for key in arrays.files})
            feeds = stored["feeds"]
            made = {
                "preparation": Preparation.from_json(stored["preparation"]),
                "baselines": baselines,
                "history": stored["history"],
                "best_epoch": stored["best_epoch"],
                "settings": stored["settings"],
                "evaluations": {part: Evaluation(**values) for part, values in stored["evaluations"].items()},
                "about": stored["about"],
                "feeds": feeds if isinstance(feeds, str) else tuple(feeds),
                "pad_value": stored["pad_value"],
            }
        except RunError:
            raise
        # Whatever a damaged file makes these readers raise comes down to one of these.
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise RunError(f"{path} holds a damaged run ({type(error).__name__}: {error}); train it anew.") from error
        if not (path / "model.keras").is_file():
            raise RunError(f"{path} holds a damaged run: model.keras is missing; train it anew.")
        try:
            model = keras.saving.load_model(path / "model.keras", custom_objects=custom_objects, compile=False)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            first = str(error).strip().splitlines()[0]
            raise RunError(
                f"{path / 'model.keras'} cannot be read ({first}); it is damaged, or has layers of your own: give them "
                "as custom_objects=."
            ) from error
        return cls(model=model, **made)


def train(
    train: SequenceData,
    validation: SequenceData | None = None,
    *,
    model: keras.Model | None = None,
    cell: Cell = "lstm",
    units: int = 64,
    depth: int = 1,
    dropout: float = 0.3,
    scale: Scale = "standard",
    missing: Missing = "fill",
    batch_size: int | None = None,
    tokens: int | None = None,
    buckets: int = 8,
    learning_rate: float | None = None,
    clipnorm: float = 1.0,
    epochs: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Trains a network on sequences.

    Adam with a clipped global gradient norm; stops when the validation loss no longer falls, and returns the best
    weights. With ``out`` there is a checkpoint after every epoch and the finished run is saved there.

    Args:
        train: the training part.
        validation: what early stopping looks at; by default 15% are held out of ``train`` (forecasts: its last steps).
        model: a keras.Model of your own, compiled or not, in place of ours. Its input is ``(batch, steps, features)``
            as ``Preparation`` makes them; or several, named "numbers", "codes", "mask".
        cell, units, depth, dropout, scale, missing, batch_size, tokens, buckets, learning_rate, clipnorm, epochs,
            patience, seed: see ``Settings``.
        out: a directory for checkpoints and the finished run.
        resume: go on from the checkpoint in ``out``, if there is one; a finished run is loaded.
        progress: show how far it is.

    Raises:
        DataError: data that cannot be trained on. ArgumentError: settings that are not accepted. RunError: ``out``
        holds a run already, or one begun with other settings. NonFiniteLossError: the loss became NaN or infinite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rising = [np.cumsum(rng.normal(1, 1, (n, 1)), axis=0) for n in rng.integers(5, 20, 40)]
        >>> data = SequenceData.from_arrays(rising + [-x for x in rising], ["up"] * 40 + ["down"] * 40)
        >>> run = train(data, epochs=3, progress=False)
        >>> run.evaluations["validation"].beats
        True
    """
    if model is not None:
        cell = "model"  # type: ignore[assignment]
    asked = Settings(
        cell=cell, units=units, depth=depth, dropout=dropout, scale=scale, missing=missing, batch_size=batch_size,
        tokens=tokens, buckets=buckets, learning_rate=learning_rate, clipnorm=clipnorm, epochs=epochs,
        patience=patience, seed=seed,
    )  # fmt: skip
    path = None if out is None else Path(out)
    if path is not None and (path / "run.json").exists():
        if resume:
            return Run.load(path)
        raise RunError(f"{path} holds a run already; choose another directory.")
    checkpoint = None if path is None else path / "checkpoint.npz"
    if checkpoint is not None and checkpoint.exists() and not resume:
        raise RunError(f"{path} holds an unfinished run; resume it, or choose another directory.")
    began = time.monotonic()
    if validation is None:
        train, validation = train.split(validation=0.15, test=0, seed=seed)
    preparation = Preparation.fit(train, scale=scale, missing=missing)
    examples, held_out = preparation.apply(train), preparation.apply(validation)
    if not examples.numbers.shape[1] and not examples.codes.shape[1]:
        raise DataError(f"{train.source} has no input column; name at least one feature.")
    settings = asked.chosen_for(examples)
    if model is None:
        model = build_network(
            preparation, examples, cell=cell, units=units, depth=depth, dropout=dropout, seed=seed
        )
    feeds, pad_value, warning = feeds_of(model, examples)
    batching = {key: settings[key] for key in ("batch_size", "tokens", "buckets")} | {
        "seed": seed, "feeds": feeds, "pad_value": pad_value
    }  # fmt: skip
    batches = Batches(examples, **batching)
    validation_batches = Batches(held_out, **batching, shuffle=False)
    Settings.complete(settings, len(batches))
    if asked.cell == "model":
        outputs = keras.ops.convert_to_numpy(model.predict_on_batch(batches[0][0]))
        check_outputs(outputs.shape, preparation, examples)
        compile_own = not model.compiled
    else:
        compile_own = True
    if compile_own:
        _compile(model, preparation, settings)
    elif asked.learning_rate is not None:
        raise ArgumentError("the model is compiled, so its optimizer has the learning rate; leave out learning_rate=.")
    monitor = f"val_{SCORE_OF_LOSS[bool(preparation.classes)]}" if compile_own else "val_loss"

    fingerprint = {**settings, "data": data_fingerprint(examples), "validation": data_fingerprint(held_out)}
    fingerprint["parameters"] = model.count_params()
    state = Progress()
    if path is not None:
        make_directory(path)
    model.optimizer.build(model.trainable_variables)
    if checkpoint is not None and checkpoint.exists():
        state = Progress.read(checkpoint, fingerprint=fingerprint)
        restore_state(model, state.state, str(checkpoint))
    done = len(state.history)
    keep = KeepBest(
        state,
        monitor=monitor,
        patience=settings["patience"],
        checkpoint=checkpoint,
        fingerprint=fingerprint,
    )

    def named(example: int) -> str:
        b = int(np.searchsorted(train.offsets, examples.starts[example], side="right") - 1)
        if examples.per != "horizon":
            return f"sequence {train.ids[b]!s}"
        return f"series {train.ids[b]!s} from step {examples.starts[example] - train.offsets[b]}"

    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    callbacks: list[keras.callbacks.Callback] = [StopAtNonFinite(batches, named, rate), keep]
    shown = ShowProgress(epochs=settings["epochs"], batches=len(batches), best=state) if progress else None
    if shown is not None:
        callbacks.append(shown)
    batches.start_at(done)
    if done < settings["epochs"] and not keep.in_vain():
        try:
            model.fit(
                batches,
                validation_data=validation_batches,
                epochs=settings["epochs"],
                initial_epoch=done,
                callbacks=callbacks,
                verbose=0,
            )
        finally:
            if shown is not None:
                shown.close()
    model.set_weights(state.best_weights)

    notes = list(train.notes)
    if warning:
        notes.append(warning)
    run = Run(
        model=model,
        preparation=preparation,
        baselines=Baselines.fit(preparation, train, examples),
        history=state.history,
        best_epoch=state.best_epoch,
        settings=settings,
        feeds=feeds,
        pad_value=pad_value,
        about={
            "source": train.source,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "notes": notes,
            "monitor": monitor,
            "parts": [describe_data(train, "train")],
            "padding": {
                "bucketed": batches.padding,
                "unbucketed": 1 - float(examples.lengths.mean()) / max(1, int(examples.lengths.max())),
                "buckets": [
                    {"length": b.length, "batch": b.batch, "sequences": len(b.members)} for b in batches.plan
                ],
            },
            "network": describe_network(model),
            "versions": {
                "throughtime": version("throughtime"),
                "keras": keras.__version__,
                "backend": backend_version(),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "seconds": round(time.monotonic() - began, 2),
        },
    )
    run.evaluate(validation, part="validation")
    if path is not None:
        run.save(path)
        assert checkpoint is not None
        checkpoint.unlink(missing_ok=True)
    return run


SCORE_OF_LOSS = {True: "cross_entropy", False: "mse"}


def _compile(model: keras.Model, preparation: Preparation, settings: dict[str, Any]) -> None:
    """Our loss, as a mean over real targets; and the same as a metric, which is exact over batches of any sizes."""
    name = SCORE_OF_LOSS[bool(preparation.classes)]
    loss: keras.losses.Loss
    metrics: list[keras.metrics.Metric]
    if preparation.classes and model.output_shape[-1] == 1:
        loss = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
        metrics = [keras.metrics.BinaryCrossentropy(name=name), keras.metrics.BinaryAccuracy(name="accuracy")]
    elif preparation.classes:
        loss = keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
        metrics = [
            keras.metrics.SparseCategoricalCrossentropy(name=name),
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        ]
    else:
        loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
        metrics = [keras.metrics.MeanSquaredError(name=name)]
    optimizer = keras.optimizers.Adam(settings["learning_rate"], global_clipnorm=settings["clipnorm"])
    model.compile(optimizer, loss, weighted_metrics=metrics)


def make_directory(path: Path) -> None:
    """Makes a run directory.

    Raises:
        RunError: a file stands in its place, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be made a run directory: {error.strerror}.") from error


def finite(value: Any) -> Any:
    """JSON values with None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
