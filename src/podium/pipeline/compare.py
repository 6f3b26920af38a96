"""Stage compare: rank the models, test every two against each other, name a winner and the reason.

Reads the files of the evaluations only; starts without torch.
"""

from collections.abc import Sequence
from itertools import combinations

from podium.analysis.decision import decide
from podium.analysis.leaderboard import confidence_table, leaderboard_table, rank
from podium.analysis.paired import compare_answers
from podium.analysis.predictions import read_answers
from podium.config.judging import Compare, Metric
from podium.console.terminal import console
from podium.core.errors import DataError
from podium.core.files import replacing_folder, write_json
from podium.core.layout import DECISION, LEADERBOARD, METRICS, PREDICTIONS, Layout
from podium.records.evaluation import Decision, Leaderboard, Metrics, PairedTest, Summary, round_floats
from podium.records.validate import ValidationReport


def compare_models(layout: Layout, models: list[str], compare: Compare) -> None:
    """Writes `leaderboard.json`, `decision.json` and for DVC `metrics.json`, and prints the first two.

    Raises:
        DataError: an evaluation is missing or damaged, or two models were measured on different images.
    """
    metrics = [Metrics.read(layout.evaluation(model) / METRICS) for model in models]
    validation = ValidationReport.read(layout.validation_report)
    leaderboard = round_floats(rank(metrics, compare.metric, compare.accept))
    tests = _test_pairs(layout, [row.model for row in leaderboard.rows], compare.metric)
    decision = decide(leaderboard, tests, compare, validation.passed)
    with replacing_folder(layout.comparison) as folder:
        leaderboard.write(folder / LEADERBOARD)
        round_floats(decision).write(folder / DECISION)
    write_json(layout.comparison_report / METRICS, _summary(leaderboard, decision).model_dump(exclude_none=True))
    console().print(leaderboard_table(leaderboard, decision))
    console().print(confidence_table(leaderboard))


def _summary(leaderboard: Leaderboard, decision: Decision) -> Summary:
    """What DVC shows of the comparison."""
    rates = {row.model: getattr(row, leaderboard.metric).value for row in leaderboard.rows}
    return Summary(winner=decision.winner, each=rates, **{leaderboard.metric: rates[decision.winner]})


def _test_pairs(layout: Layout, models: Sequence[str], metric: Metric) -> list[PairedTest]:
    """Every two models on the same images, in the order given; every image must be answered by all."""
    answers = [read_answers(layout.evaluation(model) / PREDICTIONS) for model in models]
    for model, given in zip(models, answers, strict=True):
        if not given[["image_id", "label"]].equals(answers[0][["image_id", "label"]]):
            raise DataError(
                f"{models[0]} and {model} did not answer the same images (predictions.parquet): run `dvc repro` to "
                "evaluate both on the present test split"
            )
    return [
        compare_answers(first, second, (mine, theirs), metric)
        for (first, mine), (second, theirs) in combinations(zip(models, answers, strict=True), 2)
    ]
