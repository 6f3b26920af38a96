"""The leaderboard: its order, whether it is a fair one, and all of it with the decision for a terminal."""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import mean, stdev
from typing import TYPE_CHECKING

from podium.analysis.conditions import describe_differences, describe_probes, find_differences, is_comparable
from podium.analysis.decision import METRIC_TITLES, verdict
from podium.analysis.statistics import percent
from podium.config.judging import Accepted, Metric
from podium.core.errors import DataError
from podium.records.evaluation import (
    Decision,
    Interval,
    Leaderboard,
    LeaderboardRow,
    Majority,
    Metrics,
    OverSeeds,
    Spread,
)

if TYPE_CHECKING:
    from rich.table import Table


def rank(
    metrics: Sequence[Metrics],
    metric: Metric,
    accept: Mapping[Accepted, str] | None = None,
    repeats: Mapping[str, Sequence[Metrics]] | None = None,
) -> Leaderboard:
    """Orders models by a metric, equals by fewer FLOPs, then fewer parameters, then name.

    Args:
        metrics: one entry a model, at least one, all measured on the same test split.
        metric: what decides.
        accept: conditions in which the models may differ, with the reason of each.
        repeats: of each model with every further seed it was trained with; then the mean over seeds decides.

    Returns:
        The leaderboard, best first; models that met on unequal conditions are ranked too, and it says so.

    Raises:
        DataError: there is no model, or two were measured on different test splits.
    """
    if not metrics:
        raise DataError("there is no evaluation to compare: list a model in params.yaml and run `dvc repro`")
    first = metrics[0]
    further = repeats or {}
    for other in chain(metrics[1:], *further.values()):
        if (other.test_digest, other.images) != (first.test_digest, first.images):
            raise DataError(
                f"{first.model} and {other.model} were measured on different test splits "
                f"({first.test_digest[:12]} and {other.test_digest[:12]}): run `dvc repro` to evaluate both on the "
                "present one"
            )
    found = find_differences(metrics, accept or {})
    rows = [_row(entry, further.get(entry.model, ())) for entry in metrics]
    ordered = sorted(rows, key=lambda row: (-row.rate(metric), row.flops, row.parameters, row.model))
    return Leaderboard(
        metric=metric,
        test_digest=first.test_digest,
        images=first.images,
        majority=first.majority,
        comparable=is_comparable(found),
        differences=found,
        rows=[row.model_copy(update={"rank": place}) for place, row in enumerate(ordered, start=1)],
    )


def leaderboard_table(leaderboard: Leaderboard, decision: Decision | None = None) -> "Table":
    """The leaderboard for a terminal of 80 columns or more.

    Args:
        leaderboard: best first.
        decision: marks the winner, and is told below the table, with what makes the comparison unfair.

    Returns:
        A rich table.
    """
    from rich.markup import escape

    below = [escape(verdict(decision))] if decision else []
    below += [escape(_coarse(leaderboard))] if leaderboard.rows[0].group_accuracy else []
    below += [escape(probes)] if (probes := describe_probes(leaderboard.rows)) else []
    below += [_conditions(leaderboard)] if leaderboard.differences else []

    title = f"Leaderboard: {leaderboard.images:,} test images, best {METRIC_TITLES[leaderboard.metric]} first"
    added = tuple(leaderboard.rows[0].model_extra or ())
    beside = "± SD" if leaderboard.rows[0].over_seeds else "[95 %]"
    names = (
        *(f"{name}\n{beside}" for name in METRIC_TITLES.values()),
        "test\nloss",
        "learning\nrate",
        "epochs",
        "images\nseen",
        "para-\nmeters",
        "GFLOPs",
    )
    table = _table(title, "#", "model", *names, *(name.replace("_", "\n") for name in added))
    table.caption = "\n\n".join(below) or None
    for row in leaderboard.rows:
        won = decision is not None and row.model == decision.winner
        rank = f"★{row.rank}" if won else str(row.rank)
        table.add_row(rank, escape(row.model), *_cells(row, added), style="bold" if won else "")
    if leaderboard.majority:
        always = f"always answering {leaderboard.majority.label}"
        table.add_row("", escape(always), _two_lines(leaderboard.majority.accuracy), style="dim")
    return table


def describe_majority(majority: Majority | None) -> str:
    """What every model has to beat: `Always answering ant: 12.6% [9.1–17.2].`; empty where it is not known."""
    return f"Always answering {majority.label}: {percent(majority.accuracy)}." if majority else ""


