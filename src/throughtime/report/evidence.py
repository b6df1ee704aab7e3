"""A run's evidence as one JSON-friendly dict: what the report shows, and what another program may read."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from ..errors import ArgumentError, one_of
from ..files import finite
from ..training.intervals import Gain
from ..training.run import Run


def evidence(
    run: Run,
    *,
    part: str | None = None,
    title: str | None = None,
    command: str | None = None,
    split: str | None = None,
    table: str | None = None,
) -> dict[str, Any]:
    """Everything about a run, judged on one part.

    Args:
        part: which evaluation to show: by default the one added last ("test", where the run was evaluated on it).
        title: of the report; by default the name of the data.
        command: the command line that made the run, where it was made by one.
        split: the arguments of ``split`` that made the parts, where the source is a file.
        table: the path of that file.

    Raises:
        ArgumentError: a part that the run was not evaluated on, or a run that says nothing of its training.
    """
    if not run.about.get("parts"):
        raise ArgumentError("this run says nothing of what it was trained on, so there is no report to write of it.")
    if part is not None:
        one_of("part", part, run.evaluations)
    evaluation = run.evaluations[part or list(run.evaluations)[-1]]
    about, train = run.about, run.about["parts"][0]
    schema = run.preparation.schema
    parts = [{key: p[key] for key in ("name", "sequences", "steps", "shortest", "median", "longest", "histogram")}
             for p in about["parts"]]  # fmt: skip
    shown: dict[str, Any] = {
        "title": title or about["source"],
        "task": schema.task,
        "created": about["created"],
        # None where it is not known: better on this part, and not by more than chance may give.
        "verdict": {
            "text": evaluation.verdict(),
            "beats": evaluation.beats or (False if evaluation.lost_to else None),
            "notes": list(evaluation.notes),
        },
        "notes": about["notes"],
        "data": {
            "source": about["source"],
            "parts": parts,
            "features": train["features"],
            "target": train.get("target"),
            "padding": about["padding"],
        },
        "network": {"cell": run.settings["cell"], **about["network"]},
        "curves": {
            "epoch": list(range(1, len(run.history) + 1)),
            "loss": [epoch["loss"] for epoch in run.history],
            "validation_loss": [epoch[about["monitor"]] for epoch in run.history],
            "best_epoch": run.best_epoch,
        },
        "scores": {
            "part": evaluation.part,
            "primary": evaluation.primary,
            "higher_is_better": evaluation.higher_is_better,
            "unit": "",
            "rows": [
                {"name": name, "network": name == evaluation.network, "values": values}
                for name, values in evaluation.scores.items()
            ],
            "positive": evaluation.positive,
            "skill": [
                {"against": name, "value": value} | _gain(evaluation.gains.get(name))
                for name, value in evaluation.skill.items()
            ],
            "targets": [
                {
                    "target": target,
                    "rows": [
                        {"name": name, "network": name == evaluation.network, "values": values}
                        | _gain(one.gains.get(name))
                        for name, values in one.scores.items()
                    ],
                }
                for target, one in evaluation.targets.items()
            ],
        },
        **evaluation.detail,
        "flow": run.flow,
        "findings": {"found": [asdict(one) for one in run.findings], **about.get("check", {})},
        "settings": run.settings,
        "python": python_code(run, split, table),
        "versions": about["versions"],
        "seconds": about["seconds"],
    }
    if "val_accuracy" in run.history[0]:
        shown["curves"]["validation_score"] = [epoch["val_accuracy"] for epoch in run.history]
        shown["curves"]["score_name"] = "accuracy"
    if command is not None:
        shown["command"] = command
    return finite(shown)


def _gain(gain: Gain | None) -> dict[str, Any]:
    return {} if gain is None else {"gain": asdict(gain)}


def python_code(run: Run, split: str | None, table: str | None = None) -> str:
    """The lines that repeat a run; what was not read from a file stands as a comment."""
    schema, forecast = run.preparation.schema, run.preparation.forecast
    roles: dict[str, Any] = {"target": schema.target if len(schema.target) != 1 else schema.target[0]}
    roles |= {"sequence": schema.sequence, "time": schema.time, "task": schema.task}
    roles["features"] = [*schema.numbers, *schema.categories]
    if forecast is not None:
        roles |= {"horizon": forecast.horizon, "window": forecast.window, "known": forecast.known or None}
    untested = split is not None and re.search(r"\btest=0(\.0*)?(,|$)", split) is not None
    lines = ["import throughtime as tt", ""]
    if split is None:
        lines.append(f"# train, validation, test: your parts of {run.about['source']}")
    else:
        columns = (f"{name}={value!r}" for name, value in roles.items() if value)
        lines.append(f"data = tt.read_table({', '.join([repr(table or run.about['source']), *columns])})")
        lines.append(f"{'train, validation' if untested else 'train, validation, test'} = data.split({split})")
    settings = [f"{name}={value!r}" for name, value in run.settings.items() if value is not None]
    if run.settings["cell"] == "model":
        settings = ["model=model" if entry.startswith("cell=") else entry for entry in settings]
    lines += ["run = tt.train(", "    train,", "    validation,", *(f"    {entry}," for entry in settings), ")"]
    judged = 'run.evaluations["validation"]' if untested else "run.evaluate(test)"
    return "\n".join([*lines, f"print({judged}.verdict())", ""])
