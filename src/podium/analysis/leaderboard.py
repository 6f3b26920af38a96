"""The leaderboard: its order, whether it is a fair one, the verdict between the best two, and all for a terminal.

A difference counts when the paired test says so; otherwise the cheaper model wins, counted in FLOPs and not by a clock.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from podium.analysis.conditions import describe_differences, find_differences, is_comparable
from podium.analysis.statistics import percent
from podium.config.judging import Condition
from podium.core.errors import DataError
from podium.records.evaluation import Decision, Interval, Leaderboard, LeaderboardRow, Metrics, PairedTest

if TYPE_CHECKING:
    from rich.table import Table

Metric = Literal["accuracy", "macro_f1"]
_RATES = ("accuracy\n[95 %]", "macro F1\n[95 %]")
_TITLES = {"accuracy": "accuracy", "macro_f1": "macro F1"}


def rank(metrics: Sequence[Metrics], metric: Metric, accept: Collection[Condition] = ()) -> Leaderboard:
    """Orders models by a metric, equals by fewer FLOPs, then fewer parameters, then name.

    Args:
        metrics: one entry a model, at least one, all measured on the same test split.
        metric: what decides.
        accept: conditions in which the models may differ.

    Returns:
        The leaderboard, best first; models that met on unequal conditions are ranked too, and it says so.

    Raises:
        DataError: there is no model, or two were measured on different test splits.
    """
    if not metrics:
        raise DataError("there is no evaluation to compare: list a model in params.yaml and run `dvc repro`")
    first = metrics[0]
    for other in metrics[1:]:
        if (other.test_digest, other.images) != (first.test_digest, first.images):
            raise DataError(
                f"{first.model} and {other.model} were measured on different test splits "
                f"({first.test_digest[:12]} and {other.test_digest[:12]}): run `dvc repro` to evaluate both on the "
                "present one"
            )
    found = find_differences(metrics, accept)
    ordered = sorted(metrics, key=lambda m: (-getattr(m, metric).value, m.flops, m.parameters, m.model))
    return Leaderboard(
        metric=metric,
        test_digest=first.test_digest,
        images=first.images,
        comparable=is_comparable(found),
        differences=found,
        rows=[_row(place, entry) for place, entry in enumerate(ordered, start=1)],
    )


def decide(leaderboard: Leaderboard, test: PairedTest | None, significance: float, validation_passed: bool) -> Decision:
    """Names the winner and says why, in plain English.

    Args:
        leaderboard: best first.
        test: McNemar test between the best two (`first` is the leader); None where there is one model.
        significance: p below which their difference counts.
        validation_passed: what the validation of the dataset said.

    Returns:
        The decision.

    Raises:
        DataError: there are several models and no test between the best two.
    """
    title, best = _TITLES[leaderboard.metric], leaderboard.rows[0]
    rule = (
        f"Highest {title} on the test split wins if an exact two-sided McNemar test against the runner-up gives "
        f"p < {significance:g}; otherwise the two are tied and the one with fewer FLOPs wins "
        f"(then fewer parameters, then the higher {title})."
    )
    if len(leaderboard.rows) == 1:
        winner, tie, reason = best, False, f"{best.model} is the only model, so it wins without a test."
    elif test is None or (test.first, test.second) != (best.model, leaderboard.rows[1].model):
        raise DataError(
            f"the best two models ({best.model}, {leaderboard.rows[1].model}) were not tested against each other: "
            "run `dvc repro -f compare`"
        )
    else:
        tie = test.p_value >= significance
        winner = min(leaderboard.rows[:2], key=lambda row: (row.flops, row.parameters, row.rank)) if tie else best
        reason = _explain(leaderboard, test, significance, winner, tie)
    return Decision(
        winner=winner.model,
        fingerprint=winner.fingerprint,
        comparable=leaderboard.comparable,
        differences=leaderboard.differences,
        tie=tie,
        rule=rule,
        reason=reason,
        test=test,
        validation_passed=validation_passed,
    )


def verdict(decision: Decision) -> str:
    """The decision in one paragraph, for a terminal or a report."""
    tail = "" if decision.validation_passed else " The validation of the dataset failed: do not promote it."
    fair = ("wins", "wins a tie")[decision.tie]
    how = fair if decision.comparable else ("is ahead", "is preferred in a tie")[decision.tie]
    return f"{decision.winner} {how}: {decision.reason}{tail}"


def leaderboard_table(leaderboard: Leaderboard, decision: Decision | None = None) -> "Table":
    """The leaderboard for a terminal of 80 columns or more.

    Args:
        leaderboard: best first.
        decision: marks the winner, and is told below the table, with what makes the comparison unfair.

    Returns:
        A rich table.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    below = [escape(verdict(decision))] if decision else []
    below += [escape(_coarse(leaderboard))] if leaderboard.rows[0].group_accuracy else []
    below += [_conditions(leaderboard)] if leaderboard.differences else []

    table = Table(
        title=f"Leaderboard: {leaderboard.images:,} test images, best {_TITLES[leaderboard.metric]} first",
        caption="\n\n".join(below) or None,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("model", overflow="fold", min_width=10)
    for name in (*_RATES, "test\nloss", "learning\nrate", "epochs", "images\nseen", "para-\nmeters", "GFLOPs"):
        table.add_column(name, justify="right", no_wrap=True)
    added = tuple(leaderboard.rows[0].model_extra or ())
    for name in added:
        table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for row in leaderboard.rows:
        won = decision is not None and row.model == decision.winner
        rank = f"★{row.rank}" if won else str(row.rank)
        table.add_row(rank, escape(row.model), *_cells(row, added), style="bold" if won else "")
    return table


def _cells(row: LeaderboardRow, added: Sequence[str]) -> tuple[str, ...]:
    """A model's numbers as the table shows them, those of added metrics last."""
    return (
        _two_lines(row.accuracy),
        _two_lines(row.macro_f1),
        f"{row.loss:.3f}",
        f"{row.learning_rate:.2g}",
        str(row.epochs),
        f"{row.images_seen:,}",
        _millions(row.parameters),
        f"{row.flops / 1e9:.3g}",
        *("-" if value is None else f"{value:.3g}" for value in map((row.model_extra or {}).get, added)),
    )


def _row(place: int, entry: Metrics) -> LeaderboardRow:
    """A model's row, with the metrics that were added to the leaderboard."""
    from podium.analysis.metrics import METRICS

    added = entry.model_extra or {}
    return LeaderboardRow(
        **entry.facts,
        **{name: value for name, value in added.items() if name in METRICS and METRICS[name].on_leaderboard},
        rank=place,
        accuracy=entry.accuracy,
        macro_f1=entry.macro_f1,
        group_accuracy=entry.groups.accuracy if entry.groups else None,
        loss=entry.loss,
    )


def _explain(leaderboard: Leaderboard, test: PairedTest, significance: float, winner: LeaderboardRow, tie: bool) -> str:
    """Why `winner` wins: on the metric where the difference is significant, else on what it costs."""
    title, (best, second) = _TITLES[leaderboard.metric], leaderboard.rows[:2]
    ahead, behind = (f"{getattr(row, leaderboard.metric).value:.1%}" for row in (best, second))
    evidence = (
        f"only {test.first} was right about {test.only_first_right:,} images, only {test.second} about "
        f"{test.only_second_right:,}; McNemar p = {test.p_value:.2g}"
    )
    if not tie:
        reason = (
            f"its {title} of {ahead} is above the {behind} of {second.model}, and the difference is significant: "
            f"{evidence} < {significance:g}."
        )
        if test.only_first_right < test.only_second_right:
            reason += f" By right answers alone {second.model} is ahead; the chosen metric is {title}."
        return reason
    loser = second if winner is best else best
    if winner.flops < loser.flops:
        why = f"{winner.model} needs fewer FLOPs an image ({winner.flops / 1e9:.3g} against {loser.flops / 1e9:.3g} G)"
    elif winner.parameters < loser.parameters:
        why = f"both need {winner.flops / 1e9:.3g} GFLOPs an image and {winner.model} has fewer parameters"
    else:
        why = f"both cost the same and {winner.model} is higher on the leaderboard"
    return (
        f"{best.model} ({ahead}) and {second.model} ({behind}) do not differ significantly in {title}: {evidence} >= "
        f"{significance:g}; {why}."
    )


def _coarse(leaderboard: Leaderboard) -> str:
    """How often each model is right about the coarse class, in words."""
    rates = [f"{row.model} {percent(row.group_accuracy)}" for row in leaderboard.rows if row.group_accuracy]
    return f"Right about the coarse class: {', '.join(rates)}."


def _conditions(leaderboard: Leaderboard) -> str:
    """What differs, as rich markup: it stands out where it was not accepted."""
    from rich.markup import escape

    said = escape(" ".join(describe_differences(leaderboard.differences)))
    return said if leaderboard.comparable else f"[bold yellow]{said}[/]"


def _two_lines(interval: Interval) -> str:
    """A rate in percent, and its interval below."""
    return f"{interval.value:.1%}\n{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def _millions(count: int) -> str:
    """A count in millions; as it is below a tenth of one."""
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"
