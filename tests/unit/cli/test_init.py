"""`podium init`: from a folder of images to an experiment in force, and every refusal in one line."""

import shutil
import subprocess
import zipfile

import pytest
import yaml

from podium.config.params import load
from podium.core.layout import Layout
from podium.sources.datasets import open_dataset
from tests.unit.cli.calls import one_line, podium

GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
FILES = ("params.yaml", "dvc.yaml", ".gitignore", ".dvcignore", "experiments/folder.yaml", "experiments/sample.yaml")


@pytest.fixture
def clone(tmp_path, monkeypatch, request):
    """A project under git and DVC without any data, as the working directory; photographs lie beside it."""
    root = tmp_path / "clone"
    (root / "experiments").mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(request.config.rootpath / name, root / name)
    subprocess.run([*GIT, "init", "-q"], cwd=root, check=True)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\nanalytics = false\n")
    subprocess.run([*GIT, "add", "-A"], cwd=root, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "start"], cwd=root, check=True)
    monkeypatch.chdir(root)
    for name in ("cat/1.jpg", "cat/2.jpg", "\uac1c/1.jpg"):
        path = tmp_path / "My photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return Layout(root)


def pinned(layout):
    return yaml.safe_load((layout.root / "data.dvc").read_text())["outs"][0]


def test_a_folder_is_copied_pinned_and_in_force(clone, tmp_path):
    (tmp_path / "My photos" / "cat" / "secret.jpg").symlink_to(tmp_path / "clone" / "params.yaml")
    result = podium("init", str(tmp_path / "My photos"))
    assert result.exit_code == 0, result.stderr
    assert "data/My-photos: 3 files, pinned by data.dvc" in result.stdout
    assert "write it to dataset.licence in params.yaml" in result.stdout
    assert "Next: dvc repro" in result.stdout
    assert "1 links are left out (cat/secret.jpg)" in result.stderr
    assert pinned(clone)["nfiles"] == 3
    params = load(clone.params)
    assert (params.experiment, params.dataset.location) == ("My-photos", "data/My-photos")
    assert params.publish.registered_model == "podium-My-photos"
    assert {model.weights for model in params.models.values()} == {"resnet18.a1_in1k", "convnext_atto.d2_in1k"}
    assert "My-photos  (in force)" in podium("use").stdout
    folder, own = ((clone.root / "experiments" / f"{n}.yaml").read_text() for n in ("folder", "My-photos"))
    assert folder.count("#") == own.count("#")  # comments stay


def test_an_archive_a_name_a_licence_and_no_network(clone, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.v2.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"x")
    result = podium(
        "init", str(tmp_path / "images.v2.zip"), "--name", "pets", "--licence", "CC-BY-4.0: mine", "--offline"
    )
    assert result.exit_code == 0, result.stderr
    params = load(clone.params)
    assert (params.dataset.source, params.dataset.location) == ("archive", "data/pets.zip")
    assert params.dataset.licence == "CC-BY-4.0: mine"
    assert {model.weights.partition(":")[0] for model in params.models.values()} == {"data"}
    assert "licence" not in result.stdout


def test_a_folder_of_many_files_is_packed_into_one(clone, tmp_path):
    many = tmp_path / "many"
    for label in ("cat", "\uac1c"):
        (many / label).mkdir(parents=True)
        for number in range(200):
            (many / label / f"{number}.jpg").write_bytes(b"%d of %s" % (number, label.encode()))
    (many / "cat" / "secret.jpg").symlink_to(clone.root / "params.yaml")
    result = podium("init", str(many), "--pack")
    assert result.exit_code == 0, result.stderr
    assert "data/many.zip: 400 files, pinned by data.dvc" in result.stdout
    assert "1 links are left out (cat/secret.jpg)" in result.stderr
    assert pinned(clone)["nfiles"] == 1
    params = load(clone.params)
    assert (params.dataset.source, params.dataset.location) == ("archive", "data/many.zip")
    with zipfile.ZipFile(clone.data / "many.zip") as archive:
        assert len(archive.namelist()) == 400
        assert archive.read("\uac1c/7.jpg") == (many / "\uac1c" / "7.jpg").read_bytes()
    (part,) = open_dataset(clone, params.dataset, params.fetch)
    assert {image.label for image in part.images} == {"cat", "\uac1c"}


def test_images_already_below_data_stay_where_they_are(clone, tmp_path):
    shutil.copytree(tmp_path / "My photos", clone.data / "mine")
    assert podium("init", "data/mine").exit_code == 0
    assert load(clone.params).dataset.location == "data/mine"
    assert sorted(path.name for path in clone.data.iterdir()) == ["mine"]


REFUSED = {
    "nothing": (["../nothing"], "does not exist: give a folder"),
    "a file": (["params.yaml"], "is no folder and no archive"),
    "an empty folder": (["../empty"], "holds no file"),
    "the project": ([".."], "holds this project"),
    "a name": (["../My photos", "--name", "a b"], "cannot name an experiment"),
    "packing a file": (["params.yaml", "--pack"], "is no folder and no archive"),
    "packing what lies in its place": (["data/taken", "--pack"], "--pack is for a folder outside of data/"),
    "a taken name": (["../My photos", "--name", "sample"], "experiments/sample.yaml is there already"),
    "a taken place": (["../My photos", "--name", "taken"], "data/taken is there already"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_and_changes_nothing(clone, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (clone.data / "taken").mkdir(parents=True)
    before = clone.params.read_bytes()
    result = podium("init", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert one_line(result.stderr)
    assert clone.params.read_bytes() == before
    assert sorted(path.name for path in clone.data.iterdir()) == ["taken"]


def test_edits_are_not_lost_and_without_git_the_remedy_is_named(clone, tmp_path):
    clone.params.write_text(clone.params.read_text() + "\n# mine\n")
    refused = podium("init", "../My photos")
    assert (refused.exit_code, "neither in experiments/ nor committed" in refused.stderr) == (1, True)
    shutil.rmtree(clone.root / ".git")
    refused = podium("init", "../My photos")
    assert (refused.exit_code, "is in no git repository, which DVC needs" in refused.stderr) == (1, True)
    assert not clone.data.exists()
