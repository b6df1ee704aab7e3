"""The pictures of a report, a function each: its section of the evidence in, a `Chart` out, or None if nothing is left.

Every function accepts None and non-finite numbers where data are expected, and leaves a gap there. The module is long
because it has a function for each picture and little else; apart, they would share their small parts across modules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from . import numbers
from .drawing import BASELINES, COLOUR, WIDTH, Chart, Stroke, canvas, words

# Of layers of one network: told apart by dash as well as by hue, as baselines are.
_LAYER_LINES = (("network", ()), *BASELINES)
MOST_CLASSES = 25  # of a confusion matrix that can be read on a phone; beyond, the page lists the most confused pairs
MOST_POINTS = 1000  # of a scatter: each is an element of the page
Evidence = Mapping[str, Any]


def _floats(values: Sequence[Any] | None) -> np.ndarray:
    return np.array([float(value) if numbers.finite(value) else math.nan for value in values or []], dtype=float)


def scores(scores: Evidence) -> Chart | None:
    """The primary metric of the network and of every baseline as bars from zero, best first."""
    metric, higher = scores["primary"], scores.get("higher_is_better", True)
    rows = [(str(row["name"]), bool(row.get("network")), row.get("values", {}).get(metric)) for row in scores["rows"]]
    known = [value for _, _, value in rows if numbers.finite(value)]
    if not known:
        return None
    unknown = math.inf
    rows.sort(key=lambda row: (-row[2] if higher else row[2]) if numbers.finite(row[2]) else unknown)
    texts = numbers.scores(metric, [value for _, _, value in rows])
    whole = metric in numbers.PERCENT and max(known) <= 1
    low, high = min(0.0, *known, 0.0), 1.0 if whole else max(0.0, *known, 0.0)
    per_unit = (WIDTH - 2) / ((high - low) or 1.0)
    with canvas("scores", height=46 * len(rows) + 4, blank=True) as drawn:
        for index, ((name, network, value), text) in enumerate(zip(rows, texts, strict=True)):
            top, weight = 46 * index, "bold" if network else "normal"
            drawn.axes.text(0, top + 16, words(name, 40), weight=weight, size=13)
            drawn.axes.text(WIDTH, top + 16, text, ha="right", weight=weight, size=13)
            bar = {"y": top + 28, "height": 9, "linewidth": 0}
            drawn.axes.barh(width=WIDTH - 2, left=1, color=COLOUR["band"], **bar)
            if numbers.finite(value):
                role = "network" if network else "muted"
                start = 1 + (min(0.0, value) - low) * per_unit
                drawn.axes.barh(width=abs(value) * per_unit, left=start, color=COLOUR[role], **bar)
    said = ", ".join(f"{row[0]} {text}" for row, text in zip(rows, texts, strict=True))
    name = numbers.metric(metric)
    note = "" if whole else f"{'Longer' if higher else 'Shorter'} is better. Bars begin at zero."
    return Chart(name[:1].upper() + name[1:], drawn.svg, f"Bars of {name}: {said}.", note=note)


def learning_curves(curves: Evidence) -> list[Chart]:
    """The loss, and where it was recorded the validation score, by epoch, with the epoch that was kept."""
    epoch = _floats(curves.get("epoch"))
    name = numbers.metric(curves.get("score_name") or "score")
    wanted = [
        ("learning-loss", "Loss", {"training": "loss", "validation": "validation_loss"}),
        ("learning-score", f"{name[:1].upper()}{name[1:]} on validation", {"validation": "validation_score"}),
    ]
    charts = []
    for figure, title, columns in wanted:
        lines = {label: _floats(curves.get(column)) for label, column in columns.items()}
        lines = {label: line for label, line in lines.items() if line.size and line.size == epoch.size}
        if any(np.isfinite(line).any() for line in lines.values()):
            charts.append(_by_epoch(figure, title, epoch, lines, curves.get("best_epoch")))
    return charts


def _by_epoch(name: str, title: str, epoch: np.ndarray, lines: dict[str, np.ndarray], best: Any) -> Chart:
    lost = sum(int((~np.isfinite(line)).sum()) for line in lines.values())
    lines = {label: line for label, line in lines.items() if np.isfinite(line).any()}
    drawn_values = np.concatenate(list(lines.values()))
    drawn_values = drawn_values[np.isfinite(drawn_values)]
    logarithmic = bool(drawn_values.min() > 0 and drawn_values.max() > 50 * drawn_values.min())
    with canvas(name, height=220, right=78, bottom=42) as drawn:
        if logarithmic:
            drawn.axes.set_yscale("log")
        roles = {label: "muted" if label == "training" else "network" for label in lines}
        for label, line in lines.items():
            drawn.line(epoch, line, roles[label], dashes=(4, 2) if label == "training" else ())
        _whole_ticks(drawn.axes)
        drawn.axes.set_xlim(np.nanmin(epoch) - 0.5, np.nanmax(epoch) + 0.5)
        drawn.axes.set_xlabel("epoch")
        if numbers.finite(best):
            drawn.axes.axvline(best, color=COLOUR["muted"], linewidth=1, zorder=0.9)
            # Beside the stroke where there is room, and at the end of it that the curve has left: losses fall.
            left_half, falls = best <= (epoch[0] + epoch[-1]) / 2, title == "Loss"
            drawn.axes.annotate(
                f"epoch {numbers.number(best)} kept", (best, float(falls)),
                (5 if left_half else -5, -1 if falls else 4),
                xycoords=("data", "axes fraction"), textcoords="offset points", va="top" if falls else "bottom",
                ha="left" if left_half else "right", size=11, color=COLOUR["muted"],
            )  # fmt: skip
        _label_ends(drawn.axes, {label: (line, roles[label]) for label, line in lines.items()})
    ends = [f"{label} from {numbers.number(known[0])} to {numbers.number(known[-1])}" for label, line in lines.items()
            if (known := [float(value) for value in line if np.isfinite(value)])]  # fmt: skip
    notes = ["Logarithmic scale."] * logarithmic
    notes += [f"{numbers.counted(lost, 'value was', 'values were')} not finite and left out."] * bool(lost)
    return Chart(title, drawn.svg, f"{title} by epoch: {'; '.join(ends)}.", note=" ".join(notes))


def score_by_window(given: Evidence) -> Chart | None:
    """The score of trainings on sequences that were cut, by the steps that are left, beside that of whole ones."""
    lines = {
        str(name): (_floats(line["window"]), _floats(line["score"]))
        for name, line in (given.get("lines") or {}).items()
    }
    lines = {name: line for name, line in lines.items() if line[0].size and np.isfinite(line[1]).any()}
    if not lines or not numbers.finite(given.get("whole")):
        return None
    whole = float(given["whole"])
    with canvas("score-by-window", height=220, right=78, bottom=42) as drawn:
        drawn.axes.set_xscale("log", base=2)
        drawn.axes.axhline(whole, color=COLOUR["muted"], linewidth=1, dashes=(4, 2))
        roles = dict(zip(lines, ("network", *(role for role, _ in BASELINES)), strict=False))
        for name, (window, score) in lines.items():
            drawn.line(window, score, roles[name])
        drawn.axes.set_xticks(sorted({float(one) for window, _ in lines.values() for one in window}))
        drawn.axes.get_xaxis().set_major_formatter(lambda value, _: f"{value:.0f}")
        drawn.axes.minorticks_off()
        drawn.axes.set_xlabel("steps that are kept")
        ends = {name: (score[np.argsort(window)], roles[name]) for name, (window, score) in lines.items()}
        _label_ends(drawn.axes, ends | {"whole": (np.array([whole]), "muted")})
    said = "; ".join(f"{name} from {numbers.number(float(score[0]))} to {numbers.number(float(score[-1]))}"
                     for name, (_, score) in lines.items())  # fmt: skip
    text = f"Score by the steps that are kept, the most first: {said}; whole sequences {numbers.number(whole)}."
    return Chart("What cutting costs", drawn.svg, text, note=str(given.get("measure", "")))


def _whole_ticks(axes: Any) -> None:
    """Few ticks, at whole numbers where the span has enough of them."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _label_ends(axes: Any, lines: dict[str, tuple[np.ndarray, str]]) -> None:
    """Names each line beside its last value, moved apart where two would overlap."""
    low, high = axes.transData.inverted().transform(axes.transAxes.transform([(0, 0), (0, 1)]))[:, 1]
    scale = math.log if axes.get_yscale() == "log" else float
    lasts = {label: float(line[np.isfinite(line)][-1]) for label, (line, _) in lines.items()}
    height = {label: (scale(last) - scale(low)) / (scale(high) - scale(low)) for label, last in lasts.items()}
    for below, above in itertools.pairwise(sorted(height, key=height.__getitem__)):
        overlap = max(0.0, 0.1 - (height[above] - height[below]))
        height[below] -= overlap / 2
        height[above] += overlap / 2
    for label, (_, role) in lines.items():
        axes.annotate(label, (1, height[label]), (6, 0), xycoords="axes fraction", textcoords="offset points",
                      va="center", color=COLOUR[role])  # fmt: skip


