"""The results of an experiment as its files tell them: cards, metrics, leaderboard, decision, one digest of all.

Reads small JSON and hashes one table of predictions per model, so that asking "is there anything to publish?" costs
milliseconds.
"""

import logging
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.params import Params
from podium.console.dvc_files import damage, digest_lock
from podium.console.openings import Openings, count_openings
from podium.core.errors import DataError
from podium.core.files import canonical_json, sha256_file, sha256_text, sha256_tree
from podium.core.layout import (
    BEST,
    DECISION,
    DVC_LOCK,
    DVC_YAML,
    EXPLANATION,
    LEADERBOARD,
    METRICS,
    MODEL_CARD,
    PARAMS,
    PREDICTIONS,
    ROBUSTNESS,
    SOURCES,
    VALIDATION,
    Layout,
)
from podium.records.evaluation import Decision, Leaderboard, Metrics
from podium.records.explanation import Explanation
from podium.records.fetch import Sources
from podium.records.robustness import Robustness
from podium.records.training import LearningCurve, ModelCard, TuningResult, read_times
from podium.records.validate import ValidationReport

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)

JUDGED = (METRICS, VALIDATION, PREDICTIONS)
"""What `evidence_digest` covers; weights and card have the fingerprint, and the golden batch follows from both."""
_OF_THE_EXPERIMENT = (DVC_LOCK, DVC_YAML, PARAMS, "reports", "src", "stages")
_MAY_BE_EMPTY = ("val_loss", "val_accuracy")  # of a trial that ended before an epoch


@dataclass(frozen=True)
class TrainedResults:
    """One training: what it gave, what was measured of it, and the digest of what it is judged by.

    `times` is what was measured of it on this machine, in seconds.
    """

    card: ModelCard
    metrics: Metrics
    times: Mapping[str, float]
    evidence: str


@dataclass(frozen=True)
class ModelResults(TrainedResults):
    """One model: its study, measured in seconds (`study_times`), and further seeds; None: no image was perturbed."""

    name: str
    explanation: Explanation
    tuning: TuningResult
    robustness: Robustness | None
    study_times: Mapping[str, float]
    repeats: tuple[TrainedResults, ...] = ()


@dataclass(frozen=True)
class Results:
    """Everything decided and measured, best model first.

    Attributes:
        state: 64 hex digits; the same for the same models, test results, decision and validation.
        files: 64 hex digits; changes too when a prediction, a plot, a measured time or the report's code does.
        openings: how often the test images were opened.
        learning_curve: what `podium learning-curve` last found, where it is of one of these models.
        dvc_lock: digest of what `dvc.lock` says of every stage but publish, `none` without one.
    """

    layout: Layout
    params: Params
    models: tuple[ModelResults, ...]
    leaderboard: Leaderboard
    decision: Decision
    validation: ValidationReport
    sources: Sources
    openings: Openings
    learning_curve: LearningCurve | None
    state: str
    files: str
    dvc_lock: str

    @property
    def winner(self) -> ModelResults:
        """The model that `decision.json` names."""
        return next(c for c in self.models if c.name == self.decision.winner)

    @property
    def title(self) -> str:
        """The outcome in a few words, the number first: MLflow's table of runs shows some fifteen letters of a name."""
        return f"{self.winner.metrics.accuracy.value:.1%} {self.winner.name}"

    @cached_property
    def class_counts(self) -> dict[str, dict[str, int]]:
        """Images of each class, by split."""
        from podium.data.manifest import PREPARED_COLUMNS, read_manifest

        table = read_manifest(self.layout.manifest, PREPARED_COLUMNS, "label", "split")
        return {
            str(split): {str(label): int(count) for label, count in rows["label"].value_counts(sort=False).items()}
            for split, rows in table.groupby("split", sort=True)
        }

    @cached_property
    def test_images(self) -> str:
        """How many photographs all models were tested on, and a digest of these and their labels."""
        from podium.analysis.predictions import read_answers

        table = read_answers(self.layout.evaluation(self.winner.name) / PREDICTIONS)
        named = table[["image_id", "label"]].to_numpy().tolist()
        return f"{len(named)} {sha256_text(canonical_json(named))[:16]}"

    @property
    def comparison_tags(self) -> dict[str, str]:
        """What MLflow's tags say of the comparison: its outcome, whether it was fair, and where the models differed."""
        told = [f"{d.condition}{f' (accepted: {d.because})' if d.accepted else ''}" for d in self.decision.differences]
        return {
            "podium.outcome": self.decision.outcome,
            "podium.undecided_because": self.decision.accepted_because or "none",
            "podium.comparable": str(self.decision.comparable).lower(),
            "podium.differences": ", ".join(told) or "none",
        }


