"""Each picture holds the numbers that it was given, and survives those that are not numbers."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from evidence import classify, flow, forecast, regress

from throughtime.report import charts, drawing


def drawn(chart, tag, role=None):
    """Elements of a chart, in order; with ``role``, those whose stroke or fill is that role's colour."""
    found = ElementTree.fromstring(chart.svg).iter(tag)
    return [one for one in found if role is None or f"var(--{role})" in one.get("style", "")]


def texts(chart):
    return [element.text for element in drawn(chart, "text")]


def points(element):
    return [tuple(map(float, pair)) for pair in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", element.get("d"))]


def lines(chart, role):
    return [path for path in drawn(chart, "path", role) if len(points(path)) > 2]


def test_bars_are_as_long_as_their_scores_and_the_best_is_first():
    chart = charts.scores(classify()["scores"])
    network, *others = [points(path) for role in ("network", "muted") for path in drawn(chart, "path", role)]
    widths = [max(x for x, _ in bar) - min(x for x, _ in bar) for bar in (network, *others)]
    assert widths == pytest.approx(
        [378 * score for score in (classify()["scores"]["rows"][0]["values"]["accuracy"], 0.843, 0.138)], abs=0.1
    )
    assert texts(charts.scores(regress()["scores"]))[:2] == ["linear fit on the last step", "18.3"]


def test_a_negative_score_is_a_bar_to_the_left_of_zero():
    rows = [{"name": "a", "network": True, "values": {"r2": -1.0}}, {"name": "b", "values": {"r2": 1.0}}]
    chart = charts.scores({"primary": "r2", "higher_is_better": True, "rows": rows})
    (worse,), (better,) = ([points(path) for path in drawn(chart, "path", role)] for role in ("network", "muted"))
    assert max(x for x, _ in worse) == pytest.approx(min(x for x, _ in better))


@pytest.mark.parametrize("rows", [[], [{"name": "a", "values": {}}], [{"name": "a", "values": {"r2": math.nan}}]])
def test_scores_that_are_no_numbers_are_not_drawn(rows):
    assert charts.scores({"primary": "r2", "rows": rows}) is None


def test_a_learning_curve_has_a_point_an_epoch():
    loss, score = charts.learning_curves(classify()["curves"])
    assert [len(points(path)) for path in lines(loss, "network")] == [60]
    assert [len(points(path)) for path in lines(loss, "muted")] == [60]
    assert "validation" in texts(score)
    assert f"epoch {classify()['curves']['best_epoch']} kept" in texts(loss)


def test_a_curve_over_decades_is_logarithmic_and_says_so():
    (chart,) = charts.learning_curves(regress()["curves"])
    assert "Logarithmic" in chart.note
    assert {"10", "100", "1,000"} <= set(texts(chart))


def test_epochs_without_a_finite_loss_are_gaps_that_are_counted():
    (chart,) = charts.learning_curves({"epoch": [1, 2, 3, 4], "loss": [3.0, None, 1.0, math.inf]})
    assert "2 values were not finite" in chart.note
    assert len(drawn(chart, "use", "muted")) >= 2, "a point between two gaps has to be a dot"
    (half,) = charts.learning_curves({"epoch": [1, 2], "loss": [math.nan] * 2, "validation_loss": [2.0, 1.0]})
    assert "2 values were not finite" in half.note, "a line that is lost as a whole is lost in silence"
    assert charts.learning_curves({"epoch": [1], "loss": [math.nan]}) == []
    assert charts.learning_curves({"epoch": [], "loss": []}) == []


def test_one_epoch_is_a_dot():
    (chart,) = charts.learning_curves({"epoch": [1], "loss": [0.5], "best_epoch": 1})
    assert any("var(--muted)" in use.get("style", "") for use in drawn(chart, "use"))


def test_labels_at_the_ends_of_lines_do_not_touch():
    (chart,) = charts.learning_curves({"epoch": [1, 2], "loss": [1.0, 0.5], "validation_loss": [1.1, 0.5]})
    places = [float(text.get("y")) for text in drawn(chart, "text") if text.text in ("training", "validation")]
    assert abs(places[0] - places[1]) > 12


def test_a_histogram_has_a_bar_a_bin_with_heights_in_proportion():
    part = {
        "name": "train",
        "shortest": 1,
        "median": 2,
        "longest": 4,
        "histogram": {"edges": [1, 2, 3, 4], "counts": [1, 4, 2]},
    }
    chart = charts.length_histogram([part])
    bars = [points(path) for path in drawn(chart, "path", "network")]
    heights = [max(y for _, y in bar) - min(y for _, y in bar) for bar in bars]
    assert heights == pytest.approx([heights[1] / 4, heights[1], heights[1] / 2], rel=0.02)
    assert {"train", "median 2"} <= set(texts(chart))


def test_equal_lengths_need_no_histogram():
    assert charts.length_histogram(forecast()["data"]["parts"]) is None
    assert charts.length_histogram([]) is None


@pytest.mark.parametrize("classes", [1, 2, 9, 12, 13, 25])
def test_a_confusion_matrix_has_a_cell_a_pair_in_two_hues(classes):
    counts = np.random.default_rng(classes).integers(0, 3, (classes, classes)) + np.eye(classes, dtype=int)
    chart = charts.confusion({"labels": [f"class {index}" for index in range(classes)], "counts": counts.tolist()})
    assert len(drawn(chart, "path", "right")) == classes
    assert len(drawn(chart, "path", "wrong")) == np.count_nonzero(counts) - classes
    assert f"{np.trace(counts)} of {counts.sum()} on the diagonal" in chart.alt


def test_a_confusion_matrix_tells_truth_from_prediction():
    chart = charts.confusion({"labels": ["a", "b"], "counts": [[0, 7], [0, 0]]})
    (cell,) = drawn(chart, "path", "wrong")
    middle = np.mean(points(cell)[:4], axis=0)
    heads = [text for text in drawn(chart, "text") if text.text == "b"]
    row, column = sorted(heads, key=lambda text: float(text.get("x")))
    assert float(column.get("x")) == pytest.approx(middle[0], abs=1)
    assert middle[1] < float(row.get("y")) - 20, "row a, above row b"


def test_more_classes_than_can_be_read_are_not_drawn():
    assert charts.confusion({"labels": list(range(26)), "counts": np.eye(26).tolist()}) is None
    assert charts.confusion({"labels": [], "counts": []}) is None


def test_a_forecast_joins_the_history_and_keeps_every_step():
    chart = charts.forecast(forecast()["forecasts"]["examples"][0])
    assert [len(points(path)) for path in lines(chart, "network")] == [25]
    assert [len(points(path)) for path in lines(chart, "baseline1")] == [25]
    assert sorted(len(points(path)) for path in lines(chart, "ink")) == [25, 72]
    assert [stroke.name for stroke in chart.key] == ["truth", "forecast", "seasonal naive (24)"]
    assert any("2017" in text for text in texts(chart))


def test_a_forecast_states_the_mean_error_of_both():
    example = {"series": "a", "truth": [1.0, 2.0, None], "forecast": [1.5, 1.5, 9.0], "baseline": [3.0, 4.0, 0.0]}
    assert charts.forecast(example).note == "Off by 0.500 on average; baseline by 2.00."


def test_nothing_to_forecast_is_no_picture():
    assert charts.forecast({"series": "a", "truth": [], "forecast": []}) is None
    assert charts.forecast({"series": "a", "truth": [None], "forecast": [math.inf]}) is None


def test_errors_by_step_start_at_zero_and_differ_by_dash():
    chart = charts.error_by_horizon(forecast()["forecasts"]["by_step"])
    for role in ("network", "baseline1", "baseline2"):
        assert [len(points(path)) for path in lines(chart, role)] == [24]
    assert len({stroke.dashes for stroke in chart.key}) == 3
    assert "0" in texts(chart)
    assert charts.error_by_horizon({"step": [1], "lines": []}) is None


def test_a_scatter_has_a_dot_a_pair_up_to_a_limit_that_it_states():
    few = charts.truth_against_prediction({"truth": [1.0, 2.0, None], "prediction": [1.0, 3.0, 4.0]})
    assert len(drawn(few, "use", "network")) == 2
    assert "1 pair was not finite" in few.note
    many = charts.truth_against_prediction(regress()["regression"])
    assert len(drawn(many, "use", "network")) == charts.MOST_POINTS
    assert "1,000 of 1,800 points shown" in many.note
    assert charts.truth_against_prediction({"truth": [], "prediction": []}) is None


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e-3, 1.0, 1e6, 1e12, 1e300])
def test_numbers_of_any_size_are_labelled_within_the_picture(scale):
    values = (np.linspace(1, 2, 9) * scale).tolist()
    chart = charts.truth_against_prediction({"truth": values, "prediction": values[::-1]})
    assert all(0 <= float(text.get("x", 0)) <= drawing.WIDTH for text in drawn(chart, "text"))
    labels = [text for text in texts(chart) if text not in ("truth", "predicted")]
    assert len(set(labels)) >= 3
    assert max(map(len, labels)) <= 12


