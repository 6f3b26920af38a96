"""A trained small model, and all that asks it: what it writes must not depend on where it is asked."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from podium.analysis.learning_curve import measure_learning_curve
from podium.config.judging import Evaluate, Explain
from podium.config.models import ModelSection
from podium.config.params import load
from podium.config.runtime import LOCAL, Resources
from podium.core.files import sha256_tree
from podium.core.layout import Layout
from podium.curation.measures import CHEAP
from podium.pipeline import evaluate
from podium.pipeline.explain import explain_model
from podium.pipeline.repeat import repeat_training
from podium.pipeline.train import train_model
from tests.small_splits import ARCHITECTURE, RECIPE, RUNTIME, a_config, write_project

_EVALUATE = Evaluate.model_validate(
    {"batch_size": 4, "bootstrap_samples": 50, "mistakes": 1, "perturbations": {"images": 3}}
)
_EXPLAIN = Explain.model_validate(
    {
        "methods": ["gradcam", "cam"],
        "batch_size": 2,
        "checks": {"images": 4, "deletion": 2, "randomised": 2},
        "interventions": {"images": 4, "shares": [0.3]},
    }
)


def trained_project(root: Path) -> Layout:
    """A project whose model `small` is trained, with a further seed, and may be judged."""
    layout, given = write_project(root), {"config": a_config(), "runtime": RUNTIME, "resources": LOCAL}
    train_model(layout, "small", **given, seed=0)
    repeat_training(layout, "small", [7], **given)
    write_known(layout)
    return layout


def write_known(layout: Layout) -> None:
    """Writes the manifest and measures of all prepared images."""
    parts = [pd.read_parquet(layout.prepared / split / "index.parquet") for split in ("train", "val", "test")]
    images = pd.concat(part.assign(split=name) for part, name in zip(parts, ("train", "val", "test"), strict=True))
    images = images[["image_id", "label", "split"]]
    images.assign(**{name: range(len(images)) for name in CHEAP}).to_parquet(layout.measures, index=False)
    known = images.assign(width=32, height=32, duplicate_kind="", source="a", split_group=images["image_id"])
    known.to_parquet(layout.manifest, index=False)


def judge(layout: Layout, resources: Resources) -> str:
    """The digest of what evaluate, explain and `podium learning-curve` write."""
    given = {"runtime": RUNTIME, "seed": 0, "resources": resources}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_BATCHES_AT_ONCE", 1)  # so that a split is several jobs
        evaluate.evaluate_model(layout, "small", _EVALUATE, **given, seeds=[7])
    explain_model(layout, "small", _EXPLAIN, **given)
    shutil.rmtree(layout.work / "learning_curve", ignore_errors=True)
    section = {"small": ModelSection(architecture=ARCHITECTURE)}
    params = load(Path(__file__).parents[1] / "params.yaml").model_copy(
        update={"models": section, "train": RECIPE, "runtime": RUNTIME, "resources": resources}
    )
    measure_learning_curve(layout, params, "small", draws=1, quiet=True)
    return sha256_tree([layout.evaluation("small"), layout.explanation("small"), layout.learning_curve], layout.root)
