"""A model card for tests that need one and are not about training."""

from podium.config.models import Head
from podium.config.preprocess import Preprocessing
from podium.config.train import Train
from podium.records.fetch import WeightsRecord
from podium.records.training import ModelCard, TuningResult


def no_weights(architecture: str) -> WeightsRecord:
    """The record of a model that starts from random weights."""
    return WeightsRecord(
        architecture=architecture,
        weights="none",
        sha256=None,
        source="none",
        licence="unknown",
        pretraining="none",
        mean=None,
        std=None,
        metadata={},
    )


def a_card(**fields: object) -> ModelCard:
    """The card of a small network that saw two epochs.

    Args:
        **fields: what a test is about, in place of the fields below.
    """
    architecture = str(fields.get("architecture", "resnet18"))
    usual = {
        "model": "m",
        "architecture": architecture,
        "attention": "none",
        "head": Head(),
        "classes": ["apple", "banana", "cherry"],
        "groups": {},
        "preprocessing": Preprocessing(image_size=8, pad_value=114, max_pixels=100),
        "mean": (0, 0, 0),
        "std": (1, 1, 1),
        "parameters": 10,
        "flops": 20,
        "weights_bytes": 40,
        "weights_sha256": "0" * 64,
        "pretrained": no_weights(architecture),
        "trainable": "all",
        "recipe": Train(epochs=2, batch_size=8),
        "learning_rate": 0.001,
        "tuned": {},
        "tuning_images": 60,
        "epochs": 2,
        "best_epoch": 1,
        "images_seen": 100,
        "micro_batch_size": 8,
        "cached_prefix": False,
        "stopped_early": False,
        "seed": 0,
        "runtime": {"dtype": "float32"},
        "versions": {},
        "data_digests": {"train": "a" * 64, "val": "b" * 64},
        "fingerprint": "f" * 64,
    }
    return ModelCard.model_validate({**usual, **fields})


def a_tuning_result(**fields: object) -> TuningResult:
    """What a study of one trial chose; `fields` as in `a_card`."""
    usual = {
        "model": "small",
        "parameters": {},
        "trial": 0,
        "val_loss": 1.0,
        "val_accuracy": 0.5,
        "trials": 1,
        "pruned": 0,
        "epochs_per_trial": 1,
        "images_budget": 30,
        "images_seen": 30,
        "at_the_edge": [],
        "fingerprint": "f" * 64,
    }
    return TuningResult.model_validate({**usual, **fields})
