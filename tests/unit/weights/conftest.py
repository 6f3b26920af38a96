"""Networks small enough to publish in a test, a hub to publish them on, and a project to fetch them into."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save

from podium.core.layout import Layout
from tests.fake_hub import HUB_FILE, TAG, FakeHub, open_hub


@pytest.fixture(scope="session")
def tensors() -> dict[str, torch.Tensor]:
    """The state of timm's `test_resnet`, as random as it begins."""
    torch.manual_seed(1)
    return dict(timm.create_model(TAG, pretrained=False).state_dict())


@pytest.fixture(scope="session")
def published_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """The file that the hub holds of it."""
    return bytes(save(tensors, metadata={"format": "pt"}))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    return Layout(root)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published_bytes: bytes) -> Iterator[FakeHub]:
    """A hub with that file, which the real client takes for the only one; its cache is empty.

    The client reads `HF_ENDPOINT` when it is imported, hence the constants; `test_fetched.py` sets it.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with open_hub() as running:
        running.files[HUB_FILE] = published_bytes
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        path = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("{repo_id}")[2]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{running.url}/{{repo_id}}{path}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # 10 MB; a broken one is asked for again
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # its retries take 23 s
        yield running


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's own downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))
    return tmp_path / "torch-home" / "hub" / "checkpoints"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr("podium.sources.transfer.FIRST_PAUSE", 0.0)
