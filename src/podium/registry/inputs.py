"""What a version was made from, and what a rebuild of it was: packages, CPU, threads, images, weights, params, code.

Of a version it is read from its package, its tags, the `dvc.lock` they name and DVC's cache; of a rebuild from the
clone it was made in (`registry.rebuild`).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from podium.console.dag import changed_values, leaves, read_yaml, value_at
from podium.console.dvc_files import damage_in, digest_lock, find_tracked, parse_lock, read_lock
from podium.console.shell import differences
from podium.core.errors import DataError
from podium.core.files import sha256_file
from podium.core.layout import DVC_LOCK, MODEL_CARD, PARAMS, WEIGHTS_CARD, Layout
from podium.core.machine import processor_name
from podium.data.data_diff import compare_manifests
from podium.records.fetch import WeightsRecord
from podium.records.training import ModelCard
from podium.registry.audit import fetcher, read_record
from podium.registry.evidence import Evidence, changed_since, open_package, read_evidence
from podium.registry.read_only import RegisteredModel, Version
from podium.tracking import store
from podium.tracking.run_writer import CPU, PARENT

if TYPE_CHECKING:
    from mlflow import MlflowClient

_STAGES = ("fetch", "preprocess", "validate", "tune", "train", "repeat", "evaluate")
_THREADS, _INSTRUCTION_SET = "runtime.threads", "runtime.instruction_set"
OF_THE_MACHINE = ("package", "CPU", "instruction set", "threads")
"""Kinds of input that the machine gives; all others git and DVC hold, so they must be the same."""
_CARD = {"seed", "recipe", "preprocessing", "runtime", "architecture", "attention", "head", "trainable", "distil"}


@dataclass(frozen=True)
class Recorded:
    """What is on record of a version: its papers, the `dvc.lock` that made it (None: not here), and on which CPU.

    `told` says what is not as it was registered; `package` is the folder of its package.
    """

    version: str
    tags: Mapping[str, str]
    package: Path
    evidence: Evidence
    lock: Mapping[str, Any] | None
    cpu: str
    told: list[str]

    @property
    def model(self) -> str:
        """The key of `models` that it was trained as."""
        return self.evidence.card.model


@dataclass(frozen=True)
class Input:
    """One kind of what a model is made from; `known`: what made the version is on record and could be read."""

    kind: str
    known: bool
    differences: list[str]


@contextmanager
def open_recorded(layout: Layout, registered: RegisteredModel, version: Version) -> Iterator[Recorded]:
    """Reads what is on record of a version; its package is there as long as the block runs.

    Raises:
        TrackingError: the store does not answer, or the package cannot be had.
        DataError: a document is missing in the package.
    """
    uri, client = store.tracking_uri(layout), store.open_client(layout)
    with ExitStack() as stack:
        with store.translate_errors(uri):
            found = client.get_model_version(registered.name, version.version)
            record = read_record(layout, registered.name, registered.tags, fetcher(client, registered.name))
            package = stack.enter_context(open_package(uri, found))
            run = _tags_of(client, found.run_id)
            lock = _find_lock(layout, client, version.tags, run.get(PARENT))
        told = [f"the record of {record.name} does not hold: {problem}" for problem in record.problems]
        changed = changed_since(record, version.version, version.tags, package)
        told += [changed] if changed else []
        if version.tags.get("podium.git_dirty") != "false":
            told.append("published with changes that were not committed, which its commit does not hold")
        if lock is None:
            told.append(f"the {DVC_LOCK} that made it is neither here, in its commit nor in MLflow: less can be named")
        evidence = read_evidence(found, package)
        yield Recorded(version.version, version.tags, package, evidence, lock, run.get(CPU, "unknown"), told)


def installed_differences(layout: Layout, recorded: Recorded) -> list[str]:
    """Packages of which this environment has another version than the one that made a version."""
    from podium.core.identity import version

    old = _libraries(layout, recorded)
    return changed_values({name: version(name) for name in old}, old)


def list_inputs(layout: Layout, recorded: Recorded, clone: Layout) -> Iterator[Input]:
    """Each kind of input, and what of it differs."""
    old, new = _libraries(layout, recorded), _rebuilt_code(clone)["libraries"]
    shared = {name: new[name] for name in old if name in new} if recorded.lock is None else new
    yield Input(
        "package", bool(new), _unless_unknown(new, changed_values(shared, {n: old[n] for n in old if n in new}))
    )
    here = processor_name()
    known = recorded.cpu != "unknown"
    yield Input("CPU", known, [f"{recorded.cpu} -> {here}"] if known and recorded.cpu != here else [])
    yield _instruction_set(recorded, clone)
    changed = [text for text in _changed_params(recorded, clone) if not text.startswith(_INSTRUCTION_SET)]
    yield Input("threads", True, [text for text in changed if text.startswith(_THREADS)])
    yield _images(layout, recorded, clone)
    yield _pretrained(recorded, clone)
    yield Input("param", True, [text for text in changed if not text.startswith(_THREADS)])
    yield _code(layout, recorded, clone)


def _instruction_set(recorded: Recorded, clone: Layout) -> Input:
    """What both CPUs computed with, by the models' cards."""
    try:
        cards = [recorded.evidence.card, ModelCard.read(clone.model(recorded.model) / MODEL_CARD)]
    except DataError:
        return Input("instruction set", False, [])
    old, new = (card.runtime.get("instruction_set") for card in cards)
    return Input("instruction set", old is not None, [f"{old} -> {new}"] if old and old != new else [])


