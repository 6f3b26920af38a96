"""Writing tensors so that the same weights are the same bytes, and their digest. Importing it costs a second."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from podium.core.errors import DataError, one_line
from podium.core.files import replacing, sha256_file

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


def sha256_tensors(path: Path) -> str:
    """sha256 (64 hex digits) of the tensors of a safetensors file: equal for equal weights, whatever its metadata says.

    Raises:
        DataError: it is no such file.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            start = 8 + int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(start - 8, path.stat().st_size)))
            for name in sorted(header.keys() - {"__metadata__"}):
                about = header[name]
                begin, end = about["data_offsets"]
                digest.update(json.dumps([name, about["dtype"], about["shape"]]).encode())
                stream.seek(start + begin)
                digest.update(stream.read(end - begin))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} is not a readable safetensors file ({one_line(error)}): restore it") from error
    return digest.hexdigest()


def digest_like(path: Path, stated: str) -> str:
    """The digest of a file's tensors; that of the whole file where it is the one stated, as version 0.1 did.

    A file that is no safetensors file has the digest of its bytes.
    """
    whole = sha256_file(path)
    if whole == stated:
        return whole
    try:
        return sha256_tensors(path)
    except DataError:
        return whole
