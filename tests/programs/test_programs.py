"""Every program of the catalogue through ``check``: the cause of each faulty one, and silence on each healthy one.

In the suite all on PyTorch and every 24th on the others (tests/conftest.py), so that it stays short.
`pytest tests/programs` runs all on the backend that is chosen, and benchmarks/programs.py on each.
"""

from __future__ import annotations

import keras
import pytest

import throughtime as tt
from programs.catalogue import PROGRAMS
from programs.program import Program
from throughtime.diagnosis.findings import CODES

BACKEND = keras.backend.backend()


@pytest.mark.backend
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.name)
def test_the_cause_is_named_and_the_healthy_are_left_alone(program: Program) -> None:
    case = program.make()
    diagnosis = tt.check(
        case.model, case.x, case.y, validation_data=case.validation_data, fit=case.fit, series=case.series,
        task=case.task, seconds=600,
    )  # fmt: skip
    serious = [finding.code for finding in diagnosis.errors + diagnosis.warnings]
    expected = program.code if BACKEND in program.backends else None
    if expected is None:
        assert serious == [], str(diagnosis)
    else:
        assert expected in [finding.code for finding in diagnosis], str(diagnosis)


def test_every_code_has_a_program() -> None:
    assert set(CODES) - {program.code for program in PROGRAMS} == set()
    assert sum(program.code is not None for program in PROGRAMS) >= 45
    assert sum(program.code is None for program in PROGRAMS) >= 45
