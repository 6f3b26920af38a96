"""Weights from every kind of place: the same bytes, checked against their pin, with their papers; or nothing at all."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torchvision import models as torchvision_models

from podium.config.dataset import Fetch
from podium.config.models import ModelSection
from podium.core.errors import DataError, ModelError, ParamsError, PodiumError
from podium.core.layout import Layout
from podium.models.job import open_job
from podium.pipeline.fetch import write_weights
from podium.records.fetch import WeightsRecord
from tests.fake_hub import COMMIT, HUB_FILE, TAG, FakeHub, digest
from tests.site import Site
from tests.small_splits import RESOURCES, RUNTIME, a_config, write_project

STATE = {"conv.weight": torch.arange(6, dtype=torch.float16).reshape(2, 3), "bn.bias": torch.zeros(2)}
PAPERS = {"licence": "CC0-1.0", "pretraining": "shapes"}
SQUEEZENET = "SqueezeNet1_1_Weights.IMAGENET1K_V1"


def from_file(weights: str, data: bytes, **keys: str) -> ModelSection:
    return ModelSection(architecture="resnet18", weights=weights, weights_sha256=digest(data), **keys)


def model_from_hub(sha256: str | None, **keys: str) -> ModelSection:
    return ModelSection(architecture="test_resnet", weights=TAG, weights_sha256=sha256, **keys)


def written(layout: Layout, models: dict[str, ModelSection], fetch: Fetch | None = None) -> Path:
    layout.weights.mkdir(parents=True, exist_ok=True)
    folder = Path(layout.weights)
    write_weights(layout, folder, models, fetch or Fetch(retries=0))
    return folder


def record(layout: Layout, model: str = "a") -> WeightsRecord:
    return WeightsRecord.read(layout.weights / model / "weights.json")


def flipped(data: bytes) -> bytes:
    """The same bytes but for one bit in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.fixture
def safetensors() -> bytes:
    return bytes(save(STATE, PAPERS))


# --- files by their address ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["data", "relative", "absolute"])
def test_a_local_file_is_kept_byte_for_byte_with_the_papers_it_carries(
    kind: str, layout: Layout, safetensors: bytes
) -> None:
    elsewhere = layout.root.parent / "w.safetensors"
    path = layout.data / "w.safetensors" if kind == "data" else elsewhere
    path.write_bytes(safetensors)
    weights = {"data": "data:w.safetensors", "relative": "file:../w.safetensors", "absolute": f"file:{elsewhere}"}[kind]
    written(layout, {"a": from_file(weights, safetensors)})
    assert sorted(p.name for p in (layout.weights / "a").iterdir()) == ["weights.json", "weights.safetensors"]
    assert (layout.weights / "a" / "weights.safetensors").read_bytes() == safetensors  # float16 and all
    assert record(layout) == WeightsRecord(
        architecture="resnet18",
        weights=weights,
        sha256=digest(safetensors),
        stored_sha256=digest(safetensors),
        source="data:w.safetensors" if kind == "data" else "file:w.safetensors",
        licence="CC0-1.0",
        pretraining="shapes",
        mean=None,
        std=None,
        metadata=PAPERS,
    )


def test_a_missing_local_file_names_path_and_key(layout: Layout) -> None:
    model = from_file("file:weights/w.safetensors", b"")
    with pytest.raises(
        DataError, match=r"project/weights/w\.safetensors, the weights of model a, does not exist.*models\.a\.wei"
    ):
        written(layout, {"a": model})


def test_an_address_is_downloaded_once_and_its_secrets_are_not_recorded(
    layout: Layout, site: Site, safetensors: bytes
) -> None:
    site.files["/w.safetensors"] = safetensors
    site.cuts["/w.safetensors"] = [100]
    model = from_file(f"{site.url.replace('//', '//me:pw@')}/w.safetensors?token=5ecret", safetensors)
    written(layout, {"a": model, "b": model})
    assert (layout.weights / "b" / "weights.safetensors").read_bytes() == safetensors
    shown = f"{site.url}/w.safetensors"
    assert (record(layout).source, record(layout).weights) == (shown, shown)
    with pytest.raises(DataError, match="have licence CC0-1.0") as caught:
        written(layout, {"c": model}, Fetch(licences_allowed=("mit",)))
    assert shown in str(caught.value) and "5ecret" not in str(caught.value) and "me:pw" not in str(caught.value)
    asked = [headers["Range"] for _, _, headers in site.log]
    assert asked == [None, "bytes=100-"]  # cut, gone on with, and not asked for again by the second model


