"""What is measured is right: cases, aggregation, equality before time, the closing table. No time is judged."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from throughtime import bench, cli
from throughtime.errors import ArgumentError, ThroughtimeError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import layers_summary

    return layers_summary


# Cases and aggregation ----------------------------------------------------------------------------------------------


def test_operations_are_those_of_valid_steps() -> None:
    case = bench.Case("lstm", 5, 3, (4, 1))
    assert case.flops(bench.FORWARD) == 5 * 2 * 4 * 5 * (3 + 5)
    assert case.flops(bench.TRAINING) == 3 * case.flops(bench.FORWARD)
    assert case.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert not case.x[~case.mask].any()


def test_the_grid_is_that_of_the_targets() -> None:
    case = bench.Case.of_size("gru", bench.GRID[-1])
    assert (case.units, case.features, case.batch) == (512, 256, 64)
    assert min(case.lengths) >= 5
    assert max(case.lengths) <= 400
    assert 2.2 <= case.mask.size / case.tokens <= 2.8  # steps of the container for each valid one


def test_a_cell_or_size_that_there_is_not_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'lstm'"):
        bench.Case("lstn", 1, 1, (1,))
    with pytest.raises(ArgumentError, match="'64', '128', '256', '512'"):
        bench.sizes_of(["63"])


def test_the_best_share_is_of_the_best_peak() -> None:
    figures = bench.Timings([1.0, 4.0, 2.0], [10.0, 1.0, 4.0]).figures(4_000_000_000)
    assert figures["ms"] == 2000
    assert figures["gflops"] == 2
    assert figures["share"] == pytest.approx(0.5)  # of 0.4, 1.0, 0.5
    assert figures["best_share"] == pytest.approx(0.4)
    assert "share" not in bench.Timings([1.0], [0.0]).figures(1)


def test_calls_take_turns() -> None:
    seen: list[str] = []
    calls = {name: (lambda name=name: seen.append(name)) for name in "ab"}
    peaks = iter(range(1, 100))
    timings = bench.interleaved(calls, repeat=3, peak=lambda: float(next(peaks)), least=0)
    assert seen == ["a", "a", "b", "b", "a", "b", "b", "a", "a", "b"]
    assert timings["a"].peaks == [2, 6, 8]  # the later one of those around it, since these rise
    assert timings["b"].peaks == [3, 5, 9]


def test_slow_calls_get_three_rounds() -> None:
    timings = bench.interleaved({"a": lambda: None}, repeat=9, least=0, most=0)
    assert len(timings["a"].seconds) == 3


def test_results_that_differ_or_are_not_finite_are_not_timed() -> None:
    one = np.array([1.0, 2.0])
    assert bench.refuse_different("outputs", [one], [one + 1e-6], 1e-4) < 1e-6
    for other in (one + 1e-3, np.array([1.0, np.nan])):
        with pytest.raises(ThroughtimeError, match="outputs differ by"):
            bench.refuse_different("outputs", [other], [one], 1e-4)


# Layers -------------------------------------------------------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize("cell", bench.CELLS)
def test_layers_are_equal_and_then_timed(cell: str) -> None:
    row = bench.compare(bench.Case(cell, 3, 2, (4, 1, 3)), repeat=3)
    assert {"cell": cell, "H": 3, "F": 2, "B": 3, "tokens": 8}.items() <= row.items()
    assert 0 <= row["differs"]["outputs"] <= bench.OUTPUT_TOLERANCE
    assert 0 <= row["differs"]["gradients"] <= bench.GRADIENT_TOLERANCE
    for way in ("train", "predict"):
        assert set(row[way]) == {"stock", "ours", "ratio", "best_ratio"}
        assert all(row[way][who]["ms"] >= row[way][who]["best_ms"] > 0 for who in ("stock", "ours"))


@pytest.mark.backend
@pytest.mark.parametrize("place", range(5))
def test_a_model_with_one_other_weight_is_refused(place: int) -> None:
    case = bench.Case("gru", 3, 2, (4, 1, 3))
    one, other = (bench.network(case, bench.STOCK["gru"], steps=case.steps) for _ in range(2))
    weights = other.get_weights()
    weights[place] = weights[place] + 0.1
    other.set_weights(weights)
    with pytest.raises(ThroughtimeError, match="nothing timed"):
        bench.equal_models(case, one, other)


@pytest.mark.backend
def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(bench, "GRID", ((2, 3, 4),))
    monkeypatch.setattr(bench, "lengths_of", lambda batch: np.arange(1, batch + 1))
    asked = ["bench", "--cells", "rnn", "--units", "2", "--repeat", "3", "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr(sys, "argv", ["throughtime", *asked])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    printed = capsys.readouterr().out
    assert "beside stock Keras" in printed
    assert "FMA peak" in printed and "cores busy" in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"machine", "rows"}
    assert found["machine"]["threads"] >= 1
    assert [(row["cell"], row["H"], row["tokens"]) for row in found["rows"]] == [("rnn", 2, 10)]


def test_units_that_are_not_of_the_grid_are_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["throughtime", "bench", "--units", "65"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: --units='65' is not accepted")


@pytest.mark.parametrize(("named", "threads", "cores", "why"), [
    ({}, 4, 4, "the cores this process may run on"),
    ({"THROUGHTIME_THREADS": "3"}, 3, 4, "THROUGHTIME_THREADS"),
    ({"OMP_NUM_THREADS": "1"}, 1, 4, "OMP_NUM_THREADS"),
    ({"OMP_NUM_THREADS": "1", "THROUGHTIME_THREADS": "3"}, 3, 4, "THROUGHTIME_THREADS"),
    ({"OMP_NUM_THREADS": "8"}, 4, 4, "the cores this process may run on"),
    ({}, 2, 16, "the CPU quota"),
])  # fmt: skip
def test_where_the_number_of_threads_comes_from(named: dict, threads: int, cores: int, why: str) -> None:
    assert bench.origin_of(threads, named, cores) == why


def test_the_table_says_what_each_side_had(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=200, file=io.StringIO())
    timed = {"ms": 2.0, "share": 0.5, "cores": 1.5}
    row = {"cell": "lstm", "H": 64, "F": 16, "B": 32, "tokens": 9} | {
        way: {"stock": timed | {"cores": busy}, "ours": timed, "ratio": 1.0}
        for way, busy in (("train", 1.0), ("predict", 0.5))
    }
    about = {"keras": "3", "backend": "jax 1", "isa": "avx2", "threads": 2, "peak_gflops": 9.0, "load": 0.5,
             "threads_from": "OMP_NUM_THREADS", "threads_note": "XLA takes no notice of OMP_NUM_THREADS"}  # fmt: skip
    console.print(bench.table({"machine": about, "rows": [row]}))
    said = " ".join(console.file.getvalue().split())
    assert "ours: 2 threads (OMP_NUM_THREADS), 1.5 cores busy on average" in said
    assert "stock: 0.8 cores busy on average; XLA takes no notice of OMP_NUM_THREADS" in said


# The closing table --------------------------------------------------------------------------------------------------


def figures(ms: float, share: float = 0.5) -> dict[str, float]:
    return {"ms": ms, "best_ms": ms / 2, "gflops": 1.0, "best_gflops": 2.0, "share": share, "best_share": share}


def kernel_row(H: int, share: float, *, threads: int = 2, telemetry: float = 0.01) -> dict:
    timed = {way: figures(1.0, share) for way in ("forward", "training")}
    return {"cell": "lstm", "H": H, "F": 1, "B": 1, "tokens": 1, "threads": threads, **timed,
            "telemetry": telemetry, "best_telemetry": 0.0}  # fmt: skip


def peer_row(backend: str, steps: dict[str, float], pool: dict[str, float]) -> dict:
    parts = {"steps": steps, "pool": pool}
    made = {part: {name: figures(ms) for name, ms in each.items()} for part, each in parts.items()}
    return {"cell": "lstm", "H": 64, "F": 1, "B": 1, "tokens": 1, "backend": backend, **made}


def measured() -> dict:
    layers = [
        {"cell": "lstm", "H": H, "backend": "jax", "differs": {"outputs": 1e-7, "gradients": 1e-6},
         **{way: {"stock": figures(ratio), "ours": figures(1.0), "ratio": ratio, "best_ratio": ratio}
            for way in ("train", "predict")}}
        for H, ratio in ((64, 7.0), (128, 4.0))
    ]  # fmt: skip
    return {
        "processor": "x", "load_before": [0.0], "load_after": [0.0], "machines": {},
        "kernel": [kernel_row(64, 0.6), kernel_row(128, 0.7), kernel_row(256, 0.64), kernel_row(512, 0.1, threads=1),
                   kernel_row(512, 0.9, telemetry=0.03)],
        "layers": layers,
        "peers": [
            peer_row("jax", {"ours": 1.0, "Keras": 8.0}, {"ours": 1.0, "Keras": 3.0}),
            peer_row("torch", {"ours": 2.0, "Keras": 90.0, "nn padded": 5.0}, {"ours": 2.0, "nn padded": 4.0}),
        ],
        "accuracy": [{"cell": "gru", "H": 64, "ratio": 1.5, "worst": "dbias",
                      "errors": {"dbias": {"ours": 3e-6, "pytorch": 2e-6, "ratio": 1.5}}}],
        "scaling": [{"axis": "T", "value": 10, "B": 8, "T": 10, "H": 128, "tokens": 80, **figures(1.0)}],
        "isas": ["portable"],
    }  # fmt: skip


def test_each_line_is_judged_at_its_worst_case(summary) -> None:
    lines = {one["what"]: one for one in summary.reach(measured())}
    large = lines["kernel, lstm, forward+backward, 2 threads, H >= 128"]
    assert (large["median"], large["where"], large["met"]) == (0.64, "H=256", False)
    small = lines["kernel, lstm, forward+backward, 2 threads, H = 64"]
    assert (small["median"], small["target"], small["met"]) == (0.6, 0.55, True)
    assert lines["kernel, lstm, forward, 2 threads, H >= 128"]["met"]
    stock = lines["train_on_batch, lstm, against stock Keras on jax"]
    assert (stock["median"], stock["where"], stock["met"]) == (4.0, "H=128", False)
    telemetry = lines["telemetry on costs"]
    assert (telemetry["median"], telemetry["met"]) == (0.03, False)
    assert lines["error against float64 beside PyTorch's"]["met"]


def test_the_best_peer_is_of_any_backend(summary) -> None:
    lines = {one["what"]: one for one in summary.reach(measured())}
    assert (
        lines["lstm on jax against the best peer, random batches"]["median"] == 5.0
    )  # nn padded, of the other process
    assert lines["lstm on torch against the best peer, random batches"]["median"] == 2.5
    assert lines["lstm on jax against the best peer, sorted batches for the peers"]["median"] == 3.0
    assert lines["lstm on torch against the best peer, sorted batches for the peers"]["median"] == 1.5


def test_the_text_has_every_part(summary) -> None:
    found = measured()
    found["reach"] = summary.reach(found)
    text = summary.text(json.loads(json.dumps(found)))
    for said in ("Kernels", "Root mean square", "Layers", "Scaling", "Adam", "eight batches", "MISSED", "portable"):
        assert said in text
    assert summary.text(found | {"peers": [], "reach": []}).count("MISSED") == 0


def test_a_pool_is_the_same_sequences_sorted(summary) -> None:
    from layers_peers import POOL, pools

    case = bench.Case.of_size("gru", (4, 2, 6))
    random, ordered = pools(case)
    assert len(random) == len(ordered) == POOL
    assert random[0].lengths == case.lengths
    every = [length for batch in random for length in batch.lengths]
    assert [length for batch in ordered for length in batch.lengths] == sorted(every)
    assert {batch.batch for batch in random + ordered} == {6}


def test_parts_are_added_row_by_row(summary) -> None:
    import layers

    found: dict = {}
    for part, value in (("machine", {"a": 1}), ("peers", [1]), ("peers", [2]), ("machine", {"a": 2})):
        layers.added(found, part, value)
    assert found == {"machine": {"a": 2}, "peers": [1, 2]}
