"""Rules about the data: each looks at the evidence and gives a finding, or None."""

from __future__ import annotations

import warnings

import keras
import numpy as np

from . import thresholds
from .evidence import Evidence, Steps, moved, standard
from .findings import Finding
from .given import named, weights_for
from .tracing import traced


def non_finite_data(evidence: Evidence) -> Finding | None:
    """NaN or infinity in what is trained on, unless the model's own layers take it out."""
    data = evidence.data
    parts = {**data.inputs(), **data.targets()}
    if data.weights is not None:
        parts |= named(data.weights, "sample_weight")
    if data.validation is not None:
        parts |= {f"validation {name}": one for name, one in named(data.validation[0], "x").items()}
        parts |= {f"validation {name}": one for name, one in named(data.validation[1], "y").items()}
    found = []
    for name, array in parts.items():
        if array.dtype.kind != "f":
            continue
        bad = ~np.isfinite(array)
        if bad.any():
            first = np.argwhere(bad)[0]
            axes = ("row", "step", "feature") if array.ndim == 3 else ("row", "column") if array.ndim == 2 else ("row",)
            where = ", ".join(f"{axis} {place}" for axis, place in zip(axes, first, strict=False))
            counted = int(bad.reshape(len(array), -1).any(axis=1).sum())
            kind = "NaN" if np.isnan(array[tuple(first)]) else "an infinite value"
            found.append((name, f"{name} has {kind} first at {where}; {counted} of {len(array)} rows hold such values"))
    if not found:
        return None
    if all(not name.startswith(("y", "sample_weight")) and "validation y" not in name for name, _ in found):
        rows_with = [
            np.flatnonzero(~np.isfinite(one.reshape(len(one), -1)).all(axis=1)) for one in data.inputs().values()
        ]
        bad_rows = np.unique(np.concatenate(rows_with))[: len(evidence.index)]
        if len(bad_rows) and evidence.fixed_batch is None and not evidence.stateful:
            picked = keras.tree.map_structure(lambda one: one[bad_rows], data.x)
            outputs = traced(evidence.model, picked).outputs.values()
            finite = bool(outputs) and all(np.isfinite(one).all() for one in outputs)
            if finite and (evidence.flow is None or np.isfinite(evidence.flow.global_norm)):
                return None  # masked, or replaced by a layer
    return Finding(
        "non-finite-data", "error", found[0][0], "; ".join(said for _, said in found),
        "fill it before scaling, as in x = pandas.DataFrame(x).ffill().fillna(0), or mask those steps",
    )  # fmt: skip


def token_out_of_range(evidence: Evidence) -> Finding | None:
    for name, layer in evidence.layers(keras.layers.Embedding):
        for source, array in evidence.data.inputs().items():
            if array.ndim != 2 or not _feeds(evidence, layer, array):
                continue
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >= layer.input_dim:
                share = float(((array < 0) | (array >= layer.input_dim)).mean())
                return Finding(
                    "token-out-of-range", "error", name,
                    f"{source} holds tokens from {low} to {high}; input_dim={layer.input_dim} has rows for 0 to "
                    f"{layer.input_dim - 1}; {share:.1%} of the tokens are beyond (JAX makes them NaN or another "
                    "token's row, PyTorch and TensorFlow stop)",
                    f"keras.layers.Embedding({max(high, 0) + 1}, {layer.output_dim})",
                )  # fmt: skip
    return None


def _feeds(evidence: Evidence, layer: keras.layers.Embedding, array: np.ndarray) -> bool:
    """Whether an input goes into an Embedding: by what was traced; before that, by being whole numbers alone."""
    if not np.equal(np.mod(array, 1), 0).all():
        return False
    inputs = [one for one in evidence.data.inputs().values() if one.ndim == 2]
    if len(inputs) == 1:
        return True
    sample = array[evidence.index]
    for call in evidence.trace.calls:
        if call.layer is layer:
            return call.inputs[0].shape == sample.shape and bool(np.array_equal(call.inputs[0], sample))
    return len(evidence.data.inputs()) == 1


