"""What the report says in sentences, and how it writes numbers for people."""

import os
import platform
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from podium.analysis.conditions import in_words, remedy
from podium.analysis.decision import describe_needed, describe_power, describe_rate, describe_size
from podium.analysis.learning_curve import describe_curve
from podium.analysis.slices import is_worse, worst_first
from podium.config.base import SPLITS
from podium.records.evaluation import Abstention, Interval, Metrics
from podium.records.fetch import Corrections
from podium.records.training import read_times
from podium.report.results import Results

GROUPS_SHOWN = 4  # in a sentence
SLICES_SHOWN = 4
_SURE = 0.05  # of a p-value


def findings(results: Results) -> list[str]:
    """What somebody who wants to use the winner should know, in sentences."""
    m = results.winner.metrics
    weakest = min(m.per_class, key=lambda label: (m.per_class[label].recall, label))
    recall, support = m.per_class[weakest].recall, m.per_class[weakest].support
    said = [f"Its weakest class is {weakest}: {share(recall)} of {support} images are named rightly."]
    if m.confused:
        pair = m.confused[0]
        said.append(
            f"It most often takes {pair.actual} for {pair.predicted} ({pair.mistakes} of {pair.images}) or the other "
            f"way round ({pair.back} of {pair.back_images}): {share(pair.share)} of its wrong answers."
        )
    if m.groups is not None:
        groups = list(m.groups.per_group)
        which = ", ".join(groups) if len(groups) <= GROUPS_SHOWN else f"one of {len(groups)}"
        said.append(f"It names the coarse class ({which}) rightly in {share(m.groups.accuracy.value)} of cases.")
        if m.groups.fine_mistakes is not None:
            said.append(
                f"Of its wrong answers {share(m.groups.fine_mistakes.value)} ({between(m.groups.fine_mistakes)}) stay "
                f"within the coarse class; {share(m.groups.fine_by_chance or 0.0)} would if they fell on all alike."
            )
    if "clean" in m.slices and "hard" in m.slices:
        clean, hard = m.slices["clean"], m.slices["hard"]
        said.append(
            f"Clean images are named rightly in {share(clean.accuracy.value)} of {clean.images} cases, hard ones "
            f"(occluded, busy, rotated or with several objects) in {share(hard.accuracy.value)} of {hard.images}."
        )
    if m.slices:
        said.append(describe_slices(m))
    said.append(
        f"Its stated confidence is off by {share(m.ece)} on average; {m.low_confidence_count} of {m.images} answers "
        f"come with less than {m.low_confidence_threshold:.0%} confidence and deserve a second look."
    )
    said.append(describe_abstention(m.abstention))
    return said


def describe_verdict(results: Results) -> str:
    """What the comparison says, for whoever knows no statistics; the reason in full is `decision.reason`."""
    decision, images = results.decision, count(results.leaderboard.images)
    rates = {row.model: describe_rate(row, results.leaderboard.metric) for row in results.leaderboard.rows}
    named = {
        outcome: [f"{c.second} ({rates[c.second]})" for c in decision.comparisons if c.outcome == outcome]
        for outcome in ("undecided", "equivalent")
    }
    if decision.outcome == "alone":
        return "There was no other model to compare it with."
    best = decision.comparisons[0].first
    if decision.outcome == "undecided":
        until = f"may be used until then, because {decision.accepted_because}"
        return (
            f"{best} ({rates[best]}) is ahead of {' and '.join(named['undecided'])}, but on {images} test images that "
            f"may be chance: {describe_needed(decision.comparisons).lower()} would tell. {decision.winner} leads "
            f"provisionally and {until if decision.accepted_because else 'is not to be used before that'}."
        )
    if decision.outcome == "equivalent":
        others = [f"{best} ({rates[best]})", *named["equivalent"]]
        equals = [told for told in others if not told.startswith(f"{decision.winner} (")]
        return f"It is as good as {' and '.join(equals)}, within the margin fixed beforehand, and no dearer to run."
    return "It is better than every other model, by more than chance explains."


def describe_change(results: Results) -> list[str]:
    """What would change the verdict, in sentences: more images, another margin, equal conditions, another seed."""
    decision, board = results.decision, results.leaderboard
    said = []
    for c in decision.comparisons:
        bounds = f"{100 * c.difference.low:.1f} to {100 * c.difference.high:.1f} points (90% interval)"
        if c.outcome == "undecided":
            said.append(
                f"{describe_needed([c])} in place of {describe_size(c, board.images)} would decide between "
                f"{c.first} and {c.second}, if they go on to disagree at this rate; so far {c.first} is ahead "
                f"by {bounds}."
            )
        elif c.outcome == "equivalent":
            margin = f"±{100 * results.params.compare.margin:.3g} points"
            said.append(
                f"{c.first} and {c.second} are equal within {margin}: {bounds} apart; a smaller margin may differ."
            )
        else:
            said.append(
                f"{c.first} is ahead of {c.second} by {bounds}, p = {c.adjusted_p:.2g}: more test images of this kind "
                "would hardly turn that round."
            )
    same = [c for c in decision.comparisons if c.outcome != "better"]
    said += [describe_power(same, board.images)] if same else []
    said += [] if decision.comparable else [remedy(decision.differences)]
    said += [describe_curve(results.learning_curve)] if results.learning_curve else []
    if results.leaderboard.rows[0].over_seeds:
        seeds = in_words([str(seed) for seed in (results.params.seed, *results.params.further_seeds)])
        return [
            *said,
            f"Each model was trained with the seeds {seeds}: the intervals hold what other seeds would give.",
        ]
    drawn = [model.metrics for model in results.models if model.metrics.classifier == "network"]
    if not drawn:
        return [*said, "Nothing in a probe is drawn by chance: another seed would give the same models."]
    found = sorted({metrics.conditions.seed for metrics in drawn})
    trained = f"seed {found[0]}" if len(found) == 1 else f"one of the seeds {', '.join(map(str, found))}"
    return [
        *said,
        f"Each network was trained once, with {trained}: what another seed would give is in none of these intervals.",
    ]


