"""The runs of trainings with further seeds, made from files: below the experiment's run, beside those of its models."""

from podium.core.layout import HISTORY
from podium.registry.run_links import COMPLETE, delete_doubles, link_below, log_table, milliseconds
from podium.registry.run_writer import PARENT, RunWriter, run_name, run_tags
from podium.registry.runs import main_numbers, metrics_of, parameters_of
from podium.report.results import ModelResults, Results, TrainedResults, read_table


def write_repeat_runs(writer: RunWriter, results: Results, model: ModelResults, parent: str) -> None:
    """Brings the runs of a model's further seeds in line with the files, adopting the live ones of their training."""
    for repeat in model.repeats:
        _write_run(writer, results, model.name, repeat, parent)


def _write_run(writer: RunWriter, results: Results, name: str, repeat: TrainedResults, parent: str) -> None:
    """Fills the run of one training; where an earlier state has it, a link below this state's run leads there."""
    fingerprint, seed = repeat.card.fingerprint, repeat.card.seed
    found = writer.find(kind="repeat", fingerprint=fingerprint)
    tags = {**run_tags("repeat", name, fingerprint), "podium.seed": str(seed)}
    if found:
        run = max(found, key=lambda known: COMPLETE in known.data.tags)
        run_id = str(run.info.run_id)
        writer.set_tags(run, tags if PARENT in run.data.tags else {**tags, PARENT: parent})
    else:
        begun = milliseconds(repeat.times.get("started"))
        run_id = writer.create(run_name("repeat", name), {**tags, PARENT: parent}, "stages/repeat.py", begun)
        run = writer.client.get_run(run_id)
    writer.client.update_run(run_id, name=f"{name}: seed {seed}")
    writer.log_parameters(run_id, {k: v for k, v in parameters_of(repeat).items() if k not in run.data.params})
    end = milliseconds(repeat.times.get("ended"))
    log_table(writer, run_id, read_table(results.layout.repeat(name, seed) / HISTORY), end)
    writer.finish(run_id, end)
    writer.log_metrics(run_id, metrics_of(repeat), changed=True)
    writer.set_tags(run, {COMPLETE: repeat.evidence})
    run = writer.client.get_run(run_id)
    if run.data.tags.get(PARENT) != parent:
        link_below(writer, parent, run, name, main_numbers(repeat))
    delete_doubles(writer, run)
