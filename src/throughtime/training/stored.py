"""``run.json``, checked whole where it is read, and that the files of a run are of one run."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import keras
from pydantic import Field

from ..data.transforms import Preparation, input_names
from ..diagnosis.findings import Finding
from ..errors import RunError
from ..schemas import Count, Value, record, record_of, same_length
from .baselines import Baselines
from .evaluation import Evaluation, TargetScores
from .intervals import Gain
from .networks import FEEDS
from .settings import Settings
from .stored_baselines import odd_baselines


def stored_run() -> Any:
    """The type of ``run.json``; the preparation is checked where it is made."""
    scores = dict[str, dict[str, Value]]
    gain: Any = record_of(Gain, value=Value, low=Value, high=Value, groups=Count)
    gains = dict[str, gain]
    one_target: Any = record_of(TargetScores, scores=scores, gains=gains)
    evaluation: Any = record_of(
        Evaluation, _judged, scores=scores, skill=dict[str, Value], detail=_detail(), count=Count, gains=gains,
        targets=dict[str, one_target],
    )  # fmt: skip
    kinds = {
        "format": int,
        "settings": record_of(Settings, lambda values: Settings(**values)),
        "preparation": dict[str, Any],
        "history": list[dict[str, Value]],
        "best_epoch": Count,
        "evaluations": dict[str, evaluation],
        "about": _about(),
        "feeds": str | list[str],
        "pad_value": float,
        # Neither is in runs of the first versions.
        "flow": NotRequired[_flow()],
        "findings": NotRequired[list[Finding]],
    }
    return record("Run", kinds, _of_one_run)


def refuse_other_parts(
    model: keras.Model, preparation: Preparation, feeds: Any, baselines: Baselines, *, own: bool
) -> None:
    """Raises RunError where the parts of a run do not fit each other: they are not of one run, or were changed.

    Args:
        own: the model is one of the user's own, of whose embeddings nothing is known.
    """
    for said in (
        odd_baselines(preparation, baselines),
        _odd_inputs(model, preparation, feeds),
        _odd_outputs(model, preparation),
        "" if own else _odd_embeddings(model, preparation),
    ):
        if said:
            raise RunError(f"its files do not belong together: {said}")


def _of_one_run(made: dict[str, Any]) -> None:
    history, about = made["history"], made["about"]
    if made["best_epoch"] > len(history):
        raise ValueError(f"best_epoch is {made['best_epoch']}, and history has {len(history)} epochs")
    for name in ("loss", about["monitor"]) if about else ():
        if not history or any(name not in epoch for epoch in history):
            raise ValueError(f"history has an epoch without {name!r}")
    if about and not made["evaluations"]:
        raise ValueError("evaluations are empty")
    if "val_accuracy" in (history or [{}])[0] and any("val_accuracy" not in epoch for epoch in history):
        raise ValueError("history has an epoch without 'val_accuracy'")
    fed = [made["feeds"]] if isinstance(made["feeds"], str) else made["feeds"]
    if not fed or not set(fed) <= set(FEEDS):
        raise ValueError(f"feeds are {fed}, of which not all are among {list(FEEDS)}")


def _judged(evaluation: dict[str, Any]) -> None:
    scores, primary = evaluation["scores"], evaluation["primary"]
    lacking = [name for name in (*list(scores)[:1], *evaluation["skill"]) if primary not in scores.get(name, ())]
    if not scores or not evaluation["skill"] or lacking:
        raise ValueError(f"scores lack {primary!r} of {lacking or 'everything'}")


def _detail() -> Any:
    """What the report draws of the scores."""
    numbers: Any = list[Value]
    steps = {
        "series": str, "history_time": list[Any], "history": numbers, "time": list[Any], "truth": numbers,
        "forecast": numbers, "baseline": numbers, "baseline_name": str,
    }  # fmt: skip
    shown: Any = record("Shown", steps, _drawn, open=True)
    line: Any = record("Line", {"name": str, "network": bool, "values": numbers}, open=True)
    by_step: Any = record("ByStep", {"step": list[int], "metric": str, "lines": list[line]}, open=True)
    forecasts = {"target": str, "unit": str, "examples": list[shown], "by_step": list[by_step] | by_step}
    scores = {"label": str, "precision": Value, "recall": Value, "f1": Value, "support": int}
    label: Any = record("ClassScores", scores, open=True)
    pairs = {"truth": numbers, "prediction": numbers, "target": str}
    counts = {"labels": list[str], "counts": list[list[Count]]}
    regression: Any = record("Regression", pairs, same_length("truth", "prediction"), open=True)
    forecast: Any = record("Forecasts", forecasts, open=True)
    kinds = {
        "confusion": NotRequired[record("Confusion", counts, _square, open=True)],
        "per_class": NotRequired[list[label]],
        # One a target; in runs of the first versions, of the first target alone.
        "regression": NotRequired[list[regression] | regression],
        "forecasts": NotRequired[forecast],
    }
    return record("Detail", kinds, open=True)


def _drawn(shown: dict[str, Any]) -> None:
    for first, second in (("history_time", "history"), ("time", "truth"), ("time", "forecast"), ("time", "baseline")):
        same_length(first, second)(shown)


def _square(confusion: dict[str, Any]) -> None:
    size = len(confusion["labels"])
    if [len(row) for row in confusion["counts"]] != [size] * size:
        raise ValueError(f"counts are not {size} rows of {size}")


def _about() -> Any:
    """What the report says of data and network. Empty where a run was not made by ``train``."""
    feature: Any = record("Feature", {"name": str, "kind": str, "missing": float}, open=True)
    target = {"names": list[str], "kind": str, "levels": list[str], "missing": float}
    part: Any = record(
        "Part",
        {
            "name": str, "sequences": Count, "steps": Count, "shortest": Count, "median": float, "longest": Count,
            "histogram": record("Histogram", {"edges": list[float], "counts": list[Count]}, _bars),
            "features": list[feature], "target": NotRequired[record("Target", target, open=True)],
        },
        open=True,
    )  # fmt: skip
    bucket: Any = record("Bucket", {"length": Count, "batch": Count, "sequences": Count}, open=True)
    padding = {"bucketed": float, "unbucketed": float, "buckets": list[bucket]}
    layer: Any = record("Layer", {"name": str, "parameters": Count, "output": str}, open=True)
    network = {"parameters": Count, "layers": list[layer], "limits": NotRequired[list[str]]}
    kinds = {
        "source": str,
        "created": str,
        "notes": list[str],
        "monitor": str,
        "parts": Annotated[list[part], Field(min_length=1)],
        "padding": record("Padding", padding, open=True),
        "network": record("Network", network, open=True),
        "check": NotRequired[record("Check", {"looked_at": list[str], "left_out": list[str]}, open=True)],
        "versions": dict[str, str],
        "threads": NotRequired[dict[str, int]],
        "seconds": float,
    }
    return record("About", kinds, open=True) | record("Nothing", {})


def _bars(histogram: dict[str, Any]) -> None:
    if len(histogram["edges"]) != len(histogram["counts"]) + 1:
        raise ValueError(f"{len(histogram['counts'])} bars have {len(histogram['edges'])} edges")


def _flow() -> Any:
    layer: Any = record(
        "Layer",
        {
            "cell": str, "units": Count, "longest": Count, "lags": list[Count], "norms": list[Value],
            "first_to_last": Value, "rate": Value, "horizon": Count, "typical": NotRequired[Count],
        },
        same_length("lags", "norms"),
        open=True,
    )  # fmt: skip
    numbers = list[Count]
    heat: Any = record(
        "Map", {"steps": numbers, "lags": numbers, "horizon": numbers, "norms": list[list[Value]]}, _heat, open=True
    )
    kinds = {
        "reason": NotRequired[str],
        "sequences": NotRequired[Count],
        "every_step": NotRequired[bool],
        "start": NotRequired[dict[str, layer]],
        "best": NotRequired[dict[str, layer]],
        "monitor": NotRequired[dict[str, heat]],
    }
    return record("Flow", kinds, open=True)


def _heat(heat: dict[str, Any]) -> None:
    shape = (len(heat["steps"]), len(heat["lags"]))
    if len(heat["norms"]) != shape[0] or any(len(row) != shape[1] for row in heat["norms"]):
        raise ValueError(f"norms are not {shape[0]} rows of {shape[1]}")
    same_length("steps", "horizon")(heat)


# Parts that fit each other ------------------------------------------------------------------------------------------


def _odd_inputs(model: keras.Model, preparation: Preparation, feeds: Any) -> str:
    """What a model of the user's own does not say of its inputs is not asked."""
    schema, forecast = preparation.schema, preparation.forecast
    numbers = len(input_names(schema)) + len(preparation.indicators)
    widths = {"numbers": numbers, "codes": len(schema.categories)}
    steps: dict[str, int | None] = {}
    if forecast is not None:
        known = preparation._known()
        widths |= {"future_numbers": len(known[0]), "future_codes": len(known[1])}
        steps = {"numbers": forecast.window, "codes": forecast.window}
        steps |= {"future_numbers": forecast.horizon, "future_codes": forecast.horizon}
    inputs = list(getattr(model, "inputs", None) or ())
    fed = (feeds,) if isinstance(feeds, str) else feeds
    if inputs and len(inputs) != len(fed):
        return f"model.keras takes {len(inputs)} inputs, run.json names {len(fed)}."
    for place, tensor in enumerate(inputs):
        name = tensor.name if len(inputs) > 1 else fed[place]
        shape = tuple(tensor.shape)
        if name not in widths or len(shape) != 3:
            continue
        for taken, given, what in ((shape[2], widths[name], "columns"), (shape[1], steps.get(name), "steps")):
            if None not in (taken, given) and taken != given:
                return f"model.keras takes {taken} {what} of {name}, and by run.json there are {given}."
    return ""


