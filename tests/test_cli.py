"""The command line, as a user meets it: results, files, and one line for everything that can be mended."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from throughtime import cli
from throughtime.backend import UNASKED, choose_backend, set_backend
from throughtime.data.arrays import from_arrays
from throughtime.data.scaling import SCALES
from throughtime.data.tables import read_table
from throughtime.data.transforms import Preparation
from throughtime.errors import BackendError
from throughtime.training.settings import Cell, Settings

QUICK = ["--epochs", "3", "--units", "4", "--quiet"]


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of ``throughtime ARGUMENTS``, run in this process."""
    monkeypatch.setattr(sys, "argv", ["throughtime", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vowels(rows_of: int = 30, seed: int = 0) -> pa.Table:
    """Two speakers, told apart by the sign of a drift; 30 utterances of 3 to 8 frames, rows shuffled."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, rows_of)
    utterance = np.repeat(np.arange(rows_of), lengths)
    frame = np.concatenate([np.arange(n) for n in lengths])
    sign = np.where(utterance % 2, 1.0, -1.0)
    order = rng.permutation(len(utterance))
    return pa.table(
        {
            "utterance": pa.array([f"u{i}" for i in utterance[order]]),
            "frame": frame[order],
            "x": (sign * (frame + 1) + rng.normal(0, 0.3, len(frame)))[order],
            "word": pa.array(np.where(sign > 0, "ae", "oe")[order]),
            "speaker": pa.array(np.where(sign > 0, "ann", "bob")[order]),
        }
    )


def series(steps: int = 160, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    days = np.datetime64("2024-01-01") + np.arange(steps)
    return pa.table({"day": days, "load": 9 + np.sin(np.arange(steps) * 2 * np.pi / 7) + rng.normal(0, 0.1, steps)})


def write(table: pa.Table, name: str) -> str:
    (pyarrow.csv.write_csv if name.endswith(".csv") else pyarrow.parquet.write_table)(table, name)
    return name


TRAIN_VOWELS = ["--target", "speaker", "--sequence", "utterance", "--time", "frame"]


@pytest.mark.backend
def test_train_then_predict_classes(here: Path, monkeypatch, capsys) -> None:
    table = write(vowels(), "vowels.parquet")
    assert call("train", table, *TRAIN_VOWELS, *QUICK, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "most frequent class" in printed
    assert "accuracy" in printed
    assert "The LSTM network is right on" in printed
    run = here / "runs" / "vowels"
    assert {path.name for path in run.iterdir()} == {"run.json", "model.keras", "baselines.npz", "report.html"}
    page = (run / "report.html").read_text()
    assert "throughtime train vowels.parquet --target speaker" in page
    stored = json.loads((run / "run.json").read_text())
    assert list(stored["evaluations"]) == ["validation", "test"]

    new = vowels(8, seed=1).drop_columns(["speaker"])
    write(new, "new.csv")
    assert call("predict", "runs/vowels", "new.csv", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == '"utterance","prediction","probability_ann","probability_bob"'
    assert len(lines) == 1 + 8
    assert {line.split(",")[1] for line in lines[1:]} <= {'"ann"', '"bob"'}

    assert call("predict", "runs/vowels", "new.csv", "--out", "p.parquet", monkeypatch=monkeypatch) == 0
    first_seen = list(dict.fromkeys(new["utterance"].to_pylist()))
    assert pyarrow.parquet.read_table("p.parquet")["utterance"].to_pylist() == first_seen

    # A second run gets a directory of its own; the same command again never overwrites.
    assert call("train", table, *TRAIN_VOWELS, *QUICK, monkeypatch=monkeypatch) == 0
    assert (here / "runs" / "vowels-2" / "run.json").exists()
    before = (run / "run.json").read_bytes()
    assert call("train", table, *TRAIN_VOWELS, *QUICK, "--out", "runs/vowels", monkeypatch=monkeypatch) == 2
    assert (run / "run.json").read_bytes() == before


ONE = r"(?<![\d.,])1 (?:steps|sequences|epochs|batches|numbers|categories|classes|windows)\b"


@pytest.mark.backend
def test_one_of_a_thing_is_not_said_in_the_plural(here: Path, monkeypatch, capsys) -> None:
    table = write(series(60), "load.csv")
    asked = ["train", table, "--target", "load", "--time", "day", "--horizon", "1", "--window", "5"]
    assert call(*asked, "--epochs", "1", "--units", "2", "--batch-size", "999", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert "1 sequence, 60 steps, 0 numbers, 0 categories" in said.err
    assert "1 step ahead" in said.err and "1 batch an epoch" in said.err and "1 epoch, best 1" in said.out
    assert re.findall(ONE, said.err + said.out) == []


def test_no_message_leaves_the_plural_to_the_reader() -> None:
    source = Path(cli.__file__).parent
    for path in source.rglob("*.py"):
        written = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert [text for text in written if isinstance(text, str) and "(s)" in text] == [], path


@pytest.mark.backend
def test_train_then_forecast(here: Path, monkeypatch, capsys) -> None:
    table = write(series(), "load.csv")
    asked = ["train", table, "--target", "load", "--time", "day", "--horizon", "3", "--cell", "gru"]
    assert call(*asked, *QUICK, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "seasonal naive (7)" in printed
    assert "last value" in printed
    assert "linear on the window" in printed
    assert call("predict", "runs/load", table, monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == '"step_ahead","day","prediction"'
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["1", "2024-06-09"],
        ["2", "2024-06-10"],
        ["3", "2024-06-11"],
    ]


@pytest.mark.backend
def test_train_with_parts_that_begin_at_dates(here: Path, monkeypatch, capsys) -> None:
    table = write(series(), "load.csv")
    asked = ["train", table, "--target", "load", "--time", "day", "--horizon", "1", "--window", "3", "--cell", "gru"]
    dates = ["--split-at", "2024-05-01,2024-06-01"]
    assert call(*asked, *dates, *[one for one in QUICK if one != "--quiet"], monkeypatch=monkeypatch) == 0
    assert (
        "training 121 steps in 1 sequence, validation 31 steps in 1 sequence, test 8 steps" in capsys.readouterr().err
    )
    assert "at=[&#39;2024-05-01&#39;, &#39;2024-06-01&#39;]" in (here / "runs" / "load" / "report.html").read_text()


def spoiled(column: str, change) -> pa.Table:
    table = vowels()
    values = change(table[column].to_pylist())
    return table.set_column(table.column_names.index(column), column, pa.array(values))


BAD = {
    "missing file": (None, ["vowls.csv", *TRAIN_VOWELS], r"vowls\.csv"),
    "wrong column": (vowels, ["T", "--target", "speeker", "--sequence", "utterance"], "Did you mean 'speaker'"),
    "wrong sequence": (vowels, ["T", "--target", "speaker", "--sequence", "utterence"], "Did you mean 'utterance'"),
    "one value": (lambda: spoiled("speaker", lambda v: ["ann"] * len(v)), ["T", *TRAIN_VOWELS], "'ann'"),
    "no target": (lambda: spoiled("speaker", lambda v: [None, *v[1:]]), ["T", *TRAIN_VOWELS], "'speaker'"),
    "same time": (lambda: spoiled("frame", lambda v: [0] * len(v)), ["T", *TRAIN_VOWELS], "frame=0"),
    "one sequence": (
        lambda: vowels(1).append_column("y", pa.array([0.5] * vowels(1).num_rows)),
        ["T", "--target", "y", "--sequence", "utterance", "--task", "regress"],
        "every row|1 sequence",
    ),
    "two sequences": (lambda: vowels(2), ["T", *TRAIN_VOWELS], "2 sequences cannot be split"),
    "too short": (lambda: series(20), ["T", "--target", "load", "--horizon", "9", "--window", "9"], r"9 \+ 9"),
    "no horizon": (series, ["T", "--target", "load"], "horizon"),
    "text target": (vowels, ["T", "--target", "speaker", "--horizon", "2"], "number"),
    "bad task": (vowels, ["T", *TRAIN_VOWELS, "--task", "clasify"], "Did you mean 'classify'"),
    "bad cell": (vowels, ["T", *TRAIN_VOWELS, "--cell", "lstn"], "Did you mean 'lstm'"),
    "bad share": (vowels, ["T", *TRAIN_VOWELS, "--test", "1.5"], "share"),
    "no date": (series, ["T", "--target", "load", "--horizon", "3", "--time", "day", "--split-at", "june"], "no date"),
    "date and share": (
        series,
        ["T", "--target", "load", "--horizon", "3", "--time", "day", "--split-at", "2024-05-01", "--test", "0.2"],
        "--split-at",
    ),
    "no validation": (vowels, ["T", *TRAIN_VOWELS, "--validation", "0"], "early stopping"),
    "infinite": (lambda: spoiled("x", lambda v: [float("inf"), *v[1:]]), ["T", *TRAIN_VOWELS], "infinite"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_line_and_exit_code_2(case: str, here: Path, monkeypatch, capsys) -> None:
    make, arguments, says = BAD[case]
    if make is not None:
        write(make(), "table.parquet")
    arguments = ["table.parquet" if argument == "T" else argument for argument in arguments]
    before = sorted(here.rglob("*"))
    code = call("train", *arguments, *QUICK, "--out", "out", monkeypatch=monkeypatch)
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    assert re.search(says, lines[0]), lines[0]
    assert sorted(here.rglob("*")) == before


# Each with what it says; no table is opened for them.
REFUSED = {
    **{f"--{name}={value}": f"--{name}={value}; give a whole number of at least 1"
       for name, value in {"units": 0, "depth": -3, "epochs": 0, "patience": 0, "batch-size": 0, "tokens": -1}.items()},
    **{f"--learning-rate={value}": f"--learning-rate={float(value)}; give a number above 0"
       for value in ("0", "-0.1", "nan", "inf")},
    **{f"--dropout={value}": f"--dropout={float(value)}; give a share" for value in ("1", "2", "-0.1", "nan")},
    **{f"--test={value}": f"--test={float(value)} is neither a share" for value in ("-0.1", "1.5", "nan", "inf")},
    **{f"--memory={value}": f"--memory='{value}' is given" for value in ("", "0", "-1", "3XB", "nan")},
    **{f"--{name}={value}": f"--{name}={value} is not a number of steps"
       for name, value in (("horizon", 0), ("window", -1))},
    "--cell=lstn": "--cell='lstn' is not accepted; one of 'lstm'", "--scale=zscore": "--scale='zscore'",
    "--missing=drop": "--missing='drop'", "--task=clasify": "--task='clasify'", "--history=mine": "--history='mine'",
    "--seed=-1": "--seed=-1; give a whole number of at least 0", "--validation=0": "early stopping",
    "--tokens=64 --batch-size=4": "give --batch-size or --tokens, not both",
    "--validation=0.6 --test=0.4": "1 together",
    "--history=shared": "--history belongs to forecasts", "--window=3": "--window belongs to a forecast",
    "--task=forecast": "needs --horizon", "--task=tag --horizon=3": "--horizon belongs to a forecast",
}  # fmt: skip


def refuse_to_open(*_: object) -> None:
    raise AssertionError("the table was opened")


@pytest.mark.parametrize("options", list(REFUSED))
def test_bad_options_are_refused_before_the_table_is_read(options: str, here: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("throughtime.data.tables.open_table", refuse_to_open)
    assert call("train", "big.csv", "--target", "y", *options.split(), monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert REFUSED[options] in said
    assert list(here.iterdir()) == []


class Opened(Exception):
    pass


def opened(*_: object, **options: object) -> None:
    raise Opened


ACCEPTED = {"cell": get_args(Cell), "scale": tuple(SCALES), "missing": ("fill", "refuse"), "history": ("own", "shared"),
            "task": ("classify", "regress", "tag", "forecast")}  # fmt: skip


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data(), option=st.sampled_from(list(ACCEPTED)))
def test_words_are_accepted_in_capitals(drawn, option: str, monkeypatch) -> None:
    word = drawn.draw(st.sampled_from(ACCEPTED[option]))
    mixed = "".join(drawn.draw(st.sampled_from([letter, letter.upper()])) for letter in word)
    forecast = option == "history" or word == "forecast"
    monkeypatch.setattr("throughtime.data.tables.open_table", opened)
    monkeypatch.setattr(sys, "argv", ["throughtime", "train", "t.csv", f"--{option}", mixed])
    if forecast:
        sys.argv += ["--horizon", "2"]
    with pytest.raises(Opened):
        cli.main()


def test_capitals_mean_the_same_in_python() -> None:
    table = vowels()
    same = [read_table(table, target="word", sequence="utterance", task=task) for task in ("tag", "TAG")]
    assert [data.schema.task for data in same] == ["tag", "tag"]
    asked = Settings(cell="GRU", scale="MinMax", missing="Refuse")  # type: ignore[arg-type]
    assert asked == Settings(cell="gru", scale="minmax", missing="refuse")
    load = from_arrays([np.arange(60.0)], horizon=2, window=4)
    parts = [load.split(history=history, by=by) for history, by in (("shared", "time"), ("Shared", "TIME"))]
    assert [len(part.numbers) for part in parts[0]] == [len(part.numbers) for part in parts[1]]
    assert Preparation.fit(parts[0][0], scale="NONE").inputs.scale.tolist() == [1.0]  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [
    ["check", "m.keras", "t.csv", "--scale", "STANDARD", "--seconds", "nan"],
    ["check", "m.keras", "t.csv", "--batch-size", "0"],
    ["explain", "m.keras", "--batch-size", "0"],
    ["explain", "m.keras", "--steps", "-1"],
    ["explain", "m.keras", "--memory", "x"],
    ["bench", "--cells", "lstm,grux"],
    ["bench", "--cells", ","],
    ["bench", "--units", ""],
])  # fmt: skip
def test_other_commands_name_the_option_that_is_wrong(arguments: list[str], here: Path, monkeypatch, capsys) -> None:
    assert call(*arguments, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    option = [word for word in arguments if word.startswith("--")][-1]
    assert option in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from throughtime.data.tables import read_table
    from throughtime.training.train import train

    out = tmp_path_factory.mktemp("runs") / "vowels"
    data = read_table(vowels(), target="speaker", sequence="utterance", time="frame")
    train(data, units=4, epochs=2, progress=False, out=out)
    return out


def copied(run: Path, target: Path) -> Path:
    target.mkdir()
    for path in run.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def unseen(table: pa.Table) -> pa.Table:
    names = ["cat" if name == "ann" else name for name in table["speaker"].to_pylist()]
    return table.set_column(table.column_names.index("speaker"), "speaker", pa.array(names))


def test_predicting_from_bad_input_is_one_line_and_exit_code_2(trained: Path, here: Path, monkeypatch, capsys) -> None:
    good = write(vowels(6).drop_columns(["speaker"]), "good.csv")
    write(unseen(vowels(6)), "unseen.csv")
    write(vowels(6), "labelled.csv")
    write(vowels(6).drop_columns(["x"]), "narrow.csv")
    Path("table.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    Path("full.csv").write_text("kept")
    empty = here / "empty"
    empty.mkdir()
    broken = copied(trained, here / "broken")
    (broken / "run.json").write_text("{")
    half = copied(trained, here / "half")
    (half / "model.keras").write_bytes((half / "model.keras").read_bytes()[:1000])
    gone = copied(trained, here / "gone")
    (gone / "baselines.npz").unlink()
    cases = [
        (["nowhere", good], "nowhere is not a directory"),
        ([str(empty), good], "holds no run"),
        ([str(broken), good], "damaged"),
        ([str(half), good], "damaged"),
        ([str(gone), good], "baselines.npz"),
        ([str(trained), "unseen.csv"], "'cat'"),
        ([str(trained), "narrow.csv"], "'x'"),
        ([str(trained), "table.png"], "table.png"),
        ([str(trained), "missing.csv"], "missing.csv"),
        ([str(trained), good, "--out", "full.csv"], "full.csv exists"),
        ([str(trained), good, "--out", "p.xlsx"], ".csv"),
        ([str(trained), good, "--out", "nodir/p.csv"], "nodir"),
        # Said before the scores of a table with targets, not after the work.
        ([str(trained), "labelled.csv", "--out", "p.xlsx"], ".csv"),
        ([str(trained), "labelled.csv", "--out", "nodir/p.csv"], "nodir"),
    ]
    before = sorted(here.rglob("*"))
    for arguments, says in cases:
        code = call("predict", *arguments, monkeypatch=monkeypatch)
        said = capsys.readouterr()
        assert code == 2, (arguments, said)
        assert len(said.err.strip().splitlines()) == 1, (arguments, said.err)
        assert said.err.startswith("error: "), said.err
        assert says in said.err, (says, said.err)
        assert said.out == ""
    assert sorted(here.rglob("*")) == before
    assert Path("full.csv").read_text() == "kept"


@pytest.mark.parametrize("command", ["train", "predict"])
def test_ctrl_c_is_one_line_and_exit_code_130(command: str, trained: Path, here: Path, monkeypatch, capsys) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("throughtime.data.tables.open_table", pressed)
    write(vowels(6), "good.csv")
    arguments = ["good.csv", *TRAIN_VOWELS] if command == "train" else [str(trained), "good.csv"]
    assert call(command, *arguments, monkeypatch=monkeypatch) == 130
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("interrupted")
    assert ("--resume" in said[0]) == (command == "train")


def test_a_table_with_targets_is_scored_as_well(trained: Path, here: Path, monkeypatch, capsys) -> None:
    write(vowels(6), "labelled.csv")
    assert call("predict", str(trained), "labelled.csv", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr()
    assert said.err.startswith("on labelled.csv")
    assert len(said.out.strip().splitlines()) == 7


def test_the_demo_leaves_other_directories_alone(here: Path, monkeypatch, capsys) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("kept")
    assert call("demo", "--out", "mine", monkeypatch=monkeypatch) == 2
    assert "not of an earlier demo" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is installed on a machine where Keras was not imported, nor a backend chosen; a set to change."""
    installed = {"jax", "torch", "tensorflow"}
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in installed else None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    return installed


def test_the_backend_is_the_one_asked_for_or_the_first_installed(machine: set[str], monkeypatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert choose_backend() == "torch"
    monkeypatch.delenv("KERAS_BACKEND")
    assert choose_backend() == "jax"
    monkeypatch.delenv("KERAS_BACKEND")
    machine.remove("jax")
    assert choose_backend() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(
        BackendError, match=r"'jax' is asked for and not installed; pip install 'throughtime\[jax\]', or"
    ):
        choose_backend()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflo")
    with pytest.raises(BackendError, match="Did you mean 'tensorflow'"):
        choose_backend()
    monkeypatch.delenv("KERAS_BACKEND")
    machine.clear()
    with pytest.raises(BackendError, match="no backend for Keras is installed"):
        choose_backend()


@pytest.mark.parametrize(("written", "asked", "here", "chosen"), [
    (None, "", "jax torch", "jax"),
    (None, "", "torch", "torch"),
    (None, "", "", None),  # nothing is refused before Keras is needed
    (None, "torch", "jax torch", "torch"),
    (None, "torch", "jax", "torch"),  # refused once Keras is needed
    ({"backend": "torch"}, "", "jax torch", "torch"),
    ({"backend": "torch"}, "jax", "jax torch", "jax"),
    ({"backend": "torch"}, "", "jax", None),  # refused once Keras is needed
    ({"backend": "tensorflow", "floatx": "float64"}, "", "jax tensorflow", "tensorflow"),
    (UNASKED, "", "jax tensorflow", "jax"),  # Keras wrote it, not the user
    (UNASKED, "", "jax", "jax"),
    ("no JSON", "", "jax", "jax"),
    ([1], "", "jax", "jax"),
    ({"backend": 3}, "", "jax", "jax"),
])  # fmt: skip
def test_importing_throughtime_chooses_as_the_user_did(
    written: object, asked: str, here: str, chosen: str | None, machine: set[str], tmp_path: Path, monkeypatch
) -> None:
    machine.intersection_update(here.split())
    monkeypatch.setenv("KERAS_BACKEND", asked)
    if written is not None:
        (tmp_path / "keras.json").write_text(written if isinstance(written, str) else json.dumps(written))
    set_backend()
    assert (os.environ["KERAS_BACKEND"] or None) == chosen
    if chosen in machine:
        assert choose_backend() == chosen
    else:
        with pytest.raises(BackendError, match="install"):
            choose_backend()


def test_what_keras_writes_by_itself_is_known(tmp_path: Path) -> None:
    script = "import keras"
    env = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True)
    assert json.loads((tmp_path / "keras.json").read_text()) == UNASKED


def test_help_and_version_load_no_framework() -> None:
    script = (
        "import sys; sys.argv = ['throughtime', {!r}]; import throughtime.cli as c\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "loaded = {{m.split('.')[0] for m in sys.modules}}\n"
        "print(sorted(loaded & {{'keras', 'jax', 'torch', 'tensorflow', 'pyarrow'}}))"
    )
    for option, shown in (("--help", "predict"), ("--version", "throughtime 0.")):
        done = subprocess.run([sys.executable, "-c", script.format(option)], capture_output=True, text=True, check=True)
        assert shown in done.stdout
        assert done.stdout.strip().splitlines()[-1] == "[]"


def test_an_unknown_backend_is_one_line_too(here: Path) -> None:
    write(vowels(), "vowels.csv")
    done = subprocess.run(
        [sys.executable, "-m", "throughtime", "train", "vowels.csv", *TRAIN_VOWELS],
        capture_output=True,
        text=True,
        env={"KERAS_BACKEND": "theano", "PATH": ""},
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "KERAS_BACKEND='theano'" in done.stderr


def test_resuming_nothing_says_so(here: Path, monkeypatch, capsys) -> None:
    write(vowels(), "vowels.csv")
    asked = ["train", "vowels.csv", *TRAIN_VOWELS, *QUICK, "--out", "new", "--resume"]
    assert call(*asked, monkeypatch=monkeypatch) == 0
    assert "there is nothing to resume in new: this run starts anew" in capsys.readouterr().err


def saved(name: str, *stack: object, loss: str | None) -> str:
    """A file with a model of those layers after a Masking of one number a step."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((None, 1)), keras.layers.Masking(), keras.layers.LSTM(6), *stack])
    if loss is not None:
        model.compile("adam", loss)
    model.save(name)
    return name


CHECK_VOWELS = [*TRAIN_VOWELS, "--features", "x"]


@pytest.mark.backend
def test_check_says_what_is_wrong_what_to_do_and_what_follows(here: Path, monkeypatch, capsys) -> None:
    from keras.layers import Dense

    write(vowels(80), "vowels.csv")
    bad = saved("bad.keras", Dense(1, activation="softmax", name="answer"), loss="binary_crossentropy")
    before = sorted(here.rglob("*"))
    assert call("check", bad, "vowels.csv", *CHECK_VOWELS, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "error    single-unit-softmax  answer"
    assert lines[1].startswith(" " * 9 + "the output is exactly 1 for all")
    assert lines[2] == 'remedy   keras.layers.Dense(1, activation="sigmoid")'
    assert lines[3].startswith("hence    constant-prediction (answer): after ")
    assert lines[-2] == "1 error"
    assert re.fullmatch(r"looked at 64 sequences, .* training steps of 32 sequences.* \(\d+\.\d s\)", lines[-1])
    assert "\x1b" not in said.out  # colours are for terminals
    assert said.err == ""
    assert sorted(here.rglob("*")) == before

    good = saved("good.keras", Dense(2, activation="softmax"), loss="sparse_categorical_crossentropy")
    asked = [good, "vowels.csv", *CHECK_VOWELS, "--batch-size", "8"]
    assert call("check", *asked, monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nothing found"
    assert "120 training steps of 8 sequences" in lines[1]
    assert call("check", *asked, "--no-train", monkeypatch=monkeypatch) == 0
    assert "training steps" not in capsys.readouterr().out


def test_a_run_is_checked_with_its_own_columns_and_scalers(trained: Path, here: Path, monkeypatch, capsys) -> None:
    write(vowels(40), "vowels.csv")
    assert call("check", str(trained), "vowels.csv", "--no-train", monkeypatch=monkeypatch) == 0
    assert "looked at 40 sequences" in capsys.readouterr().out
    write(vowels(6).drop_columns(["speaker"]), "unlabelled.csv")
    cases = [
        (["unlabelled.csv"], "needs speaker"),
        (["vowels.csv", "--target", "word", "--scale", "minmax"], "leave out --target, --scale"),
    ]
    for arguments, says in cases:
        assert call("check", str(trained), *arguments, monkeypatch=monkeypatch) == 2
        assert says in capsys.readouterr().err


def test_checking_bad_input_is_one_line_and_exit_code_2(here: Path, monkeypatch, capsys) -> None:
    from keras.layers import Dense

    write(vowels(40), "vowels.csv")
    write(series(), "load.csv")
    classes = "sparse_categorical_crossentropy"
    good = saved("good.keras", Dense(2, activation="softmax"), loss=classes)
    forecast = saved("forecast.keras", Dense(3), loss="mse")
    ahead = ["load.csv", "--target", "load", "--time", "day"]
    Path("text.keras").write_text("no model")
    cases = [
        ([saved("raw.keras", Dense(2), loss=None), "vowels.csv", *CHECK_VOWELS], "raw.keras was saved without a loss"),
        (["text.keras", "vowels.csv", *CHECK_VOWELS], "text.keras cannot be read as a Keras model"),
        (["none.keras", "vowels.csv", *CHECK_VOWELS], "there is no file none.keras"),
        ([good, "none.csv", *CHECK_VOWELS], "none.csv"),
        ([good, "vowels.csv", "--sequence", "utterance"], "--target is needed"),
        ([good, "vowels.csv", *TRAIN_VOWELS[2:], "--target", "speeker"], "Did you mean 'speaker'"),
        ([good, *ahead, "--horizon", "3"], "the target is read as a quantity"),
        ([forecast, *ahead, "--horizon", "2"], "(batch, 3), and the data has 2 steps ahead of 1 target"),
        ([forecast, "vowels.csv", "--target", "x", *TRAIN_VOWELS[2:4], "--features", "frame"], "(batch, 3)"),
        ([good, "vowels.csv", *CHECK_VOWELS, "--scale", "minmx"], "Did you mean 'minmax'"),
        ([good, "vowels.csv", *CHECK_VOWELS, "--seconds", "0"], "--seconds=0"),
        ([good, "vowels.csv", *CHECK_VOWELS, "--batch-size", "0"], "--batch-size=0"),
        (
            [good, "vowels.csv", *TRAIN_VOWELS[:4], "--features", "x,frame"],
            "takes 1 features a step, and the data has 2",
        ),
    ]
    for arguments, says in cases:
        code = call("check", *arguments, monkeypatch=monkeypatch)
        said = capsys.readouterr()
        assert code == 2, (arguments, said)
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1, (arguments, said.err)
        assert said.err.startswith("error: "), said.err
        assert says in said.err, (says, said.err)
