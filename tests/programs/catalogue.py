"""All programs: importing this module enters those of the other modules."""

from __future__ import annotations

from programs import (
    faulty_data,  # noqa: F401
    faulty_loss,  # noqa: F401
    faulty_model,  # noqa: F401
    faulty_training,  # noqa: F401
    healthy_data,  # noqa: F401
    healthy_forecast,  # noqa: F401
    healthy_model,  # noqa: F401
    healthy_training,  # noqa: F401
)
from programs.program import ENTERED, Program

PROGRAMS: tuple[Program, ...] = tuple(ENTERED.values())
