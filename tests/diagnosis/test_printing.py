"""A diagnosis in the terminal: whole words within the width, one line a statement elsewhere."""

from __future__ import annotations

from throughtime.diagnosis.findings import Diagnosis, Finding
from throughtime.diagnosis.printing import printed

BELOW = Finding("saturated-gates", "warning", "rnn", "93% of the values lie at the end of their range", "-")
ABOVE = Finding(
    "unscaled-input", "warning", "x[0]", "mean 1013.2 and standard deviation 8.9; " + "measured " * 12 + "exactly",
    "x = (x - x_train.mean(axis=(0, 1))) / x_train.std(axis=(0, 1))", (BELOW,),
)  # fmt: skip
ERROR = Finding("call-fails", "error", "model", "a [shape] does not fit", 'keras.Input((None, 3)) [bold]"')


def test_every_finding_has_its_evidence_remedy_and_consequences() -> None:
    lines = printed(Diagnosis((ERROR, ABOVE), None, ("64 sequences", "120 training steps"), ("time",), 2.04)).plain
    assert lines.splitlines() == [
        "error    call-fails  model",
        "         a [shape] does not fit",
        'remedy   keras.Input((None, 3)) [bold]"',
        "",
        "warning  unscaled-input  x[0]",
        " " * 9 + ABOVE.evidence,
        "remedy   " + ABOVE.remedy,
        "hence    saturated-gates (rnn): 93% of the values lie at the end of their range",
        "",
        "1 error, 1 warning",
        "looked at 64 sequences; 120 training steps (2.0 s)",
        "not looked at: time",
    ]


def test_a_terminal_gets_lines_of_its_width_and_codes_stay_whole() -> None:
    wide = printed(Diagnosis((ERROR, ABOVE), None, ("64 sequences",) * 9, (), 2.0)).plain
    narrow = printed(Diagnosis((ERROR, ABOVE), None, ("64 sequences",) * 9, (), 2.0), width=64).plain
    assert max(map(len, narrow.splitlines())) <= 64
    assert narrow.split() == wide.split()
    assert all(line == line.rstrip() for line in narrow.splitlines())


def test_nothing_found_is_said() -> None:
    assert printed(Diagnosis((), None, ("64 sequences",), (), 0.5)).plain.splitlines()[0] == "nothing found"
