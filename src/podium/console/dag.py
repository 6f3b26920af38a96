"""The DAG as `dvc.yaml` writes it and `dvc.lock` remembers it: stages in order, which would run, how long they take.

DVC knows more, but takes over a second to import, and learns of edited code only while it runs.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from podium.core.errors import DataError, first_few, one_line
from podium.core.files import canonical_json, write_json
from podium.core.identity import stage_code
from podium.core.layout import DVC_LOCK, DVC_YAML, Layout

_ALWAYS = "always_changed"
_ABOVE = "after "
_SHOWN = 3  # stages named for one reason
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class DagStage:
    """A stage as DVC names it, `tune@resnet18`, with what it reads and writes; `always`: it runs each time."""

    name: str
    stage: str
    model: str | None
    params: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    always: bool


def list_stages(layout: Layout) -> tuple[DagStage, ...]:
    """All stages in the order of `dvc.yaml`, which is the order data flows; those per model once a model."""
    params = read_yaml(layout.params)
    found = []
    for stage, body in read_yaml(layout.root / DVC_YAML).get("stages", {}).items():
        items: Mapping[str | None, Any] = {None: None}
        if "foreach" in body:  # `${models}`, or of students `${distil}`
            items = value_at(params, str(body["foreach"]).strip("${}")) or {}
        found += [_stage(stage, _with_item(body.get("do", body), item), model) for model, item in items.items()]
    return tuple(found)


def _with_item(body: Mapping[str, Any], item: Any) -> Mapping[str, Any]:
    """A stage's body with the fields of the item that it is for, `${item.teacher}`, filled in."""
    text = json.dumps(body)
    for key, value in item.items() if isinstance(item, Mapping) else ():
        text = text.replace(f"${{item.{key}}}", str(value))
    filled: dict[str, Any] = json.loads(text)
    return filled


def find_stale(layout: Layout) -> dict[str, str]:
    """The stages that `dvc repro` would run, by name, and why.

    Returns:
        `train.epochs 6 -> 8`, `its code changed`, `after train@resnet18`, ...; without those that run each time.
    """
    stages, params = list_stages(layout), read_yaml(layout.params)
    lock = read_yaml(layout.root / DVC_LOCK).get("stages", {})
    written = {out["path"]: out.get("md5") for entry in lock.values() for out in entry.get("outs", [])}
    code = cache(partial(_code_digest, layout))  # the same for every model
    stale: dict[str, str] = {}
    for each in stages:
        if each.always:
            continue
        above = [s.name for s in stages if s.name in stale and _feeds(s, each)]
        why = _own_reason(layout, each, lock.get(each.name), params, written=written, code_digest=code)
        why = why or (_ABOVE + above[0] if above else None)
        if why:
            stale[each.name] = why
    return stale


def describe_stale(stale: Mapping[str, str]) -> str:
    """The stages and why, in one line; those that only follow from others are counted."""
    by_reason: dict[str, list[str]] = {}
    for name, why in stale.items():
        if not why.startswith(_ABOVE):
            by_reason.setdefault(why, []).append(name)
    causes = [f"{first_few(names, _SHOWN)} ({why})" for why, names in by_reason.items()]
    follow = len(stale) - sum(map(len, by_reason.values()))
    return ", ".join(causes) + (f"; {follow} more follow" if follow else "")


def describe_position(layout: Layout, name: str) -> str | None:
    """Where a stage stands: `stage 5 of 12, about 3 minutes left`; None for a stage that `dvc.yaml` does not have.

    The time is that of the last run of this stage and of those after it that would run.
    """
    scripts = layout.root / "stages"  # what has none copies a file or two, in no time
    stages = [each for each in list_stages(layout) if (scripts / f"{each.stage}.py").is_file()]
    names = [each.name for each in stages]
    if name not in names:
        return None
    here, stale, seconds = names.index(name), find_stale(layout), read_seconds(layout)
    left = [_expected(each, seconds) for each in stages[here:] if each.name == name or each.name in stale]
    known = [each for each in left if each is not None]
    time = f", {describe_seconds(sum(known))} left" if len(known) == len(left) and known else ""
    return f"stage {here + 1} of {len(stages)}{time}"


def describe_seconds(seconds: float) -> str:
    """A time for people: `less than a minute`, `about 3 minutes`, `about 1 h 20 min`."""
    if seconds < _MINUTE:
        return "less than a minute"
    if seconds < 1.5 * _MINUTE:
        return "about a minute"
    if seconds < _HOUR:
        return f"about {round(seconds / _MINUTE)} minutes"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    return f"about {hours} h {minutes} min"


