"""Stage code: write down what computes each stage's results, so that DVC reruns a stage when that changes.

It runs first in every `dvc repro` and takes no input but the code itself. A comment, a docstring or a line break
changes nothing of what it writes; an edit of a module, or another version of a library, changes the files of the stages
that use it, and DVC sees that as a changed dependency.
"""

from podium.core.files import write_json
from podium.core.identity import keep_readings, stage_code
from podium.core.layout import Layout

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