def gradient_reach(flow: Evidence) -> Chart | None:
    """The norm of dL/dh by the steps before the end of a sequence, at the weights that were kept: a line a layer.

    A network of one layer has its flow before training beside it.
    """
    kept = [(str(name), layer) for name, layer in (flow.get("best") or {}).items()][: len(_LAYER_LINES)]
    styles = {name: style for (name, _), style in zip(kept, _LAYER_LINES, strict=False)}
    lines = [(name, layer, *styles[name]) for name, layer in kept]
    if len(kept) == 1 and kept[0][0] in (flow.get("start") or {}):
        lines = [
            (kept[0][0], kept[0][1], *_LAYER_LINES[0]),
            ("before training", flow["start"][kept[0][0]], "muted", (4, 2)),
        ]
    drawn_lines = []
    for name, layer, role, dashes in lines:
        lags, norms = _floats(layer.get("lags")), _floats(layer.get("norms"))
        norms[~(norms > 0)] = math.nan  # has no place on a logarithmic scale
        if lags.size == norms.size and np.isfinite(norms).any():
            drawn_lines.append((name, layer, role, dashes, lags, norms))
    if not drawn_lines:
        return None
    with canvas("gradient", height=240, bottom=42) as drawn:
        drawn.axes.set_yscale("log")
        for name, layer, role, dashes, lags, norms in drawn_lines:
            drawn.line(-lags, norms, role, dashes=dashes)
            if numbers.finite(layer.get("horizon")) and name in styles:
                drawn.axes.axvline(
                    -layer["horizon"], color=COLOUR[role], linewidth=1, linestyle=(0, (1, 2)), zorder=0.9
                )
        _decades(drawn.axes)
        _whole_ticks(drawn.axes)
        drawn.axes.set_xlabel("time step, 0 is the last")
    said = []
    for name, _, _, _, lags, norms in drawn_lines:
        known = np.isfinite(norms)
        ends = [numbers.number(float(end)) for end in (norms[known][0], norms[known][-1])]
        back = numbers.counted(int(lags[known][-1]), "step")
        said.append(f"{name} from {ends[0]} at the last step to {ends[1]}, {back} before")
    key = tuple(Stroke(words(name, 30), role, dashes) for name, _, role, dashes, _, _ in drawn_lines)
    note = "Means over sequences, those that reach so far back. Logarithmic. Right of a dotted stroke lies 90% of it."
    return Chart(
        "Norm of the gradient at each step", drawn.svg, f"Norm of the gradient: {'; '.join(said)}.", key=key, note=note
    )


