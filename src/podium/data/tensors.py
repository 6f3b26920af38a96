"""Writing tensors so that the same weights are the same bytes. Importing it costs a second (torch)."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from podium.core.files import replacing

Tensors = Mapping[str, torch.Tensor]


def standalone(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Copies of tensors on the CPU, contiguous, sharing no memory, sorted by name."""
    return {
        name: tensors[name].detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name in sorted(tensors)
    }


def save_weights(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, whole or not at all, the same bytes for the same content.

    The library writes metadata in an order that changes from process to process, so the header is put in order here.

    Args:
        path: a `.safetensors` file.
        tensors: by name.
        metadata: text by name.

    Raises:
        DataError: the disk is full.
    """
    data = save(standalone(tensors), metadata=dict(metadata))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    ordered += b" " * (-len(ordered) % 8)  # the format's own padding: tensors begin at a multiple of 8
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(len(ordered).to_bytes(8, "little"))
        stream.write(ordered)
        stream.write(memoryview(data)[8 + length :])
