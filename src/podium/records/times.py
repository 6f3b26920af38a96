"""Measured seconds, kept in `.podium/times/<fingerprint>.json`: shown in MLflow and the report, never hashed."""

import json

from podium.core.files import write_json
from podium.core.layout import Layout


def add_times(layout: Layout, fingerprint: str, seconds: dict[str, float]) -> None:
    """Adds measured times of one trained model to what is known of it.

    Args:
        layout: the project's paths.
        fingerprint: of the trained model.
        seconds: by name, e.g. `seconds_per_epoch`, `latency_batch_1_seconds`, `latency_batched_seconds_per_image`.
    """
    write_json(layout.times(fingerprint), {**read_times(layout, fingerprint), **seconds})


def read_times(layout: Layout, fingerprint: str) -> dict[str, float]:
    """What was measured for one trained model on this machine; empty when nothing was (a restored stage)."""
    path = layout.times(fingerprint)
    if not path.is_file():
        return {}
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return known