def _tags_of(client: "MlflowClient", run_id: str | None) -> Mapping[str, str]:
    """The tags of a run; none where it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        tags: Mapping[str, str] = client.get_run(run_id or "").data.tags
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return {}
    return tags


def _find_lock(
    layout: Layout, client: "MlflowClient", tags: Mapping[str, str], experiment: str | None
) -> Mapping[str, Any] | None:
    """The `dvc.lock` that a version's tag names: here, in its commit, or with the run of its experiment in MLflow."""
    from mlflow.exceptions import MlflowException

    commit, wanted = tags.get("podium.git_commit", ""), tags.get("podium.dvc_lock_sha256")
    for text in (read_lock(layout), read_lock(layout, commit) if commit.isalnum() else ""):
        if text and not damage_in(text) and digest_lock(text) == wanted:
            return parse_lock(text)
    with TemporaryDirectory(prefix="podium-lock-") as folder:
        try:
            file = Path(client.download_artifacts(experiment or "", DVC_LOCK, folder))
            text = file.read_text(encoding="utf-8", errors="replace")
        except (MlflowException, OSError):
            return None
    return parse_lock(text) if not damage_in(text) and digest_lock(text) == wanted else None


def _unless_unknown(known: Mapping[str, str], found: list[str]) -> list[str]:
    """Differences, where there is something to compare with."""
    return found if known else []


def _libraries(layout: Layout, recorded: Recorded) -> dict[str, str]:
    """Versions of the packages that a version was computed with; of a few, where no more is on record."""
    return _recorded_code(layout, recorded)["libraries"] or dict(recorded.evidence.card.versions)


def _recorded_code(layout: Layout, recorded: Recorded) -> dict[str, dict[str, str]]:
    """Modules and libraries that made a version, as DVC's cache has them; empty where it has not."""
    return _joined(find_tracked(layout, recorded.lock, layout.code(stage)) for stage in _STAGES)


def _rebuilt_code(clone: Layout) -> dict[str, dict[str, str]]:
    """Modules and libraries that made the rebuild."""
    return _joined(clone.code(stage) if clone.code(stage).is_file() else None for stage in _STAGES)


def _joined(files: Iterator[Path | None]) -> dict[str, dict[str, str]]:
    """What several stages' files of code say, as one."""
    found: dict[str, dict[str, str]] = {"modules": {}, "libraries": {}}
    for file in files:
        said = json.loads(file.read_text(encoding="utf-8")) if file else {}
        for kind, named in found.items():
            named.update(said.get(kind, {}))
    return found


