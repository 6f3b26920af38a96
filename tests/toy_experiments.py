"""The experiments of `experiments/` at toy size: their own params, a handful of small images, weights made on the spot.

What is changed is what a small machine without a network needs: where images and weights come from, the size of the
images, the device, trials and epochs, and the heads of AlexNet and VGG, whose fully connected layers fill the disk with
half a gigabyte a time; and of models that differ in little one runs. Architectures, recipes, number formats, freezing
and conditions stay.
"""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.scratch import ROOT, Scratch, commit, copy_project
from podium.config.models import Network, is_file
from podium.core.files import sha256_file
from tests.fake_openimages import BOXES, World, box, photograph

RUN = {  # of the larger experiments: one model of each family, start, kind of freezing and classifier; else all
    "classic_cnns": ("vgg16", "googlenet", "resnet18", "alexnet_features"),
    "fruits_vegetables": ("cnn_attention", "vgg16_attention", "resnet50"),
    "probe": ("convnext_tiny", "efficientnet_b0_logistic", "dinov3_neighbours"),
    "resnet_vs_convnext": ("resnet50_10", "convnext_tiny_20"),
    "surveillance": ("resnet50", "resnet18_distilled"),
}
if os.environ.get("PODIUM_LONG"):
    RUN = {}
SIDE = 64  # AlexNet takes no less than 63
PER_CLASS = 10
CLASSES = {  # a few of each source, as it spells them
    "kritikseth/fruit-and-vegetable-image-recognition": ["apple", "lemon", "carrot", "raddish"],
    "misrakahmed/vegetable-image-dataset": ["Carrot", "Tomato"],
    "jonathansilva2020/orange-diseases-dataset": ["citrus canker"],
    "jay7080dev/rice-plant-diseases-dataset": ["Blast"],
    "imsparsh/flowers-dataset": ["daisy"],
    "data/photos": ["cat", "dog", "bird"],
}
BOXED = ("Person", "Man", "Dog", "Handgun")  # classes of the photographs of the toy Open Images


def build(root: Path, name: str) -> Scratch:
    """A project with one of `experiments/` in force at toy size, committed, not run yet.

    Args:
        root: a folder that does not exist yet.
        name: of the experiment.
    """
    project = copy_project(root)
    params = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text(encoding="utf-8"))
    params["models"] = {model: params["models"][model] for model in RUN.get(name, params["models"])}
    _shrink(params)
    params["dataset"] = _dataset(project.root / "data", params["dataset"])
    make_weights(project.root / "data", params["models"])
    text = yaml.safe_dump(params, sort_keys=False, allow_unicode=True)
    (project.root / "params.yaml").write_text(text, encoding="utf-8")
    commit(project)
    return project


def _shrink(params: dict[str, Any]) -> None:
    """Sets sizes and numbers of a params file that a small machine can do, in place."""
    params["runtime"].update(device="cpu", threads=1)
    params["resources"].update(workers=0)
    params["preprocess"].update(image_size=SIDE)
    params["tune"].update(trials=1, epochs=1)
    params["train"].update(epochs=1)
    params["publish"]["export"] = []  # half a minute for a large winner; `benchmarks/export_parity` holds them all
    params["evaluate"].update(bootstrap_samples=100, perturbations={"images": 2, "severities": [3]})
    params["explain"].update(checks={"images": 4, "deletion": 2, "randomised": 1}, interventions={"images": 2})
    for model in params["models"].values():
        if "epochs" in model.get("train", {}):
            model["train"]["epochs"] = 2
        if model["architecture"].startswith(("torchvision/alexnet", "torchvision/vgg")):
            model["head"] = {**model.get("head", {}), "hidden": [16]}
    toy = {"severity": "warning", "because": "a toy"}
    params["validate"]["minimum_rows"] = {**toy, "minimum": 1}
    params["validate"]["share_rejected"] = {**toy, "maximum": 1.0}


