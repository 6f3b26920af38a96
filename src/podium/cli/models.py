"""`podium models`: which architectures there are, what they cost, which weights are published for them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import AsJson
from podium.console.terminal import add_row, console, print_json, table
from podium.core.errors import ModelError, UsageError
from podium.records.base import Triple

if TYPE_CHECKING:
    from podium.weights.published import Proposal, Published

AT_MOST = 40  # architectures that are built to be counted: more would take long
_ATTENTION = "Each takes attention (none, se, cbam, self) and a head with its own pooling and hidden layers."


@dataclass(frozen=True)
class _Listed:
    """A row of the list, named as in the documents of a trained model; too many that match are not counted."""

    architecture: str
    parameters: int | None
    flops: int | None
    image_size: int
    weights: int
    licences: tuple[str, ...]


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="An architecture to show in full, or a pattern such as 'resnet*'; none = those of the studies.",
        ),
    ] = None,
    matched: Annotated[
        bool, typer.Option("--matched", help="Propose weights of two or more architectures with equal pretraining.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the architectures with parameters, FLOPs, input size and licences, one in full, or weights that match."""
    from podium.models import zoo

    wanted = names or []
    if matched:
        _matched(wanted, as_json)
        return
    if len(wanted) > 1:
        raise UsageError("one architecture or pattern at a time, in quotes ('resnet*'); several go with --matched")
    if wanted and wanted[0] in zoo.names():
        _one(wanted[0], as_json)
        return
    found = zoo.matching(wanted[0]) if wanted else list(zoo.STUDIES)
    if not found:
        zoo.image_size(wanted[0])  # refuses it, with the nearest names
        raise ModelError(f"no architecture matches {wanted[0]!r}: `podium models` lists the usual ones")
    _list(found, as_json, usual=not wanted)


def _list(found: Sequence[str], as_json: bool, usual: bool) -> None:
    """A table of architectures, and what else to ask for; `usual`: those of the studies, without a pattern."""
    counted = len(found) <= AT_MOST
    rows = [_listed(architecture, counted) for architecture in found]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    numbers = ("parameters", "GFLOPs") if counted else ()
    shown = table(
        "architecture", *numbers, "px", "weights", "licences", right=(*numbers, "px", "weights"), fold=("licences",)
    )
    for row in rows:
        costs = (f"{row.parameters / 1e6:,.1f} M", f"{row.flops / 1e9:,.2f}") if row.parameters and row.flops else ()
        licences = ", ".join(row.licences) or "-"
        add_row(shown, row.architecture, *costs, str(row.image_size), str(row.weights or "-"), licences)
    console().print(shown)
    print()
    if counted:
        print("GFLOPs: one image of that size forward, 2 operations per multiply-add; 1000 classes.")
    else:
        print(f"{len(found)} architectures match; parameters and FLOPs are shown for at most {AT_MOST}.")
    if usual:
        print(_ATTENTION)
        print("All of timm and torchvision's VGG and ResNet families work as well.\n")
        print("Others that match a pattern:     podium models 'efficientnet*'")
    else:
        print()
    print("Blocks and weights of one:       podium models resnet50")
    print("Weights with equal pretraining:  podium models --matched resnet50 convnext_tiny")


def _listed(architecture: str, counted: bool) -> _Listed:
    """A row of the list; building the network to count it is what takes time, so only if `counted`."""
    from podium.models import zoo
    from podium.weights.published import list_published

    weights = list_published(architecture)
    costs = zoo.figures(architecture) if counted else None
    return _Listed(
        architecture=architecture,
        parameters=costs.parameters if costs else None,
        flops=costs.flops if costs else None,
        image_size=zoo.image_size(architecture),
        weights=len(weights),
        licences=tuple(sorted({each.licence for each in weights})),
    )


