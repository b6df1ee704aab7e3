"""A trained network with all that it takes to use it, judge it and repeat it; in memory and on disk."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

from ..archives import compile_config, put_compile_config
from ..data.sequences import SequenceData
from ..data.transforms import Preparation
from ..diagnosis.findings import Finding
from ..errors import ArgumentError, RunError, counted
from ..export.columns import export_columns
from ..files import beside, json_text, path_of, read_arrays, save_arrays, write_aside
from ..layers.recurrent import OURS
from ..layers.scanned import SCANNED
from ..layers.swapping import read_model
from ..schemas import check_json, json_value
from .baselines import Baselines
from .describe import describe_data
from .directory import hold
from .predictions import Predictions, answer
from .scores import Evaluation, evaluate
from .stored import refuse_other_parts, stored_run
from .stored_baselines import refuse_odd_arrays

FORMAT = 1
MOST_TEXT = 1 << 29  # bytes of a run.json: a million categories take a hundredth of it
NETWORK_NAMES = {
    "lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN", "mingru": "MinGRU", "minlstm": "MinLSTM", "lru": "LRU",
}  # fmt: skip


@dataclass(eq=False, repr=False, kw_only=True)
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
        flow: the gradient flow of a training batch at the ``"start"`` and at the ``"best"`` weights, by layer, and what
            a ``"monitor"`` saw in between; or the ``"reason"`` why there is none. JSON values; empty in older runs.
        findings: what ``check`` found before the training, causes first; empty in older runs.
        compiled_with: of a loaded run, whose model is not compiled: the loss and the optimizer that were saved with it,
            as Keras keeps them. ``save`` writes them again.
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
    flow: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    compiled_with: dict[str, Any] | None = None

    def __repr__(self) -> str:
        judged = ", ".join(self.evaluations)
        return (
            f"Run({self.preparation.schema.task}: {self.name}, {counted(len(self.history), 'epoch')}, "
            f"best {self.best_epoch}, judged on {judged or 'nothing yet'})"
        )

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

    def export(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes the network and its preparation as one ONNX file, with LSTM, GRU and RNN operators.

        The file takes raw columns and answers in the user's units, so that nothing of the preparation has to be done
        again. Its inputs, where the run has them:

        - ``numbers`` (B, T, columns) float64: the numeric input columns as in the table, in the order of the file's
          metadata "numbers" (a forecast's targets first); missing is NaN.
        - ``categories`` (B, T, columns) text, in the order of the metadata "categories"; missing is "".
        - ``lengths`` (B,) int32: the steps of each sequence; what is behind them in the container changes nothing.
          Forecasts have T = window and no lengths.
        - ``future_numbers``, ``future_categories`` (B, horizon, columns): the covariates that are known in advance, in
          the same order.

        Its output is ``prediction`` in units of the target, (B, K), (B, T, K) for one a step, (B, horizon, K) for
        forecasts, float64; or ``probabilities`` (B, classes) or (B, T, classes), float32, in the order of the metadata
        "classes", as the network gives them (where a network of the user's own ends in logits, logits). A gap at the
        start of a forecast's window is filled with 0 after scaling, while ``predict`` looks at rows before it.

        Args:
            path: ending in .onnx.
            overwrite: whether a file there may be replaced.

        Raises:
            ArgumentError: a layer that cannot be exported, with the reason.
            BackendError: the package onnx is not installed.
            RunError: the file exists, or cannot be written.
        """
        return export_columns(self.model, self.preparation, path, feeds=self.feeds, overwrite=overwrite)

    def save(self, directory: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes ``run.json``, ``model.keras`` and ``baselines.npz`` into a directory, made if need be.

        All are written aside and then renamed, ``run.json`` last: a directory that has one is whole.

        Raises:
            RunError: the directory holds a run already and ``overwrite`` is not asked for; a training is at work in it;
                it cannot be written to, or the disk is full (then nothing has changed).
        """
        path = path_of(directory, "directory")
        with hold(path):
            if (path / "run.json").exists() and not overwrite:
                raise RunError(
                    f"{path} holds a run already; choose another directory, or overwrite=True to replace it."
                )
            names = ("model.keras", "baselines.npz", "run.json")
            with beside(*(path / name for name in names)) as (network, baselines, run):
                self.model.save(network)
                if self.compiled_with is not None and not self.model.compiled:
                    put_compile_config(network, self.compiled_with)
                with open(baselines, "wb") as file:
                    save_arrays(file, self.baselines.arrays())
                run.write_bytes(json_text(self._stored()))
        return path

    def save_scores(self, directory: str | os.PathLike[str]) -> bool:
        """Writes ``run.json`` anew beside the files that ``save`` wrote, where scores were added; returns whether.

        Raises:
            RunError: a training is at work in the directory, or it holds no run, or cannot be written to.
        """
        path = path_of(directory, "directory")
        text = json_text(self._stored())
        with hold(path):
            changed = _text(path / "run.json") != text
            if changed:
                write_aside(path / "run.json", lambda file: file.write(text))
        return changed

    def _stored(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "settings": self.settings,
            "preparation": self.preparation.to_json(),
            "history": self.history,
            "best_epoch": self.best_epoch,
            "evaluations": {part: asdict(evaluation) for part, evaluation in self.evaluations.items()},
            "about": self.about,
            "feeds": self.feeds,
            "pad_value": self.pad_value,
            "flow": self.flow,
            "findings": [asdict(one) for one in self.findings],
        }

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
        named = f"{path} holds a damaged run: run.json"
        text = _text(path / "run.json")
        raw = json_value(text, named)
        if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
            raise RunError(f"{path / 'run.json'} has format {raw['format']}, this version reads {FORMAT}.")
        check_json(text, stored_run, named)
        stored = raw
        preparation = Preparation.from_json(stored["preparation"], named=f"{named}: preparation")
        arrays = read_arrays(path / "baselines.npz")
        refuse_odd_arrays(arrays, str(path / "baselines.npz"))
        baselines = Baselines.from_arrays(arrays)
        feeds = stored["feeds"]
        feeds = feeds if isinstance(feeds, str) else tuple(feeds)
        if not (path / "model.keras").is_file():
            raise RunError(f"{path} holds a damaged run: model.keras is missing; train it anew.")
        # A file says of a layer of ours that "LSTM" is registered, which it is once ours are imported.
        known = {cell.__name__: cell for cell in (*OURS.values(), *SCANNED)} | (custom_objects or {})
        try:
            model = read_model(path / "model.keras", custom_objects=known)
        except ArgumentError as error:
            raise RunError(
                f"{error} It is damaged, or has layers of your own: give them as custom_objects=."
            ) from error
        try:
            refuse_other_parts(model, preparation, feeds, baselines, own=stored["settings"].get("cell") == "model")
        except RunError as error:
            raise RunError(f"{path} holds a damaged run: {error}") from error
        return cls(
            model=model,
            preparation=preparation,
            baselines=baselines,
            history=stored["history"],
            best_epoch=stored["best_epoch"],
            settings=stored["settings"],
            evaluations={part: Evaluation.from_json(values) for part, values in stored["evaluations"].items()},
            about=stored["about"],
            feeds=feeds,
            pad_value=stored["pad_value"],
            # Neither is in runs of the first versions.
            flow=stored.get("flow", {}),
            findings=[_finding(one) for one in stored.get("findings", [])],
            compiled_with=compile_config(path / "model.keras"),
        )


def _text(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_TEXT:
            raise RunError(f"{path} is damaged: it is larger than {MOST_TEXT:,} bytes.")
        return path.read_bytes()
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error


def _finding(stored: dict[str, Any]) -> Finding:
    return Finding(**stored | {"folded": tuple(_finding(one) for one in stored.get("folded", []))})
