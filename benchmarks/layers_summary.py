"""What benchmarks/layers.py prints: its tables, and what the library must reach beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# (smallest H, forward and backward, forward alone) shares of the FMA peak; the first that fits counts.
KERNEL_TARGETS = {
    "lstm": ((128, 0.65, 0.60), (0, 0.55, 0.50)),
    "gru": ((128, 0.60, None), (0, 0.45, None)),
    "rnn": ((128, 0.60, None), (0, 0.45, None)),
}
AGAINST_KERAS, AGAINST_ALL, AGAINST_BUCKETS, TELEMETRY, ERROR = 5.0, 4.0, 1.6, 0.02, 2.0


# What must be reached -----------------------------------------------------------------------------------------------


def line(what: str, target: float, values: Sequence[tuple[float, float, str]], *, unit: str, most: bool = False) -> Any:
    """One line of the closing table.

    Args:
        what: in words.
        target: at least, or with ``most`` at most so much.
        values: (median, best round, where) of each case that the line holds for; the worst counts, of either.
        unit: "%" or "x".
    """
    pick: Any = max if most else min
    median, _, where = pick(values, key=lambda value: value[0])
    best = pick(value[1] for value in values)
    met = median <= target if most else median >= target
    return {"what": what, "target": target, "median": median, "best": best, "where": where, "met": met, "unit": unit,
            "most": most}  # fmt: skip


def reach(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of "What the library must reach" that the parts measured can answer; each at its worst case."""
    lines = []
    two = [row for row in found.get("kernel", ()) if row["threads"] == 2]
    for cell, limits in KERNEL_TARGETS.items():
        for direction, index in (("training", 1), ("forward", 2)):
            below = 10**9
            for limit in limits:
                low, target = limit[0], limit[index]
                rows = [row for row in two if row["cell"] == cell and low <= row["H"] < below]
                below = low
                if rows and target is not None:
                    values = [(row[direction]["share"], row[direction]["best_share"], at(row)) for row in rows]
                    how = "forward+backward" if direction == "training" else "forward"
                    sizes = "H >= 128" if low else "H = 64"
                    lines.append(line(f"kernel, {cell}, {how}, 2 threads, {sizes}", target, values, unit="%"))
    layers = found.get("layers", ())
    for backend, cell in dict.fromkeys((row["backend"], row["cell"]) for row in layers):
        rows = [row for row in layers if (row["backend"], row["cell"]) == (backend, cell)]
        values = [(row["train"]["ratio"], row["train"]["best_ratio"], at(row)) for row in rows]
        lines.append(line(f"train_on_batch, {cell}, against stock Keras on {backend}", AGAINST_KERAS, values, unit="x"))
    peers = found.get("peers", ())
    for part, target, said in (
        ("steps", AGAINST_ALL, "random batches"),
        ("pool", AGAINST_BUCKETS, "sorted batches for the peers"),
    ):
        for backend, cell in dict.fromkeys((row["backend"], row["cell"]) for row in peers):
            mine = [row for row in peers if (row["backend"], row["cell"]) == (backend, cell)]
            values = [against_best(row, peers, part) for row in mine]
            lines.append(line(f"{cell} on {backend} against the best peer, {said}", target, values, unit="x"))
    if two:
        values = [(row["telemetry"], row["best_telemetry"], f"{row['cell']} {at(row)}") for row in two]
        lines.append(line("telemetry on costs", TELEMETRY, values, unit="%", most=True))
    if found.get("accuracy"):
        values = [(row["ratio"], row["ratio"], f"{row['cell']} {at(row)} {row['worst']}") for row in found["accuracy"]]
        lines.append(line("error against float64 beside PyTorch's", ERROR, values, unit="x", most=True))
    return lines


def against_best(row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], part: str) -> tuple[float, float, str]:
    """How many times as fast ours is as the fastest peer of all backends on the same case."""
    peers = {
        name if "nn" in name else f"{name} on {one['backend']}": figures
        for one in rows
        if (one["cell"], one["H"]) == (row["cell"], row["H"])
        for name, figures in one[part].items()
        if name != "ours"
    }
    best = min(peers, key=lambda name: peers[name]["ms"])
    ours, low = row[part]["ours"], min(figures["best_ms"] for figures in peers.values())
    return peers[best]["ms"] / ours["ms"], low / ours["best_ms"], f"{at(row)}: {best}"


def at(row: Mapping[str, Any]) -> str:
    return f"H={row['H']}"


# Tables -------------------------------------------------------------------------------------------------------------


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in
                  enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
    return "\n".join(lines)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"\n{title}\n{columns([header, *rows])}\n"


def rate(figures: Mapping[str, float]) -> list[str]:
    """Milliseconds, the best of them, GFLOP/s and the share of the peak."""
    return [f"{figures['ms']:.2f}", f"{figures['best_ms']:.2f}", f"{figures['gflops']:.1f}", f"{figures['share']:.0%}"]