def single_time_step(evidence: Evidence) -> Finding | None:
    flow = evidence.flow
    for name, call in evidence.recurrent:
        if call.inputs[0].shape[1] != 1 or call.inputs[0].ndim != 3 or call.layer.stateful or len(call.inputs) > 1:
            continue
        norm = None
        if flow is not None:
            norm = flow.weights.get(call.layer.cell.recurrent_kernel.path) if standard(call.layer) else 0.0
        if norm:
            continue
        features = call.inputs[0].shape[2]
        measured = "" if norm is None else "; the gradient by its recurrent kernel is exactly 0"
        lags = _alike_along_features(call.inputs[0][:, 0, :]) if features > 2 else 0.0
        remedy = "window the series: x of shape (batch, time, features) with time > 1; or use keras.layers.Dense"
        if lags > thresholds.ALIKE:
            remedy = (
                f"the {features} features look like time steps (neighbours correlate {lags:.2f}): x.transpose(0, 2, 1)"
            )
        return Finding(
            "single-time-step", "error", name, f"it is given {call.inputs[0].shape[0]} sequences of 1 step and "
            f"{features} features{measured}", remedy,
        )  # fmt: skip
    return None


def axes_swapped(evidence: Evidence) -> Finding | None:
    for steps in evidence.steps:
        values = steps.values
        count, length, features = values.shape
        if steps.tokens or length < 3 or features < 3 or count < 8:
            continue
        along_time, along_features, over_the_edge = _likeness(values[:2048], steps.masked[:2048])
        if along_features < thresholds.ALIKE or not np.isfinite(along_features):
            continue
        said = (
            f"neighbouring features of {steps.name} correlate {along_features:.2f}, neighbouring time steps "
            f"{along_time:.2f} (each place less its mean over the sequences)"
        )
        # Of features that move together, each is still more like itself a step later than like another one.
        if over_the_edge > max(thresholds.ALIKE, along_features - thresholds.ALIKE_GAP, along_time + 0.05):
            return Finding(
                "axes-swapped", "error", steps.name,
                f"{said}; the last feature of a step and the first of the next one correlate {over_the_edge:.2f}, as "
                "after reshape where transpose was meant",
                f"x.reshape({count}, {features}, {length}).transpose(0, 2, 1)",
            )  # fmt: skip
        if along_features > along_time + thresholds.ALIKE_GAP:
            return Finding("axes-swapped", "error", steps.name, said, "x.transpose(0, 2, 1)")
    return None


def _alike_along_features(values: np.ndarray) -> float:
    return _correlation(values[:, :-1] - values[:, :-1].mean(0), values[:, 1:] - values[:, 1:].mean(0))


def _likeness(values: np.ndarray, masked: np.ndarray) -> tuple[float, float, float]:
    """Correlations of neighbours along time, along features, and of the last feature with the next step's first."""
    centred = np.where(masked[..., None] | ~np.isfinite(values), np.nan, values).astype(float)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means over nothing: such places are NaN, and left out
        centred = centred - np.nanmean(centred, axis=0)
        spread = np.nanstd(centred, axis=(0, 1))
        centred = centred / np.where(spread > 0, spread, np.nan)
    along_time = _correlation(centred[:, :-1], centred[:, 1:])
    along_features = _correlation(centred[:, :, :-1], centred[:, :, 1:])
    edge = _correlation(centred[:, :-1, -1], centred[:, 1:, 0])
    return along_time, along_features, edge


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    use = np.isfinite(one) & np.isfinite(other)
    a, b = one[use], other[use]
    if len(a) < 8 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def mask_value_in_data(evidence: Evidence) -> Finding | None:
    """Masked steps between valid ones, at a value that lies among the data's own."""
    for steps in evidence.steps:
        if steps.mask_value is None:
            continue
        masked = steps.masked
        inside = masked & _between(~masked)
        share = inside.sum() / max((~masked).sum() + inside.sum(), 1)
        if share < thresholds.INTERIOR_MASKED:
            continue
        valid = steps.values[~masked]
        low, high = valid.min(axis=0), valid.max(axis=0)
        value = steps.mask_value
        among = bool(((low < value) & (value < high)).all())
        next_to = bool(np.equal(np.mod(valid, 1), 0).all() and low.min() in (value, value + 1))
        told = _target_depends(evidence, inside)
        if not (among or next_to or told > thresholds.DEPENDS):
            continue
        depends = f"; the target correlates {told:.2f} with how many there are" if told > thresholds.DEPENDS else ""
        row, step = np.argwhere(inside)[0]
        span = "tokens" if steps.tokens else f"values from {low.min():.3g} to {high.max():.3g}"
        return Finding(
            "mask-value-in-data", "warning", steps.name,
            f"{inside.sum()} steps between valid ones equal the mask value {value:g} and are skipped ({share:.1%} of "
            f"the steps; first at row {row}, step {step}); the data has {span} around it{depends}",
            "shift the tokens by one: x + 1 where a token is meant, input_dim + 1" if steps.tokens
            else "pad with a value that does not occur, as in keras.layers.Masking(mask_value=-999.0)",
        )  # fmt: skip
    return None


