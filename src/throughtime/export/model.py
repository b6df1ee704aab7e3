"""A model as an ONNX graph: its own inputs, and the length of each sequence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ArgumentError, RunError
from ..files import path_of, refuse_unwritable
from ..stream.walking import is_graph, layers_of, refuse_no_graph, said, walk
from .graph import Graph, Value
from .layers import LAYERS, OPERATIONS
from .recurrent import KINDS, bidirectional, recurrent

_KINDS = {"bool": "BOOL", "int32": "INT32", "int64": "INT64"}
# What a TimeDistributed layer may hold: at each step they do what they do to all steps at once.
_STEPWISE = (layers.Dense, layers.Embedding, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU,
             layers.BatchNormalization, layers.LayerNormalization, layers.RMSNormalization, layers.Rescaling,
             layers.Dropout, layers.Identity)  # fmt: skip


def export_model(model: keras.Model, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Writes a model as ONNX, with real LSTM, GRU and RNN operators that end each sequence at its length.

    The file takes the model's inputs by their names, padded on the right, and ``lengths`` (B,) int32 in place of a mask
    (an input of the model that is named "mask", Masking, or mask_zero). Each sequence is answered as if it were alone;
    outputs after its end mean nothing. A model whose inputs have a fixed number of steps and no mask takes no lengths.

    Args:
        model: built, of the layers that ``Stream`` takes, Bidirectional, RepeatVector, and what ``tt.train`` computes.
        path: ending in .onnx.
        overwrite: whether a file there may be replaced.

    Raises:
        ArgumentError: what ONNX's operators do not have, each with the reason.
        BackendError: the package onnx is not installed.
        RunError: the file exists, or cannot be written.
    """
    path = refuse_path(path, overwrite=overwrite)
    graph = Graph()
    given = model_inputs(graph, model)
    outputs = keras.tree.flatten(model_outputs(graph, model, given))
    for place, output in enumerate(outputs):
        name = "output" if len(outputs) == 1 else f"output_{place}"
        graph.output(name, output.name, "FLOAT", output.shape, ("batch", "time"))
    graph.save(path, about={})
    return path


def refuse_path(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The path; raises where it cannot become an ONNX file."""
    path = path_of(path, "path")
    if path.suffix != ".onnx":
        raise ArgumentError(f"{path} is to be an ONNX file; give it a name that ends in .onnx.")
    if path.exists() and not overwrite:
        raise RunError(f"{path} exists; choose another file, or overwrite=True to replace it.")
    refuse_unwritable(path)
    return path


def model_inputs(graph: Graph, model: keras.Model, *, lengths_only: bool = False) -> dict[str, Value]:
    """Inputs of the graph for those of the model, and the lengths where there may be different ones.

    Args:
        lengths_only: only ``lengths`` and what stands for an input named "mask"; the others are the caller's.

    Returns:
        By the name of the model's input.
    """
    refuse_no_graph(model, "the export")
    masked = any(tensor.name == "mask" for tensor in model.inputs) or any(
        isinstance(layer, layers.Masking) or (isinstance(layer, layers.Embedding) and layer.mask_zero)
        for layer in layers_of(model)
    )
    found: dict[str, Value] = {}
    for tensor in model.inputs:
        if tensor.name == "mask" or lengths_only:
            continue
        kind = _KINDS.get(keras.backend.standardize_dtype(tensor.dtype), "FLOAT")
        shape = (None, *tensor.shape[1:])
        found[tensor.name] = graph.input(_input_name(model, tensor), kind, shape, ("batch", "time"))
    if masked or any(tensor.shape[1] is None for tensor in model.inputs):
        graph.lengths = graph.input("lengths", "INT32", (None,), ("batch",))
    return found


def _input_name(model: keras.Model, tensor: Any) -> str:
    """The user's name, or where Keras made one, "input", with its place where there are several."""
    if not tensor.name.startswith(("keras_tensor", "input_layer")):
        return tensor.name
    places = [one.name for one in model.inputs]
    return "input" if len(places) == 1 else f"input_{places.index(tensor.name)}"


def with_mask(graph: Graph, model: keras.Model, given: dict[str, Value]) -> list[Value]:
    """The model's inputs in their order, its mask (B, T) made of the lengths."""
    values = []
    for tensor in model.inputs:
        if tensor.name != "mask":
            values.append(given[tensor.name])
            continue
        assert graph.lengths is not None
        first = next(iter(given.values()))
        steps = graph.one("Gather", graph.one("Shape", first.name), graph.constant(1, np.int64))
        places = graph.one("Range", graph.constant(0, np.int64), steps, graph.constant(1, np.int64))
        ends = graph.one("Unsqueeze", graph.one("Cast", graph.lengths.name, to=7), graph.constant([1], np.int64))
        values.append(Value(graph.one("Less", places, ends), (None, first.shape[1])))
    return values


def model_outputs(graph: Graph, model: keras.Model, given: dict[str, Value]) -> Any:
    """The nodes of a model; returns what stands for its outputs."""

    def call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kind = type(layer)
        mode = layer.quantization_mode if isinstance(layer, keras.Layer) else None
        if mode is not None:
            raise ArgumentError(f"{said(layer)} is quantized to {mode}; export the model before quantize().")
        if kind in KINDS:
            return recurrent(graph, layer, *args, **kwargs)
        if kind is layers.Bidirectional:
            return bidirectional(graph, layer, *args, **kwargs)
        kwargs.pop("mask", None)
        if kind is layers.TimeDistributed:
            inner = layer.layer
            parts = list(layers_of(inner)) if is_graph(inner) else [inner]
            odd = [said(part) for part in parts if type(part) not in _STEPWISE]
            if odd:
                raise ArgumentError(f"{said(layer)} holds {odd[0]}, which an export does not have in it.")
            return walk(inner, [args[0]], call) if is_graph(inner) else call(inner, args[:1], {})
        made = LAYERS.get(kind) if isinstance(layer, keras.Layer) else OPERATIONS.get(kind.__name__)
        if made is None:
            raise ArgumentError(
                f"{said(layer)} is not among what can be exported; docs/stream.md lists it. For other models Keras has "
                "model.export(path, format='onnx'), without lengths, after tt.to_keras(model)."
            )
        return made(graph, layer, *args, **kwargs)

    return walk(model, with_mask(graph, model, given), call)
