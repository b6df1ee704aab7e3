"""Calls of the native library: tickets, repetition bit for bit, several threads at once, a fork, refused arrays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from recurrences import Recurrence, assert_same_bits, masked

from throughtime.errors import ArgumentError
from throughtime.kernels import native
from throughtime.kernels.problem import CELLS, Gradients

HERE = Path(__file__).parent
NO_TICKET = 0
UNKNOWN_TICKET = 2**63 + 11


def evict_all() -> None:
    before = native.keep_at_most(1)
    newest = masked("rnn_tanh", "no mask", batch=1, steps=1, units=1).forward(native, keep=True).ticket
    native.release(newest)
    native.keep_at_most(before)
    assert native.memory()[0] == 0


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    """Other tests may have left tickets; this one's go, and the limit is put back."""
    before = native.keep_at_most(0)
    evict_all()
    yield
    native.keep_at_most(before)
    evict_all()


def large(cell: str, seed: int = 0, threads: int = 2) -> Recurrence:
    """Enough work for two threads, with chunks and sequences of many lengths."""
    return masked(cell, "post", batch=70, steps=30, features=19, units=35, seed=seed, threads=threads)


def named(gradients: Gradients) -> dict[str, np.ndarray]:
    return {name: array for name, array in gradients._asdict().items() if array is not None}


# Tickets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_a_training_pass_gives_what_an_inference_pass_gives(cell: str) -> None:
    case = large(cell)
    inference, training = case.forward(native)._asdict(), case.forward(native, keep=True)._asdict()
    assert inference.pop("ticket") == NO_TICKET
    ticket = training.pop("ticket")
    assert ticket != NO_TICKET
    native.release(ticket)
    arrays = [name for name in inference if inference[name] is not None]
    assert_same_bits({name: training[name] for name in arrays}, {name: inference[name] for name in arrays})


@pytest.mark.parametrize("cell", CELLS)
def test_a_ticket_saves_work_and_changes_no_bit(cell: str, nothing_kept: None) -> None:
    case = large(cell)
    expected = named(case.backward(native, ticket=NO_TICKET))
    ticket = case.forward(native, keep=True).ticket
    kept, _ = native.memory()
    assert kept > 0
    assert_same_bits(named(case.backward(native, ticket=ticket)), expected)
    assert native.memory()[0] == 0  # used up
    assert_same_bits(named(case.backward(native, ticket=ticket)), expected)

    released = case.forward(native, keep=True).ticket
    native.release(released)
    assert native.memory()[0] == 0
    assert_same_bits(named(case.backward(native, ticket=released)), expected)
    assert_same_bits(named(case.backward(native, ticket=UNKNOWN_TICKET)), expected)


def test_the_oldest_tickets_are_evicted(nothing_kept: None) -> None:
    case = large("lstm")
    expected = named(case.backward(native))
    tickets, kept = [], []
    for _ in range(3):
        tickets.append(case.forward(native, keep=True).ticket)
        kept.append(native.memory()[0])
    native.keep_at_most(kept[2] - 1)
    assert native.memory()[0] == kept[2] - kept[0]  # the first is gone
    for number, left in ((1, kept[2] - kept[1]), (0, kept[2] - kept[1]), (2, 0)):
        assert_same_bits(named(case.backward(native, ticket=tickets[number])), expected)
        assert native.memory()[0] == left
    native.keep_at_most(kept[0] * 2)
    first = case.forward(native, keep=True).ticket
    for _ in range(2):  # eviction by what is newly kept
        case.forward(native, keep=True)
    assert native.memory()[0] <= kept[0] * 2
    assert_same_bits(named(case.backward(native, ticket=first)), expected)


def test_the_newest_ticket_is_kept_whatever_its_size(nothing_kept: None) -> None:
    case = large("gru")
    native.keep_at_most(1)
    tickets = [case.forward(native, keep=True).ticket for _ in range(3)]
    assert native.memory()[0] > 1
    native.release(tickets[-1])
    assert native.memory()[0] == 0


def test_the_limit_of_what_is_kept(nothing_kept: None) -> None:
    before = native.keep_at_most(12345)
    assert before > 2**20
    assert native.keep_at_most(0) == 12345
    assert native.keep_at_most(before) == 12345


