"""A model card for tests that need one and are not about training."""

from podium.core.records.fetch import WeightsRecord
from podium.core.records.preprocess import Preprocessing
from podium.core.records.training import ModelCard


def a_card(**fields: object) -> ModelCard:
    """The card of a small network that saw two epochs.

    Args:
        **fields: what a test is about, in place of the fields below.
    """
    architecture = str(fields.get("architecture", "resnet18"))
    usual = {
        "model": "m",
        "architecture": architecture,
        "classes": ["apple", "banana", "cherry"],
        "groups": {},
        "preprocessing": Preprocessing(image_size=8, pad_value=114, max_pixels=100),
        "mean": (0, 0, 0),
        "std": (1, 1, 1),
        "dropout": 0.0,
        "parameters": 10,
        "flops": 20,
        "weights_bytes": 40,
        "weights_sha256": "0" * 64,
        "pretrained": WeightsRecord(architecture=architecture, weights="none", sha256=None, metadata={}),
        "learning_rate": 0.001,
        "tuned": {},
        "epochs": 2,
        "best_epoch": 1,
        "images_seen": 100,
        "stopped_early": False,
        "seed": 0,
        "runtime": {},
        "versions": {},
        "data_digests": {},
        "fingerprint": "f" * 64,
    }
    return ModelCard.model_validate({**usual, **fields})