@pytest.mark.parametrize("path", ["s3://weights/some/w.safetensors", "s3://weights/some/w.pth"])
def test_a_file_in_a_real_bucket(
    path: str, layout: Layout, safetensors: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # the one of the test before knows another endpoint
    if path.endswith(".pth"):
        torch.save(STATE, tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes() if path.endswith(".pth") else safetensors
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="weights")
        client.put_object(Bucket="weights", Key=path.removeprefix("s3://weights/"), Body=data)
        written(layout, {"a": from_file(path, data, weights_licence="mit" if path.endswith(".pth") else "cc0-1.0")})
        gone = from_file("s3://weights/none.safetensors", data)
        with pytest.raises(
            DataError, match=r"s3://weights/none\.safetensors cannot be downloaded .*correct models\.a\.weights, or"
        ):
            written(layout, {"a": gone})
    finally:
        server.stop()
    assert record(layout).source == path
    found = load_file(layout.weights / "a" / "weights.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize("weights", ["https:", "http:w.safetensors", "s3:bucket/w", "https://host", "https://[host/w"])
def test_what_is_no_address_is_refused(weights: str, layout: Layout) -> None:
    with pytest.raises(PodiumError, match=r"models\.a\.weights .*is not a"):
        written(layout, {"a": from_file(weights, b"")})


LIGHT = """
import sys
from pathlib import Path
from podium.config.models import ModelSection
from podium.config.dataset import Fetch
from podium.core.layout import Layout
from podium.pipeline.fetch import write_weights
root = Path(sys.argv[1])
models = {
    "a": ModelSection(architecture="cnn", weights="data:w.safetensors", weights_sha256=sys.argv[2]),
    "b": ModelSection(architecture="cnn"),
}
write_weights(Layout(root), root, models, Fetch())
print(*sys.modules.keys() & {"torch", "timm", "torchvision", "huggingface_hub", "fsspec"})
"""


def test_a_network_of_ones_own_needs_no_heavy_library(layout: Layout, safetensors: bytes) -> None:
    (layout.data / "w.safetensors").write_bytes(safetensors)
    command = [sys.executable, "-c", LIGHT, str(layout.root), digest(safetensors)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"


# --- state dicts ---------------------------------------------------------------------------------------------------


def test_a_state_dict_becomes_the_same_safetensors_file_every_time(layout: Layout, tmp_path: Path) -> None:
    stored = []
    for order in (STATE, dict(reversed(STATE.items()))):
        torch.save({"state_dict": order, "epoch": 3}, layout.data / "w.pth")
        data = (layout.data / "w.pth").read_bytes()
        model = from_file("data:w.pth", data, weights_licence="mit", weights_pretraining="in1k")
        target = tmp_path / str(len(stored))
        target.mkdir()
        write_weights(layout, target, {"a": model}, Fetch())
        stored.append((target / "a" / "weights.safetensors").read_bytes())
        found = WeightsRecord.read(target / "a" / "weights.json")
        assert (found.sha256, found.stored_sha256) == (digest(data), digest(stored[-1]))
        assert (found.licence, found.pretraining, found.metadata) == ("mit", "in1k", {})
    assert stored[0] == stored[1]
    found_tensors = load_file(tmp_path / "0" / "a" / "weights.safetensors")
    assert found_tensors["conv.weight"].dtype == torch.float16


def test_a_malicious_pickle_with_the_right_digest_does_not_run(layout: Layout) -> None:
    made = layout.root / "made-by-a-pickle"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(made),)

    for name in ("evil.pth", "evil.safetensors", "evil.pkl"):
        torch.save({"weight": Evil()}, layout.data / name)
        model = from_file(f"data:{name}", (layout.data / name).read_bytes(), weights_licence="mit")
        with pytest.raises(DataError, match="opening a pickle can run any code"):
            write_weights(layout, layout.root, {name.replace(".", "-"): model}, Fetch())
        assert not made.exists()


# --- pins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["data", "file", "http", "hub"])
def test_one_flipped_bit_stops_it_with_both_digests(
    kind: str, layout: Layout, site: Site, hub: FakeHub, safetensors: bytes, published_bytes: bytes
) -> None:
    good = published_bytes if kind == "hub" else safetensors
    bad = flipped(good)
    (layout.data / "w.safetensors").write_bytes(bad)
    site.files["/w.safetensors"] = bad
    hub.sent[HUB_FILE] = bad
    weights = {"data": "data:w.safetensors", "file": "file:data/w.safetensors", "http": f"{site.url}/w.safetensors"}
    model = model_from_hub(digest(good)) if kind == "hub" else from_file(weights[kind], good)
    said = f"has sha256 {digest(bad)}, but models.a.weights_sha256 asks for {digest(good)}"
    with pytest.raises(DataError, match=said) as caught:
        written(layout, {"a": model})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_a_download_that_was_changed_on_disk_is_fetched_again(
    kind: str, layout: Layout, site: Site, safetensors: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    site.files["/w.safetensors"] = safetensors
    address = f"{site.url}/w.safetensors"
    if kind == "s3":  # a bucket in memory
        bucket, real = fsspec.filesystem("memory"), fsspec.core.url_to_fs
        bucket.pipe_file("/weights/w.safetensors", safetensors)
        monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: real(url.replace("s3://", "memory://")))
        address = "s3://weights/w.safetensors"
    model = from_file(address, safetensors)
    written(layout, {"a": model})
    [kept] = layout.downloads.rglob("w.safetensors")
    kept.write_bytes(flipped(safetensors))
    written(layout, {"b": model})
    assert (layout.weights / "b" / "weights.safetensors").read_bytes() == safetensors


def test_a_tampered_file_in_the_hubs_cache_is_named_with_its_path(
    hub: FakeHub, layout: Layout, published_bytes: bytes
) -> None:
    model = model_from_hub(digest(published_bytes))
    written(layout, {"a": model})
    [blob] = (p for p in Path(layout.root.parent / "hub-cache").rglob("blobs/*") if p.is_file())
    blob.write_bytes(flipped(published_bytes))
    with pytest.raises(DataError, match=f"asks for {digest(published_bytes)}: delete {re.escape(str(blob))} and run"):
        written(layout, {"b": model})
    with pytest.raises(DataError, match=f"its source says {digest(published_bytes)}.*delete {re.escape(str(blob))}"):
        written(layout, {"c": model_from_hub(None)})  # no digest of tampered bytes is proposed
    blob.unlink()
    written(layout, {"d": model})
    assert record(layout, "d").sha256 == digest(published_bytes)


def test_a_file_that_changed_upstream_fails_closed(hub: FakeHub, layout: Layout, published_bytes: bytes) -> None:
    pin = digest(published_bytes)
    hub.files[HUB_FILE] = changed = flipped(published_bytes)
    said = f"has sha256 {digest(changed)}, but models.a.weights_sha256 asks for {pin}: it was changed at its source, or"
    with pytest.raises(DataError, match=said):
        written(layout, {"a": model_from_hub(pin)})


def test_all_missing_digests_are_told_at_once(
    hub: FakeHub, layout: Layout, site: Site, published_bytes: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = serve_squeezenet(site, monkeypatch, tmp_path)
    models = {
        "one": model_from_hub(None),
        "two": ModelSection(
            architecture="torchvision/squeezenet1_1", weights=SQUEEZENET, weights_licence="bsd-3-clause"
        ),
        "pinned": model_from_hub(digest(published_bytes)),
    }
    with pytest.raises(DataError, match="published weights must be pinned by their digest: write") as caught:
        written(layout, models)
    assert f'models.one.weights_sha256: "{digest(published_bytes)}", models.two.weights_sha256: "{digest(data)}"' in (
        str(caught.value)
    )
    assert "pinned.weights" not in str(caught.value)
    assert list(layout.weights.iterdir()) == []
    asked = len(hub.requests) + len(site.log)
    pins = {"one": digest(published_bytes), "two": digest(data)}
    written(
        layout, {n: m.model_copy(update={"weights_sha256": pins.get(n, m.weights_sha256)}) for n, m in models.items()}
    )
    assert len(hub.requests) + len(site.log) == asked  # what came for its digest is used


# --- published weights ---------------------------------------------------------------------------------------------


def test_a_timm_tag_comes_from_the_hub_with_its_papers(
    hub: FakeHub, layout: Layout, published_bytes: bytes, tensors: dict[str, torch.Tensor]
) -> None:
    written(layout, {"a": model_from_hub(digest(published_bytes))})
    assert record(layout) == WeightsRecord(
        architecture="test_resnet",
        weights=TAG,
        sha256=digest(published_bytes),
        stored_sha256=digest(published_bytes),
        source=f"hf://timm/{TAG}@{COMMIT}/model.safetensors",
        licence="apache-2.0",
        pretraining="in1k",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        metadata={"format": "pt"},
    )
    assert load_file(layout.weights / "a" / "weights.safetensors").keys() == tensors.keys()


def as_its_authors_named(name: str) -> str:
    """The name of one of timm's ConvNeXt tensors in the file of the paper's authors."""
    name = re.sub(r"^stem\.", "downsample_layers.0.", name)
    name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
    name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
    return name.replace("head.norm.", "norm.").replace("head.fc.", "head.")


@pytest.mark.parametrize("fits", [True, False])
def test_a_file_under_its_authors_names_is_stored_under_timms(fits: bool, hub: FakeHub, layout: Layout) -> None:
    tag = "test_convnext.r160_in1k"
    torch.manual_seed(3)
    state = timm.create_model(tag, pretrained=False).state_dict()
    theirs = {as_its_authors_named(name): tensor for name, tensor in state.items() if fits or "gamma" not in name}
    assert theirs.keys() != state.keys()
    data = bytes(save(theirs))
    hub.files[f"timm/{tag}/model.safetensors"] = data
    model = ModelSection(architecture="test_convnext", weights=tag, weights_sha256=digest(data))
    if not fits:
        with pytest.raises(DataError, match=r"r160_in1k does not fit test_convnext of the .* Missing key.*gamma"):
            written(layout, {"a": model})
        return
    written(layout, {"a": model})
    stored = layout.weights / "a" / "weights.safetensors"
    found = load_file(stored)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert (record(layout).sha256, record(layout).stored_sha256) == (digest(data), digest(stored.read_bytes()))


def serve_squeezenet(site: Site, monkeypatch: pytest.MonkeyPatch, folder: Path) -> bytes:
    """Puts a state dict on a server as torchvision does: its name holds the first digits of its digest.

    The network is one that Podium does not build: what it builds of torchvision has files of 45 MB and more.
    """
    monkeypatch.setattr("podium.weights.published.check_architecture", lambda key, architecture: None)
    torch.manual_seed(2)
    state = torchvision_models.squeezenet1_1(weights=None).state_dict()
    torch.save(state, folder / "squeezenet.pth", _use_new_zipfile_serialization=False)  # as old as torchvision's
    data = (folder / "squeezenet.pth").read_bytes()
    file = f"/models/squeezenet1_1-{digest(data)[:8]}.pth"
    site.files[file] = data
    monkeypatch.setattr(torchvision_models.SqueezeNet1_1_Weights.IMAGENET1K_V1.value, "url", f"{site.url}{file}")
    return data


def test_a_torchvision_enum_comes_from_its_address_with_its_papers(
    site: Site, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = serve_squeezenet(site, monkeypatch, tmp_path)
    [(path, _)] = site.files.items()
    site.cuts[path] = [1000]
    model = ModelSection(
        architecture="torchvision/squeezenet1_1",
        weights=SQUEEZENET,
        weights_sha256=digest(data),
        weights_licence="BSD-3-Clause",
    )
    written(layout, {"a": model})
    assert [headers["Range"] for _, _, headers in site.log] == [None, "bytes=1000-"]
    found = record(layout)
    assert (found.weights, found.sha256, found.source) == (SQUEEZENET, digest(data), f"{site.url}{path}")
    assert (found.licence, found.pretraining) == ("BSD-3-Clause", "in1k")
    assert found.mean == (0.485, 0.456, 0.406) and found.std == (0.229, 0.224, 0.225)
    torch.manual_seed(2)
    expected = torchvision_models.squeezenet1_1(weights=None).state_dict()
    tensors = load_file(layout.weights / "a" / "weights.safetensors")
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_the_digits_in_a_torchvision_file_name_are_checked_and_torchs_own_cache_is_used(
    site: Site, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch_home: Path
) -> None:
    data = serve_squeezenet(site, monkeypatch, tmp_path)
    [(path, _)] = site.files.items()
    torch_home.mkdir(parents=True)
    kept = torch_home / Path(path).name
    model = ModelSection(architecture="torchvision/squeezenet1_1", weights=SQUEEZENET, weights_licence="bsd-3-clause")
    kept.write_bytes(flipped(data))
    with pytest.raises(DataError, match=f"its source says {digest(data)[:8]}.*delete {re.escape(str(kept))} and run"):
        written(layout, {"a": model})
    pinned = model.model_copy(update={"weights_sha256": digest(data)})
    with pytest.raises(DataError, match=f"asks for {digest(data)}: delete {re.escape(str(kept))} and run"):
        written(layout, {"b": pinned})
    kept.write_bytes(data)
    written(layout, {"c": pinned})
    assert record(layout, "c").sha256 == digest(data) and site.log == []


@pytest.mark.parametrize(
    ("architecture", "weights", "said"),
    [
        (
            "resnet50",
            "resnet18.a1_in1k",
            "no published weights of architecture 'resnet50': choose from resnet50.a1_in1",
        ),
        ("resnet18", "resnet18.a9_in1k", "choose from resnet18.a1_in1k, "),
        ("resnet18", "ResNet18_Weights.IMAGENET1K_V1", "choose from resnet18.a1_in1k, "),
        ("torchvision/resnet18", "resnet18.a1_in1k", "choose from ResNet18_Weights.IMAGENET1K_V1$"),
        ("cnn", "resnet18.a1_in1k", "architecture 'cnn': there are none, so give a file or `none`$"),
        # a bare name, whose default differs from architecture to architecture in the images it has seen
        (
            "convnext_tiny",
            "convnext_tiny",
            "does not say which weights of .* choose from convnext_tiny.in12k_ft_in1k, ",
        ),
    ],
)
def test_weights_of_another_architecture_are_refused_with_those_to_choose_from(
    architecture: str, weights: str, said: str, hub: FakeHub, layout: Layout
) -> None:
    model = ModelSection(architecture=architecture, weights=weights, weights_sha256="0" * 64)
    with pytest.raises(ParamsError, match=said):
        written(layout, {"a": model})
    assert hub.requests == []


def test_a_licence_that_is_not_allowed_is_refused_before_anything_comes(hub: FakeHub, layout: Layout) -> None:
    with pytest.raises(DataError, match=r"licence cc-by-nc-4\.0, but fetch\.licences_allowed lists apache-2\.0, mit"):
        written(layout, {"a": ModelSection(architecture="resnet18", weights="resnet18.fb_swsl_ig1b_ft_in1k")})
    with pytest.raises(DataError, match=r"nobody states the licence of ResNet18_W.*write it to models\.a\.weights_lic"):
        written(
            layout, {"a": ModelSection(architecture="torchvision/resnet18", weights="ResNet18_Weights.IMAGENET1K_V1")}
        )
    with pytest.raises(ParamsError, match=r"models\.a\.weights_pretraining is 'in12k', but .* says 'in1k'"):
        written(layout, {"a": model_from_hub(None, weights_pretraining="in12k")})
    assert hub.requests == []


def test_the_licence_in_a_file_is_a_gate_too(layout: Layout, safetensors: bytes) -> None:
    (layout.data / "w.safetensors").write_bytes(safetensors)
    with pytest.raises(DataError, match=r"data:w\.safetensors, .* have licence CC0-1\.0, but .* lists mit: use other"):
        written(layout, {"a": from_file("data:w.safetensors", safetensors)}, Fetch(licences_allowed=("mit",)))
    save_file(STATE, layout.data / "bare.safetensors")
    data = (layout.data / "bare.safetensors").read_bytes()
    with pytest.raises(DataError, match=r"nobody states the licence of data:bare\.safetensors"):
        written(layout, {"b": from_file("data:bare.safetensors", data)})
    with safe_open(layout.data / "bare.safetensors", "pt") as opened:
        assert opened.metadata() is None


def test_what_was_fetched_is_all_that_training_needs(
    hub: FakeHub,
    tmp_path: Path,
    published_bytes: bytes,
    tensors: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = write_project(tmp_path)
    shutil.rmtree(layout.weights)
    written(layout, {"small": model_from_hub(digest(published_bytes))})
    for cache in (tmp_path / "hub-cache", layout.work):
        shutil.rmtree(cache, ignore_errors=True)

    def cut(*_: object) -> None:
        raise OSError("the network is cut")

    monkeypatch.setattr(socket.socket, "connect", cut)
    section = a_config().model_copy(update={"weights": TAG, "weights_sha256": digest(published_bytes)})
    job = open_job(layout, "train small", "small", section, runtime=RUNTIME, resources=RESOURCES, seed=0)
    state = job.build().state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items() if not name.startswith("fc."))
    assert job.mean == (0.5, 0.5, 0.5)
    stored = layout.weights / "small" / "weights.safetensors"
    stored.write_bytes(flipped(stored.read_bytes()))
    with pytest.raises(ModelError, match=f"weights.json says {digest(published_bytes)}"):
        job.build()


# --- the client as people set it up --------------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from podium.console.process import silence_telemetry
silence_telemetry()
from podium.config.models import ModelSection
from podium.config.dataset import Fetch
from podium.core.errors import PodiumError
from podium.core.layout import Layout
from podium.pipeline.fetch import write_weights
root = Path(sys.argv[1])
root.mkdir(parents=True, exist_ok=True)
for architecture in sys.argv[3:]:
    model = ModelSection(architecture=architecture, weights=f"{architecture}.r160_in1k", weights_sha256=sys.argv[2])
    try:
        write_weights(Layout(root), root, {architecture: model}, Fetch())
    except PodiumError as error:
        print("refused:", error)
"""


def test_the_hubs_variables_hold_and_nothing_is_sent_but_for_the_file(
    hub: FakeHub, tmp_path: Path, published_bytes: bytes
) -> None:
    def run(folder: str, *architectures: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment = {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), **variables}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / folder), digest(published_bytes), *architectures]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    online = run("one", "test_resnet")
    assert (online.stdout, online.stderr) == ("", "")
    there = f"/timm/{TAG}/resolve/main/model.safetensors"
    assert [(method, path) for method, path, _ in hub.requests] == [("HEAD", there), ("GET", there)]
    stored = tmp_path / "one" / "test_resnet" / "weights.safetensors"
    assert stored.read_bytes() == published_bytes
    hub.requests.clear()
    offline = run("two", "test_resnet", "test_convnext", HF_HUB_OFFLINE="1")
    again = tmp_path / "two" / "test_resnet" / "weights.json"
    assert again.read_bytes() == stored.with_name("weights.json").read_bytes()
    assert "refused: timm/test_convnext.r160_in1k is not in the hub's cache and HF_HUB_OFFLINE is" in offline.stdout
    assert hub.requests == [] and offline.stderr == ""
