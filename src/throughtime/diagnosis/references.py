"""What simple models make of the same data, cross-validated: whether anything can be predicted, and from which steps.

Sequences become a few numbers each: per quarter of their time, counted from the end, the mean, the spread, and the mean
of products of feature pairs; tokens become counts of words per quarter. On these a linear model and a forest are fitted
(scikit-learn). They are no match for a recurrent network, and need not be: where even they find something, it is there.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from .evidence import Evidence, Output, Steps

ROWS = 600  # sequences that references are fitted on
QUARTERS = 4
FOLDS = 4


@dataclass(frozen=True)
class Reference:
    """Cross-validated loss of the best simple model as a share of the constant's, and the standard error of that.

    ``late``: the same from the last half of each sequence alone.
    """

    share: float
    error: float
    late: float


def reference(evidence: Evidence, output: Output) -> Reference | None:
    """For an output with one target a sequence; for one by steps, a step is predicted from those around it."""
    inputs = evidence.steps
    if not inputs:
        return None
    rng = np.random.default_rng(0)
    if output.per_step:
        made = _by_steps(inputs, output, rng)
        if made is None:
            return None
        whole, target = made
        late = whole
    else:
        count = len(output.targets)
        chosen = np.sort(rng.permutation(count)[:ROWS])
        target = output.targets[chosen].reshape(len(chosen), -1)
        parts = [_summary(steps, chosen) for steps in inputs]
        whole = np.concatenate([part for one in parts for part in one], axis=1)
        late = np.concatenate([part for one in parts for part in one[: QUARTERS // 2]], axis=1)
        fixed = [
            array[chosen].reshape(len(chosen), -1)
            for name, array in evidence.data.inputs().items()
            if name not in {steps.name for steps in inputs} and array.ndim <= 2
        ]
        whole = np.concatenate([whole, *fixed], axis=1)
        late = np.concatenate([late, *fixed], axis=1)
    if len(whole) < 24 or not np.isfinite(target.astype(float)).all():
        return None
    classes = output.classes and (target.shape[1] == 1 or set(np.unique(target)) <= {0, 1})
    if classes:
        labels = target[:, 0] if target.shape[1] == 1 else target.argmax(axis=1)
        if len(np.unique(labels)) < 2:
            return None
        share, error = _best(whole, labels, classes=True)
        from_late, _ = _best(late, labels, classes=True) if late is not whole else (share, 0.0)
    else:
        values = target.astype(float)
        values = values[:, :4]
        share, error = _best(whole, values, classes=False)
        from_late, _ = _best(late, values, classes=False) if late is not whole else (share, 0.0)
    return Reference(share, error, from_late)


def _summary(steps: Steps, chosen: np.ndarray) -> list[np.ndarray]:
    """Numbers of each quarter, the last quarter first."""
    values, masked = np.nan_to_num(steps.values[chosen], posinf=0, neginf=0), steps.masked[chosen]
    found: list[list[np.ndarray]] = [[] for _ in range(QUARTERS)]
    words: np.ndarray | None = None
    if steps.tokens:
        tokens, counts = np.unique(values, return_counts=True)
        words = tokens[np.argsort(-counts)][:100]
    for row, mask in zip(values, masked, strict=True):
        valid = row[~mask] if (~mask).any() else row[:1]
        for place, piece in enumerate(reversed(np.array_split(valid, QUARTERS))):
            found[place].append(_numbers(piece, words))
    return [np.array(one) for one in found]


def _numbers(piece: np.ndarray, words: np.ndarray | None) -> np.ndarray:
    if not len(piece):
        width = len(words) if words is not None else _numbers(np.zeros((1, piece.shape[1])), None).size
        return np.zeros(width)
    if words is not None:
        return (piece[:, 0][:, None] == words).mean(axis=0)
    features = piece[:, :24].astype(float)
    numbers = [features.mean(axis=0), features.std(axis=0), features[0], features[-1]]
    if features.shape[1] <= 6:
        pairs = np.triu_indices(features.shape[1], 1)
        numbers.append((features[:, pairs[0]] * features[:, pairs[1]]).mean(axis=0))
    return np.concatenate(numbers)


def _by_steps(inputs: list[Steps], output: Output, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    targets = output.targets
    count, length = targets.shape[:2]
    same = [steps for steps in inputs if steps.values.shape[1] == length]
    if not same:
        return None
    places = [(row, step) for row in rng.permutation(count)[:200] for step in rng.integers(0, length, 4)]
    features, wanted = [], []
    for row, step in places:
        around = [
            steps.values[row, min(max(step + lag, 0), length - 1), :24] for steps in same for lag in (-3, -2, -1, 0, 1)
        ]
        mean = [steps.values[row, : step + 1, :24].mean(axis=0) for steps in same]
        if any(steps.masked[row, step] for steps in same):
            continue
        features.append(np.concatenate([*around, *mean]))
        wanted.append(np.ravel(targets[row, step]))
    if not features:
        return None
    return np.nan_to_num(np.array(features)), np.array(wanted)


def _best(features: np.ndarray, target: np.ndarray, *, classes: bool) -> tuple[float, float]:
    """The least cross-validated loss as a share of the constant's, with its standard error over sequences."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = features[:, features.std(axis=0) > 1e-12]
    if not features.shape[1]:
        return 1.0, 0.0
    if classes:
        models = [
            make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)),
            RandomForestClassifier(60, min_samples_leaf=3, random_state=0),
        ]
        least = int(np.unique(target, return_counts=True)[1].min())
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0) if least >= FOLDS else KFold(FOLDS)
    else:
        models = [
            make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 7))),
            RandomForestRegressor(60, min_samples_leaf=3, random_state=0),
        ]
        folds = KFold(FOLDS, shuffle=True, random_state=0)
    best, error = np.inf, 0.0
    for model in models:
        losses, constants = [], []
        for train, test in folds.split(features, target if classes else None):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of fits that do not converge: such a fit is just worse
                model.fit(features[train], target[train] if classes or target.shape[1] > 1 else target[train, 0])
                if classes:
                    wrong = model.predict(features[test]) != target[test]
                    labels, counts = np.unique(target[train], return_counts=True)
                    losses.append(wrong.astype(float))
                    constants.append((target[test] != labels[counts.argmax()]).astype(float))
                else:
                    predicted = model.predict(features[test]).reshape(len(test), -1)
                    losses.append(((predicted - target[test]) ** 2).mean(axis=1))
                    constants.append(((target[train].mean(axis=0) - target[test]) ** 2).mean(axis=1))
        loss, constant = np.concatenate(losses), np.concatenate(constants)
        scale = max(float(constant.mean()), 1e-12)
        share = float(loss.mean()) / scale
        if share < best:
            best, error = share, float((loss - constant).std() / np.sqrt(len(loss))) / scale
    return best, error
