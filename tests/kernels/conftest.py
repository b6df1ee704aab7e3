"""The op of a framework is tested where Keras runs on that framework: the other two files are not even read."""

from __future__ import annotations

from throughtime.backend import BACKENDS, choose_backend

collect_ignore = [f"test_{name}.py" for name in BACKENDS if name != choose_backend()]
