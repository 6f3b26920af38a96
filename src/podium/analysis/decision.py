"""The decision of a comparison: who wins or leads, what is said of each other model, and why, in plain English.

Which of two models is better, and when they are equivalent, is `analysis.paired`'s. Among equivalent models the cheaper
one wins, counted in FLOPs and not by a clock.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from podium.analysis.conditions import in_words
from podium.analysis.paired import holm, judge
from podium.analysis.power import POWER, images_to_decide, minimum_detectable_difference, seeds_to_decide
from podium.config.judging import Compare, Metric
from podium.core.errors import DataError
from podium.records.evaluation import Comparison, Decision, Leaderboard, LeaderboardRow, PairedTest

METRIC_TITLES: Mapping[Metric, str] = {"accuracy": "accuracy", "macro_f1": "macro F1"}
_TESTS = {"accuracy": "exact McNemar", "macro_f1": "randomisation test"}
_LEADS = {
    "alone": ("wins", "was tested"),
    "better": ("wins", "is ahead"),
    "equivalent": ("wins among equivalent models", "is preferred among equivalent models"),
    "undecided": ("leads provisionally", "leads provisionally"),
}
"""What the winner does by outcome, where the models are comparable and where they are not."""


def decide(leaderboard: Leaderboard, tests: Sequence[PairedTest], rules: Compare, validation_passed: bool) -> Decision:
    """Names the winner and says why, in plain English.

    The winner is the cheapest of the best model and those shown equivalent to it. That set is made of comparisons of
    two models alone, so one more contender that is not the best changes nothing between the others.

    Args:
        leaderboard: best first.
        tests: of every two models, the one that is higher on the leaderboard first.
        rules: what counts as a difference, and what is accepted.
        validation_passed: what the validation of the dataset said.

    Returns:
        The decision.

    Raises:
        DataError: two models were not tested against each other.
    """
    comparisons = _compare_with_best(leaderboard, tests, rules)
    best, outcomes = leaderboard.rows[0], {c.outcome for c in comparisons}
    equal = {c.second for c in comparisons if c.outcome == "equivalent"}
    choice = [row for row in leaderboard.rows if row is best or row.model in equal]
    winner = min(choice, key=_cost)
    outcome = next((word for word in ("undecided", "equivalent", "better") if word in outcomes), "alone")
    return Decision(
        winner=winner.model,
        fingerprint=winner.fingerprint,
        comparable=leaderboard.comparable,
        differences=leaderboard.differences,
        outcome=outcome,
        accepted_because=rules.accept.get("undecided") if outcome == "undecided" else None,
        rule=_rule(leaderboard, rules),
        reason=_explain(leaderboard, comparisons, rules, winner),
        comparisons=comparisons,
        validation_passed=validation_passed,
    )


def compared(
    test: PairedTest, images: int, rules: Compare, *, adjusted_p: float | None = None, pairs: int = 1
) -> Comparison:
    """What the test of two models says by the rules, and what a test set of this size can say.

    Args:
        test: of the two models.
        images: that it was made on.
        rules: the metric, and what counts as a difference.
        adjusted_p: its p after Holm's correction; as it is by default.
        pairs: of models that were tested, this one among them.

    Returns:
        The comparison.
    """
    adjusted_p = test.p_value if adjusted_p is None else adjusted_p
    outcome = judge(test, adjusted_p, rules.significance, rules.margin)
    strictest, of_accuracy = rules.significance / pairs, rules.metric == "accuracy"
    needed = seeds = None
    if outcome == "undecided":
        needed = images_to_decide(test, images, strictest, rules.margin, of_accuracy)
        seeds = seeds_to_decide(test, strictest, rules.margin)
    return Comparison(
        **test.model_dump(),
        adjusted_p=adjusted_p,
        outcome=outcome,
        images_needed=needed,
        seeds_needed=seeds,
        minimum_detectable_difference=minimum_detectable_difference(test, images, strictest, of_accuracy),
    )


def describe_power(comparisons: Sequence[Comparison], images: int) -> str:
    """What stands beside every "no difference": the one that the test images would have found.

    Args:
        comparisons: at least one; of several, the difference that is hardest to find is told.
        images: test images.
    """
    smallest = [c.minimum_detectable_difference for c in comparisons]
    size = describe_size(comparisons[0], images)
    if None in smallest:
        return f"{size} are too few to find any difference, however large."
    points = 100 * max(filter(None, smallest))
    return (
        f"With {size} a true difference of {points:.1f} points is found in {10 * POWER:.0f} of 10 "
        "cases, a smaller one less often."
    )


def describe_size(test: PairedTest, images: int) -> str:
    """What a comparison rests on: `264 test images`, `264 test images and 3 seeds`."""
    return f"{images:,} test images" + (f" and {test.variance.seeds} seeds" if test.variance else "")


def describe_needed(comparisons: Sequence[Comparison]) -> str:
    """What would decide those that are undecided: `About 450 test images`, `About 450 test images or 7 seeds`."""
    undecided = [c for c in comparisons if c.outcome == "undecided"]
    images, seeds = ([getattr(c, f"{what}_needed") for c in undecided] for what in ("images", "seeds"))
    ways = [] if None in images else [f"{round_up(max(images)):,} test images"]
    ways += [] if None in seeds else [f"{max(seeds)} seeds"]
    return f"About {' or '.join(ways)}" if ways else "Only more seeds on more test images"


def describe_rate(row: LeaderboardRow, metric: Metric) -> str:
    """What a model is ranked by: `87.4%`, `87.4% ± 0.9% (3 seeds)`."""
    over = row.over_seeds
    return f"{row.rate(metric):.1%}" + (
        f" ± {getattr(over, metric).deviation:.1%} ({over.seeds} seeds)" if over else ""
    )


def describe_pair(found: Comparison, rules: Compare, images: int, rate: float) -> str:
    """What the comparison of two models says, with what it rests on, in one paragraph.

    Args:
        found: the comparison.
        rules: the metric, and what counts as a difference.
        images: that both answered.
        rate: the metric of the first model on these.
    """
    title, difference = METRIC_TITLES[rules.metric], found.difference
    interval = f"{100 * difference.low:.1f} to {100 * difference.high:.1f} points"
    sides = (
        f"{title} {rate:.1%} against {rate - difference.value:.1%} on the same {images:,} test images, "
        f"{found.only_first_right:,} of which {found.first} alone names rightly and {found.only_second_right:,} the "
        "other alone"
    )
    tested = f"{_TESTS[rules.metric]} p = {found.p_value:.2g}, 90% interval of the difference {interval}"
    if found.outcome == "better":
        verb = "better" if difference.value > 0 else "worse"
        return f"{found.first} is {verb} than {found.second}: {sides} ({tested})."
    power = describe_power([found], images)
    if found.outcome == "equivalent":
        return (
            f"{found.first} is equivalent to {found.second}: {sides}; the 90% interval of the difference, {interval}, "
            f"lies within ±{100 * rules.margin:.3g} points. {power}"
        )
    needed = f"{describe_needed([found]).lower()} would decide it"
    return f"It is undecided whether {found.first} is better than {found.second}: {sides} ({tested}); {needed}. {power}"


def lead(decision: Decision) -> str:
    """What the winner does, as a verb: `wins`, `leads provisionally`, ..."""
    return _LEADS[decision.outcome][0 if decision.comparable else 1]


def round_up(number: int) -> int:
    """A number rounded up to two digits: what is no more than an estimate is not told to the last one."""
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


def verdict(decision: Decision) -> str:
    """The decision in one paragraph, for a terminal, MLflow or a report."""
    said = [f"{decision.winner} {lead(decision)}: {decision.reason}", describe_acceptance(decision)]
    said += [] if decision.validation_passed else ["The validation of the dataset failed: do not promote it."]
    return " ".join(filter(None, said))


def describe_acceptance(decision: Decision) -> str:
    """What an undecided comparison means for a promotion; empty where it is decided."""
    if decision.outcome != "undecided":
        return ""
    if decision.accepted_because:
        return f"Accepted by compare.accept: it may be promoted undecided, because {decision.accepted_because}."
    return (
        "It is not promoted before that, unless compare.accept says why it may be: compare.accept: {undecided: <why>}."
    )


def _compare_with_best(leaderboard: Leaderboard, tests: Sequence[PairedTest], rules: Compare) -> list[Comparison]:
    """The best model against each other one, in the order of the leaderboard.

    Holm's correction is over all pairs and not over these alone, since the best was picked with the same answers.
    """
    models = [row.model for row in leaderboard.rows]
    known = {(test.first, test.second): test for test in tests}
    pairs = list(combinations(models, 2))
    for first, second in pairs:
        if (first, second) not in known:
            raise DataError(f"{first} and {second} were not tested against each other: run `dvc repro -f compare`")
    adjusted = dict(zip(pairs, holm([known[pair].p_value for pair in pairs]), strict=True))
    return [
        compared(known[pair], leaderboard.images, rules, adjusted_p=adjusted[pair], pairs=len(pairs))
        for pair in pairs[: len(models) - 1]
    ]


def _cost(row: LeaderboardRow) -> tuple[int, int, int]:
    """What decides among equivalent models, less is better."""
    return row.flops, row.parameters, row.rank


def _rule(leaderboard: Leaderboard, rules: Compare) -> str:
    """How the winner is chosen, in one paragraph."""
    title, over = METRIC_TITLES[leaderboard.metric], leaderboard.rows[0].over_seeds
    test = _test_name(leaderboard.metric, over.seeds if over else 1)
    return (
        f"A model is better when a two-sided paired test of {title} ({test}, Holm's correction for several models) "
        f"gives p < {rules.significance:g}. It is equivalent to the best when the 90% interval of the difference in "
        f"{title} lies within {_points(rules.margin)}; of the best and its equivalents the one with the fewest FLOPs "
        f"wins (then fewest parameters, then the highest {title}). Otherwise the comparison is undecided, and the "
        "highest of those leads provisionally."
    )


def _explain(
    leaderboard: Leaderboard, comparisons: Sequence[Comparison], rules: Compare, winner: LeaderboardRow
) -> str:
    """Why `winner` wins or leads: the comparison that is closest to being another one, and what it costs."""
    if not comparisons:
        return f"{winner.model} is the only model, so it wins without a test."
    title, best = METRIC_TITLES[leaderboard.metric], leaderboard.rows[0].model
    rates = {row.model: describe_rate(row, leaderboard.metric) for row in leaderboard.rows}
    undecided = [c for c in comparisons if c.outcome == "undecided"]
    equivalent = [c for c in comparisons if c.outcome == "equivalent"]
    said = []
    if undecided:
        said.append(_explain_undecided(undecided, rates, leaderboard, rules, winner.model == best))
    if equivalent:
        names = in_words([f"{c.second} ({rates[c.second]})" for c in equivalent])
        said.append(
            f"{names} {'is' if len(equivalent) == 1 else 'are'} equivalent to {best} ({rates[best]}) in {title}: the "
            f"90% interval of the difference, {_span(equivalent)}, lies within {_points(rules.margin)}; "
            f"{_cheaper(leaderboard, winner, equivalent)}."
        )
    if said:
        said.append(describe_power([*undecided, *equivalent], leaderboard.images))
    else:
        closest = max(comparisons, key=lambda c: c.adjusted_p)
        others = "" if len(comparisons) == 1 else "that of every other model, the closest being "
        said.append(
            f"its {title} of {rates[best]} is above {others}the {rates[closest.second]} of {closest.second}, and the "
            f"difference is significant: {_evidence(closest, leaderboard)} < {rules.significance:g}."
        )
    return " ".join(said)


def _explain_undecided(
    undecided: Sequence[Comparison], rates: Mapping[str, str], leaderboard: Leaderboard, rules: Compare, leads: bool
) -> str:
    """Why the test images do not tell the best, which leads or not, from others, and how many would."""
    closest, size = undecided[0], describe_size(undecided[0], leaderboard.images)
    first, second, title = closest.first, closest.second, METRIC_TITLES[leaderboard.metric]
    whose = "its" if leads else f"{first} is the best: its"
    above = "is that" if closest.difference.value == 0 else f"is above the {rates[second]}"
    others = [c.second for c in undecided[1:]]
    return (
        f"{whose} {title} of {rates[first]} {above} of {second}, but {size} do not decide between "
        f"the two: {_evidence(closest, leaderboard)} >= {rules.significance:g}, and the difference of "
        f"{100 * closest.difference.value:.1f} points (90% interval {_span([closest])}) does not show them equivalent "
        f"within {_points(rules.margin)}. "
        + (f"Nor can {first} be told from {in_words(others)}. " if others else "")
        + f"{describe_needed(undecided)} would decide it, if they go on to disagree at this rate."
    )


def _evidence(test: Comparison, leaderboard: Leaderboard) -> str:
    """Who alone was right how often, and the p-value that decides."""
    after = " after Holm's correction" if len(leaderboard.rows) > 2 else ""
    seeds = test.variance.seeds if test.variance else 1
    mean = " (on average over the seeds)" if seeds > 1 else ""
    return (
        f"only {test.first} was right about {test.only_first_right:,} images, only {test.second} about "
        f"{test.only_second_right:,}{mean}; {_test_name(leaderboard.metric, seeds)} p = {test.adjusted_p:.2g}{after}"
    )


def _test_name(metric: Metric, seeds: int) -> str:
    """What the paired test is called."""
    return _TESTS[metric] if seeds == 1 else f"t test over {seeds} seeds and the test images"


def _cheaper(leaderboard: Leaderboard, winner: LeaderboardRow, equivalent: Sequence[Comparison]) -> str:
    """Why the winner is the cheapest of the best model and its equivalents."""
    names = {equivalent[0].first, *(c.second for c in equivalent)} - {winner.model}
    others = [row for row in leaderboard.rows if row.model in names]
    next_one = min(others, key=_cost)
    if winner.flops < next_one.flops:
        return (
            f"{winner.model} needs fewer FLOPs an image ({winner.flops / 1e9:.3g} against {next_one.flops / 1e9:.3g} G)"
        )
    if winner.parameters < next_one.parameters:
        return f"{winner.model} needs no more FLOPs an image ({winner.flops / 1e9:.3g} G) and has fewer parameters"
    return f"they cost the same and {winner.model} is highest on the leaderboard"


def _span(comparisons: Sequence[Comparison]) -> str:
    """From the lowest to the highest difference that some comparisons leave open, in points: `-0.6 to 1.4`."""
    low, high = min(c.difference.low for c in comparisons), max(c.difference.high for c in comparisons)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _points(margin: float) -> str:
    """The margin in points of a percentage: `±2 points`."""
    return f"±{100 * margin:.3g} points"