def _odd_outputs(model: keras.Model, preparation: Preparation) -> str:
    outputs = list(getattr(model, "outputs", None) or ())
    if len(outputs) != 1:
        return ""
    shape = tuple(outputs[0].shape)
    classes, forecast = len(preparation.classes), preparation.forecast
    accepted = [classes, 1] if classes == 2 else [classes or len(preparation.schema.target)]
    if shape[-1] is not None and shape[-1] not in accepted:
        return f"model.keras answers with {shape[-1]} numbers, and run.json has {accepted[0]} classes or targets."
    if forecast is not None and len(shape) == 3 and shape[1] not in (None, forecast.horizon):
        return f"model.keras forecasts {shape[1]} steps, and run.json says {forecast.horizon}."
    return ""


def _odd_embeddings(model: keras.Model, preparation: Preparation) -> str:
    """One row a label of the vocabulary, and one for all others; again for those whose future is known."""
    ahead = () if preparation.forecast is None else preparation._known()[1]
    columns = [*range(len(preparation.vocabulary)), *ahead]
    expected = sorted(len(preparation.vocabulary[column]) + 1 for column in columns)
    rows = sorted(layer.input_dim for layer in model.layers if isinstance(layer, keras.layers.Embedding))
    return "" if rows == expected else f"model.keras has embeddings of {rows} rows, run.json needs {expected}."
