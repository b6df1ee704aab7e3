"""The error against float64 beside that of PyTorch's own float32 kernels on the same case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recurrences import Recurrence, recurrence

from throughtime.kernels import native, reference

# PyTorch's gates in the order of ours: its GRU has r, z, n.
GATES = {"rnn_tanh": [0], "rnn_relu": [0], "gru": [1, 0, 2], "lstm": [0, 1, 2, 3]}


def torch_results(case: Recurrence) -> dict[str, np.ndarray]:
    """All outputs and gradients by PyTorch's layer; ``last`` takes no part, being the same as hn."""
    import torch  # here, because it is not wanted in the processes that test the other frameworks

    problem, inputs = case.problem, case.inputs
    cell, H = problem.cell, problem.units
    size = {"input_size": problem.features, "hidden_size": H, "batch_first": True}
    if cell == "lstm":
        layer: Any = torch.nn.LSTM(**size)
    elif cell == "gru":
        layer = torch.nn.GRU(**size)
    else:
        layer = torch.nn.RNN(**size, nonlinearity=cell.removeprefix("rnn_"))

    def theirs(ours: np.ndarray) -> Any:
        """(..., G*H) to (G*H, ...), gates in PyTorch's order."""
        return torch.from_numpy(
            np.concatenate([np.split(ours, len(GATES[cell]), -1)[g] for g in GATES[cell]], -1).T.copy()
        )

    def back(gradient: Any) -> np.ndarray:
        parts = np.split(gradient.numpy().T, len(GATES[cell]), -1)
        return np.concatenate([parts[GATES[cell].index(g)] for g in range(len(parts))], -1)

    weights = {"weight_ih_l0": "kernel", "weight_hh_l0": "recurrent_kernel", "bias_ih_l0": "bias"}
    if cell == "gru":
        weights["bias_hh_l0"] = "recurrent_bias"
    zero = {"bias_hh_l0": torch.zeros(len(GATES[cell]) * H)}
    layer.load_state_dict(zero | {name: theirs(inputs[ours]) for name, ours in weights.items()})
    x, *states = (
        torch.from_numpy(inputs[name]).requires_grad_() for name in ("x", "h0", "c0") if inputs[name] is not None
    )
    first = [state[None] for state in states]
    y, final = layer(x, tuple(first) if cell == "lstm" else first[0])
    final = final if cell == "lstm" else (final,)
    found = {"y": y, **dict(zip(("hn", "cn"), (state[0] for state in final), strict=False))}
    loss = sum((found[name] * torch.from_numpy(case.cotangents[f"d{name}"])).sum() for name in found)
    loss.backward()
    results = {name: array.detach().numpy() for name, array in found.items()}
    results |= {f"d{name}": given.grad.numpy() for name, given in zip(("x", "h0", "c0"), (x, *states), strict=False)}
    return results | {f"d{ours}": back(getattr(layer, name).grad) for name, ours in weights.items()}


@pytest.mark.parametrize("units", [16, 64, 128])
@pytest.mark.parametrize("cell", GATES)
def test_the_error_is_at_most_twice_that_of_pytorch(cell: str, units: int) -> None:
    """Root mean squares over each array; seen at most: 1.7 times, GRU's dbias."""
    case = recurrence(cell, None, batch=24, steps=60, features=32, units=units, seed=units)
    case.cotangents["dlast"] = None
    expected, theirs = case.astype(np.float64).results(reference), torch_results(case)
    for isa in native.supported():
        ours = case.with_problem(isa=isa).results(native)
        for name in theirs:
            error, of_pytorch = rms(ours[name] - expected[name]), rms(theirs[name] - expected[name])
            assert error <= 2 * of_pytorch, f"{isa} {name}: {error:.2g}, PyTorch {of_pytorch:.2g}"


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array.astype(np.float64) ** 2)))
