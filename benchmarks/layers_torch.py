"""PyTorch's own recurrent layers with our weights: the peers of benchmarks/layers.py, and its measure of accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from throughtime.bench import Case

# PyTorch's gates in the order of ours: its GRU has r, z, n.
ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn": (0,)}
MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def to_torch(cell: str, ours: np.ndarray) -> torch.Tensor:
    """(..., G*H) as Keras lays it out to (G*H, ...), gates in PyTorch's order."""
    parts = np.split(ours, len(ORDER[cell]), -1)
    return torch.from_numpy(np.concatenate([parts[g] for g in ORDER[cell]], -1).T.copy())


def to_keras(cell: str, theirs: torch.Tensor) -> np.ndarray:
    parts = np.split(theirs.detach().numpy().T, len(ORDER[cell]), -1)
    return np.concatenate([parts[ORDER[cell].index(g)] for g in range(len(parts))], -1)


def module(case: Case, dtype: torch.dtype = torch.float32, *, batch_first: bool = False) -> Any:
    """The layer of a case. nn.LSTM has two biases that are added; the second is zero where Keras has one."""
    kernel, recurrent_kernel, bias = case.weights[:3]
    rows = bias if case.cell == "gru" else np.stack([bias, np.zeros_like(bias)])
    layer = MODULES[case.cell](case.features, case.units, batch_first=batch_first)
    arrays = (kernel, recurrent_kernel, rows[0], rows[1])
    layer.load_state_dict({name: to_torch(case.cell, one) for name, one in zip(NAMES, arrays, strict=True)})
    return layer.to(dtype)


def weight_gradients(cell: str, layer: Any) -> dict[str, np.ndarray]:
    """By our names; of a second bias only where ours has one too."""
    names = {"dkernel": "weight_ih_l0", "drecurrent_kernel": "weight_hh_l0", "dbias": "bias_ih_l0"}
    if cell == "gru":
        names["drecurrent_bias"] = "bias_hh_l0"
    return {ours: to_keras(cell, getattr(layer, theirs).grad) for ours, theirs in names.items()}


def results(case: Case, dy: np.ndarray, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """y and all gradients, given dL/dy, which is zero at masked steps, by the padded layer."""
    layer = module(case, dtype, batch_first=True)
    x = torch.from_numpy(case.x).to(dtype).requires_grad_()
    y, _ = layer(x)
    y.backward(torch.from_numpy(dy).to(dtype))
    found = {"y": y.detach().numpy() * case.mask[..., None], "dx": x.grad.numpy()}
    return found | weight_gradients(case.cell, layer)


class Peer:
    """A layer and a Dense(1) on the last output of each sequence, with the fastest layout that PyTorch has for them.

    Steps come first, sequences are sorted by length beforehand, and both are free: not in the time.

    Args:
        cases: a batch each, of one size; the first one's weights.
        packed: by pack_padded_sequence; otherwise the pads are computed, and each sequence's last step is picked.
        x_gradient: the gradient of x is wanted, as inside a deeper network.
    """

    def __init__(self, *cases: Case, packed: bool, x_gradient: bool = False) -> None:
        case = cases[0]
        self.packed = packed
        self.layer = module(case)
        self.dense = torch.nn.Linear(case.units, 1)
        weight, bias = case.weights[3:]
        self.dense.load_state_dict({"weight": torch.from_numpy(weight.T.copy()), "bias": torch.from_numpy(bias)})
        self.weights = [*self.layer.parameters(), *self.dense.parameters()]
        self.optimizer = torch.optim.Adam(self.weights, lr=1e-3, eps=1e-7)
        self.batches = []
        for case in cases:
            lengths = np.array(case.lengths)
            rows = np.argsort(-lengths, kind="stable")
            x = torch.from_numpy(case.x[rows].transpose(1, 0, 2).copy()).requires_grad_(x_gradient)
            last = torch.from_numpy(lengths[rows] - 1)
            self.batches.append((x, last + 1, last, torch.from_numpy(case.target[rows])))
        self.order = np.argsort(-np.array(cases[0].lengths), kind="stable")

    def outputs(self, batch: tuple[Any, ...]) -> torch.Tensor:
        x, lengths, last, _ = batch
        if self.packed:
            _, state = self.layer(torch.nn.utils.rnn.pack_padded_sequence(x, lengths))
            h = (state[0] if isinstance(state, tuple) else state)[0]
        else:
            h = self.layer(x)[0][last, torch.arange(len(last))]
        return self.dense(h)

    def gradients(self, number: int = 0) -> None:
        """Forward and backward of one batch."""
        batch = self.batches[number]
        for weight in (*self.weights, batch[0]):
            weight.grad = None
        torch.nn.functional.mse_loss(self.outputs(batch), batch[3]).backward()

    def steps(self) -> None:
        """A step of Adam on each batch."""
        for number in range(len(self.batches)):
            self.gradients(number)
            self.optimizer.step()

    def predictions(self) -> np.ndarray:
        """Of the first batch, in the order of its case."""
        with torch.inference_mode():
            sorted_ = self.outputs(self.batches[0]).numpy()
        found = np.empty_like(sorted_)
        found[self.order] = sorted_
        return found

    def found(self, cell: str) -> list[np.ndarray]:
        """Gradients of the first batch, in the order of Keras's weights."""
        self.gradients()
        named = weight_gradients(cell, self.layer)
        bias = np.stack([named["dbias"], named["drecurrent_bias"]]) if cell == "gru" else named["dbias"]
        dense = [self.dense.weight.grad.numpy().T.copy(), self.dense.bias.grad.numpy().copy()]
        return [named["dkernel"], named["drecurrent_kernel"], bias, *dense]


def op_gradients(case: Case) -> Callable[[], None]:
    """Forward and backward of our op with the gradient of x, without Keras and without an optimizer."""
    from throughtime.kernels.torch import recurrent

    leaves = [torch.from_numpy(one.copy()).requires_grad_() for one in case.weights]
    x, mask = torch.from_numpy(case.x).requires_grad_(), torch.from_numpy(case.mask)
    h0 = torch.zeros(case.batch, case.units)
    c0 = torch.zeros_like(h0) if case.cell == "lstm" else None
    target = torch.from_numpy(case.target)
    cell = "rnn_tanh" if case.cell == "rnn" else case.cell

    def call() -> None:
        for leaf in (x, *leaves):
            leaf.grad = None
        last, *_ = recurrent(
            x, mask, h0, c0, *leaves[:3], cell=cell, reverse=False, zero_masked=False, return_sequences=False,
            training=True,
        )  # fmt: skip
        torch.nn.functional.mse_loss(torch.addmm(leaves[4], last, leaves[3]), target).backward()

    return call
