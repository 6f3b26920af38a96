"""Stage publish: copy small text for git, render the report, bring MLflow in line with the files, register the winner.

It first measures what the models cost to run on this machine, once, and what more images would bring, where that is
asked for. The files are the truth: whatever MLflow lacks is
rebuilt from them without training; what it holds is left alone. A local store is asked with SQL, a server with three
requests.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from podium.config.params import Params
from podium.console.openings import keep_openings
from podium.console.origins import note_results
from podium.core.errors import DataError, TrackingError
from podium.core.files import write_text
from podium.core.layout import DECISION, LEADERBOARD, METRICS, MODEL_CARD, REPEATS, Layout
from podium.records.evaluation import Decision
from podium.records.training import LearningCurve, ModelCard, add_times, read_times
from podium.registry import holder, package, read_only, versions
from podium.report import html
from podium.report.results import Results, read_results
from podium.tracking import locks, runs, store, study_runs
from podium.tracking.run_writer import RunWriter, page

_NAMED = 3  # killed runs


def publish_experiment(layout: Layout, params: Params) -> None:
    """Publishes the experiment; a second call changes nothing.

    Raises:
        DataError: a file of an earlier stage is missing.
        ModelError: the packaged model would not predict what its evaluation says.
        TrackingError: MLflow cannot be reached; the report is there all the same.
    """
    _bring_in_line(layout, params)
    note_results(layout)


def _bring_in_line(layout: Layout, params: Params) -> None:
    """Writes the report, and what MLflow lacks of the experiment."""
    _copy_reports(layout, list(params.models), params.further_seeds)
    _measure_costs(layout, params)
    _measure_learning_curve(layout, params)
    with suppress(DataError):  # which the report tells, too
        keep_openings(layout)  # with the lines that a checkout took away
    results = read_results(layout, params)
    _write_report(results)
    print(f"{'warning: ' if results.openings.spent else ''}{results.openings.said}", flush=True)
    uri = store.tracking_uri(layout)
    registers = layout.root == layout.main_root or params.publish.register_queued
    if read_only.is_published(layout, results, registers):
        _say_nothing_to_do(uri, results)
        return
    client = store.open_client(layout, store.PAUSES)
    with store.translate_errors(uri):
        writer = RunWriter(client, layout, params.experiment)
        if not _is_published(writer, results, registers):
            with locks.exclusive(client, uri, locks.publishing(params.experiment)) as check:
                if not _is_published(writer, results, registers):  # by another process, meanwhile
                    _publish(writer, results, registers, check)
                    _write_report(results)  # of a store that was made or mended only now, it may say more
                    return
    _say_nothing_to_do(uri, results)


def _copy_reports(layout: Layout, models: Sequence[str], seeds: Sequence[int]) -> None:
    """What git keeps of the results, in `reports/`.

    Copies, for DVC never restores a stage from its run cache that has a file of git's among its outputs.
    """
    copies = {layout.validation_report: layout.validation_copy}
    copies |= {layout.comparison / name: layout.comparison_report / name for name in (LEADERBOARD, DECISION)}
    copies |= {layout.evaluation(model) / METRICS: layout.evaluation_report(model) / METRICS for model in models}
    copies |= {
        layout.repeat_evaluation(model, seed) / METRICS: layout.evaluation_report(model) / REPEATS / f"{seed}.json"
        for model in models
        for seed in seeds
    }
    for source, target in copies.items():
        if not source.is_file():
            raise DataError(f"{source} does not exist: run `dvc repro` to make it")
        write_text(target, source.read_text(encoding="utf-8"))


def _measure_costs(layout: Layout, params: Params) -> None:
    """Notes what the models cost to run, on validation images, unless all of them were measured here before."""
    cards = {name: ModelCard.read(layout.model(name) / MODEL_CARD) for name in params.models}
    if all("images_per_second" in read_times(layout, card.fingerprint) for card in cards.values()):
        return
    from podium.data.shards import open_for_fitting
    from podium.models.cost import measure_costs
    from podium.models.inference import load_classifier

    validation, size = open_for_fitting(layout.prepared, "val"), params.evaluate.batch_size
    images = validation.images(np.arange(min(size, len(validation)), dtype=np.int64))
    costs = measure_costs([load_classifier(layout.model(name), params.runtime) for name in cards], images, size)
    for card, cost in zip(cards.values(), costs, strict=True):
        add_times(layout, card.fingerprint, cost.measured)


def _measure_learning_curve(layout: Layout, params: Params) -> None:
    """Makes the winner's learning curve where `compare.learning_curve` asks for it, unless it is there."""
    decision = Decision.read(layout.comparison / DECISION)
    there = layout.learning_curve.is_file() and LearningCurve.read(layout.learning_curve)
    if params.compare.learning_curve and (not there or there.fingerprint != decision.fingerprint):
        from podium.analysis.learning_curve import measure_learning_curve

        measure_learning_curve(layout, params, decision.winner)


