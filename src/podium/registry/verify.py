"""Does a version's commit give the version again: to the bit, within noise, or something else, and because of what?

What differs of the inputs is named, whether or not the results do.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING, Literal

from podium.core.errors import first_few
from podium.core.layout import METRICS, PREDICTIONS, REPEATS, WEIGHTS, Layout
from podium.data.tensors import digest_like
from podium.records.base import read_parquet
from podium.registry.evidence import VersionMetrics
from podium.registry.inputs import OF_THE_MACHINE, Input, Recorded, list_inputs
from podium.registry.rebuild import Rebuilt

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["bit-equal", "within noise", "different"]
_NAMED, _SURE = 5, 0.975


@dataclass(frozen=True)
class Outcome:
    """One result of the version and of the rebuild; `noise` says what difference is none, where one is measured."""

    name: str
    recorded: str
    rebuilt: str
    equal: bool
    within: bool = False
    noise: str = ""


@dataclass(frozen=True)
class Verification:
    """The verdict in a word and in a sentence, what it follows from, and what is not as it was registered."""

    verdict: Verdict
    said: str
    outcomes: list[Outcome]
    inputs: list[Input]
    told: list[str]


def compare(layout: Layout, recorded: Recorded, rebuilt: Rebuilt) -> Verification:
    """Holds a rebuild against the version.

    Raises:
        DataError: a file of the rebuild is damaged.
    """
    clone, name = rebuilt.layout, f"version {recorded.version}"
    inputs = list(list_inputs(layout, recorded, clone))
    named = first_few([f"{i.kind}: {text}" for i in inputs for text in i.differences], _NAMED, "; ")
    if rebuilt.failed:
        said = f"the rebuild of {name} stopped ({rebuilt.failed})" + (f"; what differs: {named}" if named else "")
        return Verification("different", said, [], inputs, recorded.told)
    outcomes = list(_outcomes(recorded, clone))
    measured = [outcome for outcome in outcomes if outcome.noise]
    ours = [each for each in inputs if each.differences and each.kind not in OF_THE_MACHINE]
    because = f"; what differs: {named}" if named else "; no input that is on record differs"
    if all(outcome.equal for outcome in outcomes):
        said = f"weights, predictions and metrics are those of {name}" + (f", although {named}" if named else "")
        return Verification("bit-equal", said, outcomes, inputs, recorded.told)
    elsewhere = _other_cpu(inputs, measured)
    gaps = elsewhere + ", ".join(f"{o.name} {o.recorded} -> {o.rebuilt} ({o.noise})" for o in measured)
    same_test = recorded.evidence.metrics.test_digest == VersionMetrics.read(_metrics(clone, recorded)).test_digest
    if ours or not same_test or not all(outcome.within for outcome in measured):
        return Verification("different", f"not {name}: {gaps}{because}", outcomes, inputs, recorded.told)
    return Verification("within noise", f"{name} within noise: {gaps}{because}", outcomes, inputs, recorded.told)


def _other_cpu(inputs: Sequence[Input], measured: Sequence[Outcome]) -> str:
    """That bytes cannot be equal, where another CPU type computed, and how far the metrics are apart; else nothing.

    `runtime.instructions: avx2` is no promise for CPUs that were never compared.
    """
    if not any(each.differences for each in inputs if each.kind in ("instruction set", "CPU")):
        return ""
    gap = max(abs(float(outcome.rebuilt) - float(outcome.recorded)) for outcome in measured)
    return f"another CPU type: metrics within {gap:.4f} of the committed ones: "


def _outcomes(recorded: Recorded, clone: Layout) -> Iterator[Outcome]:
    """Weights, predictions and metrics of both."""
    card, model = recorded.evidence.card, recorded.model
    made = digest_like(clone.model(model) / WEIGHTS, card.weights_sha256)
    yield Outcome("weights", card.weights_sha256[:12], made[:12], made == card.weights_sha256)
    pair = [read_parquet(folder / PREDICTIONS) for folder in (recorded.evidence.folder, clone.evaluation(model))]
    yield _compare_predictions(*pair)
    papers = [recorded.evidence.folder / METRICS, _metrics(clone, recorded)]
    told = [json.loads(path.read_text(encoding="utf-8")) for path in papers]
    other = [key for key in told[0].keys() | told[1].keys() if told[0].get(key) != told[1].get(key)]
    other = sorted(key for key in other if key != "fingerprint")  # which names versions of packages, too
    shown = first_few(other, _NAMED) if other else "the same"
    yield Outcome("metrics", f"{len(told[0])} entries", shown, not other)
    now = VersionMetrics.read(papers[1])
    repeats = [VersionMetrics.read(path) for path in sorted((clone.evaluation(model) / REPEATS).glob(f"*/{METRICS}"))]
    for name in ("accuracy", "macro_f1"):
        yield _compare_metric(name, recorded.evidence.metrics, now, repeats)


def _metrics(clone: Layout, recorded: Recorded) -> Path:
    """The metrics of the rebuild."""
    return clone.evaluation(recorded.model) / METRICS


def _compare_predictions(old: "pd.DataFrame", new: "pd.DataFrame") -> Outcome:
    """Whether both answered the same images with the same probabilities."""
    told = f"{len(old):,} images"
    if old.equals(new):
        return Outcome("predictions", told, "the same", True)
    if old["image_id"].tolist() != new["image_id"].tolist() or list(old.columns) != list(new.columns):
        return Outcome("predictions", told, f"of {len(new):,} other images, or of other classes", False)
    classes = [name for name in old.columns if name.startswith("p_")]
    gap = float((old[classes] - new[classes]).abs().to_numpy().max())
    named = int((old["predicted"] != new["predicted"]).sum())
    return Outcome("predictions", told, f"{named:,} named otherwise, a probability {gap:.1e} off", False)


def _compare_metric(name: str, old: VersionMetrics, now: VersionMetrics, repeats: Sequence[VersionMetrics]) -> Outcome:
    """A metric of both, and whether the difference is what another seed, or else other test images, would make.

    With further seeds: two trainings differ by less than t x sqrt(2) x standard deviation in 95 of 100 cases.
    """
    was, found = getattr(old, name), getattr(now, name)
    values = [getattr(each, name).value for each in (now, *repeats)]
    if len(values) > 1:
        from scipy.stats import t

        most = float(t.ppf(_SURE, len(values) - 1)) * math.sqrt(2) * stdev(values)
        within, noise = abs(found.value - was.value) <= most, f"noise of {len(values)} seeds: up to {most:.4f}"
    else:
        within = was.low <= found.value <= was.high
        noise = f"noise of the test images: {was.low:.4f} to {was.high:.4f}, 95 % bootstrap"
    return Outcome(name, f"{was.value:.4f}", f"{found.value:.4f}", found.value == was.value, within, noise)