def _target_depends(evidence: Evidence, inside: np.ndarray) -> float:
    """The correlation of a target for each sequence with how many of its steps are masked inside."""
    counts = inside.sum(axis=1).astype(float)
    found = 0.0
    for target in evidence.data.targets().values():
        if target.dtype.kind in "fiub" and target.size == len(target):
            found = max(found, abs(_correlation(target.reshape(-1).astype(float), counts)))
    return found


def _between(valid: np.ndarray) -> np.ndarray:
    """(N, T): steps with a valid one before and after them."""
    before = np.maximum.accumulate(valid, axis=1)
    after = np.maximum.accumulate(valid[:, ::-1], axis=1)[:, ::-1]
    return before & after


def fully_masked_sequence(evidence: Evidence) -> Finding | None:
    for steps in evidence.steps:
        empty = np.flatnonzero(steps.masked.all(axis=1))
        if steps.mask_value is not None and len(empty):
            return Finding(
                "fully-masked-sequence", "warning", steps.name,
                f"{len(empty)} of {len(steps.values)} sequences have no valid step (all equal the mask value "
                f"{steps.mask_value:g}); first row {empty[0]}: their answer is that to nothing",
                "keep = (x != mask_value).any(axis=(1, 2)); x, y = x[keep], y[keep]" if not steps.tokens
                else "keep = (x != 0).any(axis=1); x, y = x[keep], y[keep]",
            )  # fmt: skip
    for name, call in evidence.recurrent:
        if call.mask_in is not None and not call.mask_in.any(axis=1).all():
            missing = np.flatnonzero(~call.mask_in.any(axis=1))
            return Finding(
                "fully-masked-sequence", "warning", name, f"{len(missing)} of {len(call.mask_in)} sequences reach it "
                f"without a valid step; first row {evidence.index[missing[0]]}", "leave those rows out of x and y",
            )  # fmt: skip
    return None


def unmasked_padding(evidence: Evidence) -> Finding | None:
    """Sequences end, or begin, in a run of one constant that no mask covers, and what it holds matters."""
    if evidence.fixed_batch is not None or evidence.trace.failed:
        return None
    for steps in evidence.steps:
        if steps.masked.any():
            continue  # what padding is has been said
        for side in ("trailing", "leading"):
            padding = _padding(steps, side)
            if padding is None:
                continue
            value, padded = padding
            sample = padded[evidence.index]
            if not sample.any() or _is_masked(evidence, sample):
                continue
            far, counted = _padding_matters(evidence, steps, sample)
            if not far and not counted:
                continue
            share = (padded.any(axis=1)).mean()
            lengths = (~padded).sum(axis=1)
            measured = f"other values there move the outputs by {far:.1g} of their spread" if far else ""
            if counted:
                measured += (" and " if measured else "") + f"{counted:.0%} of the steps in the loss are padding"
            return Finding(
                "unmasked-padding", "warning", steps.name,
                f"{share:.0%} of the sequences have {side} steps that all equal {value:g} ({lengths.min()} to "
                f"{lengths.max()} steps are left), and no mask reaches the recurrent layer; {measured}",
                "keras.layers.Embedding(..., mask_zero=True)" if steps.tokens
                else f"keras.layers.Masking(mask_value={value:g}) before the first recurrent layer",
            )  # fmt: skip
    return None


