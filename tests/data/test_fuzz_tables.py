"""Damaged files: each is read or refused in one line; no traceback, and no signal, which ends a process."""

from __future__ import annotations

from collections import Counter

import mutations
import pytest


def read(kind, count, seed, folder):
    found = mutations.outcomes(kind, mutations.damaged(kind, count, seed), folder)
    assert len(found) == count
    return Counter(found)


@pytest.mark.parametrize("kind", mutations.KINDS)
def test_whole_files_are_read_and_damaged_ones_read_or_refused(kind, tmp_path):
    whole = mutations.originals()[kind]
    found = mutations.outcomes(kind, [*whole, *mutations.damaged(kind, 30, 11)], tmp_path)
    assert set(found[: len(whole)]) == {"read"}
    assert set(found) == {"read", "refused"}, found


@pytest.mark.thorough
@pytest.mark.parametrize("kind", mutations.KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_many_damaged_files(kind, seed, tmp_path, capsys):
    found = read(kind, 250, seed, tmp_path)
    with capsys.disabled():
        print(f"\n{kind}, seed {seed}: tried {found.total()}, {dict(found)}")
    assert set(found) == {"read", "refused"}, found