RATE = ("ms", "best ms", "GFLOP/s", "share")


def kernel_table(found: Mapping[str, Any]) -> str:
    header = ("kernel", "threads", "forward ms", "best", "GFLOP/s", "share", "best share",
              "fwd+bwd ms", "best", "GFLOP/s", "share", "best share", "telemetry")  # fmt: skip
    rows = [
        [f"{row['cell']} H={row['H']} F={row['F']} B={row['B']}", str(row["threads"])]
        + [text for way in ("forward", "training") for text in (*rate(row[way]), f"{row[way]['best_share']:.0%}")]
        + [f"{row['telemetry']:+.1%}"]
        for row in found["kernel"]
    ]
    return table("Kernels, valid steps alone; share of the FMA peak of the same moment", header, rows)


def accuracy_table(found: Mapping[str, Any]) -> str:
    rows = [
        [f"{row['cell']} {at(row)} {name}", f"{one['ours']:.2g}", f"{one['pytorch']:.2g}", f"{one['ratio']:.2f}"]
        for row in found["accuracy"]
        for name, one in row["errors"].items()
    ]
    title = "Root mean square error against float64, of ours and of PyTorch's float32 layer"
    return table(title, ("array", "ours", "PyTorch", "ratio"), rows)


def layers_table(found: Mapping[str, Any]) -> str:
    header = ("layer", "way", "stock ms", "best", "ours ms", "best", "share", "ratio", "best ratio", "differs")
    rows = [
        [f"{row['backend']} {row['cell']} {at(row)}", way, *rate(row[way]["stock"])[:2], *rate(row[way]["ours"])[:2],
         f"{row[way]['ours']['share']:.0%}", f"{row[way]['ratio']:.1f}", f"{row[way]['best_ratio']:.1f}",
         f"{max(row['differs'].values()):.0e}"]
        for row in found["layers"]
        for way in ("train", "predict")
    ]  # fmt: skip
    title = (
        "Layers beside stock Keras's: train_on_batch (shares count dx, which nobody needs here) and predict_on_batch"
    )
    return table(title, header, rows)


def peers_table(found: Mapping[str, Any], part: str, title: str) -> str:
    rows = [
        [f"{row['cell']} {at(row)} {name}{'' if 'nn' in name else ' on ' + row['backend']}", *rate(figures)]
        for row in sorted(found["peers"], key=lambda row: (row["cell"], row["H"]))
        for name, figures in row.get(part, {}).items()
    ]
    return table(title, ("who", *RATE), rows) if rows else ""


def scaling_table(found: Mapping[str, Any]) -> str:
    header = ("axis", "value", "B", "T", "H", "tokens", *RATE)
    rows = [
        [row["axis"], *(str(row[name]) for name in ("value", "B", "T", "H", "tokens")), *rate(row)]
        for row in found["scaling"]
    ]
    return table("Scaling of the LSTM, forward and backward", header, rows)


def reach_table(lines: Iterable[Mapping[str, Any]]) -> str:
    def shown(value: float, unit: str) -> str:
        return f"{value:.1%}" if unit == "%" else f"{value:.2f} x"

    rows = [
        [one["what"], f"{'<=' if one['most'] else '>='} {shown(one['target'], one['unit'])}",
         shown(one["median"], one["unit"]), shown(one["best"], one["unit"]), "met" if one["met"] else "MISSED",
         one["where"]]
        for one in lines
    ]  # fmt: skip
    return table(
        "What the library must reach: each line at its worst case",
        ("", "target", "median", "best", "", "worst at"),
        rows,
    )


def text(found: Mapping[str, Any]) -> str:
    """All that was measured, the closing table last."""
    before, after = found["load_before"][0], found["load_after"][0]
    shown = [f"{found['processor']}; load {before:.1f} before, {after:.1f} after"]
    shown += [
        f"{name}: {one['backend']}, Keras {one['keras']}, {one['isa']}, {one['threads']} threads, FMA peak "
        f"{one['peak_gflops']:.0f} GFLOP/s at its start, load {one['load']}"
        for name, one in found["machines"].items()
    ]
    tables: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "kernel": kernel_table, "accuracy": accuracy_table, "layers": layers_table, "scaling": scaling_table,
    }  # fmt: skip
    shown += [make(found) for part, make in tables.items() if part in found]
    if "peers" in found:
        for part, title in (
            ("steps", "One training step with Adam, the batch as it came"),
            ("pool", "Steps on eight batches: sorted by length for the peers, as they came for ours"),
            ("no_optimizer", "Forward and backward with the gradient of x, through PyTorch, no optimizer"),
        ):
            shown.append(peers_table(found, part, title))
    if "isas" in found:
        shown.append(f"Instruction sets, each forced and equal here: {', '.join(found['isas'])}")
    return "\n".join([*shown, reach_table(found["reach"])])
