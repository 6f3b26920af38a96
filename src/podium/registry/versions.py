"""How the winner becomes a version of the registered model.

Each pair of weights and evidence is registered once if it won. New test images, a new validation or other metrics make
a new version of the same weights.
"""

import html
import json
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from podium.analysis.conditions import describe_differences
from podium.analysis.decision import verdict
from podium.core.layout import EXPORTS, LICENCES_TEXT
from podium.records.audit import AuditEntry
from podium.registry import audit
from podium.registry.audit import AuditRecord
from podium.registry.evidence import CANDIDATE, digest_tags, digests_of
from podium.registry.moves import check_not_archived
from podium.registry.package import identity_tags, is_whole, same_tags, send_package
from podium.registry.registered_model import Registry
from podium.report.results import Results, commit_tags
from podium.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


_LISTED = 12  # classes named on a version's card


def is_registered(client: "MlflowClient", results: Results) -> bool:
    """Whether the winner is a version on record that says how it won, `candidate` is on it, its package is there."""
    name = results.params.publish.registered_model
    held = client.search_registered_models(f"name = '{name}'")
    if not held:
        return False
    record = audit.read_record(results.layout, name, held[0].tags)
    found = find_version(client, results, record)
    if found is None or _changed_tags(found, results):
        return False
    entry = record.registration(str(found.version))
    return (
        entry is not None
        and digest_tags(found.tags) == entry.version.tags
        and str(client.get_registered_model(name).aliases.get(CANDIDATE)) == str(found.version)
        and is_whole(
            client.get_model_version_download_uri(found.name, found.version),
            results.winner,
            entry.version.package,
            wanted=results.params.publish.export,
        )
    )


def find_version(client: "MlflowClient", results: Results, record: AuditRecord) -> "ModelVersion | None":
    """The version of the winner's weights and evidence; the newest of several, one on record before all others."""
    name = results.params.publish.registered_model
    found = client.search_model_versions(f"name = '{name}' and {same_tags(results.winner)}")
    on_record = [version for version in found if record.registration(str(version.version))]
    return max(on_record or found, key=lambda version: int(version.version), default=None)


def register(client: "MlflowClient", results: Results, model_id: str, built: str | None) -> tuple[str, bool]:
    """Registers the winner, unless it is, puts it on record and moves the alias `candidate` to it.

    A version is of weights and evidence; what it won against may change, so its tags about that are brought up to date.
    A version that is not on record, or is not what the record says, is made anew from the files.

    Args:
        client: of the store.
        results: the experiment in force.
        model_id: the winner's logged model.
        built: the digest of its package where it was built and sent just now.

    Returns:
        The version's number, and whether it is new.

    Raises:
        PromotionRefused: the record does not hold, or the winner's version was archived.
    """
    layout, name = results.layout, results.params.publish.registered_model
    registry = Registry(client, store.tracking_uri(layout), name, layout)
    with registry.lock(waits=True):
        _create_name(client, name, results)
        record = registry.record()
        record.check()
        found = find_version(client, results, record)
        entry = record.registration(str(found.version)) if found else None
        if found is not None:
            check_not_archived(record, str(found.version))
        if entry is None and found is not None and found.source != f"models:/{model_id}":
            found = None  # not made by Podium from this model: its package is somebody else's
        sent = built if found is None or found.source == f"models:/{model_id}" else None  # else to another place
        package = sent or _package_in_place(client, results, found, entry, model_id)
        if found is None:
            version, tags = _create_version(client, results, model_id)
        else:
            version, tags = str(found.version), _bring_tags_up_to_date(client, found, results, entry)
        _show_in_model(client, model_id, name, version)
        held, digests = registry.aliases().get(CANDIDATE), digests_of(tags, package)
        if entry is None or entry.version != digests or held != version:
            reason = (
                "registered" if entry is None else "won again" if entry.version == digests else "brought up to date"
            )
            registry.set_alias(
                registry.append("register", CANDIDATE, holder=held, number=version, reason=reason, version=digests)
            )
    return version, found is None


def _package_in_place(
    client: "MlflowClient",
    results: Results,
    found: "ModelVersion | None",
    entry: AuditEntry | None,
    model_id: str,
) -> str:
    """The digest of the winner's package: on record and in place, or else built from the files and sent anew."""
    logged = client.get_logged_model(model_id)
    place = str(logged.artifact_location)
    if found is not None:
        place = client.get_model_version_download_uri(found.name, found.version)
    wanted = results.params.publish.export
    if entry is not None and is_whole(place, results.winner, entry.version.package, wanted=wanted):
        return entry.version.package
    return send_package(results, results.winner, place, model_id, logged.source_run_id)


def _create_version(client: "MlflowClient", results: Results, model_id: str) -> tuple[str, dict[str, str]]:
    """A new version of the winner's logged model: its number and its tags."""
    name, tags = results.params.publish.registered_model, version_tags(results)
    run_id = client.get_logged_model(model_id).source_run_id
    made = client.create_model_version(name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id)
    version = str(made.version)
    client.update_model_version(name, version, description(results, version))
    return version, tags


