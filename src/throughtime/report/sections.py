"""The sections of a report: the evidence of each in, its words, tables and charts out, or None where there is none.

Numbers become text here and nowhere else, so that a picture and the table beside it cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import charts, numbers
from .drawing import words

Evidence = Mapping[str, Any]
_VERDICTS = {
    True: ("yes", "Better than the baseline"),
    False: ("no", "No better than the baseline"),
    None: ("open", "Not shown to be better than the baseline"),
}
_CELLS = {
    "lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN", "simplernn": "SimpleRNN", "mingru": "MinGRU",
    "minlstm": "MinLSTM", "lru": "LRU",
}  # fmt: skip
# Of the gradient at the last step, that the first one gets.
REACHES, NOTHING, GROWS = 1e-3, 1e-6, 10.0
_FOLDED = 12  # rows of a table that are shown unasked


@dataclass(frozen=True)
class Table:
    """Cells as they are printed. The first column names the row; ``text`` columns are set left, the others right."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    text: tuple[int, ...] = (0,)
    strong: tuple[int, ...] = ()
    note: str = ""

    @property
    def folded(self) -> bool:
        """Whether it is long enough to be closed until asked for."""
        return len(self.rows) > _FOLDED


def verdict(evidence: Evidence) -> dict[str, Any] | None:
    """The verdict with its sign. Where the check found an error, the scores may be those of another task than was
    meant, so good ones do not open with a tick.
    """
    given = evidence.get("verdict")
    if not given:
        return None
    sign, label = _VERDICTS[given.get("beats")]
    errors = sum(one["severity"] == "error" for one in (evidence.get("findings") or {}).get("found") or [])
    if errors:
        sign = "warn" if sign == "yes" else sign
        label = f"{label}, with {numbers.counted(errors, 'error')} in data or model"
    notes = [str(note) for note in given.get("notes") or []]
    return {"sign": sign, "label": label, "text": str(given.get("text", "")), "notes": notes}


def headline(evidence: Evidence) -> dict[str, str] | None:
    """The primary score of the best network beside that of the best baseline."""
    given = evidence.get("scores") or {}
    metric = str(given.get("primary"))
    best: dict[bool, tuple[float, str]] = {}
    for row in given.get("rows") or []:
        value, network = row.get("values", {}).get(metric), bool(row.get("network"))
        if not numbers.finite(value):
            continue
        better = network not in best or (value > best[network][0]) == bool(given.get("higher_is_better", True))
        if better:
            best[network] = (value, str(row["name"]))
    if True not in best:
        return None
    shown = numbers.scores(metric, [value for value, _ in best.values()])
    text = dict(zip(best, shown, strict=True))
    return {
        "value": text[True], "name": best[True][1],
        "metric": "scaled MSE" if metric == "mse_scaled" else numbers.metric(metric),
        "unit": str(given.get("unit") or "") if metric in numbers.IN_TARGET_UNITS else "",
        "part": str(given.get("part") or ""),
        "baseline": text.get(False, ""), "baseline_name": best[False][1] if False in best else "",
    }  # fmt: skip


def scores(evidence: Evidence) -> dict[str, Any] | None:
    given = evidence.get("scores")
    if not given or not given.get("rows"):
        return None
    rows = given["rows"]
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.get("values", {})))
    metrics.sort(key=lambda metric: metric != given["primary"])
    columns = [numbers.scores(metric, [row.get("values", {}).get(metric) for row in rows]) for metric in metrics]
    unit, part, positive = str(given.get("unit") or ""), given.get("part") or "held-out", given.get("positive")
    table = Table(
        f"Scores on the {part} part",
        ("", *(_of_class(metric, positive) or _with_unit(metric, unit) for metric in metrics)),
        [[str(row["name"]), *cells] for row, *cells in zip(rows, *columns, strict=True)],
        strong=tuple(index for index, row in enumerate(rows) if row.get("network")),
    )
    skill = _skill(given.get("skill") or [], points=given["primary"] == "accuracy")
    return {
        "part": part, "chart": charts.scores(given), "table": table, "skill": skill,
        "targets": _by_target(given.get("targets") or []),
    }  # fmt: skip


