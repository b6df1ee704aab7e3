"""A run as an ONNX graph that takes the raw columns of its table and answers in the units of the target.

What ``Preparation`` does to a table is done in the graph: numbers are scaled in float64, as it does, a missing one is
taken from the step before, and text is looked up in the vocabulary.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..data.transforms import Preparation, input_names
from ..errors import ArgumentError
from .graph import Graph, Value, filling, require_onnx
from .model import model_inputs, model_outputs, refuse_path

_FLOAT, _INT64, _DOUBLE = 1, 7, 11  # onnx.TensorProto's


def export_columns(
    model: keras.Model,
    preparation: Preparation,
    path: str | os.PathLike[str],
    *,
    feeds: Any,
    overwrite: bool = False,
) -> Path:
    """Writes a run's network with its preparation; see ``Run.export``.

    Args:
        feeds: which array goes to which input of the model, as in ``Run``.
    """
    path = refuse_path(path, overwrite=overwrite)
    graph = Graph()
    model_inputs(graph, model, lengths_only=True)
    columns = _Columns(graph, preparation)
    wanted = (feeds,) if isinstance(feeds, str) else tuple(feeds)
    arrays = columns.past(wanted)
    if any(name.startswith("future_") for name in wanted):
        arrays |= columns.future(arrays)
    missing = [name for name in wanted if name not in arrays and name != "mask"]
    if missing:
        raise ArgumentError(f"the model takes {missing[0]!r}, and the run has no such columns.")
    if isinstance(feeds, str):
        (tensor,) = model.inputs
        given = {tensor.name: _of_rank(graph, arrays[feeds], len(tensor.shape))}
    else:
        given = {name: arrays[name] for name in wanted if name != "mask"}
    output = model_outputs(graph, model, given)
    if not isinstance(output, Value):
        raise ArgumentError("the model has several outputs; a run's answers come from one.")
    axes = ("batch", "time")
    if preparation.outputs is None:
        graph.output("probabilities", output.name, "FLOAT", output.shape, axes)
    else:
        double = graph.one("Cast", output.name, to=_DOUBLE)
        double = graph.one("Mul", double, graph.constant(preparation.outputs.scale, np.float64))
        double = graph.one("Add", double, graph.constant(preparation.outputs.center, np.float64))
        graph.output("prediction", double, "DOUBLE", output.shape, axes)
    graph.save(path, about=_about(preparation))
    return path


def _about(preparation: Preparation) -> dict[str, str]:
    """The metadata: which column is where."""
    schema, forecast = preparation.schema, preparation.forecast
    stored: dict[str, Any] = {
        "task": schema.task,
        "numbers": input_names(schema),
        "categories": schema.categories,
        "target": schema.target,
        "classes": preparation.classes,
    }
    if forecast is not None:
        stored |= {"window": forecast.window, "horizon": forecast.horizon, "known": forecast.known}
    return {name: json.dumps(value, default=str) for name, value in stored.items()}


def _of_rank(graph: Graph, value: Value, rank: int) -> Value:
    """(B, T, 1) for an input (B, T), as Keras takes it."""
    if len(value.shape) == rank:
        return value
    return Value(graph.one("Squeeze", value.name, graph.constant([-1], np.int64)), value.shape[:rank])


class _Columns:
    """The nodes of a preparation."""

    def __init__(self, graph: Graph, preparation: Preparation) -> None:
        self._graph, self._preparation = graph, preparation
        self._names = input_names(preparation.schema)
        self._categories = preparation.schema.categories

    def past(self, wanted: tuple[str, ...]) -> dict[str, Value]:
        """``numbers`` and ``codes``, of the inputs "numbers" and "categories", where they are ``wanted``."""
        forecast = self._preparation.forecast
        steps = None if forecast is None else forecast.window
        found: dict[str, Value] = {}
        if self._names and not {"numbers", "future_numbers"}.isdisjoint(wanted):
            raw = self._graph.input("numbers", "DOUBLE", (None, steps, len(self._names)), ("batch", "time"))
            found["numbers"] = self._numbers(raw, list(range(len(self._names))), None)
        if self._categories and "codes" in wanted:
            shape = (None, steps, len(self._categories))
            text = self._graph.input("categories", "STRING", shape, ("batch", "time"))
            found["codes"] = self._codes(text, list(range(len(self._categories))))
        return found

    def future(self, past: dict[str, Value]) -> dict[str, Value]:
        """The same of the columns that are known in advance, for the steps of the horizon."""
        forecast = self._preparation.forecast
        assert forecast is not None
        numbers = [place for place, name in enumerate(self._names) if name in forecast.known]
        codes = [place for place, name in enumerate(self._categories) if name in forecast.known]
        found: dict[str, Value] = {}
        if numbers:
            raw = self._graph.input("future_numbers", "DOUBLE", (None, forecast.horizon, len(numbers)), ("batch",))
            found["future_numbers"] = self._numbers(raw, numbers, past["numbers"])
        if codes:
            shape = (None, forecast.horizon, len(codes))
            found["future_codes"] = self._codes(
                self._graph.input("future_categories", "STRING", shape, ("batch",)), codes
            )
        return found

    def _numbers(self, raw: Value, columns: list[int], before: Value | None) -> Value:
        """Scaled, filled, and the indicators behind; ``before``: the steps that a gap at the start is filled from."""
        graph, preparation = self._graph, self._preparation
        name = graph.one("Sub", raw.name, graph.constant(preparation.inputs.center[columns], np.float64))
        name = graph.one("Div", name, graph.constant(preparation.inputs.scale[columns], np.float64))
        name = graph.one("Cast", name, to=_FLOAT)
        if preparation.missing == "fill":
            if before is None:
                rows = graph.one("Gather", graph.one("Shape", raw.name), graph.constant([0], np.int64))
                shape = graph.one("Concat", rows, graph.constant([len(columns)], np.int64), axis=0)
                first = graph.one("Expand", graph.constant([0.0]), shape)
            else:
                last = graph.one("Gather", before.name, graph.constant(-1, np.int64), axis=1)
                first = graph.one("Gather", last, graph.constant(columns, np.int64), axis=1)
            name = graph.scan(filling(require_onnx(), len(columns)), first, name)
        places = [columns.index(column) for column in preparation.indicators if column in columns]
        if places:
            picked = graph.one("Gather", raw.name, graph.constant(places, np.int64), axis=2)
            absent = graph.one("Cast", graph.one("IsNaN", picked), to=_FLOAT)
            name = graph.one("Concat", name, absent, axis=2)
        return Value(name, (*raw.shape[:2], len(columns) + len(places)))

    def _codes(self, text: Value, columns: list[int]) -> Value:
        graph, parts = self._graph, []
        for place, column in enumerate(columns):
            labels = self._preparation.vocabulary[column]
            picked = graph.one("Gather", text.name, graph.constant([place], np.int64), axis=2)
            encode = {"keys_strings": ["", *labels], "values_int64s": list(range(len(labels) + 1)), "default_int64": 0}
            parts.append(graph.one("LabelEncoder", picked, domain="ai.onnx.ml", **encode))
        return Value(graph.one("Concat", *parts, axis=2), text.shape)