def _decades(axes: Any) -> None:
    """Ticks of a logarithmic axis at powers of ten, from two to a handful: one alone says nothing of the others."""
    low, high = (math.log10(edge) for edge in axes.get_ylim())
    first, last = math.ceil(low), math.floor(high)
    if last <= first:
        first = math.floor(low)
        last = max(math.ceil(high), first + 1)
        axes.set_ylim(10 ** min(low, first), 10 ** max(high, last))
    apart = max(1, math.ceil((last - first) / 5))
    axes.set_yticks([10.0**power for power in range(first, last + 1, apart)])


def gradient_map(layer: str, seen: Evidence) -> Chart | None:
    """Training steps by time steps: the darker, the larger the norm of dL/dh, on a logarithmic scale."""
    steps, lags = _floats(seen.get("steps")), _floats(seen.get("lags"))
    norms = np.array([_floats(row) for row in seen.get("norms") or []])
    if norms.shape != (steps.size, lags.size) or norms.size < 4 or steps.size < 2:
        return None
    norms[~(norms > 0)] = math.nan
    if not np.isfinite(norms).any():
        return None
    high = math.log10(np.nanmax(norms))
    low = max(math.log10(np.nanmin(norms)), high - 9)
    across = _cell_borders(np.arange(steps.size))
    down = _cell_borders(lags)
    with canvas("gradient-map", height=240, bottom=42) as drawn:
        drawn.axes.set_xlim(across[0], across[-1])
        drawn.axes.set_ylim(down[-1], down[0])
        drawn.axes.grid(False)
        _shades(drawn.axes, across, down, (np.log10(norms) - low) / max(high - low, 1e-9))
        horizon = _floats(seen.get("horizon"))
        if horizon.size == steps.size:
            drawn.axes.step(np.arange(steps.size), horizon + 0.5, where="mid", color=COLOUR["wrong"], linewidth=1.6)
        places = sorted({round(place) for place in np.linspace(0, steps.size - 1, 4)})
        drawn.axes.set_xticks(places, labels=[numbers.count(steps[place]) for place in places])
        drawn.own_ticks.add("x")
        drawn.axes.set_xlabel("training step")
    first, last = (norms[row][np.isfinite(norms[row])] for row in (0, -1))
    said = f"{numbers.number(steps.size)} readings from step {numbers.count(steps[0])} to {numbers.count(steps[-1])}"
    if first.size and last.size:
        said += f"; at the last time step {numbers.number(first[0])} at first, {numbers.number(last[0])} in the end"
    ends = [numbers.number(10**end, 2) for end in (low, high)]
    note = (
        f"{words(layer, 30)}: steps before the end, downwards. The stronger the colour the larger the gradient, "
        f"{ends[0]} to {ends[1]} on a logarithmic scale; 90% of it lies above the line."
    )
    return Chart(
        "In the course of training", drawn.svg, f"Heat map of the gradient of {words(layer, 30)}: {said}.", note=note
    )