def _dataset(data: Path, section: dict[str, Any]) -> dict[str, Any]:
    """A section `dataset` whose images are drawn below `data`.

    Args:
        data: the project's folder of data; gets the images.
        section: of the experiment. Its classes, labels and groups stay as far as images are drawn for them.
    """
    if section["source"] == "merge":
        return {**section, "parts": [_dataset(data, part) for part in section["parts"]]}
    if section["source"] == "openimages":
        _open_images().put_in(data / "openimages")
        labels = {ours: [c for c in theirs if c in BOXED] for ours, theirs in section["labels"].items()}
        return {**section, "location": "data/openimages", "labels": labels}
    names = CLASSES["data/photos" if section["source"] == "sample" else section["location"]]
    place = section.get("name") or "photos"
    for number, label in enumerate(names):
        for n, image in enumerate(_pictures(PER_CLASS, [len(place), number])):
            path = data / place / label / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    kept = {key: section[key] for key in ("name", "licence", "limit_per_class", "splits") if key in section}
    labels = {our: theirs for our, theirs in section.get("labels", {}).items() if set(theirs) <= set(names)}
    groups = {label: group for label, group in section.get("groups", {}).items() if label in names}
    return {**kept, "source": "folder", "location": f"data/{place}", "labels": labels, "groups": groups}


def _pictures(count: int, seed: list[int]) -> Iterator[Image.Image]:
    """Coarse noise in the colour of the class, no two alike."""
    for n in range(count):
        random = np.random.default_rng([*seed, n])
        pixels = random.integers(0, 200, (9, 8, 3))
        pixels[2:7, 2:6] = random.integers(0, 60, (5, 4, 3)) + np.array([190, 100, 20])[np.roll([0, 1, 2], seed[-1])]
        yield Image.fromarray(pixels.astype(np.uint8)).resize((80, 90), Image.Resampling.BICUBIC)


def _open_images() -> World:
    """Every subset with a few photographs, one box of a chosen class in each."""
    world = World()
    for s, subset in enumerate(BOXES):
        names = [f"{s:08x}{n:08x}" for n in range(len(BOXED) * PER_CLASS // 2)]
        world.photographs[subset] = [photograph(name) for name in names]
        world.boxes[subset] = [box(name, BOXED[n % len(BOXED)], (0.1, 0.1, 0.9, 0.9)) for n, name in enumerate(names)]
        pictures = zip(names, _pictures(len(names), [s, 0]), strict=True)
        world.images[subset] = {name: _jpeg(image) for name, image in pictures}
    return world


def _jpeg(image: Image.Image) -> bytes:
    """An image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()


def make_weights(data: Path, models: Mapping[str, dict[str, Any]]) -> None:
    """Puts random weights in place of those that models ask for, pinned by digest.

    Args:
        data: the project's folder of data; gets the files.
        models: sections of a params file, changed in place. Published weights keep their licence and pretraining; a
            name that is not published fails here as it would with `fetch`.
    """
    from podium.weights.published import list_published

    known: dict[str, str] = {}
    for name, model in models.items():
        weights = model.get("weights", "none")
        if weights == "none":
            continue
        if is_file(weights):
            model["weights_licence"] = "cc0-1.0"
        else:
            said = {each.name: each for each in list_published(model["architecture"])}
            assert weights in said, (
                f"models.{name}: {weights} is not published for {model['architecture']} (there are: {', '.join(said)})"
            )
            model["weights_pretraining"] = said[weights].pretraining
            model.setdefault("weights_licence", said[weights].licence)
        file = data / f"{weights.split(':')[-1]}.safetensors"
        if weights not in known:
            _write(
                file, Network.model_validate({k: model[k] for k in ("architecture", "attention", "head") if k in model})
            )
            known[weights] = sha256_file(file)
        model.update(weights=f"data:{file.name}", weights_sha256=known[weights])


def _write(file: Path, network: Network) -> None:
    """Writes weights as they are published: of the network, or of its body alone, in half precision."""
    from podium.data.tensors import save_weights
    from podium.models import zoo

    module = zoo.create(network, 2, 0)
    body = module.get_submodule("backbone") if isinstance(module, zoo.Composed) else module
    fresh = () if body is not module else zoo.classifier_names(module)
    tensors = {
        name: t.half() if t.is_floating_point() else t for name, t in body.state_dict().items() if name not in fresh
    }
    save_weights(file, tensors, {})
