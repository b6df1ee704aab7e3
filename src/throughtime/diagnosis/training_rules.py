"""Rules about what training makes of the model: from the flow of the gradient, and from short trainings."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..errors import first_line
from ..gradients.flow import TRAJECTORIES
from ..gradients.locating import NonFinite, locate
from ..gradients.trajectory import Trajectory, trajectory
from . import thresholds
from .evidence import Evidence, Output, standard
from .findings import Finding
from .given import named, rows
from .references import reference
from .trials import Trial


def unscaled_input(evidence: Evidence) -> Finding | None:
    """Inputs of a recurrent layer far from 1 that saturate its gates, which standard inputs would not."""
    for name, call in evidence.recurrent:
        values = call.inputs[0].astype(float)
        use = np.ones(values.shape[:2], bool) if call.mask_in is None else call.mask_in.astype(bool)
        flat = values[use].reshape(-1, values.shape[-1])  # of images, each pixel
        flat = flat[np.isfinite(flat).all(axis=1)]
        if not len(flat):
            continue
        centre, spread = flat.mean(axis=0), flat.std(axis=0)
        worst = int(np.argmax(np.maximum(np.abs(centre), spread)))
        largest = max(abs(centre[worst]), spread[worst])
        tiny = spread.max() < 1 / thresholds.FAR_SCALE**2 and np.abs(centre).max() < 1 / thresholds.FAR_SCALE**2
        if largest < thresholds.FAR_SCALE and not tiny:
            continue
        scaled = (values - centre) / np.where(spread > 0, spread, 1)
        before, after = (_trajectory(call.layer, one, use) for one in (values, scaled))
        said = (
            f"what it is given has a mean of {centre[worst]:.4g} and a standard deviation of {spread[worst]:.4g} "
            f"(feature {worst})"
        )
        remedy = "scaler = keras.layers.Normalization(); scaler.adapt(x_train); as the first layer"
        if tiny:
            if evidence.failed_to_learn:
                return Finding(
                    "unscaled-input", "warning", name, f"{said}, and nothing was learned in "
                    f"{len(evidence.trial.losses)} steps", remedy,  # type: ignore[union-attr]
                )  # fmt: skip
            continue
        if before is None or after is None:
            grown = evidence.trial is not None and (evidence.trial.stopped is not None or not evidence.learned)
            if grown:
                return Finding("unscaled-input", "warning", name, f"{said}, and nothing was learned", remedy)
            continue
        if not before.gates:  # relu
            if evidence.failed_to_learn or (evidence.trial is not None and evidence.trial.stopped is not None):
                return Finding("unscaled-input", "warning", name, f"{said}, and nothing was learned", remedy)
            continue
        shares = {gate: one.low + one.high for gate, one in before.gates.items()}
        gate = max(shares, key=lambda one: shares[one])
        relieved = after.gates[gate].low + after.gates[gate].high
        if shares[gate] > thresholds.SATURATED and relieved < thresholds.RELIEVED * shares[gate]:
            return Finding(
                "unscaled-input", "warning", name,
                f"{said}: {shares[gate]:.0%} of the {gate} gate's values lie beyond 0.1 and 0.9 of its range, and "
                f"{relieved:.0%} with standard inputs", remedy,
            )  # fmt: skip
    return None


def _trajectory(layer: keras.layers.RNN, values: np.ndarray, mask: np.ndarray) -> Trajectory | None:
    """From states of zero, of some sequences; None of a cell whose equations are not known."""
    if not standard(layer):
        return None
    few = slice(TRAJECTORIES)
    zeros = np.zeros((len(values[few]), layer.units), np.float32)
    states = [zeros, zeros] if isinstance(layer, keras.layers.LSTM) else [zeros]
    return trajectory(layer, values[few].astype(np.float32), mask[few], states)


def unscaled_target(evidence: Evidence) -> Finding | None:
    """Targets far from 1 that the output does not reach in a short training, and would if they were scaled."""
    trial = evidence.trial
    if trial is None or evidence.learned or len(evidence.outputs) != 1 or evidence.constant is None:
        return None
    output = evidence.outputs[0]
    if output.classes or output.targets.dtype.kind not in "fiu":
        return None
    targets = output.targets.astype(float)
    centre, spread = float(np.nanmean(targets)), float(np.nanstd(targets))
    if max(abs(centre), spread) < thresholds.FAR_SCALE or spread == 0:
        return None
    scaled = evidence.scaled_targets
    if scaled is None:
        return None
    last = trial.losses[-10:] if trial.stopped is None else [np.inf]
    raw = float(np.mean(last)) / max(evidence.constant, 1e-12)
    again = float(np.mean(scaled.losses[-10:])) / max(evidence.scaled_constant, 1e-12)
    if raw > 1.0 + thresholds.LEARNED and again < raw * (1 - thresholds.BETTER):
        return Finding(
            "unscaled-target", "warning", output.name,
            f"the targets have a mean of {centre:.4g} and a standard deviation of {spread:.4g}; after "
            f"{len(scaled.losses)} steps the loss is {raw:.3g} times that of the best constant, with targets scaled to "
            f"mean 0 and deviation 1 it is {again:.3g} times",
            f"keras.layers.Rescaling(scale={spread:.4g}, offset={centre:.4g}) as the last layer",
        )  # fmt: skip
    return None


def vanishing_through_time(evidence: Evidence) -> Finding | None:
    """The gradient at the first steps is a negligible share of that at the last ones, and training fails for it."""
    if evidence.flow is None or not evidence.failed_to_learn:
        return None
    flows = [(layer, "") for layer in evidence.flow.values()]
    flows += [(layer, " by then") for layer in (evidence.trained_flow or {}).values()]
    for layer, when in flows:
        share = layer.first_to_last
        if not np.isfinite(share) or share > thresholds.DEAD or layer.lengths.max(initial=0) < 8:
            continue
        single = [output for output in evidence.outputs if not output.per_step]
        found = reference(evidence, single[0]) if single else None
        needs = ""
        if found is not None and found.share < 1 - thresholds.REFERENCE_GAIN - found.error:
            gain = found.late - found.share
            if gain < thresholds.REFERENCE_GAIN:
                continue  # the last half of the steps is as good as all: not for want of the first ones
            needs = (
                f"; a simple model on all steps has {found.share:.2f} of the constant's error, on the last half "
                f"{found.late:.2f}: the early steps matter"
            )
        steps, trained = int(layer.lengths.max()), len(evidence.trial.losses) if evidence.trial else 0
        return Finding(
            "vanishing-through-time", "error", layer.layer,
            f"nothing was learned in {trained} training steps; dL/dh at the first of {steps} time steps is{when} "
            f"{share:.1g} of that at the last ({layer.rate:.3f} a step back), and 90% of it lies in the last "
            f"{layer.horizon() + 1}{needs}",
            _reach(layer.cell, steps),
        )  # fmt: skip
    return None


def _reach(cell: str, steps: int) -> str:
    if cell == "LSTM":
        return (
            f"a forget bias for {steps} steps (chrono: Tallec and Ollivier 2018): bias_initializer with "
            f"log(uniform(1, {steps - 1})) for the forget gate and its negative for the input gate"
        )
    if cell == "GRU":
        return f"an update-gate bias of log(uniform(1, {steps - 1})), or an LSTM with such a forget bias"
    return (
        "keras.layers.LSTM or GRU in its place; or recurrent_initializer=identity with activation='relu' and clipping"
    )


def exploding_through_time(evidence: Evidence) -> Finding | None:
    """The gradient grows with every step back, or its norm jumps from batch to batch."""
    flow, trial = evidence.flow, evidence.trial
    clipped = _clip(evidence)
    for layer in (flow or {}).values():
        share = layer.first_to_last
        if np.isfinite(share) and share > thresholds.GROWN and layer.rate > thresholds.GROWTH_RATE:
            return Finding(
                "exploding-through-time", "warning", layer.layer,
                f"dL/dh grows by {layer.rate:.3f} with every step back: at the first of {layer.lengths.max()} steps it "
                f"is {share:.3g} times that at the last", _limit(trial),
            )  # fmt: skip
        means = layer.from_end.astype(float)
        lost = np.flatnonzero(~np.isfinite(means))
        if len(lost) and lost[0] > 3 and means[lost[0] - 1] > thresholds.GROWN * means[0] > 0:
            return Finding(
                "exploding-through-time", "error", layer.layer,
                f"dL/dh grows from {means[0]:.3g} to {means[lost[0] - 1]:.3g} within {lost[0]} steps back in time and "
                "becomes infinite there", _limit(trial),
            )  # fmt: skip
    if trial is None or clipped or not evidence.recurrent or not _jumps(trial):
        return None
    if learning_rate_too_high(evidence) is not None:
        return None
    largest, median = max(trial.norms), float(np.median(trial.norms))
    # After something was learned it is one: whether it is learned again, longer training tells.
    return Finding(
        "exploding-through-time", "note" if evidence.learned else "warning", evidence.recurrent[0][0],
        f"the gradient's norm jumps to {largest:.3g}, {largest / median:.0f} times its median, in {len(trial.norms)} "
        f"steps, and the loss to {max(trial.losses):.3g}", _limit(trial),
    )  # fmt: skip


def _limit(trial: Trial | None) -> str:
    norms = [one for one in (trial.norms if trial else []) if np.isfinite(one)]
    limit = f"global_clipnorm={np.quantile(norms, 0.1):.2g}" if norms else "global_clipnorm=1.0"
    return f"{limit} in the optimizer, or callbacks=[tt.Guard()]; recurrent_initializer='orthogonal'"


def _clip(evidence: Evidence) -> tuple[str, float] | None:
    optimizer = evidence.model.optimizer
    for name in ("global_clipnorm", "clipnorm", "clipvalue"):
        value = getattr(optimizer, name, None)
        if value:
            return name, float(value)
    return None


def non_finite_loss(evidence: Evidence) -> Finding | None:
    """Where the first NaN or infinity comes from, before any training or in its course."""
    trial = evidence.trial
    if evidence.nothing_finite:
        found = _located(evidence, (evidence.x, evidence.y, rows(evidence.data.weights, evidence.index)))
        said = "before any training the output is NaN or infinite"
        name = next((call.name for call in evidence.trace.calls if not call.finite), "output")
        if found is not None:
            row = None if found.row is None else f"row {evidence.index[found.row]}"
            name, said = found.layer or found.name, f"before any training {found.said(row)}"
        remedy = "look at what goes into it there: a division, a root, a logarithm"
        if found is not None and found.kind == "weight":
            remedy = "load the weights anew, and train with callbacks=[tt.Guard()]"
        return Finding("non-finite-loss", "error", name, said, remedy)
    if trial is None or trial.stopped is None or trial.batch is None:
        return None
    for variable, value in zip(evidence.model.trainable_variables, trial.weights, strict=True):
        variable.assign(value)
    found = _located(evidence, trial.batch)
    name = evidence.recurrent[0][0] if evidence.recurrent else "loss"
    said = f"at training step {trial.stopped + 1} the loss or its gradient is NaN or infinite"
    if found is not None:
        name = found.layer or found.name
        said = f"at training step {trial.stopped + 1} {found.said()} of the batch" if found.row is not None else (
            f"at training step {trial.stopped + 1} {found.said()}"
        )  # fmt: skip
    if trial.norms:
        said += f"; gradient norms before it: {', '.join(f'{one:.3g}' for one in trial.norms[-4:])}"
    remedy = _limit(trial)
    if trial.stopped == 0:
        remedy = "look at what is differentiated there: a root or a logarithm at 0, a norm of nothing"
    return Finding("non-finite-loss", "error", name, said, remedy)


def _located(evidence: Evidence, batch: tuple[Any, Any, Any]) -> NonFinite | None:
    try:
        return locate(evidence.model, *batch)
    except Exception as error:  # of the user's own layers when they are looked into
        evidence.left_out.append(f"where the first NaN comes from ({first_line(error)})")
        return None


def saturated_gates(evidence: Evidence) -> Finding | None:
    """Most of a gate's values lie where it has no slope, and nothing is learned."""
    if evidence.flow is None:
        return None
    learns = evidence.learned or evidence.by_heart
    for layer in evidence.flow.values():
        if layer.trajectory is None:
            continue
        for gate, one in layer.trajectory.gates.items():
            if gate in ("forget", "update", "input") and not evidence.failed_to_learn:
                continue  # they may be open or shut on purpose, as a chrono bias has them
            times = _times_too_large(evidence, layer.layer)
            if learns and not (evidence.fresh and times > thresholds.TOO_LARGE):
                continue
            if one.low + one.high > thresholds.SATURATED + 0.1:
                scale = (
                    f"; its kernel's standard deviation is {times:.3g} times that of glorot_uniform" if times else ""
                )
                return Finding(
                    "saturated-gates", "warning", layer.layer,
                    f"{one.low + one.high:.0%} of the {gate} gate's values lie below 0.1 or above 0.9 of its range"
                    f"{scale}",
                    'kernel_initializer="glorot_uniform" and recurrent_initializer="orthogonal", the defaults; or a '
                    "lower learning rate from the start",
                )  # fmt: skip
    return None


