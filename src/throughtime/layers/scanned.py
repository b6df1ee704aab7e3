"""MinGRU, MinLSTM and LRU: recurrent layers whose state is a sum, so that all steps can be computed in parallel.

Each is a ``keras.layers.RNN`` around its cell, with the loop over time steps on the native kernel, within ``memory=``
where that is given; or, where ``why_not_fused`` has a reason, such as a GPU or float64, by a parallel scan in Keras's
operations (scan.py), which has second derivatives too. Config, states, ``Bidirectional`` and saved files are Keras's.
Keras's own loop around the same cell is the sequential form, and what the tests compare with; ``unroll=True`` asks for
it. Gates and states are float32 at least.

What a masked step holds is never computed with, and its output is the one before it, as in Keras's loop. A ``stateful``
layer carries its state as ours do (carrying.py). To load a file with one of these, ``throughtime.MinGRU``, or whichever
it is, must have been named before: names of throughtime are loaded when they are first used.
"""

from __future__ import annotations

from math import pi
from typing import Any, ClassVar

import keras
from keras import ops

from ..errors import ArgumentError
from ..kernels.schedule import byte_count
from .fused import Fused
from .lru import LRUCell
from .minimal import LIMITS, MinGRUCell, MinLSTMCell
from .paths import UNROLLED, why_not_fused, why_not_mask
from .scan import Number, scan


