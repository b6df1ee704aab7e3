"""The time columns of predictions: in the zone, the calendar and the spelling of the table, after saving too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from throughtime.data.tables import read_like, read_table
from throughtime.data.transforms import Preparation
from throughtime.training import predictions
from throughtime.training.predictions import Predictions, answer
from throughtime.training.scores import _stamps

HORIZON = 5
BERLIN = pd.date_range("2022-10-20", periods=240, freq="h", tz="Europe/Berlin")


def frame(times: object, count: int = 240) -> pd.DataFrame:
    return pd.DataFrame({"t": times, "y": np.sin(np.arange(count))})


def stored(preparation: Preparation) -> Preparation:
    return Preparation.from_json(json.loads(json.dumps(preparation.to_json(), allow_nan=False)))


def forecast(table: object, monkeypatch: pytest.MonkeyPatch, *, like: object = None) -> Predictions:
    """Forecasts of zeros after ``table``, by what was stored of it, or of the table ``like`` that was trained on."""
    data = read_table(table if like is None else like, target="y", time="t", horizon=HORIZON, window=3)
    preparation = stored(Preparation.fit(data))
    data = read_like(table, preparation.schema, preparation.forecast)
    monkeypatch.setattr(predictions, "predict_examples", lambda *_, **__: np.zeros((len(data), HORIZON, 1)))
    return answer(None, preparation, data, feeds=("numbers",))


def written(found: Predictions, suffix: str, folder: Path) -> list[pd.Timestamp]:
    """What pandas reads of the times in a file of the predictions."""
    path = found.write(folder / f"p.{suffix}", overwrite=True)
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "arrow": pd.read_feather}[suffix](path)
    return [pd.Timestamp(one) for one in read["t"]]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "UTC", "+03:00"])
def test_files_of_predictions_hold_the_instants(zone, suffix, tmp_path, monkeypatch) -> None:
    every = pd.date_range("2022-10-20", periods=245, freq="h", tz=zone)
    found = forecast(frame(every[:240]), monkeypatch)
    assert found.table().schema.field("t").type == pa.Array.from_pandas(every).type
    assert written(found, suffix, tmp_path) == list(every[240:])
    every = pd.date_range("2022-10-25", periods=245, freq="h", tz=zone)
    texts = frame([one.isoformat() for one in every[:240]])
    texts.to_csv(tmp_path / "texts.csv", index=False)
    found = forecast(tmp_path / "texts.csv", monkeypatch)
    assert found.table()["t"].to_pylist() == [one.isoformat() for one in every[240:]]
    assert written(found, suffix, tmp_path) == list(every[240:])


def test_offsets_of_another_table_follow_the_zone_trained_on(tmp_path, monkeypatch) -> None:
    """All its offsets are summer's; the zone says when that ends."""
    summer = pd.date_range("2022-10-25", periods=120, freq="h", tz="Europe/Berlin")
    frame([one.isoformat() for one in summer], 120).to_csv(tmp_path / "t.csv", index=False)
    found = forecast(tmp_path / "t.csv", monkeypatch, like=frame(BERLIN))
    assert found.table()["t"].to_pylist()[:2] == ["2022-10-30T00:00:00+02:00", "2022-10-30T01:00:00+02:00"]
    assert found.table()["t"].to_pylist()[3:] == ["2022-10-30T02:00:00+01:00", "2022-10-30T03:00:00+01:00"]


def test_a_short_table_follows_the_calendar_trained_on(monkeypatch) -> None:
    business = pd.bdate_range("2024-01-01", periods=245)
    for rows in (3, 4, 5, 20, 240):
        found = forecast(frame(business[240 - rows : 240], rows), monkeypatch, like=frame(business[:240]))
        assert [pd.Timestamp(one) for one in found.table()["t"].to_pylist()] == list(business[240:]), rows
    days = pd.date_range("2024-01-01", periods=45)
    found = forecast(frame(days[:40], 40), monkeypatch, like=frame(business[:240]))
    assert [pd.Timestamp(one) for one in found.table()["t"].to_pylist()] == list(days[40:]), "seven days a week"


def test_each_series_follows_its_own_calendar(monkeypatch) -> None:
    """Shares trade from Monday to Friday, coins every day; the last Friday is the end of both."""
    shares, coins = pd.bdate_range(end="2024-03-01", periods=65), pd.date_range(end="2024-03-01", periods=80)
    table = pd.concat([frame(shares, 65).assign(s="share"), frame(coins, 80).assign(s="coin")])
    data = read_table(table, target="y", sequence="s", time="t", horizon=HORIZON, window=3)
    monkeypatch.setattr(predictions, "predict_examples", lambda *_, **__: np.zeros((2, HORIZON, 1)))
    found = answer(None, Preparation.fit(data), data, feeds=("numbers",)).time
    assert found[0].astype("datetime64[D]").astype(str).tolist() == [f"2024-03-0{day}" for day in (4, 5, 6, 7, 8)]
    assert found[1].astype("datetime64[D]").astype(str).tolist() == [f"2024-03-0{day}" for day in (2, 3, 4, 5, 6)]


def test_dates_as_whole_numbers_stay_so(monkeypatch) -> None:
    found = forecast(frame([*range(20191201, 20191232), *range(20200101, 20200130)], 60), monkeypatch).table()
    assert found["t"].to_pylist() == [20200130, 20200131, 20200201, 20200202, 20200203]
    months = [100 * year + month for year in range(2010, 2020) for month in range(1, 13)][:118]
    assert forecast(frame(months, 118), monkeypatch).table()["t"].to_pylist() == [
        201911,
        201912,
        202001,
        202002,
        202003,
    ]


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_answers_at_each_step_have_the_times_of_the_table(kind, tmp_path, monkeypatch) -> None:
    table = frame(BERLIN).assign(x=np.arange(240.0))
    path = tmp_path / "t.csv"
    table.assign(t=[one.isoformat(" ") for one in BERLIN]).to_csv(path, index=False)
    data = read_table(table if kind == "frame" else path, target="y", time="t", task="regress")
    monkeypatch.setattr(predictions, "predict_examples", lambda *_, **__: np.zeros((240, 1)))
    found = answer(None, stored(Preparation.fit(data)), data, feeds=("numbers",)).table()["t"].to_pylist()
    assert found == (list(BERLIN) if kind == "frame" else [one.isoformat(" ") for one in BERLIN])


def test_the_report_shows_wall_time_with_its_offset() -> None:
    data = read_table(frame(BERLIN), target="y", time="t", horizon=1)
    assert _stamps(data, np.array([0, 239])) == ["2022-10-20T00:00:00+02:00", "2022-10-29T23:00:00+02:00"]
    whole = read_table(frame([*range(20191201, 20191232)], 31), target="y", time="t", horizon=1)
    assert _stamps(whole, np.array([30])) == ["2019-12-31T00:00:00"]


def test_a_run_of_an_earlier_version_has_no_stamps() -> None:
    data = read_table(frame(BERLIN.tz_localize(None)[:200], 200), target="y", time="t", horizon=1)
    old = Preparation.fit(data).to_json()
    del old["schema"]["stamps"]
    assert Preparation.from_json(json.loads(json.dumps(old))).schema == data.schema