def test_tickets_have_names_of_their_own(nothing_kept: None) -> None:
    case = masked("gru", "gaps")
    tickets = [case.forward(native, keep=True).ticket for _ in range(20)]
    assert len(set(tickets)) == 20 and NO_TICKET not in tickets
    for ticket in tickets:
        native.release(ticket)
    native.release(NO_TICKET)
    native.release(UNKNOWN_TICKET)
    assert native.memory()[0] == 0


@pytest.mark.parametrize(
    "other",
    [
        {"cell": "gru_reset_before"},
        {"reverse": True},
        {"batch": 69},
        {"steps": 29},
        {"features": 20},
        {"units": 34},
    ],
)
def test_a_ticket_of_another_problem_is_no_use(other: dict, nothing_kept: None) -> None:
    """A caller's mistake, but no reason for wrong gradients or a crash."""
    case = masked("gru", "no mask", batch=70, steps=30, features=19, units=35)
    expected = named(case.backward(native))
    sizes = {"cell": "gru", "batch": 70, "steps": 30, "features": 19, "units": 35} | other
    ticket = masked(mask="no mask", **sizes).forward(native, keep=True).ticket
    assert_same_bits(named(case.backward(native, ticket=ticket)), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_flags_of_outputs_alone_do_not_spoil_a_ticket(cell: str, nothing_kept: None) -> None:
    """Where steps are masked, what y shows is no matter of the activations."""
    case = masked(cell, "gaps", batch=20, steps=30, units=35)
    shown = case.with_problem(zero_masked=True)
    ticket = case.forward(native, keep=True).ticket
    assert_same_bits(named(shown.backward(native, ticket=ticket)), named(shown.backward(native)))


def test_memory_that_waits_is_given_back() -> None:
    case = large("lstm")
    case.results(native)
    assert native.memory()[1] > 0
    native.trim()
    assert native.memory()[1] == 0


# Repetition ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("cell", CELLS)
def test_results_are_repeated_bit_for_bit(cell: str, isa: str) -> None:
    case = large(cell, threads=2).with_problem(isa=isa)
    first = case.results(native)
    for _ in range(5):
        assert_same_bits(case.results(native), first)


def test_the_callers_denormal_numbers_stay() -> None:
    """The kernels count them as zero while they run, and then no longer."""
    large("lstm").results(native)
    tiny = np.full(64, 1e-40, np.float32)
    assert (tiny * np.float32(2) > tiny).all()


def test_several_threads_may_call_at_once() -> None:
    cases = [large(CELLS[seed % len(CELLS)], seed, threads=1 + seed % 3) for seed in range(10)]
    expected = [case.results(native) for case in cases]

    def repeated(number: int) -> None:
        for _ in range(4):
            outputs = cases[number].forward(native, keep=number % 2 == 0)
            found = outputs._asdict() | cases[number].backward(native, ticket=outputs.ticket)._asdict()
            assert_same_bits({name: found[name] for name in expected[number]}, expected[number])

    with ThreadPoolExecutor(max_workers=6) as callers:
        for done in [callers.submit(repeated, number) for number in range(10)]:
            done.result()


FORK = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
from recurrences import assert_same_bits, masked
from throughtime.kernels import native

case = masked("lstm", "post", batch=70, steps=30, features=19, units=35, threads=3)
before = case.results(native)
kept = case.forward(native, keep=True).ticket

def same(ticket=0):
    assert_same_bits(case.results(native), before)
    gradients = case.backward(native, ticket=ticket)
    assert_same_bits({"dx": gradients.dx, "dh0": gradients.dh0}, {"dx": before["dx"], "dh0": before["dh0"]})

def forks(times):
    for _ in range(times):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                same(kept)
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child"
        same()

forks(3)
stop = threading.Event()

def call():
    while not stop.is_set():
        case.results(native)

callers = [threading.Thread(target=call) for _ in range(2)]
for caller in callers:
    caller.start()
forks(20)
stop.set()
for caller in callers:
    caller.join()
same(kept)
print("the same")
"""


def test_a_forked_process_computes_the_same() -> None:
    """A child has none of its parent's threads, and must not wait for what they held, here while others are calling.

    In a process of its own, because pytest's has threads that are not to be forked.
    """
    command = [sys.executable, "-c", FORK, str(HERE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout == "the same\n", result.stderr


# The door -----------------------------------------------------------------------------------------------------------

ZEROS = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": ZEROS[:, :2]}, r"x: float32 \(2, 2, 4\) is given, float32 \(2, 3, 4\) accepted"),
        ({"x": ZEROS.astype(np.float64)}, r"x: float64 \(2, 3, 4\) is given, float32 \(2, 3, 4\) accepted"),
        ({"x": np.zeros((2, 3, 8), np.float32)[..., ::2]}, r"x: .*not contiguous; numpy.ascontiguousarray\(x\) is"),
        ({"x": np.zeros((2, 4, 3), np.float32).swapaxes(1, 2)}, "x: .*not contiguous"),
        ({"x": ZEROS[:, ::-1]}, "x: .*not contiguous"),
        ({"x": np.broadcast_to(ZEROS[:1], (2, 3, 4))}, "x: .*not contiguous"),
        ({"x": np.broadcast_to(ZEROS[..., :1], (2, 3, 4))}, "x: .*not contiguous"),
        ({"x": ZEROS.tolist()}, "x: list is given, a NumPy array accepted"),
        ({"x": None}, r"x: nothing is given, an array of shape \(2, 3, 4\) needed"),
        ({"kernel": None}, r"kernel: nothing is given, an array of shape \(4, 15\) needed"),
        ({"mask": np.ones((2, 3), np.int64)}, r"mask: int64 \(2, 3\) is given, bool or uint8 \(2, 3\) accepted"),
        ({"mask": np.ones((3, 2), bool).T}, "mask: .*not contiguous"),
        ({"h0": np.zeros((5, 2), np.float32).T}, r"h0: .*numpy.ascontiguousarray\(h0\)"),
        ({"c0": np.zeros((2, 5), np.float32)}, "c0: this cell has none; leave it None"),
        ({"recurrent_bias": np.zeros((5,), np.float32)}, r"recurrent_bias: .*float32 \(15,\) accepted"),
        ({"h0": ZEROS, "kernel": ZEROS}, "h0: .*; kernel: "),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    case = masked("gru", "gaps", batch=2, steps=3, features=4, units=5).with_inputs(**changes)
    for call in (case.forward, case.backward):
        with pytest.raises(ArgumentError, match=message):
            call(native)


def test_cotangents_that_do_not_fit_are_refused() -> None:
    case = masked("gru", "gaps", batch=2, steps=3, features=4, units=5)
    with pytest.raises(ArgumentError, match=r"dy: .*\(2, 3, 5\) accepted; dcn: this cell has none"):
        native.backward(case.problem, **case.inputs, dy=ZEROS, dcn=ZEROS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "LSTM"}, "cell='LSTM' is not accepted; .*Did you mean 'lstm'"),
        ({"isa": "avx1024"}, "isa='avx1024' is not accepted; .*Did you mean"),
        ({"batch": -1, "units": 0}, r"batch=-1 \(at least 0\), units=0 \(at least 1\)"),
    ],
)
def test_problems_that_there_are_not_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        masked("lstm", "gaps").with_problem(**changes)


def test_sizes_beyond_the_library_are_refused() -> None:
    address = ZEROS.ctypes.data
    for sizes in ({"units": 2**40}, {"batch": 2**31, "steps": 2**31}):
        problem = native.Problem(**{"cell": "lstm", "batch": 1, "steps": 1, "features": 1, "units": 1} | sizes)
        with pytest.raises(ArgumentError, match="outside of what the library takes"):
            native.forward_at(problem, x=address, kernel=address, recurrent_kernel=address)


def test_null_weights_are_refused() -> None:
    address, problem = ZEROS.ctypes.data, native.Problem("lstm", batch=1, steps=1, features=1, units=1)
    with pytest.raises(ArgumentError, match="not NULL"):
        native.forward_at(problem, x=address, kernel=0, recurrent_kernel=address)
    with pytest.raises(ArgumentError, match="not NULL"):
        native.backward_at(problem, x=0, kernel=address, recurrent_kernel=address)
