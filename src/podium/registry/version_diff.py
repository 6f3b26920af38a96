"""What differs between two registered versions: conditions, data, params, weights, tools and metrics."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from podium.core.layout import METRICS, MODEL_CARD, Layout
from podium.records.training import ModelCard
from podium.registry.evidence import ARTIFACTS, VersionMetrics
from podium.registry.holder import fetch_package
from podium.registry.read_only import RegisteredModel, Version

_CONDITIONS = ("outcome", "undecided_because", "comparable", "differences", "relaxed", "validation_passed")
_TAGS = {
    **dict.fromkeys(_CONDITIONS, "conditions"),
    **dict.fromkeys(("data_digest", "test_digest"), "data"),
    **dict.fromkeys(("git_commit", "dvc_lock_sha256"), "code"),
}
_OF_CARD = {"data_digests": "data", "versions": "tools", "pretrained": "weights", "weights_sha256": "weights"}
_LEFT_OUT = ("model", "fingerprint", "conditions")
_ORDER = ("conditions", "data", "code", "params", "weights", "tools", "metrics")


@dataclass(frozen=True)
class Difference:
    """One thing that differs; a value is None where a version does not tell it."""

    section: str
    name: str
    first: str | None
    second: str | None


def diff_versions(layout: Layout, registered: RegisteredModel, first: Version, second: Version) -> list[Difference]:
    """What differs between two versions, by section.

    Raises:
        DataError: a package is of a Podium too old to be read.
        TrackingError: a package cannot be had.
    """
    one, other = (_facts(layout, registered.name, version) for version in (first, second))
    found = [Difference(*key, one.get(key), other.get(key)) for key in one | other if one.get(key) != other.get(key)]
    return sorted(found, key=lambda each: _ORDER.index(each.section))


def _facts(layout: Layout, name: str, version: Version) -> dict[tuple[str, str], str]:
    """All that is compared of a version, by section and name."""
    with TemporaryDirectory(prefix="podium-diff-") as temporary:
        folder = fetch_package(layout, name, version, Path(temporary)) / ARTIFACTS
        card, metrics = ModelCard.read(folder / MODEL_CARD), VersionMetrics.read(folder / METRICS)
    found = {
        (section, tag): value
        for tag, section in _TAGS.items()
        if (value := version.tags.get(f"podium.{tag}")) is not None
    }
    for key, value in _flat(card.model_dump(mode="json")).items():
        top = key.partition(".")[0]
        if top not in _LEFT_OUT:
            found[_OF_CARD.get(top, "params"), key] = _told(value)
    measured = _flat(metrics.model_dump(mode="json"))
    for key in sorted(measured, key=lambda key: not key.endswith(".value")):  # what models are judged by first
        rate, value = key.removesuffix(".value"), measured[key]
        known = ("params", rate) in found  # the card tells it, too
        if isinstance(value, int | float) and not known and (key.endswith(".recall") or "." not in rate):
            found["metrics", rate] = _told(value)
    return found


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    """A nested document by dotted keys."""
    import pandas as pd

    return {str(key): value for key, value in pd.json_normalize(document).to_dict("records")[0].items()}


def _told(value: object) -> str:
    """A value in one line; numbers with six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
