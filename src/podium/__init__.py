"""Podium: a fair, reproducible comparison of image classifiers, with the winner's papers in order."""

__version__ = "0.1.0"