def describe_abstention(abstention: Abstention) -> str:
    """What comes of giving no answer below the threshold that was chosen on the validation split."""
    wanted = (
        f"to be wrong in at most {share(abstention.target_risk)} of its answers"
        if abstention.target_risk is not None
        else f"to answer {share(abstention.target_coverage or 0.0)} of the images"
    )
    if abstention.risk is None:
        return f"Asked {wanted}, it is sure enough of no image: the validation images are too few, or it is too weak."
    return (
        f"Asked {wanted}, it answers where its confidence is {share(abstention.threshold)} or more: "
        f"{share(abstention.coverage.value)} of the test images, of which {share(abstention.risk.value)} "
        f"({between(abstention.risk)}) wrongly."
    )


def describe_distance(metrics: Metrics) -> str:
    """Whether near classes are the ones that are taken for each other; empty where that is not known."""
    found = metrics.distance_correlation
    if found is None:
        return ""
    known = f"rank correlation {found.rho:.2f} over {count(found.pairs)} pairs of classes, p = {found.p_value:.2g}"
    if found.p_value < _SURE and found.rho < 0:
        return (
            f"The nearer two classes lie in the features of {metrics.model}, the more often it mixes them up: {known}."
        )
    return (
        f"How near two classes lie in the features of {metrics.model} does not tell whether it mixes them up: {known}."
    )


def describe_slices(metrics: Metrics) -> str:
    """On which parts of the test images the model is worse by more than chance explains."""
    worse = [name for name in worst_first(metrics.slices) if is_worse(metrics.slices[name])]
    tested = sum(part.p_value is not None for part in metrics.slices.values())
    if not worse:
        return f"On none of {tested} parts is {metrics.model} worse than on the rest by more than chance explains."
    told = [
        f"{name.replace('_', ' ')} ({part.sentence}): {share(part.accuracy.value)} against "
        f"{share(part.rest.value if part.rest else 0.0)}"
        for name, part in ((name, metrics.slices[name]) for name in worse[:SLICES_SHOWN])
    ]
    more = f"; and {len(worse) - SLICES_SHOWN} more" if worse[SLICES_SHOWN:] else ""
    return f"By more than chance explains, {metrics.model} is worse on {'; '.join(told)}{more}."


def describe_search(metrics: Metrics) -> str:
    """What the search of the worst slices found on the validation images, and what the test images say of it."""
    search, model = metrics.worst_slices, metrics.model
    if not search.looked_at:
        return f"No part of the validation images is large enough to tell where {model} is worst."
    confirmed = f"; the test images confirm {len(search.confirmed) or 'none'}" if search.found else ""
    return (
        f"Of {count(search.looked_at)} parts of the validation images, alone and where two meet, {model} is worse on "
        f"{search.found or 'none'} by more than chance explains{confirmed}."
    )


def describe_making(results: Results) -> str:
    """When, how long and on what the models were tuned and trained; empty where this machine did not do it."""
    spans = []
    for model in results.models:
        for fingerprint in (model.tuning.fingerprint, model.card.fingerprint):
            times = read_times(results.layout, fingerprint)
            if {"started", "ended"} <= times.keys():
                spans.append((times["started"], times["ended"]))
    if not spans:
        return ""
    ended = datetime.fromtimestamp(max(end for _, end in spans), UTC)
    seconds = sum(end - begin for begin, end in spans)
    return (
        f"Made on {ended.day} {ended:%B %Y at %H:%M} UTC. Studies and training took {duration(seconds)} on "
        f"{_describe_machine(results.winner.card.runtime['device'] == 'cuda')}."
    )


def describe_corrections(corrections: Corrections, splits: Mapping[str, str]) -> str:
    """What was done to the labels by hand; `splits` has the split of each image by its id."""
    per_split = Counter(splits.get(one.image_id, "") for one in corrections.corrected)
    told = [f"{count(per_split[split])} in {split}" for split in SPLITS if per_split[split]]
    said = f"{corrections.said}, by {corrections.location}" + (f": {', '.join(told)}" if told else "")
    if per_split["test"]:
        said += ". Where test labels were corrected because a model was wrong about them, test accuracy is too high"
    return said


def _describe_machine(with_gpu: bool) -> str:
    """The processor by its name, how many there are, and the operating system."""
    name = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    if known.is_file():
        lines = known.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    gpu = ""
    if with_gpu:
        import torch

        gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{os.cpu_count()} x {name}, {platform.system()}"


def share(rate: float) -> str:
    """A fraction for people: `91.2%`."""
    return f"{rate:.1%}"


def between(interval: Interval) -> str:
    """The bounds of an interval: `88.0 to 94.1%`."""
    return f"{100 * interval.low:.1f} to {interval.high:.1%}"


def count(number: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{int(number):,}".replace(",", "\u202f")


def compact(number: float) -> str:
    """Three digits and a unit: `11.2 M`, `0.61 G`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """Bytes for people, in powers of ten."""
    return f"{compact(number)}B" if number >= 1e3 else f"{number:.0f} B"


def milliseconds(seconds: float) -> str:
    """A short time: `7.4 ms`, `2.06 s`."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def duration(seconds: float) -> str:
    """A long time: `45 seconds`, `7 minutes`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def number(value: float) -> str:
    """A number as a person would write it: three significant digits at most."""
    return f"{value:.3g}"
