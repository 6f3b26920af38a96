"""Podium: a fair, reproducible comparison of image classifiers, with the winner's papers in order."""

from podium.core import torchvision_schemas

__version__ = "0.1.0"

torchvision_schemas.install()
