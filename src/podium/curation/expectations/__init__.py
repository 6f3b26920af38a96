"""What a prepared dataset must satisfy: expectations, each one decorated function, and the engine that judges them.

A module that declares some is imported here, and nowhere else has to know of it.
"""

from podium.curation.expectations import leakage, manifest_rows, pixels

__all__ = ["leakage", "manifest_rows", "pixels"]
