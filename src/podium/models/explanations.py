"""Explanations: how much each place of an image speaks for a class, by seven published methods.

A method is one decorated function; `explain` runs it. A map has a number for each pixel: above 0 speaks for the class,
below 0 against it. Where a method takes something away (occlusion, LIME, SHAP, the start of integrated gradients), the
mean colour that images are normalised with stands in its place.

Grad-CAM reads the last feature map of at least `LEAST_SIDE` places a side, as many as the last one has at the 224 px it
was published with: on small images the very last one has too few to point anywhere. A transformer has none; what goes
into its last block is a token for each patch, and those are laid out as a grid, without class and register tokens. A
network whose blocks are not known, or whose tokens are no square, has no Grad-CAM; the methods that only ask the
network for answers and gradients explain it all the same.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from podium.core.errors import ModelError
from podium.data.augment.batch import normalise
from podium.models.blocks import find_blocks, has_parameters
from podium.models.compute import memory_named_in_errors
from podium.models.inference import Classifier

LEAST_SIDE = 7
TILES = 8
"""A side, of the grid whose squares occlusion, LIME and KernelSHAP take away."""
_STEPS = 32  # of integrated gradients
_BY_GRADIENT = ("gradcam", "integrated_gradients", "gradient_shap")
_COALITIONS = 400  # sets of tiles that LIME and KernelSHAP ask about; there are 64 tiles
_DRAWS = 24  # of GradientSHAP
_NOISE = 0.1  # of GradientSHAP, standard deviation of the normalised input
_KERNEL_WIDTH = 0.25  # of LIME's weights, as in the authors' code for images
_SAME = 1e-3  # how far a head of pooling and one linear layer may be from the network's logits, relative


@dataclass(frozen=True)
class Question:
    """Why these images should be of these classes.

    Attributes:
        x: the network's input, float32, shape (N, 3, S, S), on the device.
        targets: int64, shape (N,), on the device.
        seeds: one an image, for methods that draw.
        batch_size: images the network is given at once.
    """

    classifier: Classifier
    x: torch.Tensor
    targets: torch.Tensor
    seeds: tuple[int, ...]
    batch_size: int

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Logits as float32, shape (B, C)."""
        with self.classifier.compute.autocast():
            out: torch.Tensor = self.classifier.module(self.classifier.compute.place_batch(x)).float()
        return out

    def scores_with_gradient(self, x: torch.Tensor) -> torch.Tensor:
        """The same, of an input that requires its gradient.

        Raises:
            ModelError: the logits have none.
        """
        out = self.scores(x)
        if not out.requires_grad:
            raise ModelError(
                f"the answers of {self.classifier.card.model} have no gradient, since its last layer counts votes: "
                "use occlusion, lime or kernel_shap"
            )
        return out


@dataclass(frozen=True)
class Method:
    """A way to explain; `sentence` says how. `ask` gives float32 of shape (N, h, w), any h and w."""

    sentence: str
    ask: Callable[[Question], torch.Tensor]


METHODS: dict[str, Method] = {}


def method(sentence: str) -> Callable[[Callable[[Question], torch.Tensor]], Callable[[Question], torch.Tensor]]:
    """Makes a function a method under its own name."""

    def register(ask: Callable[[Question], torch.Tensor]) -> Callable[[Question], torch.Tensor]:
        METHODS[ask.__name__] = Method(sentence, ask)
        return ask

    return register