def _times_too_large(evidence: Evidence, name: str) -> float:
    """The deviation of a layer's kernel as a multiple of that of glorot_uniform; 0 where it has none."""
    for one, call in evidence.recurrent:
        if one == name and standard(call.layer):
            kernel = keras.ops.convert_to_numpy(call.layer.cell.kernel)
            return float(kernel.std() / np.sqrt(2 / (kernel.shape[0] + kernel.shape[1])))
    return 0.0


def learning_rate_too_high(evidence: Evidence) -> Finding | None:
    """Nothing is learned, or what was known is lost, and from the same weights a lower rate works."""
    trial, trainer, part = evidence.trial, evidence.trainer, evidence.part
    if trial is None or trainer is None or trainer.scheduled:
        return None
    start, ours = trial.before[part], trial.after[part] if trial.stopped is None else np.inf
    worse = not np.isfinite(ours) or ours > start * 1.5
    far = trial.moved > thresholds.MOVES_FAR or _jumps(trial)
    if not far and (evidence.by_heart or (not worse and (evidence.learned or trial.falls(part)))):
        return None
    for factor in (0.1, 0.01):
        one = evidence.at(trainer.current * factor)
        if one is None or one.stopped is not None:
            continue
        there = one.after[part]
        works = evidence.learns(one) or (worse and there < start * (1 - thresholds.LEARNED))
        if works and (not np.isfinite(ours) or there < ours - thresholds.BETTER * abs(ours)):
            return Finding(
                "learning-rate-too-high", "error" if worse else "warning", "optimizer",
                f"from the same weights the loss goes from {start:.4g} to {ours:.4g} in {len(trial.losses)} steps at "
                f"{trainer.current:.3g}, and to {there:.4g} in {len(one.losses)} steps at {one.rate:.3g}; a step moves "
                f"the weights by {trial.moved:.1%}", f"learning_rate={one.rate:.3g}",
            )  # fmt: skip
    return None


