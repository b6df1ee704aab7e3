"""States as bytes: going on from them is as if nothing had happened, on any backend; what does not fit is refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from stream_cases import filled, pushed, random, sequential

import throughtime as tt
from throughtime.errors import ArgumentError


def model_of(units: int = 4, *, cell: type = layers.LSTM, seed: int = 1) -> keras.Model:
    return sequential(
        cell(units, return_sequences=True), layers.GRU(3, return_sequences=True), layers.Dense(2), seed=seed
    )


@pytest.mark.backend
def test_going_on_from_a_snapshot_is_as_never_having_stopped() -> None:
    model, x = model_of(), random(3, 9, 3)
    stream = tt.Stream(model, batch=3)
    pushed(stream, x[:, :4])
    kept = stream.snapshot()
    expected = pushed(stream, x[:, 4:])
    other = tt.Stream(model, batch=3)
    pushed(other, random(3, 5, 3, seed=9))
    other.restore(kept)
    np.testing.assert_array_equal(pushed(other, x[:, 4:]), expected)
    assert other.snapshot() == stream.snapshot()

    # One stream among others, to another place, and to a stream alone.
    pushed(stream, x[:, :1])
    stream.restore(stream.snapshot([2, 0]), [0, 1])
    assert stream.snapshot(0) == stream.snapshot(2)
    alone = tt.Stream(model)
    alone.restore(_one_of(kept, model, 1))
    for t in range(4, 9):
        np.testing.assert_allclose(alone.push(x[1, t]), expected[1, t - 4], rtol=1e-5, atol=1e-6)


def _one_of(snapshot: bytes, model: keras.Model, place: int) -> bytes:
    many = tt.Stream(model, batch=3)
    many.restore(snapshot)
    return many.snapshot(place)


def test_the_bytes_are_laid_out_as_written() -> None:
    model = sequential(layers.LSTM(2, return_sequences=True), layers.SimpleRNN(1), features=1)
    stream = tt.Stream(model, batch=2)
    stream.push([[1.0], [-2.0]])
    data = stream.snapshot()
    magic, version, size, count, fingerprint = struct.unpack_from("<8sHHI32s", data)
    assert (magic, version, size, count) == (b"TTSTREAM", 1, 4, 2)
    assert len(fingerprint) == 32 and len(data) == 48 + 2 * 5 * 4 + 4
    values = np.frombuffer(data[48:-4], "<f4").reshape(2, 5)  # h and c of the LSTM, h of the SimpleRNN
    assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])
    assert np.ptp(values) > 0.1


PROGRAM = """
import sys
import keras
import numpy as np
import throughtime as tt
folder = sys.argv[1]
model = keras.saving.load_model(f"{folder}/model.keras")
stream = tt.Stream(model)
stream.restore(open(f"{folder}/snapshot", "rb").read())
x = np.load(f"{folder}/x.npy")
np.save(f"{folder}/{keras.backend.backend()}.npy", np.stack([stream.push(step) for step in x]))
open(f"{folder}/{keras.backend.backend()}.snapshot", "wb").write(stream.snapshot())
"""


def test_a_snapshot_is_restored_on_other_backends(tmp_path: Path) -> None:
    others = [name for name in ("jax", "torch", "tensorflow") if find_spec(name) and name != keras.backend.backend()]
    model, x = model_of(), random(9, 3)
    stream = tt.Stream(model)
    for step in x[:4]:
        stream.push(step)
    model.save(tmp_path / "model.keras")
    (tmp_path / "snapshot").write_bytes(stream.snapshot())
    np.save(tmp_path / "x.npy", x[4:])
    expected = np.stack([stream.push(step) for step in x[4:]])
    for name in others:
        environment = os.environ | {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        # The same NumPy on the same weights: not a bit differs.
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), expected)
        assert (tmp_path / f"{name}.snapshot").read_bytes() == stream.snapshot()


def test_a_snapshot_that_does_not_fit_is_refused_with_the_reason() -> None:
    stream = tt.Stream(model_of(), batch=2)
    pushed(stream, random(2, 3, 3))
    kept = stream.snapshot()
    for other in (model_of(5), model_of(cell=layers.SimpleRNN), sequential(layers.LSTM(4), layers.Dense(2))):
        with pytest.raises(ArgumentError, match="of another model"):
            tt.Stream(other, batch=2).restore(kept)
    relu = sequential(
        layers.LSTM(4, return_sequences=True, activation="relu"), layers.GRU(3, return_sequences=True), layers.Dense(2)
    )
    with pytest.raises(ArgumentError, match="of another model"):
        tt.Stream(relu, batch=2).restore(kept)
    tt.Stream(model_of(seed=7), batch=2).restore(kept)  # other weights, the same layers
    with pytest.raises(ArgumentError, match="of 2 streams, and is to be restored to 1"):
        tt.Stream(model_of()).restore(kept)
    with pytest.raises(ArgumentError, match="damaged"):
        stream.restore(kept[:60] + bytes([kept[60] ^ 1]) + kept[61:])
    with pytest.raises(ArgumentError, match="damaged"):
        stream.restore(kept[:-3])
    changed = kept[:8] + struct.pack("<H", 9) + kept[10:]
    with pytest.raises(ArgumentError, match="version 9; this throughtime reads 1"):
        stream.restore(changed)
    for wrong in (b"", b"not a snapshot", "text", None):
        with pytest.raises(ArgumentError, match="no snapshot"):
            stream.restore(wrong)
    assert stream.snapshot() == kept
    many = tt.Stream(filled(keras.Sequential([keras.Input((None, 3)), layers.Dense(2)])), batch=2)
    many.restore(many.snapshot())  # a model without a state has an empty one


def mutated(kept: bytes, rng: np.random.Generator) -> bytes:
    """Snapshots as files and networks damage them, and as somebody writes them who knows the format."""
    data, kind = bytearray(kept), rng.integers(0, 9)
    places = rng.integers(0, len(kept), 4)
    if kind == 0:
        data[places[0]] ^= 1 << rng.integers(0, 8)
    elif kind == 1:
        del data[int(places[0]) :]
    elif kind == 2:
        data += rng.bytes(int(rng.integers(1, 40)))
    elif kind == 3:
        data[min(places) : max(places)] = b""
    elif kind == 4:
        data[min(places) : max(places)] = rng.bytes(max(places) - min(places))
    elif kind == 5:
        data = data + data
    elif kind == 6:  # a field of the header: version, bytes a number, streams
        place, size = [(8, 2), (10, 2), (12, 4)][rng.integers(0, 3)]
        data[place : place + size] = rng.bytes(size)
    elif kind == 7:
        data = bytearray(kept[:8] + rng.bytes(int(rng.integers(0, 120))))
    else:  # a state that is no number
        place = 48 + 4 * int(rng.integers(0, (len(kept) - 52) // 4))
        data[place : place + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, -np.inf, 1e30]))
    if rng.random() < 0.6 and len(data) >= 52:
        data[-4:] = struct.pack("<I", zlib.crc32(bytes(data[:-4])))
    return bytes(data)


def fuzz(count: int, seed: int) -> dict[str, int]:
    """How many mutations were restored, and how many refused; anything else fails."""
    model = model_of()
    stream = tt.Stream(model, batch=2)
    pushed(stream, random(2, 3, 3))
    kept, rng = stream.snapshot(), np.random.default_rng(seed)
    found = {"tried": 0, "refused": 0, "restored": 0}
    said: list[str] = []
    for _ in range(count):
        data = mutated(kept, rng)
        found["tried"] += 1
        try:
            stream.restore(data)
        except ArgumentError as error:
            said.append(str(error))
            assert stream.snapshot() == kept  # nothing of it went in
            found["refused"] += 1
        else:  # states of the right number, all of them numbers: what was written is what is there
            assert stream.snapshot() == data
            found["restored"] += 1
            stream.restore(kept)
    assert all(line and "\n" not in line for line in said)
    return found


def test_mutated_snapshots_are_refused_or_are_what_they_say() -> None:
    found = fuzz(60, seed=0)
    assert found["refused"] + found["restored"] == 60 and found["refused"] > 40


@pytest.mark.thorough
def test_thousands_of_mutated_snapshots_are_refused_or_are_what_they_say() -> None:
    found = fuzz(4000, seed=1)
    print(found)
    assert found["refused"] + found["restored"] == 4000 and found["refused"] > 2500
