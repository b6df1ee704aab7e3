"""Recurrent networks that train. Any sequence length, no cost for padding, gradients you can see.

    import throughtime as tt

    data = tt.read_table("vowels.parquet", sequence="utterance", time="frame", target="speaker")
    train, validation, test = data.split()
    run = tt.train(train, validation)
    print(run.evaluate(test).verdict())

Import it before keras: it sets ``KERAS_BACKEND`` to a backend that is installed, where you have not chosen one. Nothing
else is loaded until a name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .backend import choose_backend, set_backend

if TYPE_CHECKING:
    from .data.arrays import from_arrays as from_arrays
    from .data.batching import Batches as Batches
    from .data.sequences import SequenceData as SequenceData
    from .data.streams import Streams as Streams
    from .data.tables import read_like as read_like
    from .data.tables import read_table as read_table
    from .data.transforms import Preparation as Preparation
    from .diagnosis.check import check as check
    from .diagnosis.repair import repair as repair
    from .diagnosis.truncation import horizon_report as horizon_report
    from .errors import ThroughtimeError as ThroughtimeError
    from .gradients.flow import gradient_flow as gradient_flow
    from .gradients.guard import Guard as Guard
    from .gradients.monitor import GradientMonitor as GradientMonitor
    from .layers.explanation import explain as explain
    from .layers.recurrent import GRU as GRU
    from .layers.recurrent import LSTM as LSTM
    from .layers.recurrent import SimpleRNN as SimpleRNN
    from .layers.scanned import LRU as LRU
    from .layers.scanned import MinGRU as MinGRU
    from .layers.scanned import MinLSTM as MinLSTM
    from .layers.swapping import accelerate as accelerate
    from .layers.swapping import to_keras as to_keras
    from .ragged import Ragged as Ragged
    from .report.page import write_report as write_report
    from .stream.lines import RunStream as RunStream
    from .stream.stream import Stream as Stream
    from .training.carrying import CarryState as CarryState
    from .training.run import Run as Run
    from .training.train import train as train

# The public names, where they live, and whether they need Keras and so a backend.
_PLACES = {
    "Ragged": ("ragged", False),
    "SequenceData": ("data.sequences", False),
    "from_arrays": ("data.arrays", False),
    "read_table": ("data.tables", False),
    "Preparation": ("data.transforms", False),
    "read_like": ("data.tables", False),
    "Batches": ("data.batching", True),
    "Streams": ("data.streams", True),
    "SimpleRNN": ("layers.recurrent", True),
    "GRU": ("layers.recurrent", True),
    "LSTM": ("layers.recurrent", True),
    "MinGRU": ("layers.scanned", True),
    "MinLSTM": ("layers.scanned", True),
    "LRU": ("layers.scanned", True),
    "accelerate": ("layers.swapping", True),
    "to_keras": ("layers.swapping", True),
    "explain": ("layers.explanation", True),
    "gradient_flow": ("gradients.flow", True),
    "Guard": ("gradients.guard", True),
    "GradientMonitor": ("gradients.monitor", True),
    "check": ("diagnosis.check", True),
    "repair": ("diagnosis.repair", True),
    "horizon_report": ("diagnosis.truncation", True),
    "train": ("training.train", True),
    "Run": ("training.run", True),
    "CarryState": ("training.carrying", True),
    "Stream": ("stream.stream", True),
    "RunStream": ("stream.lines", True),
    "write_report": ("report.page", False),
    "ThroughtimeError": ("errors", False),
}
__all__ = [*_PLACES]
__version__ = "0.1.0"

set_backend()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'throughtime' has no attribute {name!r}")
    module, needs_keras = _PLACES[name]
    if needs_keras:
        choose_backend()
    value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
