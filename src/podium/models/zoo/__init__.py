"""Architectures in one name space: timm's, torchvision's classic ones, and `cnn`; attention and a head on any of them.

Importing this costs seconds (torch, timm, torchvision): do it at the point of use.
"""

from podium.models.zoo.building import create
from podium.models.zoo.composed import Composed
from podium.models.zoo.cost import count_parameters, flops
from podium.models.zoo.families import STUDIES, image_size, matching, names, normalisation
from podium.models.zoo.listing import CLASSES, Figures, figures, without_values
from podium.models.zoo.pretrained import classifier_names, load_pretrained

__all__ = [
    "CLASSES",
    "STUDIES",
    "Composed",
    "Figures",
    "classifier_names",
    "count_parameters",
    "create",
    "figures",
    "flops",
    "image_size",
    "load_pretrained",
    "matching",
    "names",
    "normalisation",
    "without_values",
]