def _write_report(results: Results) -> None:
    """Renders the report, unless it is up to date; MLflow is asked which version is in use.

    Raises:
        TrackingError: MLflow does not answer; the report is written without.
    """
    against, problem = "", None
    try:
        name = results.params.publish.registered_model
        against = _against_holder(results, read_only.find_registered(results.layout, name, store.PAUSES))
    except TrackingError as error:
        problem = error
    registered = html.Registered(store.told_uri(results.layout), against)
    if not html.is_current(results, registered):
        html.write_report(results, registered)
    if problem is not None:
        raise problem


def _against_holder(results: Results, registered: read_only.RegisteredModel | None) -> str:
    """The winner against the version at `staging`, in a sentence."""
    name, rules = results.winner.name, results.params.compare
    versus = holder.compare_with_holder(results.layout, registered, results.leaderboard, name, rules)
    return versus.said if versus else f"nothing is at {holder.HOLDER} yet."


def _is_published(writer: RunWriter, results: Results, registers: bool) -> bool:
    """Whether MLflow holds every run of this state, and the winner's version where it is to be one."""
    parent = runs.find_experiment_run(writer, results)
    if parent is None or not runs.is_complete(writer, parent, results):
        return False
    if not package.are_logged(writer.client, writer.experiment, results):
        return False
    if writer.find_killed() or package.find_unfinished(writer.client, writer.experiment):
        return False
    return not registers or versions.is_registered(writer.client, results)


def _publish(writer: RunWriter, results: Results, registers: bool, check: Callable[[], None]) -> None:
    """Writes what is missing; `check` refuses to go on where the lock was lost."""
    client, params = writer.client, results.params
    parent_id = runs.write_experiment_run(writer, results, runs.find_experiment_run(writer, results))
    logged = {}
    for model in results.models:
        check()
        study_runs.write_study_run(writer, results, model, parent_id)
        runs.write_repeat_runs(writer, results, model, parent_id)
        run_id = runs.write_model_run(writer, results, model, parent_id)
        model_id, built = package.log_model(client, writer.experiment, results, model, run_id)
        runs.finish_model_run(writer, results, model, parent=parent_id, run_id=run_id, model_id=model_id)
        package.show_in_run(client, parent_id, model_id)
        logged[model.name] = model_id, built
    if not registers:
        _finish(writer, results, parent_id)
        print(
            f"published the runs of {results.winner.name} and what it met, and no version: this workspace will be "
            "deleted (-S publish.register_queued=true registers all the same); the report is in MLflow's run"
        )
        return
    check()
    number, new = versions.register(client, results, *logged[results.winner.name])
    _finish(writer, results, parent_id)
    what = "registered" if new else "kept"
    print(f"{what} {params.publish.registered_model} version {number} ({results.winner.name}) as `candidate`")
    registered = read_only.find_registered(results.layout, params.publish.registered_model)
    if against := _against_holder(results, registered):
        print(against)
    if registered and (fall := holder.describe_fall(registered)):
        print(f"warning: {fall}", flush=True)
    uri = store.tracking_uri(results.layout)
    server = store.public_uri(uri).rstrip("/")
    if not store.is_server(uri):
        start = "make ui" if store.is_local(uri) else f"mlflow ui --backend-store-uri {server}"
        server = f"{start}, http://127.0.0.1:5000"
    print("Next:")
    for what, how in (
        ("read the report", results.layout.report.relative_to(results.layout.root).as_posix()),
        ("browse every run", f"{server}/{page(writer.experiment)}"),
        ("what the gates say", "podium promote candidate --check"),
    ):
        print(f"  {what:<20}{how}")


def _finish(writer: RunWriter, results: Results, parent: str) -> None:
    """Ends the experiment's run, and what kills left that nobody goes on with: a study whose params changed, say."""
    runs.finish_experiment_run(writer, parent, results)
    killed, unfinished = writer.find_killed(), package.find_unfinished(writer.client, writer.experiment)
    for run in killed:
        writer.finish(run.info.run_id, None, "KILLED")
    for logged in unfinished:
        writer.client.delete_logged_model(logged.model_id)
    if killed:
        names = ", ".join(str(run.info.run_name) for run in killed[:_NAMED])
        print(f"{len(killed)} runs of stages that were killed were marked as such: {names}")
    if unfinished:
        print(f"{len(unfinished)} models whose upload was killed were deleted")


def _say_nothing_to_do(uri: str, results: Results) -> None:
    """What is said where MLflow holds everything."""
    held = f"{results.params.experiment} {results.state[:8]}"
    print(f"MLflow at {store.public_uri(uri)} holds {held}: nothing to do")