def _padding(steps: Steps, side: str) -> tuple[float, np.ndarray] | None:
    """The constant that sequences end or begin with, and (N, T) where; None where that is no padding."""
    values = steps.values if side == "trailing" else steps.values[:, ::-1]
    count, length, _ = values.shape
    if length < 3:
        return None
    same = (values == values[:, :, :1]).all(axis=2)
    ends = values[same[:, -1], -1, 0]
    ends = ends[np.isfinite(ends)]
    if not len(ends):
        return None
    found, counts = np.unique(ends, return_counts=True)
    value = found[counts.argmax()]
    if counts.max() < max(2, thresholds.PADDED_ROWS * count):
        return None
    equal = same & (values[:, :, 0] == value)
    run = np.cumprod(equal[:, ::-1], axis=1)[:, ::-1].astype(bool)
    lengths = run.sum(axis=1)
    if steps.tokens and value != 0:
        return None
    inside = (equal & ~run).sum(axis=1) / np.maximum((~run).sum(axis=1), 1)
    # Of a constant that is frequent inside a sequence, runs of it at the end come by chance.
    expected = float((inside / np.maximum(1 - inside, 0.1)).mean())
    if lengths.mean() < thresholds.CHANCE_RUN * expected + thresholds.PADDED_ROWS or lengths.max() < 2:
        return None
    if inside.mean() > thresholds.FREQUENT or len(np.unique(lengths)) < 2:
        return None
    return float(value), run if side == "trailing" else run[:, ::-1]


def _is_masked(evidence: Evidence, padded: np.ndarray) -> bool:
    """A mask covers most of the padding in every recurrent layer that has these steps (or that of another length)."""
    calls = [call for _, call in evidence.recurrent if call.inputs[0].shape[1] == padded.shape[1]]
    return any(call.mask_in is not None and not (call.mask_in & padded).any() for call in calls)


def _padding_matters(evidence: Evidence, steps: Steps, padded: np.ndarray) -> tuple[float, float]:
    """How far outputs move with what the padding holds, 0 where they do not; the padding's share of a per-step loss."""
    rng = np.random.default_rng(0)
    sample = steps.values[evidence.index].copy()
    valid = sample[~padded]
    if not len(valid):
        return 0.0, 0.0
    sample[padded] = valid[rng.integers(0, len(valid), int(padded.sum()))]
    other = traced(evidence.model, _with(evidence, steps, sample))
    if other.failed:
        return 0.0, 0.0
    far, counted = 0.0, 0.0
    for place, (name, before) in enumerate(evidence.trace.outputs.items()):
        after = other.outputs[name]
        if before.ndim == 3 and before.shape[1] == padded.shape[1]:
            use = ~padded
            weights = weights_for(evidence.data.weights, name, place)
            if not isinstance(weights, np.ndarray) or weights.ndim < 2:
                mask = evidence.trace.masks[name]
                counted = float(padded.mean()) if mask is None or (mask & padded).any() else 0.0
        else:
            use = np.ones(len(before), bool)
        far = max(far, moved(before, after, use))
    if counted and far <= thresholds.MOVED and not _padding_is_learned(evidence, padded):
        counted = 0.0
    return (far if far > thresholds.MOVED else 0.0), counted


def _padding_is_learned(evidence: Evidence, padded: np.ndarray) -> bool:
    """The targets at padded steps are all the same, so that they count as steps that are answered well."""
    for target in evidence.data.targets().values():
        sample = target[evidence.index]
        if sample.ndim >= 2 and sample.shape[1] == padded.shape[1]:
            flat = sample.reshape(*sample.shape[:2], -1)[padded]
            return len(np.unique(flat, axis=0)) == 1
    return False


def _with(evidence: Evidence, steps: Steps, sample: np.ndarray) -> object:
    """The sample of the inputs with one of them replaced."""
    names = iter(named(evidence.x, "x"))

    def other(array: np.ndarray) -> np.ndarray:
        return sample.reshape(array.shape).astype(array.dtype) if next(names) == steps.name else array

    return keras.tree.map_structure(other, evidence.x)


def scaler_leak(evidence: Evidence) -> Finding | None:
    """Training and validation data together are scaled exactly, the training data alone is not."""
    validation = evidence.data.validation
    if validation is None:
        return None
    data = evidence.data
    for name, train, held in (("x", data.x, validation[0]), ("y", data.y, validation[1])):
        for key, array in named(train, name).items():
            other = named(held, name).get(key)
            if other is None or array.dtype.kind != "f" or other.shape[2:] != array.shape[2:]:
                continue
            finding = _leak(key, array, other)
            if finding is not None:
                return finding
    return None