def version_tags(results: Results) -> dict[str, str]:
    """What lineage and promotion look up on a version."""
    best = results.winner
    relaxed = [f"{result.id}: {result.because}" for result in results.validation.results if result.relaxed]
    corrections = results.sources.corrections
    return {
        **identity_tags(best),
        "podium.weights_sha256": best.card.weights_sha256,
        "podium.data_digest": results.validation.manifest_sha256,
        "podium.test_digest": best.metrics.test_digest,
        "podium.test_images": results.test_images,
        "podium.validation_passed": str(results.validation.passed).lower(),
        **commit_tags(results.layout.root, {}),
        "podium.dvc_lock_sha256": results.dvc_lock,
        "podium.state": results.state,
        "podium.accuracy": repr(best.metrics.accuracy.value),
        "podium.macro_f1": repr(best.metrics.macro_f1.value),
        **results.comparison_tags,
        **({"podium.relaxed": "; ".join(relaxed)} if relaxed else {}),
        **({"podium.corrections": corrections.said} if corrections else {}),
    }


def description(results: Results, version: str) -> str:
    """The version's card, in Markdown: what it is, how good, on which data, and how to load and serve it."""
    from podium.report.html import USE_CURL, USE_IN_PYTHON, USE_SERVER

    best, m = results.winner, results.winner.metrics
    place = "provisional leader" if results.decision.outcome == "undecided" else "winner"
    how = " ".join([verdict(results.decision), *describe_differences(results.decision.differences)])
    uri = store.told_uri(results.layout)
    model, classes = f"models:/{results.params.publish.registered_model}/{version}", best.card.classes
    start = "random weights" if best.card.pretrained.weights == "none" else best.card.pretrained.licence
    licences = ", ".join(sorted({source.licence or "not stated" for source in results.sources.sources})) or "not stated"
    return f"""\
**{best.card.architecture}**, {place} of experiment {results.params.experiment}: \
right on {m.accuracy.value:.1%} of {m.images} test images it had never seen ({m.accuracy.low:.1%} to \
{m.accuracy.high:.1%}), macro F1 {m.macro_f1.value:.3f}. {how}

| | |
|---|---|
| classes | {len(classes)}: {", ".join(map(plain, classes[:_LISTED]))}{", ..." if len(classes) > _LISTED else ""} |
| input | one image file, base64; resized to {best.card.preprocessing.image_size} px |
| starts from | {best.card.pretrained.weights} |
| parameters | {m.parameters / 1e6:.1f} M, {m.flops / 1e9:.3f} GFLOPs an image |
| licence of the images | {plain(licences)} |
| licence of the first weights | {plain(start)} |
| also as | {", ".join(results.params.publish.export) or "nothing else"}: `{EXPORTS}` says how near |
| who is to be named | `{LICENCES_TEXT}` in the files of this version |

In the project's folder, in Python:

```python
{USE_IN_PYTHON.format(model=model, uri=uri)}
```

Or over HTTP, with a page to try it in a browser; the second command goes into another terminal:

```sh
{USE_SERVER.format(model=model, uri=uri)}
```
```sh
{USE_CURL}
```
"""


def plain(text: str) -> str:
    """A text from people as a cell of a Markdown table shows it: as it is, never as markup."""
    return re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", html.escape(text, quote=False))


def _changed_tags(version: "ModelVersion", results: Results) -> dict[str, str]:
    """Tags about the comparison that the version lacks or has with another value; the commit, once there is one."""
    told = {**results.comparison_tags, **commit_tags(results.layout.root, version.tags)}
    return {key: value for key, value in told.items() if version.tags.get(key) != value}


def _bring_tags_up_to_date(
    client: "MlflowClient", version: "ModelVersion", results: Results, entry: AuditEntry | None
) -> dict[str, str]:
    """Sets what changed of a version's tags and description; all tags, where they are not those on record.

    Returns:
        The tags that the version has then.
    """
    known: Mapping[str, str] = version.tags
    if entry is None or digest_tags(known) != entry.version.tags:
        wanted = version_tags(results)
        for key in [key for key in known if key.startswith("podium.") and key not in wanted]:
            client.delete_model_version_tag(version.name, version.version, key)
        known, changed = {}, wanted
    else:
        changed = _changed_tags(version, results)
    for key, value in changed.items():
        client.set_model_version_tag(version.name, version.version, key, value)
    if changed:
        client.update_model_version(version.name, version.version, description(results, str(version.version)))
    return {**known, **changed}


def _show_in_model(client: "MlflowClient", model_id: str, name: str, version: str) -> None:
    """The tag MLflow's UI reads to link a logged model with its registered versions."""
    key = "mlflow.modelVersions"
    try:
        known = json.loads(client.get_logged_model(model_id).tags.get(key, "[]"))
    except (ValueError, RecursionError):  # somebody edited it
        known = []
    versions, mine = known if isinstance(known, list) else [], {"name": name, "version": version}
    if mine not in versions:
        client.set_logged_model_tags(model_id, {key: json.dumps([*versions, mine])})


def _create_name(client: "MlflowClient", name: str, results: Results) -> None:
    """Makes the registered model, unless it is there."""
    from mlflow.exceptions import MlflowException

    about = (
        f"Winners of {results.params.experiment}, one version per pair of weights and evidence, made by Podium. "
        f"`models:/{name}@staging` is the promoted one, `models:/{name}@candidate` the newest winner; each version's "
        "page says how to load and serve it. `podium history` shows who promoted what."
    )
    try:
        client.create_registered_model(name, tags={audit.STORE: secrets.token_hex(8)}, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if audit.STORE not in client.get_registered_model(name).tags:  # made by hand, or before there was a record
            client.set_registered_model_tag(name, audit.STORE, secrets.token_hex(8))