def confidence_table(leaderboard: Leaderboard, seconds: Mapping[str, float | None] | None = None) -> "Table":
    """How sure the models are, and how rightly, for a terminal of 80 columns or more.

    Args:
        leaderboard: best first.
        seconds: measured for one image, by model; a model without has a dash.

    Returns:
        A rich table; confidences are calibrated, and `off by` is their expected error.
    """
    from rich.markup import escape

    first = leaderboard.rows[0]
    low = f"answers\nbelow {first.low_confidence_threshold:.0%}"
    names = ("ms an\nimage", "confi-\ndence", "where\nright", "where\nwrong", low, "off by", "AURC")
    title = "\nHow sure they are, and how rightly"
    table = _table(title, "model", *names, "gives an\nanswer", "of these\nwrong")
    for row in leaderboard.rows:
        known, found = (seconds or {}).get(row.model), row.abstention
        table.add_row(
            escape(row.model),
            "-" if known is None else f"{1000 * known:.3g}",
            *map(_share, (row.mean_confidence, row.mean_confidence_correct, row.mean_confidence_wrong)),
            f"{row.low_confidence_count:,}",
            _share(row.ece),
            f"{row.aurc:.3f}",
            _share(found.coverage.value),
            _share(found.risk.value if found.risk else None),
        )
    return table


def _table(title: str, *columns: str) -> "Table":
    """An empty table; names of models are folded, numbers are not."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0, show_edge=False
    )
    table.caption_justify, table.caption_style = "left", ""
    for name in columns:
        if name == "model":
            table.add_column(name, overflow="fold", min_width=10)
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _share(rate: float | None) -> str:
    """A fraction in percent; a dash where there is none."""
    return "-" if rate is None else f"{rate:.1%}"


def _cells(row: LeaderboardRow, added: Sequence[str]) -> tuple[str, ...]:
    """A model's numbers as the table shows them, those of added metrics last."""
    return (
        *(_rate(row, metric) for metric in METRIC_TITLES),
        f"{row.loss:.3f}",
        "-" if row.learning_rate is None else f"{row.learning_rate:.2g}",
        str(row.epochs),
        f"{row.images_seen:,}",
        _millions(row.parameters),
        f"{row.flops / 1e9:.3g}",
        *("-" if value is None else f"{value:.3g}" for value in map((row.model_extra or {}).get, added)),
    )


def _row(entry: Metrics, repeats: Sequence[Metrics]) -> LeaderboardRow:
    """A model's row without its rank, with the metrics that were added to the leaderboard."""
    from podium.analysis.metrics import METRICS

    added = entry.model_extra or {}
    return LeaderboardRow(
        **entry.model_dump(include=set(LeaderboardRow.model_fields)),
        **{name: value for name, value in added.items() if name in METRICS and METRICS[name].on_leaderboard},
        rank=0,
        group_accuracy=entry.groups.accuracy if entry.groups else None,
        over_seeds=_over_seeds([entry, *repeats]) if repeats else None,
    )


def _over_seeds(runs: Sequence[Metrics]) -> OverSeeds:
    """Means and standard deviations of the rates of two runs or more."""
    accuracy, macro_f1 = (
        Spread(mean=mean(rates), deviation=stdev(rates))
        for rates in ([getattr(run, metric).value for run in runs] for metric in METRIC_TITLES)
    )
    return OverSeeds(seeds=len(runs), accuracy=accuracy, macro_f1=macro_f1)


def _coarse(leaderboard: Leaderboard) -> str:
    """How often each model is right about the coarse class, in words."""
    rates = [f"{row.model} {percent(row.group_accuracy)}" for row in leaderboard.rows if row.group_accuracy]
    return f"Right about the coarse class: {', '.join(rates)}."


def _conditions(leaderboard: Leaderboard) -> str:
    """What differs, as rich markup: it stands out where it was not accepted."""
    from rich.markup import escape

    said = escape(" ".join(describe_differences(leaderboard.differences)))
    return said if leaderboard.comparable else f"[bold yellow]{said}[/]"


def _rate(row: LeaderboardRow, metric: Metric) -> str:
    """A rate in percent, and its interval below; of several seeds its mean and standard deviation."""
    if row.over_seeds:
        deviation = getattr(row.over_seeds, metric).deviation
        return f"{row.rate(metric):.1%}\n± {deviation:.1%}\n({row.over_seeds.seeds} seeds)"
    return _two_lines(getattr(row, metric))


def _two_lines(interval: Interval) -> str:
    """A rate in percent, and its interval below."""
    return f"{interval.value:.1%}\n{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def _millions(count: int) -> str:
    """A count in millions; as it is below a tenth of one."""
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"