@memory_named_in_errors("explain.batch_size")
def explain(
    classifier: Classifier,
    images: NDArray[np.uint8],
    name: str,
    targets: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """How much each pixel speaks for a class.

    An image's map depends on the image, the class, the method and the seed, not on its neighbours (but for rounding).

    Args:
        classifier: a trained model.
        images: uint8, shape (N, S, S, 3), prepared as `classifier.card.preprocessing` says.
        name: a key of `METHODS`.
        targets: class numbers, shape (N,); None for the classes the model names.
        seed: of methods that draw.
        batch_size: images the network is given at once.

    Returns:
        float32, shape (N, S, S); coarser maps are interpolated.

    Raises:
        ModelError: there is no such method, the network has not what it needs, or the images have another shape.
    """
    if name not in METHODS:
        raise ModelError(f"there is no method {name!r} to explain with: use one of {', '.join(METHODS)}")
    if name in _BY_GRADIENT and classifier.card.classifier == "nearest_neighbours":
        raise ModelError(f"{name} needs gradients, and the votes of {classifier.card.model} have none: use occlusion")
    logits = classifier.logits(images if targets is None else images[:0], batch_size)  # refuses another shape
    classes = logits.argmax(axis=1) if targets is None else np.asarray(targets)
    side, card, device = classifier.card.preprocessing.image_size, classifier.card, classifier.compute.device
    parts = [np.empty((0, side, side), np.float32)]
    for start in range(0, len(images), batch_size):
        batch = np.array(images[start : start + batch_size])
        x = normalise(batch, card.mean, card.std, device=device).contiguous()
        chosen = torch.as_tensor(classes[start : start + batch_size], dtype=torch.int64, device=device)
        drawn = tuple(_seed(seed, image) for image in batch)
        found = METHODS[name].ask(Question(classifier, x, chosen, drawn, batch_size)).detach().float()
        if found.shape[1:] != (side, side):
            found = functional.interpolate(found[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
        parts.append(found.cpu().numpy())
    return np.concatenate(parts)


@method("the last feature map, weighted as the linear head weighs its mean")
def cam(question: Question) -> torch.Tensor:
    """Class activation map (Zhou et al., CVPR 2016), where the head is average pooling and one linear layer.

    Raises:
        ModelError: the head is another one.
    """
    module, card = question.classifier.module, question.classifier.card
    stages = find_blocks(module, card.network, card.preprocessing.image_size).stages
    heads = [part for part in module.modules() if isinstance(part, nn.Linear)] if stages else []
    refusal = (
        f"cam needs a head of average pooling and one linear layer, which {card.architecture} has not: use gradcam"
    )
    if not heads or not stages[:-1] or not has_parameters(module, stages[-1]):
        raise ModelError(refusal)
    with torch.no_grad(), _outputs(module, [stages[-2][-1]]) as kept:
        scores = question.scores(question.x)
    last, head = _as_map(module, kept[stages[-2][-1]]), heads[-1]
    if last.shape[-1] != head.in_features or scores.shape[1] != head.out_features:
        raise ModelError(refusal)
    with torch.no_grad():
        again = head(last.float().mean(dim=(1, 2)))
        if not torch.allclose(again, scores, rtol=_SAME, atol=_SAME * float(scores.abs().max())):
            raise ModelError(refusal)
        return torch.einsum("nhwc,nc->nhw", last.float(), head.weight[question.targets].float())


@method("a feature map, weighted by the mean gradient of each of its channels")
def gradcam(question: Question) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017), with its sign: their ReLU is what draws and measures only above 0.

    Raises:
        ModelError: there is no feature map and no grid of tokens.
    """
    module = question.classifier.module
    name = feature_layer(question.classifier)
    with torch.enable_grad(), _outputs(module, [name]) as kept:
        scores = question.scores_with_gradient(question.x.requires_grad_())
        chosen = scores.gather(1, question.targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, kept[name])
    maps, gradients = _as_map(module, kept[name].detach()), _as_map(module, gradient)
    return torch.einsum("nhwc,nc->nhw", maps.float(), gradients.float().mean(dim=(1, 2)))


@method("gradients along the way from the mean colour to the image, times the difference")
def integrated_gradients(question: Question) -> torch.Tensor:
    """Integrated gradients (Sundararajan et al., ICML 2017): a map sums to the difference of the two logits."""
    from captum.attr import IntegratedGradients

    ask = IntegratedGradients(question.scores_with_gradient).attribute
    size = max(question.batch_size, len(question.x))
    found: torch.Tensor = ask(question.x, target=question.targets, n_steps=_STEPS, internal_batch_size=size)
    return found.sum(dim=1)


@method("how far the logit falls where a square is hidden")
def occlusion(question: Question) -> torch.Tensor:
    """Occlusion (Zeiler and Fergus, ECCV 2014): squares of a quarter of the side, a step of half of that."""
    from captum.attr import Occlusion

    side = question.x.shape[-1]
    window, stride = max(1, side // 4), max(1, side // TILES)
    with torch.no_grad():
        found: torch.Tensor = Occlusion(question.scores).attribute(
            question.x, (3, window, window), strides=(3, stride, stride), target=question.targets
        )
    return found.sum(dim=1)


@method("a linear model of the logit around the image, whose tiles are there or not")
def lime(question: Question) -> torch.Tensor:
    """LIME (Ribeiro et al., KDD 2016) on a grid of tiles: ridge regression and nearness as in the authors' code."""
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    def near(_original: torch.Tensor, _asked: torch.Tensor, there: torch.Tensor, **_named: object) -> torch.Tensor:
        distance = 1 - (there.float().mean()).sqrt()  # cosine distance to all tiles
        return torch.exp(-(distance**2) / _KERNEL_WIDTH**2).sqrt()

    return _of_tiles(question, Lime(question.scores, SkLearnRidge(alpha=1.0), similarity_func=near).attribute)


@method("each tile's share in the logit by its Shapley value")
def kernel_shap(question: Question) -> torch.Tensor:
    """KernelSHAP (Lundberg and Lee, NeurIPS 2017) on a grid of tiles."""
    from captum.attr import KernelShap

    return _of_tiles(question, KernelShap(question.scores).attribute)


@method("gradients at random places between flat images and the noisy image, times the difference")
def gradient_shap(question: Question) -> torch.Tensor:
    """GradientSHAP (expected gradients; Erion et al., Nature Machine Intelligence 2021) from black, grey and white."""
    from captum.attr import GradientShap

    card = question.classifier.card
    flat = np.broadcast_to(np.array([0, 128, 255], np.uint8)[:, None, None, None], (3, *question.x.shape[2:], 3))
    baselines = normalise(flat.copy(), card.mean, card.std, device=question.x.device)
    ask = GradientShap(question.scores_with_gradient).attribute
    parts = []
    for x, target, seed in zip(question.x, question.targets, question.seeds, strict=True):
        with _drawing(seed):
            parts.append(ask(x[None], baselines, n_samples=_DRAWS, stdevs=_NOISE, target=target))
    return torch.cat(parts).sum(dim=1)


def feature_layer(classifier: Classifier) -> str:
    """The block whose output Grad-CAM reads: see the head of this module.

    Raises:
        ModelError: there is none.
    """
    module, card = classifier.module, classifier.card
    side = card.preprocessing.image_size
    found = find_blocks(module, card.network, side)
    stages = found.stages[:-2] if found.by_methods else found.stages[:-1]
    names = [stage[-1] for stage in stages] if found.by_methods else [name for stage in stages for name in stage]
    with torch.no_grad(), _outputs(module, names) as kept:
        module(classifier.compute.place_batch(torch.zeros(1, 3, side, side)))
    shapes = {name: _as_map(module, out).shape for name, out in kept.items()}
    sides = {name: shape[1] for name, shape in shapes.items() if len(shape) == 4 and shape[1] == shape[2]}
    wanted = min(LEAST_SIDE, max(sides.values(), default=0))
    if wanted < 2:
        raise ModelError(
            f"{card.architecture} has no feature map and no grid of tokens that gradcam could read: use "
            "integrated_gradients or occlusion"
        )
    return [name for name, places in sides.items() if places >= wanted][-1]


def _as_map(module: nn.Module, out: torch.Tensor) -> torch.Tensor:
    """What a block gave as a map (N, h, w, C), where it is one or a grid of tokens; otherwise as it is."""
    if out.ndim == 4 and out.shape[2] == out.shape[3]:
        return out.permute(0, 2, 3, 1)
    if out.ndim == 3:
        tokens = out[:, int(getattr(module, "num_prefix_tokens", 0)) :]
        side = round(tokens.shape[1] ** 0.5)
        return tokens.reshape(len(out), side, side, -1) if side * side == tokens.shape[1] else out
    return out


@contextmanager
def _outputs(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """What blocks give while the network runs, in the order they are called."""
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, _block: nn.Module, _given: object, out: object) -> None:
        if isinstance(out, torch.Tensor):
            kept[name] = out

    handles = [module.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _of_tiles(question: Question, ask: Callable[..., torch.Tensor]) -> torch.Tensor:
    """What a method that draws sets of tiles says of each image."""
    side = question.x.shape[-1]
    tile = torch.arange(side, device=question.x.device) * TILES // side
    mask = (tile[:, None] * TILES + tile)[None, None].expand(1, 3, side, side)
    parts = []
    for x, target, seed in zip(question.x, question.targets, question.seeds, strict=True):
        with _drawing(seed), torch.no_grad():
            given = {"feature_mask": mask, "n_samples": _COALITIONS, "perturbations_per_eval": question.batch_size}
            parts.append(ask(x[None], target=target, **given)[:, 0])
    return torch.cat(parts)


def _seed(seed: int, image: NDArray[np.uint8]) -> int:
    """A number in [0, 2**32) of a seed and an image's pixels, whatever stands beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/explain/".encode() + image.tobytes()).digest()[:4], "big")


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Torch's and numpy's global generators, from which captum draws, at a seed; then they are as before."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
