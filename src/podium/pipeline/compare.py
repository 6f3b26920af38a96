"""Stage compare: rank the models, test the difference between the best two, name a winner and the reason.

Reads the files of the evaluations only; starts without torch.
"""

import shutil

from podium.analysis.leaderboard import decide, leaderboard_table, rank
from podium.analysis.predictions import read_answers
from podium.analysis.statistics import mcnemar
from podium.config.judging import Compare
from podium.console.terminal import console
from podium.core.errors import DataError
from podium.core.files import replacing_folder
from podium.core.layout import DECISION, LEADERBOARD, METRICS, PREDICTIONS, Layout
from podium.records.evaluation import Metrics, PairedTest, round_floats
from podium.records.validate import ValidationReport


def compare_models(layout: Layout, models: list[str], compare: Compare) -> None:
    """Writes `leaderboard.json` and `decision.json`, and prints both.

    Results of other models are removed: DVC hashes all that lies beside the present models' once this stage has ended.

    Raises:
        DataError: an evaluation is missing or damaged, or two models were measured on different images.
    """
    metrics = [Metrics.read(layout.evaluation_report(model) / METRICS) for model in models]
    validation = ValidationReport.read(layout.validation_report)
    _remove_others(layout, models)
    leaderboard = round_floats(rank(metrics, compare.metric, compare.accept))
    test = None
    if len(models) > 1:
        test = round_floats(_paired_test(layout, leaderboard.rows[0].model, leaderboard.rows[1].model))
    decision = decide(leaderboard, test, compare.significance, validation.passed)
    with replacing_folder(layout.comparison) as folder:
        leaderboard.write(folder / LEADERBOARD)
        decision.write(folder / DECISION)
    console().print(leaderboard_table(leaderboard, decision))


def _remove_others(layout: Layout, models: list[str]) -> None:
    """Removes the results of models that are no longer in params.yaml, and says so."""
    folders = [place(models[0]).parent for place in (layout.evaluation_report, layout.evaluation)]
    found = [entry for folder in folders for entry in folder.glob("[!.]*") if entry.is_dir() and not entry.is_symlink()]
    old = [entry for entry in found if entry.name not in models]
    for entry in old:
        shutil.rmtree(entry)
    for name in sorted({entry.name for entry in old}):
        print(f"compare: removed results of {name}, which is no longer in params.yaml", flush=True)


def _paired_test(layout: Layout, first: str, second: str) -> PairedTest:
    """McNemar between two models; every image must be answered by both."""
    left, right = (read_answers(layout.evaluation(model) / PREDICTIONS) for model in (first, second))
    if not left[["image_id", "label"]].equals(right[["image_id", "label"]]):
        raise DataError(
            f"{first} and {second} did not answer the same images (predictions.parquet): run `dvc repro` to "
            "evaluate both on the present test split"
        )
    correct = [(answers["label"] == answers["predicted"]).to_numpy(dtype=bool) for answers in (left, right)]
    return mcnemar(first, second, *correct)
