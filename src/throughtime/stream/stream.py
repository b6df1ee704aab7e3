"""``Stream``: a model's answer at each time step as it comes, with the states carried in between.

A step of a recurrent network is two small matrix products and a few element-wise functions; what a framework adds to
them (a call's checks, transfers, a compiled program's launch) takes far longer. So the weights are read once, and NumPy
computes each step into arrays that are there already. A stream needs no framework to run, and its snapshots are the
same bytes on each.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ArgumentError, listed
from .layers import LAYERS
from .operations import OPERATIONS
from .plan import Mask, Plan, Signal
from .recurrent import recurrent
from .refusals import RECURRENT, refuse_layers, why_not
from .walking import refuse_no_graph, said, walk

# A snapshot: magic, version, bytes a number, streams, fingerprint; the states of each stream in turn; a checksum.
MAGIC, VERSION = b"TTSTREAM", 1
_HEADER = struct.Struct("<8sHHI32s")


class Stream:
    """A model that is given one time step after the other, and answers after each.

    The weights are read once: after more training, make a new stream. It computes in float32 (float64 for a model
    that does), so a model in mixed precision is answered more exactly than it answers itself.

    Args:
        model: a keras.Sequential or functional model, built, of Embedding, Dense, normalisation, dropout and activation
            layers, TimeDistributed of these, Masking, Add and the like, Concatenate, and SimpleRNN, GRU and LSTM of
            ours or Keras's, MinGRU, MinLSTM and LRU, that run forward. All its inputs have time for their second axis.
        batch: B streams side by side, each with states of its own. None: one, and no batch axis in what is pushed.

    Raises:
        ArgumentError: a model that has no answer at a step, or layers that a stream does not know; each is named with
            the reason.

    Example:
        >>> model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(8), keras.layers.Dense(1)])
        >>> stream = Stream(model)
        >>> x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
        >>> answers = [stream.push(step) for step in x]
        >>> answers[-1].shape, bool(np.allclose(answers[-1], model.predict(x[None], verbose=0)[0], atol=1e-5))
        ((1,), True)
    """

    def __init__(self, model: keras.Model, *, batch: int | None = None) -> None:
        refuse_no_graph(model, "Stream")
        if batch is not None and (not isinstance(batch, int | np.integer) or isinstance(batch, bool) or batch < 1):
            raise ArgumentError(f"batch={batch!r} is not a number of streams; give at least 1, or None for one.")
        refuse_layers(model)
        self.batch = None if batch is None else int(batch)
        double = any(layer.compute_dtype == "float64" for layer in model._flatten_layers())
        plan = self._plan = Plan(1 if batch is None else int(batch), np.float64 if double else np.float32)
        self._mask = plan.mask()
        self._inputs = [Signal(_input_array(plan, tensor), self._mask, True) for tensor in model.inputs]
        self._names = [tensor.name for tensor in model.inputs]
        self._dtypes = [keras.backend.standardize_dtype(tensor.dtype) for tensor in model.inputs]
        # A Sequential has one input, and no attribute for it before it is called.
        keyed = not isinstance(model, keras.Sequential) and isinstance(model.input, dict)
        self._keyed = _keys(model.input) if keyed else None
        outputs = walk(model, list(self._inputs), _call(plan))
        self._outputs = keras.tree.map_structure(lambda signal: signal.array, outputs)
        self._single = isinstance(self._outputs, np.ndarray)
        self._fingerprint = plan.fingerprint()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ArgumentError(
            "a Stream is neither copied nor pickled: its steps write into arrays of its own. Make another of the same "
            "model, and give its restore() what snapshot() returns."
        )

    def __repr__(self) -> str:
        numbers = sum(state[0].size for state in self._plan.states)
        return f"Stream({self._plan.batch} stream{'s' if self._plan.batch > 1 else ''}, {numbers} numbers carried each)"

    def push(self, x: Any, *, mask: Any = None) -> Any:
        """The model's output for this step, given the steps before it.

        Args:
            x: the step: (F,) numbers, or () of a token; with ``batch`` (B, F) or (B,). For a model of several inputs a
                list or dict of them, as the model takes them. NumPy arrays of any number type, or what becomes one.
            mask: (B,) bool, as the mask of the model's inputs in Keras: where it is False the stream has no step, its
                states stay and recurrent layers repeat their output.

        Returns:
            A new array (with ``batch`` (B, ...)), in the structure of the model's outputs. A model whose last recurrent
            layer has return_sequences=False answers as for the sequence so far.

        Raises:
            ArgumentError: another shape or type; a value that is NaN or infinite in a stream that is not masked, since
                it would stay in the states for good; a token that the Embedding does not have. The states are then as
                they were.
        """
        given = self._parts(x)
        for place, (one, signal) in enumerate(zip(given, self._inputs, strict=True)):
            self._take(place, one, signal.array)
        self._take_mask(mask)
        for signal in self._inputs:
            if signal.array.dtype.kind == "f" and not np.isfinite(signal.array).all():
                self._refuse_not_finite(signal)
        for check in self._plan.checks:
            check()
        for step in self._plan.steps:
            step()
        if self._single:
            return self._outputs.copy() if self.batch is not None else self._outputs[0].copy()
        return keras.tree.map_structure(
            lambda array: array.copy() if self.batch is not None else array[0].copy(), self._outputs
        )

    def reset(self, stream: int | Iterable[int] | None = None) -> None:
        """Sets states to zero: of all streams, or of one or some by their number from 0, or a mask ``(B,)`` of them."""
        rows = slice(None) if stream is None else self._rows(stream)
        for state in self._plan.states:
            state[rows] = 0

    # States as bytes --------------------------------------------------------------------------------------------------

    def snapshot(self, stream: int | Iterable[int] | None = None) -> bytes:
        """The states of all streams, or of some as for ``reset``, as bytes that ``restore`` takes on any backend."""
        rows = np.arange(self._plan.batch)[slice(None) if stream is None else self._rows(stream)]
        size = np.dtype(self._plan.dtype).itemsize
        header = _HEADER.pack(MAGIC, VERSION, size, len(rows), self._fingerprint)
        states = [state[rows].reshape(len(rows), -1) for state in self._plan.states]
        body = np.concatenate(states, 1).astype(f"<f{size}").tobytes() if states else b""
        return header + body + struct.pack("<I", zlib.crc32(header + body))

    def restore(self, snapshot: bytes, stream: int | Iterable[int] | None = None) -> None:
        """Goes on from a snapshot: of as many streams as it is restored to, whatever their places were.

        Raises:
            ArgumentError: no snapshot, a damaged one, one of a model of other layers, or of another number of streams.
        """
        rows = np.arange(self._plan.batch)[slice(None) if stream is None else self._rows(stream)]
        dtype = np.dtype(self._plan.dtype).newbyteorder("<")
        data = bytes(snapshot) if isinstance(snapshot, bytes | bytearray | memoryview) else b""
        if data[:8] != MAGIC or len(data) < _HEADER.size + 4:
            said = f"{len(data)} bytes" if data else type(snapshot).__name__
            raise ArgumentError(f"restore was given {said} that are no snapshot; give what snapshot() returned.")
        _, version, size, count, fingerprint = _HEADER.unpack_from(data)
        if version != VERSION:
            raise ArgumentError(f"the snapshot has version {version}; this throughtime reads {VERSION}.")
        if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise ArgumentError("the snapshot is damaged: its checksum is another; it was cut off or changed.")
        if fingerprint != self._fingerprint or size != dtype.itemsize:
            raise ArgumentError(
                "the snapshot is of another model: layers, shapes and settings have to be the same. Make the stream of "
                "the model that it was taken of."
            )
        if count != len(rows):
            raise ArgumentError(f"the snapshot is of {count} streams, and is to be restored to {len(rows)}.")
        width = sum(state[0].size for state in self._plan.states)
        if len(data) != _HEADER.size + 4 + count * width * size:  # a checksum that fits says nothing of the length
            raise ArgumentError(
                f"the snapshot is damaged: it has {len(data)} bytes, and {count} streams of {width} numbers take "
                f"{_HEADER.size + 4 + count * width * size}."
            )
        values = np.frombuffer(data[_HEADER.size : -4], dtype).reshape(count, width)
        if not np.isfinite(values).all():
            raise ArgumentError("the snapshot is damaged: it holds states that are NaN or infinite, for good.")
        place = 0
        for state in self._plan.states:
            width = state[0].size
            state[rows] = values[:, place : place + width].reshape(len(rows), *state.shape[1:])
            place += width

    # What is given ----------------------------------------------------------------------------------------------------

    def _parts(self, x: Any) -> list[Any]:
        if self._keyed is not None:
            if not isinstance(x, dict) or set(x) != set(self._keyed):
                given = f"a dict of {listed(x)}" if isinstance(x, dict) else type(x).__name__
                raise ArgumentError(f"push was given {given}; the model takes a dict of {listed(self._keyed)}.")
            return [x[name] for name in self._keyed]
        if isinstance(x, dict) and set(x) == set(self._names):  # as Keras takes it
            return [x[name] for name in self._names]
        if len(self._inputs) == 1:
            return [x]
        if not isinstance(x, list | tuple) or len(x) != len(self._inputs):
            given = f"{len(x)} arrays" if isinstance(x, list | tuple) else type(x).__name__
            raise ArgumentError(f"push was given {given}; the model takes a list of {listed(self._names)}.")
        return list(x)

    def _take(self, place: int, x: Any, array: np.ndarray) -> None:
        """Copies what is given into the input's array, if it fits."""
        given = np.asarray(x)
        target = array if self.batch is not None else array[0, ...]
        if given.shape != target.shape or given.dtype.kind not in "fiub":
            expected = f"({', '.join(map(str, target.shape))}{',' if target.ndim == 1 else ''})"
            raise ArgumentError(
                f"push was given an array of shape {given.shape} and type {given.dtype} for the input "
                f"{self._names[place]!r}; one step is {expected} numbers"
                f"{', of each stream' if self.batch is not None else ''}. For many streams: Stream(model, batch=B)."
            )
        if array.dtype.kind != "f" and given.dtype.kind == "f" and (given != np.trunc(given)).any():
            raise ArgumentError(f"the input {self._names[place]!r} takes whole numbers, and was given {given}.")
        np.copyto(target, given, casting="unsafe")

    def _take_mask(self, mask: Any) -> None:
        if mask is None:
            self._mask.full = True
            return
        rows = np.asarray(mask)
        expected = () if self.batch is None else (self.batch,)
        if rows.dtype != bool or rows.shape != expected:
            raise ArgumentError(
                f"mask has shape {rows.shape} and type {rows.dtype}; booleans of shape {expected} are accepted."
            )
        self._mask.rows[...] = rows
        self._mask.full = bool(rows.all())

    def _refuse_not_finite(self, signal: Signal) -> None:
        odd = ~np.isfinite(signal.array)
        if not self._mask.full:
            odd[~self._mask.rows] = False
        if odd.any():
            at = tuple(int(i[0]) for i in np.nonzero(odd))
            where = f"feature {at[-1]}" + (f" of stream {at[0]}" if self.batch is not None else "")
            raise ArgumentError(
                f"push was given {signal.array[at]} ({where}), which would stay in the states for good; fill it in, or "
                "say mask=False for the step. The states are as they were."
            )

    def _rows(self, stream: int | Iterable[int]) -> list[int]:
        given = np.asarray(list(stream) if isinstance(stream, Iterable) else stream)
        if given.dtype == bool and given.shape == (self._plan.batch,):
            return [int(row) for row in np.flatnonzero(given)]
        rows = given.reshape(-1).tolist() if given.dtype.kind in "iu" else []
        if not rows or min(rows) < 0 or max(rows) >= self._plan.batch:
            raise ArgumentError(
                f"stream={stream!r}; numbers from 0 to {self._plan.batch - 1} are accepted, or a mask of shape "
                f"({self._plan.batch},)."
            )
        return rows