def _skill(rows: Sequence[Evidence], *, points: bool) -> Table:
    """The skill over each baseline and how sure it is: of classes that is said in points of accuracy."""
    gains = [row["gain"] for row in rows if row.get("gain")]
    note = "Skill: 1 is perfect, 0 is no better than the baseline, below 0 is worse."
    cells = [[str(row["against"]), numbers.of_one(row["value"])] for row in rows]
    if len(gains) < len(rows) or not rows:
        return Table("Skill", ("against", "skill"), cells, note=note)
    heads = (
        ("against", "skill", "points of accuracy", "95% interval") if points else ("against", "skill", "95% interval")
    )
    for line, gain in zip(cells, gains, strict=True):
        if points:
            line.append(numbers.interval(gain["value"], gain["value"], percent=True).split(" ")[0])
        line.append(numbers.interval(gain["low"], gain["high"], percent=points))
    units = gains[0]["unit"] if gains[0]["groups"] != 1 else gains[0]["unit"].replace("blocks", "block")
    over = f"{numbers.number(gains[0]['groups'])} {units}"
    note += f" Intervals are paired, over {over}; where one holds 0, chance alone may have made the difference."
    return Table("Gain", heads, cells, note=note)


def _by_target(targets: Sequence[Evidence]) -> Table | None:
    """Each of several targets in its own unit: they are never averaged."""
    if not targets:
        return None
    rows, strong = list[list[str]](), list[int]()
    for one in targets:
        columns = [
            numbers.scores(metric, [row["values"].get(metric) for row in one["rows"]]) for metric in ("rmse", "mae")
        ]
        for row, *cells in zip(one["rows"], *columns, strict=True):
            gain = row.get("gain")
            sure = [numbers.of_one(gain["value"]), numbers.interval(gain["low"], gain["high"])] if gain else ["", ""]
            if row.get("network"):
                strong.append(len(rows))
            rows.append([str(one["target"]), str(row["name"]), *cells, *sure])
    heads = ("target", "answer", "RMSE", "MAE", "skill", "95% interval")
    return Table("Scores by target, each in its own unit", heads, rows, text=(0, 1), strong=tuple(strong))


def _of_class(metric: str, positive: Any) -> str:
    """Which class recall and average precision are of; of more than two, the mean over them."""
    if metric not in ("recall", "average_precision"):
        return ""
    return (
        f"{numbers.metric(metric)} of {words(positive, 20)}"
        if positive is not None
        else f"mean {numbers.metric(metric)}"
    )


def _with_unit(metric: str, unit: str) -> str:
    return (
        f"{numbers.metric(metric)} ({unit})" if unit and metric in numbers.IN_TARGET_UNITS else numbers.metric(metric)
    )


def forecasts(evidence: Evidence) -> dict[str, Any] | None:
    given = evidence.get("forecasts") or {}
    drawn = [
        charts.forecast(example, name=f"forecast-{index}") for index, example in enumerate(given.get("examples") or [])
    ]
    unit = str(given.get("unit") or "")
    errors = given.get("by_step") or []
    errors = [errors] if isinstance(errors, Mapping) else errors  # of one target, in runs of the first versions
    by_step = [
        {"chart": chart, "table": _some_steps(one, unit)}
        for index, one in enumerate(errors)
        if (chart := charts.error_by_horizon(one, name=f"error-by-horizon-{index}"))
    ]
    shown = [chart for chart in drawn if chart]
    if not shown and not by_step:
        return None
    return {"target": str(given.get("target") or ""), "unit": unit, "charts": shown, "by_step": by_step}