def _cell_borders(places: np.ndarray) -> np.ndarray:
    middles = (places[1:] + places[:-1]) / 2
    if not middles.size:
        return places[0] + np.array([-0.5, 0.5])
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])


def _shades(axes: Any, across: np.ndarray, down: np.ndarray, values: np.ndarray) -> None:
    """Cells in twelve strengths of one colour, a path for each: a map is a dozen elements of the page."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    strength = np.full(values.shape, -1)
    known = np.isfinite(values)
    strength[known] = np.clip(values[known] * 12, 0, 11).astype(int)
    for level in range(12):
        corners, codes = [], []
        for column, row, end in _runs(strength == level):
            left, right, top, low = across[column], across[column + 1], down[row], down[end]
            corners += [(left, top), (right, top), (right, low), (left, low), (left, top)]
            codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
        if corners:
            shade = PathPatch(Path(corners, codes), facecolor=COLOUR["network"], linewidth=0, alpha=(level + 1) / 12)
            axes.add_patch(shade)


def _runs(marked: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Of each row of a table, where marked cells that follow each other begin and end: between them is no seam.

    Example:
        >>> list(_runs(np.array([[True, True, False, True]])))
        [(0, 0, 2), (0, 3, 4)]
    """
    for row, cells in enumerate(marked):
        turns = np.flatnonzero(np.diff(np.concatenate([[0], cells.astype(int), [0]])))
        for begin, end in zip(turns[::2], turns[1::2], strict=True):
            yield row, int(begin), int(end)