def _leak(name: str, train: np.ndarray, held: np.ndarray) -> Finding | None:
    columns = train.shape[-1] if train.ndim == 3 else 1
    minmax, standard, said = 0, 0, ""
    for column in range(columns):
        ours = _series(train[..., column] if train.ndim == 3 else train)
        theirs = _series(held[..., column] if held.ndim == 3 else held)
        whole = np.concatenate([ours, theirs])
        if len(np.unique(whole[:4096])) < 10:
            continue
        if np.abs([whole.min(), whole.max() - 1]).max() < thresholds.EXACT and not (
            np.abs([ours.min(), ours.max() - 1]).max() < thresholds.EXACT
        ):
            minmax += 1
            said = said or (
                f"column {column}: from {whole.min():.6g} to {whole.max():.6g} with the validation data, from "
                f"{ours.min():.6g} to {ours.max():.6g} without it"
            )
        near = max(abs(whole.mean()), abs(whole.std() - 1))
        alone = max(abs(ours.mean()), abs(ours.std() - 1))
        if near < thresholds.STANDARD and alone > 10 * max(near, 1e-4):
            standard += 1
            said = said or (
                f"column {column}: mean {whole.mean():.5f} and standard deviation {whole.std():.5f} with the "
                f"validation data, {ours.mean():.5f} and {ours.std():.5f} without it"
            )
    if not minmax and not standard:
        return None
    kind = "MinMaxScaler" if minmax else "StandardScaler"
    return Finding(
        "scaler-leak", "error", name, f"{name} was scaled together with the validation data, whose extremes or moments "
        f"it therefore knows ({said})", f"scaler = {kind}().fit(train); train, validation = map(scaler.transform, ...)",
    )  # fmt: skip


def _series(values: np.ndarray) -> np.ndarray:
    """(N, T) windows as the series they were cut from, where they overlap by all but one step; else all values."""
    values = values.reshape(len(values), -1).astype(float)
    if len(values) > 2 and values.shape[1] > 1 and np.array_equal(values[1:, :-1], values[:-1, 1:]):
        return np.concatenate([values[:, 0], values[-1, 1:]])
    return values.ravel()


def overlapping_split(evidence: Evidence) -> Finding | None:
    """The last steps of validation windows occur in training windows."""
    data = evidence.data
    if data.validation is None:
        return None
    held = {name: one for name, one in named(data.validation[0], "x").items() if one.ndim >= 2}
    for steps in evidence.steps:
        if steps.name not in held:
            continue
        other = held[steps.name].astype(np.float32)
        other = other[..., None] if other.ndim == 2 else other
        length = steps.values.shape[1]
        if other.shape[1:] != steps.values.shape[1:] or length < 2:
            continue
        tail = max(2, length // 3)
        distinct = len(np.unique(steps.values[:2000]))
        if distinct < 50:
            tail = length  # few values repeat by chance, whole sequences do not
            if length * np.log(max(distinct, 2)) < 2 * np.log(max(len(steps.values) * len(other), 2)) + 10:
                continue
        ours = set(_hashes(steps.values, tail, every=True))
        theirs = _hashes(other, tail, every=False)
        constant = (other[:, -tail:] == other[:, -1:, :1]).all(axis=(1, 2))  # padding
        shared = np.array([one in ours for one in theirs]) & ~constant
        share = shared.mean() if len(shared) else 0.0
        if share > thresholds.SHARED:
            return Finding(
                "overlapping-split", "error", steps.name,
                f"the last {tail} steps of {share:.0%} of the {len(other)} validation sequences occur in training "
                f"sequences (first: validation row {np.flatnonzero(shared)[0]}); the validation score is that of data "
                "already seen",
                f"split in time before windowing, with {length} steps between the parts; not "
                "train_test_split(windows, shuffle=True)",
            )  # fmt: skip
    return None


def _hashes(values: np.ndarray, tail: int, *, every: bool) -> list[int]:
    values = np.ascontiguousarray(values, np.float32)
    length = values.shape[1]
    starts = range(0 if every else length - tail, length - tail + 1)
    return [hash(row[start : start + tail].tobytes()) for start in starts for row in values]


RULES = (
    non_finite_data,
    token_out_of_range,
    single_time_step,
    axes_swapped,
    mask_value_in_data,
    fully_masked_sequence,
    unmasked_padding,
    scaler_leak,
    overlapping_split,
)