def _some_steps(by_step: Evidence, unit: str) -> Table:
    """The error of every line at a handful of steps, first and last among them."""
    metric, steps = by_step.get("metric") or "error", by_step["step"]
    lines = [line for line in by_step["lines"] if len(line["values"]) == len(steps)]
    picked = sorted({round(place) for place in np.linspace(0, len(steps) - 1, 6)})
    columns = [numbers.scores(metric, [line["values"][place] for place in picked]) for line in lines]
    rows = [[numbers.count(steps[place]), *cells] for place, *cells in zip(picked, *columns, strict=True)]
    heads = ("step", *(words(line["name"], 24) for line in lines))
    of = f" of {words(by_step['target'], 40)}" if by_step.get("target") else ""
    return Table(_capital(_with_unit(metric, unit)) + of, heads, rows, text=())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def confusion(evidence: Evidence) -> dict[str, Any] | None:
    given, classes = evidence.get("confusion"), evidence.get("per_class") or []
    names = [name for name in ("precision", "recall", "f1", "average_precision") if any(name in row for row in classes)]
    chart = pairs = None
    if given and given.get("labels"):
        chart = charts.confusion(given)
        pairs = _most_confused(given)
    rows = [
        [str(row["label"]), *(numbers.of_one(row.get(name)) for name in names), numbers.number(row.get("support"))]
        for row in classes
    ]
    heads = ("class", *(numbers.metric(name) for name in names), "support")
    per_class = Table("Scores by class", heads, rows) if rows else None
    if not (chart or pairs or per_class):
        return None
    return {
        "chart": chart,
        "pairs": pairs,
        "per_class": per_class,
        "classes": len((given or {}).get("labels") or classes),
    }


def _most_confused(confusion: Evidence) -> Table | None:
    labels = [str(label) for label in confusion["labels"]]
    found = [
        (count, truth, prediction, count / (sum(row) or 1))
        for truth, row in enumerate(confusion["counts"])
        for prediction, count in enumerate(row)
        if count and truth != prediction
    ]
    found.sort(key=lambda pair: (-pair[0], -pair[3]))
    rows = [
        [labels[truth], labels[guess], numbers.number(count), numbers.share(part)]
        for count, truth, guess, part in found
    ]
    shown = rows[:8] if len(labels) <= charts.MOST_CLASSES else rows[:_FOLDED]
    columns = ("truth", "predicted as", "times", "of that truth")
    return Table("Most confused pairs", columns, shown, text=(0, 1)) if rows else None


def regression(evidence: Evidence) -> dict[str, Any] | None:
    """Predictions over truth and how far off they are, for each target."""
    targets = evidence.get("regression") or []
    targets = [targets] if isinstance(targets, Mapping) else targets  # one, in runs of the first versions
    shown = [
        {"chart": chart, "errors": _how_far_off(given)}
        for index, given in enumerate(targets)
        if (chart := charts.truth_against_prediction(given, name=f"truth-against-prediction-{index}"))
    ]
    unit = str(targets[0].get("unit") or "") if shown else ""
    return {"targets": shown, "unit": unit} if shown else None


def _how_far_off(given: Evidence) -> Table:
    pairs = zip(given["truth"], given["prediction"], strict=True)
    errors = sorted(abs(p - t) for t, p in pairs if numbers.finite(t) and numbers.finite(p))
    measures = {
        "half are within": errors[math.ceil(0.5 * len(errors)) - 1],
        "nine of ten are within": errors[math.ceil(0.9 * len(errors)) - 1],
        "the worst is off by": errors[-1],
    }
    rows = list(zip(measures, numbers.scores("error", list(measures.values())), strict=True))
    unit = str(given.get("unit") or "")
    of = f": {words(given['target'], 40)}" if given.get("target") else ""
    return Table(f"How far off{of}", ("of the predictions", f"error ({unit})" if unit else "error"), rows)