def _jumps(trial: Trial) -> bool:
    """The gradient's norm jumps far above its median, and the loss above where it began."""
    if len(trial.norms) < 8:
        return False
    median = float(np.median(trial.norms))
    higher = max(trial.losses) > 3 * trial.losses[0] or trial.stopped is not None
    return higher and max(trial.norms) > thresholds.JUMPS * median > 0


def learning_rate_too_low(evidence: Evidence) -> Finding | None:
    """All of the planned training would move the weights by next to nothing, and a higher rate does better."""
    trial, trainer, part = evidence.trial, evidence.trainer, evidence.part
    if trial is None or trial.stopped is not None or trainer is None or trainer.scheduled or evidence.learned:
        return None
    if trial.moved * len(trial.losses) > thresholds.MOVES or evidence.by_heart:
        return None
    data = evidence.data
    planned = thresholds.PLANNED_STEPS
    if data.fit.get("epochs"):
        planned = int(data.fit["epochs"]) * max(1, data.size // data.batch_size)
    fell = trial.before[part] - trial.after[part]
    usual = 0.01 if isinstance(evidence.model.optimizer, keras.optimizers.SGD) else 0.001
    rates = [trainer.current * 10, trainer.current * 100]
    for rate in [*rates, *([usual] if usual > rates[-1] else [])]:
        one = evidence.at(rate)
        if one is None or one.stopped is not None:
            continue
        there = one.before[part] - one.after[part]
        if there > thresholds.LEARNED * abs(one.before[part]) and fell < 0.1 * there:
            return Finding(
                "learning-rate-too-low", "warning", "optimizer",
                f"in {len(trial.losses)} steps at {trainer.current:.3g} the loss goes from {trial.before[part]:.4g} to "
                f"{trial.after[part]:.4g}, in {len(one.losses)} steps at {rate:.3g} to {one.after[part]:.4g}; a step "
                f"moves the weights by {trial.moved:.1g} of their size, {planned} steps by at most "
                f"{trial.moved * planned:.1g}", f"learning_rate={rate:.3g}",
            )  # fmt: skip
    return None


def clipping_ineffective(evidence: Evidence) -> Finding | None:
    clip, trial = _clip(evidence), evidence.trial
    if clip is None or trial is None or len(trial.norms) < 8:
        return None
    name, value = clip
    norms = np.array(trial.norms)
    if name == "clipvalue":
        return None  # by element, which no norm is compared with
    suggestion = f"{name}={np.quantile(norms, 0.5):.2g}, or callbacks=[tt.Guard()] in its place"
    said = f"{name}={value:g}, and the gradient's norm lies between {norms.min():.3g} and {norms.max():.3g}"
    if norms.max() < value:
        jumps = norms.max() / max(float(np.median(norms)), 1e-30) > thresholds.JUMPS
        wild = jumps or trial.stopped is not None or exploding_through_time(evidence) is not None
        return Finding(
            "clipping-ineffective", "warning" if wild else "note", "optimizer", f"{said}: it never acts", suggestion
        )
    adaptive = not isinstance(evidence.model.optimizer, keras.optimizers.SGD)
    if norms.min() > thresholds.FAR_ABOVE * value:
        said += f": every step is cut to {value / np.median(norms):.1g} of its length"
        longer = None if adaptive or evidence.trainer is None else evidence.at(evidence.trainer.current * 10)
        part = evidence.part
        if (
            longer is None
            or longer.stopped is not None
            or longer.least(part) > trial.after[part] * (1 - thresholds.LEARNED)
        ):
            return Finding("clipping-ineffective", "note", "optimizer", said, suggestion)
        return Finding(
            "clipping-ineffective", "warning", "optimizer",
            f"{said}; with steps ten times as long the loss is {longer.after[part]:.4g} after {len(longer.losses)} of "
            f"them, with these {trial.after[part]:.4g} after {len(trial.losses)}", suggestion,
        )  # fmt: skip
    return None


def constant_prediction(evidence: Evidence) -> Finding | None:
    """After a short training the answers are nearly the same for all inputs, and no better than one constant."""
    trial = evidence.trial
    if trial is None or trial.stopped is not None or evidence.learned or evidence.by_heart or evidence.constant is None:
        return None
    loss = trial.after[evidence.part]
    # A loss that still falls may be on its way to the constant's, where it will stay: then all answers are the same.
    limit = thresholds.FLAT_SPREAD if evidence.failed_to_learn else thresholds.NO_SPREAD
    if not evidence.failed_to_learn and loss > evidence.constant * (1 + thresholds.LEARNED):
        return None
    for place, output in enumerate(evidence.outputs):
        said = _spread(output, trial.predictions[place], limit)
        if said is not None:
            return Finding(
                "constant-prediction", "warning", output.name,
                f"after {len(trial.losses)} steps {said}; the loss is {loss:.4g}, that of the best constant "
                f"{evidence.constant:.4g}",
                "tt.gradient_flow(model, x, y) shows what reaches the layers; a simpler model of the same data is a "
                "second opinion",
            )  # fmt: skip
    return None


def _spread(output: Output, predicted: np.ndarray, limit: float) -> str | None:
    if output.classes:
        scores = predicted if predicted.shape[-1] > 1 else np.concatenate([1 - predicted, predicted], axis=-1)
        spread = float(predicted.reshape(-1, predicted.shape[-1]).std(axis=0).max())
        chosen = np.bincount(scores.argmax(axis=-1).ravel())
        share = chosen.max() / chosen.sum()
        if spread < limit / 5:
            return f"the probabilities differ by {spread:.2g} between inputs"
        if limit == thresholds.FLAT_SPREAD and share > 0.97:
            return f"{share:.0%} of the inputs are given class {chosen.argmax()}"
        return None
    wanted = float(np.std(output.targets.astype(float)))
    spread = float(predicted.std())
    if wanted > 0 and spread < limit * wanted:
        return f"the predictions have {spread / wanted:.1%} of the targets' standard deviation"
    return None


def random_labels(evidence: Evidence) -> Finding | None:
    """Neither the model nor a simple one does better than a constant on data that it has not seen."""
    trial = evidence.trial
    if trial is None or trial.stopped is not None or evidence.constant is None or evidence.part != "held":
        return None
    if evidence.learned or trial.falls("held"):
        return None
    for output in evidence.outputs:
        found = reference(evidence, output)
        if found is None or found.error > thresholds.UNSURE:
            return None
        if found.share < 1 - thresholds.REFERENCE_GAIN and found.share + 2 * found.error < 1:
            return None
        return Finding(
            "random-labels", "warning", "y",
            f"cross-validated, a linear model and a forest on the same inputs have {found.share:.2f} of the constant's "
            f"error (standard error {found.error:.2f}); on sequences held out the model's least loss is "
            f"{trial.least('held'):.4g}, the constant's {evidence.constant:.4g}",
            "look at the labels: is y in the order of x? does the target depend on these inputs at all?",
        )  # fmt: skip
    return None


def persistence(evidence: Evidence) -> Finding | None:
    """A forecast that is no better than the last value, and follows it, where the series has no more to give."""
    trial = evidence.trial
    if trial is None or trial.stopped is not None or len(evidence.outputs) != 1:
        return None
    output = evidence.outputs[0]
    if output.classes or output.per_step or evidence.data.task not in (None, "forecast"):
        return None
    targets = output.targets.reshape(len(output.targets), -1)[:, 0].astype(float)
    for steps in evidence.steps:
        if steps.tokens or steps.values.shape[1] < 3:
            continue
        last = steps.values[:, -1, :].astype(float)
        errors = ((last - targets[:, None]) ** 2).mean(axis=0)
        feature = int(errors.argmin())
        naive = float(errors[feature])
        if naive > 0.5 * targets.var() or not _continues(steps.values[:, :, feature], targets):
            continue
        sample = evidence.sample
        part = sample.part(evidence.part)
        predicted = trial.predictions[0][part].reshape(-1, int(np.prod(trial.predictions[0].shape[1:])))[:, 0]
        wanted = keras.tree.flatten(sample.y)[0][part].reshape(len(predicted), -1)[:, 0].astype(float)
        window = named(sample.x, "x")[steps.name][part]
        echo = window.reshape(*window.shape[:2], -1)[:, -1, feature].astype(float)
        skill = 1 - float(((predicted - wanted) ** 2).mean()) / max(float(((echo - wanted) ** 2).mean()), 1e-12)
        if predicted.std() == 0 or skill > thresholds.ECHO:
            continue
        follows = np.corrcoef(predicted, echo)[0, 1]
        hits = np.corrcoef(predicted, wanted)[0, 1]
        possible = _linear_skill(steps.values[:, :, feature].astype(float), targets)
        if follows > hits and possible <= thresholds.ECHO:
            return Finding(
                "persistence", "warning", output.name,
                f"the skill against the last value is {skill:+.3f}; the forecast correlates {follows:.3f} with the "
                f"last value and {hits:.3f} with the target; a linear model of the window has a skill of "
                f"{possible:+.3f}",
                "forecast the change, y - x[:, -1], and report the skill against the last value; more inputs, or "
                "accept that the series is a random walk",
            )  # fmt: skip
    return None


def _continues(values: np.ndarray, targets: np.ndarray) -> bool:
    """The target is the series' next value: it differs from the last one by about as much as neighbours do."""
    steps = np.abs(np.diff(values, axis=1)).mean()
    change = np.abs(targets - values[:, -1]).mean()
    return bool(steps > 0 and change < 5 * steps)


def _linear_skill(window: np.ndarray, targets: np.ndarray) -> float:
    """Of ridge regression for the change after the window, on the last quarter of the rows."""
    from sklearn.linear_model import RidgeCV

    change = np.diff(window, axis=1)
    features = np.concatenate([change, window[:, -1:] - window.mean(axis=1, keepdims=True)], axis=1)[:, -64:]
    cut = int(len(window) * 0.75)
    if cut < 16 or len(window) - cut < 8:
        return 0.0
    wanted = targets - window[:, -1]
    model = RidgeCV(np.logspace(-3, 4, 8)).fit(features[:cut], wanted[:cut])
    left = wanted[cut:] - model.predict(features[cut:])
    return 1 - float((left**2).mean()) / max(float((wanted[cut:] ** 2).mean()), 1e-12)


def overfit(evidence: Evidence) -> Finding | None:
    """Validation loss rises from its least while training loss falls, with each of three orders of the data."""
    trial = evidence.trial
    if trial is None or trial.stopped is not None or evidence.data.validation is None or not evidence.by_heart:
        return None
    remedy = "keras.callbacks.EarlyStopping(restore_best_weights=True); fewer units, dropout=, or more data"
    before = trial.before
    if "held" not in before or "held" not in evidence.constants:
        return None
    known = before["train"] < thresholds.BY_HEART * evidence.constants["train"]
    if known and before["held"] > max(evidence.constants["held"], 2 * before["train"]):
        return Finding(
            "overfit", "warning", "model",
            f"as it is, its loss is {before['train']:.3g} on training data and {before['held']:.3g} on validation "
            f"data, where the best constant has {evidence.constants['held']:.3g}", remedy,
        )  # fmt: skip
    gaps = [_gap(trial)]
    for seed in (1, 2):
        if gaps[-1] is None:
            return None
        again = evidence.again(seed)
        gaps.append(_gap(again) if again is not None else None)
    found = [gap for gap in gaps if gap is not None]
    if len(found) < 3:
        return None
    return Finding(
        "overfit", "warning", "model",
        f"with three orders of the data the validation loss ends at {min(found):.2f} to {max(found):.2f} times its "
        f"least, after {len(trial.losses)} steps, while the training loss goes on falling (to "
        f"{trial.after['train']:.3g}; validation {trial.after['held']:.3g})", remedy,
    )  # fmt: skip


def _gap(trial: Trial) -> float | None:
    """Validation loss at the end over its least; None where it has not risen while the training loss fell."""
    train, held = trial.along("train"), trial.along("held")
    if len(held) < 4 or not np.isfinite(held).all():
        return None
    place = int(held.argmin())
    if place >= len(held) - 2 or train[-1] >= train[place] or held[place] <= 0:
        return None
    gap = float(held[-1] / held[place])
    return gap if gap > thresholds.GAP and held[-1] > 2 * train[-1] else None


RULES = (
    unscaled_input,
    unscaled_target,
    exploding_through_time,
    non_finite_loss,
    saturated_gates,
    learning_rate_too_high,
    learning_rate_too_low,
    clipping_ineffective,
    vanishing_through_time,
    random_labels,
    persistence,
    overfit,
    constant_prediction,
)
