"""Where a version came from, each step held against its digest; and which versions saw an image.

The record binds package and tags, a tag binds `dvc.lock` and the prepared manifest, and `dvc.lock` binds what was
fetched. Older states are read from git and from DVC's cache: nothing is checked out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from podium.console.dvc_files import damage_in, digest_lock, find_tracked, parse_lock, read_lock
from podium.console.process import git_said
from podium.core.errors import DataError, TrackingError
from podium.core.files import sha256_file
from podium.core.layout import DVC_LOCK, LICENCES, MODEL_CARD, PARAMS, PREDICTIONS, SOURCES, WEIGHTS, Layout
from podium.records.audit import AuditEntry
from podium.records.fetch import Sources
from podium.records.training import ModelCard
from podium.registry.audit import fetcher, read_record
from podium.registry.evidence import ARTIFACTS, changed_since, digest_package, open_package
from podium.registry.holder import artifact_of
from podium.registry.licences import ImageLicence, Licences
from podium.registry.read_only import RegisteredModel, Version
from podium.report.results import JUDGED, evidence_digest
from podium.tracking import store

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

State = Literal["checked", "told", "changed", "missing"]
"""`checked`: computed now, and what the version says; `told`: nothing here to hold it against; `missing`: not here."""

_SAW = {"train": "trained on it", "val": "chosen on it (validation)"}


@dataclass(frozen=True)
class Step:
    """One step of a lineage, what is known of it, and what it was made from."""

    kind: str
    name: str
    state: State
    note: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    made_from: list["Step"] = field(default_factory=list)


@dataclass(frozen=True)
class Lineage:
    """Where a version came from. `changed` says what is not as the audit record says; empty where all is."""

    changed: list[str]
    version: Step


@dataclass(frozen=True)
class Sighting:
    """What one version had to do with an image."""

    version: str
    model: str
    aliases: list[str]
    saw: str
    note: str


@dataclass(frozen=True)
class _Traced:
    """A version, its entry, its package (None: gone), the card in it, and the state of what stands there alone."""

    layout: Layout
    tags: Mapping[str, str]
    entry: AuditEntry | None
    folder: Path | None
    card: ModelCard | None
    by_package: State

    def tag(self, name: str) -> str:
        """One of Podium's tags; empty where the version has none of that name."""
        return self.tags.get(f"podium.{name}", "")

    @property
    def absent(self) -> str:
        """What to do about a file of another state."""
        return f"not in this checkout: git checkout {self.tag('git_commit')[:12] or 'its commit'}, dvc checkout"


def trace(layout: Layout, registered: RegisteredModel, version: Version) -> Lineage:
    """Follows a version of a registered model back to its data.

    Raises:
        TrackingError: the store does not answer.
    """
    uri, client = store.tracking_uri(layout), store.open_client(layout)
    with store.translate_errors(uri), ExitStack() as stack:
        found = client.get_model_version(registered.name, version.version)
        record = read_record(layout, registered.name, registered.tags, fetcher(client, registered.name))
        told = [f"the record of {record.name} does not hold: {problem}" for problem in record.problems]
        folder = card = None
        try:
            folder = stack.enter_context(open_package(uri, found))
            card = ModelCard.read(folder / ARTIFACTS / MODEL_CARD)
        except TrackingError as error:
            told.append(str(error))
        except DataError:
            folder = folder if folder and any(folder.iterdir()) else None  # MLflow makes one where there is none
            told.append(
                f"the package of version {version.version} {f'has no usable {MODEL_CARD}' if folder else 'is gone'}"
            )
        changed = changed_since(record, version.version, version.tags, folder)
        told += [changed] if changed else []
        entry = record.registration(version.version)
        by_package: State = "missing" if card is None else "told" if told else "checked"
        traced = _Traced(layout, version.tags, entry, folder, card, by_package)
        steps = [_package(traced), _run(traced, client, found.run_id), _commit(traced), _pretrained(traced)]
        state: State = "checked" if not told else "told" if entry is None else "changed"
        note = f"registered {entry.when[:16].replace('T', ' ')} by {entry.by}" if entry else "not on record"
        facts = {name: traced.tag(name) for name in ("model", "accuracy", "fingerprint", "state")}
        facts["aliases"] = ", ".join(_aliases(registered, version))
        name = f"{registered.name} {version.version}"
        return Lineage(told, Step("version", name, state, note, facts, [*steps, _libraries(traced)]))


def _aliases(registered: RegisteredModel, version: Version) -> list[str]:
    """The aliases a version holds."""
    return sorted(alias for alias, number in registered.aliases.items() if number == version.version)