def read_results(layout: Layout, params: Params) -> Results:
    """Reads what the stages before publish left.

    Raises:
        DataError: a file is missing, or two files do not belong together.
    """
    leaderboard = Leaderboard.read(layout.comparison / LEADERBOARD)
    decision = Decision.read(layout.comparison / DECISION)
    ranks = {row.model: row.rank for row in leaderboard.rows}
    missing = [name for name in params.models if name not in ranks]
    if missing or decision.winner not in params.models:
        raise DataError(
            f"artifacts/comparison does not fit params.yaml ({(missing or [decision.winner])[0]!r} is in only one of "
            "them): run `dvc repro`"
        )
    models = tuple(
        _read_model(layout, name, params.further_seeds) for name in sorted(params.models, key=lambda name: ranks[name])
    )
    lock = _lock_digest(layout.root / DVC_LOCK)
    state = _state(layout, params, models)
    package = Path(__file__).parents[1]
    code = sha256_tree(
        [
            *(path for path in Path(__file__).parent.rglob("*.*") if path.suffix in (".py", ".j2", ".js")),
            *(package / "analysis" / f"{name}.py" for name in ("conditions", "decision", "leaderboard")),
        ],
        package,
    )
    return Results(
        layout=layout,
        params=params,
        models=models,
        leaderboard=leaderboard,
        decision=decision,
        validation=ValidationReport.read(layout.validation_report),
        sources=Sources.read(layout.raw / SOURCES),
        openings=count_openings(layout, leaderboard, params.evaluate.openings_budget),
        learning_curve=_read_learning_curve(layout, models),
        state=state,
        files=sha256_text(canonical_json([state, lock, code, [[c.evidence, dict(c.times)] for c in models]])),
        dvc_lock=lock,
    )


def evidence_digest(files: Iterable[Path]) -> str:
    """Names what a model is judged by: one digest of its measurements, validation report and predictions.

    Returns:
        64 hex digits; the same for the same names and bytes.

    Raises:
        DataError: a file is missing.
    """
    digests = {}
    for path in files:
        if not path.is_file():
            raise DataError(f"{path} does not exist: run `dvc repro` to make it")
        digests[path.name] = sha256_file(path)
    return sha256_text(canonical_json(digests))


def read_table(path: Path) -> "pd.DataFrame":
    """Reads a CSV file of an earlier stage; a class in it may be called `NA` or `null`.

    Returns:
        Numbers exactly as they were written. Only an empty loss or accuracy is missing (NaN); other empty cells are "".

    Raises:
        DataError: the file does not exist or is no table.
    """
    import pandas as pd

    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    empty = {column: [""] for column in _MAY_BE_EMPTY}
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=empty)
    except ValueError as error:  # empty, no table, no UTF-8
        raise DataError(f"{path} is no table: delete it and run `dvc repro`") from error


def git_commit(root: Path) -> tuple[str, bool]:
    """The commit checked out, and whether what the results came from or led to differs from it.

    Returns:
        40 hex digits and False or True: files of the experiment that git does not know yet, such as `dvc.lock`, count
        too. `none` and True outside a git repository, or where git refuses to look into it, which is warned of.
    """
    try:
        head = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!registry")
        unknown = _git(root, "ls-files", "--others", "--exclude-standard", "--", *_OF_THE_EXPERIMENT)
    except OSError:
        return "none", True
    except subprocess.CalledProcessError as error:
        if "safe.directory" in error.stderr:
            _warn_unsafe(root)
        return "none", True
    return head, bool(changed or unknown)


