"""Numbers read as a careful person would write them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from throughtime.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0, "0"), (-0.0, "0"), (7, "7"), (12345, "12,345"), (-12345, "\N{MINUS SIGN}12,345"),
        (0.98, "0.980"), (3.14159, "3.14"), (518.67, "519"), (1234.5, "1,234"), (0.00012345, "0.000123"),
        (0.000012345, "1.23\N{MULTIPLICATION SIGN}10⁻⁵"), (-2.5e12, "\N{MINUS SIGN}2.50\N{MULTIPLICATION SIGN}10¹²"),
        (10**18, "1.00\N{MULTIPLICATION SIGN}10¹⁸"), (math.nan, "\N{EN DASH}"), (None, "\N{EN DASH}"),
        (math.inf, "∞"), (-math.inf, "\N{MINUS SIGN}∞"), (True, "\N{EN DASH}"), ("x", "\N{EN DASH}"),
        (np.int64(1000), "1,000"), (np.float32(0.5), "0.500"),
    ],
)  # fmt: skip
def test_a_number(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.5, "50.0%"),
        (0.9997, ">99.9%"),
        (0.0001, "<0.1%"),
        (0.98765, "98.8%"),
        (2.5, "250.0%"),
    ],
)
def test_a_share_is_all_or_nothing_only_when_it_is(value, text):
    assert numbers.share(value) == text


def test_a_column_has_one_number_of_decimals_where_sizes_allow():
    assert numbers.scores("rmse", [18.42, 2.3, None]) == ["18.42", "2.30", "\N{EN DASH}"]
    assert numbers.scores("rmse", [1e-9, 5.0]) == ["1.00\N{MULTIPLICATION SIGN}10⁻⁹", "5.00"]
    assert numbers.scores("macro_f1", [0.99999, 1.0, 0.5]) == [">0.999", "1.000", "0.500"]
    assert numbers.scores("accuracy", [0.981])[0] == "98.1%"


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([0.9990, 0.9995], ["0.9990", "0.9995"]),
        ([0.0, 2.5e6, 5e6], ["0", "2.5M", "5.0M"]),
        ([-10.0, 0.0, 10.0], ["\N{MINUS SIGN}10", "0", "10"]),
        ([1000.0, 2000.0], ["1,000", "2,000"]),
        ([3.0], ["3"]),
        ([], []),
    ],
)
def test_ticks_have_as_many_decimals_as_their_step(places, labels):
    assert numbers.ticks(places) == labels


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.50 s"),
        (41.2, "41 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3840, "1 h 04 min"),
        (None, "\N{EN DASH}"),
    ],
)
def test_a_duration(seconds, text):
    assert numbers.duration(seconds) == text


def test_a_moment_and_a_metric_in_words():
    assert numbers.moment("2026-11-22T20:30:00+00:00") == "22 November 2026, 20:30 UTC"
    assert numbers.moment("yesterday") == "yesterday"
    assert [numbers.metric(name) for name in ("macro_f1", "rmse", "r2", "log_loss")] == [
        "macro F1",
        "RMSE",
        "R²",
        "log loss",
    ]
    assert numbers.counted(1, "epoch") == "1 epoch"
