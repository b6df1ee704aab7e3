"""``run.json`` at the door: what earlier versions wrote loads, whatever else is refused in one line that says where."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import made
from series import sums, waves

from throughtime.archives import why_unreadable
from throughtime.data.transforms import Preparation
from throughtime.errors import ArgumentError, RunError
from throughtime.files import read_arrays, write_arrays
from throughtime.gradients.events import EventLog
from throughtime.layers.swapping import load_model
from throughtime.report.page import write_report
from throughtime.training.describe import other_threads, threads
from throughtime.training.run import Run
from throughtime.training.train import train

SMALL: dict[str, Any] = {"units": 2, "epochs": 2, "buckets": 1, "progress": False}


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved") / "run"
    train(waves(300), out=out, **SMALL)
    return out


@pytest.fixture
def run_of(forecaster: Path, tmp_path: Path) -> Path:
    for path in forecaster.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.backend
def test_a_run_json_that_the_version_before_wrote_loads(tmp_path: Path) -> None:
    train(sums(), out=tmp_path / "run", **SMALL)  # the same network and columns
    text = (Path(__file__).parent / "old_run.json").read_text()
    for lacking in ((), ("flow", "findings")):  # and the first version had neither
        stored = {key: value for key, value in json.loads(text).items() if key not in lacking}
        (tmp_path / "run" / "run.json").write_text(json.dumps(stored))
        run = Run.load(tmp_path / "run")
        assert run.settings == stored["settings"] and run.history == stored["history"]
        assert run.preparation.outputs is not None
        assert run.preparation.outputs.center.tolist() == stored["preparation"]["outputs"]["center"]
        write_report(run, tmp_path / "report.html")
        run.save(tmp_path / "run", overwrite=True)
        again = json.loads((tmp_path / "run" / "run.json").read_text())
        assert _within(stored, again) == stored


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the value at the end of the path, before the last of which are keys."""

    def change(stored: dict[str, Any]) -> None:
        *keys, last, value = path
        for key in keys:
            stored = stored[key]
        stored[last] = value

    return change


WRONG = {
    "a scale of 0": (put("preparation", "inputs", "scale", [0.0]), r"preparation: inputs\.scale\.0: .*greater than 0"),
    "a scale below 0": (put("preparation", "outputs", "scale", [-2.0]), r"outputs\.scale\.0.*greater than 0"),
    "text in a scale": (
        put("preparation", "inputs", "scale", ["1"]),
        r"inputs\.scale\.0: .*valid number \(it holds '1'\)",
    ),
    "NaN": (put("preparation", "inputs", "center", [float("nan")]), r"inputs\.center\.0"),
    "one scale more": (put("preparation", "inputs", "scale", [1.0, 1.0]), "center has 1 values and scale 2"),
    "scalers of another width": (
        put("preparation", "inputs", {"center": [0.0, 0.0], "scale": [1.0, 1.0]}),
        "inputs.center has 2 values for 1 numeric input columns",
    ),
    "an indicator of no column": (put("preparation", "indicators", [3]), "indicators are"),
    "a vocabulary of no column": (put("preparation", "vocabulary", [["a"]]), "vocabulary has 1 values for 0"),
    "a horizon of a billion": (put("preparation", "forecast", "horizon", 10**9), "another window or horizon"),
    "a horizon of a text": (put("preparation", "forecast", "horizon", "4"), r"forecast\.horizon: .*valid integer"),
    "a window of 0": (put("preparation", "forecast", "window", 0), r"forecast\.window: .*greater than or equal to 1"),
    "no forecast": (put("preparation", "forecast", None), "the task is forecast, and forecast is null"),
    "another task": (put("preparation", "schema", "task", "regress"), "the task is regress, and forecast is there"),
    "a key nobody knows": (put("preparation", "schema", "tsak", "regress"), r"schema\.tsak: Extra inputs"),
    "settings of a text": (put("settings", "units", "many"), r"settings\.units"),
    "settings out of range": (put("settings", "dropout", 7.0), r"settings: dropout=7\.0"),
    "a best epoch of none": (put("best_epoch", 9), "best_epoch is 9, and history has 2 epochs"),
    "feeds of nothing": (put("feeds", ["prices"]), "feeds are"),
    "pad_value of a list": (put("pad_value", []), "pad_value"),
    "scores of nobody": (put("evaluations", "validation", "scores", {}), r"evaluations\.validation"),
    "a chart of two lengths": (
        lambda stored: stored["evaluations"]["validation"]["detail"]["forecasts"]["examples"][0]["truth"].pop(),
        "time has 4 values and truth 3",
    ),
}


