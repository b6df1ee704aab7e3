"""What must not change a result, and what must: padding, the order of the batch, the container, where a sequence is
cut, the memory layout, extreme values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recurrences import Recurrence, assert_close, assert_same_bits, masked, recurrence

from throughtime.kernels import native, reference
from throughtime.kernels.problem import CELLS

# By sequence; the others are sums over the batch.
ROWS = ("y", "last", "hn", "cn", "dx", "dh0", "dc0", "norms")
# Another order of the same sums: a few units of the last place of the largest term.
REORDERED = 5e-6

pytestmark = pytest.mark.parametrize("cell", CELLS)


def rows_of(results: dict[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array[rows]) for name, array in results.items() if name in ROWS}


def sums_of(results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in results.items() if name not in ROWS}


@pytest.mark.parametrize("filling", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("isa", native.supported())
def test_padding_changes_nothing(cell: str, isa: str, filling: float) -> None:
    for mask in ("gaps", "pre", "all masked"):
        case = masked(cell, mask, batch=8, steps=9, units=21, isa=isa)
        filled = np.where(case.inputs["mask"][..., None], case.inputs["x"], np.float32(filling))
        assert_same_bits(case.with_inputs(x=filled).results(native), case.results(native))


@pytest.mark.parametrize("isa", native.supported())
def test_nan_in_a_valid_step_shows(cell: str, isa: str) -> None:
    """From that step on, in that sequence alone, and in the gradients of the weights."""
    for case in (
        masked(cell, "no mask", batch=8, steps=9, units=21, isa=isa),
        masked(cell, "post", batch=60, steps=9, units=21, isa=isa),  # sequences that follow others in the same row
    ):
        x = case.inputs["x"].copy()
        x[3, 4, 1] = np.nan  # of a sequence that is as long as the container
        whole, found = case.results(native), case.with_inputs(x=x).results(native)
        others = np.arange(len(x)) != 3
        assert_same_bits(rows_of(found, others), rows_of(whole, others))
        assert np.isnan(found["y"][3, 4:]).all()
        assert np.isfinite(found["y"][3, :4]).all()
        assert np.isnan(found["last"][3]).all() and np.isnan(found["hn"][3]).all()
        weights = [found[name] for name in ("dkernel", "drecurrent_kernel") if found[name].size]
        assert all(np.isnan(one).any() for one in weights)


@pytest.mark.parametrize("isa", native.supported())
def test_what_memory_held_before_changes_nothing(cell: str, isa: str) -> None:
    """Memory is used again without being cleared; units beyond H, up to the next multiple of 16, lie in it as well."""
    for mask in ("gaps", "post"):
        case = masked(cell, mask, batch=50, steps=9, features=7, units=21, isa=isa)
        native.trim()
        clean = case.results(native)
        nan = {name: None if array is None or name == "mask" else np.full_like(array, np.nan)
               for name, array in case.inputs.items()}  # fmt: skip
        assert np.isnan(case.with_inputs(**nan).results(native)["dkernel"]).all()
        assert_same_bits(case.results(native), clean)


def test_an_infinite_gradient_shows(cell: str) -> None:
    case = masked(cell, "no mask", batch=3, steps=5, units=18)
    dy = case.cotangents["dy"].copy()
    dy[1, 3] = np.inf
    found = replace(case, cotangents=case.cotangents | {"dy": dy}).results(native)
    assert not np.isfinite(found["norms"][1, 3])
    assert np.isfinite(found["norms"][[0, 2]]).all() and np.isfinite(found["norms"][1, 4])
    assert not np.isfinite(found["dkernel"]).all()


@pytest.mark.parametrize("isa", native.supported())
def test_the_order_of_the_batch_is_that_of_the_result(cell: str, isa: str) -> None:
    for mask in ("gaps", "post"):
        case = masked(cell, mask, batch=50, steps=12, units=34, isa=isa, threads=2)
        order = np.random.default_rng(1).permutation(50)
        whole, found = case.results(native), permuted(case, order).results(native)
        assert_close(rows_of(found, slice(None)), rows_of(whole, order), REORDERED)
        assert_close(sums_of(found), sums_of(whole), REORDERED)


def permuted(case: Recurrence, order: np.ndarray) -> Recurrence:
    inputs = {name: None if array is None else array[order] if name in ("x", "mask", "h0", "c0") else array
              for name, array in case.inputs.items()}  # fmt: skip
    cotangents = {name: None if array is None else array[order] for name, array in case.cotangents.items()}
    return replace(case, inputs=inputs, cotangents=cotangents)


@pytest.mark.parametrize(("before", "after"), [(0, 3), (2, 0), (2, 30)])
def test_a_longer_container_changes_nothing(cell: str, before: int, after: int) -> None:
    case = masked(cell, "gaps", batch=6, steps=8, units=21)
    wide = ((0, 0), (before, after), (0, 0))
    longer = replace(
        case.with_problem(steps=before + 8 + after).with_inputs(
            x=np.pad(case.inputs["x"], wide, constant_values=np.nan), mask=np.pad(case.inputs["mask"], wide[:2])
        ),
        cotangents=case.cotangents | {"dy": np.pad(case.cotangents["dy"], wide)},
    )
    found = longer.results(native)
    for name in ("y", "dx", "norms"):
        found[name] = np.ascontiguousarray(found[name][:, before : before + 8])
    assert_same_bits(found, case.results(native))


def test_reversed_steps_are_those_of_a_reversed_container(cell: str) -> None:
    case = masked(cell, "gaps", batch=6, steps=8, units=21)
    turned = case.with_inputs(
        x=np.ascontiguousarray(case.inputs["x"][:, ::-1]), mask=np.ascontiguousarray(case.inputs["mask"][:, ::-1])
    )
    found = case.with_problem(reverse=True).results(native)
    found["dx"] = np.ascontiguousarray(found["dx"][:, ::-1])
    assert_same_bits(found, turned.results(native))


@pytest.mark.parametrize("cut", [0, 1, 6, 10])
def test_two_parts_that_hand_their_state_on_equal_the_whole(cell: str, cut: int) -> None:
    case = masked(cell, "post", batch=7, steps=11, units=18, zero_masked=True)
    whole = case.results(native)
    early, late = part(case, slice(0, cut)), part(case, slice(cut, 11))
    states = early.forward(native)
    late = late.with_inputs(h0=states.hn, c0=states.cn)
    found_late = late.results(native)
    handed = {"dlast": None, "dhn": found_late["dh0"], "dcn": found_late.get("dc0")}
    found_early = replace(early, cotangents=early.cotangents | handed).results(native)

    found = {name: found_late[name] for name in ("last", "hn", "cn") if name in whole}
    found |= {name: found_early[name] for name in ("dh0", "dc0") if name in whole}
    for name in ("y", "dx", "norms"):
        found[name] = np.concatenate([found_early[name], found_late[name]], axis=1)
    for name in sums_of(whole):
        found[name] = found_early[name] + found_late[name]
    assert_close(found, {name: whole[name] for name in found}, REORDERED)


def part(case: Recurrence, steps: slice) -> Recurrence:
    x, mask, dy = (
        np.ascontiguousarray(a[:, steps]) for a in (*map(case.inputs.get, ("x", "mask")), case.cotangents["dy"])
    )
    cut = replace(case, cotangents=case.cotangents | {"dy": dy})
    return cut.with_problem(steps=x.shape[1]).with_inputs(x=x, mask=mask)


@pytest.mark.parametrize("layout", ["time first", "every other step", "some features", "one step of many"])
def test_x_may_lie_apart_in_memory(cell: str, layout: str) -> None:
    steps = 1 if layout == "one step of many" else 6
    case = masked(cell, "gaps", batch=5, steps=steps, features=3, units=18)
    x = case.inputs["x"]
    if layout == "time first":
        apart = np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
    elif layout == "every other step":
        apart = np.repeat(x, 2, axis=1)[:, ::2]
    elif layout == "some features":
        apart = np.concatenate([np.full_like(x, np.nan), x, np.full_like(x, np.nan)], axis=2)[..., 3:6]
    else:
        apart = np.concatenate([np.full_like(x, np.nan), x], axis=1)[:, 1:]
    assert not apart.flags.c_contiguous
    assert_same_bits(case.with_inputs(x=apart).results(native), case.results(native))


def test_masks_are_bool_or_bytes(cell: str) -> None:
    case = masked(cell, "gaps", units=18)
    as_bytes = case.inputs["mask"].astype(np.uint8) * 255
    assert_same_bits(case.with_inputs(mask=as_bytes).results(native), case.results(native))


@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
@pytest.mark.parametrize("isa", native.supported())
def test_saturated_gates_and_huge_outputs(cell: str, isa: str, size: float) -> None:
    """Gates of 0 and 1 exactly, relu's outputs up to 1e31: nothing overflows on the way."""
    case = masked(cell, "gaps", batch=6, steps=5, units=18, isa=isa)
    case = case.with_inputs(kernel=case.inputs["kernel"] * np.float32(size))
    if cell == "rnn_relu":  # so that it does not grow further from step to step
        case = case.with_inputs(recurrent_kernel=case.inputs["recurrent_kernel"] * np.float32(0.01))
    found = case.results(native)
    assert all(np.isfinite(array).all() for array in found.values())
    # 1 - f of a gate near 1 is rounded to 6e-8, and dx is that times a kernel of 1e4. Seen at most: 3.4e-5. Of minLSTM
    # also 1 - n^2 of its candidate, which no other gate makes small: 3e-4.
    assert_close(found, case.astype(np.float64).results(reference), 1e-3 if cell == "minlstm_tanh" else 1e-4)


