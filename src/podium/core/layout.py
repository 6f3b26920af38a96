"""Where every file of an experiment lies. Nothing else in the project builds such a path.

`artifacts/` is DVC's and git-ignored, `reports/` is small text tracked by git, `.podium/` is untracked work in
progress and measured times. The same names are the `outs` of `dvc.yaml`.
"""

from pathlib import Path

# Names of files, by the stage that writes them; paths are attributes and methods of `Layout`.
PARAMS = "params.yaml"
DVC_YAML = "dvc.yaml"
DVC_LOCK = "dvc.lock"
MLFLOW_DB = "mlflow.db"
WORK = ".podium"
# fetch
MANIFEST = "manifest.parquet"  # preprocess writes one, too
SOURCES = "sources.json"
WEIGHTS_CARD = "weights.json"
TRAINED_ON = "trained_on.json"
WEIGHTS = "weights.safetensors"  # train writes one, too
# preprocess
SPLIT = "split.json"
SPLIT_INDEX = "index.parquet"
READINGS = "readings.jsonl"  # what decoding found in each image that is kept in `.podium/`
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
# repeat
SEEDS = "seeds.json"
ROBUSTNESS = "robustness.json"
REPEATS = "repeats"  # a folder; in the results of evaluate, too
# evaluate
METRICS = "metrics.json"
CONFUSION = "confusion.csv"
PREDICTIONS = "predictions.parquet"
MISTAKES = "mistakes.parquet"
TYPICAL = "typical.parquet"
LEARNING_CURVES = "learning_curves.png"
CONFUSION_MATRIX = "confusion_matrix.png"
PER_CLASS_ACCURACY = "per_class_accuracy.png"
RELIABILITY = "reliability.png"
RISK_COVERAGE = "risk_coverage.png"
CLASSIFICATION_REPORT = "classification_report.txt"
SLICE_ACCURACY = "slices.png"
# explain
INTERVENTIONS = "interventions.png"
EXPLANATION = "explanation.json"
# compare
LEADERBOARD = "leaderboard.json"
DECISION = "decision.json"
# publish
GOLDEN = "golden.json"
LICENCES = "licences.json"
LICENCES_TEXT = "licences.txt"
ATTRIBUTION = "attribution.csv"
EXPORTS = "exports.json"
ONNX = "model.onnx"
ONNX_INT8 = "model.int8.onnx"
TORCH_EXPORT = "model.pt2"
# `podium export hub`
HUB_CARD = "README.md"
TRAIN_MEASURES = "train_measures.parquet"
# `podium evaluate`: images that were not asked about
LEFT_OUT = "left_out.csv"
# a prediction log: what its ids are made with, unless the environment says it
LOG_KEY = "hmac.key"
# `podium drift`
DRIFT = "drift.json"
DRIFT_PLOT = "drift.png"
# evaluate appends to it; no output of a stage
TEST_OPENINGS = "test_openings.jsonl"


def find_root(here: Path) -> Path | None:
    """The root of the project around a folder: the nearest one with `params.yaml` and `dvc.yaml`; None for none."""
    return next((f for f in (here, *here.parents) if (f / PARAMS).is_file() and (f / DVC_YAML).is_file()), None)