def curves(evidence: Evidence) -> dict[str, Any] | None:
    given = evidence.get("curves")
    drawn = charts.learning_curves(given) if given and given.get("epoch") else []
    if not given or not drawn:
        return None
    epochs = numbers.counted(len(given["epoch"]), "epoch")
    best = given.get("best_epoch")
    kept = f"The weights of epoch {numbers.number(best)} were kept." if numbers.finite(best) else ""
    if best == 0:
        kept = "No epoch was better than the weights it began with, and these were kept."
    return {"charts": drawn, "epochs": epochs, "kept": kept, "table": _some_epochs(given)}


def _some_epochs(curves: Evidence) -> Table:
    epochs, metric = list(curves["epoch"]), curves.get("score_name") or "score"
    given = {"loss": ("loss", "training loss"), "validation_loss": ("loss", "validation loss")}
    given["validation_score"] = (metric, numbers.metric(metric))
    given = {column: named for column, named in given.items() if len(curves.get(column) or []) == len(epochs)}
    places = {0: "first", len(epochs) - 1: "last"}
    if curves.get("best_epoch") in epochs:
        places[epochs.index(curves["best_epoch"])] = "kept"
    columns = [
        numbers.scores(metric, [curves[column][place] for place in sorted(places)])
        for column, (metric, _) in given.items()
    ]
    rows = [
        [f"{numbers.number(epochs[place])}\N{NO-BREAK SPACE}({places[place]})", *cells]
        for place, *cells in zip(sorted(places), *columns, strict=True)
    ]
    kept = tuple(index for index, place in enumerate(sorted(places)) if places[place] == "kept")
    return Table("In numbers", ("epoch", *(named for _, named in given.values())), rows, strong=kept)


def flow(evidence: Evidence) -> dict[str, Any] | None:
    """The gradient at each time step, at the weights that were kept, and what it means."""
    given = evidence.get("flow") or {}
    if given.get("reason"):
        return {"text": f"It could not be measured: {given['reason']}", "charts": [], "table": None}
    kept = given.get("best") or {}
    if not kept:
        return None
    drawn = [
        charts.gradient_reach(given),
        *(charts.gradient_map(*one) for one in [*(given.get("monitor") or {}).items()][:1]),
    ]
    rows = [
        [str(name), moment, numbers.count(layer.get("longest")), _of_last(begin_to_end(layer)),
         numbers.number(layer.get("rate")), _steps_that_hold(layer)]
        for name in kept
        for moment, layer in (("start", (given.get("start") or {}).get(name)), ("kept", kept[name]))
        if layer
    ]  # fmt: skip
    columns = ("layer", "weights", "steps", "begin of end", "per step", "90% in the last")
    strong = tuple(place for place, row in enumerate(rows) if row[1] == "kept")
    table = Table("In numbers", columns, rows, text=(0, 1), strong=strong)
    return {
        "text": reach(next(iter(kept.values())), every_step=bool(given.get("every_step"))),
        "charts": [chart for chart in drawn if chart],
        "table": table,
    }


def begin_to_end(layer: Evidence) -> float | None:
    """Of the curve that is drawn, where a typical sequence begins as a share of where it ends; None if it has no end.

    Read off the curve, so that words and picture are of the same means. A typical sequence is as long as the median.
    """
    lags, norms = layer.get("lags") or [], layer.get("norms") or []
    if len(norms) < 2 or len(lags) != len(norms) or not all(numbers.finite(norm) for norm in norms) or not norms[0]:
        return None
    begins = min(max(_typical(layer) - 1, 0), lags[-1])
    return float(np.interp(begins, lags, norms)) / norms[0]


def _typical(layer: Evidence) -> int:
    return int(layer.get("typical") or layer.get("longest") or 0)


