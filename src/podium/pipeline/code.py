"""Stage code: write down what computes each stage's results, so that DVC reruns a stage when that changes.

It runs first in every `dvc repro` and takes no input but the code itself. A comment, a docstring or a line break
changes nothing of what it writes; an edit of a module, or another version of a library, changes the files of the stages
that use it, and DVC sees that as a changed dependency.
"""

import shutil
from collections.abc import Collection, Mapping

from podium.config.models import Network
from podium.config.train import Distil
from podium.console.dvc_files import forget_stages
from podium.core.files import write_json, write_text
from podium.core.identity import fingerprint, keep_readings, library_versions, stage_code
from podium.core.layout import Layout

STAGES = ("fetch", "preprocess", "validate", "tune", "train", "repeat", "evaluate", "explain", "compare")
"""All but `publish`, which looks each time whether there is something to do."""


def check_networks(layout: Layout, models: Mapping[str, Network], side: int) -> None:
    """Refuses networks that cannot be built for the images' size, before anything is downloaded or computed.

    What was found to fit is kept in `.podium/`, so that nothing is built, and torch not imported, for it again.

    Raises:
        ModelError: one cannot be, or is not known.
    """
    fields, given = set(Network.model_fields), {"side": side, **library_versions()}
    wanted = {
        fingerprint({**given, "network": model.model_dump(mode="json", include=fields)}): model
        for model in models.values()
    }
    kept = layout.fitting.read_text(encoding="utf-8").split() if layout.fitting.is_file() else []
    new = [model for key, model in wanted.items() if key not in kept]
    if not new:
        return
    from podium.models import zoo

    for model in new:
        zoo.check_size(model, side)
    write_text(layout.fitting, "\n".join(wanted))


def write_code(layout: Layout, models: Collection[str], distil: Mapping[str, Distil]) -> None:
    """Writes what DVC cannot see by itself to `artifacts/code/`, and takes away what models left that are gone.

    A file a stage: modules with digests, libraries with versions. A file a model: who teaches it, null where nobody
    does. DVC knows no dependency that only some of the models have, so all have a folder below `artifacts/teachers/`
    with a copy of that file, and a student's holds its teacher's model too: its tune and train wait for it.

    Raises:
        DataError: a stage's script is missing, or another DVC is at work.
    """
    _remove_leftovers(layout, models, distil)
    forget_stages(layout)
    for stage in STAGES:
        write_json(layout.code(stage), stage_code(layout.root, stage).json())
    for model in models:
        wish = distil.get(model)
        write_json(layout.distil(model), wish and wish.model_dump(mode="json"))
        layout.teacher(model).parent.mkdir(parents=True, exist_ok=True)
    keep_readings(layout.root)


def _remove_leftovers(layout: Layout, models: Collection[str], students: Collection[str]) -> None:
    """Removes results of models that left `params.yaml`, and says so.

    DVC hashes a folder of several models as a whole, so they would change what a stage is said to have read.
    """
    results = (layout.tuning, layout.model, layout.repeats, layout.evaluation, layout.explanation)
    places = (*results, layout.evaluation_report)
    folders = [*(place("any").parent for place in places), layout.teacher("any").parents[1]]
    found = [entry for folder in folders for entry in folder.glob("[!.]*") if entry.is_dir() and not entry.is_symlink()]
    old = [entry for entry in found if entry.name not in models]
    untaught = [layout.teacher(model) for model in models if model not in students and layout.teacher(model).exists()]
    for entry in (*old, *untaught):
        shutil.rmtree(entry)
    for file in layout.distil("any").parent.glob("*.json"):
        if file.stem not in models:
            file.unlink()
    for name in sorted({entry.name for entry in old}):
        print(f"code: removed results of {name}, which is no longer in params.yaml", flush=True)
