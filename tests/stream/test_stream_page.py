"""The code of docs/stream.md runs, and it names every layer that a stream takes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

PAGE = (Path(__file__).parents[2] / "docs" / "stream.md").read_text()


def test_the_python_of_the_page_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict = {}
    exec(compile(block, "stream.md", "exec"), names)
    expected = names["model"].predict(names["x"], verbose=0)[0]
    np.testing.assert_allclose(names["answers"], expected, rtol=1e-5, atol=1e-5)


def test_the_page_names_every_layer_and_activation() -> None:
    from throughtime.stream.activations import _KNOWN
    from throughtime.stream.layers import LAYERS
    from throughtime.stream.refusals import RECURRENT

    quiet = {
        "Identity",
        "SpatialDropout1D",
        "GaussianDropout",
        "GaussianNoise",
        "AlphaDropout",
        "ActivityRegularization",
    }
    wanted = {layer.__name__ for layer in (*LAYERS, *RECURRENT)} - quiet | set(_KNOWN)
    assert sorted(name for name in wanted if not re.search(rf"\b{name}\b", PAGE)) == []