def _package(traced: _Traced) -> Step:
    """Files of the version, the weights among them."""
    weights, entry = traced.tag("weights_sha256"), traced.entry
    name = f"with weights {weights[:12] or 'unknown'}"
    if traced.folder is None:
        return Step("package", name, "missing", "cannot be fetched")
    digest = digest_package(traced.folder)
    state: State = "told" if entry is None else "checked" if digest == entry.version.package else "changed"
    return Step("package", name, state, facts={"sha256 of all files": digest, "weights": weights})


def _run(traced: _Traced, client: "MlflowClient", run_id: str | None) -> Step:
    """The run in MLflow that the version came from."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id or "")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return Step("run", run_id or "none", "missing", "deleted, or never there")
    same = run.data.tags.get("podium.fingerprint") == traced.tag("fingerprint") != ""
    note = "" if same else "it does not carry the version's fingerprint"
    note = "deleted, in MLflow's bin" if run.info.lifecycle_stage == "deleted" else note
    return Step("run", str(run_id), "checked" if same else "told", note, {"name": str(run.info.run_name)})


def _commit(traced: _Traced) -> Step:
    """The commit, below it `dvc.lock`, and below that params and data."""
    commit, wanted, root = traced.tag("git_commit"), traced.tag("dvc_lock_sha256"), traced.layout.root
    is_one = re.fullmatch(r"[0-9a-f]{40,64}", commit)  # a tag that was edited is no option of git's
    known = git_said(root, "cat-file", "-t", commit) if is_one else None
    texts = {"that of this checkout": read_lock(traced.layout)}
    texts["that of the commit"] = read_lock(traced.layout, commit) if known else ""
    same = [where for where, text in texts.items() if not damage_in(text) and digest_lock(text) == wanted]
    lock = parse_lock(texts[same[0]]) if same else None
    state: State = "checked" if lock else "missing"
    below = [_params(traced, lock), _manifest(traced, lock)]
    note = same[0] if same else traced.absent
    step = Step(DVC_LOCK, wanted[:12] or "unknown", state, note, {"sha256": wanted}, below)
    held = "that of the commit" in same
    note = "" if held else "its dvc.lock is another one" if known else "not in this clone: git fetch"
    note = "published with changes that were not committed" if traced.tag("git_dirty") == "true" else note
    state = "checked" if held and not note else "told" if known else "missing"
    return Step("git commit", commit or "unknown", state, note, made_from=[step])


def _params(traced: _Traced, lock: Any) -> Step:
    """The params: those of `dvc.lock`, or of the package where that is not here."""
    if lock is not None:
        stages = (stage.get("params", {}).get(PARAMS, {}) for stage in lock["stages"].values())
        return Step("params", "in dvc.lock", "checked", facts=dict(_flat({k: v for s in stages for k, v in s.items()})))
    card = traced.card and traced.card.model_dump(mode="json", include={"seed", "recipe", "preprocessing", "runtime"})
    return Step("params", "in the package", traced.by_package, "of this model alone", dict(_flat(card or {})))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values of nested sections."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}".lstrip("."))
    elif prefix:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _manifest(traced: _Traced, lock: Any) -> Step:
    """The prepared manifest, and below it the sources of its images."""
    layout, wanted = traced.layout, traced.tag("data_digest")
    facts = {f"{split} split": digest for split, digest in traced.card.data_digests.items()} if traced.card else {}
    facts = {"sha256": wanted, **facts, "test split": traced.tag("test_digest")}
    places = {"that of this checkout": layout.manifest, "in DVC's cache": find_tracked(layout, lock, layout.manifest)}
    found = [where for where, path in places.items() if path and path.is_file() and sha256_file(path) == wanted]
    sources = _sources(traced, lock, here="that of this checkout" in found)
    state: State = "checked" if found else "missing"
    return Step("prepared manifest", wanted[:12] or "unknown", state, (*found, traced.absent)[0], facts, sources)


def _sources(traced: _Traced, lock: Any, *, here: bool) -> list[Step]:
    """The raw sources with their licences; `here`: the manifest of the checkout is the version's."""
    raw = traced.layout.raw
    bound = find_tracked(traced.layout, lock, raw, SOURCES)
    if bound is None and not here:
        return _packaged_sources(traced)
    note = "dvc.lock names it" if bound else "by this checkout, whose prepared manifest is the version's"
    state: State = "checked" if bound else "told"
    known = Sources.read(bound or raw / SOURCES)
    steps = [_source(ImageLicence.of(source), state, note) for source in known.sources]
    done = known.corrections
    return [*steps, Step("label corrections", done.location, state, done.said, done.changes)] if done else steps


def _packaged_sources(traced: _Traced) -> list[Step]:
    """The raw sources as the package names them, where the fetched ones are not here."""
    path = traced.folder / ARTIFACTS / LICENCES if traced.folder else None
    try:
        known = Licences.read(path) if path and path.is_file() else None
    except DataError:
        known = None
    if known is None:
        return [Step("raw source", "unknown", "missing", traced.absent)]
    return [_source(source, traced.by_package, "by the package") for source in known.images]