@pytest.mark.backend
@pytest.mark.parametrize("name", WRONG)
def test_an_edited_run_json_is_refused_and_says_where(name: str, run_of: Path) -> None:
    change, says = WRONG[name]
    stored = json.loads((run_of / "run.json").read_text())
    changed = copy.deepcopy(stored)
    change(changed)
    assert changed != stored
    (run_of / "run.json").write_text(json.dumps(changed))
    with pytest.raises(RunError, match=f"holds a damaged run: .*{says}") as refused:
        Run.load(run_of)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500


@pytest.mark.backend
@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 200_000, b'{"format": 1, "a": ' + b"[" * 200_000, b"\xff"])
def test_nesting_without_end_and_bytes_are_refused(text: bytes, run_of: Path) -> None:
    (run_of / "run.json").write_bytes(text)
    with pytest.raises(RunError, match="damaged run: run.json"):
        Run.load(run_of)


@pytest.mark.parametrize("task", ["classify", "regress", "tag", "steps", "forecast"])
def test_a_preparation_comes_back_whole_and_no_field_of_it_is_free(task: str) -> None:
    preparation = Preparation.fit(made(task))
    stored = json.loads(json.dumps(preparation.to_json()))
    assert json.loads(json.dumps(Preparation.from_json(stored).to_json())) == stored
    for key in stored:
        with pytest.raises(RunError, match=f"the preparation is damaged: {key}"):
            Preparation.from_json({name: value for name, value in stored.items() if name != key})
        with pytest.raises(RunError, match="the preparation is damaged"):
            Preparation.from_json(stored | {key: {"odd": 1}})


def test_classes_of_several_types_are_refused() -> None:
    stored = json.loads(json.dumps(Preparation.fit(made("classify")).to_json()))
    for odd in (7, True, 0.5):
        changed = stored | {"classes": [odd, *stored["classes"][1:]]}
        with pytest.raises(RunError, match="the preparation is damaged: .*classes are of several types"):
            Preparation.from_json(changed)


@pytest.mark.backend
def test_every_key_of_a_layers_flow_is_looked_at(run_of: Path) -> None:
    stored = json.loads((run_of / "run.json").read_text())
    ((name, layer),) = stored["flow"]["best"].items()
    for key in layer:
        if key == "cell":
            continue  # it is text
        stored["flow"]["best"][name] = layer | {key: "text"}
        (run_of / "run.json").write_text(json.dumps(stored))
        with pytest.raises(RunError, match=f"holds a damaged run: .*{key}"):
            Run.load(run_of)


@pytest.mark.backend
def test_a_run_that_says_nothing_of_its_training_has_no_report(run_of: Path) -> None:
    stored = json.loads((run_of / "run.json").read_text())
    (run_of / "run.json").write_text(json.dumps(stored | {"about": {}}))
    with pytest.raises(ArgumentError, match="says nothing of what it was trained on"):
        write_report(Run.load(run_of), run_of / "report.html")


# Sizes before unpacking ----------------------------------------------------------------------------------------------


