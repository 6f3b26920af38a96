"""Versions of one registered model: which there are, which holds an alias, and how the winner becomes one.

Each pair of weights and evidence is registered once if it won. New test images, a new validation or other metrics make
a new version of the same weights.
"""

import html
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.analysis.conditions import describe_differences
from podium.analysis.decision import verdict
from podium.config.params import Params
from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.registry import store
from podium.registry.evidence import CANDIDATE
from podium.registry.package import identity_tags, is_whole, same_tags, send_package
from podium.report.results import Results, commit_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


_LISTED = 12  # classes named on a version's card


@dataclass(frozen=True)
class Registry:
    """One registered model of one store."""

    client: "MlflowClient"
    uri: str
    name: str

    def model(self) -> "RegisteredModel":
        """The registered model with its tags and aliases.

        Raises:
            TrackingError: nothing is registered under the name.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise TrackingError(
                f"no model is registered as {self.name!r}: run `dvc repro`, whose last stage registers the winner"
            ) from error

    def aliases(self) -> dict[str, str]:
        """Version by alias."""
        return {alias: str(version) for alias, version in self.model().aliases.items()}

    def version(self, number: str) -> "ModelVersion | None":
        """One version, or None where it does not exist (any more)."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version(self.name, number)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def resolve(self, wanted: str) -> "ModelVersion":
        """The version meant by a number or by `candidate`.

        Raises:
            TrackingError: there is none.
        """
        aliases = self.aliases()
        number = aliases.get(CANDIDATE) if wanted == CANDIDATE else wanted
        if number is None:
            raise TrackingError(f"{self.name} has no version with the alias `candidate`: run `dvc repro publish`")
        found = self.version(number)
        if found is None:
            there = ", ".join(str(v.version) for v in self.versions()) or "none"
            raise TrackingError(f"{self.name} has no version {number} (versions: {there}): see `podium status`")
        return found

    def versions(self) -> "list[ModelVersion]":
        """All versions, oldest first."""
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self.client.search_model_versions(f"name='{self.name}'", max_results=1000, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                return sorted(found, key=lambda version: int(version.version))


def open_registry(layout: Layout, params: Params) -> Registry:
    """The registered model that `params.yaml` names."""
    return Registry(store.open_client(layout), store.tracking_uri(layout), params.publish.registered_model)


def is_registered(client: "MlflowClient", results: Results) -> bool:
    """Whether the winner is a version that says how it won, `candidate` is on it, and its package is there."""
    found = find_version(client, results)
    if found is None or _changed_tags(found, results):
        return False
    registered = client.get_registered_model(found.name)
    return str(registered.aliases.get(CANDIDATE)) == str(found.version) and is_whole(
        client.get_model_version_download_uri(found.name, found.version), results.winner
    )


def find_version(client: "MlflowClient", results: Results) -> "ModelVersion | None":
    """The version of the winner's weights and evidence under the name in params.yaml; the newest of several."""
    name = results.params.publish.registered_model
    found = client.search_model_versions(f"name = '{name}' and {same_tags(results.winner)}")
    return max(found, key=lambda version: int(version.version), default=None)


def register(client: "MlflowClient", results: Results, model_id: str) -> tuple[str, bool]:
    """Registers the winner, unless it is, and moves the alias `candidate` to it.

    A version is of weights and evidence; what it won against may change, so its tags about that are brought up to date.

    Returns:
        The version's number, and whether it is new.
    """
    name = results.params.publish.registered_model
    found = find_version(client, results)
    if found is None:
        _create_name(client, name, results)
        made = client.create_model_version(
            name,
            source=f"models:/{model_id}",
            run_id=client.get_logged_model(model_id).source_run_id,
            tags=version_tags(results),
            model_id=model_id,
        )
        version = str(made.version)
        client.update_model_version(name, version, description(results, version))
        _show_in_model(client, model_id, name, version)
    else:
        version = str(found.version)
        _tell_how_it_won(client, found, results)
        place = client.get_model_version_download_uri(name, version)
        if not is_whole(place, results.winner):  # its logged model was deleted, with its files
            run_id = client.get_logged_model(model_id).source_run_id
            send_package(results, results.winner, place, model_id, run_id)
        _show_in_model(client, model_id, name, version)
    if str(client.get_registered_model(name).aliases.get(CANDIDATE)) != version:
        client.set_registered_model_alias(name, CANDIDATE, version)
    return version, found is None


def version_tags(results: Results) -> dict[str, str]:
    """What lineage and promotion look up on a version."""
    best = results.winner
    relaxed = [f"{result.id}: {result.because}" for result in results.validation.results if result.relaxed]
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
    }


def description(results: Results, version: str) -> str:
    """The version's card, in Markdown: what it is, how good, on which data, and how to load and serve it."""
    from podium.report.html import USE_CURL, USE_IN_PYTHON, USE_SERVER

    best, m = results.winner, results.winner.metrics
    place = "provisional leader" if results.decision.outcome == "undecided" else "winner"
    how = " ".join([verdict(results.decision), *describe_differences(results.decision.differences)])
    uri = store.told_uri(results.layout)
    model, classes = f"models:/{results.params.publish.registered_model}/{version}", best.card.classes
    licences = ", ".join(sorted({source.licence or "not stated" for source in results.sources.sources})) or "not stated"
    return f"""\
**{best.card.architecture}**, {place} of experiment {results.params.experiment}: \
right on {m.accuracy.value:.1%} of {m.images} test images it had never seen ({m.accuracy.low:.1%} to \
{m.accuracy.high:.1%}), macro F1 {m.macro_f1.value:.3f}. {how}

| | |
|---|---|
| classes | {len(classes)}: {", ".join(map(_plain, classes[:_LISTED]))}{", ..." if len(classes) > _LISTED else ""} |
| input | one image file, base64; resized to {best.card.preprocessing.image_size} px |
| starts from | {best.card.pretrained.weights} |
| parameters | {m.parameters / 1e6:.1f} M, {m.flops / 1e9:.3f} GFLOPs an image |
| licence of the images | {_plain(licences)} |

In the project's folder, in Python:

```python
{USE_IN_PYTHON.format(model=model, uri=uri)}
```

Or over HTTP; the second command goes into another terminal:

```sh
{USE_SERVER.format(model=model, uri=uri)}
```
```sh
{USE_CURL}
```
"""


def _plain(text: str) -> str:
    """A text from people as a cell of a Markdown table shows it: as it is, never as markup."""
    return re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", html.escape(text, quote=False))


def _changed_tags(version: "ModelVersion", results: Results) -> dict[str, str]:
    """Tags about the comparison that the version lacks or has with another value; the commit, once there is one."""
    told = {**results.comparison_tags, **commit_tags(results.layout.root, version.tags)}
    return {key: value for key, value in told.items() if version.tags.get(key) != value}


def _tell_how_it_won(client: "MlflowClient", version: "ModelVersion", results: Results) -> None:
    """Brings the tags about the comparison up to date, and the description where one of them changed."""
    changed = _changed_tags(version, results)
    for key, value in changed.items():
        client.set_model_version_tag(version.name, version.version, key, value)
    if changed:
        client.update_model_version(version.name, version.version, description(results, str(version.version)))


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
        client.create_registered_model(name, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
