"""A version is made again from its commit, in a clone: equal to the bit, and if not, what differs is named."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.scratch import Scratch
from podium.config.models import Network
from podium.config.params import load
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.models import zoo
from podium.registry.inputs import Recorded, open_recorded
from podium.registry.read_only import find_registered
from podium.registry.rebuild import Rebuilt
from podium.registry.verify import Verification, compare
from tests import kill_chains

PHOTO = "data/photos/lemon/07.png"
MODULE = "src/podium/models/learner.py"


@dataclass(frozen=True)
class Made(Scratch):
    """A project with a committed and published version 1, and a branch `planted` on which every input is another."""

    path: str

    def verify(self, *arguments: str) -> tuple[int, dict]:
        done = self.run("podium", "verify", "1", "--json", *arguments, timeout=600, PATH=self.path)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{self.root}/mlflow.db")


def put_weights(project: Scratch, seed: int) -> None:
    """Weights that training begins with, in `data/`, pinned in the params."""
    file = project.root / "data" / "tiny.safetensors"
    network = zoo.create(Network(architecture="test_resnet"), 3, seed)
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, file)
    pinned = {
        "weights": f"data:{file.name}",
        "weights_sha256": sha256_file(file),
        "weights_pretraining": "none",
        "weights_licence": "cc0-1.0",
    }
    project.change_params(models={"tiny": {"architecture": "test_resnet", **pinned}})


def plant(project: Scratch) -> None:
    """A commit of which every kind of input is another, on a branch of its own."""
    project.check("git", "checkout", "-q", "-b", "planted")
    Image.fromarray(np.full((48, 56, 3), 99, np.uint8)).save(project.root / PHOTO)
    put_weights(project, 1)
    project.change_params(train={"weight_decay": 0.04}, runtime={"threads": 2})
    module = project.root / MODULE
    module.write_text(f"{module.read_text(encoding='utf-8')}\n_EDITED = True\n", encoding="utf-8")
    installed = project.root / "torch-99.0.0.dist-info"  # a stage finds it before the one that is installed
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99.0.0\n", encoding="utf-8")
    project.check("dvc", "add", "-q", "data")
    project.check("git", "add", "-A")
    project.check("git", "commit", "-q", "-m", "planted")
    project.check("git", "checkout", "-q", "main")
    project.check("dvc", "checkout", "-q", "--force", "data.dvc")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, warm_path: str) -> Made:
    project = kill_chains.build(tmp_path_factory.mktemp("verify") / "project")
    put_weights(project, 0)
    project.check("dvc", "add", "-q", "data")
    project.check("git", "commit", "-q", "-a", "-m", "with weights")
    for message in ("results", ""):  # published, committed, and published as committed
        done = project.run("dvc", "repro", PATH=warm_path, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        if message:
            project.check("git", "add", "-A")
            project.check("git", "commit", "-q", "-m", message)
    plant(project)
    return Made(project.root, warm_path)


@pytest.fixture(scope="module")
def clone(made: Made) -> Path:
    """The clone in which `podium verify` made version 1 again."""
    return made.root.with_name("clone")


@pytest.fixture(scope="module")
def verified(made: Made, clone: Path) -> tuple[int, dict]:
    """What it said."""
    return made.verify("--keep", str(clone))


def left_alone(made: Made) -> list[object]:
    """What a rebuild must not touch: DVC's cache, MLflow's runs, the ledger, the workspace."""
    cache = sorted(path for path in (made.root / ".dvc/cache").rglob("*") if path.is_file())
    runs = made.client.search_runs([made.client.get_experiment_by_name("killed").experiment_id])
    ledger = made.read("reports/test_openings.jsonl")
    return [cache, sorted(run.info.run_id for run in runs), ledger, made.check("git", "status", "--porcelain")]


@pytest.fixture(scope="module")
def before(made: Made) -> list[object]:
    return left_alone(made)


def test_a_version_is_bit_equal_to_what_its_commit_gives_and_the_project_stays_as_it_was(made, before, verified, clone):
    code, said = verified
    assert (code, said["verdict"], said["told"]) == (0, "bit-equal", [])
    assert all(outcome["equal"] for outcome in said["outcomes"])
    assert {each["kind"]: (each["known"], each["differences"]) for each in said["inputs"]} == {
        kind: (True, [])
        for kind in ("package", "CPU", "instruction set", "threads", "image", "pretrained weights", "param", "code")
    }
    assert (clone / "artifacts/models/tiny/weights.safetensors").is_file()
    assert not (clone / "artifacts/comparison").exists(), "only what the model needs is made again"
    assert left_alone(made) == before


def test_every_planted_difference_is_named(made):
    run = made.client.get_model_version("killed", "1").run_id
    cpu = made.client.get_run(run).data.tags["podium.cpu"]
    made.client.set_tag(run, "podium.cpu", "Another processor")
    openings = made.read("reports/test_openings.jsonl").splitlines()
    try:
        code, said = made.verify("--rev", "planted")
    finally:
        made.client.set_tag(run, "podium.cpu", cpu)
    assert (code, said["verdict"]) == (1, "different")
    found = {each["kind"]: " | ".join(each["differences"]) for each in said["inputs"]}
    assert "torch 2." in found["package"] and "-> 99.0.0" in found["package"]
    assert found["CPU"] == f"Another processor -> {cpu}"
    assert found["threads"] == "runtime.threads 1 -> 2"
    assert "lemon/07.png changed (" in found["image"]
    assert "sha256" in found["pretrained weights"]
    assert "train.weight_decay 0.05 -> 0.04" in found["param"]
    edited = len((made.root / MODULE).read_text(encoding="utf-8").splitlines()) + 2
    assert found["code"] == f"podium.models.learner edited, line {edited - 1}: nothing -> nothing" or (
        f"podium.models.learner edited, line {edited}: nothing -> _EDITED = True" == found["code"]
    )
    after = made.read("reports/test_openings.jsonl").splitlines()
    assert (after[:-1], len(after)) == (openings, len(openings) + 1), "another model has looked at the test images"


def test_a_rebuild_that_stops_says_where(made):
    made.check("git", "checkout", "-q", "-b", "broken")
    made.change_params(dataset={"location": "data/nowhere"})
    made.check("git", "commit", "-q", "-a", "-m", "broken")
    made.check("git", "checkout", "-q", "main")
    code, said = made.verify("--rev", "broken")
    assert (code, said["verdict"], said["outcomes"]) == (1, "different", [])
    assert "the rebuild of version 1 stopped (" in said["said"] and "data/nowhere" in said["said"]
    assert "dataset.location data/photos -> data/nowhere" in said["said"]


@pytest.fixture(scope="module")
def recorded(made: Made, verified: object) -> Iterator[Recorded]:
    """Version 1, as compared with clones that are no longer as they were made."""
    layout = Layout(made.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registered = find_registered(layout, load(layout.params).publish.registered_model)
        with open_recorded(layout, registered, registered.versions[0]) as found:
            yield found


def changed_clone(made: Made, recorded: Recorded, clone: Path, folder: Path, accuracy: float, **seeds: float):
    """What is said of a clone with slightly other weights and answers, another accuracy, and those of further seeds."""
    shutil.copytree(clone, folder, symlinks=True)
    weights = folder / "artifacts/models/tiny/weights.safetensors"
    save_file({key: tensor + 1e-6 for key, tensor in load_file(weights).items() if tensor.is_floating_point()}, weights)
    evaluation = folder / "artifacts/evaluation/tiny"
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    for place, value in {"": accuracy, **{f"repeats/{seed}/": value for seed, value in seeds.items()}}.items():
        metrics["accuracy"]["value"] = value
        (evaluation / place).mkdir(parents=True, exist_ok=True)
        (evaluation / f"{place}metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    found: Verification = compare(Layout(made.root), recorded, Rebuilt(Layout(folder), ""))
    accuracies = next(outcome for outcome in found.outcomes if outcome.name == "accuracy")
    return found, accuracies


def test_without_further_seeds_noise_is_the_bootstrap_interval(made, recorded, clone, tmp_path):
    was = recorded.evidence.metrics.accuracy
    assert was.low < was.value
    inside, outside = was.value - (was.value - was.low) / 2, was.low - 0.01
    found, accuracy = changed_clone(made, recorded, clone, tmp_path / "inside", inside)
    assert (found.verdict, accuracy.within, accuracy.equal) == ("within noise", True, False)
    assert (
        f"{was.low:.4f} to {was.high:.4f}, 95 % bootstrap" in found.said and "no input that is on record" in found.said
    )
    found, accuracy = changed_clone(made, recorded, clone, tmp_path / "outside", outside)
    assert (found.verdict, accuracy.within) == ("different", False)


def test_another_instruction_set_is_named_with_how_far_the_metrics_are_apart(made, recorded, clone, tmp_path):
    card = clone / "artifacts/models/tiny/model.json"
    text = card.read_text(encoding="utf-8")
    now = json.loads(text)
    was = now["runtime"]["instruction_set"]
    now["runtime"]["instruction_set"] = "x86_64 OTHER"
    card.write_text(json.dumps(now), encoding="utf-8")
    near = recorded.evidence.metrics.accuracy.value - 0.001
    try:
        found, _ = changed_clone(made, recorded, clone, tmp_path / "elsewhere", near)
    finally:
        card.write_text(text, encoding="utf-8")
    assert found.verdict == "within noise", found.said
    assert "another CPU type: metrics within 0.0010 of the committed ones" in found.said
    assert f"instruction set: {was} -> x86_64 OTHER" in found.said


def test_with_further_seeds_noise_is_what_another_seed_makes(made, recorded, clone, tmp_path):
    was = recorded.evidence.metrics.accuracy.value
    near = {"1": was - 0.001, "2": was + 0.001}
    found, accuracy = changed_clone(made, recorded, clone, tmp_path / "near", was - 0.001, **near)
    assert (found.verdict, "noise of 3 seeds: up to 0.0070" in accuracy.noise) == ("within noise", True)
    found, _ = changed_clone(made, recorded, clone, tmp_path / "far", was - 0.02, **dict.fromkeys(near, was - 0.02))
    assert found.verdict == "different", "three seeds that agree leave no room"


def test_an_edited_param_is_no_noise_however_little_it_changed(made, recorded, clone, tmp_path):
    params = clone / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("weight_decay: 0.05", "weight_decay: 0.04"), encoding="utf-8")
    try:
        found, _ = changed_clone(made, recorded, clone, tmp_path / "param", recorded.evidence.metrics.accuracy.value)
    finally:
        params.write_text(text, encoding="utf-8")
    assert found.verdict == "different" and "param: train.weight_decay 0.05 -> 0.04" in found.said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("7",), 2, "'7' is no model of the experiment and no version of killed"),
        (("1", "--rev", "nowhere"), 1, "'nowhere' is no commit of this clone"),
        (("1", "--keep", "data"), 1, "data exists already"),
    ],
)
def test_what_cannot_be_verified_is_said_in_one_line(made, arguments, code, message):
    done = made.run("podium", "verify", *arguments, PATH=made.path)
    last = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, message in last, "Traceback" in done.stderr) == (code, True, False), done.stderr