def _keys(inputs: dict[str, Any]) -> list[str]:
    """The keys of a model's inputs in the order of ``model.inputs``, which is Keras's order of flattening."""
    key_of = {id(tensor): key for key, tensor in inputs.items()}
    return [key_of[id(tensor)] for tensor in keras.tree.flatten(inputs)]


def _input_array(plan: Plan, tensor: Any) -> np.ndarray:
    """An array for one step of an input of the model."""
    shape, dtype = tensor.shape, keras.backend.standardize_dtype(tensor.dtype)
    if len(shape) < 2:
        raise ArgumentError(f"the input {tensor.name!r} has shape {shape}, without a time axis; (batch, time, ...) is.")
    if None in shape[2:]:
        raise ArgumentError(f"the input {tensor.name!r} has shape {shape}; only batch and time may be None.")
    kinds = {"bool": np.bool_} if dtype == "bool" else {dtype: np.int64} if "int" in dtype else {}
    array = plan.buffer(*shape[2:], dtype=kinds.get(dtype))
    plan.inputs.append(array)
    return array


def _call(plan: Plan) -> Any:
    """``call`` for ``walk``: plans one call of a layer."""

    def call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        reason = why_not(layer)
        if reason is not None:
            raise ArgumentError(f"{said(layer)} {reason}.")
        kind = type(layer)
        if isinstance(layer, keras.Layer):
            mask = kwargs.pop("mask", None)
            if isinstance(mask, Signal):  # where Keras has computed a mask itself, it is that of the signal as well
                args = (Signal(args[0].array, plan.mask_of(mask), args[0].timed), *args[1:])
        if kind is layers.TimeDistributed:
            outputs = _distributed(plan, layer, *args, call=call)
        elif kind in RECURRENT:
            outputs = recurrent(plan, RECURRENT[kind], layer, *args, **kwargs)
        elif isinstance(layer, keras.Layer):
            outputs = LAYERS[kind](plan, layer, *args, **kwargs)
        else:
            outputs = OPERATIONS[kind.__name__](plan, layer, *args, **kwargs)
        plan.note(layer, outputs, _setting(layer))
        return outputs

    return call


def _distributed(plan: Plan, layer: Any, x: Signal, *, call: Any) -> Signal:
    """A TimeDistributed layer does at each step what the layer in it does to a batch."""
    inner = Signal(x.array, plan.mask(), False)
    if isinstance(layer.layer, keras.Model):
        out = walk(layer.layer, [inner], call)
    else:
        out = call(layer.layer, (inner,), {})
    return Signal(out.array, x.mask if layer.supports_masking else Mask(np.ones(plan.batch, bool)), True)


def _setting(layer: Any) -> str:
    """What changes the meaning of a layer's states beside its shapes."""
    if type(layer) not in RECURRENT:
        return ""
    config = layer.get_config()
    names = ("activation", "recurrent_activation", "reset_after", "use_bias")
    return str([(name, config[name]) for name in names if name in config])
