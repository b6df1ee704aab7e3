"""The data of ``throughtime demo``: real sequences of different lengths that ship inside a wheel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .data.arrays import from_arrays
from .data.sequences import SequenceData
from .errors import BackendError
from .files import write_aside


def japanese_vowels() -> tuple[SequenceData, SequenceData]:
    """The official training (270) and test (370) utterances of JapaneseVowels.

    Twelve cepstrum coefficients a frame, 7 to 29 frames an utterance, nine speakers to tell apart (Kudo, Toyama and
    Shimbo 1999, from the UCI repository; as shipped with aeon).

    Raises:
        BackendError: aeon is not installed.
    """
    try:
        from aeon.datasets import load_japanese_vowels
    except ImportError as error:
        raise BackendError("the demo's data ships with aeon; pip install 'throughtime[demo]'.") from error
    parts = []
    for split in ("train", "test"):
        utterances, speakers = load_japanese_vowels(split=split)
        parts.append(
            from_arrays(
                [utterance.T for utterance in utterances],
                speakers,
                task="classify",
                names=[f"cepstrum {i}" for i in range(1, 13)],
                target_name="speaker",
                source="JapaneseVowels",
            )
        )
    return parts[0], parts[1]


def write_parquet(parts: tuple[SequenceData, ...], path: Path) -> Path:
    """The parts as one table in long form, a row a frame, to try the commands on."""
    import pyarrow as pa
    from pyarrow import parquet

    lengths = np.concatenate([part.lengths for part in parts])
    frames = np.concatenate([np.arange(length) for length in lengths])
    columns = {"utterance": np.repeat(np.arange(len(lengths)), lengths), "frame": frames}
    numbers = np.concatenate([part.numbers for part in parts])
    columns |= {name: numbers[:, i] for i, name in enumerate(parts[0].schema.numbers)}
    speakers = np.concatenate([part.target.labels() for part in parts if part.target is not None])
    table = pa.table(columns | {"speaker": pa.array(np.repeat(speakers, lengths).tolist())})
    write_aside(path, lambda file: parquet.write_table(table, file))
    return path
