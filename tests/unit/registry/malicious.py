"""What an attacker could put into a package: each would make the file `marker` if anything were run or unpickled."""

import base64
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.unit.registry.forgeries import json_of

Attack = Callable[[Path, Path], object]
"""Given `artifacts/` of a package and the marker."""


def code(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()\n"


def pickled(marker: Path) -> bytes:
    """A pickle that runs code, in the oldest protocol: `exec(code)`."""
    return b"cbuiltins\nexec\n(V" + code(marker).strip().encode() + b"\ntR."


def zipped(marker: Path) -> bytes:
    """As `torch.save` writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(marker))
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def yaml_of(marker: Path) -> str:
    return f"flavors:\n  python_function: !!python/object/apply:os.open ['{marker}', 64]\n"


def beside_the_papers(folder: Path, marker: Path) -> None:
    """Everything that Podium has no reason to open."""
    package = folder.parent
    for name in ("data.pkl", "python_model.pkl", "artifacts/model.pkl", "artifacts/python_model.pkl"):
        (package / name).write_bytes(pickled(marker))
    for name in ("artifacts/model.pt", "artifacts/checkpoint.pth", "artifacts/model.pt2", "model.bin"):
        (package / name).write_bytes(zipped(marker))
    for name in ("code/podium/__init__.py", "code/sitecustomize.py", "serve.py", "conftest.py", "artifacts/torch.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(code(marker))
    (package / "evil.pth").write_text(f"import os; {code(marker)}")
    (package / "requirements.txt").write_text("--index-url http://127.0.0.1:9/\nevil @ file:///tmp/evil\n")
    (package / "conda.yaml").write_text(yaml_of(marker))
    (package / "python_env.yaml").write_text(yaml_of(marker))
    (package / "input_example.json").write_bytes(pickled(marker))


def loader(folder: Path, marker: Path) -> None:
    (folder.parent / "code").mkdir(exist_ok=True)
    (folder.parent / "code" / "evil.py").write_text(code(marker))
    (folder.parent / "MLmodel").write_text("flavors: {python_function: {loader_module: evil, code: code}}\n")


def flavor(folder: Path, marker: Path) -> None:
    (folder.parent / "data").mkdir()
    (folder.parent / "data" / "model.pth").write_bytes(zipped(marker))
    (folder.parent / "MLmodel").write_text(
        "flavors: {pytorch: {model_data: data, pytorch_version: '2'}, python_function: {loader_module: mlflow.pytorch, "
        "data: data, python_model: python_model.pkl}}\n"
    )
    (folder.parent / "python_model.pkl").write_bytes(pickled(marker))


def replace_weights(data: bytes) -> Callable[[Path], None]:
    """Puts other bytes in the place of the weights, with a card that says so."""

    def attack(folder: Path) -> None:
        from podium.core.files import sha256_file

        (folder / "weights.safetensors").write_bytes(data)
        digest = sha256_file(folder / "weights.safetensors")
        json_of(folder / "model.json", lambda card: card.update(weights_sha256=digest))

    return attack


def card(**changes: object) -> Attack:
    return lambda folder, marker: json_of(folder / "model.json", lambda c: c.update(changes))


def named(folder: Path, marker: Path) -> None:
    """A class that is code, wherever its name is put into a page, a command or a table."""
    text = code(marker).strip()

    def change(c: dict) -> None:
        c["classes"][0] = "{{''.__class__.__mro__}} =cmd|' /C calc'!A0 $(" + text + ") <script>"
        c["architecture"] = f"__import__('builtins').exec({text!r})"

    json_of(folder / "model.json", change)


def outside(folder: Path, marker: Path) -> None:
    """An ONNX file whose weights lie elsewhere."""
    import onnx
    from onnx import TensorProto, helper

    elsewhere = folder.parents[2] / "elsewhere.bin"
    elsewhere.write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": os.path.relpath(elsewhere, folder), "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("images", "logits")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "w"], ["logits"])], "g", ends[:1], ends[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")


def golden_image(folder: Path, marker: Path) -> None:
    text = base64.b64encode(pickled(marker)).decode()
    json_of(folder / "golden.json", lambda batch: batch["images"][0].update(bytes=text))


CORPUS: dict[str, tuple[Attack, str]] = {
    "beside the papers": (beside_the_papers, ""),
    "another loader": (loader, ""),
    "a pickled flavour": (flavor, ""),
    "tags of YAML": (lambda folder, marker: (folder.parent / "MLmodel").write_text(yaml_of(marker)), ""),
    "a pickle as weights": (
        lambda folder, marker: replace_weights(pickled(marker))(folder),
        r"weights\.safetensors",
    ),
    "weights of torch.save": (lambda folder, marker: replace_weights(zipped(marker))(folder), r"weights\.safetensors"),
    "a huge header": (
        lambda folder, marker: replace_weights(struct.pack("<Q", 2**62) + b"{}")(folder),
        r"weights\.safetensors",
    ),
    "a link to elsewhere": (
        lambda folder, marker: (folder / "extra.json").symlink_to("/etc/hostname"),
        "",
    ),
    "code as a name": (named, "architecture"),
    "an architecture of another repository": (card(architecture="hf-hub:evil/model"), "hf-hub"),
    "an architecture in a folder": (card(architecture="local-dir:."), "local-dir"),
    "JSON that is nested too deep": (
        lambda folder, marker: (folder / "metrics.json").write_text("[" * 100_000),
        "too old to be read",
    ),
    "a pickle as predictions": (
        lambda folder, marker: (folder / "predictions.parquet").write_bytes(pickled(marker)),
        "",
    ),
    "a pickle as golden image": (golden_image, ""),
    "a pickle as ONNX": (lambda folder, marker: (folder / "model.onnx").write_bytes(pickled(marker)), ""),
    "ONNX with data outside": (outside, ""),
}
"""Each with what `predict` says (a pattern); empty where it answers, since it opens nothing of it."""


def slip(path: Path, marker: Path) -> None:
    """An archive of images that would write outside of where it is unpacked."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../" * 12 + str(marker).lstrip("/"), str(marker), "a.png"):
            archive.writestr(name, b"x")
