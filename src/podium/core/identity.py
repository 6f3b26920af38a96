"""Fingerprints: which data, parameters, source code and library versions a result came from.

A fingerprint names checkpoints and studies, tags MLflow runs and registered versions, and is what `publish` looks up.
The source code of a stage is what `dvc.yaml` lists under its `deps`, so that there is one list, not two.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import yaml

from podium.core.errors import DataError
from podium.core.files import canonical_json, sha256_text, sha256_tree

_CODE = ("src/", "stages/")
_LIBRARIES = ("numpy", "timm", "torch", "torchvision")


def fingerprint(parts: Mapping[str, object]) -> str:
    """sha256 over the canonical JSON of everything that can change a result.

    Args:
        parts: JSON values by name.

    Returns:
        64 hex digits.
    """
    return sha256_text(canonical_json(dict(parts)))


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that compute numbers; build suffixes such as `+cpu` are kept."""
    return {name: version(name) for name in _LIBRARIES}


def source_digest(root: Path, stage: str) -> str:
    """Digest of the source code a stage depends on, as declared in `dvc.yaml`.

    Args:
        root: the project's root.
        stage: a stage name without `@model`.

    Returns:
        64 hex digits.

    Raises:
        DataError: `dvc.yaml` has no such stage, or a listed file is missing.
    """
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    if stage not in stages:
        raise DataError(f"dvc.yaml has no stage {stage!r}; its stages: {', '.join(stages)}")
    body = stages[stage].get("do", stages[stage])
    return sha256_tree([root / dep for dep in body["deps"] if dep.startswith(_CODE)], root)