def length_histogram(parts: Sequence[Evidence]) -> Chart | None:
    """How long the sequences are: a row of bars per part over one axis of lengths.

    None if all have the same length, or there is no more than one in each part.
    """
    parts = [part for part in parts if len(part.get("histogram", {}).get("counts", [])) > 0]
    parts = [part for part in parts if len(part["histogram"]["edges"]) == len(part["histogram"]["counts"]) + 1]
    if not parts or min(part["shortest"] for part in parts) == max(part["longest"] for part in parts):
        return None
    if max(sum(part["histogram"]["counts"]) for part in parts) <= 1:
        return None
    row = 66
    height = row * len(parts) + 44
    low = min(part["histogram"]["edges"][0] for part in parts)
    high = max(part["histogram"]["edges"][-1] for part in parts)
    with canvas("lengths", height=height, bottom=42) as drawn:
        axes = drawn.axes
        axes.set_xlim(low, high)
        axes.set_ylim(-len(parts), 0)
        drawn.own_ticks.add("y")
        axes.set_yticks([])
        for index, part in enumerate(parts):
            counts, edges = _floats(part["histogram"]["counts"]), _floats(part["histogram"]["edges"])
            floor, peak = -index - 1, np.nanmax(counts) or 1.0
            axes.bar(edges[:-1], 0.62 * counts / peak, np.diff(edges), bottom=floor, align="edge", linewidth=1,
                     edgecolor=COLOUR["card"], color=COLOUR["network" if index == 0 else "muted"])  # fmt: skip
            axes.axhline(floor, color=COLOUR["rule"], linewidth=1)
            axes.plot([part["median"]] * 2, [floor, floor + 0.66], color=COLOUR["ink"], linewidth=1.2)
            axes.text(0, -index - 0.08, words(part["name"], 20), va="top", weight="bold",
                      transform=axes.get_yaxis_transform())  # fmt: skip
            axes.text(1, -index - 0.08, f"median {numbers.count(part['median'])}", va="top", ha="right",
                      color=COLOUR["muted"], transform=axes.get_yaxis_transform())  # fmt: skip
        _whole_ticks(axes)
        axes.set_xlabel("steps in a sequence")
    said = "; ".join(
        f"{part['name']} {numbers.number(part['shortest'])} to {numbers.number(part['longest'])} steps, "
        f"median {numbers.count(part['median'])}"
        for part in parts
    )
    return Chart("Lengths", drawn.svg, f"Histograms of sequence lengths: {said}.", note="The stroke marks the median.")


def confusion(confusion: Evidence) -> Chart | None:
    """Truth by prediction, each row as shares of its truth: hits and misses in two hues; None beyond `MOST_CLASSES`."""
    counts = np.array(confusion["counts"], dtype=float)
    size = len(confusion["labels"])
    if not 0 < size <= MOST_CLASSES or counts.shape != (size, size):
        return None
    letters = 14 if size <= 12 else 10
    labels = [words(label, letters) for label in confusion["labels"]]
    longest = max(len(label) for label in labels)
    text = 12.0 if size <= 12 else 10.0
    left = 30 + 0.62 * text * longest
    cell = min((WIDTH - left - 4) / size, 64.0)
    upright = longest * 0.62 * text > cell - 2
    top = 24 + (0.62 * text * longest if upright else text + 2)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    with canvas("confusion", height=math.ceil(top + cell * size + 6), blank=True) as drawn:
        axes = drawn.axes
        quiet = {"ha": "center", "color": COLOUR["muted"], "rotation_mode": "anchor"}
        axes.text(left + cell * size / 2, 13, "predicted", **quiet)
        axes.text(13, top + cell * size / 2, "truth", rotation=90, **quiet)
        for index, label in enumerate(labels):
            middle = (index + 0.5) * cell
            axes.text(left - 6, top + middle + 0.36 * text, label, ha="right", size=text)
            if upright:
                axes.text(left + middle + 0.36 * text, top - 5, label, rotation=90, rotation_mode="anchor", size=text)
            else:
                axes.text(left + middle, top - 6, label, ha="center", size=text)
        for (truth, prediction), count in np.ndenumerate(counts):
            x, y = left + prediction * cell, top + truth * cell
            part, gap = float(shares[truth, prediction]), 1.5 if size <= 12 else 0.75
            role, alpha = ("right" if truth == prediction else "wrong", 0.14 + 0.46 * part) if count else ("band", 1.0)
            side = cell - gap
            axes.bar(x + cell / 2, side, side, bottom=y + gap / 2, color=COLOUR[role], alpha=alpha, linewidth=0)
            figures = numbers.number(int(count))
            fits = min(12.0, (cell - 4) / (0.62 * len(figures)))
            if count and fits >= 9.5:
                axes.text(x + cell / 2, y + cell / 2 + 0.36 * fits, figures, ha="center", size=fits)
    hits, total = int(np.trace(counts)), int(counts.sum())
    alt = f"Confusion matrix of {size} classes: {numbers.number(hits)} of {numbers.number(total)} on the diagonal."
    return Chart("Truth against prediction", drawn.svg, alt, (), "Deeper colour: a larger share of the row's truth.")


