"""The line that says where a benchmark ran."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's name and its cores."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []  # fmt: skip
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def machine_line() -> str:
    """Processor, cores, and the versions that the figures depend on."""
    from throughtime.training.describe import versions

    shown = ", ".join(f"{name} {value}" for name, value in versions().items())
    return f"{processor()}; {shown}"
