"""An edit reruns what it can change and nothing else: one edit in each room, and the real `dvc repro` behind it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scratch import Scratch
from podium.core import identity
from podium.core.identity import stage_code
from podium.pipeline.code import STAGES

ROOT = Path(__file__).parents[2]
MODELS = ("small_resnet", "small_convnext")
RETRAIN = ("tune", "train", "repeat")
ALL = "fetch preprocess validate tune train repeat evaluate explain compare"
TABLE = [
    # file, stages whose results its code can change
    ("core/files.py", ALL),
    ("core/errors.py", ""),
    ("core/vision.py", "fetch tune train repeat evaluate explain"),
    ("config/params.py", ""),
    ("config/preprocess.py", "preprocess validate tune train repeat evaluate explain compare"),
    ("config/validate.py", "validate"),
    ("config/runtime.py", "tune train repeat evaluate explain"),
    ("records/validate.py", "validate compare"),
    ("console/shell.py", ""),
    ("console/openings.py", ""),
    ("console/progress.py", ""),
    ("report/pages.py", "validate evaluate explain"),
    ("report/plots.py", "evaluate explain"),
    ("report/validation_page.py", "validate"),
    ("report/html.py", ""),
    ("sources/folder.py", "fetch"),
    ("weights/published.py", "fetch"),
    ("curation/splits.py", "preprocess validate"),  # which derives the splits anew
    ("curation/findings.py", "validate"),
    ("data/decode.py", "preprocess"),
    ("data/augment/batch.py", "tune train repeat evaluate explain"),
    ("data/loader.py", "tune train repeat"),
    ("models/zoo/families.py", "tune train repeat evaluate explain"),
    ("analysis/metrics.py", "evaluate compare"),
    ("analysis/calibration.py", "evaluate explain compare"),
    ("analysis/leaderboard.py", "compare"),
    ("models/explanations.py", "explain"),
    ("models/training.py", "train repeat"),
    ("pipeline/train.py", "train"),
    ("pipeline/repeat.py", "repeat"),
    ("pipeline/publish.py", ""),
    ("cli/promotion.py", ""),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the package, whose code is taken for what runs. Tests leave it as it was."""
    copied = tmp_path_factory.mktemp("package") / "podium"
    shutil.copytree(ROOT / "src/podium", copied, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(identity, "_PACKAGE", copied)
        yield copied


def codes() -> dict[str, identity.Code]:
    return {stage: stage_code(ROOT, stage) for stage in STAGES}


@pytest.mark.parametrize(("file", "stages"), TABLE)
def test_an_edit_changes_the_stages_that_import_it_and_a_comment_or_docstring_none(package, file, stages):
    before, path = codes(), package / file
    text = path.read_text(encoding="utf-8")
    path.write_text(f"# A comment.\n{text}\n\n# Another one.\n", encoding="utf-8")
    assert codes() == before
    path.write_text(text.replace('"""', '"""Other words. ', 1), encoding="utf-8")
    assert codes() == before
    path.write_text(f"{text}\n_EDITED = True\n", encoding="utf-8")
    after = codes()
    path.write_text(text, encoding="utf-8")
    assert {stage for stage in STAGES if after[stage] != before[stage]} == set(stages.split())


def test_the_table_has_every_room():
    rooms = {p.name for p in (ROOT / "src/podium").iterdir() if (p / "__init__.py").is_file()}
    no_result = {"registry", "serving", "tracking"}  # what `publish` and commands use; no stage's results
    assert {file.partition("/")[0] for file, _ in TABLE} == rooms - no_result


@pytest.fixture(scope="module")
def edited(finished: Scratch, tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """A copy of the finished project that runs its own source."""
    root = tmp_path_factory.mktemp("edited") / "project"
    shutil.copytree(finished.root, root, symlinks=True)
    return Scratch(root)


def repro(project: Scratch, *arguments: str, first: str = "") -> str:
    done = project.run("dvc", "repro", *arguments, timeout=600, PYTHONPATH=first)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def changed(project: Scratch) -> set[str]:
    """The stages that `dvc status` calls changed, without `code` and `publish`, which always are."""
    return set(json.loads(project.check("dvc", "status", "--json"))) - {"code", "publish"}


def test_a_comment_in_every_file_reruns_nothing(edited):
    for file in [*(edited.root / "src").rglob("*.py"), *(edited.root / "stages").glob("*.py")]:
        file.write_text(f"# A comment.\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
    said = repro(edited)
    ran = [line for line in said.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'code':", "Running stage 'publish':"]


def test_another_version_of_torch_reruns_what_computes_with_it_and_says_why(edited, tmp_path):
    fake = tmp_path / "torch-99.0.0.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99.0.0\n", encoding="utf-8")
    before = identity.version("torch")
    repro(edited, "code", first=str(tmp_path))
    per_model = {f"{stage}@{model}" for stage in ("tune", "train", "repeat", "evaluate", "explain") for model in MODELS}
    assert changed(edited) == {"fetch", "preprocess", *per_model}  # which reads weights, and which resizes, with torch
    said = repro(edited, "--single-item", "evaluate@small_resnet", first=str(tmp_path))
    assert f"evaluate small_resnet runs again: torch {before} -> 99.0.0" in said
    repro(edited, "code")  # back to the version that is installed
    assert changed(edited) == {"evaluate@small_resnet"}


def test_an_edit_of_a_loss_reruns_tune_and_train_and_names_the_module(edited):
    module = edited.root / "src/podium/models/learner.py"
    module.write_text(f"{module.read_text(encoding='utf-8')}\n_EDITED = True\n", encoding="utf-8")
    repro(edited, "code")
    assert changed(edited) - {"evaluate@small_resnet"} == {f"{s}@{m}" for s in RETRAIN for m in MODELS}
    said = repro(edited, "--single-item", "train@small_resnet")
    assert "train small_resnet runs again: podium.models.learner edited" in said
