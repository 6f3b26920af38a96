"""Stage code: write down what computes each stage's results, so that DVC reruns a stage when that changes.

It runs first in every `dvc repro` and takes no input but the code itself. A comment, a docstring or a line break
changes nothing of what it writes; an edit of a module, or another version of a library, changes the files of the stages
that use it, and DVC sees that as a changed dependency.
"""

import shutil
from collections.abc import Collection, Mapping

from podium.config.train import Distil
from podium.core.files import write_json
from podium.core.identity import keep_readings, stage_code
from podium.core.layout import DISTIL, Layout

STAGES = ("fetch", "preprocess", "validate", "tune", "train", "evaluate", "compare")
"""All but `publish`, which looks each time whether there is something to do."""


def write_code(layout: Layout) -> None:
    """Writes `artifacts/code/<stage>.json` for every stage: modules with digests, libraries with versions.

    Raises:
        DataError: a stage's script is missing.
    """
    for stage in STAGES:
        write_json(layout.code(stage), stage_code(layout.root, stage).json())
    keep_readings(layout.root)


def write_teachers(layout: Layout, models: Collection[str], distil: Mapping[str, Distil]) -> None:
    """Writes who teaches each model to `artifacts/teachers/<model>/distil.json`: null where nobody does.

    DVC knows no dependency that only some of the models have. So all have this folder as one, and a student's holds the
    teacher's model too, which the stage `teach` copies there: its tune and train wait for it and run again with it.
    """
    for left in layout.teachers.iterdir() if layout.teachers.is_dir() else ():
        if left.name not in models:
            shutil.rmtree(left)
        elif left.name not in distil:
            shutil.rmtree(layout.teacher(left.name), ignore_errors=True)
    for model in models:
        (layout.teachers / model).mkdir(parents=True, exist_ok=True)
        wish = distil.get(model)
        write_json(layout.teachers / model / DISTIL, wish and wish.model_dump(mode="json"))