def reach(layer: Evidence, *, every_step: bool = False) -> str:
    """What the flow through the layer next to the input means, in a sentence."""
    longest, norms = layer.get("longest") or 0, layer.get("norms") or []
    if longest < 2:
        return "The sequences have one step, so there is no way back in time."
    if not any(norms):
        return "No gradient arrives at this layer: the loss does not depend on it, or what follows it is all zero."
    if not all(numbers.finite(norm) for norm in norms):
        return (
            "The gradient is not finite at some step: it explodes on its way back, and training cannot go on from it."
        )
    held = f"90% of the gradient lies in the last {_steps_that_hold(layer)} of {numbers.counted(longest, 'step')}"
    ratio = begin_to_end(layer)
    if ratio is None:
        return f"{held}; the last step itself gets none."
    back = numbers.counted(_typical(layer) - 1, "step")
    begins = (
        f"{held}; {back} before the end, where a typical sequence begins, the mean is {_of_last(ratio)} "
        f"{'the' if ratio > 1 else 'of the'} mean at the last step"
    )
    if every_step:
        return f"{begins}. Each step has a loss of its own, so this says where the gradient lies, not how far it comes."
    if ratio < NOTHING:
        means = "the gradient dies on its way, and the beginning of a sequence teaches the network nothing"
    elif ratio < REACHES:
        means = "the gradient fades on its way, and the beginning of a sequence teaches the network little"
    elif ratio > GROWS:
        means = "the gradient grows on its way, so long sequences throw the weights about"
    else:
        means = "the network can learn from the whole sequence"
    return f"{begins}: {means}."


def _steps_that_hold(layer: Evidence) -> str:
    if not any(norm for norm in layer.get("norms") or []):
        return numbers.MISSING
    return numbers.count((layer.get("horizon") or 0) + 1)


def _of_last(ratio: Any) -> str:
    """A percentage, a factor, or a power of ten where a percentage would be all zeros."""
    if not numbers.finite(ratio):
        return numbers.number(ratio)
    if ratio > 1:
        return f"{numbers.number(float(ratio))} times"
    return numbers.share(ratio) if ratio >= REACHES or ratio == 0 else numbers.number(float(ratio), 2)


def cuts(evidence: Evidence) -> dict[str, Any] | None:
    """What is lost where sequences are cut, and what that saves."""
    given = evidence.get("cuts") or {}
    if not given.get("rows"):
        return None
    chart = charts.score_by_window(given)
    rows = [[str(cell) for cell in row] for row in given["rows"]]
    note = " ".join(f"Left out: {one}." for one in given.get("left_out") or [])
    table = Table("In numbers", tuple(map(str, given["columns"])), rows, strong=(0,), note=note)
    return {"text": _capital(str(given.get("verdict", ""))), "chart": chart, "table": table}


def findings(evidence: Evidence) -> dict[str, Any] | None:
    """What was found before the training, what follows from it, and what was looked at."""
    given = evidence.get("findings") or {}
    looked, left = ([str(one) for one in given.get(name) or []] for name in ("looked_at", "left_out"))
    found = given.get("found") or []
    if not (found or looked or left):
        return None
    counts = [(sum(one["severity"] == name for one in found), name) for name in ("error", "warning", "note")]
    counted = ", ".join(numbers.counted(count, name) for count, name in counts if count)
    said = f"Looked at before the training: {'; '.join(looked)}." if looked else ""
    return {
        "text": " ".join([said, *(f"Not looked at: {one}." for one in left)]).strip(),
        "counted": counted if any(count for count, name in counts if name != "note") else "",
        "nothing": not found and bool(looked),
        "found": [
            {name: str(one[name]) for name in ("severity", "code", "layer", "evidence", "remedy")}
            | {"folded": [{name: str(sub[name]) for name in ("code", "layer", "evidence")} for sub in one["folded"]]}
            for one in found
        ],
    }


