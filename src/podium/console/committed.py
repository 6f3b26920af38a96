"""Results in git against those made here: which files differ though nothing was edited, by how much, and why."""

import json
from pathlib import Path
from typing import Any

from podium.console.dag import value_at
from podium.console.process import git_said
from podium.core.layout import DVC_LOCK, DVC_YAML, METRICS, Layout

_UNKNOWN = "unknown"  # in results of an earlier Podium
_COMPARED = ("accuracy.value", "macro_f1.value")


def differ_from_commit(layout: Layout) -> list[str]:
    """A sentence where tracked results differ from the last commit though params, data and code do not."""
    ledger = layout.test_openings.relative_to(layout.main_root)  # history: it grows, and no checkout is to cut it
    results = _changed(layout, DVC_LOCK, "reports", f":(exclude){ledger}")
    if not results or _changed(layout, layout.params.name, "data.dvc", "src", "stages", DVC_YAML) != []:
        return []
    return [
        f"{len(results)} tracked files of results ({results[0]}, ...) differ from the last commit, though params, data "
        f"and code do not: {_because(layout)}. `git diff --stat` shows them; commit yours, or bring the committed ones "
        f"back with `git checkout {DVC_LOCK} reports ':!{ledger}'`"
    ]


def _changed(layout: Layout, *paths: str) -> list[str] | None:
    """Which of these differ from the last commit; None without git."""
    said = git_said(layout.root, "diff", "--name-only", "HEAD", "--", *paths)
    return None if said is None else said.splitlines()


def _because(layout: Layout) -> str:
    """What made them differ, and how far the metrics of the models are apart."""
    files = sorted(layout.evaluation_report("*").parent.glob(f"*/{METRICS}"))
    pairs = [pair for file in files if (pair := _pair(layout, file))]
    gaps = [abs(value_at(new, name) - value_at(old, name)) for new, old in pairs for name in _COMPARED]
    within = f": metrics within {max(gaps):.4f} of the committed ones" if gaps else ""
    sets = [{str(each.get("instruction_set", _UNKNOWN)) for each in side} for side in zip(*pairs, strict=True)]
    if sets and _UNKNOWN not in sets[0] | sets[1] and sets[0] != sets[1]:
        made, committed = (", ".join(sorted(side)) for side in sets)
        return f"another CPU type ({committed} -> {made}){within}"
    return f"another type of CPU, number of threads or version of a library rounds otherwise{within}"


def _pair(layout: Layout, path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A model's metrics as they are here and as they were committed; None where they were not."""
    committed = git_said(layout.root, "show", f"HEAD:./{path.relative_to(layout.root).as_posix()}")
    if committed is None:
        return None
    return json.loads(path.read_text(encoding="utf-8")), json.loads(committed)