def _source(source: ImageLicence, state: State, note: str) -> Step:
    """One raw source with its licences."""
    licences = ", ".join(f"{count:,} {name or 'not stated'}" for name, count in source.licences.items())
    facts = {"licence": source.licence or "not stated", "licences of images": licences, "kind": source.kind}
    facts |= {"location": source.location, "sha256": source.sha256 or "", "images": f"{source.images:,}"}
    return Step("raw source", source.name, state, note, facts)


def _pretrained(traced: _Traced) -> Step:
    """The weights that training began with."""
    if traced.card is None:
        return Step("pretrained weights", "unknown", "missing", "the package says which")
    said, file = traced.card.pretrained, traced.layout.weights / traced.card.model / WEIGHTS
    facts = {name: str(getattr(said, name) or "none") for name in ("licence", "source", "pretraining", "sha256")}
    if traced.card.distil:
        facts["teacher"] = f"{traced.card.distil.teacher} {traced.card.teacher_fingerprint}"
    if said.stored_sha256 is None:
        return Step("pretrained weights", said.weights, traced.by_package, "random ones", facts)
    if file.is_file() and sha256_file(file) == said.stored_sha256:
        return Step("pretrained weights", said.weights, "checked", "the file is here", facts)
    return Step("pretrained weights", said.weights, "told", "by the package; the file is not here", facts)


def _libraries(traced: _Traced) -> Step:
    """Versions of packages: those that trained, those it was registered with, those that serving pins."""
    pins = traced.folder / "requirements.txt" if traced.folder else None
    served = pins.read_text(encoding="utf-8").split() if pins and pins.is_file() else []
    told = {
        "trained": traced.card.versions if traced.card else {},
        "registered": traced.entry.tools if traced.entry else {},
        "served": {name: number for name, _, number in (pin.partition("==") for pin in served) if number},
    }
    found: dict[str, dict[str, list[str]]] = {}
    for when, versions in told.items():
        for name, number in versions.items():
            found.setdefault(name, {}).setdefault(number, []).append(when)
    facts = {name: ", ".join(f"{v} ({', '.join(w)})" for v, w in known.items()) for name, known in found.items()}
    return Step("package versions", f"of {len(facts)} packages", traced.by_package, facts=facts)


def find_images(layout: Layout, given: str) -> "pd.DataFrame":
    """The rows of the prepared manifest that an id, a path within its source, or a file's bytes mean.

    Raises:
        DataError: there is no prepared manifest.
    """
    from podium.data.manifest import PREPARED_COLUMNS, read_manifest

    table = read_manifest(layout.manifest, PREPARED_COLUMNS)
    mine = (table["image_id"] == given) | (table["photo_id"] == given) | (table["path"] == given)
    if Path(given).is_file():
        mine |= table["photo_sha256"] == sha256_file(Path(given))
    return table[mine]


def list_sightings(
    layout: Layout, registered: RegisteredModel, given: str, images: "pd.DataFrame"
) -> Iterator[Sighting]:
    """What each version had to do with an image, oldest version first.

    Args:
        layout: the project's paths.
        registered: the registered model.
        given: an id or a path: what is not among the present images may be among a version's test images.
        images: the rows of the present manifest that are meant.
    """
    from podium.analysis.predictions import read_answers

    present, splits = sha256_file(layout.manifest), set(images["split"])
    record = read_record(layout, registered.name, registered.tags)
    for version in registered.versions:
        same, notes = version.tags.get("podium.data_digest") == present, []
        saw = [said for split, said in _SAW.items() if same and split in splits]
        try:
            with TemporaryDirectory(prefix="podium-lineage-") as folder:
                judged = [artifact_of(layout, registered.name, version, name, Path(folder)) for name in JUDGED]
                digest = evidence_digest(judged)
                answers = read_answers(judged[JUDGED.index(PREDICTIONS)], with_path=True)
        except (DataError, TrackingError) as error:
            notes.append(f"its test images cannot be read ({error})")
        else:
            tested = answers[answers["image_id"].isin([given, *images["image_id"]]) | (answers["path"] == given)]
            saw += [] if tested.empty else ["tested on it"]
            notes += [f"{row.label} named {row.predicted}" for row in tested.itertuples()]
            if version.tags.get("podium.evidence", digest) != digest:
                notes.append("its papers are not those it was registered with")
        changed = changed_since(record, version.version, version.tags)
        notes += [changed] if changed else []
        model = version.tags.get("podium.model", "unknown")
        told = ", ".join(saw) or ("not in its data" if same else "not known: other data")
        yield Sighting(version.version, model, _aliases(registered, version), told, "; ".join(notes))