class Layout:
    """Paths below one project root (absolute)."""

    def __init__(self, root: Path) -> None:
        artifacts, reports = root / "artifacts", root / "reports"
        self.root = root
        # The experiment in force; people write it, and so does `podium use`.
        self.params = root / PARAMS
        # What people put there for fetch: folders, archives, tables; `podium snapshot` writes its archive here.
        self.data = root / "data"
        # fetch: images as the source gave them (zip shards), `manifest.parquet`, `sources.json`.
        self.raw = artifacts / "raw"
        # fetch: a folder a model: `weights.json`, and `weights.safetensors` where it starts from pretrained weights.
        self.weights = artifacts / "weights"
        # fetch: the `TrainedOn` of these weights; validate holds it against val and test.
        self.trained_on = self.weights / TRAINED_ON
        # preprocess: a folder a split, and beside them four files.
        self.prepared = artifacts / "prepared"
        # One row a prepared image, columns `PREPARED_COLUMNS`: the spine of all later stages.
        self.manifest = self.prepared / MANIFEST
        # Numbers measured of each image: `image_id split label source` and the columns of `MEASURES`.
        self.measures = self.prepared / "measures.parquet"
        # What is in no split, with the reason.
        self.rejected = self.prepared / "rejected.csv"
        # The `Profile` of the dataset: counts, duplicates, spreads.
        self.profile = self.prepared / "profile.json"
        # validate: the `ValidationReport`; there also when the dataset did not pass.
        self.validation_report = artifacts / "validation" / VALIDATION
        # validate: beside it the page for people, doubtful labels, and `passed.json` where later stages may run.
        self.validation = artifacts / "validation"
        # compare: `leaderboard.json` and `decision.json`.
        self.comparison = artifacts / "comparison"
        # compare: `metrics.json` for DVC; publish: copies of `leaderboard.json` and `decision.json`.
        self.comparison_report = reports / "comparison"
        # publish: a copy of the `ValidationReport`.
        self.validation_copy = reports / VALIDATION
        # publish: the experiment as one page that needs no other file.
        self.report = reports / "report.html"
        # `podium learning-curve`, or publish where `compare.learning_curve` asks: a `LearningCurve`; git's, not DVC's.
        self.learning_curve = reports / "learning_curve.json"
        # publish: the same in short, as a comment on a pull request.
        self.report_in_short = reports / "report.md"
        # Untracked: deleting it loses measured times, downloads and what a killed run had done, but no result.
        self.work = root / WORK
        # Locks of stages, a file each: one process of a stage is at work at a time.
        self.locks = self.work / "locks"
        # Files from the network, kept for the next `fetch`, which checks their digests.
        self.downloads = self.work / "downloads"
        # Archives that fetch unpacked, a folder each under its digest, which is checked before it is used again.
        self.unpacked = self.work / "unpacked"
        # What `preprocess` made of each image, for its next run: pixels, signatures, measures, and what was read.
        self.decoded = self.work / "decoded"
        # Great Expectations' own pages of the dataset.
        self.data_docs = self.work / "data-docs"

    @property
    def test_openings(self) -> Path:
        """Every opening of the test split, a line each; git's, and no stage's output, since it is history."""
        return self.main_root / "reports" / TEST_OPENINGS

    @property
    def test_openings_copy(self) -> Path:
        """What was ever appended here: brings back lines that a checkout of git or `dvc exp apply` took away."""
        return self.main_root / WORK / TEST_OPENINGS

    def registry(self, name: str) -> Path:
        """The audit record of a registered model, a line an entry; git's, and no stage's output."""
        return self.main_root / "registry" / f"{name}.jsonl"

    def signatures(self, name: str) -> Path:
        """Signatures of entries of that record, a line each; git's, too."""
        return self.main_root / "registry" / f"{name}.signatures.jsonl"

    @property
    def durations(self) -> Path:
        """Seconds each stage took when it last ran to its end here (JSON): says how long is left, decides nothing."""
        return self.work / "durations.json"

    @property
    def fitting(self) -> Path:
        """Digests of networks and the images' size that were found to fit; decides nothing but what is built again."""
        return self.work / "fitting.txt"

    @property
    def readings(self) -> Path:
        """What was read of the project's own modules, by the digest of their bytes; only `code` writes it."""
        return self.work / "modules.json"

    def code(self, stage: str) -> Path:
        """What computes a stage's results: modules with digests, libraries with versions; written by code."""
        return self.root / "artifacts" / "code" / f"{stage}.json"

    def distil(self, model: str) -> Path:
        """Who teaches a model (null: nobody); written by code, copied beside `teacher(model)` by DVC."""
        return self.root / "artifacts" / "code" / "distil" / f"{model}.json"

    def teacher(self, model: str) -> Path:
        """The model that a student learns from, as train left it; copied there by teach, for students alone."""
        return self.root / "artifacts" / "teachers" / model / "model"

    def tuning(self, model: str) -> Path:
        """A model's study: `best.json`, `trials.csv`, `history.csv`; written by tune."""
        return self.root / "artifacts" / "tuning" / model

    def model(self, model: str) -> Path:
        """A trained model: `weights.safetensors`, `model.json`, `history.csv`; written by train."""
        return self.root / "artifacts" / "models" / model

    def repeats(self, model: str) -> Path:
        """A model trained with further seeds, a folder each, and `seeds.json`, which lists these; written by repeat."""
        return self.root / "artifacts" / REPEATS / model

    def repeat(self, model: str, seed: int) -> Path:
        """A model trained with another seed; the files are those of `model`."""
        return self.repeats(model) / str(seed)

    def evaluation_report(self, model: str) -> Path:
        """A model's test as small text: `confusion.csv` and `history.csv`; publish copies `metrics.json`."""
        return self.root / "reports" / "evaluation" / model

    def evaluation(self, model: str) -> Path:
        """A model's test: `metrics.json`, `predictions.parquet`, `mistakes.parquet`, plots."""
        return self.root / "artifacts" / "evaluation" / model

    def repeat_evaluation(self, model: str, seed: int) -> Path:
        """The test of a model trained with another seed: `metrics.json`, `predictions.parquet`; written by evaluate."""
        return self.evaluation(model) / REPEATS / str(seed)

    def explanation(self, model: str) -> Path:
        """What speaks for a model's answers: `explanation.json` and pictures; written by explain."""
        return self.root / "artifacts" / "explanation" / model

    def checkpoint(self, fingerprint: str) -> Path:
        """State of a training run after its last epoch; removed when the run ends well."""
        return self.work / "checkpoints" / fingerprint

    def learning_point(self, fingerprint: str) -> Path:
        """What one training for a learning curve reached, for the next call; safe to delete."""
        return self.work / "learning_curve" / f"{fingerprint}.json"

    def study(self, fingerprint: str) -> Path:
        """Trials of a study that is under way; removed when it ends well."""
        return self.work / "studies" / fingerprint

    def features(self, model: str) -> Path:
        """What frozen layers give for the training images of one model: kept for its next trial or training run."""
        return self.work / "features" / model

    @property
    def probe_features(self) -> Path:
        """The same of all probes, so that those of one network compute it once."""
        return self.work / "probe_features"

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