def test_names_are_cut_in_the_middle_and_freed_of_control_signs():
    assert drawing.words("validation of\n the\x00 \u202esecond kind", 60) == "validation of the second kind"
    assert drawing.words("abcdefghij", 7) == "abcd…ij"
    assert drawing.words("abcdefg", 7) == "abcdefg"


def test_figures_on_coloured_cells_can_be_read_in_both_themes():
    css = (Path(charts.__file__).parent / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\n *\}", css, flags=re.DOTALL)
    for theme in (light, light + dark):
        colour = {name: np.array([int(value[at : at + 2], 16) for at in (0, 2, 4)])
                  for name, value in re.findall(r"--(\w+): #(\w{6})", theme)}  # fmt: skip
        for hue, alpha in itertools.product(("right", "wrong"), (0.14, 0.6)):
            cell = alpha * colour[hue] + (1 - alpha) * colour["card"]
            bright, dim = sorted((luminance(colour["ink"]), luminance(cell)), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (hue, alpha)


def luminance(colour):
    part = np.asarray(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_gradient_has_a_line_a_layer_and_a_stroke_at_each_horizon():
    given = flow({"first": 0.9, "second": 0.5})
    chart = charts.gradient_reach(given)
    assert [len(points(path)) for role in ("network", "baseline1") for path in lines(chart, role)] == [29, 29]
    assert [stroke.name for stroke in chart.key] == ["first", "second"]
    strokes = [
        path for role in ("network", "baseline1") for path in drawn(chart, "path", role) if len(points(path)) == 2
    ]
    x = [points(path)[0][0] for path in strokes]
    (line,) = lines(chart, "network")
    at = {round(place): x for place, (x, _) in zip(range(29), points(line), strict=True)}
    assert x == pytest.approx([at[layer["horizon"]] for layer in given["best"].values()], abs=0.1)
    assert "first from 0.0200 at the last step to" in chart.alt and "28 steps before" in chart.alt


@pytest.mark.parametrize("start", [1e-7, 0.02, 0.11, 0.5, 1.0, 3e5])
@pytest.mark.parametrize("rate", [1.0, 0.999, 1.02, 0.6])
def test_the_axis_of_the_gradient_has_more_than_one_tick(start, rate):
    layer = {"lags": [*range(12)], "norms": [start * rate**lag for lag in range(12)], "horizon": 3}
    chart = charts.gradient_reach({"best": {"rnn": layer}})
    vertical = {text.get("y") for text in drawn(chart, "text") if "end" in text.get("style", "")}
    assert len(vertical) >= 2, "one tick alone is no scale"


def test_one_layer_has_its_flow_before_training_beside_it():
    chart = charts.gradient_reach(flow({"rnn": 0.8}))
    assert [stroke.name for stroke in chart.key] == ["rnn", "before training"]
    assert len(lines(chart, "muted")) == 1


def test_a_gradient_of_zero_is_a_gap_and_of_nothing_no_picture():
    given = flow({"rnn": 0.8})
    given["best"]["rnn"]["norms"][20:] = [0.0] * 9
    (line,) = lines(charts.gradient_reach(given), "network")
    assert len(points(line)) == 20
    given["best"]["rnn"]["norms"] = given["start"]["rnn"]["norms"] = [None] * 29
    assert charts.gradient_reach(given) is None
    assert charts.gradient_reach({}) is None
    for empty in (
        {},
        {"steps": [1, 2], "lags": [0], "norms": [[1.0]]},
        {"steps": [1], "lags": [0, 1], "norms": [[1, 2]]},
    ):
        assert charts.gradient_map("rnn", empty) is None


def test_a_heat_map_is_stronger_where_the_gradient_is_larger():
    steps, lags = [1, 2, 3], [0, 1, 2, 3]
    norms = [[1.0, 0.1, 0.01, None], [1.0, 1.0, 1.0, 1.0], [0.01, 0.01, 0.0, 0.01]]
    chart = charts.gradient_map("rnn", {"steps": steps, "lags": lags, "norms": norms, "horizon": [1, 3, 0]})
    cells = {}
    for path in drawn(chart, "path", "network"):
        strength = (
            float(re.search(r"opacity: ([\d.]+)", path.get("style"))[1]) if "opacity" in path.get("style") else 1.0
        )
        cells[strength] = path.get("d").count("M")
    # Runs along a reading: 1, and four times 1; 0.1; 0.01, and 0.01 on both sides of a zero, which is not drawn.
    assert {round(12 * strength): count for strength, count in cells.items()} == {12: 2, 7: 1, 1: 3}
    assert len(drawn(chart, "path", "wrong")) == 1
    assert "3 readings from step 1 to 3" in chart.alt
