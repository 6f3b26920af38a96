import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from podium.core.errors import DataError
from podium.core.files import sha256_file
from podium.data.tensors import digest_like, save_weights, sha256_tensors

# four keys: of 24 orders two processes hardly choose the same by chance
SCRIPT = """
import sys, torch
from pathlib import Path
from podium.data.tensors import save_weights
tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.int64)}
save_weights(Path(sys.argv[1]), tensors, {"zeta": "1", "format": "pt", "fingerprint": "é", "alpha": "2"})
"""


def test_every_process_writes_the_same_bytes(tmp_path):
    # the library alone orders metadata anew in each process
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=True)
    exec(SCRIPT.replace("sys.argv[1]", repr(str(other))))
    assert path.read_bytes() == other.read_bytes()
    tensors = load_file(path)
    assert torch.equal(tensors["b"], torch.arange(6.0).reshape(2, 3))
    with safe_open(path, framework="pt") as stored:
        assert stored.metadata() == {"zeta": "1", "format": "pt", "fingerprint": "é", "alpha": "2"}


def test_memory_layout_and_shared_storage_do_not_matter(tmp_path):
    x = torch.randn(2, 3, 4, 5)
    save_weights(tmp_path / "a.safetensors", {"x": x, "y": x}, {})
    strided = x.to(memory_format=torch.channels_last)
    save_weights(tmp_path / "b.safetensors", {"y": x.clone(), "x": strided}, {})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_equal_weights_have_equal_digests_whatever_their_file_says(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}
    files = {
        "same": tensors,
        "again": dict(reversed(tensors.items())),
        "value": {**tensors, "b": torch.zeros(2, dtype=torch.int64)},
        "shape": {**tensors, "a": torch.arange(6.0)},
        "type": {**tensors, "b": torch.ones(2)},
        "name": {"a": tensors["a"], "c": tensors["b"]},
    }
    digests = {}
    for number, (name, content) in enumerate(files.items()):
        save_weights(tmp_path / name, content, {"fingerprint": str(number)})
        digests[name] = sha256_tensors(tmp_path / name)
    assert digests.pop("again") == digests["same"]
    assert len(set(digests.values())) == len(digests)
    assert len(digests["same"]) == 64


@pytest.mark.parametrize(
    "damage", [b"", b"not safetensors", b"\x08\0\0\0\0\0\0\0[1, 2, 3", b"\x02\0\0\0\0\0\0\0{", b"\xff" * 40]
)
def test_what_is_no_weights_file_has_no_digest_of_tensors(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "w").write_bytes(damage)
    with pytest.raises(DataError, match="not a readable safetensors file"):
        sha256_tensors(tmp_path / "w")
    assert digest_like(tmp_path / "w", "other") == sha256_file(tmp_path / "w")
