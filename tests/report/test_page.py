"""The page as a document: self-contained, escaped, complete, and silent about what it was not given."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from evidence import FINDINGS, TASKS, classify, flow, forecast, hostile, regress
from hypothesis import given, settings
from hypothesis import strategies as st
from reader import Reader

from throughtime.errors import RunError
from throughtime.report import charts, page, sections

HEADINGS = {
    "scores": "Against the baselines", "confusion": "Where it errs", "forecasts": "Forecasts and truth",
    "regression": "Predictions and truth", "curves": "How it learned", "flow": "How far the gradient reaches",
    "findings": "Findings",
    "data": "The data",
}  # fmt: skip


@pytest.fixture(params=sorted(TASKS))
def evidence(request):
    return TASKS[request.param]()


def test_it_is_one_file_that_fetches_nothing(evidence):
    text = page.render(evidence)
    read = Reader(text)
    assert not {"script", "iframe", "object", "embed", "img", "base", "form"} & {tag for tag, _ in read.elements}
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
                assert value.startswith(("#", "data:")), f"<{tag} {name}={value!r}>"
    assert not re.search(r"https?:|@import|url\((?!#)", text)


def test_ids_are_unique_and_every_reference_finds_its_own(evidence):
    text = page.render(evidence)
    ids = [attributes["id"] for _, attributes in Reader(text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#|aria-labelledby=")([^)"]+)', text)) <= set(ids)


def test_it_can_be_read_without_seeing(evidence):
    read = Reader(page.render(evidence))
    assert read.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(read.all("caption")) == len(read.all("table"))
    assert all(cell.get("scope") in ("row", "col") for cell in read.all("th"))
    assert all(box.get("aria-label") for _, box in read.elements if box.get("role") in ("img", "region"))
    charts = [box for _, box in read.elements if box.get("class") == "chart"]
    assert charts
    assert all(box["role"] == "img" and len(box["aria-label"]) > 20 for box in charts)


def test_the_same_evidence_makes_the_same_page_twice_even_through_json(evidence):
    assert page.render(evidence) == page.render(json.loads(json.dumps(evidence)))


def test_markup_and_mathematics_in_names_are_only_text():
    text = page.render(hostile())
    read = Reader(text)
    assert "<script" not in text
    assert not read.all("script")
    assert "<script>alert(1)</script>" in [words for tag, words in read.texts if tag == "text"]
    assert "$x_1$" in [words for tag, words in read.texts if tag == "th"]
    assert any("$\\frac{1}{2}$" in words for tag, words in read.texts if tag == "text")
    assert not re.search(r"\b(nan|inf|NaN|None)\b", read.text())


def test_the_verdict_and_the_score_beside_its_best_baseline_come_first():
    read = Reader(page.render(regress()))
    words = [text for tag, text in read.texts if tag not in ("style", "title")]
    opening = words[: words.index("Against the baselines")]
    assert "No better than the baseline" in opening
    assert opening.index("18.4") < opening.index("18.3")
    assert "best baseline: linear fit on the last step" in opening


@pytest.mark.parametrize(
    ("beats", "said"),
    [
        (True, "Better than the baseline"),
        (False, "No better than the baseline"),
        (None, "Not shown to be better than the baseline"),
    ],
)
def test_a_verdict_is_told_in_words_as_well_as_in_colour(beats, said):
    assert said in Reader(page.render({"verdict": {"text": "Plain words.", "beats": beats}})).text()


@pytest.mark.parametrize("severity", ["error", "warning", "note"])
@pytest.mark.parametrize("beats", [True, False, None])
def test_a_tick_does_not_stand_unqualified_above_an_error(severity, beats):
    found = {**FINDINGS["found"][0], "severity": severity}
    shown = {"verdict": {"text": "Plain words.", "beats": beats}, "findings": {"found": [found]}}
    given = sections.verdict(shown)
    assert (given["sign"] == "yes") == (beats is True and severity != "error")
    assert ("with 1 error in data or model" in given["label"]) == (severity == "error")
    twice = sections.verdict(shown | {"findings": {"found": [found, found]}})
    assert ("2 errors" in twice["label"]) == (severity == "error")


def test_scores_are_printed_in_a_table_row():
    read = Reader(page.render(regress()))
    cells = [text for tag, text in read.texts if tag in ("th", "td")]
    start = cells.index("linear fit on the last step")
    assert cells[start : start + 4] == ["linear fit on the last step", "18.3", "13.4", "0.745"]
    assert "RMSE (cycles)" in cells
    assert "R²" in cells, "a unit beside a score that has none"


def test_gains_have_their_intervals_and_targets_their_own_units():
    cells = [text for tag, text in Reader(page.render(classify())).texts if tag in ("th", "td")]
    assert {"points of accuracy", "95% interval", "+12.1", "+9.0 to +15.1", "mean recall"} <= set(cells)
    ratio = Reader(page.render(forecast()))
    cells = [text for tag, text in ratio.texts if tag in ("th", "td")]
    start = cells.index("LUFL")
    assert cells[start : start + 2] == ["LUFL", "LSTM"]
    start = cells.index("LUFL", start + 1)
    assert cells[start : start + 2] == ["LUFL", "seasonal naive (24)"]
    assert cells[start + 4 : start + 6] == ["0.364", "+0.333 to +0.394"]
    two = classify()
    two["scores"]["positive"] = "<fail>"
    assert "recall of <fail>" in [text for tag, text in Reader(page.render(two)).texts if tag == "th"]


def test_evidence_of_the_first_versions_is_drawn():
    """They had one target, and no gains."""
    old = forecast()
    assert isinstance(old["forecasts"]["by_step"], dict)
    now = {**old["forecasts"], "by_step": [old["forecasts"]["by_step"] | {"target": "OT"}]}
    one, several = (Reader(page.render({"forecasts": given})).text() for given in (old["forecasts"], now))
    assert "RMSE by steps ahead" in one
    assert "RMSE of OT by steps ahead" in several
    given = {"truth": [1.0, 2.0], "prediction": [1.5, 2.0]}
    one, several = (Reader(page.render({"regression": g})).text() for g in (given, [given | {"target": "y"}] * 2))
    assert "Prediction over truth" in one
    assert several.count("Prediction over truth: y") == 2
    skill = page.render({"scores": {**regress()["scores"], "targets": []}})
    assert "95% interval" not in skill


def test_a_card_is_titled_by_series_target_and_date():
    example = forecast()["forecasts"]["examples"][0]
    assert charts.forecast(example).title == "Series 0, from 4 July 2017"
    assert charts.forecast(example | {"target": "OT"}).title == "Series 0, OT, from 4 July 2017"
    half = [text.replace("00:00:00", "00:30:00") for text in example["time"]]
    assert charts.forecast(example | {"time": half}).title == "Series 0, from 4 July 2017, 00:30"
    counted = example | {"time": list(range(72, 96)), "history_time": list(range(72))}
    assert charts.forecast(counted).title == "Series 0, from 72"


def test_what_is_absent_is_left_out():
    full = classify() | {
        name: value for task in (forecast(), regress()) for name, value in task.items() if name in HEADINGS
    }
    for name, heading in HEADINGS.items():
        alone = Reader(page.render({"title": "Alone", name: full[name]}))
        assert [text for tag, text in alone.texts if tag == "h2"] == [heading]
    bare = Reader(page.render({"title": "Bare"}))
    assert not bare.all("section")
    assert not bare.all("table")


@pytest.mark.parametrize(
    "name", [*HEADINGS, "network", "settings", "per_class", "versions", "notes", "verdict", "command", "created"]
)
def test_an_empty_section_is_an_absent_one(name):
    absent = page.render({"title": "Bare"})
    for empty in (None, {}, []):
        assert page.render({"title": "Bare", name: empty}) == absent


def test_every_key_inside_a_section_that_may_be_absent_may_be_absent():
    evidence = classify()
    for key in ("parts", "features", "target", "padding", "source"):
        data = {name: value for name, value in evidence["data"].items() if name != key}
        Reader(page.render({**evidence, "data": data}))
    for key in ("validation_loss", "validation_score", "score_name", "best_epoch"):
        curves = {name: value for name, value in evidence["curves"].items() if name != key}
        Reader(page.render({**evidence, "curves": curves}))


def test_the_weights_it_began_with_are_no_epoch():
    evidence = classify()
    said = Reader(page.render({**evidence, "curves": {**evidence["curves"], "best_epoch": 0}})).text()
    assert "No epoch was better than the weights it began with" in said
    assert "epoch 0 were kept" not in said


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.03, "the mean is 3.0% of the mean at the last step: the network can learn from the whole sequence."),
        (2.5, "the mean is 2.50 times the mean at the last step: the network can learn from the whole sequence."),
        (2e-5, "is 2.0×10⁻⁵ of the mean at the last step: the gradient fades on its way"),  # noqa: RUF001
        (1e-9, "is 1.0×10⁻⁹ of the mean at the last step: the gradient dies on its way"),  # noqa: RUF001
        (0.0, "is 0% of the mean at the last step: the gradient dies on its way"),
        (40.0, "is 40.0 times the mean at the last step: the gradient grows on its way"),
    ],
)
def test_what_the_flow_means_is_said_in_a_sentence(ratio, said):
    lags = np.arange(29)
    # The median over sequences of their own ratios is another number, and is not what is drawn.
    layer = flow({"lstm": 0.9})["best"]["lstm"] | {
        "first_to_last": 0.5,
        "norms": (0.02 * ratio ** (lags / 28)).tolist(),
    }
    text = Reader(page.render({"flow": {"best": {"lstm": layer}}})).text()
    assert said in text
    assert "28 steps before the end, where a typical sequence begins" in text


def test_a_flow_that_is_not_finite_or_does_not_begin_at_the_end_is_said_to_be_so():
    layer = flow({"lstm": 0.9})["best"]["lstm"]
    broken = layer | {"norms": [None, *layer["norms"][1:]], "first_to_last": None}
    assert "The gradient is not finite at some step" in Reader(page.render({"flow": {"best": {"lstm": broken}}})).text()
    silent = layer | {"norms": [0.0, *layer["norms"][1:]], "first_to_last": None}
    assert "the last step itself gets none" in Reader(page.render({"flow": {"best": {"lstm": silent}}})).text()


@settings(deadline=None)
@given(
    rates=st.lists(st.floats(0.3, 2.0), min_size=2, max_size=40), typical=st.integers(2, 60), start=st.floats(1e-8, 1e6)
)
def test_the_words_on_the_gradient_are_read_off_its_curve(rates, typical, start):
    norms = (start * np.cumprod([1.0, *rates])).tolist()
    layer = {"longest": len(norms), "typical": min(typical, len(norms)), "lags": [*range(len(norms))], "norms": norms,
             "horizon": 1, "rate": 1.0, "first_to_last": 1.0}  # fmt: skip
    place = min(typical, len(norms)) - 1
    assert sections.begin_to_end(layer) == pytest.approx(norms[place] / norms[0])
    back = "1 step" if place == 1 else f"{place} steps"
    assert f"{back} before the end, where a typical sequence begins" in sections.reach(layer)


def test_a_flow_of_steps_with_losses_of_their_own_is_not_said_to_reach():
    text = Reader(page.render(TASKS["tag"]())).text()
    assert "Each step has a loss of its own" in text
    assert "can learn from the whole sequence" not in text


def test_a_flow_that_is_absent_says_why():
    text = Reader(page.render({"flow": {"reason": "the model has no recurrent layer."}})).text()
    assert "How far the gradient reaches It could not be measured: the model has no recurrent layer." in text
    one_step = flow({"lstm": 0.9}, steps=1)
    assert "no way back in time" in Reader(page.render({"flow": {"best": one_step["best"]}})).text()
    dead = {"lstm": one_step["best"]["lstm"] | {"longest": 5, "norms": [0.0] * 5, "lags": [*range(5)]}}
    assert "No gradient arrives" in Reader(page.render({"flow": {"best": dead}})).text()


def test_findings_have_their_evidence_remedy_and_consequences_and_are_counted_at_the_top():
    text = Reader(page.render(regress())).text()
    assert "1 warning, 1 note found before the training." in text
    found = text[text.index("Findings Looked at") :]
    for said in ("before the training: 64 sequences, 64 of them in probes.", "Warning unscaled-input lstm what it is",
                 "Remedy: scaler = ", "From this follows saturated-gates (lstm): 100%", "Note clipping"):  # fmt: skip
        assert said in found
    nothing = Reader(page.render(classify())).text()
    assert "64 of them in probes. Nothing found." in nothing
    assert "found before the training" not in nothing
    left = Reader(page.render({"findings": {"found": [], "looked_at": [], "left_out": ["no recurrent layer"]}})).text()
    assert "Not looked at: no recurrent layer." in left
    assert "Nothing found" not in left


def test_too_many_classes_to_draw_are_listed_worst_first():
    read = Reader(page.render(classify(classes=60)))
    assert "The 60 classes are too many to draw" in read.text()
    assert not [box for _, box in read.elements if box.get("aria-label", "").startswith("Confusion matrix")]
    assert "Most confused pairs" in read.text()


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    assert page.write({"title": "First"}, path) == path
    monkeypatch.setattr(page, "render", lambda evidence: "half a page\ud800 of surrogates")
    page.write({}, path)
    assert path.read_text(encoding="utf-8") == "half a page&#55296; of surrogates"

    def broken(source, target):
        raise PermissionError(target)

    monkeypatch.setattr(page.os, "replace", broken)
    monkeypatch.setattr(page, "render", lambda evidence: "never seen")
    with pytest.raises(RunError, match="cannot be written"):
        page.write({}, path)
    assert path.read_text(encoding="utf-8").startswith("half")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match=re.escape(repr(str(tmp_path / "nowhere")))):
        page.write({}, tmp_path / "nowhere" / "report.html")


def test_the_users_matplotlib_is_left_as_it_was():
    import matplotlib

    matplotlib.rcParams["text.usetex"] = True
    matplotlib.rcParams["axes.facecolor"] = "red"
    try:
        before = dict(matplotlib.rcParams)
        styled = page.render(classify())
        assert dict(matplotlib.rcParams) == before
    finally:
        matplotlib.rcdefaults()
    assert styled == page.render(classify())


def test_importing_the_room_draws_in_neither_matplotlib_nor_jinja():
    program = "import sys, throughtime.report.page; print(sorted({'matplotlib', 'jinja2'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_two_threads_may_draw_at_once():
    expected, drawn = page.render(classify()), []
    threads = [threading.Thread(target=lambda: drawn.append(page.render(classify()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == [expected] * 3