def npy(header: str, data: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def test_an_array_that_claims_terabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        claim = "{'descr': '<f4', 'fortran_order': False, 'shape': (549755813888,), }"
        archive.writestr("x.npy", npy(claim, bytes(64)))
    with pytest.raises(RunError, match=r"x\.npy claims 2,199,023,255,552 bytes and has 64"):
        read_arrays(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(50 << 20))
    with pytest.raises(RunError, match=r"x\.npy is packed, which no file of ours is"):
        read_arrays(path)


def test_arrays_of_every_kind_come_back_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{dtype}{shape}".replace("/", ""): rng.normal(size=shape).astype(dtype)
        for dtype in ("f2", "f4", "f8", "i4", "u1", "?", "c8", "<U9", "S5")
        for shape in ((), (0,), (3,), (2, 0, 4), (2, 3))
    } | {"turned": np.asfortranarray(rng.normal(size=(3, 4)))}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes() and found[name].flags.writeable


@pytest.mark.backend
def test_a_configuration_that_unpacks_to_gigabytes_is_refused_unread(run_of: Path) -> None:
    with zipfile.ZipFile(run_of / "model.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] += b" " * (70 << 20)
    with zipfile.ZipFile(run_of / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    for load, error in ((load_model, ArgumentError), (Run.load, RunError)):
        with pytest.raises(error, match=r"config\.json unpacks to 73,\d+,\d+ bytes, more than it can hold"):
            load(run_of)


@pytest.mark.backend
def test_every_flipped_bit_of_the_weights_is_found_by_the_sums(run_of: Path) -> None:
    path = run_of / "model.keras"
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("model.weights.h5")
    start = whole.index(b"\x89HDF")
    assert why_unreadable(path) == ""
    for place in np.linspace(start, start + entry.file_size - 1, 200).astype(int).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        assert why_unreadable(path) == "model.weights.h5 is damaged: its sum is wrong"


@pytest.mark.backend
def test_files_of_two_runs_are_not_one(run_of: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "run"
    train(waves(300, horizon=3), out=other, **SMALL)
    for name, says in (("model.keras", "forecasts 3 steps"), ("baselines.npz", "another window or horizon")):
        kept = (run_of / name).read_bytes()
        (run_of / name).write_bytes((other / name).read_bytes())
        with pytest.raises(RunError, match=f"its files do not belong together: .*{says}"):
            Run.load(run_of)
        (run_of / name).write_bytes(kept)
    assert Run.load(run_of)


# Threads, and the log ------------------------------------------------------------------------------------------------


@pytest.mark.backend
def test_the_number_of_threads_is_kept_and_another_one_is_said(tmp_path: Path, monkeypatch, capsys) -> None:
    from throughtime.training.checkpoint import Progress

    assert other_threads({"torch": 4, "gone": 1}, {"torch": 4, "new": 2}) == ""
    written = Progress.write

    def stop(self: Progress, path: Path, **options: Any) -> None:
        self.threads = {name: count + 3 for name, count in self.threads.items()}
        written(self, path, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            train(sums(), out=tmp_path / "run", **SMALL)
    run = train(sums(), out=tmp_path / "run", resume=True, **SMALL)
    assert run.about["threads"] == {name: count + 3 for name, count in threads().items()}
    (note,) = [one for one in run.about["notes"] if "threads" in one]
    for name, count in threads().items():
        assert f"{name} {count + 3}, now {count}" in note
    assert f"note: {note}" in capsys.readouterr().err
    assert Run.load(tmp_path / "run").about["threads"] == run.about["threads"]


def test_an_event_log_on_a_full_disk_says_so_in_one_line(tmp_path: Path, monkeypatch) -> None:
    log = EventLog(tmp_path / "logs")
    log.add_scalar("a", 1.0, 1)
    log.flush()
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunError, match=r"logs cannot be written to: No space left on device\.$"):
        log.flush()
    log.close()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written to"):
        EventLog(tmp_path / "file" / "logs")


def _within(old: Any, new: Any) -> Any:
    """Of ``new`` what ``old`` has too: a field that was added since has its default."""
    return {key: _within(value, new[key]) for key, value in old.items()} if isinstance(old, dict) else new
