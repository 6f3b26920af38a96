import subprocess
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from podium.data.tensors import save_weights

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
