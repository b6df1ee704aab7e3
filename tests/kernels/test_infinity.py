"""An infinite value at a valid step spoils what it reaches and nothing else, whatever the number of units: panels of
the kernel are filled up with units whose weights are zero, and infinity times zero is no number.
"""

from __future__ import annotations

import numpy as np
import pytest
from recurrences import masked

from throughtime.kernels import native, reference
from throughtime.kernels.problem import CELLS

# Where a weight is 0.5 and not random a row of infinities does not cancel out.
UNITS = (1, 15, 16, 21, 33)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_finite_in_the_reference_is_finite_in_the_kernel(cell: str, isa: str, units: int) -> None:
    for value in (np.inf, -np.inf):
        for mask in ("no mask", "post", "gaps"):
            case = masked(cell, mask, batch=6, steps=7, features=3, units=units, isa=isa)
            valid = np.ones(case.problem.shapes["mask"], bool) if case.inputs["mask"] is None else case.inputs["mask"]
            row = int(np.argmax(valid.sum(1)))
            step = int(np.flatnonzero(valid[row])[valid[row].sum() // 2])
            x = case.inputs["x"].copy()
            x[row, step, 1] = value
            spoilt = case.with_inputs(x=x)
            with np.errstate(invalid="ignore", over="ignore"):
                expected = spoilt.astype(np.float64).results(reference)
            found = spoilt.results(native)
            for name, one in expected.items():
                finite = np.isfinite(one)
                wrong = finite & ~np.isfinite(found[name])
                assert not wrong.any(), f"{name} of {mask}: {wrong.sum()} of {finite.sum()} finite values are not"
                largest = max(1.0, np.abs(one[finite]).max(initial=0.0))
                apart = np.abs(np.where(finite, found[name] - np.where(finite, one, 0.0), 0.0)).max(initial=0.0)
                assert apart <= 2e-5 * largest, f"{name} of {mask}"
