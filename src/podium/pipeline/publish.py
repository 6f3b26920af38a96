"""Stage publish: render the report, bring MLflow in line with the files, register the winner once.

The files are the truth. Whatever MLflow lacks is rebuilt from them without training; what it holds is left alone. A
local store is asked with SQL, a server with three requests.
"""

from podium.config.params import Params
from podium.core.layout import Layout
from podium.registry import package, read_only, runs, store, versions
from podium.registry.run_writer import RunWriter
from podium.report import html
from podium.report.results import Results, read_results


def publish_experiment(layout: Layout, params: Params) -> None:
    """Publishes the experiment; a second call changes nothing.

    Raises:
        DataError: a file of an earlier stage is missing.
        ModelError: the packaged model would not predict what its evaluation says.
        TrackingError: MLflow cannot be reached; the report is there all the same.
    """
    results = read_results(layout, params)
    if not html.is_current(layout.report, results.files):
        html.write_report(results)
    uri = store.tracking_uri(layout)
    if read_only.is_published(layout, results):
        _say_nothing_to_do(uri, results)
        return
    client = store.open_client(layout, store.PAUSES)
    with store.translate_errors(uri):
        writer = RunWriter(client, layout, params.experiment)
        parent = runs.find_experiment_run(writer, results)
        if parent is not None and runs.is_complete(parent, results) and versions.is_registered(client, results):
            _say_nothing_to_do(uri, results)
            return
        parent_id = runs.write_experiment_run(writer, results, parent)
        logged = {}
        for model in results.models:
            runs.write_study_run(writer, results, model, parent_id)
            run_id = runs.write_model_run(writer, results, model, parent_id)
            logged[model.name] = package.log_model(client, writer.experiment, results, model, run_id)
        number, new = versions.register(client, results, logged[results.winner.name])
        runs.finish_experiment_run(writer, parent_id, results)
    what = "registered" if new else "kept"
    print(f"{what} {params.publish.registered_model} version {number} ({results.winner.name}) as `candidate`")
    registered = read_only.find_registered(layout, params.publish.registered_model)
    if registered and (fall := read_only.describe_fall(registered)):
        print(f"warning: {fall}", flush=True)
    print("Next:")
    for what, how in (
        ("read the report", layout.report.relative_to(layout.root).as_posix()),
        ("browse every run", "make ui"),
        ("what the gates say", "podium promote candidate --check"),
    ):
        print(f"  {what:<20}{how}")


def _say_nothing_to_do(uri: str, results: Results) -> None:
    """What is said where MLflow holds everything."""
    held = f"{results.params.experiment} {results.state[:8]}"
    print(f"MLflow at {store.public_uri(uri)} holds {held}: nothing to do")
