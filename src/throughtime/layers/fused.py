"""A recurrent layer's call of the native kernel, and the settings of it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ..errors import ArgumentError
from .carrying import Carrying
from .paths import cell_name, recurrent, why_not_fused


class Fused(Carrying):
    """What layers on the native kernel have in common: the call of it, and its settings."""

    memory: int | None = None  # bytes that activations may hold until the backward pass; read when a call is traced
    tap = 0  # not 0: a backward pass leaves the norms of dL/dh_t there; read when a call is traced
    supports_jit: bool

    def adopt(self) -> None:
        """Sets what a layer in Keras's operations lacks; also called where one becomes one of ours in place."""
        self.supports_masking = True
        self._keras_supports_jit = self.supports_jit
        if keras.backend.backend() == "tensorflow" and why_not_fused(self) is None:
            self.supports_jit = False  # XLA on TensorFlow cannot call out to the kernel

    def leave(self) -> None:
        """What ``adopt`` did and Keras's operations do not need; called before a layer goes back to them in place."""
        self.supports_jit = self._keras_supports_jit

    def weights_of_kernel(self) -> tuple[Any, Any, Any]:
        """``kernel``, ``recurrent_kernel`` and ``bias``, which may be None."""
        return self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias

    def on_kernel(self, x: Any, states: list[Any], mask: Any, training: bool) -> tuple[Any, Any, Any]:
        """What ``inner_loop`` gives, where ``why_not_fused`` is None."""
        weights = self.weights_of_kernel()
        features = weights[0].shape[0]
        if x.shape[2] not in (None, features):  # under jit, JAX would only say it when a result is read
            raise ArgumentError(
                f"{self.name!r} was built for {features} features and was given shape {tuple(x.shape)}; "
                f"(B, T, {features}) is accepted."
            )
        x, h0, *c0 = (ops.cast(tensor, "float32") for tensor in (x, *states))
        last, y, hn, cn = recurrent(
            x,
            None if mask is None else ops.cast(mask, "bool"),
            h0,
            c0[0] if c0 else None,
            *(None if weight is None else ops.cast(ops.convert_to_tensor(weight), "float32") for weight in weights),
            cell=cell_name(self),
            reverse=self.go_backwards,
            zero_masked=self.zero_output_for_mask,
            return_sequences=self.return_sequences,
            training=bool(training),
            tap=self.tap,
            memory=self.memory or 0,
        )
        return last, ops.expand_dims(last, 1) if y is None else y, [hn] if cn is None else [hn, cn]