def forecast(example: Evidence, *, name: str = "forecast") -> Chart | None:
    """One forecast beside the truth, the baseline and as much of the history as tells the pattern."""
    truth, forecast = _floats(example.get("truth")), _floats(example.get("forecast"))
    baseline, history = _floats(example.get("baseline")), _floats(example.get("history"))
    steps = max(truth.size, forecast.size)
    if not steps or not np.isfinite(np.concatenate([truth, forecast])).any():
        return None
    history = history[-max(24, 3 * steps) :]
    known, coming = (list(example.get(column) or []) for column in ("history_time", "time"))
    before, after, dates = _places(known, coming, history.size, steps)
    baseline_name = words(example.get("baseline_name") or "baseline", 30)
    role, dashes = BASELINES[0]
    with canvas(name, height=210, bottom=38 if dates else 26) as drawn:
        axes = drawn.axes
        axes.axvspan(before[-1] if before.size else after[0], max(after), color=COLOUR["band"], linewidth=0, zorder=0.5)
        drawn.line(before, history, "ink", linewidth=1.2)
        # Each line of the future starts where the history ends, so that the eye can follow it.
        for line, colour, style in (
            (baseline, role, {"dashes": dashes, "linewidth": 1.6}),
            (truth, "ink", {"linewidth": 1.6}),
            (forecast, "network", {"linewidth": 2.4}),
        ):
            if line.size == steps:
                drawn.line([*before[-1:], *after], [*history[-1:], *line], colour, **style)
        left = before[0] if before.size else after[0]
        axes.set_xlim(left, after[-1] if after[-1] > left else left + 1)
        if dates:
            from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

            locator = AutoDateLocator(minticks=3, maxticks=6)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
            axes.xaxis.get_offset_text().set_color(COLOUR["muted"])
            drawn.own_ticks.add("x")
        else:
            _whole_ticks(axes)
    key = [Stroke("truth", "ink"), Stroke("forecast", "network")]
    key += [Stroke(baseline_name, role, dashes)] * bool(baseline.size)
    error, plain = mean_error(truth, forecast), mean_error(truth, baseline)
    note = f"Off by {numbers.number(error)} on average" if numbers.finite(error) else "No error could be computed"
    note += f"; {baseline_name} by {numbers.number(plain)}." if numbers.finite(plain) else "."
    named = [f"Series {words(example['series'], 40)}"] if str(example.get("series", "")) else []
    named += [words(example["target"], 30)] if example.get("target") else []
    named += [f"from {numbers.date(coming[0])}"] if coming else []
    title = ", ".join(named) or "Forecast"
    return Chart(title, drawn.svg, f"{title}, {numbers.counted(steps, 'step')} ahead. {note}", tuple(key), note)


def mean_error(truth: np.ndarray, guess: np.ndarray) -> float:
    """The mean absolute error over the steps where both are known; NaN where there is none."""
    if truth.size != guess.size:
        return math.nan
    errors = np.abs(truth - guess)
    return float(errors[np.isfinite(errors)].mean()) if np.isfinite(errors).any() else math.nan