class Scanned(Fused, keras.layers.RNN):
    """What the three layers have in common."""

    limits: ClassVar[str]  # what such a layer cannot do, in a sentence
    by_scan = False  # in Keras's operations even where the native kernel could; set by swapping.py

    def __init__(
        self, cell: keras.layers.Layer, *, dropout: float, seed: int | None, memory: int | str | None, **options: Any
    ) -> None:
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout={dropout!r} is given; a share from 0 up to, not including, 1 is accepted.")
        super().__init__(cell, **options)
        self.supports_masking = True
        self.dropout, self.seed = dropout, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.memory = None if memory is None else byte_count(memory)
        self.adopt()

    @property
    def units(self) -> int:
        return self.cell.units

    def has_our_recurrence(self) -> bool:
        """Not so of a subclass with a ``scanned`` of its own."""
        return type(self).scanned in [ours.scanned for ours in SCANNED]

    def why_not_scanned(self, mask: Any = None) -> str | None:
        """Why the next call runs in Keras's loop, and how to mend it; None where it does not."""
        return UNROLLED if self.unroll else why_not_mask(mask)

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple[Any, Any, Any]:
        states = self.states_before(initial_state)
        sequences = ops.cast(sequences, self.compute_dtype)  # whole numbers are taken as well
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        mask = None if mask is None else ops.cast(mask, "bool")
        if training and self.dropout:
            # One mask for all steps, as Keras's layers have it; here and not in the cell, so that a loop draws it once.
            kept = keras.random.dropout(ops.ones_like(sequences[:, :1]), self.dropout, seed=self.seed_generator)
            sequences = sequences * kept
        return self.computed(sequences, states, mask, training)

    def computed(self, sequences: Any, states: list[Any], mask: Any, training: bool) -> tuple[Any, Any, Any]:
        """What ``inner_loop`` gives: on the kernel, by a scan, or in Keras's loop."""
        if why_not_fused(self, sequences, mask=mask) is None:
            return self.on_kernel(sequences, states, mask, training)
        if mask is not None and len(mask.shape) == 2:
            sequences = _cleared(sequences, mask)
        if self.why_not_scanned(mask) is not None:
            return keras.layers.RNN.inner_loop(
                self, sequences=sequences, initial_state=states, mask=mask, training=training
            )
        if self.go_backwards:
            sequences = ops.flip(sequences, 1)
            mask = None if mask is None else ops.flip(mask, 1)
        outputs, after = self.scanned(sequences, states, mask)
        if mask is not None:
            outputs = _shown(outputs, self.shown(mask))
        last = outputs[:, -1]
        return last, outputs if self.return_sequences else last[:, None], after

    def scanned(self, x: Any, states: list[Any], mask: Any) -> tuple[Any, list[Any]]:
        """Outputs (B, T, H) and the states after the last step; at masked steps the output of the step before."""
        raise NotImplementedError

    def shown(self, mask: Any) -> Any:
        """The steps whose output is not zero, (B, T), by what Keras's loop gives; None: all of them.

        At masked steps stands the output before, unless zeros are asked for; before the first valid step the initial
        one on JAX, and zeros elsewhere.
        """
        if self.zero_output_for_mask:
            return mask
        return None if keras.backend.backend() == "jax" else ops.cumsum(ops.cast(mask, "int32"), axis=1) > 0

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | self.cell.settings() | {"dropout": self.dropout, "seed": self.seed}
        del config["cell"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Scanned:
        return cls(**config)


def _cleared(x: Any, mask: Any) -> Any:
    """Zeros at masked steps, before anything is computed: 0 * NaN would be NaN, in the gradient of weights as well."""
    return ops.where(mask[:, :, None], x, ops.zeros_like(x))


def _shown(outputs: Any, shown: Any) -> Any:
    return outputs if shown is None else ops.where(shown[:, :, None], outputs, ops.zeros_like(outputs))


def _last_valid(mask: Any) -> Any:
    """The place of the last valid step up to each step, (B, T) int32; -1 where there is none."""
    steps = ops.shape(mask)[1]
    valid_ones = ops.sort(ops.where(mask, ops.arange(steps, dtype="int32"), steps), axis=1)  # before those beyond
    count = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    return ops.where(count > 0, ops.take_along_axis(valid_ones, ops.maximum(count - 1, 0), axis=1), -1)


def _taken(x: Any, at: Any) -> Any:
    """Of x, (B, T, F), the steps at the places (B, K), of which those below 0 stand for any."""
    places = ops.broadcast_to(ops.maximum(at, 0)[:, :, None], (*ops.shape(at), x.shape[-1]))
    return ops.take_along_axis(x, places, axis=1)


def held(a: Number, b: Number, mask: Any) -> tuple[Number, Number]:
    """Coefficients with which a masked step leaves the state alone: a = 1, b = 0."""
    if mask is None:
        return a, b
    valid = mask[:, :, None]
    one = (ops.where(valid, part, ops.cast(place == 0, part.dtype)) for place, part in enumerate(a))
    return tuple(one), tuple(ops.where(valid, part, ops.zeros_like(part)) for part in b)


class _Minimal(Scanned):
    """MinGRU and MinLSTM: all that differs is the cell."""

    cell_class: ClassVar[type]

    def __init__(
        self,
        units: int,
        *,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        chrono: int | None = None,
        dropout: float = 0.0,
        seed: int | None = None,
        memory: int | str | None = None,
        **options: Any,
    ) -> None:
        cell = self.cell_class(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            chrono=chrono,
            seed=seed,
            dtype=options.get("dtype"),
            trainable=options.get("trainable", True),
            name="cell",
        )
        super().__init__(cell, dropout=dropout, seed=seed, memory=memory, **options)

    def weights_of_kernel(self) -> tuple[Any, Any, Any]:
        return self.cell.kernel, ops.zeros((self.units, 0)), self.cell.bias

    def scanned(self, x: Any, states: list[Any], mask: Any) -> tuple[Any, list[Any]]:
        a, b = self.cell.coefficients(x)
        a, b = held(a, b, mask)
        (h,) = scan(a, b, (ops.cast(states[0], a[0].dtype),))
        return h, [h[:, -1]]


@keras.saving.register_keras_serializable(package="throughtime")
class MinGRU(_Minimal):
    """minGRU (Feng et al. 2024, arXiv:2410.01201): a GRU whose gates see the input alone.

    h_t = (1 - z_t) h_{t-1} + z_t h~_t, with z_t = sigmoid(W_z x_t + b_z) and h~_t = activation(W_h x_t + b_h). With one
    of the activations below it runs on the native kernel; with others, and on a GPU, by a parallel scan.

    What it cannot do is in ``limits``: it sums up what it has seen, and can remember it over thousands of steps, but it
    cannot track a state, since nothing it does depends on the state that it is in. For that take a GRU or LSTM.

    Args:
        units: H.
        activation: of the candidate h~; None as in the paper's plain form, or ``"g"``, its positive function, or
            ``"tanh"`` for states that stay within -1 and 1.
        use_bias: whether gates and candidate have one.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint:
            as in ``keras.layers.GRU``; there is no recurrent kernel.
        chrono: steps over which units are to remember at first, drawn for each from 1 to ``chrono``, by the bias of the
            gate (Tallec and Ollivier 2018, arXiv:1804.11188); None leaves it to ``bias_initializer``, and a unit
            then loses half of its state with each step until it learns better.
        dropout: share of the inputs' features that is dropped in training, the same at all steps.
        seed: of dropout and ``chrono``.
        memory: bytes, as in ``"64MiB"``, that the kernel may hold between forward and backward pass; see recurrent.py.
        options: of ``keras.layers.RNN``: ``return_sequences``, ``return_state``, ``go_backwards``, ``stateful``,
            ``unroll``, ``zero_output_for_mask``, and ``name``, ``dtype``, ``trainable``.

    Returns:
        As ``keras.layers.GRU``: (B, H), or (B, T, H) with ``return_sequences``; the state (B, H) with ``return_state``.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> layer = MinGRU(4, return_sequences=True, chrono=100)
        >>> layer(keras.ops.zeros((2, 5, 3))).shape == (2, 5, 4)
        True
    """

    cell_class = MinGRUCell
    limits = LIMITS.format(name="MinGRU")


@keras.saving.register_keras_serializable(package="throughtime")
class MinLSTM(_Minimal):
    """minLSTM (Feng et al. 2024, arXiv:2410.01201): an LSTM whose gates see the input alone.

    h_t = f'_t h_{t-1} + i'_t h~_t, with f' = f / (f + i) and i' = i / (f + i), f, i and h~ from the input as in MinGRU.
    There is one state, h, and no output gate. Arguments, outputs, errors and limits are those of ``MinGRU``.

    Example:
        >>> mask = keras.ops.convert_to_tensor([[True, True, False], [True, False, False]])
        >>> MinLSTM(4)(keras.ops.ones((2, 3, 1)), mask=mask).shape == (2, 4)
        True
    """

    cell_class = MinLSTMCell
    limits = LIMITS.format(name="MinLSTM")


@keras.saving.register_keras_serializable(package="throughtime")
class LRU(Scanned):
    """The linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349): a complex diagonal recurrence.

    h_t = lambda h_{t-1} + gamma (B x_t), y_t = activation(Re(C h_t) + D x_t + bias). It is linear over time: put what
    is not linear, such as Dense layers with an activation, between layers of it, as the paper does.

    What it cannot do is in ``limits``: there are no gates, so it forgets each input at the same pace, and it can
    neither track a state nor choose what to keep.

    Args:
        units: H, of the outputs.
        state_units: N, complex numbers in the state; by default as many as units.
        activation: of the outputs; None as in the paper.
        use_bias: whether outputs have one; not in the paper.
        r_min, r_max: between which |lambda| starts. A state fades by 1 / e in 1 / (1 - |lambda|) steps: 10 to 1000.
        max_phase: largest angle that lambda starts with; the paper takes pi / 10 for thousands of steps.
        kernel_regularizer, kernel_constraint: of B, C and D.
        dropout: share of the inputs' features that is dropped in training, the same at all steps.
        seed: of the initial weights and of dropout.
        memory: bytes, as in ``"64MiB"``, that the kernel may hold between forward and backward pass; see recurrent.py.
            The states of all steps, 2N numbers each, are held besides, where C reads them: with ``return_sequences``.
        options: of ``keras.layers.RNN``, as for ``MinGRU``.

    Returns:
        (B, H), or (B, T, H) with ``return_sequences``; with ``return_state`` also the last output, (B, H), and the
        state, (B, 2N): real parts, then imaginary ones.

    Raises:
        ArgumentError: an argument outside of what is accepted.

    Example:
        >>> layer = LRU(4, state_units=16, return_state=True)
        >>> [tuple(output.shape) for output in layer(keras.ops.zeros((2, 5, 3)))]
        [(2, 4), (2, 4), (2, 32)]
    """

    limits = (
        "LRU is linear over time and has no gates, so it cannot track a state, such as parity, nor choose what to "
        "keep: each unit forgets at a pace that is the same for every input. A SimpleRNN, GRU or LSTM can."
    )

    def __init__(
        self,
        units: int,
        *,
        state_units: int | None = None,
        activation: Any = None,
        use_bias: bool = False,
        r_min: float = 0.9,
        r_max: float = 0.999,
        max_phase: float = 2 * pi,
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        dropout: float = 0.0,
        seed: int | None = None,
        memory: int | str | None = None,
        **options: Any,
    ) -> None:
        cell = LRUCell(
            units,
            state_units=state_units,
            activation=activation,
            use_bias=use_bias,
            r_min=r_min,
            r_max=r_max,
            max_phase=max_phase,
            kernel_regularizer=kernel_regularizer,
            kernel_constraint=kernel_constraint,
            seed=seed,
            dtype=options.get("dtype"),
            trainable=options.get("trainable", True),
            name="cell",
        )
        super().__init__(cell, dropout=dropout, seed=seed, memory=memory, **options)

    def weights_of_kernel(self) -> tuple[Any, Any, Any]:
        gamma = ops.exp(ops.cast(self.cell.gamma_log, "float32"))
        kernel = ops.cast(self.cell.kernel, "float32") * ops.concatenate([gamma, gamma])
        return kernel, ops.stack(self.cell.factor(), axis=1), None

    def on_kernel(self, x: Any, states: list[Any], mask: Any, training: bool) -> tuple[Any, Any, Any]:
        """The states come from the kernel; C and D are products over all steps, or over the last valid one alone."""
        _, h, ends = super().on_kernel(x, ops.split(states[1], 2, axis=-1), mask, training)
        end = ops.concatenate(ends, axis=-1)
        if not self.return_sequences:
            h = end[:, None]
        if mask is not None:
            x = _cleared(x, mask)
        if self.go_backwards:
            x = ops.flip(x, 1)
            mask = None if mask is None else ops.flip(mask, 1)
        if mask is None:
            y = self.cell.read(h, x if self.return_sequences else x[:, -1:])
            return y[:, -1], y, [y[:, -1], end]
        at, shown = _last_valid(mask), self.shown(mask)
        if self.return_sequences:
            y = _taken(self.cell.read(h, x), at)
        else:
            at, shown = at[:, -1:], None if shown is None else shown[:, -1:]
            y = self.cell.read(h, _taken(x, at))
        y = ops.where(at[:, :, None] >= 0, y, ops.cast(states[0], y.dtype)[:, None])
        outputs = _shown(y, shown)
        return outputs[:, -1], outputs, [y[:, -1], end]

    def scanned(self, x: Any, states: list[Any], mask: Any) -> tuple[Any, list[Any]]:
        a, b = self.cell.coefficients(x)
        a, b = held(a, b, mask)
        h0 = ops.split(ops.cast(states[1], b[0].dtype), 2, axis=-1)
        h = ops.concatenate(scan(a, b, tuple(h0)), axis=-1)
        if mask is None:
            if not self.return_sequences:
                h, x = h[:, -1:], x[:, -1:]
            y = self.cell.read(h, x)
            return y, [y[:, -1], h[:, -1]]
        # The output before a masked step is carried along by a scan of its own: the step reads D x as well.
        y = self.cell.read(h, x)
        valid = mask[:, :, None]
        keep = ops.cast(ops.logical_not(valid), y.dtype)
        (y,) = scan((keep,), (ops.where(valid, y, ops.zeros_like(y)),), (ops.cast(states[0], y.dtype),))
        return y, [y[:, -1], h[:, -1]]


SCANNED = (MinGRU, MinLSTM, LRU)