def commit_tags(root: Path, known: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's tags are to say of the commit.

    Results are published before they can be committed. When they have been, the commit is the one that holds them;
    later commits change nothing.

    Args:
        root: of the project.
        known: the tags so far.

    Returns:
        The tags to set; none where those there are stay.
    """
    if known.get("podium.git_dirty") == "false":
        return {}
    commit, dirty = git_commit(root)
    if dirty and "podium.git_commit" in known:
        return {}
    return {"podium.git_commit": commit, "podium.git_dirty": str(dirty).lower()}


def _git(root: Path, *arguments: str) -> str:
    """What git says on stdout."""
    said = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return said.stdout


@cache
def _warn_unsafe(root: Path) -> None:
    """Says once why the commit is not known."""
    _LOG.warning(
        "the commit is not recorded: git does not read %s, which another user owns; allow it with "
        "git config --global --add safe.directory %s",
        root,
        root,
    )


def _read_model(layout: Layout, name: str, seeds: Iterable[int]) -> ModelResults:
    """Reads one model with its further seeds."""
    tuning = TuningResult.read(layout.tuning(name) / BEST)
    perturbed = layout.evaluation(name) / ROBUSTNESS
    own = _read_trained(layout, layout.model(name), layout.evaluation(name))
    return ModelResults(
        **vars(own),
        name=name,
        explanation=Explanation.read(layout.explanation(name) / EXPLANATION),
        tuning=tuning,
        robustness=Robustness.read(perturbed) if perturbed.is_file() else None,
        study_times=read_times(layout, tuning.fingerprint),
        repeats=tuple(
            _read_trained(layout, layout.repeat(name, seed), layout.repeat_evaluation(name, seed)) for seed in seeds
        ),
    )


def _read_trained(layout: Layout, trained: Path, evaluation: Path) -> TrainedResults:
    """Reads one training, and refuses metrics that are of other weights."""
    card, metrics = ModelCard.read(trained / MODEL_CARD), Metrics.read(evaluation / METRICS)
    if metrics.fingerprint != card.fingerprint:
        judges, holds = (folder.relative_to(layout.root).as_posix() for folder in (evaluation, trained))
        raise DataError(f"{judges} judges another model than {holds} holds: run `dvc repro`")
    judged = (evaluation / METRICS, layout.validation_report, evaluation / PREDICTIONS)
    times = read_times(layout, card.fingerprint)
    return TrainedResults(card=card, metrics=metrics, times=times, evidence=evidence_digest(judged))


def _read_learning_curve(layout: Layout, models: tuple[ModelResults, ...]) -> LearningCurve | None:
    """The learning curve that was last asked for, unless it is of a model of another time."""
    if not layout.learning_curve.is_file():
        return None
    found = LearningCurve.read(layout.learning_curve)
    return found if found.fingerprint in {model.card.fingerprint for model in models} else None


def _state(layout: Layout, params: Params, models: tuple[ModelResults, ...]) -> str:
    """The digest `Results.state`."""
    files = [layout.validation_report, *(layout.comparison / n for n in (LEADERBOARD, DECISION))]
    files += [layout.evaluation(c.name) / METRICS for c in models]
    return sha256_text(
        canonical_json(
            {
                "experiment": params.experiment,
                "models": {c.name: c.card.fingerprint for c in models}
                | {f"{c.name} seed {r.card.seed}": r.card.fingerprint for c in models for r in c.repeats},
                "files": {f.relative_to(layout.root).as_posix(): sha256_file(f) for f in files},
            }
        )
    )


def _lock_digest(path: Path) -> str:
    """The digest `Results.dvc_lock`."""
    if not path.is_file():
        return "none"
    wrong = damage(path)
    if wrong:
        raise DataError(f"{path} {wrong}: run `podium doctor --repair`")
    return digest_lock(path.read_text(encoding="utf-8"))
