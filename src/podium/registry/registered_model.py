"""One registered model of one store: its versions, its aliases, and the one way its record grows and an alias moves."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from filelock import Timeout

from podium.config.params import Params
from podium.console.process import utc_now, whoami
from podium.core.errors import PromotionRefused, TrackingError, told
from podium.core.identity import library_versions
from podium.core.layout import Layout
from podium.records.audit import (
    EVENT,
    MOVED,
    Action,
    AuditEntry,
    GateResult,
    Refusal,
    VersionDigests,
    next_number,
)
from podium.registry import audit, audit_file
from podium.registry.audit import AuditRecord
from podium.registry.evidence import CANDIDATE
from podium.tracking import locks, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


@dataclass(frozen=True)
class Registry:
    """One registered model of one store."""

    client: "MlflowClient"
    uri: str
    name: str
    layout: Layout

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

    def record(self) -> AuditRecord:
        """The audit record; what the file of this clone lacks of it is fetched, and written there if all holds."""
        fetch = audit.fetcher(self.client, self.name)
        found = audit.read_record(self.layout, self.name, self.model().tags, fetch)
        if not found.problems:
            audit_file.write_file(self.layout, self.name, [*found.elsewhere, *found.entries])
        return found

    def account(self) -> str | None:
        """The account that the server knows this process by; None without accounts."""
        return store.account_of(self.uri)

    @contextmanager
    def lock(self, *, waits: bool) -> Iterator[None]:
        """Lets one process at a time append to the record and move aliases; it does not outlive its process for long.

        Raises:
            PromotionRefused: another one is at work, in a local store, and is not waited for.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.exclusive(self.client, self.uri, locks.promoting(self.name), waits=waits))
            except Timeout as error:
                raise PromotionRefused(
                    f"another promotion of {self.name} is running: wait for it, see `podium history`, then try again"
                ) from error
            yield

    def append(
        self,
        action: Action,
        alias: str,
        *,
        holder: str | None,
        number: str,
        reason: str,
        version: VersionDigests,
        gates: Sequence[GateResult] = (),
        days: int | None = None,
    ) -> AuditEntry:
        """Writes what happens to the record; to be called under the lock, before an alias moves.

        `holder` is the version that the alias is on now, `number` the one it goes to, which is as `version` says. An
        approval holds for so many `days`.

        Raises:
            PromotionRefused: the record does not hold.
        """
        record, found, now = self.record(), self.version(number), utc_now()
        now = max([now, *(entry.when for entry in record.entries[-1:])])  # no clock that is behind breaks the order
        entry = AuditEntry(
            number=next_number(record.entries),
            store=record.store,
            when=now,
            who=whoami(),
            action=action,
            alias=alias,
            from_version=holder,
            to_version=number,
            reason=reason,
            forced=any(not gate.passed for gate in gates),
            gates=list(gates),
            version=version,
            tools=library_versions(),
            account=self.account(),
            expires=None if days is None else (datetime.fromisoformat(now) + timedelta(days=days)).isoformat(),
        )
        return audit.append_entry(self.client, self.layout, record, entry, found.run_id if found else None)

    def set_alias(self, entry: AuditEntry) -> None:
        """Moves an alias as an entry says, and notes that it arrived."""
        self.client.set_registered_model_alias(self.name, entry.alias, entry.to_version)
        self.client.set_registered_model_tag(self.name, f"{MOVED}{entry.alias}", str(entry.number))
        self.announce(entry.to_version, entry)

    def announce(self, number: str, event: AuditEntry | Refusal) -> None:
        """Tells a server's webhooks what was done to a version, by a tag of it; nothing else would send it on."""
        if store.is_server(self.uri):
            text = event.model_dump_json(by_alias=True, exclude={"gates", "tools", "previous"})
            self.client.set_model_version_tag(self.name, number, EVENT, text)

    @contextmanager
    def announcing_refusals(
        self, asked: Literal["promote", "rollback"], alias: str, to: str | None, reason: str
    ) -> Iterator[None]:
        """Announces a refusal inside the block: of a promotion on the version that was to move, else on the holder.

        An account that may only read announces nothing.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except PromotionRefused as refused:
            number = str(self.resolve(to).version) if asked == "promote" and to else self.aliases().get(alias)
            event = Refusal(
                asked=asked,
                when=utc_now(),
                who=whoami(),
                account=self.account(),
                alias=alias,
                to=number if asked == "promote" else to,
                reason=reason,
                refused=told(refused),
            )
            try:
                if number is not None:
                    self.announce(number, event)
            except MlflowException as error:
                if error.get_http_status_code() != HTTPStatus.FORBIDDEN:
                    raise
            raise

    def mirror_stages(self, record: AuditRecord, alias: str, number: str) -> None:
        """Moves the deprecated stages, which older clients read, to where they are once an alias is at a version."""
        before = self.aliases()
        wanted = record.stages({**before, alias: number})
        for version in sorted({*before.values(), number}):
            found = self.version(version)
            if found is None or (version not in wanted and found.current_stage not in audit.STAGES.values()):
                continue
            self.set_stage(version, wanted.get(version, "Archived"))

    def set_stage(self, number: str, stage: str) -> None:
        """Moves a version to a deprecated stage, out of which others go: MLflow's own way fails on PostgreSQL."""
        shared = stage in audit.STAGES.values()
        others = [v for v in self.versions() if shared and v.current_stage == stage and str(v.version) != number]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            for other in others:
                self.client.transition_model_version_stage(self.name, str(other.version), "Archived")
            self.client.transition_model_version_stage(self.name, number, stage)

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
    return Registry(store.open_client(layout), store.tracking_uri(layout), params.publish.registered_model, layout)
