"""How the results in place came to be: a stage executed, they were there all along, or DVC brought them.

`publish` notes what lies here when it is done, so that the next one can tell; nothing is computed from it.
"""

import json
from pathlib import Path
from typing import Any, Literal

from podium.console.dag import DagStage, list_stages
from podium.console.shell import read_inputs, stage_inputs
from podium.core.files import write_json
from podium.core.layout import Layout

Origin = Literal["executed", "cached", "restored"]
"""`executed`: its command ran here since the last publish, on what the results were made from; `cached`: as the last
publish left it; `restored`: DVC brought it, from its cache, its run cache or a remote."""
_EVERY_TIME = ("code", "publish")


def find_origins(layout: Layout) -> dict[str, Origin]:
    """How the results of every stage with a script came to be, by the stage's name in DVC."""
    before = _noted(layout)
    return {stage.name: _origin(layout, stage, before.get(stage.name, {})) for stage in _stages(layout)}


def note_results(layout: Layout) -> None:
    """Notes what lies here now; the last thing publish does."""
    write_json(_note(layout), {stage.name: _look(layout, stage) for stage in _stages(layout)})


def _stages(layout: Layout) -> list[DagStage]:
    """The stages that compute something."""
    scripts = layout.root / "stages"
    return [
        stage
        for stage in list_stages(layout)
        if stage.stage not in _EVERY_TIME and (scripts / f"{stage.stage}.py").is_file()
    ]


def _origin(layout: Layout, stage: DagStage, before: dict[str, Any]) -> Origin:
    """How the results of one stage came to be; `before` is what was noted of it."""
    now = _look(layout, stage)
    if now["ran"] is not None and now["ran"] != before.get("ran"):
        last = read_inputs(layout.last_inputs(stage.stage, stage.model))
        if last == stage_inputs(layout, stage.stage, stage.model):
            return "executed"
    return "cached" if now["outs"] == before.get("outs") else "restored"


def _look(layout: Layout, stage: DagStage) -> dict[str, Any]:
    """When a stage last ran to its end here (None: never), and which files its results are."""
    last = layout.last_inputs(stage.stage, stage.model)
    outs = [layout.root / out for out in stage.outs]
    mine = [out for out in outs if out.is_relative_to(layout.raw.parent)]  # not those that git keeps
    files = sorted(path for out in mine for path in (out, *out.rglob("*")) if path.is_file())
    named = [[path.relative_to(layout.root).as_posix(), *_identity(path)] for path in files]
    return {"ran": last.stat().st_mtime_ns if last.is_file() else None, "outs": named}


def _identity(path: Path) -> tuple[int, int]:
    """What changes when a file, or the link to it, is made anew."""
    found = path.lstat()
    return found.st_ino, found.st_ctime_ns


def _note(layout: Layout) -> Path:
    """Where publish notes it."""
    return layout.last_inputs("publish", None)


def _noted(layout: Layout) -> dict[str, dict[str, Any]]:
    """What publish noted; nothing where it never did, or where the file is damaged."""
    try:
        found = json.loads(_note(layout).read_text(encoding="utf-8"))
        return {str(name): dict(said) for name, said in found.items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}
