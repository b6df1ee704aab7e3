"""The report of a run: one HTML file that needs nothing else, from the evidence that the run has kept.

Each section has a function in `sections.py` that turns its part of the evidence into words, tables and charts, and a
block in `template.html` that sets them. A section whose evidence is absent is None and is left out. The template
decides where things stand; nothing is computed there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..files import path_of, write_aside
from . import numbers, sections

if TYPE_CHECKING:
    from ..diagnosis.truncation import HorizonReport
    from ..training.run import Run

Evidence = Mapping[str, Any]
_HERE = Path(__file__).parent
_TASKS = {"classify": "classification", "regress": "regression", "tag": "tagging", "forecast": "forecasting"}
_SECTIONS = ("scores", "forecasts", "confusion", "regression", "curves", "flow", "cuts", "findings", "data",
             "settings")  # fmt: skip


def render(evidence: Evidence) -> str:
    """The report as one HTML document.

    Args:
        evidence: what a run has kept, as read from JSON. Any section may be absent. Text is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["drawn"] = Markup  # for SVG from charts.py alone
    versions = evidence.get("versions") or {}
    page = environment.get_template("template.html").render(
        title=str(evidence.get("title") or "Untitled run"),
        task=_TASKS.get(evidence.get("task", ""), evidence.get("task", "")),
        created=numbers.moment(evidence["created"]) if evidence.get("created") else "",
        seconds=numbers.duration(evidence["seconds"]) if numbers.finite(evidence.get("seconds")) else "",
        verdict=sections.verdict(evidence),
        headline=sections.headline(evidence),
        notes=[str(note) for note in evidence.get("notes") or []],
        versions=[(str(name), str(version)) for name, version in versions.items()],
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        **{name: getattr(sections, name)(evidence) for name in _SECTIONS},
    )
    return page.strip() + "\n"


def write(evidence: Evidence, path: str | os.PathLike[str]) -> Path:
    """Writes the report to ``path``, whole or not at all, and returns the path.

    Raises:
        RunError: the folder of ``path`` does not exist or cannot be written to, or the disk is full.
    """
    path = path_of(path, "path")
    if not path.parent.is_dir():
        raise RunError(f"The report cannot be written to {str(path)!r}: there is no folder {str(path.parent)!r}.")
    page = render(evidence)
    write_aside(path, lambda file: file.write(page.encode(errors="xmlcharrefreplace")))
    return path


def write_report(
    run: Run,
    path: str | os.PathLike[str],
    *,
    part: str | None = None,
    title: str | None = None,
    command: str | None = None,
    split: str | None = None,
    table: str | None = None,
    cuts: HorizonReport | None = None,
) -> Path:
    """The report of a run as one self-contained HTML file; returns its path.

    Args:
        part: the evaluation to show; by default the one added last ("test", where the run was evaluated on it).
        title: by default the name of the data.
        command: the command line that made the run, if one did.
        split: the arguments of ``split`` that made the parts, for the lines that repeat the run.
        table: the path of the file that was read.
        cuts: what ``horizon_report`` found, for a section on what shorter sequences would lose.

    Raises:
        RunError: the folder of ``path`` does not exist.
    """
    from .evidence import evidence  # with it come Keras and all of training, which a page from JSON does not need

    shown = evidence(run, part=part, title=title, command=command, split=split, table=table)
    if cuts is not None:
        shown["cuts"] = cuts.evidence()
    return write(shown, path)
