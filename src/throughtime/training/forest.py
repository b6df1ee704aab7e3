"""A random forest as plain arrays: grown by scikit-learn, stored without pickle, asked without scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TREES = 100
# Rows that a forest is grown on: at most so many, and fewer where each split looks at many features of many classes.
ROWS, FEWEST_ROWS, WORK = 2_000, 300, 600_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Forest:
    """Trees, one after the other in each array.

    Attributes:
        roots: ``(TREES,)`` where each tree begins.
        left, right: ``(nodes,)`` the node to go on with, -1 in a leaf.
        feature, threshold: ``(nodes,)`` left where ``x[feature] <= threshold``.
        values: ``(nodes, K)`` float32: shares of the classes, or numbers.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    values: np.ndarray

    @classmethod
    def grow(cls, features: np.ndarray, targets: np.ndarray, classes: int = 0) -> Forest:
        """On ``(E, F)`` float32 features.

        Args:
            targets: ``(E,)`` class indices, or ``(E, K)`` numbers.
            classes: how many there are; 0 for numbers.
        """
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        width = features.shape[1]
        looked_at = max(1, round(width**0.5) if classes else min(round(width / 3), 32))
        rows = some_rows(len(features), min(ROWS, max(FEWEST_ROWS, WORK // (looked_at * max(classes, 1)))))
        kind = RandomForestClassifier if classes else RandomForestRegressor
        made = kind(
            TREES, max_features=looked_at, min_samples_leaf=1 if classes else 2, random_state=0, n_jobs=1
        )  # fmt: skip
        wanted = targets[rows] if classes or targets.shape[1] > 1 else targets[rows, 0]
        trees = [tree.tree_ for tree in made.fit(features[rows], wanted).estimators_]
        counts = np.array([tree.node_count for tree in trees])
        roots = np.cumsum(counts) - counts
        if classes:  # a class that no row has is none to scikit-learn
            values = np.zeros((int(counts.sum()), classes), np.float32)
            values[:, made.classes_] = np.concatenate([tree.value[:, 0] for tree in trees])
        else:
            values = np.concatenate([tree.value[:, :, 0] for tree in trees]).astype(np.float32)

        def children(side: str) -> np.ndarray:
            nodes = [getattr(tree, side) for tree in trees]
            return np.concatenate([np.where(n < 0, -1, n + r) for n, r in zip(nodes, roots, strict=True)])

        return cls(
            roots=roots.astype(np.int32),
            left=children("children_left").astype(np.int32),
            right=children("children_right").astype(np.int32),
            feature=np.concatenate([tree.feature for tree in trees]).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            values=values,
        )

    def predict(self, features: np.ndarray) -> np.ndarray:
        """``(E, K)`` float64: the mean over the trees, of ``(E, F)`` float32 features."""
        total = np.zeros((len(features), self.values.shape[1]))
        for root in self.roots:
            node, going = np.full(len(features), root), np.arange(len(features))
            while len(going):
                here = node[going]
                going = going[self.left[here] >= 0]
                here = node[going]
                low = features[going, self.feature[here]] <= self.threshold[here]
                node[going] = np.where(low, self.left[here], self.right[here])
            total += self.values[node]
        return total / len(self.roots)


def some_rows(count: int, most: int) -> np.ndarray:
    """At most ``most`` of ``count`` rows, in order; drawn with a fixed seed, because rows may be sorted by class."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