@pytest.mark.parametrize("isa", native.supported())
def test_gradients_below_what_float32_holds_are_zero_or_right(cell: str, isa: str) -> None:
    case = masked(cell, "no mask", batch=3, steps=6, units=18, isa=isa)
    tiny = {name: None if array is None else array * np.float32(1e-36) for name, array in case.cotangents.items()}
    case = replace(case, cotangents=tiny)
    found, expected = case.backward(native), case.astype(np.float64).backward(reference)
    for name, one in found._asdict().items():
        if one is not None:
            # Denormal numbers, below 1.2e-38, may count as zero, in sums of some twenty terms.
            np.testing.assert_allclose(one, getattr(expected, name), rtol=1e-4, atol=1e-36, err_msg=name)
    assert (found.norms > 0).all()


@pytest.mark.parametrize("isa", native.supported())
def test_norms_of_gradients_that_vanish_or_explode(cell: str, isa: str) -> None:
    """Norms of dL/dh_k whose squares are beyond float32."""
    for size in (1e-25, 1e25):
        case = recurrence(cell, None, batch=3, steps=2, units=18, isa=isa)
        scaled = {name: None if array is None else array * np.float32(size) for name, array in case.cotangents.items()}
        scaled = replace(case, cotangents=scaled)
        expected = scaled.astype(np.float64).backward(reference).norms
        np.testing.assert_allclose(scaled.backward(native).norms, expected, rtol=1e-5)