def _one(architecture: str, as_json: bool) -> None:
    """Figures, blocks by stage, published weights."""
    from podium.config.models import Network
    from podium.models import zoo
    from podium.models.blocks import find_blocks
    from podium.weights.published import list_published

    costs = zoo.figures(architecture)
    mean, std = zoo.normalisation(architecture)
    stages = find_blocks(zoo.build_on_meta(architecture), Network(architecture=architecture)).stages
    weights = list_published(architecture)
    if as_json:
        print_json(
            {
                **asdict(costs),
                "mean": mean,
                "std": std,
                "stages": stages,
                "weights": [asdict(each) for each in weights],
            }
        )
        return
    print(architecture)
    shown = table("", "", fold=("",))
    add_row(shown, "  parameters", f"{costs.parameters:,} with {zoo.CLASSES:,} classes")
    add_row(shown, "  FLOPs", f"{costs.flops:,} for one image of {costs.image_size} px")
    add_row(shown, "  mean, std", f"{_triple(mean)}, {_triple(std)} of values in [0, 1]")
    console().print(shown)
    _print_stages(stages)
    _print_weights(weights)


def _print_stages(stages: Sequence[Sequence[str]]) -> None:
    """The blocks that can be frozen, by stage; no stages where the network is no sequence."""
    if not stages:
        print("\nNo sequence of feature maps: it is trained as a whole (trainable: all).")
        return
    print("\nStages, with the blocks that `trainable: {from: ...}` may name")
    shown = table("  stage", "blocks", fold=("blocks",))
    for number, blocks in enumerate(stages, start=1):
        add_row(shown, "  head" if number == len(stages) else f"  {number}", " ".join(blocks))
    console().print(shown)


def _print_weights(weights: "Sequence[Published]") -> None:
    """Published weights under the names that params take."""
    if not weights:
        print("\nNo weights are published for it (weights: none, or a file of your own).")
        return
    print("\nPublished weights, for `weights:`")
    shown = table("  name", "licence", "pretraining", "px", right=("px",))
    for each in weights:
        add_row(shown, f"  {each.name}", each.licence, each.pretraining, str(each.image_size))
    console().print(shown)


def _matched(architectures: Sequence[str], as_json: bool) -> None:
    """Prints weights with equal pretraining.

    Raises:
        UsageError: fewer than two architectures are given.
        ModelError: one is unknown or has no weights, or none have seen the same images.
    """
    from podium.models import zoo
    from podium.weights.published import match_weights

    if len(architectures) < 2:
        raise UsageError("--matched takes two or more architectures: podium models --matched resnet50 convnext_tiny")
    for architecture in architectures:
        zoo.image_size(architecture)  # refuses an unknown one, with the nearest names
    proposals = match_weights(architectures)
    if as_json:
        print_json([_proposed(proposal, architectures) for proposal in proposals])
        return
    if not proposals:
        raise ModelError(
            f"no published weights of {', '.join(architectures)} have seen the same images: compare them from "
            "`weights: none`, or accept the difference in compare.accept"
        )
    for number, proposal in enumerate(proposals):
        size = f"{proposal.image_size} px" if proposal.image_size else "at different sizes"
        print(f"{'' if number == 0 else chr(10)}Pretrained on {proposal.pretraining}, {size}")
        shown = table("  architecture", "weights", "licence", "px", right=("px",))
        for architecture, choices in zip(architectures, proposal.choices, strict=True):
            for place, each in enumerate(choices):
                add_row(shown, f"  {'' if place else architecture}", each.name, each.licence, str(each.image_size))
        console().print(shown)
    print("\nOne for each architecture makes a fair comparison: all of them have seen the same images.")


def _proposed(proposal: "Proposal", architectures: Sequence[str]) -> dict[str, object]:
    """For JSON: a proposal, with its choices by architecture."""
    choices = zip(architectures, proposal.choices, strict=True)
    return {
        "pretraining": proposal.pretraining,
        "image_size": proposal.image_size,
        "weights": {architecture: [asdict(each) for each in of_it] for architecture, of_it in choices},
    }


def _triple(values: Triple) -> str:
    return " ".join(f"{value:.3f}" for value in values)
