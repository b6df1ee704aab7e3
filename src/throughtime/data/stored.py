"""A ``Preparation`` as JSON: which columns there are, and that all that is kept of them is of one length."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..schemas import Count, Positive, record, record_of, same_length
from .calendars import Calendar, Stamps
from .sequences import Forecast, Schema


def preparation() -> Any:
    """The type of ``Preparation.to_json``."""
    scaler = record("Scaler", {"center": list[float], "scale": list[Positive]}, same_length("center", "scale"))
    at_least_one = Annotated[int, Field(ge=1)]
    stamps = record_of(Stamps, calendar=record_of(Calendar) | None)
    kinds = {
        "schema": record_of(Schema, stamps=stamps | None),
        "forecast": record_of(Forecast, horizon=at_least_one, window=at_least_one) | None,
        "inputs": scaler,
        "indicators": list[Count],
        "vocabulary": list[list[str]],
        "outputs": scaler | None,
        "classes": list[str | bool | int | float],
        "missing": Literal["fill", "refuse"],
        "per": Literal["sequence", "step"],
        "season": at_least_one,
    }
    return record("Preparation", kinds, _fits)


def _fits(made: dict[str, Any]) -> None:
    schema, forecast, outputs, classes = made["schema"], made["forecast"], made["outputs"], made["classes"]
    target, numbers, categories = (schema.get(name, ()) for name in ("target", "numbers", "categories"))
    task, per = schema["task"], made["per"]
    inputs = (*target, *numbers) if task == "forecast" else numbers
    if not target:
        raise ValueError("schema.target names no column")
    if (task == "forecast") != (forecast is not None):
        raise ValueError(f"the task is {task}, and forecast is {'there' if forecast else 'null'}")
    if (task in ("classify", "tag")) != bool(classes):
        raise ValueError(f"the task is {task}, and there are {len(classes)} classes")
    if (task == "classify" and per != "sequence") or (task in ("tag", "forecast") and per != "step"):
        raise ValueError(f"the task is {task}, and per is {per}")
    _length("inputs.center", made["inputs"]["center"], len(inputs), "numeric input columns")
    _length("vocabulary", made["vocabulary"], len(categories), "category columns")
    indicators = made["indicators"]
    if any(column >= len(inputs) for column in indicators) or indicators != sorted(set(indicators)):
        raise ValueError(f"indicators are {indicators}, and there are {len(inputs)} numeric input columns")
    for labels in (*made["vocabulary"], classes):
        if len({(type(label), label) for label in labels}) < len(labels):
            raise ValueError("a label is there twice")
    if len({str if isinstance(one, str) else bool if isinstance(one, bool) else float for one in classes}) > 1:
        raise ValueError("classes are of several types")
    if classes:
        _length("classes", classes[:2], 2, "classes at least")
        _length("schema.target", target, 1, "column of classes")
        if outputs is not None:
            raise ValueError("there are classes, and outputs is not null")
    elif outputs is None:
        raise ValueError("there are no classes, and outputs is null")
    else:
        _length("outputs.center", outputs["center"], len(target), "target columns")
    if forecast is not None and not set(forecast.get("known", ())) <= set(numbers) | set(categories):
        raise ValueError(f"forecast.known is {list(forecast['known'])}, which are not all input columns")


def _length(name: str, values: Any, expected: int, what: str) -> None:
    if len(values) != expected:
        raise ValueError(f"{name} has {len(values)} values for {expected} {what}")
