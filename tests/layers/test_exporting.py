"""What a framework exports computes what the model does, in a process that knows nothing of throughtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from layer_cases import values

import throughtime as tt

pytestmark = pytest.mark.backend
BACKEND = keras.backend.backend()
CLOSE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-5}

# How each framework writes a file, and how a process that has the framework alone computes with it.
ELSEWHERE = {
    "saved model": "import tensorflow as tf\nf = tf.saved_model.load(path)\ny = f.serve(tf.constant(x)).numpy()",
    "signature": "import tensorflow as tf\nf = tf.saved_model.load(path).signatures['serving_default']\n"
    "y = next(iter(f(tf.constant(x)).values())).numpy()",
    "jax": "import jax\nfrom pathlib import Path\n"
    "y = np.asarray(jax.export.deserialize(bytearray(Path(path).read_bytes())).call(x))",
    "torch": "import torch\ny = torch.export.load(path).module()(torch.tensor(x)).detach().numpy()",
}
WAYS = {"jax": ("saved model", "jax"), "torch": ("torch",), "tensorflow": ("saved model", "signature")}[BACKEND]


def model_of_all() -> keras.Model:
    """All layers, alone, in Bidirectional and in a model within the model."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 2))
    x = keras.layers.Bidirectional(tt.LSTM(3, return_sequences=True))(inputs)
    x = keras.Sequential([keras.Input((5, 6)), tt.GRU(3, return_sequences=True)], name="inner")(x)
    x = keras.layers.Concatenate()([kind(2, return_sequences=True)(x) for kind in (tt.MinGRU, tt.MinLSTM, tt.LRU)])
    return keras.Model(inputs, keras.layers.Dense(1)(tt.SimpleRNN(3)(x)))


def write(model: keras.Model, way: str, path: Path, x: np.ndarray) -> None:
    if way == "saved model":
        model.export(str(path), format="tf_saved_model", verbose=False)
    elif way == "signature":
        import tensorflow

        tensorflow.saved_model.save(model, str(path))
    elif way == "jax":
        import jax

        shape = jax.ShapeDtypeStruct(x.shape, "float32")
        path.write_bytes(jax.export.export(jax.jit(lambda x: model(x)))(shape).serialize())
    else:
        import torch

        torch.export.save(torch.export.export(model, (torch.tensor(x),)), str(path))


@pytest.mark.filterwarnings("ignore")  # of the frameworks' exporters
@pytest.mark.parametrize("way", WAYS)
def test_an_exported_model_runs_without_throughtime(way: str, tmp_path: Path) -> None:
    model, x = model_of_all(), values(np.random.default_rng(0), 2, 5, 2)
    expected, paths = ops.convert_to_numpy(model(x)), str(tt.explain(model))
    # torch's loader takes names that end so
    path = tmp_path / ("model.pt2" if way == "torch" else "model")
    write(model, way, path, x)
    np.save(tmp_path / "x.npy", x)
    program = (
        f"import sys\nimport numpy as np\npath, x = {str(path)!r}, np.load({str(tmp_path / 'x.npy')!r})\n"
        f"{ELSEWHERE[way]}\nassert 'throughtime' not in sys.modules\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, y)"
    )
    run = [sys.executable, "-W", "ignore", "-c", program]
    result = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False, env={**os.environ})
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, **CLOSE)
    assert str(tt.explain(model)) == paths and "native kernel" in paths
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), expected)


if BACKEND == "tensorflow":

    @pytest.mark.filterwarnings("ignore")
    def test_tensorflow_lite_converts_a_model_of_ours() -> None:
        import tensorflow

        model, x = model_of_all(), values(np.random.default_rng(0), 1, 5, 2)
        converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
        converter.target_spec.supported_ops = [
            tensorflow.lite.OpsSet.TFLITE_BUILTINS,
            tensorflow.lite.OpsSet.SELECT_TF_OPS,
        ]
        converter._experimental_lower_tensor_list_ops = False
        assert b"PyFunc" not in converter.convert()
        assert x.shape == (1, 5, 2)

    def gradients_of_each(model: keras.Model, x: np.ndarray, vectorized: bool) -> list[np.ndarray]:
        import tensorflow

        def one(x: Any) -> Any:
            with tensorflow.GradientTape() as tape:
                loss = tensorflow.reduce_sum(model(x[None]) ** 2)
            return tape.gradient(loss, model.trainable_variables)

        if vectorized:
            return [found.numpy() for found in tensorflow.vectorized_map(one, tensorflow.constant(x))]
        rows = [one(tensorflow.constant(row)) for row in x]
        return [np.stack(found) for found in zip(*rows, strict=True)]

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("kinds", [(tt.LSTM,), (tt.GRU, tt.SimpleRNN), (tt.MinGRU, tt.LRU)])
    def test_vectorized_map_and_jacobian_give_the_gradients_of_a_loop(kinds: Any) -> None:
        """By tf.vectorized_map, of each example; a tape's jacobian, of each output."""
        import tensorflow

        keras.utils.set_random_seed(2)
        layers = [kind(3, return_sequences=kind is not kinds[-1]) for kind in kinds]
        model = keras.Sequential([keras.Input((4, 2)), *layers, keras.layers.Dense(2)])
        x = values(np.random.default_rng(1), 3, 4, 2)
        for found, expected in zip(gradients_of_each(model, x, True), gradients_of_each(model, x, False), strict=True):
            np.testing.assert_allclose(found, expected, **CLOSE)
        with tensorflow.GradientTape(persistent=True) as tape:
            y = model(x)
            outputs = tensorflow.unstack(tensorflow.reshape(y, [-1]))
        whole = tape.jacobian(y, model.trainable_variables)
        for place, variable in enumerate(model.trainable_variables):
            each = np.stack([tape.gradient(one, variable) for one in outputs])
            np.testing.assert_allclose(whole[place].numpy().reshape(each.shape), each, **CLOSE)
