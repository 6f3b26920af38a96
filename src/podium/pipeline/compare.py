"""Stage compare: rank the models, test every two against each other, name a winner and the reason.

Reads the files of the evaluations only; starts without torch.
"""

from collections.abc import Sequence
from itertools import combinations

from podium.analysis.decision import decide
from podium.analysis.leaderboard import confidence_table, leaderboard_table, rank
from podium.analysis.predictions import read_answers
from podium.analysis.seeds import compare_runs
from podium.config.judging import Compare, Metric
from podium.console.terminal import console
from podium.core.errors import DataError
from podium.core.files import replacing_folder, write_json
from podium.core.layout import DECISION, LEADERBOARD, METRICS, PREDICTIONS, Layout
from podium.records.base import Record, round_floats
from podium.records.evaluation import Decision, Leaderboard, Metrics, PairedTest
from podium.records.validate import ValidationReport


class Summary(Record):
    """`reports/comparison/metrics.json`: the few numbers that `dvc metrics` and `dvc exp show` compare.

    The metric that decides, of the winner under its own name and of each model; the other one is left out.
    """

    winner: str
    accuracy: float | None = None
    macro_f1: float | None = None
    each: dict[str, float]


def compare_models(layout: Layout, models: list[str], compare: Compare, seeds: Sequence[int] = ()) -> None:
    """Writes `leaderboard.json`, `decision.json` and for DVC `metrics.json`, and prints the first two.

    Args:
        layout: the project's paths.
        models: the keys of `models` in the params.
        compare: that section.
        seeds: that every model was trained with besides `seed`.

    Raises:
        DataError: an evaluation is missing or damaged, or two models were measured on different images.
    """
    metrics = [Metrics.read(layout.evaluation(model) / METRICS) for model in models]
    validation = ValidationReport.read(layout.validation_report)
    repeats = {
        model: [Metrics.read(layout.repeat_evaluation(model, seed) / METRICS) for seed in seeds] for model in models
    }
    leaderboard = round_floats(rank(metrics, compare.metric, compare.accept, repeats))
    tests = _test_pairs(layout, [row.model for row in leaderboard.rows], compare.metric, seeds)
    decision = decide(leaderboard, tests, compare, validation.passed)
    with replacing_folder(layout.comparison) as folder:
        leaderboard.write(folder / LEADERBOARD)
        round_floats(decision).write(folder / DECISION)
    write_json(layout.comparison_report / METRICS, _summary(leaderboard, decision).model_dump(exclude_none=True))
    console().print(leaderboard_table(leaderboard, decision))
    console().print(confidence_table(leaderboard))


def _summary(leaderboard: Leaderboard, decision: Decision) -> Summary:
    """What DVC shows of the comparison."""
    rates = {row.model: row.rate(leaderboard.metric) for row in leaderboard.rows}
    return Summary(winner=decision.winner, each=rates, **{leaderboard.metric: rates[decision.winner]})


def _test_pairs(layout: Layout, models: Sequence[str], metric: Metric, seeds: Sequence[int]) -> list[PairedTest]:
    """Every two models on the same images, in the order given; every image must be answered by all, with every seed."""
    folders = {
        model: [layout.evaluation(model), *(layout.repeat_evaluation(model, s) for s in seeds)] for model in models
    }
    answers = {model: [read_answers(folder / PREDICTIONS) for folder in folders[model]] for model in models}
    same = answers[models[0]][0][["image_id", "label"]]
    for model, runs in answers.items():
        if not all(given[["image_id", "label"]].equals(same) for given in runs):
            raise DataError(
                f"{models[0]} and {model} did not answer the same images (predictions.parquet): run `dvc repro` to "
                "evaluate both on the present test split"
            )
    return [
        compare_runs(first, second, (answers[first], answers[second]), metric)
        for first, second in combinations(models, 2)
    ]