def _places(before: list[Any], after: list[Any], history: int, steps: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Where history and future stand on the time axis: dates, else numbers, else steps from the forecast's start."""
    before = before[-history:] if history else []
    if len(before) == history and len(after) == steps:
        given = [*before, *after]
        if all(numbers.finite(value) for value in given):
            return _floats(before), _floats(after), False
        try:
            # The wall time as written: an offset that changes in between would otherwise shift the ticks.
            days = [datetime.fromisoformat(str(value)).replace(tzinfo=None) for value in given]
        except ValueError:
            days = []
        if days:
            from matplotlib.dates import date2num

            placed = np.asarray(date2num(days), float)
            return placed[:history], placed[history:], True
    return np.arange(1 - history, 1, dtype=float), np.arange(1, steps + 1, dtype=float), False


def error_by_horizon(by_step: Evidence, *, name: str = "error-by-horizon") -> Chart | None:
    """The error at each step ahead, of the network and of the baselines."""
    step = _floats(by_step.get("step"))
    lines = [(line, _floats(line["values"])) for line in by_step.get("lines", [])]
    lines = [(line, values) for line, values in lines if values.size == step.size and np.isfinite(values).any()]
    if not lines:
        return None
    key: list[Stroke] = []
    with canvas(name, height=220, bottom=42) as drawn:
        plain = 0
        for line, values in lines:
            role, dashes = ("network", ()) if line.get("network") else BASELINES[plain % len(BASELINES)]
            plain += not line.get("network")
            drawn.line(step, values, role, dashes=dashes, linewidth=2.4 if line.get("network") else 1.8)
            key.append(Stroke(words(line["name"], 30), role, dashes))
        if min(np.nanmin(values) for _, values in lines) >= 0:
            drawn.axes.set_ylim(bottom=0)
        _whole_ticks(drawn.axes)
        drawn.axes.set_xlabel("steps ahead")
    metric = numbers.metric(by_step.get("metric") or "error")
    said = "; ".join(f"{line['name']} {' to '.join(map(numbers.number, values[[0, -1]]))}" for line, values in lines)
    of = f" of {words(by_step['target'], 30)}" if by_step.get("target") else ""
    title = f"{metric[:1].upper()}{metric[1:]}{of} by steps ahead"
    return Chart(title, drawn.svg, f"{title}: {said}.", tuple(key))


def truth_against_prediction(regression: Evidence, *, name: str = "truth-against-prediction") -> Chart | None:
    """Predictions over truth, with the line on which they would be equal; at most `MOST_POINTS`, evenly taken."""
    truth, prediction = _floats(regression.get("truth")), _floats(regression.get("prediction"))
    if truth.size != prediction.size or not truth.size:
        return None
    known = np.isfinite(truth) & np.isfinite(prediction)
    truth, prediction = truth[known], prediction[known]
    if not truth.size:
        return None
    lost = int((~known).sum())
    taken = np.linspace(0, truth.size - 1, min(truth.size, MOST_POINTS)).astype(int)
    low, high = float(min(truth.min(), prediction.min())), float(max(truth.max(), prediction.max()))
    room = 0.04 * (high - low) or 0.5 * (abs(high) or 1.0)
    with canvas(name, height=360, bottom=42) as drawn:
        axes = drawn.axes
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.axline((low, low), slope=1, color=COLOUR["muted"], linewidth=1.2)
        dots = {"markersize": 5, "markeredgewidth": 0, "alpha": 0.45}
        axes.plot(truth[taken], prediction[taken], "o", color=COLOUR["network"], **dots)
        axes.set_xlabel("truth")
        axes.annotate("predicted", (0, 1), (4, -2), xycoords="axes fraction", textcoords="offset points", va="top",
                      color=COLOUR["muted"])  # fmt: skip
    shown = truth[taken].size
    notes = ["On the line, prediction and truth are equal."]
    notes += [f"{numbers.number(shown)} of {numbers.counted(truth.size, 'point')} shown."] * (shown < truth.size)
    notes += [f"{numbers.counted(lost, 'pair was', 'pairs were')} not finite and left out."] * bool(lost)
    error = mean_error(truth, prediction)
    alt = (
        f"{numbers.counted(shown, 'prediction')} over their truth; the mean absolute error is {numbers.number(error)}."
    )
    of = f": {words(regression['target'], 30)}" if regression.get("target") else ""
    return Chart(f"Prediction over truth{of}", drawn.svg, alt, note=" ".join(notes))
