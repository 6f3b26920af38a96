"""Do exports answer as the network does, for every model of the studies? `python -m benchmarks.export_parity`.

Every network of `experiments/` and every architecture of the studies (`podium models`), each once, with weights drawn
from the seed and batch norm set by three batches of noise: no weights are fetched. Each becomes an ONNX file and a
program of `torch.export`, and a table tells the largest difference of a logit on 256 images of noise at batch sizes 1,
2 and 33, the size of the files and the seconds that both exports take. A probe is measured with voters or a last layer
drawn from the seed; dropout is no part of what is exported. `--side` gives the pixels a side; without it each network
has those of its experiment. `--only` takes those whose name fits a pattern.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.scratch import ROOT
from podium.config.models import Network
from podium.config.params import load
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.core.layout import ONNX, TORCH_EXPORT
from podium.data.randomness import number
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.inference import Classifier
from podium.registry import exports
from podium.registry.onnx_model import open_onnx
from tests.cards import a_card

CLASSES, VOTERS, NEIGHBOURS = 12, 400, 5
IMAGENET_SIDE = 224


def networks() -> Iterator[tuple[str, Network, int]]:
    """Each network once: a name, what has to be built, pixels a side."""
    seen = set()
    for path in sorted((ROOT / "experiments").glob("*.yaml")):
        params = load(path)
        for config in params.models.values():
            network = Network.model_validate({key: getattr(config, key) for key in Network.model_fields})
            network = network.model_copy(update={"head": network.head.model_copy(update={"dropout": 0.0})})  # no part
            if (key := network.model_dump_json()) not in seen:
                seen.add(key)
                yield named(network), network, params.preprocess.image_size
    for architecture in zoo.STUDIES:
        network = Network(architecture=architecture)
        if network.model_dump_json() not in seen:
            yield named(network), network, IMAGENET_SIDE


def named(network: Network) -> str:
    """What tells a network from the others."""
    changed = network.model_dump(exclude_defaults=True, exclude={"architecture"})
    told = ", ".join(f"{key} {value}" for key, value in changed.items())
    return network.architecture + (f" ({told})" if told else "")


def build(network: Network, side: int) -> Classifier:
    """The network with weights from the seed, its batch norm set by noise."""
    module = zoo.create(network, CLASSES, 0, side)
    generator = torch.Generator().manual_seed(number(0, "weights", 0))
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(8, 3, side, side, generator=generator))
    module.eval()
    if network.classifier == "nearest_neighbours":
        layer = module.get_submodule(zoo.classifier_name(module))
        with torch.no_grad():
            kept: list[torch.Tensor] = []
            hook = layer.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
            for _ in range(VOTERS // 8):
                module(torch.randn(8, 3, side, side, generator=generator))
            hook.remove()
        labels = torch.arange(VOTERS) % CLASSES
        layer.fit(torch.cat(kept), labels, NEIGHBOURS)  # type: ignore[operator]  # a NearestNeighbours
    card = a_card(preprocessing=Preprocessing(image_size=side, pad_value=0, max_pixels=10**6))
    return Classifier(card, module, Compute.of(Runtime(threads=torch.get_num_threads())))


def measure(classifier: Classifier, side: int) -> list[str]:
    """The cells of a row: side, differences of both formats at each batch size, MB of both files, seconds."""
    pixels, _ = exports.parity_images(None, side)
    inputs = (pixels.transpose(0, 3, 1, 2) / np.float32(255) - np.float32(0.5)).astype(np.float32) / np.float32(0.25)
    with TemporaryDirectory() as folder:
        onnx, program_file = Path(folder) / ONNX, Path(folder) / TORCH_EXPORT
        start = time.perf_counter()
        program = exports.export_program(classifier)
        exports.save_program(program, program_file)
        exports.save_onnx(program, onnx, classifier.card.model)
        seconds = time.perf_counter() - start
        runs = (open_onnx(onnx, torch.get_num_threads()), exports.open_program(program_file))
        wanted = exports.own_logits(classifier, inputs)
        found = [each.difference for run in runs for each in exports.measure_parity(run, inputs, wanted)]
        sizes = [f"{path.stat().st_size / 1e6:.1f}" for path in (onnx, program_file)]
    verdict = "holds" if max(found) <= exports.TOLERANCE else "FAILS"
    return [str(side), *(f"{value:.1e}" for value in found), *sizes, f"{seconds:.1f}", verdict]


def main() -> int:
    """Prints the table; 1 where parity fails for a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, help="pixels a side of the images of all networks")
    parser.add_argument("--only", default="*", help="pattern of the names of networks, such as 'resnet*'")
    parser.add_argument("--threads", type=int, default=2, help="of torch and of ONNX Runtime")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    head = ["network", "px", *(f"{name} {size}" for name in ("onnx", "pt2") for size in exports.BATCH_SIZES)]
    print("| " + " | ".join([*head, "onnx MB", "pt2 MB", "s", "parity"]) + " |")
    print("|" + "---|" * (len(head) + 4), flush=True)
    failed = 0
    for name, network, usual in networks():
        if not fnmatch(name, given.only):
            continue
        side = given.side or usual
        cells = measure(build(network, side), side)
        failed += cells[-1] != "holds"
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
