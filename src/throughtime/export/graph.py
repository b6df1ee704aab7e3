"""An ONNX graph as it is built, node by node."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..errors import BackendError
from ..files import write_aside

# LayerNormalization came with 17; runtimes of 2022 and later have it. The IR version is the one of that time.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8


@dataclass(frozen=True)
class Value:
    """A tensor of the model in the graph.

    Args:
        name: of the graph's value.
        shape: as in Keras, None for batch and for a time axis of any length.
    """

    name: str
    shape: tuple[int | None, ...]


class IsMask:
    """What stands for a mask that a model computes itself: every mask is that of the lengths, so it is not needed."""


def require_onnx() -> Any:
    """The ``onnx`` package.

    Raises:
        BackendError: it is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise BackendError("an export needs the package onnx, which is not installed; pip install 'throughtime[onnx]'.")
    import onnx

    return onnx


class Graph:
    """Nodes, constants, inputs and outputs, in order."""

    def __init__(self) -> None:
        self._onnx = require_onnx()
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0
        self.lengths: Value | None = None  # (B,) int32, where sequences may be shorter than their container

    def add(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        """A node; returns the names of its outputs."""
        self._count += 1
        names = [f"{kind.lower()}_{self._count}" + (f"_{place}" if place else "") for place in range(outputs)]
        node = self._onnx.helper.make_node(kind, list(inputs), names, name=names[0], domain=domain, **attributes)
        self._nodes.append(node)
        return names

    def one(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output; returns its name."""
        return self.add(kind, *inputs, **attributes)[0]

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """An array that is part of the file."""
        self._count += 1
        name = f"constant_{self._count}"
        array = np.ascontiguousarray(np.asarray(values), dtype).reshape(np.shape(values))
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def weight(self, variable: Any) -> np.ndarray:
        """A weight as float32."""
        return np.array(keras.ops.convert_to_numpy(variable)).astype(np.float32)

    def input(self, name: str, kind: str, shape: tuple[int | None, ...], axes: tuple[str, ...]) -> Value:
        """An input of the graph; ``axes`` names the sizes that are None."""
        self._inputs.append(self._info(name, kind, shape, axes))
        return Value(name, shape)

    def output(self, name: str, value: str, kind: str, shape: tuple[int | None, ...], axes: tuple[str, ...]) -> None:
        """An output of the graph by a name of its own."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=f"to_{name}"))
        self._outputs.append(self._info(name, kind, shape, axes))

    def scan(self, step: Any, first: str, sequence: str) -> str:
        """``step`` (a GraphProto of a state and an element) along axis 1 of ``sequence``; the elements it gives."""
        return self.add(
            "Scan", first, sequence, outputs=2, body=step, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1]
        )[1]

    def save(self, path: Path, *, about: dict[str, str]) -> None:
        """Checks the graph by ONNX's own checker and writes it, with ``about`` as its metadata."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, "throughtime", self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="throughtime")
        helper.set_model_props(model, about)
        self._onnx.checker.check_model(model, full_check=True)
        write_aside(path, lambda file: file.write(model.SerializeToString()))

    def _info(self, name: str, kind: str, shape: tuple[int | None, ...], axes: tuple[str, ...]) -> Any:
        unknown = iter(axes)
        sizes = [next(unknown) if size is None else size for size in shape]
        return self._onnx.helper.make_tensor_value_info(name, getattr(self._onnx.TensorProto, kind), sizes)


def filling(onnx: Any, width: int) -> Any:
    """The step of ``Graph.scan`` that puts the element before in place of NaN, in (B, width) float32."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("IsNaN", ["element"], ["absent"]),
        helper.make_node("Where", ["absent", "before", "element"], ["after"]),
        helper.make_node("Identity", ["after"], ["filled"]),
    ]
    names = [helper.make_tensor_value_info(name, kind, ["batch", width]) for name in
             ("before", "element", "after", "filled")]  # fmt: skip
    return helper.make_graph(nodes, "fill", names[:2], names[2:])
