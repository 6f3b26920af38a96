"""What the runs of models and studies have in common: links between states, epochs from tables, moments, doubles."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from podium.core.errors import DataError, one_line
from podium.core.layout import HISTORY
from podium.records.training import EpochResult
from podium.tracking.run_writer import NOTE, PARENT, RunWriter, page, run_name, run_tags

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

COMPLETE = "podium.complete"
"""The tag that publish writes last to a run."""


def key_of(run: "Run") -> tuple[str, str]:
    """Of what a run tells: `train` or `tune` (a link tells of what it leads to), and the fingerprint."""
    tags = run.data.tags
    return tags.get("podium.of", tags.get("podium.kind", "")), tags.get("podium.fingerprint", "")


def full_run(writer: RunWriter, run: "Run") -> "Run | None":
    """The run itself, or the one a link leads to; None where that was deleted."""
    if run.data.tags.get("podium.kind") != "link":
        return run
    tags = run.data.tags
    found = writer.find(kind=tags["podium.of"], fingerprint=tags["podium.fingerprint"])
    return next((full for full in found if full.info.run_id == tags["podium.run"]), None)


def is_mine(writer: RunWriter, run: "Run") -> bool:
    """Whether a stage of this workspace wrote a live run."""
    return bool(run.data.tags.get("podium.workspace") == writer.workspace)


def link_below(writer: RunWriter, parent: str, full: "Run", model: str, numbers: Mapping[str, float]) -> None:
    """Puts a link to a run of an earlier state below this state's run, with its main numbers, unless it is there."""
    kind, fingerprint = key_of(full)
    known = {key_of(child): child for child in writer.children(parent)}
    run = known.get((kind, fingerprint))
    if run is None:
        tags = {**run_tags("link", model, fingerprint), "podium.of": kind, PARENT: parent}
        run_id = writer.create(run_name(kind, model), tags, f"stages/{kind}.py", full.info.start_time)
        run = writer.client.get_run(run_id)
    where = page(full.info.experiment_id, full.info.run_id)
    said = f"Nothing ran anew for this state: [{full.info.run_name}]({where}) holds curves, plots and files."
    writer.finish(run.info.run_id, full.info.end_time)
    writer.log_metrics(run.info.run_id, numbers, changed=True)
    writer.set_tags(run, {"podium.run": full.info.run_id, NOTE: said, COMPLETE: full.data.tags[COMPLETE]})


def delete_doubles(writer: RunWriter, kept: "Run") -> None:
    """Deletes live runs of this workspace that tell of the same as a complete one."""
    kind, fingerprint = key_of(kept)
    for run in writer.find(kind=kind, fingerprint=fingerprint):
        if run.info.run_id != kept.info.run_id and COMPLETE not in run.data.tags and is_mine(writer, run):
            writer.client.delete_run(run.info.run_id)


def log_table(writer: RunWriter, run_id: str, table: "pd.DataFrame", when: int | None) -> None:
    """Logs the epochs in a table with the columns of `EpochResult`, leaving out those that the run already has.

    Raises:
        DataError: a row is damaged.
    """
    known = writer.epochs_of(run_id)
    try:
        rows = [EpochResult.model_validate(row) for row in table.to_dict("records")]
    except ValidationError as error:
        raise DataError(f"a {HISTORY} is damaged ({one_line(error)}): run `dvc repro`") from error
    writer.log_epochs(run_id, [row for row in rows if row.epoch not in known], when)


def milliseconds(moment: float | None) -> int | None:
    """A measured moment in seconds since 1970 as MLflow counts it."""
    return None if moment is None else int(1000 * moment)
