"""Where every file of an experiment lies. Nothing else in the project builds such a path.

`artifacts/` is DVC's and git-ignored, `reports/` is small text tracked by git, `.podium/` is untracked work in
progress and measured times. The same names are the `outs` of `dvc.yaml`.
"""

from dataclasses import dataclass
from pathlib import Path

# Names of files, by the stage that writes them; folders are the methods below.
PARAMS = "params.yaml"
DVC_YAML = "dvc.yaml"
DVC_LOCK = "dvc.lock"
MLFLOW_DB = "mlflow.db"
WORK = ".podium"
# fetch
MANIFEST = "manifest.parquet"  # preprocess writes one, too
SOURCES = "sources.json"
WEIGHTS_CARD = "weights.json"
WEIGHTS = "weights.safetensors"  # train writes one, too
# preprocess
SPLIT = "split.json"
SPLIT_INDEX = "index.parquet"
# validate
VALIDATION = "validation.json"
PASSED = "passed.json"
PAGE = "index.html"
LABEL_NOISE = "label_noise.json"
# tune
BEST = "best.json"
TRIALS = "trials.csv"
HISTORY = "history.csv"  # train and evaluate write one, too
# train
MODEL_CARD = "model.json"
CHECKPOINT = "checkpoint.safetensors"
# evaluate
METRICS = "metrics.json"
CONFUSION = "confusion.csv"
PREDICTIONS = "predictions.parquet"
MISTAKES = "mistakes.csv"
MISTAKE_PICTURES = "mistakes"  # a folder
LEARNING_CURVES = "learning_curves.png"
CONFUSION_MATRIX = "confusion_matrix.png"
PER_CLASS_ACCURACY = "per_class_accuracy.png"
RELIABILITY = "reliability.png"
SLICE_ACCURACY = "slices.png"
# compare
LEADERBOARD = "leaderboard.json"
DECISION = "decision.json"
# publish
GOLDEN = "golden.json"


@dataclass(frozen=True)
class Layout:
    """Paths below one project root (absolute)."""

    root: Path

    @property
    def params(self) -> Path:
        """The experiment in force; people write it, and so does `podium use`."""
        return self.root / PARAMS

    @property
    def data(self) -> Path:
        """What people put there for `fetch`: folders, archives, tables; `podium snapshot` writes its archive here."""
        return self.root / "data"

    # code
    def code(self, stage: str) -> Path:
        """What computes a stage's results: modules with digests, libraries with versions; written by code."""
        return self.root / "artifacts" / "code" / f"{stage}.json"

    # fetch
    @property
    def raw(self) -> Path:
        """Images as the source gave them (zip shards), `manifest.parquet`, `sources.json`."""
        return self.root / "artifacts" / "raw"

    @property
    def weights(self) -> Path:
        """A folder a model: `weights.json`, and `weights.safetensors` where it starts from pretrained weights."""
        return self.root / "artifacts" / "weights"

    # preprocess
    @property
    def prepared(self) -> Path:
        """The prepared images, a folder a split, and beside them the four files below."""
        return self.root / "artifacts" / "prepared"

    @property
    def manifest(self) -> Path:
        """One row a prepared image, columns `PREPARED_COLUMNS`: the spine of all later stages."""
        return self.prepared / MANIFEST

    @property
    def measures(self) -> Path:
        """Numbers measured of each image: `image_id split label source` and the columns of `MEASURES`."""
        return self.prepared / "measures.parquet"

    @property
    def rejected(self) -> Path:
        """What is in no split, with the reason."""
        return self.prepared / "rejected.csv"

    @property
    def profile(self) -> Path:
        """The `Profile` of the dataset: counts, duplicates, spreads."""
        return self.prepared / "profile.json"

    # validate
    @property
    def validation_report(self) -> Path:
        """The `ValidationReport`; there also when the dataset did not pass."""
        return self.root / "reports" / VALIDATION

    @property
    def validation(self) -> Path:
        """The page for people, doubtful labels, and `passed.json` where later stages may run."""
        return self.root / "artifacts" / "validation"

    # tune@m, train@m
    def tuning(self, model: str) -> Path:
        """A model's study: `best.json`, `trials.csv`, `history.csv`; written by tune."""
        return self.root / "artifacts" / "tuning" / model

    def model(self, model: str) -> Path:
        """A trained model: `weights.safetensors`, `model.json`, `history.csv`; written by train."""
        return self.root / "artifacts" / "models" / model

    # evaluate@m
    def evaluation_report(self, model: str) -> Path:
        """Small text about a model's test: `metrics.json`, `confusion.csv`, `history.csv`."""
        return self.root / "reports" / "evaluation" / model

    def evaluation(self, model: str) -> Path:
        """The rest of a model's test: `predictions.parquet`, plots, the worst mistakes with pictures."""
        return self.root / "artifacts" / "evaluation" / model

    # compare
    @property
    def comparison(self) -> Path:
        """`leaderboard.json` and `decision.json`."""
        return self.root / "reports" / "comparison"

    # publish
    @property
    def report(self) -> Path:
        """The experiment as one page that needs no other file."""
        return self.root / "reports" / "report.html"

    # work in progress and measured times, never hashed
    @property
    def work(self) -> Path:
        """Untracked: deleting it loses measured times, downloads and what a killed run had done, but no result."""
        return self.root / WORK

    @property
    def downloads(self) -> Path:
        """Files from the network, kept for the next `fetch`, which checks their digests."""
        return self.work / "downloads"

    @property
    def unpacked(self) -> Path:
        """Archives that `fetch` unpacked, a folder each under its digest, which is checked before it is used again."""
        return self.work / "unpacked"

    def checkpoint(self, fingerprint: str) -> Path:
        """State of a training run after its last epoch; removed when the run ends well."""
        return self.work / "checkpoints" / fingerprint

    def study(self, fingerprint: str) -> Path:
        """Trials of a study that is under way; removed when it ends well."""
        return self.work / "studies" / fingerprint

    def features(self, model: str) -> Path:
        """What frozen layers give for the training images of one model: kept for its next trial or training run."""
        return self.work / "features" / model

    def last_inputs(self, stage: str, model: str | None) -> Path:
        """What a stage read when it last ran to its end here: says why it runs again, decides nothing."""
        return self.work / "inputs" / f"{stage}{f'@{model}' if model else ''}.json"

    def times(self, fingerprint: str) -> Path:
        """Measured seconds of one fingerprint (a JSON file): shown by publish, never hashed."""
        return self.work / "times" / f"{fingerprint}.json"

    @property
    def main_root(self) -> Path:
        """The root people look at: `dvc exp run --temp` and `--queue` work in a throw-away copy below it."""
        parts = self.root.parts
        for i in range(len(parts) - 2):
            if parts[i : i + 3] == (".dvc", "tmp", "exps"):
                return Path(*parts[:i])
        return self.root
