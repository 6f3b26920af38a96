"""Where every file of an experiment lies. Nothing else in the project builds such a path.

`artifacts/` is DVC's and git-ignored, `reports/` is small text tracked by git, `.podium/` is untracked work in
progress and measured times. The same names are the `outs` of `dvc.yaml`.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths below one project root (absolute)."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        return self.root / "data"

    # fetch
    @property
    def raw(self) -> Path:
        return self.root / "artifacts" / "raw"

    @property
    def weights(self) -> Path:
        return self.root / "artifacts" / "weights"

    # preprocess
    @property
    def prepared(self) -> Path:
        return self.root / "artifacts" / "prepared"

    @property
    def manifest(self) -> Path:
        return self.prepared / "manifest.parquet"

    @property
    def measures(self) -> Path:
        return self.prepared / "measures.parquet"

    @property
    def rejected(self) -> Path:
        return self.prepared / "rejected.csv"

    @property
    def profile(self) -> Path:
        return self.prepared / "profile.json"

    # validate
    @property
    def validation_report(self) -> Path:
        return self.root / "reports" / "validation.json"

    @property
    def validation(self) -> Path:
        return self.root / "artifacts" / "validation"

    # tune@m, train@m
    def tuning(self, model: str) -> Path:
        return self.root / "artifacts" / "tuning" / model

    def model(self, model: str) -> Path:
        return self.root / "artifacts" / "models" / model

    # evaluate@m
    def evaluation_report(self, model: str) -> Path:
        return self.root / "reports" / "evaluation" / model

    def evaluation(self, model: str) -> Path:
        return self.root / "artifacts" / "evaluation" / model

    # compare
    @property
    def comparison(self) -> Path:
        return self.root / "reports" / "comparison"

    # publish
    @property
    def report(self) -> Path:
        return self.root / "reports" / "report.html"

    # work in progress and measured times, never hashed
    @property
    def work(self) -> Path:
        return self.root / ".podium"

    @property
    def downloads(self) -> Path:
        return self.work / "downloads"

    def checkpoint(self, fingerprint: str) -> Path:
        return self.work / "checkpoints" / fingerprint

    def study(self, fingerprint: str) -> Path:
        return self.work / "studies" / fingerprint

    def features(self, model: str) -> Path:
        """What frozen layers give for the training images of one model: kept for its next trial or training run."""
        return self.work / "features" / model

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