def read_seconds(layout: Layout) -> dict[str, float]:
    """How long each stage took when it last ran to its end here, in seconds, by name."""
    try:
        kept = json.loads(layout.durations.read_text(encoding="utf-8"))
        return {str(name): float(seconds) for name, seconds in kept.items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):  # none yet, or damaged: nothing depends on it
        return {}


def keep_seconds(layout: Layout, name: str, seconds: float) -> None:
    """Keeps how long a stage took."""
    from filelock import FileLock

    layout.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(layout.locks / "durations.lock"):  # two stages may end at once
        write_json(layout.durations, {**read_seconds(layout), name: round(seconds, 1)})


def stage_name(stage: str, model: str | None) -> str:
    """A stage's name in DVC."""
    return f"{stage}@{model}" if model else stage


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values; an empty mapping where there is none.

    Raises:
        DataError: it is not YAML.
    """
    import yaml

    if not path.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is there
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader) or {}  # noqa: S506  # both are safe ones
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path.name} is not YAML ({one_line(error)}): restore it with `git checkout {path.name}`"
        ) from error


def value_at(values: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for step in key.split("."):
        values = values.get(step) if isinstance(values, Mapping) else None
    return values


def leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every single value below a key, as text."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from leaves(f"{key}.{name}", inner)
    else:
        yield key, json.dumps(value, ensure_ascii=False, default=str).strip('"')


def changed_values(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """What differs, by name: `train.epochs 6 -> 8`."""
    names = sorted({*new, *old})
    return [f"{n} {old.get(n, 'not there')} -> {new.get(n, 'not there')}" for n in names if new.get(n) != old.get(n)]


def _stage(stage: str, body: Mapping[str, Any], model: str | None) -> DagStage:
    """One stage of `dvc.yaml`, for one model where it is one per model."""

    def paths(key: str) -> tuple[str, ...]:
        """What a list of the file names; an entry may carry settings."""
        entries = (next(iter(entry)) if isinstance(entry, Mapping) else str(entry) for entry in body.get(key, []))
        return tuple(str(entry).replace("${key}", model or "") for entry in entries)

    outs = (*paths("outs"), *paths("metrics"), *paths("plots"))
    return DagStage(
        stage_name(stage, model), stage, model, paths("params"), paths("deps"), outs, bool(body.get(_ALWAYS))
    )


def _feeds(one: DagStage, other: DagStage) -> bool:
    """Whether a stage reads what another writes."""
    return any(f"{o}/".startswith(f"{d}/") or f"{d}/".startswith(f"{o}/") for o in one.outs for d in other.deps)


def _own_reason(
    layout: Layout,
    stage: DagStage,
    entry: Mapping[str, Any] | None,
    params: Any,
    *,
    written: Mapping[str, str | None],
    code_digest: Callable[[str], str],
) -> str | None:
    """Why a stage would run, whatever the stages before it do; None where nothing asks for it."""
    if entry is None:
        return "has not run"
    locked = value_at(entry, "params")
    kept = locked.get(layout.params.name, {}) if isinstance(locked, Mapping) else {}
    old = {name: text for key in stage.params for name, text in leaves(key, kept.get(key))}
    new = {name: text for key in stage.params for name, text in leaves(key, value_at(params, key))}
    if changed := changed_values(new, old):
        return first_few(changed, 1)
    read = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
    code = Layout(Path()).code(stage.stage).as_posix()
    if code in stage.deps and read.get(code) != code_digest(stage.stage):
        return "its code changed"
    pinned = {pin["path"]: pin.get("md5") for dep in stage.deps for pin in _pinned(layout, dep)}
    written = {**written, **pinned}
    for dep in stage.deps:
        if dep != code and (dep not in read or (dep in written and written[dep] != read[dep])):
            return f"{dep} changed"
    missing = [out for out in stage.outs if not (layout.root / out).exists()]
    return f"{missing[0]} is not here" if missing else None


def _pinned(layout: Layout, path: str) -> list[dict[str, Any]]:
    """What a `.dvc` file says of a folder that `dvc add` pinned."""
    return (
        list(read_yaml(layout.root / f"{path}.dvc").get("outs", [])) if (layout.root / f"{path}.dvc").is_file() else []
    )


def _code_digest(layout: Layout, stage: str) -> str:
    """The md5 that DVC will see of what `code` writes for a stage."""
    text = canonical_json(stage_code(layout.root, stage).json()) + "\n"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _expected(stage: DagStage, seconds: Mapping[str, float]) -> float | None:
    """How long a stage will take: as last time, else as its slowest kin for another model; None where nobody knows."""
    kin = [taken for name, taken in seconds.items() if name.partition("@")[0] == stage.stage]
    return seconds.get(stage.name, max(kin, default=None))
