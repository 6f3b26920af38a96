"""publish: render the report, bring MLflow in line with the files, register the winner once.

The files are the truth. Whatever MLflow lacks is rebuilt from them without training; what it holds is left alone, and
asking costs three requests. Depends on the `registry` room.
"""

from podium.config.params import Params
from podium.core.layout import Layout
from podium.registry import registration, runs, store, study_runs
from podium.registry.outcome import Outcome, read_outcome


def run(layout: Layout, params: Params) -> None:
    """Publishes the experiment; a second call changes nothing.

    Args:
        layout: the project's paths.
        params: the experiment in force.

    Raises:
        DataError: a file of an earlier stage is missing.
        ModelError: the packaged model would not predict what its evaluation says.
        TrackingError: MLflow cannot be reached; the report is there all the same.
    """
    outcome = read_outcome(layout, params)
    _render(outcome)
    uri = store.tracking_uri(layout)
    client = store.client(layout, store.PAUSES)
    with store.reaching(uri):
        experiment = store.experiment_id(client, layout, params.experiment)
        parent = runs.find_parent(client, experiment, outcome)
        if parent is not None and runs.is_complete(parent, outcome) and registration.is_registered(client, outcome):
            print(f"MLflow at {store.shown(uri)} holds {params.experiment} {outcome.state[:8]}: nothing to do")
            return
        parent_id = runs.write_parent(client, experiment, outcome, parent)
        models = {}
        for contender in outcome.contenders:
            study_runs.write_study(client, experiment, outcome, contender, parent_id)
            run_id = runs.write_child(client, experiment, outcome, contender, parent_id)
            models[contender.name] = registration.log_model(client, experiment, outcome, contender, run_id)
        version, new = registration.register(client, outcome, models[outcome.winner.name])
        runs.finish_parent(client, parent_id, outcome)
    what = "registered" if new else "kept"
    print(f"{what} {params.publish.registered_model} version {version} ({outcome.winner.name}) as `candidate`")
    print(f"report: {layout.report}")


def _render(outcome: Outcome) -> None:
    """Renders the report unless it shows the present files already."""
    from podium.registry import report

    if report.shows(outcome.layout.report, outcome.files):
        return
    report.write(outcome)
