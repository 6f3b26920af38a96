"""Versions of one registered model: which there are, which holds an alias. MLflow is imported on use."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.config.params import Params
from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.registry import store
from podium.registry.evidence import CANDIDATE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


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
    """The registered model that `params.yaml` names.

    Raises:
        TrackingError: the store does not answer.
    """
    return Registry(store.client(layout), store.tracking_uri(layout), params.publish.registered_model)
