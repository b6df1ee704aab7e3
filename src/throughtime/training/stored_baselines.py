"""``baselines.npz``, checked where it is read: its arrays, and that they are of the run that ``run.json`` describes."""

from __future__ import annotations

import numpy as np

from ..data.transforms import Preparation, input_names
from ..errors import RunError
from .baselines import LINEAR_INPUTS, Baselines, LinearInputs
from .features import COLUMNS, PLACES
from .forest import Forest

# Dimensions and kind of each array that ``Baselines.arrays`` gives; any number of dimensions: None.
ARRAYS: dict[str, tuple[int | None, str]] = {
    "season": (0, "i"), "majority": (0, "i"), "mean": (1, "f"), "spread": (1, "f"), "coefficients": (2, "f"),
    "linear": (1, "i"), "labels": (2, "i"), "courses": (2, "f"), "answers": (None, "if"),
    "forest_roots": (1, "i"), "forest_left": (1, "i"), "forest_right": (1, "i"), "forest_feature": (1, "i"),
    "forest_threshold": (1, "f"), "forest_values": (2, "f"),
}  # fmt: skip
FOREST = tuple(name for name in ARRAYS if name.startswith("forest_"))


def refuse_odd_arrays(arrays: dict[str, np.ndarray], named: str) -> None:
    """Raises RunError where the arrays of ``baselines.npz`` are not what ``Baselines.arrays`` gives."""
    for name, array in arrays.items():
        dimensions, kinds = ARRAYS.get(name, (-1, ""))
        if dimensions not in (None, array.ndim) or array.dtype.kind not in kinds:
            raise RunError(f"{named} is damaged: {name} holds {array.dtype} of shape {array.shape}.")
        if not np.isfinite(array).all():
            raise RunError(f"{named} is damaged: {name} holds NaN or infinity.")
    if "season" not in arrays or arrays["season"] < 1:
        raise RunError(f"{named} is damaged: it has no season of at least one step.")
    if "linear" in arrays and len(arrays["linear"]) != len(LinearInputs._fields):
        raise RunError(f"{named} is damaged: linear has {len(arrays['linear'])} numbers.")
    for one, other in (("courses", "answers"), ("labels", "forest_roots")):
        if (one in arrays) != (other in arrays):
            raise RunError(f"{named} is damaged: of {one} and {other} one is missing.")
    there = [name for name in FOREST if name in arrays]
    if there and len(there) < len(FOREST):
        raise RunError(f"{named} is damaged: of the forest it has no more than {', '.join(there)}.")


def odd_baselines(preparation: Preparation, baselines: Baselines) -> str:
    """In words, why these are no baselines of this preparation; empty where they are."""
    forecast, targets, classes = preparation.forecast, len(preparation.schema.target), len(preparation.classes)
    if classes:
        if baselines.majority is None or not 0 <= baselines.majority < classes:
            return f"baselines.npz knows no class among {classes}."
    elif baselines.mean is None or baselines.mean.shape != (targets,):
        return f"baselines.npz has not the means of {targets} targets."
    if baselines.spread is not None and (baselines.spread.shape != (targets,) or not (baselines.spread > 0).all()):
        return f"baselines.npz has not the deviations of {targets} targets."
    if forecast is None:
        return _odd_sequences(preparation, baselines)
    linear = baselines.linear
    expected = (_linear_width(preparation, linear) + 1, forecast.horizon * targets)
    if baselines.coefficients is None or baselines.coefficients.shape != expected:
        return f"baselines.npz is of another window or horizon than {forecast.window} and {forecast.horizon}."
    if baselines.season != preparation.season:
        return f"baselines.npz is of a season of {baselines.season} steps, run.json of {preparation.season}."
    return ""


def _linear_width(preparation: Preparation, linear: LinearInputs | None) -> int:
    """How many inputs the linear model has; 0 where ``linear`` names a part that is not there."""
    forecast = preparation.forecast
    assert forecast is not None and forecast.window is not None
    known, known_codes = preparation._known()
    width = _columns(preparation)
    if linear is None:  # runs of the first versions
        fits = forecast.window * width <= LINEAR_INPUTS
        linear = LinearInputs(width if fits else len(preparation.schema.target))
    sizes = [len(labels) + 1 for labels in preparation.vocabulary]
    if not (0 < linear.columns <= width and 0 <= linear.code_steps <= forecast.window and linear.codes_ahead in (0, 1)):
        return 0
    ahead = len(known) + linear.codes_ahead * sum(sizes[column] for column in known_codes)
    return forecast.window * linear.columns + linear.code_steps * sum(sizes) + forecast.horizon * ahead


def _odd_sequences(preparation: Preparation, baselines: Baselines) -> str:
    """Of the forest and the nearest sequence."""
    classes, columns = len(preparation.classes), min(_columns(preparation), COLUMNS)
    answered = classes or len(preparation.schema.target)
    if baselines.courses is not None and baselines.answers is not None:
        count, width = baselines.courses.shape
        shape = (count,) if classes else (count, answered)
        if width != PLACES * columns or baselines.answers.shape != shape or not count:
            return "the sequences in baselines.npz are of other columns or targets."
        if classes and not ((baselines.answers >= 0) & (baselines.answers < classes)).all():
            return f"baselines.npz has sequences of classes beyond {classes}."
    if baselines.forest is None or baselines.labels is None:
        return ""
    codes = [len(labels) + 1 for labels in preparation.vocabulary]
    if baselines.labels.shape[1:] != (2,) or any(
        not (0 <= column < len(codes) and 0 <= code < codes[column]) for column, code in baselines.labels.tolist()
    ):
        return "the labels in baselines.npz are of other categories."
    return _odd_forest(baselines.forest, 1 + 5 * columns + len(baselines.labels), answered)


def _odd_forest(forest: Forest, features: int, answered: int) -> str:
    """A tree whose nodes do not come after their parents would be walked through for ever."""
    nodes = np.arange(len(forest.left))
    arrays = (forest.right, forest.feature, forest.threshold, forest.values)
    if any(len(array) != len(nodes) for array in arrays) or forest.values.shape[1:] != (answered,) or not len(nodes):
        return "the forest in baselines.npz is of other targets, or its arrays are of several lengths."
    inner = forest.left >= 0
    children = (forest.left[inner], forest.right[inner])
    ordered = all(((child > nodes[inner]) & (child < len(nodes))).all() for child in children)
    known = (forest.feature[inner] >= 0) & (forest.feature[inner] < features)
    rooted = len(forest.roots) and ((forest.roots >= 0) & (forest.roots < len(nodes))).all()
    return "" if ordered and rooted and known.all() else "the forest in baselines.npz is no forest."


def _columns(preparation: Preparation) -> int:
    return len(input_names(preparation.schema)) + len(preparation.indicators)
