"""A model's test results, for tests that need some and are not about measuring."""

from podium.records.evaluation import Metrics, SliceMetrics

CONDITIONS = {
    "image_size": 64,
    "pretraining": "in1k",
    "distillation": "none",
    "images_seen": 7560,
    "tuning_images": 3780,
    "seed": 0,
    "dtype": "float32",
    "processes": 1,
    "train_split": "a" * 64,
    "val_split": "b" * 64,
}


def a_slice(**fields: object) -> SliceMetrics:
    """Measurements of a part of the test split on which the model is as good as elsewhere, but for `fields`."""
    rate = {"value": 0.9, "low": 0.85, "high": 0.95}
    usual = {"sentence": "by brightness", "images": 12, "accuracy": rate, "rest": rate, "p_value": 1, "adjusted_p": 1}
    return SliceMetrics.model_validate({**usual, "images_needed": 300, **fields})


def some_metrics(conditions: dict[str, object] | None = None, **fields: object) -> Metrics:
    """Measurements of a model `m` on 200 images.

    Args:
        conditions: in place of some of `CONDITIONS`.
        **fields: what a test is about, in place of the fields below.
    """
    rate = {"value": 0.9, "low": 0.85, "high": 0.95}
    usual = {
        "model": "m",
        "architecture": "resnet18",
        "fingerprint": "f" * 64,
        "conditions": {**CONDITIONS, **(conditions or {})},
        "test_digest": "d",
        "images": 200,
        "accuracy": rate,
        "macro_f1": rate,
        "macro_precision": 0.9,
        "macro_recall": 0.9,
        "weighted_precision": 0.9,
        "weighted_recall": 0.9,
        "weighted_f1": 0.9,
        "loss": 0.3,
        "top_k": 3,
        "top_k_accuracy": 1.0,
        "mean_confidence": 0.9,
        "mean_confidence_correct": 0.9,
        "mean_confidence_wrong": 0.5,
        "low_confidence_threshold": 0.5,
        "low_confidence_count": 0,
        "ece": 0.02,
        "aurc": 0.01,
        "temperature": 1.2,
        "abstention": {
            "target_risk": 0.05,
            "target_coverage": None,
            "threshold": 0.7,
            "coverage": rate,
            "risk": {"value": 0.04, "low": 0.02, "high": 0.08},
        },
        "sets": {"target_coverage": 0.9, "limits": {}, "coverage": rate, "mean_size": 1.1, "per_class": {}},
        "val_accuracy": 0.9,
        "val_loss": 0.3,
        "per_class": {},
        "confused": [],
        "slices": {},
        "worst_slices": {"looked_at": 0, "found": 0, "confirmed": []},
        "groups": None,
        "parameters": 10,
        "flops": 100,
        "weights_bytes": 40,
        "learning_rate": 0.001,
        "epochs": 6,
        "images_seen": 7560,
    }
    return Metrics.model_validate({**usual, **fields})