def data(evidence: Evidence) -> dict[str, Any] | None:
    given = evidence.get("data") or {}
    if not given and not evidence.get("notes"):
        return None
    parts, features, target = given.get("parts") or [], given.get("features") or [], given.get("target")
    part_rows = [
        [str(part["name"]), numbers.number(part.get("sequences")), numbers.number(part.get("steps")), _range(part),
         numbers.count(part.get("median"))]
        for part in parts
    ]  # fmt: skip
    described = [
        *features,
        *([] if not target else [{**target, "name": ", ".join(map(str, target["names"])), "target": True}]),
    ]
    columns = [
        [_described(feature, column) for feature in described] for column in ("missing", "mean", "std", "levels")
    ]
    feature_rows = [
        [str(feature["name"]), "target" if feature.get("target") else "input", str(feature.get("kind", "")), *cells]
        for feature, *cells in zip(described, *columns, strict=True)
    ]
    gaps = sum(1 for feature in described if (feature.get("missing") or 0) > 0)
    same = {part.get(size) for part in parts for size in ("shortest", "longest")}
    return {
        "source": str(given.get("source") or ""),
        "lengths": charts.length_histogram(parts),
        "one_length": numbers.counted(same.pop(), "step") if parts and len(same) == 1 else "",
        "parts": Table("Parts", ("part", "sequences", "steps", "lengths", "median"), part_rows) if part_rows else None,
        "features": Table(
            "Columns", ("column", "role", "kind", "missing", "mean", "std", "levels"), feature_rows, text=(0, 1, 2)
        ) if feature_rows else None,
        "missing": f"{numbers.counted(gaps, 'column has', 'columns have')} missing values." if gaps else "",
        "padding": _padding(given.get("padding")),
    }  # fmt: skip


def _range(part: Evidence) -> str:
    ends = [numbers.number(part.get(end)) for end in ("shortest", "longest")]
    return ends[0] if ends[0] == ends[1] else "\N{EN DASH}".join(ends)


def _described(feature: Evidence, column: str) -> str:
    value = feature.get(column)
    if column == "levels" and isinstance(value, (list, tuple)):
        value = len(value) or None
    if value is None:
        return ""
    return numbers.share(value) if column == "missing" else numbers.number(value)


def _padding(given: Evidence | None) -> dict[str, Any] | None:
    if not given or not given.get("unbucketed"):  # sequences of one length have nothing to save
        return None
    bars = [
        {
            "name": name,
            "width": f"{100 * min(max(given[key], 0), 1):.1f}%",
            "text": numbers.share(given[key]),
            "key": key,
        }
        for key, name in (("bucketed", "in buckets"), ("unbucketed", "without buckets"))
        if numbers.finite(given.get(key))
    ]
    rows = [
        [numbers.number(bucket.get(column)) for column in ("length", "batch", "sequences")]
        for bucket in given.get("buckets") or []
    ]
    columns = ("up to steps", "batch", "sequences")
    return (
        {"bars": bars, "buckets": Table("Buckets", columns, rows, text=()) if rows else None} if bars or rows else None
    )


def settings(evidence: Evidence) -> dict[str, Any] | None:
    settings, network = evidence.get("settings") or {}, evidence.get("network") or {}
    layers = [
        [str(layer["name"]), *(str(layer.get(column, "")) for column in ("class", "output")),
         numbers.number(layer.get("parameters"))]
        for layer in network.get("layers") or []
    ]  # fmt: skip
    found = {
        "command": str(evidence.get("command") or ""),
        "python": str(evidence.get("python") or "").strip("\n"),
        "values": [(str(name), "none" if value is None else str(value)) for name, value in settings.items()],
        "layers": Table("Layers", ("layer", "class", "output", "parameters"), layers, text=(0, 1, 2))
        if layers
        else None,
    }
    if not any(found.values()) and not network:
        return None
    cell = str(network.get("cell") or "")
    cell = _CELLS.get(cell.casefold().replace("_", ""), cell)
    weights = numbers.counted(network["parameters"], "parameter") if network.get("parameters") is not None else ""
    said = [" with ".join(filter(None, (cell, weights))), *map(str, network.get("limits") or ())]
    return {**found, "network": ". ".join(filter(None, said))}