def _changed_params(recorded: Recorded, clone: Layout) -> list[str]:
    """Params that differ: those of `dvc.lock` and of the clone, or of both models' cards where there is no lock."""
    if recorded.lock is not None:
        told, given = _params(recorded.lock, recorded.model), read_yaml(clone.params)
        now = {name: text for key in told for name, text in leaves(key, value_at(given, key))}
        old = {name: text for key, value in told.items() for name, text in leaves(key, value)}
        return [text for text in changed_values(now, old) if not _of_another(text, recorded.model)]
    try:
        card = ModelCard.read(clone.model(recorded.model) / MODEL_CARD)
    except DataError:
        return []
    new, old = (
        {
            text: value
            for key, part in each.model_dump(mode="json", include=_CARD).items()
            for text, value in leaves(key, part)
        }
        for each in (card, recorded.evidence.card)
    )
    return changed_values(new, old)


def _params(lock: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Every key of `params.yaml` that a model's stages read, with its value."""
    names = {*_STAGES, *(f"{stage}@{model}" for stage in _STAGES)}
    mine = [entry for name, entry in lock["stages"].items() if name in names]
    return {key: value for entry in mine for key, value in entry.get("params", {}).get(PARAMS, {}).items()}


def _of_another(param: str, model: str) -> bool:
    """Whether a param is of another model: fetch reads the sections of all."""
    return param.startswith("models.") and not param.startswith(f"models.{model}.")


def _images(layout: Layout, recorded: Recorded, clone: Layout) -> Input:
    """Images that were added, removed, moved, relabelled or changed."""
    digest = recorded.tags.get("podium.data_digest")
    if not clone.manifest.is_file():
        return Input("image", False, [])
    if sha256_file(clone.manifest) == digest:
        return Input("image", True, [])
    here = layout.manifest if layout.manifest.is_file() and sha256_file(layout.manifest) == digest else None
    before = find_tracked(layout, recorded.lock, layout.manifest) or here
    if before is None:
        return Input(
            "image", False, ["the prepared images are others; which, is not known: the version's are not here"]
        )
    rows = compare_manifests(before, clone.manifest).to_dict("records")
    return Input("image", True, [f"{row['path']} {row['change']} ({row['before']} -> {row['after']})" for row in rows])


def _pretrained(recorded: Recorded, clone: Layout) -> Input:
    """The weights that training began with."""
    try:
        made = WeightsRecord.read(clone.weights / recorded.model / WEIGHTS_CARD)
    except DataError:
        return Input("pretrained weights", False, [])
    old, new = (
        {key: str(value)[:40] for key, value in each.model_dump(mode="json").items() if value is not None}
        for each in (recorded.evidence.card.pretrained, made)
    )
    return Input("pretrained weights", True, changed_values(new, old))


def _code(layout: Layout, recorded: Recorded, clone: Layout) -> Input:
    """Modules that were edited, and the first line in which the one in the package is another."""
    old, new = _recorded_code(layout, recorded)["modules"], _rebuilt_code(clone)["modules"]
    if not old or not new:
        return Input("code", False, [])
    found = []
    for text in differences({"modules": new}, {"modules": old}):
        name, _, verb = text.partition(" ")
        path = Path(*name.split(".")).with_suffix(".py")
        line = _first_line(recorded.package / "code" / path, clone.root / "src" / path) if verb == "edited" else ""
        found.append(text + line)
    return Input("code", True, found)


def _first_line(old: Path, new: Path) -> str:
    """Where two texts part; empty where one is not there."""
    if not old.is_file() or not new.is_file():
        return ""
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (old, new)]
    for number, (was, now) in enumerate(zip_longest(*lines, fillvalue=""), start=1):
        if was != now:
            return f", line {number}: {was.strip() or 'nothing'} -> {now.strip() or 'nothing'}"
    return ""
