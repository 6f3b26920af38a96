"""Architectures in one name space: timm's, torchvision's classic ones, and `cnn`; attention and a head on any of them.

Importing this costs seconds (torch, timm, torchvision): do it at the point of use.
"""

from podium.models.zoo.build import (
    CLASSES,
    ArchitectureCost,
    Composed,
    build_on_meta,
    check_size,
    classifier_name,
    classifier_names,
    classifier_parts,
    count_parameters,
    create,
    figures,
    flops,
    initialise,
    load_pretrained,
)
from podium.models.zoo.families import STUDIES, image_size, matching, names, normalisation
from podium.models.zoo.layers import NearestNeighbours

__all__ = [
    "CLASSES",
    "STUDIES",
    "ArchitectureCost",
    "Composed",
    "NearestNeighbours",
    "build_on_meta",
    "check_size",
    "classifier_name",
    "classifier_names",
    "classifier_parts",
    "count_parameters",
    "create",
    "figures",
    "flops",
    "image_size",
    "initialise",
    "load_pretrained",
    "matching",
    "names",
    "normalisation",
]
