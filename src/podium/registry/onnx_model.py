"""Models in ONNX: opened in ONNX Runtime, put in the place of the network, rounded to whole numbers of 8 bits."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from podium.config.runtime import Runtime
from podium.core.errors import ModelError, one_line
from podium.core.layout import MODEL_CARD, ONNX
from podium.models.compute import Compute
from podium.models.inference import Classifier
from podium.records.training import ModelCard

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Normalised images (N, 3, S, S) to logits (N, C)."""


def load_onnx(folder: Path, runtime: Runtime) -> Classifier:
    """The model of a package (`folder` is its `artifacts/`) as ONNX Runtime computes it; its weights are not read.

    Raises:
        DataError: its card is missing or damaged.
        ModelError: the ONNX file cannot be used.
    """
    return with_onnx(ModelCard.read(folder / MODEL_CARD), folder / ONNX, runtime)


def with_onnx(card: ModelCard, path: Path, runtime: Runtime) -> Classifier:
    """A classifier that ONNX Runtime computes on the CPU, in the format of its file."""
    return Classifier(card, _OnnxNetwork(_session(path, runtime.threads)), Compute.of(on_cpu(runtime)))


class _OnnxNetwork(nn.Module):
    """An ONNX file in the place of the network it came from."""

    def __init__(self, session: "InferenceSession") -> None:
        super().__init__()
        self._session = session

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) to logits (N, C)."""
        return torch.from_numpy(self._session.run(None, {"images": x.numpy()})[0])


def open_onnx(path: Path, threads: int) -> Logits:
    """An ONNX file as a function.

    Raises:
        ModelError: ONNX Runtime does not take it.
    """
    session = _session(path, threads)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {"images": images})[0]
        return found

    return run


def _session(path: Path, threads: int) -> "InferenceSession":
    """A file in ONNX Runtime, on the CPU. Data outside the file's folder is refused by ONNX Runtime itself."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as said

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (said.Fail, said.InvalidArgument, said.InvalidGraph, said.InvalidProtobuf, said.NotImplemented) as error:
        raise ModelError(f"{path.name} is no ONNX file that can be used ({one_line(error)})") from error
    if [each.name for each in session.get_inputs()] != ["images"]:
        raise ModelError(f"{path.name} does not take images: it was not made by Podium")
    return session


def quantise(onnx: Path, path: Path, inputs: NDArray[np.float32]) -> None:
    """Writes an ONNX file whose weights and activations are whole numbers of 8 bits, with the ranges that inputs show.

    Weights have a scale a channel. Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", CVPR 2018.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
        """Gives the inputs one by one."""

        def __init__(self) -> None:
            self._left = iter(inputs)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._left, None)
            return None if image is None else {"images": image[None]}

    with TemporaryDirectory(prefix="podium-quantise-") as temporary, quiet():
        prepared = Path(temporary) / ONNX
        quant_pre_process(onnx, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, path, Reader(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
        )


def on_cpu(runtime: Runtime) -> Runtime:
    """The same threads, in float32 on the CPU."""
    return Runtime(threads=runtime.threads)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporters' own progress and hints to themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="torch")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
